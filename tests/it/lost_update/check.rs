//! The proof: the server's own history of each row against the logs of all sessions.

use std::collections::HashMap;

use super::model::{Acknowledged, End, Log, Op, Refusal, Seen};
use super::statements::{HOT, ROWS, Row, table};
use crate::common::raw::Raw;

/// One committed change of a row.
#[derive(Debug, Clone)]
pub struct Change {
    writer: String,
    /// State before it, unless it is an INSERT.
    was: Option<State>,
    /// State behind it, unless it is a DELETE.
    now: Option<State>,
    /// How many INSERTs have made the row so far.
    life: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    token: String,
    n: i64,
    version: i64,
}

/// What the sessions did, and what was wrong with it.
#[derive(Debug, Default)]
pub struct Report {
    /// Writes that replaced a token that their session had not seen, though they had to be checked.
    pub lost: Vec<String>,
    /// Everything else that must not be.
    pub wrong: Vec<String>,
    /// Writes that landed, had to be checked, and were right.
    pub checked: usize,
    /// Writes that landed.
    pub landed: usize,
    /// Conflicts that were due.
    pub refused: usize,
}

/// All changes, row by row, in the order in which they happened.
pub fn history(judge: &mut Raw) -> Vec<Vec<Change>> {
    let state = |of: &str| format!("{of} ->> 'token', {of} ->> 'n', {of} ->> 'version'");
    let sql = format!(
        "select tab, coalesce(row ->> 'id', row ->> 'code', concat(row ->> 'user_id', ',', row ->> 'role')), \
         writer, {}, {} \
         from history, coalesce(now, was) row order by seq",
        state("was"),
        state("now")
    );
    let mut rows: Vec<Vec<Change>> = ROWS.iter().map(|_| Vec::new()).collect();
    for values in judge.rows(&sql) {
        let row = (0..ROWS.len()).find(|r| (table(*r), ROWS[*r].1) == (&*values[0], &*values[1])).unwrap();
        let state = |at: usize| {
            let number = |i: usize| values[i].parse().unwrap();
            (values[at] != "NULL").then(|| State {
                token: values[at].clone(),
                n: number(at + 1),
                version: number(at + 2),
            })
        };
        let (was, now) = (state(3), state(6));
        let life = rows[row].last().map_or(0, |c: &Change| c.life) + usize::from(was.is_none());
        rows[row].push(Change { writer: values[2].clone(), was, now, life });
    }
    rows
}

/// Compares the history with the logs. `versions`: what bumps them stands before the server.
pub fn check(history: &[Vec<Change>], logs: &[(String, Log)], versions: bool) -> Report {
    let mut report = Report::default();
    for (row, changes) in history.iter().enumerate() {
        report.row(row, changes, logs, versions);
    }
    for (writer, log) in logs {
        report.wrong.extend(log.wrong.iter().map(|w| format!("{writer}: {w}")));
        for refusal in &log.refusals {
            report.refused += 1;
            if let Some(why) = undue(&history[refusal.row], writer, refusal) {
                report.wrong.push(format!("{writer} was refused, but {why}: {refusal:?}"));
            }
        }
    }
    report
}

impl Report {
    fn row(&mut self, row: Row, changes: &[Change], logs: &[(String, Log)], versions: bool) {
        let name = format!("{} {}", ROWS[row].0, ROWS[row].1);
        // The chain: each change begins where the last one ended, and adds one to the version.
        for pair in changes.windows(2) {
            if pair[0].now != pair[1].was {
                self.wrong.push(format!("{name}: {:?} does not follow {:?}", pair[1], pair[0]));
            }
        }
        for change in changes.iter().filter(|_| versions) {
            let from = change.was.as_ref().map_or(0, |s| s.version);
            if change.now.as_ref().is_some_and(|now| now.version != from + 1) {
                self.wrong.push(format!("{name}: the version went another way than by one: {change:?}"));
            }
        }
        for (writer, log) in logs {
            let mine: Vec<&Change> = changes.iter().filter(|c| c.writer == *writer).collect();
            let landed: Vec<&Acknowledged> =
                log.writes.iter().filter(|w| w.row == row && w.end == End::Landed).collect();
            self.landed += landed.len();
            // What was acknowledged and what is in the history are the same, one by one.
            let mut left: HashMap<&str, &Change> = HashMap::new();
            let mut bumps = 0;
            let mut deletes = Vec::new();
            for change in mine {
                match (&change.was, &change.now) {
                    (Some(was), Some(now)) if was.token == now.token => bumps += 1,
                    (_, Some(now)) => {
                        if left.insert(&now.token, change).is_some() {
                            self.wrong.push(format!("{name}: {writer} left a token twice: {change:?}"));
                        }
                    }
                    (_, None) => deletes.push(change),
                }
            }
            let of = |op: Op| landed.iter().filter(|w| w.op == op).count();
            if bumps != of(Op::Bump) || deletes.len() != of(Op::Delete) {
                self.wrong.push(format!(
                    "{name}: {writer} was told of {} increments and {} deletes that landed, the history has {bumps} and {}",
                    of(Op::Bump),
                    of(Op::Delete),
                    deletes.len()
                ));
            }
            for write in landed.iter().filter(|w| w.op == Op::Token) {
                match left.remove(&*write.token) {
                    Some(change) => self.judge(&name, changes, change, write, log),
                    None => {
                        self.wrong.push(format!("{name}: acknowledged to {writer}, not there: {write:?}"))
                    }
                }
            }
            for change in left.values() {
                self.wrong.push(format!("{name}: {writer} was never told that it landed: {change:?}"));
            }
            for (write, change) in landed.iter().filter(|w| w.op == Op::Delete).zip(&deletes) {
                self.judge(&name, changes, change, write, log);
            }
        }
    }

    /// A write that landed: it has replaced what its session had seen.
    fn judge(&mut self, name: &str, changes: &[Change], change: &Change, write: &Acknowledged, log: &Log) {
        let (Some(based_on), Some(was)) = (&write.based_on, &change.was) else { return };
        if was.token == *based_on {
            self.checked += 1;
            return;
        }
        // A row that was deleted and inserted meanwhile has come to the same version again.
        let life = |token: &str| {
            changes.iter().find(|c| c.now.as_ref().is_some_and(|s| s.token == token)).map_or(1, |c| c.life)
        };
        if life(based_on) == life(&was.token) {
            let wire = log.up_to(write.send);
            self.lost.push(format!("{name}: {write:?} replaced {was:?} behind {wire}"));
        }
    }
}

/// Why a refusal was not due, if so.
fn undue(changes: &[Change], writer: &str, refusal: &Refusal) -> Option<String> {
    let Refusal { expected, actual, .. } = *refusal;
    let seen = refusal.seen.iter().rev().find_map(|seen| {
        changes.iter().rposition(|c| {
            let Some(now) = &c.now else { return false };
            match seen {
                Seen::Shown(token, n) => now.token == *token && now.n == *n,
                // Not a later increment of its own, which leaves the token.
                Seen::Wrote(token) => {
                    c.writer == writer
                        && now.token == *token
                        && c.was.as_ref().is_none_or(|was| was.token != *token)
                }
            }
        })
    });
    let others = |from: usize| changes[from..].iter().any(|c| c.writer != writer);
    if !HOT.contains(&refusal.row) {
        let from = seen? + 1;
        return (!others(from)).then(|| "nobody else has changed the row since it was seen".to_owned());
    }
    // The first change is the row's INSERT: version v is the state behind change v - 1.
    let Some(actual) = actual else { return Some("the row has never been deleted".to_owned()) };
    let index = |version: i64| usize::try_from(version).ok();
    let (Some(from), Some(to)) = (index(expected), index(actual)) else {
        return Some("no such version".into());
    };
    if from >= to {
        return Some("it was not behind".to_owned());
    }
    if from == 0 || from > changes.len() {
        return Some("no such version was ever there".to_owned());
    }
    // Beyond the end of the history there are this session's own writes, which it has rolled back.
    let between = &changes[from..to.min(changes.len())];
    if between.iter().all(|c| c.writer == writer) {
        return Some("nobody else has changed the row since".to_owned());
    }
    // A version that the statement itself names counts whatever was seen since: an object saved again.
    let text = refusal.what.split(" [").next().unwrap_or_default();
    let names_version = ["version = $", "expected_version"].iter().any(|n| text.contains(n));
    match seen {
        Some(at) if at + 1 > from && !names_version => Some(format!("it had seen version {}", at + 1)),
        _ => None,
    }
}
