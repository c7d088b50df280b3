//! Owns the rules about words: work left for later, paths of somebody's machine, sleeping tests.

use std::sync::LazyLock;

use regex::Regex;

use crate::finding::Finding;
use crate::tree::File;

/// What a rule looks for, and what it says. Patterns are compiled once: in an unoptimised build that is what costs.
struct Mark {
    pattern: Regex,
    message: &'static str,
}

impl Mark {
    fn new(pattern: &str, message: &'static str) -> Self {
        Self { pattern: Regex::new(&format!("(?m){pattern}")).expect("the pattern is right"), message }
    }

    fn find(&self, file: &File, text: &str) -> Vec<Finding> {
        let line_at = |byte: usize| text[..byte].matches('\n').count() + 1;
        let mut lines: Vec<usize> =
            self.pattern.find_iter(text).map(|found| line_at(found.start())).collect();
        lines.dedup();
        lines.into_iter().map(|line| Finding::new(&file.path, line, self.message)).collect()
    }
}

/// In code; the macros panic at run time, the attribute hides a test.
static LEFT_IN_CODE: LazyLock<[Mark; 2]> = LazyLock::new(|| {
    [
        Mark::new(r"(?-u:\b)(todo|unimplemented)!", "work is left for later: write what is missing"),
        Mark::new(
            r"#!?\[\s*(cfg_attr\(.*,\s*)?ignore(?-u:\b)",
            "a test is hidden: a missing kernel feature is a loud skip, use require!",
        ),
    ]
});

static LEFT_IN_PROSE: LazyLock<Mark> = LazyLock::new(|| {
    let words = format!(r"(?-u:\b)({}|{})(?-u:\b)", concat!("FIX", "ME"), concat!("TO", "DO"));
    Mark::new(&words, "work is left for later: do it, or say what is so and why")
});

/// `/work/` and `/root/` as the beginning of a path; inside one, as in `/proc/self/root/`, they are words.
static MACHINE_PATH: LazyLock<Mark> = LazyLock::new(|| {
    Mark::new(
        &format!(r"(^|[^\w./}}~\n-])/({}|{})/", "work", "root"),
        "this path is of one machine: make it relative, temporary, or a fact that the program looks up",
    )
});

static SLEEP: LazyLock<Mark> = LazyLock::new(|| {
    Mark::new(r"(?-u:\b)sleep(_until)?\(", "a test sleeps: wait for an event, an offset or an exit")
});

pub fn left_for_later(file: &File) -> Vec<Finding> {
    if !file.has_extension("rs") {
        return LEFT_IN_PROSE.find(file, &file.text);
    }
    let code = LEFT_IN_CODE.iter().flat_map(|mark| mark.find(file, &file.source().code));
    code.chain(LEFT_IN_PROSE.find(file, &file.source().comments)).collect()
}

pub fn machine_paths(file: &File) -> Vec<Finding> {
    // This suite has such paths in its own tables.
    let tables = file.path.starts_with("tests/tidy/");
    MACHINE_PATH.find(file, if tables { &file.source().code } else { &file.text })
}

pub fn sleeps(file: &File) -> Vec<Finding> {
    SLEEP.find(file, &file.source().code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&File) -> Vec<Finding>, path: &str, text: &str, expected: usize) {
        let file = File::new(path, text);
        let found = rule(&file);
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }

    #[test]
    fn work_left_for_later_is_found_in_code_and_in_prose() {
        check(left_for_later, "a.rs", "fn f() { todo!() }", 1);
        check(left_for_later, "a.rs", "#[ignore = \"slow\"]\nfn f() {}", 1);
        check(left_for_later, "a.rs", "#[cfg_attr(not(linux), ignore)]", 1);
        check(left_for_later, "a.rs", "let x = \"todo!()\"; // ignored", 0);
        check(left_for_later, "a.rs", concat!("// FIX", "ME: later"), 1);
        check(left_for_later, "a.md", concat!("TO", "DO: write"), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found_where_a_path_begins() {
        for text in ["\"/work/x\"", "cd /root/x", "/work/", "a=/root/b", "(/work/x)"] {
            check(machine_paths, "a.sh", text, 1);
        }
        for text in
            ["/proc/self/root/etc", "network/work/x", "./root/x", "/rooted/", "~/work/x", "${a}/work/"]
        {
            check(machine_paths, "a.sh", text, 0);
        }
    }

    #[test]
    fn sleeping_is_found_in_code_only() {
        check(sleeps, "tests/a.rs", "std::thread::sleep(pause);", 1);
        check(sleeps, "tests/a.rs", "tokio::time::sleep_until(then).await", 1);
        check(sleeps, "tests/a.rs", "run(\"sleep(1)\"); // sleep(1)", 0);
    }
}
