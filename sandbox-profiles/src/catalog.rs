//! Owns names: which profile files there are, and the way from a name to a resolved profile.
//!
//! Invariant: a chain of `extends` is finite and each of its files was checked over its ancestors before the
//! next was laid on. Built-in names always mean the built-ins. Reads no file: callers bring the text.

use crate::error::{Fault, ProfileError, meant};
use crate::inherit::{finish, merge};
use crate::locate::{fault_error, parser_error};
use crate::resolved::Profile;
use crate::schema::Written;
use crate::validate::check;

/// The name a project's `.dunlin/profile.toml` is resolved by.
pub const PROJECT: &str = "project";

/// The directory of a workspace that it lies in.
pub const PROJECT_DIRECTORY: &str = ".dunlin";

/// The profile of a caller who names none.
pub const DEFAULT: &str = "workspace-write";

/// Nobody reads a longer chain; it ends a `lookup` that invents names for ever.
const CHAIN_LIMIT: usize = 32;

const BUILT_IN: &[(&str, &str)] = &[
    ("read-only", include_str!("../profiles/read-only.toml")),
    ("workspace-write", include_str!("../profiles/workspace-write.toml")),
    ("workspace-net", include_str!("../profiles/workspace-net.toml")),
    ("unconfined", include_str!("../profiles/unconfined.toml")),
];

/// Who wrote a profile. It decides what the profile may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    /// A file in the user's configuration.
    User,
    /// A file in the workspace, which a model can write. The caller brings it only after `profiles trust`.
    Project,
}

/// The text of one profile and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    /// For messages.
    pub file: String,
    pub text: String,
    pub origin: Origin,
}

impl Source {
    /// `name` is the file's name without `.toml`.
    pub fn user(name: impl Into<String>, file: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), file: file.into(), text: text.into(), origin: Origin::User }
    }

    pub fn project(file: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: PROJECT.to_string(), file: file.into(), text: text.into(), origin: Origin::Project }
    }
}

/// The built-in profiles and those that a caller brought.
#[derive(Debug, Clone)]
pub struct Catalog {
    sources: Vec<Source>,
}

impl Catalog {
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        Self { sources: built_in().chain(sources).collect() }
    }

    /// Every source, built-ins first.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// # Errors
    /// The name is unknown or taken twice, or a file of its chain is wrong; see [`ProfileError`].
    pub fn resolve(&self, name: &str) -> Result<Profile, ProfileError> {
        let mut named = self.sources.iter().filter(|source| source.name == name);
        let Some(source) = named.next() else { return Err(self.unknown(name)) };
        if let Some(second) = named.next() {
            return Err(taken(source, second));
        }
        self.resolve_source(source)
    }

    /// Resolves a text that need not be in the catalog, as `profiles check FILE` does.
    ///
    /// # Errors
    /// As [`Catalog::resolve`].
    pub fn resolve_source(&self, source: &Source) -> Result<Profile, ProfileError> {
        if source.origin != Origin::BuiltIn {
            if let Some(first) =
                self.sources.iter().find(|s| s.origin == Origin::BuiltIn && s.name == source.name)
            {
                return Err(taken(first, source));
            }
            check_file_name(source)?;
        }
        resolve_with(source, |name| self.sources.iter().find(|source| source.name == name).cloned()).map_err(
            |error| match error {
                ProfileError::Unknown { name, .. } => self.unknown(&name),
                other => other,
            },
        )
    }

    fn unknown(&self, name: &str) -> ProfileError {
        let known = self.sources.iter().map(|source| source.name.clone()).collect();
        ProfileError::Unknown { name: name.to_string(), known }
    }
}

/// Flattens the chain of `source`, whose ancestors `lookup` finds.
///
/// # Errors
/// A file of the chain is wrong, names a parent that `lookup` does not know, or extends itself in the end.
pub fn resolve_with(
    source: &Source,
    lookup: impl Fn(&str) -> Option<Source>,
) -> Result<Profile, ProfileError> {
    let mut chain = vec![(source.clone(), parse(source)?)];
    while let Some((child, written)) = chain.last()
        && let Some(parent) = &written.extends
    {
        if chain.iter().any(|(seen, _)| seen.name == *parent) || chain.len() == CHAIN_LIMIT {
            return Err(endless(&chain, parent));
        }
        let Some(parent) = lookup(parent) else {
            let message = format!(
                "no profile is called `{parent}`: {}`dunlin profiles list` shows the known ones",
                meant(parent, BUILT_IN.iter().map(|(name, _)| name))
            );
            return Err(fault_error(&child.file, &child.text, Fault::key("extends", message)));
        };
        let written = parse(&parent)?;
        chain.push((parent, written));
    }
    let mut flat = Written::default();
    for (child, written) in chain.iter().rev() {
        check(child.origin, &flat, written).map_err(|fault| fault_error(&child.file, &child.text, fault))?;
        flat = merge(&flat, written);
    }
    // A description is of the file that has it, not of what extends it.
    flat.description.clone_from(&chain[0].1.description);
    Ok(finish(&source.name, &flat))
}

fn parse(source: &Source) -> Result<Written, ProfileError> {
    toml::from_str(&source.text).map_err(|error| parser_error(&source.file, &source.text, &error))
}

fn built_in() -> impl Iterator<Item = Source> {
    BUILT_IN.iter().map(|(name, text)| Source {
        name: name.to_string(),
        file: format!("built-in {name}.toml"),
        text: text.to_string(),
        origin: Origin::BuiltIn,
    })
}

fn endless(chain: &[(Source, Written)], parent: &str) -> ProfileError {
    let (last, _) = &chain[chain.len() - 1];
    let mut names: Vec<&str> = chain.iter().map(|(source, _)| source.name.as_str()).collect();
    names.push(parent);
    let message = if chain.len() == CHAIN_LIMIT {
        format!("the chain has more than {CHAIN_LIMIT} profiles: shorten it")
    } else {
        format!("the chain never ends ({}): let one of them extend something else", names.join(" → "))
    };
    fault_error(&last.file, &last.text, Fault::key("extends", message))
}

fn taken(first: &Source, second: &Source) -> ProfileError {
    let message = format!("the name `{}` belongs to {}: rename this file", second.name, first.file);
    fault_error(&second.file, &second.text, Fault::key("", message))
}

/// Names are typed at command lines and stand in lists.
fn check_file_name(source: &Source) -> Result<(), ProfileError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !source.name.is_empty() && !source.name.starts_with('-') && source.name.bytes().all(plain) {
        return Ok(());
    }
    let message =
        format!("{:?} is no profile name: use letters, digits, `-` and `_` for the file", source.name);
    Err(fault_error(&source.file, &source.text, Fault::key("", message)))
}
