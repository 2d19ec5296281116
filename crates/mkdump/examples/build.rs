//! Builds a dump from a trace and a directory of modules, and says what came of it:
//!
//!     cargo run --example build -- trace.etl modules out.dmp

use std::error::Error;
use std::path::{Path, PathBuf};

use mkdump::report::{BuildReport, Status};
use mkdump::{BuildOptions, Search, Silent, Source, Wanted};
use symstore::SymbolPath;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [trace, modules, output] = &arguments[..] else {
        return Err("usage: build TRACE MODULES OUTPUT".into());
    };
    let report = build(trace, modules, output)?;
    for module in &report.modules {
        match module.status {
            Status::Included => println!("{:#x} {}", module.base.0, module.name),
            _ => println!("{:#x} {}: {}", module.base.0, module.name, module.reason.as_deref().unwrap_or("left out")),
        }
    }
    println!("import optimization {}: {}", report.import_optimization.mode, report.import_optimization.reason);
    println!("{}: {} bytes", report.output, report.bytes);
    Ok(())
}

/// From a trace to a dump, in three steps.
pub fn build(trace: &Path, modules: &Path, output: &Path) -> mkdump::Result<BuildReport> {
    // 1. Open the source and go over it once: what was loaded where, and the Intel PT data.
    let source = Source::open_etl(trace)?;
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent)?;

    // 2. Say what to build. An empty symbol path leaves the environment's _NT_SYMBOL_PATH alone.
    let options = BuildOptions {
        search: Search::new(vec![modules.to_owned()], &SymbolPath::default()),
        output: output.to_owned(),
        ..BuildOptions::default()
    };

    // 3. Find the files, bind them, decide, write. The file bears its name only when it is whole.
    mkdump::build(&source, &reading, &options, &Silent)
}
