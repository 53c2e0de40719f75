// SPDX-License-Identifier: GPL-2.0

//! `tcpctl agent`: starting and listing agents.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io,
    os::{
        fd::RawFd,
        unix::{
            ffi::OsStrExt,
            process::CommandExt, //
        }, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process,
    thread::sleep,
    time::Duration, //
};

use clap::Subcommand;
use nix::{
    sys::resource::{
        getrlimit,
        Resource, //
    },
    unistd::{
        access,
        AccessFlags, //
    }, //
};
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        self,
        Client, //
    },
    error::{
        Error,
        Result, //
    },
    output::{
        clean,
        pairs,
        Output,
        Table, //
    },
    securityfs,
    validator::name, //
};

/// How often an agent that waits for its program asks again.
const RETRY: Duration = Duration::from_millis(500);

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program as an agent: labelled for ever, and everything it starts too
    ///
    /// All open files but standard input, output and error (and those of --keep-fd) are closed first. The node refuses when
    /// an open file is one that the label would not be allowed to open: redirect it, or pipe it. Any user may do this.
    #[command(
        after_help = "Example:\n  tcpctl agent run --name nightly --class builder -- make -C /srv/build all"
    )]
    Run {
        /// Name of the agent, 1 to 32 of A-Z a-z 0-9 . _ -
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,
        /// Class, which the policy declares
        #[arg(long, value_name = "CLASS", value_parser = name)]
        class: String,
        /// When policy wants a quorum for the program itself, wait for it
        #[arg(long)]
        wait: bool,
        /// Leave this file descriptor open
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
        keep_fd: Vec<RawFd>,
        /// The program and its arguments
        #[arg(value_name = "CMD", last = true, required = true)]
        command: Vec<OsString>,
    },
    /// List the agents alive
    #[command(after_help = "Example:\n  tcpctl agent list")]
    List,
    /// Show one agent
    #[command(after_help = "Example:\n  tcpctl agent show nightly")]
    Show {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        agent: String,
    },
}

/// Runs the command. `run` returns only when it fails.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Run {
            name,
            class,
            wait,
            keep_fd,
            command,
        } => Err(start(name, class, *wait, keep_fd, command)),
        Command::List => list(output),
        Command::Show { agent } => show(agent, output),
    }
}

/// Becomes an agent and executes the program.
fn start(name: &str, class: &str, wait: bool, keep: &[RawFd], command: &[OsString]) -> Error {
    let Some((program, arguments)) = command.split_first() else {
        return Error::Usage("no program given".to_owned());
    };
    // Found before the label: looking for a program must not look like trying to run several.
    let path = match find_program(Path::new(program)) {
        Ok(path) => path,
        Err(error) => return error,
    };
    let keep: BTreeSet<RawFd> = keep.iter().copied().collect();
    for fd in &keep {
        if let Err(error) = inheritable(*fd) {
            return error;
        }
    }
    close_others(&keep);
    // The client's socket is close-on-exec.
    let labelled = Client::open().and_then(|mut client| client.agent_label(name, class));
    if let Err(error) = labelled {
        return refused(error, class);
    }
    let mut waiting_for = None;
    loop {
        let failure = process::Command::new(&path)
            .arg0(program)
            .args(arguments)
            .exec();
        // An agent may read its own request's id, if its policy lets it read at all.
        let own = fs::read(securityfs::node("self")).unwrap_or_default();
        let request = own_request(&own);
        let refused = failure.raw_os_error() == Some(engine::refusal::errno::EACCES);
        match (&request, &waiting_for) {
            // The same request: it is still open, and the identical operation does not make another.
            (Some(now), Some(before)) if refused && now == before => sleep(RETRY),
            (Some(now), None) if refused && wait => waiting_for = Some(now.clone()),
            (_, Some(before)) if refused => {
                return Error::Denied {
                    request: before.clone(),
                    state: "not granted",
                }
            }
            _ => return not_executed(&path, failure, request.as_deref()),
        }
    }
}

/// Adds to a refusal what the user of `agent run` can do about it.
fn refused(error: Error, class: &str) -> Error {
    match error {
        Error::Refused {
            code,
            errno,
            message,
        } => {
            let advice = match code.as_str() {
                "inherited_file" => {
                    " (standard input, output and error count: redirect them to files that the class may open, or pipe \
                     them)"
                }
                "class_unknown" => {
                    " (the policy declares its classes with `class NAME`)"
                }
                _ => "",
            };
            Error::Refused {
                message: format!("not started as class {class}: {message}{advice}"),
                code,
                errno,
            }
        }
        other => other,
    }
}

/// Tells why the program was not executed; the task is an agent by now, and ends as one.
fn not_executed(path: &Path, failure: io::Error, request: Option<&str>) -> Error {
    let errno = failure.raw_os_error().unwrap_or(0);
    if errno != engine::refusal::errno::EACCES {
        return Error::file("execute", path, failure);
    }
    let path = path.display();
    let message = match request {
        Some(request) => format!(
            "the policy wants a quorum before this agent executes {path} (request {}). The request ends with the agent: \
             add --wait to keep it until the validators have decided",
            request.get(..12).unwrap_or(request)
        ),
        None => format!(
            "the policy (or the file's mode) does not let this agent execute {path}: see \
             `tcpctl policy explain --op EXEC --path {path}`"
        ),
    };
    Error::Refused {
        code: "denied".to_owned(),
        errno,
        message,
    }
}

/// The request in the node `self`.
fn own_request(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("request "))?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Finds a program as the shell does.
fn find_program(program: &Path) -> Result<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .filter(|directory| !directory.as_os_str().is_empty())
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file() && access(candidate, AccessFlags::X_OK).is_ok())
        .ok_or_else(|| {
            Error::invalid(
                "program_unknown",
                format!("{}: no such program in PATH", program.display()),
            )
        })
}

/// Checks that a file descriptor to be kept is open.
fn inheritable(fd: RawFd) -> Result<()> {
    fs::symlink_metadata(format!("/proc/self/fd/{fd}"))
        .map(drop)
        .map_err(|_| Error::Usage(format!("--keep-fd {fd}: no such open file")))
}

/// Closes every file but the first three and those to keep.
fn close_others(keep: &BTreeSet<RawFd>) {
    let listed: Option<Vec<RawFd>> = fs::read_dir("/proc/self/fd").ok().map(|entries| {
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    });
    let fds = listed.unwrap_or_else(|| {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        (3..RawFd::try_from(limit.min(1 << 20)).unwrap_or(1024)).collect()
    });
    for fd in fds {
        if fd > 2 && !keep.contains(&fd) {
            // The one that listed the others is closed already.
            let _ = nix::unistd::close(fd);
        }
    }
}

fn json_of(agent: &client::Agent) -> Value {
    json!({
        "id": agent.id,
        "name": agent.name,
        "class": agent.class,
        "parent": agent.parent,
        "depth": agent.depth,
        "tasks": agent.tasks,
        "uid": agent.uid,
        "pid": agent.pid,
        "pending": agent.pending,
        "refused": agent.refused,
    })
}

fn list(output: &Output) -> Result<()> {
    let agents = Client::open()?.agents()?;
    if output.json {
        return output.json(&agents.iter().map(json_of).collect::<Vec<_>>());
    }
    if agents.is_empty() {
        return output.line("no agents");
    }
    let mut table = Table::new(&[
        "ID", "NAME", "CLASS", "PARENT", "TASKS", "UID", "PID", "PENDING", "REFUSED",
    ]);
    for agent in &agents {
        table.row(vec![
            agent.id.to_string(),
            clean(agent.name.as_bytes()),
            clean(agent.class.as_bytes()),
            match agent.parent {
                0 => "-".to_owned(),
                parent => parent.to_string(),
            },
            agent.tasks.to_string(),
            agent.uid.to_string(),
            agent.pid.to_string(),
            agent.pending.to_string(),
            agent.refused.to_string(),
        ]);
    }
    output.raw(table.render(output).as_bytes())
}

/// The agents that a word means: the one of that id, or all of that name.
fn matching(agents: Vec<client::Agent>, word: &str) -> Vec<client::Agent> {
    let id: Option<u64> = word.parse().ok();
    let (by_id, rest): (Vec<_>, Vec<_>) =
        agents.into_iter().partition(|agent| Some(agent.id) == id);
    if by_id.is_empty() {
        rest.into_iter()
            .filter(|agent| agent.name == word)
            .collect()
    } else {
        by_id
    }
}

fn show(word: &str, output: &Output) -> Result<()> {
    let agents = matching(Client::open()?.agents()?, word);
    if agents.is_empty() {
        return Err(Error::invalid(
            "agent_unknown",
            format!(
                "agent_unknown: no agent {}; see `tcpctl agent list`",
                clean(word.as_bytes())
            ),
        ));
    }
    if output.json {
        return output.json(&agents.iter().map(json_of).collect::<Vec<_>>());
    }
    for agent in &agents {
        output.raw(
            pairs(&[
                ("id", agent.id.to_string()),
                ("name", clean(agent.name.as_bytes())),
                ("class", clean(agent.class.as_bytes())),
                (
                    "started by",
                    match agent.parent {
                        0 => "a task without a label".to_owned(),
                        parent => format!("agent {parent}"),
                    },
                ),
                ("depth", agent.depth.to_string()),
                ("tasks", agent.tasks.to_string()),
                ("uid", agent.uid.to_string()),
                ("first process", agent.pid.to_string()),
                ("open requests", agent.pending.to_string()),
                ("refused", agent.refused.to_string()),
            ])
            .as_bytes(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: u64, name: &str) -> client::Agent {
        client::Agent {
            id,
            name: name.to_owned(),
            class: "c".into(),
            parent: 0,
            depth: 0,
            tasks: 1,
            uid: 0,
            pid: 1,
            pending: 0,
            refused: 0,
        }
    }

    #[test]
    fn an_id_comes_before_a_name() {
        let agents = vec![agent(1, "a"), agent(2, "1"), agent(3, "a")];
        let ids = |word: &str| {
            matching(agents.clone(), word)
                .iter()
                .map(|agent| agent.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids("1"), [1]);
        assert_eq!(ids("a"), [1, 3]);
        assert!(ids("b").is_empty());
        assert_eq!(json_of(&agents[0])["name"], "a");
    }

    #[test]
    fn programs_are_found_once() {
        assert!(find_program(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(find_program(Path::new("./x")).unwrap(), Path::new("./x"));
        assert_eq!(
            find_program(Path::new("no-such-program-here"))
                .unwrap_err()
                .code(),
            "program_unknown"
        );
    }

    #[test]
    fn the_own_request_is_read() {
        let id = "ab".repeat(32);
        let text = format!("agent 3\nname x\nclass c\ndepth 1\nrequest {id}\n");
        assert_eq!(own_request(text.as_bytes()), Some(id));
        assert_eq!(own_request(b"agent none\n"), None);
        assert_eq!(own_request(b"request 12\n"), None);
        assert_eq!(own_request(b"\xff"), None);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let error = refused(
            Error::refused(13, Some("inherited_file: an open file")),
            "builder",
        );
        assert!(error.to_string().contains("pipe"), "{error}");
        assert_eq!(error.code(), "inherited_file");
        let error = not_executed(Path::new("/x"), io::Error::from_raw_os_error(2), None);
        assert_eq!(error.errno(), 2);
        for (request, part) in [(None, "explain"), (Some("abc"), "--wait")] {
            let error = not_executed(Path::new("/x"), io::Error::from_raw_os_error(13), request);
            assert_eq!((error.code(), error.exit_code()), ("denied", 5));
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(inheritable(987_654).is_err());
        assert!(inheritable(0).is_ok());
    }
}
