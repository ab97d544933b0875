//! How long the steps of `sql` take for one statement: `cargo bench --bench sql`.
//!
//! Each line is the best of several rounds, in nanoseconds a call.

use std::hint::black_box;
use std::time::Instant;

use staleguard::sql::lexer::{LexOptions, lex};
use staleguard::sql::prefilter::Prefilter;
use staleguard::sql::splice::{Edit, apply};
use staleguard::sql::split::split;

const CALLS: u32 = 20_000;
const ROUNDS: u32 = 15;

const TABLES: [&str; 13] = [
    "portfolios",
    "programs",
    "projects",
    "project_phases",
    "resources",
    "worker_types",
    "workers",
    "resource_assignments",
    "rates",
    "actuals",
    "users",
    "user_roles",
    "scope_assignments",
];

const TEXTS: [(&str, &str); 5] = [
    ("short, nothing in it", "SELECT count(*) FROM invoices WHERE paid"),
    (
        "150 bytes, nothing in it",
        "SELECT i.id, i.number, i.customer_name, i.total, i.due_on FROM invoices i JOIN customers c ON c.id = \
         i.customer_id WHERE i.id = $1 AND i.paid = false LIMIT 2",
    ),
    ("first word", "BEGIN"),
    (
        "150 bytes, UPDATE",
        "UPDATE \"projects\" SET \"name\" = $1, \"budget\" = $2, \"status\" = 'active', \"updated_at\" = now() WHERE \
         \"projects\".\"id\" = $3 AND \"projects\".\"deleted\" = false",
    ),
    (
        "Prisma UPDATE",
        "UPDATE \"public\".\"projects\" SET \"name\" = $1 WHERE (\"public\".\"projects\".\"id\" = $2 AND 1=1) RETURNING \
         \"public\".\"projects\".\"id\"",
    ),
];

fn measure(name: &str, bytes: usize, mut call: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{name:<40} {bytes:>5} bytes {:>8.1} ns", best.as_nanos() as f64 / f64::from(CALLS));
}

fn main() {
    let filter = Prefilter::new(TABLES);
    let opts = LexOptions::default();
    for (name, text) in TEXTS {
        let text = text.as_bytes();
        measure(&format!("prefilter: {name}"), text.len(), || {
            black_box(filter.interest(black_box(text)));
        });
        measure(&format!("lex: {name}"), text.len(), || {
            black_box(lex(black_box(text), &opts).is_ok());
        });
    }
    let (_, text) = TEXTS[3];
    let text = text.as_bytes();
    if let Ok(lexed) = lex(text, &opts) {
        measure("split", text.len(), || {
            black_box(split(black_box(&lexed.tokens), text));
        });
    }
    let edits = [
        Edit::insert(88, ", version = projects.version + 1"),
        Edit::insert(100, "("),
        Edit::insert(text.len(), ") AND projects.version = COALESCE($4::int4, projects.version)"),
    ];
    measure("splice", text.len(), || {
        black_box(apply(black_box(text), &edits).is_ok());
    });
    let long = format!("SELECT '{}'", "x".repeat(100_000));
    measure("prefilter: 100 kB literal", long.len(), || {
        black_box(filter.interest(black_box(long.as_bytes())));
    });
}
