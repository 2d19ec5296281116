//! Kernels whose layouts are known: 198 of them, by their PDBs' GUIDs.
//!
//! The two tables are written by `cargo xtask session-layouts`. Their facts come from public PDBs: 180 kernels from
//! JPCERT/CC's Windows-Symbol-Tables, 18 from the type listings of vergilius-rs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use etl_file::Guid;

use crate::types::{PdbKey, StructLayout, names};

const KERNELS: &str = include_str!("kernels.tsv");
const LAYOUTS: &str = include_str!("layouts.tsv");

/// What a cell says when there is nothing to say.
const ABSENT: &str = "-";

/// A kernel whose layouts are known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownKernel {
    /// Build of Windows, such as 19041.
    pub build: u32,
    /// Revision: what stands behind the build.
    pub revision: u32,
    /// Its PDB, when known.
    pub pdb: Option<PdbKey>,
    /// Name of its layout of `_WMI_LOGGER_CONTEXT`.
    pub context: &'static str,
    /// Name of its layout of `_ETW_SILODRIVERSTATE`.
    pub silo: &'static str,
    /// `_ESERVERSILO_GLOBALS.EtwSiloState`.
    pub globals_state: Option<u32>,
    /// `_EJOB.ServerSiloGlobals`.
    pub job_globals: Option<u32>,
    /// `_KPRCB.MHz`.
    pub prcb_mhz: Option<u32>,
    /// RVAs of symbols, by the kernel's names.
    pub symbols: BTreeMap<&'static str, u32>,
}

struct Tables {
    kernels: Vec<KnownKernel>,
    layouts: BTreeMap<&'static str, StructLayout>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables { kernels: kernels(), layouts: layouts() });

/// The kernels whose layouts are known, in ascending order of builds.
pub fn known_kernels() -> &'static [KnownKernel] {
    &TABLES.kernels
}

/// A layout by its name.
pub(super) fn layout(name: &str) -> Option<&'static StructLayout> {
    TABLES.layouts.get(name)
}

/// The kernel with this PDB.
pub(super) fn kernel(pdb: PdbKey) -> Option<&'static KnownKernel> {
    TABLES.kernels.iter().find(|kernel| kernel.pdb == Some(pdb))
}

/// A layout of a context with one of a silo state.
pub(super) type Pair = (&'static StructLayout, &'static StructLayout);

/// The pairs of layouts seen in kernels of a build; empty when none was seen.
pub(super) fn pairs(build: u32) -> Vec<Pair> {
    // These builds are the kernel of the first one, with other features turned on.
    let same = match build {
        18362 | 18363 => 18362..=18363,
        19041..=19045 => 19041..=19045,
        _ => build..=build,
    };
    let mut names: Vec<_> =
        TABLES.kernels.iter().filter(|k| same.contains(&k.build)).map(|k| (k.context, k.silo)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|(context, silo)| layout(context).zip(layout(silo))).collect()
}

/// Every context's layout with every silo state's.
pub(super) fn all_pairs() -> Vec<Pair> {
    let of = |kind: char| TABLES.layouts.iter().filter(move |(name, _)| name.starts_with(kind)).map(|(_, l)| l);
    of('c').flat_map(|context| of('s').map(move |silo| (context, silo))).collect()
}

fn hex(cell: &str) -> Option<u32> {
    u32::from_str_radix(cell, 16).ok()
}

/// Rows of a table by its headings; a row that begins as the first heading does is one.
fn rows(table: &'static str) -> impl Iterator<Item = (Vec<&'static str>, Vec<&'static str>)> {
    let first = table.split('\t').next().unwrap_or_default();
    let mut headings = Vec::new();
    table.lines().filter_map(move |line| {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells.first() == Some(&first) {
            headings = cells;
            return None;
        }
        Some((headings.clone(), cells))
    })
}

fn kernels() -> Vec<KnownKernel> {
    let row = |(headings, cells): (Vec<&'static str>, Vec<&'static str>)| {
        let cell = |heading: &str| headings.iter().position(|h| *h == heading).and_then(|at| cells.get(at)).copied();
        let number = |heading: &str| cell(heading).and_then(hex);
        let (build, revision) = cell("version")?.split_once('.')?;
        let symbols = headings.iter().copied().filter(|heading| {
            names::SYMBOLS.contains(heading) || matches!(*heading, "KdDebuggerDataBlock" | "PsLoadedModuleList")
        });
        Some(KnownKernel {
            build: build.parse().ok()?,
            revision: revision.parse().ok()?,
            pdb: cell("pdb_guid_age").filter(|cell| *cell != ABSENT).and_then(pdb_key),
            context: cell("context")?,
            silo: cell("silo")?,
            globals_state: number("globals.EtwSiloState"),
            job_globals: number("job.ServerSiloGlobals"),
            prcb_mhz: number("prcb.MHz"),
            symbols: symbols.filter_map(|heading| Some((heading, number(heading)?))).collect(),
        })
    };
    rows(KERNELS).filter_map(row).collect()
}

/// The GUID's 32 digits as it is printed, then the age: as in the paths of symbol stores.
fn pdb_key(text: &str) -> Option<PdbKey> {
    let (guid, age) = text.split_at_checked(32)?;
    let part = |range: std::ops::Range<usize>| u32::from_str_radix(guid.get(range)?, 16).ok();
    let mut tail = [0; 8];
    for (index, byte) in tail.iter_mut().enumerate() {
        *byte = part(16 + 2 * index..18 + 2 * index)? as u8;
    }
    let guid = Guid::new(part(0..8)?, part(8..12)? as u16, part(12..16)? as u16, tail);
    Some(PdbKey { guid, age: hex(age)? })
}

fn layouts() -> BTreeMap<&'static str, StructLayout> {
    let mut layouts: BTreeMap<&'static str, StructLayout> = BTreeMap::new();
    for (headings, cells) in rows(LAYOUTS) {
        for (name, cell) in headings.iter().zip(&cells).skip(1) {
            let layout = layouts.entry(name).or_default();
            match (cells[0], hex(cell)) {
                ("(size)", size) => layout.size = size,
                (member, Some(offset)) => drop(layout.members.insert(member.to_owned(), offset)),
                (_, None) => {}
            }
        }
    }
    layouts
}

#[cfg(test)]
mod tests {
    use super::{KERNELS, LAYOUTS, all_pairs, kernel, known_kernels, layout, pairs, pdb_key};
    use crate::layout::{context, silo};
    use crate::types::names;

    #[test]
    fn every_row_is_read() {
        let kernels = known_kernels();
        assert_eq!(kernels.len(), KERNELS.lines().count() - 1);
        assert_eq!(kernels.len(), 198);
        assert_eq!(kernels.iter().filter(|kernel| kernel.pdb.is_some()).count(), 180);
        assert!(kernels.iter().all(|kernel| layout(kernel.context).is_some() && layout(kernel.silo).is_some()));
        assert!(kernels.iter().all(|kernel| kernel.pdb.is_none() || kernel.symbols.len() == 7), "seven RVAs each");
        assert!(KERNELS.len() + LAYOUTS.len() < 32 << 10, "the tables stay small");
    }

    #[test]
    fn every_member_that_is_read_has_a_row() {
        assert_eq!(all_pairs().len(), 15 * 10);
        for member in context::REQUIRED {
            assert!(all_pairs().iter().all(|(context, _)| context.offset(member).is_some()), "{member}");
        }
        let known = |member: &str| LAYOUTS.lines().any(|line| line.split('\t').next() == Some(member));
        for member in [
            context::LOG_FILE_NAME,
            context::FLUSH_TIMER,
            context::MINIMUM_BUFFERS,
            context::BUFFERS_AVAILABLE,
            context::MAXIMUM_BUFFERS,
            context::EVENTS_LOST,
            context::BUFFERS_WRITTEN,
            context::LOG_BUFFERS_LOST,
            context::REAL_TIME_BUFFERS_LOST,
            context::MAXIMUM_FILE_SIZE,
            context::POOL_TYPE,
            context::NUM_CONSUMERS,
            context::START_TIME,
            context::FLAGS,
            context::IPT_DATA,
            context::SILO_STATE,
            silo::MAX_LOGGERS,
            silo::LOGGER_CONTEXT,
            silo::INLINE_CONTEXT,
            silo::SYSTEM_LOGGER_SETTINGS,
        ] {
            assert!(known(member), "{member}");
        }
    }

    #[test]
    fn a_kernel_by_its_pdb() {
        // The PDB of the kernel of build 19041.804, and where its symbols are, after a dump of it.
        let key = pdb_key("5278AFF86C341677D7D7835C85B7B8441").unwrap();
        assert_eq!(key.guid.to_string(), "5278AFF8-6C34-1677-D7D7-835C85B7B844");
        let kernel = kernel(key).unwrap();
        assert_eq!((kernel.build, kernel.revision, kernel.context, kernel.silo), (19041, 804, "c19041", "s18362b"));
        let symbol = |name: &str| kernel.symbols[name];
        assert_eq!(symbol(names::DEBUGGER_DATA), 0xc1_0d58);
        assert_eq!((symbol("KdDebuggerDataBlock"), symbol("PsLoadedModuleList")), (0xc0_0b20, 0xc2_a390));
    }

    #[test]
    fn layouts_by_build() {
        for (build, expected) in
            [(14393, 1), (17763, 3), (18362, 2), (18363, 2), (19041, 2), (19044, 2), (20348, 2), (22000, 2)]
        {
            assert_eq!(pairs(build).len(), expected, "{build}");
        }
        assert!(pairs(99999).is_empty());
    }
}
