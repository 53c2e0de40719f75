// SPDX-License-Identifier: GPL-2.0

//! `tcpctl request`: what waits for a quorum.

use std::path::PathBuf;

use clap::Subcommand;
use engine::event::Kind;
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        self,
        Client,
        EventStream,
        RequestState, //
    },
    crypto::sha256,
    describe::{
        self,
        percent,
        Names, //
    },
    error::{
        Error,
        Result, //
    },
    exported::Exported,
    file,
    ids::{
        self,
        short,
        Prefix, //
    },
    output::{
        clean,
        note,
        pairs,
        Output,
        Table,
        Tone, //
    },
    time::human_duration, //
};

/// What to do with requests.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the open requests
    #[command(after_help = "Example:\n  tcpctl request list --all")]
    List {
        /// Also those that are decided
        #[arg(long)]
        all: bool,
    },
    /// Show everything that an approver of a request signs
    #[command(after_help = "Example:\n  tcpctl request show 3f9a12c4")]
    Show {
        /// Id of the request, at least its first 8 digits
        #[arg(value_name = "ID", value_parser = ids::parse)]
        id: Prefix,
    },
    /// Print requests, votes and decisions as they happen, one line each
    ///
    /// Takes CAP_SYS_ADMIN. Ends on Ctrl-C, with exit code 3 when the module is unloaded, and with 1 when it is loaded anew.
    #[command(after_help = "Example:\n  tcpctl request watch --json")]
    Watch,
    /// Write a request to a file, so that a validator on another machine can vote
    ///
    /// The file is one JSON object: `format` ("tcpctl-request-1"), `id`, `request` (the encoding, hexadecimal), `node`,
    /// `epoch`, `boot_ms` and `wall_ms` (the node's clocks now), `clock` (the node's vector clock, a list of [slot, value])
    /// and `validators` (a list of {slot, name, id, weight, clock}; empty unless exported by root). It holds no secret.
    #[command(
        after_help = "Example:\n  tcpctl request export 3f9a12c4 --out r.json\n  \
                      tcpctl vote approve 3f9a12c4 --as bob --key bob.key --request r.json --out bob.vote"
    )]
    Export {
        /// Id of the request, at least its first 8 digits
        #[arg(value_name = "ID", value_parser = ids::parse)]
        id: Prefix,
        /// Where to write it; - is standard output, as without
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Close an open request; what it asked for stays refused
    #[command(after_help = "Example:\n  tcpctl request cancel 3f9a12c4")]
    Cancel {
        /// Id of the request, at least its first 8 digits
        #[arg(value_name = "ID", value_parser = ids::parse)]
        id: Prefix,
    },
}

/// Finds a request by its identity or the beginning of it.
///
/// # Errors
///
/// [`Error::Invalid`] when none or several fit.
pub(crate) fn find(client: &mut Client, id: &Prefix) -> Result<client::Request> {
    match id.whole() {
        Some(id) => client.request(&id),
        None => id.pick(
            "request",
            "request_unknown",
            client.requests()?,
            |request| &request.id,
        ),
    }
}

/// The colour of a state.
pub(crate) fn tone(state: RequestState) -> Tone {
    match state {
        RequestState::Open => Tone::Warn,
        RequestState::Granted => Tone::Good,
        RequestState::Denied | RequestState::Expired | RequestState::Cancelled => Tone::Bad,
    }
}

/// A request with its state, as JSON.
fn json_of(request: &client::Request) -> Result<Value> {
    let mut value = describe::request_json(&request.encoding)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("id".to_owned(), json!(hex::encode(request.id)));
        fields.insert("state".to_owned(), json!(request.state.name()));
        fields.insert("approve".to_owned(), json!(request.approve));
        fields.insert("deny".to_owned(), json!(request.deny));
        fields.insert("total".to_owned(), json!(request.total));
        fields.insert("barred".to_owned(), json!(request.barred));
        fields.insert("threshold_now_bp".to_owned(), json!(request.threshold_bp));
        fields.insert("voted".to_owned(), json!(request.voted));
        fields.insert("remaining_ms".to_owned(), json!(request.remaining_ms));
        fields.insert("encoding".to_owned(), json!(hex::encode(&request.encoding)));
    }
    Ok(value)
}

/// The threshold that decides a request, and that of its rule where it is another one.
fn threshold_text(request: &client::Request, rule_bp: u16) -> String {
    match request.threshold_bp {
        Some(now) if now != rule_bp => {
            format!("{} (raised from {})", percent(now), percent(rule_bp))
        }
        _ => percent(rule_bp),
    }
}

/// Approving weight that is missing.
fn missing(request: &client::Request, threshold_bp: u16) -> u64 {
    u64::from(threshold_bp)
        .saturating_mul(request.total)
        .div_ceil(engine::quorum::BASIS)
        .saturating_sub(request.approve)
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::List { all } => list(*all, output),
        Command::Show { id } => show(id, output),
        Command::Watch => watch(output),
        Command::Export { id, out } => {
            let mut client = Client::open()?;
            let request = find(&mut client, id)?;
            let validators = client.validators().unwrap_or_default();
            let status = client.status()?;
            let exported = Exported::new(&request.id, &request.encoding, &status, &validators);
            let mut text = serde_json::to_string_pretty(&exported)
                .map_err(|error| Error::invalid("json", error.to_string()))?;
            text.push('\n');
            if validators.is_empty() {
                note(
                    output,
                    "The validators could not be read (that takes root): voters will need --slot.",
                );
            }
            match out {
                None => output.raw(text.as_bytes()),
                Some(path) => {
                    file::write_out(path, 0o644, text.as_bytes(), output)?;
                    if file::is_stdout(path) {
                        return Ok(());
                    }
                    output.either(
                        &json!({ "file": path, "request": hex::encode(request.id) }),
                        || format!("written to {}", path.display()),
                    )
                }
            }
        }
        Command::Cancel { id } => {
            let mut client = Client::open()?;
            let id = find(&mut client, id)?.id;
            client.request_cancel(&id)?;
            output.either(
                &json!({ "outcome": "done", "request": hex::encode(id) }),
                || format!("cancelled {}", short(&id)),
            )
        }
    }
}

fn list(all: bool, output: &Output) -> Result<()> {
    let mut requests = Client::open()?.requests()?;
    let hidden = requests.len();
    requests.retain(|request| all || request.state == RequestState::Open);
    let hidden = hidden - requests.len();
    if output.json {
        let values: Vec<Value> = requests.iter().map(json_of).collect::<Result<_>>()?;
        return output.json(&values);
    }
    if requests.is_empty() {
        output.line("no open requests")?;
    } else {
        let mut table = Table::new(&[
            "REQUEST",
            "STATE",
            "OPERATION",
            "BY",
            "APPROVE",
            "DENY",
            "OF",
            "NEEDS",
            "LEFT",
            "ABOUT",
        ]);
        for request in &requests {
            let decoded = describe::decode(&request.encoding)?;
            table.row(vec![
                short(&request.id),
                request.state.name().to_owned(),
                decoded.binding.op.name().to_owned(),
                describe::who_short(&decoded),
                request.approve.to_string(),
                request.deny.to_string(),
                request.total.to_string(),
                threshold_text(request, decoded.binding.threshold_bp),
                match request.state {
                    RequestState::Open => human_duration(request.remaining_ms),
                    _ => "-".to_owned(),
                },
                describe::about(&decoded),
            ]);
        }
        output.raw(table.render(output).as_bytes())?;
    }
    if hidden > 0 {
        note(output, &format!("{hidden} decided: see them with --all."));
    }
    Ok(())
}

fn show(id: &Prefix, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let request = find(&mut client, id)?;
    if sha256(&request.encoding) != request.id {
        return Err(Error::invalid(
            "request_forged",
            "the request's id is not the digest of its encoding: do not approve it, and look at the node",
        ));
    }
    if output.json {
        return output.json(&json_of(&request)?);
    }
    let names = names(&mut client);
    let rule = describe::decode(&request.encoding)?.binding.threshold_bp;
    let voted: Vec<String> = request
        .voted
        .iter()
        .map(|slot| describe::validator_name(&names, *slot))
        .collect();
    let mut rows = describe::request_rows(&request.encoding)?;
    rows.push((
        "state",
        output.paint(tone(request.state), request.state.name()),
    ));
    rows.push((
        "votes",
        format!(
            "approve {}, deny {}, of {}",
            request.approve, request.deny, request.total
        ),
    ));
    if !voted.is_empty() {
        rows.push(("voted", voted.join(", ")));
    }
    if request.barred > 0 {
        rows.push((
            "barred",
            format!(
                "weight {}: quarantined, it can no longer approve",
                request.barred
            ),
        ));
    }
    rows.push(("needs", threshold_text(&request, rule)));
    if request.state == RequestState::Open {
        rows.push((
            "missing",
            format!(
                "weight {}",
                missing(&request, request.threshold_bp.unwrap_or(rule))
            ),
        ));
        rows.push(("left", human_duration(request.remaining_ms)));
    }
    output.raw(pairs(&rows).as_bytes())
}

/// The names of the validators by slot, as far as they may be read.
pub(crate) fn names(client: &mut Client) -> Names {
    client
        .validators()
        .unwrap_or_default()
        .into_iter()
        .map(|validator| (validator.slot, validator.name))
        .collect()
}

/// Whether an event is about a request.
fn concerns(event: &client::Event) -> bool {
    describe::decode_event(event).is_ok_and(|event| {
        matches!(
            event.header.kind,
            Kind::Request
                | Kind::Vote
                | Kind::Granted
                | Kind::Denied
                | Kind::Expired
                | Kind::Cancelled
                | Kind::Used
                | Kind::GrantEnded
                // They change what open requests need.
                | Kind::Quarantined
                | Kind::Alert
                | Kind::Calm
        )
    })
}

fn watch(output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let mut names = names(&mut client);
    // What is open already is shown first; joining before reading loses nothing.
    let next = client.status()?.event.saturating_add(1);
    let mut stream = EventStream::open(next)?;
    let open = client
        .requests()?
        .into_iter()
        .filter(|request| request.state == RequestState::Open);
    for request in open {
        let decoded = describe::decode(&request.encoding)?;
        if decoded.head.created >= next {
            continue;
        }
        if output.json {
            let mut value = json_of(&request)?;
            if let Some(fields) = value.as_object_mut() {
                fields.insert("kind".to_owned(), json!("OPEN"));
            }
            output.json_line(&value)?;
        } else {
            output.line(&format!(
                "open {} {} by {}: {} (approve {}, deny {}, of {}; {} left)",
                short(&request.id),
                decoded.binding.op.name(),
                describe::who(&decoded),
                describe::about(&decoded),
                request.approve,
                request.deny,
                request.total,
                human_duration(request.remaining_ms)
            ))?;
        }
    }
    // What happened between the two came before there was anybody to hear it.
    let mut heard = stream.catch_up()?;
    loop {
        let (events, lost) = heard;
        if lost > 0 {
            note(
                output,
                &clean(format!("{lost} events left the ring before they were read").as_bytes()),
            );
        }
        for event in &events {
            describe::learn_names(event, &mut names);
            if !concerns(event) {
                continue;
            }
            if output.json {
                output.json_line(&describe::event_json(event, &names)?)?;
            } else {
                output.line(&describe::event_line(event, &names)?)?;
            }
        }
        heard = stream.more()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{
        event::{
            Payload,
            Tally, //
        },
        op::Op,
        request::Fact, //
    };

    #[test]
    fn only_events_of_requests_are_watched() {
        let tally = Tally {
            approve: 1,
            deny: 0,
            total: 1,
            quarantined: 0,
            threshold_bp: 7500,
        };
        for (kind, payload, watched) in [
            (Kind::Granted, Payload::Tally(tally), true),
            (Kind::Cancelled, Payload::None, true),
            (Kind::Alert, Payload::None, true),
            (Kind::AgentEnded, Payload::None, false),
        ] {
            let result = u16::from(matches!(kind, Kind::Cancelled | Kind::Alert));
            let event = describe::tests::sample_event(3, kind, result, &payload);
            assert_eq!(concerns(&event), watched, "{kind:?}");
        }
    }

    #[test]
    fn the_missing_weight_is_rounded_up() {
        let encoding = describe::tests::sample(Op::FileWrite, 9, &[Fact::Path(b"/x")]);
        let mut request = client::Request {
            id: sha256(&encoding),
            encoding,
            state: RequestState::Open,
            approve: 0,
            deny: 0,
            total: 3,
            barred: 0,
            threshold_bp: None,
            voted: vec![],
            remaining_ms: 1,
        };
        assert_eq!(missing(&request, 7500), 3);
        request.approve = 2;
        assert_eq!(missing(&request, 6666), 0);
        assert_eq!(missing(&request, 6667), 1);
        assert_eq!(threshold_text(&request, 7500), "75%");
        request.threshold_bp = Some(7500);
        assert_eq!(threshold_text(&request, 7500), "75%");
        request.threshold_bp = Some(9000);
        assert_eq!(threshold_text(&request, 7500), "90% (raised from 75%)");
        let value = json_of(&request).unwrap();
        assert_eq!(
            (&value["state"], &value["approve"]),
            (&json!("open"), &json!(2))
        );
        for state in [
            RequestState::Open,
            RequestState::Granted,
            RequestState::Denied,
            RequestState::Expired,
            RequestState::Cancelled,
        ] {
            assert!(!state.name().is_empty());
            assert_eq!(tone(state) == Tone::Good, state == RequestState::Granted);
        }
    }
}
