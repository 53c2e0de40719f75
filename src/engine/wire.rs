// SPDX-License-Identifier: GPL-2.0

//! Reading and writing of byte strings.
//!
//! Everything that TCP-LSM hashes, signs or exports is specified in `Documentation/wire-format.rst`:
//! big-endian integers, fixed offsets, short counted strings. This module has the two cursors that
//! the other modules use. Neither allocates: a [`Writer`] fills a buffer of the caller and a
//! [`Reader`] borrows from one.

use core::fmt;

/// Why a byte string could not be decoded or encoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// The caller's buffer is too small for the encoding, or the encoding would pass its limit.
    NoSpace,
    /// The input ends before its fields do.
    Short,
    /// Something follows the last field.
    Long,
    /// The first eight bytes are not those of the expected structure.
    Magic,
    /// A reserved field, or a reserved bit, is not zero.
    Reserved,
    /// The named field has a value that it may not have.
    Field(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => f.write_str("the encoding does not fit"),
            Self::Short => f.write_str("the input ends too early"),
            Self::Long => f.write_str("there are bytes after the end"),
            Self::Magic => f.write_str("unknown magic"),
            Self::Reserved => f.write_str("a reserved field is not zero"),
            Self::Field(name) => write!(f, "bad value of {name}"),
        }
    }
}

super::kernel_display!(Error);

/// Result of decoding or encoding.
pub type Result<T = ()> = core::result::Result<T, Error>;

/// SHA-256, which the engine is given rather than has.
///
/// In the kernel this is the kernel's own implementation, in user space a crate's.
pub trait Digest {
    /// Returns the digest of the concatenation of `parts`.
    fn sha256(parts: &[&[u8]]) -> [u8; 32];
}

/// A cursor that fills a buffer from its start.
#[derive(Debug)]
pub struct Writer<'a> {
    /// The whole buffer.
    buf: &'a mut [u8],
    /// Bytes written so far; never more than the length of `buf`.
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts to write at the beginning of `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.buf.len().saturating_sub(self.at)
    }

    /// What has been written so far.
    pub fn written(&self) -> &[u8] {
        self.buf.get(..self.at).unwrap_or(&[])
    }

    /// Appends `bytes`, or nothing at all.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when they do not fit.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result {
        let end = self.at.checked_add(bytes.len()).ok_or(Error::NoSpace)?;
        self.buf
            .get_mut(self.at..end)
            .ok_or(Error::NoSpace)?
            .copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    /// Appends `count` zero bytes, or nothing at all.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when they do not fit.
    pub fn zeros(&mut self, count: usize) -> Result {
        let end = self.at.checked_add(count).ok_or(Error::NoSpace)?;
        self.buf
            .get_mut(self.at..end)
            .ok_or(Error::NoSpace)?
            .fill(0);
        self.at = end;
        Ok(())
    }

    /// Appends a `u8`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit.
    pub fn u8(&mut self, value: u8) -> Result {
        self.bytes(&[value])
    }

    /// Appends a big-endian `u16`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit.
    pub fn u16(&mut self, value: u16) -> Result {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a big-endian `u32`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit.
    pub fn u32(&mut self, value: u32) -> Result {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a big-endian `u64`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit.
    pub fn u64(&mut self, value: u64) -> Result {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a `str8`: a `u8` length and the text.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit or is longer than 255 bytes; nothing is written then.
    pub fn str8(&mut self, text: &str) -> Result {
        let len = u8::try_from(text.len()).map_err(|_| Error::NoSpace)?;
        if self.room() <= text.len() {
            return Err(Error::NoSpace);
        }
        self.u8(len)?;
        self.bytes(text.as_bytes())
    }

    /// Overwrites bytes that have been written already.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when `at..at + bytes.len()` has not been written yet.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) -> Result {
        let end = at.checked_add(bytes.len()).ok_or(Error::NoSpace)?;
        if end > self.at {
            return Err(Error::NoSpace);
        }
        self.buf
            .get_mut(at..end)
            .ok_or(Error::NoSpace)?
            .copy_from_slice(bytes);
        Ok(())
    }
}

/// A cursor that takes fields off the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// What has not been taken yet.
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts to read at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] when there are fewer.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Error::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes `N` bytes as an array.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] when there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes a `u8`.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input.
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|b| u8::from_be_bytes(*b))
    }

    /// Takes a big-endian `u16`.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input.
    pub fn u16(&mut self) -> Result<u16> {
        self.array::<2>().map(|b| u16::from_be_bytes(*b))
    }

    /// Takes a big-endian `u32`.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input.
    pub fn u32(&mut self) -> Result<u32> {
        self.array::<4>().map(|b| u32::from_be_bytes(*b))
    }

    /// Takes a big-endian `u64`.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input.
    pub fn u64(&mut self) -> Result<u64> {
        self.array::<8>().map(|b| u64::from_be_bytes(*b))
    }

    /// Takes a `str8`: a `u8` length and that many bytes of UTF-8.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input, [`Error::Field`] with `name` when the text is not
    /// UTF-8.
    pub fn str8(&mut self, name: &'static str) -> Result<&'a str> {
        let len = self.u8()?;
        core::str::from_utf8(self.bytes(usize::from(len))?).map_err(|_| Error::Field(name))
    }

    /// Takes the magic that a structure starts with.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input, [`Error::Magic`] when it is another.
    pub fn magic(&mut self, magic: &[u8; 8]) -> Result {
        if self.array::<8>()? == magic {
            Ok(())
        } else {
            Err(Error::Magic)
        }
    }

    /// Takes `count` reserved bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] at the end of the input, [`Error::Reserved`] when one is not zero.
    pub fn reserved(&mut self, count: usize) -> Result {
        if self.bytes(count)?.iter().all(|&b| b == 0) {
            Ok(())
        } else {
            Err(Error::Reserved)
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`Error::Long`] when something is left.
    pub fn end(self) -> Result {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Long)
        }
    }
}
