//! The rows, and the statements that read and write them.

/// A row: an index into [`ROWS`].
pub type Row = usize;

/// The tables.
pub const TABLES: [&str; 3] = ["resources", "rates", "user_roles"];

/// Table, key (its parts joined by commas), and the value of the column by which set writes find it.
pub const ROWS: [(&str, &str, &str); 10] = [
    ("resources", "1", "1"),
    ("resources", "2", "1"),
    ("resources", "3", "2"),
    ("rates", "day", "1"),
    ("rates", "it's", "1"),
    ("user_roles", "1,admin", "1"),
    ("user_roles", "1,guest", "1"),
    // Deleted and inserted again: each life begins at version 1.
    ("resources", "8", "9"),
    ("rates", "life", "9"),
    ("user_roles", "2,life", "9"),
];

/// Rows that are always there.
pub const HOT: std::ops::Range<Row> = 0..7;

/// Name of a row's table.
pub fn table(row: Row) -> &'static str {
    ROWS[row].0
}

/// Names and types of the columns of a table's key.
pub fn key(table: &str) -> &'static [(&'static str, &'static str)] {
    match table {
        "resources" => &[("id", "bigint")],
        "rates" => &[("code", "text")],
        _ => &[("user_id", "bigint"), ("role", "text")],
    }
}

/// The same, as a list.
pub fn key_list(table: &str) -> String {
    key(table).iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The parts of a row's key.
pub fn parts(row: Row) -> impl Iterator<Item = &'static str> {
    ROWS[row].1.split(',')
}

/// The parts of a row's key as literals.
pub fn literals(row: Row) -> String {
    parts(row).map(|part| format!("'{}'", part.replace('\'', "''"))).collect::<Vec<_>>().join(", ")
}

/// `id = $1`, or `user_id = $1 and role = $2`, behind a prefix.
fn equals(table: &str, prefix: &str, values: &[String]) -> String {
    let pairs = key(table).iter().zip(values);
    pairs.map(|((name, _), value)| format!("{prefix}{name} = {value}")).collect::<Vec<_>>().join(" and ")
}

/// `id in ($1, $2)`, or `(user_id, role) in (($1, $2), ($3, $4))`, behind a prefix.
fn among(table: &str, prefix: &str, ids: &[Vec<String>]) -> String {
    let names: Vec<String> = key(table).iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    let list: Vec<String> = ids.iter().map(|id| row_value(id)).collect();
    format!("{} in ({})", row_value(&names), list.join(", "))
}

fn row_value(parts: &[String]) -> String {
    match parts {
        [one] => one.clone(),
        several => format!("({})", several.join(", ")),
    }
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

    fn key(&mut self, row: Row) -> Vec<String> {
        parts(row).map(|part| self.value(part)).collect()
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
    /// Through a view.
    View,
    /// EXECUTE of what the session has prepared in SQL.
    Execute,
    /// WHERE CURRENT OF the cursor that has shown the row.
    Current,
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
    /// By another column than the key.
    SetDelete,
}

use Kind::{
    AnyArray, AnyText, Case, Coalesce, Cte, CteBoth, Current, Delete, Execute, Explain, FromValues, Hint, In,
    InPredicate, InReturning, Increment, Insert, Merge, Or, OwnIncrement, Point, PointReturning, RowWise,
    SavedAgain, Set, SetDelete, SetIncrement, SetReturning, Upsert, UpsertVersion, View, WrittenBack,
};

impl Kind {
    /// It replaces the token.
    pub fn sets_token(self) -> bool {
        !matches!(self, Increment | SetIncrement | Delete | SetDelete)
    }

    /// It shows the row as it has left it.
    pub fn returns(self) -> bool {
        matches!(self, PointReturning | InReturning | SetReturning)
    }

    /// What is known of its tables' rows is forgotten with it: nothing tells which rows it has changed, and to what.
    pub fn forgets(self) -> bool {
        matches!(self, Merge | Cte | CteBoth | Explain | SetDelete)
    }

    /// What is known of the rows that it names is forgotten with it.
    pub fn forgets_named(self) -> bool {
        self == Execute
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

/// The rows of a VALUES of keys with something behind each, the names of their columns, and what compares them as `v`
/// with the table as `r`.
fn values(table: &str, ids: &[Vec<String>], behind: &str) -> (String, String, String) {
    let cast = |id: &Vec<String>| {
        let parts: Vec<String> =
            id.iter().zip(key(table)).map(|(value, (_, ty))| format!("{value}::{ty}")).collect();
        format!("({}{behind})", parts.join(", "))
    };
    let rows: Vec<String> = ids.iter().map(cast).collect();
    let names: Vec<String> = (0..key(table).len()).map(|i| format!("k{i}")).collect();
    let theirs: Vec<String> = names.iter().map(|name| format!("v.{name}")).collect();
    (rows.join(", "), names.join(", "), equals(table, "r.", &theirs))
}

impl Write {
    /// Its statement, with the token it is to leave and the version it names.
    pub fn text(&self, token: &str, version: i64) -> Text {
        let mut text = Text::default();
        let first = self.rows[0];
        let t = table(first);
        let k = key_list(t);
        let returning = if self.kind.returns() { format!(" returning {k}, token, n") } else { String::new() };
        if self.kind == CteBoth {
            let parts: Vec<String> = (self.rows.iter().enumerate())
                .map(|(i, row)| {
                    let (token, id) = (text.value(token), text.key(*row));
                    let (t, k) = (table(*row), key_list(table(*row)));
                    format!(
                        "w{i} as (update {t} set token = {token} where {} returning {k})",
                        equals(t, "", &id)
                    )
                })
                .collect();
            let sum: Vec<String> = (0..parts.len()).map(|i| format!("(select count(*) from w{i})")).collect();
            text.sql = format!("with {} select {}", parts.join(", "), sum.join(" + "));
            return text;
        }
        let tok =
            if self.kind.sets_token() && self.kind != Execute { text.value(token) } else { String::new() };
        let ids: Vec<Vec<String>> = match self.kind {
            Set | SetReturning | SetIncrement | SetDelete | AnyArray | AnyText | Execute | Current => {
                Vec::new()
            }
            _ => self.rows.iter().map(|row| text.key(*row)).collect(),
        };
        let one = ids.first().map(|id| equals(t, "", id)).unwrap_or_default();
        let version = version.to_string();
        let grp = ROWS[first].2;
        text.sql = match self.kind {
            Point | PointReturning => format!("update {t} set token = {tok} where {one}{returning}"),
            RowWise => {
                let one = equals(t, "r.", &ids[0]);
                format!("UPDATE {t} AS r SET (token, n) = ROW({tok}, r.n) WHERE {one}")
            }
            Coalesce => format!("update {t} set token = coalesce({tok}, token) where {one}"),
            OwnIncrement => format!("update {t} set token = {tok}, version = version + 1 where {one}"),
            WrittenBack | SavedAgain => {
                let version = text.value(&version);
                format!("update {t} set token = {tok}, version = {version} where {one}")
            }
            Hint => format!("/* expected_version={version} */ update {t} set token = {tok} where {one}"),
            InPredicate => {
                let version = text.value(&version);
                format!("update {t} set token = {tok} where {one} and version = {version}")
            }
            Increment => format!("update {t} set n = n + 1 where {one}"),
            View => format!("update live_{t} set token = {tok} where {one}"),
            Execute => format!("execute up_{t}('{token}', {})", literals(first)),
            Current => format!("update {t} set token = {tok} where current of c_{t}"),
            Explain => format!("explain analyze update {t} set token = {tok} where {one}"),
            In | InReturning => {
                format!("update {t} set token = {tok} where {}{returning}", among(t, "", &ids))
            }
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
                let either: Vec<String> = ids.iter().map(|id| format!("({})", equals(t, "", id))).collect();
                format!("update {t} set token = {tok} where {}", either.join(" or "))
            }
            Case => {
                let prefix = format!("{t}.");
                let cases: String = match key(t) {
                    [_] => ids.iter().map(|id| format!(" when {} then {tok}", id[0])).collect(),
                    _ => {
                        ids.iter().map(|id| format!(" when {} then {tok}", equals(t, &prefix, id))).collect()
                    }
                };
                let of = if key(t).len() == 1 { format!(" {t}.{k}") } else { String::new() };
                let rows = among(t, &prefix, &ids);
                format!("update {t} set token = (case{of}{cases} end)::text where {rows}")
            }
            FromValues => {
                let (rows, names, on) = values(t, &ids, &format!(", {tok}::text"));
                format!("update {t} r set token = v.tok from (values {rows}) v({names}, tok) where {on}")
            }
            Set | SetReturning => {
                let grp = text.value(grp);
                format!("update {t} set token = {tok} where grp = {grp}{returning}")
            }
            SetIncrement => {
                let grp = text.value(grp);
                format!("update {t} set n = n + 1 where grp = {grp}")
            }
            Upsert | UpsertVersion | Insert => {
                let rows: Vec<String> = (self.rows.iter().zip(&ids))
                    .map(|(row, id)| format!("({}, {tok}, {})", id.join(", "), ROWS[*row].2))
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
                let (rows, names, on) = values(t, &ids, "");
                format!(
                    "merge into {t} r using (values {rows}) v({names}) on {on} when matched then update set token = {tok}"
                )
            }
            Cte => format!(
                "with w as (update {t} set token = {tok} where {} returning {k}) select count(*) from w",
                among(t, "", &ids)
            ),
            SetDelete => {
                let grp = text.value(grp);
                format!("delete from {t} where grp = {grp}")
            }
            // A statement of both tables is made above.
            Delete | CteBoth => format!("delete from {t} where {one}"),
        };
        text
    }

    /// What opens the cursor that it stands on.
    pub fn declare(&self, locks: bool) -> Text {
        let row = self.rows[0];
        let (t, k) = (table(row), key_list(table(row)));
        let id: Vec<String> = parts(row).map(|part| format!("'{}'", part.replace('\'', "''"))).collect();
        let behind = if locks { " for update" } else { "" };
        let rows = equals(t, "", &id);
        Text::plain(&format!(
            "declare c_{t} cursor for select {k}, token, n, version from {t} where {rows}{behind}"
        ))
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
    /// Key, token, count, version of the row that a cursor is at.
    Fetched,
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
        let t = table(self.rows[0]);
        let k = key_list(t);
        if self.shown == Shown::Fetched {
            return Text::plain(&format!("fetch next from c_{t}"));
        }
        let ids: Vec<Vec<String>> = self.rows.iter().map(|row| text.key(*row)).collect();
        let condition = match ids.as_slice() {
            [one] => equals(t, "", one),
            several => among(t, "", several),
        };
        let (list, behind) = match self.shown {
            Shown::Star => ("*".to_owned(), ""),
            Shown::Columns => (format!("{k}, token, n"), ""),
            Shown::Version | Shown::Fetched => (format!("{k}, token, n, version"), ""),
            Shown::Locked => (format!("{k}, token, n"), " for update"),
            Shown::Narrow => ("n".to_owned(), ""),
        };
        text.sql = format!("select {list} from {t} where {condition}{behind}");
        text
    }
}
