//! What a session has seen of each row, by the documented rules, and the log of what it has been told.
//!
//! The model knows less than the proxy may, never more: a token that it says was seen is one that the proxy must
//! have checked the write by.

use std::collections::HashMap;

use super::drive::{Done, Failure};
use super::statements::{HOT, Kind, ROWS, Read, Row, Shown, Write, key, table};

/// How many sights of a row are kept with a refusal.
const KEPT: usize = 6;

/// A sight of a row. The history tells which version it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A result showed this token and count.
    Shown(String, i64),
    /// A checked write of this session left this token.
    Wrote(String),
}

/// What the session knows of a row.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The token that a write of the row is based on; `None`: a write is blind.
    pub token: Option<String>,
    /// It has been read since without its token: what a DELETE is based on, which sets no column, is not known here.
    pub narrowed: bool,
    /// The version that the last read showed.
    pub version: Option<i64>,
    /// How many checked writes of this session have moved the row since.
    pub moved: i64,
    /// All it has seen, oldest first.
    pub seen: Vec<Seen>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Put a token in the place of another (or in a new row).
    Token,
    /// Left the token alone.
    Bump,
    /// Deleted the row.
    Delete,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its transaction is open.
    Pending,
    /// Committed.
    Landed,
    /// Rolled back.
    Undone,
}

/// A write that the server has acknowledged, of one row.
#[derive(Debug)]
pub struct Acknowledged {
    /// Which.
    pub row: Row,
    /// What it did.
    pub op: Op,
    /// The token that it left.
    pub token: String,
    /// The token that it was based on, where it had to be checked.
    pub based_on: Option<String>,
    /// How it ended.
    pub end: End,
    /// The send that it was in.
    pub send: usize,
    /// For the report.
    #[allow(dead_code)]
    pub what: String,
}

/// A conflict that the session was told of.
#[derive(Debug)]
pub struct Refusal {
    /// Which row.
    pub row: Row,
    /// Expected version.
    pub expected: i64,
    /// Actual version.
    pub actual: Option<i64>,
    /// What the session had seen of the row.
    pub seen: Vec<Seen>,
    /// The statement.
    pub what: String,
}

/// How many sends before the one in question a report shows.
const SHOWN: usize = 12;

/// The log of a session.
#[derive(Debug, Default)]
pub struct Log {
    /// Writes.
    pub writes: Vec<Acknowledged>,
    /// Conflicts.
    pub refusals: Vec<Refusal>,
    /// Tokens of writes that have been sent, acknowledged or not.
    pub sent: u64,
    /// Steps that were carried out in full.
    pub steps: usize,
    /// What must never happen and was noticed at once.
    pub wrong: Vec<String>,
    /// All that was sent and what came back: for the report.
    pub wire: Vec<String>,
}

impl Log {
    /// The sends up to this one.
    pub fn up_to(&self, send: usize) -> String {
        self.wire
            .iter()
            .take(send + 1)
            .skip(send.saturating_sub(SHOWN))
            .map(|send| format!("\n{send}"))
            .collect()
    }
}

/// A transaction or a savepoint in it.
#[derive(Debug, Default)]
struct Level {
    name: String,
    before: HashMap<Row, Known>,
    pending: usize,
}

/// The model of a session.
#[derive(Debug)]
pub struct Model {
    /// What is known of each row.
    pub rows: Vec<Known>,
    /// The log.
    pub log: Log,
    levels: Vec<Level>,
    /// Acknowledged writes of the open transaction.
    pending: Vec<usize>,
    /// Tables whose rows were forgotten with a write of the open transaction.
    forgotten: Vec<&'static str>,
    /// How much had been seen of each row when it began.
    began: Vec<usize>,
    /// Likewise when the present message was sent.
    sent: Vec<usize>,
}

/// What the place of a write means for what may be demanded of it.
#[derive(Debug)]
pub struct Place<'a> {
    /// Rows that were known when its message was sent.
    pub known: &'a [bool],
    /// Transaction control stands in the same Query between an earlier write of its tables and it, or it goes through a
    /// view behind an earlier write of its table: it only bumps.
    pub cut: bool,
    /// It is in one Query with others: no hidden RETURNING tells what an increment has left.
    pub untold: bool,
}

impl Model {
    /// Nothing known.
    pub fn new() -> Self {
        Self {
            rows: vec![Known::default(); ROWS.len()],
            log: Log::default(),
            levels: vec![Level::default()],
            pending: Vec::new(),
            forgotten: Vec::new(),
            began: vec![0; ROWS.len()],
            sent: vec![0; ROWS.len()],
        }
    }

    /// A read has completed.
    pub fn read(&mut self, read: &Read, done: &Done) {
        if read.shown == Shown::Narrow {
            read.rows.iter().for_each(|row| self.rows[*row].narrowed = true);
            return;
        }
        for values in &done.rows {
            let version = match read.shown {
                Shown::Star | Shown::Version | Shown::Fetched => values.last(),
                _ => None,
            };
            let version = version.map(|v| v.parse().unwrap());
            self.show(read.rows[0], values, version);
        }
    }

    /// A result showed key, token and count of a row of the same table as `beside`.
    fn show(&mut self, beside: Row, values: &[String], version: Option<i64>) {
        let (id, values) = values.split_at(key(table(beside)).len());
        let id = id.join(",");
        let row = (0..ROWS.len()).find(|r| table(*r) == table(beside) && ROWS[*r].1 == id);
        let known = &mut self.rows[row.unwrap_or_else(|| panic!("no row {values:?}"))];
        known.token = Some(values[0].clone());
        known.narrowed = false;
        known.version = version;
        known.moved = 0;
        known.seen.push(Seen::Shown(values[0].clone(), values[1].parse().unwrap()));
    }

    /// A write has completed. False: it found that the version it names is not the row's.
    pub fn wrote(&mut self, write: &Write, token: &str, done: &Done, place: &Place<'_>, what: &str) -> bool {
        let count = write.count(&done.tag, &done.rows);
        let always_there = write.rows.iter().all(|row| HOT.contains(row));
        if always_there && count != write.rows.len() {
            if write.kind == Kind::InPredicate && count == 0 {
                return false;
            }
            self.log.wrong.push(format!("{what}: {} in place of {} rows", done.tag, write.rows.len()));
        }
        if count == 0 {
            return true;
        }
        for row in write.rows.iter().copied() {
            let known = &self.rows[row];
            let op = match write.kind {
                Kind::Delete | Kind::SetDelete => Op::Delete,
                kind if kind.sets_token() => Op::Token,
                _ => Op::Bump,
            };
            let checked = match op {
                Op::Token => write.kind != Kind::Insert,
                Op::Bump => false,
                Op::Delete => !known.narrowed,
            };
            let checked = checked && place.known[row] && !place.cut;
            let based_on = known.token.clone().filter(|_| checked);
            let landed = based_on.is_some();
            let level = self.levels.last_mut().unwrap();
            level.before.entry(row).or_insert_with(|| known.clone());
            self.pending.push(self.log.writes.len());
            let token = token.to_owned();
            self.log.writes.push(Acknowledged {
                row,
                op,
                token: token.clone(),
                based_on,
                end: End::Pending,
                send: self.log.wire.len().saturating_sub(1),
                what: what.to_owned(),
            });
            let known = &mut self.rows[row];
            match op {
                _ if write.kind.returns() || write.kind.forgets() => {}
                // A session that guards itself is left to itself.
                _ if op == Op::Delete
                    || write.kind.forgets_named()
                    || matches!(write.kind, Kind::Insert | Kind::InPredicate) =>
                {
                    (known.token, known.version) = (None, None);
                }
                // It may have inserted the row.
                _ if write.kind == Kind::Upsert && !HOT.contains(&row) => {
                    (known.token, known.version) = (None, None);
                }
                Op::Bump if place.untold => (known.token, known.version) = (None, None),
                // Whether it moved what is known depends on what others did.
                Op::Bump => known.version = None,
                _ if landed => {
                    known.narrowed = false;
                    known.token = Some(token.clone());
                    known.moved += 1;
                    known.seen.push(Seen::Wrote(token));
                }
                _ => (known.token, known.version) = (None, None),
            }
        }
        if write.kind.returns() {
            for values in &done.rows {
                self.show(write.rows[0], values, None);
            }
        }
        if write.kind.forgets() || place.cut {
            write.rows.iter().for_each(|row| self.forget(table(*row)));
            self.forgotten.extend(write.rows.iter().map(|row| table(*row)));
        }
        true
    }

    fn forget(&mut self, of: &str) {
        for (_, known) in self.rows.iter_mut().enumerate().filter(|(row, _)| table(*row) == of) {
            (known.token, known.version) = (None, None);
        }
    }

    /// A message is sent.
    pub fn sends(&mut self) {
        self.sent = self.rows.iter().map(|known| known.seen.len()).collect();
    }

    /// A conflict. `at_once`: all of its message was sent before any of the answers was there.
    pub fn refused(&mut self, failure: &Failure, what: &str, at_once: bool) {
        let detail: serde_json::Value = serde_json::from_str(&failure.detail).unwrap();
        let id = detail["entity_id"].as_str().unwrap();
        let row = (0..ROWS.len()).find(|r| table(*r) == failure.table && ROWS[*r].1 == id);
        let row = row.unwrap_or_else(|| panic!("no such row: {failure:?}"));
        let seen = &self.rows[row].seen;
        let seen = &seen[..if at_once { self.sent[row].min(seen.len()) } else { seen.len() }];
        self.log.refusals.push(Refusal {
            row,
            expected: detail["expected_version"].as_i64().unwrap(),
            actual: detail["actual_version"].as_i64(),
            seen: seen.iter().rev().take(KEPT).rev().cloned().collect(),
            what: what.to_owned(),
        });
    }

    /// SAVEPOINT.
    pub fn savepoint(&mut self, name: &str) {
        let pending = self.pending.len();
        self.levels.push(Level { name: name.to_owned(), before: HashMap::new(), pending });
    }

    /// ROLLBACK TO.
    pub fn rollback_to(&mut self, name: &str) {
        let at = self.levels.iter().rposition(|l| l.name == name).expect("a savepoint");
        let undone = self.levels.split_off(at);
        let pending = undone[0].pending;
        self.undo(undone, pending);
        self.savepoint(name);
    }

    /// The transaction has committed.
    pub fn commit(&mut self) {
        for i in self.pending.drain(..) {
            self.log.writes[i].end = End::Landed;
        }
        self.ended();
    }

    /// The transaction has rolled back.
    pub fn rollback(&mut self) {
        let undone = std::mem::take(&mut self.levels);
        self.undo(undone, 0);
        self.ended();
    }

    fn ended(&mut self) {
        self.levels = vec![Level::default()];
        self.forgotten.clear();
        self.began = self.rows.iter().map(|known| known.seen.len()).collect();
    }

    fn undo(&mut self, levels: Vec<Level>, pending: usize) {
        for i in self.pending.split_off(pending) {
            self.log.writes[i].end = End::Undone;
        }
        for level in levels.into_iter().rev() {
            for (row, before) in level.before {
                self.rows[row] = before;
            }
        }
        // What was read behind such a write may have been its own work.
        for of in self.forgotten.clone() {
            self.forget(of);
            for (row, known) in self.rows.iter_mut().enumerate().filter(|(row, _)| table(*row) == of) {
                known.seen.truncate(self.began[row]);
            }
        }
    }
}
