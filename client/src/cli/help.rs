//! Help texts that clap cannot make from the types: groups of commands, exit codes, examples.

/// Help of `dunlin` itself: clap knows no headings for subcommands, so the groups stand here.
pub const TEMPLATE: &str = "\
{about}

Usage: dunlin [OPTIONS] [COMMAND]          (no command: `dunlin agent`)

Models:
  agent        Talk with the model, or give it one task
  demo         Let a recorded model repair a small project, without key or network
  tool         Make one of the model's tool calls
  approvals    List open approvals
  approve      Answer an approval with yes
  deny         Answer an approval with no

Work:
  run          Run a command in a sandbox and end with its status
  patch        Apply a patch, list applied ones, take one back

Sessions:
  ls           List sessions
  attach       Put this terminal on a session
  send         Type into a session
  logs         Print a session's output
  wait         Wait for a session's end, or for text in its output
  signal       Send a signal to a session
  kill         End a session and every process in it
  rm           Forget an ended session and its log
  rename       Give a session another name
  resize       Set the size of a session's terminal

Sandboxes and profiles:
  sandbox      List, show and end sandboxes
  profiles     List, show and check profiles
  doctor       Try the whole sandbox on this machine and say what is enforced

This machine:
  daemon       Start, stop and inspect the daemon
  config       Check or show the configuration
  completions  Print completions for a shell
  man          Print a manual page

Options:
{options}
{after-help}";

/// Exit codes, and where to begin.
pub const EXIT_CODES: &str = "\
SESSION is an id, a unique prefix of one, or a name.

Exit codes:
  0  ok             3  daemon unreachable     6    ended for want of an approval
  1  failed         4  authentication         130  interrupted
  2  usage          5  a limit
`run` and `wait` end with the command's own status (128+n for signal n), or with 124 when told to stop \
waiting, 125 when dunlin failed, 126 when the command cannot be executed, 127 when it is not found.

Examples:
  dunlin run -- cargo test                  the command's terminal, output and status
  dunlin run --name web --detach -- npm start
  dunlin logs web --follow
  dunlin agent \"fix the failing test\"";

pub const RUN: &str = "\
With a terminal on both sides the command gets one too; otherwise pipes: standard input is forwarded with its \
end, and standard output and standard error stay apart, byte for byte. INT, TERM and HUP are forwarded. Only \
detaching (--detach, --wait, the detach key) leaves the command running.

Examples:
  dunlin run -- bash                        a shell in the sandbox
  dunlin run -- git diff > file             pipes: no colours, no carriage returns
  dunlin run --detach --name web -- npm start
  dunlin run --add-dir ../shared:ro --env CI=1 -- cargo build

Exit codes: the command's own, 128+n when signal n ended it; 124 detached; 125 dunlin failed; \
126 cannot execute; 127 not found.";

pub const SEND: &str = "\
The text is typed as it is; add --enter to submit it. Text comes first, then the keys, then Enter.

Keys:
  C-a … C-z, C-[ C-\\ C-] C-_, M-x (with Escape), F1 … F12,
  Enter Tab Escape Space Backspace Delete Insert,
  Up Down Left Right Home End PageUp PageDown

Examples:
  dunlin send web --key C-c
  dunlin send shell 'make test' --enter
  dunlin send shell --secret                asks for one line without showing it";

pub const LOGS: &str = "\
Into a pipe or a file go the bytes as they came; on a terminal escapes are shown, not obeyed.

--since takes how long ago (90s, 5m, 2h, 1d) or a Unix time (@1790000000).

Examples:
  dunlin logs web --follow
  dunlin logs build --from 4096 --to 8192 > part
  dunlin logs build --strip | grep error";

pub const WAIT: &str = "\
Without --for: waits for the end and ends with the command's status.
With --for:    0 when the text appeared, 1 when the session ended without it.
--timeout ends the waiting, never the session: exit code 124.

Example:
  dunlin wait web --for 'listening on' --from 0 --timeout 30s";

pub const TOOL: &str = "\
JSON is the argument object exactly as a model would send it; - reads it from standard input. The result is \
one JSON object on standard output. A refused call is a result too: {\"error\": …}, exit code 1.

Examples:
  dunlin tool unified_exec '{\"input\": [\"git\", \"status\"]}'
  dunlin tool apply_patch - < call.json";

pub const PATCH: &str = "\
Takes the Codex patch grammar and unified diffs. All of the patch is applied, or nothing. Without FILE, or \
with -, the patch is read from standard input.

Examples:
  git diff main | dunlin patch --dry-run
  dunlin patch --revert";

pub const MAN: &str = "\
Examples:
  dunlin man | man -l -
  dunlin man agent | man -l -
  dunlin man --dir ~/.local/share/man/man1  every page, where man(1) finds it";

pub const ATTACH: &str = "\
Keys go to the session, until the detach key (C-\\ unless --detach-key says otherwise). The session goes on.";

pub const AGENT: &str = "\
Without PROMPT: a conversation. With PROMPT, or - for standard input: one task, then the end.

Examples:
  dunlin agent \"fix the failing test\"
  OPENAI_BASE_URL=http://localhost:8080/v1 dunlin agent --model local
  dunlin agent --json - < task.md
  dunlin agent --worktree fix-login \"fix the login\"    beside others, in REPOSITORY.worktrees/fix-login";
