//! What is kept has bounds: age, rows and bytes.

use super::*;

#[test]
fn old_rows_expire() {
    let mut b = Bench::new();
    b.read(5, &[NAME, STATUS]);
    b.pass(3600);
    assert_eq!(b.expected(&[NAME]), Some(5));
    b.read(6, &[NAME]);
    b.pass(3601);
    assert_eq!(b.back(7, &[NAME]), WrittenBack::BasedOn(7));
    assert_eq!(b.cause(), Some(Cause::Expired));
    assert_eq!((b.seen.rows(), b.seen.expired()), (0, 1));
    b.read(9, &[NAME]);
    assert_eq!(b.expected(&[STATUS]), Some(9), "what was known before it expired is gone");
}

#[test]
fn the_least_recently_used_row_goes_first() {
    let mut b = Bench::with(Limits { max_rows: 3, ..Limits::default() });
    for key in ["a", "b", "c"] {
        b.seen.read(RowKey::new(1, key), 1, &cols(&[NAME]), b.now);
    }
    b.seen.expected(&RowKey::new(1, "a"), &cols(&[NAME]), b.now);
    b.seen.read(RowKey::new(1, "d"), 1, &cols(&[NAME]), b.now);
    b.row = RowKey::new(1, "b");
    assert_eq!(b.cause(), Some(Cause::Evicted));
    b.row = RowKey::new(1, "a");
    assert_eq!(b.cause(), None);
    assert_eq!((b.seen.rows(), b.seen.evicted()), (3, 1));
}

#[test]
fn bytes_stay_within_bounds() {
    let limits = Limits { max_bytes: 64 << 10, ..Limits::default() };
    let mut b = Bench::with(limits);
    for i in 0..5000_usize {
        b.seen.savepoint("s");
        let row = RowKey::new(1, format!("{i}-{}", "k".repeat(i % 300)));
        b.seen.read(row.clone(), 1, &cols(&[NAME, 40 + i % 400]), b.now);
        b.seen.wrote_checked(&row, 1, &cols(&[STATUS]), b.now);
        assert!(b.seen.bytes() <= limits.max_bytes, "{} bytes at {i}", b.seen.bytes());
        b.seen.assert_counts();
    }
    assert!(b.seen.evicted() > 0);
    b.seen.rollback(b.now);
    b.seen.clear();
    assert_eq!((b.seen.rows(), b.seen.bytes()), (0, 0));
}

#[test]
fn a_transaction_too_large_to_remember_is_forgotten_not_guessed() {
    let mut b = Bench::with(Limits { max_bytes: 64 << 10, ..Limits::default() });
    let before = RowKey::new(1, "before");
    b.seen.wrote_checked(&before, 1, &cols(&[NAME]), b.now);
    b.seen.commit();
    b.seen.savepoint("s");
    for i in 0..500 {
        b.seen.wrote_checked(&RowKey::new(1, format!("{i}")), 1, &cols(&[NAME]), b.now);
        b.seen.expected(&before, &cols(&[NAME]), b.now);
    }
    b.seen.rollback_to("s", b.now);
    for i in 0..500 {
        let row = RowKey::new(1, format!("{i}"));
        assert_eq!(b.seen.expected(&row, &cols(&[NAME]), b.now).version(), None, "{i}");
    }
    assert_eq!(b.seen.expected(&before, &cols(&[NAME]), b.now).version(), Some(2));
    b.seen.rollback(b.now);
    b.seen.wrote_checked(&before, 2, &cols(&[NAME]), b.now);
    b.seen.rollback(b.now);
    assert_eq!(b.seen.expected(&before, &cols(&[NAME]), b.now).version(), Some(2), "the next one is normal");
}

#[test]
fn however_many_unknown_rows_are_written_memory_stays() {
    let mut b = Bench::new();
    b.read(1, &[NAME]);
    let key = |n: usize| RowKey::new(1, n.to_string());
    for n in 1_000..101_000 {
        b.seen.moved(&key(n), 2, b.now);
    }
    assert_eq!(b.seen.moved(&b.row.clone(), 2, b.now), Moved::Moved);
    assert!(b.seen.bytes() < 1 << 20, "{}", b.seen.bytes());
    // What is met now may be own work, of whichever of the rows.
    for n in [1_000, 100_999] {
        b.seen.read(key(n), 2, &cols(&[NAME]), b.now);
        assert_eq!(b.seen.expected(&key(n), &cols(&[NAME]), b.now).version(), Some(2));
    }
    b.seen.rollback(b.now);
    assert_eq!(b.expected(&[NAME]), Some(1));
    for n in [1_000, 100_999] {
        assert_eq!(b.seen.expected(&key(n), &cols(&[NAME]), b.now).version(), None);
    }
    // The next transaction has written none.
    b.seen.read(key(100_999), 1, &cols(&[NAME]), b.now);
    b.seen.rollback(b.now);
    assert_eq!(b.seen.expected(&key(100_999), &cols(&[NAME]), b.now).version(), Some(1));
}
