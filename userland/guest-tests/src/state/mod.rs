// SPDX-License-Identifier: GPL-2.0

//! The sealed state (`Documentation/sealed-state.rst`): attacks on it, and the ways back.
//!
//! A restart is here what it is to the TPM and to the module: a quorum lets the module go, and it is loaded again.

mod past;
mod recovery;
mod tpm;
mod unsealed;

pub(crate) use past::{
    GIVEN,
    TESTS, //
};
pub(crate) use recovery::TESTS as RECOVERY;
pub(crate) use unsealed::TESTS as UNSEALED;

use crate::client::{
    Attributes,
    Refused,
    Reply, //
};
use crate::ensure;
use crate::keys::sha256;
use crate::stage::{
    self,
    errno_name,
    expect_errno,
    nl,
    Event,
    PolicyRefused,
    Request,
    Res,
    APPROVE, //
};
use crate::worker::{
    errno_of,
    outcome, //
};
use std::fs::{
    self,
    File, //
};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

/// Validators of a node of these tests; three of them are a quorum.
const VALIDATORS: u32 = 4;

/// Name of its policy.
const POLICY: &str = "state";

/// Where agents need a quorum to write.
fn guarded() -> Res<String> {
    let dir = format!("{}/state-quorum", stage::SCRATCH);
    stage::make_dir(&dir)?;
    stage::make_file(&format!("{dir}/file"), "")?;
    Ok(dir)
}

fn body() -> Res<String> {
    Ok(format!(
        "class a\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={} action=QUORUM threshold=75% ttl=1h uses=3\n\
         op=POLICY,VALIDATOR,MODE,UNLOAD,RECOVER action=QUORUM threshold=75%\n",
        guarded()?
    ))
}

// --- the module -----------------------------------------------------------------------------------

/// Loads the module; the errno.
pub(crate) fn insert(parameters: &str) -> Res<i32> {
    let release = stage::content("/proc/sys/kernel/osrelease")?;
    let path = format!("/usr/lib/modules/{}/updates/tcp_lsm.ko", release.trim());
    let file = File::open(&path).map_err(|e| format!("{path}: {e}"))?;
    let parameters = std::ffi::CString::new(parameters).map_err(|e| e.to_string())?;
    // SAFETY: The descriptor is open and the parameters are a string with its terminator.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    };
    Ok(outcome(result))
}

/// Loads the module, which must succeed.
pub(crate) fn load(parameters: &str) -> Res {
    expect_errno("loading the module", insert(parameters)?, 0)
}

/// Loads the module as [`load`], three times at most: on a busy host the TPM may not answer in time. A load that fails for
/// that leaves nothing.
pub(crate) fn load_patiently(parameters: &str) -> Res {
    for _ in 0..2 {
        match insert(parameters)? {
            0 => return Ok(()),
            libc::EIO => {
                stage::no_trace()?;
                println!("the TPM did not answer in time: loading once more");
            }
            errno => return expect_errno("loading the module", errno, 0),
        }
    }
    load(parameters)
}

/// Unloads the module, with the votes of all that are enrolled when it is sealed.
pub(crate) fn unload() -> Res {
    if fs::metadata(stage::SECURITYFS).is_err() {
        return Ok(());
    }
    if stage::status()?.phase == nl::SEALED {
        let reply = stage::call(nl::UNLOAD, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
        if reply.u32(nl::A_OUTCOME) == Some(nl::PENDING) {
            approve(&requested(&reply)?)?;
            stage::call(nl::UNLOAD, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
        }
    }
    stage::eventually(Duration::from_secs(5), || {
        // SAFETY: The name is a constant string with its terminator.
        let result = unsafe {
            libc::syscall(
                libc::SYS_delete_module,
                c"tcp_lsm".as_ptr(),
                libc::O_NONBLOCK,
            )
        };
        expect_errno("delete_module", outcome(result), 0)
    })
}

/// Unloads the module and loads it again.
pub(crate) fn restart() -> Res {
    unload()?;
    load("")
}

/// Unloads the module and has the TPM forget the node: the next load is a first use.
pub(crate) fn forget() -> Res {
    unload()?;
    tpm::undefine(tpm::COUNTER)?;
    tpm::undefine(tpm::ANCHOR)
}

/// A node that was never used before, sealed; its first state.
fn first_sealed() -> Res<Kept> {
    forget()?;
    load("")?;
    seal()
}

/// Seals a node that is in setup; its state.
fn seal() -> Res<Kept> {
    stage::prepare(VALIDATORS, POLICY, &body()?)?;
    keep(stage::ask(nl::SEAL, &Attributes::new()))
}

/// A sealed node with nothing staged, whose TPM is as it left it: the one that is there, or a new one.
fn sealed() -> Res {
    if usable()? {
        return stage::cancel_all();
    }
    first_sealed().map(drop)
}

fn usable() -> Res<bool> {
    if fs::metadata(stage::SECURITYFS).is_err() {
        return Ok(false);
    }
    let status = stage::status()?;
    Ok(status.phase == nl::SEALED
        && status.policy_name.as_deref() == Some(POLICY)
        && status.total == u64::from(VALIDATORS)
        && stage::status_line("staged")? == "none"
        && stage::status_number("state_counter")? == tpm::counter()?
        && stage::status_line("anchor")? == stage::hex(&tpm::anchor()?.unwrap_or_default()))
}

// --- governance -----------------------------------------------------------------------------------

/// The request that a reply names.
pub(crate) fn requested(reply: &Reply) -> Res<Request> {
    let id: [u8; 32] = reply
        .bytes(nl::A_REQUEST_ID)
        .and_then(|id| id.try_into().ok())
        .ok_or("no request id in the reply")?;
    stage::request(&id)
}

/// Approves a request until it is granted.
pub(crate) fn approve(request: &Request) -> Res {
    let mut state = request.state;
    let voters = stage::voters()?;
    for mut voter in voters.into_iter().filter(|voter| voter.fault.is_none()) {
        if state != nl::OPEN {
            break;
        }
        let name = voter.validator.name.clone();
        let tally = voter
            .cast(request, APPROVE)
            .map_err(|e| format!("{name} approves: {e:?}"))?;
        state = tally.state;
    }
    ensure!(
        state == nl::GRANTED,
        "the approvals of all left the request in state {state}"
    );
    Ok(())
}

/// Has a quorum approve a policy, and stages it; the line of the diagnostic.
fn stage_policy(text: &str) -> Res<String> {
    approve(&stage::request_policy(text)?)?;
    let line = stage::write_node("policy", text.as_bytes())
        .map_err(|e| format!("the granted policy: {e:?}"))?;
    ensure!(
        line.starts_with("staged "),
        "the granted policy: \"{line}\""
    );
    Ok(line)
}

/// The policy of these tests in its next version, with a comment.
fn next_policy(comment: &str) -> Res<String> {
    stage::with_header(POLICY, &format!("{}# {comment}\n", body()?))
}

/// The attributes of the change to permissive mode.
fn permissive() -> Attributes {
    let mut mode = Attributes::new();
    mode.u32(nl::A_MODE, nl::PERMISSIVE);
    mode
}

// --- states ---------------------------------------------------------------------------------------

/// A state that storage holds.
#[derive(Clone, PartialEq)]
pub(crate) struct Kept(pub(crate) Vec<u8>);

impl Kept {
    fn be(&self, at: usize, length: usize) -> u64 {
        crate::harness::be(&self.0, at, length)
    }

    fn array(&self, at: usize) -> [u8; 32] {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.0.iter().skip(at)) {
            *to = *from;
        }
        out
    }

    /// Value of the counter once it is committed.
    fn counter(&self) -> u64 {
        self.be(44, 8)
    }

    /// The anchor before that.
    fn previous(&self) -> [u8; 32] {
        self.array(52)
    }

    /// The anchor then.
    fn anchor(&self) -> [u8; 32] {
        self.array(84)
    }

    /// Head of the chain.
    pub(crate) fn head(&self) -> [u8; 32] {
        self.array(116)
    }

    /// Number of the event that has that head.
    fn number(&self) -> u64 {
        self.be(148, 8)
    }

    /// Where the private and the public part of the state key stand, sizes included.
    fn blobs(&self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let size = |at| 2 + usize::try_from(self.be(at, 2)).unwrap_or(0);
        let private = 168..168 + size(168);
        let public = private.end..private.end + size(private.end);
        (private, public)
    }

    /// Where the sections begin: behind mode, reserved and their number.
    fn sections(&self) -> usize {
        self.blobs().1.end + 4
    }

    /// Where the value of the section with that tag stands.
    fn section(&self, tag: u64) -> Res<std::ops::Range<usize>> {
        let mut at = self.sections();
        while at + 8 <= self.0.len() {
            let length = usize::try_from(self.be(at + 4, 4)).unwrap_or(0);
            if self.be(at, 2) == tag {
                return Ok(at + 8..at + 8 + length);
            }
            at += 8 + length;
        }
        Err(format!("the state has no section {tag}"))
    }

    /// The same with other bytes at an offset.
    fn with(&self, at: usize, bytes: &[u8]) -> Self {
        let mut out = self.0.clone();
        for (to, from) in out.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
        Self(out)
    }

    /// The same with the value of a section replaced and all lengths right.
    fn with_section(&self, tag: u64, value: &[u8]) -> Res<Self> {
        let place = self.section(tag)?;
        let mut out = self.0[..place.start - 4].to_vec();
        out.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        out.extend(value);
        out.extend(&self.0[place.end..]);
        let length = u32::try_from(out.len()).unwrap_or(0).to_be_bytes();
        Ok(Self(out).with(8, &length))
    }
}

/// Commits what a command has staged, as `tcpctl` does; the state that storage would hold.
pub(crate) fn keep(reply: Result<Reply, Refused>) -> Res<Kept> {
    let reply = reply.map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::STAGED),
        "outcome {:?}, not staged",
        reply.u32(nl::A_OUTCOME)
    );
    let state = staged()?;
    ensure!(
        reply.u64(nl::A_STAGED_COUNTER) == Some(state.counter()),
        "the reply says counter {:?}, the state {}",
        reply.u64(nl::A_STAGED_COUNTER),
        state.counter()
    );
    commit()?;
    Ok(state)
}

/// What is staged.
fn staged() -> Res<Kept> {
    let state = stage::staged_state().map_err(|e| format!("state: {e}"))?;
    ensure!(!state.is_empty(), "nothing is staged");
    Ok(Kept(state))
}

/// Commits what is staged.
fn commit() -> Res {
    let reply = stage::commit().map_err(|e| format!("commit: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE)
            && reply.u64(nl::A_STATE_COUNTER) == Some(tpm::counter()?)
            && reply.bytes(nl::A_ANCHOR) == tpm::anchor()?.as_deref(),
        "the commit's reply is not what the TPM has: {reply:?}"
    );
    Ok(())
}

/// Stages a checkpoint; the reply.
pub(crate) fn checkpoint() -> Result<Reply, Refused> {
    stage::ask(nl::STATE_STAGE, &Attributes::new())
}

/// Has something happen, so that there is news, and saves the node as it is then.
fn save() -> Res<Kept> {
    stage::fresh_request()?;
    keep(checkpoint())
}

fn discard() -> Result<Reply, Refused> {
    stage::ask(nl::STATE_DISCARD, &Attributes::new())
}

/// Gives a state back; the line of the diagnostic.
fn give(state: &Kept) -> Result<String, PolicyRefused> {
    stage::write_node("state", &state.0)
}

/// Gives a state back, which must be taken, and commits; the state that follows it.
pub(crate) fn restore(state: &Kept) -> Res<Kept> {
    let line = give(state).map_err(|e| format!("the state: {e:?}"))?;
    let next = staged()?;
    ensure!(
        line == format!("staged {}", next.counter()),
        "the diagnostic is \"{line}\" for counter {}",
        next.counter()
    );
    ensure!(
        stage::status()?.phase == nl::LOCKED,
        "the node did not wait for the commit"
    );
    commit()?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SEALED && status.epoch == next.counter(),
        "restored: {status:?}"
    );
    Ok(next)
}

/// The errno of a refusal of this document.
fn errno_for(code: &str) -> i32 {
    match code {
        "state_missing" => libc::ENODATA,
        "state_malformed" | "state_digest" => libc::EBADMSG,
        "state_forged" => libc::EKEYREJECTED,
        "state_older" | "state_staged_only" | "counter_behind" | "anchor_differs" => libc::ESTALE,
        "state_other_tpm" => libc::EXDEV,
        "state_key" => libc::ENOKEY,
        "state_pcr" => libc::EACCES,
        "counter_missing" | "anchor_missing" | "state_none" => libc::ENOENT,
        "state_conflict" | "state_staged" => libc::EBUSY,
        "state_unsealed" => libc::EOPNOTSUPP,
        "state_locked" => libc::EPERM,
        "counter_foreign" | "anchor_foreign" | "state_current" => libc::EINVAL,
        _ => -1,
    }
}

/// A transaction must have been refused with this code.
fn refused<T: std::fmt::Debug>(what: &str, got: Result<T, PolicyRefused>, code: &str) -> Res {
    match got {
        Ok(line) => Err(format!("{what}: {line:?} instead of {code}")),
        Err(refused) => {
            ensure!(
                refused.errno == errno_for(code) && refused.line.starts_with(&format!("{code}: ")),
                "{what}: {} \"{}\" instead of {code}",
                errno_name(refused.errno),
                refused.line
            );
            Ok(())
        }
    }
}

/// A command must have been refused with this code.
fn declined<T>(what: &str, got: Result<T, Refused>, code: &str) -> Res {
    stage::expect_refused(what, got, errno_for(code), code)
}

// --- a locked node --------------------------------------------------------------------------------

/// What an attacker has from a node that was restarted.
pub(crate) struct Past {
    /// The state of the seal.
    pub(crate) older: Kept,
    /// The last one that was committed.
    pub(crate) current: Kept,
    /// One that was staged after it, and never committed.
    pub(crate) next: Kept,
}

/// Where the past is kept from test to test.
const KEPT: &str = "/tmp/guest-tests-past";

/// A locked node, and its past: the one that is there if nobody has touched its TPM, or a new one.
pub(crate) fn locked() -> Res<Past> {
    if let Some(past) = found() {
        return Ok(past);
    }
    let older = first_sealed()?;
    stage_policy(&next_policy("changed")?)?;
    let current = staged()?;
    commit()?;
    stage::fresh_request()?;
    let reply = checkpoint().map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::STAGED),
        "the checkpoint: {reply:?}"
    );
    let next = staged()?;
    restart()?;
    ensure!(
        stage::status()?.phase == nl::LOCKED,
        "a restarted node is not locked"
    );
    let past = Past {
        older,
        current,
        next,
    };
    fs::create_dir_all(KEPT).map_err(|e| format!("{KEPT}: {e}"))?;
    for (name, state) in [
        ("older", &past.older),
        ("current", &past.current),
        ("next", &past.next),
    ] {
        fs::write(format!("{KEPT}/{name}"), &state.0).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(past)
}

fn found() -> Option<Past> {
    let read = |name| fs::read(format!("{KEPT}/{name}")).ok().map(Kept);
    let past = Past {
        older: read("older")?,
        current: read("current")?,
        next: read("next")?,
    };
    let status = stage::status().ok()?;
    let is_it = status.phase == nl::LOCKED
        && stage::status_line("staged").ok()? == "none"
        && tpm::counter().ok()? == past.current.counter()
        && tpm::anchor().ok()?? == past.current.anchor();
    is_it.then_some(past)
}

impl Past {
    /// Neither the node nor the TPM has moved.
    pub(crate) fn same(&self) -> Res {
        ensure!(
            stage::status()?.phase == nl::LOCKED,
            "a refused state unlocked the node"
        );
        ensure!(
            tpm::counter()? == self.current.counter()
                && tpm::anchor()?.as_deref() == Some(&self.current.anchor()),
            "a refused state moved the TPM's indices"
        );
        Ok(())
    }

    /// That, and the reason is this one.
    fn unmoved(&self, reason: &str) -> Res {
        ensure!(
            stage::status_line("reason")? == reason,
            "the reason in status is {}, not {reason}",
            stage::status_line("reason")?
        );
        self.same()
    }

    /// This state must be refused with that code, and nothing else happen.
    fn refuses(&self, what: &str, state: &Kept, code: &str) -> Res {
        refused(what, give(state), code)?;
        self.unmoved(code)
    }
}

// --- events ---------------------------------------------------------------------------------------

/// All events of this load; their chain is verified from its beginning, which binds `previous`.
pub(crate) fn history(previous: &[u8; 32]) -> Res<Vec<Event>> {
    let status = stage::status()?;
    let first = (status.epoch << 32) + 1;
    let (events, _) = stage::events_from(first)?;
    let begin = events.first().ok_or("no events")?;
    ensure!(
        begin.number == first && begin.kind == stage::kind::LOADED && begin.result == 2,
        "the first event of epoch {} is {begin:?}",
        status.epoch
    );
    let genesis = sha256(&[
        b"TCPLCHN2",
        &status.node,
        &status.epoch.to_be_bytes(),
        previous,
    ]);
    ensure!(
        begin.chain[..] == sha256(&[&genesis, &begin.bytes]),
        "the chain does not begin with the previous head"
    );
    let last = events.last().ok_or("no events")?;
    ensure!(
        last.number == status.event && last.chain == status.chain,
        "the events do not end at the chain's head"
    );
    Ok(events)
}

/// The anchor after what the ANCHORED events say has been anchored; each must say the truth.
fn replay(mut anchor: [u8; 32], events: &[Event]) -> Res<[u8; 32]> {
    for event in events {
        if event.kind != stage::kind::ANCHORED {
            continue;
        }
        let payload = event.bytes.get(92..).unwrap_or_default();
        ensure!(
            payload.len() == 80,
            "ANCHORED has {} bytes of payload",
            payload.len()
        );
        let (number, head) = (crate::harness::be(payload, 8, 8), &payload[16..48]);
        let covered = events
            .iter()
            .find(|other| other.number == number)
            .ok_or_else(|| format!("no event {number}, which is anchored"))?;
        ensure!(
            covered.chain == head,
            "event {number} has another head than ANCHORED says"
        );
        anchor = sha256(&[&anchor, head]);
        ensure!(
            payload[48..] == anchor,
            "ANCHORED of event {number} names another anchor"
        );
    }
    Ok(anchor)
}

/// Result of running a program with these words.
fn run(words: &[&str]) -> Res<Vec<u8>> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    ensure!(
        output.status.success(),
        "{words:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The errno of opening a file for writing as an unprivileged user.
fn open_as_user(path: &str) -> Res<i32> {
    crate::worker::errno_as(40_200, || {
        errno_of(&fs::OpenOptions::new().write(true).open(path))
    })
}
