//! A session as the API tells it, asked for all its facts: the terminal's size, and whether somebody is waited for.

use dunlin_proto::v1;

use super::convert;
use crate::{
    link::Link,
    session::{Session, foreground, input, state::Ended},
};

/// The session as it is now.
pub async fn describe(link: &Link, session: &Session) -> v1::Session {
    if session.live().ended != Ended::No || !session.record().tty {
        return convert::session_out(session, false, None);
    }
    let Ok(state) = input::terminal(link, session).await else {
        return convert::session_out(session, false, None);
    };
    let waiting = state.cooked && state.queued_bytes == 0 && foreground::reader(state.foreground).is_some();
    let size = v1::Size { columns: state.columns.into(), rows: state.rows.into() };
    convert::session_out(session, waiting, Some(size))
}
