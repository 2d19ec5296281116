//! A driver as a list of items: instructions, sites, pointers, calls of overridden functions.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::image::{At, Built, CODE, DATA, Driver, ImportSpec, OverrideSpec, RDATA, SiteSpec};
use crate::pt::Rng;

use super::{CHECKSUM, EXPORTS};

/// What lies at a place. Everything else of an image is the same in both dumps, but for flips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An instruction that no loader changes.
    Plain(Vec<u8>),
    /// An import site, by the number of the import; the last import's exporter is absent.
    Import { call: bool, import: usize },
    /// An import site without a slot's number.
    NoIndex { call: bool },
    /// A site of symbol 4.
    Indirect { call: bool, rex: bool, cfg: bool },
    /// A site of symbol 5.
    Switch(u8),
    /// `mov rax, imm64` of a relocated address: the two bytes in front of the address are an item of their own.
    Pointer { to: u32 },
    /// The distance of a call of an overridden function, behind the opcode, which is an item of its own.
    Override,
    /// An import slot, by the number of the import.
    Slot(usize),
    /// The header's ImageBase.
    ImageBase,
}

impl Item {
    /// True when an instruction starts where the item does.
    pub(super) fn has_instruction(&self) -> bool {
        !matches!(self, Self::Pointer { .. } | Self::Override | Self::Slot(_) | Self::ImageBase)
    }

    /// True when nobody can know where the item's call leads.
    pub(super) fn is_unbound(&self) -> bool {
        matches!(self, Self::Import { import, .. } | Self::Slot(import) if *import == EXPORTS.len())
    }

    fn is_site(&self) -> bool {
        matches!(self, Self::Import { .. } | Self::NoIndex { .. } | Self::Indirect { .. } | Self::Switch(_))
    }
}

/// An item and its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) rva: u32,
    pub(super) size: u32,
    pub(super) item: Item,
}

/// A driver, built.
pub(super) struct Laid {
    pub(super) name: String,
    pub(super) built: Built,
    /// Ascending by RVA.
    pub(super) items: Vec<Placed>,
    /// RVAs of a section that is written to.
    pub(super) data: Range<u32>,
}

impl Laid {
    pub(super) fn item_at(&self, rva: u32) -> Option<&Placed> {
        let after = self.items.partition_point(|item| item.rva <= rva);
        let item = self.items.get(after.checked_sub(1)?)?;
        (rva < item.rva + item.size).then_some(item)
    }

    /// True for the sections that are written to: this file's own, and the builder's `.data`.
    pub(super) fn is_writable(&self, rva: u32) -> bool {
        let at = self.built.places["sections"];
        let word = |at: usize| u32::from_le_bytes(self.built.bytes[at..at + 4].try_into().unwrap());
        let count = usize::from(self.built.bytes[self.built.places["nt"] + 6]);
        (0..count).map(|number| at + 40 * number).any(|header| {
            let (size, start, flags) = (word(header + 8), word(header + 12), word(header + 36));
            // A section owns its last page.
            flags & 0x8000_0000 != 0 && (start..start + size.next_multiple_of(0x1000)).contains(&rva)
        })
    }

    /// True within reach of what could be taken for a part of a site.
    pub(super) fn is_near_site(&self, rva: u32) -> bool {
        let near = rva.saturating_sub(24)..rva + 24;
        self.items.iter().any(|item| item.item.is_site() && item.rva < near.end && near.start < item.rva + item.size)
    }
}

/// Bytes of a code section of the first driver, at least.
const CODE_SIZE: u32 = 0x1800;

/// Makes a driver with two code sections of random items.
pub(super) fn lay_out(number: u32, timestamp: u32, sites_only: bool, rng: &mut Rng) -> Laid {
    let name = format!("driver{number}.sys");
    let mut driver = Driver::new(&name);
    driver.timestamp = timestamp;
    driver.checksum = CHECKSUM;
    // All drivers have the same stamp, so their sizes must differ.
    let code_size = CODE_SIZE + 0x1000 * number;
    for name in EXPORTS {
        driver.import("ntoskrnl.exe", name);
    }
    driver.imports.push(ImportSpec { dll: "absent.sys".into(), name: "Nothing".into(), delayed: false });
    // Section numbers: two of code, constants, data. The functions that overridden calls lead to are in the third.
    let mut placed: Vec<(At, Item)> = Vec::new();
    for (section, name) in [".text", "PAGE"].into_iter().enumerate() {
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < code_size as usize {
            let at = |bytes: &[u8]| At(section, bytes.len() as u32);
            let item = random(sites_only, rng);
            match &item {
                Item::Plain(code) => {
                    placed.push((at(&bytes), item.clone()));
                    bytes.extend_from_slice(code);
                }
                Item::Pointer { .. } => {
                    placed.push((at(&bytes), Item::Plain(vec![0x48, 0xb8])));
                    bytes.extend_from_slice(&[0x48, 0xb8]);
                    placed.push((at(&bytes), item.clone()));
                    bytes.resize(bytes.len() + 8, 0);
                }
                Item::Override => {
                    placed.push((at(&bytes), Item::Plain(vec![0xe8])));
                    bytes.push(0xe8);
                    placed.push((at(&bytes), item.clone()));
                    bytes.resize(bytes.len() + 4, 0);
                }
                site => {
                    placed.push((at(&bytes), item.clone()));
                    bytes.resize(bytes.len() + size(site) as usize, 0);
                }
            }
        }
        driver.section(name, CODE, bytes);
    }
    let table = driver.section(".ptrs", RDATA, vec![0; 0x100]);
    let data = driver.section(".mine", DATA, vec![7; 0x300]);
    driver.code(".fun", 0x100);
    let functions = 4;
    let mut calls = Vec::new();
    for (at, item) in &placed {
        match item {
            Item::Import { call, import } => {
                driver.site(*at, SiteSpec::Import { call: *call, import: *import });
            }
            Item::NoIndex { call } => {
                driver.site(*at, SiteSpec::NoIndex { call: *call, pointer: At(table, 8) });
            }
            &Item::Indirect { call, rex, cfg } => {
                driver.site(*at, SiteSpec::Indirect { call, rex, cfg });
            }
            Item::Switch(register) => {
                driver.site(*at, SiteSpec::Switch(*register));
            }
            Item::Pointer { to } => {
                driver.pointer(*at, At(functions, *to));
            }
            Item::Override => calls.push(At(at.0, at.1 - 1)),
            Item::Plain(_) | Item::Slot(_) | Item::ImageBase => {}
        }
    }
    if !calls.is_empty() {
        let alternatives = vec![At(functions, 0x40), At(functions, 0x80)];
        driver.overrides.push(OverrideSpec::new(At(functions, 0x10), alternatives, calls));
    }
    let built = driver.build();
    let mut items: Vec<Placed> =
        placed.into_iter().map(|(at, item)| Placed { rva: built.rva(at), size: size(&item), item }).collect();
    items.extend(built.slots.iter().enumerate().map(|(number, &rva)| Placed {
        rva,
        size: 8,
        item: Item::Slot(number),
    }));
    // ImageBase is the 24th byte of the optional header, which follows 24 bytes of others.
    let image_base = built.places["nt"] as u32 + 48;
    items.push(Placed { rva: image_base, size: 8, item: Item::ImageBase });
    items.sort_by_key(|item| item.rva);
    let distinct: BTreeSet<u32> = items.iter().map(|item| item.rva).collect();
    assert_eq!(distinct.len(), items.len());
    let data = built.section_rvas[data]..built.section_rvas[data] + 0x300;
    Laid { name, built, items, data }
}

/// Bytes of an item in the file.
fn size(item: &Item) -> u32 {
    match item {
        Item::Plain(code) => code.len() as u32,
        Item::Import { .. } | Item::NoIndex { .. } => 12,
        Item::Indirect { rex, cfg: true, .. } => 6 + u32::from(*rex),
        Item::Indirect { call: true, rex: true, .. } => 6,
        Item::Indirect { .. } => 5,
        Item::Switch(_) => 6,
        Item::Pointer { .. } | Item::Slot(_) | Item::ImageBase => 8,
        Item::Override => 4,
    }
}

fn random(sites_only: bool, rng: &mut Rng) -> Item {
    let call = rng.chance(70);
    match rng.below(if sites_only { 21 } else { 24 }) {
        0 | 1 => Item::Import { call, import: rng.below(EXPORTS.len() + 1) },
        2 => Item::NoIndex { call },
        3 => Item::Indirect { call, rex: rng.chance(30), cfg: rng.chance(60) },
        4 => Item::Switch(*rng.pick(&[0, 1, 2, 3, 7, 8, 12, 15])),
        21 | 22 => Item::Pointer { to: rng.below(0x100) as u32 },
        23 => Item::Override,
        kind => {
            // mov eax, imm32; nop; mov rax, rcx; lea rcx, [rsp+disp8]; xor eax, eax; ret
            let imm = rng.bits() as u8;
            let codes: [&[u8]; 6] = [
                &[0xb8, imm, 0x10, 0x20, 0x30],
                &[0x90],
                &[0x48, 0x89, 0xc8],
                &[0x48, 0x8d, 0x4c, 0x24, imm],
                &[0x33, 0xc0],
                &[0xc3],
            ];
            Item::Plain(codes[kind % codes.len()].to_vec())
        }
    }
}
