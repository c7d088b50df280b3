//! `config check|show`: the client's own configuration; no daemon is asked.

use super::{Failure, output};
use crate::cli::ConfigCommand;
use crate::config::{self, Config};

pub fn config(command: ConfigCommand) -> Result<u8, Failure> {
    let config =
        Config::load().map_err(|error| Failure::usage(error).next("see `dunlin config show --help`"))?;
    match command {
        ConfigCommand::Check => {
            for warning in config.warnings() {
                output::note(warning);
            }
            let file = config::default_path(&config::process_environment);
            let file = file.filter(|file| file.exists());
            output::note_on_terminal(match file {
                Some(file) => format!("{} is sound", file.display()),
                None => "there is no config.toml; the defaults hold".to_string(),
            });
        }
        ConfigCommand::Show { json: false } => output::answer(config.show())?,
        ConfigCommand::Show { json: true } => {
            let shown: serde_json::Value = toml::from_str(&config.show()).map_err(Failure::failed)?;
            output::answer_json(&shown)?;
        }
    }
    Ok(0)
}
