//! The generated system: drivers, a kernel and a HAL, compiled from `crates/acceptance/modules/*.c` with clang and lld-link.
//!
//! The point of compiling them is the PDB: everything in it was written by a tool that is not ours. What is true of
//! the system is known from the linker's map and the assembler's list of sites, and so without any crate under test.

mod build;
mod image;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

pub use self::build::symbols as map_symbols;
pub use self::build::system as build;
pub use self::image::{Image, PdbId};

/// One module of the generated system.
#[derive(Clone, Debug)]
pub struct Module {
    /// The file, as it is after its relocation table was filled in.
    pub image: Image,
    /// Where the trace says it was loaded.
    pub base: u64,
    /// RVAs of functions and variables, from the linker's map.
    pub symbols: BTreeMap<String, u32>,
    /// RVAs of the import sites, ascending.
    pub sites: Vec<u32>,
    /// Where the PDB lies.
    pub pdb: PathBuf,
}

impl Module {
    /// The module's name in a debugger: the file name without its extension.
    pub fn name(&self) -> String {
        self.image.name().split('.').next().unwrap_or_default().to_owned()
    }

    /// The address of a symbol.
    pub fn address(&self, symbol: &str) -> Result<u64> {
        let rva = self.symbols.get(symbol).with_context(|| format!("{} has no symbol {symbol}", self.image.name()))?;
        Ok(self.base + u64::from(*rva))
    }

    /// The address of the first import site at or after a symbol.
    pub fn site_in(&self, symbol: &str) -> Result<u64> {
        let start = self.address(symbol)? - self.base;
        let site = self.sites.iter().find(|rva| u64::from(**rva) >= start);
        Ok(self.base + u64::from(*site.with_context(|| format!("{}: no site after {symbol}", self.image.name()))?))
    }
}

/// The whole generated system.
#[derive(Clone, Debug)]
pub struct System {
    /// Where the image files lie, and nothing else: what `--modules` is given.
    pub dir: PathBuf,
    /// Its modules, in the order of the recipes.
    pub modules: Vec<Module>,
}

impl System {
    /// A module by file name.
    pub fn module(&self, file: &str) -> Result<&Module> {
        self.modules.iter().find(|module| module.image.name() == file).with_context(|| format!("no module {file}"))
    }

    /// Every kind of import site that the sources hold, with what it must become in memory.
    pub fn sites(&self) -> Result<Vec<Site>> {
        // Module, function, the module and function that it reaches; HAL names end in the kernel.
        const SITES: &[(&str, &str, &str, &str)] = &[
            ("mkfilter.sys", "CallKernel", "ntoskrnl.exe", "NtCreateFile"),
            ("mkfilter.sys", "CallHal", "ntoskrnl.exe", "KeQueryPerformanceCounter"),
            ("mkfilter.sys", "CallDriver", "mklib.sys", "LibAdd"),
            ("mkfilter.sys", "CallOrdinal", "mklib.sys", "LibByOrdinal"),
            ("mkfilter.sys", "JumpKernel", "ntoskrnl.exe", "IofCompleteRequest"),
            ("mkfilter.sys", "CallAcrossPage", "ntoskrnl.exe", "ExAllocatePoolWithTag"),
            ("mklib.sys", "DriverEntry", "ntoskrnl.exe", "ExAllocatePoolWithTag"),
            ("ntoskrnl.exe", "KiInitializeDebugger", "kdcom.dll", "KdDebuggerInitialize0"),
            ("mkfar.sys", "CallFar", "ntoskrnl.exe", "NtCreateFile"),
        ];
        SITES
            .iter()
            .map(|&(file, function, target_file, target)| {
                let module = self.module(file)?;
                let address = module.site_in(function)?;
                let target_module = self.module(target_file)?;
                let reached = target_module.address(target)?;
                let linked: [u8; 12] = module.image.at(u32::try_from(address - module.base)?)?;
                Ok(Site {
                    module: module.name(),
                    address,
                    target: format!("{}!{target}", target_module.name()),
                    reached,
                    bytes: direct(linked, address, reached).unwrap_or(linked),
                    is_direct: direct(linked, address, reached).is_some(),
                    is_jump: linked[2] == 0x25,
                })
            })
            .collect()
    }
}

/// An import site as it must be in the memory of a kernel with import optimization on.
#[derive(Clone, Debug)]
pub struct Site {
    /// The module's name in a debugger.
    pub module: String,
    /// Where the site begins.
    pub address: u64,
    /// What it reaches: `module!function`.
    pub target: String,
    /// Where that lies.
    pub reached: u64,
    /// Its twelve bytes.
    pub bytes: [u8; 12],
    /// Whether the target is near enough; a site whose target is not stays as linked.
    pub is_direct: bool,
    /// A jump, not a call.
    pub is_jump: bool,
}

/// The direct form: `4C 8B 15 disp32 E8|E9 rel32`, with the displacement as linked.
fn direct(linked: [u8; 12], address: u64, reached: u64) -> Option<[u8; 12]> {
    let distance = i32::try_from(reached.wrapping_sub(address + 12).cast_signed()).ok()?;
    let mut bytes = linked;
    bytes[..3].copy_from_slice(&[0x4c, 0x8b, 0x15]);
    bytes[7] = if linked[2] == 0x15 { 0xe8 } else { 0xe9 };
    bytes[8..].copy_from_slice(&distance.to_le_bytes());
    Some(bytes)
}
