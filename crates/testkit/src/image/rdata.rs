//! The section of constants: debug directory, exports, imports, load configuration.

use std::collections::HashMap;

use crate::image::{Driver, ExportSpec, FILE_ALIGNMENT, HEADER_SIZE, PAGE, PdbSpec};
use crate::{Asm, Label};

/// Directories by number: IMAGE_DIRECTORY_ENTRY_*.
const EXPORT: usize = 0;
const IMPORT: usize = 1;
pub(super) const RESOURCE: usize = 2;
pub(super) const RELOCATION: usize = 5;
const DEBUG: usize = 6;
const LOAD_CONFIG: usize = 10;
const IAT: usize = 12;
const DELAY: usize = 13;

/// The section of constants while it grows.
pub(super) struct Rdata<'d> {
    driver: &'d Driver,
    pub(super) asm: Asm,
    rva: u32,
    section_rvas: &'d [u32],
    pub(super) slots: Vec<u32>,
    pub(super) indexes: Vec<u32>,
    pub(super) iat: u32,
    /// RVA of the CFG dispatch pointer.
    pub(super) cfg_pointer: u32,
    pub(super) offsets: HashMap<&'static str, (&'static str, usize)>,
}

impl<'d> Rdata<'d> {
    pub(super) fn new(driver: &'d Driver, rva: u32, section_rvas: &'d [u32]) -> Self {
        let mut asm = Asm::new();
        // __guard_dispatch_icall_fptr.
        asm.fill(0, 16);
        let (slots, indexes) = (vec![0; driver.imports.len()], vec![0; driver.imports.len()]);
        Self { driver, asm, rva, section_rvas, slots, indexes, iat: 0, cfg_pointer: rva, offsets: HashMap::new() }
    }

    fn here(&self) -> u32 {
        self.rva + self.asm.len() as u32
    }

    pub(super) fn debug(&mut self, directories: &mut [(u32, u32); 16]) {
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

    pub(super) fn exports(&mut self, directories: &mut [(u32, u32); 16]) {
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

    pub(super) fn imports(&mut self, directories: &mut [(u32, u32); 16]) {
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

    pub(super) fn load_config(&mut self, directories: &mut [(u32, u32); 16], dvrt: Option<(u32, u16)>, data_rva: u32) {
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
