//! A scripted model: an HTTP server on loopback that answers as told, breaks off as told, and records what it was asked.
//!
//! It runs on a thread of its own, so that tests with and without a runtime can use it, and ends when dropped.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_client::config::Provider;
use dunlin_client::model::loopback::{Asked, Piece, Reply, Server};
use dunlin_client::model::replay::events;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The client's end of the connection.
    pub peer: SocketAddr,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// `Null` when there was none.
    pub body: Value,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The output that answers the call `call_id`, parsed where it is JSON.
    pub fn output(&self, call_id: &str) -> Option<Value> {
        let item = self.body["input"].as_array()?.iter().rev();
        let mut outputs = item.filter(|item| item.get("output").is_some());
        let output = &outputs.find(|item| item["call_id"] == call_id)?["output"];
        let parsed = output.as_str().and_then(|text| serde_json::from_str(text).ok());
        Some(parsed.unwrap_or_else(|| output.clone()))
    }
}

/// What one request is answered with.
#[derive(Debug, Clone)]
pub struct Answer {
    content: Content,
    headers: Vec<(String, String)>,
    fault: Fault,
}

#[derive(Debug, Clone)]
enum Content {
    /// A response object, as a stream or whole, as the request wishes.
    Response(Value),
    Raw {
        status: u16,
        content_type: String,
        body: Vec<u8>,
    },
    HangUp,
    Never,
}

/// Counted in bytes of the body.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    SplitAt(usize),
    SplitEvery(usize),
    CutAfter(usize),
    ResetAfter(usize),
    HoldAfter(usize),
}

impl Answer {
    /// A completed response with these items.
    pub fn items(items: impl IntoIterator<Item = Value>) -> Answer {
        Answer::response(events::response("resp_scripted", "scripted", items.into_iter().collect()))
    }

    /// Any response object.
    pub fn response(response: Value) -> Answer {
        Answer::of(Content::Response(response))
    }

    /// These server-sent events and nothing else.
    pub fn events(stream: &[Value]) -> Answer {
        Answer::sse(events::encode(stream))
    }

    /// These bytes as a stream.
    pub fn sse(body: impl Into<Vec<u8>>) -> Answer {
        Answer::raw(200, "text/event-stream", body)
    }

    pub fn json(status: u16, body: &Value) -> Answer {
        Answer::raw(status, "application/json", body.to_string())
    }

    /// An error as OpenAI's server words it.
    pub fn error(status: u16, code: &str, message: &str) -> Answer {
        Answer::json(
            status,
            &json!({"error": {"message": message, "type": "scripted", "code": code, "param": null}}),
        )
    }

    pub fn raw(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer::of(Content::Raw { status, content_type: content_type.into(), body: body.into() })
    }

    /// Closes the connection without an answer.
    pub fn hang_up() -> Answer {
        Answer::of(Content::HangUp)
    }

    /// Takes the request and says nothing.
    pub fn never() -> Answer {
        Answer::of(Content::Never)
    }

    fn of(content: Content) -> Answer {
        Answer { content, headers: Vec::new(), fault: Fault::None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Two writes, the first of `bytes`.
    pub fn split_at(self, bytes: usize) -> Answer {
        Answer { fault: Fault::SplitAt(bytes), ..self }
    }

    pub fn split_every(self, bytes: usize) -> Answer {
        Answer { fault: Fault::SplitEvery(bytes.max(1)), ..self }
    }

    /// The connection ends after so many bytes.
    pub fn cut_after(self, bytes: usize) -> Answer {
        Answer { fault: Fault::CutAfter(bytes), ..self }
    }

    /// The connection is reset after so many bytes.
    pub fn reset_after(self, bytes: usize) -> Answer {
        Answer { fault: Fault::ResetAfter(bytes), ..self }
    }

    /// Nothing comes after so many bytes, and the connection stays.
    pub fn hold_after(self, bytes: usize) -> Answer {
        Answer { fault: Fault::HoldAfter(bytes), ..self }
    }

    /// The body that a request which asks for a stream gets.
    pub fn body(&self) -> Vec<u8> {
        self.rendered(true).2
    }

    fn rendered(&self, stream: bool) -> (u16, String, Vec<u8>) {
        match &self.content {
            Content::Response(response) if stream => {
                (200, "text/event-stream".into(), events::encode(&events::of(response)))
            }
            Content::Response(response) => {
                (200, "application/json".into(), response.to_string().into_bytes())
            }
            Content::Raw { status, content_type, body } => (*status, content_type.clone(), body.clone()),
            Content::HangUp | Content::Never => (0, String::new(), Vec::new()),
        }
    }

    async fn reply(self, stream: bool) -> Option<Reply> {
        match self.content {
            Content::HangUp => return None,
            Content::Never => std::future::pending().await,
            Content::Response(_) | Content::Raw { .. } => {}
        }
        let (status, content_type, body) = self.rendered(stream);
        let mut headers = vec![("content-type".to_owned(), content_type)];
        headers.extend(self.headers);
        Some(Reply { status, headers, pieces: pieces(&body, self.fault) })
    }
}

fn pieces(body: &[u8], fault: Fault) -> Vec<Piece> {
    let bytes = |bytes: &[u8]| Piece::Bytes(bytes.to_vec().into());
    let begun = |length: usize, end: Piece| vec![bytes(&body[..length.min(body.len())]), end];
    match fault {
        Fault::None => vec![bytes(body)],
        Fault::SplitAt(at) => {
            let (first, second) = body.split_at(at.min(body.len()));
            vec![bytes(first), bytes(second)]
        }
        Fault::SplitEvery(length) => body.chunks(length).map(bytes).collect(),
        Fault::CutAfter(length) => begun(length, Piece::Cut),
        Fault::ResetAfter(length) => begun(length, Piece::Reset),
        Fault::HoldAfter(length) => begun(length, Piece::Hold),
    }
}

/// A running scripted model.
pub struct ModelServer {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    arrivals: watch::Receiver<usize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How long a test waits for a request that must come.
const PATIENCE: Duration = Duration::from_secs(30);

impl ModelServer {
    /// Answers in this order; a request beyond the last is refused with the code `script_over`.
    pub fn scripted(answers: impl IntoIterator<Item = Answer>) -> ModelServer {
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        ModelServer::reacting(move |_| {
            answers
                .next()
                .unwrap_or_else(|| Answer::error(400, "script_over", "the script has no answer left"))
        })
    }

    /// Answers each request by what it says. The closure runs for one request at a time, in order of arrival.
    pub fn reacting(react: impl FnMut(&Recorded) -> Answer + Send + 'static) -> ModelServer {
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let (arrived, arrivals) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let react = Arc::new(Mutex::new(react));
        let record = recorded.clone();
        let handler = move |asked: Asked| {
            let request = Recorded {
                body: serde_json::from_slice(&asked.body).unwrap_or_default(),
                peer: asked.peer,
                method: asked.method,
                path: asked.path,
                headers: asked.headers,
            };
            let mut react = lock(&react);
            let answer = (*react)(&request);
            let stream = request.body["stream"] == true;
            lock(&record).push(request);
            arrived.send_modify(|count| *count += 1);
            answer.reply(stream)
        };
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = Server::start(handler).await.expect("a loopback port");
                ready.send(server.address()).expect("the test waits");
                let _ = stopped.await;
            });
        });
        let address = address.recv().expect("the server has started");
        ModelServer { address, recorded, arrivals, stop: Some(stop), thread: Some(thread) }
    }

    /// For OPENAI_BASE_URL.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// A provider that leads here, with OpenAI's abilities and no key.
    pub fn provider(&self) -> Provider {
        Provider { reasoning: true, custom_tools: true, ..Provider::at("scripted", &self.base_url()) }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.recorded).clone()
    }

    /// Waits until `count` requests have arrived.
    pub async fn arrived(&self, count: usize) {
        let mut arrivals = self.arrivals.clone();
        let wait = arrivals.wait_for(|arrived| *arrived >= count);
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(_)) => {}
            _ => panic!("{} of {count} requests arrived", lock(&self.recorded).len()),
        }
    }

    /// The same, for tests without a runtime.
    pub fn wait_arrived(&self, count: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(self.arrived(count));
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An assistant's message.
pub fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
           "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

pub fn function_call(call_id: &str, name: &str, arguments: &Value) -> Value {
    json!({"type": "function_call", "id": format!("fc_{call_id}"), "call_id": call_id, "name": name,
           "arguments": arguments.to_string(), "status": "completed"})
}

pub fn custom_call(call_id: &str, name: &str, input: &str) -> Value {
    json!({"type": "custom_tool_call", "id": format!("ctc_{call_id}"), "call_id": call_id, "name": name,
           "input": input})
}

/// Sealed reasoning.
pub fn reasoning(id: &str, sealed: &str) -> Value {
    json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": sealed})
}
