//! Layouts of payloads as lines of text, for providers whose events this crate knows by heart.

use etl_file::{Event, Guid};

use crate::text::{Reader, narrow, wide};
use crate::value::{Field, Value};

/// How a field is stored. Fields are packed without alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldType {
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// An address of the event's pointer size.
    Pointer,
    /// Four bytes; anything but 0 is true.
    Bool32,
    /// Bytes up to and with a NUL.
    Ansi,
    /// 16-bit units up to and with a NUL.
    Utf16,
}

impl FieldType {
    const NAMES: [(&'static str, Self); 6] = [
        ("u32", Self::U32),
        ("u64", Self::U64),
        ("ptr", Self::Pointer),
        ("bool32", Self::Bool32),
        ("ansi", Self::Ansi),
        ("utf16", Self::Utf16),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Its name in the table: `u32`, `u64`, `ptr`, `bool32`, `ansi`, `utf16`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// One layout of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// Number of the event.
    pub id: u16,
    /// Version of the payload.
    pub version: u16,
    /// Component of the provider.
    pub task: u16,
    /// Step; `None` where the manifest gives none.
    pub opcode: Option<u8>,
    /// Names and types of the fields in payload order.
    pub fields: Vec<(&'static str, FieldType)>,
}

impl Layout {
    /// Bytes of the payload, with pointers of `pointer_size` bytes; `None` when a text makes them vary.
    pub fn bytes(&self, pointer_size: u8) -> Option<usize> {
        self.fields
            .iter()
            .map(|(_, kind)| match kind {
                FieldType::U32 | FieldType::Bool32 => Some(4),
                FieldType::U64 => Some(8),
                FieldType::Pointer => Some(usize::from(pointer_size)),
                FieldType::Ansi | FieldType::Utf16 => None,
            })
            .sum()
    }

    /// The fields of a payload, up to the first that is not whole.
    pub(crate) fn read<'e>(&'static self, payload: &'e [u8], pointer_size: u8) -> Fields<'e> {
        let mut reader = Reader(payload);
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, kind) in &self.fields {
            let before = reader;
            // At the payload's end there is no text, not even an empty one.
            let value = if before.0.is_empty() { None } else { value(&mut reader, name, *kind, pointer_size) };
            let Some(value) = value else { return Fields { fields, rest: before.0, is_whole: false } };
            fields.push(Field::new(*name, value));
        }
        Fields { fields, rest: reader.0, is_whole: true }
    }
}

/// What a layout makes of a payload.
pub(crate) struct Fields<'e> {
    pub fields: Vec<Field<'e>>,
    pub rest: &'e [u8],
    pub is_whole: bool,
}

fn value<'e>(reader: &mut Reader<'e>, name: &str, kind: FieldType, pointer_size: u8) -> Option<Value<'e>> {
    Some(match kind {
        FieldType::U32 => number(name, reader.u32()?.into()),
        FieldType::U64 => number(name, reader.u64()?),
        FieldType::Pointer => Value::Address(reader.pointer(pointer_size)?),
        FieldType::Bool32 => Value::Bool(reader.u32()? != 0),
        FieldType::Ansi => Value::Text(narrow(reader.until_nul())),
        FieldType::Utf16 => Value::Text(wide(reader.until_wide_nul()).into()),
    })
}

/// A number as its field's name says it is to be read.
fn number(name: &str, number: u64) -> Value<'static> {
    match (name, u32::try_from(number)) {
        ("NTStatus" | "Status", Ok(status)) => Value::Status(status),
        ("BugcheckCode" | "ControlFlags" | "AddPagesControl", _) => Value::Hex(number),
        _ => Value::Unsigned(number),
    }
}

/// Reads lines of `id version task opcode name:type…`; `-` is no opcode, and lines that begin with `#` are remarks.
/// `None` for a line of another form. The lines are this crate's own, and a test reads them all.
pub(crate) fn layouts(lines: &'static str) -> Option<Vec<Layout>> {
    lines.lines().filter(|line| !line.starts_with('#')).map(layout).collect()
}

fn layout(line: &'static str) -> Option<Layout> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u16>().ok();
    let (id, version, task) = (number()?, number()?, number()?);
    let opcode = match words.next()? {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    let fields = words.map(|word| {
        let (name, kind) = word.split_once(':')?;
        Some((name, FieldType::named(kind)?))
    });
    Some(Layout { id, version, task, opcode, fields: fields.collect::<Option<_>>()? })
}

/// The number of an event if it is one of this provider.
pub(crate) fn number_of(event: &Event<'_>, provider: Guid) -> Option<u16> {
    match event.id {
        etl_file::EventId::Provider(found) if found.provider == provider => Some(found.id),
        _ => None,
    }
}
