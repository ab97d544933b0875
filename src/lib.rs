//! Staleguard: a transparent PostgreSQL wire-protocol proxy that adds optimistic locking.
//!
//! # Where things live
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`wire`] | frames, message readers and builders, startup packets. Knows no SQL |
//! | [`sql`] | tokens, clauses, literals and keys, prefilter, splicing. Knows no network, no versions |
//! | [`catalog`] | the protected tables as the server has them, and the look that reads them |
//! | [`rewrite`] | pure: statement text + catalog -> plan. One file per rule |
//! | [`observe`] | which version of which row a scope has seen, the undo of own writes, contexts by label and unit |
//! | [`conflict`] | what a conflict is: its error, its log event |
//! | [`session`] | one client: its two lanes, reply queue, prepared statements, transaction, probe; whose reads count (`whose`) |
//! | [`store`] | the contexts that several proxies share: Redis or Valkey behind a trait of [`observe::context`] |
//! | [`server`] | listeners, worker runtimes, upstream probes, cancel, shutdown |
//! | [`auth`] | authentication mode `proxy`: SCRAM with the client, the proxy's own login to the server |
//! | [`tls`] | certificates and keys, what is asked of the other side, files that are read again |
//! | [`telemetry`] | metric names, logs, the HTTP endpoints |
//! | [`config`] | settings, their sources and checks |
//! | [`migrate`] | version columns: up, down, status |
//! | [`throwaway`] | a PostgreSQL cluster in a temporary folder, for the demo and the tests |
//! | [`cli`] | one file per command |
//!
//! # The life of one UPDATE, in five stops
//!
//! 1. [`session`] reads a frame (`Query` or `Parse`) and asks the prefilter whether it names a protected word.
//! 2. [`sql`] tokenises the text and names its clauses.
//! 3. [`rewrite`] makes a plan: byte offsets and what goes there, never a re-printed statement.
//! 4. [`session`] renders the plan with the expected version, sends it and queues the reply.
//! 5. [`conflict`] judges zero rows after the session's probe, and words the error.

pub mod auth;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod conflict;
pub mod migrate;
pub mod observe;
pub mod rewrite;
pub mod server;
pub mod session;
pub mod sql;
pub mod store;
pub mod telemetry;
pub mod throwaway;
pub mod tls;
pub mod wire;
