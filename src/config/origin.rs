//! Where a setting came from, and what can be wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag, `--listen`.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file, counted from one.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "from the flag {flag}"),
            Self::Variable(name) => write!(f, "from the environment variable {name}"),
            Self::File { path, line } => write!(f, "from {} line {line}", path.display()),
            Self::Default => f.write_str("built in"),
        }
    }
}

/// Two settings that do not go together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{key} = {value} ({origin}) does not go with {other} = {other_value} ({other_origin}): {rule}")]
pub struct SettingClash {
    /// The setting to change.
    pub key: &'static str,
    /// Its value as given.
    pub value: String,
    /// Where it was given.
    pub origin: Origin,
    /// The other setting.
    pub other: &'static str,
    /// Its value as given.
    pub other_value: String,
    /// Where that was given.
    pub other_origin: Origin,
    /// What must hold: a sentence.
    pub rule: &'static str,
}

/// What is wrong with the configuration. The person who wrote it is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A value that the key does not allow.
    #[error("{key} = {value} ({origin}) is not allowed: expected {allowed}")]
    Invalid {
        /// The setting.
        key: String,
        /// The value as given.
        value: String,
        /// Where it was given.
        origin: Origin,
        /// What is allowed.
        allowed: String,
    },
    /// Two settings that do not go together.
    #[error(transparent)]
    Clash(Box<SettingClash>),
    /// A key that does not exist.
    #[error("unknown setting {key} ({origin}): {hint}")]
    Unknown {
        /// The name as given.
        key: String,
        /// Where it was given.
        origin: Origin,
        /// What would be right.
        hint: String,
    },
    /// A setting that has no default.
    #[error("{key} is not set: give {allowed} with {flag}, {variable} or {key} in the configuration file")]
    Missing {
        /// The setting.
        key: &'static str,
        /// What is allowed.
        allowed: &'static str,
        /// Its flag.
        flag: &'static str,
        /// Its environment variable.
        variable: &'static str,
    },
    /// The same table twice.
    #[error("table {table} is configured twice ({origin}): expected one entry a table")]
    Twice {
        /// `schema.table`.
        table: String,
        /// Where the second entry is.
        origin: Origin,
    },
    /// The file cannot be read.
    #[error("the configuration file {} ({origin}) cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// The operating system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML at line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// The parser's words.
        reason: String,
    },
}
