//! The four checks of branches, each failed once, and the words for what they find.

use intel_pt::Reason;
use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Checks, ErrorKind, Evidence, Finding, Found, Knowledge, Need, NoKnowledge,
    Ranges, Stop, Table, Walker,
};
use testkit::pt::{Compression, PacketWriter};

const LOW: Compression = Compression::Low16;

/// 1000: call rax; ret · 2000: ret · 3000: jmp rcx, after eight nops · 4000: call rax; jmp rcx
fn code() -> Vec<(u64, &'static [u8])> {
    vec![
        (0x1000, &[0xff, 0xd0, 0xc3]),
        (0x2000, &[0xc3]),
        (0x2ff8, &[0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe1]),
        (0x4000, &[0xff, 0xd0, 0xff, 0xe1]),
    ]
}

/// A trace that begins at 0x1000 and whose indirect branches lead to `targets`.
fn trace(targets: &[u64]) -> Vec<u8> {
    let mut trace = PacketWriter::new();
    trace.psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
    for &target in targets {
        trace.tip(target, LOW);
    }
    trace.finish()
}

/// Walks through `targets` and expects the findings, each with the branch's address, and so many good branches.
#[track_caller]
fn check(knowledge: impl Knowledge, targets: &[u64], expected: &[(u64, &str)], good: usize) {
    let (code, bytes) = (code(), trace(targets));
    let code = code.as_slice();
    let mut checks = Checks::new(&code, knowledge, Ranges::default());
    assert_eq!(Walker::new(&bytes).run(&mut Blocks::new(code), &mut checks), Stop::End);
    let found: Vec<(u64, String)> =
        checks.findings().iter().map(|(branch, finding)| (branch.from, finding.to_string())).collect();
    let expected: Vec<(u64, String)> = expected.iter().map(|(from, text)| (*from, (*text).to_owned())).collect();
    assert_eq!((found, checks.good()), (expected, good), "{targets:x?}");
    assert!(!checks.inner.list().is_empty(), "everything is passed on");
}

/// Knows the import at 1000, the functions at 2000 and 4000, and a call before 3000.
struct Known;

impl Knowledge for Known {
    fn import(&self, from: u64) -> Option<u64> {
        (from == 0x1000).then_some(0x2000)
    }

    fn function(&self, address: u64) -> Option<bool> {
        Some(matches!(address, 0x2000 | 0x4000))
    }

    fn after_call(&self, address: u64) -> Option<bool> {
        (address == 0x3000).then_some(true)
    }
}

#[test]
fn each_check_fails_once() {
    // Call, return to the caller, return to where no call is, jump, call again.
    let unknown = (0x1002, "no call ends where the return goes");
    check(NoKnowledge, &[0x2000, 0x1002, 0x3000, 0x1000, 0x2000], &[unknown], 4);
    // The same, but that the place after the second return is known to follow a call.
    check(Known, &[0x2000, 0x1002, 0x3000, 0x1000, 0x2000], &[], 5);
    // A return past the caller, to where another call ends.
    check(NoKnowledge, &[0x2000, 0x4002], &[(0x2000, "the last call returns to 0x1002")], 1);
    // The import slot leads elsewhere.
    check(Known, &[0x4000], &[(0x1000, "the import slot leads to 0x2000")], 0);
    // Calls from 4000 go through no slot, and 3000 is not a function.
    check(
        Known,
        &[0x2000, 0x4002, 0x4000, 0x3000],
        &[(0x2000, "the last call returns to 0x1002"), (0x4000, "no function starts where the call goes")],
        2,
    );
}

#[test]
fn the_list_of_findings_is_bounded() {
    // 1000: call rax, to 1000, again and again.
    let targets = vec![0x1000; 5000];
    let (code, bytes) = (code(), trace(&targets));
    let code = code.as_slice();
    let mut checks = Checks::new(&code, Known, Ranges::default());
    assert_eq!(Walker::new(&bytes).run(&mut Blocks::new(code), &mut checks), Stop::End);
    assert_eq!((checks.findings().len(), checks.good()), (4096, 904));
}

#[test]
fn branches_have_a_text() {
    let (code, bytes) = (code(), trace(&[0x2000, 0x4002, 0x1000]));
    #[derive(Default)]
    struct Texts(Vec<String>);
    impl intel_pt::flow::Visitor for Texts {
        fn blocks(&mut self, _: &Table, _: &[BlockId]) {}

        fn part(&mut self, _: &Table, _: BlockId, _: u32) {}

        fn branch(&mut self, branch: &Branch) {
            self.0.push(branch.to_string());
        }
    }
    let mut texts = Texts::default();
    assert_eq!(Walker::new(&bytes).run(&mut Blocks::new(code.as_slice()), &mut texts), Stop::End);
    assert_eq!(
        texts.0,
        [
            "indirect call from 0x1000 to 0x2000",
            "return from 0x2000 to 0x4002, the last call was before 0x1002",
            "indirect jump from 0x4002 to 0x1000",
        ]
    );
    assert_eq!(BranchKind::Far.to_string(), "far transfer");
    assert_eq!(Finding::NotAfterCall.to_string(), "no call ends where the return goes");
    let evidence = Evidence::default().to_string();
    assert!(evidence.ends_with("bits: 0 returns, 0 indirect branches, 0 addresses"), "{evidence}");
}

/// libipt's names are those of `enum pt_error_code` in its `intel-pt.h`.
#[test]
fn errors_have_libipts_names_and_a_cause() {
    for (kind, name, cause) in [
        (ErrorKind::Packet(Reason::BeforeSync), "nosync", "damaged trace data"),
        (ErrorKind::Packet(Reason::Truncated { packet: "tsc", needs: 8, has: 3 }), "eos", "the trace was cut"),
        (ErrorKind::NoMemory, "nomap", "the module at this address is not in the image"),
        (ErrorKind::BadInstruction, "bad_insn", "wrong version of the module, or code that was changed"),
        (ErrorKind::Mismatch { needs: Need::Tnt, found: Found::Tip }, "bad_query", "wrong version of the module; or"),
        (ErrorKind::BadReturn, "bad_retcomp", "lost synchronisation"),
        (ErrorKind::ReturnStackEmpty, "retstack_empty", "lost synchronisation"),
        (ErrorKind::NotReached { event: 1 }, "bad_query", "wrong version of the module, or lost"),
        (ErrorKind::EndlessLoop, "bad_query", "wrong code"),
        (ErrorKind::NoAddress, "noip", "damaged trace data"),
        (ErrorKind::NotEnabled, "no_enable", "damaged trace data"),
    ] {
        assert_eq!(kind.libipt_name(), name, "{kind:?}");
        assert!(kind.likely_cause().starts_with(cause), "{kind:?}: {}", kind.likely_cause());
    }
}
