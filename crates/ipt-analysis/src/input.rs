//! Intel PT data from the forms that people have it in: an ETW event's payload, hexadecimal text, raw bytes, the records
//! of ipt.sys. What comes out is bytes in the order in which they were written, and how that order was found.

use std::borrow::Cow;

use intel_pt::{Packet, Packets, Reason, ring, sync_forward};

use crate::hex;

pub use crate::hex::HexError;

/// Intel PT data in the order in which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IptData<'a> {
    /// The packets; borrowed when nothing had to be moved.
    pub bytes: Cow<'a, [u8]>,
    /// Where they are from and what was done to them.
    pub origin: Origin,
}

/// Facts about where data is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The thread, as an `IPT_TRACE_HEADER` says.
    pub thread: Option<u64>,
    /// The write offset that the source states, if it does.
    pub ring_offset: Option<u32>,
    /// Bytes taken off the front because the driver wrote them, not the processor.
    pub prefix: usize,
    /// The text was read as words: each group of digits in reverse.
    pub words: bool,
    /// What is odd about the source, in full sentences.
    pub remarks: Vec<String>,
}

/// Data saved by hand as hexadecimal text, which may spell packets or an `IPT_TRACE_DATA`. Text in UTF-8 or, with a byte
/// order mark, UTF-16. Viewers that print words are noticed: that order of bytes is taken that reads best as packets.
///
/// # Errors
///
/// When the text is not hexadecimal.
pub fn from_hex(text: &[u8]) -> Result<Vec<IptData<'static>>, HexError> {
    let spelled = hex::parse(&decoded(text))?;
    let as_bytes = from_bytes(&spelled.bytes);
    let as_words = spelled.as_words();
    let turned = as_words.as_deref().map(from_bytes);
    let (found, words) = match turned {
        Some(turned) if damage_of(&turned) < damage_of(&as_bytes) => (turned, true),
        _ => (as_bytes, false),
    };
    Ok(found
        .into_iter()
        .map(|data| IptData { bytes: Cow::Owned(data.bytes.into_owned()), origin: Origin { words, ..data.origin } })
        .collect())
}

/// Data saved by hand as bytes: an `IPT_TRACE_DATA` of ipt.sys with one record per thread, or packets and nothing else.
pub fn from_bytes(bytes: &[u8]) -> Vec<IptData<'_>> {
    trace_data(bytes).unwrap_or_else(|| vec![IptData { bytes: bytes.into(), origin: Origin::default() }])
}

/// Data of one ETW snapshot: the payloads of its events in order (after their fixed part), the write offset that the
/// first one states, and the driver's prefix if [`learn_prefix`] found one.
///
/// Payloads are joined when packets run on from one into the next; otherwise each comes out on its own.
pub fn from_events<'a>(pieces: &[&'a [u8]], ring_offset: u32, prefix: Option<usize>) -> Vec<IptData<'a>> {
    let prefix = prefix.unwrap_or(0);
    if let [only] = pieces {
        return from_event(only, ring_offset, prefix);
    }
    let mut joined = Vec::new();
    let mut joints = Vec::new();
    for piece in pieces {
        joints.push(joined.len());
        joined.extend_from_slice(piece.get(prefix..).unwrap_or_default());
    }
    let (bytes, rotated) = in_order(Cow::Owned(joined), ring_offset as usize);
    // Where the joints lie after the rotation.
    let (len, turn) = (bytes.len(), if rotated { ring_offset as usize } else { 0 });
    let joints: Vec<usize> = joints.iter().skip(1).map(|joint| (joint + len - turn) % len.max(1)).collect();
    let gaps = Packets::new(&bytes).filter_map(Result::err);
    let torn = gaps.filter(|gap| gap.reason() != Reason::BeforeSync).any(|gap| {
        // The packet that a joint tears begins at most 16 bytes before it.
        joints.iter().any(|joint| gap.offset() < joint + 16 && *joint <= gap.resume())
    });
    if torn {
        return pieces.iter().flat_map(|piece| from_event(piece, ring_offset, prefix)).collect();
    }
    let origin = Origin { ring_offset: Some(ring_offset), prefix, ..Origin::default() };
    vec![IptData { bytes, origin }]
}

/// The length of what the driver writes before the packets, learned from the payloads of one trace: snapshots begin in
/// mid-stream, so their first PSBs lie at all distances from the start. When nearly all lie at the same one, what is
/// before it is not part of the stream.
pub fn learn_prefix<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Option<usize> {
    /// Longer headers are not believed.
    const MOST: usize = 256;
    /// Fewer payloads prove nothing.
    const LEAST: usize = 4;
    let mut counts = std::collections::BTreeMap::new();
    let mut all = 0;
    for payload in payloads {
        // A PSB far away or absent is as good as none at the distance in question.
        if let Some(psb) = sync_forward(&payload[..payload.len().min(MOST + 16)], 0) {
            *counts.entry(psb).or_insert(0) += 1;
        }
        all += 1;
    }
    let (&psb, &count) = counts.iter().max_by_key(|(_, count)| **count)?;
    (all >= LEAST && count * 10 >= all * 9 && psb > 0).then_some(psb)
}

fn from_event(piece: &[u8], ring_offset: u32, prefix: usize) -> Vec<IptData<'_>> {
    if let Some(mut records) = trace_data(piece) {
        for record in &mut records {
            record.origin.remarks.push("The event holds an IPT_TRACE_DATA.".to_owned());
        }
        return records;
    }
    let (bytes, _) = in_order(piece.get(prefix..).unwrap_or_default().into(), ring_offset as usize);
    let origin = Origin { ring_offset: Some(ring_offset), prefix, ..Origin::default() };
    vec![IptData { bytes, origin }]
}

/// `IPT_TRACE_DATA { u16 TraceVersion, u16 ValidTrace, u32 TraceSize }` and its `IPT_TRACE_HEADER`s (winipt's libipt.h,
/// packed to 4 bytes). Nothing when the bytes are something else.
fn trace_data(bytes: &[u8]) -> Option<Vec<IptData<'_>>> {
    const VERSION: u16 = 1;
    const VALID: u16 = 1;
    let u32_at = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let declared = u32_at(head, 4)?;
    // PSBs would begin 02 82, so these two fields distinguish records from packets.
    if [u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]])] != [VERSION, VALID] {
        return None;
    }
    let mut records = Vec::new();
    let mut rest = &rest[..rest.len().min(declared as usize)];
    let mut remark = (rest.len() < declared as usize)
        .then(|| format!("IPT_TRACE_DATA declares {declared} bytes, {} are there.", rest.len()));
    while let Some((header, body)) = rest.split_first_chunk::<28>() {
        let thread = u64::from_le_bytes(*header.first_chunk()?);
        let field = |at: usize| u32_at(header, at);
        let (ring_offset, size) = (field(20)?, field(24)? as usize);
        let (trace, after) = body.split_at_checked(size).unwrap_or((body, &[]));
        let mut remarks: Vec<String> = remark.take().into_iter().collect();
        if trace.len() < size {
            remarks.push(format!("The record of thread {thread} has {size} bytes, {} are there.", trace.len()));
        }
        if ring_offset as usize > size {
            remarks.push(format!("RingBufferOffset {ring_offset} lies outside of the {size} bytes of the record."));
        }
        let (bytes, _) = in_order(trace.into(), ring_offset as usize);
        let (thread, ring_offset) = (Some(thread), Some(ring_offset));
        let origin = Origin { thread, ring_offset, remarks, ..Origin::default() };
        records.push(IptData { bytes, origin });
        rest = after;
    }
    if let Some(last) = records.last_mut().filter(|_| !rest.is_empty()) {
        last.origin.remarks.push(format!("{} bytes after the last record are not a record.", rest.len()));
    }
    (!records.is_empty()).then_some(records)
}

/// The bytes rotated at `offset`, or as they are, whichever reads better as packets; rotated when both read alike. The
/// flag says whether they are rotated.
fn in_order(bytes: Cow<'_, [u8]>, offset: usize) -> (Cow<'_, [u8]>, bool) {
    if offset == 0 || offset >= bytes.len() {
        return (bytes, false);
    }
    let Some((older, newer)) = ring::parts(&bytes, offset) else { return (bytes, false) };
    let rotated = [older, newer].concat();
    if damage(&rotated) <= damage(&bytes) { (Cow::Owned(rotated), true) } else { (bytes, false) }
}

/// How badly bytes read as packets, worst thing first: no PSB; time stamps that run backwards; bytes that are not packets.
///
/// The time stamps decide where the processor wrote any: a tear alone often reads without an error, since most packets
/// are single bytes. Bytes before the first PSB are not damage, because a snapshot begins in mid-stream, nor is a last
/// packet that is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Damage {
    no_psb: bool,
    time_runs_back: usize,
    gap_bytes: usize,
}

fn damage(bytes: &[u8]) -> Damage {
    let mut found = Damage { no_psb: true, ..Damage::default() };
    let mut time = 0;
    for item in Packets::new(bytes) {
        match item {
            Ok((_, Packet::Psb)) => found.no_psb = false,
            Ok((_, Packet::Tsc(tsc))) => {
                found.time_runs_back += usize::from(tsc < time);
                time = tsc;
            }
            Ok(_) => {}
            Err(gap) if matches!(gap.reason(), Reason::BeforeSync | Reason::Truncated { .. }) => {}
            Err(gap) => found.gap_bytes += gap.skipped(),
        }
    }
    found
}

/// The damage of several. A thread that did nothing has no bytes, which is not damage.
fn damage_of(data: &[IptData<'_>]) -> Damage {
    data.iter().filter(|data| !data.bytes.is_empty()).map(|data| damage(&data.bytes)).fold(
        Damage::default(),
        |sum, one| Damage {
            no_psb: sum.no_psb | one.no_psb,
            time_runs_back: sum.time_runs_back + one.time_runs_back,
            gap_bytes: sum.gap_bytes + one.gap_bytes,
        },
    )
}

/// Text as UTF-8, or UTF-16 after a byte order mark. Bytes that are neither become replacement characters, which are no
/// digits.
fn decoded(text: &[u8]) -> Cow<'_, str> {
    let wide = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = text[2..].as_chunks().0.iter().map(|unit| from(*unit)).collect();
        Cow::Owned(String::from_utf16_lossy(&units))
    };
    match text {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        _ => String::from_utf8_lossy(text),
    }
}

#[cfg(test)]
mod tests;
