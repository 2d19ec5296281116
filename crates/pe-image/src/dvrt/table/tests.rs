//! Entries at the very ends of their table.

use super::{DvrtEntry, Symbol, entry_v1, entry_v2};
use crate::addr::Rva;

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads an entry at RVA 0x100 of a 64-bit or 32-bit image: symbol, group, flags, bytes and RVA of the payload, and the
/// entry's size; or the error's text.
fn read(version: u32, is_64: bool, bytes: &[u8]) -> Result<(u64, u32, u32, usize, u32, usize), String> {
    let entry = if version == 1 { entry_v1 } else { entry_v2 };
    let (DvrtEntry { symbol, group, flags, payload, rva }, size) =
        entry(bytes, Rva(0x100), is_64).map_err(|error| error.to_string())?;
    Ok((symbol.0, group, flags, payload.len(), rva.0, size))
}

#[test]
fn version_1() {
    // u64 or u32 symbol, u32 size.
    assert_eq!(read(1, true, &u32s(&[3, 0, 0])), Ok((3, 0, 0, 0, 0x10c, 12)));
    assert_eq!(read(1, true, &u32s(&[3, 0, 4, 9])), Ok((3, 0, 0, 4, 0x10c, 16)));
    assert_eq!(read(1, false, &u32s(&[0x8000_0000, 0])), Ok((0x8000_0000, 0, 0, 0, 0x108, 8)));
    let cut = "IMAGE_DYNAMIC_RELOCATION at RVA 0x100: needs 0xc bytes, there are 0xb";
    assert_eq!(read(1, true, &u32s(&[3, 0, 0])[..11]), Err(cut.into()));
    let cut = "IMAGE_DYNAMIC_RELOCATION at RVA 0x100: needs 0x8 bytes, there are 0x7";
    assert_eq!(read(1, false, &u32s(&[3, 0])[..7]), Err(cut.into()));
    let long = "IMAGE_DYNAMIC_RELOCATION at RVA 0x100: BaseRelocSize is 0x5, \
                allowed is at most 0x4, what is left of the table";
    assert_eq!(read(1, true, &u32s(&[3, 0, 5, 9])), Err(long.into()));
}

#[test]
fn version_2() {
    // u32 header size, u32 payload size, u64 or u32 symbol, u32 group, u32 flags.
    assert_eq!(read(2, true, &u32s(&[24, 0, 3, 0, 7, 8])), Ok((3, 7, 8, 0, 0x118, 24)));
    assert_eq!(read(2, true, &u32s(&[24, 4, 3, 0, 7, 8, 9])), Ok((3, 7, 8, 4, 0x118, 28)));
    assert_eq!(read(2, false, &u32s(&[20, 0, 3, 7, 8])), Ok((3, 7, 8, 0, 0x114, 20)));
    // A longer header, whose new fields are skipped, and one that is all that is left.
    assert_eq!(read(2, true, &u32s(&[28, 4, 3, 0, 7, 8, 0, 9])), Ok((3, 7, 8, 4, 0x11c, 32)));
    assert_eq!(read(2, true, &u32s(&[28, 0, 3, 0, 7, 8, 0])), Ok((3, 7, 8, 0, 0x11c, 28)));

    let cut = |need: &str, have: &str| {
        Err(format!("IMAGE_DYNAMIC_RELOCATION_V2 at RVA 0x100: needs {need} bytes, there are {have}"))
    };
    assert_eq!(read(2, true, &u32s(&[24, 0, 3, 0, 7, 8])[..23]), cut("0x18", "0x17"));
    assert_eq!(read(2, false, &u32s(&[20, 0, 3, 7, 8])[..19]), cut("0x14", "0x13"));
    let header = |found: &str, allowed: &str| {
        Err(format!("IMAGE_DYNAMIC_RELOCATION_V2 at RVA 0x100: HeaderSize is {found}, allowed is {allowed}"))
    };
    assert_eq!(read(2, true, &u32s(&[23, 0, 3, 0, 7, 8])), header("0x17", "0x18 to 0x18"));
    assert_eq!(read(2, true, &u32s(&[25, 0, 3, 0, 7, 8])), header("0x19", "0x18 to 0x18"));
    assert_eq!(read(2, false, &u32s(&[19, 0, 3, 7, 8])), header("0x13", "0x14 to 0x14"));
    let long = "IMAGE_DYNAMIC_RELOCATION_V2 at RVA 0x100: FixupInfoSize is 0x5, \
                allowed is at most 0x4, what is left of the table";
    assert_eq!(read(2, true, &u32s(&[24, 5, 3, 0, 7, 8, 9])), Err(long.into()));
}

#[test]
fn what_an_address_is() {
    for (value, expected) in [
        (0x7fff_ffff, false),
        (0x8000_0000, true),
        (0xffff_ffff, true),
        (0x1_0000_0000, false),
        (0xfffe_ffff_ffff_ffff, false),
        (0xffff_0000_0000_0000, true),
    ] {
        assert_eq!(Symbol(value).is_address(), expected, "{value:#x}");
    }
}
