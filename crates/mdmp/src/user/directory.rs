//! Reading a dump's header and stream directory: where the streams of any user minidump lie.

use super::{Flags, StreamType};
use crate::Error;
use crate::bytes::Bytes;

/// `MINIDUMP_HEADER`, 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Header {
    /// Low word 0xA793, high word the writer's own.
    pub version: u32,
    /// Entries of the directory.
    pub streams: u32,
    /// File offset of the directory.
    pub directory: u32,
    /// Usually 0.
    pub checksum: u32,
    /// Seconds since 1970 UTC.
    pub timestamp: u32,
    /// What the dump says it holds.
    pub flags: Flags,
}

/// An entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Entry {
    /// File offset of the entry.
    pub at: u64,
    /// What the stream is.
    pub stream_type: StreamType,
    /// Bytes of the stream; not checked against the file.
    pub size: u32,
    /// File offset of the stream; not checked against the file.
    pub offset: u32,
}

/// Header and directory of a user minidump, of this crate or any other writer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Directory<'a> {
    /// The header.
    pub header: Header,
    /// The entries in their order, unused ones included.
    pub entries: Vec<Entry>,
    bytes: Bytes<'a>,
}

impl<'a> Directory<'a> {
    /// Parses the header and the directory. Memory used: 24 bytes per 12 bytes of directory.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) when the file is not a user minidump or ends before its directory does.
    pub fn parse(file: &'a [u8]) -> Result<Directory<'a>, Error> {
        let bytes = Bytes::new(file);
        let signature = bytes.slice(0, 4, "header: Signature")?;
        if signature != b"MDMP" {
            return Err(Error::malformed(0, "header: Signature", format!("{signature:02x?}"), "\"MDMP\""));
        }
        let header = Header {
            version: bytes.u32(4, "header: Version")?,
            streams: bytes.u32(8, "header: NumberOfStreams")?,
            directory: bytes.u32(12, "header: StreamDirectoryRva")?,
            checksum: bytes.u32(16, "header: CheckSum")?,
            timestamp: bytes.u32(20, "header: TimeDateStamp")?,
            flags: Flags(bytes.u64(24, "header: Flags")?),
        };
        let table = bytes.table(header.directory.into(), header.streams.into(), 12, "directory")?;
        let mut entries = Vec::with_capacity(table.len());
        for at in table {
            entries.push(Entry {
                at,
                stream_type: StreamType(bytes.u32(at, "directory: StreamType")?),
                size: bytes.u32(at + 4, "directory: DataSize")?,
                offset: bytes.u32(at + 8, "directory: Rva")?,
            });
        }
        Ok(Directory { header, entries, bytes })
    }

    /// The first entry of a type: the one that readers use.
    pub fn find(&self, stream_type: StreamType) -> Option<Entry> {
        self.entries.iter().copied().find(|entry| entry.stream_type == stream_type)
    }

    /// The bytes of a stream.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) when they run past the end of the file.
    pub fn stream(&self, entry: Entry) -> Result<&'a [u8], Error> {
        self.bytes.slice(entry.offset.into(), entry.size.into(), &format!("{:?}", entry.stream_type))
    }
}
