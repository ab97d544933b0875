//! The statements, as they were recorded from real clients.

/// A parameter, with the value that a client means.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// An integer key, version or portfolio.
    Int(i32),
    /// A number of rows.
    Count(i64),
    /// A whole number for a `numeric` column, below 10,000.
    Numeric(i16),
    /// Text.
    Text(&'static str),
    /// A `uuid`.
    Uuid(&'static str),
    /// A `timestamp`: its text, and its microseconds since 2000.
    Time(&'static str, i64),
}

use Value::{Count, Int, Numeric, Text, Time, Uuid};

impl Value {
    /// In text format.
    pub fn text(self) -> String {
        match self {
            Int(n) => n.to_string(),
            Count(n) => n.to_string(),
            Numeric(n) => n.to_string(),
            Text(text) | Uuid(text) | Time(text, _) => text.to_owned(),
        }
    }

    /// In binary format, of the type that the server infers.
    pub fn binary(self) -> Vec<u8> {
        match self {
            Int(n) => n.to_be_bytes().to_vec(),
            Count(n) => n.to_be_bytes().to_vec(),
            // One digit of base 10,000: count, weight, sign, scale, digit.
            Numeric(n) => [1, 0, 0, 0, n].iter().flat_map(|part| part.to_be_bytes()).collect(),
            Text(text) => text.as_bytes().to_vec(),
            Uuid(text) => {
                let digits = text.replace('-', "");
                u128::from_str_radix(&digits, 16).unwrap().to_be_bytes().to_vec()
            }
            Time(_, micros) => micros.to_be_bytes().to_vec(),
        }
    }
}

/// The table that a statement was written for: clients were recorded on three shapes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `id integer`, `portfolio_id uuid`, as in schema.sql.
    Usual,
    /// `portfolio_id integer`.
    IntPortfolio,
    /// `id uuid`.
    UuidKey,
}

/// What becomes of a write if another session has changed one of its rows since this one read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Our error, and nothing of it lands.
    Refused,
    /// Refused, and again once the row was read: the version that it writes back is part of its text.
    RefusedForGood,
    /// It lands and bumps: it cannot overwrite anyone's change.
    Lands,
    /// Zero rows: the application's own condition on the version, and its own stale-object error.
    Zero,
}

/// A write.
#[derive(Debug)]
pub struct Write {
    /// The text.
    pub sql: &'static str,
    /// Its parameters.
    pub values: &'static [Value],
    /// The table it is for.
    pub shape: Shape,
    /// Keys of the rows it writes; of a uuid key its last digits.
    pub rows: &'static [i32],
    /// What happens to it where it is stale.
    pub stale: Stale,
}

/// A write of these rows that is checked.
const fn write(sql: &'static str, values: &'static [Value], rows: &'static [i32]) -> Write {
    Write { sql, values, shape: Shape::Usual, rows, stale: Stale::Refused }
}

impl Write {
    const fn stale(mut self, stale: Stale) -> Self {
        self.stale = stale;
        self
    }

    const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// True for a text of several statements, which only a simple Query may hold.
    pub fn is_several(&self) -> bool {
        self.sql.contains(';')
    }
}

/// The key of row 1 where keys are uuids.
pub const FIRST_UUID: &str = "051e3dcf-81ba-49f2-8daa-110ed693f2b6";
const PORTFOLIO: Value = Uuid("051e3dcf-81ba-49f2-8daa-110ed693f2b6");

/// Every write.
pub const WRITES: &[Write] = &[
    // SQLAlchemy
    write("UPDATE projects SET name='sa' WHERE projects.id = 1", &[], &[1]),
    write(
        "UPDATE projects SET name='x', updated_at='2026-11-24T02:25:55.161421'::timestamp WHERE projects.id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'::UUID",
        &[],
        &[1],
    )
    .shape(Shape::UuidKey),
    write("UPDATE projects SET budget=(projects.budget + 1) WHERE projects.id = 1", &[], &[1])
        .stale(Stale::Lands),
    write("UPDATE projects SET name='v', version=2 WHERE projects.id = 1 AND projects.version = 1", &[], &[1])
        .stale(Stale::Zero),
    write("DELETE FROM projects WHERE projects.id = 6", &[], &[6]),
    write("UPDATE projects SET name=$1::VARCHAR WHERE projects.id = $2::INTEGER", &[Text("sa"), Int(1)], &[1]),
    // Django
    write(
        r#"UPDATE "projects" SET "portfolio_id" = 1, "name" = 'dj', "budget" = 100.00, "version" = 1 WHERE "projects"."id" = 1"#,
        &[],
        &[1],
    )
    .shape(Shape::IntPortfolio)
    .stale(Stale::RefusedForGood),
    write(r#"UPDATE "projects" SET "name" = 'dj' WHERE "projects"."id" = 1"#, &[], &[1]),
    write(
        r#"UPDATE "projects" SET "name" = (CASE WHEN ("projects"."id" = 1) THEN 'b' WHEN ("projects"."id" = 2) THEN 'c' ELSE NULL END)::varchar(200) WHERE "projects"."id" IN (1, 2, 3)"#,
        &[],
        &[1, 2, 3],
    ),
    write(
        r#"INSERT INTO "projects" ("id", "name", "version") VALUES (1, 'a', 1) ON CONFLICT("id") DO UPDATE SET "name" = EXCLUDED."name" RETURNING "projects"."id""#,
        &[],
        &[1],
    ),
    write(r#"DELETE FROM "projects" WHERE "projects"."id" IN (7)"#, &[], &[7]),
    // psycopg2
    write(
        "UPDATE projects p SET name=v.n FROM (VALUES (1,'a'),(2,'b')) v(id,n) WHERE p.id=v.id",
        &[],
        &[1, 2],
    ),
    write("UPDATE projects SET name='a' WHERE id=1;UPDATE projects SET name='b' WHERE id=2", &[], &[1, 2]),
    write("BEGIN; UPDATE projects SET name='m' WHERE id=1; COMMIT", &[], &[1]),
    // peewee, Tortoise
    write(
        r#"UPDATE "projects" SET "name" = CASE "projects"."id" WHEN 5 THEN 'bb' WHEN 4 THEN 'c' END WHERE ("projects"."id" IN (5, 4, 2))"#,
        &[],
        &[5, 4, 2],
    ),
    write(
        r#"UPDATE "projects" SET "portfolio_id"=$1,"name"=$2 WHERE "id"=$3"#,
        &[PORTFOLIO, Text("tortoise"), Int(3)],
        &[3],
    ),
    // Sequelize
    write(r#"UPDATE "projects" SET "name"=$1 WHERE "id" IN (1, 2)"#, &[Text("seq")], &[1, 2]),
    write(r#"UPDATE "projects" SET "budget"="budget"+ 1 WHERE "id" = 1 RETURNING *"#, &[], &[1])
        .stale(Stale::Lands),
    write(
        r#"UPDATE "projects" SET "name"=$1,"version"=$2 WHERE "id" = $3 AND "version" = $4"#,
        &[Text("seq"), Int(2), Int(1), Int(1)],
        &[1],
    )
    .stale(Stale::Zero),
    write(
        r#"INSERT INTO "projects" ("id","name") VALUES ($1,$2) ON CONFLICT ("id") DO UPDATE SET "id"=EXCLUDED."id","name"=EXCLUDED."name" RETURNING "id","name""#,
        &[Int(1), Text("upsert")],
        &[1],
    ),
    // TypeORM
    write(
        r#"UPDATE "projects" SET "name" = $1, "version" = "version" + 1 WHERE "id" = $2 RETURNING "version""#,
        &[Text("typeorm"), Int(1)],
        &[1],
    ),
    // Prisma
    write(
        r#"UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" = $2 AND 1=1) RETURNING "public"."projects"."id""#,
        &[Text("prisma"), Int(1)],
        &[1],
    ),
    write(
        r#"UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" IN ($2) AND ("public"."projects"."id" = $3 AND 1=1)) RETURNING "id""#,
        &[Text("prisma"), Int(1), Int(1)],
        &[1],
    ),
    // Rails
    write(
        r#"UPDATE "projects" SET "name" = $1, "updated_at" = $2, "version" = $3 WHERE "projects"."id" = $4 AND "projects"."version" = $5"#,
        &[Text("rails"), Time("2026-11-24 02:25:55", 848_802_355_000_000), Int(2), Int(1), Int(1)],
        &[1],
    )
    .stale(Stale::Zero),
    write(
        r#"DELETE FROM "projects" WHERE "projects"."id" = $1 AND "projects"."version" = $2"#,
        &[Int(8), Int(1)],
        &[8],
    )
    .stale(Stale::Zero),
    // knex, PDO, JDBC, postgres.js
    write(
        r#"update "projects" set "name" = $1, "budget" = $2 where "id" = $3 returning "id", "version""#,
        &[Text("knex"), Numeric(12), Int(1)],
        &[1],
    ),
    write("UPDATE projects SET name='it''s', budget='5' WHERE id='1'", &[], &[1]),
    write("UPDATE projects SET name='k' WHERE id=$1\nRETURNING *", &[Int(1)], &[1]),
    write(r#"UPDATE projects SET  "name" = $1 WHERE "id" = $2"#, &[Text("postgres.js"), Int(1)], &[1]),
    // pgjdbc's simple mode
    write("UPDATE projects SET name=('jdbc') WHERE id=('1'::int4)", &[], &[1]),
];

/// A read.
#[derive(Debug)]
pub struct Read {
    /// The text.
    pub sql: &'static str,
    /// Its parameters.
    pub values: &'static [Value],
    /// Whether it shows something of row 1 beyond its key.
    pub teaches: bool,
}

const fn read(sql: &'static str, values: &'static [Value]) -> Read {
    Read { sql, values, teaches: true }
}

/// Every read, each of which shows row 1.
pub const READS: &[Read] = &[
    // SQLAlchemy
    read(
        "SELECT projects.id, projects.portfolio_id, projects.name, projects.budget, projects.status\nFROM projects\nWHERE projects.id = 1 FOR UPDATE",
        &[],
    ),
    read(
        "SELECT projects.name AS projects_name, projects.id AS projects_id FROM projects WHERE '2531439d-3075-46d6-9c19-63e3342fc43e'::UUID = projects.portfolio_id",
        &[],
    ),
    // Django
    read(
        r#"SELECT "projects"."id", "projects"."version" FROM "projects" WHERE "projects"."id" = 1 LIMIT 21 FOR UPDATE"#,
        &[],
    ),
    // peewee, Tortoise
    read(
        r#"SELECT "t1"."id", "t1"."name" FROM "projects" AS "t1" WHERE ("t1"."id" = 1) LIMIT 1 OFFSET 0"#,
        &[],
    ),
    // Sequelize
    read(r#"SELECT "id", "portfolio_id", "name", "budget" FROM "projects" AS "P" WHERE "P"."id" = 1;"#, &[]),
    // TypeORM
    read(
        r#"SELECT "P"."id" AS "P_id", "P"."name" AS "P_name" FROM "projects" "P" WHERE "P"."id" = $1"#,
        &[Int(1)],
    ),
    // Rails
    read(r#"SELECT "projects".* FROM "projects" WHERE "projects"."id" = $1 LIMIT $2"#, &[Int(1), Count(1)]),
    // What a list of keys shows is no row.
    Read { sql: r#"SELECT "projects"."id" FROM "projects""#, values: &[], teaches: false },
];
