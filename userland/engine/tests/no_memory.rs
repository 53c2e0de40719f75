// SPDX-License-Identifier: GPL-2.0

//! Every allocation of the engine fails once: an error each time, never a panic, and no half-made result.

use engine::memory::VoteMemory;
use engine::policy::{
    ErrorKind,
    Policy, //
};
use engine::vec::{
    NoMemory,
    Vec as EngineVec, //
};
use engine::watch::Watch;
use std::alloc::{
    GlobalAlloc,
    Layout,
    System, //
};
use std::cell::Cell;

thread_local! {
    /// How many allocations of this thread still succeed; `None`: all.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The system's allocator, which fails when a thread says so.
struct Failing;

impl Failing {
    fn fails() -> bool {
        LEFT.with(|left| match left.get() {
            None => false,
            Some(0) => true,
            Some(more) => {
                left.set(Some(more - 1));
                false
            }
        })
    }
}

// SAFETY: All is done by the system's allocator, or a null pointer is given, which means failure.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: By the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: By the caller's promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Self::fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: By the caller's promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Does `make` with one allocation more each time, until all succeed; gives how many there are.
fn each<T, E>(make: impl Fn() -> Result<T, E>, is_memory: impl Fn(&E) -> bool) -> usize {
    for allowed in 0..100_000 {
        LEFT.with(|left| left.set(Some(allowed)));
        let made = make();
        LEFT.with(|left| left.set(None));
        match made {
            Ok(_) => return allowed,
            Err(error) => assert!(is_memory(&error), "allocation {allowed} of it"),
        }
    }
    panic!("it never succeeds");
}

/// Every statement and selector.
const POLICY: &str = "policy_name=all policy_version=2
adaptive floor=60% ceiling=95%
class a may=b
class b
DEFAULT op=EXEC,KILL action=AUDIT
DEFAULT action=DENY
op=EXEC class=a path=/bin/true action=ALLOW
op=EXEC class=a,b path=/bin \
    digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef action=QUORUM threshold=80% ttl=5m
op=FILE_WRITE path=\"/etc/a b\" action=AUDIT
op=NET_CONNECT addr=10.0.0.0/8 port=80-90 action=ALLOW
op=NET_CONNECT addr=::1 action=DENY
op=NET_BIND port=22 action=DENY
op=KILL agent=x uid=7 action=ALLOW
op=PTRACE class=host action=ALLOW
";

#[test]
fn a_policy() {
    let text = POLICY.replace(" \\\n   ", "");
    for text in [
        &text,
        include_str!("../../../policies/ci-builder.policy"),
        include_str!("../../../policies/server-operator.policy"),
    ] {
        let allocations = each(
            || Policy::parse(text.as_bytes()),
            |error| error.kind == ErrorKind::NoMemory && error.line == 0 && error.column == 0,
        );
        assert!(allocations > 20, "only {allocations} allocations");
    }
}

#[test]
fn what_is_made_at_load() {
    let vote_memory = each(VoteMemory::new, |_: &NoMemory| true);
    let watch = each(Watch::new, |_: &NoMemory| true);
    assert!(vote_memory >= 3 && watch >= 4, "{vote_memory} {watch}");
}

#[test]
fn a_vector() {
    each(|| EngineVec::<u64>::with_capacity(9).map(drop), |_| true);
    each(
        || {
            let mut list = EngineVec::new();
            list.push(1u64)?;
            list.extend_from_slice(&[2; 50])?;
            list.fill_to(500, 3)?;
            for _ in 0..600 {
                list.insert(1, 4)?;
            }
            assert!(list.len() == 1100 && list.first() == Some(&1) && list.get(1) == Some(&4));
            Ok(())
        },
        |_: &NoMemory| true,
    );
    // What there is stays as it is when there is no room for more.
    let mut list = EngineVec::new();
    list.fill_to(4, 7u8).unwrap();
    LEFT.with(|left| left.set(Some(0)));
    let more = list.extend_from_slice(&[8; 4000]);
    LEFT.with(|left| left.set(None));
    assert_eq!((more, &*list), (Err(NoMemory), &[7u8; 4][..]));
}
