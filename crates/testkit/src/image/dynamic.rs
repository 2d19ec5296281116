//! The dynamic relocation table, encoded.

use std::collections::BTreeMap;

use crate::Asm;
use crate::image::At;

/// An entry of the table, given as its symbol and the bytes of its records.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Symbol: 1 to 8, or an address.
    pub symbol: u64,
    /// The records' bytes; see [`page_blocks`].
    pub payload: Vec<u8>,
}

/// A function override.
#[derive(Clone, Debug)]
pub struct OverrideSpec {
    /// The function that is overridden.
    pub original: At,
    /// The alternatives.
    pub alternatives: Vec<At>,
    /// The `E8` calls that name it: the place of the opcode. The builder writes the call.
    pub calls: Vec<At>,
    /// The same of `E9` jumps.
    pub jumps: Vec<At>,
    /// The diagram that decides: left, right, value of each node. Overrides with equal ones share one.
    pub nodes: Vec<(u16, u16, u32)>,
}

/// The diagram of memset in kernel images: ERMS ? 0 : 0x13B ? 1 : original.
pub const MEMSET: &[(u16, u16, u32)] = &[(2, 1, 0), (1, 1, 0), (4, 3, 0x13b), (3, 3, 1), (0, 0, 0)];
/// The diagram of the thunk for guarded calls: 0x142 ? the kernel's own, or 0 : original.
pub const GUARD: &[(u16, u16, u32)] = &[(2, 1, 0x142), (1, 1, 0), (0, 0, 0)];

impl OverrideSpec {
    /// An override without jumps whose diagram has one decision, by capability 0x142, that leads to the original function
    /// either way. (A kernel has a function of its own for that capability.)
    pub fn new(original: At, alternatives: Vec<At>, calls: Vec<At>) -> Self {
        Self { original, alternatives, calls, jumps: Vec::new(), nodes: vec![(1, 1, 0x142), (0, 0, 0)] }
    }

    /// The same with another diagram.
    pub fn decided_by(self, nodes: &[(u16, u16, u32)]) -> Self {
        Self { nodes: nodes.to_vec(), ..self }
    }
}

/// Page blocks: for each page RVA, the bytes of its records. A header of page and size goes in front of each.
pub fn page_blocks(pages: &BTreeMap<u32, Vec<u8>>) -> Vec<u8> {
    let mut asm = Asm::new();
    for (&page, records) in pages {
        asm.u32(page).u32(records.len() as u32 + 8).bytes(records);
    }
    asm.finish()
}

/// 16-bit records, padded with a zero record to a multiple of 4 bytes.
pub fn padded_u16s(records: &[u16]) -> Vec<u8> {
    let mut asm = Asm::new();
    for &record in records {
        asm.u16(record);
    }
    asm.align(4, 0);
    asm.finish()
}

/// 32-bit records.
pub fn u32s(records: &[u32]) -> Vec<u8> {
    let mut asm = Asm::new();
    for &record in records {
        asm.u32(record);
    }
    asm.finish()
}

/// Sorts `(rva, record)` into pages; the record's low 12 bits are filled with the offset in the page.
pub(super) fn by_page(records: &[(u32, u32)], width: usize) -> Vec<u8> {
    let mut pages: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut sorted = records.to_vec();
    sorted.sort_unstable();
    for (rva, record) in sorted {
        pages.entry(rva & !0xfff).or_default().push(record | rva & 0xfff);
    }
    let pages = pages.into_iter().map(|(page, records)| {
        let bytes = if width == 4 {
            u32s(&records)
        } else {
            padded_u16s(&records.iter().map(|&record| record as u16).collect::<Vec<_>>())
        };
        (page, bytes)
    });
    page_blocks(&pages.collect())
}

/// The nodes of a diagram: left, right, value.
type Nodes = [(u16, u16, u32)];

/// An override as its table says it: RVAs.
pub(super) struct PlacedOverride<'s> {
    pub(super) original: u32,
    pub(super) alternatives: Vec<u32>,
    /// First bytes of the distances.
    pub(super) sites: Vec<u32>,
    pub(super) nodes: &'s Nodes,
}

/// The payload of a symbol 7 entry.
pub(super) fn overrides(items: &[PlacedOverride<'_>]) -> Vec<u8> {
    let (mut body, mut diagrams) = (Asm::new(), Asm::new());
    let mut offsets: Vec<(&Nodes, u32)> = Vec::new();
    for item in items {
        let known = offsets.iter().find(|(nodes, _)| *nodes == item.nodes).map(|(_, offset)| *offset);
        let offset = known.unwrap_or_else(|| {
            let offset = diagrams.len() as u32;
            offsets.push((item.nodes, offset));
            diagrams.u32(1).u32(8 * item.nodes.len() as u32);
            for &(left, right, value) in item.nodes {
                diagrams.u16(left).u16(right).u32(value);
            }
            offset
        });
        // Type 1 (X64 REL32) in the upper 4 bits.
        let blocks = by_page(&item.sites.iter().map(|&site| (site, 0x1000)).collect::<Vec<_>>(), 2);
        body.u32(item.original).u32(offset).u32(4 * item.alternatives.len() as u32).u32(blocks.len() as u32);
        for &alternative in &item.alternatives {
            body.u32(alternative);
        }
        body.bytes(&blocks);
    }
    let body = body.finish();
    let mut asm = Asm::new();
    asm.u32(body.len() as u32).bytes(&body).bytes(&diagrams.finish());
    asm.finish()
}

/// The table: version, size, entries.
pub(super) fn table(version: u32, pointer_size: usize, entries: &[Entry]) -> Vec<u8> {
    let mut body = Asm::new();
    for entry in entries {
        if version == 1 {
            body.pointer(entry.symbol, pointer_size).u32(entry.payload.len() as u32);
        } else {
            body.u32(16 + pointer_size as u32).u32(entry.payload.len() as u32);
            body.pointer(entry.symbol, pointer_size).u32(0).u32(0);
        }
        body.bytes(&entry.payload);
    }
    let body = body.finish();
    let mut asm = Asm::new();
    asm.u32(version).u32(body.len() as u32).bytes(&body);
    asm.finish()
}
