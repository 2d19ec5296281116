//! `_NT_SYMBOL_PATH` and `_NT_EXECUTABLE_IMAGE_PATH` as plain values.
//!
//! The grammar is that of the debuggers (Microsoft, "Symbol path for Windows debuggers"): elements separated by `;`, each
//!
//! ```text
//! C:\dir                                  a directory, or a symbol store that is a directory
//! srv*store*…*store*target                stores from near to far, then a store directory or an address
//! symsrv*symsrv.dll*store*…*target        the same with the server's library named
//! cache*dir                               what comes from elements to the right is kept in dir
//! ```
//!
//! An empty part (`srv**https://…`, `cache*`) means the debugger's default store, and so does an address without a store.
//! Nothing here touches a disk or network.

use std::path::{Path, PathBuf};

/// The server that `srv*` without an address means to Windows debuggers.
pub const MICROSOFT_SERVER: &str = "https://msdl.microsoft.com/download/symbols";

/// A symbol path, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolPath {
    /// The elements from left to right, which is the order in which they are asked.
    pub elements: Vec<Element>,
}

/// One element of a symbol path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A directory that holds files or is a store.
    Directory(PathBuf),
    /// `cache*dir`; `None` for the default place.
    Cache(Option<PathBuf>),
    /// `srv*…` or `symsrv*…`.
    Server {
        /// Local stores from near to far; `None` for the default place. The last part is in `target`.
        stores: Vec<Option<PathBuf>>,
        /// Where files come from in the end.
        target: Target,
    },
}

/// The far end of a `srv*` element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address that begins with `http://` or `https://`, without a slash at its end.
    Url(String),
    /// A store in a directory or on a share.
    Store(PathBuf),
}

impl SymbolPath {
    /// Reads a symbol path. Every text has a meaning, as it has for the debuggers; empty elements are skipped.
    ///
    /// ```
    /// use symstore::SymbolPath;
    /// let path = SymbolPath::parse(r"C:\mine;srv*C:\sym*https://msdl.microsoft.com/download/symbols");
    /// assert_eq!(path.urls(), ["https://msdl.microsoft.com/download/symbols"]);
    /// assert_eq!(path.directories(), [r"C:\mine", r"C:\sym"].map(std::path::Path::new));
    /// ```
    pub fn parse(text: &str) -> Self {
        Self { elements: text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(element).collect() }
    }

    /// `_NT_SYMBOL_PATH`, `_NT_ALT_SYMBOL_PATH` and `_NT_EXECUTABLE_IMAGE_PATH` of this process, in this order. On Windows
    /// default places are the debuggers' own, `%ProgramData%\dbg\sym`; on other systems there is none.
    pub fn from_environment() -> Self {
        let names = ["_NT_SYMBOL_PATH", "_NT_ALT_SYMBOL_PATH", "_NT_EXECUTABLE_IMAGE_PATH"];
        let values = names.iter().filter_map(std::env::var_os);
        let path = Self { elements: values.flat_map(|value| Self::parse(&value.to_string_lossy()).elements).collect() };
        match std::env::var_os("ProgramData").map(PathBuf::from) {
            Some(data) if cfg!(windows) && data.is_absolute() => path.with_default_store(&data.join("dbg").join("sym")),
            _ => path,
        }
    }

    /// The path with `default` for every default place. What comes from an address always goes through a store, so an
    /// address without one gets it too.
    #[must_use]
    pub fn with_default_store(mut self, default: &Path) -> Self {
        for element in &mut self.elements {
            match element {
                Element::Cache(place) => _ = place.get_or_insert_with(|| default.to_owned()),
                Element::Server { stores, target } => {
                    if stores.is_empty() && matches!(target, Target::Url(_)) {
                        stores.push(None);
                    }
                    for place in stores {
                        place.get_or_insert_with(|| default.to_owned());
                    }
                }
                Element::Directory(_) => {}
            }
        }
        self
    }

    /// Every directory that is named: plain ones, caches and stores, near before far, each once. Default places are
    /// not named and so not among them.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut out: Vec<PathBuf> = Vec::new();
        for element in &self.elements {
            let named: Vec<&PathBuf> = match element {
                Element::Directory(dir) => vec![dir],
                Element::Cache(dir) => dir.iter().collect(),
                Element::Server { stores, target } => {
                    let far = match target {
                        Target::Store(dir) => Some(dir),
                        Target::Url(_) => None,
                    };
                    stores.iter().flatten().chain(far).collect()
                }
            };
            for dir in named {
                if !out.contains(dir) {
                    out.push(dir.clone());
                }
            }
        }
        out
    }

    /// Every address that is named, each once. They are only listed: no server is contacted.
    pub fn urls(&self) -> Vec<&str> {
        let mut out: Vec<&str> = Vec::new();
        for element in &self.elements {
            if let Element::Server { target: Target::Url(url), .. } = element
                && !out.contains(&url.as_str())
            {
                out.push(url);
            }
        }
        out
    }

    /// The directory into which a debugger with this path would put a fetched file: the nearest cache or store.
    pub fn download_store(&self) -> Option<&PathBuf> {
        self.elements.iter().find_map(|element| match element {
            Element::Cache(dir) => dir.as_ref(),
            Element::Server { stores, target: Target::Url(_) } => stores.iter().flatten().next(),
            _ => None,
        })
    }
}

fn element(text: &str) -> Element {
    let mut parts: Vec<&str> = text.split('*').map(str::trim).collect();
    let kind = parts[0].to_ascii_lowercase();
    match kind.as_str() {
        _ if parts.len() == 1 && is_url(text) => {
            Element::Server { stores: Vec::new(), target: Target::Url(address(text)) }
        }
        "cache" if parts.len() > 1 => Element::Cache(place(parts[1])),
        "srv" | "symsrv" if parts.len() > 1 => {
            // `symsrv*` names the library that serves, always symsrv.dll in practice.
            parts.drain(..if kind == "symsrv" { 2 } else { 1 });
            let last = parts.pop().unwrap_or_default();
            let stores = parts.into_iter().filter(|part| !is_url(part)).map(place).collect();
            let target = match place(last) {
                _ if is_url(last) => Target::Url(address(last)),
                Some(dir) => Target::Store(dir),
                None => Target::Url(MICROSOFT_SERVER.to_owned()),
            };
            Element::Server { stores, target }
        }
        _ => Element::Directory(PathBuf::from(text)),
    }
}

fn is_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn address(text: &str) -> String {
    text.trim_end_matches('/').to_owned()
}

fn place(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::{Element, MICROSOFT_SERVER, SymbolPath, Target};
    use std::path::PathBuf;

    fn server(stores: &[&str], target: Target) -> Element {
        let stores = stores.iter().map(|dir| (!dir.is_empty()).then(|| PathBuf::from(dir))).collect();
        Element::Server { stores, target }
    }

    #[test]
    fn elements_are_read_as_the_debuggers_read_them() {
        let url = |text: &str| Target::Url(text.to_owned());
        let check =
            |text: &str, expected: Vec<Element>| assert_eq!(SymbolPath::parse(text).elements, expected, "{text}");
        check("", vec![]);
        check(" ; ;", vec![]);
        check(r"C:\a b", vec![Element::Directory(r"C:\a b".into())]);
        check("srv*c:\\sym*https://host/symbols/", vec![server(&["c:\\sym"], url("https://host/symbols"))]);
        check("SRV*https://host", vec![server(&[], url("https://host"))]);
        check("srv**http://host", vec![server(&[""], url("http://host"))]);
        check("srv*a*b*c", vec![server(&["a", "b"], Target::Store("c".into()))]);
        check("srv*", vec![server(&[], url(MICROSOFT_SERVER))]);
        check("symsrv*symsrv.dll*a*https://host", vec![server(&["a"], url("https://host"))]);
        check("symsrv*symsrv.dll", vec![server(&[], url(MICROSOFT_SERVER))]);
        check(
            "cache*c:\\c;cache*;/usr/share",
            vec![Element::Cache(Some("c:\\c".into())), Element::Cache(None), Element::Directory("/usr/share".into())],
        );
        check("srv", vec![Element::Directory("srv".into())]);
        check("https://host/x", vec![server(&[], url("https://host/x"))]);
    }

    #[test]
    fn default_places_are_the_debuggers_own() {
        let check = |text: &str, store: Option<&str>, directories: &[&str]| {
            let path = SymbolPath::parse(text).with_default_store("default".as_ref());
            assert_eq!(path.download_store(), store.map(PathBuf::from).as_ref(), "{text}");
            assert_eq!(path.directories(), directories.iter().map(PathBuf::from).collect::<Vec<_>>(), "{text}");
        };
        check("srv*", Some("default"), &["default"]);
        check("srv**https://host", Some("default"), &["default"]);
        check("srv*https://host", Some("default"), &["default"]);
        check("https://host", Some("default"), &["default"]);
        check("cache*;srv*https://host", Some("default"), &["default"]);
        check("cache*c;srv*https://host", Some("c"), &["c", "default"]);
        check("symsrv*symsrv.dll*near*https://host", Some("near"), &["near"]);
        check("srv*near**https://host", Some("near"), &["near", "default"]);
        check("dir;srv*near*far", None, &["dir", "near", "far"]);
        check("", None, &[]);
    }

    #[test]
    fn the_download_store_is_the_nearest() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(SymbolPath::parse(text).download_store(), expected.map(PathBuf::from).as_ref(), "{text}");
        };
        check("dir;srv*near*far*https://host", Some("near"));
        check("cache*c;srv*near*https://host", Some("c"));
        check("srv*near*far", None);
        check("srv*https://host", None);
    }
}
