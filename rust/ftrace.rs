// SPDX-License-Identifier: GPL-2.0

//! Redirection of kernel functions.
//!
//! A [`Redirect`] makes calls of some kernel functions end up in functions of this module, the way
//! livepatch does it: one `struct ftrace_ops` with `IPMODIFY` whose callback replaces the
//! instruction pointer. `PERMANENT` keeps `kernel.ftrace_enabled` from switching it off.
//!
//! Nearly all functions share one `ftrace_ops`, because each one that is unregistered waits for a grace
//! period of its own.
//!
//! With [`Way::Jump`], each function begins with a jump to its target instead, as a BPF trampoline's
//! would. That is cheaper, and leaves no room for a BPF program.
//!
//! C header: [`include/linux/ftrace.h`](srctree/include/linux/ftrace.h)

use super::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    alloc::AllocError,
    error::to_result,
    ffi::{
        c_char,
        c_ulong,
        c_void, //
    },
    prelude::*,
    str::CStr,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Most functions in one [`Redirect`]: few enough that a perfect hash is found.
pub(crate) const MAX_TARGETS: usize = 96;

/// Slots of the perfect hash.
const SLOTS: usize = 512;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();

/// How many multipliers to try. With [`MAX_TARGETS`] addresses about one in 14,000 is free of
/// collisions, with 60 one in 40.
const TRIES: u32 = 1 << 20;

/// We change the instruction pointer.
const IPMODIFY: c_ulong = bindings::FTRACE_OPS_FL_IPMODIFY as c_ulong;
/// No sysctl may switch us off.
const PERMANENT: c_ulong = bindings::FTRACE_OPS_FL_PERMANENT as c_ulong;

/// A function to redirect.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// The kernel's name of the function.
    pub(crate) symbol: &'static CStr,
    /// The function to run in its place, with the same signature and calling convention.
    pub(crate) function: *const c_void,
}

/// How calls get from a function to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By ftrace's code, some 50 instructions. Whoever else traces the function is not in the way.
    Shared,
    /// By a jump in the function itself. Nobody can attach a BPF program to the function meanwhile, nor
    /// can this be attached where one is.
    Jump,
}

/// Why a [`Redirect`] could not be made.
#[derive(Debug)]
pub(crate) enum AttachError {
    /// The kernel has no such function, or ftrace cannot patch it.
    NoSymbol(&'static CStr),
    /// Another `IPMODIFY` user (a live patch, say) has this function; or, for [`Way::Jump`], a BPF program.
    Taken(&'static CStr),
    /// `kernel.ftrace_enabled` is 0, or ftrace switched itself off after an error.
    Disabled,
    /// Something else.
    Kernel(Error),
}

impl From<Error> for AttachError {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<AllocError> for AttachError {
    fn from(_: AllocError) -> Self {
        Self::Kernel(ENOMEM)
    }
}

/// One slot of [`Table`]; `struct tcp_redirect_slot`.
#[repr(C)]
#[derive(Zeroable)]
struct Slot {
    ip: c_ulong,
    function: c_ulong,
}

/// From addresses to targets; `struct tcp_redirect_table`.
#[repr(C)]
#[derive(Zeroable)]
struct Table {
    /// The target, if there is only one.
    only: c_ulong,
    /// Where ftrace calls from. C sets it.
    caller: c_ulong,
    /// Not 0 if a redirected function was called while it had another user. C sets it.
    shared: c_ulong,
    /// Of the perfect hash.
    multiplier: u32,
    slots: [Slot; SLOTS],
}

impl Table {
    /// The slot of `ip`. Must be the same function as `tcp_redirect_index` in `helpers/ftrace.c`.
    fn index(multiplier: u32, ip: c_ulong) -> usize {
        // The low half of an address is enough: kernel text is smaller than 4 GiB.
        let low = u32::try_from(ip & 0xffff_ffff).unwrap_or(0);
        usize::try_from(low.wrapping_mul(multiplier) >> (u32::BITS - SLOT_BITS)).unwrap_or(0)
    }

    /// Fills a table, or fails with `EEXIST` if it finds no multiplier.
    fn new(targets: &[Target], ips: &[c_ulong]) -> Result<KBox<Self>> {
        let mut used: [u64; SLOTS / 64];
        let mut multiplier: u32 = 1;

        'search: for _ in 0..TRIES {
            // The constants of Numerical Recipes; odd multipliers permute best.
            multiplier = multiplier
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            let candidate = multiplier | 1;
            used = [0; SLOTS / 64];
            for &ip in ips {
                let index = Self::index(candidate, ip);
                let Some(word) = used.get_mut(index / 64) else {
                    continue 'search;
                };
                if *word & (1 << (index % 64)) != 0 {
                    continue 'search;
                }
                *word |= 1 << (index % 64);
            }

            let mut table = KBox::init(pin_init::init_zeroed::<Self>(), GFP_KERNEL)?;
            table.multiplier = candidate;
            if let [only] = targets {
                table.only = only.function as c_ulong;
            }
            for (target, &ip) in targets.iter().zip(ips) {
                if let Some(slot) = table.slots.get_mut(Self::index(candidate, ip)) {
                    *slot = Slot {
                        ip,
                        function: target.function as c_ulong,
                    };
                }
            }
            return Ok(table);
        }
        Err(EEXIST)
    }
}

/// An `ftrace_ops` that is registered.
///
/// # Invariants
///
/// - `ops` points to an allocation made by [`KBox`], which is registered with ftrace: by
///   `register_ftrace_direct` for `jump` if that is not 0, else by `register_ftrace_function`.
/// - If `jump` is 0, `ops.private` points to a [`Table`], allocated by [`KBox`], that has a slot for
///   each address in the filter of `ops`.
struct Ops {
    ops: NonNull<bindings::ftrace_ops>,
    jump: c_ulong,
}

/// Kernel functions that are redirected for as long as this lives.
pub(crate) struct Redirect {
    ops: KVec<Ops>,
}

// SAFETY: ftrace functions may be called from any task, and nothing in `Ops` belongs to one.
unsafe impl Send for Ops {}
// SAFETY: There is no operation on `&Ops`.
unsafe impl Sync for Ops {}

impl Redirect {
    /// Redirects every one of `targets`, or none. Those whose symbols are in `often` take eight instructions
    /// less for a call, and one more grace period to detach.
    ///
    /// Calls are redirected from some moment before this returns.
    ///
    /// # Errors
    ///
    /// See [`AttachError`]; `EOPNOTSUPP` for [`Way::Jump`] if the kernel can only call.
    ///
    /// # Safety
    ///
    /// Each function must have the signature of the kernel function that it replaces, be sound to
    /// call wherever the kernel calls that one, and stay in memory until this object was dropped
    /// and no task can be inside of it any more; see [`Redirect::detach`].
    pub(crate) unsafe fn attach(
        targets: &[Target],
        way: Way,
        often: &[&CStr],
    ) -> Result<Self, AttachError> {
        let ips = Self::resolve(targets)?;
        match way {
            Way::Shared => Self::share(targets, &ips, often),
            Way::Jump => Self::jump(targets, &ips),
        }
    }

    /// See [`Way::Jump`].
    fn jump(targets: &[Target], ips: &[c_ulong]) -> Result<Self, AttachError> {
        let mut this = Self {
            ops: KVec::with_capacity(targets.len(), GFP_KERNEL)?,
        };
        for (target, &ip) in targets.iter().zip(ips) {
            // What was registered before is unregistered again as `this` is dropped.
            let ops = Self::register_jump(target, ip).map_err(|error| match error {
                e if e == EBUSY => AttachError::Taken(target.symbol),
                e if e == ENODEV => AttachError::Disabled,
                e => e.into(),
            })?;
            this.ops.push_within_capacity(ops).map_err(|_| ENOMEM)?;
        }
        Ok(this)
    }

    /// Makes the function at `ip` begin with a jump to its target.
    fn register_jump(target: &Target, ip: c_ulong) -> Result<Ops> {
        // SAFETY: It computes a number.
        let jump = unsafe { bindings::ftrace_jump_to(target.function as c_ulong) };
        if jump == 0 {
            return Err(EOPNOTSUPP);
        }
        let ops = KBox::new(bindings::ftrace_ops::default(), GFP_KERNEL)?;
        let ops = NonNull::from(KBox::leak(ops));
        // SAFETY: `ops` is initialised and stays where it is.
        let ret = unsafe { bindings::ftrace_set_filter_ip(ops.as_ptr(), ip, 0, 1) };
        let ret = to_result(ret).and_then(|()| {
            // SAFETY: As above; the filter is set. A jump leaves everything as the caller of the function
            // left it for the function, which is what the target wants.
            to_result(unsafe { bindings::register_ftrace_direct(ops.as_ptr(), jump) })
        });
        if let Err(e) = ret {
            // SAFETY: `ops` is not registered, and came from `KBox::leak`.
            drop(unsafe {
                bindings::ftrace_free_filter(ops.as_ptr());
                KBox::from_raw(ops.as_ptr())
            });
            return Err(e);
        }
        // INVARIANT: It was just registered.
        Ok(Ops { ops, jump })
    }

    /// See [`Way::Shared`].
    fn share(targets: &[Target], ips: &[c_ulong], often: &[&CStr]) -> Result<Self, AttachError> {
        // What was registered before an error is unregistered again as `this` is dropped.
        let mut this = Self { ops: KVec::new() };
        let mut others: (KVec<Target>, KVec<c_ulong>) = (KVec::new(), KVec::new());
        for (target, ip) in targets.iter().zip(ips) {
            if often.contains(&target.symbol) {
                let (target, ip) = (core::slice::from_ref(target), core::slice::from_ref(ip));
                this.ops
                    .push(Self::register_shared(target, ip)?, GFP_KERNEL)?;
            } else {
                others.0.push(*target, GFP_KERNEL)?;
                others.1.push(*ip, GFP_KERNEL)?;
            }
        }
        if !others.0.is_empty() {
            let ops = Self::register_shared(&others.0, &others.1)?;
            this.ops.push(ops, GFP_KERNEL)?;
        }
        Ok(this)
    }

    /// As [`Self::register`], for a redirection that stays.
    fn register_shared(targets: &[Target], ips: &[c_ulong]) -> Result<Ops, AttachError> {
        Self::register(targets, ips, IPMODIFY | PERMANENT).map_err(|error| match error {
            e if e == ENODEV => AttachError::Disabled,
            e if e == EBUSY => Self::why_busy(targets, ips),
            e => e.into(),
        })
    }

    /// Finds out why not all of `targets` could be redirected, by trying each alone.
    fn why_busy(targets: &[Target], ips: &[c_ulong]) -> AttachError {
        for (target, ip) in targets.iter().zip(ips) {
            let (one, ip) = (core::slice::from_ref(target), core::slice::from_ref(ip));
            match Self::register(one, ip, IPMODIFY | PERMANENT) {
                Ok(_) => continue,
                Err(e) if e == EBUSY => (),
                Err(e) => return e.into(),
            }
            // Only what is permanent is refused while ftrace is off.
            return match Self::register(one, ip, IPMODIFY) {
                Ok(_) => AttachError::Disabled,
                Err(e) if e == EBUSY => AttachError::Taken(target.symbol),
                Err(e) => e.into(),
            };
        }
        // Whoever had one of them has left since.
        EBUSY.into()
    }

    /// Finds the addresses of `targets`.
    fn resolve(targets: &[Target]) -> Result<KVec<c_ulong>, AttachError> {
        if targets.is_empty() || targets.len() > MAX_TARGETS {
            return Err(EINVAL.into());
        }
        let mut symbols: KVec<*const c_char> = KVec::with_capacity(targets.len(), GFP_KERNEL)?;
        for target in targets {
            symbols.push(target.symbol.as_char_ptr(), GFP_KERNEL)?;
        }
        let mut ips: KVec<c_ulong> = KVec::from_elem(0, targets.len(), GFP_KERNEL)?;
        let count = u32::try_from(targets.len()).map_err(|_| EINVAL)?;
        let mut failed = count;

        // SAFETY: `symbols` has `count` C strings, `ips` has room for as many addresses.
        let ret = unsafe {
            bindings::ftrace_resolve(symbols.as_ptr(), ips.as_mut_ptr(), count, &mut failed)
        };
        match to_result(ret) {
            Ok(()) => Ok(ips),
            Err(e) if e == ENOMEM => Err(e.into()),
            Err(e) => match usize::try_from(failed).ok().and_then(|i| targets.get(i)) {
                Some(target) => Err(AttachError::NoSymbol(target.symbol)),
                None => Err(e.into()),
            },
        }
    }

    /// Registers one `ftrace_ops` for all of `ips`, with `FTRACE_OPS_FL_*` in `flags`.
    fn register(targets: &[Target], ips: &[c_ulong], flags: c_ulong) -> Result<Ops> {
        let mut filter: KVec<c_ulong> = KVec::with_capacity(ips.len(), GFP_KERNEL)?;
        filter.extend_from_slice(ips, GFP_KERNEL)?;
        let count = u32::try_from(filter.len()).map_err(|_| EINVAL)?;

        let table = KBox::into_raw(Table::new(targets, ips)?);
        let ops = KBox::new(
            bindings::ftrace_ops {
                func: Some(match targets {
                    [_] => bindings::ftrace_redirect_only,
                    _ => bindings::ftrace_redirect,
                }),
                flags,
                private: table.cast(),
                ..Default::default()
            },
            GFP_KERNEL,
        );
        let ops = match ops {
            Ok(ops) => NonNull::from(KBox::leak(ops)),
            Err(e) => {
                // SAFETY: It came from `KBox::into_raw` above.
                drop(unsafe { KBox::from_raw(table) });
                return Err(e.into());
            }
        };

        // SAFETY: `ops` is initialised and stays where it is; `filter` has `count` addresses.
        let ret = unsafe {
            bindings::ftrace_set_filter_ips(ops.as_ptr(), filter.as_mut_ptr(), count, 0, 1)
        };
        let ret = to_result(ret).and_then(|()| {
            Self::try_again(|| {
                // SAFETY: As above; the filter is set, so that nothing else is redirected.
                to_result(unsafe { bindings::register_ftrace_function(ops.as_ptr()) })
            })
        });
        if let Err(e) = ret {
            // SAFETY: `ops` is not registered.
            unsafe { Ops::free(ops) };
            return Err(e);
        }
        // INVARIANT: It was just registered, with a table for its filter.
        Ok(Ops { ops, jump: 0 })
    }

    /// Calls `register` for up to two seconds, until it does not ask to be called again: `EAGAIN` says that a BPF
    /// program is being attached to one of the functions, or detached, just now.
    fn try_again(register: impl Fn() -> Result) -> Result {
        const TIMES: u32 = 100;
        for _ in 1..TIMES {
            match register() {
                Err(e) if e == EAGAIN => fsleep(Delta::from_millis(20)),
                result => return result,
            }
        }
        register()
    }

    /// Stops redirecting.
    ///
    /// Afterwards no call *begins* in the targets, with one exception: if this returns `true`, a
    /// task may sleep in a BPF program that shares one of the kernel functions, and go on to the
    /// target later; see [`synchronize_trampolines`]. And the only tasks still *inside* a target
    /// are those that slept there. The owner of the targets has to wait for both.
    ///
    /// Context: process context, sleeps.
    pub(crate) fn detach(self) -> bool {
        let mut shared = false;
        for ops in self.ops {
            shared |= ManuallyDrop::new(ops).unregister();
        }
        shared
    }
}

impl Ops {
    /// See [`Redirect::detach`]. Must be called once only, as the last thing.
    fn unregister(&mut self) -> bool {
        // SAFETY: By the type invariants `ops` is registered, and how.
        let ret = unsafe {
            match self.jump {
                0 => bindings::unregister_ftrace_function(self.ops.as_ptr()),
                jump => bindings::unregister_ftrace_direct(self.ops.as_ptr(), jump, true),
            }
        };
        if let Err(e) = to_result(ret) {
            // ftrace switched itself off after an error, and the kernel's code may still jump to
            // us. Nothing may be freed then, not even this module.
            pr_emerg!("ftrace is broken ({e:?}): this module must stay in memory. Reboot.\n");
            loop {
                fsleep(Delta::from_millis(60_000));
            }
        }
        if self.jump != 0 {
            // SAFETY: It came from `KBox::leak`, is not registered any more, and its filter is free.
            drop(unsafe { KBox::from_raw(self.ops.as_ptr()) });
            return false;
        }
        // SAFETY: `ops` is not registered any more; `unregister_ftrace_function` waited for the
        // callback.
        unsafe { Self::free(self.ops) }
    }

    /// Frees `ops`, its filter and its table, and returns whether functions were shared.
    ///
    /// # Safety
    ///
    /// `ops` must have been set up by [`Redirect::register`] and not be registered with ftrace.
    unsafe fn free(ops: NonNull<bindings::ftrace_ops>) -> bool {
        // SAFETY: `ops` is not registered, by the safety requirements.
        unsafe { bindings::ftrace_free_filter(ops.as_ptr()) };
        // SAFETY: It came from `KBox::leak`, and nobody else uses it.
        let ops = unsafe { KBox::from_raw(ops.as_ptr()) };
        // SAFETY: `private` came from `KBox::into_raw`.
        let table = unsafe { KBox::from_raw(ops.private.cast::<Table>()) };
        table.shared != 0
    }
}

impl Drop for Ops {
    /// Does as [`Redirect::detach`].
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Waits until every task has been through a voluntary context switch or user space, so that
/// none is inside code that cannot sleep and that nothing jumps to any more.
///
/// Context: process context, sleeps for about a tenth of a second.
pub(crate) fn synchronize_tasks() {
    // SAFETY: It may be called wherever sleeping is allowed.
    unsafe { bindings::synchronize_rcu_tasks() };
}

/// Waits until no task can be on its way to a target of a detached [`Redirect`] through a BPF
/// trampoline. Needed if [`Redirect::detach`] says so.
///
/// A sleepable BPF program that shares a redirected function has the address of the target on its
/// stack while it sleeps. Each round lets a task run to the end of one program at least, and a
/// trampoline has a bounded number of them.
///
/// Context: process context, sleeps for seconds.
pub(crate) fn synchronize_trampolines() {
    // SAFETY: It returns a constant.
    for _ in 0..unsafe { bindings::bpf_trampoline_rounds() } {
        synchronize_tasks();
        // SAFETY: It may be called wherever sleeping is allowed.
        unsafe { bindings::synchronize_rcu_tasks_trace() };
    }
}
