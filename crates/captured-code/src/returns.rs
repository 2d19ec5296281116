//! Return addresses on captured stacks: each lies after the call that was executed, and the calls of a site end in
//! different places in its two forms.
//!
//! | site | as linked returns to | rewritten returns to |
//! | --- | --- | --- |
//! | import call | site + 7 | site + 12 |
//! | indirect call through the CFG pointer | site + 6, with a REX prefix + 7 | site + 5 |
//! | other indirect call | site + 2, with a REX prefix + 3 | site + 5 |

use std::collections::HashSet;

use kernel_code::SiteForms;
use kernel_snapshot::Module;
use kernel_snapshot::dump::{Dump, ReadMemory};
use pe_image::{Site, SiteEncoding, SiteKind};

use super::memory::PLACE;

/// The largest kernel stack, with everything expanded.
const LARGEST_STACK: u64 = 0x6_c000;
const PAGE: u64 = 0x1000;

/// Values on stacks that lie in modules.
pub(super) struct Returns(HashSet<u64>);

/// The values on the stacks that dumps captured: aligned, and inside one of the modules.
///
/// What a triage dump or user minidump captured outside of modules is stacks for the greater part, and elsewhere nothing
/// points between the two ends that a call can have. Of a dump that holds pages only the current stack is read: it holds
/// the code itself.
pub(super) fn on_stacks(dumps: &[&Dump<'_>], modules: &[Module]) -> Returns {
    let mut images: Vec<(u64, u64)> = modules.iter().map(|module| (module.base, module.end())).collect();
    images.sort_unstable();
    let is_in_image = |value: u64| {
        let after = images.partition_point(|(base, _)| *base <= value);
        after.checked_sub(1).is_some_and(|at| value < images[at].1)
    };
    let mut found = HashSet::new();
    let mut look_at = |address: u64, bytes: &[u8]| {
        let skip = (address.wrapping_neg() % 8) as usize;
        let values = bytes.get(skip..).unwrap_or_default().chunks_exact(8);
        found.extend(
            values
                .map(|value| u64::from_le_bytes(value.try_into().expect("chunks of 8 bytes")))
                .filter(|&value| is_in_image(value)),
        );
    };
    for dump in dumps {
        match dump.segments() {
            Some(segments) => {
                let outside = segments.all().iter().filter(|segment| !is_in_image(segment.address));
                outside.for_each(|segment| look_at(segment.address, segment.bytes));
            }
            None => current_stack(dump, &mut look_at),
        }
    }
    Returns(found)
}

/// Reads the stack of the processor that wrote the dump, up to the first page that is not held.
fn current_stack(dump: &Dump<'_>, look_at: &mut impl FnMut(u64, &[u8])) {
    let Some(pointer) = dump.stack_pointer() else { return };
    let Some(end) = pointer.checked_add(LARGEST_STACK) else { return };
    let mut page = [0; PAGE as usize];
    let mut at = pointer;
    while at < end {
        let want = (PAGE - at % PAGE) as usize;
        let got = dump.read(at, &mut page[..want]).min(want);
        look_at(at, &page[..got]);
        if got < want {
            break;
        }
        at += want as u64;
    }
}

impl Returns {
    /// Counts the calls of a module's sites that a return address lies after.
    pub(super) fn weigh(&self, number: usize, module: &Module, sites: &[(Site, [u8; PLACE])], forms: &mut SiteForms) {
        if self.0.is_empty() {
            return;
        }
        for (site, _) in sites {
            let counts = match site.kind {
                SiteKind::Import { call: true, .. } => &mut forms.imports[number],
                SiteKind::Indirect { call: true, .. } => &mut forms.retpoline,
                _ => continue,
            };
            let returns_here = |encoding| {
                let end = site.kind.branch_end(encoding).unwrap_or_default();
                let address = module.base.checked_add(u64::from(site.rva.0) + u64::from(end));
                address.is_some_and(|address| self.0.contains(&address))
            };
            counts.linked += u64::from(returns_here(SiteEncoding::Linked));
            counts.rewritten += u64::from(returns_here(SiteEncoding::Stub));
        }
    }
}
