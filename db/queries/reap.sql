-- Look is all that a scheduler at rest asks, once a second: whether runs or pools, groups, and backfills have
-- been woken and nobody said so; whether a time has passed that the reaper acts on; whether an executor that is
-- gone still holds something (as LiveExecutors finds it). With it comes every executor that has not
-- stopped, for the reaper to compare with what it saw before: a lease has to be over and the beat has to
-- stand still. Without executors there is one row, and its id is NULL.
-- name: Look :many
WITH RECURSIVE names AS (
    SELECT f.id
    FROM (SELECT l.executor AS id FROM live AS l ORDER BY l.executor LIMIT 1) AS f
    UNION ALL
    SELECT x.id
    FROM names AS n
    CROSS JOIN LATERAL (SELECT l.executor AS id FROM live AS l WHERE l.executor > n.id ORDER BY l.executor LIMIT 1) AS x
)
SELECT d.woken, d.admit, d.asked, d.backfill, d.late, d.orphans, e.id, coalesce(e.name, '')::text AS name, coalesce(e.beat, 0)::bigint AS beat,
    coalesce(e.lease_until < now(), false)::boolean AS expired,
    coalesce(e.lease_until > now() + interval '2 milliseconds' * @lease_ms::bigint, false)::boolean AS ahead
FROM (
    SELECT
        -- The first of each kind, in the order of one index: EXISTS may take another and read every wake to come.
        (coalesce((SELECT w.not_before <= statement_timestamp() FROM wake AS w WHERE w.kind = 'r' ORDER BY w.kind, w.not_before, w.id LIMIT 1), false)
            OR coalesce((SELECT w.not_before <= statement_timestamp() FROM wake AS w WHERE w.kind = 'p' ORDER BY w.kind, w.not_before, w.id LIMIT 1), false))::boolean AS woken,
        coalesce((SELECT w.not_before <= statement_timestamp() FROM wake AS w WHERE w.kind = 'g' ORDER BY w.kind, w.not_before, w.id LIMIT 1), false)::boolean AS admit,
        coalesce((SELECT w.not_before <= statement_timestamp() FROM wake AS w WHERE w.kind = 'b' ORDER BY w.kind, w.not_before, w.id LIMIT 1), false)::boolean AS backfill,
        (EXISTS (SELECT 1 FROM child_run AS c WHERE c.run_id IS NULL AND c.reason IS NULL)
            OR EXISTS (SELECT 1 FROM follow_up AS f WHERE f.run_id IS NULL))::boolean AS asked,
        (EXISTS (SELECT 1 FROM open_run AS o WHERE o.deadline_at <= statement_timestamp())
            OR EXISTS (SELECT 1 FROM ready AS r WHERE r.queue_deadline <= statement_timestamp())
            OR EXISTS (SELECT 1 FROM waiter AS w WHERE w.queue_deadline <= statement_timestamp())
            OR EXISTS (SELECT 1 FROM pipeline AS p WHERE p.paused_until <= statement_timestamp()))::boolean AS late,
        EXISTS (
            SELECT 1
            FROM names AS n
            LEFT JOIN executor AS x ON x.id = n.id
            WHERE x.id IS NULL
               OR x.stopped_at IS NOT NULL
        )::boolean AS orphans
) AS d
LEFT JOIN executor AS e ON e.stopped_at IS NULL;

-- StopExecutor declares an executor dead, unless its beat has moved since.
-- name: StopExecutor :execrows
UPDATE executor AS e
SET stopped_at = now()
WHERE e.id = @id
  AND e.beat = @beat
  AND e.stopped_at IS NULL;

-- LiveExecutors gives the executors that live attempts name, each once, however many attempts there are.
-- name: LiveExecutors :many
WITH RECURSIVE names AS (
    SELECT f.id
    FROM (SELECT l.executor AS id FROM live AS l ORDER BY l.executor LIMIT 1) AS f
    UNION ALL
    SELECT x.id
    FROM names AS n
    CROSS JOIN LATERAL (SELECT l.executor AS id FROM live AS l WHERE l.executor > n.id ORDER BY l.executor LIMIT 1) AS x
)
SELECT n.id::uuid AS executor
FROM names AS n
LEFT JOIN executor AS e ON e.id = n.id
WHERE e.id IS NULL
   OR e.stopped_at IS NOT NULL;

-- LockOrphans locks live attempts of executors that are gone: local ones, and remote ones that were
-- claimed and not yet handed to the target's shard. In no order: it waits for nobody.
-- name: LockOrphans :many
SELECT l.run_id, l.number, l.attempt, l.executor, l.lease_token, l.state, l.revision_id, l.started_at, l.stop_reason,
    l.failures, l.losses, l.handbacks, l.last_loser, l.losers
FROM live AS l
WHERE l.executor = ANY(@executors::uuid[])
  AND (l.target IS NULL OR l.state = 'claimed')
LIMIT @batch::int
FOR UPDATE SKIP LOCKED;

-- TimeOutRuns marks open runs whose time is over and wakes them.
-- name: TimeOutRuns :many
WITH due AS (
    SELECT k.place
    FROM (
        -- In the order of its index: in the order of the keys all open runs would be read for the late ones.
        SELECT o.run_id
        FROM open_run AS o
        WHERE o.deadline_at <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        ORDER BY o.deadline_at
        LIMIT @batch::int
    ) AS l
    CROSS JOIN LATERAL (
        SELECT o.ctid AS place
        FROM open_run AS o
        WHERE o.run_id = l.run_id
          AND o.deadline_at <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        FOR UPDATE SKIP LOCKED
    ) AS k
), marked AS (
    UPDATE open_run AS o
    SET timed_out_at = now(), deadline_at = NULL
    WHERE o.ctid = ANY(ARRAY(SELECT d.place FROM due AS d))
    RETURNING o.run_id
), woken AS (
    INSERT INTO wake (kind, subject)
    SELECT 'r', m.run_id
    FROM marked AS m
)
SELECT m.run_id
FROM marked AS m;

-- TimeOutQueued fails tasks that waited too long for an executor or a pool, and wakes their runs.
-- name: TimeOutQueued :many
WITH released AS (
    SELECT k.place
    FROM (
        SELECT r.run_id, r.number
        FROM ready AS r
        WHERE r.queue_deadline <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        ORDER BY r.queue_deadline
        LIMIT @batch::int
    ) AS l
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place
        FROM ready AS r
        WHERE r.run_id = l.run_id
          AND r.number = l.number
          AND r.queue_deadline <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        FOR UPDATE SKIP LOCKED
    ) AS k
), queued AS (
    SELECT k.place
    FROM (
        SELECT w.run_id, w.number
        FROM waiter AS w
        WHERE w.queue_deadline <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        ORDER BY w.queue_deadline
        LIMIT @batch::int
    ) AS l
    CROSS JOIN LATERAL (
        SELECT w.ctid AS place
        FROM waiter AS w
        WHERE w.run_id = l.run_id
          AND w.number = l.number
          AND w.queue_deadline <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        FOR UPDATE SKIP LOCKED
    ) AS k
), gone AS (
    DELETE FROM ready AS r
    WHERE r.ctid = ANY(ARRAY(SELECT d.place FROM released AS d))
    RETURNING r.run_id, r.number, r.pool_id, r.pipeline_id
), left_queue AS (
    DELETE FROM waiter AS w
    WHERE w.ctid = ANY(ARRAY(SELECT d.place FROM queued AS d))
    RETURNING w.run_id, w.number, w.pool_id, w.pipeline_id
), late AS (
    SELECT g.run_id, g.number, g.pool_id, g.pipeline_id, 'ready' AS was FROM gone AS g
    UNION ALL
    SELECT q.run_id, q.number, q.pool_id, q.pipeline_id, 'waiting' AS was FROM left_queue AS q
), failed AS (
    UPDATE task AS t
    SET state = 'failed', reason = 'queue_timeout', ended_at = now()
    FROM late AS l
    WHERE t.run_id = l.run_id
      AND t.number = l.number
      AND t.state IN ('ready', 'waiting')
), told AS (
    INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause)
    SELECT 'task', l.pipeline_id, l.run_id, l.number, l.was, 'failed', 'queue_timeout', 'final'
    FROM late AS l
), freed AS (
    INSERT INTO wake (kind, subject)
    SELECT DISTINCT 'p', l.pool_id
    FROM late AS l
    WHERE l.pool_id IS NOT NULL
), woken AS (
    INSERT INTO wake (kind, subject, number, state)
    SELECT 'r', l.run_id, l.number, 'failed'
    FROM late AS l
)
SELECT l.run_id, l.number
FROM late AS l;

-- ResumePipelines ends pauses whose time is over, once every tick that came due in them is decided.
-- name: ResumePipelines :many
UPDATE pipeline AS p
SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, paused_until = NULL
WHERE p.paused_until <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
  AND NOT EXISTS (SELECT 1 FROM schedule AS s WHERE s.pipeline_id = p.id AND s.ended_at IS NULL AND s.next_at <= p.paused_until)
RETURNING p.id, p.namespace, p.name;

-- StuckRuns looks for open runs that nothing will ever wake: running, without a released, waiting or
-- live task, without a question that nobody has answered or a child that has not ended, and without a wake. There should be none; each is a defect that is repaired and counted.
-- name: StuckRuns :many
SELECT o.run_id
FROM open_run AS o
WHERE o.state = 'running'
  AND o.admitted_at < coalesce(sqlc.narg('now')::timestamptz, now()) - interval '1 millisecond' * @older_ms::bigint
  AND o.run_id > @after
  AND (SELECT 1 FROM ready AS r WHERE r.run_id = o.run_id LIMIT 1) IS NULL
  AND (SELECT 1 FROM live AS l WHERE l.run_id = o.run_id LIMIT 1) IS NULL
  AND (SELECT 1 FROM waiter AS w WHERE w.run_id = o.run_id LIMIT 1) IS NULL
  AND (SELECT 1 FROM wake AS w WHERE w.kind = 'r' AND w.subject = o.run_id LIMIT 1) IS NULL
  AND (SELECT 1 FROM http_wait AS h WHERE h.run_id = o.run_id AND h.ended_at IS NULL LIMIT 1) IS NULL
  AND (SELECT 1 FROM approval AS p WHERE p.run_id = o.run_id AND p.closed_at IS NULL AND p.decision IS NULL LIMIT 1) IS NULL
  AND (
    SELECT 1
    FROM child_run AS c
    WHERE c.parent_run_id = o.run_id
      AND c.settled_at IS NULL
      AND (c.run_id IS NULL AND c.reason IS NULL OR c.waits AND (SELECT u.run_id FROM open_run AS u WHERE u.run_id = c.run_id) IS NOT NULL)
    LIMIT 1
  ) IS NULL
ORDER BY o.run_id
LIMIT @batch::int;

-- StuckGroups looks for groups with queued runs of which none runs and no wake is due.
-- name: StuckGroups :many
SELECT DISTINCT o.group_id
FROM open_run AS o
WHERE o.state = 'queued'
  AND o.created_at < coalesce(sqlc.narg('now')::timestamptz, now()) - interval '1 millisecond' * @older_ms::bigint
  AND NOT EXISTS (SELECT 1 FROM open_run AS q WHERE q.group_id = o.group_id AND q.state = 'running')
  AND NOT EXISTS (SELECT 1 FROM pipeline AS p WHERE p.id = o.pipeline_id AND p.frozen_at IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM wake AS w WHERE w.kind = 'g' AND w.subject = o.group_id)
LIMIT @batch::int;

-- LeaveWakes wakes subjects of one kind.
-- name: LeaveWakes :exec
INSERT INTO wake (kind, subject)
SELECT @kind::text, unnest(@subjects::bigint[]);

-- NoteRepairs counts what the sweep had to mend.
-- name: NoteRepairs :exec
INSERT INTO repair (kind, run_id, detail)
SELECT @kind::text, unnest(@run_ids::bigint[]), @detail::text;

-- LeaveRecounts asks for runs to be counted anew from their rows.
-- name: LeaveRecounts :exec
INSERT INTO wake (kind, subject, number, state)
SELECT 'r', unnest(@run_ids::bigint[]), -1, 'recount';
