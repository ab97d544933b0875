//! Cursors of SQL, and portals that are read as cursors.

use super::messages::Msg;
use super::script::Script;
use super::statements;
use super::values::{TABLES, Table};

/// Where FETCH and MOVE go.
const WAYS: &[&str] = &[
    "",
    "",
    "NEXT FROM ",
    "FORWARD ",
    "2 FROM ",
    "ALL IN ",
    "FORWARD 2 FROM ",
    "FORWARD ALL IN ",
    "BACKWARD FROM ",
    "BACKWARD ALL FROM ",
    "PRIOR FROM ",
    "ABSOLUTE 1 FROM ",
    "ABSOLUTE -1 IN ",
    "FIRST FROM ",
    "LAST FROM ",
    "RELATIVE 1 IN ",
    "RELATIVE 0 FROM ",
    "0 FROM ",
    "-1 FROM ",
];

impl Script {
    /// A cursor from DECLARE to its end, with anything in between.
    pub fn cursor(&mut self) {
        if self.rng.chance(80) {
            self.send(vec![Msg::Query("BEGIN".into())]);
        }
        self.declare();
        for _ in 0..1 + self.rng.below(5) {
            let sql = match self.rng.below(10) {
                0..=6 => self.on_cursor(),
                _ => statements::any(&mut self.rng, false).text,
            };
            self.either(sql, 70);
        }
        let end = self.rng.pick(&["CLOSE c1", "CLOSE ALL", "COMMIT", "COMMIT", "ROLLBACK", "SELECT 1"]);
        self.send(vec![Msg::Query(end.into())]);
    }

    /// DECLARE, in either protocol and with parameters too, or a portal by Bind.
    fn declare(&mut self) {
        let name = self.rng.pick(&["c1", "c1", "\"C2\""]).to_owned();
        let hold = self.rng.pick(&["", "", "", " WITH HOLD", " WITHOUT HOLD"]);
        let way =
            self.rng.pick(&["", "", " SCROLL", " NO SCROLL", " BINARY", " INSENSITIVE", " BINARY SCROLL"]);
        let extended = self.rng.chance(30);
        let table = &TABLES[self.rng.below(TABLES.len()).min(self.rng.below(TABLES.len()))];
        let updatable = self.rng.chance(65);
        let mut sql = statements::of(&mut self.rng, table, extended, |m| match updatable {
            false => super::selects::select(m),
            true => {
                let from = m.target();
                let (key, other) = (m.table.key[0].0, m.other().0);
                let list = match m.v.rng.below(5) {
                    0 => other.to_owned(),
                    1 => format!("{key}, {other}"),
                    2 if m.table.protected => format!("{key}, version, {other}"),
                    _ => "*".into(),
                };
                let condition = m.condition();
                let lock = m.pick(&["", "", " FOR UPDATE", " FOR NO KEY UPDATE"]);
                format!("SELECT {list} FROM {from}{condition}{lock}")
            }
        });
        sql.text = format!("DECLARE {name}{way} CURSOR{hold} FOR {}", sql.text);
        self.cursors.retain(|c| c.0 != name);
        self.cursors.push((name, table));
        if !extended {
            return self.send(vec![Msg::Query(sql.text)]);
        }
        sql.columns = Some(0);
        let mut messages = vec![Msg::Parse(String::new(), sql.text.clone(), vec![])];
        self.bind_and_execute(&mut messages, "", &sql);
        messages.push(Msg::Sync);
        self.send(messages);
    }

    /// Something done with a cursor, or with a portal of that name.
    pub fn on_cursor(&mut self) -> String {
        let (name, table): (String, &'static Table) = match self.cursors.is_empty() || self.rng.chance(8) {
            true => (self.rng.pick(&["p1", "p1", "c1"]).to_owned(), &TABLES[0]),
            false => self.cursors[self.rng.below(self.cursors.len())].clone(),
        };
        let way = self.rng.pick(WAYS);
        match self.rng.below(20) {
            0..=8 => format!("FETCH {way}{name}"),
            9 | 10 => format!("MOVE {way}{name}"),
            11..=16 => {
                let sql = statements::of(&mut self.rng, table, false, |m| {
                    let target = m.target();
                    format!("UPDATE {target} SET {} WHERE CURRENT OF {name}{}", m.assignment(), m.returning())
                });
                sql.text
            }
            17 => {
                let sql = statements::of(&mut self.rng, table, false, |m| {
                    format!("DELETE FROM {} WHERE CURRENT OF {name}{}", m.target(), m.returning())
                });
                sql.text
            }
            18 => format!("FETCH {way}{name}; UPDATE {} SET {} WHERE CURRENT OF {name}", table.name, {
                statements::of(&mut self.rng, table, false, |m| m.assignment()).text
            }),
            _ => {
                self.cursors.retain(|c| c.0 != name);
                format!("CLOSE {name}")
            }
        }
    }
}
