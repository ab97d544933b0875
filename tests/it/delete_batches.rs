//! Batches with a DELETE: what stands behind it is checked, and does not conflict with what it has made anew.

use crate::common::frames::{Frame, bind, execute, parse, sync};
use crate::common::raw::{Raw, sqlstate, status};
use crate::common::twin::stage;

const ALL: &str = "select * from projects";

/// Statements of one Query, or of one cycle of the extended protocol.
fn together(session: &mut Raw, extended: bool, texts: &[&str]) -> Vec<Frame> {
    if !extended {
        return session.query(&texts.join("; "));
    }
    let mut messages: Vec<Vec<u8>> =
        texts.iter().flat_map(|text| [parse("", text, &[]), bind("", &[]), execute("", 0)]).collect();
    messages.push(sync());
    session.exchange(&messages)
}

#[test]
fn a_delete_of_several_rows_leaves_later_writes_of_the_same_batch_checked() {
    let stage = stage();
    let many = "delete from projects where id > 7";
    let upsert =
        "insert into projects (id, name) values (9, 'up') on conflict (id) do update set name = 'up'";
    for extended in [false, true] {
        for texts in [
            &[many, "update projects set name = 'x' where id = 1"][..],
            &[many, "update projects set name = 'x' where id in (1, 2) returning id"],
            &["delete from projects where id = 9", upsert, "update projects set name = 'x' where id = 1"],
            &[many, "delete from projects where id = 1"],
        ] {
            let before = stage.behind().rows("select id, name from projects order by id");
            let mut mine = stage.session();
            mine.ok(ALL);
            stage.other_writes("update projects set budget = 0 where id = 1");
            let reply = together(&mut mine, extended, texts);
            assert_eq!(sqlstate(&reply), "40001", "{texts:?} {extended}");
            assert_eq!(stage.behind().rows("select id, name from projects order by id"), before);
            // Not in conflict with itself, and back for the next.
            mine.ok(ALL);
            let mut fresh = vec!["begin"];
            fresh.extend(texts);
            let reply = together(&mut mine, extended, &fresh);
            assert_eq!((sqlstate(&reply), status(&reply)), (String::new(), 'T'), "{texts:?} {extended}");
            mine.ok("rollback");
        }
    }
}

#[test]
fn rows_deleted_and_made_anew_in_one_batch_do_not_conflict_with_themselves() {
    let stage = stage();
    let update = "update projects set name = 'x' where id = 9";
    let one = "delete from projects where id = 9";
    let many = "delete from projects where id > 7";
    let inserts = [
        "insert into projects (id, name) values (9, 'new')",
        "insert into projects (id, name, version) values (9, 'new', 7)",
        "insert into projects (id, name) values (9, 'new') on conflict do nothing",
        "insert into projects (id, name) values (9, 'new') on conflict (id) do update set name = 'up'",
        "insert into projects (id, name) select 9, 'new'",
        "insert into projects (id, name, version) select 9, 'new', 12 on conflict (id) do update set name = 'up'",
        "merge into projects p using (values (9)) v (id) on p.id = v.id \
         when matched then update set name = 'm' when not matched then insert (id, name) values (v.id, 'new')",
        "with w as (insert into projects (id, name) values (9, 'new') returning id) select * from w",
    ];
    for extended in [false, true] {
        for delete in [one, many] {
            for insert in inserts {
                let mut mine = stage.session();
                mine.ok("update projects set name = 'seen' where id = 9");
                mine.ok(ALL);
                let reply = together(&mut mine, extended, &["begin", delete, insert, update]);
                assert_eq!(
                    (sqlstate(&reply), status(&reply)),
                    (String::new(), 'T'),
                    "{delete}; {insert} {extended}"
                );
                mine.ok("rollback");
            }
        }
    }
}
