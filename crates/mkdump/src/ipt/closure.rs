//! Which modules the IPT data reaches: those that its packets name, and those that code of a reached module calls
//! directly, which leaves no packet.

use std::collections::HashMap;

use pe_image::{Outcome, Policy, Unbound};
use rayon::prelude::*;

use super::touched::{Reach, Touched, closure};
use crate::images::Bound;

/// How each module of a snapshot is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// What packets name: one entry for each of the snapshot's modules, in order.
    pub touched: Touched,
    /// How each is reached, in the same order; nothing for those that are not.
    pub reach: Vec<Option<Reach>>,
}

/// Closes the modules that packets name over direct import calls. `touched` is the scan over the addresses of `bound`.
///
/// A module is added when a reached module that was there at the chosen moment, whose file is at hand and for which
/// `direct` (given its index) is true, lists an import site (DVRT symbol 3) that import optimization makes direct: its
/// bytes are a linker's, its slot resolves, forwarders followed, to an export of the module to be added, and the target
/// is within 2 GiB. A site whose exporter is loaded while that one's file is missing counts too, because the processor
/// needed no file. All other import calls take a TIP, which the scan has seen. Sites in code that never ran count as well:
/// the set is the smallest one known to be enough, not the set that ran.
pub fn reached(bound: &Bound<'_>, touched: Touched, direct: impl Fn(usize) -> bool + Sync) -> Reached {
    let entries = bound.entries();
    let hit: Vec<bool> = touched.modules.iter().map(|module| module.hits > 0).collect();
    let names: HashMap<String, usize> = (0..entries.len())
        .rev()
        .filter(|&entry| bound.was_loaded(entry))
        .map(|entry| (entries[entry].module.name.to_ascii_lowercase(), entry))
        .collect();
    let imports: Vec<Vec<usize>> = (0..entries.len())
        .into_par_iter()
        .map(|entry| if direct(entry) { direct_imports(bound, &names, entry) } else { Vec::new() })
        .collect();
    Reached { reach: closure(&hit, &imports), touched }
}

/// The modules that direct import calls of a module lead to.
fn direct_imports(bound: &Bound<'_>, names: &HashMap<String, usize>, entry: usize) -> Vec<usize> {
    let second_mapping = Policy::is_second_mapping(&bound.entries()[entry].module.name);
    let Some(mapped) = bound.map(entry, Policy { second_mapping, ..Policy::default() }, None) else {
        return Vec::new();
    };
    let mut found: Vec<usize> = mapped
        .sites()
        .filter_map(|site| match &site.outcome {
            Outcome::Direct(target) => bound.exporter(target),
            Outcome::AsLinked(pe_image::Reason::Unbound) => match &bound.binding(entry).import_of(&site)?.result {
                Err(Unbound::NoFile(exporter)) => names.get(&exporter.to_ascii_lowercase()).copied(),
                _ => None,
            },
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
