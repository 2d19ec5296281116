//! The bodies of the fuzz targets: ordinary functions that panic when something is wrong.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use etw_sessions::{FileTime, Kernel, Memory, Sessions, secondary};
use testkit::dump::kernel::KDBG;
use testkit::dump::sessions::{self as made, LAYOUTS, Ring};

/// Blocks of memory; what lies between them is not there.
struct Blocks(BTreeMap<u64, Vec<u8>>);

impl Memory for Blocks {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(at) = address.checked_add(done as u64) else { break };
            let Some((start, block)) = self.0.range(..=at).next_back() else { break };
            let Some(rest) = block.get((at - start) as usize..).filter(|rest| !rest.is_empty()) else { break };
            let count = rest.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
        }
        done
    }
}

/// Reads the sessions of one of testkit's kernels. The first byte says which, and how its sessions are linked; what follows
/// are edits of 12 bytes: a block, an offset in it (two bytes each), and 8 bytes to put there.
pub fn contexts(input: &[u8]) {
    let Some((&first, edits)) = input.split_first() else { return };
    let mut kernel = made::sample();
    kernel.layout = LAYOUTS[usize::from(first) % LAYOUTS.len()];
    for session in &mut kernel.sessions {
        session.ring = if first & 0x80 == 0 { Ring::Direct } else { Ring::Nodes };
    }
    let mut machine = kernel.machine();
    let starts: Vec<u64> = machine.memory.keys().copied().collect();
    for edit in edits.chunks_exact(12) {
        let number = |at: usize| usize::from(u16::from_le_bytes([edit[at], edit[at + 1]]));
        let block = machine.memory.get_mut(&starts[number(0) % starts.len()]).expect("a block");
        let at = number(2) % block.len();
        let count = (block.len() - at).min(8);
        block[at..at + count].copy_from_slice(&edit[4..4 + count]);
    }
    let facts = Kernel {
        base: machine.modules[0].base,
        build: machine.build,
        debugger_data: Some(KDBG),
        held: 4 << 20,
        processors: 2,
        ..Kernel::default()
    };
    let mut blocks = machine.blocks();
    blocks.insert(KDBG, machine.debugger_data());
    let memory = Blocks(blocks);
    if let Ok(sessions) = etw_sessions::read(&memory, &facts) {
        save(&sessions, &memory);
    }
}

/// Reads a copy of sessions. An even first byte: the rest are the block. An odd one: the rest are edits of 3 bytes (offset,
/// offset, value) to one of testkit's, whose names are there twice when the bit of 2 is set.
pub fn copied(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    let block = if kind % 2 == 0 {
        rest.to_vec()
    } else {
        let mut block = made::copied(19041, &made::sample().sessions, 1 + usize::from(kind & 2 != 0), b"");
        for edit in rest.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % block.len();
            block[at] = edit[2];
        }
        block
    };
    let (blocks, _) = secondary::blocks(&block, 0);
    assert!(blocks.iter().all(|found| found.data.end <= block.len()));
    let sessions = secondary::read(&block, 0, 1, FileTime(0));
    save(&sessions, &&block[..]);
}

/// What is saved is a trace with the events that were counted.
fn save(sessions: &Sessions, memory: &dyn Memory) {
    for session in &sessions.sessions {
        let Ok((file, saved)) = etw_sessions::save(session, &sessions.machine, memory, Vec::new()) else { continue };
        assert_eq!(file.len() as u64, saved.bytes);
        let trace = etl_file::Trace::parse(&file).expect("a trace");
        let buffers = trace.buffers().map(|buffer| buffer.expect("a buffer"));
        let events: usize = buffers.map(|buffer| buffer.plain_events().expect("plain").count()).sum();
        assert_eq!(events as u64, saved.events);
    }
}
