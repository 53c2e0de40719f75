// SPDX-License-Identifier: GPL-2.0

//! `tcpctl status`: what the module is and does.

use serde_json::{
    json,
    Map,
    Value, //
};

use crate::{
    client::{
        Client,
        Mode,
        Status, //
    },
    error::Result,
    exported::entries,
    output::{
        clean,
        pairs,
        Output,
        Tone, //
    }, //
};

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
    let phase = match status.sealed {
        true => output.paint(Tone::Good, "sealed"),
        false => {
            output.paint(Tone::Warn, "setup") + " (root may change everything until `tcpctl seal`)"
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
        (
            "epoch",
            format!(
                "{} ({})",
                status.epoch,
                match status.sealed_by.as_str() {
                    "unsealed" => "unsealed: no TPM holds the state".to_owned(),
                    by => format!("state sealed by {}", clean(by.as_bytes())),
                }
            ),
        ),
        ("last event", status.event.to_string()),
        ("chain", hex::encode(status.chain)),
    ];
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
        "phase": if status.sealed { "sealed" } else { "setup" },
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
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::client::PolicyStatus;
    use engine::clock::NodeClock;

    /// A status, for tests.
    pub(crate) fn sample(sealed: bool, mode: Mode) -> Status {
        Status {
            version: "1.0".into(),
            sealed,
            mode,
            node: [1; 32],
            epoch: 0,
            sealed_by: "unsealed".into(),
            boot_ms: 5,
            wall_ms: 6,
            clock: NodeClock::new(),
            chain: [2; 32],
            event: 9,
            policy: sealed.then(|| PolicyStatus {
                name: "web".into(),
                version: 3,
                digest: [4; 32],
            }),
            total: 4,
            counters: vec![("votes".into(), 2), ("refused".into(), 0)],
            hooks: vec!["file_open".into()],
        }
    }

    #[test]
    fn status_in_words_and_json() {
        let plain = Output {
            json: false,
            colour: false,
        };
        let status = sample(true, Mode::Enforce);
        let text = human(&status, false, &plain);
        for part in [
            "sealed",
            "enforce",
            "web version 3",
            "unsealed: no TPM",
            "1 attached",
            "votes",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("refused"));
        assert!(human(&status, true, &plain).contains("refused"));
        let text = human(&sample(false, Mode::Permissive), false, &plain);
        assert!(text.contains("setup") && text.contains("nothing is refused"));
        let value = json_of(&status);
        assert_eq!(value["phase"], "sealed");
        assert_eq!(value["counters"]["votes"], 2);
        assert_eq!(value["policy"]["version"], 3);
        assert_eq!(status.counter("votes"), 2);
        assert_eq!(status.counter("none"), 0);
    }
}
