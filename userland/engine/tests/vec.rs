// SPDX-License-Identifier: GPL-2.0

//! The growable array: growth that fails, and what does not change anything.

use engine::vec::{
    NoMemory,
    Vec, //
};

#[test]
fn growth_beyond_all_memory_is_an_error() {
    assert_eq!(Vec::<u64>::with_capacity(usize::MAX).err(), Some(NoMemory));
    let mut vec = Vec::new();
    vec.push(7u64).unwrap();
    assert_eq!(vec.reserve(usize::MAX), Err(NoMemory));
    assert_eq!(vec.fill_to(usize::MAX, 1), Err(NoMemory));
    assert_eq!(vec.as_slice(), [7]);
    assert_eq!(NoMemory.to_string(), "no memory");
}

#[test]
fn elements_come_where_they_are_put() {
    let mut vec = Vec::default();
    vec.insert(5, 'c').unwrap();
    vec.insert(0, 'a').unwrap();
    vec.insert(1, 'b').unwrap();
    assert_eq!(vec.as_slice(), ['a', 'b', 'c']);
    vec.fill_to(2, 'z').unwrap();
    assert_eq!(vec.len(), 3);
    vec.fill_to(5, 'z').unwrap();
    vec.extend_from_slice(&['y']).unwrap();
    assert_eq!(String::from_iter(&vec), "abczzy");
    vec[0] = 'A';
    vec.as_mut_slice().sort_unstable();
    assert_eq!(format!("{vec:?}"), "['A', 'b', 'c', 'y', 'z', 'z']");
}

#[test]
fn arrays_are_equal_when_their_elements_are() {
    let of = |elements: &[u8]| {
        let mut vec = Vec::new();
        vec.extend_from_slice(elements).unwrap();
        vec
    };
    assert_eq!(of(b"ab"), of(b"ab"));
    assert_ne!(of(b"ab"), of(b"abc"));
    assert_ne!(of(b"ab"), of(b"ac"));
}
