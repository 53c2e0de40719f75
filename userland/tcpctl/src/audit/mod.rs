// SPDX-License-Identifier: GPL-2.0

//! `tcpctl audit`: what a node did, verified on any machine, without the module.
//!
//! The formats and rules are the kernel's own code (the crate `engine`); what is here replays a log against them and names
//! the first event that is wrong. See `Documentation/audit.rst`.

mod alerts;
mod anchors;
mod docket;
mod fault;
mod history;
mod load;
pub(crate) mod log;
mod quarantine;
mod roll;
mod said;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{
        BufReader,
        IsTerminal,
        Write, //
    },
    path::{
        Path,
        PathBuf, //
    },
    time::{
        Duration,
        Instant, //
    }, //
};

use clap::{
    Args,
    Subcommand, //
};
use engine::{
    limits,
    policy::Policy,
    state::State, //
};
use serde_json::{
    json,
    Value, //
};

use self::{
    anchors::Kept,
    fault::{
        same_digest,
        wrong,
        Checked,
        Fault,
        Wrong, //
    },
    history::{
        History,
        Stop,
        Vouched, //
    },
    load::Texts, //
};
use crate::{
    crypto::{
        self,
        sha256,
        Sha256, //
    },
    error::{
        Error,
        Result, //
    },
    file,
    output::{
        clean,
        conclude,
        count,
        pairs,
        Output,
        Tone, //
    },
    quote::{
        self,
        Signer, //
    }, //
};

/// `tcpctl audit ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Verify a log: the chain, every vote, decision, use and quarantine, every threshold, every commit to the TPM
    ///
    /// Several files are read one after the other, as one log. The first event that is wrong is named, with what is wrong
    /// and what was expected; the exit code is then 1. Needs neither the module nor a TPM.
    #[command(
        after_help = "Example:\n  tcpctl audit verify node.log --policy builder.policy --quote quote.json --nonce 5f0c... --ak ak.pem"
    )]
    Verify(Verify),
}

/// What to verify, and against what.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Logs written by `tcpctl events export`, in the order of time
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A quote of the node's TPM (`tcpctl attest quote`): demand that the log goes to where the TPM says
    #[arg(long, value_name = "FILE", requires = "nonce")]
    quote: Option<PathBuf>,
    /// The nonce that the quote was asked for, in hexadecimal
    #[arg(long, value_name = "HEX", requires = "quote", value_parser = parse_nonce)]
    nonce: Option<Nonce>,
    /// The node's attestation key, in PEM
    #[arg(long, value_name = "PEM", requires = "quote", conflicts_with = "node")]
    ak: Option<PathBuf>,
    /// The node's name, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = parse_digest)]
    node: Option<Digest>,
    /// The text of a policy that was in force: demand that its rules give the terms of each request
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// The node's state file: demand that it is the one that was committed last
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Check a log with gaps, or one whose first load goes on from a load that is not there: of such loads only what stands
    /// by itself
    #[arg(long)]
    partial: bool,
}

/// A nonce.
#[derive(Debug, Clone)]
struct Nonce(Vec<u8>);

/// A digest.
#[derive(Debug, Clone, Copy)]
struct Digest([u8; 32]);

fn parse_nonce(text: &str) -> Result<Nonce, String> {
    hex::decode(text)
        .map(Nonce)
        .map_err(|_| "not an even number of hexadecimal digits".to_owned())
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(Digest)
        .ok_or_else(|| "not 64 hexadecimal digits".to_owned())
}

/// Runs the command.
///
/// # Errors
///
/// [`Error::Reported`] when something is wrong with the log; those of the files otherwise.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Verify(verify) => run_verify(verify, output),
    }
}

/// What the verification was given beside the log.
struct Evidence {
    /// What a quote says.
    quote: Option<Vouched>,
    /// The bytes of a state.
    state: Option<Vec<u8>>,
    /// The node that is expected.
    node: Option<[u8; 32]>,
}

/// Reads texts of policies; that in a state, too.
fn read_texts(files: &[PathBuf], state: Option<&[u8]>) -> Result<Texts> {
    let mut texts = Texts::new();
    let mut add = |name: &str, bytes: &[u8]| -> Result<()> {
        let policy = Policy::parse(bytes).map_err(|error| {
            Error::invalid(
                "policy_invalid",
                format!("{}: {error}", clean(name.as_bytes())),
            )
        })?;
        texts.insert(sha256(bytes), policy);
        Ok(())
    };
    for path in files {
        add(
            &path.to_string_lossy(),
            &file::read(path, limits::POLICY_TEXT)?,
        )?;
    }
    if let Some(state) = state.and_then(|bytes| State::decode::<Sha256>(bytes).ok()) {
        add("the policy in the state", state.policy)?;
    }
    Ok(texts)
}

fn read_quote(verify: &Verify) -> Result<Option<Vouched>> {
    let (Some(path), Some(nonce)) = (&verify.quote, &verify.nonce) else {
        return Ok(None);
    };
    let signer = match (&verify.ak, verify.node) {
        (Some(ak), _) => Signer::Key(crypto::public_argument(&ak.to_string_lossy())?),
        (None, Some(node)) => Signer::Node(node.0),
        (None, None) => {
            return Err(Error::Usage(
                "a quote is worth as much as its key: give --ak PEM or --node HEX".to_owned(),
            ))
        }
    };
    let pcrs = BTreeMap::new();
    let verified = quote::verify(
        &file::read(path, quote::MAX_FILE)?,
        &quote::Expected {
            nonce: &nonce.0,
            signer,
            pcrs: &pcrs,
            setup: false,
        },
    )?;
    let anchor = verified.anchor.ok_or_else(|| {
        Error::invalid(
            "quote_no_anchor",
            "the quote does not certify the anchor: the node has never committed anything",
        )
    })?;
    Ok(Some(Vouched {
        node: verified.node,
        counter: verified.counter,
        anchor,
    }))
}

/// Shows on a terminal how far a long log has been read.
struct Progress {
    enabled: bool,
    last: Instant,
    shown: bool,
}

impl Progress {
    /// For people only.
    fn new(output: &Output) -> Self {
        Self {
            enabled: !output.json && std::io::stderr().is_terminal(),
            last: Instant::now(),
            shown: false,
        }
    }

    fn tick(&mut self, bytes: u64, total: u64, events: u64) {
        // Asking for the time with every event would cost more than telling it is worth.
        if !self.enabled || events % 1024 != 0 || self.last.elapsed() < Duration::from_millis(500) {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let percent = (bytes.saturating_mul(100)).checked_div(total).unwrap_or(0);
        // Nobody is left to be told when standard error is gone.
        let _ = write!(std::io::stderr(), "\r{percent:>3} %  {events} events");
    }

    fn end(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Reads the logs, and then demands what the evidence says.
///
/// # Errors
///
/// What is wrong first.
fn audit(
    history: &mut History,
    files: &[PathBuf],
    evidence: &Evidence,
    progress: &mut Progress,
) -> Result<Result<Ending, Box<Fault>>> {
    let whole = |wrong: Wrong| {
        Box::new(Fault {
            event: None,
            kind: None,
            file: String::new(),
            wrong,
        })
    };
    for path in files {
        let input = File::open(path).map_err(|source| Error::file("read", path, source))?;
        let total = input.metadata().map_or(0, |of| of.len());
        let read = history.read(
            &path.to_string_lossy(),
            BufReader::with_capacity(1 << 16, input),
            |bytes, events| progress.tick(bytes, total, events),
        );
        match read {
            Ok(()) => {}
            Err(Stop::Io(source)) => return Err(Error::file("read", path, source)),
            Err(Stop::Fault(fault)) => return Ok(Err(fault)),
        }
        if let (Some(expected), Some(node)) = (&evidence.node, history.node()) {
            if let Err(wrong) = same_digest("other_node", "the node", node, expected) {
                return Ok(Err(whole(wrong)));
            }
        }
    }
    if history.counts.events == 0 {
        return Ok(Err(whole(wrong(
            "log_empty",
            "there is no whole event",
            "a log",
        ))));
    }
    let ending = || -> Checked<Ending> {
        let quoted = evidence
            .quote
            .as_ref()
            .map(|quote| history.vouch(quote))
            .transpose()?;
        let state = evidence
            .state
            .as_deref()
            .map(|state| check_state(history, state, evidence.quote.as_ref()))
            .transpose()?;
        Ok(Ending {
            quoted: quoted.map(|reached| reached.tail),
            half: quoted.is_some_and(|reached| reached.half),
            state,
        })
    };
    Ok(ending().map_err(whole))
}

/// How the log ends.
struct Ending {
    /// Events after what the quote covers; [`None`] without a quote.
    quoted: Option<u64>,
    /// Whether the quote was made within a commit.
    half: bool,
    /// How far a state was compared.
    state: Option<Compared>,
}

/// How far a state was compared with the log.
struct Compared {
    /// Whether the log tells what it holds.
    known: bool,
    /// Whether something says that the TPM has taken it.
    committed: bool,
}

/// Demands that a state is the one that was committed last, and holds what the log says.
fn check_state(history: &History, bytes: &[u8], quote: Option<&Vouched>) -> Checked<Compared> {
    let state = State::decode::<Sha256>(bytes).map_err(|refusal| {
        wrong(
            refusal.name(),
            "the state is torn or not well formed",
            "a state",
        )
    })?;
    let reached = history.vouch(&Vouched {
        node: *state.head.node,
        counter: state.head.counter,
        anchor: *state.head.anchor,
    })?;
    if reached.half {
        return Err(wrong(
            "state_differs",
            format!("the counter is {}", state.head.counter),
            "the counter of the commit whose anchor it has",
        ));
    }
    if let Some(quote) = quote {
        same_digest(
            "state_differs",
            "the anchor",
            state.head.anchor,
            &quote.anchor,
        )?;
    }
    let kept = reached.state.and_then(|committed| committed.kept.as_ref());
    if let Some(kept) = kept {
        check_kept(&state, kept)?;
    }
    Ok(Compared {
        known: kept.is_some(),
        committed: quote.is_some() || !reached.staged,
    })
}

/// Compares what a state holds with the facts of the log.
fn check_kept(state: &State<'_>, kept: &Kept) -> Checked {
    let digest = kept.policy.as_ref().map_or([0; 32], |policy| policy.digest);
    same_digest(
        "state_differs",
        "the digest of the policy",
        &sha256(state.policy),
        &digest,
    )?;
    let fits = usize::from(state.count()) == kept.roll.count()
        && state.validators().all(|validator| {
            let record = &validator.record;
            kept.roll.get(record.slot).is_some_and(|known| {
                known.weight == record.weight
                    && known.name == record.name
                    && known.key == *record.key
                    && validator.clock.iter().eq(known.last.iter())
            })
        });
    if !fits || state.head.mode as u16 != kept.mode {
        return Err(wrong(
            "state_differs",
            "validators, their clocks or the mode are not those of the log",
            "the state that the log says was committed",
        ));
    }
    check_standing(state, kept)
}

/// Compares quarantines and reputations in a state with those of the log.
fn check_standing(state: &State<'_>, kept: &Kept) -> Checked {
    let known: Vec<_> = state.quarantine().collect();
    if !kept.quarantines.are(&known, &kept.roll) {
        return Err(wrong(
            "state_differs",
            "quarantined and readmitted validators are not those of the log",
            "the quarantines that the log tells of",
        ));
    }
    if !state.reputations().eq(kept
        .reputations
        .iter()
        .map(|(&slot, &reputation)| (slot, reputation)))
    {
        return Err(wrong(
            "state_differs",
            "the reputations are not those that follow from the log",
            "the reputations that follow from the log",
        ));
    }
    Ok(())
}

/// What the verification did not look at, in sentences.
fn unchecked(history: &History, evidence: &Evidence, ending: &Ending) -> Vec<String> {
    let counts = &history.counts;
    let mut list = Vec::new();
    if evidence.quote.is_none() {
        list.push(
            "whether the log is complete, and the only one: give a --quote of the node's TPM"
                .to_owned(),
        );
    }
    if history.load.as_ref().is_some_and(|load| !load.tpm) {
        list.push(
            "the past before this load: the node is unsealed, nothing outlives a restart"
                .to_owned(),
        );
    }
    if counts.unread > 0 {
        list.push(format!(
            "the terms of {}: give the text with --policy",
            count(
                usize::try_from(counts.unread).unwrap_or(usize::MAX),
                "request"
            )
        ));
    }
    if counts.unfitted > 0 {
        list.push(format!(
            "whether {} policy: give its text with --policy",
            match counts.unfitted {
                1 => "one WATCH fits its".to_owned(),
                more => format!("{more} WATCH fit their"),
            }
        ));
    }
    if counts.terms > 0 {
        list.push(
            "whether an earlier rule of the policy matches: only the node can resolve its paths"
                .to_owned(),
        );
    }
    if !history.unfounded.is_empty() {
        let epochs: Vec<String> = history.unfounded.iter().map(u64::to_string).collect();
        list.push(format!(
            "what load {} was restored from, and so who approved its policy, validators and clocks, who was readmitted, and \
             whether reputations are right: root with access to this machine's TPM can make a state; give the log of the load \
             before",
            epochs.join(", ")
        ));
    }
    if counts.outdated > 0 {
        list.push("whether what was recovered is what an earlier load had: its state is not the last one of the log".to_owned());
    }
    if counts.partial > 0 {
        list.push(format!(
            "votes, decisions, thresholds, alerts and uses in {} events of loads that are not here from their beginning",
            counts.partial
        ));
    }
    if let Some(compared) = &ending.state {
        list.push("the MAC of the state: only the node's TPM has its key".to_owned());
        if !compared.known {
            list.push("what the state holds: the log does not tell".to_owned());
        }
        if !compared.committed {
            list.push(
                "whether the TPM has taken the state: it was staged last; give a --quote"
                    .to_owned(),
            );
        }
    }
    if history.load.as_ref().is_some_and(|load| !load.has_epoch()) {
        list.push(
            "what the locked load at the end goes on from: nothing was restored yet".to_owned(),
        );
    }
    list
}

fn report(history: &History, evidence: &Evidence, ending: &Ending) -> (Value, String) {
    let counts = &history.counts;
    let unchecked = unchecked(history, evidence, ending);
    let node = history.node().map(hex::encode).unwrap_or_default();
    let (requests, grants) = history.load.as_ref().map_or((0, 0), load::Load::open);
    let committed = history.committed();
    let head = history
        .load
        .as_ref()
        .map(|load| (load.number, hex::encode(load.head())));
    let torn: u64 = history.torn.iter().map(|(_, bytes)| bytes).sum();
    let tail = ending.quoted.unwrap_or(history.tail());
    let value = json!({
        "ok": true,
        "node": node,
        "loads": counts.loads,
        "restored": counts.restored,
        "restored_from_unknown": history.unfounded,
        "recovered": counts.recovered,
        "events": counts.events,
        "last": head.as_ref().map(|(number, _)| number),
        "chain": head.as_ref().map(|(_, chain)| chain),
        "requests": counts.requests,
        "requests_open": requests,
        "votes": counts.votes,
        "votes_held": counts.held,
        "granted": counts.granted,
        "denied": counts.denied,
        "expired": counts.expired,
        "cancelled": counts.cancelled,
        "uses": counts.uses,
        "quarantined": counts.quarantined,
        "readmitted": counts.readmitted,
        "alerts": counts.alerts,
        "grants_live": grants,
        "governance": counts.governance,
        "terms": counts.terms,
        "anchors": counts.anchors,
        "anchored": committed.map(|last| json!({
            "counter": last.counter,
            "number": last.number,
            "anchor": hex::encode(last.anchor),
        })),
        "quoted": ending.quoted.is_some(),
        "half_committed": ending.half,
        "not_anchored": tail,
        "torn_bytes": torn,
        "not_checked": unchecked,
    });
    let mut rows = vec![
        ("node", node),
        (
            "loads",
            format!(
                "{}, {} restored, {} recovered",
                counts.loads, counts.restored, counts.recovered
            ),
        ),
        ("events", counts.events.to_string()),
        (
            "requests",
            format!(
                "{}: {} granted, {} denied, {} expired, {} cancelled, {requests} open",
                counts.requests, counts.granted, counts.denied, counts.expired, counts.cancelled
            ),
        ),
        (
            "votes",
            format!("{} verified, {} held", counts.votes, counts.held),
        ),
        (
            "grants",
            format!("{} uses, {grants} live at the end", counts.uses),
        ),
        (
            "governance",
            format!("{} changes under a quorum", counts.governance),
        ),
        (
            "faults",
            format!(
                "{} quarantined on evidence, {} readmitted",
                counts.quarantined, counts.readmitted
            ),
        ),
        (
            "alerts",
            format!("{}, every threshold computed anew", counts.alerts),
        ),
        ("anchors", counts.anchors.to_string()),
    ];
    if let Some(last) = committed {
        rows.push((
            "last anchor",
            format!(
                "{}, counter {}, event {}",
                hex::encode(last.anchor),
                last.counter,
                last.number
            ),
        ));
    }
    if let Some((number, chain)) = &head {
        rows.push(("head", format!("{chain}, event {number}")));
    }
    rows.push((
        "quote",
        match ending.quoted {
            Some(_) if ending.half => {
                "half committed: the TPM has the anchor of the last commit, and not yet its counter"
                    .to_owned()
            }
            Some(_) => "the TPM vouches for the last anchor".to_owned(),
            None => "none".to_owned(),
        },
    ));
    rows.push(("not yet anchored", tail.to_string()));
    for (name, bytes) in &history.torn {
        rows.push((
            "torn tail",
            format!("{bytes} bytes of {}", clean(name.as_bytes())),
        ));
    }
    for text in &unchecked {
        rows.push(("NOT checked", text.clone()));
    }
    (value, pairs(&rows))
}

fn run_verify(verify: &Verify, output: &Output) -> Result<()> {
    let state = verify
        .state
        .as_deref()
        .map(|path: &Path| file::read(path, engine::state::MAX_LEN))
        .transpose()?;
    let evidence = Evidence {
        quote: read_quote(verify)?,
        node: verify.node.map(|node| node.0),
        state,
    };
    let texts = read_texts(&verify.policy, evidence.state.as_deref())?;
    let mut history = History::new(texts, verify.partial);
    let mut progress = Progress::new(output);
    let ending = audit(&mut history, &verify.files, &evidence, &mut progress);
    progress.end();
    match ending? {
        Ok(ending) => {
            let (value, text) = report(&history, &evidence, &ending);
            output.either(&value, || {
                format!("{}\n{text}", output.paint(Tone::Good, "verified"))
            })
        }
        Err(fault) => {
            let value = json!({
                "ok": false,
                "event": fault.event,
                "kind": fault.kind,
                "file": fault.file,
                "error": fault.wrong.code,
                "found": fault.wrong.found,
                "expected": fault.wrong.expected,
                "events": history.counts.events,
            });
            let told = output.either(&value, || {
                format!("{} {fault}", output.paint(Tone::Bad, "WRONG:"))
            });
            conclude(told, Some(Error::Reported))
        }
    }
}
