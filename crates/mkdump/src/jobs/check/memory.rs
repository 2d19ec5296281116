//! Which addresses two dumps both hold.

use std::ops::Range;

use kernel_snapshot::dump::Dump;

use captured_code::memory::{PageBudget, held};

/// The parts of `range` that both dumps hold.
pub(super) fn both(one: &Dump<'_>, other: &Dump<'_>, range: &Range<u64>, budget: &PageBudget) -> Vec<Range<u64>> {
    // What is listed is cheaper to find than what is mapped.
    let (first, second) = if one.segments().is_some() { (one, other) } else { (other, one) };
    let mut out = Vec::new();
    for part in held(first, range, budget) {
        out.extend(held(second, &part, budget));
    }
    out
}
