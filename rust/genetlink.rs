// SPDX-License-Identifier: GPL-2.0

//! Generic netlink families: commands, dumps and multicast groups.
//!
//! [`kernel::net::netlink`] has families that only multicast; this builds on its `Family`.
//!
//! A family is described by tables of constants in a [`Server`], lives in a `static` as a
//! [`Family`], and exists for users while there is a [`Registration`]. Everything that a user sends
//! has been validated against the command's table, strictly, before a handler sees it: unknown
//! attributes, wrong lengths and stray bytes are refused. Families exist in the initial network
//! namespace only.
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)

use super::{
    bindings,
    capable::{
        Capability,
        Uid, //
    },
    global::Slot,
};
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    error::to_result,
    net::netlink,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Full,
            Release, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
};

/// The payload bytes that a message has room for unless told otherwise.
pub(crate) const DEFAULT_SIZE: usize = netlink::GENLMSG_DEFAULT_SIZE;

/// The size of `struct nlattr`, which precedes the payload of an attribute.
const NLA_HDRLEN: usize = size_of::<bindings::nlattr>();

/// The longest payload that the 16-bit length of an attribute can tell.
const NLA_PAYLOAD_MAX: usize = 0xffff - NLA_HDRLEN;

/// The validation policy of one attribute.
///
/// The policy of a command is a table of these, indexed by the attribute's number; entry 0 is
/// [`Attr::REFUSED`], as is every number in between that the command does not take.
///
/// # Examples
///
/// ```ignore
/// const POLICY: &[Attr] = &[Attr::REFUSED, Attr::u32(), Attr::bytes_exact(32)];
/// ```
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Attr(bindings::nla_policy);

// SAFETY: Immutable data; the pointers in it are to other immutable static tables.
unsafe impl Sync for Attr {}
// SAFETY: As above.
unsafe impl Send for Attr {}

/// The type number of a policy entry.
const fn kind(number: u32) -> u8 {
    assert!(number <= 0xff);
    // CAST: Checked above, in the constant evaluation of the tables.
    number as u8
}

/// A length as the signed 16-bit number that a policy entry has for it.
const fn length(len: u16) -> i16 {
    assert!(len <= 0x7fff, "an attribute cannot be that long");
    // CAST: Checked above, in the constant evaluation of the tables.
    len as i16
}

impl Attr {
    /// The attribute is refused.
    pub(crate) const REFUSED: Self = Self::of(bindings::NLA_UNSPEC, 0);

    const fn of(type_: u32, len: u16) -> Self {
        Self(bindings::nla_policy {
            type_: kind(type_),
            len,
            ..pin_init::zeroed()
        })
    }

    /// A `u32`.
    pub(crate) const fn u32() -> Self {
        Self::of(bindings::NLA_U32, 0)
    }

    /// A `u64` of 8 bytes.
    pub(crate) const fn u64() -> Self {
        Self::of(bindings::NLA_U64, 0)
    }

    /// Exactly `len` bytes, at most 32,767.
    pub(crate) const fn bytes_exact(len: u16) -> Self {
        Self::bytes(len, len)
    }

    /// From `min` to `max` bytes, at most 32,767.
    pub(crate) const fn bytes(min: u16, max: u16) -> Self {
        Self(bindings::nla_policy {
            type_: kind(bindings::NLA_BINARY),
            validation_type: kind(bindings::nla_policy_validation_NLA_VALIDATE_RANGE),
            __bindgen_anon_1: bindings::nla_policy__bindgen_ty_1 {
                __bindgen_anon_1: bindings::nla_policy__bindgen_ty_1__bindgen_ty_1 {
                    min: length(min),
                    max: length(max),
                },
            },
            ..pin_init::zeroed()
        })
    }

    /// A string with its terminating NUL, and at most `max` bytes before that.
    pub(crate) const fn string(max: u16) -> Self {
        Self::of(bindings::NLA_NUL_STRING, max)
    }
}

/// The policy of a command that takes no attributes.
static NO_ATTRIBUTES: [Attr; 1] = [Attr::REFUSED];

/// A multicast group.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Group(bindings::genl_multicast_group);

impl Group {
    /// A group that only holders of `CAP_SYS_ADMIN` over the network namespace may join.
    ///
    /// Meant for constants: a name of 16 bytes or more does not compile there.
    pub(crate) const fn privileged(name: &CStr) -> Self {
        // GENL_MCAST_CAP_SYS_ADMIN, which is a macro that `bindgen` does not understand.
        const CAP_SYS_ADMIN: u8 = 1 << 1;
        let mut group: bindings::genl_multicast_group = pin_init::zeroed();
        let name = name.to_bytes_with_nul();
        assert!(name.len() <= group.name.len());
        let mut i = 0;
        while i < name.len() {
            group.name[i] = name[i];
            i += 1;
        }
        group.flags = CAP_SYS_ADMIN;
        Self(group)
    }
}

/// A handler of single requests.
pub(crate) type Action<T> = fn(ArcBorrow<'_, T>, &Request<'_>) -> Result<(), Refusal>;

/// A handler of dumps: appends messages from `cursor` on, which begins at 0 and is kept between
/// the calls for one dump.
///
/// It returns when [`Dump::message`] tells that the buffer is full, to be called again later, or
/// when there is nothing more.
pub(crate) type Dumper<T> = fn(ArcBorrow<'_, T>, &mut Dump<'_>, &mut u64) -> Result<(), Refusal>;

enum Handler<T> {
    Action(Action<T>),
    Dumper(Dumper<T>),
}

/// One command of a family, or the dump form of one.
pub(crate) struct Command<T> {
    id: u8,
    policy: &'static [Attr],
    handler: Handler<T>,
}

impl<T> Command<T> {
    /// A command for single requests with the attributes of `policy`.
    pub(crate) const fn action(id: u8, policy: &'static [Attr], handler: Action<T>) -> Self {
        Self {
            id,
            policy,
            handler: Handler::Action(handler),
        }
    }

    /// A command for dumps (`NLM_F_DUMP`) with the attributes of `policy`.
    pub(crate) const fn dump(id: u8, policy: &'static [Attr], handler: Dumper<T>) -> Self {
        Self {
            id,
            policy,
            handler: Handler::Dumper(handler),
        }
    }

    fn is_dump(&self) -> bool {
        matches!(self.handler, Handler::Dumper(_))
    }

    fn max_attr(&self) -> usize {
        self.policy.len().saturating_sub(1)
    }
}

/// What a family does.
///
/// Handlers of different requests run at the same time. They run in process context and may sleep,
/// but as long as one runs, no family of the whole kernel can be registered or unregistered.
///
/// # Examples
///
/// ```ignore
/// impl Server for State {
///     const NAME: &'static CStr = c"example";
///     const VERSION: u8 = 1;
///     const GROUPS: &'static [Group] = &[Group::privileged(c"events")];
///     const COMMANDS: &'static [Command<Self>] = &[
///         Command::action(1, &[Attr::REFUSED, Attr::u32()], State::add)
///         Command::dump(2, &[], State::list),
///     ];
///
///     fn family() -> &'static Family<Self> {
///         static FAMILY: Family<State> =
///             Family::new(kernel::module::this_module::<crate::LocalModule>());
///         &FAMILY
///     }
/// }
///
/// impl State {
///     fn add(this: ArcBorrow<'_, Self>, request: &Request<'_>) -> Result<(), Refusal> {
///         let n = request.attr_u32(1).ok_or(EINVAL)?;
///         let mut reply = request.reply::<Self>(1, DEFAULT_SIZE)?;
///         reply.put_u32(1, n)?;
///         Ok(reply.send()?)
///     }
///
///     fn list(this: ArcBorrow<'_, Self>, dump: &mut Dump<'_>, at: &mut u64) -> Result<(), Refusal> {
///         while *at < 10 {
///             if dump.message(2, |m| m.put_u64(1, *at, 0))? == Fit::Full {
///                 break;
///             }
///             *at += 1;
///         }
///         Ok(())
///     }
/// }
/// ```
pub(crate) trait Server: Send + Sync + Sized + 'static {
    /// The family's name, below 16 bytes.
    const NAME: &'static CStr;
    /// The family's version.
    const VERSION: u8;
    /// The commands, in the order of their numbers, an action before a dump of the same number.
    const COMMANDS: &'static [Command<Self>];
    /// The multicast groups.
    const GROUPS: &'static [Group];

    /// The family, which has to be a `static` for this type alone.
    fn family() -> &'static Family<Self>;
}

/// A generic netlink family that is served by a `T`.
///
/// # Invariants
///
/// While `claimed` is set, a [`Registration`] of this family exists or is being made or dropped. Only
/// that one sets `server` and writes to the `struct genl_family`, the latter only while it is not
/// registered.
pub(crate) struct Family<T: Server> {
    family: netlink::Family,
    claimed: AtomicFlag,
    server: Slot<T>,
}

impl<T: Server> Family<T> {
    /// A family of `module`, which has to be the module that the caller is part of.
    ///
    /// Meant for statics: a name that is too long does not compile there.
    pub(crate) const fn new(module: &'static ThisModule) -> Self {
        Self {
            family: netlink::Family::const_new(
                module,
                T::NAME.to_bytes_with_nul(),
                T::VERSION as u32,
                &[],
            ),
            claimed: AtomicFlag::new(false),
            server: Slot::new(),
        }
    }

    /// Whether anybody listens to the group, which is an index into [`Server::GROUPS`].
    ///
    /// Does not sleep. Asking first spares the work of making a message that nobody receives.
    pub(crate) fn has_listeners(&self, group: usize) -> bool {
        let guard = rcu::read_lock();
        match u32::try_from(group) {
            // The family is not unregistered before the guard is released: see `Registration`.
            Ok(index) if group < T::GROUPS.len() && self.server.read(&guard).is_some() => {
                self.family.has_listeners(index)
            }
            _ => false,
        }
    }

    /// Begins a message that answers nothing, for [`Message::multicast`], with room for `size`
    /// bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. Does not sleep if `flags` do not allow it.
    pub(crate) fn event(&'static self, cmd: u8, size: usize, flags: Flags) -> Result<Message<T>> {
        Message::new(0, 0, cmd, size, flags)
    }
}

/// An error for the sender of a request: a number and, for people, words (the `extack`).
///
/// # Examples
///
/// ```ignore
/// return Err(Refusal::new(ESTALE, c"the request has expired").at(ATTR_REQUEST));
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    error: Error,
    message: Option<&'static CStr>,
    /// The attribute that is wrong.
    culprit: Option<u16>,
}

impl Refusal {
    /// A refusal with an explanation.
    pub(crate) const fn new(error: Error, message: &'static CStr) -> Self {
        Self {
            error,
            message: Some(message),
            culprit: None,
        }
    }

    /// Points to the attribute `id` of the request as the reason.
    pub(crate) const fn at(self, id: u16) -> Self {
        Self {
            culprit: Some(id),
            ..self
        }
    }

    /// Hands the explanation to the sender and returns the negative error number.
    ///
    /// # Safety
    ///
    /// `info` is the live argument of a handler of the request, with `attrs` for its attributes.
    unsafe fn report(self, info: *const bindings::genl_info, attrs: &Attributes<'_>) -> c_int {
        // SAFETY: By the safety requirements.
        let extack = unsafe { (*info).extack };
        if let Some(mut extack) = NonNull::new(extack) {
            // SAFETY: The extack belongs to this request and to nobody else while it is handled.
            let extack = unsafe { extack.as_mut() };
            if let Some(message) = self.message {
                extack._msg = message.as_char_ptr();
            }
            if let Some(attr) = self.culprit.and_then(|id| attrs.raw(id)) {
                extack.bad_attr = attr.as_ptr();
            }
        }
        self.error.to_errno()
    }
}

impl From<AllocError> for Refusal {
    fn from(_: AllocError) -> Self {
        Self::from(ENOMEM)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            message: None,
            culprit: None,
        }
    }
}

/// The attributes that came with a request.
///
/// The payloads are copies that the sender cannot change any more.
///
/// # Invariants
///
/// `table` is null, or has `max + 1` entries that are null or point to attributes which are valid
/// for `'a` and whose lengths have been checked.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    table: *const *mut bindings::nlattr,
    max: usize,
    _data: PhantomData<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    /// # Safety
    ///
    /// `info` is valid for `'a`, with attributes that were parsed for `command`.
    unsafe fn new<T>(info: *const bindings::genl_info, command: &Command<T>) -> Self {
        // INVARIANT: The core allocates a table of this size and has checked the lengths; it passes
        // none for a command without attributes.
        Self {
            table: if command.max_attr() == 0 {
                ptr::null()
            } else {
                // SAFETY: By the safety requirements.
                unsafe { (*info).attrs }
            },
            max: command.max_attr(),
            _data: PhantomData,
        }
    }

    fn raw(&self, id: u16) -> Option<NonNull<bindings::nlattr>> {
        let id = usize::from(id);
        if self.table.is_null() || id > self.max {
            return None;
        }
        // SAFETY: By the type invariant; `id` is within the table.
        NonNull::new(unsafe { *self.table.add(id) })
    }

    /// The payload of attribute `id`, whatever its type.
    pub(crate) fn attr_bytes(&self, id: u16) -> Option<&'a [u8]> {
        let attr = self.raw(id)?.as_ptr();
        // SAFETY: By the type invariant, the attribute is valid, ...
        let len = usize::from(unsafe { (*attr).nla_len }).checked_sub(NLA_HDRLEN)?;
        // SAFETY: ... with all of its payload, which nobody writes to.
        Some(unsafe { slice::from_raw_parts(attr.cast::<u8>().add(NLA_HDRLEN), len) })
    }

    /// Attribute `id` of type [`Attr::u32`].
    pub(crate) fn attr_u32(&self, id: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.attr_bytes(id)?.try_into().ok()?))
    }

    /// Attribute `id` of type [`Attr::u64`].
    pub(crate) fn attr_u64(&self, id: u16) -> Option<u64> {
        Some(u64::from_ne_bytes(self.attr_bytes(id)?.try_into().ok()?))
    }

    /// Attribute `id` of type [`Attr::string`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is a NUL before the last byte: the core allows that.
    pub(crate) fn attr_str(&self, id: u16) -> Result<Option<&'a CStr>, Refusal> {
        let Some(bytes) = self.attr_bytes(id) else {
            return Ok(None);
        };
        match CStr::from_bytes_with_nul(bytes) {
            Ok(s) => Ok(Some(s)),
            Err(_) => Err(Refusal::new(EINVAL, c"a string has a NUL inside").at(id)),
        }
    }
}

/// A request that a handler answers.
///
/// # Invariants
///
/// `skb` and `info` are the arguments of a `doit` callback, which runs for longer than `'a`, in the
/// context of the sender.
pub(crate) struct Request<'a> {
    skb: NonNull<bindings::sk_buff>,
    info: NonNull<bindings::genl_info>,
    attributes: Attributes<'a>,
}

impl<'a> Deref for Request<'a> {
    type Target = Attributes<'a>;

    fn deref(&self) -> &Attributes<'a> {
        &self.attributes
    }
}

impl Request<'_> {
    /// The address of the socket that the request came from.
    pub(crate) fn portid(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { self.info.as_ref() }.snd_portid
    }

    /// The effective user id of the sender.
    pub(crate) fn sender_euid(&self) -> Uid {
        // By the type invariant, the sender is the current task.
        Uid::current_effective()
    }

    /// Whether the sender holds `cap` in the initial user namespace, *and* whoever opened the
    /// socket did, so that a privileged program cannot be fooled into sending for another.
    ///
    /// Runs the `capable` LSM hook.
    pub(crate) fn capable(&self, cap: Capability) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::netlink_capable(self.skb.as_ptr(), cap.as_raw()) }
    }

    /// Begins a message to the sender, with room for `size` bytes of attributes. `T` is the server.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn reply<T: Server>(&self, cmd: u8, size: usize) -> Result<Message<T>> {
        // SAFETY: By the type invariant.
        let info = unsafe { self.info.as_ref() };
        Message::new(info.snd_portid, info.snd_seq, cmd, size, GFP_KERNEL)
    }
}

/// Whether a message was appended to a dump.
#[must_use = "a handler has to return when the buffer is full"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// It was.
    Added,
    /// It was not: the handler has to return, and tries the same message again when called next.
    Full,
}

/// A dump that a handler appends to.
///
/// # Invariants
///
/// `skb` and `cb` are the arguments of a `dumpit` callback, which runs for longer than `'a`; `info`
/// is that of `cb`.
pub(crate) struct Dump<'a> {
    skb: NonNull<bindings::sk_buff>,
    cb: NonNull<bindings::netlink_callback>,
    info: NonNull<bindings::genl_info>,
    attributes: Attributes<'a>,
    full: bool,
}

impl<'a> Deref for Dump<'a> {
    type Target = Attributes<'a>;

    fn deref(&self) -> &Attributes<'a> {
        &self.attributes
    }
}

impl Dump<'_> {
    /// Appends the message of command `cmd` that `f` fills.
    ///
    /// # Errors
    ///
    /// Those of `f`, and then nothing is appended. `EMSGSIZE` from `f` means that the buffer is full
    /// ([`Fit::Full`]), unless the message is the first one: then no buffer is large enough for it.
    pub(crate) fn message(
        &mut self,
        cmd: u8,
        f: impl FnOnce(&mut Body) -> Result,
    ) -> Result<Fit, Refusal> {
        // SAFETY: By the type invariant.
        let info = unsafe { self.info.as_ref() };
        // SAFETY: By the type invariant.
        let first = unsafe { self.skb.as_ref() }.len == 0;
        // SAFETY: `skb` is valid, and so is the family of the request.
        let header = unsafe {
            bindings::genlmsg_put(
                self.skb.as_ptr(),
                info.snd_portid,
                info.snd_seq,
                info.family,
                bindings::NLM_F_MULTI as c_int,
                cmd,
            )
        };
        let result = match NonNull::new(header) {
            None => Err(EMSGSIZE),
            Some(header) => {
                // INVARIANT: `header` is that of the message just begun in `skb`.
                let mut body = Body {
                    skb: self.skb,
                    header,
                };
                let result = f(&mut body);
                if result.is_ok() {
                    body.end();
                } else {
                    body.cancel();
                }
                result
            }
        };
        match result {
            Ok(()) => Ok(Fit::Added),
            Err(e) if e == EMSGSIZE && !first => {
                self.full = true;
                Ok(Fit::Full)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the task that is receiving the dump holds `cap` in the initial user namespace, *and*
    /// whoever opened the socket did.
    pub(crate) fn capable(&self, cap: Capability) -> bool {
        // SAFETY: By the type invariant; the request is kept until the dump is over.
        unsafe { bindings::netlink_capable((*self.cb.as_ptr()).skb, cap.as_raw()) }
    }
}

/// A message that attributes are put into.
///
/// All methods that put something fail with `EMSGSIZE` if it does not fit; the message is as it was
/// before then. None sleeps.
///
/// # Invariants
///
/// `skb` is a valid buffer whose last message begins at `header`.
pub(crate) struct Body {
    skb: NonNull<bindings::sk_buff>,
    header: NonNull<c_void>,
}

impl Body {
    fn end(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::genlmsg_end(self.skb.as_ptr(), self.header.as_ptr()) };
    }

    fn cancel(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::genlmsg_cancel(self.skb.as_ptr(), self.header.as_ptr()) };
    }

    /// Puts bytes.
    pub(crate) fn put_bytes(&mut self, id: u16, value: &[u8]) -> Result {
        if value.len() > NLA_PAYLOAD_MAX {
            return Err(EMSGSIZE);
        }
        let len = c_int::try_from(value.len()).map_err(|_| EMSGSIZE)?;
        // SAFETY: `skb` is valid by the type invariant; `value` is valid for reads of its length.
        to_result(unsafe {
            bindings::nla_put(self.skb.as_ptr(), id.into(), len, value.as_ptr().cast())
        })
    }

    /// Puts a `u32`.
    pub(crate) fn put_u32(&mut self, id: u16, value: u32) -> Result {
        self.put_bytes(id, &value.to_ne_bytes())
    }

    /// Puts a `u64` of 8 bytes, preceded by an empty attribute `pad` where it takes that to align
    /// it to 8 bytes.
    pub(crate) fn put_u64(&mut self, id: u16, value: u64, pad: u16) -> Result {
        // SAFETY: `skb` is valid by the type invariant; `value` is valid for reads of 8 bytes.
        to_result(unsafe {
            bindings::nla_put_64bit(
                self.skb.as_ptr(),
                id.into(),
                8,
                (&raw const value).cast(),
                pad.into(),
            )
        })
    }

    /// Puts a string with its terminating NUL.
    pub(crate) fn put_str(&mut self, id: u16, value: &CStr) -> Result {
        self.put_bytes(id, value.to_bytes_with_nul())
    }

    /// Puts an attribute that holds what `f` puts. If `f` fails, nothing is put.
    pub(crate) fn nest(&mut self, id: u16, f: impl FnOnce(&mut Self) -> Result) -> Result {
        // SAFETY: `skb` is valid by the type invariant.
        let start = unsafe { bindings::nla_nest_start(self.skb.as_ptr(), id.into()) };
        if start.is_null() {
            return Err(EMSGSIZE);
        }
        if let Err(e) = f(self) {
            // SAFETY: `start` is where the nest begins in `skb`.
            unsafe { bindings::nla_nest_cancel(self.skb.as_ptr(), start) };
            return Err(e);
        }
        // SAFETY: `start` is where the nest begins in `skb`.
        to_result(unsafe { bindings::nla_nest_end(self.skb.as_ptr(), start) })
    }
}

/// A message with a buffer of its own.
///
/// # Invariants
///
/// The buffer of `body` belongs to this object.
#[must_use = "a message does nothing before it is sent"]
pub(crate) struct Message<T: Server> {
    body: Body,
    portid: u32,
    _server: PhantomData<fn() -> T>,
}

impl<T: Server> Message<T> {
    fn new(portid: u32, seq: u32, cmd: u8, size: usize, flags: Flags) -> Result<Self> {
        // The flags' bits are private to the `kernel` crate. Not to sleep is always allowed.
        let flags = if flags == GFP_KERNEL {
            bindings::GFP_KERNEL
        } else {
            bindings::GFP_ATOMIC
        };
        let family = T::family().family.as_raw();
        // SAFETY: No requirements.
        let skb = NonNull::new(unsafe { bindings::genlmsg_new(size, flags) }).ok_or(ENOMEM)?;
        // SAFETY: `skb` and the family are valid.
        let header = unsafe { bindings::genlmsg_put(skb.as_ptr(), portid, seq, family, 0, cmd) };
        let Some(header) = NonNull::new(header) else {
            // SAFETY: The buffer is ours.
            unsafe { bindings::nlmsg_free(skb.as_ptr()) };
            return Err(ENOMEM);
        };
        // INVARIANT: The message was begun above, in a buffer that is ours.
        Ok(Self {
            body: Body { skb, header },
            portid,
            _server: PhantomData,
        })
    }

    /// Finishes the message and gives its buffer away.
    fn into_skb(self) -> NonNull<bindings::sk_buff> {
        let mut me = core::mem::ManuallyDrop::new(self);
        me.body.end();
        me.body.skb
    }

    /// Sends a reply to whoever sent the request. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the receiver's buffer is full, `ECONNREFUSED` if it is gone, `EPERM` for a
    /// message that was not made by [`Request::reply`].
    pub(crate) fn send(self) -> Result {
        let portid = self.portid;
        if portid == 0 {
            return Err(EPERM);
        }
        let skb = self.into_skb();
        // SAFETY: `skb` is ours to give.
        to_result(unsafe { bindings::genlmsg_unicast_init_net(skb.as_ptr(), portid) })
    }

    /// Sends the message to all who listen to the group, which is an index into
    /// [`Server::GROUPS`]. Does not sleep. That nobody listens is no error.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such group, `ESHUTDOWN` if the family is not registered, `ENOBUFS`
    /// if a listener has missed the message.
    pub(crate) fn multicast(self, group: usize) -> Result {
        if group >= T::GROUPS.len() {
            return Err(EINVAL);
        }
        let group = c_uint::try_from(group).map_err(|_| EINVAL)?;
        let family = T::family();
        let guard = rcu::read_lock();
        if family.server.read(&guard).is_none() {
            return Err(ESHUTDOWN);
        }
        let skb = self.into_skb();
        // SAFETY: `skb` is ours to give; the family is registered, and stays so until the guard is
        // released: see `Registration`. `GFP_ATOMIC` does not sleep.
        let sent = to_result(unsafe {
            bindings::genlmsg_multicast(
                family.family.as_raw(),
                skb.as_ptr(),
                0,
                group,
                bindings::GFP_ATOMIC,
            )
        });
        match sent {
            Err(e) if e == ESRCH => Ok(()),
            other => other,
        }
    }
}

impl<T: Server> Deref for Message<T> {
    type Target = Body;

    fn deref(&self) -> &Body {
        &self.body
    }
}

impl<T: Server> DerefMut for Message<T> {
    fn deref_mut(&mut self) -> &mut Body {
        &mut self.body
    }
}

impl<T: Server> Drop for Message<T> {
    fn drop(&mut self) {
        // SAFETY: The buffer is ours by the type invariant.
        unsafe { bindings::nlmsg_free(self.body.skb.as_ptr()) };
    }
}

/// The existence of a family. Dropping it waits for the handlers that run, and sleeps.
///
/// Make it the last thing that a module does when it is loaded: requests come in at once, and those
/// who make a dump hold a reference to the module, which a failing load does not wait for.
///
/// # Invariants
///
/// The family of `T` is registered, with the tables that this owns, and with its `server` set from
/// before until a grace period before it is unregistered.
pub(crate) struct Registration<T: Server> {
    /// `None` only in a registration that is being made.
    registered: Option<netlink::Registration>,
    /// Owned for the core, which reads it while the family is registered.
    _operations: KVec<bindings::genl_split_ops>,
    _server: PhantomData<Arc<T>>,
}

// SAFETY: The pointers in the tables are to static data. Any task may unregister a family.
unsafe impl<T: Server> Send for Registration<T> {}
// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: Server> Sync for Registration<T> {}

impl<T: Server> Registration<T> {
    /// Registers the family of `T`, to be served by `server`. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is registered already, `EEXIST` if another family has its name, `EINVAL` if
    /// the commands are not in order, `ENOMEM`.
    pub(crate) fn new(server: Arc<T>) -> Result<Self> {
        let mut operations = KVec::with_capacity(T::COMMANDS.len(), GFP_KERNEL)?;
        for command in T::COMMANDS {
            operations.push(Self::operation(command)?, GFP_KERNEL)?;
        }
        let in_order = T::COMMANDS
            .iter()
            .zip(T::COMMANDS.iter().skip(1))
            .all(|(a, b)| a.id < b.id || (a.id == b.id && !a.is_dump() && b.is_dump()));
        if !in_order {
            return Err(EINVAL);
        }
        let n_split_ops = u8::try_from(operations.len()).map_err(|_| EINVAL)?;
        let n_mcgrps = u8::try_from(T::GROUPS.len()).map_err(|_| EINVAL)?;

        let family = T::family();
        if family.claimed.xchg(true, Full) {
            return Err(EBUSY);
        }
        // From here on, dropping `this` undoes everything.
        let mut this = Self {
            registered: None,
            _operations: operations,
            _server: PhantomData,
        };
        family.server.set(server)?;
        let raw = family.family.as_raw();
        // SAFETY: The family is valid and not registered, and claimed by this call; see the type
        // invariant of `Family`. The tables live as long as `this`.
        unsafe {
            (*raw).set_netnsok(0);
            (*raw).split_ops = this._operations.as_ptr();
            (*raw).n_split_ops = n_split_ops;
            // CAST: `Group` is a transparent wrapper.
            (*raw).mcgrps = T::GROUPS.as_ptr().cast();
            (*raw).n_mcgrps = n_mcgrps;
        }
        // INVARIANT: The server and the tables have been set.
        this.registered = Some(family.family.register()?);
        Ok(this)
    }

    fn operation(command: &Command<T>) -> Result<bindings::genl_split_ops> {
        let policy = if command.policy.is_empty() {
            &NO_ATTRIBUTES[..]
        } else {
            command.policy
        };
        let mut operation = bindings::genl_split_ops {
            // CAST: `Attr` is a transparent wrapper.
            policy: policy.as_ptr().cast(),
            maxattr: c_uint::try_from(command.max_attr()).map_err(|_| EINVAL)?,
            cmd: command.id,
            ..Default::default()
        };
        let flags;
        if command.is_dump() {
            flags = bindings::GENL_CMD_CAP_DUMP;
            operation.__bindgen_anon_1.__bindgen_anon_2 =
                bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_2 {
                    dumpit: Some(Self::dumpit),
                    ..Default::default()
                };
        } else {
            flags = bindings::GENL_CMD_CAP_DO;
            operation.__bindgen_anon_1.__bindgen_anon_1 =
                bindings::genl_split_ops__bindgen_ty_1__bindgen_ty_1 {
                    doit: Some(Self::doit),
                    ..Default::default()
                };
        }
        operation.flags = kind(flags);
        Ok(operation)
    }

    fn find(id: u8, dump: bool) -> Result<&'static Command<T>> {
        T::COMMANDS
            .iter()
            .find(|c| c.id == id && c.is_dump() == dump)
            .ok_or(EOPNOTSUPP)
    }

    /// # Safety
    ///
    /// The arguments are those of a `doit` callback of the family of `T`.
    unsafe extern "C" fn doit(
        skb: *mut bindings::sk_buff,
        info: *mut bindings::genl_info,
    ) -> c_int {
        let (Some(skb), Some(info)) = (NonNull::new(skb), NonNull::new(info)) else {
            return EINVAL.to_errno();
        };
        // SAFETY: By the safety requirements.
        let id = unsafe { (*info.as_ref().genlhdr).cmd };
        let command = match Self::find(id, false) {
            Ok(command) => command,
            Err(e) => return e.to_errno(),
        };
        // SAFETY: By the safety requirements, and `command` is what the core has parsed for.
        let attributes = unsafe { Attributes::new(info.as_ptr(), command) };
        // INVARIANT: By the safety requirements.
        let request = Request {
            skb,
            info,
            attributes,
        };
        match Self::act(command, &request) {
            Ok(()) => 0,
            // SAFETY: `info` is live, and `attributes` are those of the request.
            Err(refusal) => unsafe { refusal.report(info.as_ptr(), &attributes) },
        }
    }

    fn act(command: &Command<T>, request: &Request<'_>) -> Result<(), Refusal> {
        let server = T::family().server.get().ok_or(ESHUTDOWN)?;
        match command.handler {
            Handler::Action(f) => f(server.as_arc_borrow(), request),
            Handler::Dumper(_) => Err(EOPNOTSUPP.into()),
        }
    }

    /// # Safety
    ///
    /// The arguments are those of a `dumpit` callback of the family of `T`.
    unsafe extern "C" fn dumpit(
        skb: *mut bindings::sk_buff,
        cb: *mut bindings::netlink_callback,
    ) -> c_int {
        let (Some(skb), Some(cb)) = (NonNull::new(skb), NonNull::new(cb)) else {
            return EINVAL.to_errno();
        };
        // SAFETY: By the safety requirements; the core keeps its `genl_dumpit_info` in `data`.
        let info = unsafe {
            let dumpit_info = cb.as_ref().data.cast::<bindings::genl_dumpit_info>();
            NonNull::new_unchecked(&raw mut (*dumpit_info).info)
        };
        // SAFETY: By the safety requirements.
        let id = unsafe { (*info.as_ref().genlhdr).cmd };
        let command = match Self::find(id, true) {
            Ok(command) => command,
            Err(e) => return e.to_errno(),
        };
        // SAFETY: By the safety requirements, and `command` is what the core has parsed for.
        let attributes = unsafe { Attributes::new(info.as_ptr(), command) };
        // INVARIANT: By the safety requirements.
        let mut dump = Dump {
            skb,
            cb,
            info,
            attributes,
            full: false,
        };
        // SAFETY: The callback's scratch space belongs to the family, and is all bytes; it begins as
        // zeroes, and nothing but this function uses it.
        let scratch = unsafe { &mut (*cb.as_ptr()).__bindgen_anon_1.ctx };
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = scratch;
        let bytes = [b0, b1, b2, b3, b4, b5, b6, b7];
        let mut cursor = u64::from_ne_bytes(bytes.each_ref().map(|b| **b));
        let result = Self::continue_dump(command, &mut dump, &mut cursor);
        for (to, from) in bytes.into_iter().zip(cursor.to_ne_bytes()) {
            *to = from;
        }
        match result {
            // Positive: there is more. Zero: that was all.
            Ok(()) if dump.full => {
                // SAFETY: `skb` is valid.
                let len = unsafe { skb.as_ref() }.len;
                c_int::try_from(len).unwrap_or(c_int::MAX)
            }
            Ok(()) => 0,
            // SAFETY: `info` is live, and `attributes` are those of the request.
            Err(refusal) => unsafe { refusal.report(info.as_ptr(), &attributes) },
        }
    }

    fn continue_dump(
        command: &Command<T>,
        dump: &mut Dump<'_>,
        cursor: &mut u64,
    ) -> Result<(), Refusal> {
        let server = T::family().server.get().ok_or(ESHUTDOWN)?;
        match command.handler {
            Handler::Dumper(f) => f(server.as_arc_borrow(), dump, cursor),
            Handler::Action(_) => Err(EOPNOTSUPP.into()),
        }
    }
}

impl<T: Server> Drop for Registration<T> {
    fn drop(&mut self) {
        // First, so that nobody multicasts to a group that is no more: this waits for those who do.
        // Requests from now on get `ESHUTDOWN`.
        let server = T::family().server.take();
        // Waits for handlers of requests. A dump that goes on later finds no server.
        self.registered = None;
        drop(server);
        T::family().claimed.store(false, Release);
    }
}
