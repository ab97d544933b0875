//! The command line: one file per command.

use std::process::ExitCode;

/// Parses the process's arguments and runs the command they name.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
