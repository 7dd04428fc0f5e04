-- ExplainPipeline gives what may hold a pipeline's ticks and runs back.
-- name: ExplainPipeline :one
SELECT p.id, p.namespace, p.name, p.revision_id::bigint AS revision_id, p.removed_at,
    p.paused_at, p.paused_by, p.pause_reason, p.paused_until, p.frozen_at, p.frozen_by, p.freeze_reason, p.frozen_until,
    s.last_ended_at, now()::timestamptz AS now
FROM pipeline AS p
LEFT JOIN pipeline_stat AS s ON s.pipeline_id = p.id
WHERE p.id = @id;

-- ExplainOpenRun gives where a run that has not ended stands, and whether the scheduler has been asked to
-- look at it or at its group.
-- name: ExplainOpenRun :one
SELECT o.run_id, o.group_id, o.revision_id, o.state, o.phase, o.created_at, o.admitted_at, o.deadline_at, o.timed_out_at,
    o.cancel_requested_at, o.unfinished, l.free_at AS next_turn,
    EXISTS (SELECT 1 FROM wake AS w WHERE w.kind = 'r' AND w.subject = o.run_id AND w.not_before <= now())::boolean AS woken,
    EXISTS (SELECT 1 FROM wake AS w WHERE w.kind = 'g' AND w.subject = o.group_id AND w.not_before <= now())::boolean AS group_woken
FROM open_run AS o
CROSS JOIN late_start AS l
WHERE o.run_id = @run_id;

-- ExplainGroupCounts says how many runs of a group run, and how many are queued before a run.
-- name: ExplainGroupCounts :one
SELECT count(*) FILTER (WHERE o.state = 'running')::int AS running,
    count(*) FILTER (WHERE o.state = 'queued' AND o.run_id < @run_id)::int AS before
FROM open_run AS o
WHERE o.group_id = @group_id;

-- ExplainGroup gives the first of the runs of a group that run, and of those that were created before a run
-- or are it, in order.
-- name: ExplainGroup :many
WITH k AS MATERIALIZED (
    SELECT o.run_id, o.state, o.revision_id, o.from_tick, o.counted, o.reopened, o.backfill_id, o.beside, o.created_at, o.admitted_at, o.turn_at,
        (o.cancel_requested_at IS NOT NULL)::boolean AS cancel_requested,
        (o.state = 'queued' AND (SELECT p.frozen_at FROM pipeline AS p WHERE p.id = o.pipeline_id) IS NOT NULL)::boolean AS frozen
    FROM open_run AS o
    WHERE o.group_id = @group_id
), g AS (
    SELECT k.run_id, k.state, k.revision_id, k.from_tick, k.counted, k.reopened, k.backfill_id, k.beside, k.created_at, k.admitted_at, k.turn_at, k.cancel_requested, k.frozen
    FROM k
    WHERE k.state = 'running'
       OR k.run_id <= @run_id::bigint
    ORDER BY k.state DESC, k.run_id
    LIMIT @page::int
)
SELECT g.run_id, g.state, g.revision_id, g.from_tick, g.counted, g.reopened, g.backfill_id, g.beside, g.created_at, g.admitted_at, g.turn_at, g.cancel_requested, g.frozen,
    r.namespace, r.pipeline, r.number
FROM g
CROSS JOIN LATERAL (
    SELECT r.namespace, r.pipeline, r.number
    FROM run AS r
    WHERE r.id = g.run_id
    OFFSET 0
) AS r
ORDER BY g.state DESC, g.run_id;

-- ExplainQueued gives the oldest runs of a pipeline that are queued, and how many there are.
-- name: ExplainQueued :many
WITH k AS MATERIALIZED (
    SELECT o.run_id
    FROM open_run AS o
    WHERE o.pipeline_id = @pipeline_id
      AND o.state = 'queued'
)
SELECT k.run_id, r.number, (SELECT count(*) FROM k)::int AS queued
FROM k
CROSS JOIN LATERAL (
    SELECT r.number
    FROM run AS r
    WHERE r.id = k.run_id
    OFFSET 0
) AS r
ORDER BY k.run_id
LIMIT @page::int;

-- ExplainTasks gives tasks and items of a run by number, with the queue that they stand in or the attempt
-- that is alive.
-- name: ExplainTasks :many
SELECT t.number, t.name, t.item, t.state, t.reason, t.detail, t.needs_left, t.attempt,
    t.failures, t.losses, t.ready_at, t.due_at, t.wake_at, t.deadline_at, t.ended_at,
    t.items, t.released, t.unfinished, t.ok, t.failed, t.canceled, t.skipped,
    l.attempt AS live_attempt, l.state AS live_state, l.claimed_at, l.started_at, l.stop_reason, l.stop_requested_at, l.executor,
    l.failures AS live_failures, l.losses AS live_losses,
    coalesce((SELECT e.name FROM executor AS e WHERE e.id = l.executor), '')::text AS executor_name,
    coalesce((SELECT e.host FROM executor AS e WHERE e.id = l.executor), '')::text AS executor_host,
    r.rank AS ready_rank, r.lane AS ready_lane, r.ready_at AS queued_at, r.queue_deadline AS ready_deadline,
    w.rank AS waiter_rank, w.pool_id, w.slots AS waiter_slots, w.since AS waiter_since, w.queue_deadline AS waiter_deadline
FROM (SELECT unnest(@numbers::int[]) AS number) AS k
CROSS JOIN LATERAL (
    SELECT t.run_id, t.number, t.name, t.item, t.state, t.reason, t.detail, t.needs_left, t.attempt,
        t.failures, t.losses, t.ready_at, t.due_at, t.wake_at, t.deadline_at, t.ended_at,
        t.items, t.released, t.unfinished, t.ok, t.failed, t.canceled, t.skipped
    FROM task AS t
    WHERE t.run_id = @run_id::bigint
      AND t.number = k.number
    OFFSET 0
) AS t
LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number
LEFT JOIN ready AS r ON r.run_id = t.run_id AND r.number = t.number
LEFT JOIN waiter AS w ON w.run_id = t.run_id AND w.number = t.number
ORDER BY t.number;

-- ExplainQuestion gives the question of a task that waits for an approval.
-- name: ExplainQuestion :one
SELECT p.prompt, p.asked_at, p.deadline_at, coalesce(p.decision, '') AS decision, p.decided_at, p.decided_by
FROM approval AS p
WHERE p.run_id = @run_id
  AND p.number = @number
  AND p.closed_at IS NULL;

-- ExplainCall gives the run that a task waits for; number 0: nobody has made it yet.
-- name: ExplainCall :one
SELECT c.namespace, c.pipeline, coalesce(c.number, 0)::bigint AS number, coalesce(r.state, '')::text AS state, coalesce(r.started_at, r.created_at, c.asked_at)::timestamptz AS since
FROM child_run AS c
LEFT JOIN run AS r ON r.id = c.run_id
WHERE c.parent_run_id = @run_id
  AND c.parent_number = @number
ORDER BY c.attempt DESC
LIMIT 1;

-- ExplainOpenTasks gives of a range of a run's tasks and items those that have not ended, one row for all
-- that are alike: of one task, and held by the same. first is the one that comes first.
-- name: ExplainOpenTasks :many
WITH k AS (
    SELECT t.number / 16384 AS ordinal, t.number,
        CASE
            WHEN l.run_id IS NOT NULL THEN 'running'
            WHEN r.run_id IS NOT NULL THEN 'ready'
            WHEN w.run_id IS NOT NULL THEN 'pool'
            WHEN t.items IS NOT NULL THEN 'items'
            WHEN t.needs_left > 0 THEN 'needs'
            ELSE t.reason
        END AS standing,
        coalesce(r.rank, w.rank, (extract(epoch FROM coalesce(t.wake_at, l.claimed_at)) * 1000)::bigint, 0) AS place
    FROM task AS t
    LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number
    LEFT JOIN ready AS r ON r.run_id = t.run_id AND r.number = t.number
    LEFT JOIN waiter AS w ON w.run_id = t.run_id AND w.number = t.number
    WHERE t.run_id = @run_id
      AND t.number BETWEEN @low::int AND @high::int
      AND t.ended_at IS NULL
)
SELECT k.ordinal::int AS ordinal, k.standing::text AS standing, (array_agg(k.number ORDER BY k.place, k.number))[1]::int AS first, count(*)::int AS tasks
FROM k
GROUP BY 1, 2
ORDER BY 1, 2;

-- ExplainHeld gives what of a run comes before a task when places under its max_parallel are given: tasks
-- and items that it held back or whose back-off is over, and fan-outs with items to release.
-- name: ExplainHeld :many
SELECT t.number, t.items, t.released, t.unfinished
FROM task AS t
WHERE t.run_id = @run_id
  AND t.number < @number::int
  AND (t.items IS NULL AND t.state = 'waiting' AND (t.reason = 'max_parallel' OR t.reason = 'backoff' AND t.wake_at <= now())
    OR t.state = 'ready' AND t.released < t.items)
ORDER BY t.number
LIMIT @batch::int;

-- ExplainActive gives what is released in a run and has not ended, oldest first, and how much there is:
-- what counts towards its max_parallel.
-- name: ExplainActive :many
WITH a AS (
    SELECT l.number, l.claimed_at AS since, 'running'::text AS state, l.executor
    FROM live AS l
    WHERE l.run_id = @run_id
    UNION ALL
    SELECT r.number, r.ready_at, 'ready', NULL
    FROM ready AS r
    WHERE r.run_id = @run_id
    UNION ALL
    SELECT w.number, w.since, 'waiting', NULL
    FROM waiter AS w
    WHERE w.run_id = @run_id
)
SELECT a.number, a.since, a.state, t.name, coalesce(e.name, '')::text AS executor_name, coalesce(e.host, '')::text AS executor_host,
    (SELECT count(*) FROM a)::int AS active
FROM a
CROSS JOIN LATERAL (
    SELECT t.name
    FROM task AS t
    WHERE t.run_id = @run_id::bigint
      AND t.number = a.number
    OFFSET 0
) AS t
LEFT JOIN LATERAL (
    SELECT e.name, e.host
    FROM executor AS e
    WHERE e.id = a.executor
    OFFSET 0
) AS e ON true
ORDER BY a.since, a.number
LIMIT @page::int;

-- ExplainPool gives a pool, what of it is taken, and who waits for it: all, and those before a rank.
-- name: ExplainPool :one
WITH u AS (
    SELECT r.slots FROM ready AS r WHERE r.pool_id = @id::bigint
    UNION ALL
    SELECT l.slots FROM live AS l WHERE l.pool_id = @id::bigint
), b AS (
    SELECT w.slots FROM waiter AS w WHERE w.pool_id = @id::bigint AND w.rank < @rank::bigint LIMIT 10000
), c AS (
    SELECT w.slots FROM waiter AS w WHERE w.pool_id = @id::bigint LIMIT 10000
)
SELECT p.id, p.namespace, p.name, p.slots, p.reserve_scheduled, (extract(epoch FROM now() - p.floor_at) * 1000)::bigint AS since_floor_ms,
    (SELECT coalesce(sum(u.slots), 0) FROM u)::int AS taken,
    (SELECT count(*) FROM c)::int AS waiting,
    (SELECT count(*) FROM b)::int AS before,
    EXISTS (SELECT 1 FROM wake AS w WHERE w.kind = 'p' AND w.subject = p.id AND w.not_before <= now())::boolean AS woken
FROM pool AS p
WHERE p.id = @id::bigint;

-- ExplainPoolHolders gives those who hold slots of a pool, oldest first, and how many they are.
-- name: ExplainPoolHolders :many
WITH u AS (
    SELECT l.run_id, l.number, l.slots, l.claimed_at AS since, 'running'::text AS state, l.executor
    FROM live AS l
    WHERE l.pool_id = @pool_id::bigint
    UNION ALL
    SELECT d.run_id, d.number, d.slots, d.ready_at, 'ready', NULL
    FROM ready AS d
    WHERE d.pool_id = @pool_id::bigint
), h AS (
    SELECT u.run_id, u.number, u.slots, u.since, u.state, u.executor
    FROM u
    ORDER BY u.since, u.run_id, u.number
    LIMIT @page::int
)
SELECT h.run_id, h.number, h.slots, h.since, h.state, t.name, r.namespace, r.pipeline, r.number AS run_number,
    coalesce(e.name, '')::text AS executor_name, coalesce(e.host, '')::text AS executor_host, (SELECT count(*) FROM u)::int AS holders
FROM h
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

-- ExplainExecutors gives the executors that are alive.
-- name: ExplainExecutors :many
SELECT e.id, e.name, e.host, e.labels, e.slots, (e.draining_at IS NOT NULL)::boolean AS draining,
    (SELECT count(*) FROM live AS l WHERE l.executor = e.id)::int AS used
FROM executor AS e
WHERE e.stopped_at IS NULL
  AND e.lease_until > now()
ORDER BY e.name, e.id
LIMIT 1000;

-- ExplainReadyBefore counts the ready tasks before a rank, by the labels that they ask for.
-- name: ExplainReadyBefore :many
SELECT n.labels, k.tasks
FROM lane AS n
CROSS JOIN LATERAL (
    SELECT count(*)::int AS tasks
    FROM (
        SELECT 1
        FROM ready AS r
        WHERE r.lane = n.id
          AND r.rank <= @rank::bigint
          AND (r.run_id, r.number) <> (@run_id::bigint, @number::int)
        ORDER BY r.lane, r.rank
        LIMIT 10000
    ) AS c
) AS k
WHERE n.target = ''
  AND k.tasks > 0;

-- ExplainBusy gives what executors are at, oldest first.
-- name: ExplainBusy :many
SELECT h.run_id, h.number, h.since, t.name, r.namespace, r.pipeline, r.number AS run_number, coalesce(e.name, '')::text AS executor_name, coalesce(e.host, '')::text AS executor_host
FROM (
    SELECT l.run_id, l.number, l.claimed_at AS since, l.executor
    FROM live AS l
    WHERE l.executor = ANY(@executors::uuid[])
    ORDER BY l.claimed_at, l.run_id, l.number
    LIMIT @page::int
) AS h
LEFT JOIN LATERAL (
    SELECT e.name, e.host
    FROM executor AS e
    WHERE e.id = h.executor
    OFFSET 0
) AS e ON true
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
ORDER BY h.since, h.run_id, h.number;

-- ExplainRunning counts the runs of a pipeline that run, and gives the newest.
-- name: ExplainRunning :one
SELECT count(*)::int AS running, coalesce(max(o.run_id), 0)::bigint AS newest
FROM open_run AS o
WHERE o.pipeline_id = @pipeline_id
  AND o.state = 'running';
