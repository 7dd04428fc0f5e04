-- DueSubjects gives subjects of one kind (r, p, g) that have a due wake: some of those woken now and
-- some of those whose time has come, so that a flood of the first does not starve the second.
-- name: DueSubjects :many
SELECT d.subject
FROM (
    SELECT n.subject
    FROM (
        SELECT w.subject
        FROM wake AS w
        WHERE w.kind = @kind::text
          AND w.not_before = '-infinity'
        ORDER BY w.kind, w.not_before, w.id
        LIMIT @batch::int
    ) AS n
    UNION
    SELECT t.subject
    FROM (
        SELECT w.subject
        FROM wake AS w
        WHERE w.kind = @kind::text
          AND w.not_before > '-infinity'
          AND w.not_before <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        ORDER BY w.kind, w.not_before, w.id
        LIMIT @batch::int
    ) AS t
) AS d
ORDER BY d.subject;

-- LockDueGroups locks those of the groups that nobody else holds.
-- name: LockDueGroups :many
SELECT g.id
FROM run_group AS g
WHERE g.id = ANY(@ids::bigint[])
ORDER BY g.id
FOR UPDATE SKIP LOCKED;

-- TakeWakes deletes all due wakes of subjects that the caller has locked, and gives what they say.
-- name: TakeWakes :many
WITH asked AS (
    SELECT unnest(@subjects::bigint[]) AS subject
), taken AS (
    SELECT k.place, k.subject, k.number, k.state, k.others
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT w.ctid AS place, w.subject, w.number, w.state, w.others
        FROM wake AS w
        WHERE w.kind = @kind::text
          AND w.subject = a.subject
          AND w.not_before <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
        OFFSET 0
    ) AS k
), gone AS (
    DELETE FROM wake AS w
    WHERE w.ctid = ANY(ARRAY(SELECT t.place FROM taken AS t))
)
SELECT t.subject, t.number, t.state, t.others
FROM taken AS t;

-- PostponeWakes puts off the due wakes of a subject that cannot be decided. The caller has locked the subject.
-- name: PostponeWakes :exec
UPDATE wake AS w
SET not_before = now() + interval '1 millisecond' * @delay_ms::bigint
WHERE w.kind = @kind::text
  AND w.subject = @subject::bigint
  AND w.not_before <= statement_timestamp();

-- GroupRuns gives the open runs of groups, oldest first. turn_at is that of a late tick which has drawn one.
-- name: GroupRuns :many
SELECT k.run_id, k.group_id, k.pipeline_id, k.revision_id, k.state, k.from_tick, k.counted, k.beside, k.reopened, k.cancel_requested, k.frozen, k.backfill_id,
    k.turn_at, statement_timestamp()::timestamptz AS now
FROM (SELECT unnest(@ids::bigint[]) AS group_id) AS a
CROSS JOIN LATERAL (
    SELECT o.run_id, o.group_id, o.pipeline_id, o.revision_id, o.state, o.from_tick, o.counted, o.beside, o.reopened,
        (o.cancel_requested_at IS NOT NULL)::boolean AS cancel_requested,
        (o.state = 'queued' AND (SELECT p.frozen_at FROM pipeline AS p WHERE p.id = o.pipeline_id) IS NOT NULL)::boolean AS frozen, o.backfill_id, o.turn_at
    FROM open_run AS o
    WHERE o.group_id = a.group_id
    OFFSET 0
) AS k
ORDER BY k.group_id, k.run_id;

-- DrawTurns draws turns that take so long together, for runs of late ticks, and says when the next one after
-- them is.
-- name: DrawTurns :one
UPDATE late_start AS l
SET free_at = greatest(l.free_at, now()) + interval '1 microsecond' * @length_us::bigint
RETURNING l.free_at;

-- KeepTurns notes the turns that queued runs have drawn, and has their groups looked at again then.
-- name: KeepTurns :exec
WITH kept AS (
    UPDATE open_run AS o
    SET turn_at = (@turns::timestamptz[])[array_position(@run_ids::bigint[], o.run_id)]
    WHERE o.run_id = ANY(@run_ids::bigint[])
      AND o.state = 'queued'
)
INSERT INTO wake (kind, subject, not_before)
SELECT 'g', unnest(@groups::bigint[]), unnest(@turns::timestamptz[]);

-- LockRuns locks those of the runs that are open, in order of id, and waits for whoever decides them.
-- name: LockRuns :exec
SELECT k.run_id
FROM (SELECT unnest(@ids::bigint[]) AS run_id ORDER BY 1) AS a
CROSS JOIN LATERAL (
    SELECT o.run_id
    FROM open_run AS o
    WHERE o.run_id = a.run_id
    FOR UPDATE
) AS k;

-- AdmitRuns starts queued runs. Only those that were still queued come back.
-- name: AdmitRuns :many
WITH held AS (
    SELECT o.run_id
    FROM open_run AS o
    WHERE o.run_id = ANY(@ids::bigint[])
      AND o.state = 'queued'
      AND o.cancel_requested_at IS NULL
    ORDER BY o.run_id
    FOR UPDATE
), opened AS (
    UPDATE open_run AS o
    SET state = 'running', admitted_at = now()
    WHERE o.run_id = ANY(ARRAY(SELECT h.run_id FROM held AS h))
    RETURNING o.run_id
)
UPDATE run AS r
SET state = 'running', started_at = greatest(now(), r.created_at)
WHERE r.id = ANY(ARRAY(SELECT d.run_id FROM opened AS d))
RETURNING r.id;

-- RequestCancel asks open runs to stop and wakes them.
-- name: RequestCancel :many
WITH held AS (
    SELECT o.run_id
    FROM open_run AS o
    WHERE o.run_id = ANY(@ids::bigint[])
      AND o.cancel_requested_at IS NULL
    ORDER BY o.run_id
    FOR UPDATE
), asked AS (
    UPDATE open_run AS o
    SET cancel_requested_at = statement_timestamp()
    WHERE o.run_id = ANY(ARRAY(SELECT h.run_id FROM held AS h))
    RETURNING o.run_id
), stamped AS (
    UPDATE run AS r
    SET cancel_requested_at = statement_timestamp(), canceled_by = @by::text, cancel_reason = @why::text
    WHERE r.id = ANY(ARRAY(SELECT a.run_id FROM asked AS a))
), woken AS (
    INSERT INTO wake (kind, subject)
    SELECT 'r', a.run_id
    FROM asked AS a
)
SELECT a.run_id
FROM asked AS a;
