//! Values of the types that manifests and self-describing events have (TDH_INTYPE_* of tdh.h, TlgIn_t of
//! TraceLoggingProvider.h, which agree in number up to 21).

use std::fmt::Write;

use etl_file::FileTime;

use crate::text::{Reader, narrow, wide};
use crate::value::Value;

/// How a value is stored, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InType(pub u8);

impl InType {
    pub const UNICODE: Self = Self(1);
    pub const ANSI: Self = Self(2);
    pub const BINARY: Self = Self(14);
    pub const COUNTED_BINARY: Self = Self(25);

    /// Whether values of it can be read.
    pub fn is_known(self) -> bool {
        matches!(self.0, 0..=23 | 25)
    }

    /// The type of a manifest's name, without `win:`.
    pub fn named(name: &str) -> Option<Self> {
        const NAMES: [&str; 21] = [
            "UnicodeString",
            "AnsiString",
            "Int8",
            "UInt8",
            "Int16",
            "UInt16",
            "Int32",
            "UInt32",
            "Int64",
            "UInt64",
            "Float",
            "Double",
            "Boolean",
            "Binary",
            "GUID",
            "Pointer",
            "FILETIME",
            "SYSTEMTIME",
            "SID",
            "HexInt32",
            "HexInt64",
        ];
        NAMES.iter().position(|known| *known == name).map(|at| Self(at as u8 + 1))
    }
}

/// How a value is shown, where that is not as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Show {
    #[default]
    Stored,
    Hex,
    Bool,
    Signed,
    Unsigned,
    Address,
    Status,
    Port,
    Ipv4,
    Ipv6,
    Text,
    FileTime,
}

impl Show {
    /// TlgOut_t.
    pub fn of_trace_logging(number: u8) -> Self {
        match number {
            2 | 11 | 12 | 35 | 36 => Self::Text,
            3 => Self::Bool,
            4 => Self::Hex,
            7 => Self::Port,
            8 => Self::Ipv4,
            9 => Self::Ipv6,
            14 | 15 => Self::Status,
            16 | 38 => Self::FileTime,
            17 => Self::Signed,
            18 => Self::Unsigned,
            37 => Self::Address,
            _ => Self::Stored,
        }
    }

    /// The outType of a manifest.
    pub fn named(name: &str) -> Self {
        match name.strip_prefix("win:").unwrap_or(name) {
            "HexInt8" | "HexInt16" | "HexInt32" | "HexInt64" | "ETWTIME" => Self::Hex,
            "NTSTATUS" | "HResult" => Self::Status,
            "Port" => Self::Port,
            "IPv4" => Self::Ipv4,
            "IPv6" => Self::Ipv6,
            "Utf8" | "Xml" | "Json" => Self::Text,
            "CodePointer" => Self::Address,
            "xs:boolean" => Self::Bool,
            _ => Self::Stored,
        }
    }
}

/// Reads one value. `length` is what a manifest says of a text (in characters) or of bytes; without it a text ends at its
/// NUL. `None` when the value runs past the end, or is of an unknown type.
pub(crate) fn read<'e>(
    reader: &mut Reader<'e>,
    kind: InType,
    show: Show,
    pointer_size: u8,
    length: Option<usize>,
) -> Option<Value<'e>> {
    let value = match kind.0 {
        // Types that take no room.
        0 => Value::Text("".into()),
        1 => Value::Text(match length {
            Some(units) => wide(trimmed(reader.take(units.checked_mul(2)?)?, 2)).into(),
            None => wide(reader.until_wide_nul()).into(),
        }),
        2 => Value::Text(match length {
            Some(bytes) => narrow(trimmed(reader.take(bytes)?, 1)),
            None => narrow(reader.until_nul()),
        }),
        3 => signed((reader.u8()? as i8).into(), 8, show),
        4 => unsigned(reader.u8()?.into(), show),
        5 => signed((reader.u16()? as i16).into(), 16, show),
        6 => unsigned(reader.u16()?.into(), show),
        7 => signed((reader.u32()? as i32).into(), 32, show),
        8 => unsigned(reader.u32()?.into(), show),
        9 => signed(reader.u64()? as i64, 64, show),
        10 => unsigned(reader.u64()?, show),
        11 => Value::Float(f32::from_bits(reader.u32()?).into()),
        12 => Value::Float(f64::from_bits(reader.u64()?)),
        13 => Value::Bool(reader.u32()? != 0),
        14 => binary(reader.take(length?)?, show),
        15 => Value::Guid(reader.guid()?),
        16 => Value::Address(reader.pointer(pointer_size)?),
        17 => Value::Time(FileTime(reader.u64()? as i64)),
        18 => Value::Text(system_time(reader.take(16)?)?.into()),
        19 => Value::Text(sid(reader)?.into()),
        20 => unsigned(reader.u32()?.into(), if show == Show::Stored { Show::Hex } else { show }),
        21 => unsigned(reader.u64()?, if show == Show::Stored { Show::Hex } else { show }),
        22 => Value::Text(wide(counted(reader)?).into()),
        23 => Value::Text(narrow(counted(reader)?)),
        25 => binary(counted(reader)?, show),
        _ => return None,
    };
    Some(value)
}

/// Bytes with their number in front.
fn counted<'e>(reader: &mut Reader<'e>) -> Option<&'e [u8]> {
    let mut ahead = *reader;
    let length = ahead.u16()?;
    let bytes = ahead.take(length.into())?;
    *reader = ahead;
    Some(bytes)
}

/// A text of given length without what follows a NUL in it.
fn trimmed(bytes: &[u8], unit: usize) -> &[u8] {
    let end = bytes.chunks(unit).position(|unit| unit.iter().all(|byte| *byte == 0));
    &bytes[..end.map_or(bytes.len(), |at| at * unit)]
}

fn signed(number: i64, bits: u32, show: Show) -> Value<'static> {
    match show {
        Show::Stored | Show::Signed => Value::Signed(number),
        _ => unsigned(number as u64 & u64::MAX >> (64 - bits), show),
    }
}

fn unsigned(number: u64, show: Show) -> Value<'static> {
    match show {
        Show::Hex => Value::Hex(number),
        Show::Bool => Value::Bool(number != 0),
        Show::Address => Value::Address(number),
        Show::Status => u32::try_from(number).map_or(Value::Hex(number), Value::Status),
        Show::FileTime => Value::Time(FileTime(number as i64)),
        Show::Signed => Value::Signed(number as i64),
        // Ports and addresses of networks are stored with their first byte first.
        Show::Port => {
            u16::try_from(number).map_or(Value::Unsigned(number), |port| Value::Unsigned(port.swap_bytes().into()))
        }
        Show::Ipv4 => match u32::try_from(number) {
            Ok(address) => Value::Text(std::net::Ipv4Addr::from(address.to_le_bytes()).to_string().into()),
            Err(_) => Value::Unsigned(number),
        },
        Show::Stored | Show::Unsigned | Show::Ipv6 | Show::Text => Value::Unsigned(number),
    }
}

fn binary(bytes: &[u8], show: Show) -> Value<'_> {
    match (show, <[u8; 16]>::try_from(bytes)) {
        (Show::Ipv6, Ok(address)) => Value::Text(std::net::Ipv6Addr::from(address).to_string().into()),
        (Show::Text, _) => Value::Text(narrow(bytes)),
        _ => Value::Bytes(bytes),
    }
}

/// SYSTEMTIME: year, month, weekday, day, hour, minute, second, millisecond.
fn system_time(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let mut part = || reader.u16();
    let (year, month, _, day) = (part()?, part()?, part()?, part()?);
    let (hour, minute, second, millis) = (part()?, part()?, part()?, part()?);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}"))
}

/// SID: revision, number of sub-authorities, authority, sub-authorities.
fn sid(reader: &mut Reader<'_>) -> Option<String> {
    let mut ahead = *reader;
    let (revision, count) = (ahead.u8()?, ahead.u8()?);
    let authority = ahead.take(6)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut text = format!("S-{revision}-{authority}");
    // No SID has more (SID_MAX_SUB_AUTHORITIES).
    for _ in 0..Some(count).filter(|count| *count <= 15)? {
        let _ = write!(text, "-{}", ahead.u32()?);
    }
    *reader = ahead;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{InType, Show, read};
    use crate::text::Reader;

    /// A value as text, and the bytes that are left.
    fn check(kind: &str, show: Show, length: Option<usize>, bytes: &[u8], expected: Option<(&str, usize)>) {
        let mut reader = Reader(bytes);
        let found = read(&mut reader, InType::named(kind).unwrap(), show, 8, length).map(|value| value.to_string());
        assert_eq!(found.as_deref().map(|text| (text, reader.0.len())), expected, "{kind} {show:?} {bytes:?}");
    }

    #[test]
    fn values_by_type() {
        check("Int8", Show::Stored, None, &[0xff, 7], Some(("-1", 1)));
        check("Int8", Show::Hex, None, &[0xff], Some(("0xff", 0)));
        check("Int64", Show::Hex, None, &[0xff; 8], Some(("0xffffffffffffffff", 0)));
        check("UInt32", Show::Status, None, &[0x7f, 0, 0, 0xc0], Some(("0xC000007F", 0)));
        check("UInt16", Show::Port, None, &[0x01, 0xbb], Some(("443", 0)));
        check("UInt32", Show::Ipv4, None, &[127, 0, 0, 1], Some(("127.0.0.1", 0)));
        check("Binary", Show::Ipv6, Some(16), &[0; 16], Some(("::", 0)));
        check("Binary", Show::Stored, Some(2), &[1, 0xab, 3], Some(("01ab", 1)));
        check("Binary", Show::Stored, Some(4), &[1, 2, 3], None);
        check("Boolean", Show::Stored, None, &[0, 1, 0, 0], Some(("true", 0)));
        check("Pointer", Show::Stored, None, &[1, 0, 0, 0, 0, 0, 0, 0x80], Some(("0x8000000000000001", 0)));
        check("Double", Show::Stored, None, &1.5f64.to_le_bytes(), Some(("1.5", 0)));
        check("UnicodeString", Show::Stored, None, b"a\0\0\0b", Some(("a", 1)));
        check("UnicodeString", Show::Stored, Some(2), b"a\0\0\0b\0", Some(("a", 2)));
        check("AnsiString", Show::Stored, Some(3), b"abc", Some(("abc", 0)));
        check("AnsiString", Show::Stored, Some(4), b"abc", None);
        let sid = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        check("SID", Show::Stored, None, &sid, Some(("S-1-5-32-544", 0)));
        check("SID", Show::Stored, None, &[1, 16, 0, 0, 0, 0, 0, 5, 32], None);
        let time = [0xe8, 7, 2, 0, 3, 0, 28, 0, 1, 0, 2, 0, 3, 0, 4, 0];
        check("SYSTEMTIME", Show::Stored, None, &time, Some(("2024-02-28T01:02:03.004", 0)));
        check("FILETIME", Show::Stored, None, &[0; 8], Some(("1601-01-01T00:00:00.0000000Z", 0)));
    }
}
