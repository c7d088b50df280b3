//! The plan that a model keeps with `update_plan`: steps in order, each with a status. It is shown to the person
//! and given back to the model as it was understood; nothing else depends on it.

use serde::{Deserialize, Serialize};

/// The steps as the model last stated them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    pub plan: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub explanation: Option<String>,
}

/// One step. `status` is free text; `pending`, `in_progress` and `completed` are what [`Mark`] knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub step: String,
    pub status: String,
}

/// How far a step is, as far as its free text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Pending,
    Active,
    Done,
    Other,
}

impl Step {
    pub fn mark(&self) -> Mark {
        let status: String = self.status.to_lowercase().replace([' ', '-'], "_");
        match status.as_str() {
            "" | "pending" | "todo" | "not_started" | "open" => Mark::Pending,
            "in_progress" | "active" | "doing" | "current" | "started" | "running" => Mark::Active,
            "completed" | "complete" | "done" | "finished" => Mark::Done,
            _ => Mark::Other,
        }
    }
}

impl Plan {
    /// How many steps are done, of how many.
    pub fn progress(&self) -> (usize, usize) {
        let done = self.plan.iter().filter(|step| step.mark() == Mark::Done).count();
        (done, self.plan.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_free_text_and_the_usual_words_have_marks() {
        let check = |status: &str, expected: Mark| {
            let step = Step { step: "x".into(), status: status.into() };
            assert_eq!(step.mark(), expected, "{status:?}");
        };
        check("pending", Mark::Pending);
        check("", Mark::Pending);
        check("In Progress", Mark::Active);
        check("in-progress", Mark::Active);
        check("done", Mark::Done);
        check("completed", Mark::Done);
        check("blocked on review", Mark::Other);
    }
}
