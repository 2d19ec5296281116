//! What a build asks the IPT data: was import optimization on, was retpoline, which modules were touched.

use pe_image::StubBlock;

use super::Choice;
use super::options::BuildOptions;
use crate::images::Bound;
use crate::ipt::closure::reached;
use crate::ipt::detect::Detection;
use crate::ipt::input::Snapshot;
use crate::ipt::touched::Touched;
use crate::snapshot::Architecture;
use call_forms::Verdict;

/// What the IPT data says about load-time changes.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// The verdict.
    pub verdict: Verdict,
    /// The entry of each module in [`Verdict::per_module`].
    pub modules: Vec<usize>,
}

/// Asks. Nothing comes back when there is no IPT data, the machine is no x64, or the user has answered both questions.
pub(super) fn ask(
    bound: &Bound<'_>,
    stubs: Option<&StubBlock>,
    snapshots: &[Snapshot<'_>],
    architecture: Architecture,
    options: &BuildOptions,
) -> Option<Evidence> {
    let open = options.import_optimization == Choice::Auto || options.retpoline == Choice::Auto;
    if snapshots.is_empty() || !open || architecture != Architecture::Amd64 {
        return None;
    }
    let detection = Detection::new(bound, stubs);
    let streams: Vec<&[u8]> = snapshots.iter().map(|snapshot| &*snapshot.bytes).collect();
    Some(Evidence { verdict: detection.detect(&streams), modules: detection.modules().collect() })
}

/// Leaves out what the IPT data does not reach; `direct` says in which modules import calls are direct.
pub(super) fn keep_touched(bound: &mut Bound<'_>, touched: Touched, direct: impl Fn(usize) -> bool + Sync) {
    let reach = reached(bound, touched, direct).reach;
    bound.exclude(|entry| reach[entry].is_none().then(|| "not touched by the IPT data".to_owned()));
}
