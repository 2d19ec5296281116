//! Everything written is read back by an independent parser and by the `minidump` crate, and nothing else is in the
//! file.

use crate::given::{Given, everything, given, misc_info};
use mdmp::Context;
use mdmp::user::{Architecture, CodeView, Dump, MemoryListKind, MiscInfo, RegionKind, SystemInfo, XstateConfig};
use minidump::Minidump;
use proptest::prelude::*;
use testkit::dump::user::Parsed;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn random_dumps_come_back(given in given()) {
        check(&given);
    }
}

#[test]
fn every_stream_comes_back() {
    for architecture in [Architecture::AMD64, Architecture::ARM64, Architecture::X86] {
        for kind in [MemoryListKind::List32, MemoryListKind::List64] {
            let mut given = everything(architecture);
            given.dump.memory_list = kind;
            let parsed = check(&given);
            let types: Vec<u32> = parsed.directory.iter().map(|entry| entry.0).collect();
            let list = if kind == MemoryListKind::List64 { 9 } else { 5 };
            assert_eq!(types, [7, 15, 10, 11, 3, 24, 6, 4, 14, 12, 21, 0x1234_0001, 23, 16, list]);
        }
    }
}

fn check(given: &Given) -> Parsed {
    let plan = given.dump.plan().unwrap();
    let file = plan.to_vec().unwrap();
    assert_eq!(plan.len(), file.len() as u64);
    assert_eq!(file, given.dump.plan().unwrap().to_vec().unwrap(), "the same values give the same bytes");

    // The plan's own map covers each byte once.
    let mut end = 0;
    for extent in plan.map() {
        assert_eq!(extent.offset, end, "{extent:?}");
        end += extent.size;
        if extent.name == "padding" {
            assert!(file[extent.offset as usize..end as usize].iter().all(|&byte| byte == 0), "{extent:?}");
        }
    }
    assert_eq!(end, plan.len());

    // Each byte is reached from the directory, or is padding: zero and shorter than the largest alignment.
    let parsed = Parsed::new(&file);
    for (offset, size) in parsed.unseen(plan.len()) {
        let gap = &file[offset as usize..(offset + size) as usize];
        assert!(size < 16 && gap.iter().all(|&byte| byte == 0), "unreachable: {offset:#x}+{size:#x}");
    }
    let mut streams: Vec<_> = parsed.directory.iter().map(|&(_, size, offset)| (offset, size)).collect();
    streams.sort_unstable();
    for pair in streams.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "streams overlap: {pair:x?}");
    }

    compare(given, &parsed);
    compare_minidump(given, &file);
    let report = mdmp::validate(&file).unwrap();
    let bad: Vec<_> = report.at_least(mdmp::Severity::Refused).map(ToString::to_string).collect();
    assert_eq!(bad, Vec::<String>::new());
    parsed
}

fn compare(given: &Given, parsed: &Parsed) {
    let Given { dump, memory } = given;
    let full = dump.memory_list == MemoryListKind::List64;
    assert_eq!(parsed.version & 0xffff, 0xa793);
    assert_eq!(parsed.timestamp, dump.timestamp);
    assert_eq!(parsed.flags, if full { 0x6002 } else { 0x6000 });
    assert_eq!(&parsed.memory, memory);
    if full {
        let entry = parsed.directory.last().unwrap();
        assert_eq!((entry.0, entry.1 as usize), (9, 16 * (memory.len() + 1)), "Memory64List is last");
    }

    let info = &dump.system_info;
    assert_eq!(parsed.system_info[..2], info.architecture.0.to_le_bytes());
    assert_eq!(parsed.system_info[16..24], [info.build.to_le_bytes(), [2, 0, 0, 0]].concat());
    assert_eq!(parsed.csd_version, info.csd_version);

    assert_eq!(parsed.modules.len(), dump.modules.len());
    for (found, module) in parsed.modules.iter().zip(&dump.modules) {
        assert_eq!(
            (found.base, found.size, found.checksum, found.timestamp, &found.name),
            (module.base, module.size, module.checksum, module.timestamp, &module.name)
        );
        let codeview = match &module.codeview {
            None => Vec::new(),
            Some(CodeView::Raw(bytes)) => bytes.clone(),
            Some(CodeView::Rsds { guid, age, pdb }) => {
                [b"RSDS", &guid[..], &age.to_le_bytes(), pdb.as_bytes(), b"\0"].concat()
            }
            Some(CodeView::Nb10 { signature, age, pdb }) => {
                let numbers = [[0; 4], signature.to_le_bytes(), age.to_le_bytes()].concat();
                [b"NB10", &numbers[..], pdb.as_bytes(), b"\0"].concat()
            }
            Some(other) => panic!("a record that this test does not know: {other:?}"),
        };
        assert_eq!(found.codeview, codeview);
        match module.version {
            None => assert_eq!(found.version, [0; 13]),
            Some(version) => {
                let [major, minor, build, revision] = version.file_version.map(u32::from);
                assert_eq!(found.version[..4], [0xfeef_04bd, 0x1_0000, major << 16 | minor, build << 16 | revision]);
                assert_eq!(found.version[9], version.file_type);
                assert_eq!(found.version[11..], [(version.date >> 32) as u32, version.date as u32]);
            }
        }
    }
    let unloaded: Vec<_> = parsed.unloaded.iter().map(|m| (&m.name, m.base, m.size, m.checksum, m.timestamp)).collect();
    let wanted: Vec<_> =
        dump.unloaded_modules.iter().map(|m| (&m.name, m.base, m.size, m.checksum, m.timestamp)).collect();
    assert_eq!(unloaded, wanted);

    assert_eq!(parsed.threads.len(), dump.threads.len());
    for (found, thread) in parsed.threads.iter().zip(&dump.threads) {
        assert_eq!(found.words, [thread.id, thread.suspend_count, thread.priority_class, thread.priority]);
        assert_eq!(found.teb, thread.teb);
        assert_eq!(found.context, thread.context.as_ref().map_or(Vec::new(), |c| c.as_bytes().to_vec()));
        assert_eq!(found.context_offset % 16, 0);
        match thread.stack {
            None => assert_eq!((found.stack, found.stack_size), (0, 0)),
            Some(stack) => {
                assert_eq!((found.stack, u64::from(found.stack_size)), (stack.start(), stack.size()));
                let (start, bytes) = memory
                    .iter()
                    .find(|(start, bytes)| *start <= stack.start() && stack.start() - start < bytes.len() as u64)
                    .unwrap();
                let from = (stack.start() - start) as usize;
                assert_eq!(found.stack_bytes, bytes[from..from + stack.size() as usize]);
            }
        }
    }
    let names: Vec<_> = dump.threads.iter().filter_map(|t| Some((t.id, t.name.clone()?))).collect();
    assert_eq!(parsed.thread_names, names);

    assert_eq!(parsed.exception.is_some(), dump.exception.is_some());
    if let (Some(found), Some(exception)) = (&parsed.exception, &dump.exception) {
        assert_eq!(found.thread, exception.thread_id);
        assert_eq!(found.code_flags, (exception.code, exception.flags));
        assert_eq!(found.nested_address, (exception.nested, exception.address));
        assert_eq!(found.parameters, exception.parameters);
        assert_eq!(found.context, exception.context.as_ref().unwrap().as_bytes());
    }

    for (found, handle) in parsed.handles.iter().zip(&dump.handles) {
        assert_eq!(found.handle, handle.handle);
        assert_eq!((&found.type_name, &found.object_name), (&handle.type_name, &handle.object_name));
        let words = [handle.attributes, handle.granted_access, handle.handle_count, handle.pointer_count];
        assert_eq!(found.words, words);
    }
    assert_eq!(parsed.handles.len(), dump.handles.len());
    assert_eq!(parsed.comments.len(), dump.comments.len());

    // A region begins where each range does, and regions are disjoint and rising.
    let mut starts: Vec<u64> = memory.iter().map(|(start, _)| *start).collect();
    starts.sort_unstable();
    assert_eq!(parsed.regions.iter().map(|region| region.base).collect::<Vec<_>>(), starts);
    for pair in parsed.regions.windows(2) {
        assert!(pair[0].base + pair[0].size <= pair[1].base);
    }
    for region in &parsed.regions {
        let (_, bytes) = memory.iter().find(|(start, _)| *start == region.base).unwrap();
        assert!(region.size >= bytes.len() as u64 && region.size < bytes.len() as u64 + 0x1000);
    }
}

/// The other reader: rust-minidump.
fn compare_minidump(given: &Given, file: &[u8]) {
    use minidump::{
        MinidumpException, MinidumpHandleDataStream, MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpModuleList,
        MinidumpSystemInfo, MinidumpThreadList, MinidumpThreadNames, MinidumpUnloadedModuleList, Module as _,
    };
    let Given { dump, memory } = given;
    let read = Minidump::read(file).unwrap();
    let system = read.get_stream::<MinidumpSystemInfo>().unwrap();
    assert_eq!(system.raw.build_number, dump.system_info.build);
    assert_eq!(system.csd_version().unwrap(), dump.system_info.csd_version);
    let misc = read.get_stream::<MinidumpMiscInfo>().ok();
    assert_eq!(misc.is_some(), dump.misc_info.is_some());
    if let Some(misc) = &misc {
        assert_eq!(misc.raw.process_id(), Some(&0x1234));
    }

    let modules = read.get_stream::<MinidumpModuleList>().unwrap();
    let found: Vec<_> = modules.iter().map(|m| (m.base_address(), m.size(), m.code_file().into_owned())).collect();
    let wanted: Vec<_> = dump.modules.iter().map(|m| (m.base, u64::from(m.size), m.name.clone())).collect();
    assert_eq!(found, wanted);
    for (found, module) in modules.iter().zip(&dump.modules) {
        if let Some(CodeView::Rsds { pdb, .. } | CodeView::Nb10 { pdb, .. }) = &module.codeview {
            assert_eq!(found.debug_file().as_deref(), Some(pdb.as_str()));
        }
    }

    let list = read.get_memory().unwrap();
    for (start, bytes) in memory {
        assert_eq!(list.memory_at_address(*start).unwrap().bytes(), bytes);
    }
    assert_eq!(list.iter().count(), memory.len());
    let regions = read.get_stream::<MinidumpMemoryInfoList<'_>>().unwrap();
    for (start, _) in memory {
        assert_eq!(regions.memory_info_at_address(*start).unwrap().raw.base_address, *start);
    }

    let threads = read.get_stream::<MinidumpThreadList<'_>>().unwrap();
    let names = read.get_stream::<MinidumpThreadNames>().unwrap_or_default();
    for (found, thread) in threads.threads.iter().zip(&dump.threads) {
        assert_eq!(found.raw.thread_id, thread.id);
        let context = found.context(&system, misc.as_ref()).unwrap();
        let wanted = thread.context.as_ref().unwrap();
        let mask = if matches!(wanted, Context::X86(_)) { u64::from(u32::MAX) } else { u64::MAX };
        assert_eq!(context.get_instruction_pointer(), wanted.instruction_pointer() & mask);
        assert_eq!(context.get_stack_pointer(), wanted.stack_pointer() & mask);
        assert_eq!(names.get_name(thread.id).as_deref(), thread.name.as_deref());
        if let Some(stack) = thread.stack {
            let memory = found.stack_memory(&list).unwrap();
            assert_eq!((memory.base_address(), memory.size()), (stack.start(), stack.size()));
        }
    }
    if let Some(exception) = &dump.exception {
        let found = read.get_stream::<MinidumpException<'_>>().unwrap();
        assert_eq!(found.get_crashing_thread_id(), exception.thread_id);
        assert_eq!(found.raw.exception_record.exception_code, exception.code);
    }
    if !dump.handles.is_empty() {
        let found = read.get_stream::<MinidumpHandleDataStream>().unwrap();
        let names = found.handles.iter().map(|handle| (handle.type_name.as_deref(), handle.object_name.as_deref()));
        let wanted = dump.handles.iter().map(|handle| (handle.type_name.as_deref(), handle.object_name.as_deref()));
        assert!(names.eq(wanted), "{:?}", found.handles);
    }
    if !dump.unloaded_modules.is_empty() {
        let found = read.get_stream::<MinidumpUnloadedModuleList>();
        // rust-minidump refuses the whole list when one range wraps around; given() makes none that do.
        assert_eq!(found.unwrap().iter().count(), dump.unloaded_modules.len());
    }
}

#[test]
fn misc_info_versions() {
    for (version, size) in [(1, 24), (2, 44), (3, 232), (4, 832), (5, 1364)] {
        let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
        dump.misc_info = misc_info(version, "lab");
        dump.add_placeholder(1, 0).unwrap();
        let parsed = Parsed::new(&dump.plan().unwrap().to_vec().unwrap());
        let misc = &parsed.misc_info;
        let word = |at: usize| u32::from_le_bytes(misc[at..at + 4].try_into().unwrap());
        assert_eq!(misc.len(), size);
        assert_eq!((word(8), word(12), word(16), word(20)), (0x1234, 1, 2, 3));
        let flags = [0x3, 0x7, 0xf7, 0x1f7, 0x3f7][usize::from(version) - 1];
        assert_eq!(word(4), flags, "Flags1 of version {version}");
        if version >= 2 {
            assert_eq!([24, 28, 32, 36, 40].map(word), [4, 5, 6, 7, 8]);
        }
        if version >= 3 {
            assert_eq!([44, 48, 52, 56].map(word), [9, 10, 11, 2]);
            assert_eq!(misc[60..64], (-60i32).to_le_bytes());
            assert_eq!(misc[64..70], [b's', 0, b't', 0, b'a', 0]);
            assert_eq!(misc[128..138], [0, 0, 10, 0, 0, 0, 5, 0, 3, 0], "StandardDate");
            assert_eq!(misc[228..232], (-60i32).to_le_bytes(), "DaylightBias");
        }
        if version >= 4 {
            assert_eq!(misc[232..240], [b'l', 0, b'a', 0, b'b', 0, 0, 0]);
            assert_eq!(misc[752..756], [b'w', 0, b'r', 0]);
        }
        if version >= 5 {
            assert_eq!([832, 836, 840, 848, 852, 1360].map(word), [528, 0x340, 3, 1, 2, 0x5555]);
        }
    }
}

/// Each fact by itself asks for the version of the structure that has a field for it, and sets its own flag alone.
#[test]
fn every_fact_of_misc_info_counts_by_itself() {
    type Set = fn(&mut MiscInfo);
    let facts: [(u8, u32, Set); 12] = [
        (1, 0, |_| ()),
        (1, 0x1, |info| info.process_id = Some(7)),
        (1, 0x2, |info| info.times = Some(Default::default())),
        (2, 0x4, |info| info.power = Some(Default::default())),
        (3, 0x10, |info| info.integrity_level = Some(0)),
        (3, 0x20, |info| info.execute_flags = Some(0)),
        (3, 0x80, |info| info.protected_process = Some(0)),
        (3, 0x40, |info| info.time_zone = Some(Default::default())),
        (4, 0x100, |info| info.build_string = Some(String::new())),
        (4, 0x100, |info| info.debug_build = Some(String::new())),
        (5, 0x200, |info| info.process_cookie = Some(0)),
        (5, 0, |info| {
            info.xstate = Some(XstateConfig { context_size: 0, enabled_features: 0, features: [(0, 0); 64] });
        }),
    ];
    for (index, (version, flag, set)) in facts.into_iter().enumerate() {
        let mut info = MiscInfo::default();
        set(&mut info);
        assert_eq!(info.version(), version, "fact {index}");
        let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
        dump.misc_info = Some(info);
        dump.add_placeholder(1, 0).unwrap();
        let misc = Parsed::new(&dump.plan().unwrap().to_vec().unwrap()).misc_info;
        let size = [24u32, 44, 232, 832, 1364][usize::from(version) - 1];
        assert_eq!((misc.len() as u32, &misc[..4]), (size, &size.to_le_bytes()[..]), "fact {index}");
        assert_eq!(misc[4..8], flag.to_le_bytes(), "Flags1 of fact {index}");
    }
}

#[test]
fn rare_streams_hold_their_fields() {
    let parsed = check(&everything(Architecture::AMD64));
    let system_memory = &parsed.others.iter().find(|(kind, _)| *kind == 21).unwrap().1;
    assert_eq!(system_memory.len(), 492);
    assert_eq!(system_memory[..8], [&[1, 0, 3, 0][..], &156_250u32.to_le_bytes()].concat());
    assert_eq!(system_memory[4 + 48..4 + 52], [8, 0, 0, 0], "NumberOfProcessors");
    assert_eq!(system_memory[56..72], [1u64.to_le_bytes(), 2u64.to_le_bytes()].concat());
    assert_eq!(system_memory[148..], [0xab; 344]);
    let ipt = &parsed.others.iter().find(|(kind, _)| *kind == 23).unwrap().1;
    let total = 28 + 16 + 28 + 5;
    assert_eq!(ipt.len(), 8 + total);
    assert_eq!(ipt[..8], [1, 0, 1, 0, total as u8, 0, 0, 0]);
    assert_eq!(ipt[8..16], 0x44u64.to_le_bytes());
    assert_eq!(ipt[32..36], [16, 0, 0, 0]);
    assert_eq!(ipt[36..52], [2, 0x82].repeat(8));
    assert_eq!(ipt[80..], [0x99; 5]);
    assert_eq!(parsed.comments, ["narrow", "wide ✓"]);
    let own = parsed.others.iter().find(|(kind, _)| *kind == 0x1234_0001).unwrap();
    assert_eq!(own.1, b"one's own");
    let image = parsed.regions.iter().find(|region| region.base == 0xffff_f804_1234_1000).unwrap();
    assert_eq!(image.allocation_base, 0xffff_f804_1234_0000);
    assert_eq!(image.state_protect_type, [0x1000, 0x20, RegionKind::IMAGE.0]);
    let stack = parsed.regions.iter().find(|region| region.base == 0x7000).unwrap();
    assert_eq!(stack.state_protect_type, [0x1000, 4, 0x2_0000]);
}
