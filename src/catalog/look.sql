WITH RECURSIVE cfg(ord, nsp, rel, ver) AS (
  SELECT row_number() OVER (), u.n, u.r, u.v
  FROM ROWS FROM (unnest($1::pg_catalog.text[]), unnest($2::pg_catalog.text[]), unnest($3::pg_catalog.text[])) AS u(n, r, v)
), named AS MATERIALIZED (
  SELECT cfg.ord, cfg.ver, c.oid, c.relispartition
  FROM cfg JOIN pg_catalog.pg_namespace n ON n.nspname = cfg.nsp
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = cfg.rel
), root AS (
  SELECT named.ord, named.ver, named.oid
  FROM named
  WHERE NOT named.relispartition OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_partition_ancestors(named.oid) AS a(oid) JOIN named up ON up.oid = a.oid WHERE up.oid <> named.oid)
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
), trg AS (
  SELECT t.tgrelid AS rel, t.tgtype::pg_catalog.int4 AS type, t.tgfoid AS fn, t.tgargs AS args,
         t.tgname = 'zzz_staleguard_bump' AND t.tgenabled IN ('O', 'A') AND pg_catalog.strpos(p.prosrc, '-- staleguard: bumps the version') > 0 AS ours,
         pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(rel.ver)) > 0 AS version
  FROM rel JOIN pg_catalog.pg_trigger t ON t.tgrelid = rel.oid JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
), vw(oid, root) AS (
  SELECT w.ev_class, rel.root
  FROM rel JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = rel.oid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_type = '1' AND w.ev_class <> rel.oid
  UNION
  SELECT w.ev_class, vw.root
  FROM vw JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = vw.oid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_type = '1' AND w.ev_class <> vw.oid
), fk AS MATERIALIZED (
  SELECT k.confrelid, k.conrelid, k.confdeltype, k.confupdtype,
         EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = k.confrelid AND x.indisprimary AND k.confkey OPERATOR(pg_catalog.<@) x.indkey::pg_catalog.int2[]) AS by_key
  FROM pg_catalog.pg_constraint k
  WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
), functions(print) AS (
  SELECT COALESCE(pg_catalog.bit_xor(pg_catalog.hashint8extended(p.oid::pg_catalog.int8, p.xmin::pg_catalog.text::pg_catalog.int8)), 0)::pg_catalog.text
  FROM pg_catalog.pg_proc p WHERE p.oid >= 16384
), src AS MATERIALIZED (
  SELECT p.oid, p.proname::pg_catalog.text AS name,
         CASE WHEN p.prosrc <> '' THEN pg_catalog.lower(p.prosrc) ELSE pg_catalog.to_jsonb(p) ->> 'prosqlbody' END AS text
  FROM pg_catalog.pg_proc p
  WHERE p.oid >= 16384 AND (p.oid::pg_catalog.int8 & 4294967295) = p.oid::pg_catalog.int8
    AND p.prorettype NOT IN ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)
), mover(oid, name) AS (
  SELECT src.oid, src.name
  FROM src
  WHERE CASE WHEN pg_catalog.strpos(src.text, 'search_path') > 0 THEN true
    WHEN pg_catalog.strpos(src.text, 'set_config') > 0 AND src.text ~ E'\\mset_config"?\\s*\\(\\s*([^''\\s]|''+(role|session_authorization)'')' THEN true
    WHEN pg_catalog.strpos(src.text, 'role') > 0 OR pg_catalog.strpos(src.text, 'schema') > 0 OR pg_catalog.strpos(src.text, 'authorization') > 0
      THEN src.text ~ E'\\mset\\s+((local|session)\\s+)?((schema|role)\\s+[^\\s=]|session\\s+authorization\\M)'
    ELSE pg_catalog.strpos(src.text, ':funcid ' || 'pg_catalog.set_config(pg_catalog.text,pg_catalog.text,pg_catalog.bool)'::pg_catalog.regprocedure::pg_catalog.oid || ' ') > 0 END
  UNION
  SELECT src.oid, src.name
  FROM mover JOIN src ON pg_catalog.strpos(src.text, pg_catalog.lower(mover.name)) > 0
  WHERE src.text ~ (E'(^|[^[:alnum:]_$])' || pg_catalog.regexp_replace(pg_catalog.lower(mover.name), '([^[:alnum:]_])', E'\\\\\\1', 'g') || E'"?\\s*\\(')
), reach(start, event, kind, node, does) AS (
  SELECT rel.root, e.event, 'b', rel.oid, e.event
  FROM rel CROSS JOIN (VALUES (4), (8), (16), (32), (128)) AS e(event)
  WHERE rel.oid = rel.root OR EXISTS (SELECT FROM trg g WHERE g.rel = rel.oid AND NOT EXISTS (SELECT FROM trg h WHERE h.rel = rel.root AND h.fn = g.fn))
  UNION
  SELECT r.start, r.event | e.late, e.kind, e.node, e.does
  FROM reach r CROSS JOIN LATERAL (
    SELECT 'f', t.tgfoid, 0, CASE WHEN t.tgdeferrable THEN 256 ELSE 0 END FROM pg_catalog.pg_trigger t
    WHERE r.kind IN ('b', 'r') AND t.tgrelid = r.node AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype::pg_catalog.int4 & r.does) <> 0
    UNION ALL
    SELECT CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'f' ELSE 'r' END, d.refobjid, CASE w.ev_type WHEN '1' THEN r.does ELSE 92 END, 0
    FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
    WHERE r.kind IN ('b', 'r') AND w.ev_class = r.node AND d.refobjid <> r.node
      AND CASE w.ev_type WHEN '1' THEN d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          ELSE w.ev_enabled <> 'D' AND d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
            AND (CASE w.ev_type WHEN '2' THEN 16 WHEN '3' THEN 4 ELSE 8 END & r.does) <> 0 END
    UNION ALL
    SELECT 'r', fk.conrelid, CASE WHEN fk.confdeltype = 'c' THEN 8 ELSE 16 END, 0 FROM fk
    WHERE r.kind IN ('b', 'r') AND fk.confrelid = r.node AND (r.does & 8) <> 0 AND fk.confdeltype IN ('c', 'n', 'd')
    UNION ALL
    SELECT 'r', fk.conrelid, 16, 0 FROM fk
    WHERE r.kind IN ('b', 'r') AND fk.confrelid = r.node AND fk.confupdtype IN ('c', 'n', 'd')
      AND CASE WHEN r.kind = 'b' AND fk.by_key THEN r.does = 128 ELSE (r.does & 16) <> 0 END
    UNION ALL
    SELECT 'r', i.inhrelid, r.does, 0 FROM pg_catalog.pg_inherits i
    WHERE r.kind = 'r' AND i.inhparent = r.node
    UNION ALL
    SELECT n.kind, n.node, n.does, 0
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    CROSS JOIN LATERAL (SELECT pg_catalog.translate(pg_catalog.regexp_replace(p.prosrc, '''(insert|update|delete|truncate)''', '', 'gi'), E' \t\n\r!"#%&''()*+,-./:;<=>?@[\\]^`{|}~', pg_catalog.repeat(' ', 36)) AS text OFFSET 0) AS s
    CROSS JOIN LATERAL (SELECT pg_catalog.string_to_array(s.text || ' ' || pg_catalog.lower(s.text), ' ') AS all OFFSET 0) AS w
    CROSS JOIN LATERAL (SELECT CASE WHEN 'insert' = ANY (w.all) THEN 4 ELSE 0 END | CASE WHEN 'delete' = ANY (w.all) THEN 8 ELSE 0 END
      | CASE WHEN 'update' = ANY (w.all) THEN 16 ELSE 0 END | CASE WHEN 'truncate' = ANY (w.all) THEN 32 ELSE 0 END | CASE WHEN 'merge' = ANY (w.all) THEN 28 ELSE 0 END AS bits OFFSET 0) AS does
    CROSS JOIN LATERAL (
      SELECT 'x' AS kind, 0::pg_catalog.oid AS node, 0 AS does
      WHERE l.lanname NOT IN ('sql', 'plpgsql', 'internal', 'c') OR l.lanname = 'plpgsql' AND ('execute' = ANY (w.all) OR pg_catalog.strpos(pg_catalog.lower(p.prosrc), 'u&"') > 0)
        OR l.lanname = 'c' AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype
          AND p.probin NOT IN ('$libdir/moddatetime', '$libdir/autoinc', '$libdir/insert_username', '$libdir/lo', '$libdir/tcn')
      UNION ALL
      SELECT 'r', c.oid, does.bits | CASE WHEN rel.ver = ANY (w.all) OR c.relkind = 'v' THEN 64 ELSE 0 END
      FROM pg_catalog.pg_class c LEFT JOIN rel ON rel.oid = c.oid
      WHERE l.lanname IN ('sql', 'plpgsql') AND does.bits <> 0 AND c.relkind IN ('r', 'p', 'v') AND c.relname = ANY (w.all::pg_catalog.name[])
        AND c.relnamespace NOT IN (SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname IN ('pg_catalog', 'information_schema'))
      UNION ALL
      SELECT 'r', rel.oid, does.bits | 64 FROM rel JOIN pg_catalog.pg_class c ON c.oid = rel.oid
      WHERE l.lanname IN ('sql', 'plpgsql') AND does.bits <> 0 AND c.relname::pg_catalog.text ~ '[^a-zA-Z0-9_$]' AND pg_catalog.strpos(p.prosrc, c.relname::pg_catalog.text) > 0
      UNION ALL
      SELECT 'f', q.oid, 0 FROM pg_catalog.pg_proc q
      WHERE l.lanname IN ('sql', 'plpgsql') AND q.proname = ANY (w.all::pg_catalog.name[]) AND q.oid <> p.oid
        AND q.pronamespace NOT IN (SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname IN ('pg_catalog', 'information_schema'))
      UNION ALL
      SELECT CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'f' ELSE 'r' END, d.refobjid, 124
      FROM pg_catalog.pg_depend d
      WHERE l.lanname = 'sql' AND p.prosrc = '' AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
        AND d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
    ) AS n
    WHERE r.kind = 'f' AND p.oid = r.node AND pg_catalog.strpos(p.prosrc, '-- staleguard: bumps the version') = 0
  ) AS e(kind, node, does, late)
  WHERE (r.event & 511) = r.event
)
SELECT 'table', pg_catalog.json_build_object(
  'ord', rel.ord, 'oid', rel.oid::pg_catalog.int8, 'root', rel.root::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind::pg_catalog.text,
  'visible', COALESCE(pg_catalog.pg_table_is_visible(c.oid), false),
  'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, CASE WHEN a.exact THEN a.atttypid::pg_catalog.int8 ELSE 0 END) ORDER BY a.attnum) FROM att a WHERE a.oid = c.oid),
  'key', (SELECT pg_catalog.json_agg(pk.attnum ORDER BY pk.n) FROM pk WHERE pk.oid = c.oid),
  'version', (SELECT pg_catalog.json_build_object('attnum', a.attnum, 'type', a.atttypid::pg_catalog.int8, 'notnull', a.attnotnull, 'default', a.def, 'note', a.note) FROM att a WHERE a.oid = c.oid AND a.is_version),
  'statement_triggers', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype::pg_catalog.int4 & 1) = 0 AND (t.tgtype::pg_catalog.int4 & 24) <> 0)
    OR (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '2'),
  'delete_rules', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '4'),
  'version_triggers', (SELECT pg_catalog.bool_or(g.version AND NOT g.ours) FROM trg g WHERE g.rel = c.oid AND (g.type & 17) = 17),
  'late_triggers', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype::pg_catalog.int4 & 16) <> 0 AND (t.tgtype::pg_catalog.int4 & 3) <> 3 AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), 'update') > 0
      AND (pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(rel.ver)) > 0 OR EXISTS (SELECT FROM pg_catalog.pg_trigger b JOIN pg_catalog.pg_proc f ON f.oid = b.tgfoid WHERE b.tgrelid = c.oid AND NOT b.tgisinternal AND b.tgenabled <> 'D' AND (b.tgtype::pg_catalog.int4 & 17) = 17 AND pg_catalog.strpos(pg_catalog.lower(f.prosrc), pg_catalog.lower(rel.ver)) > 0))),
  'rules', (SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '4')),
  'bump', (SELECT pg_catalog.to_json(pg_catalog.string_to_array(pg_catalog.encode(g.args, 'escape'), E'\\000')) FROM trg g WHERE g.rel = c.oid AND g.ours),
  'generated', (SELECT pg_catalog.json_agg(a.attname) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped),
  'before_triggers', (SELECT pg_catalog.bool_or(NOT g.ours) FROM trg g WHERE g.rel = c.oid AND (g.type & 19) = 19),
  'row_security', COALESCE(pg_catalog.row_security_active(c.oid), false),
  'parent', c.relhassubclass,
  'may_read', (SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) FROM att a WHERE a.oid = c.oid AND (a.is_version OR a.attnum IN (SELECT pk.attnum FROM pk WHERE pk.oid = c.oid))),
  'may_read_all', COALESCE(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false),
  'may_write', (SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) FROM att a WHERE a.oid = c.oid AND a.is_version)
)::pg_catalog.text
FROM rel JOIN pg_catalog.pg_class c ON c.oid = rel.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'aggregates', pg_catalog.json_agg(DISTINCT p.proname)::pg_catalog.text FROM pg_catalog.pg_proc p WHERE p.prokind = 'a'
UNION ALL
SELECT 'functions', pg_catalog.json_build_object('print', f.print, 'movers', CASE WHEN f.print = $6::pg_catalog.text THEN NULL
  ELSE (SELECT COALESCE(pg_catalog.json_agg(DISTINCT mover.name), '[]') FROM mover) END)::pg_catalog.text
FROM functions f
UNION ALL
SELECT 'views', q.list FROM (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(v.nspname, v.relname, v.root::pg_catalog.int8, v.oid::pg_catalog.int8))::pg_catalog.text AS list
  FROM (SELECT DISTINCT n.nspname, c.relname, vw.root, c.oid
        FROM vw JOIN pg_catalog.pg_class c ON c.oid = vw.oid AND c.relkind IN ('v', 'm') JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) AS v) AS q
UNION ALL
SELECT 'view', pg_catalog.json_build_object(
  'oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'visible', COALESCE(pg_catalog.pg_table_is_visible(c.oid), false),
  'filters', pg_catalog.strpos(w.text, ') :quals <>') = 0,
  'filtered_by', (SELECT pg_catalog.json_agg(m[1]::pg_catalog.int4) FROM pg_catalog.regexp_matches(pg_catalog.split_part(pg_catalog.split_part(w.text, ') :quals ', 2), ' :targetList ', 1), ':varattno (-?[0-9]+)', 'g') AS m),
  'row_security', (SELECT pg_catalog.bool_or(b.relrowsecurity) FROM pg_catalog.pg_class b JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = b.oid WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid),
  'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, o.rel::pg_catalog.int8, o.col,
      COALESCE(pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'), false), COALESCE(pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE'), false),
      COALESCE(pg_catalog.has_column_privilege(c.relowner, o.rel, o.col, 'SELECT') AND (x.invoker IS NOT TRUE OR pg_catalog.has_column_privilege(o.rel, o.col, 'SELECT')), false),
      COALESCE(pg_catalog.has_column_privilege(c.relowner, o.rel, o.col, 'UPDATE') AND (x.invoker IS NOT TRUE OR pg_catalog.has_column_privilege(o.rel, o.col, 'UPDATE')), false)) ORDER BY a.attnum)
    FROM (SELECT e.attnum, CASE WHEN pg_catalog.strpos(e.escaped, E'\\') = 0 THEN e.escaped ELSE pg_catalog.regexp_replace(e.escaped, E'\\\\(.)', E'\\1', 'g') END AS name, e.rel::pg_catalog.oid AS rel, e.col::pg_catalog.int2 AS col, pg_catalog.count(*) OVER (PARTITION BY e.attnum, e.escaped) AS entries
          FROM unnest(pg_catalog.string_to_array(pg_catalog.split_part(w.text, ' :targetList ', 2), ' :resno ')) WITH ORDINALITY AS p(text, n)
          CROSS JOIN LATERAL (SELECT pg_catalog.split_part(p.text, ' ', 1)::pg_catalog.int2 AS attnum,
              pg_catalog.split_part(pg_catalog.split_part(p.text, ' :ressortgroupref ', 1), ' :resname ', 2) AS escaped,
              pg_catalog.split_part(pg_catalog.split_part(p.text, ' :resorigtbl ', 2), ' ', 1) AS rel, pg_catalog.split_part(pg_catalog.split_part(p.text, ' :resorigcol ', 2), ' ', 1) AS col) AS e
          WHERE p.n > 1 OFFSET 0) AS o
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = o.attnum AND a.attname::pg_catalog.text = o.name AND NOT a.attisdropped
    WHERE o.entries = 1 AND o.rel <> 0 AND EXISTS (SELECT FROM pg_catalog.pg_attribute b WHERE b.attrelid = o.rel AND b.attnum = o.col))
)::pg_catalog.text
FROM (SELECT DISTINCT vw.oid FROM vw) AS v JOIN pg_catalog.pg_class c ON c.oid = v.oid AND c.relkind = 'v' AND c.relpersistence <> 't' JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN LATERAL (SELECT w.oid, w.ev_action::pg_catalog.text AS text FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '1' OFFSET 0) AS w ON true
CROSS JOIN LATERAL (SELECT pg_catalog.bool_or(o LIKE 'security_invoker=%') AS invoker FROM unnest(c.reloptions) AS o) AS x
WHERE pg_catalog.strpos(w.text, ' :jointree {FROMEXPR :fromlist ({RANGETBLREF :rtindex ') > 0 AND pg_catalog.split_part(pg_catalog.split_part(w.text, ' :jointree {FROMEXPR :fromlist ({RANGETBLREF :rtindex ', 2), ' :quals ', 1) ~ '^[0-9]+[}][)]$'
  AND NOT EXISTS (SELECT FROM unnest(ARRAY['{JOINEXPR ', '{SUBLINK ', '{AGGREF ', ' :hasAggs true', ' :hasWindowFuncs true', ' :hasTargetSRFs true', ' :hasSubLinks true', ' :hasDistinctOn true', ' :cteList (', ' :groupClause (', ' :groupingSets (',
    ' :havingQual {', ' :windowClause (', ' :distinctClause (', ' :limitOffset {', ' :limitCount {', ' :setOperations {', ' :tablesample {']) AS bad WHERE pg_catalog.strpos(w.text, bad) > 0)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1')
UNION ALL
SELECT 'nested', q.list FROM (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(v.start::pg_catalog.int8, v.event, v.root))::pg_catalog.text AS list
  FROM (SELECT DISTINCT r.start, r.event, COALESCE(rel.root::pg_catalog.int8, 0) AS root
        FROM reach r LEFT JOIN rel ON r.kind = 'r' AND rel.oid = r.node
        WHERE r.kind = 'x' OR rel.oid IS NOT NULL AND ((r.does & 104) <> 0
          OR (r.does & 16) <> 0 AND EXISTS (SELECT FROM trg g WHERE g.rel = rel.oid AND (g.type & 17) = 17 AND (g.ours OR g.version)))) AS v) AS q
UNION ALL
SELECT 'identity', pg_catalog.json_build_object('ord', u.ord, 'oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'visible', COALESCE(pg_catalog.pg_table_is_visible(c.oid), false),
  'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, a.atttypid::pg_catalog.int8) ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
)::pg_catalog.text
FROM ROWS FROM (unnest($4::pg_catalog.text[]), unnest($5::pg_catalog.text[])) WITH ORDINALITY AS u(nsp, rel, ord) JOIN pg_catalog.pg_namespace n ON n.nspname = u.nsp JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.rel
UNION ALL
SELECT 'session', pg_catalog.json_build_object('shadowed', EXISTS (
    SELECT FROM (SELECT rel.oid FROM rel UNION ALL SELECT vw.oid FROM vw) AS known JOIN pg_catalog.pg_class c ON c.oid = known.oid JOIN pg_catalog.pg_class t ON t.relname = c.relname
    WHERE t.relnamespace = pg_catalog.pg_my_temp_schema() AND t.oid <> c.oid),
  'moved', EXISTS (SELECT FROM pg_catalog.pg_show_all_settings() g WHERE g.name = 'search_path' AND g.setting <> g.reset_val),
  'defaults', (SELECT pg_catalog.string_agg(s.setdatabase || ' ' || s.setrole || ' ' || c, ', ' ORDER BY s.setdatabase, s.setrole, c)
    FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c
    WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
      AND s.setrole IN (0, (SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = session_user)) AND (pg_catalog.starts_with(c, 'search_path=') OR pg_catalog.starts_with(c, 'role='))),
  'system', CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') THEN (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s) END,
  'timeline', CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog."left"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END,
  'may_set', pg_catalog.has_function_privilege('pg_catalog.set_config(text, text, boolean)', 'EXECUTE'),
  'database', pg_catalog.current_database(), 'role', current_user, 'isolation', pg_catalog.current_setting('transaction_isolation'))::pg_catalog.text
