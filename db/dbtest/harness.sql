-- What a fault test's witnesses saw, and the invariants that compare it with what the database says.
-- Never part of the product.
SET LOCAL search_path = inv, public;

-- From a program that is not ours.
CREATE TABLE public.h_expected_tick (
    schedule_id bigint NOT NULL,
    fire_at     timestamptz NOT NULL,
    PRIMARY KEY (schedule_id, fire_at)
);
-- What tasks really did: start, commit, done, end, each with the names it was given.
CREATE TABLE public.h_effect (
    run_id     bigint NOT NULL,
    task       text NOT NULL,
    item_index integer NOT NULL DEFAULT -1,
    attempt    integer NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    what       text NOT NULL CHECK (what IN ('start', 'commit', 'done', 'end'))
);
CREATE INDEX ON public.h_effect (run_id, task, item_index, attempt);
-- The ledger of a remote service; name is the attempt's remote_name.
CREATE TABLE public.h_remote (
    name         text NOT NULL,
    remote_id    text NOT NULL,
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz
);
-- Faults that were made: scheduler, database, executor, target.
CREATE TABLE public.h_outage (
    what    text NOT NULL,
    from_at timestamptz NOT NULL,
    to_at   timestamptz NOT NULL
);
CREATE TABLE public.h_canary (secret text NOT NULL);

CREATE OR REPLACE VIEW param (k, v) AS
VALUES
    ('window', interval '100 years'),
    ('reap_grace', interval '25 s'),
    ('late_slo', interval '5 s'),
    ('early', interval '0 s'),
    ('cancel_grace', interval '30 s'),
    ('claim_slo', interval '10 s'),
    ('remove_grace', interval '60 s'),
    ('kill_lag', interval '1 s'),
    ('slack', interval '250 ms');

-- Effects with the number of the task they belong to.
CREATE VIEW effect AS
SELECT h.run_id, t.number, h.attempt, h.at, h.what
FROM public.h_effect AS h
LEFT JOIN public.task AS t ON t.run_id = h.run_id AND t.name = h.task AND t.number % 16384 = h.item_index + 1;

CREATE VIEW inv_03_tick_lost AS
SELECT e.schedule_id, e.fire_at
FROM public.h_expected_tick AS e
WHERE NOT EXISTS (
    SELECT FROM public.tick AS t
    WHERE t.schedule_id = e.schedule_id
      AND (t.fire_at = e.fire_at OR t.state IN ('missed', 'skipped') AND e.fire_at BETWEEN t.fire_at AND t.until)
);
COMMENT ON VIEW inv_03_tick_lost IS 'Q';

CREATE VIEW inv_04_tick_invented AS
SELECT t.schedule_id, t.fire_at
FROM public.tick AS t
WHERE EXISTS (SELECT FROM public.h_expected_tick AS x WHERE x.schedule_id = t.schedule_id)
  AND NOT EXISTS (SELECT FROM public.h_expected_tick AS x WHERE x.schedule_id = t.schedule_id AND x.fire_at = t.fire_at);

CREATE VIEW inv_07_fired_late AS
SELECT r.id, r.created_at - r.fire_at AS late
FROM run AS r, param AS p
WHERE p.k = 'late_slo'
  AND r.trigger = 'schedule'
  AND r.created_at - r.fire_at > p.v
  AND NOT EXISTS (
    SELECT FROM public.h_outage AS o
    WHERE tstzrange(o.from_at, o.to_at + p.v, '[]') && tstzrange(r.fire_at, r.created_at, '[]')
  );

-- none: 0 runs per outage; latest: 1; all: at most catchup_limit.
CREATE VIEW inv_08_catchup_exceeded AS
SELECT s.id, o.from_at, count(*) AS n
FROM param AS p, public.h_outage AS o, run AS r
JOIN public.schedule AS s ON s.id = r.schedule_id
WHERE p.k = 'late_slo'
  AND o.what = 'scheduler'
  AND r.trigger = 'schedule'
  AND r.fire_at >= o.from_at
  AND r.fire_at < o.to_at - p.v
  AND r.created_at >= o.to_at
GROUP BY 1, 2, s.catchup, s.catchup_limit
HAVING count(*) > CASE s.catchup WHEN 'none' THEN 0 WHEN 'latest' THEN 1 ELSE s.catchup_limit END;

CREATE VIEW inv_36_two_at_once AS
SELECT a.run_id, a.number, a.attempt, b.attempt AS other
FROM effect AS a
JOIN effect AS b ON b.run_id = a.run_id AND b.number = a.number AND b.attempt <> a.attempt AND b.at >= a.at AND b.what = 'start'
WHERE a.what = 'start'
  AND b.at < coalesce(
    (SELECT min(e.at) FROM effect AS e WHERE e.run_id = a.run_id AND e.number = a.number AND e.attempt = a.attempt AND e.what = 'end'),
    'infinity');

CREATE VIEW inv_37_effect_of_unknown AS
SELECT h.run_id, h.number, h.attempt, h.what
FROM effect AS h
WHERE NOT EXISTS (SELECT FROM public.attempt_now AS a WHERE a.run_id = h.run_id AND a.number = h.number AND a.attempt = h.attempt);

-- Said that it succeeded and did not finish, or did its work twice.
CREATE VIEW inv_38_success_without_effect AS
SELECT a.run_id, a.number, a.attempt
FROM attempt AS a
WHERE a.state = 'succeeded'
  AND EXISTS (SELECT FROM effect AS h WHERE h.run_id = a.run_id AND h.number = a.number)
  AND NOT EXISTS (SELECT FROM effect AS h WHERE h.run_id = a.run_id AND h.number = a.number AND h.attempt = a.attempt AND h.what = 'done')
UNION
SELECT h.run_id, h.number, h.attempt
FROM effect AS h
WHERE h.what = 'commit'
GROUP BY 1, 2, 3
HAVING count(*) > 1;

-- Two jobs for one attempt, or a job that nobody tracks.
CREATE VIEW inv_39_remote_doubled AS
SELECT h.name
FROM public.h_remote AS h
GROUP BY 1
HAVING count(DISTINCT h.remote_id) > 1
UNION ALL
SELECT h.name
FROM public.h_remote AS h
WHERE NOT EXISTS (SELECT FROM attempt AS a WHERE a.remote_name = h.name);

-- A job exists; its attempt closed without knowing it and without saying lost.
CREATE VIEW inv_40_remote_orphan AS
SELECT a.run_id, a.number, a.attempt
FROM attempt AS a
JOIN public.h_remote AS h ON h.name = a.remote_name
WHERE a.ended_at IS NOT NULL AND a.state <> 'lost' AND a.handle ->> 'id' IS DISTINCT FROM h.remote_id;
COMMENT ON VIEW inv_40_remote_orphan IS 'Q';

-- Joined per attempt, so that a value cut across two chunks is found.
CREATE VIEW inv_47_secret_in_log AS
SELECT x.run_id, x.number, x.attempt, left(c.secret, 4) || '…' AS which
FROM public.h_canary AS c, (
    SELECT l.run_id, l.number, l.attempt, string_agg(l.data, ''::bytea ORDER BY l.seq) AS body
    FROM public.log_chunk AS l
    GROUP BY 1, 2, 3
) AS x
WHERE position(convert_to(c.secret, 'UTF8') IN x.body) > 0
   OR position(convert_to(encode(convert_to(c.secret, 'UTF8'), 'base64'), 'UTF8') IN x.body) > 0;

-- A terminal state without proof of death.
CREATE VIEW inv_54_remote_outlives_attempt AS
SELECT a.run_id, a.number, a.attempt
FROM param AS p, attempt AS a
JOIN public.h_remote AS h ON h.name = a.remote_name
WHERE p.k = 'kill_lag'
  AND a.ended_at IS NOT NULL
  AND a.reason <> 'lost_submit'
  AND coalesce(h.ended_at, 'infinity') > a.ended_at + p.v;

CREATE VIEW inv_55_secret_in_row AS
SELECT x.kind, x.id
FROM public.h_canary AS c, (
    SELECT 'run' AS kind, r.id, to_jsonb(r)::text AS body FROM public.run AS r
    UNION ALL
    SELECT 'task', t.run_id, to_jsonb(t)::text FROM public.task AS t
    UNION ALL
    SELECT 'attempt', a.run_id, to_jsonb(a)::text FROM public.attempt_now AS a
    UNION ALL
    SELECT 'event', e.id, to_jsonb(e)::text FROM public.event AS e
    UNION ALL
    SELECT 'revision', v.id, to_jsonb(v)::text FROM public.revision AS v
) AS x
WHERE position(c.secret IN x.body) > 0;

-- An end is stored when it is reported. While the database was away an executor used slots again whose
-- ends it could not report yet.
CREATE OR REPLACE VIEW inv_43_executor_over_slots AS
SELECT x.id, x.at, x.n
FROM (
    SELECT q.id, q.slots, e.at, sum(e.d) OVER (PARTITION BY q.id ORDER BY e.at, e.d ROWS UNBOUNDED PRECEDING) AS n
    FROM public.executor AS q
    JOIN attempt AS a ON a.executor = q.id AND a.target IS NULL
    JOIN param AS p ON p.k = 'slack'
    CROSS JOIN LATERAL (VALUES (least(a.started_at + p.v, a.ended_at), 1), (a.ended_at, -1)) AS e (at, d)
    WHERE a.started_at IS NOT NULL AND e.at IS NOT NULL
) AS x
WHERE x.n > x.slots
  AND NOT EXISTS (
    SELECT FROM public.h_outage AS o
    WHERE o.what = 'database' AND x.at BETWEEN o.from_at AND o.to_at
  );
