-- Texts that test where tokens begin. Written for this purpose; not all of it is a statement that runs.
SELECT 1, 1.5, .5, 1e5, 1.5e-3, 1E+2, 0, 007 FROM t WHERE a.b = 1 AND c<>2 AND d!=3 AND e<=4 AND f>=5
SELECT a||b, a->b, a->>'k', a#>'{x}', a#>>'{y}', a@>b, a<@b, a~b, a~*b, a!~b, a!~*b, a&&b FROM "t"
SELECT a+b, a-b, a*b, a/b, a%b, a^b, a&b, a|b, -a, +a, ~a
SELECT COUNT(*), t.*, "t".*, a[1], a[1:2], ARRAY[1,2], ROW(1,2), (SELECT (1)) FROM (VALUES (1,'a'),(2,'b')) v(id,n)
/* block */ SELECT /* nested /* deeper */ still */ 'it''s', '', '''', 'a;b', '--no comment', '/*neither*/' -- ; ' "
SELECT E'a\'b', E'\\', e'tab\there', B'0101', X'1F', N'national'
SELECT "quoted", "with ""quotes""", "semi;colon", "Ünïcode", ünquoted, ÄÖÜ, naïve$1x
SELECT $1, $2::int, $10 + 1, ($3), $4::VARCHAR(10), CAST($5 AS numeric(10, 2))
SELECT $$dollar$$, $$it's; "here" -- not /* a comment$$, $tag$ $$ inside $$ $tag$, $_a1$x$_a1$
UPDATE t SET a=a+1,b='x',c=DEFAULT,(d,e)=(1,2),f[1]=3,g.h=4 WHERE (id=7) AND NOT x IS NULL OR y IN (1,2)
UPDATE ONLY "public"."t" AS "x" SET "a"=$1::jsonb WHERE "x"."id"='051e3dcf-81ba-49f2-8daa-110ed693f2b6'::UUID RETURNING *
INSERT INTO t(a,b) VALUES($1,$2)ON CONFLICT(a)DO UPDATE SET b=EXCLUDED.b WHERE t.b IS DISTINCT FROM EXCLUDED.b RETURNING a,b
DELETE FROM t USING u WHERE t.id=u.id AND u.x BETWEEN 1 AND 2;
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n+1 FROM r WHERE n<5) SELECT n FROM r ORDER BY n DESC LIMIT 3 OFFSET 1
MERGE INTO t USING s ON t.id=s.id WHEN MATCHED AND s.gone THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES(s.id)
BEGIN;SET LOCAL app.user_id='42';SAVEPOINT "a b";ROLLBACK TO SAVEPOINT "a b";RELEASE "a b";COMMIT AND CHAIN;;
CREATE FUNCTION f(a int,b text=DEFAULT_VALUE) RETURNS int LANGUAGE plpgsql AS $fn$BEGIN RETURN $1; END$fn$;
SELECT f(a=>1,b:=2), a::text::int, '1'::int4, now()-interval '1 day', extract(epoch FROM x), 'a' COLLATE "C"
SELECT a -- comment after a token
,b--comment without a space
,c/**/+/**/d
SELECT * FROM t WHERE name LIKE '%x_' ESCAPE '!' AND ts AT TIME ZONE 'utc'>'2026-11-24T02:25:55.161421'::timestamp FOR UPDATE SKIP LOCKED
EXPLAIN (ANALYZE,BUFFERS off) SELECT 1;PREPARE p(int)AS SELECT $1;EXECUTE p(1);DEALLOCATE p;FETCH FORWARD 2 FROM "c"
COPY t(a,b) FROM STDIN WITH (FORMAT csv,DELIMITER ',');TRUNCATE a,b CASCADE;LOCK TABLE t IN EXCLUSIVE MODE
SELECT 'größe' = größe, '日本語', "日本語", '😀' || x, 1
SELECT	tabs	,
  newlines
FROM	t
