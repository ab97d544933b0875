//! Whose observations count: the scope, for whom it is another, and what tells one context from another.

mod keys;

use std::path::PathBuf;
use std::time::Duration;

pub use self::keys::SCOPE_KEYS;
use self::keys::STORE;
use super::Settings;
use crate::catalog::labels::{IdentityRule, LabelRules};
use crate::observe::context::{AfterConflict, ContextLimits, Reads};
use crate::store::address::StoreAddress;

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
    /// The store that several proxies share; `None`: contexts are local.
    pub store: Option<StoreAddress>,
    /// How long a write may wait for it.
    pub store_timeout: Duration,
    /// What the names of its keys begin with.
    pub store_prefix: String,
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
            store: None,
            store_timeout: Duration::from_millis(50),
            store_prefix: "staleguard".to_owned(),
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
    if scopes.store.is_some() && scopes.snapshot.is_some() {
        let rule = "a shared store outlives the proxy, so that there is nothing to keep in a file";
        return Some(Clash { key: "context.snapshot", other: STORE, rule });
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::keys::exception;
    use super::*;
    use crate::config::value::Raw;

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
