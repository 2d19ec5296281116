//! The elements of an XML file, within limits: no document type, so no entities of its own; everything else is passed.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use super::error::{DEEPEST, MOST_BYTES, MOST_ELEMENTS, ManifestError, ManifestErrorKind};

/// Attributes of an element that are kept.
const MOST_ATTRIBUTES: usize = 64;

/// One element: its name without prefix, its attributes, and the elements inside it by number.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub name: String,
    attributes: Vec<(String, String)>,
    children: Vec<usize>,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All elements of a file, in order; the first holds the others.
#[derive(Debug)]
pub(super) struct Elements(Vec<Element>);

impl Elements {
    pub fn all(&self) -> impl Iterator<Item = &Element> {
        self.0.iter()
    }

    pub fn children<'x>(&'x self, of: &'x Element) -> impl Iterator<Item = &'x Element> {
        of.children.iter().filter_map(|&child| self.0.get(child))
    }

    /// The elements `inner` inside the elements `outer` inside this one.
    pub fn grandchildren<'x>(
        &'x self,
        of: &'x Element,
        outer: &'static str,
        inner: &'static str,
    ) -> impl Iterator<Item = &'x Element> {
        let outer = self.children(of).filter(move |child| child.name == outer);
        outer.flat_map(|found| self.children(found)).filter(move |child| child.name == inner)
    }
}

/// Reads a file: UTF-8, or UTF-16 with a byte-order mark.
pub(super) fn read(bytes: &[u8]) -> Result<Elements, ManifestError> {
    let error = |kind, at: u64| ManifestError::new(kind, at);
    if bytes.len() > MOST_BYTES {
        return Err(error(ManifestErrorKind::TooLarge { bytes: bytes.len() as u64 }, 0));
    }
    let text = decoded(bytes).ok_or_else(|| error(ManifestErrorKind::NotText, 0))?;
    let mut reader = quick_xml::Reader::from_str(&text);
    let mut elements = vec![Element::default()];
    let mut open = vec![0];
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(|why| error(ManifestErrorKind::NotXml(why.to_string()), at))?;
        let (start, is_empty) = match event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                open.truncate(open.len().saturating_sub(1).max(1));
                continue;
            }
            Event::DocType(_) => return Err(error(ManifestErrorKind::DocumentType, at)),
            Event::Eof => break,
            _ => continue,
        };
        if elements.len() > MOST_ELEMENTS || open.len() > DEEPEST {
            return Err(error(ManifestErrorKind::TooMany, at));
        }
        let number = elements.len();
        elements.push(element(&start));
        if let Some(parent) = open.last().and_then(|&parent| elements.get_mut(parent)) {
            parent.children.push(number);
        }
        if !is_empty {
            open.push(number);
        }
    }
    if open.len() > 1 {
        return Err(error(ManifestErrorKind::NotXml("it ends inside an element".to_owned()), bytes.len() as u64));
    }
    Ok(Elements(elements))
}

fn element(start: &BytesStart<'_>) -> Element {
    let mut attributes = start.attributes();
    // Names that stand twice are no harm here, and to find them takes the square of their number.
    let attributes = attributes.with_checks(false).flatten().take(MOST_ATTRIBUTES).map(|found| {
        let value = found.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_or_else(|_| found.value.as_ref().to_owned(), std::borrow::Cow::into_owned);
        (found.key.local_name().as_ref().to_owned(), value)
    });
    Element { attributes: attributes.collect(), name: start.local_name().as_ref().to_owned(), children: Vec::new() }
}

fn decoded(bytes: &[u8]) -> Option<String> {
    let units = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].as_chunks::<2>().0.iter().map(|unit| from(*unit)).collect();
        String::from_utf16(&units).ok()
    };
    match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}
