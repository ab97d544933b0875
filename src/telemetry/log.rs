//! The log: one JSON object a line, or a line for people, on the standard error stream.

use std::fmt;
use std::io::IsTerminal;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFormat, LogLevel, LogSettings};

/// The process has a log already.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be set up: {0}")]
pub struct LogError(#[from] tracing::subscriber::SetGlobalDefaultError);

/// Sends the process's log events to the standard error stream. Call once.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    let ansi = std::io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(settings, ansi, std::io::stderr))?;
    Ok(())
}

/// Writes events to `writer` as the settings say.
pub(crate) fn subscriber<W>(
    settings: &LogSettings,
    ansi: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter(&settings.level));
    let layer = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    match settings.format {
        LogFormat::Json => Box::new(registry.with(layer.event_format(JsonLines))),
        LogFormat::Human => Box::new(registry.with(layer.with_timer(Rfc3339))),
    }
}

/// Libraries speak from `warn` on at most: a log at `trace` shows our events, not those of the I/O loop.
fn filter(level: &LogLevel) -> Targets {
    let others = level.all.min(LevelFilter::WARN);
    Targets::new()
        .with_default(others)
        .with_target("staleguard", level.all)
        .with_targets(level.targets.iter().map(|(target, level)| (target.clone(), *level)))
}

/// RFC 3339 in UTC with microseconds.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.6}", jiff::Timestamp::now())
    }
}

/// `timestamp`, `level`, `target`, `message`, then the event's fields in their order. A field that was declared but
/// has no value (`None`) is `null`: a reader of conflict events finds `actual_version` and `user_id` in each.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields(metadata.fields().iter().map(|f| (f.name(), Value::Null)).collect());
        event.record(&mut fields);
        let message = fields.0.iter().position(|(name, _)| *name == "message").map(|i| fields.0.remove(i).1);

        write!(w, "{{\"timestamp\":\"{:.6}\"", jiff::Timestamp::now())?;
        write!(w, ",\"level\":\"{}\"", level_name(*metadata.level()))?;
        write!(w, ",\"target\":{}", Value::from(metadata.target()))?;
        if let Some(message) = message {
            write!(w, ",\"message\":{message}")?;
        }
        for (name, value) in fields.0 {
            write!(w, ",{}:{value}", Value::from(name))?;
        }
        writeln!(w, "}}")
    }
}

/// WARNING as PostgreSQL and most log readers call it.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, events: impl FnOnce()) -> String {
        let level =
            crate::config::value::log_level(&crate::config::value::Raw::Text(level.to_owned())).unwrap();
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(&LogSettings { format, level }, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_every_declared_field() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::warn!(
                target: crate::telemetry::targets::CONFLICT,
                entity_type = "project",
                entity_id = %"a \"quoted\" id",
                expected_version = 5,
                actual_version = None::<i64>,
                "version conflict"
            );
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["level"], "WARNING");
        assert_eq!(event["target"], "staleguard::conflict");
        assert_eq!(event["message"], "version conflict");
        assert_eq!(event["entity_id"], "a \"quoted\" id");
        assert_eq!(event["expected_version"], 5);
        assert!(event["actual_version"].is_null() && text.contains("\"actual_version\":null"));
        let timestamp = event["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    }

    #[test]
    fn levels_hold_by_target() {
        let events = || {
            tracing::debug!(target: "staleguard::session", "one");
            tracing::debug!(target: "staleguard::server", "two");
            tracing::info!(target: "another_crate", "three");
            tracing::error!(target: "another_crate", "four");
        };
        let text = logged(LogFormat::Human, "info,staleguard::session=debug", events);
        let seen: Vec<_> = ["one", "two", "three", "four"].into_iter().filter(|w| text.contains(w)).collect();
        assert_eq!(seen, ["one", "four"], "{text}");
        assert_eq!(logged(LogFormat::Human, "off", events), "");
    }
}
