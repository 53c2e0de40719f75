// SPDX-License-Identifier: GPL-2.0

//! NET_CONNECT, NET_BIND, NET_SEND and UNIX_CONNECT: whom a task talks to.

use crate::{
    abi::{
        path::Path,
        socket::{
            Socket,
            AF_INET,
            AF_INET6,
            AF_NETLINK,
            AF_UNIX, //
        },
        task, //
    },
    engine::{
        address::Address,
        op::Op,
        refusal::Refusal,
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

/// `AF_SMC` (`include/linux/socket.h`).
const AF_SMC: u16 = 43;
/// `AF_UNSPEC`.
const AF_UNSPEC: u16 = 0;
/// `SOCK_STREAM`, `SOCK_SEQPACKET` (`include/linux/net.h`).
const SOCK_STREAM: u16 = 1;
/// `SOCK_SEQPACKET`.
const SOCK_SEQPACKET: u16 = 5;

/// `SOL_NETLINK` (`include/linux/socket.h`).
const SOL_NETLINK: i32 = 270;
/// `NETLINK_ADD_MEMBERSHIP` (`include/uapi/linux/netlink.h`).
const NETLINK_ADD_MEMBERSHIP: i32 = 1;

/// Bytes of `struct sockaddr_in` and `struct sockaddr_in6`.
const SOCKADDR_IN: usize = 16;
/// See [`SOCKADDR_IN`].
const SOCKADDR_IN6: usize = 28;

/// What a `struct sockaddr` says.
enum Peer<'a> {
    /// An internet address and a port.
    Internet(Address, u16),
    /// Something else: its family and all of it.
    Other(u16, &'a [u8]),
}

/// The family that a `struct sockaddr` claims.
fn claimed(raw: &[u8]) -> u16 {
    raw.first_chunk()
        .map_or(AF_UNSPEC, |bytes| u16::from_ne_bytes(*bytes))
}

/// Reads a `struct sockaddr` as a socket of the family `own` takes it. One that is too short is
/// nothing that a rule could match; the protocol refuses it later.
fn parse(own: u16, raw: &[u8]) -> Peer<'_> {
    let family = match (own, claimed(raw)) {
        // Internet protocols take no family for their own; IPv6 ones take IPv4 as well.
        (AF_INET | AF_INET6, AF_UNSPEC) => own,
        // SMC is TCP by another name.
        (AF_INET | AF_INET6 | AF_SMC, claimed) => claimed,
        // What other protocols read there is theirs, and need not be a family.
        _ => own,
    };
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
        None => Peer::Other(family, raw),
    }
}

impl Peer<'_> {
    /// The same as a destination: the unspecified address leads to this host.
    fn destination(self) -> Self {
        match self {
            Self::Internet(Address::V4([0, 0, 0, 0]), port) => {
                Self::Internet(Address::V4([127, 0, 0, 1]), port)
            }
            Self::Internet(Address::V6(address), port) if address == [0; 16] => {
                let mut loopback = address;
                if let Some(last) = loopback.last_mut() {
                    *last = 1;
                }
                Self::Internet(Address::V6(loopback), port)
            }
            other => other,
        }
    }
}

fn judge(node: &Node, op: Op, peer: &Peer<'_>, hook: &'static str, context: Context) -> Result {
    let address = match peer {
        Peer::Internet(address, port) => Some((*address, *port)),
        Peer::Other(..) => None,
    };
    if node.passes(op, &[Object::None], address) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(op) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| match peer {
        Peer::Internet(address, port) => facts.fact(&Fact::internet(address, *port)),
        Peer::Other(family, raw) => {
            facts.fact(&Fact::Name(raw))?;
            facts.fact(&Fact::Address {
                family: *family,
                port: 0,
                address: &[],
            })
        }
    };
    node.check(
        &actor,
        &Query {
            address,
            ..Query::new(op, hook, context).facts(&facts)
        },
    )
}

/// Refuses what nobody can judge: the unspecified address leads to loopback, but from a socket that
/// is bound to an address of this host it leads to that one.
fn known(node: &Node, op: Op, sock: &Socket, peer: &Peer<'_>) -> Result {
    let unspecified = match peer {
        Peer::Internet(Address::V4(address), _) => *address == [0; 4],
        Peer::Internet(Address::V6(address), _) => *address == [0; 16],
        Peer::Other(..) => false,
    };
    if unspecified && sock.has_address() && node.actor_for(op).is_some() {
        return Err(EACCES);
    }
    Ok(())
}

/// A socket is about to be connected. The way to a UNIX socket is judged by [`unix_find`] and
/// [`unix_abstract`].
pub(crate) fn connect(node: &Node, sock: &Socket, addr: &[u8]) -> Result {
    let own = sock.family();
    // The kernel itself is no network.
    if matches!(own, AF_UNIX | AF_NETLINK) {
        return Ok(());
    }
    // To an internet socket, no family says: disconnect.
    if matches!(own, AF_INET | AF_INET6) && claimed(addr) == AF_UNSPEC {
        return Ok(());
    }
    let peer = parse(own, addr);
    known(node, Op::NetConnect, sock, &peer)?;
    let peer = peer.destination();
    judge(node, Op::NetConnect, &peer, "socket_connect", Context::Wait)
}

/// A socket is about to get a local address. For UNIX sockets that makes a file: FILE_CREATE.
pub(crate) fn bind(node: &Node, sock: &Socket, addr: &[u8]) -> Result {
    let own = sock.family();
    if own == AF_UNIX {
        return Ok(());
    }
    // `struct sockaddr_nl` has the groups to listen to at 8.
    let groups = addr.get(8..12).is_some_and(|groups| groups != [0; 4]);
    if groups && sock.is_generic_netlink() {
        join(node)?;
    }
    // The kernel itself is no network.
    if own == AF_NETLINK {
        return Ok(());
    }
    judge(
        node,
        Op::NetBind,
        &parse(own, addr),
        "socket_bind",
        Context::Wait,
    )
}

/// An option of a socket is about to be set: joining a multicast group is one.
#[inline]
pub(crate) fn setsockopt(node: &Node, sock: &Socket, level: i32, option: i32) -> Result {
    if level == SOL_NETLINK && option == NETLINK_ADD_MEMBERSHIP && sock.is_generic_netlink() {
        return join(node);
    }
    Ok(())
}

/// The calling task wants to listen to a group of some generic netlink family. The kernel does not
/// ask the family, so an agent is kept out of all: it could listen to who approves what.
fn join(node: &Node) -> Result {
    if !node.is_labelled() {
        return Ok(());
    }
    node.control_refused(Refusal::Labelled, "join a netlink group");
    Err(EPERM)
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
    let own = sock.family();
    if matches!(own, AF_UNIX | AF_NETLINK) {
        return Ok(());
    }
    // TCP fast open connects.
    let op = match sock.type_() {
        SOCK_STREAM | SOCK_SEQPACKET => Op::NetConnect,
        _ => Op::NetSend,
    };
    let peer = parse(own, name);
    known(node, op, sock, &peer)?;
    judge(
        node,
        op,
        &peer.destination(),
        "socket_sendmsg",
        Context::Sleep,
    )
}

/// SCTP binds or connects to the addresses in a packed list.
///
/// It also asks about what a peer has sent, in a soft interrupt and for no task in particular: that
/// is not an operation of an agent.
pub(crate) fn sctp(node: &Node, own: u16, optname: i32, addrs: &[u8]) -> Result {
    /// `SCTP_SOCKOPT_BINDX_ADD`, `SCTP_PRIMARY_ADDR`, `SCTP_SET_PEER_PRIMARY_ADDR`
    /// (`include/uapi/linux/sctp.h`): local addresses. The others are remote.
    const LOCAL: [i32; 3] = [100, 6, 5];
    if !task::in_task() {
        return Ok(());
    }
    let local = LOCAL.contains(&optname);
    let op = if local { Op::NetBind } else { Op::NetConnect };
    if node.actor_for(op).is_none() {
        return Ok(());
    }
    let mut rest = addrs;
    while !rest.is_empty() {
        let len = match claimed(rest) {
            AF_INET => SOCKADDR_IN,
            AF_INET6 => SOCKADDR_IN6,
            // What follows cannot be told apart.
            _ => return Err(EACCES),
        };
        let (addr, more) = rest.split_at_checked(len).ok_or(EACCES)?;
        let peer = parse(own, addr);
        let peer = if local { peer } else { peer.destination() };
        judge(node, op, &peer, "sctp_bind_connect", Context::Atomic)?;
        rest = more;
    }
    Ok(())
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
