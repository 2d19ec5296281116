//! Whether a layout fits the memory: what must hold for contexts if their members are where it says.

use super::{context, silo};
use crate::buffer::{MAX_BUFFER, MIN_BUFFER};
use crate::memory::{Reader, Text, is_kernel};
use crate::types::StructLayout;

/// The numbers of sessions that a kernel may allow; 64 and 80 were seen.
const MAX_LOGGERS: std::ops::RangeInclusive<u32> = 16..=1024;
/// Sessions in an array that lies in the silo state itself.
const INLINE: u32 = 64;
/// A larger number of buffers is not one.
const MOST_BUFFERS: u32 = 65_536;

/// An array of pointers to contexts; a session's id is its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Address of the array.
    pub address: u64,
    /// Number of its entries.
    pub count: u32,
}

/// How many of the contexts that an array names are what a layout says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fit {
    pub contexts: u32,
    pub sound: u32,
    /// False when the array is not held as a whole, or an entry can be no pointer.
    pub is_array: bool,
}

impl Fit {
    /// More than half of the contexts are sound.
    pub fn is_good(self) -> bool {
        self.is_array && (self.contexts == 0 || 2 * self.sound > self.contexts)
    }
}

/// The array of contexts that a silo state names.
pub(crate) fn slots(reader: Reader<'_>, state: u64, layout: &StructLayout) -> Option<Slots> {
    if let (Some(count), Some(array)) = (layout.offset(silo::MAX_LOGGERS), layout.offset(silo::LOGGER_CONTEXT)) {
        let count = reader.u32(state, count).filter(|count| MAX_LOGGERS.contains(count))?;
        return Some(Slots { address: reader.pointer(state, array)?, count });
    }
    let inline = layout.offset(silo::INLINE_CONTEXT).or(layout.offset(silo::LOGGER_CONTEXT))?;
    Some(Slots { address: state.checked_add(inline.into())?, count: INLINE })
}

/// The entries of an array as far as they are held: 0 and odd numbers are free slots.
pub(crate) fn entries(reader: Reader<'_>, slots: Slots) -> Vec<u64> {
    let count = slots.count.min(*MAX_LOGGERS.end()) as usize;
    let bytes = reader.up_to(slots.address, 8 * count);
    bytes.chunks_exact(8).map(|entry| u64::from_le_bytes(entry.try_into().expect("8 bytes"))).collect()
}

/// True for a slot without a session.
pub(crate) fn is_free(entry: u64) -> bool {
    entry == 0 || entry & 1 == 1
}

/// Tries a layout on every context.
pub(super) fn fit(reader: Reader<'_>, slots: Slots, layout: &StructLayout, state: Option<u64>) -> Fit {
    let entries = entries(reader, slots);
    let mut fit = Fit { is_array: entries.len() == slots.count as usize, ..Fit::default() };
    for (&entry, slot) in entries.iter().zip(0..).filter(|(entry, _)| !is_free(**entry)) {
        if !is_kernel(entry) || entry % 8 != 0 {
            fit.is_array = false;
            continue;
        }
        fit.contexts += 1;
        fit.sound += u32::from(is_context(reader, layout, entry, slot, state).is_some());
    }
    fit
}

/// `Some` when nothing speaks against a context being at this address.
fn is_context(reader: Reader<'_>, layout: &StructLayout, at: u64, slot: u32, state: Option<u64>) -> Option<()> {
    let word = |member: &str| reader.u32(at, layout.offset(member)?);
    let is = |holds: bool| holds.then_some(());
    is(word(context::LOGGER_ID)? == slot)?;
    let size = word(context::BUFFER_SIZE)?;
    is((MIN_BUFFER..=MAX_BUFFER).contains(&size) && size % MIN_BUFFER == 0)?;
    is((1..=3).contains(&word(context::CLOCK_TYPE)?))?;
    is((1..=MOST_BUFFERS).contains(&word(context::NUMBER_OF_BUFFERS)?))?;
    match reader.text(at, layout.offset(context::LOGGER_NAME)?) {
        Text::NotOne => return None,
        Text::Held(name) => is(!name.chars().any(char::is_control))?,
        Text::Unreadable => {}
    }
    let head = at.checked_add(layout.offset(context::GLOBAL_LIST)?.into())?;
    let first = reader.pointer(head, 0)?;
    // The first entry may lie in a page that was not captured.
    is(reader.u64(first, 8).is_none_or(|back| back == head))?;
    if let (Some(state), Some(member)) = (state, layout.offset(context::SILO_STATE)) {
        is(reader.u64(at, member)? == state)?;
    }
    Some(())
}
