//! Files that another program has open. Windows does not replace them; elsewhere that is possible.

use std::io;
use std::path::Path;

/// Asks for the right to replace a file, before the long work: a program that has it open may not share that.
#[cfg(windows)]
pub(super) fn probe(path: &Path) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt;
    /// The right to delete and to rename a file.
    const DELETE: u32 = 0x0001_0000;
    std::fs::File::options().access_mode(DELETE).open(path).map(drop).map_err(explained)
}

/// Names the likely cause of an error.
#[cfg(windows)]
pub(super) fn explained(error: io::Error) -> io::Error {
    /// ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION, ERROR_USER_MAPPED_FILE.
    const IN_USE: [i32; 3] = [32, 33, 1224];
    /// ERROR_ACCESS_DENIED, which a rename over a file gives for that as well.
    const DENIED: i32 = 5;
    match error.raw_os_error() {
        Some(code) if IN_USE.contains(&code) => {
            io::Error::new(error.kind(), format!("another program, such as a debugger, has the file open: {error}"))
        }
        Some(DENIED) => {
            io::Error::new(error.kind(), format!("{error} (the file may be read-only, or open in another program)"))
        }
        _ => error,
    }
}

/// Asks for the right to replace a file, which is there.
#[cfg(not(windows))]
pub(super) fn probe(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Names the likely cause of an error.
#[cfg(not(windows))]
pub(super) fn explained(error: io::Error) -> io::Error {
    error
}
