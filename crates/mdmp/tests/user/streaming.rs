//! Forward only, and every failure named: a source that fails in the middle, a full disk, a closed pipe.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use mdmp::user::{Architecture, Dump, IptThread, IptTrace, MemoryListKind, RawStream, StreamType, SystemInfo};
use mdmp::{Blob, ErrorKind, Layout, Memory, MemoryRange, Protection};

const BASE: u64 = 0xffff_f804_0000_0000;

fn dump_of<'a>(size: u64, source: impl Memory + 'a) -> Dump<'a> {
    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    dump.memory.push(MemoryRange::new(BASE, size, Protection::EXECUTE_READ, source));
    dump.add_placeholder(1, BASE).unwrap();
    dump
}

/// Fails from an offset on, and notes what it was asked for.
struct Broken {
    from: u64,
    next: AtomicU64,
}

impl Memory for Broken {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        assert_eq!(offset, self.next.load(Ordering::Relaxed), "each byte once, in rising order");
        self.next.store(offset + out.len() as u64, Ordering::Relaxed);
        if offset + out.len() as u64 > self.from {
            return Err(io::Error::other("page is gone"));
        }
        out.fill(1);
        Ok(())
    }
}

#[test]
fn a_source_that_fails_names_address_and_cause() {
    for from in [0, 1, 0x10_0000, 0x3f_ffff] {
        let source = Broken { from, next: AtomicU64::new(0) };
        let plan = dump_of(0x40_0000, &source).plan().unwrap();
        let mut out = Vec::new();
        let error = plan.write_to(&mut out).unwrap_err();
        assert_eq!((error.kind(), error.structure()), (ErrorKind::Source, "memory at 0xfffff80400000000"));
        let (address, offset) = (error.address().unwrap(), error.offset().unwrap());
        assert!(address <= BASE + from && address + 0x4_0000 > BASE + from, "{address:#x} of {from:#x}");
        let memory = plan.map().find(|extent| extent.name == format!("memory at {BASE:#x}")).unwrap();
        assert_eq!(offset - memory.offset, address - BASE);
        let text = error.to_string();
        assert!(text.contains(&format!("{address:#x}")) && text.contains("0x400000 bytes"), "{text}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!((cause.as_str(), text.contains(&cause)), ("page is gone", false), "the cause is said once");
        assert!(!error.is_plan() && !error.is_write() && error.io().is_some());
        assert!(out.len() as u64 <= offset, "nothing after the failure was written");
    }
}

#[test]
fn a_stream_that_fails_is_named() {
    let mut dump = dump_of(0x1000, vec![0; 0x1000]);
    let (stream_type, size) = (StreamType(0x4444_0001), 0x20);
    dump.streams.push(Box::new(RawStream::from_source(stream_type, size, vec![0u8; 0x1f])));
    let error = dump.plan().unwrap().to_vec().unwrap_err();
    assert_eq!(error.structure(), "stream 0x44440001");
    assert!(error.io().unwrap().to_string().contains("0x1f"), "{error:?}");
}

#[test]
fn a_source_that_is_too_short_says_so() {
    let plan = dump_of(0x2000, vec![0u8; 0x1fff]).plan().unwrap();
    let error = plan.to_vec().unwrap_err();
    assert!(error.io().unwrap().to_string().contains("0x1fff"), "{error:?}");
}

/// Takes so many bytes, a few at a time, then fails.
struct Full {
    room: usize,
    kind: io::ErrorKind,
    taken: Vec<u8>,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room).min(1000);
        if count == 0 && !bytes.is_empty() {
            return Err(self.kind.into());
        }
        self.room -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.room == 0 { Err(self.kind.into()) } else { Ok(()) }
    }
}

#[test]
fn an_output_that_fails_names_the_cause() {
    let dump = dump_of(0x8_0000, vec![7u8; 0x8_0000]);
    let plan = dump.plan().unwrap();
    let whole = plan.to_vec().unwrap();
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::BrokenPipe] {
        // The last case takes every byte and fails at the flush.
        for room in [0, 1, 31, 5000, whole.len() - 1, whole.len()] {
            let mut out = Full { room, kind, taken: Vec::new() };
            let error = plan.write_to(&mut out).unwrap_err();
            assert!(error.is_write(), "{error:?}");
            assert_eq!(error.io().unwrap().kind(), kind);
            assert_eq!(error.offset(), Some(room as u64), "the first byte that was not taken");
            let at = plan.map().filter(|extent| extent.offset <= room as u64).last().unwrap();
            assert_eq!(error.structure(), at.name);
            assert_eq!(out.taken, whole[..room], "what was written is the beginning of the file");
        }
    }
    let mut out = Full { room: whole.len() + 1, kind: io::ErrorKind::Other, taken: Vec::new() };
    assert_eq!(plan.write_to(&mut out).unwrap(), whole.len() as u64);
    assert_eq!(out.taken, whole);
}

/// Lends nothing, so its bytes go through the buffer.
struct Copied(Vec<u8>);

impl Memory for Copied {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
        Ok(())
    }
}

#[test]
fn lent_and_copied_memory_give_the_same_file() {
    // Sizes around the limits of the buffer (256 KiB), of direct writes (16 KiB) and of one loan (4 MiB).
    for size in [1, 0x3fff, 0x4000, 0x4001, 0x3_ffff, 0x4_0000, 0x4_0001, 0x3f_ffff, 0x40_0000, 0x40_0001, 0x90_0003] {
        let bytes: Vec<u8> = (0..size).map(|index: u32| ((index / 3) ^ (index >> 12)) as u8).collect();
        let mut files = Vec::new();
        for kind in [MemoryListKind::List32, MemoryListKind::List64] {
            let mut lent = dump_of(size.into(), bytes.as_slice());
            let mut copied = dump_of(size.into(), Copied(bytes.clone()));
            (lent.memory_list, copied.memory_list) = (kind, kind);
            let (lent, copied) = (lent.plan().unwrap().to_vec().unwrap(), copied.plan().unwrap().to_vec().unwrap());
            assert!(lent == copied, "size {size:#x}");
            files.push(lent);
        }
        let parsed = testkit::dump::user::Parsed::new(&files[1]);
        assert!(parsed.memory[0].1 == bytes, "size {size:#x}");
    }
}

#[test]
fn progress_rises_to_the_length() {
    let plan = dump_of(0x100_0000, vec![1u8; 0x100_0000]).plan().unwrap();
    let mut heard = Vec::new();
    plan.write_with(&mut io::sink(), &mut |written| heard.push(written)).unwrap();
    assert!(heard.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] <= 0x40_0000 + 0x4_0000));
    assert_eq!(heard.last(), Some(&plan.len()));
}

/// Lends what it has, and has nothing to copy.
struct OnlyLent(Vec<u8>);

impl Memory for OnlyLent {
    fn read_at(&self, _offset: u64, _out: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("this memory is lent only"))
    }

    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.0.get(offset as usize..)?.get(..len)
    }
}

#[test]
fn memory_is_lent_from_16_kib_on() {
    for (size, lent) in [(0x3fff, false), (0x4000, true), (0x4001, true)] {
        let plan = dump_of(size as u64, OnlyLent(vec![1; size])).plan().unwrap();
        assert_eq!(plan.to_vec().is_ok(), lent, "{size:#x} bytes");
    }
}

/// Counts the calls, and what they wrote.
#[derive(Default)]
struct Calls {
    calls: usize,
    bytes: u64,
}

impl Write for Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += usize::from(!bytes.is_empty());
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file of blobs and memory goes out in as few calls as the buffer of 256 KiB allows.
#[track_caller]
fn check_calls(allowed: usize, fill: impl FnOnce(&mut Layout<'static>)) {
    let mut layout = Layout::new();
    fill(&mut layout);
    let plan = layout.plan().unwrap();
    let mut out = Calls::default();
    plan.write_to(&mut out).unwrap();
    assert_eq!(out.bytes, plan.len());
    let file = plan.to_vec().unwrap();
    assert_eq!(file.len() as u64, plan.len());
    for extent in plan.map() {
        let expected = if extent.name == "padding" { 0 } else { 7 };
        let bytes = &file[extent.offset as usize..][..extent.size as usize];
        assert!(bytes.iter().all(|&byte| byte == expected), "{} at {:#x}", extent.name, extent.offset);
    }
    assert!(out.calls <= allowed, "{} calls for {:#x} bytes", out.calls, out.bytes);
}

#[test]
fn small_pieces_share_calls() {
    let blob = |size| {
        let mut blob = Blob::new("a blob").align(1);
        blob.fill(7, size);
        blob
    };
    check_calls(1, |layout| {
        for _ in 0..1000 {
            layout.push(blob(200));
        }
    });
    // Blobs that fill the buffer to the byte, one that is larger, and one byte more.
    check_calls(4, |layout| {
        layout.push(blob(0x2_0000));
        layout.push(blob(0x2_0000));
        layout.push(blob(0x4_0000));
        layout.push(blob(0x4_0001));
        layout.push(blob(1));
    });
    // Gaps: of a few bytes after one, and of several buffers.
    check_calls(1, |layout| {
        for _ in 0..1000 {
            layout.push(blob(1));
            layout.push(blob(2).align(16));
        }
    });
    check_calls(6, |layout| {
        layout.push(blob(1));
        layout.push(blob(1).align(1 << 20));
    });
    check_calls(1, |layout| {
        for _ in 0..1000 {
            layout.push_memory(MemoryRange::new(0, 100, Protection::READ_ONLY, Copied(vec![7; 100])), 1);
        }
    });
    check_calls(5, |layout| {
        layout.push_memory(MemoryRange::new(0, 1 << 20, Protection::READ_ONLY, Copied(vec![7; 1 << 20])), 1);
    });
}

/// Threads' buffers are pulled in the chunks of the writer, whose borders lie anywhere in them.
#[test]
fn processor_trace_of_many_threads_comes_through_whole() {
    let buffer = |byte: u8, size: usize| (0..size).map(|index| byte ^ (index / 5) as u8).collect::<Vec<u8>>();
    let buffers = [buffer(1, 0x4_5001), buffer(2, 7), buffer(3, 0), buffer(4, 0x9_0003), buffer(5, 0x3_ffff)];
    let mut dump = dump_of(0x1000, vec![0; 0x1000]);
    let mut trace = IptTrace::default();
    for (index, bytes) in buffers.iter().enumerate() {
        let range = MemoryRange::new(0, bytes.len() as u64, Protection::READ_ONLY, Copied(bytes.clone()));
        trace.threads.push(IptThread::new(index as u64 + 1, range));
    }
    dump.ipt = Some(trace);
    let file = dump.plan().unwrap().to_vec().unwrap();
    let parsed = testkit::dump::user::Parsed::new(&file);
    let stream = &parsed.others.iter().find(|(kind, _)| *kind == 23).unwrap().1;
    let mut at = 8;
    for (index, bytes) in buffers.iter().enumerate() {
        assert_eq!(stream[at..at + 8], (index as u64 + 1).to_le_bytes());
        assert_eq!(stream[at + 24..at + 28], (bytes.len() as u32).to_le_bytes());
        assert!(stream[at + 28..][..bytes.len()] == bytes[..], "buffer {index}");
        at += 28 + bytes.len();
    }
    assert_eq!(at, stream.len());
}
