//! Owns what the widening flags do to a profile, and what they must refuse.

use dunlin_sandbox_profiles::{AddedDirectory, Catalog, NetMode, Profile, ProfileError, Widening};

fn profile(name: &str) -> Profile {
    Catalog::new([]).resolve(name).unwrap_or_else(|error| panic!("{error}"))
}

/// The flags of one call, as the command line takes them apart.
fn flags(line: &str) -> Widening {
    let mut widening = Widening::default();
    let mut words = line.split_whitespace();
    while let (Some(flag), Some(value)) = (words.next(), words.next()) {
        match flag {
            "--add-dir" => widening.directories.push(value.parse::<AddedDirectory>().expect(value)),
            "--allow-host" => widening.hosts.push(value.parse().expect(value)),
            "--allow-port" => widening.ports.push(value.parse().expect(value)),
            "--hide" => widening.hide.push(value.parse().expect(value)),
            "--env" => widening.env.push(value.parse().expect(value)),
            other => panic!("{other} is no widening flag"),
        }
    }
    widening
}

fn widen(name: &str, line: &str) -> Result<Profile, ProfileError> {
    profile(name).widen(&flags(line))
}

fn widened(name: &str, line: &str) -> Profile {
    widen(name, line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn no_flags_change_nothing() {
    for name in ["read-only", "workspace-write", "workspace-net", "unconfined"] {
        assert_eq!(widened(name, ""), profile(name));
    }
}

#[test]
fn directories_are_added_with_their_access() {
    let fs = widened("workspace-write", "--add-dir /data --add-dir ~/notes:ro").fs;
    assert!(fs.write.contains(&"/data".parse().unwrap()), "{:?}", fs.write);
    assert!(fs.read.contains(&"~/notes".parse().unwrap()), "{:?}", fs.read);
}

#[test]
fn writable_wins_over_readable_whatever_comes_first() {
    let read = widened("workspace-write", "--add-dir /data:ro");
    let write = read.widen(&flags("--add-dir /data")).expect("it may be written");
    assert!(!write.fs.read.contains(&"/data".parse().unwrap()));
    assert_eq!(write.widen(&flags("--add-dir /data:ro")), Ok(write));
}

#[test]
fn a_host_turns_the_proxy_on_with_the_ports_of_the_web() {
    let net = widened("workspace-write", "--allow-host *.example.org --allow-port 8443").net;
    assert_eq!(net.mode, NetMode::Proxy);
    assert_eq!(net.ports, [80, 443, 8443]);
    assert!(net.hosts[0].matches("a.example.org"));
}

#[test]
fn hosts_add_to_those_of_the_profile() {
    let net = widened("workspace-net", "--allow-host example.org").net;
    assert_eq!(net.hosts.len(), profile("workspace-net").net.hosts.len() + 1);
}

#[test]
fn hidden_paths_leave_the_lists_that_granted_them() {
    let shown = widened("workspace-write", "--add-dir /data/in --add-dir /srv:ro");
    let hidden = shown.widen(&flags("--hide /data --hide /srv")).expect("hiding is no contradiction later");
    assert!(hidden.fs.write.is_empty());
    assert!(!hidden.fs.read.contains(&"/srv".parse().unwrap()));
}

#[test]
fn variables_pass_by_name_or_get_a_value() {
    let env = widened("workspace-write", "--env EDITOR --env GH_TOKEN --env LD_PRELOAD=/x.so").env;
    assert!(env.passes("EDITOR") && env.passes("GH_TOKEN"));
    assert!(!env.passes("LD_PRELOAD"));
    assert_eq!(env.set["LD_PRELOAD"], "/x.so");
}

#[test]
fn a_value_may_be_empty_or_hold_an_equals_sign() {
    let env = widened("workspace-write", "--env A= --env B=c=d").env;
    assert_eq!((env.set["A"].as_str(), env.set["B"].as_str()), ("", "c=d"));
}

#[test]
fn a_variable_named_for_one_call_is_shown_and_is_no_part_of_the_file() {
    let shown = widened("workspace-write", "--env GH_TOKEN").to_toml();
    assert!(shown.starts_with("# passed on by --env for this call: GH_TOKEN\n"), "{shown}");
    assert_eq!(shown.matches("GH_TOKEN").count(), 1);
}

#[test]
fn a_profile_without_a_sandbox_has_nothing_to_widen() {
    let flags = "--add-dir /data --allow-host example.org --allow-port 1 --env A=1";
    let widened = widened("unconfined", flags);
    assert_eq!(widened.fs, profile("unconfined").fs);
    assert_eq!(widened.net, profile("unconfined").net);
    assert_eq!(widened.env.set["A"], "1");
}

#[test]
fn contradictions_name_the_flag_and_the_next_step() {
    for (name, line, expected) in [
        (
            "workspace-write",
            "--add-dir /ok --add-dir ~/.ssh:ro",
            "--add-dir ~/.ssh:ro: `~/.ssh` is hidden by `${secrets}` in fs.hide, which never shrinks: remove it, \
             or extend a profile that does not hide it",
        ),
        (
            "workspace-write",
            "--add-dir /a --hide /a",
            "--add-dir /a: `/a` is hidden by `/a` in fs.hide, which never shrinks: remove it, or extend a profile \
             that does not hide it",
        ),
        (
            "workspace-write",
            "--add-dir /",
            "--add-dir /: `/` is the whole machine: name the directories that are meant",
        ),
        (
            "workspace-write",
            "--allow-port 8080",
            "--allow-port 8080: `workspace-write` reaches no host: add --allow-host too",
        ),
        (
            "workspace-write",
            "--env BASH_ENV",
            "--env BASH_ENV: it is never passed on (bash runs the file it names): write BASH_ENV=VALUE if it is meant",
        ),
        (
            "unconfined",
            "--hide /data",
            "--hide /data: `unconfined` runs without a sandbox and can hide nothing: take another profile",
        ),
    ] {
        let error = widen(name, line).expect_err(line);
        assert_eq!(error.to_string(), expected, "{line}");
    }
}

#[test]
fn flags_that_are_malformed_are_refused_where_they_are_read() {
    for (text, part) in [("data", "is relative"), ("/a/..:ro", "contains `..`"), ("", "is relative")] {
        let message = text.parse::<AddedDirectory>().expect_err(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}
