//! File names that come from a trace, a dump or a server, made safe to write with.
//!
//! Whoever made the trace chose its names. Nothing is written under such a name before it became a [`FileName`].

use std::fmt;

/// The longest name accepted, in bytes of UTF-8. Windows and Linux both stop at 255; the rest is room for the suffix
/// of a file that is still being written.
const LONGEST: usize = 200;

/// Names that Windows gives to devices in every directory, with or without an extension (Microsoft, "Naming Files,
/// Paths, and Namespaces"). `COM` and `LPT` take a digit, also a superscript one.
const DEVICES: [&str; 8] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$", "CONFIG$"];

/// One plain component of a path: not empty, no separator, no drive, no `..`, no device, nothing invisible.
///
/// ```
/// use symstore::FileName;
/// assert_eq!(FileName::new("ntoskrnl.exe")?.as_str(), "ntoskrnl.exe");
/// assert!(FileName::new("..\\evil.sys").is_err());
/// assert!(FileName::new("nul.sys").is_err());
/// # Ok::<(), symstore::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// Accepts `name` as it is, or says what is wrong with it. Nothing is repaired: a repaired name would be another
    /// file's.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match fault(name) {
            None => Ok(Self(name.to_owned())),
            Some(fault) => Err(NameError { name: name.to_owned(), fault }),
        }
    }

    /// The last component of an NT, DOS or Unix path, if that is a plain name.
    pub fn of_path(path: &str) -> Result<Self, NameError> {
        Self::new(last_component(path))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the compressed form in a symbol store: the last letter becomes `_` (`foo.sys` → `foo.sy_`).
    pub fn compressed(&self) -> Self {
        let mut name = self.0.clone();
        name.pop();
        name.push('_');
        Self(name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that is not used for writing, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not used as a file name: {fault}")]
pub struct NameError {
    name: String,
    fault: &'static str,
}

/// What follows the last `\` or `/`.
pub(crate) fn last_component(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// True for characters that have no place in a file's name or path: controls, and those that are invisible or change
/// the order in which text is shown (Unicode general category Cf, separators, private use, noncharacters).
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{d7ff}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
        || (c.is_whitespace() && c != ' ')
}

/// Why Windows has no file of this name, in words that follow "not a name for a file": it is a device in every directory
/// (`con`, `aux.sys`), names a stream of another file (`a.sys:x`), or loses its end (`a.sys.`). What other systems allow
/// besides, such as `*`, is not looked at.
pub fn reserved(name: &str) -> Option<&'static str> {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    if name.contains(':') {
        Some("it has a colon, which names a drive or a stream")
    } else if name.ends_with([' ', '.']) {
        Some("it ends with a dot or a space")
    } else if is_device(stem) {
        Some("Windows reserves it for a device")
    } else {
        None
    }
}

fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > LONGEST {
        Some("it is longer than 200 bytes")
    } else if name.contains(['/', '\\']) {
        Some("it has a path separator; a single component is allowed")
    } else if name.contains(['*', '?', '"', '<', '>', '|']) {
        Some("it has a character that Windows does not allow in names")
    } else if name.chars().any(is_deceptive) {
        Some("it has a control or invisible character")
    } else if name.starts_with([' ', '.']) {
        Some("it begins with a dot or a space")
    } else {
        reserved(name)
    }
}

fn is_device(stem: &str) -> bool {
    let upper = stem.to_uppercase();
    if DEVICES.contains(&upper.as_str()) {
        return true;
    }
    let mut digits = match upper.strip_prefix("COM").or_else(|| upper.strip_prefix("LPT")) {
        Some(rest) => rest.chars(),
        None => return false,
    };
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

#[cfg(test)]
mod tests {
    use super::{FileName, reserved};

    #[test]
    fn only_plain_names_pass() {
        let check = |name: &str, allowed: bool| assert_eq!(FileName::new(name).is_ok(), allowed, "{name:?}");
        for name in ["ntoskrnl.exe", "a", "my driver.v2.sys", "команда.sys", "foo.sy_", "com10.sys", "~x", "a..b", "$x"]
        {
            check(name, true);
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "..\\x",
            "/etc/passwd",
            "\\\\host\\share",
            "C:\\x",
            "c:x",
            "x:stream",
            "a/b",
            "a\\b",
            "x\0y",
            "x\ny",
            "x\u{7f}",
            "x\u{85}",
            "x\u{202e}sys.exe",
            "x\u{200b}",
            "\u{feff}x",
            "x\u{2028}y",
            "nul",
            "NUL.sys",
            "con",
            "COM1",
            "com0.dll",
            "lpt9.sys",
            "lpt³",
            "aux .sys",
            "conin$",
            " x",
            "x ",
            "x.",
            ".hidden",
            "*",
            "a?b",
            "a\"b",
            "a<b",
            "a|b",
            "x\u{e000}",
            "x\u{a0}y",
            "x\u{3164}",
        ] {
            check(name, false);
        }
        check(&"x".repeat(200), true);
        check(&"x".repeat(201), false);
        check(&"é".repeat(101), false);
    }

    #[test]
    fn names_that_windows_has_no_file_for() {
        for name in ["CON", "aux.sys", "Nul.tar.gz", "com1", "LPT9.dmp", "a.sys:stream", "C:x", "out.dmp.", "out.dmp "]
        {
            assert!(reserved(name).is_some(), "{name:?}");
        }
        for name in ["out.dmp", ".hidden", "console.dmp", "com10", "a*b?", "nul-1.dmp", " x"] {
            assert_eq!(reserved(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_last_component_counts_whatever_the_separator() {
        let check = |path: &str, name: &str| assert_eq!(FileName::of_path(path).unwrap().as_str(), name);
        check(r"\SystemRoot\system32\drivers\tcpip.sys", "tcpip.sys");
        check("/mnt/c/Windows/System32/hal.dll", "hal.dll");
        check("plain.sys", "plain.sys");
        assert!(FileName::of_path(r"\SystemRoot\").is_err());
        assert!(FileName::of_path(r"\SystemRoot\..").is_err());
    }

    #[test]
    fn the_compressed_name_loses_its_last_letter() {
        let check = |name: &str, to: &str| assert_eq!(FileName::new(name).unwrap().compressed().as_str(), to);
        check("foo.sys", "foo.sy_");
        check("hal.dll", "hal.dl_");
        check("ntkrnlmp.pdb", "ntkrnlmp.pd_");
        check("naïvé", "naïv_");
    }
}
