// SPDX-License-Identifier: GPL-2.0

//! The module itself: loaded and removed, given a policy, asked for labels.

use crate::client::{
    Attributes,
    Client, //
};
use crate::policy::{
    Policy,
    CLASS, //
};
use crate::sys::{
    check,
    field, //
};
use crate::Res;
use std::ffi::CString;
use std::fs::{
    self,
    File,
    OpenOptions, //
};
use std::io::{
    Read as _,
    Write as _, //
};
use std::os::fd::AsRawFd as _;
use std::path::{
    Path,
    PathBuf, //
};
use std::time::Instant;

const SECURITYFS: &str = "/sys/kernel/security/tcp_lsm";

// Numbers of `Documentation/netlink/specs/tcp-lsm.yaml`.
const AGENT_LABEL: u8 = 8;
const A_AGENT_NAME: u16 = 20;
const A_AGENT_CLASS: u16 = 21;

/// How hooks are attached.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Attach {
    /// As the module does by itself: beside BPF programs.
    Default,
    /// Where nothing else wants the hook.
    Direct,
}

/// The file with the module.
pub(crate) struct Object {
    path: PathBuf,
    has_direct: bool,
}

/// The loaded module; it is removed when this is dropped.
pub(crate) struct Module {
    /// What loading took, milliseconds.
    pub(crate) attach_ms: f64,
    removed: bool,
}

fn milliseconds(start: Instant) -> f64 {
    // Microseconds are enough.
    (start.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

/// Does the module say that it has this parameter? The kernel ignores one that it does not know.
fn has_parameter(module: &[u8], name: &str) -> bool {
    let wanted = format!("parmtype={name}:");
    module
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

impl Object {
    /// Looks at the file.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn open(path: &Path) -> Res<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            has_direct: has_parameter(&bytes, "direct"),
        })
    }

    /// Can the module be loaded like this?
    pub(crate) fn offers(&self, attach: Attach) -> bool {
        attach == Attach::Default || self.has_direct
    }

    /// Loads the module.
    ///
    /// # Errors
    ///
    /// The kernel, or the module, refuses; the kernel's log says why.
    pub(crate) fn load(&self, attach: Attach) -> Res<Module> {
        let mut parameters = String::new();
        if !Path::new("/dev/tpm0").exists() {
            parameters.push_str("require_tpm=0 ");
        }
        if attach == Attach::Direct {
            parameters.push_str("direct=1");
        }
        let failed = |error: &dyn std::fmt::Display| {
            format!("{} with \"{parameters}\": {error}", self.path.display())
        };
        let file = File::open(&self.path).map_err(|error| failed(&error))?;
        let words = CString::new(parameters.as_str()).map_err(|error| failed(&error))?;
        let start = Instant::now();
        // SAFETY: The parameters are a string with its terminator.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), words.as_ptr(), 0) };
        let attach_ms = milliseconds(start);
        check(result).map_err(|error| failed(&error))?;
        Ok(Module {
            attach_ms,
            removed: false,
        })
    }
}

impl Module {
    /// Removes the module and says what that took, milliseconds.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(crate) fn unload(mut self) -> Res<f64> {
        self.remove()
    }

    fn remove(&mut self) -> Res<f64> {
        self.removed = true;
        let start = Instant::now();
        // SAFETY: The name is a string with its terminator.
        check(unsafe {
            libc::syscall(
                libc::SYS_delete_module,
                c"tcp_lsm".as_ptr(),
                libc::O_NONBLOCK,
            )
        })
        .map_err(|error| format!("rmmod tcp_lsm: {error}"))?;
        Ok(milliseconds(start))
    }

    /// Gives the module its next policy.
    ///
    /// # Errors
    ///
    /// The module refuses it, and says why.
    pub(crate) fn set_policy(&self, policy: &Policy) -> Res {
        let text = policy.next()?;
        let path = format!("{SECURITYFS}/policy");
        let failed = |error| format!("{path}: {error}");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let written = file.write_all(text.as_bytes());
        let mut answer = String::new();
        file.read_to_string(&mut answer).map_err(failed)?;
        match written {
            Ok(()) if answer.starts_with("done ") => Ok(()),
            Ok(()) => Err(format!("{path}: {answer}")),
            Err(error) => Err(format!("{path}: {error}: {answer}")),
        }
    }

    /// How many labelled tasks the module counts.
    ///
    /// # Errors
    ///
    /// The module does not say.
    pub(crate) fn tasks(&self) -> Res<u64> {
        let path = format!("{SECURITYFS}/status");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        field(&text, "tasks").ok_or_else(|| format!("{path} counts no tasks"))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if !self.removed {
            if let Err(error) = self.remove() {
                eprintln!("bench: {error}");
            }
        }
    }
}

/// Makes the calling task an agent, for good.
///
/// # Errors
///
/// The module refuses.
pub(crate) fn label() -> Res {
    let mut attributes = Attributes::new();
    attributes.string(A_AGENT_NAME, "bench");
    attributes.string(A_AGENT_CLASS, CLASS);
    Client::open()
        .and_then(|mut client| client.call(AGENT_LABEL, &attributes))
        .map(drop)
        .map_err(|refused| format!("label: {refused:?}"))
}

#[cfg(test)]
mod tests {
    use super::has_parameter;

    #[test]
    fn parameters_are_found() {
        let module = b"\0parm=direct:How\0parmtype=direct:u8\0parmtype=require_tpm:u8\0";
        assert!(has_parameter(module, "direct"));
        assert!(has_parameter(module, "require_tpm"));
        assert!(!has_parameter(module, "tpm"));
        assert!(!has_parameter(b"", "direct"));
    }
}
