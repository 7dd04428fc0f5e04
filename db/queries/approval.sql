-- DecideApproval answers an open question, and has its task looked at. No row: somebody was faster, or the
-- task has ended.
-- name: DecideApproval :one
WITH decided AS (
    UPDATE approval AS p
    SET decision = @decision::text, decided_at = now(), decided_by = @by::text, comment = @comment::text
    WHERE p.run_id = @run_id
      AND p.number = @number
      AND p.decision IS NULL
      AND p.closed_at IS NULL
    RETURNING p.id, p.run_id, p.number, p.pipeline_id
), woken AS (
    INSERT INTO wake (kind, subject, number, state)
    SELECT 'r', d.run_id, d.number, 'waiting'
    FROM decided AS d
), told AS (
    INSERT INTO event (kind, entity_id, pipeline_id, number, reason, cause, actor, detail)
    SELECT 'task', d.run_id, d.pipeline_id, d.number, @decision::text, 'approval', @by::text, jsonb_build_object('comment', @comment::text)
    FROM decided AS d
)
SELECT d.id
FROM decided AS d;

-- OpenApprovals gives questions that nobody has answered, oldest first.
-- name: OpenApprovals :many
SELECT p.id, p.number AS task, p.prompt, p.asked_at, p.deadline_at, r.namespace, r.pipeline, r.number, r.revision_id, t.name
FROM approval AS p
JOIN run AS r ON r.id = p.run_id
JOIN task AS t ON t.run_id = p.run_id AND t.number = p.number
WHERE p.decision IS NULL
  AND p.closed_at IS NULL
  AND p.id > @after
  AND (cardinality(@visible::text[]) = 0 OR r.namespace = ANY(@visible))
ORDER BY p.id
LIMIT @page::int;

-- ApprovalsOf gives the last question of each task of a run that asked one.
-- name: ApprovalsOf :many
SELECT DISTINCT ON (p.number) p.number, p.prompt, p.asked_at, p.deadline_at, coalesce(p.decision, '') AS decision, p.decided_at, p.decided_by, p.comment,
    (p.closed_at IS NOT NULL)::boolean AS closed
FROM approval AS p
WHERE p.run_id = @run_id
ORDER BY p.number, p.id DESC;

-- ChildrenOf gives the last run that each of a run's tasks has called.
-- name: ChildrenOf :many
SELECT DISTINCT ON (c.parent_number) c.parent_number, c.namespace, c.pipeline, c.number::bigint AS number, coalesce(r.state, '')::text AS state
FROM child_run AS c
LEFT JOIN run AS r ON r.id = c.run_id
WHERE c.parent_run_id = @run_id
  AND c.parent_number BETWEEN @low::int AND @high::int
  AND c.run_id IS NOT NULL
ORDER BY c.parent_number, c.attempt DESC;

-- CallerOf gives the run and the task that called a run.
-- name: CallerOf :one
SELECT r.namespace, r.pipeline, r.number, r.state, t.name, t.number AS task_number
FROM run AS r
JOIN task AS t ON t.run_id = r.id AND t.number = @number
WHERE r.id = @run_id;
