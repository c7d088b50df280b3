//! Makes a conversation shorter when it nears the model's limit: a summary that the model writes itself, and the last
//! exchanges as they were.
//!
//! Pure. A call and its output are never torn apart, nor is reasoning from the item that it led to.

use serde_json::Value;

use super::items::{call_id, user_message};
use crate::model::Item;
use crate::tools::plan::Plan;

/// At most so many bytes of the last items stay as they are.
const KEPT_BYTES: usize = 24 * 1024;

const REQUEST: &str = "\
This conversation is about to be replaced by your summary of it. Write that summary now, for yourself: what the person \
asked for, in their words where it matters; what you found out (paths, names, causes, commands that work); what you \
changed and how it was checked; decisions and why; what is left to do, and the very next step. Be exact and complete, \
leave out what no longer matters, and call no tool.";

/// What is sent to have the newest `1/share` of `items` summarised.
pub fn request(items: &[Item], share: usize) -> Vec<Item> {
    let bytes = items.iter().map(|item| item.json().len()).sum::<usize>() / share;
    let mut input = items[tail_start(items, bytes)..].to_vec();
    input.push(user_message(&[REQUEST]).into());
    input
}

/// The conversation that replaces `items`. Of what the model reads at most (`limit_tokens`), a quarter stays as it was: a
/// token is some four bytes.
pub fn compacted(items: &[Item], summary: &str, plan: &Plan, limit_tokens: Option<u64>) -> Vec<Item> {
    let kept_bytes = limit_tokens.map_or(KEPT_BYTES, |tokens| KEPT_BYTES.min(tokens as usize));
    let mut text =
        format!("<summary note=\"of the conversation before this point\">\n{}\n</summary>", summary.trim());
    if !plan.plan.is_empty() {
        text.push_str("\n<plan>\n");
        for step in &plan.plan {
            text.push_str(&format!("- [{}] {}\n", step.status, step.step));
        }
        text.push_str("</plan>");
    }
    let mut shorter = vec![Item::from(user_message(&[&text]))];
    shorter.extend_from_slice(&items[tail_start(items, kept_bytes)..]);
    shorter
}

/// Where the longest tail begins that fits and can stand alone.
fn tail_start(items: &[Item], limit_bytes: usize) -> usize {
    let (mut start, mut bytes) = (items.len(), 0);
    for index in (0..items.len()).rev() {
        bytes += items[index].json().len();
        if bytes > limit_bytes {
            break;
        }
        if stands_alone(&items[index..]) && !follows_reasoning(items, index) {
            start = index;
        }
    }
    start
}

/// Every output in `items` answers a call in `items`.
fn stands_alone(items: &[Item]) -> bool {
    let calls: Vec<&str> = items.iter().filter_map(|item| call_id(item)).collect();
    items
        .iter()
        .filter(|item| is_output(item))
        .all(|output| output["call_id"].as_str().is_some_and(|id| calls.contains(&id)))
}

fn is_output(item: &Value) -> bool {
    item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"))
}

/// The item before `index` is reasoning, whose result must not stand without it.
fn follows_reasoning(items: &[Item], index: usize) -> bool {
    index.checked_sub(1).is_some_and(|before| items[before]["type"] == "reasoning")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tools::plan::Step;

    fn call(id: &str) -> Value {
        json!({"type": "function_call", "call_id": id})
    }

    fn output(id: &str, bytes: usize) -> Value {
        json!({"type": "function_call_output", "call_id": id, "output": "x".repeat(bytes)})
    }

    #[test]
    fn the_tail_never_tears_a_call_from_its_output_nor_reasoning_from_what_it_led_to() {
        let reasoning = json!({"type": "reasoning"});
        let big = KEPT_BYTES;
        let check = |items: &[Value], expected: usize| {
            let items: Vec<Item> = items.iter().cloned().map(Item::from).collect();
            assert_eq!(tail_start(&items, KEPT_BYTES), expected, "{}", items.len())
        };
        check(&[], 0);
        check(&[user_message(&["hi"]), call("a"), output("a", 10)], 0);
        check(&[user_message(&["hi"]), call("a"), output("a", big), user_message(&["more"])], 3);
        check(&[call("a"), output("a", big)], 2);
        check(&[call("b"), call("a"), output("b", big - 500), output("a", 600)], 4);
        check(&[output("a", big), reasoning.clone(), call("b"), output("b", 1)], 1);
        check(&[output("a", big - 150), reasoning, call("b"), output("b", 1)], 1);
    }

    #[test]
    fn summary_and_plan_stand_before_the_tail() {
        let step = Step { step: "mend it".into(), status: "in_progress".into() };
        let plan = Plan { plan: vec![step], explanation: None };
        let items = compacted(&[user_message(&["last"]).into()], " what was \n", &plan, None);
        let text = items[0]["content"][0]["text"].as_str().unwrap();
        assert!(
            text.contains(">\nwhat was\n</summary>") && text.contains("- [in_progress] mend it\n"),
            "{text}"
        );
        assert_eq!(items[1..], [user_message(&["last"])]);
        let long = Item::from(user_message(&["x".repeat(9_000).as_str()]));
        let kept = |limit| compacted(std::slice::from_ref(&long), "s", &Plan::default(), limit).len() - 1;
        assert_eq!(
            (kept(None), kept(Some(160_000)), kept(Some(8_000))),
            (1, 1, 0),
            "a small context keeps less"
        );
    }
}
