//! Results that are printed snapshot by snapshot, as text or as one JSON object.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::show::json::escaped;

type Out = io::BufWriter<io::StdoutLock<'static>>;

/// Prints snapshots as they come: all of them may be far larger than memory.
pub struct Stream {
    out: Out,
    json: bool,
    is_first: bool,
    is_closed: bool,
}

impl Stream {
    /// Prints to standard output, as JSON or as text.
    pub fn new(json: bool) -> Self {
        let out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        Self { out, json, is_first: true, is_closed: false }
    }

    /// Prints a snapshot; `text` is for text.
    pub fn add(&mut self, report: &impl Serialize, text: impl FnOnce(&mut Out) -> io::Result<()>) -> io::Result<()> {
        let result = self.try_add(report, text);
        result.inspect_err(|error| self.is_closed = error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn try_add(&mut self, report: &impl Serialize, text: impl FnOnce(&mut Out) -> io::Result<()>) -> io::Result<()> {
        let is_first = std::mem::take(&mut self.is_first);
        if self.json {
            self.out.write_all(if is_first { b"{\"snapshots\":[\n" } else { b",\n" })?;
            let mut writer = serde_json::Serializer::with_formatter(&mut self.out, Unseen);
            return report.serialize(&mut writer).map_err(io::Error::from);
        }
        if !is_first {
            self.out.write_all(b"\n")?;
        }
        text(&mut self.out)
    }

    /// The result of the job that printed to it; nothing when the reader has seen enough, as `head` has.
    pub fn unless_closed<T>(&self, result: mkdump::Result<T>) -> Result<Option<T>> {
        match result {
            Err(_) if self.is_closed => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Ends the output. In JSON the summary's members come after the list of snapshots.
    pub fn end(mut self, summary: &impl Serialize) -> Result<()> {
        if self.json {
            let members = escaped(&serde_json::to_string(summary)?);
            self.out.write_all(b"\n],")?;
            self.out.write_all(members.strip_prefix('{').unwrap_or(&members).as_bytes())?;
            self.out.write_all(b"\n")?;
        }
        Ok(self.out.flush()?)
    }
}

/// JSON with the characters that are not seen escaped, written as it comes.
struct Unseen;

impl serde_json::ser::Formatter for Unseen {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(escaped(fragment).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::Unseen;

    #[test]
    fn the_flow_escapes_what_cannot_be_seen() {
        let mut out = Vec::new();
        let name = "a\u{9b}\u{202e}\u{200b}\"\\b.sys";
        name.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Unseen)).unwrap();
        assert_eq!(String::from_utf8(out.clone()).unwrap(), r#""a\u009b\u202e\u200b\"\\b.sys""#);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), name);
    }
}
