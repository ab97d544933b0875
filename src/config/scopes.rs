//! Whose observations count: the scope, for whom it is another, and what tells one context from another.

use std::path::PathBuf;
use std::time::Duration;

use super::Settings;
use super::keys::Key;
use super::value::{self, Raw};
use crate::catalog::labels::{IdentityRule, LabelRules};
use crate::observe::context::{AfterConflict, ContextLimits, Reads};

/// Who shares observations (DESIGN.md section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScopeKind {
    /// One transaction.
    Transaction,
    /// One client connection.
    #[default]
    Connection,
    /// All connections that work under one label.
    Context,
}

impl ScopeKind {
    /// Its name in settings, errors and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Connection => "connection",
            Self::Context => "context",
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::Transaction, Self::Connection, Self::Context].into_iter().find(|k| k.name() == text)
    }
}

/// What an exception looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// `application_name` at the start of the session.
    ApplicationName,
    /// The database asked for.
    Database,
    /// The role that logged in.
    Role,
}

/// A scope for some sessions: `application_name=worker-*:connection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// What is looked at.
    pub of: Of,
    /// What it must be like; `*` stands for any characters.
    pub pattern: String,
    /// The scope of such sessions.
    pub scope: ScopeKind,
}

/// Where a label comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSource {
    /// `comment:user`: the value of this key in a comment.
    Comment(String),
    /// `setting:app.user_id`: a setting (GUC), in lower case.
    Setting(String),
    /// `application_name`.
    ApplicationName,
    /// `role`: the role in force, also after SET ROLE.
    Role,
    /// `lookup:users.id`: the row of this table that a transaction looks up first by this column.
    Lookup(IdentityRule),
}

/// Where the name of a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitSource {
    /// `comment:traceparent`.
    Comment(String),
    /// `setting:app.request_id`.
    Setting(String),
}

/// A tag that a unit must carry to teach: `route=GET *`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern {
    /// Key in a comment.
    pub key: String,
    /// What its value must be like; `*` stands for any characters.
    pub pattern: String,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSettings {
    /// For sessions that no exception names.
    pub scope: ScopeKind,
    /// The first that fits counts.
    pub exceptions: Vec<Exception>,
    /// Label sources; the first that yields one counts.
    pub label: Vec<LabelSource>,
    /// What names a request; the first that yields a name counts.
    pub unit: Vec<UnitSource>,
    /// A lookup's label lasts until the next one, a reset or the end of the connection, and so long is the unit.
    pub sticky: bool,
    /// Which reads count.
    pub reads: Reads,
    /// What a conflict asks for.
    pub after_conflict: AfterConflict,
    /// Only units that carry one of these tags teach; empty: all do.
    pub learn_from: Vec<TagPattern>,
    /// How long a row that was seen counts as seen.
    pub ttl: Duration,
    /// Rows that one context remembers.
    pub max_rows_per_context: usize,
    /// Bytes that one context's memory may take.
    pub max_bytes_per_context: usize,
    /// Bytes that all contexts together may take.
    pub max_bytes: usize,
    /// File in which contexts survive a planned restart.
    pub snapshot: Option<PathBuf>,
}

impl Default for ScopeSettings {
    fn default() -> Self {
        Self {
            scope: ScopeKind::Connection,
            exceptions: Vec::new(),
            label: Vec::new(),
            unit: vec![UnitSource::Comment("traceparent".to_owned())],
            sticky: false,
            reads: Reads::Latest,
            after_conflict: AfterConflict::Reread,
            learn_from: Vec::new(),
            ttl: Duration::from_secs(12 * 3600),
            max_rows_per_context: 10_000,
            max_bytes_per_context: 4 << 20,
            max_bytes: 256 << 20,
            snapshot: None,
        }
    }
}

impl ScopeSettings {
    /// The scope of a session.
    pub fn of(&self, application_name: &str, database: &str, role: &str) -> ScopeKind {
        let fits = |e: &&Exception| {
            let value = match e.of {
                Of::ApplicationName => application_name,
                Of::Database => database,
                Of::Role => role,
            };
            like(&e.pattern, value)
        };
        self.exceptions.iter().find(fits).map_or(self.scope, |e| e.scope)
    }

    /// Some session may be in scope `context`.
    pub fn uses_contexts(&self) -> bool {
        self.scope == ScopeKind::Context || self.exceptions.iter().any(|e| e.scope == ScopeKind::Context)
    }

    /// Bounds and rules of the contexts.
    pub fn limits(&self) -> ContextLimits {
        ContextLimits {
            max_rows: self.max_rows_per_context,
            max_bytes: self.max_bytes_per_context,
            max_total_bytes: self.max_bytes,
            ttl: self.ttl,
            reads: self.reads,
            after_conflict: self.after_conflict,
        }
    }

    /// What statements must be listened for.
    pub fn rules(&self) -> LabelRules {
        let mut rules = LabelRules::default();
        if !self.uses_contexts() {
            return rules;
        }
        for source in &self.label {
            match source {
                LabelSource::Comment(key) => rules.tags.push(key.clone()),
                LabelSource::Setting(name) => rules.settings.push(name.clone()),
                LabelSource::Role => {
                    rules.settings.extend(["role", "session_authorization"].map(str::to_owned));
                }
                LabelSource::Lookup(rule) => rules.identities.push(rule.clone()),
                LabelSource::ApplicationName => rules.settings.push("application_name".to_owned()),
            }
        }
        for source in &self.unit {
            match source {
                UnitSource::Comment(key) => rules.tags.push(key.clone()),
                UnitSource::Setting(name) => rules.settings.push(name.clone()),
            }
        }
        rules.tags.extend(self.learn_from.iter().map(|tag| tag.key.clone()));
        rules.tags.sort();
        rules.tags.dedup();
        rules.settings.sort();
        rules.settings.dedup();
        rules
    }
}

/// `*` in the pattern stands for any characters, none too.
pub fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// The settings of scopes.
pub const SCOPE_KEYS: &[Key] = &[
    Key {
        name: "scope",
        default: "connection",
        allowed: "connection, transaction or context",
        meaning: "Whose reads protect a write: the connection's, the transaction's, or those of all connections under one label",
        set: |s, raw| ScopeKind::read(&value::text(raw)?).map(|v| s.scopes.scope = v),
    },
    Key {
        name: "scope_exceptions",
        default: "(none)",
        allowed: "WHAT=PATTERN:SCOPE, WHAT being application_name, database or role, such as application_name=worker-*:connection",
        meaning: "Sessions with another scope; the first that fits counts",
        set: |s, raw| list(raw, exception).map(|v| s.scopes.exceptions = v),
    },
    Key {
        name: "context.label",
        default: "(none)",
        allowed: "comment:KEY, setting:NAME, application_name, role or lookup:TABLE.COLUMN",
        meaning: "What tells one context from another; the first source that yields a label counts",
        set: |s, raw| list(raw, label_source).map(|v| s.scopes.label = v),
    },
    Key {
        name: "context.unit",
        default: "comment:traceparent",
        allowed: "comment:KEY or setting:NAME",
        meaning: "What names a request, the unit of work; without a name it is the transaction",
        set: |s, raw| list(raw, unit_source).map(|v| s.scopes.unit = v),
    },
    Key {
        name: "context.sticky",
        default: "false",
        allowed: "true or false",
        meaning: "A lookup's label lasts until the next lookup, a reset or the end of the connection, and so long is the unit of work",
        set: |s, raw| value::boolean(raw).map(|v| s.scopes.sticky = v),
    },
    Key {
        name: "context.reads",
        default: "latest",
        allowed: "latest or earliest",
        meaning: "Which read of an earlier unit counts: the latest, or the earliest since the context's last write of the row or conflict on it",
        set: |s, raw| {
            s.scopes.reads = match value::text(raw)?.as_str() {
                "latest" => Reads::Latest,
                "earliest" => Reads::Earliest,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "context.after_conflict",
        default: "reread",
        allowed: "reread or told",
        meaning: "What lets a context write a row again after a conflict: a later unit that has read it, or the error itself",
        set: |s, raw| {
            s.scopes.after_conflict = match value::text(raw)?.as_str() {
                "reread" => AfterConflict::Reread,
                "told" => AfterConflict::Told,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "context.learn_from",
        default: "(none)",
        allowed: "KEY=PATTERN of tags in comments, such as route=GET *",
        meaning: "Only transactions whose comments carry one of these tags teach a context; empty: all do",
        set: |s, raw| list(raw, tag_pattern).map(|v| s.scopes.learn_from = v),
    },
    Key {
        name: "context.ttl",
        default: "12h",
        allowed: "a duration from 1s to 168h with its unit, such as 90s or 12h",
        meaning: "How long a row that a context has seen counts as seen",
        set: |s, raw| {
            value::duration(raw, Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600))
                .map(|v| s.scopes.ttl = v)
        },
    },
    Key {
        name: "context.max_rows_per_context",
        default: "10000",
        allowed: "an integer from 1 to 100000000",
        meaning: "Rows that one context remembers; the least recently used go first",
        set: |s, raw| value::integer(raw, 1, 100_000_000).map(|v| s.scopes.max_rows_per_context = v),
    },
    Key {
        name: "context.max_bytes_per_context",
        default: "4MiB",
        allowed: "a number of bytes from 1KiB to 64GiB, such as 65536 or 4MiB",
        meaning: "Bytes that one context's memory of rows may take; the least recently used rows go first",
        set: |s, raw| value::bytes(raw, 1 << 10, 64 << 30).map(|v| s.scopes.max_bytes_per_context = v),
    },
    Key {
        name: "context.max_bytes",
        default: "256MiB",
        allowed: "a number of bytes from 1KiB to 1TiB, such as 64MiB or 1GiB",
        meaning: "Bytes that the memory of all contexts may take; the least recently used contexts go first",
        set: |s, raw| value::bytes(raw, 1 << 10, 1 << 40).map(|v| s.scopes.max_bytes = v),
    },
    Key {
        name: "context.snapshot",
        default: "(none)",
        allowed: "the path of a file that the proxy may write, and the folder that it is in",
        meaning: "File in which what contexts know survives a planned restart: written when the proxy stops, read when it starts",
        set: |s, raw| {
            s.scopes.snapshot = match raw {
                Raw::Text(text) => (!text.is_empty()).then(|| text.into()),
                _ => return None,
            };
            Some(())
        },
    },
];

/// As [`value::list`], and an empty array or text is allowed: no items.
fn list<T: PartialEq>(raw: &Raw, item: impl Fn(&Raw) -> Option<T>) -> Option<Vec<T>> {
    match raw {
        Raw::List(items) if items.is_empty() => Some(Vec::new()),
        Raw::Text(text) if text.trim().is_empty() => Some(Vec::new()),
        raw => value::list(raw, item),
    }
}

fn exception(raw: &Raw) -> Option<Exception> {
    let text = value::text(raw)?;
    let (what, rest) = text.split_once('=')?;
    let (pattern, scope) = rest.rsplit_once(':')?;
    let of = match what.trim() {
        "application_name" => Of::ApplicationName,
        "database" => Of::Database,
        "role" => Of::Role,
        _ => return None,
    };
    Some(Exception { of, pattern: pattern.to_owned(), scope: ScopeKind::read(scope.trim())? })
}

fn label_source(raw: &Raw) -> Option<LabelSource> {
    let text = value::text(raw)?;
    match text.as_str() {
        "application_name" => return Some(LabelSource::ApplicationName),
        "role" => return Some(LabelSource::Role),
        _ => {}
    }
    let (kind, what) = text.split_once(':')?;
    let what = Some(what.trim()).filter(|w| !w.is_empty())?;
    match kind {
        "comment" => Some(LabelSource::Comment(what.to_owned())),
        "setting" => Some(LabelSource::Setting(what.to_ascii_lowercase())),
        "lookup" => {
            let (table, column) = what.rsplit_once('.')?;
            let (schema, table) = table.split_once('.').unwrap_or(("public", table));
            let named = |name: &str| (1..=63).contains(&name.len());
            (named(schema) && named(table) && named(column)).then(|| {
                LabelSource::Lookup(IdentityRule {
                    schema: schema.to_owned(),
                    table: table.to_owned(),
                    column: column.to_owned(),
                })
            })
        }
        _ => None,
    }
}

fn unit_source(raw: &Raw) -> Option<UnitSource> {
    match label_source(raw)? {
        LabelSource::Comment(key) => Some(UnitSource::Comment(key)),
        LabelSource::Setting(name) => Some(UnitSource::Setting(name)),
        _ => None,
    }
}

fn tag_pattern(raw: &Raw) -> Option<TagPattern> {
    let text = value::text(raw)?;
    let (key, pattern) = text.split_once('=')?;
    (!key.trim().is_empty())
        .then(|| TagPattern { key: key.trim().to_owned(), pattern: pattern.trim().to_owned() })
}

/// Two settings that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash {
    /// The one to change.
    pub key: &'static str,
    /// The other.
    pub other: &'static str,
    /// What must hold: a sentence.
    pub rule: &'static str,
}

/// What must hold between settings of scopes: `None`, or the first that does not.
pub fn check(settings: &Settings) -> Option<Clash> {
    let scopes = &settings.scopes;
    if scopes.uses_contexts() && scopes.label.is_empty() {
        let other = if scopes.scope == ScopeKind::Context { "scope" } else { "scope_exceptions" };
        let rule = "scope context needs what tells one context from another: comment:KEY, setting:NAME, application_name, role or lookup:TABLE.COLUMN";
        return Some(Clash { key: "context.label", other, rule });
    }
    if scopes.max_bytes < scopes.max_bytes_per_context {
        let rule = "all contexts together must be allowed as many bytes as one";
        return Some(Clash { key: "context.max_bytes", other: "context.max_bytes_per_context", rule });
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("worker", "worker", true),
            ("worker", "worker-1", false),
            ("worker-*", "worker-", true),
            ("worker-*", "worker", false),
            ("*", "", true),
            ("*-worker", "a-worker", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("aa*aa", "aaa", false),
            ("GET *", "GET /portfolios/{id}", true),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern}: {text}");
        }
    }

    #[test]
    fn scope_of_a_session() {
        let exception = |text: &str| exception(&Raw::Text(text.into())).unwrap();
        let settings = ScopeSettings {
            scope: ScopeKind::Context,
            exceptions: vec![
                exception("application_name=worker-*:connection"),
                exception("role=batch:transaction"),
                exception("database=a:b:connection"),
            ],
            ..ScopeSettings::default()
        };
        assert_eq!(settings.of("worker-1", "app", "batch"), ScopeKind::Connection);
        assert_eq!(settings.of("web", "app", "batch"), ScopeKind::Transaction);
        assert_eq!(settings.of("web", "a:b", "app"), ScopeKind::Connection);
        assert_eq!(settings.of("web", "app", "app"), ScopeKind::Context);
    }
}
