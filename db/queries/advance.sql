-- LockDueRuns locks those of the open runs that nobody else is deciding.
-- name: LockDueRuns :many
SELECT k.run_id, k.pipeline_id, k.group_id, k.revision_id, k.state, k.phase, k.created_at, k.admitted_at,
    k.timed_out_at, k.cancel_requested_at, k.cancel_again_at, k.unfinished, k.failed, k.canceled, k.skipped, k.rows, k.reason, k.reopened
FROM (SELECT unnest(@ids::bigint[]) AS run_id ORDER BY 1) AS a
CROSS JOIN LATERAL (
    SELECT o.run_id, o.pipeline_id, o.group_id, o.revision_id, o.state, o.phase, o.created_at, o.admitted_at,
        o.timed_out_at, o.cancel_requested_at, o.cancel_again_at, o.unfinished, o.failed, o.canceled, o.skipped, o.rows, o.reason, o.reopened
    FROM open_run AS o
    WHERE o.run_id = a.run_id
    FOR UPDATE SKIP LOCKED
) AS k;

-- DropWakes deletes every wake of runs that the caller has ended in this transaction.
-- name: DropWakes :exec
DELETE FROM wake AS w
WHERE w.kind = 'r'
  AND w.subject = ANY(@ids::bigint[]);

-- DropWakesOfEnded deletes the wakes of those of the runs that are not open, locked or not. One statement:
-- whoever opens a run again leaves its row and its wake together, so neither is seen without the other.
-- name: DropWakesOfEnded :exec
DELETE FROM wake AS w
WHERE w.kind = 'r'
  AND w.subject = ANY(@ids::bigint[])
  AND (SELECT o.run_id FROM open_run AS o WHERE o.run_id = w.subject) IS NULL;

-- RunFacts gives what expressions of runs may read.
-- name: RunFacts :many
SELECT k.id, k.number, k.namespace, k.pipeline, k.revision_id, k.trigger, k.scheduled_at, k.created_at, k.started_at,
    k.interval_start, k.interval_end, k.params, k.vars, k.backfill_id,
    coalesce((SELECT s.name FROM schedule AS s WHERE s.id = k.schedule_id), '')::text AS schedule
FROM (SELECT unnest(@ids::bigint[]) AS id) AS a
CROSS JOIN LATERAL (
    SELECT r.id, r.number, r.namespace, r.pipeline, r.revision_id, r.trigger, r.scheduled_at, r.created_at, r.started_at,
        r.interval_start, r.interval_end, r.params, r.vars, r.backfill_id, r.schedule_id
    FROM run AS r
    WHERE r.id = a.id
    OFFSET 0
) AS k;

-- LoadTasks gives rows of tasks by key.
-- name: LoadTasks :many
SELECT k.run_id, k.number, k.state, k.reason, k.detail, k.needs_left, k.trail, k.attempt,
    k.items, k.released, k.unfinished, k.ok, k.failed, k.canceled, k.skipped, k.again
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS a
CROSS JOIN LATERAL (
    SELECT t.run_id, t.number, t.state, t.reason, t.detail, t.needs_left, t.trail, t.attempt,
        t.items, t.released, t.unfinished, t.ok, t.failed, t.canceled, t.skipped, t.again
    FROM task AS t
    WHERE t.run_id = a.run_id
      AND t.number = a.number
    OFFSET 0
) AS k;

-- LoadOutputs gives the outputs of tasks, and of a fan-out those of its items that succeeded, in order,
-- @page rows at most.
-- name: LoadOutputs :many
SELECT k.run_id, k.number, k.outputs
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS first, unnest(@lasts::int[]) AS last) AS a
CROSS JOIN LATERAL (
    SELECT t.run_id, t.number, t.outputs
    FROM task AS t
    WHERE t.run_id = a.run_id
      AND t.number BETWEEN a.first AND a.last
      AND t.state = 'succeeded'
    OFFSET 0
) AS k
ORDER BY k.run_id, k.number
LIMIT @page::int;

-- ActiveCounts says how many tasks and items of runs are ready or live.
-- name: ActiveCounts :many
SELECT a.run_id::bigint AS run_id, ((SELECT count(*) FROM ready AS r WHERE r.run_id = a.run_id)
    + (SELECT count(*) FROM live AS l WHERE l.run_id = a.run_id)
    + (SELECT count(*) FROM waiter AS w WHERE w.run_id = a.run_id))::int AS active
FROM (SELECT unnest(@ids::bigint[]) AS run_id) AS a;

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
INSERT INTO task AS t (run_id, number, name, state, reason)
SELECT unnest(@run_ids::bigint[]), unnest(@numbers::int[]), '', 'waiting', 'max_parallel'
ON CONFLICT (run_id, number) DO UPDATE
SET reason = 'max_parallel', detail = '', wake_at = NULL
WHERE t.state = 'waiting';

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

-- ReleaseTasks makes tasks ready that are not released for the first time: what they spent is read and
-- carried along, and so is what is left of the queue time-out of a task that never started. A task that
-- is not waiting (any more) stays as it is.
-- name: ReleaseTasks :many
WITH moved AS (
    SELECT a.run_id, a.number, a.lane, a.rank, a.pipeline_id, a.revision_id, k.attempt, k.failures, k.losses, k.handbacks, k.last_loser, k.losers, k.queue_deadline
    FROM (
        SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@lanes::int[]) AS lane,
            unnest(@ranks::bigint[]) AS rank, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
            unnest(@queue_timeouts::bigint[]) AS queue_timeout
    ) AS a
    CROSS JOIN LATERAL (
        SELECT t.attempt, t.failures, t.losses, t.handbacks, t.last_loser, t.losers,
            CASE WHEN a.queue_timeout > 0 AND t.failures + t.losses = 0 AND NOT EXISTS (
                SELECT FROM attempt AS e WHERE e.run_id = t.run_id AND e.number = t.number AND e.started_at >= t.due_at
            ) THEN coalesce(t.due_at, now()) + a.queue_timeout * interval '1 millisecond' END AS queue_deadline
        FROM task AS t
        WHERE t.run_id = a.run_id
          AND t.number = a.number
          AND t.state = 'waiting'
        OFFSET 0
    ) AS k
), stored AS (
    INSERT INTO task AS t (run_id, number, name, state, ready_at, due_at)
    SELECT m.run_id, m.number, '', 'ready', now(), now()
    FROM moved AS m
    ON CONFLICT (run_id, number) DO UPDATE
    SET state = 'ready', reason = '', detail = '', ready_at = now(), due_at = coalesce(t.due_at, now()), wake_at = NULL
    WHERE t.state = 'waiting'
)
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers, queue_deadline)
SELECT m.run_id, m.number, m.lane, (extract(epoch FROM now()) * 1000)::bigint + m.rank, m.pipeline_id, m.revision_id, m.attempt + 1,
    m.failures, m.losses, m.handbacks, m.last_loser, m.losers, m.queue_deadline
FROM moved AS m
RETURNING run_id, number;

-- InsertWaiters queues waiting tasks at their pools, and wakes the pools. Queue time-outs are as in ReleaseTasks.
-- name: InsertWaiters :exec
WITH moved AS (
    SELECT a.run_id, a.number, a.lane, a.rank, a.pipeline_id, a.revision_id, a.pool_id, a.slots,
        k.attempt, k.failures, k.losses, k.handbacks, k.last_loser, k.losers, k.queue_deadline
    FROM (
        SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@lanes::int[]) AS lane,
            unnest(@ranks::bigint[]) AS rank, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
            unnest(@queue_timeouts::bigint[]) AS queue_timeout, unnest(@pools::bigint[]) AS pool_id, unnest(@slots::int[]) AS slots
    ) AS a
    CROSS JOIN LATERAL (
        SELECT t.attempt, t.failures, t.losses, t.handbacks, t.last_loser, t.losers,
            CASE WHEN a.queue_timeout > 0 AND t.failures + t.losses = 0 AND NOT EXISTS (
                SELECT FROM attempt AS e WHERE e.run_id = t.run_id AND e.number = t.number AND e.started_at >= t.due_at
            ) THEN coalesce(t.due_at, now()) + a.queue_timeout * interval '1 millisecond' END AS queue_deadline
        FROM task AS t
        WHERE t.run_id = a.run_id
          AND t.number = a.number
          AND t.state = 'waiting'
        OFFSET 0
    ) AS k
), stored AS (
    INSERT INTO task AS t (run_id, number, name, state, reason, due_at)
    SELECT m.run_id, m.number, '', 'waiting', 'pool', now()
    FROM moved AS m
    ON CONFLICT (run_id, number) DO UPDATE
    SET reason = 'pool', detail = '', due_at = coalesce(t.due_at, now()), wake_at = NULL
    WHERE t.state = 'waiting'
), queued AS (
    INSERT INTO waiter (run_id, number, pool_id, rank, slots, lane, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers, queue_deadline,
        backfill_id)
    SELECT m.run_id, m.number, m.pool_id, (extract(epoch FROM now()) * 1000)::bigint + m.rank, m.slots, m.lane, m.pipeline_id, m.revision_id,
        m.attempt + 1, m.failures, m.losses, m.handbacks, m.last_loser, m.losers, m.queue_deadline,
        coalesce((SELECT o.backfill_id FROM open_run AS o WHERE o.run_id = m.run_id), 0)
    FROM moved AS m
    RETURNING pool_id
)
INSERT INTO wake (kind, subject)
SELECT DISTINCT 'p', q.pool_id
FROM queued AS q;

-- WriteTasks stores the decisions about tasks' own rows, which are read and written under the lock of
-- their run: only rows that have not ended and are not on their way to an executor change.
-- name: WriteTasks :execrows
INSERT INTO task AS t (run_id, number, name, state, reason, detail, needs_left, trail, ready_at, due_at, ended_at,
    items, released, unfinished, ok, failed, canceled, skipped)
SELECT k.run_id, k.number, '', k.state, k.reason, k.detail, k.needs_left, k.trail,
    CASE WHEN k.state = 'ready' THEN now() END,
    CASE WHEN k.state = 'ready' THEN now() END,
    CASE WHEN k.state IN ('succeeded', 'failed', 'canceled', 'skipped') THEN now() END,
    k.items, k.released, k.unfinished, k.ok, k.failed, k.canceled, k.skipped
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number,
        unnest(@states::text[]) AS state, unnest(@reasons::text[]) AS reason, unnest(@details::text[]) AS detail,
        unnest(@needs_lefts::smallint[]) AS needs_left, unnest(@trails::smallint[]) AS trail,
        nullif(unnest(@items::int[]), -1) AS items, nullif(unnest(@releaseds::int[]), -1) AS released,
        nullif(unnest(@unfinisheds::int[]), -1) AS unfinished, nullif(unnest(@oks::int[]), -1) AS ok,
        nullif(unnest(@faileds::int[]), -1) AS failed, nullif(unnest(@canceleds::int[]), -1) AS canceled,
        nullif(unnest(@skippeds::int[]), -1) AS skipped
) AS k
ON CONFLICT (run_id, number) DO UPDATE
SET state = excluded.state, reason = excluded.reason, detail = excluded.detail, needs_left = excluded.needs_left, trail = excluded.trail,
    ended_at = excluded.ended_at, ready_at = coalesce(t.ready_at, excluded.ready_at), due_at = coalesce(t.due_at, excluded.due_at),
    items = excluded.items, released = excluded.released, unfinished = excluded.unfinished, ok = excluded.ok, failed = excluded.failed,
    canceled = excluded.canceled, skipped = excluded.skipped
WHERE t.ended_at IS NULL
  AND (t.state = 'waiting' OR t.items IS NOT NULL);

-- InsertTaskEvents tells what was decided about tasks.
-- name: InsertTaskEvents :exec
INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause)
SELECT 'task', unnest(@pipelines::bigint[]), unnest(@run_ids::bigint[]), unnest(@numbers::int[]), unnest(@froms::text[]), unnest(@states::text[]), unnest(@reasons::text[]), unnest(@causes::text[]);

-- InsertRunEvents tells what became of runs.
-- name: InsertRunEvents :exec
INSERT INTO event (kind, pipeline_id, entity_id, from_state, to_state, reason)
SELECT 'run', unnest(@pipelines::bigint[]), unnest(@run_ids::bigint[]), nullif(unnest(@froms::text[]), ''), unnest(@states::text[]), unnest(@reasons::text[]);

-- WithdrawWaiting takes tasks and items of one run out of the queues of their pools: whoever deletes the
-- rows owns what follows. First of four steps. The next, WithdrawReady, has to be a statement of its own:
-- this one waits for a pool that is just releasing some of them, and cannot see the ready rows they become.
-- name: WithdrawWaiting :exec
WITH queued AS (
    DELETE FROM waiter AS w
    WHERE w.run_id = @run_id
      AND w.number BETWEEN @first::int AND @last::int
    RETURNING w.pool_id
)
INSERT INTO wake (kind, subject)
SELECT DISTINCT 'p', q.pool_id
FROM queued AS q;

-- WithdrawReady takes tasks and items of one run that never started back from the executors. StopRange
-- follows, as a statement of its own: what a claim has taken meanwhile is live by then.
-- name: WithdrawReady :exec
WITH released AS (
    DELETE FROM ready AS r
    WHERE r.run_id = @run_id
      AND r.number BETWEEN @first::int AND @last::int
    RETURNING r.pool_id
)
INSERT INTO wake (kind, subject)
SELECT DISTINCT 'p', r.pool_id
FROM released AS r
WHERE r.pool_id IS NOT NULL;

-- StopRange asks the live attempts of a range to stop. They end when their death is proven.
-- name: StopRange :many
UPDATE live AS l
SET stop_reason = @reason::text, stop_requested_at = now()
WHERE l.run_id = @run_id
  AND l.number BETWEEN @first::int AND @last::int
  AND l.stop_requested_at IS NULL
RETURNING l.number, l.executor;

-- CancelRange ends what of a range has not ended and is not live. It runs after StopRange, as a statement
-- of its own: what that has asked to stop is left to end by itself. What ended while the transaction was
-- under way ended before now: hence the time of the statement.
-- name: CancelRange :many
WITH gone AS (
    UPDATE task AS t
    SET state = 'canceled', reason = @reason::text, ended_at = statement_timestamp(), wake_at = NULL
    WHERE t.run_id = @run_id
      AND t.number BETWEEN @first::int AND @last::int
      AND t.state IN ('waiting', 'ready')
      AND (t.items IS NULL OR t.items = 0)
      AND NOT EXISTS (SELECT 1 FROM live AS l WHERE l.run_id = t.run_id AND l.number = t.number)
      AND (t.reason <> 'child' OR NOT EXISTS (
        SELECT 1
        FROM child_run AS c
        WHERE c.parent_run_id = t.run_id
          AND c.parent_number = t.number
          AND c.settled_at IS NULL
      ))
    RETURNING t.run_id, t.number
), told AS (
    INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause)
    SELECT 'task', @pipeline_id::bigint, g.run_id, g.number, 'waiting', 'canceled', @reason::text, 'final'
    FROM gone AS g
)
SELECT g.number
FROM gone AS g
ORDER BY g.number;

-- RunTasks gives all rows of a run, for a recount: started is what was released at least once, stranded
-- what ought to be in a queue or alive, or whose back-off is over, and has no row that says so. The wakes of
-- ends that the rows tell of already go in the same statement: no end is seen without its wake, so that
-- none is counted both here and later.
-- name: RunTasks :many
WITH counted AS (
    DELETE FROM wake AS w
    WHERE w.kind = 'r'
      AND w.subject = @run_id
      AND w.number IS NOT NULL
      AND w.state NOT IN ('waiting', 'cancel', 'cancel_again')
)
SELECT t.number, t.state, t.reason, (t.ready_at IS NOT NULL)::boolean AS started, (t.items IS NOT NULL)::boolean AS expanded, t.again,
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
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@phases::text[]) AS phase, unnest(@unfinisheds::int[]) AS unfinished,
        unnest(@faileds::int[]) AS failed, unnest(@canceleds::int[]) AS canceled, unnest(@skippeds::int[]) AS skipped,
        unnest(@rows::int[]) AS rows, unnest(@reasons::text[]) AS reason, unnest(@timeouts::bigint[]) AS timeout
)
INSERT INTO open_run AS o (run_id, pipeline_id, group_id, revision_id, state, admitted_at, phase, unfinished, failed, canceled, skipped, rows, reason, deadline_at)
SELECT k.run_id, 0, 0, 0, 'running', now(), k.phase, k.unfinished, k.failed, k.canceled, k.skipped, k.rows, k.reason,
    CASE WHEN k.timeout > 0 THEN now() + k.timeout * interval '1 millisecond' END
FROM k
ON CONFLICT (run_id) DO UPDATE
SET phase = excluded.phase, unfinished = excluded.unfinished, failed = excluded.failed, canceled = excluded.canceled, skipped = excluded.skipped,
    rows = excluded.rows, reason = excluded.reason, deadline_at = coalesce(excluded.deadline_at, o.deadline_at);

-- FinishRuns ends runs: the open row goes, the run gets its end, the group and the backfill learn that a
-- place is free, a task that waits for the run that it has ended, and triggers that wait for its pipeline ask
-- for their runs. The caller has locked the rows by an earlier statement of the transaction: they are
-- deleted by their place, which only holds for rows that nobody changes meanwhile; of others nothing is
-- written.
-- name: FinishRuns :many
WITH RECURSIVE k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@states::text[]) AS state, unnest(@reasons::text[]) AS reason,
        unnest(@outputs::text[])::jsonb AS outputs
), found AS (
    SELECT k.run_id, k.state, k.reason, k.outputs, o.place, o.pipeline_id, o.group_id, o.backfill_id, o.reopened, o.state AS was,
        o.parent_run_id, o.parent_number
    FROM k
    CROSS JOIN LATERAL (
        SELECT o.ctid AS place, o.pipeline_id, o.group_id, o.backfill_id, o.reopened, o.state, o.parent_run_id, o.parent_number
        FROM open_run AS o
        WHERE o.run_id = k.run_id
        FOR UPDATE
    ) AS o
), gone AS (
    DELETE FROM open_run AS o
    WHERE o.ctid = ANY(ARRAY(SELECT f.place FROM found AS f))
    RETURNING o.ctid AS place
), closed AS (
    SELECT f.run_id, f.state, f.reason, f.outputs, f.pipeline_id, f.group_id, f.backfill_id, f.reopened, f.was, f.parent_run_id, f.parent_number
    FROM found AS f
    WHERE (f.place IN (SELECT g.place FROM gone AS g)) IS TRUE
), history AS (
    SELECT c.run_id, c.state, c.reason, c.outputs, c.reopened, c.backfill_id, r.pipeline_id, r.revision_id, r.number, r.namespace, r.pipeline, r.trigger, r.schedule_id, r.fire_at,
        r.scheduled_at, r.interval_start, r.interval_end, r.group_id, r.created_at, r.started_at, greatest(statement_timestamp(), r.created_at, r.started_at)::timestamptz AS ended_at
    FROM closed AS c
    CROSS JOIN LATERAL (
        SELECT r.pipeline_id, r.revision_id, r.number, r.namespace, r.pipeline, r.trigger, r.schedule_id, r.fire_at,
            r.scheduled_at, r.interval_start, r.interval_end, r.group_id, r.created_at, r.started_at
        FROM run AS r
        WHERE r.id = c.run_id
        OFFSET 0
    ) AS r
), ended AS (
    INSERT INTO run AS r (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, schedule_id, fire_at, scheduled_at, interval_start, interval_end,
        group_id, state, reason, outputs, ended_at)
    SELECT h.run_id, h.pipeline_id, h.revision_id, h.number, h.namespace, h.pipeline, h.trigger, h.schedule_id, h.fire_at, h.scheduled_at, h.interval_start, h.interval_end,
        h.group_id, h.state, h.reason, h.outputs, h.ended_at
    FROM history AS h
    ON CONFLICT (id) DO UPDATE
    SET state = excluded.state, reason = excluded.reason, outputs = excluded.outputs, ended_at = excluded.ended_at
), told AS (
    INSERT INTO event (kind, pipeline_id, entity_id, from_state, to_state, reason)
    SELECT 'run', c.pipeline_id, c.run_id, c.was, c.state, c.reason
    FROM closed AS c
), freed AS (
    INSERT INTO wake (kind, subject)
    SELECT DISTINCT 'g', c.group_id
    FROM closed AS c
    UNION ALL
    SELECT DISTINCT 'b', c.backfill_id
    FROM closed AS c
    WHERE c.backfill_id > 0
), awaited AS (
    INSERT INTO wake (kind, subject, number, state)
    SELECT 'r', c.parent_run_id, c.parent_number, 'waiting'
    FROM closed AS c
    WHERE c.parent_run_id IS NOT NULL
), up AS (
    -- Those that called a run, directly or through others: as deep as they are is what they have called.
    SELECT h.run_id AS id, h.run_id, 0 AS calls
    FROM history AS h
    UNION ALL
    SELECT u.id, c.parent_run_id, u.calls + 1
    FROM up AS u
    JOIN child_run AS c ON c.run_id = u.run_id
    WHERE u.calls < 10
), followed AS (
    INSERT INTO follow_up (upstream_run_id, pipeline_id, ordinal, depth)
    SELECT h.run_id, t.pipeline_id, t.ordinal,
        coalesce((SELECT max(f.depth) FROM up AS u JOIN follow_up AS f ON f.run_id = u.run_id WHERE u.id = h.run_id), 0) + 1
    FROM history AS h
    CROSS JOIN LATERAL (
        SELECT t.pipeline_id, t.ordinal
        FROM pipeline_trigger AS t
        WHERE t.upstream_namespace = h.namespace
          AND t.upstream_name = h.pipeline
        OFFSET 0
    ) AS t
    WHERE h.state <> 'skipped'
      AND h.reason <> 'trigger_depth'
    ON CONFLICT (upstream_run_id, pipeline_id, ordinal) DO NOTHING
    RETURNING upstream_run_id
)
SELECT h.run_id::bigint AS id, h.pipeline_id, h.backfill_id, h.state::text AS state, h.ended_at, coalesce(extract(epoch FROM h.ended_at - h.started_at), 0)::float8 AS seconds,
    h.reopened::boolean AS reopened, EXISTS (SELECT 1 FROM followed AS f WHERE f.upstream_run_id = h.run_id)::boolean AS followed
FROM history AS h;

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

-- NoteLastRuns keeps of each pipeline the newest run that has ended, and how many failed since one
-- succeeded: in this batch, and if none did in it, before. The zero time stands for none that did.
-- name: NoteLastRuns :exec
INSERT INTO pipeline_stat AS s (pipeline_id, last_run_id, last_state, last_ended_at, last_ok_at, last_failed_at, failures_in_row)
SELECT k.pipeline_id, k.run_id, k.state, k.ended_at,
    nullif(k.ok_at, '0001-01-01 00:00:00+00'), nullif(k.failed_at, '0001-01-01 00:00:00+00'), k.failures
FROM (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@run_ids::bigint[]) AS run_id, unnest(@states::text[]) AS state,
        unnest(@ended_ats::timestamptz[]) AS ended_at, unnest(@ok_ats::timestamptz[]) AS ok_at,
        unnest(@failed_ats::timestamptz[]) AS failed_at, unnest(@failures::int[]) AS failures
) AS k
ORDER BY k.pipeline_id
ON CONFLICT (pipeline_id) DO UPDATE
SET last_run_id = greatest(s.last_run_id, excluded.last_run_id),
    last_state = CASE WHEN s.last_run_id > excluded.last_run_id THEN s.last_state ELSE excluded.last_state END,
    last_ended_at = CASE WHEN s.last_run_id > excluded.last_run_id THEN s.last_ended_at ELSE excluded.last_ended_at END,
    last_ok_at = coalesce(excluded.last_ok_at, s.last_ok_at),
    last_failed_at = coalesce(excluded.last_failed_at, s.last_failed_at),
    failures_in_row = excluded.failures_in_row + CASE WHEN excluded.last_ok_at IS NULL THEN s.failures_in_row ELSE 0 END;

-- LockPools locks those of the pools that nobody else is deciding.
-- name: LockPools :many
SELECT p.id, p.slots, p.reserve_scheduled, (extract(epoch FROM now() - p.floor_at) * 1000)::bigint AS since_floor_ms
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

-- PoolUseByBackfill is PoolUse, told apart by the backfills that hold the slots; 0 is none.
-- name: PoolUseByBackfill :many
SELECT coalesce(o.backfill_id, 0)::bigint AS backfill_id, sum(u.slots)::int AS used
FROM (
    SELECT r.run_id, r.slots
    FROM ready AS r
    WHERE r.pool_id = @pool_id::bigint
    UNION ALL
    SELECT l.run_id, l.slots
    FROM live AS l
    WHERE l.pool_id = @pool_id::bigint
) AS u
LEFT JOIN LATERAL (
    SELECT r.backfill_id
    FROM open_run AS r
    WHERE r.run_id = u.run_id
    OFFSET 0
) AS o ON true
GROUP BY 1;

-- PoolWaiters gives the first waiters of a pool in order: of those that are of no backfill, and of each
-- backfill.
-- name: PoolWaiters :many
WITH RECURSIVE queues AS (
    SELECT f.backfill_id
    FROM (SELECT w.backfill_id FROM waiter AS w WHERE w.pool_id = @pool_id ORDER BY w.pool_id, w.backfill_id LIMIT 1) AS f
    UNION ALL
    SELECT x.backfill_id
    FROM queues AS q
    CROSS JOIN LATERAL (
        SELECT w.backfill_id
        FROM waiter AS w
        WHERE w.pool_id = @pool_id
          AND w.backfill_id > q.backfill_id
        ORDER BY w.pool_id, w.backfill_id
        LIMIT 1
    ) AS x
)
SELECT k.run_id, k.number, k.slots, q.backfill_id::bigint AS backfill_id, k.waited_ms::bigint AS waited_ms,
    coalesce((SELECT b.pool_share FROM backfill AS b WHERE b.id = q.backfill_id), 100)::int AS share
FROM queues AS q
CROSS JOIN LATERAL (
    SELECT w.run_id, w.number, w.slots, w.rank, extract(epoch FROM now() - w.since) * 1000 AS waited_ms
    FROM waiter AS w
    WHERE w.pool_id = @pool_id
      AND w.backfill_id = q.backfill_id
    ORDER BY w.pool_id, w.backfill_id, w.rank
    LIMIT @batch::int
) AS k
ORDER BY k.rank;

-- NoteFloor notes that a backfill was let past others at a pool.
-- name: NoteFloor :exec
UPDATE pool AS p
SET floor_at = now()
WHERE p.id = @id;

-- ReleaseWaiters turns waiters of a pool into ready rows that hold their slots.
-- name: ReleaseWaiters :many
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number
), held AS (
    SELECT w.place
    FROM k
    CROSS JOIN LATERAL (
        SELECT w.ctid AS place
        FROM waiter AS w
        WHERE w.run_id = k.run_id
          AND w.number = k.number
        FOR UPDATE
    ) AS w
), taken AS (
    DELETE FROM waiter AS w
    WHERE w.ctid = ANY(ARRAY(SELECT h.place FROM held AS h))
    RETURNING w.run_id, w.number, w.lane, w.rank, w.pipeline_id, w.revision_id, w.attempt, w.failures, w.losses, w.handbacks,
        w.last_loser, w.losers, w.pool_id, w.slots, w.queue_deadline
), moved AS (
    INSERT INTO task AS t (run_id, number, name, state, ready_at)
    SELECT w.run_id, w.number, '', 'ready', now()
    FROM taken AS w
    ON CONFLICT (run_id, number) DO UPDATE
    SET state = 'ready', reason = '', ready_at = now()
    WHERE t.state = 'waiting'
)
INSERT INTO ready (run_id, number, lane, rank, pipeline_id, revision_id, attempt, failures, losses, handbacks, last_loser, losers, pool_id, slots, queue_deadline)
SELECT w.run_id, w.number, w.lane, w.rank, w.pipeline_id, w.revision_id, w.attempt, w.failures, w.losses, w.handbacks,
    w.last_loser, w.losers, w.pool_id, w.slots, w.queue_deadline
FROM taken AS w
RETURNING run_id, number;
