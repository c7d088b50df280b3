//! Owns the promises of the built-in profiles and of the data files beside them.

use std::collections::BTreeSet;
use std::path::Path;

use dunlin_sandbox_profiles::{
    Access, Anchor, Catalog, Guard, Isolation, NetMode, Origin, PathEntry, PathSet, Profile, Source,
    refused_variables, secrets, toolchains,
};

const NAMES: [&str; 4] = ["read-only", "workspace-write", "workspace-net", "unconfined"];

fn resolve(name: &str) -> Profile {
    Catalog::new([]).resolve(name).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_built_in_resolves_and_says_what_it_is_for() {
    let catalog = Catalog::new([]);
    let names: Vec<&str> = catalog.sources().iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, NAMES);
    for name in NAMES {
        let profile = resolve(name);
        assert_eq!(profile.name, name);
        assert!(!profile.description.is_empty(), "{name} has no description");
    }
}

#[test]
fn every_built_in_prints_as_toml_that_resolves_to_itself() {
    for name in NAMES {
        let profile = resolve(name);
        let again = Source::user("again", "again.toml", profile.to_toml());
        let mut again = Catalog::new([again]).resolve("again").unwrap_or_else(|error| panic!("{error}"));
        again.name = profile.name.clone();
        assert_eq!(again, profile, "{name} printed\n{}", profile.to_toml());
    }
}

#[test]
fn the_default_writes_the_workspace_and_reaches_nothing() {
    let profile = resolve(dunlin_sandbox_profiles::DEFAULT);
    assert_eq!(profile.isolation, Isolation::Strict);
    assert_eq!(profile.fs.workspace, Access::Write);
    assert_eq!(profile.net.mode, NetMode::None);
    assert_eq!((profile.git.hooks, profile.git.config), (Guard::Protect, Guard::Protect));
    assert!(profile.fs.write.is_empty(), "{:?}", profile.fs.write);
    assert!(profile.fs.hide.contains(&PathEntry::All(PathSet::Secrets)));
    assert!(profile.ptrace && !profile.userns);
}

#[test]
fn the_net_profile_reaches_the_stated_registries_only() {
    let net = resolve("workspace-net").net;
    let hosts: Vec<String> = net.hosts.iter().map(ToString::to_string).collect();
    let stated = "crates.io index.crates.io static.crates.io registry.npmjs.org pypi.org files.pythonhosted.org \
                  proxy.golang.org sum.golang.org deb.debian.org security.debian.org";
    assert_eq!(hosts.join(" "), stated);
    assert_eq!((net.mode, net.ports), (NetMode::Proxy, vec![80, 443]));
}

#[test]
fn only_the_unconfined_profile_runs_without_a_sandbox() {
    for name in NAMES {
        assert_eq!(resolve(name).isolation == Isolation::None, name == "unconfined", "{name}");
    }
}

#[test]
fn no_profile_passes_credentials_or_injections() {
    let never = "LD_PRELOAD LD_LIBRARY_PATH NODE_OPTIONS PYTHONSTARTUP PYTHONPATH BASH_ENV ENV GIT_DIR GIT_SSH_COMMAND \
                 SSH_ASKPASS SUDO_ASKPASS SSH_AUTH_SOCK OPENAI_API_KEY AWS_SECRET_ACCESS_KEY AWS_PROFILE GH_TOKEN \
                 GITHUB_TOKEN NPM_TOKEN PGPASSWORD DBUS_SESSION_BUS_ADDRESS DOCKER_HOST DUNLIN_SOCKET";
    for name in NAMES {
        let env = resolve(name).env;
        for variable in never.split_whitespace() {
            assert!(!env.passes(variable), "{name} passes {variable}");
        }
        for variable in
            ["PATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "TERM", "COLORTERM", "LOGNAME", "USER", "SHELL"]
        {
            assert!(env.passes(variable), "{name} does not pass {variable}");
        }
    }
}

#[test]
fn a_prefix_does_not_let_refused_variables_in() {
    let text = "extends = \"read-only\"\n[env]\nallow = [\"NODE_*\", \"MY_*\"]";
    let env =
        Catalog::new([Source::user("mine", "mine.toml", text)]).resolve("mine").expect("it is right").env;
    assert!(env.passes("NODE_ENV") && env.passes("MY_MODE"));
    assert!(!env.passes("NODE_OPTIONS") && !env.passes("MY_TOKEN"));
}

#[test]
fn data_files_name_each_thing_once_and_below_home() {
    let mut names = BTreeSet::new();
    for toolchain in toolchains() {
        assert!(names.insert(&toolchain.name), "{} is there twice", toolchain.name);
        assert!(!toolchain.read.is_empty() || !toolchain.cache.is_empty(), "{} is empty", toolchain.name);
        for path in &toolchain.read {
            assert!(!toolchain.cache.contains(path), "{}: {path} is read and cache", toolchain.name);
        }
    }
    let mut hidden = BTreeSet::new();
    for path in secrets().iter().flat_map(|secret| &secret.hide) {
        assert_eq!(path.anchor(), Anchor::Home, "{path}");
        assert!(hidden.insert(path), "{path} is hidden twice");
    }
    let mut refused = BTreeSet::new();
    for rule in refused_variables() {
        assert!(refused.insert(&rule.name), "{} is refused twice", rule.name);
    }
}

#[test]
fn no_toolchain_lies_inside_a_secret() {
    for toolchain in toolchains() {
        for path in toolchain.read.iter().chain(&toolchain.cache) {
            let secret = secrets().iter().find(|secret| secret.hide.iter().any(|hidden| hidden.covers(path)));
            assert!(secret.is_none(), "{path} of {} is hidden as {}", toolchain.name, secret.unwrap().name);
        }
    }
}

#[test]
fn the_secrets_that_threaten_most_are_listed() {
    for path in "~/.ssh ~/.aws ~/.gnupg ~/.netrc ~/.kube ~/.docker ~/.npmrc ~/.pypirc ~/.cargo/credentials \
                 ~/.cargo/credentials.toml ~/.config/gh ~/.config/gcloud ~/.azure ~/.bash_history ~/.zsh_history \
                 ~/.mozilla ~/.git-credentials ~/.config/dunlin ~/.local/state/dunlin"
        .split_whitespace()
    {
        let path = path.parse().expect(path);
        assert!(secrets().iter().any(|secret| secret.hide.contains(&path)), "{path} is not listed");
    }
}

#[test]
fn a_variable_moves_a_toolchain_and_its_secret() {
    let home = Path::new("/home/ada");
    let moved = |name: &str| (name == "CARGO_HOME").then(|| "/opt/cargo".to_string());
    let cargo = toolchains().iter().find(|toolchain| toolchain.name == "cargo").expect("cargo is listed");
    assert_eq!(cargo.cache_at(home, moved), [Path::new("/opt/cargo/registry"), Path::new("/opt/cargo/git")]);
    assert_eq!(cargo.cache_at(home, |_| None)[0], Path::new("/home/ada/.cargo/registry"));
    assert_eq!(cargo.cache_at(home, |_| Some("../x".to_string()))[0], Path::new("/home/ada/.cargo/registry"));

    let secret = secrets().iter().find(|secret| secret.name == "cargo registries").expect("it is listed");
    let hidden = secret.hide_at(home, moved);
    assert!(hidden.contains(&"/opt/cargo/credentials.toml".into()), "{hidden:?}");
    assert!(hidden.contains(&"/home/ada/.cargo/credentials.toml".into()), "{hidden:?}");
}

#[test]
fn xdg_variables_move_every_entry() {
    let config = |name: &str| (name == "XDG_CONFIG_HOME").then(|| "/srv/config".to_string());
    let dunlin = secrets().iter().find(|secret| secret.name == "dunlin").expect("it is listed");
    let hidden = dunlin.hide_at(Path::new("/home/ada"), config);
    assert!(hidden.contains(&"/srv/config/dunlin".into()), "{hidden:?}");
    assert!(hidden.contains(&"/home/ada/.config/dunlin".into()), "{hidden:?}");
}

#[test]
fn built_in_sources_are_marked_as_such() {
    assert!(Catalog::new([]).sources().iter().all(|source| source.origin == Origin::BuiltIn));
}
