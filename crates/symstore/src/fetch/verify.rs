//! Looks at a fetched file before anybody may take it for what was asked.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use pe_image::{Identity, PeFile};

use super::pdb_file::PdbFile;
use crate::server::{FileKind, ServerFile};

/// What a look at a file has shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the file, with remarks.
    Right(Vec<String>),
    /// It is the file by its identity, but pieces of it are wrong or missing.
    Damaged(String),
    /// It is something else.
    Wrong(String),
}

/// Files up to this size are read in whole to compute their checksum; images are far smaller.
const LARGEST_CHECKED: u64 = 256 << 20;

/// Compares the file with what is wanted.
pub(super) fn verify(path: &Path, file: &ServerFile) -> io::Result<Verdict> {
    match file.kind() {
        FileKind::Image(wanted) => {
            let identity = match Identity::read(File::open(path)?) {
                Ok(identity) => identity,
                Err(error) => return Ok(Verdict::Wrong(format!("it is no module: {error}"))),
            };
            let comparison = wanted.compare(&wanted.name, &identity);
            if !comparison.is_match() {
                let differences: Vec<String> = comparison.differences.iter().map(ToString::to_string).collect();
                return Ok(Verdict::Wrong(format!("it is another module: {}", differences.join("; "))));
            }
            let remarks = comparison.warnings.iter().map(ToString::to_string).collect();
            Ok(damage(path)?.map_or(Verdict::Right(remarks), Verdict::Damaged))
        }
        FileKind::Pdb(wanted) => Ok(match PdbFile::read(io::BufReader::new(File::open(path)?)) {
            Ok(pdb) if pdb.guid != wanted.guid => Verdict::Wrong(format!("it is another PDB: {}", pdb.guid)),
            Ok(pdb) if pdb.dbi_age != Some(wanted.age) && pdb.age != wanted.age => {
                Verdict::Wrong(format!("its age is {}, wanted is {}", pdb.dbi_age.unwrap_or(pdb.age), wanted.age))
            }
            Ok(_) => Verdict::Right(Vec::new()),
            Err(error) => Verdict::Wrong(format!("it is no PDB: {error}")),
        }),
    }
}

/// What is wrong with an image whose headers are right: a section past its end, or another checksum than the linker
/// wrote. Identity lies in the first page; this is what notices a file that was put together from two.
fn damage(path: &Path) -> io::Result<Option<String>> {
    if fs::metadata(path)?.len() > LARGEST_CHECKED {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    Ok(match PeFile::parse(&bytes) {
        Err(error) => Some(error.to_string()),
        Ok(image) => {
            let (said, computed) = (image.headers().checksum, image.compute_checksum());
            let wrong = said != 0 && said != computed;
            wrong.then(|| format!("its CheckSum says {said:#x}, its bytes give {computed:#x}"))
        }
    })
}
