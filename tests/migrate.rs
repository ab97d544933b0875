//! `staleguard migrate` through the real binary, on a throwaway PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use staleguard::throwaway::{Auth, Cluster};

/// A database with its configuration file.
struct Bench {
    cluster: Cluster,
    config: tempfile::NamedTempFile,
}

/// What a run printed.
#[derive(Debug)]
struct Ran {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Ran {
    fn code(&self) -> i32 {
        self.status.code().unwrap()
    }

    /// The line of the result that begins with `table`.
    fn line(&self, table: &str) -> &str {
        let found = self.out.lines().find(|l| l.split("  ").next() == Some(table));
        found.unwrap_or_else(|| panic!("no line for {table}: {self:?}"))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Bench {
    fn new(sql: &str, config: &str) -> Self {
        Self::on(Cluster::builder().start().unwrap(), sql, config)
    }

    fn on(cluster: Cluster, sql: &str, config: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "catalog.max_age = \"20ms\"\n{config}").unwrap();
        let bench = Self { cluster, config: file };
        bench.sql(sql);
        bench
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.psql("postgres", sql).unwrap()
    }

    fn command(&self, dsn: &str, args: &[&str]) -> Command {
        let mut cmd = Command::new(env!("CARGO_BIN_EXE_staleguard"));
        cmd.arg("migrate").args(args).args(["--dsn", dsn]).arg("--config").arg(self.config.path());
        cmd.env_remove("PGPASSWORD").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        cmd
    }

    fn migrate(&self, args: &[&str]) -> Ran {
        self.migrate_as(&self.cluster.dsn("postgres"), args)
    }

    fn migrate_as(&self, dsn: &str, args: &[&str]) -> Ran {
        let out = self.command(dsn, args).output().unwrap();
        Ran {
            status: out.status,
            out: String::from_utf8(out.stdout).unwrap(),
            err: String::from_utf8(out.stderr).unwrap(),
        }
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(&self.cluster.dsn("postgres"), args).spawn().unwrap();
        let progress = BufReader::new(child.stderr.take().unwrap());
        Running { child, progress, err: String::new() }
    }

    fn session(&self) -> Session {
        Session::open(&self.cluster)
    }

    /// The version column of a table: type, NOT NULL, default, comment.
    fn column(&self, table: &str, column: &str) -> String {
        self.sql(&format!(
            "SELECT format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), \
             col_description(attrelid, attnum) FROM pg_attribute LEFT JOIN pg_attrdef \
             ON adrelid = attrelid AND adnum = attnum \
             WHERE attrelid = '{table}'::regclass AND attname = '{column}'"
        ))
    }
}

/// A migration that is still under way.
struct Running {
    child: Child,
    progress: BufReader<std::process::ChildStderr>,
    err: String,
}

impl Running {
    /// Reads what it tells until a line contains `text`; that line.
    fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.progress.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "never said {text:?}: {}", self.err);
            self.err.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    fn end(mut self) -> Ran {
        self.progress.read_to_string(&mut self.err).unwrap();
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        Ran { status: self.child.wait().unwrap(), out, err: self.err }
    }
}

/// An open psql session.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pid: String,
}

impl Session {
    fn open(cluster: &Cluster) -> Self {
        let mut child = Command::new(cluster.bin("psql"))
            .args(["-X", "-q", "-A", "-t", &cluster.dsn("postgres")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut session = Self { child, input, output, pid: String::new() };
        session.pid = session.ask("SELECT pg_backend_pid();");
        session
    }

    /// Runs statements whose last one prints one line, and returns that line.
    fn ask(&mut self, sql: &str) -> String {
        writeln!(self.input, "{sql}").unwrap();
        self.input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn up_and_down_can_be_repeated_and_rewrite_nothing() {
    let tables = staleguard::config::tables::BUILT_IN.map(|(name, _)| name);
    let create: String = tables
        .iter()
        .map(|t| format!("CREATE TABLE {t} (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text);"))
        .collect();
    let fill = "INSERT INTO projects (name) SELECT 'p' || i FROM generate_series(1, 500) i;";
    let bench = Bench::new(&format!("{create}{fill}"), "");
    let files = "SELECT array_agg(relfilenode ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200";
    let before = bench.sql(files);

    let first = bench.migrate(&["up"]);
    assert_eq!(first.code(), 0, "{first:?}");
    for t in tables {
        let line = first.line(&format!("public.{t}")).to_owned();
        assert!(line.contains("added") && line.ends_with("version integer NOT NULL DEFAULT 1"), "{line}");
        assert_eq!(bench.column(t, "version"), "integer|t|1|");
    }
    assert!(first.out.ends_with("13 of 13 tables ok\n"), "{}", first.out);
    let again = bench.migrate(&["up"]);
    assert_eq!((again.code(), again.out.matches("already there").count()), (0, 13), "{again:?}");
    assert_eq!(bench.sql(files), before, "a table was rewritten");

    bench.sql("UPDATE projects SET version = 7 WHERE name = 'p1'; ANALYZE projects");
    let status = bench.migrate(&["status"]);
    assert_eq!(status.code(), 0, "{status:?}");
    let fields: Vec<&str> = status.line("public.projects").split_whitespace().collect();
    assert_eq!(fields, ["public.projects", "yes", "integer", "NOT", "NULL", "1", "500", "1", "7"]);
    let fast = bench.migrate(&["status", "--fast", "--table", "projects", "--format", "json"]).json();
    assert_eq!(fast["tables"][0]["rows"], serde_json::json!({"kind": "estimated", "count": 500}));
    assert_eq!(fast["tables"][0]["ready"], true);

    // Broken off half way: the rest follows.
    bench.sql("ALTER TABLE users DROP COLUMN version");
    let resumed = bench.migrate(&["up", "--format", "json"]).json();
    let outcomes: Vec<&str> =
        resumed["tables"].as_array().unwrap().iter().map(|t| t["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|o| **o == "added").count(), 1, "{outcomes:?}");

    let down = bench.migrate(&["down"]);
    assert_eq!((down.code(), down.out.matches(" dropped ").count()), (0, 13), "{down:?}");
    assert_eq!(
        bench.sql("SELECT count(*) FROM pg_attribute WHERE attname = 'version' AND attrelid > 16383"),
        "0"
    );
    let again = bench.migrate(&["down", "--format", "json"]).json();
    assert_eq!((&again["ok"], &again["tables"][12]["outcome"]), (&true.into(), &"not there".into()));
    let status = bench.migrate(&["status", "--table", "projects"]);
    assert_eq!(status.code(), 0);
    assert!(status.line("public.projects").ends_with("no column version: run migrate up"), "{}", status.out);
}

#[test]
fn every_problem_is_told_and_the_other_tables_are_done() {
    let bench = Bench::new(
        "CREATE TABLE good (id int PRIMARY KEY);
         CREATE TABLE texty (id int PRIMARY KEY, version text);
         CREATE TABLE nully (id int PRIMARY KEY, version int DEFAULT 1);
         CREATE TABLE business (id int PRIMARY KEY, version int NOT NULL DEFAULT 3);
         CREATE TABLE bare (id int PRIMARY KEY, version int NOT NULL);
         CREATE TABLE computed (id int PRIMARY KEY, version int NOT NULL GENERATED ALWAYS AS (1) STORED);
         CREATE VIEW looker AS SELECT * FROM good;
         CREATE TABLE parent (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (10);
         CREATE SCHEMA app; CREATE TABLE app.strayed (id int);
         CREATE TABLE last (id int PRIMARY KEY);
         INSERT INTO business VALUES (1, 5)",
        r#"tables = ["good", "gone", "strayed", "texty", "nully", "business", "bare", "computed", "looker", "child", "last"]"#,
    );
    let expected = [
        ("gone", "missing", "there is no such table in this database"),
        ("strayed", "missing", "but there is app.strayed"),
        ("texty", "wrong type", "already there as text, wanted is version integer NOT NULL DEFAULT 1"),
        ("nully", "nullable", "set adopt = true"),
        ("business", "other default", "with DEFAULT 3"),
        ("bare", "other default", "with no default"),
        ("computed", "computed", "a generated column"),
        ("looker", "not a table", "a view"),
        ("child", "partition", "name its root parent"),
    ];
    let up = bench.migrate(&["up"]);
    assert_eq!(up.code(), 1, "{up:?}");
    for (table, word, text) in expected {
        let line = up.line(&format!("public.{table}"));
        assert!(line.contains("PROBLEM") && line.contains(word) && line.contains(text), "{line}");
    }
    assert!(up.line("public.good").contains("added") && up.line("public.last").contains("added"));
    assert!(up.out.ends_with("2 of 11 tables ok, 9 with a problem\n"), "{}", up.out);
    assert_eq!(bench.column("business", "version"), "integer|t|3|");
    assert_eq!(bench.column("texty", "version"), "text|f||");

    let status = bench.migrate(&["status"]);
    assert_eq!(status.code(), 1);
    assert!(status.line("public.texty").contains("PROBLEM column version is already there as text"));
    assert!(status.line("public.business").contains("with DEFAULT 3"));

    // Down drops what is ours and nothing else.
    let down = bench.migrate(&["down"]);
    assert_eq!(down.code(), 1, "{down:?}");
    for table in ["texty", "nully", "business", "bare", "computed"] {
        assert!(down.line(&format!("public.{table}")).contains("left alone"), "{}", down.out);
    }
    assert!(down.line("public.good").contains("dropped"));
    assert_eq!(bench.sql("SELECT version FROM business"), "5");
    assert_eq!(bench.column("business", "version"), "integer|t|3|", "it was marked");
}

#[test]
fn names_schemas_types_and_partitions() {
    let bench = Bench::new(
        "CREATE SCHEMA \"App One\";
         CREATE TABLE \"App One\".\"Order Items\" (id int PRIMARY KEY);
         CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
         CREATE TABLE small (id int PRIMARY KEY); CREATE TABLE big (id int PRIMARY KEY,
           version bigint NOT NULL DEFAULT '1'::bigint);
         CREATE TABLE adopted (id int PRIMARY KEY, rev bigint);
         CREATE TABLE \"it's\" (id int PRIMARY KEY);
         INSERT INTO events VALUES (1), (2); INSERT INTO adopted VALUES (1, 4)",
        r#"
        [tables."App One.Order Items"]
        version_column = "Row \"v\""
        [tables.events]
        [tables.small]
        version_type = "int2"
        [tables.big]
        version_type = "int8"
        [tables.adopted]
        version_column = "rev"
        version_type = "int8"
        adopt = true
        [tables."it's"]
        "#,
    );
    let up = bench.migrate(&["up"]);
    assert_eq!(up.code(), 0, "{up:?}");
    assert!(up.line("public.adopted").contains("adopted"));
    assert_eq!(bench.column("\"App One\".\"Order Items\"", "Row \"v\""), "integer|t|1|");
    assert_eq!(bench.column("small", "version"), "smallint|t|1|");
    assert_eq!(bench.column("big", "version"), "bigint|t|'1'::bigint|");
    assert_eq!(bench.column("adopted", "rev"), "bigint|f||");
    assert_eq!(bench.sql("SELECT DISTINCT version FROM events_1"), "1");
    let again = bench.migrate(&["up"]);
    assert_eq!((again.code(), again.out.matches("already there").count()), (0, 5), "{again:?}");
    let status = bench.migrate(&["status", "--format", "json"]).json();
    assert_eq!(status["tables"][1]["rows"]["count"], 2);
    assert_eq!(status["tables"][4]["max_version"], 4);
    let down = bench.migrate(&["down"]);
    assert_eq!(down.code(), 0, "{down:?}");
    assert!(down.line("public.adopted").contains("set adopt = false"));
    assert_eq!(bench.column("adopted", "rev"), "bigint|f||");
    assert_eq!(bench.column("events_1", "version"), "");
}

#[test]
fn a_role_that_is_not_the_owner_is_told_who_is() {
    let bench = Bench::new(
        "CREATE ROLE app LOGIN; CREATE ROLE keeper; CREATE TABLE a (id int PRIMARY KEY);
         CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int, version int NOT NULL DEFAULT 1);
         ALTER TABLE a OWNER TO keeper; ALTER TABLE b OWNER TO app",
        r#"tables = ["a", "b", "c"]"#,
    );
    bench.sql("GRANT USAGE, CREATE ON SCHEMA public TO app");
    let dsn = bench.cluster.dsn_as("app", None, "postgres");
    let up = bench.migrate_as(&dsn, &["up"]);
    assert_eq!(up.code(), 1, "{up:?}");
    assert!(up.line("public.a").contains("role app may not alter it: it belongs to keeper"));
    assert!(up.line("public.b").contains("added"));
    assert!(up.line("public.c").contains("already there"));
    let status = bench.migrate_as(&dsn, &["status"]);
    assert_eq!(status.code(), 1);
    assert!(status.line("public.c").contains("counting its rows: 42501 permission denied for table c"));
    let down = bench.migrate_as(&dsn, &["down"]);
    assert!(
        down.line("public.c").contains("not owner") && down.line("public.b").contains("dropped"),
        "{down:?}"
    );
    assert_eq!(bench.column("c", "version"), "integer|t|1|");
}

#[test]
fn a_locked_table_is_tried_again_until_it_is_free() {
    let bench = Bench::new("CREATE TABLE a (id int PRIMARY KEY)", r#"tables = ["a"]"#);
    let mut other = bench.session();
    other.ask("BEGIN; LOCK TABLE a IN ACCESS SHARE MODE; SELECT 1;");
    let mut run = bench.start(&["up", "--lock-timeout", "50ms", "--tries", "1000"]);
    let told = run.until("lock not free");
    assert!(
        told.contains("55P03") && told.contains(&format!("held by pid {} (role postgres", other.pid)),
        "{told}"
    );
    run.until("lock not free");
    other.ask("COMMIT; SELECT 1;");
    let ran = run.end();
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.line("public.a").contains("added"));

    other.ask("BEGIN; LOCK TABLE a IN ACCESS SHARE MODE; SELECT 1;");
    let down = bench.migrate(&["down", "--no-wait", "--lock-timeout", "20ms", "--tries", "2"]);
    assert_eq!(down.code(), 1, "{down:?}");
    let line = down.line("public.a");
    assert!(line.contains("locked") && line.contains("not free within 20ms in any of 2 tries"), "{line}");
    assert!(line.contains(&other.pid) && line.contains("marked as retired"), "{line}");
    other.ask("COMMIT; SELECT 1;");
    assert_eq!(bench.migrate(&["down"]).code(), 0);
}

#[test]
fn down_waits_for_the_transactions_that_were_open() {
    let bench = Bench::new("CREATE TABLE a (id int PRIMARY KEY)", r#"tables = ["a"]"#);
    assert_eq!(bench.migrate(&["up"]).code(), 0);
    let mut other = bench.session();
    // It has not touched the table: only its age keeps the column.
    other.ask("BEGIN; SELECT 1;");
    let mut run = bench.start(&["down"]);
    let told = run.until("at most, for");
    assert!(told.contains(&format!("pid {}", other.pid)) && told.contains("transaction open for"), "{told}");
    assert_eq!(bench.column("a", "version"), "integer|t|1|[staleguard: retired]");
    // One that began after the wait is not waited for.
    let mut later = bench.session();
    later.ask("BEGIN; SELECT 1;");
    other.ask("COMMIT; SELECT 1;");
    let ran = run.end();
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.line("public.a").contains("dropped"));
}

#[test]
fn up_goes_back_from_a_down_that_could_not_finish() {
    let bench = Bench::new("CREATE TABLE a (id int PRIMARY KEY)", r#"tables = ["a"]"#);
    assert_eq!(bench.migrate(&["up"]).code(), 0);
    bench.sql(r"COMMENT ON COLUMN a.version IS E'it\'s a \\ version'");
    let mut other = bench.session();
    other.ask("BEGIN; SELECT 1;");
    let down = bench.migrate(&["down", "--wait-limit", "10ms", "--format", "json"]);
    assert_eq!(down.code(), 1, "{down:?}");
    let table = &down.json()["tables"][0];
    assert_eq!(table["outcome"], "still open");
    assert!(table["message"].as_str().unwrap().contains(&format!("pid {}", other.pid)), "{table}");
    assert_eq!(bench.column("a", "version"), r"integer|t|1|it's a \ version [staleguard: retired]");
    let status = bench.migrate(&["status"]);
    assert_eq!(status.code(), 0);
    assert!(status.line("public.a").contains("marked as retired"), "{}", status.out);
    let up = bench.migrate(&["up"]);
    assert!(up.code() == 0 && up.line("public.a").contains("revived"), "{up:?}");
    assert_eq!(bench.column("a", "version"), r"integer|t|1|it's a \ version");
}

#[test]
fn an_up_during_the_wait_of_a_down_wins() {
    let bench = Bench::new("CREATE TABLE a (id int PRIMARY KEY)", r#"tables = ["a"]"#);
    assert_eq!(bench.migrate(&["up"]).code(), 0);
    let mut other = bench.session();
    other.ask("BEGIN; SELECT 1;");
    let mut run = bench.start(&["down"]);
    run.until("at most, for");
    assert!(bench.migrate(&["up"]).line("public.a").contains("revived"));
    other.ask("COMMIT; SELECT 1;");
    let ran = run.end();
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.line("public.a").contains("lost its retired mark"));
    assert_eq!(bench.column("a", "version"), "integer|t|1|");
}

#[test]
fn a_column_that_another_run_adds_meanwhile_counts() {
    let bench = Bench::new("CREATE TABLE a (id int PRIMARY KEY)", r#"tables = ["a"]"#);
    let mut other = bench.session();
    other.ask("BEGIN; ALTER TABLE a ADD COLUMN version int NOT NULL DEFAULT 1; SELECT 1;");
    let mut run = bench.start(&["up", "--lock-timeout", "20ms", "--tries", "1000"]);
    run.until("lock not free");
    other.ask("COMMIT; SELECT 1;");
    let ran = run.end();
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.line("public.a").contains("already there"), "{}", ran.out);
}

#[test]
fn a_column_that_is_in_use_is_neither_marked_nor_dropped() {
    let bench = Bench::new(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)",
        r#"tables = ["a", "b"]"#,
    );
    assert_eq!(bench.migrate(&["up"]).code(), 0);
    bench.sql("CREATE VIEW shows AS SELECT id, version FROM a");
    let down = bench.migrate(&["down"]);
    assert_eq!(down.code(), 1, "{down:?}");
    assert!(down.line("public.a").contains("view shows"), "{}", down.out);
    assert!(down.line("public.b").contains("dropped"));
    assert_eq!(bench.column("a", "version"), "integer|t|1|");
}

#[test]
fn passwords_are_never_shown() {
    let cluster = Cluster::builder().auth(Auth::ScramSha256).password("hush-hush").start().unwrap();
    let bench = Bench::on(cluster, "CREATE TABLE a (id int PRIMARY KEY)", r#"tables = ["a"]"#);
    let good = bench.cluster.dsn("postgres");
    assert_eq!(bench.migrate_as(&good, &["up"]).code(), 0);
    let port = bench.cluster.port();
    let wrong = format!("postgres://postgres:secret-word@127.0.0.1:{port}/postgres");
    let refused = bench.migrate_as(&wrong, &["up"]);
    assert_eq!(refused.code(), 2);
    assert!(
        refused.err.contains("28P01") && refused.err.contains(&format!("127.0.0.1:{port}")),
        "{refused:?}"
    );
    let unreadable = bench.migrate_as("postgres://postgres:secret-word/x@127.0.0.1:1/postgres", &["up"]);
    assert_eq!(unreadable.code(), 2, "{unreadable:?}");
    for ran in [&refused, &unreadable] {
        assert!(!format!("{ran:?}").contains("secret-word"), "{ran:?}");
    }
    let bare = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let asked = bench.migrate_as(&bare, &["status"]);
    assert!(asked.code() == 2 && asked.err.contains("PGPASSWORD"), "{asked:?}");
    let given = bench.command(&bare, &["status"]).env("PGPASSWORD", "hush-hush").output().unwrap();
    assert!(given.status.success());
}

#[test]
fn the_server_going_away_leaves_no_table_unmentioned() {
    let bench = Bench::new(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)",
        r#"tables = ["a", "b"]"#,
    );
    let mut other = bench.session();
    other.ask("BEGIN; LOCK TABLE a IN ACCESS SHARE MODE; SELECT 1;");
    let mut run = bench.start(&["up", "--lock-timeout", "20ms", "--tries", "1000"]);
    run.until("lock not free");
    bench.cluster.stop().unwrap();
    let ran = run.end();
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.line("public.a").contains("server error"), "{}", ran.out);
    assert!(ran.line("public.b").contains("not tried: the connection was lost"), "{}", ran.out);
}
