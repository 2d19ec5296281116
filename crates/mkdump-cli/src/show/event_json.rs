//! Events as JSON, an object a line.

use etw_decode::{Field, KindCount, Listed, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json::escaped;

/// Version of the schemas.
const SCHEMA_VERSION: u32 = 1;

/// An event.
#[derive(serde::Serialize)]
struct EventLine<'e> {
    schema_version: u32,
    time: Option<f64>,
    cpu: u16,
    pid: Option<u32>,
    tid: Option<u32>,
    provider: Option<&'e str>,
    guid: Option<String>,
    id: Option<u16>,
    version: u16,
    name: Option<&'e str>,
    fields: Fields<'e>,
    message: Option<&'e str>,
    payload: Option<String>,
    cut: bool,
}

/// How many events there are of a kind.
#[derive(serde::Serialize)]
struct CountLine<'e> {
    schema_version: u32,
    provider: &'e str,
    guid: Option<String>,
    id: Option<u16>,
    name: &'e str,
    events: u64,
}

/// The line of an event.
pub fn event(event: &Listed<'_>) -> serde_json::Result<String> {
    let (decoded, name) = (&event.decoded, &event.decoded.name);
    one_line(&EventLine {
        schema_version: SCHEMA_VERSION,
        // Of the text, so that both are the same number.
        time: event.time().and_then(|time| time.parse().ok()),
        cpu: event.processor,
        pid: event.process,
        tid: event.thread,
        provider: name.provider_name.as_deref(),
        guid: name.provider.map(|guid| guid.to_string()),
        id: name.number.number(),
        version: name.version,
        name: name.event_name.as_deref(),
        fields: Fields(&decoded.fields),
        message: decoded.message.as_deref(),
        payload: (!decoded.rest.is_empty()).then(|| Value::Bytes(decoded.rest).to_string()),
        cut: decoded.cut,
    })
}

/// The line of a kind.
pub fn count(kind: &KindCount) -> serde_json::Result<String> {
    one_line(&CountLine {
        schema_version: SCHEMA_VERSION,
        provider: &kind.provider_name,
        guid: kind.provider.map(|guid| guid.to_string()),
        id: kind.number.number(),
        name: &kind.event,
        events: kind.events,
    })
}

fn one_line(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(escaped(&serde_json::to_string(value)?) + "\n")
}

/// Fields as an object. A name that is there already gets its number in parentheses.
struct Fields<'e>(&'e [Field<'e>]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        let mut seen = std::collections::HashMap::<&str, u32>::new();
        for field in self.0 {
            let times = seen.entry(&field.name).and_modify(|times| *times += 1).or_insert(1);
            match times {
                1 => map.serialize_entry(&field.name, &Shown(&field.value))?,
                times => map.serialize_entry(&format!("{} ({times})", field.name), &Shown(&field.value))?,
            }
        }
        map.end()
    }
}

/// A value: numbers as numbers, addresses, codes and bytes as text in hexadecimal.
struct Shown<'e>(&'e Value<'e>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Unsigned(number) => serializer.serialize_u64(*number),
            Value::Signed(number) => serializer.serialize_i64(*number),
            Value::Float(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::List(values) => serializer.collect_seq(values.iter().map(Shown)),
            Value::Struct(fields) => Fields(fields).serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}
