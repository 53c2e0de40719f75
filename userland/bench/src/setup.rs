// SPDX-License-Identifier: GPL-2.0

//! The setups, in an order in which each finds the kernel as if there had been none before it.

use crate::apparmor::Profile;
use crate::bpf::Programs;
use crate::child::Child;
use crate::landlock;
use crate::measure::{
    self,
    confined,
    free,
    print,
    Ruler, //
};
use crate::module::{
    label,
    Attach,
    Object, //
};
use crate::policy::{
    self,
    MIX,
    ONE,
    THOUSAND, //
};
use crate::sys::check;
use crate::tasks;
use crate::workload;
use crate::{
    Measure,
    Res, //
};
use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// The names of the setups, and of what is measured beside them.
pub(crate) const NAMES: [&str; 13] = [
    "none",
    "landlock",
    "apparmor",
    "bpf",
    "loaded",
    "agent1",
    "agent1000",
    "agent",
    "tasks",
    "attach",
    "loaded_direct",
    "agent1_direct",
    "agent1000_direct",
];

/// After something was attached or detached: until the kernel has finished with what was there before.
const PAUSE: Duration = Duration::from_secs(1);

/// Times that the module is loaded and removed to see how long that takes.
const LOADS: u32 = 5;

/// Measures everything that is wanted and prints it.
///
/// # Errors
///
/// The first setup that is not in force, refuses what it should allow, or cannot be made.
pub(crate) fn run_all(wanted: &Measure) -> Res {
    let object = Object::open(&wanted.module)?;
    let ruler = Ruler::new(wanted);
    fixed_addresses()?;
    // What is large comes and goes without a trace in the heap.
    // SAFETY: No pointers.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 16) };
    workload::prepare()?;
    policy::prepare()?;
    measure::settle();
    measure::counting()?;
    if ruler.wants("none") {
        ruler.workloads("none", &free)?;
        ruler.mix("none", &free)?;
    }
    peers(&ruler)?;
    modules(&ruler, &object, Attach::Default)?;
    if ruler.wants("attach") {
        attaching(&object)?;
    }
    if object.offers(Attach::Direct) {
        modules(&ruler, &object, Attach::Direct)?;
    } else {
        eprintln!(
            "bench: the module has no parameter \"direct\": nothing is measured with direct=1"
        );
    }
    Ok(())
}

/// Starts this program again unless it is where it is in every boot: what a fork costs depends on the page tables.
fn fixed_addresses() -> Res {
    const QUERY: libc::c_ulong = 0xffff_ffff;
    // SAFETY: No pointers.
    let now = unsafe { libc::personality(QUERY) };
    if now & libc::ADDR_NO_RANDOMIZE != 0 {
        return Ok(());
    }
    // SAFETY: No pointers; it concerns programs that are executed from now on.
    check(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE.unsigned_abs().into()) })
        .map_err(|error| format!("personality: {error}"))?;
    let error = Command::new("/proc/self/exe")
        .args(env::args_os().skip(1))
        .exec();
    Err(format!("/proc/self/exe: {error}"))
}

/// The other security modules.
fn peers(ruler: &Ruler<'_>) -> Res {
    if ruler.wants("landlock") {
        ruler.workloads("landlock", &|| {
            landlock::enter()?;
            confined()
        })?;
    }
    if ruler.wants("apparmor") {
        let profile = Profile::load()?;
        ruler.workloads("apparmor", &|| {
            profile.enter()?;
            confined()
        })?;
    }
    if ruler.wants("bpf") {
        let programs = Programs::attach()?;
        programs.prove(measure::try_all)?;
        sleep(PAUSE);
        ruler.workloads("bpf", &free)?;
    }
    sleep(PAUSE);
    Ok(())
}

/// Takes a label that confines.
fn agent() -> Res {
    label()?;
    confined()
}

/// Fails unless the module in force confines an agent, and nobody else.
fn enforcing() -> Res {
    Child::start(|_| agent())?.finish()?;
    free()
}

/// The module, attached in one of its ways.
fn modules(ruler: &Ruler<'_>, object: &Object, attach: Attach) -> Res {
    let name = |setup: &str| match attach {
        Attach::Default => setup.to_owned(),
        Attach::Direct => format!("{setup}_direct"),
    };
    let module = object.load(attach)?;
    let policies = [("agent1", &ONE), ("agent1000", &THOUSAND)];
    let in_force = |policy| {
        module.set_policy(policy)?;
        enforcing()?;
        sleep(PAUSE);
        Ok::<(), String>(())
    };
    if ruler.wants(&name("loaded")) {
        in_force(&ONE)?;
        ruler.workloads(&name("loaded"), &free)?;
        if attach == Attach::Default {
            ruler.mix("loaded", &free)?;
        }
    }
    for (setup, policy) in policies {
        if ruler.wants(&name(setup)) {
            in_force(policy)?;
            ruler.workloads(&name(setup), &agent)?;
        }
    }
    if attach == Attach::Default {
        if ruler.wants("agent") {
            in_force(&MIX)?;
            ruler.mix("agent", &agent)?;
        }
        if ruler.wants("tasks") {
            in_force(&ONE)?;
            tasks::measure(ruler, &module, &free, &agent)?;
        }
    }
    module.unload()?;
    sleep(PAUSE);
    Ok(())
}

/// What it takes to load the module and to remove it.
fn attaching(object: &Object) -> Res {
    eprintln!("bench: loading and removing");
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        let module = object.load(Attach::Default)?;
        attach.push(module.attach_ms);
        sleep(PAUSE);
        detach.push(module.unload()?);
        sleep(PAUSE);
    }
    print("attach.ms", attach)?;
    print("detach.ms", detach)
}
