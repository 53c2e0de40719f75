// SPDX-License-Identifier: GPL-2.0

//! What governance requests ask for: the DETAIL fact, and the records of validators.

use super::limits;
use super::name::is_name;
use super::op::Op;
use super::refusal::Refusal;
use super::wire::{
    self,
    Error,
    Reader,
    Writer, //
};

/// Bytes of a public key: the uncompressed point `04 || X || Y`.
pub const KEY_LEN: usize = 65;

/// Longest detail, in bytes: that of VALIDATOR.
pub const MAX_DETAIL: usize = 1 + 4 + 1 + limits::NAME + KEY_LEN;

/// Longest validator record, in bytes.
pub const MAX_VALIDATOR_RECORD: usize = 2 + 4 + 1 + limits::NAME + KEY_LEN;

/// First byte of an uncompressed point.
pub(super) const UNCOMPRESSED: u8 = 4;

/// Takes a `str8` that is a name.
pub(super) fn take_name<'a>(reader: &mut Reader<'a>, field: &'static str) -> wire::Result<&'a str> {
    let name = reader.str8(field)?;
    if is_name(name.as_bytes()) {
        Ok(name)
    } else {
        Err(Error::Field(field))
    }
}

/// Appends a `str8` that is a name.
pub(super) fn put_name(out: &mut Writer<'_>, name: &str, field: &'static str) -> wire::Result {
    if !is_name(name.as_bytes()) {
        return Err(Error::Field(field));
    }
    out.str8(name)
}

/// Appends the detail of an action on a validator that needs only its name.
fn put_named(out: &mut Writer<'_>, action: u8, name: &str) -> wire::Result {
    out.u8(action)?;
    out.u32(0)?;
    put_name(out, name, "validator name")?;
    out.zeros(KEY_LEN)
}

/// Returns the code of a [`Refusal`] as it is, and refuses any other number.
fn known_reason(code: u16) -> wire::Result<u16> {
    Refusal::from_code(code)
        .map(Refusal::code)
        .ok_or(Error::Field("reason"))
}

/// Whether the module enforces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Mode {
    /// What would be refused is only recorded.
    Permissive = 1,
    /// What policy refuses fails.
    Enforce = 2,
}

impl Mode {
    /// Returns the mode of that number.
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Permissive),
            2 => Some(Self::Enforce),
            _ => None,
        }
    }

    /// Name for display: `permissive` or `enforce`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Permissive => "permissive",
            Self::Enforce => "enforce",
        }
    }
}

/// The DETAIL fact of a governance request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Detail<'a> {
    /// Enrol a validator.
    AddValidator {
        /// Weight, at least 1.
        weight: u32,
        /// Name, 1 to 32 of `[A-Za-z0-9._-]`.
        name: &'a str,
        /// Public key. That it is a point of the curve is for whoever loads it to check.
        key: &'a [u8; KEY_LEN],
    },
    /// Remove a validator.
    RemoveValidator {
        /// Its name.
        name: &'a str,
    },
    /// End the quarantine of a validator.
    ReadmitValidator {
        /// Its name.
        name: &'a str,
    },
    /// Change the mode.
    Mode(Mode),
    /// Let the module be unloaded.
    Unload,
    /// Take an authentic state that is not current.
    Recover {
        /// Why it is not: the code of a [`Refusal`].
        reason: u16,
        /// The counter in the state.
        state: u64,
        /// The counter that was found.
        found: u64,
    },
}

impl<'a> Detail<'a> {
    /// The operation that has this detail.
    pub fn op(&self) -> Op {
        match self {
            Self::AddValidator { .. }
            | Self::RemoveValidator { .. }
            | Self::ReadmitValidator { .. } => Op::Validator,
            Self::Mode(_) => Op::Mode,
            Self::Unload => Op::Unload,
            Self::Recover { .. } => Op::Recover,
        }
    }

    /// Decodes the detail of a request for `op`.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`], also for an operation that has no detail.
    pub fn decode(op: Op, bytes: &'a [u8]) -> wire::Result<Self> {
        let mut reader = Reader::new(bytes);
        let detail = match op {
            Op::Validator => Self::decode_validator(&mut reader)?,
            Op::Mode => Self::Mode(Mode::from_u8(reader.u8()?).ok_or(Error::Field("mode"))?),
            Op::Unload => match reader.u8()? {
                1 => Self::Unload,
                _ => return Err(Error::Field("unload")),
            },
            Op::Recover => Self::Recover {
                reason: known_reason(reader.u16()?)?,
                state: reader.u64()?,
                found: reader.u64()?,
            },
            _ => return Err(Error::Field("operation")),
        };
        reader.end()?;
        Ok(detail)
    }

    /// Decodes the detail of VALIDATOR.
    fn decode_validator(reader: &mut Reader<'a>) -> wire::Result<Self> {
        let action = reader.u8()?;
        let weight = reader.u32()?;
        let name = take_name(reader, "validator name")?;
        let key = reader.array()?;
        match action {
            1 if weight == 0 => Err(Error::Field("weight")),
            1 if key.first() != Some(&UNCOMPRESSED) => Err(Error::Field("public key")),
            1 => Ok(Self::AddValidator { weight, name, key }),
            2 | 3 if weight != 0 => Err(Error::Field("weight")),
            2 | 3 if key.iter().any(|&b| b != 0) => Err(Error::Field("public key")),
            2 => Ok(Self::RemoveValidator { name }),
            3 => Ok(Self::ReadmitValidator { name }),
            _ => Err(Error::Field("action")),
        }
    }

    /// Encodes the detail and returns its length, at most [`MAX_DETAIL`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a value that could not be decoded again.
    pub fn encode(&self, out: &mut [u8]) -> wire::Result<usize> {
        let mut out = Writer::new(out);
        match *self {
            Self::AddValidator { weight, name, key } => {
                if weight == 0 {
                    return Err(Error::Field("weight"));
                }
                if key.first() != Some(&UNCOMPRESSED) {
                    return Err(Error::Field("public key"));
                }
                out.u8(1)?;
                out.u32(weight)?;
                put_name(&mut out, name, "validator name")?;
                out.bytes(key)?;
            }
            Self::RemoveValidator { name } => put_named(&mut out, 2, name)?,
            Self::ReadmitValidator { name } => put_named(&mut out, 3, name)?,
            Self::Mode(mode) => out.u8(mode as u8)?,
            Self::Unload => out.u8(1)?,
            Self::Recover {
                reason,
                state,
                found,
            } => {
                out.u16(known_reason(reason)?)?;
                out.u64(state)?;
                out.u64(found)?;
            }
        }
        Ok(out.len())
    }
}

/// An enrolled validator, as events carry it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValidatorRecord<'a> {
    /// Place in the vector clock, 1 to 128.
    pub slot: u16,
    /// Weight, at least 1.
    pub weight: u32,
    /// Name, 1 to 32 of `[A-Za-z0-9._-]`.
    pub name: &'a str,
    /// Public key.
    pub key: &'a [u8; KEY_LEN],
}

impl<'a> ValidatorRecord<'a> {
    /// Checks what both directions demand.
    fn check(&self) -> wire::Result {
        if self.slot == 0 || usize::from(self.slot) > limits::VALIDATORS {
            return Err(Error::Field("slot"));
        }
        if self.weight == 0 {
            return Err(Error::Field("weight"));
        }
        if self.key.first() != Some(&UNCOMPRESSED) {
            return Err(Error::Field("public key"));
        }
        Ok(())
    }

    /// Takes a record.
    pub(super) fn take(reader: &mut Reader<'a>) -> wire::Result<Self> {
        let record = Self {
            slot: reader.u16()?,
            weight: reader.u32()?,
            name: take_name(reader, "validator name")?,
            key: reader.array()?,
        };
        record.check()?;
        Ok(record)
    }

    /// Appends the record.
    pub(super) fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        self.check()?;
        out.u16(self.slot)?;
        out.u32(self.weight)?;
        put_name(out, self.name, "validator name")?;
        out.bytes(self.key)
    }

    /// Decodes a record.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`].
    pub fn decode(bytes: &'a [u8]) -> wire::Result<Self> {
        let mut reader = Reader::new(bytes);
        let record = Self::take(&mut reader)?;
        reader.end()?;
        Ok(record)
    }

    /// Encodes the record and returns its length, at most [`MAX_VALIDATOR_RECORD`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a value that could not be decoded again.
    pub fn encode(&self, out: &mut [u8]) -> wire::Result<usize> {
        let mut out = Writer::new(out);
        self.put(&mut out)?;
        Ok(out.len())
    }
}
