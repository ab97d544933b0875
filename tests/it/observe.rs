//! Mode `observe`: nothing is refused, and what `enforce` would have done is told.

use std::io::Write as _;

use crate::common::frames::{bind, bind_raw, close, describe, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, commands, error, rows, shape, sqlstate};
use crate::common::twin::{Stage, stage, stage_with};

const READ: &str = "select id, name, budget, status from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// Writes of row `$1`, and what `observe` says of it where it is known.
const KINDS: &[(&str, Told)] = &[
    ("update projects set name = 'x' where id = $1", Told::Checked),
    ("update projects set name = 'x' where id = $1 returning id", Told::Checked),
    ("update projects set name = 'x' where id = $1 returning *", Told::Checked),
    ("update projects set name = 'x', version = version + 1 where id = $1", Told::Checked),
    ("/* expected_version=1 */ update projects set name = 'x' where id = $1", Told::Checked),
    ("update projects set name = 'x', version = 1 where id = $1", Told::Checked),
    ("update projects set name = 'x' where id = $1 and status = 'none'", Told::Checked),
    ("update projects set name = 'x' where id in ($1::int, 77)", Told::Checked),
    ("update projects set name = 'x' where id >= $1::int and id < $1::int + 1", Told::Checked),
    ("update projects set name = 'x' where id >= $1::int and id < $1::int + 1 returning id", Told::Checked),
    (
        "update projects p set name = v.n from (values ($1::int, 'x')) v(id, n) where p.id = v.id",
        Told::Checked,
    ),
    ("insert into projects (id) values ($1) on conflict (id) do update set name = 'x'", Told::Checked),
    (
        "insert into projects (id) values ($1) on conflict (id) do update set name = 'x' returning id",
        Told::Checked,
    ),
    ("delete from projects where id = $1", Told::Checked),
    ("delete from projects where id = $1 returning id", Told::Checked),
    ("delete from projects where id = $1 returning *", Told::Checked),
    ("delete from projects where id = $1 and status = 'none'", Told::Checked),
    (
        "with w as (update projects set name = 'x' where id = $1::int returning id) select id from w",
        Told::Unknown,
    ),
    (
        "merge into projects p using (values ($1::int)) v(id) on p.id = v.id when matched then update set name = 'x'",
        Told::Unknown,
    ),
    ("update projects set budget = budget + 1 where id = $1", Told::Nothing),
    ("update projects set name = 'x' where id = $1 and version = 1", Told::Nothing),
    ("delete from projects where id in ($1::int, 77)", Told::Checked),
    ("insert into projects (id) values (90 + $1::int)", Told::Nothing),
    ("select name from projects where id = $1", Told::Nothing),
];

#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// What `enforce` does.
    Checked,
    /// That it cannot be told.
    Unknown,
    /// Nothing: there is nothing to check.
    Nothing,
}

/// What has been told so far: pass, would_conflict, unknown.
fn told(stage: &Stage) -> [f64; 3] {
    ["pass", "would_conflict", "unknown"]
        .map(|outcome| stage.proxy.metric("staleguard_observe_total", &[("outcome", outcome)]))
}

fn observing() -> Stage {
    stage_with(&["--mode", "observe"])
}

fn other_writes(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
}

/// Puts row `id` back as the tests begin.
fn reset(stage: &Stage, id: &str) {
    stage.behind().ok(&format!(
        "delete from projects where id in ({id}, 9{id});
         insert into projects (id, name, budget) values ({id}, 'name', 1)"
    ));
}

#[test]
fn what_enforce_does_is_told_and_not_done() {
    let (enforce, observe) = (stage(), observing());
    for (protocol, id) in BOTH {
        for (sql, kind) in KINDS {
            for case in ["fresh", "stale", "gone", "unread"] {
                let what = format!("{case}, {protocol:?}: {sql}");
                let run = |stage: &Stage| {
                    reset(stage, id);
                    let mut mine = stage.session();
                    if case != "unread" {
                        mine.say(protocol, READ, &[id]);
                    }
                    match case {
                        "stale" => other_writes(stage, id),
                        "gone" => drop(stage.behind().ok(&format!("delete from projects where id = {id}"))),
                        _ => {}
                    }
                    mine.say(protocol, sql, &[id])
                };
                let refused = sqlstate(&run(&enforce)) == "40001";
                let before = told(&observe);
                let checked = observe.proxy.metric("staleguard_writes_total", &[("outcome", "checked")]);
                let reply = run(&observe);
                assert!(error(&reply).is_none(), "{what}: {reply:?}");
                let after = told(&observe);
                let grown: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
                // Where the text names the version itself, nobody needs to have read the row.
                let knows =
                    case != "unread" || sql.contains("version = 1 where") || sql.contains("expected_");
                let expected = match kind {
                    Told::Checked if knows && refused => [0.0, 1.0, 0.0],
                    Told::Checked if knows => [1.0, 0.0, 0.0],
                    // Nothing was written, and that passes.
                    Told::Unknown if knows && case == "gone" && sql.starts_with("merge") => [1.0, 0.0, 0.0],
                    Told::Unknown if knows => [0.0, 0.0, 1.0],
                    _ => [0.0, 0.0, 0.0],
                };
                assert_eq!(grown, expected, "{what}: enforce refused: {refused}");
                assert_eq!(
                    observe.proxy.metric("staleguard_writes_total", &[("outcome", "checked")]),
                    checked
                );
            }
        }
    }
    // But for the writes that guard themselves, which no mode refuses.
    let explicit = 2.0 * 2.0;
    assert_eq!(observe.conflicts(), explicit);
    assert_eq!(observe.proxy.metric("staleguard_writes_total", &[("outcome", "conflict")]), 0.0);
}

#[test]
fn writes_land_and_the_event_names_the_versions() {
    let stage = observing();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        other_writes(&stage, id);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        let row = stage.behind().rows(&format!("select name, version from projects where id = {id}"));
        assert_eq!(row, [["mine", "3"]]);
        let is_event = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            event["outcome"] == "would_conflict" && event["entity_id"] == id
        };
        let event = stage.proxy.log().wait(is_event).unwrap();
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!((&event["expected_version"], &event["actual_version"]), (&1.into(), &2.into()));
        assert_eq!((&event["level"], &event["entity_type"]), (&"WARNING".into(), &"project".into()));
        assert!(!event.to_string().contains("mine"));
        // It has landed: the row is known as it left it.
        assert_eq!(commands(&mine.say(protocol, WRITE, &["again", id])), ["UPDATE 1"]);
    }
    assert_eq!(told(&stage), [2.0, 2.0, 0.0]);
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn transactions_and_their_rollback() {
    let stage = observing();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        other_writes(&stage, id);
        for _ in 0..2 {
            let before = told(&stage);
            mine.ok("begin");
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
            mine.ok("rollback");
            // The first is stale each time: what it had moved is taken back.
            assert_eq!(told(&stage), [before[0] + 1.0, before[1] + 1.0, before[2]]);
        }
        mine.say(protocol, READ, &[id]);
        let before = told(&stage);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(told(&stage), [before[0] + 1.0, before[1], before[2]]);
    }
}

#[test]
fn batches() {
    let stage = observing();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    other_writes(&stage, "1");
    let batch = |rows: &[&str]| {
        let mut messages = vec![parse("w", WRITE, &[])];
        for id in rows {
            messages.extend([bind("w", &["b", id]), execute("", 0)]);
        }
        messages.extend([close('S', "w"), sync()]);
        messages
    };
    let reply = mine.exchange(&batch(&["1", "2", "3"]));
    assert_eq!(shape(&reply), "12C2C2C3Z", "{reply:?}");
    assert_eq!(told(&stage), [2.0, 1.0, 0.0]);
    // Of the second write of a row it cannot be told whose version it found.
    mine.exchange(&batch(&["4", "4"]));
    assert_eq!(told(&stage), [3.0, 1.0, 1.0]);
    let reply = mine.query(
        "update projects set name = 'c' where id = 5; update projects set name = 'd' where id = 5; select 1",
    );
    assert_eq!(shape(&reply), "CCTDCZ", "{reply:?}");
    assert_eq!(told(&stage), [4.0, 1.0, 2.0]);
    // All of it has been settled since.
    other_writes(&stage, "6");
    assert_eq!(mine.ok("update projects set name = 'all'"), "UPDATE 9");
    assert_eq!(told(&stage), [4.0, 2.0, 2.0]);
    assert_eq!(mine.ok("update projects set name = 'all'"), "UPDATE 9");
    assert_eq!(told(&stage), [5.0, 2.0, 2.0]);
}

#[test]
fn where_nothing_is_returned_it_cannot_be_told() {
    let stage = observing();
    let mut app = stage.proxy.session_of("app", "proxied");
    for protocol in [Protocol::Simple, Protocol::Extended] {
        app.ok("select * from resource_assignments");
        let before = told(&stage);
        // Row security.
        let sql = "update resource_assignments set share = $1 where id = 1";
        assert_eq!(commands(&app.say(protocol, sql, &["7"])), ["UPDATE 1"]);
        assert_eq!(told(&stage), [before[0], before[1], before[2] + 1.0]);
        // What it left is not known.
        let blind = stage.proxy.metric("staleguard_blind_writes_total", &[]);
        assert_eq!(commands(&app.say(protocol, sql, &["8"])), ["UPDATE 1"]);
        assert_eq!(stage.proxy.metric("staleguard_blind_writes_total", &[]), blind + 1.0);
    }
    // A trigger that moves versions.
    stage.behind().ok(
        "create function moves() returns trigger language plpgsql as $$ begin new.version := new.version + 1; return new; end $$;
         create trigger moves before update on projects for each row execute function moves()",
    );
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        let before = told(&stage);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(told(&stage), [before[0], before[1], before[2] + 1.0]);
    }
}

#[test]
fn a_client_cannot_tell() {
    let stage = observing();
    let mut twin = stage.twin();
    twin.query("select id, name from projects");
    for sql in
        ["update projects set name = $1 where id = $2", "delete from projects where name = $1 and id = $2"]
    {
        let reply = twin.exchange(&[
            parse("s", sql, &[]),
            describe('S', "s"),
            bind_raw("p", "s", &[], &[Some(b"x"), Some(b"4")], &[1]),
            describe('P', "p"),
            execute("p", 1),
            close('P', "p"),
            sync(),
            close('S', "s"),
            sync(),
        ]);
        assert_eq!(shape(&reply), "1tn2nC3Z3Z", "{sql}");
        for protocol in [Protocol::Simple, Protocol::Extended] {
            twin.say(protocol, sql, &["x", "5"]);
            twin.say(protocol, &format!("{sql} returning id"), &["x", "6"]);
            twin.say(protocol, &format!("{sql} returning *, name"), &["x", "7"]);
            twin.say(protocol, sql, &["x", "77"]);
            twin.say(protocol, sql, &["x", "no number"]);
        }
    }
    twin.query("update projects set name = 'x' where id = 1; delete from projects where id = 2; select 1/0");
    twin.query("select * from projects order by id");
}

#[test]
fn one_table_apart_and_predicates_that_are_errors() {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    let text = "[tables.projects]\nmode = 'observe'\nexplicit_predicate = 'error'\n[tables.users]\n";
    config.write_all(text.as_bytes()).unwrap();
    let stage = stage_with(&["--config", config.path().to_str().unwrap()]);
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        for (expected, count) in [("1", "UPDATE 1"), ("1", "UPDATE 0")] {
            let sql = "update projects set name = 'x' where id = $1 and version = $2";
            assert_eq!(commands(&mine.say(protocol, sql, &[id, expected])), [count]);
        }
        mine.say(protocol, "select * from users where id = $1", &[id]);
        stage.other_writes(&format!("update users set email = 'theirs' where id = {id}"));
        let reply = mine.say(protocol, "update users set email = 'mine' where id = $1", &[id]);
        assert_eq!(sqlstate(&reply), "40001");
        assert!(rows(&reply).is_empty());
    }
    assert_eq!(told(&stage), [2.0, 2.0, 0.0]);
    assert_eq!(stage.conflicts(), 2.0);
    assert_eq!(stage.proxy.metric("version_conflicts_total", &[("entity_type", "project")]), 0.0);
}
