// SPDX-License-Identifier: GPL-2.0

//! Child processes: what a task does to itself, such as taking a label, ends with it.

use crate::sys::check;
use crate::Res;
use std::ffi::{
    c_int,
    c_void, //
};
use std::fs::File;
use std::io::{
    Read as _,
    Write as _, //
};
use std::os::fd::{
    FromRawFd as _,
    OwnedFd, //
};
use std::panic::{
    catch_unwind,
    AssertUnwindSafe, //
};

fn pipe() -> Res<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })
        .map_err(|error| format!("pipe: {error}"))?;
    // SAFETY: The call made both and nobody else knows them.
    let [read, write] = ends.map(|fd| File::from(unsafe { OwnedFd::from_raw_fd(fd) }));
    Ok((read, write))
}

/// Size of a child's stack in units of 16 bytes: 1 MiB, which the allocator maps on its own.
const STACK: usize = 1 << 16;

/// What a child is to do.
struct Task<F> {
    body: F,
    say: File,
}

/// Does what is in the `Option<Task<F>>` at `task`, in the child.
extern "C" fn run<F: FnOnce(&mut File) -> Res>(task: *mut c_void) -> c_int {
    // SAFETY: `Child::start` passes a pointer to just that, and the child's copy is nobody else's.
    let Some(Task { body, mut say }) = unsafe { &mut *task.cast::<Option<Task<F>>>() }.take()
    else {
        return 1;
    };
    // The parent may print to a file, and an agent may have no file open that it could not open itself.
    // SAFETY: No pointers; nothing here owns the standard output.
    unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) };
    let result = catch_unwind(AssertUnwindSafe(|| body(&mut say)))
        .unwrap_or_else(|_| Err("the child panicked".to_owned()));
    if let Err(error) = &result {
        // Who waits sees the status even if this fails.
        let _ = writeln!(say, "error {error}");
    }
    // SAFETY: Ends this process without running what the parent has registered.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// A child, killed and waited for when this is dropped.
pub(crate) struct Child {
    pid: libc::pid_t,
    said: File,
}

impl Child {
    /// Starts a child that runs `body`, which may say things to the parent, and ends.
    ///
    /// It is a fork but for its stack, which is its own: wherever the parent is, the child's loops touch the same pages,
    /// and pages are what most of a fork in it costs.
    ///
    /// # Errors
    ///
    /// There can be no pipe or no process.
    pub(crate) fn start<F: FnOnce(&mut File) -> Res>(body: F) -> Res<Self> {
        let (said, say) = pipe()?;
        let mut stack = vec![0u128; STACK];
        let top = stack.as_mut_ptr_range().end;
        let mut task = Some(Task { body, say });
        // SAFETY: The child has copies of the stack, whose top is aligned to 16 bytes, and of `task`; the program has one
        // thread, so that the copies are whole.
        let pid =
            unsafe { libc::clone(run::<F>, top.cast(), libc::SIGCHLD, (&raw mut task).cast()) };
        let pid = check(pid).map_err(|error| format!("clone: {error}"))?;
        Ok(Self { pid, said })
    }

    /// The next line that the child says, without waiting for its end; empty at its end.
    ///
    /// # Errors
    ///
    /// The pipe cannot be read, or the child says that it failed.
    pub(crate) fn line(&mut self) -> Res<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self
            .said
            .read(&mut byte)
            .map_err(|error| error.to_string())?
            == 1
            && byte != *b"\n"
        {
            line.extend(byte);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        match line.strip_prefix("error ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(line),
        }
    }

    /// Waits for the child's end; all lines that it said.
    ///
    /// # Errors
    ///
    /// The child failed.
    pub(crate) fn finish(mut self) -> Res<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => break,
                line => lines.push(line),
            }
        }
        match self.wait() {
            0 => Ok(lines),
            status => Err(format!("a child ended with status {status:#x}")),
        }
    }

    fn wait(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: `status` is one int.
        while unsafe { libc::waitpid(self.pid, &mut status, 0) } < 0 {
            if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return -1;
            }
        }
        self.pid = 0;
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid > 0 {
            // SAFETY: The child is ours and has not been waited for.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Child;
    use std::io::Write as _;

    #[test]
    fn a_child_says_lines() {
        let child = Child::start(|say| {
            writeln!(say, "one\ntwo 2").map_err(|error| error.to_string())?;
            Ok(())
        });
        assert_eq!(
            child.and_then(Child::finish),
            Ok(vec!["one".to_owned(), "two 2".to_owned()])
        );
    }

    #[test]
    fn a_childs_failure_is_told() {
        let child = Child::start(|_| Err("no luck".to_owned()));
        assert_eq!(child.and_then(Child::finish), Err("no luck".to_owned()));
    }
}
