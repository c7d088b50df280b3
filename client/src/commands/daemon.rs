//! `daemon start|stop|status|restart|upgrade|logs`.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use dunlin_proto::v1::{DaemonInfo, GetInfoRequest, StopRequest, UpgradeRequest};
use serde_json::json;
use tokio::time::Instant;

use super::failure::UNREACHABLE;
use super::{Context, Failure, output};
use crate::cli::DaemonCommand;
use crate::link::{self, Link, log_file, repeat};

/// How long a daemon may take to end its sessions and itself.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub async fn daemon(context: &Context, command: DaemonCommand) -> Result<u8, Failure> {
    match command {
        DaemonCommand::Start => start(context).await,
        DaemonCommand::Stop { end_sessions } => stop(context, end_sessions).await,
        DaemonCommand::Status { json } => status(context, json).await,
        DaemonCommand::Restart { end_sessions } => {
            stop(context, end_sessions).await?;
            start(context).await
        }
        DaemonCommand::Upgrade { binary } => upgrade(context, binary).await,
        DaemonCommand::Logs => logs(context),
        DaemonCommand::Launch(_) | DaemonCommand::Detached(_) => {
            Err(Failure::usage("`dunlin daemon launch` is what start on demand runs"))
        }
    }
}

async fn start(context: &Context) -> Result<u8, Failure> {
    let link = Link::open_now(&context.address()?).await?;
    let info = info(&link).await?;
    output::note(format!("dunlind {} answers on {}", info.version, context.address()?.socket.display()));
    Ok(0)
}

async fn stop(context: &Context, end_sessions: bool) -> Result<u8, Failure> {
    let Some(link) = Link::open_running(&context.address()?).await? else {
        output::note("no daemon runs");
        return Ok(0);
    };
    let ended = match link.daemon().stop(StopRequest { end_sessions }).await {
        Ok(answer) => answer.into_inner().ended_sessions,
        // It may be gone before its answer is out.
        Err(status) if link::is_lost(&status) => 0,
        Err(status) => return Err(status.into()),
    };
    let deadline = Instant::now() + STOP_PATIENCE;
    let mut pause = Duration::from_millis(2);
    while Link::open_running(&context.address()?).await?.is_some() {
        if Instant::now() >= deadline {
            return Err(Failure::failed("the daemon said that it stops, and still answers")
                .next("see `dunlin daemon logs`"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
    match ended {
        0 => output::note("stopped"),
        1 => output::note("stopped; 1 session was ended"),
        many => output::note(format!("stopped; {many} sessions were ended")),
    }
    Ok(0)
}

async fn status(context: &Context, json: bool) -> Result<u8, Failure> {
    let socket = context.address()?.socket;
    let socket = socket.display();
    let Some(link) = Link::open_running(&context.address()?).await? else {
        if json {
            output::answer_json(&json!({ "running": false, "socket": socket.to_string() }))?;
        }
        return Err(Failure::new(UNREACHABLE, format!("no daemon answers on {socket}"))
            .next("start it with `dunlin daemon start`; most commands start it on demand"));
    };
    let info = info(&link).await?;
    if json {
        output::answer_json(&info_json(&info))?
    } else {
        output::answer(info_text(&info))?
    }
    Ok(0)
}

async fn upgrade(context: &Context, binary: Option<std::path::PathBuf>) -> Result<u8, Failure> {
    let Some(link) = Link::open_running(&context.address()?).await? else {
        return Err(
            Failure::new(UNREACHABLE, "no daemon runs").next("start the new one with `dunlin daemon start`")
        );
    };
    let binary = match binary {
        Some(path) => std::path::absolute(path)?.to_string_lossy().into_owned(),
        None => String::new(),
    };
    let answer = link.daemon().upgrade(UpgradeRequest { binary }).await?.into_inner();
    output::note(format!("version {} answers now", answer.version));
    Ok(0)
}

async fn info(link: &Link) -> Result<DaemonInfo, Failure> {
    let info = repeat(|| {
        let mut daemon = link.daemon();
        async move { daemon.get_info(GetInfoRequest {}).await }
    });
    Ok(info.await?)
}

fn info_json(info: &DaemonInfo) -> serde_json::Value {
    let keeper = info.keeper.unwrap_or_default();
    let worker = info.worker.unwrap_or_default();
    json!({
        "running": true,
        "version": info.version,
        "keeper": { "pid": keeper.pid },
        "worker": { "pid": worker.pid, "restarts": worker.restarts },
        "uptime_seconds": info.uptime_seconds,
        "sessions": info.sessions_running,
        "sessions_listed": info.sessions_listed,
        "sandboxes": info.sandboxes,
        "socket": info.socket,
        "state_directory": info.state_directory,
    })
}

fn info_text(info: &DaemonInfo) -> String {
    let keeper = info.keeper.unwrap_or_default();
    let worker = info.worker.unwrap_or_default();
    let restarts = match worker.restarts {
        0 => String::new(),
        many => format!(", restarted {many} times"),
    };
    format!(
        "dunlind {}, up {} s\nkeeper    pid {}\nworker    pid {}{restarts}\nsessions  {} running, {} listed\n\
         sandboxes {}\nsocket    {}\nstate     {}\n",
        info.version,
        info.uptime_seconds,
        keeper.pid,
        worker.pid,
        info.sessions_running,
        info.sessions_listed,
        info.sandboxes,
        info.socket,
        info.state_directory,
    )
}

/// The log of a daemon that was started on demand.
fn logs(context: &Context) -> Result<u8, Failure> {
    let path = log_file(&context.address()?);
    let mut file = std::fs::File::open(&path).map_err(|error| {
        Failure::failed(format!("no log can be read at {}: {error}", path.display()))
            .next("a daemon started by hand logs to its own standard error")
    })?;
    // The newest mebibyte; the file itself has the rest.
    let begin = file.metadata()?.len().saturating_sub(1 << 20);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    output::answer(bytes)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use dunlin_proto::v1::DaemonProcess;

    use super::*;

    #[test]
    fn status_json_has_the_promised_fields() {
        let info = DaemonInfo {
            version: "0.1.0".into(),
            keeper: Some(DaemonProcess { pid: 7, restarts: 0 }),
            worker: Some(DaemonProcess { pid: 8, restarts: 2 }),
            uptime_seconds: 9,
            sessions_running: 3,
            ..DaemonInfo::default()
        };
        let shown = info_json(&info);
        assert_eq!(shown["keeper"]["pid"], 7);
        assert_eq!(shown["worker"]["pid"], 8);
        assert_eq!(shown["worker"]["restarts"], 2);
        assert_eq!(shown["version"], "0.1.0");
        assert_eq!(shown["uptime_seconds"], 9);
        assert_eq!(shown["sessions"], 3);
    }
}
