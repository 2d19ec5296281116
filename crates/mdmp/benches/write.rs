//! Writing memory against `std::fs::write` of the same bytes, to the same file system in the same run, and planning a
//! dump of many modules.
//!
//! Last comes the size that the promise is about: 1 GiB, or `MDMP_BENCH_MIB`, each way of writing five times in turns;
//! its ratios, at most 1.5, are printed. The files go into the temporary directory: with `TMPDIR` on a file system in
//! memory the disk's moods stay out of the numbers.

use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mdmp::user::{Architecture, Dump, MemoryListKind, Module, SystemInfo};
use mdmp::{Fill, Memory, MemoryRange, Plan, Protection};

const BASE: u64 = 0xffff_f800_0000_0000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    plan(&mut criterion);
    write(&mut criterion);
    criterion.final_summary();
    // Under `cargo test` a bench only shows that it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        write_promise();
    }
}

/// Lays a dump of 3000 modules out; its reference is summing as many bytes as the plan holds itself.
fn plan(criterion: &mut Criterion) {
    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    for index in 0..3000u64 {
        let base = BASE + index * 0x10_0000;
        dump.modules.push(Module::new(format!("\\SystemRoot\\drivers\\drv{index}.sys"), base, 0x8000));
        dump.memory.push(MemoryRange::new(base, 0x8000, Protection::EXECUTE_READ, Fill(0xcc)));
    }
    dump.add_placeholder(1, BASE).expect("there is room for a thread");
    let metadata = dump.plan().expect("the dump is good").len() - 3000 * 0x8000;
    let bytes = vec![1u8; metadata as usize];
    let mut group = criterion.benchmark_group("plan 3000 modules");
    group.throughput(Throughput::Bytes(metadata));
    group.bench_function("plan", |bencher| bencher.iter(|| dump.plan().expect("the dump is good").len()));
    group.bench_function("reference: sum the same bytes as u64", |bencher| bencher.iter(|| sum(black_box(&bytes))));
    group.finish();
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks_exact(8)
        .fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(word.try_into().expect("chunks of 8 bytes"))))
}

/// Lends nothing: what a file or a patched image does.
struct Copied<'a>(&'a [u8]);

impl Memory for Copied<'_> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
        Ok(())
    }
}

/// The ways to write the same memory.
fn plans(bytes: &[u8]) -> [(&'static str, Plan<'_>); 3] {
    let plan = |kind, copied| {
        let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
        for (index, part) in bytes.chunks(2 << 20).enumerate() {
            let base = BASE + index as u64 * (4 << 20);
            dump.modules.push(Module::new(format!("drv{index}.sys"), base, part.len() as u32));
            dump.memory.push(match copied {
                true => MemoryRange::new(base, part.len() as u64, Protection::EXECUTE_READ, Copied(part)),
                false => MemoryRange::from_slice(base, Protection::EXECUTE_READ, part),
            });
        }
        dump.memory_list = kind;
        dump.add_placeholder(1, BASE).expect("there is room for a thread");
        dump.plan().expect("the dump is good")
    };
    [
        ("MemoryList, lent", plan(MemoryListKind::List32, false)),
        ("Memory64List, lent", plan(MemoryListKind::List64, false)),
        ("Memory64List, copied", plan(MemoryListKind::List64, true)),
    ]
}

fn pattern(mib: usize) -> Vec<u8> {
    (0..mib << 20).map(|index| (index >> 12) as u8 ^ index as u8).collect()
}

/// A file that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        Scratch(std::env::temp_dir().join(format!("mdmp-bench-{}.dmp", std::process::id())))
    }

    /// Times a write to a file that does not exist yet, so that each one allocates its blocks.
    fn time(&self, write: impl FnOnce(&Path)) -> Duration {
        let _ = std::fs::remove_file(&self.0);
        let start = Instant::now();
        write(&self.0);
        start.elapsed()
    }

    fn write_plan(&self, plan: &Plan<'_>) -> Duration {
        self.time(|path| {
            let mut file = File::create(path).expect("the directory can be written");
            plan.write_to(&mut file).expect("the disk has room");
        })
    }

    fn write_bytes(&self, bytes: &[u8]) -> Duration {
        self.time(|path| std::fs::write(path, bytes).expect("the disk has room"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn write(criterion: &mut Criterion) {
    let (scratch, bytes) = (Scratch::new(), pattern(64));
    let mut group = criterion.benchmark_group("write 64 MiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    for (name, plan) in &plans(&bytes) {
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| scratch.write_plan(plan)).sum());
        });
    }
    group.bench_function("reference: std::fs::write", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| scratch.write_bytes(&bytes)).sum());
    });
    group.finish();
}

fn write_promise() {
    let mib = std::env::var("MDMP_BENCH_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(1024);
    let (scratch, bytes) = (Scratch::new(), pattern(mib));
    let plans = plans(&bytes);
    let mut reference = [Duration::MAX; ROUNDS];
    let mut times = [[Duration::MAX; ROUNDS]; 3];
    for round in 0..ROUNDS {
        reference[round] = scratch.write_bytes(&bytes);
        for ((_, plan), times) in plans.iter().zip(&mut times) {
            times[round] = scratch.write_plan(plan);
        }
    }
    let best = |times: &[Duration; ROUNDS]| times.iter().min().map_or(0.0, Duration::as_secs_f64);
    println!("write {mib} MiB, {ROUNDS} rounds: std::fs::write {:.3} s at best", best(&reference));
    for ((name, _), times) in plans.iter().zip(&times) {
        let mut ratios: Vec<f64> = times
            .iter()
            .zip(&reference)
            .map(|(time, reference)| time.as_secs_f64() / reference.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        let (ratio, median) = (best(times) / best(&reference), ratios[ROUNDS / 2]);
        println!(
            "  {name}: {:.3} s at best, ratio {ratio:.2}; median ratio of a round {median:.2} (allowed 1.5)",
            best(times)
        );
    }
}

/// Each way of writing so many times in turns. A shared disk answers very differently from one round to the next, so that
/// the ratio of the best times and the median of the rounds' ratios are both told.
const ROUNDS: usize = 5;
