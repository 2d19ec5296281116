//! Votes of import sites, and the verdict that they amount to.

use std::collections::BTreeMap;
use std::fmt;

use intel_pt::flow::Quality;

use crate::decision::DecisionVotes;
use crate::enough::{MAX_EVIDENCE, MIN_AGREEMENT, MIN_VOTES};

/// On or off?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// On.
    On,
    /// Off.
    Off,
    /// Too few witnesses, or they disagree.
    Undecided,
    /// There is nothing to decide: no import sites.
    Irrelevant,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Undecided => "undecided",
            Self::Irrelevant => "irrelevant",
        })
    }
}

/// How a vote came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// At the site both forms were tried.
    Walked,
    /// An uncompressed return went to the address after the linked or the direct call.
    Returned,
}

/// A vote, or a noteworthy observation that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The site.
    pub site: u64,
    /// What its slot points at.
    pub expected: u64,
    /// Index of the stream.
    pub stream: usize,
    /// Offset of the packet that the site was tried at.
    pub offset: usize,
    /// What it says.
    pub says: Says,
    /// How it came about.
    pub how: How,
}

/// What a piece of evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// The call is direct.
    On,
    /// The call goes through the slot.
    Off,
    /// The call goes through the slot, and the slot points elsewhere: Driver Verifier, a shim, a hook.
    Redirected {
        /// Where it points.
        to: u64,
    },
}

/// The votes of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Sites that were direct.
    pub on: u32,
    /// Sites that went through the slot.
    pub off: u32,
    /// Sites that both forms fitted.
    pub ambiguous: u32,
    /// Sites that neither form fitted, the slot pointing elsewhere.
    pub redirected: u32,
    /// Sites that neither form fitted for another reason: wrong version of a module, or a walk out of step.
    pub contradictory: u32,
    /// Sites met where packets end before they decide, or code is missing.
    pub open: u32,
    /// The first [`MAX_EVIDENCE`] of them.
    pub evidence: Vec<Evidence>,
}

impl Votes {
    /// What the votes amount to. Where more sites fit neither form than vote, the code is not what ran, and whatever fits
    /// does so by chance.
    pub fn answer(&self) -> Answer {
        let total = self.on + self.off;
        let agree = |votes: u32| u64::from(votes) * 100 >= u64::from(total) * u64::from(MIN_AGREEMENT);
        match () {
            () if total < MIN_VOTES || self.contradictory > total => Answer::Undecided,
            () if agree(self.on) => Answer::On,
            () if agree(self.off) => Answer::Off,
            () => Answer::Undecided,
        }
    }

    pub(crate) fn add(&mut self, evidence: Evidence) {
        match evidence.says {
            Says::On => self.on += 1,
            Says::Off => self.off += 1,
            Says::Redirected { .. } => self.redirected += 1,
        }
        if self.evidence.len() < MAX_EVIDENCE {
            self.evidence.push(evidence);
        }
    }

    /// Times that a walk tried a site of the module.
    pub(crate) fn tries(&self) -> u32 {
        self.on + self.off + self.ambiguous + self.redirected + self.contradictory + self.open
    }

    /// Adds the votes of a later piece.
    pub(crate) fn absorb(&mut self, other: Votes) {
        self.on += other.on;
        self.off += other.off;
        self.ambiguous += other.ambiguous;
        self.redirected += other.redirected;
        self.contradictory += other.contradictory;
        self.open += other.open;
        let room = MAX_EVIDENCE.saturating_sub(self.evidence.len());
        self.evidence.extend(other.evidence.into_iter().take(room));
    }
}

/// The verdict on one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleVerdict {
    /// Its name.
    pub name: String,
    /// Whether its import sites were rewritten.
    pub import_optimization: Answer,
    /// Its votes.
    pub votes: Votes,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Over all modules: the setting is one global switch, so modules without witnesses follow it. Undecided when
    /// modules disagree.
    pub import_optimization: Answer,
    /// Sum of the votes "on".
    pub votes_on: u32,
    /// Sum of the votes "off".
    pub votes_off: u32,
    /// Each importer, in the order given.
    pub per_module: Vec<ModuleVerdict>,
    /// Whether indirect branches went through retpoline stubs.
    pub retpoline: Answer,
    /// What speaks for retpoline, and against it.
    pub retpoline_votes: RetpolineVotes,
    /// What speaks for each way of each decision, by decision.
    pub decisions: Vec<DecisionVotes>,
    /// Addresses that the walks needed and the code does not know, with the number of times; at most 4096 of them.
    pub missing: BTreeMap<u64, u32>,
    /// Where code between packets was too long for so few packets, so that a part of them was not weighed. Real code does not
    /// do that.
    pub given_up: Option<GivenUp>,
    /// How well each stream could be followed, as far as it was walked: what disagrees with the code in both forms. Share and
    /// skipped bytes mean little, because these walks go on only where no packet can be misunderstood.
    pub streams: Vec<Quality>,
    /// The work done: blocks that walks and tests passed without a packet.
    pub steps: u64,
}

/// Places where a walk was given up because it took too much work for its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// How many there are.
    pub count: u32,
    /// Index of the stream of the first one.
    pub stream: usize,
    /// Offset in it.
    pub offset: usize,
    /// Address that the walk had come to.
    pub address: u64,
}

/// Evidence for and against retpoline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetpolineVotes {
    /// Addresses in packets that lie in stub pages. Nothing else is executed there, so one is proof.
    pub in_stubs: u32,
    /// Returns to the address after a rewritten call.
    pub rewritten_returns: u32,
    /// Returns to the address after a call as linked.
    pub linked_returns: u32,
}

impl RetpolineVotes {
    /// What they amount to.
    pub fn answer(&self) -> Answer {
        let on = self.in_stubs + self.rewritten_returns;
        match (on, self.linked_returns) {
            (0, off) if off >= MIN_VOTES => Answer::Off,
            (on, off) if (self.in_stubs > 0 || on >= MIN_VOTES) && on > off => Answer::On,
            _ => Answer::Undecided,
        }
    }
}

/// The verdict over all modules, from the verdicts on each of them and the sums of their votes.
pub(crate) fn overall(modules: &[ModuleVerdict], on: u32, off: u32) -> Answer {
    let says = |answer: Answer| modules.iter().any(|module| module.import_optimization == answer);
    if modules.iter().all(|module| module.import_optimization == Answer::Irrelevant) {
        return Answer::Irrelevant;
    }
    match (says(Answer::On), says(Answer::Off)) {
        (true, true) => Answer::Undecided,
        _ => {
            let contradictory = modules.iter().map(|module| module.votes.contradictory).sum();
            Votes { on, off, contradictory, ..Votes::default() }.answer()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Votes};

    #[test]
    fn votes_decide_when_they_are_enough_and_agree() {
        let cases = [
            ((4, 0, 0), Answer::On),
            ((0, 4, 0), Answer::Off),
            ((3, 0, 0), Answer::Undecided),
            ((95, 5, 0), Answer::On),
            ((94, 6, 0), Answer::Undecided),
            ((10, 0, 10), Answer::On),
            ((10, 0, 11), Answer::Undecided),
        ];
        for ((on, off, contradictory), expected) in cases {
            let votes = Votes { on, off, contradictory, ..Votes::default() };
            assert_eq!(votes.answer(), expected, "{votes:?}");
        }
    }
}
