//! A web server on loopback that misbehaves as told: for tests of whoever has to cope with servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `CONNECT`, …
    pub method: String,
    /// The path as it stands in the request, escapes and all; for CONNECT the host and port.
    pub path: String,
    /// First byte of a `Range: bytes=N-`.
    pub range: Option<usize>,
    /// The `If-Range` header.
    pub if_range: Option<String>,
    /// How many requests for this path came before.
    pub earlier: usize,
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The file, whole or from where the request wants it, with this ETag if it is not empty.
    File(Vec<u8>, &'static str),
    /// As [`Reply::File`], but the connection is cut after so many bytes of the body.
    Cut(Vec<u8>, &'static str, usize),
    /// As [`Reply::File`], in pieces of so many bytes with a pause after each.
    Slow(Vec<u8>, &'static str, usize, Duration),
    /// The file without a length: it ends where the connection does, after so many bytes.
    Endless(Vec<u8>, usize),
    /// The whole file although a range was asked for, claimed to be the range that starts at this byte.
    WrongRange(Vec<u8>, &'static str, usize),
    /// Only a status.
    Status(u16),
    /// A status and one header more.
    StatusWith(u16, &'static str),
    /// 302 to this address.
    Redirect(String),
    /// A status and one header more, then a body that never ends: a byte after each pause, or as fast as it goes if that
    /// is zero.
    Drip(u16, String, Duration),
    /// Nothing, for so long; then the connection is closed.
    Silence(Duration),
    /// The connection is closed at once.
    Close,
    /// Passes everything on to this address, as a proxy does after CONNECT.
    Tunnel(SocketAddr),
}

/// The server. It stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1. `answer` decides each reply; it is called from several threads.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let (shared_log, shared_stop) = (log.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared_stop.load(Ordering::Relaxed) {
                    break;
                }
                let (log, answer) = (shared_log.clone(), answer.clone());
                if let Ok(stream) = stream {
                    // A client that hangs up is part of the game.
                    std::thread::spawn(move || serve(stream, &log, &*answer).ok());
                }
            }
        });
        Self { address, log, stop }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub fn log(&self) -> Vec<Request> {
        self.log.lock().expect("no thread of the server panics").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener so that it sees the flag.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request) -> Reply + ?Sized),
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request { method, path, range: None, if_range: None, earlier: 0 };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    request.range = value.trim().strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')?.parse().ok());
                }
                "if-range" => request.if_range = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        {
            let mut log = log.lock().expect("no thread of the server panics");
            request.earlier = log.iter().filter(|other| other.path == request.path).count();
            log.push(request.clone());
        }
        if !reply(&mut out, &mut reader, &request, answer(&request))? {
            return Ok(());
        }
    }
}

/// Answers; false when the connection is at its end.
fn reply(out: &mut TcpStream, reader: &mut impl Read, request: &Request, reply: Reply) -> std::io::Result<bool> {
    match reply {
        Reply::File(body, tag) => send(out, request, &body, tag, usize::MAX, body.len().max(1), Duration::ZERO),
        Reply::Cut(body, tag, after) => send(out, request, &body, tag, after, body.len().max(1), Duration::ZERO),
        Reply::Slow(body, tag, piece, pause) => send(out, request, &body, tag, usize::MAX, piece, pause),
        Reply::Endless(body, after) => {
            out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            out.write_all(&body[..after.min(body.len())])?;
            Ok(false)
        }
        Reply::WrongRange(body, tag, start) => {
            let (status, range) = match request.range {
                Some(_) => (
                    "206 Partial Content",
                    format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len()),
                ),
                None => ("200 OK", String::new()),
            };
            let cut = if request.range.is_some() { body.len() } else { body.len() / 2 };
            write!(out, "HTTP/1.1 {status}\r\nETag: {tag}\r\n{range}Content-Length: {}\r\n\r\n", body.len())?;
            out.write_all(&body[..cut])?;
            Ok(cut == body.len())
        }
        Reply::Status(status) => write!(out, "HTTP/1.1 {status} As told\r\nContent-Length: 0\r\n\r\n").map(|()| true),
        Reply::StatusWith(status, header) => {
            write!(out, "HTTP/1.1 {status} As told\r\n{header}\r\nContent-Length: 0\r\n\r\n").map(|()| true)
        }
        Reply::Redirect(to) => {
            write!(out, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").map(|()| true)
        }
        Reply::Drip(status, header, pause) => {
            write!(out, "HTTP/1.1 {status} As told\r\n{header}\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let piece = if pause.is_zero() { "x".repeat(0x4000) } else { "x".to_owned() };
            // Ends when the client hangs up.
            loop {
                write!(out, "{:x}\r\n{piece}\r\n", piece.len())?;
                std::thread::sleep(pause);
            }
        }
        Reply::Silence(time) => {
            std::thread::sleep(time);
            Ok(false)
        }
        Reply::Close => Ok(false),
        Reply::Tunnel(to) => {
            let mut far = TcpStream::connect(to)?;
            out.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            let (mut back, mut near) = (far.try_clone()?, out.try_clone()?);
            std::thread::spawn(move || std::io::copy(&mut back, &mut near));
            std::io::copy(reader, &mut far)?;
            Ok(false)
        }
    }
}

fn send(
    out: &mut TcpStream,
    request: &Request,
    body: &[u8],
    tag: &str,
    cut: usize,
    piece: usize,
    pause: Duration,
) -> std::io::Result<bool> {
    let same = request.if_range.as_deref().is_none_or(|wanted| wanted == tag);
    let from = request.range.filter(|_| same);
    if from.is_some_and(|from| from >= body.len()) {
        return write!(out, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n").map(|()| true);
    }
    let rest = &body[from.unwrap_or(0)..];
    match from {
        Some(from) => write!(
            out,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n",
            body.len() - 1,
            body.len()
        )?,
        None => write!(out, "HTTP/1.1 200 OK\r\n")?,
    }
    if !tag.is_empty() {
        write!(out, "ETag: {tag}\r\n")?;
    }
    write!(out, "Content-Length: {}\r\n\r\n", rest.len())?;
    let sent = &rest[..cut.min(rest.len())];
    for piece in sent.chunks(piece) {
        out.write_all(piece)?;
        out.flush()?;
        std::thread::sleep(pause);
    }
    Ok(sent.len() == rest.len())
}
