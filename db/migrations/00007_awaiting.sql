-- +goose Up
-- Tasks that wait for what no executor does: for a time, for a person's decision, or for a run of
-- another pipeline. Such a task is in state waiting, reason wait, approval or child; when its time comes
-- is a timed wake, and what it waits for is a row here.
SET LOCAL lock_timeout = '2s';

-- When what a task waits for has to be over; wake_at is when a wait is over.
ALTER TABLE task ADD COLUMN deadline_at timestamptz;

-- The task that ends with this run, and whether the run may start beside the others of its group because
-- one of those waits for it.
ALTER TABLE open_run
    ADD COLUMN parent_run_id bigint,
    ADD COLUMN parent_number integer,
    ADD COLUMN beside boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT open_run_parent CHECK ((parent_run_id IS NULL) = (parent_number IS NULL));

-- A question to a person. Whoever decides it changes one row, and only one that is open: of a decision
-- and a time-out in the same moment the first counts.
CREATE TABLE approval (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      bigint NOT NULL,
    number      integer NOT NULL,
    pipeline_id bigint NOT NULL,                -- whose it is: who may see it
    prompt      text NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT now(),
    deadline_at timestamptz,
    decision    text CHECK (decision IN ('approved', 'rejected')),
    decided_at  timestamptz,
    decided_by  text NOT NULL DEFAULT '',       -- '' with a decision: its time was over
    comment     text NOT NULL DEFAULT '',
    closed_at   timestamptz,                    -- the task has taken it into account, or ended without it
    CONSTRAINT approval_decided CHECK ((decision IS NULL) = (decided_at IS NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX approval_open ON approval (run_id, number) WHERE closed_at IS NULL;
CREATE INDEX approval_run ON approval (run_id, number, id);
CREATE INDEX approval_asked ON approval (id) WHERE decision IS NULL AND closed_at IS NULL;

-- A run that a task asks for. Advance writes the row with the task's decision, whoever makes the run
-- fills in which it is, or why there is none.
CREATE TABLE child_run (
    parent_run_id bigint NOT NULL,
    parent_number integer NOT NULL,
    attempt       integer NOT NULL CHECK (attempt > 0),  -- of the task: a retry asks for a new run
    namespace     text NOT NULL,
    pipeline      text NOT NULL,
    params        jsonb NOT NULL DEFAULT '{}',
    waits         boolean NOT NULL,                      -- the task ends with the run, not as soon as it exists
    depth         smallint NOT NULL CHECK (depth > 0),   -- 1: called by a run that nobody called
    asked_at      timestamptz NOT NULL DEFAULT now(),
    run_id        bigint,
    number        bigint,                                -- of that run
    beside        boolean NOT NULL DEFAULT false,        -- it started beside a run of its group that waits for it
    reason        text,                                  -- why there is none
    detail        text NOT NULL DEFAULT '',
    stop_reason   text,                                  -- why the task wants it to stop
    stop_again    boolean NOT NULL DEFAULT false,        -- … its finally too
    settled_at    timestamptz,                           -- the task has taken its end into account
    PRIMARY KEY (parent_run_id, parent_number, attempt),
    CONSTRAINT child_run_made CHECK ((run_id IS NULL) = (number IS NULL) AND (run_id IS NULL OR reason IS NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX child_run_run ON child_run (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX child_run_asked ON child_run (asked_at) WHERE run_id IS NULL AND reason IS NULL;

CREATE OR REPLACE VIEW task_now AS
SELECT
    t.run_id,
    t.number,
    t.name,
    t.number / 16384 AS ordinal,
    t.number % 16384 - 1 AS item_index,         -- -1: the task itself
    t.item,
    CASE WHEN l.run_id IS NULL THEN t.state ELSE 'running' END AS state,
    CASE WHEN l.run_id IS NULL THEN t.reason ELSE coalesce(l.stop_reason, '') END AS reason,
    CASE WHEN l.run_id IS NULL THEN t.detail ELSE coalesce(l.remote_detail, '') END AS detail,
    coalesce(l.attempt, t.attempt) AS attempt,  -- the last one there was
    coalesce(l.failures, t.failures) AS failures,
    coalesce(l.losses, t.losses) AS losses,
    coalesce(l.handbacks, t.handbacks) AS handbacks,
    t.due_at,
    t.ready_at,
    t.wake_at,
    t.ended_at,
    t.outputs,
    t.items,
    t.released,
    t.unfinished,
    t.ok,
    t.failed,
    t.canceled,
    t.skipped,
    l.state AS live_state,
    l.executor AS live_executor,
    l.claimed_at AS live_claimed_at,
    l.started_at AS live_started_at,
    l.stop_requested_at AS live_stop_requested_at,
    t.deadline_at
FROM task AS t
LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number;

-- +goose Down
-- There is no way back: migrations only go forward.
