//! TraceLogging: events that bring their own schema, as an extended item of their header.
//!
//! ```text
//!   u16 size of all; tag bytes, of which the last is below 0x80; event name, UTF-8 with NUL; then for each field
//!   name, UTF-8 with NUL
//!   u8  type; 0x80: a u8 that says how to show it follows, and if that has 0x80 too, tag bytes as above
//!             0x20: an array, the number of elements is a u16 here; 0x40: the number is a u16 in the payload
//!             0x60: a type of the provider's own, with a u16 size and as many bytes here
//! ```
//!
//! A field of type 24 is a structure of as many fields as the low 7 bits of the second byte say, which follow it.
//! (_tlgEventMetadata in TraceLoggingProvider.h; measured on one real trace.)

use std::borrow::Cow;

use etl_file::{Event, ExtendedType};

use crate::text::{Reader, name};
use crate::typed::{InType, Show, read};
use crate::value::{Body, Field, Value};

/// Values of one event that are read, elements of arrays and structures counted.
const MOST_VALUES: usize = 4096;
/// Structures inside structures.
const DEEPEST: usize = 16;

/// An event's schema.
struct Schema<'e> {
    name: Cow<'e, str>,
    fields: Reader<'e>,
}

/// One field of a schema.
struct Node<'e> {
    name: Cow<'e, str>,
    kind: Kind<'e>,
    count: Count,
}

enum Kind<'e> {
    Value(InType, Show),
    Struct(Vec<Node<'e>>),
}

enum Count {
    One,
    Fixed(u16),
    InPayload,
}

/// The name of an event that describes itself.
pub(crate) fn event_name<'e>(event: &Event<'e>) -> Option<Cow<'e, str>> {
    schema(event).map(|schema| schema.name)
}

/// The name that a provider put into its events' headers.
pub(crate) fn provider_name<'e>(event: &Event<'e>) -> Option<Cow<'e, str>> {
    let mut traits = Reader(event.extended_item(ExtendedType::PROV_TRAITS)?);
    traits.u16()?;
    Some(name(traits.until_nul())).filter(|name| !name.is_empty())
}

/// Reads an event that describes itself; `None` for others.
pub(crate) fn decode<'e>(event: &Event<'e>) -> Option<Body<'e>> {
    let mut schema = schema(event)?;
    let mut budget = MOST_VALUES;
    let Some(nodes) = nodes(&mut schema.fields, None, 0, &mut budget) else { return Some(Body::unread(event.payload)) };
    let mut payload = Payload { reader: Reader(event.payload), pointer_size: event.pointer_size, budget: MOST_VALUES };
    let mut fields = Vec::new();
    let mut end = End::Whole;
    for node in &nodes {
        match payload.field(node) {
            Ok(value) => fields.push(Field::new(node.name.clone(), value)),
            Err(why) => {
                end = why;
                break;
            }
        }
    }
    Some(Body { fields, message: None, rest: payload.reader.0, cut: end == End::Cut })
}

fn schema<'e>(event: &Event<'e>) -> Option<Schema<'e>> {
    let mut item = Reader(event.extended_item(ExtendedType::EVENT_SCHEMA_TL)?);
    // The size counts itself, and what is behind it is padding.
    let size = usize::from(item.u16()?).checked_sub(2)?;
    let mut fields = Reader(item.take(size)?);
    tags(&mut fields)?;
    let name = name(fields.until_nul());
    Some(Schema { name, fields })
}

/// Passes tag bytes.
fn tags(reader: &mut Reader<'_>) -> Option<()> {
    while reader.u8()? & 0x80 != 0 {}
    Some(())
}

/// The fields of a schema, or the `members` next ones of a structure.
fn nodes<'e>(reader: &mut Reader<'e>, members: Option<u8>, depth: usize, budget: &mut usize) -> Option<Vec<Node<'e>>> {
    let mut nodes = Vec::new();
    while members.map_or(!reader.0.is_empty(), |members| nodes.len() < members.into()) {
        *budget = budget.checked_sub(1)?;
        // Without a type it is not a field: a name must not take the rest of the bytes.
        let field_name = name(reader.until_nul());
        let kind = reader.u8()?;
        let out = if kind & 0x80 != 0 { reader.u8()? } else { 0 };
        if out & 0x80 != 0 {
            tags(reader)?;
        }
        let count = match kind & 0x60 {
            0x20 => Count::Fixed(reader.u16()?),
            0x40 => Count::InPayload,
            // The payload of a type of the provider's own has its size in front, as that of bytes.
            0x60 => {
                let size = reader.u16()?;
                reader.take(size.into())?;
                nodes.push(Node {
                    name: field_name,
                    kind: Kind::Value(InType::COUNTED_BINARY, Show::Stored),
                    count: Count::One,
                });
                continue;
            }
            _ => Count::One,
        };
        let kind = match kind & 0x1f {
            24 if depth < DEEPEST => Kind::Struct(nodes_of_struct(reader, out, depth, budget)?),
            24 => return None,
            // Unlike in a manifest, bytes have their number in front.
            14 => Kind::Value(InType::COUNTED_BINARY, Show::of_trace_logging(out & 0x7f)),
            kind => Kind::Value(InType(kind), Show::of_trace_logging(out & 0x7f)),
        };
        nodes.push(Node { name: field_name, kind, count });
    }
    Some(nodes)
}

fn nodes_of_struct<'e>(reader: &mut Reader<'e>, out: u8, depth: usize, budget: &mut usize) -> Option<Vec<Node<'e>>> {
    nodes(reader, Some(out & 0x7f), depth + 1, budget)
}

/// Why a payload's reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Cut,
    /// A type is not known, or there are more values than are read.
    GivenUp,
}

struct Payload<'e> {
    reader: Reader<'e>,
    pointer_size: u8,
    budget: usize,
}

impl<'e> Payload<'e> {
    fn field(&mut self, node: &Node<'e>) -> Result<Value<'e>, End> {
        let before = self.reader;
        let found = match node.count {
            Count::One => self.one(&node.kind),
            Count::Fixed(count) => self.list(&node.kind, count),
            Count::InPayload => self.reader.u16().ok_or(End::Cut).and_then(|count| self.list(&node.kind, count)),
        };
        // What is not whole is left where it is.
        found.inspect_err(|_| self.reader = before)
    }

    fn list(&mut self, kind: &Kind<'e>, count: u16) -> Result<Value<'e>, End> {
        let values: Result<_, End> = (0..count).map(|_| self.one(kind)).collect();
        values.map(Value::List)
    }

    fn one(&mut self, kind: &Kind<'e>) -> Result<Value<'e>, End> {
        self.budget = self.budget.checked_sub(1).ok_or(End::GivenUp)?;
        match kind {
            Kind::Value(kind, _) if !kind.is_known() => Err(End::GivenUp),
            Kind::Value(kind, show) => read(&mut self.reader, *kind, *show, self.pointer_size, None).ok_or(End::Cut),
            Kind::Struct(members) => {
                let fields: Result<Vec<Field<'e>>, End> =
                    members.iter().map(|node| Ok(Field::new(node.name.clone(), self.field(node)?))).collect();
                fields.map(Value::Struct)
            }
        }
    }
}
