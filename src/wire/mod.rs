//! The PostgreSQL wire protocol as bytes: frames, readers, editors, builders. Knows no SQL and does no I/O.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`tag`] | the type bytes of both directions |
//! | [`frame`] | finds where a frame ends |
//! | [`startup`] | the untagged packets that open a connection |
//! | [`read`] | borrowed views of the bodies that the proxy inspects |
//! | [`edit`] | writes a received message again with one thing changed, every other byte as it was |
//! | [`build`] | messages that the proxy makes itself |
//! | [`auth`] | authentication messages |
//! | [`buffer`] | read and write buffers, and runs that move between them |
//!
//! Nothing here trusts its input: a reader returns `None` for a body that does not follow the protocol, and an
//! editor or builder that cannot write a sound frame writes nothing and returns `false`.
//! Message layouts: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

pub mod auth;
pub mod buffer;
pub mod build;
mod cursor;
pub mod edit;
pub mod frame;
pub mod read;
pub mod startup;
pub mod tag;

#[cfg(test)]
mod hostile;
