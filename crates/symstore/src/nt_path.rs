//! The forms in which Windows names a module's file, taken apart without touching a disk.

use crate::name::is_deceptive;

/// Where a path of a trace points, on whatever machine the file is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtPath {
    /// What the path starts from.
    pub start: Start,
    /// The components below it: none empty, none `.` or `..`, none with a colon or an invisible character.
    pub components: Vec<String>,
}

/// What a path starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The Windows directory (`\SystemRoot\…`, `%SystemRoot%\…`, `System32\…` as services say it).
    SystemRoot,
    /// The root of the volume with this letter, in upper case (`C:\…`, `\??\C:\…`).
    Drive(char),
    /// The root of some volume (`\Device\HarddiskVolumeN\…`, `\Windows\…`). The number means something only to the
    /// machine that was traced, and only until its next restart.
    Volume,
}

impl NtPath {
    /// Takes a path apart. `None` for a bare name, a path on no disk (`\Device\Mup\…`), and one that tries to leave
    /// its start.
    ///
    /// ```
    /// use symstore::{NtPath, Start};
    /// let path = NtPath::parse(r"\??\C:\Program Files\x.sys").unwrap();
    /// assert_eq!(path.start, Start::Drive('C'));
    /// assert_eq!(path.components, ["Program Files", "x.sys"]);
    /// ```
    pub fn parse(path: &str) -> Option<Self> {
        let path = path.replace('/', "\\");
        let path = ["\\??\\", "\\\\?\\", "\\\\.\\", "\\DosDevices\\", "\\GLOBAL??\\"]
            .iter()
            .find_map(|prefix| strip(&path, prefix))
            .unwrap_or(&path);
        let (start, rest) = if let Some(rest) =
            ["\\SystemRoot\\", "%SystemRoot%\\", "%windir%\\"].iter().find_map(|prefix| strip(path, prefix))
        {
            (Start::SystemRoot, rest)
        } else if strip(path, "System32\\").is_some() {
            (Start::SystemRoot, path)
        } else if let Some((letter, rest)) = drive(path) {
            (Start::Drive(letter), rest)
        } else if let Some(rest) =
            ["\\Device\\HarddiskVolume", "Device\\HarddiskVolume"].iter().find_map(|p| strip(path, p))
        {
            (Start::Volume, rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('\\')?)
        } else if strip(path, "\\Device\\").is_some() || path.starts_with("\\\\") {
            return None;
        } else {
            (Start::Volume, path.strip_prefix('\\')?)
        };
        let components: Vec<String> = rest.split('\\').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        let plain = |c: &String| c != "." && c != ".." && !c.contains(':') && !c.chars().any(is_deceptive);
        (!components.is_empty() && components.iter().all(plain)).then_some(Self { start, components })
    }
}

/// The rest of `text` after `prefix`, which is compared without regard to ASCII case.
fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn drive(path: &str) -> Option<(char, &str)> {
    let mut chars = path.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    let rest = chars.as_str().strip_prefix(":\\")?;
    Some((letter.to_ascii_uppercase(), rest))
}

#[cfg(test)]
mod tests {
    use super::{NtPath, Start};

    #[test]
    fn every_form_starts_somewhere() {
        let check = |path: &str, start: Start, rest: &str| {
            let parsed = NtPath::parse(path).unwrap_or_else(|| panic!("{path} has a meaning"));
            assert_eq!((parsed.start, parsed.components.join("|").as_str()), (start, rest), "{path}");
        };
        check(r"\SystemRoot\system32\ntoskrnl.exe", Start::SystemRoot, "system32|ntoskrnl.exe");
        check(r"\SYSTEMROOT\System32\Drivers\x.sys", Start::SystemRoot, "System32|Drivers|x.sys");
        check(r"%windir%\x.sys", Start::SystemRoot, "x.sys");
        check(r"system32\drivers\x.sys", Start::SystemRoot, "system32|drivers|x.sys");
        check(r"\??\c:\a b\x.sys", Start::Drive('C'), "a b|x.sys");
        check(r"\\?\D:\x.sys", Start::Drive('D'), "x.sys");
        check("C:/dir/x.sys", Start::Drive('C'), "dir|x.sys");
        check(r"\DosDevices\C:\x.sys", Start::Drive('C'), "x.sys");
        check(r"\Device\HarddiskVolume12\Windows\x.sys", Start::Volume, "Windows|x.sys");
        check(r"\Windows\System32\x.sys", Start::Volume, "Windows|System32|x.sys");
        check(r"\Windows\\System32\\\x.sys", Start::Volume, "Windows|System32|x.sys");
    }

    #[test]
    fn what_points_nowhere_or_away_is_refused() {
        for path in [
            "",
            "x.sys",
            r"\",
            r"C:\",
            r"C:x.sys",
            r"\SystemRoot\..\x.sys",
            r"\SystemRoot\.\x.sys",
            r"\Device\Mup\host\x.sys",
            r"\\host\share\x.sys",
            r"\Device\HarddiskVolume3",
            r"\SystemRoot\x.sys:stream",
            "\\SystemRoot\\x\0.sys",
            "\\SystemRoot\\x\u{202e}.sys",
            r"\Device\HarddiskVolume3x\y",
        ] {
            assert_eq!(NtPath::parse(path), None, "{path:?}");
        }
    }
}
