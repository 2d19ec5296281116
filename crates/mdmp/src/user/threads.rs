//! ThreadList (stream 3), `MINIDUMP_THREAD` of 48 bytes, and the stand-in for a thread that was not recorded.

use super::Architecture;
use super::memory_list::MemoryIndex;
use super::streams::{self, Stream, StreamType};
use crate::{AddressRange, Blob, BlobId, Context, Error, Layout};

/// A thread. dbgeng shows no process at all when a dump has none (measured).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Thread {
    /// Thread id, at least 1: with 0 dbgeng lists no modules and every command fails (measured).
    pub id: u32,
    /// How often it was suspended.
    pub suspend_count: u32,
    /// `*_PRIORITY_CLASS`.
    pub priority_class: u32,
    /// Priority.
    pub priority: u32,
    /// Address of the thread environment block; not 0, or dbgeng warns after most commands (measured). It need not be
    /// in the dump.
    pub teb: u64,
    /// The stack's captured part. It lies inside a memory range of the dump.
    pub stack: Option<AddressRange>,
    /// Registers; of the dump's architecture.
    pub context: Option<Context>,
    /// Goes into the ThreadNames stream.
    pub name: Option<String>,
}

impl Thread {
    /// A thread with registers; stack and name to be filled in.
    pub fn new(id: u32, teb: u64, context: impl Into<Context>) -> Thread {
        Thread {
            id,
            suspend_count: 0,
            priority_class: 0x20,
            priority: 0,
            teb,
            stack: None,
            context: Some(context.into()),
            name: None,
        }
    }
}

/// Places a context, 16-aligned: a reader may hand a mapped one to FXRSTOR. Windows' own dumps align to 4 (measured).
pub(super) fn place_context(layout: &mut Layout<'_>, context: &Context) -> BlobId {
    let mut blob = Blob::new("thread context").align(16);
    blob.bytes(context.as_bytes());
    layout.push(blob)
}

/// The thread list of a dump whose memory has got its ids.
pub(super) struct ThreadList<'d> {
    pub(super) threads: &'d [Thread],
    pub(super) architecture: Architecture,
    pub(super) memory: &'d MemoryIndex,
}

impl ThreadList<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.threads.is_empty() {
            return Err(Error::rule("ThreadList", "no thread", "at least one", "dbgeng"));
        }
        let mut ids = std::collections::HashSet::new();
        for (index, thread) in self.threads.iter().enumerate() {
            if thread.id == 0 || !ids.insert(thread.id) {
                let found = format!("{:#x}", thread.id);
                let structure = format!("thread {index}: ThreadId");
                return Err(Error::rule(structure, found, "1 to 0xffffffff, each once", "dbgeng"));
            }
            let structure = |field: &str| format!("thread {index} (id {:#x}): {field}", thread.id);
            if thread.teb == 0 {
                return Err(Error::rule(structure("Teb"), "0", "any other address", "dbgeng"));
            }
            if let Some(context) = &thread.context {
                check_context(&structure("ThreadContext"), context, self.architecture)?;
            }
            if let Some(stack) = thread.stack
                && self.memory.find(stack).is_none()
            {
                let found = format!("{:#x}+{:#x}", stack.start(), stack.size());
                let allowed = "addresses inside one memory range of the dump";
                return Err(Error::rule(structure("Stack"), found, allowed, "breakpad"));
            }
        }
        Ok(())
    }
}

/// A context of another architecture than the dump's would be read with the wrong layout.
pub(super) fn check_context(structure: &str, context: &Context, architecture: Architecture) -> Result<(), Error> {
    let found = Architecture::of(context);
    if found == architecture {
        return Ok(());
    }
    Err(Error::rule(structure, format!("registers of {found:?}"), format!("those of {architecture:?}"), "dbgeng"))
}

impl<'a> Stream<'a> for ThreadList<'_> {
    fn stream_type(&self) -> StreamType {
        StreamType::THREAD_LIST
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        self.check()?;
        let mut list = streams::blob(self.stream_type());
        list.u32(streams::count32("ThreadList", self.threads.len())?);
        let id = layout.reserve();
        for (index, thread) in self.threads.iter().enumerate() {
            list.u32(thread.id).u32(thread.suspend_count).u32(thread.priority_class).u32(thread.priority);
            list.u64(thread.teb);
            match thread.stack.and_then(|stack| Some((stack, self.memory.find(stack)?))) {
                None => list.zeros(16),
                Some((stack, (memory, plus))) => {
                    let Ok(size) = u32::try_from(stack.size()) else {
                        return Err(Error::too_big(
                            format!("thread {index} (id {:#x}): size of Stack", thread.id),
                            0,
                            stack.size(),
                            u32::MAX.into(),
                        ));
                    };
                    // Beyond 4 GiB the offset is 0, and readers look the address up in Memory64List, as they do in
                    // full dumps of Windows.
                    list.u64(stack.start()).u32(size).rva32_or_zero(memory, plus)
                }
            };
            match &thread.context {
                Some(context) => list.location32(place_context(layout, context)),
                None => list.zeros(8),
            };
        }
        layout.place(id, list);
        Ok(id)
    }
}
