//! `tool`: one tool call, as a model makes it. Standard output is exactly the result that a model would read.

use std::io::Read;

use serde::Serialize;
use serde_json::json;

use super::failure::{FAILED, UNREACHABLE};
use super::placement::{self, Surroundings, actor};
use super::{Context, Failure, output};
use crate::cli;
use crate::tools::arguments::{self, Arguments};
use crate::tools::host::{DaemonHost, ToolError, ToolHost};

pub async fn tool(context: &Context, wanted: cli::Tool) -> Result<u8, Failure> {
    let json = if wanted.json == "-" { read_stdin()? } else { wanted.json };
    let arguments = match arguments::parse(wanted.tool.as_str(), &json) {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error, FAILED),
    };
    if let Arguments::Plan(plan) = arguments {
        return answered(&plan);
    }
    let around = Surroundings::here()?;
    let placement = placement::placement(&wanted.place, &around)?;
    placement::absent(&wanted.place.exceptions, &around).iter().for_each(output::note);
    let link = context.link().await?;
    // The shell is the conversation: what its last call saw is where the next one's output begins.
    let host = DaemonHost::new(link.channel(), placement, actor());
    let called = match arguments {
        Arguments::Exec(exec) => host.unified_exec(exec).await.map(|result| answered(&result)),
        Arguments::Sessions(sessions) => host.sessions(sessions).await.map(|result| answered(&result)),
        Arguments::Patch(patch) => host.apply_patch(patch).await.map(|result| answered(&result)),
        Arguments::Plan(plan) => Ok(answered(&plan)),
    };
    called.unwrap_or_else(|error| {
        let unreachable = matches!(error, ToolError::Unreachable(_));
        refused(&error, if unreachable { UNREACHABLE } else { FAILED })
    })
}

fn answered(result: &impl Serialize) -> Result<u8, Failure> {
    output::answer(serde_json::to_string(result)? + "\n")?;
    Ok(0)
}

fn refused(error: &impl std::fmt::Display, code: u8) -> Result<u8, Failure> {
    output::answer(json!({ "error": error.to_string() }).to_string() + "\n")?;
    Ok(code)
}

/// Lossy, as a model's text is text: what is no UTF-8 cannot be in JSON anyway.
fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Held together with the names that the parser knows.
#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::cli::ToolName;

    #[test]
    fn every_tool_of_the_command_line_is_a_tool() {
        for tool in ToolName::value_variants() {
            let parsed = arguments::parse(tool.as_str(), "{}");
            assert!(!matches!(parsed, Err(arguments::ArgumentError::UnknownTool(_))), "{tool:?}");
        }
    }
}
