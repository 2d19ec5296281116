//! TraceLogging events: schema and payload side by side, field by field.

use super::{Event, Header};
use crate::Asm;

/// An event that describes itself, under construction.
///
/// ```
/// use testkit::trace::SelfDescribing;
/// let event = SelfDescribing::new("Started").field("pid", 8, 0, &4u32.to_le_bytes()).event("Demo.Provider", 1_000);
/// assert_eq!((event.payload.len(), event.extended[0].1.len()), (4, 2 + 1 + 8 + 5));
/// ```
#[derive(Clone, Debug)]
pub struct SelfDescribing {
    schema: Vec<u8>,
    payload: Vec<u8>,
    /// Bytes per pointer of the header.
    pub pointer_size: u8,
}

impl SelfDescribing {
    /// An event without fields.
    pub fn new(name: &str) -> Self {
        // One byte of tags: none.
        Self { schema: [&[0], name.as_bytes(), &[0]].concat(), payload: Vec::new(), pointer_size: 8 }
    }

    /// A field of a type (TlgIn_t), shown in a way (TlgOut_t; 0 for none), with its bytes.
    #[must_use]
    pub fn field(self, name: &str, kind: u8, shown: u8, bytes: &[u8]) -> Self {
        self.typed(name, kind, shown, &[], bytes)
    }

    /// An array whose number of elements is in the schema.
    #[must_use]
    pub fn fixed_array(self, name: &str, kind: u8, count: u16, bytes: &[u8]) -> Self {
        self.typed(name, kind | 0x20, 0, &count.to_le_bytes(), bytes)
    }

    /// An array whose number of elements is in the payload.
    #[must_use]
    pub fn array(self, name: &str, kind: u8, count: u16, bytes: &[u8]) -> Self {
        let bytes = [&count.to_le_bytes(), bytes].concat();
        self.typed(name, kind | 0x40, 0, &[], &bytes)
    }

    /// A field of a type of the provider's own.
    #[must_use]
    pub fn custom(self, name: &str, bytes: &[u8]) -> Self {
        let bytes = [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
        self.typed(name, 0x61, 0, &[3, 0, 7, 8, 9], &bytes)
    }

    /// A structure of the next `members` fields; their bytes come with them. With `elements` it is an array whose number
    /// of elements is in the payload, and the bytes of all but the first element have to be appended.
    #[must_use]
    pub fn structure(self, name: &str, members: u8, elements: Option<u16>) -> Self {
        let (kind, count) = match elements {
            Some(count) => (24 | 0x40, count.to_le_bytes().to_vec()),
            None => (24, Vec::new()),
        };
        self.typed(name, kind, members, &[], &count)
    }

    /// Bytes of the payload without a field.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.payload.extend_from_slice(bytes);
        self
    }

    /// Bytes of the schema as they are.
    #[must_use]
    pub fn raw_schema(mut self, bytes: &[u8]) -> Self {
        self.schema.extend_from_slice(bytes);
        self
    }

    fn typed(mut self, name: &str, kind: u8, shown: u8, count: &[u8], bytes: &[u8]) -> Self {
        self.schema.extend_from_slice(name.as_bytes());
        self.schema.push(0);
        match shown {
            0 => self.schema.push(kind),
            // With a byte of tags behind it.
            _ => self.schema.extend([kind | 0x80, shown | 0x80, 0x7f]),
        }
        self.schema.extend_from_slice(count);
        self.payload.extend_from_slice(bytes);
        self
    }

    /// The event, of a provider with this name in its traits.
    pub fn event(&self, provider: &str, tick: i64) -> Event {
        let mut schema = Asm::new();
        schema.u16(self.schema.len() as u16 + 2).bytes(&self.schema);
        let mut traits = Asm::new();
        traits.u16(provider.len() as u16 + 3).bytes(provider.as_bytes()).u8(0);
        let header = if self.pointer_size == 4 { Header::Event32 } else { Header::Event64 };
        let mut event = Event::class(header, Self::PROVIDER, 0, 0, tick, self.payload.clone());
        event.extended = vec![(11, schema.finish()), (12, traits.finish())];
        event
    }

    /// The GUID of the provider.
    pub const PROVIDER: &str = "5eefebdb-e90c-423a-8abf-0241e7c5b87d";
}
