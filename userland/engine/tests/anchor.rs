// SPDX-License-Identifier: GPL-2.0

//! What a load finds in the TPM, and commits that are cut off anywhere.

mod support;

use engine::anchor::{
    self,
    Index,
    Next,
    Position,
    Standing,
    Start,
    Witness, //
};
use engine::clock::first_number;
use engine::refusal::Refusal;
use engine::state::State;
use engine::wire::Digest;
use proptest::prelude::*;
use support::{
    mac,
    Sample,
    Sha256,
    NODE,
    STATE_KEY, //
};

const DOCUMENT: &str = include_str!("../../../Documentation/sealed-state.rst");

/// A digest that is not another one's.
fn id(number: u8) -> [u8; 32] {
    [number; 32]
}

fn witness(counter: Index<u64>, anchor: Index<[u8; 32]>) -> Witness {
    Witness {
        node: NODE,
        counter,
        anchor,
    }
}

/// Every kind of answer, with these values.
fn all<T: Copy>(values: &[T]) -> Vec<Index<T>> {
    [Index::Missing, Index::Foreign, Index::Unwritten]
        .into_iter()
        .chain(values.iter().map(|&value| Index::Value(value)))
        .collect()
}

#[test]
fn a_state_that_is_taken_is_called_what_it_is() {
    let names = [Standing::Current, Standing::Half, Standing::Outdated].map(Standing::name);
    assert_eq!(names, ["current", "half committed", "not current"]);
}

#[test]
fn the_document_and_the_code_agree_on_the_indices() {
    for (index, attributes) in [
        (anchor::COUNTER_INDEX, anchor::COUNTER_ATTRIBUTES),
        (anchor::ANCHOR_INDEX, anchor::ANCHOR_ATTRIBUTES),
    ] {
        let (_, text) = DOCUMENT
            .split_once(&format!("NV index ``{index:08x}``"))
            .unwrap();
        let (text, _) = text.split_once(", no authPolicy").unwrap();
        assert!(text.contains(&format!("attributes ``{attributes:08x}``")));
    }
    assert_eq!(anchor::WRITTEN, 0x2000_0000);
}

#[test]
fn a_load_begins_as_the_table_says() {
    let setup = |define_counter, define_anchor| Start::FirstUse {
        define_counter,
        define_anchor,
    };
    let locked = Start::Locked;
    let (c, e) = (5u64, id(1));
    use Index::{
        Foreign,
        Missing,
        Unwritten,
        Value, //
    };
    let table = [
        (Missing, Missing, setup(true, true)),
        (Missing, Unwritten, setup(true, false)),
        (Missing, Value(e), locked(Refusal::CounterMissing)),
        (Missing, Foreign, locked(Refusal::AnchorForeign)),
        (Unwritten, Missing, setup(false, true)),
        (Unwritten, Unwritten, setup(false, false)),
        (Unwritten, Value(e), locked(Refusal::CounterMissing)),
        (Unwritten, Foreign, locked(Refusal::AnchorForeign)),
        (Value(c), Missing, locked(Refusal::AnchorMissing)),
        (Value(c), Unwritten, setup(false, false)),
        (Value(c), Value(e), locked(Refusal::StateMissing)),
        (Value(c), Foreign, locked(Refusal::AnchorForeign)),
        (Foreign, Missing, locked(Refusal::CounterForeign)),
        (Foreign, Unwritten, locked(Refusal::CounterForeign)),
        (Foreign, Value(e), locked(Refusal::CounterForeign)),
        (Foreign, Foreign, locked(Refusal::CounterForeign)),
    ];
    for counter in all(&[c]) {
        for anchor in all(&[e]) {
            let rows: Vec<_> = table
                .iter()
                .filter(|row| row.0 == counter && row.1 == anchor)
                .collect();
            assert_eq!(rows.len(), 1);
            assert_eq!(anchor::start(&witness(counter, anchor)), rows[0].2);
        }
    }
}

/// The table of findings, row by row, as the document has it.
fn findings(witness: &Witness, node: &[u8; 32], p: &Position) -> Result<Standing, Refusal> {
    let c = match witness.counter {
        Index::Value(c) => Some(u128::from(c)),
        _ => None,
    };
    let e = match witness.anchor {
        Index::Value(e) => Some(e),
        _ => None,
    };
    let counter = u128::from(p.counter);
    let rows = [
        (node != &witness.node, Err(Refusal::StateOtherTpm)),
        (
            matches!(witness.counter, Index::Missing | Index::Unwritten),
            Err(Refusal::CounterMissing),
        ),
        (
            witness.counter == Index::Foreign,
            Err(Refusal::CounterForeign),
        ),
        (
            matches!(witness.anchor, Index::Missing | Index::Unwritten),
            Err(Refusal::AnchorMissing),
        ),
        (
            witness.anchor == Index::Foreign,
            Err(Refusal::AnchorForeign),
        ),
        (
            Some(counter) == c && Some(p.anchor) == e,
            Ok(Standing::Current),
        ),
        (
            Some(counter) == c.map(|c| c + 1) && Some(p.anchor) == e,
            Ok(Standing::Half),
        ),
        (
            Some(counter) == c.map(|c| c + 1) && Some(p.previous) == e,
            Err(Refusal::StateStagedOnly),
        ),
        (c.is_some_and(|c| counter < c), Err(Refusal::StateOlder)),
        (
            c.is_some_and(|c| counter > c + 1),
            Err(Refusal::CounterBehind),
        ),
        (true, Err(Refusal::AnchorDiffers)),
    ];
    rows.into_iter().find(|row| row.0).unwrap().1
}

/// Every position that differs in what matters.
fn positions() -> Vec<Position> {
    let mut list = Vec::new();
    for counter in [1, 2, 3, 4, 5, 6, u64::MAX - 1, u64::MAX] {
        for previous in 0..3 {
            for anchor in 0..3 {
                list.push(Position {
                    counter,
                    previous: id(previous),
                    anchor: id(anchor),
                });
            }
        }
    }
    list
}

/// Every answer of a TPM that differs in what matters.
fn witnesses() -> Vec<Witness> {
    let mut list = Vec::new();
    for counter in all(&[0, 1, 2, 3, 4, 5, u64::MAX - 1, u64::MAX]) {
        for anchor in all(&[id(0), id(1), id(2), id(3)]) {
            list.push(witness(counter, anchor));
        }
    }
    list
}

#[test]
fn a_state_is_judged_as_the_table_says() {
    let mut seen = std::collections::BTreeMap::new();
    for witness in witnesses() {
        for position in positions() {
            for node in [NODE, id(0x12)] {
                let found = anchor::judge(&witness, &node, &position);
                assert_eq!(found, findings(&witness, &node, &position));
                *seen.entry(format!("{found:?}")).or_insert(0) += 1;
            }
        }
    }
    // Every outcome came up.
    assert_eq!(seen.len(), 11, "{seen:?}");
}

#[test]
fn each_finding_has_its_example() {
    let position = Position {
        counter: 7,
        previous: id(1),
        anchor: id(2),
    };
    for (counter, anchor, outcome) in [
        (7, id(2), Ok(Standing::Current)),
        (6, id(2), Ok(Standing::Half)),
        (6, id(1), Err(Refusal::StateStagedOnly)),
        (8, id(3), Err(Refusal::StateOlder)),
        // The anchor alone does not make an older state current.
        (8, id(2), Err(Refusal::StateOlder)),
        (5, id(1), Err(Refusal::CounterBehind)),
        (1, id(2), Err(Refusal::CounterBehind)),
        (7, id(1), Err(Refusal::AnchorDiffers)),
        (7, id(3), Err(Refusal::AnchorDiffers)),
        (6, id(3), Err(Refusal::AnchorDiffers)),
    ] {
        let witness = witness(Index::Value(counter), Index::Value(anchor));
        assert_eq!(anchor::judge(&witness, &NODE, &position), outcome);
    }
    assert_eq!(Standing::Current as u16, 1);
    assert_eq!(Standing::Half as u16, 2);
}

#[test]
fn a_commit_goes_on_where_it_stopped() {
    for witness in witnesses() {
        for p in positions() {
            let now = match (witness.counter, witness.anchor) {
                (Index::Value(c), Index::Value(e)) => Some((u128::from(c), e)),
                (Index::Value(c), Index::Unwritten) => Some((u128::from(c), id(0))),
                _ => None,
            };
            let counter = u128::from(p.counter);
            let wanted = match now {
                Some((c, e)) if (c + 1, e) == (counter, p.previous) => Ok(Next::Extend),
                Some((c, e)) if (c + 1, e) == (counter, p.anchor) => Ok(Next::Increment),
                Some(now) if now == (counter, p.anchor) => Ok(Next::Done),
                _ => Err(Refusal::StateConflict),
            };
            assert_eq!(anchor::next(&witness, &p), wanted);
        }
    }
}

#[test]
fn the_anchor_is_extended_as_the_tpm_does() {
    let head = id(7);
    let first = anchor::extended::<Sha256>(&anchor::UNWRITTEN, &head);
    assert_eq!(first, Sha256::sha256(&[&[&[0; 32][..], &head].concat()]));
    let second = anchor::extended::<Sha256>(&first, &head);
    assert_eq!(second, Sha256::sha256(&[&[first, head].concat()]));
}

#[test]
fn a_year_has_as_many_writes_as_planned_or_measured() {
    let day = 24 * 60 * 60 * 1000;
    for (interval_s, measured, uptime_ms, writes) in [
        // A quarter of an hour: 35,040 checkpoints.
        (900, 0, 0, 70_080),
        (900, 2, 1000, 70_080),
        (3600, 4, day, 17_520),
        (86_400, 2, day, 730),
        // Rounded up to whole checkpoints.
        (u32::MAX, 0, day, 2),
        (31_536_001, 0, day, 2),
        // No checkpoints: only what is measured.
        (0, 0, day, 0),
        (0, 10, day, 3650),
        (0, 10, 2 * day, 1825),
        (0, 1, 3 * day, 122),
        // Within the first day, as if it were over.
        (0, 10, 0, 3650),
        (0, 10, day / 2, 3650),
        // Measured is more than planned.
        (900, 1000, day, 365_000),
        (1, u64::MAX, 0, u64::MAX),
    ] {
        assert_eq!(
            anchor::writes_a_year(interval_s, measured, uptime_ms),
            writes,
            "{interval_s} {measured} {uptime_ms}"
        );
    }
}

proptest! {
    #[test]
    fn writes_of_a_year_are_the_exact_quotient_or_slightly_more(
        interval_s: u32,
        measured: u64,
        uptime_ms: u64,
    ) {
        let year = 31_536_000u128;
        let planned = match u128::from(interval_s) {
            0 => 0,
            interval => year.div_ceil(interval) * 2,
        };
        let uptime_s = u128::from((uptime_ms / 1000).max(86_400));
        let found = (u128::from(measured) * year).div_ceil(uptime_s);
        let exact = planned.max(found);
        let writes = u128::from(anchor::writes_a_year(interval_s, measured, uptime_ms));
        prop_assert!(writes >= exact.min(u128::from(u64::MAX)));
        prop_assert!(writes <= exact + year);
    }
}

/// The machine stopped.
#[derive(Debug, Eq, PartialEq)]
struct Stopped;

/// What makes the machine stop: a number of steps that it still does.
struct Fuel(Option<u32>);

impl Fuel {
    /// Begins a step, if there is one left.
    fn step(&mut self) -> Result<(), Stopped> {
        match &mut self.0 {
            None => Ok(()),
            Some(0) => Err(Stopped),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

/// An ideal TPM: each command happens or does not, whatever its response.
struct Tpm {
    counter: Index<u64>,
    anchor: Index<[u8; 32]>,
    /// Commands whose response gets lost, although they were done: one bit for each.
    lossy: u32,
}

impl Tpm {
    fn witness(&self) -> Witness {
        witness(self.counter, self.anchor)
    }

    fn increment(&mut self) {
        self.counter = Index::Value(match self.counter {
            Index::Value(counter) => counter + 1,
            _ => 1,
        });
    }

    fn extend(&mut self, head: &[u8; 32]) {
        let before = match self.anchor {
            Index::Value(value) => value,
            _ => id(0),
        };
        self.anchor = Index::Value(Sha256::sha256(&[&before, head]));
    }

    /// Whether the response of this command gets lost.
    fn loses_response(&mut self) -> bool {
        let lost = self.lossy & 1 != 0;
        self.lossy >>= 1;
        lost
    }
}

/// A running node: what it would keep.
struct Node {
    epoch: u64,
    events: u64,
    content: u64,
}

/// The machine, and what the test knows about it.
struct World {
    tpm: Tpm,
    /// The file of the state, and the one beside it.
    file: Vec<u8>,
    beside: Vec<u8>,
    /// How much of a write reaches the disk before it is flushed, of 256.
    torn: u8,
    /// Whether user space puts the file that was accepted in place before it writes the next one.
    careful: bool,
    /// The last change that was acknowledged.
    acknowledged: u64,
    /// The change whose commit was begun last, and whether the anchor was extended for it.
    begun: (u64, bool),
    /// Every change that was ever begun has a number of its own.
    changes: u64,
    /// Epoch of the last load, and every state that was ever staged.
    epoch: u64,
    staged: Vec<Vec<u8>>,
}

/// What a state keeps: here only the number of the last change, as the policy.
fn content(state: &State<'_>) -> u64 {
    std::str::from_utf8(state.policy).unwrap().parse().unwrap()
}

impl World {
    fn new(torn: u8, lossy: u32, careful: bool) -> Self {
        Self {
            tpm: Tpm {
                counter: Index::Missing,
                anchor: Index::Missing,
                lossy,
            },
            file: Vec::new(),
            beside: Vec::new(),
            torn,
            careful,
            acknowledged: 0,
            begun: (0, false),
            changes: 0,
            epoch: 0,
            staged: Vec::new(),
        }
    }

    /// One commit, as "Commit" has it.
    fn commit(&mut self, node: &mut Node, change: u64, fuel: &mut Fuel) -> Result<(), Stopped> {
        let Index::Value(counter) = self.tpm.counter else {
            panic!("a node runs without a counter");
        };
        let previous = match self.tpm.anchor {
            Index::Value(value) => value,
            _ => id(0),
        };
        // 1. Stage.
        fuel.step()?;
        self.changes += 1;
        node.events += 1;
        let number = first_number(node.epoch) + node.events;
        let sample = Sample {
            counter: counter + 1,
            previous,
            chain: Sha256::sha256(&[&self.changes.to_be_bytes()]),
            number,
            clock: vec![(0, number)],
            policy: change.to_string().into_bytes(),
            ..Sample::new()
        };
        let mut bytes = vec![0; 2048];
        let len = sample.encode_in(&mut bytes).unwrap();
        bytes.truncate(len);
        self.staged.push(bytes.clone());
        self.begun = (change, false);
        // 2. Write, which reaches the disk in part; flush and read back.
        let part = bytes.len() * usize::from(self.torn) / 256;
        self.beside = bytes[..part].to_vec();
        fuel.step()?;
        self.beside = bytes;
        fuel.step()?;
        // 3. to 6. Repeated until the TPM has it.
        let position = State::decode::<Sha256>(&self.beside)
            .unwrap()
            .head
            .position();
        loop {
            fuel.step()?;
            match anchor::next(&self.tpm.witness(), &position).unwrap() {
                Next::Extend => {
                    self.tpm.extend(&sample.chain);
                    self.begun.1 = true;
                    fuel.step()?;
                    if self.tpm.loses_response() {
                        continue;
                    }
                    self.tpm.increment();
                }
                Next::Increment => self.tpm.increment(),
                Next::Done => break,
            }
        }
        // 7. Acknowledge.
        self.acknowledged = change;
        node.content = change;
        fuel.step()?;
        // 8. Rename.
        self.file = std::mem::take(&mut self.beside);
        Ok(())
    }

    /// Judges a file as the kernel does.
    fn judge(&self, bytes: &[u8]) -> Result<(Standing, u64), Refusal> {
        let state = State::decode::<Sha256>(bytes)?;
        let standing = anchor::judge(&self.tpm.witness(), state.head.node, &state.head.position())?;
        if mac(&STATE_KEY, state.signed) != *state.mac {
            return Err(Refusal::StateForged);
        }
        Ok((standing, content(&state)))
    }

    /// A load of the module, from power on until the node works. `Err(Some(reason))`: the node is
    /// bricked.
    fn boot(&mut self, fuel: &mut Fuel) -> Result<Node, Option<Refusal>> {
        let stopped = |Stopped| None;
        match anchor::start(&self.tpm.witness()) {
            Start::FirstUse {
                define_counter,
                define_anchor,
            } => {
                if define_counter {
                    fuel.step().map_err(stopped)?;
                    self.tpm.counter = Index::Unwritten;
                }
                if define_anchor {
                    fuel.step().map_err(stopped)?;
                    self.tpm.anchor = Index::Unwritten;
                }
                fuel.step().map_err(stopped)?;
                self.tpm.increment();
                assert_eq!(self.acknowledged, 0, "what was acknowledged is forgotten");
                Ok(self.load(0))
            }
            Start::Locked(Refusal::StateMissing) => self.restore(fuel),
            Start::Locked(reason) => Err(Some(reason)),
        }
    }

    /// Begins to count in the epoch that the counter says.
    fn load(&mut self, content: u64) -> Node {
        let Index::Value(epoch) = self.tpm.counter else {
            panic!("a load without a counter");
        };
        assert!(epoch > self.epoch, "an epoch came twice");
        self.epoch = epoch;
        Node {
            epoch,
            events: 0,
            content,
        }
    }

    fn restore(&mut self, fuel: &mut Fuel) -> Result<Node, Option<Refusal>> {
        let stopped = |Stopped| None;
        // Whatever was staged and is not the last state is refused.
        for bytes in &self.staged {
            if let Ok((_, content)) = self.judge(bytes) {
                assert_eq!(content, self.expected());
            }
        }
        let beside = self.judge(&self.beside.clone());
        let file = self.judge(&self.file.clone());
        let (standing, content) = match (beside, file) {
            (Ok(found), _) => {
                if self.careful {
                    fuel.step().map_err(stopped)?;
                    self.file = std::mem::take(&mut self.beside);
                }
                found
            }
            (_, Ok(found)) => found,
            (_, Err(reason)) => return Err(Some(reason)),
        };
        assert_eq!(content, self.expected(), "what was acknowledged is lost");
        if standing == Standing::Half {
            fuel.step().map_err(stopped)?;
            self.tpm.increment();
        }
        self.acknowledged = content;
        // The successor ends the restore; its commit makes the epoch.
        let Index::Value(counter) = self.tpm.counter else {
            panic!("a state was accepted without a counter");
        };
        let mut node = Node {
            epoch: counter + 1,
            events: 0,
            content,
        };
        self.commit(&mut node, content, fuel).map_err(stopped)?;
        let events = node.events;
        Ok(Node {
            events,
            ..self.load(content)
        })
    }

    /// What a restored node has to have: a change whose commit reached the anchor, even if nobody
    /// was told, otherwise the last one that was acknowledged.
    fn expected(&self) -> u64 {
        match self.begun {
            (change, true) => change,
            (_, false) => self.acknowledged,
        }
    }

    /// Boots and commits changes until the machine stops.
    fn run(&mut self, fuel: u32) -> Result<(), Refusal> {
        let mut fuel = Fuel(Some(fuel));
        let mut node = match self.boot(&mut fuel) {
            Ok(node) => node,
            Err(None) => return Ok(()),
            Err(Some(reason)) => return Err(reason),
        };
        assert_eq!(node.content, self.acknowledged);
        loop {
            let change = self.changes + 1;
            if self.commit(&mut node, change, &mut fuel) == Err(Stopped) {
                return Ok(());
            }
        }
    }

    /// The power stays on at last: the node has to work.
    fn settle(&mut self) -> Result<(), Refusal> {
        let mut fuel = Fuel(None);
        let mut node = self.boot(&mut fuel).map_err(|reason| reason.unwrap())?;
        assert_eq!(node.content, self.acknowledged);
        let change = self.changes + 1;
        assert_eq!(self.commit(&mut node, change, &mut fuel), Ok(()));
        assert_eq!(self.acknowledged, change);
        Ok(())
    }
}

/// Two power cuts at every step and a third one at some, then a boot that is let through.
fn every_cut(careful: bool) -> Result<(), Refusal> {
    for torn in [0, 100, 255] {
        for lossy in [0, 0b0101_0101] {
            for first in 0..14 {
                for second in 0..18 {
                    for third in (0..12).step_by(3) {
                        let mut world = World::new(torn, lossy, careful);
                        for fuel in [first, second, third] {
                            world.run(fuel)?;
                        }
                        world.settle()?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_anywhere_neither_bricks_nor_forgets() {
    assert_eq!(every_cut(true), Ok(()));
}

#[test]
fn a_careless_user_space_would_brick() {
    // The accepted file is the only current one while its successor is written over it: the model
    // sees what it is there to see.
    assert!(every_cut(false).is_err());
}

proptest! {
    #[test]
    fn any_number_of_power_cuts_neither_bricks_nor_forgets(
        cuts in proptest::collection::vec(0u32..40, 0..12),
        torn: u8,
        lossy: u32,
    ) {
        let mut world = World::new(torn, lossy, true);
        for fuel in cuts {
            prop_assert_eq!(world.run(fuel), Ok(()));
        }
        prop_assert_eq!(world.settle(), Ok(()));
    }
}
