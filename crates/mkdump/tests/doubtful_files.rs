//! Files that may be the wrong ones: what is uncertain is said, and what fits twice or cannot be right stays out.

use std::path::Path;

use mkdump::snapshot::{Machine, Module};
use mkdump::system::{Choice, Detect, Files, Inclusion, Setting, System};
use symstore::{Cache, Index, IndexOptions};
use testkit::catalog::Module as File;

/// A module of 0x3000 bytes at an address of the kernel's.
fn module(name: &str, timestamp: Option<u32>) -> Module {
    Module {
        name: name.into(),
        path: format!(r"\SystemRoot\System32\{name}"),
        process: 0,
        kernel: true,
        base: 0xffff_f804_1234_0000,
        size: 0x3000,
        timestamp,
        checksum: None,
        pdb: None,
        loaded: None,
        unloaded: None,
    }
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn index(dir: &Path) -> Index {
    Index::build(&IndexOptions { roots: vec![dir.into()], cache: Cache::Off, ..Default::default() }).unwrap()
}

#[test]
fn a_file_known_by_name_and_size_alone_is_taken_with_a_warning_and_states_no_identity() {
    let dir = tempfile::tempdir().unwrap();
    let pdb = Some(("ed706a38-6592-40a0-66e6-fb19b994baaa", 1, "cdd.pdb"));
    put(dir.path(), "cdd.dll", &File { timestamp: 0x5f00_0001, checksum: 0x1234, pdb, ..File::default() }.file());
    let check = |timestamp: Option<u32>, warned: bool| {
        let mut files = Files::find(&[module("cdd.dll", timestamp)], &index(dir.path()));
        let parsed = files.parse();
        let setting = Setting {
            machine: &Machine::default(),
            moment: 0.0,
            moment_name: "at the end",
            import_optimization: Choice::Off,
            retpoline: Choice::Off,
            function_overrides: Choice::Auto,
            capabilities: &[],
            packets: &[],
            detect: Detect::WhenOpen,
            captured: None,
        };
        let system = System::reconstruct(&parsed, &setting);
        let warnings = system.warnings().join("\n");
        assert_eq!(
            warnings.contains("cdd.dll may be the wrong file: identified by name and size"),
            warned,
            "{warnings}"
        );
        let images = system.images();
        let entry = mkdump::image::module_entry(&images[0]);
        let stated = (entry.timestamp, entry.checksum, entry.codeview.is_some());
        assert_eq!(stated, if warned { (0, 0, false) } else { (0x5f00_0001, 0x1234, true) });
    };
    check(None, true);
    check(Some(0), true);
    check(Some(0x5f00_0001), false);
}

#[test]
fn files_that_fit_equally_well_stay_out() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a/drv.sys", &File { timestamp: 7, checksum: 1, ..File::default() }.file());
    put(dir.path(), "b/drv.sys", &File { timestamp: 7, checksum: 2, ..File::default() }.file());
    let files = Files::find(&[module("drv.sys", Some(7))], &index(dir.path()));
    let entry = &files.entries[0];
    let reason = entry.reason.as_deref().unwrap_or_default().replace('\\', "/");
    assert_eq!(entry.inclusion, Inclusion::Mismatch);
    assert!(reason.contains("a/drv.sys") && reason.contains("b/drv.sys"), "{reason}");
    // The checksum tells them apart.
    let files = Files::find(&[Module { checksum: Some(2), ..module("drv.sys", Some(7)) }], &index(dir.path()));
    assert_eq!(files.entries[0].inclusion, Inclusion::Included);
}

#[test]
fn a_32_bit_file_is_not_a_module_above_4_gib() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = File { timestamp: 7, ..File::default() }.file();
    bytes[0x84..0x86].copy_from_slice(&0x14c_u16.to_le_bytes());
    put(dir.path(), "x.sys", &bytes);
    let check = |base: u64, expected: Inclusion| {
        let files = Files::find(&[Module { base, ..module("x.sys", Some(7)) }], &index(dir.path()));
        assert_eq!(files.entries[0].inclusion, expected, "{base:#x}: {:?}", files.entries[0].reason);
    };
    check(0xffff_f804_1234_0000, Inclusion::Mismatch);
    check(0x8234_0000, Inclusion::Included);
}

#[test]
fn a_file_that_was_replaced_after_the_index_is_a_mismatch() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "win32k.sys", &File { timestamp: 7, ..File::default() }.file());
    let index = index(dir.path());
    put(dir.path(), "win32k.sys", &File { timestamp: 8, ..File::default() }.file());
    let files = Files::find(&[module("win32k.sys", Some(7))], &index);
    let reason = files.entries[0].reason.as_deref().unwrap_or_default();
    assert!(files.entries[0].inclusion == Inclusion::Mismatch && reason.contains("TimeDateStamp 0x8"), "{reason}");
}
