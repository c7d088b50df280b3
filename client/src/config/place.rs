//! Where in config.toml a key stands, for messages about what a value means; the parser tells the place of the rest itself.

use toml::de::{DeTable, DeValue};

/// `line 3, providers.mine.base_url: …`. A key that is not written stands where the innermost table around it does.
pub(super) fn fault(text: &str, path: &[&str], why: &str) -> String {
    let named = path.join(".");
    match line(text, path) {
        Some(line) => format!("line {line}, {named}: {why}"),
        None => format!("{named}: {why}"),
    }
}

/// Counted from 1; `None` where nothing of the path is written.
fn line(text: &str, path: &[&str]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (mut table, mut found) = (document.get_ref(), None);
    for name in path {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        found = Some(key.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found.map(|start| text[..start].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_every_way_to_write_it() {
        let check = |text: &str, expected: Option<usize>| {
            assert_eq!(line(text, &["providers", "x", "base_url"]), expected, "{text}");
        };
        check("# é\n\n[providers.x]\nmodel = 'm'\nbase_url = 'u'\n", Some(5));
        check("[providers]\nx = { model = 'm', base_url = 'u' }", Some(2));
        check("\nproviders.x.base_url = 'u'", Some(2));
        check("a = 1\n[providers.x]\nmodel = 'm'", Some(2));
        check("[providers.y]\nbase_url = 'u'", Some(1));
        check("model = 'm'", None);
    }
}
