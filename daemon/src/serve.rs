//! The worker's composition root: the one file that knows all the parts.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener as StdListener},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, bail};
use dunlin_proto::{
    DESCRIPTOR_SET,
    v1::{
        approval_service_server::ApprovalServiceServer, daemon_service_server::DaemonServiceServer,
        profile_service_server::ProfileServiceServer, sandbox_service_server::SandboxServiceServer,
        session_service_server::SessionServiceServer, workspace_service_server::WorkspaceServiceServer,
    },
};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::{
    approval::{Approvals, Grants},
    audit::Audit,
    config,
    keeper::control::HELLO,
    link::{Event, Link},
    paths, peer,
    profiles::Profiles,
    rpc,
    sandbox::{Machine, written::Written},
    session::{
        admission, events::Listener, guarding::Guarding, patches::Patches, planting::Planting, recorder,
        registry::Registry, retention, sandboxes::Sandboxes, start::Starter, waiting,
    },
};

/// Where the worker serves.
pub struct Place {
    /// The socket.
    pub socket: PathBuf,
    /// The state directory.
    pub state: PathBuf,
}

/// Messages to clients and from them hold at most this much: a range of output.
const MESSAGE_MAX_BYTES: usize = 16 << 20;
/// Twice what a patch may have: a longer one is refused by what knows how to say so.
const PATCH_MESSAGE_MAX_BYTES: usize = 32 << 20;

/// Connections that wait to be served.
const ACCEPTED_MAX: usize = 64;

/// Serves until the keeper is gone or ends this worker.
pub fn run(place: Place, control: OwnedFd) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build()?;
    let result = runtime.block_on(serve(place, control));
    // Blocking work that is left has no one to answer to.
    runtime.shutdown_background();
    result
}

async fn serve(place: Place, control: OwnedFd) -> anyhow::Result<()> {
    let (link, mut events) = Link::new(control)?;
    let hello = events.recv().await.context("the keeper is gone")?;
    let (listener, started_unix_ms, restarts) = greet(hello)?;
    let registry = Registry::new(&place.state);
    let audit = Audit::new(&place.state);
    let guarding = Guarding::new(link.clone(), registry.clone(), audit.clone(), &place.state);
    let configuration = paths::config_directory();
    let profiles = Profiles::new(&configuration, &place.state);
    let sandboxes = Sandboxes::new(guarding, profiles.clone(), &place.state);
    let mut hidden = vec![place.state.clone(), configuration.clone()];
    hidden.extend(place.socket.parent().map(PathBuf::from));
    let keeper = nix::unistd::getppid().as_raw() as u32;
    let approvals = Approvals::new(Grants::new(&configuration), audit.clone());
    tokio::spawn(admission::announce(approvals.clone(), registry.clone()));
    recorder::prepare(&registry).context("the state directory takes no sessions")?;
    tokio::spawn(recorder::run(registry.clone()));
    let starter = Starter {
        link: link.clone(),
        registry: registry.clone(),
        sandboxes: sandboxes.clone(),
        profiles,
        approvals,
        machine: Arc::new(Machine {
            written: Written::kept_in(&place.state),
            ..Machine::probe(keeper, hidden)
        }),
    };
    let planting = Planting::new(link.clone(), registry.clone(), audit);
    // A file that became unreadable forgets nothing; the loop says so.
    let past_max = config::load(&configuration).map_or(usize::MAX, |stays| stays.ended_sessions_max);
    let (told, restored) = oneshot::channel();
    let listening = Listener {
        link: link.clone(),
        registry: registry.clone(),
        sandboxes: sandboxes.clone(),
        planting,
        restored: Some(told),
        past_max,
    };
    let mut keeper_gone = tokio::spawn(listening.run(events));
    restored.await.context("the keeper is gone")?;
    sandboxes.sweep(&link).await;
    starter.machine.cgroup.sweep(starter.machine.keeper);
    tokio::spawn(retention::run(starter.clone(), configuration.clone()));
    tokio::spawn(waiting::run(starter.registry.clone(), link.clone()));
    let patches = Patches::open(starter.clone(), &place.state)?;
    let settling = patches.clone();
    tokio::spawn(async move { settling.settle().await });
    let daemon = rpc::daemon::DaemonsService {
        starter: starter.clone(),
        started_unix_ms,
        restarts,
        socket: place.socket,
        state: place.state,
    };
    let served = tokio::select! {
        served = serve_clients(listener, starter, patches, daemon) => served,
        _ = &mut keeper_gone => Ok(()),
        () = ended() => Ok(()),
    };
    recorder::write_due(&registry);
    served
}

/// The first frame: the listening socket, the keeper's start, the number of restarts.
fn greet(hello: Event) -> anyhow::Result<(StdListener, u64, u32)> {
    let Event::Said { frame, mut fds } = hello else { bail!("the keeper did not begin with a hello") };
    let (HELLO, Some(listener)) = (frame.kind, fds.pop()) else {
        bail!("the keeper did not begin with a hello")
    };
    Ok((StdListener::from(listener), frame.args[0], frame.args[1] as u32))
}

async fn serve_clients(
    listener: StdListener,
    starter: Starter,
    patches: Patches,
    daemon: rpc::daemon::DaemonsService,
) -> anyhow::Result<()> {
    let sessions = rpc::sessions::Sessions { starter: starter.clone() };
    let sandboxes = rpc::sandboxes::SandboxesService { starter: starter.clone() };
    let approvals = rpc::approvals::ApprovalsService { approvals: starter.approvals.clone() };
    let profiles = rpc::profiles::ProfilesService { starter };
    let patches = rpc::workspace::PatchesService { patches };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SessionServiceServer<rpc::sessions::Sessions>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Server::builder()
        .add_service(SessionServiceServer::new(sessions).max_decoding_message_size(MESSAGE_MAX_BYTES))
        .add_service(SandboxServiceServer::new(sandboxes))
        .add_service(WorkspaceServiceServer::new(patches).max_decoding_message_size(PATCH_MESSAGE_MAX_BYTES))
        .add_service(ProfileServiceServer::new(profiles))
        .add_service(ApprovalServiceServer::new(approvals))
        .add_service(DaemonServiceServer::new(daemon))
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming(incoming(listener)?)
        .await
        .context("serving clients")
}

/// Connections of peers that may connect; the others are closed without a word and noted.
fn incoming(listener: StdListener) -> io::Result<ReceiverStream<io::Result<UnixStream>>> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
    tokio::spawn(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, usually: those who hold some must get on first.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            match peer::check(&stream) {
                Ok(()) if sender.send(Ok(stream)).await.is_ok() => {}
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "a connection was refused"),
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn ended() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(_) => std::future::pending().await,
    }
}
