-- RegisterExecutor adds a process to the fleet. Its id is new with every start.
-- name: RegisterExecutor :one
INSERT INTO executor (id, name, host, version, slots, labels, serves, lease_until)
VALUES (@id, @name, @host, @version, @slots, @labels::text[], @serves::text[], now() + interval '1 millisecond' * @lease_ms::bigint)
RETURNING started_at;

-- RenewLease keeps an executor's lease. No row: it was declared dead, everything it holds is lost and
-- must be killed. epoch changes when the database was restored from a backup.
-- name: RenewLease :one
UPDATE executor AS e
SET beat = e.beat + 1, lease_until = now() + interval '1 millisecond' * @lease_ms::bigint
FROM installation AS i
WHERE e.id = @id
  AND e.stopped_at IS NULL
RETURNING i.epoch, (e.draining_at IS NOT NULL)::boolean AS draining;

-- DrainExecutor says that an executor claims no more.
-- name: DrainExecutor :exec
UPDATE executor AS e
SET draining_at = coalesce(e.draining_at, now()), drained_by = coalesce(e.drained_by, @by::text)
WHERE e.id = @id;

-- LeaveFleet ends an executor in good order. What it still holds is taken back by the reaper.
-- name: LeaveFleet :exec
UPDATE executor AS e
SET stopped_at = coalesce(e.stopped_at, now())
WHERE e.id = @id;

-- LocalLanes gives the lanes that an executor with these labels can serve.
-- name: LocalLanes :many
SELECT l.id
FROM lane AS l
WHERE l.target = ''
  AND l.labels <@ @labels::text[]
ORDER BY l.id;
