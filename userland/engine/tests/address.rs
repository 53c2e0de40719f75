// SPDX-License-Identifier: GPL-2.0

//! Addresses and prefixes, against the standard library's arithmetic.

use engine::address::{
    Address,
    Prefix,
    PrefixError, //
};
use proptest::prelude::*;
use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr, //
};

/// What the standard library makes of the same address.
fn standard(address: Address) -> IpAddr {
    match address {
        Address::V4(bytes) => IpAddr::from(bytes),
        Address::V6(bytes) => IpAddr::from(bytes),
    }
}

/// An address near the borders of prefixes: most bits are those of `base`.
fn near(base: u128, flip: u32) -> u128 {
    base ^ 1u128.checked_shl(flip).unwrap_or(0)
}

fn v4_contains(network: u32, bits: u32, address: u32) -> bool {
    (0..bits).all(|bit| ((network ^ address) >> (31 - bit)) & 1 == 0)
}

fn v6_contains(network: u128, bits: u32, address: u128) -> bool {
    (0..bits).all(|bit| ((network ^ address) >> (127 - bit)) & 1 == 0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn v4_containment(network: u32, bits in 0u32..=32, flip in 0u32..40, other: u32, far: bool) {
        let network = if bits == 0 { 0 } else { network >> (32 - bits) << (32 - bits) };
        let address = if far { other } else { network ^ 1u32.checked_shl(flip).unwrap_or(0) };
        let text = format!("{}/{bits}", Ipv4Addr::from(network));
        let prefix = Prefix::parse(text.as_bytes()).unwrap();
        let expected = v4_contains(network, bits, address);
        prop_assert_eq!(prefix.contains(Address::V4(address.to_be_bytes())), expected);

        // The same, said in IPv6.
        let mapped = Ipv4Addr::from(address).to_ipv6_mapped().octets();
        prop_assert_eq!(prefix.contains(Address::V6(mapped)), expected);
        prop_assert_eq!(prefix.contains(Address::from_v6(mapped)), expected);
        let text = format!("{}/{}", Ipv4Addr::from(network).to_ipv6_mapped(), bits + 96);
        prop_assert_eq!(Prefix::parse(text.as_bytes()), Ok(prefix));
    }

    #[test]
    fn v6_containment(network: u128, bits in 0u32..=128, flip in 0u32..140, other: u128, far: bool) {
        let network = if bits == 0 { 0 } else { network >> (128 - bits) << (128 - bits) };
        let address = if far { other } else { near(network, flip) };
        prop_assume!(Ipv6Addr::from(network).to_ipv4_mapped().is_none());
        let prefix = Prefix::parse(format!("{}/{bits}", Ipv6Addr::from(network)).as_bytes()).unwrap();
        let mapped = Ipv6Addr::from(address).to_ipv4_mapped().is_some();
        prop_assert_eq!(
            prefix.contains(Address::V6(address.to_be_bytes())),
            !mapped && v6_contains(network, bits, address)
        );
    }

    #[test]
    fn text_is_read_as_the_standard_library_does(bytes: [u8; 16], short: [u8; 4], v4: bool) {
        let address = if v4 { Address::from_v4(short) } else { Address::from_v6(bytes) };
        let text = standard(address).to_string();
        prop_assert_eq!(Address::parse(text.as_bytes()), Some(address));
        prop_assert_eq!(address.to_string(), text);
    }

    #[test]
    fn prefixes_print_as_they_are_read(bytes: [u8; 16], short: [u8; 4], v4: bool, bits in 0u8..=128) {
        let address = if v4 { Address::from_v4(short) } else { Address::from_v6(bytes) };
        if let Ok(prefix) = Prefix::new(address, bits) {
            prop_assert_eq!(Prefix::parse(prefix.to_string().as_bytes()), Ok(prefix));
        }
    }

    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(prefix) = Prefix::parse(&text) {
            prop_assert!(prefix.bits() <= prefix.address().bits());
        }
    }
}

#[test]
fn host_bits_are_refused() {
    for text in [
        "10.0.0.1/8",
        "0.0.0.1/0",
        "10.0.0.1/31",
        "fe80::1/64",
        "::1/0",
        "::ffff:10.0.0.1/104",
        "::ffff:0.0.0.0/95",
        "::ffff:0.0.0.0/0",
    ] {
        assert_eq!(
            Prefix::parse(text.as_bytes()),
            Err(PrefixError::HostBits),
            "{text}"
        );
    }
}

#[test]
fn lengths_are_checked() {
    for text in [
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "10.0.0.0/256",
        "10.0.0.0/99999999999999999999999",
        "::/129",
        "::ffff:10.0.0.0/129",
    ] {
        assert_eq!(
            Prefix::parse(text.as_bytes()),
            Err(PrefixError::Length),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        "/8",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",
        "10.0.0.0.0",
        "localhost",
        "fe80::1%eth0",
        "[::1]",
        "1::2::3",
        " 10.0.0.1",
        "\u{661}.0.0.1",
    ] {
        assert_eq!(
            Prefix::parse(text.as_bytes()),
            Err(PrefixError::Address),
            "{text}"
        );
    }
    assert_eq!(Prefix::parse(b"\xff"), Err(PrefixError::Address));
}

#[test]
fn everything_of_a_family_is_not_everything() {
    let all_v6 = Prefix::parse(b"::/0").unwrap();
    let all_v4 = Prefix::parse(b"0.0.0.0/0").unwrap();
    let v4 = Address::from_v4([10, 0, 0, 1]);
    let v6 = Address::from_v6(Ipv6Addr::LOCALHOST.octets());
    let mapped = Address::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
    assert!(all_v4.contains(v4) && all_v4.contains(mapped) && !all_v4.contains(v6));
    assert!(all_v6.contains(v6) && !all_v6.contains(v4) && !all_v6.contains(mapped));
}
