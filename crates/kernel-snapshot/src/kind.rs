//! What a file is by its first bytes, for advice about one that was taken for something else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Kinds of files that are taken for traces, dumps or Intel PT data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// No bytes.
    Empty,
    /// An ETW trace.
    Trace,
    /// A Windows dump.
    Dump,
    /// A PE image.
    Image,
    /// A zip archive.
    Zip,
    /// A cabinet.
    Cabinet,
    /// A gzip file.
    Gzip,
    /// A 7z archive.
    SevenZip,
    /// A RAR archive.
    Rar,
    /// Data compressed with xz.
    Xz,
    /// Data compressed with bzip2.
    Bzip2,
    /// Data compressed with Zstandard.
    Zstd,
    /// A PDB.
    Pdb,
    /// A Windows event log, `.evtx`.
    EventLog,
    /// A trace of the .NET runtime's EventPipe, `.nettrace`.
    NetTrace,
    /// A trace that PerfView has converted, `.etlx`.
    EtlX,
    /// A network capture, `.pcapng`, `.pcap` or Network Monitor's `.cap`.
    Capture,
    /// A copy of a real-time session's buffers, of `LogFiles\WMI\RtBackup`.
    RtBackup,
    /// Data of Linux perf.
    PerfData,
    /// A trace in the Common Trace Format.
    Ctf,
    /// A registry hive.
    Registry,
    /// An SQLite database.
    Sqlite,
    /// An ELF file, which on Linux a core dump is too.
    Elf,
    /// Nothing but zeros, as far as the first bytes show: a file that was never written, or lost in a crash.
    Zeros,
    /// Text in UTF-8 or UTF-16.
    Text,
    /// Something else.
    Unknown,
}

impl FileKind {
    /// Looks at a file's first bytes; `None` when it cannot be read.
    pub fn of(path: &Path) -> Option<Self> {
        let mut start = Vec::new();
        File::open(path).ok()?.take(512).read_to_end(&mut start).ok()?;
        Some(Self::of_bytes(&start))
    }

    /// What a file is that starts with these bytes; the first 512 are enough.
    pub fn of_bytes(start: &[u8]) -> Self {
        kind(start)
    }
}

/// Signatures are those of the formats' own documents; an ETW buffer has none, but its first event is the log file
/// header: at 0x48 its size in bytes, then the type flags 0x01 or 0x02 and 0xC0 (evntrace.h).
fn kind(start: &[u8]) -> FileKind {
    let begins = |signature: &[u8]| start.starts_with(signature);
    let is_text = || {
        let text = std::str::from_utf8(start).map_or_else(|error| &start[..error.valid_up_to()], str::as_bytes);
        let printable = |&byte: &u8| byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r');
        text.len() + 4 > start.len() && text.iter().all(printable)
    };
    match start {
        [] => FileKind::Empty,
        _ if begins(b"MDMP") || begins(b"PAGEDU64") || begins(b"PAGEDUMP") => FileKind::Dump,
        _ if begins(b"MZ") => FileKind::Image,
        _ if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") => FileKind::Zip,
        _ if begins(b"MSCF") => FileKind::Cabinet,
        _ if begins(&[0x1f, 0x8b]) => FileKind::Gzip,
        _ if begins(b"7z\xbc\xaf\x27\x1c") => FileKind::SevenZip,
        _ if begins(b"Rar!\x1a\x07") => FileKind::Rar,
        _ if begins(b"\xfd7zXZ\0") => FileKind::Xz,
        _ if begins(b"BZh") => FileKind::Bzip2,
        _ if begins(&[0x28, 0xb5, 0x2f, 0xfd]) => FileKind::Zstd,
        _ if begins(b"Microsoft C/C++ MSF") => FileKind::Pdb,
        _ if begins(b"ElfFile\0") => FileKind::EventLog,
        _ if begins(b"Nettrace") => FileKind::NetTrace,
        _ if start.get(4..).is_some_and(|rest| rest.starts_with(b"!FastSerialization")) => FileKind::EtlX,
        _ if is_capture(start) => FileKind::Capture,
        _ if begins(b"RlFs") => FileKind::RtBackup,
        _ if begins(b"PERFILE2") => FileKind::PerfData,
        _ if begins(&[0xc1, 0x1f, 0xfc, 0xc1]) || begins(&[0xc1, 0xfc, 0x1f, 0xc1]) => FileKind::Ctf,
        _ if begins(b"regf") => FileKind::Registry,
        _ if begins(b"SQLite format 3\0") => FileKind::Sqlite,
        _ if begins(b"\x7fELF") => FileKind::Elf,
        _ if start.iter().all(|&byte| byte == 0) => FileKind::Zeros,
        _ if matches!(start.get(0x4a..0x4c), Some([1 | 2, 0xc0])) => FileKind::Trace,
        _ if begins(&[0xff, 0xfe]) || is_text() => FileKind::Text,
        _ => FileKind::Unknown,
    }
}

/// pcapng's section header, pcap in either byte order and with nanoseconds, Network Monitor.
fn is_capture(start: &[u8]) -> bool {
    const SIGNATURES: [[u8; 4]; 6] = [
        [0x0a, 0x0d, 0x0d, 0x0a],
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        *b"GMBU",
    ];
    SIGNATURES.iter().any(|signature| start.starts_with(signature))
}

#[cfg(test)]
mod tests {
    use super::{FileKind, kind};

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        let mut trace = vec![0; 0x60];
        trace[0x48..0x4c].copy_from_slice(&[0, 0, 2, 0xc0]);
        let cases: &[(&[u8], FileKind)] = &[
            (b"", FileKind::Empty),
            (b"MDMP\x93\xa7", FileKind::Dump),
            (b"PAGEDU64", FileKind::Dump),
            (b"MZ\x90", FileKind::Image),
            (b"PK\x03\x04", FileKind::Zip),
            (b"MSCF\0\0", FileKind::Cabinet),
            (b"\x1f\x8b\x08", FileKind::Gzip),
            (b"Microsoft C/C++ MSF 7.00\r\n", FileKind::Pdb),
            (&trace, FileKind::Trace),
            (b"ElfFile\0\0\0\0\0", FileKind::EventLog),
            (b"Nettrace\x14\0\0\0!FastSerialization.1", FileKind::NetTrace),
            (b"\x14\0\0\0!FastSerialization.1", FileKind::EtlX),
            (b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a", FileKind::Capture),
            (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", FileKind::Capture),
            (b"GMBU", FileKind::Capture),
            (b"RlFs\x01\0\0\0", FileKind::RtBackup),
            (b"PERFILE2\x68\0", FileKind::PerfData),
            (b"\xc1\x1f\xfc\xc1", FileKind::Ctf),
            (b"regf\x01", FileKind::Registry),
            (b"SQLite format 3\0", FileKind::Sqlite),
            (b"\x7fELF\x02", FileKind::Elf),
            (b"Rar!\x1a\x07\x01\0", FileKind::Rar),
            (b"\xfd7zXZ\0", FileKind::Xz),
            (b"BZh9", FileKind::Bzip2),
            (b"\x28\xb5\x2f\xfd", FileKind::Zstd),
            (&[0; 512], FileKind::Zeros),
            (b"<html>\r\n<body>404", FileKind::Text),
            ("caf\u{e9}".as_bytes(), FileKind::Text),
            (b"\xff\xfe<\0", FileKind::Text),
            (b"\0\x01\x02", FileKind::Unknown),
        ];
        for &(start, expected) in cases {
            assert_eq!(kind(start), expected, "{start:02x?}");
        }
    }
}
