//! Output files that exist whole or not at all: written under a temporary name, synced, renamed.
//!
//! ```text
//! .out.dmp.XXXXXX.partial    being written; removed when the job fails, panics or is interrupted
//!           │ sync, rename
//!           ▼
//! out.dmp                    whole
//! ```
//!
//! A process that is killed outright (SIGKILL, a power cut) can leave a partial file, but never the final one.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

mod in_use;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}")]
pub struct WriteError {
    /// The file, by its final name.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl WriteError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }
}

/// An error of `tempfile` without the path of the temporary file, which the user does not know.
fn without_path(error: io::Error) -> io::Error {
    match error.kind() {
        // The kind says nothing more than that there is an error.
        kind if error.get_ref().is_none() || io::Error::from(kind).to_string() == "other error" => error,
        kind => kind.into(),
    }
}

/// Shorthand for results of this module.
type Result<T> = std::result::Result<T, WriteError>;

/// A file being written. Nothing bears the final name until [`Output::commit`]; dropping the value, on an error or a
/// panic, removes the temporary file.
#[derive(Debug)]
pub struct Output {
    /// As the caller calls it.
    path: PathBuf,
    /// What is replaced: the same, or the file that a link names.
    place: PathBuf,
    file: Target,
}

#[derive(Debug)]
enum Target {
    Temporary(BufWriter<tempfile::NamedTempFile>, Unfinished),
    /// A device or a pipe (`/dev/stdout`, `/dev/null`): it cannot be replaced by a whole file.
    Direct(BufWriter<File>),
}

/// Writes come in pieces of up to this many bytes; larger ones go straight through.
const BUFFER: usize = 256 << 10;

impl Output {
    /// Creates the temporary file beside `path`, so that the rename stays inside one file system. Done before the long
    /// work: a directory that cannot be written to is found out at once. A link is followed to the file it names; a
    /// device or pipe is written to as it is.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = |error| WriteError::new(path, error);
        let linked = path.is_symlink().then(|| std::fs::canonicalize(path).ok()).flatten();
        let place = linked.unwrap_or_else(|| place_of(path));
        if let Ok(there) = place.metadata() {
            if there.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            if !there.is_file() {
                let file = File::options().write(true).open(&place).map_err(failed)?;
                let file = Target::Direct(BufWriter::with_capacity(BUFFER, file));
                return Ok(Self { path: path.to_owned(), place, file });
            }
            in_use::probe(&place).map_err(failed)?;
        }
        let mut builder = tempfile::Builder::new();
        let prefix = prefix(&place);
        builder.prefix(&prefix).suffix(SUFFIX);
        #[cfg(unix)]
        {
            // `tempfile` makes files that only their owner can read; an output is an ordinary file, subject to umask.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let (file, unfinished) = Unfinished::create(|| {
            let file = builder.tempfile_in(parent(&place)).map_err(without_path)?;
            let name = file.path().to_owned();
            Ok((file, name))
        })
        .map_err(failed)?;
        let file = Target::Temporary(BufWriter::with_capacity(BUFFER, file), unfinished);
        Ok(Self { path: path.to_owned(), place, file })
    }

    /// The name that the file will have, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes, syncs and gives the file its final name, replacing one that was there. When that is refused, the file is
    /// whole nevertheless: it is kept under its temporary name, which the error tells.
    pub fn commit(self) -> Result<()> {
        let Self { path, place, file } = self;
        let failed = |error| WriteError::new(&path, error);
        match file {
            Target::Direct(mut file) => file.flush().map_err(failed),
            Target::Temporary(file, unfinished) => {
                let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
                file.as_file().sync_all().map_err(failed)?;
                unfinished.rename(|_| file.persist(&place).map(drop).map_err(kept)).map_err(failed)?;
                sync_directory(&place);
                Ok(())
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Target::Temporary(file, _) => file.write(bytes),
            Target::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Target::Temporary(file, _) => file.flush(),
            Target::Direct(file) => file.flush(),
        }
    }
}

/// A directory being filled; as [`Output`], but for several files.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    directory: tempfile::TempDir,
    unfinished: Unfinished,
}

impl OutputDirectory {
    /// Creates the temporary directory beside `path`, where nothing may be yet: files that someone else put there are
    /// not replaced.
    pub fn create(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(WriteError::new(path, io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let mut builder = tempfile::Builder::new();
        let prefix = prefix(path);
        builder.prefix(&prefix).suffix(SUFFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o777));
        }
        let (directory, unfinished) = Unfinished::create(|| {
            let directory = builder.tempdir_in(parent(path)).map_err(without_path)?;
            let name = directory.path().to_owned();
            Ok((directory, name))
        })
        .map_err(|e| WriteError::new(path, e))?;
        Ok(Self { path: path.to_owned(), directory, unfinished })
    }

    /// The name that the directory will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file in it. `name` must be a single component.
    pub fn file(&self, name: &str) -> Result<BufWriter<File>> {
        let path = self.directory.path().join(name);
        let file = File::create_new(&path).map_err(|e| WriteError::new(&self.path.join(name), e))?;
        Ok(BufWriter::with_capacity(BUFFER, file))
    }

    /// Gives the directory its final name.
    pub fn commit(self) -> Result<()> {
        let Self { path, directory, unfinished } = self;
        // A file system that reports lack of room only when it is synced does so before the name is given.
        sync_files(directory.path()).map_err(|e| WriteError::new(&path, e))?;
        let renamed = unfinished.rename(|temporary| std::fs::rename(temporary, &path));
        // Either nothing bears the temporary name any more, or the whole directory does, and stays.
        let temporary = directory.keep();
        renamed.map_err(|error| WriteError::new(&path, kept_as(&error, &temporary)))?;
        sync_directory(&path);
        Ok(())
    }
}

/// What is being written, for [`remove_unfinished`].
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file or directory that still has its temporary name.
#[derive(Debug)]
struct Unfinished(PathBuf);

impl Unfinished {
    /// Creates one and notes it, in one step for [`remove_unfinished`].
    fn create<T>(create: impl FnOnce() -> io::Result<(T, PathBuf)>) -> io::Result<(T, Unfinished)> {
        let mut list = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (value, path) = create()?;
        list.push(path.clone());
        Ok((value, Unfinished(path)))
    }

    /// Gives it its final name, in one step for [`remove_unfinished`]: a directory that is being emptied is not renamed.
    fn rename(self, rename: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut list = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rename(&self.0)?;
        list.retain(|path| *path != self.0);
        drop(list);
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut list = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        list.retain(|path| *path != self.0);
    }
}

/// Removes the temporary files and directories of all outputs of this process that are not committed. For a program that
/// was told to end and does so next: a thread that begins, commits or drops an output afterwards waits until the process
/// has ended.
pub fn remove_unfinished() {
    let list = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for path in list.iter() {
        // A writer may put another file into a directory while it is being emptied.
        for _ in 0..3 {
            let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            if removed.is_ok() || path.symlink_metadata().is_err() {
                break;
            }
        }
    }
    // The lock is kept, so that no file appears after the last one was removed.
    std::mem::forget(list);
}

/// Keeps a whole file whose final name was refused, under its temporary name.
fn kept(refused: tempfile::PersistError) -> io::Error {
    let error = in_use::explained(refused.error);
    match refused.file.keep() {
        Ok((_, temporary)) => kept_as(&error, &temporary),
        Err(_) => error,
    }
}

/// Adds to an error under which name the finished output is.
fn kept_as(error: &io::Error, temporary: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{error}; the finished output is kept as {}", temporary.display()))
}

/// Where a file of this name lies. On Windows in a form that may be longer than 260 characters; a place that cannot be
/// found out stays as it was given.
fn place_of(path: &Path) -> PathBuf {
    let whole = || Some(std::fs::canonicalize(parent(path)).ok()?.join(path.file_name()?));
    cfg!(windows).then(whole).flatten().unwrap_or_else(|| path.to_owned())
}

/// Ends the names of temporary files.
const SUFFIX: &str = ".partial";

/// Begins the name of the temporary file of `path`.
fn prefix(path: &Path) -> String {
    // File systems allow 255 bytes for a name, and letters and suffix have to fit.
    let name: String = path.file_name().unwrap_or_default().to_string_lossy().chars().take(60).collect();
    format!(".{name}.")
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes all files of a directory to the disk: their file system once, since a file at a time takes seconds for some
/// thousand files.
#[cfg(target_os = "linux")]
fn sync_files(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

/// Writes all files of a directory to the disk.
#[cfg(not(target_os = "linux"))]
fn sync_files(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        File::options().write(true).open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

/// Makes the rename itself durable where directories can be synced. The file is whole either way, so a system that
/// refuses (Windows does) is not an error.
fn sync_directory(path: &Path) {
    if let Ok(directory) = File::open(parent(path)) {
        let _ = directory.sync_all();
    }
}

#[cfg(test)]
mod tests;
