//! `mkdump completions` and `mkdump man`: what a package installs beside the program, from its own definition.

use std::io::Write;

use anyhow::{Result, bail};
use clap::CommandFactory;

use super::Outcome;
use crate::args::{Cli, CompletionsCommand, ManCommand};

/// Prints completions for a shell.
pub fn completions(command: CompletionsCommand) -> Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "mkdump", &mut text);
    print(&text)
}

/// Prints a manual page.
pub fn man(wanted: &ManCommand) -> Result<Outcome> {
    let mut command = Cli::command();
    // The pages of subcommands name the whole command line, as in `mkdump ipt`.
    command.build();
    let page = match &wanted.subcommand {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let names = command.get_subcommands().map(clap::Command::get_name);
                bail!("{name:?} is not a subcommand; there are {}", names.collect::<Vec<_>>().join(", "));
            }
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    print(&text)
}

/// Prints a text. A reader that has seen enough, such as `head`, is not an error.
fn print(text: &[u8]) -> Result<Outcome> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Outcome::Done),
    }
}
