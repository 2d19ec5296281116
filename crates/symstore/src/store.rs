//! Symbol stores: directories in which debuggers keep images and PDBs by name and key.
//!
//! ```text
//! root/ntoskrnl.exe/0D8333E61046000/ntoskrnl.exe          one tier
//! root/nt/ntoskrnl.exe/0D8333E61046000/ntoskrnl.exe       two tiers, said by a file root/index2.txt
//!                                      ntoskrnl.ex_       or the file compressed
//!                                      file.ptr           or where the file is
//! ```

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::name::FileName;

/// A file.ptr holds one path; anything longer is something else.
const LONGEST_POINTER: u64 = 4096;

/// A symbol store, or a directory that may become one.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    two_tier: bool,
    /// The root's entries by their names in lower case, listed once when a name is not there in the case asked for: a
    /// store has thousands of entries, and every module asks.
    entries: OnceLock<HashMap<String, Vec<OsString>>>,
}

/// What a file.ptr says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// `PATH:…`: where the file is, in the words of whoever made the store.
    Path(String),
    /// `MSG:…`, or anything else: why the file is not there.
    Message(String),
}

impl Store {
    /// The store in `root`, which need not exist. It has two tiers if it says so by `index2.txt`.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let two_tier = root.join("index2.txt").is_file();
        Self { root, two_tier, entries: OnceLock::new() }
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file belongs. Below the store's directory whatever the arguments, because a [`FileName`] is one plain
    /// component and so must `key` be.
    ///
    /// # Panics
    /// When `key` is not made of ASCII letters and digits: keys are computed, never read from a trace as text.
    pub fn place(&self, name: &FileName, key: &str) -> PathBuf {
        assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()), "{key:?} is not a key");
        let mut path = self.root.clone();
        if self.two_tier {
            path.push(name.as_str().chars().take(2).collect::<String>());
        }
        path.join(name.as_str()).join(key).join(name.as_str())
    }

    /// The files that the store has under this name and key, plain before compressed; `file.ptr` is followed if it
    /// names a file that this machine has. Both tiers are looked at, names and keys in any case.
    pub fn lookup(&self, name: &FileName, key: &str) -> Vec<PathBuf> {
        let tier: String = name.as_str().chars().take(2).collect();
        let mut folders = self.top(name.as_str());
        folders.extend(self.top(&tier).iter().flat_map(|tier| children(tier, name.as_str())));
        let mut found = Vec::new();
        for dir in folders.iter().flat_map(|folder| children(folder, key)) {
            found.extend(children(&dir, name.as_str()));
            found.extend(children(&dir, name.compressed().as_str()));
            if let Some(Pointer::Path(path)) = read_pointer(&dir.join("file.ptr")) {
                found.extend(self.may_follow(&path).then(|| PathBuf::from(path)));
            }
        }
        found.retain(|path| path.is_file());
        found
    }

    /// The store's own entries with this name, the exact one first.
    fn top(&self, name: &str) -> Vec<PathBuf> {
        let exact = self.root.join(name);
        if exact.symlink_metadata().is_ok() {
            return vec![exact];
        }
        let entries = self.entries.get_or_init(|| {
            let mut entries: HashMap<String, Vec<OsString>> = HashMap::new();
            for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
                let name = entry.file_name();
                entries.entry(name.to_string_lossy().to_lowercase()).or_default().push(name);
            }
            entries
        });
        let same = entries.get(&name.to_lowercase());
        same.into_iter().flatten().map(|name| self.root.join(name)).collect()
    }

    /// A pointer to a share is a connection to another machine, which the user did not ask for, unless the store itself is on one.
    fn may_follow(&self, path: &str) -> bool {
        let share = |path: &str| path.starts_with("\\\\") || path.starts_with("//");
        !share(path) || share(&self.root.to_string_lossy())
    }
}

impl Pointer {
    /// Reads the text of a file.ptr.
    pub fn parse(text: &str) -> Self {
        let text = text.trim_matches(['\u{feff}', '\0', '\r', '\n', ' ']);
        match text.split_once(':') {
            Some((kind, path)) if kind.eq_ignore_ascii_case("PATH") => Self::Path(path.trim().to_owned()),
            Some((kind, message)) if kind.eq_ignore_ascii_case("MSG") => Self::Message(message.trim().to_owned()),
            _ => Self::Message(text.to_owned()),
        }
    }
}

fn read_pointer(path: &Path) -> Option<Pointer> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(LONGEST_POINTER.min(metadata.len())).read_to_end(&mut text).ok()?;
    Some(Pointer::parse(&String::from_utf8_lossy(&text)))
}

/// The entries of `dir` with this name, the exact one first.
fn children(dir: &Path, name: &str) -> Vec<PathBuf> {
    let exact = dir.join(name);
    if exact.symlink_metadata().is_ok() {
        return vec![exact];
    }
    let same = |other: &str| other.to_lowercase() == name.to_lowercase();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(same)).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Pointer, Store};
    use crate::name::FileName;
    use std::fs;

    #[test]
    fn both_tiers_and_all_forms_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        };
        write("foo.sys/0000000A1000/foo.sys", "");
        write("fo/Foo.SYS/0000000a1000/foo.sy_", "");
        write("foo.sys/0000000B1000/file.ptr", &format!("PATH:{}\r\n", dir.path().join("elsewhere").display()));
        write("elsewhere", "");
        let name = FileName::new("foo.sys").unwrap();
        let store = Store::open(dir.path());
        for (path, follow) in
            [(r"\\host\share\x", false), ("//host/share/x", false), (r"C:\x", true), ("/x", true), ("x", true)]
        {
            assert_eq!(store.may_follow(path), follow, "{path}");
        }
        assert!(Store::open(r"\\host\store").may_follow(r"\\host\share\x"));
        let check = |key: &str, expected: &[&str]| {
            let expected: Vec<_> = expected.iter().map(|path| dir.path().join(path)).collect();
            assert_eq!(store.lookup(&name, key), expected, "{key}");
        };
        check("0000000A1000", &["foo.sys/0000000A1000/foo.sys", "fo/Foo.SYS/0000000a1000/foo.sy_"]);
        check("0000000B1000", &["elsewhere"]);
        check("0000000C1000", &[]);
        assert_eq!(store.place(&name, "0A"), dir.path().join("foo.sys/0A/foo.sys"));
        write("index2.txt", "");
        assert_eq!(Store::open(dir.path()).place(&name, "0A"), dir.path().join("fo/foo.sys/0A/foo.sys"));
    }

    #[test]
    fn pointers_say_a_path_or_a_reason() {
        let check = |text: &str, pointer: Pointer| assert_eq!(Pointer::parse(text), pointer, "{text:?}");
        check("PATH:\\\\host\\share\\x.sys\r\n", Pointer::Path(r"\\host\share\x.sys".to_owned()));
        check("path: C:\\x.sys", Pointer::Path(r"C:\x.sys".to_owned()));
        check("MSG: not kept", Pointer::Message("not kept".to_owned()));
        check("", Pointer::Message(String::new()));
    }
}
