//! Microsoft-Windows-Kernel-LiveDump: what the kernel says while it makes a dump of itself.
//!
//! The layouts are in `events.txt`. Sentences that a published listing of such a trace has are kept to the letter
//! (`wording`); the others say what the manifest's names say. No trace with these events was at hand.
//!
//! An id and version do not fix a layout: 113 version 1 has 40 bytes in build 19041 and 32 in 22000. So a payload is read by
//! its length, too, and what fits no layout is said so: a live dump's events must never be read as something that they
//! are not.

mod wording;

use std::sync::LazyLock;

use etl_file::{Event, EventId};

use crate::table::{Layout, layouts as read_layouts};
use crate::value::{Body, Field};

static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| read_layouts(include_str!("events.txt")).unwrap_or_default());

/// All layouts, by id.
pub fn layouts() -> &'static [Layout] {
    &LAYOUTS
}

/// Events whose layouts extend each other from the front, so that a longer payload than any known still begins with what
/// is known.
const EXTENDED: [u16; 8] = [1, 2, 4, 106, 107, 202, 204, 252];

/// The event whose layouts agree in the first two fields only.
const PAGES: u16 = 113;

/// The name of an event: its task and step.
pub(crate) fn event_name(event: &Event<'_>, id: u16) -> Option<String> {
    let known = LAYOUTS.iter().find(|layout| layout.id == id);
    let (task, opcode) = match (known, event.id) {
        (Some(layout), _) => (layout.task, layout.opcode),
        // An unknown event may still be of a known task.
        (None, EventId::Provider(found)) => (found.task, None),
        _ => return None,
    };
    let task = wording::task(task)?;
    Some(match opcode.and_then(wording::opcode) {
        Some(opcode) => format!("{task}: {opcode}"),
        None => task.to_owned(),
    })
}

/// Reads an event.
pub(crate) fn decode<'e>(event: &Event<'e>, id: u16) -> Body<'e> {
    let (fields, rest, left) = match LAYOUTS.iter().any(|layout| layout.id == id) {
        true => read(event, id),
        false => (Vec::new(), event.payload, Left::Unknown),
    };
    let task = match event.id {
        EventId::Provider(found) => found.task,
        _ => 0,
    };
    let message = wording::message(id, event.version, task, &fields, rest.len(), left);
    Body { fields, message: Some(message), rest, cut: left == Left::Cut }
}

/// What is to be said of a payload's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing: the layout fits.
    Nothing,
    /// Bytes follow those of the layout.
    More,
    /// No layout fits.
    Misfit,
    /// The payload is shorter than the layout.
    Cut,
    /// The event is not known.
    Unknown,
}

/// The fields of a known event, what follows them, and what to say of that.
fn read<'e>(event: &Event<'e>, id: u16) -> (Vec<Field<'e>>, &'e [u8], Left) {
    let (payload, width) = (event.payload, event.pointer_size);
    let of_id = || LAYOUTS.iter().filter(|layout| layout.id == id);
    let of_version = || of_id().filter(|layout| layout.version == event.version);
    // 1. The very length.
    if let Some(layout) = of_version().find(|layout| layout.bytes(width) == Some(payload.len())) {
        return (layout.read(payload, width).fields, &[], Left::Nothing);
    }
    // 2. Texts, up to the very end.
    for layout in of_version().filter(|layout| layout.bytes(width).is_none()) {
        let read = layout.read(payload, width);
        if read.is_whole && read.rest.is_empty() {
            return (read.fields, &[], Left::Nothing);
        }
    }
    // 3. What is known of the front.
    if EXTENDED.contains(&id) {
        let size = |layout: &&Layout| layout.bytes(width).filter(|size| *size <= payload.len());
        let longest = of_id()
            .filter(|layout| size(layout).is_some())
            .max_by_key(|layout| (size(layout), layout.version == event.version, layout.version));
        if let Some(layout) = longest.filter(|_| !payload.is_empty()) {
            let read = layout.read(payload, width);
            return (read.fields, read.rest, if read.rest.is_empty() { Left::Nothing } else { Left::More });
        }
    } else if id == PAGES && payload.len() >= 16 {
        let mut read = of_id().next().map(|layout| layout.read(&payload[..16], width).fields).unwrap_or_default();
        read.truncate(2);
        return (read, &payload[16..], Left::More);
    }
    // 4. What is there of the shortest layout, if the payload is shorter than every one.
    let shortest = of_version().map(|layout| (layout.read(payload, width), layout.bytes(width)));
    let shortest = shortest.min_by_key(|(_, size)| *size);
    match shortest {
        Some((read, _)) if !read.is_whole => (read.fields, read.rest, Left::Cut),
        _ => (Vec::new(), payload, if payload.is_empty() { Left::Nothing } else { Left::Misfit }),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layouts_can_be_read() {
        assert_eq!(super::LAYOUTS.len(), 83);
        assert!(super::LAYOUTS.is_sorted_by_key(|layout| (layout.id, layout.version)));
    }
}
