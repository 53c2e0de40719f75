// SPDX-License-Identifier: GPL-2.0

//! The ledger: the node's vector clock, the causal chain, and the ring of recent events.

use crate::{
    abi::{
        clock,
        random,
        sha256,
        trace, //
    },
    engine::{
        clock::{
            first_number,
            Chain,
            NodeClock,
            SecureVectorClock,
            NODE_SLOT,
            NO_HEAD, //
        },
        event::{
            Header,
            Kind,
            Payload,
            HEADER_LEN, //
        },
        limits,
        op::Op,
        policy::Adaptive,
        refusal::Refusal,
        watch::{
            Rules,
            Turn,
            Watch, //
        },
        wire::Digest, //
    },
    limiter::Limiter, //
};
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// The kernel's SHA-256, for the engine.
pub(crate) struct KernelDigest;

impl Digest for KernelDigest {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        sha256::digest(parts)
    }
}

/// What an event says, without what the ledger adds: number, times, and the length of the payload.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// See "Event and causal chain" in `Documentation/wire-format.rst`.
    pub(crate) kind: Kind,
    /// Operation, if it concerns one.
    pub(crate) op: Option<Op>,
    /// Effective user, initial user namespace.
    pub(crate) uid: u32,
    /// Agent, 0 when none.
    pub(crate) agent: u64,
    /// Request, zeros when none.
    pub(crate) request: [u8; 32],
    /// Validator, 0 when none.
    pub(crate) slot: u16,
    /// Depends on the kind.
    pub(crate) result: u16,
    /// Line of the rule, 0 when none.
    pub(crate) line: u32,
    /// Payload, cut at [`limits::EVENT_PAYLOAD`].
    pub(crate) payload: &'a [u8],
}

impl Entry<'_> {
    /// An event of that kind that concerns nobody in particular.
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            op: None,
            uid: 0,
            agent: 0,
            request: [0; 32],
            slot: 0,
            result: 0,
            line: 0,
            payload: &[],
        }
    }
}

/// Where a reader of the ring stands: an offset that only grows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cursor(u64);

/// What a reader of the ring finds.
pub(crate) enum Next {
    /// Nothing more yet.
    End,
    /// An event was copied; the chain's head after it, and where the next one is.
    Event {
        /// Number of the event.
        number: u64,
        /// Head of the chain after it.
        chain: [u8; 32],
        /// Bytes copied.
        len: usize,
        /// Where to go on.
        next: Cursor,
    },
    /// The buffer has less than this many bytes.
    TooSmall,
}

/// The history of this load.
pub(crate) struct Ledger {
    own: KBox<SecureVectorClock>,
    /// Whether it is known what the load goes on from. Until then nothing can be recorded.
    begun: bool,
    ring: Ring,
    /// Keeps one sender from flooding the ring.
    pub(crate) limiter: Limiter,
    /// Keeps one user from having signatures verified without end. A table of its own: nothing
    /// else that anybody does makes it forget.
    pub(crate) voters: Limiter,
    /// Whether thresholds are raised, and what each validator has done to its reputation. It follows
    /// from the events alone.
    pub(crate) watch: KBox<Watch>,
    /// What the policy says about raising thresholds.
    adaptive: Adaptive,
}

impl Ledger {
    /// A ledger that has yet to begin.
    // Not part of the stack frame that the module is loaded in.
    #[inline(never)]
    pub(crate) fn new(node: &[u8; 32]) -> Result<Self, AllocError> {
        Ok(Self {
            own: new_own(node)?,
            begun: false,
            ring: Ring::new(limits::EVENT_RING)?,
            limiter: Limiter::new()?,
            voters: Limiter::new()?,
            watch: new_watch()?,
            adaptive: Adaptive::DEFAULT,
        })
    }

    /// Begins the history of a load: `epoch` says where its numbers start, and `previous` and
    /// `clock` what it goes on from. Forgets what was recorded before.
    pub(crate) fn begin(
        &mut self,
        node: &[u8; 32],
        epoch: u64,
        previous: &[u8; 32],
        clock: &NodeClock,
    ) {
        self.own.logical_time.copy_from(clock);
        // The clock of a node has the node's slot.
        let _ = self.own.logical_time.set(NODE_SLOT, first_number(epoch));
        self.own.causal_chain = Chain::new::<KernelDigest>(node, epoch, previous);
        self.ring.clear();
        self.watch.clear();
        self.adaptive = Adaptive::DEFAULT;
        self.begun = true;
    }

    /// Notes the MAC of the state that was committed last.
    pub(crate) fn sign(&mut self, mac: &[u8; 32]) {
        self.own.signature = *mac;
    }

    /// Clock, name, chain, and the MAC of the last committed state.
    pub(crate) fn own(&self) -> &SecureVectorClock {
        &self.own
    }

    /// The node's clock.
    pub(crate) fn clock(&self) -> &NodeClock {
        &self.own.logical_time
    }

    /// Raises a validator's entry to that of a vote which has been accepted.
    pub(crate) fn hear(&mut self, slot: u16, value: u64) {
        // The slots of the electorate are slots of the clock.
        let _ = self.own.logical_time.set(slot, value);
    }

    /// Head of the chain.
    pub(crate) fn head(&self) -> &[u8; 32] {
        self.own.causal_chain.head()
    }

    /// Number of the last event, which is the node's own entry; 0 when there is none.
    pub(crate) fn number(&self) -> u64 {
        self.own.logical_time.get(NODE_SLOT)
    }

    /// Number of the oldest event in the ring.
    pub(crate) fn oldest(&self) -> u64 {
        self.number()
            .saturating_add(1)
            .saturating_sub(self.ring.count)
    }

    /// Records every alert that starts or ends by now, each with the windows that are drawn for the
    /// time after it, and returns their stamp: milliseconds since boot. An event that waits for the
    /// watch ([`Kind::awaits_watch`]) has the same stamp.
    ///
    /// Context: any process context; does not sleep or allocate.
    pub(crate) fn catch_up(&mut self) -> u64 {
        let stamp = clock::boottime_ms();
        while let Some(turn) = self.watch.due(stamp) {
            let (kind, reason) = match turn {
                Turn::Alert(reason) => (Kind::Alert, reason),
                Turn::Calm(reason) => (Kind::Calm, reason),
            };
            let entry = Entry {
                result: reason as u16,
                ..Entry::new(kind)
            };
            let number = self.append_at(&entry, stamp);
            self.watch.turn(turn, number, stamp);
            trace::alert(reason as u32, kind == Kind::Alert, number);
            self.draw(stamp);
        }
        stamp
    }

    /// Goes by what a policy says about raising thresholds, from directly after its POLICY event.
    pub(crate) fn adapt(&mut self, adaptive: Adaptive) {
        self.adaptive = adaptive;
        self.draw(clock::boottime_ms());
    }

    /// Draws the windows that hold from now on: nobody can time an attack to their edges.
    fn draw(&mut self, stamp_ms: u64) {
        let random = core::array::from_fn(|_| {
            let mut bytes = [0; 4];
            random::fill(&mut bytes);
            u32::from_ne_bytes(bytes)
        });
        let rules = Rules::draw(&self.adaptive, random);
        let mut payload = [0; Rules::LEN];
        self.append_at(
            &Entry {
                payload: encoded(&Payload::Watch(rules), &mut payload),
                ..Entry::new(Kind::Watch)
            },
            stamp_ms,
        );
        self.watch.rules(rules);
    }

    /// Records an event: ticks the clock, extends the chain, and writes to the ring. Returns the
    /// event's number, 0 before the ledger has begun.
    ///
    /// Context: any process context; does not sleep or allocate.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> u64 {
        let stamp = if entry.kind.awaits_watch() {
            self.catch_up()
        } else {
            clock::boottime_ms()
        };
        self.append_at(entry, stamp)
    }

    /// [`Ledger::append`] at a stamp, in milliseconds since boot, that was taken under the same hold
    /// of the lock; for a kind that waits for the watch, that of [`Ledger::catch_up`] just before.
    pub(crate) fn append_at(&mut self, entry: &Entry<'_>, stamp_ms: u64) -> u64 {
        if !self.begun {
            return 0;
        }
        let payload = entry
            .payload
            .get(..limits::EVENT_PAYLOAD)
            .unwrap_or(entry.payload);
        // The entry saturates after 2^64 - 1 events; at a billion a second that is 584 years.
        let number = self.own.logical_time.tick(NODE_SLOT).unwrap_or(u64::MAX);
        let mut header = [0; HEADER_LEN];
        let fields = Header {
            number,
            boot_ms: stamp_ms,
            wall_ms: clock::realtime_ms(),
            kind: entry.kind,
            op: entry.op,
            uid: entry.uid,
            agent: entry.agent,
            request: entry.request,
            slot: entry.slot,
            result: entry.result,
            line: entry.line,
        };
        // The fields come from the module's own code; a value that the format does not allow would be
        // a defect, and leaves zeros, which no reader takes for an event.
        if fields.encode(payload.len(), &mut header).is_err() {
            pr_err!("event {} does not fit its format\n", entry.kind.name());
        }
        self.own
            .causal_chain
            .extend::<KernelDigest>(&header, payload);
        self.ring
            .push(self.own.causal_chain.head(), &header, payload);
        self.observe(entry, stamp_ms);
        number
    }

    /// Lets the watch see a vote.
    fn observe(&mut self, entry: &Entry<'_>, stamp_ms: u64) {
        match entry.kind {
            Kind::Vote => self.watch.voted(entry.slot, &entry.request, stamp_ms),
            Kind::VoteRefused => {
                if let Some(refusal) = Refusal::from_code(entry.result) {
                    self.watch.refused(refusal, stamp_ms);
                }
            }
            _ => {}
        }
    }

    /// Copies the event at `cursor`, or the oldest one when that has left the ring.
    pub(crate) fn read(&self, cursor: Cursor, out: &mut [u8]) -> Next {
        self.ring.read(cursor, self.oldest(), out)
    }

    /// Where the next event will be.
    pub(crate) fn end(&self) -> Cursor {
        Cursor(self.ring.head)
    }

    /// Where event `number` is; the oldest when it has left the ring.
    pub(crate) fn seek(&self, number: u64) -> Cursor {
        self.ring.seek(number.saturating_sub(self.oldest()))
    }
}

/// A history that has yet to begin, on the heap.
#[inline(never)]
fn new_own(node: &[u8; 32]) -> Result<KBox<SecureVectorClock>, AllocError> {
    let own = SecureVectorClock::new::<KernelDigest>(node, 0, &NO_HEAD);
    KBox::new(own, GFP_KERNEL)
}

/// A watch without rules, on the heap.
#[inline(never)]
fn new_watch() -> Result<KBox<Watch>, AllocError> {
    KBox::new(Watch::new().map_err(|_| AllocError)?, GFP_KERNEL)
}

/// A clock at zero, on the heap without having been on the stack.
pub(crate) fn new_clock() -> Result<KBox<NodeClock>, AllocError> {
    KBox::new(NodeClock::new(), GFP_KERNEL)
}

/// Encodes a payload that fits; an empty one when it does not, which no decoder takes.
pub(crate) fn encoded<'a>(payload: &Payload<'_>, out: &'a mut [u8]) -> &'a [u8] {
    let len = payload.encode(out).unwrap_or(0);
    out.get(..len).unwrap_or(&[])
}

/// Bytes before each event in the ring: its length and the chain's head after it.
const PREFIX: usize = 4 + 32;

/// A ring of bytes. Offsets only grow; the byte at offset *n* is at *n* modulo the size.
struct Ring {
    bytes: KVVec<u8>,
    /// Offset of the oldest record.
    tail: u64,
    /// Offset after the newest record.
    head: u64,
    /// Records from `tail` to `head`.
    count: u64,
}

impl Ring {
    fn new(size: usize) -> Result<Self, AllocError> {
        Ok(Self {
            bytes: KVVec::from_elem(0, size, GFP_KERNEL)?,
            tail: 0,
            head: 0,
            count: 0,
        })
    }

    /// Index in `bytes` of an offset.
    fn index(&self, offset: u64) -> usize {
        let size = self.bytes.len() as u64;
        (offset % size.max(1)) as usize
    }

    /// Writes `data` at an offset, going round the end.
    fn write(&mut self, offset: u64, data: &[u8]) {
        let at = self.index(offset);
        let room = self.bytes.len() - at;
        let (front, back) = data.split_at_checked(room).unwrap_or((data, &[]));
        if let Some(to) = self.bytes.get_mut(at..at + front.len()) {
            to.copy_from_slice(front);
        }
        if let Some(to) = self.bytes.get_mut(..back.len()) {
            to.copy_from_slice(back);
        }
    }

    /// Reads into `out` from an offset.
    fn copy(&self, offset: u64, out: &mut [u8]) {
        let at = self.index(offset);
        let room = (self.bytes.len() - at).min(out.len());
        let (front, back) = out.split_at_mut(room);
        if let Some(from) = self.bytes.get(at..at + front.len()) {
            front.copy_from_slice(from);
        }
        if let Some(from) = self.bytes.get(..back.len()) {
            back.copy_from_slice(from);
        }
    }

    /// Length of the event in the record at an offset.
    fn len_at(&self, offset: u64) -> usize {
        let mut len = [0; 4];
        self.copy(offset, &mut len);
        u32::from_ne_bytes(len) as usize
    }

    /// Bytes of the record at an offset.
    fn record_at(&self, offset: u64) -> u64 {
        (PREFIX + self.len_at(offset)) as u64
    }

    /// Appends a record, making room by forgetting the oldest ones.
    fn push(&mut self, chain: &[u8; 32], header: &[u8; HEADER_LEN], payload: &[u8]) {
        let len = header.len() + payload.len();
        let need = (PREFIX + len) as u64;
        while self.count > 0 && self.head + need - self.tail > self.bytes.len() as u64 {
            self.tail += self.record_at(self.tail);
            self.count -= 1;
        }
        let mut at = self.head;
        for part in [&(len as u32).to_ne_bytes()[..], chain, header, payload] {
            self.write(at, part);
            at += part.len() as u64;
        }
        self.head = at;
        self.count += 1;
    }

    /// Forgets all records. Cursors stay valid.
    fn clear(&mut self) {
        self.tail = self.head;
        self.count = 0;
    }

    fn read(&self, cursor: Cursor, oldest: u64, out: &mut [u8]) -> Next {
        let at = cursor.0.max(self.tail);
        if at >= self.head {
            return Next::End;
        }
        let len = self.len_at(at);
        let Some(out) = out.get_mut(..len) else {
            return Next::TooSmall;
        };
        let mut chain = [0; 32];
        self.copy(at + 4, &mut chain);
        self.copy(at + PREFIX as u64, out);
        // The number stands in the event itself, behind the magic.
        let number = out
            .get(8..16)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(oldest, u64::from_be_bytes);
        Next::Event {
            number,
            chain,
            len,
            next: Cursor(at + (PREFIX + len) as u64),
        }
    }

    /// The record `skip` after the oldest.
    fn seek(&self, skip: u64) -> Cursor {
        let mut at = self.tail;
        for _ in 0..skip.min(self.count) {
            at += self.record_at(at);
        }
        Cursor(at)
    }
}
