//! Function overrides (DVRT symbol 7): what a table says, the kernel's rules for it, and the walk that chooses.

use pe_image::{
    Bdd, Capabilities, Capability, Fixups, OverrideChoice, OverrideTarget, PeFile, Processor, ProcessorVendor, Symbol,
};
use testkit::Asm;
use testkit::image::{Driver, Entry};

/// ERMS ? 0 : 0x13B ? 1 : original. So memset is chosen in kernel images.
const MEMSET: &[(u16, u16, u32)] = &[(2, 1, 0), (1, 1, 0), (4, 3, 0x13b), (3, 3, 1), (0, 0, 0)];
/// 0x142 ? 0, or the kernel's own : original. So the guard thunk is chosen.
const GUARD: &[(u16, u16, u32)] = &[(2, 1, 0x142), (1, 1, 0), (0, 0, 0)];

/// A table with one override, field by field.
#[derive(Clone)]
struct Table {
    override_size: Option<u32>,
    original: u32,
    alternatives: Vec<u32>,
    page: u32,
    records: Vec<u16>,
    zeros_after_blocks: u32,
    version: u32,
    bdd_size: Option<u32>,
    nodes: Vec<(u16, u16, u32)>,
}

fn sound() -> Table {
    Table {
        override_size: None,
        original: 0x1040,
        alternatives: vec![0x1080, 0x10c0],
        page: 0x1000,
        records: vec![0x1101, 0x1105, 0x1ffd, 0],
        zeros_after_blocks: 0,
        version: 1,
        bdd_size: None,
        nodes: MEMSET.to_vec(),
    }
}

impl Table {
    fn payload(&self) -> Vec<u8> {
        let mut body = Asm::new();
        let blocks = 8 + 2 * self.records.len() as u32 + self.zeros_after_blocks;
        body.u32(self.original).u32(0).u32(4 * self.alternatives.len() as u32).u32(blocks);
        for &rva in &self.alternatives {
            body.u32(rva);
        }
        body.u32(self.page).u32(8 + 2 * self.records.len() as u32);
        for &record in &self.records {
            body.u16(record);
        }
        body.bytes(&vec![0; self.zeros_after_blocks as usize]);
        let body = body.finish();
        let mut asm = Asm::new();
        asm.u32(self.override_size.unwrap_or(body.len() as u32)).bytes(&body);
        asm.u32(self.version).u32(self.bdd_size.unwrap_or(8 * self.nodes.len() as u32));
        for &(left, right, value) in &self.nodes {
            asm.u16(left).u16(right).u32(value);
        }
        asm.finish()
    }

    /// The first rule that is broken, in an image with code from 0x1000 to 0x3000 and 0x6000 bytes or so.
    fn fault(&self) -> String {
        let mut driver = Driver::new("driver.sys");
        driver.code(".text", 0x2000);
        driver.entries.push(Entry { symbol: 7, payload: self.payload() });
        let built = driver.build();
        let file = PeFile::parse(&built.bytes).unwrap();
        let table = file.dvrt().unwrap().unwrap();
        let entry = table.entries_of(Symbol::FUNCTION_OVERRIDE).next().unwrap();
        let Fixups::FunctionOverrides(parsed) = entry.fixups() else { panic!() };
        let checked = parsed.and_then(|overrides| overrides.check(file.headers()));
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

#[test]
fn the_kernels_rules() {
    assert_eq!(sound().fault(), "");
    // A site that ends in the next page, and an ordinary last record without padding.
    assert_eq!(Table { records: vec![0x1101, 0x1fff], ..sound() }.fault(), "");
    // The first record of a block may have offset 0.
    assert_eq!(Table { page: 0x2000, records: vec![0x1000, 0], ..sound() }.fault(), "");
    // Padding is padding whatever its type.
    assert_eq!(Table { records: vec![0x1101, 0x5000], ..sound() }.fault(), "");

    let check = |change: &dyn Fn(&mut Table), expected: &str| {
        let mut table = sound();
        change(&mut table);
        let fault = table.fault();
        assert!(fault.contains(expected), "{expected}: {fault:?}");
    };
    check(&|table| table.override_size = Some(0), "FuncOverrideSize is 0x0");
    check(&|table| table.original = 0x3ff, "OriginalRva is 0x3ff, allowed is 0x400 to");
    check(&|table| table.original = 0x7fff_0000, "OriginalRva is 0x7fff0000");
    check(&|table| table.alternatives.clear(), "RvaSize is 0x0, allowed is at least 4");
    check(&|table| table.alternatives[1] = 0x7fff_0000, "Rva is 0x7fff0000");
    check(&|table| table.page = 0x1004, "VirtualAddress is 0x1004, allowed is the start of a page");
    check(&|table| table.records.clear(), "SizeOfBlock is 0x8");
    check(&|table| table.records = vec![0x1101], "BaseRelocSize is 0xa");
    check(&|table| table.zeros_after_blocks = 8, "BaseRelocSize is 0x18, allowed is 0x10, what its blocks take");
    check(&|table| table.records = vec![0x1105, 0x1101], "record's offset is 0x101, allowed is an offset after");
    check(&|table| table.records = vec![0x1101, 0x1104], "record's offset is 0x104, allowed is an offset after");
    check(&|table| table.records = vec![0x1101, 0x0105], "record's type is 0x0");
    check(&|table| table.records = vec![0x4101, 0], "record's type is 0x4");
    check(&|table| table.records = vec![0x0000, 0], "record's type is 0x0");
    check(&|table| table.records = vec![0x2102, 0], "record's offset is 0x102, allowed is a multiple of 4 on ARM64");
    check(&|table| table.records = vec![0x1101, 0, 0x1200, 0], "record is 0x1200, allowed is padding");
    check(&|table| table.page = 0x7fff_0000, "record's offset is 0x101, allowed is an offset inside the image");
    check(&|table| table.version = 2, "Version is 0x2, allowed is 1");
    check(&|table| table.bdd_size = Some(0), "BDDSize is 0x0");
    check(&|table| table.bdd_size = Some(0x24), "BDDSize is 0x24");
    check(&|table| table.nodes[0] = (0, 0, 0), "branch of a node is 0x0, allowed is 1 to 4");
    check(&|table| table.nodes[0] = (2, 5, 0), "branch of a node is 0x5, allowed is 1 to 4");
    check(&|table| table.nodes[2] = (1, 3, 0), "branch of a node is 0x1, allowed is 3 to 4");
    check(&|table| table.nodes[3] = (3, 3, 2), "Value of an outcome is 0x2, allowed is less than 2");
}

/// Hands the diagram of these nodes, from a file that holds it, to `then`.
fn with_diagram<T>(nodes: &[(u16, u16, u32)], then: impl FnOnce(&Bdd) -> T) -> T {
    let table = Table { nodes: nodes.to_vec(), ..sound() };
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x2000);
    driver.entries.push(Entry { symbol: 7, payload: table.payload() });
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let table = file.dvrt().unwrap().unwrap();
    let Fixups::FunctionOverrides(Ok(overrides)) = table.entries[0].fixups() else { panic!() };
    then(&overrides.bdd(&overrides.overrides[0]).unwrap())
}

fn choose(nodes: &[(u16, u16, u32)], capabilities: &Capabilities, system: &[u32]) -> OverrideChoice {
    with_diagram(nodes, |bdd| bdd.choose(capabilities, |capability| system.contains(&capability)))
}

#[test]
fn walks() {
    use OverrideTarget::{Alternative, Original, System};
    let check = |nodes, set: &[u32], system: &[u32], expected| {
        let choice = choose(nodes, &Capabilities::exactly(set), system);
        assert_eq!((choice.target, &choice.assumed[..]), (expected, &[][..]), "{set:x?} {system:x?}");
    };
    for (set, expected) in
        [(&[][..], Original), (&[0x13b], Alternative(1)), (&[0, 0x13b], Alternative(0)), (&[0x142], Original)]
    {
        check(MEMSET, set, &[0x142], expected);
    }
    for (set, expected) in [(&[][..], Original), (&[0x13b], Original), (&[0, 0x13b], Original)] {
        check(GUARD, set, &[0x142], expected);
    }
    check(GUARD, &[0x142], &[0x142], System(0x142));
    check(GUARD, &[0x142], &[], Alternative(0));
    // Only the first node can lead to a function of the kernel.
    check(&[(2, 1, 0), (1, 1, 0), (4, 3, 0x142), (3, 3, 1), (0, 0, 0)], &[0x142], &[0x142], Alternative(1));
    // A capability that no kernel has is clear.
    check(&[(2, 1, 0x161), (1, 1, 0), (0, 0, 0)], &[0x161], &[0x161], Original);
    // Diagrams that go in circles end.
    check(&[(1, 1, 0), (2, 0, 0)], &[], &[], Original);
}

#[test]
fn what_is_not_known_of_a_machine_makes_a_choice_assumed() {
    let check = |nodes, processor: &Processor, expected: (OverrideTarget, &[u32])| {
        let choice = choose(nodes, &Capabilities::of_kernel(processor), &[0x142]);
        assert_eq!((choice.target, &choice.assumed[..]), expected, "{processor:?}");
    };
    let intel = Processor { vendor: Some(ProcessorVendor::Intel), ..Processor::default() };
    check(GUARD, &Processor::default(), (OverrideTarget::System(0x142), &[]));
    check(MEMSET, &Processor::default(), (OverrideTarget::Alternative(1), &[0]));
    check(MEMSET, &intel, (OverrideTarget::Alternative(0), &[0]));
    check(MEMSET, &Processor { erms: Some(true), ..intel }, (OverrideTarget::Alternative(0), &[]));
    check(MEMSET, &Processor { erms: Some(false), ..intel }, (OverrideTarget::Alternative(1), &[]));

    // The bits of CPUID.1:EAX: a Kaby Lake, 0x906E9, is family 6, model 0x9E.
    let known = Capabilities::of_kernel(&Processor { signature: Some(0x9_06e9), fsrm: Some(true), ..intel });
    let set: Vec<u32> = (0..0x170).filter(|&number| known.get(number) == Capability::Set).collect();
    assert_eq!(set, [1, 6, 7, 8, 11 + 0xe, 27 + 9, 43 + 6, 59, 0x13b, 0x13f, 0x140, 0x142, 0x146]);
    assert_eq!(known.get(0), Capability::AssumedSet);
    assert_eq!(known.get(2), Capability::AssumedClear);
    assert_eq!(known.get(0x14b), Capability::AssumedClear);
    assert_eq!(known.with(2, true).get(2), Capability::Set);
}

#[test]
fn what_a_choice_says_about_the_machine() {
    use OverrideTarget::{Alternative, Original, System};
    // Capabilities 0, 1 and 2 are assumed, 0x13b and 0x142 are known to be set.
    let unknown = Capabilities::of_kernel(&Processor { vendor: Some(ProcessorVendor::Intel), ..Processor::default() });
    let known = |set| unknown.clone().with(0, set);
    let check = |nodes, target, capabilities: &Capabilities, system: &[u32], expected: Option<&[(u32, bool)]>| {
        let has_system = |number| system.contains(&number);
        let found = with_diagram(nodes, |bdd| bdd.requirements(target, capabilities, has_system));
        assert_eq!(found.as_deref(), expected, "{nodes:x?} {target:?} {system:x?}");
    };
    check(MEMSET, Alternative(0), &unknown, &[], Some(&[(0, true)]));
    check(MEMSET, Alternative(1), &unknown, &[], Some(&[(0, false)]));
    check(MEMSET, Original, &unknown, &[], None);
    check(MEMSET, System(0), &unknown, &[], None);
    // What is known needs no vote, and rules out what contradicts it.
    check(MEMSET, Alternative(0), &known(true), &[], Some(&[]));
    check(MEMSET, Alternative(0), &known(false), &[], None);
    check(MEMSET, Alternative(1), &known(false), &[], Some(&[]));
    check(MEMSET, Alternative(1), &known(true), &[], None);
    // A function of the kernel's own takes the place of what is behind the first node.
    check(MEMSET, System(0), &unknown, &[0], Some(&[(0, true)]));
    check(MEMSET, Alternative(0), &unknown, &[0], None);
    check(MEMSET, Alternative(1), &unknown, &[0], Some(&[(0, false)]));
    check(MEMSET, System(0), &known(false), &[0], None);
    check(GUARD, System(0x142), &unknown, &[0x142], Some(&[]));
    check(GUARD, Alternative(0), &unknown, &[0x142], None);
    check(GUARD, Original, &unknown, &[0x142], None);
    check(GUARD, Alternative(0), &unknown, &[], Some(&[]));
    // Only of the first node.
    let second = &[(2, 1, 0), (1, 1, 0), (4, 3, 2), (3, 3, 1), (0, 0, 0)];
    check(second, Alternative(1), &unknown, &[2], Some(&[(0, false), (2, true)]));
    check(second, Original, &unknown, &[2], Some(&[(0, false), (2, false)]));
    check(second, System(2), &unknown, &[2], None);
    // Both, and one or the other.
    let both = &[(2, 1, 0), (2, 3, 2), (0, 0, 0), (3, 3, 0)];
    check(both, Alternative(0), &unknown, &[], Some(&[(0, true), (2, true)]));
    check(both, Original, &unknown, &[], Some(&[]));
    let equal = &[(2, 1, 0), (4, 3, 2), (3, 4, 2), (3, 3, 0), (4, 4, 1)];
    check(equal, Alternative(0), &unknown, &[], Some(&[]));
    check(equal, Alternative(1), &known(true), &[], Some(&[(2, false)]));
    // Diagrams that go in circles end.
    check(&[(1, 1, 0), (2, 0, 0)], Original, &unknown, &[], None);
}
