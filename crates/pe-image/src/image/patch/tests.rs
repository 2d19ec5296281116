//! The window of an image that is being made.

use super::Window;
use crate::addr::Rva;

#[test]
fn what_touches_a_window() {
    let mut out = [0; 4];
    let window = Window { start: 0x100, out: &mut out };
    for (rva, size, expected) in [
        (0xfc, 4, false),
        (0xfc, 5, true),
        (0x100, 1, true),
        (0x103, 1, true),
        (0x103, 8, true),
        (0x104, 1, false),
        (0x0, 0x1000, true),
    ] {
        assert_eq!(window.touches(Rva(rva), size), expected, "{size} bytes at {rva:#x}");
    }
}

#[test]
fn only_the_shared_part_is_put() {
    let put = |rva: u32| {
        let mut out = [0; 4];
        Window { start: 0x100, out: &mut out }.put(Rva(rva), &[1, 2, 3]);
        out
    };
    assert_eq!(put(0xfd), [0, 0, 0, 0]);
    assert_eq!(put(0xfe), [3, 0, 0, 0]);
    assert_eq!(put(0x101), [0, 1, 2, 3]);
    assert_eq!(put(0x102), [0, 0, 1, 2]);
    assert_eq!(put(0x104), [0, 0, 0, 0]);
}
