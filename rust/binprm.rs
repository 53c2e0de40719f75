// SPDX-License-Identifier: GPL-2.0

//! The program that an `execve` is about to run.
//!
//! C header: [`include/linux/binfmts.h`](srctree/include/linux/binfmts.h)

use super::bindings;
use core::ops::ControlFlow;
use kernel::{
    cred::Credential,
    error::to_result,
    ffi::{
        c_char,
        c_void, //
    },
    fs::File,
    prelude::*,
    types::Opaque, //
};

/// An `execve` under way.
///
/// Wraps the kernel's `struct linux_binprm`.
///
/// # Invariants
///
/// It is the calling task's own, and valid for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Binprm(Opaque<bindings::linux_binprm>);

impl Binprm {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `bprm` must be the one of the `execve` that the calling task is in, for `'a`.
    pub(crate) unsafe fn from_raw<'a>(bprm: *const bindings::linux_binprm) -> &'a Self {
        // SAFETY: By the safety requirements; `Binprm` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*bprm.cast() }
    }

    /// The file that is about to run: a script first, then its interpreter. Hooks see each.
    pub(crate) fn file(&self) -> &File {
        // SAFETY: By the type invariant `bprm` is valid.
        let file = unsafe { bindings::bprm_file(self.0.get()) };
        // SAFETY: It holds a reference to its file, which is open for execution, so nobody has a
        // position of it.
        unsafe { File::from_raw_file(file) }
    }

    /// The credentials that the program will get.
    pub(crate) fn cred(&self) -> &Credential {
        // SAFETY: By the type invariant `bprm` is valid.
        let cred = unsafe { bindings::bprm_cred(self.0.get()) };
        // SAFETY: It holds a reference to them until they are installed.
        unsafe { Credential::from_ptr(cred) }
    }

    /// Number of arguments, the program's name included.
    pub(crate) fn argc(&self) -> usize {
        // SAFETY: By the type invariant `bprm` is valid.
        usize::try_from(unsafe { bindings::bprm_argc(self.0.get()) }).unwrap_or(0)
    }

    /// Number of environment strings.
    fn envc(&self) -> usize {
        // SAFETY: By the type invariant `bprm` is valid.
        usize::try_from(unsafe { bindings::bprm_envc(self.0.get()) }).unwrap_or(0)
    }

    /// Passes all bytes of the arguments to `each`, in order and in pieces. Every argument ends
    /// with a NUL byte. Returns the number of bytes passed.
    ///
    /// An interpreter script's arguments have been rewritten when its interpreter is looked at.
    ///
    /// Context: process context, may sleep. Not from `bprm_committing_creds` on: the new program's
    /// memory is in use by then.
    ///
    /// # Errors
    ///
    /// - `EINTR`: the task was killed.
    /// - `EINVAL`: there is no new stack any more.
    /// - `EFAULT`, `ENOMEM`: the kernel cannot get at the new stack.
    /// - `ENODATA`: the stack ended before the last argument did.
    pub(crate) fn for_each_arg_bytes<F: FnMut(&[u8])>(&self, each: F) -> Result<usize> {
        self.for_each_string_bytes(0, self.argc(), each)
    }

    /// Passes all bytes of the environment to `each`, in order and in pieces. Every string ends
    /// with a NUL byte. Returns the number of bytes passed.
    ///
    /// # Context and errors
    ///
    /// As for [`Self::for_each_arg_bytes`].
    pub(crate) fn for_each_env_bytes<F: FnMut(&[u8])>(&self, each: F) -> Result<usize> {
        self.for_each_string_bytes(self.argc(), self.envc(), each)
    }

    /// Passes the bytes of `take` strings of the new stack to `each`, after the first `skip`.
    fn for_each_string_bytes<F: FnMut(&[u8])>(
        &self,
        skip: usize,
        take: usize,
        each: F,
    ) -> Result<usize> {
        let mut state = Strings {
            skip,
            take,
            total: 0,
            each,
        };
        if take == 0 {
            return Ok(0);
        }
        // SAFETY: By the type invariant `bprm` is valid and the calling task's own; `page::<F>`
        // takes a pointer to `Strings<F>`.
        to_result(unsafe {
            bindings::bprm_for_each_page(
                self.0.get(),
                Some(page::<F>),
                (&raw mut state).cast::<c_void>(),
            )
        })?;
        if state.take != 0 {
            return Err(ENODATA);
        }
        Ok(state.total)
    }

    /// Copies as many bytes of the arguments as fit to `out`, and passes all of them to `each`.
    /// Returns how many were copied, and how many there are.
    ///
    /// # Errors
    ///
    /// As [`Self::for_each_arg_bytes`].
    pub(crate) fn read_args(
        &self,
        out: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(usize, usize)> {
        let mut copied = 0;
        let total = self.for_each_arg_bytes(|bytes| {
            for (to, from) in out.iter_mut().skip(copied).zip(bytes) {
                *to = *from;
            }
            copied = copied.saturating_add(bytes.len()).min(out.len());
            each(bytes);
        })?;
        Ok((copied, total))
    }
}

/// How many more strings of the new stack to leave out, how many to pass on after that, and how many
/// bytes have been.
struct Strings<F> {
    skip: usize,
    take: usize,
    total: usize,
    each: F,
}

/// How many bytes at the start of `bytes` belong to the next `count` strings. Subtracts the strings
/// that end there.
fn strings_len(bytes: &[u8], count: &mut usize) -> usize {
    let mut len = 0;
    for &byte in bytes {
        if *count == 0 {
            break;
        }
        len += 1;
        if byte == 0 {
            *count -= 1;
        }
    }
    len
}

impl<F: FnMut(&[u8])> Strings<F> {
    fn feed(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let skipped = strings_len(bytes, &mut self.skip);
        let bytes = bytes.get(skipped..).unwrap_or(&[]);
        let len = strings_len(bytes, &mut self.take);
        if let Some(bytes) = bytes.get(..len).filter(|bytes| !bytes.is_empty()) {
            (self.each)(bytes);
            self.total = self.total.saturating_add(len);
        }
        if self.take == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Callback of `tcp_helper_bprm_for_each_page`.
///
/// # Safety
///
/// `data` must point to a `Strings<F>` that nobody else uses, and `bytes` to `len` bytes that do
/// not change meanwhile.
unsafe extern "C" fn page<F: FnMut(&[u8])>(
    data: *mut c_void,
    bytes: *const c_char,
    len: usize,
) -> bool {
    // SAFETY: By the safety requirements.
    let state = unsafe { &mut *data.cast::<Strings<F>>() };
    // SAFETY: By the safety requirements.
    let bytes = unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    state.feed(bytes).is_continue()
}
