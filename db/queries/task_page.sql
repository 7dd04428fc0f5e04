-- TasksPage gives a page of the tasks of a run from a number on, as people see them: running is a task
-- with a live attempt.
-- name: TasksPage :many
SELECT t.number, t.name, t.item,
    (CASE WHEN l.run_id IS NOT NULL THEN 'running' ELSE t.state END)::text AS state,
    t.reason, t.detail, t.attempt, t.ready_at, t.wake_at, t.ended_at, t.outputs,
    t.items, t.unfinished, t.ok, t.failed, t.canceled, t.skipped
FROM task AS t
LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number
WHERE t.run_id = @run_id
  AND t.number BETWEEN @low::int AND @high::int
  AND (cardinality(@states::text[]) = 0 OR (CASE WHEN l.run_id IS NOT NULL THEN 'running' ELSE t.state END) = ANY(@states))
ORDER BY t.number
LIMIT @page::int;

-- AttemptsOf gives the attempts of tasks of a run, finished and living, in order.
-- name: AttemptsOf :many
SELECT a.number, a.attempt, a.state, a.reason, a.detail, a.exit_code, a.signal, coalesce(e.name, a.executor::text)::text AS executor,
    a.claimed_at, a.started_at, coalesce(a.ended_at, '0001-01-01 00:00:00+00')::timestamptz AS ended_at, a.cpu_ms, a.max_rss, a.log_seen, a.log_stored, a.summary
FROM (
    SELECT d.number, d.attempt, d.state, d.reason, d.detail, d.exit_code, d.signal, d.executor, d.claimed_at, d.started_at,
        d.ended_at, d.cpu_ms, d.max_rss, d.log_seen, d.log_stored, d.summary
    FROM attempt AS d
    WHERE d.run_id = @run_id
      AND d.number BETWEEN @low::int AND @high::int
    UNION ALL
    SELECT l.number, l.attempt, l.state, coalesce(l.stop_reason, ''), '', NULL, NULL, l.executor, l.claimed_at, l.started_at,
        NULL, NULL, NULL, l.log_seen, l.log_stored, NULL
    FROM live AS l
    WHERE l.run_id = @run_id
      AND l.number BETWEEN @low::int AND @high::int
) AS a
LEFT JOIN executor AS e ON e.id = a.executor
ORDER BY a.number, a.attempt;

-- TaskNumber finds a task of a run by its name; an item has its task's name and a number above.
-- name: TaskNumber :one
SELECT t.number
FROM task AS t
WHERE t.run_id = @run_id
  AND t.name = @name
ORDER BY t.number
LIMIT 1;

-- LogHeads gives where the output of each attempt of a run stands.
-- name: LogHeads :many
SELECT h.number, h.attempt, h.claimed_at, h.started_at, h.seen, h.stored, h.state, t.name, t.item
FROM (
    SELECT d.number, d.attempt, d.claimed_at, d.started_at, d.log_seen AS seen, d.log_stored AS stored, d.state
    FROM attempt AS d
    WHERE d.run_id = @run_id
      AND d.number BETWEEN @low::int AND @high::int
    UNION ALL
    SELECT l.number, l.attempt, l.claimed_at, l.started_at, l.log_seen, l.log_stored, l.state
    FROM live AS l
    WHERE l.run_id = @run_id
      AND l.number BETWEEN @low::int AND @high::int
) AS h
JOIN task AS t ON t.run_id = @run_id AND t.number = h.number
ORDER BY h.claimed_at, h.number, h.attempt;

-- LogChunks gives chunks of an attempt's output from a chunk on, in order. Day is that of the claim.
-- name: LogChunks :many
SELECT c.seq, c.at_byte, c.at, c.data, c.marks
FROM log_chunk AS c
WHERE c.day = @day
  AND c.run_id = @run_id
  AND c.number = @number
  AND c.attempt = @attempt
  AND c.seq >= @from_seq
ORDER BY c.seq
LIMIT @page::int;

-- LogSpans gives where the chunks of an attempt's output lie, without the bytes.
-- name: LogSpans :many
SELECT c.seq, c.at_byte, length(c.data)::bigint AS size
FROM log_chunk AS c
WHERE c.day = @day
  AND c.run_id = @run_id
  AND c.number = @number
  AND c.attempt = @attempt
ORDER BY c.seq;
