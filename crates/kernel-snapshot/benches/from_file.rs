//! Reading the modules of a trace from a file, next to one core's `read` of the same file into a buffer in the same run:
//! the least that a program can do that looks at every byte of it.
//!
//! The file is 1 GiB in the temporary directory, and in the system's cache. `cargo bench -p kernel-snapshot` prints
//! criterion's figures, and then the best of several turns.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use kernel_snapshot::{Silent, Source, Wanted};
use testkit::trace::{Compression, shaped_file};

/// Bytes of the trace.
const FULL: usize = 1 << 30;
/// The reference reads this many bytes at a time, which stay in a core's cache.
const BUFFER: usize = 256 << 10;
/// Turns; the best one counts.
const ROUNDS: usize = 10;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    // Under `cargo test` a bench only shows that it runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let dir = tempfile::tempdir().expect("the temporary directory can be written");
    let path = dir.path().join("trace.etl");
    let file = shaped_file(Compression::None, if measured { FULL } else { 1 << 24 });
    std::fs::write(&path, &file).expect("the disk has room");
    let bytes = file.len() as u64;
    drop(file);
    let mut group = criterion.benchmark_group("modules of a trace file");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("reference: read the file", |bencher| bencher.iter(|| read(&path)));
    group.bench_function("modules", |bencher| bencher.iter(|| modules(&path)));
    group.finish();
    criterion.final_summary();
    if measured {
        compare(&path, bytes);
    }
}

/// Reads the file as it is, on one core.
fn read(path: &Path) -> u64 {
    let mut file = File::open(path).expect("the file was just written");
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).expect("it can be read") {
            0 => return total,
            count => total += black_box(&buffer[..count]).len() as u64,
        }
    }
}

/// What `mkdump modules --etl` does before it prints.
fn modules(path: &Path) -> usize {
    let source = Source::open_etl(path).expect("the trace was just written");
    source.read(Wanted::default(), &Silent).expect("it is a trace").snapshot.modules.len()
}

fn compare(path: &Path, bytes: u64) {
    let time = |run: &dyn Fn()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let (mut read_best, mut modules_best) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        read_best = read_best.min(time(&|| _ = black_box(read(path))));
        modules_best = modules_best.min(time(&|| _ = black_box(modules(path))));
    }
    let rate = |time: Duration| bytes as f64 / 1e9 / time.as_secs_f64();
    println!(
        "read on one core {:.2} GB/s, modules {:.2} GB/s, ratio {:.2}",
        rate(read_best),
        rate(modules_best),
        read_best.as_secs_f64() / modules_best.as_secs_f64()
    );
}
