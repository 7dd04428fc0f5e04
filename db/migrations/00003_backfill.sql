-- +goose Up
-- Backfills: runs for ticks of the past, made a few at a time beside everything else.
SET LOCAL lock_timeout = '2s';

-- A backfill stands for a range of ticks of one schedule. Whoever changes it, or makes its runs, holds
-- its row: it comes after pipeline and before run_group in the order of locks.
CREATE TABLE backfill (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline_id   bigint NOT NULL REFERENCES pipeline,
    schedule_id   bigint NOT NULL,              -- no foreign key: its check would make the planner pass the schedule over
    from_at       timestamptz NOT NULL,         -- both ends included
    until_at      timestamptz NOT NULL,
    which         text NOT NULL CHECK (which IN ('missing', 'failed', 'all')),
    newest_first  boolean NOT NULL DEFAULT true,
    most          integer NOT NULL CHECK (most BETWEEN 1 AND 1000),         -- open at once
    pool_share    integer NOT NULL DEFAULT 100 CHECK (pool_share BETWEEN 1 AND 100),
    params        jsonb NOT NULL DEFAULT '{}',  -- given instead of the schedule's
    note          text NOT NULL DEFAULT '',
    requested_by  text NOT NULL DEFAULT '',
    state         text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'canceled', 'done')),
    reason        text NOT NULL DEFAULT '',     -- why it is paused or canceled
    created_at    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    changed_by    text NOT NULL DEFAULT '',
    ended_at      timestamptz,
    last_run_at   timestamptz,                  -- when it last made one
    -- How many of its ticks are in each state.
    ticks         integer NOT NULL CHECK (ticks BETWEEN 1 AND 100000),
    waiting       integer NOT NULL CHECK (waiting >= 0),
    open          integer NOT NULL DEFAULT 0 CHECK (open >= 0),
    succeeded     integer NOT NULL DEFAULT 0,
    failed        integer NOT NULL DEFAULT 0,
    canceled      integer NOT NULL DEFAULT 0,
    skipped       integer NOT NULL DEFAULT 0,
    passed        integer NOT NULL DEFAULT 0,
    CONSTRAINT backfill_range CHECK (from_at <= until_at),
    CONSTRAINT backfill_ended CHECK ((state IN ('canceled', 'done')) = (ended_at IS NOT NULL)),
    CONSTRAINT backfill_done CHECK (state <> 'done' OR waiting = 0 AND open = 0),
    CONSTRAINT backfill_counts CHECK (waiting + open + succeeded + failed + canceled + skipped + passed = ticks),
    -- Two at once would make two runs for one tick.
    CONSTRAINT backfill_overlap EXCLUDE USING gist (int8range(schedule_id, schedule_id, '[]') WITH &&, tstzrange(from_at, until_at, '[]') WITH &&)
        WHERE (state IN ('running', 'paused'))
) WITH (fillfactor = 70);
CREATE INDEX backfill_pipeline ON backfill (pipeline_id, id);
CREATE INDEX backfill_schedule ON backfill (schedule_id);
CREATE INDEX backfill_ended_at ON backfill (ended_at) WHERE ended_at IS NOT NULL;

-- The ticks that a backfill makes runs for. The ledger does not change: it tells what was decided when
-- they were due.
CREATE TABLE backfill_tick (
    backfill_id    bigint NOT NULL REFERENCES backfill ON DELETE CASCADE,
    fire_at        timestamptz NOT NULL,
    interval_start timestamptz NOT NULL,
    state          text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'open', 'succeeded', 'failed', 'canceled', 'skipped', 'passed')),
    run_id         bigint,
    detail         text NOT NULL DEFAULT '',    -- why it was passed over, or no run could be made
    PRIMARY KEY (backfill_id, fire_at),
    CONSTRAINT backfill_tick_run CHECK (CASE WHEN state IN ('waiting', 'passed') THEN run_id IS NULL WHEN state = 'failed' THEN true ELSE run_id IS NOT NULL END)
);
CREATE INDEX backfill_tick_waiting ON backfill_tick (backfill_id, fire_at) WHERE state = 'waiting';
CREATE INDEX backfill_tick_open ON backfill_tick (backfill_id) WHERE state = 'open';

-- Whose run it is (0: of no backfill), for whoever decides about its tasks; what a backfill's run starts
-- inherits it.
ALTER TABLE open_run ADD COLUMN backfill_id bigint NOT NULL DEFAULT 0;
ALTER TABLE waiter ADD COLUMN backfill_id bigint NOT NULL DEFAULT 0;
DROP INDEX waiter_order;
CREATE INDEX waiter_order ON waiter (pool_id, backfill_id, rank);
-- When a backfill was last let past others (FLOOR in flow.ReleaseFromPool).
ALTER TABLE pool ADD COLUMN floor_at timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00';

-- A fourth subject: a backfill that has something to do.
ALTER TABLE wake DROP CONSTRAINT wake_kind_check, ADD CONSTRAINT wake_kind_check CHECK (kind IN ('r', 'p', 'g', 'b'));

-- A backfill's run stands for a tick too, which the ledger does not say. Rows that are there satisfy the
-- stronger rule that was.
ALTER TABLE run DROP CONSTRAINT run_tick;
ALTER TABLE run ADD CONSTRAINT run_tick CHECK ((schedule_id IS NULL) = (fire_at IS NULL) AND (trigger <> 'schedule' OR schedule_id IS NOT NULL)) NOT VALID;

-- +goose Down
-- There is no way back: migrations only go forward.
