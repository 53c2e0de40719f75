// SPDX-License-Identifier: GPL-2.0

//! A token bucket for each of the latest senders.

use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// Senders that are told apart; the one that was quiet for longest gives way to a new one.
const SENDERS: usize = 64;

/// Who sends.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Sender {
    /// An agent, by number.
    Agent(u64),
    /// A user, in the initial user namespace.
    User(u32),
}

impl Sender {
    /// Whom a flood of that agent is held against; for 0, a task without a label, that user.
    pub(crate) fn of(agent: u64, uid: u32) -> Self {
        match agent {
            0 => Self::User(uid),
            agent => Self::Agent(agent),
        }
    }
}

/// One sender's bucket.
#[derive(Clone, Copy)]
struct Bucket {
    sender: Sender,
    /// Tokens left, in thousandths.
    tokens: u32,
    /// When `tokens` was right, in milliseconds since boot.
    at_ms: u64,
}

/// Limits each sender to [`Limiter::BURST`] in a row and [`Limiter::RATE`] a second after that.
///
/// A sender that fills the table by changing its identity needs as many identities as there are
/// buckets, and gains no more than a burst for each.
pub(crate) struct Limiter {
    buckets: KVec<Option<Bucket>>,
}

impl Limiter {
    /// How many in a row.
    const BURST: u32 = 32;
    /// How many a second.
    const RATE: u32 = 8;

    /// A limiter that has seen nobody.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Ok(Self {
            buckets: KVec::from_elem(None, SENDERS, GFP_KERNEL)?,
        })
    }

    /// Takes a token of `sender`'s at `now_ms`; `false` when there is none.
    pub(crate) fn take(&mut self, sender: Sender, now_ms: u64) -> bool {
        self.bucket(sender, now_ms).is_some_and(|bucket| {
            let left = bucket.tokens.checked_sub(1000);
            bucket.tokens = left.unwrap_or(bucket.tokens);
            left.is_some()
        })
    }

    /// Whether `sender` has a token left at `now_ms`.
    pub(crate) fn may(&mut self, sender: Sender, now_ms: u64) -> bool {
        self.bucket(sender, now_ms)
            .is_some_and(|bucket| bucket.tokens >= 1000)
    }

    /// The sender's bucket, filled up to `now_ms`.
    fn bucket(&mut self, sender: Sender, now_ms: u64) -> Option<&mut Bucket> {
        let index = self
            .buckets
            .iter()
            .position(|bucket| bucket.is_some_and(|bucket| bucket.sender == sender))
            .or_else(|| {
                // An empty one first, else the one that was quiet for longest.
                (0..SENDERS).min_by_key(|&index| {
                    self.buckets
                        .get(index)
                        .and_then(|bucket| bucket.as_ref())
                        .map_or(0, |bucket| bucket.at_ms + 1)
                })
            })?;
        let slot = self.buckets.get_mut(index)?;
        let fresh = Bucket {
            sender,
            tokens: Self::BURST * 1000,
            at_ms: now_ms,
        };
        if slot.is_some_and(|bucket| bucket.sender != sender) {
            *slot = Some(fresh);
        }
        let bucket = slot.get_or_insert(fresh);
        let earned = now_ms
            .saturating_sub(bucket.at_ms)
            .saturating_mul(u64::from(Self::RATE));
        let tokens = u64::from(bucket.tokens).saturating_add(earned);
        bucket.tokens = u32::try_from(tokens)
            .unwrap_or(u32::MAX)
            .min(Self::BURST * 1000);
        bucket.at_ms = bucket.at_ms.max(now_ms);
        Some(bucket)
    }
}
