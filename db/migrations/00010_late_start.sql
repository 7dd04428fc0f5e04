-- +goose Up
-- Ticks that come late, as after an outage, start a few at a time.
SET LOCAL lock_timeout = '2s';

-- When the run of a late tick may start, once it has drawn a turn.
ALTER TABLE open_run ADD COLUMN turn_at timestamptz;

-- Turns are drawn from one row, under its lock, whichever scheduler draws.
CREATE TABLE late_start (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    free_at timestamptz NOT NULL DEFAULT now() -- the next turn that nobody has
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
INSERT INTO late_start DEFAULT VALUES;

-- +goose Down
-- There is no way back: migrations only go forward.
