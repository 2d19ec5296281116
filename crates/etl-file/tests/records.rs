//! Typed records: every kind, in its kernel form and in that of the API's relogger, for both pointer sizes.

use etl_file::{ImageAction, LifeEvent, Record, Trace};
use testkit::Asm;
use testkit::trace::{Event, Header, Module, Payload, TraceFile};

/// Reads one event back and hands its record to `check`.
fn read(event: Event, check: impl FnOnce(Record<'_>)) {
    let mut trace = TraceFile::new();
    trace.log(0, event);
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let event = buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap();
    check(event.record().unwrap());
}

/// Reads a payload back in all its forms.
fn all_forms(payload: &Payload, check: impl Fn(Record<'_>, u8)) {
    for pointer_size in [4, 8] {
        read(payload.event(5, pointer_size), |record| check(record, pointer_size));
        read(payload.relogged(5, pointer_size), |record| check(record, pointer_size));
    }
}

#[test]
fn image_events_of_every_version() {
    let module = Module::kernel(r"\SystemRoot\System32\drivers\tcpip.sys", 0x8123_4000, 0x2f_0000);
    for (hook, action) in [
        (0x030a, ImageAction::Load),
        (0x1402, ImageAction::Unload),
        (0x1403, ImageAction::RundownStart),
        (0x1404, ImageAction::RundownEnd),
    ] {
        // Version 4 was never seen; it is read as what it most likely is, an extended 3.
        for version in 0..=4 {
            all_forms(&Payload::Image { hook, version, module: module.clone() }, |record, _| {
                let Record::Image(image) = record else { panic!("{record:?}") };
                assert_eq!((image.action, image.base, image.size), (action, module.base, module.size));
                assert_eq!(image.path, module.path);
                assert_eq!(image.process, (version >= 1).then_some(0));
                let identity = if version >= 2 { (module.timestamp, module.checksum) } else { (0, 0) };
                assert_eq!((image.timestamp, image.checksum), identity);
                assert_eq!(image.signature, (version >= 3).then_some((12, 1)));
            });
        }
    }
}

#[test]
fn a_64_bit_image_under_a_32_bit_header_is_recognised() {
    let module = Module::kernel(r"C:\Windows\System32\ntdll.dll", 0x7ffe_1234_0000, 0x1f_0000).in_process(77);
    for version in [1, 2, 3] {
        let mut event = Payload::Image { hook: 0x1403, version, module: module.clone() }.event(5, 8);
        event.header = Header::System32;
        read(event, |record| {
            let Record::Image(image) = record else { panic!("{record:?}") };
            assert_eq!((image.base, image.size, image.process), (module.base, module.size, Some(77)));
            assert_eq!(image.path, module.path);
        });
    }
}

/// The size of a 64-bit version 0 is where 32-bit ones have the name, and most sizes are no text.
#[test]
fn a_name_is_text() {
    for size in [0x1_2000, 0x2f_0000, 0x1f_f000] {
        let module = Module::kernel(r"C:\Windows\System32\ntdll.dll", 0x7ffe_1234_0000, size);
        let mut event = Payload::Image { hook: 0x1403, version: 0, module: module.clone() }.event(5, 8);
        event.header = Header::System32;
        read(event, |record| {
            let Record::Image(image) = record else { panic!("{record:?}") };
            assert_eq!((image.base, image.size, image.path.as_str()), (module.base, size, module.path.as_str()));
        });
    }
}

/// The address that an event about an image begins with, without reading the rest; other events are about none.
#[test]
fn the_address_of_an_image_is_told_without_its_record() {
    let base_of = |event: Event| {
        let mut trace = TraceFile::new();
        trace.log(0, event);
        let file = trace.finish();
        let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
        buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap().image_base()
    };
    let guid = "acec1308-f0ba-64b1-bd3d-4bc7c7e6bfc7";
    let module = Module::kernel(r"\SystemRoot\a.sys", 0x8123_4000, 0x8000).with_pdb("a.pdb", guid, 1);
    let image = |hook| Payload::Image { hook, version: 3, module: module.clone() };
    let images = [0x030a, 0x1402, 0x1403, 0x1404].map(image).into_iter();
    for payload in images.chain([Payload::ImageId(module.clone()), Payload::DebugId(module.clone())]) {
        for width in [4, 8] {
            assert_eq!(base_of(payload.event(5, width)), Some(module.base), "{payload:?}");
            assert_eq!(base_of(payload.relogged(5, width)), Some(module.base), "{payload:?}");
        }
    }
    for (id, expected) in [(5, Some(0x8123_4000)), (6, Some(0x8123_4000)), (7, None), (15, None)] {
        let payload = 0x8123_4000u64.to_le_bytes().repeat(8);
        let event = Event::class(Header::Event64, "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716", id, 0, 5, payload);
        assert_eq!(base_of(event), expected, "{id}");
    }
    let build = Payload::BuildInfo { lab: "26100.1".into(), product: "Windows".into() };
    let version = Payload::FileVersion { module, strings: vec![String::new(); 10] };
    for payload in [Payload::KernelBase(0x8000_0000), Payload::ContextSwitch { new: 1, old: 2 }, build, version] {
        assert_eq!(base_of(payload.event(5, 8)), None, "{payload:?}");
    }
    // Too short for an address.
    assert_eq!(base_of(Event::hook(Header::System64, 0x030a, 3, 5, vec![1; 7])), None);
}

/// Where the image would rather have been, in both kinds of event that say it.
#[test]
fn a_preferred_base_is_another_address() {
    let check = |mut event: Event, at: usize, width: usize| {
        let base = 0x1_8000_0000u64 >> (8 - width);
        event.payload[at..at + width].copy_from_slice(&base.to_le_bytes()[..width]);
        read(event, |record| {
            let Record::Image(image) = record else { panic!("{record:?}") };
            assert_eq!((image.base, image.default_base, image.process), (0x8123_4000, base, Some(77)), "{width}");
        });
    };
    let module = Module::kernel(r"C:\Windows\System32\ntdll.dll", 0x8123_4000, 0x1f_0000).in_process(77);
    for version in [2, 3] {
        let image = Payload::Image { hook: 0x1403, version, module: module.clone() };
        check(image.event(5, 8), 32, 8);
        check(image.event(5, 4), 24, 4);
    }
    for (header, width) in [(Header::Event64, 8), (Header::Event32, 4)] {
        let mut packed = Asm::new();
        packed.pointer(module.base, width).pointer(module.size, width).u32(77).u32(11).u32(12);
        packed.pointer(0, width).utf16z(&module.path);
        let event = Event::class(header, "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716", 5, 0, 5, packed.finish());
        check(event.clone(), 2 * width + 12, width);
        read(event, |record| {
            let Record::Image(image) = record else { panic!("{record:?}") };
            assert_eq!((image.size, image.checksum, image.timestamp), (0x1f_0000, 11, 12));
            assert_eq!((image.path, image.signature), (module.path.clone(), None));
        });
    }
}

/// Text is UTF-16: a unit whose low byte looks like ASCII is not.
#[test]
fn names_are_of_any_script() {
    for name in ["ascii", "Łódź", "ŁŁ", "āĂ", "übel", "драйвер", "ドライバ", "😀", "a\u{100}\u{7f}\u{80}"]
    {
        all_forms(&Payload::Volume { nt: name.into(), dos: format!("{name}{name}") }, |record, _| {
            let Record::VolumeMapping(volume) = record else { panic!("{record:?}") };
            assert_eq!((volume.nt_path.as_str(), volume.dos_path), (name, format!("{name}{name}")));
        });
    }
}

#[test]
fn notes_of_a_merge() {
    let module = Module::kernel(r"\SystemRoot\System32\ci.dll", 0x8123_4000, 0xe_8000)
        .with_pdb("ci.pdb", "acec1308-f0ba-64b1-bd3d-4bc7c7e6bfc7", 3)
        .in_process(4);
    all_forms(&Payload::ImageId(module.clone()), |record, _| {
        let Record::ImageId(id) = record else { panic!("{record:?}") };
        assert_eq!((id.base, id.size, id.process, id.timestamp), (module.base, module.size, 4, module.timestamp));
        assert_eq!(id.original_name, "ci.dll");
    });
    all_forms(&Payload::DebugId(module.clone()), |record, _| {
        let Record::DebugId(id) = record else { panic!("{record:?}") };
        assert_eq!((id.base, id.process, id.age, id.name.as_str(), id.managed), (module.base, 4, 3, "ci.pdb", false));
        assert_eq!(id.guid.to_string(), "ACEC1308-F0BA-64B1-BD3D-4BC7C7E6BFC7");
    });
    let strings: Vec<String> = ["ci.dll", "Code Integrity", "10.0.1"].map(str::to_owned).to_vec();
    all_forms(&Payload::FileVersion { module: module.clone(), strings }, |record, _| {
        let Record::FileVersion(version) = record else { panic!("{record:?}") };
        assert_eq!((u64::from(version.size), version.timestamp), (module.size, module.timestamp));
        assert_eq!((version.strings[1].as_str(), version.strings[9].as_str()), ("Code Integrity", ""));
    });
    all_forms(&Payload::BuildInfo { lab: "26100.4652.x".into(), product: "W".into() }, |record, _| {
        let Record::BuildInfo(info) = record else { panic!("{record:?}") };
        assert_eq!((info.build_lab.as_str(), info.product.as_str()), ("26100.4652.x", "W"));
    });
    all_forms(&Payload::Volume { nt: "N".into(), dos: "D".into() }, |record, _| {
        let Record::VolumeMapping(volume) = record else { panic!("{record:?}") };
        assert_eq!((volume.nt_path.as_str(), volume.dos_path.as_str()), ("N", "D"));
    });
}

#[test]
fn system_configuration() {
    all_forms(&Payload::ConfigCpu { computer: "BOX".into(), processors: 20 }, |record, _| {
        let Record::ConfigCpu(cpu) = record else { panic!("{record:?}") };
        assert_eq!((cpu.mhz, cpu.processors, cpu.memory_mb, cpu.page_size), (3000, 20, 16_384, 4096));
        assert_eq!((cpu.computer_name.as_str(), cpu.domain.as_str()), ("BOX", "WORKGROUP"));
        assert_eq!((cpu.architecture, cpu.level, cpu.revision), (9, 6, 0xb701));
    });
    all_forms(&Payload::ConfigProcessor { index: 7 }, |record, _| {
        let Record::ConfigProcessor(processor) = record else { panic!("{record:?}") };
        assert_eq!((processor.index, processor.vendor.as_str()), (7, "GenuineIntel"));
        assert!(processor.identifier.starts_with("Intel64 Family 6"));
    });
    all_forms(&Payload::DeviceFamily { version: [10, 0, 26100, 4652] }, |record, _| {
        let Record::DeviceFamily(family) = record else { panic!("{record:?}") };
        assert_eq!((family.version, family.family), ([10, 0, 26100, 4652], 3));
    });
    all_forms(&Payload::KernelBase(0x8040_0000), |record, _| assert_eq!(record, Record::KernelBase(0x8040_0000)));
}

#[test]
fn processes_and_threads() {
    let opcodes = [LifeEvent::Start, LifeEvent::End, LifeEvent::RundownStart, LifeEvent::RundownEnd];
    for (opcode, life) in (1..).zip(opcodes) {
        for sid in [None, Some(1), Some(5), Some(15)] {
            let (name, command_line) = ("svchost.exe".to_owned(), "svchost -k ünïcode".to_owned());
            let process =
                Payload::Process { opcode, pid: 900, directory_table_base: 0x1234_5000, name, command_line, sid };
            all_forms(&process, |record, _| {
                let Record::Process(process) = record else { panic!("{record:?}") };
                assert_eq!((process.life, process.pid, process.parent, process.session), (life, 900, 4, 1));
                assert_eq!(process.directory_table_base, Some(0x1234_5000));
                assert_eq!(
                    (process.name.as_str(), process.command_line.as_str()),
                    ("svchost.exe", "svchost -k ünïcode")
                );
            });
        }
        all_forms(&Payload::Thread { opcode, pid: 900, tid: 904, name: "worker".into() }, |record, _| {
            let Record::Thread(thread) = record else { panic!("{record:?}") };
            assert_eq!((thread.life, thread.pid, thread.tid, thread.name.as_str()), (life, 900, 904, "worker"));
        });
    }
}

#[test]
fn what_processors_did() {
    all_forms(&Payload::ContextSwitch { new: 8, old: 12 }, |record, _| {
        let Record::ContextSwitch(switch) = record else { panic!("{record:?}") };
        assert_eq!((switch.new_thread, switch.old_thread), (8, 12));
    });
    all_forms(&Payload::SampledProfile { address: 0x8040_1234, tid: 8 }, |record, _| {
        let Record::SampledProfile(sample) = record else { panic!("{record:?}") };
        assert_eq!((sample.address, sample.thread, sample.count), (0x8040_1234, 8, 1));
    });
    let frames = vec![0x8040_1234, 0x8040_2345, 0x7ff6_0000];
    all_forms(&Payload::StackWalk { tick: 99, owner: (1, 2), frames: frames.clone() }, |record, _| {
        let Record::StackWalk(stack) = record else { panic!("{record:?}") };
        assert_eq!((stack.event_time.0, stack.process, stack.thread), (99, 1, 2));
        assert_eq!(stack.frames().collect::<Vec<_>>(), frames);
    });
    let branches = vec![(0x8040_1234, 0x8040_9999), (0x8040_5555, 0x8040_1200)];
    all_forms(&Payload::LastBranches { tick: 99, owner: (1, 2), branches: branches.clone() }, |record, _| {
        let Record::LastBranches(lbr) = record else { panic!("{record:?}") };
        assert_eq!((lbr.event_time.0, lbr.process, lbr.thread, lbr.filter), (99, 1, 2, 0));
        assert_eq!(lbr.branches().collect::<Vec<_>>(), branches);
    });
    let data = vec![2, 0x82, 0x99];
    let ipt = Payload::Ipt { trigger: 99, owner: (1, 2), options: 0x0106_0011, ring_offset: 2, data: data.clone() };
    all_forms(&ipt, |record, _| {
        let Record::Ipt(ipt) = record else { panic!("{record:?}") };
        assert_eq!((ipt.trigger_time.0, ipt.process, ipt.thread, ipt.declared, ipt.ring_offset), (99, 1, 2, 3, 2));
        assert_eq!(ipt.data, data);
        assert_eq!((ipt.options.timing(), ipt.options.mode(), ipt.options.buffer_size()), (1, 1, 4096 << 6));
    });
}

/// The count has 32 bits before version 2, and 16 bits with two of no meaning behind them from then on.
#[test]
fn a_sample_counts_by_its_version() {
    for (width, perfinfo) in [(4, Header::Perfinfo32), (8, Header::Perfinfo64)] {
        for (version, expected) in [(0, 0x0007_0003), (1, 0x0007_0003), (2, 3), (3, 3)] {
            let mut payload = Asm::new();
            payload.pointer(0x8040_1234, width).u32(8).u16(3).u16(7);
            read(Event::hook(perfinfo, 0x0f2e, version, 5, payload.finish()), |record| {
                let Record::SampledProfile(sample) = record else { panic!("{record:?}") };
                assert_eq!((sample.address, sample.thread, sample.count), (0x8040_1234, 8, expected), "{version}");
            });
        }
    }
}

#[test]
fn what_is_not_known_is_passed_on() {
    read(Event::hook(Header::Perfinfo64, 0x7777, 1, 5, vec![1; 9]), |record| assert_eq!(record, Record::Other));
    let unknown = "00112233-4455-6677-8899-aabbccddeeff";
    read(Event::class(Header::Full64, unknown, 3, 1, 5, vec![1; 9]), |record| assert_eq!(record, Record::Other));
    // An event of another provider, with the number that image events have in Kernel-Process.
    read(Event::class(Header::Event64, unknown, 5, 0, 5, vec![1; 60]), |record| assert_eq!(record, Record::Other));
    // A merge's note of a kind whose meaning is not known.
    let notes = "b3e675d7-2554-4f18-830b-2762732560de";
    read(Event::class(Header::Full64, notes, 39, 1, 5, vec![1; 36]), |record| assert_eq!(record, Record::Other));
}

#[test]
fn payloads_that_are_too_short_are_errors_with_a_place() {
    let payloads = [
        Payload::KernelBase(1),
        Payload::Image { hook: 0x1403, version: 3, module: Module::kernel("x", 1 << 40, 1) },
        Payload::ConfigCpu { computer: "B".into(), processors: 1 },
        Payload::ConfigProcessor { index: 0 },
        Payload::ContextSwitch { new: 1, old: 2 },
        Payload::Ipt { trigger: 1, owner: (1, 2), options: 0, ring_offset: 0, data: Vec::new() },
        Payload::Thread { opcode: 1, pid: 1, tid: 2, name: String::new() },
    ];
    for payload in payloads {
        let mut trace = TraceFile::new();
        let mut event = payload.event(5, 8);
        event.payload.truncate(7);
        trace.log(0, event);
        let file = trace.finish();
        let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
        let event = buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap();
        let error = event.record().unwrap_err();
        assert_eq!(error.offset(), buffer.offset() + 0x48, "{payload:?}: {error}");
        assert!(error.to_string().contains("shorter"), "{error}");
    }
}
