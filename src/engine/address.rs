// SPDX-License-Identifier: GPL-2.0

//! Internet addresses and prefixes.
//!
//! An IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) and the IPv4 address in it are one address.

use core::{
    fmt,
    net::{
        Ipv4Addr,
        Ipv6Addr, //
    }, //
};

/// First 12 bytes of an IPv4-mapped IPv6 address.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An internet address, in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address. [`Address::from_v6`] never gives an IPv4-mapped one.
    V6([u8; 16]),
}

impl Address {
    /// Returns the address of 4 bytes.
    pub const fn from_v4(bytes: [u8; 4]) -> Self {
        Self::V4(bytes)
    }

    /// Returns the address of 16 bytes, as IPv4 when it is IPv4-mapped.
    pub fn from_v6(bytes: [u8; 16]) -> Self {
        Self::V6(bytes).normalised()
    }

    /// Returns the same address, as IPv4 when it is IPv4-mapped.
    pub fn normalised(self) -> Self {
        if let Self::V6(bytes) = self {
            if let Some((head, tail)) = bytes.split_last_chunk::<4>() {
                if head == MAPPED {
                    return Self::V4(*tail);
                }
            }
        }
        self
    }

    /// Parses the text of an IPv4 (dotted decimal) or IPv6 (RFC 4291, 2.2) address, without zone.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(text).ok()?;
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::V4(address.octets()));
        }
        let address = text.parse::<Ipv6Addr>().ok()?;
        Some(Self::from_v6(address.octets()))
    }

    /// Returns the length of an address of this family, in bits.
    pub const fn bits(&self) -> u8 {
        match self {
            Self::V4(_) => 32,
            Self::V6(_) => 128,
        }
    }

    /// Returns the address as a number whose `bits` lowest bits are used.
    fn number(self) -> u128 {
        match self {
            Self::V4(bytes) => u128::from(u32::from_be_bytes(bytes)),
            Self::V6(bytes) => u128::from_be_bytes(bytes),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(bytes) => Ipv4Addr::from(bytes).fmt(f),
            Self::V6(bytes) => Ipv6Addr::from(bytes).fmt(f),
        }
    }
}

super::kernel_display!(Address);

/// Why a prefix was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Neither an IPv4 nor an IPv6 address.
    Address,
    /// The length is no number, or greater than the address is long.
    Length,
    /// The address has bits after the prefix.
    HostBits,
}

/// All addresses of one family that start with the same bits.
///
/// # Invariants
///
/// `address` is normalised, `bits` is at most `address.bits()`, and all bits of the address after
/// the first `bits` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    bits: u8,
    address: Address,
}

impl Prefix {
    /// Parses `ADDRESS` or `ADDRESS/BITS`. A prefix of an IPv4-mapped IPv6 address is the IPv4
    /// prefix in it: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
    pub fn parse(text: &[u8]) -> Result<Self, PrefixError> {
        let mut parts = text.splitn(2, |&byte| byte == b'/');
        let written = parts.next().unwrap_or(&[]);
        let length = parts.next();
        let address = Address::parse(written).ok_or(PrefixError::Address)?;

        // An IPv4-mapped address is written with a colon, and counts its bits from the start of
        // the IPv6 address.
        let skipped = if written.contains(&b':') {
            128 - address.bits()
        } else {
            0
        };
        let bits = match length {
            None => address.bits(),
            Some(length) => {
                let bits = super::name::number(length)
                    .and_then(|bits| u8::try_from(bits).ok())
                    .filter(|&bits| bits <= skipped + address.bits())
                    .ok_or(PrefixError::Length)?;
                // A mapped address has ones before its IPv4 part.
                bits.checked_sub(skipped).ok_or(PrefixError::HostBits)?
            }
        };
        Self::new(address, bits)
    }

    /// Returns the prefix of `bits` bits that starts with `address`.
    pub fn new(address: Address, bits: u8) -> Result<Self, PrefixError> {
        let address = address.normalised();
        if bits > address.bits() {
            return Err(PrefixError::Length);
        }
        // INVARIANT: Checked above and here.
        let prefix = Self { bits, address };
        if prefix.of(address) != Some(prefix) {
            return Err(PrefixError::HostBits);
        }
        Ok(prefix)
    }

    /// Returns the first address of the prefix.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Returns the length of the prefix, in bits.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `address` is one of the prefix. IPv4-mapped addresses count as IPv4.
    pub fn contains(&self, address: Address) -> bool {
        self.of(address) == Some(*self)
    }

    /// Whether both have one family and length.
    pub(super) fn is_as_long_as(&self, other: &Self) -> bool {
        self.bits == other.bits && self.address.bits() == other.address.bits()
    }

    /// Returns the prefix of the same family and length that `address` is in; `None` when the
    /// families differ.
    pub(super) fn of(&self, address: Address) -> Option<Self> {
        let address = address.normalised();
        let size = address.bits();
        if size != self.address.bits() {
            return None;
        }
        // A prefix of length 0 shifts everything out.
        let host = u32::from(size.saturating_sub(self.bits));
        let kept = address
            .number()
            .checked_shr(host)
            .and_then(|kept| kept.checked_shl(host))
            .unwrap_or(0);
        // INVARIANT: The bits after the prefix were shifted out, and a part of a normalised
        // address that becomes IPv4-mapped can only be that address itself.
        Some(Self {
            bits: self.bits,
            address: match address {
                Address::V4(_) => Address::V4(u32::try_from(kept).unwrap_or(0).to_be_bytes()),
                Address::V6(_) => Address::V6(kept.to_be_bytes()),
            },
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.bits < self.address.bits() {
            write!(f, "/{}", self.bits)?;
        }
        Ok(())
    }
}

super::kernel_display!(Prefix);
