//! Extracts of real traces: what a dump needs is what it was, and nothing else is left.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use etl_extract::{Options, shared_path};
use etl_file::Trace;
use mkdump::report::ModulesReport;
use mkdump::{BuildOptions, Format, ListOptions, Search, Silent, Source, Wanted, build, can_build, list_modules};
use serde_json::Value;
use symstore::{Cache, SymbolPath};
use xtask::outcome::Outcome;
use xtask::paths;

/// Makes an extract of every trace.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let work = paths::work("corpus-extract")?;
    let mut files: Vec<_> = std::fs::read_dir(data.join("etl"))?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "etl"));
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = work.join(&name);
        match check(&file, &output, &data.join("pe")) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{name}: {error:#}")),
        }
    }
    Ok(outcome)
}

fn check(file: &Path, output: &Path, pe: &Path) -> Result<()> {
    let start = Instant::now();
    let original = std::fs::read(file)?;
    let (written, made) = etl_extract::extract(&Trace::parse(&original)?, &Options::default(), Vec::new())?;
    let texts = etl_extract::texts(&Trace::parse(&written)?);
    println!(
        "{}: {} of {} bytes, {} texts, {:?}",
        file.file_name().unwrap_or_default().to_string_lossy(),
        made.written.bytes,
        original.len(),
        texts.len(),
        start.elapsed()
    );
    std::fs::write(output, &written)?;
    let (before, after) = (modules(file)?, modules(output)?);
    anyhow::ensure!(before == after, "the modules differ: {before:#} {after:#}");
    anyhow::ensure!(dump(file, output, pe)? == dump(output, output, pe)?, "the dumps differ");
    for secret in secrets(&original)? {
        let found = texts.iter().find(|text| text.text.contains(&secret));
        anyhow::ensure!(found.is_none(), "{secret:?} is left in {found:?}");
    }
    // What is read out of an extract is an extract already.
    let (again, _) = etl_extract::extract(&Trace::parse(&written)?, &Options::default(), Vec::new())?;
    anyhow::ensure!(written == again, "an extract of the extract is another");
    Ok(())
}

/// The files of a raw dump made with all modules that are at hand, without the one that says how it was made; none of a
/// trace that names no kernel modules.
fn dump(trace: &Path, output: &Path, pe: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
    let source = Source::open_etl(trace)?;
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent)?;
    if !can_build(&reading) || !reading.snapshot.modules.iter().any(|module| module.kernel) {
        return Ok(Vec::new());
    }
    let directory = output.with_extension("raw");
    let _ = std::fs::remove_dir_all(&directory);
    let mut search = Search::new(vec![pe.to_owned()], &SymbolPath::default());
    search.cache = Cache::Off;
    let options = BuildOptions { search, output: directory.clone(), format: Format::Raw, ..BuildOptions::default() };
    build(&source, &reading, &options, &Silent)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let entry = entry?;
        if entry.file_name() != "manifest.json" {
            files.push((entry.file_name(), std::fs::read(entry.path())?));
        }
    }
    files.sort();
    Ok(files)
}

/// The list of modules as JSON, with paths as they may be shared, and without what says how large the file is.
fn modules(file: &Path) -> Result<Value> {
    let source = Source::open_etl(file)?;
    let reading = source.read(Wanted::default(), &Silent)?;
    let mut report: ModulesReport = list_modules(&reading, &ListOptions::default(), &Silent)?;
    for module in &mut report.modules {
        module.path = shared_path(&module.path).to_owned();
    }
    report.warnings.iter_mut().for_each(|warning| {
        // A warning begins with the path of the trace, and counts its events.
        *warning = warning.split(": ").skip(1).collect::<Vec<_>>().join(": ");
    });
    report.warnings.retain(|warning| !warning.contains(" events but no Loader events"));
    let mut value = serde_json::to_value(&report)?;
    for member in ["name", "events", "buffers"] {
        value["source"].as_object_mut().context("a source")?.remove(member);
    }
    Ok(value)
}

/// Names that must not be left: the computer's, its domain's, those of users in paths, and command lines.
fn secrets(file: &[u8]) -> Result<BTreeSet<String>> {
    let trace = Trace::parse(file)?;
    let found = trace.survey(&etl_file::SurveyOptions::default().user_modules(true));
    let mut secrets: BTreeSet<String> = found.system.computer_name.into_iter().collect();
    secrets.extend(found.processes.iter().map(|process| process.command_line.clone()));
    let users = found.modules.iter().filter_map(|module| module.path.split(r"\Users\").nth(1)?.split('\\').next());
    secrets.extend(users.map(str::to_owned));
    secrets.retain(|secret| secret.len() > 3);
    Ok(secrets)
}
