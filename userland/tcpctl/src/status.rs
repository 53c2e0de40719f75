// SPDX-License-Identifier: GPL-2.0

//! `tcpctl status`: what the module is and does.

use engine::{
    clock::{
        epoch_of,
        first_number, //
    },
    quorum::BASIS,
    refusal::Refusal,
    watch::Reason, //
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
        Status,
        Watched, //
    },
    describe::{
        percent,
        rules_json, //
    },
    error::Result,
    exported::entries,
    output::{
        clean,
        pairs,
        Output,
        Table,
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

/// Threshold of a rule that names none, in basis points.
const THRESHOLD: u16 = 7500;

/// What a threshold means in the weights of a node. See "Weights and bounds" in `Documentation/byzantine.rst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The threshold, in basis points.
    pub(crate) threshold_bp: u16,
    /// Least weight that can force an approval.
    pub(crate) forces: u64,
    /// Least weight whose absence or denial blocks every approval, besides that of quarantined validators; 0: it is blocked.
    pub(crate) blocks: u64,
    /// Weight of all validators.
    total: u64,
}

impl Bounds {
    /// The bounds at a threshold.
    fn at(threshold_bp: u16, status: &Status) -> Self {
        let forces = u64::from(threshold_bp)
            .saturating_mul(status.total)
            .div_ceil(BASIS);
        let left = status.total.saturating_sub(status.watch.quarantined);
        Self {
            threshold_bp,
            forces,
            blocks: left.saturating_add(1).saturating_sub(forces),
            total: status.total,
        }
    }

    /// Those of the default threshold.
    pub(crate) fn base(status: &Status) -> Self {
        let floor = status.watch.floor.unwrap_or(0);
        Self::at(THRESHOLD.max(floor), status)
    }

    /// Those while an alert holds; [`None`] without a policy.
    pub(crate) fn raised(status: &Status) -> Option<Self> {
        let rules = status.watch.rules.as_ref()?;
        let base = Self::base(status).threshold_bp;
        Some(Self::at(rules.raised(base), status))
    }

    /// What of the weight forces an approval.
    pub(crate) fn forces_text(&self) -> String {
        format!("{} of {}", self.forces, self.total)
    }

    /// What of the weight blocks one.
    pub(crate) fn blocks_text(&self) -> String {
        match self.blocks {
            0 => "blocked".to_owned(),
            weight => format!("{weight} of {}", self.total),
        }
    }

    fn json(&self) -> Value {
        json!({
            "threshold_bp": self.threshold_bp,
            "forces": self.forces,
            "blocks": self.blocks,
        })
    }
}

/// The reasons of the alerts that hold.
pub(crate) fn alerts(watch: &Watched) -> Vec<&'static str> {
    Reason::ALL
        .into_iter()
        .filter(|reason| watch.alert & reason.bit() != 0)
        .map(Reason::name)
        .collect()
}

/// The alerts in words; [`None`] when there is none.
pub(crate) fn alert_text(watch: &Watched) -> Option<String> {
    let reasons = alerts(watch);
    if reasons.is_empty() {
        return None;
    }
    let raised = watch.rules.as_ref().map_or(String::new(), |rules| {
        format!(
            ": thresholds are raised by {} to at most {}",
            percent(rules.raise_bp),
            percent(rules.ceiling_bp)
        )
    });
    let lasting = Reason::Silence.bit() | Reason::Suspicion.bit();
    let ends = watch.ends_ms.map_or(String::new(), |ms| {
        let longer = match watch.alert & lasting {
            0 => "",
            _ => ", and longer while the cause lasts",
        };
        format!(", for {}{longer}", human_duration(ms))
    });
    Some(format!("{}{raised}{ends}", reasons.join(", ")))
}

/// The rows about what is thought of the validators.
fn watch_rows(status: &Status, output: &Output) -> Vec<(&'static str, String)> {
    let watch = &status.watch;
    let mut rows = vec![(
        "alert",
        match alert_text(watch) {
            Some(text) => output.paint(Tone::Bad, &text),
            None => "none".to_owned(),
        },
    )];
    if watch.quarantined > 0 {
        rows.push((
            "quarantined",
            output.paint(
                Tone::Bad,
                &format!(
                    "weight {} of {}: see `tcpctl evidence list`",
                    watch.quarantined, status.total
                ),
            ),
        ));
    }
    if watch.unheard > 0 {
        rows.push((
            "unheard",
            output.paint(
                Tone::Warn,
                &format!(
                    "weight {} of {}: see `tcpctl validator list`",
                    watch.unheard, status.total
                ),
            ),
        ));
    }
    rows
}

/// The table of bounds; nothing without validators.
fn bounds_table(status: &Status, output: &Output) -> String {
    if status.total == 0 {
        return String::new();
    }
    let mut table = Table::new(&["THRESHOLD", "FORCES AN APPROVAL", "BLOCKS EVERY APPROVAL"]);
    let mut row = |bounds: &Bounds, when: &str| {
        table.row(vec![
            format!("{}{when}", percent(bounds.threshold_bp)),
            bounds.forces_text(),
            bounds.blocks_text(),
        ]);
    };
    row(&Bounds::base(status), "");
    if let Some(raised) = Bounds::raised(status) {
        row(&raised, " (alert)");
    }
    format!("\n{}", table.render(output))
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
    rows.extend(watch_rows(status, output));
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
    pairs(&rows) + &bounds_table(status, output)
}

fn watch_json(status: &Status) -> Value {
    let watch = &status.watch;
    json!({
        "reasons": alerts(watch),
        "ends_ms": watch.ends_ms,
        "rules": watch.rules.as_ref().map(rules_json),
        "floor_bp": watch.floor,
        "quarantined": watch.quarantined,
        "unheard": watch.unheard,
        "bounds": {
            "default": Bounds::base(status).json(),
            "raised": Bounds::raised(status).map(|bounds| bounds.json()),
        },
    })
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
        "alert": watch_json(status),
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
    use engine::{
        clock::{
            NodeClock,
            EPOCH_STRIDE, //
        },
        quorum::{
            Ballot,
            Outcome,
            Verdict, //
        },
        watch::Rules, //
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
            watch: watched(),
            sealing: None,
        }
    }

    /// A watch that sleeps, for tests.
    pub(crate) fn watched() -> Watched {
        Watched {
            rules: Some(Rules {
                raise_bp: 1500,
                ceiling_bp: 9000,
                missing_bp: 3334,
                burst: 16,
                silence_ms: 600_000,
                within_ms: 60_000,
                quiet_ms: 600_000,
            }),
            floor: Some(5001),
            ..Watched::default()
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
    fn alerts_and_bounds_are_told_in_the_weights_of_the_node() {
        let plain = Output {
            json: false,
            colour: false,
        };
        let mut status = sample(Phase::Sealed, Mode::Enforce);
        let text = human(&status, false, &plain);
        for part in [
            "alert       none\n",
            "\n75%          3 of 4              2 of 4\n",
            "\n90% (alert)  4 of 4              1 of 4\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("quarantined") && !text.contains("unheard"));
        status.watch.alert = Reason::Evidence.bit() | Reason::Silence.bit();
        status.watch.ends_ms = Some(61_000);
        status.watch.quarantined = 1;
        status.watch.unheard = 2;
        let text = human(&status, false, &plain);
        for part in [
            "evidence, silence: thresholds are raised by 15% to at most 90%, for 1m 1s, and longer while the cause lasts\n",
            "quarantined  weight 1 of 4: see `tcpctl evidence list`",
            "unheard      weight 2 of 4",
            "\n75%          3 of 4              1 of 4\n",
            "\n90% (alert)  4 of 4              blocked\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let value = json_of(&status);
        assert_eq!(value["alert"]["reasons"], json!(["evidence", "silence"]));
        assert_eq!(value["alert"]["bounds"]["raised"]["blocks"], 0);
        assert_eq!(value["alert"]["bounds"]["default"]["forces"], 3);
        assert_eq!(value["alert"]["rules"]["burst"], 16);
        status.watch.alert = Reason::Burst.bit();
        assert!(human(&status, false, &plain).contains("at most 90%, for 1m 1s\n"));
        status.watch = Watched::default();
        assert!(!human(&status, false, &plain).contains("(alert)"));
        status.total = 0;
        assert!(!human(&status, false, &plain).contains("THRESHOLD"));
    }

    /// What is told is what the engine decides.
    #[test]
    fn the_bounds_are_those_of_a_ballot() {
        for (total, quarantined, threshold_bp) in [
            (4, 0, 7500),
            (4, 1, 7500),
            (4, 1, 9000),
            (7, 2, 6667),
            (10, 0, 9000),
            (10, 3, 5001),
            (3, 3, 7500),
        ] {
            let mut status = sample(Phase::Sealed, Mode::Enforce);
            status.total = total;
            status.watch.quarantined = quarantined;
            let bounds = Bounds::at(threshold_bp, &status);
            let weight = |weight: u64| u32::try_from(weight).unwrap();
            let outcome = |verdict, of: u64| {
                let mut ballot = Ballot::new(threshold_bp, total).unwrap();
                if quarantined > 0 {
                    ballot.bar(1, weight(quarantined));
                }
                // When all are barred it is closed.
                if of > 0 && ballot.outcome() == Outcome::Open {
                    ballot.cast(2, weight(of), verdict).unwrap();
                }
                ballot.outcome()
            };
            let left = total - quarantined;
            for of in 0..=left {
                assert_eq!(
                    outcome(Verdict::Approve, of) == Outcome::Granted,
                    of >= bounds.forces,
                    "{bounds:?} {of}"
                );
                assert_eq!(
                    outcome(Verdict::Deny, of) == Outcome::Denied,
                    of >= bounds.blocks,
                    "{bounds:?} {of}"
                );
            }
        }
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
