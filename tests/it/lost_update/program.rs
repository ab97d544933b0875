//! What the sessions do: steps that read rows and write them back, generated from a seed.

use crate::differential::rng::Rng;

/// A row: an index into [`ROWS`].
pub type Row = usize;

/// Table, key, and the value of the column by which set writes find it.
pub const ROWS: [(&str, &str, &str); 7] = [
    ("resources", "1", "1"),
    ("resources", "2", "1"),
    ("resources", "3", "2"),
    ("rates", "day", "1"),
    ("rates", "it's", "1"),
    // Deleted and inserted again: each life begins at version 1.
    ("resources", "8", "9"),
    ("rates", "life", "9"),
];

/// Rows that are always there.
pub const HOT: std::ops::Range<Row> = 0..5;

/// Name of a row's table.
pub fn table(row: Row) -> &'static str {
    ROWS[row].0
}

/// A statement with `$1`.. and their values.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// The text.
    pub sql: String,
    /// Its values as text.
    pub values: Vec<String>,
}

impl Text {
    fn value(&mut self, value: &str) -> String {
        self.values.push(value.to_owned());
        format!("${}", self.values.len())
    }

    /// A statement without values.
    pub fn plain(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }
}

/// How a write says what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    // Of one row.
    Point,
    PointReturning,
    RowWise,
    Coalesce,
    OwnIncrement,
    WrittenBack,
    /// The version of the last read, though this session has written since: an object saved again.
    SavedAgain,
    Hint,
    InPredicate,
    Increment,
    Explain,
    // Of one row or several.
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
    /// One statement with a write of each table.
    CteBoth,
    // Of a row with several lives.
    Insert,
    Delete,
}

use Kind::{
    AnyArray, AnyText, Case, Coalesce, Cte, CteBoth, Delete, Explain, FromValues, Hint, In, InPredicate,
    InReturning, Increment, Insert, Merge, Or, OwnIncrement, Point, PointReturning, RowWise, SavedAgain, Set,
    SetIncrement, SetReturning, Upsert, UpsertVersion, WrittenBack,
};

impl Kind {
    /// It replaces the token.
    pub fn sets_token(self) -> bool {
        !matches!(self, Increment | SetIncrement | Delete)
    }

    /// It shows the row as it has left it.
    pub fn returns(self) -> bool {
        matches!(self, PointReturning | InReturning | SetReturning)
    }

    /// What is known of its rows is forgotten with it.
    pub fn forgets(self) -> bool {
        let many =
            matches!(self, FromValues | Set | SetIncrement | Upsert | UpsertVersion | Merge | Cte | CteBoth);
        many || matches!(self, Explain | AnyArray | AnyText)
    }

    /// It names a version.
    pub fn names_version(self) -> bool {
        matches!(self, WrittenBack | SavedAgain | Hint | InPredicate)
    }
}

/// A write of rows.
#[derive(Debug, Clone)]
pub struct Write {
    /// How.
    pub kind: Kind,
    /// Which, sorted; of one table but for [`Kind::CteBoth`].
    pub rows: Vec<Row>,
}

fn key(row: Row) -> &'static str {
    if table(row) == "resources" { "id" } else { "code" }
}

fn cast(row: Row) -> &'static str {
    if table(row) == "resources" { "bigint" } else { "text" }
}

impl Write {
    /// Its statement, with the token it is to leave and the version it names.
    pub fn text(&self, token: &str, version: i64) -> Text {
        let mut text = Text::default();
        let first = self.rows[0];
        let (t, k) = (table(first), key(first));
        let returning = if self.kind.returns() { format!(" returning {k}, token, n") } else { String::new() };
        if self.kind == CteBoth {
            let parts: Vec<String> = (self.rows.iter().enumerate())
                .map(|(i, row)| {
                    let (token, id) = (text.value(token), text.value(ROWS[*row].1));
                    let (t, k) = (table(*row), key(*row));
                    format!("w{i} as (update {t} set token = {token} where {k} = {id} returning {k})")
                })
                .collect();
            let sum: Vec<String> = (0..parts.len()).map(|i| format!("(select count(*) from w{i})")).collect();
            text.sql = format!("with {} select {}", parts.join(", "), sum.join(" + "));
            return text;
        }
        let tok = if self.kind.sets_token() { text.value(token) } else { String::new() };
        let ids: Vec<String> = match self.kind {
            Set | SetReturning | SetIncrement | AnyArray | AnyText => Vec::new(),
            _ => self.rows.iter().map(|row| text.value(ROWS[*row].1)).collect(),
        };
        let one = ids.first().cloned().unwrap_or_default();
        let list = ids.join(", ");
        let version = version.to_string();
        text.sql = match self.kind {
            Point | PointReturning => format!("update {t} set token = {tok} where {k} = {one}{returning}"),
            RowWise => format!("UPDATE {t} AS r SET (token, n) = ROW({tok}, r.n) WHERE r.{k} = {one}"),
            Coalesce => format!("update {t} set token = coalesce({tok}, token) where {k} = {one}"),
            OwnIncrement => format!("update {t} set token = {tok}, version = version + 1 where {k} = {one}"),
            WrittenBack | SavedAgain => {
                let version = text.value(&version);
                format!("update {t} set token = {tok}, version = {version} where {k} = {one}")
            }
            Hint => {
                format!("/* expected_version={version} */ update {t} set token = {tok} where {k} = {one}")
            }
            InPredicate => {
                let version = text.value(&version);
                format!("update {t} set token = {tok} where {k} = {one} and version = {version}")
            }
            Increment => format!("update {t} set n = n + 1 where {k} = {one}"),
            Explain => format!("explain analyze update {t} set token = {tok} where {k} = {one}"),
            In | InReturning => format!("update {t} set token = {tok} where {k} in ({list}){returning}"),
            AnyArray | AnyText => {
                let keys: Vec<String> = self.rows.iter().map(|row| format!("\"{}\"", ROWS[*row].1)).collect();
                let keys = format!("{{{}}}", keys.join(","));
                let any = match self.kind {
                    AnyArray => text.value(&keys),
                    _ => format!("'{}'", keys.replace('\'', "''")),
                };
                format!("update {t} set token = {tok} where {k} = any({any})")
            }
            Or => {
                let either: Vec<String> = ids.iter().map(|id| format!("{k} = {id}")).collect();
                format!("update {t} set token = {tok} where {}", either.join(" or "))
            }
            Case => {
                let cases: Vec<String> = ids.iter().map(|id| format!("when {id} then {tok}")).collect();
                format!(
                    "update {t} set token = (case {t}.{k} {} end)::text where {t}.{k} in ({list})",
                    cases.join(" ")
                )
            }
            FromValues => {
                let rows: Vec<String> =
                    ids.iter().map(|id| format!("({id}::{}, {tok}::text)", cast(first))).collect();
                format!(
                    "update {t} r set token = v.tok from (values {}) v(k, tok) where r.{k} = v.k",
                    rows.join(", ")
                )
            }
            Set | SetReturning => {
                let grp = text.value(ROWS[first].2);
                format!("update {t} set token = {tok} where grp = {grp}{returning}")
            }
            SetIncrement => {
                let grp = text.value(ROWS[first].2);
                format!("update {t} set n = n + 1 where grp = {grp}")
            }
            Upsert | UpsertVersion | Insert => {
                let rows: Vec<String> = (self.rows.iter().zip(&ids))
                    .map(|(row, id)| format!("({id}, {tok}, {})", ROWS[*row].2))
                    .collect();
                let then = match self.kind {
                    Insert => "nothing",
                    Upsert => "update set token = excluded.token",
                    _ => "update set token = excluded.token, version = excluded.version",
                };
                format!(
                    "insert into {t} ({k}, token, grp) values {} on conflict ({k}) do {then}",
                    rows.join(", ")
                )
            }
            Merge => {
                let rows: Vec<String> = ids.iter().map(|id| format!("({id}::{})", cast(first))).collect();
                format!(
                    "merge into {t} r using (values {}) v(k) on r.{k} = v.k when matched then update set token = {tok}",
                    rows.join(", ")
                )
            }
            Cte => format!(
                "with w as (update {t} set token = {tok} where {k} in ({list}) returning {k}) select count(*) from w"
            ),
            // A statement of both tables is made above.
            Delete | CteBoth => format!("delete from {t} where {k} = {one}"),
        };
        text
    }

    /// How many rows its reply says it has written.
    pub fn count(&self, tag: &str, rows: &[Vec<String>]) -> usize {
        match self.kind {
            Explain => self.rows.len(),
            Cte | CteBoth => rows[0][0].parse().unwrap(),
            _ => tag.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0),
        }
    }
}

/// What a read shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// `*`.
    Star,
    /// Key, token, count.
    Columns,
    /// And the version.
    Version,
    /// Behind FOR UPDATE.
    Locked,
    /// The count alone: no token.
    Narrow,
}

/// A read of rows of one table.
#[derive(Debug, Clone)]
pub struct Read {
    /// Which.
    pub rows: Vec<Row>,
    /// What it shows.
    pub shown: Shown,
}

impl Read {
    /// Its statement.
    pub fn text(&self) -> Text {
        let mut text = Text::default();
        let (t, k) = (table(self.rows[0]), key(self.rows[0]));
        let ids: Vec<String> = self.rows.iter().map(|row| text.value(ROWS[*row].1)).collect();
        let condition = match ids.as_slice() {
            [one] => format!("{k} = {one}"),
            several => format!("{k} in ({})", several.join(", ")),
        };
        let (list, behind) = match self.shown {
            Shown::Star => ("*".to_owned(), ""),
            Shown::Columns => (format!("{k}, token, n"), ""),
            Shown::Version => (format!("{k}, token, n, version"), ""),
            Shown::Locked => (format!("{k}, token, n"), " for update"),
            Shown::Narrow => ("n".to_owned(), ""),
        };
        text.sql = format!("select {list} from {t} where {condition}{behind}");
        text
    }
}

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
        _ => 1 + rng.below(3),
    };
    let mut writes: Vec<Write> = Vec::new();
    for _ in 0..count {
        // Often the same rows again: a write must not conflict with one of its own session.
        let again = writes.last().map(|w: &Write| w.rows[0]).filter(|_| rng.chance(40));
        writes.push(write(rng, again));
    }
    let mut rows: Vec<Row> = writes.iter().flat_map(|w| w.rows.iter().copied()).collect();
    rows.sort_unstable();
    rows.dedup();
    let mut reads = Vec::new();
    if rng.chance(80) {
        let shown =
            |rng: &mut Rng| rng.number(&[Shown::Star, Shown::Columns, Shown::Version, Shown::Version]);
        for t in ["resources", "rates"] {
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
    Step {
        reads,
        inside,
        shape,
        writes,
        extended: rng.chance(50),
        named: rng.chance(50),
        strict: rng.chance(50),
        stubborn: rng.chance(15),
    }
}

fn write(rng: &mut Rng, again: Option<Row>) -> Write {
    let one = again.unwrap_or_else(|| if rng.chance(12) { 5 + rng.below(2) } else { rng.below(HOT.end) });
    if !HOT.contains(&one) {
        let kind =
            rng.number(&[Insert, Upsert, Upsert, Delete, Delete, Point, PointReturning, In, Increment]);
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
        CteBoth => vec![rng.below(3), 3 + rng.below(2)],
        _ => HOT.filter(|row| *row == one || table(*row) == table(one) && rng.chance(60)).collect(),
    };
    Write { kind, rows }
}
