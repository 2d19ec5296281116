//! Times as lists of events show them: seconds from the start of the trace, to 100 ns.

use etl_file::{Clock, Tick};

/// Units of 100 ns from the start of the trace to `tick`, rounded down.
pub(crate) fn seconds(clock: &Clock, tick: Tick) -> i128 {
    clock.elapsed(tick).nanos().div_euclid(100)
}

/// Seconds from the start of the trace with seven decimals, and two digits or more before the point: `06.8533715`. Rounded
/// down.
///
/// ```
/// use etl_file::{Clock, ClockKind, FileTime, Tick};
/// let clock = Clock::new(ClockKind::QPC, Tick(1000), FileTime(0), 10_000_000, 0);
/// assert_eq!(etw_decode::time_text(&clock, Tick(68_534_715)), "06.8533715");
/// assert_eq!(etw_decode::time_text(&clock, Tick(999)), "-00.0000001");
/// ```
pub fn time_text(clock: &Clock, tick: Tick) -> String {
    let units = seconds(clock, tick);
    let sign = if units < 0 { "-" } else { "" };
    let units = units.unsigned_abs();
    format!("{sign}{:02}.{:07}", units / 10_000_000, units % 10_000_000)
}
