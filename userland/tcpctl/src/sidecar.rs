// SPDX-License-Identifier: GPL-2.0

//! The journal of a validator's key.
//!
//! Two votes of one key that contradict each other convict it, whoever had them signed (`Documentation/byzantine.rst`). So
//! what the key has signed is kept here, and it is on disk *before* a signature leaves the machine. One key, one journal:
//!
//! * that of a key in a file is `FILE.clock`, beside the file that every symbolic link leads to; a file with a second name
//!   (hard link) is refused;
//! * that of a key in the TPM is `ID.clock` in `/var/lib/tcp-lsm` for root, else in `tcp-lsm` below `$XDG_STATE_HOME` or
//!   `~/.local/state`: its public key is copied about, and is no place.
//!
//! A journal that is missing is not an empty one: it is made together with the key, or when its owner says so. One JSON
//! object; byte strings are lower-case hexadecimal:
//!
//! | member | value |
//! |---|---|
//! | `format` | `"tcpctl-clock-2"` |
//! | `validator` | id of the key |
//! | `nodes` | by node: `{slot, own, forgotten, clocks, verdicts}` |
//! | `nodes.*.slot` | place of the key in the node's clock, at its last vote |
//! | `nodes.*.own` | greatest own entry that was ever signed for the node |
//! | `nodes.*.clocks` | by epoch (a decimal string), the last eight of them: clock of the last vote signed in it, a list of `[slot, value]` |
//! | `nodes.*.verdicts` | by request: `[created, verdict]`, the verdict `"approve"` or `"deny"`; the 4096 with the greatest `created` |
//! | `nodes.*.forgotten` | greatest `created` that a forgotten vote may have had: no other request up to it is voted on |
//!
//! More than one epoch is kept, although a node never goes back to one: else a request that only claims to be of a later
//! epoch could make the journal forget the present one.
//!
//! A file of format `tcpctl-clock-1`, which knew one epoch and no verdicts, is read, too: its votes had another magic, and
//! contradict nothing.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{
        self,
        File, //
    },
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{
        Path,
        PathBuf, //
    }, //
};

use engine::{
    clock::{
        first_number,
        NodeClock, //
    },
    quorum::Verdict,
    request::Head, //
};
use nix::{
    fcntl::{
        Flock,
        FlockArg, //
    },
    unistd::geteuid, //
};
use serde::{
    Deserialize,
    Serialize, //
};

use crate::{
    error::{
        Error,
        Result, //
    },
    exported,
    file, //
};

/// Value of `format`.
const FORMAT: &str = "tcpctl-clock-2";
/// Value of `format` before there were verdicts.
const OLD_FORMAT: &str = "tcpctl-clock-1";
/// Longest file that is read and written, in bytes: some 35 nodes with all the verdicts that are kept.
const LONGEST: usize = 16 * 1024 * 1024;
/// Epochs that are kept of each node.
const EPOCHS: usize = 8;
/// Verdicts that are kept of each node.
const VERDICTS: usize = 4096;
/// Where root keeps the journals of keys in the TPM.
const ROOTS_DIRECTORY: &str = "/var/lib/tcp-lsm";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    format: String,
    validator: String,
    nodes: BTreeMap<String, Node>,
}

/// What was signed for one node.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Node {
    slot: u16,
    own: u64,
    forgotten: u64,
    clocks: BTreeMap<u64, exported::Entries>,
    verdicts: BTreeMap<String, (u64, Said)>,
}

impl Node {
    /// Drops what is too much, oldest first.
    fn forget(&mut self) {
        while self.verdicts.len() > VERDICTS {
            let oldest = self.verdicts.iter().map(|(id, of)| (of.0, id)).min();
            let Some((created, id)) = oldest.map(|(created, id)| (created, id.clone())) else {
                break;
            };
            self.verdicts.remove(&id);
            self.forgotten = self.forgotten.max(created);
        }
        while self.clocks.len() > EPOCHS {
            let Some((epoch, _)) = self.clocks.pop_first() else {
                break;
            };
            // Without its clock no vote of that epoch is safe, whatever its verdict.
            let end = first_number(epoch.saturating_add(1)).saturating_sub(1);
            self.forgotten = self.forgotten.max(end);
            self.verdicts.retain(|_, of| of.0 > end);
        }
    }
}

/// A verdict, as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Approve,
    Deny,
}

impl From<Verdict> for Said {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Approve => Self::Approve,
            Verdict::Deny => Self::Deny,
        }
    }
}

impl From<Said> for Verdict {
    fn from(said: Said) -> Self {
        match said {
            Said::Approve => Self::Approve,
            Said::Deny => Self::Deny,
        }
    }
}

/// The file before there were verdicts.
#[derive(Debug, Deserialize)]
struct OldContent {
    validator: String,
    nodes: BTreeMap<String, OldNode>,
}

/// What was last signed for one node.
#[derive(Debug, Deserialize)]
struct OldNode {
    epoch: u64,
    slot: u16,
    clock: exported::Entries,
}

impl From<OldContent> for Content {
    fn from(old: OldContent) -> Self {
        let node = |old: OldNode| Node {
            slot: old.slot,
            own: old
                .clock
                .iter()
                .find(|(slot, _)| *slot == old.slot)
                .map_or(0, |(_, value)| *value),
            clocks: BTreeMap::from([(old.epoch, old.clock)]),
            ..Node::default()
        };
        Self {
            format: FORMAT.to_owned(),
            validator: old.validator,
            nodes: old
                .nodes
                .into_iter()
                .map(|(name, of)| (name, node(of)))
                .collect(),
        }
    }
}

/// What a key has signed for a node, as far as its next vote has to know.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Place of the key in the node's clock.
    pub(crate) slot: u16,
    /// Greatest own entry.
    pub(crate) own: u64,
    /// Clock of the last vote of this epoch, zeros without one: no entry of it may get smaller.
    pub(crate) clock: NodeClock,
    /// Greatest of each entry in this epoch and those before it that are kept.
    pub(crate) signed: NodeClock,
}

impl Past {
    /// Whether a vote was signed in this epoch.
    pub(crate) fn in_epoch(&self) -> bool {
        self.clock.count() != 0
    }
}

/// A vote that is about to be signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Head of the request.
    pub(crate) head: &'a Head<'a>,
    /// Id of the request.
    pub(crate) request: &'a [u8; 32],
    /// What is said about it.
    pub(crate) verdict: Verdict,
    /// Place of the key in the node's clock.
    pub(crate) slot: u16,
    /// Clock of the vote.
    pub(crate) clock: &'a NodeClock,
}

fn linked(path: &Path) -> Error {
    Error::unsigned(
        "hard_link",
        format!(
            "{path} has another name (hard link): under that name the key would have another journal, and its votes could \
             contradict each other. Find the other name with `find -samefile {path}`, and remove it",
            path = path.display()
        ),
    )
}

fn missing(path: &Path) -> Error {
    Error::unsigned(
        "journal_missing",
        format!(
            "the journal {} does not exist: without it a vote could contradict an earlier one, and convict the key. It moves \
             with its key: put it there, or name it with --journal. If this key has never voted anywhere, or its journal is \
             lost and you take the risk, --new-journal begins one",
            path.display()
        ),
    )
}

/// A key file by the name that all symbolic links lead to, and its journal.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Unsigned`] `hard_link`.
pub(crate) fn of_file(key: &Path) -> Result<(PathBuf, PathBuf)> {
    let wrong = |source| Error::file("read", key, source);
    let key = fs::canonicalize(key).map_err(wrong)?;
    if fs::metadata(&key).map_err(wrong)?.nlink() > 1 {
        return Err(linked(&key));
    }
    let journal = file::beside(&key, ".clock");
    Ok((key, journal))
}

/// The journal of a key in the TPM.
///
/// # Errors
///
/// Those of [`directory`].
pub(crate) fn of_tpm(validator: &[u8; 32]) -> Result<PathBuf> {
    Ok(directory()?.join(format!("{}.clock", hex::encode(validator))))
}

/// Where journals of keys in the TPM are.
///
/// # Errors
///
/// [`Error::Usage`] when the environment does not say so.
fn directory() -> Result<PathBuf> {
    directory_of(
        geteuid().is_root(),
        env::var_os("XDG_STATE_HOME"),
        env::var_os("HOME"),
    )
}

fn directory_of(root: bool, state: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    if root {
        return Ok(ROOTS_DIRECTORY.into());
    }
    // The XDG specification ignores what is not absolute.
    let absolute = |of: Option<OsString>| of.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(state)
        .or_else(|| absolute(home).map(|home| home.join(".local/state")))
        .map(|state| state.join("tcp-lsm"))
        .ok_or_else(|| {
            Error::Usage(
                "neither XDG_STATE_HOME nor HOME says where the journal is: give --journal FILE"
                    .to_owned(),
            )
        })
}

/// Makes the directory of [`of_tpm`].
///
/// # Errors
///
/// Those of [`of_tpm`] and [`file::Directory::create`].
pub(crate) fn create_directory() -> Result<()> {
    let directory = directory()?;
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(|source| Error::file("create", parent, source))?;
    }
    file::Directory::create(&directory).map(|_| ())
}

/// Begins the journal of a key that has signed nothing.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Unsigned`] `journal_exists`.
pub(crate) fn create(path: &Path, validator: &[u8; 32]) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::unsigned(
            "journal_exists",
            format!(
                "the journal {} exists: vote without --new-journal",
                path.display()
            ),
        ));
    }
    let content = Content {
        format: FORMAT.to_owned(),
        validator: hex::encode(validator),
        nodes: BTreeMap::new(),
    };
    file::create(path, 0o600, &encode(&content)?)
}

fn encode(content: &Content) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec(content).map_err(|error| Error::invalid("json", error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Keeps every other vote with a journal away, until the lock is dropped or the journal replaced.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Unsigned`] `journal_missing`, `hard_link`.
pub(crate) fn hold(path: &Path) -> Result<Flock<File>> {
    loop {
        let file = File::open(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => missing(path),
            _ => Error::file("read", path, source),
        })?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::file("lock", path, errno.into()))?;
        let held = lock
            .metadata()
            .map_err(|source| Error::file("read", path, source))?;
        // What was waited for has replaced it, or moved it away.
        let same = |now: fs::Metadata| (now.dev(), now.ino()) == (held.dev(), held.ino());
        if !fs::metadata(path).is_ok_and(same) {
            continue;
        }
        if held.nlink() > 1 {
            return Err(linked(path));
        }
        return Ok(lock);
    }
}

/// The journal of one key, locked against other votes by the same key.
pub(crate) struct Sidecar {
    path: PathBuf,
    content: Content,
    _lock: Flock<File>,
}

impl Sidecar {
    /// Reads the journal of a key, and keeps others from voting with that key meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`hold`], or [`Error::Invalid`] for a file that is not this key's journal.
    pub(crate) fn open(path: &Path, validator: &[u8; 32]) -> Result<Self> {
        let lock = hold(path)?;
        // What a symbolic link leads to is replaced, not the link.
        let path = fs::canonicalize(path).map_err(|source| Error::file("read", path, source))?;
        let bytes = file::read(&path, LONGEST)?;
        let content = Self::parse(&bytes, &hex::encode(validator)).map_err(|reason| {
            Error::invalid(
                "clock_malformed",
                format!(
                    "{}: {reason}. Restore the newest copy; when there is none, enrol a new key: a vote with this one \
                     could contradict an earlier one, and convict it",
                    path.display()
                ),
            )
        })?;
        Ok(Self {
            path,
            content,
            _lock: lock,
        })
    }

    fn parse(bytes: &[u8], validator: &str) -> Result<Content, String> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
        }
        let wrong = |error: serde_json::Error| format!("not a journal: {error}");
        let version: Version = serde_json::from_slice(bytes).map_err(wrong)?;
        let content: Content = match version.format.as_str() {
            FORMAT => serde_json::from_slice(bytes).map_err(wrong)?,
            OLD_FORMAT => serde_json::from_slice::<OldContent>(bytes)
                .map_err(wrong)?
                .into(),
            _ => return Err(format!("the format is not {FORMAT}")),
        };
        if content.validator != validator {
            return Err("it belongs to another key".to_owned());
        }
        for clock in content.nodes.values().flat_map(|node| node.clocks.values()) {
            exported::clock(clock).map_err(|error| error.to_string())?;
        }
        Ok(content)
    }

    /// Path of the journal.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self, node: &[u8; 32]) -> Option<&Node> {
        self.content.nodes.get(&hex::encode(node))
    }

    /// What this key has signed for a node that is in `epoch`; [`None`] when it was nothing.
    ///
    /// # Errors
    ///
    /// None after [`Sidecar::open`], which has checked the entries.
    pub(crate) fn past(&self, node: &[u8; 32], epoch: u64) -> Result<Option<Past>> {
        let Some(of) = self.node(node) else {
            return Ok(None);
        };
        let mut past = Past {
            slot: of.slot,
            own: of.own,
            ..Past::default()
        };
        for (at, entries) in of.clocks.range(..=epoch) {
            let clock = exported::clock(entries)?;
            past.signed.merge(&clock);
            if *at == epoch {
                past.clock = clock;
            }
        }
        Ok(Some(past))
    }

    /// The verdict that this key has signed on a request.
    pub(crate) fn verdict(&self, node: &[u8; 32], request: &[u8; 32]) -> Option<Verdict> {
        let of = self.node(node)?.verdicts.get(&hex::encode(request))?;
        Some(of.1.into())
    }

    /// The greatest `created` of requests of a node on which votes may have been forgotten.
    pub(crate) fn forgotten(&self, node: &[u8; 32]) -> u64 {
        self.node(node).map_or(0, |of| of.forgotten)
    }

    /// Puts the next vote on disk. Only after this may its signature be made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Unsigned`] `journal_full`; no vote may be signed then.
    pub(crate) fn record(mut self, entry: &Entry<'_>) -> Result<()> {
        let node = self
            .content
            .nodes
            .entry(hex::encode(entry.head.node))
            .or_default();
        node.slot = entry.slot;
        node.own = node.own.max(entry.clock.get(entry.slot));
        node.clocks
            .insert(entry.head.epoch, exported::entries(entry.clock));
        node.verdicts.insert(
            hex::encode(entry.request),
            (entry.head.created, entry.verdict.into()),
        );
        node.forget();
        let bytes = encode(&self.content)?;
        if bytes.len() > LONGEST {
            return Err(Error::unsigned(
                "journal_full",
                format!(
                    "{} would be longer than {LONGEST} bytes: enrol a new key, and retire this one",
                    self.path.display()
                ),
            ));
        }
        file::replace(&self.path, 0o600, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const NODE: [u8; 32] = [1; 32];
    const ID: [u8; 32] = [9; 32];

    fn journal() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.clock");
        create(&path, &ID).unwrap();
        (dir, path)
    }

    fn open(path: &Path) -> Sidecar {
        Sidecar::open(path, &ID).unwrap()
    }

    fn code(path: &Path, id: &[u8; 32]) -> String {
        let error = Sidecar::open(path, id).err().unwrap();
        error.code().to_owned()
    }

    /// Records a denial on a request, which is the fifth event of its epoch.
    fn record(path: &Path, epoch: u64, request: u64, clock: &NodeClock) -> Result<()> {
        let created = first_number(epoch).saturating_add(5);
        record_at(path, epoch, created, request, clock)
    }

    fn record_at(
        path: &Path,
        epoch: u64,
        created: u64,
        request: u64,
        clock: &NodeClock,
    ) -> Result<()> {
        record_in(open(path), epoch, created, request, clock)
    }

    fn record_in(
        sidecar: Sidecar,
        epoch: u64,
        created: u64,
        request: u64,
        clock: &NodeClock,
    ) -> Result<()> {
        sidecar.record(&Entry {
            head: &Head {
                node: &NODE,
                epoch,
                nonce: &[2; 16],
                created,
                created_ms: 1,
                expires_ms: 2,
                wall_ms: 3,
            },
            request: &id_of(request),
            verdict: Verdict::Deny,
            slot: 3,
            clock,
        })
    }

    fn id_of(request: u64) -> [u8; 32] {
        crate::crypto::sha256(&request.to_be_bytes())
    }

    #[test]
    fn what_was_signed_is_kept_by_node_epoch_and_request() {
        let (_dir, path) = journal();
        let clock = exported::clock(&[(0, 4), (2, 6), (3, 2)]).unwrap();
        assert!(open(&path).past(&NODE, 7).unwrap().is_none());
        record(&path, 7, 5, &clock).unwrap();
        let sidecar = open(&path);
        let past = sidecar.past(&NODE, 7).unwrap().unwrap();
        assert_eq!((past.slot, past.own, past.in_epoch()), (3, 2, true));
        assert_eq!((&past.clock, &past.signed), (&clock, &clock));
        let later = sidecar.past(&NODE, 8).unwrap().unwrap();
        assert_eq!((later.own, later.in_epoch()), (2, false));
        assert_eq!((&later.clock, &later.signed), (&NodeClock::new(), &clock));
        let earlier = sidecar.past(&NODE, 6).unwrap().unwrap();
        assert_eq!((earlier.own, earlier.signed), (2, NodeClock::new()));
        assert!(sidecar.past(&[2; 32], 7).unwrap().is_none());
        let verdict = |node, request| sidecar.verdict(node, &id_of(request));
        assert_eq!(verdict(&NODE, 5), Some(Verdict::Deny));
        assert_eq!(verdict(&NODE, 6), None);
        assert_eq!(verdict(&[2; 32], 5), None);
        drop(sidecar);
        // The own entry of a node never falls, whatever is recorded; nor does what was signed once.
        record(&path, 8, 6, &exported::clock(&[(3, 1)]).unwrap()).unwrap();
        let past = open(&path).past(&NODE, 8).unwrap().unwrap();
        assert_eq!((past.own, past.clock.get(2)), (2, 0));
        assert_eq!(past.signed, clock);
        assert_eq!(code(&path, &[8; 32]), "clock_malformed");
    }

    #[test]
    fn an_epoch_is_forgotten_only_for_good() {
        let (_dir, path) = journal();
        let mut clock = NodeClock::new();
        for epoch in 10..18 {
            assert!(clock.set(3, epoch));
            record(&path, epoch, epoch, &clock).unwrap();
        }
        assert_eq!(open(&path).forgotten(&NODE), 0);
        // A request that claims to be of a far epoch takes the place of the oldest one only.
        assert!(clock.set(3, 18));
        record(&path, u64::MAX, 18, &clock).unwrap();
        let sidecar = open(&path);
        assert_eq!(sidecar.forgotten(&NODE), first_number(11) - 1);
        assert_eq!(sidecar.verdict(&NODE, &id_of(10)), None);
        assert_eq!(sidecar.verdict(&NODE, &id_of(11)), Some(Verdict::Deny));
        assert_eq!(sidecar.forgotten(&[2; 32]), 0);
        let past = sidecar.past(&NODE, 18).unwrap().unwrap();
        assert_eq!((past.own, past.signed.get(3)), (18, 17));
    }

    #[test]
    fn the_last_verdicts_are_kept() {
        let (_dir, path) = journal();
        let clock = exported::clock(&[(3, 1)]).unwrap();
        let mut node = Node::default();
        for at in 1..=VERDICTS as u64 {
            node.verdicts
                .insert(hex::encode(id_of(at)), (first_number(7) + at, Said::Deny));
        }
        let mut sidecar = open(&path);
        sidecar.content.nodes.insert(hex::encode(NODE), node);
        fs::write(&path, encode(&sidecar.content).unwrap()).unwrap();
        assert_eq!(sidecar.forgotten(&NODE), 0);
        drop(sidecar);
        let last = VERDICTS as u64 + 1;
        for (created, request, forgotten) in [(last, last, 1), (last + 1, last + 1, 2), (2, 0, 2)] {
            record_at(&path, 7, first_number(7) + created, request, &clock).unwrap();
            let sidecar = open(&path);
            assert_eq!(sidecar.forgotten(&NODE), first_number(7) + forgotten);
            assert_eq!(sidecar.node(&NODE).unwrap().verdicts.len(), VERDICTS);
        }
        let sidecar = open(&path);
        for (request, said) in [
            (0, false),
            (1, false),
            (2, false),
            (3, true),
            (last + 1, true),
        ] {
            let kept = sidecar.verdict(&NODE, &id_of(request));
            assert_eq!(kept.is_some(), said, "{request}");
        }
        assert!(fs::metadata(&path).unwrap().len() < LONGEST as u64 / 35);
    }

    #[test]
    fn a_file_without_verdicts_is_read() {
        let (_dir, path) = journal();
        let (id, node) = (hex::encode(ID), hex::encode(NODE));
        let old = format!(
            r#"{{"format":"tcpctl-clock-1","validator":"{id}","nodes":{{"{node}":{{"epoch":7,"slot":3,"clock":[[0,4],[3,2]]}}}}}}"#
        );
        fs::write(&path, old).unwrap();
        let sidecar = open(&path);
        let past = sidecar.past(&NODE, 7).unwrap().unwrap();
        assert_eq!((past.slot, past.own, past.in_epoch()), (3, 2, true));
        assert_eq!(sidecar.verdict(&NODE, &id_of(5)), None);
        drop(sidecar);
        let clock = exported::clock(&[(0, 4), (3, 3)]).unwrap();
        record(&path, 7, 5, &clock).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains(FORMAT));
        assert_eq!(open(&path).past(&NODE, 7).unwrap().unwrap().own, 3);
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let (_dir, path) = journal();
        let id = hex::encode(ID);
        let of = |clocks: &str, verdicts: &str| {
            format!(
                r#"{{"format":"{FORMAT}","validator":"{id}","nodes":{{"a":{{"slot":1,"own":1,"forgotten":0,"clocks":{clocks},"verdicts":{verdicts}}}}}}}"#
            )
        };
        fs::write(&path, of(r#"{"0":[[1,1]]}"#, r#"{"a":[1,"deny"]}"#)).unwrap();
        open(&path);
        for content in [
            String::new(),
            "{}".to_owned(),
            format!(r#"{{"format":"x","validator":"{id}","nodes":{{}}}}"#),
            format!(r#"{{"format":"{OLD_FORMAT}","validator":"{id}"}}"#),
            format!(r#"{{"format":"{FORMAT}","validator":"{id}","nodes":{{"a":{{}}}}}}"#),
            of(r#"{"0":[[0,0]]}"#, "{}"),
            of(r#"{"x":[[1,1]]}"#, "{}"),
            of("{}", r#"{"a":[1,"perhaps"]}"#),
            of("{}", r#"{"a":"deny"}"#),
        ] {
            fs::write(&path, &content).unwrap();
            assert_eq!(code(&path, &ID), "clock_malformed", "{content}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_missing_journal_is_not_an_empty_one() {
        let (dir, path) = journal();
        let none = dir.path().join("none");
        let error = Sidecar::open(&none, &ID).err().unwrap();
        assert_eq!((error.code(), error.exit_code()), ("journal_missing", 6));
        for part in ["--new-journal", "--journal", "none"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(!none.exists());
        let error = create(&path, &ID).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("journal_exists", 6));
    }

    #[test]
    fn one_key_has_one_journal_by_all_its_names() {
        let (dir, path) = journal();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("key"), "").unwrap();
        symlink(at("key"), at("link")).unwrap();
        symlink(dir.path(), at("d")).unwrap();
        for name in ["key", "link", "d/link"] {
            let (key, journal) = of_file(&at(name)).unwrap();
            assert_eq!(key, fs::canonicalize(at("key")).unwrap());
            assert_eq!(journal, fs::canonicalize(&path).unwrap());
        }
        assert_eq!(of_file(&at("none")).unwrap_err().errno(), 2);
        // A journal on other storage: it is replaced, and the link stays.
        symlink(&path, at("other.clock")).unwrap();
        let clock = exported::clock(&[(3, 1)]).unwrap();
        record(&at("other.clock"), 7, 5, &clock).unwrap();
        assert!(at("other.clock").is_symlink());
        assert!(open(&path).past(&NODE, 7).unwrap().is_some());
        fs::hard_link(at("key"), at("twin")).unwrap();
        for name in ["key", "link", "twin"] {
            let error = of_file(&at(name)).unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("hard_link", 6));
            assert!(error.to_string().contains("find -samefile"), "{error}");
        }
        fs::hard_link(&path, at("twin.clock")).unwrap();
        assert_eq!(code(&path, &ID), "hard_link");
    }

    #[test]
    fn a_key_in_the_tpm_has_its_journal_in_a_fixed_place() {
        let of = |root, state: Option<&str>, home: Option<&str>| {
            directory_of(root, state.map(OsString::from), home.map(OsString::from))
                .map(|path| path.display().to_string())
                .map_err(|error| error.code().to_owned())
        };
        let (roots, xdg, home) = ("/var/lib/tcp-lsm", "/s/tcp-lsm", "/h/.local/state/tcp-lsm");
        assert_eq!(of(true, Some("/s"), Some("/h")).unwrap(), roots);
        assert_eq!(of(false, Some("/s"), Some("/h")).unwrap(), xdg);
        for ignored in [None, Some(""), Some("s")] {
            assert_eq!(of(false, ignored, Some("/h")).unwrap(), home);
            assert_eq!(of(false, ignored, None).unwrap_err(), "usage");
        }
    }

    #[test]
    fn a_vote_that_cannot_be_recorded_is_an_error() {
        let (_dir, path) = journal();
        let sidecar = open(&path);
        let clock = exported::clock(&[(3, 1)]).unwrap();
        // Nothing can be renamed over a directory.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = record_in(sidecar, 7, first_number(7), 5, &clock).unwrap_err();
        assert_eq!(error.code(), "io");
    }

    /// Votes with one key at the same time: each sees what was recorded before it.
    #[test]
    fn one_key_votes_once_at_a_time() {
        let (_dir, path) = journal();
        let vote = |thread: u64| {
            for turn in 0..20 {
                let sidecar = open(&path);
                let past = sidecar.past(&NODE, 7).unwrap().unwrap_or_default();
                let clock = exported::clock(&[(3, past.own + 1)]).unwrap();
                let request = thread * 100 + turn;
                record_in(sidecar, 7, first_number(7) + 1, request, &clock).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let vote = &vote;
                scope.spawn(move || vote(thread));
            }
        });
        let sidecar = open(&path);
        assert_eq!(sidecar.past(&NODE, 7).unwrap().unwrap().own, 80);
        assert_eq!(sidecar.node(&NODE).unwrap().verdicts.len(), 80);
    }
}
