//! INSERT, DELETE, MERGE, UPDATE .. FROM, and writes inside WITH.

use super::statements::Maker;
use super::values::Kind;

impl Maker<'_> {
    /// INSERT, with and without ON CONFLICT.
    pub fn insert(&mut self) -> String {
        let target = self.target().replace("ONLY ", "").replace(" t", " AS t");
        let mut names: Vec<&str> = self.table.key.iter().map(|k| k.0).collect();
        names.extend(self.table.columns.iter().map(|c| c.0));
        let versioned = self.table.protected && self.chance(20);
        let rows = if self.chance(20) { 2 } else { 1 };
        let mut values = Vec::new();
        for _ in 0..rows {
            let mut row: Vec<String> = Vec::new();
            for (_, kind, samples) in self.table.key {
                // Mostly the one that is not there.
                let missing = samples[samples.len() - 1];
                row.push(if self.chance(40) {
                    self.v.spell(*kind, missing)
                } else {
                    self.v.key(*kind, samples)
                });
            }
            for (_, kind) in self.table.columns {
                row.push(if self.chance(10) { "DEFAULT".into() } else { self.v.any(*kind) });
            }
            if versioned {
                row.push("3".into());
            }
            values.push(format!("({})", row.join(", ")));
        }
        if versioned {
            names.push("version");
        }
        let source = match self.v.rng.below(12) {
            0 => "DEFAULT VALUES".into(),
            1 => {
                let keys: Vec<_> = self.table.key.iter().map(|k| k.0).collect();
                let (name, from, other) = (keys.join(", "), self.table.name, self.other().0);
                format!(
                    "({name}, {other}) SELECT {name}, {other} FROM {from} WHERE {name_} IS NOT NULL",
                    name_ = keys[0]
                )
            }
            _ => format!("({}) VALUES {}", names.join(", "), values.join(", ")),
        };
        format!("INSERT INTO {target} {source}{}{}", self.on_conflict(), self.returning())
    }

    fn on_conflict(&mut self) -> String {
        let keys: Vec<_> = self.table.key.iter().map(|k| k.0).collect();
        let (key, name) = (keys.join(", "), self.table.name);
        let (other, kind) = self.other();
        let own = self.reference.clone();
        let what = match self.v.rng.below(10) {
            0 => return " ON CONFLICT DO NOTHING".into(),
            1 => return format!(" ON CONFLICT ({key}) DO NOTHING"),
            2 => format!("{other} = EXCLUDED.{other}"),
            3 => format!("({other}) = ROW (EXCLUDED.{other})"),
            4 if self.table.protected => format!("{other} = EXCLUDED.{other}, version = EXCLUDED.version"),
            5 => format!("{} = EXCLUDED.{}, {other} = {}", keys[0], keys[0], self.v.any(kind)),
            6 if self.table.protected => format!("{other} = EXCLUDED.{other}, version = {own}.version + 1"),
            _ => return String::new(),
        };
        let target = if self.chance(25) { format!("ON CONSTRAINT {name}_pkey") } else { format!("({key})") };
        let further =
            if self.chance(15) { format!(" WHERE {own}.{other} IS NOT NULL") } else { String::new() };
        format!(" ON CONFLICT {target} DO UPDATE SET {what}{further}")
    }

    /// DELETE.
    pub fn delete(&mut self) -> String {
        let target = self.target();
        if self.chance(20) {
            return self.delete_using(&target);
        }
        let condition = match self.v.rng.below(20) {
            0..=10 => format!(" WHERE {}", self.point()),
            11..=18 => format!(" WHERE {}", self.several()),
            _ => String::new(),
        };
        format!("DELETE FROM {target}{condition}{}", self.returning())
    }

    fn delete_using(&mut self, target: &str) -> String {
        let own = self.reference.clone();
        let (key, kind, _) = self.table.key[0];
        let rest = match self.v.rng.below(4) {
            0 => format!("USING (VALUES (1)) v(x) WHERE {}", self.point()),
            1 => format!("USING notes n WHERE n.id = 1 AND {}", self.point()),
            2 => format!("USING notes n WHERE n.id::text = {own}.{key}::text"),
            _ => {
                let keys: Vec<_> = self
                    .some_keys()
                    .iter()
                    .map(|k| format!("({})", cast(kind, &self.v.spell(kind, k))))
                    .collect();
                format!("USING (VALUES {}) v(k) WHERE {own}.{key} = v.k", keys.join(", "))
            }
        };
        let returning = self.returning();
        self.columns = None;
        format!("DELETE FROM {target} {rest}{returning}")
    }

    /// Different values of the first key column: which of two rows a join meets first is nobody's promise.
    fn some_keys(&mut self) -> Vec<&'static str> {
        let (_, _, values) = self.table.key[0];
        let first = self.v.rng.below(values.len());
        let count = 1 + self.v.rng.below(values.len().min(3));
        (0..count).map(|i| values[(first + i) % values.len()]).collect()
    }

    /// `VALUES (key, other), ..` with types.
    fn pairs(&mut self, other: Kind) -> String {
        let (_, kind, _) = self.table.key[0];
        let mut rows = Vec::new();
        for key in self.some_keys() {
            let (k, o) = (self.v.spell(kind, key), self.v.any(other));
            rows.push(format!("({}, {})", cast(kind, &k), cast(other, &o)));
        }
        format!("VALUES {}", rows.join(", "))
    }

    /// UPDATE .. FROM.
    pub fn update_from(&mut self) -> String {
        let target = self.target();
        let key = self.table.key[0].0;
        let (other, kind) = self.other();
        let own = self.reference.clone();
        let further = if self.chance(20) { format!(" AND {own}.{other} IS NOT NULL") } else { String::new() };
        self.columns = None;
        match self.v.rng.below(6) {
            0 => {
                let point = self.point();
                let value = self.v.any(kind);
                let returning = self.pick(&["", " RETURNING n.body", " RETURNING n.*"]);
                format!(
                    "UPDATE {target} SET {other} = {value} FROM notes n WHERE n.id = 1 AND {point}{further}{returning}"
                )
            }
            1 => {
                let keys =
                    self.table.key.iter().map(|k| format!("s.{0} = {own}.{0}", k.0)).collect::<Vec<_>>();
                let name = self.table.name;
                let returning = self
                    .pick(&["", &format!(" RETURNING s.{other}"), &format!(" RETURNING {own}.*")])
                    .to_owned();
                format!(
                    "UPDATE {target} SET {other} = s.{other} FROM {name} s WHERE {}{further}{returning}",
                    keys.join(" AND ")
                )
            }
            _ => {
                let values = self.pairs(kind);
                let returning =
                    self.pick(&["", "", " RETURNING v.o", " RETURNING *", " RETURNING v.k AS version, 1"]);
                format!(
                    "UPDATE {target} SET {other} = v.o FROM ({values}) v(k, o) WHERE {own}.{key} = v.k{further}{returning}"
                )
            }
        }
    }

    /// MERGE of one row or several.
    pub fn merge(&mut self) -> String {
        let target = self.target();
        let key = self.table.key[0].0;
        let (other, other_kind) = self.other();
        let own = self.reference.clone();
        let source = match self.v.rng.below(8) {
            0 => {
                let name = self.table.name;
                let one = match self.table.key.get(1) {
                    Some((second, _, values)) => format!(" WHERE {second} = '{}'", values[0]),
                    None => String::new(),
                };
                format!("(SELECT {key} AS k, {other} AS o FROM {name}{one}) v")
            }
            _ => format!("({}) v(k, o)", self.pairs(other_kind)),
        };
        let one = match self.table.key.get(1) {
            Some((second, _, values)) => format!(" AND {own}.{second} = '{}'", values[0]),
            None => String::new(),
        };
        let mut clauses = String::new();
        if self.chance(25) {
            let first = match self.v.rng.below(3) {
                0 => "DELETE".into(),
                1 => "DO NOTHING".into(),
                _ => format!("UPDATE SET {other} = {own}.{other}"),
            };
            clauses = format!(" WHEN MATCHED AND {own}.{other} = v.o THEN {first}");
        }
        let matched = match self.v.rng.below(9) {
            0 => "DELETE".into(),
            1 => "DO NOTHING".into(),
            2 if self.table.protected => format!("UPDATE SET {other} = v.o, version = 7"),
            3 => format!("UPDATE SET ({other}) = ROW (v.o)"),
            4 if self.table.protected => format!("UPDATE SET {other} = v.o, version = {own}.version + 1"),
            5 => format!("UPDATE SET {}", self.assignment()),
            _ => format!("UPDATE SET {other} = v.o"),
        };
        let further = self.pick(&["", " AND true", " AND v.o IS NOT NULL"]);
        let missing = match self.v.rng.below(4) {
            0 => format!(" WHEN NOT MATCHED THEN INSERT ({key}, {other}) VALUES (v.k, v.o)"),
            1 => " WHEN NOT MATCHED THEN DO NOTHING".into(),
            2 => format!(" WHEN NOT MATCHED AND v.o IS NULL THEN INSERT ({key}) VALUES (v.k)"),
            _ => String::new(),
        };
        format!(
            "MERGE INTO {target} USING {source} ON {own}.{key} = v.k{one}{clauses} \
             WHEN MATCHED{further} THEN {matched}{missing}"
        )
    }

    /// Data-modifying WITH queries, nested ones too; each table is written once.
    pub fn with_writes(&mut self) -> String {
        let inner = match self.v.rng.below(6) {
            0 | 1 => self.point_update(),
            2 => self.update(),
            3 => self.insert(),
            4 => format!("WITH deep AS (SELECT 1) {}", self.update()),
            _ => self.delete(),
        };
        let returns = inner.contains(" RETURNING ");
        let mut more = String::new();
        if self.table.name != "programs" && self.chance(20) {
            more = self.pick(&[
                ", x AS (UPDATE programs SET name = name || 'x' WHERE id = 1 RETURNING id, name)",
                ", x AS (UPDATE programs SET name = 'x' WHERE id IN (1, 77))",
                ", x AS (DELETE FROM programs WHERE id = 2 RETURNING name)",
                ", x AS (INSERT INTO programs (id, name) VALUES (1, 'up') ON CONFLICT (id) DO UPDATE SET name = 'up')",
            ])
            .into();
        }
        let dev = self.table.name != "worker_types";
        let main = match self.v.rng.below(8) {
            0 if returns => "SELECT * FROM w ORDER BY 1".into(),
            1 if returns => "SELECT count(*) FROM w, notes".into(),
            2 => format!("SELECT {} FROM {} ORDER BY 1", self.other().0, self.table.name),
            3 if self.table.name != "notes" => {
                "UPDATE notes SET body = body || 'w' WHERE id = 1 RETURNING body".into()
            }
            4 if dev && returns => {
                "UPDATE worker_types t SET name = 'counted' FROM (SELECT count(*) FROM w) c WHERE t.code = 'ops'".into()
            }
            5 if dev => "DELETE FROM worker_types WHERE code = 'ops' RETURNING *".into(),
            6 if dev => "INSERT INTO worker_types (code, name) VALUES ('dev', 'w') ON CONFLICT (code) DO UPDATE SET name = EXCLUDED.name".into(),
            _ if dev => {
                "UPDATE worker_types SET name = 'w' WHERE code = 'dev' RETURNING name, version".into()
            }
            _ => "SELECT 1".to_owned(),
        };
        self.columns = None;
        format!("WITH w AS ({inner}){more} {main}")
    }
}

/// A value with its type said, as a VALUES list needs it.
fn cast(kind: Kind, value: &str) -> String {
    let name = match kind {
        Kind::Int2 => "int2",
        Kind::Int4 => "int4",
        Kind::Int8 => "int8",
        Kind::Uuid => "uuid",
        Kind::Text | Kind::Varchar => "text",
        Kind::Numeric => "numeric",
        Kind::Timestamp => "timestamp",
        Kind::Bool => "bool",
        Kind::Tags => "text[]",
        Kind::Json => "jsonb",
    };
    format!("({value})::{name}")
}
