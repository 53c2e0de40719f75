// SPDX-License-Identifier: GPL-2.0

//! Limits of the formats and of the engine's tables.
//!
//! Source: `Documentation/wire-format.rst`, "Limits", and `Documentation/policy.rst`.

/// Validators that can be enrolled at once, slots that can ever be given out, and the highest slot
/// of a clock.
pub const VALIDATORS: usize = 128;

/// How far a validator's own clock entry may rise in one vote.
pub const CLOCK_LEAP: u64 = 1 << 20;

/// Pending requests of the whole node.
pub const REQUESTS: usize = 256;

/// Pending requests of one agent.
pub const REQUESTS_PER_AGENT: usize = 16;

/// Pending requests of all agents that one user runs.
pub const REQUESTS_PER_USER: usize = 64;

/// Pending governance requests. They have room of their own, so that no agent can keep governance
/// out.
pub const GOVERNANCE_REQUESTS: usize = 16;

/// Grants that live at once.
pub const GRANTS: usize = 256;

/// Decided requests that are remembered.
pub const DECIDED_REQUESTS: usize = 512;

/// Agents alive at once.
pub const AGENTS: usize = 65536;

/// Nesting depth of agents.
pub const AGENT_DEPTH: usize = 8;

/// Classes of a policy.
pub const CLASSES: usize = 64;

/// Length of the name of a class, an agent, a validator or a policy, in bytes.
pub const NAME: usize = 32;

/// Length of the text of a policy, in bytes.
pub const POLICY_TEXT: usize = 256 << 10;

/// Rules of a policy. A `DEFAULT` is not counted.
pub const RULES: usize = 4096;

/// Different paths in a policy, those of rules and those of labels together.
pub const PATHS: usize = 2048;

/// Length of a path in a policy, in bytes.
pub const PATH: usize = 1024;

/// Content that is digested, in bytes.
pub const CONTENT: u64 = 256 << 20;

/// Arguments of a program that are digested, in bytes.
pub const ARGUMENTS: u64 = 2 << 20;

/// Ring of events, in bytes.
pub const EVENT_RING: usize = 4 << 20;

/// Encoding of one request, in bytes.
pub const REQUEST: usize = 4096;

/// Facts of one request.
pub const FACTS: usize = 128;

/// A fact that is a string is cut here, in bytes.
pub const FACT_STRING: usize = 1024;

/// Reason text of a vote, in bytes.
pub const REASON: usize = 256;

/// Sealed state, in bytes.
pub const STATE: usize = 1 << 20;

/// How long a staged change may be committed, in seconds: 10 minutes.
pub const STAGED_S: u32 = 10 * 60;

/// Votes held because their causes have not arrived.
pub const HELD: usize = 32;

/// Held votes of one validator.
pub const HELD_PER_VALIDATOR: usize = 4;

/// Remembered votes of one validator, in bytes.
pub const VOTE_MEMORY: usize = 64 << 10;

/// Evidence of a fault, in bytes.
pub const EVIDENCE: usize = 3119;

/// Payload of one event, in bytes.
pub const EVENT_PAYLOAD: usize = 8192;

/// Encoding of a signature, in bytes.
pub const SIGNATURE: usize = 72;

/// Highest version of a policy: 2^63 - 1.
pub const POLICY_VERSION: u64 = (1 << 63) - 1;

/// Lowest threshold of a quorum, in basis points.
pub const THRESHOLD_MIN_BP: u16 = 5001;

/// Highest threshold of a quorum, in basis points.
pub const THRESHOLD_MAX_BP: u16 = 10000;

/// Longest life of a grant, in seconds: 24 hours.
pub const TTL_S: u32 = 24 * 60 * 60;

/// Longest time that a request stays open, in seconds: 24 hours.
pub const TIMEOUT_S: u32 = 24 * 60 * 60;

/// Longest time that an operation waits for its decision, in seconds: 10 minutes.
pub const HOLD_S: u32 = 10 * 60;

// A set of classes is one `u64`.
const _: () = assert!(CLASSES <= 64);
// Rules and objects are numbered with `u16`, whose greatest value means "none".
const _: () = assert!(RULES < u16::MAX as usize);
const _: () = assert!(PATHS < u16::MAX as usize);
// Places in the text of a policy are `u32`.
const _: () = assert!(POLICY_TEXT <= u32::MAX as usize);
// A `str8` holds every name.
const _: () = assert!(NAME <= u8::MAX as usize);
// A slot is a `u16` from 1 to VALIDATORS.
const _: () = assert!(VALIDATORS < u16::MAX as usize);
// The encoding of a request fits an event, and so does evidence.
const _: () = assert!(REQUEST <= EVENT_PAYLOAD);
const _: () = assert!(EVIDENCE <= EVENT_PAYLOAD);
