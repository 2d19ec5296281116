//! Writes a small user dump with two kernel modules, for trying readers on.
//!
//! ```text
//! cargo run -p mdmp --example two_modules -- out.dmp [--memory64] [--every-stream] [--arm64 | --x86]
//! ```
//!
//! `ntoskrnl.exe` lies at 0xfffff80412340000 and `fakedrv.sys` at 0xfffff80416660000 (x86: 0x81230000 and 0x86660000),
//! each with a header page and a page of code at +0x1000.

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use mdmp::user::{
    Architecture, BasicInfo, CodeView, Comment, Cpu, Dump, Exception, FixedFileInfo, Handle, IptThread, IptTrace,
    MemoryListKind, MiscInfo, Module, PowerInfo, ProcessTimes, RawStream, StreamType, SystemInfo, SystemMemoryInfo,
    TimeZone, UnloadedModule, XstateConfig,
};
use mdmp::{MemoryRange, Protection};

fn main() -> Result<(), Box<dyn Error>> {
    let mut path = None;
    let (mut memory64, mut every, mut architecture) = (false, false, Architecture::AMD64);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--memory64" => memory64 = true,
            "--every-stream" => every = true,
            "--arm64" => architecture = Architecture::ARM64,
            "--x86" => architecture = Architecture::X86,
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or("usage: two_modules FILE [--memory64] [--every-stream] [--arm64 | --x86]")?;

    let mut dump = two_modules(architecture)?;
    if memory64 {
        dump.memory_list = MemoryListKind::List64;
    }
    if every {
        add_every_stream(&mut dump);
    }
    let plan = dump.plan()?;
    let written = plan.write_to(&mut BufWriter::new(File::create(&path)?))?;
    println!("{path}: {written} bytes");
    Ok(())
}

fn two_modules(architecture: Architecture) -> Result<Dump<'static>, mdmp::Error> {
    let mut dump = Dump::new(SystemInfo::new(architecture, 10, 0, 19041));
    dump.timestamp = 1_600_000_000;
    dump.misc_info = Some(MiscInfo::with_process_id(4));
    let bases = match architecture {
        Architecture::X86 => [mdmp::x86::extend(0x8123_0000), mdmp::x86::extend(0x8666_0000)],
        _ => [0xffff_f804_1234_0000, 0xffff_f804_1666_0000],
    };
    for (base, name, pdb, key) in
        [(bases[0], "ntoskrnl.exe", "ntkrnlmp.pdb", 0x11u8), (bases[1], "fakedrv.sys", "fakedrv.pdb", 0x22)]
    {
        let (timestamp, checksum) = (0x5f5e_1000 + u32::from(key), 0x1_0000 + u32::from(key));
        let mut module = Module::new(name, base, 0x3000);
        module.timestamp = timestamp;
        module.checksum = checksum;
        module.version = Some(FixedFileInfo {
            file_version: [10, 0, 19041, 508],
            product_version: [10, 0, 19041, 508],
            flags_mask: 0x3f,
            os: 0x4_0004,
            file_type: 3,
            ..FixedFileInfo::default()
        });
        module.codeview = Some(CodeView::Rsds { guid: [key; 16], age: 1, pdb: pdb.into() });
        dump.modules.push(module);
        let header = header_page(architecture, timestamp, checksum);
        dump.memory.push(MemoryRange::from_vec(base, Protection::READ_ONLY, header));
        let code = code_page(architecture, key);
        dump.memory.push(MemoryRange::from_vec(base + 0x1000, Protection::EXECUTE_READ, code));
    }
    dump.add_placeholder(1, bases[0] + 0x1000)?;
    Ok(dump)
}

/// The least of a PE header that a debugger checks: machine, stamp, SizeOfImage, CheckSum, one code section.
fn header_page(architecture: Architecture, timestamp: u32, checksum: u32) -> Vec<u8> {
    let mut page = vec![0u8; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let (machine, magic, optional) = match architecture {
        Architecture::X86 => (0x14cu16, 0x10bu16, 0xe0u16),
        Architecture::ARM64 => (0xaa64, 0x20b, 0xf0),
        _ => (0x8664, 0x20b, 0xf0),
    };
    put(0, b"MZ");
    put(0x3c, &0x80u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &machine.to_le_bytes());
    put(0x86, &1u16.to_le_bytes());
    put(0x88, &timestamp.to_le_bytes());
    put(0x94, &optional.to_le_bytes());
    put(0x96, &0x22u16.to_le_bytes());
    put(0x98, &magic.to_le_bytes());
    put(0x98 + 0x10, &0x1000u32.to_le_bytes());
    put(0x98 + 0x20, &0x1000u32.to_le_bytes());
    put(0x98 + 0x24, &0x200u32.to_le_bytes());
    put(0x98 + 0x38, &0x3000u32.to_le_bytes());
    put(0x98 + 0x3c, &0x400u32.to_le_bytes());
    // dbgeng warns "Unable to verify checksum" when the one in the header is 0.
    put(0x98 + 0x40, &checksum.to_le_bytes());
    put(0x98 + 0x44, &1u16.to_le_bytes());
    put(0x98 + usize::from(optional) - 0x84, &16u32.to_le_bytes());
    let section = 0x98 + usize::from(optional);
    put(section, b".text");
    put(section + 8, &0x1000u32.to_le_bytes());
    put(section + 12, &0x1000u32.to_le_bytes());
    put(section + 16, &0x1000u32.to_le_bytes());
    put(section + 20, &0x400u32.to_le_bytes());
    put(section + 36, &0x6000_0020u32.to_le_bytes());
    page
}

/// `key` as the first byte of every 16, so that readers' output shows whose page it is; the first instructions run.
fn code_page(architecture: Architecture, key: u8) -> Vec<u8> {
    let mut page = vec![0u8; 0x1000];
    for (index, byte) in page.iter_mut().enumerate() {
        *byte = if index % 16 == 0 { key } else { (index / 16) as u8 };
    }
    let start: &[u8] = match architecture {
        // mov x0, #1; ret
        Architecture::ARM64 => &[0x20, 0x00, 0x80, 0xd2, 0xc0, 0x03, 0x5f, 0xd6],
        // sub esp/rsp, 28h needs REX on x64 only; mov eax, 1; ret; int3 is the same on both.
        _ => &[0xb8, 0x01, 0x00, 0x00, 0x00, 0xc3, 0xcc, 0xcc],
    };
    page[..start.len()].copy_from_slice(start);
    page
}

/// Every other stream that the crate writes, with values that are easy to find again.
fn add_every_stream(dump: &mut Dump<'static>) {
    let mut info = MiscInfo::with_process_id(4);
    info.times = Some(ProcessTimes { create: 1_500_000_000, user: 1, kernel: 2 });
    info.power = Some(PowerInfo { max_mhz: 3000, current_mhz: 2900, mhz_limit: 3000, ..PowerInfo::default() });
    info.integrity_level = Some(0x4000);
    info.execute_flags = Some(0x4d);
    info.protected_process = Some(1);
    info.time_zone = Some(TimeZone { id: 1, bias: -60, standard_name: "CET".into(), ..TimeZone::default() });
    info.build_string = Some("19041.1.amd64fre.vb_release.191206-1406".into());
    info.debug_build = Some("mdmp".into());
    info.xstate = Some(XstateConfig { context_size: 0x4d0, enabled_features: 0, features: [(0, 0); 64] });
    info.process_cookie = Some(0x1234_5678);
    dump.misc_info = Some(info);
    if let Cpu::Other { features } = &mut dump.system_info.cpu {
        features[0] = 0x1_0a0d_2001;
    }
    dump.system_info.csd_version = "example".into();
    let mut gone = UnloadedModule::new("gone.sys", 0xffff_f804_2000_0000, 0x8000);
    (gone.checksum, gone.timestamp) = (1, 2);
    dump.unloaded_modules.push(gone);
    let thread = &mut dump.threads[0];
    thread.name = Some("stand-in".into());
    let address = thread.context.as_ref().map_or(0, mdmp::Context::instruction_pointer);
    let mut exception = Exception::new(thread.id, 0x8000_0003, address);
    exception.parameters = vec![0];
    exception.context = thread.context.clone();
    dump.exception = Some(exception);
    let mut handle = Handle::default();
    handle.handle = 4;
    handle.type_name = Some("File".into());
    handle.object_name = Some("\\Device\\Null".into());
    handle.granted_access = 0x0012_0089;
    (handle.handle_count, handle.pointer_count) = (1, 1);
    dump.handles.push(handle);
    dump.comments.push(Comment::Narrow("narrow comment".into()));
    dump.comments.push(Comment::Wide("wide comment".into()));
    let mut memory = SystemMemoryInfo::default();
    memory.basic = BasicInfo { page_size: 0x1000, processors: 1, ..BasicInfo::default() };
    dump.system_memory = Some(memory);
    let packets = MemoryRange::from_vec(0, Protection::READ_ONLY, [0x02, 0x82].repeat(8));
    let mut trace = IptThread::new(1, packets);
    trace.mtc_frequency = 3;
    let mut traces = IptTrace::default();
    traces.threads.push(trace);
    dump.ipt = Some(traces);
    dump.streams.push(Box::new(RawStream::new(StreamType(0x1234_0001), *b"a stream of one's own")));
}
