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
    /// A PDB.
    Pdb,
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
        _ if begins(b"Microsoft C/C++ MSF") => FileKind::Pdb,
        _ if matches!(start.get(0x4a..0x4c), Some([1 | 2, 0xc0])) => FileKind::Trace,
        _ if begins(&[0xff, 0xfe]) || is_text() => FileKind::Text,
        _ => FileKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{FileKind, kind};

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        let mut trace = vec![0; 0x60];
        trace[0x48..0x4c].copy_from_slice(&[0, 0, 2, 0xc0]);
        let cases: [(&[u8], FileKind); 13] = [
            (b"", FileKind::Empty),
            (b"MDMP\x93\xa7", FileKind::Dump),
            (b"PAGEDU64", FileKind::Dump),
            (b"MZ\x90", FileKind::Image),
            (b"PK\x03\x04", FileKind::Zip),
            (b"MSCF\0\0", FileKind::Cabinet),
            (b"\x1f\x8b\x08", FileKind::Gzip),
            (b"Microsoft C/C++ MSF 7.00\r\n", FileKind::Pdb),
            (&trace, FileKind::Trace),
            (b"<html>\r\n<body>404", FileKind::Text),
            ("caf\u{e9}".as_bytes(), FileKind::Text),
            (b"\xff\xfe<\0", FileKind::Text),
            (b"\0\x01\x02", FileKind::Unknown),
        ];
        for (start, expected) in cases {
            assert_eq!(kind(start), expected, "{start:02x?}");
        }
    }
}
