//! Building a dump of 250 modules against copying as many bytes into a file, in the same run.
//!
//! The build does everything that the command does: it reads the trace, looks through the directory, matches files by
//! identity, relocates, binds, rewrites, hashes, writes, syncs. The copy reads the finished dump, writes it under another
//! name and syncs, and so is the least that any program can do that writes this file.
//!
//! Last come both in turns, five times; the ratio of the best times and the median of the turns' ratios are printed. The
//! files go into the temporary directory: with `TMPDIR` on a file system in memory the disk's moods stay out of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mkdump::{BuildOptions, Choice, Format, Search, Silent, Source, Wanted, build};
use symstore::Cache;
use tempfile::TempDir;
use testkit::image::{At, Driver, SiteSpec};
use testkit::trace::{Module, TraceFile};

const MODULES: u64 = 250;
/// Bytes of code per module, and one import site for so many: what tcpip.sys and its like have.
const CODE: u32 = 0x8_0000;
const SITE_EVERY: usize = 0x100;
/// One base relocation for so many bytes.
const POINTER_EVERY: usize = 0x400;
/// Functions that the kernel exports, and that each driver imports.
const FUNCTIONS: usize = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let measured = std::env::args().any(|argument| argument == "--bench");
    // Under `cargo test` a bench only shows that it runs.
    let machine = Machine::new(if measured { MODULES } else { 3 });
    let bytes = machine.build();
    let mut group = criterion.benchmark_group("build 250 modules");
    group.throughput(Throughput::Bytes(bytes)).sample_size(10);
    group.bench_function("mkdump::build", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| machine.time_build()).sum());
    });
    group.bench_function("reference: copy the dump", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| machine.time_copy()).sum());
    });
    group.finish();
    criterion.final_summary();
    if measured {
        machine.compare(bytes);
    }
}

struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new(modules: u64) -> Machine {
        let machine = Machine { dir: tempfile::tempdir().expect("the temporary directory can be written") };
        std::fs::create_dir(machine.path("modules")).expect("it can be written");
        let mut trace = TraceFile::new();
        trace.kernel_base(0, 1_000_000, base(0));
        for index in 0..modules {
            let driver = if index == 0 { kernel() } else { driver(index) };
            let built = driver.build();
            std::fs::write(machine.path("modules").join(&driver.name), &built.bytes).expect("the disk has room");
            let path = format!(r"\SystemRoot\System32\drivers\{}", driver.name);
            let module = Module::kernel(&path, base(index), built.size_of_image.into());
            trace.module(0, 2_000_000 + index as i64, &module.with_identity(driver.timestamp, driver.checksum));
        }
        std::fs::write(machine.path("trace.etl"), trace.finish()).expect("the disk has room");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds the dump and gives its size.
    fn build(&self) -> u64 {
        let options = BuildOptions {
            search: Search { roots: vec![self.path("modules")], cache: Cache::Off, ..Search::default() },
            output: self.path("out.dmp"),
            import_optimization: Choice::On,
            retpoline: Choice::Off,
            format: Format::Minidump,
            ..BuildOptions::default()
        };
        let source = Source::open_etl(&self.path("trace.etl")).expect("the trace was just written");
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).expect("it is a trace");
        build(&source, &reading, &options, &Silent).expect("the dump can be built").bytes
    }

    fn time_build(&self) -> Duration {
        remove(&self.path("out.dmp"));
        let start = Instant::now();
        self.build();
        start.elapsed()
    }

    fn time_copy(&self) -> Duration {
        let copy = self.path("copy.dmp");
        remove(&copy);
        let start = Instant::now();
        let mut from = File::open(self.path("out.dmp")).expect("the dump was built");
        let mut to = File::create(&copy).expect("the directory can be written");
        std::io::copy(&mut from, &mut to).expect("the disk has room");
        to.sync_all().expect("the disk has room");
        start.elapsed()
    }

    fn compare(&self, bytes: u64) {
        let rounds: [(f64, f64); ROUNDS] =
            std::array::from_fn(|_| (self.time_build().as_secs_f64(), self.time_copy().as_secs_f64()));
        let best = |time: fn(&(f64, f64)) -> f64| rounds.iter().map(time).fold(f64::MAX, f64::min);
        let (build, copy) = (best(|round| round.0), best(|round| round.1));
        let mut ratios = rounds.map(|(build, copy)| build / copy);
        ratios.sort_by(f64::total_cmp);
        println!(
            "{MODULES} modules, {bytes} bytes, {ROUNDS} rounds: build {build:.3} s at best, copy {copy:.3} s, \
             ratio {:.2}; median ratio of a round {:.2}",
            build / copy,
            ratios[ROUNDS / 2]
        );
    }
}

/// Builds and copies in turns.
const ROUNDS: usize = 5;

/// A file that is written anew allocates its blocks anew.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn base(index: u64) -> u64 {
    // All of them within 2 GiB of the kernel, so that its functions can be called directly.
    0xffff_f804_0000_0000 + index * 0x40_0000
}

fn function(number: usize) -> String {
    format!("KeFunction{number}")
}

fn kernel() -> Driver {
    let names: Vec<String> = (0..FUNCTIONS).map(function).collect();
    testkit::image::kernel(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn driver(index: u64) -> Driver {
    let mut driver = Driver::new(&format!("driver{index}.sys"));
    driver.timestamp += index as u32;
    let text = driver.code(".text", CODE);
    let imports: Vec<usize> = (0..FUNCTIONS).map(|n| driver.import("ntoskrnl.exe", &function(n))).collect();
    for (number, offset) in (0..CODE - 16).step_by(SITE_EVERY).enumerate() {
        driver.site(At(text, offset), SiteSpec::Import { call: true, import: imports[number % FUNCTIONS] });
    }
    for offset in (0x80..CODE - 16).step_by(POINTER_EVERY) {
        driver.pointers.push((At(text, offset), At(text, 0)));
    }
    driver
}
