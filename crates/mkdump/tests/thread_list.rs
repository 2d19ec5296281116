//! `list_threads`: where the offsets come from, what is doubtful, and the JSON that `docs/schema/threads.json` promises.

use std::path::{Path, PathBuf};

use mkdump::dump::Dump;
use mkdump::report::{ThreadsReport, list_threads};
use mkdump::{BuildOptions, Error, Search, Silent, Source, ThreadListOptions, Wanted, build};
use serde_json::Value;
use symstore::Cache;
use testkit::dump::kernel::{Machine, THREAD_PROCESS};
use testkit::image::{Built, Driver, PdbSpec};

const GUID: &str = "0d83d0c5-33e6-4a1b-8b7e-00112233aabb";
/// The same as Windows stores it, and as stores spell it.
const GUID_BYTES: [u8; 16] =
    [0xc5, 0xd0, 0x83, 0x0d, 0xe6, 0x33, 0x1b, 0x4a, 0x8b, 0x7e, 0x00, 0x11, 0x22, 0x33, 0xaa, 0xbb];
const KEY: &str = "0D83D0C533E64A1B8B7E00112233AABB1";

fn write(path: &Path, bytes: &[u8]) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    path.to_owned()
}

fn list(dump: &Path, options: &ThreadListOptions) -> Result<ThreadsReport, Error> {
    let source = Source::open_dumps(&[dump.to_owned()]).unwrap();
    let reading = source.read(Wanted::default(), &Silent).unwrap();
    list_threads(&reading, options, &Silent)
}

/// A PDB in which the process is at this offset.
fn pdb(process: u16) -> Vec<u8> {
    let thread: &[(&str, u16)] =
        &[("StackLimit", 0x30), ("StackBase", 0x38), ("KernelStack", 0x58), ("Process", process)];
    testkit::dump::pdb::identified(GUID_BYTES, 1, &[("_KTHREAD", thread), ("_ETHREAD", &[("Cid", 0x478)])])
}

/// The kernel's file, with its PDB's identity.
fn kernel() -> Built {
    let mut driver = Driver::new("ntoskrnl.exe");
    driver.timestamp = 0x0d83_33e6;
    driver.code(".text", 0x1000);
    driver.pdb = Some(PdbSpec::Rsds { guid: GUID.into(), age: 1, path: "ntkrnlmp.pdb".into() });
    driver.build()
}

/// A machine whose threads have their process 8 bytes further than on build 19041.
fn shifted() -> Machine {
    let mut machine = Machine::sample();
    machine.modules[0].size = kernel().size_of_image;
    machine.memory.insert(0xffff_c08b_e000_0040 + THREAD_PROCESS as u64 + 8, machine.process.to_le_bytes().to_vec());
    machine
}

fn search(root: &Path) -> Search {
    Search { roots: vec![root.to_owned()], cache: Cache::Off, ..Search::default() }
}

fn scanned(report: &ThreadsReport) -> Vec<u64> {
    report.threads.iter().filter(|thread| thread.found == "scanned").map(|thread| thread.address.0).collect()
}

#[test]
fn offsets_come_from_the_option_the_pdb_or_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let dump = write(&dir.path().join("mini.dmp"), &shifted().triage());
    let store = dir.path().join("symbols");
    write(&store.join(format!("ntkrnlmp.pdb/{KEY}/ntkrnlmp.pdb")), &pdb(0x228));
    write(&store.join("renamed/kernel.bin"), &kernel().bytes);
    let named = write(&dir.path().join("elsewhere/my.pdb"), &pdb(0x228));
    let found = [0xffff_c08b_e000_0040];

    let built_in = list(&dump, &ThreadListOptions::default()).unwrap();
    assert_eq!((built_in.layout.origin, built_in.layout.process.0), ("built-in", 0x220));
    assert_eq!(scanned(&built_in), [Machine::sample().threads[1].address]);
    assert_eq!(built_in.warnings, [""; 0]);

    let by_option = ThreadListOptions { process_offset: Some(0x228), ..Default::default() };
    assert_eq!(scanned(&list(&dump, &by_option).unwrap()), found);

    let by_pdb = list(&dump, &ThreadListOptions { pdb: Some(named), ..Default::default() }).unwrap();
    assert_eq!((by_pdb.layout.origin, by_pdb.layout.process.0), ("pdb", 0x228));
    assert_eq!(scanned(&by_pdb), found);

    let by_store = list(&dump, &ThreadListOptions { search: search(&store), ..Default::default() }).unwrap();
    assert!(by_store.layout.pdb.as_ref().unwrap().contains(KEY), "{:?}", by_store.layout);
    assert_eq!(scanned(&by_store), found);
}

#[test]
fn a_build_with_threads_finds_the_pdb_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = shifted();
    machine.build = 26100;
    // Only threads with a stack go into a dump: the find gets one.
    let [thread, stack] = [0xffff_c08b_e000_0040u64, 0xffff_8504_3000_0f00];
    machine.memory.insert(thread + 0x58, stack.to_le_bytes().to_vec());
    machine.memory.insert(stack, vec![0x33; 0x100]);
    let dump = write(&dir.path().join("mini.dmp"), &machine.triage());
    let store = dir.path().join("symbols");
    write(&store.join("kernel.bin"), &kernel().bytes);
    let threads = || {
        let options = BuildOptions {
            search: search(&store),
            output: dir.path().join("out.dmp"),
            threads: true,
            ..BuildOptions::default()
        };
        let source = Source::open_dumps(std::slice::from_ref(&dump)).unwrap();
        let reading = source.read(Wanted::default(), &Silent).unwrap();
        let report = build(&source, &reading, &options, &Silent).unwrap();
        let file = std::fs::read(&options.output).unwrap();
        let stacks: Vec<u64> = Dump::open(&file).unwrap().user_threads().iter().map(|thread| thread.stack.0).collect();
        // Behind the frame of the context switch.
        (stacks.contains(&(stack + 0x40)), report.warnings.iter().any(|warning| warning.contains("build 26100")))
    };
    assert_eq!(threads(), (false, true), "without the PDB");
    write(&store.join(format!("ntkrnlmp.pdb/{KEY}/ntkrnlmp.pdb")), &pdb(0x228));
    assert_eq!(threads(), (true, false), "with the PDB");
}

#[test]
fn what_is_doubtful_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = shifted();
    machine.build = 26100;
    let dump = write(&dir.path().join("mini.dmp"), &machine.triage());
    let warned = |options: &ThreadListOptions, expected: &str| {
        let warnings = list(&dump, options).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:?}");
    };
    warned(&ThreadListOptions::default(), "build 26100");
    let nowhere = ThreadListOptions { addresses: vec![0xffff_c08b_f000_0040], ..Default::default() };
    warned(&nowhere, "0xffffc08bf0000040: nothing that was captured");
    // The thread's KernelStack taken for its process: an address of the kernel, but of no object.
    warned(&ThreadListOptions { process_offset: Some(0x58), ..Default::default() }, "at +0x58");

    write(&dir.path().join("store/kernel.bin"), &kernel().bytes);
    let other = testkit::dump::pdb::identified(
        [7; 16],
        1,
        &[
            ("_KTHREAD", &[("Process", 0x220), ("KernelStack", 0x58), ("StackLimit", 0x30), ("StackBase", 0x38)]),
            ("_ETHREAD", &[("Cid", 0x478)]),
        ],
    );
    let other = write(&dir.path().join("other.pdb"), &other);
    let options =
        ThreadListOptions { pdb: Some(other), search: search(&dir.path().join("store")), ..Default::default() };
    warned(&options, "07070707-0707-0707-0707-070707070707");

    // A damaged PDB in the store is a warning, one that the caller names is an error.
    let damaged = write(&dir.path().join(format!("store/ntkrnlmp.pdb/{KEY}/ntkrnlmp.pdb")), &pdb(0x228)[..0x1000]);
    warned(
        &ThreadListOptions { search: search(&dir.path().join("store")), ..Default::default() },
        "ntkrnlmp.pdb: a damaged PDB",
    );
    let error = list(&dump, &ThreadListOptions { pdb: Some(damaged), ..Default::default() }).unwrap_err();
    assert!(matches!(error, Error::Pdb { .. }), "{error}");
}

#[test]
fn other_dumps_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let full = write(&dir.path().join("MEMORY.DMP"), &Machine::sample().full());
    let error = list(&full, &ThreadListOptions::default()).unwrap_err().to_string();
    assert!(error.contains("MEMORY.DMP") && error.contains("full kernel dump") && error.contains("triage"), "{error}");
}

#[test]
fn the_json_is_what_the_schema_says() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/threads.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut machine = shifted();
    machine.bugcheck.1[2] = machine.threads[1].address;
    let dump = write(&dir.path().join("mini.dmp"), &machine.triage());
    let options = ThreadListOptions {
        pdb: Some(write(&dir.path().join("nt.pdb"), &pdb(0x228))),
        addresses: vec![0xffff_c08b_f000_0040],
        ..Default::default()
    };
    let value = serde_json::to_value(list(&dump, &options).unwrap()).unwrap();
    assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
    let kinds: Vec<_> = value["threads"].as_array().unwrap().iter().map(|thread| &thread["found"]).collect();
    assert_eq!(kinds, ["current", "bugcheck", "listed", "scanned"]);

    // The schema is strict: it notices each key that goes, and one that comes.
    for pointer in ["", "/source", "/layout", "/threads/0", "/threads/3"] {
        let object = value.pointer(pointer).and_then(Value::as_object).unwrap();
        for key in object.keys() {
            let mut less = value.clone();
            less.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
            assert!(!validator.is_valid(&less), "{pointer} does without {key}");
        }
        let mut more = value.clone();
        more.pointer_mut(pointer).unwrap()["unheard-of"] = 1.into();
        assert!(!validator.is_valid(&more), "{pointer} takes another key");
    }
}
