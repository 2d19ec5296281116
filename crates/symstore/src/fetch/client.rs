//! Requests to symbol servers: one address, one answer, with redirects, retries and deadlines.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};

use super::address::{redirected, without_password};
use super::{FetchError, FetchOptions, Proxy};

/// The most bytes of a file.ptr.
const LARGEST_TEXT: u64 = 4096;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many times a request may be sent somewhere else.
const MOST_REDIRECTS: u32 = 5;
/// How often a server is tried that cannot be reached and has not answered before.
const UNREACHABLE_ATTEMPTS: u32 = 2;
/// How often a server is tried that takes requests and has not answered a single one.
const SILENT_ATTEMPTS: u32 = 3;

/// Makes requests. Connections are kept and shared by all threads.
pub(super) struct Client<'a> {
    agent: Agent,
    pub(super) options: &'a FetchOptions<'a>,
    /// Servers that could not be reached, and why. They are not tried again for every file.
    unreachable: Mutex<BTreeMap<String, String>>,
    /// True when some server has answered, so that the network works.
    answered: AtomicBool,
}

/// Why a file could not be had from an address.
pub(super) enum Failure {
    /// The server cannot be reached, so there is no use in asking it for other files.
    Unreachable(String),
    /// Anything else.
    Other(String),
}

/// What an attempt that did not fail has brought.
pub(super) enum Attempt {
    /// The whole file.
    Complete,
    /// The server does not have it.
    NotThere,
    /// The connection was cut, but a part has come that the next attempt goes on from.
    Part,
}

/// Why one attempt did not bring the file.
pub(super) enum Broken {
    /// The server cannot be reached.
    Unreachable(String),
    /// The server took the request, and the head of its answer did not come in time.
    Silent(String),
    /// The next attempt may do better; the server may have said when to make it.
    Passing(String, Option<Duration>),
    /// It will not.
    Final(String),
}

/// What to ask for when a part is there.
pub(super) struct Range {
    pub(super) from: u64,
    /// Tells whether the server's file is still the one that the part is of.
    pub(super) validator: String,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a FetchOptions<'a>) -> Result<Self, FetchError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, because their bodies must not be read and not every target is allowed.
            .max_redirects(0)
            .user_agent(concat!("symstore/", env!("CARGO_PKG_VERSION")))
            // A compressed transfer would make offsets, and so resuming, meaningless.
            .accept_encoding("identity")
            .timeout_resolve(Some(options.silence))
            .timeout_connect(Some(options.silence))
            .timeout_send_request(Some(options.silence))
            .timeout_recv_response(Some(options.silence))
            .timeout_per_read(Some(options.silence))
            .max_idle_connections_per_host(options.threads);
        match &options.proxy {
            Proxy::Environment => {}
            Proxy::Direct => config = config.proxy(None),
            Proxy::At(url) => {
                let proxy = ureq::Proxy::new(url)
                    .map_err(|error| FetchError::client(format!("proxy {:?}: {error}", without_password(url))))?;
                config = config.proxy(Some(proxy));
            }
        }
        if let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from) {
            config = config.tls_config(TlsConfig::builder().root_certs(certificates(&path)?).build());
        }
        let (unreachable, answered) = Default::default();
        Ok(Self { agent: config.build().into(), options, unreachable, answered })
    }

    /// When a file that is begun now has to be there.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.options.patience
    }

    /// Why a server could not be reached, if that is known.
    pub(super) fn unreachable(&self, server: &str) -> Option<String> {
        self.unreachable_servers().get(server).cloned()
    }

    /// A short text; `None` if there is none. It may take no longer than a silence.
    pub(super) fn text(&self, server: &str, url: &str, deadline: Instant) -> Result<Option<String>, Failure> {
        let mut text = Vec::new();
        let found = self.persist(server, deadline, || {
            text.clear();
            let soon = deadline.min(Instant::now() + self.options.silence);
            let Some(response) = self.get(url, None, soon)? else { return Ok(Attempt::NotThere) };
            let mut body = response.into_body().into_reader().take(LARGEST_TEXT);
            body.read_to_end(&mut text).map_err(|error| broken_body(&error))?;
            Ok(Attempt::Complete)
        })?;
        Ok(found.then(|| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Repeats an attempt until it succeeds, fails for good, or has been made in vain too often. False if the server
    /// does not have the file.
    pub(super) fn persist(
        &self,
        server: &str,
        deadline: Instant,
        mut attempt: impl FnMut() -> Result<Attempt, Broken>,
    ) -> Result<bool, Failure> {
        let mut vain = 0;
        loop {
            if let Some(reason) = self.unreachable(server) {
                return Err(Failure::Unreachable(reason));
            }
            let (reason, advice) = match attempt() {
                Ok(Attempt::Complete) => return Ok(true),
                Ok(Attempt::NotThere) => return Ok(false),
                Ok(Attempt::Part) => {
                    vain = 0;
                    ("the connection was cut again and again".to_owned(), None)
                }
                Err(Broken::Final(reason)) => return Err(Failure::Other(reason)),
                Err(Broken::Unreachable(reason)) => {
                    vain += 1;
                    self.give_up(server, &reason, vain, UNREACHABLE_ATTEMPTS)?;
                    (reason, None)
                }
                Err(Broken::Silent(reason)) => {
                    vain += 1;
                    self.give_up(server, &reason, vain, SILENT_ATTEMPTS)?;
                    (reason, None)
                }
                Err(Broken::Passing(reason, advice)) => {
                    vain += 1;
                    if vain >= self.options.attempts {
                        return Err(Failure::Other(format!("{reason} (given up after {vain} attempts)")));
                    }
                    (reason, advice)
                }
            };
            let doubled = self.options.pause.saturating_mul(1 << vain.saturating_sub(1).min(16));
            let pause = advice.map_or(doubled, |advice| advice.max(doubled)).min(LONGEST_PAUSE);
            if Instant::now() + pause >= deadline {
                return Err(Failure::Other(format!("{reason} (out of time)")));
            }
            std::thread::sleep(pause);
        }
    }

    /// Fails, and remembers the server, after too many attempts in vain: `most` when nothing was ever answered.
    fn give_up(&self, server: &str, reason: &str, vain: u32, most: u32) -> Result<(), Failure> {
        let answered = self.answered.load(Ordering::Relaxed);
        let most = if answered { self.options.attempts } else { most };
        if vain < most.min(self.options.attempts) {
            return Ok(());
        }
        self.unreachable_servers().insert(server.to_owned(), reason.to_owned());
        Err(Failure::Unreachable(reason.to_owned()))
    }

    /// The response, if it has a body that is wanted; `None` if the server does not have the file. Everything up to the
    /// last byte of the body has to be there by the deadline.
    pub(super) fn get(
        &self,
        url: &str,
        range: Option<&Range>,
        deadline: Instant,
    ) -> Result<Option<Response<Body>>, Broken> {
        let mut address = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Broken::Final("out of time".to_owned()));
            }
            let mut request = self.agent.get(&address).config().timeout_global(Some(left)).build();
            if let Some(Range { from, validator }) = range {
                request = request.header(header::RANGE, format!("bytes={from}-")).header(header::IF_RANGE, validator);
            }
            let response = request.call().map_err(broken)?;
            self.answered.store(true, Ordering::Relaxed);
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return judge(response);
            }
            // The body is dropped unread: it could be endless.
            let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let target = target.ok_or_else(|| Broken::Final("a redirect that does not say where to".to_owned()))?;
            address = redirected(&address, target).map_err(Broken::Final)?;
        }
        Err(Broken::Final(format!("redirected more than {MOST_REDIRECTS} times")))
    }

    fn unreachable_servers(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(response: Response<Body>) -> Result<Option<Response<Body>>, Broken> {
    let status = response.status();
    let said = || format!("the server says {}", status.as_u16());
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(response)),
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Broken::Passing(said(), retry_after(&response)))
        }
        _ if status.is_server_error() => Err(Broken::Passing(said(), retry_after(&response))),
        _ => Err(Broken::Final(said())),
    }
}

/// Seconds until the server wants to be asked again. A date is not understood, and then the usual pause is made.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn broken(error: ureq::Error) -> Broken {
    use ureq::Error;
    match error {
        Error::HostNotFound => Broken::Unreachable("the host name cannot be resolved".to_owned()),
        Error::ConnectionFailed | Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Broken::Unreachable(error.to_string())
        }
        Error::Timeout(Timeout::RecvResponse) => Broken::Silent("the server does not answer".to_owned()),
        Error::Io(io) if is_unreachable(&io) => Broken::Unreachable(io.to_string()),
        Error::Timeout(Timeout::Global) => Broken::Final("out of time".to_owned()),
        Error::Io(_) | Error::Timeout(_) | Error::Protocol(_) => Broken::Passing(error.to_string(), None),
        // The library's own message repeats the address, and with it a password.
        Error::BadUri(_) => Broken::Final("the address is not valid".to_owned()),
        other => Broken::Final(other.to_string()),
    }
}

/// An error while a body is read, which the HTTP library wraps.
pub(super) fn broken_body(error: &io::Error) -> Broken {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    match inner {
        Some(ureq::Error::Timeout(Timeout::Global)) => Broken::Final("out of time".to_owned()),
        _ => Broken::Passing(error.to_string(), None),
    }
}

/// Whether an error means that there is no way to the server. A name that cannot be resolved has no kind of its own; the
/// numbers are those of Windows Sockets (WSAHOST_NOT_FOUND to WSANO_DATA).
fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    ) || matches!(error.raw_os_error(), Some(11001..=11004) if cfg!(windows))
        || error.to_string().contains("failed to lookup address")
}

fn certificates(path: &Path) -> Result<RootCerts, FetchError> {
    let pem =
        fs::read(path).map_err(|error| FetchError::client(format!("SSL_CERT_FILE {}: {error}", path.display())))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(RootCerts::from(certificates))
}
