//! Profiles as files: the built-in ones, the user's, and a project's own, read afresh for every request.
//!
//! Invariant: a project's profile is in the catalog only while its content is the one that a person trusted for this
//! workspace; then it is the default there. Untrusted, it can be listed and named in a notice, never resolved.

mod project;
mod trust;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use dunlin_sandbox_profiles::{Catalog, DEFAULT, PROJECT, PROJECT_DIRECTORY, Profile, ProfileError, Source};
use thiserror::Error;

use crate::{clock::unix_ms, regular};
pub use project::ProjectFile;
use trust::TrustStore;
pub use trust::Trusted;

/// Why no profile was found.
#[derive(Debug, Error)]
#[error("{what}{}{next_step}", if next_step.is_empty() { "" } else { "; " })]
pub struct ProfilesError {
    /// What is wrong.
    pub what: String,
    /// What to do; empty where nobody knows.
    pub next_step: String,
}

impl ProfilesError {
    /// A text whose last part is the next step.
    fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let (what, next_step) = text.rsplit_once("; ").unwrap_or((&text, ""));
        Self { what: what.to_owned(), next_step: next_step.to_owned() }
    }
}

/// Whether a project's profile counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does: a person trusted this content here.
    Trusted,
    /// Nobody has trusted it here.
    Untrusted,
    /// Another content was trusted.
    Changed,
}

/// What a person gets to read when they trust a profile.
#[derive(Debug)]
pub struct Trusting {
    /// The file as it was trusted.
    pub file: ProjectFile,
    /// What it changes of the default profile, one line each.
    pub changes: Vec<String>,
}

/// Where profiles come from. Cheap to clone.
#[derive(Clone)]
pub struct Profiles {
    directory: Arc<Path>,
    trust: TrustStore,
    resolved: Arc<Mutex<Resolved>>,
}

/// What came of the texts that were read last, by name: a call reads the files and need not parse them again.
#[derive(Default)]
struct Resolved {
    sources: Vec<Source>,
    profiles: HashMap<String, Profile>,
}

impl Resolved {
    fn of(&mut self, catalog: &Catalog, name: &str) -> Result<Profile, ProfileError> {
        if self.sources != catalog.sources() {
            *self = Self { sources: catalog.sources().to_vec(), profiles: HashMap::new() };
        }
        if let Some(known) = self.profiles.get(name) {
            return Ok(known.clone());
        }
        let profile = catalog.resolve(name)?;
        self.profiles.insert(name.to_owned(), profile.clone());
        Ok(profile)
    }
}

impl Profiles {
    /// Profiles of this user, in `CONFIG/profiles`; what they trust, in `STATE/trusted`.
    pub fn new(config: &Path, state: &Path) -> Self {
        let directory = config.join("profiles").into();
        Self { directory, trust: TrustStore::new(state), resolved: Arc::default() }
    }

    /// The directory of the user's profiles.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Everything that can be named from a workspace: its own profile only if it is trusted.
    pub fn catalog(&self, workspace: &Path) -> Result<Catalog, ProfilesError> {
        let trusted = match self.project(workspace) {
            Ok(Some((file, Standing::Trusted))) => Some(source(&file)),
            _ => None,
        };
        Ok(Catalog::new(self.users()?.into_iter().chain(trusted)))
    }

    /// One profile. An empty name is the workspace's own one if that is trusted, else the default.
    pub fn resolve(&self, name: &str, workspace: &Path) -> Result<Profile, ProfilesError> {
        let standing = self.project(workspace);
        let own = matches!(standing, Ok(Some((_, Standing::Trusted))));
        let name = match name {
            "" if own => PROJECT,
            "" => DEFAULT,
            PROJECT if !own && self.users()?.iter().all(|source| source.name != PROJECT) => {
                return Err(self.no_project(workspace));
            }
            name => name,
        };
        let way_out = if name == PROJECT { "mend it, or name another with -p; " } else { "" };
        let catalog = self.catalog(workspace)?;
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.of(&catalog, name).map_err(|error| ProfilesError {
            what: error.to_string(),
            next_step: format!("{way_out}see `dunlin profiles list`"),
        })
    }

    /// How a sandbox's profile differs from the one of its name, without values of variables; nothing if that one cannot be told.
    pub fn exceptions(&self, profile: &Profile, workspace: &Path) -> Vec<String> {
        let Ok(named) = self.resolve(&profile.name, workspace) else { return Vec::new() };
        let mut changes = profile.changes_without_values(&named);
        // No flag changes limits, but the machine's ceilings do.
        changes.retain(|change| !change.starts_with("limits."));
        changes
    }

    /// A workspace's own profile, and whether it counts. `Err` says why what lies there is not used.
    pub fn project(&self, workspace: &Path) -> Result<Option<(ProjectFile, Standing)>, String> {
        let found = project::find(workspace)?;
        Ok(found.map(|file| {
            let standing = match self.trust.of(workspace) {
                Some(decision) if decision.sha256 == file.sha256 => Standing::Trusted,
                Some(_) => Standing::Changed,
                None => Standing::Untrusted,
            };
            (file, standing)
        }))
    }

    /// What a caller who named no profile should know about the workspace's own one; nothing if it counts.
    pub fn notice(&self, workspace: &Path) -> Option<String> {
        let (file, standing) = match self.project(workspace) {
            Ok(found) => found?,
            Err(refused) => return Some(refused),
        };
        let why = match standing {
            Standing::Trusted => return None,
            Standing::Untrusted => "is not trusted",
            Standing::Changed => "changed since it was trusted",
        };
        let would = match self.changes(&file) {
            Ok(changes) if changes.is_empty() => "change nothing".to_owned(),
            Ok(changes) => format!("change {}", changes.join(", ")),
            Err(error) => format!("be refused ({error})"),
        };
        let path = file.path.display();
        Some(format!(
            "{path} {why} and does not count; it would {would}; a person can `dunlin profiles trust`"
        ))
    }

    /// Trusts a workspace's own profile as it is now.
    pub fn trust(&self, workspace: &Path, by: &str) -> Result<Trusting, ProfilesError> {
        let found = project::find(workspace).map_err(ProfilesError::new)?;
        let file = found.ok_or_else(|| self.no_project(workspace))?;
        let changes = self.changes(&file)?;
        let decision = Trusted {
            workspace: workspace.display().to_string(),
            sha256: file.sha256.clone(),
            trusted_unix_ms: unix_ms(),
            by: by.to_owned(),
        };
        self.trust.put(&decision).map_err(|error| {
            ProfilesError::new(format!(
                "what is trusted cannot be written down: {error}; check the state directory"
            ))
        })?;
        Ok(Trusting { file, changes })
    }

    /// Trusts it no more; whether it was.
    pub fn distrust(&self, workspace: &Path) -> Result<bool, ProfilesError> {
        self.trust.remove(workspace).map_err(|error| {
            ProfilesError::new(format!(
                "what was trusted cannot be taken back: {error}; check the state directory"
            ))
        })
    }

    /// Every workspace whose profile was trusted.
    pub fn trusted(&self) -> Vec<Trusted> {
        self.trust.all()
    }

    /// What a project's profile changes of the one that would hold without it.
    fn changes(&self, file: &ProjectFile) -> Result<Vec<String>, ProfilesError> {
        // It may quote what a command wrote.
        let wrong = |error: dunlin_sandbox_profiles::ProfileError| ProfilesError {
            what: error.to_string(),
            next_step: String::new(),
        };
        let catalog = Catalog::new(self.users()?);
        let own = catalog.resolve_source(&source(file)).map_err(wrong)?;
        Ok(own.changes_from(&catalog.resolve(DEFAULT).map_err(wrong)?))
    }

    fn no_project(&self, workspace: &Path) -> ProfilesError {
        ProfilesError::new(self.notice(workspace).unwrap_or_else(|| {
            let path = workspace.join(PROJECT_DIRECTORY).join(project::NAME);
            format!("there is no {}; write one, or name another profile", path.display())
        }))
    }

    fn users(&self) -> Result<Vec<Source>, ProfilesError> {
        let mut sources = Vec::new();
        for path in self.files()? {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let text = regular::read(&path).map_err(|error| {
                ProfilesError::new(format!("{} cannot be read: {error}; mend or remove it", path.display()))
            })?;
            sources.push(Source::user(name, path.display().to_string(), text));
        }
        Ok(sources)
    }

    fn files(&self) -> Result<Vec<PathBuf>, ProfilesError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let shown = self.directory.display();
                return Err(ProfilesError::new(format!("{shown} cannot be read: {error}; check its mode")));
            }
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        Ok(files)
    }
}

fn source(file: &ProjectFile) -> Source {
    Source::project(file.path.display().to_string(), file.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        root: tempfile::TempDir,
        profiles: Profiles,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let profiles = Profiles::new(&root.path().join("config"), &root.path().join("state"));
        fs::create_dir_all(root.path().join("work/.dunlin")).unwrap();
        Place { profiles, root }
    }

    impl Place {
        fn work(&self) -> PathBuf {
            self.root.path().join("work")
        }

        fn write(&self, text: &str) {
            fs::write(self.work().join(".dunlin/profile.toml"), text).unwrap();
        }

        fn name(&self, wanted: &str) -> Result<String, String> {
            self.profiles
                .resolve(wanted, &self.work())
                .map(|found| found.name)
                .map_err(|error| error.to_string())
        }
    }

    const WIDER: &str = "extends = \"workspace-write\"\n[fs]\nwrite = [\"/data\"]\n";

    #[test]
    fn a_projects_profile_is_the_default_while_it_is_trusted_as_it_is() {
        let place = place();
        assert_eq!(place.name("").unwrap(), DEFAULT);
        place.write(WIDER);
        assert_eq!(place.name("").unwrap(), DEFAULT);
        assert!(place.name(PROJECT).unwrap_err().contains("is not trusted"));
        let notice = place.profiles.notice(&place.work()).unwrap();
        assert!(
            notice.contains("fs.write +\"/data\"") && notice.contains("dunlin profiles trust"),
            "{notice}"
        );
        assert_eq!(place.profiles.trust(&place.work(), "ada").unwrap().changes, ["fs.write +\"/data\""]);
        assert_eq!(place.name("").unwrap(), PROJECT);
        assert_eq!(place.name("read-only").unwrap(), "read-only");
        assert_eq!(place.profiles.notice(&place.work()), None);
        place.write("extends = \"workspace-write\"\n[fs]\nwrite = [\"/more\"]\n");
        assert_eq!(place.name("").unwrap(), DEFAULT);
        assert!(place.profiles.notice(&place.work()).unwrap().contains("changed since"));
        place.write(WIDER);
        assert_eq!(place.name("").unwrap(), PROJECT);
        assert!(place.profiles.distrust(&place.work()).unwrap());
        assert_eq!(place.name("").unwrap(), DEFAULT);
    }

    #[test]
    fn a_users_profile_cannot_extend_what_is_not_trusted() {
        let place = place();
        place.write(WIDER);
        fs::create_dir_all(place.profiles.directory()).unwrap();
        fs::write(place.profiles.directory().join("mine.toml"), "extends = \"project\"").unwrap();
        assert!(place.name("mine").unwrap_err().contains("no profile is called `project`"));
    }

    #[test]
    fn what_is_wrong_is_not_trusted_and_a_copy_elsewhere_is_not_trusted_by_it() {
        let place = place();
        place.write("isolation = \"none\"");
        let refused = place.profiles.trust(&place.work(), "ada").unwrap_err().to_string();
        assert!(refused.contains("a project may not ask to run without a sandbox"), "{refused}");
        place.write(WIDER);
        place.profiles.trust(&place.work(), "ada").unwrap();
        let copy = place.root.path().join("copy");
        fs::create_dir_all(copy.join(".dunlin")).unwrap();
        fs::write(copy.join(".dunlin/profile.toml"), WIDER).unwrap();
        assert_eq!(place.profiles.resolve("", &copy).unwrap().name, DEFAULT);
        assert_eq!(place.profiles.trusted().len(), 1);
    }

    #[test]
    fn without_a_file_there_is_nothing_to_trust() {
        let place = place();
        let refused = place.profiles.trust(&place.work(), "ada").unwrap_err().to_string();
        assert!(refused.starts_with("there is no ") && refused.contains("write one"), "{refused}");
    }
}
