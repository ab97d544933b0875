//! Listeners, worker runtimes, upstream, cancel, shutdown.

pub mod cancel;
pub mod shared;
pub mod upstream;

pub use cancel::{CancelError, forward_cancel};
pub use shared::Shared;
pub use upstream::{Upstream, UpstreamError};
