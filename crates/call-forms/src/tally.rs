//! Votes while they are counted.

use crate::arrival::Form;
use crate::decision::DecisionVotes;
use crate::enough::ENOUGH_VOTES;
use crate::votes::{Answer, Votes};

/// The votes of one piece, after those of the pieces before it.
pub(crate) struct Tally {
    /// What this piece adds, by module.
    pub votes: Vec<Votes>,
    /// What this piece adds, by decision.
    pub decisions: Vec<DecisionVotes>,
    /// What was counted before, by module.
    before: Vec<Before>,
    /// What was counted so far, by decision, without evidence.
    decision_sums: Vec<DecisionVotes>,
}

#[derive(Clone, Copy)]
struct Before {
    on: u32,
    off: u32,
    tries: u32,
}

impl Tally {
    pub fn after(before: &[Votes], decisions: &[DecisionVotes]) -> Self {
        let counted = |votes: &Votes| Before { on: votes.on, off: votes.off, tries: votes.tries() };
        let without_evidence = |votes: &DecisionVotes| DecisionVotes {
            ways: votes.ways.clone(),
            excluded: votes.excluded.clone(),
            evidence: Vec::new(),
            ..*votes
        };
        Self {
            votes: vec![Votes::default(); before.len()],
            decisions: decisions.iter().map(|votes| DecisionVotes::none(votes.ways.len())).collect(),
            before: before.iter().map(counted).collect(),
            decision_sums: decisions.iter().map(without_evidence).collect(),
        }
    }

    /// The form that a module's votes show so far: a few votes if they agree, else [`ENOUGH_VOTES`].
    pub fn settled(&self, module: usize) -> Option<Form> {
        let sum = self.sum(module);
        let is_enough = sum.on + sum.off >= ENOUGH_VOTES;
        match (sum.on, sum.off, sum.answer()) {
            (2.., 0, _) => Some(Form::Direct),
            (0, 2.., _) => Some(Form::Slot),
            (_, _, Answer::On) if is_enough => Some(Form::Direct),
            (_, _, Answer::Off) if is_enough => Some(Form::Slot),
            _ => None,
        }
    }

    /// Whether more votes of a module are of no use.
    pub fn is_enough(&self, module: usize) -> bool {
        let sum = self.sum(module);
        sum.on + sum.off >= ENOUGH_VOTES
    }

    /// How often sites of a module were tried.
    pub fn tries(&self, module: usize) -> u32 {
        self.before[module].tries + self.votes[module].tries()
    }

    /// The votes about a decision so far, without evidence.
    pub fn decision(&self, decision: usize) -> &DecisionVotes {
        &self.decision_sums[decision]
    }

    /// Counts something about a decision.
    pub fn count(&mut self, decision: usize, change: impl Fn(&mut DecisionVotes)) {
        let sum = &mut self.decision_sums[decision];
        change(sum);
        sum.evidence.clear();
        change(&mut self.decisions[decision]);
    }

    fn sum(&self, module: usize) -> Votes {
        let (before, votes) = (self.before[module], &self.votes[module]);
        Votes { on: before.on + votes.on, off: before.off + votes.off, ..Votes::default() }
    }
}
