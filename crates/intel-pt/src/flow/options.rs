//! How a walk behaves.

use crate::Pip;

/// How a walk behaves. `Options::default()` is what most callers want; the methods change one setting each.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Instructions followed without a packet before the walk gives up; 2^20 by default. Loops are noticed anyway: this
    /// bounds straight code.
    pub budget: u32,
    /// Where the walk goes on after an error.
    pub resume: Resume,
    /// The walk stops ([`Stop::Limit`](super::Stop::Limit)) before the first packet at or after this offset.
    pub limit: usize,
    /// What CR3 holds before the first PIP packet, if that is known.
    pub paging: Option<Pip>,
}

impl Options {
    /// Sets [`Options::budget`].
    pub fn budget(self, budget: u32) -> Self {
        Self { budget, ..self }
    }

    /// Sets [`Options::resume`].
    pub fn resume(self, resume: Resume) -> Self {
        Self { resume, ..self }
    }

    /// Sets [`Options::limit`].
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Sets [`Options::paging`].
    pub fn paging(self, paging: Pip) -> Self {
        Self { paging: Some(paging), ..self }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { budget: 1 << 20, resume: Resume::default(), limit: usize::MAX, paging: None }
    }
}

/// Where a walk goes on after an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resume {
    /// At the next packet with an address. A TIP after TNT packets may be a deferred one, with some of the bits consumed
    /// after it. It is trusted as long as the trace has shown no deferred TIP.
    #[default]
    Address,
    /// As [`Resume::Address`], but never at a TIP that could be deferred.
    SafeAddress,
    /// At the next PSB.
    Psb,
}
