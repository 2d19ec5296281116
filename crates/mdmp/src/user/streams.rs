//! The stream trait, open to streams of one's own, and the numbers that name streams.

use std::sync::Arc;

use crate::{Blob, BlobId, Error, Layout, Memory};

/// `MINIDUMP_STREAM_TYPE` (minidumpapiset.h). Microsoft keeps the numbers up to 0xFFFF for itself; above are others'.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StreamType(pub u32);

impl StreamType {
    /// `UnusedStream`: an entry to be skipped.
    pub const UNUSED: StreamType = StreamType(0);
    /// `ThreadListStream`.
    pub const THREAD_LIST: StreamType = StreamType(3);
    /// `ModuleListStream`.
    pub const MODULE_LIST: StreamType = StreamType(4);
    /// `MemoryListStream`: 32-bit file offsets.
    pub const MEMORY_LIST: StreamType = StreamType(5);
    /// `ExceptionStream`.
    pub const EXCEPTION: StreamType = StreamType(6);
    /// `SystemInfoStream`.
    pub const SYSTEM_INFO: StreamType = StreamType(7);
    /// `Memory64ListStream`: one 64-bit file offset, contiguous data.
    pub const MEMORY64_LIST: StreamType = StreamType(9);
    /// `CommentStreamA`: 8-bit text.
    pub const COMMENT_A: StreamType = StreamType(10);
    /// `CommentStreamW`: UTF-16 text.
    pub const COMMENT_W: StreamType = StreamType(11);
    /// `HandleDataStream`.
    pub const HANDLE_DATA: StreamType = StreamType(12);
    /// `UnloadedModuleListStream`.
    pub const UNLOADED_MODULE_LIST: StreamType = StreamType(14);
    /// `MiscInfoStream`.
    pub const MISC_INFO: StreamType = StreamType(15);
    /// `MemoryInfoListStream`.
    pub const MEMORY_INFO_LIST: StreamType = StreamType(16);
    /// `SystemMemoryInfoStream`.
    pub const SYSTEM_MEMORY_INFO: StreamType = StreamType(21);
    /// `IptTraceStream`.
    pub const IPT_TRACE: StreamType = StreamType(23);
    /// `ThreadNamesStream`.
    pub const THREAD_NAMES: StreamType = StreamType(24);

    /// The vendor's name, if this crate knows it.
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 25] = [
            "Unused",
            "Reserved0",
            "Reserved1",
            "ThreadList",
            "ModuleList",
            "MemoryList",
            "Exception",
            "SystemInfo",
            "ThreadExList",
            "Memory64List",
            "CommentA",
            "CommentW",
            "HandleData",
            "FunctionTable",
            "UnloadedModuleList",
            "MiscInfo",
            "MemoryInfoList",
            "ThreadInfoList",
            "HandleOperationList",
            "Token",
            "JavaScriptData",
            "SystemMemoryInfo",
            "ProcessVmCounters",
            "IptTrace",
            "ThreadNames",
        ];
        NAMES.get(self.0 as usize).copied()
    }
}

impl std::fmt::Debug for StreamType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "stream {:#x}", self.0),
        }
    }
}

impl std::fmt::Display for StreamType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "stream {:#x}", self.0),
        }
    }
}

/// A stream of a user minidump. The crate's own streams implement it, and so can anybody's: put it into
/// [`Dump::streams`](super::Dump::streams).
///
/// ```
/// use mdmp::user::{Stream, StreamType};
/// use mdmp::{Blob, BlobId, Error, Layout};
///
/// /// Two numbers, and a note elsewhere in the file.
/// struct Answers(u32, u32, &'static str);
///
/// impl<'a> Stream<'a> for Answers {
///     fn stream_type(&self) -> StreamType {
///         StreamType(0x1234_0001)
///     }
///
///     fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
///         let mut note = Blob::new("answers: note");
///         note.bytes(self.2.as_bytes());
///         let note = layout.push(note);
///         let mut blob = Blob::new("answers");
///         blob.u32(self.0).u32(self.1).location32(note);
///         Ok(layout.push(blob))
///     }
/// }
/// ```
pub trait Stream<'a>: Send + Sync {
    /// The number in the directory. One dump holds each number once.
    fn stream_type(&self) -> StreamType;

    /// Appends the stream, and whatever it points to, to the file. Returns the blob that the directory entry names;
    /// its size is the entry's DataSize.
    ///
    /// # Errors
    /// Values that a reader would refuse.
    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error>;
}

/// A stream given as bytes.
#[derive(Clone)]
#[non_exhaustive]
pub struct RawStream<'a> {
    /// The number in the directory.
    pub stream_type: StreamType,
    /// Bytes of the stream; must fit the directory's 32 bits.
    pub size: u64,
    /// The content, pulled while the dump is written.
    pub content: Arc<dyn Memory + 'a>,
}

impl<'a> RawStream<'a> {
    /// A stream that owns its bytes.
    pub fn new(stream_type: StreamType, bytes: impl Into<Vec<u8>>) -> RawStream<'a> {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        RawStream::from_source(stream_type, size, bytes)
    }

    /// A stream of `size` bytes that are pulled from `content` while the dump is written.
    pub fn from_source(stream_type: StreamType, size: u64, content: impl Memory + 'a) -> RawStream<'a> {
        RawStream { stream_type, size, content: Arc::new(content) }
    }
}

impl std::fmt::Debug for RawStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawStream({:?}, {:#x} bytes)", self.stream_type, self.size)
    }
}

impl<'a> Stream<'a> for RawStream<'a> {
    fn stream_type(&self) -> StreamType {
        self.stream_type
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let name = format!("{:?}", self.stream_type);
        Ok(layout.push_source(name, self.size, Arc::clone(&self.content), 4))
    }
}

/// A count in a 32-bit field.
pub(super) fn count32(structure: &str, count: usize) -> Result<u32, Error> {
    u32::try_from(count)
        .map_err(|_| Error::too_big(format!("{structure}: number of entries"), 0, count as u64, u32::MAX.into()))
}

/// The blob of a stream: 4-aligned, named by its type.
pub(super) fn blob(stream_type: StreamType) -> Blob {
    Blob::new(stream_type.name().unwrap_or("stream"))
}
