//! Writer of trace files: the mirror of the reader.
//!
//! # Layers
//! * [`EventHeader`] writes an event's header, of every kind that [`Event`](crate::Event) reads; [`payload`] writes what
//!   [`Event::record`](crate::Event::record) reads.
//! * [`Body`] collects the events of one buffer, written anew or passed through byte for byte.
//! * [`Plan`] takes the size of every buffer, [`Layout`] says what the file will be, and [`Writer`] writes it, forwards
//!   only: no byte is written before every size is known, and none is written twice.
//! * [`Trace::rewrite`](crate::Trace::rewrite) goes over a trace and writes another one of what is to be kept of its
//!   events, in parallel and with bounded memory.
//!
//! # What is not kept
//! Fields that no reader here looks at are written as zero, or as Windows 11 writes them: processor times in event
//! headers, kernel pointers and live cursors in buffer headers, the names of the time zone. Bytes between events, after
//! the last one and after a text's end are never copied.
//!
//! # Example
//! ```
//! use etl_file::write::{Body, Packing, Plan, Writer};
//! use etl_file::{BufferHeader, LogHeader, Trace};
//! # let mut made = testkit::trace::TraceFile::new();
//! # made.kernel_base(0, 2_000_000, 0xffff_f800_0000_0000);
//! # let data = made.finish();
//! # let trace = Trace::parse(&data)?;
//! # let event = trace.buffers().nth(1).unwrap()?.plain_events().unwrap().next().unwrap()?;
//! // `event` was read from another trace.
//! let mut body = Body::default();
//! body.raw(&event);
//! let mut plan = Plan::new(LogHeader::new(8, 0x1_0000), Packing::Xpress);
//! plan.add(BufferHeader::first(), 0)?;
//! plan.add(BufferHeader::new(event.processor, 1), body.len())?;
//! let layout = plan.lay_out()?;
//! let mut writer = Writer::new(&layout, Vec::new());
//! writer.buffer(&Body::default())?;
//! writer.buffer(&body)?;
//! let file = writer.finish()?;
//! let buffers = Trace::parse(&file)?.buffers().count();
//! assert_eq!(buffers, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod error;
mod event;
mod layout;
mod log_header;
mod record;
mod rewrite;
mod xpress;

pub use body::Body;
pub use error::{Error, ErrorKind, Result};
pub use event::EventHeader;
pub use layout::{Layout, Packing, Plan, Writer};
pub use record::payload;
pub use rewrite::{Folding, RewriteOptions, Rewritten};
