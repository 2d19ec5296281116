//! A ring buffer in the order in which it was written.
//!
//! ```text
//!            write offset
//!                 ▼
//!   │ newer bytes │ older bytes │      the packet across the end of the buffer is whole again,
//!   0             o            len     the one at the write offset is torn: its start is overwritten
//! ```

/// The older and the newer part of a ring whose writer stood at `write_offset`: read one after the other, they are the
/// bytes in order. `None` when the offset lies outside the ring. At 0 and at the end the bytes are already in order.
pub fn parts(ring: &[u8], write_offset: usize) -> Option<(&[u8], &[u8])> {
    let (newer, older) = ring.split_at_checked(write_offset)?;
    Some((older, newer))
}

/// Puts a ring in order in place. Returns false, and leaves it as it is, when the offset lies outside the ring.
pub fn rotate(ring: &mut [u8], write_offset: usize) -> bool {
    let inside = write_offset <= ring.len();
    if inside {
        ring.rotate_left(write_offset);
    }
    inside
}
