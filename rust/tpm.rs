// SPDX-License-Identifier: GPL-2.0

//! TPM 2.0: keys, sealed secrets, and indices of the non-volatile memory.
//!
//! Commands and structures are those of the TPM 2.0 Library Specification, revision 1.59 ("Part 2"
//! structures, "Part 3" commands). Keys, templates and policies are those of
//! `Documentation/sealed-state.rst`. Every hierarchy and index is used with an empty authorization
//! value, in the clear: the bus between processor and TPM is trusted.
//!
//! # Context
//!
//! Process context only. Everything here sleeps: a command takes from milliseconds to, on a chip
//! that makes a key, seconds, and the driver waits up to two minutes for an answer. So nothing here
//! is called under a spinlock, under RCU or from a hook. [`Chip::open`] keeps everybody else from
//! the chip, other parts of the kernel included, until the [`Tpm`] is dropped: the task that holds
//! one calls nothing of the kernel that uses the TPM itself (`tpm_pcr_extend`, `tpm_get_random`), or
//! it waits for itself.
//!
//! # Trust
//!
//! What the chip answers is untrusted input: each length, tag, handle and name in it is checked
//! before it is used, and an answer with a byte too many is as wrong as one with a byte too few.
//! Every object and session that is created is flushed when its guard is dropped, on errors too.
//! Only a TPM that makes one and does not say its handle keeps it, until the TPM is reset.
//!
//! C headers: [`include/linux/tpm.h`](srctree/include/linux/tpm.h),
//! [`include/linux/tpm_buf.h`](srctree/include/linux/tpm_buf.h)

use super::{
    bindings,
    random,
    secret::{
        self,
        Secret, //
    },
    sha256, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
    str,
};
use kernel::{
    alloc::AllocError,
    fmt,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// The size of a command with its `struct tpm_buf`. No answer is longer.
const BUFFER_SIZE: u16 = 4096;
const _: () = assert!(BUFFER_SIZE as u32 == bindings::TPM_BUFSIZE);

/// Bytes in the header of a command or a response: tag, length, and code.
const HEADER_SIZE: usize = 10;

/// How often a command is sent again when the TPM says that it could not go on just now.
const RETRIES: u32 = 6;

/// Before the first of [`RETRIES`], in milliseconds. Each further wait is twice as long.
const RETRY_MS: i64 = 20;

/// The most bytes of a `TPM2B_PRIVATE` or `TPM2B_PUBLIC`, without its size.
const SEALED_MAX: usize = 1024;

/// Name algorithm of everything that is made here.
pub(crate) const TPM_ALG_SHA256: u16 = 0x000b;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_CAP_PCRS: u32 = 5;
const TPM_CAP_TPM_PROPERTIES: u32 = 6;
const TPM_HT_POLICY_SESSION: u8 = 0x03;
const TPM_HT_TRANSIENT: u8 = 0x80;
const TPM_PT_PERMANENT: u32 = 0x200;
const TPM_PT_MANUFACTURER: u32 = 0x105;
const TPM_RH_ENDORSEMENT: u32 = 0x4000_000b;
const TPM_RH_NULL: u32 = 0x4000_0007;
const TPM_RH_OWNER: u32 = 0x4000_0001;
const TPM_RS_PW: u32 = 0x4000_0009;
const TPM_SE_POLICY: u8 = 0x01;
const TPM_ST_CREATION: u16 = 0x8021;
const TPM_ST_NO_SESSIONS: u16 = 0x8001;
const TPM_ST_SESSIONS: u16 = 0x8002;
/// `TPMA_PERMANENT.inLockout`
const IN_LOCKOUT: u32 = 1 << 9;
/// `TPMA_SESSION.continueSession`
const CONTINUE_SESSION: u8 = 1;

/// The name algorithm, as it begins a Name.
const NAME_ALG: [u8; 2] = TPM_ALG_SHA256.to_be_bytes();

/// The attestation key's `TPMT_PUBLIC` up to `unique`.
const ATTESTATION_TEMPLATE: [u8; 20] = [
    0x00, 0x23, // type: ECC
    0x00, 0x0b, // nameAlg: SHA-256
    0x00, 0x05, 0x04, 0x72, // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA,
    // restricted, sign
    0x00, 0x00, // authPolicy: none
    0x00, 0x10, // symmetric: NULL
    0x00, 0x18, 0x00, 0x0b, // scheme: ECDSA with SHA-256
    0x00, 0x03, // curve: NIST P-256
    0x00, 0x10, // kdf: NULL
];

/// What makes the attestation key another than other keys of the same template.
const ATTESTATION_UNIQUE: &[u8; 23] = b"TCP-LSM attestation key";

/// The storage key's `TPMT_PUBLIC` up to `unique`.
const STORAGE_TEMPLATE: [u8; 22] = [
    0x00, 0x23, // type: ECC
    0x00, 0x0b, // nameAlg: SHA-256
    0x00, 0x03, 0x04, 0x72, // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA,
    // restricted, decrypt
    0x00, 0x00, // authPolicy: none
    0x00, 0x06, 0x00, 0x80, 0x00, 0x43, // symmetric: AES, 128 bits, CFB
    0x00, 0x10, // scheme: NULL
    0x00, 0x03, // curve: NIST P-256
    0x00, 0x10, // kdf: NULL
];

/// A sealed secret's `TPMT_PUBLIC` up to the digest in its `authPolicy`.
const SEALED_TEMPLATE: [u8; 10] = [
    0x00, 0x08, // type: KEYEDHASH
    0x00, 0x0b, // nameAlg: SHA-256
    0x00, 0x00, 0x04, 0x12, // fixedTPM, fixedParent, noDA
    0x00, 0x20, // authPolicy: 32 bytes
];

/// The parameters of a sealed secret's `TPMT_PUBLIC`, after `authPolicy`: scheme NULL.
const SEALED_SCHEME: [u8; 2] = TPM_ALG_NULL.to_be_bytes();

/// A command of Part 3.
#[derive(Clone, Copy)]
struct CommandCode {
    code: u32,
    name: &'static str,
}

macro_rules! command_codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        impl CommandCode {
            $(const $name: Self = Self { code: $code, name: $text };)*
        }
    };
}

command_codes! {
    NV_UNDEFINE_SPACE = 0x122, "TPM2_NV_UndefineSpace";
    NV_DEFINE_SPACE = 0x12a, "TPM2_NV_DefineSpace";
    CREATE_PRIMARY = 0x131, "TPM2_CreatePrimary";
    NV_INCREMENT = 0x134, "TPM2_NV_Increment";
    NV_EXTEND = 0x136, "TPM2_NV_Extend";
    NV_READ = 0x14e, "TPM2_NV_Read";
    CREATE = 0x153, "TPM2_Create";
    LOAD = 0x157, "TPM2_Load";
    UNSEAL = 0x15e, "TPM2_Unseal";
    NV_READ_PUBLIC = 0x169, "TPM2_NV_ReadPublic";
    POLICY_COMMAND_CODE = 0x16c, "TPM2_PolicyCommandCode";
    START_AUTH_SESSION = 0x176, "TPM2_StartAuthSession";
    GET_CAPABILITY = 0x17a, "TPM2_GetCapability";
    POLICY_PCR = 0x17f, "TPM2_PolicyPCR";
    POLICY_GET_DIGEST = 0x189, "TPM2_PolicyGetDigest";
}

/// A response code of the TPM (Part 2, 6.6), and the command that it answers.
///
/// # Examples
///
/// ```ignore
/// match tpm.unseal(&parent, private, public, pcrs) {
///     Err(TpmError::Code(code)) if code.is(ResponseCode::POLICY_FAIL) => pr_info!("other PCRs\n"),
///     other => drop(other?),
/// }
/// ```
#[derive(Clone, Copy)]
pub(crate) struct ResponseCode {
    code: u32,
    /// Empty in the constants.
    command: &'static str,
}

macro_rules! response_codes {
    ($($name:ident = $code:literal;)*) => {
        impl ResponseCode {
            $(
                #[doc = concat!("`TPM_RC_", stringify!($name), "`")]
                pub(crate) const $name: Self = Self { code: $code, command: "" };
            )*

            /// All of them, with the specification's names.
            const NAMES: &'static [(Self, &'static str)] = &[
                $((Self::$name, concat!("TPM_RC_", stringify!($name))),)*
            ];
        }
    };
}

response_codes! {
    SUCCESS = 0x000;
    BAD_TAG = 0x01e;
    // Format 1.
    ASYMMETRIC = 0x081;
    ATTRIBUTES = 0x082;
    HASH = 0x083;
    VALUE = 0x084;
    HIERARCHY = 0x085;
    KEY_SIZE = 0x087;
    MGF = 0x088;
    MODE = 0x089;
    TYPE = 0x08a;
    HANDLE = 0x08b;
    KDF = 0x08c;
    RANGE = 0x08d;
    AUTH_FAIL = 0x08e;
    NONCE = 0x08f;
    PP = 0x090;
    SCHEME = 0x092;
    SIZE = 0x095;
    SYMMETRIC = 0x096;
    TAG = 0x097;
    SELECTOR = 0x098;
    INSUFFICIENT = 0x09a;
    SIGNATURE = 0x09b;
    KEY = 0x09c;
    POLICY_FAIL = 0x09d;
    INTEGRITY = 0x09f;
    TICKET = 0x0a0;
    RESERVED_BITS = 0x0a1;
    BAD_AUTH = 0x0a2;
    EXPIRED = 0x0a3;
    POLICY_CC = 0x0a4;
    BINDING = 0x0a5;
    CURVE = 0x0a6;
    ECC_POINT = 0x0a7;
    FW_LIMITED = 0x0a8;
    SVN_LIMITED = 0x0a9;
    // Format 0, errors.
    INITIALIZE = 0x100;
    FAILURE = 0x101;
    SEQUENCE = 0x103;
    PRIVATE = 0x10b;
    HMAC = 0x119;
    DISABLED = 0x120;
    EXCLUSIVE = 0x121;
    AUTH_TYPE = 0x124;
    AUTH_MISSING = 0x125;
    POLICY = 0x126;
    PCR = 0x127;
    PCR_CHANGED = 0x128;
    UPGRADE = 0x12d;
    TOO_MANY_CONTEXTS = 0x12e;
    AUTH_UNAVAILABLE = 0x12f;
    REBOOT = 0x130;
    UNBALANCED = 0x131;
    COMMAND_SIZE = 0x142;
    COMMAND_CODE = 0x143;
    AUTHSIZE = 0x144;
    AUTH_CONTEXT = 0x145;
    NV_RANGE = 0x146;
    NV_SIZE = 0x147;
    NV_LOCKED = 0x148;
    NV_AUTHORIZATION = 0x149;
    NV_UNINITIALIZED = 0x14a;
    NV_SPACE = 0x14b;
    NV_DEFINED = 0x14c;
    BAD_CONTEXT = 0x150;
    CPHASH = 0x151;
    PARENT = 0x152;
    NEEDS_TEST = 0x153;
    NO_RESULT = 0x154;
    SENSITIVE = 0x155;
    // Format 0, warnings.
    CONTEXT_GAP = 0x901;
    OBJECT_MEMORY = 0x902;
    SESSION_MEMORY = 0x903;
    MEMORY = 0x904;
    SESSION_HANDLES = 0x905;
    OBJECT_HANDLES = 0x906;
    LOCALITY = 0x907;
    YIELDED = 0x908;
    CANCELED = 0x909;
    TESTING = 0x90a;
    REFERENCE_H0 = 0x910;
    REFERENCE_H1 = 0x911;
    REFERENCE_H2 = 0x912;
    REFERENCE_H3 = 0x913;
    REFERENCE_H4 = 0x914;
    REFERENCE_H5 = 0x915;
    REFERENCE_H6 = 0x916;
    REFERENCE_S0 = 0x918;
    REFERENCE_S1 = 0x919;
    REFERENCE_S2 = 0x91a;
    REFERENCE_S3 = 0x91b;
    REFERENCE_S4 = 0x91c;
    REFERENCE_S5 = 0x91d;
    REFERENCE_S6 = 0x91e;
    NV_RATE = 0x920;
    LOCKOUT = 0x921;
    RETRY = 0x922;
    NV_UNAVAILABLE = 0x923;
}

impl ResponseCode {
    /// The code without the number of what it complains of: a code of format 1 has P in bit 6 and N,
    /// with S in it, in bits 8 to 11.
    const fn base(self) -> u32 {
        const FORMAT_1: u32 = 1 << 7;
        const P_AND_N: u32 = 0xf40;
        if self.code & FORMAT_1 != 0 {
            self.code & !P_AND_N
        } else {
            self.code
        }
    }

    /// The specification's name, without the number of the parameter, session or handle that the
    /// code complains of.
    pub(crate) fn name(self) -> &'static str {
        let mut all = Self::NAMES.iter();
        all.find(|(base, _)| self.is(*base))
            .map_or("unknown response code", |(_, name)| name)
    }

    /// Whether this is `base`, whatever parameter, session or handle it complains of.
    pub(crate) const fn is(self, base: ResponseCode) -> bool {
        self.base() == base.code
    }

    /// Whether it complains of a parameter: of what the caller gave, not of the TPM's condition.
    const fn is_of_parameter(self) -> bool {
        const FORMAT_1_AND_P: u32 = 0x0c0;
        self.code & FORMAT_1_AND_P == FORMAT_1_AND_P
    }

    /// Whether the same command may succeed a moment later. `tpm_transmit` has already sent it again
    /// for some seconds when the TPM said `RETRY` or `TESTING`, so those are not in here.
    const fn is_transient(self) -> bool {
        self.is(Self::YIELDED) || self.is(Self::NV_RATE)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.command.is_empty() {
            write!(f, "{}: ", self.command)?;
        }
        write!(f, "{} ({:#x})", self.name(), self.code)
    }
}

/// Why the TPM did not do what it was asked for.
#[derive(Clone, Copy)]
pub(crate) enum TpmError {
    /// The TPM refused.
    Code(ResponseCode),
    /// The kernel or the transport failed. The TPM may have executed the command all the same: it
    /// has to be asked before the command is repeated.
    Kernel(Error),
    /// The TPM answered something that makes no sense. What is wrong with it.
    Response(&'static str),
    /// What was given for a sealed secret is none, or none of this TPM's.
    Foreign(ResponseCode),
}

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) | Self::Foreign(code) => fmt::Display::fmt(code, f),
            Self::Kernel(error) => write!(f, "the TPM could not be used: {error:?}"),
            Self::Response(what) => write!(f, "the TPM's answer makes no sense: {what}"),
        }
    }
}

impl From<Error> for TpmError {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<AllocError> for TpmError {
    fn from(error: AllocError) -> Self {
        Self::Kernel(error.into())
    }
}

/// Memory for a `struct tpm_buf`, which has to be aligned.
#[repr(C, align(8))]
#[derive(Zeroable)]
struct Storage([u8; BUFFER_SIZE as usize]);

/// A `struct tpm_buf` that holds a command or a response, and is overwritten when it is dropped:
/// both may hold a secret.
///
/// # Invariants
///
/// The storage begins with a `struct tpm_buf` that `tpm_buf_init` was called on for the whole size
/// of the storage, and of which only the kernel's functions change the members.
struct Buffer(KBox<Storage>);

impl Buffer {
    /// Where the command or response begins.
    const DATA: usize = size_of::<bindings::tpm_buf>();

    /// The most bytes that the command or response has.
    const CAPACITY: usize = BUFFER_SIZE as usize - Self::DATA;

    /// A command without handles and parameters.
    fn new(tag: u16, code: u32) -> Result<Self, TpmError> {
        let mut storage = KBox::<Storage>::init(pin_init::init_zeroed(), GFP_KERNEL)?;
        let raw = storage.0.as_mut_ptr().cast::<bindings::tpm_buf>();
        // SAFETY: `raw` is aligned and valid for writes of `BUFFER_SIZE` bytes.
        unsafe { bindings::tpm_buf_init(raw, BUFFER_SIZE) };
        // INVARIANT: Just initialised, for all of the storage.
        let mut buffer = Self(storage);
        // SAFETY: The buffer is initialised by the type invariant.
        unsafe { bindings::tpm_buf_reset(buffer.as_raw(), tag, code) };
        Ok(buffer)
    }

    /// Another buffer that holds the same.
    fn try_clone(&self) -> Result<Self, TpmError> {
        let mut storage = KBox::<Storage>::init(pin_init::init_zeroed(), GFP_KERNEL)?;
        storage.0.copy_from_slice(&self.0 .0);
        // INVARIANT: A `struct tpm_buf` has no pointers: its copy is one like it.
        Ok(Self(storage))
    }

    /// The buffer for the kernel's functions.
    fn as_raw(&mut self) -> *mut bindings::tpm_buf {
        self.0 .0.as_mut_ptr().cast()
    }

    /// Whether the kernel has given the buffer up.
    fn is_invalid(&self) -> bool {
        let raw = self.0 .0.as_ptr().cast::<bindings::tpm_buf>();
        // SAFETY: The buffer is initialised by the type invariant.
        unsafe { bindings::tpm_buf_is_invalid(raw) }
    }

    /// The number of bytes of the command or response.
    fn len(&self) -> usize {
        let raw = self.0 .0.as_ptr().cast::<bindings::tpm_buf>();
        // SAFETY: The buffer is initialised by the type invariant, and the function only reads.
        usize::from(unsafe { bindings::tpm_buf_length(raw.cast_mut()) })
    }

    /// The command or response; empty if the kernel says that it is longer than the buffer.
    fn bytes(&self) -> &[u8] {
        self.0
             .0
            .get(Self::DATA..)
            .and_then(|data| data.get(..self.len()))
            .unwrap_or(&[])
    }

    /// Writes over bytes that the command already has.
    fn overwrite(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let start = Self::DATA.checked_add(at)?;
        let end = start.checked_add(bytes.len())?;
        self.0 .0.get_mut(start..end)?.copy_from_slice(bytes);
        Some(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        secret::wipe(&mut self.0 .0);
    }
}

/// A command being built.
///
/// What does not fit is left out and remembered, and such a command is never sent: so the steps need
/// no error handling of their own.
struct Command {
    buffer: Buffer,
    code: CommandCode,
    authorized: bool,
    overrun: bool,
}

impl Command {
    /// Starts a command without authorization.
    fn new(code: CommandCode) -> Result<Self, TpmError> {
        Ok(Self {
            buffer: Buffer::new(TPM_ST_NO_SESSIONS, code.code)?,
            code,
            authorized: false,
            overrun: false,
        })
    }

    /// Starts a command with one authorization, which has to follow the handles.
    fn authorized(code: CommandCode) -> Result<Self, TpmError> {
        Ok(Self {
            buffer: Buffer::new(TPM_ST_SESSIONS, code.code)?,
            code,
            authorized: true,
            overrun: false,
        })
    }

    /// Appends bytes as they are.
    fn bytes(mut self, bytes: &[u8]) -> Self {
        let room = Buffer::CAPACITY.saturating_sub(self.buffer.len());
        match u16::try_from(bytes.len()) {
            // The kernel checks it again, but with a warning and a stack trace.
            Ok(len) if bytes.len() <= room && !self.overrun => {
                // SAFETY: The buffer is initialised by its invariant, `bytes` is valid for reads.
                unsafe { bindings::tpm_buf_append(self.buffer.as_raw(), bytes.as_ptr(), len) };
            }
            _ => self.overrun = true,
        }
        self
    }

    fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends what `build` appends as a `TPM2B`: after its size.
    fn nested(self, build: impl FnOnce(Self) -> Self) -> Self {
        let at = self.buffer.len();
        let mut command = build(self.u16(0));
        let size = command.buffer.len().saturating_sub(at).checked_sub(2);
        let size = size.and_then(|size| u16::try_from(size).ok());
        if size
            .and_then(|size| command.buffer.overwrite(at, &size.to_be_bytes()))
            .is_none()
        {
            command.overrun = true;
        }
        command
    }

    /// Appends a `TPM2B` of `bytes`.
    fn sized(self, bytes: &[u8]) -> Self {
        self.nested(|command| command.bytes(bytes))
    }

    /// Appends the authorization by a session: an empty nonce and no HMAC.
    fn session(self, handle: u32) -> Self {
        self.u32(9).u32(handle).u16(0).u8(CONTINUE_SESSION).u16(0)
    }

    /// Appends the authorization by an empty password.
    fn empty_password(self) -> Self {
        self.session(TPM_RS_PW)
    }

    /// Appends a `TPML_PCR_SELECTION` of PCRs of the SHA-256 bank.
    fn pcr_selection(self, pcrs: u32) -> Self {
        let [first, second, third, _] = pcrs.to_le_bytes();
        self.u32(1)
            .u16(TPM_ALG_SHA256)
            .u8(3)
            .bytes(&[first, second, third])
    }

    /// Sends the command, again if the TPM asks for it, and returns its answer if it succeeded.
    fn send(self, tpm: &Tpm<'_>) -> Result<Response, TpmError> {
        if self.overrun || self.buffer.is_invalid() {
            return Err(TpmError::Kernel(E2BIG));
        }
        let mut wait = RETRY_MS;
        let mut left = RETRIES;
        loop {
            let mut buffer = self.buffer.try_clone()?;
            // SAFETY: The chip's operations are held as long as `tpm` lives; the buffer is
            // initialised by its invariant; the description may be null.
            let ret = unsafe {
                bindings::tpm_transmit_cmd(tpm.chip.as_raw(), buffer.as_raw(), 0, ptr::null())
            };
            if ret == 0 {
                return Response::new(buffer, self.authorized);
            }
            let Ok(code) = u32::try_from(ret) else {
                // The code is an `int` on its way: one that has its highest bit set looks like this.
                return Err(match c_int::try_from(ret) {
                    Ok(errno @ -4095..=-1) => TpmError::Kernel(Error::from_errno(errno)),
                    _ => TpmError::Response("no response code"),
                });
            };
            let code = ResponseCode {
                code,
                command: self.code.name,
            };
            left = match left.checked_sub(1) {
                Some(left) if code.is_transient() => left,
                _ => return Err(TpmError::Code(code)),
            };
            fsleep(Delta::from_millis(wait));
            wait = wait.saturating_mul(2);
        }
    }
}

/// A successful answer, of which only the header has been looked at.
struct Response {
    buffer: Buffer,
    authorized: bool,
}

impl Response {
    /// Checks the header.
    fn new(buffer: Buffer, authorized: bool) -> Result<Self, TpmError> {
        let mut header = Reader(buffer.bytes());
        let tag = header.u16()?;
        let len = header.u32()?;
        let code = header.u32()?;
        if usize::try_from(len) != Ok(buffer.len()) {
            return Err(TpmError::Response("another length than was received"));
        }
        if code != 0 {
            return Err(TpmError::Response("an error that is none"));
        }
        let expected = if authorized {
            TPM_ST_SESSIONS
        } else {
            TPM_ST_NO_SESSIONS
        };
        if tag != expected {
            return Err(TpmError::Response("wrong tag"));
        }
        Ok(Self { buffer, authorized })
    }

    /// Everything after the header.
    fn body(&self) -> Reader<'_> {
        Reader(self.buffer.bytes().get(HEADER_SIZE..).unwrap_or(&[]))
    }

    /// The handle that comes first, and then the parameters.
    fn handle(&self, handle_type: u8) -> Result<u32, TpmError> {
        let handle = self.body().u32()?;
        let [found, ..] = handle.to_be_bytes();
        if found != handle_type {
            return Err(TpmError::Response("a handle of another type"));
        }
        Ok(handle)
    }

    /// The parameters, in a response without a handle.
    fn parameters(&self) -> Result<Reader<'_>, TpmError> {
        self.parameters_of(self.body())
    }

    /// The parameters, in a response with a handle.
    fn parameters_after_handle(&self) -> Result<Reader<'_>, TpmError> {
        let mut body = self.body();
        body.u32()?;
        self.parameters_of(body)
    }

    /// The parameters in `rest`, after having checked the authorization that follows them.
    fn parameters_of<'a>(&self, mut rest: Reader<'a>) -> Result<Reader<'a>, TpmError> {
        if !self.authorized {
            return Ok(rest);
        }
        let len = usize::try_from(rest.u32()?).map_err(|_| Reader::TRUNCATED)?;
        let parameters = Reader(rest.take(len)?);
        // Nonce, attributes, HMAC. Neither a password nor a policy of ours makes an HMAC, so there
        // is nothing in them to verify.
        rest.sized()?;
        rest.u8()?;
        rest.sized()?;
        rest.end()?;
        Ok(parameters)
    }

    /// Checks that there is nothing but the header and the authorization.
    fn empty(&self) -> Result<(), TpmError> {
        self.parameters()?.end()
    }
}

/// The part of an answer that has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    const TRUNCATED: TpmError = TpmError::Response("truncated");

    fn take(&mut self, len: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Self::TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        self.take(N)?.try_into().map_err(|_| Self::TRUNCATED)
    }

    fn u8(&mut self) -> Result<u8, TpmError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a `TPM2B` without its size.
    fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Reads exactly these bytes.
    fn expect(&mut self, bytes: &[u8], what: &'static str) -> Result<(), TpmError> {
        if self.take(bytes.len())? != bytes {
            return Err(TpmError::Response(what));
        }
        Ok(())
    }

    /// Reads what `TPM2_CreatePrimary` and `TPM2_Create` say of how the object was made.
    fn creation(&mut self) -> Result<(), TpmError> {
        self.sized()?; // TPM2B_CREATION_DATA
        self.sized()?; // TPM2B_DIGEST of it
        self.expect(&TPM_ST_CREATION.to_be_bytes(), "no creation ticket")?;
        self.u32()?; // its hierarchy
        self.sized()?; // its digest
        Ok(())
    }

    /// Reads a Name, which has to be that of `public`, and returns the digest in it.
    fn name_of(&mut self, public: &[u8]) -> Result<[u8; sha256::DIGEST_SIZE], TpmError> {
        let digest = sha256::digest(&[public]);
        let mut name = Reader(self.sized()?);
        name.expect(&NAME_ALG, "a name of another algorithm")?;
        name.expect(&digest, "a name that is not the digest of the public area")?;
        name.end()?;
        Ok(digest)
    }

    /// Checks that everything has been read.
    fn end(&self) -> Result<(), TpmError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(TpmError::Response("more bytes than belong to it"))
        }
    }
}

/// The system's first TPM.
///
/// # Invariants
///
/// `chip` is a TPM 2.0, and this object owns a reference to it.
///
/// # Examples
///
/// ```ignore
/// let chip = Chip::find()?;
/// let node = chip.open()?.attestation_key_name()?;
/// ```
pub(crate) struct Chip {
    chip: NonNull<bindings::tpm_chip>,
}

// SAFETY: A chip may be used, and its reference dropped, by any task.
unsafe impl Send for Chip {}
// SAFETY: The only method that takes a shared chip is `open`, and `tpm_try_get_ops` locks.
unsafe impl Sync for Chip {}

impl Chip {
    /// Finds the TPM. Sleeps while another task uses it.
    ///
    /// # Errors
    ///
    /// `Kernel(ENODEV)` if there is no TPM, or it is not a TPM 2.0; another `Kernel` if there is one
    /// that cannot be used.
    pub(crate) fn find() -> Result<Self, TpmError> {
        // SAFETY: No requirements.
        let chip = unsafe { bindings::tpm_default_chip() };
        // INVARIANT: The function took a reference for us. No method is called until it is known to
        // be a TPM 2.0.
        let chip = Self {
            chip: NonNull::new(chip).ok_or(ENODEV)?,
        };
        // SAFETY: The chip is live by the type invariant.
        match unsafe { bindings::tpm_is_tpm2(chip.as_raw()) } {
            1 => Ok(chip),
            errno if errno < 0 => Err(Error::from_errno(errno).into()),
            _ => Err(ENODEV.into()),
        }
    }

    /// Takes the TPM for this task alone. Sleeps until it is free.
    ///
    /// # Errors
    ///
    /// `Kernel(EIO)` if the driver has gone, or the system is about to sleep.
    pub(crate) fn open(&self) -> Result<Tpm<'_>, TpmError> {
        // SAFETY: The chip is live by the type invariant.
        let ret = unsafe { bindings::tpm_try_get_ops(self.as_raw()) };
        if ret != 0 {
            return Err(Error::from_errno(ret).into());
        }
        // INVARIANT: Taken just now.
        Ok(Tpm {
            chip: self,
            _not_send: PhantomData,
        })
    }

    fn as_raw(&self) -> *mut bindings::tpm_chip {
        self.chip.as_ptr()
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant.
        unsafe { bindings::tpm_chip_put(self.as_raw()) };
    }
}

/// The TPM, for one task alone, until this is dropped.
///
/// # Invariants
///
/// The operations of `chip` are held, by the task that dropping happens in: what locks them is a
/// mutex, so this is not `Send`.
#[must_use]
pub(crate) struct Tpm<'a> {
    chip: &'a Chip,
    _not_send: PhantomData<*mut ()>,
}

impl Drop for Tpm<'_> {
    fn drop(&mut self) {
        // SAFETY: The operations are held, by this task, by the type invariant.
        unsafe { bindings::tpm_put_ops(self.chip.as_raw()) };
    }
}

/// Something in the TPM's memory that is flushed when this is dropped.
struct Loaded<'a> {
    tpm: &'a Tpm<'a>,
    handle: u32,
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        // SAFETY: The chip's operations are held as long as `tpm` lives.
        unsafe { bindings::tpm2_flush_context(self.tpm.chip.as_raw(), self.handle) };
    }
}

/// A transient object: a key or a sealed secret that is loaded. Flushed when dropped.
#[must_use]
pub(crate) struct Object<'a>(Loaded<'a>);

/// A policy session. Flushed when dropped.
#[must_use]
struct Session<'a>(Loaded<'a>);

/// What the TPM says of itself.
pub(crate) struct Properties {
    /// `TPM_PT_MANUFACTURER`: four letters, maybe with zeros or spaces after them.
    pub(crate) manufacturer: [u8; 4],
    /// The two halves of the firmware's version, in the manufacturer's own form.
    pub(crate) firmware: (u32, u32),
    /// Whether the TPM refuses authorizations after too many wrong ones.
    pub(crate) in_lockout: bool,
    /// The first `vendor_len` are printable ASCII.
    vendor: [u8; 16],
    vendor_len: usize,
}

impl Properties {
    /// The vendor's name of the model: printable ASCII, up to 16 bytes, maybe empty.
    pub(crate) fn vendor(&self) -> &str {
        self.vendor
            .get(..self.vendor_len)
            .and_then(|vendor| str::from_utf8(vendor).ok())
            .unwrap_or("")
    }

    /// Whether the TPM says that it is software (libtpms does). Software that claims to be a chip
    /// cannot be told here; the certificate of the endorsement key can tell.
    pub(crate) fn is_software(&self) -> bool {
        self.manufacturer == *b"SW  " || self.vendor().contains("SW   TPM")
    }
}

/// A secret under a policy, to be stored outside of the TPM.
pub(crate) struct Sealed {
    /// What `TPM2B_PRIVATE` holds: the secret, encrypted by the storage key.
    pub(crate) private: KVec<u8>,
    /// What `TPM2B_PUBLIC` holds: attributes and policy.
    pub(crate) public: KVec<u8>,
}

/// What an index of the non-volatile memory is.
pub(crate) struct NvPublic {
    /// Algorithm of its Name: `000b` is SHA-256.
    pub(crate) name_alg: u16,
    /// `TPMA_NV`, with the type in bits 4 to 7, and `TPMA_NV_WRITTEN` (bit 29).
    pub(crate) attributes: u32,
    /// The length of its policy in bytes: 0 is none.
    pub(crate) policy_len: u16,
    /// The size of its data in bytes.
    pub(crate) size: u16,
}

impl Tpm<'_> {
    /// Asks for `count` properties from `first` on, each of which has to be there.
    fn get_properties<const N: usize>(&self, first: u32) -> Result<[u32; N], TpmError> {
        const MISSING: TpmError = TpmError::Response("a property is missing");
        let count = u32::try_from(N).map_err(|_| EINVAL)?;
        let response = Command::new(CommandCode::GET_CAPABILITY)?
            .u32(TPM_CAP_TPM_PROPERTIES)
            .u32(first)
            .u32(count)
            .send(self)?;
        let mut reader = response.parameters()?;
        reader.u8()?; // whether there are more
        reader.expect(
            &TPM_CAP_TPM_PROPERTIES.to_be_bytes(),
            "another capability than asked for",
        )?;
        if reader.u32()? != count {
            return Err(MISSING);
        }
        let mut values = [0; N];
        for (value, property) in values.iter_mut().zip(first..) {
            reader.expect(&property.to_be_bytes(), "another property than asked for")?;
            *value = reader.u32()?;
        }
        reader.end()?;
        Ok(values)
    }

    /// Asks the TPM who made it, and whether it is locked out.
    pub(crate) fn properties(&self) -> Result<Properties, TpmError> {
        let [manufacturer, a, b, c, d, _vendor_type, firmware_1, firmware_2] =
            self.get_properties(TPM_PT_MANUFACTURER)?;
        let [permanent] = self.get_properties(TPM_PT_PERMANENT)?;

        let mut vendor = [0; 16];
        let mut vendor_len = 0;
        let text = [a, b, c, d].map(u32::to_be_bytes);
        let letters = text.iter().flatten().filter(|&&byte| byte != 0);
        for (to, &byte) in vendor.iter_mut().zip(letters) {
            let printable = byte == b' ' || byte.is_ascii_graphic();
            *to = if printable { byte } else { b'?' };
            vendor_len += 1;
        }
        Ok(Properties {
            manufacturer: manufacturer.to_be_bytes(),
            firmware: (firmware_1, firmware_2),
            in_lockout: permanent & IN_LOCKOUT != 0,
            vendor,
            vendor_len,
        })
    }

    /// Makes the primary key of a template, and returns the digest in its Name with it.
    fn create_primary(
        &self,
        hierarchy: u32,
        template: &[u8],
        unique_x: &[u8],
    ) -> Result<(Object<'_>, [u8; sha256::DIGEST_SIZE]), TpmError> {
        let response = Command::authorized(CommandCode::CREATE_PRIMARY)?
            .u32(hierarchy)
            .empty_password()
            // inSensitive: no authorization value, no data.
            .nested(|sensitive| sensitive.sized(&[]).sized(&[]))
            .nested(|public| public.bytes(template).sized(unique_x).sized(&[]))
            .sized(&[]) // outsideInfo
            .u32(0) // creationPCR: none
            .send(self)?;
        let object = Object(Loaded {
            tpm: self,
            handle: response.handle(TPM_HT_TRANSIENT)?,
        });
        let mut reader = response.parameters_after_handle()?;
        let public = reader.sized()?;
        reader.creation()?;
        let digest = reader.name_of(public)?;
        reader.end()?;

        let mut public = Reader(public);
        public.expect(template, "a key that was not asked for")?;
        for _ in 0..2 {
            if !matches!(public.sized()?.len(), 1..=32) {
                return Err(TpmError::Response("no point of the curve"));
            }
        }
        public.end()?;
        Ok((object, digest))
    }

    /// Makes the attestation key and returns the digest in its Name, which names the node. The key
    /// is flushed again.
    ///
    /// # Errors
    ///
    /// `Code(BAD_AUTH)` if the endorsement hierarchy has an authorization value.
    pub(crate) fn attestation_key_name(&self) -> Result<[u8; sha256::DIGEST_SIZE], TpmError> {
        let (_key, digest) = self.create_primary(
            TPM_RH_ENDORSEMENT,
            &ATTESTATION_TEMPLATE,
            ATTESTATION_UNIQUE,
        )?;
        Ok(digest)
    }

    /// Makes the storage key, under which secrets are sealed.
    ///
    /// # Errors
    ///
    /// `Code(BAD_AUTH)` if the owner hierarchy has an authorization value.
    pub(crate) fn storage_key(&self) -> Result<Object<'_>, TpmError> {
        let (key, _digest) = self.create_primary(TPM_RH_OWNER, &STORAGE_TEMPLATE, &[])?;
        Ok(key)
    }

    /// Starts a session that satisfies the policy of a sealed secret, if the PCRs are as they were.
    fn policy_session(&self, pcrs: u32) -> Result<Session<'_>, TpmError> {
        let mut nonce = [0; 32];
        random::fill(&mut nonce);
        let response = Command::new(CommandCode::START_AUTH_SESSION)?
            .u32(TPM_RH_NULL) // tpmKey
            .u32(TPM_RH_NULL) // bind
            .sized(&nonce)
            .sized(&[]) // encryptedSalt
            .u8(TPM_SE_POLICY)
            .u16(TPM_ALG_NULL) // symmetric
            .u16(TPM_ALG_SHA256)
            .send(self)?;
        let session = Session(Loaded {
            tpm: self,
            handle: response.handle(TPM_HT_POLICY_SESSION)?,
        });
        let mut reader = response.parameters_after_handle()?;
        reader.sized()?; // nonceTPM
        reader.end()?;

        Command::new(CommandCode::POLICY_COMMAND_CODE)?
            .u32(session.0.handle)
            .u32(CommandCode::UNSEAL.code)
            .send(self)?
            .empty()?;
        if pcrs != 0 {
            Command::new(CommandCode::POLICY_PCR)?
                .u32(session.0.handle)
                .sized(&[]) // pcrDigest: what they are now
                .pcr_selection(pcrs)
                .send(self)?
                .empty()?;
        }
        Ok(session)
    }

    /// Checks that the TPM has these PCRs in SHA-256. One that it has not would silently be left out
    /// of a policy.
    fn check_pcrs(&self, pcrs: u32) -> Result<(), TpmError> {
        let response = Command::new(CommandCode::GET_CAPABILITY)?
            .u32(TPM_CAP_PCRS)
            .u32(0)
            .u32(1)
            .send(self)?;
        let mut reader = response.parameters()?;
        reader.u8()?; // whether there are more
        reader.expect(
            &TPM_CAP_PCRS.to_be_bytes(),
            "another capability than asked for",
        )?;
        let mut found = 0;
        for _ in 0..reader.u32()? {
            let algorithm = reader.u16()?;
            let len = reader.u8()?;
            let select = reader.take(usize::from(len))?;
            if algorithm == TPM_ALG_SHA256 {
                let mut mask = [0; 4];
                for (to, from) in mask.iter_mut().zip(select) {
                    *to = *from;
                }
                found |= u32::from_le_bytes(mask);
            }
        }
        reader.end()?;
        if found & pcrs != pcrs {
            return Err(ENXIO.into());
        }
        Ok(())
    }

    /// Checks that `pcrs` names PCRs that every TPM has.
    fn check_mask(pcrs: u32) -> Result<(), TpmError> {
        if pcrs >> 24 != 0 {
            return Err(EINVAL.into());
        }
        Ok(())
    }

    /// Seals `secret` under the storage key, to be released only while the chosen PCRs of the
    /// SHA-256 bank are what they are now. It is released once, to see that it can be.
    ///
    /// Bit *i* of `pcrs`, of 24, chooses PCR *i*; with 0, no PCR decides.
    ///
    /// # Errors
    ///
    /// `Kernel(EINVAL)` if `pcrs` has another bit; `Kernel(ENXIO)` if the TPM has not all of these
    /// PCRs in SHA-256.
    pub(crate) fn seal(
        &self,
        parent: &Object<'_>,
        secret: &Secret,
        pcrs: u32,
    ) -> Result<Sealed, TpmError> {
        Self::check_mask(pcrs)?;
        if pcrs != 0 {
            self.check_pcrs(pcrs)?;
        }
        let session = self.policy_session(pcrs)?;
        let response = Command::new(CommandCode::POLICY_GET_DIGEST)?
            .u32(session.0.handle)
            .send(self)?;
        let mut reader = response.parameters()?;
        let mut digest = Reader(reader.sized()?);
        reader.end()?;
        let policy = digest.array::<{ sha256::DIGEST_SIZE }>()?;
        digest.end()?;
        drop(session);

        let response = Command::authorized(CommandCode::CREATE)?
            .u32(parent.0.handle)
            .empty_password()
            .nested(|sensitive| sensitive.sized(&[]).sized(secret.expose()))
            .nested(|public| {
                public
                    .bytes(&SEALED_TEMPLATE)
                    .bytes(&policy)
                    .bytes(&SEALED_SCHEME)
                    .sized(&[]) // unique
            })
            .sized(&[]) // outsideInfo
            .u32(0) // creationPCR: none
            .send(self)?;
        let mut reader = response.parameters()?;
        let private = reader.sized()?;
        let public = reader.sized()?;
        reader.creation()?;
        reader.end()?;
        let found = Self::sealed_policy(public).ok_or(TpmError::Response("no sealed secret"))?;
        if found != policy {
            return Err(TpmError::Response("another policy than asked for"));
        }
        let sealed = Sealed {
            private: Self::content(private)?,
            public: Self::content(public)?,
        };
        // The policy's digest and the private part are only the TPM's word: with a wrong one, nobody
        // would ever get the secret back.
        let released = self.unseal(parent, &sealed.private, &sealed.public, pcrs)?;
        if !secret::equal(released.expose(), secret.expose()) {
            return Err(TpmError::Response("another secret than was sealed"));
        }
        Ok(sealed)
    }

    /// The policy in the `TPMT_PUBLIC` of a sealed secret, if it is one.
    fn sealed_policy(public: &[u8]) -> Option<[u8; sha256::DIGEST_SIZE]> {
        let rest = public.strip_prefix(&SEALED_TEMPLATE)?;
        let (policy, rest) = rest.split_first_chunk()?;
        let unique = rest.strip_prefix(&SEALED_SCHEME)?.strip_prefix(&[0, 32])?;
        (unique.len() == 32).then_some(*policy)
    }

    /// Copies what a `TPM2B` of a sealed secret holds.
    fn content(bytes: &[u8]) -> Result<KVec<u8>, TpmError> {
        if !matches!(bytes.len(), 1..=SEALED_MAX) {
            return Err(TpmError::Response("a sealed secret of another size"));
        }
        let mut content = KVec::with_capacity(bytes.len(), GFP_KERNEL)?;
        content.extend_from_slice(bytes, GFP_KERNEL)?;
        Ok(content)
    }

    /// Releases a secret that [`Tpm::seal`] sealed; `private` and `public` are what the
    /// two `TPM2B` hold.
    ///
    /// # Errors
    ///
    /// `Code(POLICY_FAIL)`, and nothing else, if the chosen PCRs are not what they were, or others
    /// than those of `pcrs`, were chosen then. `Foreign` if the storage key is not the one that it
    /// was sealed under. `Kernel(EINVAL)` if `private`, `public` or `pcrs` are malformed.
    pub(crate) fn unseal(
        &self,
        parent: &Object<'_>,
        private: &[u8],
        public: &[u8],
        pcrs: u32,
    ) -> Result<Secret, TpmError> {
        Self::check_mask(pcrs)?;
        if !matches!(private.len(), 1..=SEALED_MAX) {
            return Err(EINVAL.into());
        }
        Self::sealed_policy(public).ok_or(EINVAL)?;

        let response = Command::authorized(CommandCode::LOAD)?
            .u32(parent.0.handle)
            .empty_password()
            .sized(private)
            .sized(public)
            .send(self)
            .map_err(|error| match error {
                TpmError::Code(code) if code.is_of_parameter() => TpmError::Foreign(code),
                error => error,
            })?;
        let object = Object(Loaded {
            tpm: self,
            handle: response.handle(TPM_HT_TRANSIENT)?,
        });
        let mut reader = response.parameters_after_handle()?;
        reader.name_of(public)?;
        reader.end()?;

        let session = self.policy_session(pcrs)?;
        let response = Command::authorized(CommandCode::UNSEAL)?
            .u32(object.0.handle)
            .session(session.0.handle)
            .send(self)?;
        let mut reader = response.parameters()?;
        let data = reader.sized()?;
        reader.end()?;
        if data.len() != secret::SIZE {
            return Err(TpmError::Response("a secret of another length"));
        }
        Ok(Secret::copy_from(data)?)
    }

    /// Reads what an index is; `None` if it is not defined.
    pub(crate) fn nv_public(&self, index: u32) -> Result<Option<NvPublic>, TpmError> {
        let sent = Command::new(CommandCode::NV_READ_PUBLIC)?
            .u32(index)
            .send(self);
        let response = match sent {
            Err(TpmError::Code(code)) if code.is(ResponseCode::HANDLE) => return Ok(None),
            other => other?,
        };
        let mut reader = response.parameters()?;
        let whole = reader.sized()?;
        let mut public = Reader(whole);
        public.expect(&index.to_be_bytes(), "another index than asked for")?;
        let name_alg = public.u16()?;
        let attributes = public.u32()?;
        let policy = public.sized()?;
        let size = public.u16()?;
        public.end()?;
        if name_alg == TPM_ALG_SHA256 {
            reader.name_of(whole)?;
        } else {
            // Not one of ours, which is for the caller to say.
            let mut name = Reader(reader.sized()?);
            name.expect(&name_alg.to_be_bytes(), "a name of another algorithm")?;
        }
        reader.end()?;
        Ok(Some(NvPublic {
            name_alg,
            attributes,
            policy_len: u16::try_from(policy.len()).map_err(|_| Reader::TRUNCATED)?,
            size,
        }))
    }

    /// Defines an index: SHA-256, without a policy, with an empty authorization value.
    ///
    /// # Errors
    ///
    /// `Code(NV_DEFINED)` if it is defined already, `Code(NV_SPACE)` if the memory is full.
    pub(crate) fn nv_define(&self, index: u32, attributes: u32, size: u16) -> Result<(), TpmError> {
        Command::authorized(CommandCode::NV_DEFINE_SPACE)?
            .u32(TPM_RH_OWNER)
            .empty_password()
            .sized(&[]) // the authorization value
            .nested(|public| {
                public
                    .u32(index)
                    .u16(TPM_ALG_SHA256)
                    .u32(attributes)
                    .sized(&[]) // authPolicy
                    .u16(size)
            })
            .send(self)?
            .empty()
    }

    /// Undefines an index.
    ///
    /// # Errors
    ///
    /// `Code(HANDLE)` if it is not defined.
    pub(crate) fn nv_undefine(&self, index: u32) -> Result<(), TpmError> {
        Command::authorized(CommandCode::NV_UNDEFINE_SPACE)?
            .u32(TPM_RH_OWNER)
            .u32(index)
            .empty_password()
            .send(self)?
            .empty()
    }

    /// Reads the first `N` bytes of an index; `None` if it was never written.
    ///
    /// # Errors
    ///
    /// `Code(HANDLE)` if it is not defined, `Code(NV_RANGE)` if it is smaller.
    pub(crate) fn nv_read<const N: usize>(&self, index: u32) -> Result<Option<[u8; N]>, TpmError> {
        let len = u16::try_from(N).map_err(|_| EINVAL)?;
        let sent = Command::authorized(CommandCode::NV_READ)?
            .u32(TPM_RH_OWNER)
            .u32(index)
            .empty_password()
            .u16(len)
            .u16(0) // offset
            .send(self);
        let response = match sent {
            Err(TpmError::Code(code)) if code.is(ResponseCode::NV_UNINITIALIZED) => {
                return Ok(None);
            }
            other => other?,
        };
        let mut reader = response.parameters()?;
        let mut data = Reader(reader.sized()?);
        reader.end()?;
        let value = data.array()?;
        data.end()?;
        Ok(Some(value))
    }

    /// Adds one to a counter. After `Kernel` or `Response` the caller has to read the counter: it
    /// may have been incremented.
    ///
    /// # Errors
    ///
    /// `Code(ATTRIBUTES)` if the index is not a counter.
    pub(crate) fn nv_increment(&self, index: u32) -> Result<(), TpmError> {
        Command::authorized(CommandCode::NV_INCREMENT)?
            .u32(TPM_RH_OWNER)
            .u32(index)
            .empty_password()
            .send(self)?
            .empty()
    }

    /// Extends an index with `data`. After `Kernel` or `Response` the caller has to read the index:
    /// it may have been extended.
    ///
    /// # Errors
    ///
    /// `Code(ATTRIBUTES)` if the index cannot be extended.
    pub(crate) fn nv_extend(&self, index: u32, data: &[u8]) -> Result<(), TpmError> {
        Command::authorized(CommandCode::NV_EXTEND)?
            .u32(TPM_RH_OWNER)
            .u32(index)
            .empty_password()
            .sized(data)
            .send(self)?
            .empty()
    }
}
