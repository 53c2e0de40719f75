// SPDX-License-Identifier: GPL-2.0

//! Reputations and alerts, against the definitions of the document, one validator at a time.
//!
//! Who is unheard is not modelled, because the engine looks at eight validators with each end: for that
//! reason only what must hold is checked.

use crate::Input;
use engine::limits::VALIDATORS;
use engine::policy::Adaptive;
use engine::quorum::{
    Ballot,
    Verdict, //
};
use engine::refusal::Refusal;
use engine::reputation::Kept;
use engine::watch::{
    Reason,
    Rules,
    Turn,
    Watch, //
};
use std::cell::RefCell;

/// The slots of those who are ever enrolled.
const SLOTS: [u16; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 127, 128];

/// How many there are.
const COUNT: usize = SLOTS.len();

thread_local! {
    /// Made once: it is large. That nothing of the last run is left is a promise of `clear`.
    static WATCH: RefCell<Watch> = RefCell::new(Watch::new().unwrap());
}

/// Runs the target.
pub fn run(data: &[u8]) {
    WATCH.with_borrow_mut(|watch| {
        watch.clear();
        let mut input = Input::new(data);
        let now = input.number();
        let mut model = Model {
            watch,
            now,
            number: 1,
            rules: None,
            members: [None; COUNT],
            chance: [0; COUNT],
            timing: [[0; COUNT]; COUNT],
            hour: None,
            recent: Vec::new(),
            generation: 1,
            alerts: Default::default(),
            invalid: Vec::new(),
        };
        while !input.is_empty() {
            model.step(&mut input);
            model.compare();
        }
        model.compare_all();
    });
}

/// A validator.
#[derive(Clone, Copy)]
struct Member {
    weight: u32,
    quarantined: bool,
    /// What bias and timing have taken off, in hundreds.
    lost: u16,
    late: u16,
    bias: u16,
    penalties: u8,
    agreed: u64,
    disagreed: u64,
}

/// The votes on one request: who, and in which tick.
struct Recent {
    request: u8,
    votes: Vec<(usize, u64)>,
}

/// One reason's alert.
#[derive(Clone, Copy, Default)]
struct Alert {
    active: bool,
    due: bool,
    since: u64,
    ended: u64,
    ended_ms: u64,
}

struct Model<'a> {
    watch: &'a mut Watch,
    now: u64,
    number: u64,
    rules: Option<Rules>,
    members: [Option<Member>; COUNT],
    chance: [i64; COUNT],
    timing: [[i64; COUNT]; COUNT],
    hour: Option<u64>,
    recent: Vec<Recent>,
    /// Requests are new once the validators have changed.
    generation: u8,
    alerts: [Alert; 4],
    invalid: Vec<u64>,
}

impl Model<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        let later = match input.u8() {
            small @ 0..=0x7f => u64::from(small),
            0x80..=0xbf => u64::from(input.u16()),
            0xc0..=0xfe => u64::from(input.u8()) * 600_000,
            _ => input.u64() >> input.below(64),
        };
        self.now = self.now.saturating_add(later);
        self.number += 1;
        let place = input.below(COUNT);
        match input.below(12) {
            0 => self.enrol(place, 1 + u32::from(input.u8() & 3)),
            1 => self.remove(place),
            2 => self.rules(input),
            3 => self.quarantine(place, input.bool()),
            4..=6 => self.vote(place, input.u8() % 6),
            7 => self.refuse(input),
            8 => self.restore(place, input),
            9 => {
                // Now and then so many that what is counted for eight at once is at its end.
                let many = input.u8();
                self.end(input, if many < 0xf0 { 1 + many % 8 } else { 140 });
            }
            10 => self.end(input, 1),
            _ => self.turns(),
        }
        if input.bool() {
            self.turns();
        }
    }

    fn enrol(&mut self, place: usize, weight: u32) {
        self.watch.enrolled(SLOTS[place], weight, self.now);
        self.forget(place);
        self.members[place] = Some(Member {
            weight,
            quarantined: false,
            lost: 0,
            late: 0,
            bias: 0,
            penalties: 0,
            agreed: 0,
            disagreed: 0,
        });
        assert_eq!(self.watch.heard_ms(SLOTS[place]), Some(self.now));
    }

    fn remove(&mut self, place: usize) {
        self.watch.removed(SLOTS[place]);
        self.forget(place);
        self.members[place] = None;
        assert_eq!(self.watch.heard_ms(SLOTS[place]), None);
    }

    fn forget(&mut self, place: usize) {
        self.generation = self.generation.wrapping_add(1);
        self.chance[place] = 32768;
        self.timing[place] = [0; COUNT];
        self.timing.iter_mut().for_each(|row| row[place] = 0);
    }

    fn rules(&mut self, input: &mut Input<'_>) {
        let policy = Adaptive {
            burst: 1 + u16::from(input.u8() % 24),
            within_s: 1 + u32::from(input.u8()),
            quiet_s: 1 + u32::from(input.u8()) * 4,
            silence_s: 1 + u32::from(input.u8()),
            ..Adaptive::DEFAULT
        };
        let rules = Rules::draw(&policy, [input.u32(); 3]);
        self.watch.rules(rules);
        self.rules = Some(rules);
    }

    fn quarantine(&mut self, place: usize, begins: bool) {
        let slot = SLOTS[place];
        if begins {
            self.watch.quarantined(slot, self.now);
            self.alerts[0].since = self.now;
            self.start(0);
        } else {
            self.watch.readmitted(slot, self.now);
        }
        if let Some(member) = &mut self.members[place] {
            member.quarantined = begins;
        }
    }

    fn restore(&mut self, place: usize, input: &mut Input<'_>) {
        let kept = Kept {
            score: u16::from(input.u8() % 101) * 100,
            bias: u16::from(input.u8() % 16),
            agreed: input.number(),
            disagreed: input.number(),
        };
        self.watch.reputations_mut().restore(SLOTS[place], &kept);
        if self.members[place].is_some() {
            self.forget(place);
        }
        if let Some(member) = &mut self.members[place] {
            (member.lost, member.bias) = (100 - kept.score / 100, kept.bias);
            (member.agreed, member.disagreed) = (kept.agreed, kept.disagreed);
            (member.late, member.penalties) = (0, 0);
        }
    }

    /// Goes on to the hour of now.
    fn reach(&mut self) {
        let hour = self.now / 3_600_000;
        let last = self.hour.replace(hour).unwrap_or(hour);
        let times = u32::try_from(hour / 8 - last / 8).unwrap_or(63).min(15);
        for member in self.members.iter_mut().flatten() {
            if hour != last {
                member.penalties = 0;
            }
            member.lost >>= times;
            member.late >>= times;
            member.bias >>= times;
        }
        self.timing
            .iter_mut()
            .flatten()
            .for_each(|timing| *timing >>= times);
    }

    fn vote(&mut self, place: usize, request: u8) {
        // No generation of requests shares an id with another one for long.
        let request = 1 + request % 5 + (self.generation % 50) * 5;
        self.watch.voted(SLOTS[place], &[request; 32], self.now);
        self.reach();
        if self.members[place].is_none() {
            return;
        }
        let tick = self.now / 50;
        let known = self
            .recent
            .iter()
            .position(|recent| recent.request == request);
        let known = known.unwrap_or_else(|| {
            if self.recent.len() == 4 {
                self.recent.remove(0);
            }
            self.recent.push(Recent {
                request,
                votes: Vec::new(),
            });
            self.recent.len() - 1
        });
        let votes = &mut self.recent[known].votes;
        let others: Vec<_> = votes
            .iter()
            .filter(|(other, _)| *other != place)
            .copied()
            .collect();
        votes.retain(|(other, _)| *other != place);
        votes.push((place, tick));
        if others.is_empty() {
            return;
        }
        let loss = (self.chance[place] + 4095) / 4096 + 3;
        let (mut near, mut over) = (0, false);
        for (other, then) in &others {
            let together = tick - then <= 1;
            near += i64::from(together);
            let timing = &mut self.timing[place][*other];
            *timing = (*timing + 16 * i64::from(together) - loss).max(0);
            if *timing >= 96 {
                *timing = 48;
                over = true;
            }
        }
        let share = 65536 * near / others.len() as i64;
        self.chance[place] += (share - self.chance[place]) / 32;
        if let Some(member) = self.members[place].as_mut().filter(|_| over) {
            member.late = (member.late + 10).min(30).max(member.late);
        }
    }

    /// A request ends some times in the same way.
    fn end(&mut self, input: &mut Input<'_>, times: u8) {
        let (mask, approves, decided) = (input.u16(), input.u16(), input.u8() & 3 != 0);
        let bp = 5001 + input.u16() % 5000;
        let total = self
            .members
            .iter()
            .flatten()
            .map(|member| u64::from(member.weight))
            .sum();
        let Ok(mut ballot) = Ballot::new(bp, total) else {
            return;
        };
        let mut voted = [None; COUNT];
        for (place, member) in self.members.iter().enumerate() {
            let Some(member) = member.filter(|_| (mask >> place) & 1 != 0) else {
                continue;
            };
            let approves = (approves >> place) & 1 != 0;
            let verdict = if approves {
                Verdict::Approve
            } else {
                Verdict::Deny
            };
            if ballot.cast(SLOTS[place], member.weight, verdict).is_ok() {
                voted[place] = Some(verdict);
            }
        }
        for _ in 0..times {
            self.watch.ended(&ballot, decided, self.now);
            self.reach();
            if let Some(majority) = ballot.majority().filter(|_| decided) {
                self.judge(&voted, majority);
            }
            let distrusted = |member: &Member| !member.quarantined && member.lost > 50;
            if self.rules.is_some() && self.members.iter().flatten().any(distrusted) {
                self.start(3);
            }
        }
    }

    fn judge(&mut self, voted: &[Option<Verdict>; COUNT], majority: Verdict) {
        for (member, verdict) in self.members.iter_mut().zip(voted) {
            let (Some(member), Some(verdict)) = (member, verdict) else {
                continue;
            };
            if member.quarantined {
                continue;
            }
            if *verdict == majority {
                member.agreed = member.agreed.saturating_add(1);
                member.bias = member.bias.saturating_sub(1);
            } else {
                member.disagreed = member.disagreed.saturating_add(1);
                member.bias += 3;
            }
            if member.bias >= 16 {
                member.bias = 8;
                if member.penalties < 3 {
                    member.penalties += 1;
                    member.lost = (member.lost + 10).min(100);
                }
            }
        }
    }

    fn refuse(&mut self, input: &mut Input<'_>) {
        let (good, times) = (input.below(4) == 0, 1 + input.u8() % 16);
        let refusal = if good {
            Refusal::VoteDuplicate
        } else {
            Refusal::VoteForged
        };
        for _ in 0..times {
            self.watch.refused(refusal, self.now);
            let Some(rules) = self.rules.filter(|_| !good) else {
                continue;
            };
            self.invalid.push(self.now);
            let first = self.invalid.len().checked_sub(usize::from(rules.burst));
            let Some(first) = first.map(|first| self.invalid[first]) else {
                continue;
            };
            if self.now - first <= u64::from(rules.within_ms) {
                self.invalid.clear();
                let alert = self.alerts[1];
                let quiet = alert.ended_ms.saturating_add(u64::from(rules.quiet_ms));
                if alert.ended == 0 || self.now >= quiet {
                    self.start(1);
                }
            }
        }
    }

    fn start(&mut self, reason: usize) {
        let alert = &mut self.alerts[reason];
        alert.due |= !alert.active;
    }

    /// What should be recorded first.
    fn due(&self) -> Option<Turn> {
        let rules = self.rules?;
        Reason::ALL
            .into_iter()
            .zip(self.alerts)
            .find_map(|(reason, alert)| {
                if alert.due {
                    return Some(Turn::Alert(reason));
                }
                let over = self.now >= alert.since.saturating_add(u64::from(rules.quiet_ms));
                let doubted = |member: &Member| !member.quarantined && member.lost > 40;
                let held =
                    reason == Reason::Suspicion && self.members.iter().flatten().any(doubted);
                (alert.active && over && !held && !self.never(alert.since))
                    .then_some(Turn::Calm(reason))
            })
    }

    /// Whether the time when an alert ends is beyond the last stamp.
    fn never(&self, since: u64) -> bool {
        self.rules
            .is_some_and(|rules| since.saturating_add(u64::from(rules.quiet_ms)) == u64::MAX)
    }

    /// Takes what the watch has started on its own.
    fn see_silence(&mut self) {
        if self.watch.due(self.now) == Some(Turn::Alert(Reason::Silence)) && !self.alerts[2].due {
            assert!(!self.alerts[2].active && self.rules.is_some());
            self.alerts[2].due = true;
        }
    }

    /// Records all that is due.
    fn turns(&mut self) {
        for _ in 0..8 {
            self.see_silence();
            let due = self.watch.due(self.now);
            assert_eq!(due, self.due());
            let Some(turn) = due else { return };
            self.number += 1;
            self.watch.turn(turn, self.number, self.now);
            let (Turn::Alert(reason) | Turn::Calm(reason)) = turn;
            let alert = &mut self.alerts[reason as usize - 1];
            alert.active = turn == Turn::Alert(reason);
            if alert.active {
                alert.due = false;
                if reason != Reason::Evidence {
                    alert.since = self.now;
                }
            } else {
                (alert.ended, alert.ended_ms) = (self.number, self.now);
            }
        }
        panic!("turns do not end");
    }

    fn compare(&mut self) {
        self.see_silence();
        assert_eq!(self.watch.due(self.now), self.due());
        let due = self.watch.next_ms().is_some_and(|ms| ms <= self.now);
        assert_eq!(due, self.due().is_some());
        let active = Reason::ALL
            .into_iter()
            .zip(self.alerts)
            .filter(|(_, alert)| alert.active);
        assert_eq!(
            self.watch.active(),
            active.fold(0, |all, (reason, _)| all | reason.bit())
        );
        let listened = self
            .members
            .iter()
            .flatten()
            .filter(|member| !member.quarantined);
        let weight: u64 = listened.map(|member| u64::from(member.weight)).sum();
        assert!(self.watch.unheard_weight() <= weight);
        for (base, governance) in [(5001, false), (7500, true), (9500, false)] {
            self.threshold(base, governance);
        }
    }

    fn threshold(&self, base: u16, governance: bool) {
        let created = self.number.saturating_sub(3);
        let threshold = self.watch.threshold(base, created, governance);
        let held = (0..).zip(self.alerts).any(|(place, alert)| {
            let lasts = place != 1 && alert.ended > created;
            (alert.active || lasts) && (!governance || place < 2)
        });
        let wanted = match self.rules {
            Some(rules) if held => base.max((base + rules.raise_bp).min(rules.ceiling_bp)),
            _ => base,
        };
        assert_eq!(threshold, wanted);
    }

    fn compare_all(&self) {
        let reputations = self.watch.reputations();
        for (place, slot) in SLOTS.into_iter().enumerate() {
            let Some(member) = &self.members[place] else {
                continue;
            };
            let view = reputations.of(slot);
            let kept = Kept {
                score: 10_000 - member.lost * 100,
                bias: member.bias,
                agreed: member.agreed,
                disagreed: member.disagreed,
            };
            assert_eq!(view.kept, kept);
            assert_eq!(view.score, kept.score.saturating_sub(member.late * 100));
            let most = self.timing[place].iter().max().copied().unwrap_or(0);
            assert_eq!(i64::from(view.timing), most);
            let partner = self.timing[place].iter().position(|&timing| timing == most);
            assert_eq!(
                view.partner,
                partner.filter(|_| most != 0).map(|place| SLOTS[place])
            );
        }
        if self.members[0].is_some() && self.members[COUNT - 1].is_some() {
            let lowest = reputations.of(1).score.min(reputations.of(128).score);
            assert_eq!(reputations.lowest((1 << 127) | 1), lowest);
        }
        // Nobody is there.
        if let Some(place) = self.members.iter().position(Option::is_none) {
            assert_eq!(reputations.of(SLOTS[place]).kept, Kept::PRISTINE);
        }
        assert_eq!(reputations.of(0).kept, Kept::PRISTINE);
        assert_eq!(reputations.of(VALIDATORS as u16 + 1).kept, Kept::PRISTINE);
    }
}
