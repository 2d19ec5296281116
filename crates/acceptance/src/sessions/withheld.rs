//! The same kernels with less in their dumps: so that each way to the layout is the only one that is left.

use anyhow::{Context, Result};
use testkit::dump::kernel::Mapped;

use super::kernel::{self, BASE, Made};
use session_kernels::truth::{BOOT_TIME, MAXIMUM_INCREMENT};

/// Changes bytes at an address.
pub fn poke(mapped: &mut Mapped, address: u64, bytes: &[u8]) {
    for (&start, page) in mapped.memory.range_mut(..=address).rev().take(1) {
        let at = (address - start) as usize;
        if at + bytes.len() <= page.len() {
            page[at..at + bytes.len()].copy_from_slice(bytes);
            return;
        }
    }
    mapped.memory.insert(address, bytes.to_vec());
}

/// Bytes at an address, which lie in one page.
fn peek(mapped: &Mapped, address: u64, size: usize) -> Option<Vec<u8>> {
    let (start, page) = mapped.memory.range(..=address).next_back()?;
    let at = (address - start) as usize;
    page.get(at..at + size).map(<[u8]>::to_vec)
}

/// Changes a pointer.
pub fn point(mapped: &mut Mapped, address: u64, to: u64) {
    poke(mapped, address, &to.to_le_bytes());
}

/// The kernel under the name of a real one whose places are known: its globals lie where that one has them, behind the
/// image that the linker made. `None` where no such kernel is known.
pub fn known_kernel(made: &Made) -> Result<Option<Mapped>> {
    let Some(key) = made.kernel.pdb else { return Ok(None) };
    let mut mapped = kernel::machine(made)?;
    let rvas = [
        "EtwpHostSiloState",
        "PspHostSiloGlobals",
        "EtwpDebuggerData",
        "KdDebuggerDataBlock",
        "PsLoadedModuleList",
        "KeBootTime",
        "KeMaximumIncrement",
    ];
    let rva = |name: &str| made.kernel.places.get(name).copied().with_context(|| format!("{key} has no {name}"));
    let highest = rvas.iter().map(|name| rva(name)).collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default();
    let size = (highest + 0x1000).next_multiple_of(0x1000);
    let record =
        made.image.bytes.windows(4).position(|bytes| bytes == b"RSDS").context("the image has no RSDS record")?;
    let section = made.image.sections.iter().find(|(_, _, raw, size)| (*raw..*raw + *size).contains(&(record as u32)));
    let (_, start, raw, _) = section.context("the RSDS record lies in no section")?;
    let record = BASE + u64::from(record as u32 - raw + start);
    poke(&mut mapped, record + 4, &guid(key)?);
    poke(&mut mapped, record + 20, &u32::from_str_radix(&key[32..], 16)?.to_le_bytes());
    let headers = u64::from(u32::from_le_bytes(made.image.bytes[0x3c..0x40].try_into()?));
    poke(&mut mapped, BASE + headers + 24 + 56, &size.to_le_bytes());
    poke(&mut mapped, made.address("KernelEntry")? + 0x40, &size.to_le_bytes());
    let state = made.address("HostState")?;
    let place = |name: &str| -> Result<u64> { Ok(BASE + u64::from(rva(name)?)) };
    point(&mut mapped, place("EtwpHostSiloState")?, state);
    point(&mut mapped, place("PspHostSiloGlobals")? + u64::from(rva("globals.EtwSiloState")?), state);
    point(&mut mapped, place("KeBootTime")?, BOOT_TIME.cast_unsigned());
    poke(&mut mapped, place("KeMaximumIncrement")?, &MAXIMUM_INCREMENT.to_le_bytes());
    // Nothing but the table leads there.
    let block = made.address("KdDebuggerDataBlock")?;
    point(&mut mapped, block + 0x330, 0);
    let bytes = peek(&mapped, block, 0x380).context("the debugger data cross a page")?;
    let moved = place("KdDebuggerDataBlock")?;
    mapped.memory.insert(moved, bytes);
    mapped.debugger_data = moved;
    Ok(Some(mapped))
}

/// The GUID of a symbol store's key, as a file has it.
fn guid(key: &str) -> Result<[u8; 16]> {
    let value = u128::from_str_radix(&key[..32], 16)?.to_be_bytes();
    let [a, b, c, d, e, f, g, h, rest @ ..] = value;
    let mut guid = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    guid[8..].copy_from_slice(&rest);
    Ok(guid)
}

/// The kernel with a debugger table of an unknown version. Its PDB has symbols but no types, so the silo state is known and the
/// layouts of the build have to be tried.
pub fn unknown_table(made: &Made) -> Result<Mapped> {
    let mut mapped = kernel::machine(made)?;
    poke(&mut mapped, made.address("EtwpDebuggerData")? + 1, &[9]);
    Ok(mapped)
}
