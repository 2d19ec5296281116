//! Prints the import call sites of a driver, and what the kernel makes of each.
//!
//! ```text
//! cargo run -p pe-image --example import_sites -- tcpip.sys@0xfffff80430000000 ntoskrnl.exe netio.sys …
//! ```
//!
//! The first file is the driver whose sites are printed; the others are the modules it imports from. A module without a
//! base gets one after the module before it.

use std::error::Error;
use std::io::Write;

use pe_image::{Module, ModuleId, Modules, Outcome, PAGE_SIZE, PeFile, Policy, SiteKind};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        return Err("usage: import_sites DRIVER[@BASE] [MODULE[@BASE]]…".into());
    }
    let mut files = Vec::new();
    for argument in &arguments {
        let (path, base) = match argument.rsplit_once("@0x") {
            Some((path, base)) => (path, Some(u64::from_str_radix(base, 16)?)),
            None => (argument.as_str(), None),
        };
        files.push((path, base, std::fs::read(path).map_err(|error| format!("{path}: {error}"))?));
    }
    let mut parsed = Vec::new();
    for (path, base, bytes) in &files {
        parsed.push((path, *base, PeFile::parse(bytes).map_err(|error| format!("{path}: {error}"))?));
    }

    // Every module at its base; one without a base goes after the previous one.
    let mut next = 0xffff_f804_3000_0000;
    let modules = Modules::new(parsed.iter().map(|(path, base, file)| {
        let base = base.unwrap_or(next);
        next = base + u64::from(file.headers().size_of_image.next_multiple_of(16 * PAGE_SIZE));
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        Module::new(name, base, file.clone())
    }));

    let binding = modules.bind(ModuleId(0));
    let image = modules.image(ModuleId(0), Policy::default()).expect("every module here has a file");
    let mut out = std::io::stdout().lock();
    for site in image.sites() {
        let SiteKind::Import { call, .. } = site.kind else { continue };
        let kind = if call { "call" } else { "jump" };
        let import =
            binding.import_of(&site).map_or("(no slot)".to_owned(), |slot| format!("{}!{}", slot.dll, slot.name));
        let outcome = match &site.outcome {
            Outcome::Direct(target) => {
                let exporter = modules.module(target.module).map_or("?", |module| &module.name);
                format!("{} ({exporter} + {})", target.address, target.rva)
            }
            other => other.to_string(),
        };
        writeln!(out, "{:#x} {kind} {import} -> {outcome}", image.address(site.rva))?;
    }
    for slot in binding.unresolved() {
        let reason = slot.result.as_ref().expect_err("only what is unresolved is listed");
        eprintln!("unresolved: {}!{}: {reason}", slot.dll, slot.name);
    }
    for warning in image.warnings() {
        eprintln!("warning: {warning}");
    }
    eprintln!("{:?}", image.counts());
    Ok(())
}
