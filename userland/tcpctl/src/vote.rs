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
        ClaimedClock,
        NodeClock,
        NODE_SLOT,
        SLOTS, //
    },
    limits,
    quorum::Verdict,
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
    sidecar::Sidecar,
    time,
    tpm, //
};

/// What to do with votes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign a vote that approves a request, and submit it
    ///
    /// Shows the whole request, checks that its id is the digest of its encoding, and signs. The validator's clock is kept
    /// in FILE.clock beside the key. With --request the vote is made from a file of `tcpctl request export`, on any
    /// machine; the clocks in that file are not believed, except for the validator's own entry (at most 524288) where
    /// FILE.clock does not know the node. With --out the vote is written and not submitted.
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
    /// The validator's private key; with --tpm the name beside which FILE.pub and FILE.pub.clock are [default: tpm-HANDLE]
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
fn decode(record: &[u8]) -> Result<VoteRecord<'_>> {
    VoteRecord::decode(record).map_err(|refusal| Error::Refused {
        code: refusal.name().to_owned(),
        errno: refusal.errno(),
        message: refusal.message().to_owned(),
    })
}

/// What signs a vote.
enum Signer {
    /// A key in a file.
    File(PrivateKey),
    /// A key in the TPM.
    Tpm(tpm::SigningKey),
}

impl Signer {
    /// The key that the command line names, and the file beside which its clock is kept.
    fn open(cast: &Cast, output: &Output) -> Result<(Self, PathBuf)> {
        match (&cast.key, cast.tpm) {
            (Some(name), None) => {
                let key = PrivateKey::read(name)?;
                if let Some(warning) = key::exposed(name) {
                    note(output, &warning);
                }
                Ok((Self::File(key), name.clone()))
            }
            (name, Some(handle)) => {
                let name = name.clone().unwrap_or_else(|| key::tpm_name(handle));
                let key = tpm::SigningKey::at(handle)?;
                // Also says that this is where the key's clock is: without it an entry might be signed twice.
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
                Ok((Self::Tpm(key), public))
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

/// Greatest own entry that is believed to a file: half of the leap that a node accepts, so that a false one leaves room for
/// votes that the node does accept.
const FILE_OWN: u64 = limits::CLOCK_LEAP / 2;

/// The clock of the next vote of the validator in `slot`; `last` is what it signed before on this node, if it did.
///
/// From the node: everything that the node has seen, and an own entry later than in any vote before. From a file, whose
/// clocks anybody may have written: the smallest clock that the vote needs.
fn next_clock(
    basis: &Basis,
    slot: u16,
    last: Option<&NodeClock>,
    created: u64,
) -> Result<NodeClock> {
    let told = basis
        .validators
        .iter()
        .filter(|peer| peer.slot == slot)
        .map(|peer| peer.clock.get(slot))
        .fold(basis.clock.get(slot), u64::max);
    let mut clock = match (basis.from_file, last) {
        (false, _) => basis.clock.clone(),
        (true, Some(last)) => last.clone(),
        (true, None) => NodeClock::new(),
    };
    let own = match (basis.from_file, last) {
        (true, Some(last)) => last.get(slot),
        (true, None) if told > FILE_OWN => {
            return Err(Error::invalid(
                "clock_leap",
                format!(
                    "the file says that this validator's own entry is {told}, which is too far to believe: compare it \
                     with `tcpctl clock show` on the node, and export the request again"
                ),
            ))
        }
        (true, None) => told,
        (false, last) => told.max(last.map_or(0, |last| last.get(slot))),
    };
    let seen = clock.get(NODE_SLOT);
    if basis.from_file && created > seen.saturating_add(limits::CLOCK_LEAP) {
        return Err(Error::invalid(
            "clock_leap",
            format!(
                "the request claims to be event {created} of its node, and the last one that this key has seen is \
                 {seen}: compare it with `tcpctl request show` on the node; if it is true, vote on the node"
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

/// The slot of a key, from whatever knows it.
fn find_slot(cast: &Cast, basis: &Basis, id: &[u8; 32], remembered: Option<u16>) -> Result<u16> {
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
    // Only the node itself knows better than FILE.clock: who is enrolled again gets another slot.
    let remembered = remembered.filter(|_| basis.from_file || known.is_none());
    let told = [known, cast.slot, remembered];
    let mut slots = told.iter().flatten();
    if let Some(first) = slots.next() {
        if let Some(other) = slots.find(|slot| *slot != first) {
            return Err(Error::invalid(
                "slot_differs",
                format!(
                    "the validator's slot is {first} or {other}: what is enrolled, --slot and FILE.clock must agree. \
                     Compare with `tcpctl validator list`; after the key was enrolled again, vote once on the node as \
                     root, or move FILE.clock away"
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

fn run_cast(cast: &Cast, verdict: Verdict, output: &Output) -> Result<()> {
    if cast.reason.len() > limits::REASON {
        return Err(Error::Usage(format!(
            "the reason has {} bytes: at most {} can be signed",
            cast.reason.len(),
            limits::REASON
        )));
    }
    let (key, name) = Signer::open(cast, output)?;
    let id = validator_id(&key.point());

    let mut client = None;
    let basis = match &cast.request {
        Some(path) => Exported::read(path)?,
        None => online(client.insert(Client::open()?), &cast.id)?,
    };
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
    let expires_ms = match cast.expires {
        Some(life) => u64::try_from(life.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(now_ms)
            .min(request.head.expires_ms),
        None => request.head.expires_ms,
    };

    let mut sidecar = Sidecar::open(&name, &id)?;
    let remembered = sidecar.slot(request.head.node);
    let slot = find_slot(cast, &basis, &id, remembered)?;
    let last = sidecar.clock(request.head.node)?;
    let last = remembered.map(|_| &last);
    let clock = next_clock(&basis, slot, last, request.head.created)?;

    if !output.json {
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
        } else {
            output.raw(shown.as_bytes())?;
        }
    }

    // From here on this entry counts as used, whatever becomes of the signature.
    sidecar.advance(request.head.node, request.head.epoch, slot, &clock)?;
    let record = Draft {
        basis: &basis,
        verdict,
        reason: &cast.reason,
        expires_ms,
        clock: &clock,
    }
    .sign(&key)?;
    drop(sidecar);

    match &cast.out {
        Some(path) => {
            file::write_out(path, 0o644, &record, output)?;
            if file::is_stdout(path) {
                return Ok(());
            }
            if output.json {
                let mut value = describe::vote_json(&decode(&record)?);
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
        None => {
            let mut client = match client {
                Some(client) => client,
                None => Client::open()?,
            };
            let accepted = client.vote_submit(&record)?;
            print_accepted(&accepted, output)
        }
    }
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
        let mut value = describe::vote_json(&record);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("reason_matches".to_owned(), json!(reason));
            fields.insert("verified".to_owned(), json!(verified));
        }
        output.json(&value)
    } else {
        let mut rows = describe::vote_rows(&record);
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
        }
    }

    /// The engine's own rules, which are the kernel's, accept what is signed here; and each change is refused.
    #[test]
    fn the_engine_accepts_what_is_signed() {
        let key = Signer::File(PrivateKey::generate());
        let basis = basis(&[(0, 9), (1, 4), (3, 2)]);
        let last = exported::clock(&[(0, 6), (3, 2)]).unwrap();
        let clock = next_clock(&basis, 3, Some(&last), 5).unwrap();
        for (verdict, reason) in [(Verdict::Approve, "ticket 12"), (Verdict::Deny, "")] {
            let record = Draft {
                basis: &basis,
                verdict,
                reason,
                expires_ms: 601_000,
                clock: &clock,
            }
            .sign(&key)
            .unwrap();
            let decoded = VoteRecord::decode(&record).unwrap();
            assert_eq!(decoded.vote.verdict, verdict);
            assert_eq!(decoded.reason, reason);
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
                    last: &last,
                }),
                clock: &basis.clock,
            };
            assert_eq!(
                vote::check::<Sha256, SLOTS>(&decoded, &situation),
                Ok(engine::clock::Timing::Now)
            );
        }
    }

    #[test]
    fn the_clock_is_later_than_everything_known() {
        let mut basis = basis(&[(0, 9), (2, 8)]);
        basis.validators.push(exported::Peer {
            slot: 3,
            name: "c".into(),
            id: [0; 32],
            clock: exported::clock(&[(0, 7), (3, 11)]).unwrap(),
        });
        let last = exported::clock(&[(0, 99), (3, 10)]).unwrap();
        let clock = next_clock(&basis, 3, Some(&last), 5).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 9), (2, 8), (3, 12)]);
        let ahead = exported::clock(&[(3, 20)]).unwrap();
        let clock = next_clock(&basis, 3, Some(&ahead), 5).unwrap();
        assert_eq!(clock.get(3), 21);
        assert_eq!(next_clock(&basis, 1, None, 50).unwrap().get(0), 50);
        assert_eq!(next_clock(&basis, 0, None, 5).unwrap_err().code(), "slot");
    }

    #[test]
    fn a_file_does_not_move_the_clock() {
        let mut basis = basis(&[(0, u64::MAX), (2, 1 << 40), (3, 5)]);
        basis.from_file = true;
        let last = exported::clock(&[(0, 4), (1, 2), (3, 7)]).unwrap();
        let clock = next_clock(&basis, 3, Some(&last), 6).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 6), (1, 2), (3, 8)]);
        // The first vote on this node.
        let clock = next_clock(&basis, 3, None, 6).unwrap();
        assert_eq!(exported::entries(&clock), [(0, 6), (3, 6)]);
        // Neither does a request that claims to be far ahead.
        let far = limits::CLOCK_LEAP + 4;
        assert_eq!(next_clock(&basis, 3, Some(&last), far).unwrap().get(0), far);
        for (slot, last, created) in [(3, Some(&last), far + 1), (3, None, far), (2, None, 6)] {
            let error = next_clock(&basis, slot, last, created).unwrap_err();
            assert_eq!(error.code(), "clock_leap");
        }
    }

    #[test]
    fn the_slot_comes_from_who_knows_it() {
        let mut basis = basis(&[(0, 9)]);
        let id = [5; 32];
        assert_eq!(
            find_slot(&cast("a", None), &basis, &id, None)
                .unwrap_err()
                .code(),
            "slot_unknown"
        );
        assert_eq!(
            find_slot(&cast("a", None), &basis, &id, Some(4)).unwrap(),
            4
        );
        assert_eq!(
            find_slot(&cast("a", Some(7)), &basis, &id, Some(4))
                .unwrap_err()
                .code(),
            "slot_differs"
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
            find_slot(&cast("a", None), &basis, &id, Some(4)).unwrap(),
            2
        );
        for (from_file, given, remembered) in [
            (false, Some(7), None),
            (true, Some(7), Some(2)),
            (true, None, Some(4)),
        ] {
            basis.from_file = from_file;
            assert_eq!(
                find_slot(&cast("a", given), &basis, &id, remembered)
                    .unwrap_err()
                    .code(),
                "slot_differs"
            );
        }
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
