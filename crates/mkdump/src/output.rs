//! Output files that exist whole or not at all: written under a temporary name, synced, renamed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file being written. Nothing bears the final name until [`Output::commit`]; dropping the value, on an error or a
/// panic, removes the temporary file. A killed process can leave the temporary file behind, never the final one.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
}

/// Writes come in pieces of up to this many bytes; larger ones go straight through.
const BUFFER: usize = 256 << 10;

impl Output {
    /// Creates the temporary file beside `path`, so that the rename stays inside one file system. Done before the long
    /// work: a directory that cannot be written to is found out at once.
    pub fn create(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::write(path, io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{stem}.");
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        {
            // `tempfile` makes files that only their owner can read; an output is an ordinary file, subject to umask.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(parent(path)).map_err(|e| Error::write(path, e))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(BUFFER, file) })
    }

    /// The name that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes, syncs and gives the file its final name, replacing one that was there.
    pub fn commit(self) -> Result<()> {
        let Self { path, file } = self;
        let file = file.into_inner().map_err(|e| Error::write(&path, e.into_error()))?;
        file.as_file().sync_all().map_err(|e| Error::write(&path, e))?;
        file.persist(&path).map_err(|e| Error::write(&path, e.error))?;
        sync_directory(&path);
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A directory being filled; as [`Output`], but for several files.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    directory: tempfile::TempDir,
}

impl OutputDirectory {
    /// Creates the temporary directory beside `path`, where nothing may be yet: files that someone else put there are
    /// not replaced.
    pub fn create(path: &Path) -> Result<Self> {
        if path.exists() {
            return Err(Error::write(path, io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{stem}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o777));
        }
        let directory = builder.tempdir_in(parent(path)).map_err(|e| Error::write(path, e))?;
        Ok(Self { path: path.to_owned(), directory })
    }

    /// Creates a file in it. `name` must be a single component.
    pub fn file(&self, name: &str) -> Result<BufWriter<File>> {
        let path = self.directory.path().join(name);
        let file = File::create_new(&path).map_err(|e| Error::write(&self.path.join(name), e))?;
        Ok(BufWriter::with_capacity(BUFFER, file))
    }

    /// Gives the directory its final name.
    pub fn commit(self) -> Result<()> {
        let from = self.directory.keep();
        if let Err(error) = std::fs::rename(&from, &self.path) {
            let _ = std::fs::remove_dir_all(&from);
            return Err(Error::write(&self.path, error));
        }
        sync_directory(&self.path);
        Ok(())
    }
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the rename itself durable where directories can be synced. The file is whole either way, so a system that
/// refuses (Windows does) is no error.
fn sync_directory(path: &Path) {
    if let Ok(directory) = File::open(parent(path)) {
        let _ = directory.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Output;

    fn names(dir: &std::path::Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn only_a_committed_file_bears_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.dmp");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(output);
        assert_eq!(names(dir.path()), [""; 0]);

        let mut output = Output::create(&path).unwrap();
        output.write_all(b"whole").unwrap();
        output.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["out.dmp"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = Output::create(&dir.path().join("no/out.dmp")).unwrap_err();
        assert!(error.to_string().contains("out.dmp"), "{error}");
    }
}
