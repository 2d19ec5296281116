//! A system's files and a trace in a directory, and what `mkdump ipt` makes of them.

use std::path::PathBuf;

use mkdump::report::ipt::{
    CallsChoice, CallsReport, CallsSummary, FlowReport, FlowSummary, FunctionsReport, IptReport, analyse,
    list_functions, trace_calls, trace_flow,
};
use mkdump::{IptOptions, Search, Silent, Source, Wanted};
use testkit::pt::{Machine, Optimization, Run, System};
use testkit::trace::TraceFile;

/// All that a program can have been run as.
pub const MODES: [(Optimization, bool); 6] = [
    (Optimization::On, false),
    (Optimization::Off, false),
    (Optimization::Mixed, false),
    (Optimization::On, true),
    (Optimization::Off, true),
    (Optimization::Mixed, true),
];

pub struct Recorded {
    dir: tempfile::TempDir,
    pub system: System,
}

impl Recorded {
    /// Without the files for which `without` says so.
    pub fn new(system: System, trace: &TraceFile, without: impl Fn(&str) -> bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("modules")).unwrap();
        for file in system.files.iter().filter(|file| !without(&file.name)) {
            std::fs::write(dir.path().join("modules").join(&file.name), &file.bytes).unwrap();
        }
        std::fs::write(dir.path().join("trace.etl"), trace.finish()).unwrap();
        Self { dir, system }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn options(&self) -> IptOptions {
        let mut search = Search::new(vec![self.path("modules")], &Default::default());
        search.cache = symstore::Cache::Off;
        IptOptions { search, ..IptOptions::default() }
    }

    pub fn try_report(&self, options: &IptOptions) -> mkdump::Result<IptReport> {
        let source = Source::open_etl(&self.path("trace.etl"))?;
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent)?;
        analyse(&reading, options, &Silent)
    }

    pub fn report(&self) -> IptReport {
        self.try_report(&self.options()).unwrap()
    }

    pub fn flow(&self, options: &IptOptions) -> (Vec<FlowReport>, FlowSummary) {
        let source = Source::open_etl(&self.path("trace.etl")).unwrap();
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
        let mut reports = Vec::new();
        let mut sink = |report: &FlowReport| {
            reports.push(report.clone());
            Ok(())
        };
        let summary = trace_flow(&reading, options, &Silent, &mut sink).unwrap();
        (reports, summary)
    }

    pub fn functions(&self, options: &IptOptions) -> FunctionsReport {
        let source = Source::open_etl(&self.path("trace.etl")).unwrap();
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
        list_functions(&reading, options, &Silent).unwrap()
    }

    pub fn calls(&self, options: &IptOptions, choice: &CallsChoice) -> (Vec<CallsReport>, CallsSummary) {
        let source = Source::open_etl(&self.path("trace.etl")).unwrap();
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
        let mut reports = Vec::new();
        let mut sink = |report: &CallsReport| {
            reports.push(report.clone());
            Ok(())
        };
        let summary = trace_calls(&reading, options, choice, &Silent, &mut sink).unwrap();
        (reports, summary)
    }
}

/// A few runs of a system's program, one snapshot each.
pub fn runs(system: &System, count: u64, instructions: usize) -> Vec<Run> {
    let machine = Machine { interrupts: 20, ..Machine::default() };
    (0..count).map(|seed| machine.run(&system.program, instructions, seed)).collect()
}
