-- LongestRetention gives the longest time that any pipeline asks to keep its runs and its logs, in days.
-- Partitions are dropped whole: the longest decides.
-- name: LongestRetention :one
SELECT
    coalesce(max(ceil(extract(epoch FROM (r.spec #>> '{retention,runs}')::interval) / 86400)), 0)::int AS runs,
    coalesce(max(ceil(extract(epoch FROM (r.spec #>> '{retention,logs}')::interval) / 86400)), 0)::int AS logs
FROM pipeline AS p
JOIN revision AS r ON r.id = p.revision_id
WHERE p.removed_at IS NULL;

-- DropOldRequestKeys forgets keys of requests that nobody repeats any more.
-- name: DropOldRequestKeys :execrows
DELETE FROM request_key AS k
WHERE k.created_at < coalesce(sqlc.narg('now')::timestamptz, now()) - interval '1 day' * @days::int;

-- DropOldExecutors forgets executors that stopped days ago and hold nothing.
-- name: DropOldExecutors :execrows
DELETE FROM executor AS e
WHERE e.stopped_at < coalesce(sqlc.narg('now')::timestamptz, now()) - interval '1 day' * @days::int
  AND (SELECT 1 FROM live AS l WHERE l.executor = e.id LIMIT 1) IS NULL;

-- DropOldSessions forgets sessions that are over.
-- name: DropOldSessions :execrows
DELETE FROM session AS s
WHERE s.expiry < now();

-- Now is the database's clock, which decides.
-- name: Now :one
SELECT now()::timestamptz AS now;

-- ClockNow is the database's clock at this moment: not before anything that an earlier statement of the
-- transaction found due.
-- name: ClockNow :one
SELECT clock_timestamp()::timestamptz AS now;
