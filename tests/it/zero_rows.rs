//! Zero rows are a conflict only where the row has another version, or is gone.

use crate::common::conflict::{Conflict, on_project};
use crate::common::raw::{BOTH, commands, status};
use crate::common::twin::{Stage, stage};

/// Both sides of the stage read the same row.
const READ: &str = "select id, name, status from projects where id = $1";

fn bump(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set budget = 1 where id = {id}"));
}

#[test]
fn another_condition_that_is_false_is_a_plain_zero() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut twin = stage.twin();
        twin.say(protocol, READ, &[id]);
        let sql = "update projects set name = 'x' where id = $1 and status = $2";
        assert_eq!(commands(&twin.say(protocol, sql, &[id, "closed"])), ["UPDATE 0"]);
        twin.query("begin");
        let reply = twin.say(protocol, sql, &[id, "closed"]);
        assert_eq!((commands(&reply), status(&reply)), (vec!["UPDATE 0".to_owned()], 'T'));
        assert_eq!(commands(&twin.query("commit")), ["COMMIT"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "1");
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn of_a_stale_row_the_other_condition_decides() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        bump(&stage, id);
        let sql = "update projects set name = 'x' where id = $1 and status = $2";
        assert_eq!(commands(&mine.say(protocol, sql, &[id, "closed"])), ["UPDATE 0"]);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, sql, &[id, "open"]), 'I');
        let sql = "update projects set name = 'x' where (status = $2 or false) and $1 = projects.id";
        assert_eq!(commands(&mine.say(protocol, sql, &[id, "closed"])), ["UPDATE 0"]);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, sql, &[id, "open"]), 'I');
    }
}

#[test]
fn a_row_that_a_policy_keeps_from_the_role_is_a_plain_zero() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut twin = stage.twin_of("app");
        twin.say(protocol, "select id, owner, share from resource_assignments where id = 2", &[]);
        let sql = "update resource_assignments set share = $1 where id = 2";
        assert_eq!(commands(&twin.say(protocol, sql, &["60"])), ["UPDATE 0"]);
        twin.query("begin");
        let reply = twin.say(protocol, sql, &["60"]);
        assert_eq!((commands(&reply), status(&reply)), (vec!["UPDATE 0".to_owned()], 'T'));
        twin.query("rollback");
        // The role's own row is guarded as any.
        twin.say(protocol, "select id, owner, share from resource_assignments where id = 1", &[]);
        let sql = "update resource_assignments set share = $1 where id = 1";
        assert_eq!(commands(&twin.say(protocol, sql, &["61"])), ["UPDATE 1"]);
    }
    assert_eq!((stage.version("resource_assignments", "id = 2"), stage.conflicts()), ("1".into(), 0.0));
    assert_eq!(stage.version("resource_assignments", "id = 1"), "3");
}

#[test]
fn a_row_that_a_trigger_keeps_is_a_plain_zero() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut twin = stage.twin();
        twin.say(protocol, "select * from project_phases where id = 2", &[]);
        let sql = "update project_phases set name = $1 where id = 2";
        assert_eq!(commands(&twin.say(protocol, sql, &["x"])), ["UPDATE 0"]);
        twin.query("begin");
        let reply = twin.say(protocol, sql, &["x"]);
        assert_eq!((commands(&reply), status(&reply)), (vec!["UPDATE 0".to_owned()], 'T'));
        twin.query("rollback");
    }
    assert_eq!((stage.version("project_phases", "id = 2"), stage.conflicts()), ("1".into(), 0.0));
}

#[test]
fn a_row_that_never_existed_is_a_plain_zero() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut twin = stage.twin();
        twin.say(protocol, READ, &["999"]);
        let sql = "update projects set name = $1 where id = $2";
        assert_eq!(commands(&twin.say(protocol, sql, &["x", "999"])), ["UPDATE 0"]);
        twin.query("begin");
        let reply = twin.say(protocol, sql, &["x", "999"]);
        assert_eq!((commands(&reply), status(&reply)), (vec!["UPDATE 0".to_owned()], 'T'));
        twin.query("commit");
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn an_observed_row_that_is_gone_is_a_conflict_with_actual_null() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let sql = "update projects set name = 'x' where id = $1";
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        let mut block = stage.session();
        block.ok("begin");
        block.say(protocol, READ, &[id]);
        stage.behind().ok(&format!("delete from projects where id = {id}"));
        on_project(id, 1, None).check(&mine.say(protocol, sql, &[id]), 'I');
        on_project(id, 1, None).check(&block.say(protocol, sql, &[id]), 'E');
        assert_eq!(block.ok("commit"), "ROLLBACK");
    }
}

#[test]
fn a_row_that_the_session_deleted_itself_is_a_plain_zero() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut twin = stage.twin();
        twin.say(protocol, READ, &[id]);
        assert_eq!(commands(&twin.say(protocol, "delete from projects where id = $1", &[id])), ["DELETE 1"]);
        assert_eq!(
            commands(&twin.say(protocol, "update projects set name = 'x' where id = $1", &[id])),
            ["UPDATE 0"]
        );
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_refused_write_with_returning_shows_no_row() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        bump(&stage, id);
        let sql = "update projects set name = 'x' where id = $1 returning name, budget";
        let reply = mine.say(protocol, sql, &[id]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
        assert!(reply.iter().all(|f| f.tag != b'D'), "{reply:?}");
    }
}

#[test]
fn a_secret_column_is_in_no_error_no_log_and_no_metric() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from users where id = $1", &[id]);
        stage.other_writes(&format!("update users set password_hash = 'argon2-SECRET-NEW' where id = {id}"));
        let sql = "update users set email = $1, password_hash = $2 where id = $3";
        let reply = mine.say(protocol, sql, &["x@example.org", "argon2-SECRET-MINE", id]);
        let conflict = Conflict { table: "users", entity: "user", id, expected: 1, actual: Some(2) };
        let detail = conflict.check(&reply, 'I');
        assert!(detail["current_state"].get("email").is_some(), "{detail}");
        assert!(detail["current_state"].get("password_hash").is_none(), "{detail}");
        assert!(!format!("{reply:?}").contains("SECRET"), "{reply:?}");
    }
    assert!(!stage.proxy.get("/metrics").1.contains("SECRET"));
    let event = stage.proxy.log().wait(|l| l.contains("version conflict on user 1"));
    let event = event.unwrap_or_else(|| panic!("no log event of the conflict"));
    let event: serde_json::Value = serde_json::from_str(&event).unwrap_or_else(|e| panic!("{e}: {event}"));
    assert_eq!(event["level"], "WARNING", "{event}");
    assert!(event["timestamp"].as_str().is_some_and(|t| t.contains('T')), "{event}");
    for (field, value) in
        [("entity_type", "user"), ("entity_id", "1"), ("expected_version", "1"), ("actual_version", "2")]
    {
        let text = event[field].as_str().map_or_else(|| event[field].to_string(), str::to_owned);
        assert_eq!(text, value, "{field} of {event}");
    }
    assert!(event.get("user_id").is_some(), "{event}");
    let log = stage.proxy.log().text();
    assert!(!log.contains("SECRET") && !log.contains("example.org"), "{log}");
}
