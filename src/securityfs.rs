// SPDX-License-Identifier: GPL-2.0

//! The files below `tcp_lsm/` in securityfs, see `Documentation/securityfs.rst`.

use crate::{
    abi::{
        capable::Capability,
        clock,
        securityfs::{
            Access,
            Dir,
            File,
            Node as Serve,
            Opener,
            Text, //
        }, //
    },
    engine::{
        anchor::{
            ANCHOR_INDEX,
            COUNTER_INDEX, //
        },
        byzantine::Fault,
        event::Event,
        limits,
        refusal::Refusal,
        request,
        watch::Reason, //
    },
    govern::Outcome,
    ledger::Next,
    node::Node,
    policy::PolicyError, //
};
use core::fmt::{
    self,
    Write as _, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What a file shows.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Content {
    Version,
    Status,
    Validators,
    Myself,
    Events,
    Requests,
}

/// The files that can only be read: name, mode, content.
const FILES: [(&CStr, u16, Content); 6] = [
    (c"version", 0o444, Content::Version),
    (c"status", 0o444, Content::Status),
    (c"validators", 0o400, Content::Validators),
    (c"self", 0o444, Content::Myself),
    (c"events", 0o400, Content::Events),
    (c"requests", 0o400, Content::Requests),
];

/// All files. They go when this is dropped, before the directory.
pub(crate) struct Tree {
    _policy: File<Policy>,
    _states: [File<StateFile>; 2],
    _files: KVec<File<View>>,
    _dir: Dir,
}

impl Tree {
    /// Makes the directory and its files.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOMEM`, and those of `securityfs_create_file`.
    pub(crate) fn new(node: &Arc<Node>) -> Result<Self> {
        let dir = Dir::new(c"tcp_lsm", None)?;
        let mut files = KVec::new();
        for (name, mode, content) in FILES {
            let view = Arc::new(
                View {
                    node: node.clone(),
                    content,
                },
                GFP_KERNEL,
            )?;
            files.push(File::new(&dir, name, mode, view)?, GFP_KERNEL)?;
        }
        let state = |name, mode, gives| {
            let node = node.clone();
            File::new(
                &dir,
                name,
                mode,
                Arc::new(StateFile { node, gives }, GFP_KERNEL)?,
            )
        };
        let policy = Arc::new(Policy { node: node.clone() }, GFP_KERNEL)?;
        Ok(Self {
            _policy: File::new(&dir, c"policy", 0o600, policy)?,
            _states: [
                state(c"state", 0o600, Gives::Restore)?,
                state(c"recover", 0o200, Gives::Recover)?,
            ],
            _files: files,
            _dir: dir,
        })
    }
}

/// Refuses agents, and openers without the right.
fn admit(node: &Node, opener: &Opener<'_>, admin: bool, tried: &str) -> Result {
    let refusal = if node.is_labelled() {
        Refusal::Labelled
    } else if admin && !opener.has_cap(Capability::MAC_ADMIN) {
        Refusal::NotPermitted
    } else {
        return Ok(());
    };
    node.control_refused(refusal, tried);
    Err(EPERM)
}

/// Whether the opener carried a label, which it cannot lose.
struct ByAgent(bool);

/// A file that can only be read.
struct View {
    node: Arc<Node>,
    content: Content,
}

#[vtable]
impl Serve for View {
    type State = ByAgent;
    type OwnerModule = crate::LocalModule;

    fn authorize(&self, opener: &Opener<'_>, _access: Access) -> Result {
        match self.content {
            Content::Myself => Ok(()),
            Content::Version | Content::Status => admit(&self.node, opener, false, "securityfs"),
            _ => admit(&self.node, opener, true, "securityfs"),
        }
    }

    fn open(&self, _opener: &Opener<'_>) -> Result<ByAgent> {
        Ok(ByAgent(self.node.is_labelled()))
    }

    fn read(&self, state: &ByAgent, _opener: &Opener<'_>, out: &mut Text) -> Result {
        if state.0 && self.content != Content::Myself {
            return Err(EPERM);
        }
        match self.content {
            Content::Version => writeln!(out, "{}", crate::VERSION).map_err(|_| ENOMEM),
            Content::Status => status(&self.node, out).map_err(|_| ENOMEM),
            Content::Validators => validators(&self.node, out).map_err(|_| ENOMEM),
            Content::Myself => myself(&self.node, out).map_err(|_| ENOMEM),
            Content::Events => events(&self.node, out),
            Content::Requests => requests(&self.node, out),
        }
    }
}

/// The policy: reading shows the running one, writing loads another.
struct Policy {
    node: Arc<Node>,
}

#[vtable]
impl Serve for Policy {
    type State = ByAgent;
    type OwnerModule = crate::LocalModule;

    const MAX_WRITE: usize = limits::POLICY_TEXT;

    fn authorize(&self, opener: &Opener<'_>, _access: Access) -> Result {
        admit(&self.node, opener, true, "policy")
    }

    fn open(&self, _opener: &Opener<'_>) -> Result<ByAgent> {
        Ok(ByAgent(self.node.is_labelled()))
    }

    fn read(&self, state: &ByAgent, _opener: &Opener<'_>, out: &mut Text) -> Result {
        if state.0 {
            return Err(EPERM);
        }
        match self.node.policy.read().get() {
            Some(policy) => out.append(policy.rules.text()),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        state: &ByAgent,
        _opener: &Opener<'_>,
        text: &[u8],
        diagnostics: &mut Text,
    ) -> Result {
        if state.0 {
            return Err(EPERM);
        }
        if self.node.is_stopping() {
            return Err(ENODEV);
        }
        match self.node.load_policy(text) {
            Ok(Outcome::Done(())) => {
                if let Some(policy) = self.node.policy.read().get() {
                    writeln!(
                        diagnostics,
                        "done policy {} {}",
                        policy.rules.name(),
                        policy.rules.version()
                    )
                    .map_err(|_| ENOMEM)?;
                }
                Ok(())
            }
            result => self.node.report(result, "policy", diagnostics),
        }
    }
}

/// What is written to a [`StateFile`].
#[derive(Clone, Copy, Eq, PartialEq)]
enum Gives {
    /// The state that the node goes on from.
    Restore,
    /// An outdated one, for the quorum to judge.
    Recover,
}

/// The sealed state: reading shows the staged one, writing gives one back.
struct StateFile {
    node: Arc<Node>,
    gives: Gives,
}

#[vtable]
impl Serve for StateFile {
    type State = ByAgent;
    type OwnerModule = crate::LocalModule;

    const MAX_WRITE: usize = limits::STATE;

    fn authorize(&self, opener: &Opener<'_>, _access: Access) -> Result {
        admit(&self.node, opener, true, "state")
    }

    fn open(&self, _opener: &Opener<'_>) -> Result<ByAgent> {
        Ok(ByAgent(self.node.is_labelled()))
    }

    fn read(&self, state: &ByAgent, _opener: &Opener<'_>, out: &mut Text) -> Result {
        if state.0 {
            return Err(EPERM);
        }
        self.node.with_staged(|staged| match staged {
            Some(staged) if self.gives == Gives::Restore => out.append(&staged.state),
            _ => Ok(()),
        })
    }

    fn write(
        &self,
        state: &ByAgent,
        _opener: &Opener<'_>,
        bytes: &[u8],
        diagnostics: &mut Text,
    ) -> Result {
        if state.0 {
            return Err(EPERM);
        }
        if self.node.is_stopping() {
            return Err(ENODEV);
        }
        let result = match self.gives {
            Gives::Restore => self.node.restore(bytes),
            Gives::Recover => self.node.recover(bytes),
        };
        self.node.report(result, "state", diagnostics)
    }
}

impl Node {
    /// Writes what has become of a transaction to its diagnostics: one line.
    fn report(
        &self,
        result: Result<Outcome<()>, PolicyError>,
        tried: &str,
        diagnostics: &mut Text,
    ) -> Result {
        match result {
            Ok(Outcome::Done(())) => Ok(()),
            Ok(Outcome::Staged(counter)) => {
                writeln!(diagnostics, "staged {counter}").map_err(|_| ENOMEM)
            }
            Ok(Outcome::Pending(id)) => {
                writeln!(diagnostics, "pending {}", Hex(&id)).map_err(|_| ENOMEM)?;
                Err(Error::from_errno(-Refusal::Pending.errno()))
            }
            Err(error) => {
                let refusal = error.refusal();
                self.control_refused(refusal, tried);
                let _ = writeln!(diagnostics, "{error}");
                Err(Error::from_errno(-refusal.errno()))
            }
        }
    }
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes that come from a user, with everything but visible ASCII escaped.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            b'!'..=b'[' | b']'..=b'~' => f.write_char(char::from(*byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

fn status(node: &Node, out: &mut Text) -> fmt::Result {
    writeln!(out, "phase {}", node.phase().name())?;
    writeln!(out, "mode {}", node.mode().name())?;
    writeln!(out, "sealed_by {}", node.identity.sealed_by().name())?;
    writeln!(out, "node {}", Hex(&node.identity.node))?;
    writeln!(out, "epoch {}", node.identity.epoch())?;
    match node.policy.read().get() {
        Some(policy) => writeln!(
            out,
            "policy {} {} {}",
            policy.rules.name(),
            policy.rules.version(),
            Hex(&policy.digest)
        )?,
        None => writeln!(out, "policy none")?,
    }
    let validators = node.validators();
    writeln!(
        out,
        "validators {} weight {}",
        validators.len(),
        validators.total()
    )?;
    let ((open, grants, number, head), (quarantined, weight), active) =
        node.with_books(|books, _| {
            let counts = (
                books.docket.open_len(),
                books.docket.grants_len(),
                books.ledger.number(),
                *books.ledger.head(),
            );
            (
                counts,
                books.quarantine.total(),
                books.ledger.watch.active(),
            )
        });
    writeln!(out, "quarantined {quarantined} weight {weight}")?;
    alerts(active, out)?;
    writeln!(out, "agents {}", node.agents.len())?;
    writeln!(out, "tasks {}", node.tasks())?;
    writeln!(out, "requests {open}")?;
    writeln!(out, "grants {grants}")?;
    writeln!(out, "event {number}")?;
    writeln!(out, "chain {}", Hex(&head))?;
    writeln!(out, "hooks {}", crate::hooks::attached().count())?;
    kept(node, out)?;
    node.counters
        .iter()
        .try_for_each(|(name, value)| writeln!(out, "counter {name} {value}"))
}

/// What the TPM keeps, and what it waits for.
fn kept(node: &Node, out: &mut Text) -> fmt::Result {
    let (Some(tpm), Some(kept)) = (&node.identity.tpm, node.kept()) else {
        return Ok(());
    };
    out.write_str("tpm ")?;
    tpm.to_bytes()
        .iter()
        .try_for_each(|byte| out.write_char(char::from(*byte)))?;
    writeln!(out)?;
    writeln!(out, "tpm_software {}", u8::from(kept.is_software))?;
    writeln!(out, "nv_counter {COUNTER_INDEX:08x}")?;
    writeln!(out, "nv_anchor {ANCHOR_INDEX:08x}")?;
    writeln!(out, "state_counter {}", kept.counter)?;
    match kept.anchor {
        Some(anchor) => writeln!(out, "anchor {}", Hex(&anchor))?,
        None => writeln!(out, "anchor none")?,
    }
    if let Some(last) = kept.committed {
        let ago = clock::boottime_ms().saturating_sub(last.at_ms);
        writeln!(out, "anchored {}", last.number)?;
        writeln!(out, "anchored_ms {ago}")?;
    }
    writeln!(out, "anchor_interval {}", kept.settings.interval_s)?;
    writeln!(out, "nv_writes {}", kept.writes)?;
    writeln!(out, "nv_writes_year {}", kept.writes_a_year())?;
    writeln!(out, "pcrs {:x}", kept.settings.pcrs)?;
    match kept.staged {
        Some(counter) => writeln!(out, "staged {counter}")?,
        None => writeln!(out, "staged none")?,
    }
    match kept.reason {
        Some(reason) => writeln!(out, "reason {}", reason.name()),
        None => Ok(()),
    }
}

/// The reasons of the alerts that hold, by name.
fn alerts(active: u32, out: &mut Text) -> fmt::Result {
    let mut sign = ' ';
    out.write_str("alert")?;
    for reason in Reason::ALL {
        if active & reason.bit() != 0 {
            write!(out, "{sign}{}", reason.name())?;
            sign = ',';
        }
    }
    writeln!(out, "{}", if active == 0 { " none" } else { "" })
}

fn validators(node: &Node, out: &mut Text) -> fmt::Result {
    node.validators().iter().try_for_each(|validator| {
        let (score, fault) = {
            let books = node.books.lock();
            let reputation = books.ledger.watch.reputations().of(validator.slot);
            (reputation.score, books.quarantine.fault(&validator.id))
        };
        writeln!(
            out,
            "{} {} {} {} {score} {}",
            validator.slot,
            validator.weight,
            validator.name,
            Hex(&validator.id),
            fault.map_or("trusted", Fault::name)
        )
    })
}

fn myself(node: &Node, out: &mut Text) -> fmt::Result {
    let Some(agent) = node.current_agent() else {
        return writeln!(out, "agent none");
    };
    writeln!(out, "agent {}", agent.id)?;
    writeln!(out, "name {}", agent.name)?;
    writeln!(out, "class {}", agent.class)?;
    writeln!(out, "depth {}", agent.depth)?;
    match node.with_current_label(|label| label.last_request()) {
        Some(Some(id)) => writeln!(out, "request {}", Hex(&id)),
        _ => Ok(()),
    }
}

fn events(node: &Node, out: &mut Text) -> Result {
    let mut room = KVVec::from_elem(
        0,
        crate::engine::event::HEADER_LEN + limits::EVENT_PAYLOAD,
        GFP_KERNEL,
    )?;
    let mut at = node.books.lock().ledger.seek(0);
    // What is recorded while this runs is for the next reader: the text must come to an end.
    let last = node.books.lock().ledger.number();
    loop {
        let next = node.books.lock().ledger.read(at, &mut room);
        let Next::Event {
            number,
            chain,
            len,
            next,
        } = next
        else {
            return Ok(());
        };
        if number > last {
            return Ok(());
        }
        let event = Event::decode(room.get(..len).unwrap_or(&[])).map_err(|_| EIO)?;
        event_line(&event, &chain, out).map_err(|_| ENOMEM)?;
        at = next;
    }
}

fn event_line(event: &Event<'_>, chain: &[u8; 32], out: &mut Text) -> fmt::Result {
    let header = &event.header;
    write!(out, "{} {}", header.number, header.kind.name())?;
    match header.op {
        Some(op) => write!(out, " {}", op.name())?,
        None => write!(out, " -")?,
    }
    write!(out, " uid={}", header.uid)?;
    for (name, value) in [
        ("agent", header.agent),
        ("slot", u64::from(header.slot)),
        ("result", u64::from(header.result)),
        ("line", u64::from(header.line)),
    ] {
        if value != 0 {
            write!(out, " {name}={value}")?;
        }
    }
    if header.request != [0; 32] {
        write!(out, " request={}", Hex(&header.request))?;
    }
    writeln!(out, " chain={}", Hex(chain))
}

fn requests(node: &Node, out: &mut Text) -> Result {
    let mut encoding: KVec<u8> = KVec::with_capacity(request::MAX_LEN, GFP_KERNEL)?;
    let mut seen = 0;
    loop {
        let found = node.with_books(|books, _| {
            let request = (0..)
                .map_while(|index| books.docket.at(index))
                .find(|request| request.created > seen)?;
            encoding.clear();
            // The room suffices, so nothing is allocated.
            let _ = encoding.extend_from_slice(&request.encoding, GFP_ATOMIC);
            Some((request.created, request.id, request.state, request.tally()))
        });
        let Some((created, id, state, tally)) = found else {
            return Ok(());
        };
        seen = created;
        let decoded = request::Request::decode(&encoding).map_err(|_| EIO)?;
        let path = decoded.facts().find_map(|fact| match fact {
            request::Fact::Path(path) => Some(path),
            _ => None,
        });
        writeln!(
            out,
            "{} {} {} {} {} {}/{}/{} {}",
            Hex(&id),
            state.name(),
            decoded.binding.op.name(),
            decoded.binding.uid,
            decoded.binding.agent,
            tally.approve,
            tally.deny,
            tally.total,
            Escaped(path.unwrap_or(b"-"))
        )
        .map_err(|_| ENOMEM)?;
    }
}
