//! Module files for tests that look for files: small PE images of any identity, and the wrappings they come in.

use crate::Asm;

/// The identity of a generated image, and how large its file is.
#[derive(Clone, Debug)]
pub struct Module {
    /// TimeDateStamp.
    pub timestamp: u32,
    /// SizeOfImage; a multiple of 0x1000 and at least 0x3000 for images that a loader would take.
    pub size_of_image: u32,
    /// CheckSum, as it will stand in the header: right or wrong.
    pub checksum: u32,
    /// GUID in text form, age and path of the PDB.
    pub pdb: Option<(&'static str, u32, &'static str)>,
    /// Bytes of code behind the headers, which make the file large.
    pub code: usize,
}

impl Default for Module {
    fn default() -> Self {
        Self { timestamp: 0x5f5e_0ff1, size_of_image: 0x3000, checksum: 0, pdb: None, code: 0x200 }
    }
}

impl Module {
    /// The file: PE32+ for x64, `.text` at 0x1000 and `.rdata` with the debug directory behind it. The code's bytes
    /// depend on their place, so that a file put together from wrong pieces is not the same file.
    pub fn file(&self) -> Vec<u8> {
        let code = self.code.next_multiple_of(0x200) as u32;
        let rdata = 0x1000 + code.next_multiple_of(0x1000);
        let rdata_offset = 0x400 + code;
        let mut asm = Asm::new();
        asm.bytes(b"MZ").pad_to(0x3c, 0).u32(0x80).pad_to(0x80, 0);
        // Signature and file header: x64, 2 sections, optional header of 0xf0 bytes, executable and large-address.
        asm.bytes(b"PE\0\0").u16(0x8664).u16(2).u32(self.timestamp).u32(0).u32(0).u16(0xf0).u16(0x22);
        // Optional header: magic, linker, sizes of code and data, entry point, base of code, image base.
        asm.u16(0x20b).u16(0).u32(code).u32(0x200).u32(0).u32(0x1000).u32(0x1000).u64(0x1_4000_0000);
        // Alignments, versions (OS, image, subsystem), reserved, sizes, checksum, subsystem native.
        asm.u32(0x1000).u32(0x200).u16(10).u16(0).u16(10).u16(0).u16(10).u16(0).u32(0);
        asm.u32(self.size_of_image).u32(0x400).u32(self.checksum).u16(1).u16(0);
        asm.u64(0x4_0000).u64(0x1000).u64(0x10_0000).u64(0x1000).u32(0).u32(16);
        for directory in 0..16 {
            let debug = directory == 6 && self.pdb.is_some();
            asm.u32(if debug { rdata } else { 0 }).u32(if debug { 28 } else { 0 });
        }
        // Section headers: name, size and place in memory, size and place in the file, nothing else, flags.
        asm.bytes(b".text\0\0\0").u32(code).u32(0x1000).u32(code).u32(0x400).fill(0, 12).u32(0x6800_0020);
        asm.bytes(b".rdata\0\0").u32(0x200).u32(rdata).u32(0x200).u32(rdata_offset).fill(0, 12).u32(0x4800_0040);
        asm.pad_to(0x400, 0);
        let body: Vec<u8> = (0..code).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
        asm.bytes(&body);
        if let Some((guid, age, path)) = self.pdb {
            // Debug directory entry of type 2 (CodeView), its record right behind it.
            let size = 24 + path.len() as u32 + 1;
            asm.u32(0).u32(self.timestamp).u32(0).u32(2).u32(size).u32(rdata + 28).u32(rdata_offset + 28);
            asm.bytes(b"RSDS").guid(guid).u32(age).cstr(path);
        }
        asm.pad_to(rdata_offset as usize + 0x200, 0);
        asm.finish()
    }
}

/// An SZDD file (the older compress.exe): header with the unpacked size and the name's last letter, then the data.
pub fn szdd(size: u32, last_letter: u8, data: &[u8]) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.bytes(b"SZDD\x88\xf0\x27\x33").u8(b'A').u8(last_letter).u32(size).bytes(data);
    asm.finish()
}

/// The same with every byte stored as a literal: groups of eight behind a byte of eight ones.
pub fn szdd_stored(content: &[u8], last_letter: u8) -> Vec<u8> {
    let data: Vec<u8> = content.chunks(8).flat_map(|group| [&[0xff][..], group].concat()).collect();
    szdd(content.len() as u32, last_letter, &data)
}

/// A cabinet with the single file `a.sys` in one folder of this compression method (1 MSZIP, 0x0f03 LZX with a window of
/// 32 KiB) and these data blocks, each with the size that it says it unpacks to.
pub fn cabinet(method: u16, blocks: &[(&[u8], u16)]) -> Vec<u8> {
    let unpacked: u32 = blocks.iter().map(|(_, size)| u32::from(*size)).sum();
    let mut asm = Asm::new();
    let (file, data, end) = (asm.label(), asm.label(), asm.label());
    // Size of the cabinet, place of the first file, version 1.3, one folder, one file, no flags, set 0, first of it.
    asm.bytes(b"MSCF").u32(0).u32_of(end).u32(0).u32_of(file).u32(0);
    asm.u8(3).u8(1).u16(1).u16(1).u16(0).u16(0).u16(0);
    asm.u32_of(data).u16(blocks.len() as u16).u16(method);
    // The file: size, offset in the folder, folder, date, time, attributes, name.
    asm.bind(file).u32(unpacked).u32(0).u16(0).u16(0).u16(0).u16(0x20).cstr("a.sys");
    asm.bind(data);
    for (block, size) in blocks {
        asm.u32(0).u16(block.len() as u16).u16(*size).bytes(block);
    }
    asm.bind(end);
    asm.finish()
}

/// A cabinet with an empty file `a.sys` and this many MSZIP folders that all have the same empty data blocks.
pub fn sharing_cabinet(folders: u16, blocks: u16) -> Vec<u8> {
    let mut asm = Asm::new();
    let (file, data, end) = (asm.label(), asm.label(), asm.label());
    asm.bytes(b"MSCF").u32(0).u32_of(end).u32(0).u32_of(file).u32(0);
    asm.u8(3).u8(1).u16(folders).u16(1).u16(0).u16(0).u16(0);
    for _ in 0..folders {
        asm.u32_of(data).u16(blocks).u16(1);
    }
    asm.bind(file).u32(0).u32(0).u16(0).u16(0).u16(0).u16(0x20).cstr("a.sys");
    asm.bind(data).fill(0, 8 * usize::from(blocks)).bind(end);
    asm.finish()
}

/// A zip archive with one stored file, to which so many entries of the directory point: `00000`, `00001`, … `flags` are
/// the general purpose flags of the entries; 1 says that the file is encrypted.
pub fn sharing_zip(content: &[u8], entries: u16, flags: u16) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    let (crc, size) = (!crc, content.len() as u32);
    let mut asm = Asm::new();
    // Local header: version 2.0, flags, method 0 (stored), time, date, checksum, sizes, lengths of name and extra field.
    asm.bytes(b"PK\x03\x04").u16(20).u16(flags).u16(0).u16(0).u16(0).u32(crc).u32(size).u32(size).u16(5).u16(0);
    asm.bytes(b"00000").bytes(content);
    let directory = asm.len() as u32;
    for entry in 0..entries {
        asm.bytes(b"PK\x01\x02").u16(20).u16(20).u16(flags).u16(0).u16(0).u16(0).u32(crc).u32(size).u32(size);
        // Lengths of name, extra field and comment; disk, attributes, and the local header's place.
        asm.u16(5).u16(0).u16(0).u16(0).u16(0).u32(0).u32(0).bytes(format!("{entry:05}").as_bytes());
    }
    let end = asm.len() as u32;
    asm.bytes(b"PK\x05\x06").u16(0).u16(0).u16(entries).u16(entries).u32(end - directory).u32(directory).u16(0);
    asm.finish()
}

/// An LZX block that stores its bytes: no E8 translation, type 3, 24 bits of size, the three last match offsets.
pub fn lzx_stored(bytes: &[u8], offsets: [u32; 3]) -> Vec<u8> {
    let head = 3 << 28 | (bytes.len() as u32) << 4;
    let mut asm = Asm::new();
    asm.u16((head >> 16) as u16).u16(head as u16);
    offsets.iter().for_each(|&offset| {
        asm.u32(offset);
    });
    asm.bytes(bytes);
    asm.finish()
}

/// A PDB with nothing in it but who it is: the multi-stream file (MSF 7.00) with blocks of 512 bytes, stream 1 with
/// version, signature, age and GUID, stream 3 with a DBI header of the same age.
pub fn pdb(guid: &str, age: u32) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut asm = Asm::new();
    asm.bytes(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0");
    // Block size, free map, number of blocks, bytes in the stream directory, 0, block of the directory's block list.
    asm.u32(BLOCK as u32).u32(1).u32(7).u32(4 + 4 * 4 + 2 * 4).u32(0).u32(3);
    // Two free maps with nothing free, then the list of the directory's blocks, then the directory: four streams.
    asm.pad_to(BLOCK, 0).pad_to(3 * BLOCK, 0).u32(4).pad_to(4 * BLOCK, 0);
    asm.u32(4).u32(0).u32(28).u32(0).u32(64).u32(5).u32(6);
    // Stream 1, the PDB's information: VC70, signature, age, GUID.
    asm.pad_to(5 * BLOCK, 0).u32(20_000_404).u32(0x1234_5678).u32(age).guid(guid);
    // Stream 3, the DBI header: -1, V70, age, nothing else.
    asm.pad_to(6 * BLOCK, 0).i32(-1).u32(19_990_903).u32(age).pad_to(7 * BLOCK, 0);
    asm.finish()
}
