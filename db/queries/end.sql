-- EndAttempts writes how attempts ended, each only if its lease token is still the one of the live
-- attempt: what does not come back belongs to somebody else now, and its process must die. One
-- statement, all fed by the live rows that it really deleted: the finished attempt, the move of its task,
-- the wake for its run (and its pool) and the event are there together or not at all.
--
-- The caller has locked the rows by an earlier statement of the transaction (LockLive, LockOrphans): they
-- are deleted by their place, and a version that somebody else wrote after this statement began has a
-- place that it cannot see. Such an end is refused, not done by halves.
--
-- A task that was asked to stop does not come back, whatever its holder knew of that when it reported:
-- nothing would ever cancel it again.
--
-- Times never run backward, whatever the clock did: an attempt ends no earlier than it began.
-- started_agos are milliseconds before now, -1 for an attempt that never started or whose start is
-- stored already.
-- name: EndAttempts :many
WITH report AS (
    SELECT unnest(@run_ids::bigint[]) AS run_id, unnest(@numbers::int[]) AS number, unnest(@tokens::uuid[]) AS token,
        unnest(@states::text[]) AS state, unnest(@reasons::text[]) AS reason, unnest(@details::text[]) AS detail,
        nullif(unnest(@exit_codes::int[]), -1) AS exit_code, nullif(unnest(@signals::text[]), '') AS signal,
        unnest(@started_agos::bigint[]) AS started_ago,
        nullif(unnest(@cpu_mss::bigint[]), -1) AS cpu_ms, nullif(unnest(@max_rsss::bigint[]), -1) AS max_rss,
        nullif(unnest(@raw_outputs::text[]), '')::jsonb AS raw_outputs, nullif(unnest(@summaries::text[]), '') AS summary,
        unnest(@task_states::text[]) AS task_state, unnest(@task_reasons::text[]) AS task_reason, unnest(@task_details::text[]) AS task_detail,
        nullif(unnest(@outputs::text[]), '')::jsonb AS outputs, unnest(@delays::bigint[]) AS delay,
        unnest(@failures::int[]) AS failures, unnest(@losses::int[]) AS losses, unnest(@handbacks::int[]) AS handbacks,
        unnest(@last_losers::uuid[]) AS last_loser, unnest(@losers::int[]) AS losers,
        unnest(@causes::text[]) AS cause
), found AS (
    SELECT l.place, l.run_id, l.number, l.attempt, l.executor, l.lease_token, l.ready_at, l.claimed_at, l.pool_id, l.pipeline_id,
        coalesce(l.started_at, CASE WHEN r.started_ago >= 0 THEN greatest(l.claimed_at, now() - r.started_ago * interval '1 millisecond') END) AS started_at,
        l.log_seen, l.log_stored, l.log_cut_at, l.target, l.remote_name, l.handle,
        r.state, r.reason, r.detail, r.exit_code, r.signal, r.cpu_ms, r.max_rss, r.raw_outputs, r.summary,
        CASE WHEN l.stopped THEN 'canceled' ELSE r.task_state END AS task_state, CASE WHEN l.stopped THEN l.stop_reason ELSE r.task_reason END AS task_reason,
        CASE WHEN l.stopped THEN '' ELSE r.task_detail END AS task_detail, CASE WHEN l.stopped THEN '' ELSE r.cause END AS cause,
        r.outputs, r.delay, r.failures, r.losses, r.handbacks, r.last_loser, r.losers
    FROM report AS r
    CROSS JOIN LATERAL (
        SELECT l.ctid AS place, l.run_id, l.number, l.attempt, l.executor, l.lease_token, l.ready_at, l.claimed_at, l.started_at, l.pool_id, l.pipeline_id,
            l.log_seen, l.log_stored, l.log_cut_at, l.target, l.remote_name, l.handle, l.stop_reason,
            (l.stop_reason IN ('canceled', 'run_timed_out', 'fail_fast') AND r.task_state <> 'succeeded') IS TRUE AS stopped
        FROM live AS l
        WHERE l.run_id = r.run_id
          AND l.number = r.number
          AND l.lease_token = r.token
        FOR UPDATE
    ) AS l
), dead AS (
    DELETE FROM live AS l
    WHERE l.ctid = ANY(ARRAY(SELECT f.place FROM found AS f))
    RETURNING l.ctid AS place
), gone AS (
    SELECT f.*
    FROM found AS f
    WHERE (f.place IN (SELECT d.place FROM dead AS d)) IS TRUE
), history AS (
    INSERT INTO attempt (run_id, number, attempt, executor, lease_token, state, reason, detail, exit_code, signal, ready_at, claimed_at,
        started_at, ended_at, cpu_ms, max_rss, outputs, summary, log_seen, log_stored, log_cut_at, target, remote_name, handle)
    SELECT g.run_id, g.number, g.attempt, g.executor, g.lease_token, g.state, g.reason, g.detail, g.exit_code, g.signal, g.ready_at, g.claimed_at,
        g.started_at, greatest(now(), g.claimed_at, g.started_at), g.cpu_ms, g.max_rss, g.raw_outputs, g.summary,
        g.log_seen, g.log_stored, g.log_cut_at, g.target, g.remote_name, g.handle
    FROM gone AS g
), moved AS (
    INSERT INTO task AS t (run_id, number, name, state, reason, detail, attempt, failures, losses, handbacks, last_loser, losers, outputs, wake_at, ended_at)
    SELECT g.run_id, g.number, '', g.task_state, g.task_reason, g.task_detail, g.attempt, g.failures, g.losses, g.handbacks,
        nullif(g.last_loser, '00000000-0000-0000-0000-000000000000'), g.losers, g.outputs,
        CASE WHEN g.task_state = 'waiting' THEN now() + g.delay * interval '1 millisecond' END,
        CASE WHEN g.task_state <> 'waiting' THEN greatest(now(), g.claimed_at, g.started_at) END
    FROM gone AS g
    ON CONFLICT (run_id, number) DO UPDATE
    SET state = excluded.state, reason = excluded.reason, detail = excluded.detail, attempt = excluded.attempt, failures = excluded.failures,
        losses = excluded.losses, handbacks = excluded.handbacks, last_loser = excluded.last_loser, losers = excluded.losers,
        outputs = excluded.outputs, wake_at = excluded.wake_at, ended_at = excluded.ended_at
    WHERE t.state = 'ready'
), told AS (
    INSERT INTO event (kind, pipeline_id, entity_id, number, attempt, from_state, to_state, reason, cause, token)
    SELECT 'task', g.pipeline_id, g.run_id, g.number, g.attempt, 'ready', g.task_state, g.task_reason, g.cause, g.lease_token
    FROM gone AS g
), freed AS (
    INSERT INTO wake (kind, subject)
    SELECT DISTINCT 'p', g.pool_id
    FROM gone AS g
    WHERE g.pool_id IS NOT NULL
), woken AS (
    INSERT INTO wake (kind, subject, not_before, number, state, others)
    SELECT 'r', e.run_id, e.not_before, e.numbers[1], e.task_state, nullif(e.numbers[2:], '{}')
    FROM (
        SELECT g.run_id, g.task_state, array_agg(g.number) AS numbers,
            CASE WHEN g.task_state = 'waiting' AND g.delay > 0 THEN now() + g.delay * interval '1 millisecond' ELSE '-infinity' END AS not_before
        FROM gone AS g
        GROUP BY 1, 2, 4
    ) AS e
    UNION ALL
    -- A place under the run's max_parallel is free although the task has not ended.
    SELECT 'r', g.run_id, '-infinity', NULL, NULL, NULL
    FROM gone AS g
    WHERE g.task_state = 'waiting'
      AND g.delay > 0
)
SELECT g.run_id, g.number, g.attempt, g.lease_token
FROM gone AS g;
