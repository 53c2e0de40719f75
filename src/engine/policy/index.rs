// SPDX-License-Identifier: GPL-2.0

//! Tables that lead from what an operation is about to the rules that concern it.
//!
//! A rule stands in one kind of list, by its most telling selector:
//!
//! - `digest=`: in the digests of each of its operations, found by the digest;
//! - `path=`: in the chain of that object and each of its operations;
//! - `addr=`: in the prefixes of each of its operations, found by the address;
//! - `port=`: in the ports of each of its operations;
//! - otherwise: in the plain list of each of its operations.
//!
//! Every list is in the order of the rules, so it is read only up to its first match, or up to
//! the best match so far.

use super::{
    super::{
        address::Prefix,
        op::Op,
        vec::{
            NoMemory,
            Vec, //
        }, //
    },
    ObjectId,
    Rule,
    Who, //
};

/// Number of no rule, after those of all rules.
pub(super) const NONE: u16 = u16::MAX;

/// A part of one of the lists.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u32,
    end: u32,
}

impl Part {
    const EMPTY: Self = Self { start: 0, end: 0 };

    /// Returns the elements.
    fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.start as usize..self.end as usize)
            .unwrap_or(&[])
    }

    /// Returns the part from `start` to the current end of `list`.
    fn since<T>(start: usize, list: &[T]) -> Result<Self, NoMemory> {
        Ok(Self {
            start: u32::try_from(start).map_err(|_| NoMemory)?,
            end: u32::try_from(list.len()).map_err(|_| NoMemory)?,
        })
    }
}

/// What a set of rules could decide, at best.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The first of them; [`NONE`] when there are none.
    pub(super) first: u16,
    /// Whom they concern, all together.
    pub(super) who: Who,
}

impl Reach {
    const NOTHING: Self = Self {
        first: NONE,
        who: Who::NOBODY,
    };

    /// Adds a rule; they come in their order.
    fn add(&mut self, number: u16, rule: &Rule) {
        self.first = self.first.min(number);
        self.who.add(&rule.who);
    }
}

/// Rules of one operation.
#[derive(Clone, Copy, Debug)]
struct PerOp {
    /// In [`Index::lists`].
    plain: Part,
    /// In [`Index::lists`].
    ports: Part,
    /// In [`Index::lists`], in the order of their digests.
    digests: Part,
    /// In [`Index::lengths`].
    lengths: Part,
    /// Rules with a path, with or without a digest.
    paths: Reach,
    /// Rules with a digest and no path.
    contents: Reach,
    /// Rules with an address or a port.
    network: Reach,
}

/// Rules of one operation and one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// Rules without a digest, in [`Index::lists`].
    plain: Part,
    /// Rules with a digest.
    pub(super) contents: Reach,
}

/// Chains of one object.
#[derive(Clone, Copy, Debug)]
struct PerObject {
    /// Operations that have a chain, as a set of [`Op::bit`]s.
    ops: u64,
    /// The first of them in [`Index::chains`]; the others follow in the order of operations.
    first: u32,
}

/// Rules of one operation whose prefixes have one family and length.
#[derive(Clone, Copy, Debug)]
struct Length {
    /// One of the prefixes.
    sample: Prefix,
    /// In [`Index::prefixes`].
    rules: Part,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Index {
    /// By [`Op::index`].
    ops: Vec<PerOp>,
    /// By [`ObjectId::index`].
    objects: Vec<PerObject>,
    chains: Vec<Chain>,
    lengths: Vec<Length>,
    /// Prefixes and their rules, in their order.
    prefixes: Vec<(Prefix, u16)>,
    lists: Vec<u16>,
}

impl Index {
    /// Builds the tables for rules that name `objects` objects.
    pub(super) fn new(
        rules: &[Rule],
        digests: &[[u8; 32]],
        objects: usize,
    ) -> Result<Self, NoMemory> {
        let mut index = Self {
            ops: Vec::with_capacity(Op::COUNT)?,
            objects: Vec::with_capacity(objects)?,
            chains: Vec::new(),
            lengths: Vec::new(),
            prefixes: Vec::new(),
            lists: Vec::new(),
        };
        let by_digest = sorted(rules, |rule| {
            rule.digest
                .and_then(|digest| digests.get(usize::from(digest)))
        })?;
        let by_prefix = sorted(rules, |rule| rule.prefix)?;
        for op in Op::ALL {
            let per_op = index.per_op(rules, op, &by_digest, &by_prefix)?;
            index.ops.push(per_op)?;
        }
        index.add_objects(rules, objects)?;
        Ok(index)
    }

    /// Builds the lists of one operation.
    fn per_op(
        &mut self,
        rules: &[Rule],
        op: Op,
        by_digest: &[u16],
        by_prefix: &[u16],
    ) -> Result<PerOp, NoMemory> {
        let mut per_op = PerOp {
            plain: Part::EMPTY,
            ports: Part::EMPTY,
            digests: Part::EMPTY,
            lengths: Part::EMPTY,
            paths: Reach::NOTHING,
            contents: Reach::NOTHING,
            network: Reach::NOTHING,
        };
        let concerned = || {
            (0..NONE)
                .zip(rules)
                .filter(|(_, rule)| rule.ops & op.bit() != 0)
        };
        let lookup = |number: &u16| {
            rules
                .get(usize::from(*number))
                .filter(|rule| rule.ops & op.bit() != 0)
        };

        let start = self.lists.len();
        for (number, rule) in concerned() {
            if rule.object.is_some() {
                per_op.paths.add(number, rule);
            } else if rule.digest.is_some() {
                per_op.contents.add(number, rule);
            } else if rule.prefix.is_some() || rule.ports.is_some() {
                per_op.network.add(number, rule);
            } else {
                self.lists.push(number)?;
            }
        }
        per_op.plain = Part::since(start, &self.lists)?;

        let start = self.lists.len();
        for (number, rule) in concerned() {
            if rule.ports.is_some() && rule.prefix.is_none() {
                self.lists.push(number)?;
            }
        }
        per_op.ports = Part::since(start, &self.lists)?;

        let start = self.lists.len();
        for number in by_digest {
            if lookup(number).is_some() {
                self.lists.push(*number)?;
            }
        }
        per_op.digests = Part::since(start, &self.lists)?;

        let start = self.lengths.len();
        for number in by_prefix {
            let Some(prefix) = lookup(number).and_then(|rule| rule.prefix) else {
                continue;
            };
            let place = self.prefixes.len();
            self.prefixes.push((prefix, *number))?;
            let rules = Part::since(place, &self.prefixes)?;
            // Prefixes of one length and family follow each other.
            match self.lengths.get_mut(start..).and_then(<[_]>::last_mut) {
                Some(last) if last.sample.is_as_long_as(&prefix) => last.rules.end = rules.end,
                _ => self.lengths.push(Length {
                    sample: prefix,
                    rules,
                })?,
            }
        }
        per_op.lengths = Part::since(start, &self.lengths)?;
        Ok(per_op)
    }

    /// Builds the chains of all objects.
    fn add_objects(&mut self, rules: &[Rule], objects: usize) -> Result<(), NoMemory> {
        let by_object = sorted(rules, |rule| rule.object)?;
        let mut rest = by_object.as_slice();
        for object in (0..NONE).take(objects).map(ObjectId) {
            let concerns = |number: &u16| {
                rules
                    .get(usize::from(*number))
                    .is_some_and(|rule| rule.object == Some(object))
            };
            let count = rest.iter().take_while(|number| concerns(number)).count();
            let (own, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = others;
            let per_object = self.per_object(rules, own)?;
            self.objects.push(per_object)?;
        }
        Ok(())
    }

    /// Builds the chains of the object that the rules `own` have.
    fn per_object(&mut self, rules: &[Rule], own: &[u16]) -> Result<PerObject, NoMemory> {
        let own_rules = || {
            own.iter()
                .filter_map(|&number| Some((number, rules.get(usize::from(number))?)))
        };
        let per_object = PerObject {
            ops: own_rules().fold(0, |ops, (_, rule)| ops | rule.ops),
            first: u32::try_from(self.chains.len()).map_err(|_| NoMemory)?,
        };
        for op in Op::in_set(per_object.ops) {
            let start = self.lists.len();
            let mut contents = Reach::NOTHING;
            for (number, rule) in own_rules().filter(|(_, rule)| rule.ops & op.bit() != 0) {
                if rule.digest.is_some() {
                    contents.add(number, rule);
                } else {
                    self.lists.push(number)?;
                }
            }
            self.chains.push(Chain {
                plain: Part::since(start, &self.lists)?,
                contents,
            })?;
        }
        Ok(per_object)
    }

    /// Returns the lists of an operation.
    fn op(&self, op: Op) -> Option<&PerOp> {
        self.ops.get(op.index())
    }

    /// Returns the operations, as a set, of the rules with a path.
    pub(super) fn ops_of(&self, object: ObjectId) -> u64 {
        self.objects
            .get(object.index())
            .map_or(0, |object| object.ops)
    }

    /// Returns the rules that have no selectors but those of the subject, in their order.
    pub(super) fn plain(&self, op: Op) -> &[u16] {
        self.op(op).map_or(&[], |op| op.plain.of(&self.lists))
    }

    /// Returns what rules with a path could decide.
    pub(super) fn paths(&self, op: Op) -> Reach {
        self.op(op).map_or(Reach::NOTHING, |op| op.paths)
    }

    /// Returns what rules with a digest and no path could decide.
    pub(super) fn contents(&self, op: Op) -> Reach {
        self.op(op).map_or(Reach::NOTHING, |op| op.contents)
    }

    /// Returns what rules with an address or a port could decide.
    pub(super) fn network(&self, op: Op) -> Reach {
        self.op(op).map_or(Reach::NOTHING, |op| op.network)
    }

    /// Returns the rules with a path; `None` when no rule of the operation has it.
    pub(super) fn chain(&self, op: Op, object: ObjectId) -> Option<&Chain> {
        let object = self.objects.get(object.index())?;
        if object.ops & op.bit() == 0 {
            return None;
        }
        let before = object.ops & (op.bit() - 1);
        let place = object.first.saturating_add(before.count_ones());
        self.chains.get(usize::try_from(place).ok()?)
    }

    /// Returns the rules of a chain without a digest, in their order.
    pub(super) fn chain_rules(&self, chain: &Chain) -> &[u16] {
        chain.plain.of(&self.lists)
    }

    /// Returns the rules with a digest, with or without a path, that have this one, in their
    /// order. `digest_of` tells the digest of a rule.
    pub(super) fn with_digest<'a>(
        &'a self,
        op: Op,
        digest: &'a [u8; 32],
        digest_of: impl Fn(u16) -> Option<&'a [u8; 32]> + 'a,
    ) -> impl Iterator<Item = u16> + 'a {
        let all = self.op(op).map_or(&[][..], |op| op.digests.of(&self.lists));
        let start = all.partition_point(|&number| digest_of(number) < Some(digest));
        all.get(start..)
            .unwrap_or(&[])
            .iter()
            .copied()
            .take_while(move |&number| digest_of(number) == Some(digest))
    }

    /// Returns the rules with a port and no address, in their order.
    pub(super) fn ports(&self, op: Op) -> &[u16] {
        self.op(op).map_or(&[], |op| op.ports.of(&self.lists))
    }

    /// Returns, for each length of prefixes in turn, the rules whose prefix holds the address, in
    /// their order.
    pub(super) fn prefixes(
        &self,
        op: Op,
        address: super::super::address::Address,
    ) -> impl Iterator<Item = &[(Prefix, u16)]> {
        self.op(op)
            .map_or(&[][..], |op| op.lengths.of(&self.lengths))
            .iter()
            .filter_map(move |length| {
                let wanted = length.sample.of(address)?;
                let all = length.rules.of(&self.prefixes);
                let start = all.partition_point(|(prefix, _)| *prefix < wanted);
                let found = all.get(start..)?;
                found.get(..found.partition_point(|(prefix, _)| *prefix == wanted))
            })
    }
}

/// Returns the numbers of the rules that have a key, in the order of their keys and, among equal
/// ones, of the rules. Neither recurses nor needs memory beyond the result.
fn sorted<'a, K: Ord>(
    rules: &'a [Rule],
    key: impl Fn(&'a Rule) -> Option<K>,
) -> Result<Vec<u16>, NoMemory> {
    let key_of = |number: &u16| rules.get(usize::from(*number)).and_then(&key);
    let mut numbers = Vec::new();
    for (number, rule) in (0..NONE).zip(rules) {
        let wanted = key(rule);
        if wanted.is_some() {
            let place = numbers.partition_point(|other| key_of(other) <= wanted);
            numbers.insert(place, number)?;
        }
    }
    Ok(numbers)
}
