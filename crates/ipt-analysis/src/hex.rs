//! Bytes from hexadecimal text as people copy it from a viewer: any spacing, `0x`, commas, an offsets column, an ASCII
//! column.

use std::fmt;

/// Text that is not hexadecimal: where, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexError {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What stands there; empty at the end of the text.
    pub found: String,
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, found } = self;
        let allowed = "allowed are hexadecimal digits, blanks, commas, 0x, \\x, an offsets column and an ASCII column";
        if found.is_empty() {
            write!(f, "line {line}, column {column}: the last byte has one digit; {allowed}")
        } else {
            write!(f, "line {line}, column {column}: found {found:?}; {allowed}")
        }
    }
}

impl std::error::Error for HexError {}

/// The bytes that `text` spells, and the width of its groups. Takes memory of half the text, and 8 bytes for each line
/// with an offset.
///
/// # Errors
///
/// When something is neither a digit nor one of the things that viewers put around digits.
pub(crate) fn parse(text: &str) -> Result<Spelled, HexError> {
    let columns = Columns::of(text);
    let mut out = Spelled { bytes: Vec::with_capacity(text.len() / 2), group: None };
    // Digits that are not prefixed run on over blanks and lines: a viewer may break the text anywhere.
    let mut half: Option<(u8, usize, usize)> = None;
    for (index, line) in lines(text).enumerate() {
        for token in columns.data(line, index) {
            let digits = ["0x", "0X", "\\x", "$"].iter().find_map(|prefix| token.text.strip_prefix(prefix));
            let prefixed = digits.is_some();
            let digits = digits.unwrap_or(token.text);
            let digits = digits.strip_suffix(['h', 'H']).filter(|digits| !digits.is_empty()).unwrap_or(digits);
            let group = digits.chars().filter(char::is_ascii_hexdigit).count().div_ceil(2);
            out.see_group(group);
            if prefixed && group * 2 != digits.len() && half.is_none() {
                half = Some((0, line.number, token.column));
            }
            for (at, found) in digits.chars().enumerate() {
                let Some(digit) = found.to_digit(16) else {
                    let column = token.column + token.text.chars().count() - digits.chars().count() + at + 1;
                    return Err(HexError { line: line.number, column, found: found.to_string() });
                };
                half = match half {
                    None => Some((digit as u8, line.number, token.column + at)),
                    Some((high, ..)) => {
                        out.bytes.push(high << 4 | digit as u8);
                        None
                    }
                };
            }
        }
    }
    match half {
        None => Ok(out),
        Some((_, line, column)) => Err(HexError { line, column: column + 1, found: String::new() }),
    }
}

/// What a text spells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spelled {
    pub(super) bytes: Vec<u8>,
    /// Bytes in each group of digits when all groups have the same number, 0 when they do not.
    group: Option<usize>,
}

impl Spelled {
    /// The same with the bytes of each group reversed: viewers that print words print them so. Nothing when the groups
    /// are not words.
    pub(super) fn as_words(&self) -> Option<Vec<u8>> {
        let group = self.group.filter(|group| matches!(group, 2 | 4 | 8) && self.bytes.len().is_multiple_of(*group))?;
        Some(self.bytes.chunks_exact(group).flat_map(|word| word.iter().rev().copied()).collect())
    }

    fn see_group(&mut self, group: usize) {
        self.group = Some(if self.group.is_none_or(|seen| seen == group) { group } else { 0 });
    }
}

/// A line that has something in it.
#[derive(Clone, Copy)]
struct Line<'t> {
    /// From 1.
    number: usize,
    text: &'t str,
}

/// Characters between separators.
#[derive(Clone, Copy)]
struct Token<'t> {
    /// Characters before it in the line.
    column: usize,
    text: &'t str,
    /// Two or more blanks, a tab or a bar stand before it: another column may begin here.
    apart: bool,
}

fn separates(found: char) -> bool {
    found.is_whitespace() || ",;-|{}()[]\"'".contains(found)
}

/// The lines that have something in them. Neither they nor their tokens are kept: there may be hundreds of millions.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let lines = text.lines().enumerate().map(|(index, text)| Line { number: index + 1, text });
    lines.filter(|line| !line.text.chars().all(separates))
}

impl<'t> Line<'t> {
    fn tokens(self) -> impl Iterator<Item = Token<'t>> + use<'t> {
        let text = self.text;
        let mut characters = text.char_indices().chain([(text.len(), ' ')]).enumerate();
        let (mut start, mut blanks) = (None, 2_usize);
        std::iter::from_fn(move || {
            for (column, (at, found)) in characters.by_ref() {
                if !separates(found) {
                    start.get_or_insert((column, at));
                    continue;
                }
                let more = if matches!(found, '\t' | '|') { 2 } else { 1 };
                if let Some((column, from)) = start.take() {
                    let token = Token { column, text: &text[from..at], apart: blanks >= 2 };
                    blanks = more;
                    return Some(token);
                }
                blanks += more;
            }
            None
        })
    }
}

/// The columns of a text.
struct Columns {
    /// For each line the token that is an offset, as its value.
    offsets: Option<Vec<u64>>,
    /// The character at which the ASCII column begins, where full lines show it.
    ascii: Option<usize>,
}

impl Columns {
    fn of(text: &str) -> Self {
        let mut columns = Self { offsets: Self::offsets(text), ascii: None };
        if columns.offsets.is_some() {
            // In a full line the data ends where the next line's offset says.
            columns.ascii = lines(text).enumerate().find_map(|(index, line)| {
                let count = columns.step(index)?;
                let mut tokens = line.tokens().skip(1);
                let mut bytes = 0;
                tokens.find(|token| {
                    bytes += token.text.len() / 2;
                    bytes >= count
                })?;
                tokens.next().map(|token| token.column)
            });
        }
        columns
    }

    /// The first column is one of offsets when each is more than the one before, and by as many bytes as lines can have;
    /// of a single line, when a colon follows it, or when it is long and the rest are bytes.
    fn offsets(text: &str) -> Option<Vec<u64>> {
        let (mut offsets, mut colons) = (Vec::new(), true);
        for line in lines(text) {
            let mut tokens = line.tokens();
            let token = tokens.next()?.text;
            let plain = token.strip_suffix(':').unwrap_or(token);
            let plain = plain.strip_prefix("0x").unwrap_or(plain);
            // Longer ones are not offsets, whatever is in them.
            if plain.len() > 32 {
                return None;
            }
            let plain = plain.replace('`', "");
            let plain = plain.strip_suffix('h').unwrap_or(&plain);
            let long = plain.len() >= 4 || token.ends_with(':');
            if !long || plain.len() > 16 || tokens.next().is_none() {
                return None;
            }
            offsets.push(u64::from_str_radix(plain, 16).ok()?);
            colons &= token.ends_with(':');
        }
        if let [_] = offsets[..] {
            let mut tokens = lines(text).next()?.tokens();
            let first = tokens.next()?;
            let bytes = tokens.take_while(|token| token.text.len() == 2 && is_hex(token.text)).take(2).count();
            return (colons || first.text.len() >= 6 && bytes >= 2).then_some(offsets);
        }
        let steps = offsets.windows(2).all(|pair| {
            let step = pair[1].wrapping_sub(pair[0]);
            (1..=4096).contains(&step) && (colons || step == offsets[1].wrapping_sub(offsets[0]))
        });
        (steps && !offsets.is_empty()).then_some(offsets)
    }

    /// Bytes in a line, as the offsets around it say.
    fn step(&self, index: usize) -> Option<usize> {
        let offsets = self.offsets.as_ref()?;
        Some(offsets.get(index + 1)?.wrapping_sub(offsets[index]) as usize)
    }

    /// The tokens of a line that spell bytes.
    fn data<'t>(&self, line: Line<'t>, index: usize) -> impl Iterator<Item = Token<'t>> + use<'t> {
        let mut tokens = line.tokens().skip(usize::from(self.offsets.is_some()));
        let (count, ascii) = (self.step(index), self.ascii);
        let (mut bytes, mut width, mut is_done) = (0, None, false);
        std::iter::from_fn(move || {
            if is_done {
                return None;
            }
            let token = tokens.next()?;
            let is_first = width.is_none();
            let width = *width.get_or_insert(token.text.len());
            match count {
                Some(count) => is_done = bytes + token.text.len() / 2 >= count,
                None => {
                    // The last line, or one without offsets: a column apart whose first token is not a group of digits, or
                    // has as many characters as there are bytes before it and is not a group like those, is ASCII.
                    let like_ascii = !is_hex(token.text) || token.text.len() == bytes && token.text.len() != width;
                    if ascii.is_some_and(|ascii| token.column >= ascii) || !is_first && token.apart && like_ascii {
                        is_done = true;
                        return None;
                    }
                }
            }
            bytes += token.text.len() / 2;
            Some(token)
        })
    }
}

/// Digits, with or without a prefix.
fn is_hex(text: &str) -> bool {
    let digits = ["0x", "0X", "\\x", "$"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let digits = digits.strip_suffix(['h', 'H']).unwrap_or(digits);
    !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::parse;

    const BYTES: [u8; 20] =
        [0x02, 0x82, 0x02, 0x82, 0x41, 0x42, 0x43, 0x44, 0x00, 0xff, 0x7c, 0x20, 0x30, 0x31, 0xab, 0xcd, 1, 2, 3, 4];

    #[track_caller]
    fn check(text: &str) {
        assert_eq!(parse(text).map(|spelled| spelled.bytes), Ok(BYTES.to_vec()), "{text}");
    }

    #[test]
    fn plain_digits_in_any_spacing() {
        check("028202824142434400ff7c203031abcd01020304");
        check("0x028202824142434400FF7C203031ABCD01020304");
        check("02 82 02 82 41 42 43 44 00 ff 7c 20 30 31 ab cd 01 02 03 04\n");
        check("0282 0282 4142 4344\r\n00ff 7c20 3031 abcd\r\n\r\n0102 0304\r\n");
        check("02-82-02-82-41-42-43-44-00-FF-7C-20-30-31-AB-CD-01-02-03-04");
        check("{ 0x2, 0x82, 0x02, 0x82,\n  0x41, 0x42, 0x43, 0x44, 0x0, 0xff, 0x7c, 0x20,\n 0x30, 0x31, 0xab, 0xcd, 1,2, 3, 4 };"
            .replace(" 1,2, 3, 4", " 0x1,0x2, 0x3, 0x4").as_str());
        check(
            "\"\\x02 \\x82 \\x02 \\x82\" \\x41 \\x42 \\x43 \\x44 \\x00 \\xff \\x7c \\x20 \\x30 \\x31 \\xab \\xcd \\x01 \\x02 \\x03 \\x04",
        );
        check("02h 82h 02h 82h 41h 42h 43h 44h 00h ffh 7ch 20h 30h 31h abh cdh 01h 02h 03h 04h");
        // Broken in the middle of a byte, as a narrow window wraps.
        check("0282028241424\n34400ff7c20303\n1abcd010203 0 4");
    }

    #[test]
    fn dumps_with_offsets_and_ascii() {
        // hexdump -C
        check(
            "00000000  02 82 02 82 41 42 43 44  00 ff 7c 20 30 31 ab cd  |....ABCD..| 01..|\n00000010  01 02 03 04                                       |....|\n",
        );
        // xxd
        check(
            "00000000: 0282 0282 4142 4344 00ff 7c20 3031 abcd  ....ABCD..| 01..\n00000010: 0102 0304                                ....\n",
        );
        // A debugger's db, at an address.
        check(
            "fffff803`12345670  02 82 02 82 41 42 43 44-00 ff 7c 20 30 31 ab cd  ....ABCD..| 01..\nfffff803`12345680  01 02 03 04                                      ....",
        );
        // Offsets alone.
        check("0000 02 82 02 82 41 42 43 44\n0008 00 ff 7c 20 30 31 ab cd\n0010 01 02 03 04");
        check("0x0000: 02 82 02 82 41 42 43 44 00 ff 7c 20 30 31 ab cd\n0x0010: 01 02 03 04");
        // ASCII that could be digits: the offsets and the columns decide.
        check(
            "0000: 02 82 02 82 41 42 43 44  abcdabcd\n0008: 00 ff 7c 20 30 31 ab cd  12 34 56\n0010: 01 02 03 04              beef\n",
        );
    }

    #[test]
    fn ascii_without_offsets() {
        check("02 82 02 82 41 42 43 44 00 ff  ....ABCD..\n7c 20 30 31 ab cd 01 02 03 04  | 01......\n");
        let bytes = |text| parse(text).unwrap().bytes;
        assert_eq!(bytes("61 62 63 64  abcd"), *b"abcd");
        assert_eq!(bytes("00000010  01 02 03 04  ...."), [1, 2, 3, 4]);
        assert_eq!(bytes("10: 01 02 03 04  beef"), [1, 2, 3, 4]);
        assert_eq!(bytes("01 02 03 04  05 06 07 08"), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes(""), [0u8; 0]);
    }

    #[test]
    fn what_is_no_hex_is_shown_with_its_place() {
        let message = |text| parse(text).unwrap_err().to_string().split(';').next().unwrap().to_owned();
        assert_eq!(message("02 82\n02 8g 02"), "line 2, column 5: found \"g\"");
        assert_eq!(message("<event/>"), "line 1, column 1: found \"<\"");
        assert_eq!(message("02 82 0"), "line 1, column 7: the last byte has one digit");
    }

    #[test]
    fn words_can_be_turned_round() {
        assert_eq!(parse("8202 8202").unwrap().as_words(), Some(vec![2, 0x82, 2, 0x82]));
        assert_eq!(parse("82028202 82028202").unwrap().as_words(), Some([2, 0x82].repeat(4)));
        assert_eq!(parse("02 82 02").unwrap().as_words(), None);
        assert_eq!(parse("0282 02").unwrap().as_words(), None);
    }
}
