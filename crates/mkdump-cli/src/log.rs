//! Log lines on request: what was done, with the time it was done at, into a file that the user named.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// The log of this process. There is one at most: a command line names it once, before anything is done.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    began: Instant,
    sink: Mutex<Box<dyn Write + Send>>,
}

/// Starts the log in a file, or on stderr for `-`.
pub fn start(path: &Path) -> io::Result<()> {
    let sink: Box<dyn Write + Send> =
        if path == Path::new("-") { Box::new(io::stderr()) } else { Box::new(File::create(path)?) };
    let log = Log { began: Instant::now(), sink: Mutex::new(sink) };
    // A second start would be a second --log, which the parser refuses.
    let _ = LOG.set(log);
    let words: Vec<_> =
        std::env::args_os().skip(1).map(|word| super::show::next::quoted(&word.to_string_lossy())).collect();
    line("info", &format!("mkdump {} {}", env!("CARGO_PKG_VERSION"), words.join(" ")));
    Ok(())
}

/// Writes a line, if there is a log. Text from traces and files has its control characters made harmless.
pub fn line(level: &str, text: &str) {
    let Some(log) = LOG.get() else { return };
    let mut sink = log.sink.lock().unwrap_or_else(PoisonError::into_inner);
    let text = super::show::text::printable(text);
    // A log that cannot be written does not stop the job.
    let _ = writeln!(sink, "{:9.3} {level:<5} {text}", log.began.elapsed().as_secs_f64());
}
