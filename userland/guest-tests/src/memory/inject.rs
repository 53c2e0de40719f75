// SPDX-License-Identifier: GPL-2.0

//! Lets chosen allocations fail: BPF programs at the two places where the kernel asks whether one is to fail.
//!
//! `should_failslab` and `should_fail_alloc_page` are what failslab and fail_page_alloc ask, and the kernel lets programs
//! answer there (`ALLOW_ERROR_INJECTION`). A program sees what `fail-nth` and the stack filter of debugfs do not tell: from
//! where in the module an allocation comes. So each place can fail by itself, also those that the kernel does not log
//! (`__GFP_NOWARN`), and with the second attempt that a first failure leads to (`kvmalloc`).
//!
//! C headers: `include/linux/fault-inject.h`, `include/uapi/linux/bpf.h`.

use crate::bpf::{
    self,
    Load,
    Open,
    PROG_LOAD,
    RAW_TRACEPOINT_OPEN, //
};
use crate::btf::Btf;
use crate::ensure;
use crate::stage::{
    self,
    Res, //
};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{
    AsRawFd as _,
    OwnedFd, //
};
use std::sync::atomic::{
    AtomicPtr,
    AtomicU64,
    Ordering::SeqCst, //
};

/// What the programs and the tests share: the only value of a map that is mapped into every process of a test.
#[repr(C)]
struct Page {
    /// The task whose allocations count, [`ANYBODY`], or 0: nobody's.
    who: AtomicU64,
    /// 0: they are only counted.
    fail: AtomicU64,
    /// Those that come by this way fail; 0: all.
    way: AtomicU64,
    /// So many that come by this way do not.
    skip: AtomicU64,
    /// Only what was called from these addresses counts.
    within: [AtomicU64; 2],
    /// Where the module is, or may be.
    module: [AtomicU64; 2],
    /// What was called from these does not count.
    apart: [[AtomicU64; 2]; APART],
    /// Number of allocations that counted.
    seen: AtomicU64,
    /// Number of those that came by the way.
    met: AtomicU64,
    /// Number of those that failed.
    failed: AtomicU64,
    /// The allocations that counted: way, site, what the site called, whether it failed.
    entries: [[AtomicU64; 4]; ENTRIES],
    /// The programs' own: where each processor's program puts the stack.
    frames: [[AtomicU64; FRAMES]; CPUS],
}

/// Numbers that [`Page`] is made of; the last three are powers of two.
const APART: usize = 4;
const ENTRIES: usize = 1 << 14;
const FRAMES: usize = 1 << 6;
const CPUS: usize = 1 << 3;

/// Every task's allocations count.
const ANYBODY: u64 = u64::MAX;

/// `__GFP_NOFAIL`: whoever asks so never looks whether there is an answer.
const GFP_NOFAIL: i32 = 0x8000;

/// What allocates on its own behalf, wherever it interrupts or is called: interrupts, soft interrupts, and what KASAN and
/// kmemleak remember about an allocation.
const OTHERS: [&str; APART] = [
    "__irqentry_text_start",
    "handle_softirqs",
    "stack_depot_save_flags",
    "__alloc_object",
];

/// Where the first of these ends; the others are functions.
const INTERRUPTS_END: &str = "__irqentry_text_end";

/// What calls a module when it is loaded.
const LOADER: &str = "do_init_module";

/// The part of memory for modules and other code that is made at run time, in a kernel without `RANDOMIZE_BASE`, as the
/// debug kernel is.
const MODULES: [u64; 2] = [0xffff_ffff_a000_0000, 0xffff_ffff_ff00_0000];

// --- programs -------------------------------------------------------------------------------------

/// Instructions of a program, with labels for its jumps.
#[derive(Default)]
struct Code {
    code: Vec<u64>,
    labels: BTreeMap<String, usize>,
    jumps: Vec<(usize, String)>,
}

const LDX: u8 = 0x79;
const STX: u8 = 0x7b;
const MOV: u8 = 0xbf;
const MOV_IMM: u8 = 0xb7;
const MOV32: u8 = 0xbc;
const ADD: u8 = 0x0f;
const ADD_IMM: u8 = 0x07;
const AND_IMM: u8 = 0x57;
const SHL_IMM: u8 = 0x67;
const MUL_IMM: u8 = 0x27;
const XOR: u8 = 0xaf;
const JEQ: u8 = 0x1d;
const JEQ_IMM: u8 = 0x15;
const JNE: u8 = 0x5d;
const JNE_IMM: u8 = 0x55;
const JLT: u8 = 0xad;
const JLT_IMM: u8 = 0xa5;
const SUB: u8 = 0x1f;
const AND: u8 = 0x5f;
const OR: u8 = 0x4f;
const NEG: u8 = 0x87;
const XOR_IMM: u8 = 0xa7;
const SHR_IMM: u8 = 0x77;
const JSLE_IMM: u8 = 0xd5;
const JA: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const LD_IMM64: u8 = 0x18;

const PSEUDO_MAP_VALUE: u8 = 2;
const GET_SMP_PROCESSOR_ID: i32 = 8;
const GET_CURRENT_PID_TGID: i32 = 14;
const GET_STACK: i32 = 67;

impl Code {
    fn put(&mut self, op: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.code.push(
            u64::from(op)
                | (u64::from(dst | (src << 4)) << 8)
                | (u64::from(u16::from_ne_bytes(off.to_ne_bytes())) << 16)
                | (u64::from(u32::from_ne_bytes(imm.to_ne_bytes())) << 32),
        );
    }

    /// From and to memory: `dst = *(src + off)`, `*(dst + off) = src`.
    fn load(&mut self, dst: u8, src: u8, off: usize) {
        self.put(LDX, dst, src, i16::try_from(off).unwrap_or(i16::MAX), 0);
    }

    fn store(&mut self, dst: u8, off: usize, src: u8) {
        self.put(STX, dst, src, i16::try_from(off).unwrap_or(i16::MAX), 0);
    }

    /// From and to the program's stack, in words.
    fn local(&mut self, dst: u8, slot: i16) {
        self.put(LDX, dst, 10, -8 * slot, 0);
    }

    fn set_local(&mut self, slot: i16, src: u8) {
        self.put(STX, 10, src, -8 * slot, 0);
    }

    fn op(&mut self, op: u8, dst: u8, src: u8) {
        self.put(op, dst, src, 0, 0);
    }

    fn imm(&mut self, op: u8, dst: u8, imm: i32) {
        self.put(op, dst, 0, 0, imm);
    }

    fn jump(&mut self, op: u8, dst: u8, src: u8, imm: i32, to: &str) {
        self.jumps.push((self.code.len(), to.to_owned()));
        self.put(op, dst, src, 0, imm);
    }

    fn label(&mut self, name: &str) {
        self.labels.insert(name.to_owned(), self.code.len());
    }

    /// The instructions, with every jump where it belongs.
    fn finish(mut self) -> Res<Vec<u64>> {
        for (at, to) in self.jumps {
            let to = self.labels.get(&to).ok_or("a jump to nowhere")?;
            let off = i64::try_from(*to).unwrap_or(0) - i64::try_from(at).unwrap_or(0) - 1;
            let off = i16::try_from(off).map_err(|e| e.to_string())?;
            if let Some(instruction) = self.code.get_mut(at) {
                *instruction |= u64::from(u16::from_ne_bytes(off.to_ne_bytes())) << 16;
            }
        }
        Ok(self.code)
    }
}

/// Where things are in the page.
macro_rules! at {
    ($($field:tt)+) => { std::mem::offset_of!(Page, $($field)+) };
}

/// Slots of the program's stack.
const BYTES: i16 = 1;
const WAY: i16 = 2;
const SITE: i16 = 3;
const CALLEE: i16 = 4;
const INSIDE: i16 = 5;
const PREVIOUS: i16 = 6;
const FOUND: i16 = 7;
const OTHER: i16 = 8;

/// Ends unless the task is the one, and may fail. Registers: 6 the arguments, 7 the page.
fn is_meant(c: &mut Code, map: i32, flags: usize) {
    c.op(MOV, 6, 1);
    c.put(LD_IMM64, 7, PSEUDO_MAP_VALUE, 0, map);
    c.put(0, 0, 0, 0, 0);
    c.load(1, 7, at!(who));
    c.jump(JEQ_IMM, 1, 0, 0, "out");
    c.set_local(BYTES, 1);
    c.imm(CALL, 0, GET_CURRENT_PID_TGID);
    c.local(1, BYTES);
    c.jump(JEQ_IMM, 1, 0, -1, "meant");
    c.op(MOV32, 0, 0);
    c.jump(JNE, 0, 1, 0, "out");
    c.label("meant");
    c.load(1, 6, 8 * flags);
    c.imm(AND_IMM, 1, GFP_NOFAIL);
    c.jump(JNE_IMM, 1, 0, 0, "out");
}

/// Takes the stack. Register 9 points to it.
fn take_stack(c: &mut Code) {
    c.imm(CALL, 0, GET_SMP_PROCESSOR_ID);
    c.imm(AND_IMM, 0, i32::try_from(CPUS - 1).unwrap_or(0));
    c.imm(SHL_IMM, 0, i32::try_from((8 * FRAMES).ilog2()).unwrap_or(0));
    c.op(MOV, 9, 7);
    c.imm(ADD_IMM, 9, i32::try_from(at!(frames)).unwrap_or(0));
    c.op(ADD, 9, 0);
    c.op(MOV, 1, 6);
    c.op(MOV, 2, 9);
    c.imm(MOV_IMM, 3, i32::try_from(8 * FRAMES).unwrap_or(0));
    // The program and what called it are not part of it.
    c.imm(MOV_IMM, 4, SKIP);
    c.imm(CALL, 0, GET_STACK);
    c.jump(JSLE_IMM, 0, 0, 0, "out");
    c.set_local(BYTES, 0);
    c.imm(MOV_IMM, 1, 0);
    for slot in [WAY, SITE, CALLEE, INSIDE, PREVIOUS, FOUND, OTHER] {
        c.set_local(slot, 1);
    }
}

/// Frames of the program itself.
const SKIP: i32 = 3;

/// Register 1 becomes 1 when register 2 is an address of this range of the page, else 0.
fn is_in(c: &mut Code, range: usize) {
    c.load(3, 7, range);
    c.load(4, 7, range + 8);
    c.op(SUB, 4, 3);
    c.op(MOV, 1, 2);
    c.op(SUB, 1, 3);
    // Not below its beginning, and below its end.
    c.op(MOV, 3, 1);
    c.imm(XOR_IMM, 3, -1);
    c.op(SUB, 1, 4);
    c.op(AND, 1, 3);
    c.imm(SHR_IMM, 1, 63);
}

/// Adds register 1 to a flag.
fn set_flag(c: &mut Code, slot: i16) {
    c.local(4, slot);
    c.op(OR, 4, 1);
    c.set_local(slot, 4);
}

/// Looks at every frame of the stack: the innermost of the module is the site, all of the module are the way.
///
/// There is no branch but the loop's own: the kernel tries every path through a program before it takes it.
fn walk_stack(c: &mut Code) {
    c.imm(MOV_IMM, 8, 0);
    c.label("loop");
    c.op(MOV, 1, 9);
    c.op(ADD, 1, 8);
    c.load(2, 1, 0);
    // What is behind the last frame is of another stack.
    c.local(1, BYTES);
    c.op(MOV, 3, 8);
    c.op(SUB, 3, 1);
    c.imm(SHR_IMM, 3, 63);
    c.imm(NEG, 3, 0);
    c.op(AND, 2, 3);
    for n in 0..APART {
        is_in(c, at!(apart) + 16 * n);
        set_flag(c, OTHER);
    }
    is_in(c, at!(within));
    set_flag(c, INSIDE);
    is_in(c, at!(module));
    // Whether it is the first one of the module.
    c.local(3, FOUND);
    c.op(MOV, 4, 3);
    c.imm(XOR_IMM, 4, 1);
    c.op(AND, 4, 1);
    c.imm(NEG, 4, 0);
    c.op(OR, 3, 1);
    c.set_local(FOUND, 3);
    c.op(MOV, 3, 2);
    c.op(AND, 3, 4);
    c.local(5, SITE);
    c.op(OR, 5, 3);
    c.set_local(SITE, 5);
    c.local(3, PREVIOUS);
    c.op(AND, 3, 4);
    c.local(5, CALLEE);
    c.op(OR, 5, 3);
    c.set_local(CALLEE, 5);
    // The module is somewhere else after the next load, but on whole pages.
    c.imm(NEG, 1, 0);
    c.op(MOV, 3, 2);
    c.imm(AND_IMM, 3, 0xfff);
    c.local(4, WAY);
    c.op(MOV, 5, 4);
    c.op(XOR, 5, 3);
    c.imm(MUL_IMM, 5, 0x1b87_3593);
    c.imm(ADD_IMM, 5, 0x1656_67b1);
    c.op(XOR, 5, 4);
    c.op(AND, 5, 1);
    c.op(XOR, 4, 5);
    c.set_local(WAY, 4);
    c.set_local(PREVIOUS, 2);
    c.imm(ADD_IMM, 8, 8);
    let end = i32::try_from(8 * FRAMES).unwrap_or(0);
    c.jump(JLT_IMM, 8, 0, end, "loop");
    c.local(1, OTHER);
    c.jump(JNE_IMM, 1, 0, 0, "out");
}

/// Adds one to a number of the page; register 1 has what it was.
fn count(c: &mut Code, at: usize) {
    c.load(1, 7, at);
    c.op(MOV, 2, 1);
    c.imm(ADD_IMM, 2, 1);
    c.store(7, at, 2);
}

/// Writes down the allocation, and fails it when that is the plan.
fn answer(c: &mut Code, refusal: i32) {
    c.local(1, INSIDE);
    c.jump(JEQ_IMM, 1, 0, 0, "out");
    c.local(1, SITE);
    c.jump(JEQ_IMM, 1, 0, 0, "out");
    count(c, at!(seen));
    c.imm(AND_IMM, 1, i32::try_from(ENTRIES - 1).unwrap_or(0));
    c.imm(SHL_IMM, 1, 5);
    c.op(MOV, 8, 7);
    c.imm(ADD_IMM, 8, i32::try_from(at!(entries)).unwrap_or(0));
    c.op(ADD, 8, 1);
    for (at, slot) in [WAY, SITE, CALLEE].into_iter().enumerate() {
        c.local(1, slot);
        c.store(8, 8 * at, 1);
    }
    c.imm(MOV_IMM, 1, 0);
    c.store(8, 24, 1);
    c.load(1, 7, at!(fail));
    c.jump(JEQ_IMM, 1, 0, 0, "out");
    c.load(1, 7, at!(way));
    c.jump(JEQ_IMM, 1, 0, 0, "met");
    c.local(2, WAY);
    c.jump(JNE, 1, 2, 0, "out");
    c.label("met");
    count(c, at!(met));
    c.load(2, 7, at!(skip));
    c.jump(JLT, 1, 2, 0, "out");
    count(c, at!(failed));
    c.imm(MOV_IMM, 1, 1);
    c.store(8, 24, 1);
    c.imm(MOV_IMM, 0, refusal);
    c.put(EXIT, 0, 0, 0, 0);
    c.label("out");
    c.imm(MOV_IMM, 0, 0);
    c.put(EXIT, 0, 0, 0, 0);
}

/// The program for a function whose argument number `flags` are those of the allocation, and that refuses with `refusal`.
fn program(map: i32, flags: usize, refusal: i32) -> Res<Vec<u64>> {
    let mut c = Code::default();
    is_meant(&mut c, map, flags);
    take_stack(&mut c);
    walk_stack(&mut c);
    answer(&mut c, refusal);
    c.finish()
}

const MAP_CREATE: i32 = 0;
const MAP_TYPE_ARRAY: u32 = 2;
const MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_TRACING: u32 = 26;
const MODIFY_RETURN: u32 = 26;

/// What `MAP_CREATE` reads.
#[repr(C)]
struct Map {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

fn attach(btf: &Btf<'_>, name: &str, code: &[u64]) -> Res<[OwnedFd; 2]> {
    let id = btf
        .function(name)
        .ok_or_else(|| format!("the kernel has no {name}"))?;
    let mut log = vec![0u8; 1 << 16];
    let loaded = bpf::bpf(
        PROG_LOAD,
        &Load {
            prog_type: PROG_TYPE_TRACING,
            insn_cnt: u32::try_from(code.len()).unwrap_or(0),
            insns: code.as_ptr().expose_provenance() as u64,
            license: c"GPL".as_ptr().expose_provenance() as u64,
            log_level: 4,
            log_size: u32::try_from(log.len()).unwrap_or(0),
            log_buf: log.as_mut_ptr().expose_provenance() as u64,
            expected_attach_type: MODIFY_RETURN,
            attach_btf_id: id,
            ..Load::default()
        },
    );
    let program = loaded.map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
        let start = end.saturating_sub(2000);
        format!(
            "{name}: {error}: {}",
            String::from_utf8_lossy(log.get(start..end).unwrap_or_default())
        )
    })?;
    let link = bpf::bpf(
        RAW_TRACEPOINT_OPEN,
        &Open {
            name: 0,
            prog_fd: program.as_raw_fd().unsigned_abs(),
            reserved: 0,
        },
    )
    .map_err(|error| format!("{name}: {error}"))?;
    Ok([program, link])
}

// --- what tests use -------------------------------------------------------------------------------

/// The page of this process, and of those that it forks.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());

fn page() -> Option<&'static Page> {
    // SAFETY: Null, or a mapping that is never unmapped and holds only atomics.
    unsafe { PAGE.load(SeqCst).as_ref() }
}

/// Runs `body`, whose allocations, those of this task, are the ones that count. Does not allocate but in `body`.
pub(super) fn armed<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: No pointers are passed.
    let tid = unsafe { libc::gettid() };
    armed_for(u64::from(tid.unsigned_abs()), body)
}

/// Runs `body`, while every task's allocations count.
pub(super) fn armed_for_all<R>(body: impl FnOnce() -> R) -> R {
    armed_for(ANYBODY, body)
}

fn armed_for<R>(who: u64, body: impl FnOnce() -> R) -> R {
    let Some(page) = page() else {
        return body();
    };
    page.who.store(who, SeqCst);
    let result = body();
    page.who.store(0, SeqCst);
    result
}

/// One allocation that counted.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Number of the way that led to it: of all return addresses in the module.
    pub(super) way: u64,
    /// The innermost of these.
    pub(super) site: u64,
    /// Somewhere in what was called there.
    pub(super) callee: u64,
    /// Whether it failed.
    pub(super) failed: bool,
}

/// Programs that are attached, until this is dropped.
pub(super) struct Injector {
    page: &'static Page,
    loader: [u64; 2],
    _programs: Vec<OwnedFd>,
}

impl Injector {
    /// Attaches the programs; nobody's allocations count yet.
    pub(super) fn start() -> Res<Self> {
        let map = bpf::bpf(
            MAP_CREATE,
            &Map {
                map_type: MAP_TYPE_ARRAY,
                key_size: 4,
                value_size: u32::try_from(size_of::<Page>()).unwrap_or(0),
                max_entries: 1,
                map_flags: MMAPABLE,
            },
        )
        .map_err(|error| format!("map: {error}"))?;
        // SAFETY: A new shared mapping of the whole map, which has this size; zeroes are valid atomics.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Page>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        ensure!(
            memory != libc::MAP_FAILED,
            "mmap of the map: {}",
            std::io::Error::last_os_error()
        );
        PAGE.store(memory.cast(), SeqCst);
        let page = page().ok_or("no page")?;
        let names: Vec<&str> = OTHERS.into_iter().chain([INTERRUPTS_END, LOADER]).collect();
        let ranges = ranges(&names)?;
        for (range, name) in page.apart.iter().zip(OTHERS) {
            set(range, ranges[name]);
        }
        page.apart[0][1].store(ranges[INTERRUPTS_END][0], SeqCst);
        let path = "/sys/kernel/btf/vmlinux";
        let types = fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let btf = Btf::parse(&types).ok_or_else(|| format!("{path} is not BTF"))?;
        let mut programs = vec![];
        for (name, flags, refusal) in [
            ("should_failslab", 1, -libc::ENOMEM),
            ("should_fail_alloc_page", 0, 1),
        ] {
            programs.extend(attach(
                &btf,
                name,
                &program(map.as_raw_fd(), flags, refusal)?,
            )?);
        }
        programs.push(map);
        Ok(Self {
            page,
            loader: ranges[LOADER],
            _programs: programs,
        })
    }

    /// From now on, what the module that is loaded calls counts.
    pub(super) fn module(&self) -> Res {
        let range = module_range()?.ok_or("the module is not loaded")?;
        set(&self.page.within, range);
        set(&self.page.module, range);
        Ok(())
    }

    /// From now on, what a module does while it is loaded counts.
    pub(super) fn loading(&self) {
        set(&self.page.within, self.loader);
        set(&self.page.module, MODULES);
    }

    /// From now on, nothing fails.
    pub(super) fn count(&self) {
        self.plan(0, 0, 0);
    }

    /// From now on, what comes by this way fails, but for the first `skip` times.
    pub(super) fn fail(&self, way: u64, skip: u64) {
        self.plan(1, way, skip);
    }

    fn plan(&self, fail: u64, way: u64, skip: u64) {
        let page = self.page;
        page.who.store(0, SeqCst);
        for (field, value) in [
            (&page.fail, fail),
            (&page.way, way),
            (&page.skip, skip),
            (&page.seen, 0),
            (&page.met, 0),
            (&page.failed, 0),
        ] {
            field.store(value, SeqCst);
        }
    }

    /// How many failed since the plan was made.
    pub(super) fn failed(&self) -> u64 {
        self.page.failed.load(SeqCst)
    }

    /// What counted since the plan was made, in its order.
    pub(super) fn seen(&self) -> Res<Vec<Seen>> {
        let seen = usize::try_from(self.page.seen.load(SeqCst)).unwrap_or(usize::MAX);
        ensure!(seen <= ENTRIES, "{seen} allocations, too many to remember");
        Ok(self
            .page
            .entries
            .iter()
            .take(seen)
            .map(|entry| {
                let [way, site, callee, failed] = [0, 1, 2, 3].map(|n| entry[n].load(SeqCst));
                Seen {
                    way,
                    site,
                    callee,
                    failed: failed != 0,
                }
            })
            .collect())
    }
}

fn set(to: &[AtomicU64; 2], range: [u64; 2]) {
    for (to, from) in to.iter().zip(range) {
        to.store(from, SeqCst);
    }
}

/// Where the module's code begins; none while it is not in memory.
pub(super) fn module_base() -> Res<Option<u64>> {
    let modules = stage::content("/proc/modules")?;
    let Some(line) = modules.lines().find(|line| line.starts_with("tcp_lsm ")) else {
        return Ok(None);
    };
    let base = line
        .split(' ')
        .nth(5)
        .and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let base = base.ok_or_else(|| format!("/proc/modules: {line}"))?;
    BASE.store(base, SeqCst);
    Ok(Some(base))
}

/// Where the module was when [`module_base`] last saw it.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Offset of an address in the module's code.
pub(super) fn offset(address: u64) -> u64 {
    address.wrapping_sub(BASE.load(SeqCst))
}

/// Where the module's code is, first byte and end; none while it is not in memory.
fn module_range() -> Res<Option<[u64; 2]>> {
    let Some(base) = module_base()? else {
        return Ok(None);
    };
    // Data stands elsewhere; what is called last when the module goes stands behind all other code.
    let path = "/sys/module/tcp_lsm/sections/.exit.text";
    let text = stage::content(path)?;
    let end = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16)
        .map_err(|e| format!("{path}: {e}"))?;
    ensure!(end > base, "{path} is below the module");
    Ok(Some([base, (end | 0xfff) + 1]))
}

/// Where the ranges are kept for the other tests of a boot: the kernel takes seconds to list its symbols.
const KEPT: &str = "/tmp/guest-tests-symbols";

/// Where these functions begin and what follows them.
fn ranges(names: &[&str]) -> Res<BTreeMap<String, [u64; 2]>> {
    if let Ok(kept) = fs::read_to_string(KEPT) {
        return parse(&kept, names);
    }
    let listed = stage::content("/proc/kallsyms")?;
    let mut all = Vec::new();
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        if let (Some(at), Some(_), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        {
            all.push((
                u64::from_str_radix(at, 16).map_err(|e| e.to_string())?,
                name,
            ));
        }
    }
    let mut kept = String::new();
    for (start, name) in all.iter().filter(|(_, name)| names.contains(name)) {
        let after = all.iter().map(|(at, _)| *at).filter(|at| at > start);
        let end = after.min().unwrap_or(*start);
        kept.push_str(&format!("{name} {start} {end}\n"));
    }
    fs::write(KEPT, &kept).map_err(|e| format!("{KEPT}: {e}"))?;
    parse(&kept, names)
}

fn parse(kept: &str, names: &[&str]) -> Res<BTreeMap<String, [u64; 2]>> {
    let mut found = BTreeMap::new();
    for line in kept.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [name, start, end] = words[..] {
            if let (Ok(start), Ok(end)) = (start.parse(), end.parse()) {
                found.insert(name.to_owned(), [start, end]);
            }
        }
    }
    match names.iter().find(|name| !found.contains_key(**name)) {
        Some(name) => Err(format!("the kernel has no {name}")),
        None => Ok(found),
    }
}
