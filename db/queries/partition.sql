-- EnsurePartitions makes the partitions that are missing from yesterday to @ahead
-- days from now and returns how many it made. It may run side by side.
-- name: EnsurePartitions :one
SELECT ensure_partitions((coalesce(sqlc.narg('now')::timestamptz, now()) AT TIME ZONE 'UTC')::date, @ahead::integer);

-- PartitionsAhead is how many days from now have all their partitions.
-- name: PartitionsAhead :one
SELECT partitions_ahead((coalesce(sqlc.narg('now')::timestamptz, now()) AT TIME ZONE 'UTC')::date);

-- PartitionsBefore lists the days of a history table's partitions (run, tick,
-- log_chunk or event) that lie before @before, oldest first.
-- name: PartitionsBefore :many
SELECT p.day::date AS day
FROM partitions_before(@parent::text, @before::date) AS p (day);

-- DropRuns drops the runs, tasks and attempts of one day; false means that a run
-- of that day is open. A lock that cannot be had within 200 ms is an error that
-- IsBusy knows: try again in an hour.
-- name: DropRuns :one
SELECT drop_runs(@day::date);

-- DropTicks drops the ledger up to and with a day.
-- name: DropTicks :one
SELECT drop_ticks(@day::date);

-- DropLogs drops the logs of attempts that were claimed on one day; false means
-- that one of them is still alive.
-- name: DropLogs :one
SELECT drop_logs(@day::date);

-- DropEvents drops the events of one day.
-- name: DropEvents :one
SELECT drop_events(@day::date);

-- AnalyzeHistory refreshes the planner's knowledge of a table of history (tick,
-- run, task, attempt or event) as a whole, which autovacuum never does. Once a
-- day is enough.
-- name: AnalyzeHistory :exec
SELECT analyze_history(@parent::text);
