//! The dynamic relocation table's branch records, read without pe-image.

use anyhow::{Context, Result, ensure};
use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _};

/// A record of symbol 3, 4 or 5: RVA of its site, and the bits that the record has.
#[derive(Clone, Copy)]
pub enum Record {
    /// Symbol 3.
    Import { rva: u32, call: bool, index: u32 },
    /// Symbol 4.
    Indirect { rva: u32, call: bool, rex: bool, cfg: bool },
    /// Symbol 5.
    Switch { rva: u32, register: u8 },
}

/// The table's records, read without pe-image, and the number of padding records.
pub fn records(bytes: &[u8]) -> Result<(Vec<Record>, u64)> {
    let pe = PeFile64::parse(bytes)?;
    let sections: Vec<_> = pe.sections().collect();
    let base = pe.relative_address_base();
    let at = |rva: u32| {
        let section =
            sections.iter().find(|s| (s.address()..s.address() + s.size()).contains(&(base + u64::from(rva))));
        let section = section.with_context(|| format!("no section at {rva:#x}"))?;
        Ok::<_, anyhow::Error>(&section.data()?[(base + u64::from(rva) - section.address()) as usize..])
    };
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let Some(directory) = pe.data_directory(object::pe::IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG) else {
        return Ok((Vec::new(), 0));
    };
    let config = at(directory.virtual_address.get(object::LittleEndian))?;
    let number = usize::from(u16::from_le_bytes([config[0xe4], config[0xe5]]));
    if u32_at(config, 0) < 0xe6 || number == 0 {
        return Ok((Vec::new(), 0));
    }
    let table = &sections[number - 1].data()?[u32_at(config, 0xe0) as usize..];
    ensure!(u32_at(table, 0) == 1, "version {}", u32_at(table, 0));
    let (mut out, mut padding) = (Vec::new(), 0);
    let mut rest = &table[8..8 + u32_at(table, 4) as usize];
    while !rest.is_empty() {
        let (symbol, size) = (u32_at(rest, 0), u32_at(rest, 8) as usize);
        let mut blocks = &rest[12..12 + size];
        rest = &rest[12 + size..];
        while (3..=5).contains(&symbol) && u32_at(rest_or(blocks), 4) != 0 {
            let (page, size) = (u32_at(blocks, 0), u32_at(blocks, 4) as usize);
            let width = if symbol == 3 { 4 } else { 2 };
            for (number, raw) in blocks[8..size].chunks_exact(width).enumerate() {
                let raw = if width == 4 { u32_at(raw, 0) } else { u32::from(raw[0]) | u32::from(raw[1]) << 8 };
                if number != 0 && raw & 0xfff == 0 {
                    padding += 1;
                    continue;
                }
                let (rva, bit) = (page + (raw & 0xfff), |number: u32| raw >> number & 1 == 1);
                out.push(match symbol {
                    3 => Record::Import { rva, call: bit(12), index: raw >> 13 },
                    4 => Record::Indirect { rva, call: bit(12), rex: bit(13), cfg: bit(14) },
                    _ => Record::Switch { rva, register: (raw >> 12) as u8 },
                });
            }
            blocks = &blocks[size..];
        }
    }
    Ok((out, padding))
}

/// Zeros in place of nothing, so that the end of the blocks reads as a block of no size.
fn rest_or(blocks: &[u8]) -> &[u8] {
    if blocks.is_empty() { &[0; 8] } else { blocks }
}
