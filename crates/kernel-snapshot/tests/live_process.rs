//! An independent producer: minidump-writer dumps a live process on Linux, and our reader and validator take the file.
#![cfg(target_os = "linux")]

use std::io::{Cursor, Read};
use std::process::{Child, Command, Stdio};

use kernel_snapshot::dump::{Dump, Kind, ReadMemory};
use mdmp::{Severity, validate};
use minidump_writer::minidump_writer::MinidumpWriterConfig;

/// A process that waits until its input is closed.
struct Waiting(Child);

impl Waiting {
    fn start() -> Waiting {
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready; read line"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Waiting(child)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dump_of_a_live_process_is_read() {
    let process = Waiting::start();
    let id = process.0.id();
    let writer = MinidumpWriterConfig::new(id as i32, id as i32);
    let mut file = Cursor::new(Vec::new());
    if let Err(error) = writer.write(&mut file) {
        println!("SKIPPED: this system does not let a process be dumped: {error}");
        return;
    }
    let file = file.into_inner();

    let dump = Dump::open(&file).unwrap();
    assert_eq!(dump.kind(), Kind::UserMinidump);
    assert_eq!(dump.warnings(), [""; 0]);
    let modules = &dump.snapshot().modules;
    assert!(modules.len() > 1, "{modules:?}");
    assert!(modules.windows(2).all(|pair| pair[0].base <= pair[1].base));
    // The process has one thread; its stack is in the file, and reads as the thread's own range.
    let [thread] = dump.user_threads() else { panic!("{:?}", dump.user_threads()) };
    assert_eq!(thread.id, id);
    let (start, size) = thread.stack;
    let mut stack = vec![0; size as usize];
    assert!(size > 0 && dump.read(start, &mut stack) == stack.len(), "{start:#x}+{size:#x}");

    let report = validate(&file).unwrap();
    let refused: Vec<_> = report.at_least(Severity::Refused).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
