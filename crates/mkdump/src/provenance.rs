//! Where a dump came from, written into the dump itself: a comment that debuggers print, and the same as JSON in a user
//! stream for programs.

use std::fmt::Write;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Type of the user stream that holds the provenance as JSON (UTF-8, no BOM, no NUL). User streams start at 0x10000;
/// this one spells "mk", then 1.
pub const PROVENANCE_STREAM: u32 = 0x6d6b_0001;

/// What made a dump, and from what. Holds no paths and no times of the machine that it was built on, so that the same
/// input gives the same bytes. Read from a dump, all of it is untrusted text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// `mkdump` and its version.
    pub tool: String,
    /// File name of the trace or dump.
    pub source: String,
    /// SHA-256 of the trace or dump, in hexadecimal.
    pub source_sha256: String,
    /// The other files of a source in several: the rest of a recording, or further dumps of a boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_sources: Vec<SourceFile>,
    /// What was assumed of import optimization.
    pub import_optimization: Assumed,
    /// What was assumed of retpolines.
    pub retpoline: Assumed,
    /// What was assumed of function overrides, where a module has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_overrides: Option<Assumed>,
    /// The files that the code comes from.
    pub files: Vec<UsedFile>,
}

/// A file of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// File name.
    pub name: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// What was assumed of a load-time change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assumed {
    /// `on`, `off` or `mixed`.
    pub mode: String,
    /// Why.
    pub reason: String,
}

/// A module file that went into a dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UsedFile {
    /// Module name.
    pub name: String,
    /// Where it lies in the dump: an address, as `0x` and hexadecimal digits.
    pub base: String,
    /// The symbol server's key of the file.
    pub image_key: String,
    /// Whether its import calls were made direct, where they can be.
    #[serde(default)]
    pub import_calls_direct: bool,
    /// Why it may be the wrong file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

impl Provenance {
    /// The comment that a debugger prints at opening.
    pub fn comment(&self) -> String {
        let mut text = format!("{}: code of {} kernel modules", self.tool, self.files.len());
        let _ = write!(text, ", laid out from {} (SHA-256 {})", self.source, self.source_sha256);
        for more in &self.more_sources {
            let _ = write!(text, " and {} (SHA-256 {})", more.name, more.sha256);
        }
        let _ = write!(
            text,
            "; import optimization {}: {}",
            self.import_optimization.mode, self.import_optimization.reason
        );
        let _ = write!(text, "; retpoline {}: {}", self.retpoline.mode, self.retpoline.reason);
        if let Some(overrides) = &self.function_overrides {
            let _ = write!(text, "; function overrides {}: {}", overrides.mode, overrides.reason);
        }
        text
    }

    /// The contents of the user stream.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the contents of a user stream.
    ///
    /// # Errors
    /// When they are not the JSON that mkdump writes.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> io::Result<String> {
    sha256_of(std::fs::File::open(path)?)
}

/// SHA-256 of what a reader gives, in hexadecimal.
pub fn sha256_of(mut file: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
