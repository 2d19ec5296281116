//! The chosen snapshots over the code that they ran in, with names for its places.

use std::collections::BTreeMap;
use std::path::Path;

use address_map::ModuleId;
use intel_pt::flow::Quality;
use ipt_analysis::flow::Place;
use ipt_analysis::touched::PAGE;
use kernel_code::SearchError;
use kernel_snapshot::{Progress, Reading};
use pe_image::{CodeView, MappedImage};

use super::analyse::{IptOptions, with_execution};
use super::chosen::Chosen;
use super::execution::Execution;
use crate::error::{Error, Result};
use crate::pdb::{ModuleFile, Name, Names};

/// Snapshots, the code that they are followed over, and its names.
#[derive(Debug)]
pub(crate) struct Named<'t, 'a> {
    /// All snapshots, and which are chosen.
    pub chosen: &'t Chosen<'t>,
    /// The code.
    pub execution: &'t Execution<'t, 'a>,
    /// Names of its places.
    pub names: &'t Names<'t>,
}

impl Named<'_, '_> {
    /// Follows the chosen snapshots, a megabyte of packets at once, and hands what `follow` makes of each to `sink` with
    /// its number, in order. The snapshots that `follow` gets together may be followed in parallel.
    pub fn follow_each<T, E>(
        &self,
        phase: &'static str,
        progress: &dyn Progress,
        follow: impl Fn(&[&[u8]]) -> Vec<T>,
        mut sink: impl FnMut(usize, T) -> Result<(), E>,
    ) -> Result<(), E> {
        let packets = self.chosen.packets();
        progress.phase(phase, Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
        for batch in batches(self.chosen, &packets) {
            let streams: Vec<&[u8]> = batch.iter().map(|(_, bytes)| *bytes).collect();
            for ((number, bytes), made) in batch.into_iter().zip(follow(&streams)) {
                sink(number, made)?;
                progress.advance(bytes.len() as u64);
            }
        }
        Ok(())
    }

    /// A place as an address.
    pub fn address(&self, place: Place) -> u64 {
        place.module.map_or(0, |module| self.execution.entry(module).module.base).wrapping_add(place.offset)
    }

    /// The nearest symbol at or before a place. The stubs after an image have none.
    pub fn symbol(&self, place: Place) -> Option<Name<'_>> {
        let module = place.module?;
        let is_in_image = place.offset < self.execution.entry(module).module.size;
        self.names.nearest(module, place.offset).filter(|_| is_in_image)
    }

    /// The file name of the module that an unknown call leads to.
    pub fn callee(&self, site: u64) -> Option<&str> {
        self.execution.callee(site).map(|module| &*self.execution.entry(module).module.name)
    }
}

/// What following all chosen snapshots lacked.
pub(crate) struct Lacking<'t, 'a> {
    /// The code that they were followed over.
    pub execution: &'t Execution<'t, 'a>,
    /// Modules that the flow came to and whose files are missing, and how often.
    pub modules: BTreeMap<ModuleId, u64>,
    /// Pages in no module: number, and how often the flow came to them.
    pub pages: BTreeMap<u64, u64>,
    /// How well each snapshot could be followed, by its number.
    pub quality: Vec<(usize, Quality)>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

impl Lacking<'_, '_> {
    /// The flow came to an address without code.
    pub fn add_missing(&mut self, address: u64, times: u64) {
        let count = match self.execution.layout.place(address).module {
            // A module whose file is there is not missing: what was wanted of it is not code.
            Some(module) if self.execution.is_present(module) => return,
            Some(module) => self.modules.entry(module).or_insert(0),
            None => self.pages.entry(address / PAGE).or_insert(0),
        };
        *count += times;
    }

    /// The flow came to a call whose target is not known.
    pub fn add_unknown_call(&mut self, site: u64, times: u64) {
        let callee = self.execution.callee(site).filter(|module| !self.execution.is_present(*module));
        if let Some(module) = callee {
            *self.modules.entry(module).or_insert(0) += times;
        }
    }
}

/// Puts together the code that the chosen snapshots ran in, and hands it to `then` with an empty list of what is missing.
///
/// # Errors
/// When the source holds no data, no kernel module or no module file, or `then` fails.
pub(crate) fn with_names<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    then: impl FnOnce(&Named<'_, '_>, Lacking<'_, '_>) -> Result<T>,
) -> Result<T> {
    let saved = options.inputs.open()?;
    let chosen = Chosen::new(reading, &saved, &options.choice)?;
    if chosen.numbers.is_empty() {
        return Err(Error::NoIpt { name: reading.summary.name.clone(), why: crate::ipt::why_no_data(reading) });
    }
    if !reading.snapshot.modules.iter().any(|module| module.kernel) {
        let (name, why) = (reading.summary.name.clone(), crate::jobs::modules::why_no_modules(reading));
        return Err(Error::NoCode { name, why });
    }
    with_execution(reading, options, &chosen, progress, |execution, looked_at, warnings| {
        if !execution.has_code() {
            return Err(SearchError::no_files(&options.search.roots, looked_at).into());
        }
        let names = Names::find(&files(execution), &options.search);
        let lacking =
            Lacking { execution, modules: BTreeMap::new(), pages: BTreeMap::new(), quality: Vec::new(), warnings };
        then(&Named { chosen: &chosen, execution, names: &names }, lacking)
    })
}

/// Packets that are followed at once.
const AT_ONCE: usize = 1 << 20;

/// The chosen snapshots with their numbers, a megabyte at once.
fn batches<'p>(chosen: &Chosen<'_>, packets: &[&'p [u8]]) -> Vec<Vec<(usize, &'p [u8])>> {
    let mut batches = Vec::new();
    let mut rest = chosen.numbers.iter().zip(packets).peekable();
    while rest.peek().is_some() {
        let mut size = 0;
        let mut batch = Vec::new();
        while let Some((number, bytes)) = rest.next_if(|(_, bytes)| size == 0 || size + bytes.len() <= AT_ONCE) {
            size += bytes.len();
            batch.push((*number, *bytes));
        }
        batches.push(batch);
    }
    batches
}

/// The files of a system's modules.
fn files<'e>(execution: &'e Execution<'_, '_>) -> Vec<ModuleFile<'e>> {
    let modules = execution.system.modules();
    let mut images: Vec<Option<&MappedImage<'_>>> = vec![None; modules.entries().len()];
    for (module, image) in execution.code.images() {
        images[module.0] = Some(image);
    }
    let file = |module: ModuleId| {
        let known = modules.entry(module);
        let image = images[module.0];
        let identity = image.map(|image| image.file().identity());
        let in_file = identity.as_ref().and_then(|identity| identity.pdb.as_ref());
        ModuleFile {
            image,
            path: known.file.as_deref().filter(|_| image.is_some()).map(Path::new).map(Path::to_owned),
            pdb: in_file.and_then(CodeView::pdb_id).or(known.module.pdb.as_ref().map(|pdb| pdb.id)),
            pdb_name: in_file.map(CodeView::name).or(known.module.pdb.as_ref().map(|pdb| pdb.name.clone())),
        }
    };
    modules.ids().map(file).collect()
}
