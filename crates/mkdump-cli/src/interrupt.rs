//! Signals and console events that end the process: half-written files are removed first.

/// Listens for SIGINT, SIGTERM, SIGHUP and SIGQUIT from now on, and turns SIGXFSZ (a file has reached the limit of `ulimit
/// -f`) into an ordinary error of the write. A signal that the parent set to be ignored, as `nohup` does, stays ignored.
///
/// SIGKILL cannot be caught; the file that it leaves is named `.NAME.….partial`.
#[cfg(unix)]
pub fn watch() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;

    // A write past the limit fails with EFBIG when a handler is there, whatever the handler does. If handlers
    // cannot be set, an interrupted run leaves its temporary file. The run itself is not affected.
    let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());
    let heard = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(|signal| !is_ignored(*signal));
    let Ok(mut signals) = Signals::new(heard) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            mkdump::remove_unfinished();
            // Ends the process by that signal, so that its parent sees what happened.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            std::process::exit(128 + signal);
        }
    });
}

/// Whether the process was started with a signal ignored. Asked of Linux; where it cannot be asked, SIGHUP counts as
/// ignored, because ending a `nohup` job would be worse than a temporary file that is left.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mask = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    match mask {
        Some(mask) => mask >> (signal - 1) & 1 == 1,
        None => signal == signal_hook::consts::SIGHUP,
    }
}

/// Listens for Ctrl-C, Ctrl-Break and the console's end from now on. The process ends with the code that Windows gives to
/// one that Ctrl-C ended, so that a batch file stops.
///
/// When the console's window is closed Windows ends the process as soon as it has been told, which may be before the file
/// is removed; then it is left as `.NAME.….partial`.
#[cfg(windows)]
pub fn watch() {
    /// STATUS_CONTROL_C_EXIT.
    const ENDED_BY_CTRL_C: u32 = 0xc000_013a;
    // If the handler cannot be set, an interrupted run leaves its temporary file behind. The run itself is not affected.
    let _ = ctrlc::set_handler(|| {
        mkdump::remove_unfinished();
        std::process::exit(ENDED_BY_CTRL_C as i32);
    });
}

/// Other systems end the process at once.
#[cfg(not(any(unix, windows)))]
pub fn watch() {}
