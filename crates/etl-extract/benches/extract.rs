//! Cutting a trace of 1 GiB to what can be shared, on one and two threads, next to the sum of the same bytes as 64-bit words in
//! the same run.
//!
//! `cargo bench -p etl-extract` prints criterion's figures, and then the best of several turns.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use etl_extract::{Options, extract};
use etl_file::Trace;
use rayon::ThreadPool;
use testkit::trace::{Compression, shaped_file};

/// Bytes of the trace: beyond every cache.
const FULL: usize = 1 << 30;
/// Turns; the best one counts.
const ROUNDS: usize = 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    // Under `cargo test` a bench only shows that it runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let file = shaped_file(Compression::None, if measured { FULL } else { 1 << 24 });
    let mut group = criterion.benchmark_group("extract");
    group.throughput(Throughput::Bytes(file.len() as u64));
    group.bench_function("reference: sum as u64", |bencher| bencher.iter(|| sum(&file)));
    for threads in [1, 2] {
        let pool = pool(threads);
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| bencher.iter(|| cut(&file, &pool)));
    }
    group.finish();
    criterion.final_summary();
    if measured {
        compare(&file);
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    words.iter().fold(0, |sum, word| u64::wrapping_add(sum, u64::from_le_bytes(*word)))
}

/// Bytes of the extract.
fn cut(file: &[u8], threads: &ThreadPool) -> u64 {
    let trace = Trace::parse(file).expect("the trace is sound");
    let (_, made) = threads
        .install(|| extract(&trace, &Options::default(), io::sink()))
        .expect("nothing can go wrong when writing nowhere");
    made.written.bytes
}

fn pool(threads: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had")
}

fn compare(file: &[u8]) {
    let time = |run: &dyn Fn() -> u64| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    };
    let (one, two) = (pool(1), pool(2));
    let [mut summed, mut single, mut double] = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        summed = summed.min(time(&|| sum(file)));
        single = single.min(time(&|| cut(file, &one)));
        double = double.min(time(&|| cut(file, &two)));
    }
    let rate = |time: Duration| file.len() as f64 / 1e9 / time.as_secs_f64();
    println!(
        "sum {:.2} GB/s, extract on one core {:.2} GB/s, on two {:.2} GB/s",
        rate(summed),
        rate(single),
        rate(double)
    );
}
