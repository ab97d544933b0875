//! The settings as command line flags, made from [`crate::config::keys`].

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::keys::{TABLES, keys};
use crate::config::load::{CONFIG_VARIABLE, Given, TABLES_VARIABLE};
use crate::config::{ConfigError, Loaded, load};

/// `--config` and a flag for each setting. Use with `#[command(flatten)]`.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags(Given);

impl SettingFlags {
    /// The settings: these flags over the process's environment over the file over the defaults.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        // A variable whose name or value is not Unicode cannot be one of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        load(&self.0, variables)
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let setting = |name: &'static str, flag: String, help: String| {
            Arg::new(name).long(flag).value_name("VALUE").help(help).help_heading("Settings")
        };
        let config = setting(
            "config",
            "config".to_owned(),
            format!("The configuration file (TOML) [variable: {CONFIG_VARIABLE}]"),
        )
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf));
        let keys = keys().map(|key| {
            let help = format!("{} [default: {}] [variable: {}]", key.meaning, key.default, key.variable());
            setting(key.name, key.flag(), help)
        });
        let tables = setting(
            TABLES,
            TABLES.to_owned(),
            format!(
                "Tables to protect, with commas between [default: the built-in 13] [variable: {TABLES_VARIABLE}]"
            ),
        );
        command.arg(config).args(keys).arg(tables)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            self.0.config = Some(path.clone());
        }
        let names = keys().map(|key| key.name).chain([TABLES]);
        let given = names.filter_map(|name| Some((name, matches.get_one::<String>(name)?.clone())));
        self.0.values.extend(given);
        Ok(())
    }
}
