//! Integration tests: the real binary before a real PostgreSQL, which is also the oracle.
//!
//! One test program for all topics, so that the library is linked once. Each test gets a PostgreSQL and a proxy
//! of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apps;
mod blind;
mod bounds;
mod client_statements;
mod clients;
mod common;
mod coverage;
mod current_of;
mod cursors;
mod delete;
mod delete_batches;
mod differential;
mod explain;
mod failover;
mod failure_modes;
mod found_races;
mod guard;
mod guard_state;
mod hidden_columns;
mod inserts;
mod key_lists;
mod key_types;
mod keys;
mod labels;
mod lifecycle;
mod lost_update;
mod meetings;
mod migration;
mod names;
mod nested_writes;
mod observations;
mod observe;
mod parallel;
mod portals;
mod positions;
mod prepared_meetings;
mod protocol;
mod refused;
mod relay;
mod replay;
mod review;
mod scope_model;
mod scope_settings;
mod scopes;
mod second_look;
mod set_writes;
mod settings;
mod shared_store;
mod slow_looks;
mod sql_prepare;
mod startup;
mod trigger;
mod two_users;
mod unchecked;
mod views;
mod zero_rows;
