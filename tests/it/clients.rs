//! Real clients play the two users: psycopg2, psycopg 3, asyncpg, tokio-postgres and psql.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio_postgres::error::SqlState;

use crate::common::cluster::client_program;
use crate::common::proxy::to_end;
use crate::common::twin::{Stage, stage};

/// The Python that has the drivers: `STALEGUARD_TEST_PYTHON`, else the one that `make test` leaves under target/.
pub(crate) fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = || root.join("target/clients/python");
    let python = std::env::var_os("STALEGUARD_TEST_PYTHON").map_or_else(made, PathBuf::from);
    assert!(
        python.exists(),
        "{} is missing: run `make test` (or tests/clients/setup.sh), which makes it",
        python.display()
    );
    python
}

/// Runs a script of tests/clients to its end.
fn script(stage: &Stage, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let mut command = Command::new(python());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PGSSLMODE");
    command.arg(path).args(["127.0.0.1", &stage.proxy.port().to_string(), "proxied"]);
    let (status, text) = to_end(&mut command);
    assert!(status.success(), "{name}: {status}\n{text}");
}

#[test]
fn psycopg2_simple() {
    let stage = stage();
    script(&stage, "psycopg2_client.py");
    assert_eq!(stage.conflicts(), 2.0);
}

#[test]
fn psycopg_3_extended_binary_prepared_and_pipelined() {
    let stage = stage();
    script(&stage, "psycopg_client.py");
    assert_eq!(stage.conflicts(), 4.0);
}

#[test]
fn asyncpg_named_and_binary() {
    let stage = stage();
    script(&stage, "asyncpg_client.py");
    assert_eq!(stage.conflicts(), 2.0);
}

async fn connect(port: u16) -> tokio_postgres::Client {
    let settings = format!("host=127.0.0.1 port={port} user=postgres dbname=proxied");
    let (client, connection) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn tokio_postgres_in_autocommit_and_in_a_transaction() {
    let stage = stage();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (read, write) = (
            "select id, name, budget::text from projects where id = $1",
            "update projects set name = $1 where id = $2",
        );
        let mut mine = connect(stage.proxy.port()).await;
        let theirs = connect(stage.proxy.port()).await;
        let refused = |error: tokio_postgres::Error| {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{error}")).clone();
            assert_eq!(*error.code(), SqlState::T_R_SERIALIZATION_FAILURE);
            assert!(error.message().contains("expected version 1, actual version 2"), "{error:?}");
            assert_eq!((error.table(), error.column()), (Some("projects"), Some("version")));
        };
        // Autocommit.
        assert_eq!(mine.query_one(read, &[&1]).await.unwrap().len(), 3);
        assert_eq!(theirs.execute(write, &[&"theirs", &1]).await.unwrap(), 1);
        refused(mine.execute(write, &[&"mine", &1]).await.unwrap_err());
        mine.query_one(read, &[&1]).await.unwrap();
        assert_eq!(mine.execute(write, &[&"mine", &1]).await.unwrap(), 1);
        // Transaction.
        let transaction = mine.transaction().await.unwrap();
        transaction.query_one(read, &[&2]).await.unwrap();
        theirs.execute(write, &[&"theirs", &2]).await.unwrap();
        refused(transaction.execute(write, &[&"mine", &2]).await.unwrap_err());
        let failed = transaction.query_one("select 1", &[]).await.unwrap_err();
        assert_eq!(failed.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
        transaction.rollback().await.unwrap();
        mine.query_one(read, &[&2]).await.unwrap();
        assert_eq!(mine.execute(write, &[&"mine", &2]).await.unwrap(), 1);
        // Pipelined, with a statement that takes part twice.
        let statement = mine.prepare(write).await.unwrap();
        assert_eq!(statement.params().len(), 2);
        let piped = async |row: i32| mine.execute(&statement, &[&"piped", &row]).await.unwrap();
        assert_eq!(tokio::join!(piped(3), piped(4)), (1, 1));
    });
    assert_eq!(stage.conflicts(), 2.0);
}

fn psql_program() -> String {
    let psql = client_program("psql");
    if psql.exists() { psql.display().to_string() } else { "psql".into() }
}

/// Runs a script through psql; all that it prints.
fn psql(port: u16, database: &str, input: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    // Both streams in one pipe, so that errors stand where they came.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", &psql_program()]);
    command.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres", "-d", database]);
    command.arg("-f").arg(file.path());
    let (status, text) = to_end(&mut command);
    assert!(status.success(), "{status}\n{text}");
    text.replace(&file.path().display().to_string(), "script")
}

#[test]
fn psql_in_autocommit_and_in_a_transaction() {
    let stage = stage();
    let port = stage.proxy.port();
    let other = |id: u8| {
        let psql = psql_program();
        let sql = format!("update projects set name = 'theirs' where id = {id}");
        format!("\\! {psql} -X -q -h 127.0.0.1 -p {port} -U postgres -d proxied -c \"{sql}\"")
    };
    let script = format!(
        "\\set VERBOSITY verbose
        select name from projects where id = 1;
        {first}
        update projects set name = 'mine' where id = 1;
        \\echo state :LAST_ERROR_SQLSTATE
        begin;
        select name from projects where id = 2;
        {second}
        update projects set name = 'mine' where id = 2;
        commit;
        select id, name from projects where id in (1, 2) order by id;",
        first = other(1),
        second = other(2)
    );
    let text = psql(port, "proxied", &script);
    for (piece, times) in [
        ("40001: version conflict on project 1: expected version 1, actual version 2", 1),
        ("40001: version conflict on project 2: expected version 1, actual version 2", 1),
        ("TABLE NAME:  projects", 2),
        ("CONSTRAINT NAME:  projects_version_conflict", 2),
        ("state 40001", 1),
        ("| theirs", 2),
    ] {
        assert_eq!(text.matches(piece).count(), times, "{piece}:\n{text}");
    }
}

#[test]
fn psql_prints_the_same_tables_and_carets() {
    let stage = stage();
    let script = "
        select * from projects order by id limit 3;
        select name from projects where id = 1 \\gdesc
        select name, nowhere from projects where id = 1;
        update projects set name = 'größe' where id = 1 and größe = 1;
        update projects set name = 'x'
         where id = 1
           and status = 1;
        update projects set name = nowhere where id = 1 returning id;
        update projects set name = 'x' where id = 1 returning name, nowhere;
        select name from projects where id = 1 \\gset
        \\echo :name
        \\d projects
        \\dt
        \\x
        select p.name, f.name as portfolio from projects p join portfolios f on f.id = p.portfolio_id where p.id = 2;
        \\set FETCH_COUNT 2
        select name from projects order by id;
        \\copy (select id, name from projects order by id) to stdout
        update projects set name = 'y' where id = 1 returning id, name;
    ";
    let direct = psql(stage.cluster.port(), "direct", script);
    let proxied = psql(stage.proxy.port(), "proxied", script);
    assert!(direct.contains('^'), "{direct}");
    assert_eq!(direct, proxied);
}
