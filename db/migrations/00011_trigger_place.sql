-- +goose Up
-- A trigger is known by the pipeline that it waits for and its place among those that wait for the same one
-- (ordinal): one more for another pipeline, wherever in the list, makes no other of it.
SET LOCAL lock_timeout = '2s';

ALTER TABLE pipeline_trigger DROP CONSTRAINT pipeline_trigger_pkey;
ALTER TABLE follow_up DROP CONSTRAINT follow_up_pkey;

WITH moved AS (
    SELECT t.pipeline_id, t.upstream_namespace, t.upstream_name, t.ordinal AS was, t.place
    FROM (
        SELECT t.pipeline_id, t.upstream_namespace, t.upstream_name, t.ordinal,
            row_number() OVER (PARTITION BY t.pipeline_id, t.upstream_namespace, t.upstream_name ORDER BY t.ordinal) - 1 AS place
        FROM pipeline_trigger AS t
    ) AS t
    WHERE t.place <> t.ordinal
), followed AS (
    UPDATE follow_up AS f
    SET ordinal = m.place
    FROM moved AS m, run AS r
    WHERE f.pipeline_id = m.pipeline_id
      AND f.ordinal = m.was
      AND r.id = f.upstream_run_id
      AND r.namespace = m.upstream_namespace
      AND r.pipeline = m.upstream_name
)
UPDATE pipeline_trigger AS t
SET ordinal = m.place
FROM moved AS m
WHERE t.pipeline_id = m.pipeline_id
  AND t.ordinal = m.was;

ALTER TABLE pipeline_trigger ADD PRIMARY KEY (pipeline_id, upstream_namespace, upstream_name, ordinal);
ALTER TABLE follow_up ADD PRIMARY KEY (upstream_run_id, pipeline_id, ordinal);

-- +goose Down
-- There is no way back: migrations only go forward.
