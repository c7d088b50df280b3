//! Owns the rule that every Rust file is compiled: a module that no `mod` line names is dead, and nothing else says so.

use std::path::Path;

use crate::finding::Finding;
use crate::tree::Tree;

/// Files below `src` and in suites that no file beside or above them declares.
pub fn undeclared(tree: &Tree) -> Vec<Finding> {
    let rust = tree.files.iter().filter(|file| file.has_extension("rs"));
    let orphans = rust.filter(|file| !is_root(tree, &file.path) && !is_declared(tree, &file.path));
    let message = "no `mod` line names this file, so it is not compiled: add one, or remove the file";
    orphans.map(|file| Finding::new(&file.path, 1, message)).collect()
}

/// Roots that cargo finds by their names or by `path` in a manifest.
fn is_root(tree: &Tree, path: &str) -> bool {
    let named = |file: &&crate::tree::File| {
        let directory = file.path.trim_end_matches("Cargo.toml");
        path.strip_prefix(directory).is_some_and(|rest| file.text.contains(&format!("path = \"{rest}\"")))
    };
    let manifests = || tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let suite = path.matches('/').count() == 2 && path.contains("/tests/");
    suite
        || path.ends_with("/build.rs")
        || path.ends_with("/src/lib.rs")
        || path.ends_with("/main.rs")
        || manifests().any(|file| named(&file))
}

fn is_declared(tree: &Tree, path: &str) -> bool {
    let path = Path::new(path);
    let (Some(parent), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    let (directory, module) = match (stem, parent.parent(), parent.file_name().and_then(|name| name.to_str()))
    {
        ("mod", Some(above), Some(name)) => (above, name),
        _ => (parent, stem),
    };
    let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let declares = |file: &crate::tree::File| {
        let declared = file.source().code.lines().any(|line| {
            let words = line.trim().trim_end_matches([';', '{', ' ']);
            words.rsplit_once("mod ").is_some_and(|(_, name)| name == module)
        });
        declared || file.text.contains(&format!("#[path = \"{file_name}\"]"))
    };
    let beside = tree.files.iter().filter(|file| file.has_extension("rs") && Path::new(&file.path) != path);
    // A file of the same directory (lib.rs, main.rs, mod.rs), or the one that the directory belongs to.
    let mut near = beside.filter(|file| {
        let at = Path::new(&file.path);
        at.parent() == Some(directory) || at.with_extension("") == directory
    });
    near.any(declares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::File;

    #[test]
    fn a_file_that_no_mod_line_names_is_found() {
        let files = [
            ("x/Cargo.toml", "[lib]\npath = \"src/lib.rs\"\n"),
            ("x/src/lib.rs", "pub mod a;\nmod b;\n// mod lost;\n"),
            ("x/src/a/mod.rs", "mod deep;\n"),
            ("x/src/a/deep.rs", "#[cfg(test)]\n#[path = \"deep_tests.rs\"]\nmod tests;\n"),
            ("x/src/a/deep_tests.rs", ""),
            ("x/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            ("x/src/b/tests.rs", ""),
            ("x/src/lost.rs", ""),
            ("x/src/gone/mod.rs", ""),
            ("x/tests/suite.rs", ""),
        ];
        let tree = Tree { files: files.map(|(path, text)| File::new(path, text)).into() };
        let found: Vec<String> = undeclared(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["x/src/lost.rs", "x/src/gone/mod.rs"]);
    }
}
