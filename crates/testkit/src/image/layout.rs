//! Laying an image out.

use std::collections::HashMap;

use crate::Asm;
use crate::image::dynamic::{PlacedOverride, by_page, overrides, table};
use crate::image::rdata::{RELOCATION, RESOURCE, Rdata};
use crate::image::sites::{SiteRecords, linked_site, thumb_moves};
use crate::image::{At, CODE, DATA, Driver, Entry, FILE_ALIGNMENT, HEADER_SIZE, PAGE, RDATA, resource};

/// A built image and where things ended up.
#[derive(Clone, Debug)]
pub struct Built {
    /// The file.
    pub bytes: Vec<u8>,
    /// RVA of each of the driver's own sections.
    pub section_rvas: Vec<u32>,
    /// RVA of the slot of each import.
    pub slots: Vec<u32>,
    /// Number of each import's slot in the IAT directory; meaningless for delayed ones.
    pub indexes: Vec<u32>,
    /// RVA of the IAT directory.
    pub iat: u32,
    /// SizeOfImage.
    pub size_of_image: u32,
    /// File offsets of structures, for tests that damage them: `nt`, `sections`, `imports`, `exports`, `load_config`,
    /// `relocations`, `dvrt`, `debug`.
    pub places: HashMap<&'static str, usize>,
}

impl Built {
    /// The RVA of a place.
    pub fn rva(&self, at: At) -> u32 {
        self.section_rvas[at.0] + at.1
    }

    /// Overwrites 4 bytes of the file, `offset` bytes into a structure of [`places`](Self::places).
    pub fn put_u32(&mut self, place: &str, offset: usize, value: u32) -> &mut Self {
        let at = self.places[place] + offset;
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }
}

/// A section on its way into the file.
struct Placed {
    name: String,
    flags: u32,
    rva: u32,
    virtual_size: u32,
    bytes: Vec<u8>,
}

pub(super) fn build(driver: &Driver) -> Built {
    let mut directories = [(0_u32, 0_u32); 16];
    let mut sections = Vec::new();
    let mut next = PAGE;
    let mut section_rvas = Vec::new();
    for spec in &driver.sections {
        section_rvas.push(next);
        let virtual_size = spec.virtual_size.unwrap_or(spec.bytes.len() as u32);
        let placed =
            Placed { name: spec.name.clone(), flags: spec.flags, rva: next, virtual_size, bytes: spec.bytes.clone() };
        next = next_page(next, placed.virtual_size);
        sections.push(placed);
    }
    let mut rdata = Rdata::new(driver, next, &section_rvas);
    let rdata_rva = next;
    rdata.debug(&mut directories);
    rdata.exports(&mut directories);
    rdata.imports(&mut directories);
    // The load configuration is last: it tells the section number of the relocation section, which follows.
    let reloc_section = sections.len() + 2 + usize::from(driver.version.is_some()) + 1;
    let data_size = 0x40;
    let data_rva = next_page(rdata_rva, rdata.asm.len() as u32 + 0x200);
    let rsrc_rva = next_page(data_rva, data_size);
    let rsrc = driver.version.as_ref().map(|version| resource::section(version, rsrc_rva));
    let reloc_rva = rsrc.as_ref().map_or(rsrc_rva, |bytes| next_page(rsrc_rva, bytes.len() as u32));

    let mut site_records = SiteRecords::default();
    for &(at, site) in &driver.sites {
        let rva = section_rvas[at.0] + at.1;
        let bytes = linked_site(driver, rva, site, &rdata, &section_rvas);
        sections[at.0].bytes[at.1 as usize..][..bytes.len()].copy_from_slice(&bytes);
        site_records.add(rva, site, &rdata.indexes);
    }
    let width = driver.pointer_size() as usize;
    let mut relocations = Vec::new();
    for &(at, to) in &driver.pointers {
        let (rva, to) = (section_rvas[at.0] + at.1, section_rvas[to.0] + to.1);
        let address = (driver.image_base + u64::from(to)).to_le_bytes();
        sections[at.0].bytes[at.1 as usize..][..width].copy_from_slice(&address[..width]);
        relocations.push((rva, if width == 8 { 10 << 12 } else { 3 << 12 }));
    }
    if let Some(to) = driver.dispatch {
        let address = driver.image_base + u64::from(section_rvas[to.0] + to.1);
        rdata.asm.put(0, &address.to_le_bytes()[..width]);
        relocations.push((rdata.cfg_pointer, if width == 8 { 10 << 12 } else { 3 << 12 }));
    }
    for &(at, to) in &driver.moves {
        let (rva, to) = (section_rvas[at.0] + at.1, section_rvas[to.0] + to.1);
        let bytes = thumb_moves(driver.image_base as u32 + to);
        sections[at.0].bytes[at.1 as usize..][..8].copy_from_slice(&bytes);
        relocations.push((rva, 7 << 12));
    }
    let mut entries = site_records.entries();
    if !driver.overrides.is_empty() {
        let mut items = Vec::new();
        for item in &driver.overrides {
            let original = section_rvas[item.original.0] + item.original.1;
            let mut rel32 = Vec::new();
            let calls = item.calls.iter().map(|at| (at, 0xe8)).chain(item.jumps.iter().map(|at| (at, 0xe9)));
            for (at, opcode) in calls {
                let rva = section_rvas[at.0] + at.1;
                let distance = original.wrapping_sub(rva + 5);
                let code = &mut sections[at.0].bytes[at.1 as usize..][..5];
                code[0] = opcode;
                code[1..].copy_from_slice(&distance.to_le_bytes());
                rel32.push(rva + 1);
            }
            let alternatives = item.alternatives.iter().map(|at| section_rvas[at.0] + at.1).collect();
            items.push(PlacedOverride { original, alternatives, sites: rel32, nodes: &item.nodes });
        }
        entries.push(Entry { symbol: 7, payload: overrides(&items) });
    }
    entries.extend(driver.entries.iter().cloned());

    let mut reloc = Asm::new();
    reloc.bytes(&by_page(&relocations, 2));
    let relocation_size = reloc.len() as u32;
    if relocation_size != 0 {
        directories[RELOCATION] = (reloc_rva, relocation_size);
    }
    let dvrt_offset = reloc.len() as u32;
    if let Some(version) = driver.dvrt_version {
        reloc.bytes(&table(version, width, &entries));
    }
    let dvrt = driver.dvrt_version.map(|_| (dvrt_offset, reloc_section as u16));
    rdata.load_config(&mut directories, dvrt, data_rva);
    let Rdata { asm, slots, indexes, iat, mut offsets, .. } = rdata;

    sections.push(placed(".rdata", RDATA, rdata_rva, asm.finish()));
    sections.push(placed(".data", DATA, data_rva, vec![0; data_size as usize]));
    if let Some(bytes) = rsrc {
        directories[RESOURCE] = (rsrc_rva, bytes.len() as u32);
        sections.push(placed(".rsrc", RDATA, rsrc_rva, bytes));
    }
    let reloc = reloc.finish();
    assert!(sections.last().is_none_or(|last| next_page(last.rva, last.virtual_size) <= reloc_rva));
    if !reloc.is_empty() {
        // Discardable.
        sections.push(placed(".reloc", RDATA | 0x200_0000, reloc_rva, reloc));
    }
    offsets.insert("relocations", (".reloc", 0));
    offsets.insert("dvrt", (".reloc", dvrt_offset as usize));
    let (bytes, size_of_image, places) = write(driver, &sections, &directories, &offsets);
    Built { bytes, section_rvas, slots, indexes, iat, size_of_image, places }
}

fn placed(name: &str, flags: u32, rva: u32, bytes: Vec<u8>) -> Placed {
    Placed { name: name.to_owned(), flags, rva, virtual_size: bytes.len() as u32, bytes }
}

fn next_page(rva: u32, size: u32) -> u32 {
    (rva + size.max(1)).next_multiple_of(PAGE)
}

/// Where the NT headers start.
const NT: usize = 0x80;

/// Writes headers and sections; gives SizeOfImage and the file offsets of structures too.
fn write(
    driver: &Driver,
    sections: &[Placed],
    directories: &[(u32, u32); 16],
    offsets: &HashMap<&'static str, (&'static str, usize)>,
) -> (Vec<u8>, u32, HashMap<&'static str, usize>) {
    let wide = driver.pointer_size() == 8;
    let size_of_image = sections.last().map_or(PAGE, |last| next_page(last.rva, last.virtual_size));
    let code = sections.iter().find(|section| section.flags == CODE).map_or(0, |section| section.rva);
    let mut asm = Asm::new();
    asm.bytes(b"MZ").pad_to(0x3c, 0).u32(NT as u32).pad_to(NT, 0);
    asm.bytes(b"PE\0\0").u16(driver.machine).u16(sections.len() as u16).u32(driver.timestamp).u32(0).u32(0);
    asm.u16(if wide { 0xf0 } else { 0xe0 }).u16(if wide { 0x22 } else { 0x102 });
    asm.u16(if wide { 0x20b } else { 0x10b }).u8(14).u8(20).u32(0).u32(0).u32(0).u32(code).u32(code);
    if wide {
        asm.u64(driver.image_base);
    } else {
        asm.u32(0).u32(driver.image_base as u32);
    }
    asm.u32(PAGE).u32(FILE_ALIGNMENT as u32).u16(10).u16(0).u16(10).u16(0).u16(10).u16(0).u32(0);
    asm.u32(size_of_image).u32(HEADER_SIZE as u32).u32(driver.checksum).u16(1).u16(0x4160);
    for size in [0x4_0000, 0x1000, 0x10_0000, 0x1000] {
        asm.pointer(size, driver.pointer_size() as usize);
    }
    asm.u32(0).u32(16);
    for &(rva, size) in directories {
        asm.u32(rva).u32(size);
    }
    let mut places = HashMap::from([("nt", NT), ("sections", asm.len())]);
    let mut at = HEADER_SIZE;
    for section in sections {
        let mut name = [0; 8];
        name[..section.name.len()].copy_from_slice(section.name.as_bytes());
        let file_size = section.bytes.len().next_multiple_of(FILE_ALIGNMENT);
        asm.bytes(&name).u32(section.virtual_size).u32(section.rva).u32(file_size as u32);
        asm.u32(if file_size == 0 { 0 } else { at as u32 }).u32(0).u32(0).u16(0).u16(0).u32(section.flags);
        for (&place, &(owner, offset)) in offsets {
            if owner == section.name {
                places.insert(place, at + offset);
            }
        }
        at += file_size;
    }
    asm.pad_to(HEADER_SIZE, 0);
    for section in sections {
        asm.bytes(&section.bytes).align(FILE_ALIGNMENT, 0);
    }
    (asm.finish(), size_of_image, places)
}
