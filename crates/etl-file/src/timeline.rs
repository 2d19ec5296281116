//! Modules over time: image events merged into intervals.
//!
//! One module is one (process, base) between its load, or first mention, and its unload:
//!
//! ```text
//!   time ─────────────────────────────────────────────────────────►
//!          RundownStart   Load              Unload   RundownEnd
//!   A            ●─────────────────────────────────────────●         loaded: not seen    unloaded: not seen
//!   B                       ●──────────────────●                     loaded and unloaded
//!   C                                          ●                     was there before, unloaded
//! ```
//!
//! Measured in real traces, and why the rules below are not simpler:
//! * A stamp or checksum of 0 means "not said" and matches any: user images of Windows 10 rundowns have none, nor have
//!   some kernel unload events.
//! * The same image appears under two paths, so identity is base, size and file name.
//! * Exact duplicates of image events occur; taken as two, the second unload would be that of another module.

use crate::clock::Tick;
use crate::guid::Guid;
use crate::records::{DebugId, Image, ImageAction, ImageId};
use crate::survey::{Module, Pdb};
use std::collections::HashMap;

/// What a merge noted about the image event with the same base, process and timestamp.
#[derive(Clone, Debug, Default)]
struct Note {
    timestamp: u32,
    pdb: Option<(Guid, u32, String)>,
}

/// Merges image events, of any order and with duplicates, into modules: by kernel or not, process, base and time.
pub(crate) fn modules(
    mut images: Vec<(Tick, Image)>,
    image_ids: Vec<(Tick, ImageId)>,
    debug_ids: Vec<(Tick, DebugId)>,
    pointer_size: u8,
) -> Vec<Module> {
    let place = |process: u32, base: u64| {
        let kernel = is_kernel(Some(process), base, pointer_size);
        // Kernel images are pid 0's, but the notes of a merge may call them the System process's.
        (!kernel, if kernel { 0 } else { process }, base)
    };
    let mut notes: HashMap<_, Note> = HashMap::new();
    for (tick, id) in image_ids {
        notes.entry((place(id.process, id.base), tick)).or_default().timestamp = id.timestamp;
    }
    for (tick, id) in debug_ids {
        // The native record is the module's own; that of managed code stands next to it.
        let note = notes.entry((place(id.process, id.base), tick)).or_default();
        if note.pdb.is_none() || !id.managed {
            note.pdb = Some((id.guid, id.age, id.name));
        }
    }

    let key = |(tick, image): &(Tick, Image)| (place(image.process.unwrap_or(0), image.base), *tick, image.action);
    images.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.1.path.cmp(&b.1.path)));
    let mut modules = Vec::new();
    for events in images.chunk_by(|a, b| key(a).0 == key(b).0) {
        let mut open: Option<Module> = None;
        let mut last: Option<(Tick, ImageAction, u64)> = None;
        for (tick, image) in events {
            let here = Some((*tick, image.action, image.size));
            let duplicate = std::mem::replace(&mut last, here) == here;
            let mut seen = module(*tick, image, pointer_size);
            if let Some(note) = notes.get(&(key(&(*tick, image.clone())).0, *tick)) {
                seen.timestamp = seen.timestamp.or(said(note.timestamp));
                seen.pdb = note.pdb.clone().map(|(guid, age, name)| Pdb { name, guid, age });
            }
            if duplicate && (open.is_none() || image.action != ImageAction::Unload) {
                // The same event again; it may name the image by another path.
                if let Some(known) = open.as_mut().or_else(|| modules.last_mut()) {
                    merge(known, seen);
                }
                continue;
            }
            match open.as_mut() {
                Some(known) if same(known, &seen) => merge(known, seen),
                // Another module at this base: the unload of the first one was not logged.
                Some(_) => modules.extend(open.replace(seen)),
                None => open = Some(seen),
            }
            if image.action == ImageAction::Unload {
                modules.extend(open.take());
            }
        }
        modules.extend(open);
    }
    modules
}

/// True for an image in the kernel's half of the address space. A user process's mapping of a kernel file is none, and
/// a driver may have any name, so names do not count.
pub(crate) fn is_kernel(process: Option<u32>, base: u64, pointer_size: u8) -> bool {
    const KERNEL_HALF_64: u64 = 0xffff_8000_0000_0000;
    const KERNEL_HALF_32: u64 = 0x8000_0000;
    let high = base >= if pointer_size == 4 { KERNEL_HALF_32 } else { KERNEL_HALF_64 };
    high && matches!(process, None | Some(0 | 4))
}

/// A field in which 0 stands for "not said".
fn said(value: u32) -> Option<u32> {
    (value != 0).then_some(value)
}

fn module(tick: Tick, image: &Image, pointer_size: u8) -> Module {
    let kernel = is_kernel(image.process, image.base, pointer_size);
    Module {
        name: image.path.rsplit(['\\', '/']).next().unwrap_or_default().to_owned(),
        path: image.path.clone(),
        process: if kernel { 0 } else { image.process.unwrap_or(0) },
        kernel,
        base: image.base,
        size: image.size,
        timestamp: said(image.timestamp),
        checksum: said(image.checksum),
        pdb: None,
        loaded: (image.action == ImageAction::Load).then_some(tick),
        unloaded: (image.action == ImageAction::Unload).then_some(tick),
        first_seen: tick,
        last_seen: tick,
    }
}

/// True when two mentions can be of one module. Their base and process are equal already.
fn same(a: &Module, b: &Module) -> bool {
    let agree = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.size == b.size && agree(a.timestamp, b.timestamp) && a.name.eq_ignore_ascii_case(&b.name)
}

fn merge(known: &mut Module, seen: Module) {
    known.timestamp = known.timestamp.or(seen.timestamp);
    known.checksum = known.checksum.or(seen.checksum);
    known.pdb = known.pdb.take().or(seen.pdb);
    known.loaded = known.loaded.or(seen.loaded);
    known.unloaded = known.unloaded.or(seen.unloaded);
    known.first_seen = known.first_seen.min(seen.first_seen);
    known.last_seen = known.last_seen.max(seen.last_seen);
    if telling(&seen.path) > telling(&known.path) {
        known.path = seen.path;
    }
}

/// How much a path says about where the file is: one that names its volume beats one that needs the system root, and
/// that beats one relative to an unnamed volume.
fn telling(path: &str) -> (u8, usize) {
    let lower = path.to_ascii_lowercase();
    let volume = lower.starts_with("\\device\\") || lower.starts_with("\\??\\") || lower.get(1..3) == Some(":\\");
    (if volume { 2 } else { u8::from(lower.starts_with("\\systemroot\\")) }, path.len())
}
