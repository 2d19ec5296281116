//! Writes a driver to disk as the kernel has it in memory: relocated, bound, with its import calls made direct.
//!
//! ```text
//! cargo run -p pe-image --example patched_image -- out.sys tcpip.sys@0xfffff80430000000 ntoskrnl.exe netio.sys …
//! ```
//!
//! The first file is written; the second is the driver; the others are the modules it imports from. A module without a
//! base gets one after the module before it. What is written is a PE file again, with the layout of the driver's:
//! a disassembler that loads it at its ImageBase shows the code that ran.

use std::error::Error;

use pe_image::{Module, ModuleId, Modules, PAGE_SIZE, PeFile, Policy};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(out), files) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        return Err("usage: patched_image OUTPUT DRIVER[@BASE] [MODULE[@BASE]]…".into());
    };
    if files.is_empty() {
        return Err("usage: patched_image OUTPUT DRIVER[@BASE] [MODULE[@BASE]]…".into());
    }
    let mut read = Vec::new();
    for argument in &files {
        let (path, base) = match argument.rsplit_once("@0x") {
            Some((path, base)) => (path, Some(u64::from_str_radix(base, 16)?)),
            None => (argument.as_str(), None),
        };
        read.push((path, base, std::fs::read(path).map_err(|error| format!("{path}: {error}"))?));
    }
    let mut parsed = Vec::new();
    let mut next = 0xffff_f804_3000_0000;
    for (path, base, bytes) in &read {
        let file = PeFile::parse(bytes).map_err(|error| format!("{path}: {error}"))?;
        let base = base.unwrap_or(next);
        next = base + u64::from(file.headers().size_of_image.next_multiple_of(16 * PAGE_SIZE));
        parsed.push((path.rsplit(['/', '\\']).next().unwrap_or_default(), base, file));
    }
    let modules = Modules::new(parsed.iter().map(|(name, base, file)| Module::new(*name, *base, file.clone())));
    let image = modules.image(ModuleId(0), Policy::default()).expect("every module here has a file");
    std::fs::write(&out, image.patched_file()).map_err(|error| format!("{out}: {error}"))?;

    for warning in image.warnings() {
        eprintln!("warning: {warning}");
    }
    let counts = image.counts();
    println!(
        "{out}: at {}, {} of {} import calls direct, {} relocations",
        image.base(),
        counts.import.optimized,
        counts.import.listed,
        counts.relocations
    );
    Ok(())
}
