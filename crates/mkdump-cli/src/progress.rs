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

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}
