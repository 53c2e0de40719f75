// SPDX-License-Identifier: GPL-2.0

//! The file that `tcpctl request export` writes, so that a validator on another machine can vote.
//!
//! One JSON object; unknown members are ignored, byte strings are lower-case hexadecimal:
//!
//! | member | value |
//! |---|---|
//! | `format` | `"tcpctl-request-1"` |
//! | `id` | id of the request, the digest of `request` |
//! | `request` | encoding of the request, see `wire-format.rst` |
//! | `node`, `epoch` | as in the encoding |
//! | `boot_ms`, `wall_ms` | the node's clocks when the file was made |
//! | `clock` | the node's vector clock: a list of `[slot, value]`, ascending |
//! | `validators` | list of `{slot, name, id, weight, clock}`; `clock` is that of the validator's last accepted vote. Empty when the exporter could not read it (it takes `CAP_MAC_ADMIN`) |
//!
//! Nothing in the file is trusted but the encoding, and that only because the signature covers its digest: whoever made
//! a false file gets a vote that no node accepts. The clocks in it are covered by nothing. A vote takes none of them but,
//! where the key has not voted on this node before, the validator's own entry, within bounds, and of what the key has
//! signed before as much as the file says that the node knows.

use std::path::Path;

use engine::clock::NodeClock;
use serde::{
    Deserialize,
    Serialize, //
};

use crate::{
    client::{
        Status,
        Validator, //
    },
    crypto::sha256,
    describe,
    error::{
        Error,
        Result, //
    },
    file, //
};

/// Value of `format`.
const FORMAT: &str = "tcpctl-request-1";
/// Longest file that is read, in bytes.
const LONGEST: usize = 1024 * 1024;

/// A clock as JSON has it.
pub(crate) type Entries = Vec<(u16, u64)>;

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Exported {
    format: String,
    id: String,
    request: String,
    node: String,
    epoch: u64,
    boot_ms: u64,
    wall_ms: u64,
    clock: Entries,
    #[serde(default)]
    validators: Vec<Entry>,
}

/// A validator in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    slot: u16,
    name: String,
    id: String,
    weight: u32,
    #[serde(default)]
    clock: Entries,
}

/// A validator as voting needs it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Place in the clock.
    pub(crate) slot: u16,
    /// Name.
    pub(crate) name: String,
    /// Identity.
    pub(crate) id: [u8; 32],
    /// Clock of its last accepted vote.
    pub(crate) clock: NodeClock,
}

/// Everything that a vote is made from, read from the node or from a file.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    /// Identity of the request.
    pub(crate) id: [u8; 32],
    /// Its encoding.
    pub(crate) encoding: Vec<u8>,
    /// The node's clock.
    pub(crate) clock: NodeClock,
    /// The node's `CLOCK_BOOTTIME` in milliseconds when that was read.
    pub(crate) boot_ms: u64,
    /// The wall clock in milliseconds when that was read.
    pub(crate) wall_ms: u64,
    /// The validators, as far as they are known.
    pub(crate) validators: Vec<Peer>,
    /// Read from a file: no digest covers the clocks in it, so they are not believed.
    pub(crate) from_file: bool,
}

/// The entries of a clock.
pub(crate) fn entries(clock: &NodeClock) -> Entries {
    clock.iter().collect()
}

/// A clock of entries.
///
/// # Errors
///
/// [`Error::Invalid`] for a slot that a clock does not have, a value of zero, or entries out of order.
pub(crate) fn clock(entries: &[(u16, u64)]) -> Result<NodeClock> {
    let wrong = |slot: u16| {
        Error::invalid(
            "clock_malformed",
            format!("the clock's entry for slot {slot} is out of range or out of order"),
        )
    };
    let mut clock = NodeClock::new();
    let mut last = None;
    for &(slot, value) in entries {
        if value == 0 || last.is_some_and(|last| slot <= last) || !clock.set(slot, value) {
            return Err(wrong(slot));
        }
        last = Some(slot);
    }
    Ok(clock)
}

/// The validators as voting needs them.
pub(crate) fn peers(validators: &[Validator]) -> Vec<Peer> {
    validators
        .iter()
        .map(|validator| Peer {
            slot: validator.slot,
            name: validator.name.clone(),
            id: validator.id,
            clock: validator.clock.clone(),
        })
        .collect()
}

impl Exported {
    /// Makes the file's content.
    pub(crate) fn new(
        id: &[u8; 32],
        encoding: &[u8],
        status: &Status,
        validators: &[Validator],
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            id: hex::encode(id),
            request: hex::encode(encoding),
            node: hex::encode(status.node),
            epoch: status.epoch,
            boot_ms: status.boot_ms,
            wall_ms: status.wall_ms,
            clock: entries(&status.clock),
            validators: validators
                .iter()
                .map(|validator| Entry {
                    slot: validator.slot,
                    name: validator.name.clone(),
                    id: hex::encode(validator.id),
                    weight: validator.weight,
                    clock: entries(&validator.clock),
                })
                .collect(),
        }
    }

    /// Reads a file, and checks that its parts belong together.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Invalid`] `export_malformed`.
    pub(crate) fn read(path: &Path) -> Result<Basis> {
        let bytes = file::read(path, LONGEST)?;
        Self::basis(&bytes).map_err(|reason| {
            Error::invalid(
                "export_malformed",
                format!(
                    "{}: {reason}; make it again with `tcpctl request export ID --out FILE`",
                    path.display()
                ),
            )
        })
    }

    fn basis(bytes: &[u8]) -> Result<Basis, String> {
        let file: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("not an exported request: {error}"))?;
        if file.format != FORMAT {
            return Err(format!("the format is not {FORMAT}"));
        }
        let encoding =
            hex::decode(&file.request).map_err(|error| format!("member `request`: {error}"))?;
        let id = sha256(&encoding);
        if file.id != hex::encode(id) {
            return Err("member `id` is not the digest of `request`".to_owned());
        }
        let request = describe::decode(&encoding).map_err(|error| error.to_string())?;
        if file.node != hex::encode(request.head.node) || file.epoch != request.head.epoch {
            return Err("members `node` and `epoch` are not those of `request`".to_owned());
        }
        let validators = file
            .validators
            .iter()
            .map(|entry| {
                Ok(Peer {
                    slot: entry.slot,
                    name: entry.name.clone(),
                    id: hex::decode(&entry.id)
                        .ok()
                        .and_then(|id| id.try_into().ok())
                        .ok_or("a validator's id is not 64 hexadecimal digits")?,
                    clock: clock(&entry.clock).map_err(|error| error.to_string())?,
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Basis {
            id,
            clock: clock(&file.clock).map_err(|error| error.to_string())?,
            boot_ms: file.boot_ms,
            wall_ms: file.wall_ms,
            validators,
            encoding,
            from_file: true,
        })
    }
}

impl Basis {
    /// Clock of the last accepted vote of the validator in a slot. Where that is not known that of the node, which has
    /// accepted no greater one.
    pub(crate) fn last(&self, slot: u16) -> &NodeClock {
        let peer = self.validators.iter().find(|peer| peer.slot == slot);
        peer.map_or(&self.clock, |peer| &peer.clock)
    }

    /// The node's `CLOCK_BOOTTIME` now, as far as this machine's wall clock tells.
    pub(crate) fn now_ms(&self, wall_ms: u64) -> u64 {
        self.boot_ms
            .saturating_add(wall_ms.saturating_sub(self.wall_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{
        op::Op,
        request::Fact, //
    };
    use serde_json::{
        json,
        Value, //
    };

    fn file() -> Value {
        let encoding = describe::tests::sample(Op::FileWrite, 9, &[Fact::Path(b"/x")]);
        json!({
            "format": FORMAT,
            "id": hex::encode(sha256(&encoding)),
            "request": hex::encode(&encoding),
            "node": "01".repeat(32),
            "epoch": 7,
            "boot_ms": 2000,
            "wall_ms": 1_700_000_001_000u64,
            "clock": [[0, 6], [2, 1]],
            "validators": [
                { "slot": 2, "name": "bob", "id": "ab".repeat(32), "weight": 1, "clock": [[2, 1]] },
            ],
        })
    }

    #[test]
    fn a_file_is_read() {
        let basis = Exported::basis(file().to_string().as_bytes()).unwrap();
        assert_eq!(entries(&basis.clock), [(0, 6), (2, 1)]);
        assert_eq!(basis.validators[0].id, [0xab; 32]);
        assert_eq!(basis.now_ms(1_700_000_003_000), 4000);
        assert_eq!(basis.now_ms(0), 2000);
    }

    #[test]
    fn each_inconsistency_is_refused() {
        for (member, value, part) in [
            ("format", json!("other"), "format"),
            ("id", json!("00".repeat(32)), "digest"),
            ("request", json!("zz"), "request"),
            ("node", json!("02".repeat(32)), "node"),
            ("epoch", json!(8), "epoch"),
            ("clock", json!([[0, 0]]), "slot 0"),
            ("clock", json!([[2, 1], [0, 1]]), "slot 0"),
            ("clock", json!([[129, 1]]), "slot 129"),
            ("clock", json!("x"), "not an exported request"),
            (
                "validators",
                json!([{"slot": 1, "name": "x", "id": "ab", "weight": 1}]),
                "64",
            ),
        ] {
            let mut file = file();
            file[member] = value;
            let reason = Exported::basis(file.to_string().as_bytes()).unwrap_err();
            assert!(reason.contains(part), "{part} in {reason}");
        }
        let short = hex::encode(b"short");
        let mut malformed = file();
        malformed["request"] = json!(short);
        malformed["id"] = json!(hex::encode(sha256(b"short")));
        assert!(Exported::basis(malformed.to_string().as_bytes())
            .unwrap_err()
            .contains("decoded"));
    }
}
