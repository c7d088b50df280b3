//! Owns what of a git configuration decides about code that git runs, read so strictly that no other reading is possible.
//!
//! Invariant: pure. Two texts with equal readings make git run the same programs. What is known to be harmless (a branch's
//! upstream, a remote in the network, how files are compared) and sections that git does not know are left out; everything
//! else is in, line by line, and whatever is not plainly one line of one meaning is in as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    git_keys::{INERT, harmless, in_the_network},
    git_syntax::BLANKS,
    guards::digest,
};

/// Longer configurations are compared as a whole.
const TEXT_MAX_BYTES: usize = 256 << 10;

/// What counts of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReading {
    /// Lines that decide about code, in order: what they are about, and a digest (a configuration may hold tokens).
    lines: Vec<(String, String)>,
    /// Where remotes in the network lie: name and digest.
    remotes: BTreeMap<String, String>,
}

impl ConfigReading {
    /// What counts of a file's text.
    pub fn of(text: &[u8]) -> Self {
        let whole = |text: &[u8]| Self {
            lines: vec![("a line of more than one meaning".to_owned(), digest(text))],
            remotes: BTreeMap::new(),
        };
        let Ok(text) = std::str::from_utf8(text) else { return whole(text) };
        let ambiguous = |line: &str| {
            line.ends_with('\\') || line.contains(|c: char| c.is_control() && c != '\t' && c != '\r')
        };
        if text.len() > TEXT_MAX_BYTES || text.lines().any(ambiguous) {
            return whole(text.as_bytes());
        }
        let mut reading = Self::default();
        let remotes = remotes_in_the_network(text);
        let mut header = None;
        for line in text.lines().map(|line| line.trim_matches(BLANKS)) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                header = Header::of(line);
                if header.is_none() {
                    reading.lines.push(("a section".to_owned(), digest(line.as_bytes())));
                }
                continue;
            }
            reading.take(header, line, &remotes);
        }
        reading
    }

    fn take(&mut self, header: Option<Header<'_>>, line: &str, remotes: &BTreeSet<&str>) {
        let entry = header.zip(plain_entry(line));
        let Some((header, (key, value))) = entry else {
            let about = header.map_or("a section".to_owned(), |header| header.section.to_ascii_lowercase());
            return self.lines.push((about, digest(format!("{header:?} {line}").as_bytes())));
        };
        let section = header.section.to_ascii_lowercase();
        if let (Some(remote), "url" | "pushurl") = (header.remote(), key.as_str())
            && in_the_network(value)
        {
            let known = self.remotes.entry(remote.to_owned()).or_default();
            *known = digest(format!("{known}{key} {value}").as_bytes());
        } else if !harmless(&section, header.subsection, &key, value, remotes) {
            let about = format!("{section}.{key}");
            self.lines.push((about, digest(format!("{:?} {key} {value}", header.subsection).as_bytes())));
        }
    }

    /// What of it can make git run something, in the order of names.
    pub fn runs(&self) -> BTreeSet<String> {
        let named = self.lines.iter().map(|(about, _)| about);
        named.filter(|about| !INERT.contains(&about.as_str())).cloned().collect()
    }

    /// What changed against an earlier reading and decides about code, for people; `None` if nothing did.
    pub fn doubt_after(&self, before: &Self) -> Option<String> {
        if self.lines != before.lines {
            let new = self.lines.iter().filter(|line| !before.lines.contains(line)).map(|(about, _)| about);
            let new: BTreeSet<&str> = new.map(String::as_str).collect();
            let named: Vec<&str> = new.into_iter().take(8).collect();
            let what =
                if named.is_empty() { "lines were moved or taken away".to_owned() } else { named.join(", ") };
            return Some(format!("what may decide about code that git runs changed ({what})"));
        }
        let moved = |(name, place): &(&String, &String)| {
            before.remotes.get(*name).is_some_and(|before| before != *place)
        };
        let moved = self.remotes.iter().find(moved)?;
        Some(format!("the remote {} lies elsewhere now", moved.0))
    }
}

/// The remotes that have an address, and in the network. To git any other name is a path, whatever else is said of it.
fn remotes_in_the_network(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut remote = None;
    for line in text.lines().map(|line| line.trim_matches(BLANKS)) {
        if line.starts_with('[') {
            remote = Header::of(line).and_then(Header::remote);
        } else if plain_entry(line).is_some_and(|(key, value)| key == "url" && in_the_network(value)) {
            found.extend(remote);
        }
    }
    found
}

/// `[section]` or `[section "subsection"]` without anything that could be read in another way.
#[derive(Clone, Copy, Debug)]
struct Header<'a> {
    section: &'a str,
    subsection: Option<&'a str>,
}

impl<'a> Header<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let inner = line.strip_prefix('[')?.strip_suffix(']')?;
        let (section, subsection) = match inner.split_once(" \"") {
            None => (inner, None),
            Some((section, quoted)) => (section, Some(quoted.strip_suffix('"')?)),
        };
        let plain = !section.is_empty() && section.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let plain_below =
            subsection.is_none_or(|below| !below.is_empty() && !below.contains(['"', '\\', '[', ']']));
        (plain && plain_below).then_some(Self { section, subsection })
    }

    fn remote(self) -> Option<&'a str> {
        self.subsection.filter(|_| self.section.eq_ignore_ascii_case("remote"))
    }
}

/// `key = value` without escapes and comments, in one pair of quotes or none.
fn plain_entry(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.split_once('=').unwrap_or((line, "true"));
    let quoted = value.trim_matches(BLANKS).strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(value) = quoted.filter(|inner| !inner.contains(['"', '\\'])) {
        return named(key).map(|key| (key, value));
    }
    named(key).filter(|_| !value.contains(['"', '\\', '#', ';'])).map(|key| (key, value.trim_matches(BLANKS)))
}

fn named(key: &str) -> Option<String> {
    let key = key.trim_end_matches(BLANKS);
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    plain.then(|| key.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://example.test/a.git\n";

    /// Whether adding this to a common configuration is a reason to doubt.
    fn check(added: &str, doubted: bool) {
        let before = ConfigReading::of(BASE.as_bytes());
        let after = ConfigReading::of(format!("{BASE}{added}").as_bytes());
        assert_eq!(after.doubt_after(&before).is_some(), doubted, "{added}");
    }

    #[test]
    fn what_push_and_remote_and_pull_write_is_no_reason_to_doubt() {
        check("[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n", false);
        check(
            "[remote \"fork\"]\n\turl = git@example.test:me/a.git\n\tfetch = +refs/heads/*:refs/remotes/fork/*\n",
            false,
        );
        check("[pull]\n\trebase = true\n[user]\n\tname = Ada Lovelace\n[x]\n\ty = z\n# note\n", false);
        check("[submodule \"part\"]\n\tactive = true\n\turl = ssh://example.test/part\n", false);
        check(
            "[merge]\n\tconflictStyle = zdiff3\n[diff]\n\talgorithm = histogram\n[status]\n\tshort = true\n",
            false,
        );
        check("[branch \"main\"]\n\tgithub-pr-owner-number = \"a#b#1\"\n", false);
        check("[branch \"main\"]\n\tgithub-pr-owner-number = a-1\n[remote]\n\tpushDefault = origin\n", false);
        check("[remote \"origin\"]\n\tpromisor = true\n[extensions]\n\tpartialClone = origin\n", false);
        check("[gitflow \"prefix\"]\n\tfeature = feature/\n[extensions]\n\tworktreeConfig = true\n", false);
    }

    #[test]
    fn whatever_makes_git_run_something_is_a_reason_however_it_is_written() {
        for added in [
            "[core]\n\tfsmonitor = ./evil\n",
            "[CORE]fsMonitor=./evil\n",
            "[core] fsmonitor = ./evil\n",
            "[alias]\n\tx = !evil\n",
            "[include]\n\tpath = ../evil\n",
            "[includeIf \"gitdir:/\"]\n\tpath = ../evil\n",
            "[filter \"x\"]\n\tclean = evil\n",
            "[hook \"x\"]\n\tcommand = evil\n",
            "[submodule \"x\"]\n\tupdate = !evil\n",
            "[remote \"x\"]\n\turl = ext::sh -c evil\n",
            "[remote \"x\"]\n\turl = ./evil\n",
            "[remote \"x\"]\n\turl = https://h/\n\tuploadpack = evil\n",
            "[remote \"origin\"]\n\turl = https://elsewhere.test/a.git\n",
            "[branch \"main\"]\n\tremote = ./evil\n",
            "[branch \"main\"]\n\tremote = evil\n",
            "[branch \"main\"]\n\tmergeOptions = -s evil\n",
            "[remote]\n\tpushDefault = ./evil\n",
            "[remote \"evil\"]\n\tfetch = +refs/heads/*:refs/remotes/evil/*\n[remote]\n\tpushDefault = evil\n",
            "[remote \"evil\"]\n\tfetch = a\n[branch \"main\"]\n\tremote = evil\n",
            "[branch \"main\"]\n\tremote = origin\u{3000}\n",
            "[extensions]\n\tpartialClone = ./evil\n",
            "[remote \"evil\"]\n\tpromisor = true\n",
            "[gitflow \"path\"]\n\thooks = ./evil\n",
            "[core]\n\tworktree = ../evil\n",
            "[x]\n\ty = z\\\n\t[core]\n",
            "[x]\n\ty = \"z\n",
            "[x \"]\n\ty = z\n",
            "[x.core]\n\tfsmonitor = z\n",
            "nonsense here\n",
        ] {
            check(added, true);
        }
    }

    #[test]
    fn lines_that_moved_into_another_section_are_seen() {
        let before = ConfigReading::of(b"[x]\n\tfsmonitor = ./evil\n");
        let after = ConfigReading::of(b"[x]\n[core]\n\tfsmonitor = ./evil\n");
        assert!(after.doubt_after(&before).unwrap().contains("core.fsmonitor"));
        let gone = ConfigReading::of(b"[core]\n");
        assert!(gone.doubt_after(&ConfigReading::of(b"[core]\n\tfsmonitor = false\n")).is_some());
    }
}
