//! Which modules the IPT data reaches: those that its packets name, and those that code of a reached module calls
//! directly, which leaves no packet.

use address_map::ModuleId;
use ipt_analysis::touched::{Reach, Touched, closure};
use kernel_code::{Exporter, System};
use rayon::prelude::*;

/// Closes the modules that packets name over direct import calls: how each module of a system is reached, by its number;
/// nothing for those that are not. `touched` is the scan over the system's addresses.
///
/// A module is added when a reached module that was there at the chosen moment, whose file is at hand and whose import
/// calls are direct, lists an import site (DVRT symbol 3) that import optimization makes direct: its bytes are a
/// linker's, its slot resolves, forwarders followed, to an export of the module to be added, and the target is within 2
/// GiB. A site whose exporter is loaded while that one's file is missing counts too, because the processor needed no
/// file. All other import calls take a TIP, which the scan has seen. Sites in code that never ran count as well: the set
/// is the smallest one known to be enough, not the set that ran.
pub(crate) fn reached(system: &System<'_>, touched: &Touched) -> Vec<Option<Reach>> {
    let modules = system.modules();
    let hit: Vec<bool> = touched.modules.iter().map(|module| module.hits > 0).collect();
    let names = modules.by_name();
    let imports = |index: usize| -> Vec<ModuleId> {
        let module = ModuleId(index);
        if !system.has_direct_imports(module) {
            return Vec::new();
        }
        let exporter = |exporter| match exporter {
            Exporter::Known(module) => Some(module),
            Exporter::WithoutFile(name) => names.get(&name.to_ascii_lowercase()).copied(),
        };
        let imports = modules.direct_imports(module).into_iter();
        let mut found: Vec<ModuleId> = imports.filter_map(|import| exporter(import.exporter)).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let imports: Vec<Vec<ModuleId>> = (0..modules.entries().len()).into_par_iter().map(imports).collect();
    closure(&hit, &imports)
}
