//! The dump under inspection, and how the checks read it.

use crate::bytes::Bytes;
use crate::user::{Architecture, Directory, Entry, StreamType};
use crate::validate::report::Findings;
use crate::validate::rules::{self, Rule};

/// A dump under inspection: the state that all checks share.
pub(super) struct Dump<'a, 'f> {
    pub(super) bytes: Bytes<'a>,
    pub(super) directory: Directory<'a>,
    pub(super) findings: &'f mut Findings,
    /// From the SystemInfo stream, once it has been read.
    pub(super) architecture: Option<Architecture>,
}

impl<'a> Dump<'a, '_> {
    /// The entry of a stream that lies inside the file and has at least `least` bytes.
    pub(super) fn stream(&mut self, stream_type: StreamType, least: u32) -> Option<Entry> {
        let entry = self.directory.find(stream_type)?;
        self.bytes.get(entry.offset.into(), entry.size.into())?;
        if entry.size < least {
            self.findings.add(&rules::FORMAT, entry.at, || {
                format!("directory: DataSize of {stream_type:?} is {:#x}, allowed is at least {least:#x}", entry.size)
            });
            return None;
        }
        Some(entry)
    }

    /// The file offsets of the entries of a list that begins with a 32-bit count. Some writers pad the count to 8 bytes,
    /// which shows in the size of the stream and breaks the rule `padding`.
    pub(super) fn list(
        &mut self,
        list: Entry,
        stride: u32,
        structure: &str,
        padding: &'static Rule,
    ) -> Option<impl ExactSizeIterator<Item = u64> + use<>> {
        let at = u64::from(list.offset);
        let count = self.bytes.u32(at, structure).ok()?;
        let padded = u64::from(list.size) == 8 + u64::from(stride) * u64::from(count);
        if padded {
            let message = || format!("{structure}: 4 bytes of padding between the count of {count} and the entries");
            self.findings.add(padding, at + 4, message);
        }
        let table = self.bytes.table(at + if padded { 8 } else { 4 }, count.into(), stride.into(), structure);
        self.findings.take(&rules::FORMAT, table)
    }

    /// `at` is the file offset of the field that holds the address.
    pub(super) fn check_address(&mut self, at: u64, address: u64) {
        if self.architecture.is_some_and(|architecture| !architecture.has_address(address)) {
            let message = || format!("x86 address {address:#x} is not sign-extended");
            self.findings.add(&rules::ADDRESS_EXTENSION, at, message);
        }
    }

    /// The bytes of a `MINIDUMP_STRING`.
    pub(super) fn string(&self, at: u64, structure: &str) -> Result<&'a [u8], crate::Error> {
        let length = self.bytes.u32(at, structure)?;
        // The length field was read, so `at + 4` is inside the file and cannot overflow.
        self.bytes.slice(at + 4, length.into(), structure)
    }
}

/// The first characters of a UTF-16 text, for messages.
pub(super) fn shorten(text: &[u8]) -> String {
    let units = text.chunks_exact(2).take(64).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect()
}
