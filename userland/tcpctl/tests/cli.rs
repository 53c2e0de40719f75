// SPDX-License-Identifier: GPL-2.0

//! The program as its users meet it, as far as it works without the kernel module.

use std::{
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::UnixStream, //
        },
    },
    path::{
        Path,
        PathBuf, //
    },
    process::{
        Command,
        Output,
        Stdio, //
    }, //
};

use engine::vote::VoteRecord;
use p256::{
    ecdsa::{
        signature::Verifier,
        Signature,
        VerifyingKey, //
    },
    pkcs8::{
        EncodePrivateKey,
        LineEnding, //
    },
    SecretKey, //
};
use serde_json::{
    json,
    Value, //
};
use tempfile::TempDir;

fn tcpctl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcpctl"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The exit code of a command that nobody reads.
fn unread(directory: &Path, arguments: &[&str]) -> Option<i32> {
    let (writer, reader) = UnixStream::pair().unwrap();
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_tcpctl"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(writer))
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command that must succeed, and returns what it prints.
fn ok(directory: &Path, arguments: &[&str]) -> String {
    let output = tcpctl(directory, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

/// Runs a command that must fail with an exit code, and returns what it says on standard error.
fn fails(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = tcpctl(directory, arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}{}",
        stdout(&output),
        stderr(&output)
    );
    stderr(&output)
}

/// Runs a command with `--json` that must fail, and returns its error object.
fn fails_json(directory: &Path, arguments: &[&str], code: i32) -> Value {
    let mut with_json = vec!["--json"];
    with_json.extend_from_slice(arguments);
    serde_json::from_str(&fails(directory, &with_json, code)).unwrap()
}

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../Documentation/vectors")
        .join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

fn unhex(value: &Value, member: &str) -> Vec<u8> {
    hex::decode(text(value, member)).unwrap()
}

/// Number of the event that made the request: the fortieth of epoch 7.
const CREATED: u64 = engine::clock::first_number(7) + 40;

/// The request of the vectors, but as a node would have made it in its epoch.
fn request(nonce: u8) -> Vec<u8> {
    use engine::request::{
        encode,
        Head,
        Request,
        MAX_LEN, //
    };
    let id = vectors("vote.json")["request_id"].clone();
    let requests = vectors("request.json");
    let of = requests["requests"].as_array().unwrap();
    let of = of.iter().find(|request| request["id"] == id).unwrap();
    let encoding = unhex(of, "encoding");
    let decoded = Request::decode(&encoding).unwrap();
    let head = Head {
        nonce: &[nonce; 16],
        created: CREATED,
        ..decoded.head
    };
    let facts: Vec<_> = decoded.facts().collect();
    let mut out = [0; MAX_LEN];
    let length = encode(&head, &decoded.binding, &facts, &mut out).unwrap();
    out[..length].to_vec()
}

/// SHA-256 of some bytes.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    <Sha256 as engine::wire::Digest>::sha256(&[bytes])
}

/// The validator of the vectors and a request, in files.
struct Offline {
    directory: TempDir,
    votes: Value,
    exported: Value,
    id: String,
}

impl Offline {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let votes = vectors("vote.json");
        let encoding = request(1);
        let id = hex::encode(sha256(&encoding));
        let secret = SecretKey::from_slice(&unhex(&votes, "private_key")).unwrap();
        let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        let key = directory.path().join("alice.key");
        fs::write(&key, pem.as_bytes()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        // The journal that `tcpctl key generate` would have made.
        let journal =
            json!({ "format": "tcpctl-clock-2", "validator": votes["validator"], "nodes": {} });
        fs::write(
            directory.path().join("alice.key.clock"),
            journal.to_string(),
        )
        .unwrap();
        let wall_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let exported = json!({
            "format": "tcpctl-request-1",
            "id": id,
            "request": hex::encode(encoding),
            "node": votes["node"],
            "epoch": votes["epoch"],
            "boot_ms": 1_000_000,
            "wall_ms": u64::try_from(wall_ms).unwrap(),
            "clock": [[0, CREATED]],
            "validators": [{
                "slot": 1,
                "name": "alice",
                "id": votes["validator"],
                "weight": 1,
                "clock": [],
            }],
        });
        let offline = Self {
            directory,
            votes,
            exported,
            id,
        };
        offline.export();
        offline
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The journal of Alice's key.
    fn journal(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path().join("alice.key.clock")).unwrap()).unwrap()
    }

    fn export(&self) {
        fs::write(self.path().join("request.json"), self.exported.to_string()).unwrap();
    }

    fn arguments<'a>(&'a self, verdict: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![
            "vote",
            verdict,
            &self.id,
            "--as",
            "alice",
            "--key",
            "alice.key",
            "--request",
            "request.json",
            "--out",
            "a.vote",
        ];
        arguments.extend_from_slice(more);
        arguments
    }

    fn vote(&self, verdict: &str, more: &[&str]) -> Vec<u8> {
        ok(self.path(), &self.arguments(verdict, more));
        fs::read(self.path().join("a.vote")).unwrap()
    }

    /// Takes another request, of which this is the nonce.
    fn ask(&mut self, nonce: u8) {
        let encoding = request(nonce);
        self.id = hex::encode(sha256(&encoding));
        self.exported["id"] = json!(self.id);
        self.exported["request"] = json!(hex::encode(encoding));
        self.export();
    }

    /// Entries of the clock in a vote record.
    fn clock(record: &[u8]) -> Vec<(u16, u64)> {
        VoteRecord::decode(record)
            .unwrap()
            .vote
            .clock
            .iter()
            .collect()
    }
}

/// Every command there is, found by asking for help.
fn commands(directory: &Path, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let mut arguments: Vec<&str> = prefix.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = ok(directory, &arguments);
    found.push(prefix.to_vec());
    let names: Vec<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    for name in names {
        let mut longer = prefix.to_vec();
        longer.push(name);
        commands(directory, &longer, found);
    }
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let directory = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    commands(directory.path(), &[], &mut found);
    let joined: Vec<String> = found.iter().map(|words| words.join(" ")).collect();
    for wanted in [
        "status",
        "doctor",
        "key generate",
        "key show",
        "validator add",
        "validator list",
        "validator remove",
        "validator show",
        "validator readmit",
        "evidence list",
        "evidence show",
        "evidence export",
        "evidence verify",
        "evidence submit",
        "evidence make",
        "policy check",
        "policy load",
        "policy show",
        "policy explain",
        "seal",
        "mode",
        "unload",
        "state save",
        "state keep",
        "state restore",
        "state show",
        "state recover",
        "state discard",
        "agent run",
        "agent list",
        "agent show",
        "request list",
        "request show",
        "request watch",
        "request export",
        "request cancel",
        "vote approve",
        "vote deny",
        "vote submit",
        "vote show",
        "grant list",
        "grant revoke",
        "events",
        "clock show",
        "completions",
        "man",
    ] {
        assert!(joined.iter().any(|name| name == wanted), "{wanted}");
    }
    for words in &found {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = ok(directory.path(), &arguments);
        let example = help
            .lines()
            .skip_while(|line| !line.starts_with("Example"))
            .nth(1)
            .unwrap_or_default();
        let wanted = format!("  tcpctl {}", words.join(" "));
        assert!(example.starts_with(&wanted), "{words:?}: {help}");
    }
}

#[test]
fn keys_are_private_and_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let made: Value =
        serde_json::from_str(&ok(path, &["--json", "key", "generate", "--out", "k"])).unwrap();
    let mode = fs::metadata(path.join("k")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let private = fs::read_to_string(path.join("k")).unwrap();
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    for file in ["k", "k.pub"] {
        let shown: Value =
            serde_json::from_str(&ok(path, &["key", "show", file, "--json"])).unwrap();
        assert_eq!(shown["id"], made["id"]);
        assert_eq!(shown["point"], made["point"]);
    }
    assert!(ok(path, &["key", "show", text(&made, "point")]).contains(text(&made, "id")));
    let error = fails_json(path, &["key", "generate", "--out", "k"], 1);
    assert_eq!(error["error"], "exists");
    assert_eq!(fs::read_to_string(path.join("k")).unwrap(), private);
    let journal =
        |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let empty = json!({ "format": "tcpctl-clock-2", "validator": made["id"], "nodes": {} });
    assert_eq!(journal(path.join("k.clock")), empty);
    for old in ["k.clock.old", "k.clock.old2"] {
        fs::write(path.join("k.clock"), old).unwrap();
        let forced = ["--json", "key", "generate", "--out", "k", "--force"];
        let forced: Value = serde_json::from_str(&ok(path, &forced)).unwrap();
        assert_eq!(journal(path.join("k.clock"))["validator"], forced["id"]);
        assert_eq!(fs::read_to_string(path.join(old)).unwrap(), old);
    }
    fs::write(path.join("l.pub"), "taken").unwrap();
    let error = fails_json(path, &["key", "generate", "--out", "l"], 1);
    assert_eq!(error["error"], "exists");
    assert!(!path.join("l").exists());
    assert_ne!(fs::read_to_string(path.join("k")).unwrap(), private);
    let error = fails_json(path, &["key", "show", "none"], 1);
    assert_eq!(error["errno"], 2);
    fs::write(path.join("bad"), "bad").unwrap();
    assert!(fails(path, &["key", "show", "bad"], 1).contains("tcpctl key generate"));
}

#[test]
fn an_offline_vote_verifies_and_its_clock_only_grows() {
    let mut offline = Offline::new();
    let mut last = 0;
    for (nonce, verdict, reason) in [
        (1, "approve", "ticket 12"),
        (2, "deny", ""),
        (1, "approve", ""),
    ] {
        offline.ask(nonce);
        let record = offline.vote(verdict, &["--reason", reason]);
        let decoded = VoteRecord::decode(&record).unwrap();
        assert_eq!(decoded.vote.verdict.name(), verdict);
        assert_eq!((decoded.reason, decoded.vote.slot), (reason, 1));
        assert_eq!(hex::encode(decoded.vote.request), offline.id);
        let key = VerifyingKey::from_sec1_bytes(&unhex(&offline.votes, "public_key")).unwrap();
        let signature = Signature::from_der(decoded.signature).unwrap();
        key.verify(decoded.signed, &signature).unwrap();
        let clock = Offline::clock(&record);
        assert_eq!(clock[0], (0, CREATED));
        assert_eq!(decoded.vote.own(), last + 1);
        last = decoded.vote.own();
    }
    let journal = offline.journal();
    assert_eq!(journal["format"], "tcpctl-clock-2");
    let node = &journal["nodes"][text(&offline.votes, "node")];
    assert_eq!((&node["slot"], &node["own"]), (&json!(1), &json!(3)));
    assert_eq!(node["clocks"]["7"], json!([[0, CREATED], [1, 3]]));
    assert_eq!(node["verdicts"][&offline.id], json!([CREATED, "approve"]));
    assert_eq!(node["verdicts"].as_object().unwrap().len(), 2);
}

#[test]
fn a_second_verdict_is_not_signed() {
    let mut offline = Offline::new();
    offline.vote("deny", &[]);
    let journal = fs::read(offline.path().join("alice.key.clock")).unwrap();
    fs::remove_file(offline.path().join("a.vote")).unwrap();
    let error = fails_json(offline.path(), &offline.arguments("approve", &[]), 6);
    assert_eq!(error["error"], "second_verdict");
    assert!(text(&error, "message").starts_with(
        "you have signed deny on this request; a second verdict would convict this key"
    ));
    assert!(!offline.path().join("a.vote").exists());
    assert_eq!(
        fs::read(offline.path().join("alice.key.clock")).unwrap(),
        journal
    );
    // The same again is a later vote; another request is another question.
    assert_eq!(Offline::clock(&offline.vote("deny", &[]))[1], (1, 2));
    offline.ask(2);
    assert_eq!(Offline::clock(&offline.vote("approve", &[]))[1], (1, 3));
}

#[test]
fn a_request_that_no_node_makes_is_not_signed() {
    let mut offline = Offline::new();
    // That of the vectors says that it is event 40, which is not one of epoch 7.
    let requests = vectors("request.json");
    let wrong = requests["requests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|request| request["id"] == offline.votes["request_id"])
        .unwrap();
    offline.id = text(wrong, "id").to_owned();
    offline.exported["id"] = wrong["id"].clone();
    offline.exported["request"] = wrong["encoding"].clone();
    offline.export();
    let error = fails_json(offline.path(), &offline.arguments("approve", &[]), 6);
    assert_eq!(error["error"], "request_epoch");
    assert_eq!(offline.journal()["nodes"], json!({}));
}

#[test]
fn a_journal_of_before_goes_on() {
    let mut offline = Offline::new();
    let node = text(&offline.votes, "node").to_owned();
    let old = json!({
        "format": "tcpctl-clock-1",
        "validator": offline.votes["validator"],
        "nodes": { node: { "epoch": 6, "slot": 1, "clock": [[0, 9], [1, 5], [3, 2]] } },
    });
    let write = || fs::write(offline.path().join("alice.key.clock"), old.to_string()).unwrap();
    write();
    // The node does not know entry 3: it was set up anew.
    let record = offline.vote("approve", &[]);
    assert_eq!(Offline::clock(&record), [(0, CREATED), (1, 6)]);
    write();
    offline.exported["validators"][0]["clock"] = json!([[0, 9], [1, 5], [3, 2]]);
    offline.export();
    let record = offline.vote("approve", &[]);
    assert_eq!(Offline::clock(&record), [(0, CREATED), (1, 6), (3, 2)]);
    fs::write(offline.path().join("alice.key.clock"), "{").unwrap();
    let error = fails_json(offline.path(), &offline.arguments("approve", &[]), 1);
    assert_eq!(error["error"], "clock_malformed");
}

/// Two votes of Alice that contradict each other, as `1.vote` and `2.vote`: the second made with a copy of her key.
fn contradicting() -> Offline {
    let offline = Offline::new();
    offline.vote("approve", &[]);
    fs::rename(offline.path().join("a.vote"), offline.path().join("1.vote")).unwrap();
    fs::rename(
        offline.path().join("alice.key.clock"),
        offline.path().join("lost"),
    )
    .unwrap();
    offline.vote("deny", &["--new-journal"]);
    fs::rename(offline.path().join("a.vote"), offline.path().join("2.vote")).unwrap();
    offline
}

#[test]
fn a_vote_needs_the_journal_of_its_key() {
    let offline = Offline::new();
    let path = offline.path();
    let journal = path.join("alice.key.clock");
    let refused = |more: &[&str]| {
        let error = fails_json(path, &offline.arguments("approve", more), 6);
        text(&error, "error").to_owned()
    };
    offline.vote("deny", &[]);
    assert_eq!(refused(&["--new-journal"]), "journal_exists");
    fs::rename(&journal, path.join("moved")).unwrap();
    let said = fails(path, &offline.arguments("approve", &[]), 6);
    for part in [
        "alice.key.clock does not exist",
        "--journal",
        "--new-journal",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!journal.exists());
    // It is found where it is said to be, and remembers.
    assert_eq!(refused(&["--journal", "moved"]), "second_verdict");
    assert_eq!(
        Offline::clock(&offline.vote("deny", &["--journal", "moved"]))[1],
        (1, 2)
    );
    assert_eq!(refused(&["--journal", "none"]), "journal_missing");
    fs::copy(path.join("alice.key"), path.join("copy.key")).unwrap();
    let mut arguments = offline.arguments("approve", &[]);
    let key = arguments.iter().position(|word| *word == "alice.key");
    arguments[key.unwrap()] = "copy.key";
    assert_eq!(fails_json(path, &arguments, 6)["error"], "journal_missing");
    assert_eq!(
        Offline::clock(&offline.vote("approve", &["--new-journal"]))[1],
        (1, 1)
    );
    assert_eq!(Offline::clock(&offline.vote("approve", &[]))[1], (1, 2));
}

#[test]
fn a_key_has_one_journal_by_all_its_names() {
    let offline = Offline::new();
    let path = offline.path();
    offline.vote("deny", &[]);
    std::os::unix::fs::symlink("alice.key", path.join("link.key")).unwrap();
    let with = |name: &'static str, verdict: &'static str| {
        let mut arguments = offline.arguments(verdict, &[]);
        let key = arguments.iter().position(|word| *word == "alice.key");
        arguments[key.unwrap()] = name;
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = |name, verdict| {
        let arguments = with(name, verdict);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        fails_json(path, &arguments, 6)["error"].clone()
    };
    assert_eq!(refused("link.key", "approve"), "second_verdict");
    fs::hard_link(path.join("alice.key"), path.join("twin.key")).unwrap();
    for name in ["alice.key", "link.key", "twin.key"] {
        assert_eq!(refused(name, "deny"), "hard_link");
    }
    fs::remove_file(path.join("twin.key")).unwrap();
    assert_eq!(Offline::clock(&offline.vote("deny", &[]))[1], (1, 2));
}

#[test]
fn evidence_is_made_and_verified_without_the_module() {
    let offline = contradicting();
    let path = offline.path();
    let point = text(&offline.votes, "public_key");
    let made = ok(
        path,
        &[
            "evidence", "make", "1.vote", "2.vote", "--key", point, "--out", "e",
        ],
    );
    assert!(made.contains("equivocation"), "{made}");
    ok(
        path,
        &[
            "evidence", "make", "2.vote", "1.vote", "--key", point, "--out", "f",
        ],
    );
    let evidence = fs::read(path.join("e")).unwrap();
    assert_eq!(evidence, fs::read(path.join("f")).unwrap());

    let id = text(&offline.votes, "validator");
    for named in [&[][..], &["--key", point], &["--validator", &id[..8]]] {
        let arguments = [&["evidence", "verify", "e", "--json"], named].concat();
        let value: Value = serde_json::from_str(&ok(path, &arguments)).unwrap();
        assert_eq!(value["fault"], "equivocation");
        assert_eq!(value["verified"], true);
        assert_eq!(value["validator"], *id);
        assert_eq!(value["first"]["verdict"], "approve");
    }
    let shown = ok(path, &["evidence", "show", "e"]);
    for part in ["two answers to one question", "both verify", "second vote"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }

    ok(path, &["key", "generate", "--out", "eve"]);
    for named in [["--key", "eve.pub"], ["--validator", "00000000"]] {
        let arguments = [&["evidence", "verify", "e"], &named[..]].concat();
        let error = fails_json(path, &arguments, 1);
        assert_eq!(error["error"], "evidence_other_validator");
    }
    for at in [0, 8, 9, 10, 200, 300, evidence.len() - 1] {
        let mut changed = evidence.clone();
        changed[at] ^= 1;
        fs::write(path.join("changed"), changed).unwrap();
        for verb in ["verify", "submit"] {
            let error = fails_json(path, &["evidence", verb, "changed"], 1);
            assert!(
                text(&error, "error").starts_with("evidence_"),
                "{at} {error}"
            );
        }
    }
    fs::write(path.join("long"), vec![0; 4000]).unwrap();
    let error = fails_json(path, &["evidence", "verify", "long"], 1);
    assert_eq!(error["error"], "too_large");
    for (a, b, key, code) in [
        ("1.vote", "1.vote", point, "evidence_none"),
        ("1.vote", "2.vote", "eve.pub", "evidence_malformed"),
        ("e", "2.vote", point, "vote_version"),
    ] {
        let arguments = ["evidence", "make", a, b, "--key", key, "--out", "x"];
        assert_eq!(fails_json(path, &arguments, 1)["error"], code);
        assert!(!path.join("x").exists());
    }
    let code = |arguments: &[&str]| unread(path, arguments);
    assert_eq!(code(&["evidence", "verify", "e"]), Some(0));
    assert_eq!(code(&["evidence", "verify", "changed"]), Some(1));
}

#[test]
fn the_voter_sees_what_is_signed() {
    let offline = Offline::new();
    let shown = ok(offline.path(), &offline.arguments("approve", &[]));
    for part in [
        offline.id.as_str(),
        "/usr/bin/make",
        "agent-1 (class builder",
        "your vote",
        "approve",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(shown.bytes().all(|byte| byte == b'\n' || byte >= b' '));
    let value: Value = serde_json::from_str(&ok(
        offline.path(),
        &offline.arguments("approve", &["--json"]),
    ))
    .unwrap();
    assert_eq!(value["verdict"], "approve");
    assert_eq!(value["signs"]["id"], offline.id);
}

#[test]
fn a_vote_goes_to_standard_output_alone() {
    let offline = Offline::new();
    let mut arguments = offline.arguments("approve", &[]);
    let out = arguments.iter().position(|word| *word == "a.vote").unwrap();
    arguments[out] = "-";
    let output = tcpctl(offline.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(VoteRecord::decode(&output.stdout).is_ok());
    assert!(stderr(&output).contains("/usr/bin/make"));
    assert!(!offline.path().join("-").exists());
}

#[test]
fn votes_expire_early_when_asked_to() {
    let offline = Offline::new();
    let record = offline.vote("approve", &["--expires", "1m"]);
    let expires = VoteRecord::decode(&record).unwrap().vote.expires_ms;
    assert!((1_060_000..1_120_000).contains(&expires), "{expires}");
    let record = offline.vote("approve", &["--expires", "1d"]);
    assert_eq!(
        VoteRecord::decode(&record).unwrap().vote.expires_ms,
        1_300_000
    );
}

#[test]
fn votes_that_make_no_sense_are_not_signed() {
    let mut offline = Offline::new();
    let refused = |offline: &Offline, more: &[&str]| {
        let error = fails_json(offline.path(), &offline.arguments("approve", more), 1);
        text(&error, "error").to_owned()
    };
    let good = offline.exported.clone();
    for (member, value, code) in [
        ("id", json!("00".repeat(32)), "export_malformed"),
        ("epoch", json!(8), "export_malformed"),
        ("format", json!("x"), "export_malformed"),
        ("boot_ms", json!(1_300_001), "vote_expired"),
    ] {
        offline.exported = good.clone();
        offline.exported[member] = value;
        offline.export();
        assert_eq!(refused(&offline, &[]), code, "{member}");
    }
    offline.exported = good.clone();
    offline.exported["validators"][0]["name"] = json!("bob");
    offline.export();
    assert_eq!(refused(&offline, &[]), "other_validator");
    offline.exported["validators"] = json!([]);
    offline.export();
    assert_eq!(refused(&offline, &[]), "slot_unknown");
    assert_eq!(offline.journal()["nodes"], json!({}));
    assert!(!offline.path().join("a.vote").exists());
    // With a slot given it works, and is remembered.
    assert_eq!(
        Offline::clock(&offline.vote("approve", &["--slot", "5"])),
        [(0, CREATED), (5, 1)]
    );
    assert_eq!(
        Offline::clock(&offline.vote("approve", &[])),
        [(0, CREATED), (5, 2)]
    );

    let other = "0".repeat(64);
    let mut arguments = offline.arguments("approve", &[]);
    arguments[2] = &other;
    let error = fails_json(offline.path(), &arguments, 1);
    assert_eq!(error["error"], "request_unknown");
    let long = "x".repeat(257);
    fails(
        offline.path(),
        &offline.arguments("approve", &["--reason", &long]),
        2,
    );
}

#[test]
fn an_exposed_key_is_warned_about() {
    let offline = Offline::new();
    let key = offline.path().join("alice.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = tcpctl(offline.path(), &offline.arguments("approve", &[]));
    assert!(output.status.success());
    assert!(stderr(&output).contains("chmod 600"));
}

#[test]
fn vote_records_are_shown_and_checked() {
    let offline = Offline::new();
    offline.vote("approve", &["--reason", "ticket 12"]);
    let point = text(&offline.votes, "public_key");
    let shown = ok(offline.path(), &["vote", "show", "a.vote", "--key", point]);
    assert!(
        shown.contains("ticket 12") && shown.contains("yes"),
        "{shown}"
    );
    assert!(ok(offline.path(), &["vote", "show", "a.vote"]).contains("not checked"));
    ok(offline.path(), &["key", "generate", "--out", "eve"]);
    let output = tcpctl(
        offline.path(),
        &["vote", "show", "a.vote", "--key", "eve.pub", "--json"],
    );
    assert_eq!(output.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["verified"], false);

    let mut record = fs::read(offline.path().join("a.vote")).unwrap();
    *record.last_mut().unwrap() ^= 1;
    fs::write(offline.path().join("b.vote"), &record).unwrap();
    let output = tcpctl(offline.path(), &["vote", "show", "b.vote"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("not the one that was signed"));
}

#[test]
fn malformed_records_have_the_codes_of_the_vectors() {
    let directory = tempfile::tempdir().unwrap();
    let refused = vectors("refused.json");
    let records = refused
        .as_object()
        .unwrap()
        .values()
        .find_map(Value::as_array)
        .unwrap();
    let mut seen = 0;
    for record in records {
        let code = text(record, "refusal");
        if !["vote_malformed", "vote_version", "vote_malleable"].contains(&code) {
            continue;
        }
        fs::write(directory.path().join("r"), unhex(record, "record")).unwrap();
        let error = fails_json(directory.path(), &["vote", "show", "r"], 1);
        // What is longer than any record is not even decoded.
        if error["error"] != "too_large" {
            assert_eq!(error["error"], code, "{record}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn evidence_is_judged_as_the_vectors_say() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let vectors = vectors("evidence.json");
    let key = text(&vectors, "public_key");
    let each = |list: &str| vectors[list].as_array().unwrap().clone();
    let proven = each("proven");
    for vector in &proven {
        fs::write(path.join("e"), unhex(vector, "evidence")).unwrap();
        let told = ok(path, &["evidence", "verify", "e", "--key", key, "--json"]);
        let value: Value = serde_json::from_str(&told).unwrap();
        for member in ["fault", "validator", "node"] {
            assert_eq!(value[member], vector[member], "{}", vector["what"]);
        }
    }
    let refused = each("refused");
    for vector in &refused {
        fs::write(path.join("e"), unhex(vector, "evidence")).unwrap();
        let error = fails_json(path, &["evidence", "verify", "e"], 1);
        assert_eq!(error["error"], vector["refusal"], "{}", vector["what"]);
    }
    assert!(proven.len() >= 3 && refused.len() >= 10);
}

const POLICY: &str = "policy_name=p policy_version=1\nclass builder\nDEFAULT action=DENY\n\
                      op=FILE_READ class=builder path=/usr action=ALLOW\n";

#[test]
fn policy_check_names_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let write = |text: &[u8]| fs::write(path.join("p"), text).unwrap();
    write(POLICY.as_bytes());
    let checked = ok(path, &["policy", "check", "p"]);
    assert!(checked.contains("p version 1: 1 rule, 1 path"), "{checked}");
    assert!(
        checked.contains("raised by 15% to at most 90%"),
        "{checked}"
    );
    for (bad, place) in [
        (POLICY.replace("class=builder", "clas=builder"), "p:4:14: "),
        (POLICY.replace("path=/usr", "path=/nonexistent-dir"), "p:4:"),
        (POLICY.replace("DEFAULT action=DENY\n", ""), "p:4:1: "),
        (POLICY.replace("=DENY", "=PERHAPS"), "p:3:"),
        (
            POLICY.replace("class builder\n", "class builder\nadaptive quiet=0s\n"),
            "p:3:16: ",
        ),
        ("x".repeat(1 << 20), "p:"),
    ] {
        write(bad.as_bytes());
        let output = tcpctl(path, &["policy", "check", "p"]);
        assert_eq!(output.status.code(), Some(1));
        let shown = stdout(&output);
        let error = shown
            .lines()
            .find(|line| line.contains(": error: "))
            .unwrap_or(&shown);
        assert!(error.starts_with(place), "{place} in {shown}");
    }
    write(b"policy_name=p policy_version=1\nclass \xff\n");
    let output = tcpctl(path, &["policy", "check", "--json", "p"]);
    assert_eq!(output.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ok"], false);
    assert_eq!(value["findings"][0]["line"], 2);
    assert_eq!(value["findings"][0]["column"], 7);
}

#[test]
fn what_nobody_reads_fails_nevertheless() {
    let offline = Offline::new();
    let path = offline.path();
    fs::write(path.join("good"), POLICY).unwrap();
    fs::write(path.join("bad"), POLICY.replace("=DENY", "=PERHAPS")).unwrap();
    offline.vote("approve", &[]);
    ok(path, &["key", "generate", "--out", "eve"]);
    for json in [&[][..], &["--json"]] {
        let code = |arguments: &[&str]| unread(path, &[json, arguments].concat());
        assert_eq!(code(&["policy", "check", "good"]), Some(0));
        assert_eq!(code(&["policy", "check", "bad"]), Some(1));
        assert_eq!(code(&["vote", "show", "a.vote"]), Some(0));
        let by_eve = ["vote", "show", "a.vote", "--key", "eve.pub"];
        assert_eq!(code(&by_eve), Some(1));
        let read = tcpctl(path, &["doctor"]).status.code();
        assert_eq!(code(&["doctor"]), read);
        assert!(loaded() || read != Some(0));
    }
}

#[test]
fn policy_check_reads_standard_input_and_warns() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcpctl"))
        .args(["policy", "check", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    // The second rule can never be reached.
    let policy = format!("{POLICY}op=FILE_READ class=builder path=/usr action=DENY\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(policy.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ok"], true);
    assert!(value["findings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|finding| finding["line"] == 5 && finding["level"] == "warning"));
}

#[test]
fn policy_explain_follows_the_object() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("p"), POLICY).unwrap();
    std::os::unix::fs::symlink("/usr/bin", path.join("link")).unwrap();
    let action = |arguments: &[&str]| {
        let mut all = vec!["policy", "explain", "--json"];
        all.extend_from_slice(arguments);
        all.push("p");
        let value: Value = serde_json::from_str(&ok(path, &all)).unwrap();
        text(&value["decision"], "action").to_owned()
    };
    let read = ["--op", "FILE_READ", "--class", "builder", "--path"];
    assert_eq!(action(&[&read[..], &["/usr/bin/env"]].concat()), "ALLOW");
    assert_eq!(action(&[&read[..], &["link/env"]].concat()), "ALLOW");
    assert_eq!(action(&[&read[..], &["/etc/passwd"]].concat()), "DENY");
    assert_eq!(
        action(&["--op", "FILE_READ", "--path", "/etc/passwd"]),
        "ALLOW"
    );
    let human = ok(
        path,
        &[
            "policy",
            "explain",
            "--op",
            "file_read",
            "--class",
            "builder",
            "--path",
            "/usr",
            "p",
        ],
    );
    assert!(human.contains("line 4 decides"), "{human}");
    fails(path, &["policy", "explain", "--op", "RUN", "p"], 2);
    fails(
        path,
        &[
            "policy",
            "explain",
            "--op",
            "NET_CONNECT",
            "--address",
            "::1",
            "p",
        ],
        2,
    );
    fs::write(path.join("p"), "x\n").unwrap();
    let error = fails_json(path, &["policy", "explain", "--op", "EXEC", "p"], 1);
    assert_eq!(error["error"], "policy_invalid");
    assert!(text(&error, "message").contains("p:1:1: "));
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["vote", "approve", "1234", "--as", "a", "--key", "k"],
        &["request", "show", "xyzxyzxyz"],
        &["mode", "off"],
        &["mode", "enforce", "--timeout", "1m"],
        &["validator", "add", "--name", "a b", "--key", "k"],
        &[
            "validator",
            "add",
            "--name",
            "a",
            "--key",
            "k",
            "--weight",
            "0",
        ],
        &["agent", "run", "--name", "a", "--class", "c"],
        &["agent", "run", "--name", "a", "--class", "c", "true"],
        &[
            "agent",
            "run",
            "--name",
            "a",
            "--class",
            "c",
            "--keep-fd",
            "1",
            "--",
            "true",
        ],
        &[
            "agent",
            "run",
            "--name",
            "a",
            "--class",
            "c",
            "--keep-fd",
            "999",
            "--",
            "true",
        ],
        &["state", "recover"],
        &["state", "recover", "--setup", "--from", "f"],
        &["state", "recover", "--from", "f", "--yes"],
        &["state", "recover", "--setup"],
        &["state", "keep", "--every", "0s"],
        &["validator", "readmit", "a b"],
        &["evidence", "export", "a"],
        &["evidence", "make", "a", "b", "--out", "c"],
        &["evidence", "verify", "a", "--validator", "xyz"],
        &[
            "vote",
            "approve",
            "12345678",
            "--as",
            "a",
            "--key",
            "k",
            "--request",
            "r",
            "--trust-node-clock",
        ],
        &["completions", "smoke-signals"],
        &["man"],
    ] {
        let said = fails(path, arguments, 2);
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

/// Whether this machine runs the module: then the tests of its absence have nothing to say.
fn loaded() -> bool {
    Path::new("/sys/module/tcp_lsm").exists()
}

#[test]
fn without_the_module_everything_says_so() {
    if loaded() {
        return;
    }
    let offline = Offline::new();
    let path = offline.path();
    offline.vote("approve", &[]);
    fs::write(path.join("p"), POLICY).unwrap();
    let id = "3f9a12c4";
    for arguments in [
        &["status"][..],
        &["doctor"],
        &["seal"],
        &["mode", "enforce"],
        &["unload"],
        &["state", "save", "--state-dir", "states"],
        &["state", "keep"],
        &["state", "restore", "--state-dir", "states"],
        &["state", "recover", "--setup", "--yes"],
        &["state", "discard", "--state-dir", "states"],
        &["validator", "list"],
        &["validator", "remove", "a"],
        &["validator", "show", "a"],
        &["validator", "readmit", "a"],
        &["evidence", "list"],
        &["evidence", "show", "a"],
        &["evidence", "export", "a", "--out", "e"],
        &["policy", "show"],
        &["policy", "load", "p"],
        &["policy", "explain", "--op", "EXEC"],
        &["agent", "run", "--name", "a", "--class", "c", "--", "true"],
        &["agent", "list"],
        &["agent", "show", "a"],
        &["request", "list"],
        &["request", "show", id],
        &["request", "watch"],
        &["request", "export", id],
        &["request", "cancel", id],
        &["vote", "approve", id, "--as", "alice", "--key", "alice.key"],
        &["vote", "submit", "a.vote"],
        &["grant", "list"],
        &["grant", "revoke", id],
        &["events"],
        &["clock", "show"],
    ] {
        let said = fails(path, arguments, 3);
        assert!(said.contains("modprobe tcp_lsm"), "{arguments:?}: {said}");
        assert_eq!(fails_json(path, arguments, 3)["error"], "not_loaded");
    }
}

#[test]
fn doctor_says_what_to_do() {
    if loaded() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = tcpctl(directory.path(), &["doctor", "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let module = value
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["check"] == "module")
        .unwrap();
    assert_eq!(module["result"], "fail");
    assert!(text(module, "advice").contains("modprobe"));
}

/// SHA-256, for the engine.
struct Sha256;

impl engine::wire::Digest for Sha256 {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        use sha2::Digest;
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// A state that is well formed.
fn state() -> Vec<u8> {
    use engine::{
        anchor::extended,
        clock::NodeClock,
        governance::{
            Mode,
            ValidatorRecord, //
        },
        state::{
            Head,
            StateWriter,
            Validator,
            MAX_LEN, //
        }, //
    };
    let mut clock = NodeClock::new();
    assert!(clock.set(0, 99));
    let head = Head {
        node: &[1; 32],
        counter: 12,
        previous: &[2; 32],
        anchor: &extended::<Sha256>(&[2; 32], &[3; 32]),
        chain: &[3; 32],
        number: 99,
        wall_ms: 0,
        pcrs: 1 << 7,
        private: &[4],
        public: &[5],
        mode: Mode::Permissive,
    };
    let mut key = [6; 65];
    key[0] = 4;
    let mut bytes = vec![0; MAX_LEN];
    let mut writer = StateWriter::begin::<Sha256>(&mut bytes, &head).unwrap();
    writer.policy(POLICY.as_bytes()).unwrap();
    writer
        .validators([Validator {
            record: ValidatorRecord {
                slot: 1,
                weight: 1,
                name: "alice",
                key: &key,
            },
            accepted: 0,
            clock: &clock,
        }])
        .unwrap();
    writer.slots(1).unwrap();
    writer.clock(&clock).unwrap();
    writer.quarantine([]).unwrap();
    writer
        .reputation([(1, engine::reputation::Kept::PRISTINE)])
        .unwrap();
    let length = writer.finish::<Sha256>(|_| [7; 32]).unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn a_state_is_shown_and_hostile_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let states = path.join("states");
    fs::create_dir(&states).unwrap();
    fs::write(states.join("state"), state()).unwrap();
    let shown: Value =
        serde_json::from_str(&ok(path, &["--json", "state", "show", "states/state"])).unwrap();
    assert_eq!(shown["counter"], 12);
    assert_eq!(shown["node"], "01".repeat(32));
    assert_eq!(shown["mode"], "permissive");
    assert_eq!(shown["pcrs"], 128);
    assert_eq!(shown["validators"][0]["name"], "alice");
    assert_eq!(shown["mac"], "07".repeat(32));
    assert_eq!(shown["quarantine"], json!([]));
    assert_eq!(shown["reputations"], json!([]));
    let text = ok(path, &["state", "show", "--state-dir", "states"]);
    assert!(text.contains("counter        12\n"), "{text}");
    let from_environment = Command::new(env!("CARGO_BIN_EXE_tcpctl"))
        .args(["state", "show"])
        .env("TCPCTL_STATE_DIR", &states)
        .output()
        .unwrap();
    assert!(stdout(&from_environment).contains("counter        12\n"));

    std::os::unix::fs::symlink("states/state", path.join("link")).unwrap();
    fs::File::create(path.join("huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let made = Command::new("mkfifo").arg(path.join("fifo")).status();
    assert!(made.unwrap().success());
    fs::write(path.join("torn"), &state()[..700.min(state().len() - 1)]).unwrap();
    for (file, code) in [
        ("link", "not_a_file"),
        ("fifo", "not_a_file"),
        (".", "not_a_file"),
        ("huge", "too_large"),
        ("torn", "state_malformed"),
        ("none", "io"),
    ] {
        let error = fails_json(path, &["state", "show", file], 1);
        assert_eq!(error["error"], code, "{file}");
    }
}

#[test]
fn nothing_is_kept_where_others_could_change_it() {
    if loaded() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let states = path.join("states");
    fs::create_dir(&states).unwrap();
    fs::set_permissions(&states, fs::Permissions::from_mode(0o777)).unwrap();
    let error = fails_json(path, &["state", "restore", "--state-dir", "states"], 1);
    assert_eq!(error["error"], "directory_unsafe");
    assert!(text(&error, "message").contains("chmod 700"));
    fs::set_permissions(&states, fs::Permissions::from_mode(0o700)).unwrap();
    fails(path, &["state", "restore", "--state-dir", "states"], 3);
}

#[test]
fn beginning_anew_says_what_is_lost_before_it_does_so() {
    let directory = tempfile::tempdir().unwrap();
    let said = fails(directory.path(), &["state", "recover", "--setup"], 2);
    for word in ["forgotten", "--yes", "--from"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_missing_program_does_not_make_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let error = fails_json(
        directory.path(),
        &[
            "agent",
            "run",
            "--name",
            "a",
            "--class",
            "c",
            "--",
            "no-such-program",
        ],
        1,
    );
    assert_eq!(error["error"], "program_unknown");
}

#[test]
fn completions_name_every_noun() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(directory.path(), &["completions", shell]);
        for noun in ["status", "validator", "policy", "request", "vote"] {
            assert!(script.contains(noun), "{shell}: {noun}");
        }
    }
}

#[test]
fn manual_pages_are_written() {
    let directory = tempfile::tempdir().unwrap();
    ok(directory.path(), &["man", "--out", "man"]);
    for page in ["tcpctl.1", "tcpctl-vote-approve.1", "tcpctl-agent-run.1"] {
        let text = fs::read_to_string(directory.path().join("man").join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("Example"), "{page}");
    }
    fs::write(directory.path().join("file"), "").unwrap();
    fails(directory.path(), &["man", "--out", "file"], 1);
}

#[test]
fn a_closed_pipe_is_quiet() {
    let script = format!(
        "{} completions zsh | head -c 1",
        env!("CARGO_BIN_EXE_tcpctl")
    );
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    assert!(output.status.success());
}

#[test]
fn standard_output_that_cannot_be_written_is_a_failure() {
    let full = PathBuf::from("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_tcpctl"))
        .args(["completions", "bash"])
        .stdout(fs::OpenOptions::new().write(true).open(full).unwrap())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("standard output"));
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
    let directory = tempfile::tempdir().unwrap();
    let output = tcpctl(directory.path(), &["doctor"]);
    assert!(!output.stdout.contains(&0x1b));
}
