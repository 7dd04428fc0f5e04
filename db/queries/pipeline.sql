-- FindPipeline finds a pipeline by name, removed ones too.
-- name: FindPipeline :one
SELECT p.id, p.namespace, p.name, p.revision_id::bigint AS revision_id, p.removed_at, p.paused_at, now()::timestamptz AS now
FROM pipeline AS p
WHERE p.namespace = @namespace
  AND p.name = @name;

-- PipelineNames gives names for "did you mean".
-- name: PipelineNames :many
SELECT p.namespace, p.name
FROM pipeline AS p
WHERE p.removed_at IS NULL
  AND (p.namespace = @namespace::text OR p.name = @name::text)
  AND (cardinality(@visible::text[]) = 0 OR p.namespace = ANY(@visible))
ORDER BY p.namespace, p.name
LIMIT 5000;

-- ListPipelines gives a page of pipelines after a name. Its state is what the page's filter and the list
-- show: paused, else that of its newest open run, else that of the last one that ended. Two of them at
-- most look into open_run for each row, and none into history.
-- name: ListPipelines :many
SELECT p.id, p.namespace, p.name, p.description, p.owner, p.labels, s.name AS source, p.created_at, p.removed_at,
    p.paused_at, p.paused_by, p.pause_reason, p.paused_until,
    r.id AS revision_id, r.number AS revision, r.git_commit,
    o.running, o.queued,
    (CASE
        WHEN p.paused_at IS NOT NULL THEN 'paused'
        WHEN o.running > 0 THEN 'running'
        WHEN o.queued > 0 THEN 'queued'
        ELSE coalesce(t.last_state, 'never')
    END)::text AS state
FROM pipeline AS p
JOIN source AS s ON s.id = p.source_id
JOIN revision AS r ON r.id = p.revision_id
LEFT JOIN pipeline_stat AS t ON t.pipeline_id = p.id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE u.state = 'running')::int AS running, count(*) FILTER (WHERE u.state = 'queued')::int AS queued
    FROM open_run AS u
    WHERE u.pipeline_id = p.id
) AS o
WHERE (p.namespace, p.name) > (@after_namespace::text, @after_name::text)
  AND (cardinality(@visible::text[]) = 0 OR p.namespace = ANY(@visible))
  AND (p.removed_at IS NULL OR @id::bigint <> 0)
  AND (@id::bigint = 0 OR p.id = @id)
  AND (@namespace::text = '' OR p.namespace = @namespace)
  AND (@pattern::text = '' OR p.name LIKE @pattern OR (p.namespace || '/' || p.name) LIKE @pattern)
  AND (@labels::text = '' OR p.labels @> @labels::jsonb)
  AND (@source::text = '' OR s.name = @source)
  AND (@state::text = '' OR @state = CASE
        WHEN p.paused_at IS NOT NULL THEN 'paused'
        WHEN o.running > 0 THEN 'running'
        WHEN o.queued > 0 THEN 'queued'
        ELSE coalesce(t.last_state, 'never')
    END)
ORDER BY p.namespace, p.name
LIMIT @page::int;

-- RecentRuns gives the newest runs of each of some pipelines.
-- name: RecentRuns :many
SELECT r.id, r.pipeline_id, r.namespace, r.pipeline, r.number, r.state, r.reason, r.trigger, r.created_at, r.started_at, r.ended_at
FROM (SELECT unnest(@pipelines::bigint[]) AS pipeline_id) AS k
CROSS JOIN LATERAL (
    SELECT n.id, n.pipeline_id, n.namespace, n.pipeline, n.number, n.state, n.reason, n.trigger, n.created_at, n.started_at, n.ended_at
    FROM run AS n
    WHERE n.pipeline_id = k.pipeline_id
    ORDER BY n.number DESC
    LIMIT @each::int
) AS r
ORDER BY r.pipeline_id, r.number DESC;

-- PausePipeline holds a pipeline back, or changes reason and end of the pause it is in. The caller has
-- locked its schedules: no tick is being decided.
-- name: PausePipeline :exec
UPDATE pipeline AS p
SET paused_at = coalesce(p.paused_at, clock_timestamp()), paused_by = @by::text, pause_reason = @reason::text, paused_until = sqlc.narg('until')::timestamptz
WHERE p.id = @id;

-- ResumePipeline ends a pause. No row: there was none.
-- name: ResumePipeline :execrows
UPDATE pipeline AS p
SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, paused_until = NULL
WHERE p.id = @id
  AND p.paused_at IS NOT NULL;

-- ListRevisions gives a page of the revisions of a pipeline below a number, newest first.
-- name: ListRevisions :many
SELECT r.number, r.created_at, r.author, r.git_commit, r.file, r.line
FROM revision AS r
WHERE r.pipeline_id = @pipeline_id
  AND r.number < @below
ORDER BY r.number DESC
LIMIT @page::int;

-- GetRevision gives one revision of a pipeline; number 0 is the newest.
-- name: GetRevision :one
SELECT r.number, r.created_at, r.author, r.git_commit, r.file, r.line, r.source_text, r.spec
FROM revision AS r
WHERE r.pipeline_id = @pipeline_id
  AND (@number::int = 0 OR r.number = @number)
ORDER BY r.number DESC
LIMIT 1;

-- ListTicks gives a page of what was decided about the ticks of a pipeline, newest first. The ledger is
-- read per schedule and merged.
-- name: ListTicks :many
SELECT t.schedule_id, t.name, t.fire_at, t.state, t.reason, t.detail, t.until, t.ticks, t.run_id, t.decided_at, r.number AS run_number
FROM (
    SELECT k.schedule_id, s.name, k.fire_at, k.state, k.reason, k.detail, k.until, k.ticks, k.run_id, k.decided_at
    FROM schedule AS s
    CROSS JOIN LATERAL (
        SELECT d.schedule_id, d.fire_at, d.state, d.reason, d.detail, d.until, d.ticks, d.run_id, d.decided_at
        FROM tick AS d
        WHERE d.schedule_id = s.id
          AND d.fire_at <= coalesce(sqlc.narg('before_at')::timestamptz, 'infinity')
          AND (d.fire_at, d.schedule_id) < (coalesce(sqlc.narg('before_at')::timestamptz, 'infinity'), @before_schedule::bigint)
        ORDER BY d.fire_at DESC
        LIMIT @page::int
    ) AS k
    WHERE s.pipeline_id = @pipeline_id
      AND (@schedule::text = '' OR s.name = @schedule)
    ORDER BY k.fire_at DESC, k.schedule_id DESC
    LIMIT @page::int
) AS t
LEFT JOIN run AS r ON r.id = t.run_id
ORDER BY t.fire_at DESC, t.schedule_id DESC;
