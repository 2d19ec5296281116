//! The state of a machine that never was: just enough of a processor, a thread and a process for a debugger.
//!
//! ```text
//! area + 0x0000   KdDebuggerDataBlock    KDDEBUGGER_DATA64
//! area + 0x1100   PsLoadedModuleList     empty ring
//!      + 0x1200   PsActiveProcessHead    empty ring
//!      + 0x1800   NtBuildLab             text
//! area + 0x2000   CONTEXT                ◄── KPRCB + OffsetPrcbContext
//! area + 0x3000   EPROCESS               ◄── ETHREAD + OffsetKThreadApcProcess
//! area + 0x4000   ETHREAD                ◄── KPRCB + OffsetPrcbCurrentThread
//! area + 0x8000   KiProcessorBlock       ──► KPRCB, as many times as there can be processors
//! area + 0x10000  KPRCB
//! ```
//!
//! The addresses are made up; they only have to be kernel addresses that nothing else occupies. What each part is for
//! was measured on dbgeng by taking it away:
//!
//! | without | dbgeng 10.0.15063 | dbgeng 6.3.9600 |
//! | --- | --- | --- |
//! | KPRCB or CONTEXT as data blocks | "GetContextState failed 0x8007001E", no registers | fine: reads the header's context |
//! | `KDDEBUGGER_DATA64` in its own place | "GetContextState failed 0x8007001E", no registers | the same |
//! | page table root in the header | "Invalid directory table base value 0x0" | the same |
//! | NtBuildLab | no "Built by:" line | the same |
//! | EPROCESS, ETHREAD as data blocks | fine | fine |
//! | KiProcessorBlock | fine: reads the header's context | fine |
//! | KiProcessorBlock but for its first entry | with more than one processor "KiProcessorBlock\[1\] could not be read" and no target | fine |
//!
//! The same holds for ARM64 with its own CONTEXT, offsets and all (dbgeng 10; 6.3 does not know the machine).
//!
//! So that `System::processors` may be any number, all entries of KiProcessorBlock name the one KPRCB.

use std::borrow::Cow;

use super::debugger_data::{AMD64_19041, DebuggerData, FieldOffset, Variable};
use super::{Anchors, Bugcheck, CallStack, Dump, Exception, Machine, State, System};
use crate::{Context, MemoryRange, Protection};

/// The facts from which [`Dump::synthetic`] makes a machine state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Synthetic {
    /// Base of the kernel image.
    pub kernel_base: u64,
    /// Registers of the one processor.
    pub context: Context,
    /// Bytes from the stack pointer upwards. Empty: a page of zeros.
    pub stack: Vec<u8>,
    /// The kernel's build lab, for example `26100.1.amd64fre.ge_release.240331-1435`; empty when unknown.
    pub build_lab: String,
    /// First address of [`Synthetic::AREA`] bytes that no module and no memory of the dump occupies.
    pub area: u64,
}

const PROCESSOR_BLOCK: u64 = 0x8000;
/// Entries of KiProcessorBlock, more than any Windows has processors.
const PROCESSORS: usize = 2048;
const MODULE_LIST: u64 = 0x1100;
const PROCESS_LIST: u64 = 0x1200;
const BUILD_LAB: u64 = 0x1800;
const CONTEXT: u64 = 0x2000;
const PROCESS: u64 = 0x3000;
const THREAD: u64 = 0x4000;
const PRCB: u64 = 0x10000;

/// Any page-aligned number but 0 will do: a triage dump has no page tables.
const DIRECTORY_TABLE_BASE: u64 = 0x1a_d000;
/// The build lab is a C string; no known one is longer.
const BUILD_LAB_SIZE: usize = 0x100;
const STACK_SIZE: usize = 0x1000;

impl<'a> Dump<'a> {
    /// A dump of a machine that never was, with processor, context and debugger data in place, so that registers, stack
    /// and `nt!` work. Drivers and memory are for the caller to add.
    pub fn synthetic(synthetic: Synthetic) -> Dump<'a> {
        synthetic.into_dump()
    }
}

impl Synthetic {
    /// Bytes of the address area.
    pub const AREA: u64 = 0x20000;
    /// Where the area lies unless told otherwise: between the user's half and the kernel's, in a stretch that Windows
    /// gives to no one by default (hyperspace's neighbour on x64).
    pub const DEFAULT_AREA: u64 = 0xffff_f680_0000_0000;

    /// A state with these registers.
    pub fn new(kernel_base: u64, context: impl Into<Context>) -> Synthetic {
        Synthetic {
            kernel_base,
            context: context.into(),
            stack: Vec::new(),
            build_lab: String::new(),
            area: Self::DEFAULT_AREA,
        }
    }

    fn at(&self, offset: u64) -> u64 {
        self.area.wrapping_add(offset)
    }

    /// A list head that points to itself.
    fn ring(&self, offset: u64) -> Vec<u8> {
        let address = self.at(offset).to_le_bytes();
        [address, address].concat()
    }

    fn into_dump<'a>(self) -> Dump<'a> {
        let (rip, rsp) = (self.context.instruction_pointer(), self.context.stack_pointer());
        let context = self.context.as_bytes().to_vec();
        let machine = match self.context {
            Context::Amd64(_) => Machine::AMD64,
            Context::Arm64(_) => Machine::ARM64,
            // Refused at plan time, as every other machine of 32 bits.
            Context::X86(_) => Machine::I386,
        };
        let stack = if self.stack.is_empty() { vec![0; STACK_SIZE] } else { self.stack.clone() };

        let data = self.debugger_data();
        let size = |field| usize::from(data.offset(field));
        let field = |bytes: &mut [u8], field, value: u64| {
            let at = size(field);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        let mut prcb = vec![0; size(FieldOffset::SIZE_PRCB)];
        field(&mut prcb, FieldOffset::PRCB_CURRENT_THREAD, self.at(THREAD));
        field(&mut prcb, FieldOffset::PRCB_CONTEXT, self.at(CONTEXT));
        let mut thread = vec![0; size(FieldOffset::SIZE_ETHREAD)];
        field(&mut thread, FieldOffset::KTHREAD_APC_PROCESS, self.at(PROCESS));
        field(&mut thread, FieldOffset::KTHREAD_KERNEL_STACK, rsp);
        field(&mut thread, FieldOffset::KTHREAD_INITIAL_STACK, rsp.wrapping_add(stack.len() as u64));
        let process = vec![0; size(FieldOffset::SIZE_EPROCESS)];

        let mut build_lab = self.build_lab.clone().into_bytes();
        build_lab.truncate(BUILD_LAB_SIZE - 1);
        build_lab.resize(BUILD_LAB_SIZE, 0);
        let block = |offset, bytes: Vec<u8>| MemoryRange::from_vec(self.at(offset), Protection::READ_WRITE, bytes);
        let memory = vec![
            block(0, data.as_bytes().to_vec()),
            block(PROCESSOR_BLOCK, self.at(PRCB).to_le_bytes().repeat(PROCESSORS)),
            block(MODULE_LIST, self.ring(MODULE_LIST)),
            block(PROCESS_LIST, self.ring(PROCESS_LIST)),
            block(BUILD_LAB, build_lab),
            block(CONTEXT, context.clone()),
            block(PROCESS, process.clone()),
            block(THREAD, thread.clone()),
            block(PRCB, prcb.clone()),
        ];
        Dump {
            system: System { machine, ..System::default() },
            bugcheck: Bugcheck::default(),
            anchors: Anchors {
                directory_table_base: DIRECTORY_TABLE_BASE,
                pfn_database: 0,
                ps_loaded_module_list: self.at(MODULE_LIST),
                ps_active_process_head: self.at(PROCESS_LIST),
                debugger_data_block: self.area,
            },
            exception: Exception { code: 0x8000_0003, address: rip, ..Exception::default() },
            context,
            state: State {
                mm: Cow::Borrowed(&[]),
                prcb: prcb.into(),
                process: process.into(),
                thread: thread.into(),
                call_stack: CallStack { address: rsp, bytes: stack.into() },
                data_page: None,
                debugger_data: Some(data),
                options: u32::MAX,
            },
            memory,
            ..Dump::default()
        }
    }

    fn debugger_data(&self) -> DebuggerData {
        let mut data = DebuggerData::new(self.area);
        data.set_variable(Variable::KERN_BASE, self.kernel_base)
            .set_variable(Variable::PS_LOADED_MODULE_LIST, self.at(MODULE_LIST))
            .set_variable(Variable::PS_ACTIVE_PROCESS_HEAD, self.at(PROCESS_LIST))
            .set_variable(Variable::KI_PROCESSOR_BLOCK, self.at(PROCESSOR_BLOCK))
            .set_variable(Variable::MM_PAGE_SIZE, 0x1000);
        if !self.build_lab.is_empty() {
            data.set_variable(Variable::NT_BUILD_LAB, self.at(BUILD_LAB));
        }
        for (field, value) in AMD64_19041 {
            data.set_offset(field, value);
        }
        data
    }
}
