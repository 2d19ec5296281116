//! The function overrides of a built module.

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
        let (choice, alternative) = match applied.choice.target {
            OverrideTarget::Alternative(number) => ("alternative", Some(number)),
            OverrideTarget::System(_) => ("system", None),
            _ => ("original", None),
        };
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
