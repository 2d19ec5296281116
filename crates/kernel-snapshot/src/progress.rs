//! How a long job tells its caller where it stands.

/// Receives news of a running job. Calls come from several threads.
pub trait Progress: Sync {
    /// A new phase begins: what it does, and how much there is to do, in the phase's own unit (bytes, files), if known.
    fn phase(&self, what: &'static str, total: Option<u64>);
    /// That much more of the phase is done.
    fn advance(&self, amount: u64);
    /// A line for those who asked for details.
    fn detail(&self, line: &str);
}

/// Discards all progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &'static str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn detail(&self, _: &str) {}
}
