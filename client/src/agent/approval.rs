//! Who answers when a model wants more than it has. The daemon decides whether an answer is needed and holds the call
//! back until there is one; here is only said how long it may wait, and for whom.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::Approve;
use crate::tools::approvals::{ApprovalView, Decision};

/// How long a person at this terminal may take: the daemon's own bound.
const AT_TERMINAL: Duration = Duration::from_secs(3600);
/// How long somebody at another terminal may take.
const ELSEWHERE: Duration = Duration::from_secs(600);
/// How long an answer without a person may take, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What a conversation may do by itself, and who is asked about the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The profile it has.
    pub profile: String,
    pub answering: Answering,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answering {
    /// Nobody: the model is told no at once, and goes on.
    #[default]
    Nobody,
    /// The person at this terminal, or at another one, whoever is first.
    Here,
    /// Somebody with `dunlin approve` or `dunlin deny`.
    Elsewhere,
    /// Yes to everything, once, in the name of the person who said `--approve allow`.
    Yes,
}

impl Answering {
    /// `flag` is what the command line says, `configured` what the configuration does. Without a conversation at a
    /// terminal nobody is asked, unless the command line says so.
    pub fn of(flag: Option<Approve>, configured: Approve, at_terminal: bool) -> Answering {
        match flag.unwrap_or(configured) {
            Approve::Allow => Answering::Yes,
            Approve::Deny => Answering::Nobody,
            Approve::Ask if at_terminal => Answering::Here,
            Approve::Ask if flag.is_some() => Answering::Elsewhere,
            Approve::Ask => Answering::Nobody,
        }
    }

    /// How long a call may wait for an answer.
    pub fn wait(self) -> Duration {
        match self {
            Answering::Nobody => Duration::ZERO,
            Answering::Here => AT_TERMINAL,
            Answering::Elsewhere => ELSEWHERE,
            Answering::Yes => AT_ONCE,
        }
    }
}

/// An answer on its way. Dropping it takes the question away from whoever was asked.
pub type Answer = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// Whoever is asked.
pub trait Asked: Send {
    /// Begins to ask.
    fn ask(&mut self, question: &ApprovalView) -> Answer;
    /// Whether the person at this terminal is asked.
    fn is_here(&self) -> bool;
}

/// Says yes at once.
pub struct AlwaysYes;

impl Asked for AlwaysYes {
    fn ask(&mut self, _: &ApprovalView) -> Answer {
        Box::pin(std::future::ready(Decision::Once))
    }

    fn is_here(&self) -> bool {
        false
    }
}

/// Leaves it to others.
pub struct SomebodyElse;

impl Asked for SomebodyElse {
    fn ask(&mut self, _: &ApprovalView) -> Answer {
        Box::pin(std::future::pending())
    }

    fn is_here(&self) -> bool {
        false
    }
}

/// The person at a prompt that somebody else reads: a line that is entered while a question is open answers it. Cheap
/// to clone; whoever reads the prompt keeps one.
#[derive(Debug, Clone, Default)]
pub struct ByLine {
    waiting: Arc<Mutex<Option<oneshot::Sender<Decision>>>>,
}

impl ByLine {
    /// A question is open.
    pub fn is_asked(&self) -> bool {
        self.waiting().as_ref().is_some_and(|waiting| !waiting.is_closed())
    }

    /// Takes a line as the answer; false: it is none, and the question stays open.
    pub fn line(&self, text: &str) -> bool {
        understand(text).is_some_and(|decision| self.decide(decision))
    }

    /// The person wants none of it.
    pub fn no(&self) -> bool {
        self.decide(Decision::No { reason: String::new() })
    }

    fn decide(&self, decision: Decision) -> bool {
        self.waiting().take().is_some_and(|waiting| waiting.send(decision).is_ok())
    }

    fn waiting(&self) -> MutexGuard<'_, Option<oneshot::Sender<Decision>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked for ByLine {
    fn ask(&mut self, _: &ApprovalView) -> Answer {
        let (sender, answer) = oneshot::channel();
        *self.waiting() = Some(sender);
        Box::pin(async move {
            match answer.await {
                Ok(decision) => decision,
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn is_here(&self) -> bool {
        true
    }
}

/// An answer as it is typed: `o`, `once`, `no`, `n because …`.
pub fn understand(line: &str) -> Option<Decision> {
    let line = line.trim();
    let (word, rest) =
        line.split_once(|c: char| c.is_whitespace() || c == ',' || c == ':').unwrap_or((line, ""));
    let rest = rest.trim();
    match (word.to_lowercase().as_str(), rest) {
        ("o" | "once", "") => Some(Decision::Once),
        ("s" | "sandbox", "") => Some(Decision::Sandbox),
        ("w" | "workspace", "") => Some(Decision::Workspace),
        ("n" | "no", reason) => Some(Decision::No { reason: reason.to_owned() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_answers_only_while_a_question_is_open() {
        let desk = ByLine::default();
        let mut asked = desk.clone();
        assert!(!desk.is_asked() && !desk.line("once") && !desk.no());
        let answer = asked.ask(&ApprovalView::default());
        assert!(desk.is_asked() && !desk.line("what?") && desk.is_asked());
        assert!(desk.line("n too much"));
        assert_eq!(answer.await, Decision::No { reason: "too much".into() });
        drop(asked.ask(&ApprovalView::default()));
        assert!(!desk.is_asked(), "answered elsewhere");
    }

    #[test]
    fn a_word_or_its_letter_answers_and_nothing_else_does() {
        let check = |line: &str, expected: Option<Decision>| assert_eq!(understand(line), expected, "{line}");
        let no = |reason: &str| Some(Decision::No { reason: reason.into() });
        check("o", Some(Decision::Once));
        check(" Once ", Some(Decision::Once));
        check("s", Some(Decision::Sandbox));
        check("workspace", Some(Decision::Workspace));
        check("n", no(""));
        check("no, use the mirror instead", no("use the mirror instead"));
        for line in ["", "ok", "yes", "once more please", "so", "nothing", "sandbox x"] {
            check(line, None);
        }
    }

    #[test]
    fn a_conversation_at_a_terminal_asks_and_a_task_without_one_is_told_no() {
        let check = |flag: Option<Approve>, configured: Approve, at_terminal, expected: Answering| {
            assert_eq!(Answering::of(flag, configured, at_terminal), expected, "{flag:?} {configured:?}");
        };
        check(None, Approve::Ask, true, Answering::Here);
        check(None, Approve::Ask, false, Answering::Nobody);
        check(Some(Approve::Ask), Approve::Deny, false, Answering::Elsewhere);
        check(Some(Approve::Allow), Approve::Ask, false, Answering::Yes);
        check(None, Approve::Allow, true, Answering::Yes);
        check(Some(Approve::Deny), Approve::Allow, true, Answering::Nobody);
        assert_eq!(Answering::Nobody.wait(), Duration::ZERO);
    }
}
