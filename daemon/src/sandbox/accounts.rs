//! Owns the caller's own line in the accounts that a sandbox sees: a directory service (sssd, LDAP) has it, the host's files do not, and
//! the service's socket is absent inside. Without it programs have no name for themselves, and Java no home.
//!
//! Invariant: nothing is said of anybody but the caller, and no name that the host's files know is taken.

use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

use super::Caller;
use crate::regular;

/// A shell that every system has.
const SHELL: &str = "/bin/sh";

/// The files of accounts.
pub const FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// Those that lack the caller, with what they should say; `home` is where HOME is inside. A file that cannot be read stays as it is.
pub fn gather(caller: &Caller, home: &Path) -> Vec<(PathBuf, String)> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let told = ["USER", "LOGNAME"].iter().find_map(|key| caller.variable(key).filter(|it| is_field(it)));
    let name = told.unwrap_or(format!("u{uid}"));
    let field =
        |value: Option<String>, other: &str| value.filter(|it| is_field(it)).unwrap_or(other.to_owned());
    let home = field(home.to_str().map(str::to_owned), "/");
    let shell = field(caller.variable("SHELL"), SHELL);
    let lines = [format!("{name}:x:{uid}:{gid}::{home}:{shell}"), format!("{name}:x:{gid}:")];
    let with_line = |((path, number), line): ((&str, u32), String)| {
        let text = completed(&regular::read(Path::new(path)).ok()?, &name, number, &line)?;
        Some((PathBuf::from(path), text))
    };
    FILES.into_iter().zip([uid, gid]).zip(lines).filter_map(with_line).collect()
}

/// The text with the line, unless the name or the number is there.
fn completed(text: &str, name: &str, number: u32, line: &str) -> Option<String> {
    let number = number.to_string();
    let known = text.lines().any(|entry| {
        let mut fields = entry.split(':');
        fields.next() == Some(name) || fields.nth(1) == Some(&number)
    });
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    (!known).then(|| format!("{text}{end}{line}\n"))
}

/// What can stand between two colons of a line.
fn is_field(text: &str) -> bool {
    !text.is_empty() && !text.contains(|letter: char| letter == ':' || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_added_where_neither_name_nor_number_is_known() {
        let host = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh";
        let check = |name: &str, number, expected: Option<&str>| {
            assert_eq!(completed(host, name, number, "new").as_deref(), expected, "{name} {number}");
        };
        check(
            "bob",
            70_001,
            Some("root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\nnew\n"),
        );
        check("ann", 70_001, None);
        check("bob", 1000, None);
        assert_eq!(completed("", "bob", 1, "new").as_deref(), Some("new\n"));
    }

    #[test]
    fn a_name_that_would_be_another_line_is_none() {
        for name in ["bob:x:0:0", "bob\nroot:x:0:0", "", "a\tb"] {
            assert!(!is_field(name), "{name:?}");
        }
        assert!(is_field("DOMAIN\\bob@example.test"));
    }
}
