//! Functions that a kernel overrides, as in images of Windows 11 24H2: a thunk for guarded calls and a memset with two
//! alternatives in each module; and the page of the kernel that holds the function for guarded calls.
//!
//! ```text
//! thunk:      jmp [pointer]          to the module's own dispatch function, or the kernel's with kernel CFG
//! dispatch:   jmp rax
//! memset:     cmp, jb short; test flag, je plain; cmp, jae large; plain: loop; large: rep stosb
//! Rva[0]:     cmp, jb short;                      cmp, jae large; …
//! Rva[1]:     cmp, jb short;                                      plain: loop
//! ```

use std::collections::HashMap;

use super::body::Odds;
use super::lower::{Act, Op};
use super::overrides::{GUARDED_CALLS, Leads, Overridden, Overrides, SharedPage};

/// Bytes for a module's own functions.
pub(super) const ROOM: usize = 0x180;
const DISPATCH: u64 = 0x10;
const MEMSET: [u64; 3] = [0x20, 0x80, 0xe0];
/// The functions of a module at `at`. `page` is the kernel's page.
pub(super) fn functions(at: u64, module_end: u64, page: u64, mode: &Overrides) -> (Overridden, Leads) {
    let memset = MEMSET.map(|offset| at + offset);
    let leads = Leads {
        thunk: at,
        memset: memset[0],
        chosen_memset: mode.memset.map_or(memset[0], |number| memset[1 + number]),
        kernel: mode.guarded.then_some(page + GUARDED_CALLS[0]),
        copy: module_end + GUARDED_CALLS[0],
    };
    (Overridden { thunk: at, dispatch: at + DISPATCH, memset, calls: Vec::new(), shared: None }, leads)
}

/// The bytes of these functions, [`ROOM`] of them.
pub(super) fn lower(functions: &Overridden, page: u64, mode: &Overrides, ops: &mut HashMap<u64, Op>) -> Vec<u8> {
    let mut bytes = vec![0xcc; ROOM];
    let dispatch = if mode.checked { page + GUARDED_CALLS[0] } else { functions.dispatch };
    let mut put = |at: u64, parts: Vec<(Vec<u8>, Act)>| {
        let mut at = at;
        for (part, act) in parts {
            let offset = (at - functions.thunk) as usize;
            bytes[offset..offset + part.len()].copy_from_slice(&part);
            let len = part.len() as u64;
            ops.insert(at, Op { len, act });
            at += len;
        }
    };
    put(functions.thunk, vec![(vec![0xff, 0x25, 0x10, 0x20, 0, 0], Act::JumpIndirect(vec![dispatch]))]);
    put(functions.dispatch, vec![(vec![0xff, 0xe0], Act::JumpRegister)]);
    for (number, at) in functions.memset.into_iter().enumerate() {
        put(at, memset(at, number, mode.flag));
    }
    bytes
}

/// The code of memset as linked (0) and of its alternatives (1, 2) at an address.
fn memset(at: u64, number: usize, flag: bool) -> Vec<(Vec<u8>, Act)> {
    let asks_flag = number == 0;
    let asks_size = number < 2;
    // Bytes of the two questions.
    let questions = if asks_flag { 9 } else { 0 } + if asks_size { 9 } else { 0 };
    let plain = at + 10 + questions;
    let (large, short) = (plain + 6, plain + 9);
    let near = |opcode: u8, from: u64, to: u64| vec![opcode, (to.wrapping_sub(from + 2)) as u8];
    let mut far = vec![0x0f, 0x82];
    far.extend(((short - (at + 10)) as u32).to_le_bytes());
    let jump = |to, odds| Act::Jcc { to, odds };
    let store = || (vec![0x0f, 0x11, 0x01], Act::Straight);
    let mut out = vec![(vec![0x49, 0x83, 0xf8, 0x40], Act::Straight), (far, jump(short, Odds::Below(64)))];
    if asks_flag {
        out.push((vec![0xf6, 0x05, 0, 0x10, 0, 0, 0x02], Act::Straight));
        out.push((near(0x74, at + 17, plain), jump(plain, Odds::Known(!flag))));
    }
    if asks_size {
        out.push((vec![0x49, 0x81, 0xf8, 0x20, 0x03, 0, 0], Act::Straight));
        out.push((near(0x73, plain - 2, large), jump(large, Odds::AtLeast(0x320))));
    }
    out.push(store());
    out.push((near(0x75, plain + 3, plain), jump(plain, Odds::NextBlock)));
    out.push((vec![0xc3], Act::Ret));
    out.extend([(vec![0xf3, 0xaa], Act::Straight), (vec![0xc3], Act::Ret)]);
    for (number, bit) in [0x20_u8, 0x10].into_iter().enumerate() {
        let from = short + 9 * number as u64 + 4;
        out.push((vec![0x41, 0xf6, 0xc0, bit], Act::Straight));
        out.push((near(0x74, from, from + 5), jump(from + 5, Odds::Without(bit.into()))));
        out.push(store());
    }
    out.push((vec![0xc3], Act::Ret));
    out
}

/// The page of shared code at `base`, in which `stubs` lie: as in memory, which is as in the file when nothing is checked.
pub(super) fn shared_page(base: u64, stubs: &[u8], checked: bool, ops: &mut HashMap<u64, Op>) -> SharedPage {
    let mut bytes = stubs.to_vec();
    for (dword, at) in (21..).zip(GUARDED_CALLS) {
        bytes[4 * dword..4 * dword + 4].copy_from_slice(&(at as u32).to_le_bytes());
    }
    let mut put = |at: u64, parts: &[(&[u8], Act)]| {
        let mut at = at;
        for (part, act) in parts {
            bytes[at as usize..at as usize + part.len()].copy_from_slice(part);
            ops.insert(base + at, Op { len: part.len() as u64, act: act.clone() });
            at += part.len() as u64;
        }
    };
    for at in GUARDED_CALLS {
        if checked {
            // mov r11, bitmap
            put(at, &[(&[0x49, 0xbb, 1, 2, 3, 4, 0x80, 0xf8, 0xff, 0xff], Act::Straight)]);
        } else {
            put(at, &[(&[0x48, 0xff, 0xe0], Act::JumpRegister)]);
        }
        // mov r10, rax; shr r10, 9; mov r11, [r11 + r10 * 8]; mov r10, rax; shr r10, 3; test al, 15; jne; bt r11, r10;
        // jae; jmp rax; the odd target: btr r10, 0; bt r11, r10; jae; jmp rax; the bad one: int 3
        let (odd, bad) = (base + at + 43, base + at + 58);
        let jump = |to, odds| Act::Jcc { to, odds };
        put(
            at + 10,
            &[
                (&[0x4c, 0x8b, 0xd0], Act::Straight),
                (&[0x49, 0xc1, 0xea, 0x09], Act::Straight),
                (&[0x4f, 0x8b, 0x1c, 0xd3], Act::Straight),
                (&[0x4c, 0x8b, 0xd0], Act::Straight),
                (&[0x49, 0xc1, 0xea, 0x03], Act::Straight),
                (&[0xa8, 0x0f], Act::Straight),
                (&[0x75, 0x0b], jump(odd, Odds::Known(false))),
                (&[0x4d, 0x0f, 0xa3, 0xd3], Act::Straight),
                (&[0x73, 0x14], jump(bad, Odds::Known(false))),
                (&[0x48, 0xff, 0xe0], Act::JumpRegister),
                (&[0x90, 0x90], Act::Straight),
                (&[0x49, 0x0f, 0xba, 0xf2, 0x00], Act::Straight),
                (&[0x4d, 0x0f, 0xa3, 0xd3], Act::Straight),
                (&[0x73, 0x04], jump(bad, Odds::Known(false))),
                (&[0x48, 0xff, 0xe0], Act::JumpRegister),
                (&[0x90], Act::Straight),
                (&[0xcc], Act::Straight),
            ],
        );
    }
    SharedPage { base, bytes }
}

/// The page as the kernel's file has it: stubs, their header with the two functions' places, and the functions.
pub(super) fn page_of_file(stubs: &[u8]) -> Vec<u8> {
    shared_page(0, stubs, false, &mut HashMap::new()).bytes
}
