-- +goose Up
-- Runs that the ends of other runs ask for (triggers.pipelines).
SET LOCAL lock_timeout = '2s';

-- Whoever ends a run writes a row for each trigger that waits for its pipeline; whoever makes the runs
-- fills in which it is, or takes the row away where there is to be none. A row with a run stays as long
-- as the run that has ended: when that ends once more, after a rerun, its triggers are not asked again.
CREATE TABLE follow_up (
    upstream_run_id bigint NOT NULL,                        -- that has ended
    -- No foreign key: its check would lock the pipeline after the run, against the order of locks.
    pipeline_id     bigint NOT NULL,                        -- what is started
    ordinal         smallint NOT NULL CHECK (ordinal >= 0), -- which of its triggers
    depth           smallint NOT NULL CHECK (depth > 0),    -- 1: the run that has ended was started by no trigger
    asked_at        timestamptz NOT NULL DEFAULT now(),
    run_id          bigint,
    PRIMARY KEY (upstream_run_id, pipeline_id, ordinal)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX follow_up_run ON follow_up (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX follow_up_asked ON follow_up (asked_at) WHERE run_id IS NULL;

-- +goose Down
-- There is no way back: migrations only go forward.
