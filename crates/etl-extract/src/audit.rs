//! Every text in a trace, for its owner to read before it is shared.

use std::collections::BTreeMap;

use etl_file::{Event, HookId, Record, Scratch, Trace};

/// A text in a trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftText {
    /// Where it stands.
    pub place: &'static str,
    /// The text.
    pub text: String,
    /// How many events hold it.
    pub events: u64,
}

/// Runs of fewer characters are not taken for text.
const SHORTEST: usize = 4;

/// Every text of a trace, each once: those that records name, and besides any run of four or more ASCII characters in what
/// events carry, in one or two bytes each, whatever it means. In events that are not known, letters of every script count.
/// Intel PT packets are not looked through: they hold addresses.
pub fn texts(trace: &Trace<'_>) -> Vec<LeftText> {
    let mut found = Found::default();
    let header = trace.header();
    for text in [&header.logger_name, &header.log_file_name] {
        found.add("log-file header", text);
    }
    let mut scratch = Scratch::default();
    let mut is_first = true;
    for buffer in trace.buffers().flatten() {
        let Ok(events) = buffer.events(&mut scratch) else { continue };
        for event in events.flatten().filter_map(|raw| raw.parse().ok()) {
            if std::mem::take(&mut is_first) {
                // Its texts are those above; its numbers are times and sizes.
                continue;
            }
            found.event(&event);
        }
    }
    let text = |((place, text), events)| LeftText { place, text, events };
    found.0.into_iter().map(text).collect()
}

#[derive(Default)]
struct Found(BTreeMap<(&'static str, String), u64>);

impl Found {
    fn add(&mut self, place: &'static str, text: &str) {
        if !text.is_empty() {
            *self.0.entry((place, text.to_owned())).or_default() += 1;
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        let record = event.record().unwrap_or(Record::Other);
        let (place, named) = named(&record);
        named.iter().for_each(|text| self.add(place, text));
        if event.hook() == Some(HookId::IPT) {
            return;
        }
        let items = event.extended_items().map(|item| item.data);
        for bytes in items.chain([event.payload]) {
            for run in runs(bytes, record == Record::Other) {
                if !named.iter().any(|text| text.contains(&run)) {
                    self.add(place, &run);
                }
            }
        }
    }
}

/// The texts that a record is known to have.
fn named(record: &Record<'_>) -> (&'static str, Vec<String>) {
    match record {
        Record::Image(image) => ("image path", vec![image.path.clone()]),
        Record::ImageId(id) => ("image name", vec![id.original_name.clone()]),
        Record::DebugId(id) => ("PDB name", vec![id.name.clone()]),
        Record::FileVersion(version) => ("file version", version.strings.to_vec()),
        Record::BuildInfo(info) => ("Windows", vec![info.build_lab.clone(), info.product.clone()]),
        Record::BuildLab(lab) => ("Windows", vec![lab.clone()]),
        Record::VolumeMapping(volume) => ("volume", vec![volume.nt_path.clone(), volume.dos_path.clone()]),
        Record::ConfigCpu(cpu) => ("computer", vec![cpu.computer_name.clone(), cpu.domain.clone()]),
        Record::ConfigProcessor(cpu) => {
            ("processor", vec![cpu.name.clone(), cpu.identifier.clone(), cpu.vendor.clone()])
        }
        Record::Process(process) => ("process", vec![process.name.clone(), process.command_line.clone()]),
        Record::Thread(thread) => ("thread", vec![thread.name.clone()]),
        _ => ("other event", Vec::new()),
    }
}

/// Runs of characters: ASCII in one or two bytes, and if `every_script` letters and digits of any script in UTF-16.
fn runs(bytes: &[u8], every_script: bool) -> Vec<String> {
    let mut out = Vec::new();
    let narrow = bytes.iter().map(|&byte| Some(char::from(byte)).filter(|c| is_ascii_text(*c)));
    collect(narrow, &mut out);
    // Text may begin at an odd place.
    for start in [0, 1] {
        let (units, _) = bytes.get(start..).unwrap_or_default().as_chunks::<2>();
        let wide = units.iter().map(|unit| {
            let c = char::from_u32(u16::from_le_bytes(*unit).into())?;
            (is_ascii_text(c) || every_script && c.is_alphanumeric() && !is_shifted_ascii(*unit)).then_some(c)
        });
        collect(wide, &mut out);
    }
    out
}

/// Whether two bytes are ASCII text read wrongly: two characters in a byte each, or one in two bytes, shifted by one.
fn is_shifted_ascii([low, high]: [u8; 2]) -> bool {
    is_ascii_text(char::from(high)) && (low == 0 || is_ascii_text(char::from(low)))
}

fn is_ascii_text(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

fn collect(characters: impl Iterator<Item = Option<char>>, out: &mut Vec<String>) {
    let mut run = String::new();
    for character in characters.chain([None]) {
        match character {
            Some(character) => run.push(character),
            None if run.chars().count() >= SHORTEST => out.push(std::mem::take(&mut run)),
            None => run.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn runs_of_four_are_text() {
        assert_eq!(runs(b"\0abc\x01abcd\xff", true), ["abcd"]);
        assert_eq!(runs(b"\x01a\0b\0c\0d\0\0", true), ["abcd"]);
        assert!(runs(&[0; 64], true).is_empty() && runs(b"abc", true).is_empty());
        let foreign: Vec<u8> =
            "\u{438}\u{43c}\u{44f}\u{43d}\u{430}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(runs(&foreign, true).len(), 1);
        assert!(runs(&foreign, false).is_empty());
    }
}
