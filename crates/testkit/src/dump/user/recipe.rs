//! Assembles a user minidump that every reader takes, or one with the mistakes that its fields ask for.

use crate::{Asm, Label};

/// What to assemble. [`Recipe::good`] is right; a test changes what it wants wrong.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Version field.
    pub version: u32,
    /// MINIDUMP_TYPE.
    pub flags: u64,
    /// ProcessorArchitecture; `None` leaves SystemInfo out.
    pub architecture: Option<u16>,
    /// PlatformId.
    pub platform: u32,
    /// Process id in MiscInfo; `None` leaves the stream out.
    pub process_id: Option<u32>,
    /// `None` leaves ThreadList out.
    pub threads: Option<Vec<RecipeThread>>,
    /// `None` leaves ModuleList out.
    pub modules: Option<Vec<RecipeModule>>,
    /// Memory.
    pub ranges: Vec<RecipeRange>,
    /// Write a MemoryList.
    pub list32: bool,
    /// Write a Memory64List.
    pub list64: bool,
    /// Added to DataSize of Memory64List in the directory.
    pub list64_size_error: u32,
    /// Bases in MemoryInfoList; `None` leaves it out.
    pub regions: Option<Vec<u64>>,
    /// Thread of an Exception stream.
    pub exception: Option<u32>,
    /// Further directory entries: type, size, offset.
    pub entries: Vec<(u32, u32, u32)>,
    /// Stream types of lists (3, 4, 5) that have 4 bytes of padding after their count, as some writers lay them out.
    pub padded: Vec<u32>,
}

/// A thread.
#[derive(Clone, Debug)]
pub struct RecipeThread {
    /// ThreadId.
    pub id: u32,
    /// Teb.
    pub teb: u64,
    /// Address and size of the stack.
    pub stack: (u64, u32),
    /// Size of the context, all zero but the flags at 0x30 (x64).
    pub context_size: usize,
    /// ContextFlags.
    pub context_flags: u32,
    /// Added to the context's offset, from a multiple of 16.
    pub context_shift: usize,
}

/// A module.
#[derive(Clone, Debug)]
pub struct RecipeModule {
    /// BaseOfImage.
    pub base: u64,
    /// SizeOfImage.
    pub size: u32,
    /// Name; `None` writes an offset past the end of the file.
    pub name: Option<&'static str>,
    /// CodeView record.
    pub codeview: Vec<u8>,
}

/// A memory range.
#[derive(Clone, Debug)]
pub struct RecipeRange {
    /// Address.
    pub start: u64,
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Added to the size that the list says.
    pub size_error: u64,
}

impl Recipe {
    /// A dump of an x64 machine in the small profile: one thread, one module with header page and code, a TEB and a
    /// stack, a MemoryInfoList.
    pub fn good() -> Recipe {
        let mut record = Asm::new();
        record.bytes(b"RSDS").guid("11223344-5566-7788-99aa-bbccddeeff00").u32(1).cstr("drv.pdb");
        let range = |start, byte| RecipeRange { start, bytes: vec![byte; 0x1000], size_error: 0 };
        let base = 0xffff_f804_1234_0000;
        Recipe {
            version: 0xa793,
            flags: 0x6000,
            architecture: Some(9),
            platform: 2,
            process_id: Some(4),
            threads: Some(vec![RecipeThread {
                id: 1,
                teb: 0x1_0000,
                stack: (0x2_0000, 0x1000),
                context_size: 1232,
                context_flags: 0x10_001f,
                context_shift: 0,
            }]),
            modules: Some(vec![RecipeModule { base, size: 0x2000, name: Some("drv.sys"), codeview: record.finish() }]),
            ranges: vec![range(base, 0x4d), range(base + 0x1000, 0xcc), range(0x1_0000, 0), range(0x2_0000, 0)],
            list32: true,
            list64: false,
            list64_size_error: 0,
            regions: Some(vec![base, base + 0x1000, 0x1_0000, 0x2_0000]),
            exception: None,
            entries: Vec::new(),
            padded: Vec::new(),
        }
    }

    /// The same with Memory64List.
    pub fn good64() -> Recipe {
        Recipe { flags: 0x6002, list32: false, list64: true, ..Recipe::good() }
    }

    fn padding(&self, stream: u32) -> usize {
        if self.padded.contains(&stream) { 4 } else { 0 }
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut asm = Asm::new();
        let mut streams: Vec<(u32, Label, Label, u32)> = Vec::new();
        let mut count = self.entries.len();
        count += [
            self.architecture.is_some(),
            self.process_id.is_some(),
            self.threads.is_some(),
            self.modules.is_some(),
            self.exception.is_some(),
            self.regions.is_some(),
            self.list32,
            self.list64,
        ]
        .into_iter()
        .filter(|&there| there)
        .count();
        asm.bytes(b"MDMP").u32(self.version).u32(count as u32).u32(32).u32(0).u32(0x5f5e_1000).u64(self.flags);
        // The directory is filled at the end, when offsets and sizes are known.
        let directory = asm.len();
        asm.fill(0, 12 * count);
        let data: Vec<Label> = self.ranges.iter().map(|_| asm.label()).collect();
        let mut stream = |asm: &mut Asm, kind: u32, more: u32, body: &mut dyn FnMut(&mut Asm)| {
            let (start, end) = (asm.here(), asm.label());
            body(asm);
            asm.bind(end).align(16, 0);
            streams.push((kind, start, end, more));
        };

        if let Some(architecture) = self.architecture {
            let text = string(&mut asm, "");
            stream(&mut asm, 7, 0, &mut |asm| {
                asm.u16(architecture).u16(6).u16(0).u8(1).u8(1).u32(10).u32(0).u32(19041).u32(self.platform);
                asm.u32_of(text).u32(0).fill(0, 24);
            });
        }
        if let Some(process) = self.process_id {
            stream(&mut asm, 15, 0, &mut |asm| {
                asm.u32(24).u32(1).u32(process).fill(0, 12);
            });
        }
        if let Some(threads) = &self.threads {
            let contexts: Vec<(Label, u32)> = threads.iter().map(|thread| context(&mut asm, thread)).collect();
            stream(&mut asm, 3, 0, &mut |asm| {
                asm.u32(threads.len() as u32).fill(0, self.padding(3));
                for (thread, (context, size)) in threads.iter().zip(&contexts) {
                    asm.u32(thread.id).u32(0).u32(0x20).u32(0).u64(thread.teb);
                    asm.u64(thread.stack.0).u32(thread.stack.1);
                    match self.ranges.iter().position(|range| range.start == thread.stack.0) {
                        Some(index) => asm.u32_of(data[index]),
                        None => asm.u32(0),
                    };
                    asm.u32(*size).u32_of(*context);
                }
            });
        }
        if let Some(modules) = &self.modules {
            let mut parts = Vec::new();
            for module in modules {
                let name = module.name.map(|name| string(&mut asm, name));
                let record = asm.here();
                asm.bytes(&module.codeview).align(4, 0);
                parts.push((name, record));
            }
            stream(&mut asm, 4, 0, &mut |asm| {
                asm.u32(modules.len() as u32).fill(0, self.padding(4));
                for (module, (name, record)) in modules.iter().zip(&parts) {
                    asm.u64(module.base).u32(module.size).u32(0x1234).u32(0x5f5e_1000);
                    match name {
                        Some(name) => asm.u32_of(*name),
                        None => asm.u32(0x7fff_fff0),
                    };
                    asm.fill(0, 52).u32(module.codeview.len() as u32).u32_of(*record).fill(0, 24);
                }
            });
        }
        if let Some(thread) = self.exception {
            stream(&mut asm, 6, 0, &mut |asm| {
                asm.u32(thread).u32(0).u32(0x8000_0003).u32(0).u64(0).u64(0).u64(0).fill(0, 120).u64(0);
            });
        }
        if let Some(regions) = &self.regions {
            stream(&mut asm, 16, 0, &mut |asm| {
                asm.u32(16).u32(48).u64(regions.len() as u64);
                for &base in regions {
                    asm.u64(base).u64(base).u64(0x20).u64(0x1000).u32(0x1000).u32(0x20).u64(0x2_0000);
                }
            });
        }
        if self.list32 {
            stream(&mut asm, 5, 0, &mut |asm| {
                asm.u32(self.ranges.len() as u32).fill(0, self.padding(5));
                for (range, &label) in self.ranges.iter().zip(&data) {
                    let size = range.bytes.len() as u64 + range.size_error;
                    asm.u64(range.start).u32(size as u32).u32_of(label);
                }
            });
        }
        if self.list64 {
            let first = asm.label();
            stream(&mut asm, 9, self.list64_size_error, &mut |asm| {
                asm.u64(self.ranges.len() as u64).u64_of_plus(first, 0);
                for range in &self.ranges {
                    asm.u64(range.start).u64(range.bytes.len() as u64 + range.size_error);
                }
            });
            asm.bind(first);
        }
        for (range, &label) in self.ranges.iter().zip(&data) {
            asm.bind(label).bytes(&range.bytes);
        }
        let mut table = Vec::new();
        for &(kind, start, end, more) in &streams {
            let (start, end) = (asm.offset_of(start).unwrap() as u32, asm.offset_of(end).unwrap() as u32);
            table.push((kind, end - start + more, start));
        }
        for (index, (kind, size, offset)) in table.into_iter().chain(self.entries.iter().copied()).enumerate() {
            let mut entry = Asm::new();
            entry.u32(kind).u32(size).u32(offset);
            asm.put(directory + 12 * index, &entry.finish());
        }
        asm.finish()
    }
}

fn string(asm: &mut Asm, text: &str) -> Label {
    let label = asm.align(4, 0).here();
    asm.u32(2 * text.encode_utf16().count() as u32).utf16z(text).align(4, 0);
    label
}

fn context(asm: &mut Asm, thread: &RecipeThread) -> (Label, u32) {
    asm.align(16, 0).fill(0, thread.context_shift);
    let label = asm.here();
    let start = asm.len();
    asm.fill(0, thread.context_size);
    if thread.context_size >= 0x34 {
        asm.put(start + 0x30, &thread.context_flags.to_le_bytes());
    }
    asm.align(4, 0);
    (label, thread.context_size as u32)
}
