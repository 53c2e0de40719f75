// SPDX-License-Identifier: GPL-2.0

//! Everything is bounded, counted, and given back.

use crate::client::{
    Attributes,
    Client, //
};
use crate::ensure;
use crate::harness::{
    patience,
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    cancel_all,
    expect_errno,
    expect_refused,
    kind,
    nl,
    Event,
    Res,
    APPROVE, //
};
use crate::state;
use crate::worker::{
    self,
    Agent, //
};
use std::fs::{
    self,
    OpenOptions,
    Permissions, //
};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "request_flood_of_one_agent",
        run: flood_of_one,
    },
    Test {
        name: "request_flood_of_many_agents",
        run: flood_of_many,
    },
    Test {
        name: "requests_of_one_user_leave_room_for_others",
        run: room_for_others,
    },
    Test {
        name: "agent_flood",
        run: agent_flood,
    },
    Test {
        name: "agent_nesting_limit",
        run: nesting,
    },
    Test {
        name: "label_leak_over_many_forks",
        run: label_leak,
    },
    Test {
        name: "label_leak_when_tasks_are_killed",
        run: label_leak_killed,
    },
    Test {
        name: "netlink_socket_that_never_reads",
        run: never_reads,
    },
    Test {
        name: "dump_that_is_never_finished",
        run: dump_unfinished,
    },
    Test {
        name: "securityfs_writer_that_stops_half_way",
        run: half_writer,
    },
    Test {
        name: "event_suppression_is_counted",
        run: suppression,
    },
    Test {
        name: "host_requests_of_one_user_leave_room_for_others",
        run: host_room,
    },
    Test {
        name: "tracing_shows_decisions_requests_and_votes",
        run: tracing,
    },
    Test {
        name: "grants_limit",
        run: grants_limit,
    },
    Test {
        name: "event_ring_overrun",
        run: ring_overrun,
    },
    Test {
        name: "validators_limit",
        run: validators_limit,
    },
];

/// One validator, and a directory whose files take a quorum.
fn prepared() -> Res<String> {
    let dir = format!("{}/resources", stage::SCRATCH);
    for name in ["quorum", "deny"] {
        stage::make_dir(&format!("{dir}/{name}"))?;
    }
    for n in 0..300 {
        let path = format!("{dir}/quorum/{n}");
        stage::make_file(&path, "")?;
        fs::set_permissions(&path, Permissions::from_mode(0o666)).map_err(|e| e.to_string())?;
    }
    stage::make_file(&format!("{dir}/deny/one"), "")?;
    stage::prepare(
        1,
        "resources",
        &format!(
            "class a\nclass b may=b\nDEFAULT action=ALLOW\n\
             op=FILE_WRITE,FILE_CREATE class=a path={dir}/quorum action=QUORUM threshold=75% ttl=5m timeout=10m\n\
             op=FILE_WRITE class=a path={dir}/deny action=DENY\n"
        ),
    )?;
    cancel_all()?;
    idle()?;
    Ok(dir)
}

/// No agent, labelled task or request is left.
fn idle() -> Res {
    stage::eventually(Duration::from_secs(5), || {
        for what in ["agents", "tasks", "requests"] {
            let left = stage::status_number(what)?;
            ensure!(left == 0, "{left} {what} are left");
        }
        Ok(())
    })
}

fn flood_of_one(_: &mut Ctx) -> Res {
    let dir = prepared()?;
    let before = stage::status()?;
    let mut agent = Agent::start("a")?;
    let (_, refused) = agent.ask(&["appends", &format!("{dir}/quorum"), "40"])?;
    ensure!(
        refused == "40",
        "{refused} of 40 writes were refused with EACCES"
    );
    let after = stage::status()?;
    let grew = |name: &str| -> Res<u64> { Ok(after.counter(name)? - before.counter(name)?) };
    ensure!(
        grew("requests")? == 16,
        "{} requests were made, not 16",
        grew("requests")?
    );
    ensure!(
        grew("requests_capped")? == 24,
        "{} were capped, not 24",
        grew("requests_capped")?
    );
    let open = stage::open_requests()?;
    ensure!(
        open.len() == 16 && open.iter().all(|r| r.agent() == agent.id),
        "{} requests are open",
        open.len()
    );
    let agents = stage::dump(nl::AGENT_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        agents
            .iter()
            .any(|a| a.u64(nl::A_AGENT_ID) == Some(agent.id)
                && a.u32(nl::A_AGENT_PENDING) == Some(16)),
        "agent-pending is not 16"
    );
    // Others are none the worse.
    let mut other = Agent::start("a")?;
    other.raise(&["append", &format!("{dir}/quorum/100")])?;
    // What is pending already is still found.
    agent.expect(libc::EACCES, &["append", &format!("{dir}/quorum/0")])?;
    let same = agent.request()?;
    ensure!(
        open.iter().any(|r| r.id == same.id),
        "a pending request was not found again"
    );
    agent.end()?;
    other.end()?;
    idle()
}

fn flood_of_many(_: &mut Ctx) -> Res {
    let dir = prepared()?;
    let before = stage::status()?;
    let mut agents = Vec::new();
    for n in 0..17 {
        // 64 are what the agents of one user may have open.
        let mut agent = Agent::start_as("a", "worker", 1000 + n / 4)?;
        let (_, refused) = agent.ask(&["appends", &format!("{dir}/quorum"), "16"])?;
        ensure!(
            refused == "16",
            "{refused} of 16 writes were refused with EACCES"
        );
        agents.push(agent);
    }
    let after = stage::status()?;
    ensure!(
        after.counter("requests")? == before.counter("requests")? + 256,
        "{} requests were made, not 256",
        after.counter("requests")? - before.counter("requests")?
    );
    ensure!(
        after.counter("requests_capped")? == before.counter("requests_capped")? + 16,
        "{} were capped, not 16",
        after.counter("requests_capped")? - before.counter("requests_capped")?
    );
    ensure!(
        stage::status_number("requests")? == 256,
        "{} are open",
        stage::status_number("requests")?
    );
    // Room comes back.
    let id = agents.first().ok_or("no agents")?.id;
    let one = stage::open_requests()?
        .into_iter()
        .find(|r| r.agent() == id)
        .ok_or("no request")?;
    stage::cancel(&one.id).map_err(|e| format!("{e:?}"))?;
    let last = agents.last_mut().ok_or("no agents")?;
    last.raise(&["append", &format!("{dir}/quorum/200")])?;
    for agent in agents {
        agent.end()?;
    }
    idle()
}

fn room_for_others(_: &mut Ctx) -> Res {
    // One user's agents do not keep those of another from asking.
    let dir = prepared()?;
    let mut agents = Vec::new();
    for _ in 0..5 {
        let mut agent = Agent::start_as("a", "worker", 1000)?;
        agent.ask(&["appends", &format!("{dir}/quorum"), "16"])?;
        agents.push(agent);
    }
    ensure!(
        stage::status_number("requests")? == 64,
        "{} requests of one user are open, not 64",
        stage::status_number("requests")?
    );
    let mut other = Agent::start_as("a", "worker", 1001)?;
    other.raise(&["append", &format!("{dir}/quorum/200")])?;
    agents.push(other);
    for agent in agents {
        agent.end()?;
    }
    idle()
}

fn host_room(_: &mut Ctx) -> Res {
    // Tasks without a label that a rule governs are no agent: what one user asks for keeps nobody else from asking.
    let dir = prepared()?;
    stage::prepare(
        1,
        "host",
        &format!("class a\nDEFAULT action=ALLOW\nop=FILE_READ class=host path={dir}/quorum action=QUORUM timeout=10m\n"),
    )?;
    let read = |n: i32| match fs::File::open(format!("{dir}/quorum/{n}")) {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    for n in 0..20 {
        expect_errno(
            "a user's read",
            worker::errno_as(1000, || read(n))?,
            libc::EACCES,
        )?;
    }
    ensure!(
        stage::status_number("requests")? == 16,
        "one user has {} requests",
        stage::status_number("requests")?
    );
    expect_errno("root's read", read(100), libc::EACCES)?;
    ensure!(
        stage::status_number("requests")? == 17,
        "root could not ask"
    );
    prepared().map(drop)
}

fn agent_flood(_: &mut Ctx) -> Res {
    prepared()?;
    let before = stage::status()?.counter("agents_labelled")?;
    let mut agents = Vec::new();
    for _ in 0..300 {
        agents.push(Agent::start("a")?);
    }
    ensure!(
        stage::status_number("agents")? == 300,
        "{} agents",
        stage::status_number("agents")?
    );
    ensure!(
        stage::status_number("tasks")? == 300,
        "{} tasks",
        stage::status_number("tasks")?
    );
    let shown = stage::dump(nl::AGENT_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        shown.len() == 300,
        "the dump shows {} of 300 agents",
        shown.len()
    );
    let mut ids: Vec<_> = shown.iter().filter_map(|a| a.u64(nl::A_AGENT_ID)).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 300, "the dump repeats agents");
    for agent in agents {
        agent.end()?;
    }
    idle()?;
    ensure!(
        stage::status()?.counter("agents_labelled")? == before + 300,
        "agents_labelled is wrong"
    );
    let left = stage::dump(nl::AGENT_GET, &Attributes::new())
        .map_err(|e| format!("{e:?}"))?
        .len();
    ensure!(left == 0, "the dump still shows {left} agents");
    Ok(())
}

fn nesting(_: &mut Ctx) -> Res {
    prepared()?;
    // Each agent becomes the first of a sub-agent, deeper by one: 8 levels, not 9.
    let mut agent = Agent::start("b")?;
    let mut depth = 1;
    loop {
        let (errno, text) = agent.ask(&["netlink", "8", "label", "b"])?;
        if errno == 0 {
            depth += 1;
            ensure!(depth <= 8, "nesting went to depth {depth}");
            continue;
        }
        ensure!(
            errno == libc::EAGAIN && text.starts_with("agent_limit: "),
            "at depth {depth}: {} {text}",
            stage::errno_name(errno)
        );
        break;
    }
    ensure!(depth == 8, "nesting ended at depth {depth}, not 8");
    agent.end()?;
    idle()
}

fn label_leak(_: &mut Ctx) -> Res {
    prepared()?;
    let mut agent = Agent::start("a")?;
    agent.expect(0, &["forks", "3000"])?;
    stage::eventually(Duration::from_secs(5), || {
        let tasks = stage::status_number("tasks")?;
        ensure!(
            tasks == 1,
            "{tasks} labelled tasks after 3000 children have ended"
        );
        Ok(())
    })?;
    ensure!(
        stage::status()?.counter("labels_failed")? == 0,
        "labels_failed is not 0"
    );
    agent.end()?;
    idle()
}

fn label_leak_killed(_: &mut Ctx) -> Res {
    prepared()?;
    // Their children become children of this process, which has to wait for them: a zombie keeps its label.
    // SAFETY: No pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let agents: Vec<Agent> = (0..50).map(|_| Agent::start("a")).collect::<Res<_>>()?;
    for mut agent in agents {
        // In the middle of forking.
        agent.send(&["forks", "100000"])?;
        agent.kill();
    }
    // SAFETY: No status is asked for. Every agent has been waited for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
    idle()
}

/// Limits a socket's receive buffer.
fn shrink(client: &Client) -> Res {
    let size: libc::c_int = 1;
    // SAFETY: The option is one int.
    let result = unsafe {
        libc::setsockopt(
            client.fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const size).cast(),
            4,
        )
    };
    expect_errno("SO_RCVBUF", worker::outcome(i64::from(result)), 0)
}

fn never_reads(_: &mut Ctx) -> Res {
    let dir = prepared()?;
    let deaf = stage::open()?;
    shrink(&deaf)?;
    deaf.join_events().map_err(|e| format!("{e:?}"))?;
    let mut listener = stage::open()?;
    listener.join_events().map_err(|e| format!("{e:?}"))?;
    let first = stage::status()?.event;
    let mut heard: Vec<Event> = Vec::new();
    let start = Instant::now();
    for _ in 0..20 {
        let mut agent = Agent::start("a")?;
        agent.ask(&["appends", &format!("{dir}/quorum"), "4"])?;
        agent.end()?;
        let now = stage::status()?.event;
        while heard.last().map_or(first, |e| e.number) < now {
            for message in listener
                .datagram()
                .map_err(|e| format!("the other listener: {e:?}"))?
            {
                let reply = message.attributes();
                if let (Some(bytes), Some(chain)) =
                    (reply.bytes(nl::A_EVENT), reply.bytes(nl::A_CHAIN))
                {
                    heard.push(Event::decode(bytes, chain)?);
                }
            }
        }
    }
    ensure!(
        start.elapsed() < patience(Duration::from_secs(30)),
        "it took {:?}",
        start.elapsed()
    );
    ensure!(
        heard
            .windows(2)
            .all(|pair| pair[1].number == pair[0].number + 1),
        "the other listener missed events"
    );
    ensure!(heard.len() > 100, "only {} events were heard", heard.len());
    // The one that never read learns that it has lost something.
    let mut buffer = [0u8; 16384];
    let mut lost = false;
    for _ in 0..1000 {
        // SAFETY: The buffer has that many bytes.
        let n = unsafe {
            libc::recv(
                deaf.fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        if n < 0 {
            lost |= worker::errno() == libc::ENOBUFS;
            if worker::errno() == libc::EAGAIN {
                break;
            }
        }
    }
    ensure!(lost, "the socket that never read was not told with ENOBUFS");
    idle()
}

fn dump_unfinished(_: &mut Ctx) -> Res {
    prepared()?;
    let agents: Vec<Agent> = (0..100).map(|_| Agent::start("a")).collect::<Res<_>>()?;
    // Many dumps are begun and never read; the sockets are then closed.
    let mut sockets = Vec::new();
    for command in [
        nl::AGENT_GET,
        nl::EVENT_GET,
        nl::REQUEST_GET,
        nl::VALIDATOR_GET,
        nl::GRANT_GET,
    ] {
        for _ in 0..20 {
            let mut client = stage::open()?;
            client
                .send(command, crate::client::DUMP, &[])
                .map_err(|e| format!("{e:?}"))?;
            sockets.push(client);
        }
    }
    let shown = stage::dump(nl::AGENT_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        shown.len() == 100,
        "a dump beside them shows {} of 100 agents",
        shown.len()
    );
    drop(agents);
    drop(sockets);
    idle()
}

fn half_writer(_: &mut Ctx) -> Res {
    prepared()?;
    let before = stage::running_policy()?;
    let node = format!("{}/policy", stage::SECURITYFS);
    // Opened and closed, a hundred times at once.
    let open: Vec<_> = (0..100)
        .map(|_| OpenOptions::new().read(true).write(true).open(&node))
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{e}"))?;
    drop(open);
    // A text cut in the middle of a line, then the file is kept open.
    let text = stage::with_header(
        "half",
        "class a\nDEFAULT action=ALLOW\nop=FILE_WRITE class=a action=DENY\n",
    )?;
    let mut kept = OpenOptions::new()
        .write(true)
        .open(&node)
        .map_err(|e| format!("{e}"))?;
    let result = kept.write(text[..text.len() - 5].as_bytes());
    expect_errno("half a text", worker::errno_of(&result), libc::EINVAL)?;
    ensure!(
        stage::running_policy()? == before,
        "half a text changed the policy"
    );
    // The other half does not complete it.
    let result = kept.write(text[text.len() - 5..].as_bytes());
    expect_errno("the other half", worker::errno_of(&result), libc::EINVAL)?;
    ensure!(
        stage::running_policy()? == before,
        "two halves changed the policy"
    );
    // Meanwhile another writer succeeds.
    stage::load_body("other", "class a\nDEFAULT action=ALLOW\n")?;
    Ok(())
}

fn suppression(_: &mut Ctx) -> Res {
    let dir = prepared()?;
    let mut agent = Agent::start("a")?;
    let before = stage::status()?;
    let start = Instant::now();
    for _ in 0..300 {
        agent.expect(libc::EACCES, &["append", &format!("{dir}/deny/one")])?;
    }
    let seconds = start.elapsed().as_secs() + 1;
    let after = stage::status()?;
    let grew = |name: &str| -> Res<u64> { Ok(after.counter(name)? - before.counter(name)?) };
    let events = stage::events_after(before.event)?;
    let recorded = events
        .iter()
        .filter(|e| e.kind == kind::REFUSED && e.agent == agent.id)
        .count() as u64;
    ensure!(
        grew("refused")? == 300,
        "refused grew by {}, not 300",
        grew("refused")?
    );
    ensure!(
        (32..=32 + 8 * (seconds + 1)).contains(&recorded),
        "{recorded} REFUSED events of one agent in {seconds} s"
    );
    ensure!(
        recorded + grew("events_suppressed")? == 300,
        "{recorded} recorded and {} suppressed are not 300",
        grew("events_suppressed")?
    );
    // Another sender is heard.
    let mut other = Agent::start("a")?;
    let now = stage::status()?.event;
    other.expect(libc::EACCES, &["append", &format!("{dir}/deny/one")])?;
    ensure!(
        stage::events_after(now)?
            .iter()
            .any(|e| e.kind == kind::REFUSED && e.agent == other.id),
        "another agent's refusal is not recorded"
    );
    agent.end()?;
    other.end()?;
    idle()
}

fn tracing(_: &mut Ctx) -> Res {
    // The tracepoints tell every step, and a kprobe on the anchor tells every vote with its fate.
    let dir = prepared()?;
    let probe = "p:tcp_votes/vote tcp_consensus_vote request=%di:x64 validator=%si:u32 verdict=%dx:u32 result=%cx:s32";
    stage::tracefs("kprobe_events", probe)?;
    stage::tracefs("events/tcp_lsm/enable", "1")?;
    stage::tracefs("events/tcp_votes/vote/enable", "1")?;
    stage::tracefs("trace", "")?;
    let mut voter = stage::voter(1)?;
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &format!("{dir}/quorum/299")])?;
    voter
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    agent.expect(0, &["append", &format!("{dir}/quorum/299")])?;
    agent.end()?;
    let trace = fs::read_to_string("/sys/kernel/tracing/trace").map_err(|e| e.to_string())?;
    stage::tracefs("events/tcp_lsm/enable", "0")?;
    stage::tracefs("events/tcp_votes/vote/enable", "0")?;
    // Opening it anew takes every probe out.
    stage::tracefs("kprobe_events", "")?;
    let short: String = request
        .id
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    for wanted in [
        "tcp_lsm_decision:",
        "tcp_lsm_request:",
        "tcp_lsm_vote:",
        &format!(
            "request=0x{} validator=1 verdict=1 result=0",
            short.trim_start_matches('0')
        ),
    ] {
        ensure!(trace.contains(wanted), "no {wanted} in the trace:\n{trace}");
    }
    idle()
}

fn grants_limit(_: &mut Ctx) -> Res {
    let dir = prepared()?;
    let mut voter = stage::voter(1)?;
    let mut agent = Agent::start("a")?;
    for n in 0..256 {
        let request = agent.raise(&["append", &format!("{dir}/quorum/{n}")])?;
        let tally = voter
            .cast(&request, APPROVE)
            .map_err(|e| format!("grant {n}: {e:?}"))?;
        ensure!(tally.state == nl::GRANTED, "grant {n}: {tally:?}");
    }
    ensure!(
        stage::status_number("grants")? == 256,
        "{} grants",
        stage::status_number("grants")?
    );
    // Without room for a grant the vote that would make it is refused, and not counted.
    let request = agent.raise(&["append", &format!("{dir}/quorum/256")])?;
    match voter.cast(&request, APPROVE) {
        Err(refused) => expect_errno("the 257th grant", refused.errno, libc::EAGAIN)?,
        Ok(tally) => return Err(format!("the 257th grant: {tally:?}")),
    }
    agent.expect(libc::EACCES, &["append", &format!("{dir}/quorum/256")])?;
    // Used grants make room, and each works once.
    agent.expect(0, &["append", &format!("{dir}/quorum/255")])?;
    agent.expect(0, &["append", &format!("{dir}/quorum/0")])?;
    let tally = voter
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    ensure!(tally.state == nl::GRANTED, "after two uses: {tally:?}");
    agent.expect(0, &["append", &format!("{dir}/quorum/256")])?;
    agent.end()?;
    idle()
}

fn ring_overrun(_: &mut Ctx) -> Res {
    let dir = prepared()?;
    // Requests with long paths and targets, cancelled as they come: about 4 KiB for each event pair at most.
    let deep = format!("{dir}/quorum/{}", ["d".repeat(200).as_str(); 4].join("/"));
    fs::create_dir_all(&deep).map_err(|e| format!("{deep}: {e}"))?;
    let start = Instant::now();
    let status = stage::status()?;
    // Those of other epochs never were in the ring.
    let (begin, first) = (status.epoch << 32, status.event);
    let mut round = 0;
    let oldest = loop {
        let mut agent = Agent::start("a")?;
        for _ in 0..8 {
            round += 1;
            let (_, refused) = agent.ask(&["symlinks", &deep, "16", &format!("/{round}")])?;
            ensure!(refused == "16", "{refused} of 16 were refused");
            cancel_all()?;
        }
        agent.end()?;
        let (events, lost) = stage::events_from(1)?;
        let oldest = events.first().ok_or("no events")?.number;
        ensure!(
            oldest == begin + lost + 1,
            "{lost} events are lost, and the oldest is {oldest}"
        );
        if oldest > first + 1 {
            break oldest;
        }
        ensure!(
            start.elapsed() < patience(Duration::from_secs(50)),
            "{round} rounds did not fill the ring: {lost} lost"
        );
    };
    // What is left is whole, its chain verified, and it ends where status says.
    let (events, _) = stage::events_from(oldest)?;
    let (last, status) = (events.last().ok_or("no events")?, stage::status()?);
    ensure!(
        last.number == status.event && last.chain == status.chain,
        "the ring does not end at the chain's head"
    );
    let bytes: usize = events.iter().map(|e| e.bytes.len()).sum();
    ensure!(
        (3 << 20..=4 << 20).contains(&bytes),
        "the ring holds {bytes} bytes of events"
    );
    let (some, _) = stage::events_from(status.event - 9)?;
    ensure!(some.len() == 10, "the last ten events are {}", some.len());
    idle()
}

/// As many as there are slots, none of which was used before.
fn validators_limit(ctx: &mut Ctx) -> Res {
    state::restart()?;
    if stage::status()?.phase != nl::SETUP {
        state::forget()?;
        state::load("")?;
    }
    for number in 1..=128 {
        stage::enrol(&Validator::test(number), 1)
            .map_err(|e| format!("enrolling v{number}: {e:?}"))?;
        ctx.progress();
    }
    expect_refused(
        "one too many",
        stage::enrol(&Validator::test(129), 1),
        libc::ENOSPC,
        "validator_limit",
    )?;
    let total = stage::status()?.total;
    ensure!(total == 128, "the total weight is {total}");
    Ok(())
}
