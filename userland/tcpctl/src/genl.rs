// SPDX-License-Identifier: GPL-2.0

//! Generic netlink: messages, attributes, sockets. The only file that knows how they are encoded.
//!
//! See `include/uapi/linux/netlink.h`, `genetlink.h` and `Documentation/netlink/specs/tcp-lsm.yaml`. Netlink integers are
//! in the machine's byte order. Everything received is checked; nothing here panics on what arrives.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    time::{
        Duration,
        Instant, //
    }, //
};

use netlink_sys::{
    protocols::NETLINK_GENERIC,
    Socket as RawSocket,
    SocketAddr, //
};
use nix::{
    errno::Errno,
    poll::{
        PollFd,
        PollFlags,
        PollTimeout, //
    }, //
};

/// Message type: error or acknowledgement.
const NLMSG_ERROR: u16 = 2;
/// Message type: end of a dump.
const NLMSG_DONE: u16 = 3;
/// The first message type that a family can have.
const NLMSG_MIN_TYPE: u16 = 16;

/// Flag of a message: a request.
const NLM_F_REQUEST: u16 = 0x1;
/// Flag of a request: acknowledge it.
const NLM_F_ACK: u16 = 0x4;
/// Flag of a message: the dump is inconsistent, something changed while it ran.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Flags of a request: a dump.
const NLM_F_DUMP: u16 = 0x300;
/// Flag of an error: the failed message is not quoted behind its header.
const NLM_F_CAPPED: u16 = 0x100;
/// Flag of an error: attributes follow.
const NLM_F_ACK_TLVS: u16 = 0x200;

/// Attribute of an extended acknowledgement: the message.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The bits of an attribute's type that are its type.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Message type of the generic netlink controller.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

/// Bytes of `struct nlmsghdr`.
const NLMSG_HDRLEN: usize = 16;
/// Bytes of `struct genlmsghdr`.
const GENL_HDRLEN: usize = 4;
/// Bytes of `struct nlattr`.
const NLA_HDRLEN: usize = 4;

/// Size of the receive buffer: the kernel puts at most 32 KiB into one datagram of a dump.
const RECEIVE: usize = 128 * 1024;
/// How long the kernel may take to answer before it counts as dead.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an inconsistent dump is taken again.
const DUMP_ATTEMPTS: u32 = 5;

/// A length rounded up to the alignment of netlink.
fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Attributes to be sent.
#[derive(Debug, Default, Clone)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// No attributes.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute of any kind.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is longer than a netlink attribute can be.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> io::Result<Self> {
        let length = u16::try_from(value.len().saturating_add(NLA_HDRLEN))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
        Ok(self)
    }

    /// Adds a `u32`.
    ///
    /// # Errors
    ///
    /// As [`Builder::bytes`].
    pub(crate) fn u32(self, kind: u16, value: u32) -> io::Result<Self> {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a `u64`.
    ///
    /// # Errors
    ///
    /// As [`Builder::bytes`].
    pub(crate) fn u64(self, kind: u16, value: u64) -> io::Result<Self> {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a string and its terminator.
    ///
    /// # Errors
    ///
    /// As [`Builder::bytes`], and `InvalidInput` for a string that holds a zero byte.
    pub(crate) fn string(self, kind: u16, value: &str) -> io::Result<Self> {
        if value.bytes().any(|byte| byte == 0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }
}

#[cfg(test)]
impl Builder {
    /// The attributes as a receiver has them.
    pub(crate) fn received(&self) -> Attributes {
        Attributes::parse(&self.bytes).unwrap()
    }

    /// The encoding, to be nested.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes
    }
}

/// Attributes that were received, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    items: Vec<(u16, Vec<u8>)>,
}

impl Attributes {
    /// Takes apart a run of attributes.
    ///
    /// # Errors
    ///
    /// `InvalidData` when a length does not fit.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let mut items = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = usize::from(u16_at(rest, 0)?);
            let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
            let value = rest.get(NLA_HDRLEN..length).ok_or_else(malformed)?;
            items.push((kind, value.to_vec()));
            rest = rest.get(align(length)..).unwrap_or_default();
        }
        Ok(Self { items })
    }

    /// The value of the first attribute of a kind.
    pub(crate) fn bytes(&self, kind: u16) -> Option<&[u8]> {
        self.all(kind).next()
    }

    /// The values of all attributes of a kind.
    pub(crate) fn all(&self, kind: u16) -> impl Iterator<Item = &[u8]> {
        self.items
            .iter()
            .filter(move |(of, _)| *of == kind)
            .map(|(_, value)| value.as_slice())
    }

    /// A `u32`; also a `u64` that fits, as the kernel may widen.
    pub(crate) fn u32(&self, kind: u16) -> Option<u32> {
        self.u64(kind).and_then(|value| u32::try_from(value).ok())
    }

    /// An unsigned integer of any width.
    pub(crate) fn u64(&self, kind: u16) -> Option<u64> {
        integer(self.bytes(kind)?)
    }

    /// A string, without its terminator. Bytes that are not UTF-8 are replaced.
    pub(crate) fn string(&self, kind: u16) -> Option<String> {
        self.bytes(kind).map(text)
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&self, kind: u16) -> Option<[u8; N]> {
        self.bytes(kind)?.try_into().ok()
    }
}

/// An unsigned integer of 1, 2, 4 or 8 bytes.
fn integer(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        1 => bytes.first().copied().map(u64::from),
        2 => bytes.try_into().ok().map(u16::from_ne_bytes).map(u64::from),
        4 => bytes.try_into().ok().map(u32::from_ne_bytes).map(u64::from),
        8 => bytes.try_into().ok().map(u64::from_ne_bytes),
        _ => None,
    }
}

/// A string up to its terminator.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel sent a netlink message that is cut short",
    )
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    bytes
        .get(at..at.saturating_add(2))
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes)
        .ok_or_else(malformed)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes
        .get(at..at.saturating_add(4))
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_ne_bytes)
        .ok_or_else(malformed)
}

/// One received netlink message.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits the first message off a datagram; returns it and what follows.
    fn split(datagram: &'a [u8]) -> io::Result<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(datagram, 0)?).map_err(|_| malformed())?;
        let payload = datagram.get(NLMSG_HDRLEN..length).ok_or_else(malformed)?;
        let message = Self {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            payload,
        };
        Ok((message, datagram.get(align(length)..).unwrap_or_default()))
    }

    /// The attributes of a generic netlink message, and its command.
    fn attributes(&self) -> io::Result<(u8, Attributes)> {
        let command = *self.payload.first().ok_or_else(malformed)?;
        let attributes = self.payload.get(GENL_HDRLEN..).ok_or_else(malformed)?;
        Ok((command, Attributes::parse(attributes)?))
    }

    /// The errno, positive or 0, and the message of an error, an acknowledgement, or the end of a dump.
    fn verdict(&self) -> io::Result<(i32, Option<String>)> {
        // The end of a dump may lack its errno.
        if self.kind == NLMSG_DONE && self.payload.len() < 4 {
            return Ok((0, None));
        }
        let errno = i32::from_ne_bytes(u32_at(self.payload, 0)?.to_ne_bytes());
        let mut start = 4usize;
        if self.kind == NLMSG_ERROR {
            // `struct nlmsgerr` goes on with the header of the failed message, and its content if it is not capped.
            let quoted = if self.flags & NLM_F_CAPPED != 0 {
                NLMSG_HDRLEN
            } else {
                usize::try_from(u32_at(self.payload, 4)?).map_err(|_| malformed())?
            };
            start = align(start.saturating_add(quoted.max(NLMSG_HDRLEN)));
        }
        let message = if self.flags & NLM_F_ACK_TLVS != 0 {
            let attributes = self.payload.get(start..).unwrap_or_default();
            Attributes::parse(attributes)?.string(NLMSGERR_ATTR_MSG)
        } else {
            None
        };
        Ok((errno.saturating_neg().max(0), message))
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The kernel refused; what it had replied before that is kept.
    Refused {
        /// Positive errno.
        errno: i32,
        /// The text of the extended acknowledgement.
        message: Option<String>,
        /// Replies that came before the refusal.
        replies: Vec<Attributes>,
    },
    /// The socket failed.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    /// Positive errno.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Refused { errno, .. } => *errno,
            Self::Io(error) => error.raw_os_error().unwrap_or(0),
        }
    }
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// One command; the replies end with an acknowledgement.
    Do,
    /// A list; the replies end with an end of dump.
    Dump,
}

/// What one read of a multicast socket gave.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Messages: command and attributes each.
    Messages(Vec<(u8, Attributes)>),
    /// Nothing came in time.
    Silence,
    /// The socket's buffer overflowed: some messages are lost.
    Overrun,
}

/// How to reach a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    /// Message type of the family.
    pub(crate) id: u16,
    /// Multicast groups by name.
    pub(crate) groups: HashMap<String, u32>,
}

/// A generic netlink socket, close-on-exec.
pub(crate) struct Socket {
    raw: RawSocket,
    sequence: u32,
}

impl Socket {
    /// Opens a socket with extended acknowledgements.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)`, `bind(2)` and `setsockopt(2)`.
    pub(crate) fn open() -> io::Result<Self> {
        let mut raw = RawSocket::new(NETLINK_GENERIC)?;
        raw.bind_auto()?;
        raw.set_ext_ack(true)?;
        // Capped errors do not quote the failed message; kernels without the option quote it, which is understood too.
        let _ = raw.set_cap_ack(true);
        Ok(Self { raw, sequence: 0 })
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`: `EPERM` without the capability that the group needs.
    pub(crate) fn join(&self, group: u32) -> io::Result<()> {
        // A larger buffer loses less; the default does when the limit is lower.
        let _ = self.raw.set_rx_buf_sz::<i32>(4 * 1024 * 1024);
        self.raw.add_membership(group)
    }

    /// Finds a family by its name.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] with `ENOENT` when no such family is registered.
    pub(crate) fn family(&mut self, name: &str) -> Result<Family, Failure> {
        let attributes = Builder::new().string(CTRL_ATTR_FAMILY_NAME, name)?;
        let replies = self.request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &attributes, Method::Do)?;
        let reply = replies.first().ok_or_else(malformed)?;
        let id = reply
            .u32(CTRL_ATTR_FAMILY_ID)
            .and_then(|id| u16::try_from(id).ok())
            .filter(|id| *id >= NLMSG_MIN_TYPE)
            .ok_or_else(malformed)?;
        let mut groups = HashMap::new();
        if let Some(list) = reply.bytes(CTRL_ATTR_MCAST_GROUPS) {
            for (_, group) in Attributes::parse(list)?.items {
                let group = Attributes::parse(&group)?;
                if let (Some(name), Some(id)) = (
                    group.string(CTRL_ATTR_MCAST_GRP_NAME),
                    group.u32(CTRL_ATTR_MCAST_GRP_ID),
                ) {
                    groups.insert(name, id);
                }
            }
        }
        Ok(Family { id, groups })
    }

    /// Sends one request and collects everything that answers it.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] when the kernel refuses, [`Failure::Io`] when the socket fails or the kernel is silent.
    pub(crate) fn request(
        &mut self,
        family: u16,
        command: u8,
        attributes: &Builder,
        method: Method,
    ) -> Result<Vec<Attributes>, Failure> {
        for _ in 1..DUMP_ATTEMPTS {
            let (replies, interrupted) = self.attempt(family, command, attributes, method)?;
            if !interrupted {
                return Ok(replies);
            }
        }
        // The last attempt counts, consistent or not: a busy node still has an answer.
        Ok(self.attempt(family, command, attributes, method)?.0)
    }

    /// One round of [`Socket::request`]; says whether a dump was interrupted by a change.
    fn attempt(
        &mut self,
        family: u16,
        command: u8,
        attributes: &Builder,
        method: Method,
    ) -> Result<(Vec<Attributes>, bool), Failure> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let message = encode(family, command, attributes, method, self.sequence)?;
        self.raw.send_to(&message, &SocketAddr::new(0, 0), 0)?;

        let deadline = Instant::now() + PATIENCE;
        let mut replies = Vec::new();
        let mut interrupted = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.readable(left)? {
                return Err(Failure::Io(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the kernel does not answer",
                )));
            }
            let datagram = self.receive()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let (message, after) = Message::split(rest)?;
                rest = after;
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        let (errno, text) = message.verdict()?;
                        return if errno == 0 {
                            Ok((replies, interrupted))
                        } else {
                            Err(Failure::Refused {
                                errno,
                                message: text,
                                replies,
                            })
                        };
                    }
                    kind if kind == family => replies.push(message.attributes()?.1),
                    _ => {}
                }
            }
        }
    }

    /// Reads what has been multicast, waiting for at most `patience`.
    ///
    /// # Errors
    ///
    /// Those of the socket; `ENOBUFS` is [`Heard::Overrun`] instead.
    pub(crate) fn listen(&mut self, family: u16, patience: Duration) -> io::Result<Heard> {
        if !self.readable(patience)? {
            return Ok(Heard::Silence);
        }
        let datagram = match self.receive() {
            Ok(datagram) => datagram,
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                return Ok(Heard::Overrun)
            }
            Err(error) => return Err(error),
        };
        let mut heard = Vec::new();
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let (message, after) = Message::split(rest)?;
            rest = after;
            if message.kind == family {
                heard.push(message.attributes()?);
            }
        }
        Ok(Heard::Messages(heard))
    }

    /// Waits until the socket can be read.
    fn readable(&self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.raw.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut fds, timeout) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads one datagram from the kernel; one of any other sender is empty.
    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut datagram = Vec::with_capacity(RECEIVE);
        let (length, sender) = self.raw.recv_from(&mut datagram, 0)?;
        if sender.port_number() != 0 {
            datagram.clear();
        } else if length > datagram.len() {
            return Err(malformed());
        }
        Ok(datagram)
    }
}

/// Encodes one request.
fn encode(
    family: u16,
    command: u8,
    attributes: &Builder,
    method: Method,
    sequence: u32,
) -> io::Result<Vec<u8>> {
    let flags = NLM_F_REQUEST
        | match method {
            Method::Do => NLM_F_ACK,
            Method::Dump => NLM_F_DUMP,
        };
    let length = NLMSG_HDRLEN
        .saturating_add(GENL_HDRLEN)
        .saturating_add(attributes.bytes.len());
    let length = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut message = Vec::new();
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0u32.to_ne_bytes());
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&attributes.bytes);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message as the kernel sends it.
    fn raw(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = u32::try_from(NLMSG_HDRLEN + payload.len()).unwrap();
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&77u32.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    #[test]
    fn attributes_come_back_as_they_were_built() {
        let built = Builder::new()
            .u32(4, 7)
            .and_then(|b| b.u64(5, u64::MAX))
            .and_then(|b| b.string(6, "name"))
            .and_then(|b| b.bytes(7, b"abc"))
            .and_then(|b| b.bytes(7, b""))
            .unwrap();
        let read = Attributes::parse(&built.bytes).unwrap();
        assert_eq!(read.u32(4), Some(7));
        assert_eq!(read.u64(5), Some(u64::MAX));
        assert_eq!(read.u32(5), None);
        assert_eq!(read.string(6).as_deref(), Some("name"));
        assert_eq!(read.array::<3>(7), Some(*b"abc"));
        assert_eq!(read.array::<4>(7), None);
        assert_eq!(read.all(7).count(), 2);
        assert_eq!(read.bytes(8), None);
        assert_eq!(read.u64(7), None);
    }

    #[test]
    fn integers_of_every_width_are_read() {
        let built = Builder::new()
            .bytes(1, &[9])
            .and_then(|b| b.bytes(2, &513u16.to_ne_bytes()))
            .unwrap();
        let read = Attributes::parse(&built.bytes).unwrap();
        assert_eq!((read.u64(1), read.u64(2)), (Some(9), Some(513)));
    }

    #[test]
    fn attributes_that_cannot_be_sent_are_refused() {
        assert!(Builder::new().bytes(1, &[0; 65536]).is_err());
        assert!(Builder::new().string(1, "a\0b").is_err());
    }

    #[test]
    fn nested_and_byte_order_flags_are_not_part_of_the_kind() {
        let built = Builder::new().u32(0x8000 | 40, 1).unwrap();
        assert_eq!(Attributes::parse(&built.bytes).unwrap().u32(40), Some(1));
    }

    #[test]
    fn cut_attributes_are_an_error() {
        for bytes in [&[8, 0, 1][..], &[8, 0, 1, 0, 9], &[3, 0, 1, 0]] {
            assert!(Attributes::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn requests_have_the_layout_of_netlink() {
        let attributes = Builder::new().u32(15, 1).unwrap();
        let bytes = encode(30, 2, &attributes, Method::Do, 5).unwrap();
        assert_eq!(bytes.len(), 28);
        let (message, rest) = Message::split(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!((message.kind, message.flags, message.sequence), (30, 5, 5));
        let (command, read) = message.attributes().unwrap();
        assert_eq!((command, read.u32(15)), (2, Some(1)));
        let dump = encode(30, 4, &Builder::new(), Method::Dump, 6).unwrap();
        assert_eq!(Message::split(&dump).unwrap().0.flags, 0x301);
    }

    #[test]
    fn extended_acknowledgements_are_read_capped_or_not() {
        let text = Builder::new()
            .string(NLMSGERR_ATTR_MSG, "vote_forged: no")
            .unwrap();
        let request = encode(30, 2, &Builder::new().u32(1, 1).unwrap(), Method::Do, 1).unwrap();
        let mut capped = (-129i32).to_ne_bytes().to_vec();
        capped.extend_from_slice(&request[..NLMSG_HDRLEN]);
        let mut whole = (-129i32).to_ne_bytes().to_vec();
        whole.extend_from_slice(&request);
        for (mut payload, flags) in [
            (capped, NLM_F_CAPPED | NLM_F_ACK_TLVS),
            (whole, NLM_F_ACK_TLVS),
        ] {
            payload.extend_from_slice(&text.bytes);
            let bytes = raw(NLMSG_ERROR, flags, 1, &payload);
            let (message, _) = Message::split(&bytes).unwrap();
            assert_eq!(
                message.verdict().unwrap(),
                (129, Some("vote_forged: no".to_owned()))
            );
        }
    }

    #[test]
    fn the_end_of_a_dump_may_carry_an_error() {
        let bytes = raw(NLMSG_DONE, 0, 1, &(-1i32).to_ne_bytes());
        let (message, _) = Message::split(&bytes).unwrap();
        assert_eq!(message.verdict().unwrap(), (1, None));
        let mut payload = (-1i32).to_ne_bytes().to_vec();
        let text = Builder::new()
            .string(NLMSGERR_ATTR_MSG, "labelled: no")
            .unwrap();
        payload.extend_from_slice(&text.bytes);
        let bytes = raw(NLMSG_DONE, NLM_F_ACK_TLVS, 1, &payload);
        let (message, _) = Message::split(&bytes).unwrap();
        assert_eq!(
            message.verdict().unwrap(),
            (1, Some("labelled: no".to_owned()))
        );
        let bytes = raw(NLMSG_DONE, 0, 1, &[]);
        let (message, _) = Message::split(&bytes).unwrap();
        assert_eq!(message.verdict().unwrap(), (0, None));
    }

    /// The controller is part of every kernel: the socket is real.
    #[test]
    fn the_real_controller_answers() {
        let mut socket = Socket::open().unwrap();
        let controller = socket.family("nlctrl").unwrap();
        assert_eq!(controller.id, GENL_ID_CTRL);
        assert!(controller.groups.contains_key("notify"));
        let families = socket
            .request(
                GENL_ID_CTRL,
                CTRL_CMD_GETFAMILY,
                &Builder::new(),
                Method::Dump,
            )
            .unwrap();
        assert!(families
            .iter()
            .any(|family| family.string(CTRL_ATTR_FAMILY_NAME).as_deref() == Some("nlctrl")));
        let missing = socket.family("no-such-family").unwrap_err();
        assert_eq!(missing.errno(), 2);
        let refused = socket
            .request(GENL_ID_CTRL, 99, &Builder::new(), Method::Do)
            .unwrap_err();
        assert_eq!(refused.errno(), 95);
    }

    #[test]
    fn a_silent_group_is_silence() {
        let mut socket = Socket::open().unwrap();
        let controller = socket.family("nlctrl").unwrap();
        socket.join(controller.groups["notify"]).unwrap();
        let heard = socket
            .listen(GENL_ID_CTRL, Duration::from_millis(10))
            .unwrap();
        assert!(matches!(heard, Heard::Silence | Heard::Messages(_)));
    }

    proptest! {
        #[test]
        fn nothing_received_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((message, _)) = Message::split(&bytes) {
                let _ = message.attributes();
                let _ = message.verdict();
            }
            let _ = Attributes::parse(&bytes);
        }
    }
}
