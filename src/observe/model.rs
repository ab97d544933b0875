//! Random sequences against a reference that keeps every event of every row and works out the present from
//! them anew: undoing is leaving events out.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::{Limits, Observations, RowKey};
use crate::sql::columns::ColumnSet;

const ROWS: usize = 5;
const COLUMNS: usize = 4;

/// What happened to a row.
#[derive(Debug, Clone)]
enum Event {
    Read {
        version: i64,
        shown: ColumnSet,
    },
    Checked {
        expected: i64,
        sets: ColumnSet,
    },
    Returned {
        version: i64,
        shown: ColumnSet,
    },
    Forgotten,
    /// Shown without the version, by a cursor that was opened just before.
    Undated {
        shown: ColumnSet,
    },
}

/// The open transaction's history, each event with its place in the order of all.
#[derive(Default)]
struct Reference {
    rows: HashMap<usize, Vec<(usize, Event)>>,
    /// The rows as they were when it began.
    base: HashMap<usize, Row>,
    savepoints: Vec<(&'static str, usize)>,
    next: usize,
}

/// One row worked out: version by column, and that of columns never shown. `None`: shown without it.
#[derive(Default, Clone)]
struct Row {
    columns: BTreeMap<usize, Option<i64>>,
    newest: Option<i64>,
    /// The version that it has as far as the scope knows.
    present: i64,
}

impl Reference {
    fn add(&mut self, row: usize, event: Event) {
        self.rows.entry(row).or_default().push((self.next, event));
        self.next += 1;
    }

    /// Leaves out, row by row, everything from the first own write at or after `place`.
    fn undo(&mut self, place: usize) {
        for events in self.rows.values_mut() {
            let read = |e: &Event| matches!(e, Event::Read { .. } | Event::Undated { .. });
            let own = |(at, e): &(usize, Event)| *at >= place && !read(e);
            if let Some(first) = events.iter().position(own) {
                events.truncate(first);
            }
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(n, _)| *n == name)
    }

    /// What has happened so far is there to stay.
    fn end(&mut self) {
        self.base = (0..ROWS).filter_map(|row| Some((row, self.row(row)?))).collect();
        self.rows.clear();
        self.savepoints.clear();
    }

    fn row(&self, row: usize) -> Option<Row> {
        let mut known = self.base.get(&row).cloned();
        // By the open transaction: nobody else can have.
        let mut written = false;
        for (_, event) in self.rows.get(&row).into_iter().flatten() {
            written |= !matches!(event, Event::Read { .. } | Event::Undated { .. });
            match event {
                Event::Read { version, shown } => {
                    let r = known.get_or_insert_default();
                    r.show(*version, shown);
                }
                Event::Undated { shown } => {
                    let Some(r) = &mut known else { continue };
                    let certain = Some(r.present).filter(|_| written);
                    for c in shown.iter() {
                        let v = r.columns.entry(c).or_insert(None);
                        *v = v.filter(|v| certain == Some(*v));
                    }
                    r.newest = r.newest.filter(|v| certain == Some(*v));
                }
                Event::Checked { expected, sets } => {
                    let r = known.get_or_insert_with(|| Row { newest: Some(expected + 1), ..Row::default() });
                    r.moved(*expected);
                    for c in sets.iter() {
                        let v = r.columns.entry(c).or_insert(None);
                        *v = (*v).max(Some(expected + 1));
                    }
                }
                Event::Returned { version, shown } => {
                    if let Some(r) = &mut known {
                        r.moved(version - 1);
                    }
                    if !shown.is_empty() {
                        let r = known.get_or_insert_default();
                        r.show(*version, shown);
                    }
                }
                Event::Forgotten => known = None,
            }
        }
        known
    }
}

impl Row {
    fn expected(&self, sets: &ColumnSet) -> Option<i64> {
        if sets.is_empty() {
            return self.newest;
        }
        sets.iter().filter_map(|c| *self.columns.get(&c).unwrap_or(&self.newest)).min()
    }

    fn show(&mut self, version: i64, shown: &ColumnSet) {
        self.newest = Some(version);
        self.present = version;
        self.columns.extend(shown.iter().map(|c| (c, Some(version))));
    }

    fn moved(&mut self, from: i64) {
        for v in self.columns.values_mut().chain([&mut self.newest]).filter(|v| **v == Some(from)) {
            *v = Some(from + 1);
        }
        self.present = self.present.max(from + 1);
    }
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn columns(&mut self) -> ColumnSet {
        let bits = self.below(1 << COLUMNS);
        (0..COLUMNS).filter(|c| bits & (1 << c) != 0).collect()
    }
}

/// A server's rows: versions only grow, but for what a rollback takes back, which the savepoints snapshot.
#[derive(Clone)]
struct Server([i64; ROWS]);

#[test]
fn agrees_with_a_reference_that_replays_history() {
    for seed in 1..=100_u64 {
        run(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let now = Instant::now();
    let mut seen = Observations::new(Limits::default());
    let mut reference = Reference::default();
    let mut server = Server([1; ROWS]);
    // The server at BEGIN, and at each savepoint. Rows that others write are not ours to undo; a row is
    // locked once we have written it, so others write only rows that we have not.
    let mut snapshots: Vec<Server> = vec![server.clone()];
    let mut locked = [false; ROWS];
    let names = ["a", "b", "c"];
    let sets: Vec<ColumnSet> =
        (0..1_usize << COLUMNS).map(|bits| (0..COLUMNS).filter(|c| bits & (1 << c) != 0).collect()).collect();
    for step in 0..300 {
        let row = random.below(ROWS);
        let key = RowKey::new(1, row.to_string());
        let what = random.below(100);
        match what {
            0..8 => {
                let shown = random.columns();
                seen.saw_undated(&key, &shown, seen.sequence(), now);
                if !shown.is_empty() {
                    reference.add(row, Event::Undated { shown });
                }
            }
            8..30 => {
                let shown = random.columns();
                seen.read(key, server.0[row], &shown, now);
                if !shown.is_empty() {
                    reference.add(row, Event::Read { version: server.0[row], shown });
                }
            }
            30..45 => {
                if !locked[row] {
                    server.0[row] += 1;
                    for s in &mut snapshots {
                        s.0[row] = server.0[row];
                    }
                }
            }
            45..65 => {
                let sets = random.columns();
                // A write that others made stale is refused and changes nothing.
                let expected = reference.row(row).and_then(|r| r.expected(&sets));
                if expected.is_none_or(|e| e == server.0[row]) {
                    let was = server.0[row];
                    locked[row] = true;
                    server.0[row] += 1;
                    match (expected, random.below(3)) {
                        (Some(_), 0) => {
                            seen.wrote_checked(&key, was, &sets, now);
                            reference.add(row, Event::Checked { expected: was, sets });
                        }
                        (Some(_), 1) | (None, 0) => {
                            seen.wrote_unchecked(&key, now);
                            reference.add(row, Event::Forgotten);
                        }
                        _ => {
                            let shown = random.columns();
                            if shown.is_empty() {
                                seen.moved(&key, was + 1, now);
                            } else {
                                seen.returned(key, was + 1, &shown, now);
                            }
                            reference.add(row, Event::Returned { version: was + 1, shown });
                        }
                    }
                } else {
                    seen.refused(&key, now);
                }
            }
            65..78 => {
                let name = names[random.below(names.len())];
                seen.savepoint(name);
                reference.savepoints.push((name, reference.next));
                snapshots.push(server.clone());
            }
            78..84 => {
                let name = names[random.below(names.len())];
                seen.release(name);
                if let Some(at) = reference.find(name) {
                    reference.savepoints.truncate(at);
                    snapshots.truncate(at + 1);
                }
            }
            84..92 => {
                let name = names[random.below(names.len())];
                seen.rollback_to(name, now);
                if let Some(at) = reference.find(name) {
                    reference.undo(reference.savepoints[at].1);
                    reference.savepoints.truncate(at + 1);
                    snapshots.truncate(at + 2);
                    server = snapshots[at + 1].clone();
                }
            }
            _ => {
                if what < 96 {
                    seen.commit();
                } else {
                    seen.rollback(now);
                    reference.undo(0);
                    server = snapshots[0].clone();
                }
                reference.end();
                snapshots = vec![server.clone()];
                locked = [false; ROWS];
            }
        }
        // Only the end of a transaction or savepoint touches other rows than its own.
        for row in if what < 65 { row..row + 1 } else { 0..ROWS } {
            let key = RowKey::new(1, row.to_string());
            let known = reference.row(row);
            for sets in &sets {
                assert_eq!(
                    seen.expected(&key, sets, now).version(),
                    known.as_ref().and_then(|r| r.expected(sets)),
                    "seed {seed}, step {step} ({what}), row {row}, {sets:?}"
                );
            }
        }
        seen.assert_counts();
    }
}
