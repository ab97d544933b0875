//! `staleguard check-config`: is the configuration right, and where does each setting come from?

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use super::flags::SettingFlags;
use super::{FAILURE, USAGE, fail};
use crate::config::keys::keys;
use crate::config::{ConfigError, Loaded};
use crate::server::Shared;

/// Arguments of `check-config`.
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
    // Certificates and keys are part of what can be wrong.
    if let Err(error) = Shared::new(Arc::new(loaded.settings.clone())) {
        return fail(&error, USAGE);
    }
    match report(&loaded) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, FAILURE),
        },
        Err(error) => fail(&error, USAGE),
    }
}

fn report(loaded: &Loaded) -> Result<String, ConfigError> {
    loaded.settings.upstream()?;
    let mut lines: Vec<String> =
        loaded.warnings.iter().map(|warning| format!("# warning: {warning}")).collect();
    for key in keys() {
        lines.push(match loaded.given.get(key.name) {
            Some((value, origin)) => format!("{} = {value}    # {origin}", key.name),
            None => format!("{} = {}    # default", key.name, key.default),
        });
    }
    for table in &loaded.settings.tables {
        lines.push(format!(
            "table {}.{}: mode {}, entity {}, version column {} {}",
            table.schema,
            table.name,
            table.mode.name(),
            table.entity,
            table.version_column,
            table.version_type.sql_name()
        ));
    }
    lines.push("the configuration is right\n".to_owned());
    Ok(lines.join("\n"))
}
