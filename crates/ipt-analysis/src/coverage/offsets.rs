//! Coverage as text: `ntfs.sys+1a2b0`, a line for each block, as Lighthouse and scripts read it.

use std::io::{self, Write};

use super::CoveredModule;

/// Writes a line for each block, module by module, and says how many there are.
///
/// # Errors
/// Those of `out`.
pub fn write_offsets(out: &mut impl Write, modules: &[CoveredModule]) -> io::Result<usize> {
    let mut count = 0;
    for module in modules {
        let name: String = module.name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        for (offset, _) in &module.blocks {
            writeln!(out, "{name}+{offset:x}")?;
            count += 1;
        }
    }
    Ok(count)
}
