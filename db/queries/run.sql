-- RequestRun writes a run that was asked for, with its open row, a wake for its group, and its event.
-- name: RequestRun :exec
WITH made AS (
    INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, scheduled_at, interval_start, interval_end,
        params, vars, note, requested_by, idempotency_key, rerun_of, group_id, concurrency_group, concurrency_limit, state, created_at)
    VALUES (@id, @pipeline_id, @revision_id, @number, @namespace, @pipeline, @trigger::text, @scheduled_at, @interval_start, @interval_end,
        @params, @vars, @note, @requested_by, sqlc.narg('idempotency_key'), sqlc.narg('rerun_of'), @group_id, @concurrency_group, @concurrency_limit, 'queued', @created_at)
    RETURNING id, pipeline_id, group_id, revision_id, created_at
), opened AS (
    INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, from_tick, counted, created_at)
    SELECT m.id, m.pipeline_id, m.group_id, m.revision_id, 'queued', false, true, m.created_at
    FROM made AS m
), woken AS (
    INSERT INTO wake (kind, subject)
    SELECT 'g', m.group_id
    FROM made AS m
)
INSERT INTO event (kind, entity_id, pipeline_id, to_state, cause, actor)
SELECT 'run', m.id, m.pipeline_id, 'queued', @trigger::text, @requested_by::text
FROM made AS m;

-- KeepRequest keeps what a key made. No row: the key was used before, and its row says for what.
-- name: KeepRequest :execrows
INSERT INTO request_key (scope, key, content_hash, run_id)
VALUES (@scope, @key, @content_hash, @run_id)
ON CONFLICT (scope, key) DO NOTHING;

-- SetAnswer completes the answer of a key that this transaction has taken.
-- name: SetAnswer :exec
UPDATE request_key AS k
SET answer = @answer::jsonb
WHERE k.scope = @scope
  AND k.key = @key;

-- KeptRequest says what a key was used for: a run, or the id of something else as its answer.
-- name: KeptRequest :one
SELECT k.content_hash, k.run_id, coalesce(k.answer, 'null')::jsonb AS answer
FROM request_key AS k
WHERE k.scope = @scope
  AND k.key = @key;

-- RunByID gives one run.
-- name: RunByID :one
SELECT sqlc.embed(r), v.number AS revision, coalesce(s.name, '') AS schedule
FROM run AS r
JOIN revision AS v ON v.id = r.revision_id
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE r.id = @id;

-- RunByNumber gives one run of a pipeline by its number.
-- name: RunByNumber :one
SELECT sqlc.embed(r), v.number AS revision, coalesce(s.name, '') AS schedule
FROM run AS r
JOIN revision AS v ON v.id = r.revision_id
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE r.pipeline_id = @pipeline_id
  AND r.number = @number;

-- NewestRun gives the number of a pipeline's newest run, or of its newest that failed.
-- name: NewestRun :one
SELECT r.number
FROM run AS r
WHERE r.pipeline_id = @pipeline_id
  AND (NOT @failed::boolean OR r.failed)
ORDER BY r.number DESC
LIMIT 1;

-- LastNumber is the last number that a pipeline gave to a run.
-- name: LastNumber :one
SELECT c.last
FROM pipeline_counter AS c
WHERE c.pipeline_id = @pipeline_id;

-- RunsOfPipeline gives a page of the runs of a pipeline below a number, newest first.
-- name: RunsOfPipeline :many
SELECT sqlc.embed(r), v.number AS revision, coalesce(s.name, '') AS schedule
FROM run AS r
JOIN revision AS v ON v.id = r.revision_id
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE r.pipeline_id = @pipeline_id
  AND r.number < @below
  AND r.id BETWEEN @low::bigint AND @high::bigint
  AND (cardinality(@states::text[]) = 0 OR r.state = ANY(@states))
  AND r.created_at >= coalesce(sqlc.narg('since')::timestamptz, '-infinity')
  AND r.created_at < coalesce(sqlc.narg('until')::timestamptz, 'infinity')
ORDER BY r.number DESC
LIMIT @page::int;

-- OpenRunsPage gives a page of runs that have not ended, below an id, newest first.
-- name: OpenRunsPage :many
SELECT sqlc.embed(r), v.number AS revision, coalesce(s.name, '') AS schedule
FROM open_run AS o
JOIN run AS r ON r.id = o.run_id
JOIN revision AS v ON v.id = r.revision_id
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE o.run_id < @below
  AND (cardinality(@visible::text[]) = 0 OR r.namespace = ANY(@visible))
  AND o.state = ANY(@states::text[])
  AND r.created_at >= coalesce(sqlc.narg('since')::timestamptz, '-infinity')
  AND r.created_at < coalesce(sqlc.narg('until')::timestamptz, 'infinity')
ORDER BY o.run_id DESC
LIMIT @page::int;

-- FailedRunsPage gives a page of failed runs below an id, newest first.
-- name: FailedRunsPage :many
SELECT sqlc.embed(r), v.number AS revision, coalesce(s.name, '') AS schedule
FROM run AS r
JOIN revision AS v ON v.id = r.revision_id
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE r.failed
  AND r.id < @below
  AND r.id BETWEEN @low::bigint AND @high::bigint
  AND (cardinality(@visible::text[]) = 0 OR r.namespace = ANY(@visible))
  AND r.created_at >= coalesce(sqlc.narg('since')::timestamptz, '-infinity')
  AND r.created_at < coalesce(sqlc.narg('until')::timestamptz, 'infinity')
ORDER BY r.id DESC
LIMIT @page::int;

-- RunsPage gives a page of all runs below an id, newest first.
-- name: RunsPage :many
SELECT sqlc.embed(r), v.number AS revision, coalesce(s.name, '') AS schedule
FROM run AS r
JOIN revision AS v ON v.id = r.revision_id
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE r.id < @below
  AND r.id BETWEEN @low::bigint AND @high::bigint
  AND (cardinality(@visible::text[]) = 0 OR r.namespace = ANY(@visible))
  AND (cardinality(@states::text[]) = 0 OR r.state = ANY(@states))
  AND r.created_at >= coalesce(sqlc.narg('since')::timestamptz, '-infinity')
  AND r.created_at < coalesce(sqlc.narg('until')::timestamptz, 'infinity')
ORDER BY r.id DESC
LIMIT @page::int;

-- RunDayStart is the smallest id that a run of the instant's day can have.
-- name: RunDayStart :one
SELECT (run_day(@at::timestamptz) << 38)::bigint AS id;

-- CancelRun asks an open run to stop, or if it was asked before, to stop its finally too. No row: it has
-- ended.
-- name: CancelRun :one
WITH held AS (
    SELECT o.run_id, o.cancel_requested_at
    FROM open_run AS o
    WHERE o.run_id = @run_id
    FOR UPDATE
), asked AS (
    UPDATE open_run AS o
    SET cancel_requested_at = coalesce(o.cancel_requested_at, clock_timestamp()),
        cancel_again_at = CASE WHEN o.cancel_requested_at IS NOT NULL THEN coalesce(o.cancel_again_at, clock_timestamp()) END
    FROM held AS h
    WHERE o.run_id = h.run_id
    RETURNING o.run_id, o.pipeline_id, o.state, o.cancel_requested_at
), stamped AS (
    UPDATE run AS r
    SET cancel_requested_at = a.cancel_requested_at, canceled_by = @by::text, cancel_reason = @why::text
    FROM asked AS a
    WHERE r.id = a.run_id
      AND r.cancel_requested_at IS NULL
), woken AS (
    INSERT INTO wake (kind, subject)
    SELECT 'r', a.run_id
    FROM asked AS a
), told AS (
    INSERT INTO event (kind, entity_id, pipeline_id, reason, cause, actor)
    SELECT 'run', a.run_id, a.pipeline_id, 'cancel_requested', @why::text, @by::text
    FROM asked AS a
)
SELECT a.run_id, a.state, (SELECT h.cancel_requested_at IS NOT NULL FROM held AS h)::boolean AS again
FROM asked AS a;
