//! Branches that were seen in running kernels: from their bytes to form, slot and target. (The other way, from slots and
//! targets to bytes, is among pe-image's own tests.)

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use pe_image::{SiteForm, Va, recognise, stub_offset};
use serde_json::Value;
use xtask::outcome::Outcome;

/// The vectors, relative to the samples.
const VECTORS: &str = "../specs/vectors";

/// Both vector files.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let dir = data.join(VECTORS);
    if !dir.is_dir() {
        return Ok(Outcome::skip(format!("corpus pe: no vectors, {} is missing", dir.display())));
    }
    let text = fs::read_to_string(dir.join("import-sites.tsv"))?;
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &lines {
        match check_line(line) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("import-sites.tsv: {line}: {error:#}")),
        }
    }
    let truth: Value = serde_json::from_slice(&fs::read(dir.join("ground-truth-19041.json"))?)?;
    let sites = truth["sites"].as_array().context("no sites")?;
    for site in sites {
        match check_truth(site, truth["modules"].as_array().context("no modules")?) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("ground truth: {site}: {error:#}")),
        }
    }
    println!("{} + {} vectors", lines.len(), sites.len());
    Ok(outcome)
}

fn hex(text: &str) -> Result<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).with_context(|| format!("{text:?} is no number"))
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| Ok(hex(text.get(at..at + 2).context("half a byte")?)? as u8)).collect()
}

/// `kind site slot target bytes import`
fn check_line(line: &str) -> Result<()> {
    let columns: Vec<&str> = line.split('\t').collect();
    let ["call", site, slot, target, after, _] = columns[..] else { bail!("six columns expected") };
    let expected = SiteForm::ImportDirect { call: true, slot: Va(hex(slot)?), target: Va(hex(target)?) };
    let form = recognise(&bytes(after)?, hex(site)?);
    ensure!(form == Some(expected), "read as {form:x?}");
    Ok(())
}

fn check_truth(site: &Value, modules: &[Value]) -> Result<()> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
    let (va, rva) = (hex(&text(site, "site_va")?)?, hex(&text(site, "site_rva")?)?);
    let base = va - rva;
    let module = modules.iter().find(|module| text(module, "base").is_ok_and(|text| hex(&text).ok() == Some(base)));
    let size = hex(&text(module.context("no module at the site's base")?, "size")?)? as u32;
    let form = recognise(&bytes(&text(site, "after")?)?, va).context("not recognised")?;
    let (call, slot) = match form {
        SiteForm::ImportDirect { call, slot, .. } => (call, Some(slot)),
        SiteForm::Indirect { call, .. } => (call, None),
        SiteForm::Switch { .. } => (true, None),
        other => bail!("read as {other:x?}"),
    };
    let kind = match (call, slot.is_some(), matches!(form, SiteForm::Switch { .. })) {
        (true, true, _) => "import-call",
        (false, true, _) => "import-jmp",
        (true, false, false) => "indirect-cfg-rax",
        (true, false, true) => "switch-rcx",
        _ => "?",
    };
    ensure!(kind == text(site, "kind")?, "read as {form:x?}");
    if let Some(slot) = slot {
        ensure!(slot.0 - base == hex(&text(site, "iat_slot_rva")?)?, "read as {form:x?}");
    }
    let target = form.target().context("no target")?;
    let (wanted, offset) = (text(site, "target_module")?, hex(&text(site, "target_off")?)?);
    if wanted.ends_with("+END") {
        ensure!(stub_offset(base, size, target).map(u64::from) == Some(offset), "read as {form:x?}");
    } else {
        let found = modules.iter().find(|module| {
            let range = || Some((hex(&text(module, "base").ok()?).ok()?, hex(&text(module, "size").ok()?).ok()?));
            range().is_some_and(|(base, size)| target.0 == base + offset && offset < size)
        });
        let path = text(found.context("the target is in no module")?, "path")?;
        ensure!(path.rsplit('\\').next() == Some(&wanted), "the target is in {path}");
    }
    Ok(())
}
