//! The version resource.
//!
//! The resource tree is walked with `object`; VS_VERSIONINFO is read here, because pelite 0.10, which reads it too, can
//! be made to panic by a node that ends inside its key's padding.
//!
//! ```text
//! node:  u16 length | u16 value length | u16 type | UTF-16 key, NUL | padding | value | padding | nodes
//! ```
//!
//! Everything is aligned to 4 bytes from the resource's start. `VS_VERSION_INFO` holds VS_FIXEDFILEINFO as its value
//! and `StringFileInfo` below it, which holds tables of strings by language.

use object::LittleEndian as LE;
use object::read::pe::ResourceDirectory;

use crate::addr::Rva;
use crate::bytes::{array_at, u16_at, u32_at};
use crate::directory::DirectoryKind;
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// A file's version resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// VS_FIXEDFILEINFO as it lies in the file, if there is one with the right signature.
    pub fixed: Option<[u8; 52]>,
    /// Strings such as OriginalFilename and FileVersion, of the first language that has any.
    pub strings: Vec<(String, String)>,
}

impl Version {
    /// The file's version: four numbers.
    pub fn file_version(&self) -> Option<[u16; 4]> {
        self.numbers(8)
    }

    /// The product's version: four numbers.
    pub fn product_version(&self) -> Option<[u16; 4]> {
        self.numbers(16)
    }

    /// A string by its key.
    pub fn string(&self, key: &str) -> Option<&str> {
        self.strings.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }

    fn numbers(&self, at: usize) -> Option<[u16; 4]> {
        let fixed = self.fixed.as_ref()?;
        // Two 32-bit numbers, the more significant half of each first.
        Some([u16_at(fixed, at + 2)?, u16_at(fixed, at)?, u16_at(fixed, at + 6)?, u16_at(fixed, at + 4)?])
    }
}

/// RT_VERSION.
const VERSION_TYPE: u32 = 16;
/// Signature of VS_FIXEDFILEINFO.
const FIXED_SIGNATURE: u32 = 0xfeef_04bd;
/// The most strings that are kept; real files have about ten.
const MOST_STRINGS: usize = 256;

impl PeFile<'_> {
    /// The version resource; `None` when the file has none.
    ///
    /// # Errors
    /// When the resource tree leads out of the resource section. A VS_VERSIONINFO that is wrong gives what can be read
    /// of it.
    pub fn version(&self) -> Result<Option<Version>> {
        let Some(directory) = self.headers().directory(DirectoryKind::Resource) else { return Ok(None) };
        let section = self.bytes_from(directory.rva);
        let resources = ResourceDirectory::new(section);
        let wrong = |error: object::Error| {
            Error::other(Place::Rva(directory.rva), "IMAGE_RESOURCE_DIRECTORY", error.to_string())
        };
        let root = resources.root().map_err(wrong)?;
        let Some(entry) =
            root.entries.iter().find(|entry| !entry.has_name() && entry.name_or_id.get(LE) == VERSION_TYPE)
        else {
            return Ok(None);
        };
        // Type, name, language; one level more is allowed for.
        let mut data = entry.data(resources).map_err(wrong)?;
        for _ in 0..3 {
            let Some(table) = data.clone().table() else { break };
            let Some(entry) = table.entries.first() else { return Ok(None) };
            data = entry.data(resources).map_err(wrong)?;
        }
        let Some(entry) = data.data() else { return Ok(None) };
        let (rva, size) = (Rva(entry.offset_to_data.get(LE)), entry.size.get(LE));
        Ok(Some(parse(self.bytes_at(rva, size, "VS_VERSIONINFO")?)))
    }
}

/// One node of the tree.
struct Node<'a> {
    key: String,
    value_length: usize,
    is_text: bool,
    /// From the value on, padding in front of it left out.
    body: &'a [u8],
}

/// The nodes that follow each other in `bytes`. Ends at the first that does not fit.
struct Nodes<'a>(&'a [u8]);

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let length = usize::from(u16_at(self.0, 0)?);
        let node = self.0.get(..length)?;
        let value_length = usize::from(u16_at(node, 2)?);
        let is_text = u16_at(node, 4)? == 1;
        let key: Vec<u16> = node
            .get(6..)?
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        let value_at = (6 + 2 * (key.len() + 1)).next_multiple_of(4);
        let body = node.get(value_at..).unwrap_or_default();
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Node { key: String::from_utf16_lossy(&key), value_length, is_text, body })
    }
}

impl<'a> Node<'a> {
    fn value(&self) -> &'a [u8] {
        // A text's length counts its units.
        let size = if self.is_text { 2 * self.value_length } else { self.value_length };
        self.body.get(..size).unwrap_or(self.body)
    }

    fn children(&self) -> Nodes<'a> {
        Nodes(self.body.get(self.value().len().next_multiple_of(4)..).unwrap_or_default())
    }
}

fn parse(bytes: &[u8]) -> Version {
    let mut version = Version::default();
    let Some(root) = Nodes(bytes).next() else { return version };
    version.fixed = array_at(root.value(), 0).filter(|fixed: &[u8; 52]| u32_at(fixed, 0) == Some(FIXED_SIGNATURE));
    let tables = root.children().filter(|node| node.key == "StringFileInfo").flat_map(|node| node.children());
    let Some(table) = tables.into_iter().find(|table| table.children().next().is_some()) else { return version };
    version.strings = table.children().take(MOST_STRINGS).map(|node| (node.key.clone(), text(node.value()))).collect();
    version
}

fn text(value: &[u8]) -> String {
    let units = value.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    String::from_utf16_lossy(&units.take_while(|&unit| unit != 0).collect::<Vec<_>>())
}
