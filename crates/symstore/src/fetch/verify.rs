//! Checks a fetched file before it gets its name.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pe_image::{Identity, PeFile};

use crate::pdb::PdbIdentity;
use crate::server::{FileKind, ServerFile};
use crate::wanted::Doubt;

/// What a fetched file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file, perhaps with doubts.
    Right(Vec<Doubt>),
    /// The file by its identity, but pieces of it are wrong or missing.
    Damaged(String),
    /// Something else.
    Wrong(String),
}

/// Files up to this size are read in whole to compute their checksum; images are far smaller.
const LARGEST_CHECKED: u64 = 256 << 20;

/// Held while a file is read in whole, so that only one is in memory however many are fetched at a time.
static WHOLE_FILE: Mutex<()> = Mutex::new(());

/// Compares the file with what is wanted.
pub(super) fn verify(path: &Path, file: &ServerFile) -> io::Result<Verdict> {
    match file.kind() {
        FileKind::Image(wanted) => {
            let identity = match Identity::read(File::open(path)?) {
                Ok(identity) => identity,
                Err(error) => return Ok(Verdict::Wrong(format!("not a module: {error}"))),
            };
            let comparison = wanted.compare(&wanted.name, &identity);
            if !comparison.is_match() {
                let differences: Vec<String> = comparison.differences.iter().map(ToString::to_string).collect();
                return Ok(Verdict::Wrong(format!("another module: {}", differences.join("; "))));
            }
            Ok(damage(path)?.map_or(Verdict::Right(comparison.doubts), Verdict::Damaged))
        }
        FileKind::Pdb(wanted) => Ok(match PdbIdentity::read(io::BufReader::new(File::open(path)?)) {
            Ok(pdb) if pdb.is(*wanted) => Verdict::Right(Vec::new()),
            Ok(pdb) => Verdict::Wrong(format!("another PDB: it is {}, wanted is {wanted}", pdb.id())),
            Err(error) => Verdict::Wrong(error.to_string()),
        }),
    }
}

/// What is wrong with an image whose headers are right: a section past its end, or another checksum than the linker
/// wrote. The identity lies in the first page; this finds a file that was put together from two.
fn damage(path: &Path) -> io::Result<Option<String>> {
    if fs::metadata(path)?.len() > LARGEST_CHECKED {
        return Ok(None);
    }
    let _one_at_a_time = WHOLE_FILE.lock().unwrap_or_else(PoisonError::into_inner);
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
