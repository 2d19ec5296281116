//! Names for addresses: the nearest symbol of a module's PDB when one is at hand, else its nearest export.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{fmt, fs};

use crate::search::Search;
use address_map::ModuleId;
use pdb2::{FallibleIterator, SymbolData};
use pe_image::MappedImage;
use symstore::PdbId;
use symstore::pdb::PdbFinder;

use super::error::{PdbError, Problem};

/// The names of modules. A module's PDB is read when the first of its names is asked for.
#[derive(Debug)]
pub struct Names<'a> {
    /// By number.
    modules: Vec<Module<'a>>,
}

#[derive(Debug)]
struct Module<'a> {
    image: Option<&'a MappedImage<'a>>,
    pdb: Option<PathBuf>,
    id: Option<PdbId>,
    symbols: OnceLock<Symbols>,
}

/// Symbols of one module, by RVA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Ascending, one name for each RVA.
    list: Vec<(u32, String)>,
    origin: SymbolOrigin,
}

impl<'a> Names<'a> {
    /// Names from the PDBs that a [`PdbFinder`] finds for these modules, else from their exports.
    pub fn find(files: &[ModuleFile<'a>], search: &Search) -> Self {
        let finder = PdbFinder::new(&search.roots, &search.symbol_path);
        let modules = files.iter().map(|file| {
            let pdb = file.pdb_name.as_deref().zip(file.pdb);
            let pdb = pdb.and_then(|(name, id)| finder.find(name, id, file.path.as_deref()).path);
            Module { image: file.image, pdb, id: file.pdb, symbols: OnceLock::new() }
        });
        Self { modules: modules.collect() }
    }

    /// The nearest symbol at or before `rva` in a module, with the distance: `KiSwapContext+0x42`.
    pub fn name(&self, module: ModuleId, rva: u64) -> Option<String> {
        self.nearest(module, rva).map(|name| name.to_string())
    }

    /// The nearest symbol at or before `rva` in a module.
    pub fn nearest(&self, module: ModuleId, rva: u64) -> Option<Name<'_>> {
        let symbols = self.symbols(module)?;
        let (symbol, distance) = symbols.nearest(u32::try_from(rva).ok()?)?;
        Some(Name { symbol, distance, origin: symbols.origin })
    }

    /// The symbols of a module.
    pub fn symbols(&self, module: ModuleId) -> Option<&Symbols> {
        let module = self.modules.get(module.0)?;
        Some(module.symbols.get_or_init(|| module.read()))
    }
}

/// A place by the nearest symbol at or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'n> {
    /// The symbol.
    pub symbol: &'n str,
    /// Bytes from the symbol to the place.
    pub distance: u32,
    /// Where the symbol is from.
    pub origin: SymbolOrigin,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol)?;
        if self.distance == 0 { Ok(()) } else { write!(f, "+{:#x}", self.distance) }
    }
}

/// Where the symbols of a module are from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SymbolOrigin {
    /// Its PDB.
    Pdb,
    /// Its exports: most functions have none, so the nearest one may belong to another function.
    #[default]
    Exports,
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
        let found = self.pdb.as_ref().and_then(from_pdb).filter(|symbols| !symbols.list.is_empty());
        found.or_else(|| self.image.map(Symbols::of_exports)).unwrap_or_default()
    }
}

impl Symbols {
    /// The public symbols and procedures of a PDB that has the identity `wanted`.
    ///
    /// # Errors
    /// When the file is not a PDB, damaged, or another build's. Takes memory of at most six times the file.
    pub fn from_pdb(file: &[u8], wanted: PdbId) -> Result<Self, PdbError> {
        symstore::pdb::check_container(file)?;
        // pdb2 0.11 panics on some damaged headers ("attempt to add with overflow" in the DBI stream, found by changing
        // bytes at random). Nothing outlives the call, so that nothing can be left half done.
        Ok(std::panic::catch_unwind(|| Self::read_pdb(file, wanted)).unwrap_or(Err(Problem::Damaged("a record")))?)
    }

    fn read_pdb(file: &[u8], wanted: PdbId) -> Result<Self, Problem> {
        let mut pdb = pdb2::PDB::open(Cursor::new(file))?;
        let information = pdb.pdb_information()?;
        let debug = pdb.debug_information()?;
        // An image names the age of the DBI stream; that of the PDB counts further changes.
        let age = debug.age().unwrap_or(information.age);
        let found = PdbId { guid: symstore::Guid(information.guid.to_bytes_le()), age };
        if found != wanted {
            return Err(Problem::OtherBuild { found, wanted });
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
        Ok(Self::new(list.into_iter().map(|(rva, _, name)| (rva, name)), SymbolOrigin::Pdb))
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
        Self::new(list, SymbolOrigin::Exports)
    }

    fn new(sorted: impl IntoIterator<Item = (u32, String)>, origin: SymbolOrigin) -> Self {
        let mut list: Vec<(u32, String)> = sorted.into_iter().collect();
        list.dedup_by_key(|(rva, _)| *rva);
        Self { list, origin }
    }

    /// Where they are from.
    pub fn origin(&self) -> SymbolOrigin {
        self.origin
    }

    /// Where symbols are, ascending.
    pub fn rvas(&self) -> impl Iterator<Item = u32> {
        self.list.iter().map(|(rva, _)| *rva)
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
