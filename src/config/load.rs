//! Puts the layers on top of each other: defaults, file, environment, flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::{Key, TABLES, keys};
use super::origin::{ConfigError, Origin, SettingClash};
use super::scopes::Clash;
use super::value::{Node, Raw};
use super::{Settings, file, scopes, tables};

/// Variable that names the configuration file where `--config` does not.
pub const CONFIG_VARIABLE: &str = "STALEGUARD_CONFIG";

/// Variable that lists the tables.
pub const TABLES_VARIABLE: &str = "STALEGUARD_TABLES";

/// What flags said: the file, and values by the name of their setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// (setting, value as given).
    pub values: Vec<(&'static str, String)>,
}

/// Settings, and where each that is not a default came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Value as given and its origin, by setting.
    pub given: BTreeMap<&'static str, (String, Origin)>,
    /// What is odd but no error: a sentence each.
    pub warnings: Vec<String>,
}

/// Loads the settings: `flags` over `variables` (all the process's variables) over the file over defaults.
pub fn load(
    flags: &Given,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let variables: BTreeMap<String, String> =
        variables.into_iter().filter(|(name, _)| name.starts_with("STALEGUARD_")).collect();
    let mut values: BTreeMap<&'static str, (Node, Layer)> = BTreeMap::new();

    if let Some((path, origin)) = config_file(flags, &variables) {
        let layer = Layer::File(path.clone());
        for (name, node) in read_file(&path, origin)? {
            flatten(&name, node, &layer, &mut values)?;
        }
    }
    for name in names() {
        if let Some(value) = variables.get(&variable(name)) {
            values.insert(name, (text(value), Layer::Variable(variable(name))));
        }
    }
    for (name, value) in &flags.values {
        values.insert(name, (text(value), Layer::Flag(flag(name))));
    }

    let mut settings = Settings::default();
    for key in keys() {
        if let Some((node, layer)) = values.get(key.name) {
            set(key, &mut settings, node, layer)?;
        }
    }
    let inherited = settings.table_defaults();
    settings.tables = match values.get(TABLES) {
        Some((node, layer)) => tables::read(node, &|line| layer.origin(line), inherited)?,
        None => tables::built_in(inherited),
    };
    let given: BTreeMap<&'static str, (String, Origin)> = values
        .into_iter()
        .map(|(name, (node, layer))| (name, (node.raw.to_string(), layer.origin(node.line))))
        .collect();
    if let Some(clash) = scopes::check(&settings) {
        return Err(clash_of(&clash, &given));
    }
    Ok(Loaded { settings, given, warnings: unknown_variables(&variables) })
}

/// The layer that a value belongs to; its line makes it an [`Origin`].
enum Layer {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl Layer {
    fn origin(&self, line: usize) -> Origin {
        match self {
            Self::File(path) => Origin::File { path: path.clone(), line },
            Self::Variable(name) => Origin::Variable(name.clone()),
            Self::Flag(flag) => Origin::Flag(flag.clone()),
        }
    }
}

fn text(value: &str) -> Node {
    Node { line: 0, raw: Raw::Text(value.to_owned()) }
}

fn names() -> impl Iterator<Item = &'static str> {
    keys().map(|key| key.name).chain([TABLES])
}

fn variable(name: &str) -> String {
    keys().find(|key| key.name == name).map_or_else(|| TABLES_VARIABLE.to_owned(), Key::variable)
}

fn flag(name: &str) -> String {
    let flag = keys().find(|key| key.name == name).map_or_else(|| TABLES.to_owned(), Key::flag);
    format!("--{flag}")
}

fn config_file(flags: &Given, variables: &BTreeMap<String, String>) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &flags.config {
        return Some((path.clone(), Origin::Flag("--config".to_owned())));
    }
    let path = variables.get(CONFIG_VARIABLE)?;
    Some((PathBuf::from(path), Origin::Variable(CONFIG_VARIABLE.to_owned())))
}

fn read_file(path: &Path, origin: Origin) -> Result<Vec<(String, Node)>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        origin,
        reason: error.to_string(),
    })?;
    file::parse(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.line,
        reason: error.reason,
    })
}

/// Finds the setting of an entry of the file, going down into sections.
fn flatten(
    name: &str,
    node: Node,
    layer: &Layer,
    values: &mut BTreeMap<&'static str, (Node, Layer)>,
) -> Result<(), ConfigError> {
    if let Some(known) = names().find(|known| *known == name) {
        let Layer::File(path) = layer else { return Ok(()) };
        values.insert(known, (node, Layer::File(path.clone())));
        return Ok(());
    }
    let prefix = format!("{name}.");
    let inside: Vec<&str> = names().filter(|known| known.starts_with(&prefix)).collect();
    let origin = layer.origin(node.line);
    match node.raw {
        Raw::Table(entries) if !inside.is_empty() => entries
            .into_iter()
            .try_for_each(|(key, node)| flatten(&format!("{prefix}{key}"), node, layer, values)),
        raw if !inside.is_empty() => Err(ConfigError::Invalid {
            key: name.to_owned(),
            value: raw.to_string(),
            origin,
            allowed: format!("a section with {}", inside.join(", ")),
        }),
        _ => Err(ConfigError::Unknown { key: name.to_owned(), origin, hint: suggestion(name) }),
    }
}

fn suggestion(name: &str) -> String {
    let section = name.rsplit_once('.').map_or("", |(section, _)| section);
    let siblings: Vec<&str> = names()
        .filter(|known| known.rsplit_once('.').map_or("", |(s, _)| s) == section || section.is_empty())
        .collect();
    format!("there is {}", siblings.join(", "))
}

fn set(key: &Key, settings: &mut Settings, node: &Node, layer: &Layer) -> Result<(), ConfigError> {
    (key.set)(settings, &node.raw).ok_or_else(|| ConfigError::Invalid {
        key: key.name.to_owned(),
        value: node.raw.to_string(),
        origin: layer.origin(node.line),
        allowed: key.allowed.to_owned(),
    })
}

/// Two settings that do not go together, with their values and where these come from.
fn clash_of(clash: &Clash, given: &BTreeMap<&'static str, (String, Origin)>) -> ConfigError {
    let value = |name: &str| {
        let default = || keys().find(|key| key.name == name).map_or("", |key| key.default).to_owned();
        given.get(name).cloned().unwrap_or_else(|| (default(), Origin::Default))
    };
    let ((given, origin), (other_value, other_origin)) = (value(clash.key), value(clash.other));
    ConfigError::Clash(Box::new(SettingClash {
        key: clash.key,
        value: given,
        origin,
        other: clash.other,
        other_value,
        other_origin,
        rule: clash.rule,
    }))
}

/// Variables that look like ours but are no setting. Kubernetes sets `STALEGUARD_SERVICE_HOST`, `STALEGUARD_PORT`
/// and `STALEGUARD_PORT_..` in every pod beside a service of that name, so that they cannot be errors.
fn unknown_variables(variables: &BTreeMap<String, String>) -> Vec<String> {
    let ours = |name: &str| name == CONFIG_VARIABLE || names().any(|known| variable(known) == name);
    let kubernetes = |name: &str| {
        let rest = name.trim_start_matches("STALEGUARD_");
        rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
    };
    variables
        .keys()
        .filter(|name| !ours(name) && !kubernetes(name))
        .map(|name| format!("the environment variable {name} is no setting and has no effect"))
        .collect()
}
