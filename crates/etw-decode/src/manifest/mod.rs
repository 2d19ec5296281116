//! Instrumentation manifests: XML files in which a provider says what its events are (Microsoft Learn, "Writing an
//! Instrumentation Manifest"; the schema is eventman.xsd of the Windows SDK).

mod decode;
mod error;
mod xml;

pub use error::{ManifestError, ManifestErrorKind};

use std::collections::HashMap;

use etl_file::Guid;

use crate::text::{LONGEST_NAME, shortened};
use crate::typed::{InType, Show};
use xml::{Element, Elements};

/// A manifest's providers.
#[derive(Debug)]
pub struct Manifest {
    pub(crate) providers: Vec<(Guid, Provider)>,
}

/// A provider.
#[derive(Debug)]
pub(crate) struct Provider {
    pub name: String,
    events: HashMap<(u16, u16), EventSchema>,
    templates: HashMap<String, Vec<Item>>,
    maps: HashMap<String, Map>,
}

/// An event of a provider.
#[derive(Debug)]
struct EventSchema {
    name: Option<String>,
    template: Option<String>,
    message: Option<String>,
}

/// A field of a template.
#[derive(Debug)]
struct Item {
    name: String,
    kind: ItemKind,
    count: Option<Size>,
}

#[derive(Debug)]
enum ItemKind {
    Value {
        kind: InType,
        show: Show,
        length: Option<Size>,
        map: Option<String>,
    },
    Struct(Vec<Item>),
    /// Of a type that is not known: nothing behind it can be read.
    Unknown,
}

/// A number, or the field before that holds it.
#[derive(Debug)]
enum Size {
    Fixed(usize),
    Field(String),
}

/// What numbers stand for.
#[derive(Debug, Default)]
struct Map {
    names: HashMap<u64, String>,
    /// Of bits, each for itself.
    is_of_bits: bool,
}

impl Manifest {
    /// Reads a manifest: at most 16 MiB, 500,000 elements, and no document type.
    ///
    /// # Errors
    /// When it is no XML, more than is read, or names no provider with a GUID.
    pub fn read(file: &[u8]) -> Result<Self, ManifestError> {
        let elements = xml::read(file)?;
        let mut strings = HashMap::new();
        for string in elements.all().filter(|element| element.name == "string") {
            if let (Some(id), Some(value)) = (string.attribute("id"), string.attribute("value")) {
                // Of several languages the first.
                strings.entry(id).or_insert(value);
            }
        }
        let providers = elements.all().filter(|element| element.name == "provider");
        let providers = providers.filter_map(|element| {
            let guid = element.attribute("guid")?.parse().ok()?;
            Some((guid, provider(&elements, element, &strings)))
        });
        let providers: Vec<_> = providers.collect();
        match providers.is_empty() {
            true => Err(ManifestError::new(ManifestErrorKind::NoProvider, 0)),
            false => Ok(Self { providers }),
        }
    }

    /// Names and GUIDs of the providers.
    pub fn providers(&self) -> impl Iterator<Item = (&str, Guid)> {
        self.providers.iter().map(|(guid, provider)| (provider.name.as_str(), *guid))
    }

    /// How many events are described.
    pub fn events(&self) -> usize {
        self.providers.iter().map(|(_, provider)| provider.events.len()).sum()
    }
}

impl Provider {
    /// The name of an event: its task and opcode, else its symbol.
    pub fn event_name(&self, id: u16, version: u16) -> Option<&str> {
        self.events.get(&(id, version))?.name.as_deref()
    }
}

fn provider(elements: &Elements, element: &Element, strings: &HashMap<&str, &str>) -> Provider {
    let tasks: HashMap<&str, &Element> = named(elements.grandchildren(element, "tasks", "task"));
    let template = |found: &Element| Some((found.attribute("tid")?.to_owned(), items(elements, found)));
    let templates = elements.grandchildren(element, "templates", "template").filter_map(template).collect();
    let mut maps = HashMap::new();
    for (kind, is_of_bits) in [("valueMap", false), ("bitMap", true)] {
        for found in elements.grandchildren(element, "maps", kind) {
            let entry = |entry: &Element| {
                let name = text(entry.attribute("message")?, strings).or_else(|| entry.attribute("symbol"))?;
                Some((number(entry.attribute("value")?)?, short(name)))
            };
            let names = elements.children(found).filter_map(entry).collect();
            if let Some(name) = found.attribute("name") {
                maps.insert(name.to_owned(), Map { names, is_of_bits });
            }
        }
    }
    let event = |found: &Element| {
        let id = u16::try_from(number(found.attribute("value")?)?).ok()?;
        let version = found.attribute("version").and_then(number).unwrap_or(0);
        let schema = EventSchema {
            name: event_name(found, &tasks).map(|name| short(&name)),
            template: found.attribute("template").map(str::to_owned),
            message: found.attribute("message").and_then(|message| text(message, strings)).map(str::to_owned),
        };
        Some(((id, u16::try_from(version).ok()?), schema))
    };
    Provider {
        name: short(element.attribute("name").unwrap_or_default()),
        events: elements.grandchildren(element, "events", "event").filter_map(event).collect(),
        templates,
        maps,
    }
}

fn named<'x>(elements: impl Iterator<Item = &'x Element>) -> HashMap<&'x str, &'x Element> {
    elements.filter_map(|element| Some((element.attribute("name")?, element))).collect()
}

fn event_name(event: &Element, tasks: &HashMap<&str, &Element>) -> Option<String> {
    let Some(task) = event.attribute("task") else { return event.attribute("symbol").map(str::to_owned) };
    // The task is the event's name, even if the list of tasks does not have it.
    let task = tasks.get(task).and_then(|known| known.attribute("name")).unwrap_or(task);
    let opcode = event.attribute("opcode").map(|opcode| opcode.strip_prefix("win:").unwrap_or(opcode));
    Some(match opcode.filter(|opcode| *opcode != "Info") {
        Some(opcode) => format!("{task}/{opcode}"),
        None => task.to_owned(),
    })
}

fn items(elements: &Elements, of: &Element) -> Vec<Item> {
    let item = |found: &Element| {
        let kind = match found.name.as_str() {
            "struct" => ItemKind::Struct(items(elements, found)),
            "data" => value_kind(found),
            // User data is another view of the same fields.
            _ => return None,
        };
        let count = found.attribute("count").map(size);
        Some(Item { name: short(found.attribute("name").unwrap_or_default()), kind, count })
    };
    elements.children(of).filter_map(item).collect()
}

fn value_kind(data: &Element) -> ItemKind {
    let kind = data.attribute("inType").and_then(|name| InType::named(name.strip_prefix("win:").unwrap_or(name)));
    kind.map_or(ItemKind::Unknown, |kind| ItemKind::Value {
        kind,
        show: data.attribute("outType").map(Show::named).unwrap_or_default(),
        length: data.attribute("length").map(size),
        map: data.attribute("map").map(str::to_owned),
    })
}

fn size(text: &str) -> Size {
    text.parse().map_or_else(|_| Size::Field(short(text)), Size::Fixed)
}

/// A number, decimal or after `0x` hexadecimal.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A text of the manifest's table, by `$(string.ID)`.
fn text<'x>(reference: &str, strings: &HashMap<&str, &'x str>) -> Option<&'x str> {
    strings.get(reference.strip_prefix("$(string.")?.strip_suffix(')')?).copied()
}

fn short(name: &str) -> String {
    shortened(name.into(), LONGEST_NAME, false).into_owned()
}
