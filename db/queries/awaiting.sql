-- WriteAwaited stores what became of tasks and items that wait for no executor: that they begin to wait, go
-- back for another try, or ended. The zero time stands for none. Each is Waiting until then.
-- name: WriteAwaited :execrows
INSERT INTO task AS t (run_id, number, name, state, reason, detail, outputs, attempt, failures, wake_at, deadline_at, ready_at, due_at, ended_at)
SELECT k.run_id, k.number, '', k.state, k.reason, k.detail, k.outputs, k.attempts, k.failures,
    nullif(k.wake_at, '0001-01-01 00:00:00+00'), nullif(k.deadline_at, '0001-01-01 00:00:00+00'), now(), now(),
    CASE WHEN k.state <> 'waiting' THEN statement_timestamp() END
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@states::text[]) AS state,
        unnest(@reasons::text[]) AS reason, unnest(@details::text[]) AS detail, nullif(unnest(@outputs::text[]), '')::jsonb AS outputs,
        unnest(@attempts::int[]) AS attempts, unnest(@failures::smallint[]) AS failures,
        unnest(@wake_ats::timestamptz[]) AS wake_at, unnest(@deadline_ats::timestamptz[]) AS deadline_at
) AS k
ON CONFLICT (run_id, number) DO UPDATE
SET state = excluded.state, reason = excluded.reason, detail = excluded.detail, outputs = excluded.outputs, attempt = t.attempt + excluded.attempt,
    failures = CASE WHEN excluded.failures < 0 THEN t.failures ELSE excluded.failures END,
    wake_at = excluded.wake_at, deadline_at = excluded.deadline_at, ready_at = coalesce(t.ready_at, excluded.ready_at),
    due_at = coalesce(t.due_at, excluded.due_at), ended_at = excluded.ended_at
WHERE t.state = 'waiting'
  AND t.items IS NULL;

-- AwaitedTasks gives what decisions about tasks and items that wait for no executor are made from.
-- name: AwaitedTasks :many
SELECT k.run_id, k.number, k.state, k.reason, k.wake_at, k.deadline_at, k.failures, k.item
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS a
CROSS JOIN LATERAL (
    SELECT t.run_id, t.number, t.state, t.reason, t.wake_at, t.deadline_at, t.failures, t.item
    FROM task AS t
    WHERE t.run_id = a.run_id
      AND t.number = a.number
    OFFSET 0
) AS k;

-- LockApprovals locks the open questions of tasks and says which of them somebody has answered.
-- name: LockApprovals :many
SELECT k.run_id, k.number, k.decision, k.decided_by
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS a
CROSS JOIN LATERAL (
    SELECT p.run_id, p.number, p.decision, p.decided_by
    FROM approval AS p
    WHERE p.run_id = a.run_id
      AND p.number = a.number
      AND p.closed_at IS NULL
    FOR UPDATE
) AS k;

-- AwaitedChildren gives the runs that tasks wait for, and how they stand.
-- name: AwaitedChildren :many
SELECT c.parent_run_id, c.parent_number, c.run_id, coalesce(c.reason, '') AS refused, c.detail, coalesce(c.stop_reason, '') AS stop_reason,
    coalesce(r.state, '')::text AS state, coalesce(r.reason, '')::text AS ended_reason, coalesce(r.outputs, '{}')::jsonb AS outputs
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS a
CROSS JOIN LATERAL (
    SELECT c.parent_run_id, c.parent_number, c.run_id, c.reason, c.detail, c.stop_reason
    FROM child_run AS c
    WHERE c.parent_run_id = a.run_id
      AND c.parent_number = a.number
      AND c.settled_at IS NULL
    OFFSET 0
) AS c
LEFT JOIN LATERAL (
    SELECT r.state, r.reason, r.outputs
    FROM run AS r
    WHERE r.id = c.run_id
      AND r.ended_at IS NOT NULL
    OFFSET 0
) AS r ON true;

-- AskApprovals stores questions; the zero time stands for no time-out.
-- name: AskApprovals :exec
WITH asked AS (
    INSERT INTO approval (run_id, number, pipeline_id, prompt, deadline_at)
    SELECT unnest(@run_ids::bigint[]), unnest(@numbers::int[]), unnest(@pipelines::bigint[]), unnest(@prompts::text[]),
        nullif(unnest(@deadline_ats::timestamptz[]), '0001-01-01 00:00:00+00')
    RETURNING run_id, number, pipeline_id
)
INSERT INTO event (kind, entity_id, pipeline_id, number, reason, cause)
SELECT 'task', a.run_id, a.pipeline_id, a.number, 'asked', 'approval'
FROM asked AS a;

-- CloseApprovals closes the open questions of tasks that have ended. Where nobody had decided, the decision
-- is the one that the time-out made.
-- name: CloseApprovals :exec
UPDATE approval AS p
SET closed_at = now(), decision = coalesce(p.decision, nullif(k.decision, '')), decided_at = coalesce(p.decided_at, CASE WHEN k.decision <> '' THEN now() END)
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@decisions::text[]) AS decision) AS k
WHERE p.run_id = k.run_id
  AND p.number = k.number
  AND p.closed_at IS NULL;

-- CloseApprovalsOf closes the open questions in a range of tasks that were canceled.
-- name: CloseApprovalsOf :exec
UPDATE approval AS p
SET closed_at = now()
WHERE p.run_id = @run_id
  AND p.number BETWEEN @first::int AND @last::int
  AND p.closed_at IS NULL;

-- AskChildren asks for runs on behalf of tasks.
-- name: AskChildren :exec
INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, params, waits, depth)
SELECT k.run_id, k.number,
    coalesce((SELECT max(c.attempt) FROM child_run AS c WHERE c.parent_run_id = k.run_id AND c.parent_number = k.number), 0) + 1,
    k.namespace, k.pipeline, k.params, k.waits,
    coalesce((SELECT c.depth FROM child_run AS c WHERE c.run_id = k.run_id), 0) + 1
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@namespaces::text[]) AS namespace,
        unnest(@pipelines::text[]) AS pipeline, unnest(@params::text[])::jsonb AS params, unnest(@waits::boolean[]) AS waits
) AS k;

-- SettleChildren says that tasks have taken the ends of their children into account.
-- name: SettleChildren :exec
UPDATE child_run AS c
SET settled_at = now()
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS k
WHERE c.parent_run_id = k.run_id
  AND c.parent_number = k.number
  AND c.settled_at IS NULL;

-- WithdrawChildren takes back what a range of tasks asked for and nobody has made yet. Whoever is making
-- it right now is waited for: what is there then is asked to stop.
-- name: WithdrawChildren :exec
DELETE FROM child_run AS c
WHERE c.parent_run_id = @run_id
  AND c.parent_number BETWEEN @first::int AND @last::int
  AND c.run_id IS NULL
  AND c.settled_at IS NULL;

-- StopChildren has the children of a range of tasks stop. It does not touch their rows, which somebody may
-- hold: the wake says it, and whoever holds a run acts on its own.
-- name: StopChildren :execrows
WITH asked AS (
    UPDATE child_run AS c
    SET stop_reason = coalesce(c.stop_reason, @reason::text), stop_again = c.stop_again OR @again::boolean
    WHERE c.parent_run_id = @run_id
      AND c.parent_number BETWEEN @first::int AND @last::int
      AND c.settled_at IS NULL
      AND c.waits
      AND (c.stop_reason IS NULL OR @again::boolean AND NOT c.stop_again)
    RETURNING c.run_id
)
INSERT INTO wake (kind, subject, number, state)
SELECT 'r', a.run_id, -1, CASE WHEN @again::boolean THEN 'cancel_again' ELSE 'cancel' END
FROM asked AS a
WHERE a.run_id IS NOT NULL;

-- CancelLocked cancels runs that the caller has locked, because the runs that called them want it; those in
-- @agains for the second time: they stop their finally too.
-- name: CancelLocked :exec
WITH asked AS (
    UPDATE open_run AS o
    SET cancel_requested_at = coalesce(o.cancel_requested_at, statement_timestamp()),
        cancel_again_at = CASE WHEN o.run_id = ANY(@agains::bigint[]) THEN coalesce(o.cancel_again_at, statement_timestamp()) ELSE o.cancel_again_at END
    WHERE o.run_id = ANY(@ids::bigint[])
    RETURNING o.run_id, o.pipeline_id
), stamped AS (
    UPDATE run AS r
    SET cancel_requested_at = statement_timestamp(), canceled_by = 'scheduler', cancel_reason = @why::text
    FROM asked AS a
    WHERE r.id = a.run_id
      AND r.cancel_requested_at IS NULL
)
INSERT INTO event (kind, entity_id, pipeline_id, reason, cause, actor)
SELECT 'run', a.run_id, a.pipeline_id, 'cancel_requested', @why::text, 'scheduler'
FROM asked AS a;

-- LeaveTimedWakes has tasks looked at again when their time comes.
-- name: LeaveTimedWakes :exec
INSERT INTO wake (kind, subject, not_before, number, state)
SELECT 'r', unnest(@run_ids::bigint[]), unnest(@ats::timestamptz[]), unnest(@numbers::int[]), 'waiting';

-- LockAskedChildren locks runs that tasks have asked for and nobody has made, oldest first, with what they
-- inherit from the run that asks.
-- name: LockAskedChildren :many
SELECT k.parent_run_id, k.parent_number, k.attempt, k.namespace, k.pipeline, k.params, k.waits, k.depth, coalesce(k.stop_reason, '') AS stop_reason,
    r.scheduled_at, r.interval_start, r.interval_end, coalesce(r.backfill_id, 0)::bigint AS backfill_id, now()::timestamptz AS now
FROM (
    SELECT c.parent_run_id, c.parent_number, c.attempt, c.namespace, c.pipeline, c.params, c.waits, c.depth, c.stop_reason
    FROM child_run AS c
    WHERE c.run_id IS NULL
      AND c.reason IS NULL
    ORDER BY c.asked_at
    LIMIT @batch::int
    FOR UPDATE SKIP LOCKED
) AS k
CROSS JOIN LATERAL (
    SELECT r.scheduled_at, r.interval_start, r.interval_end, r.backfill_id
    FROM run AS r
    WHERE r.id = k.parent_run_id
    OFFSET 0
) AS r;

-- CallersGroups gives the groups of runs and of those that called them, directly or through others.
-- name: CallersGroups :many
WITH RECURSIVE up AS (
    SELECT a.id, a.id AS run_id, 1 AS depth
    FROM (SELECT unnest(@ids::bigint[]) AS id) AS a
    UNION ALL
    SELECT u.id, c.parent_run_id, u.depth + 1
    FROM up AS u
    JOIN child_run AS c ON c.run_id = u.run_id
    WHERE u.depth < 10
      AND c.waits
)
SELECT u.id::bigint AS id, k.group_id
FROM up AS u
CROSS JOIN LATERAL (
    SELECT o.group_id
    FROM open_run AS o
    WHERE o.run_id = u.run_id
    OFFSET 0
) AS k;

-- AnswerChildren says which runs tasks got, or why they got none, and wakes those that need wait no longer.
-- Run 0 stands for none.
-- name: AnswerChildren :exec
WITH k AS (
    SELECT unnest(@parents::bigint[]) AS parent_run_id, unnest(@parent_numbers::int[]) AS parent_number, unnest(@attempts::int[]) AS attempt,
        nullif(unnest(@run_ids::bigint[]), 0) AS run_id, nullif(unnest(@numbers::bigint[]), 0) AS number,
        nullif(unnest(@reasons::text[]), '') AS reason, unnest(@details::text[]) AS detail, unnest(@besides::boolean[]) AS beside
), answered AS (
    UPDATE child_run AS c
    SET run_id = k.run_id, number = k.number, reason = k.reason, detail = k.detail, beside = k.beside
    FROM k
    WHERE c.parent_run_id = k.parent_run_id
      AND c.parent_number = k.parent_number
      AND c.attempt = k.attempt
      AND c.run_id IS NULL
      AND c.reason IS NULL
    RETURNING c.parent_run_id, c.parent_number, c.run_id, c.waits
)
INSERT INTO wake (kind, subject, number, state)
SELECT 'r', a.parent_run_id, a.parent_number, 'waiting'
FROM answered AS a
WHERE a.run_id IS NULL
   OR NOT a.waits;

-- NewestRevisions gives pipelines by name with their newest revision and the last number they gave to a run.
-- name: NewestRevisions :many
SELECT p.id, p.namespace, p.name, coalesce(p.revision_id, 0)::bigint AS revision_id, (p.removed_at IS NOT NULL)::boolean AS removed,
    coalesce((SELECT c.last FROM pipeline_counter AS c WHERE c.pipeline_id = p.id), 0)::bigint AS last
FROM (SELECT DISTINCT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS w
JOIN pipeline AS p ON p.namespace = w.namespace AND p.name = w.name;

-- InsertAskedRuns writes runs that other runs ask for, queued, with their open rows, their events and wakes
-- for their groups. Parent 0 stands for none that waits.
-- name: InsertAskedRuns :exec
WITH k AS (
    SELECT unnest(@ids::bigint[]) AS id, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@numbers::bigint[]) AS number, unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS pipeline,
        unnest(@scheduled_ats::timestamptz[]) AS scheduled_at,
        unnest(@interval_starts::timestamptz[]) AS interval_start, unnest(@interval_ends::timestamptz[]) AS interval_end,
        unnest(@params::text[])::jsonb AS params, unnest(@vars::text[])::jsonb AS vars,
        unnest(@groups::bigint[]) AS group_id, unnest(@group_names::text[]) AS concurrency_group, unnest(@limits::int[]) AS concurrency_limit,
        nullif(unnest(@parents::bigint[]), 0) AS parent_run_id, unnest(@parent_numbers::int[]) AS parent_number,
        unnest(@waits::boolean[]) AS waits, unnest(@besides::boolean[]) AS beside, unnest(@backfills::bigint[]) AS backfill_id, unnest(@notes::text[]) AS note
), made AS (
    INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end,
        params, vars, note, parent_run_id, parent_number, backfill_id, group_id, concurrency_group, concurrency_limit, state)
    SELECT k.id, k.pipeline_id, k.revision_id, k.number, k.namespace, k.pipeline, 'pipeline', k.scheduled_at, k.interval_start, k.interval_end,
        k.params, k.vars, k.note, k.parent_run_id, CASE WHEN k.parent_run_id IS NOT NULL THEN k.parent_number END,
        nullif(k.backfill_id, 0), k.group_id, k.concurrency_group, k.concurrency_limit, 'queued'
    FROM k
), opened AS (
    INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, from_tick, counted, parent_run_id, parent_number, beside, backfill_id)
    SELECT k.id, k.pipeline_id, k.group_id, k.revision_id, 'queued', false, false,
        CASE WHEN k.waits THEN k.parent_run_id END, CASE WHEN k.waits AND k.parent_run_id IS NOT NULL THEN k.parent_number END, k.beside, k.backfill_id
    FROM k
), woken AS (
    INSERT INTO wake (kind, subject)
    SELECT DISTINCT 'g', k.group_id
    FROM k
)
INSERT INTO event (kind, entity_id, pipeline_id, to_state, cause)
SELECT 'run', k.id, k.pipeline_id, 'queued', 'pipeline'
FROM k;

-- DropOldAwaited forgets the questions, the calls and the follow-ups of runs that are gone.
-- name: DropOldAwaited :exec
WITH followed AS (
    DELETE FROM follow_up AS f
    WHERE f.upstream_run_id < @before::bigint
      AND NOT EXISTS (SELECT 1 FROM run AS r WHERE r.id = f.upstream_run_id)
), questions AS (
    DELETE FROM approval AS p
    WHERE p.run_id < @before::bigint
      AND NOT EXISTS (SELECT 1 FROM run AS r WHERE r.id = p.run_id)
)
DELETE FROM child_run AS c
WHERE c.parent_run_id < @before::bigint
  AND NOT EXISTS (SELECT 1 FROM run AS r WHERE r.id = c.parent_run_id);
