//! Traces: each kind of file and compression, and what can be wrong with one.

use anyhow::{Result, ensure};
use etl_file::{SurveyOptions, Trace};
use testkit::pt::{Machine, Program, Shape};
use testkit::trace::{Compression, Module, Payload, TraceFile};

use super::Sample;

const KERNEL: u64 = 0xffff_f800_0000_0000;
/// Drivers besides the kernel.
const DRIVERS: usize = 20;

/// A change that makes another kind of file out of the ordinary one.
type Change = fn(&mut TraceFile);

pub fn samples() -> Vec<Sample> {
    let kinds: &[(&str, &str, Change)] = &[
        ("traces/plain.etl", "an ordinary kernel trace", |_| ()),
        ("traces/xpress.etl", "compressed with XPRESS", |trace| trace.compression = Compression::Xpress),
        ("traces/huffman.etl", "compressed with XPRESS Huffman", |trace| {
            trace.compression = Compression::XpressHuffman;
        }),
        ("traces/lznt1.etl", "compressed with LZNT1", |trace| trace.compression = Compression::Lznt1),
        ("traces/wrapped.etl", "a circular file that wrapped", |trace| (trace.rotate, trace.mode) = (2, 2)),
        ("traces/windows7.etl", "a file of Windows 7", |trace| (trace.windows7, trace.windows) = (true, (6, 1, 7601))),
        ("traces/unfinished.etl", "a recording that was never finalised", |trace| {
            (trace.buffers_written, trace.end_time) = (Some(0), 0);
        }),
        ("traces/lost.etl", "a recording that lost buffers", |trace| (trace.buffers_lost, trace.events_lost) = (3, 77)),
    ];
    let sample = |(name, shows, change): &(&'static str, &'static str, Change)| {
        let mut trace = ordinary();
        change(&mut trace);
        let lost = if trace.buffers_lost > 0 { ", 3 buffers and 77 events lost" } else { "" };
        let answer = format!("{} kernel modules, no Intel PT snapshot{lost}", DRIVERS + 1);
        Sample { name, shows, answer, bytes: trace.finish(), found }
    };
    let mut samples: Vec<Sample> = kinds.iter().map(sample).collect();
    samples.push(Sample {
        name: "traces/intel-pt.etl",
        shows: "two snapshots of Intel PT data, with the threads that they belong to",
        answer: format!("{} kernel modules, 2 Intel PT snapshots of 2 threads", DRIVERS + 1),
        bytes: with_packets().finish(),
        found,
    });
    samples
}

/// The kernel and some drivers, over several buffers of two processors.
fn ordinary() -> TraceFile {
    let mut trace = TraceFile::new();
    trace.buffer_size = 2048;
    trace.system(1_000_001, "TESTBOX", 4652);
    trace.kernel_base(0, 1_000_002, KERNEL);
    let kernel = Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", KERNEL, 0x104_6000);
    trace.module(0, 1_000_003, &kernel.with_pdb("ntkrnlmp.pdb", "6d6b6475-6d70-7465-7374-646174610001", 1));
    for index in 0..DRIVERS as u16 {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        let driver = Module::kernel(&path, KERNEL + 0x1000_0000 + u64::from(index) * 0x10_0000, 0x8000);
        trace.module(index % 2, 1_000_100 + i64::from(index), &driver.with_identity(0x6500_0000 + u32::from(index), 0));
    }
    trace
}

fn with_packets() -> TraceFile {
    let program = Program::generate(&Shape::default(), 7);
    let mut trace = ordinary();
    trace.buffer_size = 0x4000;
    for (number, tid) in [(0_i64, 100_u32), (1, 104)] {
        let name = String::from("worker");
        trace.payload(0, 1_000_400 + number, &Payload::Thread { opcode: 3, pid: 4, tid, name });
        let run = Machine::default().run(&program, 2000, 7 + number.cast_unsigned());
        trace.ipt(number as u16, 1_000_500 + number, (4, tid), &run.packets, 0);
    }
    trace
}

fn found(file: &[u8]) -> Result<String> {
    let survey = Trace::parse(file)?.survey(&SurveyOptions::default());
    ensure!(survey.warnings.is_empty(), "{:?}", survey.warnings);
    let modules = survey.modules.iter().filter(|module| module.kernel).count();
    let mut text = format!("{modules} kernel modules, ");
    text += &match survey.ipt.len() {
        0 => String::from("no Intel PT snapshot"),
        count => format!("{count} Intel PT snapshots of {} threads", survey.threads.len()),
    };
    if survey.counts.buffers_lost > 0 {
        text += &format!(", {} buffers and {} events lost", survey.counts.buffers_lost, survey.counts.events_lost);
    }
    Ok(text)
}
