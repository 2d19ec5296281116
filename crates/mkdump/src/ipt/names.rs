//! Names for addresses: the nearest symbol of a module's PDB when one is at hand, else its nearest export.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pdb2::{FallibleIterator, SymbolData};
use pe_image::MappedImage;
use symstore::{FileName, PdbId, Store, Volume, pdb_key};

use crate::search::Search;
use crate::snapshot::ModuleId;
use crate::threads::msf;

/// The names of modules. A module's PDB is read when the first of its names is asked for.
#[derive(Debug)]
pub struct Names<'a> {
    /// By number.
    modules: Vec<Module<'a>>,
}

#[derive(Debug)]
struct Module<'a> {
    image: Option<&'a MappedImage<'a>>,
    pdbs: Vec<PathBuf>,
    id: Option<PdbId>,
    symbols: OnceLock<Symbols>,
}

/// Symbols of one module, by RVA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Ascending, one name for each RVA.
    list: Vec<(u32, String)>,
}

/// Why a PDB gives no names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PdbError {
    /// It is no PDB, or a damaged one.
    #[error("PDB: {0}")]
    Pdb(#[from] pdb2::Error),
    /// Its container is damaged.
    #[error(transparent)]
    Container(#[from] crate::threads::LayoutError),
    /// A record of it is damaged.
    #[error("PDB: a damaged record")]
    Record,
    /// It belongs to another build of the module.
    #[error("PDB: it is {found}, wanted is {wanted}")]
    OtherBuild {
        /// Identity in the file.
        found: PdbId,
        /// Identity in the module.
        wanted: PdbId,
    },
}

impl<'a> Names<'a> {
    /// Looks for the PDBs of modules where module files are looked for: beside a module's own file, below the roots, in
    /// the symbol stores among them and in the directories of the symbol path.
    pub fn find(files: &[ModuleFile<'a>], search: &Search) -> Self {
        // A Windows volume is too large to look through, and has no PDBs of its own.
        let roots = search.roots.iter().filter(|root| Volume::detect(root).is_none());
        let below: Vec<PathBuf> = roots.flat_map(|root| pdbs_below(root)).collect();
        let stores: Vec<Store> = search.roots.iter().chain(&search.symbol_path).map(Store::open).collect();
        let modules = files.iter().map(|file| {
            let mut pdbs = Vec::new();
            if let (Some(name), Some(id)) = (file.pdb_name.as_deref().and_then(|n| FileName::new(n).ok()), file.pdb) {
                pdbs.extend(stores.iter().flat_map(|store| store.lookup(&name, &pdb_key(&id.guid.0, id.age))));
                let beside = file.path.as_ref().and_then(|path| Some(path.parent()?.join(name.as_str())));
                pdbs.extend(beside.filter(|path| path.is_file()));
                let flat = search.symbol_path.iter().map(|dir| dir.join(name.as_str()));
                pdbs.extend(flat.filter(|path| path.is_file()));
                let same = |path: &&PathBuf| {
                    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.eq_ignore_ascii_case(name.as_str()))
                };
                pdbs.extend(below.iter().filter(same).cloned());
            }
            Module { image: file.image, pdbs, id: file.pdb, symbols: OnceLock::new() }
        });
        Self { modules: modules.collect() }
    }

    /// The nearest symbol at or before `rva` in a module, with the distance: `KiSwapContext+0x42`.
    pub fn name(&self, module: ModuleId, rva: u64) -> Option<String> {
        let module = self.modules.get(module.0)?;
        let symbols = module.symbols.get_or_init(|| module.read());
        let (name, distance) = symbols.nearest(u32::try_from(rva).ok()?)?;
        Some(if distance == 0 { name.to_owned() } else { format!("{name}+{distance:#x}") })
    }
}

/// What is known about a module's file.
#[derive(Clone, Debug, Default)]
pub struct ModuleFile<'a> {
    /// The image, for its exports.
    pub image: Option<&'a MappedImage<'a>>,
    /// Where the file is.
    pub path: Option<PathBuf>,
    /// Its PDB's identity.
    pub pdb: Option<PdbId>,
    /// Its PDB's name; untrusted.
    pub pdb_name: Option<String>,
}

impl Module<'_> {
    fn read(&self) -> Symbols {
        let from_pdb = |path: &PathBuf| Symbols::from_pdb(&fs::read(path).ok()?, self.id?).ok();
        let found = self.pdbs.iter().find_map(from_pdb).filter(|symbols| !symbols.list.is_empty());
        found.or_else(|| self.image.map(Symbols::of_exports)).unwrap_or_default()
    }
}

impl Symbols {
    /// The public symbols and procedures of a PDB that has the identity `wanted`.
    ///
    /// # Errors
    /// When the file is no PDB, damaged, or another build's. Takes memory of at most six times the file.
    pub fn from_pdb(file: &[u8], wanted: PdbId) -> Result<Self, PdbError> {
        msf::check(file)?;
        // pdb2 0.11 panics on some damaged headers ("attempt to add with overflow" in the DBI stream, found by changing
        // bytes at random). Nothing outlives the call, so that nothing can be left half done.
        std::panic::catch_unwind(|| Self::read_pdb(file, wanted)).unwrap_or(Err(PdbError::Record))
    }

    fn read_pdb(file: &[u8], wanted: PdbId) -> Result<Self, PdbError> {
        let mut pdb = pdb2::PDB::open(Cursor::new(file))?;
        let information = pdb.pdb_information()?;
        let debug = pdb.debug_information()?;
        // An image names the age of the DBI stream; that of the PDB counts further changes.
        let age = debug.age().unwrap_or(information.age);
        let found = PdbId { guid: symstore::Guid(information.guid.to_bytes_le()), age };
        if found != wanted {
            return Err(PdbError::OtherBuild { found, wanted });
        }
        let addresses = pdb.address_map()?;
        let mut list: Vec<(u32, bool, String)> = Vec::new();
        let mut add = |data: SymbolData<'_>| {
            let (offset, public, name) = match data {
                SymbolData::Public(symbol) if symbol.code || symbol.function => (symbol.offset, true, symbol.name),
                SymbolData::Procedure(symbol) => (symbol.offset, false, symbol.name),
                _ => return,
            };
            if let Some(rva) = offset.to_rva(&addresses) {
                list.push((rva.0, public, name.to_string().into_owned()));
            }
        };
        let globals = pdb.global_symbols()?;
        let mut symbols = globals.iter();
        while let Some(symbol) = symbols.next()? {
            if let Some(data) = named(&symbol) {
                add(data);
            }
        }
        let mut modules = debug.modules()?;
        while let Some(module) = modules.next()? {
            let Some(information) = pdb.module_info(&module)? else { continue };
            let mut symbols = information.symbols()?;
            while let Some(symbol) = symbols.next()? {
                if let Some(data) = named(&symbol) {
                    add(data);
                }
            }
        }
        // Where a procedure and a public symbol share an address, the procedure's name is the undecorated one.
        list.sort();
        Ok(Self::new(list.into_iter().map(|(rva, _, name)| (rva, name))))
    }

    /// The exports of an image that lie in it.
    pub fn of_exports(image: &MappedImage<'_>) -> Self {
        let Ok(Some(exports)) = image.file().exports() else { return Self::default() };
        let mut list: Vec<(u32, String)> = exports
            .iter()
            .filter_map(|(name, export)| match export {
                pe_image::Export::Rva(rva) => Some((rva.0, name.into_owned())),
                _ => None,
            })
            .collect();
        list.sort();
        Self::new(list)
    }

    fn new(sorted: impl IntoIterator<Item = (u32, String)>) -> Self {
        let mut list: Vec<(u32, String)> = sorted.into_iter().collect();
        list.dedup_by_key(|(rva, _)| *rva);
        Self { list }
    }

    /// The nearest symbol at or before an RVA, and the distance to it.
    pub fn nearest(&self, rva: u32) -> Option<(&str, u32)> {
        let after = self.list.partition_point(|(start, _)| *start <= rva);
        let (start, name) = self.list.get(after.checked_sub(1)?)?;
        Some((name, rva - start))
    }
}

/// Kinds of records that name code (cvinfo.h).
const S_PUB32: u16 = 0x110e;
const S_LPROC32: u16 = 0x110f;
const S_GPROC32: u16 = 0x1110;
const S_LPROC32_ID: u16 = 0x1146;
const S_GPROC32_ID: u16 = 0x1147;

/// A record that names code. Others are not parsed: pdb2 0.11 panics on some of them (a record of inlined functions with
/// a byte too many), and there are many.
fn named<'t>(symbol: &pdb2::Symbol<'t>) -> Option<SymbolData<'t>> {
    match symbol.raw_kind() {
        S_PUB32 | S_LPROC32 | S_GPROC32 | S_LPROC32_ID | S_GPROC32_ID => symbol.parse().ok(),
        _ => None,
    }
}

/// PDB files below a directory, without following links. Unreadable directories have none.
fn pdbs_below(root: &Path) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pdb")) => {
                    found.insert(path);
                }
                _ => {}
            }
        }
    }
    found.into_iter().collect()
}
