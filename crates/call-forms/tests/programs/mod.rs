//! Generated programs as the detection takes them.

use call_forms::{Importer, Site};
use testkit::pt::Program;

/// The modules of a program with their import sites. `stubs` says whether those sites may lead through retpoline stubs.
pub fn importers(program: &Program, stubs: bool) -> Vec<Importer> {
    let importer = |module: &testkit::pt::Module| Importer {
        name: module.name.clone(),
        sites: (module.sites.iter())
            .map(|site| Site {
                va: site.va,
                slot: site.slot,
                target: Some(site.target),
                call: site.call,
                can_be_direct: site.in_range,
            })
            .collect(),
        stub: module.stubs.as_ref().map(|stubs| stubs.import_r10).filter(|_| stubs),
    };
    program.modules.iter().map(importer).collect()
}
