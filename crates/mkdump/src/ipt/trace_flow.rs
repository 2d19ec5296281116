//! `mkdump ipt --trace-flow`: the executed code of each snapshot, in order, as places in modules with names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pe_image::CodeView;
use symstore::{Guid, PdbId};

use super::analyse::{Data, IptOptions};
use super::choose::Facts;
use super::flow::{Entry, Limits, Place, Trace, follow};
use super::input::snapshots;
use super::names::{ModuleFile, Names};
use super::prepare::{Prepared, prepare};
use super::report::{FlowEntry, FlowReport, FlowSummary, MissingModule, PlaceReport, UnknownPage};
use super::touched::PAGE;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::report::Hex;
use crate::source::Reading;

/// Packets that are followed at once. A byte of packets gives up to six entries of less than 100 bytes each.
const AT_ONCE: usize = 1 << 20;

/// Follows the chosen snapshots over the code as it was in memory, and hands the flow of each to `sink`, in order. What
/// is missing is collected over all of them.
///
/// Snapshots are followed in parallel, a megabyte at once; a single larger one takes memory of up to 1 GiB, where its
/// list is cut.
///
/// # Errors
/// As [`analyse`](super::analyse::analyse), and when there is no data, no module file, or `sink` fails.
pub fn trace_flow(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&FlowReport) -> std::io::Result<()>,
) -> Result<FlowSummary> {
    let saved = options.inputs.open()?;
    let all = snapshots(reading, &saved);
    let facts: Vec<Facts> = all.iter().map(|snapshot| Facts::of(reading, snapshot)).collect();
    let chosen = options.choice.apply(&facts)?;
    let data = Data { facts: &facts, all: &all, chosen: &chosen };
    if chosen.is_empty() {
        return Err(Error::NoIpt { name: reading.summary.name.clone(), why: super::why_no_data(reading) });
    }
    prepare(reading, options, &data, progress, |prepared| {
        if !prepared.has_code() {
            return Err(Error::NoFiles { roots: options.search.roots.clone(), looked_at: prepared.looked_at });
        }
        run(reading, options, &data, prepared, progress, sink)
    })
}

fn run(
    reading: &Reading<'_>,
    options: &IptOptions,
    data: &Data<'_>,
    prepared: &Prepared<'_>,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&FlowReport) -> std::io::Result<()>,
) -> Result<FlowSummary> {
    let packets = data.packets();
    let names = Names::find(&prepared.layout, &files(prepared), &options.search);
    let printer = Printer { prepared, names: &names };
    let unknown_calls = prepared.unknown_call_addresses();
    progress.phase("following the flow", Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
    let (mut missing, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    let mut rest = data.chosen.iter().zip(&packets).peekable();
    while rest.peek().is_some() {
        let mut size = 0;
        let mut batch = Vec::new();
        while let Some((index, bytes)) = rest.next_if(|(_, bytes)| batch_has_room(size, bytes.len())) {
            size += bytes.len();
            batch.push((*index, *bytes));
        }
        let streams: Vec<&[u8]> = batch.iter().map(|(_, bytes)| *bytes).collect();
        let traces = follow(&prepared.code, &prepared.layout, &unknown_calls, &streams, Limits::default());
        for ((index, bytes), trace) in batch.into_iter().zip(traces) {
            for (address, times) in &trace.missing {
                match prepared.layout.place(*address).module {
                    Some(module) => *missing.entry(prepared.entries[module]).or_insert(0) += u64::from(*times),
                    None => *unknown.entry(address / PAGE).or_insert(0) += u64::from(*times),
                }
            }
            for (site, times) in &trace.unknown_calls {
                if let Some(entry) = prepared.callee(*site) {
                    *missing.entry(entry).or_insert(0) += u64::from(*times);
                }
            }
            let report = FlowReport { snapshot: data.snapshot(index), cut: trace.cut, flow: printer.entries(trace) };
            sink(&report).map_err(|source| Error::Write { path: PathBuf::from("the flow"), source })?;
            progress.advance(bytes.len() as u64);
        }
    }
    let mut warnings = reading.warnings.clone();
    warnings.extend(prepared.warnings.iter().cloned());
    let lacking = |(entry, times): (usize, u64)| {
        let known = &prepared.bound.entries()[entry];
        MissingModule {
            name: known.module.name.clone(),
            base: Hex(known.module.base),
            size: Hex(known.module.size),
            image_key: known.module.image_key(),
            times,
            reason: known.reason.clone(),
        }
    };
    // A module that is there is no missing one: what was wanted of it is no code.
    let absent = missing.into_iter().filter(|(entry, _)| !prepared.is_present(*entry));
    let mut missing: Vec<MissingModule> = absent.map(lacking).collect();
    missing.sort_by_key(|module| module.base);
    Ok(FlowSummary {
        missing,
        unknown: unknown.into_iter().map(|(page, hits)| UnknownPage { address: Hex(page * PAGE), hits }).collect(),
        import_optimization: prepared.import_optimization.clone(),
        retpoline: prepared.retpoline.report(),
        warnings,
    })
}

fn batch_has_room(size: usize, more: usize) -> bool {
    size == 0 || size + more <= AT_ONCE
}

/// The files of the layout's modules.
fn files<'p>(prepared: &'p Prepared<'_>) -> Vec<ModuleFile<'p>> {
    let file = |&entry: &usize| {
        let known = &prepared.bound.entries()[entry];
        let image = prepared.code.images().iter().find(|image| image.base() == known.module.base);
        let identity = image.map(|image| image.file().identity());
        let in_file = identity.as_ref().and_then(|identity| identity.pdb.as_ref());
        ModuleFile {
            image,
            path: known.file.as_deref().filter(|_| image.is_some()).map(Path::new).map(Path::to_owned),
            pdb: in_file.and_then(rsds).or(known.module.pdb.as_ref().map(|pdb| pdb.id)),
            pdb_name: in_file.map(CodeView::name).or(known.module.pdb.as_ref().map(|pdb| pdb.name.clone())),
        }
    };
    prepared.entries.iter().map(file).collect()
}

fn rsds(pdb: &CodeView) -> Option<PdbId> {
    match *pdb {
        CodeView::Rsds { guid, age, .. } => Some(PdbId { guid: Guid(guid), age }),
        _ => None,
    }
}

struct Printer<'p, 'a, 'n> {
    prepared: &'p Prepared<'a>,
    names: &'p Names<'n>,
}

impl Printer<'_, '_, '_> {
    fn entries(&self, trace: Trace) -> Vec<FlowEntry> {
        let mut out: Vec<FlowEntry> = Vec::new();
        for entry in trace.entries {
            if let Entry::Executed(range) = &entry
                && let Some(FlowEntry::Executed { at, size, times }) = out.last_mut()
                && (at.address.0, *size) == (self.address(range.start), range.len)
            {
                *times += 1;
                continue;
            }
            out.push(self.entry(entry));
        }
        out
    }

    fn entry(&self, entry: Entry) -> FlowEntry {
        match entry {
            Entry::Executed(range) => FlowEntry::Executed { at: self.place(range.start), size: range.len, times: 1 },
            Entry::Interrupt { from, to } => FlowEntry::Interrupt { from: self.place(from), to: self.place(to) },
            Entry::Overflow => FlowEntry::Overflow,
            Entry::Enabled => FlowEntry::Enabled,
            Entry::Disabled => FlowEntry::Disabled,
            Entry::Paging { cr3 } => FlowEntry::Paging { cr3: Hex(cr3) },
            Entry::Missing { offset, at } => FlowEntry::Missing { offset, at: self.place(at) },
            Entry::UnknownCall { offset, at } => {
                let to = self.prepared.callee(self.address(at));
                let to = to.map(|entry| self.prepared.bound.entries()[entry].module.name.clone());
                FlowEntry::UnknownCall { offset, at: self.place(at), to }
            }
            Entry::Gap { offset, at, what, likely } => {
                FlowEntry::Gap { offset, at: at.map(|at| self.place(at)), what, likely }
            }
        }
    }

    fn address(&self, place: Place) -> u64 {
        place.module.map_or(0, |module| self.prepared.layout.modules()[module].base).wrapping_add(place.offset)
    }

    fn place(&self, place: Place) -> PlaceReport {
        PlaceReport {
            address: Hex(self.address(place)),
            module: place.module.map(|module| self.prepared.layout.modules()[module].name.clone()),
            rva: place.module.map(|_| Hex(place.offset)),
            symbol: place.module.and_then(|module| self.names.name(module, place.offset)),
        }
    }
}
