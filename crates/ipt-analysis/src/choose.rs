//! Which of the snapshots: by number, time, processor, process and thread.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What is known about a snapshot. All of it is unknown for data from a file, but for the file and perhaps the thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name of the file that it is from, when it is not from the trace.
    pub file: Option<String>,
    /// Seconds from the start of the trace to the event that triggered it.
    pub time: Option<f64>,
    /// Logical processor.
    pub cpu: Option<u16>,
    /// Process.
    pub pid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// Name of the process.
    pub process: Option<String>,
    /// Name of the thread.
    pub thread: Option<String>,
    /// Kind of the event that triggered it.
    pub trigger: Option<String>,
}

/// A choice of snapshots. What is given must all hold; of several values of one kind any will do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotChoice {
    /// Numbers in the list of all snapshots.
    pub numbers: Vec<RangeInclusive<usize>>,
    /// Triggered at this time or later, in seconds from the start of the trace.
    pub from: Option<f64>,
    /// Triggered at this time or earlier.
    pub to: Option<f64>,
    /// Logical processors.
    pub cpus: Vec<u16>,
    /// Processes by name, without regard to case and with or without `.exe`, or by id.
    pub processes: Vec<String>,
    /// Threads by id.
    pub threads: Vec<u32>,
}

/// What a choice of snapshots can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// [`SnapshotChoice::numbers`].
    Number,
    /// [`SnapshotChoice::from`].
    From,
    /// [`SnapshotChoice::to`].
    To,
    /// [`SnapshotChoice::cpus`].
    Cpu,
    /// [`SnapshotChoice::processes`].
    Process,
    /// [`SnapshotChoice::threads`].
    Thread,
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Self::Number => "snapshot",
            Self::From => "from",
            Self::To => "to",
            Self::Cpu => "processor",
            Self::Process => "process",
            Self::Thread => "thread",
        }
    }

    /// What a snapshot is that fulfils it, after "none of the snapshots is".
    fn what(self) -> &'static str {
        match self {
            Self::Number => "of that number",
            Self::From => "that late",
            Self::To => "that early",
            Self::Cpu => "of that processor",
            Self::Process => "of that process",
            Self::Thread => "of that thread",
        }
    }
}

/// A choice that leaves no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {value}: {why}", condition.name())]
#[non_exhaustive]
pub struct ChoiceError {
    /// The condition that nothing fulfils.
    pub condition: Condition,
    /// The value asked for.
    pub value: String,
    /// What there is to choose from, as a sentence.
    pub why: String,
}

impl SnapshotChoice {
    /// The numbers of the snapshots that are chosen, ascending: all of them when nothing is asked for.
    ///
    /// # Errors
    /// When a condition leaves none. The error says what there is to choose from.
    pub fn apply(&self, all: &[Facts]) -> Result<Vec<usize>, ChoiceError> {
        let mut chosen: Vec<usize> = (0..all.len()).collect();
        self.check_numbers(all.len())?;
        if !self.numbers.is_empty() {
            chosen.retain(|index| self.numbers.iter().any(|range| range.contains(index)));
        }
        let steps: [Step<'_>; 5] = [
            (Condition::Cpu, list(&self.cpus), &|facts| self.cpus.is_empty() || holds(&self.cpus, facts.cpu)),
            (Condition::Process, self.processes.join(","), &|facts| {
                self.processes.is_empty() || self.processes.iter().any(|process| is_process(process, facts))
            }),
            (Condition::Thread, list(&self.threads), &|facts| {
                self.threads.is_empty() || holds(&self.threads, facts.tid)
            }),
            (Condition::From, self.from.map(|from| from.to_string()).unwrap_or_default(), &|facts| {
                self.from.is_none_or(|from| facts.time.is_some_and(|time| time >= from))
            }),
            (Condition::To, self.to.map(|to| to.to_string()).unwrap_or_default(), &|facts| {
                self.to.is_none_or(|to| facts.time.is_some_and(|time| time <= to))
            }),
        ];
        for (condition, value, keep) in steps {
            let left: Vec<usize> = chosen.iter().copied().filter(|&index| keep(&all[index])).collect();
            if left.is_empty() && !chosen.is_empty() {
                let before: Vec<&Facts> = chosen.iter().map(|&index| &all[index]).collect();
                let many = before.len() < all.len();
                let of = if many { "of the snapshots that the other conditions leave" } else { "of the snapshots" };
                let why = format!("none {of} is {}; {}", condition.what(), there_is(condition, &before));
                return Err(ChoiceError { condition, value, why });
            }
            chosen = left;
        }
        Ok(chosen)
    }

    fn check_numbers(&self, count: usize) -> Result<(), ChoiceError> {
        let Some(range) = self.numbers.iter().find(|range| *range.end() >= count) else { return Ok(()) };
        let value = if range.start() == range.end() {
            range.start().to_string()
        } else {
            format!("{}-{}", range.start(), range.end())
        };
        let why = match count {
            0 => "there are no snapshots".to_owned(),
            1 => "there is one snapshot, number 0".to_owned(),
            _ => format!("there are snapshots 0 to {}", count - 1),
        };
        Err(ChoiceError { condition: Condition::Number, value, why })
    }
}

/// A condition, its value, and what it keeps.
type Step<'a> = (Condition, String, &'a dyn Fn(&Facts) -> bool);

fn holds<T: PartialEq>(wanted: &[T], found: Option<T>) -> bool {
    found.is_some_and(|found| wanted.contains(&found))
}

fn is_process(wanted: &str, facts: &Facts) -> bool {
    let stem = |name: &str| name.to_lowercase().trim_end_matches(".exe").to_owned();
    wanted.parse::<u32>().is_ok_and(|pid| facts.pid == Some(pid))
        || facts.process.as_ref().is_some_and(|name| stem(name) == stem(wanted))
}

/// Things of a list that an error names.
const NAMED: usize = 12;

/// What there is to choose from, for an error.
fn there_is(condition: Condition, facts: &[&Facts]) -> String {
    let found: BTreeSet<(u64, String)> = match condition {
        Condition::Cpu => facts.iter().filter_map(|f| f.cpu).map(|cpu| (cpu.into(), cpu.to_string())).collect(),
        Condition::Process => facts.iter().filter_map(|f| Some((f.pid?.into(), of_process(f)?))).collect(),
        Condition::Thread => facts.iter().filter_map(|f| Some((f.tid?.into(), f.tid?.to_string()))).collect(),
        _ => {
            let times = || facts.iter().filter_map(|f| f.time);
            let (first, last) = (times().fold(f64::INFINITY, f64::min), times().fold(f64::NEG_INFINITY, f64::max));
            if first > last {
                return "they are from files, whose times are not known".into();
            }
            return format!("they are from {first:.6} to {last:.6} s");
        }
    };
    if found.is_empty() {
        return "they are from files, for which this is not known".into();
    }
    let more = found.len().saturating_sub(NAMED);
    let names: Vec<String> = found.into_iter().take(NAMED).map(|(_, name)| name).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("there are {}{more}", names.join(", "))
}

fn of_process(facts: &Facts) -> Option<String> {
    let pid = facts.pid?;
    Some(facts.process.as_ref().map_or_else(|| pid.to_string(), |name| format!("{name} ({pid})")))
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{Facts, SnapshotChoice};

    fn facts() -> Vec<Facts> {
        let of = |time, cpu, pid, tid, process: &str| Facts {
            time: Some(time),
            cpu: Some(cpu),
            pid: Some(pid),
            tid: Some(tid),
            process: Some(process.to_owned()).filter(|name| !name.is_empty()),
            ..Facts::default()
        };
        let saved = Facts { file: Some("saved.txt".into()), ..Facts::default() };
        vec![
            of(0.5, 0, 4, 8, "System"),
            of(1.0, 0, 1234, 5000, "demo.exe"),
            of(1.5, 1, 1234, 5004, "Demo.exe"),
            of(2.0, 1, 77, 78, ""),
            saved,
        ]
    }

    fn choice(change: impl FnOnce(&mut SnapshotChoice)) -> SnapshotChoice {
        let mut choice = SnapshotChoice::default();
        change(&mut choice);
        choice
    }

    #[test]
    fn all_conditions_hold() {
        let check = |choice: SnapshotChoice, expected: &[usize]| {
            assert_eq!(choice.apply(&facts()).unwrap(), expected, "{choice:?}");
        };
        check(SnapshotChoice::default(), &[0, 1, 2, 3, 4]);
        check(choice(|c| c.numbers = vec![0..=0, 2..=3]), &[0, 2, 3]);
        check(choice(|c| c.from = Some(1.0)), &[1, 2, 3]);
        check(choice(|c| (c.from, c.to) = (Some(0.9), Some(1.5))), &[1, 2]);
        check(choice(|c| c.processes = vec!["DEMO".into()]), &[1, 2]);
        check(choice(|c| c.processes = vec!["77".into(), "system".into()]), &[0, 3]);
        check(choice(|c| c.threads = vec![5004, 8]), &[0, 2]);
        check(choice(|c| (c.cpus, c.processes) = (vec![1], vec!["1234".into()])), &[2]);
        assert_eq!(SnapshotChoice::default().apply(&[]).unwrap(), [0; 0]);
    }

    #[test]
    fn an_empty_choice_says_what_there_is() {
        let check = |choice: SnapshotChoice, words: &[&str]| {
            let error = choice.apply(&facts()).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
        };
        check(choice(|c| c.numbers = vec![3..=5]), &["snapshot 3-5", "0 to 4"]);
        check(
            choice(|c| c.processes = vec!["nobody".into()]),
            &["process nobody", "System (4)", "demo.exe (1234)", "77"],
        );
        check(choice(|c| c.threads = vec![1]), &["thread 1", "8, 78, 5000, 5004"]);
        check(choice(|c| c.cpus = vec![9]), &["processor 9", "0, 1"]);
        check(choice(|c| c.from = Some(2.5)), &["from 2.5", "0.500000 to 2.000000"]);
        check(choice(|c| (c.cpus, c.to) = (vec![1], Some(1.0))), &["to 1", "1.500000 to 2.000000"]);
        check(choice(|c| (c.numbers, c.cpus) = (vec![4..=4], vec![1])), &["processor 1", "not known"]);
        let none = choice(|c| c.numbers = vec![0..=0]).apply(&[]).unwrap_err().to_string();
        assert!(none.contains("no snapshots"), "{none}");
    }
}
