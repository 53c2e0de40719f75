// SPDX-License-Identifier: GPL-2.0

//! `tcpctl events`: the causal log.

use clap::{
    Args,
    Subcommand, //
};
use engine::{
    clock::{
        epoch_of,
        first_number,
        Chain, //
    },
    event::Kind, //
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
    /// that the node reports. After events that left the ring, and with another load of the module, a new run starts; each run
    /// is reported.
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
    /// First and last event whose head was recomputed, in the run that goes on.
    verified: Option<(u64, u64)>,
    /// The runs that have ended before a gap.
    ended: Vec<(u64, u64)>,
    /// Events that have left the ring and whose gap has not been met yet.
    lost: u64,
    /// The last event whose head was only taken as the start of a run.
    taken: Option<u64>,
}

/// Number of the first event of a load with that epoch.
fn beginning_of(epoch: u64) -> u64 {
    first_number(epoch).saturating_add(1)
}

/// Whether these events of a load, which follow its first one, are enough to know what it goes on from.
fn is_past_told(events: &[Event]) -> Result<bool> {
    for event in events {
        let decoded = describe::decode_event(event)?;
        // Before a state has been taken nothing of this can be; a load that comes so far without one has no past.
        let begun = matches!(
            decoded.header.kind,
            Kind::Policy | Kind::ValidatorAdded | Kind::Agent
        );
        if begun || export::state_head(&decoded).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Verifier {
    /// Starts for a node.
    pub(crate) fn new(node: &[u8; 32]) -> Self {
        Self {
            chain: None,
            node: *node,
            verified: None,
            ended: Vec::new(),
            lost: 0,
            taken: None,
        }
    }

    /// Every run of events whose heads were recomputed, in order.
    fn runs(&self) -> Vec<(u64, u64)> {
        self.ended.iter().copied().chain(self.verified).collect()
    }

    /// Checks one event: its number, and that its head is the digest of the head before it and of its encoding. `rest` are the
    /// events after it that are there already.
    ///
    /// The first event of a load goes on from the state that the load was restored from, which one of the next events names, or
    /// from nothing. Where that is not known, and where events before it have left the ring or were not asked for, its head is
    /// only taken as the start of a run. Any other gap breaks the chain.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] `chain_broken`.
    pub(crate) fn check(&mut self, event: &Event, rest: &[Event]) -> Result<()> {
        let broken = |why: &str| broken(event, why);
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
                // Another load of the module has numbers of its own: those in between were never given.
                let number = number.max(first_number(epoch_of(event.number)));
                let missing = event.number.saturating_sub(number).saturating_sub(1);
                self.lost = self
                    .lost
                    .checked_sub(missing)
                    .ok_or_else(|| broken(&format!("the {missing} before it are missing")))?;
                self.ended.extend(self.verified.take());
                self.begin(event, rest)?
            }
            None => self.begin(event, rest)?,
        };
        self.taken = before.is_none().then_some(event.number);
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

    /// The chain before an event, when it is the first one of a load and the next ones tell what that goes on from.
    fn begin(&self, event: &Event, rest: &[Event]) -> Result<Option<Chain>> {
        let epoch = epoch_of(event.number);
        if event.number != beginning_of(epoch) {
            return Ok(None);
        }
        // Those of another load tell nothing about this one.
        let count = rest
            .iter()
            .take_while(|next| epoch_of(next.number) == epoch)
            .count();
        let rest = rest.get(..count).unwrap_or(rest);
        match export::genesis(&self.node, epoch, event, rest)? {
            Some(start) => Ok(Some(Chain::from_head(start))),
            // Without a TPM there is no past.
            None if epoch == 0 || is_past_told(rest)? => Err(broken(
                event,
                "its chain is not the digest of what precedes it",
            )),
            None => Ok(None),
        }
    }
}

/// The error about an event.
fn broken(event: &Event, why: &str) -> Error {
    Error::invalid(
        "chain_broken",
        format!(
            "event {}: {why}: the log has been changed on its way, or the node lies; keep a copy of it",
            event.number
        ),
    )
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
                (None, Some(first)) => first
                    .number
                    .saturating_sub(self.from.max(beginning_of(epoch_of(first.number)))),
                _ => 0,
            };
            verifier.lost = lost.saturating_sub(before);
        }
        for (at, event) in (1..).zip(events) {
            let ended = self.verifier.as_ref().map_or(0, |of| of.ended.len());
            if let Some(verifier) = &mut self.verifier {
                verifier.check(event, events.get(at..).unwrap_or(&[]))?;
                if let Some((first, last)) = verifier.ended.get(ended) {
                    note(
                        self.output,
                        &format!(
                            "verified: the chain of events {first} to {last} fits; a new run starts at event {}",
                            event.number
                        ),
                    );
                }
                if let Some(number) = verifier.taken {
                    note(
                        self.output,
                        &format!(
                            "event {number} is taken as it is: what precedes it is not known; verified is what follows it"
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
        verifier: command.verify.then(|| Verifier::new(&status.node)),
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
    use crate::audit::tests::node::{
        Node,
        Segment, //
    };
    use engine::{
        clock::NO_HEAD,
        event::Payload, //
    };

    /// A true log of `count` events of an unsealed node.
    fn log(count: u64) -> Vec<Event> {
        let mut chain = Chain::new::<Sha256>(&[1; 32], 0, &NO_HEAD);
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

    fn verifier_of(node: &[u8; 32], events: &[Event]) -> Result<Verifier> {
        let mut verifier = Verifier::new(node);
        for (at, event) in (1..).zip(events) {
            verifier.check(event, &events[at..])?;
        }
        Ok(verifier)
    }

    fn check(events: &[Event]) -> Result<Option<(u64, u64)>> {
        Ok(verifier_of(&[1; 32], events)?.verified)
    }

    /// The events of one load.
    fn events_of(segment: &Segment) -> Vec<Event> {
        segment
            .events
            .iter()
            .map(|(encoding, chain)| Event {
                number: u64::from_be_bytes(encoding[8..16].try_into().unwrap()),
                encoding: encoding.clone(),
                chain: *chain,
            })
            .collect()
    }

    /// A first load, one restored, one recovered by quorum, and one that began setup anew.
    fn sealed_node() -> Node {
        let mut node = Node::new(3);
        node.set_up();
        node.restart(false);
        node.recover(|node, id| node.approve(id));
        node.recover_to_setup();
        node.set_up();
        node
    }

    #[test]
    fn a_load_of_a_sealed_node_is_verified_from_its_first_event_on() {
        let node = sealed_node();
        assert_eq!(node.log.segments.len(), 4);
        for segment in &node.log.segments {
            let events = events_of(segment);
            let first = beginning_of(segment.epoch);
            let last = events.last().unwrap().number;
            let found = verifier_of(&node.id, &events).unwrap();
            assert_eq!((found.verified, found.lost), (Some((first, last)), 0));
            // Changed, it is no digest of what the load goes on from.
            for change in [
                |event: &mut Event| event.encoding[30] ^= 1,
                |event: &mut Event| event.chain[0] ^= 1,
            ] {
                let mut changed = events.clone();
                change(&mut changed[0]);
                let error = verifier_of(&node.id, &changed).unwrap_err();
                assert_eq!(error.code(), "chain_broken");
                assert!(error.to_string().contains(&first.to_string()), "{error}");
            }
            assert!(verifier_of(&[9; 32], &events).is_err());
        }
    }

    #[test]
    fn a_load_whose_past_is_not_told_yet_is_verified_from_its_second_event_on() {
        let node = sealed_node();
        let segment = &node.log.segments[1];
        let events = events_of(segment);
        let first = beginning_of(segment.epoch);
        let mut verifier = Verifier::new(&node.id);
        verifier.check(&events[0], &[]).unwrap();
        assert_eq!((verifier.taken, verifier.verified), (Some(first), None));
        verifier.check(&events[1], &[]).unwrap();
        assert_eq!(verifier.taken, None);
        assert_eq!(verifier.verified, Some((first + 1, first + 1)));
    }

    #[test]
    fn another_epoch_is_no_gap() {
        let node = sealed_node();
        let mut events = events_of(&node.log.segments[0]);
        let end = events.last().unwrap().number;
        events.extend(events_of(&node.log.segments[1]));
        let first = beginning_of(node.log.segments[1].epoch);
        let found = verifier_of(&node.id, &events).unwrap();
        let last = events.last().unwrap().number;
        assert_eq!(found.runs(), [(beginning_of(3), end), (first, last)]);
        // What is missing of it is one.
        let at = events.iter().position(|event| event.number == first);
        events.remove(at.unwrap());
        let error = verifier_of(&node.id, &events).unwrap_err();
        assert_eq!(error.code(), "chain_broken");
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
        let mut verifier = Verifier::new(&[1; 32]);
        verifier.lost = 2;
        for (at, event) in (1..).zip(&log) {
            verifier.check(event, &log[at..]).unwrap();
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
