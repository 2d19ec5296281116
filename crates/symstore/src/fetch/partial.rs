//! Files on their way into a store.
//!
//! A store may be shared with people who are not to be trusted, and the names of unfinished files can be guessed. So
//! nothing is written through a link that somebody has put there: files are created anew, and one that was left by an
//! earlier run is opened only if it is a regular file with no other name.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ureq::http::{Response, header};
use ureq::{Body, http::StatusCode};

use super::client::{Broken, Range, broken_body};

/// The longest address and tag that are read back.
const LONGEST_TAG: u64 = 8192;
/// A piece that is shorter does not count as progress: at a byte for each connection a file would never be whole.
const SHORTEST_GAIN: u64 = 4096;

/// What a file may be, and until when it is waited for.
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) deadline: std::time::Instant,
}

/// The forms in which a server may have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The file.
    Plain,
    /// A cabinet with the file in it, whose name ends in `_`.
    Compressed,
}

/// A file on its way, beside its place: `name.partial`, and `name.partial.tag` with what tells whether the server's
/// file is still the same. Whoever holds it has locked it, until it is whole.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    received: u64,
    validator: Option<String>,
}

impl Partial {
    /// What an earlier run has left of the file, if it can be gone on with.
    pub(super) fn left_over(place: &Path, form: Form, url: &str) -> Option<Self> {
        let path = partial_path(place, form);
        let mut tag = String::new();
        open_own(&tag_path(&path)).ok()?.take(LONGEST_TAG).read_to_string(&mut tag).ok()?;
        let (address, validator) = tag.split_once('\n')?;
        let usable = address == url && !validator.is_empty() && !validator.contains(['\r', '\n']);
        let mut file = open_own(&path).ok()?;
        file.try_lock().ok()?;
        let received = if usable { file.seek(SeekFrom::End(0)).ok()? } else { 0 };
        Some(Self { path, file, received, validator: usable.then(|| validator.to_owned()) })
    }

    pub(super) fn create(place: &Path, form: Form) -> io::Result<Self> {
        let mut path = partial_path(place, form);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = match open_own(&path) {
            Ok(file) if file.try_lock().is_ok() => file,
            // Another process is fetching the same file. Each makes its own; the last one to finish wins, and both are
            // verified.
            Ok(_) => {
                path.as_mut_os_string().push(format!(".{}", std::process::id()));
                create_new(&path)?
            }
            Err(_) => {
                let file = create_new(&path)?;
                file.lock()?;
                file
            }
        };
        Ok(Self { path, file, received: 0, validator: None })
    }

    /// True when another attempt could go on from what is here.
    pub(super) fn is_resumable(&self) -> bool {
        self.validator.is_some()
    }

    /// True when enough has come since `before` bytes were there to go on with.
    pub(super) fn gained(&self, before: u64) -> bool {
        self.is_resumable() && self.received >= before.saturating_add(SHORTEST_GAIN)
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What to ask for, if a part is here.
    pub(super) fn range(&self) -> Option<Range> {
        let validator = self.validator.clone().filter(|_| self.received > 0)?;
        Some(Range { from: self.received, validator })
    }

    /// Takes a whole file out of the reach of other processes, and unlocks it so that it can be read: on Windows a
    /// lock keeps out even the process that holds it.
    pub(super) fn complete(&mut self) -> io::Result<()> {
        let mut path = self.path.as_os_str().to_owned();
        path.push(format!(".whole-{}", std::process::id()));
        fs::rename(&self.path, &path)?;
        remove(&tag_path(&self.path));
        self.path = path.into();
        // If it is locked still, that shows when it is read. Wine reports an error here and has unlocked it.
        let _ = self.file.unlock();
        Ok(())
    }

    /// Removes what is left of it.
    pub(super) fn discard(self) {
        drop(self.file);
        remove(&tag_path(&self.path));
        remove(&self.path);
    }

    /// Writes what comes, from where it comes. `resumed` says that the rest of the file was asked for.
    pub(super) fn receive(
        &mut self,
        url: &str,
        response: Response<Body>,
        resumed: bool,
        limits: &Limits,
        progress: impl Fn(u64, Option<u64>),
    ) -> Result<(), Broken> {
        let total = self.begin(url, &response, resumed)?;
        if let Some(total) = total.filter(|&total| total > limits.bytes) {
            return Err(Broken::Final(format!("it has {total} bytes, allowed are {}", limits.bytes)));
        }
        self.copy(response.into_body().into_reader(), total, limits, progress)?;
        match total {
            Some(total) if total != self.received => {
                Err(Broken::Passing(format!("the connection ended after {} of {total} bytes", self.received), None))
            }
            _ => Ok(()),
        }
    }

    /// Decides by the response's head whether it goes on with what is here or starts again, and how long the whole file
    /// is, if the server says.
    fn begin(&mut self, url: &str, response: &Response<Body>, resumed: bool) -> Result<Option<u64>, Broken> {
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart(url, None)?;
                Err(Broken::Passing("the server does not have the rest of the file".to_owned(), None))
            }
            StatusCode::PARTIAL_CONTENT if resumed => {
                let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                match range.and_then(content_range) {
                    Some((from, total)) if from == self.received => Ok(total),
                    _ => {
                        self.restart(url, None)?;
                        let wanted = self.received;
                        Err(Broken::Passing(format!("Content-Range is {range:?}, asked for was {wanted}-"), None))
                    }
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                Err(Broken::Final("the server sent a part although the whole file was asked for".to_owned()))
            }
            _ => {
                self.restart(url, validator(response))?;
                Ok(response.body().content_length())
            }
        }
    }

    fn copy(
        &mut self,
        mut body: impl Read,
        total: Option<u64>,
        limits: &Limits,
        progress: impl Fn(u64, Option<u64>),
    ) -> Result<(), Broken> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            progress(self.received, total);
            let size = body.read(&mut buffer).map_err(|error| broken_body(&error))?;
            if size == 0 {
                return Ok(());
            }
            self.file.write_all(&buffer[..size]).map_err(|error| cannot_write(&error))?;
            self.received += size as u64;
            if self.received > limits.bytes {
                return Err(Broken::Final(format!("it has more than {} bytes", limits.bytes)));
            }
            if std::time::Instant::now() > limits.deadline {
                return Err(Broken::Final("out of time".to_owned()));
            }
        }
    }

    /// Forgets what is here, and notes by what the file will be recognised.
    fn restart(&mut self, url: &str, validator: Option<String>) -> Result<(), Broken> {
        self.reset(url, validator.as_deref()).map_err(|error| cannot_write(&error))?;
        self.received = 0;
        self.validator = validator;
        Ok(())
    }

    fn reset(&mut self, url: &str, validator: Option<&str>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        let tag = tag_path(&self.path);
        match validator {
            Some(validator) => create_new(&tag)?.write_all(format!("{url}\n{validator}").as_bytes()),
            None => {
                remove(&tag);
                Ok(())
            }
        }
    }
}

/// Creates a file that was not there. What was there under this name is removed; if it was a link, what it led to stays.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    remove(path);
    File::options().read(true).write(true).create_new(true).open(path)
}

/// Opens a file that an earlier run has left: a regular file, not a link, and without a second name. It is not changed
/// by being opened, and whether it is the right one is asked of the opened file.
fn open_own(path: &Path) -> io::Result<File> {
    let foreign = || io::Error::new(io::ErrorKind::InvalidInput, "not a file that a fetch has left");
    let before = fs::symlink_metadata(path)?;
    if !before.is_file() {
        return Err(foreign());
    }
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(windows)]
    {
        // FILE_FLAG_OPEN_REPARSE_POINT: a link is opened as itself.
        std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, 0x0020_0000);
    }
    let file = options.open(path)?;
    let opened = file.metadata()?;
    if opened.is_file() && is_same(&before, &opened) { Ok(file) } else { Err(foreign()) }
}

#[cfg(unix)]
fn is_same(before: &Metadata, opened: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (before.dev(), before.ino()) == (opened.dev(), opened.ino()) && opened.nlink() == 1
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Removes a temporary file. One that cannot be removed does no harm.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn cannot_write(error: &io::Error) -> Broken {
    Broken::Final(format!("cannot write: {error}"))
}

fn partial_path(place: &Path, form: Form) -> PathBuf {
    let mut path = place.as_os_str().to_owned();
    path.push(match form {
        Form::Plain => ".partial",
        Form::Compressed => "_.partial",
    });
    path.into()
}

fn tag_path(partial: &Path) -> PathBuf {
    let mut path = partial.as_os_str().to_owned();
    path.push(".tag");
    path.into()
}

/// A strong ETag, or else the date of the file's last change (RFC 9110, 13.1.5: what If-Range takes).
fn validator(response: &Response<Body>) -> Option<String> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let tag = text(header::ETAG).filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned)
}

/// First byte and total of `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = range.split_once('-')?.0.parse().ok()?;
    Some((from, total.parse().ok()))
}
