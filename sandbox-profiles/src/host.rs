//! Owns host names as profiles allow them: exact, or one leading `*.` for everything below a name.
//!
//! Invariant: a pattern is lower case and made of whole DNS labels, so matching compares labels and neither
//! `evilcrates.io` nor `crates.io.evil` can pass for `crates.io`. Never an address: the proxy decides on names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `crates.io`, or `*.crates.io` (everything below it, at any depth, but not the name itself).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    below: bool,
    name: String,
}

impl HostPattern {
    /// Whether a name, as the client of the proxy wrote it, is meant. Case is ignored; a trailing dot,
    /// an address or anything else that is not a plain name is never meant.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if !self.below {
            return host == self.name;
        }
        let sub = host.strip_suffix(&self.name).and_then(|sub| sub.strip_suffix('.'));
        sub.is_some_and(|sub| sub.split('.').all(is_label))
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.to_ascii_lowercase();
        if text.contains("://") || text.contains('/') {
            return Err(format!("{text:?} is an address of a page: write its host name alone"));
        }
        if is_address(&name) {
            return Err(format!("{text:?} is an IP address: hosts are allowed by name"));
        }
        if name.contains(':') {
            return Err(format!("{text:?} has a port: write the host here and the port in net.ports"));
        }
        if name.contains('*') {
            return Err(format!(
                "{text:?}: a wildcard is `*.` at the start, before a name such as `*.example.org`"
            ));
        }
        let labels: Vec<&str> = name.split('.').collect();
        if name.len() > 253 || !labels.iter().all(|label| is_label(label)) {
            return Err(format!(
                "{text:?} is no host name: labels of letters, digits and `-` with dots between, no dot at the end"
            ));
        }
        if below && labels.len() < 2 {
            return Err(format!("{text:?} would allow a whole top-level domain: name one below it"));
        }
        Ok(Self { below, name })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Addresses in every spelling that a resolver would take for one: dotted, v6, and `inet_aton`'s
/// decimal, octal and hexadecimal numbers. No public name ends in a label that is a number.
fn is_address(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
    let decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    name.parse::<IpAddr>().is_ok() || hexadecimal || decimal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, host: &str, expected: bool) {
        let parsed: HostPattern = pattern.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(parsed.matches(host), expected, "{pattern} against {host}");
    }

    #[test]
    fn only_whole_labels_match() {
        check("crates.io", "crates.io", true);
        check("crates.io", "CRATES.io", true);
        check("Crates.IO", "crates.io", true);
        check("crates.io", "static.crates.io", false);
        check("crates.io", "evilcrates.io", false);
        check("crates.io", "crates.io.evil", false);
        check("crates.io", "crates.io.", false);
        check("*.crates.io", "static.crates.io", true);
        check("*.crates.io", "a.b.crates.io", true);
        check("*.crates.io", "crates.io", false);
        check("*.crates.io", ".crates.io", false);
        check("*.crates.io", "evilcrates.io", false);
        check("*.crates.io", "user@x.crates.io", false);
        check("*.crates.io", "a..crates.io", false);
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "no host name"),
            ("https://crates.io", "host name alone"),
            ("crates.io/x", "host name alone"),
            ("crates.io:443", "net.ports"),
            ("127.0.0.1", "IP address"),
            ("2130706433", "IP address"),
            ("0x7f000001", "IP address"),
            ("127.1", "IP address"),
            ("[::1]", "IP address"),
            ("::1", "IP address"),
            ("crates.io.", "no dot at the end"),
            ("-a.io", "no host name"),
            ("a b.io", "no host name"),
            ("crates\0.io", "no host name"),
            ("*", "wildcard"),
            ("a.*.io", "wildcard"),
            ("*.*.io", "wildcard"),
            ("*.io", "whole top-level domain"),
            ("*.", "no host name"),
        ] {
            let message = text.parse::<HostPattern>().expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
