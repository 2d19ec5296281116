//! A kernel: exports, and the section RETPOL with the stubs that are mapped behind every image.

use crate::Asm;
use crate::image::{At, CODE, Driver};

/// Offsets of the stubs in the stub block.
#[derive(Clone, Copy, Debug)]
pub struct Stubs {
    /// The stub of the first register's switch; the others follow at this distance from each other.
    pub switch: u32,
    /// Bytes between two switch stubs.
    pub switch_stride: u32,
    /// Indirect through rax with CFG check.
    pub indirect_cfg: u32,
    /// Indirect through rax.
    pub indirect: u32,
    /// Import through r10.
    pub import: u32,
}

/// Offsets as in a 19041 kernel where those are known: 0xC0 for rcx, 0x2A0 and 0x420. The others fill the gaps.
pub const KERNEL_STUBS: Stubs =
    Stubs { switch: 0xa0, switch_stride: 0x20, indirect_cfg: 0x2a0, indirect: 0x380, import: 0x420 };

/// A kernel that exports `names`, 16 bytes of code each, from its first section on; with the sections RETPOL and
/// INITKDBG as its second and third.
pub fn kernel(names: &[&str]) -> Driver {
    with_section(names, "RETPOL", stub_block(&KERNEL_STUBS, &[]))
}

/// What the section KSCP has besides the stubs.
#[derive(Clone, Copy, Debug)]
pub struct SharedCode {
    /// Dword 0: where unwind data goes at boot.
    pub unwind: u32,
    /// Dwords 21 and 22: the guarded calls, for processors with SMEP and without.
    pub guarded_calls: [u32; 2],
    /// Dword 23: the first of 15 further functions; the others follow at this distance from each other.
    pub further: u32,
    /// Bytes between two of them.
    pub further_stride: u32,
}

/// Offsets in which the guarded call is where it was seen in a 24H2 kernel, modulo a page.
pub const SHARED_CODE: SharedCode =
    SharedCode { unwind: 0xc00, guarded_calls: [0x780, 0x7c0], further: 0x800, further_stride: 0x20 };

/// As [`kernel`], of the 24H2 kind: the section KSCP, with the stubs and the functions that drivers share, in the place of
/// RETPOL.
pub fn kernel_24h2(names: &[&str]) -> Driver {
    let mut header = vec![0, SHARED_CODE.guarded_calls[0], SHARED_CODE.guarded_calls[1]];
    header.extend((0..15).map(|number| SHARED_CODE.further + number * SHARED_CODE.further_stride));
    let mut block = stub_block(&KERNEL_STUBS, &header);
    block[..4].copy_from_slice(&SHARED_CODE.unwind.to_le_bytes());
    for at in SHARED_CODE.guarded_calls {
        // jmp rax, and room for a load of r11; then the check of a bitmap, and jmp rax again.
        let mut asm = Asm::new();
        asm.bytes(&[0x48, 0xff, 0xe0]).fill(0xcc, 7);
        asm.bytes(&[0x4c, 0x8b, 0xd0, 0x49, 0xc1, 0xea, 0x09, 0x4f, 0x8b, 0x1c, 0xd3, 0x48, 0xff, 0xe0]);
        let bytes = asm.finish();
        block[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    for number in 0..15 {
        block[(SHARED_CODE.further + number * SHARED_CODE.further_stride) as usize] = 0xc3;
    }
    with_section(names, "KSCP", block)
}

fn with_section(names: &[&str], section: &str, block: Vec<u8>) -> Driver {
    let mut driver = Driver::new("ntoskrnl.exe");
    driver.timestamp = 0x0d83_33e6;
    let text = driver.code(".text", (names.len() as u32 * 16).max(0x40));
    for (number, name) in names.iter().enumerate() {
        driver.export(name, At(text, 16 * number as u32));
    }
    driver.section(section, CODE, block);
    driver.code("INITKDBG", 0x100);
    driver
}

/// The block with its header, which `more` dwords go on.
fn stub_block(stubs: &Stubs, more: &[u32]) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.u32(0);
    for register in 0..16 {
        asm.u32(stubs.switch + register * stubs.switch_stride);
    }
    asm.u32(stubs.indirect_cfg).u32(stubs.indirect).u32(stubs.import);
    for &dword in more {
        asm.u32(dword);
    }
    // Each stub is lfence and a jump; what they do is of no concern, that they are there is.
    asm.pad_to(stubs.switch as usize, 0xcc);
    while asm.len() < 0x600 {
        asm.bytes(&[0x0f, 0xae, 0xe8, 0xff, 0xe0]).align(0x20, 0xcc);
    }
    asm.pad_to(0x1000, 0xcc);
    asm.finish()
}
