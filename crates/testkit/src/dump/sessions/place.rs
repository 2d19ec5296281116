//! The structures of a kernel with sessions, put into memory.

use std::collections::BTreeMap;

use super::{Kernel, Layout, Ring, Session, at};
use crate::Asm;
use crate::dump::kernel::Machine;

/// Members that the two families have at one distance from each other, as the older one has them.
pub(super) const FAMILY: [(&str, usize); 19] = [
    ("LoggerName", 0x98),
    ("LogFileName", 0xa8),
    ("ClockType", 0xd8),
    ("FlushTimer", 0xe0),
    ("MinimumBuffers", 0xf0),
    ("BuffersAvailable", 0xf4),
    ("NumberOfBuffers", 0xf8),
    ("MaximumBuffers", 0xfc),
    ("EventsLost", 0x100),
    ("BuffersWritten", 0x108),
    ("LogBuffersLost", 0x10c),
    ("RealTimeBuffersLost", 0x114),
    ("MaximumFileSize", 0x134),
    ("PoolType", 0x13c),
    ("ReferenceTime", 0x140),
    ("NumConsumers", 0x168),
    ("StartTime", 0x328),
    ("Flags", 0x340),
    ("CollectionOn", 0x150),
];

/// Members of a made-up container's structures.
pub(super) const GLOBALS_STATE: u64 = 0x360;
pub(super) const JOB_PARENT: u64 = 0x4a0;
pub(super) const JOB_GLOBALS: u64 = 0x5b8;
pub(super) const LINKS: u64 = 0x2e8;
pub(super) const JOB: u64 = 0x3b0;
const PROCESSES: u64 = 0xffff_c08b_1200_0000;
const JOBS: u64 = 0xffff_c08b_1210_0000;
const GLOBALS: u64 = 0xffff_c08b_1220_0000;

/// Where the array of contexts of a silo is.
pub(super) fn array(layout: &Layout, state: u64) -> u64 {
    match layout.slots {
        Ok(_) => state + at::ARRAY,
        Err(inline) => state + inline as u64,
    }
}

pub(super) fn buffer(state: u64, session: usize, index: usize) -> u64 {
    state + at::BUFFERS + 0x20_0000 * session as u64 + 0x4000 * index as u64
}

type Memory = BTreeMap<u64, Vec<u8>>;

pub(super) fn machine(kernel: &Kernel) -> Machine {
    let mut machine = Machine::sample();
    machine.build = kernel.layout.build;
    let base = machine.modules[0].base;
    let symbol = |rva: u32| base + u64::from(rva);
    machine.memory.retain(|address, _| *address > base + 0x1000);
    silo(kernel, at::STATE, &kernel.sessions, &mut machine.memory);
    machine.memory.insert(symbol(at::HOST_STATE), at::STATE.to_le_bytes().to_vec());
    machine.memory.insert(symbol(at::BOOT_TIME), 132_583_449_000_000_000i64.to_le_bytes().to_vec());
    machine.memory.insert(symbol(at::MAXIMUM_INCREMENT), 156_250u32.to_le_bytes().to_vec());
    if kernel.has_debugger_data {
        machine.trace_sessions = symbol(at::DEBUGGER_DATA);
    }
    machine.memory.insert(symbol(at::DEBUGGER_DATA), debugger_data(&kernel.layout));
    let mut shared = Asm::new();
    // One hour west of Greenwich; ten million ticks a second.
    shared.fill(0, 0x400).put(0x20, &36_000_000_000i64.to_le_bytes()).put(0x300, &10_000_000i64.to_le_bytes());
    machine.memory.insert(0xffff_f780_0000_0000, shared.finish());
    image(kernel, base, &mut machine.memory);
    processes(kernel, symbol(at::PROCESS_LIST), &mut machine.memory);
    machine
}

/// The table for debuggers, as two public debugger sessions show it.
fn debugger_data(layout: &Layout) -> Vec<u8> {
    let family = |member: &str| {
        let (_, offset) = FAMILY.iter().find(|(name, _)| *name == member).unwrap();
        (offset - layout.before) as u8
    };
    let mut asm = Asm::new();
    asm.bytes(&[0x20, 2, 0x2c, 8, 4, 0x38, 0xc, family("NumberOfBuffers"), family("ClockType"), 0, 0x70, 0x10]);
    asm.bytes(&[family("LoggerName"), 0xc, 4, layout.global_list as u8]);
    asm.u64(array(layout, at::STATE)).u64(at::STATE);
    asm.finish()
}

/// Headers of an image that names its PDB, and the debug directory.
fn image(kernel: &Kernel, base: u64, memory: &mut Memory) {
    let mut asm = Asm::new();
    asm.bytes(b"MZ").pad_to(0x3c, 0).u32(0x80).pad_to(0x80, 0).bytes(b"PE\0\0");
    // File header: x64, one section, time stamp, an optional header of 240 bytes.
    asm.u16(0x8664).u16(1).u32(0x0d83_33e6).u32(0).u32(0).u16(240).u16(0x22);
    let optional = asm.len();
    asm.u16(0x20b).pad_to(optional + 0x18, 0).u64(base).u32(0x1000).u32(0x200);
    asm.pad_to(optional + 0x38, 0).u32(0x4_6000).u32(0x400).u32(0).u16(1);
    asm.pad_to(optional + 0x6c, 0).u32(16).pad_to(optional + 0x70 + 6 * 8, 0).u32(at::DEBUG_DIRECTORY).u32(28);
    asm.pad_to(optional + 240, 0).bytes(b".text\0\0\0").u32(0x4_5000).u32(0x1000).u32(0x4_5000).u32(0x1000);
    asm.fill(0, 12).u32(0x6000_0020);
    memory.insert(base, asm.finish());

    let (guid, age) = kernel.pdb;
    let mut debug = Asm::new();
    let size = 24 + "ntkrnlmp.pdb".len() as u32 + 1;
    debug.u32(0).u32(0x0d83_33e6).u32(0).u32(2).u32(size).u32(at::DEBUG_DIRECTORY + 28).u32(0);
    debug.bytes(b"RSDS").bytes(&guid).u32(age).cstr("ntkrnlmp.pdb");
    memory.insert(base + u64::from(at::DEBUG_DIRECTORY), debug.finish());
}

/// A ring of two processes, one of them in a job below that of the container.
fn processes(kernel: &Kernel, head: u64, memory: &mut Memory) {
    if kernel.container.is_empty() {
        memory.insert(head, [head.to_le_bytes(), head.to_le_bytes()].concat());
        return;
    }
    silo(kernel, at::CONTAINER, &kernel.container, memory);
    let processes = [PROCESSES, PROCESSES + 0x1000];
    let links: Vec<u64> = [head].into_iter().chain(processes.map(|process| process + LINKS)).collect();
    for (index, &link) in links.iter().enumerate() {
        let (next, previous) = (links[(index + 1) % 3], links[(index + 2) % 3]);
        memory.insert(link, [next.to_le_bytes(), previous.to_le_bytes()].concat());
    }
    let mut pointer = |address: u64, to: u64| memory.insert(address, to.to_le_bytes().to_vec());
    pointer(processes[0] + JOB, 0);
    pointer(processes[1] + JOB, JOBS);
    pointer(JOBS + JOB_PARENT, JOBS + 0x1000);
    pointer(JOBS + JOB_GLOBALS, 0);
    pointer(JOBS + 0x1000 + JOB_PARENT, 0);
    pointer(JOBS + 0x1000 + JOB_GLOBALS, GLOBALS);
    pointer(GLOBALS + GLOBALS_STATE, at::CONTAINER);
}

fn silo(kernel: &Kernel, state: u64, sessions: &[Session], memory: &mut Memory) {
    let layout = &kernel.layout;
    let slots = if layout.slots.is_ok() { kernel.max_loggers } else { 64 };
    // Slots 0 and 1 are never used, others free.
    let mut entries = vec![1u64; slots as usize];
    entries[..2].fill(0);
    for (index, session) in sessions.iter().enumerate() {
        let at = state + at::CONTEXTS + 0x1000 * index as u64;
        entries[session.id as usize] = at;
        context(layout, state, index, session, memory);
    }
    let entries: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let mut own = Asm::new();
    own.fill(0, layout.silo_size);
    match layout.slots {
        Ok((count, pointer)) => {
            own.put(count, &kernel.max_loggers.to_le_bytes()).put(pointer, &(state + at::ARRAY).to_le_bytes());
            memory.insert(state + at::ARRAY, entries);
        }
        Err(inline) => drop(own.put(inline, &entries)),
    }
    let system = sessions.iter().filter_map(|session| session.classes.map(|classes| (session, classes)));
    for ((session, classes), index) in system.zip(0..8).filter(|_| layout.settings.is_some()) {
        let settings = layout.settings.unwrap();
        own.put(settings + 2 * index, &[session.id as u8, session.clock as u8]);
        own.put(settings + 0x10, &(0xffu32 >> (7 - index)).to_le_bytes());
        own.put(settings + 0x34 + 32 * index, &classes.to_le_bytes());
    }
    memory.insert(state, own.finish());
}

fn context(layout: &Layout, state: u64, index: usize, session: &Session, memory: &mut Memory) {
    let address = state + at::CONTEXTS + 0x1000 * index as u64;
    let name = state + at::NAMES + 0x1000 * index as u64;
    let mut own = Asm::new();
    own.fill(0, layout.size);
    let words = [(0, session.id), (4, session.buffer_size), (0xc, session.mode)];
    for (at, value) in words {
        own.put(at, &value.to_le_bytes());
    }
    let buffers = session.buffers.len() as u32;
    let mut words = Asm::new();
    words.u64(session.reference.0 as u64).u64(session.reference.1 as u64);
    let values: [(&str, Vec<u8>); 12] = [
        ("LoggerName", string(&session.name, name)),
        ("LogFileName", string(&session.log_file, name + 0x800)),
        ("ClockType", session.clock.to_le_bytes().to_vec()),
        ("FlushTimer", session.flush_timer.to_le_bytes().to_vec()),
        ("MinimumBuffers", 2u32.to_le_bytes().to_vec()),
        ("NumberOfBuffers", buffers.max(1).to_le_bytes().to_vec()),
        ("MaximumBuffers", 64u32.to_le_bytes().to_vec()),
        ("EventsLost", session.events_lost.to_le_bytes().to_vec()),
        ("PoolType", 0x200u32.to_le_bytes().to_vec()),
        ("ReferenceTime", words.finish()),
        ("StartTime", session.reference.0.to_le_bytes().to_vec()),
        ("Flags", session.flags.to_le_bytes().to_vec()),
    ];
    for (member, bytes) in values {
        let (_, offset) = FAMILY.iter().find(|(name, _)| *name == member).unwrap();
        own.put(offset - layout.before, &bytes);
    }
    own.put(layout.silo_state, &state.to_le_bytes());
    for (text, at) in [(&session.name, name), (&session.log_file, name + 0x800)] {
        let mut asm = Asm::new();
        asm.utf16z(text);
        memory.insert(at, asm.finish());
    }
    if let (Some((options, hooks)), Some(at)) = (&session.ipt, layout.ipt_data) {
        let mut ipt = Asm::new();
        ipt.u64(0).u64(*options).u64(0).u32(hooks.len() as u32);
        for hook in hooks {
            ipt.u16(*hook);
        }
        memory.insert(name + 0xc00, ipt.pad_to(0x28, 0).clone().finish());
        own.put(at, &(name + 0xc00).to_le_bytes());
    }
    let head = address + layout.global_list as u64;
    let links = ring(state, index, session, head, memory);
    own.put(layout.global_list, &links);
    memory.insert(address, own.finish());
}

/// A `UNICODE_STRING`.
fn string(text: &str, at: u64) -> Vec<u8> {
    let bytes = 2 * text.encode_utf16().count() as u16;
    let mut asm = Asm::new();
    asm.u16(bytes).u16(bytes + 2).u32(0).u64(at);
    asm.finish()
}

/// Puts the buffers into memory, linked; gives the head's two links.
fn ring(state: u64, index: usize, session: &Session, head: u64, memory: &mut Memory) -> Vec<u8> {
    let at: Vec<u64> = (0..session.buffers.len()).map(|number| buffer(state, index, number)).collect();
    let node = |number: usize| state + at::NODES + 0x2_0000 * index as u64 + 0x20 * number as u64;
    let entries: Vec<u64> = match session.ring {
        Ring::Direct => at.iter().map(|address| address + 0x38).collect(),
        Ring::Nodes => (0..at.len()).map(node).collect(),
    };
    let links = |number: usize| {
        let next = entries.get(number + 1).copied().unwrap_or(head);
        let previous = number.checked_sub(1).map_or(head, |before| entries[before]);
        [next.to_le_bytes(), previous.to_le_bytes()].concat()
    };
    for (number, one) in session.buffers.iter().enumerate() {
        let mut asm = Asm::new();
        asm.u32(session.buffer_size).u32(one.saved).u32(one.current).u32(if one.state == 1 { 15 } else { 0 });
        asm.i64(one.time).i64(one.sequence).u64(0).u16(one.processor).u16(session.id as u16).u32(one.state);
        asm.u32(0x48 + one.body.len() as u32).u16(one.flags).u16(one.kind);
        match session.ring {
            Ring::Direct => asm.bytes(&links(number)),
            // Stale pointers, as in freed memory.
            Ring::Nodes => asm.u64(0xffff_c08b_dead_0000).u64(0xffff_c08b_dead_0000),
        };
        asm.bytes(&one.body);
        let rest = (session.buffer_size as usize).saturating_sub(asm.len());
        asm.fill(0, rest);
        memory.insert(at[number], asm.finish());
        if session.ring == Ring::Nodes {
            memory.insert(entries[number], [links(number), at[number].to_le_bytes().to_vec()].concat());
        }
    }
    let first = entries.first().copied().unwrap_or(head);
    let last = entries.last().copied().unwrap_or(head);
    [first.to_le_bytes(), last.to_le_bytes()].concat()
}
