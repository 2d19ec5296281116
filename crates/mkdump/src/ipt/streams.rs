//! How well Intel PT streams agree with the code, where they were walked over for a verdict.

use call_forms::Verdict;
use intel_pt::flow::Quality;
use ipt_analysis::quality::out_of_step;
use kernel_code::System;

/// How well Intel PT streams agree with the code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamsQuality {
    /// Streams that were walked over, as far as a verdict needed.
    pub streams: usize,
    /// How many of them contradict the code so often that it is not what ran.
    pub doubtful: usize,
    /// All of them together. Shares mean little, because these walks skip what can be misunderstood.
    pub sum: Quality,
}

impl StreamsQuality {
    /// From the walks of a system's verdict; nothing when there were none.
    pub fn of(system: &System<'_>) -> Option<Self> {
        Self::of_verdict(&system.evidence()?.verdict)
    }

    fn of_verdict(verdict: &Verdict) -> Option<Self> {
        let walked = || verdict.streams.iter().filter(|quality| quality.bytes > 0);
        let streams = walked().count();
        let doubtful = walked().filter(|quality| out_of_step(quality).is_some()).count();
        (streams > 0).then(|| Self { streams, doubtful, sum: walked().copied().sum() })
    }

    /// What is doubtful when more than a tenth of the streams, or all of them together, contradict the code.
    pub fn doubt(&self) -> Option<String> {
        let many = self.doubtful * 10 > self.streams || out_of_step(&self.sum).is_some();
        many.then(|| {
            format!(
                "{} of {} snapshots of Intel PT data contradict the code all the time ({} times in {} bytes): the module files are \
                 not what ran, and what was decided from this data may be wrong",
                self.doubtful,
                self.streams,
                self.sum.out_of_step(),
                self.sum.bytes
            )
        })
    }
}
