//! Images whose parts lie where a test says, to the byte: a module of a real machine, as far as facts about it are known.

use crate::Asm;
use crate::image::dynamic::{by_page, table};
use crate::image::{CODE, Entry};

/// A branch at a known place.
#[derive(Clone, Copy, Debug)]
pub enum PlacedSite {
    /// Symbol 3: through the slot at this RVA.
    Import {
        /// Call or jump.
        call: bool,
        /// RVA of the slot.
        slot: u32,
    },
    /// Symbol 4: through the CFG dispatch pointer, without a prefix.
    Cfg {
        /// Call or jump.
        call: bool,
    },
    /// Symbol 5: through one of the first eight registers.
    Switch(u8),
}

impl PlacedSite {
    fn size(self) -> u32 {
        match self {
            Self::Import { .. } => 12,
            Self::Cfg { .. } | Self::Switch(_) => 6,
        }
    }
}

/// An x64 image, retpolined, in one code section in which all places are given. Its tables go into the first gap that
/// is wide enough.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// The name in the export directory.
    pub name: String,
    /// SizeOfImage.
    pub size_of_image: u32,
    /// Exports: name and RVA.
    pub exports: Vec<(String, u32)>,
    /// Imports: RVA of the slot, DLL, name. The slots lie 8 bytes, or multiples of that, apart.
    pub imports: Vec<(u32, String, String)>,
    /// Branches: RVA and kind.
    pub sites: Vec<(u32, PlacedSite)>,
}

const IMAGE_BASE: u64 = 0x1_4000_0000;
const SECTION: u32 = 0x1000;
const NT: usize = 0x80;

/// RVAs of the tables, and their bytes.
struct Tables {
    bytes: Vec<u8>,
    exports: (u32, u32),
    imports: u32,
    load_config: u32,
    cfg_pointer: u32,
}

impl Placed {
    /// The file. File offsets are RVAs.
    ///
    /// # Panics
    /// When places overlap or lie outside the image, or there is no room for the tables.
    pub fn build(&self) -> Vec<u8> {
        let mut used: Vec<(u32, u32)> = vec![(0, SECTION), (self.size_of_image, self.size_of_image)];
        used.extend(self.imports.iter().map(|(slot, ..)| (*slot, slot + 8)));
        used.extend(self.sites.iter().map(|(rva, site)| (*rva, rva + site.size())));
        used.sort_unstable();
        used.dedup();
        assert!(used.is_sorted_by(|a, b| a.1 <= b.0), "places overlap in {}", self.name);
        let need = self.tables(0).bytes.len() as u32;
        let gap = used.windows(2).map(|pair| pair[0].1.next_multiple_of(16)..pair[1].0);
        let gap = gap.into_iter().find(|gap| gap.end.saturating_sub(gap.start) >= need).expect("a gap for the tables");
        let tables = self.tables(gap.start);

        let end = used[used.len() - 2].1.max(gap.start + need);
        let mut asm = Asm::new();
        self.headers(&mut asm, &tables, end);
        asm.pad_to(end as usize, 0);
        asm.put(gap.start as usize, &tables.bytes);
        for &(rva, site) in &self.sites {
            asm.put(rva as usize, &linked(rva, site, tables.cfg_pointer));
        }
        asm.finish()
    }

    fn iat(&self) -> (u32, u32) {
        let slots = || self.imports.iter().map(|(slot, ..)| *slot);
        let first = slots().min().unwrap_or(0);
        (first, slots().max().map_or(0, |last| last + 8 - first))
    }

    fn tables(&self, rva: u32) -> Tables {
        let mut asm = Asm::new();
        // The CFG dispatch pointer.
        asm.fill(0, 16);
        let here = |asm: &Asm| rva + asm.len() as u32;
        let base = i64::from(rva);

        let load_config = here(&asm);
        let dvrt = asm.label();
        asm.u32(0x118).pad_to(16 + 0x78, 0).u64(IMAGE_BASE + u64::from(rva)).pad_to(16 + 0x90, 0).u32(0x10_0000);
        asm.pad_to(16 + 0xe0, 0).u32_of_plus(dvrt, base - i64::from(SECTION)).u16(1).pad_to(16 + 0x118, 0);

        let imports = here(&asm);
        let rows: Vec<_> = self.imports.iter().map(|import| (import, asm.label(), asm.label())).collect();
        for ((slot, ..), lookup, dll) in &rows {
            // One descriptor for each slot: its table of names has one entry, its table of addresses is the slot.
            asm.u32_of_plus(*lookup, base).u32(0).u32(0).u32_of_plus(*dll, base).u32(*slot);
        }
        asm.fill(0, 20);
        for ((_, dll_name, name), lookup, dll) in rows {
            let text = asm.label();
            asm.align(8, 0).bind(lookup).u32_of_plus(text, base).fill(0, 12);
            asm.bind(text).u16(0).cstr(name).bind(dll).cstr(dll_name);
        }

        asm.align(8, 0);
        let start = here(&asm);
        let mut sorted: Vec<_> = self.exports.iter().map(|export| (export, asm.label())).collect();
        sorted.sort_by_key(|((name, _), _)| name);
        let count = sorted.len() as u32;
        let [dll, addresses, names, ordinals] = [(); 4].map(|()| asm.label());
        asm.u32(0).u32(0).u32(0).u32_of_plus(dll, base).u32(1).u32(count).u32(count);
        asm.u32_of_plus(addresses, base).u32_of_plus(names, base).u32_of_plus(ordinals, base).bind(addresses);
        for ((_, to), _) in &sorted {
            asm.u32(*to);
        }
        asm.bind(names);
        for (_, label) in &sorted {
            asm.u32_of_plus(*label, base);
        }
        asm.bind(ordinals);
        for number in 0..count {
            asm.u16(number as u16);
        }
        asm.bind(dll).cstr(&self.name);
        for ((name, _), label) in &sorted {
            asm.bind(*label).cstr(name);
        }
        let exports = (start, here(&asm) - start);
        asm.align(8, 0).bind(dvrt).bytes(&table(1, 8, &self.entries()));
        Tables { bytes: asm.finish(), exports, imports, load_config, cfg_pointer: rva }
    }

    fn entries(&self) -> Vec<Entry> {
        let first = self.iat().0;
        let mut records: [Vec<(u32, u32)>; 3] = Default::default();
        for &(rva, site) in &self.sites {
            match site {
                PlacedSite::Import { call, slot } => {
                    records[0].push((rva, u32::from(call) << 12 | ((slot - first) / 8) << 13));
                }
                PlacedSite::Cfg { call } => records[1].push((rva, (u32::from(call) | 4) << 12)),
                PlacedSite::Switch(register) => records[2].push((rva, u32::from(register) << 12)),
            }
        }
        let entries = [(3, 4), (4, 2), (5, 2)].into_iter().zip(&records).filter(|(_, records)| !records.is_empty());
        entries.map(|((symbol, width), records)| Entry { symbol, payload: by_page(records, width) }).collect()
    }

    fn headers(&self, asm: &mut Asm, tables: &Tables, end: u32) {
        asm.bytes(b"MZ").pad_to(0x3c, 0).u32(NT as u32).pad_to(NT, 0);
        asm.bytes(b"PE\0\0").u16(super::X64).u16(1).u32(0x1234_5678).u32(0).u32(0).u16(0xf0).u16(0x22);
        asm.u16(0x20b).u16(0).fill(0, 12).u32(SECTION).u32(SECTION).u64(IMAGE_BASE).u32(0x1000).u32(0x1000);
        asm.u16(10).u16(0).u16(10).u16(0).u16(10).u16(0).u32(0).u32(self.size_of_image).u32(SECTION).u32(0);
        asm.u16(1).u16(0);
        for size in [0x4_0000, 0x1000, 0x10_0000, 0x1000] {
            asm.u64(size);
        }
        asm.u32(0).u32(16);
        let mut directories = [(0, 0); 16];
        if !self.exports.is_empty() {
            directories[0] = tables.exports;
        }
        if !self.imports.is_empty() {
            directories[1] = (tables.imports, 20 * (self.imports.len() as u32 + 1));
            directories[12] = self.iat();
        }
        directories[10] = (tables.load_config, 0x118);
        for (rva, size) in directories {
            asm.u32(rva).u32(size);
        }
        asm.bytes(b".text\0\0\0").u32(self.size_of_image - SECTION).u32(SECTION).u32(end - SECTION).u32(SECTION);
        asm.fill(0, 12).u32(CODE);
    }
}

/// The bytes of a site as a linker writes them.
fn linked(rva: u32, site: PlacedSite, cfg_pointer: u32) -> Vec<u8> {
    let mut asm = Asm::new();
    match site {
        PlacedSite::Import { call, slot } => {
            asm.bytes(&[0x48, 0xff, if call { 0x15 } else { 0x25 }]).u32(slot.wrapping_sub(rva + 7));
            asm.bytes(if call { &[0x0f, 0x1f, 0x44, 0, 0] } else { &[0xcc; 5] });
        }
        PlacedSite::Cfg { call } => {
            asm.bytes(&[0xff, if call { 0x15 } else { 0x25 }]).u32(cfg_pointer.wrapping_sub(rva + 6));
        }
        PlacedSite::Switch(register) => {
            assert!(register < 8, "a register of the first eight");
            asm.bytes(&[0xff, 0xe0 + register]).fill(0xcc, 4);
        }
    }
    asm.finish()
}
