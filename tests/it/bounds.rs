//! Room and time: what is remembered of a result of a million rows stays within the bounds, and expires.

use std::time::{Duration, Instant};

use crate::common::LIMIT;
use crate::common::frames::query;
use crate::common::raw::{Raw, sqlstate};
use crate::common::twin::{Stage, stage_with};

const ROWS: u64 = 1_000_000;
/// The default of `observations.max_rows` and `context.max_rows_per_context`.
const BOUND: f64 = 10_000.0;

fn metric(stage: &Stage, name: &str) -> f64 {
    stage.proxy.metric(name, &[])
}

/// Reads all rows and keeps none. The proxy's highest memory as the result ends, in MB.
fn read_all(stage: &Stage, session: &mut Raw, comment: &str) -> u64 {
    session.send(&query(&format!("select id, name from projects order by id {comment}")));
    let mut rows = 0;
    loop {
        match session.frame().tag {
            b'D' => rows += 1,
            b'Z' => break,
            b'E' => panic!("an error"),
            _ => {}
        }
    }
    assert_eq!(rows, ROWS);
    stage.proxy.peak_memory_mb()
}

fn write(session: &mut Raw, id: u64, comment: &str) -> String {
    sqlstate(&session.query(&format!("update projects set name = 'mine' where id = {id} {comment}")))
}

/// Waits for what happens in its time.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_million_rows_stream_on_within_the_bounds() {
    for (scope, comment, remembered, evicted) in [
        ("connection", "", "staleguard_observations_held", "staleguard_observations_evicted_total"),
        ("context", "/*user='ada'*/", "staleguard_context_rows", "staleguard_context_rows_evicted_total"),
    ] {
        let stage = stage_with(&["--scope", scope, "--context-label", "comment:user"]);
        let mut behind = stage.behind();
        behind.ok("delete from projects");
        behind
            .ok(&format!("insert into projects (id, name) select i, 'p' from generate_series(1, {ROWS}) i"));
        let mut mine = stage.session();
        mine.ok(&format!("select id, name from projects where id = 1 {comment}"));
        let before = stage.proxy.peak_memory_mb();
        let grown = read_all(&stage, &mut mine, comment) - before;
        // The bound of a context's memory is 4 MB; a million rows remembered would be hundreds.
        assert!(grown < 24, "{scope}: {grown} MB");
        // What contexts hold is counted every few moments.
        until(scope, || metric(&stage, evicted) >= ROWS as f64 - BOUND);
        let held = metric(&stage, remembered);
        assert!(0.0 < held && held <= BOUND, "{scope}: {held}");
        // The last rows are known, the others are not, and their writes are counted; of those that went last why, too.
        for (id, code, cause) in [
            (ROWS, "40001", None),
            (ROWS - held as u64 - 50, "", Some("evicted")),
            (1, "", Some("never_read")),
        ] {
            behind.ok(&format!("update projects set name = 'theirs', version = version + 1 where id = {id}"));
            let blind = |cause| stage.proxy.metric("staleguard_blind_writes_total", &[("cause", cause)]);
            let before = cause.map(blind);
            assert_eq!(write(&mut mine, id, comment), code, "{scope} {id}");
            assert_eq!(cause.map(blind), before.map(|before| before + 1.0), "{scope} {id}");
        }
    }
}

#[test]
fn what_was_seen_expires() {
    let blind =
        |stage: &Stage, cause| stage.proxy.metric("staleguard_blind_writes_total", &[("cause", cause)]);
    // A connection's row, long after it was read, whatever was refused since.
    let stage = stage_with(&["--observations-ttl", "1s"]);
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    until("it stays known", || write(&mut mine, 1, "").is_empty());
    assert_eq!(blind(&stage, "expired"), 1.0);
    assert_eq!(metric(&stage, "staleguard_observations_expired_total"), 1.0);
    // A context that nobody uses goes, with its rows.
    let stage = stage_with(&["--scope", "context", "--context-label", "comment:user", "--context-ttl", "1s"]);
    let (mut mine, ada) = (stage.session(), "/*user='ada'*/");
    mine.ok(&format!("select * from projects where id in (1, 2) {ada}"));
    until("it does not go", || metric(&stage, "staleguard_context_rows_expired_total") >= 2.0);
    assert_eq!(metric(&stage, "staleguard_contexts"), 0.0);
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let before = blind(&stage, "never_read");
    assert_eq!(write(&mut mine, 1, ada), "");
    assert_eq!(blind(&stage, "never_read"), before + 1.0);
}
