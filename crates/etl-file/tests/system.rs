//! What a survey says of the traced system, put together from events that each say a part of it.

use etl_file::{CpuInfo, Diagnostic, Part, Survey, SurveyOptions, System, Trace, Volume};
use testkit::Asm;
use testkit::trace::{Event, Header, Module, Payload, TraceFile};

const TICK: i64 = 2_000_000;
const SYSTEM_CONFIG_EX: &str = "9b79ee91-b5fd-41c0-a243-4248e266e9d0";

fn surveyed(trace: &TraceFile, check: impl FnOnce(Survey<'_>)) {
    let file = trace.finish();
    check(Trace::parse(&file).unwrap().survey(&SurveyOptions::default()));
}

/// The system of a 64-bit trace with these events.
fn system(events: &[Event]) -> System {
    let mut trace = TraceFile::new();
    trace.processors = 1;
    events.iter().for_each(|event| {
        trace.log(0, event.clone());
    });
    let mut found = System::default();
    surveyed(&trace, |survey| found = survey.system);
    found
}

/// Hook 0x0B0A with the three numbers at its end given: ProcessorArchitecture, ProcessorLevel, ProcessorRevision.
fn cpu(computer: &str, processors: u32, [architecture, level, revision]: [u16; 3]) -> Event {
    let mut event = Payload::ConfigCpu { computer: computer.to_owned(), processors }.event(TICK, 8);
    for (at, value) in [(816, architecture), (818, level), (820, revision)] {
        event.payload[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    event
}

/// Hook 0x0B23.
fn processor(index: u32, mhz: u32, name: &str, vendor: &str) -> Event {
    let mut asm = Asm::new();
    asm.u32(index).u32(0).u32(mhz).utf16z(name).pad_to(396, 0).utf16z(vendor).pad_to(428, 0);
    Event::hook(Header::System64, 0x0b23, 2, TICK, asm.finish())
}

/// Hook 0x0B21.
fn family(version: [u16; 4]) -> Event {
    Payload::DeviceFamily { version }.event(TICK, 8)
}

/// SystemConfigEx 37, which a merge adds.
fn family_ex(version: [u16; 4]) -> Event {
    Event::class(Header::Full64, SYSTEM_CONFIG_EX, 37, 0, TICK, Payload::DeviceFamily { version }.encode(8))
}

/// SystemConfigEx 32.
fn build_info(lab: &str, product: &str) -> Event {
    Payload::BuildInfo { lab: lab.to_owned(), product: product.to_owned() }.event(TICK, 8)
}

/// Hook 0x0042.
fn build_lab(lab: &str) -> Event {
    Event::hook(Header::System64, 0x0042, 2, TICK, [lab.as_bytes(), &[0]].concat())
}

/// Hook 0x0B21, else SystemConfigEx 37, those of Windows 8 being all zero; else the second number of the merge's lab
/// string, never that of hook 0x0042, which is 1.
#[test]
fn the_revision_is_that_of_the_first_event_that_knows_it() {
    let (known, zero) = ([10, 0, 26100, 4652], [0; 4]);
    let other = [10, 0, 26100, 7];
    let (info, lab) = (build_info("9200.16384.amd64fre.win8_rtm.120725-1247", ""), build_lab("26100.1.amd64fre.x"));
    let check = |events: &[Event], expected: Option<u32>| {
        assert_eq!(system(events).revision, expected, "{events:?}");
        // Wherever they stand in the file.
        let turned: Vec<_> = events.iter().rev().cloned().collect();
        assert_eq!(system(&turned).revision, expected, "{events:?}");
    };
    check(&[], None);
    check(&[family(known), family_ex(other), info.clone()], Some(4652));
    check(&[family(zero), family_ex(known), info.clone()], Some(4652));
    check(&[family_ex(known)], Some(4652));
    check(&[family(zero), family_ex(zero), info.clone(), lab.clone()], Some(16384));
    check(&[info, lab.clone()], Some(16384));
    check(&[lab], None);
    check(&[family(zero)], None);
    check(&[build_info("9200", "")], None);
    check(&[build_info("9200.x.y", "")], None);
}

#[test]
fn the_architecture_is_the_processors_or_that_of_the_build() {
    let check = |events: &[Event], expected: Option<u16>| {
        assert_eq!(system(events).architecture, expected, "{events:?}");
    };
    let unknown = cpu("", 1, [0xffff, 0, 0]);
    check(&[], None);
    check(&[cpu("", 1, [9, 6, 0])], Some(9));
    check(&[cpu("", 1, [12, 6, 0]), build_lab("26100.1.amd64fre.ge_release.240331-1435")], Some(12));
    for (lab, expected) in [
        ("26100.1.amd64fre.ge_release.240331-1435", Some(9)),
        ("26100.1.arm64fre.ge_release.240331-1435", Some(12)),
        ("7601.17514.x86fre.win7sp1_rtm.101119-1850", Some(0)),
        ("7601.17514.x86chk.win7sp1_rtm.101119-1850", Some(0)),
        ("7601.17514.amd64chk.win7sp1_rtm.101119-1850", Some(9)),
        ("26100.1.mipsfre.x", None),
        ("26100.1.amd64.x", None),
        ("", None),
    ] {
        check(&[unknown.clone(), build_lab(lab)], expected);
        check(&[build_info(lab, "")], expected);
    }
    // The merge's string first, then the session's.
    check(&[build_info("9200.16384", ""), build_lab("9200.1.x86fre.x")], Some(0));
}

/// Model and stepping are the two bytes of ProcessorRevision; what no event says is absent.
#[test]
fn the_make_of_the_processors_comes_from_two_events() {
    let check = |events: &[&Event], expected: Option<CpuInfo>| {
        let events: Vec<Event> = events.iter().map(|&event| event.clone()).collect();
        assert_eq!(system(&events).cpu, expected, "{events:?}");
    };
    let make = |vendor: Option<&str>, name: Option<&str>, [family, model, stepping]: [u16; 3], mhz| {
        let mut cpu = CpuInfo::default();
        (cpu.vendor, cpu.name) = (vendor.map(str::to_owned), name.map(str::to_owned));
        (cpu.family, cpu.model, cpu.stepping, cpu.mhz) = (family, model, stepping, mhz);
        Some(cpu)
    };
    let config = cpu("", 4, [9, 6, 0xb701]);
    let one = processor(0, 2400, "  Intel(R) Core(TM)  ", "GenuineIntel");
    let (intel, core) = (Some("GenuineIntel"), Some("Intel(R) Core(TM)"));
    check(&[], None);
    check(&[&config], make(None, None, [6, 0xb7, 1], 3000));
    check(&[&one], make(intel, core, [0, 0, 0], 2400));
    check(&[&config, &one], make(intel, core, [6, 0xb7, 1], 3000));
    check(&[&processor(0, 2400, " ", "")], make(None, None, [0, 0, 0], 2400));
    // Hybrid processors differ: that of the lowest index speaks for all, wherever it stands in the file.
    let [a, b, c] = [(0, "A"), (1, "B"), (2, "C")].map(|(index, name)| processor(index, index + 7, name, name));
    for order in [[&a, &b, &c], [&c, &a, &b], [&b, &c, &a]] {
        check(&order, make(Some("A"), Some("A"), [0, 0, 0], 7));
    }
    check(&[&a, &processor(0, 9, "again", "again")], make(Some("A"), Some("A"), [0, 0, 0], 7));
}

#[test]
fn what_an_event_leaves_empty_is_not_said() {
    let named = system(&[cpu("BOX", 20, [9, 6, 0]), build_info("1.2.amd64fre", "Windows 11 Pro"), build_lab("other")]);
    assert_eq!((named.computer_name.as_deref(), named.processors), (Some("BOX"), 20));
    assert_eq!((named.product.as_deref(), named.build_lab.as_deref()), (Some("Windows 11 Pro"), Some("1.2.amd64fre")));
    let blank = system(&[cpu("", 20, [9, 6, 0]), build_info("1.2.amd64fre", ""), build_lab("other")]);
    assert_eq!((blank.computer_name, blank.product), (None, None));
    let lab = system(&[build_lab("26100.1.amd64fre.x")]);
    assert_eq!((lab.build_lab.as_deref(), lab.processors), (Some("26100.1.amd64fre.x"), 1));
    for (width, expected) in [(4, 4), (8, 8), (0, 8), (7, 8)] {
        let mut file = TraceFile::new().finish();
        // PointerSize of the log-file header.
        file[0x48 + 0x20 + 0x2c] = width;
        let survey = Trace::parse(&file).unwrap().survey(&SurveyOptions::default());
        assert_eq!(survey.system.pointer_size, expected, "{width}");
    }
}

/// Everything that is said once, said again with other values.
fn facts(trace: &mut TraceFile, nth: u16) {
    let letter = char::from(b'A' + nth as u8).to_string();
    for event in [
        cpu(&letter, u32::from(nth) + 1, [9, nth + 1, 0]),
        processor(5, 1, &letter, &letter),
        family([10, 0, 1, nth + 1]),
        build_info(&format!("{nth}.0.amd64fre"), &letter),
        build_lab(&letter),
        Payload::KernelBase(0xffff_f800_0000_0000 + u64::from(nth)).event(TICK, 8),
        Payload::Volume { nt: letter.clone(), dos: letter.clone() }.event(TICK, 8),
        // The same each time.
        Payload::Volume { nt: "N".to_owned(), dos: "D".to_owned() }.event(TICK, 8),
    ] {
        trace.log(0, event);
    }
}

/// What comes first in the file stands: in a buffer, in one of many, and in the first of several files.
#[test]
fn what_is_said_twice_is_what_was_said_first() {
    let check = |case: &str, survey: &Survey<'_>, volumes: &[&str]| {
        let system = &survey.system;
        let cpu = system.cpu.as_ref().unwrap();
        assert_eq!((system.computer_name.as_deref(), system.processors, cpu.family), (Some("A"), 1, 1), "{case}");
        assert_eq!((cpu.name.as_deref(), system.revision, system.product.as_deref()), (Some("A"), Some(1), Some("A")));
        assert_eq!(system.build_lab.as_deref(), Some("0.0.amd64fre"), "{case}");
        assert_eq!(survey.kernel_base, Some(0xffff_f800_0000_0000), "{case}");
        let found: Vec<_> = survey.volumes.iter().map(|Volume { nt, .. }| nt.as_str()).collect();
        assert_eq!(found, volumes, "{case}");
    };
    // Between the two: nothing, one buffer, and more buffers than one thread takes at a time.
    for between in [0, 1, 3000] {
        let mut trace = TraceFile::new();
        trace.buffer_size = 2048;
        facts(&mut trace, 0);
        (0..between).for_each(|_| {
            trace.buffer(1, None, Vec::new());
        });
        facts(&mut trace, 1);
        surveyed(&trace, |survey| check(&format!("{between} buffers between"), &survey, &["A", "N", "B"]));
    }
    let file = |nth| {
        let mut trace = TraceFile::new();
        facts(&mut trace, nth);
        trace.finish()
    };
    let files = [file(0), file(1), file(2)];
    let part = |file| Part::read(&Trace::parse(file).unwrap(), &SurveyOptions::default(), &|_| ());
    let joined = part(&files[0]).with(vec![part(&files[1]), part(&files[2])]);
    check("three files", &joined, &["A", "N", "B", "C"]);
    // What the first file does not say comes from the second.
    let empty = TraceFile::new().finish();
    check("an empty file first", &part(&empty).with(vec![part(&files[0]), part(&files[1])]), &["A", "N", "B"]);
}

#[test]
fn options_leave_out_what_is_not_wanted() {
    let mut trace = TraceFile::new();
    let (name, command_line) = ("a.exe".to_owned(), String::new());
    let process = Payload::Process { opcode: 1, pid: 8, directory_table_base: 1, name, command_line, sid: None };
    trace.payload(0, TICK, &process);
    trace.payload(0, TICK, &Payload::Thread { opcode: 1, pid: 8, tid: 12, name: String::new() });
    trace.module(0, TICK, &Module::kernel(r"\SystemRoot\a.sys", 0xffff_f800_0000_0000, 0x8000));
    trace.module(0, TICK, &Module::kernel(r"C:\a.exe", 0x1_4000_0000, 0x8000).in_process(8));
    trace.ipt(0, TICK, (8, 12), &[2, 0x82], 0);
    let file = trace.finish();
    let check = |options: SurveyOptions, expected: [usize; 4]| {
        let found = Trace::parse(&file).unwrap().survey(&options);
        let counts = [found.processes.len(), found.threads.len(), found.modules.len(), found.ipt.len()];
        assert_eq!((counts, found.counts.ipt_events), (expected, 1), "{options:?}");
    };
    let all = SurveyOptions::default();
    check(all, [1, 1, 1, 1]);
    check(all.user_modules(true), [1, 1, 2, 1]);
    check(all.processes(false), [0, 0, 1, 1]);
    check(all.ipt(false), [1, 1, 1, 0]);
}

/// How many warnings are kept is bounded, and none goes uncounted.
#[test]
fn of_many_warnings_some_are_kept_and_all_are_counted() {
    for damaged in [999, 1000, 1001, 1020, 3000] {
        let mut trace = TraceFile::new();
        trace.buffer_size = 1024;
        // A body that begins with no marker, in each buffer.
        (0..damaged).for_each(|_| {
            trace.buffer(0, None, vec![0x11; 16]);
        });
        surveyed(&trace, |survey| {
            let kept = damaged.min(1000);
            assert_eq!((survey.warnings.len(), survey.warnings_dropped), (kept, (damaged - kept) as u64));
            assert!(survey.warnings.is_sorted_by_key(Diagnostic::offset), "in file order");
            assert_eq!(survey.warnings[0].offset(), 1024 + 0x48);
        });
    }
}

/// Of the bytes of a file, how many are done: never fewer than before, and all of them at the end.
#[test]
fn progress_ends_with_the_file() {
    let mut trace = TraceFile::new();
    trace.buffer_size = 1024;
    (0..3000).for_each(|_| {
        trace.buffer(0, None, Vec::new());
    });
    trace.preallocated = 2;
    let file = trace.finish();
    let told = std::sync::Mutex::new(Vec::new());
    let options = SurveyOptions::default();
    Trace::parse(&file).unwrap().survey_with_progress(&options, &|done| told.lock().unwrap().push(done));
    let told = told.into_inner().unwrap();
    assert!(told.len() > 1 && told.is_sorted() && told[0] > 0, "{told:?}");
    // The last batch ends with the last buffer, or with what follows it.
    assert!(*told.last().unwrap() as usize >= file.len() - 2 * 1024, "{told:?} of {}", file.len());
}
