//! Commands that only look: `screen`, `commands`, `explain`.

use dunlin_proto::v1::{ExplainRequest, ListCommandsRequest, ScreenRequest};
use serde_json::json;

use super::placement::{self, Surroundings, terminal_size};
use super::{Context, Failure, output};
use crate::cli::{Explain, SessionOnly};
use crate::terminal::table::Table;

pub async fn screen(context: &Context, wanted: SessionOnly) -> Result<u8, Failure> {
    let request = ScreenRequest { session: wanted.session };
    let screen = context.link().await?.sessions().screen(request).await?.into_inner();
    if wanted.json {
        output::answer_json(&json!({
            "rows": screen.rows,
            "cursor_row": screen.cursor_row,
            "cursor_column": screen.cursor_column,
            "offset": screen.offset,
        }))?;
    } else {
        output::answer(screen.rows.iter().map(|row| format!("{row}\n")).collect::<String>())?;
    }
    Ok(0)
}

pub async fn commands(context: &Context, wanted: SessionOnly) -> Result<u8, Failure> {
    let request = ListCommandsRequest { session: wanted.session };
    let commands = context.link().await?.sessions().list_commands(request).await?.into_inner().commands;
    if wanted.json {
        let shown: Vec<_> = commands
            .iter()
            .map(|command| {
                json!({
                    "line": command.line,
                    "exit_code": command.exit_code,
                    "cwd": command.cwd,
                    "output": command.output.map(|output| [output.from, output.to]),
                    "started_unix_ms": command.started_unix_ms,
                })
            })
            .collect();
        output::answer_json(&shown)?;
        return Ok(0);
    }
    let mut table = Table::new(&["EXIT", "CWD", "OUTPUT", "COMMAND"]);
    for command in &commands {
        let exit = command.exit_code.map_or("-".to_string(), |code| code.to_string());
        let range = command.output.map_or(String::new(), |output| format!("{}..{}", output.from, output.to));
        table.row([exit, command.cwd.clone(), range, command.line.clone()]);
    }
    output::answer(table.render(terminal_size().map(|size| size.columns as usize)))?;
    Ok(0)
}

pub async fn explain(context: &Context, wanted: Explain) -> Result<u8, Failure> {
    let placement = Some(placement::placement(&wanted.place, &Surroundings::here()?)?);
    let request = ExplainRequest { command: wanted.command, placement };
    let needs = context.link().await?.profiles().explain(request).await?.into_inner().needs;
    output::answer(needs.iter().map(|need| format!("{need}\n")).collect::<String>())?;
    Ok(0)
}
