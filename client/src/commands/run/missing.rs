//! Why a program that was not found was not: what the caller's own files tell beyond the kernel's one error.
//!
//! Only looks, and only after a refusal; what it cannot tell it leaves as the daemon said it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::commands::Failure;
use crate::commands::failure::NOT_FOUND;
use crate::commands::view;

/// The kernel reads no more of a script's first line.
const LINE_MAX_BYTES: u64 = 256;

/// What only a shell makes something of.
const SHELL: &[u8] = b" \t\n|&;<>()$`*?'\"~";

/// A refused start, with what is known about its program. `cwd` is where it would have started.
pub fn explained(failure: Failure, command: &[OsString], cwd: &Path) -> Failure {
    let Some(program) = command.first().filter(|_| failure.code == NOT_FOUND) else { return failure };
    if let Some((script, interpreter)) = broken_script(program, cwd) {
        let carriage = interpreter.ends_with('\r');
        let shown = interpreter.trim_end();
        let message = format!("{} is there, but its interpreter {shown} is not", script.display());
        return Failure::new(NOT_FOUND, message).next(match carriage {
            true => "its first line ends in a carriage return: give the file Unix line ends".to_string(),
            false => format!("mend its first line, or name an interpreter{}", with_shell(&script)),
        });
    }
    if let [line] = command
        && line.as_bytes().iter().any(|byte| SHELL.contains(byte))
    {
        let line = [line.to_string_lossy().into_owned()];
        return failure
            .next(format!("for a line of shell: `dunlin run -- sh -c {}`", view::command_line(&line)));
    }
    failure
}

/// The command that runs a script in a shell, to be pasted. A command may have chosen the script's name: it is quoted, and where that
/// would not give the same file when pasted nothing is offered.
fn with_shell(script: &Path) -> String {
    match script.to_str().filter(|name| !name.chars().any(char::is_control)) {
        Some(name) => format!(": `dunlin run -- sh {}`", view::command_line(&[name.to_string()])),
        None => String::new(),
    }
}

/// A script that is there, and the interpreter that it names and that is not.
fn broken_script(program: &OsStr, cwd: &Path) -> Option<(PathBuf, String)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let script = match program.as_bytes().contains(&b'/') {
        true => cwd.join(program),
        false => std::env::split_paths(&path).map(|entry| entry.join(program)).find(|file| file.is_file())?,
    };
    // A pipe in its place would hold us.
    let file = script.is_file().then(|| File::open(&script).ok())??;
    let mut begin = Vec::new();
    file.take(LINE_MAX_BYTES).read_to_end(&mut begin).ok()?;
    let interpreter = interpreter(&begin)?;
    (!cwd.join(&interpreter).exists()).then_some((script, interpreter))
}

/// The interpreter that a script names, with the carriage return that may be part of its name.
fn interpreter(begin: &[u8]) -> Option<String> {
    let line = begin.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let word = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    (!word.is_empty()).then(|| word.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_the_first_word_of_the_line() {
        let check = |begin: &[u8], expected: Option<&str>| {
            assert_eq!(interpreter(begin).as_deref(), expected, "{begin:?}");
        };
        check(b"#!/bin/sh\necho", Some("/bin/sh"));
        check(b"#! /usr/bin/env -S python3\n", Some("/usr/bin/env"));
        check(b"#!/bin/sh\r\necho", Some("/bin/sh\r"));
        check(b"#!\n", None);
        check(b"\x7fELF", None);
    }

    #[test]
    fn a_name_that_a_command_chose_stays_one_word_of_the_line_to_paste() {
        let check = |name: &[u8], expected: &str| {
            assert_eq!(with_shell(Path::new(OsStr::from_bytes(name))), expected)
        };
        check(b"/srv/a.sh", ": `dunlin run -- sh /srv/a.sh`");
        check(b"/srv/a b;c/s", ": `dunlin run -- sh '/srv/a b;c/s'`");
        check(b"/srv/it's $(x)", r": `dunlin run -- sh '/srv/it'\''s $(x)'`");
        check(b"/srv/a\nb", "");
        check(b"/srv/a\xff", "");
    }

    #[test]
    fn what_was_not_found_is_explained_where_the_files_tell() {
        let place = tempfile::tempdir().unwrap();
        let check = |text: &str, command: &[&str], expected: &str| {
            std::fs::write(place.path().join("script"), text).unwrap();
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            let refused = Failure::new(NOT_FOUND, "refused").next("check the name");
            let told = explained(refused, &command, place.path()).to_string();
            assert!(told.contains(expected), "{command:?}: {told}");
        };
        check("#!/nope/sh -e\n", &["./script"], "script is there, but its interpreter /nope/sh is not");
        check("#!/bin/sh\r\n", &["./script"], "ends in a carriage return");
        check("#!/bin/sh\n", &["./script"], "refused\n  next: check the name");
        check("", &["echo hi | cat"], "`dunlin run -- sh -c 'echo hi | cat'`");
        check("", &["echo hi", "x"], "refused\n  next: check the name");
        check("", &["nosuch"], "refused\n  next: check the name");
        let other = Failure::new(1, "other");
        assert_eq!(explained(other, &["a b".into()], place.path()).to_string(), "other");
    }
}
