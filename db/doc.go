// Package db is the only place that knows Postgres: the migrations, the queries
// and what sqlc makes of them, connections, transactions and notifications.
//
// # The order of locks
//
// Every transaction takes its row locks in this order, and several rows of one
// kind in order of their keys, by SELECT … ORDER BY … FOR UPDATE before the write:
//
//	executor, schedule, pipeline, backfill, run_group, late_start, pool, open_run, waiter, ready, live, http_wait, child_run, task, approval, follow_up
//
// Whoever makes the runs that others ask for holds rows of child_run or follow_up
// first, and after them only groups and runs that it makes and pipeline_counter,
// for which nobody waits who holds what is between them. Whoever ends a run waits
// for a row of follow_up only while that transaction commits: to change the row is
// the last thing it does.
//
// Rows of wake, event and log_chunk are only inserted by whoever leaves one. A
// wake is always a new row, never an upsert on one that the scheduler may just be
// deleting.
//
// # Time
//
// Only the database's clock decides: queries read now(). One that a test must
// bring its own time to says coalesce(sqlc.narg('now')::timestamptz, now()).
// Infinite timestamps do not fit into time.Time, so no query selects a column
// that may hold one (wake.not_before, target_shard.lease_until).
package db
