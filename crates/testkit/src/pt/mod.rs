//! Intel PT streams.

mod packet;

pub use packet::{Compression, PacketWriter, mixed_trace};
