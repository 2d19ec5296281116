//! Sessions in a dump as a source: Intel PT data, and modules that were gone when the dump was made.

use kernel_snapshot::{Silent, Source, Wanted};
use testkit::dump::sessions::{self as made, Buffer};
use testkit::trace::{Module, Payload};

fn image(tick: i64, hook: u16, name: &str, base: u64) -> Vec<u8> {
    let module = Module::kernel(&format!(r"\SystemRoot\System32\drivers\{name}"), base, 0x9000);
    Payload::Image { hook, version: 3, module }.event(tick, 8).encode()
}

/// The sample's kernel, whose session 20 has a snapshot of Intel PT data of thread 0x44.
fn kernel() -> made::Kernel {
    let mut kernel = made::sample();
    let trigger = Payload::ContextSwitch { new: 0x44, old: 0 }.event(3_000_000, 8).encode();
    let data =
        Payload::Ipt { trigger: 3_000_000, owner: (4, 0x44), options: 1, ring_offset: 0, data: vec![0x02, 0x82] };
    let unload = image(2_500_000, 0x1402, "early.sys", 0xffff_f804_1a00_0000);
    kernel.sessions[2].buffers = vec![Buffer::current(0, 1, &[unload, trigger, data.event(3_000_001, 8).encode()])];
    // The other session's clock began a second later.
    kernel.sessions[0].reference.0 += 10_000_000;
    kernel
}

#[test]
fn intel_pt_data_and_gone_modules_come_from_the_dumps_own_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory.dmp");
    let kernel = kernel();
    for dump in [kernel.machine().full(), kernel.machine().bitmap()] {
        std::fs::write(&path, dump).unwrap();
        let source = Source::open_dumps(std::slice::from_ref(&path)).unwrap();
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
        let found: Vec<_> = reading.ipt.iter().map(|snapshot| (snapshot.tid, snapshot.pieces[0].to_vec())).collect();
        assert_eq!(found, [(0x44, vec![0x02, 0x82])]);
        assert_eq!(reading.summary.ipt_events, 1);
        assert_eq!(reading.seconds(reading.ipt[0].trigger_time), Some(0.2));
        let gone = reading.snapshot.modules.iter().filter_map(|m| Some((m.name.as_str(), m.loaded, m.unloaded?)));
        let gone: Vec<_> = gone.collect();
        let expected = [("gone.sys", Some(11.0), 21.0), ("helper.sys", Some(61.0), 71.0), ("early.sys", None, 0.15)];
        assert_eq!(gone, expected);
        assert!(reading.notes.iter().any(|note| note.contains("session 20 (ipt)")), "{:?}", reading.notes);
        // Nobody asked for it.
        let reading = source.read(Wanted::default(), &Silent).unwrap();
        assert_eq!((reading.ipt.len(), reading.snapshot.modules.len()), (0, 2));
    }
}

#[test]
fn a_dump_without_such_sessions_is_read_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory.dmp");
    std::fs::write(&path, made::sample().machine().bitmap()).unwrap();
    let source = Source::open_dumps(&[path]).unwrap();
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
    assert_eq!((reading.ipt.len(), reading.snapshot.modules.len(), &reading.notes[..]), (0, 2, &[][..]));
}
