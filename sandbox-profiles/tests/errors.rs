//! Owns the messages about wrong profiles: each case is a file and exactly what a person reads about it.

use dunlin_sandbox_profiles::{Catalog, Source};

/// Resolves `text` as the user's profile `mine` and compares the whole message.
fn check(text: &str, expected: &str) {
    check_source(Source::user("mine", "mine.toml", text), expected);
}

fn check_source(source: Source, expected: &str) {
    let name = source.name.clone();
    let error = Catalog::new([source.clone()]).resolve(&name).expect_err(&source.text);
    assert_eq!(error.to_string(), expected, "for\n{}", source.text);
}

/// A profile that is right but for the line under test.
fn extending(rest: &str) -> String {
    format!("extends = \"workspace-write\"\n{rest}")
}

#[test]
fn text_that_is_no_toml_names_the_place() {
    check(
        "extends = \n",
        "mine.toml:1:11: this is not TOML (string values must be quoted, expected literal string): mend this line",
    );
    check("[fs\nread = []", "mine.toml:1:4: this is not TOML (unclosed table, expected `]`): mend this line");
    check(
        "ptrace = true\nptrace = false\n",
        "mine.toml:2:1: `ptrace` stands here a second time: keep one of the two",
    );
    check("[fs]\nread = []\n[fs]\n", "mine.toml:3:2: `fs` stands here a second time: keep one of the two");
}

#[test]
fn unknown_keys_list_the_known_ones() {
    check(
        &extending("networking = 1"),
        "mine.toml:2:1: networking: unknown key `networking`: write one of `description`, `extends`, `isolation`, `ptrace`, `userns`, `fs`, `git`, `net`, `env`, `dev`, `limits`",
    );
    check(
        &extending("[fs]\nreed = []"),
        "mine.toml:3:1: fs.reed: unknown key `reed`: write one of `workspace`, `home`, `tmp_size`, `read`, `write`, `hide`, `protect`, `overlay`",
    );
    check(
        &extending("[limits]\nmemory = { value = \"1GiB\", hrad = true }"),
        "mine.toml:3:28: limits.memory.hrad: unknown key `hrad`: write `value` or `hard`",
    );
    check(
        &extending("[limits]\nmemory = { hard = true }"),
        "mine.toml:3:10: limits.memory: `value` is missing: write it beside the others",
    );
}

#[test]
fn unknown_words_list_the_known_ones() {
    check(
        "isolation = \"lax\"",
        "mine.toml:1:13: isolation: unknown word `lax`: write one of `strict`, `best-effort`, `none`",
    );
    check(
        &extending("[net]\nmode = \"open\""),
        "mine.toml:3:8: net.mode: unknown word `open`: write one of `none`, `proxy`, `host`",
    );
    check(
        &extending("[git]\nhooks = \"yes\""),
        "mine.toml:3:9: git.hooks: unknown word `yes`: write `protect` or `allow`",
    );
    check(
        &extending("[dev]\ngpu = [\"dri\", \"cuda\"]"),
        "mine.toml:3:15: dev.gpu: unknown word `cuda`: write one of `nvidia`, `dri`, `kfd`",
    );
}

#[test]
fn values_of_the_wrong_type_say_which_is_right() {
    check(
        &extending("ptrace = \"yes\""),
        "mine.toml:2:10: ptrace: string \"yes\" is of the wrong type: write a boolean",
    );
    check(
        &extending("[fs]\nread = \"/data\""),
        "mine.toml:3:8: fs.read: string \"/data\" stands where a list does: write [\"/data\"]",
    );
    check(
        &extending("[net]\nmode = \"proxy\"\nports = 443"),
        "mine.toml:4:9: net.ports: integer `443` stands where a list does: write [443]",
    );
    check(
        &extending("[git]\nconfig = true"),
        "mine.toml:3:10: git.config: true is no word for it: write `protect` or `allow`",
    );
    check(
        &extending("isolation = 1"),
        "mine.toml:2:13: isolation: 1 is no word for it: write one of `strict`, `best-effort`, `none`",
    );
    check(
        &extending("[limits]\nmemory = true"),
        "mine.toml:3:10: limits.memory: boolean `true` is of the wrong type: write an amount such as \"512MiB\", \"unlimited\", or { value = \"512MiB\", hard = true }",
    );
}

#[test]
fn paths_are_absolute_and_plain() {
    check(
        &extending("[fs]\nread = [\n  \"/a\",\n  \"data\",\n]"),
        "mine.toml:5:3: fs.read: \"data\" is relative: begin it with `/`, `~/` or `${workspace}/`",
    );
    check(
        &extending("[fs]\nwrite = [\"/a/../b\"]"),
        "mine.toml:3:10: fs.write: \"/a/../b\" contains `..`: write the path it leads to",
    );
    check(
        &extending("[fs]\nhide = [\"/a\\u0000b\"]"),
        "mine.toml:3:9: fs.hide: \"/a\\0b\" contains a NUL, which no path can: remove it",
    );
    check(
        &extending("[fs]\nread = [\"${home}/x\"]"),
        "mine.toml:3:9: fs.read: \"${home}/x\" begins with an unknown token: the known ones are ${workspace}, ${system}, ${path}, ${toolchains}, ${caches}, ${secrets}",
    );
}

#[test]
fn paths_stand_in_the_list_where_they_mean_something() {
    check(
        &extending("[fs]\nread = [\"${secrets}\"]"),
        "mine.toml:3:9: fs.read: `${secrets}` does not belong here: write it in fs.hide",
    );
    check(
        &extending("[fs]\nwrite = [\"${caches}\"]"),
        "mine.toml:3:10: fs.write: `${caches}` does not belong here: write it in fs.read or fs.overlay",
    );
    check(
        &extending("[fs]\nwrite = [\"/\"]"),
        "mine.toml:3:10: fs.write: `/` is the whole machine: name the directories that are meant",
    );
    check(
        &extending("[fs]\nread = [\"~\"]"),
        "mine.toml:3:9: fs.read: `~` is the whole HOME: name directories in it, or write fs.home",
    );
    check(
        &extending("[fs]\nhide = [\"${workspace}\"]"),
        "mine.toml:3:9: fs.hide: what the workspace itself is, fs.workspace says: write it there",
    );
    check(
        &extending("[fs]\nwrite = [\"/tmp\"]"),
        "mine.toml:3:10: fs.write: /tmp is private to a sandbox: name a directory in it",
    );
    check(
        &extending("[fs]\nwrite = [\"/proc/sys\"]"),
        "mine.toml:3:10: fs.write: /proc is the kernel's and every sandbox has its own part of it: remove this",
    );
}

#[test]
fn lists_do_not_contradict_each_other() {
    check(
        &extending("[fs]\nread = [\"/a\"]\nwrite = [\"/a\"]"),
        "mine.toml:3:9: fs.read: `/a` is in fs.write too: keep it in one of the two (fs.protect makes a part read-only)",
    );
    check(
        &extending("[fs]\nwrite = [\"/a\"]\noverlay = [\"/a\"]"),
        "mine.toml:3:10: fs.write: `/a` is in fs.overlay too: keep it in one of the two (fs.protect makes a part read-only)",
    );
    check(
        &extending("[fs]\nread = [\"/a/b\"]\nhide = [\"/a\"]"),
        "mine.toml:3:9: fs.read: `/a/b` is hidden by `/a` in fs.hide, which never shrinks: remove it, or extend a profile that does not hide it",
    );
    check(
        &extending("[fs]\nwrite = [\"/a/b\"]\nprotect = [\"/a\"]"),
        "mine.toml:3:10: fs.write: `/a/b` is kept from change by `/a` in fs.protect, which never shrinks: remove it, or extend a profile that does not protect it",
    );
    check(
        &extending("[fs]\nread = [\"~/.ssh/config\"]"),
        "mine.toml:3:9: fs.read: `~/.ssh/config` is hidden by `${secrets}` in fs.hide, which never shrinks: remove it, or extend a profile that does not hide it",
    );
}

#[test]
fn a_view_lets_programs_start_and_keeps_secrets() {
    check(
        "description = \"nothing\"",
        "mine.toml:1:1: fs.read: no directory is readable, so no program could start: add \"${system}\", or extend a profile",
    );
    check(
        "[fs]\nread = [\"${system}\"]\nhome = \"host-read\"",
        "mine.toml:3:1: fs.home: the host's HOME would show its secrets: add \"${secrets}\" to fs.hide, or write home = \"private\"",
    );
}

#[test]
fn only_unconfined_runs_without_a_sandbox() {
    check(
        "isolation = \"none\"",
        "mine.toml:1:1: isolation: only `unconfined` runs without a sandbox: write extends = \"unconfined\" if that is meant",
    );
    check(
        "extends = \"unconfined\"\nisolation = \"strict\"",
        "mine.toml:2:1: isolation: what it extends runs without a sandbox and grants everything: extend `workspace-write` instead",
    );
    check(
        "extends = \"unconfined\"\n[fs]\nhide = [\"/a\"]",
        "mine.toml:2:2: fs: nothing enforces it without a sandbox: remove it, or extend `workspace-write` instead of `unconfined`",
    );
    check_source(
        Source::project(".dunlin/profile.toml", "extends = \"unconfined\""),
        ".dunlin/profile.toml:1:1: extends: a project may not ask to run without a sandbox: remove this, or run with `-p unconfined` yourself",
    );
    check_source(
        Source::project(".dunlin/profile.toml", "\nisolation = \"none\""),
        ".dunlin/profile.toml:2:1: isolation: a project may not ask to run without a sandbox: remove this, or run with `-p unconfined` yourself",
    );
}

#[test]
fn hosts_and_ports_need_the_proxy_and_their_form() {
    check(
        &extending("[net]\nhosts = [\"crates.io\"]"),
        "mine.toml:3:1: net.hosts: net.mode is \"none\", so nothing can be reached: write net.mode = \"proxy\" beside it, or remove it",
    );
    check(
        &extending("[net]\nmode = \"host\"\nports = [443]"),
        "mine.toml:4:1: net.ports: net.mode is \"host\", so everything can be reached without it: write net.mode = \"proxy\" beside it, or remove it",
    );
    check(
        &extending("[net]\nmode = \"proxy\"\nhosts = [\"a.org\", \"10.0.0.1\"]"),
        "mine.toml:4:19: net.hosts: \"10.0.0.1\" is an IP address: hosts are allowed by name",
    );
    check(
        &extending("[net]\nmode = \"proxy\"\nports = [443, 65536]"),
        "mine.toml:4:15: net.ports: 65536 is no port: write a number from 1 to 65535",
    );
    check(
        &extending("[net]\nmode = \"proxy\"\nports = [0]"),
        "mine.toml:4:10: net.ports: 0 is no port: write a number from 1 to 65535",
    );
}

#[test]
fn variables_that_inject_or_tell_are_refused() {
    check(
        &extending("[env]\nallow = [\"LD_PRELOAD\"]"),
        "mine.toml:3:10: env.allow: \"LD_PRELOAD\" is never passed on (the dynamic linker loads code from it): give it a value in env.set if it is meant",
    );
    check(
        &extending("[env]\nallow = [\"GIT_*\"]"),
        "mine.toml:3:10: env.allow: \"GIT_*\" is never passed on (git runs programs and opens repositories by it): give it a value in env.set if it is meant",
    );
    check(
        &extending("[env]\nallow = [\"LANG\", \"SSH_AUTH_SOCK\"]"),
        "mine.toml:3:18: env.allow: \"SSH_AUTH_SOCK\" is never passed on (the ssh agent signs for whoever reaches it): give it a value in env.set if it is meant",
    );
    check(
        &extending("[env]\nallow = [\"OPENAI_API_KEY\"]"),
        "mine.toml:3:10: env.allow: \"OPENAI_API_KEY\" is never passed on (it holds a credential): give it a value in env.set if it is meant",
    );
    check(
        &extending("[env]\nallow = [\"L*\"]"),
        "mine.toml:3:10: env.allow: \"L*\": a wildcard follows a prefix that ends in `_`, such as `LC_*`",
    );
    check(
        &extending("[env]\nallow = [\"*\"]"),
        "mine.toml:3:10: env.allow: `*` passes every variable, which only `unconfined` does: name variables or `PREFIX_*`",
    );
    check(
        &extending("[env]\nallow = [\"A B\"]"),
        "mine.toml:3:10: env.allow: \"A B\" is no variable name: use letters, digits and `_`, no digit first",
    );
    check(
        &extending("[env.set]\nA = \"1\"\n\"B=\" = \"2\""),
        "mine.toml:4:1: env.set.B=: \"B=\" is no variable name: use letters, digits and `_`, no digit first",
    );
    check(
        &extending("[env]\nset = { A = \"x\\u0000\" }"),
        "mine.toml:3:9: env.set.A: the value contains a NUL, which no variable can: remove it",
    );
}

#[test]
fn amounts_have_units_and_fit() {
    check(
        &extending("[fs]\ntmp_size = \"12 parsecs\""),
        "mine.toml:3:12: fs.tmp_size: \"12 parsecs\" is no amount this key understands: write one such as \"512MiB\"",
    );
    check(
        &extending("[fs]\ntmp_size = 0"),
        "mine.toml:3:12: fs.tmp_size: zero leaves nothing to run with: write an amount such as \"512MiB\"",
    );
    check(
        &extending("[limits]\nwall_clock = 30"),
        "mine.toml:3:14: limits.wall_clock: 30 has no unit: write one such as \"30m\"",
    );
    check(
        &extending("[limits]\nprocesses = -1"),
        "mine.toml:3:13: limits.processes: an amount cannot be negative: write a positive one",
    );
    check(
        &extending("[limits]\nmemory = \"99999999999TiB\""),
        "mine.toml:3:10: limits.memory: \"99999999999TiB\" does not fit in 64 bits: write a smaller amount or \"unlimited\"",
    );
    check(
        &extending("[limits]\nidle = { value = \"unlimited\", hard = true }"),
        "mine.toml:3:1: limits.idle: \"unlimited\" cannot be hard: write a value, or remove `hard`",
    );
}

#[test]
fn a_description_is_one_line() {
    check(
        &extending("description = \"a\\nb\""),
        "mine.toml:2:1: description: it has a line break or another control character: write one line",
    );
}

#[test]
fn names_are_unknown_or_taken() {
    let error = Catalog::new([]).resolve("fast").expect_err("no such profile");
    assert_eq!(
        error.to_string(),
        "no profile is called `fast`: the known ones are read-only, workspace-write, workspace-net, unconfined"
    );
    let error = Catalog::new([]).resolve("read-onl").expect_err("no such profile");
    assert_eq!(
        error.to_string(),
        "no profile is called `read-onl`: did you mean `read-only`? the known ones are read-only, workspace-write, workspace-net, unconfined"
    );
    check(
        "extends = \"workspace-wirte\"",
        "mine.toml:1:1: extends: no profile is called `workspace-wirte`: did you mean `workspace-write`? `dunlin profiles list` shows the known ones",
    );
    check(
        "extends = \"fast\"",
        "mine.toml:1:1: extends: no profile is called `fast`: `dunlin profiles list` shows the known ones",
    );
    check_source(
        Source::user("unconfined", "unconfined.toml", ""),
        "unconfined.toml:1:1: the name `unconfined` belongs to built-in unconfined.toml: rename this file",
    );
    check_source(
        Source::user("a b", "a b.toml", ""),
        "a b.toml:1:1: \"a b\" is no profile name: use letters, digits, `-` and `_` for the file",
    );
}

#[test]
fn loops_and_endless_chains_are_refused() {
    check(
        "extends = \"mine\"",
        "mine.toml:1:1: extends: the chain never ends (mine → mine): let one of them extend something else",
    );
    let two =
        [Source::user("a", "a.toml", "extends = \"b\""), Source::user("b", "b.toml", "\nextends = \"a\"")];
    let error = Catalog::new(two).resolve("a").expect_err("a loop");
    assert_eq!(
        error.to_string(),
        "b.toml:2:1: extends: the chain never ends (a → b → a): let one of them extend something else"
    );
    let long = (0..40)
        .map(|n| Source::user(format!("p{n}"), format!("p{n}.toml"), format!("extends = \"p{}\"", n + 1)));
    let error = Catalog::new(long).resolve("p0").expect_err("too long");
    assert_eq!(error.to_string(), "p31.toml:1:1: extends: the chain has more than 32 profiles: shorten it");
}

#[test]
fn a_fault_in_an_ancestor_names_the_ancestors_file() {
    let sources = [
        Source::user("base", "base.toml", "extends = \"read-only\"\n[fs]\nread = [\"x\"]"),
        Source::user("mine", "mine.toml", "extends = \"base\""),
    ];
    let error = Catalog::new(sources).resolve("mine").expect_err("base is wrong");
    assert!(error.to_string().starts_with("base.toml:3:9: fs.read: "), "{error}");
}
