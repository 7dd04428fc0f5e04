-- +goose Up
-- What pipelines name: pools, pipelines that they run, pipelines whose end starts them.
SET LOCAL lock_timeout = '2s';

-- A pool that left its file stays for the runs of older revisions that still ask for it.
ALTER TABLE pool
    ADD COLUMN description text NOT NULL DEFAULT '',
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN removed_at timestamptz;

-- Whose end starts what: triggers of the newest revisions. Who ends a run looks here by the pipeline's name.
CREATE TABLE pipeline_trigger (
    pipeline_id        bigint NOT NULL REFERENCES pipeline,     -- what is started
    ordinal            smallint NOT NULL CHECK (ordinal >= 0),  -- which of its triggers
    revision_id        bigint NOT NULL REFERENCES revision,
    upstream_namespace text NOT NULL,
    upstream_name      text NOT NULL,
    PRIMARY KEY (pipeline_id, ordinal)
);
CREATE INDEX pipeline_trigger_upstream ON pipeline_trigger (upstream_namespace, upstream_name);
-- For whoever deletes old revisions.
CREATE INDEX pipeline_trigger_revision ON pipeline_trigger (revision_id);

-- What the newest revisions name beside that.
CREATE TABLE pipeline_use (
    pipeline_id bigint NOT NULL REFERENCES pipeline,
    kind        text NOT NULL CHECK (kind IN ('pool', 'call')),
    namespace   text NOT NULL,
    name        text NOT NULL,
    PRIMARY KEY (pipeline_id, kind, namespace, name)
);
CREATE INDEX pipeline_use_of ON pipeline_use (kind, namespace, name);

INSERT INTO pipeline_use (pipeline_id, kind, namespace, name)
SELECT DISTINCT p.id, 'pool', t.task->'pool'->>'namespace', t.task->'pool'->>'name'
FROM pipeline AS p
JOIN revision AS r ON r.id = p.revision_id
CROSS JOIN LATERAL (
    SELECT e.value AS task FROM jsonb_each(coalesce(r.spec->'tasks', '{}')) AS e
    UNION ALL
    SELECT e.value FROM jsonb_each(coalesce(r.spec->'finally', '{}')) AS e
) AS t
WHERE p.removed_at IS NULL
  AND t.task->'pool'->>'name' IS NOT NULL;
