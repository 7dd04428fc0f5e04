-- +goose Up
-- Runs that are opened again after their end, by a rerun or a mark.
SET LOCAL lock_timeout = '2s';

-- Its tasks are there already: admission goes on from them.
ALTER TABLE open_run ADD COLUMN reopened boolean NOT NULL DEFAULT false;

-- A fan-out's own row: the indexes of the items that run this time, where a rerun kept the others.
ALTER TABLE task ADD COLUMN again smallint[];

-- The run whose params a rerun as a new run has.
ALTER TABLE run ADD COLUMN rerun_of bigint;

-- +goose Down
-- There is no way back: migrations only go forward.
