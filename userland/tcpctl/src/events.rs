// SPDX-License-Identifier: GPL-2.0

//! `tcpctl events`: the causal log.

use std::time::Duration;

use clap::Args;
use engine::clock::Chain;
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
    output::{
        note,
        Output, //
    },
    request, //
};

/// What to show of the log.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Go on printing events as they happen (takes CAP_SYS_ADMIN)
    #[arg(long, short)]
    follow: bool,
    /// The first event to show, by number
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Recompute the chain of digests over what is shown, and fail when it does not fit
    #[arg(long)]
    verify: bool,
}

/// Recomputes the chain over a run of events.
#[derive(Debug)]
pub(crate) struct Verifier {
    chain: Option<(u64, Chain)>,
    node: [u8; 32],
    epoch: u64,
    /// First and last event whose head was recomputed.
    verified: Option<(u64, u64)>,
}

impl Verifier {
    /// Starts for one load of a node.
    pub(crate) fn new(node: &[u8; 32], epoch: u64) -> Self {
        Self {
            chain: None,
            node: *node,
            epoch,
            verified: None,
        }
    }

    /// Checks one event: its number, and that its head is the digest of the head before it and of its encoding.
    ///
    /// The first event shown has nothing before it, unless it is the first of all: then its head is only taken as the
    /// start. After a gap the same.
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
            _ if event.number == 1 => Some(Chain::new::<Sha256>(&self.node, self.epoch)),
            _ => None,
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
        for event in events {
            if let Some(verifier) = &mut self.verifier {
                verifier.check(event)?;
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

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node, and a broken chain.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let status = client.status()?;
    let mut printer = Printer {
        output,
        names: request::names(&mut client),
        verifier: command
            .verify
            .then(|| Verifier::new(&status.node, status.epoch)),
        lines: command.follow,
        values: Vec::new(),
    };
    if command.follow {
        let mut stream = EventStream::open(command.from)?;
        let (events, lost) = stream.catch_up()?;
        printer.print(&events, lost)?;
        loop {
            let (events, lost) = stream.more(Duration::from_secs(3600))?;
            printer.print(&events, lost)?;
        }
    }
    let (events, lost) = client.events(command.from)?;
    printer.print(&events, lost)?;
    let verified = printer.verifier.as_ref().and_then(|of| of.verified);
    if output.json {
        let head = events.last().map(|event| hex::encode(event.chain));
        return output.json(&json!({
            "events": printer.values,
            "lost": lost,
            "head": head,
            "verified": verified.map(|(first, last)| [first, last]),
        }));
    }
    if command.verify {
        let text = match (verified, events.last()) {
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
        let mut chain = Chain::new::<Sha256>(&[1; 32], 7);
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
