//! What the sessions do: steps that read rows and write them back, generated from a seed.

use super::statements::Kind::{
    AnyArray, AnyText, Case, Coalesce, Cte, CteBoth, Current, Delete, Execute, Explain, FromValues, Hint, In,
    InPredicate, InReturning, Increment, Insert, Merge, Or, OwnIncrement, Point, PointReturning, RowWise,
    SavedAgain, Set, SetDelete, SetIncrement, SetReturning, Upsert, UpsertVersion, View, WrittenBack,
};
use super::statements::{HOT, Kind, ROWS, Read, Row, Shown, TABLES, Write, key, table};
use crate::differential::rng::Rng;

/// How the writes of a step travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A message each, in autocommit.
    Each,
    /// All in one Query.
    OneQuery,
    /// `BEGIN; ..; COMMIT` in one Query.
    OneQueryBlock,
    /// `BEGIN; w; COMMIT; w` in one Query.
    OneQueryTwice,
    /// `BEGIN; SAVEPOINT s; w; ROLLBACK TO s; w; COMMIT` in one Query.
    OneQuerySavepoint,
    /// BEGIN, a message each, COMMIT.
    Block,
    /// The same, with a savepoint around the second write, which is undone.
    BlockSavepoint,
    /// A block that is rolled back.
    BlockRollback,
    /// Many Binds, one Sync.
    Cycle,
    /// The same with a Flush behind each.
    CycleFlush,
    /// The same, each reply awaited.
    CycleAwait,
    /// The read too is made in the cycle, and awaited.
    CycleRead,
    /// BEGIN and COMMIT are in the cycle.
    CycleBlock,
    /// Two blocks in one cycle.
    CycleTwice,
    /// BEGIN, then a cycle of all, COMMIT.
    BlockCycle,
    /// Several cycles in one send.
    Pipe,
    /// BEGIN, the writes around a savepoint, COMMIT: a cycle each, in one send.
    PipeBlock,
    /// BEGIN, DECLARE, FETCH, a write of the row that the cursor is at, COMMIT.
    Cursor,
    /// The same, all behind BEGIN in one Query.
    CursorQuery,
}

/// What a driver can do.
const ANY: &[Shape] = &[
    Shape::Each,
    Shape::Each,
    Shape::OneQuery,
    Shape::OneQueryBlock,
    Shape::Block,
    Shape::Block,
    Shape::BlockSavepoint,
    Shape::BlockRollback,
    Shape::Pipe,
    Shape::PipeBlock,
    Shape::Cursor,
    Shape::CursorQuery,
];
const RAW: &[Shape] = &[
    Shape::OneQueryTwice,
    Shape::OneQuerySavepoint,
    Shape::Cycle,
    Shape::Cycle,
    Shape::CycleFlush,
    Shape::CycleAwait,
    Shape::CycleRead,
    Shape::CycleBlock,
    Shape::CycleTwice,
    Shape::BlockCycle,
];

/// One step: read, write.
#[derive(Debug, Clone)]
pub struct Step {
    /// Rows to read, before or in the block.
    pub reads: Vec<Read>,
    /// The reads are made behind BEGIN.
    pub inside: bool,
    /// How the writes travel.
    pub shape: Shape,
    /// The writes in order.
    pub writes: Vec<Write>,
    /// What a cursor shows of the row that it is at.
    pub fetch: Read,
    /// Extended protocol where the shape leaves it open.
    pub extended: bool,
    /// Statements are prepared by name and used again.
    pub named: bool,
    /// BEGIN asks for the session's stricter isolation level.
    pub strict: bool,
    /// After a refusal it is first repeated without a new read.
    pub stubborn: bool,
}

/// The steps of a session. `raw`: its driver can send any shape.
pub fn program(seed: u64, raw: bool, steps: usize) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    (0..steps).map(|_| step(&mut rng, raw)).collect()
}

fn step(rng: &mut Rng, raw: bool) -> Step {
    let shape = if raw && rng.chance(45) { rng.number(RAW) } else { rng.number(ANY) };
    let count = match shape {
        Shape::BlockSavepoint | Shape::PipeBlock => 3,
        Shape::OneQueryTwice | Shape::OneQuerySavepoint | Shape::CycleTwice => 2,
        Shape::Each => 1 + rng.below(2),
        Shape::Cursor | Shape::CursorQuery => 1,
        _ => 1 + rng.below(3),
    };
    let mut writes: Vec<Write> = Vec::new();
    for _ in 0..count {
        // Often the same rows again: a write must not conflict with one of its own session.
        let again = writes.last().map(|w: &Write| w.rows[0]).filter(|_| rng.chance(40));
        writes.push(match shape {
            Shape::Cursor | Shape::CursorQuery => at_cursor(rng),
            _ => write(rng, again),
        });
    }
    let mut rows: Vec<Row> = writes.iter().flat_map(|w| w.rows.iter().copied()).collect();
    rows.sort_unstable();
    rows.dedup();
    let mut reads = Vec::new();
    if rng.chance(80) {
        let shown =
            |rng: &mut Rng| rng.number(&[Shown::Star, Shown::Columns, Shown::Version, Shown::Version]);
        for t in TABLES {
            let rows: Vec<Row> = rows.iter().copied().filter(|row| table(*row) == t).collect();
            if rows.is_empty() {
                continue;
            }
            if rng.chance(50) {
                reads.push(Read { rows, shown: shown(rng) });
            } else {
                reads.extend(rows.into_iter().map(|row| Read { rows: vec![row], shown: shown(rng) }));
            }
        }
    }
    if rng.chance(15) {
        reads.push(Read { rows: vec![rows[rng.below(rows.len())]], shown: Shown::Narrow });
    }
    let inside = rng.chance(50);
    if inside && rng.chance(15) {
        for read in reads.iter_mut().filter(|r| r.shown == Shown::Columns) {
            read.shown = Shown::Locked;
        }
    }
    let fetch = Read { rows: vec![rows[0]], shown: Shown::Fetched };
    Step {
        reads,
        fetch,
        inside,
        shape,
        writes,
        extended: rng.chance(50),
        named: rng.chance(50),
        strict: rng.chance(50),
        stubborn: rng.chance(15),
    }
}

fn at_cursor(rng: &mut Rng) -> Write {
    // PostgreSQL takes no cursor whose scan leaves partitions out.
    let rows: Vec<Row> = HOT.filter(|row| table(*row) != "rates").collect();
    Write { kind: Current, rows: vec![rng.number(&rows)] }
}

fn write(rng: &mut Rng, again: Option<Row>) -> Write {
    let one = again.unwrap_or_else(|| {
        if rng.chance(12) { HOT.end + rng.below(ROWS.len() - HOT.end) } else { rng.below(HOT.end) }
    });
    if !HOT.contains(&one) {
        let kind = rng.number(&[
            Insert,
            Upsert,
            Upsert,
            Delete,
            Delete,
            SetDelete,
            Point,
            PointReturning,
            In,
            Increment,
        ]);
        return Write { kind, rows: vec![one] };
    }
    if rng.chance(55) {
        const ONE: &[Kind] = &[
            Point,
            Point,
            Point,
            PointReturning,
            RowWise,
            Coalesce,
            OwnIncrement,
            WrittenBack,
            SavedAgain,
            Hint,
            InPredicate,
            Increment,
            Increment,
            Explain,
            View,
            Execute,
            Upsert,
            Merge,
            Cte,
        ];
        return Write { kind: rng.number(ONE), rows: vec![one] };
    }
    const MANY: &[Kind] = &[
        In,
        In,
        InReturning,
        AnyArray,
        AnyText,
        Or,
        Case,
        FromValues,
        Set,
        SetReturning,
        SetIncrement,
        Upsert,
        UpsertVersion,
        Merge,
        Cte,
        CteBoth,
    ];
    let kind = rng.number(MANY);
    let rows: Vec<Row> = match kind {
        Set | SetReturning | SetIncrement => {
            HOT.filter(|row| (table(*row), ROWS[*row].2) == (table(one), ROWS[one].2)).collect()
        }
        CteBoth => vec![rng.below(3), 3 + rng.below(4)],
        _ => HOT.filter(|row| *row == one || table(*row) == table(one) && rng.chance(60)).collect(),
    };
    // There are no arrays of keys of several columns.
    let several = key(table(one)).len() > 1;
    let kind = if several && matches!(kind, AnyArray | AnyText) { In } else { kind };
    Write { kind, rows }
}
