//! The events of one buffer, in the order in which they were logged.

use super::{EventHeader, Result};
use crate::event::RawEvent;

/// The events of a buffer to be written. Each begins at a multiple of 8 bytes; the bytes between are zero.
#[derive(Clone, Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    events: u64,
}

impl Body {
    /// Adds an event as it was read, byte for byte.
    pub fn raw(&mut self, event: &RawEvent<'_>) {
        self.bytes.extend_from_slice(event.bytes);
        self.close();
    }

    /// Adds an event with a header and a payload.
    ///
    /// # Errors
    /// When the event is longer than 65,535 bytes, or its kind of header has no published layout. Nothing is added then.
    pub fn event(&mut self, header: &EventHeader, payload: &[u8]) -> Result<()> {
        let start = self.bytes.len();
        match header.encode(payload, &mut self.bytes) {
            Ok(()) => self.close(),
            Err(error) => {
                self.bytes.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Bytes of the events, with the bytes between them.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True before the first event.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Removes the events and keeps the space, for the next buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.events = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn close(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.events += 1;
    }
}
