//! What a person sees of sessions between calls: the end of their output, and that something changed.
//!
//! Reads by offset, so nothing is consumed; what fails is no error of a call and is tried again later.

use std::time::Duration;

use dunlin_proto::v1;
use dunlin_proto::v1::session_service_client::SessionServiceClient;
use tonic::transport::Channel;

use super::host::ToolError;

/// More than fits in the few lines that are shown.
const TAIL_BYTES: u64 = 4096;
/// How long a daemon that cannot be asked is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The end of a session's output, as text.
pub async fn tail(mut sessions: SessionServiceClient<Channel>, session: &str) -> Result<String, ToolError> {
    let refused = |status: tonic::Status| ToolError::Refused(status.message().to_owned());
    let get = v1::GetSessionRequest { session: session.to_owned() };
    let known = sessions.get(get).await.map_err(refused)?.into_inner();
    let request = v1::ReadRequest {
        session: known.id,
        from: Some(known.output_bytes.saturating_sub(TAIL_BYTES).max(known.output_first)),
        to: None,
        limit: 2 * TAIL_BYTES,
        since_unix_ms: None,
        strip: true,
    };
    Ok(sessions.read(request).await.map_err(refused)?.into_inner().text)
}

/// Waits until a session ends or, with `for_input`, waits for input.
pub async fn changed(mut sessions: SessionServiceClient<Channel>, session: &str, for_input: bool) {
    let (session, pattern) = (session.to_owned(), String::new());
    let request = v1::WaitRequest { session, timeout_ms: None, pattern, from: None, for_input };
    if sessions.wait(request).await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
}
