-- PageHead gives what every page shows around its subject: the time, whether the reader sees more than one
-- namespace, and how many questions wait for an answer, up to 100.
-- name: PageHead :one
SELECT now()::timestamptz AS now, coalesce(min(p.namespace) <> max(p.namespace), false)::boolean AS several,
    (SELECT count(*) FROM (
        SELECT 1
        FROM approval AS a
        JOIN pipeline AS w ON w.id = a.pipeline_id
        WHERE a.decision IS NULL
          AND a.closed_at IS NULL
          AND (cardinality(@visible::text[]) = 0 OR w.namespace = ANY(@visible))
        LIMIT 100
    ) AS k)::int AS questions
FROM pipeline AS p
WHERE p.removed_at IS NULL
  AND (cardinality(@visible::text[]) = 0 OR p.namespace = ANY(@visible));

-- PageTasks gives the tasks of a run without the items of fan-outs, with what holds back those that wait
-- for slots of a pool.
-- name: PageTasks :many
SELECT t.number, t.name, t.item,
    (CASE WHEN l.run_id IS NOT NULL THEN 'running' ELSE t.state END)::text AS state,
    t.reason, t.detail, t.attempt, t.ready_at, t.wake_at, t.due_at, t.ended_at, t.outputs,
    t.items, t.unfinished, t.ok, t.failed, t.canceled, t.skipped,
    coalesce(o.name, '')::text AS pool, coalesce(w.place, 0)::int AS pool_place
FROM task AS t
LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number
LEFT JOIN LATERAL (
    SELECT k.pool_id, (SELECT count(*) FROM waiter AS b WHERE b.pool_id = k.pool_id AND b.rank <= k.rank) AS place
    FROM waiter AS k
    WHERE k.run_id = t.run_id
      AND k.number = t.number
) AS w ON true
LEFT JOIN pool AS o ON o.id = w.pool_id
WHERE t.run_id = @run_id
  AND t.number % 16384 = 0
ORDER BY t.number
LIMIT @page::int;

-- PageItems gives some items of each of some fan-outs: those that failed first, then those at work, then
-- the others.
-- name: PageItems :many
SELECT i.number, i.name, i.item, i.state::text AS state, i.reason, i.detail, i.attempt, i.ready_at, i.wake_at, i.ended_at, i.outputs
FROM (SELECT unnest(@numbers::int[]) AS number) AS k
CROSS JOIN LATERAL (
    SELECT t.number, t.name, t.item, CASE WHEN l.run_id IS NOT NULL THEN 'running' ELSE t.state END AS state,
        t.reason, t.detail, t.attempt, t.ready_at, t.wake_at, t.ended_at, t.outputs
    FROM task AS t
    LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number
    WHERE t.run_id = @run_id
      AND t.number > k.number
      AND t.number < k.number + 16384
    ORDER BY CASE WHEN t.state = 'failed' THEN 0 WHEN l.run_id IS NOT NULL THEN 1 WHEN t.ended_at IS NULL THEN 2 ELSE 3 END, t.number
    LIMIT @each::int
) AS i
ORDER BY i.number;

-- PageFailure gives the task or item of a run that failed first, after an attempt of its own if one did.
-- name: PageFailure :many
SELECT t.number, t.name, t.item, t.state, t.reason, t.detail, t.attempt, t.ready_at, t.wake_at, t.ended_at, t.outputs
FROM task AS t
WHERE t.run_id = @run_id
  AND t.state = 'failed'
ORDER BY (t.attempt = 0), t.ended_at, t.number
LIMIT 1;

-- PageAttempts gives the attempts of some tasks of a run, finished and living, in order.
-- name: PageAttempts :many
SELECT a.number, a.attempt, a.state, a.reason, a.detail, a.exit_code, a.signal, coalesce(e.name, a.executor::text)::text AS executor,
    a.claimed_at, a.started_at, coalesce(a.ended_at, '0001-01-01 00:00:00+00')::timestamptz AS ended_at, a.cpu_ms, a.max_rss, a.log_seen, a.log_stored, a.summary
FROM (
    SELECT d.number, d.attempt, d.state, d.reason, d.detail, d.exit_code, d.signal, d.executor, d.claimed_at, d.started_at,
        d.ended_at, d.cpu_ms, d.max_rss, d.log_seen, d.log_stored, d.summary
    FROM attempt AS d
    WHERE d.run_id = @run_id
      AND d.number = ANY(@numbers::int[])
    UNION ALL
    SELECT l.number, l.attempt, l.state, coalesce(l.stop_reason, ''), '', NULL, NULL, l.executor, l.claimed_at, l.started_at,
        NULL, NULL, NULL, l.log_seen, l.log_stored, NULL
    FROM live AS l
    WHERE l.run_id = @run_id
      AND l.number = ANY(@numbers::int[])
) AS a
LEFT JOIN executor AS e ON e.id = a.executor
ORDER BY a.number, a.attempt;

-- PageAround gives what surrounds a run: its neighbours, the last one that succeeded before it, and how
-- many runs of its group are open.
-- name: PageAround :one
SELECT
    coalesce((SELECT b.number FROM run AS b WHERE b.pipeline_id = @pipeline_id AND b.number < @number ORDER BY b.number DESC LIMIT 1), 0)::bigint AS previous,
    coalesce((SELECT f.number FROM run AS f WHERE f.pipeline_id = @pipeline_id AND f.number > @number ORDER BY f.number LIMIT 1), 0)::bigint AS next,
    (SELECT count(*) FROM open_run AS o WHERE o.group_id = @group_id AND o.state = 'running')::int AS running,
    (SELECT count(*) FROM open_run AS o WHERE o.group_id = @group_id AND o.state = 'queued' AND o.run_id < @run_id)::int AS queued_before;

-- PageChanges gives what events say has changed since a transaction, and the transaction to go on from.
-- Events of transactions that were open then come again: who reads is told twice rather than never.
-- name: PageChanges :one
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS at,
    coalesce((SELECT array_agg(DISTINCT e.pipeline_id) FROM event AS e WHERE e.xid >= CAST(@since::text AS xid8) AND e.pipeline_id IS NOT NULL), '{}')::bigint[] AS pipelines;

-- FindSession gives what a page session holds, and moves its idle end when half of that time has passed.
-- name: FindSession :one
WITH found AS (
    SELECT s.token, s.data, s.expiry
    FROM session AS s
    WHERE s.token = @token
      AND s.expiry > now()
), moved AS (
    UPDATE session AS s
    SET expiry = now() + make_interval(secs => @idle_seconds::float8)
    FROM found AS f
    WHERE s.token = f.token
      AND f.expiry < now() + make_interval(secs => @idle_seconds::float8) / 2
)
SELECT f.data, now()::timestamptz AS now
FROM found AS f;

-- KeepSession stores a page session.
-- name: KeepSession :exec
INSERT INTO session (token, data, expiry)
VALUES (@token, @data, now() + make_interval(secs => @idle_seconds::float8))
ON CONFLICT (token) DO UPDATE SET data = excluded.data, expiry = excluded.expiry;

-- EndSession ends a page session.
-- name: EndSession :exec
DELETE FROM session AS s
WHERE s.token = @token;
