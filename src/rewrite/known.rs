//! The versions that a guarded statement carries: by key, as one JSON text.
//!
//! ```text
//! {"0": {"7": 5, "8": 2}, "1": {"7": 6}}                    key 7 expects version 5, key 8 version 2;
//!                                                           this transaction itself may have left row 7 at 6
//! {"0": {"7": {"admin": 5}}}                                a key of two columns
//! {"0": {"0": {"7": 5}}, "2": {"0": {"1": 3}}}              as a parameter: by site number
//! ```
//!
//! The keys are canonical texts of [`crate::sql::keys`], which are what `key::text` prints in the server. Rows that
//! are not in it only bump, or are refused if the table refuses blind writes. Without the parameter (NULL) nothing is.

use serde_json::{Map, Value};

/// Path of the expected versions.
pub(super) const EXPECTED: &str = "0";
/// Path of the highest versions that own writes may have left.
pub(super) const HIGHEST: &str = "1";

/// What is known of the rows of one [`super::site::GuardSite`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    expected: Map<String, Value>,
    highest: Map<String, Value>,
    rows: usize,
    strict: bool,
}

impl Known {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The row of this key (canonical texts in key order) must have this version.
    pub fn expect<S: AsRef<str>>(&mut self, key: &[S], version: i64) {
        put(&mut self.expected, key, version);
        self.rows += 1;
    }

    /// .. or any version up to this one, if it was this very transaction that left it there: writes of the same
    /// row that are still in flight go before this one.
    pub fn accept_own<S: AsRef<str>>(&mut self, key: &[S], highest: i64) {
        put(&mut self.highest, key, highest);
    }

    /// Rows that are not in it are refused.
    pub fn refuse_others(&mut self, refuse: bool) {
        self.strict = refuse;
    }

    /// Rows that are not in it are refused.
    pub fn refuses_others(&self) -> bool {
        self.strict
    }

    /// How many rows are known.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True if it need not go along: no row is known, and others pass.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && !self.strict
    }

    /// Versions left by the transaction's own writes are accepted.
    pub fn accepts_own(&self) -> bool {
        !self.highest.is_empty()
    }

    /// The JSON text for a literal in the statement.
    pub fn to_json(&self) -> String {
        self.value().to_string()
    }

    fn value(&self) -> Value {
        let mut parts = Map::new();
        parts.insert(EXPECTED.to_owned(), Value::Object(self.expected.clone()));
        if self.accepts_own() {
            parts.insert(HIGHEST.to_owned(), Value::Object(self.highest.clone()));
        }
        Value::Object(parts)
    }
}

/// The JSON text for the parameter of a prepared statement: what is known of the rows of each of its sites, in the
/// order of `StatementPlan::sites`. `None` (NULL: every site only bumps) if nothing is.
///
/// In binary format a jsonb is one byte 1 and this text.
pub fn parameter(sites: &[Option<Known>]) -> Option<String> {
    let known = sites.iter().enumerate().filter_map(|(n, known)| {
        let known = known.as_ref().filter(|k| !k.is_empty())?;
        Some((n.to_string(), known.value()))
    });
    let all: Map<String, Value> = known.collect();
    (!all.is_empty()).then(|| Value::Object(all).to_string())
}

fn put<S: AsRef<str>>(map: &mut Map<String, Value>, key: &[S], version: i64) {
    let Some((last, path)) = key.split_last() else { return };
    let mut map = map;
    for part in path {
        let inner = map.entry(part.as_ref()).or_insert_with(|| Value::Object(Map::new()));
        // Keys of one table have the same number of parts, so that what is in the way of a path is one.
        let Value::Object(inner) = inner else { return };
        map = inner;
    }
    map.insert(last.as_ref().to_owned(), version.into());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn texts() {
        let mut one = Known::new();
        assert!(one.is_empty());
        one.expect(&["7"], 5);
        assert_eq!((one.to_json().as_str(), one.len(), one.accepts_own()), (r#"{"0":{"7":5}}"#, 1, false));
        one.accept_own(&["7"], 6);
        assert_eq!(one.to_json(), r#"{"0":{"7":5},"1":{"7":6}}"#);

        let mut two = Known::new();
        two.expect(&["7", "a"], 1);
        two.expect(&["7", "b\"\\\n'"], 2);
        two.expect(&["8", "a"], i64::MAX);
        let json = r#"{"0":{"7":{"a":1,"b\"\\\n'":2},"8":{"a":9223372036854775807}}}"#;
        assert_eq!(two.to_json(), json);

        let sites = [None, Some(one), Some(Known::new()), Some(two)];
        assert_eq!(
            parameter(&sites).unwrap(),
            format!(r#"{{"1":{{"0":{{"7":5}},"1":{{"7":6}}}},"3":{json}}}"#)
        );
        assert_eq!(parameter(&[None, Some(Known::new())]), None);
    }
}
