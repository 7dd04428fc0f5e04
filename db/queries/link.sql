-- LockLinks lets one register at a time decide what starts what: two that close a circle together would
-- each see the half of it. It is taken before every other lock.
-- name: LockLinks :exec
SELECT pg_advisory_xact_lock(hashtext('synthesizer links'));

-- NamedPipelines finds pipelines by name, with the definition of those that it is wanted of.
-- name: NamedPipelines :many
SELECT p.namespace, p.name, (CASE WHEN k.whole THEN r.spec END)::jsonb AS spec
FROM (
    SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name, unnest(@wholes::boolean[]) AS whole
) AS k
JOIN pipeline AS p ON p.namespace = k.namespace AND p.name = k.name
JOIN revision AS r ON r.id = p.revision_id
WHERE p.removed_at IS NULL;

-- NamesOfPipelines gives names of namespaces, for suggestions.
-- name: NamesOfPipelines :many
SELECT p.namespace, p.name
FROM pipeline AS p
WHERE p.namespace = ANY(@namespaces::text[])
  AND p.removed_at IS NULL
ORDER BY p.namespace, p.name
LIMIT 10000;

-- PipelineLinks gives all that starts something: few pipelines do.
-- name: PipelineLinks :many
SELECT p.namespace AS from_namespace, p.name AS from_name, u.namespace AS to_namespace, u.name AS to_name, true::boolean AS call
FROM pipeline_use AS u
JOIN pipeline AS p ON p.id = u.pipeline_id
WHERE u.kind = 'call'
UNION ALL
SELECT t.upstream_namespace, t.upstream_name, p.namespace, p.name, false
FROM pipeline_trigger AS t
JOIN pipeline AS p ON p.id = t.pipeline_id;

-- PoolUsers gives pipelines whose newest revision asks for pools.
-- name: PoolUsers :many
SELECT k.namespace::text AS pool_namespace, k.name::text AS pool_name, p.namespace, p.name
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
JOIN pipeline_use AS u ON u.kind = 'pool' AND u.namespace = k.namespace AND u.name = k.name
JOIN pipeline AS p ON p.id = u.pipeline_id
WHERE NOT p.id = ANY(@without::bigint[])
ORDER BY p.namespace, p.name
LIMIT 1000;

-- PipelineUsers gives pipelines that run others, or wait for their end.
-- name: PipelineUsers :many
SELECT k.namespace::text AS used_namespace, k.name::text AS used_name, p.namespace, p.name
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
CROSS JOIN LATERAL (
    SELECT u.pipeline_id
    FROM pipeline_use AS u
    WHERE u.kind = 'call'
      AND u.namespace = k.namespace
      AND u.name = k.name
    UNION
    SELECT t.pipeline_id
    FROM pipeline_trigger AS t
    WHERE t.upstream_namespace = k.namespace
      AND t.upstream_name = k.name
) AS u
JOIN pipeline AS p ON p.id = u.pipeline_id
WHERE NOT p.id = ANY(@without::bigint[])
ORDER BY k.namespace, k.name, p.namespace, p.name
LIMIT 1000;

-- PipelineCallers gives pipelines with tasks that run others, each with its newest definition.
-- name: PipelineCallers :many
SELECT k.namespace::text AS called_namespace, k.name::text AS called_name, p.namespace, p.name, r.spec
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
JOIN pipeline_use AS u ON u.kind = 'call' AND u.namespace = k.namespace AND u.name = k.name
JOIN pipeline AS p ON p.id = u.pipeline_id
JOIN revision AS r ON r.id = p.revision_id
WHERE NOT p.id = ANY(@without::bigint[])
  AND p.removed_at IS NULL
ORDER BY k.namespace, k.name, p.namespace, p.name
LIMIT 200;

-- ClearLinks forgets what pipelines name.
-- name: ClearLinks :exec
WITH triggers AS (
    DELETE FROM pipeline_trigger AS t
    WHERE t.pipeline_id = ANY(@pipelines::bigint[])
)
DELETE FROM pipeline_use AS u
WHERE u.pipeline_id = ANY(@pipelines::bigint[]);

-- PutTriggers notes whose end starts pipelines, in the order of their files: of those of a pipeline that wait
-- for the same one, the place counts.
-- name: PutTriggers :exec
INSERT INTO pipeline_trigger (pipeline_id, revision_id, upstream_namespace, upstream_name, ordinal)
SELECT k.pipeline_id, k.revision_id, k.namespace, k.name, row_number() OVER (PARTITION BY k.pipeline_id, k.namespace, k.name ORDER BY k.place) - 1
FROM (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id, unnest(@namespaces::text[]) AS namespace,
        unnest(@names::text[]) AS name, generate_subscripts(@pipelines::bigint[], 1) AS place
) AS k;

-- PutUses notes what else pipelines name.
-- name: PutUses :exec
INSERT INTO pipeline_use (pipeline_id, kind, namespace, name)
SELECT unnest(@pipelines::bigint[]), unnest(@kinds::text[]), unnest(@namespaces::text[]), unnest(@names::text[])
ON CONFLICT DO NOTHING;

-- RemovePools takes pools out of use; runs of older revisions may still hold their slots.
-- name: RemovePools :exec
UPDATE pool AS p
SET removed_at = now()
WHERE p.id = ANY(@ids::bigint[])
  AND p.removed_at IS NULL;
