// SPDX-License-Identifier: GPL-2.0

//! Validators: whose signatures count, and for how much.

use crate::{
    abi::{
        sha256,
        sig::{
            PublicKey,
            VerifyError, //
        }, //
    },
    engine::{
        governance::{
            ValidatorRecord,
            KEY_LEN, //
        },
        limits,
        quorum::Electorate,
        refusal::Refusal,
        state::State,
        vote::SignedVote, //
    },
    name::Name, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};

/// One enrolled validator.
pub(crate) struct Validator {
    /// Place in the vector clock, 1 to 128.
    pub(crate) slot: u16,
    /// What its vote weighs.
    pub(crate) weight: u32,
    /// What people call it.
    pub(crate) name: Name,
    /// Digest of the key: what votes call it.
    pub(crate) id: [u8; 32],
    /// Uncompressed point.
    pub(crate) key: [u8; KEY_LEN],
    /// The key, set up to verify.
    pub(crate) public: PublicKey,
    /// Votes accepted.
    pub(crate) accepted: Atomic<u64>,
}

impl Validator {
    /// Sets a validator up.
    fn new(
        slot: u16,
        name: Name,
        key: &[u8; KEY_LEN],
        weight: u32,
        accepted: u64,
    ) -> Result<Arc<Self>, Refusal> {
        let public = PublicKey::new_p256(key).map_err(|error| {
            if error == ENOMEM {
                Refusal::NoMemory
            } else {
                Refusal::ValidatorKey
            }
        })?;
        let validator = Self {
            slot,
            weight,
            name,
            id: sha256::digest(&[key]),
            key: *key,
            public,
            accepted: Atomic::new(accepted),
        };
        Arc::new(validator, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
    }

    /// Checks that this validator has signed a vote.
    ///
    /// Takes milliseconds: not under a lock.
    ///
    /// # Errors
    ///
    /// `forged` when it has not, [`Refusal::NoMemory`].
    pub(crate) fn verify(&self, vote: &SignedVote<'_>, forged: Refusal) -> Result<(), Refusal> {
        self.public
            .verify(&sha256::digest(&[vote.signed]), vote.signature)
            .map_err(|error| match error {
                VerifyError::Malformed | VerifyError::Mismatch => forged,
                VerifyError::Kernel(_) => Refusal::NoMemory,
            })
    }

    /// As events carry it.
    pub(crate) fn record(&self) -> ValidatorRecord<'_> {
        ValidatorRecord {
            slot: self.slot,
            weight: self.weight,
            name: self.name.as_str(),
            key: &self.key,
        }
    }
}

/// All validators enrolled at one time. A change makes a new set, so that whoever holds one sees
/// weights that stay.
pub(crate) struct ValidatorSet {
    list: KVec<Arc<Validator>>,
    electorate: Electorate,
}

impl ValidatorSet {
    /// Nobody.
    // Not part of the stack frame that the module is loaded in.
    #[inline(never)]
    pub(crate) fn empty() -> Result<Arc<Self>, AllocError> {
        Arc::new(
            Self {
                list: KVec::new(),
                electorate: Electorate::new(),
            },
            GFP_KERNEL,
        )
    }

    /// Everybody, in ascending order of slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Validator>> {
        self.list.iter()
    }

    /// Number of validators.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Sum of all weights.
    pub(crate) fn total(&self) -> u64 {
        self.electorate.total()
    }

    /// The validator of that id.
    pub(crate) fn by_id(&self, id: &[u8; 32]) -> Option<&Arc<Validator>> {
        self.list.iter().find(|validator| validator.id == *id)
    }

    /// The validator of that name.
    pub(crate) fn by_name(&self, name: &[u8]) -> Option<&Arc<Validator>> {
        self.list
            .iter()
            .find(|validator| validator.name.as_bytes() == name)
    }

    /// Sets up a validator that could be enrolled here, without enrolling it.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorName`], [`Refusal::ValidatorKey`], [`Refusal::ValidatorDuplicate`],
    /// [`Refusal::ValidatorLimit`], [`Refusal::ValidatorWeight`], [`Refusal::NoMemory`].
    pub(crate) fn candidate(
        &self,
        name: &[u8],
        key: &[u8; KEY_LEN],
        weight: u32,
    ) -> Result<Arc<Validator>, Refusal> {
        let name = Name::new(name).ok_or(Refusal::ValidatorName)?;
        if self.by_name(name.as_bytes()).is_some() || self.by_id(&sha256::digest(&[key])).is_some()
        {
            return Err(Refusal::ValidatorDuplicate);
        }
        if self.len() >= limits::VALIDATORS {
            return Err(Refusal::ValidatorLimit);
        }
        let slot = self.electorate.next_slot().ok_or(Refusal::ValidatorLimit)?;
        self.electorate.check_weight(weight)?;
        Validator::new(slot, name, key, weight, 0)
    }

    /// The set that a state has; it was decoded, so names, keys and weights are in order.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorKey`], [`Refusal::StateMalformed`], [`Refusal::NoMemory`].
    pub(crate) fn restore(state: &State<'_>) -> Result<Arc<Self>, Refusal> {
        let mut set = Self {
            list: KVec::new(),
            electorate: Electorate::new(),
        };
        for validator in state.validators() {
            let record = &validator.record;
            let name = Name::new(record.name.as_bytes()).ok_or(Refusal::StateMalformed)?;
            let accepted = validator.accepted;
            let validator = Validator::new(record.slot, name, record.key, record.weight, accepted)?;
            set.electorate.add(validator.slot, validator.weight)?;
            set.list
                .push(validator, GFP_KERNEL)
                .map_err(|_| Refusal::NoMemory)?;
        }
        set.electorate.use_slots(state.slots);
        Arc::new(set, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
    }

    /// Slots that were ever given out, see [`Electorate::used`].
    pub(crate) fn used_slots(&self) -> u128 {
        self.electorate.used()
    }

    /// The set with one more.
    pub(crate) fn with(&self, validator: &Arc<Validator>) -> Result<Arc<Self>, Refusal> {
        let mut set = self.copy()?;
        set.electorate.add(validator.slot, validator.weight)?;
        set.list
            .push(validator.clone(), GFP_KERNEL)
            .map_err(|_| Refusal::NoMemory)?;
        Arc::new(set, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
    }

    /// The set with one less.
    pub(crate) fn without(&self, validator: &Validator) -> Result<Arc<Self>, Refusal> {
        let mut set = self.copy()?;
        set.electorate.remove(validator.slot)?;
        set.list.retain(|other| other.slot != validator.slot);
        Arc::new(set, GFP_KERNEL).map_err(|_| Refusal::NoMemory)
    }

    fn copy(&self) -> Result<Self, Refusal> {
        let mut list = KVec::new();
        for validator in &self.list {
            list.push(validator.clone(), GFP_KERNEL)
                .map_err(|_| Refusal::NoMemory)?;
        }
        Ok(Self {
            list,
            electorate: self.electorate.clone(),
        })
    }
}
