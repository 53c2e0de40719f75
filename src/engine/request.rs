// SPDX-License-Identifier: GPL-2.0

//! Requests: one exact operation that a quorum is asked about.
//!
//! See "Request" in `Documentation/wire-format.rst`. A request is written in two stages, because
//! most operations that a rule sends to a quorum need no new request:
//!
//! 1. [`FactWriter`] writes the *binding*, what identifies the operation, while the hook gathers
//!    facts. Its digest finds a grant or an identical pending request.
//! 2. Only when there is neither, [`write_head`] fills the first [`BINDING_OFFSET`] bytes: node,
//!    epoch, nonce and times.
//!
//! Whoever has the encoding already reads it with [`Request::decode`].

use super::address::Address;
use super::governance::{
    self,
    Detail, //
};
use super::limits;
use super::name::is_name;
use super::op::Op;
use super::wire::{
    self,
    Digest,
    Error,
    Reader,
    Writer, //
};

/// First bytes of a request.
pub const MAGIC: &[u8; 8] = b"TCPLREQ1";

/// Where the binding starts, in bytes.
pub const BINDING_OFFSET: usize = 96;

/// Where the class starts: the length of what has a fixed place, in bytes.
pub const FIXED_LEN: usize = 224;

/// Longest request, in bytes, and the least size of the buffer that one is written to.
pub const MAX_LEN: usize = limits::REQUEST;

/// Flag: some fact was shortened.
pub const FLAG_SHORTENED: u16 = 1 << 0;

/// Longest `comm` in a TASK fact, in bytes.
pub const MAX_COMM: usize = 16;

/// Longest HOOK fact, in bytes.
pub const MAX_HOOK: usize = 64;

/// Longest FS_PATH fact, in bytes: the end of the path.
pub const MAX_FS_PATH: usize = 256;

/// Where `created` stands.
const CREATED_OFFSET: usize = 64;

/// Where the flags stand.
const FLAGS_OFFSET: usize = BINDING_OFFSET + 2;

/// Bytes before the value of a fact: tag and length.
const FACT_HEAD: usize = 4;

/// Bytes of all facts that may follow the arguments, each at its longest.
const AFTER_ARGS: usize = FACTS_AFTER_ARGS * FACT_HEAD
    + 32
    + (4 + 16)
    + 8
    + 4
    + 8
    + 4
    + (12 + MAX_COMM)
    + 8
    + 8
    + governance::MAX_DETAIL
    + MAX_HOOK
    + MAX_FS_PATH
    + 32;

/// Facts that may follow the arguments.
const FACTS_AFTER_ARGS: usize = 13;

// Only arguments can ever lack room: before them stand the fixed fields, two names, the number of
// facts, three strings, one object and the number of arguments.
const _: () = assert!(
    FIXED_LEN
        + 2 * (1 + limits::NAME)
        + 2
        + 3 * (FACT_HEAD + limits::FACT_STRING)
        + (FACT_HEAD + 20)
        + (FACT_HEAD + 4)
        + AFTER_ARGS
        <= MAX_LEN
);
const _: () = assert!(limits::FACTS > 16 && limits::FACTS < u16::MAX as usize);

/// Identity of an object: of the one the operation is about, or of a second one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Object {
    /// Device number, as the kernel's `new_encode_dev` makes it; 0 when there is no object.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Inode generation.
    pub generation: u32,
}

/// Something known about the operation beyond the fields that every request has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fact<'a> {
    /// Path of the object.
    Path(&'a [u8]),
    /// Second path: new name, symlink's target, mount point.
    Target(&'a [u8]),
    /// Identity of the second object.
    TargetObject(Object),
    /// Name of an extended attribute, module, file system type, abstract socket or policy.
    Name(&'a [u8]),
    /// Number of arguments.
    Argc(u32),
    /// One argument.
    Arg(&'a [u8]),
    /// Digest of all arguments, each followed by one zero byte.
    ArgsDigest(&'a [u8; 32]),
    /// Where to or from.
    Address {
        /// Address family: 2 for IPv4, 10 for IPv6, else as in the kernel.
        family: u16,
        /// Port, 0 for families without.
        port: u16,
        /// 4 bytes for IPv4, 16 for IPv6 (but not IPv4-mapped), none for other families.
        address: &'a [u8],
    },
    /// Flags of the call.
    Flags(u64),
    /// File mode.
    Mode(u32),
    /// New owner; `u32::MAX` leaves a part unchanged.
    Owner {
        /// User id in the initial user namespace.
        uid: u32,
        /// Group id in the initial user namespace.
        gid: u32,
    },
    /// Command of bpf, type of perf, hook of io_uring, signal number.
    Command(u32),
    /// The other task.
    Task {
        /// Process id in the initial namespace.
        pid: u32,
        /// Agent id, 0 for none.
        agent: u64,
        /// Its `comm`, at most [`MAX_COMM`] bytes.
        comm: &'a [u8],
    },
    /// Bytes of the content that the content digest covers.
    Size(u64),
    /// Policy version.
    Version(u64),
    /// What a governance request asks for, see [`Detail`].
    Detail(&'a [u8]),
    /// Name of the LSM hook that asked, at most [`MAX_HOOK`] bytes.
    Hook(&'a [u8]),
    /// Path of the object within its own file system, of which at most the last [`MAX_FS_PATH`]
    /// bytes: no mount, chroot or namespace of the task changes it.
    FsPath(&'a [u8]),
    /// Digest of the environment, each string followed by one zero byte.
    EnvDigest(&'a [u8; 32]),
}

/// Family of IPv4 addresses.
pub const AF_INET: u16 = 2;

/// Family of IPv6 addresses.
pub const AF_INET6: u16 = 10;

/// First bytes of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Tag of ARG, the only one that may repeat.
const TAG_ARG: u16 = 6;

impl<'a> Fact<'a> {
    /// Makes an ADDRESS fact of an internet address. An IPv4-mapped one becomes IPv4.
    pub fn internet(address: &'a Address, port: u16) -> Self {
        let (family, address) = match address {
            Address::V4(bytes) => (AF_INET, bytes.as_slice()),
            Address::V6(bytes) => match bytes.strip_prefix(&V4_MAPPED) {
                Some(v4) => (AF_INET, v4),
                None => (AF_INET6, bytes.as_slice()),
            },
        };
        Self::Address {
            family,
            port,
            address,
        }
    }

    /// Number of the fact in the encoding.
    pub fn tag(&self) -> u16 {
        match self {
            Self::Path(_) => 1,
            Self::Target(_) => 2,
            Self::TargetObject(_) => 3,
            Self::Name(_) => 4,
            Self::Argc(_) => 5,
            Self::Arg(_) => TAG_ARG,
            Self::ArgsDigest(_) => 7,
            Self::Address { .. } => 8,
            Self::Flags(_) => 9,
            Self::Mode(_) => 10,
            Self::Owner { .. } => 11,
            Self::Command(_) => 12,
            Self::Task { .. } => 13,
            Self::Size(_) => 14,
            Self::Version(_) => 15,
            Self::Detail(_) => 16,
            Self::Hook(_) => 17,
            Self::FsPath(_) => 18,
            Self::EnvDigest(_) => 19,
        }
    }

    /// Name for display: `PATH`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Path(_) => "PATH",
            Self::Target(_) => "TARGET",
            Self::TargetObject(_) => "TARGET_OBJECT",
            Self::Name(_) => "NAME",
            Self::Argc(_) => "ARGC",
            Self::Arg(_) => "ARG",
            Self::ArgsDigest(_) => "ARGS_DIGEST",
            Self::Address { .. } => "ADDRESS",
            Self::Flags(_) => "FLAGS",
            Self::Mode(_) => "MODE",
            Self::Owner { .. } => "OWNER",
            Self::Command(_) => "COMMAND",
            Self::Task { .. } => "TASK",
            Self::Size(_) => "SIZE",
            Self::Version(_) => "VERSION",
            Self::Detail(_) => "DETAIL",
            Self::Hook(_) => "HOOK",
            Self::FsPath(_) => "FS_PATH",
            Self::EnvDigest(_) => "ENV_DIGEST",
        }
    }

    /// Cuts what is longer than it may be, and says whether it was.
    fn shortened(self) -> (Self, bool) {
        fn cut(text: &[u8], len: usize) -> (&[u8], bool) {
            match text.get(..len) {
                Some(head) => (head, text.len() > len),
                None => (text, false),
            }
        }
        match self {
            Self::Path(text) => {
                let (text, short) = cut(text, limits::FACT_STRING);
                (Self::Path(text), short)
            }
            Self::Target(text) => {
                let (text, short) = cut(text, limits::FACT_STRING);
                (Self::Target(text), short)
            }
            Self::Name(text) => {
                let (text, short) = cut(text, limits::FACT_STRING);
                (Self::Name(text), short)
            }
            Self::Arg(text) => {
                let (text, short) = cut(text, limits::FACT_STRING);
                (Self::Arg(text), short)
            }
            Self::Hook(text) => {
                let (text, short) = cut(text, MAX_HOOK);
                (Self::Hook(text), short)
            }
            // The end of a path says more than its beginning.
            Self::FsPath(text) => match text.len().checked_sub(MAX_FS_PATH) {
                Some(over) => (Self::FsPath(text.get(over..).unwrap_or(&[])), over > 0),
                None => (self, false),
            },
            Self::Task { pid, agent, comm } => {
                let (comm, short) = cut(comm, MAX_COMM);
                (Self::Task { pid, agent, comm }, short)
            }
            other => (other, false),
        }
    }

    /// Length of the value, in bytes.
    fn value_len(&self) -> usize {
        match self {
            Self::Path(bytes)
            | Self::Target(bytes)
            | Self::Name(bytes)
            | Self::Arg(bytes)
            | Self::Detail(bytes)
            | Self::Hook(bytes)
            | Self::FsPath(bytes) => bytes.len(),
            Self::TargetObject(_) => 20,
            Self::ArgsDigest(_) | Self::EnvDigest(_) => 32,
            Self::Address { address, .. } => address.len().saturating_add(4),
            Self::Task { comm, .. } => comm.len().saturating_add(12),
            Self::Argc(_) | Self::Mode(_) | Self::Command(_) => 4,
            Self::Flags(_) | Self::Owner { .. } | Self::Size(_) | Self::Version(_) => 8,
        }
    }

    /// Checks what both directions demand of a value by itself.
    fn check(&self) -> wire::Result {
        let ok = match self {
            Self::Path(text) | Self::Target(text) | Self::Name(text) | Self::Arg(text) => {
                text.len() <= limits::FACT_STRING
            }
            Self::Hook(text) => text.len() <= MAX_HOOK,
            Self::FsPath(text) => text.len() <= MAX_FS_PATH,
            Self::Task { comm, .. } => comm.len() <= MAX_COMM,
            Self::Detail(bytes) => bytes.len() <= governance::MAX_DETAIL,
            Self::Address {
                family, address, ..
            } => match *family {
                AF_INET => address.len() == 4,
                AF_INET6 => address.len() == 16 && !address.starts_with(&V4_MAPPED),
                _ => address.is_empty(),
            },
            _ => true,
        };
        if ok {
            Ok(())
        } else {
            Err(Error::Field(self.name()))
        }
    }

    /// Appends tag, length and value.
    fn encode(&self, out: &mut Writer<'_>) -> wire::Result {
        self.check()?;
        out.u16(self.tag())?;
        out.u16(u16::try_from(self.value_len()).map_err(|_| Error::NoSpace)?)?;
        match *self {
            Self::Path(bytes)
            | Self::Target(bytes)
            | Self::Name(bytes)
            | Self::Arg(bytes)
            | Self::Detail(bytes)
            | Self::Hook(bytes)
            | Self::FsPath(bytes) => out.bytes(bytes),
            Self::ArgsDigest(digest) | Self::EnvDigest(digest) => out.bytes(digest),
            Self::Argc(value) | Self::Mode(value) | Self::Command(value) => out.u32(value),
            Self::Flags(value) | Self::Size(value) | Self::Version(value) => out.u64(value),
            Self::TargetObject(object) => {
                out.u64(object.device)?;
                out.u64(object.inode)?;
                out.u32(object.generation)
            }
            Self::Address {
                family,
                port,
                address,
            } => {
                out.u16(family)?;
                out.u16(port)?;
                out.bytes(address)
            }
            Self::Owner { uid, gid } => {
                out.u32(uid)?;
                out.u32(gid)
            }
            Self::Task { pid, agent, comm } => {
                out.u32(pid)?;
                out.u64(agent)?;
                out.bytes(comm)
            }
        }
    }

    /// Takes one fact.
    fn decode(reader: &mut Reader<'a>) -> wire::Result<Self> {
        let tag = reader.u16()?;
        let len = reader.u16()?;
        let value = reader.bytes(usize::from(len))?;
        let mut fields = Reader::new(value);
        let fact = match tag {
            1 => return Self::Path(value).checked(),
            2 => return Self::Target(value).checked(),
            4 => return Self::Name(value).checked(),
            TAG_ARG => return Self::Arg(value).checked(),
            16 => return Self::Detail(value).checked(),
            17 => return Self::Hook(value).checked(),
            18 => return Self::FsPath(value).checked(),
            19 => Self::EnvDigest(fields.array()?),
            3 => Self::TargetObject(Object {
                device: fields.u64()?,
                inode: fields.u64()?,
                generation: fields.u32()?,
            }),
            5 => Self::Argc(fields.u32()?),
            7 => Self::ArgsDigest(fields.array()?),
            8 => {
                return Self::Address {
                    family: fields.u16()?,
                    port: fields.u16()?,
                    address: fields.rest(),
                }
                .checked()
            }
            9 => Self::Flags(fields.u64()?),
            10 => Self::Mode(fields.u32()?),
            11 => Self::Owner {
                uid: fields.u32()?,
                gid: fields.u32()?,
            },
            12 => Self::Command(fields.u32()?),
            13 => {
                return Self::Task {
                    pid: fields.u32()?,
                    agent: fields.u64()?,
                    comm: fields.rest(),
                }
                .checked()
            }
            14 => Self::Size(fields.u64()?),
            15 => Self::Version(fields.u64()?),
            _ => return Err(Error::Field("fact tag")),
        };
        fields.end()?;
        Ok(fact)
    }

    /// Returns the fact when [`Fact::check`] has nothing against it.
    fn checked(self) -> wire::Result<Self> {
        self.check()?;
        Ok(self)
    }
}

/// The part of a request that only one request has: what precedes the binding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head<'a> {
    /// The node that asks.
    pub node: &'a [u8; 32],
    /// Its epoch, 0 while unsealed.
    pub epoch: u64,
    /// Random bytes.
    pub nonce: &'a [u8; 16],
    /// The node's own clock entry at the REQUEST event, at least 1.
    pub created: u64,
    /// When it was made, in milliseconds of `CLOCK_BOOTTIME`.
    pub created_ms: u64,
    /// Silence until then is a denial, in milliseconds of `CLOCK_BOOTTIME`.
    pub expires_ms: u64,
    /// When it was made, in milliseconds since 1970-01-01 UTC; for display only.
    pub wall_ms: u64,
}

/// The fields of the binding that every request has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Binding<'a> {
    /// The operation.
    pub op: Op,
    /// Effective user id in the initial user namespace.
    pub uid: u32,
    /// Agent id, 0 for a task without a label.
    pub agent: u64,
    /// Version of the policy, 0 while none is loaded.
    pub policy_version: u64,
    /// Digest of the policy's text, zeros while none is loaded.
    pub policy: &'a [u8; 32],
    /// Threshold in basis points, 5001 to 10000.
    pub threshold_bp: u16,
    /// How often the grant may be used, at least 1.
    pub uses: u16,
    /// Life of the grant from the decision, in seconds.
    pub ttl_s: u32,
    /// Line of the rule, 0 when a DEFAULT decided.
    pub line: u32,
    /// The object.
    pub object: Object,
    /// Content digest, zeros for operations without.
    pub content: &'a [u8; 32],
    /// Class of the agent, empty for a task without a label.
    pub class: &'a str,
    /// Name of the agent, empty for a task without a label.
    pub agent_name: &'a str,
}

/// Whether every byte is zero.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// Whether requests for the operation have a content digest.
fn has_content(op: Op) -> bool {
    op.is_governance()
        || matches!(
            op,
            Op::Exec | Op::ModuleLoad | Op::KexecLoad | Op::FileAttr | Op::Mount
        )
}

impl Binding<'_> {
    /// Checks what both directions demand.
    fn check(&self) -> wire::Result {
        if !(limits::THRESHOLD_MIN_BP..=limits::THRESHOLD_MAX_BP).contains(&self.threshold_bp) {
            return Err(Error::Field("threshold"));
        }
        if self.uses == 0 {
            return Err(Error::Field("uses"));
        }
        if self.policy_version == 0 && !is_zero(self.policy) {
            return Err(Error::Field("policy digest"));
        }
        if !has_content(self.op) && !is_zero(self.content) {
            return Err(Error::Field("content digest"));
        }
        let named = |name: &str| match self.agent {
            0 => name.is_empty(),
            _ => is_name(name.as_bytes()),
        };
        if !named(self.class) {
            return Err(Error::Field("class"));
        }
        if !named(self.agent_name) {
            return Err(Error::Field("agent name"));
        }
        Ok(())
    }
}

/// What the facts of a request have to satisfy together, checked one after the other.
#[derive(Debug)]
struct Order {
    /// Operation of the request.
    op: Op,
    /// Tag of the last fact.
    last: u16,
    /// Whether there was a DETAIL.
    detail: bool,
}

impl Order {
    /// Starts before the first fact.
    fn new(op: Op) -> Self {
        Self {
            op,
            last: 0,
            detail: false,
        }
    }

    /// Judges the next fact.
    fn next(&mut self, fact: &Fact<'_>) -> wire::Result {
        let tag = fact.tag();
        if tag < self.last || (tag == self.last && tag != TAG_ARG) {
            return Err(Error::Field("fact order"));
        }
        if let Fact::Detail(bytes) = fact {
            Detail::decode(self.op, bytes)?;
            self.detail = true;
        }
        self.last = tag;
        Ok(())
    }

    /// Judges the whole: a governance request says what it asks for.
    fn end(&self) -> wire::Result {
        let wanted = matches!(self.op, Op::Validator | Op::Mode | Op::Unload | Op::Recover);
        if self.detail == wanted {
            Ok(())
        } else {
            Err(Error::Field("DETAIL"))
        }
    }
}

/// Writer of the binding of a request, fact by fact.
///
/// Strings that are too long are cut and arguments that have no room are left out, with the flag
/// that says so: neither is an error. After an error the buffer holds no request.
#[derive(Debug)]
pub struct FactWriter<'b> {
    out: Writer<'b>,
    order: Order,
    /// Where the number of facts stands.
    count_at: usize,
    /// Number of facts so far.
    count: u16,
    /// Whether some fact was shortened.
    shortened: bool,
    /// Whether an argument was left out: so are the ones that follow it.
    args_full: bool,
}

impl<'b> FactWriter<'b> {
    /// Starts the binding of a request in `buf`, which has room for [`MAX_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] for a smaller buffer, [`Error::Field`] for a value that could not be
    /// decoded again.
    pub fn new(buf: &'b mut [u8], binding: &Binding<'_>) -> wire::Result<Self> {
        binding.check()?;
        let buf = buf.get_mut(..MAX_LEN).ok_or(Error::NoSpace)?;
        let mut out = Writer::new(buf);
        out.zeros(BINDING_OFFSET)?;
        out.u16(binding.op.value())?;
        out.u16(0)?;
        out.u32(binding.uid)?;
        out.u64(binding.agent)?;
        out.u64(binding.policy_version)?;
        out.bytes(binding.policy)?;
        out.u16(binding.threshold_bp)?;
        out.u16(binding.uses)?;
        out.u32(binding.ttl_s)?;
        out.u32(binding.line)?;
        out.zeros(4)?;
        out.u64(binding.object.device)?;
        out.u64(binding.object.inode)?;
        out.u32(binding.object.generation)?;
        out.zeros(4)?;
        out.bytes(binding.content)?;
        out.str8(binding.class)?;
        out.str8(binding.agent_name)?;
        let count_at = out.len();
        out.u16(0)?;
        Ok(Self {
            out,
            order: Order::new(binding.op),
            count_at,
            count: 0,
            shortened: false,
            args_full: false,
        })
    }

    /// Appends a fact. Facts come in ascending order of tag, and only ARG may repeat.
    ///
    /// # Errors
    ///
    /// [`Error::Field`] for a fact out of order or with a value that it may not have.
    pub fn fact(&mut self, fact: &Fact<'_>) -> wire::Result {
        let (fact, shortened) = fact.shortened();
        self.order.next(&fact)?;
        self.shortened |= shortened;
        if let Fact::Arg(_) = fact {
            let len = fact.value_len().saturating_add(FACT_HEAD + AFTER_ARGS);
            let facts = usize::from(self.count).saturating_add(1 + FACTS_AFTER_ARGS);
            if self.args_full || len > self.out.room() || facts > limits::FACTS {
                self.args_full = true;
                self.shortened = true;
                return Ok(());
            }
        }
        fact.encode(&mut self.out)?;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Says that something was left out before it came here.
    pub fn mark_shortened(&mut self) {
        self.shortened = true;
    }

    /// Whether some fact was shortened so far.
    pub fn is_shortened(&self) -> bool {
        self.shortened
    }

    /// Ends the binding and returns the length of the whole request, the head included.
    ///
    /// # Errors
    ///
    /// [`Error::Field`] when a governance request lacks its DETAIL.
    pub fn finish(mut self) -> wire::Result<usize> {
        self.order.end()?;
        self.out.patch(self.count_at, &self.count.to_be_bytes())?;
        if self.shortened {
            self.out
                .patch(FLAGS_OFFSET, &FLAG_SHORTENED.to_be_bytes())?;
        }
        Ok(self.out.len())
    }
}

/// Fills the head of a request whose binding has been written.
///
/// # Errors
///
/// [`Error::NoSpace`] when `request` is shorter than the head, [`Error::Field`] for `created` 0.
pub fn write_head(request: &mut [u8], head: &Head<'_>) -> wire::Result {
    if head.created == 0 {
        return Err(Error::Field("created"));
    }
    let mut out = Writer::new(request.get_mut(..BINDING_OFFSET).ok_or(Error::NoSpace)?);
    out.bytes(MAGIC)?;
    out.bytes(head.node)?;
    out.u64(head.epoch)?;
    out.bytes(head.nonce)?;
    out.u64(head.created)?;
    out.u64(head.created_ms)?;
    out.u64(head.expires_ms)?;
    out.u64(head.wall_ms)
}

/// Sets what is known only when a request is opened: the fields `created`, `created_ms` and
/// `expires_ms` of a head that [`write_head`] has filled.
///
/// # Errors
///
/// [`Error::NoSpace`] when `request` is shorter than the head, [`Error::Field`] for `created` 0.
pub fn set_times(
    request: &mut [u8],
    created: u64,
    created_ms: u64,
    expires_ms: u64,
) -> wire::Result {
    if created == 0 {
        return Err(Error::Field("created"));
    }
    let times = request
        .get_mut(CREATED_OFFSET..CREATED_OFFSET + 24)
        .ok_or(Error::NoSpace)?;
    let mut out = Writer::new(times);
    out.u64(created)?;
    out.u64(created_ms)?;
    out.u64(expires_ms)
}

/// Writes a whole request at once and returns its length. `out` has room for [`MAX_LEN`] bytes.
///
/// # Errors
///
/// Those of [`FactWriter`] and [`write_head`].
pub fn encode(
    head: &Head<'_>,
    binding: &Binding<'_>,
    facts: &[Fact<'_>],
    out: &mut [u8],
) -> wire::Result<usize> {
    let mut writer = FactWriter::new(out, binding)?;
    for fact in facts {
        writer.fact(fact)?;
    }
    let len = writer.finish()?;
    write_head(out, head)?;
    Ok(len)
}

/// Returns the binding of an encoded request; empty when it is shorter than the head.
pub fn binding(request: &[u8]) -> &[u8] {
    request.get(BINDING_OFFSET..).unwrap_or(&[])
}

/// Returns the digest of the binding: requests with equal ones ask for the same operation.
pub fn binding_digest<D: Digest>(request: &[u8]) -> [u8; 32] {
    D::sha256(&[binding(request)])
}

/// Returns the id of an encoded request.
pub fn id<D: Digest>(request: &[u8]) -> [u8; 32] {
    D::sha256(&[request])
}

/// The first 8 bytes of an id, as tracepoints show it: rarely those of another.
pub fn short_id(id: &[u8; 32]) -> u64 {
    id.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// A decoded request: a view of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What precedes the binding.
    pub head: Head<'a>,
    /// The fields of the binding.
    pub binding: Binding<'a>,
    /// Whether some fact was shortened.
    pub shortened: bool,
    /// The encoded facts, all of which have been decoded once.
    facts: &'a [u8],
    /// How many facts there are.
    count: u16,
}

impl<'a> Request<'a> {
    /// Decodes a request.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`].
    pub fn decode(bytes: &'a [u8]) -> wire::Result<Self> {
        if bytes.len() > MAX_LEN {
            return Err(Error::Long);
        }
        let mut reader = Reader::new(bytes);
        reader.magic(MAGIC)?;
        let head = Head {
            node: reader.array()?,
            epoch: reader.u64()?,
            nonce: reader.array()?,
            created: reader.u64()?,
            created_ms: reader.u64()?,
            expires_ms: reader.u64()?,
            wall_ms: reader.u64()?,
        };
        if head.created == 0 {
            return Err(Error::Field("created"));
        }
        let op = Op::from_u16(reader.u16()?).ok_or(Error::Field("operation"))?;
        let flags = reader.u16()?;
        if flags & !FLAG_SHORTENED != 0 {
            return Err(Error::Reserved);
        }
        let uid = reader.u32()?;
        let agent = reader.u64()?;
        let policy_version = reader.u64()?;
        let policy = reader.array()?;
        let threshold_bp = reader.u16()?;
        let uses = reader.u16()?;
        let ttl_s = reader.u32()?;
        let line = reader.u32()?;
        reader.reserved(4)?;
        let object = Object {
            device: reader.u64()?,
            inode: reader.u64()?,
            generation: reader.u32()?,
        };
        reader.reserved(4)?;
        let binding = Binding {
            op,
            uid,
            agent,
            policy_version,
            policy,
            threshold_bp,
            uses,
            ttl_s,
            line,
            object,
            content: reader.array()?,
            class: reader.str8("class")?,
            agent_name: reader.str8("agent name")?,
        };
        binding.check()?;
        let count = reader.u16()?;
        if usize::from(count) > limits::FACTS {
            return Err(Error::Field("number of facts"));
        }
        let facts = reader.rest();
        let mut order = Order::new(op);
        for _ in 0..count {
            order.next(&Fact::decode(&mut reader)?)?;
        }
        reader.end()?;
        order.end()?;
        Ok(Self {
            head,
            binding,
            shortened: flags & FLAG_SHORTENED != 0,
            facts,
            count,
        })
    }

    /// Iterates over the facts, in their order.
    pub fn facts(&self) -> Facts<'a> {
        Facts {
            reader: Reader::new(self.facts),
        }
    }

    /// Number of facts.
    pub fn fact_count(&self) -> u16 {
        self.count
    }

    /// What a governance request other than POLICY asks for.
    pub fn detail(&self) -> Option<Detail<'a>> {
        self.facts().find_map(|fact| match fact {
            Fact::Detail(bytes) => Detail::decode(self.binding.op, bytes).ok(),
            _ => None,
        })
    }
}

/// Iterator over the facts of a [`Request`].
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Facts<'a> {
    type Item = Fact<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // `Request::decode` has decoded each of them, so the only error left is the end.
        Fact::decode(&mut self.reader).ok()
    }
}
