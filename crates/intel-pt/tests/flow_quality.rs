//! What the numbers of [`Quality`] are for good data and for damaged data. Whoever calls data unusable by them chooses limits
//! between the two; `MKDUMP_PRINT_QUALITY=1` prints the table with `--no-capture`.

use intel_pt::flow::{Blocks, Nothing, Quality, Stop, Walker};
use testkit::pt::{Hardware, Machine, Program, Rng, Shape};

/// Programs of each kind.
const PROGRAMS: u64 = 40;

fn quality(memory: &[(u64, &[u8])], packets: &[u8]) -> Quality {
    let mut walker = Walker::new(packets);
    let mut blocks = Blocks::new(memory);
    while walker.run(&mut blocks, &mut Nothing) != Stop::End {}
    walker.quality()
}

/// Changes one byte in every `each`.
fn damaged(packets: &[u8], each: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = packets.to_vec();
    for chunk in bytes.chunks_mut(each) {
        let at = rng.below(chunk.len());
        chunk[at] ^= 1 << rng.below(8);
    }
    bytes
}

#[test]
fn damage_shows_in_the_numbers() {
    let mut table: Vec<(&str, Vec<Quality>)> = Vec::new();
    let mut add = |name: &'static str, quality: Quality| match table.iter_mut().find(|row| row.0 == name) {
        Some(row) => row.1.push(quality),
        None => table.push((name, vec![quality])),
    };
    for seed in 0..PROGRAMS {
        let machine = Machine {
            hardware: Hardware { psb_every: 4096, timing: if seed % 2 == 0 { 5 } else { 0 }, ..Hardware::default() },
            interrupts: 100,
            overflows: 10,
            pauses: 10,
            threads: 3,
            ..Machine::default()
        };
        let program = Program::generate(&Shape::default(), seed);
        let run = machine.run(&program, 200_000, seed);
        let memory: Vec<(u64, &[u8])> = program.memory().collect();
        let mut rng = Rng::new(seed);
        add("as recorded", quality(&memory, &run.packets));
        for (name, each) in [
            ("1 byte in 64 KiB", 1 << 16),
            ("1 byte in 16 KiB", 1 << 14),
            ("1 byte in 4 KiB", 1 << 12),
            ("1 byte in 1 KiB", 1 << 10),
            ("1 byte in 256", 256),
        ] {
            add(name, quality(&memory, &damaged(&run.packets, each, &mut rng)));
        }
        let mut turned = run.packets.clone();
        turned.rotate_left(run.packets.len() / 3);
        add("ring not put in order", quality(&memory, &turned));
        let other = Program::generate(&Shape::default(), seed + 1000);
        let images: Vec<(u64, Vec<u8>)> = memory
            .iter()
            .map(|(base, bytes)| {
                let mut bytes = bytes.to_vec();
                let from = other.modules[0].memory.iter().chain(other.modules[0].memory.iter()).copied();
                bytes.iter_mut().zip(from).skip(0x400).for_each(|(to, from)| *to = from);
                (*base, bytes)
            })
            .collect();
        let wrong: Vec<(u64, &[u8])> = images.iter().map(|(base, bytes)| (*base, &bytes[..])).collect();
        add("all modules of another build", quality(&wrong, &run.packets));
        let one: Vec<(u64, &[u8])> =
            memory.iter().enumerate().map(|(n, m)| if n == 0 { wrong[0] } else { *m }).collect();
        add("one module of another build", quality(&one, &run.packets));
        let linked: Vec<(u64, &[u8])> = program.modules.iter().map(|m| (m.base, &m.linked[..])).collect();
        add("calls in the other form", quality(&linked, &run.packets));
        add("one module missing", quality(&memory[1..], &run.packets));
        let noise: Vec<u8> = (0..run.packets.len()).map(|_| rng.below(256) as u8).collect();
        add("noise after the first PSB", quality(&memory, &[&run.packets[..64], &noise].concat()));
    }
    for (name, list) in &table {
        let shares =
            list.iter().filter_map(Quality::share_followed).fold((1.0_f64, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
        let rates = list
            .iter()
            .filter_map(Quality::out_of_step_per_mib)
            .fold((f64::MAX, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
        println!(
            "{name:30} share {:.3} to {:.3}, out of step {:9.1} to {:9.1} per MiB, bytes {}",
            shares.0, shares.1, rates.0, rates.1, list[0].bytes
        );
    }
}
