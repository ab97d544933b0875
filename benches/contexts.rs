//! What contexts cost: memory held and time per read and decision, for a number of contexts and rows.
//!
//! ```text
//! cargo bench --bench contexts -- 10000 1000 256 [COLUMNS]
//! ```
//! 10,000 contexts that have seen 1,000 rows each, in at most 256 MiB; the memory is the process's own (VmRSS).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use staleguard::observe::context::{ContextLimits, ContextScope, Contexts, Unit};
use staleguard::observe::{Limits, RowKey};
use staleguard::sql::columns::ColumnSet;

fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let number = |i: usize, default: usize| numbers.get(i).copied().unwrap_or(default);
    let (contexts, rows, mib, columns) = (number(0, 10_000), number(1, 1_000), number(2, 256), number(3, 8));
    let limits = ContextLimits { max_total_bytes: mib << 20, ..ContextLimits::default() };
    let shared = Arc::new(Contexts::new(limits));
    let shown: ColumnSet = (1..=columns).collect();
    let sets: ColumnSet = [2].into_iter().collect();
    let before = rss_mib();
    let mut scope = ContextScope::new(shared.clone(), "db".into(), Limits::default(), Unit(0));
    scope.on_server(shared.found(&(None, Some("1".into()))).unwrap().server);
    let now = Instant::now();
    for context in 0..contexts {
        scope.set_label(Some(&format!("user-{context}")));
        scope.begin_unit(Unit(context as u128));
        for row in 0..rows {
            scope.read(RowKey::new(16384, format!("{row:036}")), 1, &shown, false, now);
        }
        scope.rollback();
    }
    let reads = now.elapsed();
    let held = (shared.len(), shared.rows(), shared.bytes() >> 20);
    let now = Instant::now();
    let mut known = 0;
    for context in (0..contexts).rev().take(held.0) {
        scope.set_label(Some(&format!("user-{context}")));
        scope.begin_unit(Unit(u128::MAX));
        for row in 0..rows {
            let row = RowKey::new(16384, format!("{row:036}"));
            known += usize::from(scope.expected(&row, &sets, now).version().is_some());
        }
    }
    let decisions = now.elapsed();
    let per = |time: std::time::Duration, n: usize| time.as_nanos() / n.max(1) as u128;
    println!(
        "asked for {contexts} contexts of {rows} rows in {mib} MiB, {columns} columns shown of each row"
    );
    println!("held      {} contexts, {} rows, counted as {} MiB", held.0, held.1, held.2);
    println!("process   {:.0} MiB more than before", rss_mib() - before);
    println!("read      {} ns each", per(reads, contexts * rows));
    println!("decision  {} ns each, {known} of them known", per(decisions, held.0 * rows));
}
