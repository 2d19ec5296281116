//! Compiling and linking the system's modules.
//!
//! The one thing that the compiler at hand cannot write is the dynamic value relocation table; it is filled in after
//! linking, from the list of sites that the assembler left in the section `.sites`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use xtask::tools::{self, Found};
use xtask::{paths, program};

use super::{Image, Module, System};

/// What to compile and how to link it. The order matters: import libraries come before who uses them.
struct Recipe {
    file: &'static str,
    pdb: &'static str,
    entry: &'static str,
    base: u64,
    /// Import libraries of earlier recipes, and linker options.
    link: &'static [&'static str],
}

const RECIPES: &[Recipe] = &[
    Recipe { file: "kdcom.dll", pdb: "kdcom.pdb", entry: "DriverEntry", base: 0xffff_f804_1200_0000, link: &[] },
    Recipe {
        file: "ntoskrnl.exe",
        pdb: "ntkrnlmp.pdb",
        entry: "KiSystemStartup",
        base: 0xffff_f804_1000_0000,
        link: &["kdcom.lib"],
    },
    Recipe {
        file: "hal.dll",
        pdb: "hal.pdb",
        entry: "HalInitSystem",
        base: 0xffff_f804_1100_0000,
        link: &[
            "/export:KeQueryPerformanceCounter=ntoskrnl.KeQueryPerformanceCounter",
            "/export:KeStallExecutionProcessor=ntoskrnl.KeStallExecutionProcessor",
        ],
    },
    Recipe {
        file: "mklib.sys",
        pdb: "mklib.pdb",
        entry: "DriverEntry",
        base: 0xffff_f804_2345_0000,
        link: &["ntoskrnl.lib", "/export:LibByOrdinal,@7,NONAME"],
    },
    Recipe {
        file: "mkfilter.sys",
        pdb: "mkfilter.pdb",
        entry: "DriverEntry",
        base: 0xffff_f804_3456_0000,
        // hal.lib first: the HAL's names must be imported from hal.dll and not from the kernel they end in.
        link: &["hal.lib", "ntoskrnl.lib", "mklib.lib"],
    },
    Recipe {
        file: "mkfar.sys",
        pdb: "mkfar.pdb",
        entry: "DriverEntry",
        // More than 2 GiB above the kernel.
        base: 0xffff_f804_a000_0000,
        link: &["ntoskrnl.lib"],
    },
];

/// Compiles, links and completes all modules, always in the same place: a PDB holds the paths of what it was made from,
/// and its GUID is a hash of its content.
pub fn system() -> Result<Found<System>> {
    let work = paths::work("system")?;
    let clang = match tools::need(&["clang-16", "clang-19", "clang-18", "clang-17", "clang"], "clang-16")? {
        Ok(name) => name,
        Err(reason) => return Ok(Err(reason)),
    };
    let link = match tools::need(&["lld-link-16", "lld-link-19", "lld-link-18", "lld-link-17", "lld-link"], "lld-16")? {
        Ok(name) => name,
        Err(reason) => return Ok(Err(reason)),
    };
    let objects = work.join("obj");
    let images = work.join("images");
    for dir in [&objects, &images] {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
    }
    let mut modules = Vec::new();
    for recipe in RECIPES {
        compile(&clang, recipe, &objects)?;
        link_one(&link, recipe, &objects)?;
        modules.push(finish(recipe, &objects, &images)?);
    }
    Ok(Ok(System { dir: images, modules }))
}

fn stem(recipe: &Recipe) -> &'static str {
    recipe.file.split('.').next().unwrap_or_default()
}

fn compile(clang: &str, recipe: &Recipe, objects: &Path) -> Result<()> {
    let source = paths::root().join("crates/acceptance/modules").join(format!("{}.c", stem(recipe)));
    program::run(
        Command::new(clang)
            .current_dir(objects)
            .args([
                "-target",
                "x86_64-pc-windows-msvc",
                "-ffreestanding",
                "-fno-stack-protector",
                "-O1",
                "-g",
                "-gcodeview",
            ])
            .args(["-Wall", "-Werror", "-c", "-o"])
            .arg(format!("{}.obj", stem(recipe)))
            .arg(source),
    )
}

fn link_one(link: &str, recipe: &Recipe, objects: &Path) -> Result<()> {
    let stem = stem(recipe);
    program::run(
        Command::new(link)
            .current_dir(objects)
            .args(["/nologo", "/nodefaultlib", "/subsystem:native", "/driver", "/machine:x64", "/dynamicbase"])
            // Brepro: stamps and the PDB's GUID are hashes of the content, so the same sources give the same files.
            .args(["/debug", "/Brepro"])
            .arg(format!("/entry:{}", recipe.entry))
            .arg(format!("/out:{}", recipe.file))
            .arg(format!("/pdb:{}", recipe.pdb))
            .arg(format!("/pdbaltpath:{}", recipe.pdb))
            .arg(format!("/implib:{stem}.lib"))
            .arg(format!("/map:{stem}.map"))
            .arg(format!("{stem}.obj"))
            .args(recipe.link),
    )
}

/// Reads the linked file back, fills in its relocation table and checksum, and puts the result among the images.
fn finish(recipe: &Recipe, objects: &Path, images: &Path) -> Result<Module> {
    let linked = Image::read(&objects.join(recipe.file))?;
    let sites = sites(&linked)?;
    let mut bytes = linked.bytes.clone();
    if let Some(&(_, _, raw, room)) = linked.section(".dvrt") {
        let table = table(&linked, &sites)?;
        ensure!(table.len() <= room as usize, "{}: {} bytes of table, room for {room}", recipe.file, table.len());
        bytes[raw as usize..raw as usize + table.len()].copy_from_slice(&table);
    }
    set_checksum(&mut bytes)?;
    let path = images.join(recipe.file);
    std::fs::write(&path, bytes)?;
    let map = std::fs::read_to_string(objects.join(format!("{}.map", stem(recipe))))?;
    Ok(Module {
        image: Image::read(&path)?,
        base: recipe.base,
        symbols: symbols(&map)?,
        sites,
        pdb: objects.join(recipe.pdb),
    })
}

/// The RVAs that the assembler left in `.sites`.
fn sites(image: &Image) -> Result<Vec<u32>> {
    let Some(&(_, rva, _, size)) = image.section(".sites") else { return Ok(Vec::new()) };
    let mut sites = Vec::new();
    for index in 0..size / 4 {
        sites.push(u32::from_le_bytes(image.at(rva + 4 * index)?));
    }
    sites.sort_unstable();
    Ok(sites)
}

/// A version 1 dynamic value relocation table with one entry, symbol 3 (import control transfer).
///
/// ```text
/// u32 Version = 1 │ u32 Size │ u64 Symbol = 3 │ u32 BaseRelocSize │ blocks…
///                             block: u32 page RVA │ u32 SizeOfBlock │ u32 records…
///                             record: PageRelativeOffset:12, IndirectCall:1, IATIndex:19
/// ```
fn table(image: &Image, sites: &[u32]) -> Result<Vec<u8>> {
    let mut pages: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &site in sites {
        let code: [u8; 7] = image.at(site)?;
        let is_call = match code[..3] {
            [0x48, 0xff, 0x15] => 1,
            [0x48, 0xff, 0x25] => 0,
            _ => bail!("{}: {site:#x} is no import site: {code:02x?}", image.name()),
        };
        let displacement = i32::from_le_bytes([code[3], code[4], code[5], code[6]]);
        let slot = (site + 7).wrapping_add_signed(displacement);
        let index = slot.checked_sub(image.iat).map(|distance| distance / 8);
        let index = index.with_context(|| format!("{}: slot {slot:#x} lies before the IAT", image.name()))?;
        pages.entry(site & !0xfff).or_default().push(site & 0xfff | is_call << 12 | index << 13);
    }
    let mut blocks = Vec::new();
    for (page, records) in pages {
        blocks.extend(page.to_le_bytes());
        blocks.extend(u32::try_from(8 + 4 * records.len())?.to_le_bytes());
        blocks.extend(records.iter().flat_map(|record| record.to_le_bytes()));
    }
    let mut table = Vec::new();
    table.extend(1u32.to_le_bytes());
    table.extend(u32::try_from(12 + blocks.len())?.to_le_bytes());
    table.extend(3u64.to_le_bytes());
    table.extend(u32::try_from(blocks.len())?.to_le_bytes());
    table.extend(blocks);
    Ok(table)
}

/// Writes the CheckSum field: the folded 16-bit sum of the file without that field, plus the file's length.
fn set_checksum(bytes: &mut [u8]) -> Result<()> {
    let header = u32::from_le_bytes(bytes[0x3c..0x40].try_into()?) as usize;
    let field = header + 24 + 64;
    bytes[field..field + 4].fill(0);
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = (sum & 0xffff) + (sum >> 16) + u32::try_from(bytes.len())?;
    bytes[field..field + 4].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Names and RVAs out of a linker map: ` 0001:00000020       CallKernel       0000000140001020     mkfilter.obj`.
pub fn symbols(map: &str) -> Result<BTreeMap<String, u32>> {
    const PREFERRED_BASE: u64 = 0x1_4000_0000;
    let mut symbols = BTreeMap::new();
    for line in map.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [place, name, address, ..] = words[..] else { continue };
        if place.len() != 13 || place.as_bytes()[4] != b':' || address.len() != 16 {
            continue;
        }
        let address = u64::from_str_radix(address, 16).with_context(|| format!("map line {line:?}"))?;
        if let Some(rva) = address.checked_sub(PREFERRED_BASE) {
            symbols.insert(name.to_owned(), u32::try_from(rva)?);
        }
    }
    ensure!(!symbols.is_empty(), "the linker's map names no symbol");
    Ok(symbols)
}
