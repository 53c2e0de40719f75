// SPDX-License-Identifier: GPL-2.0

//! The label of a task.

use crate::agent::Agent;
use kernel::sync::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    Arc, //
};

/// What a labelled task carries, for ever. Its key in the table is the task itself: a process id is
/// reused before the label of its last owner is freed.
pub(crate) struct Label {
    /// Whose task this is.
    pub(crate) agent: Arc<Agent>,
    /// Id of the last request that this task raised, zeros when none. Only the task itself writes
    /// and reads it.
    last_request: [Atomic<u64>; 4],
}

impl Label {
    /// Labels a task as one of `agent`'s.
    pub(crate) fn new(agent: Arc<Agent>) -> Self {
        Self {
            agent,
            last_request: [const { Atomic::new(0) }; 4],
        }
    }

    /// Remembers the request that an operation of this task is waiting for.
    pub(crate) fn set_last_request(&self, id: &[u8; 32]) {
        for (word, bytes) in self.last_request.iter().zip(id.chunks_exact(8)) {
            if let Ok(bytes) = bytes.try_into() {
                word.store(u64::from_ne_bytes(bytes), Relaxed);
            }
        }
    }

    /// The last request of this task.
    pub(crate) fn last_request(&self) -> Option<[u8; 32]> {
        let mut id = [0; 32];
        for (word, bytes) in self.last_request.iter().zip(id.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        (id != [0; 32]).then_some(id)
    }
}
