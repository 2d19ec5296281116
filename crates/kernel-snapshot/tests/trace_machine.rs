//! What a trace says about its machine: only what it gives evidence of.

use kernel_snapshot::{Architecture, Silent, Source, Wanted};
use testkit::trace::{Payload, TraceFile};

const SEQUENTIAL: u32 = 0x1;
const PRIVATE: u32 = 0x800;
const PRIVATE_IN_PROC: u32 = 0x2_0000;

fn architecture(mode: u32, pointer_size: u8, lab: Option<&str>, full: bool) -> Option<Architecture> {
    let mut trace = TraceFile::new();
    (trace.mode, trace.pointer_size) = (mode, pointer_size);
    if let Some(lab) = lab {
        trace.payload(0, 1_000_000, &Payload::BuildInfo { lab: lab.to_owned(), product: "Windows".to_owned() });
    }
    if full {
        trace.payload(0, 1_000_000, &Payload::ConfigCpu { computer: "X".to_owned(), processors: 1 });
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.etl");
    std::fs::write(&path, trace.finish()).unwrap();
    let source = Source::open_etl(&path).unwrap();
    let reading = source.read(Wanted::default(), &Silent).unwrap();
    reading.snapshot.machine.architecture
}

#[test]
fn the_architecture_needs_evidence() {
    use Architecture::{Amd64, Arm64, X86};
    let cases = [
        // The pointer size of a log of the kernel is the machine's; that of a process's own log is the process's.
        (SEQUENTIAL, 4, None, false, Some(X86)),
        (SEQUENTIAL | PRIVATE, 4, None, false, None),
        (SEQUENTIAL | PRIVATE_IN_PROC, 4, None, false, None),
        // 8 bytes may be x64 or ARM64.
        (SEQUENTIAL, 8, None, false, None),
        (SEQUENTIAL, 8, Some("26100.1.amd64fre.ge_release.240331-1435"), false, Some(Amd64)),
        (SEQUENTIAL, 8, Some("26100.1.arm64fre.ge_release.240331-1435"), false, Some(Arm64)),
        (SEQUENTIAL, 8, Some("9600.1.amd64chk.x.1"), false, Some(Amd64)),
        (SEQUENTIAL | PRIVATE, 4, Some("22000.1.x86fre.co_release.210604-1628"), false, Some(X86)),
        (SEQUENTIAL, 8, Some("a lab of another shape"), false, None),
        // What the processor configuration says comes first.
        (SEQUENTIAL, 8, Some("26100.1.arm64fre.ge_release.240331-1435"), true, Some(Amd64)),
    ];
    for (mode, pointer_size, lab, full, expected) in cases {
        let found = architecture(mode, pointer_size, lab, full);
        assert_eq!(found, expected, "mode {mode:#x}, pointers of {pointer_size}, {lab:?}");
    }
}
