-- LockDueSchedules locks up to @batch schedules whose next tick has come, oldest first. A schedule that
-- somebody else is deciding or changing is passed over. Only tests give @now.
-- name: LockDueSchedules :many
SELECT s.id, s.pipeline_id, s.revision_id, s.name, s.next_at::timestamptz AS next_at,
    coalesce(sqlc.narg('now')::timestamptz, now())::timestamptz AS now
FROM schedule AS s
WHERE s.ended_at IS NULL
  AND s.next_at <= coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())
ORDER BY s.next_at
LIMIT @batch::int
FOR UPDATE SKIP LOCKED;

-- PlannedPipelines gives the pipelines of schedules that the caller has locked. It is a statement of its
-- own: whoever pauses a pipeline locks its schedules first, so what is read after the lock is what holds.
-- name: PlannedPipelines :many
SELECT p.id, p.namespace, p.name, (p.paused_at IS NOT NULL)::boolean AS paused, p.paused_until, (p.frozen_at IS NOT NULL)::boolean AS frozen
FROM pipeline AS p
WHERE p.id = ANY(@ids::bigint[]);

-- NextDue says when the next schedule becomes due. NULL: none ever.
-- name: NextDue :one
SELECT s.next_at, coalesce(sqlc.narg('now')::timestamptz, statement_timestamp())::timestamptz AS now
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT d.next_at
    FROM schedule AS d
    WHERE d.ended_at IS NULL
      AND d.next_at IS NOT NULL
    ORDER BY d.next_at
    LIMIT 1
) AS s ON true;

-- PipelineGroups gives the groups that pipelines have for themselves.
-- name: PipelineGroups :many
SELECT g.id, g.pipeline_id::bigint AS pipeline_id
FROM run_group AS g
WHERE g.pipeline_id = ANY(@pipelines::bigint[]);

-- EnsureGroups makes the named groups that do not exist yet.
-- name: EnsureGroups :exec
INSERT INTO run_group (namespace, name)
SELECT DISTINCT unnest(@namespaces::text[]), unnest(@names::text[])
ORDER BY 1, 2
ON CONFLICT ON CONSTRAINT run_group_name_key DO NOTHING;

-- NamedGroups gives the ids of named groups.
-- name: NamedGroups :many
SELECT g.id, g.namespace, g.name::text AS name
FROM run_group AS g
JOIN (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS w
  ON w.namespace = g.namespace AND w.name = g.name;

-- LockGroups locks groups in order of id. Who holds a group decides which of its runs may run.
-- name: LockGroups :exec
SELECT g.id
FROM run_group AS g
WHERE g.id = ANY(@ids::bigint[])
ORDER BY g.id
FOR UPDATE;

-- GroupCounts says how many runs of each group run and how many are queued (of those that count
-- towards the queue's limit, and in all), how many of each are of backfills, and how many of those that are
-- queued are of late ticks.
-- name: GroupCounts :many
SELECT a.group_id::bigint AS group_id, k.running, k.queued, k.counted, k.running_backfills, k.queued_backfills, k.late
FROM (SELECT DISTINCT unnest(@ids::bigint[]) AS group_id) AS a
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.state = 'running')::int AS running,
        count(*) FILTER (WHERE o.state = 'queued')::int AS queued,
        count(*) FILTER (WHERE o.state = 'queued' AND o.counted)::int AS counted,
        count(*) FILTER (WHERE o.state = 'running' AND o.backfill_id > 0)::int AS running_backfills,
        count(*) FILTER (WHERE o.state = 'queued' AND o.backfill_id > 0)::int AS queued_backfills,
        count(*) FILTER (WHERE o.state = 'queued' AND o.from_tick AND NOT o.counted)::int AS late
    FROM open_run AS o
    WHERE o.group_id = a.group_id
) AS k;

-- DrawNumbers moves the counters of pipelines on by as many runs as each gets, in order of id, and
-- returns the last number of each.
-- name: DrawNumbers :many
INSERT INTO pipeline_counter AS c (pipeline_id, last)
SELECT w.pipeline_id, w.n
FROM (SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@counts::bigint[]) AS n) AS w
ORDER BY w.pipeline_id
ON CONFLICT (pipeline_id) DO UPDATE
SET last = c.last + excluded.last
RETURNING c.pipeline_id, c.last;

-- DrawRunIDs draws ids for @n runs created now, in order.
-- name: DrawRunIDs :many
SELECT next_run_id()::bigint AS id
FROM generate_series(1, @n::int);

-- InsertTicks writes decisions of ticks; the zero time stands for no until, run 0 for no run. A tick that is decided already stays as it is; only those
-- that were really new come back.
-- name: InsertTicks :many
INSERT INTO tick (schedule_id, fire_at, state, reason, until, ticks, run_id, detail)
SELECT unnest(@schedules::bigint[]), unnest(@fire_ats::timestamptz[]), unnest(@states::text[]), unnest(@reasons::text[]),
    nullif(unnest(@untils::timestamptz[]), '0001-01-01 00:00:00+00'), unnest(@counts::bigint[]), nullif(unnest(@run_ids::bigint[]), 0), unnest(@details::text[])
ON CONFLICT DO NOTHING
RETURNING schedule_id, fire_at;

-- MoveSchedules sets the next tick of schedules; the zero time stands for never again. Time never goes back.
-- name: MoveSchedules :exec
UPDATE schedule AS s
SET next_at = nullif((@next_ats::timestamptz[])[array_position(@ids::bigint[], s.id)], '0001-01-01 00:00:00+00')
WHERE s.id = ANY(@ids::bigint[])
  AND (s.next_at < (@next_ats::timestamptz[])[array_position(@ids::bigint[], s.id)]
    OR (@next_ats::timestamptz[])[array_position(@ids::bigint[], s.id)] = '0001-01-01 00:00:00+00');

-- BreakSchedule takes a schedule that cannot be read out of the loop, with the reason for people.
-- name: BreakSchedule :exec
UPDATE schedule AS s
SET broken = @broken::text, next_at = NULL
WHERE s.id = @id;

-- InsertRuns writes runs, queued or (where their group had room) running at once.
-- name: InsertRuns :exec
INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, schedule_id, fire_at, scheduled_at,
    interval_start, interval_end, params, vars, group_id, concurrency_group, concurrency_limit, state, started_at)
SELECT r.id, r.pipeline_id, r.revision_id, r.number, r.namespace, r.pipeline, 'schedule', r.schedule_id, r.fire_at, r.fire_at,
    r.interval_start, r.interval_end, r.params, r.vars, r.group_id, r.concurrency_group, r.concurrency_limit, r.state,
    CASE WHEN r.state = 'running' THEN now() END
FROM (
    SELECT unnest(@ids::bigint[]) AS id, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@numbers::bigint[]) AS number, unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS pipeline,
        unnest(@schedules::bigint[]) AS schedule_id, unnest(@fire_ats::timestamptz[]) AS fire_at,
        unnest(@interval_starts::timestamptz[]) AS interval_start, unnest(@interval_ends::timestamptz[]) AS interval_end,
        unnest(@params::text[])::jsonb AS params, unnest(@vars::text[])::jsonb AS vars,
        unnest(@groups::bigint[]) AS group_id, unnest(@group_names::text[]) AS concurrency_group, unnest(@limits::int[]) AS concurrency_limit,
        unnest(@states::text[]) AS state
) AS r;

-- InsertOpenRuns writes the open rows of runs made by ticks.
-- name: InsertOpenRuns :exec
INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, from_tick, counted, admitted_at)
SELECT o.run_id, o.pipeline_id, o.group_id, o.revision_id, o.state, true, o.counted,
    CASE WHEN o.state = 'running' THEN now() END
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@groups::bigint[]) AS group_id,
        unnest(@revisions::bigint[]) AS revision_id, unnest(@states::text[]) AS state, unnest(@counteds::boolean[]) AS counted
) AS o;

-- NamespaceVars gives the variables of namespaces.
-- name: NamespaceVars :many
SELECT v.namespace, v.name, v.value
FROM var AS v
WHERE v.namespace = ANY(@namespaces::text[]);

-- RevisionSpecs gives the definitions of revisions.
-- name: RevisionSpecs :many
SELECT r.id, r.number, r.spec
FROM revision AS r
WHERE r.id = ANY(@ids::bigint[]);

-- Lanes gives every lane of local work.
-- name: Lanes :many
SELECT l.id, l.labels
FROM lane AS l
WHERE l.target = '';

-- PoolIDs gives the ids of pools by name.
-- name: PoolIDs :many
SELECT p.id, p.namespace, p.name
FROM pool AS p
JOIN (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS w
  ON w.namespace = p.namespace AND w.name = p.name;
