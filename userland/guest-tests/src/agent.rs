// SPDX-License-Identifier: GPL-2.0

//! Processes that play the agent, or a bystander.
//!
//! A child is driven through a page of shared anonymous memory, not through a descriptor, so that no policy under test can
//! get between the test and its result.

use crate::harness::patience;
use crate::worker;
use std::{
    panic, ptr,
    sync::atomic::{
        AtomicI64,
        AtomicU32,
        AtomicU64,
        AtomicUsize,
        Ordering, //
    },
    time::{
        Duration,
        Instant, //
    },
};

const VALUES: usize = 256;
const TEXT: usize = 16384;

/// What a child and its driver share.
#[repr(C)]
struct Page {
    /// Step asked for; the child starts it when this grows.
    asked: AtomicU32,
    /// Steps done.
    done: AtomicU32,
    argument: AtomicI64,
    result: AtomicI64,
    /// 0 not yet, 1 labelled or free to go, 2 refused.
    state: AtomicU32,
    errno: AtomicI64,
    agent: AtomicU64,
    values: [AtomicI64; VALUES],
    count: AtomicUsize,
    text: [std::sync::atomic::AtomicU8; TEXT],
    length: AtomicUsize,
}

/// The shared page; unmapped with its last user.
struct Shared(*mut Page);

impl Shared {
    fn new() -> Result<Self, String> {
        // SAFETY: A new anonymous mapping; zeroes are a valid page of atomics.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Page>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(format!("mmap: {}", std::io::Error::last_os_error()));
        }
        Ok(Self(memory.cast()))
    }

    fn page(&self) -> &Page {
        // SAFETY: The mapping lives as long as `self` and holds only atomics.
        unsafe { &*self.0 }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours and of this size.
        unsafe { libc::munmap(self.0.cast(), size_of::<Page>()) };
    }
}

/// The child's side: where it records what happened.
pub struct Report<'a> {
    page: &'a Page,
}

impl Report<'_> {
    /// Records a value.
    pub fn push(&mut self, value: i64) {
        let at = self.page.count.fetch_add(1, Ordering::SeqCst);
        if let Some(slot) = self.page.values.get(at) {
            slot.store(value, Ordering::SeqCst);
        }
    }

    /// Records an errno, 0 for success.
    pub fn errno(&mut self, errno: i32) {
        self.push(i64::from(errno));
    }

    /// Appends text for the driver to read.
    pub fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            let at = self.page.length.fetch_add(1, Ordering::SeqCst);
            if let Some(slot) = self.page.text.get(at) {
                slot.store(byte, Ordering::SeqCst);
            }
        }
    }

    /// The agent's own id; 0 in a bystander.
    pub fn agent_id(&self) -> u64 {
        self.page.agent.load(Ordering::SeqCst)
    }
}

/// What became of a child.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Values recorded, in their order.
    pub values: Vec<i64>,
    /// Text recorded.
    pub text: String,
    /// Exit status; `None` when a signal ended it.
    pub exit: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// The agent's id, 0 for a bystander.
    pub agent: u64,
}

impl Ended {
    /// The value at `at`, an error when the child did not get there.
    pub fn value(&self, at: usize) -> Result<i64, String> {
        self.values.get(at).copied().ok_or_else(|| {
            format!(
                "the child recorded {} values, not {}: {self:?}",
                self.values.len(),
                at + 1
            )
        })
    }

    /// The errno recorded at `at`.
    pub fn errno(&self, at: usize) -> Result<i32, String> {
        i32::try_from(self.value(at)?).map_err(|error| error.to_string())
    }
}

/// A child at work.
pub struct Child {
    shared: Shared,
    /// Its process id.
    pub pid: i32,
    /// Its agent id; 0 when it has no label.
    pub agent: u64,
    reaped: bool,
}

fn nap() {
    std::thread::sleep(Duration::from_micros(500));
}

/// Who a child is.
pub enum Who<'a> {
    /// No label.
    Free,
    /// An agent of this class and name.
    Agent(&'a str, &'a str),
}

/// Forks a child that becomes `who` and runs `body`. Returns once it is labelled; a refused label is `Err` with errno and message.
pub fn spawn<F>(who: &Who<'_>, body: F) -> Result<Child, (i32, String)>
where
    F: FnOnce(&mut Report<'_>) -> i32,
{
    let local = |text: String| (libc::EIO, text);
    let shared = Shared::new().map_err(local)?;
    // SAFETY: This process is single threaded, so the child may do anything.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(local(format!("fork: {}", std::io::Error::last_os_error())));
    }
    if pid == 0 {
        let page = shared.page();
        let code = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let mut report = Report { page };
            if let Who::Agent(class, name) = who {
                // The socket is closed before the agent does anything.
                let labelled = match worker::label(class, name) {
                    (0, text) => text.parse().map_err(|_| (libc::EPROTO, text)),
                    refused => Err(refused),
                };
                match labelled {
                    Ok(id) => page.agent.store(id, Ordering::SeqCst),
                    Err((errno, message)) => {
                        report.text(&message);
                        page.errno.store(i64::from(errno), Ordering::SeqCst);
                        page.state.store(2, Ordering::SeqCst);
                        return 99;
                    }
                }
            }
            page.state.store(1, Ordering::SeqCst);
            body(&mut report)
        }))
        .unwrap_or(101);
        // SAFETY: Ends this child without running the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    let mut child = Child {
        shared,
        pid,
        agent: 0,
        reaped: false,
    };
    let start = Instant::now();
    loop {
        match child.shared.page().state.load(Ordering::SeqCst) {
            1 => break,
            2 => {
                let errno = child.shared.page().errno.load(Ordering::SeqCst);
                let errno = i32::try_from(errno).unwrap_or(libc::EIO);
                let ended = child.wait_inner().map_err(local)?;
                return Err((errno, ended.text));
            }
            _ if start.elapsed() > patience(Duration::from_secs(20)) => {
                return Err(local("the child did not start".to_owned()));
            }
            _ => nap(),
        }
    }
    child.agent = child.shared.page().agent.load(Ordering::SeqCst);
    Ok(child)
}

/// Forks a child that executes the steps it is asked for: `body(step, argument)`.
pub fn spawn_stepper<F>(who: &Who<'_>, mut body: F) -> Result<Child, (i32, String)>
where
    F: FnMut(&mut Report<'_>, i64) -> i64,
{
    spawn(who, move |report| {
        let page = report.page;
        let mut done = 0;
        loop {
            let asked = page.asked.load(Ordering::SeqCst);
            if asked == u32::MAX {
                return 0;
            }
            if asked == done {
                nap();
                continue;
            }
            let result = body(report, page.argument.load(Ordering::SeqCst));
            page.result.store(result, Ordering::SeqCst);
            done = asked;
            page.done.store(done, Ordering::SeqCst);
        }
    })
}

impl Child {
    /// Starts a step without waiting for it.
    pub fn start(&self, argument: i64) {
        let page = self.shared.page();
        page.argument.store(argument, Ordering::SeqCst);
        page.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// Has the step that was started come to its end?
    pub fn idle(&self) -> bool {
        let page = self.shared.page();
        page.done.load(Ordering::SeqCst) == page.asked.load(Ordering::SeqCst)
    }

    /// Waits for the step that was started and gives its result.
    pub fn finish(&self) -> Result<i64, String> {
        let start = Instant::now();
        while !self.idle() {
            if start.elapsed() > patience(Duration::from_secs(40)) {
                return Err("the child's step does not end".to_owned());
            }
            // SAFETY: Signal 0 tests whether the process exists.
            if unsafe { libc::kill(self.pid, 0) } != 0 {
                return Err("the child is gone".to_owned());
            }
            let mut status = 0;
            // SAFETY: WNOWAIT-free poll without reaping is not possible with waitpid; WNOHANG reaps a dead child.
            if unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } == self.pid {
                return Err(format!(
                    "the child ended in the middle of a step: status {status:#x}"
                ));
            }
            nap();
        }
        Ok(self.shared.page().result.load(Ordering::SeqCst))
    }

    /// Runs one step.
    pub fn step(&self, argument: i64) -> Result<i64, String> {
        self.start(argument);
        self.finish()
    }

    /// Values recorded so far.
    pub fn values(&self) -> Vec<i64> {
        let page = self.shared.page();
        let count = page.count.load(Ordering::SeqCst);
        page.values
            .iter()
            .take(count)
            .map(|value| value.load(Ordering::SeqCst))
            .collect()
    }

    /// Text recorded so far.
    pub fn text(&self) -> String {
        let page = self.shared.page();
        let length = page.length.load(Ordering::SeqCst);
        let bytes: Vec<u8> = page
            .text
            .iter()
            .take(length)
            .map(|byte| byte.load(Ordering::SeqCst))
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_inner(&mut self) -> Result<Ended, String> {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let got = unsafe { libc::waitpid(self.pid, &mut status, 0) };
        self.reaped = true;
        if got != self.pid {
            return Err(format!("waitpid: {}", std::io::Error::last_os_error()));
        }
        Ok(Ended {
            values: self.values(),
            text: self.text(),
            exit: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            agent: self.agent,
        })
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> Result<Ended, String> {
        // SAFETY: The pid is of our own child that nobody has waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        self.wait_inner()
    }

    /// Neither ends it nor waits for it.
    pub fn left_to_others(mut self) {
        self.reaped = true;
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<Ended, String> {
        self.wait_inner()
    }

    /// Ends a stepper and waits for it.
    pub fn stop(mut self) -> Result<Ended, String> {
        self.shared.page().asked.store(u32::MAX, Ordering::SeqCst);
        self.wait_inner()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: The pid is of our own child that nobody has waited for.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, ptr::null_mut(), 0);
            }
        }
    }
}
