//! Compressed single files as symbol stores and installation media have them: `foo.sy_`, `foo.dl_`, `foo.ex_`.
//!
//! Today's `compress.exe` and `makecab` write a cabinet (MSCF; MSZIP or LZX inside; [MS-CAB]) with one file. The older
//! `compress.exe` wrote SZDD: a 14-byte header and LZSS with a window of 4 KiB.

use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::location::{LARGEST_UNPACKED, ReadSeek, read_limited};

/// A cabinet with more files than this is a package, not a compressed file: to read each one of them would unpack all
/// those before it, again and again.
const MOST_FILES: u16 = 64;

/// The most bytes of a file in one data block of a cabinet ([MS-CAB] 2.4, CFDATA).
const LARGEST_BLOCK: u16 = 0x8000;
/// The compression method of a folder whose blocks are stored as they are ([MS-CAB] 2.2, CFFOLDER).
const STORED: u16 = 0;

/// The first bytes of a cabinet.
pub(super) const CABINET: &[u8] = b"MSCF";
/// The first bytes of an SZDD file.
pub(super) const SZDD: &[u8] = b"SZDD\x88\xf0\x27\x33";

/// The names of the files in a cabinet.
///
/// # Errors
/// `InvalidData` when its tables do not agree with each other, or when it has too many files.
pub(super) fn cabinet_members(source: impl Read + Seek) -> io::Result<Vec<String>> {
    let cabinet = open_cabinet(source)?;
    let files = cabinet.folder_entries().flat_map(cab::FolderEntry::file_entries);
    Ok(files.map(|file| file.name().to_owned()).collect())
}

/// Gives `read` the file of that name as a stream.
///
/// The LZX decoder below `cab` takes match offsets from the file without a bound and, built with overflow checks,
/// can panic on them. That costs this one file and no more: everything the panic passes through is thrown away.
pub(super) fn with_cabinet_member<T>(
    source: impl ReadSeek,
    name: &str,
    read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
) -> io::Result<T> {
    let unpack = || {
        let mut cabinet = open_cabinet(source)?;
        let mut file = cabinet.read_file(name)?;
        read(&mut file)
    };
    catch_unwind(AssertUnwindSafe(unpack)).unwrap_or_else(|_| Err(invalid("the cabinet's data is damaged")))
}

/// The bytes of the file of that name.
pub(super) fn read_cabinet_member(source: impl ReadSeek, name: &str) -> io::Result<Vec<u8>> {
    with_cabinet_member(source, name, |file| read_limited(file, LARGEST_UNPACKED))
}

/// An unpacked SZDD file.
pub(super) struct Szdd {
    pub(super) bytes: Vec<u8>,
    /// The last letter of the name, which the packed name has lost.
    pub(super) last_letter: Option<char>,
}

/// Unpacks an SZDD file. The output is at most nine times the input.
///
/// # Errors
/// `InvalidData` for another format or mode, and when the data ends before the size in the header is reached.
pub(super) fn read_szdd(mut source: impl Read) -> io::Result<Szdd> {
    let mut header = [0; 14];
    source.read_exact(&mut header)?;
    if !header.starts_with(SZDD) || header[8] != b'A' {
        return Err(invalid("no SZDD file of mode A"));
    }
    let size = u32::from_le_bytes([header[10], header[11], header[12], header[13]]) as usize;
    let packed = read_limited(source, LARGEST_UNPACKED)?;

    // The window starts as spaces, and its first free place is 16 before its end.
    let mut window = [b' '; 4096];
    let mut at = 4096 - 16;
    let mut out = Vec::with_capacity(size.min(packed.len().saturating_mul(9)));
    let mut input = packed.into_iter();
    let mut put = |byte: u8, window: &mut [u8; 4096]| {
        window[at] = byte;
        at = (at + 1) % 4096;
        out.push(byte);
        out.len() == size
    };
    'groups: while let Some(flags) = input.next().filter(|_| size > 0) {
        for bit in 0..8 {
            let Some(first) = input.next() else { break 'groups };
            if flags >> bit & 1 == 1 {
                if put(first, &mut window) {
                    break 'groups;
                }
                continue;
            }
            let Some(second) = input.next() else { break 'groups };
            let from = usize::from(first) | usize::from(second & 0xf0) << 4;
            for step in 0..usize::from(second & 0xf) + 3 {
                if put(window[(from + step) % 4096], &mut window) {
                    break 'groups;
                }
            }
        }
    }
    if out.len() != size {
        return Err(invalid(format!("SZDD data ends after {} of {size} bytes", out.len())));
    }
    Ok(Szdd { bytes: out, last_letter: Some(char::from(header[9])).filter(char::is_ascii_graphic) })
}

/// Opens a cabinet whose tables were checked: the library that unpacks believes them.
fn open_cabinet<R: Read + Seek>(mut source: R) -> io::Result<cab::Cabinet<R>> {
    check_cabinet(&mut source)?;
    source.seek(SeekFrom::Start(0))?;
    cab::Cabinet::new(source)
}

/// Checks that every file of a cabinet lies inside its folder's data. Field offsets as in [MS-CAB] 2.1 to 2.5.
fn check_cabinet(source: &mut (impl Read + Seek)) -> io::Result<()> {
    let mut header = [0; 36];
    source.read_exact(&mut header)?;
    let u16_at = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if !header.starts_with(CABINET) {
        return Err(invalid("no cabinet"));
    }
    let (files_at, folders, files, flags) =
        (u32_at(&header, 16), u16_at(&header, 26), u16_at(&header, 28), u16_at(&header, 30));
    if files > MOST_FILES {
        return Err(invalid(format!("a cabinet with {files} files; unpack it and name the directory instead")));
    }
    if flags & 3 != 0 {
        return Err(invalid("the cabinet is one of a set; unpack the set and name the directory instead"));
    }
    let (mut folder_reserve, mut data_reserve) = (0, 0);
    if flags & 4 != 0 {
        let mut sizes = [0; 4];
        source.read_exact(&mut sizes)?;
        (folder_reserve, data_reserve) = (i64::from(sizes[2]), i64::from(sizes[3]));
        source.seek(SeekFrom::Current(i64::from(u16_at(&sizes, 0))))?;
    }
    let mut table = Vec::new();
    for _ in 0..folders {
        let mut folder = [0; 8];
        source.read_exact(&mut folder)?;
        source.seek(SeekFrom::Current(folder_reserve))?;
        table.push((u32_at(&folder, 0), u16_at(&folder, 4), u16_at(&folder, 6) & 0xf));
    }
    let mut sizes = Vec::new();
    for (data_at, blocks, method) in table {
        source.seek(SeekFrom::Start(data_at.into()))?;
        let mut size = 0_u64;
        for _ in 0..blocks {
            let mut block = [0; 8];
            source.read_exact(&mut block)?;
            let (packed, unpacked) = (u16_at(&block, 4), u16_at(&block, 6));
            if unpacked > LARGEST_BLOCK || (method == STORED && packed != unpacked) {
                return Err(invalid(format!("a cabinet block of {packed} bytes that says it has {unpacked}")));
            }
            source.seek(SeekFrom::Current(data_reserve + i64::from(packed)))?;
            size += u64::from(unpacked);
        }
        sizes.push(size);
    }
    source.seek(SeekFrom::Start(files_at.into()))?;
    let mut source = io::BufReader::new(source);
    for number in 0..files {
        let mut file = [0; 16];
        source.read_exact(&mut file)?;
        io::BufRead::skip_until(&mut source.by_ref().take(257), 0)?;
        let (size, offset, folder) = (u32_at(&file, 0), u32_at(&file, 4), u16_at(&file, 8));
        let have = sizes.get(usize::from(folder)).copied();
        let end = u64::from(offset) + u64::from(size);
        if have.is_none_or(|have| end > have) {
            return Err(invalid(format!("file {number} of the cabinet ends at {end} of a folder of {have:?} bytes")));
        }
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use super::{cabinet_members, read_cabinet_member, read_szdd};
    use proptest::prelude::*;
    use std::io::{Cursor, Write};
    use testkit::catalog::{self, lzx_stored, szdd};

    fn cabinet(files: &[(&str, &[u8])], kind: cab::CompressionType) -> Vec<u8> {
        let mut builder = cab::CabinetBuilder::new();
        let folder = builder.add_folder(kind);
        for (name, _) in files {
            folder.add_file(*name);
        }
        let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
        let mut bodies = files.iter();
        while let Some(mut file) = writer.next_file().unwrap() {
            file.write_all(bodies.next().unwrap().1).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn cabinets_are_read_in_both_forms() {
        let body: Vec<u8> = (0..100_000_u32).map(|i| (i / 7) as u8).collect();
        for kind in [cab::CompressionType::None, cab::CompressionType::MsZip] {
            let packed = cabinet(&[("a.sys", b"first"), ("b.sys", &body)], kind);
            assert_eq!(cabinet_members(Cursor::new(&packed)).unwrap(), ["a.sys", "b.sys"]);
            assert_eq!(read_cabinet_member(Cursor::new(&packed), "a.sys").unwrap(), b"first");
            assert_eq!(read_cabinet_member(Cursor::new(&packed), "b.sys").unwrap(), body);
        }
    }

    #[test]
    fn lzx_is_read() {
        let block = lzx_stored(b"stored by LZX", [1, 1, 1]);
        let packed = catalog::cabinet(0xf03, &[(&block, 13)]);
        assert_eq!(read_cabinet_member(Cursor::new(&packed), "a.sys").unwrap(), b"stored by LZX");
    }

    #[test]
    fn tables_that_disagree_are_refused_before_anything_is_unpacked() {
        let packed = cabinet(&[("a.sys", b"first")], cab::CompressionType::None);
        // The file's entry (size, offset in the folder, folder) stands where the header says; its data block is last.
        let entry = u32::from_le_bytes(packed[16..20].try_into().unwrap()) as usize;
        let block = packed.len() - 5 - 8;
        let check = |at: usize, value: &[u8]| {
            let mut packed = packed.clone();
            packed[at..at + value.len()].copy_from_slice(value);
            assert!(cabinet_members(Cursor::new(packed)).is_err(), "{at} {value:?}");
        };
        check(entry, &[6, 0, 0, 0]);
        check(entry + 4, &[1, 0, 0, 0]);
        check(entry + 4, &[0xff; 4]);
        check(entry + 8, &[1, 0]);
        check(block + 4, &[4, 0]);
        check(block + 6, &[0xff, 0xff]);
        check(28, &[65, 0]);
        check(30, &[1, 0]);
        check(0, b"MSCX");
    }

    #[test]
    fn szdd_runs_may_overlap_and_start_in_the_spaces() {
        // A literal, then a match of 18 that copies it, then a match of 3 out of the untouched window.
        let packed = szdd(5 + 17, b's', &[0b001, b'x', 0xf0, 0xff, 0x00, 0x10]);
        let unpacked = read_szdd(packed.as_slice()).unwrap();
        assert_eq!(unpacked.bytes, [&b"x"[..], &[b'x'; 18], b"   "].concat());
        assert_eq!(unpacked.last_letter, Some('s'));
        let check = |packed: &[u8]| assert!(read_szdd(packed).is_err(), "{packed:?}");
        check(&packed[..packed.len() - 1]);
        check(&packed[..10]);
        check(b"SZDD\x88\xf0\x27\x33Bs\x01\0\0\0\x01x");
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_no_panic(at in 0_usize..400, value: u8, cut in 0_usize..400) {
            let body: Vec<u8> = (0..3000_u32).map(|i| (i / 3) as u8).collect();
            let mut packed = cabinet(&[("a.sys", &body), ("b.sys", b"second")], cab::CompressionType::MsZip);
            let at = at % packed.len();
            packed[at] = value;
            packed.truncate(packed.len() - cut % packed.len());
            for name in cabinet_members(Cursor::new(&packed)).unwrap_or_default() {
                let _ = read_cabinet_member(Cursor::new(&packed), &name);
            }
        }

        #[test]
        fn any_lzx_is_no_panic(stored in 0..20_usize, offsets: [u32; 3], rest in prop::collection::vec(any::<u8>(), 0..400)) {
            let block = [lzx_stored(&vec![7; stored * 2], offsets), rest].concat();
            let packed = catalog::cabinet(0xf03, &[(&block, 0x7fff)]);
            let _ = read_cabinet_member(Cursor::new(&packed), "a.sys");
        }

        #[test]
        fn any_szdd_stays_within_nine_times_its_size(size: u16, data in prop::collection::vec(any::<u8>(), 0..300)) {
            let packed = szdd(size.into(), b'x', &data);
            if let Ok(unpacked) = read_szdd(packed.as_slice()) {
                prop_assert!(unpacked.bytes.len() == usize::from(size) && unpacked.bytes.len() <= 9 * data.len());
            }
        }
    }
}
