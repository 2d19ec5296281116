//! A little-endian byte assembler with labels: offsets are named when they are needed and filled in when known.

/// A place in the output whose offset may not be known yet. Made by [`Asm::label`], fixed by [`Asm::bind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A field that waits for its label.
#[derive(Clone, Debug)]
struct Patch {
    at: usize,
    width: usize,
    to: Label,
    /// Subtracted from the label's offset: 0 for absolute values, another place for distances.
    minus: Origin,
    /// Added to the result: the address or RVA at which the output starts.
    plus: i64,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Start,
    Offset(usize),
    Label(Label),
}

/// Little-endian output under construction.
///
/// ```
/// let mut asm = testkit::Asm::new();
/// let end = asm.label();
/// asm.u32_of(end).bytes(b"body").bind(end);
/// assert_eq!(asm.finish(), [8, 0, 0, 0, b'b', b'o', b'd', b'y']);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Asm {
    out: Vec<u8>,
    labels: Vec<Option<usize>>,
    patches: Vec<Patch>,
}

impl Asm {
    /// Empty output.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes written so far, which is the offset of the next one.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends 2 bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 4 bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 4 bytes, signed.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 8 bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 8 bytes, signed.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a pointer of `width` bytes (4 or 8).
    pub fn pointer(&mut self, value: u64, width: usize) -> &mut Self {
        assert!(width == 4 || width == 8, "pointers have 4 or 8 bytes, not {width}");
        self.bytes(&value.to_le_bytes()[..width])
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Appends `count` times `value`.
    pub fn fill(&mut self, value: u8, count: usize) -> &mut Self {
        self.out.resize(self.out.len() + count, value);
        self
    }

    /// Appends `value` until the length is a multiple of `to`.
    pub fn align(&mut self, to: usize, value: u8) -> &mut Self {
        let rest = self.out.len().next_multiple_of(to) - self.out.len();
        self.fill(value, rest)
    }

    /// Appends `value` until the length is `offset`; panics when the output is longer already.
    pub fn pad_to(&mut self, offset: usize, value: u8) -> &mut Self {
        assert!(self.out.len() <= offset, "already at {:#x}, cannot pad to {offset:#x}", self.out.len());
        self.fill(value, offset - self.out.len())
    }

    /// Appends ASCII or UTF-8 text and a NUL.
    pub fn cstr(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes()).u8(0)
    }

    /// Appends UTF-16 text without a terminator.
    pub fn utf16(&mut self, text: &str) -> &mut Self {
        for unit in text.encode_utf16() {
            self.u16(unit);
        }
        self
    }

    /// Appends UTF-16 text and a 16-bit NUL.
    pub fn utf16z(&mut self, text: &str) -> &mut Self {
        self.utf16(text).u16(0)
    }

    /// Appends a GUID given as its text form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, in the mixed-endian form that
    /// Windows stores.
    pub fn guid(&mut self, text: &str) -> &mut Self {
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let value = u128::from_str_radix(&digits, 16).expect("a GUID has 32 hexadecimal digits");
        let bytes = value.to_be_bytes();
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        self.bytes(&order.map(|i: usize| bytes[i]))
    }

    /// A new label, not yet bound.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Binds `label` to the current offset. A label is bound once.
    pub fn bind(&mut self, label: Label) -> &mut Self {
        assert!(self.labels[label.0].is_none(), "label bound twice");
        self.labels[label.0] = Some(self.out.len());
        self
    }

    /// A label bound to the current offset.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// The offset of `label`, if it is bound.
    pub fn offset_of(&self, label: Label) -> Option<usize> {
        self.labels[label.0]
    }

    /// Appends the offset of `label` as 4 bytes.
    pub fn u32_of(&mut self, label: Label) -> &mut Self {
        self.patch(4, label, Origin::Start, 0)
    }

    /// Appends the offset of `label` plus `base` as 4 bytes: an RVA, when the output starts at RVA `base`.
    pub fn u32_of_plus(&mut self, label: Label, base: i64) -> &mut Self {
        self.patch(4, label, Origin::Start, base)
    }

    /// Appends the offset of `label` plus `base` as 8 bytes: an address, when the output starts at address `base`.
    pub fn u64_of_plus(&mut self, label: Label, base: u64) -> &mut Self {
        self.patch(8, label, Origin::Start, base as i64)
    }

    /// Appends the distance from `from` to `to` as 2 bytes.
    pub fn u16_distance(&mut self, from: Label, to: Label) -> &mut Self {
        self.patch(2, to, Origin::Label(from), 0)
    }

    /// Appends the distance from `from` to `to` as 4 bytes.
    pub fn u32_distance(&mut self, from: Label, to: Label) -> &mut Self {
        self.patch(4, to, Origin::Label(from), 0)
    }

    /// Appends the 4-byte displacement of an x86 branch: from the end of this field to `to`.
    pub fn rel32(&mut self, to: Label) -> &mut Self {
        let end = self.out.len() + 4;
        self.patch(4, to, Origin::Offset(end), 0)
    }

    /// Overwrites bytes already written.
    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The finished bytes. Panics when a label that a field needs was never bound, or does not fit its field: a test
    /// that builds impossible input should say so by [`Asm::put`].
    pub fn finish(mut self) -> Vec<u8> {
        for patch in &self.patches {
            let place = |label: Label| self.labels[label.0].expect("a label in use was never bound") as i64;
            let origin = match patch.minus {
                Origin::Start => 0,
                Origin::Offset(at) => at as i64,
                Origin::Label(label) => place(label),
            };
            let value = (place(patch.to) - origin).wrapping_add(patch.plus);
            if patch.width < 8 {
                let bits = 8 * patch.width as u32;
                assert!(
                    value >= -(1 << (bits - 1)) && value < 1 << bits,
                    "{value:#x} does not fit a field of {bits} bits"
                );
            }
            self.out[patch.at..patch.at + patch.width].copy_from_slice(&value.to_le_bytes()[..patch.width]);
        }
        self.out
    }

    fn patch(&mut self, width: usize, to: Label, minus: Origin, plus: i64) -> &mut Self {
        self.patches.push(Patch { at: self.out.len(), width, to, minus, plus });
        self.fill(0, width)
    }
}

#[cfg(test)]
mod tests {
    use super::Asm;

    #[test]
    fn labels_resolve_forwards_and_backwards() {
        let mut asm = Asm::new();
        let start = asm.here();
        let end = asm.label();
        asm.u32_distance(start, end).u8(0xe8).rel32(start).bind(end);
        assert_eq!(asm.finish(), [9, 0, 0, 0, 0xe8, 0xf7, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn guids_are_stored_as_windows_stores_them() {
        let mut asm = Asm::new();
        asm.guid("ff1fd2fd-6008-42bb-9e75-00a20051f3be");
        assert_eq!(asm.finish()[..8], [0xfd, 0xd2, 0x1f, 0xff, 0x08, 0x60, 0xbb, 0x42]);
    }
}
