//! Streams of Intel PT packets, as a trace's snapshots hold them.

use anyhow::Result;
use intel_pt::{Packet, Packets};
use testkit::pt::{Compression, Machine, PacketWriter, Program, Shape};

use super::Sample;

pub fn samples() -> Vec<Sample> {
    let program = Program::generate(&Shape::default(), 7);
    let run = Machine::default().run(&program, 2000, 7);
    let mut cut = each();
    // Into the PSB at the beginning: a decoder has to look for the next one.
    cut.drain(..5);
    vec![
        Sample {
            name: "packets/each.pt",
            shows: "one of most kinds of packet between two PSBs",
            answer: String::from("2 PSB, 3 addresses, 0 errors"),
            bytes: each(),
            found,
        },
        Sample {
            name: "packets/cut.pt",
            shows: "the same, cut inside its first packet",
            answer: String::from("1 PSB, 1 addresses, 1 errors"),
            bytes: cut,
            found,
        },
        Sample {
            name: "packets/program.pt",
            shows: "what a processor writes while a generated kernel runs 2,000 instructions",
            answer: format!("{} PSB, 0 errors", synchronisation_points(&run.packets)),
            bytes: run.packets,
            found: |stream| {
                let Counts { psb, errors, .. } = counts(stream);
                Ok(format!("{psb} PSB, {errors} errors"))
            },
        },
    ]
}

fn each() -> Vec<u8> {
    const CODE: u64 = 0xffff_f804_1234_1000;
    let mut packets = PacketWriter::new();
    packets.psb().tsc(1_000_000).cbr(20).mode(0, 1).fup(CODE, Compression::Full).psbend();
    packets.tnt(&[true, false, true]).tip(CODE + 0x20, Compression::Low16).mtc(3).tma(7, 9).cyc(40);
    packets.pip(0x1_ad00_0000, false).vmcs(0x1000).ovf().pad();
    packets.psb().fup(CODE + 0x40, Compression::Full).psbend();
    packets.finish()
}

/// PSBs by their bytes, which no other packet contains.
fn synchronisation_points(stream: &[u8]) -> usize {
    stream.windows(16).filter(|window| **window == [0x02, 0x82].repeat(8)).count()
}

/// What a decoder comes across.
#[derive(Default)]
struct Counts {
    psb: usize,
    addresses: usize,
    errors: usize,
}

fn counts(stream: &[u8]) -> Counts {
    let mut counts = Counts::default();
    for packet in Packets::new(stream) {
        match packet {
            Ok((_, Packet::Psb)) => counts.psb += 1,
            Ok((_, Packet::Tip(_) | Packet::Fup(_) | Packet::TipPge(_) | Packet::TipPgd(_))) => counts.addresses += 1,
            Ok(_) => {}
            Err(_) => counts.errors += 1,
        }
    }
    counts
}

fn found(stream: &[u8]) -> Result<String> {
    let Counts { psb, addresses, errors } = counts(stream);
    Ok(format!("{psb} PSB, {addresses} addresses, {errors} errors"))
}
