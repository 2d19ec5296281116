//! Laying an image out.

use std::collections::HashMap;

use crate::image::dynamic::{by_page, overrides, table};
use crate::image::{At, CODE, DATA, Driver, Entry, ExportSpec, PdbSpec, RDATA, SiteSpec, resource};
use crate::{Asm, Label};

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

const PAGE: u32 = 0x1000;
const FILE_ALIGNMENT: usize = 0x200;
/// Directories by number: IMAGE_DIRECTORY_ENTRY_*.
const EXPORT: usize = 0;
const IMPORT: usize = 1;
const RESOURCE: usize = 2;
const RELOCATION: usize = 5;
const DEBUG: usize = 6;
const LOAD_CONFIG: usize = 10;
const IAT: usize = 12;
const DELAY: usize = 13;

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
    let mut entries = site_records.entries();
    if !driver.overrides.is_empty() {
        let mut items = Vec::new();
        for item in &driver.overrides {
            let original = section_rvas[item.original.0] + item.original.1;
            let mut rel32 = Vec::new();
            for call in &item.calls {
                let rva = section_rvas[call.0] + call.1;
                let distance = original.wrapping_sub(rva + 5);
                let code = &mut sections[call.0].bytes[call.1 as usize..][..5];
                code[0] = 0xe8;
                code[1..].copy_from_slice(&distance.to_le_bytes());
                rel32.push(rva + 1);
            }
            let alternatives = item.alternatives.iter().map(|at| section_rvas[at.0] + at.1).collect();
            items.push((original, alternatives, rel32));
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

/// The section of constants while it grows.
struct Rdata<'d> {
    driver: &'d Driver,
    asm: Asm,
    rva: u32,
    section_rvas: &'d [u32],
    slots: Vec<u32>,
    indexes: Vec<u32>,
    iat: u32,
    /// RVA of the CFG dispatch pointer.
    cfg_pointer: u32,
    offsets: HashMap<&'static str, (&'static str, usize)>,
}

impl<'d> Rdata<'d> {
    fn new(driver: &'d Driver, rva: u32, section_rvas: &'d [u32]) -> Self {
        let mut asm = Asm::new();
        // __guard_dispatch_icall_fptr.
        asm.fill(0, 16);
        let (slots, indexes) = (vec![0; driver.imports.len()], vec![0; driver.imports.len()]);
        Self { driver, asm, rva, section_rvas, slots, indexes, iat: 0, cfg_pointer: rva, offsets: HashMap::new() }
    }

    fn here(&self) -> u32 {
        self.rva + self.asm.len() as u32
    }

    fn debug(&mut self, directories: &mut [(u32, u32); 16]) {
        let mut payloads = Vec::new();
        if let Some(pdb) = &self.driver.pdb {
            let mut record = Asm::new();
            match pdb {
                PdbSpec::Rsds { guid, age, path } => record.bytes(b"RSDS").guid(guid).u32(*age).cstr(path),
                PdbSpec::Nb10 { signature, age, path } => {
                    record.bytes(b"NB10").u32(0).u32(*signature).u32(*age).cstr(path)
                }
            };
            payloads.push((2, record.finish()));
        }
        if let Some((algorithm, checksum)) = &self.driver.pdb_checksum {
            let mut record = Asm::new();
            record.cstr(algorithm).bytes(checksum);
            payloads.push((19, record.finish()));
        }
        if payloads.is_empty() {
            return;
        }
        // The file offsets of the payloads follow from where the section's bytes will lie.
        let file_start = self.file_start();
        self.asm.align(4, 0);
        self.offsets.insert("debug", (".rdata", self.asm.len()));
        directories[DEBUG] = (self.here(), 28 * payloads.len() as u32);
        let mut at = self.asm.len() + 28 * payloads.len();
        for (kind, payload) in &payloads {
            self.asm.u32(0).u32(self.driver.timestamp).u16(0).u16(0).u32(*kind).u32(payload.len() as u32);
            self.asm.u32(self.rva + at as u32).u32((file_start + at) as u32);
            at += payload.len();
        }
        for (_, payload) in &payloads {
            self.asm.bytes(payload);
        }
        self.asm.align(16, 0);
    }

    /// The file offset at which this section's bytes will lie: headers of 0x400, then the sections in front.
    fn file_start(&self) -> usize {
        self.driver.sections.iter().fold(HEADER_SIZE, |at, spec| at + spec.bytes.len().next_multiple_of(FILE_ALIGNMENT))
    }

    fn exports(&mut self, directories: &mut [(u32, u32); 16]) {
        let driver = self.driver;
        if driver.exports.is_empty() && driver.ordinal_exports.is_empty() {
            return;
        }
        let mut named: Vec<_> = driver.exports.iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        // Ordinals: the named ones first, from 1 on; then what was asked for by ordinal.
        let last = driver.ordinal_exports.iter().map(|(ordinal, _)| usize::from(*ordinal)).max().unwrap_or(0);
        let mut functions: Vec<Option<&ExportSpec>> = named.iter().map(|(_, to)| Some(to)).collect();
        functions.resize(functions.len().max(last), None);
        for (ordinal, to) in &driver.ordinal_exports {
            functions[usize::from(*ordinal) - 1] = Some(to);
        }
        self.asm.align(8, 0);
        let (start, rva) = (self.asm.len(), i64::from(self.rva));
        self.offsets.insert("exports", (".rdata", start));
        let asm = &mut self.asm;
        let [dll, addresses, names, ordinals] = [(); 4].map(|()| asm.label());
        asm.u32(0).u32(driver.timestamp).u32(0).u32_of_plus(dll, rva).u32(1);
        asm.u32(functions.len() as u32).u32(named.len() as u32);
        asm.u32_of_plus(addresses, rva).u32_of_plus(names, rva).u32_of_plus(ordinals, rva);
        asm.bind(addresses);
        let mut forwarders: Vec<(Label, &str)> = Vec::new();
        for to in &functions {
            match to {
                None => asm.u32(0),
                Some(ExportSpec::At(at)) => asm.u32(self.section_rvas[at.0] + at.1),
                Some(ExportSpec::Forward(text)) => {
                    let label = asm.label();
                    forwarders.push((label, text));
                    asm.u32_of_plus(label, rva)
                }
            };
        }
        asm.bind(names);
        let labels: Vec<_> = named.iter().map(|_| asm.label()).collect();
        for &label in &labels {
            asm.u32_of_plus(label, rva);
        }
        asm.bind(ordinals);
        for index in 0..named.len() {
            asm.u16(index as u16);
        }
        asm.bind(dll).cstr(&driver.name);
        for ((name, _), label) in named.iter().zip(labels) {
            asm.bind(label).cstr(name);
        }
        for (label, text) in forwarders {
            asm.bind(label).cstr(text);
        }
        directories[EXPORT] = (self.rva + start as u32, (self.asm.len() - start) as u32);
    }

    fn imports(&mut self, directories: &mut [(u32, u32); 16]) {
        if self.driver.imports.is_empty() {
            return;
        }
        self.asm.align(16, 0);
        // Linkers put all address tables side by side: that is directory 12.
        let ordinary = self.groups(false);
        self.iat = self.here();
        let lookups = self.address_tables(&ordinary, true);
        directories[IAT] = (self.iat, self.here() - self.iat);
        let delayed = self.groups(true);
        let delayed_lookups = self.address_tables(&delayed, false);
        self.asm.align(8, 0);
        let rva = i64::from(self.rva);
        let mut names = Vec::new();
        if !ordinary.is_empty() {
            let size = 20 * (ordinary.len() as u32 + 1);
            directories[IMPORT] = (self.here(), size);
            self.offsets.insert("imports", (".rdata", self.asm.len()));
            for ((dll, imports), &lookup) in ordinary.iter().zip(&lookups) {
                let name = self.asm.label();
                names.push((name, dll.clone()));
                let slots = self.slots[imports[0]];
                self.asm.u32_of_plus(lookup, rva).u32(0).u32(0).u32_of_plus(name, rva).u32(slots);
            }
            self.asm.fill(0, 20);
        }
        if !delayed.is_empty() {
            directories[DELAY] = (self.here(), 32 * (delayed.len() as u32 + 1));
            for ((dll, imports), &lookup) in delayed.iter().zip(&delayed_lookups) {
                let name = self.asm.label();
                names.push((name, dll.clone()));
                let slots = self.slots[imports[0]];
                self.asm.u32(1).u32_of_plus(name, rva).u32(0).u32(slots).u32_of_plus(lookup, rva);
                self.asm.u32(0).u32(0).u32(0);
            }
            self.asm.fill(0, 32);
        }
        for (label, name) in names {
            self.asm.bind(label).cstr(&name);
        }
        self.lookup_tables(&ordinary, &lookups);
        self.lookup_tables(&delayed, &delayed_lookups);
    }

    /// DLLs in the order of their first import, with the numbers of their imports.
    fn groups(&self, delayed: bool) -> Vec<(String, Vec<usize>)> {
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (number, import) in self.driver.imports.iter().enumerate().filter(|(_, import)| import.delayed == delayed) {
            match groups.iter_mut().find(|(dll, _)| *dll == import.dll) {
                Some((_, numbers)) => numbers.push(number),
                None => groups.push((import.dll.clone(), vec![number])),
            }
        }
        groups
    }

    /// The address tables, each ended by an empty slot. Gives the labels of the lookup tables to come. An ordinary slot
    /// holds what its lookup entry holds; a delayed one the address of a thunk.
    fn address_tables(&mut self, groups: &[(String, Vec<usize>)], ordinary: bool) -> Vec<Label> {
        let width = self.driver.pointer_size() as usize;
        let mut lookups = Vec::new();
        for (_, imports) in groups {
            lookups.push(self.asm.label());
            for &number in imports {
                self.slots[number] = self.here();
                self.indexes[number] = (self.here() - self.iat) / width as u32;
                let value = if ordinary { 0x1111_1111 } else { self.driver.image_base + u64::from(PAGE) };
                self.asm.pointer(value, width);
            }
            self.asm.pointer(0, width);
        }
        lookups
    }

    fn lookup_tables(&mut self, groups: &[(String, Vec<usize>)], lookups: &[Label]) {
        let width = self.driver.pointer_size() as usize;
        for ((_, imports), &lookup) in groups.iter().zip(lookups) {
            self.asm.align(8, 0).bind(lookup);
            let mut names = Vec::new();
            for &number in imports {
                match self.driver.imports[number].name.strip_prefix('#') {
                    Some(ordinal) => {
                        let ordinal: u16 = ordinal.parse().expect("an ordinal is a number");
                        self.asm.pointer(u64::from(ordinal) | 1 << (8 * width - 1), width);
                    }
                    None => {
                        let label = self.asm.label();
                        names.push((label, number));
                        self.asm.u32_of_plus(label, self.rva.into()).fill(0, width - 4);
                    }
                }
            }
            self.asm.pointer(0, width);
            for (label, number) in names {
                self.asm.align(2, 0).bind(label).u16(0).cstr(&self.driver.imports[number].name);
            }
        }
    }

    fn load_config(&mut self, directories: &mut [(u32, u32); 16], dvrt: Option<(u32, u16)>, data_rva: u32) {
        let Some(size) = self.driver.load_config_size else { return };
        let wide = self.driver.pointer_size() == 8;
        let mut config = Asm::new();
        config.fill(0, if wide { 0x148 } else { 0xc4 });
        config.put(0, &size.to_le_bytes());
        let base = self.driver.image_base;
        let address = |rva: u32| (base + u64::from(rva)).to_le_bytes();
        let (offset, section) = dvrt.unwrap_or_default();
        let flags = self.driver.guard_flags.to_le_bytes();
        if wide {
            // SecurityCookie, GuardCFDispatchFunctionPointer, GuardFlags, DynamicValueRelocTableOffset and -Section.
            config.put(0x58, &address(data_rva)).put(0x78, &address(self.cfg_pointer)).put(0x90, &flags);
            config.put(0xe0, &offset.to_le_bytes()).put(0xe4, &section.to_le_bytes());
        } else {
            config.put(0x3c, &address(data_rva)[..4]).put(0x4c, &address(self.cfg_pointer)[..4]).put(0x58, &flags);
            config.put(0x88, &offset.to_le_bytes()).put(0x8c, &section.to_le_bytes());
        }
        self.asm.align(16, 0);
        self.offsets.insert("load_config", (".rdata", self.asm.len()));
        directories[LOAD_CONFIG] = (self.here(), size);
        self.asm.bytes(&config.finish());
    }
}

/// The bytes of a site as a linker writes them.
fn linked_site(driver: &Driver, rva: u32, site: SiteSpec, rdata: &Rdata<'_>, section_rvas: &[u32]) -> Vec<u8> {
    let mut asm = Asm::new();
    let to = |target: u32, end: u32| target.wrapping_sub(rva + end) as i32;
    assert!(driver.machine != super::ARM64, "sites of ARM64 images are given as raw bytes");
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
struct SiteRecords {
    imports: Vec<(u32, u32)>,
    indirect: Vec<(u32, u32)>,
    switches: Vec<(u32, u32)>,
}

impl SiteRecords {
    fn add(&mut self, rva: u32, site: SiteSpec, indexes: &[u32]) {
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

    fn entries(&self) -> Vec<Entry> {
        let all = [(3, &self.imports, 4), (4, &self.indirect, 2), (5, &self.switches, 2)];
        let present = all.into_iter().filter(|(_, records, _)| !records.is_empty());
        present.map(|(symbol, records, width)| Entry { symbol, payload: by_page(records, width) }).collect()
    }
}

/// Bytes of the headers in the file.
const HEADER_SIZE: usize = 0x400;
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
