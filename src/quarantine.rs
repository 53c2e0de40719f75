// SPDX-License-Identifier: GPL-2.0

//! Quarantine: the validators whose fault is proven, or was once.
//!
//! See "Quarantine" in `Documentation/byzantine.rst`. All room is there from the start, since this is
//! used under the lock of [`crate::books::Books`]; evidence is allocated before that is taken.

use crate::{
    engine::{
        byzantine::Fault,
        evidence::Evidence,
        limits,
        quarantine::Record,
        refusal::Refusal,
        state::{
            Kept,
            State, //
        }, //
    },
    ledger::KernelDigest,
    validator::{
        Validator,
        ValidatorSet, //
    }, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::Arc, //
};

/// Evidence whose signatures verify.
pub(crate) struct Proof {
    /// How the two votes contradict each other.
    pub(crate) fault: Fault,
    /// The evidence.
    pub(crate) bytes: KVec<u8>,
}

impl Proof {
    /// A copy of evidence whose signatures the caller has verified.
    ///
    /// # Errors
    ///
    /// Those of [`Evidence::decode`], and [`Refusal::NoMemory`].
    pub(crate) fn new(evidence: &[u8]) -> Result<Arc<Self>, Refusal> {
        let fault = Evidence::decode::<KernelDigest>(evidence)?.fault;
        let mut bytes = KVec::new();
        bytes
            .extend_from_slice(evidence, GFP_KERNEL)
            .map_err(|_| Refusal::NoMemory)?;
        Arc::new(Self { fault, bytes }, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
    }

    /// The evidence, decoded.
    ///
    /// # Errors
    ///
    /// None: it was decoded before.
    pub(crate) fn evidence(&self) -> Result<Evidence<'_>, Refusal> {
        Evidence::decode::<KernelDigest>(&self.bytes)
    }
}

/// A validator that was quarantined once.
#[derive(Clone)]
pub(crate) struct Case {
    /// Where it stands.
    pub(crate) record: Record,
    /// What proves its fault; `None` when it was readmitted.
    pub(crate) proof: Option<Arc<Proof>>,
    /// Weight of the validator, 0 when it is not enrolled.
    weight: u32,
}

impl Case {
    /// As a state has it.
    pub(crate) fn kept(&self) -> Kept<'_> {
        Kept {
            record: self.record.clone(),
            evidence: self.proof.as_ref().map_or(&[], |proof| &proof.bytes),
        }
    }

    /// Whether it is an enrolled validator whose votes do not count.
    fn is_barred(&self) -> bool {
        self.record.is_quarantined() && self.weight != 0
    }
}

/// All cases.
pub(crate) struct Quarantine {
    cases: KVVec<Case>,
    /// Number of the last event by which somebody was quarantined in this load, 0 when nobody was.
    latest: u64,
}

impl Quarantine {
    /// Nobody, with room for everybody: each case had a slot of its own.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Ok(Self {
            cases: KVVec::with_capacity(limits::VALIDATORS, GFP_KERNEL)?,
            latest: 0,
        })
    }

    /// What a state has of those that `set` has, or had.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`].
    pub(crate) fn restore(state: &State<'_>, set: &ValidatorSet) -> Result<Self, Refusal> {
        let mut quarantine = Self::new().map_err(|_| Refusal::NoMemory)?;
        for kept in state.quarantine() {
            let proof = match kept.evidence {
                [] => None,
                evidence => Some(Proof::new(evidence)?),
            };
            let enrolled = set.by_id(kept.record.validator());
            quarantine.push(Case {
                weight: enrolled.map_or(0, |validator| validator.weight),
                record: kept.record,
                proof,
            });
        }
        Ok(quarantine)
    }

    /// Adds a case. There is room: see [`Quarantine::new`].
    fn push(&mut self, case: Case) {
        let _ = self.cases.push_within_capacity(case);
    }

    /// Becomes a copy of `other`. Does not allocate.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.cases.clear();
        for case in &other.cases {
            self.push(case.clone());
        }
    }

    /// The cases in ascending order of slot, as a state has them.
    pub(crate) fn sorted(&mut self) -> impl Iterator<Item = &Case> {
        self.cases.sort_unstable_by_key(|case| case.record.slot());
        self.cases.iter()
    }

    /// What is known of the validator of that id.
    pub(crate) fn find(&self, validator: &[u8; 32]) -> Option<&Case> {
        self.cases
            .iter()
            .find(|case| case.record.validator() == validator)
    }

    fn find_mut(&mut self, validator: &[u8; 32]) -> Option<&mut Case> {
        self.cases
            .iter_mut()
            .find(|case| case.record.validator() == validator)
    }

    /// Whether the validator of that id is quarantined.
    pub(crate) fn holds(&self, validator: &[u8; 32]) -> bool {
        self.find(validator)
            .is_some_and(|case| case.record.is_quarantined())
    }

    /// What the validator of that id is quarantined for.
    pub(crate) fn fault(&self, validator: &[u8; 32]) -> Option<Fault> {
        let proof = self.find(validator)?.proof.as_ref()?;
        Some(proof.fault)
    }

    /// The case with the lowest slot above `slot` whose validator is quarantined, enrolled or not.
    pub(crate) fn next_after(&self, slot: u64) -> Option<&Case> {
        self.cases
            .iter()
            .filter(|case| case.record.is_quarantined() && u64::from(case.record.slot()) > slot)
            .min_by_key(|case| case.record.slot())
    }

    /// Slots and weights of the enrolled validators whose votes do not count.
    pub(crate) fn barred(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.cases
            .iter()
            .filter(|case| case.is_barred())
            .map(|case| (case.record.slot(), case.weight))
    }

    /// Number of those, and the sum of their weights.
    pub(crate) fn total(&self) -> (usize, u64) {
        self.barred().fold((0, 0), |(count, sum), (_, weight)| {
            (count + 1, sum.saturating_add(u64::from(weight)))
        })
    }

    /// Says whether the evidence leads to a quarantine.
    ///
    /// # Errors
    ///
    /// [`Refusal::EvidenceKnown`], [`Refusal::EvidenceExpired`].
    pub(crate) fn check(&self, evidence: &Evidence<'_>) -> Result<(), Refusal> {
        match self.find(evidence.validator()) {
            Some(case) => case.record.check(evidence),
            None => Ok(()),
        }
    }

    /// Whether everybody was quarantined before event `number`, or in an earlier load.
    pub(crate) fn is_older_than(&self, number: u64) -> bool {
        self.latest < number
    }

    /// Quarantines a validator since event `number`.
    pub(crate) fn convict(&mut self, validator: &Validator, number: u64, proof: &Arc<Proof>) {
        self.latest = number;
        self.note(validator, number, proof);
    }

    /// Notes the event `number` that tells of a quarantine, new or not.
    pub(crate) fn note(&mut self, validator: &Validator, number: u64, proof: &Arc<Proof>) {
        match self.find_mut(&validator.id) {
            Some(case) => {
                case.record.quarantine(validator.slot, number);
                case.proof = Some(proof.clone());
                case.weight = validator.weight;
            }
            None => self.push(Case {
                record: Record::new(&validator.id, validator.slot, number),
                proof: Some(proof.clone()),
                weight: validator.weight,
            }),
        }
    }

    /// Says whether the quarantine of the validator of that id may be ended, when the own entry of `node`
    /// is `entry`.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorTrusted`], [`Refusal::ReadmitLimit`].
    pub(crate) fn may_readmit(
        &self,
        validator: &[u8; 32],
        node: &[u8; 32],
        entry: u64,
    ) -> Result<(), Refusal> {
        let case = self.find(validator).ok_or(Refusal::ValidatorTrusted)?;
        let proof = case.proof.as_ref().ok_or(Refusal::ValidatorTrusted)?;
        case.record.may_readmit(node, entry, &proof.evidence()?)
    }

    /// Ends the quarantine of the validator of that id, when the own entry of `node` is `entry`.
    /// Returns what has to be freed outside the lock. Does nothing when [`Quarantine::may_readmit`]
    /// would refuse it.
    pub(crate) fn readmit(
        &mut self,
        validator: &[u8; 32],
        node: &[u8; 32],
        entry: u64,
    ) -> Option<Arc<Proof>> {
        let case = self.find_mut(validator)?;
        let evidence = case.proof.as_ref()?.evidence().ok()?;
        case.record.readmit(node, entry, &evidence).ok()?;
        case.proof.take()
    }

    /// Notes that the validator of that id is not enrolled any more. What it did is kept.
    pub(crate) fn removed(&mut self, validator: &[u8; 32]) {
        if let Some(case) = self.find_mut(validator) {
            case.weight = 0;
        }
    }
}
