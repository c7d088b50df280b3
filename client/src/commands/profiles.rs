//! `profiles list|show|check|trust`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dunlin_proto::v1::{
    CheckProfileRequest, DistrustProfileRequest, GetProfileRequest, ListProfilesRequest, ListTrustedRequest,
    ProfileSummary, TrustProfileRequest,
};
use serde_json::{Value, json};

use super::failure::FAILED;
use super::placement::{self, Surroundings, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli::{CheckProfile, ListProfiles, ProfilesCommand, ShowProfile, TrustProfile};
use crate::link::repeat;
use crate::terminal::neutralise::neutralise;
use crate::terminal::table::Table;

/// The daemon reads no longer profile.
const PROFILE_MAX_BYTES: u64 = 1 << 20;

pub async fn profiles(context: &Context, command: ProfilesCommand) -> Result<u8, Failure> {
    match command {
        ProfilesCommand::List(list) => listed(context, list).await,
        ProfilesCommand::Show(show) => shown(context, show).await,
        ProfilesCommand::Check(check) => checked(context, check).await,
        ProfilesCommand::Trust(trust) => trusting(context, trust).await,
    }
}

async fn listed(context: &Context, wanted: ListProfiles) -> Result<u8, Failure> {
    let workspace = placement::workspace(wanted.workspace.as_deref(), &Surroundings::here()?)?;
    let request = ListProfilesRequest { workspace: workspace.to_string_lossy().into_owned() };
    let link = context.link().await?;
    let profiles = repeat(|| {
        let (mut profiles, request) = (link.profiles(), request.clone());
        async move { profiles.list(request).await }
    })
    .await?
    .profiles;
    if wanted.json {
        output::answer_json(&profiles.iter().map(summary_json).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "FROM", "DESCRIPTION"]);
    for profile in &profiles {
        let origin = match profile.standing.as_str() {
            "" => profile.origin.clone(),
            standing => format!("{}, {standing}", profile.origin),
        };
        let text = if profile.error.is_empty() { &profile.description } else { &profile.error };
        table.row([profile.name.clone(), origin, text.clone()]);
    }
    output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    Ok(0)
}

/// The profile that holds in a workspace where none is named: its own one if that is trusted, else whatever the daemon
/// takes, which is the empty name. The person is told why a profile that is there does not count. Where there is none,
/// no daemon is asked.
pub async fn default_of(context: &Context, workspace: &str) -> Result<String, Failure> {
    if Path::new(workspace).join(".dunlin").symlink_metadata().is_err() {
        return Ok(String::new());
    }
    let request = ListProfilesRequest { workspace: workspace.to_owned() };
    let listed = context.link().await?.profiles().list(request).await?.into_inner().profiles;
    let own = listed.into_iter().find(|profile| profile.origin == "project");
    own.iter().filter(|own| !own.notice.is_empty()).for_each(|own| output::note(&own.notice));
    Ok(own.filter(|own| own.trusted).map(|own| own.name).unwrap_or_default())
}

async fn shown(context: &Context, wanted: ShowProfile) -> Result<u8, Failure> {
    let mut place = wanted.place;
    place.profile = Some(wanted.name);
    let placement = Some(placement::placement(&place, &Surroundings::here()?)?);
    let request = GetProfileRequest { placement };
    let link = context.link().await?;
    let detail = repeat(|| {
        let (mut profiles, request) = (link.profiles(), request.clone());
        async move { profiles.get(request).await }
    })
    .await?;
    if wanted.json {
        output::answer_json(&json!({
            "summary": detail.summary.as_ref().map(summary_json),
            "written": detail.written,
            "resolved": detail.resolved,
            "weakenings": detail.weakenings.iter().map(view::weakening_json).collect::<Vec<_>>(),
            "summary_for_model": detail.summary_for_model,
        }))?;
        return Ok(0);
    }
    let text = if wanted.resolved { &detail.resolved } else { &detail.written };
    output::answer(format!("{}\n", text.trim_end()))?;
    for weakening in detail.weakenings.iter().filter(|_| wanted.resolved) {
        output::note(format!("not enforced here: {}", view::weakening_line(weakening)));
    }
    Ok(0)
}

async fn checked(context: &Context, wanted: CheckProfile) -> Result<u8, Failure> {
    let file = wanted.file.display();
    let text = profile_text(&wanted.file)?;
    let workspace = placement::workspace(None, &Surroundings::here()?)?;
    let request = CheckProfileRequest {
        file: file.to_string(),
        text,
        workspace: workspace.to_string_lossy().into_owned(),
    };
    let errors = context.link().await?.profiles().check(request).await?.into_inner().errors;
    for error in &errors {
        output::answer(format!("{error}\n"))?;
    }
    match errors.len() {
        0 => output::note_on_terminal(format!("{file} is sound")),
        1 => output::note(format!("{file} has 1 error")),
        many => output::note(format!("{file} has {many} errors")),
    }
    Ok(if errors.is_empty() { 0 } else { FAILED })
}

/// A profile's file as text, or what it is instead.
fn profile_text(path: &Path) -> Result<String, Failure> {
    let file = path.display();
    let unread = |error| {
        Failure::failed(format!("cannot read the profile {file}: {error}"))
            .next("name a file that you may read")
    };
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(unread)?;
    opened.take(PROFILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > PROFILE_MAX_BYTES {
        let what = format!("{file} is no profile: it is over 1 MiB");
        return Err(Failure::failed(what).next("name the profile's own file, a page of TOML"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Failure::failed(format!("{file} is UTF-16")).next("save it as UTF-8"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Failure::failed(format!("{file}:{line}: this is no UTF-8"))
            .next("save it as UTF-8; a profile is a text")
    })
}

async fn trusting(context: &Context, wanted: TrustProfile) -> Result<u8, Failure> {
    if wanted.list {
        return trusted(context, wanted.json).await;
    }
    // Only an unconfined command reaches the daemon at all; not by its own word, though.
    if std::env::var_os("DUNLIN_SESSION").is_some() {
        let refused = "a command that dunlin runs cannot decide what is trusted";
        return Err(Failure::failed(refused).next("run this in a shell of your own"));
    }
    let around = Surroundings::here()?;
    let workspace = match &wanted.workspace {
        // What was trusted may be gone.
        Some(named) if wanted.remove && !named.exists() => around.cwd.join(named),
        named => placement::workspace(named.as_deref(), &around)?,
    };
    let workspace = workspace.to_string_lossy().into_owned();
    let mut profiles = context.link().await?.profiles();
    if wanted.remove {
        let request = DistrustProfileRequest { workspace: workspace.clone() };
        let was_trusted = profiles.distrust(request).await?.into_inner().was_trusted;
        if wanted.json {
            output::answer_json(&json!({ "workspace": workspace, "was_trusted": was_trusted }))?;
        } else if was_trusted {
            output::note(format!("the profile of {workspace} is trusted no more"));
        } else {
            output::note(format!("the profile of {workspace} was not trusted"));
        }
        return Ok(if was_trusted { 0 } else { FAILED });
    }
    let request = TrustProfileRequest { workspace: workspace.clone(), actor: Some(placement::actor()) };
    let trusted = profiles.trust(request).await?.into_inner();
    if wanted.json {
        output::answer_json(&json!({
            "workspace": workspace,
            "file": trusted.file,
            "sha256": trusted.sha256,
            "text": trusted.text,
            "changes": trusted.changes,
        }))?;
        return Ok(0);
    }
    // What counts is what was hashed, which may be newer than what the person has read: so it is shown.
    output::answer(format!("{}\n", neutralise(&trusted.text).trim_end()))?;
    for change in &trusted.changes {
        output::note(format!("changes {}", neutralise(change)));
    }
    output::note(format!(
        "{} (sha256 {}) is now the default profile of {workspace}",
        trusted.file, trusted.sha256
    ));
    Ok(0)
}

async fn trusted(context: &Context, as_json: bool) -> Result<u8, Failure> {
    let link = context.link().await?;
    let all = repeat(|| {
        let mut profiles = link.profiles();
        async move { profiles.list_trusted(ListTrustedRequest {}).await }
    })
    .await?
    .trusted;
    if as_json {
        let row = |one: &dunlin_proto::v1::TrustedProfile| {
            json!({
                "workspace": one.workspace,
                "sha256": one.sha256,
                "trusted_unix_ms": one.trusted_unix_ms,
                "by": one.by,
                "standing": one.standing,
            })
        };
        output::answer_json(&all.iter().map(row).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut table = Table::new(&["WORKSPACE", "NOW", "BY", "SHA256"]);
    for one in &all {
        table.row([one.workspace.clone(), one.standing.clone(), one.by.clone(), one.sha256.clone()]);
    }
    output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    Ok(0)
}

fn summary_json(profile: &ProfileSummary) -> Value {
    json!({
        "name": profile.name,
        "description": profile.description,
        "origin": profile.origin,
        "trusted": profile.trusted,
        "notice": Some(&profile.notice).filter(|notice| !notice.is_empty()),
        "standing": Some(&profile.standing).filter(|standing| !standing.is_empty()),
        "error": Some(&profile.error).filter(|error| !error.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_the_way_out() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("mine.toml");
        let check = |bytes: &[u8], expected: &str| {
            std::fs::write(&path, bytes).unwrap();
            let told = profile_text(&path).unwrap_err().to_string();
            assert!(told.contains(expected) && told.contains("\n  next: "), "{told}");
        };
        check(&vec![b'#'; 9 << 20], "is over 1 MiB");
        check(b"\xff\xfee\0", "is UTF-16");
        check(b"a = 1\n\x80", "mine.toml:2: this is no UTF-8");
        std::fs::write(&path, "a").unwrap();
        assert_eq!(profile_text(&path).unwrap(), "a");
        assert!(profile_text(place.path()).is_err());
    }
}
