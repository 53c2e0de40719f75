// SPDX-License-Identifier: GPL-2.0

//! Requests, votes and events in words and in JSON.
//!
//! What an approver signs is shown whole; what stands in it is foreign and goes through [`clean`].

use engine::{
    address::Address,
    anchor::Standing,
    byzantine::Fault,
    clock::epoch_of,
    event::{
        self,
        Kind,
        Payload, //
    },
    evidence::Evidence,
    governance::Detail,
    limits::FACT_STRING,
    op::Op,
    refusal::Refusal,
    reputation::Kept,
    request::{
        Fact,
        Request, //
    },
    vote::{
        SignedVote,
        VoteRecord, //
    },
    watch::{
        Reason,
        Rules, //
    }, //
};
use serde_json::{
    json,
    Value, //
};

use crate::{
    client,
    crypto::{
        sha256,
        validator_id,
        Sha256, //
    },
    error::{
        Error,
        Result, //
    },
    evidence::{
        self,
        why, //
    },
    ids::short,
    output::{
        clean,
        prose,
        quote, //
    },
    time::{
        human_duration,
        human_time, //
    }, //
};

/// Decodes a request.
///
/// # Errors
///
/// [`Error::Invalid`] `request_malformed`.
pub(crate) fn decode(encoding: &[u8]) -> Result<Request<'_>> {
    Request::decode(encoding).map_err(|error| {
        Error::invalid(
            "request_malformed",
            format!("the request cannot be decoded: {error}; use the tcpctl that was built with the module"),
        )
    })
}

/// Text as JSON: itself when it is UTF-8, otherwise with the other bytes as escapes.
pub(crate) fn json_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => clean(bytes),
    }
}

/// Address and port: `10.0.0.1:443`, `[::1]:53`.
fn address(family: u16, port: u16, bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return format!("{}:{port}", Address::V4(v4));
    }
    if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        return format!("[{}]:{port}", Address::V6(v6));
    }
    format!("address family {family}, port {port}")
}

/// A device number as `major:minor`.
fn device(number: u64) -> String {
    let major = (number & 0x000f_ff00) >> 8;
    let minor = (number & 0xff) | ((number >> 12) & 0x000f_ff00);
    format!("{major}:{minor}")
}

fn object(device_number: u64, inode: u64, generation: u32) -> String {
    format!(
        "inode {inode} on device {}, generation {generation}",
        device(device_number)
    )
}

/// The meaning of a COMMAND fact.
fn command(op: Op, value: u32) -> String {
    if op == Op::Kill {
        let signal = i32::try_from(value)
            .ok()
            .and_then(|number| nix::sys::signal::Signal::try_from(number).ok());
        if let Some(signal) = signal {
            return format!("{value} ({signal})");
        }
    }
    value.to_string()
}

fn owner(id: u32) -> String {
    match id {
        u32::MAX => "unchanged".to_owned(),
        _ => id.to_string(),
    }
}

/// What a governance request would do.
fn detail(detail: &Detail<'_>) -> String {
    match detail {
        Detail::AddValidator { weight, name, key } => format!(
            "add validator {name}, weight {weight}, id {}",
            hex::encode(validator_id(key))
        ),
        Detail::RemoveValidator { name } => format!("remove validator {name}"),
        Detail::ReadmitValidator { name } => format!("end the quarantine of validator {name}"),
        Detail::Mode(mode) => format!("set mode {}", mode.name()),
        Detail::Unload => "let the module be unloaded".to_owned(),
        Detail::Recover {
            reason,
            state,
            found,
        } => format!(
            "take a state that is not current ({}): its counter {state}, found {found}",
            Refusal::from_code(*reason).map_or("unknown", Refusal::name)
        ),
    }
}

/// One fact in words.
fn fact_text(op: Op, fact: &Fact<'_>) -> String {
    match fact {
        Fact::Path(bytes)
        | Fact::Target(bytes)
        | Fact::Name(bytes)
        | Fact::Hook(bytes)
        | Fact::FsPath(bytes) => clean(bytes),
        Fact::Arg(bytes) => quote(bytes),
        Fact::TargetObject(of) => object(of.device, of.inode, of.generation),
        Fact::Argc(count) => count.to_string(),
        Fact::ArgsDigest(digest) | Fact::EnvDigest(digest) => {
            format!("sha256:{}", hex::encode(digest))
        }
        Fact::Address {
            family,
            port,
            address: bytes,
        } => address(*family, *port, bytes),
        Fact::Flags(flags) => format!("{flags:#x}"),
        Fact::Mode(mode) => format!("{mode:#o}"),
        Fact::Owner { uid, gid } => format!("user {}, group {}", owner(*uid), owner(*gid)),
        Fact::Command(value) => command(op, *value),
        Fact::Task { pid, agent, comm } => match agent {
            0 => format!("process {pid} ({}), no agent", clean(comm)),
            _ => format!("process {pid} ({}), agent {agent}", clean(comm)),
        },
        Fact::Size(bytes) => format!("{bytes} bytes"),
        Fact::Version(version) => version.to_string(),
        Fact::Detail(bytes) => match Detail::decode(op, bytes) {
            Ok(of) => detail(&of),
            Err(_) => hex::encode(bytes),
        },
    }
}

/// The name of a fact for people.
fn fact_label(op: Op, fact: &Fact<'_>) -> &'static str {
    match fact {
        Fact::Path(_) => "path",
        Fact::Target(_) => "target",
        Fact::TargetObject(_) => "target object",
        Fact::Name(_) => match op {
            Op::Policy => "policy name",
            _ => "name",
        },
        Fact::Argc(_) => "arguments",
        Fact::Arg(_) => "argument",
        Fact::ArgsDigest(_) => "arguments digest",
        Fact::Address { .. } => "address",
        Fact::Flags(_) => "flags",
        Fact::Mode(_) => "mode",
        Fact::Owner { .. } => "owner",
        Fact::Command(_) => match op {
            Op::Kill => "signal",
            _ => "command",
        },
        Fact::Task { .. } => "task",
        Fact::Size(_) => "size",
        Fact::Version(_) => match op {
            Op::Policy => "policy version",
            _ => "version",
        },
        Fact::Detail(_) => "asks to",
        Fact::Hook(_) => "hook",
        Fact::FsPath(_) => "on its disk",
        Fact::EnvDigest(_) => "environment",
    }
}

/// A fact as JSON: its meaning, and the bytes when they are text that may not be UTF-8.
fn fact_json(op: Op, fact: &Fact<'_>) -> Value {
    let mut value = json!({ "name": fact.name(), "tag": fact.tag() });
    let extra = match fact {
        Fact::Path(bytes)
        | Fact::Target(bytes)
        | Fact::Name(bytes)
        | Fact::Hook(bytes)
        | Fact::FsPath(bytes)
        | Fact::Arg(bytes) => json!({ "value": json_text(bytes), "hex": hex::encode(bytes) }),
        Fact::Argc(n) | Fact::Mode(n) | Fact::Command(n) => json!({ "value": n }),
        Fact::Flags(n) | Fact::Size(n) | Fact::Version(n) => json!({ "value": n }),
        _ => json!({ "value": fact_text(op, fact) }),
    };
    if let (Some(value), Value::Object(extra)) = (value.as_object_mut(), extra) {
        value.extend(extra);
    }
    value
}

/// Who asks, in words.
pub(crate) fn who(request: &Request<'_>) -> String {
    let binding = &request.binding;
    match binding.agent {
        0 => format!("uid {} (no agent)", binding.uid),
        id => format!(
            "{} (class {}, agent {id}, uid {})",
            clean(binding.agent_name.as_bytes()),
            clean(binding.class.as_bytes()),
            binding.uid
        ),
    }
}

/// Who asks, for a table.
pub(crate) fn who_short(request: &Request<'_>) -> String {
    let binding = &request.binding;
    match binding.agent {
        0 => format!("uid {}", binding.uid),
        _ => format!(
            "{}/{}",
            clean(binding.class.as_bytes()),
            clean(binding.agent_name.as_bytes())
        ),
    }
}

/// Longest path or name in a table, in characters.
const ABOUT: usize = 100;

/// The beginning and the end of a text that is too long for a table.
fn cut(text: String, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text;
    }
    let keep = most.saturating_sub(3) / 2;
    let head: String = text.chars().take(keep).collect();
    let tail: String = text.chars().skip(count.saturating_sub(keep)).collect();
    format!("{head}...{tail}")
}

/// What the operation is about, for a table: the most telling fact, with the second path if there is one. A leading `!`
/// says that it is not all: something was shortened, or the object is elsewhere on its disk.
pub(crate) fn about(request: &Request<'_>) -> String {
    let op = request.binding.op;
    if op == Op::Policy {
        let words: Vec<String> = request
            .facts()
            .filter_map(|fact| match fact {
                Fact::Name(name) => Some(format!("load policy {}", clean(name))),
                Fact::Version(version) => Some(format!("version {version}")),
                _ => None,
            })
            .collect();
        return words.join(" ");
    }
    let mut best: Option<(u8, Fact<'_>)> = None;
    for fact in request.facts() {
        let rank = match fact {
            Fact::Detail(_) => 0,
            Fact::Path(_) => 1,
            Fact::Address { .. } => 2,
            Fact::Task { .. } => 3,
            Fact::Name(_) => 4,
            Fact::Command(_) => 5,
            _ => 9,
        };
        if rank < 9 && best.as_ref().is_none_or(|(than, _)| rank < *than) {
            best = Some((rank, fact));
        }
    }
    let target = request
        .facts()
        .find(|fact| matches!(fact, Fact::Target(_)))
        .map(|fact| fact_text(op, &fact));
    let text = match (best, target) {
        (Some((_, fact)), Some(target)) => format!(
            "{} -> {}",
            cut(fact_text(op, &fact), ABOUT / 2),
            cut(target, ABOUT / 2)
        ),
        (Some((0, fact)), None) => fact_text(op, &fact),
        (Some((_, fact)), None) => cut(fact_text(op, &fact), ABOUT),
        (None, Some(target)) => format!("-> {}", cut(target, ABOUT)),
        (None, None) => "-".to_owned(),
    };
    if request.shortened || is_elsewhere(request) {
        format!("! {text}")
    } else {
        text
    }
}

/// Basis points as a percentage: `75%`, `66.67%`.
pub(crate) fn percent(basis_points: u16) -> String {
    let (whole, part) = (basis_points / 100, basis_points % 100);
    match part {
        0 => format!("{whole}%"),
        _ => {
            format!("{whole}.{part:02}")
                .trim_end_matches('0')
                .to_owned()
                + "%"
        }
    }
}

/// Whether the path that the task sees does not end with the object's path on its file system. An agent with mounts of its
/// own can make the former say anything.
fn is_elsewhere(request: &Request<'_>) -> bool {
    let path = request.facts().find_map(|fact| match fact {
        Fact::Path(path) => Some(path),
        _ => None,
    });
    let on_disk = request.facts().find_map(|fact| match fact {
        Fact::FsPath(path) => Some(path),
        _ => None,
    });
    match (path, on_disk) {
        (Some(path), Some(on_disk)) => {
            // The root of a file system has no name there; a path that was cut itself cannot be compared.
            on_disk != b"/" && path.len() < FACT_STRING && !path.ends_with(on_disk)
        }
        _ => false,
    }
}

/// Everything that an approver of a request signs, as rows.
pub(crate) fn request_rows(encoding: &[u8]) -> Result<Vec<(&'static str, String)>> {
    let request = decode(encoding)?;
    let (head, binding) = (&request.head, &request.binding);
    let mut rows = vec![
        ("request", hex::encode(sha256(encoding))),
        ("operation", binding.op.name().to_owned()),
        ("asked by", who(&request)),
    ];
    if request.shortened {
        rows.push((
            "WARNING",
            "shortened: some path or argument is not shown whole; the arguments digest covers everything"
                .to_owned(),
        ));
    }
    if is_elsewhere(&request) {
        rows.push((
            "WARNING",
            "the task sees the object under another path than its file system has it: a mount, or a root of its own"
                .to_owned(),
        ));
    }
    if binding.object.device != 0 || binding.object.inode != 0 {
        rows.push((
            "object",
            object(
                binding.object.device,
                binding.object.inode,
                binding.object.generation,
            ),
        ));
    }
    if binding.content.iter().any(|byte| *byte != 0) {
        rows.push((
            "content",
            format!("sha256:{}", hex::encode(binding.content)),
        ));
    }
    let path = request.facts().find_map(|fact| match fact {
        Fact::Path(path) => Some(path),
        _ => None,
    });
    // Where they differ, what the disk says stands next to what the task says.
    let on_disk = request
        .facts()
        .find(|fact| matches!(fact, Fact::FsPath(of) if path.is_some_and(|path| path != *of)));
    for fact in request.facts() {
        if on_disk.is_some() && matches!(fact, Fact::FsPath(_)) {
            continue;
        }
        rows.push((fact_label(binding.op, &fact), fact_text(binding.op, &fact)));
        if let (Fact::Path(_), Some(on_disk)) = (&fact, &on_disk) {
            rows.push((
                fact_label(binding.op, on_disk),
                format!(
                    "{} (device {})",
                    fact_text(binding.op, on_disk),
                    device(binding.object.device)
                ),
            ));
        }
    }
    let rule = match binding.line {
        0 => "the DEFAULT".to_owned(),
        line => format!("line {line}"),
    };
    rows.push((
        "rule",
        match binding.policy_version {
            0 => "no policy is loaded".to_owned(),
            version => format!("{rule} of policy version {version}"),
        },
    ));
    if binding.policy_version != 0 {
        rows.push((
            "policy digest",
            format!("sha256:{}", hex::encode(binding.policy)),
        ));
    }
    rows.push(("threshold", percent(binding.threshold_bp)));
    rows.push((
        "grant",
        format!(
            "{} within {}",
            crate::output::count(usize::from(binding.uses), "use"),
            human_duration(u64::from(binding.ttl_s).saturating_mul(1000))
        ),
    ));
    rows.push(("made", human_time(head.wall_ms)));
    rows.push((
        "expires",
        format!(
            "{} ({} after it was made)",
            human_time(expires_wall(&request)),
            human_duration(head.expires_ms.saturating_sub(head.created_ms))
        ),
    ));
    rows.push(("node", hex::encode(head.node)));
    rows.push(("epoch", head.epoch.to_string()));
    rows.push(("event", head.created.to_string()));
    Ok(rows)
}

/// The wall time at which a request expires, as far as the wall clock can be trusted.
fn expires_wall(request: &Request<'_>) -> u64 {
    let head = &request.head;
    head.wall_ms
        .saturating_add(head.expires_ms.saturating_sub(head.created_ms))
}

/// A request as JSON.
pub(crate) fn request_json(encoding: &[u8]) -> Result<Value> {
    let request = decode(encoding)?;
    let (head, binding) = (&request.head, &request.binding);
    let op = binding.op;
    let facts: Vec<Value> = request.facts().map(|fact| fact_json(op, &fact)).collect();
    let args: Vec<String> = request
        .facts()
        .filter_map(|fact| match fact {
            Fact::Arg(bytes) => Some(json_text(bytes)),
            _ => None,
        })
        .collect();
    let path = request.facts().find_map(|fact| match fact {
        Fact::Path(bytes) => Some(json_text(bytes)),
        _ => None,
    });
    Ok(json!({
        "id": hex::encode(sha256(encoding)),
        "node": hex::encode(head.node),
        "epoch": head.epoch,
        "nonce": hex::encode(head.nonce),
        "created": head.created,
        "created_ms": head.created_ms,
        "expires_ms": head.expires_ms,
        "wall_ms": head.wall_ms,
        "op": op.name(),
        "shortened": request.shortened,
        "uid": binding.uid,
        "agent": binding.agent,
        "agent_name": binding.agent_name,
        "class": binding.class,
        "policy_version": binding.policy_version,
        "policy_digest": hex::encode(binding.policy),
        "threshold_bp": binding.threshold_bp,
        "uses": binding.uses,
        "ttl_s": binding.ttl_s,
        "line": binding.line,
        "object": {
            "device": binding.object.device,
            "inode": binding.object.inode,
            "generation": binding.object.generation,
        },
        "content": hex::encode(binding.content),
        "path": path,
        "args": args,
        "detail": request.detail().map(|of| detail(&of)),
        "facts": facts,
    }))
}

/// What a validator signed, in rows.
pub(crate) fn vote_rows(vote: &SignedVote<'_>) -> Vec<(&'static str, String)> {
    let (signature, vote) = (vote.signature, &vote.vote);
    let clock: Vec<String> = vote
        .clock
        .iter()
        .map(|(slot, value)| format!("{slot}:{value}"))
        .collect();
    vec![
        ("verdict", vote.verdict.name().to_owned()),
        ("request", hex::encode(vote.request)),
        ("validator", hex::encode(vote.validator)),
        ("node", hex::encode(vote.node)),
        ("epoch", vote.epoch.to_string()),
        ("slot", vote.slot.to_string()),
        ("clock", clock.join(" ")),
        (
            "valid until",
            format!("{} ms after the node's boot", vote.expires_ms),
        ),
        ("signature", hex::encode(signature)),
    ]
}

/// A vote record in rows.
pub(crate) fn record_rows(record: &VoteRecord<'_>) -> Vec<(&'static str, String)> {
    let mut rows = vote_rows(&record.signed_vote());
    let reason = match record.reason {
        "" => "-".to_owned(),
        reason => prose(reason.as_bytes()),
    };
    rows.insert(1, ("reason", reason));
    rows
}

/// What a validator signed, as JSON.
pub(crate) fn vote_json(vote: &SignedVote<'_>) -> Value {
    let (signature, vote) = (vote.signature, &vote.vote);
    json!({
        "verdict": vote.verdict.name(),
        "request": hex::encode(vote.request),
        "validator": hex::encode(vote.validator),
        "node": hex::encode(vote.node),
        "epoch": vote.epoch,
        "slot": vote.slot,
        "expires_ms": vote.expires_ms,
        "reason_digest": hex::encode(vote.reason_digest),
        "clock": vote.clock.iter().collect::<Vec<(u16, u64)>>(),
        "signature": hex::encode(signature),
    })
}

/// A vote record as JSON.
pub(crate) fn record_json(record: &VoteRecord<'_>) -> Value {
    let mut value = vote_json(&record.signed_vote());
    if let Some(fields) = value.as_object_mut() {
        fields.insert("reason".to_owned(), json!(record.reason));
    }
    value
}

/// The name of a validator by its slot.
pub(crate) type Names = std::collections::BTreeMap<u16, String>;

/// A validator's name, or its slot when the name is not known.
pub(crate) fn validator_name(names: &Names, slot: u16) -> String {
    match names.get(&slot) {
        Some(name) => clean(name.as_bytes()),
        None => format!("slot {slot}"),
    }
}

/// Name of an errno for the results of events.
fn errno_name(errno: u16) -> String {
    match errno {
        0 => "nothing".to_owned(),
        _ => nix::errno::Errno::from_raw(i32::from(errno)).to_string(),
    }
}

/// What a task gets that policy refuses (`include/uapi/asm-generic/errno-base.h`).
const EACCES: u16 = 13;

/// The result of an event in words, where the kind gives it a meaning.
fn result_text(kind: Kind, result: u16) -> Option<String> {
    let word = |words: &[&str]| {
        usize::from(result)
            .checked_sub(1)
            .and_then(|index| words.get(index))
            .map_or_else(|| result.to_string(), |word| (*word).to_owned())
    };
    Some(match kind {
        Kind::Mode => word(&["permissive", "enforce"]),
        Kind::Vote | Kind::Held => word(&["approve", "deny"]),
        Kind::Loaded => word(&["unsealed", "tpm"]),
        Kind::Restored => word(&[
            Standing::Current.name(),
            Standing::Half.name(),
            Standing::Outdated.name(),
        ]),
        Kind::Staged => match Kind::from_u16(result) {
            Some(kind) => kind.name().to_owned(),
            None => "checkpoint".to_owned(),
        },
        Kind::Cancelled => word(&[
            "by command",
            "the policy changed",
            "the validators changed",
            "the agent ended",
        ]),
        Kind::GrantEnded => word(&[
            "revoked",
            "expired",
            "used up",
            "the policy changed",
            "the validators changed",
            "a validator was quarantined",
        ]),
        Kind::Quarantined => u8::try_from(result)
            .ok()
            .and_then(Fault::from_u8)
            .map_or_else(|| result.to_string(), |fault| fault.name().to_owned()),
        Kind::Alert | Kind::Calm => Reason::from_u16(result)
            .map_or_else(|| result.to_string(), |reason| reason.name().to_owned()),
        Kind::Used => format!("{result} left"),
        Kind::Refused => errno_name(result),
        Kind::Audit => match result {
            0 => "allowed".to_owned(),
            errno => format!("enforce mode: {}", errno_name(errno)),
        },
        Kind::VoteRefused | Kind::ControlRefused | Kind::Recovered => {
            match Refusal::from_code(result) {
                Some(refusal) => refusal.name().to_owned(),
                None => result.to_string(),
            }
        }
        _ => return None,
    })
}

/// What the watch goes by, in words.
pub(crate) fn rules_text(rules: &Rules) -> String {
    format!(
        "raises by {} to at most {}; on {} invalid votes within {}, on {} of the weight silent for {}; for {}",
        percent(rules.raise_bp),
        percent(rules.ceiling_bp),
        rules.burst,
        human_duration(rules.within_ms.into()),
        percent(rules.missing_bp),
        human_duration(rules.silence_ms.into()),
        human_duration(rules.quiet_ms.into()),
    )
}

/// What the watch goes by, as JSON.
pub(crate) fn rules_json(rules: &Rules) -> Value {
    json!({
        "raise_bp": rules.raise_bp,
        "ceiling_bp": rules.ceiling_bp,
        "missing_bp": rules.missing_bp,
        "burst": rules.burst,
        "silence_ms": rules.silence_ms,
        "within_ms": rules.within_ms,
        "quiet_ms": rules.quiet_ms,
    })
}

/// A reputation as the state keeps it, as JSON.
pub(crate) fn kept_json(kept: &Kept) -> Value {
    json!({
        "score": kept.score,
        "bias": kept.bias,
        "agreed": kept.agreed,
        "disagreed": kept.disagreed,
    })
}

/// The payload of an event in words.
fn payload_text(payload: &Payload<'_>) -> String {
    match payload {
        Payload::None => String::new(),
        Payload::Loaded { version } => format!("version {}", clean(version.as_bytes())),
        Payload::Policy {
            version,
            digest,
            name,
        } => format!("{name} version {version}, sha256:{}", hex::encode(digest)),
        Payload::Validator(record) => format!(
            "{} slot {} weight {} id {}",
            record.name,
            record.slot,
            record.weight,
            short(&validator_id(record.key))
        ),
        Payload::Sealed { policy, total } => {
            format!(
                "total weight {total}, policy sha256:{}",
                hex::encode(policy)
            )
        }
        Payload::Request(encoding) => match Request::decode(encoding) {
            Ok(request) => format!(
                "by {}: {}, needs {}",
                who(&request),
                about(&request),
                percent(request.binding.threshold_bp)
            ),
            Err(error) => error.to_string(),
        },
        Payload::Vote(record) => match VoteRecord::decode(record) {
            Ok(record) if !record.reason.is_empty() => {
                format!("reason: {}", prose(record.reason.as_bytes()))
            }
            _ => String::new(),
        },
        Payload::Tally(tally) => {
            let quarantined = match tally.quarantined {
                0 => String::new(),
                weight => format!(", {weight} quarantined"),
            };
            format!(
                "approve {} deny {} of {}{quarantined}, needs {}",
                tally.approve,
                tally.deny,
                tally.total,
                percent(tally.threshold_bp)
            )
        }
        Payload::Agent {
            parent,
            pid,
            class,
            name,
        } => {
            let parent = match parent {
                0 => String::new(),
                id => format!(", started by agent {id}"),
            };
            format!("{name} of class {class}, process {pid}{parent}")
        }
        Payload::Path(path) => clean(path),
        Payload::Tried(tried) => clean(tried.as_bytes()),
        Payload::Restored {
            counter, anchor, ..
        } => {
            format!("counter {counter}, anchor {}", hex::encode(anchor))
        }
        Payload::Staged { counter, .. } => format!("counter {counter}"),
        Payload::Anchored {
            counter,
            number,
            anchor,
            ..
        } => format!(
            "event {number}, counter {counter}, anchor {}",
            hex::encode(anchor)
        ),
        Payload::Recovered {
            counter,
            anchor,
            state,
            ..
        } => format!(
            "counter {state} of the state, found {counter} and anchor {}",
            hex::encode(anchor)
        ),
        Payload::Clock(clock) => format!("{} entries", clock.count()),
        Payload::Evidence(bytes) => match Evidence::decode::<Sha256>(bytes) {
            Ok(of) => why(of.fault, &of.first, &of.second),
            Err(refusal) => refusal.message().to_owned(),
        },
        Payload::Watch(rules) => rules_text(rules),
        Payload::Reputation(kept) => format!(
            "score {}, bias {}, agreed {}, disagreed {}",
            kept.score, kept.bias, kept.agreed, kept.disagreed
        ),
    }
}

/// The payload of an event as JSON.
fn payload_json(payload: &Payload<'_>) -> Value {
    match payload {
        Payload::None => Value::Null,
        Payload::Loaded { version } => json!({ "version": version }),
        Payload::Policy {
            version,
            digest,
            name,
        } => json!({ "name": name, "version": version, "digest": hex::encode(digest) }),
        Payload::Validator(record) => json!({
            "name": record.name,
            "slot": record.slot,
            "weight": record.weight,
            "key": hex::encode(record.key),
            "id": hex::encode(validator_id(record.key)),
        }),
        Payload::Sealed { policy, total } => {
            json!({ "policy_digest": hex::encode(policy), "total": total })
        }
        Payload::Request(encoding) => {
            let mut value = request_json(encoding).unwrap_or(Value::Null);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("encoding".to_owned(), json!(hex::encode(encoding)));
            }
            value
        }
        Payload::Vote(bytes) => match VoteRecord::decode(bytes) {
            Ok(record) => {
                let mut value = record_json(&record);
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("record".to_owned(), json!(hex::encode(bytes)));
                }
                value
            }
            Err(_) => json!({ "record": hex::encode(bytes) }),
        },
        Payload::Tally(tally) => {
            json!({
                "approve": tally.approve,
                "deny": tally.deny,
                "total": tally.total,
                "quarantined": tally.quarantined,
                "threshold_bp": tally.threshold_bp,
            })
        }
        Payload::Agent {
            parent,
            pid,
            class,
            name,
        } => json!({ "parent": parent, "pid": pid, "class": class, "name": name }),
        Payload::Path(path) => json!({ "path": json_text(path), "path_hex": hex::encode(path) }),
        Payload::Tried(tried) => json!({ "tried": tried }),
        Payload::Restored {
            counter,
            head,
            anchor,
            wall_ms,
        } => json!({
            "counter": counter,
            "head": hex::encode(head),
            "anchor": hex::encode(anchor),
            "wall_ms": wall_ms,
        }),
        Payload::Staged {
            counter,
            before,
            result,
            change,
        } => json!({
            "counter": counter,
            "anchor_before": hex::encode(before),
            "result": result,
            "change": hex::encode(change),
        }),
        Payload::Anchored {
            counter,
            number,
            head,
            anchor,
        } => json!({
            "counter": counter,
            "number": number,
            "head": hex::encode(head),
            "anchor": hex::encode(anchor),
        }),
        Payload::Recovered {
            counter,
            anchor,
            state,
            head,
        } => json!({
            "counter": counter,
            "anchor": hex::encode(anchor),
            "state_counter": state,
            "state_head": hex::encode(head),
        }),
        Payload::Clock(clock) => json!({ "clock": clock.iter().collect::<Vec<_>>() }),
        Payload::Evidence(bytes) => {
            let mut value = Evidence::decode::<Sha256>(bytes)
                .map_or(Value::Null, |of| evidence::json_of(&of, bytes));
            if let Some(fields) = value.as_object_mut() {
                fields.insert("evidence".to_owned(), json!(hex::encode(bytes)));
            }
            value
        }
        Payload::Watch(rules) => rules_json(rules),
        Payload::Reputation(kept) => kept_json(kept),
    }
}

/// Decodes an event.
///
/// # Errors
///
/// [`Error::Invalid`] `event_malformed`.
pub(crate) fn decode_event(event: &client::Event) -> Result<event::Event<'_>> {
    event::Event::decode(&event.encoding).map_err(|error| {
        Error::invalid(
            "event_malformed",
            format!(
                "event {} cannot be decoded: {error}; use the tcpctl that was built with the module",
                event.number
            ),
        )
    })
}

/// An event on one line.
///
/// # Errors
///
/// As [`decode_event`].
pub(crate) fn event_line(event: &client::Event, names: &Names) -> Result<String> {
    let decoded = decode_event(event)?;
    let header = &decoded.header;
    let mut words = vec![
        format!("{:>6}", header.number),
        human_time(header.wall_ms),
        format!("{:<17}", header.kind.name()),
    ];
    // These kinds name the operation and the validator already.
    let told = matches!(
        header.kind,
        Kind::Policy
            | Kind::ValidatorAdded
            | Kind::ValidatorRemoved
            | Kind::Readmitted
            | Kind::Mode
    );
    if let Some(op) = header.op.filter(|_| !told) {
        words.push(op.name().to_owned());
    }
    if header.request != [0; 32] {
        words.push(short(&header.request));
    }
    if header.slot != 0 && !told {
        words.push(validator_name(names, header.slot));
    }
    if let Some(text) = result_text(header.kind, header.result) {
        words.push(text);
    }
    let payload = decoded.decode_payload();
    if header.agent != 0 && header.kind != Kind::Request {
        words.push(format!("agent {}", header.agent));
    }
    match payload {
        Ok(payload) => words.push(payload_text(&payload)),
        Err(error) => words.push(format!("(payload: {error})")),
    }
    if header.line != 0 {
        words.push(format!("(rule in line {})", header.line));
    } else if matches!(header.kind, Kind::Refused | Kind::Audit)
        && matches!(header.result, 0 | EACCES)
    {
        // Other errors say that the operation could not be judged at all.
        words.push("(DEFAULT)".to_owned());
    }
    if epoch_of(header.number) == 0 && header.kind != Kind::Loaded {
        words.push("unsealed".to_owned());
    }
    words.retain(|word| !word.is_empty());
    Ok(words.join(" "))
}

/// An event as JSON.
///
/// # Errors
///
/// As [`decode_event`].
pub(crate) fn event_json(event: &client::Event, names: &Names) -> Result<Value> {
    let decoded = decode_event(event)?;
    let header = &decoded.header;
    let payload = decoded
        .decode_payload()
        .map_or(Value::Null, |payload| payload_json(&payload));
    let request = (header.request != [0; 32]).then(|| hex::encode(header.request));
    Ok(json!({
        "number": header.number,
        "epoch": epoch_of(header.number),
        "sealed": epoch_of(header.number) != 0,
        "boot_ms": header.boot_ms,
        "wall_ms": header.wall_ms,
        "kind": header.kind.name(),
        "op": header.op.map(Op::name),
        "uid": header.uid,
        "agent": header.agent,
        "request": request,
        "slot": header.slot,
        "validator": names.get(&header.slot),
        "result": header.result,
        "result_text": result_text(header.kind, header.result),
        "line": header.line,
        "payload": payload,
        "chain": hex::encode(event.chain),
    }))
}

/// Remembers the names of validators that events tell about.
pub(crate) fn learn_names(event: &client::Event, names: &mut Names) {
    if let Ok(decoded) = decode_event(event) {
        if let Ok(Payload::Validator(record)) = decoded.decode_payload() {
            names.insert(record.slot, record.name.to_owned());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use engine::clock::{
        first_number,
        ClaimedClock, //
    };
    use engine::request::{
        Binding,
        Head,
        Object, //
    };

    /// A request of an epoch, for tests.
    pub(crate) fn sample_of(epoch: u64, created: u64, nonce: u8) -> Vec<u8> {
        let encoding = sample(Op::FileWrite, 9, &[Fact::Path(b"/x")]);
        let request = decode(&encoding).unwrap();
        let head = Head {
            epoch,
            created,
            nonce: &[nonce; 16],
            ..request.head
        };
        let facts: Vec<_> = request.facts().collect();
        let mut out = [0; engine::request::MAX_LEN];
        let length = engine::request::encode(&head, &request.binding, &facts, &mut out).unwrap();
        out[..length].to_vec()
    }

    /// A request with the facts given, for tests.
    pub(crate) fn sample(op: Op, agent: u64, facts: &[Fact<'_>]) -> Vec<u8> {
        let content = match op {
            Op::Exec => [0xcc; 32],
            _ => [0; 32],
        };
        let (class, agent_name) = match agent {
            0 => ("", ""),
            _ => ("builder", "make"),
        };
        let mut out = [0; engine::request::MAX_LEN];
        let length = engine::request::encode(
            &Head {
                node: &[1; 32],
                epoch: 7,
                nonce: &[2; 16],
                created: 5,
                created_ms: 1_000,
                expires_ms: 601_000,
                wall_ms: 1_700_000_000_000,
            },
            &Binding {
                op,
                uid: 1000,
                agent,
                policy_version: 3,
                policy: &[4; 32],
                threshold_bp: 7500,
                uses: 1,
                ttl_s: 300,
                line: 12,
                object: Object {
                    device: 0x10_0801,
                    inode: 42,
                    generation: 6,
                },
                content: &content,
                class,
                agent_name,
            },
            facts,
            &mut out,
        )
        .unwrap();
        out[..length].to_vec()
    }

    fn text(encoding: &[u8]) -> String {
        crate::output::pairs(&request_rows(encoding).unwrap())
    }

    #[test]
    fn an_approver_sees_everything_that_is_signed() {
        let encoding = sample(
            Op::Exec,
            9,
            &[
                Fact::Path(b"/usr/bin/\x1b[31mrm"),
                Fact::Argc(3),
                Fact::Arg(b"rm"),
                Fact::Arg(b"-rf"),
                Fact::Arg(b"/a b"),
                Fact::ArgsDigest(&[0xdd; 32]),
                Fact::Hook(b"bprm_check_security"),
            ],
        );
        let shown = text(&encoding);
        for part in [
            "EXEC",
            "make (class builder, agent 9, uid 1000)",
            "/usr/bin/\\u{1b}[31mrm",
            "\"/a b\"",
            "inode 42 on device 8:257, generation 6",
            &"cc".repeat(32),
            &"dd".repeat(32),
            "75%",
            "line 12 of policy version 3",
            "1 use within 5m",
            "2023-11-14 22:13:20 UTC",
            "2023-11-14 22:23:20 UTC (10m after it was made)",
            "bprm_check_security",
            &hex::encode(sha256(&encoding)),
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains('\x1b'));
        assert!(!shown.contains("WARNING"));
        let value = request_json(&encoding).unwrap();
        assert_eq!(value["args"], json!(["rm", "-rf", "/a b"]));
        assert_eq!(value["path"], "/usr/bin/\u{1b}[31mrm");
        assert_eq!(value["op"], "EXEC");
    }

    #[test]
    fn a_path_of_the_tasks_own_making_is_warned_about() {
        for (path, on_disk, warned) in [
            (&b"/etc/passwd"[..], &b"/etc/passwd"[..], false),
            (b"/srv/a/b", b"/a/b", false),
            (b"/srv", b"/", false),
            (b"/tmp/harmless", b"/etc/passwd", true),
        ] {
            let facts = [Fact::Path(path), Fact::FsPath(on_disk)];
            let shown = text(&sample(Op::FileWrite, 9, &facts));
            assert_eq!(shown.contains("WARNING"), warned, "{shown}");
            assert!(shown.contains("on its disk"));
        }
    }

    #[test]
    fn shortening_something_else_does_not_hide_where_the_object_is() {
        let long = vec![b'x'; 2000];
        let facts = [
            Fact::Path(b"/tmp/harmless"),
            Fact::Target(&long),
            Fact::FsPath(b"/etc/passwd"),
        ];
        let encoding = sample(Op::FileWrite, 9, &facts);
        assert!(text(&encoding).contains("under another path"));
        let about = about(&decode(&encoding).unwrap());
        assert!(about.starts_with("! /tmp/harmless -> xxx"), "{about}");
        assert!(about.contains("x...x") && about.len() < 110, "{about}");
    }

    #[test]
    fn what_the_disk_says_stands_below_the_path() {
        for (on_disk, shown) in [
            (&b"/"[..], "/ (device 8:257)"),
            (b"/b", "/b (device 8:257)"),
        ] {
            let facts = [
                Fact::Path(b"/a/b"),
                Fact::Hook(b"file_open"),
                Fact::FsPath(on_disk),
            ];
            let rows = request_rows(&sample(Op::FileWrite, 9, &facts)).unwrap();
            let at = rows.iter().position(|(name, _)| *name == "path").unwrap();
            assert_eq!(rows[at + 1], ("on its disk", shown.to_owned()));
            let count = rows.iter().filter(|(name, _)| *name == "on its disk");
            assert_eq!(count.count(), 1);
        }
    }

    #[test]
    fn a_shortened_request_says_so() {
        let long = vec![b'x'; 2000];
        let encoding = sample(Op::FileWrite, 9, &[Fact::Path(&long)]);
        assert!(text(&encoding).contains("WARNING"));
        assert_eq!(request_json(&encoding).unwrap()["shortened"], true);
    }

    #[test]
    fn every_fact_has_words() {
        let shown = text(&sample(
            Op::Kill,
            9,
            &[
                Fact::Target(b"/t"),
                Fact::TargetObject(Object {
                    device: 1,
                    inode: 2,
                    generation: 3,
                }),
                Fact::Name(b"n"),
                Fact::Address {
                    family: 2,
                    port: 443,
                    address: &[10, 0, 0, 1],
                },
                Fact::Flags(0x41),
                Fact::Mode(0o755),
                Fact::Owner {
                    uid: 0,
                    gid: u32::MAX,
                },
                Fact::Command(9),
                Fact::Task {
                    pid: 77,
                    agent: 0,
                    comm: b"init",
                },
                Fact::Size(10),
                Fact::Version(4),
            ],
        ));
        for part in [
            "10.0.0.1:443",
            "0x41",
            "0o755",
            "user 0, group unchanged",
            "9 (SIGKILL)",
            "process 77 (init), no agent",
            "10 bytes",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert_eq!(
            address(10, 53, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            "[::1]:53"
        );
        assert_eq!(address(16, 0, &[]), "address family 16, port 0");
    }

    #[test]
    fn governance_requests_say_what_they_would_do() {
        let mut key = [7; 65];
        key[0] = 4;
        let mut buffer = [0; engine::governance::MAX_DETAIL];
        for (op, of, part) in [
            (
                Op::Validator,
                Detail::AddValidator {
                    weight: 3,
                    name: "eve",
                    key: &key,
                },
                "add validator eve, weight 3, id ",
            ),
            (
                Op::Validator,
                Detail::RemoveValidator { name: "eve" },
                "remove validator eve",
            ),
            (
                Op::Validator,
                Detail::ReadmitValidator { name: "eve" },
                "end the quarantine of validator eve",
            ),
            (
                Op::Mode,
                Detail::Mode(engine::governance::Mode::Permissive),
                "set mode permissive",
            ),
            (Op::Unload, Detail::Unload, "let the module be unloaded"),
        ] {
            let length = of.encode(&mut buffer).unwrap();
            let encoding = sample(op, 0, &[Fact::Detail(&buffer[..length])]);
            assert!(text(&encoding).contains(part), "{part}");
            let request = decode(&encoding).unwrap();
            assert!(about(&request).starts_with(part));
            assert_eq!(who_short(&request), "uid 1000");
        }
    }

    #[test]
    fn a_policy_request_names_the_policy() {
        let encoding = sample(Op::Policy, 0, &[Fact::Name(b"web"), Fact::Version(3)]);
        assert_eq!(
            about(&decode(&encoding).unwrap()),
            "load policy web version 3"
        );
    }

    #[test]
    fn percentages_are_short() {
        for (points, shown) in [
            (7500, "75%"),
            (6667, "66.67%"),
            (9050, "90.5%"),
            (5001, "50.01%"),
        ] {
            assert_eq!(percent(points), shown);
        }
    }

    #[test]
    fn malformed_encodings_are_refused() {
        assert_eq!(decode(b"x").unwrap_err().code(), "request_malformed");
        let event = client::Event {
            number: 1,
            encoding: b"x".to_vec(),
            chain: [0; 32],
        };
        assert_eq!(
            event_line(&event, &Names::new()).unwrap_err().code(),
            "event_malformed"
        );
    }

    /// An event of a kind, for tests.
    pub(crate) fn sample_event(
        number: u64,
        kind: Kind,
        result: u16,
        payload: &Payload<'_>,
    ) -> client::Event {
        sample_event_of_line(12, number, kind, result, payload)
    }

    /// The same, of a rule in `line`; 0 for a DEFAULT.
    fn sample_event_of_line(
        line: u32,
        number: u64,
        kind: Kind,
        result: u16,
        payload: &Payload<'_>,
    ) -> client::Event {
        let mut bytes = [0; engine::limits::EVENT_PAYLOAD];
        let length = payload.encode(&mut bytes).unwrap();
        let event = event::Event {
            header: event::Header {
                number,
                boot_ms: 10,
                wall_ms: 1_700_000_000_000,
                kind,
                op: Some(Op::Exec),
                uid: 1000,
                agent: 9,
                request: [0xab; 32],
                slot: 2,
                result,
                line,
            },
            payload: &bytes[..length],
        };
        let mut out = [0; engine::limits::EVENT_PAYLOAD + event::HEADER_LEN];
        let length = event.encode(&mut out).unwrap();
        client::Event {
            number,
            encoding: out[..length].to_vec(),
            chain: [3; 32],
        }
    }

    #[test]
    fn what_a_default_decided_says_so() {
        let number = first_number(3) + 8;
        let line_of = |line, kind, result| {
            let event = sample_event_of_line(line, number, kind, result, &Payload::Path(b"/p"));
            event_line(&event, &Names::new()).unwrap()
        };
        for (kind, result) in [(Kind::Refused, 13), (Kind::Audit, 0), (Kind::Audit, 13)] {
            assert!(line_of(0, kind, result).ends_with("/p (DEFAULT)"));
            assert!(line_of(12, kind, result).ends_with("/p (rule in line 12)"));
        }
        // It could not be judged: no memory.
        assert!(line_of(0, Kind::Refused, 12).ends_with("/p"));
        let ended = sample_event_of_line(0, 8, Kind::AgentEnded, 0, &Payload::None);
        assert!(!event_line(&ended, &Names::new())
            .unwrap()
            .contains("DEFAULT"));
    }

    #[test]
    fn every_event_says_whether_its_load_is_sealed() {
        for (number, sealed) in [(1, false), (8, false), (first_number(1) + 1, true)] {
            let event = sample_event_of_line(0, number, Kind::AgentEnded, 0, &Payload::None);
            let line = event_line(&event, &Names::new()).unwrap();
            assert_eq!(line.ends_with("unsealed"), !sealed, "{line}");
            let json = event_json(&event, &Names::new()).unwrap();
            assert_eq!(json["sealed"], sealed);
            assert_eq!(json["epoch"], u64::from(sealed));
        }
    }

    #[test]
    fn the_past_of_a_node_has_words_and_json() {
        let (head, anchor) = ([1; 32], [2; 32]);
        let (head_hex, anchor_hex) = ("01".repeat(32), "02".repeat(32));
        let restored = Payload::Restored {
            counter: 5,
            head: &head,
            anchor: &anchor,
            wall_ms: 7,
        };
        let recovered = Payload::Recovered {
            counter: 9,
            anchor: &anchor,
            state: 5,
            head: &head,
        };
        let anchored = Payload::Anchored {
            counter: 5,
            number: 44,
            head: &head,
            anchor: &anchor,
        };
        let staged = Payload::Staged {
            counter: 5,
            before: &anchor,
            result: 0,
            change: &[],
        };
        let entries = [
            0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3,
        ];
        let clock = Payload::Clock(ClaimedClock::decode(&entries[2..]).unwrap());
        let number = first_number(3) + 8;
        for (kind, result, payload, words, member, value) in [
            (
                Kind::Restored,
                1,
                &restored,
                format!("current agent 9 counter 5, anchor {anchor_hex}"),
                "wall_ms",
                json!(7),
            ),
            (
                Kind::Restored,
                2,
                &restored,
                format!("half committed agent 9 counter 5, anchor {anchor_hex}"),
                "anchor",
                json!(anchor_hex),
            ),
            (
                Kind::Restored,
                3,
                &restored,
                format!("not current agent 9 counter 5, anchor {anchor_hex}"),
                "head",
                json!(head_hex),
            ),
            (
                Kind::Recovered,
                Refusal::StateOlder.code(),
                &recovered,
                format!(
                    "state_older agent 9 counter 5 of the state, found 9 and anchor {anchor_hex}"
                ),
                "state_counter",
                json!(5),
            ),
            (
                Kind::Anchored,
                0,
                &anchored,
                format!("agent 9 event 44, counter 5, anchor {anchor_hex}"),
                "number",
                json!(44),
            ),
            (
                Kind::Staged,
                0,
                &staged,
                "checkpoint agent 9 counter 5".to_owned(),
                "anchor_before",
                json!(anchor_hex),
            ),
            (
                Kind::Clock,
                0,
                &clock,
                "agent 9 2 entries".to_owned(),
                "clock",
                json!([[0, 44], [1, 3]]),
            ),
        ] {
            let event = sample_event_of_line(0, number, kind, result, payload);
            let line = event_line(&event, &Names::new()).unwrap();
            assert!(line.ends_with(&format!(" {words}")), "{line}");
            let json = event_json(&event, &Names::new()).unwrap();
            assert_eq!(json["payload"][member], value, "{json}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_shown_nevertheless() {
        let mut event = sample_event(
            first_number(3) + 8,
            Kind::Refused,
            13,
            &Payload::Path(b"/p"),
        );
        let names = Names::new();
        // The kind is now one whose payload this is not.
        event.encoding[32..34].copy_from_slice(&(Kind::Anchored as u16).to_be_bytes());
        event.encoding[82..84].copy_from_slice(&[0, 0]);
        let line = event_line(&event, &names).unwrap();
        assert!(line.contains("(payload: "), "{line}");
        assert_eq!(fact_text(Op::Mode, &Fact::Detail(&[0xee, 0xff])), "eeff");
        assert_eq!(errno_name(0), "nothing");
        assert_eq!(
            result_text(Kind::VoteRefused, 9999),
            Some("9999".to_owned())
        );
        let recover = Detail::Recover {
            reason: Refusal::StateOlder.code(),
            state: 1,
            found: 2,
        };
        assert_eq!(
            detail(&recover),
            "take a state that is not current (state_older): its counter 1, found 2"
        );
    }

    #[test]
    fn events_have_words_and_json() {
        let mut key = [7; 65];
        key[0] = 4;
        let request = sample(Op::FileWrite, 9, &[Fact::Path(b"/etc/x")]);
        let tally = event::Tally {
            approve: 3,
            deny: 1,
            total: 4,
            quarantined: 1,
            threshold_bp: 9000,
        };
        let rules = Rules {
            raise_bp: 1500,
            ceiling_bp: 9000,
            missing_bp: 3334,
            burst: 16,
            silence_ms: 600_000,
            within_ms: 61_000,
            quiet_ms: 5_000,
        };
        let kept = Kept {
            score: 7000,
            bias: 5,
            agreed: 3,
            disagreed: 4,
        };
        let evidence = evidence::tests::equivocation();
        let record = engine::governance::ValidatorRecord {
            slot: 2,
            weight: 1,
            name: "bob",
            key: &key,
        };
        let mut names = Names::new();
        for (kind, result, payload, part) in [
            (
                Kind::Loaded,
                1,
                Payload::Loaded { version: "1.0" },
                "version 1.0",
            ),
            (
                Kind::Policy,
                0,
                Payload::Policy {
                    version: 2,
                    digest: &[1; 32],
                    name: "web",
                },
                "web version 2",
            ),
            (
                Kind::ValidatorAdded,
                0,
                Payload::Validator(record),
                "bob slot 2 weight 1",
            ),
            (
                Kind::Sealed,
                0,
                Payload::Sealed {
                    policy: &[1; 32],
                    total: 4,
                },
                "total weight 4",
            ),
            (Kind::Mode, 2, Payload::None, "enforce"),
            (
                Kind::Request,
                0,
                Payload::Request(&request),
                "/etc/x, needs 75%",
            ),
            (
                Kind::Granted,
                0,
                Payload::Tally(tally),
                "approve 3 deny 1 of 4, 1 quarantined, needs 90%",
            ),
            (
                Kind::Quarantined,
                1,
                Payload::Evidence(&evidence),
                "equivocation agent 9 two answers to one question",
            ),
            (
                Kind::Readmitted,
                0,
                Payload::Validator(record),
                "bob slot 2 weight 1",
            ),
            (
                Kind::Watch,
                0,
                Payload::Watch(rules),
                "raises by 15% to at most 90%; on 16 invalid votes within 1m 1s, on 33.34% of the weight silent for 10m; \
                 for 5s",
            ),
            (Kind::Alert, 2, Payload::None, "burst"),
            (Kind::Calm, 4, Payload::None, "suspicion"),
            (
                Kind::Reputation,
                0,
                Payload::Reputation(kept),
                "score 7000, bias 5, agreed 3, disagreed 4",
            ),
            (Kind::Cancelled, 2, Payload::None, "the policy changed"),
            (Kind::Used, 0, Payload::None, "0 left"),
            (Kind::GrantEnded, 3, Payload::None, "used up"),
            (
                Kind::GrantEnded,
                6,
                Payload::None,
                "a validator was quarantined",
            ),
            (
                Kind::Agent,
                0,
                Payload::Agent {
                    parent: 4,
                    pid: 77,
                    class: "c",
                    name: "n",
                },
                "n of class c, process 77, started by agent 4",
            ),
            (Kind::Refused, 13, Payload::Path(b"/p"), "EACCES"),
            (
                Kind::Audit,
                0,
                Payload::Path(b"/p\n"),
                "allowed agent 9 /p\\n",
            ),
            (Kind::VoteRefused, 16, Payload::None, "vote_forged"),
            (Kind::ControlRefused, 32, Payload::Tried("seal"), "labelled"),
        ] {
            let event = sample_event(8, kind, result, &payload);
            learn_names(&event, &mut names);
            let line = event_line(&event, &names).unwrap();
            assert!(line.contains(part), "{part} in {line}");
            assert!(line.contains(kind.name()));
            let value = event_json(&event, &names).unwrap();
            assert_eq!(value["number"], 8);
            assert_eq!(value["kind"], kind.name());
        }
        assert_eq!(validator_name(&names, 2), "bob");
        assert_eq!(validator_name(&names, 3), "slot 3");
    }
}
