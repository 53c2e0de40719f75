// SPDX-License-Identifier: GPL-2.0

//! A thin client of the module: generic netlink over a raw socket.
//!
//! It checks nothing that the kernel should check, so that tests can send what `tcpctl` never would.

use std::{
    io,
    os::fd::{
        AsRawFd,
        FromRawFd,
        OwnedFd,
        RawFd, //
    },
};

/// A refusal: the errno and the extended acknowledgement's message, or the errno of a call on this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Positive errno.
    pub errno: i32,
    /// `CODE: text`; the name of the call when it was on this side; empty when the kernel gave none.
    pub text: String,
}

impl Refused {
    fn last(what: &str) -> Self {
        Self {
            errno: io::Error::last_os_error().raw_os_error().unwrap_or(-1),
            text: what.to_owned(),
        }
    }
}

/// Attributes to send.
#[derive(Clone, Debug, Default)]
pub struct Attributes(pub Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.with_length(kind, value, value.len() + 4);
    }

    /// Adds bytes under a header that says `length`, true or not.
    pub fn with_length(&mut self, kind: u16, value: &[u8], length: usize) {
        self.0
            .extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Adds a u32.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Adds a u64.
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Adds a string and its NUL.
    pub fn string(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }
}

/// Received attributes, in their order.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Reply {
    /// Parses attributes; stops at the first one that does not fit.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut attributes = Vec::new();
        while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
            let length = usize::from(length);
            let Some(payload) = bytes.get(4..length) else {
                break;
            };
            attributes.push((kind & 0x3fff, payload.to_vec()));
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Self { attributes }
    }

    /// This reply before `other`: what both have is taken from this one.
    pub fn before(mut self, other: Self) -> Self {
        self.attributes.extend(other.attributes);
        self
    }

    /// The first attribute of this kind.
    pub fn bytes(&self, kind: u16) -> Option<&[u8]> {
        self.all(kind).next()
    }

    /// All attributes of this kind.
    pub fn all(&self, kind: u16) -> impl Iterator<Item = &[u8]> {
        self.attributes
            .iter()
            .filter(move |(found, _)| *found == kind)
            .map(|(_, payload)| payload.as_slice())
    }

    /// A u32.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        self.bytes(kind)?.try_into().ok().map(u32::from_ne_bytes)
    }

    /// A u64.
    pub fn u64(&self, kind: u16) -> Option<u64> {
        self.bytes(kind)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// A string, without its NUL.
    pub fn string(&self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?;
        let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// One received message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Type: the family's number, or one of netlink's own.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// Sequence number; 0 in a multicast.
    pub sequence: u32,
    /// What follows the netlink header.
    pub payload: Vec<u8>,
}

impl Message {
    /// The attributes after the generic netlink header.
    pub fn attributes(&self) -> Reply {
        Reply::parse(self.payload.get(4..).unwrap_or_default())
    }
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const GENL_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const SOL_NETLINK: i32 = 270;
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;
const NETLINK_GET_STRICT_CHK: i32 = 12;
/// The acknowledgement carries only the header of what it answers.
const CAPPED: u16 = 0x100;
/// The acknowledgement carries attributes.
const ACK_TLVS: u16 = 0x200;

/// Flags of a command: NLM_F_REQUEST and NLM_F_ACK.
pub const DO: u16 = 5;
/// Flags of a dump: NLM_F_REQUEST and NLM_F_DUMP.
pub const DUMP: u16 = 0x301;

/// Receive limit of a socket, seconds.
const LIMIT_S: i64 = 30;

/// More than any datagram has.
const ROOM: usize = 1 << 18;

/// A netlink socket that knows the family's number.
pub struct Client {
    fd: OwnedFd,
    /// Number of the family.
    pub family: u16,
    /// Number of the multicast group `events`.
    pub group: u32,
    sequence: u32,
    room: usize,
}

impl Client {
    /// Opens a socket and resolves the family.
    pub fn open() -> Result<Self, Refused> {
        Self::with_room(ROOM)
    }

    /// As [`Client::open`], with a receive buffer of so many bytes: the kernel makes the parts of a dump as large,
    /// from a page to 32 KiB.
    pub fn with_room(room: usize) -> Result<Self, Refused> {
        // SAFETY: No pointers are passed.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_GENERIC,
            )
        };
        if fd < 0 {
            return Err(Refused::last("socket"));
        }
        let mut client = Self {
            // SAFETY: The descriptor is new and owned by nobody else.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            family: GENL_CTRL,
            group: 0,
            sequence: 0,
            room,
        };
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK] {
            client.set(SOL_NETLINK, option, &1u32.to_ne_bytes())?;
        }
        let mut limit = LIMIT_S.to_ne_bytes().to_vec();
        limit.extend(0i64.to_ne_bytes());
        client.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &limit)?;

        let mut name = Attributes::new();
        name.string(2, "tcp-lsm");
        let missing = || Refused {
            errno: libc::EPROTO,
            text: "the answer about the family is incomplete".to_owned(),
        };
        let replies = client.call(CTRL_CMD_GETFAMILY, &name)?;
        let reply = replies.first().ok_or_else(missing)?;
        let family = reply
            .bytes(1)
            .and_then(|bytes| u16_at(bytes, 0))
            .ok_or_else(missing)?;
        for (_, group) in Reply::parse(reply.bytes(7).unwrap_or_default()).attributes {
            let group = Reply::parse(&group);
            if group.string(1).as_deref() == Some("events") {
                client.group = group.u32(2).ok_or_else(missing)?;
            }
        }
        client.family = family;
        Ok(client)
    }

    /// `setsockopt`.
    pub fn set(&self, level: i32, option: i32, value: &[u8]) -> Result<(), Refused> {
        let length = u32::try_from(value.len()).unwrap_or(0);
        // SAFETY: The pointer and the length describe `value`.
        let result =
            unsafe { libc::setsockopt(self.fd(), level, option, value.as_ptr().cast(), length) };
        if result < 0 {
            return Err(Refused::last("setsockopt"));
        }
        Ok(())
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Joins the multicast group of events.
    pub fn join_events(&self) -> Result<(), Refused> {
        self.set(
            SOL_NETLINK,
            NETLINK_ADD_MEMBERSHIP,
            &self.group.to_ne_bytes(),
        )
    }

    /// Sends a command with these flags and attributes.
    pub fn send(&mut self, command: u8, flags: u16, payload: &[u8]) -> Result<(), Refused> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::new();
        message.extend(
            u32::try_from(20 + payload.len())
                .unwrap_or(u32::MAX)
                .to_ne_bytes(),
        );
        message.extend(self.family.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend([command, 1, 0, 0]);
        message.extend(payload);
        self.send_raw(&message)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, message: &[u8]) -> Result<(), Refused> {
        // SAFETY: The pointer and the length describe `message`.
        let sent = unsafe { libc::send(self.fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(Refused::last("send"));
        }
        Ok(())
    }

    /// Receives one datagram: one or more messages.
    pub fn datagram(&mut self) -> Result<Vec<Message>, Refused> {
        let mut buffer = vec![0; self.room];
        // SAFETY: The pointer and the length describe `buffer`.
        let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let got = usize::try_from(got).map_err(|_| Refused::last("recv"))?;
        let mut rest: &[u8] = buffer.get(..got).unwrap_or_default();
        let mut messages = Vec::new();
        while let (Some(length), Some(kind), Some(flags), Some(sequence)) = (
            u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()),
            u16_at(rest, 4),
            u16_at(rest, 6),
            u32_at(rest, 8),
        ) {
            let Some(payload) = rest.get(16..length) else {
                break;
            };
            messages.push(Message {
                kind,
                flags,
                sequence,
                payload: payload.to_vec(),
            });
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }

    /// Gathers replies up to the acknowledgement or the end of a dump. Multicasts in between are dropped.
    pub fn receive(&mut self) -> Result<Vec<Reply>, Refused> {
        let mut replies = Vec::new();
        loop {
            for message in self.datagram()? {
                let errno = || {
                    message
                        .payload
                        .first_chunk()
                        .map_or(0, |bytes| i32::from_ne_bytes(*bytes))
                };
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE if errno() >= 0 => return Ok(replies),
                    NLMSG_ERROR | NLMSG_DONE => {
                        let skip = if message.kind == NLMSG_DONE {
                            4
                        } else if message.flags & CAPPED != 0 {
                            20
                        } else {
                            let length = u32_at(&message.payload, 4).unwrap_or(16);
                            4 + usize::try_from(length).unwrap_or(16).next_multiple_of(4)
                        };
                        let mut text = String::new();
                        if message.flags & ACK_TLVS != 0 {
                            let attributes =
                                Reply::parse(message.payload.get(skip..).unwrap_or_default());
                            text = attributes.string(1).unwrap_or_default();
                        }
                        return Err(Refused {
                            errno: -errno(),
                            text,
                        });
                    }
                    _ if message.sequence != 0 => replies.push(message.attributes()),
                    _ => {}
                }
            }
        }
    }

    /// A command and its replies.
    pub fn call(&mut self, command: u8, attributes: &Attributes) -> Result<Vec<Reply>, Refused> {
        self.send(command, DO, &attributes.0)?;
        self.receive()
    }

    /// A dump and its replies.
    pub fn dump(&mut self, command: u8, attributes: &Attributes) -> Result<Vec<Reply>, Refused> {
        self.send(command, DUMP, &attributes.0)?;
        self.receive()
    }
}
