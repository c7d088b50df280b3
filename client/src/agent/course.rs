//! What one turn gathers while it runs: its calls, its usage, its clock, what is typed into it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::calls::{Action, Outcome};
use super::progress::{Progress, Watch};
use super::steering::{Inbox, Typed};
use super::turn::{Cause, Effect, Happened, Turn};
use crate::model::{Call, ModelError, Usage};

pub struct Course<'a> {
    pub watch: &'a mut dyn Watch,
    pub inbox: &'a mut Inbox,
    pub cancel: &'a CancellationToken,
    pub turn: Turn,
    started: Instant,
    max_time: Option<Duration>,
    pub usage: Usage,
    pub steps: u32,
    pub running: JoinSet<(Call, Action, Outcome)>,
    pub calls: HashMap<Id, Call>,
    pub stopped_at_refusal: bool,
    pub unheard: Vec<String>,
}

impl<'a> Course<'a> {
    pub fn new(
        turn: Turn,
        max_time: Option<Duration>,
        watch: &'a mut dyn Watch,
        inbox: &'a mut Inbox,
        cancel: &'a CancellationToken,
    ) -> Course<'a> {
        Course {
            watch,
            inbox,
            cancel,
            turn,
            started: Instant::now(),
            max_time,
            usage: Usage::default(),
            steps: 0,
            running: JoinSet::new(),
            calls: HashMap::new(),
            stopped_at_refusal: false,
            unheard: Vec::new(),
        }
    }

    /// The person typed: the turn keeps it, or gives it back.
    pub fn typed(&mut self, typed: Typed) {
        let effects = self.turn.step(match typed {
            Typed::Say(text) => Happened::Steered(text),
            Typed::TakeBack => Happened::TakenBack,
        });
        for effect in effects {
            if let Effect::GiveBack(texts) = effect {
                texts.iter().for_each(|text| self.watch.on(Progress::GaveBack { text }));
            }
        }
        self.watch.on(Progress::Unheard(self.turn.unheard()));
    }

    /// Takes in what was typed by now, so that the next step knows it.
    pub fn hear(&mut self) {
        while let Some(typed) = self.inbox.ready() {
            self.typed(typed);
        }
    }

    /// Ends when the turn's time is over.
    pub fn time_is_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let left = self.max_time.map(|max| max.saturating_sub(self.started.elapsed()));
        async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        }
    }

    pub fn out_of_time(&self) -> Happened {
        Happened::TimeUp { seconds: self.max_time.unwrap_or_default().as_secs() }
    }

    pub fn interrupted(&self) -> Happened {
        Happened::Interrupted { seconds: self.started.elapsed().as_secs() }
    }

    pub fn unanswered(&self, error: &ModelError) -> Happened {
        let cause = match error {
            ModelError::Cancelled => return self.interrupted(),
            error if error.is_authentication() => Cause::Authentication,
            error if error.is_context_too_long() => Cause::ContextTooLong,
            error if error.is_limit() => Cause::Limit,
            _ => Cause::Other,
        };
        Happened::Unanswered { message: error.to_string(), cause }
    }
}
