//! Producing the code of many modules, against memcpy of the same bytes.
//!
//! The 250 modules are 250 files, so that their bytes come from memory and not from a cache, as those of a job do.
//!
//! The density of sites is measured on 23 kernel images: those with import sites have 5,600 to the MiB of code on
//! average (tcpip.sys 5,800, win32kfull.sys 7,500, ci.dll 2,300), and the densest, win32k.sys, which does little but
//! pass calls on, has 13,800.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pe_image::{Module, ModuleId, Modules, PeFile, Policy, Selection};
use testkit::image::{At, Built, Driver, kernel};

const CODE_SIZE: u32 = 1 << 20;
const MODULES: u64 = 250;
const ROUNDS: u32 = 20;
const KERNEL_BASE: u64 = 0xffff_f804_2000_0000;
const FIRST_BASE: u64 = 0xffff_f804_3000_0000;

/// Import sites per MiB of code, and which images have so many.
const DENSITIES: [(u32, &str); 3] = [(5600, "real images"), (13800, "the densest"), (300, "few calls")];

fn driver(sites: u32) -> Built {
    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", CODE_SIZE);
    let imports: Vec<_> = (0..64).map(|number| driver.import("ntoskrnl.exe", &format!("Function{number}"))).collect();
    let distance = CODE_SIZE / sites;
    for site in 0..sites - 1 {
        driver.call(At(text, site * distance + 7), imports[site as usize % imports.len()]);
    }
    driver.build()
}

/// Writes all code of some modules through one buffer, as the writer of a dump does. Gives the number of bytes.
fn produce(modules: &Modules<'_>, numbers: Range<usize>, policy: Policy, buffer: &mut [u8]) -> u64 {
    let mut total = 0;
    for number in numbers {
        let image = modules.image(ModuleId(number), policy).expect("all files are there");
        for range in image.ranges(Selection::Code) {
            for at in (0..range.size).step_by(buffer.len()) {
                let size = buffer.len().min((range.size - at) as usize);
                image.read(range.rva.checked_add(at).expect("the range fits"), &mut buffer[..size]);
                black_box(&buffer);
                total += size as u64;
            }
        }
    }
    total
}

/// The reference: the same bytes copied through the same buffer.
fn copy(files: &[Vec<u8>], buffer: &mut [u8]) -> u64 {
    let mut total = 0;
    for file in files {
        for chunk in file[0x400..][..CODE_SIZE as usize].chunks(buffer.len()) {
            buffer[..chunk.len()].copy_from_slice(black_box(chunk));
            black_box(&buffer);
            total += chunk.len() as u64;
        }
    }
    total
}

/// The time that each of several things takes over all modules: the sum, over the modules, of the best of their rounds.
/// All are run in turn, and a module is done before anybody else gets the processor: so that the ratio does not depend on
/// who else uses the machine.
fn best<const N: usize>(mut runs: [&mut dyn FnMut(usize) -> u64; N]) -> [Duration; N] {
    let mut best = [(); N].map(|()| vec![Duration::MAX; MODULES as usize]);
    for _ in 0..ROUNDS {
        for (best, run) in best.iter_mut().zip(&mut runs) {
            for (number, best) in best.iter_mut().enumerate() {
                let start = Instant::now();
                black_box(run(number));
                *best = start.elapsed().min(*best);
            }
        }
    }
    best.map(|best| best.iter().sum())
}

/// Resident memory of this process in KiB; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn bench(criterion: &mut Criterion) {
    let names: Vec<String> = (0..64).map(|number| format!("Function{number}")).collect();
    let kernel = kernel(&names.iter().map(String::as_str).collect::<Vec<_>>()).build();
    let kernel_file = PeFile::parse(&kernel.bytes).expect("testkit makes good files");
    let mut buffer = vec![0; 0x1_0000];
    for (sites, which) in DENSITIES {
        let built = driver(sites);
        let bytes: Vec<Vec<u8>> = (0..MODULES).map(|_| built.bytes.clone()).collect();
        let files: Vec<_> = bytes.iter().map(|bytes| PeFile::parse(bytes).expect("testkit makes good files")).collect();
        let kernel = Module::new("ntoskrnl.exe", KERNEL_BASE, kernel_file.clone());
        let drivers = files.iter().enumerate().map(|(number, file)| {
            let base = FIRST_BASE + number as u64 * u64::from(2 * CODE_SIZE);
            Module::new("driver.sys", base, file.clone())
        });
        let modules = Modules::new(std::iter::once(kernel).chain(drivers));
        memory(&modules);
        let mut group = criterion.benchmark_group(format!("250 modules of 1 MiB with {sites} sites each"));
        group.throughput(Throughput::Bytes(MODULES * u64::from(CODE_SIZE))).sample_size(10);
        let all = 1..modules.len();
        let [mut first, mut second, mut third] = [(); 3].map(|()| vec![0; 0x1_0000]);
        // The kernel is module 0.
        let [reference, linked, optimized] = best([
            &mut |number| copy(&bytes[number..=number], &mut first),
            &mut |number| produce(&modules, number + 1..number + 2, Policy::AS_LINKED, &mut second),
            &mut |number| produce(&modules, number + 1..number + 2, Policy::default(), &mut third),
        ]);
        for (name, policy, time) in
            [("as linked", Policy::AS_LINKED, linked), ("optimized", Policy::default(), optimized)]
        {
            let ratio = reference.as_secs_f64() / time.as_secs_f64();
            println!("{sites} sites per MiB ({which}), {name}: {ratio:.2} of memcpy ({time:?} against {reference:?})");
            group.bench_function(name, |bencher| {
                bencher.iter(|| produce(&modules, all.clone(), policy, &mut buffer));
            });
        }
        parallel(&modules, &bytes);
        group.bench_function("reference: memcpy", |bencher| bencher.iter(|| copy(&bytes, &mut buffer)));
        group.finish();
    }
}

/// Both sides with the modules shared out over all cores.
fn parallel(modules: &Modules<'_>, files: &[Vec<u8>]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(cores);
    let on_cores = |work: &(dyn Fn(Range<usize>, &mut [u8]) -> u64 + Sync)| -> u64 {
        std::thread::scope(|scope| {
            let parts = (0..files.len()).step_by(share).map(|from| from..(from + share).min(files.len()));
            let threads = parts.map(|part| scope.spawn(move || work(part, &mut [0; 0x1_0000]))).collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
        })
    };
    let time = |work: &(dyn Fn(Range<usize>, &mut [u8]) -> u64 + Sync)| {
        let run = || {
            let start = Instant::now();
            black_box(on_cores(work));
            start.elapsed()
        };
        (0..ROUNDS).map(|_| run()).min().expect("there are several rounds")
    };
    let reference = time(&|part, buffer| copy(&files[part], buffer));
    let time = time(&|part, buffer| produce(modules, part.start + 1..part.end + 1, Policy::default(), buffer));
    let ratio = reference.as_secs_f64() / time.as_secs_f64();
    println!("on {cores} cores, optimized: {ratio:.2} of memcpy on as many ({time:?} against {reference:?})");
}

/// What all images take together when they are mapped at once, as a job holds them.
fn memory(modules: &Modules<'_>) {
    let before = resident();
    let images: Vec<_> =
        (1..modules.len()).filter_map(|number| modules.image(ModuleId(number), Policy::default())).collect();
    let taken = resident().saturating_sub(before);
    let count = black_box(&images).len();
    println!(
        "{count} images mapped at once, with their bindings: {taken} KiB, {} bytes each",
        taken * 1024 / count as u64
    );
}

criterion_group!(benches, bench);
criterion_main!(benches);
