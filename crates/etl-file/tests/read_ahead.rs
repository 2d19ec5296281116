//! What a trace says of its bytes before it reads them.

use etl_file::{Filter, ReadAhead, SurveyOptions, Trace};
use std::ops::Range;
use std::sync::Mutex;
use testkit::trace::{Compression, TraceFile, shaped_file};

/// Remembers what it was told.
#[derive(Default)]
struct Told(Mutex<Vec<Range<u64>>>);

impl ReadAhead for Told {
    fn read_ahead(&self, part: Range<u64>) {
        self.0.lock().unwrap().push(part);
    }
}

type Pass = fn(&Trace<'_>);

/// Every pass announces every byte of the file once, a MiB at a time.
fn check(case: &str, file: &[u8]) {
    const MIB: u64 = 1 << 20;
    let survey: Pass = |trace| drop(trace.survey(&SurveyOptions::default()));
    let fold: Pass = |trace| drop(trace.par_fold(Filter::all(), || (), |(), _| (), |(), ()| ()));
    for pass in [survey, fold] {
        let told = Told::default();
        pass(&Trace::parse(file).unwrap().with_read_ahead(&told));
        let mut parts = told.0.into_inner().unwrap();
        parts.sort_by_key(|part| part.start);
        let length = file.len() as u64;
        let expected: Vec<Range<u64>> =
            (0..length.div_ceil(MIB)).map(|number| number * MIB..((number + 1) * MIB).min(length)).collect();
        assert_eq!(parts, expected, "{case}");
    }
}

#[test]
fn every_byte_is_announced_once_by_each_pass() {
    for compression in [Compression::None, Compression::Xpress] {
        check(&format!("{compression:?}"), &shaped_file(compression, 40 << 20));
    }
}

/// The same of buffers that hold nothing, of one that is larger than what is announced at a time, and of a tail.
#[test]
fn a_file_without_events_is_announced_too() {
    let mut trace = TraceFile::new();
    (0..300).for_each(|_| {
        trace.buffer(0, None, Vec::new());
    });
    check("buffers of 64 KiB", &trace.finish());
    trace.preallocated = 100;
    check("with a tail", &trace.finish());
    let mut trace = TraceFile::new();
    trace.buffer_size = 3 << 20;
    (0..7).for_each(|_| {
        trace.buffer(0, None, Vec::new());
    });
    check("buffers of 3 MiB", &trace.finish());
    check("a single buffer", &TraceFile::new().finish());
}
