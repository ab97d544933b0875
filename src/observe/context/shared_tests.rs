//! Two processes with a store in common know what one process would know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::store::{Answer, Ask, ContextStore, Fetching, History, Note, Place, Unavailable, in_short};
use super::*;
use crate::observe::{Cause, Limits, Lookup, RowKey, WrittenBack};
use crate::sql::columns::ColumnSet;

/// A store in memory.
#[derive(Debug, Default)]
struct Memory {
    rows: Mutex<HashMap<(Place, Box<str>), History>>,
    away: Mutex<bool>,
}

impl Memory {
    /// Makes every history short.
    fn shorten(&self, limits: &ContextLimits) {
        for history in self.rows.lock().unwrap().values_mut() {
            *history = vec![in_short(history, limits)];
        }
    }
}

impl ContextStore for Memory {
    fn note(&self, note: Note) {
        let mut rows = self.rows.lock().unwrap();
        match note {
            Note::Happened { place, row, event } => rows.entry((place, row)).or_default().push(event),
            Note::Forget(place) => rows.retain(|(p, _), _| *p != place),
            Note::ForgetTable(table) => rows.retain(|(p, _), _| p.table != table),
        }
    }

    fn fetch(&self, asks: Vec<Ask>) -> Fetching {
        let rows = self.rows.lock().unwrap();
        let answer = |ask: &Ask| {
            let history = |row: &str| rows.get(&(ask.place.clone(), row.into())).cloned();
            let of_place = rows.iter().filter(|((place, _), _)| ask.any.is_some() && *place == ask.place);
            Answer {
                rows: ask.rows.iter().map(|row| history(row).unwrap_or_default()).collect(),
                any: of_place.map(|((_, row), history)| (row.clone(), history.clone())).collect(),
                more: 0,
            }
        };
        let answers = asks.iter().map(answer).collect();
        let away = *self.away.lock().unwrap();
        Box::pin(std::future::ready(if away { Err(Unavailable) } else { Ok(answers) }))
    }
}

fn columns(slots: &[usize]) -> ColumnSet {
    slots.iter().copied().collect()
}

fn session(contexts: &Arc<Contexts>) -> ContextScope {
    let mut scope = ContextScope::new(contexts.clone(), "db".into(), Limits::default(), Unit(0));
    scope.on_server(ServerId(0));
    scope.set_label(Some("ada"));
    scope
}

/// Decides as a session does: asks the store for what is missing, and decides again.
fn decide<R>(scope: &mut ContextScope, contexts: &Arc<Contexts>, f: impl Fn(&mut ContextScope) -> R) -> R {
    loop {
        let decided = f(scope);
        let Some(asks) = scope.to_fetch() else {
            scope.has_decided();
            return decided;
        };
        let mut answers = contexts.fetch(asks);
        let Poll::Ready(answers) = answers.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("a store in memory answers at once")
        };
        scope.fetched(answers);
    }
}

/// xorshift64*: the same numbers on every machine.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn columns(&mut self) -> ColumnSet {
        let bits = self.below(7) + 1;
        (0..3).filter(|n| bits & (1 << n) != 0).collect()
    }
}

/// What a decision comes to, without the times.
fn facts(lookup: Lookup) -> Result<i64, ()> {
    match lookup {
        Lookup::Known { version, .. } => Ok(version),
        Lookup::Unknown(_) => Err(()),
    }
}

#[test]
fn two_processes_know_what_one_would() {
    for seed in 1..150 {
        let mut rng = Rng(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let limits = ContextLimits {
            reads: if rng.below(3) == 0 { Reads::Earliest } else { Reads::Latest },
            after_conflict: if rng.below(3) == 0 { AfterConflict::Told } else { AfterConflict::Reread },
            ..ContextLimits::default()
        };
        let store = Arc::new(Memory::default());
        let one = Arc::new(Contexts::new(limits));
        let two: Vec<_> = (0..2).map(|_| Arc::new(Contexts::with_store(limits, store.clone()))).collect();
        let mut alone: Vec<_> = (0..2).map(|_| session(&one)).collect();
        let mut shared: Vec<_> = two.iter().map(session).collect();
        let now = Instant::now();
        for step in 0..80 {
            let n = usize::from(rng.below(2) == 0);
            let row = RowKey::new(u32::try_from(1 + rng.below(2)).unwrap(), rng.below(2).to_string());
            let version = i64::try_from(1 + rng.below(5)).unwrap();
            let (sets, unit) = (rng.columns(), Unit(u128::from(rng.below(6))));
            let kind = rng.below(16);
            let what = format!("seed {seed}, step {step}, kind {kind}: {row:?} {version} {sets:?} {unit:?}");
            let mut both = |act: &dyn Fn(&mut ContextScope)| {
                act(&mut alone[n]);
                act(&mut shared[n]);
            };
            match kind {
                0..=3 => both(&|scope| scope.read(row.clone(), version, &sets, false, now)),
                4 => both(&|scope| scope.read(row.clone(), version, &sets, true, now)),
                5 | 6 => both(&|scope| scope.begin_unit(unit)),
                7 | 8 => both(&|scope| {
                    scope.wrote_checked(&row, version, &sets, now);
                    scope.commit(now);
                }),
                9 => both(&|scope| {
                    scope.wrote_unchecked(&row, now);
                    scope.commit(now);
                }),
                10 => both(&|scope| {
                    scope.deleted(&row, now);
                    scope.commit(now);
                }),
                11 => both(&|scope| scope.wrote_checked(&row, version, &sets, now)),
                12 => both(&|scope| scope.rollback()),
                13 => {
                    // A refusal comes of a decision.
                    let expected = facts(alone[n].expected(&row, &sets, now));
                    let found = decide(&mut shared[n], &two[n], |scope| scope.expected(&row, &sets, now));
                    assert_eq!(facts(found), expected, "{what}");
                    if let Ok(expected) = expected {
                        let times = alone[n].refused(&row, expected, Some(version), now);
                        assert_eq!(shared[n].refused(&row, expected, Some(version), now), times, "{what}");
                    }
                }
                14 => store.shorten(&limits),
                _ => match rng.below(3) {
                    0 => both(&|scope| {
                        scope.truncated(row.table);
                        scope.commit(now);
                    }),
                    1 => both(&|scope| {
                        scope.forget_table(row.table);
                        scope.commit(now);
                    }),
                    _ => {}
                },
            }
            for n in 0..2 {
                let expected = facts(alone[n].expected(&row, &sets, now));
                let found = decide(&mut shared[n], &two[n], |scope| scope.expected(&row, &sets, now));
                assert_eq!(facts(found), expected, "{what}");
                let back = alone[n].written_back(&row, version, &sets, now);
                let found =
                    decide(&mut shared[n], &two[n], |scope| scope.written_back(&row, version, &sets, now));
                assert_eq!(found, back, "{what}");
                let sorted = |(mut rows, more): (Vec<RowKey>, usize)| {
                    rows.sort_by(|a, b| a.key.cmp(&b.key));
                    (rows, more)
                };
                let rows = sorted(alone[n].known_rows(row.table, 10));
                let found = decide(&mut shared[n], &two[n], |scope| scope.known_rows(row.table, 10));
                assert_eq!(sorted(found), rows, "{what}");
            }
        }
    }
}

#[test]
fn a_cursor_does_not_bring_back_what_another_process_has_overwritten() {
    let store = Arc::new(Memory::default());
    let two: Vec<_> =
        (0..2).map(|_| Arc::new(Contexts::with_store(ContextLimits::default(), store.clone()))).collect();
    let mut sessions: Vec<_> = two.iter().map(session).collect();
    let (row, sets, now) = (RowKey::new(1, "7"), columns(&[1]), Instant::now());
    let expects = |sessions: &mut Vec<ContextScope>, n: usize| {
        sessions[n].begin_unit(Unit(9));
        let found = decide(&mut sessions[n], &two[n], |scope| scope.expected(&row, &sets, now));
        facts(found)
    };
    // Opened before the other process writes, read behind it: it shows the state before.
    let opened = sessions[0].sequence();
    sessions[1].wrote_checked(&row, 1, &sets, now);
    sessions[1].commit(now);
    sessions[0].begin_unit(Unit(2));
    sessions[0].read_from_cursor(row.clone(), 1, &sets, opened, now);
    assert_eq!(expects(&mut sessions, 1), Ok(2));
    // Opened behind it, or told by somebody else's later write.
    sessions[0].begin_unit(Unit(3));
    let opened = sessions[0].sequence();
    sessions[0].read_from_cursor(row.clone(), 5, &sets, opened, now);
    assert_eq!(expects(&mut sessions, 1), Ok(5));
    // Of a write that nobody can follow a cursor does not tell whether it came before.
    sessions[1].wrote_unchecked(&row, now);
    sessions[1].commit(now);
    sessions[0].begin_unit(Unit(4));
    sessions[0].read_from_cursor(row.clone(), 9, &sets, opened, now);
    assert_eq!(expects(&mut sessions, 0), Err(()));
    sessions[1].begin_unit(Unit(5));
    sessions[1].read(row.clone(), 10, &sets, false, now);
    sessions[0].begin_unit(Unit(6));
    sessions[0].read_from_cursor(row.clone(), 9, &sets, opened, now);
    assert_eq!(expects(&mut sessions, 0), Ok(10));
}

#[test]
fn what_lies_too_far_back_or_is_of_another_kind_is_not_known() {
    let limits = ContextLimits { ttl: Duration::from_secs(60), ..ContextLimits::default() };
    let store = Arc::new(Memory::default());
    let contexts = Arc::new(Contexts::with_store(limits, store.clone()));
    let mut scope = session(&contexts);
    let (row, sets, now) = (RowKey::new(1, "7"), columns(&[1]), Instant::now());
    let before = now.checked_sub(Duration::from_secs(61)).unwrap();
    scope.read(row.clone(), 1, &sets, false, before);
    assert_eq!(facts(decide(&mut scope, &contexts, |s| s.expected(&row, &sets, now))), Err(()));
    scope.read(row.clone(), 2, &sets, false, now);
    assert_eq!(facts(decide(&mut scope, &contexts, |s| s.expected(&row, &sets, now))), Ok(2));
    // A later version of the program says more than this one understands.
    for history in store.rows.lock().unwrap().values_mut() {
        history.push(b"{\"later\":1}".to_vec());
    }
    assert_eq!(facts(decide(&mut scope, &contexts, |s| s.expected(&row, &sets, now))), Err(()));
}

#[test]
fn without_an_answer_nothing_is_known() {
    let store = Arc::new(Memory::default());
    let contexts = Arc::new(Contexts::with_store(ContextLimits::default(), store.clone()));
    let mut scope = session(&contexts);
    let (row, sets, now) = (RowKey::new(1, "7"), columns(&[1]), Instant::now());
    scope.read(row.clone(), 1, &sets, false, now);
    *store.away.lock().unwrap() = true;
    let found = decide(&mut scope, &contexts, |s| {
        (s.expected(&row, &sets, now), s.written_back(&row, 1, &sets, now), s.is_cut_off(&row, now))
    });
    assert_eq!(found, (Lookup::Unknown(Cause::Store), WrittenBack::BasedOn(1), true));
    assert_eq!(decide(&mut scope, &contexts, |s| s.known_rows(1, 10)), (Vec::new(), 0));
    // What the transaction itself has written it knows.
    scope.wrote_checked(&row, 1, &sets, now);
    assert_eq!(facts(decide(&mut scope, &contexts, |s| s.expected(&row, &sets, now))), Ok(2));
    assert!(!decide(&mut scope, &contexts, |s| s.is_cut_off(&row, now)));
}
