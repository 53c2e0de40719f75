// SPDX-License-Identifier: GPL-2.0

//! NET_CONNECT, NET_BIND, NET_SEND and UNIX_CONNECT: whom a task talks to.

use crate::{
    abi::{
        path::Path,
        socket::{
            Socket,
            AF_INET,
            AF_INET6,
            AF_UNIX, //
        }, //
    },
    engine::{
        address::Address,
        op::Op,
        request::{
            Fact,
            FactWriter, //
        }, //
    },
    node::Node,
    object::Object,
    query::{
        Context,
        Query, //
    }, //
};
use kernel::prelude::*;

/// `AF_UNSPEC`.
const AF_UNSPEC: u16 = 0;
/// `SOCK_STREAM`, `SOCK_SEQPACKET` (`include/linux/net.h`).
const SOCK_STREAM: u16 = 1;
/// `SOCK_SEQPACKET`.
const SOCK_SEQPACKET: u16 = 5;

/// What a `struct sockaddr` says.
enum Peer {
    /// An internet address and a port.
    Internet(Address, u16),
    /// Something else, by its family.
    Other(u16),
}

/// Reads a `struct sockaddr`. One that is too short is nothing that a rule could match; the
/// protocol refuses it later.
fn parse(raw: &[u8]) -> Peer {
    let family = raw
        .first_chunk()
        .map_or(AF_UNSPEC, |bytes| u16::from_ne_bytes(*bytes));
    let port = || raw.get(2..4)?.try_into().ok().map(u16::from_be_bytes);
    let internet = match family {
        // `struct sockaddr_in`: the address is at 4.
        AF_INET => raw
            .get(4..8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Address::V4),
        // `struct sockaddr_in6`: flow information at 4, the address at 8.
        AF_INET6 => raw
            .get(8..24)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Address::V6),
        _ => None,
    };
    match internet.zip(port()) {
        Some((address, port)) => Peer::Internet(address.normalised(), port),
        None => Peer::Other(family),
    }
}

fn judge(node: &Node, op: Op, peer: &Peer, hook: &'static str, context: Context) -> Result {
    let Some(actor) = node.actor_for(op) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| match peer {
        Peer::Internet(address, port) => facts.fact(&Fact::internet(address, *port)),
        Peer::Other(family) => facts.fact(&Fact::Address {
            family: *family,
            port: 0,
            address: &[],
        }),
    };
    let query = Query::new(op, hook, context).facts(&facts);
    node.check(
        &actor,
        &match peer {
            Peer::Internet(address, port) => query.address(*address, *port),
            Peer::Other(_) => query,
        },
    )
}

/// A socket is about to be connected. The way to a UNIX socket is judged by [`unix_find`] and
/// [`unix_abstract`].
pub(crate) fn connect(node: &Node, addr: &[u8], hook: &'static str) -> Result {
    match parse(addr) {
        // This disconnects.
        Peer::Other(AF_UNSPEC | AF_UNIX) => Ok(()),
        peer => judge(node, Op::NetConnect, &peer, hook, Context::Wait),
    }
}

/// A socket is about to get a local address. For UNIX sockets that makes a file: FILE_CREATE.
pub(crate) fn bind(node: &Node, addr: &[u8], hook: &'static str) -> Result {
    match parse(addr) {
        Peer::Other(AF_UNIX) => Ok(()),
        peer => judge(node, Op::NetBind, &peer, hook, Context::Wait),
    }
}

/// A socket is about to listen; one without a local port gets one now.
pub(crate) fn listen(node: &Node, sock: &Socket) -> Result {
    if !sock.is_unbound() {
        return Ok(());
    }
    let any = match sock.family() {
        AF_INET6 => Address::V6([0; 16]),
        _ => Address::V4([0; 4]),
    };
    judge(
        node,
        Op::NetBind,
        &Peer::Internet(any, 0),
        "socket_listen",
        Context::Wait,
    )
}

/// A message is about to be sent. One without an address goes where `connect` was judged to go.
#[inline]
pub(crate) fn sendmsg(node: &Node, sock: &Socket, name: Option<&[u8]>) -> Result {
    let Some(name) = name else {
        return Ok(());
    };
    match parse(name) {
        Peer::Other(AF_UNIX) => Ok(()),
        // TCP fast open connects.
        peer if matches!(sock.type_(), SOCK_STREAM | SOCK_SEQPACKET) => judge(
            node,
            Op::NetConnect,
            &peer,
            "socket_sendmsg",
            Context::Sleep,
        ),
        peer => judge(node, Op::NetSend, &peer, "socket_sendmsg", Context::Sleep),
    }
}

/// SCTP binds or connects to several addresses at once; the kernel passes each one here.
pub(crate) fn sctp(node: &Node, optname: i32, addr: &[u8]) -> Result {
    /// `SCTP_SOCKOPT_BINDX_ADD`, `SCTP_PRIMARY_ADDR`, `SCTP_SET_PEER_PRIMARY_ADDR`
    /// (`include/uapi/linux/sctp.h`): local addresses. The others are remote.
    const LOCAL: [i32; 3] = [100, 6, 5];
    let op = if LOCAL.contains(&optname) {
        Op::NetBind
    } else {
        Op::NetConnect
    };
    judge(node, op, &parse(addr), "sctp_bind_connect", Context::Atomic)
}

/// A UNIX socket was found by path: a task is about to connect to it or to send to it.
pub(crate) fn unix_find(node: &Node, path: &Path) -> Result {
    let Some(actor) = node.actor_for(Op::UnixConnect) else {
        return Ok(());
    };
    node.check(
        &actor,
        &Query::new(Op::UnixConnect, "unix_find", Context::Sleep).on(Object::At(path)),
    )
}

/// A task is about to connect or to send to a UNIX socket with an abstract name, which has no
/// inode: the rules without a path and the DEFAULT decide.
///
/// Context: a spin lock of the socket is held.
pub(crate) fn unix_abstract(node: &Node, name: Option<&[u8]>, hook: &'static str) -> Result {
    let Some(name) = name else {
        // By path, and judged; or unnamed, and then a pair that the task was given.
        return Ok(());
    };
    let Some(actor) = node.actor_for(Op::UnixConnect) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Name(name));
    node.check(
        &actor,
        &Query::new(Op::UnixConnect, hook, Context::Atomic).facts(&facts),
    )
}
