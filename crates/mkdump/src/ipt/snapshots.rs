//! All IPT data that there is: the trace's own, and what was saved by hand.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use etl_file::{IptOptions, IptSnapshot};
use intel_pt::sync_forward;
use ipt_analysis::input::{IptData, Origin, from_bytes, from_events, from_hex, learn_prefix};
use ipt_analysis::snapshot::{Logged, Snapshot};
use ipt_analysis::touched::Thread;
use ipt_analysis::word28::Piece;
use kernel_snapshot::{FileBytes, FileKind, Reading};

use super::input_error::InputError;

/// IPT data saved by hand, to be used like the trace's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Files of hexadecimal text.
    pub hex: Vec<PathBuf>,
    /// Files of bytes: packets, or what ipt.sys hands out.
    pub bin: Vec<PathBuf>,
}

impl Inputs {
    /// Opens the files.
    ///
    /// # Errors
    /// When one cannot be read or is not hexadecimal.
    pub fn open(&self) -> Result<Saved, InputError> {
        let text = |path: &PathBuf| {
            let data = from_hex(&FileBytes::open(path)?).map_err(|source| InputError::not_hex(path, source))?;
            Ok::<_, InputError>((path.clone(), data))
        };
        Ok(Saved {
            hex: self.hex.iter().map(text).collect::<Result<_, InputError>>()?,
            bin: self.bin.iter().map(|path| packets(path)).collect::<Result<_, InputError>>()?,
        })
    }
}

/// Opens a file of packets. One that is recognised as something else is refused: an empty one, or one without a PSB that
/// begins as files of another kind do.
fn packets(path: &Path) -> Result<FileBytes, InputError> {
    let bytes = FileBytes::open(path)?;
    match FileKind::of_bytes(&bytes[..bytes.len().min(512)]) {
        FileKind::Unknown => Ok(bytes),
        _ if sync_forward(&bytes, 0).is_some() => Ok(bytes),
        kind => Err(InputError::not_ipt(path, kind)),
    }
}

/// IPT data saved by hand, open.
#[derive(Debug, Default)]
pub struct Saved {
    hex: Vec<(PathBuf, Vec<IptData<'static>>)>,
    bin: Vec<FileBytes>,
}

/// The IPT data of a reading (which must have been asked for it) and of files, in this order.
///
/// Takes memory for what must be copied: data split over several events, rings that had to be turned.
pub fn snapshots<'a>(reading: &'a Reading<'_>, saved: &'a Saved) -> Vec<Snapshot<'a>> {
    let payloads = reading.ipt.iter().flat_map(|snapshot| snapshot.pieces.iter().map(|piece| &**piece));
    let prefix = learn_prefix(payloads);
    let mut out = Vec::new();
    for snapshot in &reading.ipt {
        let pieces: Vec<&[u8]> = snapshot.pieces.iter().map(|piece| &**piece).collect();
        let logged = logged(reading, snapshot);
        let data = from_events(&pieces, snapshot.ring_offset, prefix).into_iter();
        out.extend(data.map(|IptData { bytes, origin }| Snapshot {
            bytes,
            origin,
            logged: Some(logged.clone()),
            file: None,
        }));
    }
    for (path, data) in &saved.hex {
        out.extend(data.iter().map(|data| by_hand(path, Cow::Borrowed(&*data.bytes), data.origin.clone())));
    }
    for file in &saved.bin {
        out.extend(from_bytes(file).into_iter().map(|data| by_hand(file.path(), data.bytes, data.origin)));
    }
    out
}

/// For each snapshot as the jobs number them: which of the reading's it is of. It is of the same number unless the data's
/// own framing says that there are several in one.
pub fn numbered(reading: &Reading<'_>) -> Vec<usize> {
    let payloads = reading.ipt.iter().flat_map(|snapshot| snapshot.pieces.iter().map(|piece| &**piece));
    let prefix = learn_prefix(payloads);
    let mut out = Vec::new();
    for (index, snapshot) in reading.ipt.iter().enumerate() {
        let pieces: Vec<&[u8]> = snapshot.pieces.iter().map(|piece| &**piece).collect();
        let count = from_events(&pieces, snapshot.ring_offset, prefix).len();
        out.extend(std::iter::repeat_n(index, count));
    }
    out
}

fn logged(reading: &Reading<'_>, snapshot: &IptSnapshot<'_>) -> Logged {
    Logged {
        time: reading.seconds(snapshot.trigger_time).unwrap_or(0.0),
        processor: snapshot.processor,
        thread: Thread { pid: snapshot.pid, tid: snapshot.tid },
        hook: snapshot.trigger.map(|trigger| trigger.hook.0),
        trigger: snapshot.trigger.and_then(|trigger| trigger.name),
        pieces: pieces(snapshot),
        buffer: IptOptions(snapshot.options).buffer_size(),
        declared: snapshot.declared,
    }
}

/// The pieces of a snapshot, with the words whose meaning they may tell.
pub(crate) fn pieces(snapshot: &IptSnapshot<'_>) -> Vec<Piece> {
    let events = snapshot.events.iter().zip(&snapshot.pieces);
    events
        .map(|(event, piece)| Piece { word: event.word28, declared: event.declared, bytes: piece.len() as u64 })
        .collect()
}

fn by_hand<'a>(path: &Path, bytes: Cow<'a, [u8]>, origin: Origin) -> Snapshot<'a> {
    Snapshot { bytes, origin, logged: None, file: Some(path.to_owned()) }
}
