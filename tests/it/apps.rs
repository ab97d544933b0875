//! Whole web applications before the proxy: real frameworks with real pools, in the configuration that they come in.

use std::path::Path;
use std::process::Command;

use crate::clients::python;
use crate::common::proxy::to_end;
use crate::common::twin::{Stage, stage_with};

const SCHEMA: &str = include_str!("../clients/apps/schema.sql");
/// The database of the applications.
const DATABASE: &str = "apps";

/// A stage with the database of the applications.
fn stage(arguments: &[&str]) -> Stage {
    let stage = stage_with(arguments);
    stage.cluster.direct("postgres").ok(&format!("create database {DATABASE}"));
    stage.cluster.direct(DATABASE).ok(SCHEMA);
    stage
}

fn context(label: &str, more: &[&str]) -> Stage {
    stage(&[&["--scope", "context", "--context-label", label], more].concat())
}

/// Runs a script of tests/clients/apps to its end, against a port.
fn play(port: u16, script: &str, act: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/apps").join(script);
    let mut command = Command::new(python());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PGSSLMODE");
    command.arg(path).args(["127.0.0.1", &port.to_string(), DATABASE, act]);
    let (status, text) = to_end(&mut command);
    assert!(status.success(), "{script} {act}: {status}\n{text}");
}

const IDENTITY: &str = "lookup:users.id";

#[test]
fn fastapi_and_sqlalchemy_unmodified_and_unlabelled() {
    let stage = context(IDENTITY, &[]);
    play(stage.proxy.port(), "fastapi_users.py", "proxied");
    assert_eq!(stage.proxy.metric("staleguard_blind_writes_total", &[("cause", "no_label")]), 0.0);
}

#[test]
fn fastapi_and_sqlalchemy_lose_the_first_save_without_the_proxy() {
    let stage = stage(&[]);
    play(stage.cluster.port(), "fastapi_users.py", "direct");
}

#[test]
fn fastapi_and_sqlalchemy_tell_the_user_what_their_handler_makes_of_the_code() {
    let stage = context(IDENTITY, &["--conflict-sqlstate", "OL409"]);
    play(stage.proxy.port(), "fastapi_users.py", "own code");
    assert_eq!(stage.conflicts(), 2.0);
}
