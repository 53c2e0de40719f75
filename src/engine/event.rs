// SPDX-License-Identifier: GPL-2.0

//! Events: the steps that the causal chain records.
//!
//! See "Event and causal chain" in `Documentation/wire-format.rst`.

use super::anchor::Standing;
use super::byzantine::Fault;
use super::clock::ClaimedClock;
use super::evidence::Evidence;
use super::governance::{
    self,
    Mode,
    ValidatorRecord, //
};
use super::limits;
use super::op::Op;
use super::quorum::Verdict;
use super::refusal::Refusal;
use super::reputation::Kept;
use super::request::Request;
use super::vote::VoteRecord;
use super::watch::{
    Reason,
    Rules, //
};
use super::wire::{
    self,
    Error,
    Reader,
    Writer, //
};

/// First bytes of an event.
pub const MAGIC: &[u8; 8] = b"TCPLEVT1";

/// Bytes of an event before its payload.
pub const HEADER_LEN: usize = 92;

/// Longest path in a payload, in bytes; a longer one is cut.
pub const MAX_PATH: usize = 256;

/// Greatest error number of the kernel.
const MAX_ERRNO: u16 = 4095;

// Every payload fits.
const _: () = assert!(limits::REQUEST <= limits::EVENT_PAYLOAD);
const _: () = assert!(super::vote::MAX_RECORD <= limits::EVENT_PAYLOAD);
const _: () = assert!(limits::EVIDENCE <= limits::EVENT_PAYLOAD);
const _: () = assert!(limits::EVENT_PAYLOAD <= u32::MAX as usize);

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $name:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u16)]
        pub enum Kind {
            $($(#[$doc])* $variant = $value,)*
        }

        impl Kind {
            /// Every kind, in ascending order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the kind of that number.
            pub fn from_u16(value: u16) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Name for display: `VOTE_REFUSED`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// The module was loaded; the result is a [`SealedBy`].
    Loaded = 1, "LOADED";
    /// A policy was loaded.
    Policy = 2, "POLICY";
    /// A validator was enrolled.
    ValidatorAdded = 3, "VALIDATOR_ADDED";
    /// A validator was removed.
    ValidatorRemoved = 4, "VALIDATOR_REMOVED";
    /// Setup ended.
    Sealed = 5, "SEALED";
    /// The mode was changed; the result is a [`Mode`].
    Mode = 6, "MODE";
    /// A request was made.
    Request = 7, "REQUEST";
    /// A vote was accepted; the result is a [`Verdict`].
    Vote = 8, "VOTE";
    /// Enough weight approved.
    Granted = 9, "GRANTED";
    /// Approval became impossible.
    Denied = 10, "DENIED";
    /// Nobody decided in time.
    Expired = 11, "EXPIRED";
    /// A request ended undecided; the result is a [`Cancelled`].
    Cancelled = 12, "CANCELLED";
    /// A grant was used; the result is the number of uses left.
    Used = 13, "USED";
    /// A grant ended; the result is a [`GrantEnded`].
    GrantEnded = 14, "GRANT_ENDED";
    /// An agent began.
    Agent = 15, "AGENT";
    /// The last task of an agent ended.
    AgentEnded = 16, "AGENT_ENDED";
    /// An operation was refused; the result is an error number.
    Refused = 17, "REFUSED";
    /// An operation was recorded; the result is 0, or the error number of enforce mode.
    Audit = 18, "AUDIT";
    /// A vote was refused; the result is the code of a [`Refusal`].
    VoteRefused = 19, "VOTE_REFUSED";
    /// A command was refused; the result is the code of a [`Refusal`].
    ControlRefused = 20, "CONTROL_REFUSED";
    /// The module may be unloaded.
    Unpinned = 21, "UNPINNED";
    /// A state was given back and taken; the result is a [`Standing`].
    Restored = 22, "RESTORED";
    /// A commit begins; the result is the kind of the event that will make the change effective, 0
    /// for a checkpoint.
    Staged = 23, "STAGED";
    /// A commit ended: the TPM has it.
    Anchored = 24, "ANCHORED";
    /// What was staged was given up.
    Discarded = 25, "DISCARDED";
    /// A state that is not current was taken, or setup begun anew; the result is the code of the
    /// [`Refusal`] that made it necessary.
    Recovered = 26, "RECOVERED";
    /// The last clock of a validator, or that of the node for slot 0.
    Clock = 27, "CLOCK";
    /// A vote whose causes have not arrived is held; the result is a [`Verdict`].
    Held = 28, "HELD";
    /// A fault of a validator is proven; the result is a [`Fault`].
    Quarantined = 29, "QUARANTINED";
    /// The quarantine of a validator ended.
    Readmitted = 30, "READMITTED";
    /// What the watch goes by from now on.
    Watch = 31, "WATCH";
    /// An alert starts; the result is a [`Reason`].
    Alert = 32, "ALERT";
    /// An alert ends; the result is a [`Reason`].
    Calm = 33, "CALM";
    /// The reputation that a validator had when the state was made.
    Reputation = 34, "REPUTATION";
}

/// What keeps the past of a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum SealedBy {
    /// Nothing: the node is unsealed.
    Nothing = 1,
    /// A TPM.
    Tpm = 2,
}

impl SealedBy {
    /// Name for display, as `status` has it: `unsealed` or `tpm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "unsealed",
            Self::Tpm => "tpm",
        }
    }
}

/// Why a request ended undecided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Cancelled {
    /// By command.
    Command = 1,
    /// The policy changed.
    PolicyChanged = 2,
    /// The validators changed.
    ValidatorsChanged = 3,
    /// The agent that asked ended.
    AgentEnded = 4,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum GrantEnded {
    /// By command.
    Revoked = 1,
    /// Its time was over.
    Expired = 2,
    /// It was used as often as it may be.
    UsedUp = 3,
    /// The policy changed.
    PolicyChanged = 4,
    /// The validators changed.
    ValidatorsChanged = 5,
    /// A validator was quarantined, and what still approves is not enough.
    ValidatorQuarantined = 6,
}

impl Kind {
    /// Whether an event of this kind may have that result.
    pub fn allows(self, result: u16) -> bool {
        match self {
            Self::Policy
            | Self::ValidatorAdded
            | Self::ValidatorRemoved
            | Self::Sealed
            | Self::Request
            | Self::Granted
            | Self::Denied
            | Self::Expired
            | Self::Agent
            | Self::AgentEnded
            | Self::Unpinned
            | Self::Anchored
            | Self::Discarded
            | Self::Clock
            | Self::Readmitted
            | Self::Watch
            | Self::Reputation => result == 0,
            Self::Loaded => (SealedBy::Nothing as u16..=SealedBy::Tpm as u16).contains(&result),
            Self::Restored => {
                (Standing::Current as u16..=Standing::Outdated as u16).contains(&result)
            }
            Self::Staged => result == 0 || Self::from_u16(result).is_some_and(Self::is_committed),
            Self::Mode => (Mode::Permissive as u16..=Mode::Enforce as u16).contains(&result),
            Self::Vote | Self::Held => {
                (Verdict::Approve as u16..=Verdict::Deny as u16).contains(&result)
            }
            Self::Cancelled => {
                (Cancelled::Command as u16..=Cancelled::AgentEnded as u16).contains(&result)
            }
            Self::Used => true,
            Self::GrantEnded => (GrantEnded::Revoked as u16
                ..=GrantEnded::ValidatorQuarantined as u16)
                .contains(&result),
            Self::Quarantined => u8::try_from(result).ok().and_then(Fault::from_u8).is_some(),
            Self::Alert | Self::Calm => Reason::from_u16(result).is_some(),
            Self::Refused => (1..=MAX_ERRNO).contains(&result),
            Self::Audit => result <= MAX_ERRNO,
            Self::VoteRefused | Self::ControlRefused | Self::Recovered => {
                Refusal::from_code(result).is_some()
            }
        }
    }

    /// Whether an event of this kind makes a change effective that a sealed node commits first: it
    /// may follow STAGED.
    pub const fn is_committed(self) -> bool {
        matches!(
            self,
            Self::Policy
                | Self::ValidatorAdded
                | Self::ValidatorRemoved
                | Self::Sealed
                | Self::Mode
                | Self::Restored
                | Self::Recovered
                | Self::Readmitted
        )
    }

    /// Whether what the watch has to record by then stands before an event of this kind, with its
    /// stamp.
    pub const fn awaits_watch(self) -> bool {
        matches!(
            self,
            Self::Request | Self::Vote | Self::Held | Self::VoteRefused
        )
    }
}

/// An event without its payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// One more than [`first_number`](super::clock::first_number) for the first event of a load,
    /// then one more each: the node's own clock entry.
    pub number: u64,
    /// When it happened, in milliseconds of `CLOCK_BOOTTIME`.
    pub boot_ms: u64,
    /// When it happened, in milliseconds since 1970-01-01 UTC; for display only.
    pub wall_ms: u64,
    /// What happened.
    pub kind: Kind,
    /// The operation that it is about, if any.
    pub op: Option<Op>,
    /// Effective user id of who did it, in the initial user namespace.
    pub uid: u32,
    /// Agent id, 0 when none.
    pub agent: u64,
    /// Id of the request, zeros when none.
    pub request: [u8; 32],
    /// Slot of the validator, 0 when none.
    pub slot: u16,
    /// What came of it, see [`Kind`].
    pub result: u16,
    /// Line of the rule, 0 when none.
    pub line: u32,
}

impl Header {
    /// Checks what both directions demand.
    fn check(&self, payload_len: u32) -> wire::Result {
        if self.number == 0 {
            return Err(Error::Field("number"));
        }
        if usize::from(self.slot) > limits::VALIDATORS {
            return Err(Error::Field("slot"));
        }
        if !self.kind.allows(self.result) {
            return Err(Error::Field("result"));
        }
        match usize::try_from(payload_len) {
            Ok(len) if len <= limits::EVENT_PAYLOAD => Ok(()),
            _ => Err(Error::Field("payload length")),
        }
    }

    /// Writes the header of an event whose payload has that many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Field`] for a value that could not be decoded again.
    pub fn encode(&self, payload_len: usize, out: &mut [u8; HEADER_LEN]) -> wire::Result {
        let len = u32::try_from(payload_len).map_err(|_| Error::Field("payload length"))?;
        self.check(len)?;
        let mut out = Writer::new(out);
        out.bytes(MAGIC)?;
        out.u64(self.number)?;
        out.u64(self.boot_ms)?;
        out.u64(self.wall_ms)?;
        out.u16(self.kind as u16)?;
        out.u16(self.op.map_or(0, |op| op.value()))?;
        out.u32(self.uid)?;
        out.u64(self.agent)?;
        out.bytes(&self.request)?;
        out.u16(self.slot)?;
        out.u16(self.result)?;
        out.u32(self.line)?;
        out.u32(len)
    }

    /// Takes a header and returns it with the length of the payload.
    fn take(reader: &mut Reader<'_>) -> wire::Result<(Self, usize)> {
        reader.magic(MAGIC)?;
        let header = Self {
            number: reader.u64()?,
            boot_ms: reader.u64()?,
            wall_ms: reader.u64()?,
            kind: Kind::from_u16(reader.u16()?).ok_or(Error::Field("kind"))?,
            op: match reader.u16()? {
                0 => None,
                op => Some(Op::from_u16(op).ok_or(Error::Field("operation"))?),
            },
            uid: reader.u32()?,
            agent: reader.u64()?,
            request: *reader.array()?,
            slot: reader.u16()?,
            result: reader.u16()?,
            line: reader.u32()?,
        };
        let len = reader.u32()?;
        header.check(len)?;
        let len = usize::try_from(len).map_err(|_| Error::Field("payload length"))?;
        Ok((header, len))
    }
}

/// A decoded event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event<'a> {
    /// Everything but the payload.
    pub header: Header,
    /// The bytes of the payload, see [`Event::decode_payload`].
    pub payload: &'a [u8],
}

impl<'a> Event<'a> {
    /// Decodes the event at the front of a log; returns it and its length in bytes.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`]; [`Error::Short`] when the log ends within the event.
    pub fn decode_first(log: &'a [u8]) -> wire::Result<(Self, usize)> {
        let mut reader = Reader::new(log);
        let (header, len) = Header::take(&mut reader)?;
        let payload = reader.bytes(len)?;
        let event = Self { header, payload };
        Ok((event, log.len().saturating_sub(reader.rest().len())))
    }

    /// Decodes one event.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`].
    pub fn decode(bytes: &'a [u8]) -> wire::Result<Self> {
        let (event, len) = Self::decode_first(bytes)?;
        if len == bytes.len() {
            Ok(event)
        } else {
            Err(Error::Long)
        }
    }

    /// Writes the whole event and returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a value that could not be decoded again.
    pub fn encode(&self, out: &mut [u8]) -> wire::Result<usize> {
        let mut header = [0; HEADER_LEN];
        self.header.encode(self.payload.len(), &mut header)?;
        let mut out = Writer::new(out);
        out.bytes(&header)?;
        out.bytes(self.payload)?;
        Ok(out.len())
    }

    /// Decodes the payload. That of STAGED has to fit the kind in the header's result.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`].
    pub fn decode_payload(&self) -> wire::Result<Payload<'a>> {
        let payload = Payload::decode(self.header.kind, self.payload)?;
        if let Payload::Staged { result, change, .. } = payload {
            check_change(self.header.result, result, change)?;
        }
        Ok(payload)
    }
}

/// Longest payload of STAGED, and of every event that it can announce, in bytes.
pub const MAX_STAGED: usize = 8 + 32 + 2 + governance::MAX_VALIDATOR_RECORD;

// The longest of those: a validator record, and RESTORED and RECOVERED with two counters and digests.
const _: () = assert!(governance::MAX_VALIDATOR_RECORD >= 8 + 32 + 32 + 8);
const _: () = assert!(governance::MAX_VALIDATOR_RECORD >= 8 + 32 + 1 + limits::NAME);

/// Checks that `result` and `change` are those of an event of the kind in the result of STAGED.
fn check_change(kind: u16, result: u16, change: &[u8]) -> wire::Result {
    if kind == 0 {
        return match (result, change) {
            (0, []) => Ok(()),
            _ => Err(Error::Field("checkpoint")),
        };
    }
    let kind = Kind::from_u16(kind)
        .filter(|kind| kind.is_committed())
        .ok_or(Error::Field("staged kind"))?;
    if !kind.allows(result) {
        return Err(Error::Field("staged result"));
    }
    Payload::decode(kind, change).map(|_| ())
}

/// The weights when a request was decided or expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tally {
    /// Approving weight.
    pub approve: u64,
    /// Denying weight.
    pub deny: u64,
    /// Weight of all validators.
    pub total: u64,
    /// Weight of those who were quarantined.
    pub quarantined: u64,
    /// The threshold that held then, in basis points, 5001 to 10000.
    pub threshold_bp: u16,
}

impl Tally {
    /// Takes a tally.
    fn take(reader: &mut Reader<'_>) -> wire::Result<Self> {
        let tally = Self {
            approve: reader.u64()?,
            deny: reader.u64()?,
            total: reader.u64()?,
            quarantined: reader.u64()?,
            threshold_bp: reader.u16()?,
        };
        tally.check()?;
        Ok(tally)
    }

    /// Appends the tally.
    fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        self.check()?;
        out.u64(self.approve)?;
        out.u64(self.deny)?;
        out.u64(self.total)?;
        out.u64(self.quarantined)?;
        out.u16(self.threshold_bp)
    }

    /// Checks what both directions demand.
    fn check(&self) -> wire::Result {
        if (limits::THRESHOLD_MIN_BP..=limits::THRESHOLD_MAX_BP).contains(&self.threshold_bp) {
            Ok(())
        } else {
            Err(Error::Field("threshold"))
        }
    }
}

/// The payload of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload<'a> {
    /// MODE, CANCELLED, USED, GRANT_ENDED, AGENT_ENDED, VOTE_REFUSED, UNPINNED, DISCARDED, ALERT,
    /// CALM.
    None,
    /// LOADED.
    Loaded {
        /// Version of the module.
        version: &'a str,
    },
    /// POLICY.
    Policy {
        /// Version of the policy.
        version: u64,
        /// Digest of its text.
        digest: &'a [u8; 32],
        /// Its name.
        name: &'a str,
    },
    /// VALIDATOR_ADDED, VALIDATOR_REMOVED and READMITTED.
    Validator(ValidatorRecord<'a>),
    /// SEALED.
    Sealed {
        /// Digest of the policy's text.
        policy: &'a [u8; 32],
        /// Weight of all validators.
        total: u32,
    },
    /// REQUEST: an encoding that [`Request::decode`] takes.
    Request(&'a [u8]),
    /// VOTE and HELD: an encoding that [`VoteRecord::decode`] takes.
    Vote(&'a [u8]),
    /// GRANTED, DENIED and EXPIRED.
    Tally(Tally),
    /// AGENT.
    Agent {
        /// Agent that started this one, 0 when none.
        parent: u64,
        /// Process id in the initial namespace.
        pid: u32,
        /// Class.
        class: &'a str,
        /// Name.
        name: &'a str,
    },
    /// REFUSED and AUDIT: path of the object, cut after [`MAX_PATH`] bytes.
    Path(&'a [u8]),
    /// CONTROL_REFUSED: what was tried.
    Tried(&'a str),
    /// RESTORED.
    Restored {
        /// The counter of the state.
        counter: u64,
        /// Head of the chain in the state.
        head: &'a [u8; 32],
        /// The anchor of the state.
        anchor: &'a [u8; 32],
        /// When the state was staged, in milliseconds since 1970-01-01 UTC.
        wall_ms: u64,
    },
    /// STAGED. That `result` and `change` fit the kind is checked by [`Event::decode_payload`].
    Staged {
        /// The counter once it is committed.
        counter: u64,
        /// The anchor before; zeros when it was never extended.
        before: &'a [u8; 32],
        /// Result of the event that will make the change effective, 0 for a checkpoint.
        result: u16,
        /// Payload of that event, nothing for a checkpoint.
        change: &'a [u8],
    },
    /// ANCHORED.
    Anchored {
        /// The new value of the counter.
        counter: u64,
        /// Number of the STAGED event.
        number: u64,
        /// Head of the chain after it.
        head: &'a [u8; 32],
        /// The new value of the anchor.
        anchor: &'a [u8; 32],
    },
    /// RECOVERED.
    Recovered {
        /// The counter that was found.
        counter: u64,
        /// The anchor that was found, zeros when there was none.
        anchor: &'a [u8; 32],
        /// The counter of the state, 0 when setup begins.
        state: u64,
        /// Head of the chain in the state, zeros when setup begins.
        head: &'a [u8; 32],
    },
    /// CLOCK.
    Clock(ClaimedClock<'a>),
    /// QUARANTINED: what [`Evidence::decode`] takes. That the key is that of the votes is checked
    /// only there.
    Evidence(&'a [u8]),
    /// WATCH.
    Watch(Rules),
    /// REPUTATION.
    Reputation(Kept),
}

impl<'a> Payload<'a> {
    /// Whether this is the payload that events of `kind` have.
    pub fn fits(&self, kind: Kind) -> bool {
        match kind {
            Kind::Loaded => matches!(self, Self::Loaded { .. }),
            Kind::Policy => matches!(self, Self::Policy { .. }),
            Kind::ValidatorAdded | Kind::ValidatorRemoved | Kind::Readmitted => {
                matches!(self, Self::Validator(_))
            }
            Kind::Sealed => matches!(self, Self::Sealed { .. }),
            Kind::Request => matches!(self, Self::Request(_)),
            Kind::Vote | Kind::Held => matches!(self, Self::Vote(_)),
            Kind::Granted | Kind::Denied | Kind::Expired => matches!(self, Self::Tally(_)),
            Kind::Agent => matches!(self, Self::Agent { .. }),
            Kind::Refused | Kind::Audit => matches!(self, Self::Path(_)),
            Kind::ControlRefused => matches!(self, Self::Tried(_)),
            Kind::Restored => matches!(self, Self::Restored { .. }),
            Kind::Staged => matches!(self, Self::Staged { .. }),
            Kind::Anchored => matches!(self, Self::Anchored { .. }),
            Kind::Recovered => matches!(self, Self::Recovered { .. }),
            Kind::Clock => matches!(self, Self::Clock(_)),
            Kind::Quarantined => matches!(self, Self::Evidence(_)),
            Kind::Watch => matches!(self, Self::Watch(_)),
            Kind::Reputation => matches!(self, Self::Reputation(_)),
            Kind::Mode
            | Kind::Cancelled
            | Kind::Used
            | Kind::GrantEnded
            | Kind::AgentEnded
            | Kind::VoteRefused
            | Kind::Unpinned
            | Kind::Discarded
            | Kind::Alert
            | Kind::Calm => matches!(self, Self::None),
        }
    }

    /// Decodes the payload of an event of `kind`.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`].
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> wire::Result<Self> {
        let mut reader = Reader::new(bytes);
        let payload = match kind {
            Kind::Loaded => Self::Loaded {
                version: reader.str8("module version")?,
            },
            Kind::Policy => Self::Policy {
                version: reader.u64()?,
                digest: reader.array()?,
                name: governance::take_name(&mut reader, "policy name")?,
            },
            Kind::ValidatorAdded | Kind::ValidatorRemoved | Kind::Readmitted => {
                return Ok(Self::Validator(ValidatorRecord::decode(bytes)?))
            }
            Kind::Sealed => Self::Sealed {
                policy: reader.array()?,
                total: reader.u32()?,
            },
            Kind::Request => {
                Request::decode(bytes)?;
                return Ok(Self::Request(bytes));
            }
            Kind::Vote | Kind::Held => {
                VoteRecord::decode(bytes).map_err(|_| Error::Field("vote record"))?;
                return Ok(Self::Vote(bytes));
            }
            Kind::Granted | Kind::Denied | Kind::Expired => Self::Tally(Tally::take(&mut reader)?),
            Kind::Agent => Self::Agent {
                parent: reader.u64()?,
                pid: reader.u32()?,
                class: governance::take_name(&mut reader, "class")?,
                name: governance::take_name(&mut reader, "agent name")?,
            },
            Kind::Refused | Kind::Audit => {
                if bytes.len() > MAX_PATH {
                    return Err(Error::Field("path"));
                }
                return Ok(Self::Path(bytes));
            }
            Kind::ControlRefused => Self::Tried(reader.str8("what was tried")?),
            Kind::Restored => Self::Restored {
                counter: reader.u64()?,
                head: reader.array()?,
                anchor: reader.array()?,
                wall_ms: reader.u64()?,
            },
            Kind::Staged => {
                return Ok(Self::Staged {
                    counter: reader.u64()?,
                    before: reader.array()?,
                    result: reader.u16()?,
                    change: reader.rest(),
                })
            }
            Kind::Anchored => Self::Anchored {
                counter: reader.u64()?,
                number: reader.u64()?,
                head: reader.array()?,
                anchor: reader.array()?,
            },
            Kind::Recovered => Self::Recovered {
                counter: reader.u64()?,
                anchor: reader.array()?,
                state: reader.u64()?,
                head: reader.array()?,
            },
            Kind::Clock => Self::Clock(ClaimedClock::take(&mut reader)?),
            Kind::Quarantined => {
                Evidence::parse(bytes).map_err(|_| Error::Field("evidence"))?;
                return Ok(Self::Evidence(bytes));
            }
            Kind::Watch => Self::Watch(Rules::take(&mut reader)?),
            Kind::Reputation => Self::Reputation(Kept::take(&mut reader)?),
            Kind::Mode
            | Kind::Cancelled
            | Kind::Used
            | Kind::GrantEnded
            | Kind::AgentEnded
            | Kind::VoteRefused
            | Kind::Unpinned
            | Kind::Discarded
            | Kind::Alert
            | Kind::Calm => Self::None,
        };
        reader.end()?;
        Ok(payload)
    }

    /// Writes the payload and returns its length. A path is cut after [`MAX_PATH`] bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a value that could not be decoded again. A
    /// request, a vote, evidence and a staged change are taken as they are.
    pub fn encode(&self, out: &mut [u8]) -> wire::Result<usize> {
        if let Self::Validator(record) = self {
            return record.encode(out);
        }
        let mut out = Writer::new(out);
        match *self {
            Self::None | Self::Validator(_) => {}
            Self::Loaded { version } => out.str8(version)?,
            Self::Policy {
                version,
                digest,
                name,
            } => {
                out.u64(version)?;
                out.bytes(digest)?;
                governance::put_name(&mut out, name, "policy name")?;
            }
            Self::Sealed { policy, total } => {
                out.bytes(policy)?;
                out.u32(total)?;
            }
            Self::Request(bytes) | Self::Vote(bytes) | Self::Evidence(bytes) => out.bytes(bytes)?,
            Self::Tally(tally) => tally.put(&mut out)?,
            Self::Agent {
                parent,
                pid,
                class,
                name,
            } => {
                out.u64(parent)?;
                out.u32(pid)?;
                governance::put_name(&mut out, class, "class")?;
                governance::put_name(&mut out, name, "agent name")?;
            }
            Self::Path(path) => out.bytes(path.get(..MAX_PATH).unwrap_or(path))?,
            Self::Tried(tried) => out.str8(tried)?,
            Self::Restored {
                counter,
                head,
                anchor,
                wall_ms,
            } => {
                out.u64(counter)?;
                out.bytes(head)?;
                out.bytes(anchor)?;
                out.u64(wall_ms)?;
            }
            Self::Staged {
                counter,
                before,
                result,
                change,
            } => {
                out.u64(counter)?;
                out.bytes(before)?;
                out.u16(result)?;
                out.bytes(change)?;
            }
            Self::Anchored {
                counter,
                number,
                head,
                anchor,
            } => {
                out.u64(counter)?;
                out.u64(number)?;
                out.bytes(head)?;
                out.bytes(anchor)?;
            }
            Self::Recovered {
                counter,
                anchor,
                state,
                head,
            } => {
                out.u64(counter)?;
                out.bytes(anchor)?;
                out.u64(state)?;
                out.bytes(head)?;
            }
            Self::Clock(clock) => clock.put(&mut out)?,
            Self::Watch(rules) => rules.put(&mut out)?,
            Self::Reputation(kept) => kept.put(&mut out)?,
        }
        Ok(out.len())
    }
}
