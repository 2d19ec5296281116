//! What names a file: stamps, PDB records, checksums, versions, symbol-server keys.

use std::io::Cursor;

use pe_image::{CodeView, Identity, IdentityErrorKind, Machine, PeFile};
use testkit::image::{Driver, PdbSpec, VersionSpec};

fn driver() -> Driver {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x1800);
    driver.timestamp = 0x0a1b_2c3d;
    driver
}

const GUID: &str = "FF1FD2FD-6008-42BB-9E75-00A20051F3BE";

#[test]
fn rsds_and_keys() {
    let mut driver = driver();
    let path = "d:\\os\\obj\\driver.pdb".to_owned();
    driver.pdb = Some(PdbSpec::Rsds { guid: GUID.to_owned(), age: 0x1a, path });
    driver.pdb_checksum = Some(("SHA256".to_owned(), vec![7; 32]));
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let identity = file.identity();
    assert_eq!(identity.machine, Machine::X64);
    assert_eq!(identity.image_key(), format!("0A1B2C3D{:x}", built.size_of_image));
    let pdb = identity.pdb.as_ref().unwrap();
    assert_eq!(pdb.guid_text().as_deref(), Some(GUID));
    assert_eq!((pdb.name().as_str(), pdb.age()), ("driver.pdb", 0x1a));
    assert_eq!(pdb.pdb_key(), "FF1FD2FD600842BB9E7500A20051F3BE1a");
    assert_eq!(CodeView::parse(&pdb.record()).as_ref(), Some(pdb));
    let checksum = file.pdb_checksum().unwrap();
    assert_eq!((checksum.algorithm.as_str(), checksum.checksum), ("SHA256", vec![7; 32]));
    assert_eq!(Identity::read(Cursor::new(&built.bytes)).unwrap(), identity);
}

#[test]
fn nb10() {
    let mut driver = Driver::new_x86("old.sys");
    driver.code(".text", 0x10);
    driver.pdb = Some(PdbSpec::Nb10 { signature: 0x3b7d_8410, age: 0x2c, path: "old.pdb".to_owned() });
    let built = driver.build();
    let identity = Identity::read(Cursor::new(&built.bytes)).unwrap();
    let pdb = identity.pdb.unwrap();
    assert_eq!((pdb.pdb_key().as_str(), pdb.name().as_str(), pdb.guid_text()), ("3B7D84102c", "old.pdb", None));
    assert_eq!(CodeView::parse(&pdb.record()), Some(pdb));
    assert_eq!(identity.machine, Machine::X86);
}

#[test]
fn without_a_debug_directory() {
    let built = driver().build();
    assert_eq!(PeFile::parse(&built.bytes).unwrap().identity().pdb, None);
    assert_eq!(PeFile::parse(&built.bytes).unwrap().pdb_checksum(), None);
}

#[test]
fn a_damaged_debug_directory_is_no_pdb() {
    let mut driver = driver();
    driver.pdb = Some(PdbSpec::Rsds { guid: GUID.to_owned(), age: 1, path: "a.pdb".to_owned() });
    let mut built = driver.build();
    // SizeOfData, AddressOfRawData and PointerToRawData of the entry.
    for (offset, value) in [(16, 23), (24, 0xffff_fff0)] {
        built.put_u32("debug", offset, value);
        assert_eq!(PeFile::parse(&built.bytes).unwrap().identity().pdb, None);
        assert_eq!(Identity::read(Cursor::new(&built.bytes)).unwrap().pdb, None);
    }
}

/// Reads that count themselves, over a file that is longer than what identities need.
struct Counting<'a> {
    inner: Cursor<&'a [u8]>,
    bytes: usize,
}

impl std::io::Read for Counting<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let size = self.inner.read(out)?;
        self.bytes += size;
        Ok(size)
    }
}

impl std::io::Seek for Counting<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn identities_read_a_page_and_the_record() {
    let mut driver = driver();
    driver.code("PAGE", 0x40_0000);
    driver.pdb = Some(PdbSpec::Rsds { guid: GUID.to_owned(), age: 1, path: "a.pdb".to_owned() });
    let built = driver.build();
    let mut source = Counting { inner: Cursor::new(&built.bytes), bytes: 0 };
    assert!(Identity::read(&mut source).unwrap().pdb.is_some());
    assert!(source.bytes < 0x1100, "{:#x} bytes read", source.bytes);
}

#[test]
fn headers_behind_the_first_page() {
    let built = driver().build();
    // Move the NT headers and the section table to 0x1800: a large DOS stub.
    let mut bytes = vec![0; 0x1c00];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c..0x40].copy_from_slice(&0x1800_u32.to_le_bytes());
    bytes[0x1800..0x1b00].copy_from_slice(&built.bytes[0x80..0x380]);
    let identity = Identity::read(Cursor::new(&bytes)).unwrap();
    assert_eq!(identity.timestamp, 0x0a1b_2c3d);
}

#[test]
fn not_a_pe_file() {
    for bytes in [&b""[..], b"M", b"MZ", b"hello, this is a text", &[0x4d, 0x5a, 0, 0].repeat(0x1000)] {
        let error = Identity::read(Cursor::new(bytes)).unwrap_err();
        assert_eq!(error.kind(), IdentityErrorKind::NotPe, "{error}");
        assert_eq!(error.format().map(ToString::to_string), Some(error.to_string()));
        assert!(PeFile::parse(bytes).is_err());
    }
}

#[test]
fn the_checksum_is_the_linkers() {
    let mut built = driver().build();
    let checksum = PeFile::parse(&built.bytes).unwrap().compute_checksum();
    // A second way to the same number: 16-bit sums with carry over the file with a zero field, plus the length.
    let mut blank = built.bytes.clone();
    blank[0x80 + 88..][..4].fill(0);
    let mut sum = 0_u32;
    for pair in blank.chunks(2) {
        sum += u32::from(u16::from_le_bytes([pair[0], pair[1]]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    assert_eq!(checksum, sum + blank.len() as u32);
    // The stored value has no influence.
    built.bytes[0x80 + 88..][..4].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(PeFile::parse(&built.bytes).unwrap().compute_checksum(), checksum);
}

#[test]
fn version_resource() {
    let mut driver = driver();
    let strings = [("CompanyName", "Fabrikam"), ("OriginalFilename", "driver.sys"), ("FileVersion", "10.0 (x)")];
    driver.version = Some(VersionSpec {
        file: [10, 0, 19041, 3269],
        product: [10, 0, 19041, 1],
        strings: strings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
    });
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let version = file.version().unwrap().unwrap();
    assert_eq!(version.file_version(), Some([10, 0, 19041, 3269]));
    assert_eq!(version.product_version(), Some([10, 0, 19041, 1]));
    for (key, value) in strings {
        assert_eq!(version.string(key), Some(value));
    }
    assert_eq!(version.string("Nothing"), None);

    // pelite reads the same.
    let aligned: Vec<u64> = built
        .bytes
        .chunks(8)
        .map(|chunk| u64::from_le_bytes(std::array::from_fn(|i| *chunk.get(i).unwrap_or(&0))))
        .collect();
    use pelite::pe64::Pe;
    let peer = pelite::pe64::PeFile::from_bytes(zerocopy::IntoBytes::as_bytes(&aligned[..])).unwrap();
    let info = peer.resources().unwrap().version_info().unwrap();
    let fixed = info.fixed().unwrap();
    assert_eq!((fixed.dwFileVersion.Major, fixed.dwFileVersion.Patch, fixed.dwFileVersion.Build), (10, 19041, 3269));
    assert_eq!(info.value(info.translation()[0], "OriginalFilename").as_deref(), Some("driver.sys"));
}

#[test]
fn no_version_resource() {
    assert_eq!(PeFile::parse(&driver().build().bytes).unwrap().version().unwrap(), None);
}
