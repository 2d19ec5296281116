//! The experiments that fool "decode with both images and see which fails first": return compression and deferred TIPs
//! hide the wrong form. The verdict tells them apart.
//!
//! ```text
//! 100000: call [slot]; nop        the import site, 12 bytes; or a direct call to the same function
//! 10000c: jz +1; nop; nop; …      the code after it
//! 100015: nop; …; ret             the imported function
//! ```

use call_forms::{Answer, Importer, Input, Says, Site, detect};
use testkit::pt::{Compression, PacketWriter};

const BASE: u64 = 0x10_0000;
const FUNCTION: u64 = BASE + 0x15;

struct Experiment {
    name: &'static str,
    /// Code from 10000c to the function.
    after: [u8; 9],
    function: &'static [u8],
    /// Packets after PSB+.
    packets: fn(&mut PacketWriter),
    /// What the trace was recorded on.
    truth: Answer,
}

const PLAIN: [u8; 9] = [0x74, 0x01, 0x90, 0x90, 0x90, 0x90, 0xf4, 0x90, 0x90];
/// With `jmp rbx` after the branch.
const INDIRECT: [u8; 9] = [0x74, 0x01, 0x90, 0x90, 0xff, 0xe3, 0xf4, 0x90, 0x90];
const STRAIGHT: &[u8] = &[0x90, 0x90, 0x90, 0x90, 0xc3];
const BRANCHES: &[u8] = &[0x90, 0x74, 0x01, 0x90, 0xc3];

const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        // With the direct form a decoder takes the import's TIP for the return's, runs the function twice, and is
        // content.
        name: "e1: recorded as linked, the function does not branch",
        after: PLAIN,
        function: STRAIGHT,
        packets: |w| {
            w.tip(FUNCTION, Compression::Signed48).tnt(&[true, false]);
            end(w, BASE + 0x10);
        },
        truth: Answer::Off,
    },
    Experiment {
        name: "e2: recorded as linked, the function branches",
        after: PLAIN,
        function: BRANCHES,
        packets: |w| {
            w.tip(FUNCTION, Compression::Signed48).tnt(&[false, true, false]);
            end(w, BASE + 0x10);
        },
        truth: Answer::Off,
    },
    Experiment {
        name: "e3: recorded with direct calls, no TIP follows",
        after: PLAIN,
        function: STRAIGHT,
        packets: |w| {
            w.tnt(&[true, false]);
            end(w, BASE + 0x10);
        },
        truth: Answer::On,
    },
    Experiment {
        // With the linked form a decoder takes a later TIP for a deferred one of the call.
        name: "e4: recorded with direct calls, a TIP follows the TNT",
        after: INDIRECT,
        function: STRAIGHT,
        packets: |w| {
            w.tnt(&[true, false]).tip(BASE + 0x13, Compression::Signed48);
            end(w, BASE + 0x14);
        },
        truth: Answer::On,
    },
    Experiment {
        name: "e4: recorded as linked, a TIP follows the TNT",
        after: INDIRECT,
        function: STRAIGHT,
        packets: |w| {
            w.tip(FUNCTION, Compression::Signed48).tnt(&[true, false]).tip(BASE + 0x13, Compression::Signed48);
            end(w, BASE + 0x14);
        },
        truth: Answer::Off,
    },
];

fn end(writer: &mut PacketWriter, ip: u64) {
    writer.fup(ip, Compression::Signed48).pgd(0, Compression::Suppressed);
}

#[test]
fn counter_examples() {
    for experiment in EXPERIMENTS {
        let linked = [0x48, 0xff, 0x15, 0x13, 0, 0, 0, 0x0f, 0x1f, 0x44, 0, 0];
        let direct = [0x4c, 0x8b, 0x15, 0x13, 0, 0, 0, 0xe8, 0x09, 0, 0, 0];
        let mut writer = PacketWriter::new();
        writer.psb().fup(BASE, Compression::Signed48).mode(0, 1).psbend();
        (experiment.packets)(&mut writer);
        let trace = writer.finish();
        // Which form the image at hand has must not matter.
        for site in [linked, direct] {
            let code = [&site[..], &experiment.after, experiment.function].concat();
            let code: &[(u64, &[u8])] = &[(BASE, &code)];
            let importer = Importer {
                name: "driver.sys".to_owned(),
                sites: vec![Site {
                    va: BASE,
                    slot: BASE + 0x1a,
                    target: Some(FUNCTION),
                    call: true,
                    can_be_direct: true,
                }],
                stub: None,
            };
            // One witness is too few for a verdict, but its vote is right; four of them decide.
            for (streams, expected) in [(1, Answer::Undecided), (4, experiment.truth)] {
                let verdict = detect(&Input::new(code, vec![importer.clone()], vec![&trace; streams]));
                let votes = &verdict.per_module[0].votes;
                let right = if experiment.truth == Answer::On { votes.on } else { votes.off };
                assert_eq!((right, votes.on + votes.off), (streams as u32, streams as u32), "{}", experiment.name);
                assert_eq!(verdict.import_optimization, expected, "{}", experiment.name);
                let evidence = &votes.evidence[0];
                assert_eq!((evidence.site, evidence.expected), (BASE, FUNCTION));
                assert_eq!(evidence.says, if experiment.truth == Answer::On { Says::On } else { Says::Off });
            }
        }
    }
}

#[test]
fn no_sites_no_question() {
    let code: &[(u64, &[u8])] = &[];
    let importer = Importer { name: "old.sys".to_owned(), sites: Vec::new(), stub: None };
    let verdict = detect(&Input::new(code, vec![importer], vec![]));
    assert_eq!(verdict.import_optimization, Answer::Irrelevant);
    assert_eq!(verdict.per_module[0].import_optimization, Answer::Irrelevant);
}

/// Driver Verifier and shims let a slot point at a function of their own. Such a site votes for neither form, and what it
/// shows is kept over all streams.
#[test]
fn redirected_slots_are_counted_and_told() {
    let linked = [0x48, 0xff, 0x15, 0x13, 0, 0, 0, 0x0f, 0x1f, 0x44, 0, 0];
    let bytes = [&linked[..], &PLAIN, BRANCHES].concat();
    let hook = BASE + 0x1000;
    let code: &[(u64, &[u8])] = &[(BASE, &bytes), (hook, STRAIGHT)];
    let mut writer = PacketWriter::new();
    writer.psb().fup(BASE, Compression::Signed48).mode(0, 1).psbend();
    // As a direct call, the function would have to take a TNT bit before any TIP.
    writer.tip(hook, Compression::Signed48).tnt(&[true, false]);
    end(&mut writer, BASE + 0x10);
    let trace = writer.finish();
    let site = Site { va: BASE, slot: BASE + 0x1a, target: Some(FUNCTION), call: true, can_be_direct: true };
    let importer = Importer { name: "driver.sys".to_owned(), sites: vec![site], stub: None };
    let starts = |address| Some(address == hook || address == FUNCTION);
    let input = Input { function_start: &starts, ..Input::new(code, vec![importer], vec![&trace; 3]) };
    let verdict = detect(&input);
    let votes = &verdict.per_module[0].votes;
    assert_eq!((votes.redirected, votes.on, votes.off, votes.contradictory), (3, 0, 0, 0));
    let told: Vec<(usize, Says)> = votes.evidence.iter().map(|evidence| (evidence.stream, evidence.says)).collect();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(_, says)| *says == Says::Redirected { to: hook }), "{told:?}");
    assert_eq!(verdict.import_optimization, Answer::Undecided);
}

/// A function of 20,000 jumps to the next instruction: each packet that leads there costs as much as it all, in the walk and
/// in the tests of both forms.
#[test]
fn work_is_in_proportion_to_the_packets() {
    const LONG: usize = 20_000;
    let linked = [0x48, 0xff, 0x15, 0x13, 0, 0, 0, 0x0f, 0x1f, 0x44, 0, 0];
    // The site, then the function; it ends with a jump that takes a TIP.
    let mut bytes = linked.to_vec();
    bytes.resize((FUNCTION - BASE) as usize, 0x90);
    bytes.extend([0xeb, 0x00].repeat(LONG));
    bytes.extend([0xff, 0xe0]);
    let code: &[(u64, &[u8])] = &[(BASE, &bytes)];
    let site = Site { va: BASE, slot: BASE + 0x1a, target: Some(FUNCTION), call: true, can_be_direct: true };
    let importer = Importer { name: "driver.sys".to_owned(), sites: vec![site], stub: None };
    for (name, tips, to) in [("the walk", 4000, FUNCTION), ("the tests", 4000, BASE), ("few", 2, BASE)] {
        let mut writer = PacketWriter::new();
        writer.psb().fup(BASE, Compression::Signed48).mode(0, 1).psbend();
        (0..tips).for_each(|_| _ = writer.tip(to, Compression::Low16));
        let trace = writer.finish();
        let verdict = detect(&Input::new(code, vec![importer.clone()], vec![&trace]));
        // What the documentation of `detect` and of `Walker` promises.
        let most = (1 << 18) + (1 << 16) + (4096 + 512) * trace.len() as u64;
        assert!(verdict.steps <= most, "{name}: {} steps", verdict.steps);
        match verdict.given_up {
            Some(first) if tips > 2 => {
                assert!(first.count > 0 && first.stream == 0 && first.offset < trace.len(), "{name}: {first:?}");
                assert!((BASE..BASE + bytes.len() as u64).contains(&first.address), "{name}: {first:?}");
            }
            given_up => assert!(tips == 2 && given_up.is_none(), "{name}: {given_up:?}"),
        }
    }
}
