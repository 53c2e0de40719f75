// SPDX-License-Identifier: GPL-2.0

//! Alerts, thresholds and reputations, computed anew from the events with the kernel's own code.

use std::collections::BTreeMap;

use engine::{
    event::Header,
    policy::Policy,
    quorum::{
        Ballot,
        Outcome, //
    },
    refusal::Refusal,
    reputation,
    watch::{
        Reason,
        Rules,
        Turn,
        Watch, //
    }, //
};

use super::{
    fault::{
        wrong,
        Checked, //
    },
    roll::Roll, //
};

/// Reputations that are not as at first, by slot.
pub(crate) type Reputations = BTreeMap<u16, reputation::Kept>;

/// The watch of one load.
pub(crate) struct Alerts {
    watch: Watch,
    /// What the last WATCH under the policy in force has said.
    rules: Option<Rules>,
}

/// Says what is due, as an event would.
fn named(turn: &Turn) -> String {
    match turn {
        Turn::Alert(reason) => format!("ALERT {}", reason.name()),
        Turn::Calm(reason) => format!("CALM {}", reason.name()),
    }
}

impl Alerts {
    /// Nothing has happened yet.
    ///
    /// # Errors
    ///
    /// `no_memory`.
    pub(crate) fn new() -> Checked<Self> {
        let watch = Watch::new().map_err(|_| {
            wrong(
                Refusal::NoMemory.name(),
                "no memory to compute alerts anew",
                "a few kilobytes",
            )
        })?;
        Ok(Self { watch, rules: None })
    }

    /// The engine's own.
    pub(crate) fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// Demands that nothing is due before an event that waits for the watch.
    ///
    /// # Errors
    ///
    /// `alert_missing`, `calm_missing`.
    pub(crate) fn check_due(&self, header: &Header) -> Checked {
        let Some(turn) = self.watch.due(header.boot_ms) else {
            return Ok(());
        };
        let code = match turn {
            Turn::Alert(_) => "alert_missing",
            Turn::Calm(_) => "calm_missing",
        };
        let found = format!("{} is due and was not recorded", named(&turn));
        Err(wrong(code, found, named(&turn)))
    }

    /// ALERT and CALM.
    ///
    /// # Errors
    ///
    /// `alert_wrongly`, `calm_wrongly`.
    pub(crate) fn turn(&mut self, header: &Header, is_alert: bool) -> Checked {
        let turn = Reason::from_u16(header.result).map(|reason| match is_alert {
            true => Turn::Alert(reason),
            false => Turn::Calm(reason),
        });
        let due = self.watch.due(header.boot_ms);
        match turn {
            Some(turn) if due == Some(turn) => {
                self.watch.turn(turn, header.number, header.boot_ms);
                Ok(())
            }
            _ => Err(wrong(
                if is_alert {
                    "alert_wrongly"
                } else {
                    "calm_wrongly"
                },
                format!("reason {} at {} ms", header.result, header.boot_ms),
                due.map_or_else(|| "neither ALERT nor CALM".to_owned(), |due| named(&due)),
            )),
        }
    }

    /// POLICY: the next WATCH is the first one under it.
    pub(crate) fn forget_rules(&mut self) {
        self.rules = None;
    }

    /// WATCH; `policy` is the one in force, where its text is known.
    ///
    /// # Errors
    ///
    /// `watch_differs`.
    pub(crate) fn rules(&mut self, rules: &Rules, policy: Option<&Policy>) -> Checked {
        let adaptive = policy.map(Policy::adaptive);
        if let Some(adaptive) = &adaptive {
            if !rules.fits(adaptive) {
                return Err(wrong(
                    "watch_differs",
                    format!("{rules:?}"),
                    format!("{adaptive:?}"),
                ));
            }
        }
        // Without its text, too, a policy has one raise, ceiling, weight and burst.
        let fixed = |of: &Rules| (of.raise_bp, of.ceiling_bp, of.missing_bp, of.burst);
        if let Some(last) = self
            .rules
            .as_ref()
            .filter(|last| fixed(last) != fixed(rules))
        {
            return Err(wrong(
                "watch_differs",
                format!("{rules:?}"),
                format!("what the policy has said: {last:?}"),
            ));
        }
        self.rules = Some(*rules);
        self.watch.rules(*rules);
        Ok(())
    }

    /// GRANTED, DENIED and EXPIRED, on a ballot as it was then.
    pub(crate) fn ended(&mut self, ballot: &Ballot, header: &Header) {
        let decided = ballot.outcome() != Outcome::Open;
        self.watch.ended(ballot, decided, header.boot_ms);
    }

    /// Reputations of the enrolled that are not as at first.
    pub(crate) fn reputations(&self, roll: &Roll) -> Reputations {
        roll.iter()
            .map(|(slot, _)| (slot, self.watch.reputations().of(slot).kept))
            .filter(|(_, kept)| *kept != reputation::Kept::PRISTINE)
            .collect()
    }
}
