// SPDX-License-Identifier: GPL-2.0

//! Tests of the reader and the writer of byte strings.

use engine::wire::{
    Error,
    Reader,
    Writer, //
};
use proptest::prelude::*;

#[test]
fn integers_are_big_endian() {
    let mut buf = [0; 15];
    let mut out = Writer::new(&mut buf);
    assert!(out.is_empty());
    out.u8(1).unwrap();
    out.u16(0x0203).unwrap();
    out.u32(0x0405_0607).unwrap();
    out.u64(0x0809_0a0b_0c0d_0e0f).unwrap();
    assert_eq!((out.len(), out.room()), (15, 0));
    assert_eq!(out.u8(0), Err(Error::NoSpace));
    assert_eq!(buf, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let mut reader = Reader::new(&buf);
    assert_eq!(reader.u8(), Ok(1));
    assert_eq!(reader.u16(), Ok(0x0203));
    assert_eq!(reader.u32(), Ok(0x0405_0607));
    assert_eq!(reader.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
    assert_eq!(reader.u8(), Err(Error::Short));
    assert_eq!(reader.end(), Ok(()));
}

#[test]
fn a_writer_writes_all_or_nothing() {
    let mut buf = [0xee; 4];
    let mut out = Writer::new(&mut buf);
    out.u8(7).unwrap();
    assert_eq!(out.u32(1), Err(Error::NoSpace));
    assert_eq!(out.bytes(b"abcd"), Err(Error::NoSpace));
    assert_eq!(out.zeros(4), Err(Error::NoSpace));
    assert_eq!(out.zeros(usize::MAX), Err(Error::NoSpace));
    assert_eq!(out.str8("abc"), Err(Error::NoSpace));
    assert_eq!(out.written(), [7]);
    out.str8("ab").unwrap();
    assert_eq!(out.written(), b"\x07\x02ab");
}

#[test]
fn a_str8_holds_at_most_255_bytes() {
    let mut buf = [0; 400];
    let text = "x".repeat(256);
    let mut out = Writer::new(&mut buf);
    assert_eq!(out.str8(&text), Err(Error::NoSpace));
    assert!(out.is_empty());
    out.str8(&text[1..]).unwrap();
    assert_eq!(out.len(), 256);
    let mut reader = Reader::new(out.written());
    assert_eq!(reader.str8("text"), Ok(&text[1..]));
}

#[test]
fn a_patch_reaches_only_what_is_written() {
    let mut buf = [0; 8];
    let mut out = Writer::new(&mut buf);
    out.u32(0).unwrap();
    assert_eq!(out.patch(3, &[1, 2]), Err(Error::NoSpace));
    assert_eq!(out.patch(usize::MAX, &[1]), Err(Error::NoSpace));
    out.patch(2, &[1, 2]).unwrap();
    assert_eq!(out.written(), [0, 0, 1, 2]);
}

#[test]
fn a_reader_says_what_is_wrong() {
    assert_eq!(Reader::new(b"\x03ab").str8("t"), Err(Error::Short));
    assert_eq!(Reader::new(b"\x01\xff").str8("t"), Err(Error::Field("t")));
    assert_eq!(Reader::new(b"MAGIC").magic(b"MAGIC..."), Err(Error::Short));
    assert_eq!(
        Reader::new(b"MAGIC..!").magic(b"MAGIC..."),
        Err(Error::Magic)
    );
    assert_eq!(Reader::new(b"\0\0\x01").reserved(3), Err(Error::Reserved));
    assert_eq!(Reader::new(b"\0\0").reserved(3), Err(Error::Short));
    assert_eq!(Reader::new(b"x").end(), Err(Error::Long));
}

#[test]
fn every_error_reads_differently() {
    let texts: std::collections::BTreeSet<String> = [
        Error::NoSpace,
        Error::Short,
        Error::Long,
        Error::Magic,
        Error::Reserved,
        Error::Field("slot"),
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    assert_eq!(texts.len(), 6);
    assert!(texts.contains("bad value of slot"));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        text in "\\PC{0,40}",
        bytes: Vec<u8>,
    ) {
        let mut buf = vec![0; 512];
        let mut out = Writer::new(&mut buf);
        out.u8(a).unwrap();
        out.u16(b).unwrap();
        out.u32(c).unwrap();
        out.u64(d).unwrap();
        out.str8(&text).unwrap();
        out.bytes(&bytes).unwrap();
        let mut reader = Reader::new(out.written());
        prop_assert_eq!(reader.u8(), Ok(a));
        prop_assert_eq!(reader.u16(), Ok(b));
        prop_assert_eq!(reader.u32(), Ok(c));
        prop_assert_eq!(reader.u64(), Ok(d));
        prop_assert_eq!(reader.str8("text"), Ok(text.as_str()));
        prop_assert_eq!(reader.bytes(bytes.len()), Ok(bytes.as_slice()));
        prop_assert_eq!(reader.end(), Ok(()));
    }
}
