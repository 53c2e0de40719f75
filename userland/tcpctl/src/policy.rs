// SPDX-License-Identifier: GPL-2.0

//! `tcpctl policy`: checking, loading, showing and explaining policies.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{
        Path,
        PathBuf, //
    }, //
};

use clap::{
    Args,
    Subcommand, //
};
use engine::{
    address::Address,
    limits,
    op::Op,
    policy::{
        Action,
        Adaptive,
        ClassId,
        ObjectId,
        Operation,
        Outcome,
        Policy,
        Subject, //
    }, //
};
use serde_json::{
    json,
    Value, //
};
use sha2::Digest;

use crate::{
    client::{
        self,
        Taken, //
    },
    crypto::sha256,
    describe::{
        json_text,
        percent, //
    },
    error::{
        Error,
        Result, //
    },
    file,
    govern::{
        self,
        Wait, //
    },
    output::{
        clean,
        conclude,
        count,
        note,
        Output,
        Tone, //
    },
    securityfs::{
        self,
        Load, //
    },
    time::human_duration, //
};

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a policy as the kernel would, resolve its paths, and warn of what is probably not meant
    #[command(after_help = "Example:\n  tcpctl policy check builder.policy")]
    Check {
        /// The policy; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Load a policy; in a sealed node this takes a quorum
    #[command(after_help = "Example:\n  tcpctl policy load builder.policy --wait --timeout 10m")]
    Load {
        /// The policy; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        wait: Wait,
    },
    /// Print the running policy
    #[command(after_help = "Example:\n  tcpctl policy show > running.policy")]
    Show,
    /// Tell which rule would decide an operation, and why
    #[command(
        after_help = "Example:\n  tcpctl policy explain --op FILE_WRITE --class builder --path /etc/passwd builder.policy"
    )]
    Explain(Explain),
}

/// One operation to explain.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The operation, such as EXEC or FILE_WRITE
    #[arg(long, value_name = "OP", value_parser = parse_op)]
    op: Op,
    /// Class of the agent; without, a task that has no label
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Name of the agent
    #[arg(long, value_name = "NAME", requires = "class", default_value = "")]
    agent: String,
    /// Effective user id
    #[arg(long, value_name = "N", default_value_t = 0)]
    uid: u32,
    /// The object; it is found as the kernel finds it, by inode, on this machine
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
    /// IPv4 or IPv6 address
    #[arg(long, value_name = "ADDRESS", requires = "port", value_parser = parse_address)]
    address: Option<Address>,
    /// Port
    #[arg(long, value_name = "N", requires = "address")]
    port: Option<u16>,
    /// Digest of the content, instead of that of the file at PATH
    #[arg(long, value_name = "sha256:HEX", value_parser = parse_digest)]
    digest: Option<[u8; 32]>,
    /// The policy; `running` is the one in the kernel
    #[arg(value_name = "FILE|running", default_value = "running")]
    policy: PathBuf,
}

fn parse_op(text: &str) -> Result<Op, String> {
    Op::from_name(text.to_ascii_uppercase().as_bytes()).ok_or_else(|| {
        let names: Vec<&str> = Op::ALL.iter().map(|op| op.name()).collect();
        format!("no such operation; there are {}", names.join(", "))
    })
}

fn parse_address(text: &str) -> Result<Address, String> {
    Address::parse(text.as_bytes()).ok_or_else(|| "not an IPv4 or IPv6 address".to_owned())
}

fn parse_digest(text: &str) -> Result<[u8; 32], String> {
    engine::name::digest(text.strip_prefix("sha256:").unwrap_or(text).as_bytes())
        .ok_or_else(|| "not a digest: sha256: and 64 hexadecimal digits".to_owned())
}

/// Runs the command.
///
/// # Errors
///
/// Those of files, and the refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Check { file } => check(file, output),
        Command::Load { file, wait } => load(file, wait, output),
        Command::Show => show(output),
        Command::Explain(explain) => run_explain(explain, output),
    }
}

/// The identity of an inode, as the kernel has it.
type Identity = (u64, u64);

/// A finding of `policy check`.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: u32,
    column: u32,
    warning: bool,
    code: &'static str,
    message: String,
}

impl Finding {
    fn json(&self) -> Value {
        json!({
            "line": self.line,
            "column": self.column,
            "level": if self.warning { "warning" } else { "error" },
            "code": self.code,
            "message": self.message,
        })
    }
}

/// Everything that is wrong with a text, in the order of its lines, and the policy when it can be read.
fn findings(text: &[u8]) -> (Option<Policy>, Vec<Finding>) {
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            let code = if error.line == 0 {
                "no_memory"
            } else {
                "policy_invalid"
            };
            let finding = Finding {
                line: error.line,
                column: error.column,
                warning: false,
                code,
                message: error.kind.to_string(),
            };
            return (None, vec![finding]);
        }
    };
    let mut findings: Vec<Finding> = policy
        .lint()
        .map(|warning| Finding {
            line: warning.line,
            column: 1,
            warning: true,
            code: "lint",
            message: warning.message,
        })
        .collect();
    for object in policy.objects() {
        let path = object.path(&policy);
        if let Err(error) = fs::metadata(path) {
            findings.push(Finding {
                line: object.line,
                column: object.column,
                warning: false,
                code: "policy_path",
                message: format!(
                    "{} cannot be resolved: {error}; create it or correct the line",
                    clean(path.as_bytes())
                ),
            });
        }
    }
    findings.sort_by_key(|finding| (finding.line, finding.column));
    (Some(policy), findings)
}

fn check(path: &Path, output: &Output) -> Result<()> {
    // One byte more than is allowed, so that the parser is the one to refuse it.
    let text = file::read(path, limits::POLICY_TEXT.saturating_mul(8))?;
    let (policy, findings) = findings(&text);
    let bad = findings.iter().any(|finding| !finding.warning);
    let told = report(path, &text, policy.as_ref(), &findings, output);
    conclude(told, bad.then_some(Error::Reported))
}

/// Prints what a check has found.
fn report(
    path: &Path,
    text: &[u8],
    policy: Option<&Policy>,
    findings: &[Finding],
    output: &Output,
) -> Result<()> {
    let bad = findings.iter().any(|finding| !finding.warning);
    if output.json {
        output.json(&json!({
            "ok": !bad,
            "name": policy.map(Policy::name),
            "version": policy.map(Policy::version),
            "digest": hex::encode(sha256(text)),
            "rules": policy.map(|policy| policy.rules().count()),
            "adaptive": policy.map(|policy| adaptive_json(&policy.adaptive())),
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        }))?;
    } else {
        for finding in findings {
            let level = match finding.warning {
                true => output.paint(Tone::Warn, "warning"),
                false => output.paint(Tone::Bad, "error"),
            };
            output.line(&format!(
                "{}:{}:{}: {level}: {}",
                path.display(),
                finding.line,
                finding.column,
                finding.message
            ))?;
        }
        if let (Some(policy), false) = (policy, bad) {
            output.line(&format!(
                "{}: {} version {}: {}, {}, {}",
                path.display(),
                policy.name(),
                policy.version(),
                count(policy.rules().count(), "rule"),
                count(policy.objects().len(), "path"),
                count(findings.len(), "warning"),
            ))?;
            output.line(&adaptive_text(&policy.adaptive()))?;
        }
    }
    Ok(())
}

fn load(path: &Path, wait: &Wait, output: &Output) -> Result<()> {
    let text = file::read(path, limits::POLICY_TEXT.saturating_mul(8))?;
    govern::run(wait, output, |_| {
        Ok(match securityfs::load_policy(&text)? {
            Load::Done { .. } => client::Outcome::Taken(Taken::done()),
            Load::Staged(counter) => client::Outcome::Taken(Taken::staged(counter)),
            Load::Pending(id) => client::Outcome::Pending(id),
        })
    })
    .map_err(|error| in_file(error, path))?;
    // The kernel has just read it with the same parser.
    let policy = Policy::parse(&text).map_err(|error| {
        Error::invalid(
            "protocol",
            format!(
                "the kernel took the policy, which cannot be read here (line {}): use the tcpctl that was built with this \
                 module",
                error.line
            ),
        )
    })?;
    let (name, version) = (policy.name(), policy.version());
    output.either(
        &json!({
            "outcome": "done",
            "name": name,
            "version": version,
            "digest": hex::encode(sha256(&text)),
        }),
        || format!("loaded {name} version {version}"),
    )
}

/// Puts the file's name before `LINE:COLUMN:` of the kernel's diagnostic.
fn in_file(error: Error, path: &Path) -> Error {
    match error {
        Error::Refused {
            code,
            errno,
            message,
        } if code == "policy_invalid" || code == "policy_path" => {
            let reason = message
                .split_once(": ")
                .map_or(message.as_str(), |(_, reason)| reason);
            let message = match reason.bytes().next() {
                Some(b'0'..=b'9') => format!("{code}: {}:{reason}", path.display()),
                _ => message,
            };
            Error::Refused {
                code,
                errno,
                message,
            }
        }
        other => other,
    }
}

fn show(output: &Output) -> Result<()> {
    let text = securityfs::read("policy")?;
    if text.is_empty() {
        return Err(Error::invalid(
            "no_policy",
            "no policy is loaded: load one with `tcpctl policy load FILE`",
        ));
    }
    let policy = Policy::parse(&text).ok();
    if !output.json {
        output.raw(&text)?;
        if let Some(policy) = &policy {
            // Standard output is for the policy alone.
            note(output, &adaptive_text(&policy.adaptive()));
        }
        return Ok(());
    }
    output.json(&json!({
        "name": policy.as_ref().map(Policy::name),
        "version": policy.as_ref().map(Policy::version),
        "digest": hex::encode(sha256(&text)),
        "adaptive": policy.as_ref().map(|policy| adaptive_json(&policy.adaptive())),
        "text": json_text(&text),
    }))
}

/// Identities of the object at a path and of every directory above it, as the kernel walks them.
///
/// An object that does not exist yet (FILE_CREATE) starts at its directory. Deleting, renaming and linking concern a
/// symbolic link itself; everything else what it leads to.
fn ancestry(path: &Path, op: Op) -> Result<Vec<Identity>> {
    let absolute = std::path::absolute(path).map_err(|error| Error::file("find", path, error))?;
    let itself = matches!(op, Op::FileDelete | Op::FileRename | Op::FileLink);
    let mut identities = Vec::new();
    let mut directory = match fs::canonicalize(&absolute) {
        Ok(real) if !itself => real,
        _ => {
            let parent = absolute.parent().unwrap_or(Path::new("/"));
            let real =
                fs::canonicalize(parent).map_err(|source| Error::file("find", parent, source))?;
            if let Ok(metadata) = fs::symlink_metadata(&absolute) {
                identities.push((metadata.dev(), metadata.ino()));
            }
            real
        }
    };
    loop {
        let metadata =
            fs::metadata(&directory).map_err(|source| Error::file("find", &directory, source))?;
        identities.push((metadata.dev(), metadata.ino()));
        if !directory.pop() {
            return Ok(identities);
        }
    }
}

/// The paths of a policy that an object is, or lies below.
fn objects(policy: &Policy, identities: &[Identity]) -> Vec<ObjectId> {
    let identities: BTreeSet<Identity> = identities.iter().copied().collect();
    policy
        .objects()
        .iter()
        .zip(0u16..)
        .filter(|(object, _)| {
            fs::metadata(object.path(policy))
                .is_ok_and(|metadata| identities.contains(&(metadata.dev(), metadata.ino())))
        })
        .map(|(_, id)| ObjectId(id))
        .collect()
}

/// The digest of a regular file, when it is not longer than the kernel digests.
fn content(path: &Path) -> Option<[u8; 32]> {
    let file = fs::File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > limits::CONTENT {
        return None;
    }
    let mut hasher = sha2::Sha256::new();
    let mut reader = file.take(limits::CONTENT);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).ok()? {
            0 => return Some(hasher.finalize().into()),
            count => hasher.update(buffer.get(..count)?),
        }
    }
}

/// When thresholds rise, and how far.
fn adaptive_text(adaptive: &Adaptive) -> String {
    let seconds = |seconds: u32| human_duration(u64::from(seconds).saturating_mul(1000));
    let floor = percent(adaptive.floor_bp);
    if adaptive.raise_bp == 0 {
        return format!("thresholds are at least {floor} and never raised");
    }
    format!(
        "thresholds are at least {floor}; raised by {} to at most {}, for {}: after proof of a fault, on {} invalid votes \
         within {}, on {} of the weight silent for {}, on a distrusted validator; times are up to {} longer",
        percent(adaptive.raise_bp),
        percent(adaptive.ceiling_bp),
        seconds(adaptive.quiet_s),
        adaptive.burst,
        seconds(adaptive.within_s),
        percent(adaptive.missing_bp),
        seconds(adaptive.silence_s),
        percent(adaptive.jitter_bp)
    )
}

fn adaptive_json(adaptive: &Adaptive) -> Value {
    json!({
        "floor_bp": adaptive.floor_bp,
        "ceiling_bp": adaptive.ceiling_bp,
        "raise_bp": adaptive.raise_bp,
        "missing_bp": adaptive.missing_bp,
        "silence_s": adaptive.silence_s,
        "burst": adaptive.burst,
        "within_s": adaptive.within_s,
        "quiet_s": adaptive.quiet_s,
        "jitter_bp": adaptive.jitter_bp,
    })
}

/// What an action means, with its terms.
fn action_text(action: Action) -> String {
    match action {
        Action::Quorum(terms) => format!(
            "QUORUM (threshold {}, {} within {}, open for {}{})",
            percent(terms.threshold_bp),
            count(usize::from(terms.uses), "use"),
            human_duration(u64::from(terms.ttl_s).saturating_mul(1000)),
            human_duration(u64::from(terms.timeout_s).saturating_mul(1000)),
            match terms.hold_s {
                0 => String::new(),
                hold => format!(
                    ", the operation waits {}",
                    human_duration(u64::from(hold).saturating_mul(1000))
                ),
            }
        ),
        other => other.name().to_owned(),
    }
}

fn action_json(action: Action) -> Value {
    match action {
        Action::Quorum(terms) => json!({
            "action": "QUORUM",
            "threshold_bp": terms.threshold_bp,
            "ttl_s": terms.ttl_s,
            "timeout_s": terms.timeout_s,
            "uses": terms.uses,
            "hold_s": terms.hold_s,
        }),
        other => json!({ "action": other.name() }),
    }
}

fn run_explain(explain: &Explain, output: &Output) -> Result<()> {
    let running = explain.policy == Path::new("running");
    let (text, name) = if running {
        (securityfs::read("policy")?, "running policy".to_owned())
    } else {
        (
            file::read(&explain.policy, limits::POLICY_TEXT.saturating_mul(8))?,
            explain.policy.display().to_string(),
        )
    };
    let policy = Policy::parse(&text).map_err(|error| {
        Error::invalid("policy_invalid", format!("policy_invalid: {name}:{error}"))
    })?;
    let (value, human) = explain_text(explain, &policy, &name, output)?;
    output.either(&value, || human)
}

fn explain_text(
    explain: &Explain,
    policy: &Policy,
    name: &str,
    output: &Output,
) -> Result<(Value, String)> {
    let op = explain.op;
    let mut notes = Vec::new();
    let class = match explain.class.as_deref() {
        None | Some("host") => None,
        Some(class) => Some(policy.class(class.as_bytes()).unwrap_or_else(|| {
            notes.push(format!(
                "the policy declares no class {}: only rules without class= and the DEFAULT concern it",
                clean(class.as_bytes())
            ));
            ClassId::UNKNOWN
        })),
    };
    if explain.path.is_some() && !op.takes_path() {
        notes.push(format!("{op} has no path: --path changes nothing"));
    }
    if explain.address.is_some() && !op.takes_address() {
        notes.push(format!("{op} has no address: --address changes nothing"));
    }
    let objects = match &explain.path {
        Some(path) => objects(policy, &ancestry(path, op)?),
        None => Vec::new(),
    };
    let digest = explain.digest.or_else(|| {
        let path = explain.path.as_deref().filter(|_| op.takes_digest())?;
        content(path)
    });
    let subject = Subject {
        class,
        agent: explain.agent.as_bytes(),
        uid: explain.uid,
    };
    let operation = Operation {
        op,
        objects: &objects,
        address: explain.address.zip(explain.port),
        digest,
    };
    let (decision, considered) = policy.explain(&subject, &operation);
    let rules: Vec<_> = policy.rules().collect();
    let rule = |number: u32| {
        usize::try_from(number)
            .ok()
            .and_then(|number| rules.get(number))
            .map_or("", |rule| rule.text)
    };
    let fallback = policy.fallback(op).line;
    let why = match decision.rule {
        Some(number) => format!("line {} decides: {}", decision.line, rule(number)),
        None if op.is_governance() => {
            "no rule matches: governance takes a quorum with the default terms".to_owned()
        }
        None if class.is_none() => {
            "no rule matches, and a task without a label may do what no rule forbids".to_owned()
        }
        None => format!("no rule matches: the DEFAULT in line {fallback} decides"),
    };
    let value = json!({
        "decision": action_json(decision.action),
        "line": decision.line,
        "default_line": decision.rule.is_none().then_some(fallback),
        "why": why,
        "matched_paths": objects
            .iter()
            .filter_map(|id| policy.object(*id))
            .map(|object| object.path(policy))
            .collect::<Vec<_>>(),
        "rules": considered
            .iter()
            .map(|one| json!({
                "line": one.line,
                "rule": rule(one.rule),
                "decides": one.outcome == Outcome::Decides,
                "outcome": one.outcome.to_string(),
            }))
            .collect::<Vec<_>>(),
        "notes": notes,
    });
    let tone = match decision.action {
        Action::Allow => Tone::Good,
        Action::Audit | Action::Quorum(_) => Tone::Warn,
        Action::Deny => Tone::Bad,
    };
    let mut text = format!(
        "{}\n{name}: {why}\n",
        output.paint(tone, &action_text(decision.action))
    );
    for note in &notes {
        text.push_str(&format!("note: {note}\n"));
    }
    for one in &considered {
        text.push_str(&format!(
            "  line {:>4} {}: {}\n",
            one.line,
            one.outcome,
            rule(one.rule)
        ));
    }
    Ok((value, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output {
        json: false,
        colour: false,
    };

    fn policy(dir: &Path) -> String {
        format!(
            "policy_name=p policy_version=1\n\
             class builder\n\
             DEFAULT action=DENY\n\
             op=FILE_WRITE,FILE_CREATE class=builder path={0}/in action=ALLOW\n\
             op=FILE_WRITE class=builder path={0} action=QUORUM threshold=66.67% hold=5s\n\
             op=NET_CONNECT addr=10.0.0.0/8 port=443 action=AUDIT\n",
            dir.display()
        )
    }

    fn explain(op: Op, class: Option<&str>, path: Option<&Path>) -> Explain {
        Explain {
            op,
            class: class.map(str::to_owned),
            agent: String::new(),
            uid: 0,
            path: path.map(Path::to_owned),
            address: None,
            port: None,
            digest: None,
            policy: PathBuf::new(),
        }
    }

    fn decide(text: &str, explain: &Explain) -> (String, String) {
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let (value, human) = explain_text(explain, &policy, "p", &PLAIN).unwrap();
        (
            value["decision"]["action"].as_str().unwrap().to_owned(),
            human,
        )
    }

    #[test]
    fn objects_are_found_by_identity() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/file"), "x").unwrap();
        std::os::unix::fs::symlink("in/file", dir.path().join("link")).unwrap();
        let text = policy(dir.path());
        let at = |op, name: &str| {
            decide(
                &text,
                &explain(op, Some("builder"), Some(&dir.path().join(name))),
            )
            .0
        };
        assert_eq!(at(Op::FileWrite, "in/file"), "ALLOW");
        assert_eq!(at(Op::FileWrite, "link"), "ALLOW");
        assert_eq!(at(Op::FileWrite, "in/../in/./file"), "ALLOW");
        assert_eq!(at(Op::FileCreate, "in/new"), "ALLOW");
        assert_eq!(at(Op::FileCreate, "new"), "DENY");
        assert_eq!(at(Op::FileWrite, "."), "QUORUM");
        assert_eq!(at(Op::FileDelete, "link"), "DENY");
        let itself = ancestry(&dir.path().join("link"), Op::FileDelete).unwrap();
        let followed = ancestry(&dir.path().join("link"), Op::FileWrite).unwrap();
        assert_ne!(itself, followed);
        assert!(ancestry(Path::new("/nonexistent/x"), Op::FileWrite).is_err());
    }

    #[test]
    fn the_reason_names_rule_and_terms() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        let text = policy(dir.path());
        let (_, human) = decide(
            &text,
            &explain(Op::FileWrite, Some("builder"), Some(dir.path())),
        );
        for part in [
            "QUORUM (threshold 66.67%, 1 use within 5m, open for 10m, the operation waits 5s)",
            "line 5 decides",
            "line    4 is for another path",
        ] {
            assert!(human.contains(part), "{part} in\n{human}");
        }
        let (action, human) = decide(&text, &explain(Op::FileWrite, None, Some(dir.path())));
        assert_eq!(action, "ALLOW");
        assert!(human.contains("without a label"));
        let (action, human) = decide(&text, &explain(Op::Exec, Some("other"), Some(dir.path())));
        assert_eq!(action, "DENY");
        assert!(human.contains("declares no class other"));
        assert!(human.contains("DEFAULT in line 3"));
        let (action, human) = decide(&text, &explain(Op::Mode, None, Some(dir.path())));
        assert_eq!(action, "QUORUM");
        assert!(human.contains("MODE has no path"));
        let mut network = explain(Op::NetConnect, Some("builder"), None);
        network.address = parse_address("::ffff:10.1.2.3").ok();
        network.port = Some(443);
        assert_eq!(decide(&text, &network).0, "AUDIT");
        network.port = Some(80);
        assert_eq!(decide(&text, &network).0, "DENY");
        network.op = Op::Kill;
        assert!(decide(&text, &network).1.contains("KILL has no address"));
    }

    #[test]
    fn the_adaptive_terms_are_told() {
        let text = |line: &str| {
            let text = format!("policy_name=p policy_version=1\n{line}DEFAULT action=DENY\n");
            adaptive_text(&Policy::parse(text.as_bytes()).unwrap().adaptive())
        };
        assert_eq!(
            text(""),
            "thresholds are at least 50.01%; raised by 15% to at most 90%, for 10m: after proof of a fault, on 16 invalid \
             votes within 1m, on 33.34% of the weight silent for 10m, on a distrusted validator; times are up to 25% longer"
        );
        assert_eq!(
            text("adaptive floor=60% raise=0%\n"),
            "thresholds are at least 60% and never raised"
        );
        assert!(text("adaptive quiet=2h\n").contains("at most 90%, for 2h: "));
        assert_eq!(adaptive_json(&Adaptive::DEFAULT)["burst"], 16);
    }

    #[test]
    fn content_is_digested() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("p");
        fs::write(&program, "abc").unwrap();
        assert_eq!(content(&program), Some(sha256(b"abc")));
        assert_eq!(content(dir.path()), None);
        let text = format!(
            "policy_name=p policy_version=1\nclass c\nDEFAULT action=DENY\n\
             op=EXEC class=c digest=sha256:{} action=ALLOW\n",
            hex::encode(sha256(b"abc"))
        );
        assert_eq!(
            decide(&text, &explain(Op::Exec, Some("c"), Some(&program))).0,
            "ALLOW"
        );
        let mut other = explain(Op::Exec, Some("c"), Some(&program));
        other.digest = Some([0; 32]);
        assert_eq!(decide(&text, &other).0, "DENY");
    }

    #[test]
    fn findings_have_line_and_column() {
        let (policy, found) = findings(b"policy_name=p policy_version=1\nfoo=1\n");
        assert!(policy.is_none());
        assert_eq!((found[0].line, found[0].column), (2, 1));
        assert_eq!(found[0].code, "policy_invalid");
        let (policy, found) = findings(
            b"policy_name=p policy_version=1\nclass c\nDEFAULT action=DENY\n\
              op=EXEC class=c path=/nonexistent/x action=ALLOW\n",
        );
        assert!(policy.is_some());
        let missing = found.iter().find(|finding| !finding.warning).unwrap();
        assert_eq!((missing.code, missing.line), ("policy_path", 4));
        assert!(missing.message.contains("/nonexistent/x"));
        assert_eq!(missing.json()["level"], "error");
    }

    #[test]
    fn the_kernels_diagnostic_gets_the_files_name() {
        let path = Path::new("a.policy");
        let error = Error::refused(22, Some("policy_invalid: 3:7: unknown key"));
        assert_eq!(
            in_file(error, path).to_string(),
            "policy_invalid: a.policy:3:7: unknown key"
        );
        let error = Error::refused(116, Some("policy_version: too low"));
        assert_eq!(in_file(error, path).to_string(), "policy_version: too low");
        let error = Error::refused(22, Some("policy_invalid: no place"));
        assert_eq!(in_file(error, path).to_string(), "policy_invalid: no place");
    }

    #[test]
    fn arguments_are_parsed() {
        assert_eq!(parse_op("exec"), Ok(Op::Exec));
        assert!(parse_op("RUN").unwrap_err().contains("FILE_WRITE"));
        assert!(parse_address("10.0.0").is_err());
        assert!(parse_digest("sha256:00").is_err());
        assert_eq!(parse_digest(&"00".repeat(32)), Ok([0; 32]));
    }
}
