// SPDX-License-Identifier: GPL-2.0

//! All loads of one node, one after the other.

use std::io::Read;

use engine::{
    clock::first_number,
    event::{
        Event,
        Kind,
        SealedBy, //
    }, //
};

use super::{
    anchors::Staged,
    fault::{
        same,
        same_digest,
        wrong,
        Checked,
        Fault,
        Wrong, //
    },
    load::{
        Counts,
        Load,
        Past,
        Texts, //
    },
    log::{
        Head,
        Item,
        ReadError,
        Reader, //
    }, //
};

/// A log as far as it has been read.
pub(crate) struct History {
    /// Texts of policies, to compare terms with.
    texts: Texts,
    /// Whether a log may begin within a load, and have gaps.
    partial: bool,
    /// What was checked.
    pub(crate) counts: Counts,
    node: Option<[u8; 32]>,
    /// A segment's head whose first event has not come yet.
    head: Option<Head>,
    /// The load that goes on.
    pub(crate) load: Option<Load>,
    /// The last epoch that a load had.
    epoch: Option<u64>,
    /// How the loads before ended.
    past: Option<Past>,
    /// Files that ended within an item.
    pub(crate) torn: Vec<(String, u64)>,
    /// Events after the last one that the anchor covers.
    tail: u64,
    /// Whether some load is not in the log from its beginning.
    pub(crate) gaps: bool,
    /// Whether the last load with an epoch ended before the TPM was told of anything in it.
    given_up: bool,
    /// Epochs of loads that go on from a state that nothing in the log stands behind.
    pub(crate) unfounded: Vec<u64>,
}

/// What the TPM vouches for, from a quote or a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vouched {
    /// The node.
    pub(crate) node: [u8; 32],
    /// The counter.
    pub(crate) counter: u64,
    /// The anchor.
    pub(crate) anchor: [u8; 32],
}

/// Where in the log that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached<'a> {
    /// Events after the last one that it covers.
    pub(crate) tail: u64,
    /// Whether the anchor is that of a commit whose counter has not come yet.
    pub(crate) half: bool,
    /// Whether it is what was staged last: no ANCHORED says that the TPM has it.
    pub(crate) staged: bool,
    /// The commit; [`None`] when the TPM was told how a load began, which commits no state.
    pub(crate) state: Option<&'a Staged>,
}

/// Why the reading of a log ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The file could not be read.
    Io(std::io::Error),
    /// Something is wrong.
    Fault(Box<Fault>),
}

impl History {
    /// Nothing read yet.
    pub(crate) fn new(texts: Texts, partial: bool) -> Self {
        Self {
            texts,
            partial,
            counts: Counts::default(),
            node: None,
            head: None,
            load: None,
            epoch: None,
            past: None,
            torn: Vec::new(),
            tail: 0,
            gaps: false,
            given_up: false,
            unfounded: Vec::new(),
        }
    }

    /// The node that the log is of.
    pub(crate) fn node(&self) -> Option<&[u8; 32]> {
        self.node.as_ref()
    }

    /// Reads a whole file. `progress` is called with the bytes and events so far.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn read(
        &mut self,
        name: &str,
        input: impl Read,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), Stop> {
        let mut reader = Reader::new(input);
        loop {
            let at = reader.offset();
            let fault = |event, kind, wrong| {
                Stop::Fault(Box::new(Fault {
                    event,
                    kind,
                    file: name.to_owned(),
                    wrong,
                }))
            };
            match reader.next() {
                Ok(Some(Item::Head(head))) => self
                    .segment(head)
                    .map_err(|wrong| fault(None, None, wrong))?,
                Ok(Some(Item::Event(bytes, chain))) => {
                    let number = bytes
                        .get(8..16)
                        .and_then(|bytes| bytes.first_chunk())
                        .map(|bytes| u64::from_be_bytes(*bytes));
                    let event = Event::decode(bytes).map_err(|error| {
                        let malformed = wrong("event_malformed", error.to_string(), "an event");
                        fault(number, None, malformed)
                    })?;
                    let kind = Some(event.header.kind.name());
                    self.event(bytes, &event, &chain)
                        .map_err(|wrong| fault(number, kind, wrong))?;
                }
                Ok(None) => break,
                Err(ReadError::Io(error)) => return Err(Stop::Io(error)),
                Err(ReadError::Damaged(number, wrong)) => return Err(fault(number, None, wrong)),
            }
            progress(at, self.counts.events);
        }
        if reader.offset() == 0 {
            return Err(Stop::Fault(Box::new(Fault {
                event: None,
                kind: None,
                file: name.to_owned(),
                wrong: wrong("log_empty", "there is no whole segment", "a log"),
            })));
        }
        if reader.torn() > 0 {
            self.torn.push((name.to_owned(), reader.torn()));
        }
        Ok(())
    }

    /// A segment begins.
    fn segment(&mut self, head: Head) -> Checked {
        match &self.node {
            Some(node) => same_digest("other_node", "the node", &head.node, node)?,
            None => self.node = Some(head.node),
        }
        self.head = Some(head);
        Ok(())
    }

    /// Begins the load of a segment, or goes on with the one before.
    fn begin(&mut self, head: &Head, event: &Event<'_>) -> Checked {
        let number = event.header.number;
        let beginning = first_number(head.epoch).saturating_add(1);
        let going_on = self
            .load
            .as_ref()
            .is_some_and(|load| load.epoch == head.epoch && *load.head() == head.chain);
        if number != beginning && going_on {
            return Ok(());
        }
        if number != beginning && !self.partial {
            return Err(match &self.load {
                Some(load) if load.epoch == head.epoch && number == load.number + 1 => wrong(
                    "chain_broken",
                    "the segment goes on from another head",
                    hex::encode(load.head()),
                ),
                Some(load) if load.epoch == head.epoch && number <= load.number => wrong(
                    "event_repeated",
                    format!("event {number} comes again, or late"),
                    format!("event {}", load.number + 1),
                ),
                Some(load) if load.epoch == head.epoch => wrong(
                    "event_missing",
                    format!("event {number} follows event {}", load.number),
                    format!("event {}", load.number + 1),
                ),
                _ => wrong(
                    "log_starts_late",
                    format!("the load begins with event {number}"),
                    format!("event {beginning}; or check what is there with --partial"),
                ),
            });
        }
        self.close();
        // A node that is locked has no epoch yet, and may be locked as often as it likes.
        let locked = head.epoch == 0
            && event.header.kind == Kind::Loaded
            && event.header.result == SealedBy::Tpm as u16;
        if let (Some(last), false) = (self.epoch, locked) {
            let goes_on = self.partial && number != beginning && head.epoch == last;
            // What ended before the TPM was told of it leaves the counter alone: the next load begins the same epoch again.
            let again = head.epoch == last && self.given_up;
            if head.epoch <= last && !goes_on && !again {
                return Err(wrong(
                    "epoch_replayed",
                    format!("epoch {} after epoch {last}", head.epoch),
                    "a greater epoch with each load",
                ));
            }
        }
        let past = if self.gaps { None } else { self.past.clone() };
        let load = Load::new(head, &event.header, past)?;
        self.gaps |= !load.whole;
        if !locked {
            self.epoch = Some(head.epoch);
        }
        self.counts.loads += 1;
        self.load = Some(load);
        Ok(())
    }

    /// Ends the load that goes on.
    fn close(&mut self) {
        if let Some(load) = self.load.take() {
            if load.has_epoch() {
                self.given_up = load.was_given_up();
                self.past = load.into_past();
            }
        }
    }

    fn event(&mut self, bytes: &[u8], event: &Event<'_>, chain: &[u8; 32]) -> Checked {
        if let Some(head) = self.head.take() {
            self.begin(&head, event)?;
        }
        let load = self.load.as_mut().ok_or_else(|| {
            wrong(
                "log_malformed",
                "an event before the first segment",
                "a segment's head",
            )
        })?;
        load.take(bytes, event, chain, &self.texts, &mut self.counts)?;
        if load.is_unfounded && !self.partial {
            return Err(wrong(
                "past_missing",
                "the log of the load that this one goes on from is not here: who approved its policy and validators is not known",
                "the log of the load before; or check what is there with --partial",
            ));
        }
        if load.is_unfounded && self.unfounded.last() != Some(&load.epoch) {
            self.unfounded.push(load.epoch);
        }
        self.tail = self.tail.saturating_add(1);
        if let (Some(committed), Kind::Anchored) = (&load.anchors.committed, event.header.kind) {
            self.tail = load.number.saturating_sub(committed.number);
        }
        Ok(())
    }

    /// The last commit in the log.
    pub(crate) fn committed(&self) -> Option<&Staged> {
        self.load
            .as_ref()
            .and_then(|load| load.anchors.committed.as_ref())
            .or_else(|| self.past.as_ref().and_then(|past| past.committed.as_ref()))
    }

    /// What was staged after the last commit and not committed, as far as the log tells.
    fn staged(&self) -> Option<&Staged> {
        match &self.load {
            Some(load) if load.has_epoch() => load.anchors.staged.as_ref(),
            _ => self.past.as_ref().and_then(|past| past.staged.as_ref()),
        }
    }

    /// Events after the last one that the anchor covers.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Demands that the log ends where the TPM says.
    ///
    /// # Errors
    ///
    /// `other_node`, `log_truncated`, `quote_older`, `anchor_differs`.
    pub(crate) fn vouch(&self, vouched: &Vouched) -> Result<Reached<'_>, Wrong> {
        if let Some(node) = &self.node {
            same_digest("other_node", "the node", &vouched.node, node)?;
        }
        let end = self.load.as_ref().map_or(0, |load| load.number);
        // When the power was cut right after a commit, its ANCHORED event is in no log.
        let begun = self.load.as_ref().and_then(|load| {
            let number = load.began_with(vouched.counter, &vouched.anchor)?;
            Some(Reached {
                tail: end.saturating_sub(number),
                half: vouched.counter != load.epoch,
                staged: false,
                state: None,
            })
        });
        if let Some(begun) = begun {
            return Ok(begun);
        }
        // The anchor is extended before the counter is incremented: in between it is that of the commit already.
        let half = |of: &Staged| {
            of.counter == vouched.counter.saturating_add(1) && of.anchor == vouched.anchor
        };
        let staged = self
            .staged()
            .filter(|staged| staged.counter == vouched.counter || half(staged));
        let Some(last) = staged.or_else(|| self.committed()) else {
            return Err(wrong(
                "log_truncated",
                "the log has no ANCHORED event",
                format!("one with counter {}", vouched.counter),
            ));
        };
        if vouched.counter > last.counter {
            return Err(wrong(
                "log_truncated",
                format!("the log ends with counter {}", last.counter),
                format!("the events up to counter {}", vouched.counter),
            ));
        }
        if vouched.counter < last.counter && !half(last) {
            return Err(wrong(
                "quote_older",
                format!("the TPM vouches for counter {}", vouched.counter),
                format!("counter {}, to which the log goes", last.counter),
            ));
        }
        same(
            "anchor_differs",
            "the anchor of the TPM",
            hex::encode(vouched.anchor),
            hex::encode(last.anchor),
        )?;
        Ok(Reached {
            tail: match staged {
                Some(staged) => end.saturating_sub(staged.number),
                None => self.tail,
            },
            half: vouched.counter != last.counter,
            staged: staged.is_some(),
            state: Some(last),
        })
    }
}
