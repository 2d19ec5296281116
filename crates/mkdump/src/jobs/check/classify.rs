//! Why bytes differ: run by run, in ascending order, each differing byte into exactly one class.

use kernel_snapshot::dump::ReadMemory;
use pe_image::{Headers, Section, SiteForm, recognise};

use super::difference::{Class, Difference};
use super::instructions::{self, likely_start};
use super::known::{Form, FormName, Known, Witness, is_code};
use super::report::CommonModule;
use super::units::{Unit, UnitKind};
use crate::hex::Hex;
use captured_code::Reached;
use captured_code::memory::{PLACE, Side};

/// Places of one class that a report lists of one module.
const MOST_LISTED: u64 = 64;
/// A form is a unit's when at most this many of its bytes are another's.
const MOST_STRAY: u32 = 3;
/// How often the bytes around a `CC` are decoded, in a module without a file.
const MOST_DECODED: u32 = 10_000;
const BREAKPOINT: u8 = 0xcc;

/// Sorts the differences of one module.
pub(super) struct Classifier<'c, 'w, 'd, 'a> {
    pub(super) module: &'c mut CommonModule,
    pub(super) ours: Witness<'w, 'd, 'a>,
    pub(super) real: Witness<'w, 'd, 'a>,
    pub(super) known: Option<Known<'c>>,
    /// Headers from one of the dumps, of a module without a file.
    pub(super) headers: Option<Headers>,
    /// 64 or 32; `None` for processors whose breakpoints are not `CC`.
    pub(super) bitness: Option<u32>,
    /// Addresses before this one are done.
    pub(super) done: u64,
    pub(super) decoded: u32,
    /// The run of one class that the last byte belonged to.
    pub(super) open: Option<(Class, u64, u64)>,
}

impl Classifier<'_, '_, '_, '_> {
    /// Takes a run of bytes that all differ.
    pub(super) fn run(&mut self, start: u64, ours: &[u8], real: &[u8]) {
        self.module.differing += ours.len() as u64;
        let end = start + ours.len() as u64;
        let mut at = start;
        while at < end {
            if at < self.done {
                at = self.done.min(end);
                continue;
            }
            let index = (at - start) as usize;
            at = match self.unit_at(at) {
                Ok(unit) => {
                    self.unit(&unit);
                    self.done = self.base().wrapping_add(unit.end().into());
                    at
                }
                // No site makes a longer run, so the bytes within one need not be asked for theirs.
                Err(_) if self.may_be_site(at) && (index < PLACE || ours.len() - index <= PLACE) => {
                    match self.site_around(at) {
                        Some((site, class)) => {
                            self.alone(site, class);
                            self.done = site.0 + site.1 as u64;
                            at
                        }
                        None => self.byte(at, ours[index], real[index]),
                    }
                }
                Err(next) => {
                    let stop = next.min(end);
                    let mut at = at;
                    while at < stop {
                        let index = (at - start) as usize;
                        at = self.byte(at, ours[index], real[index]);
                        if self.known.is_none() {
                            break;
                        }
                    }
                    at
                }
            };
        }
    }

    /// To be called when all runs are in.
    pub(super) fn finish(mut self) {
        self.close();
    }

    fn base(&self) -> u64 {
        self.module.base.0
    }

    fn rva(&self, address: u64) -> Option<u32> {
        u32::try_from(address.wrapping_sub(self.base())).ok()
    }

    /// The unit that holds an address, or the address at which the next one begins.
    fn unit_at(&self, address: u64) -> Result<Unit, u64> {
        let (Some(known), Some(rva)) = (&self.known, self.rva(address)) else { return Err(u64::MAX) };
        known.units.at(rva).map_err(|next| self.base().saturating_add(next.into()))
    }

    /// True where sites are recognised by their bytes: in a module without a file, outside what its headers call data.
    fn may_be_site(&self, address: u64) -> bool {
        let section = |headers: &Headers| headers.section_at(pe_image::Rva(self.rva(address)?)).map(is_code);
        self.known.is_none() && self.headers.as_ref().and_then(section).unwrap_or(true)
    }

    /// A unit that differs: the forms of the two sides say why, and a byte in neither form is unexplained.
    fn unit(&mut self, unit: &Unit) {
        let Some(known) = &self.known else { return };
        let size = unit.size as usize;
        let address = self.base().wrapping_add(unit.rva.into());
        let ours = Side::read(self.ours.dump, address, size);
        let real = Side::read(self.real.dump, address, size);
        let our_form = best(&known.forms(unit, &ours, &mut self.ours), &ours, size);
        let real_form = best(&known.forms(unit, &real, &mut self.real), &real, size);
        let class = real_form.map(|form| unit.kind.class(form.name));
        let is_data = known.section(unit.rva).is_some_and(is_writable_data);
        let mut explained = 0;
        for at in (0..size).filter(|&at| ours.has(at) && real.has(at) && ours.bytes[at] != real.bytes[at]) {
            let (a, b) = (ours.bytes[at], real.bytes[at]);
            let fits = |form: Option<Form>, byte| form.is_some_and(|form| form.bytes[at] == byte);
            let is_breakpoint = |byte, form: Option<Form>, other: bool| {
                byte == BREAKPOINT && form.is_some() && other && unit.is_start(at)
            };
            let here = address + at as u64;
            match (fits(our_form, a), fits(real_form, b)) {
                (true, true) => explained += 1,
                (ours_fits, real_fits)
                    if is_breakpoint(b, real_form, ours_fits) || is_breakpoint(a, our_form, real_fits) =>
                {
                    self.add(Class::Breakpoint, here, 1, 1);
                }
                _ => self.note(if is_data { Class::WritableData } else { Class::Unexplained }, here),
            }
        }
        if let Some(class) = class.filter(|_| explained > 0) {
            self.add(class, address, size, explained);
        }
    }

    /// A differing byte outside all units. Gives the next address.
    fn byte(&mut self, address: u64, ours: u8, real: u8) -> u64 {
        let rva = self.rva(address).unwrap_or(u32::MAX);
        let section = match (&self.known, &self.headers) {
            (Some(known), _) => known.section(rva),
            (None, Some(headers)) => headers.section_at(pe_image::Rva(rva)),
            (None, None) => None,
        };
        let class = if section.is_some_and(is_writable_data) {
            Class::WritableData
        } else if (ours == BREAKPOINT || real == BREAKPOINT) && self.is_breakpoint(address, rva, ours, real) {
            self.add(Class::Breakpoint, address, 1, 1);
            return address + 1;
        } else {
            Class::Unexplained
        };
        self.note(class, address);
        address + 1
    }

    fn is_breakpoint(&mut self, address: u64, rva: u32, ours: u8, real: u8) -> bool {
        let Some(bitness) = self.bitness else { return false };
        if let Some(known) = &mut self.known {
            let expected = known.byte(rva);
            let other = if real == BREAKPOINT { ours } else { real };
            return other == expected && expected != BREAKPOINT && known.is_start(rva);
        }
        // Without a file only the other dump is asked for breakpoints, and the code is taken from this one.
        let is_code = match &self.headers {
            Some(headers) => headers.section_at(pe_image::Rva(rva)).is_some_and(is_code),
            None => true,
        };
        if real != BREAKPOINT || !is_code || self.decoded >= MOST_DECODED {
            return false;
        }
        self.decoded += 1;
        let mut code = [0; instructions::CONTEXT + PLACE];
        let Some(from) = address.checked_sub(instructions::CONTEXT as u64) else { return false };
        let got = self.ours.dump.read(from, &mut code).min(code.len());
        if got <= instructions::CONTEXT {
            return false;
        }
        let (before, after) = code[..got].split_at(instructions::CONTEXT);
        // Between functions all bytes are CC: there it is this dump that has something else.
        let is_padding = before.ends_with(&[BREAKPOINT]) && after.get(1) == Some(&BREAKPOINT);
        !is_padding && likely_start(before, after, bitness)
    }

    /// A site that both dumps have around a differing address, recognised by the bytes alone: place and size, and why it
    /// differs.
    fn site_around(&mut self, address: u64) -> Option<((u64, usize), Class)> {
        let first = address.saturating_sub(PLACE as u64 - 1);
        (first..=address).find_map(|start| {
            let ours = Side::read(self.ours.dump, start, PLACE);
            let real = Side::read(self.real.dump, start, PLACE);
            let (size, class) = self.site_class(start, &ours, &real)?;
            let covers = address - start < size as u64 && start >= self.done;
            (covers && ours.is_whole(size) && real.is_whole(size)).then_some(((start, size), class))
        })
    }

    fn site_class(&mut self, start: u64, ours: &Side, real: &Side) -> Option<(usize, Class)> {
        let ours_site = import(ours, start);
        let real_site = import(real, start);
        if let (Some(a), Some(b)) = (ours_site, real_site) {
            let same = a.slot() == b.slot() && a.is_call() == b.is_call();
            let name = import_name(&b, &self.real)?;
            let other = import_name(&a, &self.ours)?;
            let agrees =
                |site: &SiteForm, name, dump: &mut Witness<'_, '_, '_>| match (name, site.slot(), site.target()) {
                    (FormName::Direct, Some(slot), Some(target)) => dump.slot_agrees(slot.0, target.0),
                    _ => true,
                };
            let sound = agrees(&a, other, &mut self.ours) && agrees(&b, name, &mut self.real);
            return (same && name != other && sound).then(|| (PLACE, UnitKind::Import.class(name)));
        }
        let (linked, stub, other, class) = match (LinkedBranch::parse(ours), LinkedBranch::parse(real)) {
            (Some(linked), None) => (linked, real, &self.real, Class::RetpolineOn),
            (None, Some(linked)) => (linked, ours, &self.ours, Class::RetpolineOff),
            _ => return None,
        };
        let form = recognise(&stub.bytes, start)?;
        let size = linked.size_as(&form)?;
        let target = other.scan.reached(form.target()?.0);
        matches!(target, Reached::Stubs(of, _) if of == other.module).then_some((size, class))
    }

    /// A site of a module without a file: all its bytes are explained.
    fn alone(&mut self, (address, size): (u64, usize), class: Class) {
        let ours = Side::read(self.ours.dump, address, size);
        let real = Side::read(self.real.dump, address, size);
        let differing = (0..size).filter(|&at| ours.bytes[at] != real.bytes[at]).count() as u64;
        self.add(class, address, size, differing);
    }

    /// Counts a byte of a class that is reported by runs.
    fn note(&mut self, class: Class, address: u64) {
        match &mut self.open {
            Some((open, _, end)) if *open == class && *end == address => *end += 1,
            _ => {
                self.close();
                self.open = Some((class, address, address + 1));
            }
        }
    }

    fn close(&mut self) {
        if let Some((class, start, end)) = self.open.take() {
            self.add(class, start, (end - start) as usize, end - start);
        }
    }

    /// Counts a place, and lists it while there is room.
    fn add(&mut self, class: Class, address: u64, size: usize, differing: u64) {
        let count = self.module.differences.of_mut(class);
        count.places += 1;
        count.bytes += differing;
        if count.places > MOST_LISTED {
            self.module.omitted += 1;
            return;
        }
        self.module.places.push(Difference {
            address: Hex(address),
            rva: Hex(address.wrapping_sub(self.module.base.0)),
            size: size as u64,
            class,
            dump: Side::read(self.ours.dump, address, size).hex(size),
            against: Side::read(self.real.dump, address, size).hex(size),
        });
    }
}

/// The form that fits best; of two that fit alike the first. `None` when none is near.
fn best(forms: &[Form], side: &Side, size: usize) -> Option<Form> {
    let held = (0..size).filter(|&at| side.has(at)).count() as u32;
    let stray = |form: &Form| (0..size).filter(|&at| side.has(at) && side.bytes[at] != form.bytes[at]).count() as u32;
    let best = forms.iter().min_by_key(|form| stray(form))?;
    (stray(best) <= MOST_STRAY.min(held / 2)).then_some(*best)
}

fn is_writable_data(section: &Section) -> bool {
    section.flags & Section::WRITE != 0 && !is_code(section)
}

fn import(side: &Side, address: u64) -> Option<SiteForm> {
    recognise(&side.bytes, address).filter(|form| form.slot().is_some())
}

fn import_name(form: &SiteForm, dump: &Witness<'_, '_, '_>) -> Option<FormName> {
    Some(match form {
        SiteForm::ImportLinked { .. } => FormName::AsFile,
        SiteForm::ImportRegister { .. } => FormName::Register,
        SiteForm::ImportDirect { target, .. } => match dump.scan.reached(target.0) {
            Reached::Module(..) => FormName::Direct,
            Reached::Stubs(of, _) if of == dump.module => FormName::Stub,
            _ => return None,
        },
        _ => return None,
    })
}

/// An indirect branch as a linker writes it where a retpoline may come to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkedBranch {
    /// Through the CFG dispatch pointer: with or without prefix, 6 or 7 bytes.
    Cfg { call: bool, size: usize },
    /// `call rax` and a nop: 5 bytes.
    Call,
    /// `jmp rax`, or a switch through rax: the bytes are the same, but the stub differs.
    JumpOrSwitch,
    /// A jump through rax with prefix: 5 bytes.
    Jump,
    /// A switch through another register: 6 bytes.
    Switch,
}

impl LinkedBranch {
    fn parse(side: &Side) -> Option<Self> {
        let prefix = usize::from(side.bytes[0] == 0x48);
        Some(match side.bytes[prefix..] {
            [0xff, opcode @ (0x15 | 0x25), ..] => Self::Cfg { call: opcode == 0x15, size: 6 + prefix },
            [0xff, 0xd0, 0x0f, 0x1f, 0x00, ..] | [0xff, 0xd0, 0x66, 0x90, ..] => Self::Call,
            [0xff, 0xe0, 0xcc, 0xcc, 0xcc, ..] if prefix == 0 => Self::JumpOrSwitch,
            [0xff, 0xe0, 0xcc, 0xcc, ..] => Self::Jump,
            [0xff, 0xe1..=0xe7, 0xcc, 0xcc, 0xcc, 0xcc, ..] if prefix == 0 => Self::Switch,
            [0x41, 0xff, 0xe0..=0xe7, 0xcc, 0xcc, 0xcc, ..] => Self::Switch,
            _ => return None,
        })
    }

    /// The site's bytes, if `form` is what it becomes. What follows a call of 5 bytes is code, and may look like the
    /// filling of another form.
    fn size_as(self, form: &SiteForm) -> Option<usize> {
        match (self, form) {
            (Self::Cfg { call, size }, SiteForm::Indirect { call: is_call, .. }) if call == *is_call => Some(size),
            (Self::Call, SiteForm::Indirect { call: true, .. } | SiteForm::Branch { call: true, .. }) => Some(5),
            (Self::Call, SiteForm::Switch { .. }) => Some(5),
            (
                Self::Jump | Self::JumpOrSwitch,
                SiteForm::Indirect { call: false, .. } | SiteForm::Branch { call: false, .. },
            ) => Some(5),
            (Self::Switch | Self::JumpOrSwitch, SiteForm::Switch { .. }) => Some(6),
            _ => None,
        }
    }
}
