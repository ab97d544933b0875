//! Set writes, and other writes whose count of rows does not tell what became of the rows that are known: a hidden
//! RETURNING does, so that they stay protected, and the session's own later writes never conflict with it.

use crate::common::conflict::{Conflict, on_project};
use crate::common::frames::{bind, bind_raw, close, describe, execute, parse, query, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage};

const READ: &str = "select id, name, budget, status from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// Writes of row `$1` and perhaps others, none of which sets its name to 'mine'.
const KINDS: &[(&str, &str)] = &[
    ("update projects set status = 's' where id >= $1::int and id < $1::int + 1", "UPDATE 1"),
    ("update projects set status = 's' where id > 0 or id = $1::int", "UPDATE 9"),
    ("update projects set status = 's' where id in ($1::int, 77)", "UPDATE 1"),
    ("update projects set status = 's' where id = any (array[$1::int, 77])", "UPDATE 1"),
    ("update projects set status = 's' where id = $1::int + 0", "UPDATE 1"),
    (
        "update projects p set status = v.s from (values ($1::int, 's')) v(id, s) where p.id = v.id",
        "UPDATE 1",
    ),
    (
        "update projects p set status = o.status from projects o where o.id = p.id and p.id = $1::int",
        "UPDATE 1",
    ),
    ("with v as (select $1::int as n) update projects set status = 's' from v where id = n", "UPDATE 1"),
    ("update projects set budget = budget + 1 where id = $1", "UPDATE 1"),
    ("update projects set budget = budget + 1 where id > 0 and id = $1::int - 0", "UPDATE 1"),
    (
        "insert into projects (id, name) values ($1, 'new') on conflict (id) do update set status = 's'",
        "INSERT 0 1",
    ),
    (
        "insert into projects (id, name) select id, name from projects where id = $1::int on conflict (id) do update set status = excluded.name",
        "INSERT 0 1",
    ),
    ("update projects set status = 's' where id >= $1::int and id < $1::int + 1 returning id", "UPDATE 1"),
    ("update projects set status = 's' where id >= $1::int and id < $1::int + 1 returning name", "UPDATE 1"),
    (
        "insert into projects (id) values ($1) on conflict (id) do update set status = 's' returning id",
        "INSERT 0 1",
    ),
];

fn blind(stage: &Stage) -> f64 {
    stage.proxy.metric("staleguard_blind_writes_total", &[])
}

fn version(stage: &Stage, id: &str) -> i64 {
    stage.version("projects", &format!("id = {id}")).parse().unwrap()
}

fn other_writes(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
}

/// The session's next write of the row is checked and lands; after another user's it is refused.
fn still_protected(stage: &Stage, mine: &mut Raw, protocol: Protocol, id: &str, what: &str) {
    let before = blind(stage);
    let reply = mine.say(protocol, WRITE, &["mine", id]);
    assert_eq!(commands(&reply), ["UPDATE 1"], "{what}: {reply:?}");
    let known = version(stage, id);
    other_writes(stage, id);
    on_project(id, known, Some(known + 1)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    // The other user's.
    assert_eq!(blind(stage), before + 1.0, "{what}");
}

#[test]
fn what_is_known_of_rows_moves_with_every_kind_of_write() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for (sql, tag) in KINDS {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            let reply = mine.say(protocol, sql, &[id]);
            assert_eq!(commands(&reply), [*tag], "{sql}: {reply:?}");
            // Nothing but what the client has asked for.
            let returns = sql.contains("returning");
            assert_eq!(rows(&reply).len(), usize::from(returns), "{sql}");
            let (simple, extended) = if returns { ("TDCZ", "12TDCZ") } else { ("CZ", "12nCZ") };
            assert_eq!(shape(&reply), if protocol == Protocol::Simple { simple } else { extended }, "{sql}");
            still_protected(&stage, &mut mine, protocol, id, sql);
        }
    }
}

#[test]
fn a_set_write_of_a_row_that_others_have_changed_is_refused_and_a_self_relative_one_leaves_it_stale() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for (sql, _) in KINDS {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            let known = version(&stage, id);
            other_writes(&stage, id);
            let reply = mine.say(protocol, sql, &[id]);
            let stale = on_project(id, known, Some(known + 1));
            if sql.contains("budget + 1") {
                assert_eq!(commands(&reply), ["UPDATE 1"], "{sql}");
                // It could overwrite nobody's change, but the name that this session knows is an old one.
                let stale = on_project(id, known, Some(known + 2));
                stale.check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
            } else {
                stale.check(&reply, 'I');
                stale.check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
            }
        }
    }
}

#[test]
fn rows_that_nobody_has_read_stay_unknown() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        // One row is known, so that what is written is returned.
        mine.ok("select * from projects where id = 9");
        mine.say(protocol, "update projects set status = $1", &["s"]);
        let upsert = "insert into projects (id) values ($1) on conflict (id) do update set status = 'u'";
        mine.say(protocol, upsert, &[id]);
        let new = format!("10{id}");
        assert_eq!(commands(&mine.say(protocol, upsert, &[&new])), ["INSERT 0 1"]);
        for id in [id, new.as_str()] {
            let before = blind(&stage);
            other_writes(&stage, id);
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
            // Of both.
            assert_eq!(blind(&stage), before + 2.0);
        }
    }
}

#[test]
fn a_rollback_puts_back_what_a_set_write_had_moved() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for (sql, _) in KINDS {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            mine.ok("begin");
            mine.say(protocol, sql, &[id]);
            // Own work, taken back with the rest.
            mine.ok("select * from projects where id = 7");
            mine.ok("rollback");
            still_protected(&stage, &mut mine, protocol, id, sql);

            mine.say(protocol, READ, &[id]);
            mine.ok("begin");
            mine.say(protocol, sql, &[id]);
            mine.ok("savepoint a");
            mine.say(protocol, sql, &[id]);
            mine.ok("rollback to a");
            mine.say(protocol, sql, &[id]);
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"], "{sql}");
            mine.ok("commit");
            still_protected(&stage, &mut mine, protocol, id, sql);
        }
    }
}

#[test]
fn what_a_transaction_reads_behind_a_large_set_write_goes_with_its_rollback() {
    let stage = stage();
    stage.behind().ok("insert into projects (id, name) select i, 'many' from generate_series(1000, 4999) i");
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.ok("begin");
    assert_eq!(mine.ok("update projects set status = 'x' where id <> 2"), "UPDATE 4008");
    // Its own work, never committed; a row that it had known; one that it has not written.
    assert_eq!(mine.value("select version from projects where id = 4999 and name = 'many'"), "2");
    mine.ok("select * from projects where id in (1, 4999)");
    mine.ok("rollback");
    assert_eq!(mine.ok("update projects set name = 'a' where id = 4999"), "UPDATE 1");
    assert_eq!(mine.ok("update projects set name = 'a' where id = 1"), "UPDATE 1");
    other_writes(&stage, "1");
    on_project("1", 2, Some(3)).check(&mine.query("update projects set name = 'b' where id = 1"), 'I');
}

#[test]
fn batches_and_texts_of_several_statements_move_row_by_row() {
    let stage = stage();
    let mut mine = stage.session();
    let set = "update projects set status = 's' where id < 5";
    // What an earlier statement of the same text reads counts as well.
    let text = format!("select id, name from projects where id < 5; {set}; {set}; select 1");
    let reply = mine.query(&text);
    assert_eq!(shape(&reply), "TDDDDCCCTDCZ", "{reply:?}");
    still_protected(&stage, &mut mine, Protocol::Simple, "1", &text);
    still_protected(&stage, &mut mine, Protocol::Extended, "2", &text);

    mine.ok("select * from projects");
    let batch = [
        parse("set", "update projects set status = $1 where id < 5", &[]),
        parse("one", WRITE, &[]),
        bind("set", &["a"]),
        execute("", 0),
        bind("one", &["b", "1"]),
        execute("", 0),
        bind("set", &["c"]),
        execute("", 1),
        bind("one", &["d", "1"]),
        execute("", 0),
        sync(),
    ];
    for _ in 0..2 {
        let reply = mine.exchange(&batch);
        assert!(error(&reply).is_none(), "{reply:?}");
        assert_eq!(shape(&reply), "112C2C2C2CZ");
        mine.exchange(&[close('S', "set"), close('S', "one"), sync()]);
    }
    still_protected(&stage, &mut mine, Protocol::Extended, "1", "batch");
    still_protected(&stage, &mut mine, Protocol::Simple, "3", "batch");
    // One that others have changed fails the batch as a whole.
    mine.ok("select * from projects");
    let before = version(&stage, "1");
    let known = version(&stage, "4");
    other_writes(&stage, "4");
    on_project("4", known, Some(known + 1)).check(&mine.exchange(&batch), 'I');
    assert_eq!(version(&stage, "1"), before);
}

#[test]
fn a_cursors_row() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.ok("begin");
    mine.ok("declare c cursor for select * from projects where id = 1 for update");
    mine.ok("fetch c");
    let reply = mine.query("update projects set status = 'c' where current of c");
    assert_eq!(shape(&reply), "CZ", "{reply:?}");
    mine.ok("commit");
    still_protected(&stage, &mut mine, Protocol::Simple, "1", "current of");
}

#[test]
fn a_client_cannot_tell() {
    let stage = stage();
    let mut twin = stage.twin();
    let set = "update projects set status = $1 where id < $2";
    twin.query("select id, name from projects");
    for formats in [&[][..], &[0], &[1]] {
        let reply = twin.exchange(&[
            parse("s", set, &[]),
            describe('S', "s"),
            bind_raw("p", "s", &[], &[Some(b"x"), Some(b"4")], formats),
            describe('P', "p"),
            execute("p", 1),
            close('P', "p"),
            close('S', "s"),
            sync(),
        ]);
        assert_eq!(shape(&reply), "1tn2nC33Z");
        assert_eq!(commands(&reply), ["UPDATE 3"]);
    }
    // Zero rows, errors and their positions, and what follows.
    twin.extended(set, &["x", "0"]);
    twin.query("update projects set status = 'x' where id < 0; select 1; update projects set status = nope");
    twin.query("update projects set status = 'x' where");
    twin.query("update projects set status = 'x' from where id = 1");
    twin.query("update projects set budget = 1e30; select 1");
    twin.query("update projects set status = 'x' where id < 4 -- all\n; -- of them\n");
    twin.query("/* a */ update projects set status = 'x' /* b */");
    twin.query("prepare p as update projects set status = 'x'; execute p; deallocate p");
    twin.exchange(&[parse("s", set, &[]), sync()]);
    twin.query("execute s ('x', 3)");
    twin.exchange(&[bind("s", &["y", "4"]), execute("", 0), sync()]);
    twin.query("select * from projects order by id");
}

#[test]
fn an_aborted_block_does_not_describe_a_statement_with_a_hidden_result() {
    let stage = stage();
    let set = "update projects set status = $1";
    let mut twin = stage.twin();
    // Without parameters, with declared ones, or described before, it does.
    twin.exchange(&[parse("a", "update projects set status = 'x'", &[]), sync()]);
    twin.exchange(&[parse("b", set, &[25]), sync()]);
    twin.exchange(&[parse("c", set, &[]), describe('S', "c"), sync()]);
    for end in ["rollback", "commit"] {
        twin.query("begin");
        twin.query("select 1/0");
        for name in ["a", "b", "c"] {
            assert_eq!(shape(&twin.exchange(&[describe('S', name), sync()])), "tnZ");
        }
        assert_eq!(shape(&twin.exchange(&[describe('S', "c"), bind("c", &["x"]), sync()])), "tnEZ");
        twin.query(end);
        twin.exchange(&[describe('S', "b"), bind("b", &["x"]), describe('P', ""), execute("", 0), sync()]);
    }
    let mut mine = stage.session();
    mine.exchange(&[parse("s", set, &[]), sync()]);
    mine.ok("begin");
    mine.query("select 1/0");
    let reply = mine.exchange(&[describe('S', "s"), sync()]);
    // PostgreSQL itself says NoData: see docs/coverage.md, visible differences.
    assert_eq!((sqlstate(&reply), status(&reply)), ("25P02".into(), 'E'));
    assert_eq!(mine.ok("rollback"), "ROLLBACK");
    let reply = mine.exchange(&[describe('S', "s"), bind("s", &["x"]), execute("", 0), sync()]);
    assert_eq!((shape(&reply), commands(&reply)), ("tn2CZ".into(), vec!["UPDATE 9".into()]));
}

#[test]
fn not_where_a_returning_would_change_something() {
    let stage = stage();
    let mut behind = stage.behind();
    behind.ok("create table log (id integer);
        create rule note as on update to worker_types do also insert into log values (1);
        create role narrow login; grant select (code, amount), update (amount) on rates to narrow");
    // A rule.
    let mut mine = stage.session();
    mine.ok("select * from worker_types");
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let reply = mine.say(protocol, "update worker_types set name = 'x'", &[]);
        assert_eq!(commands(&reply), ["UPDATE 2"], "{reply:?}");
        assert_eq!(
            commands(&mine.say(protocol, "update worker_types set name = 'y' where code = 'dev'", &[])),
            ["UPDATE 1"]
        );
    }
    // Row security: rows that the role may write.
    let mut app = stage.proxy.session_of("app", "proxied");
    app.ok("select * from resource_assignments");
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let reply = app.say(protocol, "update resource_assignments set share = share + 1", &[]);
        assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
        let reply = app.say(protocol, "update resource_assignments set share = 7 where id = 1", &[]);
        assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
    }
    // A role that may not read the version.
    let mut narrow = stage.proxy.session_of("narrow", "proxied");
    for protocol in [Protocol::Simple, Protocol::Extended] {
        assert_eq!(commands(&narrow.say(protocol, "update rates set amount = 1", &[])), ["UPDATE 5"]);
    }
    assert_eq!(stage.proxy.metric("staleguard_rewrite_rejected_total", &[]), 0.0);
}

/// A table whose triggers do this.
fn with_trigger(stage: &Stage, timing: &str, body: &str) {
    stage.behind().ok(&format!(
        "create function moves() returns trigger language plpgsql as $$ begin {body} end $$;
         create trigger moves {timing} update on projects for each row execute function moves()"
    ));
}

#[test]
fn a_trigger_that_moves_versions_too() {
    let stage = stage();
    with_trigger(&stage, "before", "new.version := new.version + 1; return new;");
    for (protocol, id) in BOTH {
        let point = [
            "update projects set status = 's' where id = $1",
            "update projects set status = 's' where id = $1 returning id",
        ];
        for sql in KINDS.iter().map(|(sql, _)| *sql).chain(point) {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            let before = blind(&stage);
            // Not in its own way, alone, in a transaction, nor in a batch.
            for act in ["begin", "commit"] {
                let reply = mine.say(protocol, sql, &[id]);
                assert!(error(&reply).is_none(), "{sql}: {reply:?}");
                let reply = mine.say(protocol, WRITE, &["mine", id]);
                assert_eq!(commands(&reply), ["UPDATE 1"], "{sql}: {reply:?}");
                mine.ok(act);
            }
            let checked = !sql.contains("budget + 1");
            assert_eq!(blind(&stage) == before, checked, "{sql}");
            mine.say(protocol, READ, &[id]);
            let known = version(&stage, id);
            assert!(error(&mine.say(protocol, sql, &[id])).is_none());
            other_writes(&stage, id);
            let reply = mine.say(protocol, WRITE, &["mine", id]);
            if checked {
                on_project(id, known + 2, Some(known + 4)).check(&reply, 'I');
            } else {
                // Whether the trigger or another user has moved it cannot be told.
                assert_eq!(commands(&reply), ["UPDATE 1"]);
            }
        }
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        let reply = mine.exchange(&[
            parse("w", WRITE, &[]),
            bind("w", &["a", id]),
            execute("", 0),
            bind("w", &["b", id]),
            execute("", 0),
            sync(),
        ]);
        assert_eq!(commands(&reply), ["UPDATE 1", "UPDATE 1"], "{reply:?}");
        let reply = mine.query(&format!(
            "update projects set name = 'c' where id = {id}; update projects set name = 'd' where id = {id}"
        ));
        assert_eq!(commands(&reply), ["UPDATE 1", "UPDATE 1"], "{reply:?}");
    }
}

#[test]
fn a_trigger_that_writes_the_row_again_once_it_is_written() {
    let stage = stage();
    with_trigger(
        &stage,
        "after",
        "if pg_trigger_depth() = 1 then update projects set version = version + 1 where id = new.id; end if; return null;",
    );
    for (protocol, id) in BOTH {
        for (sql, _) in KINDS {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            for _ in 0..2 {
                let reply = mine.say(protocol, sql, &[id]);
                assert!(error(&reply).is_none(), "{sql}: {reply:?}");
                let reply = mine.say(protocol, WRITE, &["mine", id]);
                assert_eq!(commands(&reply), ["UPDATE 1"], "{sql}: {reply:?}");
            }
        }
    }
}

#[test]
fn keys_of_every_type() {
    let stage = stage();
    for protocol in [Protocol::Simple, Protocol::Extended] {
        for (table, entity, column, key, id) in [
            (
                "portfolios",
                "portfolio",
                "name",
                "id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'",
                "051e3dcf-81ba-49f2-8daa-110ed693f2b6",
            ),
            ("programs", "program", "name", "id = 2", "2"),
            ("resources", "resource", "name", "id = 9007199254740993", "9007199254740993"),
            ("rates", "rate", "amount", "code = 'größe'", "größe"),
            ("worker_types", "worker_type", "name", "code = 'ops'", "ops"),
            ("user_roles", "user_role", "granted_by", "user_id = 1 and role_id = 'reader'", "1,reader"),
        ] {
            let mut mine = stage.session();
            mine.ok(&format!("select * from {table}"));
            let set = format!("update {table} set {column} = '7'");
            assert!(error(&mine.say(protocol, &set, &[])).is_none(), "{table}");
            let known: i64 = stage.version(table, key).parse().unwrap();
            stage.other_writes(&format!("{set} where {key}"));
            let conflict = Conflict { table, entity, id, expected: known, actual: Some(known + 1) };
            conflict.check(&mine.say(protocol, &format!("{set} where {key}"), &[]), 'I');
        }
    }
}

#[test]
fn memory_stays_flat_under_a_hundred_thousand_rows() {
    let stage = stage();
    stage
        .behind()
        .ok("insert into projects (id, name) select i, 'many' from generate_series(1000, 100999) i");
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    // Everything has run once.
    mine.exchange(&[query("update projects set status = 'x' where id < 10")]);
    let before = stage.proxy.peak_memory_mb();
    mine.ok("begin");
    assert_eq!(mine.ok("update projects set status = 'x'"), "UPDATE 100009");
    assert_eq!(commands(&mine.extended("update projects set status = $1", &["y"])), ["UPDATE 100009"]);
    mine.ok("commit");
    let grown = stage.proxy.peak_memory_mb() - before;
    // Rows of some sixty bytes each: six MB of them.
    assert!(grown < 4, "{grown} MB");
    still_protected(&stage, &mut mine, Protocol::Simple, "1", "many rows");
}

#[test]
fn where_only_the_server_knows_the_rows_all_of_the_table_are_forgotten() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for sql in [
            "merge into projects p using (values ($1::int)) v(id) on p.id = v.id when matched then update set status = 'm'",
            "with w as (update projects set status = 'w' where id >= $1::int and id < $1::int + 1 returning id) select id from w",
            "explain (analyze, costs off, timing off, summary off) update projects set status = 'e' where id >= $1::int and id < $1::int + 1",
            "delete from projects where id between 3 + $1::int and 4 + $1::int",
        ] {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            mine.ok("select * from users where id = 1");
            let reply = mine.say(protocol, sql, &[id]);
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            let before = blind(&stage);
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"], "{sql}");
            assert_eq!(blind(&stage), before + 1.0, "{sql}");
            // Another table's rows stay known.
            assert_eq!(mine.ok("update users set email = 'mine' where id = 1"), "UPDATE 1");
            assert_eq!(blind(&stage), before + 1.0, "{sql}");
        }
    }
}
