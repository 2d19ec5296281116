//! Kernel dumps of a made-up x64 machine: triage, full and bitmap, all from the same values.
//!
//! Offsets are written down here as the public headers give them, not taken from the crates under test.

mod mapped;
mod pages;

use std::collections::BTreeMap;

pub use self::mapped::Mapped;

use crate::{Asm, Label};

/// A loaded module.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Full path.
    pub name: String,
    /// Load address.
    pub base: u64,
    /// `SizeOfImage`.
    pub size: u32,
    /// `TimeDateStamp`.
    pub timestamp: u32,
    /// `CheckSum`.
    pub checksum: u32,
}

/// A thread: an object at an address, and its stack.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    /// Address of the `ETHREAD`.
    pub address: u64,
    /// `KernelStack`: the saved stack pointer.
    pub kernel_stack: u64,
    /// `StackLimit`, the lowest address of the stack.
    pub stack_limit: u64,
    /// `StackBase`, the first address behind it.
    pub stack_base: u64,
    /// Captured bytes of the stack, from `kernel_stack` upwards.
    pub stack: Vec<u8>,
}

/// The machine that is dumped.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Build of Windows.
    pub build: u32,
    /// Processors.
    pub processors: u32,
    /// Bugcheck code and parameters.
    pub bugcheck: (u32, [u64; 4]),
    /// FILETIME of the dump.
    pub time: u64,
    /// Time since boot, 100 ns.
    pub up_time: u64,
    /// Instruction and stack pointer of the context.
    pub rip: u64,
    /// See `rip`.
    pub rsp: u64,
    /// Loaded modules, the kernel first.
    pub modules: Vec<Module>,
    /// Unloaded modules: name, start, end.
    pub unloaded: Vec<(String, u64, u64)>,
    /// Address of the `KPRCB`.
    pub prcb: u64,
    /// Address of the `EPROCESS`.
    pub process: u64,
    /// Threads of that process, the current one first.
    pub threads: Vec<Thread>,
    /// Other captured memory.
    pub memory: BTreeMap<u64, Vec<u8>>,
    /// What drivers left behind the dump.
    pub secondary: Vec<u8>,
    /// Address of `EtwpDebuggerData`, which the debugger's data have; 0 for none.
    pub trace_sessions: u64,
}

/// Offsets and sizes of the made-up build, unlike any real one.
const PRCB_SIZE: u16 = 0x800;
const PRCB_THREAD: u16 = 0x18;
const PRCB_MHZ: u16 = 0x44;
const PRCB_CONTEXT: u16 = 0x7c0;
const PROCESS_SIZE: u16 = 0x300;
const THREAD_SIZE: u16 = 0x400;
const THREAD_KERNEL_STACK: usize = 0x58;
const THREAD_STACK_BASE: usize = 0x38;
const THREAD_STACK_LIMIT: usize = 0x30;
const THREAD_INITIAL_STACK: usize = 0x28;
const THREAD_APC_PROCESS: usize = 0xb8;
/// Offset of `KTHREAD.Process` in this build; it is in no dump, only in the PDB.
pub const THREAD_PROCESS: usize = 0x220;

/// Where the debugger's data lies.
pub const KDBG: u64 = 0xffff_f804_1250_0000;
/// What it points to.
const PROCESSOR_BLOCK: u64 = 0xffff_f804_1250_1000;
const CONTEXT: u64 = 0xffff_f804_1250_2000;
const MODULE_LIST: u64 = 0xffff_f804_1250_3000;

impl Machine {
    /// Two modules, two threads, code at the start of each module.
    pub fn sample() -> Machine {
        let module = |name: &str, base, size, timestamp| Module {
            name: name.into(),
            base,
            size,
            timestamp,
            checksum: timestamp ^ 0x5555,
        };
        let modules = vec![
            module(r"\SystemRoot\system32\ntoskrnl.exe", 0xffff_f804_1234_0000, 0x4_6000, 0x0d83_33e6),
            module(r"\SystemRoot\System32\drivers\own driver.sys", 0xffff_f804_1600_0000, 0x9000, 0x5f00_0001),
        ];
        let thread = |address: u64, rsp: u64, bytes: &[u8]| Thread {
            address,
            kernel_stack: rsp,
            stack_limit: rsp & !0xfff,
            stack_base: (rsp & !0xfff) + 0x6000,
            stack: bytes.to_vec(),
        };
        let mut memory = BTreeMap::new();
        memory.insert(modules[0].base, b"MZ-nt".to_vec());
        memory.insert(modules[0].base + 0x1000, vec![0x33, 0xc0, 0xc3]);
        memory.insert(modules[1].base + 0x2ff8, (0u8..16).collect());
        Machine {
            build: 19041,
            processors: 1,
            bugcheck: (0x1000_007e, [0xffff_ffff_c000_0005, modules[1].base + 0x3000, 1, 2]),
            time: 132_583_451_029_877_657,
            up_time: 37_470_697,
            rip: modules[0].base + 0x1000,
            rsp: 0xffff_8504_2989_0ee8,
            prcb: 0xffff_f804_782d_4180,
            process: 0xffff_c08b_dce9_4180,
            threads: vec![
                thread(0xffff_c08b_de9e_1640, 0xffff_8504_2989_0ee8, &[0x11; 0x120]),
                thread(0xffff_c08b_dea1_a080, 0xffff_8504_2991_0ba0, &[0x22; 0x60]),
            ],
            modules,
            unloaded: vec![("dam.sys".into(), 0xffff_f804_87de_0000, 0xffff_f804_87df_c000)],
            memory,
            secondary: Vec::new(),
            trace_sessions: 0,
        }
    }

    /// `CONTEXT` of x64 with two registers set.
    pub fn context(&self) -> Vec<u8> {
        context(self.rip, self.rsp)
    }

    /// The `ETHREAD` of a thread.
    pub fn thread(&self, thread: &Thread) -> Vec<u8> {
        let mut asm = Asm::new();
        asm.fill(0, THREAD_SIZE.into()).put(0, &[6, 0, 0x28, 0]);
        asm.put(THREAD_INITIAL_STACK, &(thread.stack_base - 0x370).to_le_bytes());
        asm.put(THREAD_STACK_LIMIT, &thread.stack_limit.to_le_bytes());
        asm.put(THREAD_STACK_BASE, &thread.stack_base.to_le_bytes());
        asm.put(THREAD_KERNEL_STACK, &thread.kernel_stack.to_le_bytes());
        asm.put(THREAD_APC_PROCESS, &self.process.to_le_bytes());
        asm.put(THREAD_PROCESS, &self.process.to_le_bytes());
        asm.finish()
    }

    /// Overwrites memory that is in [`Self::memory`].
    ///
    /// # Panics
    /// When it is not.
    pub fn poke(&mut self, address: u64, bytes: &[u8]) {
        let (start, block) = self.memory.range_mut(..=address).next_back().expect("memory at the address");
        let at = (address - start) as usize;
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The `KPRCB`.
    pub fn prcb(&self) -> Vec<u8> {
        let mut asm = Asm::new();
        asm.fill(0, PRCB_SIZE.into());
        if self.trace_sessions != 0 {
            asm.put(PRCB_MHZ.into(), &3593u32.to_le_bytes());
        }
        asm.put(PRCB_THREAD.into(), &self.threads[0].address.to_le_bytes());
        asm.put(PRCB_CONTEXT.into(), &CONTEXT.to_le_bytes());
        asm.finish()
    }

    /// The `EPROCESS`.
    pub fn process(&self) -> Vec<u8> {
        let mut bytes = vec![0; PROCESS_SIZE.into()];
        bytes[0] = 3;
        bytes
    }

    /// `KDDEBUGGER_DATA64`.
    pub fn debugger_data(&self) -> Vec<u8> {
        let mut asm = Asm::new();
        asm.fill(0, 0x380).put(0, &KDBG.to_le_bytes()).put(8, &KDBG.to_le_bytes());
        asm.put(0x10, b"KDBG").put(0x14, &0x380u32.to_le_bytes());
        let variables =
            [(0x18, self.modules[0].base), (0x48, MODULE_LIST), (0x218, PROCESSOR_BLOCK), (0x330, self.trace_sessions)];
        for (at, value) in variables {
            asm.put(at, &value.to_le_bytes());
        }
        for (at, value) in [
            (0x29c, THREAD_KERNEL_STACK as u16),
            (0x29e, THREAD_INITIAL_STACK as u16),
            (0x2a0, THREAD_APC_PROCESS as u16),
            (0x2a8, PROCESS_SIZE),
            (0x2b0, PRCB_SIZE),
            (0x2b4, PRCB_THREAD),
            (0x2c0, THREAD_SIZE),
            (0x338, PRCB_CONTEXT),
        ] {
            asm.put(at, &value.to_le_bytes());
        }
        if self.trace_sessions != 0 {
            asm.put(0x2b6, &PRCB_MHZ.to_le_bytes());
        }
        asm.finish()
    }

    /// The memory that Windows writes as data blocks: processor, context, other threads with their stacks, and the rest.
    pub fn blocks(&self) -> BTreeMap<u64, Vec<u8>> {
        let mut blocks = self.memory.clone();
        blocks.insert(self.prcb, self.prcb());
        blocks.insert(PROCESSOR_BLOCK, self.prcb.to_le_bytes().to_vec());
        blocks.insert(CONTEXT, self.context());
        for thread in &self.threads[1..] {
            blocks.insert(thread.address, self.thread(thread));
            blocks.insert(thread.kernel_stack, thread.stack.clone());
        }
        blocks
    }

    /// A triage dump, DumpType 4.
    pub fn triage(&self) -> Vec<u8> {
        let mut asm = self.header(4, 0xcff);
        let [valid, mm, unloaded, prcb, process, thread, stack, drivers, pool, kdbg, table, end] =
            std::array::from_fn(|_| asm.label());
        let pool_end = asm.label();
        asm.u32(0).u32_of(end).u32_of(valid).u32(0x348).u32(0xf00);
        asm.u32_of(mm).u32_of(unloaded).u32_of(prcb).u32_of(process).u32_of(thread).u32_of(stack);
        asm.u32(self.threads[0].stack.len() as u32).u32_of(drivers).u32(self.modules.len() as u32);
        asm.u32_of(pool).u32_distance(pool, pool_end).u32(0).u32(u32::MAX);
        asm.u64(self.threads[0].kernel_stack).fill(0, 16).u64(0).u32(0).u32(0);
        let blocks = self.blocks();
        asm.u32_of(kdbg).u32(0x380).u32_of(table).u32(blocks.len() as u32);
        assert_eq!(asm.len(), 0x2080);

        asm.bind(mm).fill(0, 0x50).bind(unloaded).u64(self.unloaded.len() as u64);
        for (name, start, end) in &self.unloaded {
            let bytes = 2 * name.encode_utf16().count().min(12) as u16;
            let at = asm.len();
            asm.u16(bytes).u16(bytes).u32(0).u64(0);
            asm.utf16(&name.chars().take(12).collect::<String>()).pad_to(at + 40, 0).u64(*start).u64(*end);
        }
        asm.bind(prcb).bytes(&self.prcb()).bind(process).bytes(&self.process());
        asm.bind(thread).bytes(&self.thread(&self.threads[0]));
        asm.bind(stack).bytes(&self.threads[0].stack).align(8, 0);
        asm.bind(kdbg).bytes(&self.debugger_data()).bind(drivers);
        let names: Vec<Label> = self.modules.iter().map(|_| asm.label()).collect();
        for (module, &name) in self.modules.iter().zip(&names) {
            let at = asm.len();
            asm.u32_of(name).pad_to(at + 0x38, 0).u64(module.base).u64(0).u32(module.size);
            asm.pad_to(at + 0x80, 0).u32(module.checksum).u32(0).u32(module.timestamp).u32(0);
        }
        asm.bind(pool);
        for (module, name) in self.modules.iter().zip(names) {
            asm.align(8, 0).bind(name).u32(module.name.encode_utf16().count() as u32).utf16z(&module.name);
        }
        asm.align(8, 0).bind(pool_end).bind(table);
        let places: Vec<Label> = blocks.iter().map(|_| asm.label()).collect();
        for ((address, bytes), &place) in blocks.iter().zip(&places) {
            asm.u64(*address).u32_of(place).u32(bytes.len() as u32);
        }
        for (bytes, place) in blocks.values().zip(places) {
            asm.bind(place).bytes(bytes).align(4, 0);
        }
        asm.bind(valid).bytes(b"TRGD").bind(end).bytes(&self.secondary);
        asm.finish()
    }

    fn header(&self, dump_type: u32, parts: u32) -> Asm {
        let header = DumpHeader {
            build: self.build,
            processors: self.processors,
            bugcheck: self.bugcheck,
            time: self.time,
            up_time: self.up_time,
            rip: self.rip,
            module_list: MODULE_LIST,
            debugger_data: KDBG,
            context: self.context(),
        };
        header.write(dump_type, parts)
    }
}

fn context(rip: u64, rsp: u64) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.fill(0, 1232);
    asm.put(0x30, &0x0010_001fu32.to_le_bytes()).put(0x34, &0x1f80u32.to_le_bytes());
    asm.put(0x38, &0x10u16.to_le_bytes()).put(0x44, &0x246u32.to_le_bytes());
    asm.put(0x98, &rsp.to_le_bytes()).put(0xf8, &rip.to_le_bytes());
    asm.put(0x118, &0x1f80u32.to_le_bytes());
    asm.finish()
}

/// What `DUMP_HEADER64` says of the system.
struct DumpHeader {
    build: u32,
    processors: u32,
    bugcheck: (u32, [u64; 4]),
    time: u64,
    up_time: u64,
    rip: u64,
    module_list: u64,
    debugger_data: u64,
    context: Vec<u8>,
}

impl DumpHeader {
    /// 0x2000 bytes.
    fn write(&self, dump_type: u32, parts: u32) -> Asm {
        let mut asm = Asm::new();
        for _ in 0..0x800 {
            asm.bytes(b"PAGE");
        }
        asm.put(4, b"DU64");
        let words = [
            (0x8, 15),
            (0xc, self.build),
            (0x30, 0x8664),
            (0x34, self.processors),
            (0x38, self.bugcheck.0),
            (0xf00, 0x8000_0003),
            (0xf04, 1),
            (0xf18, 0),
            (0xf98, dump_type),
            (0x1038, parts),
            (0x1040, 1),
            (0x1044, 0x110),
            (0x1048, 0),
        ];
        for (at, value) in words {
            asm.put(at, &value.to_le_bytes());
        }
        let [p1, p2, p3, p4] = self.bugcheck.1;
        let longs = [
            (0x10, pages::ROOT),
            (0x18, 0),
            (0x20, self.module_list),
            (0x28, 0),
            (0x40, p1),
            (0x48, p2),
            (0x50, p3),
            (0x58, p4),
            (0x80, self.debugger_data),
            (0xf08, 0),
            (0xf10, self.rip),
            (0xfa8, self.time),
            (0x1030, self.up_time),
        ];
        for (at, value) in longs {
            asm.put(at, &value.to_le_bytes());
        }
        asm.put(0x348, &self.context);
        asm
    }
}
