//! A PDB that holds nothing but types: structures with members at offsets.

use crate::Asm;

const BLOCK: usize = 0x1000;
/// First number of a type that is not built in.
const FIRST_TYPE: u32 = 0x1000;
/// A type every member can have: a 64-bit pointer to void.
const POINTER: u32 = 0x603;

/// An MSF 7.00 file with the given structures, each declared first and defined after, as compilers do.
pub fn types(structures: &[(&str, &[(&str, u16)])]) -> Vec<u8> {
    with_streams(&[], &type_stream(structures))
}

/// As [`types`], with an identity: the GUID's 16 bytes as Windows stores them, and the age.
pub fn identified(guid: [u8; 16], age: u32, structures: &[(&str, &[(&str, u16)])]) -> Vec<u8> {
    let mut information = Asm::new();
    // Version 7.0, signature, age, GUID; no named streams.
    information.u32(20_000_404).u32(0).u32(age).bytes(&guid).u32(0);
    with_streams(&information.finish(), &type_stream(structures))
}

/// Stream 0 is empty, 1 the information stream of at most one block, 2 the type stream.
fn with_streams(information: &[u8], tpi: &[u8]) -> Vec<u8> {
    assert!(information.len() <= BLOCK, "the information stream has one block");
    let first = information.len().div_ceil(BLOCK);
    let blocks = first + tpi.len().div_ceil(BLOCK);
    // Blocks: 0 super block, 1 and 2 free block maps, 3 block map, 4 directory, 5 and on the streams.
    let mut asm = Asm::new();
    asm.bytes(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0");
    let directory = 4 * (1 + 3 + blocks);
    assert!(directory <= BLOCK, "the directory has one block");
    asm.u32(BLOCK as u32).u32(1).u32((5 + blocks) as u32).u32(directory as u32).u32(0).u32(3);
    asm.pad_to(BLOCK, 0).fill(0xff, 2 * BLOCK).u32(4).pad_to(4 * BLOCK, 0);
    asm.u32(3).u32(0).u32(information.len() as u32).u32(tpi.len() as u32);
    for block in 0..blocks {
        asm.u32((5 + block) as u32);
    }
    asm.pad_to(5 * BLOCK, 0).bytes(information).align(BLOCK, 0).bytes(tpi).align(BLOCK, 0);
    asm.finish()
}

/// The stream of types.
pub(super) fn type_stream(structures: &[(&str, &[(&str, u16)])]) -> Vec<u8> {
    let mut records = Asm::new();
    let mut count = 0;
    for (name, members) in structures {
        const FORWARD: u16 = 0x80;
        structure(&mut records, name, FORWARD, 0, 0);
        let mut list = Asm::new();
        for (name, offset) in *members {
            // LF_MEMBER, public.
            list.u16(0x150d).u16(3).u32(POINTER).u16(*offset).cstr(name);
            pad(&mut list);
        }
        record(&mut records, 0x1203, &list.finish());
        structure(&mut records, name, 0, members.len() as u16, FIRST_TYPE + count + 1);
        count += 3;
    }
    let records = records.finish();
    let mut asm = Asm::new();
    // Version 8.0, header of 56 bytes, types from..to, bytes of records; no hash stream.
    asm.u32(20_040_203).u32(56).u32(FIRST_TYPE).u32(FIRST_TYPE + count).u32(records.len() as u32);
    asm.u16(0xffff).u16(0xffff).u32(4).u32(0x1000).fill(0, 24);
    asm.bytes(&records);
    asm.finish()
}

fn structure(records: &mut Asm, name: &str, properties: u16, members: u16, fields: u32) {
    let mut asm = Asm::new();
    asm.u16(members).u16(properties).u32(fields).u32(0).u32(0).u16(0x100).cstr(name);
    pad(&mut asm);
    record(records, 0x1505, &asm.finish());
}

/// Records are 4-aligned; each padding byte says how many there are from it on.
fn pad(asm: &mut Asm) {
    for rest in (1..=(4 - asm.len() % 4) % 4).rev() {
        asm.u8(0xf0 + rest as u8);
    }
}

fn record(records: &mut Asm, kind: u16, data: &[u8]) {
    records.u16(data.len() as u16 + 2).u16(kind).bytes(data);
}
