//! Command lines as words: what one string means, what the kernel would refuse, how they are listed. Starts nothing.

use std::{collections::BTreeMap, os::unix::ffi::OsStrExt, path::Path};

use super::SessionError;

/// The kernel refuses a single argument over 128 KiB and all of them over 2 MiB (a quarter of an 8 MiB stack); said here, the
/// error can say what to do.
const ARGUMENTS_MAX_BYTES: usize = 2 << 20;
const ARGUMENT_MAX_BYTES: usize = 128 << 10;

/// The command line for one string: itself if it is a program on PATH, else a line for bash, else for sh.
pub fn command_line(line: &str, environment: &BTreeMap<String, Vec<u8>>) -> Vec<Vec<u8>> {
    let path =
        environment.get("PATH").map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).any(|entry| is_executable(&entry.join(name)));
    let is_program = if line.contains('/') { is_executable(Path::new(line)) } else { found(line) };
    if is_program && !line.is_empty() {
        return vec![line.as_bytes().to_vec()];
    }
    let shell = if found("bash") { "bash" } else { "sh" };
    vec![shell.into(), "-c".into(), line.into()]
}

fn is_executable(path: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    path.is_file() && access(path, AccessFlags::X_OK).is_ok() && !path.as_os_str().as_bytes().is_empty()
}

/// A command line as listed, within a quarter of what a record may hold (a control character takes six bytes there).
pub fn shown_command(argv: &[Vec<u8>]) -> Vec<String> {
    const SHOWN_MAX_BYTES: usize = 8 * 1024;
    let mut shown = Vec::new();
    let mut bytes = 0;
    for (at, argument) in argv.iter().enumerate() {
        let text = shown_argument(argument);
        bytes += text.len() + 3;
        if bytes > SHOWN_MAX_BYTES {
            shown.push(format!("… ({} more arguments)", argv.len() - at));
            break;
        }
        shown.push(text);
    }
    shown
}

/// An argument as listed: a record has a bound, and a listing is no place for a megabyte.
pub fn shown_argument(argument: &[u8]) -> String {
    const SHOWN_MAX_BYTES: usize = 2048;
    let text = String::from_utf8_lossy(&argument[..argument.len().min(SHOWN_MAX_BYTES)]).into_owned();
    if argument.len() > SHOWN_MAX_BYTES { format!("{text}… ({} bytes)", argument.len()) } else { text }
}

pub fn check(argv: &[Vec<u8>]) -> Result<(), SessionError> {
    let next_step = "pass long input through a file in the workspace or through standard input";
    if argv.first().is_none_or(Vec::is_empty) {
        return Err(SessionError::invalid("no command was given", "give a program and its arguments"));
    }
    if argv.iter().any(|word| word.contains(&0)) {
        return Err(SessionError::invalid("an argument holds a NUL byte", next_step));
    }
    let longest = argv.iter().map(Vec::len).max().unwrap_or(0);
    if longest >= ARGUMENT_MAX_BYTES {
        let what = format!("an argument of {longest} bytes is over the kernel's {ARGUMENT_MAX_BYTES}");
        return Err(SessionError::invalid(what, next_step));
    }
    let total: usize = argv.iter().map(|word| word.len() + 1).sum();
    if total > ARGUMENTS_MAX_BYTES {
        let what = format!("{total} bytes of arguments are over the kernel's {ARGUMENTS_MAX_BYTES}");
        return Err(SessionError::invalid(what, next_step));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let environment = BTreeMap::from([("PATH".to_owned(), b"/usr/bin:/bin".to_vec())]);
        command_line(line, &environment).into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn one_string_is_a_program_if_there_is_one_and_else_a_line_for_a_shell() {
        assert_eq!(words("true"), ["true"]);
        assert_eq!(words("/bin/sh"), ["/bin/sh"]);
        assert_eq!(words("echo hi | cat"), ["bash", "-c", "echo hi | cat"]);
        assert_eq!(words("no-such-program-here"), ["bash", "-c", "no-such-program-here"]);
    }

    #[test]
    fn arguments_that_the_kernel_would_refuse_are_refused_with_the_way_out() {
        let refused = |argv: &[Vec<u8>]| check(argv).unwrap_err().to_string();
        assert_eq!(refused(&[]), "no command was given; give a program and its arguments");
        assert!(refused(&[b"a\0b".to_vec()]).starts_with("an argument holds a NUL byte"));
        assert!(refused(&[b"x".to_vec(), vec![b'y'; 10 << 20]]).contains("10485760 bytes"));
        assert!(refused(&vec![vec![b'y'; 100_000]; 30]).starts_with("3000030 bytes of arguments"));
    }
}
