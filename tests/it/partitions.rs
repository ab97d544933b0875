//! Partitions of a protected table, by their own names and by that of the table.

use crate::common::conflict::Conflict;
use crate::common::raw::commands;
use crate::common::twin::stage;

/// A configured table may be a partition of another one that is configured, too, however deep.
#[test]
fn a_partition_that_is_configured_beside_its_table() {
    let stage = stage();
    let columns = "(id int primary key, name text, version int not null default 1)";
    stage.behind().ok(&format!(
        "drop table programs, projects, portfolios cascade;
         create table programs {columns} partition by range (id);
         create table half partition of programs for values from (0) to (100) partition by range (id);
         create table projects partition of half for values from (0) to (10);
         create table portfolios partition of programs for values from (100) to (200);
         insert into programs values (1, 'a'), (101, 'b')"
    ));
    let mut mine = stage.session();
    let mut version = 1;
    for (id, part) in [("1", "projects"), ("101", "portfolios")] {
        for (read, write) in [("programs", part), (part, "programs"), (part, part), ("programs", "programs")]
        {
            mine.ok(&format!("select name from {read} where id = {id}"));
            let (table, write) = (write, format!("update {write} set name = 'x' where id = {id}"));
            assert_eq!(commands(&mine.query(&write)), ["UPDATE 1"]);
            stage.behind().ok(&format!("update programs set version = version + 1 where id = {id}"));
            version += 2;
            let reply = mine.query(&write);
            let (expected, actual) = (version - 1, Some(version));
            Conflict { table, entity: "program", id, expected, actual }.check(&reply, 'I');
        }
        version = 1;
    }
    let log = stage.proxy.log().text();
    for table in ["public.projects", "public.portfolios"] {
        let line = log.lines().rfind(|line| line.contains(table) && line.contains("catalog")).unwrap();
        assert!(line.contains("the settings of that one hold for it"), "{line}");
    }
    assert!(log.contains("\"table\":\"public.users\""), "the others are protected as ever");
}
