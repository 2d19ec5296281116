//! Packet scan and packet iteration against summing the same bytes as u64.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use intel_pt::{Packet, Packets, scan};
use std::hint::black_box;
use std::time::Instant;

/// Larger than the caches of most processors, as snapshots are.
const LEN: usize = 64 << 20;

fn packets(c: &mut Criterion) {
    let (trace, ips) = testkit::pt::mixed_trace(7, LEN);
    let found = scan(&trace, |_| {});
    assert_eq!((found.hits, found.gaps), (ips.len() as u64, 0));
    let [sum, read, walk] = best(&trace, [sum_words, scan_all, iterate]);
    println!("scan: {:.2} GB/s, {:.3} of summing the same bytes", LEN as f64 / read / 1e9, sum / read);
    println!("packets: {:.2} GB/s, {:.3} of summing the same bytes", LEN as f64 / walk / 1e9, sum / walk);
    println!("sum: {:.2} GB/s", LEN as f64 / sum / 1e9);

    let mut group = c.benchmark_group("intel-pt");
    group.throughput(Throughput::Bytes(trace.len() as u64)).sample_size(10);
    group.bench_function("sum u64", |b| b.iter(|| sum_words(black_box(&trace))));
    group.bench_function("scan", |b| b.iter(|| scan_all(black_box(&trace))));
    group.bench_function("packets", |b| b.iter(|| iterate(black_box(&trace))));
    group.finish();
}

fn scan_all(trace: &[u8]) -> u64 {
    let mut mixed = 0;
    scan(trace, |hit| mixed ^= hit.ip);
    mixed
}

fn iterate(trace: &[u8]) -> u64 {
    Packets::new(trace).filter(|item| matches!(item, Ok((_, Packet::Tip(_))))).count() as u64
}

fn sum_words(trace: &[u8]) -> u64 {
    trace.as_chunks::<8>().0.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Seconds that each of `runs` takes for the whole trace: of every piece of it the fastest of some rounds, added up, so
/// that a busy machine disturbs a piece and not the result. A round goes over all pieces, which do not fit a cache.
fn best<const N: usize>(trace: &[u8], runs: [fn(&[u8]) -> u64; N]) -> [f64; N] {
    const PIECE: usize = 1 << 20;
    const ROUNDS: usize = 12;
    runs.map(|run| {
        let mut pieces = vec![f64::INFINITY; trace.len().div_ceil(PIECE)];
        for _ in 0..ROUNDS {
            for (piece, best) in trace.chunks(PIECE).zip(&mut pieces) {
                let start = Instant::now();
                black_box(run(black_box(piece)));
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
        pieces.iter().sum()
    })
}

criterion_group!(benches, packets);
criterion_main!(benches);
