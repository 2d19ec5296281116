//! Triage dumps: opening one of many data blocks and reading memory from it, next to summing the same bytes; writing one
//! next to copying its memory.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mdmp::kernel::{Driver, Dump, Synthetic};
use mdmp::read::Triage;
use mdmp::{MemoryRange, Protection, amd64};

const BASE: u64 = 0xffff_f804_0000_0000;
const BLOCKS: usize = 20_000;
const BLOCK: usize = 0x800;

fn dump(memory: &[u8]) -> Dump<'_> {
    let mut dump = Dump::synthetic(Synthetic::new(BASE, amd64::Context::kernel(BASE, BASE)));
    dump.drivers = (0..300).map(|n| Driver::new(format!(r"\driver{n}.sys"), BASE + (n << 20), 0x10_0000)).collect();
    dump.memory.extend(memory.chunks(BLOCK).zip(0u64..).map(|(bytes, index)| {
        // A gap after each block, as in real dumps.
        MemoryRange::from_slice(BASE + index * 2 * BLOCK as u64, Protection::READ_WRITE, bytes)
    }));
    dump
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("chunks of 8 bytes")));
    words.fold(0, u64::wrapping_add)
}

fn triage(criterion: &mut Criterion) {
    let memory = vec![0x5a; BLOCKS * BLOCK];
    let source = dump(&memory);
    let plan = source.plan().expect("the dump is good");
    let file = plan.to_vec().expect("memory cannot fail");

    let mut group = criterion.benchmark_group("triage, 40 MB in 20000 blocks");
    group.throughput(Throughput::Bytes(memory.len() as u64));
    group.bench_function("open", |bencher| bencher.iter(|| Triage::parse(black_box(&file)).expect("it is good")));
    let open = Triage::parse(&file).expect("it is good");
    let mut out = vec![0; BLOCK];
    group.bench_function("read every block", |bencher| {
        bencher.iter(|| {
            let blocks = (0..BLOCKS as u64).map(|index| open.memory().read(BASE + index * 2 * BLOCK as u64, &mut out));
            assert_eq!(blocks.sum::<usize>(), memory.len());
        });
    });
    group.bench_function("reference: sum as u64", |bencher| bencher.iter(|| sum(black_box(&memory))));
    let mut target = Vec::with_capacity(file.len());
    group.bench_function("plan and write", |bencher| {
        bencher.iter(|| {
            target.clear();
            source.plan().expect("the dump is good").write_to(&mut target).expect("memory cannot fail")
        });
    });
    group.bench_function("reference: copy", |bencher| {
        bencher.iter(|| {
            target.clear();
            target.extend_from_slice(black_box(&memory));
        });
    });
    group.finish();
}

criterion_group!(benches, triage);
criterion_main!(benches);
