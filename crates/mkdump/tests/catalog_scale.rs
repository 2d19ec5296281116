//! Five thousand module files are indexed in under two seconds and 200 MiB. Alone in its process, so that the memory
//! counted is the index's.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mkdump::catalog::{Cache, Index, IndexOptions, Lookup, Progress, Wanted};
use testkit::catalog::Module;

const FILES: u32 = 5000;

fn module(number: u32) -> Module {
    let pdb = Some((
        "ed706a38-6592-40a0-66e6-fb19b994baaa",
        number + 1,
        "C:\\some\\long\\path\\of\\a\\build\\machine\\module.pdb",
    ));
    Module { timestamp: 0x8000_0000 + number, size_of_image: 0x8000, pdb, code: 0x4000, checksum: number }
}

fn generate(dir: &Path) {
    // Files that have just been written are not kept in the cache, and these are to be.
    let past = SystemTime::now() - Duration::from_secs(1000);
    for number in 0..FILES {
        let path = dir.join(format!("{}/{}/file{number}.sys", number % 7, number % 50));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, module(number).file()).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
    }
}

/// The most memory this process has had, in MiB.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? / 1024)
}

#[test]
fn five_thousand_files_take_under_two_seconds_and_200_mib() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    generate(dir.path());
    let calls = AtomicUsize::new(0);
    let progress = |progress: Progress| {
        assert!(progress.done <= progress.total);
        calls.fetch_add(1, Ordering::Relaxed);
    };
    for (what, cache) in [
        ("without a cache", Cache::Off),
        ("filling the cache", Cache::At(cache.path().into())),
        ("from the cache", Cache::At(cache.path().into())),
    ] {
        let options =
            IndexOptions { roots: vec![dir.path().into()], cache, progress: Some(&progress), ..Default::default() };
        let started = Instant::now();
        let index = Index::build(&options).unwrap();
        let taken = started.elapsed();
        println!("{FILES} files {what}: {taken:?}");
        assert!(taken < Duration::from_secs(2), "{what}: {taken:?}");
        assert_eq!((index.files().len(), index.notes()), (FILES as usize, &[][..]));
        for number in (0..FILES).step_by(97) {
            let module = module(number);
            let wanted =
                Wanted { name: "x".into(), timestamp: Some(module.timestamp), size: 0x8000, ..Default::default() };
            let Lookup::Found { file, .. } = index.find(&wanted) else { panic!("{number} is there") };
            assert_eq!(file.name, format!("file{number}.sys"));
        }
    }
    assert_eq!(calls.into_inner(), 3 * FILES as usize);
    match peak_memory() {
        Some(mib) => {
            println!("at most {mib} MiB");
            assert!(mib < 200, "{mib} MiB");
        }
        None => println!("SKIPPED: this system does not tell how much memory a process has had"),
    }
}
