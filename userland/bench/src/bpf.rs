// SPDX-License-Identifier: GPL-2.0

//! The peer on the same stubs: BPF LSM programs that do nothing.
//!
//! C header: `include/uapi/linux/bpf.h`.

use crate::btf::Btf;
use crate::sys::{
    check,
    field, //
};
use crate::Res;
use std::ffi::c_int;
use std::fs;
use std::io;
use std::os::fd::{
    AsRawFd as _,
    FromRawFd as _,
    OwnedFd, //
};
use std::thread::sleep;
use std::time::Duration;

/// The hooks that TCP-LSM attaches and the workloads come by.
const HOOKS: [&str; 10] = [
    "task_alloc",
    "task_free",
    "bprm_creds_from_file",
    "bprm_check_security",
    "mmap_file",
    "file_open",
    "path_mknod",
    "path_unlink",
    "path_rename",
    "socket_connect",
];

pub(crate) const PROG_LOAD: c_int = 5;
pub(crate) const RAW_TRACEPOINT_OPEN: c_int = 17;
const PROG_TYPE_LSM: u32 = 29;
const LSM_MAC: u32 = 27;

/// A task is freed some time after its end.
const GRACE: Duration = Duration::from_millis(500);

/// `r0 = 0; exit`
pub(crate) const NOTHING: [u64; 2] = [0xb7, 0x95];

/// What `PROG_LOAD` reads, up to the last member that matters here.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) prog_type: u32,
    pub(crate) insn_cnt: u32,
    pub(crate) insns: u64,
    pub(crate) license: u64,
    pub(crate) log_level: u32,
    pub(crate) log_size: u32,
    pub(crate) log_buf: u64,
    pub(crate) kern_version: u32,
    pub(crate) prog_flags: u32,
    pub(crate) prog_name: [u8; 16],
    pub(crate) prog_ifindex: u32,
    pub(crate) expected_attach_type: u32,
    pub(crate) prog_btf_fd: u32,
    pub(crate) func_info_rec_size: u32,
    pub(crate) func_info: u64,
    pub(crate) func_info_cnt: u32,
    pub(crate) line_info_rec_size: u32,
    pub(crate) line_info: u64,
    pub(crate) line_info_cnt: u32,
    pub(crate) attach_btf_id: u32,
}

/// What `RAW_TRACEPOINT_OPEN` reads.
#[repr(C)]
pub(crate) struct Open {
    pub(crate) name: u64,
    pub(crate) prog_fd: u32,
    pub(crate) reserved: u32,
}

/// Calls `bpf` for a command that makes a descriptor.
pub(crate) fn bpf<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: The pointer and the size describe `attributes`, and what it points to lives.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const *attributes,
            size_of::<T>(),
        )
    })?;
    let fd = c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: The call made the descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A program on one hook; it is detached when this is dropped.
pub(crate) struct Program {
    hook: &'static str,
    program: OwnedFd,
    _link: OwnedFd,
}

impl Program {
    /// Attaches the program that these instructions are; `flags` are those of its loading.
    ///
    /// # Errors
    ///
    /// The kernel lacks the hook, or refuses the program, or to attach it.
    pub(crate) fn attach(btf: &Btf<'_>, hook: &'static str, code: &[u64], flags: u32) -> Res<Self> {
        let id = btf
            .function(&format!("bpf_lsm_{hook}"))
            .ok_or_else(|| format!("bpf: the kernel has no hook {hook}"))?;
        let failed = |error| format!("bpf: {hook}: {error}");
        let program = bpf(
            PROG_LOAD,
            &Load {
                prog_type: PROG_TYPE_LSM,
                insn_cnt: u32::try_from(code.len()).unwrap_or(0),
                insns: code.as_ptr().expose_provenance() as u64,
                license: c"GPL".as_ptr().expose_provenance() as u64,
                prog_flags: flags,
                expected_attach_type: LSM_MAC,
                attach_btf_id: id,
                ..Load::default()
            },
        )
        .map_err(failed)?;
        let link = bpf(
            RAW_TRACEPOINT_OPEN,
            &Open {
                name: 0,
                prog_fd: program.as_raw_fd().unsigned_abs(),
                reserved: 0,
            },
        )
        .map_err(failed)?;
        Ok(Self {
            hook,
            program,
            _link: link,
        })
    }

    /// How often it has run while the kernel counted.
    pub(crate) fn runs(&self) -> Res<u64> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        field(&text, "run_cnt").ok_or_else(|| format!("{path} has no run_cnt"))
    }
}

/// A program on every hook.
pub(crate) struct Programs(Vec<Program>);

impl Programs {
    /// Attaches them all.
    ///
    /// # Errors
    ///
    /// The kernel lacks a hook, or refuses a program.
    pub(crate) fn attach() -> Res<Self> {
        let path = "/sys/kernel/btf/vmlinux";
        let types = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let btf = Btf::parse(&types).ok_or_else(|| format!("{path} is not BTF"))?;
        let programs: Res<_> = HOOKS
            .iter()
            .map(|hook| Program::attach(&btf, hook, &NOTHING, 0))
            .collect();
        Ok(Self(programs?))
    }

    /// Fails unless each of them runs at least once in `work`.
    ///
    /// # Errors
    ///
    /// Those of `work`, and a program that does not run.
    pub(crate) fn prove(&self, work: impl FnOnce() -> Res) -> Res {
        let count = |on: &str| {
            let path = "/proc/sys/kernel/bpf_stats_enabled";
            fs::write(path, on).map_err(|error| format!("{path}: {error}"))
        };
        count("1")?;
        let worked = work();
        sleep(GRACE);
        count("0")?;
        worked?;
        for program in &self.0 {
            if program.runs()? == 0 {
                return Err(format!("bpf: the program on {} never ran", program.hook));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Load;
    use std::mem::offset_of;

    #[test]
    fn the_kernel_finds_what_it_reads() {
        assert_eq!(offset_of!(Load, expected_attach_type), 68);
        assert_eq!(offset_of!(Load, attach_btf_id), 108);
        assert_eq!(size_of::<Load>(), 112);
    }
}
