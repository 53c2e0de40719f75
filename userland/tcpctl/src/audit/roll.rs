// SPDX-License-Identifier: GPL-2.0

//! Who may vote, as the log has enrolled them so far.

use std::collections::BTreeMap;

use engine::{
    clock::NodeClock,
    governance::{
        ValidatorRecord,
        KEY_LEN, //
    },
    quorum::Electorate, //
};

use super::fault::{
    same,
    wrong,
    Checked, //
};
use crate::{
    crypto,
    output::clean, //
};

/// One validator.
#[derive(Debug, Clone)]
pub(crate) struct Validator {
    /// Its weight.
    pub(crate) weight: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its public key.
    pub(crate) key: [u8; KEY_LEN],
    /// The digest of the key.
    pub(crate) id: [u8; 32],
    /// The clock of its last accepted vote, zeros at first.
    pub(crate) last: NodeClock,
}

impl Validator {
    /// Whether a record is about this validator.
    fn is(&self, record: &ValidatorRecord<'_>) -> bool {
        self.weight == record.weight && self.name == record.name && self.key == *record.key
    }
}

/// All validators.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roll {
    electorate: Electorate,
    validators: BTreeMap<u16, Validator>,
}

impl Roll {
    /// Whether nobody is enrolled.
    pub(crate) fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// How many are enrolled.
    pub(crate) fn count(&self) -> usize {
        self.validators.len()
    }

    /// Sum of the weights.
    pub(crate) fn total(&self) -> u64 {
        self.electorate.total()
    }

    /// Everybody, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Validator)> {
        self.validators
            .iter()
            .map(|(&slot, validator)| (slot, validator))
    }

    /// The validator in a slot.
    pub(crate) fn get(&self, slot: u16) -> Option<&Validator> {
        self.validators.get(&slot)
    }

    /// The validator with an id.
    pub(crate) fn by_id(&self, id: &[u8; 32]) -> Option<(u16, &Validator)> {
        self.iter().find(|(_, validator)| validator.id == *id)
    }

    /// Notes the clock of a validator.
    pub(crate) fn hear(&mut self, slot: u16, clock: &[u8]) -> Checked {
        let validator = self.validators.get_mut(&slot).ok_or_else(|| {
            wrong(
                "clock_of_nobody",
                format!("slot {slot} has no validator"),
                "the slot of a validator",
            )
        })?;
        validator.last.decode(clock).map_err(|error| {
            wrong(
                "event_malformed",
                error.to_string(),
                "a clock of at most 129 slots",
            )
        })
    }

    /// Enrols a validator.
    ///
    /// # Errors
    ///
    /// `validator_slot`, `validator_duplicate`, `validator_weight`, `validator_key`.
    pub(crate) fn add(&mut self, record: &ValidatorRecord<'_>) -> Checked {
        let slot = record.slot;
        let bit = 1u128
            .checked_shl(u32::from(slot).saturating_sub(1))
            .unwrap_or(0);
        if self.electorate.used() & bit != 0 {
            return Err(wrong(
                "validator_slot",
                format!("slot {slot} was given out before"),
                "a slot that nobody had",
            ));
        }
        let id = crypto::validator_id(record.key);
        if let Some((other, _)) = self
            .iter()
            .find(|(_, of)| of.id == id || of.name == record.name)
        {
            return Err(wrong(
                "validator_duplicate",
                format!(
                    "{} has the key or the name of slot {other}",
                    clean(record.name.as_bytes())
                ),
                "a new key and a new name",
            ));
        }
        if p256::PublicKey::from_sec1_bytes(record.key).is_err() {
            return Err(wrong(
                "validator_key",
                "the key is no point of P-256",
                "a public key",
            ));
        }
        self.electorate.add(slot, record.weight).map_err(|_| {
            wrong(
                "validator_weight",
                format!(
                    "weight {} on top of {}",
                    record.weight,
                    self.electorate.total()
                ),
                "a sum of at most 4294967295",
            )
        })?;
        self.validators.insert(
            slot,
            Validator {
                weight: record.weight,
                name: record.name.to_owned(),
                key: *record.key,
                id,
                last: NodeClock::new(),
            },
        );
        Ok(())
    }

    /// Demands that a validator is enrolled as a record says.
    ///
    /// # Errors
    ///
    /// `validator_unknown`.
    pub(crate) fn check(&self, record: &ValidatorRecord<'_>) -> Checked {
        let known = self
            .get(record.slot)
            .is_some_and(|validator| validator.is(record));
        if !known {
            return Err(wrong(
                "validator_unknown",
                format!(
                    "{} in slot {} is not enrolled so",
                    clean(record.name.as_bytes()),
                    record.slot
                ),
                "a validator as it was enrolled",
            ));
        }
        Ok(())
    }

    /// Removes a validator.
    ///
    /// # Errors
    ///
    /// `validator_unknown`.
    pub(crate) fn remove(&mut self, record: &ValidatorRecord<'_>) -> Checked {
        self.check(record)?;
        self.validators.remove(&record.slot);
        // It was there, so it has a weight.
        let _ = self.electorate.remove(record.slot);
        Ok(())
    }

    /// Demands that this is what a state held, with their clocks.
    ///
    /// # Errors
    ///
    /// `restored_validator`.
    pub(crate) fn same_as(&self, kept: &Self) -> Checked {
        same(
            "restored_validator",
            "the number of validators",
            self.count(),
            kept.count(),
        )?;
        for (slot, validator) in kept.iter() {
            let same = self.get(slot).is_some_and(|found| {
                found.weight == validator.weight
                    && found.name == validator.name
                    && found.key == validator.key
                    && found.last == validator.last
            });
            if !same {
                return Err(wrong(
                    "restored_validator",
                    format!(
                        "slot {slot} is not {} with the weight, key and clock of before",
                        clean(validator.name.as_bytes())
                    ),
                    "the validators that the state held",
                ));
            }
        }
        Ok(())
    }
}
