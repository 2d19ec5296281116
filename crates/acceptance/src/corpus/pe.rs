//! Real kernel images: every record of the dynamic relocation table that lists a branch is accounted for, and what
//! becomes of each branch is calculated a second time here, from the file's bytes.
//!
//! The table is read twice as well: by pe-image, and by the few lines below.

mod overrides;
mod table;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pe_image::{
    Binding, Counts, ImportName, MappedImage, Module, ModuleId, Modules, PeFile, Policy, Rva, Selection, StubBlock,
};
use testkit::image::kernel;
use xtask::outcome::Outcome;

use table::{Record, records};

/// Folders whose files could have been loaded together.
const GROUPS: &[&[&str]] =
    &[&["19041.508", "19041-system32", "19041.4780", "third-party"], &["14393"], &["windows-11-preview"]];
const KERNEL_BASE: u64 = 0xffff_f804_1000_0000;

const NO_INDEX: u32 = 0x7_ffff;

/// Runs over all images and all vectors.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let table = fs::read_to_string(data.join("README.md")).context("the samples' README.md")?;
    let expected: BTreeMap<String, Expected> = table.lines().filter_map(expected).collect();
    let mut total = Totals::default();
    let mut files = 0;
    for folders in GROUPS {
        let group = Group::read(data, folders)?;
        files += group.files.len();
        for (number, file) in group.files.iter().enumerate() {
            match check_file(&group, number, file, &expected, &mut total) {
                Ok(()) => outcome.add_pass(),
                Err(error) => outcome.add_failure(format!("{}: {error:#}", file.path)),
            }
        }
    }
    // The kernels are testkit's.
    let samples = files - GROUPS.len();
    if samples != expected.len() {
        outcome.add_failure(format!("{samples} files in the groups, {} in the samples' table", expected.len()));
    }
    println!("{samples} images: {total:#?}");
    outcome.absorb(vectors::run(data)?);
    outcome.absorb(overrides::run(data)?);
    Ok(outcome)
}

/// What was found in all images.
#[derive(Debug, Default)]
struct Totals {
    imports: u64,
    optimized: u64,
    no_index: u64,
    unbound: u64,
    out_of_range: u64,
    unexpected: u64,
    across_pages: u64,
    indirect: u64,
    switches: u64,
    retpolined: u64,
    relocations: u64,
    padding: u64,
    /// The most import sites in a MiB of code of any image with more than 256 KiB of it.
    densest: u64,
}

/// Columns of the samples' table: sites of symbol 3, of them without index, of them jumps; sites of symbols 4 and 5.
struct Expected {
    imports: [u64; 3],
    indirect: u64,
    switches: u64,
}

fn expected(line: &str) -> Option<(String, Expected)> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let path = columns.get(1)?.trim_matches('`').strip_prefix("pe/")?;
    let imports = columns.get(8)?.replace(['(', ')', '/'], " ");
    let mut numbers = imports.split_whitespace().map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let number = |column: usize| columns.get(column).and_then(|text| text.parse().ok()).unwrap_or(0);
    let expected = Expected { imports: [next(), next(), next()], indirect: number(9), switches: number(10) };
    Some((path.to_owned(), expected))
}

/// Images at bases within 2 GiB of each other, a generated kernel in front.
struct Group {
    files: Vec<File>,
}

struct File {
    path: String,
    name: String,
    bytes: Vec<u8>,
    base: u64,
}

impl Group {
    fn read(data: &Path, folders: &[&str]) -> Result<Self> {
        let mut files = Vec::new();
        for folder in folders {
            let entries = fs::read_dir(data.join("pe").join(folder))?;
            let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            paths.sort();
            for path in paths {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push(File { path: format!("{folder}/{name}"), name, bytes: fs::read(&path)?, base: 0 });
            }
        }
        let mut names = BTreeSet::new();
        for file in &files {
            for dll in PeFile::parse(&file.bytes)?.imports().dlls {
                if ["ntoskrnl.exe", "hal.dll"].iter().any(|name| dll.dll.eq_ignore_ascii_case(name)) {
                    names.extend(dll.imports.into_iter().filter_map(|import| match import.name {
                        ImportName::Name(name) => Some(name.into_owned()),
                        ImportName::Ordinal(_) => None,
                    }));
                }
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (name, bytes) = ("ntoskrnl.exe".to_owned(), kernel(&names).build().bytes);
        files.insert(0, File { path: "(testkit's kernel)".to_owned(), name, bytes, base: 0 });
        let mut base = KERNEL_BASE;
        for file in &mut files {
            file.base = base;
            let size = u64::from(PeFile::parse(&file.bytes)?.headers().size_of_image);
            base += size.next_multiple_of(0x1_0000) + 0x1_0000;
        }
        Ok(Self { files })
    }
}

fn check_file(
    group: &Group,
    number: usize,
    file: &File,
    table: &BTreeMap<String, Expected>,
    total: &mut Totals,
) -> Result<()> {
    let parsed: Vec<_> =
        group.files.iter().map(|file| Ok((file, PeFile::parse(&file.bytes)?))).collect::<Result<_>>()?;
    let modules =
        Modules::new(parsed.iter().map(|(file, parsed)| Module::new(file.name.as_str(), file.base, parsed.clone())));
    let pe = &parsed[number].1;
    let binding = modules.bind(ModuleId(number));
    ensure!(binding.errors().is_empty(), "{:?}", binding.errors());
    let stubs = StubBlock::from_kernel(&MappedImage::new(parsed[0].1.clone(), group.files[0].base, Policy::AS_LINKED))?;
    let stubs = stubs.context("testkit's kernel has stubs")?;
    let map = |policy| modules.image(ModuleId(number), policy).expect("it has a file").with_stubs(&stubs);
    let retpoline = Policy::default().with_retpoline(true);
    let sides = Sides {
        file,
        pe,
        binding: &binding,
        linked: image_bytes(&map(Policy::AS_LINKED)),
        optimized: image_bytes(&map(Policy::default())),
        retpolined: image_bytes(&map(retpoline)),
        stubs: &stubs,
    };
    let (records, padding) = records(&file.bytes)?;
    let mut found = Found::default();
    for record in &records {
        sides.check_record(*record, &mut found)?;
    }
    sides.check_between(&records, pe)?;

    // pe-image's own counts are the same.
    let counts = map(Policy::default()).counts();
    let Counts { import, indirect, switch, .. } = counts;
    ensure!(import.unexpected_bytes + indirect.unexpected_bytes + switch.unexpected_bytes == 0, "{counts:?}");
    let sum = import.optimized + import.no_index + import.unbound + import.out_of_range;
    ensure!(import.listed == sum, "{import:?} does not add up");
    ensure!([import.listed, import.optimized, import.no_index] == [found.imports, found.direct, found.no_index]);
    ensure!((indirect.listed, switch.listed) == (found.indirect, found.switches), "{counts:?}");
    let rewritten = map(retpoline).counts();
    ensure!(
        rewritten.indirect.rewritten + rewritten.switch.rewritten == found.retpolined
            && rewritten.indirect.unexpected_bytes + rewritten.switch.unexpected_bytes == 0,
        "{rewritten:?}"
    );
    if let Some(expected) = table.get(&file.path) {
        ensure!(
            expected.imports == [found.imports, found.no_index, found.jumps],
            "not what the table says: {counts:?}"
        );
        ensure!((expected.indirect, expected.switches) == (found.indirect, found.switches), "{counts:?}");
    } else {
        ensure!(number == 0, "the samples' table does not have it");
    }
    let code: u64 = map(retpoline).ranges(Selection::Code).iter().map(|range| u64::from(range.size)).sum();
    if code > 0x4_0000 {
        total.densest = total.densest.max((found.imports << 20) / code);
    }
    total.imports += found.imports;
    total.optimized += import.optimized;
    total.no_index += import.no_index;
    total.unbound += import.unbound;
    total.out_of_range += import.out_of_range;
    total.unexpected += import.unexpected_bytes + indirect.unexpected_bytes + switch.unexpected_bytes;
    total.across_pages += found.across_pages;
    total.indirect += found.indirect;
    total.switches += found.switches;
    total.retpolined += found.retpolined;
    total.relocations += counts.relocations;
    total.padding += padding;
    Ok(())
}

/// The whole image, stubs left out, read in pieces of an odd size so that borders lie inside sites.
fn image_bytes(image: &MappedImage<'_>) -> Vec<u8> {
    let mut out = vec![0; image.file().headers().size_of_image as usize];
    let mut at = 0;
    for piece in out.chunks_mut(0x1_0000 - 7) {
        image.read(Rva(at), piece);
        at += piece.len() as u32;
    }
    out
}

#[derive(Default)]
struct Found {
    imports: u64,
    direct: u64,
    no_index: u64,
    jumps: u64,
    across_pages: u64,
    indirect: u64,
    switches: u64,
    retpolined: u64,
}

/// One image under three policies.
struct Sides<'a> {
    file: &'a File,
    pe: &'a PeFile<'a>,
    binding: &'a Binding<'a>,
    linked: Vec<u8>,
    optimized: Vec<u8>,
    retpolined: Vec<u8>,
    stubs: &'a StubBlock,
}

impl Sides<'_> {
    fn check_record(&self, record: Record, found: &mut Found) -> Result<()> {
        let behind = self.pe.headers().size_of_image.next_multiple_of(0x1000);
        let offsets = self.stubs.offsets();
        let branch =
            |opcode: u8, from_end: u32, to: u32| [&[opcode][..], &to.wrapping_sub(from_end).to_le_bytes()].concat();
        match record {
            Record::Import { rva, call, index } => {
                let before = &self.linked[rva as usize..][..12];
                let displacement = &before[3..7];
                let (start, tail): ([u8; 3], &[u8]) = match call {
                    true => ([0x48, 0xff, 0x15], &[0x0f, 0x1f, 0x44, 0, 0]),
                    false => ([0x48, 0xff, 0x25], &[0xcc; 5]),
                };
                ensure!(before[..3] == start && before[7..] == *tail, "{rva:#x} holds {before:02x?}");
                found.imports += 1;
                found.jumps += u64::from(!call);
                found.across_pages += u64::from(rva >> 12 != (rva + 11) >> 12);
                let mut target = None;
                if index == NO_INDEX {
                    found.no_index += 1;
                } else {
                    let slot = self.pe.iat().context("no IAT")?.rva.0 + 8 * index;
                    ensure!(slot.wrapping_sub(rva + 7).to_le_bytes() == displacement, "{rva:#x}: slot {slot:#x}");
                    let slot = self.binding.slot_at(Rva(slot)).with_context(|| format!("{rva:#x} reads no import"))?;
                    target = slot.result.as_ref().ok();
                }
                // All modules of a group lie within 2 GiB, so what is bound is in reach.
                let opcode = if call { 0xe8 } else { 0xe9 };
                let after = |tail: Vec<u8>| [&[0x4c, 0x8b, 0x15][..], displacement, &tail].concat();
                let end = self.file.base + u64::from(rva) + 12;
                let direct = target.map(|target| {
                    after([&[opcode][..], &(target.address.0.wrapping_sub(end) as u32).to_le_bytes()].concat())
                });
                found.direct += u64::from(direct.is_some());
                let through_stub = after(branch(opcode, rva + 12, behind + offsets.import));
                let expected = direct.clone().unwrap_or_else(|| before.to_vec());
                ensure!(self.optimized[rva as usize..][..12] == expected, "{rva:#x} is not {expected:02x?}");
                let expected =
                    direct.filter(|_| target.is_some_and(|target| target.retpolined)).unwrap_or(through_stub);
                ensure!(self.retpolined[rva as usize..][..12] == expected, "{rva:#x} is not {expected:02x?}");
            }
            Record::Indirect { rva, call, rex, cfg } => {
                found.indirect += 1;
                let stub = if cfg { offsets.indirect_cfg } else { offsets.indirect };
                let mut expected = branch(if call { 0xe8 } else { 0xe9 }, rva + 5, behind + stub);
                if cfg {
                    expected.resize(6 + usize::from(rex), if call { 0x90 } else { 0xcc });
                }
                self.check_rewritten(rva, &expected, found)?;
            }
            Record::Switch { rva, register } => {
                found.switches += 1;
                let mut expected = branch(0xe8, rva + 5, behind + offsets.switch[usize::from(register)]);
                expected.push(0xcc);
                self.check_rewritten(rva, &expected, found)?;
            }
        }
        Ok(())
    }

    fn check_rewritten(&self, rva: u32, expected: &[u8], found: &mut Found) -> Result<()> {
        let place = rva as usize..rva as usize + expected.len();
        ensure!(self.optimized[place.clone()] == self.linked[place.clone()], "{rva:#x} is changed without retpoline");
        ensure!(self.retpolined[place.clone()] == *expected, "{rva:#x} is {:02x?}", &self.retpolined[place]);
        found.retpolined += 1;
        Ok(())
    }

    /// Outside the sites all policies give the same bytes; and with neither, they are the file's but for relocations,
    /// bound slots and the header's base.
    fn check_between(&self, records: &[Record], pe: &PeFile<'_>) -> Result<()> {
        let mut optimized = self.optimized.clone();
        let mut retpolined = self.retpolined.clone();
        let mut linked = self.linked.clone();
        for record in records {
            let (rva, size) = match *record {
                Record::Import { rva, .. } => (rva, 12),
                Record::Indirect { rva, rex, cfg, .. } => (rva, if cfg { 6 + usize::from(rex) } else { 5 }),
                Record::Switch { rva, .. } => (rva, 6),
            };
            for bytes in [&mut optimized, &mut retpolined, &mut linked] {
                bytes[rva as usize..][..size].fill(0);
            }
        }
        ensure!(optimized == linked, "import optimization changes bytes outside its sites");
        ensure!(retpolined == linked, "retpoline changes bytes outside its sites");

        let mut from_file = vec![0; self.linked.len()];
        pe.read(Rva(0), &mut from_file);
        let mut ours = self.linked.clone();
        let mut blank = |rva: u32, size: usize| {
            for bytes in [&mut ours, &mut from_file] {
                bytes[rva as usize..][..size].fill(0);
            }
        };
        blank(pe.headers().image_base_offset, 8);
        for block in pe.relocation_blocks()? {
            for relocation in block?.relocations() {
                blank(relocation.rva.0, relocation.kind.size(pe.headers().machine).unwrap_or(0) as usize);
            }
        }
        for slot in self.binding.slots() {
            blank(slot.rva.0, 8);
        }
        ensure!(ours == from_file, "the image as linked is not the file's");
        Ok(())
    }
}
