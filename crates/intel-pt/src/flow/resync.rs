//! Waiting for a packet that says where execution is: with tracing off, and after errors.

use super::error::{ErrorKind, Stop};
use super::events::{Event, Item};
use super::options::Resume;
use super::state::{Origin, Phase, State};
use super::visit::Visitor;

impl State<'_> {
    /// One item, with tracing off since it was at `left_at`.
    pub(super) fn off<V: Visitor>(&mut self, left_at: Option<u64>, visitor: &mut V) -> Result<(), Stop> {
        let offset = self.feed.offset();
        if offset >= self.options.limit {
            return Err(Stop::Limit);
        }
        match self.feed.peek() {
            Item::On(Some(ip)) => {
                self.report(visitor, offset, &Event::Enabled { ip, resumed: left_at == Some(ip) });
                self.take(visitor, offset);
                self.bits.clear();
                self.stack.clear();
                self.begin_evidence();
                self.jump(ip, Origin::Target);
            }
            Item::On(None) => {
                self.take(visitor, offset);
                return self.fail(None, ErrorKind::NoAddress);
            }
            Item::Psb(ip) => self.synchronised(visitor, offset, ip),
            Item::Overflow(ip) => self.overflow(visitor, offset, ip),
            // Some processors end tracing once more after an overflow (erratum APL11).
            Item::Off(_) | Item::Async { off: true, .. } => self.take(visitor, offset),
            Item::At(_) | Item::After(_) | Item::Status => self.take(visitor, offset),
            Item::Paging(pip) => {
                self.report(visitor, offset, &Event::Paging(pip));
                self.take(visitor, offset);
                self.load_cr3(pip, false);
            }
            Item::Tnt(_) | Item::Tip(_) | Item::Async { .. } => return self.fail(None, ErrorKind::NotEnabled),
            Item::Gap(gap) => {
                self.take(visitor, offset);
                return self.damaged(None, &gap);
            }
            Item::End => {
                self.take(visitor, offset);
                return Err(Stop::End);
            }
        }
        Ok(())
    }

    /// Before the first PSB: skips items up to one that says where execution is.
    pub(super) fn start<V: Visitor>(&mut self, before_sync: usize, visitor: &mut V) -> Result<(), Stop> {
        if before_sync > 0 {
            self.phase = Phase::Start { before_sync: 0 };
            self.report(visitor, 0, &Event::BeforeSync { bytes: before_sync });
        }
        self.after_gap = false;
        self.recover(false, visitor).map(|_| ())
    }

    /// After an error at `since`: skips items up to one that says where execution is.
    pub(super) fn lost<V: Visitor>(&mut self, since: usize, visitor: &mut V) -> Result<(), Stop> {
        self.after_gap = true;
        let recovered = self.recover(true, visitor);
        match recovered {
            Ok(offset) => self.found_at(offset, since),
            Err(Stop::End) => {
                let end = self.feed.offset();
                self.found_at(end, since);
                self.phase = Phase::Lost { since: end };
            }
            Err(_) => {}
        }
        recovered.map(|_| ())
    }

    /// Skips items up to one that says where execution is, and says at which offset it is.
    fn recover<V: Visitor>(&mut self, lost: bool, visitor: &mut V) -> Result<usize, Stop> {
        self.bits.clear();
        self.stack.clear();
        // Whether a TIP may be one whose TNT bits were skipped.
        let mut doubtful = false;
        loop {
            let offset = self.feed.offset();
            if offset >= self.options.limit {
                return Err(Stop::Limit);
            }
            let by_address = self.options.resume != Resume::Psb;
            match self.feed.peek() {
                Item::Psb(ip) => {
                    if lost && let Some(ip) = ip {
                        self.report(visitor, offset, &Event::Resync { ip });
                    }
                    self.synchronised(visitor, offset, ip);
                    return Ok(offset);
                }
                Item::Overflow(ip) if by_address => {
                    self.overflow(visitor, offset, ip);
                    return Ok(offset);
                }
                Item::On(Some(_)) if by_address => {
                    self.phase = Phase::Off { left_at: None };
                    return Ok(offset);
                }
                Item::Off(_) | Item::Async { off: true, .. } if by_address => {
                    self.end(visitor, None, None);
                    return Ok(offset);
                }
                Item::Async { at, to: Some(to), .. } if by_address => {
                    if let Some(from) = at {
                        self.report(visitor, offset, &Event::Interrupt { from, to });
                    }
                    self.resume(visitor, offset, to);
                    return Ok(offset);
                }
                Item::Tip(Some(to)) if self.trusts_tip(doubtful) => {
                    self.resume(visitor, offset, to);
                    return Ok(offset);
                }
                Item::Tnt(_) => {
                    doubtful = true;
                    self.take(visitor, offset);
                }
                Item::Tip(Some(_)) => self.take(visitor, offset),
                Item::Gap(gap) => {
                    self.take(visitor, offset);
                    return self.damaged(None, &gap);
                }
                Item::End => {
                    self.take(visitor, offset);
                    return Err(Stop::End);
                }
                Item::Paging(pip) => {
                    doubtful = false;
                    self.take(visitor, offset);
                    self.load_cr3(pip, false);
                }
                _ => {
                    doubtful = false;
                    self.take(visitor, offset);
                }
            }
        }
    }

    /// Whether the walk may go on at the next TIP.
    fn trusts_tip(&self, doubtful: bool) -> bool {
        match self.options.resume {
            Resume::Address => !(doubtful && self.deferral_seen),
            Resume::SafeAddress => !doubtful,
            Resume::Psb => false,
        }
    }

    fn resume<V: Visitor>(&mut self, visitor: &mut V, offset: usize, ip: u64) {
        self.report(visitor, offset, &Event::Resync { ip });
        self.take(visitor, offset);
        self.jump(ip, Origin::Target);
    }
}
