//! A small HTTP server on 127.0.0.1, for replays and for the tests' scripted model.
//!
//! Owns sockets and connections, all gone when it is dropped. It can break off an answer anywhere, since a client must
//! be shown to bear that. What is answered, its handler decides.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The client's end of the connection.
    pub peer: SocketAddr,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// Sent one after the other, each flushed before the next.
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
pub enum Piece {
    Bytes(Bytes),
    /// Nothing more comes, and the connection stays.
    Hold,
    /// The connection ends without the answer's end.
    Cut,
    /// The connection is reset (RST).
    Reset,
}

impl Reply {
    /// An answer in one piece.
    pub fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        let headers = vec![("content-type".into(), content_type.into())];
        Reply { status, headers, pieces: vec![Piece::Bytes(body.into())] }
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Serves on a free port until dropped. A handler that returns `None` hangs up without an answer.
    pub async fn start<H, F>(handler: H) -> io::Result<Server>
    where
        H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Option<Reply>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Server { address, accepting: tokio::spawn(accept(listener, handler)) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Holds the connections in a set, so that they end with it.
async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Reply>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, handler.clone()));
                }
                // The peer left already, or no descriptor is free for now.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<H, F>(stream: TcpStream, peer: SocketAddr, handler: H)
where
    H: Fn(Asked) -> F,
    F: Future<Output = Option<Reply>>,
{
    let Ok(descriptor) = stream.as_fd().try_clone_to_owned() else { return };
    let _ = stream.set_nodelay(true);
    let (handler, descriptor, peer) = (&handler, &descriptor, &peer);
    let service = service_fn(async move |request: hyper::Request<Incoming>| {
        let reply = handler(read(request, *peer).await?).await.ok_or_else(hang_up)?;
        answer(reply, descriptor)
    });
    // An error is a peer that left, or an answer that was to be broken off: nothing to tell anybody.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn hang_up() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

async fn read(request: hyper::Request<Incoming>, peer: SocketAddr) -> io::Result<Asked> {
    let (head, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Asked { peer, method: head.method.to_string(), path: head.uri.path().to_owned(), headers, body })
}

fn answer(reply: Reply, descriptor: &OwnedFd) -> io::Result<hyper::Response<Pieces>> {
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let pieces = Pieces { left: reply.pieces.into(), socket: descriptor.try_clone()?, flushing: false };
    response.body(pieces).map_err(io::Error::other)
}

/// The body of an answer.
struct Pieces {
    left: VecDeque<Piece>,
    socket: OwnedFd,
    /// The last poll gave bytes: let them be sent before the next.
    flushing: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if std::mem::take(&mut self.flushing) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.left.pop_front() {
            None => Poll::Ready(None),
            Some(Piece::Bytes(bytes)) => {
                self.flushing = true;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Piece::Hold) => {
                self.left.push_front(Piece::Hold);
                Poll::Pending
            }
            Some(Piece::Cut) => Poll::Ready(Some(Err(hang_up()))),
            Some(Piece::Reset) => {
                let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                let _ =
                    nix::sys::socket::setsockopt(&self.socket, nix::sys::socket::sockopt::Linger, &at_once);
                Poll::Ready(Some(Err(hang_up())))
            }
        }
    }
}
