//! The forms that an item can have in memory, each with the class of a difference to it.

use crate::Asm;
use crate::image::{Built, KERNEL_STUBS};

use super::EXPORTS;
use super::code::Item;

/// What addresses depend on.
pub(super) struct Place<'b> {
    pub(super) base: u64,
    pub(super) built: &'b Built,
    /// The image as linked, at the base that it is linked for.
    pub(super) linked: Vec<u8>,
    /// Addresses of the kernel's exports.
    pub(super) exports: [u64; EXPORTS.len()],
    /// Where the import that nobody can resolve leads.
    pub(super) absent: u64,
    /// Direct calls reach the kernel.
    pub(super) is_near: bool,
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    /// The class of a place that has this form in the real dump and another in the one under test.
    pub(super) class: &'static str,
}

/// Base that the drivers are linked for.
pub(super) const IMAGE_BASE: u64 = 0x1_4000_0000;

/// The image at its base, as the file has it, but for the header's ImageBase.
pub(super) fn mapped(built: &Built, base: u64) -> Vec<u8> {
    let file = &built.bytes;
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let mut image = vec![0; built.size_of_image as usize];
    image[..0x400].copy_from_slice(&file[..0x400]);
    for number in 0..usize::from(file[built.places["nt"] + 6]) {
        let header = built.places["sections"] + 40 * number;
        let (rva, size, offset) = (word(header + 12), word(header + 16) as usize, word(header + 20) as usize);
        image[rva as usize..][..size].copy_from_slice(&file[offset..offset + size]);
    }
    let image_base = built.places["nt"] + 48;
    image[image_base..image_base + 8].copy_from_slice(&base.to_le_bytes());
    image
}

/// All forms of an item at an RVA.
pub(super) fn forms(item: &Item, rva: u32, place: &Place<'_>, without_files: bool) -> Vec<Form> {
    let address = place.base + u64::from(rva);
    let stubs = place.base + u64::from(place.built.size_of_image);
    let form = |class, bytes: Vec<u8>| Form { bytes, class };
    let linked = |size: usize| place.linked[rva as usize..][..size].to_vec();
    match *item {
        Item::Plain(ref code) => vec![form("", code.clone())],
        Item::Import { call, .. } | Item::NoIndex { call } => {
            let bytes = linked(12);
            let target = match *item {
                Item::Import { import, .. } => place.exports.get(import).copied().or(Some(place.absent)),
                _ => None,
            };
            let start = |asm: &mut Asm| {
                asm.bytes(&[0x4c, 0x8b, 0x15]).bytes(&bytes[3..7]);
            };
            let branch = |to: u64| {
                let mut asm = Asm::new();
                start(&mut asm);
                asm.u8(if call { 0xe8 } else { 0xe9 }).u32(to.wrapping_sub(address + 12) as u32);
                asm.finish()
            };
            let mut register = Asm::new();
            start(&mut register);
            register.bytes(if call { &[0x4d, 0xff, 0xd2, 0x90, 0x90] } else { &[0x4d, 0xff, 0xe2, 0xcc, 0xcc] });
            let mut all = vec![
                form("import_linked", bytes.clone()),
                form("import_register", register.finish()),
                form("import_stub", branch(stubs + u64::from(KERNEL_STUBS.import))),
            ];
            if let Some(target) = target.filter(|_| place.is_near) {
                all.push(form("import_optimized", branch(target)));
            }
            all
        }
        Item::Indirect { call, rex, cfg } => {
            let size = if cfg { 6 + usize::from(rex) } else { 5 };
            let bytes = linked(size);
            let stub = if cfg { KERNEL_STUBS.indirect_cfg } else { KERNEL_STUBS.indirect };
            let mut asm = Asm::new();
            asm.u8(if call { 0xe8 } else { 0xe9 });
            asm.u32((stubs + u64::from(stub)).wrapping_sub(address + 5) as u32);
            asm.pad_to(size, if call { 0x90 } else { 0xcc });
            vec![form("retpoline_off", bytes), form("retpoline_on", asm.finish())]
        }
        Item::Switch(register) => {
            let stub = KERNEL_STUBS.switch + u32::from(register) * KERNEL_STUBS.switch_stride;
            let mut asm = Asm::new();
            asm.u8(0xe8).u32((stubs + u64::from(stub)).wrapping_sub(address + 5) as u32).u8(0xcc);
            vec![form("retpoline_off", linked(6)), form("retpoline_on", asm.finish())]
        }
        Item::Pointer { .. } => {
            let bytes = linked(8);
            let value = u64::from_le_bytes(bytes.clone().try_into().unwrap());
            let moved = value.wrapping_sub(IMAGE_BASE).wrapping_add(place.base);
            vec![form("relocation", bytes), form("relocation", moved.to_le_bytes().to_vec())]
        }
        Item::Override => {
            let original = linked(4);
            let distance = u32::from_le_bytes(original.clone().try_into().unwrap());
            // The original is 0x10 bytes into its section, the alternatives 0x40 and 0x80.
            let to = |by: u32| form("function_override", distance.wrapping_add(by).to_le_bytes().to_vec());
            vec![form("function_override", original), to(0x30), to(0x70)]
        }
        Item::Slot(number) => {
            let bound = place.exports.get(number).copied().unwrap_or(place.absent);
            let all = [linked(8), bound.to_le_bytes().to_vec()];
            // Without files nobody tells what lies there.
            all.into_iter().skip(usize::from(without_files)).map(|bytes| form("loader_data", bytes)).collect()
        }
        Item::ImageBase => {
            let all = [place.base.to_le_bytes().to_vec(), IMAGE_BASE.to_le_bytes().to_vec()];
            all.into_iter().take(2 - usize::from(without_files)).map(|bytes| form("relocation", bytes)).collect()
        }
    }
}
