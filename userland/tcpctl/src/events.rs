// SPDX-License-Identifier: GPL-2.0

//! `tcpctl events`: the causal log.

use clap::{
    Args,
    Subcommand, //
};
use engine::clock::{
    Chain,
    NO_HEAD, //
};
use serde_json::json;

use crate::{
    client::{
        Client,
        Event,
        EventStream, //
    },
    crypto::Sha256,
    describe::{
        self,
        Names, //
    },
    error::{
        Error,
        Result, //
    },
    export,
    output::{
        note,
        Output, //
    },
    request, //
};

/// What to show of the log.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Go on printing events as they happen (takes CAP_SYS_ADMIN)
    #[arg(long, short)]
    follow: bool,
    /// The first event to show, by number
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Recompute the chain of digests over what is shown, and fail when it does not fit
    ///
    /// Also fails when events are missing that did not leave the ring, and, without --follow, when the head is not the one
    /// that the node reports. After events that left the ring a new run starts; each run is reported.
    #[arg(long)]
    verify: bool,
}

/// What to do with the log other than printing it.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the log for an auditor, in the form that `tcpctl audit verify` reads
    ///
    /// The file holds the node's events verbatim, each with the chain's value after it. It is written beside FILE, flushed,
    /// and renamed; with --follow it is appended to and flushed, and may be cut at any byte.
    #[command(
        after_help = "Example:\n  tcpctl events export --follow --out /var/lib/tcp-lsm/node.log"
    )]
    Export(export::Command),
}

/// Recomputes the chain over a run of events.
#[derive(Debug)]
pub(crate) struct Verifier {
    chain: Option<(u64, Chain)>,
    node: [u8; 32],
    epoch: u64,
    /// First and last event whose head was recomputed, in the run that goes on.
    verified: Option<(u64, u64)>,
    /// The runs that have ended before a gap.
    ended: Vec<(u64, u64)>,
    /// Events that have left the ring and whose gap has not been met yet.
    lost: u64,
}

impl Verifier {
    /// Starts for one load of a node.
    pub(crate) fn new(node: &[u8; 32], epoch: u64) -> Self {
        Self {
            chain: None,
            node: *node,
            epoch,
            verified: None,
            ended: Vec::new(),
            lost: 0,
        }
    }

    /// Every run of events whose heads were recomputed, in order.
    fn runs(&self) -> Vec<(u64, u64)> {
        self.ended.iter().copied().chain(self.verified).collect()
    }

    /// Checks one event: its number, and that its head is the digest of the head before it and of its encoding.
    ///
    /// The first event shown has nothing before it, unless it is the first of all: then its head is only taken as the
    /// start. After a gap the same, if so many events are known to have left the ring; any other gap breaks the chain.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] `chain_broken`.
    pub(crate) fn check(&mut self, event: &Event) -> Result<()> {
        let broken = |why: &str| {
            Error::invalid(
                "chain_broken",
                format!(
                    "event {}: {why}: the log has been changed on its way, or the node lies; keep a copy of it",
                    event.number
                ),
            )
        };
        let decoded = describe::decode_event(event)?;
        if decoded.header.number != event.number {
            return Err(broken("its encoding has another number"));
        }
        let before = match self.chain.take() {
            Some((number, chain)) if number.checked_add(1) == Some(event.number) => Some(chain),
            Some((number, _)) if number >= event.number => {
                return Err(broken("it is out of order"))
            }
            Some((number, _)) => {
                let missing = event.number.saturating_sub(number).saturating_sub(1);
                self.lost = self
                    .lost
                    .checked_sub(missing)
                    .ok_or_else(|| broken(&format!("the {missing} before it are missing")))?;
                self.ended.extend(self.verified.take());
                None
            }
            None if event.number == 1 => {
                Some(Chain::new::<Sha256>(&self.node, self.epoch, &NO_HEAD))
            }
            None => None,
        };
        if let Some(mut chain) = before {
            chain.extend::<Sha256>(&event.encoding, &[]);
            if *chain.head() != event.chain {
                return Err(broken("its chain is not the digest of what precedes it"));
            }
            let first = self.verified.map_or(event.number, |(first, _)| first);
            self.verified = Some((first, event.number));
        }
        self.chain = Some((event.number, Chain::from_head(event.chain)));
        Ok(())
    }
}

/// Prints events, and checks them when asked to.
struct Printer<'a> {
    output: &'a Output,
    names: Names,
    verifier: Option<Verifier>,
    /// The first event that was asked for.
    from: u64,
    lines: bool,
    values: Vec<serde_json::Value>,
}

impl Printer<'_> {
    fn print(&mut self, events: &[Event], lost: u64) -> Result<()> {
        if lost > 0 {
            note(
                self.output,
                &format!("{lost} events left the ring before they were read"),
            );
        }
        if let Some(verifier) = &mut self.verifier {
            // What is missing before the first event of all shows as no gap.
            let before = match (&verifier.chain, events.first()) {
                (None, Some(first)) => first.number.saturating_sub(self.from.max(1)),
                _ => 0,
            };
            verifier.lost = lost.saturating_sub(before);
        }
        for event in events {
            let ended = self.verifier.as_ref().map_or(0, |of| of.ended.len());
            if let Some(verifier) = &mut self.verifier {
                verifier.check(event)?;
                if let Some((first, last)) = verifier.ended.get(ended) {
                    note(
                        self.output,
                        &format!(
                            "verified: the chain of events {first} to {last} fits; a new run starts at event {}",
                            event.number
                        ),
                    );
                }
            }
            describe::learn_names(event, &mut self.names);
            if !self.output.json {
                self.output
                    .line(&describe::event_line(event, &self.names)?)?;
            } else if self.lines {
                self.output
                    .json_line(&describe::event_json(event, &self.names)?)?;
            } else {
                self.values.push(describe::event_json(event, &self.names)?);
            }
        }
        Ok(())
    }
}

/// Compares the head after the event `number` with the one that the node reports.
fn check_head(events: &[Event], number: u64, head: &[u8; 32]) -> Result<()> {
    match events.iter().find(|event| event.number == number) {
        Some(event) if event.chain != *head => Err(Error::invalid(
            "chain_broken",
            format!(
                "event {number}: its chain is not the head that the node reports: the log has been changed on its way, or \
                 the node lies; keep a copy of it"
            ),
        )),
        _ => Ok(()),
    }
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node, and a broken chain.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    if let Some(Verb::Export(export)) = &command.verb {
        return export::run(export, output);
    }
    let mut client = Client::open()?;
    let status = client.status()?;
    let mut printer = Printer {
        output,
        names: request::names(&mut client),
        verifier: command
            .verify
            .then(|| Verifier::new(&status.node, status.epoch)),
        from: command.from,
        lines: command.follow,
        values: Vec::new(),
    };
    if command.follow {
        let mut stream = EventStream::open(command.from)?;
        let (events, lost) = stream.catch_up()?;
        printer.print(&events, lost)?;
        loop {
            let (events, lost) = stream.more()?;
            printer.print(&events, lost)?;
        }
    }
    let (events, lost) = client.events(command.from)?;
    printer.print(&events, lost)?;
    if command.verify {
        check_head(&events, status.event, &status.chain)?;
    }
    let runs = printer.verifier.as_ref().map(Verifier::runs);
    let verified = runs.as_ref().and_then(|runs| runs.last().copied());
    if output.json {
        let head = events.last().map(|event| hex::encode(event.chain));
        return output.json(&json!({
            "events": printer.values,
            "lost": lost,
            "head": head,
            "verified": verified.map(|(first, last)| [first, last]),
            "runs": runs,
        }));
    }
    if command.verify {
        let text = match (verified, events.last()) {
            // Runs before a gap were reported where they ended.
            (Some((first, last)), Some(event)) => format!(
                "verified: the chain of events {first} to {last} fits; head {}",
                hex::encode(event.chain)
            ),
            _ => "verified: nothing to check".to_owned(),
        };
        note(output, &text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::event::{
        Kind,
        Payload, //
    };

    /// A true log of `count` events.
    fn log(count: u64) -> Vec<Event> {
        let mut chain = Chain::new::<Sha256>(&[1; 32], 7, &NO_HEAD);
        (1..=count)
            .map(|number| {
                let mut event =
                    describe::tests::sample_event(number, Kind::AgentEnded, 0, &Payload::None);
                chain.extend::<Sha256>(&event.encoding, &[]);
                event.chain = *chain.head();
                event
            })
            .collect()
    }

    fn check(events: &[Event]) -> Result<Option<(u64, u64)>> {
        let mut verifier = Verifier::new(&[1; 32], 7);
        for event in events {
            verifier.check(event)?;
        }
        Ok(verifier.verified)
    }

    #[test]
    fn a_true_log_verifies() {
        let log = log(5);
        assert_eq!(check(&log).unwrap(), Some((1, 5)));
        assert_eq!(check(&log[2..]).unwrap(), Some((4, 5)));
        assert_eq!(check(&log[2..3]).unwrap(), None);
        assert_eq!(check(&[]).unwrap(), None);
    }

    #[test]
    fn a_gap_is_only_believed_when_so_much_was_lost() {
        let mut log = log(9);
        log.drain(4..6);
        assert_eq!(check(&log).unwrap_err().code(), "chain_broken");
        let mut verifier = Verifier::new(&[1; 32], 7);
        verifier.lost = 2;
        for event in &log {
            verifier.check(event).unwrap();
        }
        assert_eq!(verifier.runs(), [(1, 4), (8, 9)]);
        assert_eq!(verifier.lost, 0);
    }

    #[test]
    fn the_head_is_the_nodes() {
        let log = log(3);
        let head = log[2].chain;
        assert!(check_head(&log, 3, &head).is_ok());
        assert!(check_head(&log, 4, &[0; 32]).is_ok());
        let error = check_head(&log, 3, &[0; 32]).unwrap_err();
        assert_eq!(error.code(), "chain_broken");
    }

    #[test]
    fn every_change_breaks_the_chain() {
        let broken = |events: &[Event]| check(events).unwrap_err().code() == "chain_broken";
        let mut changed = log(5);
        changed[2].encoding[30] ^= 1;
        assert!(broken(&changed));
        let mut changed = log(5);
        changed[2].chain[0] ^= 1;
        assert!(broken(&changed));
        let mut swapped = log(5);
        swapped.swap(1, 2);
        assert!(broken(&swapped));
        let mut repeated = log(5);
        repeated[2] = repeated[1].clone();
        assert!(broken(&repeated));
        let mut renumbered = log(5);
        renumbered[2].number = 9;
        assert!(broken(&renumbered));
        let mut first = log(1);
        first[0].chain[0] ^= 1;
        assert!(broken(&first));
    }
}
