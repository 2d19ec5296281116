//! A moment of a trace, and which moments a trace has.

use std::fmt;
use std::ops::RangeInclusive;

use etl_file::{Clock, Tick};

/// A moment as a person or program names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// Seconds from the start of the trace.
    Seconds(f64),
    /// A whole number: a raw timestamp of the trace's clock if it is not before the clock's start, else seconds.
    Number(i64),
}

/// A moment that the source does not have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{at} is outside the trace: {allowed}")]
#[non_exhaustive]
pub struct MomentError {
    /// The moment asked for.
    pub at: Moment,
    /// The moments that the source has.
    pub allowed: Moments,
}

/// The moments that a source has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Moments {
    /// A dump has one moment only.
    One,
    /// A trace.
    #[non_exhaustive]
    Span {
        /// Its length in seconds, where the header states it.
        seconds: Option<f64>,
        /// Raw timestamps of its start and end, where the clock's start is known.
        ticks: Option<RangeInclusive<i64>>,
    },
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("a dump shows a single moment"),
            Self::Span { seconds, ticks } => {
                match seconds {
                    Some(seconds) => write!(f, "allowed are 0 to {seconds:.3} seconds")?,
                    None => f.write_str("allowed are 0 seconds and more")?,
                }
                match ticks {
                    Some(ticks) => write!(f, ", or raw timestamps {} to {}", ticks.start(), ticks.end()),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Lengths are shown in tenths of a second, so a moment that is rounded up counts as the end.
const ROUNDING: f64 = 0.1;

/// Resolves a moment to seconds from the start of a trace that ends after `end` seconds, infinite when it is not known.
pub(crate) fn resolve(at: Moment, clock: Option<&Clock>, end: f64) -> Result<f64, MomentError> {
    let Some(clock) = clock else { return Err(MomentError { at, allowed: Moments::One }) };
    let seconds = match at {
        Moment::Seconds(seconds) => seconds,
        Moment::Number(tick) if clock.start().0 > 0 && tick >= clock.start().0 => clock.seconds(Tick(tick)),
        Moment::Number(number) => number as f64,
    };
    if (0.0..=end + ROUNDING).contains(&seconds) {
        return Ok(seconds);
    }
    let length = end.is_finite().then_some(end);
    let start = clock.start();
    let last = |length: f64| clock.tick_at_nanos((length * 1e9) as i128);
    let ticks = length.filter(|_| start.0 > 0).map(|length| start.0..=last(length).0);
    Err(MomentError { at, allowed: Moments::Span { seconds: length, ticks } })
}

#[cfg(test)]
mod tests {
    use etl_file::{Clock, ClockKind, FileTime, Tick};

    use super::{Moment, resolve};

    #[test]
    fn a_moment_is_in_the_trace_or_refused_with_what_is_allowed() {
        let clock = Clock::new(ClockKind::QPC, Tick(5_000_000), FileTime(1), 10_000_000, 0);
        let check = |at, expected: Result<f64, &str>| {
            let found = resolve(at, Some(&clock), 100.0).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{at:?}");
        };
        let allowed = "is outside the trace: allowed are 0 to 100.000 seconds, or raw timestamps 5000000 to 1005000000";
        check(Moment::Seconds(1.5), Ok(1.5));
        check(Moment::Number(2), Ok(2.0));
        check(Moment::Number(15_000_000), Ok(1.0));
        // Rounded up as the length is shown.
        check(Moment::Seconds(100.1), Ok(100.1));
        check(Moment::Number(1_000_000), Err(&format!("1000000 {allowed}")));
        check(Moment::Number(-5), Err(&format!("-5 {allowed}")));
        check(Moment::Seconds(f64::NAN), Err(&format!("NaN {allowed}")));
        check(Moment::Seconds(f64::INFINITY), Err(&format!("inf {allowed}")));
        let of_dump = resolve(Moment::Number(0), None, f64::INFINITY).unwrap_err().to_string();
        assert_eq!(of_dump, "0 is outside the trace: a dump shows a single moment");
        assert_eq!(resolve(Moment::Number(7_000_000_000), Some(&clock), f64::INFINITY), Ok(699.5));
    }
}
