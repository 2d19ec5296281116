//! The file or directory that a dump is written to.

use std::io::Write;

use kernel_snapshot::Progress;
use mdmp::{Plan, RawDirectory};

use super::layout::Content;
use super::options::{BuildOptions, Format};
use crate::error::{Error, Result};
use whole_output::{Output, OutputDirectory};

/// The file or directory that is being made. Created before the long work, so that a place that cannot be written to is
/// found out at once.
pub(super) enum Target {
    File(Output),
    Directory(OutputDirectory),
}

impl Target {
    pub(super) fn create(options: &BuildOptions) -> Result<Self> {
        Ok(match options.format {
            Format::Raw => Self::Directory(OutputDirectory::create(&options.output)?),
            Format::Minidump | Format::Triage | Format::Elf => Self::File(Output::create(&options.output)?),
        })
    }

    /// Lays out, writes and commits. Returns the bytes written.
    pub(super) fn write(self, content: Content<'_>, options: &BuildOptions, progress: &dyn Progress) -> Result<u64> {
        let layout = |source| Error::Layout { path: options.output.clone(), source };
        let output = match self {
            Self::File(output) => output,
            Self::Directory(output) => return write_directory(output, &content.raw().map_err(layout)?, progress),
        };
        let plan = match options.format {
            Format::Minidump => content.minidump(options.memory_list),
            Format::Triage => content.triage(),
            Format::Elf | Format::Raw => content.elf(),
        };
        write_file(output, &plan.map_err(layout)?, progress)
    }
}

pub(super) fn write_file(mut output: Output, plan: &Plan<'_>, progress: &dyn Progress) -> Result<u64> {
    progress.phase("writing the dump", Some(plan.len()));
    let mut before = 0;
    let result = plan.write_with(&mut output, &mut |written| {
        progress.advance(written - before);
        before = written;
    });
    let bytes = result.map_err(|error| Error::write(output.path(), std::io::Error::other(error)))?;
    output.commit()?;
    Ok(bytes)
}

pub(super) fn write_directory(output: OutputDirectory, raw: &RawDirectory<'_>, progress: &dyn Progress) -> Result<u64> {
    const CHUNK: usize = 256 << 10;
    progress.phase("writing the files", Some(raw.files.iter().map(|file| file.range.size).sum()));
    let mut bytes = 0;
    let mut buffer = vec![0; CHUNK];
    for file in &raw.files {
        let mut out = output.file(&file.name)?;
        let path = output.path().join(&file.name);
        let failed = |error| Error::write(&path, error);
        let mut at = 0;
        while at < file.range.size {
            let size = usize::try_from(file.range.size - at).unwrap_or(CHUNK).min(CHUNK);
            file.range.source.read_at(at, &mut buffer[..size]).map_err(|error| {
                let address = file.range.address.wrapping_add(at);
                failed(std::io::Error::new(error.kind(), format!("cannot read {address:#x}: {error}")))
            })?;
            out.write_all(&buffer[..size]).map_err(failed)?;
            at += size as u64;
            progress.advance(size as u64);
        }
        out.flush().map_err(failed)?;
        bytes += at;
    }
    for (name, text) in [(RawDirectory::ARGUMENTS, &raw.ptxed_args), ("manifest.json", &raw.manifest)] {
        let mut out = output.file(name)?;
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Error::write(&output.path().join(name), error))?;
        bytes += text.len() as u64;
    }
    output.commit()?;
    Ok(bytes)
}
