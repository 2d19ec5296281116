//! A recording in several files: one list of modules, or a reason why they are not one recording.

use std::path::{Path, PathBuf};

use kernel_snapshot::{Silent, Source, SourceErrorKind, Wanted};
use testkit::trace::{Payload, RecordingSet, TraceFile};

const WANTED: Wanted = Wanted { user_modules: false, ipt: true };

fn put(directory: &Path, files: &[(&str, &TraceFile)]) -> Vec<PathBuf> {
    let put = |(name, trace): &(&str, &TraceFile)| {
        let path = directory.join(name);
        std::fs::write(&path, trace.finish()).unwrap();
        path
    };
    files.iter().map(put).collect()
}

/// Name, seconds from the start of the recording to the load and to the unload.
type Life = (String, Option<f64>, Option<f64>);

fn lives(paths: &[PathBuf]) -> Vec<Life> {
    let source = Source::open_etls(paths).unwrap();
    let reading = source.read(WANTED, &Silent).unwrap();
    assert_eq!(reading.warnings, [""; 0]);
    assert_eq!(reading.siblings, [""; 0]);
    let modules = reading.snapshot.modules.iter();
    modules.map(|module| (module.name.clone(), module.loaded, module.unloaded)).collect()
}

#[test]
fn two_files_of_one_recording_are_read_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let RecordingSet { kernel, user } = RecordingSet::new();
    let mut paths = put(directory.path(), &[("t.kernel.etl", &kernel), ("t.etl", &user)]);
    let expected = [
        ("ntoskrnl.exe", None, None),
        ("a.sys", None, None),
        // What both files log is one life, from the first load to the first unload that either saw.
        ("b.sys", Some(5.0), Some(6.0)),
        ("c.sys", Some(7.0), None),
        ("d.sys", Some(8.0), None),
    ];
    let expected = expected.map(|(name, loaded, unloaded)| (name.to_owned(), loaded, unloaded));
    assert_eq!(expected.each_ref().map(|(name, ..)| &**name), RecordingSet::MODULES);
    assert_eq!(lives(&paths), expected);
    paths.reverse();
    assert_eq!(lives(&paths), expected, "in the other order");
    // The same file twice adds nothing.
    assert_eq!(lives(&[&paths[..], &paths[..1]].concat()), expected, "one of them twice");

    let source = Source::open_etls(&paths).unwrap();
    let reading = source.read(WANTED, &Silent).unwrap();
    assert_eq!(reading.summary.name, "t.etl, t.kernel.etl");
    assert_eq!((reading.summary.processors, reading.summary.duration), (Some(4), Some(100.0)));
    // Intel PT data of both, by processor, each at its time from the start of the kernel's session.
    let snapshots = |paths: &[PathBuf]| {
        let source = Source::open_etls(paths).unwrap();
        let reading = source.read(WANTED, &Silent).unwrap();
        let found = reading.ipt.iter().map(|snapshot| (snapshot.processor, reading.seconds(snapshot.trigger_time)));
        found.collect::<Vec<_>>()
    };
    assert_eq!(snapshots(&paths), [(1, Some(8.0)), (2, Some(9.0))]);
    // A merged file beside one that it was merged from: what both hold is there once.
    let copy = put(directory.path(), &[("copy.etl", &kernel)]);
    assert_eq!(snapshots(&[&paths[..], &copy].concat()), [(1, Some(8.0)), (2, Some(9.0))]);
    assert_eq!(source.path(), paths[0]);
    assert!(source.paths().eq(paths.iter()));
}

/// Changes the user session's file, and expects it to be refused with these words.
fn refused(change: impl FnOnce(&mut RecordingSet), expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut set = RecordingSet::new();
    change(&mut set);
    let paths = put(directory.path(), &[("kernel.etl", &set.kernel), ("user.etl", &set.user)]);
    let source = Source::open_etls(&paths).unwrap();
    let error = source.read(WANTED, &Silent).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NotOneRecording, "{error:?}");
    let expected = format!("user.etl is not of the recording of kernel.etl: its {expected}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains(&expected), "{cause}\n{expected}");
}

#[test]
fn files_of_other_recordings_are_refused_with_what_differs() {
    const MINUTE: i64 = 60 * 10_000_000;
    refused(|set| set.user.windows.2 = 22631, "Windows version is 10.0.22631, there it is 10.0.26100");
    refused(|set| set.user.pointer_size = 4, "pointer size is 4, there it is 8");
    refused(|set| (set.user.mode, set.user.processors) = (1, 8), "number of processors is 8, there it is 4");
    refused(|set| set.user.clock = 2, "clock is system time, there it is performance counter");
    refused(|set| set.user.perf_frequency = 24_000_000, "clock is 24000000 ticks per second, there it is 10000000");
    refused(|set| set.user.boot_time += 2 * MINUTE, "boot time is 2024-");
    refused(|set| set.user.start_time += 2 * MINUTE, "zero of the performance counter is 2024-");
    let name = |trace: &mut TraceFile, computer: &str| {
        let computer = computer.to_owned();
        trace.payload(0, 1_000_000, &Payload::ConfigCpu { computer, processors: 4 });
    };
    refused(
        |set| {
            name(&mut set.kernel, "LAB1");
            name(&mut set.user, "LAB2");
        },
        "computer name is LAB2, there it is LAB1",
    );
}

#[test]
fn the_clock_may_be_set_a_little_while_windows_runs() {
    let directory = tempfile::tempdir().unwrap();
    let RecordingSet { kernel, mut user } = RecordingSet::new();
    user.boot_time += 10_000_000;
    let paths = put(directory.path(), &[("kernel.etl", &kernel), ("user.etl", &user)]);
    assert_eq!(lives(&paths).len(), RecordingSet::MODULES.len());
}

#[test]
fn a_file_by_itself_names_those_beside_it_that_may_hold_what_it_lacks() {
    let directory = tempfile::tempdir().unwrap();
    let RecordingSet { kernel, user } = RecordingSet::new();
    let mut lonely = TraceFile::new();
    (lonely.start_time, lonely.start_tick) = (user.start_time, user.start_tick);
    let mut other_boot = kernel.clone();
    other_boot.boot_time -= 864_000_000_000;
    let mut later = kernel.clone();
    (later.start_time, later.end_time) = (user.end_time + 10_000_000, user.end_time + 20_000_000);
    later.start_tick += user.end_time + 10_000_000 - kernel.start_time;
    let paths = put(
        directory.path(),
        &[("t.etl", &lonely), ("t.kernel.etl", &kernel), ("boot.etl", &other_boot), ("later.etl", &later)],
    );
    std::fs::write(directory.path().join("noise.etl"), "not a trace").unwrap();
    let siblings = |path: &Path| {
        let source = Source::open_etl(path).unwrap();
        source.read(WANTED, &Silent).unwrap().siblings
    };
    assert_eq!(siblings(&paths[0]), ["t.kernel.etl"]);
    // This one lacks nothing.
    assert_eq!(siblings(&paths[1]), [""; 0]);
}
