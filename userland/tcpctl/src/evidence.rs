// SPDX-License-Identifier: GPL-2.0

//! `tcpctl evidence`: what proves that a validator lied, see `Documentation/byzantine.rst`.

use std::path::{
    Path,
    PathBuf, //
};

use clap::Subcommand;
use engine::{
    byzantine::{
        contradiction,
        Fault, //
    },
    evidence::{
        self,
        Evidence,
        MAX_LEN, //
    },
    refusal::Refusal,
    vote::{
        SignedVote,
        MAX_RECORD, //
    }, //
};
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        Client,
        Proof, //
    },
    crypto::{
        public_argument,
        sha256,
        validator_id,
        verify,
        Sha256, //
    },
    describe,
    error::{
        Error,
        Result, //
    },
    file,
    ids::{
        self,
        short,
        Prefix, //
    },
    output::{
        clean,
        conclude,
        pairs,
        Output,
        Table,
        Tone, //
    },
    vote, //
};

/// What to do with evidence.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what the quarantined validators have signed
    #[command(after_help = "Example:\n  tcpctl evidence list")]
    List,
    /// Show both votes, and say why they cannot both be honest
    #[command(
        after_help = "Examples:\n  tcpctl evidence show carol\n  tcpctl evidence show carol.evidence"
    )]
    Show {
        /// A file, - for standard input, or the name or id of a quarantined validator
        #[arg(value_name = "FILE|NAME")]
        what: String,
    },
    /// Write the evidence against a quarantined validator to a file
    #[command(after_help = "Example:\n  tcpctl evidence export carol --out carol.evidence")]
    Export {
        /// Name or id of the validator
        #[arg(value_name = "NAME")]
        name: String,
        /// Where to write it; - is standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify evidence on any machine: exit code 0 only when both signatures verify and the votes contradict each other
    ///
    /// That the key belongs to whom one thinks is for --key or --validator to say: without them, the key is the one in the
    /// evidence.
    #[command(
        after_help = "Example:\n  tcpctl evidence verify carol.evidence --key carol.key.pub"
    )]
    Verify {
        /// The evidence; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Public key that it must be against: a file in PEM, PEM itself, or a point in hexadecimal
        #[arg(long, value_name = "FILE|PEM|HEX")]
        key: Option<String>,
        /// Id of the validator that it must be against, at least its first 8 digits
        #[arg(long, value_name = "ID", value_parser = ids::parse)]
        validator: Option<Prefix>,
    },
    /// Hand evidence in: a node that has the key enrolled quarantines its owner
    #[command(after_help = "Example:\n  tcpctl evidence submit carol.evidence")]
    Submit {
        /// The evidence; - reads standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
    },
    /// Make evidence of two vote records that contradict each other
    #[command(
        after_help = "Example:\n  tcpctl evidence make first.vote second.vote --key carol.key.pub --out carol.evidence"
    )]
    Make {
        /// A vote record
        #[arg(value_name = "A")]
        a: PathBuf,
        /// The other one
        #[arg(value_name = "B")]
        b: PathBuf,
        /// Public key of the validator: a file in PEM, PEM itself, or a point in hexadecimal
        #[arg(long, value_name = "FILE|PEM|HEX")]
        key: String,
        /// Where to write it; - is standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
///
/// The refusals `evidence_*`, those of the node, and those of files and keys.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::List => list(output),
        Command::Show { what } => show(what, output),
        Command::Export { name, out } => {
            let proof = find(&Client::open()?.evidence()?, name)?;
            write(out, &proof.evidence, output)
        }
        Command::Verify {
            file,
            key,
            validator,
        } => run_verify(file, key.as_deref(), validator.as_ref(), output),
        Command::Submit { file } => submit(file, output),
        Command::Make { a, b, key, out } => make(a, b, key, out, output),
    }
}

/// Decodes evidence.
fn decode(bytes: &[u8]) -> Result<Evidence<'_>> {
    Evidence::decode::<Sha256>(bytes).map_err(Error::of)
}

/// Whether the key has signed both votes.
fn is_signed(evidence: &Evidence<'_>) -> bool {
    [evidence.first, evidence.second]
        .iter()
        .all(|vote| verify(evidence.key, vote.signed, vote.signature))
}

/// Decodes evidence and verifies both signatures.
///
/// # Errors
///
/// `evidence_malformed`, `evidence_none`, `evidence_forged`.
fn judge(bytes: &[u8]) -> Result<Evidence<'_>> {
    let evidence = decode(bytes)?;
    match is_signed(&evidence) {
        true => Ok(evidence),
        false => Err(Error::of(Refusal::EvidenceForged)),
    }
}

/// Why two votes cannot both be of an honest validator.
pub(crate) fn why(fault: Fault, first: &SignedVote<'_>, second: &SignedVote<'_>) -> String {
    let (a, b) = (&first.vote, &second.vote);
    match fault {
        Fault::Equivocation => format!(
            "two answers to one question: on request {} one vote says {}, the other {}",
            short(a.request),
            a.verdict.name(),
            b.verdict.name()
        ),
        Fault::Fork => format!(
            "both claim to be vote {} of slot {}, and they are not the same: an honest validator counts each vote once",
            a.own(),
            a.slot
        ),
        Fault::Regression => {
            let lower = a
                .clock
                .iter()
                .map(|(slot, value)| (slot, value, b.clock.get(slot)))
                .find(|(_, before, after)| before > after);
            let lower = lower.map_or(String::new(), |(slot, before, after)| {
                let of = match slot {
                    0 => "the node".to_owned(),
                    slot => format!("slot {slot}"),
                };
                format!(": it knew event {before} of {of}, then only {after}")
            });
            format!(
                "vote {} of slot {} has seen less than vote {} before it{lower}; an honest validator forgets nothing",
                b.own(),
                b.slot,
                a.own()
            )
        }
    }
}

/// Evidence as JSON.
pub(crate) fn json_of(evidence: &Evidence<'_>, bytes: &[u8]) -> Value {
    json!({
        "fault": evidence.fault.name(),
        "why": why(evidence.fault, &evidence.first, &evidence.second),
        "validator": hex::encode(evidence.validator()),
        "key": hex::encode(evidence.key),
        "node": hex::encode(evidence.node()),
        "epoch": evidence.first.vote.epoch,
        "first": describe::vote_json(&evidence.first),
        "second": describe::vote_json(&evidence.second),
        "digest": hex::encode(sha256(bytes)),
        "verified": is_signed(evidence),
    })
}

/// JSON with what a node knows of the validator.
fn json_proof(proof: &Proof) -> Result<Value> {
    let mut value = json_of(&decode(&proof.evidence)?, &proof.evidence);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("name".to_owned(), json!(proof.name));
        fields.insert("slot".to_owned(), json!(proof.slot));
        fields.insert("event".to_owned(), json!(proof.event));
    }
    Ok(value)
}

fn list(output: &Output) -> Result<()> {
    let proofs = Client::open()?.evidence()?;
    if output.json {
        let values: Vec<Value> = proofs.iter().map(json_proof).collect::<Result<_>>()?;
        return output.json(&values);
    }
    if proofs.is_empty() {
        return output.line("no validator is quarantined");
    }
    output.raw(table(&proofs)?.render(output).as_bytes())
}

fn table(proofs: &[Proof]) -> Result<Table> {
    let mut table = Table::new(&["SLOT", "NAME", "FAULT", "EVENT", "ID", "NODE", "WHY"]);
    for proof in proofs {
        let evidence = decode(&proof.evidence)?;
        table.row(vec![
            proof.slot.to_string(),
            proof
                .name
                .as_deref()
                .map_or("(removed)".to_owned(), |name| clean(name.as_bytes())),
            evidence.fault.name().to_owned(),
            proof.event.to_string(),
            short(&proof.id),
            short(evidence.node()),
            why(evidence.fault, &evidence.first, &evidence.second),
        ]);
    }
    Ok(table)
}

/// The evidence against a validator, by its name or the beginning of its id.
fn find(proofs: &[Proof], name: &str) -> Result<Proof> {
    if let Some(proof) = proofs
        .iter()
        .find(|proof| proof.name.as_deref() == Some(name))
    {
        return Ok(proof.clone());
    }
    match ids::parse(name) {
        Ok(id) => id.pick("evidence", "evidence_unknown", proofs.to_vec(), |proof| {
            &proof.id
        }),
        Err(_) => Err(Error::invalid(
            "evidence_unknown",
            format!(
                "no validator of this name is quarantined: {}; see `tcpctl evidence list`",
                clean(name.as_bytes())
            ),
        )),
    }
}

fn show(what: &str, output: &Output) -> Result<()> {
    let path = Path::new(what);
    let bytes = if what == "-" || what.contains('/') || path.symlink_metadata().is_ok() {
        file::read(path, MAX_LEN)?
    } else {
        find(&Client::open()?.evidence()?, what)?.evidence
    };
    let evidence = decode(&bytes)?;
    let signed = is_signed(&evidence);
    let told = output.either(&json_of(&evidence, &bytes), || text(&evidence, output));
    conclude(
        told,
        (!signed).then_some(Error::of(Refusal::EvidenceForged)),
    )
}

/// Evidence for people.
fn text(evidence: &Evidence<'_>, output: &Output) -> String {
    let signatures = match is_signed(evidence) {
        true => output.paint(Tone::Good, "both verify"),
        false => output.paint(Tone::Bad, "NOT both are of this key: this proves nothing"),
    };
    let mut text = pairs(&[
        ("fault", evidence.fault.name().to_owned()),
        (
            "why",
            why(evidence.fault, &evidence.first, &evidence.second),
        ),
        ("validator", hex::encode(evidence.validator())),
        ("public key", hex::encode(evidence.key)),
        ("signatures", signatures),
    ]);
    for (name, vote) in [
        ("first vote", &evidence.first),
        ("second vote", &evidence.second),
    ] {
        text.push_str(&format!("\n{}\n", output.paint(Tone::Head, name)));
        text.push_str(&pairs(&describe::vote_rows(vote)));
    }
    text
}

fn run_verify(
    path: &Path,
    key: Option<&str>,
    validator: Option<&Prefix>,
    output: &Output,
) -> Result<()> {
    let bytes = file::read(path, MAX_LEN)?;
    let evidence = judge(&bytes)?;
    let point = key.map(public_argument).transpose()?;
    if point.is_some_and(|point| point != *evidence.key)
        || validator.is_some_and(|id| !id.matches(evidence.validator()))
    {
        return Err(Error::invalid(
            "evidence_other_validator",
            format!(
                "it is against validator {}, and proves nothing about the one that was named",
                hex::encode(evidence.validator())
            ),
        ));
    }
    output.either(&json_of(&evidence, &bytes), || {
        format!(
            "{}: {} of validator {}: {}",
            output.paint(Tone::Good, "verified"),
            evidence.fault.name(),
            hex::encode(evidence.validator()),
            why(evidence.fault, &evidence.first, &evidence.second)
        )
    })
}

fn submit(path: &Path, output: &Output) -> Result<()> {
    let bytes = file::read(path, MAX_LEN)?;
    // What the node would refuse anyway costs its sender nothing here.
    judge(&bytes)?;
    let taken = Client::open()?.evidence_submit(&bytes)?;
    output.either(
        &json!({
            "outcome": "done",
            "name": taken.name,
            "slot": taken.slot,
            "fault": taken.fault.name(),
        }),
        || {
            format!(
                "quarantined {} (slot {}): {}",
                clean(taken.name.as_bytes()),
                taken.slot,
                taken.fault.name()
            )
        },
    )
}

/// Writes evidence, and says so.
fn write(path: &Path, bytes: &[u8], output: &Output) -> Result<()> {
    let evidence = decode(bytes)?;
    file::write_out(path, 0o644, bytes, output)?;
    if file::is_stdout(path) {
        return Ok(());
    }
    let mut value = json_of(&evidence, bytes);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("file".to_owned(), json!(path));
    }
    output.either(&value, || {
        format!(
            "written to {}: {} of validator {}",
            path.display(),
            evidence.fault.name(),
            short(evidence.validator())
        )
    })
}

fn make(a: &Path, b: &Path, key: &str, out: &Path, output: &Output) -> Result<()> {
    let (one, two) = (file::read(a, MAX_RECORD)?, file::read(b, MAX_RECORD)?);
    let votes = [
        (a, vote::decode(&one)?.signed_vote()),
        (b, vote::decode(&two)?.signed_vote()),
    ];
    let point = public_argument(key)?;
    let refused = |refusal: Refusal, text: String| {
        Error::refused(
            refusal.errno(),
            Some(&format!("{}: {text}", refusal.name())),
        )
    };
    let [(_, first), (_, second)] = &votes;
    if contradiction(first, second).is_none() {
        return Err(refused(
            Refusal::EvidenceNone,
            "the two votes do not contradict each other: compare them with `tcpctl vote show`"
                .to_owned(),
        ));
    }
    for (path, vote) in &votes {
        if validator_id(&point) != *vote.vote.validator {
            return Err(refused(
                Refusal::EvidenceMalformed,
                format!("the key is not that of {}: check --key", path.display()),
            ));
        }
        if !verify(&point, vote.signed, vote.signature) {
            return Err(refused(
                Refusal::EvidenceForged,
                format!(
                    "the signature of {} does not verify: somebody else made that vote, and it proves nothing",
                    path.display()
                ),
            ));
        }
    }
    let mut bytes = [0; MAX_LEN];
    let length =
        evidence::encode::<Sha256>(&point, first, second, &mut bytes).map_err(Error::of)?;
    write(out, bytes.get(..length).unwrap_or_default(), output)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        crypto::PrivateKey,
        exported, //
    };
    use engine::{
        clock::{
            ClaimedClock,
            ENTRY_LEN,
            SLOTS, //
        },
        quorum::Verdict,
        vote::{
            encode_record,
            Vote,
            MAX_SIGNED,
            NO_REASON, //
        },
        wire::Writer, //
    };
    use std::fs;

    const PLAIN: Output = Output {
        json: false,
        colour: false,
    };

    /// The vote record of a key on a request, with a clock whose own entry is that of slot 3.
    fn record(key: &PrivateKey, request: u8, verdict: Verdict, entries: &[(u16, u64)]) -> Vec<u8> {
        let mut bytes = [0; SLOTS * ENTRY_LEN];
        let mut writer = Writer::new(&mut bytes);
        let clock = exported::clock(entries).unwrap();
        clock.encode(&mut writer).unwrap();
        let vote = Vote {
            node: &[1; 32],
            epoch: 7,
            request: &[request; 32],
            validator: &validator_id(&key.point()),
            verdict,
            slot: 3,
            expires_ms: 9,
            reason_digest: &NO_REASON,
            clock: ClaimedClock::decode(writer.written()).unwrap(),
        };
        let mut signed = [0; MAX_SIGNED];
        let length = vote.encode_signed(&mut signed).unwrap();
        let signed = &signed[..length];
        let mut out = [0; MAX_RECORD];
        let length = encode_record(signed, &key.sign(signed), "", &mut out).unwrap();
        out[..length].to_vec()
    }

    fn evidence_of(key: &PrivateKey, a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut out = [0; MAX_LEN];
        let [a, b] = [a, b].map(|bytes| vote::decode(bytes).unwrap().signed_vote());
        let length = evidence::encode::<Sha256>(&key.point(), &a, &b, &mut out).unwrap();
        out[..length].to_vec()
    }

    fn equivocation_of(key: &PrivateKey) -> Vec<u8> {
        let approve = record(key, 5, Verdict::Approve, &[(0, 4), (3, 1)]);
        let deny = record(key, 5, Verdict::Deny, &[(0, 4), (3, 2)]);
        evidence_of(key, &approve, &deny)
    }

    /// True evidence of an equivocation, for tests.
    pub(crate) fn equivocation() -> Vec<u8> {
        equivocation_of(&PrivateKey::generate())
    }

    #[test]
    fn each_fault_has_a_reason() {
        let key = PrivateKey::generate();
        let vote = |request, entries: &[(u16, u64)]| record(&key, request, Verdict::Deny, entries);
        let first = vote(5, &[(0, 4), (2, 6), (3, 1)]);
        for (second, fault, part) in [
            (
                record(&key, 5, Verdict::Approve, &[(0, 4), (3, 2)]),
                Fault::Equivocation,
                "on request 050505050505 one vote says deny, the other approve",
            ),
            (
                vote(6, &[(0, 4), (2, 6), (3, 1)]),
                Fault::Fork,
                "both claim to be vote 1 of slot 3",
            ),
            (
                vote(6, &[(0, 4), (2, 5), (3, 2)]),
                Fault::Regression,
                "vote 2 of slot 3 has seen less than vote 1 before it: it knew event 6 of slot 2, then only 5",
            ),
            (
                vote(6, &[(0, 3), (2, 6), (3, 2)]),
                Fault::Regression,
                "it knew event 4 of the node, then only 3",
            ),
        ] {
            let bytes = evidence_of(&key, &second, &first);
            let evidence = judge(&bytes).unwrap();
            assert_eq!(evidence.fault, fault);
            let text = text(&evidence, &PLAIN);
            for part in [part, "both verify", "first vote\nverdict", fault.name()] {
                assert!(text.contains(part), "{part} in\n{text}");
            }
            let value = json_of(&evidence, &bytes);
            assert_eq!(value["fault"], fault.name());
            assert_eq!(value["verified"], true);
            assert_eq!(value["first"]["slot"], 3);
        }
    }

    #[test]
    fn whatever_is_changed_proves_nothing() {
        let bytes = equivocation();
        judge(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let code = judge(&changed).unwrap_err().code().to_owned();
            assert!(
                ["evidence_malformed", "evidence_none", "evidence_forged"].contains(&code.as_str()),
                "{at}: {code}"
            );
            let error = judge(&bytes[..at]).unwrap_err();
            assert_eq!(error.code(), "evidence_malformed", "{at}");
        }
        // Somebody else's signatures over the same votes.
        let mut forged = equivocation();
        let evidence = decode(&forged).unwrap();
        let mine = evidence.second.signature;
        // Signatures differ in length: only one of the same length fits into its place.
        let theirs = std::iter::repeat_with(PrivateKey::generate)
            .map(|eve| eve.sign(evidence.second.signed))
            .find(|signature| signature.len() == mine.len())
            .unwrap();
        let at = forged.len() - mine.len();
        forged[at..].copy_from_slice(&theirs);
        assert_eq!(judge(&forged).unwrap_err().code(), "evidence_forged");
        let shown = text(&decode(&forged).unwrap(), &PLAIN);
        assert!(shown.contains("NOT both"), "{shown}");
    }

    #[test]
    fn evidence_is_made_of_two_vote_records() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (alice, eve) = (PrivateKey::generate(), PrivateKey::generate());
        let put = |name: &str, record: Vec<u8>| fs::write(at(name), record).unwrap();
        put("a", record(&alice, 5, Verdict::Approve, &[(3, 1)]));
        put("b", record(&alice, 5, Verdict::Deny, &[(3, 2)]));
        put("c", record(&alice, 6, Verdict::Deny, &[(3, 3)]));
        put("e", record(&eve, 5, Verdict::Deny, &[(3, 2)]));
        // What Eve says in the name of Alice.
        let mut forged = record(&alice, 5, Verdict::Deny, &[(3, 2)]);
        let decoded = vote::decode(&forged).unwrap();
        let mut out = [0; MAX_RECORD];
        let signature = eve.sign(decoded.signed);
        let length = encode_record(decoded.signed, &signature, "", &mut out).unwrap();
        forged = out[..length].to_vec();
        put("f", forged);
        let run = |a: &str, b: &str, key: &PrivateKey| {
            let key = hex::encode(key.point());
            make(&at(a), &at(b), &key, &at("out"), &PLAIN).map_err(|error| error.code().to_owned())
        };
        for (a, b, key, code) in [
            ("a", "a", &alice, "evidence_none"),
            ("a", "c", &alice, "evidence_none"),
            ("a", "e", &alice, "evidence_none"),
            ("a", "b", &eve, "evidence_malformed"),
            ("a", "f", &alice, "evidence_forged"),
        ] {
            assert_eq!(run(a, b, key), Err(code.to_owned()), "{a} {b}");
            assert!(!at("out").exists());
        }
        run("b", "a", &alice).unwrap();
        let bytes = fs::read(at("out")).unwrap();
        assert_eq!(judge(&bytes).unwrap().fault, Fault::Equivocation);
        run("a", "b", &alice).unwrap();
        assert_eq!(fs::read(at("out")).unwrap(), bytes);
    }

    #[test]
    fn the_named_validator_is_the_one_that_is_convicted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e");
        let (alice, eve) = (PrivateKey::generate(), PrivateKey::generate());
        fs::write(&path, equivocation_of(&alice)).unwrap();
        for (key, good) in [(&alice, true), (&eve, false)] {
            let point = hex::encode(key.point());
            let id = ids::parse(&hex::encode(validator_id(&key.point()))).unwrap();
            for (key, id) in [(Some(point.as_str()), None), (None, Some(&id))] {
                let code = run_verify(&path, key, id, &PLAIN).map_err(|error| {
                    assert_eq!(error.exit_code(), 1);
                    error.code().to_owned()
                });
                assert_eq!(
                    code,
                    match good {
                        true => Ok(()),
                        false => Err("evidence_other_validator".to_owned()),
                    }
                );
            }
        }
    }

    #[test]
    fn evidence_is_found_by_name_or_id() {
        let proof = |id, name: Option<&str>| Proof {
            evidence: equivocation(),
            event: 8,
            slot: 3,
            id: [id; 32],
            name: name.map(str::to_owned),
        };
        let proofs = [proof(1, Some("bob")), proof(2, None)];
        assert_eq!(find(&proofs, "bob").unwrap().id, [1; 32]);
        assert_eq!(find(&proofs, "02020202").unwrap().id, [2; 32]);
        for unknown in ["carol", "03030303"] {
            assert_eq!(
                find(&proofs, unknown).unwrap_err().code(),
                "evidence_unknown"
            );
        }
        let shown = table(&proofs).unwrap().render(&PLAIN);
        for part in ["bob", "(removed)", "equivocation", "two answers"] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert_eq!(json_proof(&proofs[0]).unwrap()["name"], "bob");
    }
}
