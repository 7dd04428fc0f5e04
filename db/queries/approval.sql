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
