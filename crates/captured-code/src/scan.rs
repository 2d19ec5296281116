//! Sites that a dump's bytes alone show: import calls in all their forms, and branches through retpoline stubs. No
//! module file is asked.

use std::ops::Range;

use address_map::Owners;
use kernel_snapshot::Module;
use kernel_snapshot::dump::{Dump, ReadMemory};
use pe_image::{Headers, SiteForm, recognise};

use super::memory::{PLACE, PageBudget, held};

/// A site in a module's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundSite {
    /// Index of the module in the dump's snapshot.
    pub module: usize,
    /// First byte.
    pub address: u64,
    /// Its form, with absolute addresses.
    pub form: SiteForm,
    /// Where its import slot lies.
    pub slot: Option<Reached>,
    /// Where it goes, if that is a direct branch.
    pub target: Option<Reached>,
}

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// A module, by its index in the snapshot, and the offset from its base.
    Module(usize, u64),
    /// The stub pages after a module, and the offset in them.
    Stubs(usize, u64),
    /// Neither.
    Nowhere,
}

/// A dump's modules, ready for finding sites in them.
#[derive(Debug)]
pub struct SiteScan<'d, 'a> {
    dump: &'d Dump<'a>,
    /// Where the modules are. Of modules that overlap only one is looked at.
    owners: Owners,
    /// Bytes of the stub pages.
    stubs: u64,
}

const PAGE: u64 = 0x1000;
/// Bytes of the stub pages when the dump does not hold the kernel's section headers: real ones have one page or two.
const STUB_PAGES: u64 = 2 * PAGE;
/// The header of an image lies in its first page.
const HEADER: usize = 0x1000;
const CHUNK: usize = 0x1_0000;

impl<'d, 'a> SiteScan<'d, 'a> {
    /// Prepares the modules of a dump.
    pub fn new(dump: &'d Dump<'a>) -> Self {
        let snapshot = dump.snapshot();
        let owners = kernel_snapshot::address_map(&snapshot.modules).at(f64::INFINITY);
        let kernel = snapshot.kernel_base.and_then(|base| headers(dump, base));
        let section = kernel.as_ref().and_then(|kernel| kernel.stub_section());
        let stubs = section.map_or(STUB_PAGES, |(section, _)| u64::from(section.size).next_multiple_of(PAGE));
        Self { dump, owners, stubs }
    }

    fn module(&self, index: usize) -> &'d Module {
        &self.dump.snapshot().modules[index]
    }

    /// What an address belongs to: a module, or the stub pages after one where nothing else lies.
    pub fn reached(&self, address: u64) -> Reached {
        let Some(place) = self.owners.last_before(address) else { return Reached::Nowhere };
        let index = place.module.0;
        let module = self.module(index);
        let stubs = stubs_at(module);
        if address < module.end() {
            Reached::Module(index, address - module.base)
        } else if address >= stubs && address - stubs < self.stubs {
            Reached::Stubs(index, address - stubs)
        } else {
            Reached::Nowhere
        }
    }

    /// Calls `found` for every site of every module, ascending by address.
    pub fn for_each(&self, mut found: impl FnMut(FoundSite)) {
        let budget = PageBudget::new();
        for place in self.owners.places_from(0) {
            self.in_module(place.module.0, &budget, &mut found);
        }
    }

    /// Calls `found` for every site of one module, ascending by address.
    pub fn in_module(&self, index: usize, budget: &PageBudget, found: &mut impl FnMut(FoundSite)) {
        let module = self.module(index);
        let ranges = held(self.dump, &(module.base..module.end()), budget);
        let mut buffer = vec![0; if ranges.is_empty() { 0 } else { CHUNK + PLACE }];
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                // A site may begin in this chunk and end in the next.
                let want = (range.end - at).min((CHUNK + PLACE - 1) as u64) as usize;
                let got = self.dump.read(at, &mut buffer[..want]).min(want);
                if got == 0 {
                    break;
                }
                let starts = if got == want && at + (want as u64) < range.end { got.min(CHUNK) } else { got };
                at += self.in_bytes(index, &buffer[..got], starts, at, found).max(1) as u64;
            }
        }
    }

    /// Looks at `bytes` for sites that begin in the first `starts` of them; gives the number of bytes that are done.
    fn in_bytes(
        &self,
        index: usize,
        bytes: &[u8],
        starts: usize,
        address: u64,
        found: &mut impl FnMut(FoundSite),
    ) -> usize {
        let own = self.module(index).base..self.module(index).end();
        let mut at = 0;
        while at < starts {
            let site = match bytes[at] {
                0x48 | 0x4c | 0xe8 | 0xe9 => {
                    let window = &bytes[at..(at + PLACE).min(bytes.len())];
                    self.site(index, &own, window, address.wrapping_add(at as u64))
                }
                _ => None,
            };
            at += site.map_or(1, |site| {
                found(site);
                site.form.size()
            });
        }
        at
    }

    fn site(&self, index: usize, own: &Range<u64>, bytes: &[u8], address: u64) -> Option<FoundSite> {
        let form = recognise(bytes, address)?;
        let target = form.target().map(|target| self.reached(target.0));
        let is_stub = matches!(target, Some(Reached::Stubs(of, _)) if of == index);
        match form {
            // Any code has branches; the stub makes it a site.
            SiteForm::Indirect { .. } | SiteForm::Switch { .. } | SiteForm::Branch { .. } if !is_stub => return None,
            SiteForm::ImportDirect { .. } if !is_stub && !matches!(target, Some(Reached::Module(..))) => return None,
            _ => {}
        }
        let slot = match form.slot() {
            Some(slot) if own.contains(&slot.0) => Some(Reached::Module(index, slot.0 - own.start)),
            Some(_) => return None,
            None => None,
        };
        Some(FoundSite { module: index, address, form, slot, target })
    }
}

/// Where the stub pages of a module begin: on the first page after it.
pub fn stubs_at(module: &Module) -> u64 {
    module.base.saturating_add(module.size.saturating_add(PAGE - 1) & !(PAGE - 1))
}

/// The PE headers of the image at `base`, as far as a dump holds them.
pub fn headers(dump: &Dump<'_>, base: u64) -> Option<Headers> {
    let mut page = vec![0; HEADER];
    let got = dump.read(base, &mut page).min(HEADER);
    Headers::parse(&page[..got]).ok()
}
