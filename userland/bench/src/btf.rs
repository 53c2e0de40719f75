// SPDX-License-Identifier: GPL-2.0

//! The kernel's types (BTF): the numbers of its functions.
//!
//! C header: `include/uapi/linux/btf.h`.

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// The sections of a BTF object.
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

impl<'a> Btf<'a> {
    /// Takes the object apart; none when it is not BTF of this machine's byte order.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.first_chunk().copied().map(u16::from_ne_bytes) != Some(MAGIC) {
            return None;
        }
        let rest = bytes.get(usize_at(bytes, 4)?..)?;
        let section = |at| {
            let start = usize_at(bytes, at)?;
            rest.get(start..start.checked_add(usize_at(bytes, at + 4)?)?)
        };
        Some(Self {
            types: section(8)?,
            strings: section(16)?,
        })
    }

    fn name(&self, offset: usize) -> &'a [u8] {
        let rest = self.strings.get(offset..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The number of the function `name`; none without one, or when the types cannot be read up to it.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        let mut rest = self.types;
        for id in 1.. {
            let (info, count) = (u32_at(rest, 4)?, usize_at(rest, 4)? & 0xffff);
            let kind = (info >> 24) & 0x1f;
            if kind == KIND_FUNC && self.name(usize_at(rest, 0)?) == name.as_bytes() {
                return Some(id);
            }
            let more = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
                KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
                1..KIND_ENUM64 => 0,
                _ => return None,
            };
            rest = rest.get(12 + more..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Btf,
        KIND_FUNC,
        KIND_FUNC_PROTO,
        KIND_INT,
        MAGIC, //
    };

    /// An int, a prototype of one parameter, and two functions of it.
    fn object() -> Vec<u8> {
        let strings = b"\0int\0first\0second\0";
        let types: [&[u32]; 4] = [
            &[1, KIND_INT << 24, 4, 32],
            &[0, (KIND_FUNC_PROTO << 24) | 1, 1, 0, 1],
            &[5, KIND_FUNC << 24, 2],
            &[11, KIND_FUNC << 24, 2],
        ];
        let types: Vec<u8> = types
            .concat()
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0);
        let mut object = MAGIC.to_ne_bytes().to_vec();
        object.extend([1, 0]);
        for word in [24, 0, length(&types), length(&types), length(strings)] {
            object.extend(word.to_ne_bytes());
        }
        object.extend(types);
        object.extend(strings);
        object
    }

    #[test]
    fn functions_are_found() {
        let object = object();
        let btf = Btf::parse(&object);
        let find = |name| btf.as_ref().and_then(|btf| btf.function(name));
        assert_eq!(find("first"), Some(3));
        assert_eq!(find("second"), Some(4));
        assert_eq!(find("int"), None);
        assert_eq!(find("third"), None);
    }

    #[test]
    fn other_bytes_are_refused() {
        let object = object();
        assert!(Btf::parse(&[]).is_none());
        assert!(Btf::parse(&object[1..]).is_none());
        for length in 0..object.len() {
            if let Some(btf) = Btf::parse(&object[..length]) {
                assert_eq!(btf.function("third"), None);
            }
        }
    }
}
