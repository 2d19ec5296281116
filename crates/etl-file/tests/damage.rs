//! Damage stays local and is reported once.

use etl_file::{CompressionFormat, Error, Scratch, Survey, SurveyOptions, Trace, decompress};
use proptest::prelude::*;
use testkit::trace::{Compression, Event, Header, Module, TraceFile, lznt1, shaped_buffer, xpress, xpress_huffman};

const BUFFER: usize = 1024;

/// Ten buffers with one kernel module each.
fn ten(compression: Compression) -> Vec<u8> {
    let mut trace = TraceFile::new();
    trace.buffer_size = BUFFER;
    trace.compression = compression;
    for index in 0..10 {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        trace.module(
            0,
            2_000_000 + index,
            &Module::kernel(&path, 0xffff_f800_0000_0000 + ((index as u64) << 24), 0x8000),
        );
        // Something for the compressors to do.
        for _ in 0..20 {
            trace.kernel_base(0, 2_000_000 + index, 0xffff_f800_0000_0000);
        }
        trace.flush(0);
    }
    trace.finish()
}

fn scan(file: &[u8]) -> etl_file::Result<Survey<'_>> {
    Ok(Trace::parse(file)?.survey(&SurveyOptions::default()))
}

fn bounds(file: &[u8]) -> Vec<usize> {
    let trace = Trace::parse(file).unwrap();
    trace.buffers().map(|buffer| buffer.unwrap().offset() as usize).chain([file.len()]).collect()
}

#[test]
fn a_cut_file_gives_what_is_left_and_one_warning() {
    for compression in [Compression::None, Compression::Xpress] {
        let file = ten(compression);
        let bounds = bounds(&file);
        for cut in 0..=file.len() {
            let found = scan(&file[..cut]);
            if cut < bounds[1] {
                continue;
            }
            let found = found.unwrap();
            let whole = bounds.partition_point(|&bound| bound <= cut) - 2;
            // A plain buffer gives its events up to the cut; a compressed one none. The first event is the module.
            assert!(
                found.modules.len() == whole || compression == Compression::None && found.modules.len() == whole + 1
            );
            let expected = usize::from(!bounds.contains(&cut));
            assert_eq!(found.warnings.len(), expected, "{compression:?} cut at {cut:#x}: {:?}", found.warnings);
        }
    }
}

#[test]
fn a_lost_buffer_is_one_warning_with_place_and_length() {
    let check = |compression, damage: fn(&mut [u8]), lost_buffers: usize, whole_buffer: bool| {
        for index in 2..9 {
            let mut file = ten(compression);
            let bounds = bounds(&file);
            let (from, to) = (bounds[index], bounds[index + 1]);
            damage(&mut file[from..to]);
            let found = scan(&file).unwrap();
            assert_eq!(found.modules.len(), 10 - lost_buffers, "{compression:?}: {:?}", found.warnings);
            let warnings: Vec<&Error> = found.warnings.iter().map(|warning| warning.damage().unwrap()).collect();
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            if whole_buffer {
                assert_eq!((warnings[0].offset(), warnings[0].length()), (from as u64, (to - from) as u64));
            }
        }
    };
    for compression in [Compression::None, Compression::Xpress, Compression::Lznt1, Compression::XpressHuffman] {
        // The header wiped out, as a whole and only its size.
        check(compression, |buffer| buffer[..0x48].fill(0xa5), 1, true);
        check(compression, |buffer| buffer[..4].fill(0), 1, true);
        check(compression, |buffer| buffer[..4].fill(0xff), 1, true);
        check(compression, |buffer| buffer.fill(0), 1, true);
    }
    // The marker of the first event.
    check(Compression::None, |buffer| buffer[0x4b] = 0, 1, false);
    check(Compression::None, |buffer| buffer[0x4c..0x4e].fill(0xff), 1, false);
    // A body that is not a valid stream: a match at its very start.
    check(Compression::Xpress, |buffer| buffer[0x48..0x4c].fill(0xff), 1, true);
}

/// Every flip of a bit after the first buffer, or an evenly spaced choice of them: all if `DAMAGE_STEP=1`.
#[test]
fn a_flipped_bit_costs_at_most_its_buffer_and_two_warnings() {
    let step = std::env::var("DAMAGE_STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(11);
    for compression in [Compression::None, Compression::Xpress, Compression::Lznt1, Compression::XpressHuffman] {
        let file = ten(compression);
        for bit in (8 * bounds(&file)[1]..8 * file.len()).step_by(step) {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let found = scan(&file).unwrap();
            // An event that grew or shrank, and what stands where the next one is looked for, are reported one by one. That
            // decompression copies a damaged byte into many events is reported once.
            assert!(
                found.modules.len() >= 9 && found.warnings.len() <= 2,
                "{compression:?}, bit {} of byte {:#x}: {} modules, {:?}",
                bit % 8,
                bit / 8,
                found.modules.len(),
                found.warnings
            );
        }
    }
}

/// A size that is wrong and yet leads to a buffer: what it swallows is missed, because no stream is that long.
#[test]
fn a_size_that_swallows_a_buffer_is_told() {
    for compression in [Compression::Xpress, Compression::Lznt1, Compression::XpressHuffman] {
        let mut file = ten(compression);
        let bounds = bounds(&file);
        let both = bounds[6] - bounds[4];
        file[bounds[4]..bounds[4] + 4].copy_from_slice(&(both as u32).to_le_bytes());
        let found = scan(&file).unwrap();
        assert_eq!(found.modules.len(), 8, "{compression:?}: {:?}", found.warnings);
        let lost: Vec<_> = found.warnings.iter().map(|error| (error.offset(), error.length())).collect();
        assert_eq!(lost, [(bounds[4] as u64, both as u64)], "{compression:?}: {:?}", found.warnings);
    }
}

/// Two places say how large the buffers of a plain file are, and one is enough.
#[test]
fn the_stride_of_a_plain_file_survives_either_of_its_sizes() {
    for (at, lost_buffers) in [(0, 1), (0x68, 0)] {
        let mut file = ten(Compression::None);
        file[at] ^= 0x80;
        let found = scan(&file).unwrap();
        assert_eq!((found.modules.len(), found.warnings.len()), (10, lost_buffers), "{:?}", found.warnings);
    }
}

#[test]
fn what_is_no_trace_is_refused_with_a_reason() {
    let check = |file: &[u8], reason: &str| {
        let error = Trace::parse(file).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    };
    check(b"", "0 bytes there, 72 needed");
    check(&[0; 0x48], "it holds no event");
    check(&[0; 0x100], "event marker is 0x0");
    check(&b"MZ\x90\0".repeat(100), "event marker");
    let mut other = TraceFile::new();
    other.kernel_base(0, 1, 1);
    let file = other.finish();
    // A file that begins in its second buffer.
    check(&file[other.buffer_size..], "not a log-file header");
}

/// A log-file header that ends early: where its payload stands, how long it is and how long it should be.
#[test]
fn a_short_log_file_header_is_refused_with_its_place() {
    for (header, need) in [(Header::System64, 0x118), (Header::System32, 0x110)] {
        for have in [0, 100, need - 1] {
            let mut file = TraceFile::new().finish();
            file.truncate(0x48);
            file.extend(Event::hook(header, 0, 2, 5, vec![0; have]).encode());
            file.resize(0x1_0000, 0xff);
            let error = Trace::parse(&file).unwrap_err();
            // After the buffer's header and that of the event.
            assert_eq!(
                (error.offset(), error.structure(), error.length()),
                (0x48 + 32, "log-file header", have as u64)
            );
            assert!(error.to_string().contains(&format!("{have} bytes there, {need} needed")), "{error}");
        }
    }
}

/// As many cases as `PROPTEST_CASES` says, else few. Nothing is kept on disk: a find becomes a test of its own.
fn few() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 400 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn decompressors_survive_any_input(
        input in proptest::collection::vec(any::<u8>(), 0..2000),
        expected in 0usize..100_000,
        format in 0u16..6,
    ) {
        let mut scratch = Scratch::default();
        if let Ok(out) = decompress(CompressionFormat(format), &input, expected, &mut scratch) {
            prop_assert_eq!(out.len(), expected);
        }
    }

    #[test]
    fn what_was_compressed_comes_back(
        pieces in proptest::collection::vec((any::<[u8; 5]>(), 1usize..6, 1usize..400), 0..60),
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        // Runs of short patterns, so that matches of all distances and lengths occur, and noise.
        let mut data: Vec<u8> = Vec::new();
        for (bytes, pattern, count) in pieces {
            data.extend(bytes[..pattern.min(5)].iter().copied().cycle().take(count));
        }
        data.extend(tail);
        check_round_trip(&data)?;
    }
}

/// One of testkit's encoders.
type Packer = fn(&[u8]) -> Vec<u8>;

fn check_round_trip(data: &[u8]) -> Result<(), TestCaseError> {
    let mut scratch = Scratch::default();
    let packers: [(CompressionFormat, Packer); 3] = [
        (CompressionFormat::XPRESS, xpress),
        (CompressionFormat::XPRESS_HUFFMAN, xpress_huffman),
        (CompressionFormat::LZNT1, lznt1),
    ];
    for (format, pack) in packers {
        let packed = pack(data);
        let out = decompress(format, &packed, data.len(), &mut scratch);
        prop_assert!(out == Ok(data), "{}", format);
        // Less input, or more output than there is, is an error and nothing worse.
        if data.len() > 64 {
            prop_assert!(decompress(format, &packed[..packed.len() / 2], data.len(), &mut scratch).is_err());
            // The padding of a Huffman stream decodes to something, so only the others notice.
            let longer = decompress(format, &packed, data.len() + 1, &mut scratch).is_err();
            prop_assert!(longer || format == CompressionFormat::XPRESS_HUFFMAN, "{}", format);
        }
    }
    Ok(())
}

#[test]
fn nothing_comes_out_of_nothing() {
    for format in [CompressionFormat::XPRESS, CompressionFormat::XPRESS_HUFFMAN, CompressionFormat::LZNT1] {
        assert_eq!(decompress(format, &[], 0, &mut Scratch::default()), Ok(&[][..]), "{format}");
        assert!(decompress(format, &[], 1, &mut Scratch::default()).is_err(), "{format}");
    }
}

#[test]
fn large_bodies_and_long_matches_come_back() {
    for data in [
        vec![7; 300_000],
        (0..200_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect(),
        shaped_buffer(1 << 20, 3, 1),
        [vec![1; 65_539], vec![2; 65_536], vec![1; 70_000]].concat(),
    ] {
        check_round_trip(&data).unwrap();
    }
}

/// Another implementation's decoders, so that our encoders and decoders cannot agree on a mistake. (Its XPRESS encoder
/// is of no use: it writes the shared nibble over the wrong byte.)
#[test]
fn another_implementation_agrees() {
    for data in [b"abcabcabcabcabcabcabc".to_vec(), vec![0; 5000], shaped_buffer(9000, 1, 3), (0..=255).collect()] {
        let same = lzxpress::data::decompress(&xpress(&data)).unwrap() == data;
        assert!(same, "XPRESS, {} bytes", data.len());
        let same = lzxpress::lznt1::decompress(&lznt1(&data)).unwrap() == data;
        assert!(same, "LZNT1, {} bytes", data.len());
    }
}
