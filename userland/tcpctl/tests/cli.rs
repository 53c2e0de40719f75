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

/// The validator and the request of the vectors, in files.
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
        let id = text(&votes, "request_id").to_owned();
        let requests = vectors("request.json");
        let encoding = requests["requests"]
            .as_array()
            .unwrap()
            .iter()
            .find(|request| text(request, "id") == id)
            .unwrap()["encoding"]
            .clone();
        let secret = SecretKey::from_slice(&unhex(&votes, "private_key")).unwrap();
        let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        let key = directory.path().join("alice.key");
        fs::write(&key, pem.as_bytes()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let wall_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let exported = json!({
            "format": "tcpctl-request-1",
            "id": id,
            "request": encoding,
            "node": votes["node"],
            "epoch": votes["epoch"],
            "boot_ms": 1_000_000,
            "wall_ms": u64::try_from(wall_ms).unwrap(),
            "clock": [[0, 40]],
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
    for old in ["k.clock.old", "k.clock.old2"] {
        fs::write(path.join("k.clock"), old).unwrap();
        ok(path, &["key", "generate", "--out", "k", "--force"]);
        assert!(!path.join("k.clock").exists());
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
fn offline_votes_are_the_vectors_to_the_byte() {
    let mut compared = 0;
    for vote in vectors("vote.json")["votes"].as_array().unwrap() {
        let mut offline = Offline::new();
        // The clock before the vote: that of the vector with the own entry one less.
        let mut clock = vote["clock"].clone();
        for entry in clock.as_array_mut().unwrap() {
            if entry[0] == 1 {
                entry[1] = json!(entry[1].as_u64().unwrap() - 1);
            }
        }
        clock.as_array_mut().unwrap().retain(|entry| entry[1] != 0);
        let mut nodes = serde_json::Map::new();
        nodes.insert(
            text(&offline.votes, "node").to_owned(),
            json!({ "epoch": offline.votes["epoch"], "slot": 1, "clock": clock }),
        );
        let sidecar = json!({
            "format": "tcpctl-clock-1",
            "validator": offline.votes["validator"],
            "nodes": nodes,
        });
        fs::write(offline.path().join("alice.key.clock"), sidecar.to_string()).unwrap();
        // What the file says of the clock does not matter.
        offline.exported["clock"] = json!([[0, 999], [2, 7]]);
        offline.export();
        let request_expires = 1_300_000;
        if vote["expires_ms"] != request_expires {
            continue;
        }
        let record = offline.vote(text(vote, "verdict"), &["--reason", text(vote, "reason")]);
        assert_eq!(hex::encode(record), text(vote, "record"));
        compared += 1;
    }
    assert!(compared >= 2);
}

#[test]
fn an_offline_vote_verifies_and_its_clock_only_grows() {
    let offline = Offline::new();
    let mut last = 0;
    for (verdict, reason) in [("approve", "ticket 12"), ("deny", ""), ("approve", "")] {
        let record = offline.vote(verdict, &["--reason", reason]);
        let decoded = VoteRecord::decode(&record).unwrap();
        assert_eq!(decoded.vote.verdict.name(), verdict);
        assert_eq!(decoded.reason, reason);
        assert_eq!(hex::encode(decoded.vote.request), offline.id);
        let key = VerifyingKey::from_sec1_bytes(&unhex(&offline.votes, "public_key")).unwrap();
        let signature = Signature::from_der(decoded.signature).unwrap();
        key.verify(decoded.signed, &signature).unwrap();
        let clock = Offline::clock(&record);
        assert_eq!(clock[0], (0, 40));
        let own = clock.iter().find(|(slot, _)| *slot == 1).unwrap().1;
        assert_eq!(own, last + 1);
        last = own;
    }
    let sidecar: Value =
        serde_json::from_slice(&fs::read(offline.path().join("alice.key.clock")).unwrap()).unwrap();
    let node = &sidecar["nodes"][text(&offline.votes, "node")];
    assert_eq!((&node["slot"], &node["epoch"]), (&json!(1), &json!(7)));
    assert_eq!(node["clock"], json!([[0, 40], [1, 3]]));
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
    let value: Value =
        serde_json::from_str(&ok(offline.path(), &offline.arguments("deny", &["--json"]))).unwrap();
    assert_eq!(value["verdict"], "deny");
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
    assert!(!offline.path().join("alice.key.clock").exists());
    assert!(!offline.path().join("a.vote").exists());
    // With a slot given it works, and is remembered.
    assert_eq!(
        Offline::clock(&offline.vote("approve", &["--slot", "5"])),
        [(0, 40), (5, 1)]
    );
    assert_eq!(
        Offline::clock(&offline.vote("approve", &[])),
        [(0, 40), (5, 2)]
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

const POLICY: &str = "policy_name=p policy_version=1\nclass builder\nDEFAULT action=DENY\n\
                      op=FILE_READ class=builder path=/usr action=ALLOW\n";

#[test]
fn policy_check_names_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let write = |text: &[u8]| fs::write(path.join("p"), text).unwrap();
    write(POLICY.as_bytes());
    assert!(ok(path, &["policy", "check", "p"]).contains("p version 1: 1 rule, 1 path"));
    for (bad, place) in [
        (POLICY.replace("class=builder", "clas=builder"), "p:4:14: "),
        (POLICY.replace("path=/usr", "path=/nonexistent-dir"), "p:4:"),
        (POLICY.replace("DEFAULT action=DENY\n", ""), "p:4:1: "),
        (POLICY.replace("=DENY", "=PERHAPS"), "p:3:"),
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
