//! From bound modules to the junctions that [`call_forms`] takes: where calls of overridden functions lead, and whether the
//! kernel's functions for guarded calls look at kernel CFG's bitmap.

use std::collections::{BTreeSet, HashMap};

use address_map::ModuleId;
use call_forms::{FirstJump, Junction, Leads, MAX_WAYS, Routes, Way};
use pe_image::{Bdd, Capabilities, MappedImage, OverrideTarget, OverrideWays, StubBlock};

/// The most nodes of a diagram whose calls are weighed; those of known files have 15 at most.
const MAX_NODES: usize = 1024;

/// What the votes of one decision are about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The module that is asked by itself; `None` for all that follow the machine.
    pub module: Option<ModuleId>,
    /// The diagram that decides; `None` for the question whether kernel CFG is on: first no, then yes.
    pub diagram: Option<Bdd>,
    /// The functions by way. The first is what the machine is taken to choose.
    pub targets: Vec<OverrideTarget>,
    /// By way: all that a walk through the diagram may end in for it.
    pub(crate) ends: Vec<Vec<OverrideTarget>>,
}

/// Junctions, and what they are asked.
#[derive(Debug, Default)]
pub(crate) struct Junctions {
    pub questions: Vec<Question>,
    pub routes: Vec<Routes>,
    pub junctions: Vec<Junction>,
    /// The question of each diagram, with what of its alternatives is the same.
    known: HashMap<Key, usize>,
    /// Functions for guarded calls that are asked already.
    asked: BTreeSet<u64>,
}

/// A module or all; nodes; which alternatives are the same; the kernel's own function.
type Key = (Option<ModuleId>, Vec<(u16, u16, u32)>, Vec<usize>, usize);

impl Junctions {
    /// Adds the calls of a module's image. `alone` says that it is asked by itself.
    pub fn add(&mut self, module: ModuleId, image: &MappedImage<'_>, stubs: Option<&StubBlock>, alone: bool) {
        let scope = alone.then_some(module);
        let capabilities = image.capabilities();
        for ways in image.override_ways() {
            let nodes = ways.diagram.nodes.len();
            if ways.targets.len() < 2 || ways.targets.len() > MAX_WAYS || nodes > MAX_NODES || ways.calls.is_empty() {
                continue;
            }
            let is_guarded = ways.targets.contains(&OverrideTarget::System(Capabilities::GUARDED_CALL));
            let dispatch = if is_guarded { dispatch_functions(image, stubs) } else { Some(Vec::new()) };
            // Without the module's own dispatch function, one TIP cannot be told from another.
            let Some(dispatch) = dispatch else { continue };
            let (decision, order) = self.question(scope, &ways, &capabilities);
            self.add_calls(&ways, (decision, &order), &dispatch, is_guarded);
            if let Some(stubs) = stubs.filter(|_| is_guarded && ways.calls.iter().any(|call| call.is_copy)) {
                self.add_guarded_calls(stubs, image.address(image.stub_rva()).0);
            }
        }
    }

    /// The decision of an override, and its targets in the order of ways.
    fn question(
        &mut self,
        scope: Option<ModuleId>,
        ways: &OverrideWays,
        capabilities: &Capabilities,
    ) -> (usize, Vec<usize>) {
        let nodes: Vec<_> = ways.diagram.nodes.iter().map(|node| (node.left, node.right, node.value)).collect();
        let has_system = |capability| ways.targets.contains(&OverrideTarget::System(capability));
        // Which target a walk's end is.
        let target_of = |end: OverrideTarget| match end {
            OverrideTarget::Alternative(number) => ways.alternatives.get(number as usize).copied(),
            end => ways.targets.iter().position(|&target| target == end),
        };
        let chosen = target_of(ways.diagram.choose(capabilities, has_system).target).unwrap_or(0);
        let mut order: Vec<usize> = (0..ways.targets.len()).collect();
        order.remove(chosen);
        order.insert(0, chosen);
        let key = (scope, nodes, ways.alternatives.clone(), ways.targets.len());
        let questions = &mut self.questions;
        let decision = *self.known.entry(key).or_insert_with(|| {
            let all = ways.targets.iter().copied();
            let all = all.chain((0..ways.alternatives.len() as u32).map(OverrideTarget::Alternative));
            let mut ends = vec![Vec::new(); order.len()];
            for end in all {
                let way = target_of(end).and_then(|target| order.iter().position(|&of_way| of_way == target));
                if let Some(ends) = way.map(|way| &mut ends[way]).filter(|ends| !ends.contains(&end)) {
                    ends.push(end);
                }
            }
            questions.push(Question {
                module: scope,
                diagram: Some(ways.diagram.clone()),
                targets: order.iter().map(|&target| ways.targets[target]).collect(),
                ends,
            });
            questions.len() - 1
        });
        (decision, order)
    }

    fn add_calls(
        &mut self,
        ways: &OverrideWays,
        (decision, order): (usize, &[usize]),
        dispatch: &[u64],
        is_guarded: bool,
    ) {
        // Calls of one function differ in where they lead when some reach the kernel and others do not.
        let mut routes_of: Vec<(Vec<u64>, usize)> = Vec::new();
        for call in &ways.calls {
            let Some(leads) = order.iter().map(|&target| Some(call.leads[target]?.0)).collect::<Option<Vec<u64>>>()
            else {
                continue;
            };
            let known = routes_of.iter().find(|(known, _)| *known == leads).map(|(_, routes)| *routes);
            let routes = known.unwrap_or_else(|| {
                let way = |(&to, &target): (&u64, &usize)| Way {
                    leads: Leads::To(to),
                    first: match ways.targets[target] {
                        OverrideTarget::Original if is_guarded => FirstJump::ToDispatch,
                        OverrideTarget::System(_) if is_guarded => FirstJump::Elsewhere,
                        _ => FirstJump::Any,
                    },
                };
                let ways = leads.iter().zip(order).map(way).collect();
                self.routes.push(Routes { decision, ways, dispatch: dispatch.to_vec() });
                routes_of.push((leads, self.routes.len() - 1));
                self.routes.len() - 1
            });
            self.junctions.push(Junction { va: call.address.0, call: call.call, routes });
        }
    }

    /// Adds the functions for guarded calls in the page of shared code at `page`.
    pub fn add_guarded_calls(&mut self, stubs: &StubBlock, page: u64) {
        for start in stubs.guarded_calls().map(|offset| page.wrapping_add(offset.into())) {
            if !self.asked.insert(start) {
                continue;
            }
            let existing = self.questions.iter().position(|question| question.diagram.is_none());
            let decision = existing.unwrap_or_else(|| {
                let (targets, ends) = (Vec::new(), Vec::new());
                self.questions.push(Question { module: None, diagram: None, targets, ends });
                self.questions.len() - 1
            });
            let checks = start.wrapping_add(StubBlock::GUARDED_CALL_SIZE.into());
            let way = |leads| Way { leads, first: FirstJump::Any };
            let ways = vec![way(Leads::Tip), way(Leads::To(checks))];
            self.routes.push(Routes { decision, ways, dispatch: Vec::new() });
            self.junctions.push(Junction { va: start, call: false, routes: self.routes.len() - 1 });
        }
    }
}

/// The dispatch functions that a guarded call of an image may go through as linked: its own, to which its pointer leads in
/// the file, and with kernel CFG the kernel's. `None` when it has no pointer.
fn dispatch_functions(image: &MappedImage<'_>, stubs: Option<&StubBlock>) -> Option<Vec<u64>> {
    let pointer = image.file().load_config().ok()??.guard_cf_dispatch_pointer?;
    let mut bytes = [0; 8];
    image.read(pointer, &mut bytes);
    let own = Some(u64::from_le_bytes(bytes)).filter(|&address| address != 0)?;
    let kernel = stubs.and_then(|stubs| Some((stubs, stubs.address()?.0)));
    let kernels = kernel
        .into_iter()
        .flat_map(|(stubs, page)| stubs.guarded_calls().map(move |offset| page.wrapping_add(offset.into())));
    Some([own].into_iter().chain(kernels).collect())
}
