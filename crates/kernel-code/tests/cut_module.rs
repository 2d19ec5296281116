//! A module file that becomes shorter between the look at the directory and the build, or is cut inside an archive: it is
//! left out and said so, never filled up with zeros.

use std::io::{Cursor, Write};
use std::path::Path;

use kernel_code::{Files, Inclusion};
use kernel_snapshot::Module;
use symstore::{Cache, Index, IndexOptions};
use testkit::image::{Built, Driver};

fn built() -> Built {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x3000);
    driver.build()
}

fn module(built: &Built) -> Module {
    Module {
        name: "driver.sys".into(),
        path: r"\SystemRoot\System32\drivers\driver.sys".into(),
        process: 0,
        kernel: true,
        base: 0xffff_f804_0000_0000,
        size: built.size_of_image.into(),
        timestamp: Some(0x5f00_1234),
        checksum: None,
        pdb: None,
        loaded: None,
        unloaded: None,
    }
}

fn index(root: &Path) -> Index {
    let options = IndexOptions { roots: vec![root.to_owned()], cache: Cache::Off, ..Default::default() };
    Index::build(&options).unwrap()
}

#[test]
fn a_file_that_became_shorter_is_left_out() {
    let built = built();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("driver.sys");
    let modules = [module(&built)];
    for length in [built.bytes.len(), built.bytes.len() - 1, built.bytes.len() / 2, 0x100, 0] {
        std::fs::write(&path, &built.bytes).unwrap();
        let index = index(dir.path());
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
        let mut files = Files::find(&modules, &index);
        files.parse();
        let entry = &files.entries[0];
        if length == built.bytes.len() {
            assert_eq!((entry.inclusion, &entry.reason), (Inclusion::Included, &None));
        } else {
            assert_ne!(entry.inclusion, Inclusion::Included, "{length:#x}");
            let reason = entry.reason.as_deref().unwrap_or_default();
            let cut = (0x400..built.bytes.len()).contains(&length);
            assert!(!reason.is_empty() && (!cut || reason.contains("cut short")), "{length:#x}: {reason}");
        }
    }
    // Gone altogether.
    std::fs::write(&path, &built.bytes).unwrap();
    let index = index(dir.path());
    std::fs::remove_file(&path).unwrap();
    let files = Files::find(&modules, &index);
    let reason = files.entries[0].reason.as_deref().unwrap_or_default();
    assert!(files.entries[0].inclusion == Inclusion::Missing && reason.contains("driver.sys"), "{reason}");
}

#[test]
fn a_cut_member_of_an_archive_is_left_out() {
    let built = built();
    let dir = tempfile::tempdir().unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("drivers/driver.sys", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&built.bytes[..built.bytes.len() / 2]).unwrap();
    std::fs::write(dir.path().join("sent.zip"), zip.finish().unwrap().into_inner()).unwrap();
    let files = Files::find(&[module(&built)], &index(dir.path()));
    let reason = files.entries[0].reason.as_deref().unwrap_or_default();
    assert!(files.entries[0].inclusion != Inclusion::Included && reason.contains("cut short"), "{reason}");
}
