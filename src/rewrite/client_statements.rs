//! Statements as real clients send them, with what becomes of each: the table of the rewriter's promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::plan::{Operand, Reason, VersionSource};
use super::testing::{bumped, checked, guarded, only, parsed, reasons};

/// Point writes with the version expected: text, and as a Query that expects version 5.
const CHECKED: &[(&str, &str)] = &[
    (
        "UPDATE projects SET name='sa' WHERE projects.id = 1",
        "UPDATE projects SET name='sa', version = projects.version + 1 WHERE (projects.id = 1) AND projects.version = 5",
    ),
    (
        "UPDATE users SET email='x', active='t'::bool WHERE users.id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'::UUID",
        "UPDATE users SET email='x', active='t'::bool, version = users.version + 1 WHERE (users.id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'::UUID) AND users.version = 5",
    ),
    (
        r#"UPDATE "projects" SET "portfolio_id" = 1, "name" = 'dj', "budget" = 100.00, "version" = 1 WHERE "projects"."id" = 1"#,
        r#"UPDATE "projects" SET "portfolio_id" = 1, "name" = 'dj', "budget" = 100.00, "version" = "projects".version + 1 WHERE ("projects"."id" = 1) AND "projects".version = 5"#,
    ),
    (
        r#"UPDATE "projects" SET "name" = 'dj' WHERE "projects"."id" = 1"#,
        r#"UPDATE "projects" SET "name" = 'dj', version = "projects".version + 1 WHERE ("projects"."id" = 1) AND "projects".version = 5"#,
    ),
    (
        r#"update "projects" set "name" = 'x', "budget" = 5 where "id" = 3 returning "id", "version""#,
        r#"update "projects" set "name" = 'x', "budget" = 5, version = "projects".version + 1 where ("id" = 3) AND "projects".version = 5 returning "id", "version""#,
    ),
    (
        "UPDATE projects SET name='it''s', budget='5' WHERE id='1'",
        "UPDATE projects SET name='it''s', budget='5', version = projects.version + 1 WHERE (id='1') AND projects.version = 5",
    ),
    (
        "UPDATE projects SET name='k' WHERE id=('1'::int4)",
        "UPDATE projects SET name='k', version = projects.version + 1 WHERE (id=('1'::int4)) AND projects.version = 5",
    ),
    (
        "DELETE FROM projects WHERE projects.id = 6",
        "DELETE FROM projects WHERE (projects.id = 6) AND projects.version = 5",
    ),
    (
        r#"DELETE FROM "projects" WHERE "projects"."id" IN (7)"#,
        r#"DELETE FROM "projects" WHERE ("projects"."id" IN (7)) AND "projects".version = 5"#,
    ),
];

#[test]
fn literals() {
    for (text, want) in CHECKED {
        assert_eq!(checked(text), *want);
        let plan = only(text);
        assert!(plan.point.is_some() && plan.unchecked.is_empty(), "{text}");
    }
}

/// Point writes with parameters: text, as a Parse.
const PARSED: &[(&str, &str)] = &[
    (
        "UPDATE projects SET name=$1::VARCHAR WHERE projects.id = $2::INTEGER",
        "UPDATE projects SET name=$1::VARCHAR, version = projects.version + 1 WHERE (projects.id = $2::INTEGER) AND projects.version = COALESCE($3::pg_catalog.int4, projects.version)",
    ),
    (
        r#"UPDATE "projects" SET "portfolio_id"=$1,"name"=$2 WHERE "id"=$3"#,
        r#"UPDATE "projects" SET "portfolio_id"=$1,"name"=$2, version = "projects".version + 1 WHERE ("id"=$3) AND "projects".version = COALESCE($4::pg_catalog.int4, "projects".version)"#,
    ),
    (
        r#"UPDATE "projects" SET "name" = $1, "version" = "version" + 1 WHERE "id" = $2 RETURNING "version""#,
        r#"UPDATE "projects" SET "name" = $1, "version" = "version" + 1 WHERE ("id" = $2) AND "projects".version = COALESCE($3::pg_catalog.int4, "projects".version) RETURNING "version", "projects".id AS __sg_k1"#,
    ),
    (
        r#"UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" = $2 AND 1=1) RETURNING "public"."projects"."id""#,
        r#"UPDATE "public"."projects" SET "name" = $1, version = "projects".version + 1 WHERE (("public"."projects"."id" = $2 AND 1=1)) AND "projects".version = COALESCE($3::pg_catalog.int4, "projects".version) RETURNING "public"."projects"."id""#,
    ),
    (
        r#"UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" IN ($2) AND ("public"."projects"."id" = $3 AND 1=1)) RETURNING "id""#,
        r#"UPDATE "public"."projects" SET "name" = $1, version = "projects".version + 1 WHERE (("public"."projects"."id" IN ($2) AND ("public"."projects"."id" = $3 AND 1=1))) AND "projects".version = COALESCE($4::pg_catalog.int4, "projects".version) RETURNING "id""#,
    ),
    (
        r#"update "projects" set "name" = $1, "budget" = $2 where "id" = $3 returning "id", "version""#,
        r#"update "projects" set "name" = $1, "budget" = $2, version = "projects".version + 1 where ("id" = $3) AND "projects".version = COALESCE($4::pg_catalog.int4, "projects".version) returning "id", "version""#,
    ),
    (
        "UPDATE projects SET name='k' WHERE id=$1\nRETURNING *",
        "UPDATE projects SET name='k', version = projects.version + 1 WHERE (id=$1) AND projects.version = COALESCE($2::pg_catalog.int4, projects.version)\nRETURNING *",
    ),
    (
        "UPDATE projects SET  \"name\" = $1 WHERE \"id\" = $2\n",
        "UPDATE projects SET  \"name\" = $1, version = projects.version + 1 WHERE (\"id\" = $2) AND projects.version = COALESCE($3::pg_catalog.int4, projects.version)\n",
    ),
];

#[test]
fn parameters() {
    for (text, want) in PARSED {
        assert_eq!(parsed(text), *want);
        let plan = only(text);
        assert!(plan.point.is_some() && plan.unchecked.is_empty(), "{text}");
        assert!(matches!(plan.point.unwrap().key[..], [Operand::Param(_)]), "{text}");
    }
}

#[test]
fn guarded_by_the_application_itself() {
    for (text, version) in [
        (
            "UPDATE projects SET name='v', version=2 WHERE projects.id = 1 AND projects.version = 1",
            Operand::Literal("1".into()),
        ),
        (
            r#"UPDATE "projects" SET "name"=$1,"version"=$2 WHERE "id" = $3 AND "version" = $4"#,
            Operand::Param(4),
        ),
        (
            r#"UPDATE "projects" SET "name" = $1, "updated_at" = $2, "version" = $3 WHERE "projects"."id" = $4 AND "projects"."version" = $5"#,
            Operand::Param(5),
        ),
        (
            r#"DELETE FROM "projects" WHERE "projects"."id" = $1 AND "projects"."version" = $2"#,
            Operand::Param(2),
        ),
    ] {
        assert_eq!(parsed(text), text);
        assert_eq!(checked(text), text);
        assert_eq!(only(text).point.unwrap().source, VersionSource::InPredicate(version));
    }
}

#[test]
fn self_relative_is_bumped_only() {
    for (text, want) in [
        (
            "UPDATE projects SET budget=(projects.budget + 1) WHERE projects.id = 1",
            "UPDATE projects SET budget=(projects.budget + 1), version = projects.version + 1 WHERE projects.id = 1",
        ),
        (
            r#"UPDATE "projects" SET "budget"="budget"+ 1 WHERE "id" = 1 RETURNING *"#,
            r#"UPDATE "projects" SET "budget"="budget"+ 1, version = "projects".version + 1 WHERE "id" = 1 RETURNING *"#,
        ),
    ] {
        assert_eq!(checked(text), want);
        assert!(only(text).point.unwrap().self_relative);
    }
}

/// Writes that carry a guard where versions are known; shown without.
const GUARDED: &[(&str, &str, Reason)] = &[
    (
        r#"UPDATE "projects" SET "name" = (CASE WHEN ("projects"."id" = 1) THEN 'b' WHEN ("projects"."id" = 2) THEN 'c' ELSE NULL END)::varchar(200) WHERE "projects"."id" IN (1, 2, 3)"#,
        r#"UPDATE "projects" SET "name" = (CASE WHEN ("projects"."id" = 1) THEN 'b' WHEN ("projects"."id" = 2) THEN 'c' ELSE NULL END)::varchar(200), version = "projects".version + 1 WHERE "projects"."id" IN (1, 2, 3)"#,
        Reason::SeveralRows,
    ),
    (
        r#"UPDATE "projects" SET "name" = CASE "projects"."id" WHEN 5 THEN 'bb' WHEN 4 THEN 'c' END WHERE ("projects"."id" IN (5, 4, 2))"#,
        r#"UPDATE "projects" SET "name" = CASE "projects"."id" WHEN 5 THEN 'bb' WHEN 4 THEN 'c' END, version = "projects".version + 1 WHERE ("projects"."id" IN (5, 4, 2))"#,
        Reason::SeveralRows,
    ),
    (
        r#"UPDATE "projects" SET "name"=$1 WHERE "id" IN (1, 2)"#,
        r#"UPDATE "projects" SET "name"=$1, version = "projects".version + 1 WHERE "id" IN (1, 2)"#,
        Reason::SeveralRows,
    ),
    (
        "UPDATE projects p SET name=v.n FROM (VALUES (1,'a'),(2,'b')) v(id,n) WHERE p.id=v.id",
        "UPDATE projects p SET name=v.n, version = p.version + 1 FROM (VALUES (1,'a'),(2,'b')) v(id,n) WHERE p.id=v.id",
        Reason::UpdateFrom,
    ),
    (
        r#"INSERT INTO "projects" ("id", "name", "version") VALUES (1, 'a', 1) ON CONFLICT("id") DO UPDATE SET "name" = EXCLUDED."name" RETURNING "projects"."id""#,
        r#"INSERT INTO "projects" ("id", "name", "version") VALUES (1, 'a', 1) ON CONFLICT("id") DO UPDATE SET "name" = EXCLUDED."name", version = "projects".version + 1 RETURNING "projects"."id", "projects".version AS __sg_v1"#,
        Reason::OnConflict,
    ),
    (
        r#"INSERT INTO "projects" ("id","name") VALUES ($1,$2) ON CONFLICT ("id") DO UPDATE SET "id"=EXCLUDED."id","name"=EXCLUDED."name" RETURNING "id","name""#,
        r#"INSERT INTO "projects" ("id","name") VALUES ($1,$2) ON CONFLICT ("id") DO UPDATE SET "id"=EXCLUDED."id","name"=EXCLUDED."name", version = "projects".version + 1 RETURNING "id","name", "projects".version AS __sg_v1"#,
        Reason::OnConflict,
    ),
];

#[test]
fn bumped_or_guarded() {
    for (text, want, reason) in GUARDED {
        assert_eq!(bumped(text), *want);
        let plan = only(text);
        assert!(plan.point.is_none(), "{text}");
        assert!(plan.unchecked.is_empty() && plan.sites[0].takes_guard(), "{text}");
        assert_eq!(reasons(&plan)[0].0, *reason, "{text}");
        assert!(guarded(text).contains("version = CASE WHEN "), "{text}");
    }
}

/// Reads: text, as sent.
const READS: &[(&str, &str)] = &[
    (
        "SELECT projects.id, projects.portfolio_id, projects.name, projects.budget, projects.status\nFROM projects\nWHERE projects.id = 1 FOR UPDATE",
        "SELECT projects.id, projects.portfolio_id, projects.name, projects.budget, projects.status, projects.version AS __sg_v1\nFROM projects\nWHERE projects.id = 1 FOR UPDATE",
    ),
    (
        "SELECT projects.name AS projects_name, projects.id AS projects_id FROM projects WHERE '2531439d-3075-46d6-9c19-63e3342fc43e'::UUID = projects.portfolio_id",
        "SELECT projects.name AS projects_name, projects.id AS projects_id, projects.version AS __sg_v1 FROM projects WHERE '2531439d-3075-46d6-9c19-63e3342fc43e'::UUID = projects.portfolio_id",
    ),
    (
        r#"SELECT "projects"."id", "projects"."version" FROM "projects" WHERE "projects"."id" = 1 LIMIT 21 FOR UPDATE"#,
        r#"SELECT "projects"."id", "projects"."version" FROM "projects" WHERE "projects"."id" = 1 LIMIT 21 FOR UPDATE"#,
    ),
    (
        r#"SELECT "t1"."id", "t1"."name" FROM "projects" AS "t1" WHERE ("t1"."id" = 1) LIMIT 1 OFFSET 0"#,
        r#"SELECT "t1"."id", "t1"."name", "t1".version AS __sg_v1 FROM "projects" AS "t1" WHERE ("t1"."id" = 1) LIMIT 1 OFFSET 0"#,
    ),
    (
        r#"SELECT "id", "portfolio_id", "name", "budget" FROM "projects" AS "P" WHERE "P"."id" = 1;"#,
        r#"SELECT "id", "portfolio_id", "name", "budget", "P".version AS __sg_v1 FROM "projects" AS "P" WHERE "P"."id" = 1;"#,
    ),
    (
        r#"SELECT "P"."id" AS "P_id", "P"."name" AS "P_name" FROM "projects" "P" WHERE "P"."id" = $1"#,
        r#"SELECT "P"."id" AS "P_id", "P"."name" AS "P_name", "P".version AS __sg_v1 FROM "projects" "P" WHERE "P"."id" = $1"#,
    ),
    (
        r#"SELECT "projects".* FROM "projects" WHERE "projects"."id" = $1 LIMIT $2"#,
        r#"SELECT "projects".* FROM "projects" WHERE "projects"."id" = $1 LIMIT $2"#,
    ),
    (
        r#"DECLARE "_django_curs_1" NO SCROLL CURSOR FOR SELECT "projects"."id" FROM "projects""#,
        r#"DECLARE "_django_curs_1" NO SCROLL CURSOR FOR SELECT "projects"."id" FROM "projects""#,
    ),
];

#[test]
fn reads() {
    for (text, want) in READS {
        assert_eq!(bumped(text), *want);
        let plan = only(text);
        let taught: Vec<_> = plan.teaches.iter().map(|t| &*t.table.name).collect();
        assert_eq!(taught, ["projects"], "{text}");
    }
}
