//! The log format of DynamoRIO's drcov, version 2 (drcov.c in DynamoRIO's clients; the same is what Lighthouse's documentation
//! asks for): text lines, and then a binary table.
//!
//! ```text
//! DRCOV VERSION: 2
//! DRCOV FLAVOR: drcov
//! Module Table: version 2, count 1
//! Columns: id, base, end, entry, checksum, timestamp, path
//!   0, 0xfffff80011110000, 0xfffff80011118000, 0x0000000000000000, 0x0000c0de, 0x600f1000, \SystemRoot\System32\a.sys
//! BB Table: 2 bbs
//! u32 offset from base · u16 size · u16 id      eight bytes for each block, little-endian
//! ```

use std::io::{self, Write};

use super::CoveredModule;

/// Writes what ran of `modules`, and says how many blocks there are. Modules beyond 65,536, which the format cannot number, are
/// left out.
///
/// # Errors
/// Those of `out`.
pub fn write_drcov(out: &mut impl Write, modules: &[CoveredModule]) -> io::Result<usize> {
    let modules = &modules[..modules.len().min(1 << 16)];
    let count: usize = modules.iter().map(|module| module.blocks.len()).sum();
    // The names of drcov's own tool, which readers look for.
    writeln!(out, "DRCOV VERSION: 2\nDRCOV FLAVOR: drcov")?;
    writeln!(out, "Module Table: version 2, count {}", modules.len())?;
    writeln!(out, "Columns: id, base, end, entry, checksum, timestamp, path")?;
    for (id, module) in modules.iter().enumerate() {
        let (base, end) = (module.base, module.base.saturating_add(module.size));
        let (checksum, timestamp) = (module.checksum, module.timestamp);
        // A line break in a path would end the row.
        let path: String = module.path.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        writeln!(out, "{id:3}, {base:#018x}, {end:#018x}, {:#018x}, {checksum:#010x}, {timestamp:#010x}, {path}", 0)?;
    }
    writeln!(out, "BB Table: {count} bbs")?;
    for (id, module) in (0_u16..).zip(modules) {
        for (offset, size) in &module.blocks {
            out.write_all(&offset.to_le_bytes())?;
            out.write_all(&size.to_le_bytes())?;
            out.write_all(&id.to_le_bytes())?;
        }
    }
    Ok(count)
}
