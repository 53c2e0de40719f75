// SPDX-License-Identifier: GPL-2.0

//! Sockets, as LSM hooks see them.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h),
//! [`include/net/af_unix.h`](srctree/include/net/af_unix.h)

use super::bindings;
use kernel::{
    fs::File,
    types::Opaque, //
};

/// `AF_UNIX`.
pub(crate) const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub(crate) const AF_INET: u16 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u16 = 10;
/// `AF_NETLINK`
pub(crate) const AF_NETLINK: u16 = 16;
/// `NETLINK_GENERIC` (`include/uapi/linux/netlink.h`)
const NETLINK_GENERIC: u16 = 16;

/// A socket of the protocol layer.
///
/// Wraps the kernel's `struct sock`.
///
/// # Invariants
///
/// The socket has a reference count above zero for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Sock(Opaque<bindings::sock>);

impl Sock {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `sk` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(sk: *const bindings::sock) -> &'a Self {
        // SAFETY: By the safety requirements; `Sock` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*sk.cast() }
    }

    /// The address family, `AF_*`.
    pub(crate) fn family(&self) -> u16 {
        // SAFETY: By the type invariant the socket is valid.
        unsafe { bindings::sk_family(self.0.get()) }
    }

    /// The local port of an internet socket, 0 while it has none; `None` for other families.
    pub(crate) fn local_port(&self) -> Option<u16> {
        match self.family() {
            // SAFETY: By the type invariant the socket is valid, and it is an `inet_sock`.
            AF_INET | AF_INET6 => Some(unsafe { bindings::inet_num(self.0.get()) }),
            _ => None,
        }
    }

    /// The name that a UNIX socket is bound to: `sun_path`, so that an abstract name starts with a
    /// NUL byte. `None` for an unnamed socket, and for other families.
    pub(crate) fn unix_name(&self) -> Option<&[u8]> {
        if self.family() != AF_UNIX {
            return None;
        }
        let mut len = 0;
        // SAFETY: By the type invariant the socket is valid, and it is a `unix_sock`.
        let name = unsafe { bindings::unix_name(self.0.get(), &mut len) };
        if name.is_null() {
            return None;
        }
        // SAFETY: There are `len` bytes, which never change and live as long as the socket.
        Some(unsafe { core::slice::from_raw_parts(name.cast(), len) })
    }

    /// The abstract name of a UNIX socket, with its leading NUL byte.
    pub(crate) fn abstract_name(&self) -> Option<&[u8]> {
        self.unix_name().filter(|name| name.first() == Some(&0))
    }
}

/// A UNIX socket of the protocol layer.
pub(crate) type UnixSock = Sock;

/// A socket of the system call layer.
///
/// Wraps the kernel's `struct socket`.
///
/// # Invariants
///
/// The socket is open for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Socket(Opaque<bindings::socket>);

impl Socket {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `socket` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(socket: *const bindings::socket) -> &'a Self {
        // SAFETY: By the safety requirements; `Socket` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*socket.cast() }
    }

    /// The socket that `file` is; `None` for any other file.
    pub(crate) fn from_file(file: &File) -> Option<&Self> {
        // SAFETY: The file is valid.
        let socket = unsafe { bindings::sock_from_file(file.as_ptr()) };
        // SAFETY: A socket lives as long as its file.
        (!socket.is_null()).then(|| unsafe { Self::from_raw(socket) })
    }

    /// Whether it speaks generic netlink.
    pub(crate) fn is_generic_netlink(&self) -> bool {
        self.sock().is_some_and(|sock| {
            // SAFETY: By the type invariant of `Sock`; the field does not change.
            let protocol = unsafe { bindings::sk_protocol(sock.0.get()) };
            sock.family() == AF_NETLINK && protocol == NETLINK_GENERIC
        })
    }

    /// Whether it is an internet socket that is bound to one address of this host.
    pub(crate) fn has_address(&self) -> bool {
        self.sock().is_some_and(|sock| {
            // SAFETY: By the type invariant of `Sock`; the helper looks at internet sockets only.
            unsafe { bindings::inet_has_address(sock.0.get()) }
        })
    }

    /// The port of a netlink socket, 0 while it has none; `None` for other families, and for a
    /// socket that listens to a multicast group (the first 32 of the protocol).
    ///
    /// Context: process context, may sleep.
    pub(crate) fn netlink_port(&self) -> Option<u32> {
        if self.family() != AF_NETLINK {
            return None;
        }
        let mut name = [0_u64; 16];
        // SAFETY: By the type invariant, and `name` has the size and alignment of a
        // `sockaddr_storage`.
        let len = unsafe { bindings::kernel_getsockname(self.0.get(), name.as_mut_ptr().cast()) };
        // `struct sockaddr_nl` has the port at 4, the upper half of the first word.
        let [.., a, b, c, d] = name.first()?.to_ne_bytes();
        // The groups are in the next four bytes.
        let [e, f, g, h, ..] = name.get(1)?.to_ne_bytes();
        (len >= 12 && [e, f, g, h] == [0; 4]).then_some(u32::from_ne_bytes([a, b, c, d]))
    }

    /// The protocol's side of it. `None` for a socket that is half made or half closed.
    pub(crate) fn sock(&self) -> Option<&Sock> {
        // SAFETY: By the type invariant the socket is valid, and hooks run where its `sk` does not
        // change.
        let sk = unsafe { (*self.0.get()).sk };
        if sk.is_null() {
            return None;
        }
        // SAFETY: An open socket holds a reference to its `sk`.
        Some(unsafe { Sock::from_raw(sk) })
    }

    /// The address family, `AF_*`; 0, `AF_UNSPEC`, if there is no [`Self::sock`].
    pub(crate) fn family(&self) -> u16 {
        self.sock().map_or(0, Sock::family)
    }

    /// The type, `SOCK_*`.
    pub(crate) fn type_(&self) -> u16 {
        // SAFETY: By the type invariant the socket is valid; the type never changes.
        u16::try_from(unsafe { (*self.0.get()).type_ }).unwrap_or(0)
    }

    /// Whether `listen` would choose a port for it: an internet socket without a local port.
    pub(crate) fn is_unbound(&self) -> bool {
        self.sock().and_then(Sock::local_port) == Some(0)
    }

    /// The abstract name of a UNIX socket, with its leading NUL byte.
    pub(crate) fn abstract_name(&self) -> Option<&[u8]> {
        self.sock().and_then(Sock::abstract_name)
    }
}
