//! What the kernel copies of its sessions behind a dump.

use super::Session;
use crate::Asm;

/// The ETW block: its header and the sessions, each name with `factor` times its bytes, as kernels up to Windows 11 22000
/// (2) and later ones (1) write it. What follows a name is `stray`.
pub fn copied(build: u32, sessions: &[Session], factor: usize, stray: &[u8]) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.u32(156_250).u32(0xf000_0000 | build).u32(3593).u32(0).i64(132_583_449_000_000_000).i64(10_000_000);
    for session in sessions {
        let name = 2 * session.name.encode_utf16().count();
        asm.u32(0x01eb_afe1).u32(session.id).u32(session.mode).u32(session.clock).u32(session.buffer_size);
        asm.u32(name as u32).i64(session.reference.0).i64(session.reference.0).i64(session.reference.1);
        asm.utf16(&session.name);
        let rest = name * (factor - 1);
        asm.bytes(&stray.iter().copied().chain(std::iter::repeat(0xa5)).take(rest).collect::<Vec<u8>>());
        for one in &session.buffers {
            let length = if one.current <= session.buffer_size { one.current } else { one.saved };
            asm.u32(session.buffer_size).u32(one.saved).u32(one.current).u32(0).i64(one.time).i64(one.sequence);
            asm.u64(0).u16(one.processor).u16(session.id as u16).u32(one.state).u32(length);
            asm.u16(one.flags).u16(one.kind).u64(0xffff_c08b_dead_0000).u64(0xffff_c08b_dead_0000);
            asm.bytes(&one.body[..(length as usize - 0x48).min(one.body.len())]);
        }
    }
    asm.finish()
}

/// The chain of blocks behind a dump: GUIDs as text, and data. The kernel fills data up to multiples of 8.
pub fn secondary(build: u32, blocks: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.bytes(b"DumpBlob").u32(0x10).u32(0xf000_0000 | build);
    for (guid, data) in blocks {
        let after = data.len().next_multiple_of(8) - data.len();
        asm.u32(0x20).guid(guid).u32(data.len() as u32).u32(0).u32(after as u32).bytes(data).fill(0, after);
    }
    asm.finish()
}
