//! Which modules Intel PT data touches: the addresses that its packets name, counted per module and thread, and the
//! modules that those reach by direct import calls, which leave no packet.

use std::collections::{BTreeMap, HashMap};

use intel_pt::{Error, Reason, scan_with_gaps};
use rayon::prelude::*;

/// A module's place in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// File name.
    pub name: String,
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

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
    /// The packets.
    pub bytes: &'a [u8],
}

/// What the scan of some streams found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// For each module of the list, in its order.
    pub modules: Vec<ModuleHits>,
    /// Addresses in no module, by page, in the order of addresses.
    pub unknown: Vec<UnknownPage>,
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

/// Addresses in no module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPage {
    /// The page's first address.
    pub address: u64,
    /// How often packets name an address in it.
    pub hits: u64,
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

/// Scans the streams, in parallel. Where modules overlap, an address belongs to the one with the higher base.
///
/// Memory is proportional to the number of different pages named, of which 3 bytes of packets name one at most.
pub fn touched(modules: &[Placed], streams: &[Stream<'_>]) -> Touched {
    let map = Map::new(modules);
    let scanned: Vec<_> = streams.par_iter().map(|stream| scan_stream(&map, stream.bytes)).collect();
    let mut found = Touched { modules: vec![ModuleHits::default(); modules.len()], ..Touched::default() };
    let mut unknown = BTreeMap::new();
    for (stream, (facts, pages)) in streams.iter().zip(scanned) {
        found.streams.push(facts);
        for ((module, page), hits) in pages {
            let Some(index) = module else {
                *unknown.entry(page).or_insert(0) += hits;
                continue;
            };
            let module = &mut found.modules[index];
            module.hits += hits;
            *module.by_thread.entry(stream.thread).or_insert(0) += hits;
            *module.by_page.entry(page - modules[index].base / PAGE).or_insert(0) += hits;
        }
    }
    found.unknown = unknown.into_iter().map(|(page, hits)| UnknownPage { address: page * PAGE, hits }).collect();
    found
}

/// How a module is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Packets name an address in it.
    Packets,
    /// No packet does, but an import call site of a reached module leads there.
    ImportClosure {
        /// The module that calls it, as an index; of several the first found, nearest to one that packets name.
        from: usize,
    },
}

/// Closes a set of modules over direct import calls: `touched` says for each module whether packets name it, `imports`
/// for each module the modules that its import call sites lead to, as indexes. With import optimization on such a call
/// leaves no packet, so a scan alone misses the modules that are entered by calls only. Indexes outside of the list are
/// left out.
pub fn closure(touched: &[bool], imports: &[Vec<usize>]) -> Vec<Option<Reach>> {
    let mut reach: Vec<_> = touched.iter().map(|touched| touched.then_some(Reach::Packets)).collect();
    let mut queue: std::collections::VecDeque<usize> = (0..touched.len()).filter(|&module| touched[module]).collect();
    while let Some(from) = queue.pop_front() {
        for &to in imports.get(from).into_iter().flatten() {
            if let Some(unreached @ None) = reach.get_mut(to) {
                *unreached = Some(Reach::ImportClosure { from });
                queue.push_back(to);
            }
        }
    }
    reach
}

/// Modules by address.
struct Map {
    /// First address, last address and index, by first address.
    ranges: Vec<(u64, u64, usize)>,
    /// The greatest last address of the ranges up to and with this one: where it lies below an address, none of them
    /// holds it.
    reach: Vec<u64>,
    /// Every module begins and ends at a page's edge, as real ones do, so a page tells the module.
    aligned: bool,
}

impl Map {
    fn new(modules: &[Placed]) -> Self {
        let range = |(index, module): (usize, &Placed)| {
            let last = module.base.saturating_add(module.size.checked_sub(1)?);
            Some((module.base, last, index))
        };
        let mut ranges: Vec<_> = modules.iter().enumerate().filter_map(range).collect();
        ranges.sort_unstable();
        let mut most = 0;
        let reach = ranges.iter().map(|range| {
            most = most.max(range.1);
            most
        });
        let aligned = ranges.iter().all(|range| range.0 % PAGE == 0 && range.1 % PAGE == PAGE - 1);
        Self { reach: reach.collect(), ranges, aligned }
    }

    fn find(&self, ip: u64) -> Option<usize> {
        let mut at = self.ranges.partition_point(|range| range.0 <= ip);
        while at > 0 && self.reach[at - 1] >= ip {
            at -= 1;
            if self.ranges[at].1 >= ip {
                return Some(self.ranges[at].2);
            }
        }
        None
    }
}

type Pages = HashMap<(Option<usize>, u64), u64>;

/// A page that was hit lately.
#[derive(Clone, Default)]
struct Near {
    page: u64,
    module: Option<usize>,
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

fn scan_stream(map: &Map, bytes: &[u8]) -> (StreamFacts, Pages) {
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
            if slot.hits == 0 || slot.page != page || !map.aligned {
                slot.flush(&mut pages);
                *slot = Near { page, module: map.find(hit.ip), hits: 0 };
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

    use proptest::prelude::*;
    use testkit::pt::{Compression, PacketWriter, mixed_trace};

    use super::{Placed, Reach, Stream, Thread, UnknownPage, closure, touched};

    fn module(name: &str, base: u64, size: u64) -> Placed {
        Placed { name: name.to_owned(), base, size }
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
        let modules = [module("b.sys", KERNEL + 0x10_0000, 0x3000), module("nt.exe", KERNEL, 0x2000)];
        let first = trace(&[KERNEL, KERNEL + 0x1fff, KERNEL + 0x2000, KERNEL + 0x10_2fff, KERNEL + 0x2008]);
        let second = [b"\x11\x22".to_vec(), trace(&[KERNEL + 5]), vec![0xc9]].concat();
        let threads = [Thread { pid: 4, tid: 8 }, Thread { pid: 4, tid: 12 }];
        let streams = [
            Stream { thread: threads[0], bytes: &first },
            Stream { thread: threads[1], bytes: &second },
            Stream { thread: threads[0], bytes: &first },
        ];
        let found = touched(&modules, &streams);
        assert_eq!((found.modules[0].hits, found.modules[1].hits), (2, 5));
        assert_eq!(found.modules[1].by_thread, BTreeMap::from([(threads[0], 4), (threads[1], 1)]));
        assert_eq!(found.modules[1].by_page, BTreeMap::from([(0, 3), (1, 2)]));
        assert_eq!(found.modules[0].by_page, BTreeMap::from([(2, 2)]));
        assert_eq!(found.unknown, [UnknownPage { address: KERNEL + 0x2000, hits: 4 }]);
        let facts = &found.streams[1];
        assert_eq!((facts.psb, facts.hits, facts.before_sync, facts.gap_count), (1, 1, 2, 1));
        assert_eq!(facts.gaps[0].offset(), second.len() - 1);
    }

    #[test]
    fn modules_that_share_a_page_or_addresses_are_told_apart() {
        let modules =
            [module("low", KERNEL, 0x1800), module("high", KERNEL + 0x1800, 0x1000), module("in", KERNEL + 8, 8)];
        let bytes = trace(&[KERNEL + 0x17ff, KERNEL + 0x1800, KERNEL + 7, KERNEL + 8, KERNEL + 16]);
        let found = touched(&modules, &[Stream { thread: Thread::default(), bytes: &bytes }]);
        let hits: Vec<_> = found.modules.iter().map(|module| module.hits).collect();
        assert_eq!((hits, found.unknown.len()), (vec![3, 1, 1], 0));
    }

    #[test]
    fn direct_calls_reach_modules_that_no_packet_names() {
        let imports = vec![vec![1], vec![2, 0], vec![3, 9], vec![], vec![3]];
        assert_eq!(
            closure(&[true, false, false, false, false], &imports),
            [
                Some(Reach::Packets),
                Some(Reach::ImportClosure { from: 0 }),
                Some(Reach::ImportClosure { from: 1 }),
                Some(Reach::ImportClosure { from: 2 }),
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
            let modules: Vec<_> = cuts.iter().map(|cut| module("m", KERNEL + cut.0 * 0x777, cut.1 * 0x33)).collect();
            let found = touched(&modules, &[Stream { thread: Thread::default(), bytes: &bytes }]);
            let inside = |ip: u64| {
                let holding = modules.iter().enumerate().filter(|(_, module)| ip >= module.base && ip - module.base < module.size);
                holding.max_by_key(|(index, module)| (module.base, module.size, *index)).map(|(index, _)| index)
            };
            let mut expected = vec![0; modules.len()];
            let mut unknown = 0;
            ips.iter().for_each(|ip| match inside(*ip) {
                Some(index) => expected[index] += 1,
                None => unknown += 1,
            });
            prop_assert_eq!(found.modules.iter().map(|module| module.hits).collect::<Vec<_>>(), expected);
            prop_assert_eq!(found.unknown.iter().map(|page| page.hits).sum::<u64>(), unknown);
        }
    }
}
