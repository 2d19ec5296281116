//! Whether packets were followed well enough for the result to be believed.
//!
//! Nonsense decodes: over the code of another build, a walk loses its place and goes on at the next address, again and again,
//! and still executes millions of instructions. The numbers tell it apart from damage. Measured with generated programs
//! (`crates/ipt-analysis/tests/quality.rs`), bytes of packets after the first PSB:
//!
//! | | share followed | out of step per MiB |
//! | --- | --- | --- |
//! | as recorded | 1.00 | 0 |
//! | one byte in 4 KiB changed | 0.80 to 1.00 | 110 to 820 |
//! | one byte in 1 KiB changed | 0.48 to 0.94 | 300 to 2,200 |
//! | one byte in 256 changed | 0.20 to 0.56 | 370 to 4,300 |
//! | a module's file is of another build | 0.12 to 0.57 | 9,500 to 77,000 |
//! | noise | 0.00 to 0.01 | below 150 |

use std::fmt;

use intel_pt::flow::Quality;

/// A smaller share of the bytes followed is doubtful.
pub const LEAST_SHARE: f64 = 0.5;

/// Times out of step per MiB of packets from which on the code is not what ran.
pub const MOST_OUT_OF_STEP: f64 = 5000.0;

/// Fewer times out of step say nothing: in a short stream, one makes a high rate.
pub const LEAST_TIMES: u64 = 4;

/// Why the flow of a stream is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Doubt {
    /// Packets and code contradict each other all the time.
    OutOfStep {
        /// Times per MiB.
        per_mib: f64,
    },
    /// Most of the bytes could not be followed.
    NotFollowed {
        /// The share that was, 0 to 1.
        share: f64,
        /// Whether that is mostly because code is missing.
        code_is_missing: bool,
    },
}

/// What is doubtful about a walk with these numbers. `None` for a good one, and for one over no bytes.
pub fn doubt(quality: &Quality) -> Option<Doubt> {
    out_of_step(quality).or_else(|| {
        let share = quality.share_followed().filter(|share| *share < LEAST_SHARE)?;
        let code_is_missing = quality.missing > quality.out_of_step();
        Some(Doubt::NotFollowed { share, code_is_missing })
    })
}

/// As [`doubt`], from the times out of step alone: for walks that skip packets on purpose.
pub fn out_of_step(quality: &Quality) -> Option<Doubt> {
    let per_mib = quality.out_of_step_per_mib()?;
    (quality.out_of_step() >= LEAST_TIMES && per_mib > MOST_OUT_OF_STEP).then_some(Doubt::OutOfStep { per_mib })
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfStep { per_mib } => write!(
                f,
                "packets and code contradict each other {per_mib:.0} times per MiB: the code is not what ran, so do not rely on it"
            ),
            Self::NotFollowed { share, code_is_missing: true } => write!(
                f,
                "only {:.0}% of the packets' bytes could be followed, mostly because module files are missing",
                share * 100.0
            ),
            Self::NotFollowed { share, code_is_missing: false } => write!(
                f,
                "only {:.0}% of the packets' bytes could be followed: the data is damaged, or the code is not what ran",
                share * 100.0
            ),
        }
    }
}
