//! `staleguard explain` says what `serve` would do, from the catalog of a real database.

use crate::common::proxy::{staleguard, to_end};
use crate::common::twin::{Stage, stage};

fn explain(stage: &Stage, sql: &str) -> String {
    explain_with(stage, sql, &[])
}

fn explain_with(stage: &Stage, sql: &str, environment: &[(&str, &str)]) -> String {
    let dsn = format!("postgres://postgres@{}/proxied", stage.cluster.address());
    let variables = environment.iter().copied();
    let (status, text) = to_end(staleguard().args(["explain", sql, "--dsn", &dsn]).envs(variables));
    assert!(status.success(), "{text}");
    text
}

#[test]
fn explain_shows_the_statement_as_it_is_sent_and_says_why() {
    let stage = stage();
    for (sql, wanted) in [
        (
            "update projects set name = 'x' where id = 7 -- now",
            &[
                "rule 4, observed",
                "update projects set name = 'x', version = projects.version + 1 where (id = 7) AND projects.version = 5 -- now",
                "AND projects.version = COALESCE($1::pg_catalog.int4, projects.version) -- now",
            ][..],
        ),
        (
            "update projects set name = $1, version = $2 where id = $3",
            &["rule 2", "$4 carries the expected version"],
        ),
        ("update projects set name = 'x' where id = 7 and version = 2", &["rule 1, in the predicate"]),
        ("update projects set budget = budget + 1 where id = 7", &["cannot overwrite anyone's change"]),
        (
            "update projects set name = 'x'",
            &[
                "checked row by row in the guard form, since it does not name its rows by primary key",
                "A RETURNING that the client does not see",
                " RETURNING projects.id AS __sg_k1, projects.version AS __sg_v2",
            ],
        ),
        (
            "update projects set name = 'x' where id = 3 + 4",
            &["checked row by row in the guard form, since the value of its key has no certain form"],
        ),
        (
            "update projects set name = 'x' where id = any ('{7,8}')",
            &["since it names several rows", "\"7\":", "\"8\":"],
        ),
        (
            "delete from projects where id = 7",
            &["delete from projects where (id = 7) AND projects.version = 5"],
        ),
        (
            "update projects set name = 'x' where id = 7; select 1",
            &[
                "statement 1: A write of projects: bumped, and checked row by row in the guard form, since other statements",
                "statement 2: Left alone",
            ],
        ),
        ("select name from projects where id = 7", &["2 hidden column(s)", "AS __sg_"]),
        ("select * from projects where id = 7", &["shows key and version itself"]),
        ("select 1", &["Left alone"]),
        // A business column called version.
        ("update workers set name = 'x' where id = 7", &["Left alone", "not NOT NULL DEFAULT 1"]),
        ("", &["No statement"]),
    ] {
        let text = explain(&stage, sql);
        for part in wanted {
            assert!(text.contains(part), "{sql}: {part:?} is not in\n{text}");
        }
    }
}

#[test]
fn explain_says_whose_reads_count() {
    let stage = stage();
    let sql = "update projects set name = 'x' where id = 7";
    let context = [("STALEGUARD_SCOPE", "context"), ("STALEGUARD_CONTEXT_LABEL", "comment:user")];
    let sticky = [
        ("STALEGUARD_SCOPE", "context"),
        ("STALEGUARD_CONTEXT_LABEL", "lookup:users.id"),
        ("STALEGUARD_CONTEXT_UNIT", ""),
        ("STALEGUARD_CONTEXT_STICKY", "true"),
    ];
    for (environment, want) in [
        (&[][..], "Scope connection: what the same connection has seen"),
        (&[("STALEGUARD_SCOPE", "transaction")], "Scope transaction: what the same transaction has seen"),
        (&context, "A unit is the request that comment:traceparent names, else the transaction."),
        (&sticky, "A unit is what lies between two lookups, else the transaction."),
    ] {
        let text = explain_with(&stage, sql, environment);
        assert!(text.contains(want), "{environment:?}: {text}");
        // Where the statement names its version itself nobody's reads count.
        for other in
            ["update projects set name = 'x' where id = 7 and version = 2", "select name from projects"]
        {
            assert!(!explain_with(&stage, other, environment).contains("Scope "), "{other}");
        }
    }
}

/// What is shown is what the server gets: each text is run by PostgreSQL itself.
#[test]
fn what_explain_shows_is_what_the_server_gets() {
    let stage = stage();
    let mut mine = stage.session();
    let sql = "update projects set name = query from pg_stat_activity where pid = pg_backend_pid() and projects.id = 1";
    assert_eq!(mine.ok(sql), "UPDATE 1");
    let sent = stage.cluster.direct("proxied").value("select name from projects where id = 1");
    assert!(explain(&stage, sql).contains(&sent), "{sent}");
}

#[test]
fn explain_says_what_is_wrong() {
    let (status, text) =
        to_end(staleguard().args(["explain", "select 1", "--dsn", "postgres://nobody:hush@127.0.0.1:1/x"]));
    assert!(!status.success());
    assert!(text.contains("cannot connect") && !text.contains("hush"), "{text}");
}
