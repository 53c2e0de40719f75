// SPDX-License-Identifier: GPL-2.0

//! The generic netlink family `tcp-lsm`.
//!
//! The commands and attributes are those of `Documentation/netlink/specs/tcp-lsm.yaml`. What they do
//! is elsewhere: here are only who may, what comes in, and what goes out.

use crate::{
    abi::{
        capable::Capability,
        clock,
        genetlink::{
            self,
            Attr,
            Attributes,
            Body,
            Command,
            Dump,
            Family,
            Fit,
            Group,
            Message,
            Request,
            Server,
            DEFAULT_SIZE, //
        }, //
    },
    books::Books,
    docket,
    engine::{
        anchor::{
            ANCHOR_INDEX,
            COUNTER_INDEX, //
        },
        byzantine::Fault,
        clock::{
            first_number,
            NodeClock,
            ENTRY_LEN,
            SLOTS, //
        },
        event::{
            Payload,
            Tally,
            HEADER_LEN, //
        },
        governance::{
            Mode,
            KEY_LEN, //
        },
        limits,
        refusal::Refusal,
        reputation,
        request,
        vote::MAX_RECORD,
        watch::Rules,
        wire::Writer, //
    },
    govern::Outcome,
    ledger::{
        encoded,
        Next, //
    },
    node::Node,
    validator::Validator, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::{
        atomic::Relaxed,
        ArcBorrow, //
    }, //
};

/// Attributes, by the numbers of the specification.
mod attr {
    pub(super) const PAD: u16 = 1;
    pub(super) const OUTCOME: u16 = 2;
    pub(super) const REQUEST_ID: u16 = 3;
    pub(super) const REQUEST: u16 = 4;
    pub(super) const REQUEST_STATE: u16 = 5;
    pub(super) const APPROVE: u16 = 6;
    pub(super) const DENY: u16 = 7;
    pub(super) const TOTAL: u16 = 8;
    pub(super) const VOTED: u16 = 9;
    pub(super) const REMAINING_MS: u16 = 10;
    pub(super) const USES_LEFT: u16 = 11;
    pub(super) const VOTE: u16 = 12;
    pub(super) const VALIDATOR_NAME: u16 = 13;
    pub(super) const VALIDATOR_KEY: u16 = 14;
    pub(super) const VALIDATOR_WEIGHT: u16 = 15;
    pub(super) const VALIDATOR_SLOT: u16 = 16;
    pub(super) const VALIDATOR_ID: u16 = 17;
    pub(super) const VOTES_ACCEPTED: u16 = 18;
    pub(super) const AGENT_ID: u16 = 19;
    pub(super) const AGENT_NAME: u16 = 20;
    pub(super) const AGENT_CLASS: u16 = 21;
    pub(super) const AGENT_PARENT: u16 = 22;
    pub(super) const AGENT_DEPTH: u16 = 23;
    pub(super) const AGENT_TASKS: u16 = 24;
    pub(super) const AGENT_UID: u16 = 25;
    pub(super) const AGENT_PID: u16 = 26;
    pub(super) const AGENT_PENDING: u16 = 27;
    pub(super) const AGENT_REFUSED: u16 = 28;
    pub(super) const MODE: u16 = 29;
    pub(super) const PHASE: u16 = 30;
    pub(super) const NODE: u16 = 31;
    pub(super) const EPOCH: u16 = 32;
    pub(super) const BOOT_MS: u16 = 33;
    pub(super) const WALL_MS: u16 = 34;
    pub(super) const CLOCK: u16 = 35;
    pub(super) const CHAIN: u16 = 36;
    pub(super) const EVENT: u16 = 37;
    pub(super) const EVENT_NUMBER: u16 = 38;
    pub(super) const VERSION: u16 = 39;
    pub(super) const COUNTER: u16 = 40;
    pub(super) const HOOK: u16 = 41;
    pub(super) const POLICY_NAME: u16 = 42;
    pub(super) const POLICY_VERSION: u16 = 43;
    pub(super) const POLICY_DIGEST: u16 = 44;
    pub(super) const SEALED_BY: u16 = 45;
    pub(super) const EVENTS_LOST: u16 = 46;
    pub(super) const TPM: u16 = 47;
    pub(super) const TPM_SOFTWARE: u16 = 48;
    pub(super) const NV_COUNTER: u16 = 49;
    pub(super) const NV_ANCHOR: u16 = 50;
    pub(super) const STATE_COUNTER: u16 = 51;
    pub(super) const ANCHOR: u16 = 52;
    pub(super) const ANCHORED_NUMBER: u16 = 53;
    pub(super) const ANCHORED_MS: u16 = 54;
    pub(super) const ANCHOR_INTERVAL: u16 = 55;
    pub(super) const NV_WRITES: u16 = 56;
    pub(super) const NV_WRITES_YEAR: u16 = 57;
    pub(super) const STATE_REASON: u16 = 58;
    pub(super) const STAGED_COUNTER: u16 = 59;
    pub(super) const STATE_DIGEST: u16 = 60;
    pub(super) const PCRS: u16 = 61;
    pub(super) const HELD: u16 = 62;
    pub(super) const THRESHOLD: u16 = 63;
    pub(super) const QUARANTINED: u16 = 64;
    pub(super) const EVIDENCE: u16 = 65;
    pub(super) const FAULT: u16 = 66;
    pub(super) const REPUTATION: u16 = 67;
    pub(super) const BIAS: u16 = 68;
    pub(super) const AGREED: u16 = 69;
    pub(super) const DISAGREED: u16 = 70;
    pub(super) const TIMING: u16 = 71;
    pub(super) const TIMING_SLOT: u16 = 72;
    pub(super) const UNHEARD: u16 = 73;
    pub(super) const HEARD_MS: u16 = 74;
    pub(super) const ALERT: u16 = 75;
    pub(super) const ALERT_ENDS_MS: u16 = 76;
    pub(super) const WATCH: u16 = 77;
    pub(super) const UNHEARD_WEIGHT: u16 = 78;
    pub(super) const FLOOR: u16 = 79;
    pub(super) const TRUST: u16 = 80;

    /// In the nest of a counter.
    pub(super) const COUNTER_NAME: u16 = 1;
    /// In the nest of a counter.
    pub(super) const COUNTER_VALUE: u16 = 2;
}

/// Commands, by the numbers of the specification.
mod command {
    pub(super) const STATUS: u8 = 1;
    pub(super) const VALIDATOR_ADD: u8 = 2;
    pub(super) const VALIDATOR_REMOVE: u8 = 3;
    pub(super) const VALIDATOR_GET: u8 = 4;
    pub(super) const SEAL: u8 = 5;
    pub(super) const MODE_SET: u8 = 6;
    pub(super) const UNLOAD: u8 = 7;
    pub(super) const AGENT_LABEL: u8 = 8;
    pub(super) const AGENT_GET: u8 = 9;
    pub(super) const REQUEST_GET: u8 = 10;
    pub(super) const REQUEST_CANCEL: u8 = 11;
    pub(super) const VOTE_SUBMIT: u8 = 12;
    pub(super) const GRANT_GET: u8 = 13;
    pub(super) const GRANT_REVOKE: u8 = 14;
    pub(super) const EVENT_GET: u8 = 15;
    pub(super) const EVENT: u8 = 16;
    pub(super) const STATE_STAGE: u8 = 17;
    pub(super) const STATE_COMMIT: u8 = 18;
    pub(super) const STATE_DISCARD: u8 = 19;
    pub(super) const STATE_RECOVER: u8 = 20;
    pub(super) const EVIDENCE_SUBMIT: u8 = 21;
    pub(super) const EVIDENCE_GET: u8 = 22;
    pub(super) const VALIDATOR_READMIT: u8 = 23;
}

/// The highest attribute number.
const ATTRS: usize = attr::TRUST as usize;

/// A table of what a command takes: nothing but the entries given.
macro_rules! policy {
    ($($id:expr => $attr:expr),* $(,)?) => {{
        const POLICY: [Attr; ATTRS + 1] = {
            #[allow(unused_mut, reason = "some commands take nothing")]
            let mut policy = [Attr::REFUSED; ATTRS + 1];
            $(policy[$id as usize] = $attr;)*
            policy
        };
        &POLICY
    }};
}

/// Index of the multicast group in [`Server::GROUPS`].
const EVENTS: usize = 0;

/// Room for what a status message has besides counters and hooks.
const STATUS_SIZE: usize = 16 << 10;

// Lengths in the tables are `u16`.
const NAME_LEN: u16 = limits::NAME as u16;
const RECORD_LEN: u16 = MAX_RECORD as u16;
const EVIDENCE_LEN: u16 = limits::EVIDENCE as u16;
const POINT_LEN: u16 = KEY_LEN as u16;
const _: () = assert!(MAX_RECORD < 0x7fff && limits::EVIDENCE < 0x7fff);

impl Server for Node {
    const NAME: &'static CStr = c"tcp-lsm";
    const VERSION: u8 = 1;
    const GROUPS: &'static [Group] = &[Group::privileged(c"events")];
    const COMMANDS: &'static [Command<Self>] = &[
        Command::action(command::STATUS, policy!(), status),
        Command::action(
            command::VALIDATOR_ADD,
            policy!(
                attr::VALIDATOR_NAME => Attr::string(NAME_LEN),
                attr::VALIDATOR_KEY => Attr::bytes_exact(POINT_LEN),
                attr::VALIDATOR_WEIGHT => Attr::u32(),
            ),
            validator_add,
        ),
        Command::action(
            command::VALIDATOR_REMOVE,
            policy!(attr::VALIDATOR_NAME => Attr::string(NAME_LEN)),
            validator_remove,
        ),
        Command::dump(command::VALIDATOR_GET, policy!(), validator_get),
        Command::action(command::SEAL, policy!(), seal),
        Command::action(
            command::MODE_SET,
            policy!(attr::MODE => Attr::u32()),
            mode_set,
        ),
        Command::action(command::UNLOAD, policy!(), unload),
        Command::action(
            command::AGENT_LABEL,
            policy!(
                attr::AGENT_NAME => Attr::string(NAME_LEN),
                attr::AGENT_CLASS => Attr::string(NAME_LEN),
            ),
            agent_label,
        ),
        Command::dump(command::AGENT_GET, policy!(), agent_get),
        Command::action(
            command::REQUEST_GET,
            policy!(attr::REQUEST_ID => Attr::bytes_exact(32)),
            request_get,
        ),
        Command::dump(command::REQUEST_GET, policy!(), request_dump),
        Command::action(
            command::REQUEST_CANCEL,
            policy!(attr::REQUEST_ID => Attr::bytes_exact(32)),
            request_cancel,
        ),
        Command::action(
            command::VOTE_SUBMIT,
            policy!(attr::VOTE => Attr::bytes(0, RECORD_LEN)),
            vote_submit,
        ),
        Command::dump(command::GRANT_GET, policy!(), grant_get),
        Command::action(
            command::GRANT_REVOKE,
            policy!(attr::REQUEST_ID => Attr::bytes_exact(32)),
            grant_revoke,
        ),
        Command::dump(
            command::EVENT_GET,
            policy!(attr::EVENT_NUMBER => Attr::u64()),
            event_get,
        ),
        Command::action(command::STATE_STAGE, policy!(), state_stage),
        Command::action(
            command::STATE_COMMIT,
            policy!(attr::STATE_DIGEST => Attr::bytes_exact(32)),
            state_commit,
        ),
        Command::action(command::STATE_DISCARD, policy!(), state_discard),
        Command::action(command::STATE_RECOVER, policy!(), state_recover),
        Command::action(
            command::EVIDENCE_SUBMIT,
            policy!(attr::EVIDENCE => Attr::bytes(0, EVIDENCE_LEN)),
            evidence_submit,
        ),
        Command::dump(command::EVIDENCE_GET, policy!(), evidence_get),
        Command::action(
            command::VALIDATOR_READMIT,
            policy!(attr::VALIDATOR_NAME => Attr::string(NAME_LEN)),
            validator_readmit,
        ),
    ];

    fn family() -> &'static Family<Self> {
        static FAMILY: Family<Node> =
            Family::new(kernel::module::this_module::<crate::LocalModule>());
        &FAMILY
    }
}

type Answer = Result<(), genetlink::Refusal>;

/// A refusal as netlink reports it.
fn refuse(refusal: Refusal) -> genetlink::Refusal {
    genetlink::Refusal::new(Error::from_errno(-refusal.errno()), refusal.message_c())
}

/// What a command needs of its sender.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Need {
    /// That it carries no label.
    Unlabelled,
    /// That, and `CAP_MAC_ADMIN`.
    Admin,
}

impl Node {
    /// Says whether the calling task may give the command called `tried`.
    fn admit(&self, need: Need, capable: bool, tried: &str) -> Answer {
        let refusal = if self.is_labelled() {
            Refusal::Labelled
        } else if need == Need::Admin && !capable {
            Refusal::NotPermitted
        } else if self.is_stopping() {
            Refusal::HookMissing
        } else {
            return Ok(());
        };
        self.control_refused(refusal, tried);
        Err(refuse(refusal))
    }

    fn admit_request(&self, need: Need, request: &Request<'_>, tried: &str) -> Answer {
        let capable = need == Need::Unlabelled || request.capable(Capability::MAC_ADMIN);
        self.admit(need, capable, tried)
    }

    fn admit_dump(&self, need: Need, dump: &Dump<'_>, tried: &str) -> Answer {
        let capable = need == Need::Unlabelled || dump.capable(Capability::MAC_ADMIN);
        self.admit(need, capable, tried)
    }

    /// Passes a result on, and records it when it is a refusal.
    fn answer<T>(&self, result: Result<T, Refusal>, tried: &str) -> Result<T, genetlink::Refusal> {
        result.map_err(|refusal| {
            self.control_refused(refusal, tried);
            refuse(refusal)
        })
    }
}

fn missing() -> genetlink::Refusal {
    refuse(Refusal::AttributeMissing)
}

fn text<'a>(attributes: &Attributes<'a>, id: u16) -> Result<&'a [u8], genetlink::Refusal> {
    match attributes.attr_str(id) {
        Ok(Some(text)) => Ok(text.to_bytes()),
        _ => Err(missing().at(id)),
    }
}

fn number(attributes: &Attributes<'_>, id: u16) -> Result<u32, genetlink::Refusal> {
    attributes.attr_u32(id).ok_or(missing().at(id))
}

fn array<'a, const N: usize>(
    attributes: &Attributes<'a>,
    id: u16,
) -> Result<&'a [u8; N], genetlink::Refusal> {
    attributes
        .attr_bytes(id)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(missing().at(id))
}

/// Puts a string with its terminator; one of more than 255 bytes is cut.
fn put_text(body: &mut Body, id: u16, text: &str) -> Result {
    let mut bytes = [0; 256];
    let text = text.as_bytes();
    let text = text.get(..255).unwrap_or(text);
    bytes
        .get_mut(..text.len())
        .ok_or(EMSGSIZE)?
        .copy_from_slice(text);
    body.put_bytes(id, bytes.get(..=text.len()).ok_or(EMSGSIZE)?)
}

fn put_u64(body: &mut Body, id: u16, value: u64) -> Result {
    body.put_u64(id, value, attr::PAD)
}

fn put_clock(body: &mut Body, clock: &[u8]) -> Result {
    body.put_bytes(attr::CLOCK, clock)
}

/// Encodes a clock; done under the lock that guards it.
fn encode_clock<'a>(clock: &NodeClock, out: &'a mut [u8]) -> &'a [u8] {
    let mut writer = Writer::new(out);
    let _ = clock.encode(&mut writer);
    let len = writer.len();
    out.get(..len).unwrap_or(&[])
}

/// Room for an encoded clock, on the heap.
fn clock_room() -> Result<KVec<u8>, AllocError> {
    KVec::from_elem(0, SLOTS * ENTRY_LEN, GFP_KERNEL)
}

/// Replies what has become of a command of governance.
///
/// The reply was made before the command was followed: whoever is told that memory is lacking has changed nothing.
fn reply_outcome<T>(
    mut reply: Message<Node>,
    outcome: &Outcome<T>,
    more: impl FnOnce(&mut Message<Node>, &T) -> Result,
) -> Answer {
    match outcome {
        Outcome::Done(value) => {
            reply.put_u32(attr::OUTCOME, 1)?;
            more(&mut reply, value)?;
        }
        Outcome::Pending(id) => {
            reply.put_u32(attr::OUTCOME, 2)?;
            reply.put_bytes(attr::REQUEST_ID, id)?;
        }
        Outcome::Staged(counter) => {
            reply.put_u32(attr::OUTCOME, 3)?;
            put_u64(&mut reply, attr::STAGED_COUNTER, *counter)?;
        }
    }
    Ok(reply.send()?)
}

/// Puts what the TPM keeps, and what it waits for.
fn put_state(node: &Node, reply: &mut Message<Node>) -> Result {
    let (Some(tpm), Some(kept)) = (&node.identity.tpm, node.kept()) else {
        return Ok(());
    };
    reply.put_bytes(attr::TPM, tpm.to_bytes_with_nul())?;
    reply.put_u32(attr::TPM_SOFTWARE, u32::from(kept.is_software))?;
    reply.put_u32(attr::NV_COUNTER, COUNTER_INDEX)?;
    reply.put_u32(attr::NV_ANCHOR, ANCHOR_INDEX)?;
    put_u64(reply, attr::STATE_COUNTER, kept.counter)?;
    if let Some(anchor) = kept.anchor {
        reply.put_bytes(attr::ANCHOR, &anchor)?;
    }
    if let Some(last) = kept.committed {
        put_u64(reply, attr::ANCHORED_NUMBER, last.number)?;
        put_u64(
            reply,
            attr::ANCHORED_MS,
            clock::boottime_ms().saturating_sub(last.at_ms),
        )?;
    }
    reply.put_u32(attr::ANCHOR_INTERVAL, kept.settings.interval_s)?;
    put_u64(reply, attr::NV_WRITES, kept.writes)?;
    put_u64(reply, attr::NV_WRITES_YEAR, kept.writes_a_year())?;
    reply.put_u32(attr::PCRS, kept.settings.pcrs)?;
    if let Some(reason) = kept.reason {
        put_text(reply, attr::STATE_REASON, reason.name())?;
    }
    if let Some(counter) = kept.staged {
        put_u64(reply, attr::STAGED_COUNTER, counter)?;
    }
    Ok(())
}

/// What is known of alerts: a copy, so that the lock is not held while a message is written.
struct Alerts {
    quarantined: u64,
    active: u32,
    ends_ms: Option<u64>,
    rules: Option<Rules>,
    unheard: u64,
}

impl Alerts {
    fn new(books: &Books) -> Self {
        let watch = &books.ledger.watch;
        Self {
            quarantined: books.quarantine.total().1,
            active: watch.active(),
            ends_ms: watch.ends_ms(),
            rules: watch.in_force().copied(),
            unheard: watch.unheard_weight(),
        }
    }

    fn put(&self, body: &mut Body) -> Result {
        put_u64(body, attr::QUARANTINED, self.quarantined)?;
        body.put_u32(attr::ALERT, self.active)?;
        if let Some(ends_ms) = self.ends_ms {
            let left = ends_ms.saturating_sub(clock::boottime_ms());
            put_u64(body, attr::ALERT_ENDS_MS, left)?;
        }
        if let Some(rules) = self.rules {
            let mut room = [0; Rules::LEN];
            body.put_bytes(attr::WATCH, encoded(&Payload::Watch(rules), &mut room))?;
        }
        put_u64(body, attr::UNHEARD_WEIGHT, self.unheard)
    }
}

fn status(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Unlabelled, request, "status")?;
    let mut clock = clock_room()?;
    let (clock, chain, number, held, alerts) = {
        let books = node.books.lock();
        let clock = encode_clock(books.ledger.clock(), &mut clock);
        let held = u32::try_from(books.held.len()).unwrap_or(u32::MAX);
        let (head, number) = (*books.ledger.head(), books.ledger.number());
        (clock, head, number, held, Alerts::new(&books))
    };
    let mut reply = request.reply::<Node>(command::STATUS, STATUS_SIZE)?;
    put_text(&mut reply, attr::VERSION, crate::VERSION)?;
    reply.put_u32(attr::PHASE, node.phase().number())?;
    reply.put_u32(attr::MODE, node.mode() as u32)?;
    reply.put_bytes(attr::NODE, &node.identity.node)?;
    put_u64(&mut reply, attr::EPOCH, node.identity.epoch())?;
    put_text(
        &mut reply,
        attr::SEALED_BY,
        node.identity.sealed_by().name(),
    )?;
    put_u64(&mut reply, attr::BOOT_MS, clock::boottime_ms())?;
    put_u64(&mut reply, attr::WALL_MS, clock::realtime_ms())?;
    put_clock(&mut reply, clock)?;
    reply.put_bytes(attr::CHAIN, &chain)?;
    put_u64(&mut reply, attr::EVENT_NUMBER, number)?;
    if let Some(policy) = node.policy.read().get() {
        put_text(&mut reply, attr::POLICY_NAME, policy.rules.name())?;
        put_u64(&mut reply, attr::POLICY_VERSION, policy.rules.version())?;
        reply.put_bytes(attr::POLICY_DIGEST, &policy.digest)?;
        reply.put_u32(attr::FLOOR, u32::from(policy.rules.adaptive().floor_bp))?;
    }
    put_u64(&mut reply, attr::TOTAL, node.validators().total())?;
    reply.put_u32(attr::HELD, held)?;
    alerts.put(&mut reply)?;
    put_state(&node, &mut reply)?;
    for (name, value) in Iterator::chain(node.counters.iter(), node.gauges()) {
        reply.nest(attr::COUNTER, |nest| {
            put_text(nest, attr::COUNTER_NAME, name)?;
            put_u64(nest, attr::COUNTER_VALUE, value)
        })?;
    }
    for hook in crate::hooks::attached() {
        reply.put_str(attr::HOOK, hook)?;
    }
    Ok(reply.send()?)
}

fn validator_add(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "validator-add")?;
    let name = text(request, attr::VALIDATOR_NAME)?;
    let key = array(request, attr::VALIDATOR_KEY)?;
    let weight = number(request, attr::VALIDATOR_WEIGHT)?;
    let reply = request.reply::<Node>(command::VALIDATOR_ADD, DEFAULT_SIZE)?;
    let outcome = node.answer(node.add_validator(name, key, weight), "validator-add")?;
    reply_outcome(reply, &outcome, |reply, added| {
        reply.put_u32(attr::VALIDATOR_SLOT, u32::from(added.slot))?;
        reply.put_bytes(attr::VALIDATOR_ID, &added.id)
    })
}

fn validator_remove(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "validator-remove")?;
    let name = text(request, attr::VALIDATOR_NAME)?;
    let reply = request.reply::<Node>(command::VALIDATOR_REMOVE, DEFAULT_SIZE)?;
    let outcome = node.answer(node.remove_validator(name), "validator-remove")?;
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn validator_readmit(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "validator-readmit")?;
    let name = text(request, attr::VALIDATOR_NAME)?;
    let reply = request.reply::<Node>(command::VALIDATOR_READMIT, DEFAULT_SIZE)?;
    let outcome = node.answer(node.readmit_validator(name), "validator-readmit")?;
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

/// What the node thinks of a validator: a copy, as [`Alerts`].
struct Opinion {
    fault: Option<Fault>,
    reputation: reputation::View,
    unheard: u16,
    heard_ms: Option<u64>,
}

impl Opinion {
    fn new(books: &Books, validator: &Validator) -> Self {
        let watch = &books.ledger.watch;
        Self {
            fault: books.quarantine.fault(&validator.id),
            reputation: watch.reputations().of(validator.slot),
            unheard: watch.unheard(validator.slot),
            heard_ms: watch.heard_ms(validator.slot),
        }
    }

    fn put(&self, body: &mut Body) -> Result {
        if let Some(fault) = self.fault {
            body.put_u32(attr::FAULT, u32::from(fault as u8))?;
        }
        let kept = &self.reputation.kept;
        body.put_u32(attr::REPUTATION, u32::from(self.reputation.score))?;
        body.put_u32(attr::TRUST, u32::from(kept.score))?;
        body.put_u32(attr::BIAS, u32::from(kept.bias))?;
        put_u64(body, attr::AGREED, kept.agreed)?;
        put_u64(body, attr::DISAGREED, kept.disagreed)?;
        body.put_u32(attr::TIMING, u32::from(self.reputation.timing))?;
        if let Some(partner) = self.reputation.partner {
            body.put_u32(attr::TIMING_SLOT, u32::from(partner))?;
        }
        body.put_u32(attr::UNHEARD, u32::from(self.unheard))?;
        match self.heard_ms {
            Some(heard) => {
                let ago = clock::boottime_ms().saturating_sub(heard);
                put_u64(body, attr::HEARD_MS, ago)
            }
            None => Ok(()),
        }
    }
}

fn validator_get(node: ArcBorrow<'_, Node>, dump: &mut Dump<'_>, cursor: &mut u64) -> Answer {
    node.admit_dump(Need::Admin, dump, "validator-get")?;
    let set = node.validators();
    let mut room = clock_room()?;
    let told = *cursor;
    for validator in set.iter().filter(|v| u64::from(v.slot) > told) {
        let (clock, opinion) = {
            let books = node.books.lock();
            let last = books.last_clock(validator.slot);
            let clock = last.map_or(&[][..], |clock| encode_clock(clock, &mut room));
            (clock, Opinion::new(&books, validator))
        };
        let fit = dump.message(command::VALIDATOR_GET, |body| {
            put_text(body, attr::VALIDATOR_NAME, validator.name.as_str())?;
            body.put_bytes(attr::VALIDATOR_KEY, &validator.key)?;
            body.put_u32(attr::VALIDATOR_WEIGHT, validator.weight)?;
            body.put_u32(attr::VALIDATOR_SLOT, u32::from(validator.slot))?;
            body.put_bytes(attr::VALIDATOR_ID, &validator.id)?;
            put_clock(body, clock)?;
            put_u64(body, attr::VOTES_ACCEPTED, validator.accepted.load(Relaxed))?;
            opinion.put(body)
        })?;
        if let Fit::Full = fit {
            return Ok(());
        }
        *cursor = u64::from(validator.slot);
    }
    Ok(())
}

fn seal(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "seal")?;
    let reply = request.reply::<Node>(command::SEAL, DEFAULT_SIZE)?;
    let outcome = node.answer(node.seal(), "seal")?;
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn state_stage(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "state-stage")?;
    let reply = request.reply::<Node>(command::STATE_STAGE, DEFAULT_SIZE)?;
    let outcome = match node.answer(node.checkpoint(), "state-stage")? {
        Some(counter) => Outcome::Staged(counter),
        None => Outcome::Done(()),
    };
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn state_commit(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "state-commit")?;
    let digest = array(request, attr::STATE_DIGEST)?;
    let reply = request.reply::<Node>(command::STATE_COMMIT, DEFAULT_SIZE)?;
    let outcome = Outcome::Done(node.answer(node.commit(digest), "state-commit")?);
    reply_outcome(reply, &outcome, |reply, (counter, anchor)| {
        put_u64(reply, attr::STATE_COUNTER, *counter)?;
        reply.put_bytes(attr::ANCHOR, anchor)
    })
}

fn state_discard(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "state-discard")?;
    let reply = request.reply::<Node>(command::STATE_DISCARD, DEFAULT_SIZE)?;
    let outcome = Outcome::Done(node.answer(node.discard(), "state-discard")?);
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn state_recover(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "state-recover")?;
    let reply = request.reply::<Node>(command::STATE_RECOVER, DEFAULT_SIZE)?;
    let outcome = Outcome::Done(node.answer(node.recover_to_setup(), "state-recover")?);
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn mode_set(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "mode-set")?;
    let mode = u8::try_from(number(request, attr::MODE)?)
        .ok()
        .and_then(Mode::from_u8)
        .ok_or(missing().at(attr::MODE))?;
    let reply = request.reply::<Node>(command::MODE_SET, DEFAULT_SIZE)?;
    let outcome = node.answer(node.change_mode(mode), "mode-set")?;
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn unload(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "unload")?;
    let reply = request.reply::<Node>(command::UNLOAD, DEFAULT_SIZE)?;
    let outcome = node.answer(node.allow_unload(), "unload")?;
    reply_outcome(reply, &outcome, |_, ()| Ok(()))
}

fn agent_label(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    if node.is_stopping() {
        return Err(refuse(Refusal::HookMissing));
    }
    let name = text(request, attr::AGENT_NAME)?;
    let class = text(request, attr::AGENT_CLASS)?;
    let mut reply = request.reply::<Node>(command::AGENT_LABEL, DEFAULT_SIZE)?;
    let id = node.answer(
        node.label_current(name, class, request.portid()),
        "agent-label",
    )?;
    put_u64(&mut reply, attr::AGENT_ID, id)?;
    Ok(reply.send()?)
}

fn agent_get(node: ArcBorrow<'_, Node>, dump: &mut Dump<'_>, cursor: &mut u64) -> Answer {
    node.admit_dump(Need::Admin, dump, "agent-get")?;
    while let Some(agent) = node.agents.at_or_after(cursor.saturating_add(1)) {
        let pending = node.books.lock().docket.open_of(agent.id);
        let fit = dump.message(command::AGENT_GET, |body| {
            put_u64(body, attr::AGENT_ID, agent.id)?;
            put_text(body, attr::AGENT_NAME, agent.name.as_str())?;
            put_text(body, attr::AGENT_CLASS, agent.class.as_str())?;
            put_u64(body, attr::AGENT_PARENT, agent.parent)?;
            body.put_u32(attr::AGENT_DEPTH, agent.depth)?;
            put_u64(body, attr::AGENT_TASKS, agent.tasks())?;
            body.put_u32(attr::AGENT_UID, agent.uid)?;
            body.put_u32(attr::AGENT_PID, agent.pid.unsigned_abs())?;
            body.put_u32(
                attr::AGENT_PENDING,
                u32::try_from(pending).unwrap_or(u32::MAX),
            )?;
            put_u64(body, attr::AGENT_REFUSED, agent.refused.load(Relaxed))
        })?;
        if let Fit::Full = fit {
            return Ok(());
        }
        *cursor = agent.id;
    }
    Ok(())
}

/// What is told of a request: a copy, so that the lock is not held while a message is written.
struct View {
    id: [u8; 32],
    encoding: KVec<u8>,
    state: docket::State,
    tally: Tally,
    voted: [u8; 2 * limits::VALIDATORS],
    voted_len: usize,
    remaining_ms: u64,
}

impl View {
    /// Room for one view.
    fn room() -> Result<KBox<Self>, AllocError> {
        KBox::new(
            Self {
                id: [0; 32],
                encoding: KVec::with_capacity(request::MAX_LEN, GFP_KERNEL)?,
                state: docket::State::Open,
                tally: Tally {
                    approve: 0,
                    deny: 0,
                    total: 0,
                    quarantined: 0,
                    threshold_bp: 0,
                },
                voted: [0; 2 * limits::VALIDATORS],
                voted_len: 0,
                remaining_ms: 0,
            },
            GFP_KERNEL,
        )
    }

    /// Copies `request`. The room suffices, so nothing is allocated.
    fn fill(&mut self, request: &docket::Request, now_ms: u64) {
        self.id = request.id;
        self.encoding.clear();
        let _ = self
            .encoding
            .extend_from_slice(&request.encoding, GFP_ATOMIC);
        self.state = request.state;
        self.tally = request.tally();
        let mut slots = Writer::new(&mut self.voted);
        for slot in (1..=limits::VALIDATORS as u16).filter(|slot| request.has_voted(*slot)) {
            let _ = slots.u16(slot);
        }
        self.voted_len = slots.len();
        self.remaining_ms = match request.state {
            docket::State::Open => request.expires_ms.saturating_sub(now_ms),
            _ => 0,
        };
    }

    fn put(&self, body: &mut Body) -> Result {
        body.put_bytes(attr::REQUEST_ID, &self.id)?;
        body.put_bytes(attr::REQUEST, &self.encoding)?;
        body.put_u32(attr::REQUEST_STATE, self.state as u32)?;
        put_u64(body, attr::APPROVE, self.tally.approve)?;
        put_u64(body, attr::DENY, self.tally.deny)?;
        put_u64(body, attr::TOTAL, self.tally.total)?;
        body.put_bytes(attr::VOTED, self.voted.get(..self.voted_len).unwrap_or(&[]))?;
        put_u64(body, attr::REMAINING_MS, self.remaining_ms)?;
        body.put_u32(attr::THRESHOLD, u32::from(self.tally.threshold_bp))?;
        put_u64(body, attr::QUARANTINED, self.tally.quarantined)
    }
}

/// Room for a message with one request.
const VIEW_SIZE: usize = request::MAX_LEN + 1024;

impl Node {
    /// Closes what has expired, and gives the books as they are now.
    pub(crate) fn with_books<R>(&self, f: impl FnOnce(&mut Books, u64) -> R) -> R {
        let now = clock::boottime_ms();
        let (closed, result) = {
            let mut books = self.books.lock();
            let closed = books.expire(now);
            (closed, f(&mut books, now))
        };
        self.closed(&closed);
        result
    }
}

fn request_get(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Unlabelled, request, "request-get")?;
    let id = array(request, attr::REQUEST_ID)?;
    let mut view = View::room()?;
    let found = node.with_books(|books, now| {
        books
            .docket
            .find(id)
            .map(|request| view.fill(request, now))
            .is_some()
    });
    if !found {
        return Err(refuse(Refusal::RequestUnknown));
    }
    let mut reply = request.reply::<Node>(command::REQUEST_GET, VIEW_SIZE)?;
    view.put(&mut reply)?;
    Ok(reply.send()?)
}

fn request_dump(node: ArcBorrow<'_, Node>, dump: &mut Dump<'_>, cursor: &mut u64) -> Answer {
    node.admit_dump(Need::Unlabelled, dump, "request-get")?;
    let mut view = View::room()?;
    // The cursor is the clock entry at which the last one told was made: those ascend.
    loop {
        let found = node.with_books(|books, now| {
            let request = (0..)
                .map_while(|index| books.docket.at(index))
                .find(|request| request.created > *cursor)?;
            view.fill(request, now);
            Some(request.created)
        });
        let Some(created) = found else {
            return Ok(());
        };
        if let Fit::Full = dump.message(command::REQUEST_GET, |body| view.put(body))? {
            return Ok(());
        }
        *cursor = created;
    }
}

fn request_cancel(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "request-cancel")?;
    let id = array(request, attr::REQUEST_ID)?;
    let cancelled = node.with_books(|books, _| books.docket.cancel(&mut books.ledger, id));
    node.answer(cancelled, "request-cancel")?;
    node.counters.bump(crate::counter::Counter::Cancelled);
    node.recorded();
    Ok(())
}

fn vote_submit(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Unlabelled, request, "vote-submit")?;
    let record = request
        .attr_bytes(attr::VOTE)
        .ok_or(missing().at(attr::VOTE))?;
    let mut reply = request.reply::<Node>(command::VOTE_SUBMIT, DEFAULT_SIZE)?;
    let accepted = node
        .submit_vote(record, request.sender_euid().as_u32())
        .map_err(refuse)?;
    reply.put_u32(attr::OUTCOME, if accepted.held { 4 } else { 1 })?;
    reply.put_bytes(attr::REQUEST_ID, &accepted.request)?;
    reply.put_u32(attr::REQUEST_STATE, accepted.state as u32)?;
    put_u64(&mut reply, attr::APPROVE, accepted.tally.approve)?;
    put_u64(&mut reply, attr::DENY, accepted.tally.deny)?;
    put_u64(&mut reply, attr::TOTAL, accepted.tally.total)?;
    Ok(reply.send()?)
}

fn evidence_submit(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Unlabelled, request, "evidence-submit")?;
    let evidence = request
        .attr_bytes(attr::EVIDENCE)
        .ok_or(missing().at(attr::EVIDENCE))?;
    let mut reply = request.reply::<Node>(command::EVIDENCE_SUBMIT, DEFAULT_SIZE)?;
    let (validator, fault) = node
        .submit_evidence(evidence, request.sender_euid().as_u32())
        .map_err(refuse)?;
    reply.put_u32(attr::OUTCOME, 1)?;
    put_text(&mut reply, attr::VALIDATOR_NAME, validator.name.as_str())?;
    reply.put_u32(attr::VALIDATOR_SLOT, u32::from(validator.slot))?;
    reply.put_u32(attr::FAULT, u32::from(fault as u8))?;
    Ok(reply.send()?)
}

fn evidence_get(node: ArcBorrow<'_, Node>, dump: &mut Dump<'_>, cursor: &mut u64) -> Answer {
    node.admit_dump(Need::Unlabelled, dump, "evidence-get")?;
    let set = node.validators();
    loop {
        let found = node.books.lock().quarantine.next_after(*cursor).cloned();
        let Some((case, proof)) = found.and_then(|mut case| {
            let proof = case.proof.take()?;
            Some((case, proof))
        }) else {
            return Ok(());
        };
        let (record, slot) = (&case.record, case.record.slot());
        let fit = dump.message(command::EVIDENCE_GET, |body| {
            body.put_bytes(attr::EVIDENCE, &proof.bytes)?;
            put_u64(body, attr::EVENT_NUMBER, record.number())?;
            body.put_u32(attr::FAULT, u32::from(proof.fault as u8))?;
            body.put_u32(attr::VALIDATOR_SLOT, u32::from(slot))?;
            body.put_bytes(attr::VALIDATOR_ID, record.validator())?;
            match set.by_id(record.validator()) {
                Some(validator) => put_text(body, attr::VALIDATOR_NAME, validator.name.as_str()),
                None => Ok(()),
            }
        })?;
        if let Fit::Full = fit {
            return Ok(());
        }
        *cursor = u64::from(slot);
    }
}

fn grant_get(node: ArcBorrow<'_, Node>, dump: &mut Dump<'_>, cursor: &mut u64) -> Answer {
    node.admit_dump(Need::Admin, dump, "grant-get")?;
    let mut encoding: KVec<u8> = KVec::with_capacity(request::MAX_LEN, GFP_KERNEL)?;
    loop {
        let found = node.with_books(|books, now| {
            let grant = usize::try_from(*cursor)
                .ok()
                .and_then(|index| books.docket.grant_at(index))?;
            encoding.clear();
            if let Some(request) = books.docket.find(&grant.id) {
                // The room suffices, so nothing is allocated.
                let _ = encoding.extend_from_slice(&request.encoding, GFP_ATOMIC);
            }
            let left = grant.expires_ms.saturating_sub(now);
            Some((grant.id, grant.uses_left, left))
        });
        let Some((id, uses_left, left)) = found else {
            return Ok(());
        };
        let fit = dump.message(command::GRANT_GET, |body| {
            body.put_bytes(attr::REQUEST_ID, &id)?;
            body.put_bytes(attr::REQUEST, &encoding)?;
            body.put_u32(attr::USES_LEFT, u32::from(uses_left))?;
            put_u64(body, attr::REMAINING_MS, left)
        })?;
        if let Fit::Full = fit {
            return Ok(());
        }
        *cursor += 1;
    }
}

fn grant_revoke(node: ArcBorrow<'_, Node>, request: &Request<'_>) -> Answer {
    node.admit_request(Need::Admin, request, "grant-revoke")?;
    let id = array(request, attr::REQUEST_ID)?;
    let revoked = node.with_books(|books, _| books.docket.revoke(&mut books.ledger, id));
    node.answer(revoked, "grant-revoke")?;
    node.recorded();
    Ok(())
}

/// The longest event.
const EVENT_LEN: usize = HEADER_LEN + limits::EVENT_PAYLOAD;

fn event_get(node: ArcBorrow<'_, Node>, dump: &mut Dump<'_>, cursor: &mut u64) -> Answer {
    node.admit_dump(Need::Admin, dump, "event-get")?;
    let mut room = KVVec::from_elem(0, EVENT_LEN, GFP_KERNEL)?;
    // The cursor is the number of the last event told; the first call takes it from the request.
    if *cursor == 0 {
        let first = dump.attr_u64(attr::EVENT_NUMBER).unwrap_or(0);
        // Those of other epochs are not lost: they never were of this load.
        *cursor = first
            .saturating_sub(1)
            .max(first_number(node.identity.epoch()));
    }
    let mut at = node.books.lock().ledger.seek(*cursor + 1);
    loop {
        let next = node.books.lock().ledger.read(at, &mut room);
        let Next::Event {
            number,
            chain,
            len,
            next,
        } = next
        else {
            return Ok(());
        };
        let lost = number.saturating_sub(*cursor + 1);
        let fit = dump.message(command::EVENT_GET, |body| {
            body.put_bytes(attr::EVENT, room.get(..len).unwrap_or(&[]))?;
            put_u64(body, attr::EVENT_NUMBER, number)?;
            body.put_bytes(attr::CHAIN, &chain)?;
            match lost {
                0 => Ok(()),
                lost => put_u64(body, attr::EVENTS_LOST, lost),
            }
        })?;
        if let Fit::Full = fit {
            return Ok(());
        }
        *cursor = number;
        at = next;
    }
}

/// Sends the events that have not been sent. Called by the node's worker only.
pub(crate) fn send_events(node: &Node) {
    let family = Node::family();
    if !family.has_listeners(EVENTS) {
        let mut books = node.books.lock();
        books.sent = books.ledger.end();
        return;
    }
    let Ok(mut room) = KVVec::from_elem(0, EVENT_LEN, GFP_KERNEL) else {
        return;
    };
    loop {
        let next = {
            let mut books = node.books.lock();
            let next = books.ledger.read(books.sent, &mut room);
            if let Next::Event { next, .. } = &next {
                books.sent = *next;
            }
            next
        };
        let Next::Event {
            number, chain, len, ..
        } = next
        else {
            return;
        };
        let Ok(mut event) = family.event(command::EVENT, len + 128, GFP_KERNEL) else {
            continue;
        };
        let filled = event
            .put_bytes(attr::EVENT, room.get(..len).unwrap_or(&[]))
            .and_then(|()| put_u64(&mut event, attr::EVENT_NUMBER, number))
            .and_then(|()| event.put_bytes(attr::CHAIN, &chain));
        if filled.is_ok() {
            // A listener that is too slow has missed it: it sees a gap in the numbers.
            let _ = event.multicast(EVENTS);
        }
    }
}
