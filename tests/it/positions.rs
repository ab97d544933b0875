//! Error positions point into the client's own text, whatever was spliced before them.

use crate::common::frames::Frame;
use crate::common::raw::error;
use crate::common::twin::stage;

fn position(reply: &[Frame]) -> Option<String> {
    error(reply).and_then(|e| e.field('P'))
}

#[test]
fn errors_before_inside_and_behind_the_splices_point_where_they_would() {
    let stage = stage();
    let mut twin = stage.twin();
    let mut reader = stage.twin();
    for sql in [
        // before the first splice, in the target and the SET list
        "update projects set nowhere = 1 where id = 1",
        "update projects set name = nowhere where id = 1",
        "update projects p set name = 1 + 'x' where p.id = 1",
        // behind the increment, in the condition
        "update projects set name = 'x' where nowhere = 1",
        "update projects set name = 'x' where id = 1 and nowhere = 1",
        "update projects set name = 'größe', status = 'ñ' where id = 1 and größe = 1",
        "update projects set name = 'x' where id = 'a'",
        "update projects set name = 'x' where id = 1 and status = 1",
        "/* ü */ update projects\n set name = 'x'\n where id = 1\n and nowhere",
        // behind the check, in RETURNING
        "update projects set name = 'x' where id = 1 returning nowhere",
        "update projects set name = 'x' where id = 1 returning name, nowhere",
        // at the very end, where the splice itself stands
        "update projects set name = 'x' where id = 1 and",
        "update projects set name = 'x' where id =",
        "update projects set name = 'x' where id = 1 )",
        "update projects set name = 'x',  where id = 1",
        "update projects set name = 'x' where (id = 1",
        "update projects set name = 'x' where id = 1 select",
        // hidden columns
        "select name, nowhere from projects where id = 1",
        "select name from projects where nowhere = 1",
        "select name from projects where id = 1 order by nowhere",
        "select name from projects p join nowhere n on true",
        "select name from projects where id = 1 limit x",
        "select name from projects where id = 1 for updat",
        "select name from projects where id = 'größe'",
        "select from projects where id = nowhere",
        "select name, from projects",
        // inserts and others
        "insert into projects (id, nowhere) values (1, 2)",
        "insert into projects (id) values (1) on conflict (id) do update set nowhere = 1",
        "insert into projects (id) values (1) on conflict (id) do update set name = nowhere returning x",
        "delete from projects where id = nowhere",
        "merge into projects p using (values (3)) v(id) on p.id = v.id when matched then update set nowhere = 'm'",
        // several statements
        "select 1; update projects set name = 'x' where id = 1; update projects set name = 'y' where nowhere = 1",
        "select name from projects where id = 1; select nowhere from projects",
    ] {
        let simple = twin.query(sql);
        assert!(position(&simple).is_some(), "{sql}: {simple:?}");
        if !sql.contains(';') {
            assert_eq!(position(&twin.extended(sql, &[])), position(&simple), "{sql}");
        }
        // The same in a session that knows the rows, so that the write is checked; alone and in a block.
        reader.query("select * from projects");
        assert_eq!(position(&reader.query(sql)), position(&simple), "{sql}");
        reader.query("begin");
        reader.query("select * from projects");
        assert_eq!(position(&reader.query(sql)), position(&simple), "{sql}");
        reader.query("rollback");
        if !sql.contains(';') {
            assert_eq!(position(&reader.extended(sql, &[])), position(&simple), "{sql}");
        }
    }
}

#[test]
fn errors_of_parameters_point_where_they_would() {
    let stage = stage();
    let mut twin = stage.twin();
    for (sql, values) in [
        ("update projects set name = $1 where id = $2 and $3", &["x", "1", "maybe"][..]),
        ("update projects set name = $1 where id = $2 and status = $1 + 1", &["x", "1"]),
        ("update projects set name = $1 where id = $2", &["x", "not a number"]),
        ("update projects set name = $1 where id = $3", &["x", "1", "1"]),
        ("select name from projects where id = $1 and $2 = nowhere", &["1", "2"]),
        ("update projects set name = $1, version = $2 where id = $3", &["x", "not a number", "1"]),
        ("update projects set name = $1 where id = $2 and version = $3", &["x", "1", "zzz"]),
    ] {
        let reply = twin.extended(sql, values);
        assert!(error(&reply).is_some(), "{sql}: {reply:?}");
    }
}

#[test]
fn notices_and_context_of_functions_are_the_same() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query(
        "create function loud(t text) returns text language plpgsql as
         $$ begin raise notice 'loud %', t; perform 1 / (length(t) - 3); return t; end $$",
    );
    twin.query("update projects set name = loud('long') where id = 1");
    twin.query("update projects set name = loud('abc') where id = 1");
    twin.query("select loud(name) from projects where id = 2");
    twin.extended("update projects set name = loud($1) where id = $2", &["abc", "3"]);
    twin.query("select 1 as \"größe\" from projects where 1 / (id - 1) > 0");
    assert_eq!(stage.version("projects", "id = 1"), "2");
}

#[test]
fn errors_of_constraints_and_types_are_the_same() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "update projects set portfolio_id = '00000000-0000-0000-0000-000000000000' where id = 1",
        "update projects set budget = 1e30 where id = 1",
        "update projects set id = 2 where id = 1",
        "insert into projects (id) values (1)",
        "delete from portfolios where id = '2531439d-3075-46d6-9c19-63e3342fc43e'",
        "update projects set status = 'x', status = 'y' where id = 1",
        "select name from projects where id = 1 for update nowait skip locked",
    ] {
        assert!(error(&twin.query(sql)).is_some(), "{sql}");
        assert!(error(&twin.extended(sql, &[])).is_some(), "{sql}");
    }
}
