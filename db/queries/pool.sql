-- ListPools gives pools with what of them is taken and who waits, by namespace and name. Sums and counts of
-- one pool stop at 10 000 rows.
-- name: ListPools :many
SELECT p.id, p.namespace, p.name, p.description, p.labels, p.slots, p.reserve_scheduled, coalesce(s.name, '') AS source,
    u.used, u.holding, w.waiting
FROM (
    SELECT o.id, o.namespace, o.name, o.description, o.labels, o.slots, o.reserve_scheduled, o.source_id
    FROM pool AS o
    WHERE o.removed_at IS NULL
      AND (o.namespace, o.name) > (@after_namespace::text, @after_name::text)
      AND (cardinality(@visible::text[]) = 0 OR o.namespace = ANY(@visible::text[]))
    ORDER BY o.namespace, o.name
    LIMIT @page::int
) AS p
LEFT JOIN source AS s ON s.id = p.source_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(h.slots), 0)::int AS used, count(*)::int AS holding
    FROM (
        SELECT r.slots FROM ready AS r WHERE r.pool_id = p.id
        UNION ALL
        SELECT l.slots FROM live AS l WHERE l.pool_id = p.id
        LIMIT 10000
    ) AS h
) AS u
CROSS JOIN LATERAL (
    SELECT count(*)::int AS waiting
    FROM (SELECT FROM waiter AS k WHERE k.pool_id = p.id LIMIT 10000) AS q
) AS w
ORDER BY p.namespace, p.name;

-- PoolNamed gives a pool as ListPools does.
-- name: PoolNamed :one
SELECT p.id, p.namespace, p.name, p.description, p.labels, p.slots, p.reserve_scheduled, coalesce(s.name, '') AS source,
    u.used, u.holding, w.waiting
FROM pool AS p
LEFT JOIN source AS s ON s.id = p.source_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(h.slots), 0)::int AS used, count(*)::int AS holding
    FROM (
        SELECT r.slots FROM ready AS r WHERE r.pool_id = p.id
        UNION ALL
        SELECT l.slots FROM live AS l WHERE l.pool_id = p.id
        LIMIT 10000
    ) AS h
) AS u
CROSS JOIN LATERAL (
    SELECT count(*)::int AS waiting
    FROM (SELECT FROM waiter AS k WHERE k.pool_id = p.id LIMIT 10000) AS q
) AS w
WHERE p.namespace = @namespace::text
  AND p.name = @name::text
  AND p.removed_at IS NULL;

-- PoolNames gives names of pools in a namespace, for suggestions.
-- name: PoolNames :many
SELECT p.name
FROM pool AS p
WHERE p.namespace = @namespace::text
  AND p.removed_at IS NULL
ORDER BY p.name
LIMIT 1000;

-- PoolHolders gives the tasks that hold slots of a pool, oldest first.
-- name: PoolHolders :many
SELECT h.run_id, h.number, h.slots, h.since, h.state, t.name, r.namespace, r.pipeline, r.number AS run_number,
    coalesce(e.name, '')::text AS executor, coalesce(e.host, '')::text AS host
FROM (
    SELECT u.run_id, u.number, u.slots, u.since, u.state, u.executor
    FROM (
        SELECT l.run_id, l.number, l.slots, l.claimed_at AS since, 'running'::text AS state, l.executor
        FROM live AS l
        WHERE l.pool_id = @pool_id::bigint
        UNION ALL
        SELECT d.run_id, d.number, d.slots, d.ready_at, 'ready', NULL
        FROM ready AS d
        WHERE d.pool_id = @pool_id
        LIMIT 10000
    ) AS u
    ORDER BY u.since, u.run_id, u.number
    LIMIT @page::int
) AS h
CROSS JOIN LATERAL (
    SELECT r.namespace, r.pipeline, r.number
    FROM run AS r
    WHERE r.id = h.run_id
    OFFSET 0
) AS r
CROSS JOIN LATERAL (
    SELECT t.name
    FROM task AS t
    WHERE t.run_id = h.run_id
      AND t.number = h.number
    OFFSET 0
) AS t
LEFT JOIN LATERAL (
    SELECT e.name, e.host
    FROM executor AS e
    WHERE e.id = h.executor
    OFFSET 0
) AS e ON true
ORDER BY h.since, h.run_id, h.number;

-- PoolQueue gives the tasks that wait for a pool, in the order of its queue.
-- name: PoolQueue :many
SELECT h.run_id, h.number, h.slots, h.since, t.name, r.namespace, r.pipeline, r.number AS run_number,
    EXISTS (SELECT FROM open_run AS o WHERE o.run_id = h.run_id AND o.backfill_id <> 0)::boolean AS backfill
FROM (
    SELECT w.run_id, w.number, w.slots, w.since, w.rank
    FROM waiter AS w
    WHERE w.pool_id = @pool_id::bigint
    ORDER BY w.rank, w.run_id, w.number
    LIMIT @page::int
) AS h
CROSS JOIN LATERAL (
    SELECT r.namespace, r.pipeline, r.number
    FROM run AS r
    WHERE r.id = h.run_id
    OFFSET 0
) AS r
CROSS JOIN LATERAL (
    SELECT t.name
    FROM task AS t
    WHERE t.run_id = h.run_id
      AND t.number = h.number
    OFFSET 0
) AS t
ORDER BY h.rank, h.run_id, h.number;

-- PoolLimits gives how many slots pools have, and keep for scheduled runs.
-- name: PoolLimits :many
SELECT p.id, p.namespace, p.name, p.slots, p.reserve_scheduled
FROM pool AS p
WHERE p.id = ANY(@ids::bigint[]);
