-- +goose Up
-- How things are now: the rows of history put together with the attempts that are alive. For pages
-- and for checks; no loop reads them.
SET LOCAL lock_timeout = '2s';

-- task_now adds the state 'running': a task is running while it has a row in live.
CREATE VIEW task_now AS
SELECT
    t.run_id,
    t.number,
    t.name,
    t.number / 16384 AS ordinal,
    t.number % 16384 - 1 AS item_index,         -- -1: the task itself
    t.item,
    CASE WHEN l.run_id IS NULL THEN t.state ELSE 'running' END AS state,
    CASE WHEN l.run_id IS NULL THEN t.reason ELSE coalesce(l.stop_reason, '') END AS reason,
    CASE WHEN l.run_id IS NULL THEN t.detail ELSE coalesce(l.remote_detail, '') END AS detail,
    coalesce(l.attempt, t.attempt) AS attempt,  -- the last one there was
    coalesce(l.failures, t.failures) AS failures,
    coalesce(l.losses, t.losses) AS losses,
    coalesce(l.handbacks, t.handbacks) AS handbacks,
    t.due_at,
    t.ready_at,
    t.wake_at,
    t.ended_at,
    t.outputs,
    t.items,
    t.released,
    t.unfinished,
    t.ok,
    t.failed,
    t.canceled,
    t.skipped,
    l.state AS live_state,
    l.executor AS live_executor,
    l.claimed_at AS live_claimed_at,
    l.started_at AS live_started_at,
    l.stop_requested_at AS live_stop_requested_at
FROM task AS t
LEFT JOIN live AS l ON l.run_id = t.run_id AND l.number = t.number;

-- attempt_now is every attempt there was and is: ended_at is NULL while it lives.
CREATE VIEW attempt_now AS
SELECT
    l.run_id,
    l.number,
    l.attempt,
    l.executor,
    l.lease_token,
    l.state,
    coalesce(l.stop_reason, '') AS reason,
    coalesce(l.remote_detail, '') AS detail,
    NULL::integer AS exit_code,
    NULL::text AS signal,
    l.ready_at,
    l.claimed_at,
    l.started_at,
    NULL::timestamptz AS ended_at,
    NULL::bigint AS cpu_ms,
    NULL::bigint AS max_rss,
    NULL::jsonb AS outputs,
    NULL::text AS summary,
    l.log_seen,
    l.log_stored,
    l.log_cut_at,
    l.target,
    l.remote_name,
    l.handle
FROM live AS l
UNION ALL
SELECT
    a.run_id,
    a.number,
    a.attempt,
    a.executor,
    a.lease_token,
    a.state,
    a.reason,
    a.detail,
    a.exit_code,
    a.signal,
    a.ready_at,
    a.claimed_at,
    a.started_at,
    a.ended_at,
    a.cpu_ms,
    a.max_rss,
    a.outputs,
    a.summary,
    a.log_seen,
    a.log_stored,
    a.log_cut_at,
    a.target,
    a.remote_name,
    a.handle
FROM attempt AS a;

-- ---------------------------------------------------------------- the public, read-only API
-- Within syn_v1 columns are only ever added. Grant USAGE on the schema and SELECT on its views to
-- whoever reports from here. Filter large ones by run_id, or by created_at together with it.

CREATE SCHEMA syn_v1;

CREATE VIEW syn_v1.pipeline AS
SELECT
    p.id AS pipeline_id,
    p.namespace,
    p.name AS pipeline,
    v.number AS revision,
    p.description,
    p.owner,
    p.labels,
    s.name AS source,
    v.file,
    v.git_commit,
    p.created_at,
    p.removed_at,
    p.paused_at,
    p.paused_by,
    p.pause_reason,
    p.paused_until,
    t.last_state,
    t.last_ended_at,
    t.last_ok_at,
    t.last_failed_at,
    coalesce(t.failures_in_row, 0) AS failures_in_row
FROM public.pipeline AS p
JOIN public.source AS s ON s.id = p.source_id
LEFT JOIN public.revision AS v ON v.id = p.revision_id
LEFT JOIN public.pipeline_stat AS t ON t.pipeline_id = p.id;

CREATE VIEW syn_v1.tick AS
SELECT
    p.namespace,
    p.name AS pipeline,
    s.name AS schedule,
    t.fire_at,
    t.state,
    t.reason,
    t.until,
    t.ticks,
    t.run_id,
    t.detail,
    t.decided_at
FROM public.tick AS t
JOIN public.schedule AS s ON s.id = t.schedule_id
JOIN public.pipeline AS p ON p.id = s.pipeline_id;

CREATE VIEW syn_v1.run AS
SELECT
    r.id AS run_id,
    r.namespace,
    r.pipeline,
    r.number,
    v.number AS revision,
    r.trigger,
    r.state,
    r.reason,
    r.scheduled_at,
    r.interval_start,
    r.interval_end,
    r.params,
    r.outputs,
    r.note,
    r.requested_by,
    r.parent_run_id,
    r.created_at,
    r.started_at,
    r.ended_at,
    r.cancel_requested_at,
    r.canceled_by
FROM public.run AS r
JOIN public.revision AS v ON v.id = r.revision_id;

CREATE VIEW syn_v1.task AS
SELECT
    t.run_id,
    t.number,
    t.name AS task,
    t.item_index,
    t.item,
    t.state,
    t.reason,
    t.detail,
    t.attempt AS attempts,
    t.due_at,
    t.ready_at,
    t.live_claimed_at AS claimed_at,
    t.live_started_at AS started_at,
    t.ended_at,
    t.outputs,
    t.items
FROM public.task_now AS t;

CREATE VIEW syn_v1.attempt AS
SELECT
    a.run_id,
    a.number,
    a.attempt,
    a.executor AS executor_id,
    e.name AS executor,
    e.host,
    a.state,
    a.reason,
    a.detail,
    a.exit_code,
    a.signal,
    a.ready_at,
    a.claimed_at,
    a.started_at,
    a.ended_at,
    a.cpu_ms,
    a.max_rss,
    a.outputs,
    a.summary,
    a.log_seen AS log_bytes,
    a.log_stored AS log_stored_bytes,
    a.target,
    a.remote_name
FROM public.attempt_now AS a
LEFT JOIN public.executor AS e ON e.id = a.executor;

CREATE VIEW syn_v1.executor AS
SELECT
    e.id AS executor_id,
    e.name AS executor,
    e.host,
    e.version,
    e.slots,
    e.labels,
    e.serves,
    CASE
        WHEN e.stopped_at IS NOT NULL THEN 'stopped'
        WHEN e.lease_until < now() THEN 'lost'
        WHEN e.draining_at IS NOT NULL THEN 'draining'
        ELSE 'alive'
    END AS state,
    e.lease_until,
    e.started_at,
    e.draining_at,
    e.stopped_at
FROM public.executor AS e;

-- +goose Down
-- There is no way back: migrations only go forward.
