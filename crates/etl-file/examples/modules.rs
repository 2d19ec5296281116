//! Lists the kernel modules of a trace, or with `--user` all modules: `cargo run --example modules -- trace.etl`.

use etl_file::{SurveyOptions, Trace};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = SurveyOptions::default();
    let mut path = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--user" => options.user_modules = true,
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or("usage: modules [--user] TRACE.etl")?;
    let data = std::fs::read(&path)?;
    let trace = Trace::parse(&data)?;
    let found = trace.survey(&options);
    let system = &found.system;
    eprintln!(
        "Windows {}.{}.{}.{}, {} processors; {} events in {} buffers, started {}",
        system.major,
        system.minor,
        system.build,
        system.revision.map_or("?".to_owned(), |revision| revision.to_string()),
        system.processors,
        found.counts.events,
        found.counts.buffers,
        found.clock.start_time(),
    );
    for module in &found.modules {
        let pdb = module.pdb.as_ref().map(|pdb| format!("{} {} {}", pdb.name, pdb.guid, pdb.age)).unwrap_or_default();
        println!(
            "{:6} {:016x} {:8x} {:08x} {} {pdb}",
            module.process,
            module.base,
            module.size,
            module.timestamp.unwrap_or(0),
            module.path
        );
    }
    for warning in &found.warnings {
        eprintln!("{path}: {warning}");
    }
    eprintln!("{} modules, {} warnings", found.modules.len(), found.warnings.len());
    Ok(())
}
