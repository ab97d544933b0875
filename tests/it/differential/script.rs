//! Sequences: what a client sends, message by message, over both protocols.

use std::collections::HashMap;

use super::messages::{Msg, Step, cycle};
use super::rng::Rng;
use super::statements::{self, Sql};
use super::style::styled;
use super::values::{Param, TABLES, Table};

/// The sequence of a seed.
pub fn sequence(seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let count = 6 + rng.below(22);
    let mut script = Script { rng, statements: HashMap::new(), cursors: Vec::new(), steps: Vec::new() };
    while script.steps.len() < count {
        script.step();
    }
    script.steps.push(Step::Send(vec![Msg::Sync, Msg::Query("ROLLBACK".into())]));
    script.steps
}

/// A sequence in the making.
#[derive(Debug)]
pub struct Script {
    /// The source of choices.
    pub rng: Rng,
    /// Named statements that were prepared, by Parse or in SQL, if all went well.
    pub statements: HashMap<String, Sql>,
    /// Cursors that were declared, and the table that they read.
    pub cursors: Vec<(String, &'static Table)>,
    steps: Vec<Step>,
}

impl Script {
    fn step(&mut self) {
        match self.rng.below(100) {
            0..=22 => {
                let sql = statements::any(&mut self.rng, false).text;
                self.send(vec![Msg::Query(sql)]);
            }
            23..=27 => self.several(),
            28 if self.rng.chance(60) => self.pipeline(),
            28 => self.copy_in(),
            29..=58 => self.extended(),
            59..=75 => {
                let sql = self.utility();
                self.either(sql, 75);
            }
            76..=80 => self.cursor(),
            81..=84 => self.batch(),
            85..=88 => self.transaction(),
            89..=92 => {
                let sql = self.on_cursor();
                self.either(sql, 60);
            }
            _ => self.versioned(),
        }
    }

    /// Sends a text without parameters in a Query, in `percent` of a hundred cases, or in a cycle.
    pub fn either(&mut self, sql: String, percent: usize) {
        if self.rng.chance(percent) {
            self.send(vec![Msg::Query(sql)]);
        } else {
            let mut messages = cycle(&sql);
            messages.push(Msg::Sync);
            self.send(messages);
        }
    }

    /// Adds a step.
    pub fn send(&mut self, messages: Vec<Msg>) {
        self.steps.push(Step::Send(messages));
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
        // No hidden columns go into a read through a view: it teaches where it shows the key itself.
        let keys: Vec<_> = table.key.iter().map(|k| k.0).collect();
        let list =
            if table.view || self.rng.chance(30) { keys.join(", ") + ", version" } else { "version".into() };
        let read = format!("SELECT {list} FROM {} WHERE {key}", table.name);
        let extended = self.rng.chance(50);
        let kind = self.rng.below(7);
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
                        5 => false,
                        _ => text == "@V@",
                    };
                    if used {
                        params.push(Param { oid: 0, text: Some(text.into()), binary: None, type_name: None });
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
                5 => (String::new(), " /* expected_version=@V@ */".into()),
                _ => (", version = 1 + version".into(), format!(" AND {version} = version")),
            };
            format!("UPDATE {target} SET {} = {value}{set} WHERE {key}{and}{}", other.0, m.returning())
        });
        // The hint is what it is.
        if kind != 5 && self.rng.chance(30) {
            sql.text = styled(&mut self.rng, &sql.text);
        }
        // An object in memory that is saved twice writes the same version again.
        let times = if kind == 1 && self.rng.chance(30) { 2 } else { 1 };
        let mut writes = Vec::new();
        for _ in 0..times {
            writes.push(if extended {
                let mut messages = vec![Msg::Parse(String::new(), sql.text.clone(), vec![])];
                self.bind_and_execute(&mut messages, "", &sql);
                messages.push(Msg::Sync);
                messages
            } else {
                vec![Msg::Query(sql.text.clone())]
            });
        }
        self.steps.push(Step::Versioned(read, writes));
    }

    /// Cycles of the extended protocol, in one write.
    fn extended(&mut self) {
        let mut messages = Vec::new();
        let cycles = if self.rng.chance(70) { 1 } else { 2 + self.rng.below(3) };
        for i in 0..cycles {
            let uses = if self.rng.chance(65) { 1 } else { 2 + self.rng.below(3) };
            for _ in 0..uses {
                self.one_use(&mut messages);
                if self.rng.chance(12) {
                    self.stray(&mut messages);
                }
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
        let name = if self.rng.chance(60) { "" } else { self.rng.pick(&["s1", "s2", "s3", "q1", "q2"]) };
        let mut name = name.to_owned();
        let known = self.statements.get(&name).cloned();
        let again = known.filter(|_| !name.is_empty() && self.rng.chance(60));
        let sql = match again {
            Some(sql) => sql,
            None => {
                let mut sql = if self.rng.chance(8) {
                    // Run by EXECUTE, a ROLLBACK TO ends PostgreSQL's session: under a name that no EXECUTE has.
                    if !name.is_empty() {
                        name = "s3".into();
                    }
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

    /// A message at a place where no driver sends it.
    fn stray(&mut self, messages: &mut Vec<Msg>) {
        let statement = self.rng.pick(&["", "s1", "s2", "s3", "q1", "q2", "b1", "nowhere"]).to_owned();
        let portal = self.rng.pick(&["", "p1", "c1", "C2", "nowhere"]).to_owned();
        messages.push(match self.rng.below(10) {
            0..=2 => Msg::Describe('S', statement),
            3 | 4 => Msg::Describe('P', portal),
            5 => Msg::Close('S', statement),
            6 => Msg::Close('P', portal),
            // Of cursors alone: see ACCEPTED.
            7 => Msg::Execute("c1".into(), self.rng.below(3) as u32),
            // upper(text).
            8 => Msg::Function(871, "größe".into()),
            _ => Msg::Flush,
        });
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

    /// Bind with values in some formats, perhaps Describe, and Execute, whole or in parts.
    pub fn bind_and_execute(&mut self, messages: &mut Vec<Msg>, name: &str, sql: &Sql) {
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
        let writes = text.contains("UPDATE") && text.contains("SET") || text.contains("DELETE");
        let once = sql.columns.is_none_or(|n| n == 0) && writes;
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
