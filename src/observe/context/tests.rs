use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::observe::{Cause, Limits, Lookup, RowKey, WrittenBack};
use crate::sql::columns::ColumnSet;

fn contexts(limits: ContextLimits) -> Arc<Contexts> {
    Arc::new(Contexts::new(limits))
}

fn row() -> RowKey {
    RowKey::new(1, "7")
}

fn columns(slots: &[usize]) -> ColumnSet {
    slots.iter().copied().collect()
}

fn unlabelled(contexts: &Arc<Contexts>, unit: Unit) -> ContextScope {
    let mut scope = ContextScope::new(contexts.clone(), "db".into(), Limits::default(), unit);
    scope.on_server(contexts.found(&(None, Some("1".into()))).unwrap().server);
    scope
}

/// A session of `label`.
fn session(contexts: &Arc<Contexts>, label: &str) -> ContextScope {
    let mut scope = unlabelled(contexts, Unit(0));
    scope.set_label(Some(label));
    scope
}

/// One request: a unit of its own, with a read of the row at `read` and a write of its first column.
struct Request<'a> {
    scope: &'a mut ContextScope,
    now: Instant,
}

impl<'a> Request<'a> {
    fn new(scope: &'a mut ContextScope, unit: u128) -> Self {
        scope.begin_unit(Unit(unit));
        Self { scope, now: Instant::now() }
    }

    fn reads(&mut self, version: i64) -> &mut Self {
        self.scope.read(row(), version, &columns(&[1, 2]), false, self.now);
        self
    }

    fn expects(&mut self) -> Option<i64> {
        self.scope.expected(&row(), &columns(&[1]), self.now).version()
    }

    /// Writes if what is expected is the version that the row has.
    fn saves(&mut self, actual: i64) -> bool {
        match self.expects() {
            Some(expected) if expected != actual => {
                self.scope.refused(&row(), expected, Some(actual), self.now);
                self.scope.rollback();
                false
            }
            _ => {
                self.scope.wrote_checked(&row(), actual, &columns(&[1]), self.now);
                self.scope.commit(self.now);
                true
            }
        }
    }
}

#[test]
fn a_reread_in_the_writing_unit_does_not_count() {
    let contexts = contexts(ContextLimits::default());
    let (mut a, mut b) = (session(&contexts, "anna"), session(&contexts, "ben"));
    Request::new(&mut a, 1).reads(5).scope.rollback();
    Request::new(&mut b, 2).reads(5).scope.rollback();
    assert!(Request::new(&mut a, 3).reads(5).saves(5));
    // Ben's form shows version 5; his handler reads 6 just before it writes.
    assert!(!Request::new(&mut b, 4).reads(6).saves(6));
    // A repeat of the same request is refused again.
    assert!(!Request::new(&mut b, 5).reads(6).saves(6));
    // After he has been shown the row again it passes.
    Request::new(&mut b, 6).reads(6).scope.rollback();
    assert!(Request::new(&mut b, 7).reads(6).saves(6));
    // Anna knows her own write.
    assert!(!Request::new(&mut a, 8).reads(7).saves(7));
}

#[test]
fn the_same_user_saves_twice() {
    let contexts = contexts(ContextLimits::default());
    let mut a = session(&contexts, "anna");
    Request::new(&mut a, 1).reads(5).scope.rollback();
    assert!(Request::new(&mut a, 2).reads(5).saves(5));
    assert!(Request::new(&mut a, 3).reads(6).saves(6));
    // Twice in one request, each in a transaction of its own.
    let mut request = Request::new(&mut a, 4);
    assert!(request.saves(7) && request.reads(8).saves(8));
    let request = Request::new(&mut a, 5);
    assert_eq!(
        request.scope.written_back(&row(), 8, &columns(&[1]), request.now),
        WrittenBack::SavedAgain(9)
    );
}

#[test]
fn the_first_contact_counts_where_no_other_unit_saw_the_row() {
    let contexts = contexts(ContextLimits::default());
    let mut a = session(&contexts, "anna");
    let mut request = Request::new(&mut a, 1);
    assert_eq!(request.expects(), None);
    assert_eq!(request.reads(5).expects(), Some(5));
    assert_eq!(request.reads(6).expects(), Some(5));
    assert_eq!(Request::new(&mut a, 2).expects(), Some(6));
}

#[test]
fn own_writes_enter_at_commit() {
    let contexts = contexts(ContextLimits::default());
    let (mut one, mut two) = (session(&contexts, "anna"), session(&contexts, "anna"));
    Request::new(&mut one, 1).reads(5).scope.rollback();
    let mut request = Request::new(&mut one, 2);
    let now = request.now;
    request.scope.savepoint("s");
    request.scope.wrote_checked(&row(), 5, &columns(&[1]), now);
    assert_eq!(request.expects(), Some(6));
    // Its own unfinished work is nothing that another connection could base a write on.
    request.reads(6);
    assert_eq!(Request::new(&mut two, 3).expects(), Some(5));
    one.rollback_to("s", now);
    assert_eq!(one.expected(&row(), &columns(&[1]), now).version(), Some(5));
    one.wrote_checked(&row(), 5, &columns(&[1]), now);
    one.rollback();
    assert_eq!(Request::new(&mut one, 4).expects(), Some(5));
    one.wrote_checked(&row(), 5, &columns(&[1]), now);
    one.commit(now);
    assert_eq!(Request::new(&mut two, 5).expects(), Some(6));
}

#[test]
fn each_column_has_its_own_reads() {
    let contexts = contexts(ContextLimits::default());
    let mut a = session(&contexts, "anna");
    let now = Instant::now();
    a.begin_unit(Unit(1));
    a.read(row(), 5, &columns(&[1, 2]), false, now);
    a.begin_unit(Unit(2));
    a.read(row(), 6, &columns(&[2]), false, now);
    a.begin_unit(Unit(3));
    let mut expected = |slots: &[usize]| a.expected(&row(), &columns(slots), now).version();
    assert_eq!((expected(&[1]), expected(&[2]), expected(&[1, 2])), (Some(5), Some(6), Some(5)));
    // Never shown: as the row; a DELETE likewise.
    assert_eq!((expected(&[3]), expected(&[]), expected(&[1, 3])), (Some(6), Some(6), Some(5)));
    a.wrote_checked(&row(), 6, &columns(&[2, 3]), now);
    a.commit(now);
    let mut expected = |slots: &[usize]| a.expected(&row(), &columns(slots), now).version();
    assert_eq!((expected(&[1]), expected(&[2]), expected(&[3])), (Some(5), Some(7), Some(7)));
}

#[test]
fn a_label_found_late_counts_for_the_reads_before_it() {
    let contexts = contexts(ContextLimits::default());
    let mut scope = unlabelled(&contexts, Unit(1));
    let now = Instant::now();
    scope.read(row(), 5, &columns(&[1]), false, now);
    assert_eq!(scope.expected(&row(), &columns(&[1]), now).version(), Some(5));
    scope.set_label(Some("anna"));
    scope.rollback();
    assert_eq!(Request::new(&mut session(&contexts, "anna"), 2).expects(), Some(5));
    assert_eq!(Request::new(&mut session(&contexts, "ben"), 2).expects(), None);
    // Without a label what a transaction has read goes with it.
    scope.set_label(None);
    scope.begin_unit(Unit(3));
    scope.read(row(), 5, &columns(&[1]), false, now);
    scope.rollback();
    assert_eq!(scope.expected(&row(), &columns(&[1]), now), crate::observe::Lookup::Unknown(Cause::NoLabel));
}

#[test]
fn earliest() {
    let limits = ContextLimits { reads: Reads::Earliest, ..ContextLimits::default() };
    let contexts = contexts(limits);
    let mut a = session(&contexts, "anna");
    // Every request reads the row again, whatever it is about.
    Request::new(&mut a, 1).reads(5).scope.rollback();
    Request::new(&mut a, 2).reads(6).scope.rollback();
    assert!(!Request::new(&mut a, 3).reads(6).saves(6));
    assert!(!Request::new(&mut a, 4).reads(6).saves(6));
    Request::new(&mut a, 5).reads(6).scope.rollback();
    assert!(Request::new(&mut a, 6).reads(6).saves(6));
    assert_eq!(Request::new(&mut a, 7).expects(), Some(7));
}

#[test]
fn a_refused_version_keeps_the_time_when_it_was_seen() {
    let all = contexts(ContextLimits::default());
    let mut scope = session(&all, "ada");
    let start = Instant::now();
    let later = |s| start + Duration::from_secs(s);
    scope.begin_unit(Unit(1));
    scope.read(row(), 1, &columns(&[1, 2]), false, start);
    for (unit, at) in [(2, 10), (3, 20)] {
        // The handler reads the row again and is refused: it was not then that version 1 was seen.
        scope.begin_unit(Unit(unit));
        scope.read(row(), 2, &columns(&[1, 2]), false, later(at));
        let found = scope.expected(&row(), &columns(&[1]), later(at));
        assert!(matches!(found, Lookup::Known { version: 1, seen_at, .. } if seen_at == start), "{found:?}");
        scope.refused(&row(), 1, Some(2), later(at + 1));
        scope.rollback();
    }
}

#[test]
fn told() {
    let limits = ContextLimits { after_conflict: AfterConflict::Told, ..ContextLimits::default() };
    let contexts = contexts(limits);
    let mut a = session(&contexts, "anna");
    Request::new(&mut a, 1).reads(5).scope.rollback();
    assert!(!Request::new(&mut a, 2).reads(6).saves(6));
    assert!(Request::new(&mut a, 3).reads(6).saves(6));
}

#[test]
fn refusals_in_a_row_are_counted() {
    let contexts = contexts(ContextLimits::default());
    let mut a = session(&contexts, "anna");
    Request::new(&mut a, 1).reads(5);
    let now = Instant::now();
    for (unit, want) in [(2, 1), (3, 2), (4, 3)] {
        a.begin_unit(Unit(unit));
        assert_eq!(a.refused(&row(), 5, Some(6), now), want);
    }
    // What a unit reads after its conflict does not count.
    a.read(row(), 6, &columns(&[1]), false, now);
    assert_eq!(Request::new(&mut a, 5).expects(), Some(5));
    Request::new(&mut a, 6).reads(6);
    assert_eq!(Request::new(&mut a, 7).expects(), Some(6));
}

#[test]
fn forgotten_and_deleted() {
    let contexts = contexts(ContextLimits::default());
    let mut a = session(&contexts, "anna");
    let now = Instant::now();
    Request::new(&mut a, 1).reads(5);
    a.wrote_unchecked(&row(), now);
    assert_eq!(Request::new(&mut a, 1).expects(), None);
    a.rollback();
    assert_eq!(Request::new(&mut a, 2).expects(), Some(5));
    a.forget_table(1);
    assert_eq!(Request::new(&mut a, 2).expects(), None);
    a.rollback();
    assert_eq!(Request::new(&mut a, 3).expects(), Some(5));
    a.deleted(&row(), now);
    assert!(a.deleted_by_us(&row(), now));
    a.commit(now);
    assert!(a.deleted_by_us(&row(), now));
    assert_eq!(Request::new(&mut a, 4).reads(1).expects(), Some(1));
    a.forget_table(1);
    a.commit(now);
    assert_eq!(Request::new(&mut a, 5).expects(), None);
    // A hidden RETURNING makes no unknown row known.
    a.returned(row(), 9, &columns(&[]), now);
    a.commit(now);
    assert_eq!(Request::new(&mut a, 6).expects(), None);
    a.returned(row(), 9, &columns(&[1]), now);
    assert_eq!(Request::new(&mut a, 6).expects(), Some(9));
    a.commit(now);
    assert_eq!(Request::new(&mut a, 7).expects(), Some(9));
}

#[test]
fn bounds() {
    let limits = ContextLimits {
        max_rows: 10,
        max_bytes: 64 << 10,
        max_total_bytes: 64 << 10,
        ttl: Duration::from_secs(60),
        ..ContextLimits::default()
    };
    let contexts = contexts(limits);
    let now = Instant::now();
    for user in 0..1_000 {
        let mut scope = session(&contexts, &user.to_string());
        for n in 0..20 {
            scope.read(RowKey::new(1, n.to_string()), 1, &columns(&[1]), false, now);
        }
    }
    assert!(contexts.bytes() <= limits.max_total_bytes, "{} bytes", contexts.bytes());
    assert!(contexts.rows() > 10 && contexts.rows() <= contexts.len() * 10);
    assert_eq!(contexts.evicted() as usize + contexts.rows(), 20_000);
    let mut last = session(&contexts, "999");
    assert_eq!(last.expected(&RowKey::new(1, "19"), &columns(&[1]), now).version(), Some(1));
    contexts.sweep(now + Duration::from_secs(61));
    assert!(contexts.is_empty() && contexts.bytes() == 0);
}

#[test]
fn commits_of_one_label_may_enter_in_any_order() {
    // The server lets the second write go on before it tells of the first one's commit.
    for known in [&[][..], &[1]] {
        let contexts = contexts(ContextLimits::default());
        let (mut one, mut two) = (session(&contexts, "anna"), session(&contexts, "anna"));
        Request::new(&mut one, 1).reads(5).scope.rollback();
        let now = Instant::now();
        one.begin_unit(Unit(2));
        two.begin_unit(Unit(3));
        one.wrote_checked(&row(), 5, &columns(known), now);
        two.wrote_checked(&row(), 6, &columns(&[]), now);
        two.commit(now);
        one.commit(now);
        assert_eq!(Request::new(&mut two, 4).expects(), Some(7), "{known:?}");
        assert_eq!(two.expected(&row(), &columns(&[2]), now).version(), Some(7), "{known:?}");
        assert_eq!(two.written_back(&row(), 5, &columns(&[1]), now), WrittenBack::SavedAgain(7));
    }
}

#[test]
fn a_commit_that_enters_late_leaves_newer_reads() {
    for reads in [Reads::Latest, Reads::Earliest] {
        let contexts = contexts(ContextLimits { reads, ..ContextLimits::default() });
        let (mut one, mut two) = (session(&contexts, "anna"), session(&contexts, "anna"));
        let start = Instant::now();
        let later = |s| start + Duration::from_secs(s);
        one.begin_unit(Unit(1));
        one.read(row(), 5, &columns(&[1, 2]), false, start);
        one.begin_unit(Unit(2));
        one.wrote_checked(&row(), 5, &columns(&[1]), later(1));
        // It is committed, and somebody else has written the row again.
        two.begin_unit(Unit(3));
        two.read(row(), 7, &columns(&[2]), false, later(2));
        one.commit(later(3));
        two.begin_unit(Unit(4));
        let mut expected = |slots: &[usize]| two.expected(&row(), &columns(slots), later(4)).version();
        assert_eq!(
            (expected(&[1]), expected(&[2]), expected(&[3])),
            (Some(6), Some(7), Some(7)),
            "{reads:?}"
        );
        // A higher version that was read before the write is of a row that is gone: it has begun anew.
        one.begin_unit(Unit(5));
        one.wrote_checked(&row(), 1, &columns(&[1]), later(5));
        one.commit(later(6));
        two.begin_unit(Unit(6));
        assert_eq!(two.expected(&row(), &columns(&[1]), later(7)).version(), Some(2), "{reads:?}");
    }
}

#[test]
fn whom_his_own_other_save_came_before_is_not_stuck() {
    for late in [false, true] {
        let contexts = contexts(ContextLimits::default());
        let (mut one, mut two) = (session(&contexts, "anna"), session(&contexts, "anna"));
        Request::new(&mut one, 1).reads(5).scope.rollback();
        let now = Instant::now();
        one.begin_unit(Unit(2));
        two.begin_unit(Unit(3));
        one.wrote_checked(&row(), 5, &columns(&[]), now);
        if late {
            assert_eq!(two.refused(&row(), 5, Some(6), now), 1);
            one.commit(now);
        } else {
            one.commit(now);
            assert_eq!(two.refused(&row(), 5, Some(6), now), 0);
        }
        two.rollback();
        assert_eq!(Request::new(&mut two, 4).reads(6).expects(), Some(6), "{late}");
        // Of what somebody else has written he has to read.
        assert_eq!(two.refused(&row(), 6, Some(7), now), 1);
        assert_eq!(Request::new(&mut two, 5).reads(7).expects(), Some(6), "{late}");
    }
}

#[test]
fn a_label_left_before_commit_forgets_tables_that_were_written() {
    for next in [Some("ben"), None] {
        let contexts = contexts(ContextLimits::default());
        let mut a = session(&contexts, "anna");
        Request::new(&mut a, 1).reads(5).scope.rollback();
        let now = Instant::now();
        a.begin_unit(Unit(2));
        // A set write of the table, whose rows are not known.
        a.forget_table(1);
        a.set_label(next);
        a.commit(now);
        assert_eq!(Request::new(&mut session(&contexts, "anna"), 3).expects(), None, "{next:?}");
    }
}

#[test]
fn long_labels_count_in_the_bound() {
    let limits =
        ContextLimits { max_bytes: 64 << 10, max_total_bytes: 256 << 10, ..ContextLimits::default() };
    let contexts = contexts(limits);
    for n in 0..100_u128 {
        let label = format!("{n:010000}");
        Request::new(&mut session(&contexts, &label), n).reads(5);
    }
    assert!(contexts.bytes() <= 256 << 10, "{}", contexts.bytes());
    assert!((10..=25).contains(&contexts.len()), "{}", contexts.len());
}

#[test]
fn a_row_that_is_known_in_several_ways_is_told_once() {
    let contexts = contexts(ContextLimits::default());
    let mut ada = session(&contexts, "ada");
    let now = Instant::now();
    let row = |n: usize| RowKey::new(1, n.to_string());
    for n in 0..2_000 {
        ada.read(row(n), 1, &columns(&[1]), false, now);
    }
    // Its own writes, of rows that the context knows, and what the transaction alone has looked up.
    for n in 0..10 {
        ada.wrote_checked(&row(n), 1, &columns(&[1]), now);
        ada.read_for_transaction(row(n + 5), 1, &columns(&[1]), now);
    }
    let (rows, more) = ada.known_rows(1, 3_000);
    let different: std::collections::HashSet<&RowKey> = rows.iter().collect();
    assert_eq!((rows.len(), different.len(), more), (2_000, 2_000, 0));
    // What the transaction has written comes first.
    let (rows, more) = ada.known_rows(1, 12);
    assert!((0..10).all(|n| rows.contains(&row(n))));
    assert_eq!((rows.len(), more > 0), (12, true));
}
