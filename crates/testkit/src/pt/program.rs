//! Generated programs: several kernel modules that call each other, as linked and as in memory.

use std::collections::HashMap;

use super::body::{Callees, FnId, Item, Role, Writer};
use super::lower::{self, Op, Place};
use super::overridden;
use super::overrides::{Overridden, Overrides};
use super::rng::Rng;
use super::sites::{ImportSite, ListedBranch, StubPages};

/// Which modules have their import sites rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimization {
    /// All modules.
    On,
    /// No module.
    Off,
    /// Each module as chance has it.
    Mixed,
}

/// What programs look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Number of modules, 1 or more; the first plays the kernel.
    pub modules: usize,
    /// Functions of each module.
    pub functions: usize,
    /// Statements of each function.
    pub statements: usize,
    /// Import calls among 100 statements.
    pub import_percent: u32,
    /// Whether import sites are rewritten.
    pub optimization: Optimization,
    /// Whether indirect branches go through the stub pages behind each image.
    pub retpoline: bool,
    /// Whether the last module lies so far away that its import sites cannot be direct.
    pub far_module: bool,
    /// Functions that the kernel overrides, as Windows 11 24H2 does; not with retpoline.
    pub overrides: Option<Overrides>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            modules: 3,
            functions: 8,
            statements: 6,
            import_percent: 12,
            optimization: Optimization::On,
            retpoline: false,
            far_module: false,
            overrides: None,
        }
    }
}

/// One module of a program.
#[derive(Clone, Debug)]
pub struct Module {
    /// File name.
    pub name: String,
    /// Load address, a multiple of the page size.
    pub base: u64,
    /// The image as the linker left it (import slots are bound already).
    pub linked: Vec<u8>,
    /// The image as it is in memory.
    pub memory: Vec<u8>,
    /// Whether import optimization was applied.
    pub optimized: bool,
    /// Its import sites, by address.
    pub sites: Vec<ImportSite>,
    /// Indirect branches that a table lists for retpoline, by address.
    pub listed: Vec<(u64, ListedBranch)>,
    /// Addresses of its functions, which are all exported.
    pub functions: Vec<u64>,
    /// The retpoline stubs behind it, with retpoline on.
    pub stubs: Option<StubPages>,
    /// Its overridden functions.
    pub overridden: Option<Overridden>,
}

impl Module {
    /// Address after the last byte of the image (stub pages not included).
    pub fn end(&self) -> u64 {
        self.base + self.memory.len() as u64
    }
}

/// A generated program.
#[derive(Clone, Debug)]
pub struct Program {
    /// The modules; the first plays the kernel.
    pub modules: Vec<Module>,
    /// Where execution starts: the system call entry.
    pub entry: u64,
    pub(super) interrupt_handlers: Vec<u64>,
    pub(super) ops: HashMap<u64, Op>,
}

struct Draft {
    base: u64,
    roles: Vec<Role>,
    bodies: Vec<(Vec<Item>, usize)>,
    functions: Vec<u64>,
    imports: Vec<FnId>,
    text: usize,
    /// Where the overridden functions are.
    overridden: u64,
    table: u64,
    size: usize,
    optimized: bool,
}

const PAGE: usize = 0x1000;

impl Program {
    /// The program that `shape` and `seed` name.
    pub fn generate(shape: &Shape, seed: u64) -> Self {
        Self::generate_with_room(shape, seed, 0)
    }

    /// As [`Program::generate`], with so many empty pages at the end of each image, and behind it.
    pub fn generate_with_room(shape: &Shape, seed: u64, pages: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut drafts = drafts(shape, &mut rng);
        place(shape, &mut drafts, pages, &mut rng);
        let mut ops = HashMap::new();
        let modules = (0..drafts.len()).map(|m| finish(shape, &drafts, m, &mut ops)).collect();
        let role_of = |role: Role| {
            let of = drafts[0].roles.iter().zip(&drafts[0].functions);
            of.filter(move |(r, _)| **r == role).map(|(_, va)| *va)
        };
        Self {
            modules,
            entry: role_of(Role::SystemCall).next().expect("the kernel has a system call entry"),
            interrupt_handlers: role_of(Role::InterruptHandler).collect(),
            ops,
        }
    }

    /// The page of retpoline stubs that the kernel's file holds although nothing uses it.
    pub(super) fn idle_stubs(&self) -> Vec<u8> {
        lower::stubs(0, &mut HashMap::new()).bytes
    }

    /// The page of shared code in the kernel's file.
    pub(super) fn shared_page_of_file(&self) -> Vec<u8> {
        overridden::page_of_file(&self.idle_stubs())
    }

    /// Every byte range of the program in memory: images, then stub pages and pages of shared code.
    pub fn memory(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let images = self.modules.iter().map(|m| (m.base, &m.memory[..]));
        let stubs = self.modules.iter().filter_map(|m| m.stubs.as_ref()).map(|s| (s.base, &s.bytes[..]));
        let shared = self.modules.iter().filter_map(|m| m.overridden.as_ref()?.shared.as_ref());
        images.chain(stubs).chain(shared.map(|page| (page.base, &page.bytes[..])))
    }

    /// Copies bytes in memory from `va` on; the number copied, less than `out` holds where memory ends.
    pub fn read(&self, va: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let at = va.wrapping_add(done as u64);
            let Some((base, bytes)) = self.memory().find(|(base, b)| at >= *base && at - base < b.len() as u64) else {
                break;
            };
            let from = &bytes[(at - base) as usize..];
            let n = from.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&from[..n]);
            done += n;
        }
        done
    }
}

fn drafts(shape: &Shape, rng: &mut Rng) -> Vec<Draft> {
    let roles: Vec<Vec<Role>> = (0..shape.modules)
        .map(|module| {
            let mut roles = Vec::new();
            if module == 0 {
                roles.push(Role::SystemCall);
            }
            roles.resize(roles.len() + shape.functions, Role::Ordinary);
            if module == 0 {
                // Handlers come first after the entry, so that they may call everything below them.
                roles.splice(1..1, [Role::InterruptHandler, Role::InterruptHandler]);
                roles.push(Role::SwapContext);
            }
            roles
        })
        .collect();
    let ordinary = |module: usize| {
        let ids = roles[module].iter().enumerate().filter(|(_, role)| **role == Role::Ordinary);
        ids.map(move |(function, _)| FnId { module, function }).collect::<Vec<_>>()
    };
    let every: Vec<FnId> = (0..shape.modules).flat_map(ordinary).collect();
    let swap = FnId { module: 0, function: roles[0].len() - 1 };

    (0..shape.modules)
        .map(|module| {
            // A module imports from the modules before it, so that unguarded calls form no cycle; the way back is
            // through guarded calls by pointer.
            let exported: Vec<FnId> = every.iter().copied().filter(|id| id.module < module).collect();
            let imports: Vec<FnId> = if exported.is_empty() {
                Vec::new()
            } else {
                (0..(shape.functions * 2).max(4)).map(|_| *rng.pick(&exported)).collect()
            };
            let own = ordinary(module);
            let bodies = roles[module]
                .iter()
                .enumerate()
                .map(|(function, role)| {
                    let below: Vec<FnId> = own.iter().copied().filter(|id| id.function > function).collect();
                    let callees = Callees {
                        below: &below,
                        slots: imports.len(),
                        any: &every,
                        own: &own,
                        swap: (module == 0).then_some(swap),
                        import_percent: shape.import_percent,
                        // The system call entry leads into all modules.
                        dispatch_percent: if *role == Role::SystemCall { 50 } else { 3 },
                        overrides: shape.overrides.as_ref(),
                    };
                    let statements = shape.statements + rng.below(shape.statements + 1);
                    let extra = usize::from(*role == Role::SystemCall) * 6;
                    Writer::new(rng, &callees).function(*role, statements + extra)
                })
                .collect();
            Draft {
                base: 0,
                roles: roles[module].clone(),
                bodies,
                functions: Vec::new(),
                imports,
                text: 0,
                overridden: 0,
                table: 0,
                size: 0,
                optimized: match shape.optimization {
                    Optimization::On => true,
                    Optimization::Off => false,
                    Optimization::Mixed => rng.chance(50),
                },
            }
        })
        .collect()
}

fn place(shape: &Shape, drafts: &mut [Draft], room: usize, rng: &mut Rng) {
    let mut base = 0xffff_f800_0000_0000_u64 + 0x10_0000 * rng.below(0x1000) as u64;
    let last = drafts.len() - 1;
    for (m, draft) in drafts.iter_mut().enumerate() {
        if shape.far_module && m == last && m > 0 {
            base += 0x2_0000_0000;
        }
        draft.base = base;
        draft.text = PAGE;
        let mut at = PAGE;
        for (items, _) in &draft.bodies {
            at = at.next_multiple_of(16);
            draft.functions.push(base + at as u64);
            at += items.iter().map(Item::size).sum::<usize>();
        }
        if shape.overrides.is_some() {
            at = at.next_multiple_of(16);
            draft.overridden = base + at as u64;
            at += overridden::ROOM;
        }
        at = at.next_multiple_of(PAGE);
        draft.table = base + at as u64;
        draft.size = (at + 8 * draft.imports.len() + 8).next_multiple_of(PAGE) + PAGE * room;
        // Stub pages lie right behind the image; the next module somewhere after them.
        base += (draft.size + PAGE * (1 + room + rng.below(16))) as u64;
    }
}

fn finish(shape: &Shape, drafts: &[Draft], m: usize, ops: &mut HashMap<u64, Op>) -> Module {
    let draft = &drafts[m];
    let stubs = shape.retpoline.then(|| lower::stubs(draft.base + draft.size as u64, ops));
    let kernel_page = drafts[0].base + drafts[0].size as u64;
    let own_page = draft.base + draft.size as u64;
    let mut functions_and_leads = shape.overrides.as_ref().map(|mode| {
        assert!(!shape.retpoline, "the kernel's functions are not retpolined here");
        overridden::functions(draft.overridden, own_page, kernel_page, mode)
    });
    let leads = functions_and_leads.as_ref().map(|(_, leads)| *leads);
    let mut linked = vec![0; draft.size];
    linked[draft.text..(draft.table - draft.base) as usize].fill(0xcc);
    for (slot, id) in draft.imports.iter().enumerate() {
        let at = (draft.table - draft.base) as usize + 8 * slot;
        linked[at..at + 8].copy_from_slice(&drafts[id.module].functions[id.function].to_le_bytes());
    }
    if let (Some(mode), Some((functions, _))) = (&shape.overrides, &mut functions_and_leads) {
        let bytes = overridden::lower(functions, kernel_page, mode, ops);
        let offset = (draft.overridden - draft.base) as usize;
        linked[offset..offset + bytes.len()].copy_from_slice(&bytes);
        if m == 0 || own_page.abs_diff(kernel_page) > 0x7f00_0000 {
            let stubs = lower::stubs(0, &mut HashMap::new()).bytes;
            functions.shared = Some(overridden::shared_page(own_page, &stubs, mode.checked, ops));
        }
    }
    let mut memory = linked.clone();
    let mut calls = Vec::new();
    let mut sites = Vec::new();
    let mut listed = Vec::new();
    for ((items, labels), start) in draft.bodies.iter().zip(&draft.functions) {
        let mut label_at = vec![0; *labels];
        let mut at = *start;
        for item in items {
            if let Item::Label(label) = item {
                label_at[*label] = at;
            }
            at += item.size() as u64;
        }
        let mut at = *start;
        for item in items {
            let function = |id: FnId| drafts[id.module].functions[id.function];
            let import = |slot: usize| (draft.table + 8 * slot as u64, function(draft.imports[slot]));
            let place = Place {
                va: at,
                base: draft.base,
                labels: &label_at,
                function: &function,
                import: &import,
                optimized: draft.optimized,
                stubs: stubs.as_ref(),
                leads,
            };
            let lowered = lower::item(item, &place);
            let (linked_bytes, memory_bytes) = (lowered.linked, lowered.memory);
            assert_eq!((linked_bytes.len(), memory_bytes.len()), (item.size(), item.size()), "{item:?}");
            let offset = (at - draft.base) as usize;
            linked[offset..offset + item.size()].copy_from_slice(&linked_bytes);
            memory[offset..offset + item.size()].copy_from_slice(&memory_bytes);
            ops.extend(lowered.ops);
            sites.extend(lowered.site);
            listed.extend(lowered.listed);
            calls.extend(lowered.overridden);
            at += item.size() as u64;
        }
    }
    Module {
        name: if m == 0 { "ntoskrnl.exe".to_owned() } else { format!("driver{m}.sys") },
        base: draft.base,
        linked,
        memory,
        optimized: draft.optimized,
        sites,
        listed,
        functions: draft.functions.clone(),
        stubs,
        overridden: functions_and_leads.map(|(functions, _)| Overridden { calls, ..functions }),
    }
}
