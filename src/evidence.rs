// SPDX-License-Identifier: GPL-2.0

//! Evidence: how a proven fault of a validator ends in its quarantine.
//!
//! See `Documentation/byzantine.rst`. Nothing but what a validator has signed ever harms it.

use crate::{
    abi::clock,
    counter::Counter,
    engine::{
        byzantine::Fault,
        evidence::{
            Evidence,
            MAX_LEN, //
        },
        refusal::Refusal, //
    },
    ledger::KernelDigest,
    limiter::Sender,
    node::Node,
    quarantine::Proof,
    validator::Validator, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Room for evidence, to be allocated before the books are locked.
pub(crate) fn room() -> Result<KVec<u8>, Refusal> {
    KVec::from_elem(0, MAX_LEN, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
}

impl Node {
    /// Takes evidence that a task of user `uid` has handed in; returns whom it has convicted, and of
    /// what.
    ///
    /// What is cheap is checked first, and the signatures last and outside every lock. What is refused
    /// counts against whoever handed it in.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the first step that fails, in the order of "Detection" in
    /// `Documentation/byzantine.rst`; [`Refusal::RateLimited`] before any of them.
    pub(crate) fn submit_evidence(
        &self,
        bytes: &[u8],
        uid: u32,
    ) -> Result<(Arc<Validator>, Fault), Refusal> {
        let sender = Sender::User(uid);
        let now = clock::boottime_ms();
        let result = if self.books.lock().ledger.voters.may(sender, now) {
            self.try_evidence(bytes)
        } else {
            Err(Refusal::RateLimited)
        };
        if let Err(refusal) = &result {
            self.counters.bump(Counter::EvidenceRefused);
            // Who has used his tokens up has none to lose; that memory is lacking is not the sender's doing.
            if *refusal != Refusal::NoMemory {
                let _ = self.books.lock().ledger.voters.take(sender, now);
            }
            if *refusal == Refusal::EvidenceForged {
                self.control_refused(*refusal, "evidence-submit");
            }
        }
        result
    }

    fn try_evidence(&self, bytes: &[u8]) -> Result<(Arc<Validator>, Fault), Refusal> {
        let evidence = Evidence::decode::<KernelDigest>(bytes)?;
        let set = self.validators();
        let validator = set
            .by_id(evidence.validator())
            .ok_or(Refusal::EvidenceUnknown)?;
        self.books.lock().quarantine.check(&evidence)?;
        for vote in [&evidence.first, &evidence.second] {
            validator.verify(vote, Refusal::EvidenceForged)?;
        }
        let fault = self.convict(validator, bytes)?;
        Ok((validator.clone(), fault))
    }

    /// Quarantines a validator for a fault that `evidence` proves; the caller has verified both
    /// signatures. Much may have happened meanwhile, so everything else is checked again.
    ///
    /// # Errors
    ///
    /// [`Refusal::EvidenceUnknown`], [`Refusal::EvidenceKnown`], [`Refusal::EvidenceExpired`],
    /// [`Refusal::NoMemory`].
    pub(crate) fn convict(&self, validator: &Validator, evidence: &[u8]) -> Result<Fault, Refusal> {
        let proof = Proof::new(evidence)?;
        let convicted = self.books.lock().convict(validator, &proof);
        let closed = convicted?;
        self.counters.bump(Counter::Quarantined);
        self.closed(&closed);
        self.recorded();
        pr_warn!(
            "validator {} is quarantined: {}\n",
            validator.name.as_str(),
            proof.fault.name()
        );
        Ok(proof.fault)
    }
}
