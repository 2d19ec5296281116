//! HandleData (stream 12), `MINIDUMP_HANDLE_DESCRIPTOR` of 32 bytes.

use super::streams::{self, Stream, StreamType};
use super::string;
use crate::{BlobId, Error, Layout};

/// An open handle of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handle {
    /// The handle's value.
    pub handle: u64,
    /// Type of the object, for example `File`.
    pub type_name: Option<String>,
    /// Name of the object.
    pub object_name: Option<String>,
    /// Attributes of the handle.
    pub attributes: u32,
    /// Access mask.
    pub granted_access: u32,
    /// Handles to the object.
    pub handle_count: u32,
    /// Pointers to the object.
    pub pointer_count: u32,
}

impl<'a> Stream<'a> for [Handle] {
    fn stream_type(&self) -> StreamType {
        StreamType::HANDLE_DATA
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let id = layout.reserve();
        let mut list = streams::blob(self.stream_type());
        list.u32(16).u32(32).u32(streams::count32("HandleData", self.len())?).u32(0);
        for handle in self {
            list.u64(handle.handle);
            for (what, text) in [("handle: type name", &handle.type_name), ("handle: object name", &handle.object_name)]
            {
                match text {
                    Some(text) => list.rva32(string::place(layout, what, text)?),
                    None => list.u32(0),
                };
            }
            list.u32(handle.attributes).u32(handle.granted_access);
            list.u32(handle.handle_count).u32(handle.pointer_count);
        }
        layout.place(id, list);
        Ok(id)
    }
}
