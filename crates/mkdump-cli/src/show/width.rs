//! How many columns text may take, and how it is broken into lines of that width.

use std::io;

use terminal_size::{Width, terminal_size_of};

/// Columns where no terminal says how many, in files and pipes: as many as the text has. A search in it then finds
/// sentences, and every row of a table is one line. Half of what there is, so that sums of it do not overflow.
const UNBROKEN: usize = usize::MAX / 2;
/// Text is never made narrower than this.
const LEAST: usize = 40;

/// Columns of standard output.
pub fn stdout() -> usize {
    columns(terminal_size_of(io::stdout()).map(|(width, _)| width))
}

/// Columns of standard error.
pub fn stderr() -> usize {
    columns(terminal_size_of(io::stderr()).map(|(width, _)| width))
}

/// COLUMNS, which a person sets to have another width, else the terminal's width. Text that goes elsewhere is not broken.
fn columns(terminal: Option<Width>) -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse::<usize>().ok());
    asked.or(terminal.map(|Width(columns)| columns.into())).unwrap_or(UNBROKEN).max(LEAST)
}

/// Columns that text takes: escape sequences for colours take none.
pub fn length(text: &str) -> usize {
    let mut length = 0;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            length += 1;
        }
    }
    length
}

/// Breaks text into lines of at most `width` columns: at blanks, else after punctuation as it stands in paths, else
/// anywhere. Text is never empty: at least one line comes back.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let room = width.saturating_sub(length(&line) + usize::from(!line.is_empty()));
        if length(word) <= room {
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        line = broken(word, width, &mut lines);
    }
    lines.push(line);
    lines
}

/// Breaks a word that is longer than a line; the last piece is returned.
fn broken(word: &str, width: usize, lines: &mut Vec<String>) -> String {
    let mut rest: Vec<char> = word.chars().collect();
    while rest.len() > width && !rest.contains(&'\x1b') {
        let after = |marks: &str| rest[..width].iter().rposition(|c| marks.contains(*c)).filter(|&at| at >= width / 3);
        let at = after("\\/").or_else(|| after("-_,;:.!")).map_or(width, |at| at + 1);
        lines.push(rest.drain(..at).collect());
    }
    rest.into_iter().collect()
}

/// `text` in lines of `width` columns, the first after `first`, the others under where it begins.
pub fn hanging(first: &str, text: &str, width: usize) -> String {
    let indent = length(first);
    let mut out = String::new();
    for (number, line) in wrap(text, width.saturating_sub(indent).max(LEAST / 2)).iter().enumerate() {
        let start = if number == 0 { first.to_owned() } else { " ".repeat(indent) };
        out += format!("{start}{line}").trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{hanging, length, wrap};

    #[test]
    fn lines_break_where_a_reader_expects_it() {
        for (text, width, expected) in [
            ("", 10, &[""][..]),
            ("one two three", 8, &["one two", "three"]),
            ("one two three", 40, &["one two three"]),
            (r"\SystemRoot\system32\drivers\tcpip.sys", 20, &[r"\SystemRoot\", r"system32\drivers\", "tcpip.sys"]),
            ("abcdefghijkl", 5, &["abcde", "fghij", "kl"]),
            ("a abcdefghijkl", 5, &["a", "abcde", "fghij", "kl"]),
            ("\u{e9}\u{e9}\u{e9}\u{e9}", 2, &["\u{e9}\u{e9}", "\u{e9}\u{e9}"]),
        ] {
            assert_eq!(wrap(text, width), expected, "{text:?} at {width}");
        }
        assert_eq!(length("\x1b[1;31mred\x1b[0m"), 3);
        assert_eq!(hanging("  label  ", "one two three", 26), "  label  one two three\n");
        assert_eq!(
            hanging("label  ", "one two three four five six", 30),
            "label  one two three four five\n       six\n"
        );
    }
}
