//! Asking and answering at the same time: who waits is told, who leaves withdraws.

use tokio::task::JoinHandle;

use super::*;
use crate::actor::ActorKind;

fn approvals(directory: &tempfile::TempDir) -> Approvals {
    Approvals::new(Grants::new(directory.path()), Audit::new(directory.path()))
}

fn question() -> Question {
    Question {
        workspace: "/w".into(),
        digest: "d".into(),
        adds: vec!["read /x".into()],
        ..Question::default()
    }
}

fn person() -> Actor {
    Actor { id: "p".into(), kind: ActorKind::Person, name: "ada".into() }
}

const LONG: Duration = Duration::from_secs(60);

/// The next change: its event and the approval's id.
async fn next(changes: &mut broadcast::Receiver<Change>) -> (&'static str, String) {
    let (approval, event) = changes.recv().await.unwrap();
    (event, approval.id)
}

/// Somebody who waits long for an answer.
fn ask(approvals: &Approvals) -> JoinHandle<Outcome> {
    let approvals = approvals.clone();
    tokio::spawn(async move { approvals.ask(question(), LONG).await })
}

#[tokio::test]
async fn whoever_waits_gets_the_answer_and_watchers_see_it() {
    let directory = tempfile::tempdir().unwrap();
    let approvals = approvals(&directory);
    let (open, mut changes) = approvals.watch();
    assert!(open.is_empty());
    let asking = ask(&approvals);
    let (event, id) = next(&mut changes).await;
    assert_eq!((event, approvals.open().len()), ("approval.asked", 1));
    approvals.answer(&id, Answer::Sandbox, &person()).unwrap();
    assert_eq!(asking.await.unwrap(), Outcome::Answered(Answer::Sandbox));
    assert_eq!(next(&mut changes).await, ("approval.answered", id.clone()));
    assert!(matches!(approvals.answer(&id, Answer::Once, &person()), Err(AnswerError::Ended(_))));
    assert!(changes.try_recv().is_err(), "it ended once");
    let audit = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    assert!(audit.contains("approval.asked") && audit.contains(r#""answer":"sandbox""#), "{audit}");
}

#[tokio::test]
async fn a_caller_who_leaves_withdraws_and_a_time_that_is_over_expires() {
    let directory = tempfile::tempdir().unwrap();
    let approvals = approvals(&directory);
    let (_, mut changes) = approvals.watch();
    let asking = ask(&approvals);
    let (_, id) = next(&mut changes).await;
    asking.abort();
    assert_eq!(next(&mut changes).await, ("approval.withdrawn", id));
    assert_eq!(approvals.ask(question(), Duration::ZERO).await, Outcome::Expired);
    assert_eq!(next(&mut changes).await.0, "approval.asked");
    assert_eq!(next(&mut changes).await.0, "approval.expired");
    assert!(approvals.open().is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_kept_leaves_the_question_open() {
    let directory = tempfile::tempdir().unwrap();
    let approvals = approvals(&directory);
    let (_, mut changes) = approvals.watch();
    let asking = ask(&approvals);
    let (_, id) = next(&mut changes).await;
    std::fs::write(directory.path().join("grants.toml"), "damaged [").unwrap();
    let refused = approvals.answer(&id, Answer::Workspace, &person()).unwrap_err();
    assert!(matches!(refused, AnswerError::NotKept(_)), "{refused}");
    std::fs::remove_file(directory.path().join("grants.toml")).unwrap();
    approvals.answer(&id, Answer::Workspace, &person()).unwrap();
    assert_eq!(asking.await.unwrap(), Outcome::Answered(Answer::Workspace));
    assert_eq!(approvals.granted("/w", "d").as_deref(), Some("ada"));
}
