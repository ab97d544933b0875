-- # SQLAlchemy
SELECT projects.id, projects.portfolio_id, projects.name, projects.budget, projects.status
FROM projects
WHERE projects.id = 1 FOR UPDATE
---
SELECT projects.name AS projects_name, projects.id AS projects_id FROM projects WHERE '2531439d-3075-46d6-9c19-63e3342fc43e'::UUID = projects.portfolio_id
---
-- versions: 1=2 | 2=1
UPDATE projects SET name='sa' WHERE projects.id = 1
---
-- # the same for a uuid key
UPDATE portfolios SET name='x', updated_at='2026-11-24T02:25:55.161421'::timestamp WHERE portfolios.id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'::UUID
---
-- versions: 1=2
UPDATE projects SET budget=(projects.budget + 1) WHERE projects.id = 1
---
-- versions: 1=2
UPDATE projects SET name='v', version=2 WHERE projects.id = 1 AND projects.version = 1
---
DELETE FROM projects WHERE projects.id = 6
---
-- values: sa | 1
-- versions: 1=2
UPDATE projects SET name=$1::VARCHAR WHERE projects.id = $2::INTEGER
---
-- # Django
SELECT "projects"."id", "projects"."version" FROM "projects" WHERE "projects"."id" = 1 LIMIT 21 FOR UPDATE
---
-- versions: 1=2
UPDATE "projects" SET "portfolio_id" = '051e3dcf-81ba-49f2-8daa-110ed693f2b6', "name" = 'dj', "budget" = 100.00, "version" = 1 WHERE "projects"."id" = 1
---
-- versions: 1=2
UPDATE "projects" SET "name" = 'dj' WHERE "projects"."id" = 1
---
-- versions: 1=2 | 2=2 | 3=2 | 4=1
UPDATE "projects" SET "name" = (CASE WHEN ("projects"."id" = 1) THEN 'b' WHEN ("projects"."id" = 2) THEN 'c' ELSE NULL END)::varchar(200) WHERE "projects"."id" IN (1, 2, 3)
---
-- versions: 1=2
INSERT INTO "projects" ("id", "name", "version") VALUES (1, 'a', 1) ON CONFLICT("id") DO UPDATE SET "name" = EXCLUDED."name" RETURNING "projects"."id"
---
DELETE FROM "projects" WHERE "projects"."id" IN (7)
---
-- # psycopg2
-- versions: 1=2 | 2=2
UPDATE projects p SET name=v.n FROM (VALUES (1,'a'),(2,'b')) v(id,n) WHERE p.id=v.id
---
-- # peewee, Tortoise
SELECT "t1"."id", "t1"."name" FROM "projects" AS "t1" WHERE ("t1"."id" = 1) LIMIT 1 OFFSET 0
---
-- versions: 2=2 | 4=2 | 5=2
UPDATE "projects" SET "name" = CASE "projects"."id" WHEN 5 THEN 'bb' WHEN 4 THEN 'c' END WHERE ("projects"."id" IN (5, 4, 2))
---
-- values: 051e3dcf-81ba-49f2-8daa-110ed693f2b6 | tortoise | 3
-- versions: 3=2
UPDATE "projects" SET "portfolio_id"=$1,"name"=$2 WHERE "id"=$3
---
-- # Sequelize
SELECT "id", "portfolio_id", "name", "budget" FROM "projects" AS "P" WHERE "P"."id" = 1;
---
-- values: seq
-- versions: 1=2 | 2=2
UPDATE "projects" SET "name"=$1 WHERE "id" IN (1, 2)
---
-- versions: 1=2
UPDATE "projects" SET "budget"="budget"+ 1 WHERE "id" = 1 RETURNING *
---
-- values: seq | 2 | 1 | 1
-- versions: 1=2
UPDATE "projects" SET "name"=$1,"version"=$2 WHERE "id" = $3 AND "version" = $4
---
-- values: 1 | upsert
-- versions: 1=2
INSERT INTO "projects" ("id","name") VALUES ($1,$2) ON CONFLICT ("id") DO UPDATE SET "id"=EXCLUDED."id","name"=EXCLUDED."name" RETURNING "id","name"
---
-- # TypeORM
-- values: 1
SELECT "P"."id" AS "P_id", "P"."name" AS "P_name" FROM "projects" "P" WHERE "P"."id" = $1
---
-- values: typeorm | 1
-- versions: 1=2
UPDATE "projects" SET "name" = $1, "version" = "version" + 1 WHERE "id" = $2 RETURNING "version"
---
-- # Prisma
-- values: prisma | 1
-- versions: 1=2
UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" = $2 AND 1=1) RETURNING "public"."projects"."id"
---
-- values: prisma | 1 | 1
-- versions: 1=2
UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" IN ($2) AND ("public"."projects"."id" = $3 AND 1=1)) RETURNING "id"
---
-- # Rails
-- values: 1 | 1
SELECT "projects".* FROM "projects" WHERE "projects"."id" = $1 LIMIT $2
---
-- values: rails | 2026-11-24 02:25:55 | 2 | 1 | 1
-- versions: 1=2
UPDATE "projects" SET "name" = $1, "updated_at" = $2, "version" = $3 WHERE "projects"."id" = $4 AND "projects"."version" = $5
---
-- values: 8 | 1
DELETE FROM "projects" WHERE "projects"."id" = $1 AND "projects"."version" = $2
---
-- # knex, PDO, JDBC, postgres.js
-- values: knex | 12.5 | 1
-- versions: 1=2
update "projects" set "name" = $1, "budget" = $2 where "id" = $3 returning "id", "version"
---
-- versions: 1=2
UPDATE projects SET name='it''s', budget='5' WHERE id='1'
---
-- values: 1
-- versions: 1=2
UPDATE projects SET name='k' WHERE id=$1
RETURNING *
---
-- values: postgres.js | 1
-- versions: 1=2
UPDATE projects SET  "name" = $1 WHERE "id" = $2
---
-- # pgjdbc's simple mode
-- versions: 1=2
UPDATE projects SET name = ('jdbc') WHERE id = ('1'::int4)
