//! What a command writes must not act on the terminal of the person who watches, nor stay behind there.

use dunlin_harness::{Terminal, World};

/// Sets the clipboard, asks for what the terminal then types, sets every mode, and begins a title that never ends.
const EVIL: &str = "import os
def write(data):
    while data: data = data[os.write(1, data):]
write(b'begin\\x1b]52;c;aGk=\\x07\\x1b]52;c;?\\x1b\\\\\\x1b]1337;Copy=:aGk=\\x07\\x1b[21t\\x1b[20t\\x1bP$qm\\x1b\\\\\\xc2\\x9d52;c;aGk=\\x07')
write(b'\\x1b[?2004h\\x1b[?1049h\\x1b[?1000h\\x1b[?1003h\\x1b[?1006h\\x1b[?1004h\\x1b[>1u\\x1b[>4;2m\\x1b[?25l\\x1b[?7l\\x1b[31m\\x1b(0')
write(b'\\x1b]0;' + b'A' * SIZE)";

/// What must not arrive.
const HELD: &[&str] = &["]52;", "]1337;", "\x1b[21t", "\x1b[20t", "P$q", "\u{9d}"];

/// What must be undone in the end.
const UNDONE: &[&str] = &[
    "?2004l", "?1049l", "?1000l", "?1003l", "?1006l", "?1004l", "\x1b[<", "\x1b[>4", "?25h", "?7h",
    "\x1b[0m", "\x1b(B",
];

#[test]
fn what_is_watched_acts_on_nothing_and_leaves_nothing() {
    let world = World::new();
    let evil = EVIL.replace("SIZE", "10_000_000");
    let command = world.client(&["run", "-t", "--name", "evil", "--", "/usr/bin/python3", "-c", &evil]);
    let (_, shown) = Terminal::start(&command, 80, 24).finish();
    let begin = shown.find("begin").expect("it began");
    for held in HELD {
        assert!(!shown.contains(held), "{held:?} came through");
    }
    let title = shown.rfind("\x1b]0;").expect("a title passes");
    let end = shown[title..].find(['\x07', '\\']).expect("the title is ended");
    assert!(shown.len() < 1 << 20, "{} bytes", shown.len());
    for undone in UNDONE {
        assert!(
            shown[title + end..].contains(undone),
            "{undone:?} is missing in {:?}",
            &shown[title + end..]
        );
    }
    assert!(begin < title);
}

#[test]
fn a_log_or_a_list_on_a_terminal_shows_escapes_and_obeys_none() {
    let world = World::new();
    let evil = EVIL.replace("SIZE", "1000");
    let words =
        ["run", "--no-tty", "--name", "evil", "--", "/usr/bin/python3", "-c", &evil, "\x1b]52;c;aGk=\x07"];
    let written = world.dunlin(&words).expect(0);
    assert!(written.out().contains("]52;"), "a pipe gets what was written");
    for words in [&["logs", "evil"][..], &["ls", "--all"]] {
        let (_, shown) = Terminal::start(&world.client(words), 80, 24).finish();
        assert!(!shown.contains("\x1b]") && !shown.contains("\x1b[?1049h"), "{words:?}: {shown:?}");
        assert!(!shown.contains("\x1b[21t") && !shown.contains("\u{9d}"), "{words:?}: {shown:?}");
    }
}
