//! `profiles list|show|check`.

use dunlin_proto::v1::{CheckProfileRequest, GetProfileRequest, ListProfilesRequest, ProfileSummary};
use serde_json::{Value, json};

use super::failure::FAILED;
use super::placement::{self, Surroundings, terminal_size};
use super::{Context, Failure, output, view};
use crate::cli::{CheckProfile, ListProfiles, ProfilesCommand, ShowProfile};
use crate::link::repeat;
use crate::terminal::table::Table;

pub async fn profiles(context: &Context, command: ProfilesCommand) -> Result<u8, Failure> {
    match command {
        ProfilesCommand::List(list) => listed(context, list).await,
        ProfilesCommand::Show(show) => shown(context, show).await,
        ProfilesCommand::Check(check) => checked(context, check).await,
        ProfilesCommand::Trust { .. } => Err(Failure::not_yet("profiles trust")),
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
        let origin =
            if profile.trusted { profile.origin.clone() } else { format!("{}, not trusted", profile.origin) };
        let text = if profile.error.is_empty() { &profile.description } else { &profile.error };
        table.row([profile.name.clone(), origin, text.clone()]);
    }
    output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    Ok(0)
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
    let text = std::fs::read_to_string(&wanted.file)
        .map_err(|error| Failure::failed(format!("cannot read the profile {file}: {error}")))?;
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

fn summary_json(profile: &ProfileSummary) -> Value {
    json!({
        "name": profile.name,
        "description": profile.description,
        "origin": profile.origin,
        "trusted": profile.trusted,
        "error": Some(&profile.error).filter(|error| !error.is_empty()),
    })
}
