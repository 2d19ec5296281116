//! Packets grouped into what the walk waits for: branches, and events with the place where they happened.

use crate::sync::resync;
use crate::{BlockContext, CodeWidth, Error as Gap, Exec, LastIp, Mode, Packet, Pip, Tnt, Tsx, Vmcs};
use crate::{decode, sync_forward};

/// Something other than an executed instruction. Addresses are those of the next instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Event {
    /// Tracing begins at `ip`; `resumed` when that is where it ended before.
    Enabled {
        /// Where.
        ip: u64,
        /// True when tracing ended at the same address.
        resumed: bool,
    },
    /// Tracing ends.
    Disabled {
        /// Where, when the event was asynchronous: before the instruction there.
        at: Option<u64>,
        /// Where execution went on untraced, when the packet says so.
        to: Option<u64>,
    },
    /// An interrupt, exception or other asynchronous branch.
    Interrupt {
        /// The first instruction that was not executed before it.
        from: u64,
        /// The first instruction of the handler.
        to: u64,
    },
    /// A transaction was aborted; an [`Event::Interrupt`] follows.
    Aborted,
    /// Transaction state.
    Transaction(Tsx),
    /// Packets were lost; the walk goes on at `ip`, or when tracing begins again.
    Overflow {
        /// Where, when tracing was on at the end of the overflow.
        ip: Option<u64>,
    },
    /// A synchronisation point; `ip` is `None` while tracing is off.
    Psb {
        /// The next instruction.
        ip: Option<u64>,
    },
    /// The execution mode changed.
    Exec(Exec),
    /// CR3 was loaded.
    Paging(Pip),
    /// Another VMCS.
    Vmcs(Vmcs),
    /// A region that stops tracing was entered.
    Stopped,
    /// A packet that does not change flow: power states, PTWRITE, triggers, control flow events, clock ratios.
    Status {
        /// The packet.
        packet: Packet,
        /// Where it happened, when the trace says so.
        ip: Option<u64>,
    },
    /// Bytes before the first PSB, which belong to a stream whose beginning was overwritten.
    BeforeSync {
        /// How many.
        bytes: usize,
    },
    /// After an error the walk goes on at `ip`; the packets between were not followed.
    Resync {
        /// Where.
        ip: u64,
    },
}

/// What the walk can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Tnt(Tnt),
    Tip(Option<u64>),
    /// FUP and TIP (or TIP.PGD, with `off`): from one address to another without an instruction.
    Async {
        at: Option<u64>,
        to: Option<u64>,
        off: bool,
    },
    /// What is attached happened at this address.
    At(u64),
    /// What is attached happened so many instructions further on.
    After(u16),
    /// A PIP that belongs to a MOV CR3 if one comes before the next packet is needed.
    Paging(Pip),
    /// TIP.PGD.
    Off(Option<u64>),
    /// TIP.PGE.
    On(Option<u64>),
    Psb(Option<u64>),
    Overflow(Option<u64>),
    /// Only attached packets.
    Status,
    Gap(Gap),
    End,
}

/// Items of a trace, one read ahead.
#[derive(Clone, Debug)]
pub(super) struct Feed<'a> {
    bytes: &'a [u8],
    /// Offset of the next packet.
    at: usize,
    context: BlockContext,
    last_ip: LastIp,
    /// The item read ahead, and the offset of its first packet.
    ahead: Option<(usize, Item)>,
    /// What comes with the item read ahead, in order.
    attached: Vec<Event>,
    /// The mode that the item read ahead brings.
    exec: Option<Exec>,
    aborted: bool,
}

/// More attached packets than this make an item of their own.
const ATTACHED: usize = 64;

impl<'a> Feed<'a> {
    pub fn new(bytes: &'a [u8]) -> (Self, usize) {
        let at = sync_forward(bytes, 0).unwrap_or(bytes.len());
        let feed = Self {
            bytes,
            at,
            context: BlockContext::Outside,
            last_ip: LastIp::unknown(),
            ahead: None,
            attached: Vec::new(),
            exec: None,
            aborted: false,
        };
        (feed, at)
    }

    /// Offset of the item read ahead, or of the next packet.
    pub fn offset(&self) -> usize {
        self.ahead.map_or(self.at, |(offset, _)| offset)
    }

    /// The next TNT, when it is a short one and nothing comes before it: the usual case, kept out of the general way.
    #[inline]
    pub fn short_tnt(&mut self) -> Option<u8> {
        if self.ahead.is_some() || self.context != BlockContext::Outside || !self.attached.is_empty() {
            return None;
        }
        let byte = *self.bytes.get(self.at)?;
        if byte & 1 == 0 && byte > 2 {
            self.at += 1;
            return Some(byte >> 1);
        }
        None
    }

    /// The next item.
    pub fn peek(&mut self) -> Item {
        match self.ahead {
            Some((_, item)) => item,
            None => {
                let start = self.at;
                let item = self.read();
                self.ahead = Some((start, item));
                item
            }
        }
    }

    /// Takes the item that was peeked at. What is attached stays for [`Feed::attached`].
    pub fn take(&mut self) {
        self.ahead = None;
    }

    /// The mode that the item just taken brings.
    pub fn exec(&mut self) -> Option<Exec> {
        self.exec.take()
    }

    /// Whether the item just taken is an abort.
    pub fn aborted(&mut self) -> bool {
        std::mem::take(&mut self.aborted)
    }

    pub fn has_attached(&self) -> bool {
        !self.attached.is_empty()
    }

    pub fn attached(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.attached)
    }

    fn packet(&mut self) -> Option<Result<Packet, Gap>> {
        let offset = self.at;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        Some(match decode(rest, self.context) {
            Ok((packet, len)) => {
                self.at += len;
                self.context = self.context.after(&packet);
                Ok(packet)
            }
            Err(reason) => {
                self.at = resync(self.bytes, 0, offset).unwrap_or(self.bytes.len());
                self.context = BlockContext::Outside;
                Err(Gap { offset, resume: self.at, reason })
            }
        })
    }

    fn attach(&mut self, packet: Packet) {
        self.attached.push(Event::Status { packet, ip: None });
    }

    fn read(&mut self) -> Item {
        // A packet just attached may say that the next FUP is its own.
        let mut fup_is_ours = false;
        loop {
            if self.attached.len() >= ATTACHED {
                return Item::Status;
            }
            let packet = match self.packet() {
                None => return Item::End,
                Some(Err(gap)) => return Item::Gap(gap),
                Some(Ok(packet)) => packet,
            };
            match packet {
                Packet::TntShort(tnt) | Packet::TntLong(tnt) => return Item::Tnt(tnt),
                Packet::Tip(ip) => return Item::Tip(self.last_ip.update(ip)),
                Packet::TipPge(ip) => return Item::On(self.last_ip.update(ip)),
                Packet::TipPgd(ip) => return Item::Off(self.last_ip.update(ip)),
                Packet::Psb => return self.psb(),
                Packet::Ovf => return self.overflow(),
                Packet::Pip(pip) => return Item::Paging(pip),
                Packet::Fup(ip) => {
                    let at = self.last_ip.update(ip);
                    let ours = std::mem::take(&mut fup_is_ours);
                    let item = if ours { at.map_or(Item::Status, Item::At) } else { self.fup(at) };
                    if let Item::At(ip) = item {
                        self.place_attached(ip);
                    }
                    return item;
                }
                Packet::Mode(Mode::Exec(exec)) => {
                    self.exec = Some(exec);
                    self.attached.push(Event::Exec(exec));
                }
                Packet::Mode(Mode::Tsx(tsx)) => {
                    self.aborted = tsx.abort;
                    fup_is_ours |= !tsx.abort;
                    if !tsx.abort {
                        self.attached.push(Event::Transaction(tsx));
                    }
                }
                Packet::Pwre(_) | Packet::Pwrx(_) if self.attached.is_empty() => {
                    // Nothing waits for a FUP: it happened here.
                    self.attach(packet);
                    return Item::Status;
                }
                Packet::Vmcs(vmcs) => self.attached.push(Event::Vmcs(vmcs)),
                Packet::TraceStop => self.attached.push(Event::Stopped),
                Packet::Trig(trigger) => {
                    self.attach(packet);
                    fup_is_ours |= trigger.ip;
                    if let Some(instructions) = trigger.instructions {
                        return Item::After(instructions);
                    }
                }
                Packet::Exstop { ip } | Packet::Ptw { ip, .. } | Packet::Bep { ip } => {
                    self.attach(packet);
                    fup_is_ours |= ip;
                }
                Packet::Pad
                | Packet::Tsc(_)
                | Packet::Mtc(_)
                | Packet::Tma { .. }
                | Packet::Cyc(_)
                | Packet::PsbEnd
                | Packet::Bip { .. } => {}
                _ => self.attach(packet),
            }
        }
    }

    /// The FUP of packets that do not say where they happened says it for those of them that have a place.
    fn place_attached(&mut self, at: u64) {
        for event in &mut self.attached {
            if let Event::Status { packet, ip } = event
                && !matches!(packet, Packet::Cbr(_) | Packet::Pwre(_) | Packet::Pwrx(_) | Packet::Mnt(_))
            {
                *ip = Some(at);
            }
        }
    }

    /// After a FUP: what follows says what it means.
    fn fup(&mut self, at: Option<u64>) -> Item {
        loop {
            let before = (self.at, self.context, self.last_ip);
            match self.packet() {
                Some(Ok(Packet::Tip(ip))) => return Item::Async { at, to: self.last_ip.update(ip), off: false },
                Some(Ok(Packet::TipPgd(ip))) => return Item::Async { at, to: self.last_ip.update(ip), off: true },
                Some(Ok(Packet::Pip(pip))) => self.attached.push(Event::Paging(pip)),
                Some(Ok(Packet::Vmcs(vmcs))) => self.attached.push(Event::Vmcs(vmcs)),
                Some(Ok(Packet::Mode(Mode::Exec(exec)))) => {
                    self.exec = Some(exec);
                    self.attached.push(Event::Exec(exec));
                }
                Some(Ok(
                    Packet::Pad
                    | Packet::Tsc(_)
                    | Packet::Mtc(_)
                    | Packet::Tma { .. }
                    | Packet::Cyc(_)
                    | Packet::Cbr(_),
                )) => {}
                _ => {
                    (self.at, self.context, self.last_ip) = before;
                    return at.map_or(Item::Status, Item::At);
                }
            }
        }
    }

    /// PSB+: the status packets up to PSBEND.
    fn psb(&mut self) -> Item {
        self.last_ip = LastIp::after_psb();
        let mut at = None;
        loop {
            let before = (self.at, self.context, self.last_ip);
            match self.packet() {
                Some(Ok(packet)) => match packet {
                    Packet::PsbEnd => return Item::Psb(at),
                    Packet::Fup(ip) => at = self.last_ip.update(ip),
                    Packet::Mode(Mode::Exec(exec)) => {
                        self.exec = Some(exec);
                        self.attached.push(Event::Exec(exec));
                    }
                    Packet::Mode(Mode::Tsx(tsx)) => self.attached.push(Event::Transaction(tsx)),
                    Packet::Pip(pip) => self.attached.push(Event::Paging(pip)),
                    Packet::Vmcs(vmcs) => self.attached.push(Event::Vmcs(vmcs)),
                    Packet::Pad
                    | Packet::Tsc(_)
                    | Packet::Mtc(_)
                    | Packet::Tma { .. }
                    | Packet::Cyc(_)
                    | Packet::Cbr(_)
                    | Packet::Mnt(_) => {}
                    // Only an overflow may cut a PSB+ short (SDM); whatever it is, it is read again by itself.
                    _ => {
                        (self.at, self.context, self.last_ip) = before;
                        return Item::Psb(at);
                    }
                },
                _ => {
                    (self.at, self.context, self.last_ip) = before;
                    return Item::Psb(at);
                }
            }
            if self.attached.len() >= ATTACHED {
                self.attached.clear();
            }
        }
    }

    /// OVF: a FUP follows when tracing is still on, a TIP.PGE later when it is not.
    fn overflow(&mut self) -> Item {
        loop {
            let before = (self.at, self.context, self.last_ip);
            match self.packet() {
                Some(Ok(Packet::Fup(ip))) => return Item::Overflow(self.last_ip.update(ip)),
                Some(Ok(Packet::Pad | Packet::Tsc(_) | Packet::Mtc(_) | Packet::Tma { .. } | Packet::Cyc(_))) => {}
                Some(Ok(packet @ (Packet::Cbr(_) | Packet::Mnt(_)))) if self.attached.len() < ATTACHED => {
                    self.attach(packet);
                }
                _ => {
                    (self.at, self.context, self.last_ip) = before;
                    return Item::Overflow(None);
                }
            }
        }
    }
}

/// The width of code under a mode; 64 bits before any mode is known.
pub(super) fn width_of(exec: Option<Exec>) -> CodeWidth {
    exec.map_or(CodeWidth::Bits64, Exec::width)
}
