//! Files are found by identity: whatever they are called, wherever they lie, however they are packed.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use symstore::{Cache, Difference, Doubt, Guid, Index, IndexOptions, Loader, Lookup, PdbId, Wanted};
use testkit::catalog::{Module, szdd_stored};

const GUID: &str = "ed706a38-6592-40a0-66e6-fb19b994baaa";
const OTHER_GUID: &str = "0f693ceb-b815-cf80-a5d4-86d10b730ba7";

fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn index(dir: &Path) -> Index {
    Index::build(&IndexOptions { roots: vec![dir.into()], cache: Cache::Off, ..Default::default() }).unwrap()
}

fn module(timestamp: u32) -> Module {
    Module { timestamp, pdb: Some((GUID, 1, "foo.pdb")), ..Default::default() }
}

fn wanted(name: &str, timestamp: u32) -> Wanted {
    Wanted { name: name.into(), timestamp: Some(timestamp), size: 0x3000, ..Default::default() }
}

fn pdb(guid: &str) -> Option<PdbId> {
    Some(PdbId { guid: Guid::parse(guid).unwrap(), age: 1 })
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn cabinet(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder.add_folder(cab::CompressionType::MsZip).add_file(name);
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    writer.next_file().unwrap().unwrap().write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Which file is found, below `dir`.
fn place(dir: &Path, lookup: &Lookup<'_>) -> String {
    let Lookup::Found { file, .. } = lookup else { return format!("{lookup:?}") };
    // With one kind of separator, whatever the system.
    let [place, dir] = [file.location.to_string(), dir.display().to_string()].map(|path| path.replace('\\', "/"));
    place.replace(&format!("{dir}/"), "")
}

#[test]
fn every_wrapping_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = |stamp| Module { code: 0x5000, size_of_image: 0x7000, ..module(stamp) }.file();
    put(dir.path(), "deep/down/renamed.bin", &file(1));
    put(dir.path(), "foo.sys/000000023000/foo.sy_", &cabinet("foo.sys", &file(2)));
    put(dir.path(), "old.dl_", &szdd_stored(&file(3), b'L'));
    put(
        dir.path(),
        "sent.zip",
        &zip(&[("readme.txt", b"hello"), ("drivers/a.sys", &file(4)), ("a.sy_", &cabinet("a.sys", &file(5)))]),
    );
    put(dir.path(), "fo/foo.sys/000000063000/foo.sys", &file(6));
    let index = index(dir.path());
    assert_eq!(index.notes(), [""; 0]);
    let check = |stamp: u32, path: &str, name: &str| {
        let lookup = index.find(&Wanted { size: 0x7000, ..wanted("foo.sys", stamp) });
        assert_eq!(place(dir.path(), &lookup), path);
        let Lookup::Found { file: found, .. } = lookup else { unreachable!() };
        assert_eq!(found.name, name);
        assert_eq!(found.identity.timestamp, stamp);
        assert_eq!(found.identity.pdb.as_ref().unwrap().name(), "foo.pdb");
        assert!(*Loader::new().load(found).unwrap() == file(stamp), "{path}");
        assert_eq!(found.location.plain_path().is_some(), matches!(stamp, 1 | 6));
    };
    check(1, "deep/down/renamed.bin", "renamed.bin");
    check(2, "foo.sys/000000023000/foo.sy_", "foo.sys");
    check(3, "old.dl_", "old.dll");
    check(4, "sent.zip!drivers/a.sys", "a.sys");
    check(5, "sent.zip!a.sy_", "a.sys");
    check(6, "fo/foo.sys/000000063000/foo.sys", "foo.sys");
}

#[test]
fn a_name_alone_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "foo.sys", &module(1).file());
    put(dir.path(), "ntkrnlmp.exe", &module(7).file());
    let index = index(dir.path());
    let check = |wanted: &Wanted, name: &str, expected: &[Difference]| match index.find(wanted) {
        Lookup::Mismatch { closest, differences } => {
            assert_eq!((closest.name.as_str(), &*differences), (name, expected));
        }
        other => panic!("{wanted:?}: {other:?}"),
    };
    let stamp = Difference::Timestamp { wanted: 2, found: 1 };
    let size = Difference::Size { wanted: 0x4000, found: 0x3000 };
    check(&wanted("FOO.SYS", 2), "foo.sys", &[stamp]);
    check(&Wanted { size: 0x4000, ..wanted("foo.sys", 2) }, "foo.sys", &[stamp, size]);
    check(&Wanted { size: 0x4000, ..wanted("foo.sys", 1) }, "foo.sys", &[size]);
    let other = Difference::Pdb { wanted: pdb(OTHER_GUID).unwrap(), found: pdb(GUID) };
    check(&Wanted { pdb: pdb(OTHER_GUID), ..wanted("foo.sys", 1) }, "foo.sys", &[other]);
    check(&wanted("ntoskrnl.exe", 8), "ntkrnlmp.exe", &[Difference::Timestamp { wanted: 8, found: 7 }]);
    check(&wanted("dump_foo.sys", 2), "foo.sys", &[stamp]);
    check(&Wanted { name: "foo.sys".into(), ..Default::default() }, "foo.sys", &[Difference::NothingSaid]);
    assert_eq!(index.find(&wanted("bar.sys", 2)), Lookup::Missing);
    assert_eq!(place(dir.path(), &index.find(&wanted("bar.sys", 1))), "foo.sys");
}

#[test]
fn checksum_and_pdb_choose_between_files_with_one_key() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a.sys", &Module { checksum: 0xaaaa, ..module(1) }.file());
    put(dir.path(), "b.sys", &Module { checksum: 0xbbbb, ..module(1) }.file());
    put(dir.path(), "c.sys", &Module { checksum: 0xcccc, pdb: Some((OTHER_GUID, 1, "c.pdb")), ..module(1) }.file());
    let index = index(dir.path());
    let check = |wanted: Wanted, path: &str, expected: &[Doubt]| {
        let lookup = index.find(&wanted);
        assert_eq!(place(dir.path(), &lookup), path, "{wanted:?}");
        let Lookup::Found { doubts, .. } = lookup else { unreachable!() };
        assert_eq!(doubts, expected, "{wanted:?}");
    };
    let other = |name: &str| Doubt::OthersFit { other: dir.path().join(name).display().to_string() };
    check(Wanted { checksum: Some(0xbbbb), ..wanted("x.sys", 1) }, "b.sys", &[]);
    check(Wanted { pdb: pdb(OTHER_GUID), ..wanted("a.sys", 1) }, "c.sys", &[]);
    check(Wanted { pdb: pdb(GUID), checksum: Some(0xbbbb), ..wanted("a.sys", 1) }, "b.sys", &[]);
    check(wanted("b.sys", 1), "b.sys", &[other("a.sys")]);
    check(Wanted { checksum: Some(0), ..wanted("c.sys", 1) }, "c.sys", &[other("a.sys")]);
    // A checksum that fits none of them does not leave the module out.
    let checksum = Doubt::Checksum { wanted: 0xdddd, found: 0xcccc };
    check(Wanted { checksum: Some(0xdddd), pdb: pdb(OTHER_GUID), ..wanted("c.sys", 1) }, "c.sys", &[checksum]);
}

#[test]
fn sources_that_say_less_are_taken_at_their_word() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "foo.sys", &Module { checksum: 0xaaaa, ..module(0x1234) }.file());
    put(dir.path(), "twin/bar.sys", &module(5).file());
    put(dir.path(), "twin/two/bar.sys", &module(6).file());
    let index = index(dir.path());
    let silent = |name: &str| Wanted { name: name.into(), timestamp: Some(0), size: 0x3000, ..Default::default() };
    let check = |wanted: Wanted, expected: Option<&[Doubt]>| match (index.find(&wanted), expected) {
        (Lookup::Found { doubts, file }, Some(expected)) => {
            assert_eq!((file.name.as_str(), &*doubts), ("foo.sys", expected), "{wanted:?}");
        }
        (Lookup::Missing | Lookup::Mismatch { .. } | Lookup::Ambiguous { .. }, None) => {}
        (other, _) => panic!("{wanted:?}: {other:?}"),
    };
    check(Wanted { pdb: pdb(GUID), checksum: Some(0xaaaa), ..silent("x.sys") }, Some(&[]));
    check(Wanted { checksum: Some(0xaaaa), ..silent("x.sys") }, Some(&[]));
    check(Wanted { checksum: Some(0xbbbb), ..silent("foo.sys") }, None);
    check(silent("foo.sys"), Some(&[Doubt::OnlySizeKnown]));
    check(silent("x.sys"), None);
    check(silent("bar.sys"), None);
    check(Wanted { size: 0, ..silent("foo.sys") }, None);
    check(Wanted { pdb: pdb(OTHER_GUID), ..silent("foo.sys") }, None);
    // Sources count whole pages; a driver with a small section alignment does not.
    put(dir.path(), "odd.sys", &Module { size_of_image: 0x2f80, ..module(9) }.file());
    let index = self::index(dir.path());
    assert_eq!(place(dir.path(), &index.find(&wanted("odd.sys", 9))), "odd.sys");
}

#[test]
fn a_mounted_volume_is_read_by_its_paths() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "WINDOWS/system32/ntoskrnl.exe", &module(1).file());
    put(dir.path(), "WINDOWS/system32/DRIVERS/Tcpip.SYS", &module(2).file());
    put(dir.path(), "WINDOWS/system32/driverstore/filerepository/oem.inf_amd64_0/oem.sys", &module(3).file());
    put(dir.path(), "Program Files/Vendor/Vendor.sys", &module(4).file());
    put(dir.path(), "WINDOWS/winsxs/amd64_tcpip_31bf_10.0.1_none_0/tcpip.sys", &module(5).file());
    put(dir.path(), "Users/someone/not-asked-for.sys", &module(6).file());
    put(dir.path(), "WINDOWS/winsxs/amd64_other_31bf_10.0.1_none_0/other.sys", &module(7).file());
    let modules = [
        (r"\SystemRoot\system32\ntoskrnl.exe", 1, "WINDOWS/system32/ntoskrnl.exe"),
        (r"\SystemRoot\System32\drivers\tcpip.sys", 2, "WINDOWS/system32/DRIVERS/Tcpip.SYS"),
        (
            r"\SystemRoot\System32\drivers\oem.sys",
            3,
            "WINDOWS/system32/driverstore/filerepository/oem.inf_amd64_0/oem.sys",
        ),
        (r"\??\C:\program files\vendor\VENDOR.sys", 4, "Program Files/Vendor/Vendor.sys"),
        (
            r"\Device\HarddiskVolume3\Windows\System32\drivers\tcpip.sys",
            5,
            "WINDOWS/winsxs/amd64_tcpip_31bf_10.0.1_none_0/tcpip.sys",
        ),
    ];
    let wanted: Vec<Wanted> = modules
        .iter()
        .map(|(path, stamp, _)| Wanted {
            path: Some((*path).into()),
            ..wanted(path.rsplit('\\').next().unwrap(), *stamp)
        })
        .collect();
    let options = IndexOptions {
        roots: vec![dir.path().into()],
        wanted: wanted.clone(),
        cache: Cache::Off,
        ..Default::default()
    };
    let index = Index::build(&options).unwrap();
    for (wanted, (_, _, path)) in wanted.iter().zip(modules) {
        assert_eq!(place(dir.path(), &index.find(wanted)), path);
    }
    let stamps: Vec<u32> = index.files().iter().map(|file| file.identity.timestamp).collect();
    assert!(!stamps.contains(&6) && !stamps.contains(&7), "only what was asked for is read: {stamps:?}");
}

#[test]
fn a_symbol_path_is_asked_by_key_and_not_read_through() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "foo.sys/000000013000/foo.sys", &module(1).file());
    put(dir.path(), "ntkrnlmp.exe/000000023000/ntkrnlmp.ex_", &cabinet("ntkrnlmp.exe", &module(2).file()));
    put(dir.path(), "sys/bar.sys", &module(3).file());
    put(dir.path(), "other.sys/000000043000/other.sys", &module(4).file());
    // A file under a key that is not its own stays out.
    put(dir.path(), "liar.sys/000000053000/liar.sys", &module(6).file());
    let wanted = [("foo.sys", 1), ("ntoskrnl.exe", 2), ("bar.sys", 3), ("liar.sys", 5), ("..\\foo.sys", 9)];
    let options = IndexOptions {
        symbol_path: vec![dir.path().into()],
        wanted: wanted.map(|(name, stamp)| self::wanted(name, stamp)).to_vec(),
        cache: Cache::Off,
        ..Default::default()
    };
    let index = Index::build(&options).unwrap();
    let found = options.wanted.iter().map(|wanted| matches!(index.find(wanted), Lookup::Found { .. }));
    assert_eq!(found.collect::<Vec<_>>(), [true, true, true, false, false]);
    assert!(matches!(index.find(&options.wanted[3]), Lookup::Mismatch { .. }));
    assert_eq!(index.looked_at(), 4);
}

#[test]
fn damage_is_noted_with_its_place_and_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "good.sys", &module(1).file());
    put(dir.path(), "dos.exe", b"MZ and nothing more");
    put(dir.path(), "empty.sys", b"");
    put(dir.path(), "half.sys.partial", &module(5).file()[..0x500]);
    put(dir.path(), "hurt.sys", &Module { size_of_image: 0x1000, ..module(4) }.file());
    put(dir.path(), "cut.zip", &zip(&[("a.sys", &module(2).file())])[..200]);
    put(dir.path(), "cut.sy_", &cabinet("a.sys", &module(3).file())[..60]);
    let index = index(dir.path());
    assert_eq!(index.files().len(), 1);
    let notes = index.notes().join("\n");
    assert!(notes.contains("cut.zip") && notes.contains("cut.sy_") && notes.contains("hurt.sys"), "{notes}");
    assert!(
        notes.contains("half.sys.partial: cut short, 768 bytes are missing") && index.notes().len() == 4,
        "{notes}"
    );
    let gone = IndexOptions { roots: vec![dir.path().join("gone")], cache: Cache::Off, ..Default::default() };
    assert!(Index::build(&gone).unwrap_err().to_string().contains("gone"));
}

/// Builds the index with a cache, and gives each file's path and stamp.
fn cached(dir: &Path, cache: &Path) -> (Vec<(String, u32)>, Vec<String>) {
    let cache = Cache::At(cache.into());
    let index = Index::build(&IndexOptions { roots: vec![dir.into()], cache, ..Default::default() }).unwrap();
    let files = index.files().iter().map(|file| (file.name.clone(), file.identity.timestamp)).collect();
    (files, index.notes().to_vec())
}

#[test]
fn the_cache_is_used_renewed_and_never_believed_when_damaged() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (dir.path().join("a.sys"), dir.path().join("b.zip"));
    fs::write(&a, module(1).file()).unwrap();
    fs::write(&b, zip(&[("b.sys", &module(2).file())])).unwrap();
    settle();
    let both = vec![("a.sys".to_owned(), 1), ("b.sys".to_owned(), 2)];
    assert_eq!(cached(dir.path(), cache.path()), (both.clone(), vec![]));
    let file = fs::read_dir(cache.path().join("index")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&file).unwrap();

    fs::write(&a, module(3).file()).unwrap();
    assert_eq!(cached(dir.path(), cache.path()).0[0].1, 3, "a new time means a new reading");
    let kept = fs::metadata(&a).unwrap().modified().unwrap();
    fs::write(&a, module(4).file()).unwrap();
    fs::File::options().write(true).open(&a).unwrap().set_modified(kept).unwrap();
    // A copy can have the size and time of the file that it replaces, as `cp -p` gives them.
    #[cfg(unix)]
    assert_eq!(cached(dir.path(), cache.path()).0[0].1, 4, "an inode's own time cannot be set");

    let check = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let (files, notes) = cached(dir.path(), cache.path());
        assert_eq!(files, [("a.sys".to_owned(), 4), ("b.sys".to_owned(), 2)]);
        assert!(notes.len() == 1 && notes[0].contains("damaged index cache ignored"), "{notes:?}");
    };
    check(b"");
    check(b"nonsense");
    check(&good[..good.len() - 1]);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    check(&flipped);
    check(&[b"symstore-index-0", &good[16..]].concat());

    fs::remove_dir_all(cache.path().join("index")).unwrap();
    assert_eq!(cached(dir.path(), cache.path()).1, [""; 0]);
    // A file that has just been written is not trusted to stay as it is.
    fs::write(&a, module(5).file()).unwrap();
    cached(dir.path(), cache.path());
    let text =
        fs::read_to_string(fs::read_dir(cache.path().join("index")).unwrap().next().unwrap().unwrap().path()).unwrap();
    assert!(!text.contains("a.sys") && text.contains("b.sys"), "{text}");
    // A cache that cannot be written is worth a note only.
    let blocked = cache.path().join("blocked");
    fs::write(&blocked, "a file, not a directory").unwrap();
    let (files, notes) = cached(dir.path(), &blocked);
    assert_eq!((files.len(), notes.len()), (2, 2), "{notes:?}");
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until the cache takes files that have just been written: it does not trust a file younger than two seconds.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn files_that_fit_equally_well_are_ambiguous() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a/drv.sys", &Module { checksum: 0xaaaa, ..module(1) }.file());
    put(dir.path(), "b/drv.sys", &Module { checksum: 0xbbbb, ..module(1) }.file());
    put(dir.path(), "c/copy.sys", &Module { checksum: 0xbbbb, ..module(1) }.file());
    let index = index(dir.path());
    let Lookup::Ambiguous { files } = index.find(&wanted("drv.sys", 1)) else { panic!("it is ambiguous") };
    let places: Vec<_> = files.iter().map(|file| file.location.file().strip_prefix(dir.path()).unwrap()).collect();
    assert_eq!(places, [Path::new("a/drv.sys"), Path::new("b/drv.sys")]);
    // Copies of one file are not ambiguous, nor are files that the checksum tells apart.
    let lookup = index.find(&Wanted { checksum: Some(0xbbbb), ..wanted("drv.sys", 1) });
    assert_eq!(place(dir.path(), &lookup), "b/drv.sys");
    let lookup = index.find(&Wanted { checksum: Some(0xbbbb), ..wanted("x.sys", 1) });
    assert_eq!(place(dir.path(), &lookup), "b/drv.sys");
}

#[test]
fn a_32_bit_file_is_not_a_64_bit_module() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = module(1).file();
    // IMAGE_FILE_HEADER.Machine becomes that of x86, and the optional header's magic that of PE32.
    bytes[0x84..0x86].copy_from_slice(&0x14c_u16.to_le_bytes());
    bytes[0x98..0x9a].copy_from_slice(&0x10b_u16.to_le_bytes());
    put(dir.path(), "x.sys", &bytes);
    let index = index(dir.path());
    let check = |pointer_size: Option<u8>, fits: bool| {
        let lookup = index.find(&Wanted { pointer_size, ..wanted("x.sys", 1) });
        assert_eq!(matches!(lookup, Lookup::Found { .. }), fits, "{pointer_size:?}: {lookup:?}");
        if let Lookup::Mismatch { differences, .. } = lookup {
            assert_eq!(differences[0].to_string(), "it is for x86, wanted is a 64-bit module");
        }
    };
    check(None, true);
    check(Some(4), true);
    check(Some(8), false);
}

#[test]
fn the_opened_bytes_are_those_that_were_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sys");
    let check = |replaced: &[u8], words: &str| {
        fs::write(&path, module(1).file()).unwrap();
        let index = index(dir.path());
        fs::write(&path, replaced).unwrap();
        let error = Loader::new().load(&index.files()[0]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("a.sys"), "{text}");
        (error.is_changed(), error.is_incomplete())
    };
    assert_eq!(check(&module(2).file(), "is now one with TimeDateStamp 0x2"), (true, false));
    assert_eq!(check(b"not a module", "not a PE file any more"), (true, false));
    let file = Module { pdb: None, ..module(1) }.file();
    assert_eq!(check(&file, "is now one with TimeDateStamp 0x1"), (true, false), "the PDB is part of the identity");
    assert_eq!(check(&module(1).file()[..0x700], "cut short, 256 bytes are missing"), (false, true));
}

/// The cache knows a file by size, times and inode. Where a file system keeps no better times, a wanted file is read again.
#[test]
fn a_cached_identity_that_is_wanted_is_read_again() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.sys"), module(1).file()).unwrap();
    settle();
    cached(dir.path(), cache.path());
    let file = fs::read_dir(cache.path().join("index")).unwrap().next().unwrap().unwrap().path();
    let body = fs::read_to_string(&file).unwrap().split_once('\n').unwrap().1.to_owned();
    // The cache says that the file is another build, as it would if that had been replaced unnoticed.
    let body = body.replace("\"timestamp\":1,", "\"timestamp\":9,");
    fs::write(&file, format!("symstore-index-2 {}\n{body}", sha256(&body))).unwrap();
    assert_eq!(cached(dir.path(), cache.path()), (vec![("a.sys".to_owned(), 9)], vec![]), "the cache is believed");
    let options = IndexOptions {
        roots: vec![dir.path().into()],
        cache: Cache::At(cache.path().into()),
        wanted: vec![wanted("a.sys", 9)],
        ..Default::default()
    };
    let index = Index::build(&options).unwrap();
    assert!(matches!(index.find(&options.wanted[0]), Lookup::Mismatch { .. }), "the file itself is asked");
    assert_eq!(cached(dir.path(), cache.path()).0[0].1, 1, "and the cache forgets");
}

#[cfg(unix)]
#[test]
fn a_cache_that_is_a_pipe_is_not_opened() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.sys"), module(1).file()).unwrap();
    settle();
    cached(dir.path(), cache.path());
    let file = fs::read_dir(cache.path().join("index")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (files, notes) = cached(dir.path(), cache.path());
    assert!(files.len() == 1 && notes[0].contains("not a regular file"), "{notes:?}");
}
