// SPDX-License-Identifier: GPL-2.0

//! `tcpctl validator`: whose votes count.

use clap::Subcommand;
use engine::{
    byzantine::Fault,
    refusal::Refusal,
    reputation::{
        self,
        Kept,
        DISTRUSTED,
        SUSPECTED,
        TRUSTED_AGAIN, //
    },
    watch, //
};
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        enrolled_slot,
        Client,
        Status,
        Validator,
        Watched, //
    },
    crypto::{
        public_argument,
        validator_id, //
    },
    describe::{
        validator_name,
        Names, //
    },
    error::{
        Error,
        Result, //
    },
    exported::entries,
    govern::{
        self,
        Wait, //
    },
    ids::short,
    output::{
        clean,
        pairs,
        Output,
        Table,
        Tone, //
    },
    time::human_duration, //
};

/// What to do with validators.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enrol a validator; in a sealed node this takes a quorum
    #[command(
        after_help = "Example:\n  tcpctl validator add --name alice --key alice.key.pub --weight 1"
    )]
    Add {
        /// Name, 1 to 32 of A-Z a-z 0-9 . _ -
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,
        /// Public key: a file in PEM, PEM itself, or a point in hexadecimal
        #[arg(long, value_name = "FILE|PEM|HEX")]
        key: String,
        /// Weight of its votes
        #[arg(long, value_name = "W", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        weight: u32,
        #[command(flatten)]
        wait: Wait,
    },
    /// List the enrolled validators
    ///
    /// STANDING is the proven fault of a quarantined validator; of the others `trusted`, `suspected` (a reputation below 8000)
    /// or `distrusted` (below 5000). `unheard` says that a validator has let requests pass for long.
    #[command(after_help = "Example:\n  tcpctl validator list")]
    List,
    /// Explain what is thought of a validator, and what follows from it
    #[command(after_help = "Example:\n  tcpctl validator show carol")]
    Show {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
    },
    /// End the quarantine of a validator; in a sealed node this takes a quorum
    ///
    /// Only after it is known what happened: the key must not have been copied, and its newest journal (FILE.clock) must be
    /// there, or it happens again. The evidence of before is expired then.
    #[command(after_help = "Example:\n  tcpctl validator readmit carol --wait")]
    Readmit {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove a validator; in a sealed node this takes a quorum
    #[command(after_help = "Example:\n  tcpctl validator remove alice --wait")]
    Remove {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
}

/// Parses a name of a validator or agent for clap.
///
/// # Errors
///
/// A sentence for clap.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if engine::name::is_name(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 32 of A-Z a-z 0-9 . _ -".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Add {
            name,
            key,
            weight,
            wait,
        } => {
            let point = public_argument(key)?;
            let id = validator_id(&point);
            let reply = govern::run(wait, output, |client| {
                client.validator_add(name, &point, *weight)
            })?;
            let slot = enrolled_slot(&reply);
            output.either(
                &json!({
                    "outcome": "done",
                    "name": name,
                    "id": hex::encode(id),
                    "weight": weight,
                    "slot": slot,
                }),
                || match slot {
                    Some(slot) => format!(
                        "enrolled {name}: slot {slot}, weight {weight}, id {}",
                        hex::encode(id)
                    ),
                    None => format!("enrolled {name}: weight {weight}, id {}", hex::encode(id)),
                },
            )
        }
        Command::List => list(output),
        Command::Show { name } => show(name, output),
        Command::Readmit { name, wait } => {
            govern::run(wait, output, |client| client.validator_readmit(name))?;
            output.either(&json!({ "outcome": "done", "name": name }), || {
                format!("readmitted {name}: its votes count again")
            })
        }
        Command::Remove { name, wait } => {
            govern::run(wait, output, |client| client.validator_remove(name))?;
            output.either(&json!({ "outcome": "done", "name": name }), || {
                format!("removed {name}")
            })
        }
    }
}

/// How a validator stands: its proven fault, or what its reputation is called.
pub(crate) fn standing(validator: &Validator) -> &'static str {
    match (validator.fault, validator.reputation.score) {
        (Some(fault), _) => fault.name(),
        (None, _) if validator.reputation.kept.score < DISTRUSTED => "distrusted",
        (None, score) if score < SUSPECTED => "suspected",
        (None, _) => "trusted",
    }
}

/// Bias and timing at which the reputation falls: see "Reputation" in `Documentation/byzantine.rst`.
const BIAS: u8 = reputation::BIAS.0;
const TIMING: u8 = reputation::TIMING.0;

/// Fewest requests that have to end without a validator's vote until it may be unheard.
const UNHEARD: u32 = watch::MISSED as u32;

/// Whether a validator has been silent for as long as the watch bears.
fn is_unheard(validator: &Validator, watch: &Watched) -> bool {
    validator.fault.is_none()
        && validator.unheard >= UNHEARD
        && watch
            .rules
            .as_ref()
            .zip(validator.heard_ms)
            .is_some_and(|(rules, ms)| ms >= rules.silence_ms.into())
}

fn json_of(validator: &Validator, watch: &Watched, names: &Names) -> Value {
    let reputation = &validator.reputation;
    let kept = &reputation.kept;
    json!({
        "slot": validator.slot,
        "name": validator.name,
        "weight": validator.weight,
        "id": hex::encode(validator.id),
        "key": hex::encode(validator.key),
        "votes_accepted": validator.votes,
        "clock": entries(&validator.clock),
        "standing": standing(validator),
        "fault": validator.fault.map(Fault::name),
        "reputation": reputation.score,
        "trust": kept.score,
        "bias": kept.bias,
        "agreed": kept.agreed,
        "disagreed": kept.disagreed,
        "timing": reputation.timing,
        "timing_slot": reputation.partner,
        "timing_with": reputation.partner.and_then(|slot| names.get(&slot)),
        "unheard": is_unheard(validator, watch),
        "requests_missed": validator.unheard,
        "heard_ms": validator.heard_ms,
    })
}

/// The names of validators by slot.
fn names_of(validators: &[Validator]) -> Names {
    validators
        .iter()
        .map(|validator| (validator.slot, validator.name.clone()))
        .collect()
}

fn list(output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let validators = client.validators()?;
    let watch = client.status()?.watch;
    if output.json {
        let names = names_of(&validators);
        let values: Vec<Value> = validators
            .iter()
            .map(|validator| json_of(validator, &watch, &names))
            .collect();
        return output.json(&values);
    }
    if validators.is_empty() {
        return output
            .line("no validators: add one with `tcpctl validator add --name NAME --key FILE.pub`");
    }
    output.raw(table(&validators, &watch, output).as_bytes())
}

/// The validators by slot, and below who needs attention.
fn table(validators: &[Validator], watch: &Watched, output: &Output) -> String {
    let total: u64 = validators
        .iter()
        .map(|validator| u64::from(validator.weight))
        .sum();
    let mut attention: Vec<String> = Vec::new();
    let mut table = Table::new(&[
        "SLOT",
        "NAME",
        "WEIGHT",
        "VOTES",
        "ID",
        "REPUTATION",
        "STANDING",
    ]);
    for validator in validators {
        let unheard = is_unheard(validator, watch);
        let name = clean(validator.name.as_bytes());
        let mut stands = standing(validator).to_owned();
        if unheard {
            stands.push_str(", unheard");
        }
        if stands != "trusted" {
            attention.push(name.clone());
        }
        table.row(vec![
            validator.slot.to_string(),
            name,
            validator.weight.to_string(),
            validator.votes.to_string(),
            short(&validator.id),
            validator.reputation.score.to_string(),
            stands,
        ]);
    }
    let mut text = table.render(output);
    text.push_str(&format!("total weight {total}\n"));
    if !attention.is_empty() {
        text.push_str(&format!(
            "look at {} with `tcpctl validator show NAME`\n",
            attention.join(", ")
        ));
    }
    text
}

fn show(name: &str, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let validators = client.validators()?;
    let status = client.status()?;
    let validator = validators
        .iter()
        .find(|validator| validator.name == name)
        .ok_or_else(|| Error::of(Refusal::ValidatorUnknown))?;
    let names = names_of(&validators);
    output.either(&json_of(validator, &status.watch, &names), || {
        pairs(&rows(validator, &status, &names, output))
    })
}

/// What a reputation means.
fn score_text(validator: &Validator) -> String {
    let score = validator.reputation.score;
    let meaning = match score {
        _ if validator.reputation.kept.score < DISTRUSTED => format!(
            "distrusted (below {DISTRUSTED}): thresholds are raised until it is {TRUSTED_AGAIN} again; find out why"
        ),
        _ if score < SUSPECTED => {
            format!("suspected (below {SUSPECTED}): nothing follows from it, but somebody should ask why")
        }
        _ => "nothing that is suspicious".to_owned(),
    };
    format!("{score} of 10000: {meaning}")
}

/// What became of the decisions that a validator took part in.
fn decisions_text(kept: &Kept) -> String {
    match kept.agreed.saturating_add(kept.disagreed) {
        0 => "none was judged yet".to_owned(),
        all => format!(
            "with more than half of all weight in {} of {all}, against it in {} ({} %)",
            kept.agreed,
            kept.disagreed,
            kept.disagreed.saturating_mul(100) / all
        ),
    }
}

/// Everything about a validator in words.
fn rows(
    validator: &Validator,
    status: &Status,
    names: &Names,
    output: &Output,
) -> Vec<(&'static str, String)> {
    let kept = &validator.reputation.kept;
    let timing = validator.reputation.timing;
    let stands = standing(validator);
    let tone = match stands {
        "trusted" => Tone::Good,
        "suspected" => Tone::Warn,
        _ => Tone::Bad,
    };
    let mut rows = vec![
        ("name", clean(validator.name.as_bytes())),
        ("id", hex::encode(validator.id)),
        ("slot", validator.slot.to_string()),
        (
            "weight",
            format!("{} of {}", validator.weight, status.total),
        ),
        ("votes", format!("{} accepted", validator.votes)),
        ("standing", output.paint(tone, stands)),
    ];
    if let Some(fault) = validator.fault {
        rows.extend(quarantine_rows(validator, fault));
    }
    rows.push(("reputation", score_text(validator)));
    rows.push(("decided", decisions_text(kept)));
    rows.push((
        "bias",
        format!(
            "{} of {BIAS}: rises with each vote against more than half of all weight, falls with the others; at {BIAS} the \
             reputation falls",
            kept.bias
        ),
    ));
    rows.push((
        "timing",
        match validator.reputation.partner {
            Some(partner) if timing > 0 => format!(
                "{timing} of {TIMING} with {}: rises when both vote within 100 ms, more often than by chance; at {TIMING} the \
                 reputation of both falls",
                validator_name(names, partner)
            ),
            _ => "nobody votes in step with it".to_owned(),
        },
    ));
    let missed = match validator.unheard {
        0 => "no request has ended without it since".to_owned(),
        count => format!(
            "{} ended without its vote since",
            crate::output::count(usize::try_from(count).unwrap_or(usize::MAX), "request")
        ),
    };
    let heard = validator.heard_ms.map_or("never".to_owned(), |ms| {
        format!("{} ago", human_duration(ms))
    });
    let unheard = match is_unheard(validator, &status.watch) {
        true => output.paint(Tone::Warn, "; unheard: call it, or remove it"),
        false => String::new(),
    };
    rows.push(("heard", format!("{heard}; {missed}{unheard}")));
    rows
}

/// What quarantine means, and what to do.
fn quarantine_rows(validator: &Validator, fault: Fault) -> [(&'static str, String); 3] {
    let name = clean(validator.name.as_bytes());
    [
        (
            "quarantined",
            format!(
                "its own signatures prove {}: see `tcpctl evidence show {name}`",
                match fault {
                    Fault::Equivocation => "two answers to one question",
                    Fault::Fork => "two different votes with one number",
                    Fault::Regression => "a clock that went back",
                }
            ),
        ),
        (
            "so",
            "its votes do not count, on open requests neither; its weight still counts in the total".to_owned(),
        ),
        (
            "what to do",
            format!(
                "find out whether the key was copied, or its journal (FILE.clock) old. If the key may be in other hands: \
                 `tcpctl validator remove {name}`, and enrol a new key. If it was an accident: `tcpctl validator readmit {name}`"
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{
            Mode,
            Phase, //
        },
        status::tests::{
            sample,
            watched, //
        }, //
    };
    use engine::{
        clock::NodeClock,
        reputation::View, //
    };

    const PLAIN: Output = Output {
        json: false,
        colour: false,
    };

    fn validator(name: &str, slot: u16, score: u16) -> Validator {
        Validator {
            name: name.into(),
            id: [7; 32],
            key: [4; 65],
            weight: 1,
            slot,
            clock: NodeClock::new(),
            votes: 5,
            fault: None,
            reputation: View {
                score,
                kept: Kept {
                    score,
                    bias: 4,
                    agreed: 6,
                    disagreed: 2,
                },
                timing: 0,
                partner: None,
            },
            unheard: 0,
            heard_ms: Some(61_000),
        }
    }

    #[test]
    fn who_needs_attention_is_marked() {
        let mut all = vec![
            validator("a", 1, 10_000),
            validator("b", 2, 7_999),
            validator("c", 3, 4_999),
            validator("d", 4, 8_000),
            validator("e", 5, 10_000),
        ];
        all[3].fault = Some(Fault::Fork);
        all[4].unheard = UNHEARD;
        all[4].heard_ms = Some(600_000);
        let text = table(&all, &watched(), &PLAIN);
        for part in [
            "10000       trusted\n2",
            "7999        suspected\n",
            "4999        distrusted\n",
            "8000        fork\n",
            "10000       trusted, unheard\n",
            "total weight 5\nlook at b, c, d, e with",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        all[4].heard_ms = Some(599_999);
        let text = table(&all[..1], &watched(), &PLAIN);
        assert!(!text.contains("look at"), "{text}");
        assert!(!is_unheard(&all[4], &watched()));
        assert!(!is_unheard(&all[4], &Watched::default()));
    }

    #[test]
    fn a_reputation_is_explained() {
        let status = sample(Phase::Sealed, Mode::Enforce);
        let names = Names::from([(2, "bob".to_owned())]);
        let text = |validator: &Validator| pairs(&rows(validator, &status, &names, &PLAIN));
        let mut one = validator("alice", 1, 7_500);
        one.reputation.timing = 70;
        one.reputation.partner = Some(2);
        one.unheard = 1;
        let shown = text(&one);
        for part in [
            "standing    suspected\n",
            "7500 of 10000: suspected (below 8000)",
            "in 6 of 8, against it in 2 (25 %)",
            "4 of 16",
            "70 of 96 with bob",
            "1m 1s ago; 1 request ended without its vote since\n",
            "weight      1 of 4\n",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains("quarantined"));
        let value = json_of(&one, &status.watch, &names);
        assert_eq!(value["timing_with"], "bob");
        assert_eq!(value["standing"], "suspected");
        assert!(value["fault"].is_null());

        (one.reputation.score, one.reputation.kept.score) = (4_000, 4_000);
        assert!(text(&one).contains("until it is 6000 again"));
        one.fault = Some(Fault::Equivocation);
        one.reputation.kept.agreed = 0;
        one.reputation.kept.disagreed = 0;
        one.reputation.partner = None;
        one.unheard = 4;
        one.heard_ms = None;
        let shown = text(&one);
        for part in [
            "standing     equivocation\n",
            "two answers to one question: see `tcpctl evidence show alice`",
            "tcpctl validator readmit alice",
            "still counts in the total",
            "none was judged yet",
            "nobody votes in step",
            "never; 4 requests",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert_eq!(
            json_of(&one, &status.watch, &names)["fault"],
            "equivocation"
        );
    }

    #[test]
    fn names_are_checked_before_they_are_sent() {
        for good in ["alice", "a.b_c-1", &"x".repeat(32)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
