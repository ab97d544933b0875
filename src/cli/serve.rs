//! `staleguard serve`.

use std::process::ExitCode;

use super::flags::SettingFlags;
use super::{FAILURE, USAGE, fail};
use crate::server::{self, ServeError};
use crate::telemetry::{log, targets};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let loaded = match args.settings.load() {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, USAGE),
    };
    if let Err(error) = log::init(&loaded.settings.log) {
        return fail(&error, FAILURE);
    }
    for warning in &loaded.warnings {
        tracing::warn!(target: targets::CONFIG, "{warning}");
    }
    match server::run(loaded.settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ ServeError::Setup(_)) => fail(&error, USAGE),
        Err(error) => fail(&error, FAILURE),
    }
}
