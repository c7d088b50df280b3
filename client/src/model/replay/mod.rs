//! `--replay FILE`: a recorded model, served over HTTP and SSE on loopback inside the client.
//!
//! The whole road (reqwest, events, tools, daemon, sandbox) runs without a key or a network. A replay always says
//! that it is one: the model is called `replay:NAME`, its responses `replay_N`. `script` has the file's format, `player`
//! what a request is answered with; here they meet a socket.

pub mod events;
mod player;
mod script;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::loopback::{Asked, Reply, Server};
use crate::config::Provider;
use player::Player;
use script::Script;

/// A replay that is being served; it ends when dropped.
pub struct Replay {
    server: Server,
    secret: String,
    model: String,
    title: Option<String>,
    prompt: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot read the replay {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the replay {}: {message}", path.display())]
    Format { path: PathBuf, message: String },
    #[error("cannot listen on loopback for the replay")]
    Listen(#[source] std::io::Error),
}

impl Replay {
    /// Reads and checks the whole file, then serves it.
    pub async fn start(path: &Path) -> Result<Replay, ReplayError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ReplayError::Read { path: path.into(), source })?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let started = Replay::serve(&text, &name).await;
        started.map_err(|error| match error {
            ReplayError::Format { message, .. } => ReplayError::Format { path: path.into(), message },
            other => other,
        })
    }

    /// Serves a script that is part of the program, such as the demo's.
    pub async fn serve(text: &str, name: &str) -> Result<Replay, ReplayError> {
        let script =
            Script::parse(text).map_err(|message| ReplayError::Format { path: name.into(), message })?;
        let model = format!("replay:{name}");
        let (title, prompt) = (script.title.clone(), script.prompt.clone());
        // Others on this machine may find the port; they do not know the path.
        let secret = format!("{:032x}", fastrand::u128(..));
        let player = Arc::new(Mutex::new(Player::new(script, &model)));
        let path = format!("/{secret}/v1/responses");
        let handler = move |asked: Asked| {
            let reply = if asked.path == path {
                answer(&player, &asked)
            } else {
                refusal(404, "not_found", "no such page")
            };
            std::future::ready(Some(reply))
        };
        let server = Server::start(handler).await.map_err(ReplayError::Listen)?;
        Ok(Replay { server, secret, model, title, prompt })
    }

    /// `http://127.0.0.1:PORT/…/v1`
    pub fn base_url(&self) -> String {
        format!("http://{}/{}/v1", self.server.address(), self.secret)
    }

    /// The name under which the replay shows: `replay:NAME`.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What the file says that it shows.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// What the person asked when it was recorded.
    pub fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref()
    }

    /// A provider that leads here.
    pub fn provider(&self) -> Provider {
        Provider {
            model: Some(self.model.clone()),
            reasoning: true,
            custom_tools: true,
            max_retries: 0,
            ..Provider::at("replay", &self.base_url())
        }
    }
}

fn answer(player: &Mutex<Player>, asked: &Asked) -> Reply {
    let Ok(request) = serde_json::from_slice::<Value>(&asked.body) else {
        return refusal(400, "invalid_json", "the request is no JSON");
    };
    let mut player = player.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match player.answer(&request) {
        Ok(response) if request["stream"] == true => {
            Reply::whole(200, "text/event-stream", events::encode(&events::of(&response)))
        }
        Ok(response) => Reply::whole(200, "application/json", response.to_string()),
        Err(refused) => refusal(400, refused.code, &refused.message),
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"error": {"message": message, "type": "replay_error", "code": code, "param": null}});
    Reply::whole(status, "application/json", body.to_string())
}
