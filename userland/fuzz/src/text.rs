// SPDX-License-Identifier: GPL-2.0

//! Words of policies and commands: names, numbers, digests, addresses and prefixes.

use crate::first;
use engine::address::{
    Address,
    Prefix, //
};
use engine::name;
use engine::op::Op;
use std::net::IpAddr;

/// Runs the target.
pub fn run(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    // The standard library takes a sign and zeros in front.
    let plain =
        text.filter(|text| !text.starts_with('+') && (*text == "0" || !text.starts_with('0')));
    assert_eq!(name::number(data), plain.and_then(|text| text.parse().ok()));
    assert_eq!(
        name::is_name(data),
        text.is_some_and(|text| {
            (1..=32).contains(&text.len())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        })
    );
    digest(data);
    let op = Op::ALL.into_iter().find(|op| op.name().as_bytes() == data);
    assert_eq!(Op::from_name(data), op);
    address(data, text);
    let (which, rest) = first(data);
    prefix(rest, which);
}

fn digest(data: &[u8]) {
    let Some(digest) = name::digest(data) else {
        assert!(data.len() != 64 || !data.iter().all(u8::is_ascii_hexdigit));
        return;
    };
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(hex.as_bytes().eq_ignore_ascii_case(data));
}

fn address(data: &[u8], text: Option<&str>) {
    let wanted = text
        .and_then(|text| text.parse().ok())
        .map(|address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => Address::V4(v4.octets()),
            IpAddr::V6(v6) => Address::V6(v6.octets()),
        });
    let address = Address::parse(data);
    assert_eq!(address, wanted);
    if let Some(address) = address {
        assert_eq!(
            Address::parse(address.to_string().as_bytes()),
            Some(address)
        );
        assert_eq!(address.normalised(), address);
    }
}

/// The bits of an address, its IPv4 part as a mapped one.
fn bits(address: Address) -> u128 {
    match address.normalised() {
        Address::V4(bytes) => 0xffff_0000_0000 | u128::from(u32::from_be_bytes(bytes)),
        Address::V6(bytes) => u128::from_be_bytes(bytes),
    }
}

fn prefix(data: &[u8], which: u8) {
    let Ok(prefix) = Prefix::parse(data) else {
        return;
    };
    assert_eq!(Prefix::parse(prefix.to_string().as_bytes()), Ok(prefix));
    assert_eq!(Prefix::new(prefix.address(), prefix.bits()), Ok(prefix));
    assert!(prefix.contains(prefix.address()));
    // The length as one of an IPv6 address.
    let v4 = matches!(prefix.address(), Address::V4(_));
    let length = u32::from(prefix.bits()) + if v4 { 96 } else { 0 };
    // Another address, with one bit changed.
    let other = bits(prefix.address()) ^ (1 << (which % 128));
    let address = Address::from_v6(other.to_be_bytes());
    let same_family = matches!(address, Address::V4(_)) == v4;
    let same_bits = u32::from(127 - which % 128) >= length;
    assert_eq!(prefix.contains(address), same_family && same_bits);
}
