//! Where a file's bytes are: on a disk, or packed in something that is. A plain value; `read` gives the bytes.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a file's bytes are. Made by the index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    pub(crate) file: PathBuf,
    pub(crate) layers: Vec<Layer>,
}

/// One wrapping around a file, from the outside in. Members are identified by number, because two of them can have the
/// same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Layer {
    /// Member of a zip archive.
    Zip { number: usize, name: String },
    /// Member of a cabinet, which is also what `makecab` makes of a single file (`foo.sy_`).
    Cab { number: usize },
    /// A file packed by the older `compress.exe`.
    Szdd,
}

impl Location {
    /// A file that is not packed.
    pub fn plain(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), layers: Vec::new() }
    }

    /// The file on disk, or the archive around it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The path, if the file is not packed.
    pub fn plain_path(&self) -> Option<&Path> {
        self.layers.is_empty().then_some(self.file.as_path())
    }

    pub(crate) fn within(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }
}

impl fmt::Display for Location {
    /// `path`, or `archive.zip!dir/member`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for layer in &self.layers {
            match layer {
                Layer::Zip { name, .. } => write!(f, "!{}", name.escape_debug())?,
                // The name of the packed file says enough.
                Layer::Cab { .. } | Layer::Szdd => {}
            }
        }
        Ok(())
    }
}
