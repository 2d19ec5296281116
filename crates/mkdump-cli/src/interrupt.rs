//! Ctrl-C and `kill`: half-written files go, then the process ends as if nobody had listened.

/// Listens for SIGINT and SIGTERM from now on. SIGKILL cannot be heard; what it leaves behind is named `.NAME.….partial`.
#[cfg(unix)]
pub fn watch() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    // Without the handler an interrupted run leaves its temporary file, which is no reason not to run.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            mkdump::remove_unfinished();
            // Ends the process by that signal, so that its parent sees what happened.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            std::process::exit(128 + signal);
        }
    });
}

/// Other systems end the process at once.
#[cfg(not(unix))]
pub fn watch() {}
