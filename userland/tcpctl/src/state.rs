// SPDX-License-Identifier: GPL-2.0

//! `tcpctl state`: what a node keeps over a restart, see `Documentation/sealed-state.rst`.
//!
//! Every commit goes through [`save`], whichever command staged it. The state directory holds at most these files, each
//! complete at any time:
//!
//! | file | content |
//! |---|---|
//! | `state` | the last state whose commit was acknowledged |
//! | `state.new` | the state that is being committed; the current one when its commit was not followed by the rename |
//! | `state.tmp` | what is being written; nobody reads it |
//! | `state.old` | what was displaced: from `state.new` when it was neither the current state nor the staged one, or from
//! `state` by one that was given back |

use std::{
    env,
    os::fd::AsFd,
    path::{
        Path,
        PathBuf, //
    },
    thread::sleep,
    time::{
        Duration,
        Instant, //
    }, //
};

use clap::{
    Args,
    Subcommand, //
};
use engine::{
    byzantine::Fault,
    clock::{
        ClaimedClock,
        NODE_SLOT, //
    },
    evidence::Evidence,
    limits,
    policy::Policy,
    refusal::Refusal,
    state::{
        Kept,
        State, //
    }, //
};
use nix::{
    errno::Errno,
    poll::{
        poll,
        PollFd,
        PollFlags,
        PollTimeout, //
    },
    sys::{
        signal::{
            SigSet,
            Signal, //
        },
        signalfd::{
            SfdFlags,
            SignalFd, //
        }, //
    }, //
};
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        Client,
        Committed,
        Outcome,
        Phase,
        Sealing,
        Status,
        Taken, //
    },
    crypto::{
        sha256,
        validator_id,
        Sha256, //
    },
    describe::kept_json,
    error::{
        Error,
        Result, //
    },
    file::{
        self,
        Directory, //
    },
    govern::{
        self,
        Wait, //
    },
    ids::short,
    output::{
        clean,
        note,
        pairs,
        Output,
        Table, //
    },
    securityfs::{
        self,
        Given, //
    },
    time::{
        self,
        human_time, //
    }, //
};

/// Where states are kept unless somebody says otherwise.
const DIRECTORY: &str = "/var/lib/tcp-lsm";
/// The last state whose commit was acknowledged.
pub(crate) const STATE: &str = "state";
/// The state that is being committed.
pub(crate) const NEW: &str = "state.new";
/// What is being written.
const TEMPORARY: &str = "state.tmp";
/// What was displaced from [`NEW`].
const OLD: &str = "state.old";

/// What to do with the node's state.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Save a checkpoint, or finish a change that is staged
    #[command(after_help = "Example:\n  tcpctl state save")]
    Save {
        #[command(flatten)]
        place: Place,
    },
    /// Save a checkpoint again and again, one at once when a validator is quarantined, and a last one when it is ended
    /// (SIGTERM, SIGINT)
    #[command(after_help = "Example:\n  tcpctl state keep --every 15m")]
    Keep {
        /// How often (30s, 15m, 2h); without, as often as the node was told (module parameter `anchor_interval`)
        #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
        every: Option<Duration>,
        #[command(flatten)]
        place: Place,
    },
    /// Give a locked node its state back, and commit that
    ///
    /// Without FILE, state.new of the state directory is tried, then state, then state.old.
    #[command(after_help = "Example:\n  tcpctl state restore")]
    Restore {
        /// A copy of the state
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Show what a state holds; works on any machine
    #[command(after_help = "Example:\n  tcpctl state show /var/lib/tcp-lsm/state")]
    Show {
        /// The state; without, that of the state directory
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Unlock a node whose last state is lost: with an older one by quorum, or by beginning anew
    #[command(
        after_help = "Examples:\n  tcpctl state recover --from /backup/state --wait\n  tcpctl state recover --setup --yes"
    )]
    Recover(Recover),
    /// Drop the change that is staged
    #[command(after_help = "Example:\n  tcpctl state discard")]
    Discard {
        #[command(flatten)]
        place: Place,
    },
}

/// How to recover.
#[derive(Debug, Args)]
#[group(id = "way", required = true, multiple = false, args = ["from", "setup"])]
pub(crate) struct Recover {
    /// An authentic state of this node; its validators decide by quorum
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Forget policy and validators, and begin setup
    #[arg(long)]
    setup: bool,
    /// Do so without being asked again
    #[arg(long, conflicts_with = "from")]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Where states are kept.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    /// Where states are kept [default: $TCPCTL_STATE_DIR, or /var/lib/tcp-lsm]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Place {
    /// The directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.state_dir
            .clone()
            .or_else(|| {
                env::var_os("TCPCTL_STATE_DIR")
                    .filter(|value| !value.is_empty())
                    .map(PathBuf::from)
            })
            .unwrap_or_else(|| PathBuf::from(DIRECTORY))
    }
}

/// What a save has just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Step {
    /// The kernel has the change, and keeps it back.
    Staged,
    /// The state stands in a file, which nothing has flushed.
    Written,
    /// File and directory are flushed.
    Synced,
    /// It was read again.
    ReadBack,
    /// The TPM has it, and the change is in effect.
    Committed,
    /// The new file stands where the old one was.
    Renamed,
    /// And that is flushed.
    Done,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Written => "written",
            Self::Synced => "synced",
            Self::ReadBack => "read-back",
            Self::Committed => "committed",
            Self::Renamed => "renamed",
            Self::Done => "done",
        }
    }
}

/// Announces a step and waits after it, where `TCPCTL_STEP_MS` asks for that: so that a test can cut the power there.
fn announce(step: Step) -> Result<()> {
    let pause = env::var("TCPCTL_STEP_MS")
        .ok()
        .and_then(|ms| ms.parse().ok())
        .map(Duration::from_millis);
    if let Some(pause) = pause {
        eprintln!("step {}", step.name());
        sleep(pause);
    }
    Ok(())
}

/// What a save and a restore need of the node.
trait Node {
    /// What the TPM holds, and what is staged.
    fn sealing(&mut self) -> Result<Sealing>;
    /// The staged state.
    fn staged(&mut self) -> Result<Vec<u8>>;
    /// Commits the staged state, of which storage holds one with this digest.
    fn commit(&mut self, digest: &[u8; 32]) -> Result<Committed>;
    /// Gives a state back: the counter of its successor, which is staged.
    fn restore(&mut self, state: &[u8]) -> Result<u64>;
}

impl Node for Client {
    fn sealing(&mut self) -> Result<Sealing> {
        self.status()?
            .sealing
            .ok_or_else(|| Error::of(Refusal::StateUnsealed))
    }

    fn staged(&mut self) -> Result<Vec<u8>> {
        securityfs::read("state")
    }

    fn commit(&mut self, digest: &[u8; 32]) -> Result<Committed> {
        self.state_commit(digest)
    }

    fn restore(&mut self, state: &[u8]) -> Result<u64> {
        match securityfs::give("state", state)? {
            Given::Staged(counter) => Ok(counter),
            Given::Pending(_) => Err(Error::invalid(
                "protocol",
                "the kernel wants a quorum for a state that is restored: use the tcpctl that was built with this module",
            )),
        }
    }
}

/// Whether these are the bytes of the state that the TPM holds.
pub(crate) fn is_current(bytes: &[u8], sealing: &Sealing) -> bool {
    State::parse::<Sha256>(bytes).is_ok_and(|state| {
        sealing.counter == Some(state.head.counter) && sealing.anchor == Some(*state.head.anchor)
    })
}

/// Puts the current state where it belongs, when a commit was not followed by the rename; and what else stands in
/// `state.new` aside, unless it is `keep`. Whether `state.new` still exists.
///
/// # Errors
///
/// [`Error::Io`].
fn settle_new(directory: &Directory, sealing: &Sealing, keep: &[u8]) -> Result<bool> {
    let to = match directory.read(NEW, limits::STATE) {
        Ok(None) => return Ok(false),
        Ok(Some(bytes)) if bytes == keep => return Ok(true),
        Ok(Some(bytes)) if is_current(&bytes, sealing) => STATE,
        // Nothing that the kernel made, or not the last of it.
        Ok(Some(_)) | Err(Error::Invalid { .. }) => OLD,
        Err(error) => return Err(error),
    };
    directory.rename(NEW, to)?;
    directory.sync()?;
    Ok(false)
}

/// Saves and commits the staged state, whose counter is `counter`; [`None`] when another `tcpctl` has done so.
///
/// The file that the TPM's values belong to is never the one that is written: whenever the power is cut, the directory
/// holds the state that the next load takes.
///
/// # Errors
///
/// [`Error::Unsaved`] while the change is not in effect; [`Error::Io`] when it is, and only the rename failed.
fn save(
    directory: &Directory,
    node: &mut impl Node,
    counter: u64,
    after: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<Option<Committed>> {
    let _lock = directory.lock().map_err(|source| Error::Unsaved {
        counter,
        source: Box::new(source),
    })?;
    save_locked(directory, node, counter, after)
}

/// [`save`] for who holds the directory's lock.
fn save_locked(
    directory: &Directory,
    node: &mut impl Node,
    counter: u64,
    after: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<Option<Committed>> {
    let unsaved = |source: Error| match source.code() {
        // The node has dropped it: nothing is left to be finished.
        "state_none" => source,
        _ => Error::Unsaved {
            counter,
            source: Box::new(source),
        },
    };
    let sealing = node.sealing().map_err(unsaved)?;
    if sealing.staged.is_none() {
        if sealing.counter < Some(counter) {
            return Err(Error::invalid(
                "state_none",
                "the staged change was discarded by somebody else: nothing was changed",
            ));
        }
        settle_new(directory, &sealing, &[])?;
        return Ok(None);
    }
    after(Step::Staged)?;
    let mut commit = || -> Result<Committed> {
        let staged = node.staged()?;
        if staged.is_empty() {
            return Err(Error::invalid(
                "protocol",
                "the kernel says that a change is staged, but its file is empty",
            ));
        }
        // Written already when a commit is repeated. Then it stays untouched: the TPM may have half of it.
        if settle_new(directory, &sealing, &staged)? {
            after(Step::Written)?;
        } else {
            let file = directory.write(TEMPORARY, &staged)?;
            after(Step::Written)?;
            file.sync_all()
                .map_err(|source| Error::file("flush", &directory.path_of(TEMPORARY), source))?;
            directory.rename(TEMPORARY, NEW)?;
        }
        directory.sync()?;
        after(Step::Synced)?;
        let stored = directory.read(NEW, limits::STATE)?.unwrap_or_default();
        after(Step::ReadBack)?;
        node.commit(&sha256(&stored))
    };
    let committed = commit().map_err(unsaved)?;
    after(Step::Committed)?;
    let effective = |error| {
        match error {
        Error::Io { what, source } => Error::Io {
            what: format!(
                "the change is in effect, but its state is still called {NEW} (`tcpctl state save` renames it): {what}"
            ),
            source,
        },
        other => other,
    }
    };
    directory.rename(NEW, STATE).map_err(effective)?;
    after(Step::Renamed)?;
    directory.sync().map_err(effective)?;
    after(Step::Done)?;
    Ok(Some(committed))
}

/// Keeps a state that the kernel took as `state`, before its successor is written.
///
/// # Errors
///
/// [`Error::Io`].
fn install(directory: &Directory, bytes: &[u8]) -> Result<()> {
    // One that cannot be read is replaced.
    let stored = directory.read(STATE, limits::STATE).ok().flatten();
    if stored.as_deref() == Some(bytes) {
        return Ok(());
    }
    let put = |bytes: &[u8], name: &str| {
        let file = directory.write(TEMPORARY, bytes)?;
        file.sync_all()
            .map_err(|source| Error::file("flush", &directory.path_of(TEMPORARY), source))?;
        directory.rename(TEMPORARY, name)?;
        directory.sync()
    };
    // Until the successor is committed nobody knows which of both will be the one that is wanted.
    if let Some(stored) = stored {
        put(&stored, OLD)?;
    }
    put(bytes, STATE)
}

/// Finishes what a governance command staged.
///
/// # Errors
///
/// Those of [`save`].
pub(crate) fn finish(client: &mut Client, place: &Place, taken: &Taken) -> Result<()> {
    match taken.staged {
        Some(counter) => commit(client, place, counter).map(|_| ()),
        None => Ok(()),
    }
}

/// Saves and commits the staged state whose counter is `counter`.
///
/// # Errors
///
/// Those of [`save`].
pub(crate) fn commit(
    client: &mut Client,
    place: &Place,
    counter: u64,
) -> Result<Option<Committed>> {
    let directory = Directory::create(&place.path()).map_err(|source| Error::Unsaved {
        counter,
        source: Box::new(source),
    })?;
    save(&directory, client, counter, &mut announce)
}

/// A state that the node did not take.
#[derive(Debug)]
struct Refused {
    path: PathBuf,
    error: Error,
}

impl Refused {
    /// The reason for people.
    fn text(&self) -> String {
        format!("{}: {}", self.path.display(), self.error)
    }

    fn json(&self) -> Value {
        json!({
            "file": self.path,
            "error": self.error.code(),
            "message": self.error.to_string(),
        })
    }

    /// Whether the cause is this file, so that another one may be better.
    fn is_about_the_file(&self) -> bool {
        match &self.error {
            Error::Refused { code, .. } => {
                let general = ["not_permitted", "labelled", "no_memory", "errno"];
                !(general.contains(&code.as_str())
                    || code.starts_with("tpm_")
                    || ["state_unsealed", "state_current"].contains(&code.as_str()))
            }
            Error::Invalid { .. } => true,
            Error::Io { .. } => true,
            _ => false,
        }
    }

    /// Whether it only says that the commit of this file was never finished, or not even begun.
    fn is_unfinished(&self) -> bool {
        ["state_staged_only", "state_malformed"].contains(&self.error.code())
    }
}

/// What a restore came to.
#[derive(Debug)]
struct Restored {
    /// The file that was taken; [`None`] when a restore was only finished.
    path: Option<PathBuf>,
    committed: Option<Committed>,
    refused: Vec<Refused>,
}

/// Gives back the first of several states that the node takes, and commits its successor.
///
/// All of it under the directory's lock: another `tcpctl` that finished the commit in between would have its newer file
/// replaced by the one that is given back here.
///
/// # Errors
///
/// The reason why none was taken.
fn restore(
    directory: &Directory,
    node: &mut impl Node,
    file: Option<&Path>,
    after: &mut dyn FnMut(Step) -> Result<()>,
    tell: &mut dyn FnMut(&Refused),
) -> Result<Restored> {
    let _lock = directory.lock()?;
    if let Some(counter) = node.sealing()?.staged {
        let committed = save_locked(directory, node, counter, after)?;
        return Ok(Restored {
            path: None,
            committed,
            refused: Vec::new(),
        });
    }
    let candidates = match file {
        Some(path) => vec![(
            path.to_owned(),
            file::read_plain(path, limits::STATE).map(Some),
        )],
        None => [NEW, STATE, OLD]
            .map(|name| (directory.path_of(name), directory.read(name, limits::STATE)))
            .into(),
    };
    let mut refused: Vec<Refused> = Vec::new();
    for (path, bytes) in candidates {
        let taken = match bytes {
            Ok(None) => continue,
            Ok(Some(bytes)) => node.restore(&bytes).map(|counter| (bytes, counter)),
            Err(error) => Err(error),
        };
        let error = match taken {
            Ok((bytes, counter)) => {
                install(directory, &bytes).map_err(|source| Error::Unsaved {
                    counter,
                    source: Box::new(source),
                })?;
                let committed = save_locked(directory, node, counter, after)?;
                return Ok(Restored {
                    path: Some(path),
                    committed,
                    refused,
                });
            }
            Err(error) => error,
        };
        let reason = Refused { path, error };
        if !reason.is_about_the_file() {
            return Err(reason.error);
        }
        tell(&reason);
        refused.push(reason);
    }
    let telling = refused
        .iter()
        .position(|reason| !reason.is_unfinished())
        .or(refused.len().checked_sub(1));
    match telling.map(|at| refused.swap_remove(at)) {
        Some(reason) => Err(reason.error),
        None => Err(Error::invalid(
            "state_missing",
            format!(
                "there is no state in {}: give a copy with `tcpctl state restore FILE`, or see `tcpctl state recover`",
                directory.path().display()
            ),
        )),
    }
}

/// What became of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saved {
    /// Nothing had been recorded since the last commit.
    Nothing,
    /// It was committed; without the TPM's values when another `tcpctl` did it.
    Committed(u64, Option<[u8; 32]>),
}

/// Demands that `state` is the current one, since the node has nothing to write in its place.
fn must_be_current(directory: &Directory, sealing: &Sealing) -> Result<()> {
    let found = match directory.read(STATE, limits::STATE)? {
        Some(bytes) if is_current(&bytes, sealing) => return Ok(()),
        Some(_) => "is not the state that was last committed",
        None => "is missing",
    };
    Err(Error::invalid(
        "state_lost",
        format!(
            "{} {found}, and the node has recorded nothing since that could be committed anew: put a copy there, or save \
             again when something was recorded (anything that `tcpctl events` shows). Do not load the module anew before",
            directory.path_of(STATE).display()
        ),
    ))
}

/// Saves a checkpoint, or what is staged.
fn checkpoint(place: &Place) -> Result<Saved> {
    let mut client = Client::open()?;
    match client.state_stage()? {
        Some(counter) => {
            let committed = commit(&mut client, place, counter)?;
            Ok(Saved::Committed(
                committed.map_or(counter, |committed| committed.counter),
                committed.map(|committed| committed.anchor),
            ))
        }
        None => {
            // A commit whose rename failed is finished here.
            let directory = Directory::create(&place.path())?;
            let _lock = directory.lock()?;
            let sealing = client.sealing()?;
            settle_new(&directory, &sealing, &[])?;
            must_be_current(&directory, &sealing)?;
            Ok(Saved::Nothing)
        }
    }
}

impl Saved {
    fn json(self) -> Value {
        match self {
            Self::Nothing => json!({ "outcome": "done", "saved": false }),
            Self::Committed(counter, anchor) => json!({
                "outcome": "done",
                "saved": true,
                "counter": counter,
                "anchor": anchor.map(hex::encode),
            }),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Nothing => "nothing to save since the last commit".to_owned(),
            Self::Committed(counter, Some(anchor)) => {
                format!("saved: counter {counter}, anchor {}", hex::encode(anchor))
            }
            Self::Committed(counter, None) => format!("saved: counter {counter}"),
        }
    }
}

/// The signals that end `state keep`, as a file that can be waited for.
fn signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| Error::Io {
            what: "cannot wait for signals".to_owned(),
            source: errno.into(),
        })
}

/// Waits until one of the signals comes, at most that long. Whether it came.
fn wait_for(signals: &SignalFd, at_most: Duration) -> Result<bool> {
    let deadline = Instant::now() + at_most;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that it does not spin through the last millisecond.
        let ms = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
        let mut files = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut files, PollTimeout::from(ms)) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => {
                return Err(Error::Io {
                    what: "cannot wait for signals".to_owned(),
                    source: errno.into(),
                })
            }
        }
    }
}

/// Whether trying again cannot help.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::NotLoaded)
        || [
            "state_unsealed",
            "not_permitted",
            "labelled",
            "directory_unsafe",
        ]
        .contains(&error.code())
}

/// Whether saving goes on although nobody may have been told of it: a reader that has gone is no reason to lose events.
///
/// # Errors
///
/// That nobody could be told of the last one.
fn after_telling(told: Result<()>, ended: bool, output: &Output) -> Result<()> {
    match told {
        Ok(()) | Err(Error::BrokenPipe) => Ok(()),
        Err(error) if ended => Err(error),
        Err(error) => {
            crate::report(&error, output);
            Ok(())
        }
    }
}

/// How often it is looked whether a validator was quarantined.
const LOOK: Duration = Duration::from_secs(2);

/// How many quarantines a node has seen in this load.
fn quarantines(status: &Status) -> u64 {
    status.counter("quarantined")
}

/// Waits until a checkpoint is due: after `every`, when the node has seen more quarantines than `saved`, or when a signal
/// ends the waiting. Whether one did, and how many quarantines the node has seen.
fn wait_until_due(
    signals: &SignalFd,
    every: Duration,
    saved: u64,
    look: &mut dyn FnMut() -> Result<u64>,
) -> Result<(bool, u64)> {
    let deadline = Instant::now() + every;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = wait_for(signals, left.min(LOOK))?;
        // What keeps it from looking keeps it from saving, which then tells.
        let seen = look().unwrap_or(saved);
        if ended || seen != saved || Instant::now() >= deadline {
            return Ok((ended, seen));
        }
    }
}

fn keep(every: Option<Duration>, place: &Place, output: &Output) -> Result<()> {
    let signals = signals()?;
    let sealing = Client::open()?.sealing()?;
    let every = match (every, sealing.interval) {
        (Some(every), _) => every,
        (None, 0) => {
            return Err(Error::Usage(
                "the node was told no interval: say how often with --every 15m".to_owned(),
            ))
        }
        (None, seconds) => Duration::from_secs(seconds.into()),
    };
    // Whatever was quarantined before may not be saved yet.
    let mut saved = 0;
    let mut look = || Ok(quarantines(&Client::open()?.status()?));
    loop {
        let (ended, seen) = wait_until_due(&signals, every, saved, &mut look)?;
        let result = checkpoint(place);
        if result.is_ok() {
            saved = seen;
        }
        let told = match result {
            Ok(done) if output.json => output.json_line(&done.json()),
            Ok(Saved::Nothing) => Ok(()),
            Ok(done) => output.line(&done.text()),
            Err(error) if ended || is_final(&error) => return Err(error),
            Err(error) => {
                crate::report(&error, output);
                Ok(())
            }
        };
        after_telling(told, ended, output)?;
        if ended {
            return Ok(());
        }
    }
}

fn run_restore(file: Option<&Path>, place: &Place, output: &Output) -> Result<()> {
    let directory = Directory::create(&place.path())?;
    let mut client = Client::open()?;
    let restored = restore(
        &directory,
        &mut client,
        file,
        &mut announce,
        &mut |reason| note(output, &format!("not taken: {}", reason.text())),
    )?;
    let status = client.status()?;
    output.either(
        &json!({
            "outcome": "done",
            "phase": status.phase.name(),
            "file": restored.path,
            "counter": restored.committed.map(|committed| committed.counter),
            "anchor": restored.committed.map(|committed| hex::encode(committed.anchor)),
            "epoch": status.epoch,
            "refused": restored.refused.iter().map(Refused::json).collect::<Vec<_>>(),
        }),
        || match &restored.path {
            Some(path) => format!(
                "restored from {}: the node is {}, epoch {}",
                path.display(),
                status.phase.name(),
                status.epoch
            ),
            None => format!(
                "finished what was staged: the node is {}, epoch {}",
                status.phase.name(),
                status.epoch
            ),
        },
    )
}

/// A state, decoded.
///
/// # Errors
///
/// [`Error::Invalid`] `state_malformed`, which says where.
fn decode<'a>(bytes: &'a [u8], path: &Path) -> Result<State<'a>> {
    State::parse::<Sha256>(bytes).map_err(|error| {
        Error::invalid(
            "state_malformed",
            format!(
                "{} is not a state, or torn: {error}; take another copy",
                path.display()
            ),
        )
    })
}

/// Name and version of a policy's text.
fn policy_of(text: &[u8]) -> Option<(String, u64)> {
    Policy::parse(text)
        .ok()
        .map(|policy| (policy.name().to_owned(), policy.version()))
}

/// The entries of a clock for people.
fn clock_text(clock: &ClaimedClock<'_>) -> String {
    let entries: Vec<String> = clock
        .iter()
        .map(|(slot, value)| match slot {
            NODE_SLOT => format!("node {value}"),
            _ => format!("{slot}: {value}"),
        })
        .collect();
    match entries.is_empty() {
        true => "-".to_owned(),
        false => entries.join(", "),
    }
}

/// The PCRs of a mask.
pub(crate) fn pcrs_text(mask: u32) -> String {
    let numbers: Vec<String> = (0..u32::BITS)
        .filter(|number| (mask >> number) & 1 == 1)
        .map(|number| number.to_string())
        .collect();
    match numbers.is_empty() {
        true => "none".to_owned(),
        false => numbers.join(", "),
    }
}

fn show_json(state: &State<'_>, bytes: &[u8], path: &Path) -> Value {
    let head = &state.head;
    let clock = |clock: &ClaimedClock<'_>| clock.iter().collect::<Vec<(u16, u64)>>();
    json!({
        "file": path,
        "digest": hex::encode(sha256(bytes)),
        "bytes": bytes.len(),
        "node": hex::encode(head.node),
        "counter": head.counter,
        "previous_anchor": hex::encode(head.previous),
        "anchor": hex::encode(head.anchor),
        "chain": hex::encode(head.chain),
        "event": head.number,
        "wall_ms": head.wall_ms,
        "pcrs": head.pcrs,
        "mode": head.mode.name(),
        "policy": {
            "name": policy_of(state.policy).map(|(name, _)| name),
            "version": policy_of(state.policy).map(|(_, version)| version),
            "digest": hex::encode(sha256(state.policy)),
            "bytes": state.policy.len(),
        },
        "validators": state
            .validators()
            .map(|validator| json!({
                "slot": validator.record.slot,
                "name": validator.record.name,
                "weight": validator.record.weight,
                "id": hex::encode(validator_id(validator.record.key)),
                "key": hex::encode(validator.record.key),
                "votes_accepted": validator.accepted,
                "clock": clock(&validator.clock),
            }))
            .collect::<Vec<_>>(),
        "quarantine": state.quarantine().map(|kept| quarantine_json(&kept)).collect::<Vec<_>>(),
        "reputations": state
            .reputations()
            .map(|(slot, kept)| {
                let mut value = kept_json(&kept);
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("slot".to_owned(), json!(slot));
                }
                value
            })
            .collect::<Vec<_>>(),
        "slots_used": state.slots.count_ones(),
        "clock": clock(&state.clock),
        "mac": hex::encode(state.mac),
        "mac_checked": false,
    })
}

fn show_text(state: &State<'_>, bytes: &[u8], path: &Path, output: &Output) -> String {
    let head = &state.head;
    let digest = hex::encode(sha256(state.policy));
    let mut text = pairs(&[
        ("file", path.display().to_string()),
        ("digest", hex::encode(sha256(bytes))),
        ("node", hex::encode(head.node)),
        ("counter", head.counter.to_string()),
        ("anchor", hex::encode(head.anchor)),
        ("anchor before", hex::encode(head.previous)),
        ("last event", head.number.to_string()),
        ("chain", hex::encode(head.chain)),
        ("staged", human_time(head.wall_ms)),
        ("pcrs", pcrs_text(head.pcrs)),
        ("mode", head.mode.name().to_owned()),
        (
            "policy",
            match policy_of(state.policy) {
                Some((name, version)) => format!(
                    "{} version {version} (sha256:{digest})",
                    clean(name.as_bytes())
                ),
                None => format!("cannot be read (sha256:{digest})"),
            },
        ),
        ("clock", clock_text(&state.clock)),
        (
            "slots used",
            format!("{} of {}", state.slots.count_ones(), limits::VALIDATORS),
        ),
        (
            "mac",
            "not checked: only the node's TPM releases the key".to_owned(),
        ),
    ]);
    let mut table = Table::new(&["SLOT", "NAME", "WEIGHT", "VOTES", "ID", "CLOCK"]);
    for validator in state.validators() {
        table.row(vec![
            validator.record.slot.to_string(),
            clean(validator.record.name.as_bytes()),
            validator.record.weight.to_string(),
            validator.accepted.to_string(),
            short(&validator_id(validator.record.key)),
            clock_text(&validator.clock),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render(output));
    text.push_str(&quarantine_text(state, output));
    text.push_str(&reputation_text(state, output));
    text
}

/// A validator that was quarantined once, as JSON.
fn quarantine_json(kept: &Kept<'_>) -> Value {
    let record = &kept.record;
    json!({
        "slot": record.slot(),
        "validator": hex::encode(record.validator()),
        "standing": match record.is_quarantined() {
            true => "quarantined",
            false => "readmitted",
        },
        "fault": fault(kept).map(Fault::name),
        "event": record.number(),
        "expired": record
            .pairs()
            .iter()
            .map(|pair| json!({ "node": hex::encode(pair.node), "entry": pair.entry }))
            .collect::<Vec<_>>(),
        "evidence": hex::encode(kept.evidence),
    })
}

/// The proven fault of a validator; [`None`] when it was readmitted.
fn fault(kept: &Kept<'_>) -> Option<Fault> {
    Evidence::decode::<Sha256>(kept.evidence)
        .ok()
        .map(|evidence| evidence.fault)
}

/// The name of the validator in a slot, for people.
fn name_at(state: &State<'_>, slot: u16) -> String {
    state
        .validators()
        .find(|validator| validator.record.slot == slot)
        .map_or("(removed)".to_owned(), |validator| {
            clean(validator.record.name.as_bytes())
        })
}

/// Who was quarantined; nothing when it was nobody.
fn quarantine_text(state: &State<'_>, output: &Output) -> String {
    let mut table = Table::new(&[
        "SLOT",
        "NAME",
        "STANDING",
        "EVENT",
        "ID",
        "EXPIRED EVIDENCE",
    ]);
    let mut any = false;
    for kept in state.quarantine() {
        any = true;
        let record = &kept.record;
        let pairs: Vec<String> = record
            .pairs()
            .iter()
            .map(|pair| format!("up to event {} of node {}", pair.entry, short(&pair.node)))
            .collect();
        table.row(vec![
            record.slot().to_string(),
            name_at(state, record.slot()),
            fault(&kept).map_or("readmitted", Fault::name).to_owned(),
            record.number().to_string(),
            short(record.validator()),
            match pairs.is_empty() {
                true => "-".to_owned(),
                false => pairs.join(", "),
            },
        ]);
    }
    match any {
        true => format!("\n{}", table.render(output)),
        false => String::new(),
    }
}

/// Reputations that are not as at first; nothing when all are.
fn reputation_text(state: &State<'_>, output: &Output) -> String {
    let mut table = Table::new(&["SLOT", "NAME", "REPUTATION", "BIAS", "AGREED", "DISAGREED"]);
    let mut any = false;
    for (slot, kept) in state.reputations() {
        any = true;
        table.row(vec![
            slot.to_string(),
            name_at(state, slot),
            kept.score.to_string(),
            kept.bias.to_string(),
            kept.agreed.to_string(),
            kept.disagreed.to_string(),
        ]);
    }
    match any {
        true => format!("\n{}", table.render(output)),
        false => String::new(),
    }
}

fn show(file: Option<&Path>, place: &Place, output: &Output) -> Result<()> {
    let path = file.map_or_else(|| place.path().join(STATE), Path::to_owned);
    let bytes = file::read_plain(&path, limits::STATE)?;
    let state = decode(&bytes, &path)?;
    output.either(&show_json(&state, &bytes, &path), || {
        show_text(&state, &bytes, &path, output)
    })
}

/// What taking an older state gives up.
fn loss(state: &State<'_>, sealing: &Sealing) -> String {
    let commits = sealing
        .counter
        .and_then(|counter| counter.checked_sub(state.head.counter));
    format!(
        "The state is that after event {}, staged at {}. Given up is every change of policy, validators and mode after \
         that{}; who was removed since then may vote again.",
        state.head.number,
        human_time(state.head.wall_ms),
        match commits {
            Some(0) | None => String::new(),
            Some(commits) => format!(" (the TPM's counter says {commits} more)"),
        }
    )
}

fn recover_from(path: &Path, wait: &Wait, output: &Output) -> Result<()> {
    let bytes = file::read_plain(path, limits::STATE)?;
    let state = decode(&bytes, path)?;
    let directory = Directory::create(&wait.place.path())?;
    let mut client = Client::open()?;
    note(output, &loss(&state, &client.sealing()?));
    govern::run(wait, output, |_| {
        // Until the file is in its place nobody else finishes the commit.
        let _lock = directory.lock()?;
        Ok(match securityfs::give("recover", &bytes)? {
            Given::Pending(id) => Outcome::Pending(id),
            Given::Staged(counter) => {
                install(&directory, &bytes).map_err(|source| Error::Unsaved {
                    counter,
                    source: Box::new(source),
                })?;
                Outcome::Taken(Taken::staged(counter))
            }
        })
    })?;
    let status = client.status()?;
    output.either(
        &json!({
            "outcome": "done",
            "phase": status.phase.name(),
            "epoch": status.epoch,
            "file": path,
        }),
        || {
            format!(
                "recovered from {}: the node is {}, epoch {}",
                path.display(),
                status.phase.name(),
                status.epoch
            )
        },
    )
}

/// What beginning anew gives up.
const SETUP_LOSS: &str = "Policy, validators, quarantine, reputation and every validator's clock are forgotten, and root sets the \
    node up as a new one. The log says so for ever (RECOVERED), and whoever remembers an earlier epoch or anchor sees it.";

fn recover_setup(yes: bool, output: &Output) -> Result<()> {
    if !yes {
        return Err(Error::Usage(format!(
            "{SETUP_LOSS} If there is a copy of the state, try `tcpctl state restore FILE` or `tcpctl state recover --from \
             FILE` first. To go on, add --yes"
        )));
    }
    note(output, SETUP_LOSS);
    let mut client = Client::open()?;
    client.state_recover()?;
    output.either(
        &json!({ "outcome": "done", "phase": Phase::Setup.name() }),
        || "setup: enrol validators, load a policy, and run `tcpctl seal`".to_owned(),
    )
}

fn discard(place: &Place, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let path = place.path();
    let directory = match Directory::open(&path) {
        Ok(directory) => Some(directory),
        // What was never written needs no directory.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let _lock = directory.as_ref().map(Directory::lock).transpose()?;
    client.state_discard()?;
    if let Some(directory) = &directory {
        settle_new(directory, &client.sealing()?, &[])?;
    }
    output.either(&json!({ "outcome": "done" }), || {
        "discarded: nothing was changed".to_owned()
    })
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node, and those of files.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Save { place } => {
            let saved = checkpoint(place)?;
            output.either(&saved.json(), || saved.text())
        }
        Command::Keep { every, place } => keep(*every, place, output),
        Command::Restore { file, place } => run_restore(file.as_deref(), place, output),
        Command::Show { file, place } => show(file.as_deref(), place, output),
        Command::Recover(recover) => match &recover.from {
            Some(path) => recover_from(path, &recover.wait, output),
            None => recover_setup(recover.yes, output),
        },
        Command::Discard { place } => discard(place, output),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        evidence::tests::equivocation,
        status::tests::sample, //
    };
    use engine::{
        anchor::{
            self,
            Index,
            Next,
            Standing,
            Start,
            Witness, //
        },
        clock::NodeClock,
        governance::{
            Mode,
            ValidatorRecord, //
        },
        quarantine,
        reputation,
        state::{
            Head,
            StateWriter,
            Validator,
            MAX_LEN, //
        }, //
    };
    use std::{
        fs,
        os::unix::fs::symlink, //
    };

    #[test]
    fn a_reader_that_has_gone_does_not_end_the_saving() {
        let output = Output {
            json: false,
            colour: false,
        };
        let full = || {
            Err(Error::Io {
                what: "cannot write to standard output".to_owned(),
                source: Errno::ENOSPC.into(),
            })
        };
        for ended in [false, true] {
            after_telling(Err(Error::BrokenPipe), ended, &output).unwrap();
            after_telling(Ok(()), ended, &output).unwrap();
        }
        after_telling(full(), false, &output).unwrap();
        assert_eq!(
            after_telling(full(), true, &output).unwrap_err().errno(),
            28
        );
        assert!(!is_final(&Error::BrokenPipe));
    }

    const NODE: [u8; 32] = [9; 32];

    const REPUTATION: reputation::Kept = reputation::Kept {
        score: 7000,
        bias: 5,
        agreed: 3,
        disagreed: 4,
    };

    fn key() -> [u8; 65] {
        let mut key = [7; 65];
        key[0] = 4;
        key
    }

    /// A state that is well formed, whose policy has that version.
    pub(crate) fn sample_state(counter: u64, previous: [u8; 32], version: u64) -> Vec<u8> {
        let mut chain = [0; 32];
        chain[..8].copy_from_slice(&counter.to_be_bytes());
        chain[8..16].copy_from_slice(&version.to_be_bytes());
        let head = Head {
            node: &NODE,
            counter,
            previous: &previous,
            anchor: &anchor::extended::<Sha256>(&previous, &chain),
            chain: &chain,
            number: (counter << 32) | 5,
            wall_ms: 1_798_761_600_000,
            pcrs: 0x81,
            private: b"private",
            public: b"public",
            mode: Mode::Enforce,
        };
        let mut clock = NodeClock::new();
        assert!(clock.set(0, head.number) && clock.set(3, 2));
        let mut buffer = vec![0; MAX_LEN];
        let mut writer = StateWriter::begin::<Sha256>(&mut buffer, &head).unwrap();
        let policy = format!("policy_name=web policy_version={version}\nDEFAULT action=ALLOW\n");
        writer.policy(policy.as_bytes()).unwrap();
        let validator = Validator {
            record: ValidatorRecord {
                slot: 3,
                weight: 2,
                name: "alice",
                key: &key(),
            },
            accepted: 4,
            clock: &clock,
        };
        writer.validators([validator]).unwrap();
        writer.slots(0b101).unwrap();
        writer.clock(&clock).unwrap();
        let proof = equivocation();
        let evidence = Evidence::decode::<Sha256>(&proof).unwrap();
        let kept = Kept {
            record: quarantine::Record::new(evidence.validator(), 1, head.number),
            evidence: &proof,
        };
        writer.quarantine([kept]).unwrap();
        writer.reputation([(3, REPUTATION)]).unwrap();
        let length = writer.finish::<Sha256>(|_| [1; 32]).unwrap();
        buffer.truncate(length);
        buffer
    }

    /// The anchor in a state.
    pub(crate) fn anchor_of(state: &[u8]) -> [u8; 32] {
        *State::parse::<Sha256>(state).unwrap().head.anchor
    }

    fn version_of(state: &[u8]) -> u64 {
        policy_of(State::parse::<Sha256>(state).unwrap().policy)
            .unwrap()
            .1
    }

    /// A node and its TPM, which decide as `engine::anchor` does: what a kernel does with them, without one.
    struct Machine {
        counter: u64,
        anchor: Option<[u8; 32]>,
        staged: Option<Vec<u8>>,
        locked: bool,
        /// Version of the policy in force.
        version: u64,
        /// The power goes after that many more writes to the TPM.
        power: Option<u32>,
        /// A commit finds that the change has waited too long.
        forgets: bool,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                counter: 1,
                anchor: None,
                staged: None,
                locked: false,
                version: 0,
                power: None,
                forgets: false,
            }
        }

        fn witness(&self) -> Witness {
            Witness {
                node: NODE,
                counter: Index::Value(self.counter),
                anchor: self.anchor.map_or(Index::Unwritten, Index::Value),
            }
        }

        fn stage(&mut self, version: u64) -> u64 {
            let counter = self.counter + 1;
            self.staged = Some(sample_state(
                counter,
                self.anchor.unwrap_or(anchor::UNWRITTEN),
                version,
            ));
            counter
        }

        /// The module is loaded again.
        fn reboot(&mut self) {
            self.staged = None;
            self.power = None;
            self.version = 0;
            self.locked = matches!(anchor::start(&self.witness()), Start::Locked(_));
        }

        fn refused<T>(refusal: Refusal) -> Result<T> {
            Err(Error::refused(refusal.errno(), Some(refusal.message())))
        }

        /// One write to the TPM, unless the power is gone.
        fn write(&mut self) -> Result<()> {
            match &mut self.power {
                Some(0) => Err(Error::Reported),
                Some(left) => {
                    *left -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }

    impl Node for Machine {
        fn sealing(&mut self) -> Result<Sealing> {
            Ok(Sealing {
                counter: Some(self.counter),
                anchor: self.anchor,
                staged: self
                    .staged
                    .as_ref()
                    .map(|state| State::parse::<Sha256>(state).unwrap().head.counter),
                ..crate::status::tests::sealing()
            })
        }

        fn staged(&mut self) -> Result<Vec<u8>> {
            Ok(self.staged.clone().unwrap_or_default())
        }

        fn commit(&mut self, digest: &[u8; 32]) -> Result<Committed> {
            if self.forgets {
                self.staged = None;
            }
            let Some(staged) = self.staged.clone() else {
                return Self::refused(Refusal::StateNone);
            };
            if sha256(&staged) != *digest {
                return Self::refused(Refusal::StateDigest);
            }
            let position = State::parse::<Sha256>(&staged).unwrap().head.position();
            loop {
                match anchor::next(&self.witness(), &position) {
                    Ok(Next::Extend) => {
                        self.write()?;
                        self.anchor = Some(position.anchor);
                    }
                    Ok(Next::Increment) => {
                        self.write()?;
                        self.counter += 1;
                    }
                    Ok(Next::Done) => break,
                    Err(refusal) => return Self::refused(refusal),
                }
            }
            self.version = version_of(&staged);
            self.staged = None;
            self.locked = false;
            Ok(Committed {
                counter: self.counter,
                anchor: position.anchor,
            })
        }

        fn restore(&mut self, state: &[u8]) -> Result<u64> {
            if !self.locked {
                return Self::refused(Refusal::StateCurrent);
            }
            let decoded = match State::decode::<Sha256>(state) {
                Ok(decoded) => decoded,
                Err(refusal) => return Self::refused(refusal),
            };
            match anchor::judge(&self.witness(), decoded.head.node, &decoded.head.position()) {
                Ok(Standing::Half) => {
                    self.write()?;
                    self.counter += 1;
                }
                // `judge` leaves that to a recovery.
                Ok(Standing::Current | Standing::Outdated) => {}
                Err(refusal) => return Self::refused(refusal),
            }
            Ok(self.stage(version_of(state)))
        }
    }

    const STEPS: [Step; 7] = [
        Step::Staged,
        Step::Written,
        Step::Synced,
        Step::ReadBack,
        Step::Committed,
        Step::Renamed,
        Step::Done,
    ];

    fn all(_: Step) -> Result<()> {
        Ok(())
    }

    /// Stops after a step, as a power cut does.
    fn cut(at: Step) -> impl FnMut(Step) -> Result<()> {
        move |step| match step == at {
            true => Err(Error::Reported),
            false => Ok(()),
        }
    }

    fn directory() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("d")).unwrap();
        (temporary, directory)
    }

    /// A node that has committed version 1.
    fn sealed(directory: &Directory) -> Machine {
        let mut machine = Machine::new();
        let counter = machine.stage(1);
        let committed = save(directory, &mut machine, counter, &mut all).unwrap();
        assert_eq!(committed.unwrap().counter, 2);
        machine
    }

    fn quiet(_: &Refused) {}

    fn restore_all(directory: &Directory, machine: &mut Machine) -> Result<Restored> {
        restore(directory, machine, None, &mut all, &mut quiet)
    }

    fn names(directory: &Directory) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory.path_of(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_save_takes_every_step_in_order() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let counter = machine.stage(2);
        let mut steps = Vec::new();
        save(&directory, &mut machine, counter, &mut |step| {
            steps.push(step);
            Ok(())
        })
        .unwrap();
        assert_eq!(steps, STEPS);
        assert_eq!(names(&directory), [STATE]);
        assert_eq!(machine.version, 2);
        let stored = directory.read(STATE, MAX_LEN).unwrap().unwrap();
        assert!(is_current(&stored, &machine.sealing().unwrap()));
    }

    #[test]
    fn a_power_cut_at_any_step_of_a_save_loses_nothing_that_was_acknowledged() {
        for at in STEPS {
            let (_temporary, directory) = directory();
            let mut machine = sealed(&directory);
            let counter = machine.stage(2);
            save(&directory, &mut machine, counter, &mut cut(at)).unwrap_err();
            let acknowledged = machine.version;
            machine.reboot();
            restore_all(&directory, &mut machine).unwrap();
            assert_eq!(machine.version, acknowledged, "{}", at.name());
            assert!(!machine.locked);
        }
    }

    #[test]
    fn a_power_cut_within_the_commit_is_ended_by_the_next_load() {
        for (writes, version) in [(0, 1), (1, 2), (2, 2)] {
            let (_temporary, directory) = directory();
            let mut machine = sealed(&directory);
            let counter = machine.stage(2);
            machine.power = Some(writes);
            let _ = save(&directory, &mut machine, counter, &mut cut(Step::Committed));
            machine.reboot();
            restore_all(&directory, &mut machine).unwrap();
            assert_eq!(machine.version, version, "after {writes} writes");
        }
    }

    #[test]
    fn a_power_cut_at_any_step_of_a_restore_can_be_restored_from() {
        // What the first save left, in every order of a cut there and one here.
        for first in STEPS {
            for second in STEPS {
                for writes in [None, Some(0), Some(1)] {
                    let (_temporary, directory) = directory();
                    let mut machine = sealed(&directory);
                    let counter = machine.stage(2);
                    save(&directory, &mut machine, counter, &mut cut(first)).unwrap_err();
                    let acknowledged = machine.version;
                    machine.reboot();
                    machine.power = writes;
                    let _ = restore(&directory, &mut machine, None, &mut cut(second), &mut quiet);
                    machine.reboot();
                    restore_all(&directory, &mut machine)
                        .unwrap_or_else(|error| panic!("{first:?} {second:?} {writes:?}: {error}"));
                    assert_eq!(machine.version, acknowledged);
                }
            }
        }
    }

    #[test]
    fn a_save_that_was_killed_is_finished_by_the_next_one() {
        for at in STEPS {
            let (_temporary, directory) = directory();
            let mut machine = sealed(&directory);
            let counter = machine.stage(2);
            save(&directory, &mut machine, counter, &mut cut(at)).unwrap_err();
            // The node lives on: `tcpctl state save`, and then a further change.
            let again = save(&directory, &mut machine, counter, &mut all).unwrap();
            assert_eq!(again.is_some(), at < Step::Committed, "{}", at.name());
            assert_eq!(machine.version, 2);
            let stored = directory.read(STATE, MAX_LEN).unwrap().unwrap();
            assert_eq!(version_of(&stored), 2, "{}", at.name());
            let counter = machine.stage(3);
            save(&directory, &mut machine, counter, &mut all).unwrap();
            machine.reboot();
            restore_all(&directory, &mut machine).unwrap();
            assert_eq!(machine.version, 3);
        }
    }

    #[test]
    fn the_current_state_is_never_overwritten_by_its_successor() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let counter = machine.stage(2);
        // In effect, but not renamed; then the next change is cut before its commit.
        save(&directory, &mut machine, counter, &mut cut(Step::Committed)).unwrap_err();
        let counter = machine.stage(3);
        save(&directory, &mut machine, counter, &mut cut(Step::ReadBack)).unwrap_err();
        machine.reboot();
        let restored = restore_all(&directory, &mut machine).unwrap();
        assert_eq!(machine.version, 2);
        assert_eq!(restored.refused[0].error.code(), "state_staged_only");
    }

    #[test]
    fn half_a_commit_keeps_its_file_untouched() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let counter = machine.stage(2);
        machine.power = Some(1);
        save(&directory, &mut machine, counter, &mut all).unwrap_err();
        machine.power = None;
        use std::os::unix::fs::MetadataExt;
        let inode = || fs::metadata(directory.path_of(NEW)).unwrap().ino();
        let before = inode();
        save(&directory, &mut machine, counter, &mut cut(Step::ReadBack)).unwrap_err();
        assert_eq!(inode(), before);
        save(&directory, &mut machine, counter, &mut all).unwrap();
        assert_eq!(machine.version, 2);
    }

    #[test]
    fn what_storage_changed_is_not_committed() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let counter = machine.stage(2);
        let error = save(&directory, &mut machine, counter, &mut |step| {
            if step == Step::Synced {
                let mut bytes = fs::read(directory.path_of(NEW)).unwrap();
                bytes[200] ^= 1;
                fs::write(directory.path_of(NEW), bytes).unwrap();
            }
            Ok(())
        })
        .unwrap_err();
        assert_eq!(error.code(), "state_digest");
        assert!(matches!(error, Error::Unsaved { counter: 3, .. }));
        assert_eq!((machine.counter, machine.version), (2, 1));
        save(&directory, &mut machine, counter, &mut all).unwrap();
        assert_eq!(machine.version, 2);
    }

    #[test]
    fn a_change_that_somebody_discarded_is_not_reported_as_done() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let counter = machine.stage(2);
        machine.staged = None;
        let error = save(&directory, &mut machine, counter, &mut all).unwrap_err();
        assert_eq!(error.code(), "state_none");
        machine.stage(2);
        machine.forgets = true;
        let error = save(&directory, &mut machine, counter, &mut all).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert_eq!((error.code(), machine.version), ("state_none", 1));
        machine.forgets = false;
        let counter = machine.stage(2);
        save(&directory, &mut machine, counter, &mut all).unwrap();
        // Somebody else was faster.
        assert_eq!(
            save(&directory, &mut machine, counter, &mut all).unwrap(),
            None
        );
    }

    #[test]
    fn hostile_files_are_neither_read_nor_followed() {
        let (temporary, directory) = directory();
        let victim = temporary.path().join("victim");
        let mut machine = sealed(&directory);
        let place = |name: &str, kind: &str| {
            let path = directory.path_of(name);
            let _ = fs::remove_file(&path);
            match kind {
                "symlink" => symlink(&victim, &path).unwrap(),
                "fifo" => {
                    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
                }
                _ => {
                    let file = fs::File::create(&path).unwrap();
                    file.set_len(1 << 40).unwrap();
                }
            }
        };
        for kind in ["symlink", "fifo", "huge"] {
            fs::write(&victim, "victim").unwrap();
            for name in [NEW, TEMPORARY] {
                place(name, kind);
            }
            let counter = machine.stage(2);
            save(&directory, &mut machine, counter, &mut all).unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"victim", "{kind}");
            machine.reboot();
            place(NEW, kind);
            let mut told = Vec::new();
            restore(&directory, &mut machine, None, &mut all, &mut |reason| {
                told.push(reason.error.code().to_owned())
            })
            .unwrap();
            assert_eq!(
                told,
                [if kind == "huge" {
                    "too_large"
                } else {
                    "not_a_file"
                }]
            );
            machine.reboot();
            place("copy", kind);
            let file = directory.path_of("copy");
            let refused = restore(&directory, &mut machine, Some(&file), &mut all, &mut quiet);
            assert_eq!(refused.unwrap_err().code(), told[0]);
            restore_all(&directory, &mut machine).unwrap();
        }
    }

    #[test]
    fn every_refusal_is_told_and_the_telling_one_returned() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let old = fs::read(directory.path_of(STATE)).unwrap();
        let counter = machine.stage(2);
        save(&directory, &mut machine, counter, &mut all).unwrap();
        let current = fs::read(directory.path_of(STATE)).unwrap();
        machine.reboot();

        let torn = current.get(..current.len() - 1).unwrap();
        fs::write(directory.path_of(NEW), torn).unwrap();
        fs::write(directory.path_of(STATE), &old).unwrap();
        let mut told = Vec::new();
        let error = restore(&directory, &mut machine, None, &mut all, &mut |reason| {
            assert!(reason.text().contains("tcpctl"), "{}", reason.text());
            told.push(reason.json()["error"].as_str().unwrap().to_owned());
        })
        .unwrap_err();
        assert_eq!(told, ["state_malformed", "state_older"]);
        assert_eq!(error.code(), "state_older");
        assert!(machine.locked);

        fs::remove_file(directory.path_of(STATE)).unwrap();
        let error = restore_all(&directory, &mut machine).unwrap_err();
        assert_eq!(error.code(), "state_malformed");
        fs::remove_file(directory.path_of(NEW)).unwrap();
        let error = restore_all(&directory, &mut machine).unwrap_err();
        assert_eq!(error.code(), "state_missing");

        // A copy from elsewhere becomes the state.
        let copy = directory.path_of("copy");
        fs::write(&copy, &current).unwrap();
        let restored = restore(
            &directory,
            &mut machine,
            Some(&copy),
            &mut cut(Step::Synced),
            &mut quiet,
        );
        assert!(restored.is_err());
        fs::remove_file(&copy).unwrap();
        machine.reboot();
        restore_all(&directory, &mut machine).unwrap();
        assert_eq!(machine.version, 2);
        let error = restore_all(&directory, &mut machine).unwrap_err();
        assert_eq!(error.code(), "state_current");
    }

    #[test]
    fn a_state_that_was_lost_is_not_passed_over() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        let sealing = machine.sealing().unwrap();
        must_be_current(&directory, &sealing).unwrap();
        directory
            .write(STATE, &sample_state(2, [3; 32], 1))
            .unwrap();
        let error = must_be_current(&directory, &sealing).unwrap_err();
        assert_eq!(error.code(), "state_lost");
        directory.remove(STATE).unwrap();
        let error = must_be_current(&directory, &sealing).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }

    #[test]
    fn an_interrupted_restore_is_finished() {
        let (_temporary, directory) = directory();
        let mut machine = sealed(&directory);
        machine.reboot();
        restore(
            &directory,
            &mut machine,
            None,
            &mut cut(Step::Written),
            &mut quiet,
        )
        .unwrap_err();
        assert!(machine.locked);
        let restored = restore_all(&directory, &mut machine).unwrap();
        assert!(restored.path.is_none() && restored.committed.is_some());
        assert!(!machine.locked);
    }

    #[test]
    fn a_tpm_that_fails_is_not_blamed_on_the_file() {
        for (refusal, about) in [
            (Refusal::TpmFailed, false),
            (Refusal::NotPermitted, false),
            (Refusal::StateCurrent, false),
            (Refusal::StateOlder, true),
            (Refusal::StatePcr, true),
            (Refusal::PolicyPath, true),
        ] {
            let reason = Refused {
                path: PathBuf::from("x"),
                error: Machine::refused::<()>(refusal).unwrap_err(),
            };
            assert_eq!(reason.is_about_the_file(), about, "{refusal:?}");
        }
        let gone = Refused {
            path: PathBuf::from("x"),
            error: Error::NotLoaded,
        };
        assert!(!gone.is_about_the_file());
    }

    #[test]
    fn a_state_is_shown_without_the_kernel() {
        let plain = Output {
            json: false,
            colour: false,
        };
        let path = Path::new("/x/state");
        let bytes = sample_state(7, [1; 32], 3);
        let state = decode(&bytes, path).unwrap();
        let text = show_text(&state, &bytes, path, &plain);
        for part in [
            "counter        7\n",
            "pcrs           0, 7\n",
            "mode           enforce\n",
            "web version 3 (sha256:",
            "node 30064771077, 3: 2",
            "slots used     2 of 128\n",
            "2027-01-01 00:00:00 UTC",
            "not checked",
            "3     alice  2       4",
            "1     (removed)  equivocation  30064771077",
            "3     alice  7000        5     3       4",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let value = show_json(&state, &bytes, path);
        assert_eq!(value["counter"], 7);
        assert_eq!(value["anchor"], hex::encode(anchor_of(&bytes)));
        assert_eq!(value["policy"]["version"], 3);
        assert_eq!(value["validators"][0]["name"], "alice");
        assert_eq!(value["clock"][1], json!([3, 2]));
        assert_eq!(value["mac_checked"], false);
        let quarantine = &value["quarantine"][0];
        assert_eq!(quarantine["standing"], "quarantined");
        assert_eq!(quarantine["fault"], "equivocation");
        assert_eq!(value["reputations"][0]["score"], 7000);
        for end in 0..bytes.len() {
            let error = decode(bytes.get(..end).unwrap(), path).unwrap_err();
            assert_eq!(error.code(), "state_malformed");
        }
        let mut sealing = crate::status::tests::sealing();
        sealing.counter = Some(9);
        assert!(loss(&state, &sealing).contains("counter says 2 more"));
        sealing.counter = None;
        assert!(!loss(&state, &sealing).contains("counter says"));
    }

    #[test]
    fn checkpoints_are_told() {
        assert_eq!(Saved::Nothing.json()["saved"], false);
        assert!(Saved::Nothing.text().contains("nothing to save"));
        let saved = Saved::Committed(3, Some([0xab; 32]));
        assert_eq!(saved.json()["counter"], 3);
        assert!(saved.text().contains("counter 3, anchor abab"));
        assert_eq!(Saved::Committed(3, None).text(), "saved: counter 3");
        assert!(is_final(&Error::NotLoaded));
        assert!(is_final(&Error::invalid("state_unsealed", "x")));
        let full = Error::file("write", Path::new("/x"), Errno::ENOSPC.into());
        assert!(!is_final(&full));
    }

    #[test]
    fn a_quarantine_is_saved_at_once() {
        let signals = signals().unwrap();
        let hour = Duration::from_secs(3600);
        let mut looks = 0;
        let mut look = || {
            looks += 1;
            match looks {
                1 => Err(Error::NotLoaded),
                2 => Ok(4),
                _ => Ok(5),
            }
        };
        // Nothing is due before the deadline; then that is.
        let due = wait_until_due(&signals, Duration::from_millis(5), 4, &mut look).unwrap();
        assert_eq!(due, (false, 4));
        let due = wait_until_due(&signals, hour, 4, &mut look).unwrap();
        assert_eq!(due, (false, 5));
        let mut status = sample(Phase::Sealed, crate::client::Mode::Enforce);
        assert_eq!(quarantines(&status), 0);
        status.counters.push(("quarantined".into(), 3));
        assert_eq!(quarantines(&status), 3);
    }

    #[test]
    fn a_signal_ends_the_wait() {
        // Blocked for this thread alone, and sent to it alone.
        let signals = signals().unwrap();
        assert!(!wait_for(&signals, Duration::from_millis(5)).unwrap());
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert!(wait_for(&signals, Duration::from_secs(60)).unwrap());
    }
}
