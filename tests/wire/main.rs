//! The differential wire rig: scripts of raw frontend messages, each played at PostgreSQL direct and through the proxy.
//! PostgreSQL is the oracle: every reply byte must be the same, but for what [`compare`] declares and what a script has on
//! record with a reason. `README.md` has the format of scripts and how to run one.
//!
//! Each topic (a folder of `scripts/`) is a test. It has two servers that are copies of each other, the second with the
//! proxy before it, and each script gets a new database on both.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The other test program uses what this one does not.
#[allow(dead_code)]
#[path = "../it/common/mod.rs"]
mod common;
mod compare;
mod decode;
mod play;
mod script;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::cluster::Cluster;
use common::proxy::Proxy;
use play::{Side, play};
use script::Script;

/// A test for each topic, and the list of them.
macro_rules! topics {
    ($(#[test] fn $topic:ident();)*) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];
        $(#[test]
        fn $topic() {
            run(stringify!($topic));
        })*
    };
}

topics! {
    #[test]
    fn cancel();
    #[test]
    fn copy();
    #[test]
    fn encoding();
    #[test]
    fn errors();
    #[test]
    fn flight();
    #[test]
    fn flush();
    #[test]
    fn functions();
    #[test]
    fn hidden_columns();
    #[test]
    fn messages();
    #[test]
    fn notices();
    #[test]
    fn portals();
    #[test]
    fn positions();
    #[test]
    fn replication();
    #[test]
    fn startup();
    #[test]
    fn statements();
    #[test]
    fn texts();
}

/// What every server of the rig is started with.
const SETTINGS: &[&str] = &["wal_level=logical", "lc_messages=C"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/scripts")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// The scripts of a topic; with `STALEGUARD_WIRE` those alone whose `topic/name` contains it.
fn scripts(topic: &str) -> Vec<Script> {
    let only = std::env::var("STALEGUARD_WIRE").unwrap_or_default();
    let mut scripts = Vec::new();
    for path in entries(&folder().join(topic)) {
        let name = format!("{topic}/{}", stem(&path));
        assert!(path.extension().is_some_and(|e| e == "wire"), "{} is no script", path.display());
        if name.contains(&only) {
            let text = fs::read_to_string(&path).unwrap();
            scripts.push(Script::read(&name, &text).unwrap_or_else(|e| panic!("{name}: {e}")));
        }
    }
    scripts
}

fn run(topic: &str) {
    let scripts = scripts(topic);
    if scripts.is_empty() {
        return;
    }
    let start = || Cluster::start(SETTINGS);
    let (direct, behind) = std::thread::scope(|scope| {
        let other = scope.spawn(start);
        (start(), other.join().unwrap())
    });
    let proxy = Proxy::start(&behind, &["--mode", "enforce"]);
    let sides = [
        Side { cluster: &direct, address: direct.address() },
        Side { cluster: &behind, address: proxy.address().to_owned() },
    ];
    let mut failures = Vec::new();
    for script in &scripts {
        let database = new_database(&[&direct, &behind]);
        if let Err(report) = play(script, &sides[0], &sides[1], &database) {
            failures.push(format!("--- {} (- direct, + through the proxy)\n{report}", script.name));
        }
    }
    let log = proxy.log().text();
    assert!(failures.is_empty(), "{} of {} scripts:\n{}", failures.len(), scripts.len(), failures.join("\n"));
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(proxy.metric("staleguard_sessions_desynced_total", &[]), 0.0);
}

/// A copy of the database that tests start from, under the same name on all of them.
fn new_database(clusters: &[&Cluster]) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("wire{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let sql = format!("create database {name} template direct strategy file_copy");
    std::thread::scope(|scope| {
        for cluster in clusters {
            scope.spawn(|| cluster.direct("postgres").ok(&sql));
        }
    });
    name
}

#[test]
fn each_topic_has_a_test_and_there_are_enough_scripts() {
    let found: Vec<_> = entries(&folder()).iter().map(|p| stem(p)).collect();
    assert_eq!(found, TOPICS);
    let count = |topic: &&str| entries(&folder().join(topic)).len();
    assert!(TOPICS.iter().map(count).sum::<usize>() >= 60);
}
