//! A directory of raw sections: a file per memory range, an argument file for Intel's `ptxed`, and a manifest.
//!
//! Only the plan is made here: names and texts. Who writes a directory knows about directories.

use std::collections::HashSet;
use std::fmt::Write;

use crate::user::Module;
use crate::{Error, MemoryRange};

/// A range and the file that shall hold its bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawFile<'a> {
    /// File name: module, address and extension, of letters, digits, `.`, `_` and `-` only; unique also where file
    /// systems ignore case.
    pub name: String,
    /// The bytes.
    pub range: MemoryRange<'a>,
}

/// The files of a raw directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawDirectory<'a> {
    /// One per range, sorted by address.
    pub files: Vec<RawFile<'a>>,
    /// Content of `ptxed.args`: one line `--raw NAME:0xADDRESS` per file, as libipt's ptxed and ptdump take it.
    pub ptxed_args: String,
    /// Content of `manifest.json`: files with address, size, protection and module; modules with base and identity.
    pub manifest: String,
}

impl<'a> RawDirectory<'a> {
    /// The file of arguments for libipt's programs. No other program writes one of this name, so it marks a directory.
    pub const ARGUMENTS: &'static str = "ptxed.args";

    /// Plans the directory.
    ///
    /// # Errors
    /// Empty or overlapping ranges, or ones that run past the last address.
    pub fn new(memory: &[MemoryRange<'a>], modules: &[Module]) -> Result<RawDirectory<'a>, Error> {
        let mut sorted: Vec<&MemoryRange<'a>> = memory.iter().collect();
        sorted.sort_by_key(|range| range.address);
        crate::memory::check_disjoint(&sorted)?;
        let mut images: Vec<&Module> = modules.iter().collect();
        images.sort_by_key(|module| module.base);

        let mut used = HashSet::new();
        let mut directory =
            RawDirectory { files: Vec::new(), ptxed_args: String::new(), manifest: String::from("{\"files\":[") };
        for range in sorted {
            let module = module_at(&images, range.address);
            let stem = module.map_or_else(|| "memory".to_owned(), |module| file_stem(&module.name));
            // Disjoint ranges have different addresses, so this loop ends at once unless two stems differ in case only.
            let mut name = format!("{stem}-{:016x}.bin", range.address);
            while !used.insert(name.to_ascii_lowercase()) {
                name.insert(0, '_');
            }
            directory.line(&name, range, module);
            directory.files.push(RawFile { name, range: range.clone() });
        }
        directory.manifest.push_str("\n],\"modules\":[");
        for (index, module) in images.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write_to(
                &mut directory.manifest,
                format_args!(
                    "{comma}\n{{\"name\":{},\"base\":\"{:#x}\",\"size\":\"{:#x}\",\"timestamp\":\"{:#x}\",\
                     \"checksum\":\"{:#x}\"}}",
                    quote(&module.name),
                    module.base,
                    module.size,
                    module.timestamp,
                    module.checksum
                ),
            );
        }
        directory.manifest.push_str("\n]}\n");
        Ok(directory)
    }

    fn line(&mut self, name: &str, range: &MemoryRange<'_>, module: Option<&Module>) {
        write_to(&mut self.ptxed_args, format_args!("--raw {name}:{:#x}\n", range.address));
        let comma = if self.files.is_empty() { "" } else { "," };
        let module = module.map_or_else(|| "null".to_owned(), |module| quote(&module.name));
        write_to(
            &mut self.manifest,
            format_args!(
                "{comma}\n{{\"file\":{},\"address\":\"{:#x}\",\"size\":\"{:#x}\",\"protection\":\"{:#x}\",\
                 \"module\":{module}}}",
                quote(name),
                range.address,
                range.size,
                range.protection.0
            ),
        );
    }
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all text");
}

fn module_at<'m>(sorted: &[&'m Module], address: u64) -> Option<&'m Module> {
    let after = sorted.partition_point(|module| module.base <= address);
    let module = sorted[..after].last()?;
    (address - module.base < u64::from(module.size)).then_some(*module)
}

/// The last part of a path, with characters that shells, ptxed (`:`) or file systems mind replaced.
fn file_stem(path: &str) -> String {
    let name = path.rsplit(['\\', '/']).next().unwrap_or(path);
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let stem: String = name.chars().take(100).map(safe).collect();
    if stem.is_empty() || stem.starts_with(['.', '-']) { format!("_{stem}") } else { stem }
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c < ' ' => write_to(&mut quoted, format_args!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
