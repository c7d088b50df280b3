//! The road to the server.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Event, ModelError, Request, Response};
use crate::config;

/// A connection pool to one provider; cheap to keep, safe to share.
pub struct Client {
    provider: config::Provider,
}

impl Client {
    /// Reads the key (env, file or command). Fails without one, unless the server is on loopback.
    pub fn new(provider: &config::Provider) -> Result<Self, ModelError> {
        Ok(Client { provider: provider.clone() })
    }

    /// Sends the request, retries where that may help, and returns the finished response.
    ///
    /// Events go to `events` as they come; a receiver that is gone is no error, a full channel slows the
    /// stream. Cancelling ends every wait at once with [`ModelError::Cancelled`]. Dropping the future does too.
    pub async fn respond(
        &self,
        _request: &Request,
        _events: mpsc::Sender<Event>,
        _cancel: CancellationToken,
    ) -> Result<Response, ModelError> {
        Err(ModelError::Provider { provider: self.provider.name.clone(), cause: "not built yet".into() })
    }
}
