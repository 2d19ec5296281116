//! How fast traces are scanned and decompressed, each next to its reference in the same run: the sum of the same bytes
//! as 64-bit words, which is as fast as a core can look at memory.
//!
//! `cargo bench -p etl-file` prints criterion's figures and then the ratios that the crate promises.

use criterion::{BenchmarkId, Criterion, Throughput};
use etl_file::{CompressionFormat, Scratch, SurveyOptions, Trace, decompress};
use std::hint::black_box;
use std::time::Instant;
use testkit::trace::{BUFFER_HEADER, Compression, shaped_buffer, shaped_file, xpress};

/// Bytes of the trace: beyond every cache.
const FULL: usize = 1 << 30;

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    words.iter().fold(0, |sum, word| u64::wrapping_add(sum, u64::from_le_bytes(*word)))
}

/// The same on two threads, each half of the bytes: what memory gives two cores.
fn sum_of_two(bytes: &[u8], threads: &rayon::ThreadPool) -> u64 {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let (first, second) = threads.install(|| rayon::join(|| sum(first), || sum(second)));
    first.wrapping_add(second)
}

fn scan(file: &[u8], threads: &rayon::ThreadPool) -> usize {
    let trace = Trace::parse(file).expect("the trace is sound");
    let options = SurveyOptions::default().processes(false);
    threads.install(|| trace.survey(&options)).modules.len()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had")
}

/// Seconds that a run takes.
fn time<R>(run: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    black_box(run());
    start.elapsed().as_secs_f64()
}

/// Sixteen buffer bodies, packed.
fn packed() -> Vec<(Vec<u8>, usize)> {
    let body = |seed| {
        let body = shaped_buffer(0x1_0000 - BUFFER_HEADER, 2, seed);
        (xpress(&body), body.len())
    };
    (1..=16).map(body).collect()
}

fn unpack(bodies: &[(Vec<u8>, usize)], scratch: &mut Scratch) -> u64 {
    let unpack = |(packed, size): &(Vec<u8>, usize)| {
        let body = decompress(CompressionFormat::XPRESS, packed, *size, scratch).expect("the body is sound");
        u64::from(body[body.len() - 1])
    };
    bodies.iter().map(unpack).sum()
}

/// Prints the ratios. The runs take turns, and of each the best counts: what the machine can do when nothing else
/// disturbs it.
fn ratios(file: &[u8], compressed: &[u8], rounds: usize) {
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    let (one, two) = (pool(1), pool(2));
    let bodies = packed();
    let output: usize = bodies.iter().map(|(_, size)| size).sum();
    let mut scratch = Scratch::default();
    let [mut summed, mut summed_double, mut single, mut double, mut unpacked] = [f64::MAX; 5];
    let [mut compressed_single, mut compressed_double] = [f64::MAX; 2];
    for _ in 0..rounds {
        summed = summed.min(time(|| sum(file)));
        summed_double = summed_double.min(time(|| sum_of_two(file, &two)));
        single = single.min(time(|| scan(file, &one)));
        double = double.min(time(|| scan(file, &two)));
        compressed_single = compressed_single.min(time(|| scan(compressed, &one)));
        compressed_double = compressed_double.min(time(|| scan(compressed, &two)));
        for _ in 0..20 {
            unpacked = unpacked.min(time(|| unpack(&bodies, &mut scratch)));
        }
    }
    let rate = |seconds: f64| gigabytes(file.len()) / seconds;
    println!("sum of {:.2} GB as u64, one core      {:6.2} GB/s", gigabytes(file.len()), rate(summed));
    let times = summed / summed_double;
    println!("sum, two cores                      {:6.2} GB/s = {times:.2} times one", rate(summed_double));
    println!("image events, one core              {:6.2} GB/s = {:.2} of the sum", rate(single), summed / single);
    println!("image events, two cores             {:6.2} GB/s = {:.2} times one", rate(double), single / double);
    println!("XPRESS, one core, output            {:6.2} GB/s", gigabytes(output) / unpacked);
    let output: u64 = compressed_output(compressed);
    let rate = |seconds: f64| output as f64 / 1e9 / seconds;
    let factor = output as f64 / compressed.len() as f64;
    println!("compressed trace, one core, output  {:6.2} GB/s; packed to 1/{factor:.1}", rate(compressed_single));
    let times = compressed_single / compressed_double;
    println!("compressed trace, two cores, output {:6.2} GB/s = {times:.2} times one", rate(compressed_double));
}

/// Bytes of a trace once decompressed.
fn compressed_output(file: &[u8]) -> u64 {
    let trace = Trace::parse(file).expect("the trace is sound");
    trace.buffers().flatten().map(|buffer| u64::from(buffer.header().filled)).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // Under `cargo test` a benchmark only shows that it runs.
    let testing = arguments.iter().any(|argument| argument == "--test");
    let file = shaped_file(Compression::None, if testing { 1 << 24 } else { FULL });
    let compressed = shaped_file(Compression::Xpress, if testing { 1 << 20 } else { FULL / 16 });
    if !testing {
        let mut criterion = Criterion::default().configure_from_args().sample_size(10);
        let mut group = criterion.benchmark_group("scan");
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function("reference: sum as u64", |bench| bench.iter(|| sum(&file)));
        for threads in [1, 2] {
            let pool = pool(threads);
            group.bench_function(BenchmarkId::new("image events", threads), |bench| bench.iter(|| scan(&file, &pool)));
        }
        group.finish();
        let bodies = packed();
        let mut group = criterion.benchmark_group("decompress");
        group.throughput(Throughput::Bytes(bodies.iter().map(|(_, size)| *size as u64).sum()));
        let plain: Vec<Vec<u8>> = (1..=16).map(|seed| shaped_buffer(0x1_0000 - BUFFER_HEADER, 2, seed)).collect();
        let sum_all = || plain.iter().map(|body| sum(body)).fold(0, u64::wrapping_add);
        group.bench_function("reference: sum as u64", |bench| bench.iter(sum_all));
        let mut scratch = Scratch::default();
        group.bench_function("XPRESS", |bench| bench.iter(|| unpack(&bodies, &mut scratch)));
        group.finish();
        criterion.final_summary();
    }
    ratios(&file, &compressed, if testing { 1 } else { 10 });
}
