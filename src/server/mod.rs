//! Listeners, worker runtimes, upstream, cancel, shutdown.
//!
//! One control thread accepts clients and hands each to the worker with the fewest sessions, where it stays; it also
//! answers HTTP and probes the upstream. Workers are threads with a current-thread runtime each.

pub mod cancel;
mod listen;
pub mod probe;
mod run;
pub mod shared;
pub mod stream;
pub mod upstream;
mod worker;

pub use cancel::{CancelError, forward_cancel};
pub use run::{ServeError, run};
pub use shared::Shared;
pub use stream::{Peer, Stream};
pub use upstream::{Upstream, UpstreamError};
