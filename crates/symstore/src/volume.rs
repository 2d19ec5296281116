//! A Windows volume that is mounted, or copied, somewhere on this machine.
//!
//! Windows finds files without regard to case; the file system that holds the copy may not. So each component is
//! looked up as it is written first and by comparing names second.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::nt_path::{NtPath, Start};

/// The root of a volume that holds a Windows directory.
#[derive(Debug)]
pub struct Volume {
    root: PathBuf,
    windows: PathBuf,
    /// The names in the directories visited so far, by their lower-case form: lists are long (thousands in System32)
    /// and every module asks for the same few.
    listings: HashMap<PathBuf, HashMap<String, OsString>>,
}

/// A part of a volume in which kernel modules live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) dir: PathBuf,
    pub(crate) recursive: bool,
}

impl Volume {
    /// The volume whose root is `root`, if that holds `Windows\System32` in whatever case.
    pub fn detect(root: &Path) -> Option<Self> {
        let mut volume = Self { root: root.to_owned(), windows: PathBuf::new(), listings: HashMap::new() };
        volume.windows = volume.child(root, "Windows")?;
        let windows = volume.windows.clone();
        volume.child(&windows, "System32")?.is_dir().then_some(volume)
    }

    /// The file that a path of a trace names, if this volume has it. Any drive letter and volume number will do: the
    /// letter of the traced machine says nothing about where its disk is mounted now. The caller compares identities.
    pub fn resolve(&mut self, path: &NtPath) -> Option<PathBuf> {
        let start = match path.start {
            Start::SystemRoot => self.windows.clone(),
            Start::Drive(_) | Start::Volume => self.root.clone(),
        };
        path.components.iter().try_fold(start, |dir, component| self.child(&dir, component))
    }

    /// Where kernel modules are, which saves reading a whole disk: System32, its drivers, the driver store.
    /// What lies elsewhere is found by its path ([`Volume::resolve`]).
    pub(crate) fn parts(&mut self) -> Vec<Part> {
        let windows = self.windows.clone();
        let mut parts = Vec::new();
        for (below, recursive) in [
            (&["System32"][..], false),
            (&["System32", "drivers"], true),
            (&["System32", "DriverStore", "FileRepository"], true),
        ] {
            if let Some(dir) = below.iter().try_fold(windows.clone(), |dir, name| self.child(&dir, name)) {
                parts.push(Part { dir, recursive });
            }
        }
        parts
    }

    /// The files in the component store (WinSxS) with one of these names in lower case: older versions that servicing
    /// has kept. The store has tens of thousands of directories, so it is listed only when something is missing.
    pub(crate) fn component_store(&mut self, names: &[String]) -> Vec<PathBuf> {
        let windows = self.windows.clone();
        let Some(store) = self.child(&windows, "WinSxS") else { return Vec::new() };
        let Ok(components) = fs::read_dir(store) else { return Vec::new() };
        let mut found = Vec::new();
        for component in components.flatten() {
            let name = component.file_name().to_string_lossy().to_ascii_lowercase();
            if !["amd64_", "arm64_", "x86_"].iter().any(|arch| name.starts_with(arch)) {
                continue;
            }
            let Ok(files) = fs::read_dir(component.path()) else { continue };
            let wanted = |name: &OsString| names.contains(&name.to_string_lossy().to_lowercase());
            found.extend(files.flatten().filter(|file| wanted(&file.file_name())).map(|file| file.path()));
        }
        found.sort();
        found
    }

    fn child(&mut self, dir: &Path, name: &str) -> Option<PathBuf> {
        let exact = dir.join(name);
        if exact.symlink_metadata().is_ok() {
            return Some(exact);
        }
        let listing = self.listings.entry(dir.to_owned()).or_insert_with(|| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| (entry.file_name().to_string_lossy().to_lowercase(), entry.file_name())).collect()
        });
        listing.get(&name.to_lowercase()).map(|name| dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::Volume;
    use crate::nt_path::NtPath;
    use std::fs;

    #[test]
    fn paths_are_found_whatever_their_case() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["WINDOWS/system32/DRIVERS/Foo.sys", "Program Files/Vendor/bar.sys"] {
            fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            fs::write(dir.path().join(file), "x").unwrap();
        }
        let mut volume = Volume::detect(dir.path()).unwrap();
        let mut check = |path: &str, expected: Option<&str>| {
            let found = volume.resolve(&NtPath::parse(path).unwrap());
            assert_eq!(found, expected.map(|rest| dir.path().join(rest)), "{path}");
        };
        let foo = Some("WINDOWS/system32/DRIVERS/Foo.sys");
        check(r"\SystemRoot\System32\drivers\FOO.SYS", foo);
        check(r"\Device\HarddiskVolume4\Windows\System32\drivers\foo.sys", foo);
        check(r"\??\C:\windows\system32\drivers\foo.sys", foo);
        check(r"D:\PROGRAM FILES\vendor\BAR.sys", Some("Program Files/Vendor/bar.sys"));
        check(r"\SystemRoot\System32\drivers\baz.sys", None);
        assert!(Volume::detect(&dir.path().join("Program Files")).is_none());
    }
}
