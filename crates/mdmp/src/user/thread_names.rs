//! ThreadNames (stream 24): `MINIDUMP_THREAD_NAME`, 12 bytes with a 64-bit offset.

use super::streams::{self, Stream, StreamType};
use super::{Thread, string};
use crate::{BlobId, Error, Layout};

/// The names of those threads that have one.
pub(super) struct ThreadNames<'t>(pub(super) &'t [Thread]);

impl ThreadNames<'_> {
    fn named(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().filter_map(|thread| Some((thread.id, thread.name.as_deref()?)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.named().next().is_none()
    }
}

impl<'a> Stream<'a> for ThreadNames<'_> {
    fn stream_type(&self) -> StreamType {
        StreamType::THREAD_NAMES
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let id = layout.reserve();
        let mut list = streams::blob(self.stream_type());
        list.u32(streams::count32("ThreadNames", self.named().count())?);
        for (thread, name) in self.named() {
            let name = string::place(layout, "thread: name", name)?;
            list.u32(thread).rva64(name);
        }
        layout.place(id, list);
        Ok(id)
    }
}
