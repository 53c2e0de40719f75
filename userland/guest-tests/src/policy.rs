// SPDX-License-Identifier: GPL-2.0

//! Policies, validators and netlink messages: what is refused, and how; then the policies to start from.

use crate::client::{
    Attributes,
    Client,
    Refused,
    DO,
    DUMP, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    errno_name,
    expect_errno,
    expect_refused,
    load_text,
    nl,
    PolicyRefused,
    Res, //
};
use crate::worker::{
    self,
    Agent, //
};
use std::fs::{
    self,
    OpenOptions, //
};
use std::io::{
    Read as _,
    Seek as _,
    SeekFrom,
    Write as _, //
};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

/// The tests of a node in setup.
pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "nothing_works_before_its_time",
        run: before_anything,
    },
    Test {
        name: "policy_loads_and_reads_back",
        run: loads,
    },
    Test {
        name: "policy_bad_texts_name_line_and_column",
        run: bad_texts,
    },
    Test {
        name: "policy_path_that_does_not_exist",
        run: missing_path,
    },
    Test {
        name: "policy_not_utf8",
        run: not_utf8,
    },
    Test {
        name: "policy_too_long",
        run: too_long,
    },
    Test {
        name: "policy_too_many_rules_and_paths",
        run: too_many,
    },
    Test {
        name: "policy_version_must_grow",
        run: version,
    },
    Test {
        name: "policy_every_truncation",
        run: truncations,
    },
    Test {
        name: "policy_second_write",
        run: second_write,
    },
    Test {
        name: "policy_write_at_an_offset",
        run: offset,
    },
    Test {
        name: "policy_unreadable_memory",
        run: unreadable,
    },
    Test {
        name: "policy_read_while_open",
        run: snapshot,
    },
    Test {
        name: "policy_governance_never_allows",
        run: governance,
    },
    Test {
        name: "class_must_be_declared",
        run: classes,
    },
    Test {
        name: "class_that_a_new_policy_drops",
        run: dropped_class,
    },
    Test {
        name: "validator_bad_keys",
        run: bad_keys,
    },
    Test {
        name: "validator_twice",
        run: validator_twice,
    },
    Test {
        name: "validator_bad_names",
        run: bad_names,
    },
    Test {
        name: "validator_bad_weights",
        run: bad_weights,
    },
    Test {
        name: "netlink_missing_attributes",
        run: missing_attributes,
    },
    Test {
        name: "netlink_attributes_of_wrong_length",
        run: wrong_lengths,
    },
    Test {
        name: "netlink_unknown_attributes_and_commands",
        run: unknown_attributes,
    },
    Test {
        name: "netlink_nested_too_deep",
        run: nested,
    },
    Test {
        name: "netlink_torn_messages",
        run: torn,
    },
    Test {
        name: "netlink_needs_privilege",
        run: privilege,
    },
    Test {
        name: "securityfs_rights_and_seeks",
        run: securityfs,
    },
    Test {
        name: "validator_limit",
        run: validator_limit,
    },
];

/// The tests of the policies in `policies/`.
pub(crate) const STARTERS: &[Test] = &[
    Test {
        name: "workstation_coder",
        run: workstation_coder,
    },
    Test {
        name: "workstation_coder_quorum",
        run: workstation_coder_quorum,
    },
    Test {
        name: "ci_builder",
        run: ci_builder,
    },
    Test {
        name: "ci_builder_release",
        run: ci_builder_release,
    },
    Test {
        name: "server_operator",
        run: server_operator,
    },
    Test {
        name: "server_operator_quorum",
        run: server_operator_quorum,
    },
];

const GOOD: &str = "class a\nDEFAULT action=ALLOW\n";

/// A policy must be running, for the tests that see that it stays.
fn running() -> Res<Vec<u8>> {
    stage::in_setup()?;
    if stage::status()?.policy_version == 0 {
        stage::load_body("first", GOOD)?;
    }
    stage::running_policy()
}

/// A text must be refused with this errno and a diagnostic that begins so; the running policy stays.
fn refused(what: &str, text: &[u8], errno: i32, line: &str) -> Res {
    let before = (stage::running_policy()?, stage::status()?);
    match load_text(text) {
        Ok(line) => return Err(format!("{what}: loaded: {line}")),
        Err(refused) => check_refusal(what, &refused, errno, line)?,
    }
    let after = (stage::running_policy()?, stage::status()?);
    ensure!(before.0 == after.0, "{what}: the running policy changed");
    ensure!(
        before.1.policy_digest == after.1.policy_digest
            && before.1.policy_version == after.1.policy_version,
        "{what}: the status of the policy changed"
    );
    Ok(())
}

fn check_refusal(what: &str, refused: &PolicyRefused, errno: i32, line: &str) -> Res {
    ensure!(
        refused.errno == errno
            && refused.line.starts_with(line)
            && refused.line.len() > line.len() + 5,
        "{what}: {} \"{}\" instead of {} \"{line}...\"",
        errno_name(refused.errno),
        refused.line,
        errno_name(errno)
    );
    Ok(())
}

/// A body must be refused as invalid at a place; line 1 is the header.
fn invalid(what: &str, body: &str, line: u32, column: u32) -> Res {
    refused(
        what,
        stage::with_header("bad", body)?.as_bytes(),
        libc::EINVAL,
        &format!("policy_invalid: {line}:{column}: "),
    )
}

fn before_anything(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    ensure!(
        stage::status()?.policy_version == 0,
        "a policy is loaded already"
    );
    ensure!(
        stage::status_line("policy")? == "none",
        "status says policy {}",
        stage::status_line("policy")?
    );
    ensure!(
        stage::running_policy()?.is_empty(),
        "a policy can be read before one is loaded"
    );
    let (errno, text) = match Agent::try_start("a", "early", 0, None)? {
        Ok(_) => return Err("an agent was labelled without a policy".to_string()),
        Err(refused) => refused,
    };
    ensure!(
        errno == libc::ENOENT && text.starts_with("no_policy: "),
        "labelling without a policy: {} {text}",
        errno_name(errno)
    );
    let seal = || stage::call(nl::SEAL, &Attributes::new());
    match seal() {
        Err(refused)
            if refused.text.starts_with("no_validators: ")
                || refused.text.starts_with("no_policy: ") => {}
        other => return Err(format!("sealing nothing: {other:?}")),
    }
    // With a validator, what is missing is the policy; and the other way round.
    stage::enrol(&Validator::test(1), 1).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "sealing without a policy",
        seal(),
        libc::ENOENT,
        "no_policy",
    )?;
    stage::remove("v1").map_err(|e| format!("{e:?}"))?;
    stage::load_body("first", GOOD)?;
    expect_refused(
        "sealing without validators",
        seal(),
        libc::ENOKEY,
        "no_validators",
    )?;
    stage::in_setup()
}

fn loads(_: &mut Ctx) -> Res {
    running()?;
    let dir = stage::fresh_dir("policy/loads")?;
    let body = format!(
        "# a comment\n\nclass a may=b,a # another\nclass b\nDEFAULT action=DENY\n\
         DEFAULT op=FILE_READ,EXEC action=ALLOW\n\top=FILE_WRITE class=a,b agent=x uid=0 path=\"{dir}\" action=AUDIT\n\
         op=NET_CONNECT addr=10.0.0.0/8 port=1-65535 action=ALLOW\nop=NET_BIND addr=::1 port=0 action=ALLOW\n\
         op=EXEC digest=sha256:{} action=DENY\n\
         op=MODULE_LOAD class=a,host action=QUORUM threshold=66.67% ttl=24h timeout=1m uses=65535 hold=10m\n\
         op=POLICY uid=0 action=QUORUM threshold=100%\nop=UNLOAD action=DENY\n",
        "0".repeat(64)
    );
    let text = stage::with_header("loads", &body)?;
    let version = stage::status()?.policy_version + 1;
    let line = load_text(text.as_bytes()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        line == format!("done policy loads {version}"),
        "the diagnostic is \"{line}\""
    );
    ensure!(
        stage::running_policy()? == text.as_bytes(),
        "what is read is not what was written"
    );
    let status = stage::status()?;
    let digest = crate::keys::sha256(&[text.as_bytes()]);
    ensure!(
        status.policy_name.as_deref() == Some("loads")
            && status.policy_version == version
            && status.policy_digest.as_deref() == Some(&digest[..]),
        "status: {status:?}"
    );
    let shown = stage::status_line("policy")?;
    ensure!(
        shown == format!("loads {version} {}", stage::hex(&digest)),
        "securityfs status shows policy {shown}"
    );
    Ok(())
}

fn bad_texts(_: &mut Ctx) -> Res {
    running()?;
    invalid(
        "an unknown key",
        "class a\nDEFAULT action=ALLOW\nop=EXEC colour=red action=DENY\n",
        4,
        9,
    )?;
    invalid(
        "an unknown operation",
        "class a\nDEFAULT action=ALLOW\nop=FLY action=DENY\n",
        4,
        4,
    )?;
    invalid("an unknown action", "DEFAULT action=MAYBE\n", 2, 16)?;
    invalid(
        "a key twice",
        "DEFAULT action=ALLOW\nop=EXEC op=EXEC action=DENY\n",
        3,
        9,
    )?;
    invalid(
        "an option without QUORUM",
        "DEFAULT action=ALLOW\nop=EXEC action=DENY ttl=5m\n",
        3,
        21,
    )?;
    invalid(
        "half a majority",
        "DEFAULT action=ALLOW\nop=EXEC action=QUORUM threshold=50%\n",
        3,
        33,
    )?;
    invalid(
        "more than everybody",
        "DEFAULT action=ALLOW\nop=EXEC action=QUORUM threshold=100.01%\n",
        3,
        33,
    )?;
    invalid(
        "no uses",
        "DEFAULT action=ALLOW\nop=EXEC action=QUORUM uses=0\n",
        3,
        28,
    )?;
    invalid(
        "a relative path",
        "DEFAULT action=ALLOW\nop=EXEC path=usr/bin action=DENY\n",
        3,
        14,
    )?;
    invalid(
        "an undeclared class",
        "DEFAULT action=ALLOW\nop=EXEC class=a action=DENY\n",
        3,
        15,
    )?;
    invalid(
        "the reserved class",
        "class host\nDEFAULT action=ALLOW\n",
        2,
        7,
    )?;
    invalid(
        "an address for a file",
        "DEFAULT action=ALLOW\nop=FILE_READ addr=10.0.0.1 action=DENY\n",
        3,
        14,
    )?;
    invalid(
        "a path for the network",
        "DEFAULT action=ALLOW\nop=NET_BIND path=/tmp action=DENY\n",
        3,
        13,
    )?;
    invalid(
        "a digest for a file",
        "DEFAULT action=ALLOW\nop=FILE_READ digest=sha256:00 action=DENY\n",
        3,
        14,
    )?;
    invalid(
        "a bad prefix",
        "DEFAULT action=ALLOW\nop=NET_BIND addr=10.0.0.0/33 action=DENY\n",
        3,
        18,
    )?;
    invalid(
        "a bad port",
        "DEFAULT action=ALLOW\nop=NET_BIND port=65536 action=DENY\n",
        3,
        18,
    )?;
    invalid(
        "a hold under a lock",
        "DEFAULT action=ALLOW\nop=FILE_CREATE action=QUORUM hold=1s\n",
        3,
        35,
    )?;
    invalid(
        "a second header",
        "policy_name=x policy_version=9\nDEFAULT action=ALLOW\n",
        2,
        1,
    )?;
    // A DEFAULT is missing: nothing on a line is wrong, so the end of the text is.
    for (what, body) in [
        ("no DEFAULT", "class a\nop=EXEC action=DENY\n"),
        (
            "no DEFAULT for most",
            "class a\nDEFAULT op=EXEC action=DENY\n",
        ),
    ] {
        refused(
            what,
            stage::with_header("bad", body)?.as_bytes(),
            libc::EINVAL,
            "policy_invalid: 4:1: ",
        )?;
    }
    for (what, text) in [
        ("nothing but a newline", "\n"),
        ("no header", "class a\nDEFAULT action=ALLOW\n"),
        ("no version", "policy_name=x\nDEFAULT action=ALLOW\n"),
        ("version 0", "policy_name=x policy_version=0\nDEFAULT action=ALLOW\n"),
        ("a version beyond 2^63 - 1", "policy_name=x policy_version=9223372036854775808\nDEFAULT action=ALLOW\n"),
        ("a bad name", "policy_name=x/y policy_version=9\nDEFAULT action=ALLOW\n"),
        ("a long name", "policy_name=abcdefghijklmnopqrstuvwxyz0123456 policy_version=9\nDEFAULT action=ALLOW\n"),
        ("a control character", "policy_name=x policy_version=99\nDEFAULT action=ALLOW \x07\n"),
        ("a zero byte", "policy_name=x policy_version=99\nDEFAULT action=ALLOW\n\0\n"),
    ] {
        refused(what, text.as_bytes(), libc::EINVAL, "policy_invalid: ")?;
    }
    stage::load_body("good", GOOD)
}

fn missing_path(_: &mut Ctx) -> Res {
    running()?;
    let body = "class a\nDEFAULT action=ALLOW\nop=FILE_WRITE path=/no/such/file action=DENY\n";
    refused(
        "a path that does not exist",
        stage::with_header("bad", body)?.as_bytes(),
        libc::ENOENT,
        "policy_path: 4:20: ",
    )?;
    let body = "class a\nlabel exec=/no/such/program class=a\nDEFAULT action=ALLOW\n";
    refused(
        "a program that does not exist",
        stage::with_header("bad", body)?.as_bytes(),
        libc::ENOENT,
        "policy_path: 3:12: ",
    )
}

fn not_utf8(_: &mut Ctx) -> Res {
    running()?;
    let mut text = stage::with_header("bad", "DEFAULT action=ALLOW\n# fine\n")?.into_bytes();
    text.extend(b"# \xff\xfe\n");
    refused(
        "bytes that are not UTF-8",
        &text,
        libc::EINVAL,
        "policy_invalid: 4:3: ",
    )
}

fn too_long(_: &mut Ctx) -> Res {
    let before = running()?;
    for len in [262_145, 1 << 20, 16 << 20] {
        let mut text = stage::with_header("long", GOOD)?.into_bytes();
        text.resize(len - 1, b'#');
        text.push(b'\n');
        let refused = load_text(&text)
            .err()
            .ok_or_else(|| format!("{len} bytes were taken"))?;
        expect_errno(&format!("{len} bytes"), refused.errno, libc::EFBIG)?;
        ensure!(
            stage::running_policy()? == before,
            "{len} bytes changed the policy"
        );
    }
    // Exactly the limit is taken.
    let mut text = stage::with_header("long", GOOD)?.into_bytes();
    text.resize(262_143, b'#');
    text.push(b'\n');
    load_text(&text).map_err(|e| format!("262144 bytes: {e:?}"))?;
    ensure!(
        stage::running_policy()? == text,
        "262144 bytes read back differently"
    );
    Ok(())
}

fn too_many(_: &mut Ctx) -> Res {
    running()?;
    let rules = |count: usize| "op=EXEC uid=7 action=DENY\n".repeat(count);
    let text = stage::with_header("many", &format!("{GOOD}{}", rules(4097)))?;
    refused("4097 rules", text.as_bytes(), libc::E2BIG, "policy_limit: ")?;
    stage::load_body("many", &format!("{GOOD}{}", rules(4096)))?;
    let dir = stage::fresh_dir("policy/many")?;
    for n in 0..2049 {
        fs::write(format!("{dir}/{n}"), "").map_err(|e| e.to_string())?;
    }
    let paths = |count: usize| -> String {
        (0..count)
            .map(|n| format!("op=EXEC path={dir}/{n} action=DENY\n"))
            .collect()
    };
    let text = stage::with_header("many", &format!("{GOOD}{}", paths(2049)))?;
    refused("2049 paths", text.as_bytes(), libc::E2BIG, "policy_limit: ")?;
    stage::load_body("many", &format!("{GOOD}{}", paths(2048)))?;
    let long = format!("{GOOD}op=EXEC path=/{} action=DENY\n", "p".repeat(1024));
    let failed = load_text(stage::with_header("many", &long)?.as_bytes())
        .err()
        .ok_or("a path of 1025 bytes was taken")?;
    ensure!(
        failed.errno == libc::E2BIG && failed.line.starts_with("policy_limit: "),
        "a path of 1025 bytes: {failed:?}"
    );
    let classes: String = (0..65).map(|n| format!("class c{n}\n")).collect();
    let text = stage::with_header("many", &format!("{classes}DEFAULT action=ALLOW\n"))?;
    refused("65 classes", text.as_bytes(), libc::E2BIG, "policy_limit: ")
}

fn version(_: &mut Ctx) -> Res {
    running()?;
    stage::load_body("version", GOOD)?;
    let now = stage::status()?.policy_version;
    for version in [now, now - 1] {
        let text = format!("policy_name=version policy_version={version}\n{GOOD}");
        refused(
            &format!("version {version} after {now}"),
            text.as_bytes(),
            libc::ESTALE,
            "policy_version: ",
        )?;
    }
    // Another name is no way round it.
    let text = format!("policy_name=another policy_version={now}\n{GOOD}");
    refused(
        "the same version under another name",
        text.as_bytes(),
        libc::ESTALE,
        "policy_version: ",
    )?;
    // A leap is allowed.
    let text = format!("policy_name=version policy_version={}\n{GOOD}", now + 100);
    load_text(text.as_bytes()).map_err(|e| format!("{e:?}"))?;
    Ok(())
}

fn truncations(_: &mut Ctx) -> Res {
    let before = running()?;
    // The last line carries the DEFAULT, so that no shorter text is a policy.
    let text = stage::with_header(
        "torn",
        "class a\nop=EXEC class=a action=DENY\nDEFAULT action=ALLOW\n",
    )?;
    for len in 1..text.len() {
        match load_text(&text.as_bytes()[..len]) {
            Err(refused) => check_refusal(
                &format!("{len} bytes of it"),
                &refused,
                libc::EINVAL,
                "policy_invalid: ",
            )?,
            Ok(line) => return Err(format!("{len} of {} bytes were taken: {line}", text.len())),
        }
    }
    ensure!(
        stage::running_policy()? == before,
        "a torn text changed the policy"
    );
    load_text(text.as_bytes()).map_err(|e| format!("the whole text: {e:?}"))?;
    Ok(())
}

fn open_policy() -> Res<fs::File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("{}/policy", stage::SECURITYFS))
        .map_err(|e| format!("policy: {e}"))
}

fn second_write(_: &mut Ctx) -> Res {
    running()?;
    let mut file = open_policy()?;
    let first = stage::with_header("one", GOOD)?;
    expect_errno(
        "the first write",
        worker::errno_of(&file.write(first.as_bytes())),
        0,
    )?;
    let second = stage::with_header("two", GOOD)?;
    expect_errno(
        "the second write",
        worker::errno_of(&file.write(second.as_bytes())),
        libc::EINVAL,
    )?;
    ensure!(
        stage::running_policy()? == first.as_bytes(),
        "the second write took effect"
    );
    // After a refused first one too.
    let mut file = open_policy()?;
    expect_errno(
        "a refused write",
        worker::errno_of(&file.write(b"nonsense\n")),
        libc::EINVAL,
    )?;
    expect_errno(
        "the next write",
        worker::errno_of(&file.write(second.as_bytes())),
        libc::EINVAL,
    )?;
    ensure!(
        stage::running_policy()? == first.as_bytes(),
        "a write after a refused one took effect"
    );
    Ok(())
}

fn offset(_: &mut Ctx) -> Res {
    let before = running()?;
    let text = stage::with_header("offset", GOOD)?;
    for at in [1, 4096, i64::MAX as u64 - 4096] {
        let file = open_policy()?;
        let result = file.write_at(text.as_bytes(), at);
        expect_errno(
            &format!("pwrite at {at}"),
            worker::errno_of(&result),
            libc::EINVAL,
        )?;
    }
    let mut file = open_policy()?;
    if file.seek(SeekFrom::Start(7)).is_ok() {
        expect_errno(
            "write after lseek",
            worker::errno_of(&file.write(text.as_bytes())),
            libc::EINVAL,
        )?;
    }
    ensure!(
        stage::running_policy()? == before,
        "a write at an offset took effect"
    );
    Ok(())
}

fn unreadable(_: &mut Ctx) -> Res {
    let before = running()?;
    let text = stage::with_header("fault", GOOD)?;
    // Two pages of which the second cannot be read; the text ends in it.
    // SAFETY: A new mapping disturbs none.
    let pages = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    ensure!(pages != libc::MAP_FAILED, "mmap failed");
    let pages: *mut u8 = pages.cast();
    let file = open_policy()?;
    // SAFETY: The first page is writable, and the text is shorter than a page.
    let start = unsafe {
        let start = pages.add(4096 - text.len() / 2);
        std::ptr::copy_nonoverlapping(text.as_ptr(), start, text.len() / 2);
        libc::mprotect(pages.add(4096).cast(), 4096, libc::PROT_NONE);
        start
    };
    // SAFETY: The kernel checks what it reads.
    let result = unsafe { libc::write(file.as_raw_fd(), start.cast(), text.len()) };
    expect_errno(
        "a text that ends in unreadable memory",
        worker::outcome(result as i64),
        libc::EFAULT,
    )?;
    let file = open_policy()?;
    // SAFETY: As above.
    let result = unsafe {
        libc::write(
            file.as_raw_fd(),
            std::ptr::without_provenance(8),
            text.len(),
        )
    };
    expect_errno(
        "a text at an address without memory",
        worker::outcome(result as i64),
        libc::EFAULT,
    )?;
    ensure!(
        stage::running_policy()? == before,
        "unreadable memory changed the policy"
    );
    load_text(text.as_bytes()).map_err(|e| format!("the same text, readable: {e:?}"))?;
    Ok(())
}

fn snapshot(_: &mut Ctx) -> Res {
    let before = running()?;
    let mut reader =
        fs::File::open(format!("{}/policy", stage::SECURITYFS)).map_err(|e| e.to_string())?;
    let mut first = [0; 5];
    reader.read_exact(&mut first).map_err(|e| e.to_string())?;
    stage::load_body(
        "after",
        &format!("{GOOD}# much longer than what was there before, so that a mixture would show\n"),
    )?;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).map_err(|e| e.to_string())?;
    ensure!(
        [&first[..], &rest].concat() == before,
        "a reader saw a mixture of two policies"
    );
    ensure!(
        stage::running_policy()? != before,
        "the new policy is not running"
    );
    // pread works on the snapshot.
    let mut middle = [0; 4];
    reader
        .read_exact_at(&mut middle, 3)
        .map_err(|e| e.to_string())?;
    ensure!(before[3..7] == middle, "pread gives {middle:?}");
    Ok(())
}

fn governance(_: &mut Ctx) -> Res {
    running()?;
    for op in ["POLICY", "VALIDATOR", "MODE", "UNLOAD"] {
        for action in ["ALLOW", "AUDIT"] {
            let column = u32::try_from(op.len() + 12).unwrap_or(0);
            invalid(
                &format!("{op} {action}"),
                &format!("DEFAULT action=DENY\nop={op} action={action}\n"),
                3,
                column,
            )?;
        }
        refused(
            &format!("{op} for a class"),
            stage::with_header(
                "bad",
                &format!("class a\nDEFAULT action=DENY\nop={op} class=a action=QUORUM\n"),
            )?
            .as_bytes(),
            libc::EINVAL,
            "policy_invalid: 4:",
        )?;
        refused(
            &format!("{op} together with EXEC"),
            stage::with_header(
                "bad",
                &format!("DEFAULT action=DENY\nop=EXEC,{op} action=ALLOW\n"),
            )?
            .as_bytes(),
            libc::EINVAL,
            "policy_invalid: 3:",
        )?;
    }
    Ok(())
}

fn classes(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    stage::load_body("classes", "class a may=b\nclass b\nDEFAULT action=ALLOW\n")?;
    for (class, name, errno, code) in [
        ("c", "x", libc::ENOENT, "class_unknown: "),
        ("host", "x", libc::ENOENT, "class_unknown: "),
        ("a", "", libc::EINVAL, ""),
        ("a", "x y", libc::EINVAL, "agent_name: "),
        ("a", "a/b", libc::EINVAL, "agent_name: "),
    ] {
        match Agent::try_start(class, name, 0, None)? {
            Ok(_) => return Err(format!("an agent \"{name}\" of class {class} was labelled")),
            Err((got, text)) => ensure!(
                got == errno && text.starts_with(code),
                "agent \"{name}\" of class {class}: {} {text}",
                errno_name(got)
            ),
        }
    }
    let mut a = Agent::start("a")?;
    let (errno, text) = a.ask(&["netlink", "8", "label", "a"])?;
    ensure!(
        errno == libc::EPERM && text.starts_with("class_forbidden: "),
        "a starts an a: {} {text}",
        errno_name(errno)
    );
    a.expect(0, &["netlink", "8", "label", "b"])?;
    let (errno, text) = a.ask(&["netlink", "8", "label", "b"])?;
    ensure!(
        errno == libc::EPERM && text.starts_with("class_forbidden: "),
        "b starts a b: {} {text}",
        errno_name(errno)
    );
    a.end()
}

fn dropped_class(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    let dir = stage::fresh_dir("policy/dropped")?;
    stage::make_file(&format!("{dir}/file"), "")?;
    let path = format!("{dir}/file");
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("{e:?}"))?;
    stage::load_body(
        "with",
        "class a\nclass b\nDEFAULT action=ALLOW\nop=FILE_WRITE class=b action=DENY\n",
    )?;
    let mut agent = Agent::start("a")?;
    agent.expect(0, &["append", &path])?;
    // The class is gone: rules with a class match no more, those without one and the DEFAULT do. The same place in the list
    // of classes now means another class.
    stage::load_body("without", "class b\nDEFAULT action=DENY\nop=FILE_WRITE class=b action=ALLOW\nop=FILE_READ action=ALLOW\n")?;
    agent.expect(libc::EACCES, &["append", &path])?;
    agent.expect(0, &["read", &path])?;
    stage::load_body(
        "again",
        "class a\nDEFAULT action=DENY\nop=FILE_WRITE class=a action=ALLOW\n",
    )?;
    agent.expect(0, &["append", &path])?;
    agent.end()
}

// --- validators -----------------------------------------------------------------------------------

fn add(name: &str, key: &[u8], weight: u32) -> Result<crate::client::Reply, Refused> {
    stage::call(
        nl::VALIDATOR_ADD,
        &stage::validator_attributes(name, key, weight),
    )
}

fn no_validators() -> Res {
    stage::in_setup()?;
    stage::electorate(0)
}

fn count(want: usize) -> Res {
    let all = stage::dump(nl::VALIDATOR_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        all.len() == want,
        "{} validators are enrolled, not {want}",
        all.len()
    );
    Ok(())
}

fn bad_keys(_: &mut Ctx) -> Res {
    no_validators()?;
    let good = Validator::test(1).point();
    let mut off_curve = good;
    off_curve[64] ^= 1;
    let mut compressed = good;
    compressed[0] = 2;
    let mut hybrid = good;
    hybrid[0] = 6;
    let mut beyond = good;
    beyond[1..33].fill(0xff);
    let mut infinity = [0; 65];
    infinity[0] = 4;
    // The generator of another curve, secp256k1.
    let k1 = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
              483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
    let mut other_curve = [0; 65];
    other_curve[0] = 4;
    for (at, byte) in other_curve[1..].iter_mut().enumerate() {
        *byte = u8::from_str_radix(&k1[2 * at..2 * at + 2], 16).map_err(|e| e.to_string())?;
    }
    for (what, key) in [
        ("a point off the curve", off_curve),
        ("a compressed tag", compressed),
        ("a hybrid tag", hybrid),
        ("a coordinate beyond the field", beyond),
        ("zeros", infinity),
        ("a point of secp256k1", other_curve),
    ] {
        expect_refused(what, add("v", &key, 1), libc::EKEYREJECTED, "validator_key")?;
    }
    count(0)?;
    add("v", &good, 1).map_err(|e| format!("the good key: {e:?}"))?;
    count(1)
}

fn validator_twice(_: &mut Ctx) -> Res {
    no_validators()?;
    let (one, two) = (Validator::test(1).point(), Validator::test(2).point());
    add("one", &one, 1).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "the key again",
        add("two", &one, 1),
        libc::EEXIST,
        "validator_duplicate",
    )?;
    expect_refused(
        "the name again",
        add("one", &two, 1),
        libc::EEXIST,
        "validator_duplicate",
    )?;
    count(1)?;
    expect_refused(
        "removing nobody",
        stage::remove("two"),
        libc::ENOENT,
        "validator_unknown",
    )?;
    stage::remove("one").map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "removing it again",
        stage::remove("one"),
        libc::ENOENT,
        "validator_unknown",
    )?;
    count(0)
}

fn bad_names(_: &mut Ctx) -> Res {
    no_validators()?;
    let key = Validator::test(1).point();
    for name in ["a b", "a/b", "ä", "a\nb", "\"", "a:b"] {
        expect_refused(
            &format!("name {name:?}"),
            add(name, &key, 1),
            libc::EINVAL,
            "validator_name",
        )?;
    }
    match add("", &key, 1) {
        Err(refused) if refused.errno == libc::EINVAL => {}
        other => return Err(format!("an empty name: {other:?}")),
    }
    // Longer than the attribute allows: the netlink layer itself refuses it.
    match add(&"n".repeat(33), &key, 1) {
        Err(refused) if [libc::EINVAL, libc::ERANGE].contains(&refused.errno) => {}
        other => return Err(format!("a name of 33 bytes: {other:?}")),
    }
    count(0)?;
    add(&"n".repeat(32), &key, 1).map_err(|e| format!("a name of 32 bytes: {e:?}"))?;
    count(1)
}

fn bad_weights(_: &mut Ctx) -> Res {
    no_validators()?;
    let key = |n| Validator::test(n).point();
    expect_refused(
        "weight 0",
        add("one", &key(1), 0),
        libc::ERANGE,
        "validator_weight",
    )?;
    add("one", &key(1), u32::MAX - 1).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "2 beyond the sum",
        add("two", &key(2), 2),
        libc::ERANGE,
        "validator_weight",
    )?;
    expect_refused(
        "far beyond the sum",
        add("two", &key(2), u32::MAX),
        libc::ERANGE,
        "validator_weight",
    )?;
    add("two", &key(2), 1).map_err(|e| format!("up to the sum: {e:?}"))?;
    ensure!(
        stage::status()?.total == u64::from(u32::MAX),
        "the total is {}",
        stage::status()?.total
    );
    expect_refused(
        "one beyond the sum",
        add("three", &key(3), 1),
        libc::ERANGE,
        "validator_weight",
    )?;
    count(2)?;
    no_validators()
}

fn validator_limit(_: &mut Ctx) -> Res {
    no_validators()?;
    // Slots are used up for good, so this comes last; the tests before it took some.
    let mut enrolled = 0;
    let refused = loop {
        let validator = Validator::test(1000 + enrolled);
        match stage::enrol(&validator, 1) {
            Ok(_) => enrolled += 1,
            Err(refused) => break refused,
        }
        ensure!(enrolled <= 128, "129 validators are enrolled");
    };
    ensure!(
        refused.errno == libc::ENOSPC && refused.text.starts_with("validator_limit: "),
        "after {enrolled}: {refused:?}"
    );
    ensure!(enrolled > 100, "only {enrolled} could be enrolled");
    count(enrolled as usize)?;
    no_validators()
}

// --- netlink --------------------------------------------------------------------------------------

/// Sends raw bytes as the attributes of a command; the refusal's errno and text, errno 0 for success.
fn raw(command: u8, flags: u16, payload: &[u8]) -> Res<(i32, String)> {
    let mut client = stage::open()?;
    client
        .send(command, flags, payload)
        .map_err(|e| format!("send: {e:?}"))?;
    Ok(match client.receive() {
        Ok(_) => (0, String::new()),
        Err(refused) => (refused.errno, refused.text),
    })
}

fn missing_attributes(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    let key = Validator::test(1).point();
    let mut cases: Vec<(&str, u8, Attributes)> = Vec::new();
    for (what, command) in [
        ("validator-add without attributes", nl::VALIDATOR_ADD),
        ("validator-remove without attributes", nl::VALIDATOR_REMOVE),
        ("mode-set without attributes", nl::MODE_SET),
        ("agent-label without attributes", nl::AGENT_LABEL),
        ("request-get without attributes", nl::REQUEST_GET),
        ("request-cancel without attributes", nl::REQUEST_CANCEL),
        ("vote-submit without attributes", nl::VOTE_SUBMIT),
        ("grant-revoke without attributes", nl::GRANT_REVOKE),
        ("state-commit without attributes", nl::STATE_COMMIT),
        ("evidence-submit without attributes", nl::EVIDENCE_SUBMIT),
        ("validator-readmit without a name", nl::VALIDATOR_READMIT),
    ] {
        cases.push((what, command, Attributes::new()));
    }
    let mut no_key = Attributes::new();
    no_key.string(nl::A_VALIDATOR_NAME, "x");
    no_key.u32(nl::A_VALIDATOR_WEIGHT, 1);
    cases.push(("validator-add without a key", nl::VALIDATOR_ADD, no_key));
    let mut no_name = Attributes::new();
    no_name.bytes(nl::A_VALIDATOR_KEY, &key);
    no_name.u32(nl::A_VALIDATOR_WEIGHT, 1);
    cases.push(("validator-add without a name", nl::VALIDATOR_ADD, no_name));
    let mut no_weight = Attributes::new();
    no_weight.string(nl::A_VALIDATOR_NAME, "x");
    no_weight.bytes(nl::A_VALIDATOR_KEY, &key);
    cases.push((
        "validator-add without a weight",
        nl::VALIDATOR_ADD,
        no_weight,
    ));
    let mut no_class = Attributes::new();
    no_class.string(nl::A_AGENT_NAME, "x");
    cases.push(("agent-label without a class", nl::AGENT_LABEL, no_class));
    for mode in [0, 3, u32::MAX] {
        let mut attributes = Attributes::new();
        attributes.u32(nl::A_MODE, mode);
        cases.push(("an unknown mode", nl::MODE_SET, attributes));
    }
    for (what, command, attributes) in cases {
        let (errno, text) = raw(command, DO, &attributes.0)?;
        let by_policy = what == "an unknown mode" && [libc::EINVAL, libc::ERANGE].contains(&errno);
        ensure!(
            by_policy || errno == libc::EINVAL && text.starts_with("attribute_missing: "),
            "{what}: {} {text}",
            errno_name(errno)
        );
    }
    ensure!(
        worker_is_unlabelled()?,
        "agent-label without a class labelled this task"
    );
    Ok(())
}

fn worker_is_unlabelled() -> Res<bool> {
    Ok(stage::content(&format!("{}/self", stage::SECURITYFS))?.trim() == "agent none")
}

fn wrong_lengths(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    // Attributes of a fixed length, shorter and longer by one: refused by the netlink layer's policy.
    for (what, command, kind, length) in [
        ("request-id", nl::REQUEST_GET, nl::A_REQUEST_ID, 32),
        ("request-id", nl::REQUEST_CANCEL, nl::A_REQUEST_ID, 32),
        ("request-id", nl::GRANT_REVOKE, nl::A_REQUEST_ID, 32),
        ("validator-key", nl::VALIDATOR_ADD, nl::A_VALIDATOR_KEY, 65),
        ("state-digest", nl::STATE_COMMIT, nl::A_STATE_DIGEST, 32),
        ("mode", nl::MODE_SET, nl::A_MODE, 4),
        (
            "validator-weight",
            nl::VALIDATOR_ADD,
            nl::A_VALIDATOR_WEIGHT,
            4,
        ),
        ("event-number", nl::EVENT_GET, nl::A_EVENT_NUMBER, 8),
    ] {
        for len in [0, length - 1, length + 1] {
            let mut attributes = Attributes::new();
            attributes.bytes(kind, &vec![1; len]);
            let flags = if command == nl::EVENT_GET { DUMP } else { DO };
            let (errno, text) = raw(command, flags, &attributes.0)?;
            ensure!(
                [libc::EINVAL, libc::ERANGE].contains(&errno),
                "{what} of {len} bytes: {} {text}",
                errno_name(errno)
            );
        }
    }
    for (what, command, kind, len) in [
        ("vote", nl::VOTE_SUBMIT, nl::A_VOTE, 2049),
        ("vote", nl::VOTE_SUBMIT, nl::A_VOTE, 60_000),
        ("evidence", nl::EVIDENCE_SUBMIT, nl::A_EVIDENCE, 3120),
        ("agent-class", nl::AGENT_LABEL, nl::A_AGENT_CLASS, 33),
        (
            "validator-name",
            nl::VALIDATOR_REMOVE,
            nl::A_VALIDATOR_NAME,
            4000,
        ),
    ] {
        let mut attributes = Attributes::new();
        attributes.bytes(kind, &vec![b'x'; len]);
        let (errno, text) = raw(command, DO, &attributes.0)?;
        ensure!(
            [libc::EINVAL, libc::ERANGE].contains(&errno),
            "{what} of {len} bytes: {} {text}",
            errno_name(errno)
        );
    }
    // A string with a zero byte in the middle is not the string before it.
    stage::electorate(0)?;
    stage::enrol(&Validator::test(1), 1).map_err(|e| format!("{e:?}"))?;
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_VALIDATOR_NAME, b"v1\0x\0");
    let (errno, text) = raw(nl::VALIDATOR_REMOVE, DO, &attributes.0)?;
    ensure!(
        errno == libc::EINVAL || errno == libc::ENOENT,
        "a name with a zero byte: {} {text}",
        errno_name(errno)
    );
    count(1)?;
    no_validators()
}

fn unknown_attributes(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    for kind in [80, 81, 100, 0x3fff] {
        let mut attributes = Attributes::new();
        attributes.u32(kind, 1);
        let (errno, text) = raw(nl::STATUS, DO, &attributes.0)?;
        expect_errno(&format!("attribute {kind} ({text})"), errno, libc::EINVAL)?;
    }
    for command in [0, 16, 24, 100, 255] {
        let (errno, _) = raw(command, DO, &[])?;
        expect_errno(&format!("command {command}"), errno, libc::EOPNOTSUPP)?;
    }
    // A command that can only be dumped, and one that cannot.
    for (what, command, flags) in [
        ("validator-get without dump", nl::VALIDATOR_GET, DO),
        ("dump of status", nl::STATUS, DUMP),
        ("dump of seal", nl::SEAL, DUMP),
    ] {
        expect_errno(what, raw(command, flags, &[])?.0, libc::EOPNOTSUPP)?;
    }
    stage::in_setup()
}

fn nested(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    // Nests inside nests, in an attribute that is one and in one that is not, with and without the flag of a nest.
    for kind in [nl::A_COUNTER, nl::A_VOTE, nl::A_REQUEST_ID] {
        for flag in [0, 0x8000] {
            let mut inner = Attributes::new();
            inner.u32(2, 1);
            for _ in 0..40 {
                let mut outer = Attributes::new();
                outer.bytes(kind | flag, &inner.0);
                inner = outer;
            }
            for command in [nl::STATUS, nl::VOTE_SUBMIT, nl::REQUEST_GET] {
                let (errno, text) = raw(command, DO, &inner.0)?;
                // In an attribute of bytes, nests are bytes: of a vote, and not one.
                let as_bytes = flag == 0 && kind == nl::A_VOTE && command == nl::VOTE_SUBMIT;
                ensure!(
                    [libc::EINVAL, libc::ERANGE].contains(&errno)
                        || as_bytes && errno == libc::EPROTO,
                    "40 nests of attribute {kind:#x} to command {command}: {} {text}",
                    errno_name(errno)
                );
            }
        }
    }
    stage::status().map(|_| ())
}

fn torn(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    let mut client = stage::open()?;
    let family = client.family;
    let header = |length: u32, sequence: u32| {
        let mut out = length.to_ne_bytes().to_vec();
        out.extend(family.to_ne_bytes());
        out.extend(DO.to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out
    };
    // A message without its generic netlink header is refused; one whose length is impossible is not even answered.
    let mut short = header(16, 1);
    client.send_raw(&short).map_err(|e| format!("{e:?}"))?;
    short = header(18, 2);
    short.extend([nl::SEAL, 1, 0, 0]);
    client.send_raw(&short).map_err(|e| format!("{e:?}"))?;
    for length in [0, 15, 21, u32::MAX] {
        let mut bad = header(length, 3);
        bad.extend([nl::SEAL, 1, 0, 0]);
        // The kernel may refuse it at the call or ignore it.
        let _ = client.send_raw(&bad);
    }
    stage::in_setup()?;
    // Attributes that say more than there is, or less than a header.
    for length in [0u16, 1, 3, 200, u16::MAX] {
        let mut attribute = length.to_ne_bytes().to_vec();
        attribute.extend(nl::A_VALIDATOR_NAME.to_ne_bytes());
        let (errno, text) = raw(nl::VALIDATOR_REMOVE, DO, &attribute)?;
        expect_errno(
            &format!("an attribute of length {length} ({text})"),
            errno,
            libc::EINVAL,
        )?;
    }
    // A string without its zero byte, and the same with it, which is the name of nobody.
    for (bytes, want) in [(&b"x"[..], libc::EINVAL), (b"x\0", libc::ENOENT)] {
        let mut attributes = Attributes::new();
        attributes.bytes(nl::A_VALIDATOR_NAME, bytes);
        let (errno, text) = raw(nl::VALIDATOR_REMOVE, DO, &attributes.0)?;
        expect_errno(&format!("the string {bytes:?} ({text})"), errno, want)?;
    }
    for len in 1..4 {
        let (errno, text) = raw(nl::STATUS, DO, &[1, 0, 0][..len])?;
        expect_errno(
            &format!("{len} bytes after the header ({text})"),
            errno,
            libc::EINVAL,
        )?;
    }
    // The module still answers on a new socket.
    stage::status().map(|_| ())
}

fn privilege(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    stage::electorate(1)?;
    let mut name = Attributes::new();
    name.string(nl::A_VALIDATOR_NAME, "v1");
    let mut mode = Attributes::new();
    mode.u32(nl::A_MODE, nl::PERMISSIVE);
    let mut id = Attributes::new();
    id.bytes(nl::A_REQUEST_ID, &[1; 32]);
    let mut digest = Attributes::new();
    digest.bytes(nl::A_STATE_DIGEST, &[1; 32]);
    let cases = [
        (
            "validator-add",
            nl::VALIDATOR_ADD,
            false,
            stage::validator_attributes("x", &Validator::test(2).point(), 1),
        ),
        (
            "validator-remove",
            nl::VALIDATOR_REMOVE,
            false,
            name.clone(),
        ),
        ("validator-readmit", nl::VALIDATOR_READMIT, false, name),
        ("seal", nl::SEAL, false, Attributes::new()),
        ("mode-set", nl::MODE_SET, false, mode),
        ("unload", nl::UNLOAD, false, Attributes::new()),
        ("state-stage", nl::STATE_STAGE, false, Attributes::new()),
        ("state-commit", nl::STATE_COMMIT, false, digest),
        ("state-discard", nl::STATE_DISCARD, false, Attributes::new()),
        ("state-recover", nl::STATE_RECOVER, false, Attributes::new()),
        ("request-cancel", nl::REQUEST_CANCEL, false, id.clone()),
        ("grant-revoke", nl::GRANT_REVOKE, false, id),
        ("validator-get", nl::VALIDATOR_GET, true, Attributes::new()),
        ("agent-get", nl::AGENT_GET, true, Attributes::new()),
        ("grant-get", nl::GRANT_GET, true, Attributes::new()),
        ("event-get", nl::EVENT_GET, true, Attributes::new()),
    ];
    for (what, command, dump, attributes) in &cases {
        for in_namespace in [false, true] {
            let lines = worker::in_child(40_000, || {
                if in_namespace {
                    // Every capability, in a user namespace of its own.
                    // SAFETY: No pointers are passed.
                    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
                        return vec!["skipped".to_string()];
                    }
                }
                let result = if *dump {
                    stage::dump(*command, attributes).map(|_| ())
                } else {
                    stage::call(*command, attributes).map(|_| ())
                };
                vec![match result {
                    Ok(()) => "done".to_string(),
                    Err(refused) => format!("{} {}", refused.errno, refused.text),
                }]
            })?;
            let line = lines.first().cloned().unwrap_or_default();
            ensure!(
                line.starts_with("1 not_permitted: ") || in_namespace && line == "skipped",
                "{what} of an unprivileged user (own user namespace: {in_namespace}): {line}"
            );
        }
    }
    // What needs no privilege works.
    let lines = worker::in_child(40_000, || {
        vec![format!(
            "{} {} {}",
            stage::status().is_ok(),
            stage::dump(nl::REQUEST_GET, &Attributes::new()).is_ok(),
            stage::dump(nl::EVIDENCE_GET, &Attributes::new()).is_ok()
        )]
    })?;
    ensure!(
        lines == ["true true true"],
        "status, request-get and evidence-get of an unprivileged user: {lines:?}"
    );
    // Nobody but root may listen to the events, and root may.
    let lines = worker::in_child(40_000, || {
        vec![
            match Client::open().and_then(|client| client.join_events()) {
                Ok(()) => "joined".to_string(),
                Err(refused) => refused.errno.to_string(),
            },
        ]
    })?;
    ensure!(
        lines == [libc::EPERM.to_string()],
        "an unprivileged user listens to events: {lines:?}"
    );
    stage::open()?
        .join_events()
        .map_err(|e| format!("root listens: {e:?}"))?;
    stage::in_setup()
}

fn securityfs(_: &mut Ctx) -> Res {
    running()?;
    let node = |name: &str| format!("{}/{name}", stage::SECURITYFS);
    for (name, open) in [
        ("version", true),
        ("status", true),
        ("self", true),
        ("policy", false),
        ("validators", false),
        ("events", false),
        ("requests", false),
        ("state", false),
    ] {
        ensure!(
            !stage::content(&node(name))?.is_empty()
                || ["requests", "validators", "state"].contains(&name),
            "{name} is empty"
        );
        let errno = worker::errno_as(40_001, || worker::errno_of(&fs::read(node(name))))?;
        expect_errno(
            &format!("{name} for an unprivileged user"),
            errno,
            if open { 0 } else { libc::EACCES },
        )?;
        if name != "policy" && name != "state" {
            let result = OpenOptions::new()
                .write(true)
                .open(node(name))
                .and_then(|mut f| f.write(b"x"));
            ensure!(result.is_err(), "{name} can be written");
        }
    }
    // The rights are the opener's: opened by root and inherited by another user, it can be read.
    let opened = fs::File::open(node("policy")).map_err(|e| e.to_string())?;
    let errno = worker::errno_as(40_001, || {
        worker::errno_of(&opened.read_at(&mut [0; 16], 0))
    })?;
    expect_errno("a policy that root opened, read by another user", errno, 0)?;
    // Seeking in a snapshot.
    let mut file = fs::File::open(node("status")).map_err(|e| e.to_string())?;
    let whole = stage::reread(&mut file).map_err(|e| e.to_string())?;
    let mut part = vec![0; 10];
    file.read_exact_at(&mut part, 2)
        .map_err(|e| e.to_string())?;
    ensure!(
        whole.as_bytes().get(2..12) == Some(&part[..]),
        "pread of status gives {part:?}"
    );
    let n = file
        .read_at(&mut part, 1 << 40)
        .map_err(|e| e.to_string())?;
    ensure!(n == 0, "pread far behind the end gives {n} bytes");
    Ok(())
}

// --- the policies to start from -------------------------------------------------------------------

const CODER: &str = include_str!("../../../policies/workstation-coder.policy");
const BUILDER: &str = include_str!("../../../policies/ci-builder.policy");
const OPERATOR: &str = include_str!("../../../policies/server-operator.policy");

/// Loads a policy as it is but for its version.
fn starter(text: &str, dirs: &[&str]) -> Res {
    stage::in_setup()?;
    for dir in dirs {
        fs::create_dir_all(dir).map_err(|e| format!("{dir}: {e}"))?;
    }
    let shadow = "/etc/shadow";
    if fs::metadata(shadow).is_err() {
        fs::write(shadow, "root:*:::::::\n").map_err(|e| e.to_string())?;
    }
    stage::electorate(4)?;
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("{e:?}"))?;
    ensure!(
        text.contains("policy_version=1\n"),
        "a policy to start from begins at version 1"
    );
    let version = stage::status()?.policy_version + 1;
    let text = text.replacen(
        "policy_version=1\n",
        &format!("policy_version={version}\n"),
        1,
    );
    load_text(text.as_bytes()).map_err(|e| format!("{} {}", errno_name(e.errno), e.line))?;
    Ok(())
}

/// Each of these must end so for the agent.
fn table(agent: &mut Agent, rows: &[(i32, &[&str])]) -> Res {
    for (errno, words) in rows {
        agent.expect(*errno, words)?;
    }
    Ok(())
}

const DENIED: i32 = libc::EACCES;

/// A file that an agent may read but not change, and copies of a program where it may and may not run one.
fn furnish(dirs: &[&str]) -> Res {
    for dir in dirs {
        stage::make_file(&format!("{dir}/file"), "text")?;
        let program = format!("{dir}/program");
        fs::copy("/usr/bin/true", &program).map_err(|e| format!("{program}: {e}"))?;
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn clean(dir: &str) {
    for name in ["new", "moved", "dir", "link", "sym"] {
        let path = format!("{dir}/{name}");
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&path);
    }
}

/// A module of the distribution that nothing else needs.
pub(crate) fn spare_module() -> Res<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    let mut left = vec![format!("/usr/lib/modules/{}/kernel", release.trim())];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir)
            .map_err(|e| format!("{dir}: {e}"))?
            .flatten()
        {
            let path = entry.path().to_string_lossy().into_owned();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                left.push(path);
            } else if name.ends_with(".ko") && !name.starts_with("virtio") {
                found.push((name != "dummy.ko", path));
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .next()
        .map(|(_, path)| path)
        .ok_or_else(|| "the guest has no spare module".to_string())
}

/// A task without a label that only sleeps.
fn bystander() -> Res<libc::pid_t> {
    worker::fork(|| {
        std::thread::sleep(std::time::Duration::from_secs(50));
        0
    })
}

fn end_bystander(pid: libc::pid_t) {
    // SAFETY: The child has not been waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    worker::wait(pid);
}

const PROJECT: &str = "/srv/project";

fn workstation_coder(_: &mut Ctx) -> Res {
    starter(
        CODER,
        &[PROJECT, "/etc", "/home/alice", "/root", "/tmp", "/usr"],
    )?;
    furnish(&[PROJECT, "/tmp", "/root", "/home/alice", "/etc"])?;
    clean(PROJECT);
    let socket = "/tmp/deputy.socket";
    let _ = fs::remove_file(socket);
    let _deputy = std::os::unix::net::UnixListener::bind(socket).map_err(|e| e.to_string())?;
    let server = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = server.local_addr().map_err(|e| e.to_string())?.to_string();
    let module = spare_module()?;
    let sleeper = bystander()?;
    let pid = sleeper.to_string();
    let mut coder = Agent::start("coder")?;
    let result = table(
        &mut coder,
        &[
            // Its work.
            (0, &["read", "/srv/project/file"]),
            (0, &["append", "/srv/project/file"]),
            (0, &["create", "/srv/project/new"]),
            (0, &["rename", "/srv/project/new", "/srv/project/moved"]),
            (0, &["link", "/srv/project/moved", "/srv/project/link"]),
            (0, &["chmod", "/srv/project/moved"]),
            (0, &["unlink", "/srv/project/moved"]),
            (0, &["mkdir", "/srv/project/dir"]),
            (0, &["exec", "/usr/bin/true"]),
            (0, &["exec", "/srv/project/program"]),
            (0, &["append", "/tmp/file"]),
            (0, &["append", "/dev/null"]),
            (0, &["read", "/home/alice/file"]),
            (0, &["read", "/etc/passwd"]),
            (0, &["map-exec"]),
            (0, &["connect", &address]),
            // Not its work.
            (DENIED, &["read", "/etc/shadow"]),
            (DENIED, &["read", "/root/file"]),
            (DENIED, &["append", "/home/alice/file"]),
            (DENIED, &["exec", "/tmp/program"]),
            (DENIED, &["exec", "/home/alice/program"]),
            (DENIED, &["map-file-exec", "/tmp/program"]),
            (DENIED, &["link", "/etc/passwd", "/srv/project/link2"]),
            (
                DENIED,
                &["rename", "/home/alice/file", "/srv/project/stolen"],
            ),
            (DENIED, &["unlink", "/etc/passwd"]),
            (DENIED, &["chmod", "/etc/passwd"]),
            (DENIED, &["create", "/usr/bin/new"]),
            (DENIED, &["connect", "169.254.169.254:80"]),
            (DENIED, &["connect", "127.0.0.1:80"]),
            (DENIED, &["connect", "10.0.0.1:80"]),
            (DENIED, &["unix", socket]),
            (DENIED, &["mount", "/tmp", "/srv/project"]),
            (DENIED, &["userns"]),
            (DENIED, &["uring"]),
            (DENIED, &["bpf"]),
            (DENIED, &["perf"]),
            (DENIED, &["kill", &pid, "18"]),
            (DENIED, &["ptrace", &pid]),
            (DENIED, &["module", &module]),
            (DENIED, &["kexec"]),
        ],
    );
    end_bystander(sleeper);
    result?;
    // A helper is less than the coder.
    coder.expect(0, &["netlink", "8", "label", "helper"])?;
    table(
        &mut coder,
        &[
            (0, &["read", "/srv/project/file"]),
            (0, &["exec", "/usr/bin/true"]),
            (DENIED, &["append", "/srv/project/file"]),
            (DENIED, &["exec", "/srv/project/program"]),
            (DENIED, &["read", "/home/alice/file"]),
            (DENIED, &["connect", &address]),
        ],
    )?;
    coder.end()
}

fn workstation_coder_quorum(_: &mut Ctx) -> Res {
    starter(
        CODER,
        &[PROJECT, "/etc", "/home/alice", "/root", "/tmp", "/usr"],
    )?;
    furnish(&["/etc"])?;
    let mut coder = Agent::start("coder")?;
    let request = coder.raise(&["append", "/etc/file"])?;
    stage::approve_by(&request, 2)?;
    coder.expect(DENIED, &["append", "/etc/file"])?;
    let mut third = stage::voter(3)?;
    third
        .cast(&request, stage::APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    coder.expect(DENIED, &["append", "/etc/passwd"])?;
    coder.expect(0, &["append", "/etc/file"])?;
    coder.expect(DENIED, &["append", "/etc/file"])?;
    stage::cancel_all()?;
    coder.end()
}

fn ci_builder(_: &mut Ctx) -> Res {
    starter(
        BUILDER,
        &[
            "/srv/build",
            "/srv/release",
            "/etc",
            "/home/alice",
            "/root",
            "/usr",
        ],
    )?;
    furnish(&["/srv/build", "/srv/release", "/tmp", "/root", "/home/alice"])?;
    clean("/srv/build");
    let module = spare_module()?;
    let mut builder = Agent::start("builder")?;
    table(
        &mut builder,
        &[
            (0, &["read", "/srv/build/file"]),
            (0, &["create", "/srv/build/new"]),
            (0, &["append", "/srv/build/new"]),
            (0, &["rename", "/srv/build/new", "/srv/build/moved"]),
            (0, &["unlink", "/srv/build/moved"]),
            (0, &["exec", "/usr/bin/true"]),
            (0, &["exec", "/srv/build/program"]),
            (0, &["bind", "127.0.0.1:18080"]),
            (DENIED, &["read", "/etc/shadow"]),
            (DENIED, &["read", "/root/file"]),
            (DENIED, &["read", "/home/alice/file"]),
            (DENIED, &["append", "/tmp/file"]),
            (DENIED, &["append", "/etc/passwd"]),
            (DENIED, &["exec", "/tmp/program"]),
            (DENIED, &["map-file-exec", "/tmp/program"]),
            (DENIED, &["map-exec"]),
            (DENIED, &["bind", "127.0.0.1:80"]),
            (DENIED, &["bind", "0.0.0.0:18080"]),
            (DENIED, &["connect", "192.0.2.1:443"]),
            (DENIED, &["connect", "10.0.0.1:80"]),
            (DENIED, &["unlink", "/srv/release/file"]),
            (DENIED, &["rename", "/srv/release/file", "/srv/build/file2"]),
            (DENIED, &["link", "/srv/release/file", "/srv/build/link"]),
            (DENIED, &["chmod", "/srv/release/file"]),
            (DENIED, &["setuid", "1000"]),
            (DENIED, &["userns"]),
            (DENIED, &["bpf"]),
            (DENIED, &["module", &module]),
        ],
    )?;
    // Port 443 of the private network is let through by the module; nothing answers in the guest.
    let errno = builder.try_to(&["connect", "10.0.0.1:443"])?;
    ensure!(errno != DENIED, "the artifact store was refused");
    builder.expect(0, &["netlink", "8", "label", "tester"])?;
    table(
        &mut builder,
        &[
            (0, &["exec", "/srv/build/program"]),
            (0, &["append", "/srv/build/file"]),
            (DENIED, &["unlink", "/srv/build/file"]),
            (DENIED, &["connect", "10.0.0.1:443"]),
            (DENIED, &["append", "/srv/release/file"]),
        ],
    )?;
    ensure!(
        stage::open_requests()?.is_empty(),
        "a tester or a builder raised a request that nobody should be asked"
    );
    builder.end()
}

fn ci_builder_release(_: &mut Ctx) -> Res {
    starter(
        BUILDER,
        &[
            "/srv/build",
            "/srv/release",
            "/etc",
            "/home/alice",
            "/root",
            "/usr",
        ],
    )?;
    let _ = fs::remove_file("/srv/release/new");
    let mut builder = Agent::start("builder")?;
    let request = builder.raise(&["create", "/srv/release/new"])?;
    // 66.67 % of four is three.
    stage::approve_by(&request, 2)?;
    builder.expect(DENIED, &["create", "/srv/release/new"])?;
    stage::voter(3)?
        .cast(&request, stage::APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    builder.expect(DENIED, &["create", "/srv/release/other"])?;
    // Creating and writing are two operations, and each takes its approval.
    builder.expect(DENIED, &["create", "/srv/release/new"])?;
    ensure!(
        fs::metadata("/srv/release/other").is_err(),
        "a file appeared that nobody approved"
    );
    stage::cancel_all()?;
    builder.end()
}

fn server_operator(_: &mut Ctx) -> Res {
    starter(
        OPERATOR,
        &["/boot", "/etc", "/root", "/srv", "/tmp", "/usr", "/var/log"],
    )?;
    furnish(&["/srv", "/tmp", "/root", "/etc", "/boot", "/var/log"])?;
    clean("/tmp");
    let server = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = server.local_addr().map_err(|e| e.to_string())?.to_string();
    let before = stage::status()?.event;
    let mut operator = Agent::start("operator")?;
    table(
        &mut operator,
        &[
            (0, &["read", "/etc/passwd"]),
            (0, &["read", "/var/log/file"]),
            (0, &["read", "/srv/file"]),
            (0, &["exec", "/usr/bin/true"]),
            (0, &["append", "/tmp/file"]),
            (0, &["create", "/tmp/new"]),
            (0, &["connect", &address]),
            (DENIED, &["read", "/etc/shadow"]),
            (DENIED, &["read", "/root/file"]),
            (DENIED, &["exec", "/tmp/program"]),
            (DENIED, &["exec", "/srv/program"]),
            (DENIED, &["append", "/srv/file"]),
            (DENIED, &["append", "/var/log/file"]),
            (DENIED, &["truncate", "/var/log/file"]),
            (DENIED, &["unlink", "/var/log/file"]),
            (DENIED, &["rename", "/var/log/file", "/var/moved"]),
            (DENIED, &["create", "/usr/bin/new"]),
            (DENIED, &["append", "/boot/file"]),
            (DENIED, &["connect", "10.0.0.1:443"]),
            (DENIED, &["kexec"]),
            (DENIED, &["bpf"]),
            (DENIED, &["setuid", "1000"]),
        ],
    )?;
    ensure!(
        stage::events_after(before)?
            .iter()
            .any(|e| e.kind == stage::kind::AUDIT && e.agent == operator.id && e.op == 3),
        "reading the data left no event"
    );
    ensure!(
        stage::open_requests()?.is_empty(),
        "something that is refused raised a request"
    );
    operator.expect(0, &["netlink", "8", "label", "reader"])?;
    table(
        &mut operator,
        &[
            (0, &["read", "/etc/passwd"]),
            (DENIED, &["append", "/etc/file"]),
            (DENIED, &["unlink", "/etc/file"]),
        ],
    )?;
    ensure!(
        stage::open_requests()?.is_empty(),
        "a reader raised a request"
    );
    // Nobody replaces the kernel, root's own shell included.
    // SAFETY: No segments are passed.
    let result = unsafe { libc::syscall(libc::SYS_kexec_load, 0, 0, 0, 0) };
    expect_errno(
        "kexec_load without a label",
        worker::outcome(result),
        DENIED,
    )?;
    operator.end()
}

fn server_operator_quorum(_: &mut Ctx) -> Res {
    starter(
        OPERATOR,
        &["/boot", "/etc", "/root", "/srv", "/tmp", "/usr", "/var/log"],
    )?;
    furnish(&["/etc"])?;
    let module = spare_module()?;
    let sleeper = bystander()?;
    let pid = sleeper.to_string();
    let mut operator = Agent::start("operator")?;
    let result = (|| -> Res {
        // A change of configuration waits for the approvers.
        operator.send(&["append", "/etc/file"])?;
        let mut found = None;
        stage::eventually(std::time::Duration::from_secs(5), || {
            found = stage::open_requests()?
                .into_iter()
                .find(|r| r.agent() == operator.id);
            ensure!(found.is_some(), "the operator raised no request");
            Ok(())
        })?;
        let request = found.ok_or("no request")?;
        ensure!(
            !operator.answers_within(std::time::Duration::from_millis(300)),
            "it did not wait"
        );
        stage::approve_by(&request, 3)?;
        expect_errno("the approved change", operator.answer()?.0, 0)?;
        // A signal, to that task only. 51 % of four is three.
        let request = operator.raise(&["kill", &pid, "18"])?;
        stage::approve_by(&request, 3)?;
        operator.expect(DENIED, &["kill", "1", "18"])?;
        operator.expect(0, &["kill", &pid, "18"])?;
        operator.expect(DENIED, &["kill", &pid, "18"])?;
        // A module, by the agent and by root's own shell.
        stage::cancel_all()?;
        expect_errno(
            "a module without a label",
            worker::load_module(&module),
            DENIED,
        )?;
        let request = stage::open_requests()?
            .into_iter()
            .find(|r| r.agent() == 0)
            .ok_or("no request of root")?;
        stage::approve_by(&request, 3)?;
        // The grant is root's, not the agent's.
        operator.expect(DENIED, &["module", &module])?;
        expect_errno("the approved module", worker::load_module(&module), 0)?;
        expect_errno("the module again", worker::load_module(&module), DENIED)?;
        let request = operator.request()?;
        stage::approve_by(&request, 3)?;
        operator.expect(0, &["module", &module])?;
        Ok(())
    })();
    end_bystander(sleeper);
    result?;
    stage::cancel_all()?;
    operator.end()
}
