//! The kernel's copy of its sessions behind a dump: names once and twice, strays, damage.

use etw_sessions::{FileTime, Place, secondary};
use testkit::dump::sessions::{self as made, Buffer};

use super::{event, events, kernel};

const ETW: &str = "2b88b710-1c93-4f7c-b06c-655ecc50decc";

fn read(block: &[u8]) -> etw_sessions::Sessions {
    secondary::read(block, 0x1000, 4, FileTime(132_583_451_000_000_000))
}

fn list(sessions: &etw_sessions::Sessions) -> Vec<(u32, &str, usize, u64)> {
    let of = |s: &etw_sessions::Session| (s.id, s.buffers.len(), s.events());
    let named = sessions.sessions.iter().map(|s| (s.name.as_deref().unwrap(), of(s)));
    named.map(|(name, (id, buffers, events))| (id, name, buffers, events)).collect()
}

#[test]
fn names_are_there_once_or_twice() {
    let expected = [
        (2, "Circular Kernel Context Logger", 4, 5),
        (3, "Eventlog-Security", 2, 1),
        (20, "ipt", 0, 0),
        (63, "empty", 0, 0),
    ];
    let sessions = kernel(made::W19041).sessions;
    // What follows a name may look like the beginning of a session.
    let like_a_session = 0x01eb_afe1u32.to_le_bytes();
    for (build, factor, stray) in
        [(19041, 2, &b""[..]), (19041, 1, b""), (26100, 1, b""), (26100, 2, b""), (19041, 2, &like_a_session)]
    {
        let found = read(&made::copied(build, &sessions, factor, stray));
        assert_eq!((list(&found), &found.warnings[..]), (expected.to_vec(), &[][..]), "{build} × {factor}");
        let machine = &found.machine;
        assert_eq!((machine.build, machine.cpu_mhz, machine.timer_resolution), (build, 3593, 156_250));
    }
}

#[test]
fn a_copied_session_is_saved_in_order_of_time() {
    let block = made::copied(19041, &kernel(made::W19041).sessions, 2, b"");
    let found = read(&block);
    let (file, saved) = etw_sessions::save(&found.sessions[0], &found.machine, &&block[..], Vec::new()).unwrap();
    assert_eq!((saved.buffers, saved.events), (4, 6));
    let expected = [(1_000_000, 1), (3_000_000, 3), (4_000_000, 4), (5_000_000, 5), (6_000_000, 6)];
    assert_eq!(events(&file), expected);
    assert_eq!(etl_file::Trace::parse(&file).unwrap().header().perf_frequency, 10_000_000);
}

#[test]
fn damage_keeps_what_came_before() {
    let mut sessions = kernel(made::W19041).sessions;
    let whole = made::copied(19041, &sessions, 2, b"");
    let at = made::copied(19041, &sessions[..1], 2, b"").len();
    let check = |what: &str, block: &[u8], expected: usize, place: usize| {
        let found = read(block);
        assert_eq!(found.sessions.len(), expected, "{what}: {:?}", found.warnings);
        let places: Vec<Place> = found.warnings.iter().map(|warning| warning.place).collect();
        assert_eq!(places, [Place::File(0x1000 + place as u64)], "{what}");
    };
    let damaged = |offset: usize, bytes: &[u8]| {
        let mut block = whole.clone();
        block[offset..offset + bytes.len()].copy_from_slice(bytes);
        block
    };
    check("cut in a header", &whole[..at + 0x20], 1, at);
    check("another signature", &damaged(at, &[0; 4]), 1, at);
    check("a huge name", &damaged(at + 0x14, &[0xff; 4]), 1, at);
    check("a buffer size of 0", &damaged(at + 0x10, &[0; 4]), 1, at);
    check("nothing", &[], 0, 0);
    sessions[0].buffers = vec![Buffer::current(0, 1, &[event(2_000_000, 1)]); 2];
    let two = made::copied(19041, &sessions[..1], 2, b"");
    let second = two.len() - 0x80;
    check("cut in a buffer", &two[..two.len() - 8], 1, second);
}

#[test]
fn blocks_follow_each_other_to_the_end() {
    let empty = "00000000-0000-0000-0000-000000000000";
    let bytes = made::secondary(19041, &[(empty, vec![]), (ETW, vec![1; 13]), (ETW, vec![2; 8])]);
    let (blocks, warnings) = secondary::blocks(&bytes, 0x5000);
    let lengths: Vec<_> = blocks.iter().map(|block| (block.guid == secondary::ETW_GUID, block.data.len())).collect();
    assert_eq!((lengths, warnings), (vec![(false, 0), (true, 13), (true, 8)], vec![]));
    let (blocks, warnings) = secondary::blocks(&bytes[..bytes.len() - 1], 0x5000);
    assert_eq!((blocks.len(), warnings[0].place), (2, Place::File(0x5000 + 0x10 + 0x20 + 0x20 + 16)));
    assert_eq!(secondary::blocks(b"not a blob", 0), (vec![], vec![]));
}
