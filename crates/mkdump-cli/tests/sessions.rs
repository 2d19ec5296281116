//! `mkdump sessions` as a user runs it.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use testkit::dump::kernel::Machine;
use testkit::dump::sessions::{self as made, Buffer, Ring};
use testkit::trace::{Event, Header};

fn mkdump(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("mkdump").unwrap();
    command.env_remove("_NT_SYMBOL_PATH").env_remove("_NT_EXECUTABLE_IMAGE_PATH").current_dir(dir).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(dir: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = mkdump(dir, &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

/// The PDB's GUID and age in a store's path.
const KEY: &str = "6E72656B6C656F206620612074657374";

fn module(tick: i64, base: u64) -> Vec<u8> {
    let module = testkit::trace::Module::kernel(r"\SystemRoot\System32\drivers\gone.sys", base, 0x9000);
    testkit::trace::Payload::Image { hook: 0x1403, version: 3, module }.event(tick, 8).encode()
}

/// Two sessions of one name, and one with image events.
fn kernel(layout: made::Layout) -> made::Kernel {
    let mut kernel = made::Kernel::new(layout);
    let mut circular = made::Session::new(2, "Circular Kernel Context Logger");
    circular.buffers = vec![
        Buffer::current(0, 1, &[module(3_000_000, 0xffff_f804_1700_0000)]),
        Buffer::flushed(0, 2, 0x2000, &[module(2_000_000, 0xffff_f804_1800_0000)]),
    ];
    let mut twin = made::Session::new(7, "twin");
    twin.ring = Ring::Nodes;
    twin.buffers = vec![Buffer::current(1, 1, &[Event::hook(Header::System64, 0x1402, 3, 1, vec![1; 8]).encode()])];
    kernel.sessions = vec![circular, twin, made::Session::new(9, "twin")];
    kernel
}

#[test]
fn sessions_are_listed_by_each_way_to_a_layout() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let kernel = kernel(made::W19041B);
    std::fs::write(path.join("full.dmp"), kernel.machine().full()).unwrap();
    std::fs::write(path.join("bitmap.dmp"), kernel.machine().bitmap()).unwrap();
    std::fs::write(path.join("nt.pdb"), kernel.pdb(true)).unwrap();
    let store = path.join("store/ntkrnlmp.pdb").join(format!("{KEY}1"));
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("ntkrnlmp.pdb"), kernel.pdb(true)).unwrap();
    let (code, list, talk) = mkdump(path, &["sessions", "bitmap.dmp", "--pdb", "nt.pdb"]);
    assert_eq!(code, Some(0), "{talk}");
    assert!(list.contains("layout by the kernel's PDB, nt.pdb"), "{list}");
    assert!(list.contains("host: silo state ffffc08b`10000000, 3 sessions of at most 64"), "{list}");
    assert!(list.contains("ffffc08b`10100040") && list.contains("Circular Kernel Context Logger"), "{list}");
    assert!(talk.contains("3 sessions, 3 events in buffers") && talk.contains("--save 2 session-2.etl"), "{talk}");
    assert!(!talk.contains("host silo only"), "{talk}");
    for (arguments, found_by) in [
        (&["sessions", "full.dmp", "-m", "store"][..], "pdb"),
        (&["sessions", "full.dmp"], "debugger-data"),
        (&["sessions", "bitmap.dmp"], "debugger-data"),
    ] {
        let report = json(path, arguments);
        assert_eq!(report["layout"]["found_by"], found_by, "{arguments:?}");
        assert_eq!((report["warnings"].as_array().unwrap().len(), report["all_silos"] == true), (0, found_by == "pdb"));
        let ids: Vec<u64> = report["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [2, 7, 9]);
    }
    // Symbols without types: the layouts of the build are tried.
    let mut kernel = kernel;
    kernel.has_debugger_data = false;
    std::fs::write(path.join("bare.dmp"), kernel.machine().bitmap()).unwrap();
    std::fs::write(path.join("stripped.pdb"), kernel.pdb(false)).unwrap();
    let report = json(path, &["sessions", "bare.dmp", "--pdb", "stripped.pdb"]);
    assert!(matches!(report["layout"]["found_by"].as_str(), Some("probing" | "debugger-data")), "{report}");
}

#[test]
fn an_unknown_kernel_names_its_pdb_and_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut kernel = kernel(made::W19041);
    kernel.has_debugger_data = false;
    std::fs::write(dir.path().join("memory.dmp"), kernel.machine().bitmap()).unwrap();
    let (code, out, err) = mkdump(dir.path(), &["sessions", "memory.dmp"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains(&format!("its PDB says it: ntkrnlmp.pdb {KEY}1")), "{err}");
    if cfg!(feature = "fetch") {
        assert!(err.contains("mkdump fetch --from-dump memory.dmp") && err.contains("--pdbs"), "{err}");
    }
    // The PDB of another kernel is refused.
    let mut other = kernel;
    other.pdb.0 = [7; 16];
    std::fs::write(dir.path().join("other.pdb"), other.pdb(true)).unwrap();
    let (code, _, err) = mkdump(dir.path(), &["sessions", "memory.dmp", "--pdb", "other.pdb"]);
    assert!(code == Some(2) && err.contains("not the PDB of the dump's kernel"), "{err}");
}

#[test]
fn saved_sessions_are_traces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::fs::write(path.join("memory.dmp"), kernel(made::W22000B).machine().bitmap()).unwrap();
    let save = |name: &str, file: &str| mkdump(path, &["sessions", "memory.dmp", "--save", name, file]);
    let (code, out, err) = save("circular kernel context logger", "ckcl.etl");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("session 2 saved as ckcl.etl: 24.0 KiB, 3 events with the header"), "{out}");
    let (code, out, err) = mkdump(path, &["modules", "--etl", "ckcl.etl", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let modules: Value = serde_json::from_str(&out).unwrap();
    let bases: Vec<_> = modules["modules"].as_array().unwrap().iter().map(|m| m["base"].as_str().unwrap()).collect();
    assert_eq!(bases, ["0xfffff80417000000", "0xfffff80418000000"]);
    // By name when that is one session's, else by id or address.
    let (code, _, err) = save("twin", "twin.etl");
    assert_eq!(code, Some(2));
    assert!(err.contains("is more than one session; their ids are 7, 9"), "{err}");
    assert!(!path.join("twin.etl").exists());
    let (code, _, err) = save("8", "no.etl");
    assert!(code == Some(2) && err.contains("the ids of those that there are: 2, 7, 9"), "{err}");
    assert_eq!(save("7", "twin.etl").0, Some(0));
    // An input is not replaced.
    let (code, _, err) = save("7", "memory.dmp");
    assert!(code == Some(2) && err.contains("this is the input"), "{err}");
    let report = json(path, &["sessions", "memory.dmp", "--all", "traces"]);
    let files: Vec<_> = report["saved"].as_array().unwrap().iter().map(|saved| saved["id"].clone()).collect();
    assert_eq!(files, [2, 7]);
    assert!(path.join("traces/session-2-Circular-Kernel-Context-Logger.etl").is_file());
    let (code, _, err) = mkdump(path, &["sessions", "memory.dmp", "--all", "traces"]);
    assert!(code == Some(2) && err.contains("exists already"), "{err}");
}

#[test]
fn doubts_count_under_strict() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let kernel = kernel(made::W17134);
    let mut machine = kernel.machine();
    std::fs::write(path.join("sound.dmp"), machine.bitmap()).unwrap();
    machine.poke(kernel.buffer(0, 0) + 0x38, &0u64.to_le_bytes());
    std::fs::write(path.join("damaged.dmp"), machine.bitmap()).unwrap();
    assert_eq!(mkdump(path, &["sessions", "sound.dmp", "--strict"]).0, Some(0));
    assert_eq!(mkdump(path, &["sessions", "damaged.dmp"]).0, Some(0));
    let (code, _, err) = mkdump(path, &["sessions", "damaged.dmp", "--strict"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("list of buffers of session 2"), "{err}");
}

#[test]
fn a_triage_dump_has_the_kernels_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let mut machine = Machine::sample();
    std::fs::write(path.join("bare.dmp"), machine.triage()).unwrap();
    let (code, _, err) = mkdump(path, &["sessions", "bare.dmp"]);
    assert!(code == Some(2) && err.contains("no copy of trace sessions"), "{err}");
    let block = made::copied(19041, &kernel(made::W19041).sessions, 2, b"");
    let etw = ("2b88b710-1c93-4f7c-b06c-655ecc50decc", block);
    machine.secondary = made::secondary(19041, &[("00000000-0000-0000-0000-000000000000", vec![]), etw.clone()]);
    std::fs::write(path.join("mini.dmp"), machine.triage()).unwrap();
    let report = json(path, &["sessions", "mini.dmp", "--save", "2", "ckcl.etl"]);
    assert_eq!((&report["origin"], &report["layout"]), (&"secondary-data".into(), &Value::Null));
    let events: Vec<_> = report["sessions"].as_array().unwrap().iter().map(|s| s["events"].clone()).collect();
    assert_eq!(events, [2, 1, 0]);
    assert_eq!(mkdump(path, &["modules", "--etl", "ckcl.etl"]).0, Some(0));
    // A full dump whose layout is not known, with a copy behind its last page.
    let mut kernel = kernel(made::W19041);
    kernel.has_debugger_data = false;
    let behind = [kernel.machine().bitmap(), made::secondary(19041, &[etw])].concat();
    std::fs::write(path.join("full.dmp"), behind).unwrap();
    let report = json(path, &["sessions", "full.dmp"]);
    assert_eq!(report["origin"], "secondary-data");
    assert!(report["warnings"].to_string().contains("listed is what the kernel copied"), "{report}");
}

#[test]
fn the_json_is_what_the_schema_says() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/sessions.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut kernel = kernel(made::W19041);
    kernel.sessions[0].ipt = Some((1, vec![0x524]));
    std::fs::write(dir.path().join("memory.dmp"), kernel.machine().bitmap()).unwrap();
    let value = json(dir.path(), &["sessions", "memory.dmp", "--save", "2", "a.etl"]);
    assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
    // It notices each key that goes, and one that comes.
    for pointer in
        ["", "/layout", "/silos/0", "/sessions/0", "/sessions/0/left_out", "/sessions/0/buffer_list/0", "/saved/0"]
    {
        let object = value.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("no {pointer}"));
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
