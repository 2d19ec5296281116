//! The `minidump` crate of rust-minidump, the reader below minidump-stackwalk, in this process.

use anyhow::{Result, anyhow};
use minidump::{Minidump, MinidumpModuleList, Module};
use xtask::tools::Found;

use super::{Reading, Subject};

/// Reads the module list and the memory list, whichever of the two kinds it is.
pub fn read(subject: &Subject) -> Result<Found<Reading>> {
    let dump = Minidump::read_path(&subject.dump).map_err(|error| anyhow!("{error}"))?;
    let modules = dump.get_stream::<MinidumpModuleList>().map_err(|error| anyhow!("module list: {error}"))?;
    let memory = dump.get_memory().ok_or_else(|| anyhow!("no memory list"))?;
    let mut reading = Reading { version: version(), ..Reading::default() };
    for module in modules.iter() {
        let size = u32::try_from(module.size())?;
        reading.modules.insert(module.base_address(), (Some(size), module.code_file().into_owned()));
        if let Some(id) = module.debug_identifier() {
            reading.pdbs.insert(module.base_address(), id.breakpad().to_string());
        }
    }
    for &(address, length) in &subject.probes {
        let Some(range) = memory.memory_at_address(address) else { continue };
        let bytes = range.bytes().get(usize::try_from(address - range.base_address())?..).unwrap_or_default();
        reading.bytes.insert(address, bytes.get(..length).unwrap_or(bytes).to_vec());
    }
    Ok(Ok(reading))
}

/// The version in the lock file: the crate does not tell its own.
fn version() -> String {
    let lock = std::fs::read_to_string(xtask::paths::root().join("Cargo.lock")).unwrap_or_default();
    let entry = lock.split("name = \"minidump\"\nversion = \"").nth(1).unwrap_or_default();
    entry.split('"').next().unwrap_or_default().to_owned()
}
