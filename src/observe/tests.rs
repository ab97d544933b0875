//! The rules one by one; `model` throws random sequences at all of them together.

use std::time::{Duration, Instant};

use super::*;
use crate::sql::columns::ColumnSet;

mod bounds;

const NAME: usize = 1;
const STATUS: usize = 2;
const BUDGET: usize = 3;

/// A scope, a clock that stands still unless told, and one row.
struct Bench {
    seen: Observations,
    now: Instant,
    row: RowKey,
}

fn cols(slots: &[usize]) -> ColumnSet {
    slots.iter().copied().collect()
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { seen: Observations::new(limits), now: Instant::now(), row: RowKey::new(1, "7") }
    }

    fn read(&mut self, version: i64, shown: &[usize]) {
        self.seen.read(self.row.clone(), version, &cols(shown), self.now);
    }

    fn cursor(&mut self, version: i64, shown: &[usize], opened: Sequence) {
        self.seen.read_from_cursor(self.row.clone(), version, &cols(shown), opened, self.now);
    }

    fn undated(&mut self, shown: &[usize], opened: Sequence) {
        self.seen.saw_undated(&self.row, &cols(shown), opened, self.now);
    }

    fn wrote(&mut self, expected: i64, sets: &[usize]) {
        self.seen.wrote_checked(&self.row, expected, &cols(sets), self.now);
    }

    fn returned(&mut self, version: i64, shown: &[usize]) {
        self.seen.returned(self.row.clone(), version, &cols(shown), self.now);
    }

    fn expected(&mut self, sets: &[usize]) -> Option<i64> {
        self.seen.expected(&self.row, &cols(sets), self.now).version()
    }

    fn cause(&mut self) -> Option<Cause> {
        match self.seen.expected(&self.row, &cols(&[NAME]), self.now) {
            Lookup::Known { .. } => None,
            Lookup::Unknown(cause) => Some(cause),
        }
    }

    fn back(&self, n: i64, sets: &[usize]) -> WrittenBack {
        self.seen.written_back(&self.row, n, &cols(sets), self.now)
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn a_narrow_read_refreshes_only_what_it_shows() {
    let mut b = Bench::new();
    b.read(5, &[NAME, STATUS]);
    b.read(6, &[STATUS]);
    assert_eq!(b.expected(&[NAME]), Some(5));
    assert_eq!(b.expected(&[STATUS]), Some(6));
    assert_eq!(b.expected(&[NAME, STATUS]), Some(5), "the lowest counts");
    assert_eq!(b.expected(&[BUDGET]), Some(6), "never shown: the newest read");
    assert_eq!(b.expected(&[BUDGET, NAME]), Some(5));
    assert_eq!(b.expected(&[]), Some(6));
    b.read(7, &[]);
    assert_eq!(b.expected(&[STATUS]), Some(6), "a result that shows the key alone teaches nothing");
}

#[test]
fn an_own_write_moves_what_was_up_to_date() {
    let mut b = Bench::new();
    b.read(5, &[NAME, STATUS]);
    b.read(6, &[STATUS]);
    b.wrote(6, &[STATUS]);
    assert_eq!(b.expected(&[STATUS]), Some(7));
    assert_eq!(b.expected(&[BUDGET]), Some(7));
    assert_eq!(b.expected(&[NAME]), Some(5), "someone else's change from 5 to 6 was never shown");
}

#[test]
fn a_write_that_brought_its_own_expectation_teaches_what_it_set() {
    let mut b = Bench::new();
    b.read(5, &[NAME, STATUS]);
    b.wrote(6, &[NAME]);
    assert_eq!(b.expected(&[NAME]), Some(7));
    assert_eq!(b.expected(&[STATUS]), Some(5));
    let mut unknown = Bench::new();
    unknown.wrote(6, &[NAME]);
    assert_eq!(unknown.expected(&[NAME]), Some(7));
}

#[test]
fn returning_and_tag_agree_in_either_order() {
    for returned_first in [true, false] {
        let mut b = Bench::new();
        b.read(5, &[NAME, STATUS]);
        if returned_first {
            b.returned(6, &[NAME]);
            b.wrote(5, &[NAME]);
        } else {
            b.wrote(5, &[NAME]);
            b.returned(6, &[NAME]);
        }
        assert_eq!(b.expected(&[NAME, STATUS, BUDGET]), Some(6), "returned first: {returned_first}");
        assert_eq!(b.back(5, &[NAME]), WrittenBack::SavedAgain(6));
    }
}

#[test]
fn hidden_returning_moves_by_one_or_not_at_all() {
    let mut b = Bench::new();
    b.returned(9, &[]);
    assert_eq!(b.cause(), Some(Cause::NeverRead), "a blind write teaches only what it shows");
    b.read(5, &[NAME]);
    b.returned(6, &[]);
    assert_eq!(b.expected(&[NAME]), Some(6));
    b.returned(8, &[]);
    assert_eq!(b.expected(&[NAME]), Some(6), "someone else wrote between");
}

#[test]
fn a_blind_write_teaches_what_its_returning_shows() {
    let mut b = Bench::new();
    b.returned(3, &[NAME]);
    match b.seen.expected(&b.row, &cols(&[NAME]), b.now) {
        Lookup::Known { version: 3, origin: Origin::OwnWrite, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn rollback_puts_back_written_rows_and_keeps_reads() {
    let mut b = Bench::new();
    let other = RowKey::new(1, "8");
    b.read(5, &[NAME]);
    b.seen.commit();
    b.wrote(5, &[NAME]);
    b.read(6, &[NAME, STATUS]);
    b.seen.read(other.clone(), 3, &cols(&[NAME]), b.now);
    b.seen.rollback(b.now);
    assert_eq!(b.expected(&[NAME]), Some(5));
    assert_eq!(b.seen.expected(&other, &cols(&[NAME]), b.now).version(), Some(3));
    b.wrote(5, &[NAME]);
    b.seen.commit();
    b.seen.rollback(b.now);
    assert_eq!(b.expected(&[NAME]), Some(6), "committed");
}

#[test]
fn savepoints_nest_shadow_and_merge() {
    let mut b = Bench::new();
    b.read(5, &[NAME]);
    b.seen.savepoint("a");
    b.wrote(5, &[NAME]);
    b.seen.savepoint("a");
    b.wrote(6, &[NAME]);
    b.seen.rollback_to("a", b.now);
    assert_eq!(b.expected(&[NAME]), Some(6), "the inner one");
    b.wrote(6, &[NAME]);
    b.seen.rollback_to("a", b.now);
    assert_eq!(b.expected(&[NAME]), Some(6), "the savepoint stays");
    b.seen.release("a");
    b.seen.rollback_to("nobody", b.now);
    assert_eq!(b.expected(&[NAME]), Some(6));
    b.seen.rollback_to("a", b.now);
    assert_eq!(b.expected(&[NAME]), Some(5), "the outer one");
    b.wrote(5, &[NAME]);
    b.seen.release("a");
    assert_eq!(b.expected(&[NAME]), Some(6));
    b.seen.rollback(b.now);
    assert_eq!(b.expected(&[NAME]), Some(5), "released writes belong to the transaction");
}

#[test]
fn inserts_and_deletes_are_undone_too() {
    let mut b = Bench::new();
    b.returned(1, &[NAME]);
    b.seen.rollback(b.now);
    assert_eq!(b.cause(), Some(Cause::NeverRead));
    b.read(5, &[NAME]);
    b.seen.deleted(&b.row.clone(), b.now);
    assert!(b.seen.deleted_by_us(&b.row, b.now));
    assert_eq!(b.cause(), Some(Cause::Forgotten));
    b.seen.rollback(b.now);
    assert!(!b.seen.deleted_by_us(&b.row, b.now));
    assert_eq!(b.expected(&[NAME]), Some(5));
}

#[test]
fn an_unchecked_write_forgets_until_the_next_read() {
    let mut b = Bench::new();
    b.read(5, &[NAME]);
    b.seen.wrote_unchecked(&b.row.clone(), b.now);
    assert_eq!(b.cause(), Some(Cause::Forgotten));
    b.read(8, &[NAME]);
    assert_eq!(b.expected(&[NAME]), Some(8));
}

#[test]
fn what_prepare_transaction_wrote_is_forgotten() {
    let mut b = Bench::new();
    let other = RowKey::new(1, "8");
    b.read(5, &[NAME]);
    b.seen.read(other.clone(), 3, &cols(&[NAME]), b.now);
    b.wrote(5, &[NAME]);
    assert_eq!(b.seen.written_in_transaction().collect::<Vec<_>>(), [&b.row]);
    b.seen.forget_written(b.now);
    b.seen.rollback(b.now);
    assert_eq!(b.cause(), Some(Cause::Forgotten));
    assert_eq!(b.seen.expected(&other, &cols(&[NAME]), b.now).version(), Some(3));
}

#[test]
fn a_cursor_opened_before_an_own_write_lowers_nothing() {
    let mut b = Bench::new();
    b.read(5, &[NAME]);
    let opened = b.seen.sequence();
    b.wrote(5, &[NAME]);
    b.cursor(5, &[NAME, STATUS], opened);
    assert_eq!(b.expected(&[NAME, STATUS, BUDGET]), Some(6), "it shows the row but for our own write");
    b.cursor(4, &[NAME, BUDGET], opened);
    assert_eq!(b.expected(&[NAME, STATUS]), Some(6));
    assert_eq!(b.expected(&[BUDGET]), Some(4), "not taught by the write, and someone wrote since");
    let later = b.seen.sequence();
    b.cursor(6, &[BUDGET], later);
    assert_eq!(b.expected(&[BUDGET]), Some(6));
}

#[test]
fn a_cursor_opened_before_an_unchecked_write_teaches_nothing() {
    for how in ["forgotten", "deleted", "cleared", "table", "evicted"] {
        let limits = Limits { max_rows: 2, ..Limits::default() };
        let mut b = Bench::with(limits);
        b.read(5, &[NAME]);
        let opened = b.seen.sequence();
        b.seen.wrote_unchecked(&b.row.clone(), b.now);
        match how {
            "deleted" => b.seen.deleted(&b.row.clone(), b.now),
            "cleared" => b.seen.clear(),
            "table" => b.seen.forget_table(1),
            "evicted" => {
                for key in ["x", "y", "z"] {
                    b.seen.read(RowKey::new(2, key), 1, &cols(&[NAME]), b.now);
                }
            }
            _ => {}
        }
        b.cursor(5, &[NAME], opened);
        assert_eq!(b.expected(&[NAME]), None, "{how}");
        let opened = b.seen.sequence();
        b.cursor(6, &[NAME], opened);
        assert_eq!(b.expected(&[NAME]), Some(6), "{how}, opened after");
    }
}

#[test]
fn what_a_cursor_shows_without_the_version_is_no_longer_known() {
    let mut b = Bench::new();
    b.read(5, &[NAME, STATUS]);
    b.undated(&[NAME], b.seen.sequence());
    assert_eq!((b.expected(&[NAME]), b.cause()), (None, Some(Cause::Cursor)));
    assert_eq!((b.expected(&[STATUS]), b.expected(&[NAME, STATUS])), (Some(5), Some(5)));
    // Of a column never shown, and of a DELETE, the newest read counts, whose version is unknown.
    assert_eq!((b.expected(&[BUDGET]), b.expected(&[])), (None, None));
    b.undated(&[], b.seen.sequence());
    assert_eq!(b.expected(&[STATUS]), Some(5));
    b.read(6, &[NAME]);
    assert_eq!(
        (b.expected(&[NAME]), b.expected(&[BUDGET]), b.expected(&[STATUS])),
        (Some(6), Some(6), Some(5))
    );
    // An own write teaches what it sets, and takes the rest along.
    b.undated(&[NAME, STATUS], b.seen.sequence());
    b.wrote(7, &[NAME]);
    assert_eq!((b.expected(&[NAME]), b.expected(&[STATUS])), (Some(8), None));
    assert_eq!(b.back(9, &[STATUS]), WrittenBack::OwnIncrement(8));
    b.seen.assert_counts();
}

#[test]
fn a_cursor_without_the_version_lowers_nothing_that_an_own_write_taught() {
    for locked in [true, false] {
        let mut b = Bench::new();
        let before = b.seen.sequence();
        b.read(4, &[BUDGET]);
        b.read(5, &[NAME, STATUS]);
        b.wrote(5, &[NAME]);
        let opened = if locked { b.seen.sequence() } else { before };
        if !locked {
            b.seen.commit();
        }
        b.undated(&[NAME, BUDGET], opened);
        let known = (b.expected(&[NAME]), b.expected(&[STATUS]), b.expected(&[BUDGET]));
        assert_eq!(known, (Some(6), Some(6), None), "{locked}");
        assert_eq!(b.expected(&[]), Some(6));
        // Another may have written since.
        b.seen.commit();
        b.undated(&[NAME], b.seen.sequence());
        assert_eq!((b.expected(&[NAME]), b.expected(&[STATUS])), (None, Some(6)), "{locked}");
    }
}

#[test]
fn a_row_seen_without_the_version_alone_has_a_cause_of_its_own() {
    let mut b = Bench::new();
    b.undated(&[NAME], b.seen.sequence());
    assert_eq!((b.cause(), b.seen.rows()), (Some(Cause::Cursor), 0));
    // What the scope did itself is the better reason.
    b.seen.wrote_unchecked(&b.row, b.now);
    b.undated(&[NAME], b.seen.sequence());
    assert_eq!(b.cause(), Some(Cause::Forgotten));
}

#[test]
fn a_row_that_began_anew_is_not_taken_for_the_old_one() {
    let mut b = Bench::new();
    b.read(7, &[NAME, STATUS]);
    b.read(1, &[NAME]);
    assert_eq!(b.expected(&[NAME]), Some(1));
    assert_eq!(b.expected(&[NAME, STATUS]), Some(7), "the status it knows is of the row before");
    assert_eq!(b.expected(&[BUDGET]), Some(1));
}

#[test]
fn understands_a_version_written_back() {
    use WrittenBack::{BasedOn, OwnIncrement, SavedAgain};
    let mut b = Bench::new();
    assert_eq!(b.back(5, &[NAME]), BasedOn(5), "nothing known");
    b.read(5, &[NAME, STATUS]);
    for (n, expected) in [(5, BasedOn(5)), (6, OwnIncrement(5)), (4, BasedOn(4)), (7, BasedOn(7))] {
        assert_eq!(b.back(n, &[NAME]), expected, "{n}");
    }
    b.wrote(5, &[NAME]);
    b.wrote(6, &[NAME]);
    for (n, expected) in
        [(4, BasedOn(4)), (5, SavedAgain(7)), (6, SavedAgain(7)), (7, BasedOn(7)), (8, OwnIncrement(7))]
    {
        assert_eq!(b.back(n, &[NAME]), expected, "{n} after two own writes");
    }
    b.read(8, &[STATUS]);
    assert_eq!(b.back(5, &[NAME]), BasedOn(5), "someone else moved it");
    assert_eq!(b.back(9, &[NAME, STATUS]), OwnIncrement(7), "the name was never shown at 8");
    assert_eq!(b.back(i64::MAX, &[NAME]), BasedOn(i64::MAX));
}

#[test]
fn a_refused_read_stays_and_a_refused_own_write_ends() {
    let mut read = Bench::new();
    read.read(5, &[NAME]);
    read.wrote(5, &[NAME]);
    read.seen.refused(&read.row.clone(), read.now);
    read.pass(600);
    assert_eq!(read.expected(&[NAME]), Some(6), "rests on a read");

    let mut worker = Bench::new();
    worker.returned(6, &[NAME]);
    worker.seen.refused(&worker.row.clone(), worker.now);
    worker.pass(59);
    worker.seen.refused(&worker.row.clone(), worker.now);
    assert_eq!(worker.expected(&[NAME]), Some(6), "held");
    worker.pass(1);
    assert_eq!(worker.cause(), Some(Cause::Expired), "a second refusal does not prolong it");
    worker.returned(9, &[NAME]);
    worker.pass(600);
    assert_eq!(worker.expected(&[NAME]), Some(9));
}

#[test]
fn forgetting_a_table_is_not_undone() {
    let mut b = Bench::new();
    let other = RowKey::new(2, "7");
    b.read(5, &[NAME]);
    b.seen.read(other.clone(), 3, &cols(&[NAME]), b.now);
    b.wrote(5, &[NAME]);
    b.seen.forget_table(1);
    assert_eq!(b.cause(), Some(Cause::Forgotten));
    b.seen.rollback(b.now);
    assert_eq!(b.expected(&[NAME]), None);
    assert_eq!(b.seen.expected(&other, &cols(&[NAME]), b.now).version(), Some(3));
    b.seen.clear();
    assert_eq!(b.seen.expected(&other, &cols(&[NAME]), b.now), Lookup::Unknown(Cause::NeverRead));
}

#[test]
fn a_hidden_returning_moves_what_was_known_just_before_and_leaves_the_rest() {
    let mut b = Bench::new();
    b.read(5, &[NAME]);
    b.read(6, &[STATUS]);
    assert_eq!(b.seen.moved(&b.row.clone(), 7, b.now), Moved::Moved);
    assert_eq!((b.expected(&[NAME]), b.expected(&[STATUS])), (Some(5), Some(7)));
    // Somebody else has written it between.
    assert_eq!(b.seen.moved(&b.row.clone(), 9, b.now), Moved::Left(7));
    assert_eq!((b.expected(&[NAME]), b.expected(&[STATUS])), (Some(5), Some(7)));
    let other = RowKey::new(1, "8");
    assert_eq!(b.seen.moved(&other, 9, b.now), Moved::Unknown);
    assert_eq!(b.seen.expected(&other, &cols(&[NAME]), b.now), Lookup::Unknown(Cause::NeverRead));
}

#[test]
fn a_checked_write_whose_row_a_trigger_has_moved_too() {
    let mut b = Bench::new();
    b.read(4, &[BUDGET]);
    b.read(5, &[NAME, STATUS]);
    b.seen.wrote_to(&b.row.clone(), 5, 8, &cols(&[NAME]), b.now);
    assert_eq!(
        (b.expected(&[NAME]), b.expected(&[STATUS]), b.expected(&[BUDGET])),
        (Some(8), Some(8), Some(4))
    );
    // A trigger that keeps the version as it was.
    b.seen.wrote_to(&b.row.clone(), 8, 8, &cols(&[NAME]), b.now);
    assert_eq!(b.expected(&[NAME]), Some(8));
    b.seen.rollback(b.now);
    assert_eq!(b.expected(&[NAME]), Some(5));
}
