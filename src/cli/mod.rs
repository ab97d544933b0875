//! The command line: one file per command.

mod check_config;
mod demo;
mod explain;
pub mod flags;
mod migrate;
mod serve;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code where the command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// Exit code of everything else that goes wrong.
pub const FAILURE: u8 = 1;

/// A PostgreSQL proxy that adds optimistic locking to applications that never asked for it.
#[derive(Debug, Parser)]
#[command(name = "staleguard", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy until SIGINT or SIGTERM
    Serve(serve::Args),
    /// Reads the configuration, says what is wrong with it, or prints it
    CheckConfig(check_config::Args),
    /// Adds, drops or shows the version columns of the configured tables
    Migrate(migrate::Args),
    /// Shows a statement as it would be sent, and says why
    Explain(explain::Args),
    /// Shows on a throwaway PostgreSQL what the proxy does, then stays up to be tried
    Demo(demo::Args),
}

/// Parses the process's arguments and runs the command they name.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// Prints one sentence on the standard error stream and gives the exit code.
pub(crate) fn fail(error: &dyn Display, code: u8) -> ExitCode {
    eprintln!("staleguard: {error}");
    ExitCode::from(code)
}
