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
//!   D                       ●●─────────────────●●                    two loggers: still one life
//! ```
//!
//! What real traces hold, and why the rules below are not simpler:
//! * A stamp or checksum of 0 means "not said" and matches any: user images of Windows 10 rundowns have none, nor have
//!   some kernel unload events.
//! * The same image appears under two paths, and a path may be cut short in one of its events. Base, size, stamp and
//!   checksum identify a module; the file name decides only where the events do not say them.
//! * Two loggers (or the Loader events and Microsoft-Windows-Kernel-Process together) report each load and unload twice,
//!   some ticks apart. A repeated unload belongs to the life that just ended: a new life begins with a load or a rundown.
//! * Clocks may be coarse: an unload and the load of another module at the same base may have the same timestamp.
//! * Anonymised traces replace file names by a row of `#`; the notes of a merge may still hold the original name.

use crate::clock::Tick;
use crate::guid::Guid;
use crate::records::{DebugId, Image, ImageAction, ImageId};
use std::collections::HashMap;
use std::ops::Range;

/// A module: an image at an address for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Module {
    /// File name, such as `ntoskrnl.exe`.
    pub name: String,
    /// The most telling path that the trace gives, such as `\Device\HarddiskVolume3\Windows\System32\ntdll.dll`.
    pub path: String,
    /// Process id; 0 for kernel modules.
    pub process: u32,
    /// True for a module in the kernel's half of the address space, told by process id and address, never by name.
    pub kernel: bool,
    /// Address of the first byte.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u64,
    /// TimeDateStamp of the PE header.
    pub timestamp: Option<u32>,
    /// CheckSum of the PE header.
    pub checksum: Option<u32>,
    /// Debug information, from merged traces.
    pub pdb: Option<Pdb>,
    /// When it was loaded, if the trace saw it.
    pub loaded: Option<Tick>,
    /// When it was unloaded, if the trace saw it.
    pub unloaded: Option<Tick>,
    /// The first event that mentions it.
    pub first_seen: Tick,
    /// The last event that mentions it.
    pub last_seen: Tick,
}

impl Module {
    /// True when the module may have been loaded at `tick`: not yet unloaded, and not loaded later.
    pub fn covers(&self, tick: Tick) -> bool {
        self.loaded.is_none_or(|loaded| loaded <= tick) && self.unloaded.is_none_or(|unloaded| tick < unloaded)
    }

    /// The module's addresses; cut at the end of the address space.
    pub fn range(&self) -> Range<u64> {
        self.base..self.base.saturating_add(self.size)
    }

    /// True for an address in the module.
    pub fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.base).is_some_and(|offset| offset < self.size)
    }
}

/// Names a module's debug information (an RSDS record).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Pdb {
    /// As recorded: a file name, or now and then a whole path.
    pub name: String,
    /// Identity.
    pub guid: Guid,
    /// Age.
    pub age: u32,
}

/// What a merge noted about the image event with the same base, process and timestamp.
#[derive(Clone, Debug, Default)]
struct Note {
    timestamp: u32,
    /// The file's original name, or an empty text.
    original_name: String,
    pdb: Option<Pdb>,
}

/// Merges image events, of any order and with duplicates, into modules: by kernel or not, process, base and time.
pub(crate) fn modules(
    mut images: Vec<(Tick, Image)>,
    image_ids: Vec<(Tick, ImageId)>,
    debug_ids: Vec<(Tick, DebugId)>,
    pointer_size: u8,
) -> Vec<Module> {
    let notes = Notes::new(image_ids, debug_ids, pointer_size);
    let key = |(tick, image): &(Tick, Image)| {
        (place(image.process.unwrap_or(0), image.base, pointer_size), *tick, image.action)
    };
    images.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.1.path.cmp(&b.1.path)));
    let mut modules = Vec::new();
    for events in images.chunk_by(|a, b| key(a).0 == key(b).0) {
        let mut lives = Lives::default();
        for at_once in events.chunk_by(|a, b| a.0 == b.0) {
            let mut mentions = Vec::with_capacity(at_once.len());
            for (tick, image) in at_once {
                let mut seen = mention(*tick, image, pointer_size);
                notes.add_to(&mut seen, pointer_size);
                mentions.push((seen, image.action));
            }
            // Where one module makes room for another at one tick, the unload came first.
            let (unloads, rest): (Vec<_>, Vec<_>) =
                mentions.into_iter().partition(|(seen, action)| *action == ImageAction::Unload && lives.has_open(seen));
            unloads.into_iter().chain(rest).for_each(|(seen, action)| lives.add(seen, action));
        }
        modules.extend(lives.settle());
    }
    modules
}

/// The modules at one base of one process, in the order of time.
#[derive(Default)]
struct Lives {
    settled: Vec<Module>,
    /// The module that is loaded after the events so far.
    open: Option<Module>,
    /// The last event: two equal ones are one event that was logged twice, whatever path each names.
    last: Option<(Tick, ImageAction, u64)>,
}

impl Lives {
    /// True when the module that is loaded can be the one mentioned.
    fn has_open(&self, seen: &Module) -> bool {
        self.open.as_ref().is_some_and(|open| same(open, seen))
    }

    fn add(&mut self, seen: Module, action: ImageAction) {
        let this = Some((seen.first_seen, action, seen.size));
        let repeated = std::mem::replace(&mut self.last, this) == this;
        match &mut self.open {
            Some(known) if repeated || same(known, &seen) => merge(known, seen),
            // Another module at this base: the unload of the first one was not logged.
            Some(_) => self.settled.extend(self.open.replace(seen)),
            None => match self.settled.last_mut() {
                Some(ended) if action == ImageAction::Unload && (repeated || same(ended, &seen)) => merge(ended, seen),
                _ => self.open = Some(seen),
            },
        }
        if action == ImageAction::Unload {
            self.settled.extend(self.open.take());
        }
    }

    fn settle(mut self) -> Vec<Module> {
        self.settled.extend(self.open);
        self.settled
    }
}

/// The notes of a merge, by the place and time of the image event that they belong to.
struct Notes(HashMap<(Place, Tick), Note>);

/// Kernel or not (the kernel first), process and base: what tells modules apart that live at the same time.
type Place = (bool, u32, u64);

fn place(process: u32, base: u64, pointer_size: u8) -> Place {
    let kernel = is_kernel_image(Some(process), base, pointer_size);
    // Kernel images are pid 0's, but the notes of a merge may call them the System process's.
    (!kernel, if kernel { 0 } else { process }, base)
}

impl Notes {
    fn new(image_ids: Vec<(Tick, ImageId)>, debug_ids: Vec<(Tick, DebugId)>, pointer_size: u8) -> Self {
        let mut notes: HashMap<_, Note> = HashMap::new();
        for (tick, id) in image_ids {
            let note = notes.entry((place(id.process, id.base, pointer_size), tick)).or_default();
            (note.timestamp, note.original_name) = (id.timestamp, id.original_name);
        }
        for (tick, id) in debug_ids {
            // The native record is the module's own; that of managed code stands next to it.
            let note = notes.entry((place(id.process, id.base, pointer_size), tick)).or_default();
            if note.pdb.is_none() || !id.managed {
                note.pdb = Some(Pdb { name: id.name, guid: id.guid, age: id.age });
            }
        }
        Self(notes)
    }

    /// Adds what the notes say about the image event that `seen` was made of.
    fn add_to(&self, seen: &mut Module, pointer_size: u8) {
        let Some(note) = self.0.get(&(place(seen.process, seen.base, pointer_size), seen.first_seen)) else { return };
        seen.timestamp = seen.timestamp.or(said(note.timestamp));
        seen.pdb = note.pdb.clone();
        if is_name(&seen.name) {
            return;
        }
        // A PDB is named after its module, but for the extension.
        let pdb = note.pdb.as_ref().map(|pdb| file_name(&pdb.name));
        let stem = pdb.map(|name| name.rsplit_once('.').map_or(name, |(stem, _)| stem));
        let names = [Some(file_name(&note.original_name)), stem];
        if let Some(name) = names.into_iter().flatten().find(|name| is_name(name)) {
            seen.path.truncate(seen.path.len() - seen.name.len());
            seen.path.push_str(name);
            seen.name = name.to_owned();
        }
    }
}

/// True for an image in the kernel's half of the address space. A user process's mapping of a kernel file is not
/// one, and a driver may have any name, so names do not count. `process` is `None` where the event does not say;
/// `pointer_size` is the system's, 4 or 8.
pub fn is_kernel_image(process: Option<u32>, base: u64, pointer_size: u8) -> bool {
    const KERNEL_HALF_64: u64 = 0xffff_8000_0000_0000;
    const KERNEL_HALF_32: u64 = 0x8000_0000;
    let high = base >= if pointer_size == 4 { KERNEL_HALF_32 } else { KERNEL_HALF_64 };
    high && matches!(process, None | Some(0 | 4))
}

/// A field in which 0 stands for "not said".
fn said(value: u32) -> Option<u32> {
    (value != 0).then_some(value)
}

/// A module as a single event describes it.
fn mention(tick: Tick, image: &Image, pointer_size: u8) -> Module {
    let kernel = is_kernel_image(image.process, image.base, pointer_size);
    Module {
        name: file_name(&image.path).to_owned(),
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

fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or_default()
}

/// False for what stands where a name should be and is not one: nothing, or the row of `#` of an anonymised trace.
fn is_name(name: &str) -> bool {
    name.chars().any(char::is_alphanumeric)
}

/// True when two mentions can be of one module. Their base and process are equal already.
fn same(a: &Module, b: &Module) -> bool {
    let agree = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    let identified = a.timestamp.is_some() && a.timestamp == b.timestamp;
    let named_alike =
        || a.name.eq_ignore_ascii_case(&b.name) || !is_name(&a.name) || !is_name(&b.name) || is_cut(&a.path, &b.path);
    a.size == b.size
        && agree(a.timestamp, b.timestamp)
        && agree(a.checksum, b.checksum)
        && (identified || named_alike())
}

/// True when one of two paths is the other one cut short.
fn is_cut(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    !short.is_empty() && long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short))
}

/// Adds what another mention of the same module says.
fn merge(known: &mut Module, seen: Module) {
    known.timestamp = known.timestamp.or(seen.timestamp);
    known.checksum = known.checksum.or(seen.checksum);
    known.pdb = known.pdb.take().or(seen.pdb);
    known.loaded = known.loaded.or(seen.loaded);
    known.unloaded = known.unloaded.or(seen.unloaded);
    known.first_seen = known.first_seen.min(seen.first_seen);
    known.last_seen = known.last_seen.max(seen.last_seen);
    if known.name.eq_ignore_ascii_case(&seen.name) {
        if telling(&seen.path) > telling(&known.path) {
            known.path = seen.path;
        }
        return;
    }
    let better = match (is_name(&known.name), is_name(&seen.name)) {
        (true, true) if is_cut(&known.path, &seen.path) => seen.path.len() > known.path.len(),
        (true, true) => seen.name.len() > known.name.len(),
        (known, seen) => seen && !known,
    };
    if better {
        (known.name, known.path) = (seen.name, seen.path);
    }
}

/// How much a path says about where the file is: one that names its volume beats one that needs the system root, and
/// that beats one relative to an unnamed volume.
fn telling(path: &str) -> (u8, usize) {
    let lower = path.to_ascii_lowercase();
    let volume = lower.starts_with("\\device\\") || lower.starts_with("\\??\\") || lower.get(1..3) == Some(":\\");
    (if volume { 2 } else { u8::from(lower.starts_with("\\systemroot\\")) }, path.len())
}
