//! Units of work: the re-reads of the writing one do not count.

use super::*;

/// Runs statements on connections, all with the same comment; the last one's reply.
fn request(
    pool: &mut [Raw; 2],
    protocol: Protocol,
    comment: &str,
    steps: &[(usize, &str, &[&str])],
) -> Vec<Frame> {
    let mut reply = Vec::new();
    for (n, sql, values) in steps {
        reply = pool[*n].say(protocol, &format!("{sql} {comment}"), values);
    }
    reply
}

#[test]
fn a_handler_that_commits_twice_does_not_count_its_own_first_read() {
    let desk = Desk::new(&[
        "--context-label",
        "comment:user,setting:app.user_id",
        "--context-unit",
        "comment:traceparent,setting:app.request_id",
    ]);
    for protocol in PROTOCOLS {
        let (id, b) = (desk.row(), desk.row());
        let mut pool = [desk.session(), desk.session()];
        let id = &*id;
        // The form.
        request(&mut pool, protocol, "/*user='ada',traceparent='get'*/", &[(0, READ, &[id][..])]);
        desk.other_writes(id);
        // The handler reads A, commits B, re-reads A, on the same connection and on another one, and writes it.
        for name in ["put", "put again"] {
            let comment = format!("/*user='ada',traceparent='{name}'*/");
            request(
                &mut pool,
                protocol,
                &comment,
                &[
                    (0, "begin", &[]),
                    (0, READ, &[id][..]),
                    (0, WRITE, &["b", &b][..]),
                    (0, "commit", &[]),
                    (1, READ, &[id][..]),
                    (0, "begin", &[]),
                    (0, READ, &[id][..]),
                ],
            );
            let reply = request(&mut pool, protocol, &comment, &[(0, WRITE, &["a", id])]);
            on_project(id, 1, Some(2)).check(&reply, 'E');
            pool[0].ok("rollback");
        }
        // A refresh of the form, and it is saved.
        request(&mut pool, protocol, "/*user='ada',traceparent='get2'*/", &[(0, READ, &[id][..])]);
        let reply =
            request(&mut pool, protocol, "/*user='ada',traceparent='put3'*/", &[(1, WRITE, &["a", id])]);
        assert_eq!(commands(&reply), ["UPDATE 1"]);
    }
}

#[test]
fn a_request_may_be_named_by_a_setting() {
    let desk = Desk::new(&[
        "--context-label",
        "setting:app.user_id",
        "--context-unit",
        "comment:traceparent,setting:app.request_id",
    ]);
    for protocol in PROTOCOLS {
        let id = desk.row();
        let id = &*id;
        let mut one = desk.session();
        one.ok("set app.user_id = 'ada'");
        one.ok("set app.request_id = 'form'");
        fine(one.say(protocol, READ, &[id]));
        desk.other_writes(id);
        // In autocommit, all of it one request.
        one.ok(&format!("set app.request_id = 'save {protocol:?}'"));
        fine(one.say(protocol, READ, &[id]));
        fine(one.say(protocol, READ, &[id]));
        on_project(id, 1, Some(2)).check(&one.say(protocol, WRITE, &["x", id]), 'I');
        // Without a name each statement is a unit: the re-read just before is an earlier one.
        one.ok("reset app.request_id");
        fine(one.say(protocol, READ, &[id]));
        assert_eq!(commands(&one.say(protocol, WRITE, &["x", id])), ["UPDATE 1"]);
    }
}

#[test]
fn without_a_request_key_the_transaction_is_the_unit() {
    let desk = Desk::new(&["--context-label", "comment:user"]);
    for protocol in PROTOCOLS {
        let id = desk.row();
        let way = Way { suffix: " /*user='{}'*/", ..Way::default() };
        let mut one = desk.session();
        way.transaction(&mut one, protocol, "ada", &id, None);
        desk.other_writes(&id);
        on_project(&id, 1, Some(2)).check(&way.transaction(&mut one, protocol, "ada", &id, Some("x")), 'E');
        way.transaction(&mut one, protocol, "ada", &id, None);
        assert_eq!(commands(&way.transaction(&mut one, protocol, "ada", &id, Some("x"))), ["UPDATE 1"]);
        // Where no earlier unit has seen the row, the first read of the writing one counts.
        let id = desk.row();
        one.ok("begin");
        fine(way.statement(&mut one, protocol, "ada", READ, &[&id]));
        desk.other_writes(&id);
        fine(way.statement(&mut one, protocol, "ada", READ, &[&id]));
        on_project(&id, 1, Some(2)).check(&way.statement(&mut one, protocol, "ada", WRITE, &["x", &id]), 'E');
        one.ok("rollback");
    }
}

#[test]
fn what_lies_between_two_sticky_lookups_is_a_unit() {
    let desk = Desk::new(&["--context-label", "lookup:users.id", "--context-sticky", "true"]);
    let who = "select email from users where id = 1";
    for protocol in PROTOCOLS {
        let id = desk.row();
        let id = &*id;
        let mut one = desk.session();
        fine(one.say(protocol, who, &[]));
        fine(one.say(protocol, READ, &[id]));
        desk.other_writes(id);
        // The next request, in autocommit, re-reads before it writes.
        fine(one.say(protocol, who, &[]));
        fine(one.say(protocol, READ, &[id]));
        on_project(id, 1, Some(2)).check(&one.say(protocol, WRITE, &["x", id]), 'I');
        fine(one.say(protocol, who, &[]));
        fine(one.say(protocol, READ, &[id]));
        fine(one.say(protocol, who, &[]));
        fine(one.say(protocol, READ, &[id]));
        assert_eq!(commands(&one.say(protocol, WRITE, &["x", id])), ["UPDATE 1"]);
    }
}

#[test]
fn the_earliest_read_counts_where_every_request_reads_everything() {
    let desk = Desk::new(&["--context-label", "comment:user", "--context-reads", "earliest"]);
    for protocol in PROTOCOLS {
        let id = desk.row();
        let way = Way { suffix: " /*user='{}'*/", ..Way::default() };
        let mut one = desk.session();
        way.transaction(&mut one, protocol, "ada", &id, None);
        desk.other_writes(&id);
        way.transaction(&mut one, protocol, "ada", &id, None);
        on_project(&id, 1, Some(2)).check(&way.transaction(&mut one, protocol, "ada", &id, Some("x")), 'E');
        way.transaction(&mut one, protocol, "ada", &id, None);
        assert_eq!(commands(&way.transaction(&mut one, protocol, "ada", &id, Some("x"))), ["UPDATE 1"]);
    }
}

#[test]
fn a_request_is_its_trace_whatever_the_span_of_each_statement() {
    let desk = Desk::new(&["--context-label", "comment:user"]);
    let traced =
        |trace: u32, span: u32| format!("/*user='ada',traceparent='00-{trace:032x}-{span:016x}-01'*/");
    for protocol in PROTOCOLS {
        let id = desk.row();
        let id = &*id;
        let mut pool = [desk.session(), desk.session()];
        request(&mut pool, protocol, &traced(1, 1), &[(0, READ, &[id][..])]);
        desk.other_writes(id);
        // In autocommit the handler reads and writes; an instrumented driver names the span of each statement.
        request(&mut pool, protocol, &traced(2, 2), &[(0, READ, &[id][..])]);
        let reply = request(&mut pool, protocol, &traced(2, 3), &[(1, WRITE, &["x", id])]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
        // A refresh, and it is saved.
        request(&mut pool, protocol, &traced(3, 4), &[(0, READ, &[id][..])]);
        let reply = request(&mut pool, protocol, &traced(4, 5), &[(1, WRITE, &["x", id])]);
        assert_eq!(commands(&reply), ["UPDATE 1"]);
    }
}

#[test]
fn the_log_tells_in_which_unit_the_row_was_seen() {
    let desk = Desk::new(&[
        "--context-label",
        "comment:user",
        "--context-unit",
        "comment:traceparent,setting:app.request",
    ]);
    let mut one = desk.session();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let plain = "select name, budget from projects where id = {} /*user='ada'*/";
    for (before, read, want) in [
        ("", &*format!("{}{trace}-00f067aa0ba902b7-01'*/", plain.replace("*/", ",traceparent='00-")), trace),
        ("set app.request = 'a1b2'", plain, "request a1b2"),
        ("set app.request = 'O''Hara signs'", plain, "request ~"),
        ("reset app.request", plain, "transaction "),
    ] {
        // In the predicate and in the guard form.
        for condition in ["id = {}", "id in ({}, 99)"] {
            let id = desk.row();
            one.ok(before);
            one.ok(&read.replace("{}", &id));
            one.ok("reset app.request");
            desk.other_writes(&id);
            let condition = condition.replace("{}", &id);
            let write = format!("update projects set name = 'x' where {condition} /*user='ada'*/");
            assert_eq!(sqlstate(&one.query(&write)), "40001");
            let event = desk.stage.proxy.log().wait(|line| {
                line.contains("staleguard::conflict") && line.contains(&format!("\"entity_id\":\"{id}\""))
            });
            let event: serde_json::Value = serde_json::from_str(&event.unwrap()).unwrap();
            let seen_in = event["seen_in"].as_str().unwrap();
            assert!(seen_in.contains(want) && !seen_in.contains("Hara"), "{event}");
            assert!(event["seen_seconds_ago"].is_u64(), "{event}");
        }
    }
}

#[test]
fn a_portal_that_is_fetched_in_parts_teaches_no_more_than_its_unit() {
    let desk = Desk::new(&["--context-label", "comment:user", "--context-learn-from", "route=form"]);
    let mut one = desk.session();
    for (route, refused) in [("menu", false), ("form", true)] {
        let id = desk.row();
        let rows = format!("select name, budget from projects where id in (1, {id}) order by id");
        one.ok("begin");
        fine(one.exchange(&[
            frames::parse("", &format!("{rows} /*user='ada',route='{route}'*/"), &[]),
            frames::bind_raw("p", "", &[], &[], &[]),
            frames::describe('P', "p"),
            frames::execute("p", 1),
            frames::execute("p", 1),
            frames::sync(),
        ]));
        one.ok("rollback");
        desk.other_writes(&id);
        let write = format!("update projects set name = 'x' where id = {id} /*user='ada'*/");
        assert_eq!(sqlstate(&one.query(&write)), if refused { "40001" } else { "" }, "{route}");
    }
}

/// A transaction of an application whose authorisation reads whole tables in every request.
fn authorised(session: &mut Raw, protocol: Protocol, route: &str, steps: &[(&str, &[&str])]) -> Vec<Frame> {
    let comment = format!("/*user='ada',route='{route}'*/");
    session.ok("begin");
    for table in ["user_roles", "scope_assignments", "projects"] {
        fine(session.query(&format!("select * from {table} {comment}")));
    }
    let mut reply = Vec::new();
    for (sql, values) in steps {
        reply = session.say(protocol, &format!("{sql} {comment}"), values);
    }
    session.query("commit");
    reply
}

#[test]
fn an_application_whose_authorisation_reads_whole_tables_in_every_request() {
    let (form, menu, save) = ("GET%20%2Fprojects%2F7", "GET%20%2Fmenu", "PUT%20%2Fprojects%2F7");
    for (settings, refused) in [
        // What the menu has read counts: docs/scopes.md says so.
        (&[][..], false),
        (&["--context-reads", "earliest"], true),
        (&["--context-learn-from", "route=GET /projects/*"], true),
    ] {
        let desk = Desk::new(&[&["--context-label", "comment:user"], settings].concat());
        for protocol in PROTOCOLS {
            let id = desk.row();
            let (read, write) = ((READ, &[&*id][..]), (WRITE, &["x", &*id][..]));
            let mut pool = [desk.session(), desk.session()];
            authorised(&mut pool[0], protocol, form, &[read]);
            desk.other_writes(&id);
            authorised(&mut pool[1], protocol, menu, &[]);
            let reply = authorised(&mut pool[0], protocol, save, &[read, write]);
            if !refused {
                assert_eq!(commands(&reply), ["UPDATE 1"]);
                continue;
            }
            on_project(&id, 1, Some(2)).check(&reply, 'E');
            // Nor does a repeat land, whatever else he looks at meanwhile.
            if settings.contains(&"--context-learn-from") {
                authorised(&mut pool[1], protocol, menu, &[]);
            }
            let reply = authorised(&mut pool[1], protocol, save, &[read, write]);
            on_project(&id, 1, Some(2)).check(&reply, 'E');
            authorised(&mut pool[1], protocol, form, &[read]);
            let reply = authorised(&mut pool[0], protocol, save, &[read, write]);
            assert_eq!(commands(&reply), ["UPDATE 1"], "{settings:?}");
        }
    }
}
