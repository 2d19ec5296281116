//! Fetches images and PDBs from symbol servers. Cargo feature `fetch`; nothing here runs unless it is called.
//!
//! Each file is asked for as it is, then compressed (`name_`), then by its `file.ptr`; on each server in turn, under
//! each name it may have. It arrives under a temporary name in its place in a symbol store, is compared with what was
//! wanted, and only then gets its name. A download that was cut off is resumed, also by a later run, if the server gives
//! the file an `ETag` or a date to tell that it is still the same one. A redirect from https to http is not followed.
//!
//! What a hostile server can cost: [`FetchOptions::patience`] for each file, from the first request to the last byte; on
//! disk twice the size of the image and 64 MiB, at most 1 GiB (for a PDB 8 GiB), packed and unpacked; in memory
//! 64 KiB for each thread, and one file of at most 256 MiB while it is verified.
//!
//! Proxies: `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`. Certificates: those of webpki-roots, or if
//! `SSL_CERT_FILE` names a PEM file, those in it.

mod address;
mod client;
mod job;
mod partial;
mod verify;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::address::{is_http, without_password};
use self::client::Client;
use self::job::Job;
use crate::server::ServerFile;
use crate::store::Store;
use crate::wanted::Doubt;

/// Where to fetch from, where to, and with how much patience.
#[derive(Clone)]
pub struct FetchOptions<'a> {
    /// Addresses of symbol servers, asked in this order.
    pub servers: Vec<String>,
    /// The symbol store that the files go into. Made when the first file comes.
    pub store: PathBuf,
    /// Files at a time.
    pub threads: usize,
    /// How often a request is made in vain before it is given up. What brings new bytes was not in vain. A server that
    /// cannot be reached and has not answered before is tried twice, and then not again for other files.
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
    /// Called from many threads with each file that is done with, whatever became of it.
    pub finished: Option<&'a Finished<'a>>,
}

/// What is called with each file that is done with.
pub type Finished<'a> = dyn Fn(&ServerFile, &Outcome) + Sync + 'a;

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
#[non_exhaustive]
pub enum Outcome {
    /// It was in the store already.
    Present {
        /// Where.
        path: PathBuf,
        /// Why it may be the wrong one.
        doubts: Vec<Doubt>,
    },
    /// It came, it is the right one, and it is in the store.
    Fetched {
        /// Where.
        path: PathBuf,
        /// From which address.
        url: String,
        /// Why it may be the wrong one.
        doubts: Vec<Doubt>,
        /// What is wrong with its bytes. It came twice like this, so that is how the server has it.
        damage: Option<String>,
    },
    /// Every server says that it does not have it.
    NotThere,
    /// Something else came; it was thrown away.
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
    /// The server cannot be reached, so it was not asked. This is the same for every file.
    Unreachable {
        /// The server.
        server: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why nothing could be fetched at all.
#[derive(Debug)]
pub struct FetchError {
    kind: FetchErrorKind,
    message: String,
}

/// What keeps everything from being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FetchErrorKind {
    /// A server's address is not one.
    Address,
    /// The proxy or the file of certificates cannot be used.
    Client,
}

impl FetchError {
    fn address(url: &str) -> Self {
        let url = without_password(url);
        Self {
            kind: FetchErrorKind::Address,
            message: format!("{url:?} is not the address of a symbol server: it must begin with http:// or https://"),
        }
    }

    /// A proxy or certificate file that cannot be used.
    fn client(message: String) -> Self {
        Self { kind: FetchErrorKind::Client, message }
    }

    /// What keeps everything from being fetched.
    pub fn kind(&self) -> FetchErrorKind {
        self.kind
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FetchError {}

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
            finished: None,
        }
    }
}

/// Fetches the files, several at a time, and says of each what became of it, in the order of `files`.
///
/// # Errors
/// When an address, the proxy or the certificates cannot be used. What happens to a file is its [`Outcome`].
pub fn fetch(files: &[ServerFile], options: &FetchOptions<'_>) -> Result<Vec<Outcome>, FetchError> {
    if let Some(url) = options.servers.iter().find(|url| !is_http(url)) {
        return Err(FetchError::address(url));
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
    std::thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, unique.len().max(1)) {
            scope.spawn(|| {
                while let Some((file, outcome)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    unique.get(number).zip(outcomes.get(number))
                } {
                    let result = Job { file, client: &client, store: &store }.run();
                    if let Some(finished) = options.finished {
                        finished(file, &result);
                    }
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = result;
                }
            });
        }
    });
    let outcome = |number: usize| outcomes[number].lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(order.into_iter().map(outcome).collect())
}
