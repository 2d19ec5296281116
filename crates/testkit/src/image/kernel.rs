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
    let mut driver = Driver::new("ntoskrnl.exe");
    driver.timestamp = 0x0d83_33e6;
    let text = driver.code(".text", (names.len() as u32 * 16).max(0x40));
    for (number, name) in names.iter().enumerate() {
        driver.export(name, At(text, 16 * number as u32));
    }
    let stubs = stub_block(&KERNEL_STUBS);
    driver.section("RETPOL", CODE, stubs);
    driver.code("INITKDBG", 0x100);
    driver
}

fn stub_block(stubs: &Stubs) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.u32(0);
    for register in 0..16 {
        asm.u32(stubs.switch + register * stubs.switch_stride);
    }
    asm.u32(stubs.indirect_cfg).u32(stubs.indirect).u32(stubs.import);
    // Each stub is lfence and a jump; what they do is of no concern, that they are there is.
    asm.pad_to(stubs.switch as usize, 0xcc);
    while asm.len() < 0x600 {
        asm.bytes(&[0x0f, 0xae, 0xe8, 0xff, 0xe0]).align(0x20, 0xcc);
    }
    asm.pad_to(0x1000, 0xcc);
    asm.finish()
}
