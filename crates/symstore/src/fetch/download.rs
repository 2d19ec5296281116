//! One address to one temporary file, through cut connections, slow servers and passing faults.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};

use super::{FetchError, FetchOptions, FetchProgress, Proxy, remove};
use crate::server::{FileKind, ServerFile};

/// The most bytes of an image that are taken, whatever a server sends.
const LARGEST_IMAGE: u64 = 1 << 30;
/// The same for a PDB; the largest public ones have about 1.5 GiB.
const LARGEST_PDB: u64 = 8 << 30;
/// The most bytes of a file.ptr.
const LARGEST_TEXT: u64 = 4096;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many times a request may be sent somewhere else.
const MOST_REDIRECTS: u32 = 5;

/// Makes requests. Connections are kept and shared by all threads.
pub(super) struct Client<'a> {
    agent: Agent,
    options: &'a FetchOptions<'a>,
}

/// What a server has to say about an address.
pub(super) enum Answer {
    /// The whole file.
    Complete(Partial),
    /// There is no such file.
    NotThere,
}

/// Why a file could not be had from an address.
pub(super) struct Failure {
    pub(super) reason: String,
    /// True when nobody answered at all, so that there is no use in asking there for other files.
    pub(super) unreachable: bool,
}

/// Why one attempt did not bring the file.
enum Broken {
    /// Nobody answers.
    Unreachable(String),
    /// The next attempt may do better.
    Passing(String, Option<Duration>),
    /// It will not.
    Final(String),
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a FetchOptions<'a>) -> Result<Self, FetchError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(MOST_REDIRECTS)
            .user_agent(concat!("mkdump/", env!("CARGO_PKG_VERSION")))
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
                let proxy =
                    ureq::Proxy::new(url).map_err(|error| FetchError::Client(format!("proxy {url:?}: {error}")))?;
                config = config.proxy(Some(proxy));
            }
        }
        if let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from) {
            config = config.tls_config(TlsConfig::builder().root_certs(certificates(&path)?).build());
        }
        Ok(Self { agent: config.build().into(), options })
    }

    /// When a file that is begun now has to be there.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.options.patience
    }

    /// A short text; `None` if there is none.
    pub(super) fn text(&self, url: &str, deadline: Instant) -> Result<Option<String>, Failure> {
        let mut text = Vec::new();
        let found = self.persist(deadline, || {
            text.clear();
            let Some(response) = self.get(url, None)? else { return Ok((false, false)) };
            let body = response.into_body().into_reader().take(LARGEST_TEXT);
            { body }.read_to_end(&mut text).map_err(|error| Broken::Passing(error.to_string(), None))?;
            Ok((true, false))
        })?;
        Ok(found.then(|| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Downloads to a temporary file beside `place`, and goes on with what an earlier attempt or run has left there.
    pub(super) fn download(
        &self,
        url: &str,
        place: &Path,
        compressed: bool,
        file: &ServerFile,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let limit = match file.kind() {
            FileKind::Image(_) => LARGEST_IMAGE,
            FileKind::Pdb(_) => LARGEST_PDB,
        };
        let mut partial: Option<Partial> = Partial::left_over(place, compressed, url);
        let found = self.persist(deadline, || {
            let range = partial.as_ref().and_then(Partial::range);
            let Some(response) = self.get(url, range.as_ref())? else { return Ok((false, false)) };
            if partial.is_none() {
                partial = Some(Partial::create(place, compressed).map_err(|error| {
                    Broken::Final(format!("{}: cannot be written beside: {error}", place.display()))
                })?);
            }
            let Some(partial) = &mut partial else { return Ok((false, false)) };
            let before = partial.received;
            let done = partial.receive(url, response, range.is_some(), limit, deadline, |received, total| {
                if let Some(progress) = self.options.progress {
                    progress(FetchProgress { file, received, total });
                }
            });
            let gained = partial.received > before && partial.validator.is_some();
            match done {
                Err(Broken::Passing(..)) if gained => Ok((false, true)),
                Err(broken) => Err(broken),
                Ok(()) => Ok((true, false)),
            }
        });
        match (found, partial) {
            (Ok(true), Some(mut partial)) => match partial.complete() {
                Ok(()) => Ok(Answer::Complete(partial)),
                Err(error) => Err(Failure { reason: format!("{}: {error}", place.display()), unreachable: false }),
            },
            (Ok(_), _) => Ok(Answer::NotThere),
            (Err(reason), Some(partial)) if partial.validator.is_none() => {
                // Nobody could go on with it.
                partial.discard();
                Err(reason)
            }
            (Err(reason), _) => Err(reason),
        }
    }

    /// Repeats an attempt until it succeeds, fails for good, or has been made in vain too often. An attempt gives
    /// (found, go on): `(_, true)` means that it brought something and should be made again at once.
    fn persist(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> Result<(bool, bool), Broken>,
    ) -> Result<bool, Failure> {
        let failure = |reason| Failure { reason, unreachable: false };
        let mut vain = 0;
        loop {
            let (reason, advice) = match attempt() {
                Ok((found, false)) => return Ok(found),
                Ok((_, true)) => {
                    vain = 0;
                    ("the connection was cut again and again".to_owned(), None)
                }
                Err(broken) => {
                    vain += 1;
                    let (reason, advice, unreachable) = match broken {
                        Broken::Unreachable(reason) => (reason, None, true),
                        Broken::Passing(reason, advice) => (reason, advice, false),
                        Broken::Final(reason) => return Err(failure(reason)),
                    };
                    if vain >= self.options.attempts.max(1) {
                        let reason = format!("{reason} (given up after {vain} attempts)");
                        return Err(Failure { reason, unreachable });
                    }
                    (reason, advice)
                }
            };
            let doubled = self.options.pause.saturating_mul(1 << vain.saturating_sub(1).min(16));
            let pause = advice.map_or(doubled, |advice| advice.max(doubled)).min(LONGEST_PAUSE);
            if Instant::now() + pause >= deadline {
                return Err(failure(format!("{reason} (out of time)")));
            }
            std::thread::sleep(pause);
        }
    }

    /// The response, if it has a body that is wanted; `None` if there is no such file.
    fn get(&self, url: &str, range: Option<&Range>) -> Result<Option<Response<Body>>, Broken> {
        let mut request = self.agent.get(url);
        if let Some(Range { from, validator }) = range {
            request = request.header(header::RANGE, format!("bytes={from}-")).header(header::IF_RANGE, validator);
        }
        let response = request.call().map_err(broken)?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(response)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Broken::Passing(said(status), retry_after(&response)))
            }
            _ if status.is_server_error() => Err(Broken::Passing(said(status), retry_after(&response))),
            _ => Err(Broken::Final(said(status))),
        }
    }
}

/// What to ask for when a part is there.
struct Range {
    from: u64,
    validator: String,
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
    /// What an earlier run left, if it can be gone on with.
    fn left_over(place: &Path, compressed: bool, url: &str) -> Option<Self> {
        let path = partial_path(place, compressed);
        let tag = fs::read_to_string(tag_path(&path)).ok()?;
        let (address, validator) = tag.split_once('\n')?;
        let usable = address == url && !validator.is_empty() && !validator.contains(['\r', '\n']);
        let mut file = File::options().read(true).write(true).open(&path).ok()?;
        file.try_lock().ok()?;
        let received = if usable { file.seek(SeekFrom::End(0)).ok()? } else { 0 };
        Some(Self { path, file, received, validator: usable.then(|| validator.to_owned()) })
    }

    fn create(place: &Path, compressed: bool) -> io::Result<Self> {
        let mut path = partial_path(place, compressed);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        if file.try_lock().is_err() {
            // Another process is fetching the same file. Each makes its own; the last one to finish wins, and both are
            // verified.
            path.as_mut_os_string().push(format!(".{}", std::process::id()));
            file = File::create(&path)?;
        }
        Ok(Self { path, file, received: 0, validator: None })
    }

    /// Takes a whole file out of the reach of other processes, and unlocks it so that it can be read: on Windows a
    /// lock keeps out even the process that holds it.
    fn complete(&mut self) -> io::Result<()> {
        let mut path = self.path.as_os_str().to_owned();
        path.push(format!(".whole-{}", std::process::id()));
        fs::rename(&self.path, &path)?;
        remove(&tag_path(&self.path));
        self.path = path.into();
        self.file.unlock()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is left of it.
    pub(super) fn discard(self) {
        drop(self.file);
        remove(&tag_path(&self.path));
        remove(&self.path);
    }

    fn range(&self) -> Option<Range> {
        let validator = self.validator.clone().filter(|_| self.received > 0)?;
        Some(Range { from: self.received, validator })
    }

    /// Writes what comes, from where it comes.
    fn receive(
        &mut self,
        url: &str,
        response: Response<Body>,
        resumed: bool,
        limit: u64,
        deadline: Instant,
        progress: impl Fn(u64, Option<u64>),
    ) -> Result<(), Broken> {
        let disk = |error: io::Error| Broken::Final(format!("cannot write: {error}"));
        let total = match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart(url, None).map_err(disk)?;
                return Err(Broken::Passing("the server does not have the rest of the file".to_owned(), None));
            }
            StatusCode::PARTIAL_CONTENT if resumed => {
                let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                match range.and_then(content_range).filter(|(from, _)| *from == self.received) {
                    Some((_, total)) => total,
                    None => {
                        self.restart(url, None).map_err(disk)?;
                        return Err(Broken::Passing(
                            format!("a piece of the file that was not asked for: {range:?}"),
                            None,
                        ));
                    }
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(Broken::Final("a piece although the whole file was asked for".to_owned()));
            }
            _ => {
                self.restart(url, validator(&response)).map_err(disk)?;
                response.body().content_length()
            }
        };
        if total.is_some_and(|total| total > limit) {
            return Err(Broken::Final(format!("{total:?} bytes are more than any file that was asked for")));
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            progress(self.received, total);
            let size = body.read(&mut buffer).map_err(|error| Broken::Passing(error.to_string(), None))?;
            if size == 0 {
                break;
            }
            self.file.write_all(&buffer[..size]).map_err(disk)?;
            self.received += size as u64;
            if self.received > limit {
                return Err(Broken::Final(format!("more than {limit} bytes, which no file has that was asked for")));
            }
            if Instant::now() > deadline {
                return Err(Broken::Final("out of time".to_owned()));
            }
        }
        match total {
            Some(total) if total != self.received => {
                Err(Broken::Passing(format!("the connection ended after {} of {total} bytes", self.received), None))
            }
            _ => Ok(()),
        }
    }

    /// Forgets what is there, and remembers by what to know the file again.
    fn restart(&mut self, url: &str, validator: Option<String>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.received = 0;
        match &validator {
            Some(validator) => fs::write(tag_path(&self.path), format!("{url}\n{validator}"))?,
            None => remove(&tag_path(&self.path)),
        }
        self.validator = validator;
        Ok(())
    }
}

fn partial_path(place: &Path, compressed: bool) -> PathBuf {
    let mut path = place.as_os_str().to_owned();
    path.push(if compressed { "_.partial" } else { ".partial" });
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

/// Seconds until the server wants to be asked again. A date is not understood, and the usual pause is made.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn said(status: StatusCode) -> String {
    format!("the server says {status}")
}

fn broken(error: ureq::Error) -> Broken {
    use ureq::Error;
    match error {
        Error::HostNotFound | Error::ConnectionFailed | Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Broken::Unreachable(error.to_string())
        }
        Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => Broken::Unreachable(io.to_string()),
        Error::Io(_) | Error::Timeout(_) | Error::Protocol(_) => Broken::Passing(error.to_string(), None),
        other => Broken::Final(other.to_string()),
    }
}

fn certificates(path: &Path) -> Result<RootCerts, FetchError> {
    let pem =
        fs::read(path).map_err(|error| FetchError::Client(format!("SSL_CERT_FILE {}: {error}", path.display())))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(RootCerts::from(certificates))
}
