// SPDX-License-Identifier: GPL-2.0

//! What comes in by netlink and securityfs, and what tasks get of the module besides: a label, its inheritance, events.

use super::{
    inject::{
        armed,
        armed_for_all, //
    },
    loaded,
    nothing_asked,
    Sweep, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::client::{
    Attributes,
    Refused,
    Reply, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    nl,
    Res, //
};
use crate::worker::{
    errno_of,
    Agent, //
};
use std::fs::{
    self,
    OpenOptions, //
};
use std::io::Write as _;

/// The tests, of a node in setup.
pub(super) const TESTS: &[Test] = &[
    Test::new("queries", queries),
    Test::new("electorate", electorate),
    Test::new("policies", policies),
    Test::new("requests_and_votes", requests),
    Test::new("labels", labels),
    Test::new("events", events),
];

/// Enrolled in these tests.
const VALIDATORS: u32 = 4;

fn begin(ctx: &Ctx, name: &'static str) -> Res<Sweep> {
    loaded()?;
    let file = ctx.file("held", b"x")?;
    ctx.policy(&format!(
        "class a\nop=FILE_WRITE class=a path={file} action=QUORUM threshold=75% uses=2\nDEFAULT action=ALLOW\n"
    ))?;
    let sweep = Sweep::new(ctx, name)?;
    sweep.injector.module()?;
    Ok(sweep)
}

/// The errno of an answer.
fn errno<T>(answer: &Result<T, Refused>) -> i32 {
    answer.as_ref().err().map_or(0, |refused| refused.errno)
}

/// Sends a command, whose allocations count.
fn ask(command: u8, attributes: &Attributes) -> Result<Vec<Reply>, Refused> {
    let mut client = crate::client::Client::open()?;
    armed(|| client.call(command, attributes))
}

/// Asks for a dump, whose allocations count.
fn dump(command: u8, attributes: &Attributes) -> Result<Vec<Reply>, Refused> {
    let mut client = crate::client::Client::open()?;
    armed(|| client.dump(command, attributes))
}

/// What may not change when a command is refused.
fn state() -> Res<Vec<u64>> {
    let status = stage::status()?;
    let mut all = vec![
        status.total,
        status.policy_version,
        u64::from(status.mode),
        u64::from(status.phase),
    ];
    for gauge in ["agents", "tasks", "requests_open", "grants"] {
        all.push(status.counter(gauge)?);
    }
    Ok(all)
}

/// Does `act`; what is refused has changed nothing.
fn unless_done(act: impl FnOnce() -> Res<i32>) -> Res<i32> {
    let before = state()?;
    let errno = act()?;
    if errno != 0 {
        let after = state()?;
        ensure!(
            before == after,
            "refused with errno {errno}, but {before:?} has become {after:?}"
        );
    }
    Ok(errno)
}

fn queries(ctx: &mut Ctx) -> Res {
    let mut sweep = begin(ctx, "queries")?;
    let mut worker = Agent::start("a")?;
    let file = ctx.path("held");
    let request = worker.raise(&["append", &file])?;
    sweep.run("status", &[], || {
        Ok(errno(&ask(nl::STATUS, &Attributes::new())))
    })?;
    let mut id = Attributes::new();
    id.bytes(nl::A_REQUEST_ID, &request.id);
    sweep.run("request-get", &[], || Ok(errno(&ask(nl::REQUEST_GET, &id))))?;
    stage::approve_by(&request, 3)?;
    let mut first = Attributes::new();
    first.u64(nl::A_EVENT_NUMBER, 1);
    for (what, command, attributes) in [
        ("validator-get", nl::VALIDATOR_GET, &Attributes::new()),
        ("agent-get", nl::AGENT_GET, &Attributes::new()),
        ("request-get, all", nl::REQUEST_GET, &Attributes::new()),
        ("grant-get", nl::GRANT_GET, &Attributes::new()),
        ("event-get", nl::EVENT_GET, &first),
        ("evidence-get", nl::EVIDENCE_GET, &Attributes::new()),
    ] {
        sweep.run(what, &[], || Ok(errno(&dump(command, attributes))))?;
    }
    for node in ["status", "policy", "self", "events", "requests", "state"] {
        let path = format!("{}/{node}", stage::SECURITYFS);
        sweep.run(node, &[], || Ok(armed(|| errno_of(&fs::read(&path)))))?;
    }
    worker.end()?;
    nothing_asked()?;
    sweep.end()
}

fn electorate(ctx: &mut Ctx) -> Res {
    let mut sweep = begin(ctx, "electorate")?;
    let new = Validator::test(VALIDATORS + 1);
    let attributes = stage::validator_attributes(&new.name, &new.point(), 1);
    let mut name = Attributes::new();
    name.string(nl::A_VALIDATOR_NAME, &new.name);
    sweep.run("validator-add", &[], || {
        let errno = unless_done(|| Ok(errno(&ask(nl::VALIDATOR_ADD, &attributes))))?;
        if errno == 0 {
            stage::remove(&new.name).map_err(|e| format!("removing: {e:?}"))?;
        }
        Ok(errno)
    })?;
    sweep.run("validator-remove", &[], || {
        if stage::status()?.total == u64::from(VALIDATORS) {
            stage::enrol(&new, 1).map_err(|e| format!("enrolling: {e:?}"))?;
        }
        unless_done(|| Ok(errno(&ask(nl::VALIDATOR_REMOVE, &name))))
    })?;
    stage::electorate(VALIDATORS)?;
    sweep.run("mode-set", &[], || {
        stage::set_mode(nl::ENFORCE).map_err(|e| format!("mode: {e:?}"))?;
        let mut mode = Attributes::new();
        mode.u32(nl::A_MODE, nl::PERMISSIVE);
        unless_done(|| Ok(errno(&ask(nl::MODE_SET, &mode))))
    })?;
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("mode: {e:?}"))?;
    sweep.end()
}

/// Writes to a node of securityfs in one transaction, whose allocations count.
fn write(node: &str, text: &[u8]) -> i32 {
    armed(|| {
        match OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("{}/{node}", stage::SECURITYFS))
        {
            Ok(mut file) => errno_of(&file.write(text)),
            Err(error) => error.raw_os_error().unwrap_or(-1),
        }
    })
}

fn policies(ctx: &mut Ctx) -> Res {
    let mut sweep = begin(ctx, "policies")?;
    let dir = ctx.dir("dir")?;
    let body = format!(
        "class a\nclass b\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={dir} action=DENY\n\
         op=EXEC class=b path=/usr/bin/true action=QUORUM threshold=75%\n\
         op=NET_CONNECT class=a addr=192.0.2.0/24 action=AUDIT\n\
         op=NET_CONNECT class=a addr=2001:db8::/32 action=DENY\n"
    );
    sweep.run("policy", &[], || {
        let text = stage::with_header("memory", &body)?;
        unless_done(|| Ok(write("policy", text.as_bytes())))
    })?;
    sweep.run("wrong policy", &[], || {
        let text = stage::with_header("memory", "op=NOTHING action=DENY\n")?;
        unless_done(|| Ok(write("policy", text.as_bytes())))
    })?;
    sweep.end()
}

fn requests(ctx: &mut Ctx) -> Res {
    let mut sweep = begin(ctx, "requests_and_votes")?;
    let file = ctx.path("held");
    let mut worker = Agent::start("a")?;
    let raise = |worker: &mut Agent| {
        nothing_asked()?;
        worker.raise(&["append", &file])
    };
    sweep.run("request-cancel", &[], || {
        let request = raise(&mut worker)?;
        let mut id = Attributes::new();
        id.bytes(nl::A_REQUEST_ID, &request.id);
        unless_done(|| Ok(errno(&ask(nl::REQUEST_CANCEL, &id))))
    })?;
    // The first vote, and the one that decides.
    for (what, before) in [("vote", 0), ("deciding vote", 2)] {
        sweep.run(what, &[], || {
            let request = raise(&mut worker)?;
            if before > 0 {
                stage::approve_by(&request, before)?;
            }
            let all = stage::voters()?;
            let voter = all.get(before).ok_or("no voter")?;
            let record = voter.record(&request, stage::APPROVE);
            let mut attributes = Attributes::new();
            attributes.bytes(nl::A_VOTE, &record);
            let errno = errno(&ask(nl::VOTE_SUBMIT, &attributes));
            let now = stage::request(&request.id)?;
            let wanted = u64::try_from(before).unwrap_or(0) + u64::from(errno == 0);
            ensure!(
                now.approve == wanted,
                "errno {errno}, but {} of {wanted} votes count",
                now.approve
            );
            let state = if wanted == 3 { nl::GRANTED } else { nl::OPEN };
            ensure!(
                now.state == state,
                "{wanted} votes left the request in state {}",
                now.state
            );
            Ok(errno)
        })?;
    }
    sweep.run("grant-revoke", &[], || {
        let request = raise(&mut worker)?;
        stage::approve_by(&request, 3)?;
        let mut id = Attributes::new();
        id.bytes(nl::A_REQUEST_ID, &request.id);
        unless_done(|| Ok(errno(&ask(nl::GRANT_REVOKE, &id))))
    })?;
    worker.end()?;
    sweep.end()
}

/// Labels a task, or has a labelled one take a label below its own, or fork.
fn labels(ctx: &mut Ctx) -> Res {
    let mut sweep = begin(ctx, "labels")?;
    sweep.run("agent-label", &[], || {
        let child = agent::spawn(&Who::Free, |report| {
            let (errno, _) = armed(|| crate::worker::label("a", "w"));
            report.errno(errno);
            // Whoever was told that it has no label has none.
            report.errno(i32::from(stage::status().is_ok() == (errno == 0)));
            0
        })
        .map_err(|(_, text)| text)?;
        let ended = child.wait()?;
        let errno = ended.errno(0)?;
        ensure!(
            ended.errno(1)? == 0,
            "errno {errno}, but the task is labelled when it is refused, or not when it is not"
        );
        Ok(errno)
    })?;
    sweep.run("sublabel", &[], || {
        let child = agent::spawn(&Who::Agent("a", "w"), |report| {
            let (errno, _) = armed(|| crate::worker::label("a", "below"));
            report.errno(errno);
            0
        })
        .map_err(|(_, text)| text)?;
        child.wait()?.errno(0)
    })?;
    sweep.run("fork", &[libc::EAGAIN], || {
        let child = agent::spawn(&Who::Agent("a", "w"), |report| {
            // SAFETY: The child ends at once.
            let errno = armed(|| match unsafe { libc::fork() } {
                // SAFETY: Ends the child.
                0 => unsafe { libc::_exit(0) },
                pid => {
                    let errno = crate::worker::outcome(i64::from(pid));
                    if pid > 0 {
                        crate::worker::wait(pid);
                    }
                    errno
                }
            });
            report.errno(errno);
            0
        })
        .map_err(|(_, text)| text)?;
        child.wait()?.errno(0)
    })?;
    sweep.end()
}

/// Events are sent to whoever listens, by the module's worker. Who misses one sees a gap.
fn events(ctx: &mut Ctx) -> Res {
    let mut sweep = begin(ctx, "events")?;
    let file = ctx.path("held");
    let mut worker = Agent::start("a")?;
    let listener = stage::open()?;
    listener.join_events().map_err(|e| format!("{e:?}"))?;
    sweep.run("event", &[libc::EACCES], || {
        nothing_asked()?;
        let errno = armed_for_all(|| {
            let errno = worker.try_to(&["append", &file]);
            std::thread::sleep(std::time::Duration::from_millis(200));
            errno
        })?;
        Ok(errno)
    })?;
    worker.end()?;
    sweep.end()
}
