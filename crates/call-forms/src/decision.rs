//! Decisions: which of several functions calls lead to, where a kernel chose one when it loaded the code.
//!
//! ```text
//! Decision 1                  the question: one machine gives one answer, at all junctions
//!  └► Routes n                the ways that an answer has at the junctions of one function in one module
//!      └► Junction n          a direct call or jump, or the start of a function
//! ```

use std::fmt;

use crate::enough::{ENOUGH_VOTES, MAX_EVIDENCE, MIN_AGREEMENT, MIN_VOTES};

/// Ways of one decision at most; with more of them, its junctions are followed the first way and do not vote.
pub const MAX_WAYS: usize = 16;

/// A place in code from which a walk goes on in one of several ways, whatever the code's bytes there say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Junction {
    /// Its address: that of a direct call or jump of 5 bytes (`E8` or `E9`), or of the start of a function.
    pub va: u64,
    /// True for a call, which pushes its return address. A jump does not, nor does the start of a function.
    pub call: bool,
    /// Index into [`Input::routes`](crate::Input::routes).
    pub routes: usize,
}

/// The ways that lead on from some junctions, one for each answer of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Index of the decision. Routes of the same decision have as many ways.
    pub decision: usize,
    /// The ways by answer. While nothing is known, walks take the first one that fits.
    pub ways: Vec<Way>,
    /// The dispatch functions of a guarded call: those that jump to where rax points.
    pub dispatch: Vec<u64>,
}

/// One way from a junction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it leads.
    pub leads: Leads,
    /// What it says about the first jump after it that takes a TIP.
    pub first: FirstJump,
}

/// Where a way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To an address, as a direct branch.
    To(u64),
    /// To where a TIP says, as an indirect jump.
    Tip,
}

/// What must be true of the first indirect jump on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstJump {
    /// Nothing.
    Any,
    /// It goes to one of [`Routes::dispatch`].
    ToDispatch,
    /// It goes elsewhere.
    Elsewhere,
}

/// A vote of a junction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayEvidence {
    /// The junction.
    pub junction: u64,
    /// The way that it went: every other one was refuted.
    pub way: usize,
    /// Index of the stream.
    pub stream: usize,
    /// Offset of the packet that the junction was tried at.
    pub offset: usize,
}

/// What the junctions of one decision say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionVotes {
    /// Junctions that went each way, by way.
    pub ways: Vec<u32>,
    /// Junctions at which each way was refuted while another one fitted, by way.
    pub excluded: Vec<u32>,
    /// Junctions that several ways fitted.
    pub ambiguous: u32,
    /// Junctions that no way fitted: wrong version of a module, or a walk out of step.
    pub contradictory: u32,
    /// Junctions met where packets end before they decide, or code is missing.
    pub open: u32,
    /// The first [`MAX_EVIDENCE`] votes.
    pub evidence: Vec<WayEvidence>,
}

/// What the votes about a decision amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The machine chose this way.
    Way(usize),
    /// Too few votes, or none, or some that a walk out of step may have given by chance.
    Open,
    /// Junctions went different ways: at least [`MIN_VOTES`] of them each.
    Contradiction,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Way(way) => write!(f, "way {way}"),
            Self::Open => f.write_str("open"),
            Self::Contradiction => f.write_str("contradiction"),
        }
    }
}

impl DecisionVotes {
    /// No votes about a decision of so many ways.
    pub(crate) fn none(ways: usize) -> Self {
        Self { ways: vec![0; ways], excluded: vec![0; ways], ..Self::default() }
    }

    /// Votes, all ways together.
    pub fn total(&self) -> u32 {
        self.ways.iter().sum()
    }

    /// What the votes amount to. Where more junctions fit no way than vote, the code is not what ran, and whatever fits does
    /// so by chance.
    pub fn decided(&self) -> Decided {
        let total = self.total();
        if total < MIN_VOTES || self.contradictory > total {
            return Decided::Open;
        }
        let agree = |votes: &u32| u64::from(*votes) * 100 >= u64::from(total) * u64::from(MIN_AGREEMENT);
        match self.ways.iter().position(agree) {
            Some(way) => Decided::Way(way),
            None if self.ways.iter().filter(|&&votes| votes >= MIN_VOTES).count() > 1 => Decided::Contradiction,
            None => Decided::Open,
        }
    }

    /// Times that a walk tried a junction.
    pub(crate) fn tries(&self) -> u32 {
        self.total() + self.ambiguous + self.contradictory + self.open
    }

    /// Whether more votes are of no use.
    pub(crate) fn is_enough(&self) -> bool {
        self.total() >= ENOUGH_VOTES
    }

    /// The way that the votes show so far: a few votes if they agree, else [`ENOUGH_VOTES`].
    pub(crate) fn settled(&self) -> Option<usize> {
        let total = self.total();
        let all = self.ways.iter().position(|&votes| votes >= 2 && votes == total);
        all.or(match self.decided() {
            Decided::Way(way) if self.is_enough() => Some(way),
            _ => None,
        })
    }

    pub(crate) fn add(&mut self, evidence: WayEvidence) {
        if let Some(votes) = self.ways.get_mut(evidence.way) {
            *votes += 1;
        }
        if self.evidence.len() < MAX_EVIDENCE {
            self.evidence.push(evidence);
        }
    }

    /// Adds the votes of a later piece.
    pub(crate) fn absorb(&mut self, other: Self) {
        let sums = self.ways.iter_mut().chain(&mut self.excluded);
        for (sum, more) in sums.zip(other.ways.iter().chain(&other.excluded)) {
            *sum += more;
        }
        self.ambiguous += other.ambiguous;
        self.contradictory += other.contradictory;
        self.open += other.open;
        let room = MAX_EVIDENCE.saturating_sub(self.evidence.len());
        self.evidence.extend(other.evidence.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::{Decided, DecisionVotes};

    #[test]
    fn votes_decide_when_they_are_enough_and_agree() {
        let cases: &[(&[u32], u32, Decided, Option<usize>)] = &[
            (&[], 0, Decided::Open, None),
            (&[0, 0], 0, Decided::Open, None),
            (&[0, 1], 0, Decided::Open, None),
            (&[0, 3], 0, Decided::Open, Some(1)),
            (&[0, 4], 0, Decided::Way(1), Some(1)),
            (&[4, 0, 0], 4, Decided::Way(0), Some(0)),
            (&[4, 0, 0], 5, Decided::Open, Some(0)),
            (&[5, 95], 0, Decided::Way(1), Some(1)),
            (&[1, 19], 0, Decided::Way(1), None),
            (&[6, 94], 0, Decided::Contradiction, None),
            (&[4, 4], 0, Decided::Contradiction, None),
            (&[3, 9], 0, Decided::Open, None),
        ];
        for &(ways, contradictory, expected, settled) in cases {
            let votes = DecisionVotes { ways: ways.to_vec(), contradictory, ..DecisionVotes::default() };
            assert_eq!((votes.decided(), votes.settled()), (expected, settled), "{votes:?}");
        }
    }
}
