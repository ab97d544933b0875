//! Whole web applications before the proxy: real frameworks with real pools, in the configuration that they come in.

use std::path::{Path, PathBuf};
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

/// Plays one act with the settings that it needs: the second save is `refused`, or it `lands`.
fn act(script: &str, act: &str, outcome: &str, arguments: &[&str]) {
    let stage = stage(arguments);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/apps").join(script);
    let mut command = Command::new(python());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PGSSLMODE");
    let port = stage.proxy.port().to_string();
    command.arg(path).args(["127.0.0.1", &port, DATABASE, act, outcome]);
    let (status, text) = to_end(&mut command);
    assert!(status.success(), "{script} {act}, {arguments:?}: {status}\n{text}");
    assert_eq!(stage.conflicts() > 0.0, outcome == "refused", "{script} {act}, {arguments:?}");
}

/// The arguments of scope `context`.
macro_rules! labelled {
    ($label:literal $(, $more:literal)*) => { &["--scope", "context", "--context-label", $label $(, $more)*] };
}

#[test]
fn sqlalchemy_with_labels_and_without() {
    let script = "sqlalchemy_labels.py";
    act(script, "comment", "refused", labelled!("comment:user"));
    act(script, "setting", "refused", labelled!("setting:app.user_id"));
    act(script, "set local", "refused", labelled!("setting:app.user_id"));
    // Without a label the save's own read is what counts.
    act(script, "none", "lands", labelled!("comment:user"));
    act(script, "none", "lands", &[]);
}

#[test]
fn one_user_with_two_tabs() {
    act("sqlalchemy_labels.py", "tabs", "refused", labelled!("comment:user"));
    act("sqlalchemy_labels.py", "by tab", "refused", labelled!("comment:tab"));
}

#[test]
fn asyncpg_pool_with_labels_and_without() {
    let script = "asyncpg_pool.py";
    act(script, "comment", "refused", labelled!("comment:user"));
    act(
        script,
        "setting",
        "refused",
        labelled!("setting:app.user_id", "--context-unit", "setting:app.request_id"),
    );
    act(script, "lookup", "refused", labelled!("lookup:users.id"));
    // The reset after each use ends what the connection knew.
    act(script, "none", "lands", &[]);
    act(script, "none", "lands", labelled!("comment:user"));
}

#[test]
fn django_in_autocommit_with_labels_and_without() {
    let script = "django_app.py";
    act(script, "comment", "refused", labelled!("comment:user"));
    act(
        script,
        "setting",
        "refused",
        labelled!("setting:app.user_id", "--context-unit", "setting:app.request_id"),
    );
    act(
        script,
        "session",
        "refused",
        labelled!("lookup:django_session.session_key", "--context-sticky", "true"),
    );
    act(script, "atomic requests", "refused", labelled!("lookup:django_session.session_key"));
    // Without a request key the save's own read is an earlier unit; without sticky the lookup is alone in its own.
    act(script, "setting", "lands", labelled!("setting:app.user_id"));
    act(script, "session", "lands", labelled!("lookup:django_session.session_key"));
    act(script, "none", "lands", &[]);
}

#[test]
fn jdbc_pool_with_a_label_and_without() {
    let jars = ["postgresql", "HikariCP", "slf4j-api"].map(|jar| format!("/usr/share/java/{jar}.jar"));
    // tests/clients/missing.sh tells `make test` to leave it out where one of them is not there.
    assert!(
        Command::new("javac").arg("-version").output().is_ok(),
        "there is no JDK (Debian: default-jdk-headless)"
    );
    for jar in &jars {
        assert!(
            Path::new(jar).exists(),
            "there is no {jar} (Debian: libpostgresql-jdbc-java, libhikaricp-java)"
        );
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/apps/PoolUsers.java");
    let arguments: &[&str] = labelled!("lookup:users.id");
    for (act, outcome, arguments) in
        [("lookup", "refused", arguments), ("none", "lands", arguments), ("none", "lands", &[])]
    {
        let stage = stage(arguments);
        let mut command = Command::new("java");
        command.args(["-cp", &jars.join(":")]).arg(&file);
        command.args(["127.0.0.1", &stage.proxy.port().to_string(), DATABASE, act, outcome]);
        let (status, text) = to_end(&mut command);
        assert!(status.success(), "{act} {outcome} {arguments:?}: {status}\n{text}");
        assert_eq!(stage.conflicts() > 0.0, outcome == "refused", "{act} {arguments:?}");
    }
}

#[test]
fn node_postgres_pool_with_a_label_and_without() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), PathBuf::from);
    let modules = target.join("node/node_modules");
    // tests/clients/missing.sh tells `make test` to leave it out where it is not there.
    assert!(
        modules.join("pg").exists(),
        "there is no pg for node (tests/clients/setup.sh installs it where npm is)"
    );
    let file = root.join("tests/clients/apps/pool_users.cjs");
    let arguments: &[&str] = labelled!("comment:user");
    for (act, outcome, arguments) in
        [("comment", "refused", arguments), ("none", "lands", arguments), ("none", "lands", &[])]
    {
        let stage = stage(arguments);
        let mut command = Command::new("node");
        command.env("NODE_PATH", &modules).arg(&file);
        command.args(["127.0.0.1", &stage.proxy.port().to_string(), DATABASE, act, outcome]);
        let (status, text) = to_end(&mut command);
        assert!(status.success(), "{act} {outcome} {arguments:?}: {status}\n{text}");
        assert_eq!(stage.conflicts() > 0.0, outcome == "refused", "{act} {arguments:?}");
    }
}
