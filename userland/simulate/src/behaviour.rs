// SPDX-License-Identifier: GPL-2.0

//! The behaviours, and what is to be expected of a node that meets them.

use crate::voter::Pace;
use engine::quorum::Verdict;

/// How a behaviour is to be found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    /// There is nothing to find.
    Honest,
    /// Evidence: each of the validators is quarantined, at another node too.
    Provable,
    /// Each of the validators is unheard, or the alert for silence holds.
    Silent,
    /// Each of the validators is suspected at some time.
    Statistical,
    /// Every attempt is refused.
    Refused,
    /// Each of the validators in the way that its own behaviour has.
    Mixed,
    /// Nothing that is signed shows it.
    Unseen,
    /// Beyond what a quorum can bear: shows that a wrong decision would be counted.
    Beyond,
}

impl Label {
    /// As the table has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Provable => "provable",
            Self::Silent => "silent",
            Self::Statistical => "statistical",
            Self::Refused => "refused",
            Self::Mixed => "mixed",
            Self::Unseen => "unseen",
            Self::Beyond => "beyond",
        }
    }

    /// Whether it counts for the overall detection.
    pub(crate) fn is_detectable(self) -> bool {
        matches!(
            self,
            Self::Provable | Self::Silent | Self::Statistical | Self::Mixed
        )
    }
}

/// How much weight behaves so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coalition {
    /// Nobody.
    None,
    /// So many, each of the same weight as everybody else.
    Count(usize),
    /// As many as have that part of the validators, and at most that part of the weight, in percent.
    Percent(u64),
}

/// What a validator does, or what is done in its neighbourhood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conduct {
    /// Answers honestly.
    Honest,
    /// The network reorders, duplicates and loses honest votes.
    Lossy,
    /// Is silent from a moment on.
    Crash,
    /// Is silent for 30 minutes of each hour.
    Flaky,
    /// Is cut off for an hour.
    Partition,
    /// Gives both verdicts on an open request.
    Equivocate,
    /// Gives the other verdict when the request is over.
    EquivocateLate,
    /// Gives both verdicts in votes that are held.
    EquivocateHeld,
    /// Uses one own entry for two requests.
    Fork,
    /// Lowers an entry.
    Regress,
    /// Uses a skipped own entry later.
    Backdate,
    /// Claims another's votes that there are not, then goes on without them.
    Inflate,
    /// Claims such votes all the time.
    InflateAlways,
    /// Runs its own entry ahead.
    Leap,
    /// Hands its own votes in again.
    Replay,
    /// Hands others' votes in again.
    ReplayOthers,
    /// Hands one vote in 50 times.
    Flood,
    /// Hands a vote in after its time.
    Withhold,
    /// Floods the node with votes in another's name, without that key.
    Forge,
    /// Changes votes of another and calls them evidence.
    FrameTampered,
    /// Calls two honest votes of another evidence.
    FramePair,
    /// Calls votes of another for two nodes evidence.
    FrameElsewhere,
    /// Makes evidence against another with its own key.
    FrameKey,
    /// Denies what is good or approves what is bad, before or after everybody else.
    Collude(Verdict, bool),
    /// Denies that permille of what is good.
    Liar(u64),
    /// The same with all, from the middle of the run on.
    Betray,
    /// Two vote at the same time as each other, at most so many milliseconds apart.
    Pair(u64),
    /// Votes right after one honest validator.
    Shadow,
    /// Somebody hands the votes of two honest validators in together.
    Batch,
    /// A part convicts itself so that the others' weight might count for more.
    MassQuarantine,
    /// Is readmitted and lies again.
    Rejoin,
    /// Each another of these.
    Mixed,
}

impl Conduct {
    /// How one validator that behaves so is to be found out.
    pub(crate) fn label(self) -> Label {
        match self {
            Self::Honest | Self::Lossy | Self::Batch => Label::Honest,
            Self::Crash | Self::Flaky | Self::Partition | Self::InflateAlways => Label::Silent,
            Self::Equivocate
            | Self::EquivocateLate
            | Self::EquivocateHeld
            | Self::Fork
            | Self::Regress
            | Self::Backdate
            | Self::Inflate
            | Self::Rejoin => Label::Provable,
            Self::Leap
            | Self::Replay
            | Self::ReplayOthers
            | Self::Flood
            | Self::Withhold
            | Self::Forge
            | Self::FrameTampered
            | Self::FramePair
            | Self::FrameElsewhere
            | Self::FrameKey => Label::Refused,
            Self::Collude(..) | Self::Liar(_) | Self::Betray | Self::Pair(_) | Self::Shadow => {
                Label::Statistical
            }
            Self::MassQuarantine | Self::Mixed => Label::Mixed,
        }
    }

    /// Whether an act follows each vote.
    pub(crate) fn is_scripted(self) -> bool {
        matches!(self.label(), Label::Provable | Label::Refused)
    }

    /// Whether that act takes the place of the vote.
    pub(crate) fn comes_first(self) -> bool {
        matches!(self, Self::EquivocateHeld | Self::Inflate | Self::Leap)
    }

    /// Whether those who behave so do nothing wrong.
    pub(crate) fn is_honest(self) -> bool {
        matches!(
            self,
            Self::Honest | Self::Lossy | Self::Batch | Self::Crash | Self::Flaky | Self::Partition
        )
    }
}

/// What the members of a mixed coalition do, by turns.
pub(crate) const MIXED: [Conduct; 12] = [
    Conduct::Equivocate,
    Conduct::Leap,
    Conduct::Fork,
    Conduct::Forge,
    Conduct::Regress,
    Conduct::FrameTampered,
    Conduct::EquivocateHeld,
    Conduct::Replay,
    Conduct::Backdate,
    Conduct::Withhold,
    Conduct::Inflate,
    Conduct::FramePair,
];

/// One behaviour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    /// In a few words.
    pub(crate) what: &'static str,
    pub(crate) label: Label,
    pub(crate) conduct: Conduct,
    pub(crate) coalition: Coalition,
    /// [`None`]: each validator another.
    pub(crate) pace: Option<Pace>,
    /// How often an honest validator denies what is good, in permille.
    pub(crate) dissent: u64,
    /// How long a run is.
    pub(crate) hours: u64,
    /// Whether false suspicion here counts for the target.
    pub(crate) suspicion: bool,
}

const fn behaviour(
    name: &'static str,
    what: &'static str,
    conduct: Conduct,
    coalition: Coalition,
    label: Label,
    hours: u64,
) -> Behaviour {
    Behaviour {
        name,
        what,
        label,
        conduct,
        coalition,
        pace: Some(Pace::Long),
        dissent: 20,
        hours,
        suspicion: true,
    }
}

const fn honest(
    name: &'static str,
    what: &'static str,
    pace: Option<Pace>,
    dissent: u64,
) -> Behaviour {
    Behaviour {
        pace,
        dissent,
        ..behaviour(
            name,
            what,
            Conduct::Honest,
            Coalition::None,
            Label::Honest,
            LONG,
        )
    }
}

/// Hours of a run in which reputation matters, and of one in which it does not.
const LONG: u64 = 8;
const SHORT: u64 = 1;

const fn provable(name: &'static str, what: &'static str, conduct: Conduct) -> Behaviour {
    behaviour(
        name,
        what,
        conduct,
        Coalition::Percent(16),
        Label::Provable,
        SHORT,
    )
}

const fn refused(name: &'static str, what: &'static str, conduct: Conduct) -> Behaviour {
    behaviour(
        name,
        what,
        conduct,
        Coalition::Count(1),
        Label::Refused,
        SHORT,
    )
}

const fn collude(
    name: &'static str,
    what: &'static str,
    verdict: Verdict,
    first: bool,
    percent: u64,
    label: Label,
) -> Behaviour {
    let conduct = Conduct::Collude(verdict, first);
    behaviour(
        name,
        what,
        conduct,
        Coalition::Percent(percent),
        label,
        LONG,
    )
}

use Coalition::{
    Count,
    Percent, //
};
use Label::{
    Beyond,
    Mixed,
    Provable,
    Silent,
    Statistical,
    Unseen, //
};
use Verdict::{
    Approve,
    Deny, //
};

/// All behaviours.
pub(crate) const ALL: &[Behaviour] = &[
    honest(
        "honest-short",
        "all answer in 0.2 to 5 s",
        Some(Pace::Short),
        20,
    ),
    honest(
        "honest-long",
        "all answer in 2 s to 2 min",
        Some(Pace::Long),
        20,
    ),
    honest(
        "honest-bots",
        "all are programs that answer in 2 to 60 ms",
        Some(Pace::Bot),
        20,
    ),
    honest("honest-mixed", "each is one of these", None, 20),
    honest(
        "dissent-5",
        "honest validators deny 5 % of what is good",
        Some(Pace::Long),
        50,
    ),
    honest(
        "dissent-10",
        "honest validators deny 10 % of what is good",
        Some(Pace::Long),
        100,
    ),
    behaviour(
        "lossy",
        "the network loses, doubles and reorders votes",
        Conduct::Lossy,
        Coalition::None,
        Label::Honest,
        LONG,
    ),
    Behaviour {
        suspicion: false,
        ..behaviour(
            "batched",
            "somebody hands the votes of two honest validators in together",
            Conduct::Batch,
            Coalition::None,
            Label::Honest,
            LONG,
        )
    },
    behaviour(
        "crash",
        "up to 20 % fall silent",
        Conduct::Crash,
        Percent(20),
        Silent,
        2,
    ),
    behaviour(
        "flaky",
        "up to 20 % are silent for 30 min of each hour",
        Conduct::Flaky,
        Percent(20),
        Silent,
        3,
    ),
    behaviour(
        "partition",
        "40 % are cut off for an hour, then are back",
        Conduct::Partition,
        Percent(40),
        Silent,
        3,
    ),
    behaviour(
        "inflate-always",
        "claims votes of another that do not exist, always",
        Conduct::InflateAlways,
        Count(1),
        Silent,
        2,
    ),
    provable(
        "equivocation",
        "both verdicts, while the request is open",
        Conduct::Equivocate,
    ),
    provable(
        "equivocation-late",
        "the other verdict, after the decision",
        Conduct::EquivocateLate,
    ),
    provable(
        "equivocation-held",
        "both verdicts, in votes that are held",
        Conduct::EquivocateHeld,
    ),
    provable("fork", "one own entry for two requests", Conduct::Fork),
    provable(
        "regression",
        "an entry that is lower than before",
        Conduct::Regress,
    ),
    provable(
        "backdating",
        "a skipped own entry, used later",
        Conduct::Backdate,
    ),
    provable(
        "inflation",
        "claims votes that do not exist, then goes on without",
        Conduct::Inflate,
    ),
    behaviour(
        "rejoin",
        "lies, is readmitted, lies again, is removed, comes back",
        Conduct::Rejoin,
        Count(1),
        Provable,
        4,
    ),
    refused("leap", "runs its own clock entry ahead", Conduct::Leap),
    refused("replay", "hands its own votes in again", Conduct::Replay),
    refused(
        "replay-others",
        "hands others' votes in again",
        Conduct::ReplayOthers,
    ),
    refused("flood", "hands one vote in 50 times", Conduct::Flood),
    refused(
        "withheld",
        "a vote is released after its time",
        Conduct::Withhold,
    ),
    refused(
        "forged-flood",
        "20 votes at once in an honest validator's name",
        Conduct::Forge,
    ),
    refused(
        "frame-tampered",
        "evidence of another's votes, changed",
        Conduct::FrameTampered,
    ),
    refused(
        "frame-pair",
        "evidence of two honest votes",
        Conduct::FramePair,
    ),
    refused(
        "frame-elsewhere",
        "evidence of votes for two nodes",
        Conduct::FrameElsewhere,
    ),
    refused(
        "frame-key",
        "evidence against another, signed with one's own key",
        Conduct::FrameKey,
    ),
    behaviour(
        "dissenter",
        "one denies everything that is good",
        Conduct::Liar(1000),
        Count(1),
        Statistical,
        LONG,
    ),
    behaviour(
        "betrayal",
        "one is honest for half of the time, then denies what is good",
        Conduct::Betray,
        Count(1),
        Statistical,
        16,
    ),
    behaviour(
        "pair",
        "two vote within 40 ms of each other",
        Conduct::Pair(40),
        Count(2),
        Statistical,
        LONG,
    ),
    behaviour(
        "pair-90",
        "two vote within 90 ms of each other",
        Conduct::Pair(90),
        Count(2),
        Statistical,
        LONG,
    ),
    behaviour(
        "shadow",
        "one votes within 40 ms after an honest one",
        Conduct::Shadow,
        Count(1),
        Statistical,
        LONG,
    ),
    collude(
        "deny-32-last",
        "32 % deny what is good, after all others",
        Deny,
        false,
        32,
        Statistical,
    ),
    collude(
        "deny-32-first",
        "32 % deny what is good, before all others",
        Deny,
        true,
        32,
        Unseen,
    ),
    collude(
        "deny-49-last",
        "49 % deny what is good, after all others",
        Deny,
        false,
        49,
        Statistical,
    ),
    collude(
        "deny-49-first",
        "49 % deny what is good, before all others",
        Deny,
        true,
        49,
        Unseen,
    ),
    collude(
        "approve-32-last",
        "32 % approve what is bad, after all others",
        Approve,
        false,
        32,
        Unseen,
    ),
    collude(
        "approve-32-first",
        "32 % approve what is bad, before all others",
        Approve,
        true,
        32,
        Unseen,
    ),
    collude(
        "approve-49-last",
        "49 % approve what is bad, after all others",
        Approve,
        false,
        49,
        Unseen,
    ),
    collude(
        "approve-49-first",
        "49 % approve what is bad, before all others",
        Approve,
        true,
        49,
        Unseen,
    ),
    behaviour(
        "mass-quarantine",
        "of 49 %, two thirds convict themselves, the rest approve what is \
        bad",
        Conduct::MassQuarantine,
        Percent(49),
        Mixed,
        2,
    ),
    behaviour(
        "mixed",
        "32 %, each with another of the attacks",
        Conduct::Mixed,
        Percent(32),
        Mixed,
        2,
    ),
    collude(
        "approve-80-first",
        "80 % approve what is bad: more than the quorum",
        Approve,
        true,
        80,
        Beyond,
    ),
];

/// The liar of the curve, who denies that permille of what is good.
pub(crate) fn liar(permille: u64) -> Behaviour {
    Behaviour {
        conduct: Conduct::Liar(permille),
        ..behaviour(
            "liar",
            "one denies a part of what is good",
            Conduct::Liar(0),
            Count(1),
            Unseen,
            LONG,
        )
    }
}
