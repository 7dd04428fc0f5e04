-- LockSource takes the source, making it if it is new: one register of a source at a time. The time is
-- the one all of the register's decisions are made at.
-- name: LockSource :one
INSERT INTO source AS s (name)
VALUES (@name)
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING s.id, clock_timestamp()::timestamptz AS now;

-- SourceID finds a source by its name.
-- name: SourceID :one
SELECT s.id
FROM source AS s
WHERE s.name = @name;

-- RegisteredIDs gives the pipelines of a source, and those that have one of the names whoever owns them.
-- name: RegisteredIDs :many
SELECT p.id
FROM pipeline AS p
WHERE p.source_id = @source_id
UNION
SELECT p.id
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
JOIN pipeline AS p ON p.namespace = k.namespace AND p.name = k.name;

-- LockSchedulesOf locks all schedules of pipelines, in order of id. It comes before the lock on the
-- pipelines: whoever decides ticks holds the schedule first.
-- name: LockSchedulesOf :many
SELECT s.id, s.pipeline_id, s.revision_id, s.name, s.next_at, s.ended_at
FROM schedule AS s
WHERE s.pipeline_id = ANY(@pipelines::bigint[])
ORDER BY s.id
FOR UPDATE;

-- SchedulesOf gives the schedules of pipelines.
-- name: SchedulesOf :many
SELECT s.id, s.pipeline_id, s.revision_id, s.name, s.next_at, s.ended_at, s.broken
FROM schedule AS s
WHERE s.pipeline_id = ANY(@pipelines::bigint[])
ORDER BY s.id;

-- LockPipelines locks pipelines in order of id and says what each is now.
-- name: LockPipelines :many
SELECT p.id, p.namespace, p.name, p.source_id, s.name AS source, p.removed_at, p.paused_at,
    r.id AS revision_id, r.number AS revision, r.content_hash
FROM pipeline AS p
JOIN source AS s ON s.id = p.source_id
JOIN revision AS r ON r.id = p.revision_id
WHERE p.id = ANY(@ids::bigint[])
ORDER BY p.id
FOR NO KEY UPDATE OF p;

-- RegisteredPipelines is LockPipelines for a dry run.
-- name: RegisteredPipelines :many
SELECT p.id, p.namespace, p.name, p.source_id, s.name AS source, p.removed_at, p.paused_at,
    r.id AS revision_id, r.number AS revision, r.content_hash
FROM pipeline AS p
JOIN source AS s ON s.id = p.source_id
JOIN revision AS r ON r.id = p.revision_id
WHERE p.id = ANY(@ids::bigint[])
ORDER BY p.id;

-- InsertPipelines makes pipelines. A name that somebody else took in the meantime does not come back.
-- name: InsertPipelines :many
WITH made AS (
    INSERT INTO pipeline (namespace, name, source_id, paused_at, paused_by, pause_reason)
    SELECT k.namespace, k.name, @source_id::bigint,
        CASE WHEN @paused::boolean THEN now() END, CASE WHEN @paused THEN @by::text END, CASE WHEN @paused THEN 'registered paused' END
    FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
    ON CONFLICT ON CONSTRAINT pipeline_name_key DO NOTHING
    RETURNING id, namespace, name
), counted AS (
    INSERT INTO pipeline_counter (pipeline_id)
    SELECT m.id
    FROM made AS m
), grouped AS (
    INSERT INTO run_group (namespace, pipeline_id)
    SELECT m.namespace, m.id
    FROM made AS m
)
SELECT m.id, m.namespace, m.name
FROM made AS m;

-- InsertRevisions makes the next revision of each pipeline and gives its id.
-- name: InsertRevisions :many
INSERT INTO revision (pipeline_id, number, content_hash, file, line, source_text, spec, git_commit, author)
SELECT k.pipeline_id, k.number, decode(k.hash, 'hex'), k.file, k.line, k.source_text, k.spec::jsonb, @git_commit::text, @author::text
FROM (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@numbers::int[]) AS number, unnest(@hashes::text[]) AS hash,
        unnest(@files::text[]) AS file, unnest(@lines::int[]) AS line, unnest(@texts::text[]) AS source_text, unnest(@specs::text[]) AS spec
) AS k
RETURNING id, pipeline_id;

-- SetRevisions makes revisions the newest of their pipelines and copies what lists show. Whoever
-- registers a pipeline that was removed owns it from then on.
-- name: SetRevisions :exec
UPDATE pipeline AS p
SET revision_id = k.revision_id, description = k.description, owner = k.owner, labels = k.labels::jsonb,
    source_id = @source_id::bigint, removed_at = NULL
FROM (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id,
        unnest(@descriptions::text[]) AS description, unnest(@owners::text[]) AS owner, unnest(@labels::text[]) AS labels
) AS k
WHERE p.id = k.pipeline_id;

-- PutSchedules makes schedules, or gives those that are there a new time.
-- name: PutSchedules :exec
INSERT INTO schedule AS s (pipeline_id, revision_id, name, catchup, next_at)
SELECT k.pipeline_id, k.revision_id, k.name, k.catchup, CASE WHEN NOT k.never THEN k.next_at END
FROM (
    SELECT unnest(@pipelines::bigint[]) AS pipeline_id, unnest(@revisions::bigint[]) AS revision_id, unnest(@names::text[]) AS name,
        unnest(@catchups::text[]) AS catchup, unnest(@next_ats::timestamptz[]) AS next_at, unnest(@nevers::boolean[]) AS never
) AS k
ON CONFLICT ON CONSTRAINT schedule_name_key DO UPDATE
SET revision_id = excluded.revision_id, catchup = excluded.catchup, next_at = excluded.next_at, broken = NULL, ended_at = NULL;

-- KeepSchedules moves schedules to a new revision that leaves their times alone: ticks that nobody has
-- decided yet stay due.
-- name: KeepSchedules :exec
UPDATE schedule AS s
SET revision_id = k.revision_id, catchup = k.catchup
FROM (SELECT unnest(@ids::bigint[]) AS id, unnest(@revisions::bigint[]) AS revision_id, unnest(@catchups::text[]) AS catchup) AS k
WHERE s.id = k.id;

-- EndSchedules ends schedules that left their file.
-- name: EndSchedules :exec
UPDATE schedule AS s
SET ended_at = now(), next_at = NULL
WHERE s.id = ANY(@ids::bigint[])
  AND s.ended_at IS NULL;

-- RemovePipelines takes pipelines out of use; their runs and their history stay.
-- name: RemovePipelines :exec
UPDATE pipeline AS p
SET removed_at = now()
WHERE p.id = ANY(@ids::bigint[])
  AND p.removed_at IS NULL;

-- EnsureLanes makes the lanes that do not exist yet: sets of labels, sorted and joined by commas.
-- name: EnsureLanes :exec
INSERT INTO lane (labels)
SELECT DISTINCT string_to_array(k.labels, ',')
FROM unnest(@labels::text[]) AS k (labels)
WHERE NOT EXISTS (
    SELECT 1
    FROM lane AS l
    WHERE l.labels = string_to_array(k.labels, ',')
      AND l.target = ''
)
ON CONFLICT ON CONSTRAINT lane_key DO NOTHING;

-- MissedByRegister writes into the ledger that ticks of a schedule were still to be decided when it was
-- changed or ended. The zero time stands for no until.
-- name: MissedByRegister :exec
INSERT INTO tick (schedule_id, fire_at, state, reason, until, ticks, detail)
SELECT unnest(@schedules::bigint[]), unnest(@fire_ats::timestamptz[]), 'missed', 'registered',
    nullif(unnest(@untils::timestamptz[]), '0001-01-01 00:00:00+00'), unnest(@counts::bigint[]), 'the schedule was changed before this was decided'
ON CONFLICT DO NOTHING;

-- InsertEvents tells what people did.
-- name: InsertEvents :exec
INSERT INTO event (kind, entity_id, pipeline_id, namespace, to_state, reason, cause, actor, detail)
SELECT k.kind, nullif(k.entity_id, 0), nullif(k.pipeline_id, 0), nullif(k.namespace, ''), nullif(k.to_state, ''), k.reason, k.cause, @actor::text, nullif(k.detail, '')::jsonb
FROM (
    SELECT unnest(@kinds::text[]) AS kind, unnest(@entities::bigint[]) AS entity_id, unnest(@pipelines::bigint[]) AS pipeline_id,
        unnest(@namespaces::text[]) AS namespace, unnest(@to_states::text[]) AS to_state, unnest(@reasons::text[]) AS reason,
        unnest(@causes::text[]) AS cause, unnest(@details::text[]) AS detail
) AS k;

-- LiveLabels gives the sets of labels of executors that live.
-- name: LiveLabels :many
SELECT DISTINCT e.labels
FROM executor AS e
WHERE e.stopped_at IS NULL
  AND e.lease_until > now();

-- LockPoolsNamed locks pools by name, and those of a source, in order of id, and says whose they are.
-- name: LockPoolsNamed :many
SELECT p.id, p.namespace, p.name, p.source_id, coalesce(s.name, '') AS source, p.slots, p.reserve_scheduled, p.description, p.labels,
    p.removed_at
FROM pool AS p
LEFT JOIN source AS s ON s.id = p.source_id
WHERE p.id IN (
    SELECT n.id
    FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
    JOIN pool AS n ON n.namespace = k.namespace AND n.name = k.name
    UNION
    SELECT o.id
    FROM pool AS o
    WHERE o.source_id = @source_id::bigint
      AND o.removed_at IS NULL
)
ORDER BY p.id
FOR UPDATE OF p;

-- PutPools makes pools or changes them, and wakes those that were changed: there may be room now.
-- name: PutPools :exec
WITH put AS (
    INSERT INTO pool AS p (namespace, name, source_id, slots, reserve_scheduled, description, labels)
    SELECT k.namespace, k.name, @source_id::bigint, k.slots, k.reserve, k.description, k.labels::jsonb
    FROM (
        SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name, unnest(@slots::int[]) AS slots, unnest(@reserves::int[]) AS reserve,
            unnest(@descriptions::text[]) AS description, unnest(@labels::text[]) AS labels
    ) AS k
    ON CONFLICT ON CONSTRAINT pool_name_key DO UPDATE
    SET slots = excluded.slots, reserve_scheduled = excluded.reserve_scheduled, source_id = excluded.source_id,
        description = excluded.description, labels = excluded.labels, removed_at = NULL
    RETURNING id
)
INSERT INTO wake (kind, subject)
SELECT 'p', p.id
FROM put AS p;

-- VarsOf gives the variables of namespaces and who owns them.
-- name: VarsOf :many
SELECT v.namespace, v.name, v.value, v.source_id, coalesce(s.name, '') AS source
FROM var AS v
LEFT JOIN source AS s ON s.id = v.source_id
WHERE v.namespace = ANY(@namespaces::text[]);

-- PutVars sets variables that a source owns.
-- name: PutVars :exec
INSERT INTO var AS v (namespace, name, value, source_id, updated_by)
SELECT k.namespace, k.name, k.value, @source_id::bigint, @by::text
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name, unnest(@values::text[]) AS value) AS k
ON CONFLICT (namespace, name) DO UPDATE
SET value = excluded.value, source_id = excluded.source_id, updated_at = now(), updated_by = excluded.updated_by;

-- DropVars deletes variables of a source.
-- name: DropVars :exec
DELETE FROM var AS v
USING (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
WHERE v.namespace = k.namespace
  AND v.name = k.name
  AND v.source_id = @source_id::bigint;

-- VarsOfSource gives the variables that a source owns.
-- name: VarsOfSource :many
SELECT v.namespace, v.name
FROM var AS v
WHERE v.source_id = @source_id::bigint;

-- PoolSizes gives the pools of namespaces.
-- name: PoolSizes :many
SELECT p.namespace, p.name, p.slots
FROM pool AS p
WHERE p.namespace = ANY(@namespaces::text[])
  AND p.removed_at IS NULL;

-- SecretNames gives the names of the secrets of namespaces.
-- name: SecretNames :many
SELECT DISTINCT s.namespace, s.name
FROM secret AS s
WHERE s.namespace = ANY(@namespaces::text[]);
