//! Names and texts of others as people may read them: whoever made a name may have wanted more than a name.
//!
//! Pure. Changes nothing that a terminal would show as it is.

use std::path::Path;

/// A text in one line: what steers a terminal, begins a line or turns the direction of writing is escaped.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    text.chars().flat_map(|c| if steers(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The same of a path.
pub fn path(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

/// Whether a path means itself to every shell, so that a command can be made with it.
pub fn is_a_word(path: &Path) -> bool {
    let means_itself = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@,:%".contains(byte);
    path.is_absolute() && path.as_os_str().as_encoded_bytes().iter().all(means_itself)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names_in_one_line() {
        let check = |name: &str, shown: &str| assert_eq!(plain(name), shown);
        check("caf\u{e9} au lait", "caf\u{e9} au lait");
        check("a\n  next: run x", "a\\n  next: run x");
        check("\u{1b}[2J\u{202e}", "\\u{1b}[2J\\u{202e}");
    }

    #[test]
    fn only_names_that_mean_themselves_are_put_into_a_command() {
        let check = |path: &str, expected| assert_eq!(is_a_word(Path::new(path)), expected, "{path}");
        check("/srv/app/.git/hooks/pre-commit", true);
        for name in ["pre'; touch X; '", "a b", "$(x)", "a\nb", "caf\u{e9}", "~", "*"] {
            check(&format!("/srv/app/.git/hooks/{name}"), false);
        }
        check("-rf", false);
    }
}
