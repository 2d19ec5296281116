//! Listed branches: their bytes as a linker writes them, and their records.

use crate::Asm;
use crate::image::dynamic::by_page;
use crate::image::rdata::Rdata;
use crate::image::{ARM64, Driver, Entry, SiteSpec};

/// The bytes of a site as a linker writes them.
pub(super) fn linked_site(
    driver: &Driver,
    rva: u32,
    site: SiteSpec,
    rdata: &Rdata<'_>,
    section_rvas: &[u32],
) -> Vec<u8> {
    let mut asm = Asm::new();
    let to = |target: u32, end: u32| target.wrapping_sub(rva + end) as i32;
    assert!(driver.machine != ARM64, "sites of ARM64 images are given as raw bytes");
    match site {
        SiteSpec::Import { call, .. } | SiteSpec::NoIndex { call, .. } => {
            let pointer = match site {
                SiteSpec::Import { import, .. } => rdata.slots[import],
                SiteSpec::NoIndex { pointer, .. } => section_rvas[pointer.0] + pointer.1,
                _ => unreachable!("matched above"),
            };
            asm.bytes(&[0x48, 0xff, if call { 0x15 } else { 0x25 }]).i32(to(pointer, 7));
            asm.bytes(if call { &[0x0f, 0x1f, 0x44, 0, 0] } else { &[0xcc; 5] });
        }
        SiteSpec::Indirect { call, rex, cfg } => {
            if rex {
                asm.u8(0x48);
            }
            if cfg {
                let end = 6 + u32::from(rex);
                asm.bytes(&[0xff, if call { 0x15 } else { 0x25 }]).i32(to(rdata.cfg_pointer, end));
            } else if call {
                asm.bytes(&[0xff, 0xd0, 0x0f, 0x1f, 0x00]);
            } else {
                asm.bytes(&[0xff, 0xe0]).pad_to(5, 0xcc);
            }
        }
        SiteSpec::Switch(register @ 0..8) => {
            asm.bytes(&[0xff, 0xe0 + register]).pad_to(6, 0xcc);
        }
        SiteSpec::Switch(register) => {
            asm.bytes(&[0x41, 0xff, 0xe0 + register - 8]).pad_to(6, 0xcc);
        }
    }
    asm.finish()
}

/// Records by symbol: RVA, and the bits above the offset.
#[derive(Default)]
pub(super) struct SiteRecords {
    imports: Vec<(u32, u32)>,
    indirect: Vec<(u32, u32)>,
    switches: Vec<(u32, u32)>,
}

impl SiteRecords {
    pub(super) fn add(&mut self, rva: u32, site: SiteSpec, indexes: &[u32]) {
        match site {
            SiteSpec::Import { call, import } => {
                self.imports.push((rva, u32::from(call) << 12 | indexes[import] << 13));
            }
            SiteSpec::NoIndex { call, .. } => self.imports.push((rva, u32::from(call) << 12 | 0x7_ffff << 13)),
            SiteSpec::Indirect { call, rex, cfg } => {
                let bits = u32::from(call) | u32::from(rex) << 1 | u32::from(cfg) << 2;
                self.indirect.push((rva, bits << 12));
            }
            SiteSpec::Switch(register) => self.switches.push((rva, u32::from(register) << 12)),
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let all = [(3, &self.imports, 4), (4, &self.indirect, 2), (5, &self.switches, 2)];
        let present = all.into_iter().filter(|(_, records, _)| !records.is_empty());
        present.map(|(symbol, records, width)| Entry { symbol, payload: by_page(records, width) }).collect()
    }
}

/// `movw r1, #low; movt r1, #high`: encodings T3 and T1 of the ARMv7 manual, bit by bit.
pub(super) fn thumb_moves(address: u32) -> [u8; 8] {
    let mut out = [0; 8];
    for (number, (opcode, immediate)) in
        [(0b0010_0100, address & 0xffff), (0b0010_1100, address >> 16)].into_iter().enumerate()
    {
        let (imm4, i) = (immediate >> 12, immediate >> 11 & 1);
        let (imm3, imm8) = (immediate >> 8 & 7, immediate & 0xff);
        let first = 0b11110 << 11 | i << 10 | opcode << 4 | imm4;
        let second = imm3 << 12 | 1 << 8 | imm8;
        out[4 * number..][..2].copy_from_slice(&(first as u16).to_le_bytes());
        out[4 * number + 2..][..2].copy_from_slice(&(second as u16).to_le_bytes());
    }
    out
}
