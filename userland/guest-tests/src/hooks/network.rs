// SPDX-License-Identifier: GPL-2.0

//! NET_CONNECT, NET_BIND, NET_SEND and UNIX_CONNECT.

use super::{
    probe::Probe,
    sys, //
};
use crate::{
    harness::{
        be,
        ensure,
        fact,
        fact_of,
        fact_text,
        op,
        Ctx,
        Test, //
    },
    stage::{
        expect_errno,
        Request, //
    },
};
use std::os::fd::OwnedFd;

const LOCAL4: [u8; 4] = [127, 0, 0, 1];
const LOCAL6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// `::ffff:127.0.0.1`.
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];

fn fixture<T>(what: &str, result: Result<T, i32>) -> Result<T, String> {
    result.map_err(|errno| format!("{what}: errno {errno}"))
}

/// A listening TCP socket on every address, and its port.
fn server(family: i32) -> Result<(OwnedFd, u16), String> {
    let socket = fixture("server", sys::socket(family, libc::SOCK_STREAM))?;
    let any = if family == libc::AF_INET {
        sys::v4([0; 4], 0)
    } else {
        sys::v6([0; 16], 0)
    };
    expect_errno("bind of the server", sys::bind(&socket, &any), 0)?;
    expect_errno("listen of the server", sys::listen(&socket), 0)?;
    let port = sys::local_port(&socket);
    Ok((socket, port))
}

fn connect_to(family: i32, kind: i32, address: &[u8]) -> i32 {
    match sys::socket(family, kind) {
        Ok(socket) => sys::connect(&socket, address),
        Err(errno) => errno,
    }
}

fn shows_address(request: &Request, address: &[u8], port: u16) -> Result<(), String> {
    let shown = fact_of(request, fact::ADDRESS).unwrap_or_default();
    ensure(
        shown.get(4..) == Some(address) && be(&shown, 2, 2) == u64::from(port),
        || format!("ADDRESS is {shown:?}"),
    )
}

fn connect_v4(ctx: &mut Ctx) -> Result<(), String> {
    let (_server, port) = server(libc::AF_INET)?;
    let act = || connect_to(libc::AF_INET, libc::SOCK_STREAM, &sys::v4(LOCAL4, port));
    let request = Probe::new(
        op::NET_CONNECT,
        format!("addr=127.0.0.0/8 port={port}"),
        &act,
    )
    .all(ctx)?;
    shows_address(&request, &LOCAL4, port)
}

fn connect_v6(ctx: &mut Ctx) -> Result<(), String> {
    let (_server, port) = server(libc::AF_INET6)?;
    let act = || connect_to(libc::AF_INET6, libc::SOCK_STREAM, &sys::v6(LOCAL6, port));
    let request = Probe::new(op::NET_CONNECT, "addr=::1/128", &act).all(ctx)?;
    shows_address(&request, &LOCAL6, port)
}

fn connect_mapped(ctx: &mut Ctx) -> Result<(), String> {
    // An IPv4 rule holds for the same address in IPv6's clothes.
    let (_server, port) = server(libc::AF_INET)?;
    let act = || connect_to(libc::AF_INET6, libc::SOCK_STREAM, &sys::v6(MAPPED, port));
    let request = Probe::new(op::NET_CONNECT, "addr=127.0.0.1", &act).all(ctx)?;
    shows_address(&request, &LOCAL4, port)
}

fn connect_udp(ctx: &mut Ctx) -> Result<(), String> {
    let act = || connect_to(libc::AF_INET, libc::SOCK_DGRAM, &sys::v4(LOCAL4, 9));
    Probe::new(op::NET_CONNECT, "addr=127.0.0.1 port=9", &act).denied(ctx)
}

fn connect_elsewhere_stays_free(ctx: &mut Ctx) -> Result<(), String> {
    let (_server, port) = server(libc::AF_INET)?;
    let act = || connect_to(libc::AF_INET, libc::SOCK_STREAM, &sys::v4(LOCAL4, port));
    ctx.worker_policy(&format!(
        "op=NET_CONNECT addr=127.0.0.2 action=DENY\nop=NET_CONNECT addr=127.0.0.1 port={} action=DENY\nop=NET_CONNECT addr=::/0 action=DENY",
        port ^ 1
    ))?;
    expect_errno("another address, port, family", ctx.both(act)?.0, 0)
}

fn connect_by_fast_open(ctx: &mut Ctx) -> Result<(), String> {
    // MSG_FASTOPEN connects by sending.
    let (_server, port) = server(libc::AF_INET)?;
    let act = || match sys::socket(libc::AF_INET, libc::SOCK_STREAM) {
        Ok(socket) => sys::send_to(&socket, &sys::v4(LOCAL4, port), libc::MSG_FASTOPEN),
        Err(errno) => errno,
    };
    Probe::new(op::NET_CONNECT, format!("addr=127.0.0.1 port={port}"), &act)
        .all(ctx)
        .map(drop)
}

fn connect_to_the_unspecified_address(ctx: &mut Ctx) -> Result<(), String> {
    // The unspecified address leads to this host.
    let (_server, port) = server(libc::AF_INET)?;
    let act = || connect_to(libc::AF_INET, libc::SOCK_STREAM, &sys::v4([0; 4], port));
    Probe::new(op::NET_CONNECT, "addr=127.0.0.1", &act).denied(ctx)?;
    let (_server, port) = server(libc::AF_INET6)?;
    let act = || connect_to(libc::AF_INET6, libc::SOCK_STREAM, &sys::v6([0; 16], port));
    Probe::new(op::NET_CONNECT, "addr=::1", &act).denied(ctx)
}

fn send_without_a_family(ctx: &mut Ctx) -> Result<(), String> {
    // UDP takes an address of no family for its own.
    let mut address = sys::v4(LOCAL4, 9);
    address.splice(..2, [0, 0]);
    let act = || match sys::socket(libc::AF_INET, libc::SOCK_DGRAM) {
        Ok(socket) => sys::send_to(&socket, &address, 0),
        Err(errno) => errno,
    };
    Probe::new(op::NET_SEND, "addr=127.0.0.1", &act).denied(ctx)
}

fn bind_without_a_family(ctx: &mut Ctx) -> Result<(), String> {
    let mut address = sys::v4([0; 4], 8043);
    address.splice(..2, [0, 0]);
    let act = || bind_to(libc::AF_INET, libc::SOCK_STREAM, &address);
    Probe::new(op::NET_BIND, "port=8043", &act).denied(ctx)
}

fn bind_to(family: i32, kind: i32, address: &[u8]) -> i32 {
    match sys::socket(family, kind) {
        Ok(socket) => sys::bind(&socket, address),
        Err(errno) => errno,
    }
}

fn bind_v4(ctx: &mut Ctx) -> Result<(), String> {
    let act = || bind_to(libc::AF_INET, libc::SOCK_STREAM, &sys::v4(LOCAL4, 8042));
    Probe::new(op::NET_BIND, "port=8000-8100", &act)
        .all(ctx)
        .map(drop)
}

fn bind_v6(ctx: &mut Ctx) -> Result<(), String> {
    let act = || bind_to(libc::AF_INET6, libc::SOCK_DGRAM, &sys::v6(LOCAL6, 8042));
    Probe::new(op::NET_BIND, "addr=::1", &act)
        .all(ctx)
        .map(drop)
}

fn listen_without_bind(ctx: &mut Ctx) -> Result<(), String> {
    // Listening binds to a free port by itself.
    let act = || match sys::socket(libc::AF_INET, libc::SOCK_STREAM) {
        Ok(socket) => sys::listen(&socket),
        Err(errno) => errno,
    };
    Probe::new(op::NET_BIND, "", &act).all(ctx).map(drop)
}

fn send(ctx: &mut Ctx) -> Result<(), String> {
    let act = || match sys::socket(libc::AF_INET, libc::SOCK_DGRAM) {
        Ok(socket) => sys::send_to(&socket, &sys::v4(LOCAL4, 9), 0),
        Err(errno) => errno,
    };
    let request = Probe::new(op::NET_SEND, "addr=127.0.0.1 port=9", &act).all(ctx)?;
    shows_address(&request, &LOCAL4, 9)
}

fn send_mapped(ctx: &mut Ctx) -> Result<(), String> {
    let act = || match sys::socket(libc::AF_INET6, libc::SOCK_DGRAM) {
        Ok(socket) => sys::send_to(&socket, &sys::v6(MAPPED, 9), 0),
        Err(errno) => errno,
    };
    Probe::new(op::NET_SEND, "addr=127.0.0.1", &act).denied(ctx)
}

fn send_many(ctx: &mut Ctx) -> Result<(), String> {
    // sendmmsg: the first message is harmless, the second is not.
    let act = || {
        let Ok(socket) = sys::socket(libc::AF_INET, libc::SOCK_DGRAM) else {
            return -1;
        };
        let mut addresses = [sys::v4(LOCAL4, 10), sys::v4(LOCAL4, 9)];
        let mut vector = libc::iovec {
            iov_base: c"x".as_ptr().cast_mut().cast(),
            iov_len: 1,
        };
        // SAFETY: All zeroes are empty messages.
        let mut messages: [libc::mmsghdr; 2] = unsafe { std::mem::zeroed() };
        for (message, address) in messages.iter_mut().zip(&mut addresses) {
            message.msg_hdr.msg_name = address.as_mut_ptr().cast();
            message.msg_hdr.msg_namelen = 16;
            message.msg_hdr.msg_iov = &mut vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: Two messages that describe buffers that live.
        let sent = unsafe {
            libc::sendmmsg(
                std::os::fd::AsRawFd::as_raw_fd(&socket),
                messages.as_mut_ptr(),
                2,
                0,
            )
        };
        if sent == 2 {
            0
        } else {
            // One of two: the second was refused, and the call says so only by the number.
            libc::EACCES
        }
    };
    Probe::new(op::NET_SEND, "addr=127.0.0.1 port=9", &act).denied(ctx)
}

/// A UNIX socket that others can connect or send to.
fn unix_server(kind: i32, name: &str) -> Result<OwnedFd, String> {
    let socket = fixture("server", sys::socket(libc::AF_UNIX, kind))?;
    expect_errno(
        "bind of the server",
        sys::bind(&socket, &sys::unix(name)),
        0,
    )?;
    if kind == libc::SOCK_STREAM {
        // Deep enough for all the connections of a probe.
        // SAFETY: No pointers are passed.
        let errno = sys::out(unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&socket), 64) });
        expect_errno("listen of the server", errno, 0)?;
    }
    Ok(socket)
}

fn unix_stream(ctx: &mut Ctx) -> Result<(), String> {
    let name = ctx.path("socket");
    let _server = unix_server(libc::SOCK_STREAM, &name)?;
    let act = || connect_to(libc::AF_UNIX, libc::SOCK_STREAM, &sys::unix(&name));
    let request = Probe::new(op::UNIX_CONNECT, format!("path={name}"), &act).all(ctx)?;
    ensure(fact_text(&request, fact::PATH) == name, || {
        format!("PATH is {}", fact_text(&request, fact::PATH))
    })
}

fn unix_below_a_directory(ctx: &mut Ctx) -> Result<(), String> {
    let dir = ctx.dir("run")?;
    let name = ctx.path("run/socket");
    let _server = unix_server(libc::SOCK_STREAM, &name)?;
    let act = || connect_to(libc::AF_UNIX, libc::SOCK_STREAM, &sys::unix(&name));
    Probe::new(op::UNIX_CONNECT, format!("path={dir}"), &act).denied(ctx)
}

fn unix_datagram_connect(ctx: &mut Ctx) -> Result<(), String> {
    let name = ctx.path("socket");
    let _server = unix_server(libc::SOCK_DGRAM, &name)?;
    let act = || connect_to(libc::AF_UNIX, libc::SOCK_DGRAM, &sys::unix(&name));
    Probe::new(op::UNIX_CONNECT, format!("path={name}"), &act)
        .all(ctx)
        .map(drop)
}

fn send_unix(name: &str) -> i32 {
    match sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM) {
        Ok(socket) => sys::send_to(&socket, &sys::unix(name), libc::MSG_DONTWAIT),
        Err(errno) => errno,
    }
}

fn unix_datagram_send(ctx: &mut Ctx) -> Result<(), String> {
    let name = ctx.path("socket");
    let _server = unix_server(libc::SOCK_DGRAM, &name)?;
    let act = || send_unix(&name);
    Probe::new(op::UNIX_CONNECT, format!("path={name}"), &act)
        .all(ctx)
        .map(drop)
}

fn unix_abstract_stream(ctx: &mut Ctx) -> Result<(), String> {
    let name = "@guest-tests-stream";
    let _server = unix_server(libc::SOCK_STREAM, name)?;
    let act = || connect_to(libc::AF_UNIX, libc::SOCK_STREAM, &sys::unix(name));
    // An abstract name has no inode: only rules without a path reach it.
    let request = Probe::new(op::UNIX_CONNECT, "", &act).all(ctx)?;
    ensure(
        fact_text(&request, fact::NAME).trim_start_matches('\0') == "guest-tests-stream",
        || format!("NAME is {}", fact_text(&request, fact::NAME)),
    )
}

fn unix_abstract_datagram(ctx: &mut Ctx) -> Result<(), String> {
    let name = "@guest-tests-datagram";
    let _server = unix_server(libc::SOCK_DGRAM, name)?;
    Probe::new(op::UNIX_CONNECT, "", &|| send_unix(name))
        .all(ctx)
        .map(drop)
}

fn unix_pair_stays_free(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("op=UNIX_CONNECT class=worker action=DENY")?;
    let act = || match sys::pair() {
        Ok((one, _other)) => sys::write(&one),
        Err(errno) => errno,
    };
    expect_errno("a pair of its own", ctx.both(act)?.0, 0)
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("net_connect_v4", connect_v4),
    Test::new("net_connect_v6", connect_v6),
    Test::new("net_connect_mapped", connect_mapped),
    Test::new("net_connect_udp", connect_udp),
    Test::new(
        "net_connect_elsewhere_stays_free",
        connect_elsewhere_stays_free,
    ),
    Test::new("net_connect_by_fast_open", connect_by_fast_open),
    Test::new(
        "net_connect_to_the_unspecified_address",
        connect_to_the_unspecified_address,
    ),
    Test::new("net_bind_v4", bind_v4),
    Test::new("net_bind_without_a_family", bind_without_a_family),
    Test::new("net_send_without_a_family", send_without_a_family),
    Test::new("net_bind_v6", bind_v6),
    Test::new("net_bind_listen_without_bind", listen_without_bind),
    Test::new("net_send", send),
    Test::new("net_send_mapped", send_mapped),
    Test::new("net_send_many", send_many),
    Test::new("unix_connect_stream", unix_stream),
    Test::new("unix_connect_below_a_directory", unix_below_a_directory),
    Test::new("unix_connect_datagram", unix_datagram_connect),
    Test::new("unix_connect_datagram_send", unix_datagram_send),
    Test::new("unix_connect_abstract_stream", unix_abstract_stream),
    Test::new("unix_connect_abstract_datagram", unix_abstract_datagram),
    Test::new("unix_connect_pair_stays_free", unix_pair_stays_free),
];
