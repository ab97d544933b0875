//! `docs/coverage.md` and the tests behind it: each row names the tests that show it, and the rows that no other file
//! is about have theirs here.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::cluster::Cluster;
use crate::common::conflict::on_project;
use crate::common::frames::{bind_raw, execute, message, parse, sync};
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, commands, error, rows, sqlstate};
use crate::common::twin::{Stage, stage};

const PAGE: &str = include_str!("../../docs/coverage.md");
const READ: &str = "select id, name from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// Names of the test functions in the sources below a directory.
fn tests_below(dir: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let (true, Some(name)) = (is_test, name.and_then(|n| n.split('(').next())) {
                    found.insert(name.to_owned());
                }
                is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            }
        }
    }
}

/// The names in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What a section's rows, or its points, name as their tests, with the line that does.
fn claims(section: &str) -> Vec<(String, Vec<String>)> {
    let heading = format!("\n## {section}\n");
    let text = PAGE.split(&heading).nth(1).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap_or(text);
    let names = |of: &str| quoted(of).into_iter().map(str::to_owned).collect();
    let table = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| ---")).skip(1);
    let mut claims: Vec<(String, Vec<String>)> = table
        .map(|row| {
            let last = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
            (row.to_owned(), names(last))
        })
        .collect();
    for point in text.split("\n- ").skip(1) {
        let point = point.split("\n\n").next().unwrap_or(point);
        let shown = point.rsplit_once("Shown by ").map_or("", |(_, shown)| shown);
        claims.push((point.to_owned(), names(shown)));
    }
    assert!(!claims.is_empty(), "nothing in {section}");
    claims
}

#[test]
fn each_row_of_the_page_names_tests_that_exist() {
    let mut tests = HashSet::new();
    for dir in ["src", "tests"] {
        tests_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut tests);
    }
    assert!(tests.contains("each_row_of_the_page_names_tests_that_exist"));
    for section in [
        "Writes",
        "What a write leaves of what is known",
        "Mode `observe`",
        "Reads",
        "Scopes",
        "Visible differences",
    ] {
        for (row, names) in claims(section) {
            assert!(!names.is_empty(), "no test in: {row}");
            for name in names {
                assert!(tests.contains(&name), "no test {name}, named by: {row}");
            }
        }
    }
}

fn version(stage: &Stage, id: &str) -> i64 {
    stage.version("projects", &format!("id = {id}")).parse().unwrap()
}

fn theirs(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set status = 'theirs' where id = {id}"));
}

/// Unchecked writes of `projects` for this reason so far.
fn counted(stage: &Stage, reason: &str) -> f64 {
    stage.proxy.metric("staleguard_unchecked_writes_total", &[("table", "projects"), ("reason", reason)])
}

fn blind(stage: &Stage) -> f64 {
    stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects")])
}

#[test]
fn a_version_written_back_is_what_the_write_is_based_on() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut twin = stage.twin();
        let write = "update projects set name = $1, version = $2 where id = $3";
        twin.say(protocol, "select * from projects where id = $1", &[id]);
        assert_eq!(commands(&twin.say(protocol, write, &["mine", "1", id])), ["UPDATE 1"]);
        assert_eq!(version(&stage, id), 2);
        theirs(&stage, id);
        let mut mine = stage.session();
        // Whether it was read again or not: what counts is what it writes back.
        mine.say(protocol, READ, &[id]);
        on_project(id, 2, Some(3)).check(&mine.say(protocol, write, &["stale", "2", id]), 'I');
        assert_eq!(commands(&mine.say(protocol, write, &["fresh", "3", id])), ["UPDATE 1"]);
        assert_eq!(version(&stage, id), 4);
    }
}

#[test]
fn a_hint_is_what_the_write_is_based_on() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let write = "/* expected_version=1 */ update projects set name = $1 where id = $2";
        assert_eq!(commands(&mine.say(protocol, write, &["mine", id])), ["UPDATE 1"]);
        theirs(&stage, id);
        let mut other = stage.session();
        on_project(id, 1, Some(3)).check(&other.say(protocol, write, &["stale", id]), 'I');
        let quoted = "update projects set name = $1 where id = $2 /*route='x',expected_version='3'*/";
        assert_eq!(commands(&other.say(protocol, quoted, &["fresh", id])), ["UPDATE 1"]);
        assert_eq!(version(&stage, id), 4);
    }
}

#[test]
fn an_insert_starts_at_version_one() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let key = format!("10{id}");
        let mut twin = stage.twin();
        let insert = "insert into projects (id, name) values ($1, 'new') returning id, name";
        assert_eq!(rows(&twin.say(protocol, insert, &[&key])).len(), 1);
        assert_eq!(version(&stage, &key), 1);
        // What it returned is known.
        theirs(&stage, &key);
        on_project(&key, 1, Some(2)).check(&twin.proxied.say(protocol, WRITE, &["stale", &key]), 'I');
    }
}

#[test]
fn more_parameters_than_a_message_holds_are_bumped_and_counted() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    theirs(&stage, "1");
    let numbers: Vec<String> = (3..=65_535).map(|n| format!("${n}")).collect();
    let sql = format!("update projects set name = $1 where id = $2 and id not in ({})", numbers.join(","));
    let values: Vec<Option<&[u8]>> =
        [Some(&b"many"[..]), Some(b"1")].into_iter().chain(numbers.iter().map(|_| Some(&b"7"[..]))).collect();
    let before = counted(&stage, "parameters");
    let reply =
        mine.exchange(&[parse("", &sql, &[]), bind_raw("", "", &[], &values, &[]), execute("", 0), sync()]);
    assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
    assert_eq!((counted(&stage, "parameters") - before, version(&stage, "1")), (1.0, 3));
}

#[test]
fn text_in_an_encoding_that_is_not_read_passes_and_is_counted() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("set client_encoding = 'SJIS'");
    // The second byte of the character is a backslash.
    let sql = b"update projects set name = '\x83\x5c' where id = 1\0";
    let before = counted(&stage, "encoding");
    assert_eq!(commands(&mine.exchange(&[message(b'Q', sql)])), ["UPDATE 1"]);
    let parse = message(b'P', &[&[0][..], sql, &[0, 0]].concat());
    let reply = mine.exchange(&[parse, bind_raw("", "", &[], &[], &[]), execute("", 0), sync()]);
    assert_eq!(commands(&reply), ["UPDATE 1"]);
    assert_eq!((counted(&stage, "encoding") - before, version(&stage, "1")), (2.0, 1));
    assert_eq!(stage.behind().value("select name from projects where id = 1"), "ソ");
    // ASCII means the same in every encoding.
    assert_eq!(mine.ok("update projects set name = 'a' where id = 1"), "UPDATE 1");
    assert_eq!(version(&stage, "1"), 2);
}

/// Functions, triggers, rules and cascades run where no proxy can see them.
#[test]
fn what_runs_inside_the_server_is_not_seen() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok(
        "create function rename(int) returns void language sql as $$ update projects set name = 'f' where id = $1 $$;
         create function echo() returns trigger language plpgsql as
             $$ begin update projects set name = 't' where id = new.id; return new; end $$;
         create trigger echo after update on notes for each row execute function echo();
         create rule other as on delete to notes do also update projects set name = 'r' where id = old.id;
         alter table projects drop constraint projects_portfolio_id_fkey, add foreign key (portfolio_id) references portfolios on update cascade",
    );
    for sql in [
        "select rename(1)",
        "do $$ begin update projects set name = 'd' where id = 1; end $$",
        "update notes set body = 'x' where id = 1",
        "update portfolios set id = '00000000-0000-0000-0000-000000000001' where id = '2531439d-3075-46d6-9c19-63e3342fc43e'",
        "delete from notes where id = 1",
    ] {
        let before = stage.behind().value("select p::text from projects p where id = 1");
        assert!(error(&mine.query(sql)).is_none(), "{sql}");
        assert_ne!(stage.behind().value("select p::text from projects p where id = 1"), before, "{sql}");
        assert_eq!(version(&stage, "1"), 1, "{sql}");
    }
    let unchecked = [("table", "projects")];
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &unchecked), 0.0);
}

#[test]
fn a_client_past_the_proxy_is_not_seen() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        stage.behind().ok(&format!("update projects set name = 'direct' where id = {id}"));
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(version(&stage, id), 2);
    }
}

#[test]
fn reads_that_teach_nothing_leave_the_next_write_blind() {
    let stage = stage();
    stage
        .behind()
        .ok("create function listed() returns setof projects language sql as 'select * from projects'");
    for (protocol, id) in BOTH {
        for read in [
            "select distinct name from projects where id = $1",
            "select name, count(*) from projects where id = $1 group by name",
            "select max(name) from projects where id = $1",
            "select name from projects where id = $1 union select body from notes",
            "select name from projects where id = $1 except select body from notes",
            "select id, name, version from listed() where id = $1",
            "with w as (update notes set body = 'x' where id = 1) select id, name, version from projects where id = $1",
            "select 1 from projects where id = $1",
            "select id from projects where id = $1",
            "select exists (select from projects where id = $1)",
            "select n.body from notes n join projects p on p.id = n.id where p.id = $1",
        ] {
            let mut mine = stage.session();
            assert_eq!(sqlstate(&mine.say(protocol, read, &[id])), "", "{read}");
            theirs(&stage, id);
            let (start, before) = (blind(&stage), version(&stage, id));
            assert_eq!(commands(&mine.say(protocol, WRITE, &["blind", id])), ["UPDATE 1"], "{read}");
            assert_eq!((blind(&stage) - start, version(&stage, id) - before), (1.0, 1), "{read}");
        }
    }
}

#[test]
fn two_users_of_one_connection_are_one() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut pooled = stage.session();
        // Both users read the row, both save it; the pool gives them the same connection in turn.
        pooled.say(protocol, READ, &[id]);
        pooled.say(protocol, READ, &[id]);
        assert_eq!(commands(&pooled.say(protocol, WRITE, &["first", id])), ["UPDATE 1"]);
        assert_eq!(commands(&pooled.say(protocol, WRITE, &["second", id])), ["UPDATE 1"]);
        assert_eq!(version(&stage, id), 3);
    }
}

#[test]
fn the_servers_statistics_show_what_the_proxy_sends() {
    let cluster = Arc::new(Cluster::start(&["shared_preload_libraries=pg_stat_statements"]));
    let stage = Stage { proxy: Proxy::start(&cluster, &[]), cluster };
    stage.behind().ok("create extension pg_stat_statements");
    let mut mine = stage.session();
    mine.ok("select name from projects where id = 1");
    mine.ok("update projects set name = 'mine' where id = 1");
    theirs(&stage, "1");
    assert_eq!(sqlstate(&mine.query("update projects set name = 'stale' where id = 1")), "40001");
    let shown = stage.behind().rows("select query, calls, rows from pg_stat_statements order by query");
    let find = |what: &[&str]| {
        let row = shown.iter().find(|row| what.iter().all(|piece| row[0].contains(piece)));
        row.unwrap_or_else(|| panic!("no {what:?} in {shown:#?}"))
    };
    // Hidden columns, the look, the probe.
    find(&["select name, projects.id AS __sg_k1, projects.version AS __sg_v2 from projects"]);
    find(&["row_security_active"]);
    // Two runs, one row: the refused one is an UPDATE of no row.
    let update =
        find(&["update projects set name = ", "version = projects.version + ", "projects.version = "]);
    assert_eq!(update[1..], ["2", "1"], "{update:?}");
}

#[test]
fn messages_that_quote_a_row_and_triggers_show_its_version() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok(
        "alter table projects add check (name <> 'forbidden');
         create function seen() returns trigger language plpgsql as
             $$ begin insert into notes values (100, old.version || ' to ' || new.version); return new; end $$;
         create trigger seen before update on projects for each row execute function seen()",
    );
    let reply = mine.query("update projects set name = 'forbidden' where id = 1");
    let detail = error(&reply).and_then(|e| e.field('D')).unwrap_or_default();
    assert!(detail.ends_with(", 2)."), "{reply:?}");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.behind().value("select body from notes where id = 100"), "1 to 2");
}
