//! A question of the model to the person: everything one should know before saying yes, and what became of it.

use std::io::Write;

use super::Show;
use crate::terminal::neutralise::{neutralise_line, spell_line};
use crate::terminal::render::{self, Paint};
use crate::tools::approvals::ApprovalView;

/// So much of a command is shown: what is cut off is said, for it might be what matters.
const COMMAND_CHARACTERS: usize = 4000;

impl<W: Write + Send> Show<W> {
    /// `here`: the answer is typed at this terminal.
    pub(super) fn asked(&mut self, question: &ApprovalView, here: bool) {
        self.end_stream();
        if here {
            self.bell();
        }
        let mark = self.paint.paint(Paint::YELLOW, "?");
        let wish = neutralise_line(&question.question);
        self.line(&format!("{mark} the model asks to {}", self.bold(&wish)));
        let words: Vec<String> = question.command.iter().map(|word| spell_line(word)).collect();
        let command = render::command(&words, usize::MAX);
        let shown: String = command.chars().take(COMMAND_CHARACTERS).collect();
        self.line(&format!("  $ {shown}"));
        let cut = command.chars().count().saturating_sub(COMMAND_CHARACTERS);
        if cut > 0 {
            self.line(&format!("  … and {cut} more characters: dunlin approvals --json"));
        }
        for added in &question.adds {
            self.line(&format!("  it could then {}", neutralise_line(added)));
        }
        match question.justification.trim() {
            "" => self.line("  no reason was given"),
            reason => self.line(&format!("  because: {}", neutralise_line(reason))),
        }
        if here {
            self.line("  [o]nce, this [s]andbox, this [w]orkspace, or [n]o and why: type it, then Enter");
        } else {
            let id = neutralise_line(&question.id);
            self.dim(&format!("answer with: dunlin approve {id}, or dunlin deny {id}"));
        }
    }

    pub(super) fn settled(&mut self, question: &ApprovalView) {
        let Some(outcome) = &question.outcome else { return };
        let by = if outcome.by.is_empty() { String::new() } else { format!(", by {}", outcome.by) };
        let reason = if outcome.reason.is_empty() { String::new() } else { format!(": {}", outcome.reason) };
        let what = match outcome.word {
            "once" => "allowed once",
            "sandbox" => "allowed in this sandbox",
            "workspace" => "allowed in this workspace",
            "no" => "not allowed",
            "expired" => "nobody answered in time",
            _ => "no longer asked",
        };
        self.dim(&neutralise_line(&format!("{what}{by}{reason}")));
    }
}
