//! Owns the life of an approval: open, then answered, withdrawn or expired, once. Pure: no clock, no waiting.
//!
//! Invariant: the first end counts and no other follows; only a person answers. Bounded in open questions and in remembered ends.

use std::collections::VecDeque;

use super::{Answer, AnswerError, Approval, Question, State};
use crate::actor::{Actor, ActorKind};

/// Questions that may be open at once; a client with more of them is not waiting for a person.
const OPEN_MAX: usize = 64;

/// Ended approvals that are remembered, so that a late answer is told what became of them.
const ENDED_MAX: usize = 256;

/// A reason is at most this long.
const REASON_MAX_BYTES: usize = 4096;

/// All approvals.
#[derive(Debug, Default)]
pub struct Board {
    /// In the order in which they were asked.
    open: Vec<Approval>,
    ended: VecDeque<Approval>,
}

impl Board {
    /// Opens a question. `None`: too many are open.
    pub fn ask(&mut self, id: String, question: Question, now: u64, wait_ms: u64) -> Option<Approval> {
        if self.open.len() >= OPEN_MAX {
            return None;
        }
        let approval = Approval {
            id,
            question,
            asked_unix_ms: now,
            expires_unix_ms: now.saturating_add(wait_ms),
            state: State::Open,
        };
        self.open.push(approval.clone());
        Some(approval)
    }

    /// Open questions, oldest first.
    pub fn open(&self) -> &[Approval] {
        &self.open
    }

    /// The open question that an answer is for, named by its id or a unique prefix; or why it cannot be answered so.
    pub fn answerable(&self, wanted: &str, answer: &Answer, by: &Actor) -> Result<&Approval, AnswerError> {
        if by.kind != ActorKind::Person {
            return Err(AnswerError::NotAPerson);
        }
        if let Answer::No { reason } = answer {
            check_reason(reason)?;
        }
        self.find(wanted)
    }

    /// Ends an open one; `None` if it has ended already.
    pub fn end(&mut self, id: &str, state: State) -> Option<Approval> {
        let at = self.open.iter().position(|approval| approval.id == id)?;
        let approval = Approval { state, ..self.open.remove(at) };
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(approval.clone());
        Some(approval)
    }

    fn find(&self, wanted: &str) -> Result<&Approval, AnswerError> {
        let unknown = || AnswerError::Unknown { wanted: wanted.to_owned(), open: self.ids() };
        if wanted.is_empty() {
            return Err(unknown());
        }
        let fits: Vec<&Approval> =
            self.open.iter().filter(|approval| approval.id.starts_with(wanted)).collect();
        match fits.as_slice() {
            [approval] => Ok(approval),
            [] => match self.ended.iter().rfind(|approval| approval.id.starts_with(wanted)) {
                Some(approval) => Err(AnswerError::Ended(Box::new(approval.clone()))),
                None => Err(unknown()),
            },
            several => {
                let fits = several.iter().map(|approval| approval.id.clone()).collect();
                Err(AnswerError::Ambiguous { wanted: wanted.to_owned(), fits })
            }
        }
    }

    fn ids(&self) -> Vec<String> {
        self.open.iter().map(|approval| approval.id.clone()).collect()
    }
}

fn check_reason(reason: &str) -> Result<(), AnswerError> {
    if !reason.is_empty() && reason.trim().is_empty() {
        return Err(AnswerError::Reason("the reason is blank; say why, or leave it out".into()));
    }
    if reason.len() > REASON_MAX_BYTES {
        let what = format!("the reason has {} bytes; say it in {REASON_MAX_BYTES}", reason.len());
        return Err(AnswerError::Reason(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn actor(kind: ActorKind) -> Actor {
        Actor { id: "x".into(), kind, name: "ada".into() }
    }

    fn answer(board: &mut Board, wanted: &str, answer: Answer, by: &Actor) -> Result<Approval, AnswerError> {
        let id = board.answerable(wanted, &answer, by)?.id.clone();
        Ok(board.end(&id, State::Answered { answer, by: by.clone() }).unwrap())
    }

    fn board(ids: &[&str]) -> Board {
        let mut board = Board::default();
        for id in ids {
            board.ask((*id).into(), Question::default(), 5, 10).unwrap();
        }
        board
    }

    fn no(reason: &str) -> Answer {
        Answer::No { reason: reason.into() }
    }

    #[test]
    fn the_first_answer_counts_and_a_second_is_told_of_it() {
        let mut board = board(&["abc1", "abd2"]);
        let person = actor(ActorKind::Person);
        assert_eq!(board.open()[0].expires_unix_ms, 15);
        let answered = answer(&mut board, "abc", Answer::Once, &person).unwrap();
        assert_eq!(answered.id, "abc1");
        assert_eq!(board.open().len(), 1);
        let again = answer(&mut board, "abc1", no("late"), &person).unwrap_err().to_string();
        assert_eq!(
            again,
            "approval abc1 was answered already: once, by ada; `dunlin approvals` lists what is open"
        );
        assert!(board.end("abc1", State::Withdrawn).is_none());
    }

    #[test]
    fn only_an_open_one_is_answered_by_a_person_with_a_reason_that_says_something() {
        let mut board = board(&["abc1", "abd2"]);
        let check = |board: &mut Board, wanted: &str, given: Answer, kind, expected: &str| {
            let refused = answer(board, wanted, given, &actor(kind)).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        };
        check(
            &mut board,
            "zzz",
            Answer::Once,
            ActorKind::Person,
            "no approval \"zzz\" is open (open: abc1, abd2)",
        );
        check(&mut board, "", Answer::Once, ActorKind::Person, "no approval \"\"");
        check(&mut board, "ab", Answer::Once, ActorKind::Person, "fits several approvals: abc1, abd2");
        check(&mut board, "abc1", Answer::Once, ActorKind::Model, "only a person");
        check(&mut board, "abc1", Answer::Once, ActorKind::Program, "only a person");
        check(&mut board, "abc1", no(" \n"), ActorKind::Person, "blank");
        check(&mut board, "abc1", no(&"x".repeat(4097)), ActorKind::Person, "4097 bytes");
        board.end("abc1", State::Expired).unwrap();
        check(&mut board, "abc1", Answer::Once, ActorKind::Person, "expired");
        board.end("abd2", State::Withdrawn).unwrap();
        check(&mut board, "abd", no(""), ActorKind::Person, "withdrawn");
        assert!(board.open().is_empty());
    }

    #[test]
    fn what_is_open_and_what_is_remembered_is_bounded() {
        let mut board = Board::default();
        for n in 0..OPEN_MAX {
            assert!(board.ask(format!("a{n:03}"), Question::default(), 0, 1).is_some());
        }
        assert!(board.ask("b".into(), Question::default(), 0, 1).is_none());
        for n in 0..2 * ENDED_MAX {
            let id = format!("c{n}");
            board.end(&format!("a{:03}", n % OPEN_MAX), State::Expired);
            board.ask(id.clone(), Question::default(), 0, 1);
            board.end(&id, State::Expired);
        }
        assert_eq!(board.ended.len(), ENDED_MAX);
    }

    proptest! {
        #[test]
        fn an_approval_ends_once_whatever_comes_in_whatever_order(steps in proptest::collection::vec((0..4_usize, 0..3_u8), 0..40)) {
            let ids = ["a", "b", "c", "d"];
            let mut board = board(&ids);
            let mut ended = std::collections::HashSet::new();
            for (which, what) in steps {
                let id = ids[which];
                let done = match what {
                    0 => answer(&mut board, id, Answer::Sandbox, &actor(ActorKind::Person)).is_ok(),
                    1 => board.end(id, State::Withdrawn).is_some(),
                    _ => board.end(id, State::Expired).is_some(),
                };
                prop_assert_eq!(done, ended.insert(id));
                prop_assert_eq!(board.open().len() + ended.len(), ids.len());
            }
        }
    }
}
