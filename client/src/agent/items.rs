//! The items of a conversation that this program writes itself, and what it reads of the others. Pure.

use serde_json::{Value, json};

/// A message of the person, or in their place; one text part each.
pub fn user_message(texts: &[&str]) -> Value {
    let content: Vec<Value> = texts.iter().map(|text| json!({"type": "input_text", "text": text})).collect();
    json!({"type": "message", "role": "user", "content": content})
}

/// A message that the program says in the person's place: what the model must know and no person typed.
pub fn note(text: &str) -> Value {
    user_message(&[&format!("<note>{text}</note>")])
}

/// What a person typed in an item; nothing for what the program wrote in their place.
pub fn typed(item: &Value) -> Option<&str> {
    let text = (item["role"] == "user").then(|| item["content"].as_array()?.last()?["text"].as_str())??;
    let programs = ["<note>", "<sessions ", "<summary "].iter().any(|mark| text.starts_with(mark));
    (!programs).then_some(text)
}

/// What a server said outside of its items.
pub fn assistant_message(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

/// Drops the second and later items that make the same call: one call, one output.
pub fn each_call_once(items: Vec<Value>) -> Vec<Value> {
    let mut seen: Vec<String> = Vec::new();
    let mut kept = Vec::new();
    for item in items {
        if let Some(call_id) = call_id(&item) {
            if seen.iter().any(|known| known == call_id) {
                continue;
            }
            seen.push(call_id.to_owned());
        }
        kept.push(item);
    }
    kept
}

/// The id that an output must repeat, when `item` is a call.
pub fn call_id(item: &Value) -> Option<&str> {
    const CALLS: [&str; 4] = ["function_call", "custom_tool_call", "apply_patch_call", "shell_call"];
    let is_call = item["type"].as_str().is_some_and(|kind| CALLS.contains(&kind));
    let id = |key: &str| item[key].as_str().filter(|id| !id.is_empty());
    if is_call { id("call_id").or(id("id")) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_says_in_the_persons_place_is_not_typed() {
        let check = |item: Value, expected: Option<&str>| assert_eq!(typed(&item), expected, "{item}");
        check(user_message(&["mend it"]), Some("mend it"));
        check(user_message(&["<sessions note=\"x\">\n</sessions>", "mend it"]), Some("mend it"));
        check(user_message(&["<sessions note=\"x\">\n</sessions>"]), None);
        check(note("the profile changed"), None);
        check(assistant_message("mend it"), None);
        check(json!({"type": "reasoning"}), None);
    }
}
