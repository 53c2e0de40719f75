// SPDX-License-Identifier: GPL-2.0

//! Operations, which policy talks about.
//!
//! Source: `Documentation/wire-format.rst`, "Operations", and `Documentation/policy.rst`.

use core::fmt;

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $name:literal;)*) => {
        /// An operation. The value is the one in requests and events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Op {
            $($(#[$doc])* $variant = $value,)*
        }

        impl Op {
            /// All operations, in the order of their values.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant,)*];

            /// How many operations there are.
            pub const COUNT: usize = [$($value,)*].len();

            /// Returns the operation of a value; `None` when there is none.
            pub const fn from_u16(value: u16) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns the name that policy uses, such as `FILE_WRITE`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

operations! {
    /// Execute a program.
    Exec = 1, "EXEC";
    /// Map a file executable, or make a mapping executable.
    MmapExec = 2, "MMAP_EXEC";
    /// Open a file for reading, or read a directory.
    FileRead = 3, "FILE_READ";
    /// Open a file for writing, or change its length or content.
    FileWrite = 4, "FILE_WRITE";
    /// Make a file, directory, node or symbolic link.
    FileCreate = 5, "FILE_CREATE";
    /// Remove a file or directory.
    FileDelete = 6, "FILE_DELETE";
    /// Rename or exchange.
    FileRename = 7, "FILE_RENAME";
    /// Make a hard link.
    FileLink = 8, "FILE_LINK";
    /// Change mode, owner, times or extended attributes.
    FileAttr = 9, "FILE_ATTR";
    /// Load a kernel module.
    ModuleLoad = 10, "MODULE_LOAD";
    /// Load another kernel.
    KexecLoad = 11, "KEXEC_LOAD";
    /// Mount, unmount or move a mount.
    Mount = 12, "MOUNT";
    /// Trace or inspect another task.
    Ptrace = 13, "PTRACE";
    /// Use the bpf system call.
    Bpf = 14, "BPF";
    /// Open a performance event.
    Perf = 15, "PERF";
    /// Connect a socket to an internet address.
    NetConnect = 16, "NET_CONNECT";
    /// Bind a socket to an internet address.
    NetBind = 17, "NET_BIND";
    /// Send to an internet address.
    NetSend = 18, "NET_SEND";
    /// Connect or send to a UNIX socket.
    UnixConnect = 19, "UNIX_CONNECT";
    /// Change to another user.
    Setuid = 20, "SETUID";
    /// Make a user namespace.
    Userns = 21, "USERNS";
    /// Set up an io_uring.
    IoUring = 22, "IO_URING";
    /// Send a signal to a task that is not part of the agent.
    Kill = 23, "KILL";
    /// Governance: load a policy.
    Policy = 32, "POLICY";
    /// Governance: add or remove a validator.
    Validator = 33, "VALIDATOR";
    /// Governance: change between permissive and enforce.
    Mode = 34, "MODE";
    /// Governance: allow the module to be unloaded.
    Unload = 35, "UNLOAD";
    /// Governance: take an authentic state that is not current.
    Recover = 36, "RECOVER";
}

// A set of operations is one `u64`.
const _: () = assert!((Op::Recover as u16) < 64);

impl Op {
    /// Returns the operation that policy calls `name`. Case matters.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|op| op.name().as_bytes() == name)
    }

    /// Returns the value in requests and events.
    pub const fn value(self) -> u16 {
        self as u16
    }

    /// Returns this operation as a set of one: `1 << value`.
    pub const fn bit(self) -> u64 {
        1 << self as u16
    }

    /// Returns the place in [`Op::ALL`]; less than [`Op::COUNT`].
    pub const fn index(self) -> usize {
        // The governance operations start at 32 and follow the 23 others.
        let value = self as usize;
        if self.is_governance() {
            value - (Op::Policy as usize - Op::Kill as usize)
        } else {
            value - 1
        }
    }

    /// Whether this is one of `POLICY`, `VALIDATOR`, `MODE`, `UNLOAD` and `RECOVER`.
    pub const fn is_governance(self) -> bool {
        self as u16 >= Op::Policy as u16
    }

    /// Whether a rule may use `hold=`: the hooks of the operation run without locks, so the task
    /// can wait.
    pub const fn may_hold(self) -> bool {
        !self.is_governance()
            && !matches!(
                self,
                Op::FileCreate
                    | Op::FileDelete
                    | Op::FileRename
                    | Op::FileLink
                    | Op::FileAttr
                    | Op::MmapExec
                    | Op::Mount
                    | Op::Ptrace
                    | Op::NetSend
                    | Op::UnixConnect
                    | Op::Setuid
                    | Op::Kill
            )
    }

    /// Whether a rule may use `path=`.
    pub const fn takes_path(self) -> bool {
        matches!(
            self,
            Op::Exec
                | Op::MmapExec
                | Op::FileRead
                | Op::FileWrite
                | Op::FileCreate
                | Op::FileDelete
                | Op::FileRename
                | Op::FileLink
                | Op::FileAttr
                | Op::ModuleLoad
                | Op::KexecLoad
                | Op::Mount
                | Op::UnixConnect
                | Op::Setuid
        )
    }

    /// Whether a rule may use `addr=` and `port=`.
    pub const fn takes_address(self) -> bool {
        matches!(self, Op::NetConnect | Op::NetBind | Op::NetSend)
    }

    /// Whether a rule may use `digest=`.
    pub const fn takes_digest(self) -> bool {
        matches!(self, Op::Exec | Op::ModuleLoad)
    }

    /// Returns the operations of a set made of [`Op::bit`]s, in the order of their values.
    pub fn in_set(set: u64) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |op| set & op.bit() != 0)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

super::kernel_display!(Op);
