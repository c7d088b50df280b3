//! Owns a session's environment: what of the caller's enters, what is set, what the sandbox itself says.
//!
//! Invariant: nothing comes from the daemon's own environment, and nothing that makes an interpreter run other code
//! passes unless a person gave it a value. Later sources win: caller, defaults of the actor's kind, profile, sandbox. Pure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles::{Isolation, NetMode};

use super::{Places, Policy, grants::Grants};

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A model: no pager, no editor, no colour, no question that nobody answers.
    Model,
    /// A person or a program of theirs: as they have it.
    Person,
}

/// What a model's session is told.
const MODEL: &[(&str, &str)] = &[
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_EDITOR", "false"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("NO_COLOR", "1"),
    ("TERM", "xterm-256color"),
];

/// Where there is no network, tools use what they have and fail at once instead of trying again for minutes. What the
/// caller or the profile says wins.
const OFFLINE: &[(&str, &str)] = &[
    ("CARGO_NET_OFFLINE", "true"),
    ("GOPROXY", "off"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("PIP_RETRIES", "0"),
    ("UV_OFFLINE", "1"),
    ("npm_config_fetch_retries", "0"),
];

/// PATH for a caller that has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole environment of one session, by name. `variables` are the calling client's, from this very request.
pub fn of_session(
    policy: &Policy,
    places: &Places,
    variables: &BTreeMap<String, Vec<u8>>,
    reader: Reader,
    session: &str,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let env = &policy.profile.env;
    let mut all: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    if policy.isolation != Isolation::None && policy.profile.net.mode == NetMode::None {
        all.extend(OFFLINE.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())));
    }
    let passing = variables.iter().filter(|(name, _)| env.passes(name));
    all.extend(passing.map(|(name, value)| (name.as_str(), value.clone())));
    if reader == Reader::Model {
        all.extend(MODEL.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())));
    }
    all.extend(env.set.iter().map(|(name, value)| (name.as_str(), value.clone().into_bytes())));
    let path = variables.get("PATH").filter(|path| !path.is_empty()).cloned();
    let path = all.get("PATH").cloned().or(path).unwrap_or_else(|| PATH.as_bytes().to_vec());
    all.insert("PATH", path.clone());
    all.insert("HOME", bytes(&places.home));
    all.insert("DUNLIN_SESSION", session.as_bytes().to_vec());
    all.insert("DUNLIN_SANDBOX", policy.name.clone().into_bytes());
    all.insert("DUNLIN_PROFILE", policy.profile.name.clone().into_bytes());
    if policy.isolation != Isolation::None {
        all.insert("DUNLIN_PATH", path);
    }
    let own = [
        ("TMPDIR", &places.temporary),
        ("XDG_RUNTIME_DIR", &places.runtime),
        ("GIT_CONFIG_GLOBAL", &places.git_config),
    ];
    all.extend(own.into_iter().filter_map(|(name, place)| Some((name, bytes(place.as_ref()?)))));
    all.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).collect()
}

/// Whether every entry of PATH is one that the sandbox was made for.
pub fn is_all_seen(policy: &Policy, born: &[PathBuf]) -> bool {
    policy.isolation == Isolation::None || policy.caller.path.iter().all(|entry| born.contains(entry))
}

/// This session's PATH in a sandbox that was born for `born`, and the entries of it that are not seen there: programs in them are not
/// found. An entry that is unseen but leads, as `real` tells, to a place that is seen, is named by that place: fnm makes a link for
/// every terminal.
pub fn seen_path(
    policy: &Policy,
    born: &[PathBuf],
    real: impl Fn(&Path) -> Option<PathBuf>,
) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let path = &policy.caller.path;
    if is_all_seen(policy, born) {
        return (path.clone(), Vec::new());
    }
    let grants = Grants::of(policy);
    let shown = [&grants.read, &grants.overlay, &grants.write].into_iter().flatten();
    let shown: Vec<&PathBuf> = shown.chain([&policy.workspace]).collect();
    let seen = |entry: &Path| {
        born.iter().any(|born| born == entry) || shown.iter().any(|shown| entry.starts_with(shown))
    };
    let mut unseen = Vec::new();
    let as_seen = |entry: &PathBuf| {
        if seen(entry) {
            return entry.clone();
        }
        real(entry).filter(|real| seen(real)).unwrap_or_else(|| {
            unseen.push(entry.clone());
            entry.clone()
        })
    };
    (path.iter().map(as_seen).collect(), unseen)
}

/// The caller's variables, in whose PATH each entry of `path` is called by its name in `seen`.
pub fn with_path(
    variables: &BTreeMap<String, Vec<u8>>,
    path: &[PathBuf],
    seen: &[PathBuf],
) -> BTreeMap<String, Vec<u8>> {
    let mut variables = variables.clone();
    let names: BTreeMap<&PathBuf, &PathBuf> = path.iter().zip(seen).collect();
    if let Some(value) = variables.get_mut("PATH").filter(|_| seen != path) {
        let text = String::from_utf8_lossy(value).into_owned();
        let called = |entry: PathBuf| names.get(&entry).map_or(entry.clone(), |name| (*name).clone());
        if let Ok(joined) = std::env::join_paths(std::env::split_paths(&text).map(called)) {
            *value = joined.into_encoded_bytes();
        }
    }
    variables
}

fn bytes(path: &std::path::Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::samples::{policy, want};

    fn environment(profile: &str, reader: Reader, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        let policy = policy(&want(profile));
        let places = Places::of(&policy, 1000, Path::new("/tmp/x"));
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.as_bytes().to_vec());
        let variables = variables.iter().map(owned).collect();
        let all = of_session(&policy, &places, &variables, reader, "s1");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        all.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn check(profile: &str, reader: Reader, given: &[(&str, &str)], name: &str, expected: Option<&str>) {
        let found = environment(profile, reader, given);
        assert_eq!(found.get(name).map(String::as_str), expected, "{profile} {reader:?} {name}");
    }

    #[test]
    fn only_what_the_profile_lists_enters_and_nothing_that_injects() {
        let given = &[
            ("LANG", "C"),
            ("PATH", "/x/bin"),
            ("OPENAI_API_KEY", "k"),
            ("LD_PRELOAD", "x.so"),
            ("BASH_ENV", "x"),
            ("SSH_AUTH_SOCK", "/s"),
            ("DUNLIN_SOCKET", "/d"),
        ];
        for profile in ["workspace-write", "unconfined"] {
            check(profile, Reader::Person, given, "LANG", Some("C"));
            check(profile, Reader::Person, given, "PATH", Some("/x/bin"));
            for name in ["OPENAI_API_KEY", "LD_PRELOAD", "BASH_ENV", "SSH_AUTH_SOCK", "DUNLIN_SOCKET"] {
                check(profile, Reader::Person, given, name, None);
            }
        }
    }

    #[test]
    fn models_get_quiet_programs_and_people_keep_theirs() {
        let given = &[("TERM", "screen"), ("NO_COLOR", "")];
        check("workspace-write", Reader::Model, given, "TERM", Some("xterm-256color"));
        check("workspace-write", Reader::Model, given, "GIT_PAGER", Some("cat"));
        check("workspace-write", Reader::Person, given, "TERM", Some("screen"));
        check("workspace-write", Reader::Person, given, "GIT_PAGER", None);
    }

    #[test]
    fn without_a_network_tools_are_told_so_and_the_caller_wins() {
        check("workspace-write", Reader::Person, &[], "CARGO_NET_OFFLINE", Some("true"));
        check("workspace-write", Reader::Person, &[("GOPROXY", "direct")], "GOPROXY", Some("direct"));
        check("workspace-net", Reader::Person, &[], "CARGO_NET_OFFLINE", None);
        check("unconfined", Reader::Person, &[], "CARGO_NET_OFFLINE", None);
    }

    #[test]
    fn the_sandboxs_own_places_win_over_the_callers() {
        let given = &[("HOME", "/elsewhere"), ("TMPDIR", "/mine")];
        check("workspace-write", Reader::Person, given, "HOME", Some("/home/ada"));
        check("workspace-write", Reader::Person, given, "TMPDIR", Some("/tmp"));
        check("workspace-write", Reader::Person, given, "GIT_CONFIG_GLOBAL", Some("/home/ada/.gitconfig"));
        check("workspace-write", Reader::Person, given, "DUNLIN_SANDBOX", Some("default"));
        check("unconfined", Reader::Person, given, "GIT_CONFIG_GLOBAL", None);
        check("unconfined", Reader::Person, given, "TMPDIR", Some("/mine"));
    }

    #[test]
    fn path_entries_that_the_sandbox_was_born_without_are_told() {
        let entries =
            ["/usr/bin", "/home/ada/.cargo/bin", "/home/ada/src/app/.venv/bin", "/home/ada/new/bin"];
        let mut policy = policy(&want("workspace-write"));
        let born = policy.caller.path.clone();
        let links = |entry: &Path| entry.starts_with("/run").then(|| PathBuf::from("/usr/lib/node/bin"));
        assert_eq!(seen_path(&policy, &born, links), (policy.caller.path.clone(), Vec::new()));
        policy.caller.path = entries.map(PathBuf::from).to_vec();
        assert_eq!(seen_path(&policy, &born, links).1, [PathBuf::from("/home/ada/new/bin")]);
        policy.caller.path = ["/run/user/1/terminal/bin", "/bin"].map(PathBuf::from).to_vec();
        let path = ["/usr/lib/node/bin", "/bin"].map(PathBuf::from).to_vec();
        assert_eq!(seen_path(&policy, &born, links), (path, Vec::new()));
    }

    #[test]
    fn a_caller_without_a_path_gets_the_systems() {
        check("workspace-write", Reader::Model, &[], "PATH", Some(super::PATH));
    }
}
