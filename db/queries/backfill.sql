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

-- BackfillSchedule gives a schedule for a backfill: where it stands, and what time it is.
-- name: BackfillSchedule :one
SELECT s.id, s.name, s.next_at, now()::timestamptz AS now
FROM schedule AS s
WHERE s.pipeline_id = @pipeline_id
  AND s.name = @name
  AND s.ended_at IS NULL;

-- LedgerOf gives what the ledger says of the ticks of a range, and the runs it made of them.
-- name: LedgerOf :many
SELECT t.fire_at, t.state, t.reason, t.until, t.run_id, r.state AS run_state, r.number
FROM tick AS t
LEFT JOIN run AS r ON r.id = t.run_id
WHERE t.schedule_id = @schedule_id
  AND t.fire_at BETWEEN @first AND @last
ORDER BY t.fire_at
LIMIT 100001;

-- BackfilledOf gives the runs that backfills have made for the ticks of a range, the newest of a tick last.
-- name: BackfilledOf :many
SELECT t.fire_at, r.id, r.state, r.number
FROM backfill AS b
JOIN backfill_tick AS t ON t.backfill_id = b.id
JOIN run AS r ON r.id = t.run_id
WHERE b.schedule_id = @schedule_id
  AND b.from_at <= @last
  AND b.until_at >= @first
  AND t.fire_at BETWEEN @first AND @last
  AND t.run_id IS NOT NULL
ORDER BY r.id
LIMIT 200000;

-- BackfillPace says how many seconds a run of a pipeline takes: the median of its newest.
-- name: BackfillPace :one
SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM k.ended_at - k.started_at)), 0)::float8 AS seconds
FROM (
    SELECT r.started_at, r.ended_at
    FROM run AS r
    WHERE r.pipeline_id = @pipeline_id
    ORDER BY r.number DESC
    LIMIT 50
) AS k
WHERE k.ended_at IS NOT NULL
  AND k.started_at IS NOT NULL;

-- InsertBackfill writes a backfill.
-- name: InsertBackfill :one
INSERT INTO backfill (pipeline_id, schedule_id, from_at, until_at, which, newest_first, most, pool_share, params, note, requested_by, changed_by, ticks, waiting)
VALUES (@pipeline_id, @schedule_id, @from_at, @until_at, @which, @newest_first, @most, @pool_share, @params, @note, @requested_by, @requested_by, @ticks, @ticks)
RETURNING id;

-- InsertBackfillTicks writes ticks that get a run.
-- name: InsertBackfillTicks :exec
INSERT INTO backfill_tick (backfill_id, fire_at, interval_start)
SELECT @backfill_id, unnest(@fire_ats::timestamptz[]), unnest(@interval_starts::timestamptz[]);

-- ListBackfills gives a page of backfills below an id, newest first.
-- name: ListBackfills :many
SELECT sqlc.embed(b), p.namespace, p.name AS pipeline, p.revision_id::bigint AS revision_id, s.name AS schedule
FROM backfill AS b
JOIN pipeline AS p ON p.id = b.pipeline_id
JOIN schedule AS s ON s.id = b.schedule_id
WHERE b.id < @below
  AND (@id::bigint = 0 OR b.id = @id)
  AND (@pipeline_id::bigint = 0 OR b.pipeline_id = @pipeline_id)
  AND (@state::text = '' OR b.state = @state)
  AND (cardinality(@visible::text[]) = 0 OR p.namespace = ANY(@visible))
ORDER BY b.id DESC
LIMIT @page::int;

-- LockBackfill locks a backfill for a change.
-- name: LockBackfill :one
SELECT b.id, b.state, b.most, b.pool_share
FROM backfill AS b
WHERE b.id = @id
FOR UPDATE;

-- TicksOfBackfill gives a page of a backfill's ticks before a moment, newest first, each with its run as it is now;
-- where a state is given, of those in it.
-- name: TicksOfBackfill :many
SELECT t.fire_at, t.state, t.detail, r.number, r.state AS run_state
FROM backfill_tick AS t
LEFT JOIN run AS r ON r.id = t.run_id
WHERE t.backfill_id = @backfill_id
  AND t.fire_at < @before
  AND (@state::text = '' OR t.state = @state)
ORDER BY t.fire_at DESC
LIMIT @page::int;

-- SteerBackfill pauses a backfill, or lets it go on. No row: it is in another state.
-- name: SteerBackfill :execrows
UPDATE backfill AS b
SET state = @state::text, reason = @reason::text, changed_at = now(), changed_by = @by::text
WHERE b.id = @id
  AND b.state = @was::text;

-- SetBackfillQuota says how much of a backfill runs at once.
-- name: SetBackfillQuota :exec
UPDATE backfill AS b
SET most = @most::int, pool_share = @pool_share::int, changed_at = now(), changed_by = @by::text
WHERE b.id = @id;

-- PoolsOfBackfill gives the pools at which tasks of a backfill wait.
-- name: PoolsOfBackfill :many
SELECT DISTINCT w.pool_id
FROM waiter AS w
WHERE w.backfill_id = @backfill_id;

-- OpenRunsOfBackfill gives runs that a backfill has made and that have not ended.
-- name: OpenRunsOfBackfill :many
SELECT t.run_id::bigint AS run_id
FROM backfill_tick AS t
WHERE t.backfill_id = @backfill_id
  AND t.state = 'open';

-- DropOldBackfills forgets backfills that ended long ago.
-- name: DropOldBackfills :execrows
DELETE FROM backfill AS b
WHERE b.id = ANY(ARRAY(
    SELECT o.id
    FROM backfill AS o
    WHERE o.ended_at < now() - interval '1 day' * @days::int
      AND o.open = 0
    ORDER BY o.ended_at
    LIMIT 100
));
