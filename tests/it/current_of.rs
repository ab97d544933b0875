//! Writes of the row under a cursor (`WHERE CURRENT OF`).

use crate::common::conflict::{Conflict, on_project};
use crate::common::frames::{bind, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{stage, stage_with};
use crate::cursors::{DECLARE, WRITE, blind, lands, theirs, unchecked};

/// Statements in one message, or in one cycle.
fn at_once(session: &mut Raw, protocol: Protocol, statements: &[&str]) -> Vec<crate::common::frames::Frame> {
    match protocol {
        Protocol::Simple => session.query(&statements.join("; ")),
        Protocol::Extended => {
            let mut cycle: Vec<Vec<u8>> = statements
                .iter()
                .flat_map(|sql| [parse("", sql, &[]), bind("", &[]), execute("", 0)])
                .collect();
            cycle.push(sync());
            session.exchange(&cycle)
        }
    }
}

#[test]
fn in_a_batch_by_a_key_of_several_columns() {
    let stage = stage();
    let row = "user_id = 1 and role_id = 'admin'";
    let declare = "declare c cursor for select role_id, user_id, granted_by, version from user_roles \
                   where user_id = 1 order by role_id";
    let write = "update user_roles set granted_by = 'x' where current of c";
    for (protocol, _) in BOTH {
        // Fresh: fetched, written and written again in one go; the next row's is another one.
        let mut mine = stage.session();
        let before: i64 = stage.version("user_roles", row).parse().unwrap();
        let reply = at_once(
            &mut mine,
            protocol,
            &["begin", declare, "fetch c", write, write, "fetch c", write, "commit"],
        );
        assert!(error(&reply).is_none(), "{protocol:?}: {reply:?}");
        assert_eq!(stage.version("user_roles", row), (before + 2).to_string());
        // Known behind it.
        let directly = format!("update user_roles set granted_by = 'y' where {row}");
        assert_eq!(commands(&mine.say(protocol, &directly, &[])), ["UPDATE 1"]);

        // Stale: the batch as a whole is undone.
        mine.ok("begin");
        mine.ok(declare);
        mine.ok("fetch c");
        stage.other_writes(&directly.replace("'y'", "'theirs'"));
        let other = "update projects set budget = 5 where id = 1";
        let reply = at_once(&mut mine, protocol, &[other, write, other]);
        let conflict = Conflict {
            table: "user_roles",
            entity: "user_role",
            id: "1,admin",
            expected: before + 3,
            actual: Some(before + 4),
        };
        let refused: Vec<_> = reply.iter().filter(|f| f.tag != b'C').cloned().collect();
        conflict.check(&refused, 'E');
        assert_eq!(commands(&reply), ["UPDATE 1"]);
        mine.ok("rollback");
        assert_eq!(stage.version("projects", "id = 1"), "1");
    }
}

#[test]
fn a_delete_of_the_row_under_a_cursor_is_checked_in_a_query() {
    let stage = stage();
    let mut mine = stage.session();
    let declare = "declare c cursor for select id, name, version from projects where id = 3";
    for returning in ["", " returning name", " returning *"] {
        let delete = format!("delete from projects where current of c{returning}");
        mine.ok("begin");
        mine.ok(declare);
        mine.ok("fetch c");
        let known: i64 = stage.version("projects", "id = 3").parse().unwrap();
        stage.other_writes("update projects set name = 'theirs' where id = 3");
        let reply = mine.query(&delete);
        on_project("3", known, Some(known + 1)).check(&reply, 'E');
        mine.ok("rollback");
        // Fresh, alone and among others; undone.
        for text in [delete.clone(), format!("select 1; {delete}; select 2")] {
            mine.ok("begin");
            mine.ok(declare);
            mine.ok("fetch c");
            assert!(error(&mine.query(&text)).is_none(), "{text}");
            assert_eq!(mine.value("select count(*) from projects where id = 3"), "0");
            mine.ok("rollback");
        }
    }
    // A hidden guard is not seen.
    let mut twin = stage.twin();
    twin.query("begin");
    twin.query("declare c cursor for select * from projects where id in (5, 6) order by id");
    twin.query("fetch c");
    twin.query("delete from projects where current of c");
    twin.query("fetch c");
    twin.query("delete from projects where current of c returning budget, id");
    twin.query("rollback");
    // Behind a cursor that has moved to where nobody has looked it is not, and counted.
    assert_eq!(unchecked(&stage, "delete"), 0.0);
    for moves in
        [&["declare c cursor for select name from projects where id = 3", "fetch c"], &[declare, "move c"]]
    {
        mine.ok("begin");
        let before = unchecked(&stage, "delete");
        moves.iter().for_each(|sql| drop(mine.ok(sql)));
        assert_eq!(mine.ok("delete from projects where current of c"), "DELETE 1");
        mine.ok("rollback");
        assert_eq!(unchecked(&stage, "delete"), before + 1.0, "{moves:?}");
    }
}

#[test]
fn a_deleted_row_is_no_conflict_of_its_own() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin");
    mine.ok("declare c cursor for select id, name, version from projects where id = 3");
    mine.ok("fetch c");
    mine.ok("update projects set name = 'mine' where current of c");
    mine.ok("delete from projects where current of c");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 3"), "UPDATE 0");
    mine.ok("insert into projects (id, name) values (3, 'anew')");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 3"), "UPDATE 1");
    mine.ok("commit");
    assert_eq!(stage.conflicts(), 0.0);
}

/// A prepared DELETE has no place for what is known of its rows but its condition.
#[test]
fn deletes_that_the_extended_protocol_leaves_unchecked_are_counted() {
    let stage = stage();
    let deletes = [
        "delete from projects where current of c",
        "delete from projects where current of c returning id",
        "delete from projects p using portfolios f where f.id = p.portfolio_id and p.id = 3",
        "delete from projects where id in (select 3)",
        "delete from projects where id = (select 3) returning name",
        "delete from projects where id > 2 and id < 4 and random() < 2",
    ];
    for (n, delete) in (1..).zip(deletes) {
        for batch in [false, true] {
            let mut mine = stage.session();
            let before = unchecked(&stage, "delete");
            mine.ok("begin");
            mine.ok("declare c cursor for select id, name, version from projects where id = 3");
            mine.ok("fetch c");
            stage.other_writes("update projects set name = 'theirs' where id = 3");
            let reply = match batch {
                false => mine.extended(delete, &[]),
                true => at_once(&mut mine, Protocol::Extended, &["select 1", delete]),
            };
            assert!(error(&reply).is_none(), "{n} {delete}: {reply:?}");
            assert_eq!(status(&reply), 'T');
            mine.ok("rollback");
            assert_eq!(unchecked(&stage, "delete") - before, 1.0, "{delete}, {batch}");
        }
    }
    // Where no write may go unchecked they are refused.
    let strict = stage_with(&["--blind", "reject"]);
    for delete in deletes {
        let mut mine = strict.session();
        mine.ok("begin");
        mine.ok("declare c cursor for select id, name, version from projects where id = 3");
        mine.ok("fetch c");
        assert_eq!(sqlstate(&mine.extended(delete, &[])), "0A000", "{delete}");
    }
}

#[test]
fn the_row_under_a_cursor_is_written_under_the_version_that_it_showed() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for declare in [
            "declare c cursor for select * from projects where id = $1",
            "declare c cursor for select p.version, p.id, p.name from projects p where id = $1",
        ] {
            let write = "update projects set name = $1 where current of c";
            let mut mine = stage.session();
            let before: i64 = stage.version("projects", &format!("id = {id}")).parse().unwrap();
            let counted = unchecked(&stage, "current_of");
            mine.say(protocol, "begin", &[]);
            mine.say(protocol, declare, &[id]);
            mine.say(protocol, "fetch c", &[]);
            for name in ["one", "two", "three"] {
                lands(&mut mine, protocol, write, &[name]);
            }
            // By its key, inside and behind the transaction.
            lands(&mut mine, protocol, WRITE, &["four", id]);
            lands(&mut mine, protocol, write, &["five"]);
            mine.say(protocol, "commit", &[]);
            lands(&mut mine, protocol, WRITE, &["six", id]);
            assert_eq!(stage.version("projects", &format!("id = {id}")), (before + 6).to_string());
            assert_eq!(unchecked(&stage, "current_of"), counted);

            mine.say(protocol, "begin", &[]);
            mine.say(protocol, declare, &[id]);
            mine.say(protocol, "fetch c", &[]);
            theirs(&stage, id);
            // PostgreSQL itself would write the row as it is now.
            let reply = mine.say(protocol, write, &["stale"]);
            on_project(id, before + 6, Some(before + 7)).check(&reply, 'E');
            mine.say(protocol, "rollback", &[]);
        }
    }
}

#[test]
fn a_write_through_a_cursor_is_undone_with_its_transaction() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, DECLARE, &[id]);
        mine.say(protocol, "fetch c", &[]);
        lands(&mut mine, protocol, "update projects set name = 'undone' where current of c", &[]);
        mine.say(protocol, "rollback", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "2");
        theirs(&stage, id);
        on_project(id, 2, Some(3)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn the_other_rows_stay_known_behind_a_write_through_a_cursor() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = 7", &[]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, DECLARE, &[id]);
        mine.say(protocol, "fetch c", &[]);
        lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        theirs(&stage, "7");
        assert_eq!(sqlstate(&mine.say(protocol, WRITE, &["mine", "7"])), "40001");
    }
}

#[test]
fn a_cursor_that_does_not_tell_its_rows_is_no_guard() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for (declare, reason, cause) in [
            ("declare c cursor for select name from projects where id = $1", 1.0, 0.0),
            ("declare c cursor for select id, name from projects where id = $1", 0.0, 1.0),
            (
                "declare c cursor for select p.* from projects p join projects q on q.id = p.id where p.id = $1 for update of p",
                1.0,
                0.0,
            ),
        ] {
            let mut mine = stage.session();
            let counted = (unchecked(&stage, "current_of"), blind(&stage, "cursor"));
            mine.say(protocol, "select * from projects where id = $1", &[id]);
            theirs(&stage, id);
            mine.say(protocol, "begin", &[]);
            mine.say(protocol, declare, &[id]);
            assert_eq!(rows(&mine.say(protocol, "fetch c", &[])).len(), 1);
            // It shows the row as it is: an older version that the session knows of is not what this rests on.
            lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
            lands(&mut mine, protocol, WRITE, &["mine", id]);
            mine.say(protocol, "commit", &[]);
            let now = (unchecked(&stage, "current_of"), blind(&stage, "cursor"));
            assert_eq!(now, (counted.0 + reason, counted.1 + cause), "{declare} {protocol:?}");
        }
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_cursor_moved_to_a_row_that_it_has_not_shown() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = 3", &[]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select id, name, version from projects order by id", &[]);
        mine.say(protocol, "fetch c", &[]);
        mine.say(protocol, "move 2 in c", &[]);
        theirs(&stage, "3");
        // The session has seen row 3 before that.
        let reply = mine.say(protocol, "update projects set name = 'stale' where current of c", &[]);
        assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'));
        mine.say(protocol, "rollback", &[]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select id, name, version from projects order by id", &[]);
        mine.say(protocol, "move 3 in c", &[]);
        mine.say(protocol, "select * from projects where id = 3", &[]);
        for _ in 0..2 {
            lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
            lands(&mut mine, protocol, WRITE, &["mine", "3"]);
        }
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", "3"]);
    }
}

#[test]
fn all_in_one_query() {
    let stage = stage();
    let text = "begin; declare c cursor for select id, name, version from projects where id = 3 for update; fetch c; \
        update projects set name = 'mine' where current of c; \
        update projects set name = 'again' where current of c; commit";
    let mut mine = stage.session();
    for _ in 0..2 {
        let reply = mine.query(text);
        assert_eq!(shape(&reply), "CCTDCCCCZ", "{reply:?}");
    }
    assert_eq!(stage.version("projects", "id = 3"), "5");
    // What the session knew when it sent the text is what counts.
    mine.ok("select * from projects where id = 3");
    theirs(&stage, "3");
    let reply = mine.query(text);
    assert_eq!(
        (shape(&reply).as_str(), sqlstate(&reply).as_str(), status(&reply)),
        ("CCTDCEZ", "40001", 'E')
    );
    mine.ok("rollback");
    // Now it has seen the row as it is.
    assert_eq!(sqlstate(&mine.query(text)), "");
    assert_eq!(stage.version("projects", "id = 3"), "8");
}

#[test]
fn written_in_parts_of_one_cycle() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin");
    mine.ok("declare c cursor for select id, name, version from projects where id < 4 order by id");
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.extend(one("fetch c"));
        messages.extend(one("update projects set name = 'mine' where current of c"));
    }
    messages.push(sync());
    let reply = mine.exchange(&messages);
    assert_eq!(shape(&reply), "12DC12C12DC12C12DC12CZ", "{reply:?}");
    mine.ok("commit");
    for id in ["1", "2", "3"] {
        lands(&mut mine, Protocol::Extended, WRITE, &["mine", id]);
    }
    assert_eq!(stage.behind().rows("select distinct version from projects where id < 4"), [["3"]]);
}

#[test]
fn a_cursor_over_a_join_stands_on_a_row_of_each_table() {
    let stage = stage();
    let declare = "declare c cursor for select p.id, p.version, p.name, f.id, f.version, f.name \
        from projects p join portfolios f on f.id = p.portfolio_id where p.id = $1 for update of p";
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, declare, &[id]);
        assert_eq!(rows(&mine.say(protocol, "fetch c", &[])).len(), 1);
        lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        let write = "update portfolios set name = 'x' where id = '2531439d-3075-46d6-9c19-63e3342fc43e'";
        stage.other_writes(write);
        assert_eq!(sqlstate(&mine.say(protocol, write, &[])), "40001");
    }
}

#[test]
fn keys_of_every_kind() {
    let stage = stage();
    for (table, columns, condition) in [
        ("user_roles", "role_id, user_id, granted_by, version", "user_id = 1 and role_id = 'admin'"),
        ("rates", "code, amount, version", "code = 'it''s'"),
        ("resources", "id, name, version", "id = 9007199254740993"),
        ("portfolios", "id, name, version", "id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'"),
    ] {
        let set = match table {
            "user_roles" => "granted_by = 'x'",
            "rates" => "amount = 1",
            _ => "name = 'x'",
        };
        for (protocol, _) in BOTH {
            let mut mine = stage.session();
            mine.say(protocol, "begin", &[]);
            let declare = format!("declare c cursor for select {columns} from {table} where {condition}");
            mine.say(protocol, &declare, &[]);
            mine.say(protocol, "fetch c", &[]);
            let through = format!("update {table} set {set} where current of c");
            let directly = format!("update {table} set {set} where {condition}");
            for sql in [&through, &directly, &through] {
                lands(&mut mine, protocol, sql, &[]);
            }
            mine.say(protocol, "commit", &[]);
            mine.say(protocol, "begin", &[]);
            mine.say(protocol, &declare, &[]);
            mine.say(protocol, "fetch c", &[]);
            stage.other_writes(&directly);
            assert_eq!(sqlstate(&mine.say(protocol, &through, &[])), "40001", "{table} {protocol:?}");
            mine.say(protocol, "rollback", &[]);
            assert_eq!(sqlstate(&mine.say(protocol, &directly, &[])), "40001", "{table} {protocol:?}");
        }
    }
}

#[test]
fn a_returning_through_a_cursor_teaches_what_it_shows() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, DECLARE, &[id]);
        mine.say(protocol, "fetch c", &[]);
        let reply =
            mine.say(protocol, "update projects set name = 'mine' where current of c returning name", &[]);
        assert_eq!(rows(&reply), [["mine"]]);
        lands(&mut mine, protocol, "update projects set budget = budget + 1 where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        // What a self-relative write has left is not known: it is not taken for another's.
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "4");
    }
}

#[test]
fn a_locking_cursor_leaves_out_what_the_transaction_has_written_since() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select * from projects where id = $1 for update", &[id]);
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        lands(&mut mine, protocol, WRITE, &["one", id]);
        assert!(rows(&mine.say(protocol, "fetch c", &[])).is_empty());
        mine.say(protocol, "declare d cursor for select * from projects where id = $1 for update", &[id]);
        assert_eq!(rows(&mine.say(protocol, "fetch d", &[])).len(), 1);
        lands(&mut mine, protocol, "update projects set name = 'two' where current of d", &[]);
        lands(&mut mine, protocol, WRITE, &["three", id]);
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["four", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "5");
    }
}

#[test]
fn a_cursor_declared_in_the_same_cycle_is_waited_for() {
    let stage = stage();
    let mut mine = stage.session();
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    let mut messages = Vec::new();
    for sql in [
        "begin",
        "declare c cursor for select id, name, version from projects where id = 3",
        "fetch c",
        "update projects set name = 'mine' where current of c",
        "update projects set name = 'again' where current of c",
        "commit",
    ] {
        messages.extend(one(sql));
    }
    messages.push(sync());
    let counted = unchecked(&stage, "current_of");
    assert_eq!(shape(&mine.exchange(&messages)), "12C12C12DC12C12C12CZ");
    lands(&mut mine, Protocol::Simple, WRITE, &["mine", "3"]);
    assert_eq!(
        (stage.version("projects", "id = 3").as_str(), unchecked(&stage, "current_of")),
        ("4", counted)
    );
}
