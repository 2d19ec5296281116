//! `mkdump check` on the real triage dump: every recorded site is recognised from the dump's bytes alone; a dump that is
//! built from it agrees with it; and what it shares with a dump of the module files is said, byte by byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mkdump::check::{FoundSite, Reached, SiteScan};
use mkdump::dump::Dump;
use mkdump::snapshot::Module;
use pe_image::SiteForm;
use serde_json::Value;
use testkit::trace::{Module as Traced, TraceFile};
use xtask::outcome::Outcome;
use xtask::{paths, program};

use crate::command;

const SAMPLE: &str = "dumps/triage_x64.dmp";
const USER_SAMPLE: &str = "dumps/calc.dmp";
const VECTORS: &str = "../specs/vectors/ground-truth-19041.json";
/// What the vectors' README says of them.
const SITES: usize = 274;

/// Runs the checks on the dumps of the samples.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let sample = data.join(SAMPLE);
    let file = std::fs::read(&sample).context(SAMPLE)?;
    let dump = Dump::open(&file)?;
    sites(data, &dump, &mut outcome)?;

    for path in [&sample, &data.join(USER_SAMPLE)] {
        let (code, report) = check(&[path.as_os_str()])?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!("{name}: {} findings, status {code}", report["validation"]["findings"].as_array().map_or(0, Vec::len));
        judge(&mut outcome, code == 0, || format!("{name}: a real dump is not accepted: {}", report["validation"]));
    }
    from_dump(data, &sample, &mut outcome)?;
    files(data, &sample, &dump.snapshot().modules, &mut outcome)?;
    Ok(outcome)
}

/// All sites of the vectors are found where they are, with the form, the slot and the target that they have.
fn sites(data: &Path, dump: &Dump<'_>, outcome: &mut Outcome) -> Result<()> {
    let path = data.join(VECTORS);
    if !path.is_file() {
        outcome.add_skip(format!("corpus check: no vectors, {} is missing", path.display()));
        return Ok(());
    }
    let vectors: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let recorded = vectors["sites"].as_array().context("vectors without sites")?;
    judge(outcome, recorded.len() == SITES, || format!("{} sites in the vectors, not {SITES}", recorded.len()));
    let modules = &dump.snapshot().modules;
    let mut found = BTreeMap::new();
    SiteScan::new(dump).for_each(|site| found.extend([(site.address, site)]));
    let mut right = 0;
    for wanted in recorded {
        let address = number(&wanted["site_va"])?;
        match found.remove(&address).map(|site| describe(&site, modules)) {
            Some(described) if described == expected(wanted)? => right += 1,
            other => outcome.add_failure(format!("site at {address:#x}: {other:?}, recorded is {wanted}")),
        }
    }
    println!("{right} of {} recorded sites recognised from the dump's bytes alone", recorded.len());
    judge(outcome, right == SITES, || format!("{right} of {SITES} sites recognised"));
    for site in found.values() {
        println!("and one that is not recorded: {:?}", describe(site, modules));
    }
    Ok(())
}

/// A site, in the words of the vectors: kind, module, RVA, the slot's RVA, what the target belongs to, and its offset.
type Described = (String, String, u64, Option<u64>, String, u64);

fn describe(site: &FoundSite, modules: &[Module]) -> Described {
    let module = &modules[site.module];
    let (owner, offset) = match site.target {
        Some(Reached::Module(index, offset)) => (modules[index].name.clone(), offset),
        Some(Reached::Stubs(index, offset)) => (format!("{}+END", modules[index].name), offset),
        Some(Reached::Nowhere) | None => (String::new(), 0),
    };
    let slot = match site.slot {
        Some(Reached::Module(_, offset)) => Some(offset),
        _ => None,
    };
    let kind = match site.form {
        SiteForm::ImportDirect { call: true, .. } => "import-call",
        SiteForm::ImportDirect { call: false, .. } => "import-jmp",
        SiteForm::Indirect { call: true, .. } => "indirect-cfg-rax",
        SiteForm::Switch { .. } => "switch-rcx",
        _ => "another form",
    };
    (kind.to_owned(), module.name.clone(), site.address - module.base, slot, owner, offset)
}

fn expected(wanted: &Value) -> Result<Described> {
    let text = |key: &str| wanted[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {wanted}"));
    let slot = wanted.get("iat_slot_rva").map(number).transpose()?;
    let (owner, offset) = (text("target_module")?, number(&wanted["target_off"])?);
    Ok((text("kind")?, text("module")?, number(&wanted["site_rva"])?, slot, owner, offset))
}

fn number(value: &Value) -> Result<u64> {
    let text = value.as_str().with_context(|| format!("{value} is no number"))?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

/// Dumps that are built from the triage dump agree with it in every byte that both hold, and hold all that it holds.
fn from_dump(data: &Path, sample: &Path, outcome: &mut Outcome) -> Result<()> {
    let work = paths::work("corpus-check")?;
    let (_, itself) = check(&[sample.as_os_str(), "--against".as_ref(), sample.as_os_str()])?;
    let all = itself["comparison"]["totals"]["bytes"].as_u64().context("no total")?;
    for format in ["minidump", "triage"] {
        let out = work.join(format!("from-{format}.dmp"));
        build(&["--from-dump".as_ref(), sample.as_os_str(), "--format".as_ref(), format.as_ref()], data, &out)?;
        let (code, report) = against(&out, sample, data)?;
        let totals = &report["comparison"]["totals"];
        println!(
            "{format} from the dump, against it: {} bytes in both, {} differ",
            totals["bytes"], totals["differing"]
        );
        let unexplained = &totals["differences"]["unexplained"]["bytes"];
        judge(outcome, code == 0 && *unexplained == 0, || format!("{format}: status {code}, {totals}"));
        judge(outcome, totals["bytes"].as_u64() == Some(all), || format!("{format}: {totals}, the dump holds {all}"));
        if format == "minidump" {
            judge(outcome, report["provenance"]["source"] == "triage_x64.dmp", || "no provenance".into());
        }
        judge(outcome, !report["comments"].as_array().is_none_or(Vec::is_empty), || format!("{format}: no comment"));
    }
    Ok(())
}

/// A dump made of the module files alone, at the bases of the triage dump: what it shares with that is said per module,
/// and where that is nothing, it is no success.
fn files(data: &Path, sample: &Path, modules: &[Module], outcome: &mut Outcome) -> Result<()> {
    let work = paths::work("corpus-check")?;
    let (trace, out) = (work.join("bases.etl"), work.join("files.dmp"));
    std::fs::write(&trace, traced(modules))?;
    let options = ["--etl".as_ref(), trace.as_os_str(), "--memory".as_ref(), "image".as_ref()];
    let included = build(&options, data, &out)?;
    let (code, report) = against(&out, sample, data)?;
    let comparison = &report["comparison"];
    let totals = &comparison["totals"];
    for module in comparison["modules"].as_array().context("no modules")? {
        if !module["file"].is_null() || included.contains(&module["name"].to_string()) {
            println!("{}: {} bytes in both, {} differ", module["name"], module["bytes"], module["differing"]);
        }
    }
    println!("of files {included:?}: {} bytes in both, status {code}", totals["bytes"]);
    judge(outcome, !included.is_empty(), || "no file of the samples is a module of the dump".into());
    judge(outcome, totals["modules"] == modules.len(), || format!("modules in both: {totals}"));
    let sound = if totals["bytes"] == 0 { code == 2 } else { code != 2 };
    judge(outcome, sound, || format!("status {code}, {totals}"));
    let unexplained = &totals["differences"]["unexplained"]["bytes"];
    judge(outcome, *unexplained == 0, || format!("unexplained: {totals}"));
    Ok(())
}

/// Two dumps of one group of real images, with import calls made direct in the one and as linked in the other: they
/// differ in import sites alone, in as many as the bytes show to be direct, and the check fails for that reason.
pub fn both_forms(on: &Path, off: &Path, modules: &Path, outcome: &mut Outcome) -> Result<()> {
    for (dump, real, class, mode) in [(on, off, "import_linked", "off"), (off, on, "import_optimized", "on")] {
        let arguments = ["--against".as_ref(), real.as_os_str(), "--modules".as_ref(), modules.as_os_str()];
        let (code, report) = check(&[&[dump.as_os_str()], &arguments[..]].concat())?;
        let totals = &report["comparison"]["totals"];
        let linked = |dump: &Value| dump["sites"]["import_linked"].as_u64().context("no count of sites");
        let rewritten = linked(&report["dump"])?.abs_diff(linked(&report["comparison"]["against"])?);
        let found = &totals["differences"][class];
        println!("{} bytes in both, {} differ: {class} {found}", totals["bytes"], totals["differing"]);
        let alone = found["bytes"] == totals["differing"] && found["places"] == rewritten;
        let forms = &report["comparison"]["other_forms"];
        let told = forms["import_sites"] == rewritten && (rewritten == 0 || forms["import_optimization"] == mode);
        let sound = code == i32::from(rewritten > 0) && alone && told;
        judge(outcome, sound, || format!("{class}: status {code}, {rewritten} sites, {forms}, {totals}"));
    }
    Ok(())
}

/// A trace that names these modules, with what the dump says of them.
fn traced(modules: &[Module]) -> Vec<u8> {
    let mut trace = TraceFile::new();
    trace.system(1_000_100, "TESTKIT", 1);
    for (at, module) in (1_000_200..).step_by(100).zip(modules) {
        let named = Traced::kernel(&module.path, module.base, module.size)
            .with_identity(module.timestamp.unwrap_or(0), module.checksum.unwrap_or(0));
        trace.module(0, at, &named);
    }
    trace.finish()
}

/// Builds a dump; gives the names, quoted, of the modules whose files went in.
fn build(options: &[&std::ffi::OsStr], data: &Path, out: &Path) -> Result<Vec<String>> {
    let mut mkdump = command::mkdump()?;
    mkdump.args(options).arg("--modules").arg(data.join("pe")).arg("--output").arg(out).args(["--json", "--no-cache"]);
    let captured = program::capture(&mut mkdump, Duration::from_secs(120))?;
    ensure!(captured.success(), "{}\n{}", captured.ending(), captured.stderr);
    let report: Value = serde_json::from_str(&captured.stdout)?;
    let modules = report["modules"].as_array().context("no modules")?;
    Ok(modules
        .iter()
        .filter(|module| module["status"] == "included")
        .map(|module| module["name"].to_string())
        .collect())
}

fn against(dump: &Path, real: &Path, data: &Path) -> Result<(i32, Value)> {
    let modules = data.join("pe");
    check(&[dump.as_os_str(), "--against".as_ref(), real.as_os_str(), "--modules".as_ref(), modules.as_os_str()])
}

/// Runs `mkdump check`: its exit code and its report.
fn check(arguments: &[&std::ffi::OsStr]) -> Result<(i32, Value)> {
    let mut mkdump = command::mkdump()?;
    mkdump.arg("check").args(arguments).args(["--json", "--no-cache"]);
    let captured = program::capture(&mut mkdump, Duration::from_secs(120))?;
    let code = captured.code().with_context(|| captured.ending().to_string())?;
    let report = serde_json::from_str(&captured.stdout).with_context(|| captured.stderr.clone())?;
    Ok((code, report))
}

/// A check that passed, or failed for a reason.
fn judge(outcome: &mut Outcome, passed: bool, reason: impl FnOnce() -> String) {
    if passed {
        outcome.add_pass();
    } else {
        outcome.add_failure(reason());
    }
}
