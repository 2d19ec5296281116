//! A thread and its memory, for dumps without any known thread.

use super::{Architecture, Dump, Module, Thread};
use crate::context::{amd64, arm64, x86};
use crate::{AddressRange, Context, Error, Fill, MemoryRange, Protection};

impl Dump<'_> {
    /// Adds a thread that stands at `instruction`, and its two pages: for dumps without any known thread.
    ///
    /// # Errors
    /// An architecture without a context type in this crate.
    pub fn add_placeholder(&mut self, id: u32, instruction: u64) -> Result<(), Error> {
        let Some(Placeholder { thread, memory }) = Placeholder::new(self, id, instruction) else {
            let found = format!("{:?}", self.system_info.architecture);
            return Err(Error::rule("placeholder thread", found, "x86, AMD64 or ARM64, with 12 KiB free", "dbgeng"));
        };
        self.threads.push(thread);
        self.memory.extend(memory);
        Ok(())
    }
}

/// A thread that stands in where none was recorded, with the two pages that readers look for.
///
/// breakpad wants a stack that is in the dump; cle/angr reads the TEB's own address at TEB + 0x30 (TEB + 0x18 on x86);
/// dbgeng wants a TEB that is not 0 (measured).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Placeholder {
    /// The thread, with a context at the instruction pointer asked for.
    pub thread: Thread,
    /// Its TEB and its stack, a page each.
    pub memory: [MemoryRange<'static>; 2],
}

const PAGE: u64 = 0x1000;

impl Placeholder {
    /// A thread `id` that stands at `instruction`, its pages at user addresses that neither the memory nor the modules
    /// of `dump` use. Neither is added: see [`Dump::add_placeholder`]. `None` if this crate has no context
    /// for the architecture, or if no address range is free.
    pub fn new(dump: &Dump<'_>, id: u32, instruction: u64) -> Option<Placeholder> {
        let taken: Vec<AddressRange> = (dump.memory.iter().filter_map(MemoryRange::range))
            .chain(dump.modules.iter().filter_map(Module::range))
            .collect();
        // Both pages in one piece with a gap between them: TEB, gap, stack.
        let room = (0x1_0000..0x7ff0_0000).step_by(0x1_0000).find(|&start| {
            AddressRange::new(start, 3 * PAGE).is_some_and(|wish| !taken.iter().any(|range| range.overlaps(wish)))
        })?;
        let (teb, stack) = (room, room + 2 * PAGE);
        let top = stack + PAGE - 0x100;
        let context: Context = match dump.system_info.architecture {
            Architecture::AMD64 => amd64::Context::user(instruction, top).into(),
            Architecture::ARM64 => arm64::Context::new(instruction, top).into(),
            Architecture::X86 => x86::Context::new(instruction as u32, top as u32).into(),
            _ => return None,
        };
        let mut block = vec![0; PAGE as usize];
        match dump.system_info.architecture {
            Architecture::X86 => block[0x18..0x1c].copy_from_slice(&(teb as u32).to_le_bytes()),
            _ => block[0x30..0x38].copy_from_slice(&teb.to_le_bytes()),
        }
        let mut thread = Thread::new(id, teb, context);
        thread.stack = AddressRange::new(stack, PAGE);
        let memory = [
            MemoryRange::from_vec(teb, Protection::READ_WRITE, block),
            MemoryRange::new(stack, PAGE, Protection::READ_WRITE, Fill(0)),
        ];
        Some(Placeholder { thread, memory })
    }
}
