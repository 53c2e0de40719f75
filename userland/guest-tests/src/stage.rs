// SPDX-License-Identifier: GPL-2.0

//! What the groups of this program set up alike: policies, electorates, requests and votes.
//!
//! Votes are built here byte by byte from `Documentation/wire-format.rst`, not with the engine's
//! encoders, so that a test can get every single field wrong.

use crate::client::{
    Attributes,
    Client,
    Refused,
    Reply, //
};
use crate::harness::patience;
use crate::keys::Validator;
use sha2::{
    Digest,
    Sha256, //
};
use std::collections::BTreeMap;
use std::fs::{
    self,
    OpenOptions, //
};
use std::io::{
    Read,
    Seek,
    Write, //
};
use std::path::Path;
use std::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use std::time::{
    Duration,
    Instant, //
};

/// Result of a step of a test: why it failed, in words.
pub(crate) type Res<T = ()> = Result<T, String>;

/// The module's directory.
pub(crate) const SECURITYFS: &str = "/sys/kernel/security/tcp_lsm";

/// Where the tests keep their files.
pub(crate) const SCRATCH: &str = "/tmp/guest-tests";

/// Numbers of the netlink specification.
pub(crate) mod nl {
    pub(crate) const STATUS: u8 = 1;
    pub(crate) const VALIDATOR_ADD: u8 = 2;
    pub(crate) const VALIDATOR_REMOVE: u8 = 3;
    pub(crate) const VALIDATOR_GET: u8 = 4;
    pub(crate) const SEAL: u8 = 5;
    pub(crate) const MODE_SET: u8 = 6;
    pub(crate) const UNLOAD: u8 = 7;
    pub(crate) const AGENT_LABEL: u8 = 8;
    pub(crate) const AGENT_GET: u8 = 9;
    pub(crate) const REQUEST_GET: u8 = 10;
    pub(crate) const REQUEST_CANCEL: u8 = 11;
    pub(crate) const VOTE_SUBMIT: u8 = 12;
    pub(crate) const GRANT_GET: u8 = 13;
    pub(crate) const GRANT_REVOKE: u8 = 14;
    pub(crate) const EVENT_GET: u8 = 15;
    pub(crate) const STATE_STAGE: u8 = 17;
    pub(crate) const STATE_COMMIT: u8 = 18;
    pub(crate) const STATE_DISCARD: u8 = 19;
    pub(crate) const STATE_RECOVER: u8 = 20;
    pub(crate) const EVIDENCE_SUBMIT: u8 = 21;
    pub(crate) const EVIDENCE_GET: u8 = 22;
    pub(crate) const VALIDATOR_READMIT: u8 = 23;

    pub(crate) const A_OUTCOME: u16 = 2;
    pub(crate) const A_REQUEST_ID: u16 = 3;
    pub(crate) const A_REQUEST: u16 = 4;
    pub(crate) const A_REQUEST_STATE: u16 = 5;
    pub(crate) const A_APPROVE: u16 = 6;
    pub(crate) const A_DENY: u16 = 7;
    pub(crate) const A_TOTAL: u16 = 8;
    pub(crate) const A_REMAINING_MS: u16 = 10;
    pub(crate) const A_VOTE: u16 = 12;
    pub(crate) const A_VALIDATOR_NAME: u16 = 13;
    pub(crate) const A_VALIDATOR_KEY: u16 = 14;
    pub(crate) const A_VALIDATOR_WEIGHT: u16 = 15;
    pub(crate) const A_VALIDATOR_SLOT: u16 = 16;
    pub(crate) const A_VALIDATOR_ID: u16 = 17;
    pub(crate) const A_VOTES_ACCEPTED: u16 = 18;
    pub(crate) const A_AGENT_ID: u16 = 19;
    pub(crate) const A_AGENT_NAME: u16 = 20;
    pub(crate) const A_AGENT_CLASS: u16 = 21;
    pub(crate) const A_AGENT_DEPTH: u16 = 23;
    pub(crate) const A_AGENT_PENDING: u16 = 27;
    pub(crate) const A_MODE: u16 = 29;
    pub(crate) const A_PHASE: u16 = 30;
    pub(crate) const A_NODE: u16 = 31;
    pub(crate) const A_EPOCH: u16 = 32;
    pub(crate) const A_BOOT_MS: u16 = 33;
    pub(crate) const A_CLOCK: u16 = 35;
    pub(crate) const A_CHAIN: u16 = 36;
    pub(crate) const A_EVENT: u16 = 37;
    pub(crate) const A_EVENT_NUMBER: u16 = 38;
    pub(crate) const A_COUNTER: u16 = 40;
    pub(crate) const A_POLICY_NAME: u16 = 42;
    pub(crate) const A_POLICY_VERSION: u16 = 43;
    pub(crate) const A_POLICY_DIGEST: u16 = 44;
    pub(crate) const A_SEALED_BY: u16 = 45;
    pub(crate) const A_EVENTS_LOST: u16 = 46;
    pub(crate) const A_TPM: u16 = 47;
    pub(crate) const A_NV_COUNTER: u16 = 49;
    pub(crate) const A_NV_ANCHOR: u16 = 50;
    pub(crate) const A_STATE_COUNTER: u16 = 51;
    pub(crate) const A_ANCHOR: u16 = 52;
    pub(crate) const A_NV_WRITES: u16 = 56;
    pub(crate) const A_STATE_REASON: u16 = 58;
    pub(crate) const A_STAGED_COUNTER: u16 = 59;
    pub(crate) const A_STATE_DIGEST: u16 = 60;
    pub(crate) const A_HELD: u16 = 62;
    pub(crate) const A_THRESHOLD: u16 = 63;
    pub(crate) const A_QUARANTINED: u16 = 64;
    pub(crate) const A_EVIDENCE: u16 = 65;
    pub(crate) const A_FAULT: u16 = 66;
    pub(crate) const A_REPUTATION: u16 = 67;
    pub(crate) const A_BIAS: u16 = 68;
    pub(crate) const A_AGREED: u16 = 69;
    pub(crate) const A_DISAGREED: u16 = 70;
    pub(crate) const A_UNHEARD: u16 = 73;
    pub(crate) const A_ALERT: u16 = 75;
    pub(crate) const A_ALERT_ENDS_MS: u16 = 76;
    pub(crate) const A_WATCH: u16 = 77;
    pub(crate) const A_UNHEARD_WEIGHT: u16 = 78;
    pub(crate) const A_FLOOR: u16 = 79;

    pub(crate) const SETUP: u32 = 1;
    pub(crate) const SEALED: u32 = 2;
    pub(crate) const LOCKED: u32 = 3;
    pub(crate) const RECOVERING: u32 = 4;
    pub(crate) const PERMISSIVE: u32 = 1;
    pub(crate) const ENFORCE: u32 = 2;
    pub(crate) const DONE: u32 = 1;
    pub(crate) const PENDING: u32 = 2;
    pub(crate) const STAGED: u32 = 3;
    pub(crate) const HELD: u32 = 4;
    pub(crate) const OPEN: u32 = 1;
    pub(crate) const GRANTED: u32 = 2;
    pub(crate) const DENIED: u32 = 3;
    pub(crate) const EXPIRED: u32 = 4;
    pub(crate) const CANCELLED: u32 = 5;
}

/// Fails the test with a message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// Name of an error number.
pub(crate) fn errno_name(errno: i32) -> String {
    let name = match errno {
        0 => "success",
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::E2BIG => "E2BIG",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::EXDEV => "EXDEV",
        libc::EINVAL => "EINVAL",
        libc::EFBIG => "EFBIG",
        libc::ENOTTY => "ENOTTY",
        libc::ESPIPE => "ESPIPE",
        libc::ENOSPC => "ENOSPC",
        libc::ERANGE => "ERANGE",
        libc::ETIME => "ETIME",
        libc::EPROTO => "EPROTO",
        libc::EBADMSG => "EBADMSG",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EALREADY => "EALREADY",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::ESTALE => "ESTALE",
        libc::ENODATA => "ENODATA",
        libc::ENODEV => "ENODEV",
        libc::EIO => "EIO",
        libc::ENOKEY => "ENOKEY",
        libc::EKEYREJECTED => "EKEYREJECTED",
        _ => return format!("errno {errno}"),
    };
    name.to_string()
}

/// `what` must have ended with exactly this error number; 0 is success.
pub(crate) fn expect_errno(what: &str, got: i32, want: i32) -> Res {
    ensure!(
        got == want,
        "{what}: {} instead of {}",
        errno_name(got),
        errno_name(want)
    );
    Ok(())
}

/// `what` must have been refused with this error number and a message that begins with `CODE:`.
pub(crate) fn expect_refused<T>(
    what: &str,
    got: Result<T, Refused>,
    errno: i32,
    code: &str,
) -> Res {
    match got {
        Ok(_) => Err(format!("{what}: succeeded instead of {code}")),
        Err(refused) => {
            ensure!(
                refused.errno == errno && refused.text.starts_with(&format!("{code}: ")),
                "{what}: {} \"{}\" instead of {} \"{code}: ...\"",
                errno_name(refused.errno),
                refused.text,
                errno_name(errno)
            );
            ensure!(
                refused.text.len() > code.len() + 12,
                "{what}: the message \"{}\" does not say what to do",
                refused.text
            );
            Ok(())
        }
    }
}

/// What the module says about itself.
#[derive(Debug)]
pub(crate) struct Status {
    /// `nl::SETUP` and so on.
    pub(crate) phase: u32,
    /// `nl::PERMISSIVE` or `nl::ENFORCE`.
    pub(crate) mode: u32,
    /// This node.
    pub(crate) node: [u8; 32],
    /// Epoch, 0 without a TPM.
    pub(crate) epoch: u64,
    /// The node's vector clock.
    pub(crate) clock: BTreeMap<u16, u64>,
    /// Number of the last event.
    pub(crate) event: u64,
    /// Head of the chain.
    pub(crate) chain: Vec<u8>,
    /// The running policy's name, none before the first.
    pub(crate) policy_name: Option<String>,
    /// The running policy's version, 0 before the first.
    pub(crate) policy_version: u64,
    /// Digest of the running policy's text.
    pub(crate) policy_digest: Option<Vec<u8>>,
    /// Sum of all weights.
    pub(crate) total: u64,
    /// Milliseconds of the node's boot clock.
    pub(crate) boot_ms: u64,
    /// Weight of quarantined validators.
    pub(crate) quarantined: u64,
    /// Bit mask of the alerts that hold.
    pub(crate) alert: u32,
    /// Weight of validators that are unheard.
    pub(crate) unheard: u64,
    /// Payload of the last WATCH event; none without a policy.
    pub(crate) watch: Option<Vec<u8>>,
    /// All counters.
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Status {
    /// A counter, which must exist.
    pub(crate) fn counter(&self, name: &str) -> Res<u64> {
        self.counters
            .get(name)
            .copied()
            .ok_or_else(|| format!("status has no counter {name}"))
    }
}

/// Reads the status over netlink.
pub(crate) fn status() -> Res<Status> {
    let mut client = open()?;
    let reply = client
        .call(nl::STATUS, &Attributes::new())
        .map_err(|refused| format!("status: {refused:?}"))?;
    let reply = reply.first().ok_or("status without an answer")?;
    let mut counters = BTreeMap::new();
    for nest in reply.all(nl::A_COUNTER) {
        let inner = Reply::parse(nest);
        counters.insert(
            inner.string(1).ok_or("a counter without a name")?,
            inner.u64(2).ok_or("a counter without a value")?,
        );
    }
    let node = reply.bytes(nl::A_NODE).ok_or("status without node")?;
    Ok(Status {
        phase: reply.u32(nl::A_PHASE).ok_or("status without phase")?,
        mode: reply.u32(nl::A_MODE).ok_or("status without mode")?,
        node: node.try_into().map_err(|_| "node is not 32 bytes")?,
        epoch: reply.u64(nl::A_EPOCH).ok_or("status without epoch")?,
        clock: decode_clock(reply.bytes(nl::A_CLOCK).unwrap_or_default())?,
        event: reply
            .u64(nl::A_EVENT_NUMBER)
            .ok_or("status without event-number")?,
        chain: reply
            .bytes(nl::A_CHAIN)
            .ok_or("status without chain")?
            .to_vec(),
        policy_name: reply.string(nl::A_POLICY_NAME),
        policy_version: reply.u64(nl::A_POLICY_VERSION).unwrap_or(0),
        policy_digest: reply.bytes(nl::A_POLICY_DIGEST).map(<[u8]>::to_vec),
        total: reply.u64(nl::A_TOTAL).ok_or("status without total")?,
        boot_ms: reply.u64(nl::A_BOOT_MS).ok_or("status without boot-ms")?,
        quarantined: reply.u64(nl::A_QUARANTINED).unwrap_or(0),
        alert: reply.u32(nl::A_ALERT).unwrap_or(0),
        unheard: reply.u64(nl::A_UNHEARD_WEIGHT).unwrap_or(0),
        watch: reply.bytes(nl::A_WATCH).map(<[u8]>::to_vec),
        counters,
    })
}

/// The value of a line of the securityfs node `status`.
pub(crate) fn status_line(key: &str) -> Res<String> {
    let text =
        fs::read_to_string(format!("{SECURITYFS}/status")).map_err(|e| format!("status: {e}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .map(str::to_string)
        .ok_or_else(|| format!("no line {key} in status:\n{text}"))
}

/// The number in a line of the securityfs node `status`.
pub(crate) fn status_number(key: &str) -> Res<u64> {
    let line = status_line(key)?;
    line.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("status line {key} {line}: no number"))
}

/// A new netlink client.
pub(crate) fn open() -> Res<Client> {
    Client::open().map_err(|refused| format!("netlink: {refused:?}"))
}

/// Sends a command that answers with at most one message. What it stages is committed: then the outcome is done.
pub(crate) fn call(command: u8, attributes: &Attributes) -> Result<Reply, Refused> {
    let reply = ask(command, attributes)?;
    match reply.u32(nl::A_OUTCOME) {
        Some(nl::STAGED) => Ok(commit()?.before(reply)),
        _ => Ok(reply),
    }
}

/// The staged state; empty when nothing is staged.
pub(crate) fn staged_state() -> std::io::Result<Vec<u8>> {
    fs::read(format!("{SECURITYFS}/state"))
}

/// Commits what is staged, as if storage held it.
pub(crate) fn commit() -> Result<Reply, Refused> {
    let state = staged_state().map_err(|error| Refused {
        errno: error.raw_os_error().unwrap_or(-1),
        text: "reading the staged state".to_string(),
    })?;
    commit_digest(&Sha256::digest(&state).into())
}

/// Commits what is staged when it has this digest.
pub(crate) fn commit_digest(digest: &[u8; 32]) -> Result<Reply, Refused> {
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_STATE_DIGEST, digest);
    ask(nl::STATE_COMMIT, &attributes)
}

/// Sends a command that answers with at most one message, and leaves staged what it stages.
pub(crate) fn ask(command: u8, attributes: &Attributes) -> Result<Reply, Refused> {
    let mut replies = Client::open()?.call(command, attributes)?;
    Ok(if replies.is_empty() {
        Reply::default()
    } else {
        replies.swap_remove(0)
    })
}

/// Sends a dump command.
pub(crate) fn dump(command: u8, attributes: &Attributes) -> Result<Vec<Reply>, Refused> {
    Client::open()?.dump(command, attributes)
}

/// Repeats a check until it holds or the time is over.
pub(crate) fn eventually(limit: Duration, mut check: impl FnMut() -> Res) -> Res {
    let limit = patience(limit);
    let start = Instant::now();
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(why) if start.elapsed() > limit => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

// --- policies -------------------------------------------------------------------------------------

/// Why a transaction was refused: the errno of the write and the diagnostic read afterwards.
#[derive(Debug)]
pub(crate) struct PolicyRefused {
    /// Error number of the write.
    pub(crate) errno: i32,
    /// The line that reading gives then, without its newline.
    pub(crate) line: String,
}

/// Writes a policy's text as one transaction, and commits what that stages; returns the line of success.
pub(crate) fn load_text(text: &[u8]) -> Result<String, PolicyRefused> {
    let line = write_node("policy", text)?;
    if !line.starts_with("staged ") {
        return Ok(line);
    }
    commit().map_err(|refused| PolicyRefused {
        errno: refused.errno,
        line: refused.text,
    })?;
    // What a node without a TPM would have said.
    let policy = status_line("policy").map_err(|line| PolicyRefused { errno: 0, line })?;
    let name_and_version = policy.rsplit_once(' ').map_or("", |(words, _)| words);
    Ok(format!("done policy {name_and_version}"))
}

/// Writes to a node of securityfs as one transaction; returns the line of success.
pub(crate) fn write_node(node: &str, text: &[u8]) -> Result<String, PolicyRefused> {
    let fail = |errno: &std::io::Error| PolicyRefused {
        errno: errno.raw_os_error().unwrap_or(-1),
        line: String::new(),
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("{SECURITYFS}/{node}"))
        .map_err(|e| fail(&e))?;
    let written = file.write(text);
    let mut line = String::new();
    file.read_to_string(&mut line).map_err(|e| fail(&e))?;
    let one = line.trim_end_matches('\n').to_string();
    match written {
        Ok(n) if n == text.len() => Ok(one),
        Ok(n) => Err(PolicyRefused {
            errno: 0,
            line: format!("short write of {n}: {one}"),
        }),
        Err(error) => Err(PolicyRefused {
            line: one,
            ..fail(&error)
        }),
    }
}

/// Puts the header before a body: the running policy's version and one more.
pub(crate) fn with_header(name: &str, body: &str) -> Res<String> {
    let version = status()?.policy_version + 1;
    Ok(format!(
        "policy_name={name} policy_version={version}\n{body}"
    ))
}

/// Loads a policy in setup; its version is one more than the running one's.
pub(crate) fn load_body(name: &str, body: &str) -> Res {
    let text = with_header(name, body)?;
    match load_text(text.as_bytes()) {
        Ok(line) => {
            ensure!(
                line.starts_with(&format!("done policy {name} ")),
                "policy {name}: the diagnostic of success is \"{line}\""
            );
            Ok(())
        }
        Err(refused) => Err(format!(
            "policy {name}: {} \"{}\"",
            errno_name(refused.errno),
            refused.line
        )),
    }
}

/// The running policy, byte for byte.
pub(crate) fn running_policy() -> Res<Vec<u8>> {
    fs::read(format!("{SECURITYFS}/policy")).map_err(|e| format!("reading the policy: {e}"))
}

// --- electorate -----------------------------------------------------------------------------------

/// Attributes that enrol a validator.
pub(crate) fn validator_attributes(name: &str, key: &[u8], weight: u32) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.string(nl::A_VALIDATOR_NAME, name);
    attributes.bytes(nl::A_VALIDATOR_KEY, key);
    attributes.u32(nl::A_VALIDATOR_WEIGHT, weight);
    attributes
}

/// Asks to enrol a test validator.
pub(crate) fn enrol(validator: &Validator, weight: u32) -> Result<Reply, Refused> {
    call(
        nl::VALIDATOR_ADD,
        &validator_attributes(&validator.name, &validator.point(), weight),
    )
}

/// Asks to remove a validator.
pub(crate) fn remove(name: &str) -> Result<Reply, Refused> {
    let mut attributes = Attributes::new();
    attributes.string(nl::A_VALIDATOR_NAME, name);
    call(nl::VALIDATOR_REMOVE, &attributes)
}

/// An enrolled test validator: its key, its slot, and the clock of its last accepted vote.
#[derive(Clone)]
pub(crate) struct Voter {
    /// Key and name.
    pub(crate) validator: Validator,
    /// Slot on this node.
    pub(crate) slot: u16,
    /// Clock of the last accepted vote.
    pub(crate) last: BTreeMap<u16, u64>,
    /// Votes accepted.
    pub(crate) accepted: u64,
    /// Kind of the fault that it is quarantined for.
    pub(crate) fault: Option<u32>,
}

/// Reads slots and last clocks of the test validators `v1` to `vN` that are enrolled, in the order of their slots.
pub(crate) fn voters() -> Res<Vec<Voter>> {
    let known: BTreeMap<[u8; 32], Validator> = (1..=130)
        .map(Validator::test)
        .map(|validator| (validator.id(), validator))
        .collect();
    let mut all = Vec::new();
    for reply in
        dump(nl::VALIDATOR_GET, &Attributes::new()).map_err(|e| format!("validator-get: {e:?}"))?
    {
        let id: [u8; 32] = reply
            .bytes(nl::A_VALIDATOR_ID)
            .and_then(|id| id.try_into().ok())
            .ok_or("validator without an id")?;
        let Some(validator) = known.get(&id) else {
            continue;
        };
        all.push(Voter {
            validator: validator.clone(),
            slot: u16::try_from(reply.u32(nl::A_VALIDATOR_SLOT).unwrap_or(0)).unwrap_or(0),
            last: decode_clock(reply.bytes(nl::A_CLOCK).unwrap_or_default())?,
            accepted: reply.u64(nl::A_VOTES_ACCEPTED).unwrap_or(0),
            fault: reply.u32(nl::A_FAULT),
        });
    }
    all.sort_by_key(|voter| voter.slot);
    Ok(all)
}

/// The test validator of that number, which must be enrolled.
pub(crate) fn voter(number: u32) -> Res<Voter> {
    let name = Validator::test(number).name;
    voters()?
        .into_iter()
        .find(|voter| voter.validator.name == name)
        .ok_or_else(|| format!("{name} is not enrolled"))
}

/// Makes the electorate, in setup, exactly the test validators 1 to `count`, of weight 1 each.
pub(crate) fn electorate(count: u32) -> Res {
    let all =
        dump(nl::VALIDATOR_GET, &Attributes::new()).map_err(|e| format!("validator-get: {e:?}"))?;
    let wanted: Vec<Validator> = (1..=count).map(Validator::test).collect();
    let mut there = Vec::new();
    for reply in &all {
        let name = reply
            .string(nl::A_VALIDATOR_NAME)
            .ok_or("validator without a name")?;
        if wanted.iter().any(|v| v.name == name) && reply.u32(nl::A_VALIDATOR_WEIGHT) == Some(1) {
            there.push(name);
        } else {
            remove(&name).map_err(|e| format!("removing {name}: {e:?}"))?;
        }
    }
    for validator in wanted.iter().filter(|v| !there.contains(&v.name)) {
        enrol(validator, 1).map_err(|e| format!("enrolling {}: {e:?}", validator.name))?;
    }
    let total = status()?.total;
    ensure!(
        total == u64::from(count),
        "the total weight is {total}, not {count}"
    );
    Ok(())
}

/// Sets the mode in setup.
pub(crate) fn set_mode(mode: u32) -> Result<Reply, Refused> {
    let mut attributes = Attributes::new();
    attributes.u32(nl::A_MODE, mode);
    call(nl::MODE_SET, &attributes)
}

/// Fails unless the node is still in setup.
pub(crate) fn in_setup() -> Res {
    ensure!(
        status()?.phase == nl::SETUP,
        "this test needs a node in setup"
    );
    Ok(())
}

/// Puts the node in setup, with `count` validators and a policy, in enforce mode.
pub(crate) fn prepare(count: u32, name: &str, body: &str) -> Res {
    in_setup()?;
    electorate(count)?;
    load_body(name, body)?;
    set_mode(nl::ENFORCE).map_err(|e| format!("mode: {e:?}"))?;
    Ok(())
}

/// Seals a prepared node unless it is sealed already.
pub(crate) fn sealed(count: u32, name: &str, body: &str) -> Res {
    if status()?.phase == nl::SEALED {
        let now = status()?.policy_name;
        ensure!(
            now.as_deref() == Some(name),
            "sealed with the policy {now:?}, not {name}"
        );
        return Ok(());
    }
    prepare(count, name, body)?;
    call(nl::SEAL, &Attributes::new()).map_err(|e| format!("seal: {e:?}"))?;
    ensure!(
        status()?.phase == nl::SEALED,
        "sealed, but the phase is not"
    );
    Ok(())
}

/// Fails if the module is there, or has left anything behind: a file, a family, a hook.
pub(crate) fn no_trace() -> Res {
    for path in [SECURITYFS, "/sys/module/tcp_lsm"] {
        ensure!(!Path::new(path).exists(), "{path} is still there");
    }
    ensure!(
        !content("/proc/modules")?
            .lines()
            .any(|line| line.starts_with("tcp_lsm ")),
        "the module is still listed"
    );
    ensure!(open().is_err(), "the netlink family is still there");
    let functions = content("/sys/kernel/tracing/enabled_functions")?;
    ensure!(
        !functions.contains("tcp_lsm"),
        "hooks are still attached:\n{functions}"
    );
    let events = content("/sys/kernel/tracing/available_events")?;
    ensure!(
        !events.contains("tcp_lsm"),
        "tracepoints are still registered"
    );
    Ok(())
}

// --- requests -------------------------------------------------------------------------------------

/// A request as the node shows it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its id.
    pub(crate) id: [u8; 32],
    /// Its encoding.
    pub(crate) encoding: Vec<u8>,
    /// `nl::OPEN` and so on.
    pub(crate) state: u32,
    /// Approving weight.
    pub(crate) approve: u64,
    /// Denying weight.
    pub(crate) deny: u64,
    /// Total weight, frozen.
    pub(crate) total: u64,
    /// Threshold that decides it now, basis points.
    pub(crate) threshold: u32,
    /// Weight that can no longer vote on it.
    pub(crate) quarantined: u64,
}

impl Request {
    /// The request that an event of kind REQUEST tells of, as it was made.
    pub(crate) fn of_event(event: &Event) -> Res<Self> {
        let encoding = event.payload().to_vec();
        let digest: [u8; 32] = Sha256::digest(&encoding).into();
        ensure!(
            digest == event.request,
            "event {} has another request than it names",
            event.number
        );
        Ok(Self {
            id: digest,
            encoding,
            state: nl::OPEN,
            approve: 0,
            deny: 0,
            total: 0,
            threshold: 0,
            quarantined: 0,
        })
    }

    fn from_reply(reply: &Reply) -> Res<Self> {
        let request = Self {
            id: reply
                .bytes(nl::A_REQUEST_ID)
                .and_then(|id| id.try_into().ok())
                .ok_or("request without an id")?,
            encoding: reply
                .bytes(nl::A_REQUEST)
                .ok_or("request without its encoding")?
                .to_vec(),
            state: reply
                .u32(nl::A_REQUEST_STATE)
                .ok_or("request without a state")?,
            approve: reply.u64(nl::A_APPROVE).ok_or("request without approve")?,
            deny: reply.u64(nl::A_DENY).ok_or("request without deny")?,
            total: reply.u64(nl::A_TOTAL).ok_or("request without total")?,
            threshold: reply
                .u32(nl::A_THRESHOLD)
                .ok_or("request without threshold")?,
            quarantined: reply
                .u64(nl::A_QUARANTINED)
                .ok_or("request without quarantined")?,
        };
        ensure!(
            request.encoding.len() >= 228,
            "the encoding has {} bytes",
            request.encoding.len()
        );
        let digest: [u8; 32] = Sha256::digest(&request.encoding).into();
        ensure!(
            digest == request.id,
            "the id of a request is not the digest of its encoding"
        );
        Ok(request)
    }

    fn be<const N: usize>(&self, at: usize) -> u64 {
        self.encoding
            .iter()
            .skip(at)
            .take(N)
            .fold(0, |all, &byte| (all << 8) | u64::from(byte))
    }

    /// The node's entry when it was made.
    pub(crate) fn created(&self) -> u64 {
        self.be::<8>(64)
    }

    /// When it expires, in milliseconds of the boot clock.
    pub(crate) fn expires_ms(&self) -> u64 {
        self.be::<8>(80)
    }

    /// Number of the operation.
    pub(crate) fn op(&self) -> u64 {
        self.be::<2>(96)
    }

    /// Effective user.
    pub(crate) fn uid(&self) -> u64 {
        self.be::<4>(100)
    }

    /// Agent, 0 for none.
    pub(crate) fn agent(&self) -> u64 {
        self.be::<8>(104)
    }

    /// Line of the rule.
    pub(crate) fn line(&self) -> u64 {
        self.be::<4>(160)
    }
}

/// Reads one request.
pub(crate) fn request(id: &[u8; 32]) -> Res<Request> {
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_REQUEST_ID, id);
    let reply = call(nl::REQUEST_GET, &attributes).map_err(|e| format!("request-get: {e:?}"))?;
    Request::from_reply(&reply)
}

/// Reads all requests that are remembered.
pub(crate) fn requests() -> Res<Vec<Request>> {
    dump(nl::REQUEST_GET, &Attributes::new())
        .map_err(|e| format!("request-get: {e:?}"))?
        .iter()
        .map(Request::from_reply)
        .collect()
}

/// The open requests.
pub(crate) fn open_requests() -> Res<Vec<Request>> {
    Ok(requests()?
        .into_iter()
        .filter(|r| r.state == nl::OPEN)
        .collect())
}

/// Cancels a request.
pub(crate) fn cancel(id: &[u8; 32]) -> Result<Reply, Refused> {
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_REQUEST_ID, id);
    call(nl::REQUEST_CANCEL, &attributes)
}

/// Cancels every open request.
pub(crate) fn cancel_all() -> Res {
    for request in open_requests()? {
        // It may expire or end meanwhile.
        if let Err(refused) = cancel(&request.id) {
            ensure!(
                refused.errno == libc::EALREADY,
                "request-cancel: {refused:?}"
            );
        }
    }
    let left = open_requests()?.len();
    ensure!(
        left == 0,
        "{left} requests are open after all were cancelled"
    );
    Ok(())
}

/// Parses 64 hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Res<[u8; 32]> {
    let mut id = [0; 32];
    ensure!(text.len() == 64 && text.is_ascii(), "\"{text}\" is no id");
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16)
            .map_err(|_| format!("\"{text}\" is no id"))?;
    }
    Ok(id)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks for a policy on a sealed node: the request that this raises.
pub(crate) fn request_policy(text: &str) -> Res<Request> {
    match load_text(text.as_bytes()) {
        Ok(line) => Err(format!(
            "a sealed node took a policy without a quorum: {line}"
        )),
        Err(refused) => {
            ensure!(
                refused.errno == libc::EINPROGRESS,
                "policy on a sealed node: {} \"{}\" instead of EINPROGRESS",
                errno_name(refused.errno),
                refused.line
            );
            let id = refused.line.strip_prefix("pending ").ok_or_else(|| {
                format!("the diagnostic is \"{}\", not \"pending ID\"", refused.line)
            })?;
            request(&parse_id(id)?)
        }
    }
}

/// A governance request that no other test shares: for a policy whose text is new. It is not meant to be granted.
pub(crate) fn fresh_request() -> Res<Request> {
    let now = Instant::now();
    let request = request_policy(&with_header(
        "fresh",
        &format!("# {now:?} {}\nDEFAULT action=ALLOW\n", std::process::id()),
    )?)?;
    ensure!(
        request.state == nl::OPEN,
        "a new request is in state {}",
        request.state
    );
    Ok(request)
}

// --- votes ----------------------------------------------------------------------------------------

/// Verdict: approve.
pub(crate) const APPROVE: u8 = 1;
/// Verdict: deny.
pub(crate) const DENY: u8 = 2;

/// Decodes a vector clock.
pub(crate) fn decode_clock(bytes: &[u8]) -> Res<BTreeMap<u16, u64>> {
    ensure!(bytes.len() % 10 == 0, "a clock of {} bytes", bytes.len());
    let mut clock = BTreeMap::new();
    for entry in bytes.chunks_exact(10) {
        let number = |part: &[u8]| {
            part.iter()
                .fold(0u64, |all, &byte| (all << 8) | u64::from(byte))
        };
        let slot = u16::try_from(number(&entry[..2])).map_err(|e| e.to_string())?;
        ensure!(
            clock.insert(slot, number(&entry[2..])).is_none(),
            "slot {slot} stands twice in a clock"
        );
    }
    Ok(clock)
}

/// A vote before it is signed; every field may be wrong.
#[derive(Clone)]
pub(crate) struct Vote {
    /// First bytes.
    pub(crate) magic: [u8; 8],
    /// Node.
    pub(crate) node: [u8; 32],
    /// Epoch.
    pub(crate) epoch: u64,
    /// Request.
    pub(crate) request: [u8; 32],
    /// Validator.
    pub(crate) validator: [u8; 32],
    /// Verdict.
    pub(crate) verdict: u8,
    /// The validator's place in the clock.
    pub(crate) slot: u8,
    /// Number of entries that is written, when it is not the number of entries.
    pub(crate) entries: Option<u16>,
    /// Expiry.
    pub(crate) expires_ms: u64,
    /// Reason.
    pub(crate) reason: Vec<u8>,
    /// Reason digest, when it is not that of the reason.
    pub(crate) reason_digest: Option<[u8; 32]>,
    /// Clock, as it is written.
    pub(crate) clock: Vec<(u16, u64)>,
}

impl Vote {
    /// The bytes that are signed.
    pub(crate) fn signed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.magic);
        out.extend(self.node);
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.request);
        out.extend(self.validator);
        out.push(self.verdict);
        out.push(self.slot);
        let entries = u16::try_from(self.clock.len()).unwrap_or(u16::MAX);
        out.extend(self.entries.unwrap_or(entries).to_be_bytes());
        out.extend(self.expires_ms.to_be_bytes());
        out.extend(self.reason_digest.unwrap_or_else(|| {
            if self.reason.is_empty() {
                [0; 32]
            } else {
                Sha256::digest(&self.reason).into()
            }
        }));
        for (slot, value) in &self.clock {
            out.extend(slot.to_be_bytes());
            out.extend(value.to_be_bytes());
        }
        out
    }

    /// The record with that signature.
    pub(crate) fn record_with(&self, signature: &[u8]) -> Vec<u8> {
        let mut out = self.signed();
        out.extend(
            u16::try_from(signature.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        out.extend(signature);
        out.extend(&self.reason);
        out
    }

    /// The record, signed by `key`.
    pub(crate) fn record(&self, key: &Validator) -> Vec<u8> {
        self.record_with(&key.sign(&self.signed()))
    }

    /// One entry of the clock.
    pub(crate) fn entry(&self, slot: u16) -> u64 {
        self.clock
            .iter()
            .find(|entry| entry.0 == slot)
            .map_or(0, |entry| entry.1)
    }

    /// Sets one entry of the clock, keeping the order.
    pub(crate) fn set(&mut self, slot: u16, value: u64) {
        let mut clock: BTreeMap<u16, u64> = self.clock.iter().copied().collect();
        clock.insert(slot, value);
        self.clock = clock.into_iter().collect();
    }
}

impl Voter {
    /// A vote with the smallest clock that is acceptable.
    pub(crate) fn vote(&self, request: &Request, verdict: u8) -> Vote {
        let mut clock = self.last.clone();
        let node = clock.entry(0).or_insert(0);
        *node = (*node).max(request.created());
        *clock.entry(self.slot).or_insert(0) += 1;
        Vote {
            magic: *b"TCPLVOT2",
            node: array(&request.encoding, 8),
            epoch: request.be::<8>(40),
            request: request.id,
            validator: self.validator.id(),
            verdict,
            slot: u8::try_from(self.slot).unwrap_or(0),
            entries: None,
            expires_ms: request.expires_ms(),
            reason: Vec::new(),
            reason_digest: None,
            clock: clock.into_iter().collect(),
        }
    }

    /// Signs a vote, and remembers its clock whatever becomes of it, as whoever keeps a journal does.
    pub(crate) fn sign(&mut self, vote: &Vote) -> Vec<u8> {
        self.last = vote.clock.iter().copied().collect();
        vote.record(&self.validator)
    }

    /// The record of such a vote.
    pub(crate) fn record(&self, request: &Request, verdict: u8) -> Vec<u8> {
        self.vote(request, verdict).record(&self.validator)
    }

    /// Votes, and remembers the clock when the vote is accepted.
    pub(crate) fn cast(&mut self, request: &Request, verdict: u8) -> Result<Tally, Refused> {
        let vote = self.vote(request, verdict);
        let record = vote.record(&self.validator);
        let start = Instant::now();
        let tally = loop {
            match submit(&record) {
                // What the test itself had refused counts against its user for a few seconds.
                Err(refused)
                    if refused.errno == libc::EBUSY && start.elapsed() < Duration::from_secs(6) =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => break other?,
            }
        };
        self.last = vote.clock.into_iter().collect();
        Ok(tally)
    }
}

fn array(bytes: &[u8], at: usize) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    out
}

/// How a request stands after a vote.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Whether the vote is held, and counts for nothing yet.
    pub(crate) held: bool,
    /// `nl::OPEN` and so on.
    pub(crate) state: u32,
    /// Approving weight.
    pub(crate) approve: u64,
    /// Denying weight.
    pub(crate) deny: u64,
    /// Total weight.
    pub(crate) total: u64,
}

/// Submits a record.
pub(crate) fn submit(record: &[u8]) -> Result<Tally, Refused> {
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_VOTE, record);
    let reply = call(nl::VOTE_SUBMIT, &attributes)?;
    Ok(Tally {
        held: reply.u32(nl::A_OUTCOME) == Some(nl::HELD),
        state: reply.u32(nl::A_REQUEST_STATE).unwrap_or(0),
        approve: reply.u64(nl::A_APPROVE).unwrap_or(u64::MAX),
        deny: reply.u64(nl::A_DENY).unwrap_or(u64::MAX),
        total: reply.u64(nl::A_TOTAL).unwrap_or(u64::MAX),
    })
}

/// Submits records one after the other as another user, without any capability; the answer to each.
pub(crate) fn submit_as(uid: u32, records: &[Vec<u8>]) -> Res<Vec<Result<u32, Refused>>> {
    as_user(uid, records, |record| {
        submit(record).map(|tally| tally.state)
    })
}

/// Hands in one piece of evidence after the other as another user; the fault that each answer names.
pub(crate) fn submit_evidence_as(uid: u32, all: &[Vec<u8>]) -> Res<Vec<Result<u32, Refused>>> {
    as_user(uid, all, |bytes| {
        submit_evidence(bytes).map(|reply| reply.u32(nl::A_FAULT).unwrap_or(0))
    })
}

/// Does one thing after the other as another user; the answer to each.
pub(crate) fn as_user(
    uid: u32,
    all: &[Vec<u8>],
    each: impl Fn(&[u8]) -> Result<u32, Refused>,
) -> Res<Vec<Result<u32, Refused>>> {
    let lines = crate::worker::in_child(uid, || {
        all.iter()
            .map(|bytes| match each(bytes) {
                Ok(number) => format!("0 {number}"),
                Err(refused) => format!("{} {}", refused.errno, refused.text),
            })
            .collect()
    })?;
    ensure!(
        lines.len() == all.len(),
        "{} answers to {}",
        lines.len(),
        all.len()
    );
    lines
        .iter()
        .map(|line| {
            let (number, rest) = line.split_once(' ').ok_or("bad answer")?;
            Ok(match number.parse::<i32>().map_err(|e| e.to_string())? {
                0 => Ok(rest.parse().map_err(|_| "bad number")?),
                errno => Err(Refused {
                    errno,
                    text: rest.to_string(),
                }),
            })
        })
        .collect()
}

/// A user that no other test of this boot is: none of them meets the limit of another.
pub(crate) fn new_user() -> u32 {
    static USERS: AtomicU32 = AtomicU32::new(0);
    // Each test is a process of its own.
    100_000 + std::process::id() * 100 + USERS.fetch_add(1, Ordering::Relaxed)
}

/// Hands in evidence.
pub(crate) fn submit_evidence(bytes: &[u8]) -> Result<Reply, Refused> {
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_EVIDENCE, bytes);
    call(nl::EVIDENCE_SUBMIT, &attributes)
}

/// Asks to end the quarantine of a validator.
pub(crate) fn readmit(name: &str) -> Result<Reply, Refused> {
    let mut attributes = Attributes::new();
    attributes.string(nl::A_VALIDATOR_NAME, name);
    call(nl::VALIDATOR_READMIT, &attributes)
}

/// Has `count` test validators, from the first enrolled on, approve a request; the last tally.
pub(crate) fn approve_by(request: &Request, count: usize) -> Res<Tally> {
    let mut last = None;
    let mut voters = voters()?;
    ensure!(voters.len() >= count, "only {} validators", voters.len());
    for voter in voters.iter_mut().take(count) {
        let tally = voter
            .cast(request, APPROVE)
            .map_err(|e| format!("{} approves: {e:?}", voter.validator.name))?;
        last = Some(tally);
    }
    last.ok_or_else(|| "nobody voted".to_string())
}

/// Loads a policy into a sealed node by a quorum of `count` approvals.
pub(crate) fn govern_policy(text: &str, count: usize) -> Res {
    let request = request_policy(text)?;
    let tally = approve_by(&request, count)?;
    ensure!(
        tally.state == nl::GRANTED,
        "{count} approvals left the policy in state {}",
        tally.state
    );
    match load_text(text.as_bytes()) {
        Ok(line) if line.starts_with("done policy ") => Ok(()),
        other => Err(format!("the granted policy: {other:?}")),
    }
}

/// Repeats a governance command until it is done, approving the request that it raises.
pub(crate) fn govern(
    what: &str,
    count: usize,
    mut ask: impl FnMut() -> Result<Reply, Refused>,
) -> Res {
    let reply = ask().map_err(|e| format!("{what}: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::PENDING),
        "{what} on a sealed node: outcome {:?}, not pending",
        reply.u32(nl::A_OUTCOME)
    );
    let id: [u8; 32] = reply
        .bytes(nl::A_REQUEST_ID)
        .and_then(|id| id.try_into().ok())
        .ok_or_else(|| format!("{what}: pending without a request id"))?;
    let tally = approve_by(&request(&id)?, count)?;
    ensure!(
        tally.state == nl::GRANTED,
        "{what}: {count} approvals gave state {}",
        tally.state
    );
    let reply = ask().map_err(|e| format!("{what}, granted: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
        "{what}, granted: outcome {:?}",
        reply.u32(nl::A_OUTCOME)
    );
    Ok(())
}

// --- events ---------------------------------------------------------------------------------------

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Its number.
    pub(crate) number: u64,
    /// Its kind.
    pub(crate) kind: u16,
    /// Operation.
    pub(crate) op: u16,
    /// Agent.
    pub(crate) agent: u64,
    /// Request.
    pub(crate) request: [u8; 32],
    /// Slot of the validator.
    pub(crate) slot: u16,
    /// Result.
    pub(crate) result: u16,
    /// Everything.
    pub(crate) bytes: Vec<u8>,
    /// Head of the chain after it.
    pub(crate) chain: Vec<u8>,
}

/// Kinds of events.
pub(crate) mod kind {
    pub(crate) const LOADED: u16 = 1;
    pub(crate) const POLICY: u16 = 2;
    pub(crate) const VALIDATOR_ADDED: u16 = 3;
    pub(crate) const SEALED: u16 = 5;
    pub(crate) const MODE: u16 = 6;
    pub(crate) const REQUEST: u16 = 7;
    pub(crate) const VOTE: u16 = 8;
    pub(crate) const GRANTED: u16 = 9;
    pub(crate) const DENIED: u16 = 10;
    pub(crate) const EXPIRED: u16 = 11;
    pub(crate) const CANCELLED: u16 = 12;
    pub(crate) const USED: u16 = 13;
    pub(crate) const GRANT_ENDED: u16 = 14;
    pub(crate) const REFUSED: u16 = 17;
    pub(crate) const AUDIT: u16 = 18;
    pub(crate) const VOTE_REFUSED: u16 = 19;
    pub(crate) const CONTROL_REFUSED: u16 = 20;
    pub(crate) const UNPINNED: u16 = 21;
    pub(crate) const RESTORED: u16 = 22;
    pub(crate) const STAGED: u16 = 23;
    pub(crate) const ANCHORED: u16 = 24;
    pub(crate) const DISCARDED: u16 = 25;
    pub(crate) const RECOVERED: u16 = 26;
    pub(crate) const CLOCK: u16 = 27;
    pub(crate) const HELD: u16 = 28;
    pub(crate) const QUARANTINED: u16 = 29;
    pub(crate) const READMITTED: u16 = 30;
    pub(crate) const WATCH: u16 = 31;
    pub(crate) const ALERT: u16 = 32;
    pub(crate) const CALM: u16 = 33;
    pub(crate) const REPUTATION: u16 = 34;
}

impl Event {
    /// What follows its header.
    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(92..).unwrap_or_default()
    }

    /// Decodes an event.
    pub(crate) fn decode(bytes: &[u8], chain: &[u8]) -> Res<Self> {
        ensure!(
            bytes.len() >= 92 && bytes.starts_with(b"TCPLEVT1"),
            "not an event: {}",
            hex(bytes)
        );
        let be = |at: usize, len: usize| {
            bytes[at..at + len]
                .iter()
                .fold(0u64, |all, &b| (all << 8) | u64::from(b))
        };
        let short = |at| u16::try_from(be(at, 2)).unwrap_or(0);
        ensure!(
            be(88, 4) == (bytes.len() - 92) as u64,
            "an event of {} bytes says {} of payload",
            bytes.len(),
            be(88, 4)
        );
        Ok(Self {
            number: be(8, 8),
            kind: short(32),
            op: short(34),
            agent: be(40, 8),
            request: array(bytes, 48),
            slot: short(80),
            result: short(82),
            bytes: bytes.to_vec(),
            chain: chain.to_vec(),
        })
    }
}

/// The events in the ring from a number on, and how many the node says are lost. Their chain is verified.
pub(crate) fn events_from(number: u64) -> Res<(Vec<Event>, u64)> {
    let mut attributes = Attributes::new();
    attributes.u64(nl::A_EVENT_NUMBER, number);
    let mut lost = 0;
    let mut events: Vec<Event> = Vec::new();
    for reply in dump(nl::EVENT_GET, &attributes).map_err(|e| format!("event-get: {e:?}"))? {
        lost = lost.max(reply.u64(nl::A_EVENTS_LOST).unwrap_or(0));
        let (Some(bytes), Some(chain)) = (reply.bytes(nl::A_EVENT), reply.bytes(nl::A_CHAIN))
        else {
            continue;
        };
        let event = Event::decode(bytes, chain)?;
        if let Some(before) = events.last() {
            ensure!(
                event.number == before.number + 1,
                "event {} after {}",
                event.number,
                before.number
            );
            let mut digest = Sha256::new();
            digest.update(&before.chain);
            digest.update(&event.bytes);
            ensure!(
                digest.finalize()[..] == event.chain[..],
                "the chain breaks at event {}",
                event.number
            );
        }
        events.push(event);
    }
    Ok((events, lost))
}

/// The events since a number, that one left out.
pub(crate) fn events_after(number: u64) -> Res<Vec<Event>> {
    Ok(events_from(number + 1)?.0)
}

// --- files ----------------------------------------------------------------------------------------

/// Makes an empty directory below the scratch directory, open to every user; its path.
pub(crate) fn fresh_dir(name: &str) -> Res<String> {
    let path = format!("{SCRATCH}/{name}");
    let _ = fs::remove_dir_all(&path);
    make_dir(&path)?;
    Ok(path)
}

/// Makes a directory with its parents, open to every user.
pub(crate) fn make_dir(path: &str) -> Res {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(path).map_err(|e| format!("{path}: {e}"))?;
    fs::set_permissions(SCRATCH, fs::Permissions::from_mode(0o777))
        .or_else(|e| {
            if Path::new(SCRATCH).exists() {
                Err(e)
            } else {
                Ok(())
            }
        })
        .map_err(|e| format!("{SCRATCH}: {e}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(|e| format!("{path}: {e}"))
}

/// Writes a file that every user may write.
pub(crate) fn make_file(path: &str, content: &str) -> Res {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, content).map_err(|e| format!("{path}: {e}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(|e| format!("{path}: {e}"))
}

/// Lets every user read a file.
pub(crate) fn make_readable(path: &str) -> Res {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|e| format!("{path}: {e}"))
}

/// The content of a file.
pub(crate) fn content(path: &str) -> Res<String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Reads a node of securityfs from its beginning.
pub(crate) fn reread(file: &mut fs::File) -> std::io::Result<String> {
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Writes to a file of tracefs.
pub fn tracefs(name: &str, value: &str) -> Res {
    let path = format!("/sys/kernel/tracing/{name}");
    fs::write(&path, value).map_err(|e| format!("{path}: {e}"))
}
