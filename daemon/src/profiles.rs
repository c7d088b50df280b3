//! Profiles as files: the built-in ones, the user's, and a project's own, read afresh for every request.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use dunlin_sandbox_profiles::{Catalog, DEFAULT, Profile, Source};
use thiserror::Error;

use crate::regular;

/// Why no profile was found.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ProfilesError(String);

/// Where profiles come from. Cheap to clone.
#[derive(Clone)]
pub struct Profiles {
    directory: Arc<Path>,
}

impl Profiles {
    /// Profiles of this user, in `CONFIG/profiles`.
    pub fn new(config: &Path) -> Self {
        Self { directory: config.join("profiles").into() }
    }

    /// The directory of the user's profiles.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Everything that can be named from a workspace. A project's own profile is not trusted yet, and so not among them.
    pub fn catalog(&self, _workspace: &Path) -> Result<Catalog, ProfilesError> {
        let mut sources = Vec::new();
        for path in self.files()? {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let text = regular::read(&path).map_err(|error| {
                ProfilesError(format!("{} cannot be read: {error}; mend or remove it", path.display()))
            })?;
            sources.push(Source::user(name, path.display().to_string(), text));
        }
        Ok(Catalog::new(sources))
    }

    /// One profile; an empty name is the default.
    pub fn resolve(&self, name: &str, workspace: &Path) -> Result<Profile, ProfilesError> {
        let name = if name.is_empty() { DEFAULT } else { name };
        self.catalog(workspace)?
            .resolve(name)
            .map_err(|error| ProfilesError(format!("{error}; see `dunlin profiles list`")))
    }

    fn files(&self) -> Result<Vec<PathBuf>, ProfilesError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let shown = self.directory.display();
                return Err(ProfilesError(format!("{shown} cannot be read: {error}; check its mode")));
            }
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        Ok(files)
    }
}
