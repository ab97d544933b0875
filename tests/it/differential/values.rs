//! The tables that statements are made of, and the spellings of their values.

use super::rng::Rng;

/// Type of a column, as far as its values are spelled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// smallint.
    Int2,
    /// integer.
    Int4,
    /// bigint.
    Int8,
    /// uuid.
    Uuid,
    /// text.
    Text,
    /// varchar.
    Varchar,
    /// numeric.
    Numeric,
    /// timestamp.
    Timestamp,
    /// boolean.
    Bool,
    /// text[].
    Tags,
    /// jsonb.
    Json,
}

use Kind::{Bool, Int2, Int4, Int8, Json, Numeric, Tags, Text, Timestamp, Uuid, Varchar};

impl Kind {
    /// OID and type of an array.
    pub fn array(self) -> (u32, &'static str) {
        match self {
            Int2 => (1005, "int2[]"),
            Int4 => (1007, "int4[]"),
            Int8 => (1016, "int8[]"),
            Uuid => (2951, "uuid[]"),
            Text => (1009, "text[]"),
            Varchar => (1015, "varchar[]"),
            Numeric => (1231, "numeric[]"),
            Timestamp => (1115, "timestamp[]"),
            Bool => (1000, "bool[]"),
            Tags => (1009, "text[]"),
            Json => (3807, "jsonb[]"),
        }
    }

    /// OID and name.
    pub fn names(self) -> (u32, &'static [&'static str]) {
        match self {
            Int2 => (21, &["smallint", "int2", "pg_catalog.int2"]),
            Int4 => (23, &["integer", "int", "int4", "pg_catalog.int4"]),
            Int8 => (20, &["bigint", "int8", "INT8"]),
            Uuid => (2950, &["uuid", "UUID"]),
            Text => (25, &["text", "TEXT"]),
            Varchar => (1043, &["varchar", "character varying", "varchar(200)"]),
            Numeric => (1700, &["numeric", "decimal", "numeric(12,2)"]),
            Timestamp => (1114, &["timestamp", "timestamp without time zone"]),
            Bool => (16, &["boolean", "bool"]),
            Tags => (1009, &["text[]", "TEXT ARRAY", "_text"]),
            Json => (3802, &["jsonb", "JSONB"]),
        }
    }

    /// The values that statements set and ask for.
    pub fn samples(self) -> &'static [&'static str] {
        match self {
            Int2 | Int4 | Int8 => &["1", "2", "3", "7", "40"],
            Uuid => &["2531439d-3075-46d6-9c19-63e3342fc43e", "051e3dcf-81ba-49f2-8daa-110ed693f2b6"],
            Text | Varchar => &["x", "it''s", "größe", "", "open", "version", "a\\b", "/* no comment */"],
            Numeric => &["0", "12.5", "99.99", "1e2", "-3"],
            Timestamp => &["2026-11-24 02:25:55", "2026-01-01"],
            Bool => &["true", "false"],
            Tags => &["{a,b}", "{}", "{\"x y\",NULL}"],
            Json => &["{\"a\": 1}", "[]", "null", "{\"version\": [1, 2]}"],
        }
    }
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Key columns with values that are there and one that is not.
    pub key: &'static [(&'static str, Kind, &'static [&'static str])],
    /// Other columns, without the version.
    pub columns: &'static [(&'static str, Kind)],
    /// It has a version column that the proxy keeps.
    pub protected: bool,
    /// It is a view over a protected table.
    pub view: bool,
}

const IDS: &[&str] = &["1", "2", "3", "77"];
const UUIDS: &[&str] = &[
    "2531439d-3075-46d6-9c19-63e3342fc43e",
    "051e3dcf-81ba-49f2-8daa-110ed693f2b6",
    "00000000-0000-0000-0000-000000000001",
];

/// All tables; the first are met most.
pub const TABLES: &[Table] = &[
    Table {
        name: "projects",
        key: &[("id", Int4, IDS)],
        columns: &[
            ("name", Varchar),
            ("budget", Numeric),
            ("status", Text),
            ("portfolio_id", Uuid),
            ("updated_at", Timestamp),
        ],
        protected: true,
        view: false,
    },
    Table {
        name: "portfolios",
        key: &[("id", Uuid, UUIDS)],
        columns: &[("name", Text), ("notes", Text), ("updated_at", Timestamp)],
        protected: true,
        view: false,
    },
    Table {
        name: "user_roles",
        key: &[("user_id", Int4, IDS), ("role_id", Text, &["admin", "reader", "none"])],
        columns: &[("granted_by", Text)],
        protected: true,
        view: false,
    },
    // Views that show key and version of one table, under its own names and others.
    Table {
        name: "live_projects",
        key: &[("id", Int4, IDS)],
        columns: &[("name", Varchar), ("status", Text), ("budget", Numeric)],
        protected: true,
        view: true,
    },
    Table {
        name: "people",
        key: &[("number", Int4, IDS)],
        columns: &[("mail", Text), ("password", Text)],
        protected: true,
        view: true,
    },
    Table {
        name: "small_rates",
        key: &[("code", Text, &["day", "it''s", "back\\slash", "größe"])],
        columns: &[("amount", Int4)],
        protected: true,
        view: true,
    },
    Table {
        name: "rates",
        key: &[("code", Text, &["day", "it''s", "", "größe", "back\\slash"])],
        columns: &[("amount", Int4)],
        protected: true,
        view: false,
    },
    Table {
        name: "users",
        key: &[("id", Int4, IDS)],
        columns: &[("email", Text), ("password_hash", Text)],
        protected: true,
        view: false,
    },
    Table {
        name: "resources",
        key: &[("id", Int8, &["1", "9007199254740993", "77"])],
        columns: &[("name", Text)],
        protected: true,
        view: false,
    },
    Table {
        name: "programs",
        key: &[("id", Int2, &["1", "2", "77"])],
        columns: &[("name", Text)],
        protected: true,
        view: false,
    },
    Table {
        name: "worker_types",
        key: &[("code", Varchar, &["dev", "ops", "none"])],
        columns: &[("name", Text)],
        protected: true,
        view: false,
    },
    Table {
        name: "project_phases",
        key: &[("id", Int4, IDS)],
        columns: &[("name", Text), ("frozen", Bool)],
        protected: true,
        view: false,
    },
    Table {
        name: "resource_assignments",
        key: &[("id", Int4, IDS)],
        columns: &[("owner", Text), ("share", Int4)],
        protected: true,
        view: false,
    },
    // Partitions, through their root and by their own name.
    Table {
        name: "workers",
        key: &[("region", Text, &["eu", "us", "uk", "mars"]), ("id", Int4, IDS)],
        columns: &[("name", Text), ("grade", Numeric)],
        protected: true,
        view: false,
    },
    Table {
        name: "workers_us",
        key: &[("region", Text, &["us", "eu"]), ("id", Int4, IDS)],
        columns: &[("grade", Numeric), ("name", Text)],
        protected: true,
        view: false,
    },
    Table {
        name: "scope_assignments",
        key: &[("id", Int4, IDS)],
        columns: &[("tags", Tags), ("data", Json)],
        protected: true,
        view: false,
    },
    Table {
        name: "notes",
        key: &[("id", Int4, IDS)],
        columns: &[("body", Text)],
        protected: false,
        view: false,
    },
    Table {
        name: "actuals",
        key: &[("id", Int4, IDS)],
        columns: &[("note", Text)],
        protected: false,
        view: false,
    },
];

/// A value of the extended protocol.
#[derive(Debug, Clone)]
pub struct Param {
    /// Type declared at Parse, or 0.
    pub oid: u32,
    /// In text.
    pub text: Option<String>,
    /// In binary, where we know how.
    pub binary: Option<Vec<u8>>,
    /// What PREPARE calls the type.
    pub type_name: Option<&'static str>,
}

impl Param {
    /// A value (`'` doubled) of a kind.
    pub fn of(kind: Kind, value: &str) -> Self {
        let value = value.replace("''", "'");
        let n = value.parse::<i64>().unwrap_or(0);
        let binary = match kind {
            Int2 => Some((n as i16).to_be_bytes().to_vec()),
            Int4 => Some((n as i32).to_be_bytes().to_vec()),
            Int8 => Some(n.to_be_bytes().to_vec()),
            Text | Varchar => Some(value.clone().into_bytes()),
            Bool => Some(vec![u8::from(value == "true")]),
            Uuid => {
                let hex = value.replace('-', "");
                (0..16).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect()
            }
            Numeric | Timestamp | Tags | Json => None,
        };
        Self { oid: 0, text: Some(value), binary, type_name: Some(kind.names().1[0]) }
    }

    /// An array of such values; `null` puts a NULL behind them.
    pub fn array(kind: Kind, values: &[&str], null: bool) -> Self {
        let elements: Vec<_> = values.iter().map(|v| Self::of(kind, v)).collect();
        let quoted = |p: &Self| {
            let text = p.text.clone().unwrap_or_default();
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        };
        let mut text: Vec<_> = elements.iter().map(quoted).collect();
        text.extend(null.then(|| "NULL".to_owned()));
        let count = elements.len() as i32 + i32::from(null);
        let header = [1, i32::from(null), kind.names().0 as i32, count, 1];
        let mut binary: Vec<u8> = header.iter().flat_map(|n| n.to_be_bytes()).collect();
        for element in &elements {
            let bytes = element.binary.clone().unwrap_or_default();
            binary.extend((bytes.len() as i32).to_be_bytes());
            binary.extend(bytes);
        }
        if null {
            binary.extend((-1i32).to_be_bytes());
        }
        let known = elements.iter().all(|e| e.binary.is_some()) && count > 0;
        let text = format!("{{{}}}", text.join(","));
        Self { oid: 0, text: Some(text), binary: known.then_some(binary), type_name: Some(kind.array().1) }
    }
}

/// Puts values into a text: as literals, or as parameters where those are allowed.
#[derive(Debug)]
pub struct Values<'r> {
    /// The source of choices.
    pub rng: &'r mut Rng,
    /// The parameters so far; `None` where the text must do without.
    pub params: Option<Vec<Param>>,
}

impl Values<'_> {
    /// One of a kind's usual values.
    pub fn any(&mut self, kind: Kind) -> String {
        let value = self.rng.number(kind.samples());
        self.spell(kind, value)
    }

    /// A key value.
    pub fn key(&mut self, kind: Kind, values: &[&str]) -> String {
        // The values that are there come first.
        let i = self.rng.below(values.len() * 2).min(self.rng.below(values.len()));
        self.spell(kind, values[i])
    }

    /// A value (`'` doubled already) in one of its spellings.
    pub fn spell(&mut self, kind: Kind, value: &str) -> String {
        if self.params.is_some() && self.rng.chance(70) {
            self.param(kind, value)
        } else {
            self.literal(kind, value)
        }
    }

    fn param(&mut self, kind: Kind, value: &str) -> String {
        let (oid, names) = kind.names();
        let declared = self.rng.chance(40);
        let mut param = Param::of(kind, value);
        if declared {
            param.oid = oid;
        }
        if self.rng.chance(2) {
            param.text = None;
        }
        let cast = self.rng.chance(20);
        let params = self.params.as_mut().expect("parameters are allowed");
        params.push(param);
        let n = params.len();
        if cast { format!("${n}::{}", self.rng.pick(names)) } else { format!("${n}") }
    }

    fn literal(&mut self, kind: Kind, value: &str) -> String {
        let (_, names) = kind.names();
        let name = self.rng.pick(names);
        let backslash = value.contains('\\');
        match kind {
            Int2 | Int4 | Int8 | Numeric => match self.rng.below(12) {
                0..=5 => value.to_owned(),
                6 => format!("'{value}'"),
                7 => format!("'{value}'::{name}"),
                8 => format!("CAST({value} AS {name})"),
                9 => format!("({value})::{name}"),
                10 if !name.contains('.') => format!("{name} '{value}'"),
                _ => format!("( ( {value} ) )"),
            },
            Bool => match self.rng.below(3) {
                0 => value.to_owned(),
                1 => format!("'{}'", &value[..1]),
                _ => format!("bool '{value}'"),
            },
            Uuid => match self.rng.below(6) {
                0 => format!("'{}'", value.to_uppercase()),
                1 => format!("'{value}'::uuid"),
                2 => format!("'{{{}}}'::{name}", value.replace('-', "")),
                3 => format!("uuid '{value}'"),
                _ => format!("'{value}'"),
            },
            Text | Varchar | Timestamp | Tags | Json => match self.rng.below(9) {
                0 if !backslash => format!("E'{value}'"),
                1 => format!("$q${}$q$", value.replace("''", "'")),
                2 => format!("'{value}'::{name}"),
                3 if !backslash => format!("U&'{value}'"),
                4 => format!("CAST('{value}' AS {name})"),
                5 => format!("('{value}')"),
                _ => format!("'{value}'"),
            },
        }
    }
}
