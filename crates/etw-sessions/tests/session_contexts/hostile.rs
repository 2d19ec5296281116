//! Damaged memory, and memory made to mislead: what is sound is kept, the rest is reported with its place, and every search ends.

use etw_sessions::{Place, Sessions};
use testkit::dump::kernel::Machine;
use testkit::dump::sessions::{self as made, Buffer, Ring};

use super::{Pages, event, facts, kernel, types};

fn read(kernel: &made::Kernel, damage: impl FnOnce(&mut Machine)) -> Sessions {
    read_pages(kernel, damage, |_| {})
}

fn read_pages(kernel: &made::Kernel, damage: impl FnOnce(&mut Machine), lose: impl FnOnce(&mut Pages)) -> Sessions {
    let mut machine = kernel.machine();
    damage(&mut machine);
    let mut pages = Pages::of(&machine);
    lose(&mut pages);
    let types = types(kernel);
    etw_sessions::read(&pages, &facts(&machine, Some(&types))).unwrap()
}

/// Buffers of the first session that were found, and what the warnings say.
fn outcome(sessions: &Sessions) -> (usize, Vec<String>) {
    (sessions.sessions[0].buffers.len(), sessions.warnings.iter().map(ToString::to_string).collect())
}

/// At least one warning; all have places, and one says this.
fn check(what: &str, sessions: &Sessions, buffers: usize, says: &str) {
    let (found, warnings) = outcome(sessions);
    assert_eq!(found, buffers, "{what}: {warnings:#?}");
    assert!(warnings.iter().any(|warning| warning.contains(says)), "{what}: {warnings:#?}");
    assert!(sessions.warnings.iter().all(|warning| warning.place != Place::Address(0)), "{what}: {warnings:#?}");
    assert_eq!(sessions.sessions.len(), 4, "{what}: the others are there");
}

/// An array of links in the first session's ring, in either shape.
fn link(kernel: &made::Kernel, buffer: usize) -> u64 {
    match kernel.sessions[0].ring {
        Ring::Direct => kernel.buffer(0, buffer) + 0x38,
        Ring::Nodes => made::at::STATE + made::at::NODES + 0x20 * buffer as u64,
    }
}

#[test]
fn rings_that_lead_astray_end() {
    for ring in [Ring::Direct, Ring::Nodes] {
        let mut kernel = kernel(made::W19041B);
        kernel.sessions[0].ring = ring;
        let at = |buffer| link(&kernel, buffer);
        for (what, place, to, buffers, says) in [
            ("to itself", at(1), at(1), 4, "a link back to the entry"),
            ("a cycle without the head", at(2), at(0), 4, "a link back to the entry"),
            ("an address of a process", at(1), 0x7fff_0000, 4, "no address of the kernel"),
            ("an absent page", at(1), 0xffff_c08b_7777_0000, 4, "neither a buffer of the session nor a node"),
            ("the head's link into nothing", kernel.ring(0), 0xffff_c08b_7777_0000, 4, "neither a buffer"),
            ("back to the wrong entry", at(2) + 8, at(0), 4, "beside one from"),
        ] {
            let sessions = read(&kernel, |machine| machine.poke(place, &u64::to_le_bytes(to)));
            check(what, &sessions, buffers, says);
        }
        // Both directions are cut: what lies before each cut is kept.
        let sessions = read(&kernel, |machine| {
            machine.poke(at(0), &0u64.to_le_bytes());
            machine.poke(at(3) + 8, &u64::MAX.to_le_bytes());
        });
        check("both ways", &sessions, 2, "backwards after 2 buffers");
    }
}

#[test]
fn contexts_that_are_none_are_told() {
    let kernel = kernel(made::W22000B);
    let context = kernel.context(0);
    let sessions = read(&kernel, |machine| machine.poke(context, &9u32.to_le_bytes()));
    check("another id", &sessions, 4, "_WMI_LOGGER_CONTEXT.LoggerId");
    let sessions = read(&kernel, |machine| machine.poke(context, &[2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
    check("a huge buffer size", &sessions, 0, "_WMI_LOGGER_CONTEXT.BufferSize");
    let sessions = read(&kernel, |machine| machine.poke(kernel.silo_of(0), &0u64.to_le_bytes()));
    check("another silo", &sessions, 4, "_WMI_LOGGER_CONTEXT.SiloState");
    let sessions = read(&kernel, |machine| machine.poke(kernel.name_of(0), &[3, 0, 2, 0]));
    assert_eq!((sessions.sessions[0].name.as_deref(), sessions.sessions[1].name.is_some()), (None, true));
    // An entry of the array that points nowhere, and one that is not a pointer.
    for entry in [0xffff_c08b_7777_0000u64, 0x1234_5678] {
        let sessions = read(&kernel, |machine| machine.poke(kernel.slot(30), &entry.to_le_bytes()));
        check("a wild entry", &sessions, 4, "logger context 30");
    }
}

#[test]
fn a_layout_that_fits_nowhere_is_not_known() {
    let kernel = kernel(made::W19041);
    let unknown = |damage: &dyn Fn(&mut Machine), build: u32| {
        let mut machine = kernel.machine();
        damage(&mut machine);
        machine.build = build;
        let mut types = types(&kernel);
        types.structures.clear();
        types.symbols.remove("EtwpDebuggerData");
        machine.trace_sessions = 0;
        etw_sessions::read(&Pages::of(&machine), &facts(&machine, Some(&types))).is_err()
    };
    let state = |value: u64| {
        let kernel = &kernel;
        move |machine: &mut Machine| (0..4).for_each(|s| machine.poke(kernel.silo_of(s), &value.to_le_bytes()))
    };
    assert!(!unknown(&|_| {}, 19041), "it is known as it is");
    assert!(unknown(&state(0), 19041), "no context names its silo state");
    assert!(unknown(&|machine| machine.poke(made::at::STATE + 0x1c8, &0xffff_c08b_7777_0000u64.to_le_bytes()), 19041));
    for slots in [0u32, 15, 1025, u32::MAX] {
        assert!(unknown(&|machine| machine.poke(made::at::STATE + 0x10, &slots.to_le_bytes()), 19041), "{slots}");
    }
    // A build without a known kernel: here it is enough what all layouts that fit agree on.
    assert!(!unknown(&|_| {}, 99999));
    assert!(unknown(&state(0), 99999));
}

#[test]
fn buffers_that_are_not_read_are_counted() {
    let mut kernel = kernel(made::W17134);
    let buffer = |state: u32| Buffer { state, ..Buffer::current(0, 1, &[event(2_000_000, 1)]) };
    kernel.sessions[0].buffers = (2..=6).map(buffer).collect();
    kernel.sessions[0].buffers.push(Buffer { flags: 0x40, ..Buffer::current(0, 1, &[event(2_000_000, 1)]) });
    kernel.sessions[0].buffers.push(Buffer { kind: 2, ..Buffer::current(0, 1, &[event(2_000_000, 1)]) });
    let sessions = read(&kernel, |_| {});
    let session = &sessions.sessions[0];
    assert_eq!((session.buffers.len(), session.events()), (1, 1), "one that is being written is whole");
    let left_out = session.left_out;
    assert_eq!((left_out.compact, left_out.compressed, left_out.placeholders, left_out.all()), (2, 3, 1, 6));
}

#[test]
fn data_end_at_the_first_that_is_no_record() {
    let mut kernel = kernel(made::W19041);
    let good = event(2_000_000, 1);
    let cut = |tail: &[u8]| Buffer::current(0, 1, &[good.clone(), tail.to_vec()]);
    let mut overfull = Buffer::current(0, 1, &[good.clone(), event(3_000_000, 2)]);
    (overfull.current, overfull.saved) = (0x2100, 0);
    let mut too_long = event(3_000_000, 2);
    too_long[4..6].copy_from_slice(&0x7fffu16.to_le_bytes());
    kernel.sessions[0].buffers =
        vec![cut(&[0; 32]), cut(&[0xff; 32]), cut(&too_long), overfull, Buffer::current(0, 1, &[])];
    let sessions = read(&kernel, |_| {});
    let found: Vec<_> = sessions.sessions[0].buffers.iter().map(|b| (b.events, b.end, b.cut)).collect();
    assert_eq!(found, [(1, 0xa0, 0x20), (1, 0xa0, 0x20), (1, 0xb8, 0x38), (2, 0x2000, 0x1f48), (0, 0x48, 0)]);
    assert_eq!(sessions.warnings, [], "records that are being written look like that");
}

#[test]
fn pages_that_are_absent_lose_what_was_in_them() {
    let mut kernel = kernel(made::W19041);
    let many: Vec<Vec<u8>> = (0..100).map(|n| event(2_000_000 + n, n as u8)).collect();
    kernel.sessions[0].buffers = vec![Buffer::current(0, 1, &many), Buffer::current(1, 2, &[event(9_000_000, 1)])];
    for ring in [Ring::Direct, Ring::Nodes] {
        kernel.sessions[0].ring = ring;
        // The first buffer begins in the middle of a page; its second page is gone.
        let second = kernel.buffer(0, 0) + 0x1000;
        let sessions = read_pages(&kernel, |_| {}, |pages| pages.remove(second));
        let session = &sessions.sessions[0];
        let events = (0x800 - 0x48) / 56;
        assert_eq!((session.buffers[0].events, session.buffers[1].events), (events, 1));
        assert!(session.buffers[0].cut > 0);
        // All of it is gone: with nodes the others are still found, without them from the other side.
        let first = kernel.buffer(0, 0);
        let sessions = read_pages(&kernel, |_| {}, |pages| pages.remove(first));
        let session = &sessions.sessions[0];
        assert_eq!(session.buffers.len(), 1, "{ring:?}");
        assert_eq!(session.left_out.unreadable, u32::from(ring == Ring::Nodes));
    }
}

#[test]
fn no_more_is_read_than_a_dump_holds() {
    let kernel = kernel(made::W19041);
    let machine = kernel.machine();
    let types = types(&kernel);
    let facts = etw_sessions::Kernel { held: 2 * 0x48 + 8, ..facts(&machine, Some(&types)) };
    let sessions = etw_sessions::read(&Pages::of(&machine), &facts).unwrap();
    assert_eq!(sessions.sessions.len(), 4);
    assert_eq!(sessions.sessions.iter().map(etw_sessions::Session::events).sum::<u64>(), 0);
    assert!(
        sessions.warnings.iter().any(|warning| warning.to_string().contains("more than")),
        "{:?}",
        sessions.warnings
    );
}
