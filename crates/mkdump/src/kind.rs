//! What a file is by its first bytes, when it is not what it was said to be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Kinds of files that people confuse with a trace or a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    Trace,
    Dump,
    Image,
    Zip,
    Cabinet,
    Gzip,
    SevenZip,
    Pdb,
    Text,
    Unknown,
}

/// Advice about a file that was given as a trace and is none.
pub(crate) fn is_no_trace(path: &Path) -> Option<String> {
    let what = match read(path)? {
        Kind::Dump => return Some("This is a Windows dump: give it as --from-dump.".to_owned()),
        kind => described(kind)?,
    };
    Some(format!(
        "{what}. A trace is the .etl file that wpr -stop or xperf -d writes, or a raw log of the kernel's session."
    ))
}

/// Advice about a file that was given as a dump and is none.
pub(crate) fn is_no_dump(path: &Path) -> Option<String> {
    let what = match read(path)? {
        Kind::Trace => return Some("This is an ETW trace: give it as --etl.".to_owned()),
        kind => described(kind)?,
    };
    Some(format!("{what}. A dump is a .dmp file: MEMORY.DMP, one of the Minidump directory, or a user minidump."))
}

/// A sentence's start about the kinds that are neither.
fn described(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Empty => "The file is empty: the copy or download may have failed",
        Kind::Image => "This is a PE image: module files belong into a directory that --modules names",
        Kind::Zip => "This is a zip archive: unpack it, the file that is wanted may be inside",
        Kind::Cabinet => "This is a cabinet: expand it, the file that is wanted may be inside",
        Kind::Gzip => "This is a gzip file: unpack it (gunzip), the file that is wanted may be inside",
        Kind::SevenZip => "This is a 7z archive: unpack it, the file that is wanted may be inside",
        Kind::Pdb => "This is a PDB with symbols, which only a debugger reads",
        Kind::Text => "This is text: perhaps an export of the trace (tracerpt, xperf -a dumper), or an error page",
        // A damaged one of the right kind, or nothing known: the error itself says what does not fit.
        Kind::Trace | Kind::Dump | Kind::Unknown => return None,
    })
}

fn read(path: &Path) -> Option<Kind> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(512).read_to_end(&mut start).ok()?;
    Some(kind(&start))
}

/// Signatures are those of the formats' own documents; an ETW buffer has none, but its first event is the log file
/// header: at 0x48 its size in bytes, then the type flags 0x01 or 0x02 and 0xC0 (evntrace.h).
fn kind(start: &[u8]) -> Kind {
    let begins = |signature: &[u8]| start.starts_with(signature);
    let is_text = || {
        let text = std::str::from_utf8(start).map_or_else(|error| &start[..error.valid_up_to()], str::as_bytes);
        let printable = |&byte: &u8| byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r');
        text.len() + 4 > start.len() && text.iter().all(printable)
    };
    match start {
        [] => Kind::Empty,
        _ if begins(b"MDMP") || begins(b"PAGEDU64") || begins(b"PAGEDUMP") => Kind::Dump,
        _ if begins(b"MZ") => Kind::Image,
        _ if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") => Kind::Zip,
        _ if begins(b"MSCF") => Kind::Cabinet,
        _ if begins(&[0x1f, 0x8b]) => Kind::Gzip,
        _ if begins(b"7z\xbc\xaf\x27\x1c") => Kind::SevenZip,
        _ if begins(b"Microsoft C/C++ MSF") => Kind::Pdb,
        _ if matches!(start.get(0x4a..0x4c), Some([1 | 2, 0xc0])) => Kind::Trace,
        _ if begins(&[0xff, 0xfe]) || is_text() => Kind::Text,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind};

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        let mut trace = vec![0; 0x60];
        trace[0x48..0x4c].copy_from_slice(&[0, 0, 2, 0xc0]);
        let cases: [(&[u8], Kind); 13] = [
            (b"", Kind::Empty),
            (b"MDMP\x93\xa7", Kind::Dump),
            (b"PAGEDU64", Kind::Dump),
            (b"MZ\x90", Kind::Image),
            (b"PK\x03\x04", Kind::Zip),
            (b"MSCF\0\0", Kind::Cabinet),
            (b"\x1f\x8b\x08", Kind::Gzip),
            (b"Microsoft C/C++ MSF 7.00\r\n", Kind::Pdb),
            (&trace, Kind::Trace),
            (b"<html>\r\n<body>404", Kind::Text),
            ("caf\u{e9}".as_bytes(), Kind::Text),
            (b"\xff\xfe<\0", Kind::Text),
            (b"\0\x01\x02", Kind::Unknown),
        ];
        for (start, expected) in cases {
            assert_eq!(kind(start), expected, "{start:02x?}");
        }
    }
}
