//! The demo's data.

use anyhow::Result;

use crate::outcome::Outcome;

/// Checks that the demo data in the repository is what the generator writes.
pub fn check() -> Result<Outcome> {
    Ok(Outcome::skip("demo-data: not generated yet"))
}
