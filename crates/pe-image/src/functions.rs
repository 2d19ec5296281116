//! The tables that say where functions are: the exception directory and the function table of Control Flow Guard.
//!
//! ```text
//! x64:    u32 BeginAddress | u32 EndAddress | u32 UnwindInfoAddress
//! ARM64:  u32 BeginAddress | u32 unwind data: flag:2 (0: an RVA of .xdata), else flag:2, length:11, …
//! .xdata: length:18, …                           lengths count instructions of 4 bytes
//! CFG:    u32 RVA | as many bytes of flags as the upper 4 bits of GuardFlags say
//! ```

use crate::addr::Rva;
use crate::bytes;
use crate::directory::DirectoryKind;
use crate::error::Result;
use crate::exports::{Export, Exports};
use crate::file::PeFile;
use crate::header::Machine;

/// A function that the exception directory lists, or a part of one: a function whose code is not in one piece has an
/// entry for each piece. Leaf functions, which need no unwind data, have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RuntimeFunction {
    /// The first byte.
    pub begin: Rva,
    /// One past the last byte; always greater than `begin`.
    pub end: Rva,
}

/// A function that Control Flow Guard allows as the target of an indirect call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GuardFunction {
    /// The first byte.
    pub rva: Rva,
    /// IMAGE_GUARD_FLAG_* of winnt.h; 0 where the table has no flags.
    pub flags: u8,
}

impl PeFile<'_> {
    /// The functions of the exception directory, ascending. Entries of no length are left out. Empty when the file has
    /// no such directory, and on machines other than x64 and ARM64.
    ///
    /// # Errors
    /// When the directory does not lie in the file.
    pub fn runtime_functions(&self) -> Result<Vec<RuntimeFunction>> {
        let Some(directory) = self.headers().directory(DirectoryKind::Exception) else { return Ok(Vec::new()) };
        let table = self.bytes_at(directory.rva, directory.size, "exception directory")?;
        let word = |entry: &[u8], at| bytes::u32_at(entry, at).unwrap_or(0);
        let mut functions: Vec<RuntimeFunction> = match self.headers().machine {
            Machine::X64 => {
                let function = |entry: &[u8]| RuntimeFunction { begin: Rva(word(entry, 0)), end: Rva(word(entry, 4)) };
                table.chunks_exact(12).map(function).collect()
            }
            Machine::ARM64 => {
                let function = |entry: &[u8]| {
                    let begin = Rva(word(entry, 0));
                    let end = begin.checked_add(self.arm64_length(word(entry, 4))?)?;
                    Some(RuntimeFunction { begin, end })
                };
                table.chunks_exact(8).filter_map(function).collect()
            }
            _ => Vec::new(),
        };
        functions.retain(|function| function.begin < function.end);
        functions.sort_unstable();
        Ok(functions)
    }

    /// The length in bytes of the ARM64 function with that word of unwind data.
    fn arm64_length(&self, unwind: u32) -> Option<u32> {
        let instructions = match unwind & 3 {
            0 => bytes::u32_at(self.bytes_from(Rva(unwind)), 0)? & 0x3_ffff,
            1 | 2 => unwind >> 2 & 0x7ff,
            _ => return None,
        };
        Some(4 * instructions)
    }

    /// Where functions start that have a name or an address taken: those of the export table and of the Control Flow Guard
    /// table, in no order, and some twice. A table that cannot be read lists nothing.
    pub fn listed_functions(&self) -> Vec<Rva> {
        let exports = self.exports().ok().flatten();
        let exported = exports.iter().flat_map(Exports::iter).filter_map(|(_, export)| match export {
            Export::Rva(rva) => Some(rva),
            Export::Forwarder(_) => None,
        });
        let guarded = self.guard_functions().unwrap_or_default();
        exported.chain(guarded.iter().map(|function| function.rva)).collect()
    }

    /// The functions that Control Flow Guard knows (GuardCFFunctionTable): every one whose address is taken. In table
    /// order, which linkers make ascending. Empty when the file has no such table.
    ///
    /// # Errors
    /// What [`load_config`](Self::load_config) says, or when the table does not lie in the file.
    pub fn guard_functions(&self) -> Result<Vec<GuardFunction>> {
        const STRUCTURE: &str = "GuardCFFunctionTable";
        let Some(config) = self.load_config()? else { return Ok(Vec::new()) };
        let Some(table) = config.guard_function_table else { return Ok(Vec::new()) };
        let stride = 4 + config.guard_function_stride();
        // A table of more than 4 GiB is in no file.
        let size = config.guard_function_count.saturating_mul(stride.into()).min(u32::MAX.into()) as u32;
        let table = self.bytes_at(table, size, STRUCTURE)?;
        let function = |entry: &[u8]| {
            let rva = Rva(bytes::u32_at(entry, 0)?);
            Some(GuardFunction { rva, flags: entry.get(4).copied().unwrap_or(0) })
        };
        Ok(table.chunks_exact(stride as usize).filter_map(function).collect())
    }
}
