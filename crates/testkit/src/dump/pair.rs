//! Two dumps of one made-up machine that differ in ways that are known byte by byte: import sites in other forms,
//! retpolines, relocations, function overrides, breakpoints, and bytes that were flipped for no reason at all.
//!
//! Each module is laid out as a list of items, each of which is put into one of its forms in either dump, by
//! arithmetic of this file's own. What differs afterwards is compared byte by byte and told by item: the expectation.

mod code;
mod forms;

use std::collections::{BTreeMap, BTreeSet};

use crate::dump::kernel::{Machine, Module};
use crate::dump::user::{Recipe, RecipeModule, RecipeRange};
use crate::image::{Built, kernel};
use crate::pt::Rng;

use code::{Item, Laid, lay_out};

/// What a pair should be like.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// All else follows from it.
    pub seed: u64,
    /// Flipped bytes, per module.
    pub flips: usize,
    /// Breakpoints, per module.
    pub breakpoints: usize,
    /// Nobody has the modules' files: only what the bytes tell differs, that is import and retpoline sites, and flips keep
    /// away from both.
    pub without_files: bool,
}

/// Two dumps, and what telling them apart must give.
#[derive(Clone, Debug)]
pub struct Pair {
    /// File names and contents of the modules, the kernel first.
    pub files: Vec<(String, Vec<u8>)>,
    /// The dump under test.
    pub dump: Vec<u8>,
    /// The real one.
    pub real: Vec<u8>,
    /// Kinds of both, for messages.
    pub kinds: [Kind; 2],
    /// By module name.
    pub expected: BTreeMap<String, Expected>,
}

/// Kinds of dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// User minidump with MemoryList.
    User,
    /// User minidump with Memory64List.
    User64,
    /// Kernel triage dump.
    Triage,
    /// Kernel full dump.
    Full,
    /// Kernel bitmap dump.
    Bitmap,
}

/// What is expected of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Bytes that both dumps hold.
    pub bytes: u64,
    /// Places and bytes by class; a class that is not there has none.
    pub classes: BTreeMap<&'static str, (u64, u64)>,
    /// RVAs of the bytes that nothing explains.
    pub unexplained: BTreeSet<u32>,
}

/// A driver whose file nobody has, from which others import.
const ABSENT: (&str, u64, u32) = ("absent.sys", 0xffff_f804_2800_0000, 0x9000);
const KERNEL: u64 = 0xffff_f804_2000_0000;
/// Of the drivers: the third lies where no direct call reaches the kernel.
const BASES: [u64; 3] = [0xffff_f804_2100_0000, 0xffff_f804_2200_0000, 0xffff_f805_4000_0000];
/// What [`Recipe`] writes as every module's TimeDateStamp.
const STAMP: u32 = 0x5f5e_1000;
/// The same of CheckSum.
const CHECKSUM: u32 = 0x1234;
/// Functions that the kernel exports, 16 bytes apart.
const EXPORTS: [&str; 4] = ["ExAllocatePool2", "ExFreePool", "KeBugCheck", "IoCallDriver"];

/// A module's memory in both dumps.
struct Memory {
    name: String,
    base: u64,
    size: u32,
    ours: Vec<u8>,
    real: Vec<u8>,
    /// RVAs that the real dump holds, ascending; it does not hold what lies between.
    held: Vec<std::ops::Range<u32>>,
    stubs: bool,
}

impl Pair {
    /// The pair that follows from a wish.
    pub fn random(wish: &Wish) -> Pair {
        let rng = &mut Rng::new(wish.seed);
        let kinds = [Kind::User, Kind::User64, Kind::Triage, Kind::Full, Kind::Bitmap];
        let kinds = [*rng.pick(&kinds), *rng.pick(&kinds)];
        let mut nt = kernel(&EXPORTS);
        nt.timestamp = STAMP;
        nt.checksum = CHECKSUM;
        let nt = nt.build();
        let drivers = rng.between(1, BASES.len());
        let mut pair = Pair {
            files: vec![("ntoskrnl.exe".into(), nt.bytes.clone())],
            dump: Vec::new(),
            real: Vec::new(),
            kinds,
            expected: BTreeMap::new(),
        };
        let mut memories = vec![kernel_memory(&nt)];
        for (number, &base) in BASES.iter().enumerate().take(drivers) {
            let laid = lay_out(number as u32, STAMP, wish.without_files, rng);
            let (memory, expected) = driver_memory(&laid, &nt, base, wish, kinds, rng);
            pair.files.push((laid.name.clone(), laid.built.bytes));
            pair.expected.insert(laid.name, expected);
            memories.push(memory);
        }
        let held = pair.expected.values().map(|expected| expected.bytes).sum::<u64>() > 0;
        assert!(held, "a pair that holds nothing tests nothing");
        let nt_bytes = memories[0].held.iter().map(|range| u64::from(range.end - range.start)).sum();
        pair.expected.insert("ntoskrnl.exe".into(), Expected { bytes: nt_bytes, ..Expected::default() });
        pair.dump = dump(kinds[0], &memories, |memory| (&memory.ours, whole(memory.ours.len() as u32)));
        pair.real = dump(kinds[1], &memories, |memory| (&memory.real, memory.held.clone()));
        pair
    }
}

fn kernel_memory(nt: &Built) -> Memory {
    let bytes = forms::mapped(nt, KERNEL);
    let size = bytes.len() as u32;
    let held = whole(size);
    Memory { name: "ntoskrnl.exe".into(), base: KERNEL, size, ours: bytes.clone(), real: bytes, held, stubs: false }
}

/// Puts every item into a form in each dump, damages the real one, and tells what came of it.
fn driver_memory(
    laid: &Laid,
    nt: &Built,
    base: u64,
    wish: &Wish,
    kinds: [Kind; 2],
    rng: &mut Rng,
) -> (Memory, Expected) {
    let place = forms::Place {
        base,
        built: &laid.built,
        linked: forms::mapped(&laid.built, forms::IMAGE_BASE),
        exports: std::array::from_fn(|index| KERNEL + u64::from(nt.section_rvas[0]) + 16 * index as u64),
        absent: ABSENT.1 + 0x1230,
        is_near: base.abs_diff(KERNEL) < 1 << 30,
    };
    let mut ours = forms::mapped(&laid.built, base);
    ours.resize(ours.len() + STUBS, 0xcc);
    let mut real = ours.clone();
    for item in &laid.items {
        let all = forms::forms(&item.item, item.rva, &place, wish.without_files);
        // In half of the items both dumps have the same form.
        let first = rng.pick(&all).clone();
        let second = if rng.chance(50) { first.clone() } else { rng.pick(&all).clone() };
        for (memory, form) in [(&mut ours, &first), (&mut real, &second)] {
            memory[item.rva as usize..][..form.bytes.len()].copy_from_slice(&form.bytes);
        }
    }
    let mut marks = Marks { taken: BTreeSet::new(), breakpoints: BTreeSet::new(), flips: BTreeSet::new() };
    let paged = [kinds[0], kinds[1]].iter().any(|kind| matches!(kind, Kind::Full | Kind::Bitmap));
    let held = held(laid, real.len() as u32, paged, rng);
    marks.breakpoints(laid, &ours, &mut real, wish, rng);
    marks.flips(laid, &ours, &mut real, &place, wish, rng);
    if !wish.without_files {
        write_data(laid, &mut real, rng);
    }
    let expected = expect(laid, &ours, &real, &held, &marks, &place, wish);
    let size = laid.built.size_of_image;
    let stubs = !wish.without_files;
    (Memory { name: laid.name.clone(), base, size, ours, real, held, stubs }, expected)
}

/// One range from the image's start on.
fn whole(size: u32) -> Vec<std::ops::Range<u32>> {
    std::iter::once(0..size).collect()
}

/// What of a module the real dump holds: all of it where memory comes in pages, else pieces that end between items.
fn held(laid: &Laid, size: u32, paged: bool, rng: &mut Rng) -> Vec<std::ops::Range<u32>> {
    let mut out = whole(size);
    if paged {
        return out;
    }
    for _ in 0..rng.below(6) {
        let (first, last) = (rng.below(laid.items.len()), rng.below(8));
        let from = &laid.items[first];
        let to = &laid.items[(first + last).min(laid.items.len() - 1)];
        // Only within a section: pointers and slots lie elsewhere.
        if from.rva < to.rva && to.rva - from.rva < 0x100 {
            let hole = from.rva..to.rva;
            out = out
                .into_iter()
                .flat_map(|part| [part.start..part.end.min(hole.start), part.start.max(hole.end)..part.end])
                .filter(|part| part.start < part.end)
                .collect();
        }
    }
    out
}

/// Bytes that were changed on purpose.
struct Marks {
    /// Starts of items that have a mark.
    taken: BTreeSet<u32>,
    breakpoints: BTreeSet<u32>,
    flips: BTreeSet<u32>,
}

impl Marks {
    fn breakpoints(&mut self, laid: &Laid, ours: &[u8], real: &mut [u8], wish: &Wish, rng: &mut Rng) {
        for _ in 0..wish.breakpoints {
            let item = rng.pick(&laid.items);
            let within = if matches!(item.item, Item::Import { .. }) && rng.chance(50) { 7 } else { 0 };
            let at = (item.rva + within) as usize;
            let fits = item.item.has_instruction() && !item.item.is_unbound() && ours[at] != 0xcc && real[at] != 0xcc;
            if fits && self.taken.insert(item.rva) {
                real[at] = 0xcc;
                self.breakpoints.insert(at as u32);
            }
        }
    }

    fn flips(
        &mut self,
        laid: &Laid,
        ours: &[u8],
        real: &mut [u8],
        place: &forms::Place<'_>,
        wish: &Wish,
        rng: &mut Rng,
    ) {
        for _ in 0..wish.flips {
            let at = rng.between(0x400, laid.built.size_of_image as usize - 1) as u32;
            let item = laid.item_at(at);
            let spared = item.is_some_and(|item| item.item.is_unbound() || self.taken.contains(&item.rva))
                || laid.is_writable(at)
                || wish.without_files && laid.is_near_site(at);
            let value = rng.bits() as u8;
            let index = at as usize;
            if spared || value == ours[index] || value == real[index] || value == 0xcc {
                continue;
            }
            let before = std::mem::replace(&mut real[index], value);
            // A flip that makes another form of the item, or leads half-way to one, cannot be told from it.
            let is_like_two = item.is_some_and(|item| {
                let all = forms::forms(&item.item, item.rva, place, wish.without_files);
                let stray = |form: &forms::Form| {
                    form.bytes.iter().zip(&real[item.rva as usize..]).filter(|(a, b)| a != b).count()
                };
                all.len() > 1 && all.iter().filter(|form| stray(form) <= 1).count() != 1
                    || all.len() > 1 && all.iter().any(|form| stray(form) == 0)
            });
            if is_like_two {
                real[index] = before;
                continue;
            }
            self.flips.insert(at);
            self.taken.extend(item.map(|item| item.rva));
        }
    }
}

/// The machine ran: its data changed.
fn write_data(laid: &Laid, real: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.below(5) {
        let at = laid.data.start as usize + rng.below(laid.data.len());
        real[at] = real[at].wrapping_add(rng.between(1, 255) as u8);
    }
}

/// Compares both memories byte by byte, and tells each difference by what was done there.
fn expect(
    laid: &Laid,
    ours: &[u8],
    real: &[u8],
    held: &[std::ops::Range<u32>],
    marks: &Marks,
    place: &forms::Place<'_>,
    wish: &Wish,
) -> Expected {
    let mut expected = Expected::default();
    let mut runs = BTreeMap::<&'static str, BTreeSet<u32>>::new();
    let mut items = BTreeMap::<u32, u64>::new();
    for part in held {
        // Stub pages behind the image count where the kernel's file tells of them.
        let end = if wish.without_files { part.end.min(laid.built.size_of_image) } else { part.end };
        for rva in part.start..end.max(part.start) {
            expected.bytes += 1;
            let at = rva as usize;
            if ours[at] == real[at] {
                continue;
            }
            if marks.breakpoints.contains(&rva) {
                let count = expected.classes.entry("breakpoint").or_default();
                *count = (count.0 + 1, count.1 + 1);
            } else if marks.flips.contains(&rva) {
                runs.entry("unexplained").or_default().insert(rva);
            } else if let Some(item) = laid.item_at(rva) {
                *items.entry(item.rva).or_default() += 1;
            } else {
                assert!(laid.is_writable(rva), "nothing was done at {rva:#x}");
                runs.entry("writable_data").or_default().insert(rva);
            }
        }
    }
    for (rva, bytes) in items {
        let item = laid.item_at(rva).expect("it was found before");
        let all = forms::forms(&item.item, item.rva, place, wish.without_files);
        // The form that the real dump was given: marks change one byte of it at most.
        let differs = |form: &forms::Form| {
            let bytes = form.bytes.iter().zip(&real[rva as usize..]);
            bytes.filter(|(a, b)| a != b).count()
        };
        let class = all.iter().min_by_key(|form| differs(form)).expect("an item has a form").class;
        let count = expected.classes.entry(class).or_default();
        *count = (count.0 + 1, count.1 + bytes);
    }
    for (class, bytes) in &runs {
        let starts = bytes.iter().filter(|&&rva| rva == 0 || !bytes.contains(&(rva - 1))).count() as u64;
        expected.classes.insert(class, (starts, bytes.len() as u64));
    }
    expected.unexplained = runs.remove("unexplained").unwrap_or_default();
    expected
}

/// Writes a dump of a kind.
fn dump<'m>(
    kind: Kind,
    memories: &'m [Memory],
    of: impl Fn(&'m Memory) -> (&'m Vec<u8>, Vec<std::ops::Range<u32>>),
) -> Vec<u8> {
    let mut ranges: Vec<(u64, Vec<u8>)> = Vec::new();
    for memory in memories {
        let (bytes, held) = of(memory);
        let end = if memory.stubs { bytes.len() as u32 } else { bytes.len().min(memory.size as usize) as u32 };
        for part in held {
            let part = part.start..part.end.min(end);
            if part.start < part.end {
                let bytes = bytes[part.start as usize..part.end as usize].to_vec();
                ranges.push((memory.base + u64::from(part.start), bytes));
            }
        }
    }
    let listed = || memories.iter().map(|memory| (memory.name.as_str(), memory.base, memory.size)).chain([ABSENT]);
    match kind {
        Kind::User | Kind::User64 => {
            let mut recipe = if kind == Kind::User { Recipe::good() } else { Recipe::good64() };
            recipe.ranges.drain(..2);
            let more = ranges.into_iter().map(|(start, bytes)| RecipeRange { start, bytes, size_error: 0 });
            recipe.ranges.extend(more);
            recipe.regions = Some(recipe.ranges.iter().map(|range| range.start).collect());
            let module = |(name, base, size): (&str, u64, u32)| RecipeModule {
                base,
                size,
                name: Some(NAMES.iter().find(|known| **known == name).expect("a name of this file")),
                codeview: Vec::new(),
            };
            recipe.modules = Some(listed().map(module).collect());
            recipe.build()
        }
        Kind::Triage | Kind::Full | Kind::Bitmap => {
            let mut machine = Machine::sample();
            machine.modules = listed()
                .map(|(name, base, size)| Module {
                    name: name.into(),
                    base,
                    size,
                    timestamp: STAMP,
                    checksum: CHECKSUM,
                })
                .collect();
            machine.memory = ranges.into_iter().collect();
            match kind {
                Kind::Triage => machine.triage(),
                Kind::Full => machine.full(),
                _ => machine.bitmap(),
            }
        }
    }
}

/// Names as a [`Recipe`] wants them.
const NAMES: [&str; 5] = ["ntoskrnl.exe", "driver0.sys", "driver1.sys", "driver2.sys", ABSENT.0];

/// Bytes of the stub pages behind an image.
const STUBS: usize = 0x1000;
