//! `dunlin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dunlin_client::main()
}
