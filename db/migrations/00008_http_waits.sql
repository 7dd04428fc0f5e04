-- +goose Up
-- Waits for what a service answers. Executors that serve the target ask it, whoever comes first; no
-- executor holds a wait.
SET LOCAL lock_timeout = '2s';

-- Hot: one row per task or item that waits for an answer. Written and removed by the scheduler, with the
-- task's own row; executors push next_at forward when they take a row, note what the answer was, and at last
-- how the wait ended. The task itself is ended by the scheduler alone.
CREATE TABLE http_wait (
    run_id      bigint NOT NULL,
    number      integer NOT NULL,
    revision_id bigint NOT NULL,
    target      text NOT NULL,
    every_ms    integer NOT NULL CHECK (every_ms > 0),
    since       timestamptz NOT NULL DEFAULT now(),
    -- Not to be asked before. Whoever takes the row pushes it forward first: that is the lease.
    next_at     timestamptz NOT NULL DEFAULT now(),
    tries       integer NOT NULL DEFAULT 0,
    asked_at    timestamptz,
    address     text,                           -- for people: without what stands behind the question mark
    last_status integer,
    last_error  text,
    -- How it ended: the condition came true, and what the outputs are, or why they could not be made.
    ended_at    timestamptz,
    state       text CHECK (state IN ('succeeded', 'failed')),
    reason      text NOT NULL DEFAULT '',
    detail      text NOT NULL DEFAULT '',
    outputs     jsonb,
    PRIMARY KEY (run_id, number),
    CONSTRAINT http_wait_ended CHECK ((ended_at IS NULL) = (state IS NULL)),
    CONSTRAINT http_wait_reason CHECK ((state = 'failed') IS NOT TRUE OR reason <> ''),
    CONSTRAINT http_wait_asked CHECK ((tries = 0) = (asked_at IS NULL)),
    CONSTRAINT http_wait_outputs CHECK (outputs IS NULL OR state = 'succeeded')
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX http_wait_due ON http_wait (target, next_at) WHERE ended_at IS NULL;

-- +goose Down
-- There is no way back: migrations only go forward.
