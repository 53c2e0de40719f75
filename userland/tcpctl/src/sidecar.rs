// SPDX-License-Identifier: GPL-2.0

//! The clock beside a private key: `FILE.clock`.
//!
//! A validator's own entry must grow with every vote, or the node refuses it; and two votes signed with the same entry
//! look like a forgery. So the last clock signed for each node is kept here, and it is on disk *before* the signature
//! leaves the machine. One JSON object:
//!
//! | member | value |
//! |---|---|
//! | `format` | `"tcpctl-clock-1"` |
//! | `validator` | id of the key |
//! | `nodes` | by node (hexadecimal): `{epoch, slot, clock}`, the clock a list of `[slot, value]` |

use std::{
    collections::BTreeMap,
    fs::File,
    path::{
        Path,
        PathBuf, //
    }, //
};

use engine::clock::NodeClock;
use nix::fcntl::{
    Flock,
    FlockArg, //
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
const FORMAT: &str = "tcpctl-clock-1";
/// Longest file that is read, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    format: String,
    validator: String,
    nodes: BTreeMap<String, Node>,
}

/// What was last signed for one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    epoch: u64,
    slot: u16,
    clock: exported::Entries,
}

/// The sidecar of one key, locked against other votes by the same key.
pub(crate) struct Sidecar {
    path: PathBuf,
    content: Content,
    _lock: Flock<File>,
}

impl Sidecar {
    /// Reads the sidecar of a key, and keeps others from voting with that key meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Invalid`] for a file that is not this key's sidecar.
    pub(crate) fn open(key: &Path, validator: &[u8; 32]) -> Result<Self> {
        let lock = File::open(key).map_err(|source| Error::file("read", key, source))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::file("lock", key, errno.into()))?;
        let path = file::beside(key, ".clock");
        let validator = hex::encode(validator);
        let content = match file::read(&path, LONGEST) {
            Ok(bytes) => Self::parse(&bytes, &validator).map_err(|reason| {
                Error::invalid(
                    "clock_malformed",
                    format!(
                        "{}: {reason}. Restore it; or, when it is lost, move it away: votes then start from the node's \
                         clock",
                        path.display()
                    ),
                )
            })?,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Content {
                    format: FORMAT.to_owned(),
                    validator,
                    nodes: BTreeMap::new(),
                }
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            path,
            content,
            _lock: lock,
        })
    }

    fn parse(bytes: &[u8], validator: &str) -> Result<Content, String> {
        let content: Content =
            serde_json::from_slice(bytes).map_err(|error| format!("not a clock file: {error}"))?;
        if content.format != FORMAT {
            return Err(format!("the format is not {FORMAT}"));
        }
        if content.validator != validator {
            return Err("it belongs to another key".to_owned());
        }
        for node in content.nodes.values() {
            exported::clock(&node.clock).map_err(|error| error.to_string())?;
        }
        Ok(content)
    }

    /// Place of this key in the clock of a node, from an earlier vote.
    pub(crate) fn slot(&self, node: &[u8; 32]) -> Option<u16> {
        self.content
            .nodes
            .get(&hex::encode(node))
            .map(|node| node.slot)
    }

    /// The clock last signed for a node; zeros when there was none.
    ///
    /// # Errors
    ///
    /// None after [`Sidecar::open`], which has checked the entries.
    pub(crate) fn clock(&self, node: &[u8; 32]) -> Result<NodeClock> {
        match self.content.nodes.get(&hex::encode(node)) {
            Some(node) => exported::clock(&node.clock),
            None => Ok(NodeClock::new()),
        }
    }

    /// Puts the clock of the next vote on disk. Only after this may its signature be made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; no vote may be signed then.
    pub(crate) fn advance(
        &mut self,
        node: &[u8; 32],
        epoch: u64,
        slot: u16,
        clock: &NodeClock,
    ) -> Result<()> {
        self.content.nodes.insert(
            hex::encode(node),
            Node {
                epoch,
                slot,
                clock: exported::entries(clock),
            },
        );
        let mut bytes = serde_json::to_vec_pretty(&self.content)
            .map_err(|error| Error::invalid("json", error.to_string()))?;
        bytes.push(b'\n');
        file::replace(&self.path, 0o600, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn clocks_are_kept_by_node() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        fs::write(&key, "").unwrap();
        let mut clock = NodeClock::new();
        assert!(clock.set(0, 4) && clock.set(3, 2));
        {
            let mut sidecar = Sidecar::open(&key, &[9; 32]).unwrap();
            assert_eq!(sidecar.slot(&[1; 32]), None);
            assert_eq!(sidecar.clock(&[1; 32]).unwrap(), NodeClock::new());
            sidecar.advance(&[1; 32], 7, 3, &clock).unwrap();
        }
        let sidecar = Sidecar::open(&key, &[9; 32]).unwrap();
        assert_eq!(sidecar.slot(&[1; 32]), Some(3));
        assert_eq!(sidecar.clock(&[1; 32]).unwrap(), clock);
        assert_eq!(sidecar.slot(&[2; 32]), None);
        drop(sidecar);
        assert_eq!(
            Sidecar::open(&key, &[8; 32]).err().unwrap().code(),
            "clock_malformed"
        );
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        fs::write(&key, "").unwrap();
        let path = dir.path().join("key.clock");
        let id = "09".repeat(32);
        for content in [
            "",
            "{}",
            &format!(r#"{{"format":"x","validator":"{id}","nodes":{{}}}}"#),
            &format!(
                r#"{{"format":"{FORMAT}","validator":"{id}","nodes":{{"a":{{"epoch":0,"slot":1,"clock":[[0,0]]}}}}}}"#
            ),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(
                Sidecar::open(&key, &[9; 32]).err().unwrap().code(),
                "clock_malformed"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(
            Sidecar::open(&dir.path().join("none"), &[9; 32])
                .err()
                .unwrap()
                .errno(),
            2
        );
    }

    #[test]
    fn one_key_votes_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        fs::write(&key, "").unwrap();
        let held = Sidecar::open(&key, &[9; 32]).unwrap();
        let second = File::open(&key).unwrap();
        assert!(Flock::lock(second, FlockArg::LockExclusiveNonblock).is_err());
        drop(held);
        let third = File::open(&key).unwrap();
        assert!(Flock::lock(third, FlockArg::LockExclusiveNonblock).is_ok());
    }
}
