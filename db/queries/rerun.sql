-- OpenAgain takes the open row of a run that has ended. No row: it is open already. Retention drops no day
-- with an open run, so what is read of the run afterwards stays, or is gone already. Nobody waits for the new
-- end: see EndUnseen.
-- name: OpenAgain :execrows
INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, backfill_id)
VALUES (@run_id, @pipeline_id, @group_id, @revision_id, 'queued', coalesce((SELECT r.backfill_id FROM run AS r WHERE r.id = @run_id), 0))
ON CONFLICT (run_id) DO NOTHING;

-- EndUnseen says whether a task that called a run, which has ended, has yet to take its end into account.
-- name: EndUnseen :one
SELECT EXISTS (
    SELECT
    FROM child_run AS c
    WHERE c.run_id = @run_id::bigint
      AND c.waits
      AND c.settled_at IS NULL
)::boolean;

-- CloseAgain gives the open row back, when a mark changes the end of a run and makes nothing run.
-- name: CloseAgain :exec
DELETE FROM open_run AS o
WHERE o.run_id = @run_id;

-- RowsOf gives all rows of a run that has ended, for the decision what of it runs again.
-- name: RowsOf :many
SELECT t.number, t.state, t.reason, (t.items IS NOT NULL)::boolean AS expanded, t.again
FROM task AS t
WHERE t.run_id = @run_id
ORDER BY t.number;

-- SetBack makes ended tasks and items wait again: what they spent is forgotten, the number of their last
-- attempt is not. Those of fan-outs come with their counters, -1 for all others.
-- name: SetBack :execrows
WITH k AS (
    SELECT unnest(@numbers::int[]) AS number, unnest(@froms::text[]) AS was, unnest(@needs_lefts::smallint[]) AS needs_left,
        unnest(@trails::smallint[]) AS trail, nullif(unnest(@agains::text[]), '')::smallint[] AS again,
        nullif(unnest(@unfinisheds::int[]), -1) AS unfinished, nullif(unnest(@oks::int[]), -1) AS ok,
        nullif(unnest(@faileds::int[]), -1) AS failed, nullif(unnest(@canceleds::int[]), -1) AS canceled, nullif(unnest(@skippeds::int[]), -1) AS skipped
), back AS (
    UPDATE task AS t
    SET state = 'waiting', reason = '', detail = '', needs_left = k.needs_left, trail = k.trail, failures = 0, losses = 0, handbacks = 0,
        last_loser = NULL, losers = 0, ready_at = NULL, due_at = NULL, wake_at = NULL, deadline_at = NULL, ended_at = NULL, outputs = NULL,
        again = k.again, released = CASE WHEN t.items IS NOT NULL THEN 0 END, unfinished = k.unfinished, ok = k.ok, failed = k.failed,
        canceled = k.canceled, skipped = k.skipped
    FROM k
    WHERE t.run_id = @run_id
      AND t.number = k.number
      AND t.state = k.was
      AND t.ended_at IS NOT NULL
    RETURNING t.run_id, t.number, k.was
)
INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, cause, actor)
SELECT 'task', @pipeline_id::bigint, b.run_id, b.number, b.was, 'waiting', @cause::text, @actor::text
FROM back AS b;

-- ReopenRun makes an ended run wait for its group again, whose open row the caller has taken. Its old end stays in
-- the event.
-- name: ReopenRun :execrows
WITH back AS (
    UPDATE run AS r
    SET state = 'queued', reason = '', outputs = '{}', started_at = NULL, ended_at = NULL, cancel_requested_at = NULL, canceled_by = NULL, cancel_reason = NULL
    WHERE r.id = @run_id
      AND r.state = @was::text
      AND r.ended_at IS NOT NULL
    RETURNING r.id, r.pipeline_id, r.group_id
), counted AS (
    UPDATE open_run AS o
    SET reopened = (@rows::int > 0), unfinished = @unfinished, failed = @failed, canceled = @canceled, skipped = @skipped, rows = @rows
    WHERE o.run_id = @run_id
      AND (SELECT b.id FROM back AS b) IS NOT NULL
), woken AS (
    INSERT INTO wake (kind, subject)
    SELECT 'g', b.group_id
    FROM back AS b
)
INSERT INTO event (kind, pipeline_id, entity_id, from_state, to_state, cause, actor, detail)
SELECT 'run', b.pipeline_id, b.id, @was::text, 'queued', @cause::text, @actor::text, @detail::jsonb
FROM back AS b;

-- MarkTask says by hand how a task or an item ended. It keeps the time of its end, and its outputs unless
-- others are given; they are read only of what succeeded. The own row of a marked item's fan-out may stay in
-- its state: that is no event.
-- name: MarkTask :one
WITH marked AS (
    UPDATE task AS t
    SET state = @state::text, reason = @reason::text, detail = @detail::text, outputs = coalesce(sqlc.narg('outputs')::jsonb, t.outputs),
        ok = @ok, failed = @failed, canceled = @canceled, skipped = @skipped
    WHERE t.run_id = @run_id
      AND t.number = @number
      AND t.state = @was::text
      AND t.ended_at IS NOT NULL
    RETURNING t.run_id, t.number
), told AS (
    INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause, actor, detail)
    SELECT 'task', @pipeline_id::bigint, m.run_id, m.number, @was::text, @state::text, @reason::text, 'mark', @actor::text, @told::jsonb
    FROM marked AS m
    WHERE @state::text <> @was::text
)
SELECT count(*)
FROM marked AS m;

-- MarkRun writes how a run ended anew, after a mark that made nothing run.
-- name: MarkRun :execrows
WITH marked AS (
    UPDATE run AS r
    SET state = @state::text, reason = @reason::text, outputs = @outputs::jsonb
    WHERE r.id = @run_id
      AND r.state = @was::text
      AND r.ended_at IS NOT NULL
    RETURNING r.id, r.pipeline_id
)
INSERT INTO event (kind, pipeline_id, entity_id, from_state, to_state, reason, cause, actor)
SELECT 'run', m.pipeline_id, m.id, @was::text, @state::text, @reason::text, 'mark', @actor::text
FROM marked AS m;

-- GoOnRuns lets runs go on that were opened again and have just been admitted: their time-out starts anew,
-- and they are counted from their rows. Time-outs are milliseconds.
-- name: GoOnRuns :exec
WITH k AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@timeouts::bigint[]) AS timeout
), timed AS (
    INSERT INTO open_run AS o (run_id, pipeline_id, group_id, revision_id, state, admitted_at, deadline_at)
    SELECT k.run_id, 0, 0, 0, 'running', now(), CASE WHEN k.timeout > 0 THEN now() + k.timeout * interval '1 millisecond' END
    FROM k
    ON CONFLICT (run_id) DO UPDATE
    SET deadline_at = excluded.deadline_at
)
INSERT INTO wake (kind, subject, number, state)
SELECT 'r', k.run_id, -1, 'recount'
FROM k;

-- CloseReopened ends the tasks of those of the runs that were opened again and end while they are still queued.
-- The caller has locked the runs.
-- name: CloseReopened :exec
WITH gone AS (
    UPDATE task AS t
    SET state = 'canceled', reason = 'canceled', ended_at = statement_timestamp(), wake_at = NULL, canceled = t.canceled + t.unfinished,
        unfinished = CASE WHEN t.unfinished IS NOT NULL THEN 0 END
    FROM open_run AS o
    WHERE o.run_id = ANY(@ids::bigint[])
      AND o.reopened
      AND o.state = 'queued'
      AND t.run_id = o.run_id
      AND t.run_id = ANY(@ids::bigint[])
      AND t.ended_at IS NULL
    RETURNING t.run_id, t.number, o.pipeline_id
)
INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause)
SELECT 'task', g.pipeline_id, g.run_id, g.number, 'waiting', 'canceled', 'canceled', 'final'
FROM gone AS g;

-- SkipItems ends the items of fan-outs that a rerun set back and that do not run.
-- name: SkipItems :exec
WITH k AS (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@run_ids::bigint[]) AS run_id, unnest(@firsts::int[]) AS first,
        unnest(@lasts::int[]) AS last, unnest(@reasons::text[]) AS reason
), gone AS (
    UPDATE task AS t
    SET state = 'skipped', reason = k.reason, ended_at = statement_timestamp(), wake_at = NULL
    FROM k
    WHERE t.run_id = k.run_id
      AND t.number BETWEEN k.first AND k.last
      AND t.state = 'waiting'
    RETURNING t.run_id, t.number, t.reason, k.pipeline_id
)
INSERT INTO event (kind, pipeline_id, entity_id, number, from_state, to_state, reason, cause)
SELECT 'task', g.pipeline_id, g.run_id, g.number, 'waiting', 'skipped', g.reason, 'final'
FROM gone AS g;

-- UncountRun takes an end of a run out of the hourly rollup: every run counts once, by its last end.
-- name: UncountRun :exec
UPDATE run_hour AS h
SET runs = h.runs - 1, seconds = greatest(0, h.seconds - @seconds::float8)
WHERE h.hour = @hour
  AND h.pipeline_id = @pipeline_id
  AND h.state = @state
  AND h.runs > 0;

-- LockStats takes the rows of pipelines that say what their newest runs came to, in order of id, and makes
-- them where there are none. RestatPipelines follows, as a statement of its own: it sees what has been
-- committed by then, and what is not waits for these rows.
-- name: LockStats :exec
INSERT INTO pipeline_stat AS s (pipeline_id)
SELECT k.pipeline_id
FROM (SELECT DISTINCT unnest(@pipelines::bigint[]) AS pipeline_id ORDER BY 1) AS k
ON CONFLICT (pipeline_id) DO UPDATE
SET failures_in_row = s.failures_in_row;

-- RestatPipelines works out from the newest runs of pipelines what NoteLastRuns keeps up to date, when a run
-- that had ended is open, or has ended otherwise: nothing can be added to what was there then.
-- name: RestatPipelines :exec
UPDATE pipeline_stat AS s
SET last_run_id = n.id, last_state = n.state, last_ended_at = n.ended_at, last_ok_at = greatest(s.last_ok_at, n.ok_at),
    last_failed_at = greatest(s.last_failed_at, n.failed_at), failures_in_row = n.failures
FROM (
    SELECT k.pipeline_id,
        (array_agg(r.id ORDER BY r.number DESC))[1] AS id,
        (array_agg(r.state ORDER BY r.number DESC))[1] AS state,
        (array_agg(r.ended_at ORDER BY r.number DESC))[1] AS ended_at,
        max(r.ended_at) FILTER (WHERE r.state = 'succeeded') AS ok_at,
        max(r.ended_at) FILTER (WHERE r.state = 'failed') AS failed_at,
        count(*) FILTER (WHERE r.state = 'failed' AND r.number > r.last_ok)::int AS failures
    FROM (SELECT unnest(@pipelines::bigint[]) AS pipeline_id) AS k
    LEFT JOIN LATERAL (
        SELECT w.id, w.number, w.state, w.ended_at, coalesce(max(w.number) FILTER (WHERE w.state = 'succeeded') OVER (), 0) AS last_ok
        FROM (
            SELECT r.id, r.number, r.state, r.ended_at
            FROM run AS r
            WHERE r.pipeline_id = k.pipeline_id
              AND r.ended_at IS NOT NULL
            ORDER BY r.number DESC
            LIMIT 200
        ) AS w
    ) AS r ON true
    GROUP BY k.pipeline_id
) AS n
WHERE s.pipeline_id = n.pipeline_id;

-- PageReopenings gives who opened an ended run again, or marked it, oldest first. Events of a run are not older
-- than the run.
-- name: PageReopenings :many
SELECT e.at, e.cause, e.actor, e.from_state, e.detail
FROM event AS e
WHERE e.kind = 'run'
  AND e.entity_id = @run_id::bigint
  AND e.day >= (@since::timestamptz AT TIME ZONE 'UTC')::date
  AND e.cause IN ('rerun', 'mark')
  AND e.to_state IS NOT NULL
ORDER BY e.id
LIMIT 50;
