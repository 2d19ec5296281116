//! Sentences. Those of the events of a published listing are word for word as it has them.

use std::fmt::Write;

use super::Left;
use crate::text::bytes;
use crate::value::Field;

/// What a task is called.
pub(super) fn task(task: u16) -> Option<&'static str> {
    Some(match task {
        1 => "Capture API",
        2 => "Sizing Workflow",
        3 => "Capture Pages Workflow",
        4 => "Write Deferred Data API",
        5 => "Discard Deferred Data API",
        6 => "Policy",
        _ => return None,
    })
}

/// What a step is called.
pub(super) fn opcode(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        10 => "API start",
        11 => "API end",
        12 => "file write start",
        13 => "file write end",
        14 => "mirroring start",
        15 => "mirroring phase 0 end",
        16 => "mirroring phase 1 end",
        17 => "quiesce start",
        18 => "quiesce end",
        19 => "copy pages start",
        20 => "copy pages end",
        21 => "estimation",
        22 => "allocation",
        23 => "remove pages callbacks",
        24 => "processor context",
        25 => "mark required data",
        26 => "mark important data",
        27 => "populate bitmap",
        28 => "hypervisor collection",
        29 => "Intel PT secondary data",
        30 => "data buffering",
        31 => "corral",
        32 => "uncorral",
        33 => "capture pages",
        34 => "duplicate memory failure",
        35 => "operation failed",
        36 => "changed",
        37 => "disabled at boot",
        38 => "no IO space",
        39 => "feature callout",
        40 => "descriptor failure",
        _ => return None,
    })
}

/// An event's sentence: what it says in any case, and after the bar what it says when these fields are there.
fn sentence(id: u16) -> &'static str {
    match id {
        1 => "Live Dump Capture Dump Data API started.",
        2 => "Live Dump Capture Dump Data API ended.| NT Status: {NTStatus}.",
        3 | 203 => "Writing dump file started.",
        4 | 204 => {
            "Writing dump file ended.| NT Status: {NTStatus}. Total {TotalBytes} bytes (Header|Primary|Secondary: \
             {HeaderBytes}|{PrimaryDataBytes}|{SecondaryDataBytes} bytes)."
        }
        5 => "Live Dump Capture Dump Data API gave up: memory is short.",
        6 => "Live Dump:| {LiveDumpEventDescription}.",
        101 => "Sizing Workflow: Mirroring started.",
        102 => "Sizing Workflow: Mirroring Phase 0 ended.",
        103 => "Sizing Workflow: Mirroring Phase 1 ended.",
        104 => "Sizing Workflow: System Quiesce started.",
        105 => "Sizing Workflow: System Quiesce ended.",
        106 => {
            "Sizing Workflow: Estimation.| NT: {NtEstimatedPrimaryDataBytes} bytes (Minimum \
             {NtEstimatedRequiredPrimaryDataBytes} bytes). Hypervisor: Primary {HvEstimatedPrimaryDataBytes} bytes. \
             Secondary {HvEstimatedSecondaryDataBytes} bytes."
        }
        107 => {
            "Sizing Workflow: Allocation.| NT: {NtPrimaryDataBytes} bytes. Hypervisor: Primary {HvPrimaryDataBytes} bytes. \
             Secondary {HvSecondaryDataBytes} bytes."
        }
        108 => "Sizing Workflow: RemovePages Callbacks started.",
        109 => "Sizing Workflow: RemovePages Callbacks ended.",
        110 => "Sizing Workflow: RemovePages Callback started.",
        111 => "Sizing Workflow: RemovePages Callback ended.",
        112 => "Sizing Workflow: RemovePages Callback failed.",
        113 => "Sizing Workflow: Pages estimated and allocated.",
        114 => "Sizing Workflow: The hypervisor could not tell the size of its data.",
        115 => "Sizing Workflow: The memory partition of virtual machines could not be opened.",
        116 => "Sizing Workflow: Memory could not be allocated from the partition of virtual machines.",
        117 => "Sizing Workflow: Context of the processors collected.",
        118 => "Sizing Workflow: Required data marked.",
        119 => "Sizing Workflow: Important data marked.",
        120 => "Sizing Workflow: Bitmap populated.",
        121 => "Sizing Workflow: Processors corralled.",
        122 => "Sizing Workflow: Processors uncorralled.",
        123 => "Sizing Workflow: Memory could not be copied.",
        124 => "Sizing Workflow: IO space is not used, because pages of the secure kernel are asked for.",
        125 => "Sizing Workflow: Callout.",
        126 => "Sizing Workflow: The hypervisor could not prepare a descriptor.",
        151 => "Capture Pages Workflow: Mirroring started.",
        152 => "Capture Pages Workflow: Mirroring Phase 0 ended.",
        153 => "Capture Pages Workflow: Mirroring Phase 1 ended.",
        154 => "Capture Pages Workflow: System Quiesce started.",
        155 => "Capture Pages Workflow: System Quiesce ended.",
        156 => "Capture Pages Workflow: Copy memory pages started.",
        157 => "Capture Pages Workflow: Copy memory pages ended.",
        158 => "Capture Pages Workflow: Context of the processors collected.",
        159 => "Capture Pages Workflow: Required data marked.",
        160 => "Capture Pages Workflow: Important data marked.",
        161 => "Capture Pages Workflow: Bitmap populated.",
        162 => "Capture Pages Workflow: Data of the hypervisor collected.",
        163 => "Capture Pages Workflow: Intel PT secondary data made.",
        164 => "Capture Pages Workflow: Data buffering started.",
        165 => "Capture Pages Workflow: Processors corralled.",
        166 => "Capture Pages Workflow: Processors uncorralled.",
        167 => "Capture Pages Workflow: Pages captured.",
        168 => "Capture Pages Workflow: Memory could not be copied.",
        169 => "Capture Pages Workflow: Callout.",
        201 => "Live Dump Write Deferred Dump Data API started.",
        202 => "Live Dump Write Deferred Dump Data API ended.| NT Status: {NTStatus}.",
        251 => "Live Dump Discard Deferred Dump Data API started.",
        252 => "Live Dump Discard Deferred Dump Data API ended.| NT Status: {NTStatus}.",
        271 => "Live Dump Policy: An operation failed.",
        272 => "Live Dump Policy: Changed.",
        273 => "Live Dump Policy: Live dumps are disabled at boot.",
        _ => "",
    }
}

/// The line of an event: its sentence, the fields that are not in it, and what is to be said of the payload's end.
pub(super) fn message(
    id: u16,
    version: u16,
    task_of_header: u16,
    fields: &[Field<'_>],
    rest: usize,
    left: Left,
) -> String {
    if left == Left::Unknown {
        let of = task(task_of_header).map_or(String::new(), |task| format!("{task}: "));
        return format!("{of}event {id} version {version}, {}", bytes(rest));
    }
    let (start, end) = sentence(id).split_once('|').unwrap_or((sentence(id), ""));
    let mut line = start.to_owned();
    let mut shown = vec![false; fields.len()];
    match filled(end, fields, &mut shown) {
        Some(end) => line += &end,
        None => shown.fill(false),
    }
    let mut parts = match id {
        6 => pairs(fields, &shown),
        _ => {
            let left_over = fields.iter().zip(&shown).filter(|(_, shown)| !**shown);
            left_over.map(|(field, _)| field.to_string()).collect()
        }
    };
    match left {
        Left::More => parts.push(format!("+{}", bytes(rest))),
        Left::Misfit => parts.push(bytes(rest)),
        Left::Cut => parts.push("cut".to_owned()),
        Left::Nothing | Left::Unknown => {}
    }
    if !parts.is_empty() {
        let _ = write!(line, " {}", parts.join(", "));
    }
    line
}

/// A sentence with its fields put in; `None` when one is not there.
fn filled(template: &str, fields: &[Field<'_>], shown: &mut [bool]) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let at = fields.iter().position(|field| field.name == name)?;
        shown[at] = true;
        let _ = write!(out, "{before}{}", fields[at].value);
        rest = after;
    }
    Some(out + rest)
}

/// The pairs of name and value of event 6 that have a name.
fn pairs(fields: &[Field<'_>], shown: &[bool]) -> Vec<String> {
    let first = usize::from(shown.first() == Some(&true));
    let texts: Vec<String> = fields.iter().skip(first).map(|field| field.value.to_string()).collect();
    let pair = |pair: &[String]| match pair {
        [name, value] if !name.is_empty() => Some(format!("{name}: {value}")),
        [name] if !name.is_empty() => Some(name.clone()),
        _ => None,
    };
    texts.chunks(2).filter_map(pair).collect()
}
