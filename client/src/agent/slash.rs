//! What a line typed at the prompt means: a command of the REPL, or words for the model. Pure.

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Nothing but blanks.
    Empty,
    /// For the model.
    Words(String),
    Exit,
    Help,
    Sessions,
    /// Put this terminal on a session.
    Attach(Option<String>),
    Plan,
    Diff,
    Undo,
    /// Show the profile, or take another.
    Profile(Option<String>),
    /// Show the model, or take another.
    Model(Option<String>),
    Compact,
    /// List conversations, or go on with one.
    Resume(Option<String>),
    /// Keep words for the next turn.
    Queue(Option<String>),
    /// A slash and a word that nobody knows, and the command that is probably meant.
    Unknown(String, Option<&'static str>),
}

/// Each command, its argument, and what it does.
pub const COMMANDS: [(&str, &str, &str); 12] = [
    ("/sessions", "", "list the sessions of this workspace"),
    ("/attach", "SESSION", "put this terminal on a session; C-\\ comes back"),
    ("/plan", "", "show the plan"),
    ("/diff", "", "show the patches of this conversation"),
    ("/undo", "", "take the last patch of this conversation back"),
    ("/profile", "[NAME]", "show or change the sandbox profile"),
    ("/model", "[NAME]", "show or change the model"),
    ("/compact", "", "replace the conversation by a summary of it"),
    ("/resume", "[ID]", "list conversations, or go on with one"),
    ("/queue", "WORDS", "keep words for the next turn, as Tab does while one runs"),
    ("/help", "", "show this"),
    ("/exit", "", "leave; sessions go on (also: exit, quit, Ctrl-D)"),
];

/// Understands a line.
pub fn understand(line: &str) -> Line {
    let words = line.trim();
    if words.is_empty() {
        return Line::Empty;
    }
    if ["exit", "quit"].iter().any(|word| words.eq_ignore_ascii_case(word)) {
        return Line::Exit;
    }
    // A path such as /etc/hosts is no command.
    let is_command =
        words.starts_with('/') && !words[1..].split_whitespace().next().unwrap_or("").contains('/');
    if !is_command || words.contains('\n') {
        return Line::Words(line.trim_end().to_owned());
    }
    let (command, argument) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    let argument = Some(argument.trim().to_owned()).filter(|argument| !argument.is_empty());
    match command.to_lowercase().as_str() {
        "/sessions" => Line::Sessions,
        "/attach" => Line::Attach(argument),
        "/plan" => Line::Plan,
        "/diff" => Line::Diff,
        "/undo" => Line::Undo,
        "/profile" => Line::Profile(argument),
        "/model" => Line::Model(argument),
        "/compact" => Line::Compact,
        "/resume" => Line::Resume(argument),
        "/help" | "/?" => Line::Help,
        "/exit" | "/quit" => Line::Exit,
        "/queue" => Line::Queue(argument),
        unknown => Line::Unknown(unknown.to_owned(), nearest(unknown)),
    }
}

/// The command that looks most like `word`, when it looks like it at all.
fn nearest(word: &str) -> Option<&'static str> {
    const LIKE: f64 = 0.7;
    let likeness = |command: &str| strsim::jaro_winkler(word, command);
    let best =
        COMMANDS.iter().map(|(command, ..)| *command).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKE).then_some(best)
}

/// What `/help` prints.
pub fn help() -> String {
    let mut help = String::new();
    for (command, argument, what) in COMMANDS {
        help.push_str(&format!("  {:<20} {what}\n", format!("{command} {argument}")));
    }
    help.push_str(
        "  Alt-Enter or a \\ at the end of a line begins a new line; Ctrl-C ends the turn, not dunlin\n  \
         While a turn runs, Enter says the line to the model with its next request, Tab keeps it for the next\n  \
         turn, and Esc or Ctrl-U on an empty line takes it back\n",
    );
    help
}

/// Completes the word before the end of `line`: commands, then session names behind /attach. Gives where the word
/// begins, and what it may become.
pub fn complete(line: &str, sessions: &[String]) -> (usize, Vec<String>) {
    if let Some(begun) = line.strip_prefix("/attach ") {
        let fitting =
            sessions.iter().filter(|session| session.starts_with(begun.trim_start())).cloned().collect();
        return (line.len() - begun.trim_start().len(), fitting);
    }
    if !line.starts_with('/') || line.contains(char::is_whitespace) {
        return (line.len(), Vec::new());
    }
    let fitting = COMMANDS.iter().filter(|(command, ..)| command.starts_with(line));
    (
        0,
        fitting
            .map(|(command, argument, _)| format!("{command}{}", if argument.is_empty() { "" } else { " " }))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_only_when_it_must_be() {
        let check = |line: &str, expected: Line| assert_eq!(understand(line), expected, "{line:?}");
        let words = |text: &str| Line::Words(text.into());
        check("  \n", Line::Empty);
        check("mend the test ", words("mend the test"));
        for exit in ["exit", "QUIT", " Exit ", "/exit", "/quit"] {
            check(exit, Line::Exit);
        }
        check("exit the loop early", words("exit the loop early"));
        check("/etc/hosts looks wrong", words("/etc/hosts looks wrong"));
        check("/plan\nand more", words("/plan\nand more"));
        check("/Sessions", Line::Sessions);
        check("/attach  web ", Line::Attach(Some("web".into())));
        check("/attach", Line::Attach(None));
        check("/model gpt", Line::Model(Some("gpt".into())));
        check("/resume", Line::Resume(None));
        check("/queue then this", Line::Queue(Some("then this".into())));
        check("/zzz", Line::Unknown("/zzz".into(), None));
        for (typo, meant) in
            [("/session", "/sessions"), ("/udno", "/undo"), ("/compakt", "/compact"), ("/dif", "/diff")]
        {
            check(typo, Line::Unknown(typo.into(), Some(meant)));
        }
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for (command, ..) in COMMANDS {
            assert!(!matches!(understand(command), Line::Unknown(..) | Line::Words(_)), "{command}");
            assert!(help().contains(command));
        }
    }

    #[test]
    fn commands_and_session_names_are_completed() {
        let sessions = ["web".to_owned(), "worker".to_owned()];
        let check = |line: &str, from: usize, expected: &[&str]| {
            let expected = expected.iter().map(|word| word.to_string()).collect();
            assert_eq!(complete(line, &sessions), (from, expected), "{line:?}");
        };
        check("/se", 0, &["/sessions"]);
        check("/p", 0, &["/plan", "/profile "]);
        check("/attach w", 8, &["web", "worker"]);
        check("/attach wo", 8, &["worker"]);
        check("words /se", 9, &[]);
        check("", 0, &[]);
    }
}
