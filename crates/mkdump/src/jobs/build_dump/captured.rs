//! The sites in the code that a source dump captured, as witnesses of what the kernel did to code.

use std::collections::{HashMap, HashSet};

use kernel_code::{CapturedForms, FormCounts};
use kernel_snapshot::dump::Dump;
use kernel_snapshot::{Held, Module, Reading};
use pe_image::SiteForm;

use crate::jobs::check::{Reached, SiteScan};

/// Counts the sites in the captured code of `modules`; `None` when the source is not a dump. Where several dumps of one
/// boot hold the same site, it counts once, as the first dump has it.
pub(super) fn captured_forms(reading: &Reading<'_>, modules: &[Module]) -> Option<CapturedForms> {
    let dumps: Vec<&Dump<'_>> = match reading.held.as_ref()? {
        Held::Boot(boot) => boot.dumps.iter().collect(),
        Held::Dump(dump) => vec![dump],
    };
    let numbers: HashMap<u64, usize> =
        modules.iter().enumerate().map(|(number, module)| (module.base, number)).collect();
    let mut forms = CapturedForms { imports: vec![FormCounts::default(); modules.len()], retpoline: 0 };
    let mut seen = HashSet::new();
    for dump in dumps {
        let owners = &dump.snapshot().modules;
        SiteScan::new(dump).for_each(|site| {
            let number = owners.get(site.module).and_then(|module| numbers.get(&module.base));
            let Some(counts) = number.map(|&number| &mut forms.imports[number]) else { return };
            if !seen.insert(site.address) {
                return;
            }
            match (site.form, site.target) {
                (SiteForm::ImportLinked { .. }, _) => counts.linked += 1,
                (SiteForm::ImportDirect { .. }, Some(Reached::Stubs(..))) => forms.retpoline += 1,
                (SiteForm::ImportDirect { .. }, _) => counts.direct += 1,
                (SiteForm::Indirect { .. } | SiteForm::Switch { .. } | SiteForm::Branch { .. }, _) => {
                    forms.retpoline += 1;
                }
                // The form in which the kernel leaves a call that it cannot make direct: seen with either setting.
                // A form that this program does not know yet is not evidence either.
                _ => {}
            }
        });
    }
    Some(forms)
}
