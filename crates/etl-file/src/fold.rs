//! All events of a trace, folded into one value.

use crate::error::Error;
use crate::event::{Filter, RawEvent};
use crate::parallel::scan_batches;
use crate::trace::Trace;

/// What [`Trace::par_fold`] passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Walked {
    /// Events, including those that the filter held back.
    pub events: u64,
    /// Buffers whose header is there.
    pub buffers: u64,
    /// What was lost, in file order.
    pub damage: Vec<Error>,
}

impl Trace<'_> {
    /// Folds every event that `filter` lets through into one value, on all threads at once. (Without the crate's `rayon`
    /// feature, on this one.)
    ///
    /// `start` makes an empty value, `add` adds an event to one, and `join` adds the value of a later part of the file to
    /// that of an earlier part. Parts are joined in file order, so the result does not depend on the threads. Within a
    /// part, the events of each buffer come in the order in which they were logged; nothing is in order of time.
    ///
    /// ```
    /// use etl_file::{Filter, Trace};
    /// # let mut file = testkit::trace::TraceFile::new();
    /// # file.kernel_base(1, 2_000_030, 0).kernel_base(0, 2_000_020, 0);
    /// # let data = file.finish();
    /// let trace = Trace::parse(&data)?;
    /// let (payload_bytes, walked) = trace.par_fold(
    ///     Filter::all(),
    ///     || 0,
    ///     |sum, raw| *sum += raw.parse().map_or(0, |event| event.payload.len()),
    ///     |sum, later| *sum += later,
    /// );
    /// assert_eq!((payload_bytes > 0, walked.events), (true, 3));
    /// # Ok::<(), etl_file::Error>(())
    /// ```
    pub fn par_fold<T: Send>(
        &self,
        filter: &Filter,
        start: impl Fn() -> T + Sync,
        add: impl Fn(&mut T, RawEvent<'_>) + Sync,
        mut join: impl FnMut(&mut T, T) + Send,
    ) -> (T, Walked) {
        let mut total = (start(), Walked::default());
        scan_batches(
            self,
            |batch, scratch| {
                let (mut value, mut walked) = (start(), Walked::default());
                for buffer in &batch.buffers {
                    let mut events = match buffer.events(scratch) {
                        Ok(events) => events,
                        Err(error) => {
                            walked.damage.push(error);
                            continue;
                        }
                    };
                    while let Some(event) = events.next_matching(filter) {
                        match event {
                            Ok(event) => add(&mut value, event),
                            Err(error) => walked.damage.push(error),
                        }
                    }
                    walked.events += events.seen();
                }
                (value, walked)
            },
            |batch, (value, walked)| {
                join(&mut total.0, value);
                total.1.events += walked.events;
                total.1.buffers += batch.buffers.len() as u64;
                total.1.damage.extend(batch.damage);
                total.1.damage.extend(walked.damage);
            },
        );
        total.1.damage.sort_by_key(Error::offset);
        total
    }
}
