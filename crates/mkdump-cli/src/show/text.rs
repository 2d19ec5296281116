//! Reports as text for people.

use std::fmt::Write;
#[cfg(not(windows))]
use std::io::IsTerminal;

use mkdump::SourceKind;
use mkdump::report::SourceReport;

use super::advice;
use crate::args::{Colour, TalkArgs};

/// Text from a trace or file with characters that are not seen made harmless: a module's name must not drive a terminal,
/// turn a line's end round, or look like another name.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { '?' } else { c }).collect()
}

/// Characters that cannot be seen or change how others are seen: controls, and Unicode's Default_Ignorable_Code_Point,
/// Bidi_Control and White_Space but the blank itself, and the blank Braille pattern.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || c.is_whitespace() && c != ' '
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A byte count with a binary unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1 module`, `2 modules`, `2 addresses`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if noun.ends_with('s') { "es" } else { "s" };
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { plural })
}

/// An address as Windows debuggers print it.
pub fn address(value: u64) -> String {
    format!("{:08x}`{:08x}", value >> 32, value & 0xffff_ffff)
}

/// An error with its causes, each said once: many messages hold their cause already. `takes` says what the command works
/// on, for advice.
pub fn error(error: &anyhow::Error, takes: advice::Takes, talk: TalkArgs) -> String {
    let library = error.chain().find_map(|cause| cause.downcast_ref::<mkdump::Error>());
    let option = library.and_then(advice::option).map(|option| format!("{option}: ")).unwrap_or_default();
    let text = match library.and_then(|error| advice::wrong_file(error, talk.verbose)) {
        Some(text) => text,
        None => {
            let mut text = format!("{option}{error}");
            for cause in error.chain().skip(1).map(ToString::to_string) {
                if !text.contains(&cause) {
                    let _ = write!(text, ": {cause}");
                }
            }
            text
        }
    };
    let mut text = format!("{} {}", paint("error:", RED, talk), printable(&plain(&text)));
    let advice = library.and_then(|error| advice::of(error, takes));
    for line in advice.iter().flat_map(|advice| advice.lines()) {
        let _ = write!(text, "\n  {line}");
    }
    text
}

/// The system's words for what went wrong, without its number for them.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        out += before;
        rest = after.split_once(')').map_or(after, |(_, rest)| rest);
    }
    out += rest;
    out.replace("entity already exists", "it exists already").replace("entity not found", "No such file or directory")
}

/// A warning.
pub fn warning(text: &str, talk: TalkArgs) -> String {
    format!("{} {}", paint("warning:", YELLOW, talk), printable(text))
}

/// Something failed.
pub const RED: u8 = 31;
/// All as it should be.
pub const GREEN: u8 = 32;
/// Worth a look.
pub const YELLOW: u8 = 33;
/// Worth typing.
pub const CYAN: u8 = 36;

/// `text` in bold and in a colour, where colours are wanted: on a terminal without NO_COLOR, or by `--color always`.
pub fn paint(text: &str, colour: u8, talk: TalkArgs) -> String {
    let wanted = match talk.color {
        Colour::Always => {
            // Where escape sequences have to be enabled first, they are.
            let _ = is_terminal_with_colours();
            true
        }
        Colour::Never => false,
        Colour::Auto => is_terminal_with_colours() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    };
    if wanted { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Whether stderr is a terminal that takes escape sequences.
#[cfg(not(windows))]
fn is_terminal_with_colours() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether stderr is a terminal that takes escape sequences. A console of Windows has to be told to, and one from before
/// Windows 10 cannot: there they would be shown as text.
#[cfg(windows)]
fn is_terminal_with_colours() -> bool {
    static TOLD: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TOLD.get_or_init(|| console::Term::stderr().features().colors_supported())
}

/// One line about a source.
pub fn source(source: &SourceReport) -> String {
    let os = &source.os;
    let mut line = format!("Windows {}.{}.{}", os.major, os.minor, os.build);
    if let Some(revision) = os.revision {
        let _ = write!(line, ".{revision}");
    }
    if let Some(processors) = source.processors {
        let _ = write!(line, ", {}", count(processors.into(), "processor"));
    }
    if let Some(start) = &source.start {
        let _ = write!(line, ", {}", time(start));
    }
    if let Some(seconds) = source.duration {
        let _ = write!(line, ", {}", duration(seconds));
    }
    if source.events > 0 {
        let _ = write!(line, ", {}", count(source.events, "event"));
        if source.events_lost > 0 {
            let _ = write!(line, " ({} lost)", grouped(source.events_lost));
        }
        if source.ipt_events > 0 {
            let _ = write!(line, ", {} with Intel PT data", grouped(source.ipt_events));
        }
    }
    line
}

/// A point in time as a person reads it: to the second, the `T` of ISO 8601 left out.
pub fn time(iso: &str) -> String {
    let seconds = iso.split('.').next().unwrap_or(iso).trim_end_matches('Z');
    format!("{} UTC", seconds.replacen('T', " ", 1))
}

/// A length of time: `12.5 s`, `1 m 40 s`, `8 h 12 m 6 s`, `2 d 3 h 0 m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{minutes} m {} s", whole % 60),
        3600..86_400 => format!("{hours} h {minutes} m {} s", whole % 60),
        _ => format!("{days} d {hours} h {minutes} m"),
    }
}

/// A time from the start of a trace, in the notation of [`duration`] with decimals: `1 m 40.250 s`.
pub fn moment(seconds: f64, decimals: i32) -> String {
    let scale = 10f64.powi(decimals);
    let rounded = (seconds.abs() * scale).round() / scale;
    let minutes = (rounded / 60.0) as u64;
    let rest = rounded - minutes as f64 * 60.0;
    let sign = if seconds < 0.0 && rounded > 0.0 { "-" } else { "" };
    let (days, hours) = (minutes / 1440, minutes / 60 % 24);
    let before = match minutes {
        0 => String::new(),
        1..60 => format!("{minutes} m "),
        60..1440 => format!("{hours} h {} m ", minutes % 60),
        _ => format!("{days} d {hours} h {} m ", minutes % 60),
    };
    format!("{sign}{before}{rest:.*} s", usize::try_from(decimals).unwrap_or_default())
}

/// A size or offset in hexadecimal, in the notation of all tables.
pub fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// A kind of source as part of a sentence.
pub fn source_kind(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Trace => "an ETW trace",
        SourceKind::Dump(kind) => dump_kind(kind.name()),
    }
}

/// A kind of dump, by its name in JSON, as part of a sentence.
pub fn dump_kind(name: &str) -> &'static str {
    match name {
        "kernel-triage" => "a kernel triage dump",
        "kernel-full" => "a full kernel dump",
        "kernel-bitmap" => "a kernel dump with a page bitmap",
        _ => "a user minidump",
    }
}

#[cfg(test)]
mod tests {
    use super::{address, count, duration, grouped, moment, plain, printable, size, time};

    #[test]
    fn numbers_read_easily() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([size(12), size(2048), size(5 << 30)], ["12 bytes", "2.0 KiB", "5.0 GiB"]);
        let counts = [count(1, "module"), count(2, "module"), count(2_000, "address")];
        assert_eq!(counts, ["1 module", "2 modules", "2,000 addresses"]);
        assert_eq!(address(0xffff_f804_1234_1000), "fffff804`12341000");
        let durations = [0.0, 12.46, 59.6, 100.0, 29_525.7, 200_000.0].map(duration);
        assert_eq!(durations, ["0.0 s", "12.5 s", "1 m 0 s", "1 m 40 s", "8 h 12 m 6 s", "2 d 7 h 33 m"]);
        let moments = [0.0, 12.3456, 59.9996, 100.25, -0.5, 29_525.75, 200_000.0].map(|seconds| moment(seconds, 3));
        assert_eq!(
            moments,
            [
                "0.000 s",
                "12.346 s",
                "1 m 0.000 s",
                "1 m 40.250 s",
                "-0.500 s",
                "8 h 12 m 5.750 s",
                "2 d 7 h 33 m 20.000 s"
            ]
        );
        assert_eq!(time("2024-02-28T23:59:59.0000000Z"), "2024-02-28 23:59:59 UTC");
    }

    #[test]
    fn system_errors_are_plain_sentences() {
        for (text, expected) in [
            (
                "cannot read a.etl: No such file or directory (os error 2)",
                "cannot read a.etl: No such file or directory",
            ),
            ("a (os error 2): b (os error 13)", "a: b"),
            ("cannot write x: entity already exists", "cannot write x: it exists already"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
        assert_eq!(printable("evil\u{202e}gpj.sys"), "evil?gpj.sys");
        for unseen in
            "\u{7f}\u{85}\u{9b}\u{a0}\u{ad}\u{34f}\u{180b}\u{200b}\u{200d}\u{2028}\u{2800}\u{3164}\u{fe0f}\u{feff}"
                .chars()
        {
            assert_eq!(printable(&format!("a{unseen}b")), "a?b", "{unseen:?}");
        }
        assert_eq!(printable("caf\u{e9} \u{65e5}.sys"), "caf\u{e9} \u{65e5}.sys");
    }
}
