//! Triage dumps: what testkit assembles is read; what is written is read back equal; hostile bytes do no harm.

use std::borrow::Cow;

use mdmp::kernel::{
    Anchors, Bugcheck, CallStack, DataPage, DebuggerData, Driver, Dump, Exception, FieldOffset, Machine, State, System,
    UnloadedDriver,
};
use mdmp::read::{Origin, Triage};
use mdmp::{Error, Fill, Format, MemoryRange, Protection, Severity, amd64, validate};
use proptest::prelude::*;
use testkit::dump::kernel::Machine as Dumped;

/// Sets fields of a value: the structs of this crate may gain fields, so tests cannot write them as literals.
macro_rules! set {
    ($start:expr, $($field:ident = $value:expr),* $(,)?) => {{
        let mut value = $start;
        $(value.$field = $value;)*
        value
    }};
}

fn assert_sound(file: &[u8]) {
    let report = validate(file).unwrap();
    assert_eq!((report.format, report.findings.len()), (Format::KernelTriage, 0), "{report:?}");
}

#[test]
fn everything_that_a_machine_has_is_read() {
    let machine = Dumped::sample();
    let file = machine.triage();
    let dump = Triage::parse(&file).unwrap();
    assert!(dump.warnings().is_empty(), "{:?}", dump.warnings());

    let header = dump.header();
    assert_eq!(header.system().build, machine.build);
    assert_eq!(header.system().time, machine.time);
    assert_eq!(header.bugcheck(), Bugcheck { code: machine.bugcheck.0, parameters: machine.bugcheck.1 });
    assert_eq!(header.exception().address, machine.rip);
    assert_eq!(header.context(), machine.context());
    assert_eq!(header.comment(), "");

    let drivers: Vec<Driver> = dump.drivers().map(Result::unwrap).collect();
    for (driver, module) in drivers.iter().zip(&machine.modules) {
        let expected = set!(
            Driver::new(module.name.clone(), module.base, module.size),
            timestamp = module.timestamp,
            checksum = module.checksum,
            entry_point = 0,
            flags = 0
        );
        assert_eq!(*driver, expected);
    }
    assert_eq!(drivers.len(), machine.modules.len());
    let unloaded = dump.unloaded().unwrap();
    assert_eq!(unloaded[0].name, "dam.sys");
    assert_eq!((unloaded[0].start, unloaded[0].end), (machine.unloaded[0].1, machine.unloaded[0].2));

    let current = &machine.threads[0];
    assert_eq!(dump.current_thread(), Some(current.address));
    assert_eq!(dump.current_process(), Some(machine.process));
    assert_eq!(dump.thread().unwrap(), machine.thread(current));
    assert_eq!(dump.process().unwrap(), machine.process());
    assert_eq!(dump.prcb().unwrap(), machine.prcb());
    let stack = dump.call_stack().unwrap();
    assert_eq!((stack.address, &*stack.bytes), (current.kernel_stack, &*current.stack));

    let processors: Vec<_> = dump.processors().collect();
    assert_eq!(processors.len(), 1);
    assert_eq!((processors[0].prcb, processors[0].thread), (machine.prcb, current.address));
    assert_eq!(processors[0].context.unwrap(), machine.context());

    for (address, bytes) in machine.blocks() {
        let mut out = vec![0; bytes.len()];
        assert_eq!(dump.memory().read(address, &mut out), bytes.len(), "{address:#x}");
        assert_eq!(out, bytes, "{address:#x}");
    }
    // Thread and stack are not data blocks, but are memory nevertheless.
    assert_eq!(dump.memory().at(current.address).unwrap().origin, Origin::Thread);
    assert_eq!(dump.memory().at(current.kernel_stack).unwrap().origin, Origin::CallStack);
    assert_eq!(dump.memory().read(0x1000, &mut [0; 4]), 0);
    assert_sound(&file);
}

#[test]
fn each_processor_has_its_thread_and_context() {
    let mut machine = Dumped::sample();
    machine.processors = 3;
    let block = machine.blocks().into_iter().find(|(_, bytes)| *bytes == machine.prcb.to_le_bytes()).unwrap().0;
    let (prcb, context, thread) = (0xffff_f804_7900_0180u64, 0xffff_f804_7a00_0000u64, 0xffff_c08b_1111_0000u64);
    // The fields that the sample's own KPRCB has, with other values.
    let mut bytes = machine.prcb();
    let found = |value: u64| machine.prcb().windows(8).position(|word| word == value.to_le_bytes()).unwrap();
    let own_context = machine.blocks().into_iter().find(|(_, bytes)| *bytes == machine.context()).unwrap().0;
    bytes[found(machine.threads[0].address)..][..8].copy_from_slice(&thread.to_le_bytes());
    bytes[found(own_context)..][..8].copy_from_slice(&context.to_le_bytes());
    let registers: Vec<u8> = machine.context().iter().map(|byte| byte ^ 0x55).collect();
    machine.memory.extend([(block + 8, prcb.to_le_bytes().to_vec()), (prcb, bytes), (context, registers.clone())]);

    let file = machine.triage();
    let dump = Triage::parse(&file).unwrap();
    let found: Vec<_> =
        dump.processors().map(|found| (found.number, found.prcb, found.thread, found.context)).collect();
    let expected = [
        (0, machine.prcb, machine.threads[0].address, Some(&machine.context()[..])),
        (1, prcb, thread, Some(&registers[..])),
    ];
    assert_eq!(found, expected, "the third one was not captured");
}

/// A dump with every field in use.
fn full_dump() -> Dump<'static> {
    let mut debugger_data = DebuggerData::new(0xffff_f804_1250_0000);
    debugger_data.set_offset(FieldOffset::SIZE_PRCB, 0x30);
    debugger_data.set_offset(FieldOffset::SIZE_EPROCESS, 0x28);
    debugger_data.set_offset(FieldOffset::SIZE_ETHREAD, 0x20);
    set!(
        Dump::default(),
        system = set!(System::default(), build = 26100, processors = 20, time = 1 << 57, up_time = 77, boot_id = 5),
        bugcheck = Bugcheck { code: 0xd1, parameters: [1, 2, 3, 4] },
        anchors = set!(
            Anchors::default(),
            directory_table_base = 0x1000,
            pfn_database = 2,
            ps_loaded_module_list = 3,
            ps_active_process_head = 4,
            debugger_data_block = 0xffff_f804_1250_0000
        ),
        exception = set!(Exception::default(), code = 0x8000_0003, flags = 1, address = 9, parameters = vec![7, 8]),
        context = mdmp::Context::from(amd64::Context::kernel(5, 6)).as_bytes().to_vec(),
        comment = "made here".into(),
        state = set!(
            State::default(),
            mm = Cow::Borrowed(b"mm facts"),
            prcb = vec![0x10; 0x30].into(),
            process = vec![0x20; 0x28].into(),
            thread = vec![0x30; 0x20].into(),
            call_stack = CallStack { address: 0xffff_8000_0000_1000, bytes: vec![0x40; 0x50].into() },
            data_page = Some(DataPage { address: 0xffff_8000_0000_5000, bytes: vec![0x50; 0x60].into() }),
            debugger_data = Some(debugger_data),
            options = 7
        ),
        drivers = vec![
            set!(Driver::new("nt.exe", 1 << 63, 0x1000), timestamp = 1, checksum = 2, entry_point = 3, flags = 4),
            Driver::new("\u{444}\u{1f600}.sys", 0xffff_ffff_ffff_0000, 0xffff),
            Driver::new("", 0, 0),
        ],
        unloaded = vec![UnloadedDriver::new("gone.sys", 1, 2), UnloadedDriver::new("twelve chars", 3, 4),],
        broken_driver = Some("guilty.sys".into()),
        memory = vec![
            MemoryRange::from_vec(0xffff_8000_0009_0001, Protection::READ_WRITE, vec![1, 2, 3]),
            MemoryRange::from_vec(0x7000, Protection::READ_WRITE, vec![9; 0x1001]),
        ],
        secondary = Cow::Borrowed(b"DumpBlob...")
    )
}

#[test]
fn what_is_written_is_read_back_equal() {
    let dump = full_dump();
    let file = dump.plan().unwrap().to_vec().unwrap();
    let back = Triage::parse(&file).unwrap();
    assert!(back.warnings().is_empty(), "{:?}", back.warnings());
    assert_eq!(back.header().system(), dump.system);
    assert_eq!(back.header().bugcheck(), dump.bugcheck);
    assert_eq!(back.header().anchors(), dump.anchors);
    assert_eq!(back.header().exception(), dump.exception);
    assert_eq!(back.header().context(), dump.context);
    assert_eq!(back.header().comment(), dump.comment);
    assert_eq!(back.drivers().map(Result::unwrap).collect::<Vec<_>>(), dump.drivers);
    assert_eq!(back.unloaded().unwrap(), dump.unloaded);
    assert_eq!(back.broken_driver().unwrap().unwrap(), "guilty.sys");
    assert_eq!(back.mm().unwrap(), &*dump.state.mm);
    assert_eq!(back.prcb().unwrap(), &*dump.state.prcb);
    assert_eq!(back.process().unwrap(), &*dump.state.process);
    assert_eq!(back.thread().unwrap(), &*dump.state.thread);
    assert_eq!(back.call_stack().unwrap().bytes, dump.state.call_stack.bytes);
    assert_eq!(back.data_page().unwrap().bytes, dump.state.data_page.as_ref().unwrap().bytes);
    assert_eq!(back.debugger_data(), dump.state.debugger_data.as_ref());
    assert_eq!(back.secondary(), &*dump.secondary);
    assert_eq!(back.raw().triage_options.get(), 7);
    let mut out = [0; 0x1001];
    assert_eq!(back.memory().read(0x7000, &mut out), 0x1001);
    assert_eq!(out, [9; 0x1001]);
    assert_eq!(back.memory().read(0xffff_8000_0009_0002, &mut out), 2);
    assert_eq!(out[..2], [2, 3]);
    for driver in 0..3 {
        let entry = back.raw().driver_list_offset.get() as usize + 0x90 * driver;
        assert_eq!(u32::from_le_bytes(file[entry..entry + 4].try_into().unwrap()) % 8, 0, "DriverName {driver}");
    }
    // The same values give the same bytes.
    assert_eq!(full_dump().plan().unwrap().to_vec().unwrap(), file);
}

/// Changes a good dump and expects plan() to refuse it with words.
fn refuse(change: impl FnOnce(&mut Dump<'static>), words: &str) {
    let mut dump = full_dump();
    change(&mut dump);
    let error = dump.plan().unwrap_err();
    assert!(error.is_plan(), "{error}");
    assert!(error.to_string().contains(words), "{error}: expected {words}");
}

#[test]
fn what_debuggers_refuse_is_an_error_before_the_first_byte() {
    let range = |address, size| MemoryRange::new(address, size, Protection::READ_WRITE, Fill(0));
    refuse(|dump| dump.drivers.clear(), "DriverCount");
    refuse(|dump| dump.system.machine = Machine::I386, "MachineImageType");
    refuse(|dump| dump.system.processors = 0, "NumberProcessors");
    refuse(|dump| dump.context = vec![0; 3001], "ContextRecord");
    refuse(|dump| dump.comment = "x".repeat(128), "Comment");
    refuse(|dump| dump.drivers[0].name = "x".repeat(1025), "DUMP_STRING");
    refuse(|dump| dump.memory.push(range(0x1000, 0)), "Size of 0x1000: found 0");
    refuse(|dump| dump.memory.push(range(u64::MAX, 2)), "memory range at 0xffffffffffffffff: size: found 0x2");
    refuse(|dump| dump.memory.push(range(0x8000, 0x10)), "overlap");
    refuse(|dump| dump.memory.push(range(1 << 40, 1 << 32)), "at most 0xffffffff");
    refuse(|dump| dump.memory.push(range(1 << 40, (1 << 32) - 1)), "32-bit file offset");
    // 4 GiB in all: the third gigabyte and a half has no 32-bit offset.
    refuse(|dump| dump.memory.extend((1..=3).map(|n| range(n << 40, 3 << 29))), "32-bit file offset");
}

#[test]
fn offsets_reach_almost_4_gib() {
    let mut dump = full_dump();
    dump.memory.extend((1..=3).map(|n| MemoryRange::new(n << 40, 1 << 30, Protection::READ_WRITE, Fill(n as u8))));
    let plan = dump.plan().unwrap();
    assert!(plan.len() > 3 << 30);
}

/// Breaks a good file and expects validate() to find it.
fn find(change: impl FnOnce(&mut Vec<u8>), severity: Severity, words: &str) {
    let mut file = Dumped::sample().triage();
    change(&mut file);
    let report = validate(&file).unwrap();
    let found = report.findings.iter().find(|finding| finding.to_string().contains(words));
    assert_eq!(found.map(|finding| finding.rule.severity), Some(severity), "{words}: {report:?}");
}

#[test]
fn broken_rules_are_found_in_finished_files() {
    let word = |file: &mut Vec<u8>, at: usize, value: u32| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let read = |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    find(|file| word(file, 0x1038, 0x47f), Severity::Degraded, "MiniDumpFields");
    find(|file| word(file, 0x2008, 0x2000), Severity::Refused, "ValidOffset");
    find(|file| word(file, 0x201c, 0), Severity::Refused, "PrcbOffset");
    find(|file| word(file, 0x2034, 0), Severity::Refused, "DriverCount");
    find(|file| word(file, 0x2034, 1 << 30), Severity::Refused, "driver list");
    find(|file| word(file, 0x2070, 0), Severity::Degraded, "DebuggerDataOffset");
    find(|file| word(file, read(file, 0x2070) + 0x338, 0), Severity::Degraded, "OffsetPrcbContext");
    find(|file| word(file, read(file, 0x2070) + 0x338, 0x10), Severity::Degraded, "context of the current processor");
    find(|file| word(file, read(file, 0x2030), u32::MAX), Severity::Refused, "DriverName");
    find(|file| word(file, read(file, 0x2078) + 8, u32::MAX), Severity::Degraded, "TRIAGE_DATA_BLOCK");
    find(|file| word(file, read(file, 0x2078) + 12, 0x7fff_ffff), Severity::Degraded, "past the end of the file");
    find(
        |file| (1..4).for_each(|index| word(file, read(file, 0x2078) + 16 * index + 12, 0x7fff_ffff)),
        Severity::Degraded,
        "3 blocks with bytes past the end of the file, this one first",
    );
    // The table begins 0x40 bytes before the end of a file that is cut there: room for four entries of 16 bytes.
    find(
        |file| {
            file.truncate(read(file, 0x2078) + 0x40);
        },
        Severity::Degraded,
        "at most 4 in this file",
    );
    find(
        |file| word(file, 0x34, 2),
        Severity::Refused,
        "KiProcessorBlock[1] was not captured, and NumberProcessors is 2",
    );
    // The current processor's context counts, whichever others were captured: its number is in the KPRCB.
    let other_is_current = |file: &mut Vec<u8>| {
        let (number, prcb) = (read(file, 0x2070) + 0x2be, read(file, 0x201c));
        word(file, number, 0x24);
        word(file, prcb + 0x24, 1);
    };
    find(other_is_current, Severity::Degraded, "KiProcessorBlock[1]");
    let second_like_first = |file: &mut Vec<u8>| {
        let table = read(file, 0x2078);
        file.copy_within(table..table + 8, table + 16);
    };
    find(second_like_first, Severity::Degraded, "hold different bytes");
}

#[test]
fn parts_without_an_offset_are_found_at_their_field() {
    for (name, field) in [
        ("ContextOffset", 0x200c),
        ("ExceptionOffset", 0x2010),
        ("PrcbOffset", 0x201c),
        ("ProcessOffset", 0x2020),
        ("ThreadOffset", 0x2024),
        ("CallStackOffset", 0x2028),
        ("DriverListOffset", 0x2030),
        ("DriverCount", 0x2034),
    ] {
        let mut file = Dumped::sample().triage();
        file[field..field + 4].fill(0);
        let report = validate(&file).unwrap();
        let message = format!("TRIAGE_DUMP64.{name}: found 0");
        let found = report.findings.iter().find(|finding| finding.message == message);
        assert_eq!(found.map(|finding| finding.offset), Some(field as u64), "{name}: {report:?}");
    }
}

/// What looks like damage and is not: no debugger minds.
#[test]
fn windows_own_ways_are_no_findings() {
    let read = |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let address = |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let entry_of = |file: &[u8], wanted: u64| {
        let (table, count) = (read(file, 0x2078), read(file, 0x207c));
        (0..count).map(|index| table + 16 * index).find(|&at| address(file, at) == wanted).unwrap()
    };
    let check = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = Dumped::sample().triage();
        change(&mut file);
        let report = validate(&file).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
    };
    // KiProcessorBlock was not captured, or its address is 0: the engine takes the header's context, for any number of
    // processors.
    check(&|file| {
        let at = entry_of(file, address(file, read(file, 0x2070) + 0x218));
        file[at..at + 8].copy_from_slice(&0x7777_0000u64.to_le_bytes());
        file[0x34] = 4;
    });
    check(&|file| {
        let at = read(file, 0x2070) + 0x218;
        file[at..at + 8].fill(0);
        file[0x34] = 4;
    });
    // Two blocks hold the same bytes of the same addresses: here the second lies inside the first.
    check(&|file| {
        let first = read(file, 0x2078);
        let (start, data) = (address(file, first) + 1, read(file, first + 8) as u32 + 1);
        let at = entry_of(file, address(file, read(file, 0x2070) + 0x218));
        file[at..at + 8].copy_from_slice(&start.to_le_bytes());
        file[at + 8..at + 12].copy_from_slice(&data.to_le_bytes());
        file[at + 12..at + 16].copy_from_slice(&2u32.to_le_bytes());
    });
}

#[test]
fn other_files_are_refused_with_reasons() {
    let refused = |file: &[u8], words: &str| {
        let error = Triage::parse(file).unwrap_err().to_string();
        assert!(error.contains(words), "{error}: expected {words}");
    };
    refused(b"", "DUMP_HEADER64");
    refused(&[0; 0x3000], "PAGE");
    refused(&Dumped::sample().full(), "full memory");
    refused(&Dumped::sample().bitmap(), "full memory bitmap");
    refused(&Dumped::sample().triage()[..0x2040], "TRIAGE_DUMP64");
}

proptest! {
    #[test]
    fn random_plans_read_back_equal(
        names in prop::collection::vec("[a-z\u{e4}\u{1f600}]{0,20}", 1..6),
        sizes in prop::collection::vec((1u64..0x3000, 0u64..3), 0..12),
        stack in 0usize..0x100,
        secondary in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut dump = full_dump();
        dump.drivers = names.iter().zip(1u32..).map(|(name, n)| Driver::new(name.as_str(), n.into(), n)).collect();
        dump.state.call_stack.bytes = vec![3; stack].into();
        dump.secondary = secondary.into();
        let mut next = 0x10_0000;
        dump.memory = sizes
            .iter()
            .map(|&(size, gap)| {
                let address = next + gap;
                next = address + size;
                let bytes = (0..size).map(|at| (address + at * 7) as u8).collect();
                MemoryRange::from_vec(address, Protection::READ_WRITE, bytes)
            })
            .collect();
        let plan = dump.plan().unwrap();
        let file = plan.to_vec().unwrap();
        prop_assert_eq!(file.len() as u64, plan.len());

        // No byte of the file is unaccounted for, and none twice.
        let mut end = 0;
        for extent in plan.map() {
            prop_assert_eq!(extent.offset, end);
            end += extent.size;
        }
        prop_assert_eq!(end, plan.len());

        let back = Triage::parse(&file).unwrap();
        prop_assert!(back.warnings().is_empty());
        prop_assert_eq!(back.drivers().collect::<Result<Vec<_>, Error>>().unwrap(), dump.drivers);
        prop_assert_eq!(back.secondary(), &*dump.secondary);
        let mut held = 0;
        for range in &dump.memory {
            let (mut expected, mut out) = (vec![0; range.size as usize], vec![0; range.size as usize]);
            range.source.read_at(0, &mut expected).unwrap();
            prop_assert_eq!(back.memory().read(range.address, &mut out), out.len());
            prop_assert_eq!(out, expected);
            held += range.size;
        }
        let blocks = back.memory().all().iter().filter(|segment| segment.origin == Origin::DataBlock);
        prop_assert_eq!(blocks.map(|segment| segment.bytes.len() as u64).sum::<u64>(), held);
        prop_assert_eq!(validate(&file).unwrap().at_least(Severity::Refused).count(), 0);
    }
}
