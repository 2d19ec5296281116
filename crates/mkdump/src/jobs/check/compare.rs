//! Two dumps side by side: the modules that both list, and the bytes that both hold.

use std::collections::HashMap;
use std::ops::Range;

use address_map::ModuleId;
use kernel_code::{Inclusion, System};
use kernel_snapshot::dump::{Dump, ReadMemory};
use kernel_snapshot::{Architecture, Module};
use rayon::prelude::*;

use super::classify::Classifier;
use super::difference::Differences;
use super::known::{Known, Witness};
use super::memory::both;
use super::other_forms::OtherForms;
use super::report::{CommonModule, ComparisonReport, DumpReport, OtherModule, Relation, Totals};
use crate::hex::Hex;
use captured_code::memory::PageBudget;
use captured_code::{SiteScan, headers};

/// What the module files say of a module of the real dump, or why nothing is known.
fn known<'s>(system: &'s System<'_>, index: usize) -> Result<(Known<'s>, String), String> {
    let (modules, id) = (system.modules(), ModuleId(index));
    let entry = modules.entry(id);
    match modules.linked(id) {
        Some(image) => {
            let known = Known::new(image, system.stubs());
            Ok((known, entry.file.clone().unwrap_or_default()))
        }
        None if entry.inclusion == Inclusion::Missing => Err("its file was not found".into()),
        None => Err(entry.reason.clone().unwrap_or_else(|| "its file was not found".into())),
    }
}

/// Compares the modules that two dumps share, byte by byte. `system` is `real`'s, from module files;
/// `against` is the real dump, summed up, and `relation` what the two have to do with each other.
pub(super) fn compare(
    ours: &Dump<'_>,
    real: &Dump<'_>,
    system: &System<'_>,
    against: DumpReport,
    relation: Option<Relation>,
) -> ComparisonReport {
    let budget = PageBudget::new();
    let (our_scan, real_scan) = (SiteScan::new(ours), SiteScan::new(real));
    let Pairs { common, others } = pair(&ours.snapshot().modules, &real.snapshot().modules);
    let modules = common.par_iter().map(|&(our_index, real_index)| {
        let ours = Witness::new(ours, &our_scan, our_index);
        let real = Witness::new(real, &real_scan, real_index);
        module(ours, real, system, &budget)
    });
    let modules: Vec<CommonModule> = modules.collect();
    let mut totals = Totals { modules: modules.len() as u64, ..Totals::default() };
    for module in &modules {
        totals.bytes += module.bytes;
        totals.differing += module.differing;
        totals.differences.add(&module.differences);
    }
    let mut warnings = real.warnings().to_vec();
    warnings.extend(system.warnings().iter().cloned());
    if budget.is_spent() {
        warnings.push("the modules' address ranges add up to more than 4 GiB: the rest was not compared".into());
    }
    let other_forms = OtherForms::of(&totals.differences);
    let (import_optimization, retpoline) = (None, None);
    ComparisonReport {
        against,
        modules,
        others,
        totals,
        other_forms,
        import_optimization,
        retpoline,
        relation,
        warnings,
    }
}

struct Pairs {
    /// Indexes of the same module in both.
    common: Vec<(usize, usize)>,
    others: Vec<OtherModule>,
}

/// The same image at the same base is the same module; its name does not matter.
fn pair(ours: &[Module], real: &[Module]) -> Pairs {
    let owners = |modules: &[Module]| kernel_snapshot::address_map(modules).at(f64::INFINITY);
    let (our_owners, real_owners) = (owners(ours), owners(real));
    let by_base: HashMap<u64, usize> = ours.iter().enumerate().map(|(index, module)| (module.base, index)).collect();
    let by_key: HashMap<_, u64> = ours.iter().map(|module| ((module.size, module.timestamp), module.base)).collect();
    let mut pairs = Pairs { common: Vec::new(), others: Vec::new() };
    let mut met = vec![false; ours.len()];
    for (real_index, module) in real.iter().enumerate() {
        let other = |reason: String| OtherModule { name: module.name.clone(), base: Hex(module.base), reason };
        let reason = match by_base.get(&module.base) {
            _ if real_owners.displaced_by(ModuleId(real_index)).is_some() => {
                "the other dump lists two modules at these addresses".to_owned()
            }
            None => match by_key.get(&(module.size, module.timestamp)) {
                Some(base) => format!("this dump has it at {base:#x}"),
                None => "this dump does not list it".to_owned(),
            },
            Some(&our_index) => {
                met[our_index] = true;
                match difference(&ours[our_index], module) {
                    _ if our_owners.displaced_by(ModuleId(our_index)).is_some() => {
                        "this dump lists two modules at these addresses".to_owned()
                    }
                    Some(reason) => reason,
                    None => {
                        pairs.common.push((our_index, real_index));
                        continue;
                    }
                }
            }
        };
        pairs.others.push(other(reason));
    }
    let unmet = ours.iter().zip(met).filter(|(_, met)| !met);
    pairs.others.extend(unmet.map(|(module, _)| OtherModule {
        name: module.name.clone(),
        base: Hex(module.base),
        reason: "the other dump does not list it".into(),
    }));
    pairs
}

/// What tells two modules at one base apart. A value that a dump does not state is not compared, and a checksum alone does not
/// either.
fn difference(ours: &Module, real: &Module) -> Option<String> {
    if ours.size != real.size {
        return Some(format!("another image: SizeOfImage is {:#x}, there {:#x}", ours.size, real.size));
    }
    if let (Some(a), Some(b)) = (ours.timestamp, real.timestamp)
        && a != b
    {
        return Some(format!("another image: TimeDateStamp is {a:#x}, there {b:#x}"));
    }
    match (&ours.pdb, &real.pdb) {
        (Some(a), Some(b)) if a.id != b.id => {
            Some(format!("another image: its PDB is {} {:x}, there {} {:x}", a.id.guid, a.id.age, b.id.guid, b.id.age))
        }
        _ => None,
    }
}

/// Compares one module.
fn module(
    ours: Witness<'_, '_, '_>,
    real: Witness<'_, '_, '_>,
    system: &System<'_>,
    budget: &PageBudget,
) -> CommonModule {
    let listed = &real.dump.snapshot().modules[real.module];
    let mut result = CommonModule {
        name: listed.name.clone(),
        base: Hex(listed.base),
        size: Hex(listed.size),
        image_key: listed.image_key(),
        file: None,
        bytes: 0,
        differing: 0,
        differences: Differences::default(),
        places: Vec::new(),
        omitted: 0,
        note: None,
    };
    let range = listed.base..listed.end();
    let mut parts = both(ours.dump, real.dump, &range, budget);
    if parts.is_empty() {
        return result;
    }
    let mut file_of_it = None;
    match known(system, real.module) {
        Ok((found, file)) => {
            // The stub pages after the image belong to it too.
            if let Some(stubs) = found.stubs() {
                parts.extend(both(ours.dump, real.dump, &stubs, budget));
            }
            result.file = Some(file);
            file_of_it = Some(found);
        }
        Err(why) => {
            result.note = Some(format!(
                "{why}: import and retpoline sites and breakpoints are told from the bytes, relocations and function \
                 overrides not at all"
            ));
        }
    }
    let snapshot = real.dump.snapshot();
    let bitness = match snapshot.machine.architecture_or_x64() {
        Architecture::Amd64 => Some(64),
        Architecture::X86 => Some(32),
        Architecture::Arm64 => None,
    };
    let headers = match &file_of_it {
        Some(_) => None,
        None => headers(real.dump, listed.base).or_else(|| headers(ours.dump, listed.base)),
    };
    result.bytes = parts.iter().map(|part| part.end - part.start).sum();
    let (our_dump, real_dump) = (ours.dump, real.dump);
    let mut classifier = Classifier {
        module: &mut result,
        ours,
        real,
        known: file_of_it,
        headers,
        bitness,
        done: 0,
        decoded: 0,
        open: None,
    };
    for part in &parts {
        runs(our_dump, real_dump, part, |start, ours, real| classifier.run(start, ours, real));
    }
    classifier.finish();
    result.places.sort_by_key(|place| place.address);
    result
}

const CHUNK: usize = 0x1_0000;

/// Calls `run` for each run of bytes that differ. A run that crosses from one chunk into the next comes in two pieces.
fn runs(ours: &Dump<'_>, real: &Dump<'_>, part: &Range<u64>, mut run: impl FnMut(u64, &[u8], &[u8])) {
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = part.start;
    while at < part.end {
        let want = (part.end - at).min(CHUNK as u64) as usize;
        let got = ours.read(at, &mut a[..want]).min(real.read(at, &mut b[..want])).min(want);
        if got == 0 {
            break;
        }
        let (ours, real) = (&a[..got], &b[..got]);
        if ours != real {
            let mut from = 0;
            while let Some(start) = (from..got).find(|&index| ours[index] != real[index]) {
                let end = (start..got).find(|&index| ours[index] == real[index]).unwrap_or(got);
                run(at + start as u64, &ours[start..end], &real[start..end]);
                from = end;
            }
        }
        at += got as u64;
    }
}
