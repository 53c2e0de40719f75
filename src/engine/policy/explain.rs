// SPDX-License-Identifier: GPL-2.0

//! Why a rule did or did not match. User space only.

use super::{
    super::{
        address::Address,
        op::Op, //
    },
    Decision,
    ObjectId,
    Policy,
    Rule,
    Subject, //
};
use alloc::vec::Vec;
use core::fmt;

/// One operation, to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The operation.
    pub op: Op,
    /// The paths of the policy that its object is, or lies below.
    pub objects: &'a [ObjectId],
    /// Address and port, when it has one.
    pub address: Option<(Address, u16)>,
    /// Digest of the content, when it is known.
    pub digest: Option<[u8; 32]>,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It matched first, and decides.
    Decides,
    /// It matches, but an earlier one decides.
    TooLate,
    /// The class of the agent is another.
    OtherClass,
    /// The task has no label and the rule has no `class=host`.
    NoLabel,
    /// The agent has another name.
    OtherAgent,
    /// The user is another.
    OtherUid,
    /// The object is neither the path nor below it.
    OtherPath,
    /// The content has another digest, or it is not known.
    OtherDigest,
    /// The address is not of the prefix, or there is none.
    OtherAddress,
    /// The port is not one of the range.
    OtherPort,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Decides => "decides",
            Self::TooLate => "matches, but an earlier rule decides",
            Self::OtherClass => "is for other classes",
            Self::NoLabel => "is for agents, and the task has no label",
            Self::OtherAgent => "is for another agent",
            Self::OtherUid => "is for another user",
            Self::OtherPath => "is for another path",
            Self::OtherDigest => "is for content with another digest",
            Self::OtherAddress => "is for other addresses",
            Self::OtherPort => "is for other ports",
        })
    }
}

/// One rule that concerns the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Number of the rule, from 0.
    pub rule: u32,
    /// Line of the rule.
    pub line: u32,
    /// What became of it.
    pub outcome: Outcome,
}

impl Policy {
    /// Judges an operation and tells what became of every rule for it, in the order of the rules.
    pub fn explain(
        &self,
        subject: &Subject<'_>,
        operation: &Operation<'_>,
    ) -> (Decision, Vec<Considered>) {
        let mut matcher = self.matcher(subject, operation.op);
        for &object in operation.objects {
            matcher.object(object);
        }
        if let Some((address, port)) = operation.address {
            matcher.address(address, port);
        }
        if let Some(digest) = &operation.digest {
            matcher.digest(digest);
        }
        let decision = matcher.decide();

        let considered = (0..)
            .zip(&self.rules)
            .filter(|(_, rule)| rule.ops & operation.op.bit() != 0)
            .map(|(number, rule)| Considered {
                rule: number,
                line: rule.line,
                outcome: match self.mismatch(rule, subject, operation) {
                    Some(outcome) => outcome,
                    None if decision.rule == Some(number) => Outcome::Decides,
                    None => Outcome::TooLate,
                },
            })
            .collect();
        (decision, considered)
    }

    /// Returns the first selector that does not match.
    fn mismatch(
        &self,
        rule: &Rule,
        subject: &Subject<'_>,
        operation: &Operation<'_>,
    ) -> Option<Outcome> {
        if !operation.op.is_governance() && !rule.who.holds(subject.class) {
            return Some(match subject.class {
                Some(_) => Outcome::OtherClass,
                None => Outcome::NoLabel,
            });
        }
        if let Some(name) = rule.agent {
            if subject.class.is_none() || name.bytes(&self.strings) != subject.agent {
                return Some(Outcome::OtherAgent);
            }
        }
        if rule.uid.is_some_and(|uid| uid != subject.uid) {
            return Some(Outcome::OtherUid);
        }
        if rule
            .object
            .is_some_and(|object| !operation.objects.contains(&object))
        {
            return Some(Outcome::OtherPath);
        }
        if let Some(digest) = rule.digest {
            let wanted = self.digests.get(usize::from(digest));
            if operation.digest.as_ref() != wanted {
                return Some(Outcome::OtherDigest);
            }
        }
        if let Some(prefix) = rule.prefix {
            if !operation
                .address
                .is_some_and(|(address, _)| prefix.contains(address))
            {
                return Some(Outcome::OtherAddress);
            }
        }
        if let Some((first, last)) = rule.ports {
            if !operation
                .address
                .is_some_and(|(_, port)| (first..=last).contains(&port))
            {
                return Some(Outcome::OtherPort);
            }
        }
        None
    }
}
