//! Decompression of buffer bodies (MS-XCA for XPRESS, MS-XCA and [MS-XCA] 2.5 for LZNT1).
//!
//! Every decoder fills exactly the number of bytes that its caller expects, so memory is bounded by what the buffer
//! header declares, which [`Buffer`](crate::Buffer) bounds in turn.

pub(crate) mod huffman;
pub(crate) mod lznt1;
pub(crate) mod xpress;

use std::fmt;

/// The compression format of a file's compressed buffers (COMPRESSION_FORMAT_* of ntifs.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CompressionFormat(pub u16);

impl CompressionFormat {
    /// Not compressed.
    pub const NONE: Self = Self(0);
    /// LZNT1.
    pub const LZNT1: Self = Self(2);
    /// Plain XPRESS: LZ77 without entropy coding.
    pub const XPRESS: Self = Self(3);
    /// XPRESS with Huffman coding.
    pub const XPRESS_HUFFMAN: Self = Self(4);
}

impl fmt::Display for CompressionFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::LZNT1 => f.write_str("LZNT1"),
            Self::XPRESS => f.write_str("XPRESS"),
            Self::XPRESS_HUFFMAN => f.write_str("XPRESS Huffman"),
            Self(other) => write!(f, "format {other}"),
        }
    }
}

/// Bytes after the expected output that decoders may overwrite, so that copies can go in whole words.
pub(crate) const SLACK: usize = 64;

/// Fills the first bytes of an output that is [`SLACK`] longer: input, output, how many bytes. Answers how many bytes of
/// the input it took.
type Decoder = fn(&[u8], &mut [u8], usize) -> Result<usize, Fault>;

/// Why a stream could not be decompressed.
pub(crate) type Fault = &'static str;

pub(crate) const INPUT_ENDS: Fault = "compressed data ends early";
pub(crate) const BAD_DISTANCE: Fault = "a match reaches before the start of the output";
pub(crate) const BAD_LENGTH: Fault = "a match length is malformed";
pub(crate) const TOO_LONG: Fault = "more data than the buffer header declares";

/// Output space that is reused from buffer to buffer.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// What was decompressed last.
    pub(crate) fn first(&self, count: usize) -> &[u8] {
        self.0.get(..count).unwrap_or_default()
    }
}

/// Decompresses `input` to exactly `expected` bytes.
///
/// The body of a buffer, when it is compressed, is one such stream; this is the layer below
/// [`Buffer::events`](crate::Buffer::events), for data from elsewhere. Errors are sentences.
pub fn decompress<'s>(
    format: CompressionFormat,
    input: &[u8],
    expected: usize,
    scratch: &'s mut Scratch,
) -> Result<&'s [u8], &'static str> {
    fill(format, input, expected, scratch)?;
    Ok(&scratch.0[..expected])
}

/// As [`decompress`], but answers how many bytes of the input it took.
pub(crate) fn fill(
    format: CompressionFormat,
    input: &[u8],
    expected: usize,
    scratch: &mut Scratch,
) -> Result<usize, Fault> {
    let decode: Decoder = match format {
        CompressionFormat::XPRESS => xpress::decompress,
        CompressionFormat::XPRESS_HUFFMAN => huffman::decompress,
        CompressionFormat::LZNT1 => lznt1::decompress,
        _ => return Err("compression format unknown"),
    };
    let out = &mut scratch.0;
    // It only grows: what an earlier buffer left there is overwritten or never looked at.
    if out.len() < expected + SLACK {
        out.resize(expected + SLACK, 0);
    }
    decode(input, &mut out[..expected + SLACK], expected)
}

/// Copies `length` bytes from `distance` before `at` to `at`, where the two may overlap: then the pattern repeats.
/// `distance` is in `1..=at` and `at + length + SLACK <= out.len()`; bytes after the copy may be overwritten.
#[inline(always)]
pub(crate) fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) {
    if distance < 8 {
        return copy_overlapping(out, at, distance, length);
    }
    // Most matches are short: two words are copied without asking. The second may read what the first has written.
    copy::<8>(out, at - distance, at);
    copy::<8>(out, at - distance + 8, at + 8);
    let mut done = 16;
    while done < length {
        copy::<8>(out, at - distance + done, at + done);
        copy::<8>(out, at - distance + done + 8, at + done + 8);
        done += 16;
    }
}

/// The rarer case of [`copy_match`]: the source is less than a word before the target.
#[inline]
fn copy_overlapping(out: &mut [u8], at: usize, distance: usize, length: usize) {
    if distance == 1 {
        let value = out[at - 1];
        out[at..at + 16].fill(value);
        if length > 16 {
            out[at + 16..at + length].fill(value);
        }
        return;
    }
    // The shortest repetition of the pattern that is a word or more; from there on, words repeat it.
    let stride = distance * 8usize.div_ceil(distance);
    for index in at..at + stride {
        out[index] = out[index - distance];
    }
    let mut done = stride;
    while done < length {
        copy::<8>(out, at + done - stride, at + done);
        done += 8;
    }
}

/// Copies `N` bytes at once.
#[inline(always)]
fn copy<const N: usize>(out: &mut [u8], from: usize, to: usize) {
    let word: [u8; N] = out[from..from + N].try_into().expect("the range has N bytes");
    out[to..to + N].copy_from_slice(&word);
}
