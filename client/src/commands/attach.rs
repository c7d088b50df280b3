//! `attach`: this terminal on a session that runs.

use std::io::IsTerminal;

use dunlin_proto::v1::GetSessionRequest;

use super::console::{Console, Left, Options};
use super::run::tell_detached;
use super::signals::{Signals, ended_by};
use super::{Context, Failure, output, view};
use crate::cli;
use crate::link::repeat;
use crate::terminal::keys::DetachKey;

pub async fn attach(context: &Context, wanted: cli::Attach) -> Result<u8, Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Failure::usage("attach needs a terminal on standard input and output")
            .next(format!("`dunlin logs {} --follow` shows the output anywhere", wanted.session)));
    }
    let detach_key = DetachKey::parse(&wanted.detach_key).map_err(Failure::usage)?;
    let mut signals = Signals::listen()?;
    let link = context.link().await?;
    let request = GetSessionRequest { session: wanted.session };
    let session = repeat(|| {
        let (mut sessions, request) = (link.sessions(), request.clone());
        async move { sessions.get(request).await }
    })
    .await?;
    let options = Options {
        session: session.id.clone(),
        from: wanted.from,
        read_only: wanted.read_only,
        resize: wanted.resize,
        welcome: Some(welcome(view::called(&session), detach_key.as_ref(), wanted.read_only)),
        detach_key,
    };
    let mut console = Console::open(&link, options)?;
    let left = tokio::select! {
        left = console.left() => Ok(left),
        signal = signals.next() => Err(signal),
    };
    console.close(!matches!(left, Ok(Left::Ended(_)))).await;
    match left {
        Ok(Left::Ended(session)) => {
            output::note(format!("{} ended: {}", view::called(&session), view::ending(&session)));
            view::later_notes(&session).iter().for_each(output::note);
            Ok(0)
        }
        Ok(Left::Detached) => {
            tell_detached(&session);
            Ok(0)
        }
        Ok(Left::Gone) => Err(ended_by(nix::sys::signal::Signal::SIGHUP)),
        Ok(Left::Lost(status)) => Err(status.into()),
        Err(signal) => {
            tell_detached(&session);
            Err(ended_by(signal))
        }
    }
}

fn welcome(session: &str, detach_key: Option<&DetachKey>, read_only: bool) -> String {
    let looking = if read_only { "looking at" } else { "attached to" };
    match detach_key {
        Some(key) => format!("{looking} {session}; {} detaches", key.name),
        None => format!("{looking} {session}; no key detaches"),
    }
}
