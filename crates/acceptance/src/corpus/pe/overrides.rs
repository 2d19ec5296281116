//! Function overrides of real files against the counts, sites and diagrams that were measured in them, the walks through the
//! diagrams, the bytes that come of them, and calls that running kernels had re-pointed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use pe_image::{
    Bdd, Capabilities, Fixups, MappedImage, OverrideTarget, PeFile, Policy, Rva, SiteForm, Symbol, Va, recognise,
};
use sha2::{Digest, Sha256};
use xtask::outcome::Outcome;

/// The vectors, relative to the samples.
const VECTORS: &str = "../specs/vectors/function-overrides.tsv";

/// Every row; files that are not among the samples are counted as skipped.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let path = data.join(VECTORS);
    if !path.is_file() {
        return Ok(Outcome::skip(format!("corpus pe: no vectors, {} is missing", path.display())));
    }
    let files = by_digest(&data.join("pe"))?;
    let text = fs::read_to_string(&path)?;
    let (mut absent, mut tables, mut calls) = (0, 0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let columns: Vec<&str> = line.split('\t').collect();
        let checked = match columns[..] {
            ["override", _, digest, ..] => match files.get(digest) {
                Some(path) => {
                    tables += 1;
                    check_override(&columns, path)
                }
                None => {
                    absent += 1;
                    continue;
                }
            },
            ["call", ..] => {
                calls += 1;
                check_call(&columns)
            }
            _ => bail!("{line}: neither override nor call"),
        };
        match checked {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("function-overrides.tsv: {line}: {error:#}")),
        }
    }
    if absent > 0 {
        outcome.add_skip(format!("corpus pe: {absent} overrides of files that are not among the samples"));
    }
    println!("function overrides: {tables} tables, {calls} calls, {absent} of files that are not at hand");
    Ok(outcome)
}

/// The samples by SHA-256, in lower-case hexadecimal.
fn by_digest(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut out = BTreeMap::new();
    for folder in fs::read_dir(root)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder)? {
            let file = file?.path();
            if file.is_file() {
                out.insert(digest(&fs::read(&file)?), file);
            }
        }
    }
    Ok(out)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &str) -> Result<u64> {
    u64::from_str_radix(text, 16).with_context(|| format!("{text:?} is not a number"))
}

fn check_override(columns: &[&str], path: &Path) -> Result<()> {
    let [
        _,
        _,
        _,
        _,
        _,
        size,
        payload,
        index,
        original,
        alternatives,
        sites,
        jumps,
        first,
        last,
        straddling,
        sum,
        offset,
        nodes,
    ] = columns[..]
    else {
        bail!("18 columns expected");
    };
    let bytes = fs::read(path)?;
    let file = PeFile::parse(&bytes)?;
    ensure!(u64::from(file.headers().size_of_image) == hex(size)?, "another SizeOfImage");
    let table = file.dvrt()?.context("no dynamic relocation table")?;
    let entry = table.entries_of(Symbol::FUNCTION_OVERRIDE).next().context("no function overrides")?;
    ensure!(entry.payload.len() == payload.parse::<usize>()?, "payload of {} bytes", entry.payload.len());
    let Fixups::FunctionOverrides(overrides) = entry.fixups() else { bail!("read as something else") };
    let overrides = overrides?;
    overrides.check(file.headers())?;
    let item = overrides.overrides.get(index.parse::<usize>()?).context("no such override")?;
    ensure!(u64::from(item.original.0) == hex(original)?, "original {}", item.original);
    let found: Vec<_> = item.alternatives.iter().map(|rva| format!("{:x}", rva.0)).collect();
    ensure!(found.join(",") == alternatives, "alternatives {found:?}");

    let found: Vec<u32> = item.sites().map(|site| site.map(|site| site.rva.0)).collect::<Result<_, _>>()?;
    let code = |site: u32| {
        let mut bytes = [0; 5];
        file.read(Rva(site - 1), &mut bytes);
        bytes
    };
    let found_jumps = found.iter().filter(|&&site| code(site)[0] == 0xe9).count();
    let across = found.iter().filter(|&&site| site % 0x1000 > 0xffc).count();
    ensure!(found.len() == sites.parse::<usize>()?, "{} sites", found.len());
    ensure!(
        found_jumps == jumps.parse::<usize>()? && across == straddling.parse::<usize>()?,
        "{found_jumps} jumps, {across} across pages"
    );
    let ends = (found.first().copied().map(u64::from), found.last().copied().map(u64::from));
    ensure!(ends == (Some(hex(first)?), Some(hex(last)?)), "sites from {ends:x?}");
    for &site in &found {
        let [opcode, distance @ ..] = code(site);
        let leads_to = site.wrapping_add(4).wrapping_add(u32::from_le_bytes(distance));
        ensure!(matches!(opcode, 0xe8 | 0xe9) && leads_to == item.original.0, "another branch at {site:#x}");
    }
    let text: Vec<_> = found.iter().map(|site| format!("{site:x}")).collect();
    ensure!(digest(text.join(",").as_bytes())[..16] == *sum, "another digest of the sites");

    ensure!(u64::from(item.bdd_offset) == hex(offset)?, "diagram at {:#x}", item.bdd_offset);
    let bdd = overrides.bdd(item)?;
    let found: Vec<_> = bdd.nodes.iter().map(|node| format!("{}:{}:{:x}", node.left, node.right, node.value)).collect();
    ensure!(found.join(" ") == nodes, "nodes {found:?}");
    walks(&bdd, nodes)?;
    let sites: Vec<u32> = item.sites().map(|site| site.map(|site| site.rva.0)).collect::<Result<_, _>>()?;
    applied(&file, index.parse()?, &item.alternatives, &sites)
}

/// Each walk of which the outcome is written down: the capabilities that are set, and what is chosen.
fn walks(bdd: &Bdd, nodes: &str) -> Result<()> {
    use OverrideTarget::{Alternative, Original, System};
    let expected: &[(&[u32], OverrideTarget)] = match nodes {
        "2:1:0 1:1:0 4:3:13b 3:3:1 0:0:0" => {
            &[(&[], Original), (&[0x13b], Alternative(1)), (&[0, 0x13b], Alternative(0)), (&[0x142], Original)]
        }
        "2:1:142 1:1:0 0:0:0" => {
            &[(&[], Original), (&[0x13b], Original), (&[0, 0x13b], Original), (&[0x142], System(0x142))]
        }
        _ => &[(&[], Original), (&[0x13b], Alternative(4)), (&[0x142], Original)],
    };
    for (set, target) in expected {
        let choice = bdd.choose(&Capabilities::exactly(set), |capability| capability == 0x142);
        ensure!(choice.target == *target && choice.assumed.is_empty(), "{set:x?}: {choice:?}");
    }
    Ok(())
}

/// Whatever is chosen, the calls lead there.
fn applied(file: &PeFile<'_>, number: u32, alternatives: &[Rva], sites: &[u32]) -> Result<()> {
    const BASE: u64 = 0xffff_f804_3000_0000;
    let policy = Policy::AS_LINKED.with_function_overrides(true);
    for set in [&[][..], &[0x13b], &[0, 0x13b]] {
        let image = MappedImage::new(file.clone(), BASE, policy).with_capabilities(&Capabilities::exactly(set));
        let linked = image.clone().with_policy(Policy::AS_LINKED);
        let choice = image.overrides().into_iter().nth(number as usize).context("no such override")?;
        let target = match choice.choice.target {
            OverrideTarget::Alternative(number) => alternatives[number as usize],
            _ => choice.original,
        };
        for &site in sites {
            let distance = target.0.wrapping_sub(site + 4).to_le_bytes();
            ensure!(*image.bytes(Rva(site), 4) == distance, "{set:x?}: the call at {site:#x} leads elsewhere");
            ensure!(image.bytes(Rva(site - 1), 1) == linked.bytes(Rva(site - 1), 1), "another opcode at {site:#x}");
        }
        let changed = image.override_counts().applied > 0;
        ensure!(target == choice.original || changed, "{set:x?}: nothing was applied");
    }
    Ok(())
}

/// `call boot place site bytes target name`
fn check_call(columns: &[&str]) -> Result<()> {
    let [_, _, _, site, bytes, target, _] = columns[..] else { bail!("7 columns expected") };
    let bytes: Vec<u8> =
        (0..bytes.len()).step_by(2).map(|at| Ok(hex(&bytes[at..at + 2])? as u8)).collect::<Result<_>>()?;
    let expected = SiteForm::Branch { call: true, target: Va(hex(target)?) };
    let form = recognise(&bytes, hex(site)?);
    ensure!(form == Some(expected), "read as {form:x?}");
    Ok(())
}
