// SPDX-License-Identifier: GPL-2.0

//! The binary log: the container that `tcpctl events export` writes.
//!
//! See "The log" in `Documentation/audit.rst`. A log is a sequence of segments, each a head and then the events of one load
//! verbatim, every one followed by the chain's value after it.

use std::io::{
    self,
    Read, //
};

use engine::{
    event::HEADER_LEN as EVENT_HEADER_LEN,
    limits, //
};

use super::fault::{
    wrong,
    Wrong, //
};

/// First bytes of a segment.
pub(crate) const MAGIC: &[u8; 8] = b"TCPLLOG1";

/// Bytes of a segment's head.
pub(crate) const HEAD_LEN: usize = 8 + 32 + 8 + 32;

/// Bytes of an event's length.
const LENGTH_LEN: usize = 4;

/// Bytes of the chain's value behind an event.
const CHAIN_LEN: usize = 32;

/// Where the length of the payload stands in an event.
const PAYLOAD_LENGTH_AT: usize = EVENT_HEADER_LEN - 4;

// The first four bytes of the magic are no length.
const _: () = assert!(EVENT_HEADER_LEN + limits::EVENT_PAYLOAD < 0x5443_504c);

/// Head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The node.
    pub(crate) node: [u8; 32],
    /// The epoch of the load.
    pub(crate) epoch: u64,
    /// Value of the chain before the first event that follows.
    pub(crate) chain: [u8; 32],
}

impl Head {
    /// The bytes of the head.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [
            &MAGIC[..],
            &self.node,
            &self.epoch.to_be_bytes(),
            &self.chain,
        ]
        .concat()
    }

    /// Reads what follows the first four bytes of the magic.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (node, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let chain = rest.first_chunk()?;
        (magic[..] == MAGIC[LENGTH_LEN..]).then_some(Self {
            node: *node,
            epoch: u64::from_be_bytes(*epoch),
            chain: *chain,
        })
    }
}

/// The bytes of an event in a log.
pub(crate) fn encode_event(event: &[u8], chain: &[u8; 32]) -> Vec<u8> {
    // The module's events are at most `HEADER_LEN + EVENT_PAYLOAD` bytes.
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], event, chain].concat()
}

/// One thing in a log.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A segment begins.
    Head(Head),
    /// An event, and the chain's value that the log has after it.
    Event(&'a [u8], [u8; 32]),
}

/// Why a log cannot be read on.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The file could not be read.
    Io(io::Error),
    /// What stands there is no log. A number when it is that of an event.
    Damaged(Option<u64>, Wrong),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a log item by item, holding one event at a time.
pub(crate) struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes of whole items read so far.
    offset: u64,
    /// Bytes after them that are no whole item; known at the end.
    torn: u64,
}

impl<R: Read> Reader<R> {
    /// Starts at the beginning of a log.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            offset: 0,
            torn: 0,
        }
    }

    /// Bytes of whole items read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes after the last whole item: what was being written when the power was cut.
    pub(crate) fn torn(&self) -> u64 {
        self.torn
    }

    /// Appends up to `count` bytes to the buffer and says whether there were so many.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        let got = (&mut self.input)
            .take(limit)
            .read_to_end(&mut self.buffer)?;
        Ok(got == count)
    }

    /// Ends the log before something that is not whole.
    fn tear(&mut self) {
        self.torn = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
    }

    /// The next item; [`None`] at the end.
    ///
    /// # Errors
    ///
    /// [`ReadError`]. A last item that is cut short is no error, see [`Reader::torn`].
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        self.buffer.clear();
        if !self.fill(LENGTH_LEN)? {
            self.tear();
            return Ok(None);
        }
        if self.buffer[..] == MAGIC[..LENGTH_LEN] {
            if !self.fill(HEAD_LEN - LENGTH_LEN)? {
                self.tear();
                return Ok(None);
            }
            let head = self.buffer.get(LENGTH_LEN..).and_then(Head::decode);
            let head = head.ok_or_else(|| {
                ReadError::Damaged(
                    None,
                    wrong("log_malformed", "unknown magic of a segment", "TCPLLOG1"),
                )
            })?;
            self.offset += u64::try_from(HEAD_LEN).unwrap_or(u64::MAX);
            return Ok(Some(Item::Head(head)));
        }
        let length = self
            .buffer
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(EVENT_HEADER_LEN..=EVENT_HEADER_LEN + limits::EVENT_PAYLOAD).contains(&length) {
            let found = format!(
                "at byte {}, {length} is not the length of an event",
                self.offset
            );
            return Err(ReadError::Damaged(
                None,
                wrong("log_malformed", found, "an event, a segment, or the end"),
            ));
        }
        let whole = self.fill(length + CHAIN_LEN)?;
        let event = self.buffer.get(LENGTH_LEN..).unwrap_or(&[]);
        // Even a torn event must have the length that it says, or a changed length would look like a tear.
        let payload = event
            .get(PAYLOAD_LENGTH_AT..EVENT_HEADER_LEN)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| usize::try_from(u32::from_be_bytes(*bytes)).unwrap_or(usize::MAX));
        if let Some(payload) = payload {
            if EVENT_HEADER_LEN.saturating_add(payload) != length {
                let number = event
                    .get(8..16)
                    .and_then(|bytes| bytes.first_chunk())
                    .map(|bytes| u64::from_be_bytes(*bytes));
                let found = format!("{length} bytes, with a payload of {payload}");
                return Err(ReadError::Damaged(
                    number,
                    wrong("log_malformed", found, "92 bytes more than the payload"),
                ));
            }
        }
        if !whole {
            self.tear();
            return Ok(None);
        }
        self.offset += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        let item = self
            .buffer
            .get(LENGTH_LEN..)
            .and_then(<[u8]>::split_last_chunk)
            .map(|(event, chain)| Item::Event(event, *chain));
        Ok(item)
    }
}
