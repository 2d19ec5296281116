//! The main job over real kernel images: a trace that testkit writes names them at bases within 2 GiB of each other, a
//! generated kernel exports what they import, and the dump's bytes are held against the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use minidump::{Minidump, MinidumpMemoryList};
use pe_image::{ImportName, PeFile};
use serde_json::Value;
use testkit::image::{At, Driver};
use testkit::trace::{Module, TraceFile};
use xtask::outcome::Outcome;
use xtask::{paths, program};

use crate::command;

/// Sets of folders that could have been loaded together: no two files of one name.
const GROUPS: &[&[&str]] =
    &[&["19041.508", "19041-system32", "19041.4780", "third-party"], &["14393"], &["windows-11-preview"]];

const CODE: u32 = 0x20;
const KERNEL_BASE: u64 = 0xffff_f804_1000_0000;

/// Builds each group with import optimization on and off, and checks every byte.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (number, folders) in GROUPS.iter().enumerate() {
        let work = paths::work(&format!("corpus-build-{number}"))?;
        let group = Group::read(data, folders)?;
        let modules = work.join("modules");
        group.stage(&modules)?;
        for on in [true, false] {
            match check(&group, &work, &modules, on) {
                Ok(line) => {
                    println!("{}: import optimization {}: {line}", folders.join("+"), if on { "on" } else { "off" });
                    outcome.add_pass();
                }
                Err(error) => outcome.add_failure(format!("{}: on={on}: {error:#}", folders.join("+"))),
            }
        }
        super::check::both_forms(&dump(&work, true), &dump(&work, false), &modules, &mut outcome)?;
    }
    Ok(outcome)
}

/// Files that are loaded together, and where.
struct Group {
    files: Vec<File>,
}

struct File {
    name: String,
    bytes: Vec<u8>,
    base: u64,
}

impl Group {
    fn read(data: &Path, folders: &[&str]) -> Result<Group> {
        let mut files = Vec::new();
        for folder in folders {
            let mut paths: Vec<PathBuf> = std::fs::read_dir(data.join("pe").join(folder))?
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<_, _>>()?;
            paths.sort();
            for path in paths {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push(File { name, bytes: std::fs::read(&path)?, base: 0 });
            }
        }
        files.insert(0, kernel(&files)?);
        let mut base = KERNEL_BASE;
        for file in &mut files {
            file.base = base;
            let size = u64::from(PeFile::parse(&file.bytes)?.headers().size_of_image);
            base += size.next_multiple_of(0x1_0000) + 0x1_0000;
        }
        ensure!(base - KERNEL_BASE < 1 << 31, "the group does not fit 2 GiB");
        Ok(Group { files })
    }

    fn stage(&self, dir: &Path) -> Result<()> {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
        for (number, file) in self.files.iter().enumerate() {
            // Names in the directory say nothing: files are found by identity.
            std::fs::write(dir.join(format!("{number}.bin")), &file.bytes)?;
        }
        Ok(())
    }

    fn trace(&self) -> Result<Vec<u8>> {
        let mut trace = TraceFile::new();
        trace.system(1_000_100, "TESTKIT", 1);
        trace.kernel_base(0, 1_000_150, KERNEL_BASE);
        for (number, file) in (0i64..).zip(&self.files) {
            let identity = PeFile::parse(&file.bytes)?.identity();
            let path = format!(r"\SystemRoot\system32\{}", file.name);
            let module = Module::kernel(&path, file.base, identity.size_of_image.into())
                .with_identity(identity.timestamp, identity.checksum);
            trace.module(0, 1_000_200 + 100 * number, &module);
        }
        Ok(trace.finish())
    }
}

/// A kernel that exports every name that the files import from ntoskrnl.exe or HAL.dll, each at its own address.
fn kernel(files: &[File]) -> Result<File> {
    let mut names = BTreeSet::new();
    for file in files {
        for dll in PeFile::parse(&file.bytes)?.imports().dlls {
            if ["ntoskrnl.exe", "hal.dll"].iter().any(|name| dll.dll.eq_ignore_ascii_case(name)) {
                names.extend(dll.imports.iter().filter_map(|import| match &import.name {
                    ImportName::Name(name) => Some(name.to_string()),
                    ImportName::Ordinal(_) => None,
                }));
            }
        }
    }
    let mut driver = Driver::new("ntoskrnl.exe");
    let size = u32::try_from(16 * names.len() + 16)?;
    let text = driver.code(".text", size);
    for (at, name) in (0..).step_by(16).zip(&names) {
        driver.export(name, At(text, at));
    }
    Ok(File { name: "ntoskrnl.exe".into(), bytes: driver.build().bytes, base: 0 })
}

/// Where a group's dump goes.
fn dump(work: &Path, on: bool) -> PathBuf {
    work.join(if on { "on.dmp" } else { "off.dmp" })
}

/// Builds one dump and checks it; returns a line of numbers.
fn check(group: &Group, work: &Path, modules: &Path, on: bool) -> Result<String> {
    let (trace, dump) = (work.join("trace.etl"), dump(work, on));
    std::fs::write(&trace, group.trace()?)?;
    let mut command = command::mkdump()?;
    command.arg("--etl").arg(&trace).arg("--modules").arg(modules).arg("--output").arg(&dump);
    command.args(["--json", "--strict", "--import-optimization", if on { "on" } else { "off" }]);
    // What function overrides change is compared in the part `pe`.
    command.args(["--function-override", "off"]);
    let captured = program::capture(&mut command, Duration::from_secs(120))?;
    let report: Value = serde_json::from_str(&captured.stdout)
        .with_context(|| format!("{}\n{}{}", captured.ending(), captured.stdout, captured.stderr))?;
    let warnings = report["warnings"].as_array().context("no warnings")?;
    ensure!(warnings.is_empty(), "{warnings:?}");
    ensure!(captured.code() == Some(0), "{}, 0 expected\n{}", captured.ending(), captured.stderr);

    let bytes = std::fs::read(&dump)?;
    let parsed = Minidump::read(&bytes[..])?;
    let memory = parsed.get_stream::<MinidumpMemoryList<'_>>()?;
    let mut totals = BTreeMap::<&str, u64>::new();
    for file in &group.files {
        let line = report["modules"].as_array().context("no modules")?.iter().find(|m| m["name"] == file.name.as_str());
        let line = line.with_context(|| format!("{} is not in the report", file.name))?;
        let counts = &line["sites"]["import"];
        let count = |name: &str| counts[name].as_u64().with_context(|| format!("no count {name}"));
        let parts = ["optimized", "no_index", "unbound", "out_of_range", "unexpected_bytes"];
        let sum: u64 = parts.iter().map(|part| count(part)).sum::<Result<u64>>()?;
        if on {
            ensure!(sum == count("listed")?, "{}: {counts} do not add up", file.name);
        }
        ensure!(count("unexpected_bytes")? == 0, "{}: {counts}", file.name);
        for part in parts.iter().chain(&["listed"]) {
            *totals.entry(part).or_default() += count(part)?;
        }
        let changed = compare(file, &memory, on)?;
        ensure!(
            changed.sites == count("optimized")?,
            "{}: {} sites differ from the file, the report says {counts}",
            file.name,
            changed.sites
        );
        *totals.entry("code bytes").or_default() += changed.bytes;
    }
    Ok(totals.iter().map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", "))
}

#[derive(Default)]
struct Changed {
    bytes: u64,
    sites: u64,
}

/// Holds the dump's code against the file's: the same but for relocated pointers and, with the optimization on, sites
/// that are `mov r10,[slot]` and a direct branch in place of `call|jmp [slot]` of the same displacement.
fn compare(file: &File, memory: &MinidumpMemoryList<'_>, on: bool) -> Result<Changed> {
    let pe = PeFile::parse(&file.bytes)?;
    let mut changed = Changed::default();
    let mut relocated = BTreeSet::new();
    for block in pe.relocation_blocks()? {
        relocated.extend(block?.relocations().map(|relocation| relocation.rva.0));
    }
    for section in pe.headers().sections.iter().filter(|section| section.flags & CODE != 0) {
        let base = file.base + u64::from(section.rva.0);
        let held = memory.memory_at_address(base).with_context(|| format!("{}: no memory at {base:#x}", file.name))?;
        let start = usize::try_from(base - held.base_address)?;
        let held = held.bytes.get(start..start + section.size as usize).context("the section is cut short")?;
        let mut linked = vec![0; section.size as usize];
        let raw = section.file_offset as usize;
        let size = (section.file_size as usize).min(linked.len());
        linked[..size].copy_from_slice(file.bytes.get(raw..raw + size).context("section outside the file")?);
        changed.bytes += u64::from(section.size);
        let mut at = 0;
        while at < linked.len() {
            if linked[at] == held[at] {
                at += 1;
                continue;
            }
            let rva = section.rva.0 + u32::try_from(at)?;
            if let Some(start) = relocated.range(rva.saturating_sub(7)..=rva).next_back() {
                at = (start + 8 - section.rva.0) as usize;
                continue;
            }
            ensure!(on, "{}+{rva:#x} differs from the file", file.name);
            let (before, after) = (&linked[at..at + 12], &held[at..at + 12]);
            let branch = match (&before[..3], &before[7..]) {
                ([0x48, 0xff, 0x15], [0x0f, 0x1f, 0x44, 0, 0]) => 0xe8,
                ([0x48, 0xff, 0x25], [0xcc, 0xcc, 0xcc, 0xcc, 0xcc]) => 0xe9,
                _ => anyhow::bail!("{}+{rva:#x}: {before:02x?} was changed to {after:02x?}", file.name),
            };
            ensure!(
                after[..3] == [0x4c, 0x8b, 0x15] && after[3..7] == before[3..7] && after[7] == branch,
                "{}+{rva:#x}: {before:02x?} became {after:02x?}",
                file.name
            );
            changed.sites += 1;
            at += 12;
        }
    }
    Ok(changed)
}
