//! Sequences that once got another reply through the proxy, as short as they could be made.

use super::messages::{Msg, Step, cycle};

/// What went wrong, and the sequence. Each runs on both proxies.
pub fn found() -> Vec<(&'static str, Vec<Step>)> {
    let bind = |values: usize, formats: Vec<u16>| Msg::Bind {
        portal: String::new(),
        statement: "s".into(),
        formats,
        values: vec![Some(b"1".to_vec()); values],
        results: vec![],
    };
    let unnamed = Msg::Parse(String::new(), "UPDATE projects SET name = $2 WHERE id = $1".into(), vec![]);
    let bind_unnamed = Msg::Bind {
        portal: String::new(),
        statement: String::new(),
        formats: vec![],
        values: vec![Some(b"1".to_vec()); 2],
        results: vec![],
    };
    let update = Msg::Parse("s".into(), "UPDATE projects SET name = $2 WHERE id = $1".into(), vec![]);
    let execute = Msg::Execute(String::new(), 0);
    vec![
        (
            "a look for the Describe of a BEGIN took the snapshot before it",
            vec![
                Step::Send([cycle("RESET ROLE"), vec![Msg::Sync]].concat()),
                Step::Send(vec![
                    Msg::Close('S', "s".into()),
                    Msg::Parse("s".into(), "BEGIN ISOLATION LEVEL SERIALIZABLE".into(), vec![]),
                    Msg::Describe('S', "s".into()),
                    bind(0, vec![]),
                    execute.clone(),
                    Msg::Sync,
                ]),
                query("COMMIT"),
            ],
        ),
        (
            "a Bind that is given a portal's name in a block that has failed meanwhile found the error of another message",
            vec![
                Step::Send(vec![
                    Msg::Parse("s".into(), "UPDATE users SET email = $1".into(), vec![25]),
                    Msg::Sync,
                ]),
                query("BEGIN"),
                Step::Send(vec![
                    Msg::Execute("nobody".into(), 0),
                    Msg::Sync,
                    Msg::Bind {
                        portal: "p".into(),
                        statement: "s".into(),
                        formats: vec![],
                        values: vec![Some(b"1".to_vec())],
                        results: vec![],
                    },
                    Msg::Sync,
                ]),
            ],
        ),
        (
            "what follows a checked write that the server refuses waited for ever",
            vec![
                query("SELECT name FROM projects WHERE id = 1"),
                query("UPDATE projects SET name = 'a', name = 'b' WHERE id = 1"),
                query("SELECT name FROM projects WHERE id = 1"),
            ],
        ),
        (
            "a Bind of too few values in a failed transaction found another error, and cost its statement the rewrite",
            vec![
                Step::Send(vec![update.clone(), Msg::Sync]),
                Step::Send(vec![bind(1, vec![]), Msg::Sync]),
                Step::Send(vec![bind(3, vec![]), Msg::Sync]),
                Step::Send(vec![bind(2, vec![]), execute.clone(), Msg::Sync]),
                query("BEGIN; SELECT 1 / 0"),
                Step::Send(vec![bind(1, vec![]), Msg::Sync]),
            ],
        ),
        (
            "parameter formats of a wrong number were accepted",
            vec![
                Step::Send(vec![update.clone(), bind(2, vec![0, 0, 0]), Msg::Sync]),
                Step::Send(vec![bind(3, vec![0, 0]), Msg::Sync]),
            ],
        ),
        (
            "a Close that the server skipped took the statement's rewrite away from a later cycle of the same write",
            vec![
                Step::Send(vec![update.clone(), Msg::Sync]),
                Step::Send(vec![
                    execute.clone(),
                    Msg::Close('S', "s".into()),
                    Msg::Sync,
                    bind(2, vec![]),
                    execute.clone(),
                    Msg::Sync,
                ]),
            ],
        ),
        (
            "a Query that the server skipped took the unnamed statement's rewrite away",
            vec![
                Step::Send(vec![unnamed.clone(), Msg::Sync]),
                Step::Send(vec![execute.clone(), Msg::Query("SELECT 1".into()), Msg::Sync]),
                Step::Send(vec![bind_unnamed, execute.clone(), Msg::Sync]),
            ],
        ),
        (
            "a syntax error of the client's own was counted as a fault of the rewriting",
            vec![query("BEGIN"), query("UPDATE projects SET name = CASE WHEN true THEN 'a'")],
        ),
        (
            "an error in a block came behind the parameter status that its rollback brings",
            vec![
                query("BEGIN"),
                query("SET ROLE app"),
                query("UPDATE projects SET name = 'a', name = 'b' WHERE id = 1"),
            ],
        ),
        (
            "result formats met the hidden result of a write that has none",
            vec![Step::Send(vec![
                Msg::Parse(
                    "s".into(),
                    "UPDATE projects SET budget = budget + $1 WHERE id = $2".into(),
                    vec![],
                ),
                Msg::Bind {
                    portal: String::new(),
                    statement: "s".into(),
                    formats: vec![],
                    values: vec![Some(b"1".to_vec()); 2],
                    results: vec![1, 0, 1],
                },
                execute.clone(),
                Msg::Sync,
            ])],
        ),
        (
            "an error in a value for the version did not show",
            vec![
                query("UPDATE projects SET version = version nonsense WHERE id = 1"),
                query("SELECT 1; UPDATE projects SET name = 'x', version = 1 + version t. WHERE id = 1"),
                query("UPDATE projects SET version = nowhere WHERE id = 1"),
                query("UPDATE projects SET version = version + name WHERE id = 1"),
                query("UPDATE projects SET version = count(*) WHERE id = 1"),
                query("UPDATE projects SET version = version + 9.5 WHERE id = 1 RETURNING version"),
                query("UPDATE projects SET version = (SELECT 7::bigint) WHERE id = 1 RETURNING version"),
            ],
        ),
        (
            "a cycle that had failed for its own reasons was sent again in the place of a later one",
            vec![
                Step::Send(vec![
                    Msg::Parse(String::new(), "UPDATE projects SET name = $2 WHERE id = $3".into(), vec![]),
                    Msg::Flush,
                ]),
                Step::Send(vec![Msg::Sync]),
                Step::Send(vec![
                    Msg::Parse(String::new(), "UPDATE projects SET name case WHERE id = 1".into(), vec![]),
                    Msg::Sync,
                ]),
            ],
        ),
        (
            "what a transaction had read of its own set write was held against the session after the rollback",
            vec![
                query("BEGIN"),
                query("UPDATE projects SET name = 'a' WHERE status = 'open'"),
                query("SELECT id, name FROM projects WHERE id = 2"),
                query("ROLLBACK"),
                query("UPDATE projects SET name = 'b' WHERE id = 2"),
            ],
        ),
        (
            "what an implicit transaction had read of its own write was held against the session after it failed",
            vec![
                Step::Send(vec![
                    Msg::Parse("s".into(), "UPDATE projects SET name = 'a' WHERE id < 4".into(), vec![]),
                    bind_of("s"),
                    execute.clone(),
                    Msg::Parse("s2".into(), "SELECT id, name FROM projects WHERE id = 2".into(), vec![]),
                    bind_of("s2"),
                    execute.clone(),
                    Msg::Query("SELECT 1 / 0".into()),
                ]),
                query("UPDATE projects SET name = 'b' WHERE id = 2"),
            ],
        ),
        (
            "what a cycle had written was expected of the row before the Sync that rolled it back was answered",
            vec![
                Step::Send(vec![
                    Msg::Parse(
                        "s2".into(),
                        "UPDATE projects SET name = 'a' WHERE id = 1 RETURNING name".into(),
                        vec![],
                    ),
                    bind_of("s2"),
                    execute.clone(),
                    Msg::Flush,
                ]),
                Step::Send(vec![bind_of("nowhere"), Msg::Sync, bind_of("s2"), execute.clone(), Msg::Sync]),
            ],
        ),
        (
            "a word that is no alias was taken for one, and the server complained of another place",
            vec![query("BEGIN"), query("SELECT ALL name FROM public.projects AS AS p ORDER BY p.id")],
        ),
        (
            "a row was said to be deleted that ONLY, or another partition than the one named, does not show",
            vec![
                query("SELECT * FROM workers"),
                query("UPDATE ONLY workers SET name = 'x' WHERE region = 'eu' AND id = 1"),
                query("UPDATE workers_us SET name = 'x' WHERE region = 'eu' AND id = 1"),
            ],
        ),
        (
            "what a cycle had made of names was unknown to the statements behind it",
            vec![behind("CREATE TEMP TABLE programs (id int, name text)")],
        ),
        (
            "a look at the catalog stood before BEGIN in its cycle, which then could not choose its isolation",
            vec![
                query("RESET ROLE"),
                Step::Send(
                    [
                        vec![Msg::Close('S', "s".into())],
                        cycle("BEGIN ISOLATION LEVEL SERIALIZABLE"),
                        vec![Msg::Sync],
                    ]
                    .concat(),
                ),
            ],
        ),
        (
            "a syntax error behind a letter that is no ASCII was called one of the proxy's own piece",
            vec![
                query("BEGIN"),
                query("UPDATE projects SET name = 'größe', status = CASE WHEN true THEN 'x' ELSE status ; "),
            ],
        ),
        (
            "a comma in a condition was no error in brackets of the proxy's own",
            vec![
                query("BEGIN"),
                query("DELETE FROM users AS p WHERE p.password_hash IS DISTINCT FROM email, AND id = 1"),
                query("ROLLBACK"),
                query("BEGIN"),
                query("UPDATE users AS p SET email = 'x' WHERE id = 1, AND id = 1"),
            ],
        ),
        (
            "a search_path set in a cycle was unknown to the statements behind it",
            vec![behind("SET search_path = other, public")],
        ),
        (
            "what a cycle had read of its own blind write was held against the session after a Bind had failed it",
            vec![
                Step::Send(
                    [
                        cycle("UPDATE projects SET name = name || 'y' WHERE id = 1"),
                        cycle("SELECT name FROM projects ORDER BY id"),
                        vec![bind_of("nowhere"), Msg::Sync],
                    ]
                    .concat(),
                ),
                query("SELECT 1; DELETE FROM projects"),
            ],
        ),
        (
            "an error met when a statement was parsed again pointed into the rewritten text",
            vec![
                Step::Send(vec![
                    Msg::Parse(
                        "s".into(),
                        "SELECT p.name, f.name FROM projects p JOIN portfolios f ON f.id = p.portfolio_id"
                            .into(),
                        vec![],
                    ),
                    Msg::Sync,
                ]),
                query("CREATE TEMP TABLE projects AS SELECT 1 AS id, 'x' AS name"),
                Step::Send(vec![bind_of("s"), Msg::Sync]),
            ],
        ),
        (
            "what waited for the replies of a Query that was refused in a block waited for ever",
            vec![
                query("BEGIN"),
                Step::Send(vec![
                    update,
                    bind(2, vec![]),
                    Msg::Query("UPDATE projects SET name = 'a', name = 'b' WHERE id = 1".into()),
                    bind(2, vec![]),
                    Msg::Sync,
                ]),
            ],
        ),
    ]
}

/// A statement, and behind it in the same cycle writes and reads of tables whose names it may move.
fn behind(sql: &str) -> Step {
    let mut messages = cycle(sql);
    for sql in [
        "UPDATE projects SET name = 'x' WHERE id = 1",
        "SELECT name FROM programs",
        "UPDATE programs SET name = 'x' WHERE id = 1",
    ] {
        messages.extend(cycle(sql));
    }
    messages.push(Msg::Sync);
    Step::Send(messages)
}

fn query(sql: &str) -> Step {
    Step::Send(vec![Msg::Query(sql.into())])
}

/// The unnamed portal of a statement without parameters.
fn bind_of(statement: &str) -> Msg {
    Msg::Bind {
        portal: String::new(),
        statement: statement.into(),
        formats: vec![],
        values: vec![],
        results: vec![],
    }
}
