//! A project's own profile: the one file in a workspace that may name one, read by descriptor, through no link.
//!
//! Invariant: what is hashed is what is used. Whether it counts is `trust`'s to say.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use dunlin_sandbox_profiles::PROJECT_DIRECTORY;
use nix::{
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
    unistd::geteuid,
};
use sha2::{Digest, Sha256};

/// Its name in [`PROJECT_DIRECTORY`].
pub const NAME: &str = "profile.toml";

/// A profile that people read before they trust it is shorter.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// The file as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The SHA-256 of the text, hexadecimal.
    pub sha256: String,
}

/// Looks for it. `Err` says why what lies there is not looked at, with the next step.
pub fn find(workspace: &Path) -> Result<Option<ProjectFile>, String> {
    let directory = workspace.join(PROJECT_DIRECTORY);
    let path = directory.join(NAME);
    let refused = |why: &str| format!("{} is not used: {why}", path.display());
    for (at, wanted) in [(&directory, fs::FileType::is_dir as fn(&_) -> bool), (&path, fs::FileType::is_file)]
    {
        match fs::symlink_metadata(at) {
            Ok(found) if found.is_symlink() => {
                return Err(refused(&format!("{} is a link; put the file itself there", at.display())));
            }
            Ok(found) if !wanted(&found.file_type()) => {
                return Err(refused("it must be a regular file in a directory; make it one"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(&format!("{error}; check its mode"))),
        }
    }
    let text = open_plain(&directory)
        .and_then(read)
        .map_err(|error| refused(&format!("{error}; mend or remove it")))?;
    let sha256 = sha256(text.as_bytes());
    Ok(Some(ProjectFile { path, text, sha256 }))
}

/// Opens the file through no link, whatever has changed since the look, and without waiting for a pipe's other end.
fn open_plain(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let directory = open(directory, flags | OFlag::O_DIRECTORY | OFlag::O_PATH, Mode::empty())?;
    Ok(openat(directory.as_fd(), NAME, flags | OFlag::O_RDONLY, Mode::empty())?)
}

fn read(file: OwnedFd) -> io::Result<String> {
    let file = File::from(file);
    let facts = file.metadata()?;
    let own = facts.uid() == geteuid().as_raw() || facts.uid() == 0;
    let wrong = match () {
        () if !facts.is_file() => "it is no regular file".to_owned(),
        () if !own => format!("it belongs to the user {}, not to you", facts.uid()),
        () if facts.len() > FILE_MAX_BYTES => format!("it has {} bytes, over {FILE_MAX_BYTES}", facts.len()),
        () => String::new(),
    };
    if !wrong.is_empty() {
        return Err(io::Error::other(wrong));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// A digest, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_plain_file_is_read_and_nothing_is_nothing() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(find(place.path()), Ok(None));
        fs::create_dir(place.path().join(PROJECT_DIRECTORY)).unwrap();
        assert_eq!(find(place.path()), Ok(None));
        fs::write(place.path().join(".dunlin/profile.toml"), "x").unwrap();
        let found = find(place.path()).unwrap().unwrap();
        assert_eq!(found.text, "x");
        assert!(found.sha256.starts_with("2d711642b726b044"), "{}", found.sha256);
    }

    #[test]
    fn links_odd_files_and_long_ones_are_refused_with_the_reason() {
        let check = |make: &dyn Fn(&Path), part: &str| {
            let place = tempfile::tempdir().unwrap();
            make(place.path());
            let why = find(place.path()).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        let in_directory = |root: &Path| {
            fs::create_dir(root.join(PROJECT_DIRECTORY)).unwrap();
            root.join(".dunlin/profile.toml")
        };
        check(&|root| symlink("/etc", root.join(PROJECT_DIRECTORY)).unwrap(), "is a link");
        check(&|root| symlink("/etc/passwd", in_directory(root)).unwrap(), "is a link");
        check(&|root| fs::write(root.join(PROJECT_DIRECTORY), "x").unwrap(), "regular file in a directory");
        check(&|root| fs::create_dir(in_directory(root)).unwrap(), "regular file in a directory");
        check(&|root| fs::write(in_directory(root), vec![b'#'; 70_000]).unwrap(), "has 70000 bytes");
        check(&|root| fs::write(in_directory(root), [0xff]).unwrap(), "not UTF-8");
        if geteuid().is_root() {
            let given = |root: &Path| {
                let path = in_directory(root);
                fs::write(&path, "x").unwrap();
                std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            };
            check(&given, "belongs to the user 12345");
        }
    }
}
