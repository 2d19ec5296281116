//! What values say of themselves: names of numbers, fields of words, times.

use etl_file::{
    Clock, ClockKind, CompressionFormat, Diagnostic, Elapsed, FileTime, Guid, HeaderKind, HookId, IptOptions,
    LogFileMode, ProviderGuid, Scratch, Tick, Trace, decompress,
};
use testkit::trace::{Compression, TraceFile};

/// Names as event viewers show them (ntwmi.h in phnt, without the prefix of the constant).
#[test]
fn kernel_events_have_names() {
    for (hook, name) in [
        (0x0000, "Header"),
        (0x0005, "HeaderExtension"),
        (0x0008, "RundownComplete"),
        (0x0020, "GroupMasksEnd"),
        (0x0040, "DbgIdRSDS"),
        (0x0042, "BuildLab"),
        (0x0050, "PartitionInfo"),
        (0x010a, "DiskRead"),
        (0x010b, "DiskWrite"),
        (0x010e, "DiskFlush"),
        (0x020a, "HardFault"),
        (0x0301, "ProcessStart"),
        (0x030a, "ImageLoad"),
        (0x0327, "ProcessDefunct"),
        (0x0501, "ThreadStart"),
        (0x0524, "CSwitch"),
        (0x0532, "ReadyThread"),
        (0x0539, "ThreadSetBasePriority"),
        (0x0548, "ThreadSetName"),
        (0x0b0a, "SystemConfigCPU"),
        (0x0c20, "LastBranchRecord"),
        (0x0f2e, "SampledProfile"),
        (0x0f2f, "PmcCounterProfile"),
        (0x0f32, "ISR-MSI"),
        (0x0f33, "SysClEnter"),
        (0x0f34, "SysClExit"),
        (0x0f42, "ThreadedDPC"),
        (0x0f43, "ISR"),
        (0x0f44, "DPC"),
        (0x0f45, "TimerDPC"),
        (0x1402, "ImageUnload"),
        (0x1420, "ImageRelocation"),
        (0x1421, "KernelBase"),
        (0x1820, "StackWalk"),
        (0x1f20, "IntelProcessorTrace"),
    ] {
        let hook = HookId(hook);
        assert_eq!((hook.name(), hook.to_string()), (Some(name), name.to_owned()));
    }
    assert_eq!((HookId(0x0f99).name(), HookId(0x0f99).to_string().as_str()), (None, "hook 0x0f99"));
    assert_eq!(format!("{:?}", HookId(0x524)), "0x0524");
    assert_eq!((HookId(0x1402).group(), HookId(0x1402).opcode()), (0x14, 2));
}

#[test]
fn providers_have_names() {
    let process = "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716".parse().unwrap();
    assert_eq!(ProviderGuid::name(process), Some("Microsoft-Windows-Kernel-Process"));
    assert_eq!(ProviderGuid::named("MICROSOFT-windows-kernel-process"), Some(process));
    assert_eq!(ProviderGuid::named("Thread"), Some("3d6fa8d1-fe05-11d0-9dda-00c04fd7ba7c".parse().unwrap()));
    let unknown = "22fb2cd6-0e7b-422b-a0c7-000000000000".parse().unwrap();
    assert_eq!((ProviderGuid::name(unknown), ProviderGuid::named("Nobody")), (None, None));
}

/// Names of ntwmi.h's TRACE_HEADER_TYPE_* constants.
#[test]
fn kinds_of_headers_have_names() {
    for (kind, name) in [
        (1, "SYSTEM32"),
        (2, "SYSTEM64"),
        (3, "COMPACT32"),
        (4, "COMPACT64"),
        (10, "FULL_HEADER32"),
        (11, "INSTANCE32"),
        (12, "TIMED"),
        (13, "ERROR"),
        (14, "WNODE_HEADER"),
        (15, "MESSAGE"),
        (16, "PERFINFO32"),
        (17, "PERFINFO64"),
        (18, "EVENT_HEADER32"),
        (19, "EVENT_HEADER64"),
        (20, "FULL_HEADER64"),
        (21, "INSTANCE64"),
        (0x100, "WPP"),
        (0x101, "ULONG32_TIME"),
    ] {
        assert_eq!(HeaderKind(kind).name(), Some(name));
    }
    assert_eq!(HeaderKind(9).name(), None);
    assert_eq!(format!("{:?} {:?}", HeaderKind(2), HeaderKind(9)), "SYSTEM64 header type 9");
    let sizes: Vec<_> = (1..=21).map(|kind| HeaderKind(kind).pointer_size().unwrap_or(0)).collect();
    assert_eq!(sizes, [4, 8, 4, 8, 0, 0, 0, 0, 0, 4, 4, 0, 0, 0, 0, 4, 8, 4, 8, 8, 8]);
}

/// Every field of TRACE_LOGFILE_HEADER, in both of its forms.
#[test]
fn the_log_file_header_is_read_field_by_field() {
    for pointer_size in [4, 8] {
        let mut trace = TraceFile::new();
        trace.pointer_size = pointer_size;
        (trace.processors, trace.cpu_mhz, trace.clock, trace.perf_frequency) = (12, 2995, 3, 1_193_182);
        (trace.events_lost, trace.buffers_lost, trace.mode) = (77, 5, 0x0200_0108);
        (trace.logger_name, trace.log_file_name) = ("NT Kernel Logger".to_owned(), r"C:\a.etl".to_owned());
        let mut file = trace.finish();
        // Payload of the header event; what testkit leaves at zero.
        let payload = 0x48 + 32;
        file[payload + 0x1c] = 64;
        let trace_of_file = Trace::parse(&file).unwrap();
        let header = trace_of_file.header();
        assert_eq!((header.buffer_size, header.os_major, header.os_minor, header.build), (0x1_0000, 10, 0, 26100));
        assert_eq!((header.processors, header.timer_resolution, header.maximum_file_size), (12, 156_250, 64));
        assert_eq!((header.mode, header.buffers_written), (LogFileMode(0x0200_0108), 1));
        assert_eq!((header.pointer_size, header.events_lost, header.cpu_mhz), (pointer_size.into(), 77, 2995));
        assert_eq!((header.time_zone_bias, header.clock, header.buffers_lost), (-60, ClockKind::CPU_CYCLES, 5));
        assert_eq!((header.start_time, header.end_time), (FileTime(trace.start_time), FileTime(trace.end_time)));
        assert_eq!((header.boot_time, header.perf_frequency), (FileTime(trace.boot_time), 1_193_182));
        assert_eq!((&*header.logger_name, &*header.log_file_name), ("NT Kernel Logger", r"C:\a.etl"));
        assert_eq!((header.start, trace_of_file.len(), trace_of_file.is_empty()), (Tick(1_000_000), 0x1_0000, false));
        assert_eq!(trace_of_file.compression(), CompressionFormat::NONE);
    }
    for (method, format) in [
        (Compression::Lznt1, CompressionFormat::LZNT1),
        (Compression::Xpress, CompressionFormat::XPRESS),
        (Compression::XpressHuffman, CompressionFormat::XPRESS_HUFFMAN),
    ] {
        let mut trace = TraceFile::new();
        trace.compression = method;
        assert_eq!(Trace::parse(&trace.finish()).unwrap().compression(), format);
    }
}

#[test]
fn modes_of_a_session() {
    for (mode, private) in [(0x0, false), (0x1, false), (0x800, true), (0x2_0000, true), (0x2_0801, true)] {
        assert_eq!((LogFileMode(mode).is_private(), LogFileMode(mode).to_string()), (private, format!("{mode:#x}")));
    }
    assert!(LogFileMode(3).has(LogFileMode::CIRCULAR) && !LogFileMode(1).has(LogFileMode::CIRCULAR));
}

#[test]
fn guids_are_read_and_shown() {
    let guid: Guid = "{01234567-89ab-cdef-F0E1-d2c3b4a59687}".parse().unwrap();
    assert_eq!(guid.to_string(), "01234567-89AB-CDEF-F0E1-D2C3B4A59687");
    assert_eq!(format!("{guid:?}"), "{01234567-89AB-CDEF-F0E1-D2C3B4A59687}");
    let error = "01234567-89ab-cdef-F0E1_d2c3b4a59687".parse::<Guid>().unwrap_err().to_string();
    assert!(error.starts_with("not a GUID: 32 hexadecimal digits in groups of 8-4-4-4-12"), "{error}");
}

#[test]
fn numbers_have_names() {
    let formats = [0, 2, 3, 4, 9].map(|format| CompressionFormat(format).to_string());
    assert_eq!(formats, ["none", "LZNT1", "XPRESS", "XPRESS Huffman", "format 9"]);
    let clocks = [0, 1, 2, 3, 9].map(|kind| ClockKind(kind).to_string());
    assert_eq!(clocks, ["raw", "performance counter", "system time", "processor cycles", "clock type 9"]);
}

/// The fields of the options word, each with other bits set around it (`IPT_OPTIONS` in libipt.h).
#[test]
fn intel_pt_options_are_fields_of_a_word() {
    let fields = |word: u64| {
        let options = IptOptions(word);
        (options.timing(), options.mtc_frequency(), options.cyc_threshold(), options.buffer_size(), options.mode())
    };
    assert_eq!(fields(0), (0, 0, 0, 4096, 0));
    assert_eq!(fields(u64::MAX), (15, 15, 15, 4096 << 15, 15));
    assert_eq!(fields(0x0203_4521), (2, 5, 4, 4096 << 3, 2));
    assert_eq!(fields(0xf0f0_b0af), (10, 0, 11, 4096, 0));
}

#[test]
fn a_clock_says_what_it_counts() {
    let clock = Clock::new(ClockKind::QPC, Tick(1000), FileTime(132_000_000_000_000_000), 2_500_000, 3000);
    assert_eq!((clock.kind(), clock.frequency()), (ClockKind::QPC, 2_500_000));
    assert_eq!((clock.start(), clock.start_time()), (Tick(1000), FileTime(132_000_000_000_000_000)));
    for (units, tick) in [(0, 1000), (4, 1001), (5, 1002), (8, 1002), (-4, 999), (10_000_000, 2_501_000)] {
        assert_eq!(clock.tick_at_utc(FileTime(132_000_000_000_000_000 + units)), Tick(tick), "{units}");
    }
    for (ticks, frequency, nanos, seconds) in
        [(3, 2, 1_500_000_000, 1.5), (-1, 4, -250_000_000, -0.25), (2, 3, 666_666_666, 2.0 / 3.0)]
    {
        let elapsed = Elapsed { ticks, frequency };
        assert_eq!((elapsed.nanos(), elapsed.seconds()), (nanos, seconds));
    }
}

/// Days around the leap rule: 2000 has a 29 February, 1900 and 2100 have none; and both ends of a year.
#[test]
fn times_print_as_dates() {
    for (seconds, text) in [
        (951_782_400, "2000-02-29T00:00:00.0000000Z"),
        (951_868_799, "2000-02-29T23:59:59.0000000Z"),
        (-2_203_891_200, "1900-03-01T00:00:00.0000000Z"),
        (-2_203_891_201, "1900-02-28T23:59:59.0000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.0000000Z"),
        (1_609_459_199, "2020-12-31T23:59:59.0000000Z"),
        (1_609_459_200, "2021-01-01T00:00:00.0000000Z"),
        (1_700_000_000, "2023-11-14T22:13:20.0000000Z"),
    ] {
        assert_eq!(FileTime(116_444_736_000_000_000 + seconds * 10_000_000).to_string(), text);
    }
}

#[test]
fn what_was_skipped_is_told() {
    let mut trace = TraceFile::new();
    trace.kernel_base(0, 10, 0);
    let mut file = trace.finish();
    let length = file.len() as u64;
    file.resize(file.len() + 0x2_0000, 0);
    let survey = Trace::parse(&file).unwrap().survey(&Default::default());
    let tail = survey.warnings.iter().find(|diagnostic| matches!(diagnostic, Diagnostic::ReservedTail { .. }));
    let tail = tail.unwrap_or_else(|| panic!("{:?}", survey.warnings));
    assert_eq!((tail.offset(), tail.length(), tail.damage()), (length, 0x2_0000, None));
    let expected =
        format!("file at file offset {length:#x}: its tail was reserved and never written (131072 bytes skipped)");
    assert_eq!(tail.to_string(), expected);
}

/// A literal and one match, in each of the forms in which plain XPRESS writes a length (MS-XCA 2.4.4).
#[test]
fn long_matches_have_three_forms() {
    let stream = |length: &[u8]| {
        // Flags, highest bit first: literal, match, and ones after the end. Distance 1, and 7 and 15 for a longer length.
        let mut stream = 0x7fff_ffffu32.to_le_bytes().to_vec();
        stream.extend([b'a', 7, 0, 15]);
        stream.extend(length);
        stream
    };
    let decompressed = |length: &[u8], expected: usize| {
        let mut scratch = Scratch::default();
        let short = decompress(CompressionFormat::XPRESS, &stream(length), expected, &mut scratch).map(<[u8]>::to_vec);
        // Far from the end of the input another loop decodes.
        let long = [stream(length), vec![0x55; 64]].concat();
        assert_eq!(
            decompress(CompressionFormat::XPRESS, &long, expected, &mut scratch),
            short.as_deref().map_err(|e| *e)
        );
        short
    };
    for (length, bytes) in [
        (25, vec![0]),
        (26, vec![1]),
        (279, vec![254]),
        (280, [&[255][..], &277u16.to_le_bytes()].concat()),
        (0x1_0002, [&[255][..], &0xffffu16.to_le_bytes()].concat()),
        (0x1_0003, [&[255, 0, 0][..], &0x1_0000u32.to_le_bytes()].concat()),
    ] {
        assert_eq!(decompressed(&bytes, length + 1).unwrap(), vec![b'a'; length + 1], "{length}");
        assert!(decompressed(&bytes, length).is_err(), "{length}: longer than the output");
    }
    // 22 is the smallest number that the second form may hold: 25 bytes.
    assert_eq!(decompressed(&[255, 22, 0], 26).unwrap(), vec![b'a'; 26]);
    assert!(decompressed(&[255, 21, 0], 25).is_err());
}

/// The same with Huffman codes (MS-XCA 2.2.4): one of one bit for the literal, the other for a match at distance 1 whose
/// length is 15 and more.
#[test]
fn long_matches_have_three_forms_among_huffman_codes() {
    let stream = |length: &[u8]| {
        // Code lengths, two to a byte; then words of codes, highest bit first. Two words are read ahead.
        let mut stream = vec![0; 256];
        stream[usize::from(b'a' / 2)] = 1 << 4;
        stream[(256 + 15) / 2] = 1 << 4;
        stream.extend([0x00, 0b0100_0000, 0, 0]);
        stream.extend(length);
        stream.extend([0; 8]);
        stream
    };
    let decompressed = |length: &[u8], expected: usize| {
        let mut scratch = Scratch::default();
        decompress(CompressionFormat::XPRESS_HUFFMAN, &stream(length), expected, &mut scratch).map(<[u8]>::to_vec)
    };
    for (length, bytes) in [
        (18, vec![0]),
        (19, vec![1]),
        (272, vec![254]),
        (273, [&[255][..], &270u16.to_le_bytes()].concat()),
        // The smallest number that this form may hold.
        (18, vec![255, 15, 0]),
        (0x1_0002, [&[255][..], &0xffffu16.to_le_bytes()].concat()),
        (0x1_0003, [&[255, 0, 0][..], &0x1_0000u32.to_le_bytes()].concat()),
        (0x1_2348, [&[255, 0, 0][..], &0x1_2345u32.to_le_bytes()].concat()),
    ] {
        // One literal before it.
        assert_eq!(decompressed(&bytes, length + 1).unwrap(), vec![b'a'; length + 1], "{length}");
        assert_eq!(decompressed(&bytes, length), Err("more data than the buffer header declares"), "{length}");
    }
    assert_eq!(decompressed(&[255, 14, 0], 18), Err("a match length is malformed"));
}

/// A chunk of LZNT1 that is stored as it is, and is longer than what is left of the output (MS-XCA 2.5.1).
#[test]
fn a_stored_chunk_fits_its_buffer() {
    let chunk = |size: u16| [&(0x3000 | (size - 1)).to_le_bytes()[..], &vec![b'a'; usize::from(size)]].concat();
    let stream = [chunk(30), chunk(50)].concat();
    let decompressed =
        |expected| decompress(CompressionFormat::LZNT1, &stream, expected, &mut Scratch::default()).map(<[u8]>::to_vec);
    assert_eq!(decompressed(80), Ok(vec![b'a'; 80]));
    assert_eq!(decompressed(30), Ok(vec![b'a'; 30]));
    for expected in [31, 50, 79] {
        assert_eq!(decompressed(expected), Err("more data than the buffer header declares"), "{expected}");
    }
    assert_eq!(decompressed(81), Err("compressed data ends early"));
}

#[test]
fn errors_say_what_was_skipped() {
    let text = |file: &[u8]| Trace::parse(file).unwrap_err().to_string();
    assert!(!text(&[]).contains("skipped"), "{}", text(&[]));
    let mut trace = TraceFile::new();
    let start = trace.start_tick;
    trace.kernel_base(0, start + 1, 0x1000).flush(0).kernel_base(0, start + 2, 0x1000);
    let mut file = trace.finish();
    let at = file.len() - trace.buffer_size;
    file[at + 0x48..at + 0x50].fill(0x11);
    let warnings = Trace::parse(&file).unwrap().survey(&Default::default()).warnings;
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.length() > 0 && warning.offset() == (at + 0x48) as u64, "{warning:?}");
    assert!(warning.to_string().ends_with(&format!(" ({} bytes skipped)", warning.length())), "{warning}");
}
