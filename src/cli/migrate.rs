//! `staleguard migrate up|down|status`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{FAILURE, USAGE, fail};
use crate::catalog::TableSettings;
use crate::config::load::{CONFIG_VARIABLE, Given};
use crate::config::value::{self, Raw};
use crate::config::{Settings, load};
use crate::migrate::{self, Connection, Options};

/// The longest duration that a flag takes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Adds the version column to each configured table that has none
    Up {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        locks: Locks,
        /// Also put a trigger on each table that bumps the version where a statement did not
        #[arg(long)]
        with_trigger: bool,
    },
    /// Retires the version columns, waits until no proxy uses them any more, and drops them
    Down {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        locks: Locks,
        /// Drop at once: for where no proxy is running
        #[arg(long)]
        no_wait: bool,
        /// How long to wait for the transactions that were open when the columns were retired
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
        wait_limit: Duration,
    },
    /// Shows the version column of each configured table, its rows, lowest and highest version
    Status {
        #[command(flatten)]
        common: Common,
        /// The planner's guess for the number of rows, and no look at the versions
        #[arg(long)]
        fast: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The database: postgres://user:password@host:5432/database. A password may come from PGPASSWORD instead
    #[arg(long, value_name = "DSN")]
    dsn: String,
    /// The configuration file (TOML), for its tables, catalog.max_age and TLS with the server
    #[arg(long, value_name = "FILE", help = format!("The configuration file (TOML), for its tables, catalog.max_age and TLS with the server [variable: {CONFIG_VARIABLE}]"))]
    config: Option<PathBuf>,
    /// Only this configured table (schema.table; a bare name means schema public). May be given again
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct Locks {
    /// How long one try waits for a table's lock; other sessions queue behind it for as long
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    lock_timeout: Duration,
    /// How often a table's lock is tried
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line a table
    Text,
    /// One JSON object
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    value::duration(&Raw::Text(text.to_owned()), Duration::from_millis(1), LONGEST)
        .ok_or_else(|| "expected a duration with its unit, from 1ms to 24h, such as 500ms or 2s".to_owned())
}

impl Action {
    fn common(&self) -> &Common {
        match self {
            Self::Up { common, .. } | Self::Down { common, .. } | Self::Status { common, .. } => common,
        }
    }

    fn options(&self, settings: &Settings) -> Options {
        let catalog_age = settings.catalog.max_age;
        let with = |locks: &Locks| Options {
            lock_timeout: locks.lock_timeout,
            tries: locks.tries,
            catalog_age,
            ..Options::default()
        };
        match self {
            Self::Up { locks, with_trigger, .. } => Options { with_trigger: *with_trigger, ..with(locks) },
            Self::Down { locks, no_wait, wait_limit, .. } => {
                Options { no_wait: *no_wait, wait_limit: *wait_limit, ..with(locks) }
            }
            Self::Status { .. } => Options::default(),
        }
    }
}

/// What is printed, and whether all is well.
type Answer = (String, bool);

pub(super) fn run(args: &Args) -> ExitCode {
    let common = args.action.common();
    let flags = Given { config: common.config.clone(), values: Vec::new() };
    // A variable whose name or value is not Unicode cannot be one of ours.
    let variables =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let loaded = match load(&flags, variables) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, USAGE),
    };
    for warning in &loaded.warnings {
        eprintln!("staleguard: {warning}");
    }
    let tables = match choose(&loaded.settings, &common.tables) {
        Ok(tables) => tables,
        Err(error) => return fail(&error, USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}"), FAILURE),
    };
    let options = args.action.options(&loaded.settings);
    let answer = runtime.block_on(async {
        let password = std::env::var("PGPASSWORD").ok();
        let mut connection = migrate::connect(&common.dsn, password.as_deref(), &loaded.settings.tls).await?;
        let answer = act(&args.action, &mut connection, &tables, &options).await;
        connection.close().await;
        Ok::<Answer, migrate::ConnectError>(answer)
    });
    match answer {
        Err(error) => fail(&error, USAGE),
        Ok((text, ok)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) if ok => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(FAILURE),
            Err(error) => fail(&error, FAILURE),
        },
    }
}

async fn act(
    action: &Action,
    connection: &mut Connection,
    tables: &[TableSettings],
    options: &Options,
) -> Answer {
    let client = &mut connection.client;
    let progress = |line: &str| eprintln!("staleguard: {line}");
    let json = action.common().format == Format::Json;
    let report = match action {
        Action::Up { .. } => migrate::up(client, tables, options, &progress).await,
        Action::Down { .. } => migrate::down(client, tables, options, &progress).await,
        Action::Status { fast, .. } => {
            let status = migrate::status(client, tables, *fast).await;
            return (if json { status.json() } else { status.text() }, status.ok());
        }
    };
    (if json { report.json() } else { report.text() }, report.ok())
}

/// The configured tables, or those of them that were asked for.
fn choose(settings: &Settings, asked: &[String]) -> Result<Vec<TableSettings>, String> {
    let all = settings.tables.iter().map(|t| TableSettings::clone(t));
    if asked.is_empty() {
        return Ok(all.collect());
    }
    let full = |t: &TableSettings| format!("{}.{}", t.schema, t.name);
    let wanted: Vec<String> =
        asked.iter().map(|a| if a.contains('.') { a.clone() } else { format!("public.{a}") }).collect();
    for name in &wanted {
        if !settings.tables.iter().any(|t| full(t) == *name) {
            let known: Vec<String> = settings.tables.iter().map(|t| full(t)).collect();
            return Err(format!("{name} is no configured table; configured are {}", known.join(", ")));
        }
    }
    Ok(all.filter(|t| wanted.contains(&full(t))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_table_that_is_not_configured_is_refused_with_those_that_are() {
        let settings = Settings::default();
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|a| (*a).to_owned()).collect();
            choose(&settings, &asked).map(|t| t.into_iter().map(|t| t.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), 13);
        assert_eq!(names(&["users", "public.projects"]).unwrap(), ["projects", "users"]);
        let error = names(&["orders"]).unwrap_err();
        assert!(error.starts_with("public.orders is no configured table; configured are public.portfolios,"));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1_500));
        assert!(duration("2").is_err() && duration("0s").is_err());
    }
}
