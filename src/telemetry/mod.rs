//! Metrics, logs, and the HTTP endpoints.

mod encryption;
pub mod health;
pub mod http;
pub mod log;
pub mod metrics;
pub mod names;
pub mod notices;
pub mod store;
pub mod targets;
pub mod units;
pub mod users;

pub use metrics::{CatalogLook, ErrorSource, Metrics, Observed, WriteOutcome};
