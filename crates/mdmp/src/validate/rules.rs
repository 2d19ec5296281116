//! The rules: one constant each, with the readers that it is for. All were measured on the readers named, or read in
//! their source where the text says so.

use std::fmt;

/// What breaking a rule costs. Ordered: a later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// A reader complains, or shows less than the file holds.
    Degraded,
    /// A reader refuses the file, or shows nothing of it.
    Refused,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Degraded => "degraded",
            Severity::Refused => "refused",
        })
    }
}

/// A rule that a dump must keep for the sake of some readers.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rule {
    /// Short and stable, for scripts.
    pub id: &'static str,
    /// What breaking it costs.
    pub severity: Severity,
    /// The readers that mind.
    pub readers: &'static [&'static str],
    /// The rule and the consequence.
    pub text: &'static str,
}

impl fmt::Display for Rule {
    /// Id, severity, readers and text in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {}): {}", self.id, self.severity, self.readers.join(", "), self.text)
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $severity:ident, [$($reader:literal),+], $text:literal;)+) => {
        $(pub(crate) static $name: Rule =
            Rule { id: $id, severity: Severity::$severity, readers: &[$($reader),+], text: $text };)+
        /// Every rule that [`validate`](crate::validate) knows.
        pub static RULES: &[&Rule] = &[$(&$name),+];
    };
}

rules! {
    FORMAT = "format", Refused, ["all readers"],
        "structures lie inside the file and have the sizes that the format gives them";
    VERSION = "version", Refused, ["dbgeng"],
        "the low word of Version is 0xA793; else \"Could not match Dump File signature\"";
    STREAM_BOUNDS = "stream-bounds", Refused, ["all readers"],
        "each stream lies inside the file";
    STREAM_OVERLAP = "stream-overlap", Degraded, ["all readers"],
        "header, directory and streams do not overlap";
    STREAM_TWICE = "stream-twice", Degraded, ["all readers"],
        "each stream type stands in the directory once; readers take one of them";
    STREAM_UNKNOWN = "stream-unknown", Note, ["dbgeng 6.3", "dbgeng 10.0.15063"],
        "SystemMemoryInfo, ProcessVmCounters, IptTrace and ThreadNames are newer than some engines, which say \"unknown \
         stream type\" and go on";
    SYSTEM_INFO = "system-info", Refused, ["dbgeng", "lldb"],
        "there is a SystemInfo stream; dbgeng: \"Minidump does not have system info\"";
    ARCHITECTURE = "architecture", Refused, ["dbgeng", "lldb"],
        "the processor architecture is one that readers know; dbgeng 6.3 does not know ARM64";
    PLATFORM = "platform", Degraded, ["dbgeng"],
        "PlatformId is 2; with 0 dbgeng says \"64-bit machine not using 64-bit API\"";
    MISC_INFO = "misc-info", Note, ["dbgeng"],
        "MiscInfo gives the process id; without it dbgeng shows f0f0f0f0";
    MEMORY64_FLAG = "memory64-flag", Refused, ["dbgeng"],
        "Memory64List goes with flag MiniDumpWithFullMemory; else \"Partial memory minidumps can't have \
         Memory64ListStreams\"";
    MEMORY32_FLAG = "memory32-flag", Refused, ["dbgeng"],
        "a file with flag MiniDumpWithFullMemory has a Memory64List; else \"Full-memory minidump must have a \
         Memory64ListStream\"";
    BOTH_LISTS = "both-lists", Refused, ["dbgeng"],
        "a file has MemoryList or Memory64List, never both";
    NO_MEMORY = "no-memory", Degraded, ["all readers"],
        "there is a memory list; without one memory comes only from images on the symbol path";
    MEMORY64_SIZE = "memory64-size", Refused, ["skelsec minidump"],
        "the directory's DataSize of Memory64List is 16 * (n + 1)";
    MEMORY_LIST_PADDING = "memory-list-padding", Degraded, ["dbgeng", "skelsec minidump"],
        "the entries of MemoryList follow the count directly; with 4 bytes of padding between them, which breakpad and \
         rust-minidump skip, dbgeng shows ?? for every byte of memory";
    THREAD_LIST_PADDING = "thread-list-padding", Refused, ["dbgeng"],
        "the entries of ThreadList follow the count directly; with 4 bytes of padding between them, which breakpad and \
         rust-minidump skip, dbgeng has no process";
    MODULE_LIST_PADDING = "module-list-padding", Degraded, ["dbgeng"],
        "the entries of ModuleList follow the count directly; with 4 bytes of padding between them, which breakpad and \
         rust-minidump skip, dbgeng says \"ModuleListStream stream size mismatch\" and lists no module";
    MEMORY_BOUNDS = "memory-bounds", Refused, ["all readers"],
        "the bytes of each memory range lie inside the file";
    MEMORY_ADDRESS = "memory-address", Degraded, ["rust-minidump", "dbgeng"],
        "a memory range has bytes and ends within the address space";
    ADDRESS_EXTENSION = "address-extension", Degraded, ["dbgeng"],
        "addresses of x86 dumps are sign-extended to 64 bit; else dbgeng lists the module and shows ?? for its bytes";
    MEMORY_OVERLAP = "memory-overlap", Refused, ["dbgeng"],
        "ranges of MemoryList whose bytes differ do not overlap; else \"Conflicting region\"";
    MEMORY_OVERLAP_SAME = "memory-overlap-same", Note, ["dbgeng 6.3", "others"],
        "ranges overlap with the same bytes; Microsoft's own writer does this with stacks, and dbgeng 10 takes it";
    MEMORY64_OVERLAP = "memory64-overlap", Degraded, ["all readers"],
        "ranges of Memory64List do not overlap; dbgeng opens the file, which bytes are shown is chance";
    THREAD = "thread", Refused, ["dbgeng"],
        "there is at least one thread; else no process: lm, u and db all fail";
    THREAD_ID = "thread-id", Refused, ["dbgeng"],
        "thread ids are at least 1; with 0 no module is listed";
    THREAD_ID_TWICE = "thread-id-twice", Degraded, ["lldb", "rust-minidump"],
        "thread ids are different";
    THREAD_TEB = "thread-teb", Degraded, ["dbgeng"],
        "the TEB address is not 0; else \"Teb 0 pointer is NULL\" after most commands";
    TEB_MEMORY = "teb-memory", Note, ["cle/angr"],
        "the TEB's self pointer (TEB + 0x30, x86: + 0x18) is in the dump";
    STACK = "stack", Degraded, ["breakpad"],
        "each thread's stack descriptor names memory of the dump; else \"memory region problem\"";
    CONTEXT = "context", Degraded, ["dbgeng", "lldb"],
        "a thread's context lies in the file and has its architecture's size and flag";
    CONTEXT_ALIGN = "context-align", Note, ["readers that use contexts in place"],
        "contexts are 16-aligned, as the processor's instructions for them need it; Windows aligns them to 4";
    EXCEPTION_THREAD = "exception-thread", Degraded, ["lldb", "rust-minidump"],
        "the exception names a thread of the dump";
    MODULE_LIST = "module-list", Degraded, ["dbgeng", "cle/angr"],
        "there is a ModuleList; without it nothing has a name";
    MODULE = "module", Refused, ["rust-minidump"],
        "a module has a size and ends within the address space; rust-minidump drops it, and for unloaded ones the list";
    MODULE_NAME = "module-name", Refused, ["all readers"],
        "a module's name lies in the file";
    MODULE_OVERLAP = "module-overlap", Degraded, ["dbgeng", "rust-minidump"],
        "modules do not overlap; one of the two is not found by address";
    CODEVIEW = "codeview", Degraded, ["all readers"],
        "a CodeView record lies in the file and begins with RSDS, NB10 or BpEL";
    CODEVIEW_ELF = "codeview-elf", Note, ["dbgeng"],
        "a CodeView record names a PDB; breakpad's BpEL holds the build id of an ELF image, which breakpad, rust-minidump \
         and lldb use and dbgeng ignores";
    NO_CODEVIEW = "no-codeview", Note, ["dbgeng"],
        "a module has a CodeView record; without it symbols need the image, or header, debug directory and RSDS bytes \
         in memory";
    MODULE_HEADER = "module-header", Note, ["cle/angr", "dbgeng"],
        "a memory range begins at each module's base; cle needs it, dbgeng marks the module T without it";
    MEMORY_INFO = "memory-info", Note, ["lldb"],
        "there is a MemoryInfoList; without it lldb shows r?? for every region";
    MEMORY_INFO_START = "memory-info-start", Degraded, ["udmp-parser"],
        "a MemoryInfoList entry begins where each range of Memory64List begins; else udmp-parser refuses the file";
    MEMORY_INFO_ABSENT_64 = "memory-info-64", Degraded, ["udmp-parser"],
        "a dump with Memory64List has a MemoryInfoList; else udmp-parser refuses the file";
    TRIAGE_END = "triage-end", Refused, ["dbgeng"],
        "TRIAGE_DUMP64.ValidOffset points to \"TRGD\"; else 0x80070570";
    TRIAGE_FIELDS = "triage-fields", Degraded, ["dbgeng"],
        "MiniDumpFields has all of 0x8FF, the broken driver's bit included; else data blocks are ignored without a word";
    TRIAGE_PARTS = "triage-parts", Refused, ["dbgeng"],
        "context, exception, KPRCB, process, thread, call stack and driver list exist, if only as zeros; else the dump \
         \"does not contain enough information to be debugged\"";
    TRIAGE_DRIVERS = "triage-drivers", Refused, ["dbgeng"],
        "the driver list has the kernel first, and it and the names lie in the file";
    TRIAGE_BLOCKS = "triage-blocks", Degraded, ["all readers"],
        "data blocks and other parts lie in the file, and their addresses do not wrap around";
    TRIAGE_BLOCK_OVERLAP = "triage-block-overlap", Degraded, ["all readers"],
        "data blocks that hold the same address have the same byte there; else it is undefined which one is shown";
    TRIAGE_DEBUGGER_DATA = "triage-debugger-data", Degraded, ["dbgeng"],
        "there is a KDDEBUGGER_DATA64; else \"GetContextState failed 0x8007001E\", and r does not work";
    TRIAGE_PROCESSORS = "triage-processors", Refused, ["dbgeng 10.0.15063"],
        "KiProcessorBlock, if its first entry was captured, has an entry other than 0 for each processor of the header; \
         else \"KiProcessorBlock[n] could not be read\" and no target";
    TRIAGE_REGISTERS = "triage-registers", Degraded, ["dbgeng 10.0.15063"],
        "if KiProcessorBlock was captured, so were the current processor's KPRCB and the context that it points to at \
         OffsetPrcbContext; else \"GetContextState failed 0x8007001E\", and r does not work. Without KiProcessorBlock \
         the engine takes the header's context, as dbgeng 6.3 always does";
}
