-- StoreLog stores chunks of one attempt's output and moves the totals of the live attempt on, which
-- proves that the attempt is still ours. No row: it is not, and nothing was written. A chunk that is
-- there already was stored by a call whose answer was lost.
-- name: StoreLog :one
WITH mine AS (
    UPDATE live AS l
    SET log_seen = @seen, log_stored = @stored, log_cut_at = sqlc.narg('cut_at')::bigint
    WHERE l.run_id = @run_id
      AND l.number = @number
      AND l.lease_token = @token
    RETURNING l.run_id, l.number, l.attempt, (l.claimed_at AT TIME ZONE 'UTC')::date AS day
), stored AS (
    INSERT INTO log_chunk (day, run_id, number, attempt, seq, at_byte, data, marks)
    SELECT m.day, m.run_id, m.number, m.attempt, c.seq, c.at_byte, c.data, c.marks
    FROM mine AS m
    CROSS JOIN (
        SELECT unnest(@seqs::int[]) AS seq, unnest(@at_bytes::bigint[]) AS at_byte, unnest(@datas::bytea[]) AS data, unnest(@marks::bytea[]) AS marks
    ) AS c
    ON CONFLICT DO NOTHING
)
SELECT m.attempt
FROM mine AS m;

-- NoteLogs stores the final totals of logs in the transaction that ends their attempts: what is missing
-- shows there even when the last chunks could not be stored. The rows are locked already.
-- name: NoteLogs :exec
UPDATE live AS l
SET log_seen = n.seen, log_stored = n.stored, log_cut_at = nullif(n.cut_at, -1)
FROM (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tokens::uuid[]) AS token,
        unnest(@seens::bigint[]) AS seen, unnest(@storeds::bigint[]) AS stored, unnest(@cut_ats::bigint[]) AS cut_at
) AS n
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM live AS k
    WHERE k.run_id = n.run_id
      AND k.number = n.number
      AND k.lease_token = n.token
    FOR UPDATE
) AS f
WHERE l.ctid = f.place;
