// SPDX-License-Identifier: GPL-2.0

//! Very many labelled tasks at once: what they cost in memory, and everybody else in time.

use crate::child::Child;
use crate::measure::{
    print,
    Ruler, //
};
use crate::module::{
    label,
    Module, //
};
use crate::sys::{
    check,
    field, //
};
use crate::Res;
use std::ffi::{
    c_int,
    c_void, //
};
use std::fs;
use std::io::Write as _;
use std::ptr;

/// Tasks alive at once.
const TASKS: u32 = 30_000;

/// Bytes of a task's stack: it does nothing but wait.
const STACK: usize = 1024;

/// Times that the memory is measured.
const ROUNDS: u32 = 3;

extern "C" fn rest(_: *mut c_void) -> c_int {
    loop {
        // SAFETY: No pointers; it returns only after a signal, and the one that comes ends the process.
        unsafe { libc::pause() };
    }
}

/// Starts the tasks: threads of the calling process, which inherit its label and end with it.
fn start_tasks() -> Res {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    // They are used until the process ends.
    let stacks: &'static mut [[u128; STACK / 16]] = vec![[0; STACK / 16]; TASKS as usize].leak();
    for stack in stacks {
        let top = stack.as_mut_ptr_range().end;
        // SAFETY: The stack is this thread's alone, its top is aligned to 16 bytes, and `rest` touches nothing else.
        check(unsafe { libc::clone(rest, top.cast(), flags, ptr::null_mut()) })
            .map_err(|error| format!("clone: {error}"))?;
    }
    Ok(())
}

/// A process of so many tasks; they end when this is dropped.
fn crowd(labelled: bool) -> Res<Child> {
    let mut crowd = Child::start(|say| {
        if labelled {
            label()?;
        }
        start_tasks()?;
        writeln!(say, "all").map_err(|error| error.to_string())?;
        loop {
            // SAFETY: No pointers.
            unsafe { libc::pause() };
        }
    })?;
    crowd.line()?;
    Ok(crowd)
}

/// Bytes that the kernel's own objects take when it has given up what it can: those of its slabs and of `vmalloc`, where
/// labels and their table are. What is free altogether varies by more than all labels take.
fn kernel_bytes() -> Res<u64> {
    let gave = fs::write("/proc/sys/vm/drop_caches", "3");
    gave.map_err(|error| format!("drop_caches: {error}"))?;
    if let Ok(caches) = fs::read_dir("/sys/kernel/slab") {
        for cache in caches.flatten() {
            // Some cannot shrink.
            let _ = fs::write(cache.path().join("shrink"), "1");
        }
    }
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    field(&text, "SUnreclaim")
        .zip(field(&text, "VmallocUsed"))
        .map(|(slabs, mapped)| (slabs + mapped) * 1024)
        .ok_or_else(|| "/proc/meminfo does not say what the kernel uses".to_owned())
}

/// Lets that many tasks be.
fn raise_limits() -> Res {
    for limit in ["kernel/threads-max", "kernel/pid_max"] {
        let path = format!("/proc/sys/{limit}");
        fs::write(&path, "100000").map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

/// Measures opening with all the tasks alive, then the memory that their labels take.
///
/// # Errors
///
/// The guest has no room for the tasks, or the module does not count them.
pub(crate) fn measure(
    ruler: &Ruler<'_>,
    module: &Module,
    unlabelled: &dyn Fn() -> Res,
    agent: &dyn Fn() -> Res,
) -> Res {
    raise_limits()?;
    {
        let _crowd = crowd(true)?;
        let tasks = module.tasks()?;
        if tasks < u64::from(TASKS) {
            return Err(format!("the module counts {tasks} tasks, not {TASKS}"));
        }
        ruler.open_close_of_many("loaded_30000", unlabelled)?;
        ruler.open_close_of_many("agent_30000", agent)?;
    }
    eprintln!("bench: memory of {TASKS} labels");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut used = [0i64; 2];
        for (used, labelled) in used.iter_mut().zip([false, true]) {
            let _crowd = crowd(labelled)?;
            *used = i64::try_from(kernel_bytes()?).map_err(|error| error.to_string())?;
        }
        rounds.push((used[1] - used[0]) / i64::from(TASKS));
    }
    print("tasks.bytes_30000", rounds)
}
