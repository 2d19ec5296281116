//! The executed code of each snapshot, in order, as places in modules with names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use address_map::ModuleId;
use intel_pt::flow::Quality;
use ipt_analysis::flow::{Limits, Place, Trace, follow};
use ipt_analysis::touched::PAGE;
use kernel_code::SearchError;
use kernel_snapshot::{Progress, Reading};
use pe_image::{CodeView, MappedImage};

use super::analyse::{IptOptions, with_execution};
use super::chosen::Chosen;
use super::execution::Execution;
use crate::error::{Error, Result};
use crate::pdb::{ModuleFile, Names};

/// Packets that are followed at once. A byte of packets gives up to six entries of less than 100 bytes each.
const AT_ONCE: usize = 1 << 20;

/// The flow of one snapshot.
pub(crate) struct Traced<'t, 'a> {
    /// All snapshots.
    pub chosen: &'t Chosen<'t>,
    /// The number of this one.
    pub number: usize,
    /// What happened.
    pub trace: Trace,
    /// The code that it was followed over.
    pub execution: &'t Execution<'t, 'a>,
    names: &'t Names<'t>,
}

impl Traced<'_, '_> {
    /// A place as an address.
    pub fn address(&self, place: Place) -> u64 {
        place.module.map_or(0, |module| self.execution.entry(module).module.base).wrapping_add(place.offset)
    }

    /// The nearest symbol at or before a place, with the distance.
    pub fn symbol(&self, place: Place) -> Option<String> {
        self.names.name(place.module?, place.offset)
    }
}

/// What the flow over all chosen snapshots lacked.
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

/// Follows the chosen snapshots over the code as it was in memory, and hands the flow of each to `sink`, in order. What
/// is missing is collected over all of them, for `then`.
///
/// Snapshots are followed in parallel, a megabyte at once; a single larger one takes memory of up to 1 GiB, where its
/// list is cut.
pub(crate) fn trace_flow_with<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(Traced<'_, '_>) -> io::Result<()>,
    then: impl FnOnce(Lacking<'_, '_>) -> T,
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
        let mut lacking =
            Lacking { execution, modules: BTreeMap::new(), pages: BTreeMap::new(), quality: Vec::new(), warnings };
        follow_all(&chosen, execution, &names, progress, &mut lacking, sink)
            .map_err(|source| Error::Write { path: PathBuf::from("the flow"), source })?;
        // A module whose file is there is not missing: what was wanted of it is not code.
        lacking.modules.retain(|module, _| !execution.is_present(*module));
        Ok(then(lacking))
    })
}

fn follow_all(
    chosen: &Chosen<'_>,
    execution: &Execution<'_, '_>,
    names: &Names<'_>,
    progress: &dyn Progress,
    lacking: &mut Lacking<'_, '_>,
    sink: &mut dyn FnMut(Traced<'_, '_>) -> io::Result<()>,
) -> io::Result<()> {
    let packets = chosen.packets();
    let unknown_calls = execution.unknown_calls();
    progress.phase("following the flow", Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
    let mut rest = chosen.numbers.iter().zip(&packets).peekable();
    while rest.peek().is_some() {
        let mut size = 0;
        let mut batch = Vec::new();
        while let Some((number, bytes)) = rest.next_if(|(_, bytes)| size == 0 || size + bytes.len() <= AT_ONCE) {
            size += bytes.len();
            batch.push((*number, *bytes));
        }
        let streams: Vec<&[u8]> = batch.iter().map(|(_, bytes)| *bytes).collect();
        let traces = follow(&execution.code, &execution.layout, &unknown_calls, &streams, Limits::default());
        for ((number, bytes), trace) in batch.into_iter().zip(traces) {
            lacking.add(number, &trace);
            sink(Traced { chosen, number, trace, execution, names })?;
            progress.advance(bytes.len() as u64);
        }
    }
    Ok(())
}

impl Lacking<'_, '_> {
    fn add(&mut self, number: usize, trace: &Trace) {
        self.quality.push((number, trace.quality));
        for (address, times) in &trace.missing {
            let count = match self.execution.layout.place(*address).module {
                Some(module) => self.modules.entry(module).or_insert(0),
                None => self.pages.entry(address / PAGE).or_insert(0),
            };
            *count += u64::from(*times);
        }
        for (site, times) in &trace.unknown_calls {
            if let Some(module) = self.execution.callee(*site) {
                *self.modules.entry(module).or_insert(0) += u64::from(*times);
            }
        }
    }
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
