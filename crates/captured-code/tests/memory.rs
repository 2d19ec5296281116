//! Which bytes of a module a dump holds, and those of a place at the edge of them.

use captured_code::SiteScan;
use captured_code::memory::{PageBudget, Side, held};
use kernel_snapshot::dump::Dump;
use testkit::dump::kernel::Machine;

#[test]
fn a_place_at_the_edge_of_captured_memory_is_held_in_part() {
    let machine = Machine::sample();
    let module = &machine.modules[1];
    let range = module.base..module.base + u64::from(module.size);
    // The sample captures 16 bytes of the module, across a page's border: 0, 1, … 15.
    let captured = range.start + 0x2ff8..range.start + 0x3008;
    let file = machine.triage();
    let dump = Dump::open(&file).unwrap();
    assert_eq!(held(&dump, &range, &PageBudget::new()), std::slice::from_ref(&captured));
    assert_eq!(held(&dump, &(range.start..captured.start), &PageBudget::new()), []);
    let whole = Side::read(&dump, captured.start, 12);
    assert!(whole.is_whole(12) && whole.bytes == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "{whole:?}");
    let after = Side::read(&dump, captured.end - 3, 5);
    assert_eq!((after.hex(5).as_str(), after.is_whole(3), after.is_whole(4)), ("0d0e0f????", true, false));
    let before = Side::read(&dump, captured.start - 1, 2);
    assert_eq!((before.hex(2).as_str(), before.has(0), before.has(1)), ("??00", false, true));
}

#[test]
fn memory_without_sites_has_none() {
    let file = Machine::sample().triage();
    let dump = Dump::open(&file).unwrap();
    let mut found = Vec::new();
    SiteScan::new(&dump).for_each(|site| found.push(site));
    assert_eq!(found, []);
}
