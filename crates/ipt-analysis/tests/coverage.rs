//! The code that is said to have run is the code that the machine of testkit ran, instruction by instruction; iced-x86 says
//! where instructions are in a block. And the files say that.
//!
//! `INTEL_PT_PROGRAMS` says how many programs.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions};
use ipt_analysis::coverage::{CoveredModule, coverage, join, write_drcov, write_offsets};
use programs::{Image, generated, programs};

mod programs;

/// Addresses of the instructions in a block.
fn instructions(program: &testkit::pt::Program, start: u64, end: u64) -> Vec<u64> {
    let mut bytes = vec![0; (end - start) as usize];
    assert_eq!(program.read(start, &mut bytes), bytes.len(), "{start:#x}");
    let decoded: Vec<_> = Decoder::with_ip(64, &bytes, start, DecoderOptions::NONE).into_iter().collect();
    assert!(decoded.iter().all(|instruction| !instruction.is_invalid()), "{start:#x} to {end:#x} ends inside one");
    decoded.iter().map(iced_x86::Instruction::ip).collect()
}

#[test]
fn what_ran_is_what_the_machine_ran() {
    let mut blocks = 0;
    for seed in 0..programs() {
        let (program, run) = generated(seed, 1 + seed as usize % 3);
        let found = coverage(&Image(&program), &[], &[&run.packets]).remove(0);
        let covered: BTreeSet<u64> =
            found.blocks.iter().flat_map(|(start, end)| instructions(&program, *start, *end)).collect();
        assert_eq!(covered, run.executed.iter().copied().collect(), "program {seed}");
        blocks += found.blocks.len();
    }
    assert!(blocks > 0);
}

#[test]
fn of_two_runs_the_longer_block_counts() {
    let mut all = [(0x10, 0x18), (0x20, 0x22)].into();
    join(&mut all, [(0x10, 0x14), (0x20, 0x28), (0x30, 0x31)].into());
    assert_eq!(all, [(0x10, 0x18), (0x20, 0x28), (0x30, 0x31)].into());
}

#[test]
fn the_files_hold_every_block() {
    let module = |name: &str, path: &str, base, blocks| CoveredModule {
        name: name.to_owned(),
        path: path.to_owned(),
        base,
        size: 0x8000,
        checksum: 0xc0de,
        timestamp: 0x600f_1000,
        blocks,
    };
    let modules = [
        module("nt.exe", r"\SystemRoot\nt.exe", 0xffff_f800_0000_0000, vec![(0x1000, 5), (0x1010, 0x102)]),
        module("a.sys", "C:\\b\nc\\a.sys", 0xffff_f880_0000_0000, vec![(0x7fff, 1)]),
    ];
    let mut log = Vec::new();
    assert_eq!(write_drcov(&mut log, &modules).unwrap(), 3);
    let mut expected = br"DRCOV VERSION: 2
DRCOV FLAVOR: drcov
Module Table: version 2, count 2
Columns: id, base, end, entry, checksum, timestamp, path
  0, 0xfffff80000000000, 0xfffff80000008000, 0x0000000000000000, 0x0000c0de, 0x600f1000, \SystemRoot\nt.exe
  1, 0xfffff88000000000, 0xfffff88000008000, 0x0000000000000000, 0x0000c0de, 0x600f1000, C:\b?c\a.sys
BB Table: 3 bbs
"
    .to_vec();
    expected.extend(b"\x00\x10\0\0\x05\0\0\0\x10\x10\0\0\x02\x01\0\0\xff\x7f\0\0\x01\0\x01\0");
    assert_eq!(String::from_utf8_lossy(&log), String::from_utf8_lossy(&expected));
    assert_eq!(log, expected);
    let mut text = Vec::new();
    assert_eq!(write_offsets(&mut text, &modules).unwrap(), 3);
    assert_eq!(String::from_utf8(text).unwrap(), "nt.exe+1000\nnt.exe+1010\na.sys+7fff\n");
}
