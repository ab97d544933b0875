//! Settings that change what becomes of a statement.

use std::io::Write;

use crate::common::conflict::on_project;
use crate::common::frames::{bind, close, describe, execute, parse, sync};
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage, stage_with};

/// A stage whose proxy reads this configuration file.
pub(crate) fn configured(text: &str) -> Stage {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    stage_with(&["--config", file.path().to_str().unwrap()])
}

/// Everything that the proxy counts of the tables that it protects.
fn counted(proxy: &Proxy) -> f64 {
    let names =
        ["staleguard_writes_total", "staleguard_unchecked_writes_total", "staleguard_blind_writes_total"];
    names.iter().map(|name| proxy.metric(name, &[])).sum()
}

#[test]
fn tables_of_mode_off_are_left_alone() {
    let stage = configured("mode = 'off'\n[tables.projects]\n[tables.users]\nmode = 'enforce'\n");
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select id, name, version from projects where id = $1", &[id]);
        stage
            .behind()
            .ok(&format!("update projects set version = version + 1, name = 'theirs' where id = {id}"));
        for (sql, values) in [
            ("update projects set name = 'mine' where id = $1", &[id][..]),
            ("update projects set version = 2, name = 'back' where id = $1", &[id]),
            ("update projects set name = 'set' where status = $1", &["open"]),
            ("delete from projects where id = $1 and budget < 0", &[id]),
        ] {
            let reply = mine.say(protocol, sql, values);
            assert_eq!(commands(&reply).len(), 1, "{sql}: {reply:?}");
        }
        assert_eq!(stage.version("projects", &format!("id = {id}")), "2");
        // Nothing hidden is asked for: the server has the client's own text.
        let reply = mine.say(protocol, "select name from projects where id = $1", &[id]);
        assert_eq!(rows(&reply), [["set"]]);
    }
    assert_eq!(counted(&stage.proxy), 0.0);
    // The other table is protected all the same.
    let mut mine = stage.session();
    mine.ok("select * from users");
    let key = mine.value("select id from users order by id limit 1");
    stage.other_writes(&format!("update users set email = 'theirs' where id = '{key}'"));
    let reply = mine.query(&format!("update users set email = 'mine' where id = '{key}'"));
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    let said = |words: &[&str]| stage.proxy.log().lines().iter().any(|l| words.iter().all(|w| l.contains(w)));
    assert!(said(&["not protected", "public.projects", "\"mode\":\"off\"", "its mode is off"]));
    assert!(said(&["\"protected\"", "public.users", "\"mode\":\"enforce\""]));
}

#[test]
fn mode_off_for_all_tables() {
    let stage = stage_with(&["--mode", "off"]);
    let mut mine = stage.session();
    mine.ok("select * from projects");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("projects", "id = 1"), "1");
    assert_eq!(counted(&stage.proxy), 0.0);
    // By default it is on.
    let stage = self::stage();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'x' where id = 1"), 'I');
}

#[test]
fn deletes_that_are_not_to_be_checked_pass_and_are_counted() {
    let stage = configured("[tables.projects]\ncheck_delete = false\nblind = 'reject'\n");
    stage.behind().ok("create view open_projects as select id, name, version from projects; \
        create view bare_projects as select id, name from projects; \
        create role remover login; grant delete, select (name) on projects to remover");
    let labels = [("table", "projects"), ("reason", "delete")];
    let mut deletes = 0.0;
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        stage.behind().ok(&format!("update projects set version = 2, name = 'theirs' where id = {id}"));
        // Stale, and it passes; a stale UPDATE does not.
        let reply = mine.say(protocol, "update projects set name = 'mine' where id = $1", &[id]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
        assert_eq!(commands(&mine.say(protocol, "delete from projects where id = $1", &[id])), ["DELETE 1"]);
        // What is known of other rows stays, and the deleted one counts as deleted.
        let reply = mine.say(protocol, "update projects set name = 'mine' where id = $1", &["7"]);
        assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
        let reply = mine.say(protocol, "update projects set name = 'mine' where id = $1", &[id]);
        assert_eq!(commands(&reply), ["UPDATE 0"]);
        // Nobody has read the row, and in every other form: none is refused.
        let (one, several) = (format!("1{id}"), format!("2{id}"));
        stage.behind().ok(&format!("insert into projects (id) values ({one}), ({several})"));
        let sql = "delete from projects where id = $1 returning id";
        assert_eq!(commands(&mine.say(protocol, sql, &[&one])), ["DELETE 1"]);
        let sql = "with d as (delete from projects where id in ($1, -1) returning id) select * from d";
        assert_eq!(commands(&mine.say(protocol, sql, &[&several])), ["SELECT 1"]);
        deletes += 3.0;
        assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), deletes);
    }
    let mut mine = stage.session();
    mine.ok("select * from projects");
    mine.ok("delete from projects where id = 3; delete from projects where id = 4");
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), deletes + 2.0);
    // In a batch of the extended protocol.
    let parse = parse("d", "delete from projects where id = $1", &[]);
    let (bind_5, bind_6) = (bind("d", &["5"]), bind("d", &["6"]));
    let reply = mine.exchange(&[parse, bind_5, execute("", 0), bind_6, execute("", 0), sync()]);
    assert_eq!(commands(&reply), ["DELETE 1", "DELETE 1"]);
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), deletes + 4.0);
    // Through views, as good as the table or not, in PREPARE, and by a role that may not read: also counted so.
    deletes += 4.0;
    stage.behind().ok("insert into projects (id, name) select n, 'n' || n from generate_series(50, 59) n");
    for (protocol, [one, other, third]) in [(BOTH[0].0, ["50", "51", "52"]), (BOTH[1].0, ["53", "54", "55"])]
    {
        let mut fresh = stage.session();
        for (sql, id) in [
            ("delete from open_projects where id = $1", one),
            ("delete from bare_projects where id = $1", other),
        ] {
            assert_eq!(commands(&fresh.say(protocol, sql, &[id])), ["DELETE 1"], "{sql}");
        }
        let mut remover = stage.proxy.session_of("remover", "proxied");
        let sql = "delete from projects where name = $1";
        assert_eq!(commands(&remover.say(protocol, sql, &[&format!("n{third}")])), ["DELETE 1"]);
        deletes += 3.0;
        assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), deletes, "{protocol:?}");
    }
    let mut fresh = stage.session();
    fresh.ok("prepare v (int) as delete from open_projects where id = $1");
    assert_eq!(fresh.ok("execute v (56)"), "DELETE 1");
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), deletes + 1.0);
}

#[test]
fn ignored_columns_neither_check_nor_bump() {
    let stage = configured(
        "[tables.projects]\nignored_columns = ['updated_at', 'status']\n[tables.users]\nignored_columns = ['nonsense']\n",
    );
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        let before = counted(&stage.proxy);
        for (sql, tag) in [
            ("update projects set updated_at = now() where id = $1", "UPDATE 1"),
            ("update projects set (updated_at, status) = (now(), 'open') where id = $1", "UPDATE 1"),
            (
                "insert into projects (id) values ($1) on conflict (id) do update set updated_at = now()",
                "INSERT 0 1",
            ),
            (
                "merge into projects p using (select $1::int as id) v on p.id = v.id when matched then update set status = 'open'",
                "MERGE 1",
            ),
        ] {
            let reply = mine.say(protocol, sql, &[id]);
            assert_eq!(commands(&reply), [tag], "{sql}: {reply:?}");
        }
        let version = || stage.version("projects", &format!("id = {id}"));
        assert_eq!((version(), counted(&stage.proxy)), ("1".to_owned(), before));
        // Stale, they land; what else is set is checked all the same.
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        let sql = "update projects set updated_at = now() where id = $1";
        assert_eq!(commands(&mine.say(protocol, sql, &[id])), ["UPDATE 1"]);
        let mixed = "update projects set name = 'mine', updated_at = now() where id = $1";
        on_project(id, 1, Some(2)).check(&mine.say(protocol, mixed, &[id]), 'I');
        // That it shows the version which somebody else's write has left is no own write of it.
        let key_alone = "update projects set updated_at = now() where id = $1 returning id";
        assert_eq!(commands(&mine.say(protocol, key_alone, &[id])), ["UPDATE 1"]);
        let other_column = "update projects set updated_at = now() where id = $1 returning budget";
        assert_eq!(commands(&mine.say(protocol, other_column, &[id])), ["UPDATE 1"]);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, mixed, &[id]), 'I');
        // But it is a read of what it shows.
        let shows = "update projects set updated_at = now() where id = $1 returning name";
        assert_eq!(rows(&mine.say(protocol, shows, &[id])), [["theirs"]]);
        assert_eq!(commands(&mine.say(protocol, mixed, &[id])), ["UPDATE 1"]);
        // Beside an increment it is self-relative: not checked, and the own row stays known.
        let relative = "update projects set budget = budget + 1, updated_at = now() where id = $1";
        assert_eq!(commands(&mine.say(protocol, relative, &[id])), ["UPDATE 1"]);
        assert_eq!(commands(&mine.say(protocol, mixed, &[id])), ["UPDATE 1"]);
        assert_eq!(version(), "5");
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        assert_eq!(commands(&mine.say(protocol, relative, &[id])), ["UPDATE 1"]);
        on_project(id, 5, Some(7)).check(&mine.say(protocol, mixed, &[id]), 'I');
    }
    let noted = |l: &str| l.contains("public.users") && l.contains("ignored_columns");
    assert!(stage.proxy.log().lines().iter().any(|l| noted(l)));
}

#[test]
fn an_upsert_of_ignored_columns_takes_over_nobodys_version() {
    let stage = configured("[tables.projects]\nignored_columns = ['updated_at']\n");
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        let upsert = "insert into projects (id, name) values ($1, 'new') \
                      on conflict (id) do update set updated_at = now() returning status";
        assert_eq!(commands(&mine.say(protocol, upsert, &[id])), ["INSERT 0 1"]);
        let reply = mine.say(protocol, "update projects set name = 'mine' where id = $1", &[id]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
        // Nor does what PREPARE has prepared, upsert or UPDATE.
        for (name, what) in [
            ("u", upsert),
            ("w", "update projects set updated_at = now() where id = $1 returning status, id, version"),
        ] {
            mine.ok(&format!("prepare {name} (int) as {what}"));
            let (row, id) = (if name == "u" { 5 } else { 6 }, id);
            mine.ok("select * from projects");
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {row}"));
            let version: i64 = stage.version("projects", &format!("id = {row}")).parse().unwrap();
            mine.ok(&format!("execute {name} ({row}) -- {id}"));
            let reply =
                mine.say(protocol, "update projects set name = 'mine' where id = $1", &[&row.to_string()]);
            on_project(&row.to_string(), version - 1, Some(version)).check(&reply, 'I');
            mine.ok(&format!("deallocate {name}"));
        }
    }
}

#[test]
fn known_rows_beyond_the_bound_are_counted() {
    let stage = stage_with(&["--guard-max-rows", "2"]);
    let overflow = || stage.proxy.metric("staleguard_guard_overflow_total", &[("table", "projects")]);
    let mut counted = 0.0;
    for (protocol, _) in BOTH {
        for (sql, values, beyond) in [
            ("update projects set name = 'x' where id in ($1, 2, 3)", &["1"][..], 1.0),
            ("update projects set name = 'x' where budget >= $1", &["0"], 7.0),
            ("update projects set name = 'x' where id in ($1, 2)", &["1"], 0.0),
            ("update projects set name = 'x' where id = $1", &["1"], 0.0),
        ] {
            let mut mine = stage.session();
            mine.ok("select * from projects");
            let reply = mine.say(protocol, sql, values);
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            counted += beyond;
            assert_eq!(overflow(), counted, "{sql}");
        }
    }
    // What travels is checked: of named rows the first ones.
    let mut mine = stage.session();
    mine.ok("select * from projects");
    let sql = "update projects set name = 'x' where id in (1, 2, 3)";
    stage.other_writes("update projects set name = 'theirs' where id = 3");
    assert_eq!(mine.ok(sql), "UPDATE 3");
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    assert_eq!(sqlstate(&mine.query(sql)), "40001");
}

#[test]
fn beyond_the_bound_a_strict_table_refuses() {
    let stage = configured("guard_max_rows = 2\nblind = 'reject'\ntables = ['projects']\n");
    let mut mine = stage.session();
    mine.ok("select * from projects");
    let reply = mine.query("update projects set name = 'x' where id in (1, 2, 3)");
    let said = error(&reply).and_then(|e| e.field('M')).unwrap();
    assert_eq!(said, "blind write on project 3: the version that was read could not go with the statement");
    assert_eq!(mine.ok("update projects set name = 'x' where id in (1, 2)"), "UPDATE 2");
}

#[test]
fn rows_that_are_gone_are_counted() {
    let stage = stage();
    let gone = || stage.proxy.metric("staleguard_guard_gone_total", &[("table", "projects")]);
    let mut counted = 0.0;
    for (protocol, id) in BOTH {
        for (sql, tag, more) in [
            ("update projects set name = 'x' where id in ($1, 5)", "UPDATE 1", 1.0),
            ("update projects set name = 'x' where id in ($1, 77)", "UPDATE 0", 0.0),
            ("update projects set name = 'x' where id in ($1, 5) and status = 'open'", "UPDATE 1", 0.0),
            ("update projects set name = 'x' where id in (5, 6)", "UPDATE 2", 0.0),
        ] {
            let mut mine = stage.session();
            mine.ok("select * from projects");
            stage.behind().ok(&format!("delete from projects where id = {id}"));
            let values = if sql.contains('$') { &[id][..] } else { &[] };
            assert_eq!(commands(&mine.say(protocol, sql, values)), [tag], "{sql}");
            counted += more;
            assert_eq!(gone(), counted, "{sql}");
            stage.behind().ok(&format!("insert into projects (id, name) values ({id}, 'again')"));
        }
    }
    // In a batch, where the predicate form would have asked.
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.behind().ok("delete from projects where id = 9");
    mine.ok("update projects set name = 'x' where id = 9; select 1");
    assert_eq!(gone(), counted + 1.0);
}

#[test]
fn a_row_written_twice_in_one_query_is_counted_where_it_only_bumps() {
    let stage = stage();
    let labels = [("table", "projects"), ("reason", "same_row_in_query")];
    let count = || stage.proxy.metric("staleguard_unchecked_writes_total", &labels);
    let write = "update projects set name = 'x' where id = 1";
    for (sql, more) in [
        (format!("{write}; {write}"), 0.0),
        (format!("begin; {write}; commit; {write}"), 1.0),
        (format!("begin; savepoint a; {write}; {write}; commit"), 1.0),
        (format!("begin; {write}; commit; update projects set name = 'y' where id in (1, 2)"), 1.0),
    ] {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        let before = count();
        mine.ok(&sql);
        assert_eq!(count() - before, more, "{sql}");
    }
}

/// A statement that PostgreSQL takes, and whose effect on the version is not certain.
const UNPARSED: &str = "update projects set (name, version) = (select 'x', 40) where id = $1";

#[test]
fn what_is_not_certain_passes_and_is_logged_once() {
    let stage = stage();
    for (n, (protocol, id)) in BOTH.into_iter().enumerate() {
        for _ in 0..3 {
            assert_eq!(commands(&stage.session().say(protocol, UNPARSED, &[id])), ["UPDATE 1"]);
        }
        assert_eq!(stage.version("projects", &format!("id = {id}")), "40");
        let labels = [("table", "projects"), ("reason", "unparsed")];
        let counted = stage.proxy.metric("staleguard_unchecked_writes_total", &labels);
        assert_eq!(counted, 3.0 * (n + 1) as f64);
        let lines = stage.proxy.log().lines();
        let told: Vec<_> = lines.iter().filter(|l| l.contains("clauses are not certain")).collect();
        assert_eq!(told.len(), n + 1, "{told:?}");
        assert!(told.iter().all(|l| l.contains("\"tables\":\"projects\"") && !l.contains("select")));
    }
}

/// What PostgreSQL itself refuses it refuses in its own words, a strict setting or not.
#[test]
fn what_the_server_refuses_is_refused_in_its_words() {
    let stage = stage_with(&["--on-unparsed", "reject"]);
    let refused = || stage.proxy.metric("staleguard_refused_statements_total", &[]);
    let mut twin = stage.twin();
    for sql in [
        "update projects set name",
        "update projects set (name) = (select 1",
        "update projects set name = 'x' whre id = 1",
        "update projects set name = 'x' where id = 1 and 'open",
        "update projects set (nme) = (select 'x') where id = 1",
        "update projects set (name, nme) = (select 'x') where id = 1",
        "prepare p as update projects set name",
        "select 1; update projects set name; select 2",
        "update projects set name = 'kept' where id = 1; update projects set name",
    ] {
        twin.query(sql);
        twin.query("begin");
        twin.query("savepoint a");
        let one = !sql.contains(';');
        if one {
            twin.query(sql);
            // In a block that has failed, too.
            twin.query(sql);
        }
        twin.query("rollback to a");
        twin.query("commit");
        let cycle = [parse("", sql, &[]), describe('S', ""), bind("", &[]), execute("", 0), sync()];
        twin.exchange(&cycle);
        // Behind others of its cycle, and between cycles.
        let other = [parse("o", "select 1", &[]), bind("o", &[]), execute("", 0), close('S', "o")];
        twin.exchange(&[&other[..], &cycle[..]].concat());
        let end = [sync()];
        twin.exchange(&[&other[..], &end[..], &cycle[..], &other[..], &end[..]].concat());
        twin.query("begin");
        twin.exchange(&cycle);
        twin.query("rollback");
    }
    assert_eq!(refused(), 0.0);
    // What went before it in its session is as it was: the refusal has undone nothing that was not refused.
    twin.query("select * from projects where id = 3");
    twin.query("update projects set name = 'one' where id = 3");
    twin.query("update projects set name");
    twin.extended("update projects set name", &[]);
    twin.query("update projects set name = 'two' where id = 3");
    twin.query("update projects set name = 'three' where id = 3");
    assert_eq!((stage.conflicts(), refused()), (0.0, 0.0));
    // Parameters of other types than the text lets guess.
    let typed = "update projects set (name) = (select $1) from (select 2) x where id = $2 and nme = 1";
    twin.exchange(&[parse("", typed, &[25, 23]), sync()]);
    assert_eq!(stage.proxy.metric("staleguard_sessions_desynced_total", &[]), 0.0);
}

#[test]
fn what_is_not_certain_is_refused_where_a_setting_says_so() {
    let stage = stage_with(&["--on-unparsed", "reject"]);
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("begin");
        assert_eq!(
            commands(&mine.say(protocol, "update projects set name = 'a' where id = $1", &[id])),
            ["UPDATE 1"]
        );
        for (sql, after) in [(UNPARSED, 'E'), (UNPARSED, 'I')] {
            let reply = mine.say(protocol, sql, &[id]);
            assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("0A000", after), "{reply:?}");
            let error = error(&reply).unwrap();
            let said = error.field('M').unwrap();
            assert!(said.contains("projects") && said.contains("on_unparsed"), "{said}");
            assert_eq!(error.field('t').as_deref(), Some("projects"));
            assert!(!error.field('H').unwrap().is_empty());
            if after == 'E' {
                assert_eq!(mine.ok("rollback"), "ROLLBACK");
            }
        }
        // The savepoint before it holds.
        mine.ok("begin");
        mine.ok("savepoint a");
        mine.say(protocol, UNPARSED, &[id]);
        mine.ok("rollback to a");
        assert_eq!(mine.ok("commit"), "COMMIT");
        assert_eq!(stage.version("projects", &format!("id = {id}")), "1");
    }
    // In one write with others, the order of replies holds.
    let mut mine = stage.session();
    let unparsed = crate::common::raw::inlined(UNPARSED, &["1"]);
    let reply = mine.exchange(&[
        parse("", "select 1", &[]),
        bind("", &[]),
        execute("", 0),
        parse("bad", &unparsed, &[]),
        bind("bad", &[]),
        execute("", 0),
        sync(),
        parse("", "select 2", &[]),
        bind("", &[]),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(shape(&reply), "12DCEZ12DCZ", "{reply:?}");
    // The name stands for nothing.
    let reply = mine.exchange(&[bind("bad", &[]), execute("", 0), sync()]);
    assert_eq!(sqlstate(&reply), "26000", "{reply:?}");
    // Other tables and reads are nobody's concern.
    assert_eq!(mine.ok("create temp table t as select 1 as a"), "SELECT 1");
    assert_eq!(mine.ok("update t set (a) = (select 2)"), "UPDATE 1");
    let behind_another = format!("update projects set name = 'x' where id = 9; {unparsed}");
    assert_eq!(sqlstate(&mine.query(&behind_another)), "0A000");
    assert_eq!(stage.version("projects", "id = 9"), "1");
    let refused = [("table", "projects"), ("reason", "unparsed")];
    assert_eq!(stage.proxy.metric("staleguard_refused_statements_total", &refused), 8.0);
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &refused), 0.0);
    assert_eq!(stage.proxy.metric("staleguard_sessions_desynced_total", &[]), 0.0);
}

#[test]
fn of_several_statements_in_a_block_only_the_uncertain_one_is_refused() {
    let stage = stage_with(&["--on-unparsed", "reject"]);
    let mut mine = stage.session();
    mine.ok("begin");
    let reply = mine.query("update projects set name = 'x' where id = 1; commit; update projects set name");
    assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("CCEZ", "0A000"), "{reply:?}");
    assert_eq!(stage.version("projects", "id = 1"), "2");
}
