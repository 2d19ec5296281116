//! Traces of any size whose buffers are shaped like those of real kernel traces, for benchmarks and memory tests.

use super::{BUFFER_HEADER, Compression, Module, Payload, TraceFile};
use crate::Asm;

/// The body of a 64-bit buffer of up to `room` bytes with the mix of a kernel trace: context switches, samples, stacks
/// and rarer, larger events; `images` image events are among them. The average event takes about 130 bytes, as in the
/// traces measured. `seed` makes one buffer differ from the next.
pub fn shaped_buffer(room: usize, images: usize, seed: u64) -> Vec<u8> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        // xorshift64: good enough for sizes and addresses, and the same everywhere.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut asm = Asm::new();
    let mut tick = 1_000_000 + seed as i64 * 100_000;
    let mut image = 0;
    loop {
        tick += 10 + next(400) as i64;
        let thread = 4 * (1 + next(300) as u32);
        let address = 0xffff_f800_2148_9000 + next(0x70_0000);
        let payload = match next(16) {
            _ if image < images => {
                image += 1;
                let base = 0xffff_f880_0000_0000 + next(4096) * 0x10_0000;
                let path = format!(r"\SystemRoot\System32\drivers\driver{}.sys", next(200));
                Payload::Image { hook: 0x1403, version: 3, module: Module::kernel(&path, base, 0x8_0000) }
            }
            0..=6 => Payload::ContextSwitch { new: thread, old: 4 * (1 + next(300) as u32) },
            7..=10 => Payload::SampledProfile { address, tid: thread },
            11..=14 => {
                // Stacks repeat their outer frames.
                let depth = 8 + next(40);
                let frames = (0..depth).map(|i| 0xffff_f800_2148_9000 + (thread as u64 / 16 + i) * 0x1357).collect();
                Payload::StackWalk { tick: tick - 7, owner: (1000 + thread / 64, thread), frames }
            }
            _ => Payload::Thread { opcode: 1, pid: 1000, tid: thread, name: "worker".to_owned() },
        };
        let bytes = payload.event(tick, 8).encode();
        if asm.len() + bytes.len() + 8 > room {
            return asm.finish();
        }
        asm.bytes(&bytes).align(8, 0);
    }
}

/// A trace of `buffers` shaped buffers of 64 KiB over four processors; image events are in every sixteenth.
pub fn shaped_trace(buffers: usize) -> TraceFile {
    let mut trace = TraceFile::new();
    let room = trace.buffer_size - BUFFER_HEADER;
    for index in 0..buffers {
        let images = if index % 16 == 0 { 4 } else { 0 };
        trace.buffer((index % 4) as u16, None, shaped_buffer(room, images, index as u64 + 1));
    }
    trace
}

/// A shaped trace of at least `size` bytes: the same 512 buffers over and over, which takes no longer to make than to copy.
pub fn shaped_file(compression: Compression, size: usize) -> Vec<u8> {
    let mut trace = shaped_trace(512);
    trace.compression = compression;
    let mut file = trace.finish();
    // The first buffer holds the log-file header alone, and is never compressed.
    let cycle = file[trace.buffer_size..].to_vec();
    while file.len() < size {
        file.extend_from_slice(&cycle);
    }
    file
}
