//! Which blocks a range touches, to the byte.

use super::PageIndex;
use crate::addr::Rva;
use crate::relocate::Blocks;

/// The pages of the blocks that may change bytes of a range.
fn touching(pages: &[u32], start: u64, end: u64) -> Vec<u32> {
    let table: Vec<u8> = pages.iter().flat_map(|page| [*page, 8]).flat_map(u32::to_le_bytes).collect();
    let mut index = PageIndex::default();
    index.add(Blocks::new(&table, Rva(0)), &mut Vec::new());
    index.sort();
    index.touching(start, end).iter().map(|block| block.page.0).collect()
}

#[test]
fn a_record_reaches_from_its_page_into_the_next() {
    // A site of 12 bytes that starts on the last byte of page 0x1000 ends at 0x200b.
    assert_eq!(touching(&[0x1000], 0x200b, 0x200c), [0x1000]);
    assert!(touching(&[0x1000], 0x200c, 0x200d).is_empty());
    assert!(touching(&[0x1000], 0x0fff, 0x1000).is_empty());
    assert_eq!(touching(&[0x1000], 0x0fff, 0x1001), [0x1000]);
}

#[test]
fn blocks_are_sorted() {
    assert_eq!(touching(&[0x3000, 0x1000, 0x2000], 0, 0x10_0000), [0x1000, 0x2000, 0x3000]);
    assert_eq!(touching(&[0x3000, 0x1000, 0x2000], 0x2800, 0x2900), [0x2000]);
}
