// SPDX-License-Identifier: GPL-2.0

//! Who is quarantined, on which evidence, and who was readmitted.

use std::collections::BTreeMap;

use engine::{
    event::Header,
    evidence::Evidence,
    quarantine::Record,
    refusal::Refusal,
    state, //
};

use super::{
    fault::{
        same,
        wrong,
        Checked,
        Wrong, //
    },
    roll::Roll, //
};
use crate::crypto::{
    self,
    Sha256, //
};

/// A validator that was quarantined once.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What the kernel remembers of it.
    pub(crate) record: Record,
    /// The evidence; nothing once it was readmitted.
    pub(crate) evidence: Vec<u8>,
}

/// Everybody who was ever quarantined, by the digest of the key: a removal does not end it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quarantines {
    cases: BTreeMap<[u8; 32], Case>,
    /// Whether there may be others, removed or readmitted, in loads that the log does not have.
    is_partial: bool,
}

/// Makes a fault of a refusal that the kernel should have given to evidence, or to a readmission.
fn refused(refusal: Refusal) -> Wrong {
    wrong(
        refusal.name(),
        "the kernel does not take it",
        "what byzantine.rst allows",
    )
}

/// Checks what evidence proves by itself.
///
/// # Errors
///
/// `evidence_malformed`, `evidence_none`, `evidence_forged`; `event_header` when the event names another fault.
pub(crate) fn check_evidence<'a>(header: &Header, bytes: &'a [u8]) -> Checked<Evidence<'a>> {
    let evidence = decode(header, bytes)?;
    check_signatures(&evidence)?;
    Ok(evidence)
}

fn decode<'a>(header: &Header, bytes: &'a [u8]) -> Checked<Evidence<'a>> {
    let evidence = Evidence::decode::<Sha256>(bytes).map_err(refused)?;
    let fault = evidence.fault as u16;
    same(
        "event_header",
        "the kind of the fault",
        header.result,
        fault,
    )?;
    Ok(evidence)
}

fn check_signatures(evidence: &Evidence<'_>) -> Checked {
    for vote in [&evidence.first, &evidence.second] {
        if !crypto::verify(evidence.key, vote.signed, vote.signature) {
            return Err(wrong(
                Refusal::EvidenceForged.name(),
                "a signature in the evidence does not verify",
                "two signatures by the validator's key",
            ));
        }
    }
    Ok(())
}

impl Quarantines {
    /// Those of a load that goes on from a state which the log does not tell of.
    pub(crate) fn unknown() -> Self {
        Self {
            is_partial: true,
            ..Self::default()
        }
    }

    /// Whether a state holds these.
    pub(crate) fn are(&self, known: &[state::Kept<'_>], roll: &Roll) -> bool {
        let find = |id: &[u8; 32]| known.iter().find(|kept| kept.record.validator() == id);
        let all = self.cases.iter().all(|(id, case)| {
            find(id).is_some_and(|kept| {
                kept.evidence == case.evidence
                    && kept.record.standing() == case.record.standing()
                    && (self.is_partial || kept.record == case.record)
            })
        });
        all && known.iter().all(|kept| {
            let id = kept.record.validator();
            let hidden = !kept.record.is_quarantined() || roll.by_id(id).is_none();
            self.cases.contains_key(id) || (self.is_partial && hidden)
        })
    }

    /// The case of that key.
    pub(crate) fn get(&self, id: &[u8; 32]) -> Option<&Case> {
        self.cases.get(id)
    }

    /// Whether that key is quarantined.
    pub(crate) fn has(&self, id: &[u8; 32]) -> bool {
        self.get(id)
            .is_some_and(|case| case.record.is_quarantined())
    }

    /// Slots and weights of those who are enrolled and quarantined.
    pub(crate) fn barred<'a>(&'a self, roll: &'a Roll) -> impl Iterator<Item = (u16, u32)> + 'a {
        roll.iter()
            .filter(|(_, validator)| self.has(&validator.id))
            .map(|(slot, validator)| (slot, validator.weight))
    }

    /// QUARANTINED.
    ///
    /// # Errors
    ///
    /// The refusals of evidence in the order of `byzantine.rst`, and `event_header`.
    pub(crate) fn quarantine(&mut self, header: &Header, bytes: &[u8], roll: &Roll) -> Checked {
        let evidence = decode(header, bytes)?;
        let id = evidence.validator();
        let (slot, _) = roll
            .by_id(id)
            .ok_or_else(|| refused(Refusal::EvidenceUnknown))?;
        same("event_header", "the slot", header.slot, slot)?;
        if let Some(case) = self.get(id) {
            case.record.check(&evidence).map_err(refused)?;
        }
        check_signatures(&evidence)?;
        let case = self.cases.entry(*id).or_insert_with(|| Case {
            record: Record::new(id, slot, header.number),
            evidence: Vec::new(),
        });
        case.record.quarantine(slot, header.number);
        case.evidence = bytes.to_vec();
        Ok(())
    }

    /// QUARANTINED after RESTORED: what the state held. `kept` says whether it is known what that is.
    ///
    /// # Errors
    ///
    /// As for [`Quarantines::quarantine`], and `restored_quarantine`.
    pub(crate) fn restore(
        &mut self,
        header: &Header,
        bytes: &[u8],
        roll: &Roll,
        kept: bool,
    ) -> Checked {
        if !kept {
            return self.quarantine(header, bytes, roll);
        }
        let evidence = decode(header, bytes)?;
        let enrolled = roll.by_id(evidence.validator()).map(|(slot, _)| slot);
        let case = self
            .cases
            .get_mut(evidence.validator())
            .filter(|case| case.record.is_quarantined() && case.evidence == bytes)
            .filter(|_| enrolled == Some(header.slot))
            .ok_or_else(|| {
                wrong(
                    "restored_quarantine",
                    format!("slot {} is quarantined on this evidence", header.slot),
                    "the quarantine that the state held",
                )
            })?;
        case.record.quarantine(header.slot, header.number);
        Ok(())
    }

    /// READMITTED.
    ///
    /// # Errors
    ///
    /// `validator_trusted`, `readmit_limit`.
    pub(crate) fn readmit(&mut self, id: &[u8; 32], node: &[u8; 32], number: u64) -> Checked {
        let case = self
            .cases
            .get_mut(id)
            .ok_or_else(|| refused(Refusal::ValidatorTrusted))?;
        let Case { record, evidence } = case;
        if !record.is_quarantined() {
            return Err(refused(Refusal::ValidatorTrusted));
        }
        let of = Evidence::decode::<Sha256>(evidence).map_err(refused)?;
        record.readmit(node, number, &of).map_err(refused)?;
        evidence.clear();
        Ok(())
    }
}
