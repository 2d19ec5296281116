//! What values say of themselves, and values at the limits of their fields.

use std::io::{self, Write};
use std::sync::Arc;

use mdmp::elf::Core;
use mdmp::kernel::{
    DebuggerData, Driver, Dump, DumpType, Exception, FieldOffset, Machine, Parts, UnloadedDriver, Variable,
};
use mdmp::read::{Origin, Segment, Segments, Triage};
use mdmp::user::{
    Architecture, Directory, Dump as UserDump, Flags, MemoryListKind, Module, ProductType, RawStream, Region,
    StreamType, SystemInfo,
};
use mdmp::{
    AddressRange, Blob, Context, Error, ErrorKind, Fill, Format, Layout, Memory, MemoryRange, Plan, Protection, RULES,
    Severity, amd64, arm64, x86,
};

fn texts<T: std::fmt::Display>(cases: &[(T, &str)]) {
    for (value, expected) in cases {
        assert_eq!(value.to_string(), *expected);
    }
}

#[test]
fn protections() {
    // Number, name, and what is allowed: read, write, execute.
    for (number, name, allowed) in [
        (0x01, "PAGE_NOACCESS", "---"),
        (0x02, "PAGE_READONLY", "r--"),
        (0x04, "PAGE_READWRITE", "rw-"),
        (0x08, "PAGE_WRITECOPY", "rw-"),
        (0x10, "PAGE_EXECUTE", "--x"),
        (0x20, "PAGE_EXECUTE_READ", "r-x"),
        (0x40, "PAGE_EXECUTE_READWRITE", "rwx"),
        (0x80, "PAGE_EXECUTE_WRITECOPY", "rwx"),
        (0x104, "protection 0x104", "rw-"),
        (0x100, "protection 0x100", "---"),
    ] {
        let protection = Protection(number);
        let letter = |allowed, letter| if allowed { letter } else { '-' };
        let found: String = [
            letter(protection.is_readable(), 'r'),
            letter(protection.is_writable(), 'w'),
            letter(protection.is_executable(), 'x'),
        ]
        .into_iter()
        .collect();
        assert_eq!((protection.to_string().as_str(), found.as_str()), (name, allowed), "{number:#x}");
    }
}

#[test]
fn names_of_numbers() {
    texts(&[
        (DumpType::FULL, "full memory"),
        (DumpType::SUMMARY, "kernel summary"),
        (DumpType::TRIAGE, "triage"),
        (DumpType::BITMAP_FULL, "full memory bitmap"),
        (DumpType::BITMAP_KERNEL, "kernel memory bitmap"),
        (DumpType::AUTOMATIC, "automatic memory bitmap"),
        (DumpType(3), "dump type 0x3"),
    ]);
    assert_eq!((DumpType::TRIAGE.name(), DumpType(3).name()), (Some("triage"), None));
    texts(&[
        (Machine::I386, "x86"),
        (Machine::AMD64, "AMD64"),
        (Machine::ARM64, "ARM64"),
        (Machine(0x1c4), "machine 0x1c4"),
    ]);
    texts(&[(StreamType::MISC_INFO, "MiscInfo"), (StreamType(0x1234_0001), "stream 0x12340001")]);
    texts(&[
        (ProductType::WORKSTATION, "workstation"),
        (ProductType::DOMAIN_CONTROLLER, "domain controller"),
        (ProductType::SERVER, "server"),
        (ProductType(7), "product type 0x7"),
    ]);
    texts(&[(Severity::Note, "note"), (Severity::Degraded, "degraded"), (Severity::Refused, "refused")]);
    let format = RULES.iter().find(|rule| rule.id == "format").unwrap();
    assert!(format.to_string().starts_with("format (refused: all readers): "), "{format}");
    texts(&[(Format::UserMinidump, "user minidump"), (Format::KernelTriage, "kernel triage dump")]);
    let parts = Parts::CONTEXT | Parts::STACK;
    assert_eq!(parts, Parts(0x21));
    assert_eq!(Parts::STACK | Parts::STACK, Parts::STACK);
    for (asked, there) in [(Parts::CONTEXT, true), (Parts(0x21), true), (Parts(0x23), false), (Parts::PRCB, false)] {
        assert_eq!(parts.contains(asked), there, "{asked:?}");
    }
}

#[test]
fn registers_of_every_machine() {
    for (context, size, ip, sp) in [
        (Context::from(amd64::Context::user(0x1234_5678_9abc, 0x2000)), 1232, 0x1234_5678_9abc, 0x2000),
        (Context::from(arm64::Context::new(0x1234_5678_9abc, 0x2000)), 912, 0x1234_5678_9abc, 0x2000),
        (Context::from(x86::Context::new(0x8123_4000, 0x7fff_fff0)), 716, 0xffff_ffff_8123_4000, 0x7fff_fff0),
    ] {
        assert_eq!(context.as_bytes().len(), size);
        assert_eq!((context.instruction_pointer(), context.stack_pointer()), (ip, sp), "{size}");
    }
}

/// Whatever holds it, memory lends and copies the same bytes.
#[test]
fn memory_through_its_holders() {
    fn check(memory: &dyn Memory) {
        let mut out = [0; 3];
        memory.read_at(1, &mut out).unwrap();
        assert_eq!((&out, memory.borrow_at(1, 3)), (b"bcd", Some(&b"bcd"[..])));
        assert_eq!((memory.borrow_at(2, 3), memory.borrow_at(u64::MAX, 1)), (None, None));
        let error = memory.read_at(2, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "0x3 bytes asked for at +0x2, the source has 0x4");
    }
    /// Goes through the implementation for `M` itself.
    struct Held<M>(M);
    impl<M: Memory> Memory for Held<M> {
        fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read_at(offset, out)
        }
        fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
            self.0.borrow_at(offset, len)
        }
    }
    let bytes = b"abcd".to_vec();
    check(&bytes);
    check(&Held(&bytes[..]));
    check(&Held(Arc::new(bytes.clone())));
    check(&Held(bytes));
    let mut out = [0; 2];
    Fill(7).read_at(1 << 40, &mut out).unwrap();
    assert_eq!((out, Fill(7).borrow_at(0, 2)), ([7, 7], None));
}

#[test]
fn ranges_of_addresses() {
    let range = |start, size| AddressRange::new(start, size);
    assert_eq!((range(u64::MAX, 1).unwrap().last(), range(u64::MAX, 2)), (Some(u64::MAX), None));
    assert_eq!(range(5, 0).unwrap().last(), None);
    let held = range(10, 10).unwrap();
    for (start, size, inside, shared) in [
        (10, 10, true, true),
        (9, 1, false, false),
        (9, 2, false, true),
        (19, 1, true, true),
        (19, 2, false, true),
        (20, 1, false, false),
        (15, 0, false, false),
    ] {
        let other = range(start, size).unwrap();
        assert_eq!((held.contains(other), held.overlaps(other)), (inside, shared), "{start}+{size}");
    }
    let memory = MemoryRange::from_vec(0x1000, Protection::READ_ONLY, vec![1, 2]);
    assert_eq!(memory.range(), range(0x1000, 2));
    assert_eq!(format!("{memory:?}"), "MemoryRange(0x1000+0x2, Protection(2))");
    let segment = Segment::new(0x1000, b"abc", Origin::CallStack);
    assert_eq!((segment.range(), format!("{segment:?}")), (range(0x1000, 3), "Segment(0x1000+0x3, CallStack)".into()));
    let segments = Segments::new(vec![Segment::new(0x1000, &[1, 0, 0, 0, 0, 0, 0, 0x80], Origin::Other)]);
    assert_eq!((segments.pointer_at(0x1000), segments.pointer_at(0x1001)), (Some(0x8000_0000_0000_0001), None));
}

/// A dump of one driver: all that a triage dump must have.
fn triage(change: impl FnOnce(&mut Dump<'static>)) -> Result<Plan<'static>, Error> {
    let mut dump = Dump::default();
    dump.drivers.push(Driver::new("nt.exe", 1 << 63, 0x1000));
    change(&mut dump);
    dump.plan()
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the disk is full"));
        }
        let count = bytes.len().min(self.0);
        self.0 -= count;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn errors_say_where_and_why() {
    let range = |address, size| MemoryRange::new(address, size, Protection::READ_ONLY, vec![0; 8]);
    let rule = Error::rule("thread 3: ThreadId", "0", "1 and more", "dbgeng");
    let too_big = triage(|dump| dump.memory.push(range(0x1000, 1 << 32))).unwrap_err();
    let overlap = triage(|dump| dump.memory.extend([range(0x1004, 8), range(0x1000, 8)])).unwrap_err();
    let mut layout = Layout::new();
    let never = layout.declare();
    let mut blob = Blob::new("custom");
    blob.u64(0).rva32(never);
    layout.push(blob);
    let dangling = layout.plan().unwrap_err();
    let short = triage(|dump| dump.memory.push(range(0x1000, 9))).unwrap();
    let source = short.to_vec().unwrap_err();
    let write = triage(|_| ()).unwrap().write_to(&mut Full(0)).unwrap_err();
    let malformed = Triage::parse(b"PAGEDU64").err().unwrap();

    let place = short.map().find(|extent| extent.name == "memory at 0x1000").unwrap();
    assert_eq!(place.size, 9);
    for (error, kind, offset, address, reader) in [
        (&rule, ErrorKind::Rule, None, None, Some("dbgeng")),
        (&too_big, ErrorKind::TooBig, Some(0), None, None),
        (&overlap, ErrorKind::Overlap, None, None, None),
        (&dangling, ErrorKind::Dangling, None, None, None),
        (&source, ErrorKind::Source, Some(place.offset), Some(0x1000), None),
        (&write, ErrorKind::Write, Some(0), None, None),
        (&malformed, ErrorKind::Malformed, Some(0), None, None),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!((error.offset(), error.address(), error.reader()), (offset, address, reader), "{error}");
        let in_plan = [ErrorKind::Rule, ErrorKind::TooBig, ErrorKind::Overlap, ErrorKind::Dangling].contains(&kind);
        assert_eq!((error.is_plan(), error.is_write()), (in_plan, kind == ErrorKind::Write), "{error}");
        let io = [ErrorKind::Source, ErrorKind::Write].contains(&kind);
        assert_eq!((error.io().is_some(), std::error::Error::source(error).is_some()), (io, io), "{error}");
    }
    texts(&[
        (&rule, "thread 3: ThreadId: found 0, allowed is 1 and more (needed by dbgeng)"),
        (
            &too_big,
            "TRIAGE_DATA_BLOCK.Size of 0x1000 at file offset 0x0: found 0x100000000, allowed is at most 0xffffffff",
        ),
        (
            &overlap,
            "memory ranges 0x1000+0x8 and 0x1004+0x8 overlap; allowed are disjoint ranges (dbgeng refuses the file)",
        ),
        (&dangling, "custom: field at +0x8 points to a blob that was never placed in the layout"),
    ]);
    assert_eq!(write.io().unwrap().to_string(), "the disk is full");
    assert_eq!(
        (rule.structure(), overlap.structure(), dangling.structure()),
        ("thread 3: ThreadId", "memory ranges", "custom")
    );
}

#[test]
fn triage_dumps_at_their_limits() {
    type Change = Box<dyn FnOnce(&mut Dump<'static>)>;
    let context = |size| -> Change { Box::new(move |dump| dump.context = vec![1; size]) };
    let comment = |size| -> Change { Box::new(move |dump| dump.comment = "c".repeat(size)) };
    let name = |size| -> Change { Box::new(move |dump| dump.drivers[0].name = "n".repeat(size)) };
    let parameters = |count| -> Change {
        Box::new(move |dump| {
            let mut exception = Exception::default();
            exception.parameters = vec![3; count];
            dump.exception = exception;
        })
    };
    for (what, change, expected) in [
        ("context", context(3000), ""),
        ("context", context(3001), "DUMP_HEADER64.ContextRecord: found 0xbb9 bytes, allowed is at most 0xbb8 bytes"),
        ("comment", comment(127), ""),
        ("comment", comment(128), "DUMP_HEADER64.Comment: found 128 bytes, allowed is at most 127 bytes without NUL"),
        ("name", name(1024), ""),
        ("name", name(1025), "DUMP_STRING.Length: found 1025 characters, allowed is at most 1024"),
        ("parameters", parameters(15), ""),
        ("parameters", parameters(16), "EXCEPTION_RECORD64.NumberParameters: found 16, allowed is 0 to 15"),
    ] {
        let found = triage(change).err().map_or_else(String::new, |error| error.to_string());
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{what}: {found}");
    }
    // Twelve characters of an unloaded driver's name are kept.
    for (name, kept) in [("twelve.chars", "twelve.chars"), ("thirteen.char", "thirteen.cha"), ("", "")] {
        let file =
            triage(|dump| dump.unloaded.push(UnloadedDriver::new(name, 0x1000, 0x2000))).unwrap().to_vec().unwrap();
        let unloaded = Triage::parse(&file).unwrap().unloaded().unwrap();
        assert_eq!(unloaded, [UnloadedDriver::new(kept, 0x1000, 0x2000)]);
    }
}

#[test]
fn blocks_of_debugger_data_may_be_short() {
    let mut data = DebuggerData::new(0x1000);
    assert_eq!((data.as_bytes().len(), data.owner_tag()), (0x380, u32::from_le_bytes(*b"KDBG")));
    data.set_variable(Variable::KERN_BASE, 0xffff_f804_1234_0000).set_offset(FieldOffset::PRCB_CONTEXT, 0x85c0);
    data.set_variable(Variable::KI_PROCESSOR_BLOCK, 0x5678);
    assert_eq!(
        format!("{data:?}"),
        "DebuggerData { size: 896, kernel_base: 0xfffff80412340000, processor_block: 0x5678, prcb_context: 0x85c0 }"
    );
    // The field at 0x338 has 2 bytes.
    for (size, expected) in [(0x339, 0), (0x33a, 0x85c0)] {
        let mut short = DebuggerData::from_bytes(&data.as_bytes()[..size]);
        assert_eq!(short.offset(FieldOffset::PRCB_CONTEXT), expected, "{size:#x}");
        short.set_offset(FieldOffset::PRCB_CONTEXT, 1);
        assert_eq!((short.offset(FieldOffset::PRCB_CONTEXT), short.as_bytes().len()), (expected.min(1), size));
    }
}

/// 32-bit files hold addresses of 32 bits, zero- or sign-extended.
#[test]
fn addresses_in_32_bit_core_files() {
    for (address, size, fits) in [
        (0xffff_fffe, 2, true),
        (0xffff_fffe, 3, false),
        (0x1_0000_0000, 1, false),
        (0xffff_ffff_7fff_ffff, 1, false),
        (0xffff_ffff_8000_0000, 1, true),
        (u64::MAX, 1, true),
    ] {
        for (architecture, fits) in [(Architecture::X86, fits), (Architecture::AMD64, true)] {
            let mut core = Core::new(architecture);
            core.memory.push(MemoryRange::new(address, size, Protection::READ_ONLY, Fill(0)));
            assert_eq!(core.plan().is_ok(), fits, "{address:#x}+{size}");
        }
    }
}

#[test]
fn flags_of_a_minidump_join() {
    let (code, full) = (Flags::CODE_SEGS, Flags::FULL_MEMORY);
    assert_eq!((code | full, (code | full) | full), (Flags(0x2002), Flags(0x2002)));
    assert!((code | full).contains(full) && !code.contains(full));
}

#[test]
fn what_debug_shows() {
    let stream = RawStream::new(StreamType::MISC_INFO, [1, 2, 3]);
    assert_eq!(format!("{stream:?}"), "RawStream(MiscInfo (15), 0x3 bytes)");
    let mut dump = UserDump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    dump.modules.push(Module::new("a.sys", 0x1000, 0x1000));
    assert!(format!("{dump:?}").contains("a.sys"));
}

#[test]
fn an_empty_blob_is_empty() {
    let mut blob = Blob::new("a blob");
    assert_eq!((blob.is_empty(), blob.len()), (true, 0));
    blob.u8(0);
    assert_eq!((blob.is_empty(), blob.len()), (false, 1));
}

/// Offsets of memory are multiples of 16, but those of a Memory64List that follow another range.
#[test]
fn memory_is_aligned_where_the_list_allows_it() {
    for (kind, expected) in [(MemoryListKind::List32, [0, 0, 0]), (MemoryListKind::List64, [0, 5, 8])] {
        let mut dump = UserDump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
        dump.memory_list = kind;
        for (address, size) in [(0x1000, 5), (0x2000, 3), (0x3000, 0x1000)] {
            dump.memory.push(MemoryRange::new(address, size, Protection::READ_WRITE, Fill(1)));
        }
        dump.add_placeholder(1, 0x1000).unwrap();
        let plan = dump.plan().unwrap();
        let offset = |address: u64| {
            plan.map().find(|extent| extent.name == format!("memory at {address:#x}")).unwrap().offset % 16
        };
        assert_eq!([0x1000, 0x2000, 0x3000].map(offset), expected, "{kind:?}");
        // Nothing has a padding of no bytes.
        assert!(plan.map().all(|extent| extent.size > 0));

        let file = plan.to_vec().unwrap();
        let directory = Directory::parse(&file).unwrap();
        let entry = directory.find(StreamType::SYSTEM_INFO).unwrap();
        let stream = directory.stream(entry).unwrap();
        assert_eq!((stream.len(), stream[8..16].to_vec()), (56, [10u32.to_le_bytes(), [0; 4]].concat()));
        let mut outside = entry;
        outside.size = u32::MAX;
        assert_eq!(directory.stream(outside).unwrap_err().kind(), ErrorKind::Malformed);
    }
}

/// A module ends before the first address after it.
#[test]
fn regions_belong_to_the_module_around_their_start() {
    let base = 0xffff_f804_1234_0000;
    let ranges = [base, base + 0x1fff, base + 0x2000]
        .map(|address| MemoryRange::new(address, 1, Protection::EXECUTE_READ, Fill(1)));
    let regions = Region::of_ranges(&ranges, &[Module::new("a.sys", base, 0x2000)]);
    let found: Vec<u64> = regions.iter().map(|region| region.allocation_base).collect();
    assert_eq!(found, [base, base, base + 0x2000]);
}
