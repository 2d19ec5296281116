//! `mkdump request`: a script that asks the trace's owner for what no symbol server has.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use mkdump::request::{Request, RequestItem, Why};
use mkdump::snapshot::Module;
use mkdump::{Output, Wanted};

use super::session::{kernel_modules, open, print, search};
use super::{Outcome, Session};
use crate::args::RequestCommand;
use crate::outputs;
use crate::progress::Bars;
use crate::show::next::{Job, Next};
use crate::show::text::{count, printable};
use crate::show::{request as shown, width};

/// Writes the script, and says which modules it asks for.
pub fn run(command: &RequestCommand, session: &Session) -> Result<Outcome> {
    let named: Vec<_> = command.output.as_deref().map(|path| ("--output", path)).into_iter().collect();
    outputs::check(&named, &outputs::of_source(&command.source))?;
    let source = open(&command.source)?;
    let reading = session.read(&source, Wanted::default())?;
    let modules = kernel_modules(&source, &reading, &command.select)?;
    session.warn(&reading.warnings);
    let index = search(&command.modules).index(&modules, &session.bars).map_err(mkdump::Error::from)?;
    let missing = mkdump::missing(&modules, &index);
    let items = items(&missing, command, &session.bars)?;
    session.bars.finish();
    let request = Request::new(&items);
    if items.is_empty() {
        session.say("No file is missing, so there is nothing to ask for.\n");
        return Ok(Outcome::Done);
    }
    session.say(&shown::asked_for(&request, session.talk.verbose, width::stderr()));
    match &command.output {
        None => print(&request.script())?,
        Some(path) => {
            let mut output = Output::create(path).map_err(mkdump::Error::from)?;
            output.write_all(request.script().as_bytes())?;
            output.commit().map_err(mkdump::Error::from)?;
            let asked = count(request.modules().count() as u64, "module");
            session.say(&format!("{}: asks for {asked}\n", printable(&path.to_string_lossy())));
            if request.modules().next().is_some() {
                session.suggest(&after_request(command, path));
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
