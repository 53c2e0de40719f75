// SPDX-License-Identifier: GPL-2.0

//! Counters: everything that happens is counted, even what is not recorded.

use crate::abi::atomic::{
    AtomicU64,
    Ordering, //
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What is counted since the module was loaded.
        #[derive(Clone, Copy)]
        #[repr(usize)]
        pub(crate) enum Counter {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// The names of all counters, in the order of [`Counter`].
        const NAMES: &[&str] = &[$($name,)+];

        impl Counters {
            /// Counters at zero.
            pub(crate) const fn new() -> Self {
                Self { values: [$({ const _: &str = $name; AtomicU64::new(0) },)+] }
            }
        }
    };
}

counters! {
    /// Operations of agents that were judged.
    Decisions = "decisions",
    /// Operations let through by ALLOW.
    Allowed = "allowed",
    /// Operations let through and recorded by AUDIT.
    Audited = "audited",
    /// Operations refused by DENY.
    Refused = "refused",
    /// Operations refused because a quorum has yet to approve.
    Unapproved = "unapproved",
    /// Operations let through by a grant.
    GrantsUsed = "grants_used",
    /// Operations that enforce mode would have refused.
    Permitted = "permitted",
    /// Operations refused because they could not be judged: memory, a path that is too long.
    Failed = "failed",
    /// Requests made.
    Requests = "requests",
    /// Requests not made because too many are pending.
    RequestsCapped = "requests_capped",
    /// Requests that a quorum granted.
    Granted = "granted",
    /// Requests that a quorum denied.
    Denied = "denied",
    /// Requests that nobody decided in time.
    Expired = "expired",
    /// Requests that were cancelled.
    Cancelled = "cancelled",
    /// Votes held because their causes had not arrived.
    VotesHeld = "votes_held",
    /// Votes counted.
    Votes = "votes",
    /// Votes refused.
    VotesRefused = "votes_refused",
    /// Validators quarantined.
    Quarantined = "quarantined",
    /// Evidence refused.
    EvidenceRefused = "evidence_refused",
    /// Attempts on the control interface that were refused.
    ControlRefused = "control_refused",
    /// Agents labelled.
    Agents = "agents_labelled",
    /// Forks refused because a label could not be inherited.
    LabelsFailed = "labels_failed",
    /// Events left out because their sender makes too many.
    EventsSuppressed = "events_suppressed",
}

/// The values of all counters.
pub(crate) struct Counters {
    values: [AtomicU64; NAMES.len()],
}

impl Counters {
    /// Adds one.
    #[inline]
    pub(crate) fn bump(&self, counter: Counter) {
        if let Some(value) = self.values.get(counter as usize) {
            value.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES
            .iter()
            .zip(&self.values)
            .map(|(name, value)| (*name, value.load(Ordering::Relaxed)))
    }
}
