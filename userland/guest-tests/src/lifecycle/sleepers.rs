// SPDX-License-Identifier: GPL-2.0

//! The module goes while tasks sleep in its hooks, or on their way to one.

use super::{
    begin,
    end,
    end_in_child,
    ended,
    is_over,
    nothing_traced,
    programs,
    SLEEPABLE, //
};
use crate::agent::{
    self,
    Child,
    Who, //
};
use crate::bpf::Program;
use crate::ensure;
use crate::harness::{
    patience,
    Ctx,
    Test, //
};
use crate::hooks::kernel;
use crate::hooks::sys;
use crate::stage::{
    self,
    expect_errno,
    Res, //
};
use crate::worker::{
    self,
    Agent, //
};
use std::fs;
use std::os::fd::{
    AsRawFd as _,
    OwnedFd, //
};
use std::process::{
    Command,
    Stdio, //
};
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("unload_wakes_all_who_wait_for_votes", wakes_all),
    Test::new("unload_while_waiting_tasks_are_killed", killed),
    Test::new("unload_while_a_slow_file_is_digested", slow_file),
    Test::new("unload_waits_for_a_sleeping_bpf_program", sleeping_program),
    Test::new(
        "unload_while_a_sleeping_bpf_program_is_killed",
        killed_program,
    ),
];

/// How many wait at each hook.
const EACH: usize = 6;

/// Agents that wait for votes on a write, on a program, and on a module.
fn waiters(ctx: &Ctx) -> Res<Vec<Agent>> {
    let held = |name: &str| format!("{}/held/{name}", ctx.scratch.display());
    let module = kernel::module(ctx)?;
    fs::copy("/usr/bin/true", held("true")).map_err(|e| e.to_string())?;
    let mut agents = Vec::new();
    for n in 0..EACH {
        // Of loads of one file the kernel makes one.
        let own = format!("{n}.ko");
        fs::copy(&module, held(&own)).map_err(|e| e.to_string())?;
        for (command, name) in [("append", "f"), ("exec", "true"), ("module", &own)] {
            let mut agent = Agent::start("a")?;
            agent.send(&[command, &held(name)])?;
            agents.push(agent);
        }
    }
    stage::eventually(patience(Duration::from_secs(30)), || {
        let open = stage::open_requests()?.len();
        ensure!(open == agents.len(), "{open} of {} wait", agents.len());
        Ok(())
    })?;
    Ok(agents)
}

fn wakes_all(ctx: &mut Ctx) -> Res {
    for round in 0..4 {
        begin("", &ctx.scratch)?;
        let agents = waiters(ctx)?;
        let took = end()?;
        // They wait for 50 s when nobody wakes them.
        ensure!(
            took < patience(Duration::from_secs(15)),
            "unloading took {} s while {} waited",
            took.as_secs(),
            agents.len()
        );
        for mut agent in agents {
            let (errno, _) = agent.answer()?;
            expect_errno("whoever waited", errno, libc::EACCES)?;
            agent.end()?;
        }
        nothing_traced().map_err(|why| format!("round {round}: {why}"))?;
        ctx.progress();
    }
    Ok(())
}

fn killed(ctx: &mut Ctx) -> Res {
    for _ in 0..4 {
        begin("", &ctx.scratch)?;
        let agents = waiters(ctx)?;
        let unload = end_in_child()?;
        for agent in agents {
            let took = agent.kill();
            ensure!(
                took < patience(Duration::from_secs(15)),
                "a killed agent took {took:?}"
            );
        }
        ended(unload)?;
        ctx.progress();
    }
    Ok(())
}

// --- a slow file ----------------------------------------------------------------------------------

/// Bytes of the slow program, and how many of them can be read in a second.
const SLOW: (usize, u32) = (24 << 20, 512 << 10);

fn run(command: &[&str]) -> Res<String> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", command[0]))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        command.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program on a disk that a control group may read slowly; both go when this is dropped.
struct Disk {
    device: String,
    at: String,
}

/// The control group.
const GROUP: &str = "/sys/fs/cgroup/slow";

impl Disk {
    fn make(ctx: &Ctx) -> Res<Self> {
        run(&["modprobe", "loop"])?;
        let image = ctx.file("image", &vec![0; SLOW.0 + (8 << 20)])?;
        run(&["mke2fs", "-F", &image])?;
        let device = run(&["losetup", "--find", "--show", &image])?;
        let disk = Self {
            device,
            at: ctx.dir("held")?,
        };
        run(&["mount", "-t", "ext4", &disk.device, &disk.at])?;
        let mut program = fs::read("/usr/bin/true").map_err(|e| e.to_string())?;
        program.resize(SLOW.0, 0);
        let path = disk.program();
        fs::write(&path, program).map_err(|e| format!("{path}: {e}"))?;
        run(&["chmod", "755", &path])?;
        let write = |path: String, text: &str| {
            fs::write(&path, text).map_err(|e| format!("{path}: {text}: {e}"))
        };
        write("/sys/fs/cgroup/cgroup.subtree_control".to_owned(), "+io")?;
        fs::create_dir_all(GROUP).map_err(|e| format!("{GROUP}: {e}"))?;
        let name = disk.device.trim_start_matches("/dev/");
        let number = stage::content(&format!("/sys/block/{name}/dev"))?;
        write(
            format!("{GROUP}/io.max"),
            &format!("{} rbps={}", number.trim(), SLOW.1),
        )?;
        Ok(disk)
    }

    fn program(&self) -> String {
        format!("{}/program", self.at)
    }

    /// An agent that executes the program, and is reading it.
    fn reader(&self) -> Res<Agent> {
        run(&["sync"])?;
        fs::write("/proc/sys/vm/drop_caches", "3").map_err(|e| e.to_string())?;
        let mut agent = Agent::start("a")?;
        fs::write(format!("{GROUP}/cgroup.procs"), agent.pid().to_string())
            .map_err(|e| format!("{GROUP}: {e}"))?;
        agent.send(&["exec", &self.program()])?;
        ensure!(
            !agent.answers_within(Duration::from_secs(1)),
            "the disk is not slow"
        );
        Ok(agent)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(&["umount", "-l", &self.at]);
        let _ = run(&["losetup", "-d", &self.device]);
        let _ = fs::remove_dir(GROUP);
    }
}

/// A program is digested before anybody can be asked, which takes 48 s here. The module does not wait for all of it, and
/// lets nothing through.
fn slow_file(ctx: &mut Ctx) -> Res {
    let disk = Disk::make(ctx)?;
    for kill in [false, true] {
        begin("", &ctx.scratch)?;
        let mut agent = disk.reader()?;
        let start = Instant::now();
        let unload = end_in_child()?;
        if kill {
            let took = agent.kill();
            ensure!(
                took < patience(Duration::from_secs(15)),
                "a killed agent took {took:?}"
            );
            ended(unload)?;
        } else {
            ended(unload)?;
            let (errno, _) = agent.answer()?;
            expect_errno("the program", errno, libc::EACCES)?;
            agent.end()?;
        }
        ensure!(
            start.elapsed() < patience(Duration::from_secs(24)),
            "unloading took {} s while a file was digested",
            start.elapsed().as_secs()
        );
        println!(
            "lifecycle: unloaded in {} ms while a file was digested (killed: {kill})",
            start.elapsed().as_millis()
        );
        ctx.progress();
    }
    Ok(())
}

// --- a program that sleeps ------------------------------------------------------------------------

/// Where the page is that the sleeping program reads; nobody but its victim has one there.
const PAGE: usize = 0x7a57_1e00_0000;

/// `bpf_copy_from_user(stack, 8, PAGE); return 0`
fn copy_from_page() -> [u64; 8] {
    let (low, high) = (PAGE as u64 & 0xffff_ffff, PAGE as u64 >> 32);
    [
        0xa1bf,
        0xffff_fff8_0000_0107,
        0x08_0000_02b7,
        0x0318 | (low << 32),
        high << 32,
        (148 << 32) | 0x85,
        0xb7,
        0x95,
    ]
}

// Of `include/uapi/linux/userfaultfd.h`.
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
const UFFD_API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;

fn ioctl<const N: usize>(fd: &OwnedFd, command: libc::c_ulong, mut words: [u64; N]) -> i32 {
    // SAFETY: Each of these commands reads and writes no more than the words it is given.
    sys::out(unsafe { libc::ioctl(fd.as_raw_fd(), command, words.as_mut_ptr()) })
}

/// Maps the page and has whoever touches it sleep until the descriptor's owner provides it.
fn trap() -> Result<OwnedFd, i32> {
    // SAFETY: Nothing else is mapped there, else this fails.
    let at = unsafe {
        libc::mmap(
            std::ptr::without_provenance_mut(PAGE),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(worker::errno());
    }
    // SAFETY: No pointers are passed.
    let fd = sys::fd(unsafe {
        libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK)
    })?;
    match ioctl(&fd, UFFDIO_API, [UFFD_API, 0, 0]) {
        0 => {}
        errno => return Err(errno),
    }
    match ioctl(&fd, UFFDIO_REGISTER, [PAGE as u64, 4096, MODE_MISSING, 0]) {
        0 => Ok(fd),
        errno => Err(errno),
    }
}

/// A process that sleeps in a BPF program, on its way to the module's hook.
struct Victim {
    child: Child,
    trap: OwnedFd,
    _programs: Vec<Program>,
}

impl Victim {
    fn start(path: &str) -> Res<Self> {
        let programs = programs(&["file_open"], &copy_from_page(), SLEEPABLE)?;
        let (ours, theirs) = sys::pair().map_err(stage::errno_name)?;
        let path = path.to_owned();
        let child = agent::spawn_stepper(&Who::Free, move |_, step| match step {
            0 => match trap() {
                Ok(fd) => i64::from(sys::send_fd(&theirs, &fd)),
                Err(errno) => i64::from(errno),
            },
            _ => i64::from(sys::open_read(&path)),
        })
        .map_err(|(_, text)| text)?;
        let errno = i32::try_from(child.step(0)?).unwrap_or(-1);
        expect_errno("userfaultfd", errno, 0)?;
        let trap = sys::receive_fd(&ours)
            .map_err(stage::errno_name)?
            .ok_or("no descriptor came")?;
        child.start(1);
        let mut poll = libc::pollfd {
            fd: trap.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `poll` is one element.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 60_000) };
        ensure!(ready == 1, "the program does not sleep");
        Ok(Self {
            child,
            trap,
            _programs: programs,
        })
    }

    /// Lets the program go on.
    fn release(&self) -> Res {
        let errno = ioctl(&self.trap, UFFDIO_ZEROPAGE, [PAGE as u64, 4096, 0, 0]);
        expect_errno("providing the page", errno, 0)
    }
}

/// Longer than unloading takes when the stubs are shared and nobody sleeps.
const LONG: Duration = Duration::from_secs(15);

/// The task has the address of the module's function on its stack while it sleeps.
fn sleeping_program(ctx: &mut Ctx) -> Res {
    begin("", &ctx.scratch)?;
    let victim = Victim::start("/etc/passwd")?;
    let unload = end_in_child()?;
    std::thread::sleep(LONG);
    ensure!(
        !is_over(&unload),
        "the module went while a task was on its way to it"
    );
    ensure!(!victim.child.idle(), "the program did not sleep");
    victim.release()?;
    let errno = i32::try_from(victim.child.finish()?).unwrap_or(-1);
    expect_errno("what the victim opened", errno, 0)?;
    ctx.progress();
    ended(unload)?;
    drop(victim);
    stage::eventually(patience(Duration::from_secs(5)), nothing_traced)
}

fn killed_program(ctx: &mut Ctx) -> Res {
    begin("", &ctx.scratch)?;
    let victim = Victim::start("/etc/passwd")?;
    let unload = end_in_child()?;
    std::thread::sleep(Duration::from_secs(2));
    // Its exit runs through the same stubs.
    drop(victim);
    ended(unload)?;
    stage::eventually(patience(Duration::from_secs(5)), nothing_traced)
}
