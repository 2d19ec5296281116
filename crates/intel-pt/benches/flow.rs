//! Instruction flow against summing the same packet bytes as u64: on loops whose code is cached, and on code that is
//! met for the first time.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use intel_pt::flow::{BlockId, Blocks, Stop, Table, Visitor, Walker};
use testkit::pt::{Hardware, Machine, Program, Shape};

/// Counts instructions, as a profile would.
#[derive(Default)]
struct Count(u64);

impl Visitor for Count {
    #[inline]
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            self.0 += u64::from(table.block(*id).instructions);
        }
    }

    fn part(&mut self, _: &Table, _: BlockId, instructions: u32) {
        self.0 += u64::from(instructions);
    }
}

/// A loop over 7 conditional branches in 3 functions' worth of code, as a trace of long and short TNTs.
///
/// ```text
/// 1000: inc; jz over; dec; over: … six times …; jnz 1000
/// ```
fn loops(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut code = Vec::new();
    for _ in 0..6 {
        code.extend([0x48, 0xff, 0xc0, 0x48, 0x39, 0xd8, 0x74, 0x03, 0x48, 0xff, 0xc9]);
    }
    let back = -(code.len() as i32 + 2);
    code.extend([0x75, back as u8]);
    let mut trace = psb(0x1000);
    let mut pattern = 0x9e37_79b9_u64;
    let mut branch = 0_u32;
    while trace.len() < bytes {
        let mut byte = 1_u8;
        for _ in 0..6 {
            // The loop's own branch is always taken; the others follow a pattern of some thousand rounds.
            pattern = pattern.rotate_left(1) ^ u64::from(branch.is_multiple_of(4096));
            let taken = branch % 7 == 6 || pattern & 1 == 1;
            byte = byte << 1 | u8::from(taken);
            branch += 1;
        }
        trace.push(byte << 1);
    }
    (code, trace)
}

fn psb(ip: u64) -> Vec<u8> {
    let mut out = [0x02, 0x82].repeat(8);
    out.extend([0x99, 0x01, 0x7d]);
    out.extend(&ip.to_le_bytes()[..6]);
    out.extend([0x02, 0x23]);
    out
}

fn walk<C: intel_pt::flow::Code>(blocks: &mut Blocks<C>, trace: &[u8]) -> u64 {
    let mut count = Count::default();
    let stop = Walker::new(trace).run(blocks, &mut count);
    assert_eq!(stop, Stop::End);
    count.0
}

fn sum(trace: &[u8]) -> u64 {
    trace.as_chunks::<8>().0.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Seconds of the fastest of some runs.
fn best(mut run: impl FnMut() -> u64) -> f64 {
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64()
    };
    (0..5).map(time).fold(f64::INFINITY, f64::min)
}

fn flow(c: &mut Criterion) {
    let (code, trace) = loops(16 << 20);
    let image: &[(u64, &[u8])] = &[(0x1000, &code)];
    let mut blocks = Blocks::new(image);
    let executed = walk(&mut blocks, &trace);
    let seconds = best(|| walk(&mut blocks, &trace));
    let reference = best(|| sum(&trace));
    println!(
        "cached loops: {:.0} MB/s of packets, {:.0} M instructions/s, {:.4} of summing the same bytes",
        trace.len() as f64 / seconds / 1e6,
        executed as f64 / seconds / 1e6,
        reference / seconds
    );

    // A generated program, walked again and again over one cache: calls, returns, interrupts, deferred TIPs.
    let shape = Shape { modules: 4, functions: 40, statements: 12, ..Shape::default() };
    let program = Program::generate(&shape, 1);
    let machine = Machine { hardware: Hardware { psb_every: 4096, ..Hardware::default() }, ..Machine::default() };
    let run = machine.run(&program, 2_000_000, 1);
    let memory: Vec<(u64, &[u8])> = program.memory().collect();
    let mut mixed = Blocks::new(&memory[..]);
    let executed = walk(&mut mixed, &run.packets);
    assert_eq!(executed as usize, run.executed.len());
    let seconds = best(|| walk(&mut mixed, &run.packets));
    println!(
        "cached program: {:.0} MB/s of packets, {:.0} M instructions/s ({} bytes, {executed} instructions)",
        run.packets.len() as f64 / seconds / 1e6,
        executed as f64 / seconds / 1e6,
        run.packets.len(),
    );

    // Cold code: every block is new. A straight run of branches never taken, over several MiB of code.
    let (cold_code, cold_trace) = straight(4 << 20);
    let cold_image: &[(u64, &[u8])] = &[(0x10_0000, &cold_code)];
    let executed = walk(&mut Blocks::new(cold_image), &cold_trace);
    let seconds = best(|| walk(&mut Blocks::new(cold_image), &cold_trace));
    println!("cold code: {:.0} M instructions/s ({executed} instructions)", executed as f64 / seconds / 1e6);

    let mut group = c.benchmark_group("flow");
    group.sample_size(10).throughput(Throughput::Bytes(trace.len() as u64));
    group.bench_function("sum u64", |b| b.iter(|| sum(black_box(&trace))));
    group.bench_function("cached loops", |b| b.iter(|| walk(&mut blocks, black_box(&trace))));
    group.throughput(Throughput::Bytes(run.packets.len() as u64));
    group.bench_function("cached program", |b| b.iter(|| walk(&mut mixed, black_box(&run.packets))));
    group.throughput(Throughput::Elements(executed));
    group.bench_function("cold code", |b| b.iter(|| walk(&mut Blocks::new(cold_image), black_box(&cold_trace))));
    group.finish();
}

/// Code of usual instructions with a conditional branch after every seventh, none of them taken.
fn straight(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let usual: [&[u8]; 6] = [
        &[0x48, 0x8b, 0x44, 0x24, 0x30],
        &[0x48, 0x89, 0x5c, 0x24, 0x08],
        &[0x48, 0x83, 0xc0, 0x01],
        &[0x8b, 0xc8],
        &[0x48, 0x8d, 0x05, 0x10, 0x00, 0x00, 0x00],
        &[0x0f, 0xb6, 0xc0],
    ];
    let mut code = Vec::new();
    let mut branches = 0;
    while code.len() < bytes {
        usual.iter().for_each(|instruction| code.extend(*instruction));
        code.extend([0x74, 0x10]);
        branches += 1;
    }
    code.extend([0x90; 16]);
    let mut trace = psb(0x10_0000);
    trace.resize(trace.len() + branches / 6, 0x80);
    (code, trace)
}

criterion_group!(benches, flow);
criterion_main!(benches);
