//! The stack of return addresses that compressed returns refer to.

/// Return addresses of the calls since the last PSB, the newest 64 of them (SDM, "RET compression").
///
/// The processor pushes at every near call except `call $+5`, and pops at every near return, compressed or not; a full
/// stack loses its oldest entry. libipt pops on compressed returns only, and so loses its way in retpolines, whose
/// return goes elsewhere than to the call before it.
#[derive(Clone, Debug)]
pub struct ReturnStack {
    /// A ring: the entry `top - 1` is the newest.
    entries: [u64; Self::DEPTH],
    top: usize,
    len: usize,
}

impl ReturnStack {
    /// Entries that the processor counts.
    pub const DEPTH: usize = 64;

    /// An empty stack.
    pub fn new() -> Self {
        Self { entries: [0; Self::DEPTH], top: 0, len: 0 }
    }

    /// A call: `address` is that of the instruction after it.
    #[inline]
    pub fn push(&mut self, address: u64) {
        self.entries[self.top] = address;
        self.top = (self.top + 1) % Self::DEPTH;
        self.len = (self.len + 1).min(Self::DEPTH);
    }

    /// A return: the address that it would be compressed against, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<u64> {
        self.len = self.len.checked_sub(1)?;
        self.top = (self.top + Self::DEPTH - 1) % Self::DEPTH;
        Some(self.entries[self.top])
    }

    /// As [`ReturnStack::pop`], without the change.
    pub fn peek(&self) -> Option<u64> {
        (self.len > 0).then(|| self.entries[(self.top + Self::DEPTH - 1) % Self::DEPTH])
    }

    /// After a PSB, an overflow, or a time without tracing: no return is compressed against an earlier call.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Number of entries, 0 to 64.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when a compressed return would have no address.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for ReturnStack {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::ReturnStack;

    #[test]
    fn the_oldest_of_65_calls_is_forgotten() {
        let mut stack = ReturnStack::new();
        (0..65).for_each(|address| stack.push(address));
        assert_eq!(stack.len(), 64);
        let popped: Vec<u64> = std::iter::from_fn(|| stack.pop()).collect();
        assert_eq!(popped, (1..65).rev().collect::<Vec<_>>());
        assert_eq!(stack.pop(), None);
    }
}
