//! Owns what of a git configuration decides about code that git runs, read so strictly that no other reading is possible.
//!
//! Invariant: pure. Two texts with equal readings make git run the same programs. What is known to be harmless (a branch's
//! upstream, a remote in the network, how files are compared) and sections that git does not know are left out; everything
//! else is in, line by line, and whatever is not plainly one line of one meaning is in as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::guards::digest;

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
        let remotes: BTreeSet<&str> =
            text.lines().filter_map(|line| Header::of(line.trim())).filter_map(Header::remote).collect();
        let mut header = None;
        for line in text.lines().map(str::trim) {
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
            return Some(format!("what decides about code that git runs changed ({what})"));
        }
        let moved = |(name, place): &(&String, &String)| {
            before.remotes.get(*name).is_some_and(|before| before != *place)
        };
        let moved = self.remotes.iter().find(moved)?;
        Some(format!("the remote {} lies elsewhere now", moved.0))
    }
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

/// `key = value` without quotes, escapes and comments.
fn plain_entry(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.split_once('=').unwrap_or((line, "true"));
    let key = key.trim_end();
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (plain && !value.contains(['"', '\\', '#', ';'])).then(|| (key.to_ascii_lowercase(), value.trim()))
}

/// A place in the network: a path, or a helper's name before `::`, would let git run what lies there.
fn in_the_network(url: &str) -> bool {
    let scheme = ["https://", "http://", "ssh://", "git://"].iter().find_map(|s| url.strip_prefix(s));
    let host = match (scheme, url.split_once(':')) {
        (Some(rest), _) => rest,
        (None, Some((host, path))) if !host.contains('/') && !path.starts_with(':') => host,
        _ => return false,
    };
    host.starts_with(|c: char| c.is_ascii_alphanumeric()) && !url.contains("::")
}

fn harmless(
    section: &str,
    subsection: Option<&str>,
    key: &str,
    value: &str,
    remotes: &BTreeSet<&str>,
) -> bool {
    match (section, subsection, key) {
        // A name that is no remote is taken for a path.
        ("branch", Some(_), "remote" | "pushremote") => value == "." || remotes.contains(value),
        ("branch", Some(_), key) => {
            ["merge", "rebase", "description", "vscode-merge-base", "gh-merge-base"].contains(&key)
        }
        ("submodule", Some(_), "url") => in_the_network(value),
        (_, Some(_), _) => HARMLESS_BELOW.contains(&(section, key)) || !KNOWN.contains(&section),
        ("color" | "advice", None, _) => true,
        (_, None, _) => HARMLESS.contains(&(section, key)) || !KNOWN.contains(&section),
    }
}

/// Keys under `[section "subsection"]` that make git run nothing.
const HARMLESS_BELOW: &[(&str, &str)] = &[
    ("remote", "fetch"),
    ("remote", "tagopt"),
    ("remote", "prune"),
    ("remote", "gh-resolved"),
    ("submodule", "active"),
];

/// Keys under `[section]` that make git run nothing.
const HARMLESS: &[(&str, &str)] = &[
    ("branch", "autosetupmerge"),
    ("branch", "autosetuprebase"),
    ("commit", "gpgsign"),
    ("core", "autocrlf"),
    ("core", "eol"),
    ("core", "filemode"),
    ("core", "ignorecase"),
    ("core", "logallrefupdates"),
    ("core", "precomposeunicode"),
    ("core", "safecrlf"),
    ("core", "sparsecheckout"),
    ("core", "sparsecheckoutcone"),
    ("core", "symlinks"),
    ("core", "untrackedcache"),
    ("fetch", "prune"),
    ("fetch", "prunetags"),
    ("init", "defaultbranch"),
    ("pull", "ff"),
    ("pull", "rebase"),
    ("push", "autosetupremote"),
    ("push", "default"),
    ("push", "followtags"),
    ("rerere", "enabled"),
    ("tag", "gpgsign"),
    ("user", "email"),
    ("user", "name"),
    ("user", "signingkey"),
];

/// What decides about a repository's form, not about programs: it counts where it changes, and stands in every new repository.
const INERT: &[&str] = &[
    "core.bare",
    "core.repositoryformatversion",
    "core.worktree",
    "extensions.objectformat",
    "extensions.partialclone",
    "extensions.refstorage",
    "extensions.worktreeconfig",
    "remote.promisor",
    "remote.partialclonefilter",
];

/// Sections that git and what is commonly installed beside it act upon. In any other a key is a word without effect.
const KNOWN: &[&str] = &[
    "add",
    "advice",
    "alias",
    "am",
    "annex",
    "apply",
    "attr",
    "author",
    "bitmap",
    "blame",
    "branch",
    "browser",
    "bundle",
    "checkout",
    "clean",
    "clone",
    "color",
    "column",
    "commit",
    "commitgraph",
    "committer",
    "completion",
    "core",
    "credential",
    "credentialcache",
    "credentialstore",
    "delta",
    "diff",
    "difftool",
    "extensions",
    "fastimport",
    "feature",
    "fetch",
    "filter",
    "filter-repo",
    "format",
    "fsck",
    "fsmonitor",
    "gc",
    "gerrit",
    "git-p4",
    "gitcvs",
    "gitflow",
    "gitweb",
    "gpg",
    "grep",
    "gui",
    "guitool",
    "help",
    "hook",
    "http",
    "https",
    "hub",
    "i18n",
    "imap",
    "include",
    "includeif",
    "index",
    "init",
    "instaweb",
    "interactive",
    "lfs",
    "log",
    "lsrefs",
    "magit",
    "mailinfo",
    "mailmap",
    "maintenance",
    "man",
    "merge",
    "mergetool",
    "notes",
    "oh-my-zsh",
    "pack",
    "pager",
    "pretty",
    "promisor",
    "protocol",
    "pull",
    "push",
    "rebase",
    "receive",
    "reftable",
    "remote",
    "remotes",
    "repack",
    "rerere",
    "revert",
    "safe",
    "sendemail",
    "sendpack",
    "sequence",
    "showbranch",
    "sparse",
    "splitindex",
    "ssh",
    "stash",
    "status",
    "submodule",
    "svn",
    "svn-remote",
    "tag",
    "tar",
    "tig",
    "trace2",
    "trailer",
    "transfer",
    "uploadarchive",
    "uploadpack",
    "uploadpackfilter",
    "url",
    "user",
    "versionsort",
    "web",
    "worktree",
];

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
