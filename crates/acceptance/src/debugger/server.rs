//! A symbol server for one test: serves a directory over HTTP on the loopback interface and remembers what was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

/// A running server. Its thread lives until the process ends: nothing here needs it to stop before.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Server {
    /// Serves `root` on a free port of 127.0.0.1.
    pub fn start(root: &Path) -> Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (root, log) = (root.to_owned(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, log) = (root.clone(), Arc::clone(&log));
                // A thread for each connection: a client that is silent, or hangs up in the middle, costs its own request only.
                std::thread::spawn(move || answer(stream, &root, &log));
            }
        });
        Ok(Server { address, asked })
    }

    /// The URL of the root.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every path asked for so far, with the status it was answered with.
    pub fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

fn answer(stream: TcpStream, root: &Path, log: &Mutex<Vec<(String, u16)>>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    // The headers are read to their end and ignored: closing with unread input would reset the connection.
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = file(root, path).and_then(|path| std::fs::read(path).ok());
    let (status, reason) = if body.is_some() { (200, "OK") } else { (404, "Not Found") };
    if let Ok(mut asked) = log.lock() {
        asked.push((path.to_owned(), status));
    }
    let body = body.unwrap_or_default();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    // Closing while the client still sends would reset the connection and could lose the answer: the client closes first.
    stream.shutdown(Shutdown::Write)?;
    std::io::copy(&mut reader, &mut std::io::sink())?;
    Ok(())
}

/// The file that a request path names, as long as it stays below the root.
fn file(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
    let full = root.join(relative);
    (plain && full.is_file()).then_some(full)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// On a loaded machine an engine opens a connection and says nothing for a while. Another engine's request must not
    /// wait for that.
    #[test]
    fn a_silent_client_does_not_hold_up_others() {
        let root = std::env::temp_dir().join(format!("mkdump-server-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("a.pdb"), b"symbols").unwrap();
        let server = Server::start(&root).unwrap();
        let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(server.address).unwrap()).collect();
        let mut client = TcpStream::connect(server.address).unwrap();
        // Far below the 10 seconds that the server waits for a silent client.
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.write_all(b"GET /a.pdb HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(b"\r\n\r\nsymbols"));
        assert_eq!(server.asked(), [("/a.pdb".to_owned(), 200)]);
        drop(silent);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
