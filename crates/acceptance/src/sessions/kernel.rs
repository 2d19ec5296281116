//! From the C file to an image with its PDB, and from the image to the memory of a machine that runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use object::LittleEndian as LE;
use object::pe::IMAGE_REL_BASED_DIR64;
use object::read::pe::PeFile64;
use testkit::dump::kernel::Mapped;
use xtask::program;
use xtask::tools::{self, Found};

use crate::system::{self, Image};
use session_kernels::layouts::Kernel;
use session_kernels::source;
use session_kernels::truth::{self, Session};

/// Where every kernel is loaded.
pub const BASE: u64 = 0xffff_f800_1000_0000;
const SHARED_USER_DATA: u64 = 0xffff_f780_0000_0000;
const PAGE: usize = 0x1000;

/// The two programs that make a kernel.
#[derive(Clone, Debug)]
pub struct Compiler {
    clang: String,
    link: String,
}

impl Compiler {
    /// Finds or installs them.
    pub fn find() -> Result<Found<Compiler>> {
        let clang = match tools::need(&["clang-16", "clang-19", "clang-18", "clang-17", "clang"], "clang-16")? {
            Ok(name) => name,
            Err(reason) => return Ok(Err(reason)),
        };
        let linkers = ["lld-link-16", "lld-link-19", "lld-link-18", "lld-link-17", "lld-link"];
        Ok(tools::need(&linkers, "lld-16")?.map(|link| Compiler { clang, link }))
    }
}

/// What the PDB of a kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pdb {
    /// Symbols and types.
    Whole,
    /// Public symbols alone.
    PublicOnly,
}

/// A kernel that was made: its files, and where things lie in it.
#[derive(Clone, Debug)]
pub struct Made {
    /// What it was made from.
    pub kernel: Kernel,
    /// What is in it.
    pub sessions: Vec<Session>,
    /// Image and PDB, and nothing else.
    pub dir: PathBuf,
    /// The image.
    pub image: Image,
    /// RVAs by name, from the linker's map.
    pub symbols: BTreeMap<String, u32>,
}

impl Made {
    /// The address of a global.
    pub fn address(&self, symbol: &str) -> Result<u64> {
        let rva = self.symbols.get(symbol).with_context(|| format!("the kernel has no symbol {symbol}"))?;
        Ok(BASE + u64::from(*rva))
    }

    /// The address of a buffer's header.
    pub fn buffer(&self, session: &Session, index: usize) -> Result<u64> {
        let begin = self.address(&format!("{}Buffer{index}", session.symbol))?;
        Ok(begin + u64::from(session.buffers[index].page_offset))
    }

    /// The address of a session's context.
    pub fn context(&self, session: &Session) -> Result<u64> {
        self.address(session.symbol)
    }

    /// The address of a member of a session's context; `None` where this kernel has no such member.
    pub fn member(&self, session: &Session, member: &str) -> Result<Option<u64>> {
        let context = self.context(session)?;
        Ok(self.kernel.context.get(member).map(|offset| context + u64::from(*offset)))
    }

    /// The address of the array of contexts.
    pub fn array(&self) -> Result<u64> {
        if self.kernel.has_inline_array() {
            let offset = self.kernel.silo["WmipLoggerContext"];
            return Ok(self.address("HostState")? + u64::from(offset));
        }
        self.address(if self.kernel.has_array_pointer() { "Contexts" } else { "WmipLoggerContext" })
    }
}

/// Compiles and links a kernel into a directory of its own below `work`.
pub fn make(compiler: &Compiler, kernel: &Kernel, pdb: Pdb, work: &Path) -> Result<Made> {
    let sessions = truth::sessions();
    let name = kernel.name() + if pdb == Pdb::PublicOnly { "-public" } else { "" };
    let objects = work.join("obj").join(&name);
    let dir = work.join("files").join(&name);
    for made in [&objects, &dir] {
        if made.exists() {
            std::fs::remove_dir_all(made)?;
        }
        std::fs::create_dir_all(made)?;
    }
    std::fs::write(objects.join("ntoskrnl.c"), source::generate(kernel, &sessions)?)?;
    let mut clang = Command::new(&compiler.clang);
    clang.current_dir(&objects).args(["--target=x86_64-pc-windows-msvc", "-ffreestanding", "-fshort-wchar"]);
    if pdb == Pdb::Whole {
        clang.args(["-g", "-gcodeview"]);
    }
    // Sums of addresses are no constants to the standard, and the compiler takes them.
    clang.args(["-Wno-microsoft-anon-tag", "-Wno-pragma-pack", "-c", "ntoskrnl.c", "-o", "ntoskrnl.obj"]);
    quietly(&mut clang)?;
    quietly(
        Command::new(&compiler.link)
            .current_dir(&objects)
            .args(["/nologo", "/nodefaultlib", "/subsystem:native", "/driver", "/machine:x64", "/dynamicbase"])
            .args(["/debug", "/Brepro", "/opt:noref", "/align:4096", "/entry:DriverEntry", "/map:ntoskrnl.map"])
            .args(["/out:ntoskrnl.exe", "/pdb:ntkrnlmp.pdb", "/pdbaltpath:ntkrnlmp.pdb", "ntoskrnl.obj"]),
    )?;
    let mut bytes = std::fs::read(objects.join("ntoskrnl.exe"))?;
    // As Microsoft's linker has it; some look for exactly that.
    bytes[2] = 0x90;
    let path = dir.join("ntoskrnl.exe");
    std::fs::write(&path, bytes)?;
    std::fs::copy(objects.join("ntkrnlmp.pdb"), dir.join("ntkrnlmp.pdb"))?;
    let map = std::fs::read_to_string(objects.join("ntoskrnl.map"))?;
    let made =
        Made { kernel: kernel.clone(), sessions, dir, image: Image::read(&path)?, symbols: system::map_symbols(&map)? };
    ensure!(made.image.pdb.is_some(), "{name}: the image names no PDB");
    Ok(made)
}

fn quietly(command: &mut Command) -> Result<()> {
    let captured = program::capture(command, Duration::from_secs(60))?;
    if !captured.success() {
        bail!("{}: {}\n{}{}", program::shown(command), captured.ending(), captured.stdout, captured.stderr);
    }
    Ok(())
}

/// The memory of a machine that runs the kernel, and the header of its dump.
pub fn machine(made: &Made) -> Result<Mapped> {
    let mut image = loaded(&made.image)?;
    let entry = made.symbols["KernelEntry"] as usize;
    for (offset, value) in [(0x40, made.image.size), (0x78, made.image.checksum), (0x9c, made.image.timestamp)] {
        image[entry + offset..entry + offset + 4].copy_from_slice(&value.to_le_bytes());
    }
    let mut mapped = Mapped {
        build: made.kernel.build(),
        processors: truth::PROCESSORS,
        time: truth::DUMP_TIME,
        up_time: truth::DUMP_TIME - truth::BOOT_TIME.unsigned_abs(),
        rip: made.address("KiSystemStartup")?,
        rsp: made.address("Threads")? + 0x200,
        module_list: made.address("PsLoadedModuleList")?,
        debugger_data: made.address("KdDebuggerDataBlock")?,
        ..Mapped::default()
    };
    // Page by page, so that a part can be left out.
    for (index, page) in image.chunks(PAGE).enumerate() {
        mapped.memory.insert(BASE + (index * PAGE) as u64, page.to_vec());
    }
    mapped.memory.insert(SHARED_USER_DATA, shared_user_data(made.kernel.build()));
    mapped.no_execute.insert(BASE);
    Ok(mapped)
}

/// The image as the loader leaves it: sections in their places, addresses of the load base.
fn loaded(image: &Image) -> Result<Vec<u8>> {
    let file = PeFile64::parse(&*image.bytes)?;
    let mut memory = vec![0; (image.size as usize).next_multiple_of(PAGE)];
    let headers = file.nt_headers().optional_header.size_of_headers.get(LE) as usize;
    memory[..headers].copy_from_slice(&image.bytes[..headers]);
    for (_, rva, raw, size) in &image.sections {
        let (rva, raw, size) = (*rva as usize, *raw as usize, *size as usize);
        let room = memory.len() - rva;
        let size = size.min(room);
        memory[rva..rva + size].copy_from_slice(&image.bytes[raw..raw + size]);
    }
    let preferred = file.nt_headers().optional_header.image_base.get(LE);
    let blocks = file.data_directories().relocation_blocks(&*image.bytes, &file.section_table())?;
    let mut blocks = blocks.context("the kernel has no relocations")?;
    while let Some(block) = blocks.next()? {
        for relocation in block.filter(|relocation| relocation.typ == IMAGE_REL_BASED_DIR64) {
            let at = relocation.virtual_address as usize;
            let field: [u8; 8] = memory[at..at + 8].try_into()?;
            let moved = u64::from_le_bytes(field).wrapping_sub(preferred).wrapping_add(BASE);
            memory[at..at + 8].copy_from_slice(&moved.to_le_bytes());
        }
    }
    Ok(memory)
}

/// The page that the kernel shares with programs.
fn shared_user_data(build: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let time = truth::DUMP_TIME.to_le_bytes();
    put(0x14, &time);
    put(0x1c, &time[4..]);
    // Two hours west of Greenwich.
    let bias = (2 * 36_000_000_000i64).to_le_bytes();
    put(0x20, &bias);
    put(0x28, &bias[4..]);
    for (at, value) in [(0x260, build), (0x264, 1), (0x26c, 10), (0x270, 0), (0x3c0, truth::PROCESSORS)] {
        put(at, &value.to_le_bytes());
    }
    put(0x300, &truth::FREQUENCY.to_le_bytes());
    page
}
