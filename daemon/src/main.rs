//! The daemon's binary.

fn main() -> std::process::ExitCode {
    dunlin_daemon::cli::main()
}
