//! What whoever starts a session should know beyond what its sandbox was born with: about their PATH, and about the
//! workspace's own profile.

use std::path::PathBuf;

use super::sandbox_record::SandboxRecord;
use crate::sandbox::plain;

/// Notes of one kind on a record, and characters of one: more is read by nobody, and a record has to stay short.
const NOTES_MAX: usize = 16;
const NOTE_CHARS_MAX: usize = 400;

/// Notes as they are taken into a record, each in one line. Whatever files and their names make of them, they stay few and short.
pub fn bounded(notes: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut notes = notes.into_iter();
    let mut taken: Vec<String> = notes.by_ref().take(NOTES_MAX).map(|note| short(&note)).collect();
    let more = notes.count();
    taken.extend((more > 0).then(|| format!("… and {more} more")));
    taken
}

fn short(note: &str) -> String {
    let line = plain::plain(note);
    match line.char_indices().nth(NOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The notes, one sentence each. `unseen` are entries of PATH that are there and that the sandbox does not show; `notice` is about the
/// workspace's own profile, for who would act on it.
pub fn of_session(sandbox: &SandboxRecord, unseen: &[PathBuf], notice: Option<&String>) -> Vec<String> {
    let missing = unseen.iter().map(|entry| {
        format!(
            "PATH entry {} is not in this sandbox, which was made for another PATH; `dunlin sandbox end {}` and the \
             next command gets a new one",
            entry.display(),
            sandbox.id
        )
    });
    bounded(missing.chain(notice.cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_stay_few_short_and_in_one_line_and_say_what_is_left_out() {
        let check = |note: &str, expected: &str| assert_eq!(bounded([note.to_owned()]), [expected]);
        check("one\nnext: two", "one\\nnext: two");
        let long = "\u{e9}".repeat(NOTE_CHARS_MAX + 1);
        check(&long, &format!("{}…", &long[..2 * NOTE_CHARS_MAX]));
        let many = bounded((0..300).map(|number| format!("note {number}")));
        assert_eq!((many.len(), many.last().unwrap().as_str()), (NOTES_MAX + 1, "… and 284 more"));
    }
}
