//! DELETE from tables that are not plain: with rules, row security, statement triggers, partitions, or a key of several
//! columns, and by a role that may not read all of it.

use crate::common::raw::{commands, sqlstate};
use crate::common::twin::stage;
use crate::delete::{ALL, other_writes, unchecked};

#[test]
fn rules_and_row_security_are_left_to_say_which_rows_go() {
    let stage = stage();
    stage.behind().ok("create rule keep as on delete to projects where old.id = 1 do instead nothing;
         create policy see on resource_assignments for delete using (owner = current_user)");
    stage
        .cluster
        .direct("direct")
        .ok("create rule keep as on delete to projects where old.id = 1 do instead nothing;
         create policy see on resource_assignments for delete using (owner = current_user)");
    let counted = unchecked(&stage, "delete");
    let mut twin = stage.twin_of("app");
    twin.query("select * from projects");
    other_writes(&stage, 1);
    for text in [
        "delete from projects where id in (1, 2)",
        "select 1; delete from projects where id = 3",
        // The server's own refusal.
        "delete from projects where id = 1 and (select true) returning id",
    ] {
        twin.query(text);
    }
    assert_eq!(unchecked(&stage, "delete"), counted + 2.0);
    // Under row security the rows named are checked, others are left alone.
    let labels = [("table", "resource_assignments"), ("reason", "delete")];
    let count = || stage.proxy.metric("staleguard_unchecked_writes_total", &labels);
    let mut mine = stage.proxy.session_of("app", "proxied");
    mine.ok("select * from resource_assignments");
    stage.behind().ok("update resource_assignments set share = 1, version = version + 1");
    assert_eq!(
        sqlstate(&mine.query("select 1; delete from resource_assignments where id in (1, 2)")),
        "40001"
    );
    let before = count();
    mine.ok("begin");
    assert_eq!(mine.ok("delete from resource_assignments"), "DELETE 1");
    mine.ok("rollback");
    assert_eq!(count(), before + 1.0);
}

#[test]
fn a_role_that_may_not_read_deletes_as_before() {
    let stage = stage();
    stage.behind().ok("create role blind_man login");
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("grant delete on projects to blind_man");
    }
    let mut twin = stage.twin_of("blind_man");
    for text in [
        "begin",
        "delete from projects",
        "rollback",
        "delete from projects where id = 1",
        "delete from projects returning 1",
    ] {
        twin.query(text);
        twin.extended(text, &[]);
    }
    assert!(unchecked(&stage, "privilege") >= 1.0);
}

#[test]
fn statement_triggers_fire_once() {
    let stage = stage();
    stage.behind().ok("create function audit() returns trigger language plpgsql as
         $$ begin insert into notes values (1000 + (select count(*) from notes), 'seen'); return null; end $$;
         create trigger audit after delete on projects for each statement execute function audit()");
    let mut mine = stage.session();
    mine.ok(ALL);
    other_writes(&stage, 1);
    assert_eq!(sqlstate(&mine.query("delete from projects where id = 1")), "40001");
    assert_eq!(sqlstate(&mine.extended("delete from projects where id = $1", &["1"])), "40001");
    mine.ok(ALL);
    assert_eq!(mine.ok("delete from projects where id = 1"), "DELETE 1");
    assert_eq!(commands(&mine.extended("delete from projects where id = $1", &["1"])), ["DELETE 0"]);
    assert_eq!(stage.behind().value("select count(*) from notes where body = 'seen'"), "2");
}

#[test]
fn in_partitions_and_by_keys_of_several_columns() {
    let stage = stage();
    stage.behind().ok(
        "drop table programs;
         create table programs (id int, name text, version int not null default 1, primary key (id)) partition by range (id);
         create table programs_1 partition of programs for values from (0) to (10);
         insert into programs values (1, 'a', 1), (2, 'b', 1)",
    );
    let mut mine = stage.session();
    mine.ok("select * from programs");
    mine.ok("select * from user_roles");
    stage.behind().ok("update programs set version = version + 1 where id = 1;
         update user_roles set version = version + 1 where user_id = 1 and role_id = 'admin'");
    for text in [
        "delete from programs where id in (1, 2)",
        "delete from programs_1 where id in (1, 2)",
        "delete from programs p using notes n where n.id = p.id",
        "delete from user_roles where user_id = 1",
        "select 1; delete from user_roles where user_id = 1 and role_id = 'admin'",
        "update programs set name = 'x' where id = 2; delete from programs where id in (1, 2)",
    ] {
        assert_eq!(sqlstate(&mine.query(text)), "40001", "{text}");
    }
    assert_eq!(
        mine.ok("select 1; delete from user_roles where user_id = 1 and role_id = 'reader'"),
        "DELETE 1"
    );
    mine.ok("select * from programs");
    assert_eq!(
        mine.ok("update programs set name = 'x' where id = 2; delete from programs where id in (1, 2)"),
        "DELETE 2"
    );
}
