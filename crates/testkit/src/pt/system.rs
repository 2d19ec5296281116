//! A generated program as an installed system: one PE file for each module, whose code is the program's, and traces
//! whose packets come from running it.

use super::execute::Run;
use super::program::{Module, Optimization, Program, Shape};
use super::sites::ListedBranch;
use crate::image::{At, CODE, Driver, GUARD, MEMSET, OverrideSpec, RDATA, SiteSpec};
use crate::trace::{self, TraceFile};

/// Pages in each image for what a PE file has besides code.
const ROOM: usize = 24;
const PAGE: usize = 0x1000;

/// A program and its files.
#[derive(Clone, Debug)]
pub struct System {
    /// The program.
    pub program: Program,
    /// The file of each of its modules, in order.
    pub files: Vec<InstalledFile>,
}

/// A module file and what a trace says about it.
#[derive(Clone, Debug)]
pub struct InstalledFile {
    /// File name.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// Load address.
    pub base: u64,
    /// SizeOfImage.
    pub size: u32,
    /// TimeDateStamp.
    pub timestamp: u32,
    /// CheckSum.
    pub checksum: u32,
}

impl System {
    /// The system whose program `shape` and `seed` name.
    pub fn generate(shape: &Shape, seed: u64) -> Self {
        let program = Program::generate_with_room(shape, seed, ROOM);
        let files = (0..program.modules.len()).map(|index| file(&program, index)).collect();
        Self { program, files }
    }

    /// A kernel trace of the system: build 26100, its modules; snapshots are to be added.
    pub fn trace(&self) -> TraceFile {
        let mut trace = TraceFile::new();
        trace.system(1_000_100, "TESTKIT", 4652);
        trace.kernel_base(0, 1_000_200, self.program.modules[0].base);
        for (file, tick) in self.files.iter().zip((1_000_300..).step_by(100)) {
            let directory = if file.base == self.program.modules[0].base { "system32" } else { r"system32\drivers" };
            let path = format!(r"\SystemRoot\{directory}\{}", file.name);
            let module = trace::Module::kernel(&path, file.base, u64::from(file.size));
            trace.module(0, tick, &module.with_identity(file.timestamp, file.checksum));
        }
        trace
    }

    /// As [`System::trace`], with one snapshot for each of `runs`.
    pub fn trace_of(&self, runs: &[Run]) -> TraceFile {
        let mut trace = self.trace();
        for (number, run) in runs.iter().enumerate() {
            let number = number as u32;
            let owner = (4, 100 + 4 * (number % 8));
            trace.ipt((number % 4) as u16, 2_000_000 + 1000 * i64::from(number), owner, &run.packets, 0);
        }
        trace
    }

    /// The modules whose import sites were rewritten when the program ran: with [`Optimization::Mixed`] some.
    pub fn optimized(&self) -> impl Iterator<Item = (&str, bool)> {
        self.program.modules.iter().zip(&self.files).map(|(module, file)| (&*file.name, module.optimized))
    }

    /// The shape of systems in whose traces import calls are frequent.
    pub fn busy(optimization: Optimization, retpoline: bool) -> Shape {
        let far_module = false;
        Shape {
            modules: 4,
            functions: 10,
            statements: 6,
            import_percent: 40,
            optimization,
            retpoline,
            far_module,
            overrides: None,
        }
    }
}

/// A PE file around a module's code.
///
/// ```text
/// driver:  headers  .text  .pdata  .fill  .rdata …  | stub page                  the sum of the sizes is the image's
/// kernel:  headers  .text  .pdata  .fill            | RETPOL  .rdata …           that section is its stub page,
///                                                     or KSCP                    or its page of shared code
/// ```
fn file(program: &Program, index: usize) -> InstalledFile {
    let module = &program.modules[index];
    let size = module.linked.len();
    let without_fill = draft(program, index, 0);
    let spare = if index == 0 {
        size - without_fill.retpol.expect("a kernel has the section") as usize
    } else {
        size - without_fill.built.size_of_image as usize
    };
    let Draft { driver, mut built, retpol, .. } = draft(program, index, spare);
    if index == 0 {
        assert_eq!(retpol, Some(size as u32));
    } else {
        assert_eq!(built.size_of_image, size as u32, "{ROOM} pages are too little room");
    }
    // The exception directory is number 3; data directories begin 0x88 bytes into the headers of a PE32+.
    built.put_u32("nt", 0x88 + 8 * 3, built.section_rvas[1]);
    built.put_u32("nt", 0x88 + 8 * 3 + 4, 12 * module.functions.len() as u32);
    InstalledFile {
        name: driver.name.clone(),
        size: built.size_of_image,
        bytes: built.bytes,
        base: module.base,
        timestamp: driver.timestamp,
        checksum: driver.checksum,
    }
}

struct Draft {
    driver: Driver,
    built: crate::image::Built,
    /// RVA of the section RETPOL.
    retpol: Option<u32>,
}

fn draft(program: &Program, index: usize, fill: usize) -> Draft {
    let module = &program.modules[index];
    let mut driver = Driver::new(&module.name);
    driver.timestamp = 0x6600_0000 + 0x111 * (index as u32 + 1);
    driver.checksum = 0x2_0000 + 0x101 * (index as u32 + 1);
    let text_end = module.linked.len() - PAGE * ROOM;
    let text = driver.section(".text", CODE, module.linked[PAGE..text_end].to_vec());
    driver.section(".pdata", RDATA, runtime_functions(module, text_end));
    driver.section(".fill", RDATA, Vec::new());
    // An empty section takes a page all the same.
    driver.sections[2].virtual_size = Some((fill + PAGE) as u32);
    let retpol = (index == 0).then(|| match &module.overridden {
        Some(_) => driver.section("KSCP", CODE, program.shared_page_of_file()),
        None => {
            let stubs = module.stubs.as_ref().map_or_else(|| program.idle_stubs(), |stubs| stubs.bytes.clone());
            driver.section("RETPOL", CODE, stubs)
        }
    });
    let at = |address: u64| At(text, (address - module.base) as u32 - PAGE as u32);
    for (number, &function) in module.functions.iter().enumerate() {
        driver.export(&exported(index, number), at(function));
    }
    let mut imports: Vec<((usize, usize), usize)> = Vec::new();
    for site in &module.sites {
        let target = place_of(program, site.target);
        let import = match imports.iter().find(|(key, _)| *key == target) {
            Some((_, import)) => *import,
            None => {
                let import = driver.import(&program.modules[target.0].name, &exported(target.0, target.1));
                imports.push((target, import));
                import
            }
        };
        driver.site(at(site.va), SiteSpec::Import { call: site.call, import });
    }
    for &(va, branch) in &module.listed {
        let site = match branch {
            ListedBranch::Rax { call } => SiteSpec::Indirect { call, rex: false, cfg: false },
            ListedBranch::Cfg { call } => SiteSpec::Indirect { call, rex: false, cfg: true },
            ListedBranch::Switch { register } => SiteSpec::Switch(register),
        };
        driver.site(at(va), site);
    }
    if let Some(functions) = &module.overridden {
        driver.dispatch = Some(at(functions.dispatch));
        let of = |is_guarded, call| {
            let calls = functions.calls.iter().filter(move |one| one.is_guarded == is_guarded && one.call == call);
            calls.map(|one| at(one.va)).collect::<Vec<_>>()
        };
        let spec = |original, alternatives: &[u64], is_guarded| {
            let alternatives = alternatives.iter().map(|&function| at(function)).collect();
            OverrideSpec {
                jumps: of(is_guarded, false),
                ..OverrideSpec::new(at(original), alternatives, of(is_guarded, true))
            }
        };
        let [original, first, second] = functions.memset;
        driver.overrides = vec![
            spec(functions.thunk, &[functions.thunk], true).decided_by(GUARD),
            spec(original, &[first, second], false).decided_by(MEMSET),
        ];
        driver.overrides.retain(|item| !(item.calls.is_empty() && item.jumps.is_empty()));
    }
    let built = driver.build();
    Draft { retpol: retpol.map(|section| built.section_rvas[section]), driver, built }
}

/// The exception directory: each function ends where the next one begins.
fn runtime_functions(module: &Module, text_end: usize) -> Vec<u8> {
    let mut starts: Vec<u32> = module.functions.iter().map(|function| (function - module.base) as u32).collect();
    starts.sort_unstable();
    // The overridden functions are leaves, which no entry covers.
    let last = module.overridden.as_ref().map_or(text_end as u32, |functions| (functions.thunk - module.base) as u32);
    let ends = starts[1..].iter().copied().chain([last]);
    let entries = starts.iter().zip(ends).map(|(start, end)| [*start, end, 0]);
    entries.flatten().flat_map(u32::to_le_bytes).collect()
}

fn exported(module: usize, function: usize) -> String {
    format!("M{module}Function{function}")
}

fn place_of(program: &Program, address: u64) -> (usize, usize) {
    let find = |(m, module): (usize, &Module)| {
        module.functions.iter().position(|function| *function == address).map(|function| (m, function))
    };
    program.modules.iter().enumerate().find_map(find).expect("an import leads to a function of some module")
}

#[cfg(test)]
mod tests {
    use super::System;
    use crate::pt::Optimization;

    #[test]
    fn files_lie_where_the_program_has_its_modules() {
        for retpoline in [false, true] {
            let system = System::generate(&System::busy(Optimization::Mixed, retpoline), 3);
            for (file, module) in system.files.iter().zip(&system.program.modules).skip(1) {
                assert_eq!(file.base + u64::from(file.size), module.end(), "the stub page lies behind the image");
            }
            let ends = system.files.iter().map(|file| file.base + u64::from(file.size));
            for (end, next) in ends.zip(&system.files[1..]) {
                assert!(end <= next.base, "{} lies free", next.name);
            }
        }
    }
}
