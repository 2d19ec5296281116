//! A build that does not end well: full disks, closed pipes, signals, files that change under it. Whatever happens,
//! nothing lies under the final name but what was there before, and a file that was whole.
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::catalog::Module as File;
use testkit::trace::{Module, TraceFile};

const FORMATS: [&str; 4] = ["minidump", "triage", "elf", "raw"];

/// A trace and its modules: enough code that writing it takes a while.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new(modules: u64, code: usize) -> Machine {
        /// Where the PE header of these files has its TimeDateStamp.
        const TIMESTAMP: usize = 0x88;
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(machine.path("modules")).unwrap();
        let size = 0x2000 + code.next_multiple_of(0x1000) as u32;
        let mut file = File { code, size_of_image: size, ..File::default() }.file();
        let mut trace = TraceFile::new();
        for index in 0..modules {
            let stamp = 0x6000_0000 + index as u32;
            file[TIMESTAMP..TIMESTAMP + 4].copy_from_slice(&stamp.to_le_bytes());
            let name = if index == 0 { "ntoskrnl.exe".to_owned() } else { format!("driver{index}.sys") };
            std::fs::write(machine.path("modules").join(&name), &file).unwrap();
            let base = 0xffff_f800_0000_0000 + index * 0x1000_0000;
            let module = Module::kernel(&format!(r"\SystemRoot\System32\{name}"), base, size.into());
            trace.module(0, 2_000_000 + index as i64, &module.with_identity(stamp, 0));
        }
        std::fs::write(machine.path("trace.etl"), trace.finish()).unwrap();
        std::fs::create_dir(machine.path("out")).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Arguments of a build into `output`.
    fn arguments(&self, format: &str, output: &Path) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut arguments = vec!["--etl".to_owned(), text(&self.path("trace.etl"))];
        arguments.extend(["--modules".to_owned(), text(&self.path("modules")), "--no-cache".to_owned()]);
        arguments.extend(["--format".to_owned(), format.to_owned(), "-o".to_owned(), text(output)]);
        arguments
    }

    /// A build into `out/FORMAT`, where a file lies already.
    fn build(&self, format: &str) -> (Command, PathBuf) {
        let output = self.path("out").join(format);
        if format != "raw" {
            std::fs::write(&output, OLD).unwrap();
        }
        let mut command = mkdump();
        command.args(self.arguments(format, &output)).stderr(Stdio::piped());
        (command, output)
    }

    fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What was there before the build is there, or the whole output: a signal may come right after the rename.
    fn check_whole_or_untouched(&self, format: &str, output: &Path, what: &str) {
        if !output.exists() {
            assert_eq!(format, "raw", "{what}");
        } else if output.is_dir() || std::fs::read(output).unwrap() != OLD {
            let (mut command, whole) = (mkdump(), self.path("whole"));
            assert!(command.args(self.arguments(format, &whole)).stderr(Stdio::null()).status().unwrap().success());
            assert_eq!(size(output), size(&whole), "{what}: neither whole nor untouched");
            if whole.is_dir() { std::fs::remove_dir_all(whole) } else { std::fs::remove_file(whole) }.unwrap();
        }
    }

    /// Removes what a test left behind.
    fn clear(&self) {
        std::fs::remove_dir_all(self.path("out")).unwrap();
        std::fs::create_dir(self.path("out")).unwrap();
    }
}

/// Bytes of a file, or files and bytes of a directory.
fn size(path: &Path) -> (usize, u64) {
    if path.is_file() {
        return (1, std::fs::metadata(path).unwrap().len());
    }
    let sizes: Vec<u64> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    (sizes.len(), sizes.iter().sum())
}

const OLD: &[u8] = b"what was here before";

fn mkdump() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("mkdump"));
    command.env_remove("_NT_SYMBOL_PATH").env_remove("_NT_EXECUTABLE_IMAGE_PATH");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sends_no_panic(output: &Output) {
    assert!(!stderr(output).contains("panicked"), "{}", stderr(output));
    assert_ne!(output.status.code(), Some(101));
}

/// Bytes under the temporary name of `output`, if it is there: of the file, or of all files of the directory.
fn written(output: &Path) -> Option<u64> {
    let prefix = format!(".{}.", output.file_name().unwrap().to_str().unwrap());
    let entry = std::fs::read_dir(output.parent().unwrap()).unwrap().flatten().find(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with(&prefix) && name.ends_with(".partial")
    })?;
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if !entry.path().is_dir() {
        return Some(length(&entry.path()));
    }
    Some(std::fs::read_dir(entry.path()).ok()?.flatten().map(|entry| length(&entry.path())).sum())
}

/// Starts a build and calls `then` as soon as some of the output is written; tries again when the build was faster than
/// this test.
fn in_the_middle(machine: &Machine, format: &str, then: impl Fn(&mut Child)) -> (ExitStatus, PathBuf) {
    for _ in 0..20 {
        machine.clear();
        let (mut command, output) = machine.build(format);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the build does not end");
            if written(&output).is_some_and(|bytes| bytes > 0) {
                then(&mut child);
                return (child.wait().unwrap(), output);
            }
            std::thread::yield_now();
        }
    }
    panic!("{format}: 20 builds were over before any of them was seen writing");
}

/// As [`in_the_middle`], until the build is ended by it. One whose output was already whole when the process was ended is
/// not counted.
fn ended_in_the_middle(machine: &Machine, format: &str, then: impl Fn(&mut Child)) -> (ExitStatus, PathBuf) {
    let (mut command, output) = machine.build(format);
    assert!(command.output().unwrap().status.success());
    let whole = std::fs::read(&output).ok();
    let is_whole = |output: &Path| whole.is_some() && std::fs::read(output).ok() == whole;
    let ended = (0..20)
        .map(|_| in_the_middle(machine, format, &then))
        .find(|(status, output)| !status.success() && !is_whole(output));
    ended.unwrap_or_else(|| panic!("{format}: 20 builds were done before the signal reached them"))
}

fn signal(child: &Child, name: &str) {
    // The process may have ended by itself, so that there is nobody to signal.
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {} 2>&-", child.id())]).status().unwrap();
}

#[test]
fn a_killed_build_leaves_nothing_under_the_final_name() {
    let machine = Machine::new(12, 2 << 20);
    for format in FORMATS {
        let (status, output) = ended_in_the_middle(&machine, format, |child| child.kill().unwrap());
        assert_eq!(status.signal(), Some(9), "{format}");
        machine.check_whole_or_untouched(format, &output, format);
        // What is left can be told by its name.
        for name in machine.listing().iter().filter(|name| *name != format) {
            assert!(name.starts_with(&format!(".{format}.")) && name.ends_with(".partial"), "{name}");
        }
    }
}

#[test]
fn an_interrupted_build_leaves_nothing_at_all() {
    let machine = Machine::new(12, 2 << 20);
    for (format, (name, number)) in FORMATS.into_iter().zip([("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3)]) {
        let (status, output) = ended_in_the_middle(&machine, format, |child| signal(child, name));
        assert_eq!(status.signal(), Some(number), "{format}");
        machine.check_whole_or_untouched(format, &output, format);
        let partial: Vec<String> = machine.listing().into_iter().filter(|name| name.ends_with(".partial")).collect();
        assert_eq!(partial, [""; 0], "{format}");
    }
}

#[test]
fn a_signal_at_the_end_leaves_a_whole_output_or_none() {
    let machine = Machine::new(12, 2 << 20);
    let (mut command, output) = machine.build("raw");
    assert!(command.stderr(Stdio::null()).status().unwrap().success());
    let (_, whole) = size(&output);
    for _ in 0..20 {
        machine.clear();
        let (mut command, output) = machine.build("raw");
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && written(&output).is_none_or(|bytes| bytes < whole) {}
        signal(&child, "TERM");
        child.wait().unwrap();
        machine.check_whole_or_untouched("raw", &output, "at the end");
        assert!(machine.listing().iter().all(|name| name == "raw"), "{:?}", machine.listing());
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let machine = Machine::new(12, 2 << 20);
    let (command, output) = machine.build("minidump");
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    let mut child = nohup.stderr(Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && written(&output).is_none_or(|bytes| bytes == 0) {}
    signal(&child, "HUP");
    assert!(child.wait().unwrap().success());
}

#[test]
fn module_files_cut_under_a_running_build_give_no_half_dump() {
    let machine = Machine::new(12, 2 << 20);
    let (mut command, output) = machine.build("minidump");
    assert!(command.output().unwrap().status.success());
    let whole = std::fs::read(&output).unwrap();
    let (status, output) = in_the_middle(&machine, "minidump", |_| {
        for entry in std::fs::read_dir(machine.path("modules")).unwrap() {
            std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_len(0x400).unwrap();
        }
    });
    if status.success() {
        // All bytes had been read by then.
        assert!(std::fs::read(&output).unwrap() == whole);
    } else {
        println!("ended with {status}");
        // A mapped file that is cut ends the process with SIGBUS; an error with exit code 2 is as good.
        assert!(status.code() == Some(2) || status.signal() == Some(7) || status.signal() == Some(10), "{status}");
        machine.check_whole_or_untouched("minidump", &output, "cut");
    }
}

#[test]
fn a_file_that_may_not_grow_is_an_error_that_says_so() {
    let machine = Machine::new(3, 1 << 20);
    for format in FORMATS {
        let (command, output) = machine.build(format);
        // 256 blocks of 512 bytes, or of 1024, depending on the shell. An ordinary shell does not ignore SIGXFSZ.
        let script = "ulimit -f 256; exec \"$@\"";
        let mut limited = Command::new("sh");
        limited.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
        let result = limited.output().unwrap();
        assert_eq!(result.status.code(), Some(2), "{format}: {}", stderr(&result));
        let text = stderr(&result);
        assert!(text.contains(output.to_str().unwrap()) && text.contains("File too large"), "{format}: {text}");
        machine.check_whole_or_untouched(format, &output, format);
        assert!(machine.listing().iter().all(|name| !name.ends_with(".partial")), "{format}: {:?}", machine.listing());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_says_so() {
    let machine = Machine::new(3, 1 << 20);
    let result = mkdump().args(machine.arguments("minidump", Path::new("/dev/full"))).output().unwrap();
    assert_eq!(result.status.code(), Some(2));
    assert!(stderr(&result).contains("/dev/full") && stderr(&result).contains("No space left"), "{}", stderr(&result));
    let still = std::fs::metadata("/dev/full").unwrap();
    assert!(!still.is_file(), "/dev/full is a device as before");

    // A real file system without room, in a mount namespace of its own: root need not be asked.
    let disk = machine.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=1m none '{}'", disk.display());
    let allowed = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: this system does not allow mounting a small file system (unshare -rm, tmpfs)");
        return;
    }
    for format in FORMATS {
        let script = format!("{mount} && cd '{}' && {{ \"$@\"; echo \"code $?\"; ls -A; }}", disk.display());
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script, "sh"]).arg(mkdump().get_program());
        let result = command.args(machine.arguments(format, Path::new("out"))).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&result.stdout), "code 2\n", "{format}: {}", stderr(&result));
        assert!(stderr(&result).contains("No space left on device"), "{format}: {}", stderr(&result));
    }
}

#[test]
fn an_error_says_its_cause_once() {
    let machine = Machine::new(1, 0x1000);
    let nowhere = machine.path("nowhere").join("out.dmp");
    let result = mkdump().args(machine.arguments("minidump", &nowhere)).output().unwrap();
    let text = stderr(&result);
    assert_eq!((result.status.code(), text.matches("No such file").count()), (Some(2), 1), "{text}");
}

/// A pipe without a reader.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let machine = Machine::new(40, 0x1000);
    let dump = machine.path("mini.dmp");
    std::fs::write(&dump, testkit::dump::kernel::Machine::sample().triage()).unwrap();
    let (trace, modules) = (machine.path("trace.etl"), machine.path("modules"));
    let [trace, modules, dump] = [&trace, &modules, &dump].map(|path| path.to_str().unwrap());
    let demo_files = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let (demo, demo_modules) = (demo_files.join("demo.etl"), demo_files.join("modules"));
    let [demo, demo_modules] = [&demo, &demo_modules].map(|path| path.to_str().unwrap());
    for arguments in [
        &["--help"][..],
        &["modules", "--etl", trace],
        &["modules", "--etl", trace, "--json"],
        &["ipt", "--etl", demo, "--modules", demo_modules, "--trace-flow"],
        &["ipt", "--etl", demo, "--modules", demo_modules, "--trace-flow", "--json"],
        &["request", "--etl", trace, "--modules", dump],
        &["threads", dump],
        &["threads", dump, "--json"],
    ] {
        let result = mkdump().args(arguments).stdout(closed()).output().unwrap();
        assert_eq!(result.status.code(), Some(0), "{arguments:?}: {}", stderr(&result));
        sends_no_panic(&result);
        let result = mkdump().args(arguments).stderr(closed()).output().unwrap();
        assert_eq!(result.status.code(), Some(0), "{arguments:?}");
    }
    // Without a reader for its messages, the command does its work nevertheless.
    let output = machine.path("out/quiet.dmp");
    let mut build = mkdump();
    build.args(machine.arguments("minidump", &output)).arg("--json").stdout(closed()).stderr(closed());
    assert_eq!(build.status().unwrap().code(), Some(0));
    assert!(output.is_file());
    let failed = mkdump().args(["modules", "--etl", modules]).stderr(closed()).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
}

#[test]
#[cfg(target_os = "linux")]
fn a_dump_that_goes_into_a_closed_pipe_is_an_error() {
    let machine = Machine::new(3, 1 << 20);
    let arguments = machine.arguments("minidump", Path::new("/dev/stdout"));
    let result = mkdump().args(&arguments).stdout(closed()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(result.status.code(), Some(2), "{}", stderr(&result));
    assert!(stderr(&result).contains("Broken pipe"), "{}", stderr(&result));
    sends_no_panic(&result);
    // And into an open one it goes as into a file.
    let result = mkdump().args(&arguments).output().unwrap();
    assert!(result.status.success(), "{}", stderr(&result));
    let file = machine.path("out/file.dmp");
    assert!(mkdump().args(machine.arguments("minidump", &file)).output().unwrap().status.success());
    assert!(result.stdout == std::fs::read(&file).unwrap());
}
