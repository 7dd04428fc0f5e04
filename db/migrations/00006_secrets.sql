-- +goose Up
-- What pipelines read of what is set outside of them, and who has read secrets.
SET LOCAL lock_timeout = '2s';

ALTER TABLE secret
    ADD CONSTRAINT secret_sealed_check CHECK (octet_length(sealed) BETWEEN 1 AND 131072);

-- When a secret was last read, and by which executor: a minute apart at most.
CREATE TABLE secret_read (
    namespace text NOT NULL,
    name      text NOT NULL,
    read_at   timestamptz NOT NULL DEFAULT now(),
    read_by   text NOT NULL DEFAULT '',
    PRIMARY KEY (namespace, name)
) WITH (fillfactor = 80);

-- The secrets and variables that the newest revision of each pipeline names; written by register.
CREATE TABLE pipeline_read (
    pipeline_id bigint NOT NULL REFERENCES pipeline,
    kind        text NOT NULL CHECK (kind IN ('secret', 'var')),
    name        text NOT NULL,
    PRIMARY KEY (pipeline_id, kind, name)
);

-- Of pipelines that are there already: secrets by the tasks that list them, the rest as their text has it.
INSERT INTO pipeline_read (pipeline_id, kind, name)
SELECT p.id, 'secret', s.name #>> '{}'
FROM pipeline AS p
JOIN revision AS r ON r.id = p.revision_id
CROSS JOIN LATERAL (
    SELECT jsonb_path_query(r.spec, '$.tasks.*.secrets.*') AS name
    UNION
    SELECT jsonb_path_query(r.spec, '$.finally.*.secrets.*')
) AS s
UNION
SELECT p.id, rtrim(m.found[1], 's'), m.found[2]
FROM pipeline AS p
JOIN revision AS r ON r.id = p.revision_id
CROSS JOIN LATERAL regexp_matches(r.spec::text, '\m(secrets|vars)\.([A-Za-z_][A-Za-z0-9_]{0,127})', 'g') AS m (found);
