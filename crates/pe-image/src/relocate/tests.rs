//! Each kind of base relocation, and where a table ends.

use super::{Blocks, Relocation, RelocationKind};
use crate::addr::Rva;
use crate::header::Machine;

#[test]
fn each_kind_adds_in_its_own_width() {
    let apply = |kind: u8, bytes: &[u8], delta: u64| {
        let mut bytes = bytes.to_vec();
        Relocation { rva: Rva(0), kind: RelocationKind(kind) }.apply(&mut bytes, delta);
        bytes
    };
    // IMAGE_REL_BASED_HIGH: the upper half of an address whose lower half is not stored.
    assert_eq!(apply(1, &[0x34, 0x12], 0x0001_8000), [0x35, 0x12]);
    assert_eq!(apply(1, &[0xff, 0xff], 0x0001_0000), [0, 0]);
    assert_eq!(apply(1, &[0x34, 0x12], 0xffff_ffff_ffff_0000), [0x33, 0x12]);
    // IMAGE_REL_BASED_LOW.
    assert_eq!(apply(2, &[0x34, 0x12], 0x0001_0002), [0x36, 0x12]);
    assert_eq!(apply(2, &[0xff, 0xff], 1), [0, 0]);
    // IMAGE_REL_BASED_HIGHLOW.
    assert_eq!(apply(3, &[0, 0, 0, 0x80], 0x8000_0001), [1, 0, 0, 0]);
    // IMAGE_REL_BASED_DIR64.
    assert_eq!(apply(10, &[0xff; 8], 0x101), [0, 1, 0, 0, 0, 0, 0, 0]);
    // Bytes of another width than the kind's stay.
    assert_eq!(apply(10, &[7; 4], 1), [7; 4]);
    assert_eq!(apply(3, &[7; 8], 1), [7; 8]);

    let sizes = [0, 1, 2, 3, 4, 7, 10].map(|kind| RelocationKind(kind).size(Machine::X64));
    assert_eq!(sizes, [Some(0), Some(2), Some(2), Some(4), None, None, Some(8)]);
}

#[test]
fn a_table_ends_where_page_and_size_are_zero() {
    let blocks = |values: &[u32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let blocks = Blocks::new(&bytes, Rva(0x5000));
        blocks.map(|block| block.map(|block| block.page.0).map_err(|error| error.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(blocks(&[0x1000, 8, 0, 0]), [Ok(0x1000)]);
    // Page 0 is a page like any other.
    assert_eq!(blocks(&[0, 8, 0x1000, 8]), [Ok(0), Ok(0x1000)]);
    let error = "IMAGE_BASE_RELOCATION at RVA 0x5008: SizeOfBlock is 0x0, allowed is 8 to 0x8";
    assert_eq!(blocks(&[0x1000, 8, 0x2000, 0]), [Ok(0x1000), Err(error.into())]);
    let error = "IMAGE_BASE_RELOCATION at RVA 0x5000: SizeOfBlock is 0x9, allowed is 8 to 0x8";
    assert_eq!(blocks(&[0x1000, 9]), [Err(error.into())]);
}
