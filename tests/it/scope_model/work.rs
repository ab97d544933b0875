//! One sequence: reads and writes, and what the model says of each.

use super::model::{Columns, Own};
use super::play::Play;
use super::{NAMES, PLAIN};
use crate::common::raw::{commands, error, sqlstate};
use crate::differential::rng::Rng;

impl Play {
    /// Another program, past the proxy.
    pub(super) fn someone_else(&mut self, row: usize, rng: &mut Rng) -> Result<(), String> {
        if self.locked(None, row) {
            return Ok(());
        }
        let id = self.base + row;
        let sql = match (self.committed[row], rng.chance(15)) {
            (None, _) => {
                self.committed[row] = Some(1);
                format!("insert into projects (id, name) values ({id}, 'new')")
            }
            (Some(_), true) => {
                self.committed[row] = None;
                format!("delete from projects where id = {id}")
            }
            (Some(version), false) => {
                self.committed[row] = Some(version + 1);
                format!("update projects set version = version + 1 where id = {id}")
            }
        };
        self.behind.ok(&sql);
        self.log.push(format!("  someone else: {sql}"));
        Ok(())
    }

    pub(super) fn work(&mut self, c: usize, row: usize, rng: &mut Rng) -> Result<(), String> {
        let mut columns = Columns::from([rng.below(NAMES.len())]);
        if rng.chance(50) {
            columns.extend(0..NAMES.len());
        }
        let choice = rng.below(100);
        if choice < 45 {
            return self.read(c, row, &columns, rng);
        }
        if self.locked(Some(c), row) {
            return Ok(());
        }
        let id = self.base + row;
        match (choice, self.visible(c, row)) {
            (90.., None) => {
                self.fine(c, rng, &format!("insert into projects (id, name) values ({id}, 'again')"))?;
                self.wrote(c, row, Some(1), Own::Forgotten);
                Ok(())
            }
            (92.., Some(version)) => {
                let sql = format!("delete from projects where id = {id}");
                self.checked(c, row, &sql, &Columns::new(), Some(version), rng)
            }
            (84.., Some(version)) => {
                let sql = format!("update projects set budget = budget + 1 where id = {id}");
                self.fine(c, rng, &sql)?;
                let unknown = self.connections[c].model.has_left_unknown(row);
                let moved = Own::Moved(version, version + 1, Columns::new());
                self.wrote(c, row, Some(version + 1), if unknown { Own::Forgotten } else { moved });
                Ok(())
            }
            (_, version) => {
                let value = rng.below(1000);
                let sets: Vec<_> = columns.iter().map(|n| format!("{} = '{value}'", NAMES[*n])).collect();
                let sql = format!("update projects set {} where id = {id}", sets.join(", "));
                self.checked(c, row, &sql, &columns, version, rng)
            }
        }
    }

    fn read(&mut self, c: usize, row: usize, columns: &Columns, rng: &mut Rng) -> Result<(), String> {
        let names: Vec<_> = columns.iter().map(|n| NAMES[*n]).collect();
        let id = self.base + row;
        self.fine(c, rng, &format!("select {} from projects where id = {id}", names.join(", ")))?;
        let Some(version) = self.visible(c, row) else { return Ok(()) };
        let connection = &mut self.connections[c];
        let own = connection.model.has_written(row);
        match connection.user {
            Some(_) if own => {
                connection.model.own.push((row, Own::Read(connection.unit, version, columns.clone())))
            }
            Some(user) => {
                self.shared[user].entry(row).or_default().read(Some(connection.unit), version, columns);
            }
            None => {
                connection.model.known.entry(row).or_default().read(None, version, columns);
                if own {
                    connection.model.own.push((row, Own::Read(connection.unit, version, columns.clone())));
                } else {
                    connection.model.pending.push((row, version, columns.clone()));
                }
            }
        }
        Ok(())
    }

    /// A write that is checked if a version is known.
    fn checked(
        &mut self,
        c: usize,
        row: usize,
        sql: &str,
        sets: &Columns,
        actual: Option<i64>,
        rng: &mut Rng,
    ) -> Result<(), String> {
        let connection = &self.connections[c];
        let unit = connection.unit;
        let (expected, deleted) = match connection.user.filter(|_| self.kind.is_context()) {
            Some(user) => {
                let known = connection.model.within(&self.shared[user], row);
                if connection.model.has_left_unknown(row) {
                    (None, false)
                } else if sets.is_empty() && connection.model.has_written_checked(row) {
                    (actual, false)
                } else {
                    (known.expected(sets, Some(unit), self.rules), known.deleted)
                }
            }
            None => match connection.model.known.get(&row) {
                Some(known) => (known.expected(sets, None, PLAIN), known.deleted),
                None => (None, false),
            },
        };
        let delete = sets.is_empty();
        let conflicts = match (expected, actual) {
            (Some(expected), Some(actual)) => expected != actual,
            (Some(_), None) => !delete && !deleted,
            (None, _) => false,
        };
        let reply = self.say(c, rng, sql);
        let verb = if delete { "DELETE" } else { "UPDATE" };
        let told = format!("expected {expected:?}, the row is at {actual:?}, reply {reply:?}");
        if conflicts {
            let message = error(&reply).and_then(|e| e.field('M')).unwrap_or_default();
            let wanted = format!("expected version {}", expected.unwrap_or_default());
            if sqlstate(&reply) != "40001" || !message.contains(&wanted) {
                return Err(format!("a conflict was due: {told}"));
            }
            let connection = &mut self.connections[c];
            connection.failed = connection.open;
            if let (Some(user), Some(expected)) = (connection.user, expected)
                && let Some(known) = self.shared[user].get_mut(&row)
            {
                known.refused(unit, expected, actual, self.rules);
            }
            return Ok(());
        }
        if commands(&reply) != [format!("{verb} {}", u8::from(actual.is_some()))] {
            return Err(format!("no conflict was due: {told}"));
        }
        match (actual, delete) {
            (None, _) => {}
            (Some(_), true) => self.wrote(c, row, None, Own::Deleted),
            (Some(v), false) if expected.is_some() => {
                self.wrote(c, row, Some(v + 1), Own::Moved(v, v + 1, sets.clone()));
            }
            (Some(v), false) => self.wrote(c, row, Some(v + 1), Own::Forgotten),
        }
        Ok(())
    }

    fn wrote(&mut self, c: usize, row: usize, version: Option<i64>, own: Own) {
        let connection = &mut self.connections[c];
        connection.model.wrote(row, own);
        match connection.sees.last_mut() {
            Some(level) => {
                level.insert(row, version);
                connection.locked.insert(row);
            }
            None => self.committed[row] = version,
        }
    }
}
