//! The questions of one conversation while its calls run: each is shown, put to whoever answers, and taken away when it
//! ends elsewhere. One is asked at a time, in the order they came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;

use super::approval::{AlwaysYes, Answer, Answering, Asked, SomebodyElse};
use super::progress::{Progress, Watch};
use crate::tools::approvals::{ApprovalView, Approvals, Decision, Seen, Unanswered};

/// How long the end of a question may take to be seen behind the end of its call.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Open questions and who is asked.
pub struct Questions {
    /// `None`: nobody can be asked.
    approvals: Option<Approvals>,
    asked: Box<dyn Asked>,
    seen: Option<mpsc::Receiver<Seen>>,
    open: VecDeque<ApprovalView>,
    stage: Stage,
}

/// Where the first open question stands.
enum Stage {
    /// Not asked yet.
    Idle,
    Asking(Answer),
    Answering(std::pin::Pin<Box<dyn Future<Output = Result<(), Unanswered>> + Send>>),
    /// Its end will be seen.
    Answered,
}

/// What happened to a question.
enum Step {
    Seen(Option<Seen>),
    Decided(Decision),
    Taken(Result<(), Unanswered>),
}

impl Questions {
    pub fn new(approvals: Option<Approvals>, answering: Answering) -> Questions {
        let asked: Box<dyn Asked> = match answering {
            Answering::Yes => Box::new(AlwaysYes),
            // Whoever reads the prompt says so with `ask_of`.
            Answering::Here | Answering::Elsewhere | Answering::Nobody => Box::new(SomebodyElse),
        };
        let approvals = approvals.filter(|_| answering != Answering::Nobody);
        Questions { approvals, asked, seen: None, open: VecDeque::new(), stage: Stage::Idle }
    }

    /// Puts questions to somebody else from now on.
    pub fn ask_of(&mut self, asked: impl Asked + 'static) {
        self.asked = Box::new(asked);
    }

    /// Begins to look for questions, because a call begins that may raise one.
    pub fn expect(&mut self) {
        if self.seen.is_none() {
            self.seen = self.approvals.as_ref().map(Approvals::watch);
        }
    }

    /// Asks and answers for as long as it is awaited. Giving it up loses nothing: the next call goes on from there.
    pub async fn attend(&mut self, conversation: &str, watch: &mut dyn Watch) -> Infallible {
        loop {
            self.begin(watch);
            match self.next().await {
                Step::Seen(Some(Seen::Approval(approval))) if approval.conversation == conversation => {
                    self.saw(*approval, watch);
                }
                Step::Seen(Some(Seen::Approval(_))) => {}
                Step::Seen(Some(Seen::Gone)) => self.close(watch),
                Step::Seen(None) => self.seen = None,
                Step::Decided(decision) => self.decided(decision),
                Step::Taken(taken) => self.taken(taken, watch),
            }
        }
    }

    /// Every call is through: what was asked has ended, and how is about to be seen. Told as given up if it is not.
    pub async fn finish(&mut self, conversation: &str, watch: &mut dyn Watch) {
        let ends = async {
            while !self.open.is_empty() {
                let Some(seen) = &mut self.seen else { return };
                match seen.recv().await {
                    Some(Seen::Approval(approval)) if approval.conversation == conversation => {
                        self.saw(*approval, watch);
                    }
                    Some(Seen::Approval(_)) => {}
                    Some(Seen::Gone) | None => return,
                }
            }
        };
        // The daemon tells it before it lets the call go on, so this is not waited out.
        let _ = tokio::time::timeout(END_PATIENCE, ends).await;
        self.close(watch);
    }

    /// Nothing is asked any more.
    pub fn close(&mut self, watch: &mut dyn Watch) {
        self.stage = Stage::Idle;
        for question in std::mem::take(&mut self.open) {
            watch.on(Progress::Settled { question: &question });
        }
    }

    /// Puts the first open question to whoever answers.
    fn begin(&mut self, watch: &mut dyn Watch) {
        let Some(question) = self.open.front() else { return };
        if matches!(self.stage, Stage::Idle) {
            let here = self.asked.is_here();
            watch.on(Progress::Asked { question, here });
            self.stage = Stage::Asking(self.asked.ask(question));
        }
    }

    async fn next(&mut self) -> Step {
        let seen = async {
            match &mut self.seen {
                Some(seen) => seen.recv().await,
                None => std::future::pending().await,
            }
        };
        let stage = async {
            match &mut self.stage {
                Stage::Asking(answer) => Step::Decided(answer.await),
                Stage::Answering(answer) => Step::Taken(answer.await),
                Stage::Idle | Stage::Answered => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            seen = seen => Step::Seen(seen),
            step = stage => step,
        }
    }

    fn saw(&mut self, approval: ApprovalView, watch: &mut dyn Watch) {
        let known = self.open.iter().position(|question| question.id == approval.id);
        match (known, approval.outcome.is_some()) {
            (None, false) => self.open.push_back(approval),
            (Some(at), true) => {
                if at == 0 {
                    self.stage = Stage::Idle;
                }
                self.open.remove(at);
                watch.on(Progress::Settled { question: &approval });
            }
            // Seen twice, or over before it was seen.
            (Some(_), false) | (None, true) => {}
        }
    }

    fn decided(&mut self, decision: Decision) {
        let (Some(approvals), Some(question)) = (self.approvals.clone(), self.open.front()) else { return };
        let id = question.id.clone();
        self.stage = Stage::Answering(Box::pin(async move { approvals.answer(&id, decision).await }));
    }

    fn taken(&mut self, taken: Result<(), Unanswered>, watch: &mut dyn Watch) {
        self.stage = Stage::Answered;
        if let Err(unanswered) = taken {
            watch.on(Progress::NotTaken { why: &unanswered.message });
            if unanswered.still_open {
                self.stage = Stage::Idle;
            }
        }
    }
}
