//! Writing 1 GiB of memory against `std::fs::write` of the same bytes, to the same file system in the same run, and
//! planning a dump of many modules.
//!
//! `MDMP_BENCH_MIB` sets another size. The ratio is printed at the end; the promise is at most 1.5.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mdmp::user::{Architecture, Dump, MemoryListKind, Module, SystemInfo};
use mdmp::{Fill, Memory, MemoryRange, Protection};

const BASE: u64 = 0xffff_f800_0000_0000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    plan(&mut criterion);
    write();
    criterion.final_summary();
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

/// Criterion wants many samples; of writes of 1 GiB three rounds, taken in turns, are what a disk can be asked for.
fn write() {
    let mib = std::env::var("MDMP_BENCH_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(1024usize);
    let bytes: Vec<u8> = (0..mib << 20).map(|index| (index >> 12) as u8 ^ index as u8).collect();
    let directory = std::env::temp_dir();
    let path = directory.join(format!("mdmp-bench-{}.dmp", std::process::id()));
    let dump = |kind, copied| {
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
    let plans = [
        ("MemoryList, lent", dump(MemoryListKind::List32, false)),
        ("Memory64List, lent", dump(MemoryListKind::List64, false)),
        ("Memory64List, copied", dump(MemoryListKind::List64, true)),
    ];
    // Under `cargo test` a bench only shows that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 3 } else { 1 };
    let mut reference = Vec::new();
    let mut times = vec![Vec::new(); plans.len()];
    for _ in 0..rounds {
        reference.push(timed(&path, || std::fs::write(&path, &bytes).expect("the disk has room")));
        for ((_, plan), times) in plans.iter().zip(&mut times) {
            times.push(timed(&path, || {
                let mut file = File::create(&path).expect("the directory can be written");
                plan.write_to(&mut file).expect("the disk has room");
            }));
        }
    }
    let best = |times: &[Duration]| times.iter().min().copied().unwrap_or_default().as_secs_f64();
    let reference = best(&reference);
    println!("write {mib} MiB, best of {rounds}: std::fs::write {reference:.3} s");
    for ((name, _), times) in plans.iter().zip(&times) {
        println!("  {name}: {:.3} s, ratio {:.2} (allowed 1.5)", best(times), best(times) / reference);
    }
}

/// Removes the file first, so that each write allocates its blocks.
fn timed(path: &Path, write: impl FnOnce()) -> Duration {
    let _ = std::fs::remove_file(path);
    let start = Instant::now();
    write();
    let time = start.elapsed();
    let _ = std::fs::remove_file(path);
    time
}
