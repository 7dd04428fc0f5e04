-- LockDueRuns locks those of the open runs that nobody else is deciding.
-- name: LockDueRuns :many
SELECT o.run_id, o.pipeline_id, o.group_id, o.revision_id, o.state, o.phase, o.created_at, o.admitted_at,
    o.timed_out_at, o.cancel_requested_at, o.cancel_again_at, o.unfinished, o.failed, o.canceled, o.skipped, o.rows, o.reason
FROM open_run AS o
WHERE o.run_id = ANY(@ids::bigint[])
ORDER BY o.run_id
FOR UPDATE SKIP LOCKED;

-- OpenRunsAmong says which of the runs are still open, locked or not.
-- name: OpenRunsAmong :many
SELECT o.run_id
FROM open_run AS o
WHERE o.run_id = ANY(@ids::bigint[]);

-- DropWakes deletes every wake of subjects that need none any more.
-- name: DropWakes :exec
DELETE FROM wake AS w
WHERE w.kind = @kind::text
  AND w.subject = ANY(@subjects::bigint[]);

-- RunFacts gives what expressions of runs may read.
-- name: RunFacts :many
SELECT r.id, r.number, r.namespace, r.pipeline, r.revision_id, r.trigger, r.scheduled_at, r.created_at, r.started_at,
    r.interval_start, r.interval_end, r.params, r.vars
FROM run AS r
WHERE r.id = ANY(@ids::bigint[]);

-- LoadTasks gives rows of tasks by key.
-- name: LoadTasks :many
SELECT t.run_id, t.number, t.state, t.reason, t.detail, t.needs_left, t.trail, t.attempt,
    t.items, t.released, t.unfinished, t.ok, t.failed, t.canceled, t.skipped
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS k
JOIN task AS t ON t.run_id = k.run_id AND t.number = k.number;

-- LoadOutputs gives the outputs of tasks, and of a fan-out those of its items that succeeded, in order.
-- name: LoadOutputs :many
SELECT t.run_id, t.number, t.outputs
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS first, unnest(@lasts::int[]) AS last) AS k
JOIN task AS t ON t.run_id = k.run_id AND t.number BETWEEN k.first AND k.last
WHERE t.state = 'succeeded'
ORDER BY t.run_id, t.number;

-- ActiveCounts says how many tasks and items of runs are ready or live.
-- name: ActiveCounts :many
SELECT a.run_id, count(*)::int AS active
FROM (
    SELECT r.run_id
    FROM ready AS r
    WHERE r.run_id = ANY(@ids::bigint[])
    UNION ALL
    SELECT l.run_id
    FROM live AS l
    WHERE l.run_id = ANY(@ids::bigint[])
    UNION ALL
    SELECT w.run_id
    FROM waiter AS w
    WHERE w.run_id = ANY(@ids::bigint[])
) AS a
GROUP BY a.run_id;

-- HeldTasks gives tasks and items of a run that only max_parallel holds back, in order; of a fan-out
-- whose next items it holds back, the fan-out's own row.
-- name: HeldTasks :many
SELECT t.number
FROM task AS t
WHERE t.run_id = @run_id
  AND t.state IN ('waiting', 'ready')
  AND t.reason = 'max_parallel'
ORDER BY t.number
LIMIT @batch::int;

-- HoldTasks marks items that came back while the run's max_parallel was used up.
-- name: HoldTasks :exec
UPDATE task AS t
SET reason = 'max_parallel', detail = '', wake_at = NULL
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS k
WHERE t.run_id = k.run_id
  AND t.number = k.number
  AND t.state = 'waiting';

-- InsertTasks makes the rows of a started run's tasks, in the states they begin with.
-- name: InsertTasks :exec
INSERT INTO task (run_id, number, name, state, reason, detail, needs_left, trail, ready_at, due_at, ended_at,
    items, released, unfinished, ok, failed, canceled, skipped)
SELECT b.run_id, b.number, b.name, b.state, b.reason, b.detail, b.needs_left, b.trail,
    CASE WHEN b.state = 'ready' THEN now() END,
    CASE WHEN b.state = 'ready' OR b.due THEN now() END,
    CASE WHEN b.state IN ('succeeded', 'failed', 'canceled', 'skipped') THEN now() END,
    b.items, b.released, b.unfinished, b.ok, b.failed, b.canceled, b.skipped
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@names::text[]) AS name,
        unnest(@states::text[]) AS state, unnest(@reasons::text[]) AS reason, unnest(@details::text[]) AS detail,
        unnest(@needs_lefts::smallint[]) AS needs_left, unnest(@trails::smallint[]) AS trail, unnest(@dues::boolean[]) AS due,
        nullif(unnest(@items::int[]), -1) AS items, nullif(unnest(@releaseds::int[]), -1) AS released,
        nullif(unnest(@unfinisheds::int[]), -1) AS unfinished, nullif(unnest(@oks::int[]), -1) AS ok,
        nullif(unnest(@faileds::int[]), -1) AS failed, nullif(unnest(@canceleds::int[]), -1) AS canceled,
        nullif(unnest(@skippeds::int[]), -1) AS skipped
) AS b;

-- InsertItems makes the rows of a fan-out's items: waiting for their turn, or ready where a ready row
-- is written with them.
-- name: InsertItems :exec
INSERT INTO task (run_id, number, name, item, state, ready_at, due_at)
SELECT i.run_id, i.number, i.name, i.item, i.state,
    CASE WHEN i.state = 'ready' THEN now() END,
    CASE WHEN i.state = 'ready' THEN now() END
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@names::text[]) AS name,
        unnest(@items::text[])::jsonb AS item, unnest(@states::text[]) AS state
) AS i;

-- InsertReady writes ready rows of tasks that were born ready: their first attempt, nothing spent.
-- Ranks are milliseconds added to the present time.
-- name: InsertReady :exec
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, queue_deadline)
SELECT b.run_id, b.number, b.lane, (extract(epoch FROM now()) * 1000)::bigint + b.rank, b.pipeline_id, b.revision_id, 1,
    CASE WHEN b.queue_timeout > 0 THEN now() + b.queue_timeout * interval '1 millisecond' END
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@lanes::int[]) AS lane,
        unnest(@ranks::bigint[]) AS rank, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@queue_timeouts::bigint[]) AS queue_timeout
) AS b;

-- ReleaseTasks makes waiting tasks ready: their next attempt, what was spent carried along. A task
-- that is not waiting (any more) stays as it is.
-- name: ReleaseTasks :many
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@lanes::int[]) AS lane,
        unnest(@ranks::bigint[]) AS rank, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@queue_timeouts::bigint[]) AS queue_timeout
), moved AS (
    UPDATE task AS t
    SET state = 'ready', reason = '', detail = '', ready_at = now(), due_at = coalesce(t.due_at, now()), wake_at = NULL
    FROM k
    WHERE t.run_id = k.run_id
      AND t.number = k.number
      AND t.state = 'waiting'
    RETURNING t.run_id, t.number, t.attempt, t.failures, t.losses, t.handbacks, t.last_loser, t.losers, t.due_at,
        k.lane, k.rank, k.pipeline_id, k.revision_id, k.queue_timeout
)
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers, queue_deadline)
SELECT m.run_id, m.number, m.lane, (extract(epoch FROM now()) * 1000)::bigint + m.rank, m.pipeline_id, m.revision_id, m.attempt + 1,
    m.failures, m.losses, m.handbacks, m.last_loser, m.losers,
    CASE WHEN m.queue_timeout > 0 AND m.attempt = 0 THEN m.due_at + m.queue_timeout * interval '1 millisecond' END
FROM moved AS m
RETURNING run_id, number;

-- InsertWaiters queues waiting tasks at their pools, and wakes the pools.
-- name: InsertWaiters :exec
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@lanes::int[]) AS lane,
        unnest(@ranks::bigint[]) AS rank, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@queue_timeouts::bigint[]) AS queue_timeout, unnest(@pools::bigint[]) AS pool_id, unnest(@slots::int[]) AS slots
), moved AS (
    UPDATE task AS t
    SET reason = 'pool', detail = '', due_at = coalesce(t.due_at, now()), wake_at = NULL
    FROM k
    WHERE t.run_id = k.run_id
      AND t.number = k.number
      AND t.state = 'waiting'
    RETURNING t.run_id, t.number, t.attempt, t.failures, t.losses, t.handbacks, t.last_loser, t.losers, t.due_at,
        k.lane, k.rank, k.pipeline_id, k.revision_id, k.queue_timeout, k.pool_id, k.slots
), queued AS (
    INSERT INTO waiter (run_id, number, pool_id, rank, slots, lane, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers, queue_deadline)
    SELECT m.run_id, m.number, m.pool_id, (extract(epoch FROM now()) * 1000)::bigint + m.rank, m.slots, m.lane, m.pipeline_id, m.revision_id,
        m.attempt + 1, m.failures, m.losses, m.handbacks, m.last_loser, m.losers,
        CASE WHEN m.queue_timeout > 0 AND m.attempt = 0 THEN m.due_at + m.queue_timeout * interval '1 millisecond' END
    FROM moved AS m
    RETURNING pool_id
)
INSERT INTO wake (kind, subject)
SELECT DISTINCT 'p', q.pool_id
FROM queued AS q;

-- WriteTasks stores the decisions about tasks' own rows. Each names the state it leaves: a decision
-- made twice changes nothing.
-- name: WriteTasks :execrows
UPDATE task AS t
SET state = k.state, reason = k.reason, detail = k.detail, needs_left = k.needs_left, trail = k.trail,
    ended_at = CASE WHEN k.state IN ('succeeded', 'failed', 'canceled', 'skipped') THEN coalesce(t.ended_at, now()) END,
    ready_at = CASE WHEN k.state = 'ready' THEN coalesce(t.ready_at, now()) ELSE t.ready_at END,
    items = k.items, released = k.released, unfinished = k.unfinished, ok = k.ok, failed = k.failed, canceled = k.canceled, skipped = k.skipped
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@froms::text[]) AS from_state,
        unnest(@states::text[]) AS state, unnest(@reasons::text[]) AS reason, unnest(@details::text[]) AS detail,
        unnest(@needs_lefts::smallint[]) AS needs_left, unnest(@trails::smallint[]) AS trail,
        nullif(unnest(@items::int[]), -1) AS items, nullif(unnest(@releaseds::int[]), -1) AS released,
        nullif(unnest(@unfinisheds::int[]), -1) AS unfinished, nullif(unnest(@oks::int[]), -1) AS ok,
        nullif(unnest(@faileds::int[]), -1) AS failed, nullif(unnest(@canceleds::int[]), -1) AS canceled,
        nullif(unnest(@skippeds::int[]), -1) AS skipped
) AS k
WHERE t.run_id = k.run_id
  AND t.number = k.number
  AND t.state = k.from_state;

-- InsertTaskEvents tells what was decided about tasks.
-- name: InsertTaskEvents :exec
INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause)
SELECT 'task', unnest(@pipelines::bigint[]), unnest(@run_ids::bigint[]), unnest(@numbers::int[]), unnest(@froms::text[]), unnest(@states::text[]), unnest(@reasons::text[]), unnest(@causes::text[]);

-- InsertRunEvents tells what became of runs.
-- name: InsertRunEvents :exec
INSERT INTO event (kind, pipeline_id, entity_id, from_state, to_state, reason)
SELECT 'run', unnest(@pipelines::bigint[]), unnest(@run_ids::bigint[]), nullif(unnest(@froms::text[]), ''), unnest(@states::text[]), unnest(@reasons::text[]);

-- WithdrawRange takes tasks and items of one run that never started out of the queues: their waiter
-- and ready rows go, whoever deletes them owns what follows. First of two steps (see CancelRange).
-- name: WithdrawRange :exec
WITH queued AS (
    DELETE FROM waiter AS w
    WHERE w.run_id = @run_id
      AND w.number BETWEEN @first::int AND @last::int
    RETURNING w.pool_id
), released AS (
    DELETE FROM ready AS r
    WHERE r.run_id = @run_id
      AND r.number BETWEEN @first::int AND @last::int
    RETURNING r.pool_id
)
INSERT INTO wake (kind, subject)
SELECT DISTINCT 'p', f.pool_id
FROM (
    SELECT q.pool_id
    FROM queued AS q
    UNION
    SELECT r.pool_id
    FROM released AS r
    WHERE r.pool_id IS NOT NULL
) AS f;

-- StopRange asks the live attempts of a range to stop. They end when their death is proven.
-- name: StopRange :many
UPDATE live AS l
SET stop_reason = @reason::text, stop_requested_at = now()
WHERE l.run_id = @run_id
  AND l.number BETWEEN @first::int AND @last::int
  AND l.stop_requested_at IS NULL
RETURNING l.number, l.executor;

-- CancelRange ends what of a range has not ended and is not live. It runs after WithdrawRange, as a
-- statement of its own: what a claim took in between is live by now and is left to StopRange.
-- name: CancelRange :many
WITH gone AS (
    UPDATE task AS t
    SET state = 'canceled', reason = @reason::text, ended_at = now(), wake_at = NULL
    WHERE t.run_id = @run_id
      AND t.number BETWEEN @first::int AND @last::int
      AND t.state IN ('waiting', 'ready')
      AND t.items IS NULL
      AND NOT EXISTS (SELECT 1 FROM live AS l WHERE l.run_id = t.run_id AND l.number = t.number)
    RETURNING t.run_id, t.number
), told AS (
    INSERT INTO event (kind, entity_id, number, from_state, to_state, reason, cause)
    SELECT 'task', g.run_id, g.number, 'waiting', 'canceled', @reason::text, 'final'
    FROM gone AS g
)
SELECT g.number
FROM gone AS g
ORDER BY g.number;

-- RunTasks gives all rows of a run, for a recount: started is what was released at least once, stranded
-- what ought to be in a queue or alive, or whose back-off is over, and has no row that says so.
-- name: RunTasks :many
SELECT t.number, t.state, t.reason, (t.ready_at IS NOT NULL)::boolean AS started,
    (t.items IS NULL AND (t.state = 'ready' OR t.state = 'waiting' AND (t.reason = 'pool' OR coalesce(t.wake_at <= now(), false)))
        AND NOT EXISTS (SELECT 1 FROM ready AS r WHERE r.run_id = t.run_id AND r.number = t.number)
        AND NOT EXISTS (SELECT 1 FROM live AS l WHERE l.run_id = t.run_id AND l.number = t.number)
        AND NOT EXISTS (SELECT 1 FROM waiter AS w WHERE w.run_id = t.run_id AND w.number = t.number))::boolean AS stranded
FROM task AS t
WHERE t.run_id = @run_id
ORDER BY t.number;

-- TakeStranded sets tasks back to waiting that were released and are in no queue.
-- name: TakeStranded :exec
UPDATE task AS t
SET state = 'waiting', reason = 'lost'
WHERE t.run_id = @run_id
  AND t.number = ANY(@numbers::int[])
  AND t.state = 'ready'
  AND t.items IS NULL;

-- WriteOpenRuns stores where runs stand.
-- name: WriteOpenRuns :exec
UPDATE open_run AS o
SET phase = k.phase, unfinished = k.unfinished, failed = k.failed, canceled = k.canceled, skipped = k.skipped, rows = k.rows, reason = k.reason,
    deadline_at = CASE WHEN k.timeout > 0 THEN now() + k.timeout * interval '1 millisecond' ELSE o.deadline_at END
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@phases::text[]) AS phase, unnest(@unfinisheds::int[]) AS unfinished,
        unnest(@faileds::int[]) AS failed, unnest(@canceleds::int[]) AS canceled, unnest(@skippeds::int[]) AS skipped,
        unnest(@rows::int[]) AS rows, unnest(@reasons::text[]) AS reason, unnest(@timeouts::bigint[]) AS timeout
) AS k
WHERE o.run_id = k.run_id;

-- FinishRuns ends runs: the open row goes with its wakes, the run gets its end, the group learns that
-- a place is free, and the rollups of the pipelines move on.
-- name: FinishRuns :many
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@states::text[]) AS state, unnest(@reasons::text[]) AS reason,
        unnest(@outputs::text[])::jsonb AS outputs
), closed AS (
    SELECT o.run_id, o.pipeline_id, o.group_id, o.state AS was, k.state, k.reason, k.outputs
    FROM k
    JOIN open_run AS o ON o.run_id = k.run_id
    FOR UPDATE OF o
), gone AS (
    DELETE FROM open_run AS o
    USING closed AS c
    WHERE o.run_id = c.run_id
), ended AS (
    UPDATE run AS r
    SET state = c.state, reason = c.reason, outputs = c.outputs, ended_at = greatest(now(), r.created_at, r.started_at)
    FROM closed AS c
    WHERE r.id = c.run_id
    RETURNING r.id, r.pipeline_id, r.state, r.ended_at, r.started_at
), told AS (
    INSERT INTO event (kind, pipeline_id, entity_id, from_state, to_state, reason)
    SELECT 'run', c.pipeline_id, c.run_id, c.was, c.state, c.reason
    FROM closed AS c
), freed AS (
    INSERT INTO wake (kind, subject)
    SELECT DISTINCT 'g', c.group_id
    FROM closed AS c
)
SELECT e.id, e.pipeline_id, e.state, e.ended_at::timestamptz AS ended_at, coalesce(extract(epoch FROM e.ended_at - e.started_at), 0)::float8 AS seconds
FROM ended AS e;

-- CountRuns adds ended runs to the hourly rollup.
-- name: CountRuns :exec
INSERT INTO run_hour AS h (hour, pipeline_id, state, runs, seconds)
SELECT k.hour, k.pipeline_id, k.state, k.runs, k.seconds
FROM (
    SELECT unnest(@hours::timestamptz[]) AS hour, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@states::text[]) AS state,
        unnest(@runs::bigint[]) AS runs, unnest(@seconds::float8[]) AS seconds
) AS k
ORDER BY k.hour, k.pipeline_id, k.state
ON CONFLICT (hour, pipeline_id, state) DO UPDATE
SET runs = h.runs + excluded.runs, seconds = h.seconds + excluded.seconds;

-- NoteLastRuns keeps the newest ended run of each pipeline.
-- name: NoteLastRuns :exec
INSERT INTO pipeline_stat AS s (pipeline_id, last_run_id, last_state, last_ended_at, last_ok_at, last_failed_at, failures_in_row)
SELECT k.pipeline_id, k.run_id, k.state, k.ended_at,
    CASE WHEN k.state = 'succeeded' THEN k.ended_at END,
    CASE WHEN k.state = 'failed' THEN k.ended_at END,
    CASE WHEN k.state = 'failed' THEN 1 ELSE 0 END
FROM (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@run_ids::bigint[]) AS run_id, unnest(@states::text[]) AS state,
        unnest(@ended_ats::timestamptz[]) AS ended_at
) AS k
ORDER BY k.pipeline_id
ON CONFLICT (pipeline_id) DO UPDATE
SET last_run_id = excluded.last_run_id, last_state = excluded.last_state, last_ended_at = excluded.last_ended_at,
    last_ok_at = coalesce(excluded.last_ok_at, s.last_ok_at),
    last_failed_at = coalesce(excluded.last_failed_at, s.last_failed_at),
    failures_in_row = CASE excluded.last_state WHEN 'failed' THEN s.failures_in_row + 1 WHEN 'succeeded' THEN 0 ELSE s.failures_in_row END;

-- LockPools locks those of the pools that nobody else is deciding.
-- name: LockPools :many
SELECT p.id, p.slots, p.reserve_scheduled
FROM pool AS p
WHERE p.id = ANY(@ids::bigint[])
ORDER BY p.id
FOR UPDATE SKIP LOCKED;

-- PoolUse says how many slots of a pool are held, by ready rows and live attempts, in one statement: a
-- claim moves a row from one to the other and must not be missed in between.
-- name: PoolUse :one
SELECT coalesce(sum(u.slots), 0)::int AS used
FROM (
    SELECT r.slots
    FROM ready AS r
    WHERE r.pool_id = @pool_id::bigint
    UNION ALL
    SELECT l.slots
    FROM live AS l
    WHERE l.pool_id = @pool_id::bigint
) AS u;

-- PoolWaiters gives the first waiters of a pool in order.
-- name: PoolWaiters :many
SELECT w.run_id, w.number, w.slots
FROM waiter AS w
WHERE w.pool_id = @pool_id
ORDER BY w.rank
LIMIT @batch::int;

-- ReleaseWaiters turns waiters of a pool into ready rows that hold their slots.
-- name: ReleaseWaiters :many
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number
), taken AS (
    DELETE FROM waiter AS w
    USING k
    WHERE w.run_id = k.run_id
      AND w.number = k.number
    RETURNING w.run_id, w.number, w.lane, w.rank, w.pipeline_id, w.revision_id, w.attempt, w.failures, w.losses, w.handbacks,
        w.last_loser, w.losers, w.pool_id, w.slots, w.queue_deadline
), moved AS (
    UPDATE task AS t
    SET state = 'ready', reason = '', ready_at = now()
    FROM taken AS w
    WHERE t.run_id = w.run_id
      AND t.number = w.number
      AND t.state = 'waiting'
)
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers, pool_id, slots, queue_deadline)
SELECT w.run_id, w.number, w.lane, w.rank, w.pipeline_id, w.revision_id, w.attempt, w.failures, w.losses, w.handbacks,
    w.last_loser, w.losers, w.pool_id, w.slots, w.queue_deadline
FROM taken AS w
RETURNING run_id, number;
