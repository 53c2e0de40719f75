// SPDX-License-Identifier: GPL-2.0

//! The cursors: what a [`Writer`] takes is what a plain vector would hold, and a [`Reader`] gives it back.

use crate::Input;
use engine::wire::{
    Error,
    Reader,
    Writer, //
};

/// Bytes of the buffer.
const ROOM: usize = 64;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut buffer = [0xee; ROOM];
    let size = input.below(ROOM + 1);
    let mut writer = Writer::new(&mut buffer[..size]);
    let mut wanted = Vec::new();
    let mut steps = Vec::new();
    while !input.is_empty() {
        let kind = input.below(8);
        let value = input.number();
        let bytes = value.to_be_bytes();
        let (result, add) = match kind {
            0 => (writer.u8(bytes[7]), bytes[7..].to_vec()),
            1 => (writer.u16(value as u16), bytes[6..].to_vec()),
            2 => (writer.u32(value as u32), bytes[4..].to_vec()),
            3 => (writer.u64(value), bytes.to_vec()),
            4 => {
                let count = usize::try_from(value).unwrap();
                (writer.zeros(count), vec![0; count.min(ROOM + 1)])
            }
            5 => {
                let text = "x".repeat(input.below(300));
                let add = [&[text.len() as u8], text.as_bytes()].concat();
                // Too long for its length byte.
                let add = if text.len() > 255 {
                    vec![0; ROOM + 1]
                } else {
                    add
                };
                (writer.str8(&text), add)
            }
            6 => {
                let bytes = input.bytes(ROOM + 1);
                (writer.bytes(bytes), bytes.to_vec())
            }
            _ => {
                let (at, bytes) = (input.below(ROOM), &bytes[input.below(8)..]);
                let fits = at + bytes.len() <= wanted.len();
                assert_eq!(writer.patch(at, bytes).is_ok(), fits);
                if fits {
                    wanted[at..at + bytes.len()].copy_from_slice(bytes);
                    // What was read from there has changed.
                    steps.clear();
                }
                continue;
            }
        };
        let fits = wanted.len() + add.len() <= size;
        assert_eq!(result, if fits { Ok(()) } else { Err(Error::NoSpace) });
        if fits {
            steps.push((wanted.len(), kind, add.clone()));
            wanted.extend(add);
        }
        assert_eq!(writer.written(), wanted);
        assert_eq!(
            (writer.len(), writer.room()),
            (wanted.len(), size - wanted.len())
        );
        assert_eq!(writer.is_empty(), wanted.is_empty());
    }
    read(&wanted, &steps);
    assert!(buffer[wanted.len()..].iter().all(|&byte| byte == 0xee));
}

/// Reads back what was written since the last patch.
fn read(wanted: &[u8], steps: &[(usize, usize, Vec<u8>)]) {
    let Some((start, ..)) = steps.first() else {
        return;
    };
    let mut reader = Reader::new(wanted);
    assert_eq!(reader.bytes(*start), Ok(&wanted[..*start]));
    for (_, kind, bytes) in steps {
        let number = bytes
            .iter()
            .fold(0u64, |number, &byte| (number << 8) | u64::from(byte));
        match kind {
            0 => assert_eq!(reader.u8().map(u64::from), Ok(number)),
            1 => assert_eq!(reader.u16().map(u64::from), Ok(number)),
            2 => assert_eq!(reader.u32().map(u64::from), Ok(number)),
            3 => assert_eq!(reader.u64(), Ok(number)),
            4 => assert_eq!(reader.reserved(bytes.len()), Ok(())),
            5 => assert_eq!(reader.str8("text").map(str::as_bytes), Ok(&bytes[1..])),
            _ => assert_eq!(reader.bytes(bytes.len()), Ok(&bytes[..])),
        }
    }
    assert_eq!(reader.u8(), Err(Error::Short));
    assert_eq!(reader.array::<2>(), Err(Error::Short));
    assert_eq!(reader.end(), Ok(()));
}
