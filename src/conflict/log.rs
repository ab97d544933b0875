//! The WARNING that a conflict leaves in the log: who, what and when, never a column value or a parameter.

use super::report::ConflictReport;
use crate::telemetry::targets;

/// The connection whose write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The proxy's number of the session.
    pub session: u64,
    /// Database.
    pub database: &'a str,
    /// Database role.
    pub role: &'a str,
    /// `application_name` as it is now.
    pub application: &'a str,
    /// Address of the client.
    pub client: &'a str,
}

/// One conflict, ready to be logged.
#[derive(Debug, Clone, Copy)]
pub struct ConflictEvent<'a> {
    /// The report that the client gets.
    pub report: &'a ConflictReport,
    /// Where it came from.
    pub connection: Connection<'a>,
    /// Who is at work: the label, in scope `context`.
    pub user_id: Option<&'a str>,
}

impl ConflictEvent<'_> {
    /// Emits the event. `actual_version` has no value where the row is gone, `user_id` none where nobody is
    /// named; the log's format adds the timestamp.
    pub fn emit(&self) {
        self.log("refused", &self.report.message());
    }

    /// Emits the event of a write in mode `observe` that has landed.
    pub fn emit_observed(&self) {
        self.log("would_conflict", &format!("not refused, mode observe: {}", self.report.message()));
    }

    fn log(&self, outcome: &'static str, message: &str) {
        let Self { report, connection, user_id, .. } = self;
        tracing::warn!(
            target: targets::CONFLICT,
            outcome,
            entity_type = report.entity.as_str(),
            entity_id = report.entity_id.as_str(),
            expected_version = report.expected,
            actual_version = report.actual,
            user_id = *user_id,
            source = report.source.label(),
            seen_seconds_ago = report.seen_ago.map(|ago| ago.as_secs()),
            seen_in = report.seen_in.as_deref(),
            scope = report.scope,
            sqlstate = report.sqlstate.as_str(),
            session = connection.session,
            database = connection.database,
            role = connection.role,
            application_name = connection.application,
            client = connection.client,
            "{message}"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::{LogFormat, LogSettings, value};
    use crate::conflict::Source;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn logs_facts_and_no_values() {
        let sink = Sink::default();
        let writer = sink.clone();
        let level = value::log_level(&value::Raw::Text("info".into())).unwrap();
        let settings = LogSettings { format: LogFormat::Json, level };
        let subscriber = crate::telemetry::log::subscriber(&settings, false, move || writer.clone());
        let report = ConflictReport {
            entity: "user".into(),
            entity_id: "42".into(),
            schema: "public".into(),
            table: "users".into(),
            version_column: "version".into(),
            expected: 5,
            actual: Some(6),
            current_state: Some(r#"{"name": "Ada Lovelace"}"#.into()),
            scope: "connection",
            seen_ago: Some(std::time::Duration::from_millis(12_300)),
            seen_in: Some("transaction 3 of session 7".into()),
            source: Source::Observed,
            sqlstate: "40001".into(),
        };
        let connection = Connection {
            session: 7,
            database: "planner",
            role: "app",
            application: "web",
            client: "127.0.0.1:5000",
        };
        tracing::subscriber::with_default(subscriber, || {
            ConflictEvent { report: &report, connection, user_id: None }.emit();
        });
        let line = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        for part in [
            r#""level":"WARNING""#,
            r#""message":"version conflict on user 42: expected version 5, actual version 6""#,
            r#""entity_type":"user""#,
            r#""entity_id":"42""#,
            r#""expected_version":5"#,
            r#""actual_version":6"#,
            r#""user_id":null"#,
            r#""session":7"#,
            r#""seen_seconds_ago":12"#,
            r#""seen_in":"transaction 3 of session 7""#,
            r#""target":"staleguard::conflict""#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("Ada"), "{line}");
    }
}
