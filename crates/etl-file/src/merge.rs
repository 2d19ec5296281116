//! All events in order of time.

use crate::buffer::Buffer;
use crate::clock::Tick;
use crate::compress::Scratch;
use crate::error::{Error, Result};
use crate::event::{Event, Events, Filter};
use crate::trace::Trace;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// The events of a trace merged into order of time; see [`Trace::events_by_time`].
///
/// # What the order guarantees
/// Buffers lie in the file as they were flushed, each holding the events of one processor. They are put into streams by
/// processor, and in a stream by sequence number, which also undoes the rotation of a circular file. Then:
///
/// * Events of one processor come in the order in which they were logged, always.
/// * Events of different processors come in the order of their timestamps, as long as each processor's own timestamps
///   do not decrease. One that does (seen with corrected clocks) comes right after its predecessor, and an event
///   without a timestamp likewise.
/// * Equal timestamps: the lower processor number first.
///
/// ```text
///   CPU 0   seq 1 [10 20 30] ──── seq 4 [70 80]          heap: the head of each stream
///   CPU 1   seq 2 [15 25 27] ──── seq 3 [60]             out:  10 15 20 25 27 30 60 70 80
/// ```
///
/// One buffer per processor is open at a time, so memory is that of the index of buffers (about 80 bytes for each) and
/// of one decompressed buffer per processor: real ones have up to 1 MiB, but a file made for it can claim 2,048
/// processors with 16 MiB each. [`Trace::survey`] has no such worst case.
#[derive(Debug)]
pub struct Merged<'a> {
    streams: Vec<Stream<'a>>,
    /// Time of each stream's head, and its number.
    heads: BinaryHeap<Reverse<(Tick, usize)>>,
    state: State,
    damage: VecDeque<Error>,
    filter: Cow<'static, Filter>,
}

/// What has to be done before the next event can be found.
#[derive(Clone, Copy, Debug)]
enum State {
    /// No stream has a head yet.
    New,
    /// All streams that have events left have a head.
    Ready,
    /// This stream's head was handed out last: it moves on when the next event is asked for.
    Lent(usize),
}

/// One processor's buffers.
#[derive(Debug, Default)]
struct Stream<'a> {
    rest: VecDeque<Buffer<'a>>,
    /// The open buffer.
    open: Option<Buffer<'a>>,
    /// Decompressed events of the open buffer, if it is compressed.
    scratch: Scratch,
    /// Where in the open buffer the head begins, and what follows it.
    head_at: usize,
    next: usize,
    /// The head's time.
    head: Tick,
}

impl<'a> Trace<'a> {
    /// All events in order of time. Damage comes as errors in between.
    ///
    /// ```
    /// use etl_file::Trace;
    /// # let mut file = testkit::trace::TraceFile::new();
    /// # file.kernel_base(1, 2_000_030, 0).kernel_base(0, 2_000_020, 0);
    /// # let data = file.finish();
    /// let trace = Trace::parse(&data)?;
    /// let mut events = trace.events_by_time();
    /// let mut times = Vec::new();
    /// while let Some(event) = events.next_event() {
    ///     times.extend(event?.timestamp.map(|tick| tick.0));
    /// }
    /// assert!(times.is_sorted());
    /// # Ok::<(), etl_file::Error>(())
    /// ```
    pub fn events_by_time(&self) -> Merged<'a> {
        let mut damage = VecDeque::new();
        let mut buffers: BTreeMap<u16, Vec<Buffer<'a>>> = BTreeMap::new();
        for buffer in self.buffers() {
            match buffer {
                Ok(buffer) => buffers.entry(buffer.header().processor).or_default().push(buffer),
                Err(error) => damage.push_back(error),
            }
        }
        let streams = buffers.into_values().map(|mut buffers| {
            buffers.sort_by_key(|buffer| (buffer.header().sequence, buffer.offset()));
            Stream { rest: buffers.into(), head: Tick(i64::MIN), ..Stream::default() }
        });
        let filter = Cow::Borrowed(Filter::all());
        Merged { streams: streams.collect(), heads: BinaryHeap::new(), state: State::New, damage, filter }
    }
}

impl Merged<'_> {
    /// The same events, only those that `filter` lets through. To be called before the first event is taken.
    ///
    /// What the filter holds back is not looked at, its timestamp included: an event after one with a later timestamp on
    /// the same processor then comes at its own time.
    ///
    /// ```
    /// use etl_file::{Filter, HookId, Trace};
    /// # let mut file = testkit::trace::TraceFile::new();
    /// # file.kernel_base(1, 2_000_030, 0).kernel_base(0, 2_000_020, 0);
    /// # let data = file.finish();
    /// let trace = Trace::parse(&data)?;
    /// let mut bases = trace.events_by_time().filter(Filter::none().hooks(&[HookId::KERNEL_BASE]));
    /// while let Some(event) = bases.next_event() {
    ///     assert_eq!(event?.hook(), Some(HookId::KERNEL_BASE));
    /// }
    /// # Ok::<(), etl_file::Error>(())
    /// ```
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Cow::Owned(filter);
        self
    }

    /// The next event. It is borrowed until the one after it is asked for.
    ///
    /// (An `Iterator` cannot lend its items, and an event of a compressed buffer has no other place to live.)
    pub fn next_event(&mut self) -> Option<Result<Event<'_>>> {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::New => (0..self.streams.len()).for_each(|stream| self.advance(stream)),
            State::Ready => {}
            State::Lent(stream) => self.advance(stream),
        }
        if let Some(error) = self.damage.pop_front() {
            return Some(Err(error));
        }
        let Reverse((_, stream)) = self.heads.pop()?;
        self.state = State::Lent(stream);
        let stream = &self.streams[stream];
        // The head was found before; it is there.
        let raw = stream.events(stream.head_at)?.next()?;
        Some(raw.and_then(|raw| raw.parse()))
    }

    /// Finds a stream's next head.
    fn advance(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        if let Some(head) = stream.advance(&self.filter, &mut self.damage) {
            self.heads.push(Reverse((head, index)));
        }
    }
}

impl Stream<'_> {
    /// The open buffer's events from `position` on.
    fn events(&self, position: usize) -> Option<Events<'_>> {
        Some(self.open.as_ref()?.opened(&self.scratch).starting_at(position))
    }

    /// Moves to the next event, in this buffer or a later one, and answers its time.
    fn advance(&mut self, filter: &Filter, damage: &mut VecDeque<Error>) -> Option<Tick> {
        loop {
            let found = self.events(self.next).and_then(|mut events| {
                let event = events.next_matching(filter)?;
                let tick = event.as_ref().ok().and_then(|raw| raw.parse().ok()?.timestamp);
                Some((event.map(|raw| raw.position as usize), tick, events.position()))
            });
            match found {
                Some((Ok(head_at), tick, next)) => {
                    (self.head_at, self.next) = (head_at, next);
                    self.head = self.head.max(tick.unwrap_or(self.head));
                    return Some(self.head);
                }
                Some((Err(error), ..)) => damage.push_back(error),
                None => {}
            }
            self.open = None;
            let buffer = self.rest.pop_front()?;
            self.next = 0;
            match buffer.unpack(&mut self.scratch) {
                Ok(()) => self.open = Some(buffer),
                Err(error) => damage.push_back(error),
            }
        }
    }
}
