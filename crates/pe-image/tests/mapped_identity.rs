//! Which build an image is, told from memory that may lack pages of it.

use pe_image::{MappedIdentity, MappedImage, PeFile, Policy, Rva};
use testkit::image::{Driver, PdbSpec};

const GUID: &str = "FF1FD2FD-6008-42BB-9E75-00A20051F3BE";
const PAGE: u32 = 0x1000;

fn driver() -> Driver {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x1800);
    driver.timestamp = 0x0a1b_2c3d;
    let path = "d:\\os\\obj\\driver.pdb".to_owned();
    driver.pdb = Some(PdbSpec::Rsds { guid: GUID.to_owned(), age: 0x1a, path });
    driver
}

/// The image as it lies in memory, from its first byte on.
fn memory_of(driver: &Driver) -> Vec<u8> {
    let built = driver.build();
    let image = MappedImage::new(PeFile::parse(&built.bytes).unwrap(), 0xffff_f804_3000_0000, Policy::AS_LINKED);
    image.bytes(Rva(0), built.size_of_image).into_owned()
}

/// What is read when the memory holds all pages but `missing`. A read ends at the first page that is not held.
fn identity(memory: &[u8], missing: &[u32]) -> MappedIdentity {
    MappedIdentity::read(|rva, out| {
        let mut held = 0;
        while held < out.len() {
            let at = rva.0 as usize + held;
            let Some(&byte) = memory.get(at).filter(|_| !missing.contains(&(at as u32 / PAGE))) else { break };
            out[held] = byte;
            held += 1;
        }
        // What lies after the held bytes must not be looked at.
        out[held..].fill(0xa5);
        held
    })
}

#[test]
fn whole_images_are_read_as_their_files_are() {
    let mut old = Driver::new_x86("old.sys");
    old.code(".text", 0x10);
    old.pdb = driver().pdb;
    for driver in [driver(), old] {
        let built = driver.build();
        let file = PeFile::parse(&built.bytes).unwrap().identity();
        let mapped = identity(&memory_of(&driver), &[]);
        assert_eq!((mapped.timestamp, mapped.checksum), (Some(file.timestamp), Some(file.checksum)));
        assert_eq!(mapped.pdb, file.pdb);
        assert!(mapped.pdb.is_some());
    }
}

#[test]
fn what_the_memory_lacks_is_none() {
    let memory = memory_of(&driver());
    assert_eq!(identity(&memory, &[0]), MappedIdentity::default(), "without the headers' page nothing is known");
    // The debug directory lies in another page than the headers.
    let others: Vec<u32> = (1..memory.len() as u32 / PAGE + 1).collect();
    let headers_alone = identity(&memory, &others);
    assert_eq!((headers_alone.timestamp, headers_alone.pdb), (Some(0x0a1b_2c3d), None));
    assert!(headers_alone.checksum.is_some());
}

#[test]
fn memory_of_something_else_gives_nothing() {
    let memory = memory_of(&driver());
    let nt = u32::from_le_bytes(memory[0x3c..0x40].try_into().unwrap()) as usize;
    let check = |at: usize, bytes: &[u8]| {
        let mut memory = memory.clone();
        memory[at..at + bytes.len()].copy_from_slice(bytes);
        identity(&memory, &[])
    };
    assert_eq!(check(0, b"ZM"), MappedIdentity::default());
    assert_eq!(check(nt, b"NE"), MappedIdentity::default());
    // Headers beyond 256 MiB, where no loader looks.
    assert_eq!(check(0x3c, &0x1000_0000_u32.to_le_bytes()), MappedIdentity::default());
    // An optional header of an unknown kind: the file header still holds.
    let unknown = check(nt + 24, &[0x07, 0x01]);
    assert_eq!((unknown.timestamp, unknown.pdb), (Some(0x0a1b_2c3d), None));
}

#[test]
fn places_past_4_gib_are_not_read() {
    let memory = memory_of(&driver());
    let nt = u32::from_le_bytes(memory[0x3c..0x40].try_into().unwrap()) as usize;
    let directory = nt + 24 + 112 + 6 * 8;
    for size in [28, u32::MAX] {
        let mut memory = memory.clone();
        memory[directory..directory + 4].copy_from_slice(&0xffff_fff8_u32.to_le_bytes());
        memory[directory + 4..directory + 8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(identity(&memory, &[]).pdb, None);
    }
}
