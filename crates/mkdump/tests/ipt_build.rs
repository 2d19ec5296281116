//! From a trace with IPT data and module files to a dump: the data decides what the code looked like, and the dump's
//! bytes are the ones that ran.

use std::path::{Path, PathBuf};

use mkdump::ipt::input::Inputs;
use mkdump::report::{BuildReport, Status};
use mkdump::{BuildOptions, Choice, Search, Silent, Source, Wanted, build};
use testkit::pt::{ListedBranch, Machine, Module, Optimization, Program, Run, System};

/// A system's files and a trace in a directory.
struct Recorded {
    dir: tempfile::TempDir,
    system: System,
}

impl Recorded {
    fn new(system: System, runs: &[Run]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("modules")).unwrap();
        for file in &system.files {
            std::fs::write(dir.path().join("modules").join(&file.name), &file.bytes).unwrap();
        }
        std::fs::write(dir.path().join("trace.etl"), system.trace_of(runs).finish()).unwrap();
        Self { dir, system }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn build_with(&self, change: impl FnOnce(&mut BuildOptions)) -> mkdump::Result<BuildReport> {
        let mut search = Search::new(vec![self.path("modules")], &Default::default());
        search.cache = mkdump::catalog::Cache::Off;
        let mut options = BuildOptions { search, output: self.path("out.dmp"), ..BuildOptions::default() };
        change(&mut options);
        let source = Source::open_etl(&self.path("trace.etl"))?;
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent)?;
        build(&source, &reading, &options, &Silent)
    }

    fn build(&self) -> BuildReport {
        self.build_with(|_| {}).unwrap()
    }
}

fn runs(program: &Program, count: u64, instructions: usize) -> Vec<Run> {
    let machine = Machine { interrupts: 20, ..Machine::default() };
    (0..count).map(|seed| machine.run(program, instructions, seed)).collect()
}

#[test]
fn look() {
    for (optimization, retpoline) in [
        (Optimization::On, false),
        (Optimization::Off, false),
        (Optimization::Mixed, false),
        (Optimization::On, true),
        (Optimization::Off, true),
        (Optimization::Mixed, true),
    ] {
        for seed in 0..3 {
            let system = System::generate(&System::busy(optimization, retpoline), seed);
            let runs = runs(&system.program, 4, 5000);
            let recorded = Recorded::new(system, &runs);
            let report = recorded.build();
            println!(
                "{optimization:?} {retpoline} {seed}: {} {}; {} {}",
                report.import_optimization.mode,
                report.import_optimization.reason,
                report.retpoline.mode,
                report.retpoline.reason
            );
            for (module, (name, on)) in report.modules.iter().zip(recorded.system.optimized()) {
                println!("   {} {name} {on} {:?}", module.name, module.import_optimization);
            }
            println!("{:?}", report.warnings);
        }
    }
}
