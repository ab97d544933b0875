//! A table comes under protection when its version column appears, without a restart of anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::common::LIMIT;
use crate::common::cluster::cluster;
use crate::common::conflict::on_project;
use crate::common::frames::{bind, describe, execute, parse, sync};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{commands, error, rows, shape, sqlstate};
use crate::common::twin::{Stage, stage};

/// Lets every view of the catalog grow older than the 200 ms that a test's proxy allows.
const OLDER: &str = "select pg_sleep(0.25)";

fn migrate(stage: &Stage, direction: &str, database: &str) {
    let dsn = format!("postgres://postgres@{}/{database}", stage.cluster.address());
    let (status, text) = to_end(staleguard().args(["migrate", direction, "--dsn", &dsn]));
    // Other tables of the stage have business columns called version, which `up` reports as failures.
    assert!(status.success() || text.contains("actuals"), "{text}");
}

/// Writes through the proxy until the write bumps: the proxy looks at the catalog every five seconds.
fn until_protected(stage: &Stage) {
    let mut mine = stage.session();
    let end = Instant::now() + LIMIT;
    while stage.version("projects", "id = 9") == "1" {
        assert!(Instant::now() < end, "the table never came under protection");
        assert_eq!(mine.ok("update projects set name = 'x' where id = 9"), "UPDATE 1");
    }
}

#[test]
fn sessions_and_statements_from_before_the_migration_go_on_through_it() {
    let stage = stage();
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("alter table projects drop column version");
    }
    let mut twin = stage.twin();
    let narrow = "select name from projects where id = $1";
    let write = "update projects set name = $1 where id = $2";
    let star = "select * from projects where id = $1";
    for (name, sql) in [("narrow", narrow), ("write", write), ("star", star)] {
        assert_eq!(
            shape(&twin.exchange(&[parse(name, sql, &[]), describe('S', name), sync()])).chars().next(),
            Some('1')
        );
    }
    let run = |name: &str, values: &[&str]| [bind(name, values), execute("", 0), sync()];
    twin.exchange(&run("narrow", &["1"]));
    twin.exchange(&run("write", &["unprotected", "1"]));
    twin.exchange(&run("star", &["1"]));

    migrate(&stage, "up", "direct");
    migrate(&stage, "up", "proxied");
    until_protected(&stage);

    // The statement whose result has grown fails as it does without a proxy, and only that one.
    assert_eq!(sqlstate(&twin.exchange(&run("star", &["1"]))), "0A000");
    assert_eq!(shape(&twin.exchange(&run("narrow", &["1"]))), "2DCZ");
    assert_eq!(commands(&twin.exchange(&run("write", &["x", "1"]))), ["UPDATE 1"]);
    assert_eq!(shape(&twin.exchange(&[parse("star2", star, &[]), describe('S', "star2"), sync()])), "1tTZ");
    assert_eq!(shape(&twin.exchange(&run("star2", &["2"]))), "2DCZ");
    assert_eq!(stage.version("projects", "id = 1"), "2");

    // And they are guarded now.
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let reply = twin.proxied.exchange(&run("write", &["mine", "1"]));
    on_project("1", 2, Some(3)).check(&reply, 'I');
    assert_eq!(rows(&twin.proxied.exchange(&run("narrow", &["1"]))), [["theirs"]]);
    assert_eq!(commands(&twin.proxied.exchange(&run("write", &["mine", "1"]))), ["UPDATE 1"]);
}

#[test]
fn no_statement_fails_while_the_column_goes_and_comes() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, &["--catalog-max-age", "200ms"]);
    let stage = Stage { proxy, cluster };
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[catalog]\nmax_age = \"200ms\"\n").unwrap();
    let dsn = format!("postgres://postgres@{}/proxied", stage.cluster.address());
    let done = AtomicBool::new(false);
    let work = &|id: &str| {
        let mut mine = stage.session();
        let write = "update projects set name = $1 where id = $2";
        mine.exchange(&[
            parse("r", "select name from projects where id = $1", &[]),
            parse("w", write, &[]),
            sync(),
        ]);
        let mut rounds = 0;
        while !done.load(Ordering::Relaxed) {
            rounds += 1;
            for reply in [
                mine.exchange(&[bind("r", &[id]), describe('P', ""), execute("", 0), sync()]),
                mine.exchange(&[bind("w", &["prepared", id]), execute("", 0), sync()]),
                mine.query(&format!("select name from projects where id = {id}")),
                mine.query(&format!("update projects set name = 'simple' where id = {id}")),
                mine.extended(write, &["unnamed", id]),
                mine.query(&format!("begin; update projects set name = 'block' where id = {id}; commit")),
            ] {
                assert!(error(&reply).is_none(), "round {rounds}: {reply:?}");
            }
        }
        rounds
    };
    std::thread::scope(|scope| {
        let workers = ["1", "2"].map(|id| scope.spawn(move || work(id)));
        for direction in ["down", "up", "down"] {
            let mut command = staleguard();
            command
                .args(["migrate", direction, "--table", "projects", "--dsn", &dsn, "--config"])
                .arg(config.path());
            let (status, text) = to_end(&mut command);
            if !status.success() {
                done.store(true, Ordering::Relaxed);
            }
            assert!(status.success(), "{direction}: {text}");
        }
        done.store(true, Ordering::Relaxed);
        for worker in workers {
            assert!(worker.join().unwrap() > 10);
        }
    });
    let columns =
        "select count(*) from pg_attribute where attrelid = 'projects'::regclass and attname = 'version'";
    assert_eq!(stage.behind().value(columns), "0");
}

#[test]
fn what_was_known_goes_with_a_column_made_anew() {
    let cluster = cluster();
    let stage = Stage { proxy: Proxy::start(&cluster, &["--catalog-max-age", "200ms"]), cluster };
    let write = "update projects set name = 'x' where id = 1";
    for looks_between in [false, true] {
        let mut mine = stage.session();
        mine.ok("select * from projects where id = 1");
        for _ in 0..3 {
            assert_eq!(mine.ok(write), "UPDATE 1");
        }
        stage.behind().ok("alter table projects drop column version");
        stage.behind().ok(OLDER);
        if looks_between {
            assert_eq!(mine.ok(write), "UPDATE 1");
        }
        stage.behind().ok("alter table projects add column version integer not null default 1");
        stage.behind().ok(OLDER);
        assert_eq!(mine.ok(write), "UPDATE 1", "looks between: {looks_between}");
        assert_eq!(stage.version("projects", "id = 1"), "2");
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_look_before_every_statement_still_lets_it_through() {
    let cluster = cluster();
    let stage = Stage { proxy: Proxy::start(&cluster, &["--catalog-max-age", "0s"]), cluster };
    let mut mine = stage.session();
    for _ in 0..3 {
        assert_eq!(mine.rows("select name from projects where id = 1").len(), 1);
        assert_eq!(
            commands(&mine.extended("update projects set name = $1 where id = 1", &["x"])),
            ["UPDATE 1"]
        );
    }
    assert_eq!(stage.version("projects", "id = 1"), "4");
}
