// SPDX-License-Identifier: GPL-2.0

//! What the TPM was told: staged and committed states.

use engine::{
    clock::NodeClock,
    event::{
        Kind,
        Payload, //
    }, //
};

use super::{
    alerts::Reputations,
    fault::{
        same,
        same_digest,
        wrong,
        Checked, //
    },
    quarantine::Quarantines,
    roll::Roll, //
};
use crate::crypto::{
    validator_id,
    Sha256, //
};

/// The policy in force, as its event describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyFact {
    /// Its version.
    pub(crate) version: u64,
    /// The digest of its text.
    pub(crate) digest: [u8; 32],
    /// Its name.
    pub(crate) name: String,
}

/// What a state holds of the log's facts.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The policy.
    pub(crate) policy: Option<PolicyFact>,
    /// The mode, as events number it.
    pub(crate) mode: u16,
    /// The validators and their clocks.
    pub(crate) roll: Roll,
    /// The node's clock.
    pub(crate) clock: NodeClock,
    /// Who was quarantined.
    pub(crate) quarantines: Quarantines,
    /// Reputations.
    pub(crate) reputations: Reputations,
}

/// A change that is made effective by an event of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Kind of that event.
    pub(crate) kind: Kind,
    /// Its result.
    pub(crate) result: u16,
    /// Its payload.
    pub(crate) payload: Vec<u8>,
}

/// A state that was staged.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// Number of its STAGED event.
    pub(crate) number: u64,
    /// The chain's value after that event.
    pub(crate) head: [u8; 32],
    /// The counter once committed.
    pub(crate) counter: u64,
    /// The anchor once committed.
    pub(crate) anchor: [u8; 32],
    /// The change; [`None`] for a checkpoint.
    pub(crate) effect: Option<Effect>,
    /// Whether a state was committed; not when the TPM was only told how a load began.
    pub(crate) is_state: bool,
    /// What the state holds; [`None`] where the log does not tell.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Staged {
    /// Makes what the state of this node holds what it is after the change.
    pub(crate) fn apply(&mut self, node: &[u8; 32]) {
        let (Some(kept), Some(effect)) = (&mut self.kept, &self.effect) else {
            return;
        };
        // The change itself is checked when its own event comes.
        match Payload::decode(effect.kind, &effect.payload) {
            Ok(Payload::Policy {
                version,
                digest,
                name,
            }) => {
                kept.policy = Some(PolicyFact {
                    version,
                    digest: *digest,
                    name: name.to_owned(),
                });
            }
            Ok(Payload::Validator(record)) if effect.kind == Kind::ValidatorAdded => {
                let _ = kept.roll.add(&record);
            }
            Ok(Payload::Validator(record)) if effect.kind == Kind::Readmitted => {
                let id = validator_id(record.key);
                let _ = kept.quarantines.readmit(&id, node, self.number);
            }
            Ok(Payload::Validator(record)) => {
                if kept.roll.remove(&record).is_ok() {
                    kept.reputations.remove(&record.slot);
                }
            }
            _ if effect.kind == Kind::Mode => kept.mode = effect.result,
            _ => {}
        }
    }
}

/// How many heads are remembered of a load whose beginning the TPM has not taken: it is told of one of the first.
const MAX_HEADS: usize = 4096;

/// How a load began, until ANCHORED says that the TPM was told: the last event that ANCHORED must cover, and those that came
/// after it.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// Number of that event.
    first: u64,
    /// The chain's value after it and after each further event, as far as they were noted.
    heads: Vec<[u8; 32]>,
    /// The anchor that was found, where the log has told it already.
    found: Option<[u8; 32]>,
}

impl Beginning {
    /// Of a load whose beginning ends with event `first`.
    pub(crate) fn new(first: u64, found: Option<[u8; 32]>) -> Self {
        Self {
            first,
            heads: Vec::new(),
            found,
        }
    }

    /// Notes the chain's value after the next event, `first` to begin with.
    pub(crate) fn note(&mut self, head: &[u8; 32]) {
        if self.heads.len() < MAX_HEADS {
            self.heads.push(*head);
        }
    }

    /// The chain's value after event `number`, if ANCHORED may name that.
    fn head(&self, number: u64) -> Option<&[u8; 32]> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.heads.get(at)
    }

    /// Number of the event with which the TPM was told, if that made the anchor this value; `last` is the anchor that the load
    /// before has left.
    pub(crate) fn told(&self, last: Option<&[u8; 32]>, anchor: &[u8; 32]) -> Option<u64> {
        let found = self.found.as_ref().or(last)?;
        (self.first..)
            .zip(&self.heads)
            .find(|(_, head)| engine::anchor::extended::<Sha256>(found, head) == *anchor)
            .map(|(number, _)| number)
    }
}

/// Staged and committed states of one load.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    /// The value of the counter, where the log tells.
    pub(crate) counter: Option<u64>,
    /// The anchor's value, where the log tells.
    pub(crate) anchor: Option<[u8; 32]>,
    /// What was staged and neither committed nor discarded.
    pub(crate) staged: Option<Staged>,
    /// The last commit.
    pub(crate) committed: Option<Staged>,
    /// A change that is committed and whose own event has not come yet.
    pub(crate) effect: Option<Effect>,
}

impl Anchors {
    /// Checks a STAGED event against what the TPM must hold, before the event is part of the chain.
    ///
    /// # Errors
    ///
    /// `staged_twice`, `change_missing`, `anchor_skipped`, `counter_skipped`.
    pub(crate) fn check_stage(&self, counter: u64, before: &[u8; 32]) -> Checked {
        if let Some(staged) = &self.staged {
            return Err(wrong(
                "staged_twice",
                format!("what event {} staged is still open", staged.number),
                "ANCHORED or DISCARDED",
            ));
        }
        self.settled()?;
        if let Some(anchor) = &self.anchor {
            same_digest(
                "anchor_skipped",
                "the anchor before this commit",
                before,
                anchor,
            )?;
        }
        if let Some(last) = self.counter {
            same(
                "counter_skipped",
                "the counter",
                counter,
                last.saturating_add(1),
            )?;
        }
        Ok(())
    }

    /// Demands that no committed change waits for its own event.
    ///
    /// # Errors
    ///
    /// `change_missing`.
    pub(crate) fn settled(&self) -> Checked {
        match &self.effect {
            Some(effect) => Err(wrong(
                "change_missing",
                "a change was committed and never made",
                effect.kind.name(),
            )),
            None => Ok(()),
        }
    }

    /// Notes what was staged. `head` is the chain's value after the event.
    pub(crate) fn stage(&mut self, mut staged: Staged, before: &[u8; 32]) {
        staged.anchor = engine::anchor::extended::<Sha256>(before, &staged.head);
        self.staged = Some(staged);
    }

    /// Takes an ANCHORED event.
    ///
    /// # Errors
    ///
    /// `anchored_unstaged`, `anchored_differs`, `anchor_differs`.
    pub(crate) fn commit(
        &mut self,
        counter: u64,
        number: u64,
        head: &[u8; 32],
        anchor: &[u8; 32],
    ) -> Checked {
        let Some(staged) = &self.staged else {
            return Err(wrong(
                "anchored_unstaged",
                "nothing is staged",
                "a STAGED event before it",
            ));
        };
        same(
            "anchored_differs",
            "the number of the STAGED event",
            number,
            staged.number,
        )?;
        same("anchored_differs", "the counter", counter, staged.counter)?;
        same_digest(
            "anchored_differs",
            "the head after the STAGED event",
            head,
            &staged.head,
        )?;
        same_digest("anchor_differs", "the anchor", anchor, &staged.anchor)?;
        self.counter = Some(counter);
        self.anchor = Some(*anchor);
        self.committed = self.staged.take();
        self.effect = self
            .committed
            .as_ref()
            .and_then(|committed| committed.effect.clone());
        Ok(())
    }

    /// Takes an ANCHORED event without STAGED: the TPM was told how the load began.
    ///
    /// # Errors
    ///
    /// `anchored_differs`, `anchor_differs`.
    pub(crate) fn begin(
        &mut self,
        beginning: &Beginning,
        epoch: u64,
        (counter, number): (u64, u64),
        head: &[u8; 32],
        anchor: &[u8; 32],
    ) -> Checked {
        same("anchored_differs", "the counter", counter, epoch)?;
        let Some(known) = beginning.head(number) else {
            return Err(wrong(
                "anchored_differs",
                format!("the number of the last event that it covers is {number}"),
                format!("{}, or of an event since", beginning.first),
            ));
        };
        same_digest("anchored_differs", "the head after that", head, known)?;
        if let Some(found) = &beginning.found {
            let extended = engine::anchor::extended::<Sha256>(found, head);
            same_digest("anchor_differs", "the anchor", anchor, &extended)?;
        }
        self.counter = Some(counter);
        self.anchor = Some(*anchor);
        self.committed = Some(Staged {
            number,
            head: *head,
            counter,
            anchor: *anchor,
            effect: None,
            is_state: false,
            kept: None,
        });
        Ok(())
    }

    /// Takes the event that makes a committed change effective.
    ///
    /// # Errors
    ///
    /// `not_anchored` when nothing was committed, `change_differs` when something else was.
    pub(crate) fn make(&mut self, kind: Kind, result: u16, payload: &[u8]) -> Checked {
        let Some(effect) = &self.effect else {
            return Err(wrong(
                "not_anchored",
                "the TPM was never told of this change",
                "STAGED and ANCHORED before it",
            ));
        };
        if effect.kind != kind || effect.result != result || effect.payload != payload {
            return Err(wrong(
                "change_differs",
                "another change was committed",
                effect.kind.name(),
            ));
        }
        self.effect = None;
        Ok(())
    }

    /// Takes back what was staged.
    ///
    /// # Errors
    ///
    /// `discarded_unstaged`.
    pub(crate) fn discard(&mut self) -> Checked {
        match self.staged.take() {
            Some(_) => Ok(()),
            None => Err(wrong(
                "discarded_unstaged",
                "nothing is staged",
                "a STAGED event before it",
            )),
        }
    }
}
