//! Which modules Intel PT data touches: the addresses that its packets name, counted per module and thread, and the
//! modules that those reach by direct import calls, which leave no packet.

use std::collections::{BTreeMap, HashMap};

use address_map::{AddressMap, ModuleId, Owners};
use intel_pt::{Error, Reason, scan_with_gaps};
use rayon::prelude::*;

/// A thread, as the trace names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
}

/// Packets of one thread, in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// The thread.
    pub thread: Thread,
    /// When it was taken, in seconds from the start of the trace; `None` when not known.
    pub time: Option<f64>,
    /// The packets.
    pub bytes: &'a [u8],
}

/// What the scan of some streams found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// For each module of the map, in its order.
    pub modules: Vec<ModuleHits>,
    /// Pages in no module, in the order of addresses: the first address, and how often packets name an address in it.
    pub unknown: Vec<(u64, u64)>,
    /// For each stream, in order.
    pub streams: Vec<StreamFacts>,
}

/// Addresses in a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleHits {
    /// How often packets name an address in it.
    pub hits: u64,
    /// The same for each thread, in the order of threads.
    pub by_thread: BTreeMap<Thread, u64>,
    /// The same for each page of the module that has any: pages from the base on, in order.
    pub by_page: BTreeMap<u64, u64>,
}

/// What a scan of one stream went over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// PSB packets.
    pub psb: u64,
    /// Addresses.
    pub hits: u64,
    /// Times the processor lost packets.
    pub overflows: u64,
    /// Bytes before the first PSB: the end of what was overwritten.
    pub before_sync: u64,
    /// What could not be read after that: the first [`StreamFacts::GAPS`] of them.
    pub gaps: Vec<Error>,
    /// How many gaps there are.
    pub gap_count: u64,
}

impl StreamFacts {
    /// Gaps that are kept one by one; a stream of noise has one every few bytes.
    pub const GAPS: usize = 64;
}

/// Pages are 4 KiB.
pub const PAGE: u64 = 0x1000;

/// Scans the streams, in parallel. An address belongs to the module that owned it when its stream was taken, or at
/// `moment` where that time is not known.
///
/// Memory is proportional to the number of different pages named: a page takes at least 3 bytes of packets.
pub fn touched(map: &AddressMap, moment: f64, streams: &[Stream<'_>]) -> Touched {
    // A page determines the module when modules begin and end at the edges of pages, as real ones do.
    let aligned = map.claims().iter().all(|claim| claim.base % PAGE == 0 && claim.size % PAGE == 0 && claim.size > 0);
    let scan = |stream: &Stream<'_>| {
        let owners = map.at(stream.time.unwrap_or(moment));
        scan_stream(&owners, aligned, stream.bytes)
    };
    let scanned: Vec<_> = streams.par_iter().map(scan).collect();
    let mut found = Touched { modules: vec![ModuleHits::default(); map.claims().len()], ..Touched::default() };
    let mut unknown = BTreeMap::new();
    for (stream, (facts, pages)) in streams.iter().zip(scanned) {
        found.streams.push(facts);
        for ((module, page), hits) in pages {
            let Some(ModuleId(index)) = module else {
                *unknown.entry(page).or_insert(0) += hits;
                continue;
            };
            let module = &mut found.modules[index];
            module.hits += hits;
            *module.by_thread.entry(stream.thread).or_insert(0) += hits;
            *module.by_page.entry(page - map.claims()[index].base / PAGE).or_insert(0) += hits;
        }
    }
    found.unknown = unknown.into_iter().map(|(page, hits)| (page * PAGE, hits)).collect();
    found
}

/// How a module is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Packets name an address in it.
    Packets,
    /// No packet does, but an import call site of a reached module leads there.
    ImportClosure {
        /// The module that calls it; of several the first found, nearest to one that packets name.
        from: ModuleId,
    },
}

/// Closes a set of modules over direct import calls: `touched` says for each module whether packets name it, `imports`
/// for each module the modules that its import call sites lead to. With import optimization on such a call
/// leaves no packet, so a scan alone misses the modules that are entered by calls only. Modules outside of the list are
/// left out.
pub fn closure(touched: &[bool], imports: &[Vec<ModuleId>]) -> Vec<Option<Reach>> {
    let mut reach: Vec<_> = touched.iter().map(|touched| touched.then_some(Reach::Packets)).collect();
    let mut queue: std::collections::VecDeque<usize> = (0..touched.len()).filter(|&module| touched[module]).collect();
    while let Some(from) = queue.pop_front() {
        for to in imports.get(from).into_iter().flatten() {
            if let Some(unreached @ None) = reach.get_mut(to.0) {
                *unreached = Some(Reach::ImportClosure { from: ModuleId(from) });
                queue.push_back(to.0);
            }
        }
    }
    reach
}

type Pages = HashMap<(Option<ModuleId>, u64), u64>;

/// A page that was hit lately.
#[derive(Clone, Default)]
struct Near {
    page: u64,
    module: Option<ModuleId>,
    hits: u64,
}

impl Near {
    /// A table for so many bytes of packets; a long stream gets around.
    fn table(len: usize) -> Vec<Self> {
        vec![Self::default(); (len / 256).next_power_of_two().clamp(1 << 10, 1 << 15)]
    }

    fn flush(&mut self, pages: &mut Pages) {
        if self.hits > 0 {
            *pages.entry((self.module, self.page)).or_insert(0) += self.hits;
            self.hits = 0;
        }
    }
}

fn scan_stream(owners: &Owners, aligned: bool, bytes: &[u8]) -> (StreamFacts, Pages) {
    let mut pages = Pages::new();
    // Code runs in few places for a while: a small table in front of the map takes nearly all of the hits.
    let mut near = Near::table(bytes.len());
    let mut facts = StreamFacts::default();
    let totals = scan_with_gaps(
        bytes,
        |hit| {
            let page = hit.ip / PAGE;
            let slot = page as usize & (near.len() - 1);
            let slot = &mut near[slot];
            if slot.hits == 0 || slot.page != page || !aligned {
                slot.flush(&mut pages);
                *slot = Near { page, module: owners.owner(hit.ip), hits: 0 };
            }
            slot.hits += 1;
        },
        |gap| {
            if gap.reason() == Reason::BeforeSync {
                facts.before_sync += gap.skipped() as u64;
            } else {
                facts.gap_count += 1;
                if facts.gaps.len() < StreamFacts::GAPS {
                    facts.gaps.push(gap);
                }
            }
        },
    );
    near.iter_mut().for_each(|slot| slot.flush(&mut pages));
    (StreamFacts { psb: totals.psb, hits: totals.hits, overflows: totals.overflows, ..facts }, pages)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use address_map::{AddressMap, Claim, ModuleId};
    use proptest::prelude::*;
    use testkit::pt::{Compression, PacketWriter, mixed_trace};

    use super::{PAGE, Reach, Stream, Thread, closure, touched};

    fn module(base: u64, size: u64) -> Claim {
        Claim { base, size, loaded: None, unloaded: None, has_file: false }
    }

    fn trace(ips: &[u64]) -> Vec<u8> {
        let mut trace = PacketWriter::new();
        trace.psb().psbend();
        for ip in ips {
            trace.tip(*ip, Compression::Shortest);
        }
        trace.finish()
    }

    const KERNEL: u64 = 0xffff_f803_1000_0000;

    #[test]
    fn hits_are_counted_by_module_thread_and_page() {
        let map = AddressMap::new([module(KERNEL + 0x10_0000, 0x3000), module(KERNEL, 0x2000)]);
        let first = trace(&[KERNEL, KERNEL + 0x1fff, KERNEL + 0x2000, KERNEL + 0x10_2fff, KERNEL + 0x2008]);
        let second = [b"\x11\x22".to_vec(), trace(&[KERNEL + 5]), vec![0xc9]].concat();
        let threads = [Thread { pid: 4, tid: 8 }, Thread { pid: 4, tid: 12 }];
        let streams = [
            Stream { thread: threads[0], time: None, bytes: &first },
            Stream { thread: threads[1], time: None, bytes: &second },
            Stream { thread: threads[0], time: None, bytes: &first },
        ];
        let found = touched(&map, 0.0, &streams);
        assert_eq!((found.modules[0].hits, found.modules[1].hits), (2, 5));
        assert_eq!(found.modules[1].by_thread, BTreeMap::from([(threads[0], 4), (threads[1], 1)]));
        assert_eq!(found.modules[1].by_page, BTreeMap::from([(0, 3), (1, 2)]));
        assert_eq!(found.modules[0].by_page, BTreeMap::from([(2, 2)]));
        assert_eq!(found.unknown, [(KERNEL + 0x2000, 4)]);
        let facts = &found.streams[1];
        assert_eq!((facts.psb, facts.hits, facts.before_sync, facts.gap_count), (1, 1, 2, 1));
        assert_eq!(facts.gaps[0].offset(), second.len() - 1);
    }

    /// Hits of each module, then those in no module.
    fn hits(claims: &[Claim], moment: f64, stream: Stream<'_>) -> (Vec<u64>, u64) {
        let found = touched(&AddressMap::new(claims.iter().copied()), moment, &[stream]);
        let unknown = found.unknown.iter().map(|page| page.1).sum();
        (found.modules.iter().map(|module| module.hits).collect(), unknown)
    }

    #[test]
    fn modules_that_share_a_page_are_told_apart() {
        let modules = [module(KERNEL, 0x1800), module(KERNEL + 0x1800, 0x1000)];
        let bytes = trace(&[KERNEL + 0x17ff, KERNEL + 0x1800, KERNEL + 7, KERNEL + 0x27ff, KERNEL + 0x2800]);
        let stream = Stream { thread: Thread::default(), time: None, bytes: &bytes };
        assert_eq!(hits(&modules, 0.0, stream), (vec![2, 2], 1));
    }

    #[test]
    fn an_address_belongs_to_its_owner_at_the_time_of_the_stream() {
        let modules = [
            Claim { unloaded: Some(1.0), ..module(KERNEL, 0x9000) },
            Claim { loaded: Some(2.0), ..module(KERNEL, 0x3000) },
        ];
        // 7 addresses that both have held, 2 that only the larger module has.
        let bytes = trace(&[[KERNEL + 0x1000; 7].as_slice(), &[KERNEL + 0x5000; 2]].concat());
        let cases = [
            (Some(0.5), 9.0, vec![9, 0], 0),
            (Some(2.5), 0.0, vec![0, 7], 2),
            (None, 0.0, vec![9, 0], 0),
            (None, 9.0, vec![0, 7], 2),
        ];
        for (time, moment, expected, unknown) in cases {
            let stream = Stream { thread: Thread::default(), time, bytes: &bytes };
            assert_eq!(hits(&modules, moment, stream), (expected, unknown), "{time:?} {moment}");
        }
    }

    #[test]
    fn direct_calls_reach_modules_that_no_packet_names() {
        let ids = |ids: &[usize]| ids.iter().copied().map(ModuleId).collect::<Vec<_>>();
        let imports = [ids(&[1]), ids(&[2, 0]), ids(&[3, 9]), ids(&[]), ids(&[3])];
        assert_eq!(
            closure(&[true, false, false, false, false], &imports),
            [
                Some(Reach::Packets),
                Some(Reach::ImportClosure { from: ModuleId(0) }),
                Some(Reach::ImportClosure { from: ModuleId(1) }),
                Some(Reach::ImportClosure { from: ModuleId(2) }),
                None,
            ]
        );
        assert_eq!(closure(&[false, true], &[]), [None, Some(Reach::Packets)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn every_hit_is_counted_once(seed in any::<u64>(), cuts in proptest::collection::vec((0u64..0x1_0000, 0u64..0x2_0000), 0..20)) {
            let (bytes, ips) = mixed_trace(seed, 20_000);
            // Pages are whole in every other case: they take the short way.
            let unit = if seed % 2 == 0 { (0x777, 0x33) } else { (PAGE, PAGE) };
            let modules: Vec<_> = cuts.iter().map(|cut| module(KERNEL + cut.0 % 0x1000 * unit.0, cut.1 * unit.1)).collect();
            let map = AddressMap::new(modules.iter().copied());
            let stream = Stream { thread: Thread::default(), time: None, bytes: &bytes };
            let found = touched(&map, 0.0, &[stream]);
            let owners = map.at(0.0);
            let inside = |ip: u64| owners.owner(ip).map(|module| module.0);
            let mut expected = vec![0; modules.len()];
            let mut unknown = 0;
            ips.iter().for_each(|ip| match inside(*ip) {
                Some(index) => expected[index] += 1,
                None => unknown += 1,
            });
            prop_assert_eq!(found.modules.iter().map(|module| module.hits).collect::<Vec<_>>(), expected);
            prop_assert_eq!(found.unknown.iter().map(|page| page.1).sum::<u64>(), unknown);
        }
    }
}
