//! Manual pages and completions, from the command's own definition.

use anyhow::{Result, bail};
use clap::CommandFactory;
use clap_complete::Shell;
use xtask::outcome::Outcome;
use xtask::paths;

/// Writes the pages and completions below `target/xtask/dist`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("pages takes no arguments, {argument:?} given");
    }
    let mut outcome = Outcome::default();
    let command = mkdump_cli::args::Cli::command();
    let man = paths::work("dist/man")?;
    clap_mangen::generate_to(command.clone(), &man)?;
    let pages = std::fs::read_dir(&man)?.count();
    let completions = paths::work("dist/completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
        let file = clap_complete::generate_to(shell, &mut command.clone(), "mkdump", &completions)?;
        println!("ok      {}", file.display());
        outcome.add_pass();
    }
    // One page for the command and one for each subcommand: fewer means that something was left out.
    let expected = 1 + command.get_subcommands().filter(|sub| !sub.is_hide_set()).count();
    if pages >= expected {
        println!("ok      {pages} manual pages in {}", man.display());
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("{pages} manual pages, {expected} expected"));
    }
    Ok(outcome)
}
