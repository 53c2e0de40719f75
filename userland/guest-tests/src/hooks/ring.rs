// SPDX-License-Identifier: GPL-2.0

//! io_uring without a library: one ring, one operation at a time.

use super::sys;
use std::{
    ffi::CStr,
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    ptr,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    },
};

/// `IORING_OFF_SQ_RING`, `IORING_OFF_CQ_RING`, `IORING_OFF_SQES`.
const OFFSETS: [i64; 3] = [0, 0x800_0000, 0x1000_0000];
/// Bytes mapped of each; a ring of four entries needs less.
const BYTES: usize = 4096;
/// `IORING_OP_OPENAT`.
const OP_OPENAT: u8 = 18;
/// `IOSQE_ASYNC`: a worker thread does it.
const ASYNC: u8 = 16;

/// A ring. Its mappings stay until the process ends.
pub struct Ring {
    fd: OwnedFd,
    parameters: [u32; 30],
    submission: *mut u8,
    completion: *mut u8,
    entries: *mut u8,
}

impl Ring {
    /// Makes a ring; the errno when that is refused.
    pub fn new() -> Result<Self, i32> {
        let (fd, parameters) = super::kernel::ring(0)?;
        let map = |offset| {
            // SAFETY: A new mapping disturbs none.
            let at = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    BYTES,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_POPULATE,
                    fd.as_raw_fd(),
                    offset,
                )
            };
            if at == libc::MAP_FAILED {
                Err(sys::out(-1))
            } else {
                Ok(at.cast::<u8>())
            }
        };
        let (submission, completion, entries) =
            (map(OFFSETS[0])?, map(OFFSETS[1])?, map(OFFSETS[2])?);
        Ok(Self {
            fd,
            parameters,
            submission,
            completion,
            entries,
        })
    }

    /// A word of a ring whose offset is at `index` of the parameters.
    fn word(&self, ring: *mut u8, index: usize) -> &AtomicU32 {
        let offset = usize::try_from(self.parameters[index]).unwrap_or(0);
        // SAFETY: The kernel says where its words are in the mapping, which lives as long as the process.
        unsafe { AtomicU32::from_ptr(ring.add(offset).cast()) }
    }

    /// Opens a file; the errno. The descriptor stays open.
    pub fn open(&mut self, path: &CStr, flags: i32, asynchronous: bool) -> i32 {
        let mut bytes = [0u8; 64];
        bytes[0] = OP_OPENAT;
        bytes[1] = if asynchronous { ASYNC } else { 0 };
        bytes[4..8].copy_from_slice(&libc::AT_FDCWD.to_ne_bytes());
        bytes[16..24].copy_from_slice(&(path.as_ptr() as u64).to_ne_bytes());
        bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
        self.submit(&bytes)
    }

    /// Registers the caller's credentials; their number, or the errno.
    pub fn register_personality(&self) -> Result<u16, i32> {
        /// `IORING_REGISTER_PERSONALITY`.
        const PERSONALITY: i32 = 9;
        // SAFETY: Null where the call wants it.
        let number = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd.as_raw_fd(),
                PERSONALITY,
                ptr::null::<u8>(),
                0,
            )
        };
        u16::try_from(number).map_err(|_| sys::out(number))
    }

    /// Does nothing, with registered credentials; the errno.
    pub fn nop_as(&mut self, personality: u16) -> i32 {
        let mut bytes = [0u8; 64];
        bytes[42..44].copy_from_slice(&personality.to_ne_bytes());
        self.submit(&bytes)
    }

    /// Submits one entry and waits for it; the errno.
    fn submit(&mut self, bytes: &[u8; 64]) -> i32 {
        let tail = self.word(self.submission, 11);
        let at = tail.load(Ordering::Acquire) & 3;
        let entry = usize::try_from(at).unwrap_or(0) * 64;
        let array = usize::try_from(self.parameters[16]).unwrap_or(0);
        // SAFETY: Four entries of 64 bytes, and an array of four words, are in the mappings.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.entries.add(entry), 64);
            self.submission
                .add(array)
                .cast::<u32>()
                .add(entry / 64)
                .write_volatile(at);
        }
        tail.fetch_add(1, Ordering::Release);
        // One to submit, one to wait for, IORING_ENTER_GETEVENTS.
        // SAFETY: Null where the call allows it.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                1,
                1,
                1,
                ptr::null::<u8>(),
                0,
            )
        };
        if entered != 1 {
            return 2000 + sys::out(entered);
        }
        let head = self.word(self.completion, 20);
        let mask = self.word(self.completion, 22).load(Ordering::Relaxed);
        let slot = usize::try_from(head.load(Ordering::Acquire) & mask).unwrap_or(0);
        let cqes = usize::try_from(self.parameters[25]).unwrap_or(0);
        // SAFETY: The kernel says where its entries of 16 bytes are in the mapping.
        let result = unsafe {
            self.completion
                .add(cqes + slot * 16 + 8)
                .cast::<i32>()
                .read_volatile()
        };
        head.fetch_add(1, Ordering::Release);
        if result < 0 {
            -result
        } else {
            0
        }
    }
}
