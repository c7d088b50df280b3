//! The road to the daemon: where its socket is, a channel over it, starting it on demand, trying again.
//!
//! Invariant: bytes go only to a daemon of the same user; a call is repeated only where the caller said that
//! repeating it is harmless. What an answer means is not known here.

mod address;
mod error;
mod keeper;
mod start;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_proto::v1::approval_service_client::ApprovalServiceClient;
use dunlin_proto::v1::daemon_service_client::DaemonServiceClient;
use dunlin_proto::v1::profile_service_client::ProfileServiceClient;
use dunlin_proto::v1::sandbox_service_client::SandboxServiceClient;
use dunlin_proto::v1::session_service_client::SessionServiceClient;
use dunlin_proto::v1::workspace_service_client::WorkspaceServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use keeper::Keeper;

pub use address::Address;
pub use error::{LinkError, after_loss};
pub use start::{become_daemon, log_file, run_detached};

/// Largest message taken from the daemon: the contract bounds output at 3 MiB; lists of long commands need room.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// How long a lost daemon may take to answer again: its worker is started anew within milliseconds, an upgrade
/// takes less than a second, and a loaded machine needs some patience.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// A channel to the daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    channel: Channel,
}

impl Link {
    /// Connect, and start a daemon if none answers and nothing forbids it.
    pub async fn open(address: &Address) -> Result<Link, LinkError> {
        match find(address).await {
            Ok(found) => Ok(found),
            Err(Refused::NobodyThere(source)) if autostart_forbidden() => {
                Err(LinkError::NotRunning { socket: address.socket.clone(), source })
            }
            Err(Refused::NobodyThere(_)) => Ok(Link::over(start::start(address).await?, address)),
            Err(Refused::Broken(error)) => Err(error),
        }
    }

    /// Connect, and start a daemon if none answers: it was asked for.
    pub async fn open_now(address: &Address) -> Result<Link, LinkError> {
        match Link::open_running(address).await? {
            Some(link) => Ok(link),
            None => Ok(Link::over(start::start(address).await?, address)),
        }
    }

    /// Connect to a daemon that runs already; `None` if none does.
    pub async fn open_running(address: &Address) -> Result<Option<Link>, LinkError> {
        match find(address).await {
            Ok(found) => Ok(Some(found)),
            Err(Refused::NobodyThere(_)) => Ok(None),
            Err(Refused::Broken(error)) => Err(error),
        }
    }

    fn over(stream: UnixStream, address: &Address) -> Link {
        let first = Arc::new(Mutex::new(Some(stream)));
        let socket = Arc::new(address.socket.clone());
        let connector = tower::service_fn(move |_| {
            let ready = first.lock().ok().and_then(|mut first| first.take());
            let socket = Arc::clone(&socket);
            async move {
                match ready {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => connect(&socket).await.map(TokioIo::new).map_err(io::Error::from),
                }
            }
        });
        // The authority is never resolved; HTTP/2 wants one. Windows as large as a burst of output keep the
        // daemon from waiting for us.
        let channel = Endpoint::from_static("http://dunlind")
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .connect_with_connector_lazy(connector);
        Link { channel }
    }

    /// The channel itself, for services that are called elsewhere.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn sandboxes(&self) -> SandboxServiceClient<Channel> {
        SandboxServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn workspaces(&self) -> WorkspaceServiceClient<Channel> {
        WorkspaceServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn profiles(&self) -> ProfileServiceClient<Channel> {
        ProfileServiceClient::new(self.channel())
    }

    pub fn approvals(&self) -> ApprovalServiceClient<Channel> {
        ApprovalServiceClient::new(self.channel())
    }

    pub fn daemon(&self) -> DaemonServiceClient<Channel> {
        DaemonServiceClient::new(self.channel())
    }
}

/// A connection that held this long was a good one.
const TROUBLE_OVER: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Make a call, and make it again while the daemon's worker is away. Only for calls that may be repeated: they
/// read, or carry a request id or a sequence number.
pub async fn repeat<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let mut patience = Patience::new();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => patience.after(status).await?,
        }
    }
}

/// How long a caller goes on trying: bounded for trouble that goes on, anew for trouble that was over.
#[derive(Debug)]
pub struct Patience {
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    since: Instant,
    last: Instant,
    pause: Duration,
}

impl Patience {
    pub fn new() -> Patience {
        Patience { trouble: None }
    }

    /// Wait a little after a lost connection; the status itself if it is an answer, or if patience has ended.
    pub async fn after(&mut self, status: Status) -> Result<(), Status> {
        if !is_lost(&status) || keeper_is_gone(&status) {
            return Err(status);
        }
        match self.pause(Instant::now()) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(status),
        }
    }

    /// How long to wait after trouble at `now`; `None` when it has gone on for too long.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let same = self.trouble.filter(|trouble| now - trouble.last < TROUBLE_OVER);
        let trouble = same.unwrap_or(Trouble { since: now, last: now, pause: FIRST_PAUSE });
        let next = (trouble.pause * 2).min(LONGEST_PAUSE);
        self.trouble = Some(Trouble { last: now, pause: next, ..trouble });
        (now - trouble.since < RECONNECT_PATIENCE).then_some(trouble.pause)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience::new()
    }
}

/// True if the connection failed, not the call: the daemon never answered with this status.
pub fn is_lost(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// True if nobody listens any more. The keeper holds the socket across restarts of its worker, so a refused
/// connection means that the keeper is gone, and its sessions with it.
fn keeper_is_gone(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && nobody_there(error)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Why there is no connection.
enum Refused {
    /// No daemon listens.
    NobodyThere(io::Error),
    /// Something else is wrong, and starting a daemon would not mend it.
    Broken(LinkError),
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        match refused {
            Refused::NobodyThere(error) => error,
            Refused::Broken(error) => io::Error::other(error),
        }
    }
}

fn nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Connect to the daemon of an address. Where its socket was not named, that follows from the environment, and a daemon of the same
/// state directory may have been started from another one (`su`, `cron`): its lock tells where it listens.
async fn find(address: &Address) -> Result<Link, Refused> {
    let refused = match connect(&address.socket).await {
        Ok(stream) => return Ok(Link::over(stream, address)),
        Err(refused) => refused,
    };
    let elsewhere = || Keeper::of(&address.state_dir)?.socket.filter(|socket| *socket != address.socket);
    if matches!(refused, Refused::NobodyThere(_))
        && !address.named
        && let Some(socket) = elsewhere()
        && let Ok(stream) = connect(&socket).await
    {
        return Ok(Link::over(stream, &Address { socket, ..address.clone() }));
    }
    Err(refused)
}

/// Connect to a daemon of this user and nobody else's.
async fn connect(socket: &Path) -> Result<UnixStream, Refused> {
    let broken = |source| Refused::Broken(LinkError::Connect { socket: socket.to_path_buf(), source });
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if nobody_there(&error) => return Err(Refused::NobodyThere(error)),
        Err(error) => return Err(broken(error)),
    };
    let peer = stream.peer_cred().map_err(broken)?.uid();
    let own = nix::unistd::geteuid().as_raw();
    if peer != own {
        let socket = socket.to_path_buf();
        return Err(Refused::Broken(LinkError::ForeignDaemon { socket, uid: peer, own_uid: own }));
    }
    Ok(stream)
}

fn autostart_forbidden() -> bool {
    std::env::var_os("DUNLIN_NO_AUTOSTART").is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_goes_on_ends_patience() {
        let (mut patience, begun) = (Patience::new(), Instant::now());
        let mut now = begun;
        while let Some(pause) = patience.pause(now) {
            now += pause;
        }
        assert!(now - begun >= RECONNECT_PATIENCE && now - begun < RECONNECT_PATIENCE * 2);
    }

    #[test]
    fn trouble_that_was_over_begins_anew() {
        let (mut patience, mut now) = (Patience::new(), Instant::now());
        for _ in 0..100 {
            assert_eq!(patience.pause(now), Some(FIRST_PAUSE));
            now += TROUBLE_OVER;
        }
    }

    #[tokio::test]
    async fn an_answer_is_not_asked_for_again() {
        assert!(Patience::new().after(Status::not_found("no such session")).await.is_err());
        assert!(Patience::new().after(Status::unavailable("the worker is away")).await.is_ok());
    }
}
