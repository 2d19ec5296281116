//! The function overrides of a built module.

use call_forms::{Decided, DecisionVotes};
use kernel_code::{Question, System};
use pe_image::{AppliedOverride, OverrideCounts, OverrideTarget};
use serde::Serialize;

use super::Hex;

/// Calls of overridden functions: `listed` is the sum of `applied`, `as_linked` and `unexpected_bytes`.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct OverrideSites {
    /// Records in the table.
    pub listed: u64,
    /// Calls that lead to another function than in the file.
    pub applied: u64,
    /// Of these, calls that lead to the copy of the kernel's shared code page after the module, because the page itself is
    /// out of their reach.
    pub out_of_reach: u64,
    /// Calls whose choice rests on a capability of the processor that is assumed.
    pub assumed: u64,
    /// Calls that stay as they are in the file.
    pub as_linked: u64,
    /// Of these, calls that had another form in memory.
    pub not_applied: u64,
    /// The bytes are not what a linker writes there.
    pub unexpected_bytes: u64,
}

/// An overridden function of a module.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct OverrideReport {
    /// RVA of the function that the file calls.
    pub original: Hex,
    /// What a kernel of this machine calls in its place: `original`, `alternative` or `system`.
    pub choice: &'static str,
    /// Number of the alternative, when that is the choice.
    pub alternative: Option<u32>,
    /// Numbers of the capabilities of the processor that the choice rests on and that are assumed.
    pub assumed: Vec<Hex>,
    /// Calls that the file lists.
    pub calls: u64,
    /// Calls that lead to another function than in the file.
    pub applied: u64,
}

impl From<&AppliedOverride> for OverrideReport {
    fn from(applied: &AppliedOverride) -> Self {
        let (choice, alternative) = name(applied.choice.target);
        Self {
            original: Hex(applied.original.0.into()),
            choice,
            alternative,
            assumed: applied.choice.assumed.iter().map(|&number| Hex(number.into())).collect(),
            calls: applied.counts.listed,
            applied: applied.counts.applied,
        }
    }
}

impl From<&OverrideCounts> for OverrideSites {
    fn from(counts: &OverrideCounts) -> Self {
        Self {
            listed: counts.listed,
            applied: counts.applied,
            out_of_reach: counts.out_of_reach,
            assumed: counts.assumed,
            as_linked: counts.as_linked,
            not_applied: counts.not_applied,
            unexpected_bytes: counts.unexpected_bytes,
        }
    }
}

/// What executed calls say of the overridden functions that one diagram decides.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct OverrideVerdictReport {
    /// The module that is judged by itself; `None` for all others together, for which a machine chooses once.
    pub module: Option<String>,
    /// Which of `ways` the calls went: an index; `None` when they are too few, or disagree.
    pub decided: Option<usize>,
    /// Calls went different ways.
    pub contradiction: bool,
    /// The functions that calls may have led to. The first is what the machine is taken to choose.
    pub ways: Vec<OverrideWayReport>,
    /// Calls that several ways explain.
    pub ambiguous: u32,
    /// Calls that no way explains.
    pub contradictory: u32,
    /// Calls where packets end, or code is missing, before they decide.
    pub open: u32,
}

/// A function that calls of an overridden one may have led to.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct OverrideWayReport {
    /// `original`, `alternative` or `system`.
    pub target: &'static str,
    /// Number of the alternative, when that is the target.
    pub alternative: Option<u32>,
    /// Calls that this way alone explains.
    pub votes: u32,
    /// Calls that other ways explain, and this one does not.
    pub refuted: u32,
}

/// What executed guarded calls say of kernel CFG (HVCI).
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct KernelCfgReport {
    /// `on`, `off` or `undecided`.
    pub verdict: &'static str,
    /// Calls that looked at the bitmap.
    pub checked: u32,
    /// Calls that did not.
    pub unchecked: u32,
}

impl OverrideVerdictReport {
    /// The verdicts on a system's overridden functions. Empty when no module has any, or packets were not looked at.
    pub(in crate::report) fn of(system: &System<'_>) -> Vec<Self> {
        let Some(evidence) = system.evidence() else { return Vec::new() };
        let asked = evidence.questions.iter().zip(&evidence.verdict.decisions);
        let asked = asked.filter(|(question, _)| question.diagram.is_some());
        asked.map(|(question, votes)| Self::new(system, question, votes)).collect()
    }

    fn new(system: &System<'_>, question: &Question, votes: &DecisionVotes) -> Self {
        let decided = votes.decided();
        let counts = votes.ways.iter().zip(&votes.excluded);
        let way = |(&target, (&votes, &refuted)): (&OverrideTarget, (&u32, &u32))| {
            let (target, alternative) = name(target);
            OverrideWayReport { target, alternative, votes, refuted }
        };
        Self {
            module: question.module.map(|module| system.modules().entry(module).module.name.clone()),
            decided: if let Decided::Way(way) = decided { Some(way) } else { None },
            contradiction: decided == Decided::Contradiction,
            ways: question.targets.iter().zip(counts).map(way).collect(),
            ambiguous: votes.ambiguous,
            contradictory: votes.contradictory,
            open: votes.open,
        }
    }
}

impl KernelCfgReport {
    /// The verdict on a system; `None` when packets were not looked at.
    pub(in crate::report) fn of(system: &System<'_>) -> Option<Self> {
        let evidence = system.evidence()?;
        let place = evidence.questions.iter().position(|question| question.diagram.is_none())?;
        let votes = evidence.verdict.decisions.get(place)?;
        let verdict = match votes.decided() {
            Decided::Way(0) => "off",
            Decided::Way(_) => "on",
            _ => "undecided",
        };
        Some(Self { verdict, unchecked: *votes.ways.first()?, checked: *votes.ways.get(1)? })
    }
}

/// What a target is called, and its number.
fn name(target: OverrideTarget) -> (&'static str, Option<u32>) {
    match target {
        OverrideTarget::Alternative(number) => ("alternative", Some(number)),
        OverrideTarget::System(_) => ("system", None),
        _ => ("original", None),
    }
}
