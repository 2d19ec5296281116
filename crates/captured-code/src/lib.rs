//! What a dump that is the source shows of load-time changes: the sites in the code that it captured, and the return
//! addresses on the stacks that it captured. Bytes have one form, and so has the call that a return address lies after.
//!
//! [`captured_forms`] counts both for a source, as [`kernel_code::System`] wants them for its decision. [`SiteScan`] finds
//! the sites that a dump's bytes show without any module file. [`written`] says what a dump has in place of an image's
//! sites when captured bytes are kept.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod memory;
mod returns;
mod scan;
mod written;

use std::collections::{HashMap, HashSet};

use address_map::ModuleId;
use kernel_code::{CapturedForms, FormCounts, Parsed, SiteForms};
use kernel_snapshot::dump::{Dump, ReadMemory};
use kernel_snapshot::{Held, Module, Reading};
use pe_image::{MappedImage, Policy, Rva, Site, SiteForm, SiteKind};

pub use scan::{FoundSite, Reached, SiteScan, headers, stubs_at};
pub use written::{is_captured, written};

use memory::{PLACE, Side};

/// Sites listed by files that are looked at. All modules of a system together list some 200,000; a hostile dump can name
/// one file thousands of times.
const MOST_SITES: usize = 1 << 22;

/// The forms of the sites in a source's captured code and before the return addresses on its stacks; `None` when the
/// source is not a dump. `parsed` are the files of `modules`.
pub fn captured_forms(reading: &Reading<'_>, modules: &[Module], parsed: &Parsed<'_>) -> Option<CapturedForms> {
    Some(forms(&dumps(reading.held.as_ref()?), modules, parsed))
}

/// The same of dumps of one boot. Where several hold the same site, it counts once, as the first dump has it.
pub fn forms(dumps: &[&Dump<'_>], modules: &[Module], parsed: &Parsed<'_>) -> CapturedForms {
    let none = || SiteForms { imports: vec![FormCounts::default(); modules.len()], ..SiteForms::default() };
    let mut forms = CapturedForms { code: none(), stacks: none() };
    let bases: HashMap<u64, usize> = modules.iter().enumerate().map(|(number, module)| (module.base, number)).collect();
    let mut seen = HashSet::new();
    for dump in dumps {
        recognised(dump, &bases, &mut seen, &mut forms.code);
    }
    let mut listed = Listed { left: MOST_SITES };
    let returns = returns::on_stacks(dumps, modules);
    for (number, module) in modules.iter().enumerate() {
        let sites = listed.sites(parsed, number, module.base);
        for dump in dumps {
            linked_branches(dump, module.base, &sites, &mut seen, &mut forms.code.retpoline);
        }
        returns.weigh(number, module, &sites, &mut forms.stacks);
    }
    forms
}

/// The dumps of a source.
fn dumps<'h, 'a>(held: &'h Held<'a>) -> Vec<&'h Dump<'a>> {
    match held {
        Held::Boot(boot) => boot.dumps.iter().collect(),
        Held::Dump(dump) => vec![dump],
    }
}

/// Counts the sites that the bytes alone show.
fn recognised(dump: &Dump<'_>, bases: &HashMap<u64, usize>, seen: &mut HashSet<u64>, forms: &mut SiteForms) {
    let owners = &dump.snapshot().modules;
    SiteScan::new(dump).for_each(|site| {
        let number = owners.get(site.module).and_then(|module| bases.get(&module.base));
        let Some(imports) = number.map(|&number| &mut forms.imports[number]) else { return };
        if !seen.insert(site.address) {
            return;
        }
        match (site.form, site.target) {
            (SiteForm::ImportLinked { .. }, _) => imports.linked += 1,
            (SiteForm::ImportDirect { .. }, Some(Reached::Stubs(..))) => forms.retpoline.rewritten += 1,
            (SiteForm::ImportDirect { .. }, _) => imports.rewritten += 1,
            (SiteForm::Indirect { .. } | SiteForm::Switch { .. } | SiteForm::Branch { .. }, _) => {
                forms.retpoline.rewritten += 1;
            }
            // The form in which the kernel leaves a call that it cannot make direct: seen with either setting.
            // A form that this program does not know yet is not evidence either.
            _ => {}
        }
    });
}

/// Counts the indirect branches that a file lists and that captured code has as that file does. Only the file tells them
/// from ordinary code.
fn linked_branches(
    dump: &Dump<'_>,
    base: u64,
    sites: &[(Site, [u8; PLACE])],
    seen: &mut HashSet<u64>,
    forms: &mut FormCounts,
) {
    for (site, raw) in sites.iter().filter(|(site, _)| !matches!(site.kind, SiteKind::Import { .. })) {
        let (address, size) = (base.wrapping_add(site.rva.0.into()), site.kind.size() as usize);
        let mut bytes = [0; PLACE];
        let is_held = dump.read(address, &mut bytes[..size.min(PLACE)]) >= size;
        if is_held && bytes[..size] == raw[..size] && seen.insert(address) {
            forms.linked += 1;
        }
    }
}

/// Reads the sites that files list.
struct Listed {
    /// How many may still be read.
    left: usize,
}

impl Listed {
    /// The sites that a module's file lists, with the file's bytes; nothing without a file.
    fn sites(&mut self, parsed: &Parsed<'_>, number: usize, base: u64) -> Vec<(Site, [u8; PLACE])> {
        let Some(file) = parsed.file(ModuleId(number)) else { return Vec::new() };
        let image = MappedImage::new(file.clone(), base, Policy::AS_LINKED);
        let with_bytes = |site: Site| {
            let mut raw = [0; PLACE];
            file.read(Rva(site.rva.0), &mut raw[..(site.kind.size() as usize).min(PLACE)]);
            (site, raw)
        };
        let sites: Vec<_> = image.sites().take(self.left).map(with_bytes).collect();
        self.left -= sites.len();
        sites
    }
}

/// The bytes of a place as a dump of this source has them: captured where it captured them, else the image's.
fn as_written(memory: &dyn ReadMemory, image: &MappedImage<'_>, site: &Site) -> Option<[u8; PLACE]> {
    let size = (site.kind.size() as usize).min(PLACE);
    let side = Side::read(memory, image.base().0.wrapping_add(site.rva.0.into()), size);
    if side.held == 0 {
        return None;
    }
    let mut bytes = [0; PLACE];
    image.read(site.rva, &mut bytes[..size]);
    for at in (0..size).filter(|&at| side.has(at)) {
        bytes[at] = side.bytes[at];
    }
    Some(bytes)
}
