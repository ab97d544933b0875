//! What the tests share: a throwaway PostgreSQL, the proxy before it, a raw client, twin sessions.

use std::time::Duration;

pub mod certs;
pub mod cluster;
pub mod conflict;
pub mod frames;
pub mod log;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod socket;
pub mod switch;
pub mod tls;
pub mod twin;

/// How long any one thing may take before a test fails. Generous: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(20);
