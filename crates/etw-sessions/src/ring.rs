//! The list of a session's buffers, `GlobalList`: a ring of one of two shapes.
//!
//! ```text
//!   direct    head ◄──► buffer + 38 ◄──► buffer + 38 ◄──► head
//!   nodes     head ◄──► {links, buffer at 10} ◄──► {links, buffer at 10} ◄──► head
//! ```
//!
//! Which one a kernel has depends on its updates, not on its build alone, so both are tried at each entry. A ring may be
//! damaged or made to mislead: what comes before a link that leads nowhere is kept, and the rest is looked for backwards.

use std::collections::HashSet;

use crate::buffer::{Budget, HEADER, Header};
use crate::memory::{Reader, is_kernel};
use crate::warning::{Warning, Warnings};

/// More buffers than a session can have.
const MOST: usize = 65_536;
/// A buffer's `GlobalEntry`, and a node's pointer to its buffer.
const ENTRY: u64 = 0x38;
const NODE_BUFFER: u32 = 0x10;

/// The buffers on a ring.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    pub buffers: Vec<(u64, Header)>,
    /// Entries whose buffers the dump does not hold.
    pub unreadable: u32,
}

/// Which session's buffers are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub session: u32,
    pub size: u32,
}

enum Entry {
    Buffer(u64, Header),
    Unreadable,
}

/// Walks a ring.
pub(crate) fn walk(
    reader: Reader<'_>,
    head: u64,
    wanted: Wanted,
    budget: &mut Budget,
    warnings: &mut Warnings,
) -> Ring {
    let mut ring = Ring::default();
    let (mut entries, mut buffers) = (HashSet::from([head]), HashSet::new());
    for (link, other, direction) in [(0, 8, "forwards"), (8, 0, "backwards")] {
        let mut from = head;
        let why = loop {
            let next = reader.u64(from, link);
            let at = match next {
                Some(next) if next == head => return ring,
                Some(next) if !is_kernel(next) => {
                    break format!("a link to {next:#x}, which is no address of the kernel");
                }
                Some(next) => next,
                None => break "a link in a page that the dump does not hold".into(),
            };
            if entries.len() > MOST || !budget.take(HEADER) {
                break format!("more than {} entries", entries.len() - 1);
            }
            if !entries.insert(at) {
                break format!("a link back to the entry at {at:#x}");
            }
            match entry(reader, at, wanted) {
                Some(Entry::Buffer(address, header)) => {
                    if buffers.insert(address) {
                        ring.buffers.push((address, header));
                    }
                }
                Some(Entry::Unreadable) => ring.unreadable += 1,
                None => break format!("at {at:#x} neither a buffer of the session nor a node that leads to one"),
            }
            if let Some(back) = reader.u64(at, other).filter(|back| *back != from) {
                let found = format!("a link to {back:#x} beside one from {from:#x}");
                warnings.push(Warning::at(at, "list of buffers", found, "the entry before it"));
            }
            from = at;
        };
        let found = format!("{why}, {direction} after {} buffers", ring.buffers.len());
        warnings.push(Warning::at(from, format!("list of buffers of session {}", wanted.session), found, "a ring"));
    }
    ring
}

fn entry(reader: Reader<'_>, at: u64, wanted: Wanted) -> Option<Entry> {
    let is_ours = |header: &Header| header.size == wanted.size && u32::from(header.session) == wanted.session;
    let read = |address| Header::read(reader, address).filter(is_ours).map(|header| Entry::Buffer(address, header));
    let of_node = reader.pointer(at, NODE_BUFFER);
    let found = of_node.and_then(read).or_else(|| at.checked_sub(ENTRY).and_then(read));
    // A node of a buffer that was paged out: its links are there, and what it points to is not.
    let is_lost = || of_node.is_some_and(|buffer| buffer % 8 == 0 && Header::read(reader, buffer).is_none());
    found.or_else(|| is_lost().then_some(Entry::Unreadable))
}
