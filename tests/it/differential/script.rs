//! Sequences: what a client sends, message by message, over both protocols.

use std::collections::HashMap;

use super::rng::Rng;
use super::statements::{self, Sql, styled};
use super::values::TABLES;
use crate::common::frames;

/// One message of the client. `@V@` in a text or value stands for the version read last, `@V+@` for the next.
#[derive(Debug, Clone)]
pub enum Msg {
    /// Simple query.
    Query(String),
    /// Name, text, declared types.
    Parse(String, String, Vec<u32>),
    /// Bind.
    Bind {
        portal: String,
        statement: String,
        formats: Vec<u16>,
        values: Vec<Option<Vec<u8>>>,
        results: Vec<u16>,
    },
    /// Describe of a statement (`S`) or portal (`P`).
    Describe(char, String),
    /// Portal, most rows.
    Execute(String, u32),
    /// Close of a statement (`S`) or portal (`P`).
    Close(char, String),
    /// Flush.
    Flush,
    /// Sync.
    Sync,
}

impl Msg {
    /// The message's bytes; `None` if it wants a version and none is known.
    pub fn bytes(&self, version: Option<i64>) -> Option<Vec<u8>> {
        let text = |text: &str| match version {
            _ if !text.contains("@V") => Some(text.to_owned()),
            Some(v) => Some(text.replace("@V@", &v.to_string()).replace("@V+@", &(v + 1).to_string())),
            None => None,
        };
        Some(match self {
            Self::Query(sql) => frames::query(&text(sql)?),
            Self::Parse(name, sql, oids) => frames::parse(name, &text(sql)?, oids),
            Self::Bind { portal, statement, formats, values, results } => {
                let known = |v: &Option<Vec<u8>>| match v.as_deref().map(std::str::from_utf8) {
                    Some(Ok(v)) => text(v).map(|v| Some(v.into_bytes())),
                    _ => Some(v.clone()),
                };
                let values = values.iter().map(known).collect::<Option<Vec<_>>>()?;
                let values: Vec<_> = values.iter().map(Option::as_deref).collect();
                frames::bind_raw(portal, statement, formats, &values, results)
            }
            Self::Describe(kind, name) => frames::describe(*kind, name),
            Self::Execute(portal, rows) => frames::execute(portal, *rows),
            Self::Close(kind, name) => frames::close(*kind, name),
            Self::Flush => frames::flush(),
            Self::Sync => frames::sync(),
        })
    }
}

/// One step of a sequence.
#[derive(Debug, Clone)]
pub enum Step {
    /// Messages sent in one write; the last is Query, Sync or Flush.
    Send(Vec<Msg>),
    /// A Query whose single value is the version that the next step means.
    ReadVersion(String),
}

/// The sequence of a seed.
pub fn sequence(seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let count = 6 + rng.below(22);
    let mut script = Script { rng, statements: HashMap::new(), prepared: HashMap::new(), steps: Vec::new() };
    while script.steps.len() < count {
        script.step();
    }
    script.steps.push(Step::Send(vec![Msg::Sync, Msg::Query("ROLLBACK".into())]));
    script.steps
}

struct Script {
    rng: Rng,
    /// Named statements that were parsed, if all went well.
    statements: HashMap<String, Sql>,
    /// Arguments of statements that were prepared in SQL.
    prepared: HashMap<String, Vec<String>>,
    steps: Vec<Step>,
}

impl Script {
    fn step(&mut self) {
        match self.rng.below(100) {
            0..=27 => {
                let sql = statements::any(&mut self.rng, false).text;
                self.send(vec![Msg::Query(sql)]);
            }
            28..=34 => self.several(),
            35..=72 => self.extended(),
            73..=88 => {
                let sql = self.utility();
                if self.rng.chance(75) {
                    self.send(vec![Msg::Query(sql)]);
                } else {
                    let mut messages = cycle(&sql);
                    messages.push(Msg::Sync);
                    self.send(messages);
                }
            }
            89..=91 => self.cursor(),
            _ => self.versioned(),
        }
    }

    fn send(&mut self, messages: Vec<Msg>) {
        self.steps.push(Step::Send(messages));
    }

    /// Several statements in one Query.
    fn several(&mut self) {
        let mut parts = Vec::new();
        for _ in 0..2 + self.rng.below(3) {
            parts.push(match self.rng.below(10) {
                0 => self.rng.pick(&["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a"]).to_owned(),
                1 => String::new(),
                _ => statements::any(&mut self.rng, false).text,
            });
        }
        if self.rng.chance(25) {
            parts.insert(0, "BEGIN".into());
            parts.push(self.rng.pick(&["COMMIT", "ROLLBACK", "END"]).to_owned());
        }
        // A line comment must not swallow what follows.
        let text = parts.join("\n;");
        self.send(vec![Msg::Query(text)]);
    }

    /// What is no query: transaction control, settings, SQL-level prepared statements and the like.
    fn utility(&mut self) -> String {
        let name = self.rng.pick(&["a", "b", "\"C\""]).to_owned();
        let text = match self.rng.below(44) {
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
                ])
                .into(),
            29..=31 => self.prepare(),
            32..=35 => self.execute(),
            36 => {
                let name = self.rng.pick(&["q1", "q2", "ALL", "PREPARE q1"]);
                format!("DEALLOCATE {name}")
            }
            37 | 38 => {
                let how = self.rng.pick(&[
                    "EXPLAIN",
                    "EXPLAIN ANALYZE",
                    "EXPLAIN (COSTS OFF)",
                    "EXPLAIN (ANALYZE, VERBOSE)",
                ]);
                format!("{how} {}", statements::any(&mut self.rng, false).text)
            }
            39 => "TRUNCATE notes".into(),
            40 => "LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE".into(),
            41 => "TRUNCATE rates".into(),
            42 => "COPY (SELECT name FROM projects ORDER BY id) TO STDOUT".into(),
            _ => self
                .rng
                .pick(&["", ";", "-- nothing", "SELECT 1 / 0", "selec", "NOTIFY x", "DO $$ BEGIN END $$"])
                .into(),
        };
        if text.starts_with("COPY") || self.rng.chance(80) { text } else { styled(&mut self.rng, &text) }
    }

    fn prepare(&mut self) -> String {
        let name = self.rng.pick(&["q1", "q2"]).to_owned();
        let sql = statements::any(&mut self.rng, true);
        let quoted = |p: &super::values::Param| match &p.text {
            Some(text) => format!("'{}'", text.replace('\'', "''")),
            None => "NULL".into(),
        };
        self.prepared.insert(name.clone(), sql.params.iter().map(quoted).collect());
        format!("PREPARE {name} AS {}", sql.text)
    }

    fn execute(&mut self) -> String {
        let name = self.rng.pick(&["q1", "q2"]);
        let arguments = self.prepared.get(name).cloned().unwrap_or_default();
        match arguments.is_empty() {
            true => format!("EXECUTE {name}"),
            false => format!("EXECUTE {name}({})", arguments.join(", ")),
        }
    }

    /// A cursor from DECLARE to CLOSE, with anything in between.
    fn cursor(&mut self) {
        let name = self.rng.pick(&["c1", "\"C2\""]);
        let hold = if self.rng.chance(20) { " WITH HOLD" } else { "" };
        let scroll = self.rng.pick(&["", " SCROLL", " NO SCROLL", " BINARY", " INSENSITIVE"]);
        let updatable = self.rng.chance(40);
        let query = if updatable {
            self.rng.pick(&["SELECT * FROM projects", "SELECT name FROM projects FOR UPDATE"]).to_owned()
        } else {
            statements::with(&mut self.rng, false, super::selects::select).text
        };
        if self.rng.chance(80) {
            self.send(vec![Msg::Query("BEGIN".into())]);
        }
        self.send(vec![Msg::Query(format!("DECLARE {name}{scroll} CURSOR{hold} FOR {query}"))]);
        for _ in 0..1 + self.rng.below(4) {
            let sql = match self.rng.below(10) {
                0..=3 => {
                    let how = self.rng.pick(&[
                        "",
                        "NEXT FROM ",
                        "2 FROM ",
                        "ALL IN ",
                        "FORWARD 2 FROM ",
                        "BACKWARD FROM ",
                        "ABSOLUTE 1 ",
                    ]);
                    format!("FETCH {how}{name}")
                }
                4 => format!("MOVE FORWARD 1 IN {name}"),
                5 | 6 if updatable => {
                    let returning = self.rng.pick(&["", " RETURNING name", " RETURNING id, version"]);
                    format!("UPDATE projects SET name = 'current' WHERE CURRENT OF {name}{returning}")
                }
                7 if updatable => format!("DELETE FROM projects WHERE CURRENT OF {name}"),
                _ => statements::any(&mut self.rng, false).text,
            };
            if self.rng.chance(70) {
                self.send(vec![Msg::Query(sql)]);
            } else {
                let mut messages = cycle(&sql);
                messages.push(Msg::Sync);
                self.send(messages);
            }
        }
        let end = [format!("CLOSE {name}"), "CLOSE ALL".into(), "COMMIT".into(), "ROLLBACK".into()];
        let end = end[self.rng.below(4)].clone();
        self.send(vec![Msg::Query(end)]);
    }

    /// An object mapper that reads a version and writes with it: in the condition, or written back.
    fn versioned(&mut self) {
        let protected: Vec<_> = TABLES.iter().filter(|t| t.protected).collect();
        let table = protected[self.rng.below(protected.len()).min(self.rng.below(protected.len()))];
        let key: Vec<_> = table
            .key
            .iter()
            .map(|(name, _, values)| format!("{name} = '{}'", values[self.rng.below(values.len())]))
            .collect();
        let key = key.join(" AND ");
        self.steps.push(Step::ReadVersion(format!("SELECT version FROM {} WHERE {key}", table.name)));
        let extended = self.rng.chance(50);
        let kind = self.rng.below(6);
        let mut sql = statements::of(&mut self.rng, table, extended, |m| {
            let target = m.target();
            let other = m.other();
            let value = m.v.any(other.1);
            let (mut version, mut next) = ("@V@".to_owned(), "@V+@".to_owned());
            if let Some(params) = &mut m.v.params {
                for (text, spelled) in [("@V@", &mut version), ("@V+@", &mut next)] {
                    // Only what is used may be a parameter.
                    let used = match kind {
                        0 | 1 => text == "@V@",
                        2 => true,
                        3 => text == "@V+@",
                        _ => text == "@V@",
                    };
                    if used {
                        params.push(super::values::Param { oid: 0, text: Some(text.into()), binary: None });
                        *spelled = format!("${}", params.len());
                    }
                }
            }
            let (set, and) = match kind {
                0 => (String::new(), format!(" AND version = {version}")),
                1 => (format!(", version = {version}"), String::new()),
                2 => (format!(", version = {next}"), format!(" AND version = {version}")),
                3 => (format!(", version = {next}"), String::new()),
                4 => (", version = version + 1".into(), format!(" AND version = {version}")),
                _ => (", version = 1 + version".into(), format!(" AND {version} = version")),
            };
            format!("UPDATE {target} SET {} = {value}{set} WHERE {key}{and}{}", other.0, m.returning())
        });
        if self.rng.chance(30) {
            sql.text = styled(&mut self.rng, &sql.text);
        }
        if extended {
            let mut messages = vec![Msg::Parse(String::new(), sql.text.clone(), vec![])];
            self.bind_and_execute(&mut messages, "", &sql);
            messages.push(Msg::Sync);
            self.send(messages);
        } else {
            self.send(vec![Msg::Query(sql.text)]);
        }
    }

    /// Cycles of the extended protocol, in one write.
    fn extended(&mut self) {
        let mut messages = Vec::new();
        let cycles = if self.rng.chance(70) { 1 } else { 2 + self.rng.below(3) };
        for i in 0..cycles {
            let uses = if self.rng.chance(65) { 1 } else { 2 + self.rng.below(3) };
            for _ in 0..uses {
                self.one_use(&mut messages);
                if self.rng.chance(8) {
                    messages.push(Msg::Flush);
                }
            }
            if i + 1 == cycles && self.rng.chance(12) {
                messages.push(Msg::Flush);
            } else if self.rng.chance(4) {
                messages.push(Msg::Query(statements::any(&mut self.rng, false).text));
            } else {
                messages.push(Msg::Sync);
            }
        }
        self.send(messages);
    }

    /// A statement parsed (or one that was), bound and executed.
    fn one_use(&mut self, messages: &mut Vec<Msg>) {
        let name = if self.rng.chance(60) { "" } else { self.rng.pick(&["s1", "s2", "s3"]) }.to_owned();
        let known = self.statements.get(&name).cloned();
        let again = known.filter(|_| !name.is_empty() && self.rng.chance(60));
        let sql = match again {
            Some(sql) => sql,
            None => {
                let mut sql = if self.rng.chance(8) {
                    Sql { text: self.plain_utility(), params: Vec::new(), columns: None }
                } else {
                    statements::any(&mut self.rng, true)
                };
                if self.rng.chance(1) {
                    sql.text += "; SELECT 1";
                }
                if !name.is_empty() && !self.rng.chance(5) {
                    messages.push(Msg::Close('S', name.clone()));
                }
                let declared = sql.params.iter().rposition(|p| p.oid != 0).map_or(0, |i| i + 1);
                let mut oids: Vec<u32> = sql.params[..declared].iter().map(|p| p.oid).collect();
                if self.rng.chance(10) {
                    oids.clear();
                }
                messages.push(Msg::Parse(name.clone(), sql.text.clone(), oids));
                self.statements.insert(name.clone(), sql.clone());
                sql
            }
        };
        if self.rng.chance(30) {
            messages.push(Msg::Describe('S', name.clone()));
        }
        let binds = if self.rng.chance(85) { 1 } else { self.rng.below(4) };
        for _ in 0..binds {
            self.bind_and_execute(messages, &name, &sql);
        }
        if self.rng.chance(5) {
            messages.push(Msg::Close('S', name));
        }
    }

    /// Utilities whose rows differ (EXPLAIN) or that copy do not go here.
    fn plain_utility(&mut self) -> String {
        loop {
            let text = self.utility();
            if !text.to_ascii_uppercase().contains("EXPLAIN") && !text.contains("COPY") {
                return text;
            }
        }
    }

    fn bind_and_execute(&mut self, messages: &mut Vec<Msg>, name: &str, sql: &Sql) {
        let portal = if self.rng.chance(88) { "" } else { "p1" }.to_owned();
        let binary: Vec<bool> =
            sql.params.iter().map(|p| p.binary.is_some() && self.rng.chance(40)).collect();
        let mut formats: Vec<u16> = binary.iter().map(|b| u16::from(*b)).collect();
        if formats.iter().all(|f| *f == 0) && self.rng.chance(80) {
            formats.clear();
        } else if !formats.is_empty() && formats.iter().all(|f| *f == 1) && self.rng.chance(50) {
            formats = vec![1];
        }
        let mut values: Vec<Option<Vec<u8>>> = sql
            .params
            .iter()
            .zip(&binary)
            .map(|(p, binary)| {
                let text = p.text.clone().map(String::into_bytes);
                if *binary { p.binary.clone().filter(|_| text.is_some()) } else { text }
            })
            .collect();
        if self.rng.chance(2) {
            values.push(Some(b"1".to_vec()));
        }
        if self.rng.chance(1) {
            formats.push(0);
        }
        let mut code = || u16::from(self.rng.chance(50));
        let mut results = match sql.columns {
            Some(n) => (0..n).map(|_| code()).collect(),
            None => vec![code()],
        };
        match self.rng.below(10) {
            0..=4 => results.clear(),
            5 => results = vec![1],
            6 if self.rng.chance(15) => results = vec![1, 0, 1],
            _ => {}
        }
        let statement = name.to_owned();
        messages.push(Msg::Bind { portal: portal.clone(), statement, formats, values, results });
        if self.rng.chance(50) {
            messages.push(Msg::Describe('P', portal.clone()));
        }
        if self.rng.chance(4) {
            return;
        }
        // See ACCEPTED: a write without RETURNING that has got one.
        let text = sql.text.to_uppercase();
        let once = sql.columns.is_none_or(|n| n == 0) && text.contains("UPDATE") && text.contains("SET");
        if once || self.rng.chance(80) {
            messages.push(Msg::Execute(portal.clone(), 0));
        } else {
            for _ in 0..1 + self.rng.below(3) {
                let rows = 1 + self.rng.below(3) as u32;
                messages.push(Msg::Execute(portal.clone(), rows));
                if self.rng.chance(20) {
                    messages.push(Msg::Flush);
                }
            }
        }
        if self.rng.chance(10) {
            messages.push(Msg::Close('P', portal));
        }
    }
}

/// A text without parameters as Parse, Bind, Describe and Execute.
fn cycle(sql: &str) -> Vec<Msg> {
    let bind = Msg::Bind {
        portal: String::new(),
        statement: String::new(),
        formats: vec![],
        values: vec![],
        results: vec![],
    };
    vec![
        Msg::Parse(String::new(), sql.into(), vec![]),
        bind,
        Msg::Describe('P', String::new()),
        Msg::Execute(String::new(), 0),
    ]
}
