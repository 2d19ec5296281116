//! tidy (next)
use crate::outcome::Outcome;
pub fn run(_: &[String]) -> anyhow::Result<Outcome> { Ok(Outcome::default()) }
