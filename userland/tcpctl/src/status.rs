// SPDX-License-Identifier: GPL-2.0

//! `tcpctl status`: what the module is and does.

use engine::{
    clock::{
        epoch_of,
        first_number, //
    },
    refusal::Refusal, //
};
use serde_json::{
    json,
    Map,
    Value, //
};

use crate::{
    client::{
        Client,
        Mode,
        Phase,
        Sealing,
        Status, //
    },
    error::Result,
    exported::entries,
    output::{
        clean,
        pairs,
        Output,
        Tone, //
    },
    state::pcrs_text,
    time::human_duration, //
};

/// What a node without a TPM is.
pub(crate) const UNSEALED: &str = "unsealed: nothing outlives a restart";

/// Writes that an NV index outlives, as TPM makers publish it.
const NV_ENDURANCE: u64 = 500_000;

/// What keeps a node locked, with what to do.
pub(crate) fn reason_text(reason: &str) -> String {
    Refusal::ALL
        .iter()
        .find(|refusal| refusal.name() == reason)
        .map_or_else(
            || clean(reason.as_bytes()),
            |refusal| refusal.message().to_owned(),
        )
}

/// The TPM in words: a software one is called what it is.
pub(crate) fn tpm_text(sealing: &Sealing) -> String {
    let tpm = clean(sealing.tpm.as_bytes());
    match sealing.software {
        true => format!("{tpm} (software TPM)"),
        false => tpm,
    }
}

/// Tenths of years until the NV memory is worn out; [`None`] when nothing is written.
pub(crate) fn nv_tenths(sealing: &Sealing) -> Option<u64> {
    NV_ENDURANCE
        .saturating_mul(10)
        .checked_div(sealing.nv_writes_year)
}

/// Writes to NV memory, and how long it bears them.
pub(crate) fn nv_text(sealing: &Sealing) -> String {
    let years = match nv_tenths(sealing) {
        Some(tenths) => format!("{}.{} years until {NV_ENDURANCE}", tenths / 10, tenths % 10),
        None => "no wear".to_owned(),
    };
    format!(
        "{} by this load, {} a year: {years}",
        sealing.nv_writes, sealing.nv_writes_year
    )
}

/// Events after the last one that the anchor covers.
fn events_since(event: u64, anchored: u64) -> u64 {
    // Numbers leap from load to load: of those before nothing is left but the anchor.
    if epoch_of(event) == epoch_of(anchored) {
        event.saturating_sub(anchored)
    } else {
        event.saturating_sub(first_number(epoch_of(event)))
    }
}

/// The rows about the TPM.
fn sealing_rows(status: &Status) -> Vec<(&'static str, String)> {
    let Some(sealing) = &status.sealing else {
        return vec![("tpm", format!("none ({UNSEALED})"))];
    };
    let commit = match (sealing.anchored, sealing.anchored_ms) {
        (Some(number), Some(ms)) => format!(
            "{} ago, up to event {number} ({} since)",
            human_duration(ms),
            events_since(status.event, number)
        ),
        _ => "never".to_owned(),
    };
    let mut rows = vec![
        ("tpm", tpm_text(sealing)),
        (
            "counter",
            format!(
                "{} (NV index {:08x})",
                sealing
                    .counter
                    .map_or("missing".to_owned(), |counter| counter.to_string()),
                sealing.nv_counter
            ),
        ),
        (
            "anchor",
            format!(
                "{} (NV index {:08x})",
                sealing
                    .anchor
                    .map_or("never extended".to_owned(), hex::encode),
                sealing.nv_anchor
            ),
        ),
        ("last commit", commit),
        (
            "checkpoints",
            match sealing.interval {
                0 => "no interval".to_owned(),
                seconds => format!("every {}", human_duration(u64::from(seconds) * 1000)),
            },
        ),
        ("nv writes", nv_text(sealing)),
        ("pcrs", pcrs_text(sealing.pcrs)),
    ];
    if let Some(counter) = sealing.staged {
        rows.push((
            "staged",
            format!("a change, counter {counter}: `tcpctl state save` finishes it"),
        ));
    }
    rows
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(counters: bool, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let status = client.status()?;
    if output.json {
        return output.json(&json_of(&status));
    }
    output.raw(human(&status, counters, output).as_bytes())
}

fn human(status: &Status, counters: bool, output: &Output) -> String {
    let phase = match status.phase {
        Phase::Sealed => output.paint(Tone::Good, "sealed"),
        Phase::Setup => {
            output.paint(Tone::Warn, "setup") + " (root may change everything until `tcpctl seal`)"
        }
        Phase::Locked => output.paint(Tone::Bad, "locked"),
        Phase::Recovering => {
            output.paint(Tone::Bad, "recovering") + " (a quorum decides, see `tcpctl request list`)"
        }
    };
    let mode = match status.mode {
        Mode::Enforce => output.paint(Tone::Good, "enforce"),
        Mode::Permissive => output.paint(Tone::Warn, "permissive") + " (nothing is refused)",
    };
    let policy = match &status.policy {
        Some(policy) => format!(
            "{} version {} (sha256:{})",
            clean(policy.name.as_bytes()),
            policy.version,
            hex::encode(policy.digest)
        ),
        None => output.paint(Tone::Warn, "none"),
    };
    let mut rows = vec![
        ("version", clean(status.version.as_bytes())),
        ("phase", phase),
        ("mode", mode),
        ("policy", policy),
        ("validators", format!("total weight {}", status.total)),
        ("hooks", format!("{} attached", status.hooks.len())),
        ("node", hex::encode(status.node)),
        ("epoch", status.epoch.to_string()),
        ("last event", status.event.to_string()),
        ("chain", hex::encode(status.chain)),
    ];
    if let Some(reason) = &status.reason {
        // Behind the phase, which it explains.
        rows.insert(2, ("reason", reason_text(reason)));
    }
    rows.extend(sealing_rows(status));
    if status.held > 0 {
        rows.push(("held votes", status.held.to_string()));
    }
    let shown: Vec<(String, String)> = status
        .counters
        .iter()
        .filter(|(_, value)| counters || *value > 0)
        .map(|(name, value)| (clean(name.as_bytes()), value.to_string()))
        .collect();
    rows.extend(
        shown
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    pairs(&rows)
}

fn json_of(status: &Status) -> Value {
    let counters: Map<String, Value> = status
        .counters
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "version": status.version,
        "phase": status.phase.name(),
        "reason": status.reason,
        "mode": status.mode.name(),
        "node": hex::encode(status.node),
        "epoch": status.epoch,
        "sealed_by": status.sealed_by,
        "boot_ms": status.boot_ms,
        "wall_ms": status.wall_ms,
        "policy": status.policy.as_ref().map(|policy| json!({
            "name": policy.name,
            "version": policy.version,
            "digest": hex::encode(policy.digest),
        })),
        "total": status.total,
        "event": status.event,
        "chain": hex::encode(status.chain),
        "clock": entries(&status.clock),
        "hooks": status.hooks,
        "counters": counters,
        "held": status.held,
        "tpm": status.sealing.as_ref().map(|sealing| json!({
            "name": sealing.tpm,
            "software": sealing.software,
            "nv_counter": format!("{:08x}", sealing.nv_counter),
            "nv_anchor": format!("{:08x}", sealing.nv_anchor),
            "counter": sealing.counter,
            "anchor": sealing.anchor.map(hex::encode),
            "anchored_event": sealing.anchored,
            "anchored_ms": sealing.anchored_ms,
            "events_since": sealing.anchored.map(|number| events_since(status.event, number)),
            "interval": sealing.interval,
            "nv_writes": sealing.nv_writes,
            "nv_writes_year": sealing.nv_writes_year,
            "nv_endurance": NV_ENDURANCE,
            "nv_years": nv_tenths(sealing).map(|tenths| tenths / 10),
            "staged": sealing.staged,
            "pcrs": sealing.pcrs,
        })),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::client::PolicyStatus;
    use engine::clock::{
        NodeClock,
        EPOCH_STRIDE, //
    };

    /// A status, for tests.
    pub(crate) fn sample(phase: Phase, mode: Mode) -> Status {
        Status {
            version: "1.0".into(),
            phase,
            reason: None,
            mode,
            node: [1; 32],
            epoch: 0,
            sealed_by: "unsealed".into(),
            boot_ms: 5,
            wall_ms: 6,
            clock: NodeClock::new(),
            chain: [2; 32],
            event: 9,
            policy: (phase == Phase::Sealed).then(|| PolicyStatus {
                name: "web".into(),
                version: 3,
                digest: [4; 32],
            }),
            total: 4,
            counters: vec![("votes".into(), 2), ("refused".into(), 0)],
            hooks: vec!["file_open".into()],
            held: 0,
            sealing: None,
        }
    }

    /// A TPM, for tests.
    pub(crate) fn sealing() -> Sealing {
        Sealing {
            tpm: "IFX SLB9672 15.23".into(),
            software: false,
            nv_counter: 0x0185_4350,
            nv_anchor: 0x0185_4351,
            counter: Some(7),
            anchor: Some([0xab; 32]),
            anchored: Some(3 * EPOCH_STRIDE + 5),
            anchored_ms: Some(61_000),
            interval: 900,
            nv_writes: 4,
            nv_writes_year: 70_080,
            staged: None,
            pcrs: 0x80,
        }
    }

    #[test]
    fn a_node_that_a_tpm_seals_says_what_the_tpm_holds() {
        let plain = Output {
            json: false,
            colour: false,
        };
        let mut status = sample(Phase::Sealed, Mode::Enforce);
        status.sealed_by = "tpm".into();
        status.epoch = 3;
        status.event = 3 * EPOCH_STRIDE + 9;
        status.held = 2;
        status.sealing = Some(sealing());
        let text = human(&status, false, &plain);
        for part in [
            "IFX SLB9672 15.23\n",
            "7 (NV index 01854350)",
            "abab (NV index 01854351)",
            "1m 1s ago, up to event 12884901893 (4 since)",
            "every 15m",
            "4 by this load, 70080 a year: 7.1 years until 500000",
            "pcrs         7\n",
            "held votes   2\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("unsealed") && !text.contains("staged"));
        let value = json_of(&status);
        assert_eq!(value["tpm"]["events_since"], 4);
        assert_eq!(value["tpm"]["nv_years"], 7);
        assert_eq!(value["tpm"]["nv_counter"], "01854350");

        let sealing = status.sealing.as_mut().unwrap();
        sealing.software = true;
        sealing.counter = None;
        sealing.anchor = None;
        sealing.anchored = None;
        sealing.interval = 0;
        sealing.nv_writes_year = 0;
        sealing.staged = Some(8);
        sealing.pcrs = 0;
        status.phase = Phase::Locked;
        status.reason = Some("state_missing".into());
        let text = human(&status, false, &plain);
        for part in [
            "(software TPM)",
            "missing (NV index",
            "never extended",
            "last commit  never",
            "no wear",
            "no interval",
            "pcrs         none",
            "counter 8: `tcpctl state save`",
            "locked\nreason ",
            "tcpctl state restore",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let value = json_of(&status);
        assert_eq!(value["reason"], "state_missing");
        assert_eq!(value["tpm"]["software"], true);
        assert!(value["tpm"]["nv_years"].is_null());
        assert_eq!(reason_text("\x1b"), "\\u{1b}");
    }

    #[test]
    fn events_are_counted_over_a_restart() {
        assert_eq!(events_since(12, 5), 7);
        assert_eq!(events_since(5, 5), 0);
        assert_eq!(events_since(3 * EPOCH_STRIDE + 4, 2 * EPOCH_STRIDE + 90), 4);
    }

    #[test]
    fn status_in_words_and_json() {
        let plain = Output {
            json: false,
            colour: false,
        };
        let status = sample(Phase::Sealed, Mode::Enforce);
        let text = human(&status, false, &plain);
        for part in [
            "sealed",
            "enforce",
            "web version 3",
            "unsealed: nothing outlives a restart",
            "1 attached",
            "votes",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("refused"));
        assert!(human(&status, true, &plain).contains("refused"));
        let text = human(&sample(Phase::Setup, Mode::Permissive), false, &plain);
        assert!(text.contains("setup") && text.contains("nothing is refused"));
        let value = json_of(&status);
        assert_eq!(value["phase"], "sealed");
        assert_eq!(value["counters"]["votes"], 2);
        assert_eq!(value["policy"]["version"], 3);
        assert_eq!(status.counter("votes"), 2);
        assert_eq!(status.counter("none"), 0);
    }
}
