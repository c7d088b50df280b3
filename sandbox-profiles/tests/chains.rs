//! Owns the rules of `extends` as people meet them: what a child's file does to each kind of value.

use dunlin_sandbox_profiles::{Access, Catalog, Isolation, NetMode, Profile, Source};

/// Resolves the last of a chain of files; the first extends `workspace-write`.
fn last_of(files: &[&str]) -> Profile {
    let sources = files.iter().enumerate().map(|(index, text)| {
        let parent = if index == 0 { "workspace-write".to_string() } else { format!("p{}", index - 1) };
        Source::user(format!("p{index}"), format!("p{index}.toml"), format!("extends = \"{parent}\"\n{text}"))
    });
    let name = format!("p{}", files.len() - 1);
    Catalog::new(sources).resolve(&name).unwrap_or_else(|error| panic!("{error}"))
}

/// The part of a list that the files under test put there.
fn own(list: &[dunlin_sandbox_profiles::PathEntry]) -> Vec<String> {
    list.iter().map(ToString::to_string).filter(|entry| !entry.starts_with("${")).collect()
}

#[test]
fn a_scalar_that_the_child_writes_replaces_the_parents() {
    let profile = last_of(&[
        "isolation = \"best-effort\"\nuserns = true",
        "userns = false\n[fs]\nworkspace = \"read\"",
    ]);
    assert_eq!(profile.isolation, Isolation::BestEffort);
    assert!(!profile.userns);
    assert_eq!(profile.fs.workspace, Access::Read);
}

#[test]
fn a_list_is_the_parents_followed_by_what_the_child_adds() {
    let profile = last_of(&["[fs]\nread = [\"/b\", \"/a\"]", "[fs]\nread = [\"/c\", \"/a\"]"]);
    assert_eq!(own(&profile.fs.read), ["/b", "/a", "/c"]);
}

#[test]
fn variables_are_set_by_name_and_the_childs_value_wins() {
    let profile = last_of(&["env.set = { A = \"1\", B = \"2\" }", "env.set = { B = \"3\" }"]);
    let set: Vec<(&str, &str)> = profile.env.set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(set, [("A", "1"), ("B", "3")]);
}

#[test]
fn a_limit_is_replaced_whole() {
    let profile = last_of(&["limits.memory = { value = \"1GiB\", hard = true }", "limits.memory = \"2GiB\""]);
    assert!(!profile.limits.memory.hard);
    assert_eq!(profile.limits.memory.value.map(|bytes| bytes.0), Some(2 << 30));
}

#[test]
fn what_a_child_hides_leaves_every_list_that_granted_it() {
    let granted = "[fs]\nread = [\"/r/x\"]\nwrite = [\"/w/x\"]\noverlay = [\"/o/x\"]";
    let profile = last_of(&[granted, "[fs]\nhide = [\"/r\", \"/w/x\", \"/o\"]"]);
    assert_eq!(own(&profile.fs.read), [""; 0]);
    assert_eq!(own(&profile.fs.write), [""; 0]);
    assert_eq!(own(&profile.fs.overlay), [""; 0]);
    assert_eq!(own(&profile.fs.hide), ["/r", "/w/x", "/o"]);
}

#[test]
fn what_a_child_protects_is_readable_and_no_longer_writable() {
    let granted = "[fs]\nwrite = [\"/w/x\", \"/v\"]\noverlay = [\"/o/x\"]";
    let profile = last_of(&[granted, "[fs]\nprotect = [\"/w\", \"/o/x\"]"]);
    assert_eq!(own(&profile.fs.read), ["/w/x", "/o/x"]);
    assert_eq!(own(&profile.fs.write), ["/v"]);
    assert_eq!(own(&profile.fs.overlay), [""; 0]);
}

#[test]
fn a_child_may_write_what_its_parent_reads() {
    let profile = last_of(&["[fs]\nread = [\"/a\"]", "[fs]\nwrite = [\"/a\"]"]);
    assert_eq!((own(&profile.fs.read), own(&profile.fs.write)), (vec![], vec!["/a".to_string()]));
}

#[test]
fn hosts_count_only_while_the_proxy_does() {
    let files =
        ["[net]\nmode = \"proxy\"\nhosts = [\"a.org\"]", "net.mode = \"none\"", "net.mode = \"proxy\""];
    let off = last_of(&files[..2]).net;
    assert_eq!((off.mode, off.hosts.len(), off.ports.len()), (NetMode::None, 0, 0));
    let on_again = last_of(&files).net;
    assert_eq!((on_again.hosts.len(), on_again.ports), (1, vec![80, 443]));
}

#[test]
fn a_profile_that_extends_nothing_starts_from_the_strictest_values() {
    let text = "[fs]\nread = [\"${system}\"]";
    let profile =
        Catalog::new([Source::user("bare", "bare.toml", text)]).resolve("bare").expect("it is right");
    assert_eq!(profile.isolation, Isolation::Strict);
    assert_eq!(profile.fs.workspace, Access::Read);
    assert_eq!(profile.net.mode, NetMode::None);
    assert!(profile.env.allow.is_empty() && !profile.userns);
}

#[test]
fn a_description_is_not_inherited() {
    assert_eq!(last_of(&["description = \"mine\"", ""]).description, "");
}

#[test]
fn a_project_may_extend_the_users_profiles() {
    let sources = [
        Source::user("team", "team.toml", "extends = \"workspace-net\""),
        Source::project(".dunlin/profile.toml", "extends = \"team\"\nnet.hosts = [\"example.org\"]"),
    ];
    let profile = Catalog::new(sources).resolve(dunlin_sandbox_profiles::PROJECT).expect("it is right");
    assert!(profile.net.hosts.iter().any(|host| host.matches("example.org")));
}
