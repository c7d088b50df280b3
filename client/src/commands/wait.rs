//! `wait`: until a session ends, or its output says something.

use dunlin_proto::v1::{Reason, WaitRequest, WaitResponse};
use serde_json::json;

use super::failure::{FAILED, STOPPED_WAITING};
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::repeat;

pub async fn wait(context: &Context, wanted: cli::Wait) -> Result<u8, Failure> {
    ask(context, wanted).await.map_err(Failure::of_run)
}

async fn ask(context: &Context, wanted: cli::Wait) -> Result<u8, Failure> {
    let link = context.link().await?;
    let request = WaitRequest {
        session: wanted.session,
        timeout_ms: wanted.timeout.map(|timeout| timeout.as_millis() as u64),
        pattern: wanted.pattern.unwrap_or_default(),
        from: wanted.from,
        for_input: wanted.input,
    };
    let answer = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.wait(request).await }
    })
    .await?;
    if wanted.json {
        output::answer_json(&json!({
            "reason": view::reason(answer.reason()),
            "matched": Some(&answer.matched).filter(|matched| !matched.is_empty()),
            "session": answer.session.as_ref().map(view::session_json),
        }))?;
    }
    if let (Reason::Lost, Some(session)) = (answer.reason(), &answer.session) {
        output::note(format!("the session {} is lost: its status cannot be known", view::called(session)));
    }
    if let (Reason::Exited | Reason::Lost, Some(session)) = (answer.reason(), &answer.session) {
        if !session.ended_by_limit.is_empty() {
            output::note(format!("{} was ended for {}", view::called(session), session.ended_by_limit));
        }
        view::later_notes(session).iter().for_each(output::note);
    }
    Ok(exit_code(&answer, !request.pattern.is_empty()))
}

fn exit_code(answer: &WaitResponse, for_pattern: bool) -> u8 {
    match answer.reason() {
        Reason::Matched | Reason::WaitingForInput | Reason::MaybeInput => 0,
        Reason::Deadline => STOPPED_WAITING,
        _ if for_pattern => FAILED,
        _ => view::exit_code(&answer.session.clone().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use dunlin_proto::v1::{Exit, Session};

    use super::*;

    #[test]
    fn wait_ends_with_what_it_waited_for() {
        let check = |reason: Reason, for_pattern, expected| {
            let exit = Some(Exit { code: Some(7), ..Exit::default() });
            let session = Some(Session { exit, ..Session::default() });
            let answer = WaitResponse { session, reason: reason.into(), matched: String::new() };
            assert_eq!(exit_code(&answer, for_pattern), expected, "{reason:?}");
        };
        check(Reason::Exited, false, 7);
        check(Reason::Exited, true, 1);
        check(Reason::Matched, true, 0);
        check(Reason::WaitingForInput, false, 0);
        check(Reason::Deadline, true, 124);
    }
}
