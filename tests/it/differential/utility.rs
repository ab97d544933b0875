//! What is no query: transaction control, settings, and what is prepared in SQL.

use super::messages::Msg;
use super::script::Script;
use super::statements;
use super::style::styled;

/// Tables of the session's own, under the names of protected ones too.
const TEMPORARY: &[&str] = &[
    "CREATE TEMP TABLE programs (id int2 PRIMARY KEY, name text, version integer DEFAULT 1)",
    "CREATE TEMP TABLE programs (id int2 PRIMARY KEY, name text) ON COMMIT DROP",
    "CREATE TEMP TABLE projects AS SELECT id, name, budget, version FROM public.projects WHERE id < 4",
    "SELECT * INTO TEMP users FROM users",
    "INSERT INTO programs SELECT * FROM public.programs",
    "DROP TABLE IF EXISTS pg_temp.programs",
    "DROP TABLE pg_temp.projects",
    "CREATE TEMP VIEW rates AS SELECT DISTINCT * FROM public.rates",
    "DISCARD TEMP",
];

/// A PREPARE TRANSACTION that fails, which rolls the transaction back: one that succeeds is the whole cluster's, where
/// the other side prepares one of the same name, and would hold its locks.
const TOO_LONG: &str = concat!(
    "PREPARE TRANSACTION '",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "'"
);

impl Script {
    /// What is no query: transaction control, settings, SQL-level prepared statements and the like.
    pub fn utility(&mut self) -> String {
        let name = self.rng.pick(&["a", "b", "\"C\""]).to_owned();
        let text = match self.rng.below(48) {
            0..=7 => self
                .rng
                .pick(&[
                    "BEGIN",
                    "START TRANSACTION",
                    "BEGIN ISOLATION LEVEL REPEATABLE READ",
                    "begin read only",
                    "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE",
                    "BEGIN WORK",
                ])
                .into(),
            8..=10 => format!("SAVEPOINT {name}"),
            11..=13 => format!("ROLLBACK TO SAVEPOINT {name}"),
            14 => format!("RELEASE {name}"),
            15..=18 => self.rng.pick(&["COMMIT", "END", "COMMIT WORK", "commit transaction"]).into(),
            19..=21 => self.rng.pick(&["ROLLBACK", "ABORT", "ROLLBACK WORK"]).into(),
            22 => "COMMIT AND CHAIN".into(),
            23 => "ROLLBACK AND CHAIN".into(),
            24 => "DISCARD ALL".into(),
            25 => "RESET ALL".into(),
            26 => self
                .rng
                .pick(&[
                    "SET search_path = other, public",
                    "SET search_path TO public",
                    "SET LOCAL search_path = other",
                    "SELECT set_config('search_path', 'other, public', true)",
                    "RESET search_path",
                ])
                .into(),
            27 => {
                self.rng.pick(&["SET ROLE app", "RESET ROLE", "SET ROLE none", "SET LOCAL ROLE app"]).into()
            }
            28 => self
                .rng
                .pick(&[
                    "SET standard_conforming_strings = off",
                    "SET standard_conforming_strings = on",
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                    "SET CONSTRAINTS ALL IMMEDIATE",
                    "SHOW search_path",
                    "SET datestyle = 'german'",
                    "SET extra_float_digits = 0",
                    "SET client_encoding = 'LATIN1'",
                    "RESET client_encoding",
                    "LISTEN x",
                    TOO_LONG,
                ])
                .into(),
            29..=31 => self.prepare(),
            32..=35 => self.execute(),
            36 => {
                let name = self.rng.pick(&["q1", "q2", "s1", "ALL", "PREPARE q1"]);
                format!("DEALLOCATE {name}")
            }
            37 | 38 => {
                let how = self.rng.pick(&[
                    "EXPLAIN",
                    "EXPLAIN ANALYZE",
                    "EXPLAIN (COSTS OFF)",
                    "EXPLAIN (ANALYZE, VERBOSE)",
                    "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)",
                ]);
                let what = if self.rng.chance(25) {
                    self.execute()
                } else {
                    statements::any(&mut self.rng, false).text
                };
                format!("{how} {what}")
            }
            39 => "TRUNCATE notes".into(),
            40 => "LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE".into(),
            41 => "TRUNCATE rates".into(),
            42 => self
                .rng
                .pick(&[
                    "COPY (SELECT name FROM projects ORDER BY id) TO STDOUT",
                    "COPY (UPDATE projects SET name = 'copied' WHERE id < 3 RETURNING id, name) TO STDOUT",
                ])
                .into(),
            43 | 44 => self.rng.pick(TEMPORARY).into(),
            _ => self
                .rng
                .pick(&["", ";", "-- nothing", "SELECT 1 / 0", "selec", "NOTIFY x", "DO $$ BEGIN END $$"])
                .into(),
        };
        if text.starts_with("COPY") || self.rng.chance(80) { text } else { styled(&mut self.rng, &text) }
    }

    /// COPY of rows that the client sends.
    pub fn copy_in(&mut self) {
        let (what, rows) = self.rng.number(&[
            ("notes (id, body)", "8\tcopied\n"),
            ("projects (id, name)", "77\tcopied\n78\t\\N\n"),
            ("programs", "77\tcopied\t4\n"),
            ("users (id)", "nonsense\n"),
            ("live_projects", "1\n"),
        ]);
        self.send(vec![Msg::Query(format!("COPY {what} FROM STDIN")), Msg::Copy(rows.into())]);
    }

    /// PREPARE of anything, under names that Bind uses too.
    fn prepare(&mut self) -> String {
        let name = self.rng.pick(&["q1", "q2", "q1", "q2", "s1"]).to_owned();
        let sql = statements::any(&mut self.rng, true);
        let types: Vec<_> = sql.params.iter().map(|p| p.type_name.unwrap_or("unknown")).collect();
        let declared = match types.is_empty() || self.rng.chance(60) {
            true => String::new(),
            false => format!("({})", types.join(", ")),
        };
        let text = format!("PREPARE {name}{declared} AS {}", sql.text);
        self.statements.insert(name, sql);
        text
    }

    /// EXECUTE of what was prepared, in SQL or by Parse.
    fn execute(&mut self) -> String {
        let name = self.rng.pick(&["q1", "q2", "q1", "q2", "s1", "s2"]);
        let mut arguments: Vec<String> = match self.statements.get(name) {
            None => Vec::new(),
            Some(sql) => {
                let quoted = |text: &String| format!("'{}'", text.replace('\'', "''"));
                sql.params.iter().map(|p| p.text.as_ref().map_or("NULL".into(), quoted)).collect()
            }
        };
        if self.rng.chance(2) {
            arguments.push("1".into());
        }
        match arguments.is_empty() {
            true => format!("EXECUTE {name}"),
            false => format!("EXECUTE {name}({})", arguments.join(", ")),
        }
    }
}
