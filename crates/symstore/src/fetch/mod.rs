//! Fetches images and PDBs from symbol servers. Cargo feature `fetch`; nothing here runs unless it is called.
//!
//! Each file is asked for as it is, then compressed (`name_`), then by its `file.ptr`; on each server in turn, under
//! each name it may have. It arrives under a temporary name in its place in a symbol store, is compared with what was
//! wanted, and only then gets its name. A cut connection is taken up where it broke off, also by a later run, if the
//! server gives the file an `ETag` or a date to tell that it is still the same one.
//!
//! Proxies: `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`. Certificates: those of webpki-roots, or if
//! `SSL_CERT_FILE` names a PEM file, those in it.

mod download;
mod pdb_file;
mod verify;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use self::download::{Answer, Client, Failure};
use self::verify::{Verdict, verify};
use super::compressed;
use super::name::FileName;
use super::server::{FileKind, ServerFile, escape, url};
use super::store::{Pointer, Store};

/// Where to fetch from, where to, and with how much patience.
#[derive(Clone)]
pub struct FetchOptions<'a> {
    /// Addresses of symbol servers, asked in this order.
    pub servers: Vec<String>,
    /// The symbol store that the files go into. Made when the first file comes.
    pub store: PathBuf,
    /// Files at a time.
    pub threads: usize,
    /// How often a request is made in vain before it is given up. What brings new bytes was not in vain.
    pub attempts: u32,
    /// The first pause between two attempts; each one after it is twice as long, to a limit of 30 s.
    pub pause: Duration,
    /// The longest silence: for connecting, for an answer, and between two pieces of it.
    pub silence: Duration,
    /// The longest time for one file, all attempts together.
    pub patience: Duration,
    /// Proxy.
    pub proxy: Proxy,
    /// Called from many threads with each piece that arrives.
    pub progress: Option<&'a (dyn Fn(FetchProgress<'_>) + Sync)>,
}

/// Which proxy to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// What the environment says.
    #[default]
    Environment,
    /// None.
    Direct,
    /// This one.
    At(String),
}

/// How far one file is.
#[derive(Clone, Copy, Debug)]
pub struct FetchProgress<'f> {
    /// The file.
    pub file: &'f ServerFile,
    /// Bytes that have arrived, those of earlier runs included.
    pub received: u64,
    /// Bytes of the file, if the server says.
    pub total: Option<u64>,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was in the store already.
    Present {
        /// Where.
        path: PathBuf,
    },
    /// It came, it is the right one, and it is in the store.
    Fetched {
        /// Where.
        path: PathBuf,
        /// From which address.
        url: String,
        /// What should be said about it all the same.
        warnings: Vec<String>,
    },
    /// Every server says that it does not have it.
    NotThere,
    /// Something came that is another file; it was thrown away.
    Discarded {
        /// From which address.
        url: String,
        /// What was wrong.
        reason: String,
    },
    /// It could not be had.
    Failed {
        /// From which address.
        url: String,
        /// Why not.
        reason: String,
    },
}

/// Nothing could be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// An address that is none.
    #[error("{url:?} is no address of a symbol server: it must begin with http:// or https://")]
    Address {
        /// As it was given.
        url: String,
    },
    /// A proxy or certificate file that cannot be used.
    #[error("{0}")]
    Client(String),
}

impl FetchOptions<'_> {
    /// Eight files at a time, five attempts half a second apart and more, 30 s of silence, half an hour per file.
    pub fn new(server: impl Into<String>, store: impl Into<PathBuf>) -> Self {
        Self {
            servers: vec![server.into()],
            store: store.into(),
            threads: 8,
            attempts: 5,
            pause: Duration::from_millis(500),
            silence: Duration::from_secs(30),
            patience: Duration::from_secs(30 * 60),
            proxy: Proxy::Environment,
            progress: None,
        }
    }
}

/// Fetches the files, several at a time, and says of each what became of it, in the order of `files`.
///
/// # Errors
/// When an address, the proxy or the certificates cannot be used. What happens to a file is its [`Outcome`].
pub fn fetch(files: &[ServerFile], options: &FetchOptions<'_>) -> Result<Vec<Outcome>, FetchError> {
    if let Some(url) = options.servers.iter().find(|url| !(url.starts_with("http://") || url.starts_with("https://"))) {
        return Err(FetchError::Address { url: url.clone() });
    }
    let client = Client::new(options)?;
    let store = Store::open(&options.store);
    // Two modules can be one file (a driver and its copy in the crash-dump stack): it is fetched once.
    let mut unique: Vec<&ServerFile> = Vec::new();
    let mut numbers = HashMap::new();
    let order: Vec<usize> = files
        .iter()
        .map(|file| {
            *numbers.entry((file.name().as_str().to_lowercase(), file.key().to_owned())).or_insert_with(|| {
                unique.push(file);
                unique.len() - 1
            })
        })
        .collect();
    let outcomes: Vec<Mutex<Outcome>> = unique.iter().map(|_| Mutex::new(Outcome::NotThere)).collect();
    let next = AtomicUsize::new(0);
    let silent = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, unique.len().max(1)) {
            scope.spawn(|| {
                while let Some((file, outcome)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    unique.get(number).zip(outcomes.get(number))
                } {
                    let result = Errand { file, options, client: &client, store: &store, silent: &silent }.run();
                    *outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = result;
                }
            });
        }
    });
    let outcome = |number: usize| outcomes[number].lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    Ok(order.into_iter().map(outcome).collect())
}

/// One file and everything needed to get it.
struct Errand<'a> {
    file: &'a ServerFile,
    options: &'a FetchOptions<'a>,
    client: &'a Client<'a>,
    store: &'a Store,
    /// Servers that nobody could reach. They are not tried again for every file.
    silent: &'a Mutex<BTreeSet<String>>,
}

/// The forms in which a server may have a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Compressed,
}

impl Errand<'_> {
    fn run(&self) -> Outcome {
        let place = self.store.place(self.file.name(), self.file.key());
        if place.is_file() && matches!(verify(&place, self.file), Ok(Verdict::Right(_))) {
            return Outcome::Present { path: place };
        }
        let deadline = self.client.deadline();
        // The best answer so far: a failure may be over tomorrow and a wrong file is a fact worth telling, so neither
        // is forgotten because another server does not have the file.
        let mut answer = Outcome::NotThere;
        for server in &self.options.servers {
            for name in self.file.names() {
                if self.silent().contains(server) {
                    answer =
                        Outcome::Failed { url: server.clone(), reason: "the server could not be reached".to_owned() };
                    break;
                }
                match self.ask(server, name, &place, deadline) {
                    Outcome::NotThere => {}
                    done @ (Outcome::Fetched { .. } | Outcome::Present { .. }) => return done,
                    other if answer == Outcome::NotThere => answer = other,
                    _ => {}
                }
            }
        }
        answer
    }

    fn ask(&self, server: &str, name: &FileName, place: &Path, deadline: std::time::Instant) -> Outcome {
        for (form, file) in [(Form::Plain, name.clone()), (Form::Compressed, name.compressed())] {
            let address = url(server, name, self.file.key(), &file);
            match self.take(server, &address, form, place, deadline) {
                Outcome::NotThere => {}
                done => return done,
            }
        }
        let address =
            format!("{}/{}/{}/file.ptr", server.trim_end_matches('/'), escape(name.as_str()), self.file.key());
        match self.client.text(&address, deadline) {
            Ok(None) => Outcome::NotThere,
            Ok(Some(text)) => match Pointer::parse(&text) {
                Pointer::Path(path) => match relative(&path) {
                    Some(below) => {
                        let form = if path.ends_with('_') { Form::Compressed } else { Form::Plain };
                        self.take(server, &format!("{}/{below}", server.trim_end_matches('/')), form, place, deadline)
                    }
                    None => Outcome::Failed {
                        url: address,
                        reason: format!("the server only says that the file is at {path:?}"),
                    },
                },
                Pointer::Message(message) => {
                    Outcome::Failed { url: address, reason: format!("the server has a message instead: {message:?}") }
                }
            },
            Err(failure) => self.failed(server, &address, failure),
        }
    }

    fn silent(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.silent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn failed(&self, server: &str, address: &str, failure: Failure) -> Outcome {
        if failure.unreachable {
            self.silent().insert(server.to_owned());
        }
        Outcome::Failed { url: address.to_owned(), reason: failure.reason }
    }

    /// Downloads one address, verifies, and puts in place.
    fn take(&self, server: &str, address: &str, form: Form, place: &Path, deadline: std::time::Instant) -> Outcome {
        let failed = |reason: String| Outcome::Failed { url: address.to_owned(), reason };
        let mut damage = None;
        // A file that is right by its identity and damaged in its body is fetched once more from the start. If it
        // comes the same again, that is how the server has it.
        for _ in 0..2 {
            let partial = match self.client.download(address, place, form == Form::Compressed, self.file, deadline) {
                Ok(Answer::Complete(partial)) => partial,
                Ok(Answer::NotThere) => return Outcome::NotThere,
                Err(failure) => return self.failed(server, address, failure),
            };
            let ready = match form {
                Form::Plain => Ok(partial.path().to_owned()),
                Form::Compressed => unpack(partial.path()),
            };
            let ready = match ready {
                Ok(ready) => ready,
                Err(error) => {
                    partial.discard();
                    let reason = format!("it cannot be unpacked: {error}");
                    return Outcome::Discarded { url: address.to_owned(), reason };
                }
            };
            let verdict = verify(&ready, self.file);
            let again = damage.is_some();
            match verdict {
                Ok(Verdict::Damaged(what)) if !again || self.is_cut(&ready) => {
                    remove(&ready);
                    partial.discard();
                    damage = Some(what);
                }
                Ok(Verdict::Right(_) | Verdict::Damaged(_)) => {
                    if let Err(error) = fs::rename(&ready, place) {
                        return failed(format!("{}: cannot be put in place: {error}", place.display()));
                    }
                    partial.discard();
                    let warnings = match verdict {
                        Ok(Verdict::Right(remarks)) => remarks,
                        Ok(Verdict::Damaged(what)) => vec![format!("it came twice like this: {what}")],
                        _ => Vec::new(),
                    };
                    return Outcome::Fetched { path: place.to_owned(), url: address.to_owned(), warnings };
                }
                Ok(Verdict::Wrong(reason)) => {
                    remove(&ready);
                    partial.discard();
                    return Outcome::Discarded { url: address.to_owned(), reason };
                }
                Err(error) => return failed(format!("{}: {error}", ready.display())),
            }
        }
        Outcome::Discarded { url: address.to_owned(), reason: damage.unwrap_or_default() }
    }

    /// True for an image whose sections are not all there, which nobody can use.
    fn is_cut(&self, path: &Path) -> bool {
        matches!(self.file.kind(), FileKind::Image(_))
            && fs::read(path).is_ok_and(|bytes| pe_image::PeFile::parse(&bytes).is_err())
    }
}

/// Unpacks a cabinet or SZDD file beside itself.
fn unpack(path: &Path) -> io::Result<PathBuf> {
    let bytes = fs::read(path)?;
    let unpacked = if bytes.starts_with(compressed::SZDD) {
        compressed::read_szdd(bytes.as_slice())?.bytes
    } else {
        let members = compressed::cabinet_members(io::Cursor::new(&bytes))?;
        let [member] = members.as_slice() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} files in a cabinet for one", members.len()),
            ));
        };
        compressed::read_cabinet_member(io::Cursor::new(&bytes), member)?
    };
    let mut target = path.as_os_str().to_owned();
    target.push(".unpacked");
    fs::write(&target, unpacked)?;
    Ok(target.into())
}

/// A temporary file that is not wanted any more; one that stays behind does no harm.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// A pointer that stays on the server, as an escaped address below it. Anything absolute is none.
fn relative(path: &str) -> Option<String> {
    let parts: Option<Vec<String>> =
        path.split(['/', '\\']).map(|part| FileName::new(part).ok().map(|name| escape(name.as_str()))).collect();
    parts.map(|parts| parts.join("/"))
}
