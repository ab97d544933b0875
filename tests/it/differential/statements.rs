//! Statements of every kind that the proxy looks at.

use super::rng::Rng;
use super::selects;
use super::style::{mutated, styled};
use super::values::{Kind, Param, TABLES, Table, Values};

/// A statement.
#[derive(Debug, Clone)]
pub struct Sql {
    /// Its text.
    pub text: String,
    /// Its parameters.
    pub params: Vec<Param>,
    /// How many columns its result has, where that is known.
    pub columns: Option<usize>,
}

/// Makes one statement over one table.
#[derive(Debug)]
pub struct Maker<'r> {
    /// Values and choices.
    pub v: Values<'r>,
    /// The table.
    pub table: &'static Table,
    /// How columns are qualified.
    pub reference: String,
    /// Columns of the result.
    pub columns: Option<usize>,
    /// It sets the version to something of its own: with `version = N` in its condition that would stand.
    pub sets_version: bool,
}

/// A statement of any kind; `params` where it may have parameters.
pub fn any(rng: &mut Rng, params: bool) -> Sql {
    let kind = rng.below(100);
    let broken = rng.chance(6);
    let plain = rng.chance(50);
    let mut sql = with(rng, params, |m| match kind {
        0..=37 => selects::select(m),
        38..=62 => m.update(),
        63..=71 => m.insert(),
        72..=77 => m.delete(),
        78..=83 => m.merge(),
        84..=92 => m.with_writes(),
        _ => m.point_update(),
    });
    if broken {
        let text = mutated(rng, &sql.text);
        // A value assigned to the version is not what is stored (see ACCEPTED).
        if !["version =", "version\" ="].iter().any(|set| text.contains(set)) {
            (sql.text, sql.columns) = (text, None);
        }
    }
    if !plain {
        sql.text = styled(rng, &sql.text);
    }
    sql
}

/// A statement made by a function.
pub fn with(rng: &mut Rng, params: bool, make: impl FnOnce(&mut Maker<'_>) -> String) -> Sql {
    let table = &TABLES[rng.below(TABLES.len()).min(rng.below(TABLES.len()))];
    of(rng, table, params, make)
}

/// A statement over a given table.
pub fn of(
    rng: &mut Rng,
    table: &'static Table,
    params: bool,
    make: impl FnOnce(&mut Maker<'_>) -> String,
) -> Sql {
    let v = Values { rng, params: params.then(Vec::new) };
    let mut maker = Maker { v, table, reference: table.name.into(), columns: Some(0), sets_version: false };
    let text = make(&mut maker);
    Sql { text, params: maker.v.params.unwrap_or_default(), columns: maker.columns }
}

impl Maker<'_> {
    /// Shorthand.
    pub fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.v.rng.pick(of)
    }

    /// Shorthand.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.v.rng.chance(percent)
    }

    /// The table as a target or FROM item; sets how its columns are qualified.
    pub fn target(&mut self) -> String {
        let name = self.table.name;
        self.reference = name.into();
        match self.v.rng.below(10) {
            0 => format!("public.{name}"),
            1 => format!("\"{name}\""),
            2 => format!("ONLY {name}"),
            3 => self.aliased("t", &format!("{name} t")),
            4 => self.aliased("p", &format!("public.{name} AS p")),
            5 => self.aliased("\"T\"", &format!("{name} AS \"T\"")),
            6 => format!("\"public\".\"{name}\""),
            _ => name.to_owned(),
        }
    }

    fn aliased(&mut self, alias: &str, text: &str) -> String {
        self.reference = alias.into();
        text.to_owned()
    }

    /// A column, perhaps quoted or qualified.
    pub fn column(&mut self, name: &str) -> String {
        match self.v.rng.below(6) {
            0 => format!("\"{name}\""),
            1 | 2 => format!("{}.{name}", self.reference),
            3 => format!("{}.\"{name}\"", self.reference),
            _ => name.to_owned(),
        }
    }

    /// Any column beside the key.
    pub fn other(&mut self) -> (&'static str, Kind) {
        let columns = self.table.columns;
        columns[self.v.rng.below(columns.len()).min(self.v.rng.below(columns.len()))]
    }

    fn key_equals(&mut self) -> String {
        let mut parts = Vec::new();
        for (name, kind, values) in self.table.key {
            let (column, value) = (self.column(name), self.v.key(*kind, values));
            parts.push(match self.v.rng.below(8) {
                0 => format!("{value} = {column}"),
                1 => format!("({column} = {value})"),
                2 => format!("{column} IN ({value})"),
                3 => format!("{column}={value}"),
                _ => format!("{column} = {value}"),
            });
        }
        if self.chance(30) {
            parts.reverse();
        }
        parts.join(" AND ")
    }

    /// A condition that names no row by its key.
    pub fn further(&mut self) -> String {
        let (name, kind) = self.other();
        let column = self.column(name);
        match self.v.rng.below(14) {
            0 => format!("{column} IS NOT NULL"),
            1 => "true".into(),
            2 => "1 = 1".into(),
            3 => format!("{column} IS DISTINCT FROM {}", self.v.any(kind)),
            4 => "EXISTS (SELECT 1 FROM notes)".into(),
            5 => format!("length({column}::text) < 50"),
            6 => "1 / (SELECT 0) = 1".into(),
            7 => format!("({column} = {} OR {column} IS NULL)", self.v.any(kind)),
            8 => format!("NOT {column} = {}", self.v.any(kind)),
            9 if self.table.protected && !self.sets_version => {
                format!("version = {}", self.v.spell(Kind::Int4, "1"))
            }
            10 if self.table.protected => format!("{}.version < 3", self.reference),
            _ => format!("{column} = {}", self.v.any(kind)),
        }
    }

    /// A condition that names one row by its key.
    pub fn point(&mut self) -> String {
        let key = self.key_equals();
        match self.v.rng.below(8) {
            0 | 1 => format!("{key} AND {}", self.further()),
            2 => format!("{} AND {key}", self.further()),
            3 => format!("({key})"),
            _ => key,
        }
    }

    /// A condition that may name several rows, or none.
    pub fn several(&mut self) -> String {
        let (name, kind, values) = self.table.key[0];
        let column = self.column(name);
        match self.v.rng.below(12) {
            0 => format!("{column} IN ({}, {})", self.v.key(kind, values), self.v.key(kind, values)),
            1 => format!("{} AND {}", self.list(), self.further()),
            7..=9 => self.list(),
            2 => format!("{column} = {} OR {}", self.v.key(kind, values), self.further()),
            3 => format!("{column} >= {}", self.v.key(kind, values)),
            4 => format!("{column} <> {}", self.v.key(kind, values)),
            5 => format!(
                "{column} IN (SELECT {name} FROM {} WHERE {})",
                self.table.name,
                self.further_of_table()
            ),
            6 => format!("{column} BETWEEN {} AND {}", self.v.key(kind, values), self.v.key(kind, values)),
            _ => self.further(),
        }
    }

    fn further_of_table(&mut self) -> String {
        let reference = std::mem::replace(&mut self.reference, self.table.name.into());
        let text = self.further();
        self.reference = reference;
        text
    }

    /// ` WHERE ..`, or nothing.
    pub fn condition(&mut self) -> String {
        match self.v.rng.below(10) {
            0..=5 => format!(" WHERE {}", self.point()),
            6..=8 => format!(" WHERE {}", self.several()),
            _ => String::new(),
        }
    }

    /// ` RETURNING ..`, or nothing.
    pub fn returning(&mut self) -> String {
        if self.chance(45) {
            return String::new();
        }
        let key = self.table.key[0].0;
        let (other, _) = self.other();
        let (n, list) = match self.v.rng.below(12) {
            0 => (None, "*".into()),
            1 => (None, format!("{}.*", self.reference)),
            2 => (Some(1), self.column(key)),
            3 if self.table.protected => (Some(1), self.column("version")),
            4 => (Some(2), format!("{key}, upper({other}::text)")),
            5 => (Some(1), format!("{other} AS version")),
            6 => (Some(1), "1".into()),
            7 => (Some(2), format!("{} AS \"Größe\", (SELECT count(*) FROM notes)", self.column(other))),
            8 => (None, format!("{key}, *")),
            9 if self.table.protected => (Some(2), format!("version, {other}")),
            _ => (Some(2), format!("{}, {}", self.column(other), self.column(key))),
        };
        self.columns = n;
        format!(" RETURNING {list}")
    }

    /// One assignment, of the kinds that the table's columns allow.
    pub fn assignment(&mut self) -> String {
        let (name, kind) = self.other();
        let value = self.v.any(kind);
        let quoted = if self.chance(20) { format!("\"{name}\"") } else { name.to_owned() };
        let own = format!("{}.{name}", self.reference);
        match (self.v.rng.below(16), kind) {
            (0..=4, Kind::Numeric | Kind::Int4) => {
                let op = self.pick(&["+", "-", "*"]);
                format!("{quoted} = {name} {op} {}", self.v.rng.number(&["1", "2", "0.5", "(1 + 1)"]))
            }
            (0, Kind::Bool) => format!("{quoted} = NOT {name}"),
            (0, Kind::Timestamp) => format!("{quoted} = {own} + interval '1 day'"),
            (2..=6, Kind::Tags) => format!("{quoted}[{}] = 'x'", self.v.rng.number(&["1", "2", "5", "1:2"])),
            (8 | 9, Kind::Tags) => format!("{quoted} = array_append({name}, 'x')"),
            (2..=6, Kind::Json) => format!("{quoted}['a'] = '1'"),
            (8, Kind::Json) => format!("{quoted} = {own} || '[1]'"),
            (9, Kind::Json) => format!("{quoted} = jsonb_set({own}, '{{a}}', '2')"),
            (0, _) => format!("{quoted} = DEFAULT"),
            (1, _) => format!("{quoted} = NULL"),
            (2, Kind::Text | Kind::Varchar) => format!("{quoted} = {own} || 'y'"),
            (3, _) => format!("{quoted} = COALESCE({value}, {own})"),
            (4, _) => format!("{quoted} = CASE WHEN {own} IS NULL THEN {value} ELSE {own} END"),
            (5, _) => format!("({name}) = ROW ({value})"),
            (6, Kind::Text | Kind::Varchar) => format!("{quoted} = (SELECT max(body) FROM notes)"),
            (7, _) => format!("({quoted}) = (SELECT {value})"),
            _ => format!("{quoted} = {value}"),
        }
    }

    fn set_list(&mut self, point: bool) -> String {
        let mut list = Vec::new();
        if self.table.columns.len() > 1 && self.chance(10) {
            let ((a, ka), (b, kb)) = (self.table.columns[0], self.table.columns[1]);
            list.push(format!("({a}, {b}) = ({}, {})", self.v.any(ka), self.v.any(kb)));
        } else {
            list.push(self.assignment());
            if self.chance(15) {
                let second = self.assignment();
                list.push(second);
            }
        }
        if self.chance(3) {
            let (name, kind, values) = self.table.key[0];
            list.push(format!("{name} = {}", self.v.key(kind, values)));
        }
        if self.table.protected && self.chance(20) {
            let own = self.reference.clone();
            // A constant in a point write means "based on": those are made where the version is known.
            let constant = if point { "version = version + 1" } else { "version = 5" };
            list.push(match self.v.rng.below(7) {
                0 => format!("version = {own}.version + 1"),
                1 => "version = DEFAULT".into(),
                2 => "version = version + 2".into(),
                3 => "\"version\" = 1 + version".into(),
                4 => constant.into(),
                _ => "version = version + 1".into(),
            });
            self.sets_version = true;
            if self.chance(30) {
                list.reverse();
            }
        }
        list.join(", ")
    }

    /// UPDATE of one row.
    pub fn point_update(&mut self) -> String {
        let target = self.target();
        format!("UPDATE {target} SET {} WHERE {}{}", self.set_list(true), self.point(), self.returning())
    }

    /// UPDATE of any kind.
    pub fn update(&mut self) -> String {
        match self.v.rng.below(22) {
            0..=11 => self.point_update(),
            12..=17 => {
                let target = self.target();
                let set = self.set_list(false);
                // A list of one key names one row: then a constant would be what the write is based on.
                let condition = match set.contains("version = 5") {
                    true => format!(" WHERE {}", self.further()),
                    false => self.condition_of_several(),
                };
                format!("UPDATE {target} SET {set}{condition}{}", self.returning())
            }
            _ => self.update_from(),
        }
    }

    fn condition_of_several(&mut self) -> String {
        if self.chance(90) { format!(" WHERE {}", self.several()) } else { String::new() }
    }
}
