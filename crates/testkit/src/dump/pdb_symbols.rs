//! A PDB that holds nothing but symbols: publics, and the procedures of one compiled module.

use crate::Asm;

const BLOCK: usize = 0x1000;
/// Number of a stream that is not there.
const NONE: u16 = 0xffff;

/// A symbol: section from 1, offset in it, name.
pub type Symbol<'a> = (u16, u32, &'a str);

/// An MSF 7.00 file with the identity given (GUID as stored, age), sections by their RVAs, public functions and
/// procedures.
pub fn symbols(
    guid: [u8; 16],
    age: u32,
    sections: &[u32],
    publics: &[Symbol<'_>],
    procedures: &[Symbol<'_>],
) -> Vec<u8> {
    file((guid, age), sections, publics, procedures, &[])
}

/// The same without procedures and with the stream of types given.
pub(super) fn with_types(guid: [u8; 16], age: u32, sections: &[u32], publics: &[Symbol<'_>], types: &[u8]) -> Vec<u8> {
    file((guid, age), sections, publics, &[], types)
}

fn file(
    (guid, age): ([u8; 16], u32),
    sections: &[u32],
    publics: &[Symbol<'_>],
    procedures: &[Symbol<'_>],
    types: &[u8],
) -> Vec<u8> {
    let mut information = Asm::new();
    // Version 7.0, a time stamp, age; then a table of named streams without any: sizes, capacity, two bit vectors.
    information.u32(20_000_404).u32(0x6543_2100).u32(age).bytes(&guid).u32(0).u32(0).u32(1).u32(0).u32(0);
    let mut records = Asm::new();
    for (section, offset, name) in publics {
        let mut record = Asm::new();
        // S_PUB32, flag 2: a function.
        record.u32(2).u32(*offset).u16(*section).cstr(name).align(4, 0);
        symbol(&mut records, 0x110e, &record.finish());
    }
    let mut compiled = Asm::new();
    compiled.u32(4);
    for (section, offset, name) in procedures {
        let mut record = Asm::new();
        // S_GPROC32: parent, end, next, size, debug start and end, type, offset, section, flags.
        record.u32(0).u32(0).u32(0).u32(16).u32(0).u32(16).u32(0).u32(*offset).u16(*section).u8(0).cstr(name);
        record.align(4, 0);
        symbol(&mut compiled, 0x1110, &record.finish());
        // S_END.
        symbol(&mut compiled, 0x0006, &[]);
    }
    let compiled = compiled.finish();
    let mut headers = Asm::new();
    for (number, rva) in sections.iter().enumerate() {
        let mut name = format!(".sec{number}").into_bytes();
        name.resize(8, 0);
        headers.bytes(&name).u32(0x1000).u32(*rva).u32(0x1000).u32(*rva).fill(0, 12).u32(0x6000_0020);
    }
    // 1 information, 3 debug information, 4 the module's symbols, 5 symbol records, 6 section headers.
    let debug = debug(age, 5, 6, (4, compiled.len()));
    msf(&[&[], &information.finish(), types, &debug, &compiled, &records.finish(), &headers.finish()])
}

fn symbol(records: &mut Asm, kind: u16, data: &[u8]) {
    records.u16(data.len() as u16 + 2).u16(kind).bytes(data);
}

/// The DBI stream: header of 64 bytes, one module, and the list of further streams.
fn debug(age: u32, records: u16, headers: u16, (module, size): (u16, usize)) -> Vec<u8> {
    let mut modules = Asm::new();
    // A contribution of 28 bytes that says nothing, flags, stream, sizes of symbols and of two kinds of lines, files.
    modules.u32(0).fill(0, 28).u16(0).u16(module).u32(size as u32).u32(0).u32(0).u16(0).u16(0).u32(0).u32(0).u32(0);
    modules.cstr("testkit.obj").cstr("testkit.obj").align(4, 0);
    let modules = modules.finish();
    let mut asm = Asm::new();
    asm.u32(u32::MAX).u32(19_990_903).u32(age).u16(NONE).u16(0).u16(NONE).u16(0).u16(records).u16(0);
    asm.u32(modules.len() as u32).u32(0).u32(0).u32(0).u32(0).u32(0).u32(22).u32(0).u16(0).u16(0x8664).u32(0);
    assert_eq!(asm.len(), 64);
    asm.bytes(&modules);
    // FPO, exception, fixups, OMAP both ways, then section headers; five more.
    for number in 0..11 {
        asm.u16(if number == 5 { headers } else { NONE });
    }
    asm.finish()
}

/// A file of streams, each in blocks of its own.
fn msf(streams: &[&[u8]]) -> Vec<u8> {
    let blocks: Vec<usize> = streams.iter().map(|stream| stream.len().div_ceil(BLOCK)).collect();
    let all: usize = blocks.iter().sum();
    let mut asm = Asm::new();
    asm.bytes(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0");
    let directory = 4 * (1 + streams.len() + all);
    assert!(directory <= BLOCK, "the directory has one block");
    // Blocks: 0 super block, 1 and 2 free block maps, 3 block map, 4 directory, 5 and on the streams.
    asm.u32(BLOCK as u32).u32(1).u32((5 + all) as u32).u32(directory as u32).u32(0).u32(3);
    asm.pad_to(BLOCK, 0).fill(0xff, 2 * BLOCK).u32(4).pad_to(4 * BLOCK, 0);
    asm.u32(streams.len() as u32);
    for stream in streams {
        asm.u32(stream.len() as u32);
    }
    for block in 0..all {
        asm.u32((5 + block) as u32);
    }
    asm.pad_to(5 * BLOCK, 0);
    for stream in streams {
        asm.bytes(stream).align(BLOCK, 0);
    }
    asm.finish()
}
