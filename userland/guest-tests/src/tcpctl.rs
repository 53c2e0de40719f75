// SPDX-License-Identifier: GPL-2.0

//! `tcpctl` as administrators, validators and agents use it: what it says, word for word, and its exit codes.

use crate::{
    ensure,
    harness::{
        Ctx,
        Test, //
    },
    stage::{
        self,
        hex,
        Res, //
    },
};
use engine::refusal::Refusal;
use std::{
    fs,
    path::Path,
    process::{
        Child,
        Command,
        Stdio, //
    },
    time::{
        Duration,
        Instant, //
    },
};

/// The tests, in order: a node from its load over seal and quorums to its end.
pub(crate) const TESTS: &[Test] = &[
    Test::new("an_empty_node_says_so", empty),
    Test::new("those_who_follow_see_the_module_go_and_come", reloaded),
    Test::new("validators_come_and_go", validators),
    Test::new("what_the_tpm_makes_is_printed_or_written", tpm),
    Test::new("a_policy_is_shown_and_a_wrong_one_named", policy),
    Test::new("agents_are_listed_and_shown", agents),
    Test::new("an_agent_that_is_not_started_says_why", not_started),
    Test::new("an_agent_waits_for_its_program", waits),
    Test::new("requests_are_shown_exported_and_cancelled", requests),
    Test::new("a_watch_shows_what_is_open_and_what_comes", watch),
    Test::new("grants_are_listed_and_revoked", grants),
    Test::new("events_are_printed_verified_and_exported", events),
    Test::new("a_user_without_privileges_is_told_what_it_takes", user),
    Test::new("a_sealed_node_asks_waits_and_is_refused", sealed),
    Test::new(
        "a_state_is_saved_step_by_step_and_kept_until_a_signal",
        state,
    ),
    Test::new("an_unloaded_module_is_told_to_those_who_follow", unloaded),
];

/// Where the keys, and what the policy names, are over all tests.
const DIR: &str = "/run/tcpctl-tests";
/// The validators, in the order of their slots; three of four are a quorum.
const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// No request and no grant has this id.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How long something may take that another process does.
const PATIENCE: Duration = Duration::from_secs(15);
/// What everything says without the module.
const NOT_LOADED: &str =
    "tcpctl: the module tcp_lsm is not loaded: load it with `modprobe tcp_lsm` (or `insmod \
    tcp_lsm.ko`); `tcpctl doctor` says what is missing";

/// The policy, without its header.
const RULES: &str = "class worker\nclass runner\nDEFAULT action=ALLOW\n\
    op=FILE_WRITE class=worker path=/run/tcpctl-tests/guarded action=QUORUM threshold=75% ttl=5m uses=2\n\
    op=FILE_READ class=runner path=/run/tcpctl-tests/secret action=DENY\n\
    op=EXEC class=runner path=/run/tcpctl-tests/denied action=DENY\n\
    op=EXEC class=runner path=/run/tcpctl-tests/asked action=QUORUM threshold=75% ttl=5m uses=1\n\
    op=POLICY,VALIDATOR,MODE,UNLOAD,RECOVER action=QUORUM threshold=75%\n";

/// What a command did.
struct Done {
    line: String,
    status: Option<i32>,
    text: String,
}

impl Done {
    /// Demands an exit code, and each of these as a line of what was printed.
    fn tells(self, status: i32, lines: &[&str]) -> Res<Self> {
        ensure!(
            self.status == Some(status),
            "`{}` ended with {:?} instead of {status}:\n{}",
            self.line,
            self.status,
            self.text
        );
        for wanted in lines {
            ensure!(
                self.text.lines().any(|line| line == *wanted),
                "`{}` has no line\n{wanted}\nin\n{}",
                self.line,
                self.text
            );
        }
        Ok(self)
    }

    /// Demands that this is part of what was printed.
    fn has(self, wanted: &str) -> Res<Self> {
        ensure!(
            self.text.contains(wanted),
            "`{}` has no {wanted} in\n{}",
            self.line,
            self.text
        );
        Ok(self)
    }
}

/// Runs a line of the shell in [`DIR`].
fn sh(line: &str) -> Res<Done> {
    let output = Command::new("bash")
        .args(["-c", line])
        .current_dir(DIR)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("bash: {error}"))?;
    Ok(Done {
        line: line.to_owned(),
        status: output.status.code(),
        text: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}

/// Runs a line that must end well and print these lines.
fn ok(line: &str, lines: &[&str]) -> Res<Done> {
    sh(line)?.tells(0, lines)
}

/// Runs a line that must fail with exit code 1 and what the node says.
fn refused(line: &str, refusal: Refusal) -> Res<Done> {
    sh(line)?.tells(1, &[&format!("tcpctl: {}", refusal.message())])
}

/// A command that goes on in the background; what it prints is in a file.
struct Behind {
    child: Child,
    line: String,
    out: String,
}

impl Behind {
    fn start(name: &str, line: &str) -> Res<Self> {
        let out = format!("{DIR}/{name}.out");
        let file = fs::File::create(&out).map_err(|error| format!("{out}: {error}"))?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("bash")
            .args(["-c", &format!("exec {line}")])
            .current_dir(DIR)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("bash: {error}"))?;
        Ok(Self {
            child,
            line: line.to_owned(),
            out,
        })
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Waits until it has printed this.
    fn says(&self, wanted: &str) -> Res {
        stage::eventually(PATIENCE, || {
            let text = self.printed();
            ensure!(
                text.contains(wanted),
                "`{}` has no {wanted} in\n{text}",
                self.line
            );
            Ok(())
        })
    }

    fn signal(&self, signal: i32) -> Res {
        let pid = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        // SAFETY: A child of this process that has not been waited for.
        let sent = unsafe { libc::kill(pid, signal) };
        ensure!(sent == 0, "`{}` is gone already", self.line);
        Ok(())
    }

    /// Waits for its end.
    fn end(mut self) -> Res<Done> {
        let start = Instant::now();
        let status = loop {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            match ended {
                Some(status) => break status.code(),
                None if start.elapsed() > PATIENCE => {
                    return Err(format!("`{}` does not end:\n{}", self.line, self.printed()))
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Ok(Done {
            text: self.printed(),
            line: self.line,
            status,
        })
    }
}

/// A member of one of the objects that `tcpctl` prints: text without its quotes, or a number.
fn member(json: &str, name: &str) -> Res<String> {
    let start = format!("\"{name}\": ");
    json.lines()
        .find_map(|line| line.trim().strip_prefix(start.as_str()))
        .map(|value| value.trim_end_matches(',').trim_matches('"').to_owned())
        .ok_or_else(|| format!("no {name} in {json}"))
}

/// The beginning of an id, as tables show it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn write(name: &str, text: &str) -> Res {
    fs::write(Path::new(DIR).join(name), text).map_err(|error| format!("{name}: {error}"))
}

/// Waits until no request is open: those of an agent end with it, but not at once.
fn nothing_open() -> Res {
    stage::eventually(PATIENCE, || match stage::open_requests()?.len() {
        0 => Ok(()),
        open => Err(format!("{open} open requests")),
    })
}

/// Waits until no agent is left, and the log says so.
fn nobody_runs() -> Res {
    stage::eventually(PATIENCE, || {
        ok("tcpctl agent list", &["no agents"])?;
        let events = stage::events_after(0)?;
        let count = |kind| events.iter().filter(|event| event.kind == kind).count();
        let (begun, ended) = (
            count(engine::event::Kind::Agent as u16),
            count(engine::event::Kind::AgentEnded as u16),
        );
        ensure!(begun == ended, "{begun} agents began, {ended} ended");
        Ok(())
    })
}

/// Waits until there is exactly one open request; its id.
fn asked() -> Res<String> {
    let mut found = String::new();
    stage::eventually(PATIENCE, || match &stage::open_requests()?[..] {
        [request] => {
            found = hex(&request.id);
            Ok(())
        }
        all => Err(format!("{} open requests", all.len())),
    })?;
    Ok(found)
}

/// Has these validators vote.
fn vote(verdict: &str, id: &str, names: &[&str]) -> Res<Done> {
    let mut last = sh("true")?;
    for name in names {
        last = ok(
            &format!(
                "tcpctl vote {verdict} {} --as {name} --key {name}.key",
                short(id)
            ),
            &[],
        )?;
    }
    Ok(last)
}

fn approve(id: &str) -> Res {
    vote("approve", id, &NAMES[..3])?
        .has(&format!(
            "accepted: request {} is granted (approve 3, deny 0, of 4)",
            short(id)
        ))
        .map(drop)
}

/// Starts an agent that writes to what is guarded, and stays. Its request's id.
fn guarded() -> Res<(Behind, String)> {
    nothing_open()?;
    let agent = Behind::start(
        "robin",
        "tcpctl agent run --name robin --class worker -- bash -c 'echo x >>guarded; sleep 300'",
    )?;
    let id = asked()?;
    Ok((agent, id))
}

fn insmod() -> Res<Done> {
    ok("insmod /lib/modules/$(uname -r)/updates/tcp_lsm.ko", &[])
}

fn empty(_: &mut Ctx) -> Res {
    fs::create_dir_all(DIR).map_err(|error| error.to_string())?;
    for (line, said) in [
        ("agent list", "no agents"),
        ("request list", "no open requests"),
        ("grant list", "no grants"),
        ("evidence list", "no validator is quarantined"),
        (
            "validator list",
            "no validators: add one with `tcpctl validator add --name NAME --key FILE.pub`",
        ),
    ] {
        ok(&format!("tcpctl {line}"), &[said])?;
        ok(&format!("tcpctl --json {line}"), &["[]"])?;
    }
    sh("tcpctl policy show")?.tells(
        1,
        &["tcpctl: no policy is loaded: load one with `tcpctl policy load FILE`"],
    )?;
    for (line, said) in [
        (
            "agent show nobody",
            "tcpctl: agent_unknown: no agent nobody; see `tcpctl agent list`",
        ),
        (
            "request show 00000000",
            "tcpctl: no request 00000000: see `tcpctl request list`",
        ),
        (
            "grant revoke 00000000",
            "tcpctl: no grant 00000000: see `tcpctl grant list`",
        ),
    ] {
        sh(&format!("tcpctl {line}"))?.tells(1, &[said])?;
    }
    for (line, refusal) in [
        (format!("request show {NOBODY}"), Refusal::RequestUnknown),
        (format!("request cancel {NOBODY}"), Refusal::RequestUnknown),
        (format!("grant revoke {NOBODY}"), Refusal::GrantUnknown),
        (
            "validator show nobody".to_owned(),
            Refusal::ValidatorUnknown,
        ),
        (
            "validator remove nobody".to_owned(),
            Refusal::ValidatorUnknown,
        ),
        (
            "validator readmit nobody".to_owned(),
            Refusal::ValidatorUnknown,
        ),
        ("state discard".to_owned(), Refusal::StateNone),
    ] {
        refused(&format!("tcpctl {line}"), refusal)?;
    }
    Ok(())
}

fn reloaded(_: &mut Ctx) -> Res {
    ok("tcpctl --json status", &["  \"phase\": \"setup\","])?;
    let follower = Behind::start("follower", "tcpctl events --follow")?;
    let json = Behind::start("json", "tcpctl --json events --follow --verify")?;
    let watcher = Behind::start("watcher", "tcpctl request watch")?;
    let exporter = Behind::start("exporter", "tcpctl events export --follow --out kept.log")?;
    follower.says("LOADED")?;
    json.says("\"LOADED\"")?;
    stage::eventually(PATIENCE, || {
        let log = fs::metadata(format!("{DIR}/kept.log")).map_or(0, |file| file.len());
        ensure!(log > 100, "a log of {log} bytes");
        Ok(())
    })?;
    let before = stage::status()?.epoch;
    ok(
        "tcpctl unload",
        &[
            "the module may be unloaded",
            "Remove it with `rmmod tcp_lsm`.",
        ],
    )?;
    // An event: for five seconds from now, nobody asks whether the module is there.
    refused("tcpctl validator remove nobody", Refusal::ValidatorUnknown)?;
    follower.says("validator_unknown")?;
    ok(
        "rmmod tcp_lsm && insmod /lib/modules/$(uname -r)/updates/tcp_lsm.ko",
        &[],
    )?;
    let after = stage::status()?.epoch;
    ensure!(after > before, "epoch {after} after {before}");
    let again =
        "tcpctl: the module was loaded anew, and its log starts again: run the command again";
    follower.end()?.tells(1, &[again])?;
    json.end()?.tells(1, &[])?.has("\"error\":\"reloaded\"")?;
    watcher.end()?.tells(1, &[again])?;
    // Who exports goes on with the next load.
    ok("rmmod tcp_lsm", &[])?;
    exporter.end()?.tells(3, &[NOT_LOADED])?;
    insmod()?;
    ok("tcpctl audit verify kept.log", &[]).map(drop)
}

fn validators(_: &mut Ctx) -> Res {
    for (slot, name) in (1..).zip(NAMES) {
        ok(&format!("tcpctl key generate --out {name}.key"), &[])?;
        let shown = ok(&format!("tcpctl --json key show {name}.key.pub"), &[])?;
        let id = member(&shown.text, "id")?;
        ok(
            &format!("tcpctl validator add --name {name} --key {name}.key.pub"),
            &[&format!("enrolled {name}: slot {slot}, weight 1, id {id}")],
        )?;
    }
    ok("tcpctl key generate --out erin.key", &[])?;
    refused(
        "tcpctl validator add --name alice --key erin.key.pub",
        Refusal::ValidatorDuplicate,
    )?;
    refused(
        "tcpctl validator add --name erin --key bob.key.pub",
        Refusal::ValidatorDuplicate,
    )?;
    refused(
        "tcpctl validator add --name erin --key erin.key.pub --weight 4294967295",
        Refusal::ValidatorWeight,
    )?;
    let erin = ok(
        "tcpctl --json validator add --name erin --key erin.key.pub --weight 7",
        &[],
    )?;
    ensure!(member(&erin.text, "slot")? == "5", "{}", erin.text);
    ok("tcpctl validator list", &["total weight 11"])?;
    ok("tcpctl validator remove erin", &["removed erin"])?;
    ok("tcpctl validator list", &["total weight 4"])?.has("1     alice  1       0      ")?;
    refused("tcpctl validator readmit alice", Refusal::ValidatorTrusted)?;
    let alice = ok(
        "tcpctl --json validator show alice",
        &["  \"standing\": \"trusted\","],
    )?;
    let id = member(&alice.text, "id")?;
    ok("tcpctl validator show alice", &[])?.has(&id)?;
    ok("tcpctl --json validator list", &["    \"name\": \"dave\","]).map(drop)
}

fn tpm(_: &mut Ctx) -> Res {
    let node = hex(&stage::status()?.node);
    for line in [
        "tcpctl key generate --tpm --out tk",
        "tcpctl key generate --tpm --out tk --force",
    ] {
        ok(line, &["public key    tk.pub"])?.has("TPM handle    ")?;
    }
    sh("tcpctl key generate --tpm --out tk")?
        .tells(1, &[])?
        .has("tk.pub")?;
    ok(
        "tcpctl attest key create --out -",
        &["-----BEGIN PUBLIC KEY-----"],
    )?;
    let nonce = "00112233445566778899aabbccddeeff";
    ok(
        &format!(
            "tcpctl attest quote --nonce {nonce} --out - >q && \
             tcpctl attest verify - --nonce {nonce} --node {node} --setup <q"
        ),
        &[],
    )?
    .has("verified")?;

    let maker = "--ca /usr/share/tcp-lsm/swtpm-ca.pem";
    ok(
        &format!(
            "set -e; enroll='tcpctl attest enroll'; $enroll request --out - >er; \
             $enroll challenge --request er --out - --secret es {maker} >ec; $enroll answer --challenge ec --out - >ea; \
             $enroll verify --secret es --answer ea --out -"
        ),
        &["-----BEGIN PUBLIC KEY-----"],
    )?;
    ok(
        "tcpctl attest enroll request --out er2",
        &[&format!("node        {node}"), "written to  er2"],
    )?;
    ok(
        &format!("tcpctl attest enroll challenge --request er2 --out ec2 --secret es2 {maker}"),
        &[],
    )?
    .has("certified by the TPM's maker")?;
    ok(
        "tcpctl attest enroll answer --challenge ec2 --out ea2",
        &["written to  ea2"],
    )
    .map(drop)
}

fn policy(_: &mut Ctx) -> Res {
    for (name, content) in [("guarded", ""), ("secret", "s")] {
        write(name, content)?;
    }
    ok("cp /usr/bin/true denied && cp /usr/bin/true asked", &[])?;
    write("two", &format!("policy_name=cli policy_version=2\n{RULES}"))?;
    write("one", &format!("policy_name=cli policy_version=1\n{RULES}"))?;
    write(
        "wrong",
        "policy_name=cli policy_version=3\nDEFAULT action=ALLOW\nop=NOTHING action=DENY\n",
    )?;
    ok("tcpctl policy load two", &[])?.has("cli")?;
    refused("tcpctl policy load one", Refusal::PolicyVersion)?;
    sh("tcpctl policy load wrong")?
        .tells(1, &[])?
        .has("wrong:3:4: ")?;
    ok(
        "tcpctl policy show",
        &["policy_name=cli policy_version=2", "class runner"],
    )?;
    let shown = ok(
        "tcpctl --json policy show",
        &["  \"name\": \"cli\",", "  \"version\": 2"],
    )?;
    let digest = ok("sha256sum <two", &[])?.text;
    let digest = digest.split(' ').next().unwrap_or_default().to_owned();
    ensure!(
        member(&shown.text, "digest")? == digest,
        "{digest}: {}",
        shown.text
    );
    ok(
        "tcpctl policy explain --op EXEC --class runner --path denied",
        &[],
    )?
    .has("DENY")?;
    ok("tcpctl mode enforce", &["mode enforce"])?;
    ok("tcpctl --json mode enforce", &["  \"mode\": \"enforce\","])?;
    ok("tcpctl clock show", &[])?.has("this node\nchain ")?;
    let clock = ok("tcpctl --json clock show", &[])?.text;
    let status = stage::status()?;
    ensure!(
        member(&clock, "node")? == hex(&status.node)
            && member(&clock, "epoch")? == status.epoch.to_string(),
        "{clock}"
    );
    Ok(())
}

fn agents(_: &mut Ctx) -> Res {
    let run = "tcpctl agent run --name robin --class worker --keep-fd 3 -- sleep 300 3</dev/null";
    let agent = Behind::start("robin", run)?;
    stage::eventually(PATIENCE, || {
        sh("tcpctl agent list")?
            .has("robin  worker  -       1      0    ")
            .map(drop)
    })?;
    let json = ok(
        "tcpctl --json agent show robin",
        &["    \"class\": \"worker\","],
    )?
    .text;
    ensure!(
        member(&json, "pid")? == agent.child.id().to_string(),
        "{json}"
    );
    let shown = [
        "name           robin",
        "class          worker",
        "started by     a task without a label",
        "tasks          1",
        "open requests  0",
    ];
    ok("tcpctl agent show robin", &shown)?;
    ok(
        &format!("tcpctl agent show {}", member(&json, "id")?),
        &shown,
    )?;
    ok("tcpctl --json agent list", &["    \"name\": \"robin\","])?;
    agent.signal(libc::SIGKILL)?;
    agent.end()?;
    nobody_runs()
}

fn not_started(_: &mut Ctx) -> Res {
    let run = "tcpctl agent run --name robin --class";
    let unknown = Refusal::ClassUnknown.message();
    sh(&format!("{run} nobody -- true"))?.tells(
        1,
        &[&format!(
            "tcpctl: not started as class nobody: {unknown} (the policy declares its classes with `class NAME`)"
        )],
    )?;
    let inherited = Refusal::InheritedFile.message();
    sh(&format!("{run} runner -- true <secret"))?.tells(
        1,
        &[&format!(
            "tcpctl: not started as class runner: {inherited} (standard input, output and error count: redirect them to \
             files that the class may open, or pipe them)"
        )],
    )?;
    for (command, status, said) in [
        ("worker -- no-such-program", 1, "no-such-program: no such program in PATH"),
        (
            "worker -- ./nothing",
            1,
            "cannot execute ./nothing: No such file or directory (os error 2)",
        ),
        ("worker --keep-fd 9 -- true", 2, "--keep-fd 9: no such open file"),
        (
            "runner -- ./denied",
            5,
            "the policy (or the file's mode) does not let this agent execute ./denied: see `tcpctl policy explain --op \
             EXEC --path ./denied`",
        ),
    ] {
        sh(&format!("{run} {command}"))?.tells(status, &[&format!("tcpctl: {said}")])?;
    }
    let asked = sh(&format!("{run} runner -- ./asked"))?.tells(5, &[])?;
    let (request, _) = asked
        .text
        .split_once("(request ")
        .and_then(|(_, rest)| rest.split_once(')'))
        .ok_or_else(|| asked.text.clone())?;
    let said = format!(
        "tcpctl: the policy wants a quorum before this agent executes ./asked (request {request}). The request ends with \
         the agent: add --wait to keep it until the validators have decided"
    );
    ensure!(asked.text.trim_end() == said, "{}", asked.text);
    Ok(())
}

fn waits(_: &mut Ctx) -> Res {
    let run = "tcpctl agent run --name robin --class runner --wait -- ./asked";
    nothing_open()?;
    let agent = Behind::start("asker", run)?;
    let id = asked()?;
    approve(&id)?;
    agent.end()?.tells(0, &[])?;
    let agent = Behind::start("asker", run)?;
    let id = asked()?;
    ok(
        &format!("tcpctl --json request cancel {}", short(&id)),
        &["  \"outcome\": \"done\","],
    )?;
    agent.end()?.tells(
        5,
        &[&format!(
            "tcpctl: request {} is not granted: nothing was changed. `tcpctl events` tells who decided; running the \
             command again makes a new request",
            short(&id)
        )],
    )?;
    nothing_open()
}

fn requests(_: &mut Ctx) -> Res {
    let (_agent, id) = guarded()?;
    let at = short(&id);
    ok("tcpctl request list", &[])?.has(&format!("{at}  open   FILE_WRITE"))?;
    ok("tcpctl --json request list", &["    \"state\": \"open\","])?.has(&id)?;
    ok(&format!("tcpctl request show {at}"), &[])?
        .has("approve 0, deny 0, of 4")?
        .has("weight 3")?;
    vote("approve", &id, &["alice"])?.has(&format!(
        "accepted: request {at} is open (approve 1, deny 0, of 4)"
    ))?;
    vote("deny", &id, &["bob"])?;
    ok(&format!("tcpctl request show {at}"), &[])?
        .has("approve 1, deny 1, of 4")?
        .has("alice, bob")?
        .has("weight 2")?;
    ok(
        &format!("tcpctl --json request show {id}"),
        &["  \"approve\": 1,", "  \"deny\": 1,"],
    )?;
    sh(&format!("tcpctl vote approve {at} --as erin --key erin.key"))?.tells(
        1,
        &["tcpctl: vote_unknown_validator: the key is not enrolled here; compare with `tcpctl validator list`"],
    )?;

    // What is exported is what a validator elsewhere signs.
    ok(&format!("tcpctl request export {at}"), &[])?.has("tcpctl-request-1")?;
    ok(&format!("tcpctl request export {at} --out -"), &[])?.has("tcpctl-request-1")?;
    ok(
        &format!("tcpctl request export {at} --out r.json"),
        &["written to r.json"],
    )?;
    ok(
        &format!("tcpctl --json request export {at} --out s.json"),
        &[
            "  \"file\": \"s.json\",",
            &format!("  \"request\": \"{id}\""),
        ],
    )?;
    ok(
        &format!(
            "tcpctl vote approve {at} --as carol --key carol.key --request r.json --out c.vote"
        ),
        &[],
    )?;
    ok(
        "tcpctl --json vote submit c.vote",
        &["  \"outcome\": \"accepted\",", "  \"approve\": 2,"],
    )?;

    ok(
        &format!("tcpctl request cancel {at}"),
        &[&format!("cancelled {at}")],
    )?;
    refused(
        &format!("tcpctl request cancel {id}"),
        Refusal::RequestClosed,
    )?;
    ok("tcpctl request list", &["no open requests"])?.has(" decided: see them with --all.")?;
    ok("tcpctl request list --all", &[])?.has(&format!("{at}  cancelled"))?;
    sh(&format!("tcpctl vote approve {at} --as dave --key dave.key"))?.tells(
        1,
        &[&format!(
            "tcpctl: request_closed: the request is already cancelled; see `tcpctl request show {at}`"
        )],
    )?;
    Ok(())
}

fn watch(_: &mut Ctx) -> Res {
    let (_agent, id) = guarded()?;
    let at = short(&id);
    // Both end when nobody reads any more, which they notice at the next line.
    let read = |name, json| {
        Behind::start(
            name,
            &format!("bash -c 'set -o pipefail; tcpctl {json} request watch | sed -u 2q'"),
        )
    };
    let (text, json) = (read("text", "")?, read("json", "--json")?);
    text.says(&format!("open {at} FILE_WRITE by robin"))?;
    json.says("\"kind\":\"OPEN\"")?;
    vote("approve", &id, &["alice"])?;
    text.says("alice")?;
    json.says("\"kind\":\"VOTE\"")?;
    vote("approve", &id, &["bob"])?;
    ok(&format!("tcpctl request cancel {at}"), &[])?;
    for watch in [text, json] {
        let done = watch.end()?.tells(0, &[])?;
        ensure!(done.text.lines().count() == 2, "{}", done.text);
    }
    Ok(())
}

fn grants(_: &mut Ctx) -> Res {
    let (_agent, id) = guarded()?;
    let at = short(&id);
    approve(&id)?;
    ok("tcpctl grant list", &[])?.has(&format!("{at}  FILE_WRITE"))?;
    let json = ok("tcpctl --json grant list", &["    \"uses_left\": 2,"])?.text;
    ensure!(json.contains(&id), "{json}");
    sh("tcpctl grant revoke ffffffff")?
        .tells(1, &["tcpctl: no grant ffffffff: see `tcpctl grant list`"])?;
    ok(
        &format!("tcpctl grant revoke {at}"),
        &[&format!("revoked {at}")],
    )?;
    ok("tcpctl grant list", &["no grants"])?;
    refused(&format!("tcpctl grant revoke {id}"), Refusal::GrantUnknown).map(drop)
}

fn events(_: &mut Ctx) -> Res {
    nobody_runs()?;
    let last = stage::status()?.event;
    let first = engine::clock::first_number(stage::status()?.epoch) + 1;
    ok("tcpctl events --verify", &[])?.has(&format!(
        "verified: the chain of events {first} to {last} fits; head "
    ))?;
    ok("tcpctl --json events --verify", &["  \"lost\": 0,"])?.has("\"verified\": [")?;
    let told = ok(&format!("tcpctl events --from {last} --verify"), &[])?.has(&format!(
        "event {last} is taken as it is: what precedes it is not known; verified is what follows it"
    ))?;
    ensure!(told.text.lines().count() == 3, "{}", told.text);
    ok(
        &format!("tcpctl events --from {} --verify", last + 9),
        &["verified: nothing to check"],
    )?;
    ok("bash -c 'set -o pipefail; tcpctl events | head -n 1'", &[])?;

    ok("tcpctl events export --out node.log", &[])?.has(" events exported")?;
    let told = ok(
        "tcpctl --json events export --out json.log",
        &["  \"gaps\": 0,"],
    )?
    .text;
    ensure!(
        member(&told, "file")? == "json.log" && member(&told, "last")? == last.to_string(),
        "{told}"
    );
    ok("tcpctl events export --out - | cmp - node.log", &[])?;
    sh("tcpctl events export --follow --out /dev/null")?.tells(
        1,
        &["tcpctl: /dev/null is no regular file: only one can be followed into"],
    )?;
    sh("cp two no.log; tcpctl events export --follow --out no.log")?
        .tells(1, &["tcpctl: no.log is not a log: choose another name"])?;
    sh(
        "cp node.log bad.log; printf x | dd of=bad.log bs=1 seek=80 conv=notrunc status=none; \
        tcpctl events export --follow --out bad.log",
    )?
    .tells(1, &[])?
    .has("tcpctl: bad.log: at byte 80, ")?
    .has(" is not the length of an event: this is no log that can be gone on with; choose another name")?;
    Ok(())
}

fn user(_: &mut Ctx) -> Res {
    let (_agent, id) = guarded()?;
    let at = short(&id);
    let user = "setpriv --reuid=1000 --regid=1000 --clear-groups";
    for line in [
        "mode enforce",
        "seal",
        "unload",
        "validator list",
        "grant list",
    ] {
        sh(&format!("{user} tcpctl {line}"))?
            .tells(1, &[])?
            .has("not_permitted: ")?;
    }
    sh(&format!("{user} tcpctl events --follow"))?.tells(
        1,
        &["tcpctl: not_permitted: following events needs CAP_SYS_ADMIN; run it as root"],
    )?;
    ok(
        &format!("{user} tcpctl request export {at}"),
        &["The validators could not be read (that takes root): voters will need --slot."],
    )?
    .has("\"validators\": []")
    .map(drop)
}

fn sealed(_: &mut Ctx) -> Res {
    ok(
        "tcpctl seal",
        &[
            "sealed",
            "From now on policy, validators, mode and unloading take a quorum, whoever asks.",
        ],
    )?;
    refused("tcpctl seal", Refusal::NotInSetup)?;
    let pending = sh("tcpctl mode permissive")?.tells(4, &[])?;
    let id = asked()?;
    let at = short(&id);
    pending.tells(4, &[
        &format!("pending {id}"),
        &format!(
            "tcpctl: a quorum must approve this first. See it with `tcpctl request show {at}`, collect the votes (`tcpctl \
             vote approve {at} ...`), then run the same command again; or add --wait"
        ),
    ])?;
    sh("tcpctl --json mode permissive")?
        .tells(
            4,
            &[
                "  \"outcome\": \"pending\",",
                &format!("  \"request\": \"{id}\""),
            ],
        )?
        .has("\"error\":\"pending\"")?;
    sh("tcpctl mode permissive --wait --timeout 1s")?.tells(4, &[
        &format!("waiting for a quorum on request {id} (`tcpctl request show {at}`)"),
        &format!(
            "tcpctl: stopped waiting: request {at} is still open. Run the same command again to go on waiting"
        ),
    ])?;
    let waiting = Behind::start("mode", "tcpctl mode permissive --wait")?;
    waiting.says("waiting for a quorum")?;
    approve(&id)?;
    waiting.end()?.tells(0, &["mode permissive"])?;

    let waiting = Behind::start("mode", "tcpctl mode enforce --wait --timeout 1m")?;
    let id = asked()?;
    vote("deny", &id, &["alice", "dave"])?;
    waiting.end()?.tells(5, &[&format!(
        "tcpctl: request {} is denied: nothing was changed. `tcpctl events` tells who decided; running the command again \
         makes a new request",
        short(&id)
    )])?;

    write(
        "three",
        &format!("policy_name=cli policy_version=3\n{RULES}"),
    )?;
    for line in [
        "policy load three",
        "validator remove dave",
        "validator add --name erin --key erin.key.pub",
        "unload",
    ] {
        sh(&format!("tcpctl {line}"))?
            .tells(4, &[])?
            .has("pending ")?;
        ok(&format!("tcpctl request cancel {}", asked()?), &[])?;
    }
    Ok(())
}

fn state(_: &mut Ctx) -> Res {
    // Something happened since the last commit: a refusal is an event.
    let change = || {
        sh("tcpctl unload; tcpctl request cancel $(tcpctl --json unload | sed -n 's/.*\"request\": \"\\(.*\\)\"/\\1/p')")
    };
    change()?;
    let steps = ok("TCPCTL_STEP_MS=1 tcpctl state save", &[])?.text;
    let named: Vec<&str> = steps
        .lines()
        .filter_map(|line| line.strip_prefix("step "))
        .collect();
    ensure!(
        named
            == [
                "staged",
                "written",
                "synced",
                "read-back",
                "committed",
                "renamed",
                "done"
            ],
        "{steps}"
    );
    let at = stage::status_number("state_counter")?;
    ensure!(
        steps.contains(&format!("saved: counter {at}, anchor ")),
        "counter {at}: {steps}"
    );
    ok("tcpctl state show", &[])?.has(&format!("{at}"))?;

    for (line, signal, told) in [
        (
            "tcpctl state keep --every 1s",
            libc::SIGTERM,
            "saved: counter ",
        ),
        (
            "tcpctl --json state keep --every 1s",
            libc::SIGINT,
            "\"saved\":true",
        ),
    ] {
        change()?;
        let keep = Behind::start("keep", line)?;
        keep.says(told)?;
        keep.signal(signal)?;
        keep.end()?.tells(0, &[])?;
    }
    // As often as the node was told, which is far away: the signal saves.
    change()?;
    let keep = Behind::start("keep", "tcpctl state keep")?;
    std::thread::sleep(Duration::from_secs(3));
    keep.signal(libc::SIGTERM)?;
    keep.end()?.tells(0, &[])?.has("saved: counter ")?;

    refused("tcpctl state discard", Refusal::StateNone)?;
    refused("tcpctl state recover --setup --yes", Refusal::NotInSetup)?;
    refused(
        "tcpctl state recover --from /var/lib/tcp-lsm/state",
        Refusal::StateCurrent,
    )?;
    sh("cp two no.state; tcpctl state recover --from no.state")?
        .tells(1, &[])?
        .has("no.state")?;
    Ok(())
}

fn unloaded(_: &mut Ctx) -> Res {
    let follower = Behind::start("follower", "tcpctl events --follow")?;
    let exporter = Behind::start("exporter", "tcpctl events export --follow --out node.log")?;
    follower.says("SEALED")?;
    let waiting = Behind::start("unload", "tcpctl unload --wait")?;
    approve(&asked()?)?;
    waiting.end()?.tells(
        0,
        &[
            "the module may be unloaded",
            "Remove it with `rmmod tcp_lsm`.",
        ],
    )?;
    ok("rmmod tcp_lsm", &[])?;
    follower.end()?.tells(3, &[NOT_LOADED])?;
    exporter.end()?.tells(3, &[NOT_LOADED])?;
    ok("tcpctl audit verify node.log --policy two", &[])?;
    sh("tcpctl status")?.tells(3, &[NOT_LOADED])?;
    // The same node, and it remembers.
    insmod()?;
    ok("tcpctl --json status", &["  \"phase\": \"locked\","])?;
    ok("tcpctl status", &[])?.has(Refusal::StateMissing.message())?;
    ok("tcpctl state restore", &[])?.has("the node is sealed")?;
    ok("tcpctl policy show", &["policy_name=cli policy_version=2"]).map(drop)
}
