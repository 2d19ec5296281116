//! Small inputs that the program once got wrong, each with what is right: the README beside them says why. Every row gives
//! the commands and what must come of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use minidump::{Minidump, MinidumpMemoryList, MinidumpModuleList, Module as _};
use serde_json::Value;
use testkit::image::Driver;
use xtask::outcome::Outcome;
use xtask::{paths, program};

use crate::command;

/// One input: the file or directory of its name, and what is asked of it.
struct Case {
    name: &'static str,
    check: fn(&Place) -> Result<()>,
}

const CASES: &[Case] = &[
    Case { name: "name-size", check: name_size },
    Case { name: "ambiguous", check: ambiguous },
    Case { name: "x86-in-x64", check: x86_in_x64 },
    Case { name: "reloc", check: relocation_across_sections },
    Case { name: "user-src/src.dmp", check: captured_memory_is_kept },
    Case { name: "user-src/name-with-nul.dmp", check: name_with_nul },
    Case { name: "from-dump-linked/off.dmp", check: linked_sites_of_a_dump },
    Case { name: "triage-no-kiprocessorblock.dmp", check: is_sound },
    Case { name: "triage-overlap-same-bytes.dmp", check: is_sound },
    Case { name: "psb-behind-stray-byte.pt", check: stray_byte },
    Case { name: "etl/anonymous.etl", check: anonymous },
    Case { name: "etl/arm64_lab_only.etl", check: arm64 },
    Case { name: "etl/buffers_lost.etl", check: buffers_lost },
    Case { name: "etl/user_only.etl", check: user_only },
    Case { name: "etl/overlap_missing_wins.etl", check: overlap_missing_wins },
    Case { name: "etl/lost_unload_overlap.etl", check: lost_unload_overlap },
    Case { name: "attacks/f1_cab_folders.py", check: cabinet_folders },
    Case { name: "attacks/f2_zip_overlap.py", check: zip_overlap },
    Case { name: "attacks/hostile_server.py", check: hostile_server },
];

/// What "refused at once" means on a busy machine, with a program that is not optimised.
const AT_ONCE: Duration = Duration::from_secs(10);
/// The bound for a fetch from a server that only pretends to answer; the program's own deadline may be shorter.
const DEADLINE: Duration = Duration::from_secs(120);
/// The bound for everything else.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs every case; `data` lies beside the cases.
pub fn run(data: &Path) -> Result<Outcome> {
    let cases = data.join("../cases");
    let mut outcome = Outcome::default();
    for case in CASES {
        let work = paths::work("corpus-cases")?.join(case.name.replace('/', "-"));
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let place = Place { input: cases.join(case.name), data: data.to_owned(), cases: cases.clone(), work };
        if !place.input.exists() {
            outcome.add_failure(format!("cases: {} is missing", place.input.display()));
            continue;
        }
        match (case.check)(&place) {
            Ok(()) => {
                println!("ok      {}", case.name);
                outcome.add_pass();
            }
            Err(error) => outcome.add_failure(format!("cases: {}: {error:#}", case.name)),
        }
    }
    Ok(outcome)
}

/// Where a case finds its input and puts what it makes.
struct Place {
    input: PathBuf,
    cases: PathBuf,
    data: PathBuf,
    work: PathBuf,
}

/// What a command answered.
struct Answer {
    code: i32,
    /// Standard output as JSON; null where it is not.
    json: Value,
    /// Both outputs.
    said: String,
}

impl Answer {
    /// The entry of a module in a build report.
    fn module(&self, name: &str) -> Option<&Value> {
        self.json["modules"].as_array()?.iter().find(|module| module["name"] == name)
    }

    /// Whether the file of that module went into the dump.
    fn has(&self, name: &str) -> bool {
        self.module(name).is_some_and(|module| module["status"] == "included")
    }

    /// Enough of both outputs for a message: the report itself may be long.
    fn excerpt(&self) -> String {
        let talk = self.said.rsplit("\n}\n").next().unwrap_or_default();
        talk.chars().take(600).collect()
    }

    /// Fails unless a warning of the report holds all these words.
    fn warns_of(&self, words: &[&str]) -> Result<()> {
        let warnings = self.json["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = warnings.iter().filter_map(Value::as_str).any(|text| words.iter().all(|word| text.contains(word)));
        ensure!(found, "no warning with {words:?} among {warnings:?}");
        Ok(())
    }

    /// Fails unless both outputs together hold all these words, whatever their case.
    fn says(&self, words: &[&str]) -> Result<()> {
        let said = self.said.to_lowercase();
        let lacking: Vec<&&str> = words.iter().filter(|word| !said.contains(&word.to_lowercase())).collect();
        ensure!(lacking.is_empty(), "not said: {lacking:?}, in {:?}", self.excerpt());
        Ok(())
    }

    /// Fails when an output holds this word.
    fn never_says(&self, word: &str) -> Result<()> {
        ensure!(!self.said.to_lowercase().contains(&word.to_lowercase()), "{word:?} is said, in {:?}", self.excerpt());
        Ok(())
    }
}

impl Place {
    fn out(&self) -> PathBuf {
        self.work.join("o.dmp")
    }

    /// Runs the command for at most this long. A run that had to be stopped is an error.
    fn run_within(&self, limit: Duration, arguments: &[&Path]) -> Result<Answer> {
        let mut mkdump = command::mkdump()?;
        mkdump.current_dir(&self.work).env("XDG_CACHE_HOME", self.work.join("cache")).args(arguments);
        let captured = program::capture(&mut mkdump, limit)?;
        let code = captured.code().with_context(|| format!("{}: {}", program::shown(&mkdump), captured.ending()))?;
        let json = serde_json::from_str(&captured.stdout).unwrap_or(Value::Null);
        Ok(Answer { code, json, said: captured.stdout + &captured.stderr })
    }

    fn run(&self, arguments: &[&Path]) -> Result<Answer> {
        self.run_within(PATIENCE, arguments)
    }

    /// Builds a dump of a directory's trace and module files, with further options.
    fn build(&self, options: &[&str]) -> Result<Answer> {
        self.build_from(&self.input.join("t.etl"), &self.input.join("m"), options)
    }

    fn build_from(&self, trace: &Path, modules: &Path, options: &[&str]) -> Result<Answer> {
        let out = self.out();
        let fixed: [&Path; 8] = [
            "--etl".as_ref(),
            trace,
            "-m".as_ref(),
            modules,
            "-o".as_ref(),
            &out,
            "--json".as_ref(),
            "--no-cache".as_ref(),
        ];
        let arguments: Vec<&Path> = fixed.into_iter().chain(options.iter().map(Path::new)).collect();
        self.run(&arguments)
    }

    fn rebuild(&self) -> Result<Answer> {
        let (modules, out) = (self.input.with_file_name("m"), self.out());
        self.run(&[
            "--from-dump".as_ref(),
            &self.input,
            "-m".as_ref(),
            &modules,
            "-o".as_ref(),
            &out,
            "--json".as_ref(),
            "--no-cache".as_ref(),
        ])
    }
}

fn name_size(place: &Place) -> Result<()> {
    let answer = place.build(&[])?;
    ensure!(answer.code == 0, "exit code {}: {}", answer.code, answer.excerpt());
    answer.warns_of(&["cdd.dll"])?;
    let bytes = fs::read(place.out())?;
    let dump = Minidump::read(&bytes[..])?;
    let modules = dump.get_stream::<MinidumpModuleList>()?;
    let module = modules.iter().next().context("no module in the dump")?;
    ensure!(module.raw.time_date_stamp == 0, "a TimeDateStamp is stated: {:#x}", module.raw.time_date_stamp);
    ensure!(module.debug_identifier().is_none(), "a PDB is stated: {:?}", module.debug_identifier());
    let strict = place.build(&["--strict"])?;
    ensure!(strict.code == 1, "--strict ends with {}", strict.code);
    Ok(())
}

fn ambiguous(place: &Place) -> Result<()> {
    let answer = place.build(&[])?;
    ensure!(!answer.has("drv.sys"), "one of the two files was taken");
    answer.says(&["a/drv.sys", "b/drv.sys"])
}

fn x86_in_x64(place: &Place) -> Result<()> {
    let answer = place.build(&[])?;
    ensure!(!answer.has("x.sys"), "the 32-bit file was taken");
    answer.never_says("\"0x12340000\"")?;
    answer.says(&["mismatch"])
}

fn relocation_across_sections(place: &Place) -> Result<()> {
    const BASE: u64 = 0xffff_f804_1234_0000;
    /// Where the pointer lies in the file, and the base that it was linked for.
    const IN_FILE: usize = 0x13fc;
    const LINKED: u64 = 0x1_4000_0000;
    let answer = place.build(&["--memory", "image"])?;
    ensure!(answer.code == 0, "exit code {}: {}", answer.code, answer.excerpt());
    answer.never_says("outside the image")?;
    let file = fs::read(place.input.join("m/r.sys"))?;
    let linked = u64::from_le_bytes(file[IN_FILE..IN_FILE + 8].try_into()?);
    // The loader adds the distance modulo 2^64, whatever the pointer was.
    let wanted = linked.wrapping_sub(LINKED).wrapping_add(BASE).to_le_bytes();
    let bytes = fs::read(place.out())?;
    let dump = Minidump::read(&bytes[..])?;
    let memory = dump.get_stream::<MinidumpMemoryList<'_>>()?;
    // The pointer's halves may lie in ranges of their own.
    let at = |address: u64| {
        let range = memory.memory_at_address(address)?;
        range.bytes.get(usize::try_from(address - range.base_address).ok()?).copied()
    };
    for (address, byte) in (BASE + 0x1ffc..).zip(wanted) {
        ensure!(at(address) == Some(byte), "at {address:#x}: {:02x?}, not {byte:#04x}", at(address));
    }
    Ok(())
}

fn captured_memory_is_kept(place: &Place) -> Result<()> {
    let answer = place.rebuild()?;
    ensure!(answer.code == 0, "exit code {}: {}", answer.code, answer.excerpt());
    let (given, made) = (fs::read(&place.input)?, fs::read(place.out())?);
    let (given, made) = (Minidump::read(&given[..])?, Minidump::read(&made[..])?);
    let given = given.get_stream::<MinidumpMemoryList<'_>>()?;
    let made = made.get_stream::<MinidumpMemoryList<'_>>()?;
    let mut count = 0;
    for range in given.iter() {
        for (address, byte) in (range.base_address..).zip(range.bytes) {
            let held = made.memory_at_address(address);
            let found = held.and_then(|held| held.bytes.get(usize::try_from(address - held.base_address).ok()?));
            ensure!(found == Some(byte), "at {address:#x}: {found:02x?}, captured was {byte:#04x}");
            count += 1;
        }
    }
    ensure!(count > 0, "the source holds no memory");
    Ok(())
}

fn name_with_nul(place: &Place) -> Result<()> {
    let answer = place.rebuild()?;
    ensure!(answer.code == 0, "exit code {}: {}", answer.code, answer.excerpt());
    let bytes = fs::read(place.out())?;
    let dump = Minidump::read(&bytes[..])?;
    let modules = dump.get_stream::<MinidumpModuleList>()?;
    ensure!(modules.iter().count() > 0, "no module in the dump");
    ensure!(modules.iter().all(|module| !module.name.contains('\0')), "a name holds a NUL");
    Ok(())
}

fn linked_sites_of_a_dump(place: &Place) -> Result<()> {
    let answer = place.rebuild()?;
    let mode = &answer.json["import_optimization"]["mode"];
    ensure!(mode == "off", "import optimization {mode}, the dump's own sites are as linked");
    let sites = &answer.module("drv.sys").context("drv.sys is not in the report")?["sites"]["import"];
    ensure!(sites["optimized"] == 0, "sites of drv.sys: {sites}");
    Ok(())
}

fn is_sound(place: &Place) -> Result<()> {
    let answer = place.run(&["check".as_ref(), &place.input, "--json".as_ref(), "--no-cache".as_ref()])?;
    let findings = &answer.json["validation"]["findings"];
    ensure!(answer.code == 0 && findings.as_array().is_some_and(Vec::is_empty), "exit {}: {findings}", answer.code);
    Ok(())
}

fn stray_byte(place: &Place) -> Result<()> {
    // Any trace will do: the packets are in a file of their own.
    let trace = place.cases.join("etl/buffers_lost.etl");
    let answer = place.run(&[
        "ipt".as_ref(),
        "--etl".as_ref(),
        &trace,
        "--ipt-bin".as_ref(),
        &place.input,
        "--json".as_ref(),
        "--no-cache".as_ref(),
    ])?;
    let hits = &answer.json["snapshots"][0]["hits"];
    ensure!(hits == 53, "{hits} addresses, not 53");
    Ok(())
}

/// What `mkdump modules` says about the trace, as text.
fn modules(place: &Place) -> Result<Answer> {
    place.run(&["modules".as_ref(), "--etl".as_ref(), &place.input])
}

fn anonymous(place: &Place) -> Result<()> {
    let answer = modules(place)?;
    answer.says(&["secret.sys"])?;
    answer.never_says("########")
}

fn arm64(place: &Place) -> Result<()> {
    let answer = modules(place)?;
    answer.says(&["ARM64,"])?;
    answer.never_says("x64")
}

fn buffers_lost(place: &Place) -> Result<()> {
    modules(place)?.says(&["77", "lost", "modules may be missing"])
}

fn user_only(place: &Place) -> Result<()> {
    let answer = place.run(&["request".as_ref(), "--etl".as_ref(), &place.input])?;
    answer.never_says("nothing is missing")?;
    answer.says(&["no kernel modules"])
}

fn overlap_missing_wins(place: &Place) -> Result<()> {
    let modules = place.work.join("m");
    fs::create_dir(&modules)?;
    fs::copy(place.data.join("pe/19041-system32/kd.dll"), modules.join("kd.dll"))?;
    let answer = place.build_from(&place.input, &modules, &[])?;
    ensure!(answer.has("kd.dll"), "kd.dll is left out: {}", answer.excerpt());
    answer.warns_of(&["kd.dll", "mid.sys"])
}

fn lost_unload_overlap(place: &Place) -> Result<()> {
    let modules = place.work.join("m");
    fs::create_dir(&modules)?;
    for (name, timestamp, size) in [("first.sys", 0x6111_1111, 0x2_0000), ("second.sys", 0x6222_2222, 0x4_0000)] {
        fs::write(modules.join(name), driver(name, timestamp, size)?)?;
    }
    let answer = place.build_from(&place.input, &modules, &[])?;
    ensure!(answer.has("second.sys") && !answer.has("first.sys"), "the newest does not win: {}", answer.excerpt());
    answer.warns_of(&["first.sys", "second.sys"])
}

/// A driver file of exactly this size in memory.
fn driver(name: &str, timestamp: u32, size: u32) -> Result<Vec<u8>> {
    for pages in 1..size / 0x1000 {
        let mut driver = Driver::new(name);
        (driver.timestamp, driver.checksum) = (timestamp, 0x11);
        driver.code(".text", pages * 0x1000);
        let built = driver.build();
        if built.size_of_image == size {
            return Ok(built.bytes);
        }
    }
    bail!("no driver of {size:#x} bytes can be made")
}

/// Makes an archive with a script and builds from it.
fn attack(place: &Place, count: &str, file: &str) -> Result<()> {
    let dir = place.work.join("m");
    fs::create_dir(&dir)?;
    let archive = dir.join(file);
    let made = program::capture(Command::new("python3").arg(&place.input).arg(count).arg(&archive), PATIENCE)?;
    ensure!(made.success(), "python3: {}\n{}", made.ending(), made.stderr);
    let (trace, out) = (place.cases.join("name-size/t.etl"), place.out());
    let start = Instant::now();
    place.run_within(
        AT_ONCE,
        &["--etl".as_ref(), &trace, "-m".as_ref(), &dir, "-o".as_ref(), &out, "--no-cache".as_ref()],
    )?;
    println!("        {file}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn cabinet_folders(place: &Place) -> Result<()> {
    attack(place, "200", "a.cab")
}

fn zip_overlap(place: &Place) -> Result<()> {
    attack(place, "100", "a.zip")
}

/// A server that is stopped when this goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It ends by itself after the seconds that it was given, if this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fetches from a server that drips, redirects without end, or floods: each time the command must end by itself.
fn hostile_server(place: &Place) -> Result<()> {
    const MODES: &[&str] = &["redir_body", "redir_drip", "ptr_drip", "404_drip", "hdr_drip", "hdr_flood", "endless"];
    // Its module has a stamp, so there is something to ask for.
    let trace = place.cases.join("ambiguous/t.etl");
    // All at once: each may take as long as the deadline.
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = MODES.iter().map(|mode| scope.spawn(|| fetch(place, &trace, mode))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a check panicked"))).collect()
    });
    let failed: Vec<String> = results.into_iter().filter_map(|result| Some(format!("{:#}", result.err()?))).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

fn fetch(place: &Place, trace: &Path, mode: &str) -> Result<()> {
    // Free now, and taken by the server in a moment.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let life = (DEADLINE.as_secs() + 30).to_string();
    let mut script = Command::new("python3");
    script.arg(&place.input).args([&port.to_string(), mode, &life]).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Server(script.spawn().context("python3")?);
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(start.elapsed() < Duration::from_secs(20), "{mode}: the server does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (store, url) = (place.work.join(mode), format!("http://127.0.0.1:{port}"));
    let answer = place.run_within(
        DEADLINE,
        &[
            "fetch".as_ref(),
            "--etl".as_ref(),
            trace,
            "--store".as_ref(),
            &store,
            "--symbol-server".as_ref(),
            url.as_ref(),
        ],
    );
    answer.map(drop).with_context(|| format!("{mode}: after {} s", start.elapsed().as_secs()))
}
