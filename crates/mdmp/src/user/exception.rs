//! Exception (stream 6), `MINIDUMP_EXCEPTION_STREAM` of 168 bytes: where debuggers say that the dump stopped.

use super::streams::{self, Stream, StreamType};
use super::threads::{check_context, place_context};
use super::{Architecture, Thread};
use crate::{BlobId, Context, Error, Layout};

/// An exception of one of the dump's threads.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exception {
    /// A thread of the dump.
    pub thread_id: u32,
    /// NTSTATUS; 0x80000003, a breakpoint, lets tools stop at the instruction pointer without crying "crash".
    pub code: u32,
    /// `EXCEPTION_NONCONTINUABLE` is 1.
    pub flags: u32,
    /// Address of a nested `EXCEPTION_RECORD`, or 0.
    pub nested: u64,
    /// Where it happened.
    pub address: u64,
    /// Up to 15 values that explain the code.
    pub parameters: Vec<u64>,
    /// The registers at that moment; of the dump's architecture.
    pub context: Option<Context>,
}

impl Exception {
    /// An exception without parameters or registers.
    pub fn new(thread_id: u32, code: u32, address: u64) -> Exception {
        Exception { thread_id, code, flags: 0, nested: 0, address, parameters: Vec::new(), context: None }
    }
}

/// `EXCEPTION_MAXIMUM_PARAMETERS` (winnt.h).
const MAXIMUM_PARAMETERS: usize = 15;

pub(super) struct ExceptionStream<'d> {
    pub(super) exception: &'d Exception,
    pub(super) threads: &'d [Thread],
    pub(super) architecture: Architecture,
}

impl<'a> Stream<'a> for ExceptionStream<'_> {
    fn stream_type(&self) -> StreamType {
        StreamType::EXCEPTION
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let exception = self.exception;
        if !self.threads.iter().any(|thread| thread.id == exception.thread_id) {
            let found = format!("{:#x}", exception.thread_id);
            return Err(Error::rule("Exception: ThreadId", found, "the id of a thread of the dump", "lldb"));
        }
        if exception.parameters.len() > MAXIMUM_PARAMETERS {
            let found = exception.parameters.len().to_string();
            return Err(Error::rule("Exception: NumberParameters", found, "0 to 15", "all readers"));
        }
        let mut blob = streams::blob(self.stream_type());
        blob.u32(exception.thread_id).u32(0);
        blob.u32(exception.code).u32(exception.flags).u64(exception.nested).u64(exception.address);
        blob.u32(exception.parameters.len() as u32).u32(0);
        for &parameter in &exception.parameters {
            blob.u64(parameter);
        }
        blob.zeros(8 * (MAXIMUM_PARAMETERS - exception.parameters.len()));
        match &exception.context {
            Some(context) => {
                check_context("Exception: ThreadContext", context, self.architecture)?;
                blob.location32(place_context(layout, context))
            }
            None => blob.zeros(8),
        };
        Ok(layout.push(blob))
    }
}
