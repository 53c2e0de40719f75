// SPDX-License-Identifier: GPL-2.0

//! The workloads: loops of one operation, with nothing else in them.

use crate::sys::check;
use crate::Res;
use std::cell::UnsafeCell;
use std::ffi::{
    c_char,
    c_int,
    c_void,
    CStr, //
};
use std::fs::{
    self,
    File, //
};
use std::io;
use std::os::fd::{
    AsRawFd as _,
    RawFd, //
};
use std::os::unix::fs::PermissionsExt as _;
use std::ptr;

/// The directory beneath which everything happens.
pub(crate) const DIR: &str = "/bench";
/// Where the file is: four directories deep.
const DEEP: &str = "/bench/a/b/c";
const FILE: &CStr = c"/bench/a/b/c/file";
const NEW: &CStr = c"/bench/a/b/c/new";
const NAMES: [&CStr; 2] = [c"/bench/a/b/c/here", c"/bench/a/b/c/there"];
/// A static program that does nothing.
const PROGRAM: &CStr = c"/bench/a/b/c/true";
/// What the program is a copy of; it goes by its name.
const BUSYBOX: &str = "/usr/bin/busybox";

/// A TCP port on which nobody listens.
pub(crate) const PORT: u16 = 9;

/// A workload.
pub(crate) struct Workload {
    /// The first part of the metric's name.
    pub(crate) name: &'static str,
    /// Operations of one round: as many as take about 40 ms, so that a round has ten ticks of the timer, more or less one;
    /// more where the kernel puts off work that should be counted, as it does with what tasks and mappings leave.
    pub(crate) operations: u32,
    /// Does the operation that many times.
    pub(crate) run: fn(&Fixture, u32) -> io::Result<()>,
}

const fn workload(
    name: &'static str,
    operations: u32,
    run: fn(&Fixture, u32) -> io::Result<()>,
) -> Workload {
    Workload {
        name,
        operations,
        run,
    }
}

/// All workloads.
pub(crate) const WORKLOADS: [Workload; 8] = [
    workload("open_close", 8000, open_close),
    workload("read", 30_000, read),
    workload("exec", 80, exec),
    workload("fork", 400, fork),
    workload("create_unlink", 2000, create_unlink),
    workload("rename", 4000, rename),
    workload("connect", 1200, connect),
    workload("mmap_exec", 10_000, mmap_exec),
];

/// Makes the files that the workloads use.
///
/// # Errors
///
/// They cannot be made.
pub(crate) fn prepare() -> Res {
    let name = |path: &CStr| path.to_string_lossy().into_owned();
    let made = || -> io::Result<()> {
        fs::create_dir_all(DEEP)?;
        fs::write(name(FILE), "one file\n")?;
        fs::write(name(NAMES[0]), "")?;
        fs::copy(BUSYBOX, name(PROGRAM))?;
        fs::set_permissions(name(PROGRAM), fs::Permissions::from_mode(0o755))
    };
    made().map_err(|error| format!("{DEEP}: {error}"))
}

/// What is open while the loops run.
pub(crate) struct Fixture {
    file: File,
    program: File,
    /// Of the child that shares this process's memory until it executes the program.
    stack: Box<UnsafeCell<[u128; 1 << 10]>>,
}

impl Fixture {
    /// Opens the files, by the rights that the task now has.
    ///
    /// # Errors
    ///
    /// They cannot be opened.
    pub(crate) fn new() -> Res<Self> {
        let open = |path: &CStr| {
            let path = path.to_string_lossy();
            File::open(&*path).map_err(|error| format!("{path}: {error}"))
        };
        Ok(Self {
            file: open(FILE)?,
            program: open(PROGRAM)?,
            stack: Box::new(UnsafeCell::new([0; 1 << 10])),
        })
    }
}

fn open(path: &CStr, flags: c_int) -> io::Result<RawFd> {
    // SAFETY: The path is a string with its terminator.
    check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })
}

fn close(fd: RawFd) -> io::Result<()> {
    // SAFETY: The caller has just opened it and gives it up.
    check(unsafe { libc::close(fd) }).map(drop)
}

fn open_close(_: &Fixture, operations: u32) -> io::Result<()> {
    for _ in 0..operations {
        close(open(FILE, libc::O_RDONLY)?)?;
    }
    Ok(())
}

fn read(fixture: &Fixture, operations: u32) -> io::Result<()> {
    let fd = fixture.file.as_raw_fd();
    let mut byte = 0u8;
    for _ in 0..operations {
        // SAFETY: `byte` has room for one byte.
        if check(unsafe { libc::pread(fd, (&raw mut byte).cast(), 1, 0) })? != 1 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Waits for a child, which must end with status 0.
fn wait(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: `status` is one int.
    check(unsafe { libc::waitpid(pid, &mut status, 0) })?;
    if status != 0 {
        // Whatever it was: the child could not do what it should.
        return Err(io::Error::from_raw_os_error(libc::ECHILD));
    }
    Ok(())
}

/// Executes the program, in a child that shares its parent's memory.
extern "C" fn execute(_: *mut c_void) -> c_int {
    let arguments: [*const c_char; 2] = [c"true".as_ptr(), ptr::null()];
    let environment: [*const c_char; 1] = [ptr::null()];
    // SAFETY: Both arrays end with a null pointer and their strings live.
    unsafe {
        libc::execve(PROGRAM.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        libc::_exit(127)
    }
}

fn exec(fixture: &Fixture, operations: u32) -> io::Result<()> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = fixture.stack.get().wrapping_add(1);
    for _ in 0..operations {
        // SAFETY: The stack is the child's alone, since this thread is stopped until it no longer shares the memory;
        // its top is aligned to 16 bytes.
        let pid = unsafe { libc::clone(execute, top.cast(), flags, ptr::null_mut()) };
        wait(check(pid)?)?;
    }
    Ok(())
}

fn fork(_: &Fixture, operations: u32) -> io::Result<()> {
    for _ in 0..operations {
        // SAFETY: The process has one thread, and the child ends at once.
        let pid = check(unsafe { libc::fork() })?;
        if pid == 0 {
            // SAFETY: Ends the child without running what its parent has registered.
            unsafe { libc::_exit(0) };
        }
        wait(pid)?;
    }
    Ok(())
}

fn create_unlink(_: &Fixture, operations: u32) -> io::Result<()> {
    for _ in 0..operations {
        close(open(NEW, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)?)?;
        // SAFETY: The path is a string with its terminator.
        check(unsafe { libc::unlink(NEW.as_ptr()) })?;
    }
    Ok(())
}

/// There and back: an even number of operations.
fn rename(_: &Fixture, operations: u32) -> io::Result<()> {
    let [here, there] = NAMES;
    for _ in 0..operations / 2 {
        // SAFETY: Both paths are strings with their terminators.
        unsafe {
            check(libc::rename(here.as_ptr(), there.as_ptr()))?;
            check(libc::rename(there.as_ptr(), here.as_ptr()))?;
        }
    }
    Ok(())
}

fn connect(_: &Fixture, operations: u32) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).map_err(io::Error::other)?,
        sin_port: PORT.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    for _ in 0..operations {
        // SAFETY: No pointer is passed.
        let fd = check(unsafe {
            libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: The pointer and the length describe `address`.
        let result = check(unsafe { libc::connect(fd, (&raw const address).cast(), length) });
        close(fd)?;
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    Ok(())
}

fn mmap_exec(fixture: &Fixture, operations: u32) -> io::Result<()> {
    const LENGTH: usize = 4096;
    let fd = fixture.program.as_raw_fd();
    for _ in 0..operations {
        // SAFETY: A new mapping, wherever the kernel puts it, that nobody uses before it goes.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            let at = libc::mmap(
                ptr::null_mut(),
                LENGTH,
                protection,
                libc::MAP_PRIVATE,
                fd,
                0,
            );
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            check(libc::munmap(at, LENGTH))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        DEEP,
        DIR,
        FILE,
        NAMES,
        NEW,
        PROGRAM,
        WORKLOADS, //
    };
    use std::path::Path;

    #[test]
    fn all_happens_beneath_the_directory() {
        for path in [FILE, NEW, NAMES[0], NAMES[1], PROGRAM] {
            let path = path.to_string_lossy();
            assert_eq!(Path::new(&*path).parent(), Some(Path::new(DEEP)));
        }
        assert!(Path::new(DEEP).starts_with(DIR));
        assert_eq!(Path::new(DEEP).components().count(), 5);
    }

    #[test]
    fn a_rename_goes_back() {
        for workload in &WORKLOADS {
            assert!(workload.operations > 0 && workload.operations % 2 == 0);
        }
    }
}
