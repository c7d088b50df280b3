//! The tool definitions that a model is given. Their words decide how well it works: each says when to use the tool,
//! what comes back, and the mistake that is easy to make.
//!
//! The definitions are constant for a conversation (the server's prompt cache depends on it) and say nothing of the
//! machine or the sandbox: that is the system prompt's part.

use serde_json::{Value, json};

/// The grammar of a patch, for servers that hold a model to one.
const PATCH_GRAMMAR: &str = include_str!("apply_patch.lark");

const UNIFIED_EXEC: &str = "\
Runs a command in a terminal session inside the sandbox; types into a session that is still running; or looks at one.

To START a command leave `session_id` out. Two or more strings in `input` are argv and need no quoting: \
[\"grep\", \"-rn\", \"it's\", \"src\"]. A single string is a command line for bash: [\"make 2>&1 | tail -30\"]. \
To CONTINUE give `session_id` (the id of an earlier result, a unique prefix of it, or the session's name): the strings of \
`input` are typed exactly as given, nothing added. End a line with \\n yourself. \\u0003 is Ctrl-C, \\u0004 Ctrl-D. \
With `input` [] nothing is typed: the call waits, or reads more output.

The call returns as soon as the command exits, waits at the terminal for input, prints what `wait_for` matches, or falls quiet \
after your input; else after `timeout_ms`. `reason` says which. Time running out never stops a command: with \
`running` true it goes on, and its session_id continues it. So a server or watcher needs no `&` or nohup: start it with a `name` and \
a `wait_for` that matches its ready line, then use it from other calls. Never sleep or poll in a loop: wait with `wait_for`, or with \
`input` [] and a long `timeout_ms`.

All sessions share one sandbox: the same files, /tmp, processes and loopback ports. Each new command starts in `cwd`; `cd` and \
variables last only inside a session that runs a shell.

The result has stdout, stderr (separate only with `tty` false), exit_code (null while it runs), session_id, running, reason, and \
output_range [from, to], in bytes since the session began. Long output keeps its head and tail; `omitted` lists the ranges left out: \
read them with `output_from` and `output_to`. A `sandbox` entry names what was denied and what to do about it.";

const SESSIONS: &str = "\
Lists and controls the sessions that unified_exec started. Operations: `list` (all that live and the newest 20 that ended, with \
state, command, exit code and output size; `more_ended` counts the rest), `read` (output from byte `output_from` to `output_to`; reading takes nothing away, ended sessions included), \
`screen` (what a full-screen program shows now), `signal` (send `signal`, e.g. INT, TERM, HUP, to the command), \
`kill` (end the session and every process in it), `wait` (until it exits, at most `timeout_ms`). \
Use it to find a session again, to read output you skipped, and to stop what you started when it is no longer needed.";

const APPLY_PATCH: &str = "\
Edits files: creates, changes, moves and deletes them, all or nothing. When any part does not fit, no file is touched and \
the error shows the nearest match. Use it for every edit instead of sed, echo or heredocs.

The patch has this form:

*** Begin Patch
*** Update File: src/app.py
@@ def greet(name):
     if not name:
-        name = \"you\"
+        name = \"world\"
     return \"hello \" + name
*** Add File: docs/greeting.md
+# Greeting
+One line for each line of the new file.
*** Update File: src/old.py
*** Move to: src/new.py
*** Delete File: src/unused.py
*** End Patch

Inside an update each line starts with a blank (kept), - (removed) or + (added). Copy kept and removed lines exactly from the file, \
with about three kept lines around each change. Where these lines occur more than once, put `@@ ` and a line that stands above them \
(a function or class header) before them. Parts of one file go in the file's order. `*** End of File` after a part ties it to the \
file's end. Paths are relative to the working directory.";

const UPDATE_PLAN: &str = "\
Records your plan for the person who watches. Use it for work of several steps: state the steps before the first \
change, keep exactly one `in_progress`, and update the plan when a step is completed or the plan changes. Skip it for a question or \
a single small change. Send all steps each time.";

/// The tools, in the order that never changes. `custom_tools`: the server takes `custom` tools, so a patch needs no
/// JSON around it.
pub fn definitions(custom_tools: bool) -> Vec<Value> {
    let patch = if custom_tools { apply_patch_as_text() } else { apply_patch_as_function() };
    vec![unified_exec(), sessions(), patch, update_plan()]
}

fn unified_exec() -> Value {
    let profile = "Another sandbox profile for this command, e.g. workspace-net for a download. A person must \
                   approve it: give a justification.";
    let properties = json!({
        "input": list("To start: argv, or one command line. With session_id: the text to type; [] only waits or looks."),
        "session_id": string("The session to continue: id, unique prefix or name. Leave out to start a command."),
        "timeout_ms": integer("How long to wait for the call's end, in ms. Default 120000 to start, 10000 after input; \
                               at most 3600000; 0 returns at once. The command itself has no time limit."),
        "cwd": string("Where the command starts; default: the working directory of the conversation. Only to start."),
        "tty": {"type": "boolean", "description": "Default true: a terminal of 200x50. False: no terminal and no \
                stdin, stdout and stderr apart, bytes as they are. Only to start."},
        "name": string("A name for the session, to use as its session_id. Only to start."),
        "wait_for": string("Return once new output matches this regular expression (no look-around, no escapes in \
                            the text it sees)."),
        "output_from": integer("Show output from this byte offset; default: what you have not seen yet."),
        "output_to": integer("Show output up to this byte offset."),
        "max_output_tokens": integer("Show at most about this many tokens of output: its head and tail."),
        "profile": string(profile),
        "justification": string("One sentence for the person: why the command needs that profile."),
    });
    function("unified_exec", UNIFIED_EXEC, properties, &["input"])
}

fn sessions() -> Value {
    let properties = json!({
        "op": {"type": "string", "enum": ["list", "read", "screen", "signal", "kill", "wait"]},
        "session_id": string("The session: id, unique prefix or name. For every operation but list."),
        "output_from": integer("read: from this byte offset."),
        "output_to": integer("read: up to this byte offset."),
        "signal": string("signal: its name, e.g. INT."),
        "timeout_ms": integer("wait: at most this long, in ms."),
    });
    function("sessions", SESSIONS, properties, &["op"])
}

fn apply_patch_as_text() -> Value {
    json!({
        "type": "custom",
        "name": "apply_patch",
        "description": format!("{APPLY_PATCH}\n\nThe input is the patch alone: no JSON around it."),
        "format": {"type": "grammar", "syntax": "lark", "definition": PATCH_GRAMMAR},
    })
}

fn apply_patch_as_function() -> Value {
    let flag = |description: &str| json!({"type": "boolean", "description": description});
    let properties = json!({
        "input": string("The patch, from *** Begin Patch to *** End Patch; a unified diff is taken too."),
        "cwd": string("What the patch's paths are relative to; default: the working directory of the conversation."),
        "create_missing_dirs": flag("Default true: make the directories of new files."),
        "dry_run": flag("Only say what would change."),
        "session_id": string("Patch in the sandbox of this session."),
        "profile": string("Another sandbox profile; a person must approve it: give a justification."),
        "justification": string("One sentence for the person: why the patch needs that profile."),
    });
    function("apply_patch", APPLY_PATCH, properties, &["input"])
}

fn update_plan() -> Value {
    let step = json!({
        "type": "object",
        "properties": {
            "step": string("What is done in it: a short phrase."),
            "status": string("pending, in_progress or completed; or your own words."),
        },
        "required": ["step", "status"],
        "additionalProperties": false,
    });
    let properties = json!({
        "plan": {"type": "array", "items": step, "description": "All steps, in order."},
        "explanation": string("Why the plan changed."),
    });
    function("update_plan", UPDATE_PLAN, properties, &["plan"])
}

fn function(name: &str, description: &str, properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "function",
        "name": name,
        "description": description,
        "strict": false,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
    })
}

fn string(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn integer(description: &str) -> Value {
    json!({"type": "integer", "description": description})
}

fn list(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_what_was_reviewed() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&definitions(false)).unwrap());
    }

    #[test]
    fn every_argument_that_is_described_is_one_that_is_read() {
        for tool in definitions(false) {
            let name = tool["name"].as_str().unwrap();
            for property in tool["parameters"]["properties"].as_object().unwrap().keys() {
                assert!(super::super::arguments::is_known(property), "{name}: {property}");
            }
        }
    }

    #[test]
    fn only_apply_patch_changes_with_the_kind_of_server() {
        let (functions, custom) = (definitions(false), definitions(true));
        for (function, custom) in functions.iter().zip(&custom) {
            assert_eq!(function["name"], custom["name"]);
            assert_eq!(function["name"] == "apply_patch", function != custom);
        }
        assert_eq!(custom[2]["type"], "custom");
    }
}
