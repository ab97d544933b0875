//! How long a label lasts: never into another user's transaction.

use super::*;

/// Ada has read the row and someone has changed it. A session says things and writes it: refused if it is ada's.
fn refused(desk: &Desk, protocol: Protocol, first: &str, statements: &[&str]) -> bool {
    let id = desk.row();
    let mut ada = desk.session();
    ada.ok(first);
    fine(ada.query(&format!("select name from projects where id = {id} /*user='ada'*/")));
    desk.other_writes(&id);
    let mut one = desk.session();
    for statement in statements {
        let reply = one.say(protocol, statement, &[]);
        assert!(error(&reply).is_none() || sqlstate(&reply) == "22012", "{statement}: {reply:?}");
    }
    let reply = one.say(protocol, WRITE, &["x", &id]);
    match &*sqlstate(&reply) {
        "40001" => true,
        "" => {
            assert_eq!(commands(&reply), ["UPDATE 1"]);
            false
        }
        _ => panic!("{statements:?}: {reply:?}"),
    }
}

fn all(desk: &Desk, first: &str, cases: &[(&[&str], bool)]) {
    for protocol in PROTOCOLS {
        for (statements, is_ada) in cases {
            assert_eq!(refused(desk, protocol, first, statements), *is_ada, "{protocol:?} {statements:?}");
        }
    }
}

const ADA: &str = "set app.user_id = 'ada'";
const BOB: &str = "set app.user_id = 'bob'";
const LOCAL: &str = "set local app.user_id = 'ada'";

#[test]
fn a_setting_lasts_as_long_as_the_servers() {
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    all(
        &desk,
        ADA,
        &[
            (&[ADA], true),
            (&[ADA, "reset app.user_id"], false),
            (&[ADA, "set app.user_id to default"], false),
            (&[ADA, "reset all"], false),
            (&[ADA, "discard all"], false),
            (&[ADA, BOB], false),
            (&[ADA, "begin", BOB, "rollback"], true),
            (&[ADA, "begin", BOB, "commit"], false),
            (&[ADA, "begin", BOB, "select 1/0", "commit"], true),
            (&[ADA, "begin", BOB, "select 1/0", "rollback"], true),
            (&["begin", ADA, "rollback"], false),
            (&["begin", ADA, "commit"], true),
            (&["begin", LOCAL], true),
            (&["begin", LOCAL, "commit"], false),
            (&["begin", LOCAL, "commit and chain"], false),
            (&["begin", ADA, "commit and chain"], true),
            (&["begin", ADA, "rollback and chain"], false),
            (&["begin", LOCAL, "rollback"], false),
            (&["begin", "savepoint a", LOCAL, "rollback to a"], false),
            (&["begin", LOCAL, "savepoint a", BOB, "rollback to savepoint a"], true),
            (&["begin", LOCAL, "savepoint a", BOB, "release a"], false),
            (&["begin", "savepoint a", ADA, "release a", "commit"], true),
            (&["begin", "savepoint a", ADA, "select 1/0", "rollback to a", "commit"], false),
            (&["begin", LOCAL, "set app.user_id = 'ada'", "commit"], true),
            (&["begin", ADA, "set local app.user_id = 'bob'"], false),
            (&["begin", ADA, "set local app.user_id = 'bob'", "commit"], true),
            // Outside of a block SET LOCAL does nothing.
            (&[LOCAL], false),
            (&[ADA, "set local app.user_id = 'bob'"], true),
            (&[ADA, "begin", "reset app.user_id", "rollback"], true),
            (&[ADA, "begin", "reset all", "rollback"], true),
            (&[ADA, "begin", "savepoint a", "reset all", "rollback to a"], true),
            (&["select set_config('app.user_id', 'ada', false)"], true),
            (&["select set_config('app.user_id', 'ada', true)"], false),
            (&["begin", "select set_config('app.user_id', 'ada', true)"], true),
            (&["begin", "select set_config('app.user_id', 'ada', true)", "commit"], false),
            // What cannot be told is nobody's.
            (&[ADA, "select set_config('app.user_id', 'a' || 'da', false)"], false),
            (&[ADA, "do $do$ begin end $do$"], true),
        ],
    );
}

#[test]
fn a_role_lasts_as_long_as_the_servers() {
    let desk = Desk::new(&["--context-label", "role"]);
    all(
        &desk,
        "set role ada",
        &[
            (&["set role ada"], true),
            (&["set role ada", "set role none"], false),
            (&["set role ada", "reset role"], false),
            (&["set role ada", "discard all"], false),
            // RESET ALL leaves the role.
            (&["set role ada", "reset all"], true),
            (&["begin", "set role ada", "rollback"], false),
            (&["begin", "set local role ada"], true),
            (&["begin", "set local role ada", "commit"], false),
            (&["begin", "savepoint a", "set role ada", "rollback to a"], false),
            (&["set session authorization ada"], true),
            (&["set session authorization ada", "reset session authorization"], false),
            (&["set session authorization ada", "set session authorization default"], false),
            (&["set session authorization ada", "discard all"], false),
            (&["set role ada", "set session authorization bob"], false),
            // What cannot be told is nobody's.
            (&["set role ada", "select set_config('role', 'a' || 'da', false)"], false),
            (&["begin", "set session authorization ada", "rollback"], false),
            (&["begin", "set local session authorization ada", "commit"], false),
        ],
    );
}

#[test]
fn an_application_name_lasts_as_long_as_the_servers() {
    let desk = Desk::new(&["--context-label", "application_name"]);
    all(
        &desk,
        "set application_name = 'ada'",
        &[
            (&["set application_name = 'ada'"], true),
            (&["set application_name = 'ada'", "reset all"], false),
            (&["set application_name = 'ada'", "discard all"], false),
            (&["begin", "set application_name = 'ada'", "rollback"], false),
            (&["begin", "set application_name = 'ada'", "commit"], true),
            (&["begin", "set local application_name = 'ada'", "commit"], false),
            (&["begin", "savepoint a", "set application_name = 'ada'", "rollback to a"], false),
        ],
    );
}

#[test]
fn a_comment_lasts_to_the_end_of_its_transaction() {
    let desk = Desk::new(&["--context-label", "comment:user"]);
    let ada = "select name from projects where id = 9 /*user='ada'*/";
    let bob = "select name from projects where id = 9 /*user='bob'*/";
    all(
        &desk,
        "select 1",
        &[
            (&[ada], false),
            (&["begin", ada], true),
            (&["begin", ada, "commit"], false),
            (&["begin", ada, "rollback"], false),
            (&["begin", ada, "commit and chain"], false),
            (&["begin", ada, "commit", "begin"], false),
            (&["begin", ada, bob], false),
        ],
    );
}

#[test]
fn a_lookup_lasts_to_the_end_of_its_transaction() {
    let desk = Desk::new(&["--context-label", "lookup:users.id,comment:user"]);
    let first = "begin; select email from users where id = 1";
    let who = "select email from users where id = 1";
    let other = "select email from users where id = 2";
    all(
        &desk,
        first,
        &[
            (&["begin", who], true),
            // The first one counts.
            (&["begin", who, other], true),
            (&["begin", other, who], false),
            (&["begin", who, "commit"], false),
            (&["begin", who, "rollback"], false),
            (&["begin", who, "commit", "begin"], false),
            (&["begin", who, "commit and chain"], false),
            (&["begin", who, "rollback and chain"], false),
            // In autocommit it labels itself only.
            (&[who], false),
        ],
    );
}

#[test]
fn a_sticky_lookup_lasts_to_the_next_one_or_a_reset() {
    let desk = Desk::new(&["--context-label", "lookup:users.id", "--context-sticky", "true"]);
    let who = "select email from users where id = 1";
    let other = "select email from users where id = 2";
    all(
        &desk,
        who,
        &[
            (&[who], true),
            (&[who, "begin", "commit", "begin", "rollback"], true),
            (&[who, other], false),
            (&["begin", who, "commit"], true),
            (&[who, "discard all"], false),
            (&[who, "reset all"], false),
            (&[who, "discard all", who], true),
            (&["begin", who, other], true),
            (&["begin", who, other, "commit"], true),
        ],
    );
}

#[test]
fn with_no_label_the_transaction_alone_counts() {
    let desk = Desk::new(&["--context-label", "comment:user"]);
    for protocol in PROTOCOLS {
        let id = desk.row();
        let mut one = desk.session();
        // Read in an earlier transaction: not counted, and said so.
        one.ok("begin");
        fine(one.say(protocol, READ, &[&id]));
        one.ok("commit");
        desk.other_writes(&id);
        let before = desk.blind("no_label");
        assert_eq!(commands(&one.say(protocol, WRITE, &["x", &id])), ["UPDATE 1"]);
        assert_eq!(desk.blind("no_label"), before + 1.0);
        // In its own transaction it counts.
        one.ok("begin");
        fine(one.say(protocol, READ, &[&id]));
        desk.other_writes(&id);
        on_project(&id, 3, Some(4)).check(&one.say(protocol, WRITE, &["x", &id]), 'E');
        one.ok("rollback");
        // What it read before its label was known is the label's.
        one.ok("begin");
        fine(one.say(protocol, READ, &[&id]));
        fine(one.say(protocol, "select name from projects where id = 9 /*user='late'*/", &[]));
        one.ok("commit");
        desk.other_writes(&id);
        let write = format!("{WRITE} /*user='late'*/");
        on_project(&id, 4, Some(5)).check(&one.say(protocol, &write, &["x", &id]), 'I');
    }
}

#[test]
fn a_comment_on_what_names_nothing_protected_is_not_heard() {
    let desk = Desk::new(&["--context-label", "comment:user"]);
    let mut one = desk.session();
    for (begin, first, heard) in [
        ("begin", "select body from notes where id = 1 /*user='ada'*/", false),
        ("begin", "select 1 /*user='ada'*/", false),
        ("begin", "select count(*) from projects where id = 1 /*user='ada'*/", true),
        ("begin /*user='ada'*/", "select 1", true),
        ("begin", "savepoint a /*user='ada'*/", true),
    ] {
        let id = desk.row();
        one.ok(&format!("select name from projects where id = {id} /*user='ada'*/"));
        desk.other_writes(&id);
        let before = desk.blind("no_label");
        one.ok(begin);
        one.ok(first);
        // Without a label it is blind, and that is counted.
        let reply = one.query(&format!("update projects set name = 'x' where id = {id}"));
        assert_eq!(sqlstate(&reply), if heard { "40001" } else { "" }, "{begin}; {first}");
        one.ok("rollback");
        assert_eq!(desk.blind("no_label"), before + f64::from(!heard), "{begin}; {first}");
    }
}
