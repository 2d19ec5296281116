//! Plain XPRESS, compressed (MS-XCA 2.3). The format is drawn beside the decoder, in `compress::xpress`.
//!
//! Greedy, with one remembered place for each hash of three bytes: a buffer of events is mostly repeated headers, which
//! this finds, and a search for longer matches would gain a few per cent for several times the time.

/// How far back a match may reach.
const WINDOW: usize = 8192;
/// Log of the number of remembered places.
const HASH_BITS: u32 = 13;
/// The shortest match.
const SHORTEST: usize = 3;

/// Compresses `data`, which must not be 4 GiB or longer, to the end of `out`.
pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) {
    let mut places = vec![0u32; 1 << HASH_BITS];
    let mut encoder = Encoder::new(out);
    let mut at = 0;
    while let Some(&[a, b, c]) = data.get(at..at + SHORTEST) {
        let place = &mut places[hash(a, b, c)];
        // Places are counted from 1, so that 0 can stand for no place.
        let earlier = (*place as usize).checked_sub(1).filter(|earlier| at - earlier <= WINDOW);
        *place = at as u32 + 1;
        let length = earlier.map_or(0, |earlier| common_length(data, earlier, at));
        match earlier {
            Some(earlier) if length >= SHORTEST => {
                encoder.repeat(at - earlier, length);
                // A few places inside the match are remembered, so that the next one can begin there.
                for inside in (at + 1..at + length.min(16)).step_by(2) {
                    if let Some(&[a, b, c]) = data.get(inside..inside + SHORTEST) {
                        places[hash(a, b, c)] = inside as u32 + 1;
                    }
                }
                at += length;
            }
            _ => {
                encoder.literal(a);
                at += 1;
            }
        }
    }
    data[at..].iter().for_each(|&byte| encoder.literal(byte));
    encoder.finish();
}

fn hash(a: u8, b: u8, c: u8) -> usize {
    let word = u32::from_le_bytes([a, b, c, 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// How many bytes from `earlier` on are those from `at` on.
fn common_length(data: &[u8], earlier: usize, at: usize) -> usize {
    let (words, mut length) = (data.len() - at, 0);
    while length + 8 <= words {
        let word = |from: usize| -> [u8; 8] { data[from..from + 8].try_into().expect("the range has 8 bytes") };
        let differs = u64::from_le_bytes(word(earlier + length)) ^ u64::from_le_bytes(word(at + length));
        if differs != 0 {
            return length + (differs.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + (length..words).take_while(|&i| data[earlier + i] == data[at + i]).count()
}

/// Where encoding stands.
struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// Flags of this group, most significant bit first, and how many there are.
    flags: u32,
    count: u32,
    /// Where this group's flags go.
    flags_at: usize,
    /// The byte whose high nibble is free.
    nibble_at: Option<usize>,
}

impl<'o> Encoder<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let flags_at = out.len();
        out.extend([0; 4]);
        Self { out, flags: 0, count: 0, flags_at, nibble_at: None }
    }

    /// Notes what was written last. The flags of the next group are reserved as soon as a group is full, as the
    /// specification has it: a decoder may look at them to see that the data ends.
    fn flag(&mut self, is_match: bool) {
        self.flags = self.flags << 1 | u32::from(is_match);
        self.count += 1;
        if self.count == 32 {
            self.write_flags(self.flags);
            (self.flags, self.count, self.flags_at) = (0, 0, self.out.len());
            self.out.extend([0; 4]);
        }
    }

    fn write_flags(&mut self, flags: u32) {
        self.out[self.flags_at..self.flags_at + 4].copy_from_slice(&flags.to_le_bytes());
    }

    fn literal(&mut self, byte: u8) {
        self.out.push(byte);
        self.flag(false);
    }

    fn repeat(&mut self, distance: usize, length: usize) {
        let length = length - SHORTEST;
        self.out.extend((((distance - 1) << 3 | length.min(7)) as u16).to_le_bytes());
        if length >= 7 {
            let nibble = (length - 7).min(15) as u8;
            match self.nibble_at.take() {
                Some(at) => self.out[at] |= nibble << 4,
                None => {
                    self.nibble_at = Some(self.out.len());
                    self.out.push(nibble);
                }
            }
            if nibble == 15 {
                self.long_length(length);
            }
        }
        self.flag(true);
    }

    fn long_length(&mut self, length: usize) {
        match u8::try_from(length - 22) {
            Ok(byte) if byte < 255 => self.out.push(byte),
            _ => {
                self.out.push(255);
                match u16::try_from(length) {
                    Ok(short) => self.out.extend(short.to_le_bytes()),
                    Err(_) => {
                        self.out.extend([0; 2]);
                        self.out.extend((length as u32).to_le_bytes());
                    }
                }
            }
        }
    }

    /// Bits that stand for nothing are ones.
    fn finish(mut self) {
        let unused = 32 - self.count;
        let ones = if unused == 32 { u32::MAX } else { (1 << unused) - 1 };
        let flags = self.flags.checked_shl(unused).unwrap_or(0) | ones;
        self.write_flags(flags);
    }
}

#[cfg(test)]
mod tests {
    use super::compress;

    #[test]
    fn the_examples_of_the_specification_come_out_as_printed() {
        let check = |data: &[u8], expected: &[u8]| {
            let mut out = Vec::new();
            compress(data, &mut out);
            assert_eq!(out, expected);
        };
        // MS-XCA 3.1 and 3.2.
        check(b"abcdefghijklmnopqrstuvwxyz", b"\x3f\0\0\0abcdefghijklmnopqrstuvwxyz");
        check(&b"abc".repeat(100), b"\xff\xff\xff\x1fabc\x17\x00\x0f\xff\x26\x01");
    }

    /// One literal and a match of each length at distance 1: the shortest form that holds the length (MS-XCA 2.4.4).
    #[test]
    fn a_length_takes_the_shortest_of_its_forms() {
        let check = |length: usize, code: u8, rest: &[u8]| {
            let mut out = Vec::new();
            compress(&vec![b'a'; length + 1], &mut out);
            let expected = [&[0xff, 0xff, 0xff, 0x7f, b'a', code, 0][..], rest].concat();
            assert_eq!(out, expected, "{length}");
        };
        check(3, 0, &[]);
        check(9, 6, &[]);
        check(10, 7, &[0]);
        check(24, 7, &[14]);
        check(25, 7, &[15, 0]);
        check(279, 7, &[15, 254]);
        check(280, 7, &[15, 255, 0x15, 0x01]);
        check(0x1_0002, 7, &[15, 255, 0xff, 0xff]);
        check(0x1_0003, 7, &[15, 255, 0, 0, 0x00, 0x00, 0x01, 0x00]);
    }

    /// Two matches share a byte for their nibbles, the second one the high half.
    #[test]
    fn nibbles_share_bytes() {
        let mut out = Vec::new();
        compress(b"aaaaaaaaaaaaabbbbbbbbbbbbbbbbcccccccccccc", &mut out);
        // 13, 16 and 12 times a letter: matches of 12, 15 and 11.
        assert_eq!(out, b"\xff\xff\xff\x57a\x07\x00\x52b\x07\x00c\x07\x00\x01");
    }
}
