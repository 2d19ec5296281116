//! Any bytes at all: a sound kernel with a few places overwritten, and copies behind dumps likewise.

use proptest::prelude::*;
use testkit::dump::sessions::{self as made, LAYOUTS};

use super::{Pages, facts, kernel, types};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Reading and saving end, and give no more than there can be.
    #[test]
    fn overwritten_memory_is_read_to_an_end(
        layout in 0..LAYOUTS.len(),
        with_types: bool,
        pokes in prop::collection::vec((any::<prop::sample::Index>(), 0u64..0x2000, prop_oneof![
            Just(0u64), Just(u64::MAX), any::<u64>(), (0u64..0x80_0000).prop_map(|at| made::at::STATE + at),
        ]), 1..12),
    ) {
        let kernel = kernel(LAYOUTS[layout]);
        let mut machine = kernel.machine();
        let blocks: Vec<(u64, usize)> = machine.memory.iter().map(|(at, bytes)| (*at, bytes.len())).collect();
        for (block, offset, value) in pokes {
            let (at, length) = blocks[block.index(blocks.len())];
            if length >= 8 {
                machine.poke(at + (offset % (length as u64 - 7)), &value.to_le_bytes());
            }
        }
        let pages = Pages::of(&machine);
        let types = types(&kernel);
        let facts = facts(&machine, with_types.then_some(&types));
        if let Ok(sessions) = etw_sessions::read(&pages, &facts) {
            for session in &sessions.sessions {
                let saved = etw_sessions::save(session, &sessions.machine, &pages, Vec::new());
                if let Ok((file, saved)) = saved {
                    prop_assert_eq!(file.len() as u64, saved.bytes);
                    let trace = etl_file::Trace::parse(&file).unwrap();
                    let events = trace.buffers().map(|buffer| buffer.unwrap().plain_events().unwrap().count() as u64);
                    prop_assert_eq!(events.sum::<u64>(), saved.events);
                }
            }
        }
    }

    /// A copy that was cut or overwritten gives the sessions before the damage.
    #[test]
    fn a_damaged_copy_is_read_to_an_end(
        factor in 1usize..3,
        cut: prop::sample::Index,
        pokes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let sessions = kernel(made::W19041).sessions;
        let mut block = made::copied(19041, &sessions, factor, b"");
        for (at, value) in pokes {
            let at = at.index(block.len());
            block[at] = value;
        }
        block.truncate(cut.index(block.len() + 1));
        let found = etw_sessions::secondary::read(&block, 0x1000, 1, Default::default());
        prop_assert!(found.sessions.len() <= sessions.len() + 1);
        for session in &found.sessions {
            let _ = etw_sessions::save(session, &found.machine, &&block[..], Vec::new());
        }
        let behind = made::secondary(19041, &[("2b88b710-1c93-4f7c-b06c-655ecc50decc", block)]);
        let (blocks, _) = etw_sessions::secondary::blocks(&behind[..cut.index(behind.len())], 0);
        prop_assert!(blocks.len() <= 1);
    }
}
