// SPDX-License-Identifier: GPL-2.0

//! A host without a TPM.

use super::{
    body,
    checkpoint,
    declined,
    discard,
    give,
    insert,
    load,
    refused,
    unload,
    Kept,
    POLICY,
    VALIDATORS, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::sha256;
use crate::stage::{
    self,
    expect_errno,
    kind,
    nl,
    submit,
    voter,
    Res,
    APPROVE, //
};
use std::process::Command;

/// The tests, in their order: the module is loaded without a TPM.
pub(crate) const TESTS: &[Test] = &[
    Test::new("unsealed_says_so", says_so),
    Test::new("unsealed_numbers_begin_at_one", numbers),
    Test::new("unsealed_seal_takes_effect_at_once", at_once),
    Test::new("unsealed_keeps_no_state", no_state),
    Test::new("unsealed_restart_is_another_node", another_node),
    Test::new("no_tpm_and_one_required", required),
];

fn says_so(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    ensure!(
        stage::status_line("sealed_by")? == "unsealed" && stage::status_number("epoch")? == 0,
        "sealed_by {}, epoch {}",
        stage::status_line("sealed_by")?,
        stage::status_number("epoch")?
    );
    for key in ["tpm", "nv_counter", "anchor", "staged", "reason"] {
        ensure!(
            stage::status_line(key).is_err(),
            "status has a line {key} without a TPM"
        );
    }
    let reply = stage::ask(nl::STATUS, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.string(nl::A_SEALED_BY).as_deref() == Some("unsealed")
            && reply.bytes(nl::A_TPM).is_none()
            && reply.bytes(nl::A_STATE_COUNTER).is_none(),
        "status over netlink: {reply:?}"
    );
    let output = Command::new("tcpctl")
        .arg("doctor")
        .output()
        .map_err(|e| format!("tcpctl: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains("unsealed"),
        "tcpctl doctor does not say unsealed:\n{text}"
    );
    Ok(())
}

fn numbers(_: &mut Ctx) -> Res {
    stage::prepare(VALIDATORS, POLICY, &body()?)?;
    let events = stage::events_from(1)?.0;
    let first = events.first().ok_or("no events")?;
    ensure!(
        first.number == 1 && first.kind == kind::LOADED && first.result == 1,
        "the first event: {first:?}"
    );
    let status = stage::status()?;
    let genesis = sha256(&[b"TCPLCHN2", &status.node, &[0; 8], &[0; 32]]);
    ensure!(
        first.chain[..] == sha256(&[&genesis, &first.bytes]),
        "the chain does not begin with node, epoch 0 and no previous head"
    );
    ensure!(
        events.iter().all(|event| event.number < 1 << 32),
        "the number of an event claims an epoch"
    );
    Ok(())
}

fn at_once(_: &mut Ctx) -> Res {
    stage::prepare(VALIDATORS, POLICY, &body()?)?;
    let reply = stage::ask(nl::SEAL, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE) && stage::status()?.phase == nl::SEALED,
        "the seal: {reply:?}"
    );
    let text = stage::with_header(POLICY, &format!("{}# next\n", body()?))?;
    super::approve(&stage::request_policy(&text)?)?;
    let line =
        stage::write_node("policy", text.as_bytes()).map_err(|e| format!("the policy: {e:?}"))?;
    ensure!(
        line.starts_with("done policy ") && stage::running_policy()? == text.as_bytes(),
        "the policy: \"{line}\""
    );
    let kinds: Vec<u16> = stage::events_from(1)?.0.iter().map(|e| e.kind).collect();
    ensure!(
        !kinds.contains(&kind::STAGED) && !kinds.contains(&kind::ANCHORED),
        "something was staged or anchored: {kinds:?}"
    );
    Ok(())
}

fn no_state(_: &mut Ctx) -> Res {
    declined("state-stage", checkpoint(), "state_unsealed")?;
    declined(
        "state-commit",
        stage::commit_digest(&[1; 32]),
        "state_unsealed",
    )?;
    declined("state-discard", discard(), "state_unsealed")?;
    declined(
        "state-recover",
        stage::ask(nl::STATE_RECOVER, &Attributes::new()),
        "state_unsealed",
    )?;
    refused("a state", give(&Kept(vec![1; 600])), "state_unsealed")?;
    ensure!(
        stage::staged_state().map_err(|e| e.to_string())?.is_empty(),
        "something is staged"
    );
    Ok(())
}

fn another_node(_: &mut Ctx) -> Res {
    let request = stage::fresh_request()?;
    let vote = voter(1)?.record(&request, APPROVE);
    let node = stage::status()?.node;
    unload()?;
    load("require_tpm=0")?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SETUP && status.node != node && status.policy_version == 0,
        "{status:?}"
    );
    stage::expect_refused(
        "a vote kept from the last load",
        submit(&vote),
        libc::EXDEV,
        "vote_other_node",
    )
}

fn required(_: &mut Ctx) -> Res {
    unload()?;
    for parameters in ["", "require_tpm=1"] {
        expect_errno("loading without a TPM", insert(parameters)?, libc::ENODEV)?;
    }
    ensure!(
        std::fs::metadata(stage::SECURITYFS).is_err(),
        "a module that was not loaded left its directory"
    );
    let log = Command::new("dmesg")
        .output()
        .map_err(|e| format!("dmesg: {e}"))?;
    let log = String::from_utf8_lossy(&log.stdout);
    let said = log
        .lines()
        .filter(|line| line.contains("tcp_lsm: not loaded: tpm_absent: "))
        .count();
    ensure!(said == 2, "the kernel's log says tpm_absent {said} times");
    load("require_tpm=0")?;
    stage::in_setup()
}
