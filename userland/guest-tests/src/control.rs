// SPDX-License-Identifier: GPL-2.0

//! Getting round the control interface: what agents, other users and root try after the seal.

use crate::client::{
    Attributes,
    Client, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::policy::spare_module;
use crate::stage::{
    self,
    cancel_all,
    errno_name,
    expect_errno,
    expect_refused,
    kind,
    load_text,
    nl,
    submit,
    voter,
    Res,
    APPROVE, //
};
use crate::worker::{
    self,
    load_module,
    outcome,
    Agent, //
};
use std::ffi::CString;
use std::fs::{
    self,
    File,
    OpenOptions, //
};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{
    Command,
    Stdio, //
};
use std::time::Duration;

/// The tests, in their order: the first needs a node in setup, the last unloads the module.
pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "root_decides_in_setup",
        run: setup,
    },
    Test {
        name: "agent_opens_securityfs",
        run: agent_securityfs,
    },
    Test {
        name: "agent_inherits_a_control_file",
        run: agent_inherits,
    },
    Test {
        name: "agent_receives_a_control_file",
        run: agent_receives,
    },
    Test {
        name: "agent_sends_netlink_commands",
        run: agent_netlink,
    },
    Test {
        name: "agent_uses_a_socket_opened_before",
        run: agent_socket,
    },
    Test {
        name: "agent_listens_to_events",
        run: agent_events,
    },
    Test {
        name: "agent_inherits_an_event_socket",
        run: agent_event_socket,
    },
    Test {
        name: "agent_receives_an_event_socket",
        run: agent_event_socket_sent,
    },
    Test {
        name: "seal_is_irrevocable",
        run: irrevocable,
    },
    Test {
        name: "sealed_policy_takes_a_quorum",
        run: sealed_policy,
    },
    Test {
        name: "sealed_policy_of_a_lower_version",
        run: lower_version,
    },
    Test {
        name: "sealed_policy_cannot_allow_governance",
        run: sealed_governance,
    },
    Test {
        name: "grant_for_one_policy_is_not_for_another",
        run: other_policy,
    },
    Test {
        name: "too_many_governance_requests",
        run: governance_limit,
    },
    Test {
        name: "agents_cannot_keep_root_from_asking",
        run: governance_room,
    },
    Test {
        name: "sealed_mode_takes_a_quorum",
        run: sealed_mode,
    },
    Test {
        name: "sealed_validators_take_a_quorum",
        run: sealed_validators,
    },
    Test {
        name: "change_of_validators_cancels_requests",
        run: validators_cancel,
    },
    Test {
        name: "root_removes_the_module",
        run: rmmod,
    },
    Test {
        name: "root_forces_the_module_out",
        run: rmmod_forced,
    },
    Test {
        name: "root_loads_a_module_that_policy_refuses",
        run: modules,
    },
    Test {
        name: "unsigned_module_takes_a_quorum",
        run: unsigned,
    },
    Test {
        name: "signed_module_leaves_no_leave_for_an_unsigned_one",
        run: unsigned_after_signed,
    },
    Test {
        name: "agent_loads_an_unsigned_module_that_policy_allows",
        run: unsigned_agent,
    },
    Test {
        name: "root_replaces_the_kernel",
        run: kexec,
    },
    Test {
        name: "root_writes_kernel_memory",
        run: kernel_memory,
    },
    Test {
        name: "root_unmounts_securityfs",
        run: unmount,
    },
    Test {
        name: "root_switches_ftrace_off",
        run: ftrace,
    },
    Test {
        name: "root_kills_the_helper",
        run: helper,
    },
    Test {
        name: "unload_takes_a_quorum_and_leaves_no_trace",
        run: unload,
    },
];

const VALIDATORS: u32 = 4;

fn dir() -> String {
    format!("{}/control", stage::SCRATCH)
}

fn body() -> Res<String> {
    let dir = dir();
    for name in ["deny", "quorum", "modules", "approved"] {
        stage::make_dir(&format!("{dir}/{name}"))?;
    }
    stage::make_file(&format!("{dir}/deny/file"), "")?;
    stage::make_file(&format!("{dir}/quorum/file"), "")?;
    Ok(format!(
        "class a may=a\n\
         DEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={dir}/deny action=DENY\n\
         op=FILE_WRITE class=a path={dir}/quorum action=QUORUM threshold=75% ttl=5m\n\
         op=MODULE_LOAD class=host path={dir}/modules action=DENY\n\
         op=MODULE_LOAD class=host path={dir}/approved action=QUORUM threshold=75%\n\
         op=KEXEC_LOAD class=a,host action=DENY\n\
         op=POLICY,VALIDATOR,MODE,UNLOAD action=QUORUM threshold=75%\n"
    ))
}

fn sealed() -> Res {
    stage::sealed(VALIDATORS, "control", &body()?)?;
    cancel_all()
}

/// The rules are in force.
fn enforced() -> Res {
    let path = format!("{}/deny/file", dir());
    let mut agent = Agent::start("a")?;
    agent.expect(libc::EACCES, &["append", &path])?;
    agent.end()?;
    expect_errno(
        "the same write without a label",
        worker::errno_of(&OpenOptions::new().append(true).open(&path)),
        0,
    )
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn delete_module(flags: libc::c_int) -> i32 {
    // SAFETY: The name is a constant string with its terminator.
    outcome(unsafe { libc::syscall(libc::SYS_delete_module, c"tcp_lsm".as_ptr(), flags) })
}

// --- in setup -------------------------------------------------------------------------------------

fn setup(_: &mut Ctx) -> Res {
    stage::prepare(VALIDATORS, "setup", "class a\nDEFAULT action=ALLOW\n")?;
    // What a rule or the seal refuses below succeeds now: the tests of those refusals are not empty.
    // SAFETY: No segments are passed.
    let result = unsafe { libc::syscall(libc::SYS_kexec_load, 0, 0, 0, 0) };
    expect_errno("kexec_load without a rule", outcome(result), 0)?;
    expect_errno("a module without a rule", load_module(&spare_module()?), 0)?;
    expect_errno(
        "a module without a signature",
        load_module(&unsigned_module()?),
        0,
    )?;
    // SAFETY: Port 0x80 is for diagnostics; nothing is written to it.
    let result = unsafe { libc::ioperm(0x80, 1, 1) };
    expect_errno("ioperm", outcome(i64::from(result)), 0)?;
    let reply = stage::set_mode(nl::PERMISSIVE).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
        "mode in setup: {:?}",
        reply.u32(nl::A_OUTCOME)
    );
    ensure!(
        stage::status()?.mode == nl::PERMISSIVE,
        "the mode did not change"
    );
    let reply = stage::call(nl::UNLOAD, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
        "unload in setup: {:?}",
        reply.u32(nl::A_OUTCOME)
    );
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("{e:?}"))?;
    Ok(())
}

// --- agents ---------------------------------------------------------------------------------------

fn agent_securityfs(_: &mut Ctx) -> Res {
    sealed()?;
    let before = stage::running_policy()?;
    let refused = stage::status()?.counter("control_refused")?;
    let mut agent = Agent::start("a")?;
    let node = |name: &str| format!("{}/{name}", stage::SECURITYFS);
    for name in [
        "version",
        "status",
        "policy",
        "validators",
        "events",
        "requests",
        "state",
    ] {
        agent.expect(libc::EPERM, &["read", &node(name)])?;
        ensure!(
            !fs::read(node(name))
                .map_err(|e| format!("{name}: {e}"))?
                .is_empty()
                || ["requests", "state"].contains(&name),
            "{name} is empty"
        );
    }
    for name in ["policy", "state", "recover"] {
        agent.expect(libc::EPERM, &["append", &node(name)])?;
        agent.expect(libc::EPERM, &["write", &node(name)])?;
    }
    // The one node that is an agent's own.
    let (errno, text) = agent.ask(&["self"])?;
    ensure!(
        errno == 0 && text.contains(&format!("agent {}|", agent.id)) && text.contains("class a"),
        "self of an agent: {errno} {text}"
    );
    ensure!(
        stage::content(&node("self"))?.trim() == "agent none",
        "self of a task without a label"
    );
    ensure!(stage::running_policy()? == before, "the policy changed");
    ensure!(
        stage::status()?.counter("control_refused")? > refused,
        "control_refused does not count agents"
    );
    // Through another mount of the same file system, and through procfs.
    let other = stage::fresh_dir("control/securityfs")?;
    // SAFETY: All strings have their terminators.
    let mounted = unsafe {
        libc::mount(
            c"none".as_ptr(),
            c(&other).as_ptr(),
            c"securityfs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    expect_errno(
        "mounting securityfs once more",
        outcome(i64::from(mounted)),
        0,
    )?;
    let result = agent.expect(libc::EPERM, &["read", &format!("{other}/tcp_lsm/policy")]);
    // SAFETY: As above.
    unsafe { libc::umount(c(&other).as_ptr()) };
    result?;
    agent.expect(
        libc::EPERM,
        &["read", &format!("/proc/self/root{}", node("policy"))],
    )?;
    agent.end()
}

fn agent_inherits(_: &mut Ctx) -> Res {
    sealed()?;
    // Opened by root before, kept over the labelling: the labelling is refused, or the file is worth nothing.
    for name in ["policy", "events", "status"] {
        let file = OpenOptions::new()
            .read(true)
            .write(name == "policy")
            .open(format!("{}/{name}", stage::SECURITYFS))
            .map_err(|e| format!("{name}: {e}"))?;
        match Agent::try_start("a", "heir", 0, Some(file.as_raw_fd()))? {
            Err((errno, text)) => ensure!(
                errno == libc::EACCES && text.starts_with("inherited_file: "),
                "labelling with {name} open: {} {text}",
                errno_name(errno)
            ),
            Ok(mut agent) => {
                agent.expect(libc::EPERM, &["read-kept"])?;
                if name == "policy" {
                    agent.expect(
                        libc::EPERM,
                        &[
                            "write-kept",
                            "policy_name=x policy_version=99\\nDEFAULT action=ALLOW\\n",
                        ],
                    )?;
                }
                agent.end()?;
            }
        }
        // The parent's own use is untouched.
        file.read_at(&mut [0; 8], 0)
            .map_err(|e| format!("{name} without a label: {e}"))?;
    }
    ensure!(
        stage::status()?.policy_name.as_deref() == Some("control"),
        "the policy changed"
    );
    Ok(())
}

fn agent_receives(_: &mut Ctx) -> Res {
    sealed()?;
    let (ours, theirs) = UnixDatagram::pair().map_err(|e| e.to_string())?;
    let mut agent = match Agent::try_start("a", "receiver", 0, Some(theirs.as_raw_fd()))? {
        Ok(agent) => agent,
        Err((errno, text)) => {
            return Err(format!(
                "labelling with a socket: {} {text}",
                errno_name(errno)
            ))
        }
    };
    // An ordinary file arrives.
    let plain = File::open("/etc/passwd").map_err(|e| e.to_string())?;
    expect_errno(
        "sending",
        worker::send_file(ours.as_raw_fd(), plain.as_raw_fd()),
        0,
    )?;
    agent.expect(0, &["receive"])?;
    for name in ["policy", "events", "status"] {
        let file = File::open(format!("{}/{name}", stage::SECURITYFS))
            .map_err(|e| format!("{name}: {e}"))?;
        expect_errno(
            "sending",
            worker::send_file(ours.as_raw_fd(), file.as_raw_fd()),
            0,
        )?;
        let (errno, step) = agent.ask(&["receive"])?;
        // Refused at the reception or at the reading; never read.
        ensure!(
            errno == libc::EPERM
                || errno == libc::EACCES && step == "recvmsg"
                || errno == 0 && step == "nothing received",
            "{name} over a socket: {} at {step}",
            errno_name(errno)
        );
    }
    agent.end()
}

fn agent_netlink(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    for command in 1..=nl::VALIDATOR_READMIT {
        // 16 is the number of the multicast.
        if command == nl::AGENT_LABEL || command == 16 {
            continue;
        }
        for kind in ["do", "dump"] {
            let (errno, text) = agent.ask(&["netlink", &command.to_string(), kind])?;
            let takes_it = match command {
                nl::VALIDATOR_GET
                | nl::AGENT_GET
                | nl::GRANT_GET
                | nl::EVENT_GET
                | nl::EVIDENCE_GET => kind == "dump",
                nl::REQUEST_GET => true,
                _ => kind == "do",
            };
            if takes_it {
                ensure!(
                    errno == libc::EPERM && text.starts_with("labelled: "),
                    "command {command} ({kind}) of an agent: {} {text}",
                    errno_name(errno)
                );
            } else {
                expect_errno(
                    &format!("command {command} ({kind}) of an agent"),
                    errno,
                    libc::EOPNOTSUPP,
                )?;
            }
        }
    }
    ensure!(stage::status()?.phase == nl::SEALED, "the phase changed");
    let events = stage::events_from(1)?.0;
    ensure!(
        events
            .iter()
            .any(|e| e.kind == kind::CONTROL_REFUSED && e.result == 32),
        "no CONTROL_REFUSED event with \"labelled\""
    );
    // The one that is open to agents.
    agent.expect(0, &["netlink", "8", "label", "a"])?;
    agent.end()
}

fn agent_socket(_: &mut Ctx) -> Res {
    sealed()?;
    // The socket is root's and was open before the label; what counts is who sends.
    let client = stage::open()?;
    let family = client.family;
    match Agent::try_start("a", "sender", 0, Some(client.fd()))? {
        Err((errno, text)) => ensure!(
            errno == libc::EACCES && text.starts_with("inherited_file: "),
            "labelling with a netlink socket: {} {text}",
            errno_name(errno)
        ),
        Ok(mut agent) => {
            let (errno, text) =
                agent.ask(&["raw-kept", &family.to_string(), &nl::SEAL.to_string()])?;
            ensure!(
                errno == libc::EPERM && text.starts_with("labelled: "),
                "an agent with root's socket: {} {text}",
                errno_name(errno)
            );
            agent.end()?;
        }
    }
    Ok(())
}

fn agent_events(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let (errno, _) = agent.ask(&["listen-events"])?;
    ensure!(
        errno == libc::EPERM || errno == libc::EACCES,
        "an agent of uid 0 listens to events: {}",
        errno_name(errno)
    );
    agent.end()?;
    let errno = worker::errno_as(40_100, || {
        match Client::open().and_then(|c| c.join_events()) {
            Ok(()) => 0,
            Err(refused) => refused.errno,
        }
    })?;
    expect_errno("an unprivileged user listens to events", errno, libc::EPERM)?;
    stage::open()?
        .join_events()
        .map_err(|e| format!("root listens: {e:?}"))?;
    Ok(())
}

fn agent_event_socket(_: &mut Ctx) -> Res {
    sealed()?;
    let client = stage::open()?;
    client.join_events().map_err(|e| format!("{e:?}"))?;
    match Agent::try_start("a", "heir", 0, Some(client.fd()))? {
        Err((errno, text)) => ensure!(
            errno == libc::EACCES && text.starts_with("inherited_file: "),
            "labelling with a socket that hears events: {} {text}",
            errno_name(errno)
        ),
        Ok(mut agent) => {
            stage::fresh_request()?;
            let errno = agent.try_to(&["recv-kept"])?;
            ensure!(
                errno != 0,
                "an agent reads events from a socket that it inherited"
            );
            expect_errno(
                "the same without a label",
                worker::receive_bytes(client.fd()),
                0,
            )?;
            agent.end()?;
        }
    }
    Ok(())
}

fn agent_event_socket_sent(_: &mut Ctx) -> Res {
    sealed()?;
    let client = stage::open()?;
    client.join_events().map_err(|e| format!("{e:?}"))?;
    let (ours, theirs) = UnixDatagram::pair().map_err(|e| e.to_string())?;
    let mut agent = match Agent::try_start("a", "receiver", 0, Some(theirs.as_raw_fd()))? {
        Ok(agent) => agent,
        Err((errno, text)) => {
            return Err(format!(
                "labelling with a socket: {} {text}",
                errno_name(errno)
            ))
        }
    };
    stage::fresh_request()?;
    expect_errno(
        "sending",
        worker::send_file(ours.as_raw_fd(), client.fd()),
        0,
    )?;
    let (errno, step) = agent.ask(&["receive-recv"])?;
    ensure!(
        errno != 0 || step == "nothing received",
        "an agent reads events from a socket that it was sent"
    );
    expect_errno(
        "the same without a label",
        worker::receive_bytes(client.fd()),
        0,
    )?;
    agent.end()
}

// --- root -----------------------------------------------------------------------------------------

fn irrevocable(_: &mut Ctx) -> Res {
    sealed()?;
    expect_refused(
        "a second seal",
        stage::call(nl::SEAL, &Attributes::new()),
        libc::EPERM,
        "not_in_setup",
    )?;
    ensure!(
        stage::status_line("phase")? == "sealed",
        "phase {}",
        stage::status_line("phase")?
    );
    ensure!(
        stage::status_line("sealed_by")? == "tpm",
        "sealed_by {}",
        stage::status_line("sealed_by")?
    );
    enforced()
}

fn sealed_policy(_: &mut Ctx) -> Res {
    sealed()?;
    let text = stage::with_header("control", &format!("{}# again\n", body()?))?;
    let before = stage::running_policy()?;
    let request = stage::request_policy(&text)?;
    ensure!(
        request.op() == 32 && request.agent() == 0 && request.uid() == 0,
        "the request is for operation {} of agent {}",
        request.op(),
        request.agent()
    );
    ensure!(
        request.encoding.get(192..224) == Some(&crate::keys::sha256(&[text.as_bytes()])[..]),
        "the request does not have the digest of the text"
    );
    let again = stage::request_policy(&text)?;
    ensure!(
        again.id == request.id,
        "the same text made a second request"
    );
    stage::approve_by(&request, 2)?;
    stage::request_policy(&text)?;
    ensure!(
        stage::running_policy()? == before,
        "two of four changed the policy"
    );
    voter(3)?
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    ensure!(
        stage::running_policy()? == before,
        "the policy changed before it was given again"
    );
    let line = load_text(text.as_bytes()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        line.starts_with("done policy control "),
        "the diagnostic is \"{line}\""
    );
    ensure!(
        stage::running_policy()? == text.as_bytes(),
        "the granted policy is not running"
    );
    let events = stage::events_from(request.created())?.0;
    for (what, wanted) in [("GRANTED", kind::GRANTED), ("USED", kind::USED)] {
        ensure!(
            events
                .iter()
                .any(|e| e.kind == wanted && e.request == request.id),
            "no {what} event for the policy"
        );
    }
    ensure!(
        events.iter().any(|e| e.kind == kind::POLICY),
        "no POLICY event"
    );
    enforced()
}

fn lower_version(_: &mut Ctx) -> Res {
    sealed()?;
    let now = stage::status()?.policy_version;
    for version in [now, now.saturating_sub(1).max(1), 1] {
        let text = format!("policy_name=control policy_version={version}\nDEFAULT action=ALLOW\n");
        match load_text(text.as_bytes()) {
            Err(refused) => ensure!(
                refused.errno == libc::ESTALE && refused.line.starts_with("policy_version: "),
                "version {version}: {refused:?}"
            ),
            Ok(line) => return Err(format!("version {version} was taken: {line}")),
        }
    }
    ensure!(
        stage::open_requests()?.is_empty(),
        "a lower version raised a request"
    );
    Ok(())
}

fn sealed_governance(_: &mut Ctx) -> Res {
    sealed()?;
    for op in ["POLICY", "VALIDATOR", "MODE", "UNLOAD"] {
        let text = stage::with_header(
            "control",
            &format!("DEFAULT action=ALLOW\nop={op} action=ALLOW\n"),
        )?;
        match load_text(text.as_bytes()) {
            Err(refused) => ensure!(
                refused.errno == libc::EINVAL && refused.line.starts_with("policy_invalid: 3:"),
                "{op} ALLOW: {refused:?}"
            ),
            Ok(line) => return Err(format!("{op} ALLOW was taken: {line}")),
        }
    }
    ensure!(
        stage::open_requests()?.is_empty(),
        "ALLOW for governance raised a request"
    );
    Ok(())
}

fn other_policy(_: &mut Ctx) -> Res {
    sealed()?;
    let body = body()?;
    let good = stage::with_header("control", &format!("{body}# approved\n"))?;
    let evil = stage::with_header(
        "control",
        &format!(
            "{}# approved\n",
            body.replace("action=DENY", "action=ALLOW")
        ),
    )?;
    let request = stage::request_policy(&good)?;
    stage::approve_by(&request, 3)?;
    let other = stage::request_policy(&evil)?;
    ensure!(
        other.id != request.id,
        "another text found the grant's request"
    );
    ensure!(
        stage::running_policy()? != evil.as_bytes(),
        "another text used the grant"
    );
    load_text(good.as_bytes()).map_err(|e| format!("the approved text: {e:?}"))?;
    // The change of policy has cancelled what was asked under the old one.
    let state = stage::request(&other.id)?.state;
    ensure!(
        state == nl::CANCELLED,
        "the other request is in state {state}"
    );
    enforced()
}

/// Asks for a policy that has never been asked for; how that is refused.
fn ask_policy(n: usize) -> Res<(i32, String)> {
    let text = stage::with_header("control", &format!("DEFAULT action=ALLOW\n# {n}\n"))?;
    match load_text(text.as_bytes()) {
        Ok(line) => Err(format!("a sealed node took a policy: {line}")),
        Err(refused) => Ok((refused.errno, refused.line)),
    }
}

fn governance_limit(_: &mut Ctx) -> Res {
    sealed()?;
    for n in 0..16 {
        let (errno, line) = ask_policy(n)?;
        expect_errno(&format!("request {n} ({line})"), errno, libc::EINPROGRESS)?;
    }
    let (errno, line) = ask_policy(16)?;
    ensure!(
        errno == libc::EAGAIN && line.starts_with("request_limit: "),
        "the 17th request: {} {line}",
        errno_name(errno)
    );
    cancel_all()?;
    let (errno, line) = ask_policy(16)?;
    expect_errno(
        &format!("after room was made ({line})"),
        errno,
        libc::EINPROGRESS,
    )?;
    cancel_all()
}

fn governance_room(_: &mut Ctx) -> Res {
    sealed()?;
    let quorum = format!("{}/quorum", dir());
    for n in 0..16 {
        stage::make_file(&format!("{quorum}/{n}"), "")?;
    }
    let mut agents = Vec::new();
    for _ in 0..17 {
        let mut agent = Agent::start("a")?;
        agent.ask(&["appends", &quorum, "16"])?;
        agents.push(agent);
    }
    // Governance has room of its own, whatever the agents of all users ask for.
    let (errno, line) = ask_policy(0)?;
    expect_errno(
        &format!("a policy while agents ask for all they can ({line})"),
        errno,
        libc::EINPROGRESS,
    )?;
    // One user's agents leave room for those of others, too.
    let theirs = stage::open_requests()?
        .iter()
        .filter(|request| request.agent() != 0)
        .count();
    ensure!(theirs == 64, "one user's agents have {theirs} requests");
    drop(agents);
    cancel_all()
}

fn sealed_mode(_: &mut Ctx) -> Res {
    sealed()?;
    let path = format!("{}/deny/file", dir());
    let mut agent = Agent::start("a")?;
    let ask = || stage::set_mode(nl::PERMISSIVE);
    let reply = ask().map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::PENDING),
        "mode on a sealed node is not pending"
    );
    agent.expect(libc::EACCES, &["append", &path])?;
    stage::govern("permissive", 3, ask)?;
    agent.expect(0, &["append", &path])?;
    ensure!(
        stage::status()?.mode == nl::PERMISSIVE,
        "the mode is still enforce"
    );
    // Permissive is for operations of agents; governance stays as it was.
    match load_text(stage::with_header("x", "DEFAULT action=ALLOW\n")?.as_bytes()) {
        Err(refused) => expect_errno(
            "a policy in permissive mode",
            refused.errno,
            libc::EINPROGRESS,
        )?,
        Ok(line) => return Err(format!("a policy was taken in permissive mode: {line}")),
    }
    agent.expect(libc::EPERM, &["netlink", "1"])?;
    stage::govern("enforce", 3, || stage::set_mode(nl::ENFORCE))?;
    agent.expect(libc::EACCES, &["append", &path])?;
    agent.end()
}

fn sealed_validators(_: &mut Ctx) -> Res {
    sealed()?;
    let fifth = Validator::test(5);
    stage::govern("adding a validator", 3, || stage::enrol(&fifth, 1))?;
    ensure!(
        stage::status()?.total == 5,
        "the total is {}",
        stage::status()?.total
    );
    // Now three of five are not enough, four are.
    let ask = || stage::remove("v5");
    let reply = ask().map_err(|e| format!("{e:?}"))?;
    let id: [u8; 32] = reply
        .bytes(nl::A_REQUEST_ID)
        .and_then(|id| id.try_into().ok())
        .ok_or("no request id")?;
    let request = stage::request(&id)?;
    let tally = stage::approve_by(&request, 3)?;
    ensure!(tally.state == nl::OPEN, "three of five: {tally:?}");
    let tally = voter(5)?
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    ensure!(tally.state == nl::GRANTED, "four of five: {tally:?}");
    let reply = ask().map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
        "the granted removal is not done"
    );
    ensure!(
        stage::status()?.total == 4,
        "the total is {}",
        stage::status()?.total
    );
    // Who is out is unknown.
    let request = stage::fresh_request()?;
    let mut vote = voter(1)?.vote(&request, APPROVE);
    vote.validator = fifth.id();
    expect_refused(
        "a removed validator's vote",
        submit(&vote.record(&fifth)),
        libc::ENOKEY,
        "vote_unknown_validator",
    )
}

fn validators_cancel(_: &mut Ctx) -> Res {
    sealed()?;
    let path = format!("{}/quorum/file", dir());
    let mut agent = Agent::start("a")?;
    let mut other = Agent::start("a")?;
    let open = agent.raise(&["append", &path])?;
    let granted = other.raise(&["append", &path])?;
    stage::approve_by(&granted, 3)?;
    let sixth = Validator::test(6);
    stage::govern("adding a validator", 3, || stage::enrol(&sixth, 1))?;
    let state = stage::request(&open.id)?.state;
    ensure!(
        state == nl::CANCELLED,
        "an open request is in state {state} after a change of validators"
    );
    other.expect(libc::EACCES, &["append", &path])?;
    stage::govern("removing it", 4, || stage::remove("v6"))?;
    agent.end()?;
    other.end()
}

fn rmmod(_: &mut Ctx) -> Res {
    sealed()?;
    for flags in [libc::O_NONBLOCK, 0] {
        let errno = delete_module(flags);
        expect_errno("delete_module of the sealed module", errno, libc::EPERM)?;
    }
    let status = Command::new("rmmod")
        .arg("tcp_lsm")
        .stderr(Stdio::null())
        .status()
        .map_err(|e| format!("rmmod: {e}"))?;
    ensure!(
        !status.success(),
        "rmmod says that it has removed the module"
    );
    enforced()
}

fn rmmod_forced(_: &mut Ctx) -> Res {
    sealed()?;
    let taint = fs::read_to_string("/proc/sys/kernel/tainted").map_err(|e| e.to_string())?;
    for flags in [libc::O_TRUNC | libc::O_NONBLOCK, libc::O_TRUNC] {
        expect_errno(
            "delete_module with O_TRUNC",
            delete_module(flags),
            libc::EPERM,
        )?;
    }
    let after = fs::read_to_string("/proc/sys/kernel/tainted").map_err(|e| e.to_string())?;
    ensure!(taint == after, "the kernel was tainted by a forced removal");
    enforced()
}

fn modules(_: &mut Ctx) -> Res {
    sealed()?;
    let module = spare_module()?;
    let name = module.rsplit('/').next().unwrap_or_default();
    // The distribution's own module, where it lies, is let through: no rule speaks of it.
    expect_errno("a module that no rule names", load_module(&module), 0)?;
    let here = format!("{}/modules/{name}", dir());
    let copy = fs::read(&module).map_err(|e| format!("{module}: {e}"))?;
    fs::write(&here, &copy).map_err(|e| format!("{here}: {e}"))?;
    expect_errno(
        "a module in the directory of the rule",
        load_module(&here),
        libc::EACCES,
    )?;
    // Without its signature it is no different.
    let marker = b"~Module signature appended~\n";
    if copy.ends_with(marker) {
        fs::write(&here, &copy[..copy.len() - marker.len()]).map_err(|e| e.to_string())?;
        expect_errno("without its signature", load_module(&here), libc::EACCES)?;
    }
    // No rule speaks of this one, but a sealed node takes no module that nobody signed.
    expect_errno(
        "a module without a signature",
        load_module(&unsigned_module()?),
        libc::EPERM,
    )?;
    let link = format!("{}/{name}", stage::SCRATCH);
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&here, &link).map_err(|e| e.to_string())?;
    expect_errno("through a symbolic link", load_module(&link), libc::EACCES)?;
    ensure!(
        stage::events_from(1)?
            .0
            .iter()
            .any(|e| e.kind == kind::REFUSED && e.op == 10 && e.agent == 0),
        "no REFUSED event for root's module"
    );
    Ok(())
}

fn unsigned(_: &mut Ctx) -> Res {
    sealed()?;
    let approved = unsigned_module_in("approved")?;
    let other = unsigned_module()?;
    expect_errno(
        "before anybody has voted",
        load_module(&approved),
        libc::EACCES,
    )?;
    let request = stage::open_requests()?
        .into_iter()
        .find(|r| r.op() == 10)
        .ok_or("no request for the module")?;
    ensure!(
        request.agent() == 0,
        "the request is of agent {}",
        request.agent()
    );
    stage::approve_by(&request, 3)?;
    expect_errno("another unsigned module", load_module(&other), libc::EPERM)?;
    expect_errno("the approved module", load_module(&approved), 0)?;
    expect_errno(
        "the approved module again",
        load_module(&approved),
        libc::EACCES,
    )?;
    expect_errno(
        "another unsigned module after it",
        load_module(&other),
        libc::EPERM,
    )
}

fn unsigned_after_signed(_: &mut Ctx) -> Res {
    sealed()?;
    // The approval of a module that does have a signature is not left over for one that has none.
    let module = spare_module()?;
    let signed = format!(
        "{}/approved/{}",
        dir(),
        module.rsplit('/').next().unwrap_or_default()
    );
    fs::copy(&module, &signed).map_err(|e| format!("{signed}: {e}"))?;
    expect_errno(
        "before anybody has voted",
        load_module(&signed),
        libc::EACCES,
    )?;
    let request = stage::open_requests()?
        .into_iter()
        .find(|r| r.op() == 10)
        .ok_or("no request for the module")?;
    stage::approve_by(&request, 3)?;
    expect_errno("the approved module", load_module(&signed), 0)?;
    expect_errno(
        "an unsigned module after it",
        load_module(&unsigned_module()?),
        libc::EPERM,
    )
}

fn unsigned_agent(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    // ALLOW lets an agent do what root may do: a signed module, not one that nobody signed.
    agent.expect(0, &["module", &spare_module()?])?;
    agent.expect(libc::EPERM, &["module", &unsigned_module()?])?;
    agent.end()
}

/// A copy of the spare module without its signature.
fn unsigned_module() -> Res<String> {
    unsigned_module_in("unsigned")
}

/// The same, in a directory below that of the tests.
fn unsigned_module_in(name: &str) -> Res<String> {
    let module = spare_module()?;
    let dir = format!("{}/{name}", dir());
    stage::make_dir(&dir)?;
    let path = format!("{dir}/{}", module.rsplit('/').next().unwrap_or_default());
    let bytes = fs::read(&module).map_err(|e| format!("{module}: {e}"))?;
    let marker = b"~Module signature appended~\n";
    ensure!(bytes.ends_with(marker), "{module} has no signature");
    fs::write(&path, &bytes[..bytes.len() - marker.len()]).map_err(|e| format!("{path}: {e}"))?;
    Ok(path)
}

fn kexec(_: &mut Ctx) -> Res {
    sealed()?;
    // SAFETY: No segments are passed.
    let result = unsafe { libc::syscall(libc::SYS_kexec_load, 0, 0, 0, 0) };
    expect_errno("kexec_load of root", outcome(result), libc::EACCES)?;
    let image = File::open("/etc/passwd").map_err(|e| e.to_string())?;
    // SAFETY: The command line is an empty string with its terminator.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            image.as_raw_fd(),
            -1,
            1,
            c"".as_ptr(),
            4,
        )
    };
    expect_errno("kexec_file_load of root", outcome(result), libc::EACCES)
}

fn kernel_memory(_: &mut Ctx) -> Res {
    sealed()?;
    // /proc/kcore cannot be written at all; /dev/mem reaches no memory of the kernel on a stock kernel
    // (CONFIG_STRICT_DEVMEM). Whoever finds another way runs code in the kernel already: see the threat model.
    let kcore = OpenOptions::new().write(true).open("/proc/kcore");
    if let Ok(file) = &kcore {
        ensure!(
            file.write_at(b"x", 4096).is_err(),
            "/proc/kcore was written"
        );
    }
    // SAFETY: As in `setup`.
    let result = unsafe { libc::ioperm(0x80, 1, 1) };
    expect_errno("ioperm", outcome(i64::from(result)), libc::EPERM)?;
    let Ok(text) = fs::read_to_string("/proc/iomem") else {
        return Err("/proc/iomem cannot be read".to_string());
    };
    let code = text
        .lines()
        .find(|line| line.contains("Kernel code"))
        .and_then(|line| u64::from_str_radix(line.trim().split('-').next()?, 16).ok())
        .ok_or("no kernel code in /proc/iomem")?;
    ensure!(code != 0, "/proc/iomem hides the addresses from root");
    match OpenOptions::new().read(true).write(true).open("/dev/mem") {
        Err(error) => ensure!(
            matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOENT)),
            "/dev/mem: {error}"
        ),
        Ok(file) => {
            let result = file.write_at(&[0x90], code);
            expect_errno(
                "writing the kernel's code through /dev/mem",
                worker::errno_of(&result),
                libc::EPERM,
            )?;
        }
    }
    enforced()
}

fn unmount(_: &mut Ctx) -> Res {
    sealed()?;
    let target = c"/sys/kernel/security";
    for (what, flags) in [
        ("umount", 0),
        ("a lazy umount", libc::MNT_DETACH),
        ("a forced umount", libc::MNT_FORCE),
    ] {
        // SAFETY: The path is a constant string with its terminator.
        let result = unsafe { libc::umount2(target.as_ptr(), flags) };
        expect_errno(what, outcome(i64::from(result)), libc::EPERM)?;
        stage::status_line("phase")?;
    }
    // Other file systems are not the module's business.
    let other = stage::fresh_dir("control/tmpfs")?;
    let other = c(&other);
    // SAFETY: All strings have their terminators.
    let result = unsafe {
        libc::mount(
            c"none".as_ptr(),
            other.as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    expect_errno("mounting a tmpfs", outcome(i64::from(result)), 0)?;
    // SAFETY: As above.
    let result = unsafe { libc::umount(other.as_ptr()) };
    expect_errno("unmounting it", outcome(i64::from(result)), 0)
}

fn ftrace(_: &mut Ctx) -> Res {
    sealed()?;
    let node = "/proc/sys/kernel/ftrace_enabled";
    let before = stage::content(node)?;
    let result = OpenOptions::new()
        .write(true)
        .open(node)
        .and_then(|mut file| file.write_all(b"0\n"));
    // Linux 7.3 no longer knows how; older kernels refuse it because of our hooks, with EBUSY.
    expect_errno(
        "ftrace_enabled=0",
        worker::errno_of(&result),
        libc::EOPNOTSUPP,
    )?;
    ensure!(stage::content(node)? == before, "ftrace_enabled changed");
    let tracing = "/sys/kernel/tracing";
    // Neither does switching tracing off, or a tracer that filters on our functions.
    for (file, text) in [
        ("tracing_on", "0"),
        ("current_tracer", "nop"),
        ("set_ftrace_notrace", "bpf_lsm_file_open"),
    ] {
        let _ = fs::write(format!("{tracing}/{file}"), text);
    }
    let result = enforced();
    let _ = fs::write(format!("{tracing}/set_ftrace_notrace"), "");
    let _ = fs::write(format!("{tracing}/tracing_on"), "1");
    result
}

fn helper(_: &mut Ctx) -> Res {
    sealed()?;
    let mut helper = Command::new("tcpctl")
        .args(["events", "--follow"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("tcpctl: {e}"))?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(
        matches!(helper.try_wait(), Ok(None)),
        "tcpctl events --follow does not stay: {:?}",
        helper.try_wait()
    );
    enforced()?;
    helper.kill().map_err(|e| e.to_string())?;
    helper.wait().map_err(|e| e.to_string())?;
    enforced()
}

fn unload(_: &mut Ctx) -> Res {
    sealed()?;
    let node = stage::status()?.node;
    let old = stage::fresh_request()?;
    let kept = voter(1)?.record(&old, APPROVE);
    let path = format!("{}/deny/file", dir());
    let mut agent = Agent::start("a")?;
    let ask = || stage::call(nl::UNLOAD, &Attributes::new());
    let reply = ask().map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::PENDING),
        "unload on a sealed node is not pending"
    );
    expect_errno(
        "delete_module while it is pending",
        delete_module(libc::O_NONBLOCK),
        libc::EPERM,
    )?;
    stage::govern("unload", 3, ask)?;
    ensure!(
        stage::events_from(1)?
            .0
            .iter()
            .any(|e| e.kind == kind::UNPINNED),
        "no UNPINNED event"
    );
    agent.expect(libc::EACCES, &["append", &path])?;
    stage::eventually(Duration::from_secs(5), || {
        expect_errno(
            "delete_module with the quorum",
            delete_module(libc::O_NONBLOCK),
            0,
        )
    })?;
    // Nothing is left, and the agent is an ordinary task.
    stage::no_trace()?;
    agent.expect(0, &["append", &path])?;
    // Loaded again it is the same node, locked until it gets its past back; agents and votes of its last life are
    // nothing to it.
    let release = stage::content("/proc/sys/kernel/osrelease")?;
    let file = File::open(format!(
        "/usr/lib/modules/{}/updates/tcp_lsm.ko",
        release.trim()
    ))
    .map_err(|e| e.to_string())?;
    // SAFETY: The descriptor is open and the parameters are an empty string.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    expect_errno("loading the module again", outcome(result), 0)?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::LOCKED && status.policy_version == 0,
        "{status:?}"
    );
    ensure!(
        stage::status_line("reason")? == "state_missing",
        "locked for {}",
        stage::status_line("reason")?
    );
    ensure!(status.node == node, "the node has another name");
    agent.expect(0, &["netlink", "1"])?;
    agent.end()?;
    expect_refused(
        "a vote kept from the last load",
        submit(&kept),
        libc::EXDEV,
        "vote_other_epoch",
    )?;
    // A locked module can be removed by root as it is.
    expect_errno(
        "delete_module while locked",
        delete_module(libc::O_NONBLOCK),
        0,
    )
}
