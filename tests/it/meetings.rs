//! Where two rules meet.

use crate::common::frames::{bind, bind_raw, execute, parse, query, sync};
use crate::common::raw::{error, sqlstate};
use crate::common::twin::{stage, stage_with};

#[test]
fn a_portal_of_a_set_write_has_no_rows_to_fetch() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects");
    for name in ["", "s"] {
        twin.query("begin");
        let update = "update projects set name = 'x' where id < 4";
        twin.exchange(&[parse(name, update, &[]), bind_raw("p", name, &[], &[], &[]), sync()]);
        twin.exchange(&[query("fetch all from p")]);
        twin.query("rollback");
        // Whole, it runs as ever.
        twin.query("begin");
        twin.exchange(&[
            parse(name, update, &[]),
            bind_raw("p", name, &[], &[], &[]),
            execute("p", 0),
            sync(),
        ]);
        twin.query("rollback");
    }
}

#[test]
fn on_a_strict_table_a_prepared_delete_without_a_guard_is_refused() {
    let stage = stage_with(&["--blind", "reject"]);
    let mut mine = stage.session();
    let count = || stage.behind().rows("select count(*) from projects").concat();
    let before = count();
    let text = "delete from projects where id = $1 and exists (select 1 from users)";
    let reply = mine.exchange(&[
        parse("d", text, &[]),
        bind("d", &["1"]),
        execute("", 0),
        bind("d", &["2"]),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(sqlstate(&reply), "0A000", "{reply:?}");
    assert_eq!(count(), before);
}

#[test]
fn observing_an_execute_compares_what_it_returns() {
    let stage = stage_with(&["--mode", "observe"]);
    let told = |outcome: &str| stage.proxy.metric("staleguard_observe_total", &[("outcome", outcome)]);
    let mut mine = stage.session();
    mine.ok("prepare p as update projects set name = 'mine' where id = $1 returning *");
    mine.ok("select * from projects");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let reply = mine.query("execute p (1)");
    assert!(error(&reply).is_none(), "{reply:?}");
    assert_eq!((told("pass"), told("would_conflict")), (0.0, 1.0));
    mine.query("execute p (2)");
    assert_eq!((told("pass"), told("would_conflict")), (1.0, 1.0));
}
