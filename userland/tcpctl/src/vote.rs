// SPDX-License-Identifier: GPL-2.0

//! `tcpctl vote`: signing and submitting votes.

use std::{
    path::{
        Path,
        PathBuf, //
    },
    time::Duration, //
};

use clap::{
    Args,
    Subcommand, //
};
use engine::{
    clock::{
        epoch_of,
        first_number,
        ClaimedClock,
        NodeClock,
        NODE_SLOT,
        SLOTS, //
    },
    limits,
    quorum::Verdict,
    request::Head,
    vote::{
        self,
        Vote,
        VoteRecord, //
    },
    wire::Writer, //
};
use serde_json::json;

use crate::{
    client::{
        Accepted,
        Client,
        RequestState, //
    },
    crypto::{
        public_argument,
        validator_id,
        verify,
        Point,
        PrivateKey,
        Sha256, //
    },
    describe,
    error::{
        Error,
        Result, //
    },
    exported::{
        peers,
        Basis,
        Exported, //
    },
    file,
    ids::{
        self,
        Prefix, //
    },
    key,
    output::{
        clean,
        conclude,
        note,
        pairs,
        prose,
        Output,
        Tone, //
    },
    request,
    sidecar::{
        self,
        Entry,
        Past,
        Sidecar, //
    },
    time,
    tpm, //
};

/// What to do with votes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign a vote that approves a request, and submit it
    ///
    /// Shows the whole request, checks that its id is the digest of its encoding, and signs. What was signed is kept in the
    /// key's journal: two votes that contradict each other convict the key, so what could do that is not signed (exit code
    /// 6). It is FILE.clock beside the key, and for a key in the TPM ID.clock in /var/lib/tcp-lsm (root) or in
    /// ~/.local/state/tcp-lsm. One key, one journal: never vote with a key from two machines, or with an old copy of its
    /// journal. `tcpctl key generate` makes it; a key that was made otherwise needs --new-journal at its first vote, and
    /// never again. With --request the vote is made from a file of `tcpctl request export`, on any machine; the clocks in
    /// that file are not believed, except for the validator's own entry (at most 524288) where the journal does not know
    /// the node. With --out the vote is written and not submitted.
    #[command(
        after_help = "Examples:\n  tcpctl vote approve 3f9a12c4 --as alice --key alice.key --reason 'ticket 12'\n  \
                      tcpctl vote approve 3f9a12c4 --as bob --key bob.key --request r.json --out bob.vote\n  \
                      tcpctl vote approve 3f9a12c4 --as carol --tpm 81185400"
    )]
    Approve(Cast),
    /// Sign a vote that denies a request, and submit it
    #[command(
        after_help = "Example:\n  tcpctl vote deny 3f9a12c4 --as bob --key bob.key --reason 'not in the change window'"
    )]
    Deny(Cast),
    /// Submit a vote record that was written with --out
    #[command(after_help = "Example:\n  tcpctl vote submit bob.vote")]
    Submit {
        /// The vote record; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
    },
    /// Show what a vote record says, and check its signature
    #[command(after_help = "Example:\n  tcpctl vote show bob.vote --key bob.key.pub")]
    Show {
        /// The vote record; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Public key to check the signature with
        #[arg(long, value_name = "FILE|HEX")]
        key: Option<String>,
    },
}

/// How to vote.
#[derive(Debug, Args)]
pub(crate) struct Cast {
    /// Id of the request, at least its first 8 digits
    #[arg(value_name = "ID", value_parser = ids::parse)]
    id: Prefix,
    /// Name under which the key is enrolled
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// The validator's private key; with --tpm the name beside which FILE.pub is [default: tpm-HANDLE]
    #[arg(long, value_name = "FILE", required_unless_present = "tpm")]
    key: Option<PathBuf>,
    /// Sign with the key that `tcpctl key generate --tpm` keeps at this handle of the TPM
    #[arg(long, value_name = "HANDLE", value_parser = tpm::parse_handle)]
    tpm: Option<u32>,
    /// Why, at most 256 bytes; it is signed and stays in the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Write the vote record instead of submitting it; - writes it to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take the request from a file of `tcpctl request export`
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Let the vote expire before the request does (30s, 10m, 2h)
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    expires: Option<Duration>,
    /// The validator's slot, where it cannot be read (it takes CAP_MAC_ADMIN): see `tcpctl validator list`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    slot: Option<u16>,
    /// The key's journal, where it is not in its usual place
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Begin a journal: this key has never voted anywhere, or what it has signed is lost and you take the risk
    #[arg(long)]
    new_journal: bool,
    /// Go on from the node's clock for this key although the journal knows of fewer votes; see the error that names this
    #[arg(long, conflicts_with = "request")]
    trust_node_clock: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node, and those of files and keys.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Approve(cast) => run_cast(cast, Verdict::Approve, output),
        Command::Deny(cast) => run_cast(cast, Verdict::Deny, output),
        Command::Submit { file } => {
            let record = file::read(file, vote::MAX_RECORD)?;
            decode(&record)?;
            let accepted = Client::open()?.vote_submit(&record)?;
            print_accepted(&accepted, output)
        }
        Command::Show { file, key } => show(file, key.as_deref(), output),
    }
}

/// Decodes a vote record.
///
/// # Errors
///
/// Those of the node: `vote_malformed`, `vote_version`, `vote_malleable`.
pub(crate) fn decode(record: &[u8]) -> Result<VoteRecord<'_>> {
    VoteRecord::decode(record).map_err(Error::of)
}

/// What signs a vote.
enum Signer {
    /// A key in a file.
    File(PrivateKey),
    /// A key in the TPM.
    Tpm(tpm::SigningKey),
}

impl Signer {
    /// The key that the command line names, and its journal.
    fn open(cast: &Cast, output: &Output) -> Result<(Self, PathBuf)> {
        match (&cast.key, cast.tpm) {
            (Some(name), None) => {
                let (name, journal) = sidecar::of_file(name)?;
                let key = PrivateKey::read(&name)?;
                if let Some(warning) = key::exposed(&name) {
                    note(output, &warning);
                }
                Ok((Self::File(key), cast.journal.clone().unwrap_or(journal)))
            }
            (name, Some(handle)) => {
                let name = name.clone().unwrap_or_else(|| key::tpm_name(handle));
                let key = tpm::SigningKey::at(handle)?;
                let public = file::beside(&name, ".pub");
                if public_argument(&public.to_string_lossy())? != key.point {
                    return Err(Error::invalid(
                        "tpm_key",
                        format!(
                            "the key at {handle:08x} is not that of {}: check --tpm and --key",
                            public.display()
                        ),
                    ));
                }
                let journal = match &cast.journal {
                    Some(journal) => journal.clone(),
                    None => sidecar::of_tpm(&validator_id(&key.point))?,
                };
                Ok((Self::Tpm(key), journal))
            }
            (None, None) => Err(Error::Usage("give --key or --tpm".to_owned())),
        }
    }

    /// The uncompressed point of its public key.
    fn point(&self) -> Point {
        match self {
            Self::File(key) => key.point(),
            Self::Tpm(key) => key.point,
        }
    }

    /// Signs: low S, DER.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::File(key) => Ok(key.sign(message)),
            Self::Tpm(key) => key.sign(message),
        }
    }
}

/// A vote ready to be signed.
struct Draft<'a> {
    basis: &'a Basis,
    verdict: Verdict,
    reason: &'a str,
    expires_ms: u64,
    slot: u16,
    clock: &'a NodeClock,
}

impl Draft<'_> {
    /// Signs it: the vote record.
    fn sign(&self, key: &Signer) -> Result<Vec<u8>> {
        let request = describe::decode(&self.basis.encoding)?;
        let wrong = |error: engine::wire::Error| {
            Error::invalid("vote", format!("the vote cannot be encoded: {error}"))
        };
        let mut entries = [0; SLOTS * engine::clock::ENTRY_LEN];
        let mut writer = Writer::new(&mut entries);
        self.clock.encode(&mut writer).map_err(wrong)?;
        let claimed = ClaimedClock::decode(writer.written()).map_err(wrong)?;
        let vote = Vote {
            node: request.head.node,
            epoch: request.head.epoch,
            request: &self.basis.id,
            validator: &validator_id(&key.point()),
            verdict: self.verdict,
            slot: self.slot,
            expires_ms: self.expires_ms,
            reason_digest: &vote::reason_digest::<Sha256>(self.reason),
            clock: claimed,
        };
        let mut signed = [0; vote::MAX_SIGNED];
        let length = vote.encode_signed(&mut signed).map_err(wrong)?;
        let signed = signed.get(..length).unwrap_or_default();
        let signature = key.sign(signed)?;
        let mut record = [0; vote::MAX_RECORD];
        let length =
            vote::encode_record(signed, &signature, self.reason, &mut record).map_err(wrong)?;
        Ok(record.get(..length).unwrap_or_default().to_vec())
    }
}

/// Most votes that others than the journal are believed to know of: half of the leap that a node accepts, so that a false
/// claim leaves room for votes that the node does accept.
const BELIEVED: u64 = limits::CLOCK_LEAP / 2;

/// The own entry of the validator in `slot` that its next vote has to exceed.
///
/// # Errors
///
/// [`Error::Unsigned`] `own_entry_ahead` when the node has more votes than the journal, unless that is trusted;
/// [`Error::Invalid`] `clock_leap` when they are too many to be believed.
fn own_entry(basis: &Basis, slot: u16, past: Option<&Past>, trust: bool) -> Result<u64> {
    let told = basis.last(slot).get(slot).max(basis.clock.get(slot));
    let own = past.map_or(0, |past| past.own);
    // A file is believed only where there is nothing to compare it with.
    if told <= own || (basis.from_file && past.is_some()) {
        return Ok(own);
    }
    if !basis.from_file && !trust {
        return Err(Error::unsigned(
            "own_entry_ahead",
            format!(
                "the node knows vote {told} of this key, and its journal ends with {own}: somebody else votes with the key, \
                 the journal is an old copy or lost, or the node lies. A vote that is signed now could contradict one that is \
                 missing here, and convict the key. Find the newest journal; if you are sure that there is none, \
                 --trust-node-clock goes on from the node's clock"
            ),
        ));
    }
    if told > own.saturating_add(BELIEVED) {
        return Err(leap(slot, told));
    }
    Ok(told)
}

/// An entry that is too far to believe.
fn leap(slot: u16, told: u64) -> Error {
    Error::invalid(
        "clock_leap",
        format!(
            "entry {slot} of this validator's last clock is said to be {told}, which is too far to believe: compare it with \
             `tcpctl clock show` on the node; if it came in a file, export the request again"
        ),
    )
}

/// The clock of the next vote of the validator in `slot`; `past` is what it signed before for this node, if it did.
///
/// The smallest that the vote needs, wherever the request comes from: whoever tells a clock could claim too much of it, and
/// what is signed once is claimed for ever. No entry is less than in an earlier vote of the epoch, and the own entry is
/// greater than ever. The others were signed before, and the node has them in the last vote that it accepted: a node that
/// was set up anew has forgotten them. Only when the journal is lost, and its owner says so, is the node believed.
///
/// # Errors
///
/// Those of [`own_entry`], [`Error::Unsigned`] `slot_of_another`, and [`Error::Invalid`] `slot`, `clock_leap`.
fn next_clock(
    basis: &Basis,
    slot: u16,
    past: Option<&Past>,
    created: u64,
    trust: bool,
) -> Result<NodeClock> {
    let none = Past::default();
    let known = past.unwrap_or(&none);
    let seen = known
        .clock
        .get(NODE_SLOT)
        .max(first_number(epoch_of(created)));
    if basis.from_file && created > seen.saturating_add(limits::CLOCK_LEAP) {
        return Err(Error::invalid(
            "clock_leap",
            format!(
                "the request claims to be event {created} of its node, and the last one that this key has seen is \
                 {seen}: compare it with `tcpctl request show` on the node; if it is true, vote on the node"
            ),
        ));
    }
    let own = own_entry(basis, slot, past, trust)?;
    let lost = !basis.from_file && own > known.own;
    let mut clock = known.clock.clone();
    for (at, told) in basis.last(slot).iter().filter(|(at, _)| *at != slot) {
        let signed = known.signed.get(at);
        let limit = match at {
            NODE_SLOT => created.saturating_add(limits::CLOCK_LEAP),
            _ => signed.saturating_add(BELIEVED),
        };
        if lost && told > limit {
            return Err(leap(at, told));
        }
        let believed = if lost { told } else { told.min(signed) };
        let entry = clock.get(at).max(believed);
        // A clock was told: it has no slot that this one lacks.
        let _ = clock.set(at, entry);
    }
    if clock.get(slot) > own {
        return Err(Error::unsigned(
            "slot_of_another",
            format!(
                "earlier votes of this key had entry {} in slot {slot}, as somebody else's; now that slot is said to be its own. \
                 The node lies, or did: a vote could convict the key",
                clock.get(slot)
            ),
        ));
    }
    if clock.set(slot, own) && clock.next_vote(slot, created) {
        Ok(clock)
    } else {
        Err(Error::invalid(
            "slot",
            format!("slot {slot} is not a validator's, or its clock is at its end"),
        ))
    }
}

/// Refuses what could convict the key whatever its clock is.
///
/// # Errors
///
/// [`Error::Unsigned`] `request_epoch`, `second_verdict`, `epoch_forgotten`.
fn check_journal(
    sidecar: &Sidecar,
    head: &Head<'_>,
    request: &[u8; 32],
    verdict: Verdict,
) -> Result<()> {
    if epoch_of(head.created) != head.epoch {
        return Err(Error::unsigned(
            "request_epoch",
            format!(
                "the request says that it is event {} of its node, which is not one of epoch {}: no node makes such a \
                 request. Do not sign it, and look at who sent it",
                head.created, head.epoch
            ),
        ));
    }
    match sidecar.verdict(head.node, request) {
        Some(said) if said != verdict => Err(Error::unsigned(
            "second_verdict",
            format!(
                "you have signed {} on this request; a second verdict would convict this key ({})",
                said.name(),
                sidecar.path().display()
            ),
        )),
        None if head.created <= sidecar.forgotten(head.node) => Err(Error::unsigned(
            "epoch_forgotten",
            format!(
                "the request is event {} of its node, and {} no longer knows what this key has signed up to event {}: it \
                 may contradict a new vote. Have the operation tried again, and vote on the new request",
                head.created,
                sidecar.path().display(),
                sidecar.forgotten(head.node)
            ),
        )),
        _ => Ok(()),
    }
}

/// Refuses a request that a node shows, but does not have.
///
/// # Errors
///
/// [`Error::Unsigned`] `request_elsewhere`.
fn check_place(encoding: &[u8], node: &[u8; 32], epoch: u64) -> Result<()> {
    let request = describe::decode(encoding)?;
    if request.head.node == node && request.head.epoch == epoch {
        return Ok(());
    }
    Err(Error::unsigned(
        "request_elsewhere",
        format!(
            "the request is of node {}, epoch {}, and this is node {}, epoch {epoch}: no node shows such a request. Do not \
             sign it, and look at the node",
            ids::short(request.head.node),
            request.head.epoch,
            ids::short(node)
        ),
    ))
}

/// The slot of a key, from whatever knows it.
fn find_slot(cast: &Cast, basis: &Basis, id: &[u8; 32], past: Option<&Past>) -> Result<u16> {
    let known = basis.validators.iter().find(|peer| peer.id == *id);
    if !basis.validators.is_empty() {
        let named = basis.validators.iter().find(|peer| peer.name == cast.name);
        match (known, named) {
            (Some(known), _) if known.name != cast.name => {
                return Err(Error::invalid(
                    "other_validator",
                    format!(
                        "this key is enrolled as `{}`, not `{}`: check --as and --key",
                        clean(known.name.as_bytes()),
                        clean(cast.name.as_bytes())
                    ),
                ))
            }
            (None, Some(_)) => {
                return Err(Error::invalid(
                    "other_validator",
                    format!(
                        "`{}` is enrolled with another key: check --as and --key",
                        clean(cast.name.as_bytes())
                    ),
                ))
            }
            (None, None) => {
                return Err(Error::invalid(
                    "vote_unknown_validator",
                    "vote_unknown_validator: the key is not enrolled here; compare with `tcpctl validator list`",
                ))
            }
            _ => {}
        }
    }
    let known = known.map(|peer| peer.slot);
    // Who is enrolled again gets another slot. Only the node itself knows that, or in a new epoch who types it: within an
    // epoch the old slot's entry would be claimed as somebody else's.
    let remembered = past
        .filter(|_| basis.from_file || known.is_none())
        .filter(|past| past.in_epoch() || cast.slot.is_none())
        .map(|past| past.slot);
    let told = [known, cast.slot, remembered];
    let mut slots = told.iter().flatten();
    if let Some(first) = slots.next() {
        if let Some(other) = slots.find(|slot| *slot != first) {
            return Err(Error::invalid(
                "slot_differs",
                format!(
                    "the validator's slot is {first} or {other}: what is enrolled, --slot and the journal must agree. \
                     Compare with `tcpctl validator list`; after the key was enrolled again, vote once on the node as \
                     root, or, when the node has been loaded again, confirm the new slot with --slot"
                ),
            ));
        }
    }
    known
        .or(cast.slot)
        .or(remembered)
        .ok_or_else(|| {
            Error::invalid(
                "slot_unknown",
                "the validator's slot is not known here: only root can read it. Give it with --slot N (root sees it \
                 in `tcpctl validator list`), or vote from a file that root exported with `tcpctl request export`",
            )
        })
}

/// Reads the request and the clocks from the node.
fn online(client: &mut Client, id: &Prefix) -> Result<Basis> {
    let request = request::find(client, id)?;
    if request.state != RequestState::Open {
        return Err(Error::Refused {
            code: "request_closed".to_owned(),
            errno: engine::refusal::errno::EALREADY,
            message: format!(
                "request_closed: the request is already {}; see `tcpctl request show {}`",
                request.state.name(),
                ids::short(&request.id)
            ),
        });
    }
    let validators = client.validators().unwrap_or_default();
    // Read last, so that the clock is not older than the request.
    let status = client.status()?;
    check_place(&request.encoding, &status.node, status.epoch)?;
    Ok(Basis {
        id: request.id,
        encoding: request.encoding,
        clock: status.clock,
        boot_ms: status.boot_ms,
        wall_ms: status.wall_ms,
        validators: peers(&validators),
        from_file: false,
    })
}

/// Checks that a request may be voted on, and says when the vote expires.
///
/// # Errors
///
/// [`Error::Invalid`] `request_unknown`, `request_forged`, `vote_expired`.
fn check_request(cast: &Cast, basis: &Basis) -> Result<u64> {
    if !cast.id.matches(&basis.id) {
        return Err(Error::invalid(
            "request_unknown",
            format!(
                "the file holds request {}, not {}: check both",
                ids::short(&basis.id),
                cast.id
            ),
        ));
    }
    if crate::crypto::sha256(&basis.encoding) != basis.id {
        return Err(Error::invalid(
            "request_forged",
            "the request's id is not the digest of its encoding: do not sign it, and look at the node",
        ));
    }
    let request = describe::decode(&basis.encoding)?;
    let now_ms = basis.now_ms(time::wall_ms());
    if now_ms > request.head.expires_ms {
        return Err(Error::invalid(
            "vote_expired",
            "vote_expired: the request has expired; have the operation tried again, and vote on the new request",
        ));
    }
    Ok(match cast.expires {
        Some(life) => u64::try_from(life.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(now_ms)
            .min(request.head.expires_ms),
        None => request.head.expires_ms,
    })
}

/// Shows what is about to be signed.
fn show_draft(cast: &Cast, basis: &Basis, verdict: Verdict, output: &Output) -> Result<()> {
    if output.json {
        return Ok(());
    }
    let mut rows = describe::request_rows(&basis.encoding)?;
    if !cast.reason.is_empty() {
        rows.push(("reason", prose(cast.reason.as_bytes())));
    }
    let tone = match verdict {
        Verdict::Approve => Tone::Good,
        Verdict::Deny => Tone::Bad,
    };
    rows.push(("your vote", output.paint(tone, verdict.name())));
    let shown = pairs(&rows);
    if cast.out.as_deref().is_some_and(file::is_stdout) {
        // Standard output is for the record alone.
        note(output, shown.trim_end());
        Ok(())
    } else {
        output.raw(shown.as_bytes())
    }
}

/// Writes a vote record where --out says.
fn write_record(path: &Path, record: &[u8], basis: &Basis, output: &Output) -> Result<()> {
    file::write_out(path, 0o644, record, output)?;
    if file::is_stdout(path) {
        return Ok(());
    }
    if output.json {
        let mut value = describe::record_json(&decode(record)?);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("file".to_owned(), json!(path));
            fields.insert("signs".to_owned(), describe::request_json(&basis.encoding)?);
        }
        return output.json(&value);
    }
    output.line(&format!("written to {}", path.display()))?;
    note(
        output,
        &format!(
            "Submit it on the node with `tcpctl vote submit {}`.",
            path.display()
        ),
    );
    Ok(())
}

fn run_cast(cast: &Cast, verdict: Verdict, output: &Output) -> Result<()> {
    if cast.reason.len() > limits::REASON {
        return Err(Error::Usage(format!(
            "the reason has {} bytes: at most {} can be signed",
            cast.reason.len(),
            limits::REASON
        )));
    }
    let (key, journal) = Signer::open(cast, output)?;
    let id = validator_id(&key.point());

    let mut client = None;
    let basis = match &cast.request {
        Some(path) => Exported::read(path)?,
        None => online(client.insert(Client::open()?), &cast.id)?,
    };
    let expires_ms = check_request(cast, &basis)?;
    let request = describe::decode(&basis.encoding)?;
    let head = &request.head;

    if cast.new_journal {
        if cast.journal.is_none() && cast.tpm.is_some() {
            sidecar::create_directory()?;
        }
        sidecar::create(&journal, &id)?;
    }
    let sidecar = Sidecar::open(&journal, &id)?;
    check_journal(&sidecar, head, &basis.id, verdict)?;
    let past = sidecar.past(head.node, head.epoch)?;
    let slot = find_slot(cast, &basis, &id, past.as_ref())?;
    let trust = cast.trust_node_clock;
    let clock = next_clock(&basis, slot, past.as_ref(), head.created, trust)?;
    show_draft(cast, &basis, verdict, output)?;

    // From here on this vote counts as signed, whatever becomes of the signature.
    sidecar.record(&Entry {
        head,
        request: &basis.id,
        verdict,
        slot,
        clock: &clock,
    })?;
    let record = Draft {
        basis: &basis,
        verdict,
        reason: &cast.reason,
        expires_ms,
        slot,
        clock: &clock,
    }
    .sign(&key)?;

    if let Some(path) = &cast.out {
        return write_record(path, &record, &basis, output);
    }
    let mut client = match client {
        Some(client) => client,
        None => Client::open()?,
    };
    print_accepted(&client.vote_submit(&record)?, output)
}

/// Tells what became of a vote.
fn print_accepted(accepted: &Accepted, output: &Output) -> Result<()> {
    output.either(
        &json!({
            "outcome": if accepted.held { "held" } else { "accepted" },
            "request": hex::encode(accepted.id),
            "state": accepted.state.name(),
            "approve": accepted.approve,
            "deny": accepted.deny,
            "total": accepted.total,
        }),
        || {
            let outcome = match accepted.held {
                true => "held: it refers to a vote that this node has not seen, and counts when that has arrived",
                false => "accepted",
            };
            format!(
                "{outcome}: request {} is {} (approve {}, deny {}, of {})",
                ids::short(&accepted.id),
                output.paint(request::tone(accepted.state), accepted.state.name()),
                accepted.approve,
                accepted.deny,
                accepted.total
            )
        },
    )
}

fn show(path: &Path, key: Option<&str>, output: &Output) -> Result<()> {
    let bytes = file::read(path, vote::MAX_RECORD)?;
    let record = decode(&bytes)?;
    let reason = record.check_reason::<Sha256>().is_ok();
    let verified = match key {
        Some(argument) => {
            let point = public_argument(argument)?;
            Some(
                validator_id(&point) == *record.vote.validator
                    && verify(&point, record.signed, record.signature),
            )
        }
        None => None,
    };
    let told = if output.json {
        let mut value = describe::record_json(&record);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("reason_matches".to_owned(), json!(reason));
            fields.insert("verified".to_owned(), json!(verified));
        }
        output.json(&value)
    } else {
        let mut rows = describe::record_rows(&record);
        if !reason {
            rows.push((
                "WARNING",
                "the reason is not the one that was signed".to_owned(),
            ));
        }
        rows.push((
            "verified",
            match verified {
                Some(true) => output.paint(Tone::Good, "yes"),
                Some(false) => output.paint(Tone::Bad, "NO: not signed by this key"),
                None => "not checked: give the public key with --key".to_owned(),
            },
        ));
        output.raw(pairs(&rows).as_bytes())
    };
    let bad = !reason || verified == Some(false);
    conclude(told, bad.then_some(Error::Reported))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exported;
    use engine::{
        op::Op,
        request::Fact,
        vote::{
            RequestState as Open,
            Situation,
            ValidatorState, //
        }, //
    };
    use p256::pkcs8::{
        EncodePrivateKey,
        LineEnding, //
    };

    fn basis(clock: &[(u16, u64)]) -> Basis {
        let encoding = describe::tests::sample(Op::FileWrite, 9, &[Fact::Path(b"/x")]);
        Basis {
            id: crate::crypto::sha256(&encoding),
            encoding,
            clock: exported::clock(clock).unwrap(),
            boot_ms: 2000,
            wall_ms: time::wall_ms(),
            validators: Vec::new(),
            from_file: false,
        }
    }

    /// What was signed before, in this epoch or an earlier one: that clock, whose own entry is that of slot 3.
    fn past(entries: &[(u16, u64)], in_epoch: bool) -> Past {
        let signed = exported::clock(entries).unwrap();
        Past {
            slot: 3,
            own: signed.get(3),
            clock: if in_epoch {
                signed.clone()
            } else {
                NodeClock::new()
            },
            signed,
        }
    }

    /// A validator of the node with the clock of its last accepted vote.
    fn peer(slot: u16, id: [u8; 32], last: &[(u16, u64)]) -> exported::Peer {
        exported::Peer {
            slot,
            name: "a".into(),
            id,
            clock: exported::clock(last).unwrap(),
        }
    }

    /// What the engine, and so the kernel, says about the clock of a vote.
    fn judged(
        clock: &NodeClock,
        slot: u16,
        last: &[(u16, u64)],
        node: &[(u16, u64)],
        created: u64,
    ) -> std::result::Result<engine::clock::Timing, engine::refusal::Refusal> {
        let mut entries = [0; SLOTS * engine::clock::ENTRY_LEN];
        let mut writer = Writer::new(&mut entries);
        clock.encode(&mut writer).unwrap();
        let claimed = ClaimedClock::decode(writer.written()).unwrap();
        let of = |entries| exported::clock(entries).unwrap();
        engine::clock::check_vote(&claimed, slot, &of(last), &of(node), created)
    }

    fn cast(name: &str, slot: Option<u16>) -> Cast {
        Cast {
            id: ids::parse("00000000").unwrap(),
            name: name.to_owned(),
            key: None,
            tpm: None,
            reason: String::new(),
            out: None,
            request: None,
            expires: None,
            slot,
            journal: None,
            new_journal: false,
            trust_node_clock: false,
        }
    }

    /// The engine's own rules, which are the kernel's, accept what is signed here; and each change is refused.
    #[test]
    fn the_engine_accepts_what_is_signed() {
        let key = Signer::File(PrivateKey::generate());
        let basis = basis(&[(0, 9), (1, 4), (3, 2)]);
        let last = past(&[(0, 6), (3, 2)], true);
        let clock = next_clock(&basis, 3, Some(&last), 5, false).unwrap();
        for (verdict, reason) in [(Verdict::Approve, "ticket 12"), (Verdict::Deny, "")] {
            let record = Draft {
                basis: &basis,
                verdict,
                reason,
                expires_ms: 601_000,
                slot: 3,
                clock: &clock,
            }
            .sign(&key)
            .unwrap();
            let decoded = VoteRecord::decode(&record).unwrap();
            assert_eq!(decoded.vote.verdict, verdict);
            assert_eq!((decoded.reason, decoded.vote.slot), (reason, 3));
            assert!(verify(&key.point(), decoded.signed, decoded.signature));
            let situation = Situation {
                node: &[1; 32],
                epoch: 7,
                now_ms: 2000,
                request: Some(Open {
                    open: true,
                    created: 5,
                    expires_ms: 601_000,
                }),
                validator: Some(ValidatorState {
                    slot: 3,
                    voted: false,
                    quarantined: false,
                    last: &last.clock,
                }),
                clock: &basis.clock,
            };
            assert_eq!(
                vote::check::<Sha256, SLOTS>(&decoded, &situation),
                Ok(engine::clock::Timing::Now)
            );
        }
    }

    /// What is signed for the vectors' request is what they say, to the byte.
    #[test]
    fn votes_are_the_vectors() {
        let read = |name: &str| -> serde_json::Value {
            let path = format!(
                "{}/../../Documentation/vectors/{name}.json",
                env!("CARGO_MANIFEST_DIR")
            );
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (votes, requests) = (read("vote"), read("request"));
        let unhex = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
        let request = requests["requests"]
            .as_array()
            .unwrap()
            .iter()
            .find(|request| request["id"] == votes["request_id"])
            .unwrap();
        let secret = p256::SecretKey::from_slice(&unhex(&votes["private_key"])).unwrap();
        let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        let key = Signer::File(PrivateKey::from_pem(&pem).unwrap());
        let mut basis = basis(&[]);
        basis.encoding = unhex(&request["encoding"]);
        basis.id = crate::crypto::sha256(&basis.encoding);
        let all = votes["votes"].as_array().unwrap();
        assert!(all.len() >= 4);
        for vote in all {
            let wanted = unhex(&vote["record"]);
            let entries: exported::Entries = serde_json::from_value(vote["clock"].clone()).unwrap();
            let record = Draft {
                basis: &basis,
                verdict: match vote["verdict"].as_str() {
                    Some("approve") => Verdict::Approve,
                    _ => Verdict::Deny,
                },
                reason: vote["reason"].as_str().unwrap(),
                expires_ms: vote["expires_ms"].as_u64().unwrap(),
                slot: decode(&wanted).unwrap().vote.slot,
                clock: &exported::clock(&entries).unwrap(),
            }
            .sign(&key)
            .unwrap();
            assert_eq!(record, wanted);
        }
    }

    #[test]
    fn the_clock_is_the_smallest_that_is_later_than_what_was_signed() {
        let basis = basis(&[(0, 9), (2, 8), (3, 10), (4, 4)]);
        let next = |last: &Past, created| {
            let clock = next_clock(&basis, 3, Some(last), created, false).unwrap();
            exported::entries(&clock)
        };
        // Nothing falls within an epoch, and what the node says about others is nothing to claim.
        let mut last = past(&[(0, 99), (1, 6), (2, 7), (3, 10)], true);
        assert_eq!(next(&last, 5), [(0, 99), (1, 6), (2, 7), (3, 11)]);
        assert_eq!(next(&last, 500)[0], (0, 500));
        let other = next_clock(&basis, 2, Some(&past(&[(2, 9), (3, 8)], true)), 5, false);
        assert_eq!(other.unwrap_err().code(), "slot_of_another");
        // In another epoch the own entry is left, and of the others what the node has.
        last = past(&[(0, 4), (1, 6), (2, 7), (3, 10)], false);
        last.own = 20;
        assert_eq!(next(&last, 5), [(0, 5), (2, 7), (3, 21)]);
        // What was told too little once is made up for.
        last.clock = exported::clock(&[(3, 20)]).unwrap();
        assert_eq!(next(&last, 5), [(0, 5), (2, 7), (3, 21)]);
        let clock = next_clock(&basis, 1, None, 50, false).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 50), (1, 1)]);
        let error = next_clock(&basis, 0, None, 5, true).unwrap_err();
        assert_eq!(error.code(), "slot");
    }

    /// Whoever lies about a node's clocks, online or in a file, changes nothing that is signed for it later.
    #[test]
    fn a_lying_node_does_not_lock_the_key_out() {
        let (node, last) = ([(0, 9), (1, 4), (2, 8), (3, 2)], [(0, 6), (1, 3), (3, 2)]);
        let mut truth = basis(&node);
        truth.validators.push(peer(3, [5; 32], &last));
        let huge: Vec<_> = (0..=128)
            .map(|slot| (slot, if slot == 3 { 2 } else { u64::MAX - 1 }))
            .collect();
        for from_file in [false, true] {
            let mut lie = basis(&huge);
            lie.validators.push(peer(3, [5; 32], &huge));
            lie.from_file = from_file;
            // In this epoch, or in an earlier one that the node still knows.
            for in_epoch in [true, false] {
                let mut journal = past(&last, in_epoch);
                let lied = next_clock(&lie, 3, Some(&journal), 5, false).unwrap();
                assert_eq!(exported::entries(&lied), [(0, 6), (1, 3), (3, 3)]);
                journal.own = 3;
                journal.signed.merge(&lied);
                journal.clock = lied;
                let clock = next_clock(&truth, 3, Some(&journal), 9, false).unwrap();
                assert_eq!(exported::entries(&clock), [(0, 9), (1, 3), (3, 4)]);
                let now = Ok(engine::clock::Timing::Now);
                assert_eq!(judged(&clock, 3, &last, &node, 9), now);
            }
            // A lie that says too little is refused by the node, and has no effect on the vote after it.
            let mut less = basis(&[(0, 9)]);
            less.from_file = from_file;
            let mut journal = past(&last, false);
            journal.clock = next_clock(&less, 3, Some(&journal), 7, false).unwrap();
            assert_eq!(exported::entries(&journal.clock), [(0, 7), (3, 3)]);
            assert!(judged(&journal.clock, 3, &last, &node, 7).is_err());
            journal.own = 3;
            let clock = next_clock(&truth, 3, Some(&journal), 8, false).unwrap();
            let now = Ok(engine::clock::Timing::Now);
            assert_eq!(judged(&clock, 3, &last, &node, 8), now);
        }
    }

    /// A node that was loaded again knows the last vote; one that was set up anew knows nothing, and may have given the key
    /// another slot.
    #[test]
    fn a_vote_after_a_restart_is_accepted() {
        let created = first_number(1) + 4;
        let last = [(0, 6), (1, 3), (3, 7)];
        let journal = past(&last, false);
        for from_file in [false, true] {
            for (known, slot, last, node, wanted) in [
                (true, 3, &last[..], &[(0, created), (1, 5), (3, 7)][..], 3),
                (false, 3, &last, &[(0, created), (1, 5), (3, 7)], 3),
                (true, 3, &[], &[(0, created)], 2),
                (true, 2, &[], &[(0, created)], 2),
                (false, 3, &[], &[(0, created)], 2),
                (false, 2, &[], &[(0, created)], 2),
            ] {
                let mut basis = basis(node);
                basis.from_file = from_file;
                if known {
                    basis.validators.push(peer(slot, [5; 32], last));
                }
                let clock = next_clock(&basis, slot, Some(&journal), created, false).unwrap();
                assert_eq!((clock.count(), clock.get(slot)), (wanted, 8));
                let now = Ok(engine::clock::Timing::Now);
                assert_eq!(judged(&clock, slot, last, node, created), now);
            }
        }
    }

    #[test]
    fn a_lost_journal_goes_on_from_the_last_accepted_vote() {
        let (node, last) = ([(0, 9), (1, 4), (2, 8), (3, 2)], [(0, 6), (1, 3), (3, 2)]);
        let mut basis = basis(&node);
        basis.validators.push(peer(3, [5; 32], &last));
        for past in [None, Some(&past(&[(0, 2), (3, 1)], true))] {
            let clock = next_clock(&basis, 3, past, 5, true).unwrap();
            assert_eq!(exported::entries(&clock), [(0, 6), (1, 3), (3, 3)]);
            let now = Ok(engine::clock::Timing::Now);
            assert_eq!(judged(&clock, 3, &last, &node, 5), now);
        }
        // Nothing is missing: then nothing is taken.
        let clock = next_clock(&basis, 3, Some(&past(&[(3, 2)], true)), 5, true).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 5), (3, 3)]);
        for (slot, limit) in [(0, 5 + limits::CLOCK_LEAP), (1, BELIEVED)] {
            for (value, good) in [(limit, true), (limit + 1, false)] {
                assert!(basis.validators[0].clock.set(slot, value));
                let clock = next_clock(&basis, 3, None, 5, true);
                assert_eq!(
                    clock.map(|clock| clock.get(slot)).ok(),
                    good.then_some(value)
                );
            }
            assert!(basis.validators[0].clock.set(slot, 1));
        }
    }

    #[test]
    fn a_request_of_another_node_is_not_signed() {
        let encoding = basis(&[]).encoding;
        check_place(&encoding, &[1; 32], 7).unwrap();
        for (node, epoch) in [([2; 32], 7), ([1; 32], 8)] {
            let error = check_place(&encoding, &node, epoch).unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("request_elsewhere", 6));
        }
    }

    #[test]
    fn a_node_that_knows_more_votes_is_not_followed_unasked() {
        let mut basis = basis(&[(0, 9), (3, 4)]);
        basis.validators.push(peer(3, [0; 32], &[(0, 7), (3, 11)]));
        let last = past(&[(3, 10)], true);
        for past in [Some(&last), None] {
            let error = next_clock(&basis, 3, past, 5, false).unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("own_entry_ahead", 6));
            let said = error.to_string();
            for part in ["vote 11", "--trust-node-clock", "old copy", "the node lies"] {
                assert!(said.contains(part), "{part} in {said}");
            }
            let clock = next_clock(&basis, 3, past, 5, true).unwrap();
            assert_eq!(clock.get(3), 12);
        }
        basis.clock = exported::clock(&[(3, BELIEVED + 11)]).unwrap();
        let error = next_clock(&basis, 3, Some(&last), 5, true).unwrap_err();
        assert_eq!(error.code(), "clock_leap");
        basis.clock = exported::clock(&[(3, BELIEVED + 10)]).unwrap();
        next_clock(&basis, 3, Some(&last), 5, true).unwrap();
    }

    #[test]
    fn a_file_does_not_move_the_clock() {
        let mut basis = basis(&[(0, u64::MAX), (2, 1 << 40), (3, 5)]);
        basis.from_file = true;
        let last = past(&[(0, 4), (1, 2), (3, 7)], true);
        let next = |slot, last, created| next_clock(&basis, slot, last, created, false);
        let clock = next(3, Some(&last), 6).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 6), (1, 2), (3, 8)]);
        // The first vote on this node.
        let clock = next(3, None, 6).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 6), (3, 6)]);
        // Neither does a request that claims to be far ahead.
        let far = limits::CLOCK_LEAP + 4;
        assert_eq!(next(3, Some(&last), far).unwrap().get(0), far);
        for (slot, last, created) in [(3, Some(&last), far + 1), (3, None, far), (2, None, 6)] {
            let error = next(slot, last, created).unwrap_err();
            assert_eq!(error.code(), "clock_leap");
        }
    }

    /// Whatever an honest validator is told, by whom and in which order: no two of its votes contradict each other.
    #[test]
    fn no_lie_makes_a_journal_sign_a_contradiction() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.clock");
        let key = PrivateKey::generate();
        let id = validator_id(&key.point());
        sidecar::create(&path, &id).unwrap();
        let key = Signer::File(key);
        let mut seed = 0x9e37_79b9_u64;
        let mut draw = move |of: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % of
        };
        let (mut records, mut refused) = (Vec::new(), std::collections::BTreeSet::new());
        for round in 0..700 {
            let epoch = draw(3);
            let created = first_number(epoch) + 1 + draw(20);
            let encoding = describe::tests::sample_of(epoch, created, draw(4).to_be_bytes()[7]);
            let mut entries: exported::Entries = (1..=3)
                .map(|at| (at, 1 + draw(4) * draw(2) * (10 + round)))
                .collect();
            entries.insert(0, (0, 1 + first_number(draw(3)) + draw(40)));
            let mut basis = basis(&entries);
            basis.id = crate::crypto::sha256(&encoding);
            basis.encoding = encoding;
            basis.from_file = draw(3) == 0;
            let slot = 1 + u16::try_from(draw(3)).unwrap();
            let last: Vec<_> = entries.iter().map(|of| (of.0, 1 + draw(of.1))).collect();
            basis.validators.push(peer(slot, id, &last));
            let verdict = match draw(2) {
                0 => Verdict::Approve,
                _ => Verdict::Deny,
            };
            let trust = draw(4) == 0;
            let sign = || -> Result<Vec<u8>> {
                let request = describe::decode(&basis.encoding)?;
                let head = &request.head;
                // Opened anew each time: what counts is on disk.
                let sidecar = Sidecar::open(&path, &id)?;
                check_journal(&sidecar, head, &basis.id, verdict)?;
                let past = sidecar.past(head.node, head.epoch)?;
                let slot = find_slot(&cast("a", None), &basis, &id, past.as_ref())?;
                let clock = next_clock(&basis, slot, past.as_ref(), head.created, trust)?;
                sidecar.record(&Entry {
                    head,
                    request: &basis.id,
                    verdict,
                    slot,
                    clock: &clock,
                })?;
                let draft = Draft {
                    basis: &basis,
                    verdict,
                    reason: "",
                    expires_ms: 601_000,
                    slot,
                    clock: &clock,
                };
                draft.sign(&key)
            };
            match sign() {
                Ok(record) => records.push(record),
                Err(error) => {
                    refused.insert(error.code().to_owned());
                }
            }
        }
        let votes: Vec<_> = records
            .iter()
            .map(|record| decode(record).unwrap().signed_vote())
            .collect();
        assert!(votes.len() > 100, "{} of {refused:?}", votes.len());
        for code in ["second_verdict", "own_entry_ahead", "slot_differs"] {
            assert!(refused.contains(code), "{code} not in {refused:?}");
        }
        for (at, a) in votes.iter().enumerate() {
            for b in votes.iter().skip(at + 1) {
                let fault = engine::byzantine::contradiction(a, b);
                assert_eq!(fault, None, "{:?} {:?}", a.vote, b.vote);
            }
        }
    }

    #[test]
    fn what_could_convict_the_key_is_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.clock");
        sidecar::create(&path, &[9; 32]).unwrap();
        let head = |epoch, created| Head {
            node: &[1; 32],
            epoch,
            nonce: &[2; 16],
            created,
            created_ms: 1,
            expires_ms: 2,
            wall_ms: 3,
        };
        let ask = |epoch, created, request: u8, verdict| {
            let sidecar = Sidecar::open(&path, &[9; 32])?;
            check_journal(&sidecar, &head(epoch, created), &[request; 32], verdict)
        };
        let check = |epoch: u64, created, verdict| {
            let request = epoch.to_be_bytes()[7];
            ask(epoch, created, request, verdict)
                .map_err(|error| (error.exit_code(), error.code().to_owned()))
        };
        let refused = |code: &str| Err((crate::error::EXIT_UNSIGNED, code.to_owned()));
        let of = |epoch| first_number(epoch) + 5;
        for epoch in 1..=9 {
            check(epoch, of(epoch), Verdict::Approve).unwrap();
            let sidecar = Sidecar::open(&path, &[9; 32]).unwrap();
            sidecar
                .record(&Entry {
                    head: &head(epoch, of(epoch)),
                    request: &[epoch.to_be_bytes()[7]; 32],
                    verdict: Verdict::Approve,
                    slot: 3,
                    clock: &exported::clock(&[(3, epoch)]).unwrap(),
                })
                .unwrap();
            // The same verdict may be signed again.
            check(epoch, of(epoch), Verdict::Approve).unwrap();
            assert_eq!(
                check(epoch, of(epoch), Verdict::Deny),
                refused("second_verdict")
            );
        }
        let error = ask(8, of(8), 8, Verdict::Deny).unwrap_err();
        assert!(error.to_string().starts_with(
            "you have signed approve on this request; a second verdict would convict this key"
        ));
        // The first epoch is forgotten, and only that.
        let last = first_number(2) - 1;
        for (epoch, created) in [(0, 5), (1, of(1)), (1, last)] {
            for verdict in [Verdict::Approve, Verdict::Deny] {
                assert_eq!(check(epoch, created, verdict), refused("epoch_forgotten"));
            }
        }
        ask(2, last + 1, 0, Verdict::Deny).unwrap();
        for (epoch, created) in [(8, of(7)), (8, of(9)), (0, of(8)), (u64::MAX, u64::MAX)] {
            assert_eq!(
                check(epoch, created, Verdict::Approve),
                refused("request_epoch")
            );
        }
    }

    #[test]
    fn the_slot_comes_from_who_knows_it() {
        let mut basis = basis(&[(0, 9)]);
        let id = [5; 32];
        let earlier = Past {
            slot: 4,
            ..Past::default()
        };
        let before = Past {
            slot: 4,
            clock: exported::clock(&[(4, 1)]).unwrap(),
            ..Past::default()
        };
        assert_eq!(
            find_slot(&cast("a", None), &basis, &id, None)
                .unwrap_err()
                .code(),
            "slot_unknown"
        );
        assert_eq!(
            find_slot(&cast("a", None), &basis, &id, Some(&before)).unwrap(),
            4
        );
        assert_eq!(
            find_slot(&cast("a", Some(7)), &basis, &id, Some(&before))
                .unwrap_err()
                .code(),
            "slot_differs"
        );
        // In a new epoch the owner knows better.
        assert_eq!(
            find_slot(&cast("a", Some(7)), &basis, &id, Some(&earlier)).unwrap(),
            7
        );
        for (slot, name, of) in [(2, "a", id), (3, "b", [6; 32])] {
            basis.validators.push(exported::Peer {
                slot,
                name: name.into(),
                id: of,
                clock: NodeClock::new(),
            });
        }
        assert_eq!(
            find_slot(&cast("a", None), &basis, &id, Some(&before)).unwrap(),
            2
        );
        for (from_file, given, remembered) in [
            (false, Some(7), None),
            (true, Some(7), Some(&earlier)),
            (true, None, Some(&before)),
            (true, None, Some(&earlier)),
            (true, Some(2), Some(&before)),
        ] {
            basis.from_file = from_file;
            assert_eq!(
                find_slot(&cast("a", given), &basis, &id, remembered)
                    .unwrap_err()
                    .code(),
                "slot_differs"
            );
        }
        assert_eq!(
            find_slot(&cast("a", Some(2)), &basis, &id, Some(&earlier)).unwrap(),
            2
        );
        for (name, of, code) in [
            ("b", id, "other_validator"),
            ("c", id, "other_validator"),
            ("a", [9; 32], "other_validator"),
            ("c", [9; 32], "vote_unknown_validator"),
        ] {
            assert_eq!(
                find_slot(&cast(name, None), &basis, &of, None)
                    .unwrap_err()
                    .code(),
                code
            );
        }
    }

    #[test]
    fn malformed_records_are_refused_with_the_nodes_code() {
        assert_eq!(decode(b"x").unwrap_err().code(), "vote_malformed");
        assert_eq!(decode(&[b'x'; 200]).unwrap_err().code(), "vote_version");
    }
}
