-- GuardLog begins a transaction that stores log chunks: it moves the totals of the live attempt on, and
-- with it proves that the attempt is still ours. No row: it is not, write nothing. day is the
-- partition of its chunks.
-- name: GuardLog :one
UPDATE live AS l
SET log_seen = @seen, log_stored = @stored, log_cut_at = sqlc.narg('cut_at')::bigint
WHERE l.run_id = @run_id
  AND l.number = @number
  AND l.lease_token = @token
RETURNING (l.claimed_at AT TIME ZONE 'UTC')::date AS day, l.attempt;

-- AppendLog stores chunks of one attempt, in order.
-- name: AppendLog :exec
INSERT INTO log_chunk (day, run_id, number, attempt, seq, at_byte, data, marks)
SELECT @day::date, @run_id::bigint, @number::int, @attempt::int, unnest(@seqs::int[]), unnest(@at_bytes::bigint[]), unnest(@datas::bytea[]), unnest(@marks::bytea[]);
