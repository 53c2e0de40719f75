// SPDX-License-Identifier: GPL-2.0

//! The netlink family `tcp-lsm`, typed.
//!
//! Numbers and names are those of `Documentation/netlink/specs/tcp-lsm.yaml`.

use std::{
    thread::sleep,
    time::{
        Duration,
        Instant, //
    }, //
};

use engine::{
    byzantine::Fault,
    clock::NodeClock,
    reputation::{
        Kept,
        View, //
    },
    watch::Rules,
    wire::Reader, //
};

use crate::{
    error::{
        Error,
        Result, //
    },
    genl::{
        Attributes,
        Builder,
        Failure,
        Family,
        Heard,
        Method,
        Socket, //
    }, //
};

/// Name of the family.
const FAMILY: &str = "tcp-lsm";
/// Name of the multicast group.
const GROUP: &str = "events";

/// Commands.
mod command {
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
    pub(crate) const EVENT: u8 = 16;
    pub(crate) const STATE_STAGE: u8 = 17;
    pub(crate) const STATE_COMMIT: u8 = 18;
    pub(crate) const STATE_DISCARD: u8 = 19;
    pub(crate) const STATE_RECOVER: u8 = 20;
    pub(crate) const EVIDENCE_SUBMIT: u8 = 21;
    pub(crate) const EVIDENCE_GET: u8 = 22;
    pub(crate) const VALIDATOR_READMIT: u8 = 23;
}

/// Attributes of the set `main`.
mod attribute {
    pub(crate) const OUTCOME: u16 = 2;
    pub(crate) const REQUEST_ID: u16 = 3;
    pub(crate) const REQUEST: u16 = 4;
    pub(crate) const REQUEST_STATE: u16 = 5;
    pub(crate) const APPROVE: u16 = 6;
    pub(crate) const DENY: u16 = 7;
    pub(crate) const TOTAL: u16 = 8;
    pub(crate) const VOTED: u16 = 9;
    pub(crate) const REMAINING_MS: u16 = 10;
    pub(crate) const USES_LEFT: u16 = 11;
    pub(crate) const VOTE: u16 = 12;
    pub(crate) const VALIDATOR_NAME: u16 = 13;
    pub(crate) const VALIDATOR_KEY: u16 = 14;
    pub(crate) const VALIDATOR_WEIGHT: u16 = 15;
    pub(crate) const VALIDATOR_SLOT: u16 = 16;
    pub(crate) const VALIDATOR_ID: u16 = 17;
    pub(crate) const VOTES_ACCEPTED: u16 = 18;
    pub(crate) const AGENT_ID: u16 = 19;
    pub(crate) const AGENT_NAME: u16 = 20;
    pub(crate) const AGENT_CLASS: u16 = 21;
    pub(crate) const AGENT_PARENT: u16 = 22;
    pub(crate) const AGENT_DEPTH: u16 = 23;
    pub(crate) const AGENT_TASKS: u16 = 24;
    pub(crate) const AGENT_UID: u16 = 25;
    pub(crate) const AGENT_PID: u16 = 26;
    pub(crate) const AGENT_PENDING: u16 = 27;
    pub(crate) const AGENT_REFUSED: u16 = 28;
    pub(crate) const MODE: u16 = 29;
    pub(crate) const PHASE: u16 = 30;
    pub(crate) const NODE: u16 = 31;
    pub(crate) const EPOCH: u16 = 32;
    pub(crate) const BOOT_MS: u16 = 33;
    pub(crate) const WALL_MS: u16 = 34;
    pub(crate) const CLOCK: u16 = 35;
    pub(crate) const CHAIN: u16 = 36;
    pub(crate) const EVENT: u16 = 37;
    pub(crate) const EVENT_NUMBER: u16 = 38;
    pub(crate) const VERSION: u16 = 39;
    pub(crate) const COUNTER: u16 = 40;
    pub(crate) const HOOK: u16 = 41;
    pub(crate) const POLICY_NAME: u16 = 42;
    pub(crate) const POLICY_VERSION: u16 = 43;
    pub(crate) const POLICY_DIGEST: u16 = 44;
    pub(crate) const SEALED_BY: u16 = 45;
    pub(crate) const EVENTS_LOST: u16 = 46;
    pub(crate) const TPM: u16 = 47;
    pub(crate) const TPM_SOFTWARE: u16 = 48;
    pub(crate) const NV_COUNTER: u16 = 49;
    pub(crate) const NV_ANCHOR: u16 = 50;
    pub(crate) const STATE_COUNTER: u16 = 51;
    pub(crate) const ANCHOR: u16 = 52;
    pub(crate) const ANCHORED_NUMBER: u16 = 53;
    pub(crate) const ANCHORED_MS: u16 = 54;
    pub(crate) const ANCHOR_INTERVAL: u16 = 55;
    pub(crate) const NV_WRITES: u16 = 56;
    pub(crate) const NV_WRITES_YEAR: u16 = 57;
    pub(crate) const STATE_REASON: u16 = 58;
    pub(crate) const STAGED_COUNTER: u16 = 59;
    pub(crate) const STATE_DIGEST: u16 = 60;
    pub(crate) const PCRS: u16 = 61;
    pub(crate) const HELD: u16 = 62;
    pub(crate) const THRESHOLD: u16 = 63;
    pub(crate) const QUARANTINED: u16 = 64;
    pub(crate) const EVIDENCE: u16 = 65;
    pub(crate) const FAULT: u16 = 66;
    pub(crate) const REPUTATION: u16 = 67;
    pub(crate) const BIAS: u16 = 68;
    pub(crate) const AGREED: u16 = 69;
    pub(crate) const DISAGREED: u16 = 70;
    pub(crate) const TIMING: u16 = 71;
    pub(crate) const TIMING_SLOT: u16 = 72;
    pub(crate) const UNHEARD: u16 = 73;
    pub(crate) const HEARD_MS: u16 = 74;
    pub(crate) const ALERT: u16 = 75;
    pub(crate) const ALERT_ENDS_MS: u16 = 76;
    pub(crate) const WATCH: u16 = 77;
    pub(crate) const UNHEARD_WEIGHT: u16 = 78;
    pub(crate) const FLOOR: u16 = 79;
    pub(crate) const TRUST: u16 = 80;
    /// Of the set `counter`.
    pub(crate) const COUNTER_NAME: u16 = 1;
    /// Of the set `counter`.
    pub(crate) const COUNTER_VALUE: u16 = 2;
}

/// Outcome: the command has taken effect.
const OUTCOME_DONE: u32 = 1;
/// Outcome: a quorum is needed.
const OUTCOME_PENDING: u32 = 2;
/// Outcome: the change takes effect when the state has been saved and committed.
const OUTCOME_STAGED: u32 = 3;
/// Outcome of a vote: its causes have not arrived.
const OUTCOME_HELD: u32 = 4;

/// State of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestState {
    /// Votes may still come.
    Open,
    /// Enough weight approves.
    Granted,
    /// Approval has become impossible.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Ended by command, or by a change of policy or validators.
    Cancelled,
}

impl RequestState {
    fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Open),
            2 => Some(Self::Granted),
            3 => Some(Self::Denied),
            4 => Some(Self::Expired),
            5 => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// Name, as the specification has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Mode of enforcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Verdicts are recorded, nothing is refused.
    Permissive,
    /// Verdicts hold.
    Enforce,
}

impl Mode {
    /// Number in the specification.
    fn number(self) -> u32 {
        match self {
            Self::Permissive => 1,
            Self::Enforce => 2,
        }
    }

    /// Name, as the specification has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Permissive => "permissive",
            Self::Enforce => "enforce",
        }
    }
}

/// What the node can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Root may change everything.
    Setup,
    /// Governance takes a quorum.
    Sealed,
    /// The state has to be restored.
    Locked,
    /// A quorum decides whether an older state is taken.
    Recovering,
}

impl Phase {
    fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Setup),
            2 => Some(Self::Sealed),
            3 => Some(Self::Locked),
            4 => Some(Self::Recovering),
            _ => None,
        }
    }

    /// Name, as the specification has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Sealed => "sealed",
            Self::Locked => "locked",
            Self::Recovering => "recovering",
        }
    }
}

/// The TPM that the node is sealed by, and what it holds. See `Documentation/sealed-state.rst`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealing {
    /// Vendor and firmware of the TPM.
    pub(crate) tpm: String,
    /// The TPM says itself that it is software.
    pub(crate) software: bool,
    /// NV index of the counter.
    pub(crate) nv_counter: u32,
    /// NV index of the anchor.
    pub(crate) nv_anchor: u32,
    /// Value of the counter, unless it is missing.
    pub(crate) counter: Option<u64>,
    /// Value of the anchor, unless nothing was ever committed.
    pub(crate) anchor: Option<[u8; 32]>,
    /// Number of the last event that the anchor covers.
    pub(crate) anchored: Option<u64>,
    /// Milliseconds since the last commit.
    pub(crate) anchored_ms: Option<u64>,
    /// Seconds between checkpoints.
    pub(crate) interval: u32,
    /// Writes to NV memory by this load.
    pub(crate) nv_writes: u64,
    /// Those of a year.
    pub(crate) nv_writes_year: u64,
    /// Counter of the staged state, when there is one.
    pub(crate) staged: Option<u64>,
    /// Bit mask of the PCRs in the state key's policy.
    pub(crate) pcrs: u32,
}

/// What the running policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyStatus {
    /// Name in its header.
    pub(crate) name: String,
    /// Version in its header.
    pub(crate) version: u64,
    /// Digest of its text.
    pub(crate) digest: [u8; 32],
}

/// Whether thresholds are raised, and why. See `Documentation/byzantine.rst`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    /// Weight of quarantined validators.
    pub(crate) quarantined: u64,
    /// Weight of validators that have been silent for long.
    pub(crate) unheard: u64,
    /// Bit mask: `1 << reason` of each alert that holds.
    pub(crate) alert: u32,
    /// Milliseconds until no alert need hold any more.
    pub(crate) ends_ms: Option<u64>,
    /// What is in force; nothing without a policy.
    pub(crate) rules: Option<Rules>,
    /// Least threshold of the policy, in basis points.
    pub(crate) floor: Option<u16>,
}

/// What the module is and does.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// Version of the module.
    pub(crate) version: String,
    /// What the node can be asked for.
    pub(crate) phase: Phase,
    /// Name of the refusal that keeps the node locked.
    pub(crate) reason: Option<String>,
    /// Mode of enforcement.
    pub(crate) mode: Mode,
    /// The node's name.
    pub(crate) node: [u8; 32],
    /// The counter's value for this load; 0 without a TPM, and while locked.
    pub(crate) epoch: u64,
    /// `tpm` or `unsealed`.
    pub(crate) sealed_by: String,
    /// Milliseconds of `CLOCK_BOOTTIME` when the reply was made.
    pub(crate) boot_ms: u64,
    /// Milliseconds since 1970 when the reply was made.
    pub(crate) wall_ms: u64,
    /// The node's vector clock.
    pub(crate) clock: NodeClock,
    /// Head of the causal chain.
    pub(crate) chain: [u8; 32],
    /// Number of the last event.
    pub(crate) event: u64,
    /// The running policy, if any.
    pub(crate) policy: Option<PolicyStatus>,
    /// Weight of all validators.
    pub(crate) total: u64,
    /// Counters, in the kernel's order.
    pub(crate) counters: Vec<(String, u64)>,
    /// Attached hooks.
    pub(crate) hooks: Vec<String>,
    /// Votes that wait for their causes.
    pub(crate) held: u32,
    /// What the watch says.
    pub(crate) watch: Watched,
    /// The TPM, when there is one.
    pub(crate) sealing: Option<Sealing>,
}

/// An enrolled validator.
#[derive(Debug, Clone)]
pub(crate) struct Validator {
    /// Name.
    pub(crate) name: String,
    /// Digest of the key.
    pub(crate) id: [u8; 32],
    /// Uncompressed point.
    pub(crate) key: [u8; 65],
    /// Weight.
    pub(crate) weight: u32,
    /// Place in the vector clock.
    pub(crate) slot: u16,
    /// Clock of its last accepted vote.
    pub(crate) clock: NodeClock,
    /// Accepted votes.
    pub(crate) votes: u64,
    /// Its proven fault, while it is quarantined.
    pub(crate) fault: Option<Fault>,
    /// What is thought of it.
    pub(crate) reputation: View,
    /// Requests that ended since its last vote.
    pub(crate) unheard: u32,
    /// Milliseconds since it was heard.
    pub(crate) heard_ms: Option<u64>,
}

/// What proves the fault of a quarantined validator.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    /// The evidence.
    pub(crate) evidence: Vec<u8>,
    /// Number of the event QUARANTINED.
    pub(crate) event: u64,
    /// Place of the validator in the vector clock.
    pub(crate) slot: u16,
    /// Digest of its key.
    pub(crate) id: [u8; 32],
    /// Its name, unless it was removed.
    pub(crate) name: Option<String>,
}

/// Whom submitted evidence has quarantined.
#[derive(Debug, Clone)]
pub(crate) struct Quarantined {
    /// Name of the validator.
    pub(crate) name: String,
    /// Its place in the vector clock.
    pub(crate) slot: u16,
    /// The fault.
    pub(crate) fault: Fault,
}

/// An agent alive.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    /// Identity.
    pub(crate) id: u64,
    /// Name.
    pub(crate) name: String,
    /// Class.
    pub(crate) class: String,
    /// Agent that started it, 0 for none.
    pub(crate) parent: u64,
    /// Depth of nesting.
    pub(crate) depth: u32,
    /// Tasks alive.
    pub(crate) tasks: u64,
    /// User id.
    pub(crate) uid: u32,
    /// First process.
    pub(crate) pid: u32,
    /// Open requests.
    pub(crate) pending: u32,
    /// Refused operations.
    pub(crate) refused: u64,
}

/// A remembered request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Identity.
    pub(crate) id: [u8; 32],
    /// Encoding.
    pub(crate) encoding: Vec<u8>,
    /// State.
    pub(crate) state: RequestState,
    /// Approving weight.
    pub(crate) approve: u64,
    /// Denying weight.
    pub(crate) deny: u64,
    /// Weight of all validators when it was made.
    pub(crate) total: u64,
    /// Weight of validators whose quarantine keeps them from voting.
    pub(crate) barred: u64,
    /// Threshold that decides it now, in basis points; not told for one that is decided.
    pub(crate) threshold_bp: Option<u16>,
    /// Slots of those who have voted.
    pub(crate) voted: Vec<u16>,
    /// Life left.
    pub(crate) remaining_ms: u64,
}

/// A live grant.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// Identity of its request.
    pub(crate) id: [u8; 32],
    /// Encoding of its request.
    pub(crate) encoding: Vec<u8>,
    /// Uses left.
    pub(crate) uses_left: u32,
    /// Life left.
    pub(crate) remaining_ms: u64,
}

/// What became of a vote.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    /// The request.
    pub(crate) id: [u8; 32],
    /// Its state now.
    pub(crate) state: RequestState,
    /// Approving weight.
    pub(crate) approve: u64,
    /// Denying weight.
    pub(crate) deny: u64,
    /// Weight of all validators.
    pub(crate) total: u64,
    /// Not counted yet: it refers to a vote that the node has not seen.
    pub(crate) held: bool,
}

/// An event as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Number.
    pub(crate) number: u64,
    /// Encoding.
    pub(crate) encoding: Vec<u8>,
    /// Head of the chain after it.
    pub(crate) chain: [u8; 32],
}

/// What became of a governance command that the node took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The reply.
    pub(crate) reply: Attributes,
    /// Not in effect yet: the counter of the state that has to be saved and committed first.
    pub(crate) staged: Option<u64>,
}

/// Outcome of a governance command.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The node took it.
    Taken(Taken),
    /// A quorum is needed; the request.
    Pending([u8; 32]),
}

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The counter's value now.
    pub(crate) counter: u64,
    /// The anchor's value now.
    pub(crate) anchor: [u8; 32],
}

/// How long to wait for a quorum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Wait at all.
    pub(crate) wait: bool,
    /// At most that long; without, until the request is decided.
    pub(crate) timeout: Option<Duration>,
}

/// A connection to the module.
pub(crate) struct Client {
    socket: Socket,
    family: Family,
}

/// The kernel left something out of a reply.
fn incomplete(what: &str) -> Error {
    Error::invalid(
        "protocol",
        format!(
            "the module's reply lacks `{what}`: use the tcpctl that was built with this module"
        ),
    )
}

fn from_failure(failure: Failure) -> Error {
    match failure {
        // The module gives every refusal a message: this one is generic netlink's, which has no such family any more.
        Failure::Refused {
            errno: engine::refusal::errno::ENOENT,
            message: None,
            ..
        } => Error::NotLoaded,
        Failure::Refused { errno, message, .. } => Error::refused(errno, message.as_deref()),
        Failure::Io(source) => Error::Io {
            what: "cannot talk to the kernel by netlink".to_owned(),
            source,
        },
    }
}

/// An attribute that cannot be built: the value is too long or holds a zero byte.
fn unsendable(source: std::io::Error) -> Error {
    Error::Io {
        what: "a value cannot be sent".to_owned(),
        source,
    }
}

/// Decodes the clock of a reply; absent is all zeros.
fn clock(attributes: &Attributes) -> Result<NodeClock> {
    let mut clock = NodeClock::new();
    if let Some(bytes) = attributes.bytes(attribute::CLOCK) {
        clock
            .decode(bytes)
            .map_err(|error| Error::invalid("protocol", format!("the node's clock: {error}")))?;
    }
    Ok(clock)
}

/// A number of 32 bits that has to fit into 16.
fn short(attributes: &Attributes, kind: u16) -> Option<u16> {
    attributes
        .u32(kind)
        .and_then(|value| u16::try_from(value).ok())
}

fn slot(attributes: &Attributes) -> Option<u16> {
    short(attributes, attribute::VALIDATOR_SLOT)
}

/// The fault of a reply; [`None`] when there is none.
///
/// # Errors
///
/// [`Error::Invalid`] for one that is not known here: it must not be taken for none.
fn fault(attributes: &Attributes) -> Result<Option<Fault>> {
    attributes
        .u32(attribute::FAULT)
        .map(|kind| {
            u8::try_from(kind)
                .ok()
                .and_then(Fault::from_u8)
                .ok_or_else(|| incomplete("fault"))
        })
        .transpose()
}

impl Taken {
    /// What the securityfs node said: in effect already.
    pub(crate) fn done() -> Self {
        Self {
            reply: Attributes::default(),
            staged: None,
        }
    }

    /// What the securityfs node said: staged, with that counter.
    pub(crate) fn staged(counter: u64) -> Self {
        Self {
            reply: Attributes::default(),
            staged: Some(counter),
        }
    }

    fn parse(reply: Attributes) -> Result<Self> {
        let staged = match reply.u32(attribute::OUTCOME) {
            Some(OUTCOME_STAGED) => Some(
                reply
                    .u64(attribute::STAGED_COUNTER)
                    .ok_or_else(|| incomplete("staged-counter"))?,
            ),
            Some(OUTCOME_DONE) => None,
            _ => return Err(incomplete("outcome")),
        };
        Ok(Self { reply, staged })
    }
}

impl Sealing {
    /// [`None`] without a TPM.
    fn parse(reply: &Attributes) -> Option<Self> {
        Some(Self {
            tpm: reply.string(attribute::TPM)?,
            software: reply.u32(attribute::TPM_SOFTWARE) == Some(1),
            nv_counter: reply.u32(attribute::NV_COUNTER).unwrap_or(0),
            nv_anchor: reply.u32(attribute::NV_ANCHOR).unwrap_or(0),
            // No counter that was ever incremented is zero.
            counter: reply
                .u64(attribute::STATE_COUNTER)
                .filter(|counter| *counter > 0),
            anchor: reply.array(attribute::ANCHOR),
            anchored: reply.u64(attribute::ANCHORED_NUMBER),
            anchored_ms: reply.u64(attribute::ANCHORED_MS),
            interval: reply.u32(attribute::ANCHOR_INTERVAL).unwrap_or(0),
            nv_writes: reply.u64(attribute::NV_WRITES).unwrap_or(0),
            nv_writes_year: reply.u64(attribute::NV_WRITES_YEAR).unwrap_or(0),
            staged: reply.u64(attribute::STAGED_COUNTER),
            pcrs: reply.u32(attribute::PCRS).unwrap_or(0),
        })
    }
}

impl Watched {
    fn parse(reply: &Attributes) -> Result<Self> {
        let rules = reply
            .bytes(attribute::WATCH)
            .map(|bytes| {
                let mut reader = Reader::new(bytes);
                Rules::take(&mut reader)
                    .and_then(|rules| reader.end().map(|()| rules))
                    .map_err(|error| {
                        Error::invalid("protocol", format!("the node's watch: {error}"))
                    })
            })
            .transpose()?;
        Ok(Self {
            quarantined: reply.u64(attribute::QUARANTINED).unwrap_or(0),
            unheard: reply.u64(attribute::UNHEARD_WEIGHT).unwrap_or(0),
            alert: reply.u32(attribute::ALERT).unwrap_or(0),
            ends_ms: reply.u64(attribute::ALERT_ENDS_MS),
            rules,
            floor: short(reply, attribute::FLOOR),
        })
    }
}

impl Status {
    fn parse(reply: &Attributes) -> Result<Self> {
        let counters = reply
            .all(attribute::COUNTER)
            .filter_map(|nest| {
                let nest = Attributes::parse(nest).ok()?;
                Some((
                    nest.string(attribute::COUNTER_NAME)?,
                    nest.u64(attribute::COUNTER_VALUE)?,
                ))
            })
            .collect();
        let policy = match (
            reply.string(attribute::POLICY_NAME),
            reply.u64(attribute::POLICY_VERSION),
            reply.array(attribute::POLICY_DIGEST),
        ) {
            (Some(name), Some(version), Some(digest)) if version > 0 => Some(PolicyStatus {
                name,
                version,
                digest,
            }),
            _ => None,
        };
        Ok(Self {
            version: reply.string(attribute::VERSION).unwrap_or_default(),
            phase: reply
                .u32(attribute::PHASE)
                .and_then(Phase::from_u32)
                .ok_or_else(|| incomplete("phase"))?,
            reason: reply.string(attribute::STATE_REASON),
            mode: match reply.u32(attribute::MODE) {
                Some(1) => Mode::Permissive,
                Some(2) => Mode::Enforce,
                _ => return Err(incomplete("mode")),
            },
            node: reply
                .array(attribute::NODE)
                .ok_or_else(|| incomplete("node"))?,
            epoch: reply
                .u64(attribute::EPOCH)
                .ok_or_else(|| incomplete("epoch"))?,
            sealed_by: reply
                .string(attribute::SEALED_BY)
                .unwrap_or_else(|| "unsealed".to_owned()),
            boot_ms: reply
                .u64(attribute::BOOT_MS)
                .ok_or_else(|| incomplete("boot-ms"))?,
            wall_ms: reply.u64(attribute::WALL_MS).unwrap_or(0),
            clock: clock(reply)?,
            chain: reply
                .array(attribute::CHAIN)
                .ok_or_else(|| incomplete("chain"))?,
            event: reply.u64(attribute::EVENT_NUMBER).unwrap_or(0),
            policy,
            total: reply.u64(attribute::TOTAL).unwrap_or(0),
            counters,
            hooks: reply.all(attribute::HOOK).map(crate::genl::text).collect(),
            held: reply.u32(attribute::HELD).unwrap_or(0),
            watch: Watched::parse(reply)?,
            sealing: Sealing::parse(reply),
        })
    }

    /// One counter; 0 when the module does not have it.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters
            .iter()
            .find(|(of, _)| of == name)
            .map_or(0, |(_, value)| *value)
    }
}

impl Validator {
    fn parse(reply: &Attributes) -> Result<Self> {
        let score = short(reply, attribute::REPUTATION).ok_or_else(|| incomplete("reputation"))?;
        Ok(Self {
            name: reply
                .string(attribute::VALIDATOR_NAME)
                .ok_or_else(|| incomplete("validator-name"))?,
            id: reply
                .array(attribute::VALIDATOR_ID)
                .ok_or_else(|| incomplete("validator-id"))?,
            key: reply
                .array(attribute::VALIDATOR_KEY)
                .ok_or_else(|| incomplete("validator-key"))?,
            weight: reply
                .u32(attribute::VALIDATOR_WEIGHT)
                .ok_or_else(|| incomplete("validator-weight"))?,
            slot: slot(reply).ok_or_else(|| incomplete("validator-slot"))?,
            clock: clock(reply)?,
            votes: reply.u64(attribute::VOTES_ACCEPTED).unwrap_or(0),
            fault: fault(reply)?,
            reputation: View {
                score,
                kept: Kept {
                    score: short(reply, attribute::TRUST).unwrap_or(score),
                    bias: short(reply, attribute::BIAS).unwrap_or(0),
                    agreed: reply.u64(attribute::AGREED).unwrap_or(0),
                    disagreed: reply.u64(attribute::DISAGREED).unwrap_or(0),
                },
                timing: short(reply, attribute::TIMING).unwrap_or(0),
                partner: short(reply, attribute::TIMING_SLOT),
            },
            unheard: reply.u32(attribute::UNHEARD).unwrap_or(0),
            heard_ms: reply.u64(attribute::HEARD_MS),
        })
    }
}

impl Proof {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            evidence: reply
                .bytes(attribute::EVIDENCE)
                .ok_or_else(|| incomplete("evidence"))?
                .to_vec(),
            event: reply.u64(attribute::EVENT_NUMBER).unwrap_or(0),
            slot: slot(reply).ok_or_else(|| incomplete("validator-slot"))?,
            id: reply
                .array(attribute::VALIDATOR_ID)
                .ok_or_else(|| incomplete("validator-id"))?,
            name: reply
                .string(attribute::VALIDATOR_NAME)
                .filter(|name| !name.is_empty()),
        })
    }
}

impl Quarantined {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            name: reply
                .string(attribute::VALIDATOR_NAME)
                .ok_or_else(|| incomplete("validator-name"))?,
            slot: slot(reply).ok_or_else(|| incomplete("validator-slot"))?,
            fault: fault(reply)?.ok_or_else(|| incomplete("fault"))?,
        })
    }
}

impl Agent {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            id: reply
                .u64(attribute::AGENT_ID)
                .ok_or_else(|| incomplete("agent-id"))?,
            name: reply.string(attribute::AGENT_NAME).unwrap_or_default(),
            class: reply.string(attribute::AGENT_CLASS).unwrap_or_default(),
            parent: reply.u64(attribute::AGENT_PARENT).unwrap_or(0),
            depth: reply.u32(attribute::AGENT_DEPTH).unwrap_or(0),
            tasks: reply.u64(attribute::AGENT_TASKS).unwrap_or(0),
            uid: reply.u32(attribute::AGENT_UID).unwrap_or(0),
            pid: reply.u32(attribute::AGENT_PID).unwrap_or(0),
            pending: reply.u32(attribute::AGENT_PENDING).unwrap_or(0),
            refused: reply.u64(attribute::AGENT_REFUSED).unwrap_or(0),
        })
    }
}

impl Request {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            id: reply
                .array(attribute::REQUEST_ID)
                .ok_or_else(|| incomplete("request-id"))?,
            encoding: reply
                .bytes(attribute::REQUEST)
                .ok_or_else(|| incomplete("request"))?
                .to_vec(),
            state: state(reply)?,
            approve: reply.u64(attribute::APPROVE).unwrap_or(0),
            deny: reply.u64(attribute::DENY).unwrap_or(0),
            total: reply.u64(attribute::TOTAL).unwrap_or(0),
            barred: reply.u64(attribute::QUARANTINED).unwrap_or(0),
            threshold_bp: short(reply, attribute::THRESHOLD),
            voted: reply
                .bytes(attribute::VOTED)
                .unwrap_or_default()
                .chunks_exact(2)
                .filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)))
                .collect(),
            remaining_ms: reply.u64(attribute::REMAINING_MS).unwrap_or(0),
        })
    }
}

impl Grant {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            id: reply
                .array(attribute::REQUEST_ID)
                .ok_or_else(|| incomplete("request-id"))?,
            encoding: reply
                .bytes(attribute::REQUEST)
                .ok_or_else(|| incomplete("request"))?
                .to_vec(),
            uses_left: reply.u32(attribute::USES_LEFT).unwrap_or(0),
            remaining_ms: reply.u64(attribute::REMAINING_MS).unwrap_or(0),
        })
    }
}

impl Accepted {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            id: reply
                .array(attribute::REQUEST_ID)
                .ok_or_else(|| incomplete("request-id"))?,
            state: state(reply)?,
            approve: reply.u64(attribute::APPROVE).unwrap_or(0),
            deny: reply.u64(attribute::DENY).unwrap_or(0),
            total: reply.u64(attribute::TOTAL).unwrap_or(0),
            held: reply.u32(attribute::OUTCOME) == Some(OUTCOME_HELD),
        })
    }
}

impl Event {
    fn parse(reply: &Attributes) -> Result<Self> {
        Ok(Self {
            number: reply
                .u64(attribute::EVENT_NUMBER)
                .ok_or_else(|| incomplete("event-number"))?,
            encoding: reply
                .bytes(attribute::EVENT)
                .ok_or_else(|| incomplete("event"))?
                .to_vec(),
            chain: reply
                .array(attribute::CHAIN)
                .ok_or_else(|| incomplete("chain"))?,
        })
    }
}

fn state(reply: &Attributes) -> Result<RequestState> {
    reply
        .u32(attribute::REQUEST_STATE)
        .and_then(RequestState::from_u32)
        .ok_or_else(|| incomplete("request-state"))
}

/// Attributes with only a request's identity.
fn request_id(id: &[u8; 32]) -> Result<Builder> {
    Builder::new()
        .bytes(attribute::REQUEST_ID, id)
        .map_err(unsendable)
}

impl Client {
    /// Finds the module.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`] when the family is not registered.
    pub(crate) fn open() -> Result<Self> {
        let mut socket = Socket::open().map_err(|source| Error::Io {
            what: "cannot open a netlink socket".to_owned(),
            source,
        })?;
        match socket.family(FAMILY) {
            Ok(family) => Ok(Self { socket, family }),
            Err(failure) if failure.errno() == engine::refusal::errno::ENOENT => {
                Err(Error::NotLoaded)
            }
            Err(failure) => Err(from_failure(failure)),
        }
    }

    /// Sends a command.
    fn call(
        &mut self,
        command: u8,
        attributes: &Builder,
        method: Method,
    ) -> Result<Vec<Attributes>> {
        self.socket
            .request(self.family.id, command, attributes, method)
            .map_err(from_failure)
    }

    /// Sends a command that has one reply, or none.
    fn call_one(&mut self, command: u8, attributes: &Builder) -> Result<Attributes> {
        let replies = self.call(command, attributes, Method::Do)?;
        Ok(replies.into_iter().next().unwrap_or_default())
    }

    /// Sends a governance command.
    fn govern(&mut self, command: u8, attributes: &Builder) -> Result<Outcome> {
        let replies = self
            .socket
            .request(self.family.id, command, attributes, Method::Do);
        let (reply, pending) = match replies {
            Ok(replies) => {
                let reply = replies.into_iter().next().unwrap_or_default();
                let pending = reply.u32(attribute::OUTCOME) == Some(OUTCOME_PENDING);
                (reply, pending)
            }
            Err(Failure::Refused {
                errno,
                message,
                replies,
            }) if errno == engine::refusal::errno::EINPROGRESS => {
                match replies.into_iter().next() {
                    Some(reply) => (reply, true),
                    None => return Err(Error::refused(errno, message.as_deref())),
                }
            }
            Err(failure) => return Err(from_failure(failure)),
        };
        if pending {
            let id = reply
                .array(attribute::REQUEST_ID)
                .ok_or_else(|| incomplete("request-id"))?;
            Ok(Outcome::Pending(id))
        } else {
            Ok(Outcome::Taken(Taken::parse(reply)?))
        }
    }

    /// What the module is and does.
    ///
    /// # Errors
    ///
    /// `labelled` for an agent; those of the socket.
    pub(crate) fn status(&mut self) -> Result<Status> {
        Status::parse(&self.call_one(command::STATUS, &Builder::new())?)
    }

    /// The enrolled validators, by slot.
    ///
    /// # Errors
    ///
    /// `not_permitted` without `CAP_MAC_ADMIN`.
    pub(crate) fn validators(&mut self) -> Result<Vec<Validator>> {
        let replies = self.call(command::VALIDATOR_GET, &Builder::new(), Method::Dump)?;
        let mut validators: Vec<Validator> = replies
            .iter()
            .map(Validator::parse)
            .collect::<Result<_>>()?;
        validators.sort_by_key(|validator| validator.slot);
        Ok(validators)
    }

    /// Enrols a validator; the reply to a done command has its slot.
    ///
    /// # Errors
    ///
    /// The refusals `validator_*`.
    pub(crate) fn validator_add(
        &mut self,
        name: &str,
        key: &[u8; 65],
        weight: u32,
    ) -> Result<Outcome> {
        let attributes = Builder::new()
            .string(attribute::VALIDATOR_NAME, name)
            .and_then(|b| b.bytes(attribute::VALIDATOR_KEY, key))
            .and_then(|b| b.u32(attribute::VALIDATOR_WEIGHT, weight))
            .map_err(unsendable)?;
        self.govern(command::VALIDATOR_ADD, &attributes)
    }

    /// Removes a validator.
    ///
    /// # Errors
    ///
    /// `validator_unknown`.
    pub(crate) fn validator_remove(&mut self, name: &str) -> Result<Outcome> {
        let attributes = Builder::new()
            .string(attribute::VALIDATOR_NAME, name)
            .map_err(unsendable)?;
        self.govern(command::VALIDATOR_REMOVE, &attributes)
    }

    /// Ends the quarantine of a validator.
    ///
    /// # Errors
    ///
    /// `validator_unknown`, `validator_trusted`, `readmit_limit`.
    pub(crate) fn validator_readmit(&mut self, name: &str) -> Result<Outcome> {
        let attributes = Builder::new()
            .string(attribute::VALIDATOR_NAME, name)
            .map_err(unsendable)?;
        self.govern(command::VALIDATOR_READMIT, &attributes)
    }

    /// The evidence against quarantined validators, by slot.
    ///
    /// # Errors
    ///
    /// `labelled`.
    pub(crate) fn evidence(&mut self) -> Result<Vec<Proof>> {
        let replies = self.call(command::EVIDENCE_GET, &Builder::new(), Method::Dump)?;
        let mut proofs: Vec<Proof> = replies.iter().map(Proof::parse).collect::<Result<_>>()?;
        proofs.sort_by_key(|proof| proof.slot);
        Ok(proofs)
    }

    /// Hands evidence in.
    ///
    /// # Errors
    ///
    /// The refusals `evidence_*`.
    pub(crate) fn evidence_submit(&mut self, evidence: &[u8]) -> Result<Quarantined> {
        let attributes = Builder::new()
            .bytes(attribute::EVIDENCE, evidence)
            .map_err(unsendable)?;
        Quarantined::parse(&self.call_one(command::EVIDENCE_SUBMIT, &attributes)?)
    }

    /// Ends setup.
    ///
    /// # Errors
    ///
    /// `not_in_setup`, `no_policy`, `no_validators`.
    pub(crate) fn seal(&mut self) -> Result<Taken> {
        Taken::parse(self.call_one(command::SEAL, &Builder::new())?)
    }

    /// Sets the mode.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `denied`.
    pub(crate) fn mode_set(&mut self, mode: Mode) -> Result<Outcome> {
        let attributes = Builder::new()
            .u32(attribute::MODE, mode.number())
            .map_err(unsendable)?;
        self.govern(command::MODE_SET, &attributes)
    }

    /// Unpins the module.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `denied`.
    pub(crate) fn unload(&mut self) -> Result<Outcome> {
        self.govern(command::UNLOAD, &Builder::new())
    }

    /// Labels this very task; returns the agent's identity.
    ///
    /// # Errors
    ///
    /// `class_unknown`, `class_forbidden`, `not_single_threaded`, `inherited_file`, `agent_*`.
    pub(crate) fn agent_label(&mut self, name: &str, class: &str) -> Result<u64> {
        let attributes = Builder::new()
            .string(attribute::AGENT_NAME, name)
            .and_then(|b| b.string(attribute::AGENT_CLASS, class))
            .map_err(unsendable)?;
        self.call_one(command::AGENT_LABEL, &attributes)?
            .u64(attribute::AGENT_ID)
            .ok_or_else(|| incomplete("agent-id"))
    }

    /// The agents alive, by identity.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub(crate) fn agents(&mut self) -> Result<Vec<Agent>> {
        let replies = self.call(command::AGENT_GET, &Builder::new(), Method::Dump)?;
        let mut agents: Vec<Agent> = replies.iter().map(Agent::parse).collect::<Result<_>>()?;
        agents.sort_by_key(|agent| agent.id);
        Ok(agents)
    }

    /// The remembered requests.
    ///
    /// # Errors
    ///
    /// `labelled`.
    pub(crate) fn requests(&mut self) -> Result<Vec<Request>> {
        self.call(command::REQUEST_GET, &Builder::new(), Method::Dump)?
            .iter()
            .map(Request::parse)
            .collect()
    }

    /// One request.
    ///
    /// # Errors
    ///
    /// `request_unknown`.
    pub(crate) fn request(&mut self, id: &[u8; 32]) -> Result<Request> {
        Request::parse(&self.call_one(command::REQUEST_GET, &request_id(id)?)?)
    }

    /// Closes an open request.
    ///
    /// # Errors
    ///
    /// `request_unknown`, `request_closed`, `not_permitted`.
    pub(crate) fn request_cancel(&mut self, id: &[u8; 32]) -> Result<()> {
        self.call_one(command::REQUEST_CANCEL, &request_id(id)?)?;
        Ok(())
    }

    /// Submits a vote record.
    ///
    /// # Errors
    ///
    /// The refusals `vote_*` and `clock_*`.
    pub(crate) fn vote_submit(&mut self, record: &[u8]) -> Result<Accepted> {
        let attributes = Builder::new()
            .bytes(attribute::VOTE, record)
            .map_err(unsendable)?;
        let reply = self.call_one(command::VOTE_SUBMIT, &attributes)?;
        Accepted::parse(&reply)
    }

    /// Stages a checkpoint, or names what is staged already: the counter of the state that has to be saved, or [`None`]
    /// when nothing has been recorded since the last commit.
    ///
    /// # Errors
    ///
    /// `state_unsealed`, `state_locked`, `not_sealed`, `state_conflict`, `tpm_*`.
    pub(crate) fn state_stage(&mut self) -> Result<Option<u64>> {
        Ok(Taken::parse(self.call_one(command::STATE_STAGE, &Builder::new())?)?.staged)
    }

    /// Commits the staged state; `digest` is that of what storage holds.
    ///
    /// # Errors
    ///
    /// `state_none`, `state_digest`, `state_conflict`, `tpm_*`.
    pub(crate) fn state_commit(&mut self, digest: &[u8; 32]) -> Result<Committed> {
        let attributes = Builder::new()
            .bytes(attribute::STATE_DIGEST, digest)
            .map_err(unsendable)?;
        let reply = self.call_one(command::STATE_COMMIT, &attributes)?;
        Ok(Committed {
            counter: reply
                .u64(attribute::STATE_COUNTER)
                .ok_or_else(|| incomplete("state-counter"))?,
            anchor: reply
                .array(attribute::ANCHOR)
                .ok_or_else(|| incomplete("anchor"))?,
        })
    }

    /// Drops the staged change.
    ///
    /// # Errors
    ///
    /// `state_unsealed`, `state_none`, `tpm_*`; `state_staged` once the TPM has taken a part of it.
    pub(crate) fn state_discard(&mut self) -> Result<()> {
        self.call_one(command::STATE_DISCARD, &Builder::new())?;
        Ok(())
    }

    /// Forgets policy and validators of a locked node, and begins setup.
    ///
    /// # Errors
    ///
    /// `state_unsealed`, `state_staged`, `tpm_*`; `not_in_setup` for a node that is sealed or recovering.
    pub(crate) fn state_recover(&mut self) -> Result<()> {
        self.call_one(command::STATE_RECOVER, &Builder::new())?;
        Ok(())
    }

    /// The live grants.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub(crate) fn grants(&mut self) -> Result<Vec<Grant>> {
        self.call(command::GRANT_GET, &Builder::new(), Method::Dump)?
            .iter()
            .map(Grant::parse)
            .collect()
    }

    /// Ends a grant.
    ///
    /// # Errors
    ///
    /// `grant_unknown`, `not_permitted`.
    pub(crate) fn grant_revoke(&mut self, id: &[u8; 32]) -> Result<()> {
        self.call_one(command::GRANT_REVOKE, &request_id(id)?)?;
        Ok(())
    }

    /// The events in the ring from a number on, in order, and how many had left it before.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub(crate) fn events(&mut self, from: u64) -> Result<(Vec<Event>, u64)> {
        let attributes = Builder::new()
            .u64(attribute::EVENT_NUMBER, from)
            .map_err(unsendable)?;
        let replies = self.call(command::EVENT_GET, &attributes, Method::Dump)?;
        let lost = replies
            .iter()
            .filter_map(|reply| reply.u64(attribute::EVENTS_LOST))
            // Each event tells what is missing before it.
            .fold(0, u64::saturating_add);
        let mut events: Vec<Event> = replies
            .iter()
            .filter(|reply| reply.bytes(attribute::EVENT).is_some())
            .map(Event::parse)
            .collect::<Result<_>>()?;
        events.sort_by_key(|event| event.number);
        events.dedup_by_key(|event| event.number);
        events.retain(|event| event.number >= from);
        Ok((events, lost))
    }

    /// Waits until a request is decided.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when it is not granted, [`Error::Pending`] when the patience ends first.
    pub(crate) fn wait(&mut self, id: &[u8; 32], patience: Patience) -> Result<()> {
        let deadline = patience.timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let state = self.request(id)?.state;
            match state {
                RequestState::Open => {}
                RequestState::Granted => return Ok(()),
                _ => {
                    return Err(Error::Denied {
                        request: hex::encode(id),
                        state: state.name(),
                    })
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::Pending {
                    request: hex::encode(id),
                    waited: true,
                });
            }
            sleep(Duration::from_millis(300));
        }
    }
}

/// Follows the events of the node without a gap, from a number on.
pub(crate) struct EventStream {
    /// Receives the multicast.
    listener: Client,
    /// Reads what the listener missed.
    reader: Client,
    /// The next event to be returned.
    next: u64,
    /// Node and epoch that are followed.
    load: ([u8; 32], u64),
}

/// How long a silence is believed before the node is asked.
const SILENCE: Duration = Duration::from_secs(5);

impl EventStream {
    /// Joins the group first, so that nothing falls between.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] without `CAP_SYS_ADMIN`.
    pub(crate) fn open(from: u64) -> Result<Self> {
        let listener = Client::open()?;
        let group = *listener
            .family
            .groups
            .get(GROUP)
            .ok_or_else(|| incomplete("multicast group events"))?;
        listener
            .socket
            .join(group)
            .map_err(|source| match source.raw_os_error() {
                Some(errno) => Error::refused(
                    errno,
                    (errno == engine::refusal::errno::EPERM).then_some(
                        "not_permitted: following events needs CAP_SYS_ADMIN; run it as root",
                    ),
                ),
                None => Error::Io {
                    what: "cannot follow the events".to_owned(),
                    source,
                },
            })?;
        let mut reader = Client::open()?;
        let status = reader.status()?;
        Ok(Self {
            listener,
            reader,
            next: from,
            load: (status.node, status.epoch),
        })
    }

    /// What is in the ring already, and how many events had left it.
    ///
    /// # Errors
    ///
    /// Those of [`Client::events`].
    pub(crate) fn catch_up(&mut self) -> Result<(Vec<Event>, u64)> {
        let (events, lost) = self.reader.events(self.next)?;
        if let Some(last) = events.last() {
            self.next = last.number.saturating_add(1);
        }
        Ok((events, lost))
    }

    /// Asks the node itself, after a silence, whether it is still there and whether something was missed.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::Invalid`] `reloaded`, and those of [`Client::events`].
    fn look(&mut self) -> Result<(Vec<Event>, u64)> {
        let mut fresh = Client::open()?;
        let status = fresh.status()?;
        if (status.node, status.epoch) != self.load || fresh.family.id != self.listener.family.id {
            return Err(Error::invalid(
                "reloaded",
                "the module was loaded anew, and its log starts again: run the command again",
            ));
        }
        if status.event >= self.next {
            return self.catch_up();
        }
        Ok((Vec::new(), 0))
    }

    /// Waits for further events, at most five seconds; empty when nothing came.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`] when the module is gone, [`Error::Invalid`] `reloaded` when it was loaded anew; those of the
    /// socket and of [`Client::events`].
    pub(crate) fn more(&mut self) -> Result<(Vec<Event>, u64)> {
        let heard = self
            .listener
            .socket
            .listen(self.listener.family.id, SILENCE)
            .map_err(|source| Error::Io {
                what: "cannot follow the events".to_owned(),
                source,
            })?;
        let messages = match heard {
            Heard::Silence => return self.look(),
            Heard::Overrun => return self.catch_up(),
            Heard::Messages(messages) => messages,
        };
        let mut events = Vec::new();
        let mut lost = 0;
        for (command, attributes) in messages {
            if command != command::EVENT {
                continue;
            }
            let event = Event::parse(&attributes)?;
            if event.number > self.next {
                let (missed, gone) = self.catch_up()?;
                events.extend(missed);
                lost += gone;
            }
            if event.number >= self.next {
                self.next = event.number.saturating_add(1);
                events.push(event);
            }
        }
        Ok((events, lost))
    }
}

/// Runs a governance command until the node takes it, or it is pending: when a quorum is waited for, it is run again.
///
/// # Errors
///
/// [`Error::Pending`], [`Error::Denied`], and what the command returns.
pub(crate) fn settle(
    client: &mut Client,
    patience: Patience,
    announce: impl Fn(&[u8; 32]),
    mut command: impl FnMut(&mut Client) -> Result<Outcome>,
) -> Result<Taken> {
    let id = match command(client)? {
        Outcome::Taken(taken) => return Ok(taken),
        Outcome::Pending(id) => id,
    };
    if !patience.wait {
        return Err(Error::Pending {
            request: hex::encode(id),
            waited: false,
        });
    }
    announce(&id);
    client.wait(&id, patience)?;
    match command(client)? {
        Outcome::Taken(taken) => Ok(taken),
        Outcome::Pending(id) => Err(Error::Pending {
            request: hex::encode(id),
            waited: false,
        }),
    }
}

/// The slot in the reply to an enrolment.
pub(crate) fn enrolled_slot(reply: &Attributes) -> Option<u16> {
    slot(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of a name in the specification: there are as many as sets and operations that have it.
    fn numbers(specification: &str, name: &str) -> Vec<u16> {
        let start = format!("name: {name}");
        let value = |line: &str| -> Option<u16> {
            let (_, rest) = line.split_once("value: ")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        let lines: Vec<&str> = specification.lines().collect();
        lines
            .iter()
            .enumerate()
            .filter(|(_, line)| {
                line.split_once(&start).is_some_and(|(_, rest)| {
                    rest.is_empty() || rest.starts_with(',') || rest.starts_with(' ')
                })
            })
            .filter_map(|(at, line)| value(line).or_else(|| value(lines.get(at + 1)?)))
            .collect()
    }

    #[test]
    fn numbers_are_those_of_the_specification() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../Documentation/netlink/specs/tcp-lsm.yaml"
        );
        let specification = std::fs::read_to_string(path).unwrap();
        for (name, number) in [
            ("outcome", attribute::OUTCOME),
            ("request-id", attribute::REQUEST_ID),
            ("request", attribute::REQUEST),
            ("request-state", attribute::REQUEST_STATE),
            ("approve", attribute::APPROVE),
            ("deny", attribute::DENY),
            ("total", attribute::TOTAL),
            ("voted", attribute::VOTED),
            ("remaining-ms", attribute::REMAINING_MS),
            ("uses-left", attribute::USES_LEFT),
            ("vote", attribute::VOTE),
            ("validator-name", attribute::VALIDATOR_NAME),
            ("validator-key", attribute::VALIDATOR_KEY),
            ("validator-weight", attribute::VALIDATOR_WEIGHT),
            ("validator-slot", attribute::VALIDATOR_SLOT),
            ("validator-id", attribute::VALIDATOR_ID),
            ("votes-accepted", attribute::VOTES_ACCEPTED),
            ("agent-id", attribute::AGENT_ID),
            ("agent-name", attribute::AGENT_NAME),
            ("agent-class", attribute::AGENT_CLASS),
            ("agent-parent", attribute::AGENT_PARENT),
            ("agent-depth", attribute::AGENT_DEPTH),
            ("agent-tasks", attribute::AGENT_TASKS),
            ("agent-uid", attribute::AGENT_UID),
            ("agent-pid", attribute::AGENT_PID),
            ("agent-pending", attribute::AGENT_PENDING),
            ("agent-refused", attribute::AGENT_REFUSED),
            ("mode", attribute::MODE),
            ("phase", attribute::PHASE),
            ("node", attribute::NODE),
            ("epoch", attribute::EPOCH),
            ("boot-ms", attribute::BOOT_MS),
            ("wall-ms", attribute::WALL_MS),
            ("clock", attribute::CLOCK),
            ("chain", attribute::CHAIN),
            ("event", attribute::EVENT),
            ("event-number", attribute::EVENT_NUMBER),
            ("version", attribute::VERSION),
            ("counter", attribute::COUNTER),
            ("hook", attribute::HOOK),
            ("policy-name", attribute::POLICY_NAME),
            ("policy-version", attribute::POLICY_VERSION),
            ("policy-digest", attribute::POLICY_DIGEST),
            ("sealed-by", attribute::SEALED_BY),
            ("events-lost", attribute::EVENTS_LOST),
            ("tpm", attribute::TPM),
            ("tpm-software", attribute::TPM_SOFTWARE),
            ("nv-counter", attribute::NV_COUNTER),
            ("nv-anchor", attribute::NV_ANCHOR),
            ("state-counter", attribute::STATE_COUNTER),
            ("anchor", attribute::ANCHOR),
            ("anchored-number", attribute::ANCHORED_NUMBER),
            ("anchored-ms", attribute::ANCHORED_MS),
            ("anchor-interval", attribute::ANCHOR_INTERVAL),
            ("nv-writes", attribute::NV_WRITES),
            ("nv-writes-year", attribute::NV_WRITES_YEAR),
            ("state-reason", attribute::STATE_REASON),
            ("staged-counter", attribute::STAGED_COUNTER),
            ("state-digest", attribute::STATE_DIGEST),
            ("pcrs", attribute::PCRS),
            ("held", attribute::HELD),
            ("threshold", attribute::THRESHOLD),
            ("quarantined", attribute::QUARANTINED),
            ("evidence", attribute::EVIDENCE),
            ("fault", attribute::FAULT),
            ("reputation", attribute::REPUTATION),
            ("bias", attribute::BIAS),
            ("agreed", attribute::AGREED),
            ("disagreed", attribute::DISAGREED),
            ("timing", attribute::TIMING),
            ("timing-slot", attribute::TIMING_SLOT),
            ("unheard", attribute::UNHEARD),
            ("heard-ms", attribute::HEARD_MS),
            ("alert", attribute::ALERT),
            ("alert-ends-ms", attribute::ALERT_ENDS_MS),
            ("watch", attribute::WATCH),
            ("unheard-weight", attribute::UNHEARD_WEIGHT),
            ("floor", attribute::FLOOR),
            ("name", attribute::COUNTER_NAME),
            ("value", attribute::COUNTER_VALUE),
            ("status", command::STATUS.into()),
            ("validator-add", command::VALIDATOR_ADD.into()),
            ("validator-remove", command::VALIDATOR_REMOVE.into()),
            ("validator-get", command::VALIDATOR_GET.into()),
            ("seal", command::SEAL.into()),
            ("mode-set", command::MODE_SET.into()),
            ("unload", command::UNLOAD.into()),
            ("agent-label", command::AGENT_LABEL.into()),
            ("agent-get", command::AGENT_GET.into()),
            ("request-get", command::REQUEST_GET.into()),
            ("request-cancel", command::REQUEST_CANCEL.into()),
            ("vote-submit", command::VOTE_SUBMIT.into()),
            ("grant-get", command::GRANT_GET.into()),
            ("grant-revoke", command::GRANT_REVOKE.into()),
            ("event-get", command::EVENT_GET.into()),
            ("event", command::EVENT.into()),
            ("state-stage", command::STATE_STAGE.into()),
            ("state-commit", command::STATE_COMMIT.into()),
            ("state-discard", command::STATE_DISCARD.into()),
            ("state-recover", command::STATE_RECOVER.into()),
            ("evidence-submit", command::EVIDENCE_SUBMIT.into()),
            ("evidence-get", command::EVIDENCE_GET.into()),
            ("validator-readmit", command::VALIDATOR_READMIT.into()),
            (
                "permissive",
                u16::try_from(Mode::Permissive.number()).unwrap(),
            ),
            ("enforce", u16::try_from(Mode::Enforce.number()).unwrap()),
            ("done", u16::try_from(OUTCOME_DONE).unwrap()),
            ("pending", u16::try_from(OUTCOME_PENDING).unwrap()),
            ("staged", u16::try_from(OUTCOME_STAGED).unwrap()),
            ("held", u16::try_from(OUTCOME_HELD).unwrap()),
        ] {
            let found = numbers(&specification, name);
            assert!(found.contains(&number), "{name}: {number} not in {found:?}");
        }
        for state in 1..=5 {
            let name = RequestState::from_u32(state).unwrap().name();
            let number = u16::try_from(state).unwrap();
            assert!(numbers(&specification, name).contains(&number), "{name}");
        }
        assert_eq!(RequestState::from_u32(6), None);
        for phase in 1..=4 {
            let name = Phase::from_u32(phase).unwrap().name();
            let number = u16::try_from(phase).unwrap();
            assert!(numbers(&specification, name).contains(&number), "{name}");
        }
        assert_eq!(Phase::from_u32(5), None);
    }

    fn id(byte: u8) -> [u8; 32] {
        [byte; 32]
    }

    #[test]
    fn a_status_is_read_and_what_it_must_have_is_demanded() {
        let all = [
            (attribute::PHASE, 2u32.to_ne_bytes().to_vec()),
            (attribute::MODE, 1u32.to_ne_bytes().to_vec()),
            (attribute::NODE, vec![1; 32]),
            (attribute::EPOCH, 7u64.to_ne_bytes().to_vec()),
            (attribute::BOOT_MS, 8u64.to_ne_bytes().to_vec()),
            (attribute::CHAIN, vec![2; 32]),
        ];
        let build = |skip: u16| {
            let counter = Builder::new()
                .string(attribute::COUNTER_NAME, "votes")
                .and_then(|b| b.u64(attribute::COUNTER_VALUE, 3))
                .unwrap();
            all.iter()
                .filter(|(kind, _)| *kind != skip)
                .try_fold(Builder::new(), |b, (kind, value)| b.bytes(*kind, value))
                .and_then(|b| b.bytes(attribute::COUNTER, counter.encoded()))
                .and_then(|b| b.string(attribute::HOOK, "file_open"))
                .and_then(|b| b.string(attribute::HOOK, "bpf"))
                .and_then(|b| b.bytes(attribute::CLOCK, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 9]))
                .unwrap()
        };
        let status = Status::parse(&build(0).received()).unwrap();
        assert_eq!(status.phase, Phase::Sealed);
        assert!(status.policy.is_none() && status.sealing.is_none());
        assert_eq!((status.mode, status.epoch), (Mode::Permissive, 7));
        assert_eq!(status.counter("votes"), 3);
        assert_eq!(status.hooks, ["file_open", "bpf"]);
        assert_eq!(status.clock.get(0), 9);
        assert_eq!(status.sealed_by, "unsealed");
        for (kind, _) in &all {
            let error = Status::parse(&build(*kind).received()).unwrap_err();
            assert_eq!(error.code(), "protocol");
        }
        let policy = build(0)
            .string(attribute::POLICY_NAME, "web")
            .and_then(|b| b.u64(attribute::POLICY_VERSION, 4))
            .and_then(|b| b.bytes(attribute::POLICY_DIGEST, &id(5)))
            .unwrap();
        let policy = Status::parse(&policy.received()).unwrap().policy.unwrap();
        assert_eq!((policy.name.as_str(), policy.version), ("web", 4));
        let tpm = build(0)
            .string(attribute::TPM, "SW   2019.1023")
            .and_then(|b| b.u32(attribute::TPM_SOFTWARE, 1))
            .and_then(|b| b.u64(attribute::STATE_COUNTER, 6))
            .and_then(|b| b.bytes(attribute::ANCHOR, &id(3)))
            .and_then(|b| b.u64(attribute::STAGED_COUNTER, 7))
            .and_then(|b| b.string(attribute::STATE_REASON, "state_missing"))
            .unwrap();
        let status = Status::parse(&tpm.received()).unwrap();
        assert_eq!(status.reason.as_deref(), Some("state_missing"));
        let sealing = status.sealing.unwrap();
        assert!(sealing.software && sealing.anchored.is_none());
        assert_eq!((sealing.counter, sealing.staged), (Some(6), Some(7)));
        assert_eq!(sealing.anchor, Some(id(3)));
        let missing = build(0)
            .string(attribute::TPM, "SW")
            .and_then(|b| b.u64(attribute::STATE_COUNTER, 0))
            .unwrap();
        let sealing = Status::parse(&missing.received()).unwrap().sealing.unwrap();
        assert_eq!((sealing.counter, sealing.anchor), (None, None));
        let rules = [
            &[5, 220, 35, 40, 13, 6, 0, 16][..],
            &[0, 0, 4, 0],
            &[0, 0, 8, 0],
            &[0, 0, 12, 0],
        ];
        let watched = |rules: &[u8]| {
            build(0)
                .u64(attribute::QUARANTINED, 1)
                .and_then(|b| b.u32(attribute::ALERT, 0b110))
                .and_then(|b| b.u64(attribute::ALERT_ENDS_MS, 900))
                .and_then(|b| b.bytes(attribute::WATCH, rules))
                .and_then(|b| b.u64(attribute::UNHEARD_WEIGHT, 2))
                .and_then(|b| b.u32(attribute::FLOOR, 5001))
                .unwrap()
        };
        let watch = Status::parse(&watched(&rules.concat()).received())
            .unwrap()
            .watch;
        assert_eq!((watch.quarantined, watch.unheard, watch.alert), (1, 2, 6));
        assert_eq!((watch.ends_ms, watch.floor), (Some(900), Some(5001)));
        let rules = watch.rules.unwrap();
        assert_eq!(
            (rules.raise_bp, rules.ceiling_bp, rules.burst),
            (1500, 9000, 16)
        );
        assert_eq!((rules.missing_bp, rules.quiet_ms), (3334, 3072));
        let torn = Status::parse(&watched(&[0; 19]).received()).unwrap_err();
        assert_eq!(torn.code(), "protocol");
        assert!(status.watch.rules.is_none() && status.watch.alert == 0);
        let bad = build(attribute::PHASE).u32(attribute::PHASE, 9).unwrap();
        assert!(Status::parse(&bad.received()).is_err());
        let torn = Builder::new().bytes(attribute::CLOCK, &[0; 5]).unwrap();
        assert_eq!(clock(&torn.received()).unwrap_err().code(), "protocol");
    }

    #[test]
    fn a_staged_change_is_not_taken_for_one_in_effect() {
        let outcome = |number| Builder::new().u32(attribute::OUTCOME, number).unwrap();
        let done = Taken::parse(outcome(OUTCOME_DONE).received()).unwrap();
        assert_eq!(done.staged, None);
        let staged = outcome(OUTCOME_STAGED)
            .u64(attribute::STAGED_COUNTER, 8)
            .unwrap();
        let staged = Taken::parse(staged.received()).unwrap();
        assert_eq!(staged.staged, Some(8));
        for number in [0, OUTCOME_STAGED, OUTCOME_HELD, 5] {
            let error = Taken::parse(outcome(number).received()).unwrap_err();
            assert_eq!(error.code(), "protocol", "{number}");
        }
        assert!(Taken::parse(Attributes::default()).is_err());
    }

    #[test]
    fn lists_are_read() {
        let validator = Builder::new()
            .string(attribute::VALIDATOR_NAME, "bob")
            .and_then(|b| b.bytes(attribute::VALIDATOR_ID, &id(1)))
            .and_then(|b| b.bytes(attribute::VALIDATOR_KEY, &[4; 65]))
            .and_then(|b| b.u32(attribute::VALIDATOR_WEIGHT, 2))
            .and_then(|b| b.u32(attribute::VALIDATOR_SLOT, 3))
            .and_then(|b| b.u64(attribute::VOTES_ACCEPTED, 4))
            .and_then(|b| b.u32(attribute::REPUTATION, 9000))
            .and_then(|b| b.u32(attribute::TIMING, 700))
            .and_then(|b| b.u32(attribute::TIMING_SLOT, 5))
            .and_then(|b| b.u64(attribute::HEARD_MS, 77))
            .unwrap();
        let quarantined = |kind| {
            let reply = Builder::new().u32(attribute::FAULT, kind).unwrap();
            fault(&reply.received()).map_err(|error| error.code().to_owned())
        };
        assert_eq!(quarantined(2), Ok(Some(Fault::Fork)));
        assert_eq!(quarantined(4), Err("protocol".to_owned()));
        let validator = Validator::parse(&validator.received()).unwrap();
        assert_eq!(
            (validator.slot, validator.weight, validator.votes),
            (3, 2, 4)
        );
        assert_eq!((validator.fault, validator.heard_ms), (None, Some(77)));
        let reputation = validator.reputation;
        assert_eq!((reputation.score, reputation.partner), (9000, Some(5)));

        let proof = Builder::new()
            .bytes(attribute::EVIDENCE, b"evidence")
            .and_then(|b| b.bytes(attribute::VALIDATOR_ID, &id(4)))
            .and_then(|b| b.u32(attribute::VALIDATOR_SLOT, 3))
            .and_then(|b| b.u64(attribute::EVENT_NUMBER, 8))
            .unwrap();
        let removed = Proof::parse(&proof.received()).unwrap();
        assert_eq!((removed.event, removed.name), (8, None));
        let named = proof.string(attribute::VALIDATOR_NAME, "bob").unwrap();
        let named = named.u32(attribute::FAULT, 1).unwrap().received();
        assert_eq!(Proof::parse(&named).unwrap().name.as_deref(), Some("bob"));
        let quarantined = Quarantined::parse(&named).unwrap();
        assert_eq!(
            (quarantined.slot, quarantined.fault),
            (3, Fault::Equivocation)
        );

        let agent = Builder::new()
            .u64(attribute::AGENT_ID, 5)
            .and_then(|b| b.string(attribute::AGENT_NAME, "a"))
            .and_then(|b| b.u64(attribute::AGENT_PARENT, 6))
            .unwrap();
        let agent = Agent::parse(&agent.received()).unwrap();
        assert_eq!((agent.id, agent.parent, agent.name.as_str()), (5, 6, "a"));

        let request = Builder::new()
            .bytes(attribute::REQUEST_ID, &id(1))
            .and_then(|b| b.bytes(attribute::REQUEST, b"encoding"))
            .and_then(|b| b.u32(attribute::REQUEST_STATE, 1))
            .and_then(|b| b.bytes(attribute::VOTED, &[0, 2, 0, 128]))
            .and_then(|b| b.u32(attribute::USES_LEFT, 9))
            .and_then(|b| b.u32(attribute::THRESHOLD, 9000))
            .and_then(|b| b.u64(attribute::QUARANTINED, 2))
            .unwrap();
        let grant = Grant::parse(&request.received()).unwrap();
        assert_eq!((grant.id, grant.uses_left), (id(1), 9));
        let request = Request::parse(&request.received()).unwrap();
        assert_eq!(request.voted, [2, 128]);
        assert_eq!(request.state, RequestState::Open);
        assert_eq!((request.threshold_bp, request.barred), (Some(9000), 2));

        for (outcome, held) in [(OUTCOME_DONE, false), (OUTCOME_HELD, true)] {
            let accepted = Builder::new()
                .u32(attribute::OUTCOME, outcome)
                .and_then(|b| b.bytes(attribute::REQUEST_ID, &id(6)))
                .and_then(|b| b.u32(attribute::REQUEST_STATE, 1))
                .unwrap();
            let accepted = Accepted::parse(&accepted.received()).unwrap();
            assert_eq!((accepted.id, accepted.held), (id(6), held));
        }

        let event = Builder::new()
            .u64(attribute::EVENT_NUMBER, 3)
            .and_then(|b| b.bytes(attribute::EVENT, b"e"))
            .and_then(|b| b.bytes(attribute::CHAIN, &id(8)))
            .unwrap();
        let event = Event::parse(&event.received()).unwrap();
        assert_eq!((event.number, event.chain), (3, id(8)));

        let nothing = Attributes::default();
        assert!(Validator::parse(&nothing).is_err());
        assert!(Agent::parse(&nothing).is_err());
        assert!(Request::parse(&nothing).is_err());
        assert!(Grant::parse(&nothing).is_err());
        assert!(Accepted::parse(&nothing).is_err());
        assert!(Event::parse(&nothing).is_err());
        assert!(Proof::parse(&nothing).is_err());
        assert!(Quarantined::parse(&nothing).is_err());
        assert_eq!(enrolled_slot(&nothing), None);
    }

    #[test]
    fn what_cannot_be_sent_says_so() {
        let error = unsendable(std::io::ErrorKind::InvalidInput.into());
        assert_eq!(error.code(), "io");
        let refused = from_failure(Failure::Refused {
            errno: 2,
            message: Some("agent_unknown: no".into()),
            replies: vec![],
        });
        assert_eq!(refused.code(), "agent_unknown");
        let gone = from_failure(Failure::Refused {
            errno: 2,
            message: None,
            replies: vec![],
        });
        assert_eq!(gone.exit_code(), crate::error::EXIT_NOT_LOADED);
        let io = from_failure(Failure::Io(std::io::Error::from_raw_os_error(105)));
        assert_eq!(io.errno(), 105);
    }
}
