//! Outputs must not replace inputs: they are compared as files, by device and number, before anything is written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use mkdump::{FileBytes, FileKind};

use crate::args::{Cli, Command, IptInputArgs, SourceArgs};

/// An output: the option that names it, and the file.
pub type Named<'a> = (&'static str, &'a Path);

/// What tells one file from another, whatever names lead to it.
#[derive(PartialEq, Eq)]
enum Identity {
    #[cfg(unix)]
    Inode(u64, u64),
    /// By the volume and the number that it has there, which are the same under every name: in another case, by a short
    /// (8.3) name, through a junction, by a hard link.
    #[cfg(windows)]
    File(same_file::Handle),
    Place(PathBuf),
}

/// The identity of a file, or of the place where it would be; `None` for devices and pipes, which replace nothing.
fn identity(path: &Path) -> Option<Identity> {
    match path.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => None,
        #[cfg(unix)]
        Ok(found) => {
            use std::os::unix::fs::MetadataExt;
            Some(Identity::Inode(found.dev(), found.ino()))
        }
        #[cfg(windows)]
        Ok(_) => same_file::Handle::from_path(path).ok().map(Identity::File),
        #[cfg(not(any(unix, windows)))]
        Ok(_) => path.canonicalize().ok().map(Identity::Place),
        Err(_) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let place = parent.canonicalize().ok()?.join(path.file_name()?);
            // Windows takes names that differ in case only for one.
            let place = if cfg!(windows) { place.to_string_lossy().to_lowercase().into() } else { place };
            Some(Identity::Place(place))
        }
    }
}

/// Refuses outputs that are an input, a module file or another output, and on every system names that Windows has no file
/// for: a dump is opened there, whoever makes it.
///
/// # Errors
/// Says which output it is, and what it would replace.
pub fn check(outputs: &[Named<'_>], inputs: &[&Path]) -> Result<()> {
    let inputs: Vec<_> = inputs.iter().filter_map(|path| Some((identity(path)?, path))).collect();
    let mut others: Vec<(Identity, Named<'_>)> = Vec::new();
    for &(option, path) in outputs {
        if path == Path::new("-") {
            bail!("{option} -: the output is a file and cannot be stdout; name a file, such as ./-");
        }
        let Some(own) = identity(path) else { continue };
        if let Some(objection) = path.file_name().and_then(|name| symstore::reserved(&name.to_string_lossy())) {
            bail!("{option} {}: not a name for a file: {objection}; nothing was written", path.display());
        }
        if let Some((_, input)) = inputs.iter().find(|(other, _)| *other == own) {
            bail!("{option} {}: this is the input {}; nothing was written", path.display(), input.display());
        }
        if let Some((_, (other, _))) = others.iter().find(|(other, _)| *other == own) {
            bail!("{option} {}: {other} names the same file; nothing was written", path.display());
        }
        if let Some(what) = precious(path) {
            bail!("{option} {}: {what} is there and is not replaced; nothing was written", path.display());
        }
        others.push((own, (option, path)));
    }
    Ok(())
}

/// What a file is if it is an input by its nature, so that it is not replaced whether it is one of this run or not.
fn precious(path: &Path) -> Option<&'static str> {
    if !path.is_file() {
        return None;
    }
    match FileKind::of(path)? {
        FileKind::Image => Some("a module file"),
        FileKind::Trace => Some("a trace"),
        // Module files are looked for in these, wherever they lie below a directory that is looked through.
        FileKind::Zip | FileKind::Cabinet | FileKind::SevenZip | FileKind::Gzip => Some("an archive"),
        FileKind::Pdb => Some("a PDB"),
        _ => is_szdd(path).then_some("a compressed file"),
    }
}

/// Whether a file is compressed as `compress.exe` does it (`name.sy_`).
fn is_szdd(path: &Path) -> bool {
    let mut start = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start == *b"SZDD")
}

/// Refuses a directory for the format `raw` that is there: what others put there is not replaced.
///
/// # Errors
/// When something is there.
pub fn check_directory(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!(
            "{}: this exists already; --format raw writes a new directory, so remove it or name another",
            path.display()
        );
    }
    Ok(())
}

/// Refuses a default name that would replace a file that this program did not write.
///
/// # Errors
/// When there is such a file.
pub fn check_default(path: &Path) -> Result<()> {
    // Whatever is there: an empty file or one that cannot be read is somebody's too, and a link leads to somebody's file.
    if path.symlink_metadata().is_ok() && !is_own(path) {
        bail!(
            "{}: this file was there and nothing in it says that mkdump wrote it, so it is not replaced; name the output with -o",
            path.display()
        );
    }
    Ok(())
}

/// Whether this program wrote a file: every dump says so in its comment, and every page in its head. Files of other
/// formats do not say who wrote them.
pub fn is_own(path: &Path) -> bool {
    /// Bytes of a page in which its head lies.
    const LOOKED_AT: u64 = 64 << 10;
    const TITLE: &[u8] = b"mkdump</title>";
    if !path.is_file() {
        return false;
    }
    if FileKind::of(path) == Some(FileKind::Dump) {
        let Ok(file) = FileBytes::open(path) else { return false };
        let (made, comments, _) = mkdump::check::provenance(&file);
        return made.is_some() || comments.iter().any(|comment| comment.starts_with("mkdump "));
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    read.is_ok() && start.starts_with(b"<!DOCTYPE html>") && start.windows(TITLE.len()).any(|bytes| bytes == TITLE)
}

/// The files that a source is read from.
pub fn of_source(source: &SourceArgs) -> Vec<&Path> {
    source.etl.iter().chain(&source.from_dump).map(PathBuf::as_path).collect()
}

/// The files of Intel PT data.
pub fn of_ipt(ipt: &IptInputArgs) -> Vec<&Path> {
    ipt.ipt_hex.iter().chain(&ipt.ipt_bin).map(PathBuf::as_path).collect()
}

/// The inputs of a command line, for its log.
fn inputs(cli: &Cli) -> Vec<&Path> {
    match &cli.command {
        None => [of_source(&cli.build.source), of_ipt(&cli.build.ipt)].concat(),
        Some(Command::Modules(command)) => of_source(&command.source),
        Some(Command::Ipt(command)) => [of_source(&command.source), of_ipt(&command.ipt)].concat(),
        #[cfg(feature = "fetch")]
        Some(Command::Fetch(command)) => of_source(&command.source),
        Some(Command::Request(command)) => of_source(&command.source),
        Some(Command::Events(command)) => {
            std::iter::once(&command.etl).chain(&command.manifest).map(PathBuf::as_path).collect()
        }
        Some(Command::Extract(command)) => vec![&command.etl],
        Some(Command::Threads(command)) => command.dumps.iter().chain(&command.pdb).map(PathBuf::as_path).collect(),
        Some(Command::Sessions(command)) => {
            std::iter::once(&command.dump).chain(&command.pdb).map(PathBuf::as_path).collect()
        }
        Some(Command::Check(command)) => {
            std::iter::once(&command.dump).chain(&command.against).map(PathBuf::as_path).collect()
        }
        Some(Command::Demo(_) | Command::Completions(_) | Command::Man(_)) => Vec::new(),
    }
}

/// Refuses a log that is an input of the command, or another output; `-` is stderr.
///
/// # Errors
/// As [`check`].
pub fn check_log(cli: &Cli, log: &Path) -> Result<()> {
    if log == Path::new("-") {
        return Ok(());
    }
    let mut outputs: Vec<Named<'_>> = Vec::new();
    match &cli.command {
        None => {
            outputs.extend(cli.build.output.as_deref().map(|path| ("--output", path)));
            outputs.extend(cli.build.report.as_deref().map(|path| ("--report", path)));
        }
        Some(Command::Request(command)) => {
            outputs.extend(command.output.as_deref().map(|path| ("--output", path)));
        }
        Some(Command::Extract(command)) => outputs.push(("--output", &command.output)),
        Some(Command::Sessions(command)) => {
            outputs.extend(command.save.chunks_exact(2).map(|pair| ("--save", Path::new(&pair[1]))));
        }
        Some(_) => {}
    }
    outputs.push(("--log", log));
    check(&outputs, &inputs(cli))
}
