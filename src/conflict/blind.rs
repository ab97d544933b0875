//! The error for a blind write of a table that refuses them (`blind = "reject"`).

use serde_json::json;

use super::log::Connection;
use super::report::{ConflictReport, Source};
use crate::telemetry::targets;

/// Why no version went with the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// The scope never read the row.
    NeverRead,
    /// Nobody knows whose reads count, and the transaction has not read the row.
    NoLabel,
    /// It did, too long ago or too many rows ago.
    Dropped,
    /// It wrote the row unchecked since, or deleted it.
    Forgotten,
    /// It has read it, but the versions of too many rows were known for one statement.
    Overflow,
    /// It saw the row last through a cursor that does not tell its version.
    Cursor,
}

impl Unseen {
    /// Its name in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::NeverRead => "never_read",
            Self::NoLabel => "no_label",
            Self::Dropped => "dropped",
            Self::Forgotten => "forgotten",
            Self::Overflow => "overflow",
            Self::Cursor => "cursor",
        }
    }

    fn fact(self, scope: &str) -> String {
        match self {
            Self::NeverRead => format!("this {scope} has not read the row"),
            Self::NoLabel => {
                "no label tells whose reads count, and this transaction has not read the row".to_owned()
            }
            Self::Dropped => format!("this {scope}'s read of the row no longer counts"),
            Self::Forgotten => format!("this {scope} has not read the row since it wrote it"),
            Self::Overflow => "the version that was read could not go with the statement".to_owned(),
            Self::Cursor => "what a cursor shows is not known".to_owned(),
        }
    }

    fn todo(self) -> &'static str {
        match self {
            Self::NeverRead | Self::NoLabel | Self::Dropped | Self::Forgotten => {
                "Read the row first, then write it."
            }
            Self::Overflow => "Write fewer rows at a time, or in a statement of their own.",
            Self::Cursor => "Read the row by its key, and name the key in the write.",
        }
    }
}

/// A blind write that was refused: everything its error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlindReport {
    /// What a conflict would say; what it expected is not told.
    pub row: ConflictReport,
    /// Why nothing was expected.
    pub unseen: Unseen,
}

impl BlindReport {
    /// The message: one line, since some drivers show nothing else.
    pub fn message(&self) -> String {
        let fact = self.unseen.fact(self.row.scope);
        format!("blind write on {} {}: {fact}", self.row.entity, self.row.entity_id)
    }

    /// The fields of an ErrorResponse: those of a conflict, with no expected version.
    pub fn fields(&self) -> Vec<(u8, String)> {
        let detail = self.row.detail_of(&json!(null));
        let hint = format!("{} The table refuses blind writes (blind = \"reject\").", self.unseen.todo());
        self.row.fields_of(self.message(), detail, hint)
    }

    /// The WARNING in the log. Never a column value or a parameter. `user_id`: the label, where there is one.
    pub fn emit(&self, connection: Connection<'_>, user_id: Option<&str>) {
        tracing::warn!(
            target: targets::CONFLICT,
            entity_type = self.row.entity.as_str(),
            entity_id = self.row.entity_id.as_str(),
            expected_version = None::<i64>,
            actual_version = self.row.actual,
            user_id = user_id,
            source = Source::Nobody.label(),
            cause = self.unseen.label(),
            scope = self.row.scope,
            sqlstate = self.row.sqlstate.as_str(),
            session = connection.session,
            database = connection.database,
            role = connection.role,
            application_name = connection.application,
            client = connection.client,
            "{}",
            self.message()
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn says_what_is_not_known_and_what_to_do() {
        let row = ConflictReport {
            entity: "project".to_owned(),
            entity_id: "7".to_owned(),
            schema: "public".to_owned(),
            table: "projects".to_owned(),
            version_column: "version".to_owned(),
            expected: 0,
            actual: Some(6),
            current_state: Some("{\"name\": \"x\"}".to_owned()),
            scope: "connection",
            seen_ago: None,
            seen_in: None,
            source: Source::Nobody,
            sqlstate: "40001".to_owned(),
        };
        let report = BlindReport { row, unseen: Unseen::NeverRead };
        let fields = report.fields();
        let field = |code: u8| fields.iter().find(|f| f.0 == code).unwrap().1.as_str();
        assert_eq!(field(b'M'), "blind write on project 7: this connection has not read the row");
        assert_eq!(
            field(b'D'),
            "{\"entity_type\":\"project\",\"entity_id\":\"7\",\"expected_version\":null,\"actual_version\":6,\
             \"current_state\":{\"name\": \"x\"}}"
        );
        assert_eq!((field(b'C'), field(b'n')), ("40001", "projects_version_conflict"));
        assert!(field(b'H').starts_with("Read the row first, then write it."));
    }

    #[test]
    fn names_the_scope() {
        for (unseen, scope, fact) in [
            (Unseen::NeverRead, "context", "this context has not read the row"),
            (Unseen::Dropped, "transaction", "this transaction's read of the row no longer counts"),
            (
                Unseen::NoLabel,
                "context",
                "no label tells whose reads count, and this transaction has not read the row",
            ),
        ] {
            assert_eq!(unseen.fact(scope), fact);
        }
    }
}
