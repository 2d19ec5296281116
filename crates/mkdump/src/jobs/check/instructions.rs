//! Where instructions start: what makes a `CC` in code a breakpoint.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use pe_image::{MappedImage, PeFile, Rva};

/// The longest instruction.
const LONGEST: usize = 15;
/// Bytes decoded from one place: no function of a kernel module is longer.
const FARTHEST: u32 = 0x10_0000;
const CHUNK: usize = 0x1000;

/// Instruction starts in an image whose file is known, asked for in ascending order: every byte is decoded once.
///
/// Functions are taken from the exception directory. Code outside it is decoded from the end of the function in front or from the section's start; between functions there are
/// one-byte `CC`s, with which a decoder is in step again at the next function.
#[derive(Debug)]
pub(super) struct Starts {
    /// Where decoding may begin, ascending.
    anchors: Vec<u32>,
    bitness: u32,
    /// The start that was reached last.
    at: u32,
    bytes: Vec<u8>,
    /// RVA of the first of `bytes`.
    from: u32,
}

impl Starts {
    pub(super) fn new(file: &PeFile<'_>) -> Self {
        let headers = file.headers();
        let mut anchors: Vec<u32> = headers.sections.iter().map(|section| section.rva.0).collect();
        let functions = file.runtime_functions().unwrap_or_default();
        anchors.extend(functions.iter().flat_map(|function| [function.begin.0, function.end.0]));
        anchors.sort_unstable();
        anchors.dedup();
        let bitness = if headers.is_64 { 64 } else { 32 };
        Self { anchors, bitness, at: 0, bytes: Vec::new(), from: 0 }
    }

    /// True when an instruction of the image starts at `rva`.
    pub(super) fn is_start(&mut self, image: &MappedImage<'_>, rva: u32) -> bool {
        let before = self.anchors.partition_point(|&anchor| anchor <= rva).checked_sub(1);
        let Some(anchor) = before.map(|index| self.anchors[index].max(rva.saturating_sub(FARTHEST))) else {
            return false;
        };
        // Decoding continues, unless a better place to begin has come since, or it went too far.
        if self.at < anchor || self.at > rva.saturating_add(LONGEST as u32) {
            self.at = anchor;
        }
        while self.at < rva {
            let length = self.length(image);
            self.at = self.at.saturating_add(length);
        }
        self.at == rva
    }

    /// The length of the instruction at `self.at`.
    fn length(&mut self, image: &MappedImage<'_>) -> u32 {
        let within = self.at.checked_sub(self.from).map(|at| at as usize);
        let start = match within {
            Some(start) if start + LONGEST <= self.bytes.len() => start,
            _ => {
                self.bytes.resize(CHUNK, 0);
                image.read(Rva(self.at), &mut self.bytes);
                self.from = self.at;
                0
            }
        };
        decode(&self.bytes[start..start + LONGEST], self.bitness)
    }
}

/// The length of the instruction that `bytes` begin with; 1 where there is none.
fn decode(bytes: &[u8], bitness: u32) -> u32 {
    let mut decoder = Decoder::new(bitness, bytes, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    decoder.decode_out(&mut instruction);
    if instruction.is_invalid() { 1 } else { instruction.len() as u32 }
}

/// Bytes before a place that show whether an instruction starts there.
pub(super) const CONTEXT: usize = 48;
/// Decodings that are tried: each begins one byte further on.
const TRIES: usize = 16;

/// Whether an instruction starts at the end of `before`, decided from the bytes alone. Decoding x86 code from any byte
/// gets in step after a few instructions; so of decodings that begin at 16 neighbouring bytes three quarters must agree.
/// False when there are fewer bytes than that takes.
pub(super) fn likely_start(before: &[u8], after: &[u8], bitness: u32) -> bool {
    if before.len() < CONTEXT {
        return false;
    }
    let before = &before[before.len() - CONTEXT..];
    let mut bytes = before.to_vec();
    bytes.extend_from_slice(&after[..after.len().min(LONGEST)]);
    bytes.resize(CONTEXT + LONGEST, 0x90);
    let agree = (0..TRIES).filter(|&first| {
        let mut at = first;
        while at < CONTEXT {
            at += decode(&bytes[at..(at + LONGEST).min(bytes.len())], bitness) as usize;
        }
        at == CONTEXT
    });
    agree.count() * 4 >= TRIES * 3
}
