//! Worktrees that are added to a guarded repository while its sandbox lives.
//!
//! One that the host adds is held like those that were there at the birth. One that may have been made inside is left to it, but
//! its sandbox ends as soon as the host's git would obey something else because of it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Breach, Post, about, cannot, settled};
use crate::{
    launch::mend,
    sandbox::{
        guards::{Guard, Ward},
        watch::Happened,
        worktrees::{self, Found, Pointer},
    },
};

impl Post {
    /// Looks at worktrees that came or changed, where something happened.
    pub(super) async fn admit_worktrees(&mut self, happened: &Happened) -> Result<(), Breach> {
        for repository in worktrees::repositories(&self.known.guards) {
            let above = repository.join("worktrees");
            let is_about = |path: &PathBuf| path.starts_with(&above);
            if !happened.anything && !happened.paths.keys().any(is_about) {
                continue;
            }
            self.watch_directory(&above)?;
            self.forget_gone(&above)?;
            for directory in worktrees::unguarded(&repository, &self.known.guards) {
                self.watch_directory(&directory)?;
                match worktrees::look(&repository, &directory, &self.sandbox.kept.trees) {
                    Found::Unborn => {}
                    Found::Doubt(why) => return Err(Breach::At(directory, why)),
                    Found::Inside(pointer) => self.remember(pointer)?,
                    Found::Outside(guards) => self.hold(&directory, guards).await?,
                }
            }
        }
        Ok(())
    }

    /// A worktree that the host removed and adds again later is a new one.
    fn forget_gone(&mut self, above: &Path) -> Result<(), Breach> {
        let gone = |path: &Path| {
            let of_one = path.ancestors().find(|path| path.parent() == Some(above)).unwrap_or(above);
            let found = fs::symlink_metadata(of_one);
            let is_gone = found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            (path.starts_with(above) && is_gone).then(|| of_one.to_path_buf())
        };
        let guarded = self.known.guards.iter().filter_map(|guard| gone(guard.path()));
        let pointed = self.known.pointers.iter().filter_map(|known| gone(known.directory()));
        let all: BTreeSet<PathBuf> = guarded.chain(pointed).collect();
        for directory in &all {
            self.known.guards.retain(|guard| !guard.path().starts_with(directory));
            self.known.pointers.retain(|known| known.directory() != directory);
            self.known.late.let_go_below(directory);
        }
        let lonely = self.is_lonely(above);
        if lonely {
            self.known.guards.retain(|guard| guard.path() != above);
        }
        if all.is_empty() && !lonely { Ok(()) } else { self.stored() }
    }

    /// Whether the directory of all worktrees is held for the sake of none: git removes it with the last of them, and makes it anew.
    fn is_lonely(&self, above: &Path) -> bool {
        let mut held = self.known.guards.iter().filter(|guard| guard.path().starts_with(above));
        held.next().is_some_and(|guard| guard.path() == above) && held.next().is_none()
    }

    fn watch_directory(&self, directory: &Path) -> Result<(), Breach> {
        let watched = self.watch.add_directory(directory);
        watched.map_err(|error| Breach::At(directory.to_path_buf(), cannot("watched", &error)))
    }

    fn remember(&mut self, pointer: Pointer) -> Result<(), Breach> {
        let known = self.known.pointers.iter().find(|known| known.directory() == pointer.directory());
        match known {
            Some(known) if *known != pointer => {
                let path = pointer.directory().join("commondir");
                return Err(Breach::At(path, "it was written to again".to_owned()));
            }
            Some(_) => return Ok(()),
            None => self.known.pointers.push(pointer),
        }
        self.stored()
    }

    /// Guards a worktree of the host's. What was written there in the moments before is judged like all that was in the open.
    async fn hold(&mut self, directory: &Path, mut guards: Vec<Guard>) -> Result<(), Breach> {
        guards.retain(|guard| !self.known.guards.iter().any(|known| known.path() == guard.path()));
        let breach = |guard: &Guard, why: String| Breach::At(guard.path().to_path_buf(), why);
        for guard in &guards {
            let held = self.known.late.hold(guard.path(), guard.placeholder);
            held.map_err(|error| breach(guard, error.to_string()))?;
        }
        let first = self.known.guards.len();
        self.known.guards.extend(guards);
        let which: Vec<usize> = (first..self.known.guards.len()).collect();
        let found = self.mend(&which).await?;
        if found.contains(&mend::Found::Nothing) {
            // It went again while it was looked at.
            self.known.guards.truncate(first);
            return self.stored();
        }
        for guard in &mut self.known.guards[first..] {
            self.watch.renew(guard).map_err(|error| breach(guard, cannot("watched", &error)))?;
            if guard.ward == Ward::Above {
                continue;
            }
            let look = settled::look(&self.watch, guard, true).await;
            let look = look.map_err(|error| breach(guard, cannot("judged", &error)))?;
            let path = guard.path().to_path_buf();
            guard.accept(&look, true).map_err(|why| Breach::At(path, why))?;
        }
        self.all.audit.note("sandbox.worktree_guarded", about(&self.sandbox, directory, &[]));
        self.stored()
    }

    fn stored(&self) -> Result<(), Breach> {
        self.store().map_err(|error| self.at_workspace(cannot("written down", &error)))
    }
}
