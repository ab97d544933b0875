-- Statements of real clients, recorded verbatim.
-- SQLAlchemy
SELECT projects.id, projects.portfolio_id, projects.name, projects.budget, projects.status
FROM projects
WHERE projects.id = 1 FOR UPDATE
SELECT projects.name AS projects_name, projects.id AS projects_id FROM projects WHERE '2531439d-3075-46d6-9c19-63e3342fc43e'::UUID = projects.portfolio_id
UPDATE projects SET name='sa' WHERE projects.id = 1
UPDATE projects SET name='x', updated_at='2026-11-24T02:25:55.161421'::timestamp WHERE projects.id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'::UUID
UPDATE projects SET budget=(projects.budget + 1) WHERE projects.id = 1
UPDATE projects SET name='v', version=2 WHERE projects.id = 1 AND projects.version = 1
DELETE FROM projects WHERE projects.id = 6
UPDATE projects SET name=$1::VARCHAR WHERE projects.id = $2::INTEGER
-- Django
SELECT "projects"."id", "projects"."version" FROM "projects" WHERE "projects"."id" = 1 LIMIT 21 FOR UPDATE
UPDATE "projects" SET "portfolio_id" = 1, "name" = 'dj', "budget" = 100.00, "version" = 1 WHERE "projects"."id" = 1
UPDATE "projects" SET "name" = 'dj' WHERE "projects"."id" = 1
UPDATE "projects" SET "name" = (CASE WHEN ("projects"."id" = 1) THEN 'b' WHEN ("projects"."id" = 2) THEN 'c' ELSE NULL END)::varchar(200) WHERE "projects"."id" IN (1, 2, 3)
INSERT INTO "projects" ("id", "name", "version") VALUES (1, 'a', 1) ON CONFLICT("id") DO UPDATE SET "name" = EXCLUDED."name" RETURNING "projects"."id"
DELETE FROM "projects" WHERE "projects"."id" IN (7)
DECLARE "_django_curs_1" NO SCROLL CURSOR FOR SELECT "projects"."id" FROM "projects"
FETCH FORWARD 2 FROM "_django_curs_1"
-- psycopg2
UPDATE projects p SET name=v.n FROM (VALUES (1,'a'),(2,'b')) v(id,n) WHERE p.id=v.id
UPDATE projects SET name='a' WHERE id=1;UPDATE projects SET name='b' WHERE id=2
BEGIN; UPDATE projects SET name='m' WHERE id=1; COMMIT
-- peewee, Tortoise
SELECT "t1"."id", "t1"."name" FROM "projects" AS "t1" WHERE ("t1"."id" = 1) LIMIT 1 OFFSET 0
UPDATE "projects" SET "name" = CASE "projects"."id" WHEN 5 THEN 'bb' WHEN 4 THEN 'c' END WHERE ("projects"."id" IN (5, 4, 2))
UPDATE "projects" SET "portfolio_id"=$1,"name"=$2 WHERE "id"=$3
-- Sequelize
SELECT "id", "portfolio_id", "name", "budget" FROM "projects" AS "P" WHERE "P"."id" = 1;
UPDATE "projects" SET "name"=$1 WHERE "id" IN (1, 2)
UPDATE "projects" SET "budget"="budget"+ 1 WHERE "id" = 1 RETURNING *
UPDATE "projects" SET "name"=$1,"version"=$2 WHERE "id" = $3 AND "version" = $4
INSERT INTO "projects" ("id","name") VALUES ($1,$2) ON CONFLICT ("id") DO UPDATE SET "id"=EXCLUDED."id","name"=EXCLUDED."name" RETURNING "id","name"
-- TypeORM
SELECT "P"."id" AS "P_id", "P"."name" AS "P_name" FROM "projects" "P" WHERE "P"."id" = $1
UPDATE "projects" SET "name" = $1, "version" = "version" + 1 WHERE "id" = $2 RETURNING "version"
-- Prisma
UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" = $2 AND 1=1) RETURNING "public"."projects"."id"
UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" IN ($2) AND ("public"."projects"."id" = $3 AND 1=1)) RETURNING "id"
-- Rails
SELECT "projects".* FROM "projects" WHERE "projects"."id" = $1 LIMIT $2
UPDATE "projects" SET "name" = $1, "updated_at" = $2, "version" = $3 WHERE "projects"."id" = $4 AND "projects"."version" = $5
DELETE FROM "projects" WHERE "projects"."id" = $1 AND "projects"."version" = $2
-- knex, PDO, JDBC, postgres.js
update "projects" set "name" = $1, "budget" = $2 where "id" = $3 returning "id", "version"
UPDATE projects SET name='it''s', budget='5' WHERE id='1'
UPDATE projects SET name='k' WHERE id=$1
RETURNING *
UPDATE projects SET  "name" = $1 WHERE "id" = $2
