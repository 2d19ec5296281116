//! Payloads read as a template says.

use std::fmt::Write;

use etl_file::Event;

use super::{Item, ItemKind, Map, Provider, Size};
use crate::text::Reader;
use crate::typed::{InType, read};
use crate::value::{Body, Field, Value};

/// Values of one event that are read, elements of arrays and structures counted.
const MOST_VALUES: usize = 4096;
/// Characters of a message.
const LONGEST_MESSAGE: usize = 16_384;

impl Provider {
    /// Reads an event; `None` of one that the manifest does not describe.
    pub(crate) fn decode<'a>(&'a self, event: &Event<'a>, id: u16) -> Option<Body<'a>> {
        let schema = self.events.get(&(id, event.version))?;
        let items = schema.template.as_ref().and_then(|template| self.templates.get(template));
        let mut payload = Payload {
            provider: self,
            reader: Reader(event.payload),
            pointer_size: event.pointer_size,
            budget: MOST_VALUES,
            is_given_up: false,
        };
        let (fields, is_whole) = payload.fields(items.map_or(&[], |items| items));
        let rest = payload.reader.0;
        let message = schema.message.as_ref().map(|message| filled(message, &fields));
        Some(Body { fields, message, rest, cut: !is_whole && !payload.is_given_up })
    }
}

struct Payload<'a> {
    provider: &'a Provider,
    reader: Reader<'a>,
    pointer_size: u8,
    budget: usize,
    /// A type is not known, or there are more values than are read.
    is_given_up: bool,
}

impl<'a> Payload<'a> {
    /// The fields up to the first that cannot be read, and whether that was none.
    fn fields(&mut self, items: &'a [Item]) -> (Vec<Field<'a>>, bool) {
        let mut fields: Vec<Field<'a>> = Vec::new();
        for item in items {
            let before = self.reader;
            match self.field(item, &fields) {
                Some(value) => fields.push(Field::new(item.name.as_str(), value)),
                None => {
                    self.reader = before;
                    return (fields, false);
                }
            }
        }
        (fields, true)
    }

    fn field(&mut self, item: &'a Item, before: &[Field<'_>]) -> Option<Value<'a>> {
        let Some(count) = &item.count else { return self.one(item, before) };
        let count = number(count, before)?;
        (0..count).map(|_| self.one(item, before)).collect::<Option<_>>().map(Value::List)
    }

    fn one(&mut self, item: &'a Item, before: &[Field<'_>]) -> Option<Value<'a>> {
        self.is_given_up |= self.budget == 0 || matches!(item.kind, ItemKind::Unknown);
        self.budget = self.budget.checked_sub(1)?;
        match &item.kind {
            ItemKind::Unknown => None,
            ItemKind::Struct(items) => {
                let (fields, is_whole) = self.fields(items);
                is_whole.then_some(Value::Struct(fields))
            }
            ItemKind::Value { kind, show, length, map } => {
                let length = match length {
                    Some(length) => Some(number(length, before)?),
                    // Bytes without a length are those that are left.
                    None if *kind == InType::BINARY => Some(self.reader.0.len()),
                    None => None,
                };
                // A text that would begin at the end is not there.
                let is_text = [InType::UNICODE, InType::ANSI].contains(kind) && length.is_none();
                if is_text && self.reader.0.is_empty() {
                    return None;
                }
                let value = read(&mut self.reader, *kind, *show, self.pointer_size, length)?;
                let map = map.as_ref().and_then(|map| self.provider.maps.get(map));
                Some(map.and_then(|map| map.name(&value)).unwrap_or(value))
            }
        }
    }
}

/// A number that a template gives, or that a field before holds.
fn number(size: &Size, before: &[Field<'_>]) -> Option<usize> {
    match size {
        Size::Fixed(number) => Some(*number),
        Size::Field(name) => match before.iter().find(|field| field.name == *name)?.value {
            Value::Unsigned(number) | Value::Hex(number) => usize::try_from(number).ok(),
            Value::Signed(number) => usize::try_from(number).ok(),
            _ => None,
        },
    }
}

impl Map {
    /// What a number stands for; `None` where the map has no name for it.
    fn name<'a>(&'a self, value: &Value<'a>) -> Option<Value<'a>> {
        let number = match value {
            Value::Unsigned(number) | Value::Hex(number) => *number,
            Value::Signed(number) => u64::try_from(*number).ok()?,
            _ => return None,
        };
        let single = self.names.get(&number).map(|name| name.as_str().into());
        let name = single.or_else(|| self.bits(number).map(Into::into))?;
        Some(Value::Named { number, name })
    }

    /// The names of a number's bits; `None` when one has no name.
    fn bits(&self, number: u64) -> Option<String> {
        let set = (0..64).map(|bit| 1u64 << bit).filter(|bit| number & bit != 0);
        let names: Option<Vec<&str>> = set.map(|bit| self.names.get(&bit).map(String::as_str)).collect();
        names.filter(|names| self.is_of_bits && !names.is_empty()).map(|names| names.join(" | "))
    }
}

/// A message with its fields put in for `%1`, `%2` and so on, on one line.
fn filled(message: &str, fields: &[Field<'_>]) -> String {
    let mut out = String::new();
    let mut rest = message.chars().peekable();
    // A blank after a line's end is an indent.
    let mut is_new_line = false;
    while let Some(c) = rest.next() {
        if out.len() > LONGEST_MESSAGE {
            out.push('…');
            break;
        }
        if std::mem::take(&mut is_new_line) && c == ' ' {
            is_new_line = true;
            continue;
        }
        match c {
            '%' => match rest.next() {
                Some('n' | 'r' | 't' | 'b') => is_new_line = blank(&mut out),
                Some(digit @ '0'..='9') => {
                    let mut number = digit.to_digit(10).unwrap_or(0) as usize;
                    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                        number = number.saturating_mul(10).saturating_add(digit as usize);
                        rest.next();
                    }
                    // How a number is to be printed, as %1!d!, is in its type already.
                    if rest.next_if_eq(&'!').is_some() {
                        rest.by_ref().find(|c| *c == '!');
                    }
                    match number.checked_sub(1).map(|at| fields.get(at)) {
                        Some(Some(field)) => drop(write!(out, "{}", field.value)),
                        Some(None) => drop(write!(out, "%{number}")),
                        // %0 ends a message.
                        None => break,
                    }
                }
                Some(other) => out.push(other),
                None => {}
            },
            '\n' | '\r' | '\t' => is_new_line = blank(&mut out),
            _ => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// A blank in place of a line's end, but no second one.
fn blank(out: &mut String) -> bool {
    if !out.is_empty() && !out.ends_with(' ') {
        out.push(' ');
    }
    true
}

#[cfg(test)]
mod tests {
    use super::filled;
    use crate::value::{Field, Value};

    #[test]
    fn messages() {
        let fields = [Field::new("a", Value::Unsigned(7)), Field::new("b", Value::Text("x y".into()))];
        for (message, expected) in [
            ("%1 of %2.", "7 of x y."),
            ("%2!s!%n%t%1!d! 100%%", "x y 7 100%"),
            ("%3 %1%0 more", "%3 7"),
            ("a\r\n b%", "a b"),
            ("%99999999999999999999999", "%18446744073709551615"),
        ] {
            assert_eq!(filled(message, &fields), expected, "{message}");
        }
    }
}
