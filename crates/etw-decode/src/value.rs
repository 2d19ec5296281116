//! What events say: values with names.

use std::borrow::Cow;
use std::fmt;

use etl_file::{FileTime, Guid};

/// A field's value. Numbers are told apart by how a person reads them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'e> {
    /// A number, read in decimal.
    Unsigned(u64),
    /// A number with a sign.
    Signed(i64),
    /// A number with a fraction.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A number that is read in hexadecimal: flags, sizes of images, codes.
    Hex(u64),
    /// An address in memory.
    Address(u64),
    /// NTSTATUS, HRESULT, or an error number of Win32 that its provider wants in hexadecimal.
    Status(u32),
    /// A number that stands for something, as the provider's manifest says.
    Named {
        /// The number.
        number: u64,
        /// What it stands for.
        name: Cow<'e, str>,
    },
    /// Text, at most 1,024 characters of it; also addresses of networks, SIDs and calendar times.
    Text(Cow<'e, str>),
    /// A GUID.
    Guid(Guid),
    /// A point in time.
    Time(FileTime),
    /// Bytes whose meaning is not known.
    Bytes(&'e [u8]),
    /// An array.
    List(Vec<Self>),
    /// Values that belong together.
    Struct(Vec<Field<'e>>),
}

/// A value with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<'e> {
    /// Its name; an event can have several fields of one name.
    pub name: Cow<'e, str>,
    /// What it holds.
    pub value: Value<'e>,
}

impl<'e> Field<'e> {
    /// A field.
    pub fn new(name: impl Into<Cow<'e, str>>, value: Value<'e>) -> Self {
        Self { name: name.into(), value }
    }
}

impl fmt::Display for Value<'_> {
    /// As text for people: texts as they are, which may be anything, and bytes in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Hex(number) | Self::Address(number) => write!(f, "{number:#x}"),
            Self::Status(status) => write!(f, "0x{status:X}"),
            Self::Named { name, .. } => f.write_str(name),
            Self::Text(text) => f.write_str(text),
            Self::Guid(guid) => write!(f, "{{{guid}}}"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::List(values) => {
                f.write_str("[")?;
                for (number, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if number == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Struct(fields) => {
                f.write_str("{")?;
                for (number, field) in fields.iter().enumerate() {
                    write!(f, "{}{field}", if number == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

/// What a payload was read as.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body<'e> {
    pub fields: Vec<Field<'e>>,
    pub message: Option<String>,
    /// What follows the fields.
    pub rest: &'e [u8],
    /// A field was not whole.
    pub cut: bool,
}

impl<'e> Body<'e> {
    /// A payload that is not understood.
    pub fn unread(payload: &'e [u8]) -> Self {
        Self { rest: payload, ..Self::default() }
    }
}
