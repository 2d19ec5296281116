//! The sites of an image as they are in a dump of a source that captured some of them.

use std::ops::Range;

use kernel_code::Image;
use kernel_snapshot::dump::ReadMemory;
use kernel_snapshot::{Held, Reading};
use pe_image::{Counts, Outcome, Rva, Site, SiteForm, SiteKind, recognise};

use super::memory::PLACE;
use super::{as_written, stubs_at};

/// What was done to an image's bytes in the dump: as [`Image::counts`], except where the source captured them.
pub fn written(reading: &Reading<'_>, image: &Image<'_>) -> Counts {
    let mut counts = *image.counts();
    let Some(memory) = memory(reading) else { return counts };
    let start = stubs_at(&image.entry.module);
    let stubs = start..start.saturating_add(STUBS);
    for site in image.mapped.sites() {
        let Some(bytes) = as_written(memory, &image.mapped, &site) else { continue };
        let (count, was) = match site.kind {
            SiteKind::Import { .. } => (&mut counts.import.optimized, matches!(site.outcome, Outcome::Direct(_))),
            SiteKind::Indirect { .. } => (&mut counts.indirect.rewritten, is_rewritten(&site)),
            SiteKind::Switch { .. } => (&mut counts.switch.rewritten, is_rewritten(&site)),
            _ => continue,
        };
        let is = match site.kind {
            SiteKind::Import { .. } => is_direct(image, &site, &bytes, &stubs),
            _ => differs(image, &site, &bytes),
        };
        match (was, is) {
            (false, true) => *count += 1,
            (true, false) => *count = count.saturating_sub(1),
            _ => {}
        }
    }
    counts
}

/// Whether the source captured the import site at an address.
pub fn is_captured(reading: &Reading<'_>, site: u64) -> bool {
    memory(reading).is_some_and(|memory| memory.read(site, &mut [0; PLACE]) >= PLACE)
}

/// The memory that the source captured.
fn memory<'r>(reading: &'r Reading<'_>) -> Option<&'r dyn ReadMemory> {
    Some(match reading.held.as_ref()? {
        Held::Boot(boot) => &boot.memory,
        Held::Dump(dump) => &**dump,
    })
}

/// More than the retpoline stubs of any kernel take.
const STUBS: u64 = 0x1_0000;

fn is_rewritten(site: &Site) -> bool {
    matches!(site.outcome, Outcome::ViaStub(_))
}

/// Whether an import site goes straight to the function, and not through a stub.
fn is_direct(image: &Image<'_>, site: &Site, bytes: &[u8; PLACE], stubs: &Range<u64>) -> bool {
    let address = image.mapped.base().0.wrapping_add(site.rva.0.into());
    match recognise(bytes, address) {
        Some(SiteForm::ImportDirect { target, .. }) => !stubs.contains(&target.0),
        _ => false,
    }
}

/// Whether a site's bytes are not the file's.
fn differs(image: &Image<'_>, site: &Site, bytes: &[u8; PLACE]) -> bool {
    let size = (site.kind.size() as usize).min(PLACE);
    let mut raw = [0; PLACE];
    image.mapped.file().read(Rva(site.rva.0), &mut raw[..size]);
    bytes[..size] != raw[..size]
}
