-- SetVar sets a variable by hand. No row: a source owns it.
-- name: SetVar :one
INSERT INTO var AS v (namespace, name, value, updated_by)
VALUES (@namespace, @name, @value, @updated_by)
ON CONFLICT (namespace, name) DO UPDATE
SET value = excluded.value, updated_at = now(), updated_by = excluded.updated_by
WHERE v.source_id IS NULL
RETURNING v.updated_at;

-- LockVars lets one at a time change the variables of a namespace, until the end of the transaction.
-- name: LockVars :exec
SELECT pg_advisory_xact_lock(hashtextextended('synthesizer vars ' || n, 0))
FROM unnest(@namespaces::text[]) AS n
ORDER BY n;

-- VarRoom says what the variables of a namespace but one come to: every run carries them.
-- name: VarRoom :one
SELECT count(*)::int AS names, coalesce(sum(octet_length(v.name) + octet_length(v.value)), 0)::bigint AS bytes
FROM var AS v
WHERE v.namespace = @namespace
  AND v.name <> @name;

-- DeleteVar deletes a variable that was set by hand.
-- name: DeleteVar :execrows
DELETE FROM var AS v
WHERE v.namespace = @namespace
  AND v.name = @name
  AND v.source_id IS NULL;

-- ListVars gives a page of variables with what reads them. No namespaces means all.
-- name: ListVars :many
SELECT v.namespace, v.name, v.value, coalesce(s.name, '')::text AS source, v.updated_at, v.updated_by,
    coalesce((
        SELECT array_agg(p.name ORDER BY p.name)
        FROM pipeline_read AS u
        JOIN pipeline AS p ON p.id = u.pipeline_id
        WHERE u.kind = 'var'
          AND u.name = v.name
          AND p.namespace = v.namespace
          AND p.removed_at IS NULL
    ), '{}')::text[] AS used_by
FROM var AS v
LEFT JOIN source AS s ON s.id = v.source_id
WHERE (cardinality(@namespaces::text[]) = 0 OR v.namespace = ANY(@namespaces::text[]))
  AND (@name::text = '' OR v.name = @name::text)
  AND (v.namespace, v.name) > (@after_namespace::text, @after_name::text)
ORDER BY v.namespace, v.name
LIMIT @page::int;
