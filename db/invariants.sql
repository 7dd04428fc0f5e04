-- What must be true at every moment, as views that must be empty. The self-check and `synctl doctor`
-- read them, and every fault test ends with them. They are made anew by migrate whenever this text
-- changes, so they may be edited freely; the numbers are cited elsewhere and stay.
--
-- A comment that begins with Q marks a view that means something only when nothing is going on.
-- Views of ticks, runs and their parts look back as far as inv.param's window says. Tests replace
-- inv.param, and add the views that compare with what their witnesses saw.
DROP SCHEMA IF EXISTS inv CASCADE;
CREATE SCHEMA inv;
SET LOCAL search_path = inv, public;

CREATE VIEW param (k, v) AS
VALUES
    ('window', interval '2 days'),
    ('reap_grace', interval '25 s'),
    ('late_slo', interval '5 s'),
    ('early', interval '0 s'),
    ('cancel_grace', interval '30 s'),
    ('claim_slo', interval '10 s'),
    ('remove_grace', interval '60 s'),
    ('kill_lag', interval '1 s'),
    -- now() is a transaction's begin: what followed an end may seem to have come this much before it.
    ('slack', interval '250 ms');

CREATE FUNCTION since() RETURNS timestamptz LANGUAGE sql STABLE
RETURN (SELECT now() - p.v FROM inv.param AS p WHERE p.k = 'window');

CREATE FUNCTION low() RETURNS bigint LANGUAGE sql STABLE
RETURN public.run_day(inv.since()) << 38;

-- ---------------------------------------------------------------- what the views read

CREATE VIEW tick AS SELECT t.* FROM public.tick AS t WHERE t.fire_at >= since();
CREATE VIEW run AS SELECT r.* FROM public.run AS r WHERE r.id >= low();
CREATE VIEW attempt AS SELECT a.* FROM public.attempt_now AS a WHERE a.run_id >= low();
CREATE VIEW event AS SELECT e.* FROM public.event AS e WHERE e.day >= (since() AT TIME ZONE 'UTC')::date;

-- A task with what its definition says; a fan-out's own row has item_index -1 and items.
CREATE VIEW task AS
SELECT
    t.*,
    r.pipeline_id,
    coalesce(v.spec -> 'finally' ? t.name, false) AS is_finally,
    coalesce(d.def ? 'if', false) OR coalesce(v.spec -> 'finally' ? t.name, false) AS conditional,
    d.def -> 'needs' AS needs,
    coalesce((d.def #>> '{retry,limit}')::integer, 0) AS retry_limit,
    coalesce((d.def #>> '{lost}')::integer, 0) AS lost_limit,
    coalesce((d.def #>> '{retry,delay}')::interval, '0') * (1 - coalesce((d.def #>> '{retry,jitter}')::float8, 0)) AS retry_delay,
    d.def #>> '{pool,namespace}' AS pool_namespace,
    d.def #>> '{pool,name}' AS pool_name,
    coalesce((d.def #>> '{pool,slots}')::integer, 1) AS pool_slots
FROM public.task_now AS t
JOIN public.run AS r ON r.id = t.run_id
JOIN public.revision AS v ON v.id = r.revision_id
CROSS JOIN LATERAL (SELECT coalesce(v.spec #> ARRAY['tasks', t.name], v.spec #> ARRAY['finally', t.name]) AS def) AS d
WHERE t.run_id >= low();

-- Who needs whom: items share their task's needs, and finally comes after everything. What is needed
-- is a task's own row.
CREATE VIEW task_need AS
SELECT t.run_id, t.number, u.number AS need, t.conditional, u.state AS need_state, u.ended_at AS need_ended_at
FROM task AS t
CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(t.needs, '[]')) AS n (name)
JOIN public.task_now AS u ON u.run_id = t.run_id AND u.name = n.name AND u.item_index = -1
UNION ALL
SELECT t.run_id, t.number, u.number, true, u.state, u.ended_at
FROM task AS t
JOIN task AS u ON u.run_id = t.run_id AND u.item_index = -1
WHERE t.is_finally AND NOT u.is_finally;

-- Tasks that somebody ran again or marked: budgets and order start anew.
CREATE VIEW by_hand AS
SELECT DISTINCT e.entity_id AS run_id, e.number
FROM event AS e
WHERE e.kind = 'task' AND e.cause IN ('rerun', 'mark');

-- Attempts held by an executor's lease; remote ones are held by submit lease or shard.
CREATE VIEW live_local AS
SELECT l.* FROM public.live AS l WHERE l.target IS NULL OR l.state = 'claimed';

-- ---------------------------------------------------------------- ticks and runs

CREATE VIEW inv_01_tick_fired_twice AS
SELECT r.schedule_id, r.fire_at, count(*) AS n
FROM run AS r
WHERE r.trigger = 'schedule'
GROUP BY 1, 2
HAVING count(*) > 1;

CREATE VIEW inv_02_tick_decided_twice AS
SELECT t.schedule_id, t.fire_at
FROM tick AS t
GROUP BY 1, 2
HAVING count(*) > 1
UNION ALL
SELECT t.schedule_id, t.fire_at
FROM tick AS t
JOIN tick AS s ON s.schedule_id = t.schedule_id AND t.fire_at > s.fire_at AND t.fire_at <= s.until;

-- State run if and only if exactly that run exists.
CREATE VIEW inv_05_tick_run_mismatch AS
SELECT t.schedule_id, t.fire_at, t.run_id
FROM tick AS t
WHERE t.state = 'run'
  AND t.run_id >= low()
  AND NOT EXISTS (
    SELECT FROM public.run AS r
    WHERE r.id = t.run_id AND r.trigger = 'schedule' AND r.schedule_id = t.schedule_id AND r.fire_at = t.fire_at
  )
UNION ALL
SELECT r.schedule_id, r.fire_at, r.id
FROM run AS r
WHERE r.trigger = 'schedule'
  AND NOT EXISTS (
    SELECT FROM public.tick AS t
    WHERE t.schedule_id = r.schedule_id AND t.fire_at = r.fire_at AND t.state = 'run' AND t.run_id = r.id
  );

CREATE VIEW inv_06_fired_early AS
SELECT r.id
FROM run AS r, param AS p
WHERE p.k = 'early' AND r.trigger = 'schedule' AND r.created_at < r.fire_at - p.v;

CREATE VIEW inv_09_run_while_paused AS
SELECT t.schedule_id, t.fire_at
FROM tick AS t
JOIN public.schedule AS s ON s.id = t.schedule_id
JOIN public.pipeline AS p ON p.id = s.pipeline_id
WHERE t.state = 'run' AND t.decided_at > p.paused_at AND (p.paused_until IS NULL OR t.fire_at <= p.paused_until);

-- A run uses a revision of its own pipeline that existed when it was made.
CREATE VIEW inv_10_wrong_revision AS
SELECT r.id
FROM run AS r
JOIN public.revision AS v ON v.id = r.revision_id
WHERE v.pipeline_id <> r.pipeline_id OR v.created_at > r.created_at;

CREATE VIEW inv_11_schedule_stalled AS
SELECT s.id, s.next_at
FROM param AS g, public.schedule AS s
JOIN public.pipeline AS p ON p.id = s.pipeline_id
LEFT JOIN LATERAL (
    SELECT coalesce(t.until, t.fire_at) AS last
    FROM public.tick AS t
    WHERE t.schedule_id = s.id
    ORDER BY t.fire_at DESC
    LIMIT 1
) AS t ON true
WHERE g.k = 'late_slo'
  AND s.ended_at IS NULL
  AND p.paused_at IS NULL
  AND (s.next_at < now() - g.v OR s.next_at <= t.last);
COMMENT ON VIEW inv_11_schedule_stalled IS 'Q';

CREATE VIEW inv_12_request_doubled AS
SELECT r.pipeline_id, r.idempotency_key
FROM run AS r
WHERE r.idempotency_key IS NOT NULL
GROUP BY 1, 2
HAVING count(*) > 1;

-- ---------------------------------------------------------------- run against tasks

CREATE VIEW inv_13_run_done_tasks_open AS
SELECT r.id, t.number
FROM run AS r
JOIN public.task AS t ON t.run_id = r.id
WHERE r.ended_at IS NOT NULL AND t.ended_at IS NULL;

CREATE VIEW inv_14_run_open_tasks_done AS
SELECT r.id
FROM run AS r
WHERE r.ended_at IS NULL
  AND EXISTS (SELECT FROM public.task AS t WHERE t.run_id = r.id)
  AND NOT EXISTS (SELECT FROM public.task AS t WHERE t.run_id = r.id AND t.ended_at IS NULL);
COMMENT ON VIEW inv_14_run_open_tasks_done IS 'Q';

CREATE VIEW inv_15_run_state_wrong AS
SELECT r.id, r.state
FROM run AS r
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE t.state = 'failed') AS failed,
        count(*) FILTER (WHERE t.state = 'canceled') AS canceled
    FROM public.task AS t
    WHERE t.run_id = r.id AND t.number % 16384 = 0
) AS x
WHERE r.state = 'succeeded' AND x.failed + x.canceled > 0
   OR r.state = 'failed' AND x.failed = 0 AND r.reason = ''
   OR r.state = 'canceled' AND r.cancel_requested_at IS NULL AND r.reason <> 'overlap'
   OR r.state = 'skipped' AND EXISTS (
    SELECT FROM public.attempt AS a WHERE a.run_id = r.id AND (a.state <> 'succeeded' OR a.reason = '')
   );

-- A run with tasks has every task of its revision, and no other.
CREATE VIEW inv_16_half_made_run AS
SELECT r.id, k.name
FROM run AS r
JOIN public.revision AS v ON v.id = r.revision_id
CROSS JOIN LATERAL jsonb_object_keys(v.spec -> 'tasks') AS k (name)
WHERE (EXISTS (SELECT FROM public.task AS t WHERE t.run_id = r.id) OR r.state = 'succeeded')
  AND NOT EXISTS (SELECT FROM public.task AS t WHERE t.run_id = r.id AND t.name = k.name AND t.number % 16384 = 0)
UNION ALL
SELECT t.run_id, t.name
FROM public.task AS t
JOIN run AS r ON r.id = t.run_id
JOIN public.revision AS v ON v.id = r.revision_id
WHERE NOT coalesce(v.spec -> 'tasks' ? t.name, false)
  AND NOT coalesce(v.spec -> 'finally' ? t.name, false);

CREATE VIEW inv_17_finish_time AS
SELECT 'run' AS kind, r.id AS run_id, 0 AS number
FROM run AS r
WHERE (r.state IN ('succeeded', 'failed', 'canceled', 'skipped')) <> (r.ended_at IS NOT NULL)
UNION ALL
SELECT 'task', t.run_id, t.number
FROM public.task AS t
WHERE t.run_id >= low() AND (t.state IN ('succeeded', 'failed', 'canceled', 'skipped')) <> (t.ended_at IS NOT NULL)
UNION ALL
SELECT 'attempt', a.run_id, a.number
FROM attempt AS a
WHERE (a.state IN ('succeeded', 'failed', 'timed_out', 'canceled', 'lost')) <> (a.ended_at IS NOT NULL);

-- ---------------------------------------------------------------- dependencies

CREATE VIEW inv_18_started_before_upstream AS
SELECT a.run_id, a.number, a.attempt, n.need
FROM attempt AS a
JOIN task_need AS n ON n.run_id = a.run_id AND n.number = a.number
WHERE (n.need_ended_at IS NULL OR n.need_ended_at > a.claimed_at OR NOT n.conditional AND n.need_state <> 'succeeded')
  AND (a.run_id, n.need) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b)
  AND (a.run_id, a.number) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b);

CREATE VIEW inv_19_waiting_forever AS
SELECT t.run_id, t.number
FROM param AS p, public.task AS t
JOIN run AS r ON r.id = t.run_id
WHERE p.k = 'claim_slo'
  AND t.state = 'waiting'
  AND r.state = 'running'
  AND t.items IS NULL
  AND t.reason NOT IN ('approval', 'event', 'wait', 'child', 'pool', 'max_parallel', 'paused', 'frozen')
  AND coalesce(t.wake_at, '-infinity') < now() - p.v
  AND NOT EXISTS (SELECT FROM task_need AS n WHERE n.run_id = t.run_id AND n.number = t.number AND n.need_ended_at IS NULL);
COMMENT ON VIEW inv_19_waiting_forever IS 'Q';

CREATE VIEW inv_20_ready_too_soon AS
SELECT t.run_id, t.number
FROM task AS t
JOIN task_need AS n ON n.run_id = t.run_id AND n.number = t.number
WHERE t.state IN ('ready', 'running', 'succeeded')
  AND (n.need_ended_at IS NULL OR NOT n.conditional AND n.need_state <> 'succeeded')
  AND (t.run_id, n.need) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b)
  AND (t.run_id, t.number) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b);

-- A fan-out has one row for each of its items, and items have their fan-out.
CREATE VIEW inv_21_expanded_twice AS
SELECT t.run_id, t.number
FROM public.task AS t
LEFT JOIN public.task AS o ON o.run_id = t.run_id AND o.number = t.number - t.number % 16384
WHERE t.run_id >= low() AND t.number % 16384 > 0 AND (o.items IS NULL OR t.number % 16384 > o.items OR o.name <> t.name)
UNION ALL
SELECT o.run_id, o.number
FROM public.task AS o
WHERE o.run_id >= low()
  AND o.items > 0
  AND o.items <> (
    SELECT count(*) FROM public.task AS t WHERE t.run_id = o.run_id AND t.number BETWEEN o.number + 1 AND o.number + 16383
  );

-- ---------------------------------------------------------------- claims, leases, tokens

CREATE VIEW inv_22_two_live_attempts AS
SELECT a.run_id, a.number, count(*) AS n
FROM attempt AS a
WHERE a.ended_at IS NULL
GROUP BY 1, 2
HAVING count(*) > 1;

-- A released task is in ready or live; the row of a fan-out never is.
CREATE VIEW inv_23_running_without_attempt AS
SELECT t.run_id, t.number
FROM public.task AS t
WHERE t.run_id >= low()
  AND t.state = 'ready'
  AND t.items IS NULL
  AND NOT EXISTS (SELECT FROM public.ready AS r WHERE r.run_id = t.run_id AND r.number = t.number)
  AND NOT EXISTS (SELECT FROM public.live AS l WHERE l.run_id = t.run_id AND l.number = t.number);

-- And the other way round: what is in ready or live is a released task, what is in waiter a waiting
-- one, each in one place only.
CREATE VIEW inv_24_attempt_without_task AS
SELECT q.place, q.run_id, q.number
FROM (
    SELECT 'ready' AS place, r.run_id, r.number, 'ready' AS state FROM public.ready AS r
    UNION ALL
    SELECT 'live', l.run_id, l.number, 'ready' FROM public.live AS l
    UNION ALL
    SELECT 'waiter', w.run_id, w.number, 'waiting' FROM public.waiter AS w
) AS q
LEFT JOIN public.task AS t ON t.run_id = q.run_id AND t.number = q.number
WHERE t.state IS DISTINCT FROM q.state
UNION ALL
SELECT 'ready and live', r.run_id, r.number
FROM public.ready AS r
JOIN public.live AS l ON l.run_id = r.run_id AND l.number = r.number;

CREATE VIEW inv_25_lease_lapsed_unnoticed AS
SELECT l.run_id, l.number, 'executor' AS held_by
FROM param AS p, live_local AS l
LEFT JOIN public.executor AS e ON e.id = l.executor
WHERE p.k = 'reap_grace' AND l.claimed_at < now() - p.v AND (e.id IS NULL OR e.lease_until < now() - p.v)
UNION ALL
SELECT l.run_id, l.number, 'submit'
FROM param AS p, public.live AS l
WHERE p.k = 'reap_grace' AND l.state = 'submitting' AND (l.submit_lease IS NULL OR l.submit_lease < now() - p.v)
UNION ALL
SELECT l.run_id, l.number, 'shard'
FROM param AS p, public.live AS l
LEFT JOIN public.target_shard AS s ON s.target = l.target AND s.shard = l.shard
WHERE p.k = 'reap_grace' AND l.target IS NOT NULL AND l.state IN ('remote', 'stopping') AND (s.lease_until IS NULL OR s.lease_until < now() - p.v);

CREATE VIEW inv_26_remote_not_removed AS
SELECT o.run_id, o.number, o.attempt
FROM public.remote_object AS o, param AS p
WHERE p.k = 'remove_grace' AND o.removed_at IS NULL AND o.ended_at < now() - p.v;
COMMENT ON VIEW inv_26_remote_not_removed IS 'Q';

CREATE VIEW inv_27_owner_stopped AS
SELECT l.run_id, l.number, l.executor
FROM param AS p, live_local AS l
JOIN public.executor AS e ON e.id = l.executor
WHERE p.k = 'reap_grace' AND e.stopped_at < now() - p.v;

CREATE VIEW inv_28_token_reused AS
SELECT a.lease_token, count(*) AS n
FROM attempt AS a
GROUP BY 1
HAVING count(*) > 1;

CREATE VIEW inv_29_attempt_numbers AS
SELECT a.run_id, a.number
FROM attempt AS a
GROUP BY 1, 2
HAVING min(a.attempt) <> 1 OR max(a.attempt) <> count(*) OR count(DISTINCT a.attempt) <> count(*);

-- A zombie's report was accepted: something was written under an old token after its successor had
-- written.
CREATE VIEW inv_30_stale_token_wrote AS
WITH wrote AS (
    SELECT e.token, min(e.id) AS first, max(e.id) AS last
    FROM event AS e
    WHERE e.token IS NOT NULL
    GROUP BY 1
)
SELECT o.last AS id
FROM attempt AS a
JOIN attempt AS b ON b.run_id = a.run_id AND b.number = a.number AND b.attempt > a.attempt
JOIN wrote AS o ON o.token = a.lease_token
JOIN wrote AS n ON n.token = b.lease_token AND n.first < o.last;

-- Exactly one successful attempt, and the last one.
CREATE VIEW inv_31_success_inconsistent AS
SELECT t.run_id, t.number
FROM task AS t
JOIN attempt AS a ON a.run_id = t.run_id AND a.number = t.number
WHERE t.state = 'succeeded' AND (t.run_id, t.number) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b)
GROUP BY 1, 2
HAVING count(*) FILTER (WHERE a.state = 'succeeded') <> 1
UNION
SELECT a.run_id, a.number
FROM attempt AS a
JOIN public.task AS t ON t.run_id = a.run_id AND t.number = a.number
WHERE a.state = 'succeeded'
  AND (a.run_id, a.number) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b)
  AND (t.state NOT IN ('succeeded', 'skipped')
    OR EXISTS (SELECT FROM attempt AS b WHERE b.run_id = a.run_id AND b.number = a.number AND b.attempt > a.attempt));

CREATE VIEW inv_32_retry_too_soon AS
SELECT b.run_id, b.number, b.attempt
FROM attempt AS a
JOIN attempt AS b ON b.run_id = a.run_id AND b.number = a.number AND b.attempt = a.attempt + 1
JOIN task AS t ON t.run_id = a.run_id AND t.number = a.number
WHERE (a.run_id, a.number) NOT IN (SELECT h.run_id, h.number FROM by_hand AS h)
  AND (a.ended_at IS NULL OR b.claimed_at < a.ended_at + CASE WHEN a.state = 'lost' THEN interval '0' ELSE t.retry_delay END);

-- Failed with budget left, and nothing declared the failure final.
CREATE VIEW inv_33_gave_up_early AS
SELECT t.run_id, t.number
FROM task AS t
JOIN run AS r ON r.id = t.run_id
JOIN attempt AS a ON a.run_id = t.run_id AND a.number = t.number
WHERE t.state = 'failed'
  AND t.handbacks < 10
  AND t.losses <= t.lost_limit              -- a hand-back may have counted as a loss, too
  AND r.cancel_requested_at IS NULL
  AND NOT EXISTS (
    SELECT FROM event AS e
    WHERE e.kind = 'task' AND e.entity_id = t.run_id AND e.number = t.number AND e.to_state = 'failed' AND e.cause IN ('final', 'mark')
  )
GROUP BY t.run_id, t.number, t.retry_limit, t.lost_limit
HAVING count(*) FILTER (WHERE a.state IN ('failed', 'timed_out')) <= t.retry_limit
   AND count(*) FILTER (WHERE a.state = 'lost' AND a.reason <> 'drained') <= t.lost_limit;

CREATE VIEW inv_34_time_order AS
SELECT 'attempt' AS kind, a.run_id, a.number
FROM attempt AS a
WHERE a.claimed_at < a.ready_at OR a.started_at < a.claimed_at OR a.ended_at < coalesce(a.started_at, a.claimed_at)
UNION ALL
SELECT 'run', r.id, 0
FROM run AS r
WHERE r.started_at < r.created_at OR r.ended_at < coalesce(r.started_at, r.created_at)
UNION ALL
SELECT 'task', t.run_id, t.number
FROM public.task AS t
JOIN attempt AS a ON a.run_id = t.run_id AND a.number = t.number
WHERE t.ended_at < a.ended_at;

-- Claimed after the request, or (local) outlived it by more than the grace; finally may run.
CREATE VIEW inv_35_cancel_ignored AS
SELECT a.run_id, a.number, a.attempt
FROM param AS p, attempt AS a
JOIN task AS t ON t.run_id = a.run_id AND t.number = a.number
JOIN run AS r ON r.id = t.run_id
WHERE p.k = 'cancel_grace'
  AND r.cancel_requested_at IS NOT NULL
  AND NOT t.is_finally
  AND (a.claimed_at > r.cancel_requested_at + interval '2 s'
    OR a.target IS NULL AND coalesce(a.ended_at, now()) > r.cancel_requested_at + p.v);

-- ---------------------------------------------------------------- limits: sweep lines over live rows

CREATE VIEW inv_41_group_over_limit AS
SELECT x.group_id, x.at, x.n
FROM (
    SELECT
        r.group_id,
        e.at,
        sum(e.d) OVER (PARTITION BY r.group_id ORDER BY e.at, e.d ROWS UNBOUNDED PRECEDING) AS n,
        max(r.concurrency_limit) OVER (PARTITION BY r.group_id) AS most
    FROM run AS r
    JOIN param AS p ON p.k = 'slack'
    CROSS JOIN LATERAL (VALUES (least(r.started_at + p.v, r.ended_at), 1), (r.ended_at, -1)) AS e (at, d)
    WHERE r.started_at IS NOT NULL
      AND e.at IS NOT NULL
      AND NOT EXISTS (SELECT FROM public.child_run AS c WHERE c.run_id = r.id AND c.beside)
) AS x
WHERE x.n > x.most AND x.most > 0;

-- A slot is held to the end of the attempt, by remote ones too.
CREATE VIEW inv_42_pool_over_limit AS
SELECT x.id, x.at, x.n
FROM (
    SELECT q.id, q.slots, e.at, sum(e.d * t.pool_slots) OVER (PARTITION BY q.id ORDER BY e.at, e.d ROWS UNBOUNDED PRECEDING) AS n
    FROM public.pool AS q
    JOIN task AS t ON t.pool_name = q.name AND t.pool_namespace = q.namespace
    JOIN attempt AS a ON a.run_id = t.run_id AND a.number = t.number
    JOIN param AS p ON p.k = 'slack'
    CROSS JOIN LATERAL (VALUES (least(a.claimed_at + p.v, a.ended_at), 1), (a.ended_at, -1)) AS e (at, d)
    WHERE e.at IS NOT NULL
) AS x
WHERE x.n > x.slots;

CREATE VIEW inv_43_executor_over_slots AS
SELECT x.id, x.at, x.n
FROM (
    SELECT q.id, q.slots, e.at, sum(e.d) OVER (PARTITION BY q.id ORDER BY e.at, e.d ROWS UNBOUNDED PRECEDING) AS n
    FROM public.executor AS q
    JOIN attempt AS a ON a.executor = q.id AND a.target IS NULL
    JOIN param AS p ON p.k = 'slack'
    CROSS JOIN LATERAL (VALUES (least(a.started_at + p.v, a.ended_at), 1), (a.ended_at, -1)) AS e (at, d)
    WHERE a.started_at IS NOT NULL AND e.at IS NOT NULL
) AS x
WHERE x.n > x.slots;

-- ---------------------------------------------------------------- logs

-- Numbered 0 … n-1; offsets without a gap but for the one cut that is marked.
CREATE VIEW inv_44_log_gap AS
SELECT x.run_id, x.number, x.attempt, x.seq
FROM (
    SELECT
        c.run_id,
        c.number,
        c.attempt,
        c.seq,
        c.at_byte,
        row_number() OVER w - 1 AS place,
        coalesce(sum(length(c.data)) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS stored_before
    FROM public.log_chunk AS c
    WHERE c.day >= (since() AT TIME ZONE 'UTC')::date
    WINDOW w AS (PARTITION BY c.run_id, c.number, c.attempt ORDER BY c.seq)
) AS x
JOIN public.attempt_now AS a ON a.run_id = x.run_id AND a.number = x.number AND a.attempt = x.attempt
WHERE x.seq <> x.place
   OR x.at_byte <> x.stored_before + CASE WHEN x.stored_before >= a.log_cut_at THEN a.log_seen - a.log_stored ELSE 0 END;

-- After the attempt's end: nothing lost without a mark.
CREATE VIEW inv_45_log_totals AS
SELECT a.run_id, a.number, a.attempt
FROM attempt AS a
LEFT JOIN (
    SELECT c.run_id, c.number, c.attempt, sum(length(c.data)) AS bytes
    FROM public.log_chunk AS c
    WHERE c.day >= (since() AT TIME ZONE 'UTC')::date
    GROUP BY 1, 2, 3
) AS l ON l.run_id = a.run_id AND l.number = a.number AND l.attempt = a.attempt
WHERE a.ended_at IS NOT NULL
  AND a.claimed_at >= since()
  AND (coalesce(l.bytes, 0) <> a.log_stored OR a.log_stored > a.log_seen OR (a.log_stored < a.log_seen) <> (a.log_cut_at IS NOT NULL));

CREATE VIEW inv_46_log_orphan AS
SELECT DISTINCT c.run_id, c.number, c.attempt
FROM public.log_chunk AS c
WHERE c.day >= (since() AT TIME ZONE 'UTC')::date
  AND c.run_id >= low()
  AND NOT EXISTS (SELECT FROM public.attempt_now AS a WHERE a.run_id = c.run_id AND a.number = c.number AND a.attempt = c.attempt);

-- ---------------------------------------------------------------- history

CREATE VIEW inv_48_left_terminal_state AS
SELECT n.id, n.kind, n.entity_id, n.number, p.to_state AS was, n.to_state
FROM event AS n
CROSS JOIN LATERAL (
    SELECT e.to_state
    FROM event AS e
    WHERE e.kind = n.kind AND e.entity_id = n.entity_id AND e.number IS NOT DISTINCT FROM n.number AND e.to_state IS NOT NULL AND e.id < n.id
    ORDER BY e.id DESC
    LIMIT 1
) AS p
WHERE n.kind IN ('run', 'task')
  AND n.to_state IS NOT NULL
  AND p.to_state IN ('succeeded', 'failed', 'canceled', 'skipped')
  AND n.cause NOT IN ('rerun', 'mark');

-- Each event of a run starts where the last ended, and the last of a run or of an ended task is the
-- row's state.
CREATE VIEW inv_49_history_broken AS
SELECT e.id
FROM (
    SELECT e.*, lag(e.to_state) OVER (PARTITION BY e.entity_id ORDER BY e.id) AS before
    FROM event AS e
    WHERE e.kind = 'run' AND e.to_state IS NOT NULL AND e.entity_id >= low()
) AS e
WHERE e.from_state IS DISTINCT FROM e.before
UNION ALL
SELECT l.id
FROM (
    SELECT DISTINCT ON (e.kind, e.entity_id, e.number) e.*
    FROM event AS e
    WHERE e.kind IN ('run', 'task') AND e.to_state IS NOT NULL AND e.entity_id >= low()
    ORDER BY e.kind, e.entity_id, e.number, e.id DESC
) AS l
LEFT JOIN public.run AS r ON l.kind = 'run' AND r.id = l.entity_id
LEFT JOIN public.task AS t ON l.kind = 'task' AND t.run_id = l.entity_id AND t.number = l.number
WHERE l.to_state IS DISTINCT FROM coalesce(r.state, t.state)
  AND (l.kind = 'run' OR l.to_state IN ('succeeded', 'failed', 'canceled', 'skipped') OR t.ended_at IS NOT NULL);

CREATE VIEW inv_50_illegal_transition AS
SELECT e.id, e.kind, e.from_state, e.to_state
FROM event AS e
WHERE e.kind IN ('run', 'task')
  AND e.to_state IS NOT NULL
  AND e.cause NOT IN ('rerun', 'mark')
  AND NOT EXISTS (
    SELECT FROM (VALUES
        ('run', '-', 'queued running'),    -- a run that may start at once is made and started in one transaction
        ('run', 'queued', 'running skipped canceled failed'),
        ('run', 'running', 'succeeded failed canceled skipped'),
        ('task', '-', 'waiting ready skipped canceled failed succeeded'),
        ('task', 'waiting', 'ready skipped canceled succeeded failed'),
        ('task', 'ready', 'waiting succeeded skipped canceled failed')
    ) AS ok (kind, before, after)
    WHERE ok.kind = e.kind AND ok.before = coalesce(e.from_state, '-') AND e.to_state = ANY (string_to_array(ok.after, ' '))
  );

-- ---------------------------------------------------------------- the database itself

CREATE VIEW inv_51_stuck_session AS
SELECT a.pid, a.application_name, a.state, now() - a.xact_start AS age
FROM pg_stat_activity AS a
WHERE a.datname = current_database()
  AND a.backend_type = 'client backend'
  AND a.pid <> pg_backend_pid()
  AND a.xact_start < now() - interval '30 s'
  AND a.application_name <> 'synthesizer migrate'
  AND a.query NOT ILIKE 'VACUUM%' AND a.query NOT ILIKE 'ANALYZE%' AND a.query NOT LIKE 'COPY %';
COMMENT ON VIEW inv_51_stuck_session IS 'Q';

CREATE VIEW inv_52_lock_left AS
SELECT l.pid, l.locktype, l.mode
FROM pg_locks AS l
JOIN pg_database AS d ON d.oid = l.database
WHERE d.datname = current_database()
  AND (NOT l.granted AND l.waitstart < now() - interval '30 s' OR l.locktype = 'advisory' AND l.pid NOT IN (SELECT a.pid FROM pg_stat_activity AS a));
COMMENT ON VIEW inv_52_lock_left IS 'Q';

-- ---------------------------------------------------------------- more

CREATE VIEW inv_53_tried_too_often AS
SELECT t.run_id, t.number
FROM task AS t
JOIN attempt AS a ON a.run_id = t.run_id AND a.number = t.number
WHERE (t.run_id, t.number) NOT IN (SELECT b.run_id, b.number FROM by_hand AS b)
GROUP BY t.run_id, t.number, t.retry_limit, t.lost_limit
HAVING count(*) FILTER (WHERE a.state IN ('failed', 'timed_out')) > t.retry_limit + 1
    OR count(*) FILTER (WHERE a.state = 'lost' AND a.reason <> 'drained' AND (t.lost_limit > 0 OR a.started_at IS NOT NULL)) > t.lost_limit + 1
    OR count(*) FILTER (WHERE a.state = 'lost') > t.lost_limit + 1 + 11 * (t.lost_limit + 1);

-- Where every executor serves everything.
CREATE VIEW inv_56_ready_unclaimed AS
SELECT r.run_id, r.number
FROM public.ready AS r, param AS p
WHERE p.k = 'claim_slo'
  AND r.ready_at < now() - p.v
  AND EXISTS (SELECT FROM public.executor AS e WHERE e.stopped_at IS NULL AND e.draining_at IS NULL AND e.lease_until > now());
COMMENT ON VIEW inv_56_ready_unclaimed IS 'Q';

-- open_run says of every run that has not ended what run says.
CREATE VIEW inv_57_open_run_differs AS
SELECT r.id
FROM run AS r
LEFT JOIN public.open_run AS o ON o.run_id = r.id
WHERE CASE WHEN r.ended_at IS NULL THEN r.state END IS DISTINCT FROM o.state
UNION ALL
SELECT o.run_id
FROM public.open_run AS o
WHERE NOT EXISTS (SELECT FROM public.run AS r WHERE r.id = o.run_id);

-- Counters are what counting gives.
CREATE VIEW inv_58_counter_drifted AS
SELECT o.run_id, -1 AS number
FROM public.open_run AS o
JOIN public.revision AS v ON v.id = o.revision_id
CROSS JOIN LATERAL (
    SELECT count(*) AS born, count(*) FILTER (WHERE t.ended_at IS NULL) AS unfinished
    FROM public.task AS t
    WHERE t.run_id = o.run_id
      AND t.number % 16384 = 0
      AND coalesce(v.spec -> 'finally' ? t.name, false) = (o.phase = 'finally')
) AS x
WHERE o.state = 'running' AND x.born > 0 AND o.unfinished <> x.unfinished
UNION ALL
SELECT o.run_id, o.number
FROM public.task AS o
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE t.ended_at IS NULL) AS unfinished,
        count(*) FILTER (WHERE t.state = 'succeeded') AS ok,
        count(*) FILTER (WHERE t.state = 'failed') AS failed,
        count(*) FILTER (WHERE t.state = 'canceled') AS canceled,
        count(*) FILTER (WHERE t.state = 'skipped') AS skipped
    FROM public.task AS t
    WHERE t.run_id = o.run_id AND t.number BETWEEN o.number + 1 AND o.number + 16383
) AS x
WHERE o.run_id >= low()
  AND o.items IS NOT NULL
  AND (o.unfinished, o.ok, o.failed, o.canceled, o.skipped) <> (x.unfinished, x.ok, x.failed, x.canceled, x.skipped);
COMMENT ON VIEW inv_58_counter_drifted IS 'Q';

-- A backfill's counts are what counting its ticks gives, and one that is not at its end is looked at again.
CREATE VIEW inv_67_backfill_drifted AS
SELECT b.id, 'counts' AS what
FROM public.backfill AS b
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE t.state = 'waiting') AS waiting, count(*) FILTER (WHERE t.state = 'open') AS open,
        count(*) FILTER (WHERE t.state = 'succeeded') AS succeeded, count(*) FILTER (WHERE t.state = 'failed') AS failed, count(*) AS ticks
    FROM public.backfill_tick AS t
    WHERE t.backfill_id = b.id
) AS x
WHERE (b.waiting, b.open, b.succeeded, b.failed, b.ticks) <> (x.waiting, x.open, x.succeeded, x.failed, x.ticks)
UNION ALL
SELECT b.id, 'no wake'
FROM public.backfill AS b
WHERE (b.state = 'running' OR b.open > 0)
  AND NOT EXISTS (SELECT FROM public.wake AS w WHERE w.kind = 'b' AND w.subject = b.id);

-- One tick, one run of a backfill at a time.
CREATE VIEW inv_68_backfill_run_doubled AS
SELECT r.schedule_id, r.fire_at, count(*) AS n
FROM run AS r
WHERE r.trigger = 'backfill' AND r.ended_at IS NULL
GROUP BY 1, 2
HAVING count(*) > 1;

-- A pipeline is started by what its newest revision says, and one that was removed by nothing.
CREATE VIEW inv_69_triggers_differ AS
SELECT p.id, a.links, b.spec
FROM public.pipeline AS p
JOIN public.revision AS v ON v.id = p.revision_id
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_array(t.revision_id, t.upstream_namespace, t.upstream_name, t.ordinal)
        ORDER BY t.upstream_namespace, t.upstream_name, t.ordinal), '[]') AS links
    FROM public.pipeline_trigger AS t
    WHERE t.pipeline_id = p.id
) AS a
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_array(v.id, t.namespace, t.name, t.ordinal) ORDER BY t.namespace, t.name, t.ordinal), '[]') AS spec
    FROM (
        SELECT e.value ->> 'namespace' AS namespace, e.value ->> 'name' AS name,
            row_number() OVER (PARTITION BY e.value ->> 'namespace', e.value ->> 'name' ORDER BY e.ordinality) - 1 AS ordinal
        FROM jsonb_array_elements(CASE WHEN p.removed_at IS NULL THEN v.spec -> 'triggers' END) WITH ORDINALITY AS e
    ) AS t
) AS b
WHERE a.links <> b.spec;

-- Somebody left a wake and nobody looked.
CREATE VIEW inv_59_wake_ignored AS
SELECT w.id, w.kind, w.subject
FROM public.wake AS w, param AS p
WHERE p.k = 'reap_grace'
  AND w.not_before < now() - p.v
  AND (w.kind <> 'r' OR NOT EXISTS (SELECT FROM public.open_run AS o WHERE o.run_id = w.subject AND o.state = 'queued'));
COMMENT ON VIEW inv_59_wake_ignored IS 'Q';

-- What waits for no executor says what for, and nothing is waited for in vain.
CREATE VIEW inv_61_waits_for_nothing AS
SELECT t.run_id, t.number, t.reason
FROM public.task AS t
WHERE t.run_id >= low()
  AND t.state = 'waiting'
  AND (t.reason = 'wait' AND t.wake_at IS NULL AND NOT EXISTS (SELECT FROM public.http_wait AS h WHERE h.run_id = t.run_id AND h.number = t.number)
    OR t.reason = 'approval' AND NOT EXISTS (SELECT FROM public.approval AS p WHERE p.run_id = t.run_id AND p.number = t.number AND p.closed_at IS NULL)
    OR t.reason = 'child' AND NOT EXISTS (SELECT FROM public.child_run AS c WHERE c.parent_run_id = t.run_id AND c.parent_number = t.number AND c.settled_at IS NULL))
UNION ALL
SELECT w.run_id, w.number, w.reason
FROM (
    SELECT p.run_id, p.number, 'approval' AS reason FROM public.approval AS p WHERE p.closed_at IS NULL
    UNION ALL
    SELECT c.parent_run_id, c.parent_number, 'child' FROM public.child_run AS c WHERE c.settled_at IS NULL
    UNION ALL
    SELECT h.run_id, h.number, 'wait' FROM public.http_wait AS h
) AS w
LEFT JOIN public.task AS t ON t.run_id = w.run_id AND t.number = w.number
WHERE w.run_id >= low() AND (t.state, t.reason) IS DISTINCT FROM ('waiting', w.reason);

-- What was waited for has come, and nobody looked.
CREATE VIEW inv_62_answer_ignored AS
SELECT a.run_id, a.number, a.what
FROM param AS g
CROSS JOIN LATERAL (
    SELECT p.run_id, p.number, 'approval' AS what FROM public.approval AS p WHERE p.closed_at IS NULL AND least(p.decided_at, p.deadline_at) < now() - g.v
    UNION ALL
    SELECT c.parent_run_id, c.parent_number, 'child'
    FROM public.child_run AS c
    LEFT JOIN public.run AS r ON r.id = c.run_id
    WHERE c.settled_at IS NULL AND (r.ended_at < now() - g.v OR c.run_id IS NULL AND c.asked_at < now() - g.v)
    UNION ALL
    SELECT h.run_id, h.number, 'wait' FROM public.http_wait AS h WHERE h.ended_at < now() - g.v
    UNION ALL
    SELECT f.upstream_run_id, 0, 'trigger' FROM public.follow_up AS f WHERE f.run_id IS NULL AND f.asked_at < now() - g.v
    UNION ALL
    SELECT t.run_id, t.number, 'wait' FROM task AS t WHERE t.state = 'waiting' AND t.reason = 'wait' AND least(t.wake_at, t.deadline_at) < now() - g.v
) AS a
WHERE g.k = 'reap_grace';
COMMENT ON VIEW inv_62_answer_ignored IS 'Q';

-- A slow look at all of them: the name of each view and how many rows it has.
CREATE FUNCTION report() RETURNS TABLE (inv text, bad bigint)
LANGUAGE plpgsql STABLE SET search_path = inv, public AS $$
BEGIN
    FOR inv IN SELECT v.viewname FROM pg_views AS v WHERE v.schemaname = 'inv' AND v.viewname LIKE 'inv\_%' ORDER BY 1 LOOP
        EXECUTE format('SELECT count(*) FROM inv.%I', inv) INTO bad;
        RETURN NEXT;
    END LOOP;
END $$;
