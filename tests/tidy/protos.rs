//! Owns the rule that a contract explains itself: a comment at each service, call, message, field and value.

use regex::Regex;

use crate::finding::Finding;
use crate::tree::File;

pub fn uncommented(file: &File) -> Vec<Finding> {
    let declaration = Regex::new(
        r"^\s*(?:(?:service|rpc|message|enum|oneof) +(\w+)|(?:optional +|repeated +)?[\w.<>, ]+ +(\w+) *= *\d+|([A-Z][A-Z0-9_]*) *= *\d+)",
    )
    .expect("the pattern is right");
    let mut findings = Vec::new();
    let mut commented = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("//") {
            commented = true;
            continue;
        }
        if let Some(captures) = declaration.captures(line) {
            let name = captures.iter().skip(1).flatten().next().map_or("", |name| name.as_str());
            if !commented && !line.contains("//") {
                let message =
                    format!("`{name}` has no comment: say what it means, its unit, and what absent means");
                findings.push(Finding::new(&file.path, number, message));
            }
        }
        commented = false;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_needs_a_comment_above_or_beside_it() {
        let text = "syntax = \"proto3\";\n// S.\nservice S {\n  // Calls.\n  rpc A(B) returns (C);\n  rpc D(E) returns (F);\n}\n\
            message M {\n  string a = 1; // the a\n  optional uint64 b = 2;\n  // both\n  map<string, int32> c = 3;\n  repeated a.b.C d = 4;\n\
            oneof kind {\n    X x = 5;\n  }\n  reserved 6;\n}\nenum E {\n  E_ZERO = 0;\n}\n";
        let file = File::new("a.proto", text);
        let lines: Vec<usize> = uncommented(&file).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [6, 8, 10, 13, 14, 15, 19, 20]);
    }
}
