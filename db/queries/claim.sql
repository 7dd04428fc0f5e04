-- ClaimReady takes up to @free ready tasks of the lanes, lowest rank first, and starts an attempt of
-- each under a token that the executor drew, so that a lost answer can be made good. Executors side by
-- side skip each other's rows: each looks at @look of the first rows, so that what others hold at the
-- moment does not leave it with nothing. Scanning each lane from its low-water mark spares the claim the
-- dead entries at the front of the index. A claim touches no history.
--
-- now() is when the transaction began, which may be before what it claims was released: an attempt is
-- claimed no earlier than it was ready.
-- name: ClaimReady :many
WITH lanes AS (
    SELECT unnest(@lanes::int[]) AS lane, unnest(@lows::bigint[]) AS low
), candidates AS (
    SELECT c.run_id, c.number, c.rank
    FROM lanes AS n
    CROSS JOIN LATERAL (
        SELECT r.run_id, r.number, r.rank
        FROM ready AS r
        WHERE r.lane = n.lane
          AND r.rank >= n.low
        ORDER BY r.lane, r.rank
        LIMIT greatest(@look::int, @free::int)
    ) AS c
    ORDER BY c.rank
    LIMIT greatest(@look::int, @free::int)
), picked AS (
    SELECT k.place
    FROM candidates AS c
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place
        FROM ready AS r
        WHERE r.run_id = c.run_id
          AND r.number = c.number
        FOR UPDATE SKIP LOCKED
    ) AS k
    WHERE EXISTS (SELECT 1 FROM executor AS e WHERE e.id = @executor AND e.stopped_at IS NULL)
    LIMIT @free::int
), taken AS (
    DELETE FROM ready AS r
    WHERE r.ctid = ANY(ARRAY(SELECT p.place FROM picked AS p))
    RETURNING r.run_id, r.number, r.lane, r.rank, r.pipeline_id, r.revision_id, r.attempt, r.failures, r.losses, r.handbacks,
        r.last_loser, r.losers, r.pool_id, r.slots, r.ready_at
), numbered AS (
    SELECT k.run_id, k.number, k.lane, k.rank, k.pipeline_id, k.revision_id, k.attempt, k.failures, k.losses, k.handbacks,
        k.last_loser, k.losers, k.pool_id, k.slots, k.ready_at, (@tokens::uuid[])[row_number() OVER ()] AS token
    FROM taken AS k
), born AS (
    INSERT INTO live (run_id, number, attempt, executor, lease_token, lane, pipeline_id, revision_id, failures, losses, handbacks,
        last_loser, losers, pool_id, slots, ready_at, claimed_at)
    SELECT n.run_id, n.number, n.attempt, @executor, n.token, n.lane, n.pipeline_id, n.revision_id, n.failures, n.losses, n.handbacks,
        n.last_loser, n.losers, n.pool_id, n.slots, n.ready_at, greatest(now(), n.ready_at)
    FROM numbered AS n
)
SELECT n.run_id, n.number, n.attempt, n.token::uuid AS lease_token, n.lane, n.rank, n.pipeline_id, n.revision_id, n.failures, n.losses, n.handbacks,
    n.last_loser, n.losers, n.ready_at, greatest(now(), n.ready_at)::timestamptz AS claimed_at
FROM numbered AS n
ORDER BY n.rank;

-- LockLive locks live attempts, in the order given, for the statements that follow in the transaction:
-- they find rows by key and write them by their place, which only holds for rows that nobody changes
-- between the two.
-- name: LockLive :exec
SELECT f.run_id
FROM (SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number) AS m
CROSS JOIN LATERAL (
    SELECT l.run_id
    FROM live AS l
    WHERE l.run_id = m.run_id
      AND l.number = m.number
    FOR UPDATE
) AS f;

-- MarkRunning stores that attempts have started, so many milliseconds ago. What does not come back is
-- not ours any more. Telling it twice changes nothing. The rows are locked already.
-- name: MarkRunning :many
UPDATE live AS l
SET state = CASE WHEN l.state = 'claimed' THEN 'running' ELSE l.state END,
    started_at = coalesce(l.started_at, greatest(l.claimed_at, now() - m.ago * interval '1 millisecond'))
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tokens::uuid[]) AS token, unnest(@agos::bigint[]) AS ago
) AS m
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM live AS k
    WHERE k.run_id = m.run_id
      AND k.number = m.number
      AND k.lease_token = m.token
    FOR UPDATE
) AS f
WHERE l.ctid = f.place
RETURNING l.lease_token;

-- Held gives what the database believes an executor holds, for the executor to compare with its own
-- list, and which of it has been asked to stop.
-- name: Held :many
SELECT l.run_id, l.number, l.attempt, l.lease_token, l.state, l.revision_id, l.stop_reason,
    l.failures, l.losses, l.handbacks, l.last_loser, l.losers
FROM live AS l
WHERE l.executor = @executor;

-- StopsAsked gives the attempts of an executor that have been asked to stop.
-- name: StopsAsked :many
SELECT l.run_id, l.number, l.lease_token, l.stop_reason::text AS stop_reason
FROM live AS l
WHERE l.executor = @executor
  AND l.stop_requested_at IS NOT NULL
  AND l.stop_sent_at IS NULL;

-- NoteStopsSent notes that stop requests have been acted on. The rows are locked already.
-- name: NoteStopsSent :exec
UPDATE live AS l
SET stop_sent_at = coalesce(l.stop_sent_at, now()), state = 'stopping'
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tokens::uuid[]) AS token
) AS m
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM live AS k
    WHERE k.run_id = m.run_id
      AND k.number = m.number
      AND k.lease_token = m.token
    FOR UPDATE
) AS f
WHERE l.ctid = f.place;

-- LiveByKey gives live attempts whose ends an executor that died has left behind, if their tokens are
-- still current.
-- name: LiveByKey :many
SELECT f.run_id, f.number, f.lease_token, f.executor, f.revision_id, f.stop_reason, f.started_at,
    f.failures, f.losses, f.handbacks, f.last_loser, f.losers, f.log_seen, f.log_stored, f.log_cut_at
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tokens::uuid[]) AS token
) AS k
CROSS JOIN LATERAL (
    SELECT l.run_id, l.number, l.lease_token, l.executor, l.revision_id, l.stop_reason, l.started_at,
        l.failures, l.losses, l.handbacks, l.last_loser, l.losers, l.log_seen, l.log_stored, l.log_cut_at
    FROM live AS l
    WHERE l.run_id = k.run_id
      AND l.number = k.number
      AND l.lease_token = k.token
    OFFSET 0
) AS f;

-- AttemptFacts gives of runs what their tasks' commands and environment may read.
-- name: AttemptFacts :many
SELECT r.id, r.number, r.namespace, r.pipeline, r.trigger, r.schedule_id, s.name AS schedule, r.fire_at, r.scheduled_at, r.created_at,
    r.interval_start, r.interval_end, r.params, r.vars
FROM run AS r
LEFT JOIN schedule AS s ON s.id = r.schedule_id
WHERE r.id = ANY(@ids::bigint[]);

-- ItemsOf gives the values of items.
-- name: ItemsOf :many
SELECT k.run_id, k.number, f.item
FROM (SELECT unnest(@run_ids::bigint[])::bigint AS run_id, unnest(@numbers::int[])::int AS number) AS k
CROSS JOIN LATERAL (
    SELECT t.item
    FROM task AS t
    WHERE t.run_id = k.run_id
      AND t.number = k.number
    OFFSET 0
) AS f;

-- Standings says how open runs stand: what tasks of finally may read.
-- name: Standings :many
SELECT o.run_id, o.phase, o.reason, (o.cancel_requested_at IS NOT NULL)::boolean AS cancel_requested
FROM open_run AS o
WHERE o.run_id = ANY(@ids::bigint[]);
