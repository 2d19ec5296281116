//! User minidumps (MDMP): one file per stream, and the dump that holds them.

mod comment;
mod directory;
mod dump;
mod exception;
mod handles;
mod ipt;
mod memory64;
mod memory_info;
mod memory_list;
mod misc;
mod modules;
mod placeholder;
mod streams;
mod string;
mod system_info;
mod system_memory;
mod thread_names;
mod threads;
mod unloaded;

pub use comment::Comment;
pub use directory::{Directory, Entry, Header};
pub use dump::{Dump, Flags, MemoryListKind};
pub use exception::Exception;
pub use handles::Handle;
pub use ipt::{IptThread, IptTrace};
pub use memory_info::{MemoryInfo, Region, RegionKind, RegionState};
pub use misc::{MiscInfo, PowerInfo, ProcessTimes, SystemTime, TimeZone, XstateConfig};
pub use modules::{CodeView, FixedFileInfo, Module};
pub use placeholder::Placeholder;
pub use streams::{RawStream, Stream, StreamType};
pub use system_info::{Architecture, Cpu, ProductType, SystemInfo};
pub use system_memory::{BasicInfo, BasicPerformance, FileCache, SystemMemoryInfo};
pub use threads::Thread;
pub use unloaded::UnloadedModule;
