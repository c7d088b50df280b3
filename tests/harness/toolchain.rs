//! A Rust toolchain and one cached crate in a world's HOME, as a developer has them: rustup's proxies, a toolchain, a registry.
//!
//! Files of the machine's own toolchain are linked, not copied, where the file system allows: an ordinary user reads them
//! there although the HOME that they come from is closed.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::World;

/// A crate that this workspace itself builds with, small and without dependencies of its own.
const CACHED: &str = "cfg-if";

impl World {
    /// Puts cargo, rustc and a registry with one downloaded crate under HOME. The error says what this machine lacks.
    pub fn bring_rust(&self) -> Result<(), String> {
        let home = own_home("RUSTUP_HOME", ".rustup")?;
        let cargo = own_home("CARGO_HOME", ".cargo")?;
        let rustup = cargo.join("bin/rustup");
        if !rustup.is_file() || !home.join("settings.toml").is_file() {
            return Err("the Rust here was not installed by rustup".into());
        }
        let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().map_err(text)?;
        let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
        let name = sysroot.file_name().ok_or("rustc has no sysroot")?;
        let toolchain = self.home().join(".rustup/toolchains").join(name);
        for part in ["bin", "lib"] {
            link_tree(&sysroot.join(part), &toolchain.join(part)).map_err(text)?;
        }
        let settings = format!("version = \"12\"\ndefault_toolchain = {:?}\n", name.to_string_lossy());
        self.write(&self.home().join(".rustup/settings.toml"), &settings);
        // rustup makes these when it installs, and will not start where they are missing and cannot be made.
        for name in ["downloads", "tmp", "update-hashes"] {
            fs::create_dir_all(self.home().join(".rustup").join(name)).map_err(text)?;
        }
        let bin = self.home().join(".cargo/bin");
        fs::create_dir_all(&bin).map_err(text)?;
        link(&rustup, &bin.join("rustup")).map_err(text)?;
        for proxy in ["cargo", "rustc", "rustdoc"] {
            std::os::unix::fs::symlink("rustup", bin.join(proxy)).map_err(text)?;
        }
        self.bring_crate(&cargo.join("registry"))?;
        for place in [".rustup", ".cargo"] {
            self.give_tree(&self.home().join(place));
        }
        Ok(())
    }

    /// The crate as cargo's download left it, not unpacked: the first build inside does that.
    fn bring_crate(&self, registry: &Path) -> Result<(), String> {
        let missing = || format!("{} holds no {CACHED}", registry.display());
        let index = only_entry(&registry.join("index")).ok_or_else(missing)?;
        let name = index.file_name().ok_or_else(missing)?;
        let entry = Path::new(".cache").join(&CACHED[..2]).join(&CACHED[2..4]).join(CACHED);
        let archives = fs::read_dir(registry.join("cache").join(name)).map_err(|_| missing())?;
        let archive = archives.flatten().map(|entry| entry.path());
        let archive = archive.filter(|path| path.file_name().is_some_and(is_archive));
        let archive = archive.last().ok_or_else(missing)?;
        let target = self.home().join(".cargo/registry");
        let mut files = vec![
            (index.join(&entry), target.join("index").join(name).join(&entry)),
            (archive.clone(), target.join("cache").join(name).join(archive.file_name().ok_or_else(missing)?)),
        ];
        files.push((index.join("config.json"), target.join("index").join(name).join("config.json")));
        for (from, to) in files.iter().filter(|(from, _)| from.is_file()) {
            fs::create_dir_all(to.parent().ok_or_else(missing)?).map_err(text)?;
            fs::copy(from, to).map_err(text)?;
        }
        Ok(())
    }

    /// Directories become the world's user's; linked files keep the owner they have elsewhere.
    fn give_tree(&self, directory: &Path) {
        self.give(directory);
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                self.give_tree(&entry.path());
            } else if kind.is_file() && directory.starts_with(self.home().join(".cargo/registry")) {
                self.give(&entry.path());
            }
        }
    }
}

fn is_archive(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.strip_prefix(CACHED).is_some_and(|rest| rest.starts_with("-1") && rest.ends_with(".crate"))
}

/// Where the tests' own user keeps something.
fn own_home(variable: &str, usual: &str) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let home = env::var_os("HOME").ok_or("the tests have no HOME")?;
    Ok(Path::new(&home).join(usual))
}

fn only_entry(directory: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    entries.next().filter(|_| entries.next().is_none())
}

fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &target)?;
        } else {
            link(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// A hard link, or a copy where the file system or its rules want one.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

fn text(error: io::Error) -> String {
    error.to_string()
}
