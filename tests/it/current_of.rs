//! Writes of the row under a cursor (`WHERE CURRENT OF`), in batches and by keys of several columns.

use crate::common::conflict::{Conflict, on_project};
use crate::common::frames::{bind, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, sqlstate, status};
use crate::common::twin::{Stage, stage, stage_with};

fn unchecked(stage: &Stage, reason: &str) -> f64 {
    stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", reason)])
}

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
