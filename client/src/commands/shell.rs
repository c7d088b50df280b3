//! Completions and the manual page, made from the command line's own definition.

use clap::CommandFactory;

use super::{Failure, output};
use crate::cli::Cli;

pub fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dunlin", &mut script);
    output::answer(script)?;
    Ok(0)
}

pub fn man() -> Result<u8, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output::answer(page)?;
    Ok(0)
}
