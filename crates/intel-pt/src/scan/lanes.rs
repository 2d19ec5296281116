//! Stretches of a trace that are read side by side, packet by packet.

use super::address;
use super::lengths::{self, NOTE};
use super::marks::{MARKED, marks};
use super::{Hit, HitKind};
use crate::opcode as op;
use crate::sync::sync_forward;

/// Where a packet begins is known only when the length of the one before is, so a reader of one stretch leaves most of a
/// processor idle. From a PSB on, [`Lanes`] reads the stretches after this PSB and the next few, a packet of each in turn:
///
/// ```text
///   PSB ...lane 0...► PSB ...lane 1...► PSB ...lane 2...► PSB ...lane 3...►
///       ▲ key             ▲ key             ▲ key             ▲ key
/// ```
///
/// A lane notes where packets with an address begin. Its notes wait until the scan arrives at its key, as at a packet
/// boundary outside a block. If it never does (damage, or bytes that look like a PSB), they are dropped.
///
/// Whatever the bytes are, none is read more than twice here. No lane gets past the next PSB: the packets that it skips are
/// shorter than a PSB, and what begins inside a PSB is a TNT or the opcode of a PSB, where the lane stops.
///
/// The inner loop does not branch on the kind of packet. A branch predictor could not guess it: the order of packets is
/// the information that a trace carries.
pub(super) struct Lanes([Lane; 4]);

/// One of the stretches.
pub(super) struct Lane {
    /// The offset where the lane began, while its notes wait.
    key: Option<usize>,
    /// The offset that `place` and `notes` count from.
    origin: usize,
    place: Place,
    notes: [u32; Lane::MOST],
}

/// How far a lane is: the offset of the next packet in the low half, the number of notes from bit [`NOTE`] on. One number,
/// so that the places of all lanes stay in registers.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    #[inline(always)]
    fn at(self) -> usize {
        self.0 as u32 as usize
    }

    #[inline(always)]
    fn notes(self) -> usize {
        (self.0 >> NOTE) as usize
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self([const { Lane { key: None, origin: 0, place: Place(0), notes: [0; Lane::MOST] } }; 4])
    }

    /// Reads on from `at`, which follows a PSB, and from the next PSBs, unless there are lanes that wait.
    pub(super) fn begin(&mut self, bytes: &[u8], at: usize) {
        if self.0.iter().any(|lane| lane.key >= Some(at)) {
            return;
        }
        // Counted from the PSB itself: it is where a lane without a stretch stays, because it needs care.
        let origin = at - op::PSB.len();
        let bytes = reach(bytes, origin);
        let mut next = Some(op::PSB.len());
        for lane in &mut self.0 {
            next = next.filter(|next| next + VIEW <= bytes.len());
            lane.begin(origin, next.unwrap_or(0));
            lane.key = next.map(|next| origin + next);
            next = next.and_then(|next| sync_forward(bytes, next)).map(|psb| psb + op::PSB.len());
        }
        advance(bytes, &mut self.0);
    }

    /// The lane that begins at `at`, a packet boundary outside a block.
    pub(super) fn read(&mut self, bytes: &[u8], at: usize) -> &Lane {
        let waits = self.0.iter().position(|lane| lane.key == Some(at));
        // The first lane never waits here: what it read is asked for before anything else.
        let lane = &mut self.0[waits.unwrap_or(0)];
        lane.key = None;
        if waits.is_none() {
            lane.begin(at, 0);
            advance(reach(bytes, at), core::array::from_mut(lane));
        }
        lane
    }
}

/// What lanes see at a time: so much that it holds a stretch for each in any usual trace, so little that offsets are short.
fn reach(bytes: &[u8], from: usize) -> &[u8] {
    let rest = bytes.get(from..).unwrap_or(&[]);
    rest.get(..1 << 20).unwrap_or(rest)
}

impl Lane {
    /// Notes that a lane has room for. Most processors are told to write a PSB every 2 to 4 KiB, with some 600 addresses.
    const MOST: usize = 1 << (u64::BITS - NOTE);

    fn begin(&mut self, origin: usize, at: usize) {
        self.origin = origin;
        self.place = Place(at as u64);
    }

    /// The offset of the first packet that the lane did not read.
    pub(super) fn end(&self) -> usize {
        self.origin + self.place.at()
    }

    /// Reports the addresses that were noted, when `ip` is the last one before them, and says how many there are.
    #[inline(always)]
    pub(super) fn report(&self, bytes: &[u8], ip: &mut u64, hit: &mut impl FnMut(Hit)) -> u64 {
        let bytes = reach(bytes, self.origin);
        let notes = &self.notes[..self.place.notes()];
        for &at in notes {
            let at = at as usize;
            let Some(packet) = bytes.get(at..at + 9).and_then(|packet| packet.first_chunk()) else { break };
            *ip = address::update(*ip, packet);
            hit(Hit { offset: self.origin + at, kind: HitKind::of(packet[0]), ip: *ip });
        }
        notes.len() as u64
    }
}

/// Packets that are read between two looks at the marks.
const STEPS: usize = 4;
/// The bytes that those packets and their addresses lie in.
const VIEW: usize = MARKED + (STEPS + 1) * 9;

/// Moves the lanes until all of them are at packets that need care (a PSB, an OVF, a BBP, anything rare or wrong), or one
/// has no room for more notes or is near the end of the bytes. A lane at a packet that needs care stays there by itself:
/// its length is 0 here.
#[inline(always)]
fn advance<const N: usize>(bytes: &[u8], lanes: &mut [Lane; N]) {
    let mut places = lanes.each_ref().map(|lane| lane.place);
    'all: while places.iter().all(|place| place.notes() < Lane::MOST - STEPS) {
        // Ones above the marks: there nothing is known, and so each byte at a boundary is looked at.
        let mut runs = [0; N];
        for n in 0..N {
            let at = places[n].at();
            let Some(view) = bytes.get(at..at + VIEW).and_then(|view| view.first_chunk()) else { break 'all };
            runs[n] = i64::from(marks(view)) | !0 << MARKED;
        }
        let mut steps = [0; N];
        for _ in 0..STEPS {
            for n in 0..N {
                let run = u64::from(runs[n].trailing_zeros());
                places[n].0 += run;
                let at = places[n].at();
                let Some(pair) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk()) else { break 'all };
                steps[n] = lengths::step(*pair);
                // Written in any case; it counts as a note only if the step says so.
                lanes[n].notes[places[n].notes()] = at as u32;
                places[n].0 += steps[n];
                runs[n] >>= (run + steps[n]) % 64;
            }
        }
        let mut stay = true;
        for n in 0..N {
            if steps[n] == 0 {
                steps[n] = lengths::rare(bytes.get(places[n].at()..).unwrap_or(&[]));
                places[n].0 += steps[n];
            }
            stay &= steps[n] == 0;
        }
        if stay {
            break;
        }
    }
    for n in 0..N {
        lanes[n].place = places[n];
    }
}
