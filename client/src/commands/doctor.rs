//! `doctor`: what a session would get on this machine.

use dunlin_proto::v1::{DoctorRequest, DoctorResponse, FindingState};

use super::failure::FAILED;
use super::placement::{self, Surroundings};
use super::{Context, Failure, output};
use crate::cli::DoctorArgs;
use crate::link::repeat;

pub async fn doctor(context: &Context, wanted: DoctorArgs) -> Result<u8, Failure> {
    let placement = Some(placement::placement(&wanted.place, &Surroundings::here()?)?);
    let request = DoctorRequest { placement };
    let link = context.link().await?;
    let answer = repeat(|| {
        let (mut daemon, request) = (link.daemon(), request.clone());
        async move { daemon.doctor(request).await }
    })
    .await?;
    let text = match wanted.json {
        true => answer.json.clone(),
        false if answer.text.is_empty() => findings(&answer),
        false => answer.text.clone(),
    };
    output::answer(format!("{}\n", text.trim_end()))?;
    Ok(if answer.full { 0 } else { FAILED })
}

/// For a daemon that sent no text.
fn findings(answer: &DoctorResponse) -> String {
    let line = |finding: &dunlin_proto::v1::Finding| {
        let state = match finding.state() {
            FindingState::Ok => "ok",
            FindingState::NotNeeded => "not needed",
            FindingState::Missing => "MISSING",
            FindingState::Unspecified => "unknown",
        };
        let remedy =
            if finding.remedy.is_empty() { String::new() } else { format!("\n    mend: {}", finding.remedy) };
        format!("{state:<11} {}: {}{remedy}\n", finding.name, finding.detail)
    };
    answer.findings.iter().map(line).collect()
}
