// SPDX-License-Identifier: GPL-2.0

//! Refusals: every way in which the control interface says no.
//!
//! The table is "Refusal codes" in `Documentation/wire-format.rst`. A message has the form
//! `name: text` and says what to do next.

use super::wire::Error;
use core::ffi::CStr;
use core::fmt;

/// Error numbers, positive, as they are on Linux for x86-64 and every architecture that takes them
/// from `asm-generic`.
///
/// C header: `include/uapi/asm-generic/errno.h`
pub mod errno {
    /// `EPERM`.
    pub const EPERM: i32 = 1;
    /// `ENOENT`.
    pub const ENOENT: i32 = 2;
    /// `EIO`.
    pub const EIO: i32 = 5;
    /// `E2BIG`.
    pub const E2BIG: i32 = 7;
    /// `EAGAIN`.
    pub const EAGAIN: i32 = 11;
    /// `ENOMEM`.
    pub const ENOMEM: i32 = 12;
    /// `EACCES`.
    pub const EACCES: i32 = 13;
    /// `EBUSY`.
    pub const EBUSY: i32 = 16;
    /// `EEXIST`.
    pub const EEXIST: i32 = 17;
    /// `EXDEV`.
    pub const EXDEV: i32 = 18;
    /// `ENODEV`.
    pub const ENODEV: i32 = 19;
    /// `EINVAL`.
    pub const EINVAL: i32 = 22;
    /// `ENOSPC`.
    pub const ENOSPC: i32 = 28;
    /// `ERANGE`.
    pub const ERANGE: i32 = 34;
    /// `ENODATA`.
    pub const ENODATA: i32 = 61;
    /// `ETIME`.
    pub const ETIME: i32 = 62;
    /// `EPROTO`.
    pub const EPROTO: i32 = 71;
    /// `EBADMSG`.
    pub const EBADMSG: i32 = 74;
    /// `EOPNOTSUPP`.
    pub const EOPNOTSUPP: i32 = 95;
    /// `EALREADY`.
    pub const EALREADY: i32 = 114;
    /// `EINPROGRESS`.
    pub const EINPROGRESS: i32 = 115;
    /// `ESTALE`.
    pub const ESTALE: i32 = 116;
    /// `ENOKEY`.
    pub const ENOKEY: i32 = 126;
    /// `EKEYREJECTED`.
    pub const EKEYREJECTED: i32 = 129;
}

/// Longest message, without its terminator, in bytes.
pub const MAX_MESSAGE: usize = 200;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $errno:ident, $text:literal;)*) => {
        /// A reason for refusing what somebody asked of the control interface.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u16)]
        pub enum Refusal {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Refusal {
            /// Every refusal, in ascending order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the refusal of that number.
            pub fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Name, as messages begin with it: `vote_forged`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Error number, positive.
            pub const fn errno(self) -> i32 {
                match self {
                    $(Self::$variant => errno::$errno,)*
                }
            }

            /// The message, `name: text`.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($name, ": ", $text),)*
                }
            }

            /// The message with a terminator, as the extended acknowledgement of netlink takes it.
            pub const fn message_c(self) -> &'static CStr {
                match self {
                    $(Self::$variant => const {
                        match CStr::from_bytes_with_nul(concat!($name, ": ", $text, "\0").as_bytes()) {
                            Ok(message) => message,
                            Err(_) => panic!("a message contains a zero byte"),
                        }
                    },)*
                }
            }
        }

        $(const _: () = assert!(Refusal::$variant.message().len() <= MAX_MESSAGE);)*
    };
}

refusals! {
    /// A field of the record is missing, too long, reserved or out of range.
    VoteMalformed = 1, "vote_malformed", EINVAL, "a field of the vote is missing, too long, reserved or out of range; sign it again with this version of tcpctl";
    /// Unknown magic.
    VoteVersion = 2, "vote_version", EPROTO, "the vote has an unknown magic; sign it with a tcpctl that fits this module";
    /// Signed for another node, or for another load of this one.
    VoteOtherNode = 3, "vote_other_node", EXDEV, "signed for another node, or for another load of this one; read the request here and sign it again";
    /// Signed for another epoch.
    VoteOtherEpoch = 4, "vote_other_epoch", EXDEV, "signed for another epoch of this node; read the request again and sign it anew";
    /// No such request.
    VoteUnknownRequest = 5, "vote_unknown_request", ENOENT, "no such request on this node; list the pending ones with tcpctl request list";
    /// The request is already decided.
    VoteClosedRequest = 6, "vote_closed_request", EALREADY, "the request is already decided; look at the result with tcpctl request show";
    /// The key is not enrolled.
    VoteUnknownValidator = 7, "vote_unknown_validator", ENOKEY, "the key is not enrolled here; compare with tcpctl validator list";
    /// The vote or the request has expired, or the vote outlives the request.
    VoteExpired = 8, "vote_expired", ETIME, "the vote or its request has expired, or the vote outlives the request; sign one with a shorter life, or ask again";
    /// This validator has already voted on this request.
    VoteDuplicate = 9, "vote_duplicate", EEXIST, "this validator has already voted on this request; the first vote counts";
    /// The reason text does not have the signed digest.
    VoteReason = 10, "vote_reason", EBADMSG, "the reason text does not have the signed digest; send the text that was signed";
    /// The validator's own entry is not later than in its last vote.
    ClockNotLater = 11, "clock_not_later", ESTALE, "the validator's own clock entry is not later than in its last vote; take the clock from this node and sign again";
    /// Some entry is behind the validator's last vote.
    ClockRegresses = 12, "clock_regresses", ESTALE, "a clock entry is behind this validator's last vote; take the clock from this node and sign again";
    /// The validator had not seen the request.
    ClockBeforeRequest = 13, "clock_before_request", ESTALE, "the clock says that the validator had not seen the request; read the request and sign again";
    /// The clock claims an event that this node has not seen.
    ClockUnseen = 14, "clock_unseen", EAGAIN, "the clock claims an event that this node has not seen; send the votes it builds on first";
    /// The validator's own entry leaps too far.
    ClockLeap = 15, "clock_leap", ERANGE, "the validator's own clock entry leaps too far; raise it by one for each vote";
    /// The signature does not verify.
    VoteForged = 16, "vote_forged", EKEYREJECTED, "the signature does not verify against this validator's enrolled key; check --as and --key";
    /// The signature is not the one canonical encoding.
    VoteMalleable = 17, "vote_malleable", EKEYREJECTED, "the signature is not the one canonical encoding; use low S and minimal DER";
    /// This user has sent too many votes that were refused.
    RateLimited = 18, "rate_limited", EBUSY, "this user has sent too many votes that were refused; wait a minute before the next";
    /// An agent may not touch the control interface.
    Labelled = 32, "labelled", EPERM, "an agent may not touch the control interface; ask from a session outside any agent";
    /// Needs CAP_MAC_ADMIN in the initial user namespace.
    NotPermitted = 33, "not_permitted", EPERM, "needs CAP_MAC_ADMIN in the initial user namespace; run it as root of the host";
    /// Only possible before sealing.
    NotInSetup = 34, "not_in_setup", EPERM, "only possible before sealing; use the governance request for this change instead";
    /// Only possible after sealing.
    NotSealed = 35, "not_sealed", EINVAL, "only possible after sealing; run tcpctl seal first";
    /// No policy is loaded.
    NoPolicy = 36, "no_policy", ENOENT, "no policy is loaded; load one with tcpctl policy load";
    /// No validator is enrolled.
    NoValidators = 37, "no_validators", ENOKEY, "no validator is enrolled; add one with tcpctl validator add";
    /// Not a point of P-256.
    ValidatorKey = 38, "validator_key", EKEYREJECTED, "not a point of P-256; give the 65-byte uncompressed public key";
    /// The key or the name is already enrolled.
    ValidatorDuplicate = 39, "validator_duplicate", EEXIST, "the key or the name is already enrolled; see tcpctl validator list";
    /// No validator of that name.
    ValidatorUnknown = 40, "validator_unknown", ENOENT, "no validator of that name; see tcpctl validator list";
    /// 128 validators are enrolled, or every slot has been used.
    ValidatorLimit = 41, "validator_limit", ENOSPC, "128 validators are enrolled, or every slot has been used; slots are free again after the next load";
    /// Weight 0, or the sum passes 2^32 - 1.
    ValidatorWeight = 42, "validator_weight", ERANGE, "the weight is 0, or the sum passes 4294967295; choose smaller weights";
    /// Empty, longer than 32 bytes, or not `[A-Za-z0-9._-]`.
    ValidatorName = 43, "validator_name", EINVAL, "a validator's name is 1 to 32 of A-Z a-z 0-9 . _ -; choose such a name";
    /// The policy declares no such class.
    ClassUnknown = 44, "class_unknown", ENOENT, "the policy declares no such class; see tcpctl policy show";
    /// The policy does not let this agent start one of that class.
    ClassForbidden = 45, "class_forbidden", EPERM, "the policy does not let this agent start one of that class; add it to may= of its class";
    /// Too many agents.
    AgentLimit = 46, "agent_limit", EAGAIN, "too many agents are alive; end some, see tcpctl agent list";
    /// The task has threads, or shares its files or memory with another.
    NotSingleThreaded = 47, "not_single_threaded", EBUSY, "the task has threads, or shares its files or memory with another; start the agent from a plain process";
    /// An open file that the label would not be allowed to open.
    InheritedFile = 48, "inherited_file", EACCES, "an open file that the label would not be allowed to open; close it before the agent starts";
    /// Empty, longer than 32 bytes, or not `[A-Za-z0-9._-]`.
    AgentName = 49, "agent_name", EINVAL, "an agent's name is 1 to 32 of A-Z a-z 0-9 . _ -; choose such a name";
    /// No such agent.
    AgentUnknown = 50, "agent_unknown", ENOENT, "no such agent; see tcpctl agent list";
    /// No such request.
    RequestUnknown = 51, "request_unknown", ENOENT, "no such request; see tcpctl request list";
    /// Too many pending requests.
    RequestLimit = 52, "request_limit", EAGAIN, "too many pending requests; have some decided, or wait until they expire";
    /// The request is already decided.
    RequestClosed = 53, "request_closed", EALREADY, "the request is already decided; see tcpctl request show";
    /// No such grant.
    GrantUnknown = 54, "grant_unknown", ENOENT, "no such grant; see tcpctl grant list";
    /// The text was refused; line and column are in the message.
    PolicyInvalid = 55, "policy_invalid", EINVAL, "the policy text was refused; see the line and column, or run tcpctl policy check";
    /// The version is not greater than the running one's.
    PolicyVersion = 56, "policy_version", ESTALE, "the version is not greater than the running policy's; raise policy_version";
    /// A path in the policy does not exist.
    PolicyPath = 57, "policy_path", ENOENT, "a path in the policy does not exist; create it or correct the line";
    /// A netlink attribute is missing or has a wrong value.
    AttributeMissing = 58, "attribute_missing", EINVAL, "a netlink attribute is missing or has a wrong value; use the tcpctl that fits this module";
    /// No memory.
    NoMemory = 59, "no_memory", ENOMEM, "the kernel has no memory for this now; try again later";
    /// A hook is not attached: nothing is enforced.
    HookMissing = 60, "hook_missing", ENODEV, "a hook is not attached, so nothing is enforced; see the kernel log and load the module again";
    /// Policy denies this governance operation.
    Denied = 61, "denied", EACCES, "policy denies this governance operation; it takes a rule with action=QUORUM";
    /// Text, rules or paths beyond the limits.
    PolicyLimit = 62, "policy_limit", E2BIG, "the policy is beyond the limits of text, rules or paths; make it smaller";
    /// A quorum is needed; the request id is in the reply.
    Pending = 63, "pending", EINPROGRESS, "a quorum is needed; have the request in the reply voted on, then repeat";
    /// No room for the grant that this vote would make.
    GrantLimit = 64, "grant_limit", EAGAIN, "this vote would grant the request and there are too many live grants; revoke some with tcpctl grant revoke, then submit it again";
    /// A policy is loaded from a root or mount namespace that is not the host's.
    PolicyView = 65, "policy_view", EPERM, "the paths of a policy are looked up where the loader stands; load it from the host's own root and mount namespace";
    /// There is no TPM 2.0.
    TpmAbsent = 66, "tpm_absent", ENODEV, "there is no TPM 2.0; enable it in the firmware, or load the module with require_tpm=0 and do without a past";
    /// A TPM command failed, or its response made no sense.
    TpmFailed = 67, "tpm_failed", EIO, "a TPM command failed, or its response made no sense; see the kernel log, then repeat the command";
    /// The TPM is in dictionary attack lockout.
    TpmLockout = 68, "tpm_lockout", EPERM, "the TPM is in dictionary attack lockout; wait for its recovery time or run tpm2_dictionarylockout -c, then repeat";
    /// The owner or endorsement hierarchy has an authorization value.
    TpmAuth = 69, "tpm_auth", EACCES, "the owner or endorsement hierarchy of the TPM has an authorization value; make it empty with tpm2_changeauth";
    /// The node has a past that has not been given back.
    StateMissing = 70, "state_missing", ENODATA, "this node has a past; give it back with tcpctl state restore";
    /// The state is torn or not well formed.
    StateMalformed = 71, "state_malformed", EBADMSG, "the state is torn or not well formed; restore the other copy, or see tcpctl state recover";
    /// The state's MAC is wrong.
    StateForged = 72, "state_forged", EKEYREJECTED, "the state was changed after the kernel made it; restore an untouched copy, or see tcpctl state recover";
    /// The state is older than the counter.
    StateOlder = 73, "state_older", ESTALE, "the state is older than the TPM's counter; restore the latest one, or have this one voted on with tcpctl state recover --from";
    /// The state was staged and never committed.
    StateStagedOnly = 74, "state_staged_only", ESTALE, "the state was staged and never committed; restore the one before it, or have this one voted on with tcpctl state recover --from";
    /// The state is of another TPM.
    StateOtherTpm = 75, "state_other_tpm", EXDEV, "the state is of another TPM; restore the one that this node made, or begin anew with tcpctl state recover --setup";
    /// The TPM does not load the state key: it was cleared.
    StateKey = 76, "state_key", ENOKEY, "the TPM does not load the state key, as after it was cleared; begin anew with tcpctl state recover --setup";
    /// The TPM does not release the state key: the PCRs have other values.
    StatePcr = 77, "state_pcr", EACCES, "the PCRs have other values than when the state was made; boot as before, or begin anew with tcpctl state recover --setup";
    /// The counter is gone: the TPM was cleared, or it was undefined.
    CounterMissing = 78, "counter_missing", ENOENT, "the TPM's counter is gone: it was undefined or the TPM cleared; have the state voted on with tcpctl state recover --from";
    /// The counter's index has another type or other attributes.
    CounterForeign = 79, "counter_foreign", EINVAL, "the counter's NV index is not one of this module; see tpm2_nvreadpublic, then have the state voted on with tcpctl state recover --from";
    /// The counter is behind the state: it was defined again.
    CounterBehind = 80, "counter_behind", ESTALE, "the TPM's counter is behind the state: it was defined again; have the state voted on with tcpctl state recover --from";
    /// The anchor is gone, or was defined again.
    AnchorMissing = 81, "anchor_missing", ENOENT, "the TPM's anchor is gone, or was defined again; have the state voted on with tcpctl state recover --from";
    /// The anchor's index has another type or other attributes.
    AnchorForeign = 82, "anchor_foreign", EINVAL, "the anchor's NV index is not one of this module; see tpm2_nvreadpublic, then have the state voted on with tcpctl state recover --from";
    /// The anchor does not have the state's value.
    AnchorDiffers = 83, "anchor_differs", ESTALE, "the TPM's anchor does not have the state's value; restore the latest state, or have it voted on with tcpctl state recover --from";
    /// Somebody else moved the counter or the anchor.
    StateConflict = 84, "state_conflict", EBUSY, "somebody else moved the TPM's counter or anchor; find out who uses its NV indices, then load the module anew and see tcpctl state";
    /// A change is staged and has to be saved first.
    StateStaged = 85, "state_staged", EBUSY, "a change is staged; save and commit it with tcpctl state save, then repeat the command";
    /// Nothing is staged.
    StateNone = 86, "state_none", ENOENT, "nothing is staged; make the change first, see tcpctl status";
    /// What was read back is not what was staged.
    StateDigest = 87, "state_digest", EBADMSG, "what was read back is not what was staged; check the disk, then save again with tcpctl state save";
    /// Without a TPM no state is kept.
    StateUnsealed = 88, "state_unsealed", EOPNOTSUPP, "this node has no TPM, so no state is kept; load the module where there is one";
    /// The node is locked: its state has to be restored first.
    StateLocked = 89, "state_locked", EPERM, "the node is locked; give its state back with tcpctl state restore first, see tcpctl status for the reason";
    /// The state is current: there is nothing to recover.
    StateCurrent = 90, "state_current", EINVAL, "there is nothing to recover; a current state is given back with tcpctl state restore, and only to a locked node";
    /// No room to hold a vote whose causes have not arrived.
    HeldLimit = 91, "held_limit", EAGAIN, "no room to hold a vote whose causes have not arrived; submit the votes that it has seen first, then this one again";
    /// The vote names another slot than this validator has here.
    VoteSlot = 92, "vote_slot", ENOKEY, "the vote names another slot than this validator has here; read the request again and sign anew";
    /// The validator is quarantined, or this vote proves a fault of it.
    VoteQuarantined = 93, "vote_quarantined", EKEYREJECTED, "the validator is quarantined, or this vote proves a fault of it; see tcpctl evidence list";
    /// The evidence cannot be decoded, or is not in its one order.
    EvidenceMalformed = 94, "evidence_malformed", EINVAL, "the evidence cannot be decoded, or is not in its one order; make it with tcpctl evidence make";
    /// The two votes do not contradict each other in the way that is named.
    EvidenceNone = 95, "evidence_none", EINVAL, "the two votes do not contradict each other in the way that is named; look at both with tcpctl evidence verify";
    /// The key is not enrolled here.
    EvidenceUnknown = 96, "evidence_unknown", ENOKEY, "the key in the evidence is not enrolled here; compare with tcpctl validator list";
    /// The validator is quarantined already.
    EvidenceKnown = 97, "evidence_known", EALREADY, "the validator is quarantined already; see tcpctl evidence list";
    /// The validator was readmitted after this.
    EvidenceExpired = 98, "evidence_expired", ESTALE, "the validator was readmitted after this; only newer evidence counts";
    /// A signature of the evidence does not verify.
    EvidenceForged = 99, "evidence_forged", EKEYREJECTED, "a signature in the evidence does not verify; check it with tcpctl evidence verify";
    /// The key is quarantined; it can only be readmitted.
    ValidatorQuarantined = 100, "validator_quarantined", EEXIST, "the key is quarantined and cannot be enrolled again; enrol a new key";
    /// The validator is not quarantined.
    ValidatorTrusted = 101, "validator_trusted", EINVAL, "the validator is not quarantined, so there is nothing to end; see tcpctl validator list";
    /// The validator was readmitted too often, or its votes have an impossible clock.
    ReadmitLimit = 102, "readmit_limit", ENOSPC, "the validator was readmitted too often, or signed a clock that no node had; remove it and enrol a new key";
}

impl Refusal {
    /// Number, as events carry it.
    pub const fn code(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

super::kernel_display!(Refusal);

/// What a decoder of votes makes of a wire error.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Magic => Self::VoteVersion,
            _ => Self::VoteMalformed,
        }
    }
}
