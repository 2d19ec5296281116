//! Random dumps for the property tests, and one dump with every stream.

use mdmp::user::{
    Architecture, BasicInfo, BasicPerformance, CodeView, Comment, Cpu, Dump, Exception, FileCache, FixedFileInfo,
    Handle, IptThread, IptTrace, MemoryListKind, MiscInfo, Module, PowerInfo, ProcessTimes, ProductType, RawStream,
    StreamType, SystemInfo, SystemMemoryInfo, SystemTime, Thread, TimeZone, UnloadedModule, XstateConfig,
};
use mdmp::{AddressRange, Context, Fill, MemoryRange, Protection, amd64, arm64, x86};
use proptest::prelude::*;

/// What a test gives to the writer, in a form that can be compared with what comes back.
#[derive(Debug)]
pub struct Given {
    pub dump: Dump<'static>,
    pub memory: Vec<(u64, Vec<u8>)>,
}

const ARCHITECTURES: [Architecture; 3] = [Architecture::AMD64, Architecture::ARM64, Architecture::X86];

pub fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('é'), Just('𝄞'), Just('\\'), proptest::char::range('a', 'z')], 0..12)
        .prop_map(|chars| chars.into_iter().collect())
}

fn context(architecture: Architecture, ip: u64, sp: u64) -> Context {
    match architecture {
        Architecture::ARM64 => arm64::Context::new(ip, sp).into(),
        Architecture::X86 => x86::Context::new(ip as u32, sp as u32).into(),
        _ => amd64::Context::user(ip, sp).into(),
    }
}

/// Disjoint ranges in random order: gaps and sizes in any alignment, neighbours that touch included.
fn memory() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let range = (prop_oneof![Just(0u64), 0..0x3000u64], 1..0x900usize, any::<u8>());
    (any::<u64>(), proptest::collection::vec(range, 0..24)).prop_flat_map(|(start, parts)| {
        let mut next = start % 0xffff_ffff_0000_0000;
        let mut ranges = Vec::new();
        for (gap, size, byte) in parts {
            next += gap;
            let bytes = (0..size).map(|index| byte.wrapping_add((index * 7) as u8)).collect::<Vec<u8>>();
            ranges.push((next, bytes));
            next += size as u64;
        }
        Just(ranges).prop_shuffle()
    })
}

fn module() -> impl Strategy<Value = Module> {
    let codeview = prop_oneof![
        Just(None),
        (any::<[u8; 16]>(), any::<u32>(), "[a-z]{0,9}[.]pdb").prop_map(|(guid, age, pdb)| Some(CodeView::Rsds {
            guid,
            age,
            pdb
        })),
        (any::<u32>(), any::<u32>(), "[a-z]{0,9}[.]pdb").prop_map(|(signature, age, pdb)| Some(CodeView::Nb10 {
            signature,
            age,
            pdb
        })),
    ];
    let version = proptest::option::of((any::<[u16; 4]>(), any::<u64>()).prop_map(|(file_version, date)| {
        FixedFileInfo { file_version, product_version: [1, 2, 3, 4], file_type: 3, date, ..FixedFileInfo::default() }
    }));
    (name(), any::<u64>(), 1..u32::MAX, any::<u32>(), any::<u32>(), version, codeview).prop_map(
        |(name, base, size, checksum, timestamp, version, codeview)| {
            let base = base.min(u64::MAX - u64::from(size) + 1);
            set!(
                Module::new(name, base, size),
                checksum = checksum,
                timestamp = timestamp,
                version = version,
                codeview = codeview
            )
        },
    )
}

/// A stack inside a range: which, and from where to where as fractions.
type StackPart = Option<(prop::sample::Index, u16, u16)>;

/// Instruction pointer, TEB, name, stack.
fn thread() -> impl Strategy<Value = (u64, u64, Option<String>, StackPart)> {
    let stack = proptest::option::of((any::<prop::sample::Index>(), any::<u16>(), any::<u16>()));
    (any::<u64>(), 1..u64::MAX, proptest::option::of(name()), stack)
}

pub fn given() -> impl Strategy<Value = Given> {
    let lists = (
        memory(),
        proptest::collection::vec(module(), 0..6),
        proptest::collection::vec(thread(), 1..5),
        proptest::collection::vec((name(), name(), any::<[u32; 4]>()), 0..4),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..4),
        proptest::collection::vec((name(), any::<[u32; 4]>()), 0..3),
    );
    let plain = (any::<prop::sample::Index>(), any::<bool>(), any::<u32>(), 0..6u8, name(), any::<bool>());
    (lists, plain).prop_map(|((memory, modules, threads, handles, streams, unloaded), plain)| {
        let (architecture, list64, timestamp, misc, text, exception) = plain;
        let architecture = ARCHITECTURES[architecture.index(ARCHITECTURES.len())];
        let (mut memory, mut modules) = (memory, modules);
        if architecture == Architecture::X86 {
            // In the upper half, sign-extended.
            let lowest = memory.iter().map(|(start, _)| *start).min().unwrap_or(0);
            for (start, _) in &mut memory {
                *start = *start - lowest + 0xffff_ffff_8000_0000;
            }
            for module in &mut modules {
                module.base |= 0xffff_ffff_8000_0000;
                module.size = module.size.min((u64::MAX - module.base) as u32).max(1);
            }
        }
        let mut dump = Dump::new(SystemInfo::new(architecture, 10, 0, 22621));
        dump.system_info.csd_version = text.clone();
        dump.timestamp = timestamp;
        dump.memory_list = if list64 { MemoryListKind::List64 } else { MemoryListKind::List32 };
        dump.misc_info = misc_info(misc, &text);
        dump.modules = modules;
        for (index, (ip, teb, name, stack)) in threads.into_iter().enumerate() {
            let mut thread = Thread::new(index as u32 * 4 + 1, teb, context(architecture, ip, ip ^ teb));
            thread.name = name;
            thread.stack = stack.filter(|_| !memory.is_empty()).and_then(|(which, from, size)| {
                let (start, bytes) = &memory[which.index(memory.len())];
                let from = from as usize % bytes.len();
                AddressRange::new(start + from as u64, (1 + size as usize % (bytes.len() - from)) as u64)
            });
            dump.threads.push(thread);
        }
        if exception {
            dump.exception = Some(set!(
                Exception::new(1, 0xc000_0005, 8),
                flags = 1,
                nested = 7,
                parameters = vec![1, 2, timestamp.into()],
                context = dump.threads[0].context.clone()
            ));
        }
        for (type_name, object_name, words) in handles {
            dump.handles.push(set!(
                Handle::default(),
                handle = u64::from(words[0]) << 8,
                type_name = Some(type_name),
                object_name = (!object_name.is_empty()).then_some(object_name),
                attributes = words[0],
                granted_access = words[1],
                handle_count = words[2],
                pointer_count = words[3]
            ));
        }
        for (index, bytes) in streams.into_iter().enumerate() {
            dump.streams.push(Box::new(RawStream::new(StreamType(0x7777_0000 + index as u32), bytes)));
        }
        for (name, words) in unloaded {
            let (base, size) = (words[0].into(), words[1].max(1));
            dump.unloaded_modules.push(set!(
                UnloadedModule::new(name, base, size),
                checksum = words[2],
                timestamp = words[3]
            ));
        }
        if !text.is_empty() {
            dump.comments.push(Comment::Narrow(format!("note {timestamp:#x}")));
            dump.comments.push(Comment::Wide(text));
        }
        dump.memory = memory
            .iter()
            .map(|(start, bytes)| MemoryRange::from_vec(*start, Protection::READ_WRITE, bytes.clone()))
            .collect();
        Given { dump, memory }
    })
}

/// None, or facts that need version `version` of the structure.
pub fn misc_info(version: u8, text: &str) -> Option<MiscInfo> {
    let mut misc = MiscInfo::with_process_id(0x1234);
    misc.times = Some(ProcessTimes { create: 1, user: 2, kernel: 3 });
    if version >= 2 {
        misc.power =
            Some(PowerInfo { max_mhz: 4, current_mhz: 5, mhz_limit: 6, max_idle_state: 7, current_idle_state: 8 });
    }
    if version >= 3 {
        misc.integrity_level = Some(9);
        misc.execute_flags = Some(10);
        misc.protected_process = Some(11);
        misc.time_zone = Some(TimeZone {
            id: 2,
            bias: -60,
            standard_name: "standard".into(),
            standard_date: SystemTime { month: 10, day_of_week: 0, day: 5, hour: 3, ..SystemTime::default() },
            standard_bias: 0,
            daylight_name: "daylight".into(),
            daylight_date: SystemTime { month: 3, day_of_week: 0, day: 5, hour: 2, ..SystemTime::default() },
            daylight_bias: -60,
        });
    }
    if version >= 4 {
        misc.build_string = Some(text.into());
        misc.debug_build = Some("writer".into());
    }
    if version >= 5 {
        misc.xstate = Some(XstateConfig { context_size: 0x340, enabled_features: 3, features: [(1, 2); 64] });
        misc.process_cookie = Some(0x5555);
    }
    (version > 0).then_some(misc)
}

/// Where the first module of [`everything`] lies.
pub fn base_of(architecture: Architecture) -> u64 {
    if architecture == Architecture::X86 { 0xffff_ffff_8123_0000 } else { 0xffff_f804_1234_0000 }
}

/// A dump of `architecture` with every stream that the crate writes.
pub fn everything(architecture: Architecture) -> Given {
    let mut dump = Dump::new(SystemInfo::new(architecture, 10, 0, 19041));
    dump.timestamp = 1_600_000_000;
    dump.system_info.product_type = ProductType::SERVER;
    dump.system_info.csd_version = "Service Pack π".into();
    dump.system_info.processor_level = 6;
    dump.system_info.processor_revision = 0x5e03;
    dump.system_info.processors = 8;
    dump.system_info.suite_mask = 0x100;
    dump.system_info.cpu = match architecture {
        Architecture::X86 => Cpu::X86 {
            vendor_id: *b"GenuineIntel",
            version_information: 0x0006_55e3,
            feature_information: 2,
            amd_extended_features: 3,
        },
        _ => Cpu::Other { features: [0x1122, 0x3344] },
    };
    dump.misc_info = misc_info(5, "19041.1.amd64fre.vb_release.191206-1406");
    let base = base_of(architecture);
    let mut module = Module::new("\\SystemRoot\\system32\\ntoskrnl.exe", base, 0x5000);
    module.checksum = 0x1_0001;
    module.timestamp = 0x8888_0001;
    module.version = Some(FixedFileInfo {
        file_version: [10, 0, 19041, 508],
        product_version: [10, 0, 19041, 1],
        flags_mask: 0x3f,
        flags: 1,
        os: 0x4_0004,
        file_type: 3,
        file_subtype: 7,
        date: 0x1122_3344_5566_7788,
    });
    module.codeview = Some(CodeView::Rsds {
        guid: [0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0],
        age: 3,
        pdb: "ntkrnlmp.pdb".into(),
    });
    dump.modules.push(module);
    let mut module = Module::new("old.sys", base + 0x10_0000, 0x2000);
    module.codeview = Some(CodeView::Raw(b"NB10\0\0\0\0\x01\x02\x03\x04\x05\0\0\0old.pdb\0".to_vec()));
    dump.modules.push(module);
    dump.unloaded_modules.push(set!(
        UnloadedModule::new("gone.sys", 0xffff_f804_2000_0000, 0x8000),
        checksum = 1,
        timestamp = 2
    ));

    let code: Vec<u8> = (0..0x1234u32).map(|index| (index % 251) as u8).collect();
    let memory = vec![(base + 0x1000, code), (base, vec![0x4d; 0x400]), (0x7000, vec![0x55; 0x1000])];
    for (start, bytes) in &memory {
        let protection = if *start == 0x7000 { Protection::READ_WRITE } else { Protection::EXECUTE_READ };
        dump.memory.push(MemoryRange::from_vec(*start, protection, bytes.clone()));
    }
    let mut thread = Thread::new(0x44, 0x7ff0_0000, context(architecture, base + 0x1010, 0x7800));
    thread.suspend_count = 2;
    thread.priority = 9;
    thread.stack = AddressRange::new(0x7000, 0x1000);
    thread.name = Some("main".into());
    dump.exception = Some(set!(
        Exception::new(0x44, 0x8000_0003, base + 0x1010),
        flags = 1,
        nested = 2,
        parameters = vec![3, 4],
        context = thread.context.clone()
    ));
    dump.threads.push(thread);
    dump.handles.push(set!(
        Handle::default(),
        handle = 0x4c,
        type_name = Some("File".into()),
        object_name = Some("\\Device\\Null".into()),
        attributes = 1,
        granted_access = 0x0012_0089,
        handle_count = 2,
        pointer_count = 3
    ));
    dump.handles.push(set!(Handle::default(), handle = 0x50));
    dump.comments.push(Comment::Narrow("narrow".into()));
    dump.comments.push(Comment::Wide("wide ✓".into()));
    dump.system_memory = Some(set!(
        SystemMemoryInfo::default(),
        flags = 3,
        basic = BasicInfo {
            timer_resolution: 156_250,
            page_size: 0x1000,
            physical_pages: 0x3f_ffff,
            lowest_physical_page: 1,
            highest_physical_page: 0x40_0000,
            allocation_granularity: 0x1_0000,
            minimum_user_address: 0x1_0000,
            maximum_user_address: 0x7fff_fffe_ffff,
            active_processors: 0xff,
            processors: 8,
        },
        file_cache = FileCache { current_size: 1, peak_size: 2, page_faults: 3, ..FileCache::default() },
        basic_performance = BasicPerformance { available: 4, committed: 5, commit_limit: 6, peak_commitment: 7 },
        performance = [0xab; 344]
    ));
    dump.ipt = Some(set!(
        IptTrace::default(),
        threads = vec![
            set!(
                IptThread::new(0x44, MemoryRange::from_vec(0, Protection::READ_ONLY, [2, 0x82].repeat(8))),
                timing_settings = 1,
                mtc_frequency = 3,
                frequency_to_tsc_ratio = 0x54,
                ring_buffer_offset = 0x10
            ),
            set!(
                IptThread::new(0x45, MemoryRange::new(0, 5, Protection::READ_ONLY, Fill(0x99))),
                timing_settings = 0,
                mtc_frequency = 0,
                frequency_to_tsc_ratio = 0,
                ring_buffer_offset = 0
            ),
        ]
    ));
    dump.streams.push(Box::new(RawStream::new(StreamType(0x1234_0001), *b"one's own")));
    Given { dump, memory }
}
