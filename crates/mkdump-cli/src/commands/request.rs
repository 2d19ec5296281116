//! `mkdump request`: a script that asks the trace's owner for what nobody else has.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use mkdump::request::{Request, RequestItem, Why};
use mkdump::snapshot::Module;
use mkdump::{Output, Wanted};

use super::{Outcome, kernel_modules, open, print, search, suggest, warn};
use crate::args::{RequestCommand, TalkArgs};
use crate::outputs;
use crate::progress::Bars;
use crate::show::next::{Job, Next};
use crate::show::text::{count, printable};

/// Writes the script, and says which modules it asks for.
pub fn run(command: &RequestCommand, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let named: Vec<_> = command.output.as_deref().map(|path| ("--output", path)).into_iter().collect();
    outputs::check(&named, &outputs::of_source(&command.source))?;
    let source = open(&command.source)?;
    let reading = source.read(Wanted::default(), &bars).map_err(mkdump::Error::from)?;
    mkdump::require_kernel_modules(&source, &reading)?;
    let modules = kernel_modules(&reading, &command.select)?;
    warn(&reading.warnings, talk);
    let index = search(&command.modules).index(&modules, &bars).map_err(mkdump::Error::from)?;
    let missing = mkdump::missing(&modules, &index);
    let items = items(&missing, command, &bars)?;
    bars.finish();
    let request = Request::new(&items);
    if items.is_empty() {
        if !talk.quiet {
            eprintln!("nothing is missing, so there is nothing to ask for");
        }
        return Ok(Outcome::Done);
    }
    if !talk.quiet {
        for (name, why) in request.modules() {
            let why = match why {
                Why::NotOnServer => "the symbol server does not have it",
                Why::NotAsked => "no server was asked; the script leaves it out if it is Microsoft's",
            };
            eprintln!("  {}: {why}", printable(name));
        }
        for (name, why) in request.left_out() {
            eprintln!("  {} cannot be asked for: {why}", printable(name));
        }
    }
    match &command.output {
        None => print(&request.script())?,
        Some(path) => {
            let mut output = Output::create(path).map_err(mkdump::Error::from)?;
            output.write_all(request.script().as_bytes())?;
            output.commit().map_err(mkdump::Error::from)?;
            let asked = request.modules().count();
            if !talk.quiet {
                eprintln!("{}: {} asked for", printable(&path.to_string_lossy()), count(asked as u64, "module"));
            }
            if asked > 0 {
                suggest(&after_request(command, path), talk);
            }
        }
    }
    Ok(Outcome::Done)
}

/// After a request: its way to the owner, and what comes back.
fn after_request(command: &RequestCommand, script: &Path) -> Vec<Next> {
    let job = Job { source: &command.source, modules: Some(&command.modules), select: &command.select };
    let name = script.file_name().unwrap_or(script.as_os_str()).to_string_lossy();
    vec![
        Next::new(
            "on the traced machine",
            format!("powershell -ExecutionPolicy Bypass -File \"{}\"", name.replace('"', "")),
        ),
        Next::new("with what comes back", job.build_with(Path::new("mkdump-modules.zip"), None)),
    ]
}

/// What to ask for: all that is missing, or what the server does not have.
fn items(missing: &[&Module], command: &RequestCommand, bars: &Bars) -> Result<Vec<RequestItem>> {
    let all = |why| move |module: &&Module| RequestItem { wanted: mkdump::wanted(module), why };
    #[cfg(feature = "fetch")]
    if let Some(server) = &command.symbol_server {
        use symstore::fetch::Outcome as Fetched;
        use symstore::{ServerFile, SymbolPath};

        let store = super::fetch::store(command.store.clone(), &SymbolPath::from_environment());
        let mut items = Vec::new();
        let (mut files, mut asked) = (Vec::new(), Vec::new());
        for module in missing {
            match ServerFile::image(&mkdump::wanted(module)) {
                Ok(file) => {
                    files.push(file);
                    asked.push(*module);
                }
                Err(_) => items.push(all(Why::NotAsked)(module)),
            }
        }
        let outcomes = super::fetch::fetch_all(&files, std::slice::from_ref(server), store, bars)?;
        items.extend(asked.into_iter().zip(outcomes).filter_map(|(module, outcome)| match outcome {
            Fetched::Present { .. } | Fetched::Fetched { .. } => None,
            Fetched::NotThere | Fetched::Discarded { .. } => Some(all(Why::NotOnServer)(&module)),
            _ => Some(all(Why::NotAsked)(&module)),
        }));
        return Ok(items);
    }
    let _ = (command, bars);
    Ok(missing.iter().map(all(Why::NotAsked)).collect())
}
