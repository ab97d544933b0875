//! The conflict error as the client gets it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::state_query::MAX_STATE_BYTES;

/// Where the expected version came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// What the scope had last seen of the row.
    Observed,
    /// The statement wrote the version back: `SET version = 5`.
    WrittenBack,
    /// A comment in the statement: `/* expected_version=5 */`.
    Hint,
    /// The statement's own condition: `AND version = 5`.
    Predicate,
    /// Nowhere: a blind write.
    Nobody,
}

impl Source {
    /// Its name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::WrittenBack => "written_back",
            Self::Hint => "hint",
            Self::Predicate => "predicate",
            Self::Nobody => "nobody",
        }
    }
}

/// A write that was refused: everything its error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictReport {
    /// Entity type: `portfolio`.
    pub entity: String,
    /// The row's key as text; the parts of a composite one joined by commas.
    pub entity_id: String,
    /// Schema of the table.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Version column.
    pub version_column: String,
    /// The version the write was based on.
    pub expected: i64,
    /// The row's present version; `None` if the row is gone.
    pub actual: Option<i64>,
    /// Present values of some columns: the text of a JSON object as the server returned it.
    pub current_state: Option<String>,
    /// Who shares what was seen: `transaction`, `connection` or `context`.
    pub scope: &'static str,
    /// How long ago that scope had seen the row at `expected`.
    pub seen_ago: Option<Duration>,
    /// In which unit of work that was, for the log.
    pub seen_in: Option<String>,
    /// Where `expected` came from.
    pub source: Source,
    /// SQLSTATE to report, as configured: `40001` (serialization_failure), which drivers and frameworks know to retry.
    pub sqlstate: String,
}

impl ConflictReport {
    /// The message: one line, since some drivers show nothing else.
    pub fn message(&self) -> String {
        let actual = self.actual.map_or_else(|| "none (row deleted)".to_owned(), |v| v.to_string());
        let Self { entity, entity_id, expected, .. } = self;
        format!(
            "version conflict on {entity} {entity_id}: expected version {expected}, actual version {actual}"
        )
    }

    /// The detail: a JSON object with `entity_type`, `entity_id`, `expected_version`, `actual_version` (null if
    /// the row is gone) and, where it could be read, `current_state`.
    pub fn detail(&self) -> String {
        self.detail_of(&json!(self.expected))
    }

    /// The detail with this expected version.
    pub(super) fn detail_of(&self, expected: &Value) -> String {
        let mut detail = format!(
            "{{\"entity_type\":{},\"entity_id\":{},\"expected_version\":{expected},\"actual_version\":{}",
            json!(self.entity),
            json!(self.entity_id),
            json!(self.actual)
        );
        // The server's text goes in as it is: reading numbers and writing them again would round a numeric.
        if let Some(state) = self.current_state.as_deref().filter(|s| is_object(s)) {
            let _ = write!(detail, ",\"current_state\":{state}");
        }
        detail.push('}');
        detail
    }

    /// The hint: what to do, and what the expectation rests on.
    pub fn hint(&self) -> String {
        let Self { expected, scope, .. } = self;
        let todo = match (self.actual, *scope) {
            // What the refused request reads does not count for it.
            (Some(_), "context") => "Read the row again in a new request and retry.",
            (Some(_), _) => "Read the row again and retry.",
            (None, _) => "Read again: the row is no longer there.",
        };
        let basis = match self.source {
            Source::Observed => match self.seen_ago {
                Some(ago) => format!("Version {expected} was last seen {} ago (scope: {scope}).", age(ago)),
                None => format!("Version {expected} was the last one seen (scope: {scope})."),
            },
            Source::WrittenBack => format!("Version {expected} is the one the statement wrote back."),
            Source::Hint => format!("Version {expected} was named in the statement's comment."),
            Source::Predicate => format!("Version {expected} was named in the statement's condition."),
            Source::Nobody => "No version was known.".to_owned(),
        };
        format!("{todo} {basis}")
    }

    /// The name in the constraint field: `projects_version_conflict`.
    pub fn constraint(&self) -> String {
        format!("{}_version_conflict", self.table)
    }

    /// The fields of an ErrorResponse, in the order the server sends them.
    pub fn fields(&self) -> Vec<(u8, String)> {
        self.fields_of(self.message(), self.detail(), self.hint())
    }

    /// The fields with these words.
    pub(super) fn fields_of(&self, message: String, detail: String, hint: String) -> Vec<(u8, String)> {
        let fields = [
            (b'S', "ERROR".to_owned()),
            (b'V', "ERROR".to_owned()),
            (b'C', self.sqlstate.clone()),
            (b'M', message),
            (b'D', detail),
            (b'H', hint),
            (b's', self.schema.clone()),
            (b't', self.table.clone()),
            (b'c', self.version_column.clone()),
            (b'n', self.constraint()),
        ];
        // A field ends at its first NUL byte.
        fields.into_iter().map(|(code, text)| (code, text.replace('\0', ""))).collect()
    }

    /// As [`Self::fields`] in ASCII alone: see [`ascii_fields`].
    pub fn ascii_fields(&self) -> Vec<(u8, String)> {
        ascii_fields(self.fields())
    }
}

/// The fields in ASCII alone, for a session whose `client_encoding` is not UTF8: other characters are `\u` escapes
/// in the detail, which is JSON, and `?` elsewhere.
pub fn ascii_fields(mut fields: Vec<(u8, String)>) -> Vec<(u8, String)> {
    for (code, text) in fields.iter_mut().filter(|(_, text)| !text.is_ascii()) {
        *text = if *code == b'D' { ascii_json(text) } else { text.replace(|c: char| !c.is_ascii(), "?") };
    }
    fields
}

/// True for the text of a JSON object of bearable size.
fn is_object(text: &str) -> bool {
    text.len() <= MAX_STATE_BYTES
        && text.trim_start().starts_with('{')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Outside of strings valid JSON is ASCII, so escaping every other character keeps it the same document.
fn ascii_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// A length of time for a person, in its largest unit.
fn age(ago: Duration) -> String {
    let s = ago.as_secs();
    match s {
        0 => "less than 1 s".to_owned(),
        1..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        _ => format!("{} h", s / 3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn report() -> ConflictReport {
        ConflictReport {
            entity: "portfolio".into(),
            entity_id: "123e4567-e89b-12d3-a456-426614174000".into(),
            schema: "public".into(),
            table: "portfolios".into(),
            version_column: "version".into(),
            expected: 5,
            actual: Some(6),
            current_state: Some(r#"{"name": "Europe", "budget": 1.10}"#.into()),
            scope: "connection",
            seen_ago: Some(Duration::from_millis(12_300)),
            seen_in: None,
            source: Source::Observed,
            sqlstate: "40001".into(),
        }
    }

    #[test]
    fn has_every_field() {
        let fields = report().fields();
        let codes: Vec<char> = fields.iter().map(|(c, _)| char::from(*c)).collect();
        assert_eq!(codes, ['S', 'V', 'C', 'M', 'D', 'H', 's', 't', 'c', 'n']);
        let texts: Vec<&str> = fields.iter().map(|(_, t)| t.as_str()).collect();
        assert_eq!(
            texts,
            [
                "ERROR",
                "ERROR",
                "40001",
                "version conflict on portfolio 123e4567-e89b-12d3-a456-426614174000: \
                 expected version 5, actual version 6",
                r#"{"entity_type":"portfolio","entity_id":"123e4567-e89b-12d3-a456-426614174000","expected_version":5,"actual_version":6,"current_state":{"name": "Europe", "budget": 1.10}}"#,
                "Read the row again and retry. Version 5 was last seen 12 s ago (scope: connection).",
                "public",
                "portfolios",
                "version",
                "portfolios_version_conflict",
            ]
        );
    }

    #[test]
    fn says_that_the_row_is_gone() {
        let gone = ConflictReport { actual: None, current_state: None, ..report() };
        assert!(gone.message().ends_with("expected version 5, actual version none (row deleted)"));
        let detail: serde_json::Value = serde_json::from_str(&gone.detail()).unwrap();
        assert!(detail["actual_version"].is_null());
        assert!(detail.get("current_state").is_none());
        assert!(gone.hint().starts_with("Read again: the row is no longer there."));
    }

    #[test]
    fn hint_names_what_the_expectation_rests_on() {
        let hint = |source, seen_ago| ConflictReport { source, seen_ago, ..report() }.hint();
        let days = Some(Duration::from_secs(50 * 3600));
        assert!(hint(Source::Observed, days).contains("50 h ago"));
        assert!(hint(Source::Observed, Some(Duration::from_secs(130))).contains("2 min ago"));
        assert!(hint(Source::Observed, Some(Duration::ZERO)).contains("less than 1 s ago"));
        assert!(hint(Source::Observed, None).contains("last one seen"));
        assert!(hint(Source::WrittenBack, None).contains("wrote back"));
        assert!(hint(Source::Hint, None).contains("comment"));
        assert!(hint(Source::Predicate, None).contains("condition"));
    }

    #[test]
    fn hint_names_the_scope_and_what_mends_it_there() {
        let hint = |scope, actual| ConflictReport { scope, actual, ..report() }.hint();
        let seen = "Version 5 was last seen 12 s ago (scope:";
        assert_eq!(
            hint("transaction", Some(6)),
            format!("Read the row again and retry. {seen} transaction).")
        );
        assert_eq!(
            hint("context", Some(6)),
            format!("Read the row again in a new request and retry. {seen} context).")
        );
        assert_eq!(
            hint("context", None),
            format!("Read again: the row is no longer there. {seen} context).")
        );
    }

    #[test]
    fn detail_stays_json_whatever_it_holds() {
        let odd = ConflictReport {
            entity_id: "a\"b\\c\nü\u{1F600}".into(),
            current_state: Some("{\"n\": 12345678901234567890.10, \"s\": \"ü\"}".into()),
            ..report()
        };
        let detail: serde_json::Value = serde_json::from_str(&odd.detail()).unwrap();
        assert_eq!(detail["entity_id"], odd.entity_id);
        assert!(odd.detail().contains("12345678901234567890.10"));
        let ascii = odd.ascii_fields();
        assert!(ascii.iter().all(|(_, t)| t.is_ascii()));
        let again: serde_json::Value =
            serde_json::from_str(&ascii.iter().find(|(c, _)| *c == b'D').unwrap().1).unwrap();
        assert_eq!(again, detail);
        let big = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_STATE_BYTES));
        for broken in ["", "{", "[1]", "null", "{} {}", big.as_str()] {
            let report = ConflictReport { current_state: Some(broken.into()), ..report() };
            let detail: serde_json::Value = serde_json::from_str(&report.detail()).unwrap();
            assert!(detail.get("current_state").is_none(), "{broken:.10}");
        }
    }
}
