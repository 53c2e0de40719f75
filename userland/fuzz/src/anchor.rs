// SPDX-License-Identifier: GPL-2.0

//! Commits and restores with a TPM, and a power cut between any two of its commands.
//!
//! The first byte chooses: a node that goes on and on, or a witness of any kind.

use crate::{
    first,
    Input,
    Sha256, //
};
use engine::anchor::{
    extended,
    judge,
    next,
    start,
    writes_a_year,
    Index,
    Next,
    Position,
    Standing,
    Start,
    Witness,
    UNWRITTEN,
    WRITES_PER_COMMIT, //
};
use engine::refusal::Refusal;

/// The node.
const NODE: [u8; 32] = [0x11; 32];

/// Runs the target.
pub fn run(data: &[u8]) {
    let (mode, rest) = first(data);
    match mode % 3 {
        0 => Machine::new().run(Input::new(rest)),
        1 => any(Input::new(rest)),
        _ => writes(Input::new(rest)),
    }
}

/// A node with its TPM, and all states that it ever wrote.
struct Machine {
    counter: Index<u64>,
    anchor: Index<[u8; 32]>,
    /// Every state that was staged, in its order.
    states: Vec<Position>,
    /// The states that were acknowledged, the last of which is in force.
    committed: Vec<Position>,
    /// What is being committed.
    staged: Option<Position>,
    heads: u8,
}

impl Machine {
    fn new() -> Self {
        Self {
            counter: Index::Missing,
            anchor: Index::Missing,
            states: Vec::new(),
            committed: Vec::new(),
            staged: None,
            heads: 0,
        }
    }

    fn witness(&self) -> Witness {
        Witness {
            node: NODE,
            counter: self.counter,
            anchor: self.anchor,
        }
    }

    fn increment(&mut self) {
        self.counter = match self.counter {
            Index::Value(counter) => Index::Value(counter + 1),
            // The first increment starts where no counter of the TPM has been.
            _ => Index::Value(7),
        };
    }

    fn run(mut self, mut input: Input<'_>) {
        while !input.is_empty() {
            match input.below(4) {
                0 => self.stage(),
                1 | 2 => self.command(),
                _ => self.power_cut(&mut input),
            }
        }
    }

    /// Begins a commit, or the first use.
    fn stage(&mut self) {
        let Index::Value(counter) = self.counter else {
            return self.first_use();
        };
        if self.staged.is_some() {
            return;
        }
        let previous = match self.anchor {
            Index::Value(anchor) => anchor,
            _ => UNWRITTEN,
        };
        self.heads = self.heads.wrapping_add(1);
        let anchor = extended::<Sha256>(&previous, &[self.heads; 32]);
        let position = Position {
            counter: counter + 1,
            previous,
            anchor,
        };
        assert_eq!(next(&self.witness(), &position), Ok(Next::Extend));
        self.states.push(position);
        self.staged = Some(position);
    }

    /// One command of a first use.
    fn first_use(&mut self) {
        let begins = start(&self.witness());
        let Start::FirstUse {
            define_counter,
            define_anchor,
        } = begins
        else {
            panic!("nothing was committed, and yet {begins:?}");
        };
        if define_counter {
            self.counter = Index::Unwritten;
        } else if define_anchor {
            self.anchor = Index::Unwritten;
        } else {
            self.increment();
        }
    }

    /// The next command of a commit; the last one acknowledges.
    fn command(&mut self) {
        let Some(position) = self.staged else { return };
        match next(&self.witness(), &position) {
            Ok(Next::Extend) => self.anchor = Index::Value(position.anchor),
            Ok(Next::Increment) => self.increment(),
            Ok(Next::Done) => {
                self.committed.push(position);
                self.staged = None;
            }
            Err(refusal) => panic!("a commit goes on: {refusal:?}"),
        }
        // Nothing else can be committed meanwhile, and nothing again.
        if let Some(last) = self.committed.last().filter(|last| **last != position) {
            assert!(matches!(
                next(&self.witness(), last),
                Ok(Next::Done) | Err(Refusal::StateConflict)
            ));
        }
    }

    /// The machine starts again, and gets every state back in turn.
    fn power_cut(&mut self, input: &mut Input<'_>) {
        let witness = self.witness();
        let past = matches!(
            (self.counter, self.anchor),
            (Index::Value(_), Index::Value(_))
        );
        assert_eq!(
            start(&witness) == Start::Locked(Refusal::StateMissing),
            past
        );
        if !past {
            // What was staged goes with the machine, and no state is taken.
            assert!(self
                .states
                .iter()
                .all(|state| judge(&witness, &NODE, state).is_err()));
            assert!(self.committed.is_empty());
            self.staged = None;
            return;
        }
        let good: Vec<_> = self
            .states
            .iter()
            .filter_map(|state| Some((*state, judge(&witness, &NODE, state).ok()?)))
            .collect();
        // Power loss at any instant leaves exactly one state, and neither bricks nor rolls back.
        let [(state, standing)] = good[..] else {
            panic!("{} states are good", good.len());
        };
        let last = self.committed.last();
        assert!(Some(&state) == last || Some(state) == self.staged);
        assert!(
            standing != Standing::Outdated
                && judge(&witness, &[0; 32], &state) == Err(Refusal::StateOtherTpm)
        );
        for state in self.states.iter().filter(|other| **other != state) {
            let refusal = judge(&witness, &NODE, state).unwrap_err();
            assert!(matches!(
                refusal,
                Refusal::StateOlder | Refusal::StateStagedOnly | Refusal::AnchorDiffers
            ));
        }
        if standing == Standing::Half {
            // Taking it ends the commit, which may be interrupted, too.
            assert_eq!(next(&witness, &state), Ok(Next::Increment));
            if input.bool() {
                self.increment();
            }
        }
        self.staged =
            Some(state).filter(|state| next(&self.witness(), state) == Ok(Next::Increment));
        if self.staged.is_none() && self.committed.last() != Some(&state) {
            self.committed.push(state);
        }
    }
}

fn index<T>(input: &mut Input<'_>, value: T) -> Index<T> {
    match input.below(8) {
        0 => Index::Missing,
        1 => Index::Foreign,
        2 => Index::Unwritten,
        _ => Index::Value(value),
    }
}

/// Whatever the TPM says, a state is taken only with its own anchor and counter.
fn any(mut input: Input<'_>) {
    let near = input.number();
    let around =
        |input: &mut Input<'_>| near.wrapping_add(u64::from(input.u8() % 5)).wrapping_sub(2);
    let counter = around(&mut input);
    let state = around(&mut input);
    let anchor = [input.u8() & 3; 32];
    let witness = Witness {
        node: [input.u8() & 1; 32],
        counter: index(&mut input, counter),
        anchor: index(&mut input, anchor),
    };
    let position = Position {
        counter: state,
        previous: [input.u8() & 3; 32],
        anchor: [input.u8() & 3; 32],
    };
    let same = witness.anchor == Index::Value(position.anchor) && witness.node == [0; 32];
    let Index::Value(found) = witness.counter else {
        assert!(judge(&witness, &[0; 32], &position).is_err());
        assert_eq!(next(&witness, &position), Err(Refusal::StateConflict));
        assert_ne!(start(&witness), Start::Locked(Refusal::StateMissing));
        return;
    };
    let wanted = if same && found == state {
        Some(Standing::Current)
    } else {
        (same && found.checked_add(1) == Some(state)).then_some(Standing::Half)
    };
    assert_eq!(judge(&witness, &[0; 32], &position).ok(), wanted);
    if let Ok(step) = next(&witness, &position) {
        assert_eq!(step == Next::Done, found == state);
        assert!(step == Next::Done || found.checked_add(1) == Some(state));
    }
}

/// Wear of the TPM's memory, against wider arithmetic.
fn writes(mut input: Input<'_>) {
    let (interval_s, measured, uptime_ms) = (input.u32(), input.number(), input.number());
    let writes = writes_a_year(interval_s, measured, uptime_ms);
    let year: u128 = 365 * 24 * 60 * 60;
    let planned = year.checked_div(interval_s.into()).map_or(0, |_| {
        year.div_ceil(interval_s.into()) * u128::from(WRITES_PER_COMMIT)
    });
    let uptime_s = u128::from(uptime_ms / 1000).max(24 * 60 * 60);
    let found = (u128::from(measured) * year).div_ceil(uptime_s);
    let wanted = u64::try_from(planned.max(found)).unwrap_or(u64::MAX);
    assert!(writes >= wanted);
    // Beyond 64 bits it may be off by what a year more a second makes.
    if measured.checked_mul(365 * 24 * 60 * 60).is_some() {
        assert_eq!(writes, wanted);
    }
}
