//! Completions and the manual pages, made from the command line's own definition.

use clap::{Command, CommandFactory};

use super::{Failure, output};
use crate::cli::{self, Cli};

pub fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dunlin", &mut script);
    output::answer(script)?;
    Ok(0)
}

pub fn man(wanted: &cli::Man) -> Result<u8, Failure> {
    let all = pages();
    if let Some(directory) = &wanted.dir {
        for page in &all {
            let path = directory.join(format!("{}.1", name_of(page)));
            let written = render(page).and_then(|text| std::fs::write(&path, text));
            written.map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", path.display()))
                    .next("name a directory that exists and that you may write to")
            })?;
        }
        return Ok(0);
    }
    let name = ["dunlin"].into_iter().chain(wanted.command.iter().map(String::as_str));
    let name = name.collect::<Vec<_>>().join("-");
    let page = all.iter().find(|page| name_of(page) == name).ok_or_else(|| {
        Failure::usage(format!("there is no command `{}`", wanted.command.join(" ")))
            .next("`dunlin --help` lists the commands")
    })?;
    output::answer(render(page)?)?;
    Ok(0)
}

/// A page for dunlin and for every command in it.
fn pages() -> Vec<Command> {
    let mut root = Cli::command();
    // Gives every command its full name.
    root.build();
    let mut pages = Vec::new();
    collect(root, &mut pages);
    pages
}

fn collect(command: Command, pages: &mut Vec<Command>) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        collect(inner.clone(), pages);
    }
    pages.push(command);
}

/// As man(1) names pages: `dunlin-daemon-status`.
fn name_of(page: &Command) -> &str {
    page.get_display_name().unwrap_or(page.get_name())
}

fn render(page: &Command) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all commands that people see, as words.
    fn names(command: &Command, above: &str, found: &mut Vec<String>) {
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            let name = format!("{above}-{}", inner.get_name());
            names(inner, &name, found);
            found.push(name);
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_own_words() {
        let mut expected = vec!["dunlin".to_owned()];
        names(&Cli::command(), "dunlin", &mut expected);
        let pages = pages();
        assert!(expected.len() > 30, "{expected:?}");
        for name in expected {
            let page = pages.iter().find(|page| name_of(page) == name);
            let page = page.unwrap_or_else(|| panic!("{name} has no page"));
            let text = String::from_utf8(render(page).unwrap()).unwrap();
            let about = page.get_about().expect("every command says what it does").to_string();
            let plain = text.replace("\\-", "-").replace("\\*(Aq", "'");
            assert!(
                text.contains(".TH") && plain.contains(&about) && plain.contains(&name),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn every_shell_gets_completions_that_name_every_command() {
        use clap_complete::Shell::{Bash, Elvish, Fish, PowerShell, Zsh};
        for shell in [Bash, Elvish, Fish, PowerShell, Zsh] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dunlin", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
