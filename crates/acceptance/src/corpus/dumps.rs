//! The real triage dump: its modules against the vectors, its threads, and the dumps made from it, read back and opened
//! in Microsoft's engines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mdmp::read::Triage;
use mdmp::{MemoryRange, validate};
use mkdump::dump::{Boot, Dump, ReadMemory};
use mkdump::keep::{self, Kept};
use mkdump::system::{Choice, Detect, Files, Image, Setting, System};
use mkdump::threads::{Found, Thread, ThreadOptions, threads};
use pe_image::Selection;
use symstore::{Cache, Index, IndexOptions};
use xtask::outcome::Outcome;
use xtask::paths;

use crate::debugger::check::{Check, Suite};
use crate::debugger::rig;

const SAMPLE: &str = "dumps/triage_x64.dmp";
/// What the samples' README says of the dump.
const MODULES: usize = 151;
const CURRENT_THREAD: u64 = 0xffff_c08b_de9e_1640;

/// Reads the dump, writes it anew in both formats with the code that the image samples have, and judges the results.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let file = fs::read(data.join(SAMPLE)).context(SAMPLE)?;
    let source = Dump::open(&file)?;
    modules(data, &source, &mut outcome)?;

    let boot = Boot::merge(vec![source])?;
    let source = &boot.dumps[0];
    let dump = source.triage().context("the sample is no triage dump")?;
    let found = threads(dump, &boot.memory, &ThreadOptions::default());
    list(&found);
    let current = &found[0];
    let sound = current.found == Found::Current
        && current.address == CURRENT_THREAD
        && current.verified
        && current.client_id == Some((4, 0x108))
        && current.process == dump.current_process();
    judge(&mut outcome, sound, || format!("current thread: {current:x?}"));

    rebuild(data, source, dump, &boot, &found, &mut outcome)?;
    user_dump(data, &mut outcome)?;
    Ok(outcome)
}

/// Every module of the vectors, with its stamp, is in the dump.
fn modules(data: &Path, source: &Dump<'_>, outcome: &mut Outcome) -> Result<()> {
    let found = &source.snapshot().modules;
    println!("{} modules, kernel at {:#x}", found.len(), source.snapshot().kernel_base.unwrap_or(0));
    judge(outcome, found.len() == MODULES, || format!("{} modules, {MODULES} expected", found.len()));
    judge(outcome, source.warnings().is_empty(), || format!("warnings about a good dump: {:?}", source.warnings()));
    let path = data.join("../specs/vectors/ground-truth-19041.json");
    if !path.is_file() {
        outcome.add_skip(format!("corpus dumps: no vectors, {} is missing", path.display()));
        return Ok(());
    }
    let vectors: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    let expected = vectors["modules"].as_array().context("vectors without modules")?;
    judge(outcome, expected.len() == MODULES, || format!("{} modules in the vectors", expected.len()));
    for module in expected {
        let number = |key: &str| {
            let text = module[key].as_str().unwrap_or_default();
            u64::from_str_radix(text.trim_start_matches("0x"), 16).with_context(|| format!("{key} of {module}"))
        };
        let base = number("base")?;
        let wanted = (
            module["path"].as_str().unwrap_or_default(),
            number("size")?,
            Some(number("ts")? as u32),
            Some(number("checksum")? as u32),
        );
        let ours = found.iter().find(|module| module.base == base);
        let ours = ours.map(|module| (module.path.as_str(), module.size, module.timestamp, module.checksum));
        judge(outcome, ours == Some(wanted), || format!("module at {base:#x}: {ours:x?}, expected {wanted:x?}"));
    }
    Ok(())
}

fn list(found: &[Thread]) {
    for thread in found {
        println!(
            "{:#x} {:?} cid {:x?} sp {:x?} captured {:#x}{}",
            thread.address,
            thread.found,
            thread.client_id,
            thread.stack_pointer,
            thread.captured,
            if thread.verified { "" } else { " (pointer only)" }
        );
    }
}

/// Both formats, with code from the images that match, judged by our reader, our rules and the engines.
fn rebuild(
    data: &Path,
    source: &Dump<'_>,
    dump: &Triage<'_>,
    boot: &Boot<'_>,
    found: &[Thread],
    outcome: &mut Outcome,
) -> Result<()> {
    let wanted = boot.modules.iter().map(mkdump::wanted).collect();
    let options = IndexOptions { roots: vec![data.join("pe")], wanted, cache: Cache::Off, ..IndexOptions::default() };
    let index = Index::build(&options)?;
    let mut files = Files::find(&boot.modules, &index);
    let parsed = files.parse();
    let machine = &source.snapshot().machine;
    let setting = Setting {
        machine,
        moment: f64::INFINITY,
        moment_name: "in the dump",
        import_optimization: Choice::Off,
        retpoline: Choice::Off,
        function_overrides: Choice::Auto,
        capabilities: &[],
        packets: &[],
        detect: Detect::WhenOpen,
        captured: None,
    };
    let system = System::reconstruct(&parsed, &setting);
    let images = system.images();
    let code = || -> Vec<MemoryRange<'_>> {
        images.iter().flat_map(|image: &Image<'_>| mkdump::image::memory(image, Selection::Headers, true)).collect()
    };
    println!("{} of its modules are among the images", images.len());
    judge(outcome, !images.is_empty(), || "no image of the samples is one of the dump".into());

    let kept = Kept { dump, memory: &boot.memory };
    let work = paths::work("corpus-dumps")?;
    let (triage_path, user_path) = (work.join("kept-triage.dmp"), work.join("kept-user.dmp"));
    fs::write(&triage_path, keep::triage(kept, code(), "kept").plan()?.to_vec()?)?;
    let mut entries = keep::modules(&boot.modules);
    for image in &images {
        let entry = mkdump::image::module_entry(image);
        entries.retain(|module| module.base != entry.base);
        entries.push(entry);
    }
    fs::write(&user_path, keep::user(kept, machine, entries, found, code()).plan()?.to_vec()?)?;

    for path in [&triage_path, &user_path] {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(path)?;
        let report = validate(&bytes)?;
        for finding in report.at_least(mdmp::Severity::Degraded) {
            outcome.add_failure(format!("{name}: {finding}"));
        }
        let back = Dump::open(&bytes)?;
        judge(outcome, back.snapshot().modules.len() == MODULES, || format!("{name}: modules are missing"));
        let mut held = 0u64;
        for segment in boot.memory.all() {
            let mut out = vec![0; segment.bytes.len()];
            let same = back.read(segment.address, &mut out) == out.len() && out == segment.bytes;
            ensure!(same, "{name}: {segment:?} is not what the dump captured");
            held += out.len() as u64;
        }
        let mut code_bytes = 0;
        for range in code() {
            let mut out = vec![0; usize::try_from(range.size)?];
            let all = back.read(range.address, &mut out);
            judge(outcome, all == out.len(), || format!("{name}: code at {:#x} has gaps", range.address));
            code_bytes += all;
        }
        println!("{name}: {} bytes, all {held} captured bytes kept, {code_bytes} bytes of code", bytes.len());
        outcome.add_pass();
    }
    engines(&triage_path, &user_path, outcome)
}

/// Registers, bugcheck and stack are the original's (what the engines print of the sample itself).
fn engines(triage: &Path, user: &Path, outcome: &mut Outcome) -> Result<()> {
    let rig = match rig::set_up()? {
        Ok(rig) => rig,
        Err(reason) => {
            outcome.add_skip(format!("corpus dumps: {reason}"));
            return Ok(());
        }
    };
    let stack = || Check::new("dq ffff850429890ee8 L2").has("fffff804`7be0f4e1 00000000`0000007e");
    let registers =
        || Check::new("r").has("rip=fffff804*rsp=ffff8504*rbp=").lacks("program counter").lacks("machine context");
    let hal = || Check::new("lm m hal").has("fffff804`79440000 fffff804`79446000");
    let opening = Check::new("opening").lacks("GetContextState").lacks("ERROR: *exited").lacks("unknown stream");
    Suite {
        name: "kept triage",
        dump: triage,
        symbols: &|_| "srv*".to_owned(),
        opening: opening.clone().has("Bugcheck code 1000007E").has("Mini Kernel Dump File"),
        checks: vec![registers(), Check::new(".bugcheck").has("ffffffff`c0000005 fffff804`8b58334c"), stack(), hal()],
    }
    .run(&rig, outcome)?;
    Suite {
        name: "kept user",
        dump: user,
        symbols: &|_| "srv*".to_owned(),
        opening,
        checks: vec![registers(), stack(), hal()],
    }
    .run(&rig, outcome)
}

/// The user minidump sample: another program wrote it, and everything in it is read.
fn user_dump(data: &Path, outcome: &mut Outcome) -> Result<()> {
    let file = fs::read(data.join("dumps/calc.dmp"))?;
    let dump = Dump::open(&file)?;
    let memory = dump.segments().context("a user minidump has ranges")?.all().len();
    let (modules, threads) = (dump.snapshot().modules.len(), dump.user_threads().len());
    println!("calc.dmp: {modules} modules, {threads} threads, {memory} ranges, {:?}", dump.warnings());
    judge(outcome, modules > 10 && threads > 0 && memory > 0, || "calc.dmp: modules, threads or memory missing".into());
    judge(outcome, dump.snapshot().modules.iter().all(|module| module.pdb.is_some()), || "calc.dmp: no PDBs".into());
    Ok(())
}

/// A check that passed, or failed for a reason.
fn judge(outcome: &mut Outcome, passed: bool, reason: impl FnOnce() -> String) {
    if passed {
        outcome.add_pass();
    } else {
        outcome.add_failure(reason());
    }
}
