WITH RECURSIVE cfg(ord, nsp, rel, ver) AS (
  SELECT row_number() OVER (), u.n, u.r, u.v
  FROM ROWS FROM (unnest($1::pg_catalog.text[]), unnest($2::pg_catalog.text[]), unnest($3::pg_catalog.text[])) AS u(n, r, v)
), root AS (
  SELECT cfg.ord, cfg.ver, c.oid
  FROM cfg JOIN pg_catalog.pg_namespace n ON n.nspname = cfg.nsp
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = cfg.rel
), rel(oid, root, ord, ver) AS (
  SELECT oid, oid, ord, ver FROM root
  UNION ALL
  SELECT i.inhrelid, rel.root, rel.ord, rel.ver
  FROM rel JOIN pg_catalog.pg_inherits i ON i.inhparent = rel.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), att AS (
  SELECT rel.oid, rel.root, a.attnum, a.attname, a.atttypid, a.attnotnull,
         row_number() OVER (PARTITION BY rel.oid ORDER BY a.attnum) - 1 AS pos,
         a.attname = rel.ver AS is_version,
         NOT EXISTS (SELECT FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation AND NOT l.collisdeterministic) AS exact,
         (SELECT pg_catalog.pg_get_expr(d.adbin, 0) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = rel.oid AND d.adnum = a.attnum AND a.attgenerated = '') AS def,
         CASE WHEN a.attname = rel.ver THEN pg_catalog.col_description(rel.root, (SELECT r.attnum FROM pg_catalog.pg_attribute r WHERE r.attrelid = rel.root AND r.attname = rel.ver AND NOT r.attisdropped)::pg_catalog.int4) END AS note
  FROM rel JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped
), pk AS (
  SELECT rel.oid, k.attnum, k.n
  FROM rel JOIN pg_catalog.pg_index x ON x.indrelid = rel.oid AND x.indisprimary
  CROSS JOIN LATERAL unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, n)
)
SELECT 'table', pg_catalog.json_build_object(
  'ord', rel.ord, 'oid', rel.oid::pg_catalog.int8, 'root', rel.root::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind::pg_catalog.text,
  'visible', pg_catalog.pg_table_is_visible(c.oid),
  'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, CASE WHEN a.exact THEN a.atttypid::pg_catalog.int8 ELSE 0 END) ORDER BY a.attnum) FROM att a WHERE a.oid = c.oid),
  'key', (SELECT pg_catalog.json_agg(pk.attnum ORDER BY pk.n) FROM pk WHERE pk.oid = c.oid),
  'version', (SELECT pg_catalog.json_build_object('attnum', a.attnum, 'type', a.atttypid::pg_catalog.int8, 'notnull', a.attnotnull, 'default', a.def, 'note', a.note) FROM att a WHERE a.oid = c.oid AND a.is_version),
  'statement_triggers', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype::pg_catalog.int4 & 1) = 0 AND (t.tgtype::pg_catalog.int4 & 24) <> 0)
    OR (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '2'),
  'version_triggers', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype::pg_catalog.int4 & 17) = 17 AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(rel.ver)) > 0),
  'late_triggers', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype::pg_catalog.int4 & 16) <> 0 AND (t.tgtype::pg_catalog.int4 & 3) <> 3 AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), 'update') > 0
      AND (pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(rel.ver)) > 0 OR EXISTS (SELECT FROM pg_catalog.pg_trigger b JOIN pg_catalog.pg_proc f ON f.oid = b.tgfoid WHERE b.tgrelid = c.oid AND NOT b.tgisinternal AND b.tgenabled <> 'D' AND (b.tgtype::pg_catalog.int4 & 17) = 17 AND pg_catalog.strpos(pg_catalog.lower(f.prosrc), pg_catalog.lower(rel.ver)) > 0))),
  'rules', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '4')),
  'row_security', pg_catalog.row_security_active(c.oid),
  'may_read', (SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) FROM att a WHERE a.oid = c.oid AND (a.is_version OR a.attnum IN (SELECT pk.attnum FROM pk WHERE pk.oid = c.oid))),
  'may_read_all', pg_catalog.has_table_privilege(c.oid, 'SELECT'),
  'may_write', (SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) FROM att a WHERE a.oid = c.oid AND a.is_version)
)::pg_catalog.text
FROM rel JOIN pg_catalog.pg_class c ON c.oid = rel.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'aggregates', pg_catalog.json_agg(DISTINCT p.proname)::pg_catalog.text FROM pg_catalog.pg_proc p WHERE p.prokind = 'a'
UNION ALL
SELECT 'views', q.list FROM (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(v.nspname, v.relname, v.root::pg_catalog.int8))::pg_catalog.text AS list
  FROM (SELECT DISTINCT n.nspname, c.relname, rel.root
        FROM rel JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = rel.oid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = w.ev_class AND c.oid <> rel.oid AND c.relkind IN ('v', 'm')
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) AS v) AS q
UNION ALL
SELECT 'session', pg_catalog.json_build_object('shadowed', EXISTS (
    SELECT FROM rel JOIN pg_catalog.pg_class c ON c.oid = rel.oid JOIN pg_catalog.pg_class t ON t.relname = c.relname
    WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.oid <> c.oid),
  'defaults', (SELECT pg_catalog.string_agg(s.setdatabase || ' ' || s.setrole || ' ' || c, ', ' ORDER BY s.setdatabase, s.setrole, c)
    FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c
    WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
      AND s.setrole IN (0, (SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = session_user)) AND (pg_catalog.starts_with(c, 'search_path=') OR pg_catalog.starts_with(c, 'role='))),
  'database', pg_catalog.current_database(), 'role', current_user, 'isolation', pg_catalog.current_setting('transaction_isolation'))::pg_catalog.text
