//! What of a module's path is needed to find its file.

/// Folders that hold programs and not their users' files.
const PROGRAMS: &[&str] = &["SystemRoot", "Windows", "Program Files", "Program Files (x86)", "ProgramData"];
/// Folders below them that may be named after a user.
const PERSONAL: &[&str] = &["Users", "Profiles", "Temp", "..", "."];

/// The part of a module's path that can be shared: all of it in the folders of Windows and of programs, on any volume;
/// the file's name alone elsewhere.
///
/// ```
/// use etl_extract::shared_path;
/// assert_eq!(shared_path(r"\SystemRoot\System32\drivers\tcpip.sys"), r"\SystemRoot\System32\drivers\tcpip.sys");
/// assert_eq!(shared_path(r"\??\C:\Users\anna\build\test.sys"), "test.sys");
/// ```
pub fn shared_path(path: &str) -> &str {
    if is_shared(path) { path } else { file_name(path) }
}

/// The last component.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or_default()
}

fn is_shared(path: &str) -> bool {
    let mut rest = path.strip_prefix(r"\??\").unwrap_or(path);
    rest = rest.strip_prefix('\\').unwrap_or(rest);
    let mut components = rest.split(['\\', '/']).peekable();
    // A volume, by its letter or by its device.
    let is_letter = |text: &&str| matches!(text.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic());
    if components.next_if(is_letter).is_none()
        && components.next_if(|text| text.eq_ignore_ascii_case("Device")).is_some()
    {
        let Some(volume) = components.next() else { return false };
        let number = volume.get(.."HarddiskVolume".len()).filter(|text| text.eq_ignore_ascii_case("HarddiskVolume"));
        let digits = number.map(|text| &volume[text.len()..]).unwrap_or_default();
        if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return false;
        }
    }
    let is_one_of = |text: &str, list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(text));
    let is_program = components.next().is_some_and(|first| is_one_of(first, PROGRAMS));
    is_program && components.all(|component| !is_one_of(component, PERSONAL))
}

#[cfg(test)]
mod tests {
    use super::shared_path;

    #[test]
    fn paths_of_windows_and_programs_stay() {
        for path in [
            r"\SystemRoot\system32\ntoskrnl.exe",
            r"\Windows\System32\drivers\tcpip.sys",
            r"\Device\HarddiskVolume3\Windows\System32\win32k.sys",
            r"\??\C:\Windows\system32\drivers\x.sys",
            r"C:\Program Files\Vendor\x.sys",
            r"\??\d:\ProgramData\Microsoft\Windows Defender\Definition Updates\{0}\x.sys",
            "x.sys",
        ] {
            assert_eq!(shared_path(path), path);
        }
    }

    #[test]
    fn of_other_paths_the_name_stays() {
        for path in [
            r"\??\C:\Users\anna\x.sys",
            r"\Device\HarddiskVolume3\Users\anna\AppData\x.sys",
            r"\Device\Mup\server\anna\Windows\x.sys",
            r"\Device\HarddiskVolumeAnna\Windows\x.sys",
            r"\Device\HarddiskVolume\Windows\x.sys",
            r"\Device\HarddiskVolume12345\Windows\x.sys",
            r"C:\Windows\..\Users\anna\x.sys",
            r"C:/Windows/../anna/x.sys",
            r"\SystemRoot\Temp\anna\x.sys",
            r"\Documents and Settings\anna\x.sys",
            r"\anna\Windows\x.sys",
            r"D:\build\x.sys",
            "anna/x.sys",
        ] {
            assert_eq!(shared_path(path), "x.sys", "{path}");
        }
        assert_eq!(shared_path(""), "");
        assert_eq!(shared_path(r"\Users\anna\"), "");
    }
}
