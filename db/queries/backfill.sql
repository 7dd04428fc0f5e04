-- LockDueBackfills locks those of the backfills that nobody else is deciding or changing.
-- name: LockDueBackfills :many
SELECT b.id, b.pipeline_id, b.schedule_id, b.which, b.newest_first, b.most, b.params, b.note, b.requested_by, b.state, b.waiting, b.open,
    (extract(epoch FROM now() - greatest(b.created_at, b.changed_at, b.last_run_at)) * 1000)::bigint AS idle_ms, now()::timestamptz AS now
FROM backfill AS b
WHERE b.id = ANY(@ids::bigint[])
ORDER BY b.id
FOR UPDATE SKIP LOCKED;

-- DropWakesOfGone deletes wakes of backfills that are not there any more.
-- name: DropWakesOfGone :exec
DELETE FROM wake AS w
WHERE w.kind = 'b'
  AND w.subject = ANY(@ids::bigint[])
  AND NOT EXISTS (SELECT 1 FROM backfill AS b WHERE b.id = w.subject);

-- LeaveBackfillWakes makes backfills be looked at again after some time, or at once, unless a wake does
-- so already. The caller has locked the backfills, so none of theirs is being deleted.
-- name: LeaveBackfillWakes :exec
INSERT INTO wake (kind, subject, not_before)
SELECT 'b', k.id, CASE WHEN k.delay_ms > 0 THEN now() + k.delay_ms * interval '1 millisecond' ELSE '-infinity' END
FROM (SELECT unnest(@ids::bigint[]) AS id, unnest(@delays_ms::bigint[]) AS delay_ms) AS k
WHERE NOT EXISTS (
    SELECT 1
    FROM wake AS w
    WHERE w.kind = 'b'
      AND w.subject = k.id
      AND w.not_before <= now() + k.delay_ms * interval '1 millisecond'
);

-- SettleBackfillTicks notes how runs of backfills ended.
-- name: SettleBackfillTicks :many
UPDATE backfill_tick AS t
SET state = r.state
FROM run AS r
WHERE t.backfill_id = ANY(@ids::bigint[])
  AND t.state = 'open'
  AND r.id = t.run_id
  AND r.ended_at IS NOT NULL
RETURNING t.backfill_id, t.state;

-- NewestBackfillTicks gives ticks that have no run yet, the newest first.
-- name: NewestBackfillTicks :many
SELECT t.fire_at, t.interval_start
FROM backfill_tick AS t
WHERE t.backfill_id = @backfill_id
  AND t.state = 'waiting'
ORDER BY t.fire_at DESC
LIMIT @batch::int;

-- OldestBackfillTicks gives ticks that have no run yet, the oldest first.
-- name: OldestBackfillTicks :many
SELECT t.fire_at, t.interval_start
FROM backfill_tick AS t
WHERE t.backfill_id = @backfill_id
  AND t.state = 'waiting'
ORDER BY t.fire_at
LIMIT @batch::int;

-- RunsOfTicks gives the runs that stand for ticks of a schedule: what the ledger made of them, and
-- what backfills did.
-- name: RunsOfTicks :many
SELECT k.fire_at::timestamptz AS fire_at, k.run_id::bigint AS run_id, r.state, r.number
FROM (
    SELECT t.fire_at, t.run_id
    FROM tick AS t
    WHERE t.schedule_id = @schedule_id
      AND t.fire_at = ANY(@fire_ats::timestamptz[])
      AND t.run_id IS NOT NULL
    UNION ALL
    SELECT m.fire_at, m.run_id
    FROM backfill AS b
    JOIN backfill_tick AS m ON m.backfill_id = b.id
    WHERE b.schedule_id = @schedule_id
      AND m.fire_at = ANY(@fire_ats::timestamptz[])
      AND m.run_id IS NOT NULL
) AS k
JOIN run AS r ON r.id = k.run_id
ORDER BY k.run_id;

-- BackfillPlaces gives what backfills need to know of their pipelines and schedules.
-- name: BackfillPlaces :many
SELECT k.id, k.namespace, k.pipeline, k.revision_id, k.removed_at, k.frozen, k.schedule, k.ended_at
FROM (SELECT unnest(@ids::bigint[]) AS id) AS a
CROSS JOIN LATERAL (
    SELECT b.id, p.namespace, p.name AS pipeline, p.revision_id::bigint AS revision_id, p.removed_at, (p.frozen_at IS NOT NULL)::boolean AS frozen,
        s.name AS schedule, s.ended_at
    FROM backfill AS b
    CROSS JOIN LATERAL (SELECT i.name, i.ended_at FROM schedule AS i WHERE i.id = b.schedule_id OFFSET 0) AS s
    JOIN pipeline AS p ON p.id = b.pipeline_id
    WHERE b.id = a.id
    OFFSET 0
) AS k;

-- InsertBackfillRuns writes runs of backfills, running, or queued where one is let into its group's queue.
-- name: InsertBackfillRuns :exec
INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, schedule_id, fire_at, scheduled_at,
    interval_start, interval_end, params, vars, note, requested_by, backfill_id, group_id, concurrency_group, concurrency_limit, state, started_at)
SELECT r.id, r.pipeline_id, r.revision_id, r.number, r.namespace, r.pipeline, 'backfill', r.schedule_id, r.fire_at, r.fire_at,
    r.interval_start, r.fire_at, r.params, r.vars, r.note, r.requested_by, r.backfill_id, r.group_id, r.concurrency_group, r.concurrency_limit, r.state,
    CASE WHEN r.state = 'running' THEN now() END
FROM (
    SELECT unnest(@ids::bigint[]) AS id, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@numbers::bigint[]) AS number, unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS pipeline,
        unnest(@schedules::bigint[]) AS schedule_id, unnest(@fire_ats::timestamptz[]) AS fire_at,
        unnest(@interval_starts::timestamptz[]) AS interval_start,
        unnest(@params::text[])::jsonb AS params, unnest(@vars::text[])::jsonb AS vars,
        unnest(@notes::text[]) AS note, unnest(@requested_bys::text[]) AS requested_by, unnest(@backfills::bigint[]) AS backfill_id,
        unnest(@groups::bigint[]) AS group_id, unnest(@group_names::text[]) AS concurrency_group, unnest(@limits::int[]) AS concurrency_limit,
        unnest(@states::text[]) AS state
) AS r;

-- InsertBackfillOpenRuns writes the open rows of runs of backfills. They do not count towards max_queued.
-- name: InsertBackfillOpenRuns :exec
INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, from_tick, counted, backfill_id, admitted_at)
SELECT o.run_id, o.pipeline_id, o.group_id, o.revision_id, o.state, false, false, o.backfill_id,
    CASE WHEN o.state = 'running' THEN now() END
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@groups::bigint[]) AS group_id,
        unnest(@revisions::bigint[]) AS revision_id, unnest(@states::text[]) AS state, unnest(@backfills::bigint[]) AS backfill_id
) AS o;

-- DecideBackfillTicks stores what became of ticks that waited; run 0 is none.
-- name: DecideBackfillTicks :execrows
UPDATE backfill_tick AS t
SET state = k.state, run_id = nullif(k.run_id, 0), detail = k.detail
FROM (
    SELECT unnest(@backfills::bigint[]) AS backfill_id, unnest(@fire_ats::timestamptz[]) AS fire_at, unnest(@states::text[]) AS state,
        unnest(@run_ids::bigint[]) AS run_id, unnest(@details::text[]) AS detail
) AS k
WHERE t.backfill_id = k.backfill_id
  AND t.fire_at = k.fire_at
  AND t.state = 'waiting';

-- CountBackfills moves ticks of backfills from one count to another. One whose last run has ended is done.
-- name: CountBackfills :many
UPDATE backfill AS b
SET waiting = b.waiting + k.waiting, open = b.open + k.open, succeeded = b.succeeded + k.succeeded, failed = b.failed + k.failed,
    canceled = b.canceled + k.canceled, skipped = b.skipped + k.skipped, passed = b.passed + k.passed,
    last_run_at = CASE WHEN k.made THEN now() ELSE b.last_run_at END,
    state = CASE WHEN b.state IN ('running', 'paused') AND b.waiting + k.waiting = 0 AND b.open + k.open = 0 THEN 'done' ELSE b.state END,
    ended_at = CASE WHEN b.state IN ('running', 'paused') AND b.waiting + k.waiting = 0 AND b.open + k.open = 0 THEN now() ELSE b.ended_at END
FROM (
    SELECT unnest(@ids::bigint[]) AS id, unnest(@waitings::int[]) AS waiting, unnest(@opens::int[]) AS open, unnest(@succeededs::int[]) AS succeeded,
        unnest(@faileds::int[]) AS failed, unnest(@canceleds::int[]) AS canceled, unnest(@skippeds::int[]) AS skipped, unnest(@passeds::int[]) AS passed,
        unnest(@mades::boolean[]) AS made
) AS k
WHERE b.id = k.id
RETURNING b.id, b.pipeline_id, b.state;

-- CancelBackfill ends a backfill: what has no run yet gets none. No row: it has ended.
-- name: CancelBackfill :execrows
UPDATE backfill AS b
SET state = 'canceled', ended_at = now(), changed_at = now(), changed_by = @by::text, reason = @reason::text
WHERE b.id = @id
  AND b.state IN ('running', 'paused');

-- StuckBackfills looks for backfills that are not at their end and that nothing will ever wake.
-- name: StuckBackfills :many
SELECT b.id
FROM backfill AS b
WHERE b.ended_at IS NULL
  AND (b.state = 'running' OR b.open > 0)
  AND NOT EXISTS (SELECT 1 FROM wake AS w WHERE w.kind = 'b' AND w.subject = b.id)
LIMIT @batch::int;

-- InsertBackfillEvents tells what became of backfills.
-- name: InsertBackfillEvents :exec
INSERT INTO event (kind, pipeline_id, entity_id, to_state, reason)
SELECT 'backfill', unnest(@pipelines::bigint[]), unnest(@ids::bigint[]), unnest(@states::text[]), unnest(@reasons::text[]);
