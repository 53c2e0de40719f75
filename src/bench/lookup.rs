// SPDX-License-Identifier: GPL-2.0

//! Looking up labels among a thousand and among a million, and the memory that a million take.

use super::measure::{
    all,
    share,
    Rounds,
    ROUNDS, //
};
use crate::{
    abi::rhashtable::Table,
    agent::{
        Agent,
        Agents,
        NewAgent, //
    },
    label::Label,
    memory,
    name::Name, //
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    task::might_sleep,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Labels of a small and of a large node.
const FEW: usize = 1_000;
const MANY: usize = 1_000_000;

/// Lookups that are timed together, each of another task than the one before, and how often in a round:
/// the median is hardly ever one that was interrupted.
const LOOKUPS: usize = 1_000;
const TIMES: usize = 11;

/// Tasks lie as the slab allocator places them in the direct map: so many in each block of so many
/// bytes, each so many bytes after the one before.
const DIRECT_MAP: usize = 0xffff_8881_0000_0000;
const BLOCK: usize = 32 << 10;
const PER_BLOCK: usize = 3;
const APART: usize = 10_432;

/// Places of tasks, as a power of two: room for [`MANY`] tasks with a label and as many without.
const PLACE_BITS: u32 = 21;

/// The key of task `number`: tasks of successive numbers lie far apart, in no order.
fn key(number: usize) -> usize {
    let mask = (1_usize << PLACE_BITS) - 1;
    // Each step is a permutation of the places.
    let mut place = number.wrapping_mul(0x2545_f491_4f6c_dd1d) & mask;
    place ^= place >> (PLACE_BITS / 2);
    place = place.wrapping_mul(0x5851_f42d_4c95_7f2d) & mask;
    DIRECT_MAP + place / PER_BLOCK * BLOCK + place % PER_BLOCK * APART
}

/// How long a table is left alone that has grown.
const SETTLE: Delta = Delta::from_millis(2_000);

/// Labels, by task.
type Labels = Pin<KBox<Table<Label>>>;

/// The tasks below `count` get a label of `agent`'s; those up to twice as many have none.
fn labelled(count: usize, agent: &Arc<Agent>) -> Result<Labels> {
    let labels = KBox::pin_init(Table::new(count), GFP_KERNEL)?;
    for number in 0..count {
        if number + 1 == count {
            // A worker enlarges the table, and looks whether that was enough when one more comes.
            fsleep(SETTLE);
        }
        labels.insert(
            key(number),
            agent.number(),
            Label::new(agent.clone()),
            GFP_KERNEL,
        )?;
        might_sleep();
    }
    fsleep(SETTLE);
    Ok(labels)
}

/// Whether a task has a label, asked as the hooks ask.
#[inline]
fn has_label(labels: &Table<Label>, key: usize) -> bool {
    labels.may_have(key) && labels.get(key, &rcu::read_lock()).is_some()
}

/// What one lookup costs of `count` tasks from number `first` on, which all have a label or all have
/// none.
///
/// # Errors
///
/// `EINVAL` when a label is found of a task that has none, or the other way round.
fn lookups(labels: &Table<Label>, first: usize, count: usize, exists: bool) -> Result<u64> {
    let mut right = true;
    let mut times = Rounds::new();
    for round in 0..TIMES {
        let task = |n: usize| {
            let number = (round * LOOKUPS + n).checked_rem(count);
            key(first + number.unwrap_or(0))
        };
        times.add(all(LOOKUPS, task, |n| {
            right &= has_label(labels, task(n)) == exists;
        }))?;
    }
    if right {
        Ok(share(times.median(), LOOKUPS))
    } else {
        Err(EINVAL)
    }
}

/// An agent whose label the tasks get.
fn agent() -> Result<Arc<Agent>> {
    let agents = KBox::pin_init(Agents::new(), GFP_KERNEL)?;
    let name = Name::new(b"bench").ok_or(EINVAL)?;
    let new = NewAgent {
        name,
        class: name,
        parent: None,
        uid: 0,
        pid: 1,
    };
    agents.add(new).map_err(|_| ENOMEM)
}

/// With a thousand labels: each round in a table of its own, whose hash function is another.
fn few(agent: &Arc<Agent>) -> Result {
    let (mut some, mut none) = (Rounds::new(), Rounds::new());
    for _ in 0..ROUNDS {
        let labels = labelled(FEW, agent)?;
        some.add(lookups(&labels, 0, FEW, true)?)?;
        none.add(lookups(&labels, FEW, FEW, false)?)?;
    }
    some.print("lookup.1k");
    none.print("lookup_none.1k");
    Ok(())
}

/// With a million labels, as many times.
fn many(agent: &Arc<Agent>) -> Result {
    let (mut some, mut none, mut bytes) = (Rounds::new(), Rounds::new(), Rounds::new());
    for _ in 0..ROUNDS {
        let before = memory::free();
        let labels = labelled(MANY, agent)?;
        let taken = before.saturating_sub(memory::free());
        bytes.add(taken.div_ceil(MANY as u64))?;
        some.add(lookups(&labels, 0, MANY, true)?)?;
        none.add(lookups(&labels, MANY, MANY, false)?)?;
    }
    some.print("lookup.1m");
    none.print("lookup_none.1m");
    bytes.print("agent.bytes");
    Ok(())
}

/// Measures `lookup.*`, `lookup_none.*` and `agent.bytes`.
pub(super) fn run() -> Result {
    let agent = agent()?;
    few(&agent)?;
    many(&agent)
}
