-- LockSecret lets one at a time decide about a secret, until the end of the transaction.
-- name: LockSecret :exec
SELECT pg_advisory_xact_lock(hashtextextended('synthesizer secret ' || @namespace::text || '/' || @name::text, 0));

-- NewestVersion gives the newest version of a secret, 0 if it is not set, and how many secrets its
-- namespace has.
-- name: NewestVersion :one
SELECT
    coalesce((SELECT max(s.version) FROM secret AS s WHERE s.namespace = @namespace AND s.name = @name), 0)::int AS version,
    (SELECT count(DISTINCT s.name) FROM secret AS s WHERE s.namespace = @namespace)::int AS names;

-- InsertSecret stores a version of a secret.
-- name: InsertSecret :one
INSERT INTO secret (namespace, name, version, sealed, created_by)
VALUES (@namespace, @name, @version, @sealed, @created_by)
RETURNING created_at;

-- DropOldSecrets deletes the versions of a secret up to one.
-- name: DropOldSecrets :exec
DELETE FROM secret AS s
WHERE s.namespace = @namespace
  AND s.name = @name
  AND s.version <= @upto::int;

-- DeleteSecret deletes a secret with all its versions.
-- name: DeleteSecret :execrows
DELETE FROM secret AS s
WHERE s.namespace = @namespace
  AND s.name = @name;

-- ForgetSecretReads deletes when a secret was last read.
-- name: ForgetSecretReads :exec
DELETE FROM secret_read AS r
WHERE r.namespace = @namespace
  AND r.name = @name;

-- ListSecrets gives a page of the secrets that are set, or that a pipeline reads, without their values.
-- Version 0 is not set. No namespaces means all.
-- name: ListSecrets :many
WITH used AS (
    SELECT p.namespace, u.name, array_agg(p.name ORDER BY p.name) AS by
    FROM pipeline_read AS u
    JOIN pipeline AS p ON p.id = u.pipeline_id
    WHERE u.kind = 'secret'
      AND p.removed_at IS NULL
      AND (cardinality(@namespaces::text[]) = 0 OR p.namespace = ANY(@namespaces::text[]))
      AND (@name::text = '' OR u.name = @name::text)
    GROUP BY p.namespace, u.name
), newest AS (
    SELECT DISTINCT ON (s.namespace, s.name) s.namespace, s.name, s.version, s.created_at, s.created_by
    FROM secret AS s
    WHERE (cardinality(@namespaces::text[]) = 0 OR s.namespace = ANY(@namespaces::text[]))
      AND (@name::text = '' OR s.name = @name::text)
    ORDER BY s.namespace, s.name, s.version DESC
)
SELECT
    coalesce(n.namespace, u.namespace)::text AS namespace,
    coalesce(n.name, u.name)::text AS name,
    coalesce(n.version, 0)::int AS version,
    n.created_at,
    coalesce(n.created_by, '')::text AS created_by,
    coalesce(u.by, '{}')::text[] AS used_by,
    r.read_at,
    coalesce(r.read_by, '')::text AS read_by
FROM newest AS n
FULL JOIN used AS u ON u.namespace = n.namespace AND u.name = n.name
LEFT JOIN secret_read AS r ON r.namespace = n.namespace AND r.name = n.name
WHERE (coalesce(n.namespace, u.namespace), coalesce(n.name, u.name)) > (@after_namespace::text, @after_name::text)
ORDER BY 1, 2
LIMIT @page::int;

-- NewestSecrets gives the newest versions of secrets, sealed.
-- name: NewestSecrets :many
SELECT f.namespace, f.name, f.version, f.sealed
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
CROSS JOIN LATERAL (
    SELECT s.namespace, s.name, s.version, s.sealed
    FROM secret AS s
    WHERE s.namespace = k.namespace
      AND s.name = k.name
    ORDER BY s.version DESC
    LIMIT 1
) AS f;

-- NoteSecretReads notes that an executor reads secrets. They come in order of their keys.
-- name: NoteSecretReads :exec
INSERT INTO secret_read AS r (namespace, name, read_by)
SELECT k.namespace, k.name, coalesce((SELECT e.name FROM executor AS e WHERE e.id = @executor), '')
FROM (SELECT unnest(@namespaces::text[]) AS namespace, unnest(@names::text[]) AS name) AS k
ON CONFLICT (namespace, name) DO UPDATE
SET read_at = now(), read_by = excluded.read_by
WHERE r.read_at < now() - interval '30 seconds';

-- SealedAfter gives a batch of all versions of all secrets, in order of their keys.
-- name: SealedAfter :many
SELECT s.namespace, s.name, s.version, s.sealed
FROM secret AS s
WHERE (s.namespace, s.name, s.version) > (@namespace::text, @name::text, @version::int)
ORDER BY s.namespace, s.name, s.version
LIMIT @batch::int;

-- ReplaceSealed replaces what a version is sealed as, if nobody has changed it.
-- name: ReplaceSealed :execrows
UPDATE secret AS s
SET sealed = @sealed
WHERE s.namespace = @namespace
  AND s.name = @name
  AND s.version = @version
  AND s.sealed = @before::bytea;

-- ForgetPipelineReads deletes what pipelines read of secrets and variables.
-- name: ForgetPipelineReads :exec
DELETE FROM pipeline_read AS u
WHERE u.pipeline_id = ANY(@pipelines::bigint[]);

-- PutPipelineReads stores what pipelines read of secrets and variables.
-- name: PutPipelineReads :exec
INSERT INTO pipeline_read (pipeline_id, kind, name)
SELECT unnest(@pipelines::bigint[]), unnest(@kinds::text[]), unnest(@names::text[]);
