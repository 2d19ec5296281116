//! The threads of a triage dump: the current one, those that something names, and those that scanning finds.
//!
//! A triage dump has one thread of its own. But Windows also captures memory around the pointers that it found in
//! registers and on stacks, and thread objects are among it, usually in part. What gives a thread away is the pointer
//! to its process at `KTHREAD.Process`:
//!
//! ```text
//!   captured block            thread object (most of it not captured)
//!                           + 0x000  type 6, ThreadObject
//!                           + 0x058  KernelStack
//!  +---------------------+  + 0x0b8  ApcState.Process      at times another process's
//!  | ...                 |
//!  | pointer to EPROCESS |  + 0x220  Process               on build 19041: found here, the thread begins 0x220 before
//!  +---------------------+
//! ```
//!
//! A find is dropped when any captured field of the thread contradicts it, or when it lies on another alignment than
//! the threads that are known for certain.

mod layout;

use std::collections::BTreeMap;

use mdmp::read::{Segments, Triage};

pub use layout::ThreadLayout;

/// A thread of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Address of the `ETHREAD`.
    pub address: u64,
    /// How it was found: the strongest way.
    pub found: Found,
    /// Address of its `EPROCESS`, where known.
    pub process: Option<u64>,
    /// Process and thread id, when they were captured.
    pub client_id: Option<(u64, u64)>,
    /// The processor it ran on, of threads that ran.
    pub processor: Option<u32>,
    /// Stack pointer: of the processor for a running thread, else the saved one.
    pub stack_pointer: Option<u64>,
    /// Lowest address of the stack and the first one after it, when they were captured.
    pub stack: Option<(u64, u64)>,
    /// Captured bytes of the stack: from the stack pointer upwards without a gap.
    pub captured: u64,
    /// True when a captured field of the object shows that it is a thread; false when only the pointer says so.
    pub verified: bool,
}

/// How a thread was found. Ordered from the strongest to the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Found {
    /// The dump is of this thread.
    Current,
    /// It ran on another processor.
    Running,
    /// A bugcheck parameter is its address; parameters count from 1.
    Bugcheck(u8),
    /// The caller named it.
    Listed,
    /// A captured pointer to its process.
    Scanned,
}

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct ThreadOptions {
    /// Where a thread object has its fields; [`ThreadLayout::AMD64_19041`] by default.
    pub layout: ThreadLayout,
    /// Addresses that are threads.
    pub addresses: Vec<u64>,
    /// Addresses of further process objects to look for. The dump's own process and those of known threads are looked
    /// for anyway.
    pub processes: Vec<u64>,
}

/// `DISPATCHER_HEADER.Type` of a thread, `ThreadObject`.
const THREAD_OBJECT: u8 = 6;
/// Pool allocations lie on multiples of 16.
pub const POOL_ALIGNMENT: u64 = 16;
/// Where all known threads lie on multiples of 64, as on Windows 10, the others do as well.
const CACHE_ALIGNMENT: u64 = 64;
/// Kernel stacks grow to 0x6C000 bytes with everything expanded; a larger range is not a stack.
const MAX_STACK: u64 = 0x10_0000;

/// Lists the threads of a triage dump, in the order of [`Found`], then of their addresses. `memory` is the dump's own,
/// or that of several dumps of one boot.
pub fn threads(dump: &Triage<'_>, memory: &Segments<'_>, options: &ThreadOptions) -> Vec<Thread> {
    let search = Search { memory, layout: options.layout.or_debugger_data(dump.debugger_data()) };
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    let mut add = |address: u64, how: Found| {
        if address != 0 {
            let strongest = found.get(&address).map_or(how, |&known| known.min(how));
            found.insert(address, strongest);
        }
    };
    let processors: Vec<_> = dump.processors().collect();
    if let Some(current) = dump.current_thread() {
        add(current, Found::Current);
    }
    for processor in &processors {
        add(processor.thread, Found::Running);
    }
    for (parameter, number) in dump.header().bugcheck().parameters.into_iter().zip(1..) {
        // Most parameters are something else, so that nothing short of the object itself will do.
        if search.is_thread(parameter) == Some(true) {
            add(parameter, Found::Bugcheck(number));
        }
    }
    options.addresses.iter().for_each(|&address| add(address, Found::Listed));

    let known: Vec<u64> = found.keys().copied().collect();
    let alignment = if known.iter().all(|address| address.is_multiple_of(CACHE_ALIGNMENT)) {
        CACHE_ALIGNMENT
    } else {
        POOL_ALIGNMENT
    };
    let mut processes = options.processes.clone();
    processes.extend(dump.current_process());
    processes.extend(known.iter().filter_map(|&thread| search.process(thread)));
    processes.retain(|&process| process != 0);
    processes.sort_unstable();
    processes.dedup();
    for address in search.scan(&processes) {
        if address.is_multiple_of(alignment) {
            found.entry(address).or_insert(Found::Scanned);
        }
    }

    let mut threads: Vec<Thread> = found
        .into_iter()
        .map(|(address, how)| {
            let processor = processors.iter().find(|processor| processor.thread == address);
            let context = processor.and_then(|processor| processor.context);
            let current = (how == Found::Current).then(|| dump.call_stack().map(|stack| stack.address)).flatten();
            let running = context.and_then(stack_pointer).or(current);
            search.describe(address, how, processor.map(|processor| processor.number), running)
        })
        .collect();
    threads.sort_by_key(|thread| (thread.found, thread.address));
    threads
}

/// `Rsp` of an x64 context, `Sp` of an ARM64 one; they differ in size.
fn stack_pointer(context: &[u8]) -> Option<u64> {
    let at = if context.len() == 912 { 0x100 } else { 0x98 };
    Some(u64::from_le_bytes(context.get(at..at + 8)?.try_into().expect("8 bytes"))).filter(|&pointer| pointer != 0)
}

struct Search<'s, 'a> {
    memory: &'s Segments<'a>,
    layout: ThreadLayout,
}

impl Search<'_, '_> {
    fn field(&self, thread: u64, offset: u32) -> Option<u64> {
        self.memory.pointer_at(thread.checked_add(offset.into())?)
    }

    /// What the captured fields say: `None` when none of them was captured.
    fn is_thread(&self, address: u64) -> Option<bool> {
        let mut kind = [0];
        if self.memory.read(address, &mut kind) == 1 {
            return Some(kind[0] == THREAD_OBJECT && self.stack(address) != Some(None));
        }
        self.stack(address).map(|stack| stack.is_some())
    }

    /// Limits of the stack: `None` when they were not captured, `Some(None)` when they make no sense.
    fn stack(&self, thread: u64) -> Option<Option<(u64, u64)>> {
        let limit = self.field(thread, self.layout.stack_limit)?;
        let base = self.field(thread, self.layout.stack_base)?;
        let sound = limit < base && base - limit <= MAX_STACK && limit >> 63 == 1 && base.is_multiple_of(0x1000);
        Some(sound.then_some((limit, base)))
    }

    fn process(&self, thread: u64) -> Option<u64> {
        self.field(thread, self.layout.process)
    }

    /// Addresses of objects that would have one of the processes at the process field.
    fn scan(&self, processes: &[u64]) -> Vec<u64> {
        let mut found = Vec::new();
        for segment in self.memory.all() {
            // Pointers are aligned in memory, whatever the block's own alignment.
            let skip = (segment.address.wrapping_neg() % 8) as usize;
            for (index, bytes) in segment.bytes.get(skip..).unwrap_or_default().chunks_exact(8).enumerate() {
                let value = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
                if processes.binary_search(&value).is_err() {
                    continue;
                }
                let at = segment.address + skip as u64 + 8 * index as u64;
                let thread = at.checked_sub(self.layout.process.into());
                found.extend(thread.filter(|&thread| self.is_thread(thread) != Some(false)));
            }
        }
        found
    }

    fn describe(&self, address: u64, found: Found, processor: Option<u32>, running: Option<u64>) -> Thread {
        let stack = self.stack(address).flatten();
        let inside = |pointer: &u64| stack.is_none_or(|(limit, base)| (limit..base).contains(pointer));
        let saved = self.field(address, self.layout.kernel_stack).filter(|pointer| *pointer != 0 && inside(pointer));
        let stack_pointer = running.or(saved);
        let end = stack.map_or(u64::MAX, |(_, base)| base);
        let captured = stack_pointer.map_or(0, |pointer| self.held(pointer, end));
        let client_id = self
            .field(address, self.layout.client_id)
            .zip(self.field(address, self.layout.client_id + 8))
            .filter(|&(process, thread)| process < 1 << 32 && thread < 1 << 32);
        Thread {
            address,
            found,
            process: self.process(address),
            client_id,
            processor,
            stack_pointer,
            stack,
            captured,
            verified: self.is_thread(address) == Some(true) || found <= Found::Running,
        }
    }

    /// Bytes held from `from` on, up to `end` and across seams.
    fn held(&self, from: u64, end: u64) -> u64 {
        let mut at = from;
        while at < end
            && at - from < MAX_STACK
            && let Some(segment) = self.memory.at(at)
        {
            at = at.saturating_add(segment.bytes.len() as u64).min(end);
            if at == u64::MAX {
                break;
            }
        }
        at - from
    }
}
