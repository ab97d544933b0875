//! The settings of scopes, and how their values are read.

use std::time::Duration;

use super::{Exception, LabelSource, Of, ScopeKind, TagPattern, UnitSource};
use crate::catalog::labels::IdentityRule;
use crate::config::keys::Key;
use crate::config::value::{self, Raw};
use crate::observe::context::{AfterConflict, Reads};
use crate::store::address::StoreAddress;

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
    Key {
        name: STORE,
        default: "local",
        allowed: "local, or redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], without TLS",
        meaning: "Where what contexts know is kept: local to the process, or a Redis or Valkey server that several proxies share",
        set: |s, raw| {
            let text = value::text(raw)?;
            s.scopes.store = match text.as_str() {
                "local" => None,
                address => Some(StoreAddress::read(address)?),
            };
            Some(())
        },
    },
    Key {
        name: "context.store_timeout",
        default: "50ms",
        allowed: "a duration from 1ms to 10s with its unit, such as 20ms",
        meaning: "How long a write may wait for the shared store; then it is blind, cause store",
        set: |s, raw| {
            value::duration(raw, Duration::from_millis(1), Duration::from_secs(10))
                .map(|v| s.scopes.store_timeout = v)
        },
    },
    Key {
        name: "context.store_prefix",
        default: "staleguard",
        allowed: "1 to 64 letters, digits, dots, hyphens and underscores",
        meaning: "What the names of keys in the shared store begin with",
        set: |s, raw| {
            let text = value::text(raw)?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| s.scopes.store_prefix = text)
        },
    },
];

pub(super) const STORE: &str = "context.store";

/// As [`value::list`], and an empty array or text is allowed: no items.
fn list<T: PartialEq>(raw: &Raw, item: impl Fn(&Raw) -> Option<T>) -> Option<Vec<T>> {
    match raw {
        Raw::List(items) if items.is_empty() => Some(Vec::new()),
        Raw::Text(text) if text.trim().is_empty() => Some(Vec::new()),
        raw => value::list(raw, item),
    }
}

pub(super) fn exception(raw: &Raw) -> Option<Exception> {
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
