//! Packet scan and packet iteration against summing the same bytes: in words of 64 bits, which is as fast as memory allows,
//! and byte by byte, as one would write it first. In the three timing modes of a Windows session.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use intel_pt::{Packet, Packets, scan};
use std::hint::black_box;
use std::time::Instant;
use testkit::pt::{Timing, timed_trace};

/// Larger than the caches of most processors, as snapshots are.
const LEN: usize = 64 << 20;

fn packets(c: &mut Criterion) {
    for (name, timing) in [("no timing", Timing::None), ("MTC", Timing::Mtc), ("MTC and CYC", Timing::MtcAndCyc)] {
        let (trace, ips) = timed_trace(timing, 7, LEN);
        let found = scan(&trace, |_| {});
        assert_eq!((found.hits, found.gaps), (ips.len() as u64, 0));
        println!("{name}, {:.1} bytes per address:", trace.len() as f64 / ips.len() as f64);
        let [words, bytes, read, walk] = best(&trace, [sum_words, sum_bytes, scan_all, iterate]);
        let rate = |seconds: f64| trace.len() as f64 / seconds / 1e9;
        for (name, seconds) in [("scan", read), ("packets", walk)] {
            let (of_words, of_bytes) = (words / seconds, bytes / seconds);
            println!(
                "  {name}: {:.2} GB/s, {of_words:.3} of summing words, {of_bytes:.3} of summing bytes",
                rate(seconds)
            );
        }
        println!("  sum of words: {:.2} GB/s, of bytes: {:.2} GB/s", rate(words), rate(bytes));
    }

    let (trace, _) = timed_trace(Timing::None, 7, LEN);
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

fn sum_bytes(trace: &[u8]) -> u64 {
    trace.iter().map(|byte| u64::from(*byte)).sum()
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
