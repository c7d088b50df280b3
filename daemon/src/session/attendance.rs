//! Whether whoever started a session still waits for it. One that vanishes leaves the session running, and `ls` says so.

use std::sync::Arc;

use super::{Session, registry::Registry};
use crate::keeper::control::Ended;

/// Held while somebody waits. Dropped without [`Attendance::leave`], the session is unattended from then on.
pub struct Attendance {
    session: Arc<Session>,
    registry: Registry,
    left: bool,
}

impl Attendance {
    /// Somebody waits for this session now.
    pub fn of(session: Arc<Session>, registry: Registry) -> Self {
        let attendance = Self { session, registry, left: false };
        attendance.note(false);
        attendance
    }

    /// Whoever waited has its answer.
    pub fn leave(mut self) {
        self.left = true;
    }

    fn note(&self, unattended: bool) {
        if self.session.record().unattended != unattended {
            let record = self.session.change_record(|record| record.unattended = unattended);
            self.registry.recorder().note(&record.id);
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if !self.left && self.session.live().ended == Ended::No {
            self.note(true);
        }
    }
}
