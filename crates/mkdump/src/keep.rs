//! A triage dump with the code put back: what the dump captured stays, module bytes from files fill the gaps.
//!
//! The small dump has the stacks, the registers and the thread, but of the code only shreds: a debugger that lacks the
//! module files cannot unwind. The result has both, as a triage dump or as a user minidump:
//!
//! ```text
//!   captured    ──██────█──────████──         wins: it is what the machine had
//!   code files  ────██████████████──██
//!   result      ──██▓▓▓▓█▓▓▓▓▓▓████─▓▓         disjoint ranges
//! ```
//!
//! [`build`](crate::build()) does this for a source that is a dump. The functions here are for who has the parts already: a dump
//! and ranges of code, such as [`image::memory`](crate::image::memory) makes them.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use kernel_snapshot::dump::{Dump, ReadMemory};
use kernel_snapshot::threads::{Found, Thread};
use kernel_snapshot::{Machine, Module};
use mdmp::read::{Origin, Segments, Triage};
use mdmp::{AddressRange, Context, Memory, MemoryRange, Protection, amd64, arm64, kernel, user};
use zerocopy::FromBytes;

/// A triage dump, or several of one boot, whose contents are kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'k, 'a> {
    /// The dump whose registers, bugcheck and state the result has.
    pub dump: &'k Triage<'a>,
    /// Its memory, or that of all dumps of its boot.
    pub memory: &'k Segments<'a>,
}

/// Process id of the System process, where kernel threads live.
const SYSTEM_PROCESS: u32 = 4;
/// Where threads without a TEB pretend to have one.
const ABSENT_TEB: u64 = 0x7fff_0000_0000;

/// A triage dump with the same state and the memory of both.
///
/// The driver list is the dump's own. `code` may overlap captured memory, and itself: captured bytes win, then the range
/// that starts lower.
pub fn triage<'a>(kept: Kept<'_, 'a>, code: Vec<MemoryRange<'a>>, comment: &str) -> kernel::Dump<'a> {
    let Kept { dump, memory } = kept;
    let header = dump.header();
    let borrow = |bytes: Option<&'a [u8]>| Cow::Borrowed(bytes.unwrap_or_default());
    let mut blocks: Vec<MemoryRange<'a>> = Vec::new();
    for segment in memory.all() {
        // What has its own place in the file needs no data block; what came from another dump has no such place here.
        let has_place = segment.origin != Origin::DataBlock && dump.memory().at(segment.address) == Some(*segment);
        if !has_place {
            blocks.push(MemoryRange::from_slice(segment.address, Protection::READ_WRITE, segment.bytes));
        }
    }
    blocks.extend(around(memory, code));
    let mut state = kernel::State::default();
    state.mm = borrow(dump.mm());
    state.prcb = borrow(dump.prcb());
    state.process = borrow(dump.process());
    state.thread = borrow(dump.thread());
    state.call_stack = dump.call_stack().unwrap_or_default();
    state.data_page = dump.data_page();
    state.debugger_data = dump.debugger_data().cloned();
    state.options = dump.raw().triage_options.get();

    let mut result = kernel::Dump::default();
    result.system = header.system();
    result.bugcheck = header.bugcheck();
    result.anchors = header.anchors();
    result.exception = header.exception();
    result.context = header.raw().context_record.to_vec();
    result.comment = comment.to_owned();
    result.state = state;
    result.drivers = dump.drivers().flatten().collect();
    result.unloaded = dump.unloaded().unwrap_or_default();
    result.broken_driver = dump.broken_driver().and_then(Result::ok);
    result.memory = blocks;
    result.secondary = Cow::Borrowed(dump.secondary());
    result
}

/// A user minidump with the dump's memory and code, its threads and its exception.
///
/// `modules` are those of the result ([`modules`] makes them of a snapshot's). Threads without a captured stack
/// are left out, but never the current one: a debugger could show nothing of them. Thread names are not written, as
/// the engines of the rig warn about the stream; `mkdump threads` lists what is known of each thread.
pub fn user<'a>(
    kept: Kept<'_, 'a>,
    machine: &Machine,
    modules: Vec<user::Module>,
    threads: &[Thread],
    code: Vec<MemoryRange<'a>>,
) -> user::Dump<'a> {
    let Kept { dump, memory } = kept;
    let header = dump.header();
    let os = machine.os;
    let architecture = match header.system().machine {
        kernel::Machine::ARM64 => user::Architecture::ARM64,
        _ => user::Architecture::AMD64,
    };
    let mut info = user::SystemInfo::new(architecture, os.major, os.minor, os.build);
    info.processors = machine.processors.unwrap_or(1).clamp(1, u8::MAX.into()) as u8;
    info.product_type = user::ProductType(u8::try_from(header.system().product_type).unwrap_or(1));
    let mut result = user::Dump::new(info);
    // FILETIME, 100 ns since 1601, to seconds since 1970.
    result.timestamp = u32::try_from((header.system().time / 10_000_000).saturating_sub(11_644_473_600)).unwrap_or(0);
    result.modules = modules;
    result.memory = captured(memory);
    result.memory.extend(around(memory, code));

    let process =
        threads.iter().find_map(|thread| thread.client_id).and_then(|(process, _)| u32::try_from(process).ok());
    result.misc_info = Some(user::MiscInfo::with_process_id(process.unwrap_or(SYSTEM_PROCESS)));

    let mut ids = std::collections::HashSet::new();
    for thread in threads.iter().filter(|thread| thread.captured > 0 || thread.found == Found::Current) {
        let Some(context) = thread_context(dump, memory, thread) else { continue };
        let own = thread.client_id.and_then(|(_, id)| u32::try_from(id).ok());
        // Idle threads all have the id 0, and debuggers want each id once and none 0.
        let id = own.filter(|&id| id != 0 && !ids.contains(&id));
        let id = id.unwrap_or_else(|| (0xffff_0000u32..).find(|id| !ids.contains(id)).unwrap_or(u32::MAX));
        ids.insert(id);
        let stack = memory.at(context.stack_pointer());
        // System threads have no TEB. With 0 the debugger warns after most commands, and what it can read it takes for
        // a TEB: an address of user space, where the dump holds nothing, keeps it quiet.
        let teb = ABSENT_TEB + 0x2000 * result.threads.len() as u64;
        let mut listed = user::Thread::new(id, teb, context);
        listed.stack = stack.and_then(|segment| segment.range());
        result.threads.push(listed);
        if thread.found == Found::Current {
            let exception = header.exception();
            let mut stopped = user::Exception::new(id, exception.code, exception.address);
            stopped.flags = exception.flags;
            stopped.context = context_from(header.context());
            result.exception = Some(stopped);
        }
    }
    result
}

/// The modules of a snapshot as a user minidump lists them. A module whose PDB the dump did not capture has none: the
/// file that was found for it knows.
pub fn modules(modules: &[Module]) -> Vec<user::Module> {
    let sized = modules.iter().filter_map(|module| {
        let size = u32::try_from(module.size).ok().filter(|&size| size != 0)?;
        AddressRange::new(module.base, size.into())?;
        let mut listed = user::Module::new(&module.path, module.base, size);
        listed.checksum = module.checksum.unwrap_or(0);
        listed.timestamp = module.timestamp.unwrap_or(0);
        listed.codeview = module.pdb.as_ref().map(|pdb| user::CodeView::Rsds {
            guid: pdb.id.guid.0,
            age: pdb.id.age,
            pdb: pdb.name.clone(),
        });
        Some(listed)
    });
    sized.collect()
}

/// All captured memory as ranges.
pub(crate) fn captured<'a>(memory: &Segments<'a>) -> Vec<MemoryRange<'a>> {
    let ranges = memory.all().iter();
    ranges.map(|segment| MemoryRange::from_slice(segment.address, Protection::READ_WRITE, segment.bytes)).collect()
}

/// The parts of `code` that are not captured, disjoint and in the order of their addresses.
pub fn around<'a>(memory: &Segments<'_>, mut code: Vec<MemoryRange<'a>>) -> Vec<MemoryRange<'a>> {
    code.sort_by_key(|range| range.address);
    let mut parts = Vec::new();
    // First address that neither an earlier range nor captured memory holds.
    let mut free = 0u64;
    for range in &code {
        let Some(last) = range.range().and_then(AddressRange::last) else { continue };
        let mut at = free.max(range.address);
        let mut full = at > last;
        for segment in
            memory.within(AddressRange::new(range.address, range.size).unwrap_or_else(|| empty(range.address)))
        {
            let Some(held) = segment.range().and_then(AddressRange::last) else { continue };
            if held < at {
                continue;
            }
            if full || segment.address > last {
                break;
            }
            if at < segment.address {
                parts.extend(part(range, at, segment.address - at));
            }
            match held.checked_add(1) {
                Some(next) if next <= last => at = next,
                _ => full = true,
            }
        }
        if !full {
            parts.extend(part(range, at, (last - at).saturating_add(1)));
        }
        match last.checked_add(1) {
            Some(next) => free = free.max(next),
            None => break,
        }
    }
    parts
}

/// The ranges with the bytes that a dump of pages holds for them, and their own bytes where it holds none.
pub(crate) fn over<'a>(dump: &'a Dump<'a>, code: Vec<MemoryRange<'a>>) -> Vec<MemoryRange<'a>> {
    let over = |range: MemoryRange<'a>| {
        let source = Over { dump, address: range.address, code: range.source };
        MemoryRange::new(range.address, range.size, range.protection, source)
    };
    code.into_iter().map(over).collect()
}

/// Captured pages over a module's code.
struct Over<'a> {
    dump: &'a Dump<'a>,
    /// Address of the range's first byte.
    address: u64,
    code: Arc<dyn Memory + 'a>,
}

impl Memory for Over<'_> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        const PAGE: u64 = 0x1000;
        self.code.read_at(offset, out)?;
        let mut page = [0; PAGE as usize];
        let mut at = 0;
        while at < out.len() {
            // The range was laid out, so its addresses do not wrap around.
            let address = self.address + offset + at as u64;
            let size = ((PAGE - address % PAGE) as usize).min(out.len() - at);
            let held = self.dump.read(address, &mut page[..size]).min(size);
            out[at..at + held].copy_from_slice(&page[..held]);
            at += size;
        }
        Ok(())
    }
}

fn empty(address: u64) -> AddressRange {
    AddressRange::new(address, 0).expect("an empty range cannot wrap around")
}

/// `size` bytes of a range from `address` on.
fn part<'a>(range: &MemoryRange<'a>, address: u64, size: u64) -> Option<MemoryRange<'a>> {
    let skip = address - range.address;
    let source = Part { source: range.source.clone(), skip };
    (size > 0).then(|| MemoryRange::new(address, size, range.protection, source))
}

/// A source without its first bytes.
struct Part<'a> {
    source: Arc<dyn Memory + 'a>,
    skip: u64,
}

impl Memory for Part<'_> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.source.read_at(self.skip + offset, out)
    }

    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.source.borrow_at(self.skip + offset, len)
    }
}

/// Registers of a thread: the processor's for one that ran, else those that the scheduler left on its stack (x64; of
/// an ARM64 thread that waits only the stack pointer is known).
///
/// ```text
/// KernelStack + 0x00  KSWITCH_FRAME: P1Home … P5Home, MxCsr
///             + 0x30  Rbp
///             + 0x38  return address, where the thread goes on
///             + 0x40  its stack from there
/// ```
fn thread_context(dump: &Triage<'_>, memory: &Segments<'_>, thread: &Thread) -> Option<Context> {
    if let Some(number) = thread.processor {
        let own = dump.processors().find(|processor| processor.number == number);
        if let Some(context) = own.and_then(|processor| processor.context).and_then(context_from) {
            return Some(context);
        }
    }
    if thread.found == Found::Current {
        return context_from(dump.header().context());
    }
    let frame = thread.stack_pointer?;
    if dump.header().system().machine == kernel::Machine::ARM64 {
        return Some(arm64::Context::new(0, frame).into());
    }
    let at = |offset: u64| memory.pointer_at(frame.checked_add(offset)?);
    let context = match (at(0x38), frame.checked_add(0x40)) {
        (Some(rip), Some(rsp)) => {
            let mut context = amd64::Context::kernel(rip, rsp);
            context.rbp = at(0x30).unwrap_or(0).into();
            context
        }
        _ => amd64::Context::kernel(0, frame),
    };
    Some(context.into())
}

/// The two kinds differ in size.
fn context_from(bytes: &[u8]) -> Option<Context> {
    let x64 = amd64::Context::read_from_bytes(bytes).ok().map(Context::from);
    x64.or_else(|| arm64::Context::read_from_bytes(bytes).ok().map(Context::from))
}
