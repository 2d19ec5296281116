//! Progress bars: on a terminal, and only for work that takes longer than half a second.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mkdump::Progress;

use crate::show::text::printable;

/// A phase shorter than this never shows.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shows phases on stderr.
pub struct Bars {
    began: Instant,
    verbose: bool,
    terminal: bool,
    phase: Mutex<Option<Phase>>,
}

struct Phase {
    began: Instant,
    bar: ProgressBar,
    shown: bool,
}

impl Bars {
    /// `quiet` shows nothing; `verbose` adds a line for each step.
    pub fn new(quiet: bool, verbose: bool) -> Self {
        Self {
            began: Instant::now(),
            verbose,
            terminal: !quiet && std::io::stderr().is_terminal(),
            phase: Mutex::new(None),
        }
    }

    /// Removes the bar that is up.
    pub fn finish(&self) {
        if let Some(phase) = self.lock().take() {
            phase.bar.finish_and_clear();
        }
    }

    /// Shows a line of text in place of a bar.
    #[cfg(feature = "fetch")]
    pub fn status(&self, text: &str) {
        if let Some(phase) = self.lock().as_mut() {
            if !phase.shown {
                let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                phase.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            }
            phase.bar.set_message(text.to_owned());
        }
        self.advance(0);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Phase>> {
        // A panic in another thread leaves at worst a half-drawn bar.
        self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn phase(&self, what: &'static str, total: Option<u64>) {
        self.detail(what);
        if !self.terminal {
            return;
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{msg:24} [{bar:40}] {percent:>3}% {eta}",
            None => "{msg:24} {spinner} {pos}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        if let Some(before) = self.lock().replace(Phase { began: Instant::now(), bar, shown: false }) {
            before.bar.finish_and_clear();
        }
    }

    fn advance(&self, amount: u64) {
        if !self.terminal {
            return;
        }
        if let Some(phase) = self.lock().as_mut() {
            if !phase.shown && phase.began.elapsed() >= PATIENCE {
                phase.bar.set_draw_target(ProgressDrawTarget::stderr());
                phase.shown = true;
            }
            phase.bar.inc(amount);
        }
    }

    fn detail(&self, line: &str) {
        crate::log::line("info", line);
        if self.verbose {
            eprintln!("[{:7.3} s] {}", self.began.elapsed().as_secs_f64(), printable(line));
        }
    }
}

/// The progress of a download: files, bytes, rate, time left.
#[cfg(feature = "fetch")]
pub struct Fetching<'b> {
    bars: &'b Bars,
    began: Instant,
    files: u64,
    state: Mutex<FetchState>,
}

#[cfg(feature = "fetch")]
#[derive(Default)]
struct FetchState {
    finished: u64,
    /// Bytes of each file so far, and of all of them: pieces are many, so the sum is kept and not made anew.
    received: std::collections::HashMap<String, u64>,
    bytes: u64,
}

#[cfg(feature = "fetch")]
impl<'b> Fetching<'b> {
    /// A download of so many files.
    pub fn new(bars: &'b Bars, files: u64) -> Self {
        bars.phase("fetching", None);
        Self { bars, began: Instant::now(), files, state: Mutex::default() }
    }

    /// So many bytes of a file are there.
    pub fn received(&self, file: &str, bytes: u64) {
        self.change(|state| {
            let before = match state.received.get_mut(file) {
                Some(known) => std::mem::replace(known, bytes.max(*known)),
                None => state.received.insert(file.to_owned(), bytes).unwrap_or(0),
            };
            state.bytes += bytes.saturating_sub(before);
        });
    }

    /// A file is done with.
    pub fn finished(&self) {
        self.change(|state| state.finished += 1);
    }

    fn change(&self, change: impl FnOnce(&mut FetchState)) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        self.bars.status(&told(state.finished, self.files, state.bytes, self.began.elapsed()));
    }
}

/// `fetching 12 of 251 files, 34.5 MiB, 2.1 MiB/s, about 1 m 20 s left`.
#[cfg(feature = "fetch")]
fn told(finished: u64, files: u64, bytes: u64, elapsed: Duration) -> String {
    use crate::show::text::{duration, grouped, size};

    let seconds = elapsed.as_secs_f64();
    let mut text = format!("fetching {} of {} files, {}", grouped(finished), grouped(files), size(bytes));
    if seconds >= 1.0 {
        text += &format!(", {}/s", size((bytes as f64 / seconds) as u64));
    }
    // Sizes are known only once a file begins, so files are what the time is estimated by.
    if finished > 0 && finished < files && seconds >= 1.0 {
        let left = seconds / finished as f64 * (files - finished) as f64;
        text += &format!(", about {} left", duration(left.ceil()));
    }
    text
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(all(test, feature = "fetch"))]
mod tests {
    use std::time::Duration;

    #[test]
    fn a_download_says_files_bytes_rate_and_time_left() {
        let told = |finished, bytes, seconds| super::told(finished, 250, bytes, Duration::from_secs(seconds));
        assert_eq!(told(0, 0, 0), "fetching 0 of 250 files, 0 bytes");
        assert_eq!(told(0, 3 << 20, 3), "fetching 0 of 250 files, 3.0 MiB, 1.0 MiB/s");
        assert_eq!(told(50, 80 << 20, 20), "fetching 50 of 250 files, 80.0 MiB, 4.0 MiB/s, about 1 m 20 s left");
        assert_eq!(told(250, 400 << 20, 100), "fetching 250 of 250 files, 400.0 MiB, 4.0 MiB/s");
    }
}
