-- LockFollowUps locks runs that triggers ask for and nobody has made, oldest first, with the runs that have
-- ended and what is inherited from them.
-- name: LockFollowUps :many
SELECT k.upstream_run_id, k.pipeline_id, k.ordinal, k.depth, p.namespace, p.name AS pipeline,
    (p.paused_at IS NOT NULL AND (p.paused_until IS NULL OR p.paused_until > now()))::boolean AS paused,
    r.number, r.namespace AS upstream_namespace, r.pipeline AS upstream, r.state, r.reason, r.params, r.outputs,
    r.scheduled_at, r.interval_start, r.interval_end, coalesce(r.backfill_id, 0)::bigint AS backfill_id, now()::timestamptz AS now
FROM (
    SELECT f.upstream_run_id, f.pipeline_id, f.ordinal, f.depth
    FROM follow_up AS f
    WHERE f.run_id IS NULL
    ORDER BY f.asked_at
    LIMIT @batch::int
    FOR UPDATE SKIP LOCKED
) AS k
JOIN pipeline AS p ON p.id = k.pipeline_id
CROSS JOIN LATERAL (
    SELECT r.number, r.namespace, r.pipeline, r.state, r.reason, r.params, r.outputs, r.scheduled_at, r.interval_start, r.interval_end, r.backfill_id
    FROM run AS r
    WHERE r.id = k.upstream_run_id
    OFFSET 0
) AS r;

-- AnswerFollowUps says which runs triggers got. The rows of those that get none go; run 0 stands for none. It
-- is the last statement that may be waited for: whoever ends a run once more waits for the row. A run that
-- failed at once has asked for others before anybody knew how deep it is: now they learn it.
-- name: AnswerFollowUps :exec
WITH k AS (
    SELECT unnest(@upstreams::bigint[]) AS upstream_run_id, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@ordinals::smallint[]) AS ordinal, unnest(@depths::smallint[]) AS depth,
        unnest(@run_ids::bigint[]) AS run_id, unnest(@reasons::text[]) AS reason, unnest(@tolds::boolean[]) AS told
), made AS (
    UPDATE follow_up AS f
    SET run_id = k.run_id
    FROM k
    WHERE f.upstream_run_id = k.upstream_run_id
      AND f.pipeline_id = k.pipeline_id
      AND f.ordinal = k.ordinal
      AND f.run_id IS NULL
      AND k.run_id > 0
), deeper AS (
    UPDATE follow_up AS f
    SET depth = k.depth + 1
    FROM k
    WHERE f.upstream_run_id = k.run_id
      AND k.run_id > 0
), dropped AS (
    DELETE FROM follow_up AS f
    USING k
    WHERE f.upstream_run_id = k.upstream_run_id
      AND f.pipeline_id = k.pipeline_id
      AND f.ordinal = k.ordinal
      AND f.run_id IS NULL
      AND k.run_id = 0
)
INSERT INTO event (kind, entity_id, pipeline_id, reason, cause, actor, detail)
SELECT e.kind, e.entity_id, e.pipeline_id, 'trigger_dropped', k.reason, 'scheduler',
    jsonb_build_object('run_id', k.upstream_run_id, 'pipeline_id', k.pipeline_id, 'ordinal', k.ordinal)
FROM k
CROSS JOIN LATERAL (
    SELECT 'pipeline' AS kind, k.pipeline_id AS entity_id, k.pipeline_id AS pipeline_id
    UNION ALL
    SELECT 'run', k.upstream_run_id, (SELECT r.pipeline_id FROM run AS r WHERE r.id = k.upstream_run_id)
) AS e
WHERE k.run_id = 0
  AND k.told;

-- UpstreamOf gives the run whose end a trigger answered with a run.
-- name: UpstreamOf :one
SELECT r.namespace, r.pipeline, r.number, r.state
FROM follow_up AS f
CROSS JOIN LATERAL (
    SELECT r.namespace, r.pipeline, r.number, r.state
    FROM run AS r
    WHERE r.id = f.upstream_run_id
    OFFSET 0
) AS r
WHERE f.run_id = @run_id;

-- FollowUpsOf gives the runs that triggers asked for at the end of a run; number 0: nobody has made it yet.
-- name: FollowUpsOf :many
SELECT p.namespace, p.name AS pipeline, f.pipeline_id, f.ordinal, f.asked_at, coalesce(r.number, 0)::bigint AS number, coalesce(r.state, '')::text AS state
FROM follow_up AS f
JOIN pipeline AS p ON p.id = f.pipeline_id
LEFT JOIN LATERAL (
    SELECT r.number, r.state
    FROM run AS r
    WHERE r.id = f.run_id
    OFFSET 0
) AS r ON true
WHERE f.upstream_run_id = @run_id
  AND (f.run_id IS NULL OR r.number IS NOT NULL)
  AND (cardinality(@visible::text[]) = 0 OR p.namespace = ANY(@visible))
ORDER BY p.namespace, p.name, f.ordinal
LIMIT @page::int;

-- DroppedOf gives the triggers that the end of a run met and got no run from, the last time that each did.
-- Events of a run are not older than the run.
-- name: DroppedOf :many
SELECT DISTINCT ON (p.namespace, p.name, d.ordinal) p.namespace, p.name AS pipeline, d.pipeline_id, d.ordinal, d.at, d.reason
FROM (
    SELECT e.id, e.at, e.cause AS reason, (e.detail ->> 'pipeline_id')::bigint AS pipeline_id, (e.detail ->> 'ordinal')::smallint AS ordinal
    FROM event AS e
    WHERE e.kind = 'run'
      AND e.entity_id = @run_id::bigint
      AND e.day >= @since::date
      AND e.reason = 'trigger_dropped'
    ORDER BY e.id DESC
    LIMIT @page::int
) AS d
JOIN pipeline AS p ON p.id = d.pipeline_id
WHERE cardinality(@visible::text[]) = 0 OR p.namespace = ANY(@visible)
ORDER BY p.namespace, p.name, d.ordinal, d.id DESC;
