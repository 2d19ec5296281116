//! With tracing off, and after errors: waiting for a packet that says where execution is.

use super::error::ErrorKind;
use super::events::{Event, Item};
use super::visit::Visitor;
use super::walk::{Phase, Resume, Stop, Walker};

impl Walker<'_> {
    /// One item, with tracing off.
    pub(super) fn off<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Stop> {
        let offset = self.feed.offset();
        if offset >= self.options.limit {
            return Err(Stop::Limit);
        }
        match self.feed.peek() {
            Item::On(Some(ip)) => {
                visitor.event(offset, &Event::Enabled { ip, resumed: self.off_at == Some(ip) });
                self.take(visitor, offset);
                self.phase = Phase::On;
                self.fresh = false;
                self.tnt_len = 0;
                self.stack.clear();
                self.jump(ip);
            }
            Item::On(None) => {
                self.take(visitor, offset);
                return self.fail(0, ErrorKind::NoAddress);
            }
            Item::Psb(ip) => self.synchronised(visitor, offset, ip),
            Item::Overflow(ip) => self.overflow(visitor, offset, ip),
            // Some processors end tracing once more after an overflow (erratum APL11).
            Item::Off(_) | Item::Async { off: true, .. } => self.take(visitor, offset),
            Item::At(_) | Item::After(_) | Item::Status => self.take(visitor, offset),
            Item::Paging(pip) => {
                visitor.event(offset, &Event::Paging(pip));
                self.take(visitor, offset);
            }
            Item::Tnt(_) | Item::Tip(_) | Item::Async { .. } => return self.fail(0, ErrorKind::NotEnabled),
            Item::Gap(gap) => {
                self.take(visitor, offset);
                return self.fail(0, ErrorKind::Packet(gap.reason()));
            }
            Item::End => {
                self.take(visitor, offset);
                return Err(Stop::End);
            }
        }
        Ok(())
    }

    /// Skips items up to one that says where execution is.
    pub(super) fn recover<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Stop> {
        if self.before_sync > 0 {
            visitor.event(0, &Event::BeforeSync { bytes: std::mem::take(&mut self.before_sync) });
        }
        self.tnt_len = 0;
        self.stack.clear();
        let lost = self.phase == Phase::Lost;
        self.after_gap = lost;
        // Whether a TIP may be one whose TNT bits were skipped.
        let mut doubtful = false;
        loop {
            let offset = self.feed.offset();
            if offset >= self.options.limit {
                return Err(Stop::Limit);
            }
            let item = self.feed.peek();
            let by_address = self.options.resume != Resume::Psb;
            match item {
                Item::Psb(ip) => {
                    if lost && let Some(ip) = ip {
                        visitor.event(offset, &Event::Resync { ip });
                    }
                    self.synchronised(visitor, offset, ip);
                    return Ok(());
                }
                Item::Overflow(ip) if by_address => {
                    self.overflow(visitor, offset, ip);
                    return Ok(());
                }
                Item::On(Some(_)) if by_address => {
                    self.phase = Phase::Off;
                    return Ok(());
                }
                Item::Off(_) | Item::Async { off: true, .. } if by_address => {
                    self.end(visitor, None, None);
                    return Ok(());
                }
                Item::Async { at, to: Some(to), .. } if by_address => {
                    if let Some(from) = at {
                        visitor.event(offset, &Event::Interrupt { from, to });
                    }
                    self.resume(visitor, offset, to);
                    return Ok(());
                }
                Item::Tip(Some(to)) => {
                    let trusted = match self.options.resume {
                        Resume::Address => !(doubtful && self.deferral_seen),
                        Resume::SafeAddress => !doubtful,
                        Resume::Psb => false,
                    };
                    if trusted {
                        self.resume(visitor, offset, to);
                        return Ok(());
                    }
                    self.take(visitor, offset);
                }
                Item::Tnt(_) => {
                    doubtful = true;
                    self.take(visitor, offset);
                }
                Item::Gap(gap) => {
                    self.take(visitor, offset);
                    return self.fail(0, ErrorKind::Packet(gap.reason()));
                }
                Item::End => {
                    self.take(visitor, offset);
                    return Err(Stop::End);
                }
                _ => {
                    doubtful = false;
                    self.take(visitor, offset);
                }
            }
        }
    }

    fn resume<V: Visitor>(&mut self, visitor: &mut V, offset: usize, ip: u64) {
        visitor.event(offset, &Event::Resync { ip });
        self.take(visitor, offset);
        self.phase = Phase::On;
        self.fresh = false;
        self.jump(ip);
    }
}
