//! What a trace lost, and what follows from it, in sentences.

use etl_file::Losses;

use crate::dump::is_kernel_name;
use crate::snapshot::Module;

/// What was lost, what follows, and what helps. `None` when nothing says that anything was lost.
pub(super) fn sentence(losses: &Losses) -> Option<String> {
    let part = |count: u64, one: &str, many: &str| {
        (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
    };
    let counted = [
        part(losses.buffers.into(), "buffer could not be written", "buffers could not be written"),
        part(losses.events.into(), "event could not be logged", "events could not be logged"),
        part(
            losses.overwritten,
            "buffer at the start was overwritten because the log is circular",
            "buffers at the start were overwritten because the log is circular",
        ),
        part(losses.missing, "buffer is missing from the file", "buffers are missing from the file"),
    ];
    let mut parts: Vec<String> = counted.into_iter().flatten().collect();
    if parts.is_empty() {
        parts.push(part(losses.marked, "buffer follows a loss", "buffers follow a loss")?);
    }
    let helps = match losses.overwritten {
        0 => "record again with more and larger buffers",
        _ => "record again into a larger file, or stop the recording sooner",
    };
    Some(format!(
        "part of the recording is lost ({}): modules may be missing, or listed as loaded after they were unloaded; {helps}",
        parts.join(", ")
    ))
}

/// Says so when a trace lists kernel modules and the kernel itself is not among them.
pub(super) fn no_kernel(modules: &[Module], kernel_base: Option<u64>) -> Option<String> {
    let mut kernel = modules.iter().filter(|module| module.kernel).peekable();
    kernel.peek()?;
    let is_kernel = |module: &Module| match kernel_base {
        Some(base) => module.base == base,
        None => is_kernel_name(&module.name),
    };
    if kernel.any(is_kernel) {
        return None;
    }
    let place = kernel_base.map(|base| format!(" (its base is {base:#x})")).unwrap_or_default();
    Some(format!("the kernel itself is not among the modules{place}, so the module list is incomplete"))
}

#[cfg(test)]
mod tests {
    use testkit::trace::TraceFile;

    use super::sentence;

    /// The sentence about a trace with these buffers and counts in its header.
    fn check(mode: u32, sequences: &[i64], lost: (u32, u32), expected: Option<&str>) {
        let mut trace = TraceFile::new();
        (trace.mode, trace.buffers_lost, trace.events_lost) = (mode, lost.0, lost.1);
        for &sequence in sequences {
            trace.buffer(0, Some(sequence), Vec::new());
        }
        let file = trace.finish();
        let trace = etl_file::Trace::parse(&file).unwrap();
        let survey = trace.survey(&etl_file::SurveyOptions::default());
        let found = sentence(&survey.losses);
        match (&found, expected) {
            (Some(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => assert_eq!(found.as_deref(), expected),
        }
    }

    #[test]
    fn losses_are_counted_and_what_helps_depends_on_them() {
        check(1, &[1, 2], (0, 0), None);
        check(1, &[1], (77, 0), Some("(77 buffers could not be written)"));
        check(1, &[1], (1, 2), Some("(1 buffer could not be written, 2 events could not be logged)"));
        check(1, &[1, 3], (0, 0), Some("(1 buffer is missing from the file)"));
        check(2, &[9, 10], (0, 0), Some("8 buffers at the start were overwritten because the log is circular"));
        check(2, &[9, 10], (0, 0), Some("into a larger file"));
        check(1, &[1], (77, 0), Some("more and larger buffers"));
    }
}
