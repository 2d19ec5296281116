//! Where functions start: what exception directories, tables of exports and of Control Flow Guard, and PDBs say.

use std::collections::BTreeMap;

use address_map::ModuleId;
use pe_image::MappedImage;

use super::execution::Execution;
use crate::pdb::{Names, SymbolOrigin};

/// The functions of all modules whose files are there.
#[derive(Debug)]
pub(crate) struct FunctionStarts<'e, 'a> {
    execution: &'e Execution<'e, 'a>,
    modules: BTreeMap<ModuleId, Starts>,
}

/// The functions of one module, by RVA.
#[derive(Debug, Default)]
struct Starts {
    /// Ascending.
    list: Vec<u32>,
    /// Ranges of the exception directory, ascending.
    ranges: Vec<(u32, u32)>,
    /// Whether a PDB lists every function.
    is_whole: bool,
    /// SizeOfImage: the stubs for retpoline lie after it.
    end: u32,
}

impl<'e, 'a> FunctionStarts<'e, 'a> {
    /// Reads what the files say. Tables that cannot be read say nothing.
    pub fn new(execution: &'e Execution<'e, 'a>, names: &Names<'_>) -> Self {
        let of = |(module, image): &(ModuleId, MappedImage<'_>)| {
            let size = execution.entry(*module).module.size;
            (*module, Starts::new(*module, image, u32::try_from(size).unwrap_or(u32::MAX), names))
        };
        Self { execution, modules: execution.code.images().iter().map(of).collect() }
    }

    /// The start of the function that an address lies in, as far as it is known.
    pub fn at(&self, address: u64) -> Option<u64> {
        let place = self.execution.layout.place(address);
        let starts = self.modules.get(&place.module?)?;
        let start = starts.at(u32::try_from(place.offset).ok()?)?;
        Some(address - (place.offset - u64::from(start)))
    }
}

impl Starts {
    fn new(module: ModuleId, image: &MappedImage<'_>, end: u32, names: &Names<'_>) -> Self {
        let file = image.file();
        let functions = file.runtime_functions().unwrap_or_default();
        let ranges: Vec<(u32, u32)> = functions.iter().map(|function| (function.begin.0, function.end.0)).collect();
        let mut list: Vec<u32> = file.listed_functions().iter().map(|rva| rva.0).collect();
        let pdb = names.symbols(module).filter(|symbols| symbols.origin() == SymbolOrigin::Pdb);
        match pdb {
            // Parts of functions that lie apart have an entry in the exception directory and no symbol.
            Some(symbols) => list.extend(symbols.rvas()),
            None => list.extend(ranges.iter().map(|range| range.0)),
        }
        list.sort_unstable();
        list.dedup();
        Self { list, ranges, is_whole: pdb.is_some(), end }
    }

    fn at(&self, rva: u32) -> Option<u32> {
        if rva >= self.end {
            return Some(self.end);
        }
        let before = self.list[..self.list.partition_point(|start| *start <= rva)].last().copied()?;
        let range = self.ranges[..self.ranges.partition_point(|range| range.0 <= rva)].last();
        let is_known = match range {
            _ if self.is_whole || before == rva => true,
            Some((begin, end)) => before >= *begin && (rva < *end || before >= *end),
            None => true,
        };
        is_known.then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::Starts;

    #[test]
    fn a_function_holds_what_no_other_one_is_known_to_hold() {
        let starts =
            Starts { list: vec![0x1000, 0x1010, 0x1080], ranges: vec![(0x1010, 0x1040)], is_whole: false, end: 0x3000 };
        let cases = [
            (0xfff, None, "before all"),
            (0x1004, Some(0x1000), "a leaf function, up to the next one"),
            (0x103f, Some(0x1010), "in the exception directory"),
            (0x1040, None, "after it: a leaf function that no table lists"),
            (0x1080, Some(0x1080), "a leaf function"),
            (0x1090, Some(0x1080), "in it"),
            (0x3010, Some(0x3000), "stubs after the image"),
        ];
        for (rva, start, why) in cases {
            assert_eq!(starts.at(rva), start, "{rva:#x}: {why}");
        }
        let whole = Starts { is_whole: true, ..starts };
        assert_eq!(whole.at(0x1050), Some(0x1010), "a PDB leaves no function out");
    }
}
