//! What a conflict is, its error, and its log event. Pure but for the log event and the refused writes that are waited for; no I/O.
//!
//! | file | what it does |
//! | --- | --- |
//! | `judge` | a checked write matched no row: conflict, or the server's own `UPDATE 0`? |
//! | `state_query` | the one read of the row's present state for the error's DETAIL |
//! | `report` | the fields of the error that the client gets |
//! | `blind` | the error for a blind write that a table refuses |
//! | `redact` | which columns an error may show |
//! | `retry` | whether who was refused tries again, and gets through |
//! | `log` | the WARNING that goes to the log |
//!
//! `docs/errors.md` describes the error for those who catch it.

mod blind;
mod judge;
mod log;
mod redact;
mod report;
mod retry;
mod state_query;

pub use blind::{BlindReport, Unseen};
pub use judge::{PassReason, Probed, Verdict, ZeroRows, judge};
pub use log::{ConflictEvent, Connection};
pub use redact::{redacted, state_columns};
pub use report::{ConflictReport, Source, ascii_fields};
pub use retry::{Retries, RetryOutcome, Who};
pub use state_query::{MAX_STATE_BYTES, StateQuery, state_query};
