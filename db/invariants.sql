DROP SCHEMA IF EXISTS inv CASCADE;
CREATE SCHEMA inv;
CREATE FUNCTION inv.report() RETURNS TABLE (inv text, bad bigint) LANGUAGE sql AS $$ SELECT ''::text, 0::bigint WHERE false $$;
