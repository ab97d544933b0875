//! What the proxy says about the run: the conflicts are counted, and no secret is in anything it said.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::demo::DemoError;
use crate::cli::demo::http::{get, samples};
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

const READ: &str = "SELECT id, email, password_hash FROM users WHERE id = $1";
const SAVE: &str = "UPDATE users SET password_hash = $1, display_name = $2 WHERE id = $3";

/// What every password hash of the planner begins with.
const HASH_PREFIX: &str = "$2b$12$";

/// A conflict on a password, then the metrics, then a search for hashes in all that was said.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let mut checks = vec![password_conflict(stage).await?];
    let body = get(stage.http, "/metrics").await?;

    let counted = samples(&body, "version_conflicts_total");
    let total: f64 = counted.iter().map(|(_, n)| n).sum();
    let labelled = counted
        .iter()
        .all(|(labels, _)| labels.contains("entity_type=\"") && labels.contains("environment=\""));
    let met = stage.ledger.shown().conflicts;
    checks.push(Check::new(
        "version_conflicts_total",
        format!("{met}: as many as the clients met, by entity_type and environment"),
        format!("{total}, by {}", if labelled { "entity_type and environment" } else { "other labels" }),
        total == met as f64 && labelled,
    ));

    let events = conflict_events(stage, met).await;
    let lines = stage.log.lines();
    checks.push(Check::new(
        "the log's conflict events",
        format!("{met} JSON lines, level WARNING"),
        format!("{events} JSON lines, level WARNING"),
        events == met,
    ));

    let errors = stage.ledger.shown().errors.clone();
    let told = |texts: &[String]| texts.iter().filter(|t| t.contains(HASH_PREFIX)).count();
    let found = [told(&errors), told(&lines), body.matches(HASH_PREFIX).count()];
    checks.push(Check::equal(
        "password hashes told",
        "0 in errors, 0 in the log, 0 in metrics",
        format!("{} in errors, {} in the log, {} in metrics", found[0], found[1], found[2]),
    ));
    Ok(checks)
}

/// Counts the log's conflict events. The last of them may still be on its way through the pipe.
async fn conflict_events(stage: &Stage, wanted: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let found = stage.log.lines().iter().filter(|line| is_conflict_event(line)).count() as u64;
        if found >= wanted || Instant::now() >= end {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two administrators reset the same password: the refused one learns of the conflict, not of the hash.
async fn password_conflict(stage: &Stage) -> Result<Check, DemoError> {
    let id = stage.id("users", 20).await?;
    let (ada, ben) = stage.two_users().await?;
    ada.query(READ, &[&id]).await?;
    ben.query(READ, &[&id]).await?;
    let hash = |letter: &str| format!("{HASH_PREFIX}{}", letter.repeat(53));
    ada.save(SAVE, &[&hash("a"), &"Reset by Ada", &id]).await?;
    let refused = ben.save(SAVE, &[&hash("b"), &"Reset by Ben", &id]).await?;
    let state = refused.conflict().and_then(|c| c.detail.get("current_state"));
    let seen = match (refused.conflict(), state) {
        (Some(_), Some(state)) => format!(
            "{}: display_name {}, password_hash {}",
            refused.word(),
            state.get("display_name").map_or("not shown".into(), Value::to_string),
            if state.get("password_hash").is_some() { "shown" } else { "not shown" }
        ),
        (Some(_), None) => format!("{} without current_state", refused.word()),
        (None, _) => refused.word(),
    };
    Ok(Check::equal(
        "two administrators reset a password",
        "conflict 40001: display_name \"Reset by Ada\", password_hash not shown",
        seen,
    ))
}

/// The event that the proxy logs for each conflict.
fn is_conflict_event(line: &str) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return false };
    let fields = event.get("fields").unwrap_or(&event);
    let level = event.get("level").and_then(Value::as_str).unwrap_or_default();
    matches!(level, "WARN" | "WARNING")
        && ["entity_type", "entity_id", "expected_version"].iter().all(|f| fields.get(f).is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_conflict_event_is_a_json_warning_that_names_the_row() {
        let event = r#"{"level":"WARNING","entity_type":"project","entity_id":"1","expected_version":1}"#;
        assert!(is_conflict_event(event));
        assert!(!is_conflict_event(&event.replace("WARNING", "INFO")));
        assert!(!is_conflict_event("WARNING project 1"));
        assert!(!is_conflict_event(r#"{"level":"WARNING","message":"upstream is slow"}"#));
    }
}
