//! `mkdump sessions`: the trace sessions that a dump holds, listed and saved.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use etw_sessions::Session as TraceSession;
use mkdump::report::{SavedReport, SessionsReport};
use mkdump::{Error, Output, OutputDirectory, SessionList, SessionListOptions, Source, Wanted, find_sessions};

use super::session::{print, print_json, search_given};
use super::{Outcome, Session};
use crate::args::{ModulesArgs, SelectArgs, SessionsCommand, SourceArgs};
use crate::outputs;
use crate::show::next::{Job, Next};
use crate::show::{sessions, width};

/// Lists the sessions of a dump, and saves those that are asked for.
pub fn run(command: &SessionsCommand, session: &Session) -> Result<Outcome> {
    let saves: Vec<(&str, &Path)> =
        command.save.chunks_exact(2).map(|pair| (pair[0].as_str(), Path::new(pair[1].as_str()))).collect();
    let named: Vec<_> = saves.iter().map(|(_, file)| ("--save", *file)).collect();
    outputs::check(&named, &inputs(command))?;
    if let Some(directory) = command.all.as_deref().filter(|directory| directory.symlink_metadata().is_ok()) {
        bail!("--all {}: this exists already; name a new directory", directory.display());
    }
    let source = Source::open_dumps(std::slice::from_ref(&command.dump)).map_err(Error::from)?;
    let reading = session.read(&source, Wanted::default())?;
    let options = SessionListOptions {
        pdb: command.pdb.clone(),
        // Without a default: the current directory is not a symbol store, and looking through it would take its time.
        search: search_given(&ModulesArgs { modules: command.modules.clone(), no_cache: false }),
    };
    let list = find_sessions(&reading, &options).inspect_err(|error| {
        if let Error::UnknownSessions { tried, .. } = error {
            session.finish(tried);
            let kernel =
                reading.snapshot.modules.iter().find(|module| Some(module.base) == reading.snapshot.kernel_base);
            session.suggest(&after_unknown(command, kernel.map(|kernel| &*kernel.name)));
        }
    })?;
    // Every choice is made before the first file is written.
    let chosen: Vec<_> = saves
        .iter()
        .map(|(name, file)| Ok((list.found.sessions.choose(name)?, *file)))
        .collect::<Result<_, etw_sessions::NoSuchSession>>()
        .with_context(|| format!("{}: nothing was written", command.dump.display()))?;
    let mut saved = Vec::new();
    for (chosen, file) in chosen {
        saved.push(save(&list, chosen, file)?);
    }
    if let Some(directory) = &command.all {
        save_all(&list, directory, &mut saved)?;
    }
    let report = SessionsReport::new(&list, saved);
    session.finish(&report.warnings);
    if command.json {
        print_json(&report)?;
    } else {
        session.introduce(&reading);
        print(&sessions::table(&report, width::stdout()))?;
        session.say(&sessions::remarks(&report));
        session.suggest(&after_list(command, &report));
    }
    let left_out = list.found.sessions.sessions.iter().any(|session| session.left_out.all() > 0);
    let is_doubtful = !report.warnings.is_empty() || left_out;
    Ok(if command.strict && is_doubtful { Outcome::Amiss } else { Outcome::Done })
}

fn inputs(command: &SessionsCommand) -> Vec<&Path> {
    std::iter::once(&command.dump).chain(&command.pdb).map(PathBuf::as_path).collect()
}

fn save(list: &SessionList<'_>, chosen: &TraceSession, file: &Path) -> Result<SavedReport> {
    let output = Output::create(file).map_err(Error::from)?;
    let (output, saved) = list
        .found
        .save(chosen, output)
        .with_context(|| format!("session {} cannot be saved as {}", chosen.id, file.display()))?;
    output.commit().map_err(Error::from)?;
    Ok(SavedReport::new(chosen, file.to_string_lossy(), saved))
}

fn save_all(list: &SessionList<'_>, path: &Path, saved: &mut Vec<SavedReport>) -> Result<()> {
    let directory = OutputDirectory::create(path).map_err(Error::from)?;
    let host = list.found.sessions.silos.first().and_then(|silo| silo.state);
    for chosen in list.found.sessions.sessions.iter().filter(|session| session.events() > 0) {
        let name = file_name(chosen, host);
        let output = directory.file(&name).map_err(Error::from)?;
        let (_, written) = list
            .found
            .save(chosen, output)
            .with_context(|| format!("session {} cannot be saved in {}", chosen.id, path.display()))?;
        saved.push(SavedReport::new(chosen, path.join(name).to_string_lossy(), written));
    }
    Ok(directory.commit().map_err(Error::from)?)
}

/// A session's name as part of a file's: nothing but letters, digits and hyphens of it, since it comes from the dump.
fn file_name(session: &TraceSession, host: Option<u64>) -> String {
    const LONGEST: usize = 60;
    let name = session.name.as_deref().unwrap_or_default();
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(LONGEST).collect();
    match session.silo.filter(|silo| host.is_some_and(|host| host != *silo)) {
        Some(silo) => format!("session-{}-{safe}-{silo:x}.etl", session.id),
        None => format!("session-{}-{safe}.etl", session.id),
    }
}

/// After a kernel whose layout is not known: its PDB.
fn after_unknown(command: &SessionsCommand, kernel: Option<&str>) -> Vec<Next> {
    let (Some(kernel), true) = (kernel, cfg!(feature = "fetch")) else { return Vec::new() };
    let source = SourceArgs { etl: Vec::new(), from_dump: vec![command.dump.clone()] };
    let select = SelectArgs { include: vec![kernel.to_owned()], ..SelectArgs::default() };
    let job = Job { source: &source, modules: None, select: &select };
    let store = Path::new("symbols");
    let fetch = format!("{} --pdbs", job.command("fetch").option("--store", store).line());
    let again = format!("mkdump sessions {} -m symbols", crate::show::next::quoted(&command.dump.to_string_lossy()));
    vec![Next::new("get the kernel's PDB", fetch), Next::new("list the sessions with it", again)]
}

/// After a list: a session's events as a trace; after that, what the trace says.
fn after_list(command: &SessionsCommand, report: &SessionsReport) -> Vec<Next> {
    if let [saved, ..] = &*report.saved {
        let source = SourceArgs { etl: vec![PathBuf::from(&saved.file)], from_dump: Vec::new() };
        let select = SelectArgs::default();
        let job = Job { source: &source, modules: None, select: &select };
        return vec![Next::new("list the modules that the trace names", job.command("modules").line())];
    }
    let fullest = report.sessions.iter().max_by_key(|session| session.events).filter(|session| session.events > 0);
    let line = |id: u32| {
        let dump = crate::show::next::quoted(&command.dump.to_string_lossy());
        format!("mkdump sessions {dump} --save {id} session-{id}.etl")
    };
    fullest.map(|session| Next::new("save the session with the most events", line(session.id))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::Path;
    use crate::args::Cli;

    #[test]
    fn a_session_and_a_file_go_together() {
        for (words, expected) in [
            ("mkdump sessions a.dmp", true),
            ("mkdump sessions a.dmp --save 2 b.etl --save x c.etl", true),
            ("mkdump sessions a.dmp --save 2", false),
            ("mkdump sessions", false),
        ] {
            assert_eq!(Cli::of(words.split(' ')).is_ok(), expected, "{words}");
        }
        assert!(!Path::new("b.etl").exists());
    }
}
