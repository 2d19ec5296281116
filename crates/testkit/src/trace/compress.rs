//! Encoders for the three compression formats of trace buffers, simple rather than tight (MS-XCA).

use std::collections::HashMap;

/// How a trace's buffers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZNT1, format 2.
    Lznt1,
    /// Plain XPRESS, format 3.
    Xpress,
    /// XPRESS with Huffman coding, format 4.
    XpressHuffman,
}

impl Compression {
    /// COMPRESSION_FORMAT_*; general logging where nothing is compressed.
    pub(super) fn format(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Lznt1 => 2,
            Self::Xpress => 3,
            Self::XpressHuffman => 4,
        }
    }

    /// Compresses a buffer's body.
    pub fn compress(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::None => data.to_vec(),
            Self::Lznt1 => lznt1(data),
            Self::Xpress => xpress(data),
            Self::XpressHuffman => xpress_huffman(data),
        }
    }
}

/// A piece of the input.
#[derive(Clone, Copy)]
enum Token {
    Literal(u8),
    Match { distance: usize, length: usize },
}

/// Cuts the input into literals and matches: always takes the most recent occurrence of the next three bytes.
fn tokens(data: &[u8], window: usize, longest: usize) -> Vec<Token> {
    let mut recent: HashMap<[u8; 3], usize> = HashMap::new();
    let mut out = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let next = data.get(at..at + 3).map(|bytes| [bytes[0], bytes[1], bytes[2]]);
        let earlier = next.and_then(|next| recent.get(&next)).filter(|&&earlier| at - earlier <= window);
        let token = match earlier {
            Some(&earlier) => {
                let length = (0..data.len() - at).take_while(|i| data[earlier + i] == data[at + i]).count();
                Token::Match { distance: at - earlier, length: length.min(longest) }
            }
            None => Token::Literal(data[at]),
        };
        let step = match token {
            Token::Literal(_) => 1,
            Token::Match { length, .. } => length,
        };
        for position in at..at + step {
            if let Some(bytes) = data.get(position..position + 3) {
                recent.insert([bytes[0], bytes[1], bytes[2]], position);
            }
        }
        out.push(token);
        at += step;
    }
    out
}

/// Plain XPRESS.
pub fn xpress(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut nibble_at: Option<usize> = None;
    for group in tokens(data, 8192, usize::MAX).chunks(32) {
        // Bits that stand for nothing at the end are ones.
        let mut flags = u32::MAX;
        let flags_at = out.len();
        out.extend([0; 4]);
        for (bit, token) in group.iter().enumerate() {
            let Token::Match { distance, length } = *token else {
                let Token::Literal(byte) = *token else { unreachable!("a token is one of two") };
                flags &= !(1 << (31 - bit));
                out.push(byte);
                continue;
            };
            let length = length - 3;
            out.extend(((((distance - 1) << 3) | length.min(7)) as u16).to_le_bytes());
            if length < 7 {
                continue;
            }
            let nibble = (length - 7).min(15) as u8;
            match nibble_at.take() {
                Some(at) => out[at] |= nibble << 4,
                None => {
                    nibble_at = Some(out.len());
                    out.push(nibble);
                }
            }
            if nibble < 15 {
                continue;
            }
            if length - 22 < 255 {
                out.push((length - 22) as u8);
            } else {
                out.push(255);
                match u16::try_from(length) {
                    Ok(short) => out.extend(short.to_le_bytes()),
                    Err(_) => {
                        out.extend([0; 2]);
                        out.extend((length as u32).to_le_bytes());
                    }
                }
            }
        }
        out[flags_at..flags_at + 4].copy_from_slice(&flags.to_le_bytes());
    }
    if data.is_empty() {
        out.extend([0xff; 4]);
    }
    out
}

/// LZNT1. Chunks that do not shrink are stored.
pub fn lznt1(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in data.chunks(4096) {
        let mut packed = Vec::new();
        let mut written: usize = 0;
        // The shortest limit on length holds at the end of a chunk: 18 bytes.
        for group in tokens(chunk, 4096, 18).chunks(8) {
            let flags_at = packed.len();
            packed.push(0);
            for (bit, token) in group.iter().enumerate() {
                match *token {
                    Token::Literal(byte) => {
                        packed.push(byte);
                        written += 1;
                    }
                    Token::Match { distance, length } => {
                        packed[flags_at] |= 1 << bit;
                        let mut length_bits = 12;
                        while written > 16 << (12 - length_bits) {
                            length_bits -= 1;
                        }
                        packed.extend((((distance - 1) << length_bits | (length - 3)) as u16).to_le_bytes());
                        written += length;
                    }
                }
            }
        }
        let (kind, body) = if packed.len() < chunk.len() { (0xb000, &packed[..]) } else { (0x3000, chunk) };
        out.extend((kind | (body.len() - 1) as u16).to_le_bytes());
        out.extend(body);
    }
    out
}

/// XPRESS with Huffman coding. The code lengths are always the same few, dealt to symbols by how frequent they are.
pub fn xpress_huffman(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Blocks end with the token that reaches 65,536 bytes.
    let mut rest = &tokens(data, 65_535, 65_538)[..];
    while !rest.is_empty() {
        let mut size = 0;
        let count = rest.iter().take_while(|token| {
            let more = size < 65_536;
            size += match token {
                Token::Literal(_) => 1,
                Token::Match { length, .. } => *length,
            };
            more
        });
        let (block, next) = rest.split_at(count.count());
        huffman_block(block, &mut out);
        rest = next;
    }
    out
}

/// The symbol of a token, and for a match its distance bits.
fn symbol(token: Token) -> (usize, u32, usize) {
    match token {
        Token::Literal(byte) => (byte.into(), 0, 0),
        Token::Match { distance, length } => {
            let bits = distance.ilog2();
            (256 + 16 * bits as usize + (length - 3).min(15), bits, distance - (1 << bits))
        }
    }
}

fn huffman_block(block: &[Token], out: &mut Vec<u8>) {
    let mut count = [0usize; 512];
    block.iter().for_each(|&token| count[symbol(token).0] += 1);
    let mut by_count: Vec<usize> = (0..512).collect();
    by_count.sort_by_key(|&symbol| std::cmp::Reverse(count[symbol]));
    // 1/4 + 2/8 + 8/32 + 11/1024 + 490/2048 = 1: a full code of 1 + 2 + 8 + 11 + 490 symbols.
    let mut lengths = [11u32; 512];
    for (rank, &symbol) in by_count.iter().enumerate() {
        lengths[symbol] = match rank {
            0 => 2,
            1..=2 => 3,
            3..=10 => 5,
            11..=21 => 10,
            _ => 11,
        };
    }
    out.extend(lengths.chunks(2).map(|pair| (pair[0] | pair[1] << 4) as u8));
    // Canonical: codes count up, by length and then by symbol.
    let mut codes = [0u32; 512];
    let mut code = 0;
    for length in 1..=15 {
        for symbol in (0..512).filter(|&symbol| lengths[symbol] == length) {
            codes[symbol] = code;
            code += 1;
        }
        code <<= 1;
    }

    let mut bits = BitWriter::new(out);
    for &token in block {
        let (symbol, distance_bits, distance) = symbol(token);
        bits.put(codes[symbol], lengths[symbol]);
        if let Token::Match { length, .. } = token
            && length - 3 >= 15
        {
            let over = length - 3 - 15;
            if over < 255 {
                bits.out.push(over as u8);
            } else {
                bits.out.push(255);
                bits.out.extend(((length - 3) as u16).to_le_bytes());
            }
        }
        bits.put(distance as u32, distance_bits);
    }
    bits.finish();
}

/// Writes bits into 16-bit words whose places are taken when a decoder would fetch them: two at the start, and another
/// each time more than 16 bits beyond the last fetch are used up. Whole bytes go in between.
struct BitWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Places of the words that are not full, oldest first.
    places: std::collections::VecDeque<usize>,
    word: u32,
    used: u32,
    /// The decoder's count of bits at hand beyond 16.
    extra: i32,
}

impl<'o> BitWriter<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend([0; 4]);
        Self { out, places: [start, start + 2].into(), word: 0, used: 0, extra: 16 }
    }

    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.word = self.word << 1 | value >> bit & 1;
            self.used += 1;
            if self.used == 16 {
                let place = self.places.pop_front().expect("a decoder fetches words before it needs them");
                self.out[place..place + 2].copy_from_slice(&(self.word as u16).to_le_bytes());
                (self.word, self.used) = (0, 0);
            }
        }
        self.extra -= count as i32;
        if self.extra < 0 {
            self.places.push_back(self.out.len());
            self.out.extend([0; 2]);
            self.extra += 16;
        }
    }

    fn finish(mut self) {
        if self.used > 0 {
            let place = self.places.pop_front().expect("a decoder fetches words before it needs them");
            let word = (self.word << (16 - self.used)) as u16;
            self.out[place..place + 2].copy_from_slice(&word.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_comes_out_as_printed() {
        // MS-XCA 3.1: "abcdefghijklmnopqrstuvwxyz" in plain LZ77 is 26 literals behind one flag word.
        let packed = xpress(b"abcdefghijklmnopqrstuvwxyz");
        assert_eq!(packed[..4], [0x3f, 0, 0, 0]);
        assert_eq!(packed[4..], *b"abcdefghijklmnopqrstuvwxyz");
        // And 100 times "abc": three literals and one match of 297 bytes.
        let packed = xpress(&b"abc".repeat(100));
        assert_eq!(packed, [0xff, 0xff, 0xff, 0x1f, 0x61, 0x62, 0x63, 0x17, 0x00, 0x0f, 0xff, 0x26, 0x01]);
    }
}
