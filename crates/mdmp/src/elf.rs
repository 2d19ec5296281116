//! ELF core files (ET_CORE): a PT_LOAD per memory range, a note that lists the modules, and the threads' registers.
//!
//! For decoders and debuggers of the Linux world. The module list is the `NT_FILE` note of Linux core files, which
//! readelf, gdb and lldb show; addresses are virtual, as in a Linux process core. Sources: the ELF specification
//! (gABI), Linux `include/uapi/linux/elf.h` and `elfcore.h`.

use crate::user::{Architecture, Module, Thread};
use crate::{Blob, BlobId, Context, Error, Layout, MemoryRange, Plan, Protection};

/// A core file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Core<'a> {
    /// x86 gives a 32-bit file, AMD64 and ARM64 64-bit ones; others are refused.
    pub architecture: Architecture,
    /// Disjoint ranges, in any order; program headers are sorted by address.
    pub memory: Vec<MemoryRange<'a>>,
    /// Go into the `NT_FILE` note.
    pub modules: Vec<Module>,
    /// Registers go into `NT_PRSTATUS` notes; may be empty, though gdb wants one thread.
    pub threads: Vec<Thread>,
}

const ET_CORE: u16 = 4;
const OSABI_LINUX: u8 = 3;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
const NT_FILE: u32 = 0x4649_4c45;
/// `e_phnum` when the number stands in `sh_info` of section header 0.
const PN_XNUM: u16 = 0xffff;
const PAGE: u64 = 0x1000;

/// The numbers in which the 32-bit and the 64-bit file differ.
struct Class {
    machine: u16,
    wide: bool,
}

impl Class {
    fn of(architecture: Architecture) -> Result<Class, Error> {
        let (machine, wide) = match architecture {
            Architecture::X86 => (3, false),
            Architecture::AMD64 => (62, true),
            Architecture::ARM64 => (183, true),
            other => {
                let found = format!("{other:?}");
                return Err(Error::rule("ELF: e_machine", found, "x86, AMD64 or ARM64", "all readers"));
            }
        };
        Ok(Class { machine, wide })
    }

    /// Bytes of the file header, a program header, a section header.
    fn sizes(&self) -> (u16, u16, u16) {
        if self.wide { (64, 56, 64) } else { (52, 32, 40) }
    }

    /// An address or size. 32-bit files cut the sign extension off.
    fn word(&self, blob: &mut Blob, value: u64) {
        if self.wide {
            blob.u64(value)
        } else {
            blob.u32(value as u32)
        };
    }

    fn offset(&self, blob: &mut Blob, to: BlobId) {
        if self.wide {
            blob.rva64(to)
        } else {
            blob.rva32(to)
        };
    }

    fn size(&self, blob: &mut Blob, of: BlobId) {
        if self.wide {
            blob.size64(of)
        } else {
            blob.size32(of)
        };
    }
}

impl<'a> Core<'a> {
    /// A core file without memory, modules or threads.
    pub fn new(architecture: Architecture) -> Core<'a> {
        Core { architecture, memory: Vec::new(), modules: Vec::new(), threads: Vec::new() }
    }

    /// Freezes the core file and lays it out; memory is not read.
    ///
    /// # Errors
    /// An architecture without ELF machine, empty or overlapping ranges, addresses beyond 32 bit in an x86 file.
    pub fn plan(&self) -> Result<Plan<'a>, Error> {
        let class = Class::of(self.architecture)?;
        let mut memory: Vec<&MemoryRange<'a>> = self.memory.iter().collect();
        memory.sort_by_key(|range| range.address);
        check(&memory, class.wide)?;

        let mut layout = Layout::new();
        let (header, segments, sections) = (layout.reserve(), layout.reserve(), layout.reserve());
        let notes = layout.push(self.notes(&class)?);
        let count = memory.len() + 1;
        let extended = count >= usize::from(PN_XNUM);

        let mut table = Blob::new("ELF program headers").align(8);
        segment(&mut table, &class, PT_NOTE, 4, notes, 0, 4);
        for range in &memory {
            // On a page of the file, so that a reader may map page-aligned memory.
            let id = layout.push_memory((*range).clone(), PAGE);
            segment(&mut table, &class, PT_LOAD, flags(range.protection), id, range.address, 1);
        }
        layout.place(segments, table);
        if extended {
            layout.place(sections, first_section(&class, count)?);
        }
        layout.place(header, file_header(&class, segments, extended.then_some(sections), count));
        layout.plan()
    }

    fn notes(&self, class: &Class) -> Result<Blob, Error> {
        let mut blob = Blob::new("ELF notes").align(4);
        for thread in &self.threads {
            if let Some(context) = &thread.context {
                if Architecture::of(context) != self.architecture {
                    let found = format!("registers of {:?}", Architecture::of(context));
                    let structure = format!("ELF: NT_PRSTATUS of thread {:#x}", thread.id);
                    return Err(Error::rule(structure, found, format!("{:?}", self.architecture), "gdb"));
                }
                note(&mut blob, NT_PRSTATUS, &prstatus(thread.id, context));
            }
        }
        note(&mut blob, NT_FILE, &self.file_note(class)?);
        Ok(blob)
    }

    /// `NT_FILE`: count and page size, then start, end and offset in pages of each file, then the names.
    fn file_note(&self, class: &Class) -> Result<Vec<u8>, Error> {
        let mut modules: Vec<&Module> = self.modules.iter().collect();
        modules.sort_by_key(|module| module.base);
        let mut blob = Blob::new("NT_FILE");
        class.word(&mut blob, modules.len() as u64);
        class.word(&mut blob, PAGE);
        for module in &modules {
            class.word(&mut blob, module.base);
            class.word(&mut blob, module.base.wrapping_add(module.size.into()));
            class.word(&mut blob, 0);
        }
        for module in &modules {
            if module.name.contains('\0') {
                let found = format!("{:?}", module.name);
                return Err(Error::rule("ELF: NT_FILE name", found, "text without NUL", "all readers"));
            }
            blob.bytes(module.name.as_bytes()).u8(0);
        }
        Ok(blob.into_bytes())
    }
}

fn check(sorted: &[&MemoryRange<'_>], wide: bool) -> Result<(), Error> {
    for range in crate::memory::check_disjoint(sorted)? {
        let last = range.last().unwrap_or(range.start());
        // Either half of a 32-bit address space, the upper one zero- or sign-extended.
        if !wide && last > u32::MAX.into() && range.start() < 0xffff_ffff_8000_0000 {
            let structure = format!("ELF: PT_LOAD at {:#x}: p_vaddr", range.start());
            return Err(Error::rule(structure, format!("{last:#x}"), "32-bit addresses", "all readers"));
        }
    }
    Ok(())
}

/// `PF_R` 4, `PF_W` 2, `PF_X` 1.
fn flags(protection: Protection) -> u32 {
    u32::from(protection.is_readable()) * 4
        + u32::from(protection.is_writable()) * 2
        + u32::from(protection.is_executable())
}

fn segment(table: &mut Blob, class: &Class, kind: u32, flags: u32, content: BlobId, address: u64, align: u64) {
    let in_memory = kind == PT_LOAD;
    table.u32(kind);
    if class.wide {
        table.u32(flags);
    }
    class.offset(table, content);
    class.word(table, address);
    class.word(table, 0);
    class.size(table, content);
    if in_memory {
        class.size(table, content);
    } else {
        class.word(table, 0);
    }
    if !class.wide {
        table.u32(flags);
    }
    class.word(table, align);
}

fn file_header(class: &Class, segments: BlobId, sections: Option<BlobId>, count: usize) -> Blob {
    let (header, segment, section) = class.sizes();
    let mut blob = Blob::new("ELF header");
    // Class, little-endian, version. The ABI is Linux's, whose notes these are: lldb refuses a core file of another
    // ("Unsupported OS", measured with 16).
    blob.bytes(b"\x7fELF").u8(if class.wide { 2 } else { 1 }).u8(1).u8(1).u8(OSABI_LINUX).zeros(8);
    // e_version is 1, and there is no entry point.
    blob.u16(ET_CORE).u16(class.machine).u32(1);
    class.word(&mut blob, 0);
    class.offset(&mut blob, segments);
    match sections {
        Some(sections) => class.offset(&mut blob, sections),
        None => class.word(&mut blob, 0),
    }
    blob.u32(0).u16(header).u16(segment);
    blob.u16(u16::try_from(count).unwrap_or(PN_XNUM));
    blob.u16(section).u16(u16::from(sections.is_some())).u16(0);
    blob
}

/// Section header 0, whose `sh_info` holds the number of program headers when 16 bits do not.
fn first_section(class: &Class, count: usize) -> Result<Blob, Error> {
    let Ok(count) = u32::try_from(count) else {
        return Err(Error::too_big("ELF: number of program headers", 0, count as u64, u32::MAX.into()));
    };
    let mut blob = Blob::new("ELF section header 0").align(8);
    blob.u32(0).u32(0);
    for _ in 0..4 {
        class.word(&mut blob, 0);
    }
    blob.u32(0).u32(count);
    class.word(&mut blob, 0);
    class.word(&mut blob, 0);
    Ok(blob)
}

/// A note of the owner `CORE`, 4-aligned.
fn note(blob: &mut Blob, kind: u32, content: &[u8]) {
    blob.u32(5).u32(content.len() as u32).u32(kind).bytes(b"CORE\0\0\0\0").bytes(content);
    blob.zeros(content.len().next_multiple_of(4) - content.len());
}

/// `struct elf_prstatus`: signal and times are zero, then the registers in the order of `user_regs_struct`.
fn prstatus(id: u32, context: &Context) -> Vec<u8> {
    let mut blob = Blob::new("NT_PRSTATUS");
    match context {
        Context::Amd64(c) => {
            blob.zeros(32).u32(id).zeros(76);
            for register in [c.r15, c.r14, c.r13, c.r12, c.rbp, c.rbx, c.r11, c.r10, c.r9, c.r8] {
                blob.u64(register.get());
            }
            for register in [c.rax, c.rcx, c.rdx, c.rsi, c.rdi] {
                blob.u64(register.get());
            }
            // orig_rax: -1, no system call is under way.
            blob.u64(u64::MAX).u64(c.rip.get()).u64(c.seg_cs.get().into());
            blob.u64(c.e_flags.get().into()).u64(c.rsp.get()).u64(c.seg_ss.get().into());
            blob.zeros(16);
            for segment in [c.seg_ds, c.seg_es, c.seg_fs, c.seg_gs] {
                blob.u64(segment.get().into());
            }
            blob.zeros(8);
        }
        Context::Arm64(c) => {
            blob.zeros(32).u32(id).zeros(76);
            for register in c.x.iter().chain([&c.fp, &c.lr, &c.sp, &c.pc]) {
                blob.u64(register.get());
            }
            blob.u64(c.cpsr.get().into()).zeros(8);
        }
        Context::X86(c) => {
            blob.zeros(24).u32(id).zeros(44);
            for register in [c.ebx, c.ecx, c.edx, c.esi, c.edi, c.ebp, c.eax, c.seg_ds, c.seg_es, c.seg_fs, c.seg_gs] {
                blob.u32(register.get());
            }
            blob.u32(u32::MAX).u32(c.eip.get()).u32(c.seg_cs.get()).u32(c.e_flags.get());
            blob.u32(c.esp.get()).u32(c.seg_ss.get()).zeros(4);
        }
    }
    blob.into_bytes()
}
