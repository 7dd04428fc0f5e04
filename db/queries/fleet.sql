-- ListExecutors gives the executors seen in the last day, living ones first.
-- name: ListExecutors :many
SELECT e.id, e.name, e.host, e.version, e.slots, e.labels, e.serves, e.started_at, e.lease_until, e.draining_at, e.stopped_at,
    (CASE
        WHEN e.stopped_at IS NOT NULL THEN 'stopped'
        WHEN e.lease_until <= now() THEN 'lost'
        WHEN e.draining_at IS NOT NULL THEN 'draining'
        ELSE 'alive'
    END)::text AS state,
    (SELECT count(*) FROM live AS l WHERE l.executor = e.id)::int AS used
FROM executor AS e
WHERE coalesce(e.stopped_at, e.lease_until) > now() - interval '1 day'
ORDER BY (e.stopped_at IS NULL AND e.lease_until > now()) DESC, e.name, e.started_at DESC
LIMIT 1000;

-- Clock is the database's time and who we are.
-- name: Clock :one
SELECT now()::timestamptz AS now, i.id
FROM installation AS i;
