-- TakeHTTPWaits takes waits that are due, so many of each target at most, and pushes their next time forward:
-- for as long as asking may take, or until they are due again. Executors side by side skip each other's rows.
-- name: TakeHTTPWaits :many
UPDATE http_wait AS w
SET next_at = now() + interval '1 millisecond' * greatest(w.every_ms, a.lease_ms), tries = w.tries + 1, asked_at = now()
FROM (
    SELECT unnest(@targets::text[]) AS target, unnest(@counts::int[]) AS count, unnest(@leases_ms::bigint[]) AS lease_ms
) AS a
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM http_wait AS k
    WHERE k.target = a.target
      AND k.ended_at IS NULL
      AND k.next_at <= now()
    ORDER BY k.next_at
    LIMIT a.count
    FOR UPDATE SKIP LOCKED
) AS d
WHERE w.ctid = d.place
RETURNING w.run_id, w.number, w.revision_id, w.target, w.every_ms, w.tries, w.address, w.last_status, w.last_error;

-- NextHTTPWait says in how many milliseconds the next wait of some targets is due; -1: there is none.
-- name: NextHTTPWait :one
SELECT coalesce(greatest(extract(epoch FROM min(n.next_at) - now()) * 1000, 0), -1)::bigint AS ms
FROM (SELECT unnest(@targets::text[]) AS target) AS a
CROSS JOIN LATERAL (
    SELECT w.next_at
    FROM http_wait AS w
    WHERE w.target = a.target
      AND w.ended_at IS NULL
    ORDER BY w.next_at
    LIMIT 1
) AS n;

-- LockHTTPWaits locks waits in the order in which their keys are given.
-- name: LockHTTPWaits :exec
SELECT f.run_id
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS m
CROSS JOIN LATERAL (
    SELECT w.run_id
    FROM http_wait AS w
    WHERE w.run_id = m.run_id
      AND w.number = m.number
    FOR UPDATE
) AS f;

-- NoteHTTPWaits notes answers that did not end their waits, and when to ask again, counted from when they were
-- asked. A wait that somebody else has taken since is left alone. The rows are locked already.
-- name: NoteHTTPWaits :execrows
UPDATE http_wait AS w
SET next_at = w.asked_at + interval '1 millisecond' * m.pause_ms, address = m.address, last_status = nullif(m.status, 0), last_error = nullif(m.error, '')
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tries::int[]) AS tries,
        unnest(@pauses_ms::bigint[]) AS pause_ms, unnest(@addresses::text[]) AS address, unnest(@statuses::int[]) AS status, unnest(@errors::text[]) AS error
) AS m
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM http_wait AS k
    WHERE k.run_id = m.run_id
      AND k.number = m.number
      AND k.tries = m.tries
      AND k.ended_at IS NULL
    FOR UPDATE
) AS f
WHERE w.ctid = f.place;

-- EndHTTPWaits ends waits, and leaves a wake for each. What has ended already, or is there no more, changes and
-- wakes nothing: of two who ask at the same time one ends the wait. The rows are locked already.
-- name: EndHTTPWaits :many
WITH ended AS (
    UPDATE http_wait AS w
    SET ended_at = now(), state = m.state, reason = m.reason, detail = m.detail, outputs = nullif(m.outputs, '')::jsonb,
        address = m.address, last_status = nullif(m.status, 0), last_error = NULL
    FROM (
        SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@states::text[]) AS state,
            unnest(@reasons::text[]) AS reason, unnest(@details::text[]) AS detail, unnest(@outputs::text[]) AS outputs,
            unnest(@addresses::text[]) AS address, unnest(@statuses::int[]) AS status
    ) AS m
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place
        FROM http_wait AS k
        WHERE k.run_id = m.run_id
          AND k.number = m.number
          AND k.ended_at IS NULL
        FOR UPDATE
    ) AS f
    WHERE w.ctid = f.place
    RETURNING w.run_id, w.number
), woken AS (
    INSERT INTO wake (kind, subject, number, state)
    SELECT 'r', e.run_id, e.number, 'waiting'
    FROM ended AS e
)
SELECT e.run_id, e.number
FROM ended AS e;

-- GiveBackHTTPWaits lets waits that were taken, and not asked after all, be taken by others at once.
-- name: GiveBackHTTPWaits :exec
UPDATE http_wait AS w
SET next_at = now()
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tries::int[]) AS tries
) AS m
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM http_wait AS k
    WHERE k.run_id = m.run_id
      AND k.number = m.number
      AND k.tries = m.tries
      AND k.ended_at IS NULL
    FOR UPDATE
) AS f
WHERE w.ctid = f.place;

-- PublishTargets tells of the targets that an executor serves. Nothing is written that was told the same way a
-- short while ago.
-- name: PublishTargets :exec
INSERT INTO target AS t (name, kind, allows, seen_at)
SELECT m.name, m.kind, m.allows::jsonb, now()
FROM (SELECT unnest(@names::text[]) AS name, unnest(@kinds::text[]) AS kind, unnest(@allows::text[]) AS allows) AS m
ORDER BY m.name
ON CONFLICT (name) DO UPDATE
SET kind = EXCLUDED.kind, allows = EXCLUDED.allows, seen_at = now()
WHERE t.kind <> EXCLUDED.kind
   OR t.allows <> EXCLUDED.allows
   OR t.seen_at < now() - interval '30 seconds';

-- KnownTargets are the targets that some executor has served within a week, and whether one that is alive does.
-- name: KnownTargets :many
SELECT t.name, t.kind, t.allows,
    EXISTS (SELECT 1 FROM executor AS e WHERE t.name = ANY (e.serves) AND e.stopped_at IS NULL AND e.lease_until > now())::boolean AS served
FROM target AS t
WHERE t.seen_at > now() - interval '7 days'
ORDER BY t.name;

-- InsertHTTPWaits has tasks wait for what services answer. Executors ask at once.
-- name: InsertHTTPWaits :exec
INSERT INTO http_wait (run_id, number, revision_id, target, every_ms)
SELECT unnest(@run_ids::bigint[]), unnest(@numbers::int[]), unnest(@revisions::bigint[]), unnest(@targets::text[]), unnest(@everies_ms::int[]);

-- LockHTTPAnswers locks waits and says which of them an answer has ended. From here on nobody ends them.
-- name: LockHTTPAnswers :many
SELECT k.run_id, k.number, k.state, k.reason, k.detail, k.outputs
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS a
CROSS JOIN LATERAL (
    SELECT w.run_id, w.number, w.state, w.reason, w.detail, w.outputs
    FROM http_wait AS w
    WHERE w.run_id = a.run_id
      AND w.number = a.number
    FOR UPDATE
) AS k;

-- DropHTTPWaits removes waits whose tasks end. They are locked already.
-- name: DropHTTPWaits :exec
DELETE FROM http_wait AS w
USING (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS m
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM http_wait AS k
    WHERE k.run_id = m.run_id
      AND k.number = m.number
    FOR UPDATE
) AS f
WHERE w.ctid = f.place;

-- WithdrawHTTPWaits removes the waits of a range of tasks, before the tasks end. Whoever ends one of them right
-- now is waited for.
-- name: WithdrawHTTPWaits :exec
DELETE FROM http_wait AS w
WHERE w.run_id = @run_id
  AND w.number BETWEEN @first::int AND @last::int;

-- HTTPWaitsOf tells of the waits of a run's tasks, for people.
-- name: HTTPWaitsOf :many
SELECT w.number, w.target, w.since, w.next_at, w.tries, w.asked_at, coalesce(w.address, '') AS address, coalesce(w.last_status, 0) AS last_status,
    coalesce(w.last_error, '') AS last_error,
    EXISTS (SELECT 1 FROM executor AS e WHERE w.target = ANY (e.serves) AND e.stopped_at IS NULL AND e.lease_until > now())::boolean AS served
FROM http_wait AS w
WHERE w.run_id = @run_id
  AND w.number BETWEEN @low::int AND @high::int
  AND w.ended_at IS NULL
ORDER BY w.number
LIMIT 1000;
