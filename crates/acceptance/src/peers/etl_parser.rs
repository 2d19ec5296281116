//! Airbus CERT's etl-parser as a second judge of what this project writes: traces written anew, and extracts.
//!
//! It knows fewer kinds than dissect.etl, so it is not asked about every kind of file. What it cannot read of ours is in the
//! table with the reason.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etl_file::Trace;
use etl_file::write::{Body, EventHeader, Packing, RewriteOptions};
use testkit::trace::{Event, Header};
use xtask::outcome::Outcome;
use xtask::{paths, program};

use super::{Reading, Script, class, hook, read, read_with, sample, wpp};
use crate::command;
use crate::readers::python;

/// Its one release.
pub const ETL_PARSER: Script = Script { name: "etl_parser", requirements: &["etl-parser>=1.0.1"] };

/// What is done with the sample.
enum Made {
    /// Written anew by `etl_file::write`, with these events besides.
    Anew(Packing, Vec<Event>),
    /// Cut down by `mkdump extract`, with this option.
    Extract(&'static [&'static str]),
}

struct Case {
    name: &'static str,
    made: Made,
    cannot: Option<&'static str>,
}

const COMPRESSED: &str = "it reads no compressed files";

fn cases() -> Vec<Case> {
    let case = |name, made, cannot| Case { name, made, cannot };
    let anew = |events| Made::Anew(Packing::Plain, events);
    vec![
        case("SYSTEM and PERFINFO", anew(vec![hook(Header::System64), hook(Header::Perfinfo64)]), None),
        case("COMPACT", anew(vec![hook(Header::Compact64)]), None),
        case("FULL and EVENT_HEADER", anew(vec![class(Header::Full64), class(Header::Event64)]), None),
        case("WPP", anew(vec![wpp(0x2a)]), None),
        case("INSTANCE", anew(vec![class(Header::Instance64)]), Some("it does not know the kind")),
        case("XPRESS", Made::Anew(Packing::Xpress, Vec::new()), Some(COMPRESSED)),
        case("extract, plain", Made::Extract(&["--plain"]), None),
        case("extract", Made::Extract(&[]), Some(COMPRESSED)),
    ]
}

/// Compares what both readers find.
pub fn run(outcome: &mut Outcome) -> Result<()> {
    let interpreter = match python::environment(&ETL_PARSER)? {
        Ok(interpreter) => interpreter,
        Err(reason) => {
            outcome.add_skip(format!("peers: no etl-parser: {reason}"));
            return Ok(());
        }
    };
    let directory = paths::work("peers-written")?;
    let cases = cases();
    let mut files = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let file = directory.join(format!("{index}.etl"));
        write(&case.made, &file)?;
        files.push(file);
    }
    let start = Instant::now();
    let readings = match read_with(&ETL_PARSER, &interpreter, &files)? {
        Ok((version, readings)) => {
            println!("etl-parser {version}, {:.1} s", start.elapsed().as_secs_f64());
            readings
        }
        Err(reason) => {
            outcome.add_failure(format!("peers: etl-parser: {reason}"));
            return Ok(());
        }
    };
    for ((case, file), theirs) in cases.iter().zip(&files).zip(readings) {
        let ours = read(file)?;
        match (agree(&ours, &theirs), case.cannot) {
            (true, None) => outcome.add_pass(),
            (true, Some(reason)) => {
                outcome.add_failure(format!("peers: {}: etl-parser reads it, though {reason:?}", case.name));
            }
            (false, Some(reason)) => {
                println!("{}: etl-parser does not read it, {reason}: {theirs}; {ours} here", case.name);
                outcome.add_pass();
            }
            (false, None) => outcome.add_failure(format!("peers: {}: etl-parser: {theirs}; {ours} here", case.name)),
        }
    }
    Ok(())
}

/// The same events; it tells no time of WPP messages.
fn agree(ours: &Reading, theirs: &Reading) -> bool {
    let same =
        |(ours, theirs): (&super::Seen, &super::Seen)| ours.0 == theirs.0 && (theirs.1.is_none() || ours.1 == theirs.1);
    theirs.failure.is_none()
        && ours.events.len() == theirs.events.len()
        && ours.events.iter().zip(&theirs.events).all(same)
}

fn write(made: &Made, file: &Path) -> Result<()> {
    let mut trace = sample();
    if let Made::Anew(_, events) = made {
        for event in events {
            trace.log(0, event.clone());
        }
    }
    let bytes = trace.finish();
    match made {
        Made::Anew(packing, _) => {
            let trace = Trace::parse(&bytes)?;
            let mut options = RewriteOptions::of(&trace);
            options.packing = *packing;
            let keep = |raw: &etl_file::RawEvent<'_>, body: &mut Body| match raw.parse() {
                Ok(event) => body.event(&EventHeader::of(&event).with_extensions(&event), event.payload),
                Err(_) => Ok(()),
            };
            std::fs::write(file, trace.rewrite(&options, &keep, Vec::new())?.0)?;
        }
        Made::Extract(options) => {
            let whole = file.with_extension("whole.etl");
            std::fs::write(&whole, bytes)?;
            let mut mkdump = command::mkdump()?;
            mkdump.args(["extract", "--quiet"]).args(*options).arg("--etl").arg(&whole).arg("-o").arg(file);
            let captured = program::capture(&mut mkdump, Duration::from_secs(60))?;
            ensure!(captured.success(), "{}: {}", program::shown(&mkdump), captured.stderr);
        }
    }
    Ok(())
}
