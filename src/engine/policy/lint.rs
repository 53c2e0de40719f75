// SPDX-License-Identifier: GPL-2.0

//! Warnings about policies that say something else than they seem to. User space only.

use super::{
    super::op::Op,
    Action,
    Policy,
    Rule, //
};
use alloc::{
    format,
    string::String,
    vec::Vec, //
};

/// Something in a policy that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line that it is about, from 1.
    pub line: u32,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Operations that change what stands under a path, besides writing to it.
const CHANGES: u64 = Op::FileRename.bit()
    | Op::FileLink.bit()
    | Op::FileCreate.bit()
    | Op::FileDelete.bit()
    | Op::FileAttr.bit();

impl Policy {
    /// Returns warnings, in the order of their lines.
    pub fn lint(&self) -> impl Iterator<Item = Warning> {
        let mut warnings = Vec::new();
        self.lint_shadowed(&mut warnings);
        self.lint_unprotected(&mut warnings);
        self.lint_write_and_execute(&mut warnings);
        self.lint_host(&mut warnings);
        self.lint_classes(&mut warnings);
        self.lint_defaults(&mut warnings);
        self.lint_adaptive(&mut warnings);
        warnings.sort_by_key(|warning| warning.line);
        warnings.into_iter()
    }

    /// Rules that never decide, because earlier ones match all that they match.
    fn lint_shadowed(&self, warnings: &mut Vec<Warning>) {
        for (number, rule) in self.rules.iter().enumerate() {
            let earlier = self.rules.iter().take(number);
            let mut ops = rule.ops;
            let mut line = 0;
            for other in earlier.filter(|other| self.covers(other, rule)) {
                if ops & other.ops != 0 {
                    line = other.line;
                }
                ops &= !other.ops;
            }
            if line != 0 && ops == 0 {
                warnings.push(Warning {
                    line: rule.line,
                    message: format!("never reached: line {line} matches the same earlier"),
                });
            }
        }
    }

    /// Whether `first` matches whatever `second` matches, operations aside.
    fn covers(&self, first: &Rule, second: &Rule) -> bool {
        let (a, b) = (&first.who, &second.who);
        let who = (a.host || !b.host) && (a.any || (!b.any && b.classes & !a.classes == 0));
        let name = |rule: &Rule| rule.agent.map(|name| name.bytes(&self.strings));
        let digest = |rule: &Rule| self.digests.get(usize::from(rule.digest?));
        let prefix = first.prefix.is_none_or(|prefix| {
            second.prefix.is_some_and(|other| {
                prefix.bits() <= other.bits() && prefix.contains(other.address())
            })
        });
        let ports = first.ports.is_none_or(|(first, last)| {
            second
                .ports
                .is_some_and(|(from, to)| first <= from && to <= last)
        });
        who && prefix
            && ports
            && (first.agent.is_none() || name(first) == name(second))
            && (first.uid.is_none() || first.uid == second.uid)
            && (first.object.is_none() || first.object == second.object)
            && (first.digest.is_none() || digest(first) == digest(second))
    }

    /// Whether `rule` concerns some subject that `other` concerns too.
    fn meets(&self, rule: &Rule, other: &Rule) -> bool {
        let (a, b) = (&rule.who, &other.who);
        let classes = (a.any && (b.any || b.classes != 0))
            || (b.any && a.classes != 0)
            || a.classes & b.classes != 0;
        let name = |rule: &Rule| rule.agent.map(|name| name.bytes(&self.strings));
        let same_name = match (name(rule), name(other)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let same_uid = match (rule.uid, other.uid) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        ((a.host && b.host) || classes) && same_name && same_uid
    }

    /// Paths whose content is protected, and whose name, place or mode is not.
    fn lint_unprotected(&self, warnings: &mut Vec<Warning>) {
        for rule in &self.rules {
            let Some(object) = rule.object else { continue };
            let restricts = matches!(rule.action, Action::Deny | Action::Quorum(_));
            if !restricts || rule.ops & Op::FileWrite.bit() == 0 {
                continue;
            }
            let mut open = CHANGES;
            // The rule itself is one of those that close something.
            for other in &self.rules {
                let concerns = other.object.is_none_or(|other| other == object);
                if concerns && other.action != Action::Allow && self.meets(rule, other) {
                    open &= !other.ops;
                }
            }
            let names: Vec<&str> = Op::in_set(open)
                .filter(|&op| {
                    // Tasks without a label may do what no rule mentions.
                    rule.who.host || self.fallback(op).action == Action::Allow
                })
                .map(Op::name)
                .collect();
            if !names.is_empty() {
                let path = self.object(object).map_or("", |object| object.path(self));
                warnings.push(Warning {
                    line: rule.line,
                    message: format!(
                        "FILE_WRITE of {path} is restricted and {} is allowed there; \
                         name these operations too",
                        names.join(", "),
                    ),
                });
            }
        }
    }

    /// Paths whose files an agent may both write and execute.
    fn lint_write_and_execute(&self, warnings: &mut Vec<Warning>) {
        let execute = Op::Exec.bit();
        let write = Op::FileWrite.bit() | Op::FileCreate.bit();
        let allowed = |rule: &Rule, ops| {
            rule.ops & ops != 0
                && rule.digest.is_none()
                && matches!(rule.action, Action::Allow | Action::Audit)
        };
        for rule in self.rules.iter().filter(|rule| allowed(rule, execute)) {
            let Some(object) = rule.object else { continue };
            let path = self.object(object).map_or("", |object| object.path(self));
            let writes = self.rules.iter().find(|other| {
                other.object == Some(object) && allowed(other, write) && self.meets(rule, other)
            });
            if let Some(other) = writes {
                warnings.push(Warning {
                    line: rule.line,
                    message: format!(
                        "EXEC is allowed below {path}, where line {} allows writing: \
                         an agent can execute whatever it writes",
                        other.line,
                    ),
                });
            }
        }
    }

    /// Rules for tasks without a label that cannot match any.
    fn lint_host(&self, warnings: &mut Vec<Warning>) {
        for rule in &self.rules {
            if rule.who.host && rule.agent.is_some() {
                warnings.push(Warning {
                    line: rule.line,
                    message: String::from(
                        "a task without a label has no agent name: with agent=, \
                         class=host matches nothing",
                    ),
                });
            }
        }
    }

    /// Classes that nobody has, and labels whose class no rule names.
    fn lint_classes(&self, warnings: &mut Vec<Warning>) {
        let started = self.classes.iter().fold(0, |set, class| set | class.may);
        let labelled = self
            .labels
            .iter()
            .fold(0, |set, label| set | label.class.bit());
        let ruled = self
            .rules
            .iter()
            .fold(0, |set, rule| set | rule.who.classes);
        let any = self
            .rules
            .iter()
            .any(|rule| rule.who.any && rule.ops & !super::GOVERNANCE != 0);
        for (number, class) in self.classes.iter().enumerate() {
            let bit = super::ClassId::new(number).bit();
            let name = class.name.text(&self.strings);
            if ruled & bit != 0 && labelled & bit == 0 && started & bit == 0 {
                warnings.push(Warning {
                    line: class.line,
                    message: format!(
                        "class {name} is given by no label and no may=: \
                         only tcpctl can start such an agent",
                    ),
                });
            }
        }
        for label in &self.labels {
            if !any && ruled & label.class.bit() == 0 {
                warnings.push(Warning {
                    line: label.line,
                    message: format!(
                        "no rule concerns class {}: only DEFAULT holds for these agents",
                        self.class_name(label.class),
                    ),
                });
            }
        }
    }

    /// Operations by which an agent gets out, allowed by DEFAULT.
    fn lint_defaults(&self, warnings: &mut Vec<Warning>) {
        let critical = [
            Op::ModuleLoad,
            Op::KexecLoad,
            Op::Mount,
            Op::Ptrace,
            Op::Bpf,
            Op::IoUring,
        ];
        for op in critical {
            let fallback = self.fallback(op);
            if fallback.action == Action::Allow {
                warnings.push(Warning {
                    line: fallback.line,
                    message: format!("{op} is allowed by DEFAULT: an agent can escape with it"),
                });
            }
        }
    }

    /// An `adaptive` statement that raises no threshold.
    fn lint_adaptive(&self, warnings: &mut Vec<Warning>) {
        let adaptive = self.adaptive();
        let line = self.adaptive_line;
        let reason = if line == 0 {
            return;
        } else if adaptive.raise_bp == 0 {
            "raise=0%"
        } else if adaptive.ceiling_bp == adaptive.floor_bp {
            "the ceiling is the floor"
        } else {
            return;
        };
        warnings.push(Warning {
            line,
            message: format!("{reason}: no alert ever raises a threshold"),
        });
    }
}
