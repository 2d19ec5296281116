//! Server silos: containers, which have sessions of their own.
//!
//! ```text
//! PsActiveProcessHead ──► _EPROCESS ─Job─► _EJOB ─ParentJob─► … ─ServerSiloGlobals─► _ESERVERSILO_GLOBALS ─EtwSiloState─►
//! ```
//!
//! All these members are in the kernel's PDB, and in no table, so without it only the host's sessions are listed.

use std::collections::HashSet;

use crate::buffer::Budget;
use crate::kernel::Kernel;
use crate::layout::{Layout, Slots, slots};
use crate::memory::Reader;
use crate::types::names;
use crate::warning::{Warning, Warnings};

/// Jobs in each other; Windows allows fewer.
const DEEPEST: usize = 64;
/// More processes than a machine has.
const MOST: usize = 1 << 20;

/// The silo states of containers, with their arrays; `None` when they cannot be looked for.
pub(crate) fn servers(
    kernel: &Kernel<'_>,
    reader: Reader<'_>,
    layout: &Layout,
    budget: &mut Budget,
    warnings: &mut Warnings,
) -> Option<Vec<(u64, Slots)>> {
    let types = kernel.types?;
    let silo = layout.silo.as_ref()?;
    let member = |structure: &str, member: &str| types.structures.get(structure)?.offset(member);
    let links = member(names::PROCESS, "ActiveProcessLinks")?;
    let job_of = member(names::PROCESS, "Job")?;
    let parent = member(names::JOB, "ParentJob")?;
    let globals = member(names::JOB, "ServerSiloGlobals")?;
    let state_of = member(names::SILO_GLOBALS, "EtwSiloState")?;
    let head = kernel.base.checked_add(u64::from(*types.symbols.get(names::PROCESS_LIST)?))?;

    let (mut jobs, mut states, mut seen) = (HashSet::new(), Vec::new(), HashSet::from([head]));
    let mut from = head;
    loop {
        let next = reader.pointer(from, 0);
        let why = match next {
            Some(next) if next == head => break,
            Some(next) if !seen.insert(next) => "a link back to a process that was seen",
            Some(_) if seen.len() > MOST || !budget.take(16) => "too many processes",
            Some(next) => {
                from = next;
                let mut at = next.checked_sub(links.into()).and_then(|process| reader.pointer(process, job_of));
                for _ in 0..DEEPEST {
                    let Some(job) = at.filter(|job| jobs.insert(*job)) else { break };
                    let state = reader.pointer(job, globals).and_then(|globals| reader.pointer(globals, state_of));
                    states.extend(state);
                    at = reader.pointer(job, parent);
                }
                continue;
            }
            None => "a link that cannot be read",
        };
        warnings.push(Warning::at(from, "list of processes", why, "a ring; sessions of containers may be missing"));
        break;
    }
    states.sort_unstable();
    states.dedup();
    states.retain(|state| Some(*state) != layout.state);
    let with_slots = |state: u64| {
        let slots = slots(reader, state, silo);
        if slots.is_none() {
            let found = "no array of contexts that can be read";
            warnings.push(Warning::at(state, "silo state of a container", found, "an array"));
        }
        Some((state, slots?))
    };
    Some(states.into_iter().filter_map(with_slots).collect())
}
