//! Several statements at once: in one Query, many Binds of one text, transactions with savepoints.

use super::messages::Msg;
use super::script::Script;
use super::statements;
use super::values::{Param, TABLES};

impl Script {
    /// Several statements in one Query.
    pub fn several(&mut self) {
        let mut parts = Vec::new();
        for _ in 0..2 + self.rng.below(3) {
            parts.push(match self.rng.below(10) {
                0 => self
                    .rng
                    .pick(&["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a"])
                    .to_owned(),
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

    /// Queries sent without waiting for a reply.
    pub fn pipeline(&mut self) {
        let mut messages = Vec::new();
        for _ in 0..2 + self.rng.below(3) {
            messages.push(Msg::Query(match self.rng.below(3) {
                0 => self.utility(),
                _ => statements::any(&mut self.rng, false).text,
            }));
        }
        self.send(messages);
    }

    /// One or two texts bound many times in one write, as executeBatch, executemany and pipelines do it. Rows
    /// repeat.
    pub fn batch(&mut self) {
        let single: Vec<_> = TABLES.iter().filter(|t| t.key.len() == 1 && t.protected).collect();
        let mut messages = Vec::new();
        let mut bound = Vec::new();
        for name in ["b1", "b2"] {
            let table = single[self.rng.below(single.len()).min(self.rng.below(single.len()))];
            let (t, (k, kind, values)) = (table.name, table.key[0]);
            let (o, other) = table.columns[self.rng.below(table.columns.len())];
            let (text, needs) = match self.rng.below(9) {
                0..=3 => (format!("UPDATE {t} SET {o} = $2 WHERE {k} = $1"), 2),
                4 => (format!("UPDATE {t} SET {o} = $2 WHERE {k} = $1 RETURNING {o}"), 2),
                5 => (format!("DELETE FROM {t} WHERE {k} = $1"), 1),
                6 => (
                    format!(
                        "INSERT INTO {t} ({k}, {o}) VALUES ($1, $2) ON CONFLICT ({k}) DO UPDATE SET {o} = EXCLUDED.{o}"
                    ),
                    2,
                ),
                7 => (format!("UPDATE {t} SET {o} = $2 WHERE {k} IN ($1, $1)"), 2),
                _ => (format!("SELECT {o} FROM {t} WHERE {k} = $1"), 1),
            };
            messages.extend([Msg::Close('S', name.into()), Msg::Parse(name.into(), text, vec![])]);
            if self.rng.chance(30) {
                messages.push(Msg::Describe('S', name.into()));
            }
            bound.push((name, needs, kind, values, other));
            if self.rng.chance(65) {
                break;
            }
        }
        if self.rng.chance(50) {
            messages.push(Msg::Sync);
        }
        for _ in 0..2 + self.rng.below(5) {
            let (name, needs, kind, values, other) = bound[self.rng.below(bound.len())];
            let key = values[self.rng.below(values.len())];
            let samples = other.samples();
            let value = samples[self.rng.below(samples.len())];
            let mut params = vec![Param::of(kind, key), Param::of(other, value)];
            params.truncate(needs);
            let binary = self.rng.chance(40) && params.iter().all(|p| p.binary.is_some());
            messages.push(Msg::Bind {
                portal: String::new(),
                statement: name.into(),
                formats: if binary { vec![1] } else { vec![] },
                values: params
                    .into_iter()
                    .map(|p| if binary { p.binary } else { p.text.map(String::into_bytes) })
                    .collect(),
                results: vec![],
            });
            if self.rng.chance(25) {
                messages.push(Msg::Describe('P', String::new()));
            }
            messages.push(Msg::Execute(String::new(), 0));
            match self.rng.below(12) {
                0 | 1 => messages.push(Msg::Flush),
                2 => messages.push(Msg::Sync),
                _ => {}
            }
        }
        messages.push(if self.rng.chance(10) { Msg::Flush } else { Msg::Sync });
        self.send(messages);
    }

    /// A transaction over one table with savepoints in it, step by step or in one Query, and what comes after it.
    pub fn transaction(&mut self) {
        let table = &TABLES[self.rng.below(TABLES.len()).min(self.rng.below(TABLES.len()))];
        let mut parts: Vec<String> =
            vec![self.rng.pick(&["BEGIN", "BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ"]).into()];
        for _ in 0..2 + self.rng.below(6) {
            let part = match self.rng.below(12) {
                0 | 1 => self.rng.pick(&["SAVEPOINT a", "SAVEPOINT b", "SAVEPOINT a"]).to_owned(),
                2 | 3 => self.rng.pick(&["ROLLBACK TO a", "ROLLBACK TO SAVEPOINT b"]).to_owned(),
                4 => self.rng.pick(&["RELEASE a", "RELEASE SAVEPOINT b"]).to_owned(),
                _ => self.over(table),
            };
            parts.push(part);
        }
        parts.push(self.rng.pick(&["COMMIT", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN"]).to_owned());
        if self.rng.chance(20) {
            self.send(vec![Msg::Query(parts.join(";\n"))]);
        } else {
            for part in parts {
                self.either(part, 60);
            }
        }
        let after = self.over(table);
        self.either(after, 60);
    }

    /// A read or a write of a table.
    fn over(&mut self, table: &'static super::values::Table) -> String {
        let kind = self.rng.below(10);
        let sql = statements::of(&mut self.rng, table, false, |m| match kind {
            0..=2 => super::selects::select(m),
            3..=5 => m.point_update(),
            6 => m.insert(),
            7 => m.delete(),
            _ => m.update(),
        });
        sql.text
    }
}
