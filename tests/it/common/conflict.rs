//! What the conflict error must look like.

use super::frames::Frame;
use super::raw::{error, status};

/// The conflict that a test expects.
#[derive(Debug, Clone, Copy)]
pub struct Conflict<'a> {
    /// Table.
    pub table: &'a str,
    /// Entity type: the table's singular.
    pub entity: &'a str,
    /// Key as text.
    pub id: &'a str,
    /// Expected version.
    pub expected: i64,
    /// Actual version, `None` where the row is gone.
    pub actual: Option<i64>,
}

impl Conflict<'_> {
    /// Demands that a reply is this conflict and leaves the session in the given status. Returns the DETAIL.
    pub fn check(&self, reply: &[Frame], after: char) -> serde_json::Value {
        let error = error(reply).unwrap_or_else(|| panic!("{self:?} expected, came {reply:?}"));
        let field = |code| error.field(code).unwrap_or_default();
        assert_eq!(
            (field('S'), field('V'), field('C')),
            ("ERROR".into(), "ERROR".into(), "40001".into()),
            "{error:?}"
        );
        let message = field('M');
        let start =
            format!("version conflict on {} {}: expected version {}", self.entity, self.id, self.expected);
        assert!(message.starts_with(&start), "{message}");
        if let Some(actual) = self.actual {
            assert_eq!(message, format!("{start}, actual version {actual}"));
        }
        let detail: serde_json::Value =
            serde_json::from_str(&field('D')).unwrap_or_else(|e| panic!("{e}: {error:?}"));
        assert_eq!(detail["entity_type"], self.entity, "{detail}");
        assert_eq!(detail["entity_id"], self.id, "{detail}");
        assert_eq!(detail["expected_version"], self.expected, "{detail}");
        let actual = detail.get("actual_version").unwrap_or_else(|| panic!("no actual_version: {detail}"));
        assert_eq!(*actual, serde_json::json!(self.actual), "{detail}");
        assert!(!field('H').is_empty(), "no hint: {error:?}");
        assert_eq!(
            (field('s'), field('t'), field('c')),
            ("public".into(), self.table.into(), "version".into())
        );
        assert_eq!(field('n'), format!("{}_version_conflict", self.table));
        assert!(reply.iter().all(|f| f.tag != b'C'), "a command tag beside the error: {reply:?}");
        assert_eq!(reply.iter().filter(|f| f.tag == b'E').count(), 1, "{reply:?}");
        assert_eq!(status(reply), after, "{reply:?}");
        detail
    }
}

/// A conflict on `projects`.
pub fn on_project(id: &str, expected: i64, actual: Option<i64>) -> Conflict<'_> {
    Conflict { table: "projects", entity: "project", id, expected, actual }
}
