// SPDX-License-Identifier: GPL-2.0

//! System calls as functions that give an errno, 0 for success.
//!
//! They may be used in forked children: they take no locks and leave no state but what they say.

use std::{
    ffi::CString,
    fs::File,
    io, mem,
    os::fd::{
        AsRawFd,
        FromRawFd,
        OwnedFd,
        RawFd, //
    },
    ptr,
};

/// A NUL-terminated copy; empty when `text` holds a NUL.
pub fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// The errno of a negative result, else 0.
pub fn out(result: impl Into<i64>) -> i32 {
    if result.into() < 0 {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else {
        0
    }
}

/// A descriptor, or the errno.
pub fn fd(result: impl Into<i64>) -> Result<OwnedFd, i32> {
    let result = result.into();
    match RawFd::try_from(result) {
        // SAFETY: The call has just made it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(out(result)),
    }
}

/// The errno of a result of [`fd`], 0 for success.
pub fn code<T>(result: Result<T, i32>) -> i32 {
    result.err().unwrap_or(0)
}

/// `open`.
pub fn open(path: &str, flags: i32) -> Result<OwnedFd, i32> {
    // SAFETY: The path is NUL-terminated and outlives the call.
    fd(unsafe { libc::open(c(path).as_ptr(), flags | libc::O_CLOEXEC, 0o644) })
}

/// Writes one byte.
pub fn write(fd: &impl AsRawFd) -> i32 {
    // SAFETY: One byte of a constant.
    out(unsafe { libc::write(fd.as_raw_fd(), c"x".as_ptr().cast(), 1) } as i64)
}

/// Reads one byte.
pub fn read(fd: &impl AsRawFd) -> i32 {
    let mut byte = 0u8;
    // SAFETY: The buffer is one byte.
    out(unsafe { libc::read(fd.as_raw_fd(), (&raw mut byte).cast(), 1) } as i64)
}

/// Opens for writing and writes; either errno.
pub fn open_write(path: &str) -> i32 {
    open(path, libc::O_WRONLY).map_or_else(|errno| errno, |fd| write(&fd))
}

/// Opens for reading and reads; either errno.
pub fn open_read(path: &str) -> i32 {
    open(path, libc::O_RDONLY).map_or_else(|errno| errno, |fd| read(&fd))
}

/// Runs `body` in a child; its result, 0 to 254. 255 when a signal ended it.
pub fn in_child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: The processes of these tests are single threaded.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => 254,
        // SAFETY: Ends the child without the parent's exit handlers.
        0 => unsafe { libc::_exit(body()) },
        _ => wait(pid),
    }
}

/// Waits for a child; 255 when a signal ended it.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        255
    }
}

/// Executes a program in a child; the errno of `execve`, or 0, and its exit status.
pub fn exec(arguments: &[&str]) -> (i32, i32) {
    let mut pipe = [0; 2];
    // SAFETY: Room for two descriptors.
    if unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return (out(-1), -1);
    }
    let strings: Vec<CString> = arguments.iter().map(|text| c(text)).collect();
    let mut pointers: Vec<*const libc::c_char> = strings.iter().map(|text| text.as_ptr()).collect();
    pointers.push(ptr::null());
    let environment = [c"PATH=/usr/sbin:/usr/bin".as_ptr(), ptr::null()];
    // SAFETY: As in `in_child`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: Null-terminated arrays of strings that live; descriptors of this process.
        unsafe {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if null >= 0 {
                libc::dup2(null, 0);
                libc::dup2(null, 1);
                libc::dup2(null, 2);
            }
            libc::execve(pointers[0], pointers.as_ptr(), environment.as_ptr());
            let errno = out(-1);
            libc::write(pipe[1], (&raw const errno).cast(), 4);
            libc::_exit(127)
        }
    }
    // SAFETY: The descriptors are this function's.
    unsafe { libc::close(pipe[1]) };
    let mut errno = 0i32;
    // SAFETY: Room for four bytes.
    unsafe {
        libc::read(pipe[0], (&raw mut errno).cast(), 4);
        libc::close(pipe[0]);
    }
    (errno, wait(pid))
}

/// Executes a program: the errno of `execve`, or 0 when it ran and ended with 0, or 1000 and its status.
pub fn run(arguments: &[&str]) -> i32 {
    match exec(arguments) {
        (0, 0) => 0,
        (0, status) => 1000 + status,
        (errno, _) => errno,
    }
}

/// `execveat` of a descriptor, in a child.
pub fn exec_fd(fd: &impl AsRawFd) -> i32 {
    let raw = fd.as_raw_fd();
    let arguments = [c"program".as_ptr(), ptr::null()];
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    in_child(|| {
        // SAFETY: Null-terminated arrays of constant strings.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                raw,
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        out(-1)
    })
}

/// Maps one page; the address, or the errno.
pub fn map(fd: RawFd, protection: i32, flags: i32) -> Result<*mut libc::c_void, i32> {
    // SAFETY: A new mapping disturbs none.
    let at = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, fd, 0) };
    if at == libc::MAP_FAILED {
        Err(out(-1))
    } else {
        Ok(at)
    }
}

/// Maps one page of a file with these protections; the errno.
pub fn map_file(path: &str, protection: i32, flags: i32) -> i32 {
    match open(path, libc::O_RDONLY) {
        Ok(fd) => code(map(fd.as_raw_fd(), protection, flags)),
        Err(errno) => errno,
    }
}

/// `mprotect` of one page.
pub fn mprotect(at: *mut libc::c_void, protection: i32) -> i32 {
    // SAFETY: The page is a mapping of the caller's.
    out(unsafe { libc::mprotect(at, 4096, protection) })
}

/// `renameat2`.
pub fn rename(from: &str, to: &str, flags: u32) -> i32 {
    let (from, to) = (c(from), c(to));
    // SAFETY: Both paths are NUL-terminated and outlive the call.
    out(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    })
}

/// A system call of one path.
pub fn with_path(path: &str, call: impl FnOnce(*const libc::c_char) -> i32) -> i32 {
    let path = c(path);
    out(call(path.as_ptr()))
}

/// A system call of two paths.
pub fn with_paths(
    one: &str,
    two: &str,
    call: impl FnOnce(*const libc::c_char, *const libc::c_char) -> i32,
) -> i32 {
    let (one, two) = (c(one), c(two));
    out(call(one.as_ptr(), two.as_ptr()))
}

/// `mount`.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> i32 {
    let (source, target, kind) = (c(source), c(target), c(kind));
    // SAFETY: All strings are NUL-terminated and outlive the call.
    out(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            ptr::null(),
        )
    })
}

/// An IPv4 socket address.
pub fn v4(address: [u8; 4], port: u16) -> Vec<u8> {
    let mut raw = 2u16.to_ne_bytes().to_vec();
    raw.extend(port.to_be_bytes());
    raw.extend(address);
    raw.extend([0; 8]);
    raw
}

/// An IPv6 socket address.
pub fn v6(address: [u8; 16], port: u16) -> Vec<u8> {
    let mut raw = 10u16.to_ne_bytes().to_vec();
    raw.extend(port.to_be_bytes());
    raw.extend([0; 4]);
    raw.extend(address);
    raw.extend([0; 4]);
    raw
}

/// A UNIX socket address: by path, or abstract when `name` begins with `@`.
pub fn unix(name: &str) -> Vec<u8> {
    let mut raw = 1u16.to_ne_bytes().to_vec();
    match name.strip_prefix('@') {
        Some(rest) => {
            raw.push(0);
            raw.extend(rest.as_bytes());
        }
        None => {
            raw.extend(name.as_bytes());
            raw.push(0);
        }
    }
    raw
}

/// `socket`.
pub fn socket(family: i32, kind: i32) -> Result<OwnedFd, i32> {
    // SAFETY: No pointers are passed.
    fd(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })
}

/// `connect`.
pub fn connect(socket: &impl AsRawFd, address: &[u8]) -> i32 {
    // SAFETY: The pointer and the length describe `address`.
    out(unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length(address)) })
}

/// `bind`.
pub fn bind(socket: &impl AsRawFd, address: &[u8]) -> i32 {
    // SAFETY: The pointer and the length describe `address`.
    out(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length(address)) })
}

/// `listen`.
pub fn listen(socket: &impl AsRawFd) -> i32 {
    // SAFETY: No pointers are passed.
    out(unsafe { libc::listen(socket.as_raw_fd(), 8) })
}

/// `sendto` of one byte with `flags`.
pub fn send_to(socket: &impl AsRawFd, address: &[u8], flags: i32) -> i32 {
    // SAFETY: The pointers and lengths describe a constant and `address`.
    out(unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            c"x".as_ptr().cast(),
            1,
            flags,
            address.as_ptr().cast(),
            length(address),
        )
    } as i64)
}

fn length(address: &[u8]) -> u32 {
    u32::try_from(address.len()).unwrap_or(0)
}

/// Local port of an internet socket.
pub fn local_port(socket: &impl AsRawFd) -> u16 {
    let mut raw = [0u8; 28];
    let mut length = 28u32;
    // SAFETY: The buffer has the length that is passed.
    unsafe { libc::getsockname(socket.as_raw_fd(), raw.as_mut_ptr().cast(), &mut length) };
    u16::from_be_bytes([raw[2], raw[3]])
}

/// A connected pair of UNIX stream sockets.
pub fn pair() -> Result<(OwnedFd, OwnedFd), i32> {
    let mut ends = [0; 2];
    // SAFETY: Room for two descriptors.
    let result = unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
            ends.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(out(result));
    }
    // SAFETY: The call has just made both.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Sends a descriptor; the errno.
pub fn send_fd(socket: &impl AsRawFd, fd: &impl AsRawFd) -> i32 {
    crate::worker::send_file(socket.as_raw_fd(), fd.as_raw_fd())
}

/// Receives a descriptor. `Ok(None)`: the message came without it.
pub fn receive_fd(socket: &impl AsRawFd) -> Result<Option<OwnedFd>, i32> {
    let mut byte = 0u8;
    let mut control = [0u64; 8];
    let mut vector = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: All zeroes is an empty message.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 64;
    // SAFETY: The message describes buffers that live.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) };
    if got < 0 {
        return Err(out(got as i64));
    }
    // SAFETY: The kernel has filled the message.
    let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    if header.is_null() {
        return Ok(None);
    }
    // SAFETY: One SCM_RIGHTS descriptor was asked for and fits.
    let raw = unsafe { *libc::CMSG_DATA(header).cast::<RawFd>() };
    // SAFETY: The kernel has just installed it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(raw) }))
}

/// `memfd_create` with the content of a file.
pub fn memfd(path: &str) -> Result<File, i32> {
    // SAFETY: A constant string.
    let memory = File::from(fd(unsafe {
        libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC)
    })?);
    let copy = || io::copy(&mut File::open(path)?, &mut &memory);
    copy().map_err(|error| error.raw_os_error().unwrap_or(-1))?;
    Ok(memory)
}

/// The path under `/proc` of a descriptor of this process.
pub fn proc_fd(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
