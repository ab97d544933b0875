-- Run as a test of the suite behind test_setup, which fills its tables by COPY without column names: gives a version
-- column to each table of public whose name is in suite.protected, to those there are and to those that will be.
CREATE FUNCTION suite.protect(name text, rel oid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class c JOIN suite.protected p ON p.name = c.relname
               WHERE c.oid = rel AND c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
                 AND NOT c.relispartition AND c.reloftype = 0)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = rel AND attname = 'version')
    THEN
        EXECUTE pg_catalog.format('ALTER TABLE %s ADD COLUMN version integer NOT NULL DEFAULT 1', name);
    END IF;
END
$$;
CREATE FUNCTION suite.protect_new() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM suite.protect(object_identity, objid)
    FROM pg_catalog.pg_event_trigger_ddl_commands() WHERE object_type = 'table';
END
$$;
SELECT count(*) FROM (SELECT suite.protect(oid::regclass::text, oid) FROM pg_class WHERE relkind IN ('r', 'p') OFFSET 0) AS t;
CREATE EVENT TRIGGER suite_protect ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
    EXECUTE FUNCTION suite.protect_new();
