//! What to ask a symbol server for. No network here: the addresses are of use to any downloader on any machine.

use std::fmt;

use crate::name::{FileName, NameError};
use crate::wanted::{Wanted, other_names};
use pe_image::PdbId;

/// A file that a symbol server may have, with all that is needed to know it when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFile {
    /// The names under which it may be kept, the most likely first. Never empty.
    names: Vec<FileName>,
    /// The folder name.
    key: String,
    /// What it is.
    kind: FileKind,
}

/// What a file is, and its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A module.
    Image(Wanted),
    /// The PDB with this identity.
    Pdb(PdbId),
}

/// Why a module cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Unfetchable(Problem);

/// What keeps a module from being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnfetchableKind {
    /// Its name must not be used as a file name.
    Name,
    /// The source does not say what makes the key.
    NoKey,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Name(NameError),
    #[error("{name:?} has no key: the trace says {what}")]
    NoKey { name: String, what: &'static str },
}

impl Unfetchable {
    /// What keeps the module from being asked for.
    pub fn kind(&self) -> UnfetchableKind {
        match self.0 {
            Problem::Name(_) => UnfetchableKind::Name,
            Problem::NoKey { .. } => UnfetchableKind::NoKey,
        }
    }
}

impl From<NameError> for Unfetchable {
    fn from(error: NameError) -> Self {
        Self(Problem::Name(error))
    }
}

impl ServerFile {
    /// The module's image.
    ///
    /// # Errors
    /// When its name is not a plain file name, or stamp or size are not known.
    pub fn image(wanted: &Wanted) -> Result<Self, Unfetchable> {
        let name = FileName::new(&wanted.name)?;
        let no_key = |what| Unfetchable(Problem::NoKey { name: wanted.name.clone(), what });
        let key = wanted.image_key().ok_or_else(|| no_key("no TimeDateStamp or no SizeOfImage"))?;
        // Kernels are served under the names of the multiprocessor ones, which are the only ones since Windows Vista
        // (ntkrla57 is that for 5-level paging); copies in the crash-dump stack under the name without `dump_`. An
        // alias is checked like the name itself.
        let served = |alias: &String| {
            matches!(alias.as_str(), "ntoskrnl.exe" | "ntkrnlmp.exe" | "ntkrla57.exe")
                || wanted.name.to_lowercase().ends_with(alias)
        };
        let aliases =
            other_names(&wanted.name).into_iter().filter(served).filter_map(|alias| FileName::new(&alias).ok());
        let names = std::iter::once(name).chain(aliases).collect();
        Ok(Self { names, key, kind: FileKind::Image(wanted.clone()) })
    }

    /// The module's PDB.
    ///
    /// # Errors
    /// When the name is not a plain file name, or the PDB is not known.
    pub fn pdb(wanted: &Wanted) -> Result<Self, Unfetchable> {
        let no_key = |what| Unfetchable(Problem::NoKey { name: wanted.name.clone(), what });
        let id = wanted.said_pdb().ok_or_else(|| no_key("no PDB"))?;
        let name = wanted.pdb_name.as_deref().ok_or_else(|| no_key("no PDB name"))?;
        Ok(Self {
            names: vec![FileName::of_path(name)?],
            key: pe_image::pdb_key(&id.guid.0, id.age),
            kind: FileKind::Pdb(id),
        })
    }

    /// The name under which the file goes into a store.
    pub fn name(&self) -> &FileName {
        &self.names[0]
    }

    /// All names to ask for.
    pub fn names(&self) -> &[FileName] {
        &self.names
    }

    /// The folder name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it is.
    pub fn kind(&self) -> &FileKind {
        &self.kind
    }

    /// One line per name, for people who fetch on another machine.
    pub fn listing(&self, server: &str) -> Vec<Listing> {
        let line = |name: &FileName| Listing {
            name: name.clone(),
            key: self.key.clone(),
            url: url(server, name, &self.key, name),
        };
        self.names.iter().map(line).collect()
    }
}

/// Name, key and address of a file on a symbol server. Prints as one line with tabs between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Name.
    pub name: FileName,
    /// Key.
    pub key: String,
    /// Address of the uncompressed file.
    pub url: String,
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.name, self.key, self.url)
    }
}

/// `server/name/KEY/file`, with everything but letters, digits and `-._~` of the names escaped.
pub(crate) fn url(server: &str, name: &FileName, key: &str, file: &FileName) -> String {
    format!("{}/{}/{key}/{}", server.trim_end_matches('/'), escape(name.as_str()), escape(file.as_str()))
}

pub(crate) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::ServerFile;
    use crate::{Guid, PdbId, Wanted};

    #[test]
    fn addresses_are_made_of_escaped_names_and_keys() {
        let check = |name: &str, lines: &[&str]| {
            let wanted =
                Wanted { name: name.into(), timestamp: Some(0xd83_33e6), size: 0x104_6000, ..Default::default() };
            let listing = ServerFile::image(&wanted).unwrap().listing("https://host/symbols/");
            assert_eq!(listing.iter().map(|line| format!("{line}").replace('\t', " ")).collect::<Vec<_>>(), lines);
        };
        check("a b%.sys", &["a b%.sys 0D8333E61046000 https://host/symbols/a%20b%25.sys/0D8333E61046000/a%20b%25.sys"]);
        check("é.sys", &["é.sys 0D8333E61046000 https://host/symbols/%C3%A9.sys/0D8333E61046000/%C3%A9.sys"]);
        check(
            "ntoskrnl.exe",
            &[
                "ntoskrnl.exe 0D8333E61046000 https://host/symbols/ntoskrnl.exe/0D8333E61046000/ntoskrnl.exe",
                "ntkrnlmp.exe 0D8333E61046000 https://host/symbols/ntkrnlmp.exe/0D8333E61046000/ntkrnlmp.exe",
                "ntkrla57.exe 0D8333E61046000 https://host/symbols/ntkrla57.exe/0D8333E61046000/ntkrla57.exe",
            ],
        );
        check("hal.dll", &["hal.dll 0D8333E61046000 https://host/symbols/hal.dll/0D8333E61046000/hal.dll"]);
        check(
            "dump_stornvme.sys",
            &[
                "dump_stornvme.sys 0D8333E61046000 https://host/symbols/dump_stornvme.sys/0D8333E61046000/dump_stornvme.sys",
                "stornvme.sys 0D8333E61046000 https://host/symbols/stornvme.sys/0D8333E61046000/stornvme.sys",
            ],
        );
    }

    #[test]
    fn pdbs_are_asked_for_by_guid_and_age() {
        let guid = Guid::parse("ed706a38-6592-40a0-66e6-fb19b994baaa").unwrap();
        let wanted = Wanted {
            name: "win32k.sys".into(),
            pdb: Some(PdbId { guid, age: 1 }),
            pdb_name: Some(r"D:\build\win32k.pdb".into()),
            ..Default::default()
        };
        let line = ServerFile::pdb(&wanted).unwrap().listing("http://h")[0].url.clone();
        assert_eq!(line, "http://h/win32k.pdb/ED706A38659240A066E6FB19B994BAAA1/win32k.pdb");
        assert!(ServerFile::pdb(&Wanted { pdb: None, ..wanted.clone() }).is_err());
        assert!(ServerFile::image(&wanted).is_err());
        for name in ["..", "a/b.sys", "nul", ""] {
            let hostile = Wanted { name: name.into(), timestamp: Some(1), size: 0x1000, ..Default::default() };
            assert!(ServerFile::image(&hostile).is_err(), "{name:?}");
        }
    }
}
