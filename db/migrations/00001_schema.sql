-- +goose Up
-- The schema of Synthesizer. Two kinds of tables:
--
--   hot      schedule, wake, open_run, waiter, ready, live, executor: narrow, small, never
--            partitioned; every loop works on these and on nothing else.
--   history  tick, run, task, attempt, log_chunk, event: partitioned by time, read by key.
--
-- Rules that hold everywhere:
--   * Lock order: executor, schedule, pipeline, run_group, pool, open_run, waiter, ready, live, task;
--     several rows of one kind in order of id, locked before they are written.
--   * Rows of wake, event and log_chunk are only inserted by whoever leaves one.
--   * A run's id carries its day (run_day × 2^38 + n), so run, task and attempt are partitioned by
--     range of run_id, and every look-up by run touches one partition.
--   * A task's number is ordinal × 16384, an item's that + index + 1.
--   * Only the database's clock decides.
SET LOCAL lock_timeout = '2s';

-- ---------------------------------------------------------------- the installation

CREATE TABLE installation (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    -- A restore from a backup draws a new epoch; whoever still holds the old one gives up.
    epoch      uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Programs built for an older schema than this must not run. A migration that takes something
    -- away raises it; one that only adds leaves it, so that the release before goes on working.
    oldest_schema  bigint NOT NULL DEFAULT 1,
    tzdata_version text NOT NULL DEFAULT ''     -- of the time zones that next_at was computed with
);
INSERT INTO installation DEFAULT VALUES;

-- What migrate makes anew whenever its text has changed: rights, and views without a promise.
CREATE TABLE made (
    name    text PRIMARY KEY,
    hash    text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

-- The day that ids are counted from. Days fit 15 bits: until 2109.
-- +goose StatementBegin
CREATE FUNCTION run_day(at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (at AT TIME ZONE 'UTC')::date - date '2020-01-01';
-- +goose StatementEnd

-- No cache: runs of one group start in the order in which their ids were drawn.
CREATE SEQUENCE run_seq AS bigint MAXVALUE 274877906943 CYCLE;

-- next_run_id draws the id of a run created now.
-- +goose StatementBegin
CREATE FUNCTION next_run_id() RETURNS bigint
LANGUAGE sql VOLATILE
RETURN (run_day(now()) << 38) + nextval('run_seq');
-- +goose StatementEnd

-- ---------------------------------------------------------------- definitions

CREATE TABLE source (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name <> '' AND length(name) <= 200),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pipeline (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace     text NOT NULL,
    name          text NOT NULL,
    source_id     bigint NOT NULL REFERENCES source,
    revision_id   bigint,                       -- the newest; NULL only inside the registering transaction
    description   text NOT NULL DEFAULT '',
    owner         text NOT NULL DEFAULT '',
    labels        jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    removed_at    timestamptz,
    paused_at     timestamptz,
    paused_by     text,
    pause_reason  text,
    paused_until  timestamptz,
    frozen_at     timestamptz,
    frozen_by     text,
    freeze_reason text,
    frozen_until  timestamptz,
    CONSTRAINT pipeline_name_key UNIQUE (namespace, name),
    CONSTRAINT pipeline_paused CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
    CONSTRAINT pipeline_frozen CHECK ((frozen_at IS NULL) = (frozen_by IS NULL))
);
CREATE INDEX pipeline_source ON pipeline (source_id);
CREATE INDEX pipeline_paused_until ON pipeline (paused_until) WHERE paused_until IS NOT NULL;

-- The last number given to a run of a pipeline, apart from the pipeline so that drawing a number
-- blocks nobody who reads the definition.
CREATE TABLE pipeline_counter (
    pipeline_id bigint PRIMARY KEY REFERENCES pipeline,
    last        bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE revision (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline_id  bigint NOT NULL REFERENCES pipeline,
    number       integer NOT NULL CHECK (number > 0),
    content_hash bytea NOT NULL,
    file         text NOT NULL,
    line         integer NOT NULL DEFAULT 1,
    source_text  text NOT NULL,
    spec         jsonb NOT NULL,                -- {"tasks": {name: {"ordinal": …, "needs": […]}}, …}
    git_commit   text NOT NULL DEFAULT '',
    author       text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT revision_number_key UNIQUE (pipeline_id, number)
);
ALTER TABLE pipeline ADD CONSTRAINT pipeline_revision FOREIGN KEY (revision_id) REFERENCES revision DEFERRABLE INITIALLY DEFERRED;

-- A revision never changes.
-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows never change', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER revision_immutable BEFORE UPDATE ON revision FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Hot: one narrow row per schedule. All that describes it is in the revision.
CREATE TABLE schedule (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline_id    bigint NOT NULL REFERENCES pipeline,
    revision_id    bigint NOT NULL REFERENCES revision,
    name           text NOT NULL,
    catchup        text NOT NULL DEFAULT 'latest' CHECK (catchup IN ('latest', 'none', 'all')),
    catchup_limit  integer NOT NULL DEFAULT 1000 CHECK (catchup_limit BETWEEN 1 AND 1000),
    -- The first tick that is not decided yet. It only moves forward. NULL: never again.
    next_at        timestamptz,
    ended_at       timestamptz,                 -- left the file, or its pipeline was removed
    broken         text,                        -- why the scheduler cannot read it, for people
    CONSTRAINT schedule_name_key UNIQUE (pipeline_id, name)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX schedule_due ON schedule (next_at) WHERE ended_at IS NULL AND next_at IS NOT NULL;

-- What runs share by concurrency: either a pipeline's own group (pipeline_id set) or a named one.
-- The row exists to be locked: whoever decides who of a group may run holds it.
CREATE TABLE run_group (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace   text NOT NULL,
    pipeline_id bigint REFERENCES pipeline,
    name        text,
    CONSTRAINT run_group_one CHECK ((pipeline_id IS NULL) <> (name IS NULL)),
    CONSTRAINT run_group_pipeline_key UNIQUE (pipeline_id),
    CONSTRAINT run_group_name_key UNIQUE (namespace, name)
);

CREATE TABLE pool (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace         text NOT NULL,
    name              text NOT NULL,
    source_id         bigint REFERENCES source,
    slots             integer NOT NULL CHECK (slots BETWEEN 1 AND 100000),
    reserve_scheduled integer NOT NULL DEFAULT 0 CHECK (reserve_scheduled >= 0 AND reserve_scheduled < slots),
    CONSTRAINT pool_name_key UNIQUE (namespace, name)
);

-- A set of labels that tasks ask for, or a target; small, written by register, read by executors.
CREATE TABLE lane (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    labels text[] NOT NULL DEFAULT '{}',        -- sorted
    target text NOT NULL DEFAULT '',            -- '' is local work
    CONSTRAINT lane_key UNIQUE (labels, target)
);
-- What asks for nothing runs anywhere: executors know this lane from the start.
INSERT INTO lane (labels) VALUES ('{}');

CREATE TABLE var (
    namespace  text NOT NULL,
    name       text NOT NULL,
    value      text NOT NULL,
    source_id  bigint REFERENCES source,        -- NULL: set by hand
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by text NOT NULL DEFAULT '',
    PRIMARY KEY (namespace, name)
);

-- Sealed with a key that the database never sees.
CREATE TABLE secret (
    namespace  text NOT NULL,
    name       text NOT NULL,
    version    integer NOT NULL CHECK (version > 0),
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    PRIMARY KEY (namespace, name, version)
);

-- ---------------------------------------------------------------- people and their keys

CREATE TABLE api_token (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (name <> ''),
    hash         bytea NOT NULL UNIQUE,         -- SHA-256 of 32 random bytes
    role         text NOT NULL CHECK (role IN ('viewer', 'operator', 'author', 'admin')),
    namespaces   text[] NOT NULL DEFAULT '{}',  -- empty: all
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL DEFAULT '',
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
) WITH (fillfactor = 80);

CREATE TABLE session (
    token  text PRIMARY KEY,
    data   bytea NOT NULL,
    expiry timestamptz NOT NULL
);
CREATE INDEX session_expiry ON session (expiry);

-- ---------------------------------------------------------------- executors and targets

-- Hot: one row per process, one heartbeat for all its attempts. Nothing that a heartbeat changes is indexed.
CREATE TABLE executor (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    host        text NOT NULL DEFAULT '',
    version     text NOT NULL DEFAULT '',
    slots       integer NOT NULL CHECK (slots >= 0),
    labels      text[] NOT NULL DEFAULT '{}',
    serves      text[] NOT NULL DEFAULT '{}',   -- LIKE patterns of targets
    beat        bigint NOT NULL DEFAULT 0,      -- grows with every renewal: the reaper's second witness
    lease_until timestamptz NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    draining_at timestamptz,
    drained_by  text,
    stopped_at  timestamptz
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE target (
    name            text PRIMARY KEY,
    kind            text NOT NULL,
    allows          jsonb NOT NULL DEFAULT '{}',
    max_in_flight   integer,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    unhealthy_since timestamptz,
    detail          text
);
CREATE TABLE target_shard (
    target      text NOT NULL REFERENCES target,
    shard       smallint NOT NULL,
    owner       uuid,
    epoch       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (target, shard)
) WITH (fillfactor = 50);

-- ---------------------------------------------------------------- hot: the work itself

-- The scheduler's inbox: "look at this subject again, not before that time". Insert-only for
-- those who leave one; the scheduler deletes what it has taken into account.
CREATE TABLE wake (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('r', 'p', 'g')),   -- run, pool, group
    subject    bigint NOT NULL,
    not_before timestamptz NOT NULL DEFAULT '-infinity',          -- '-infinity': now
    -- An end: which task of the run, and how it ended. It is counted down exactly once. Others that ended
    -- the same way in the same transaction stand beside it: a fan-out's ends come by the hundred, and rows
    -- with one key, written and deleted, cost more than all else about an end.
    number     integer,
    state      text,
    others     integer[],
    CONSTRAINT wake_end CHECK ((number IS NULL) = (state IS NULL) AND (number IS NULL OR kind = 'r')),
    CONSTRAINT wake_others CHECK (others IS NULL OR (number IS NOT NULL AND cardinality(others) > 0))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX wake_due ON wake (kind, not_before, id);
CREATE INDEX wake_subject ON wake (kind, subject, not_before);

-- One row per run that has not ended.
CREATE TABLE open_run (
    run_id              bigint PRIMARY KEY,
    pipeline_id         bigint NOT NULL,
    group_id            bigint NOT NULL,
    revision_id         bigint NOT NULL,
    state               text NOT NULL CHECK (state IN ('queued', 'running')),
    phase               text NOT NULL DEFAULT 'tasks' CHECK (phase IN ('tasks', 'finally')),
    from_tick           boolean NOT NULL DEFAULT false,
    counted             boolean NOT NULL DEFAULT true,   -- counts towards max_queued
    created_at          timestamptz NOT NULL DEFAULT now(),
    admitted_at         timestamptz,
    deadline_at         timestamptz,                     -- the run's time-out
    timed_out_at        timestamptz,
    cancel_requested_at timestamptz,
    cancel_again_at     timestamptz,                     -- a second cancel: finally too
    -- Tasks (not items) of the present phase that have not ended. The other three count ends of the
    -- phase tasks and stand still during finally, which reads them.
    unfinished          integer NOT NULL DEFAULT 0 CHECK (unfinished >= 0),
    failed              integer NOT NULL DEFAULT 0,
    canceled            integer NOT NULL DEFAULT 0,
    skipped             integer NOT NULL DEFAULT 0,
    rows                integer NOT NULL DEFAULT 0,      -- tasks and items made so far
    reason              text NOT NULL DEFAULT '',        -- the first reason that came true
    CONSTRAINT open_run_admitted CHECK ((state = 'queued') = (admitted_at IS NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
-- One column each: with run_id behind it, a plan made while the table was empty looks runs up along these.
CREATE INDEX open_run_group ON open_run (group_id);
CREATE INDEX open_run_pipeline ON open_run (pipeline_id);
CREATE INDEX open_run_deadline ON open_run (deadline_at) WHERE deadline_at IS NOT NULL;

-- Tasks that only a pool holds back, in the pool's order.
CREATE TABLE waiter (
    run_id         bigint NOT NULL,
    number         integer NOT NULL,
    -- No foreign key: its check would lock the pool after the run, against the order of locks.
    pool_id        bigint NOT NULL,
    rank           bigint NOT NULL,
    slots          integer NOT NULL CHECK (slots > 0),
    lane           integer NOT NULL,
    pipeline_id    bigint NOT NULL,
    revision_id    bigint NOT NULL,
    attempt        integer NOT NULL,
    failures       smallint NOT NULL DEFAULT 0,
    losses         smallint NOT NULL DEFAULT 0,
    handbacks      smallint NOT NULL DEFAULT 0,
    last_loser     uuid,
    losers         smallint NOT NULL DEFAULT 0,          -- how many different executors died under it, 2 at most
    since          timestamptz NOT NULL DEFAULT now(),
    queue_deadline timestamptz,
    PRIMARY KEY (run_id, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX waiter_order ON waiter (pool_id, rank);
CREATE INDEX waiter_deadline ON waiter (queue_deadline) WHERE queue_deadline IS NOT NULL;

-- Tasks that wait for nothing but a free executor. Only the scheduler writes here.
CREATE TABLE ready (
    run_id         bigint NOT NULL,
    number         integer NOT NULL,
    lane           integer NOT NULL,
    rank           bigint NOT NULL,                      -- ready time in ms, minus a minute per priority
    pipeline_id    bigint NOT NULL,
    revision_id    bigint NOT NULL,
    attempt        integer NOT NULL CHECK (attempt > 0), -- the number of the attempt to come
    failures       smallint NOT NULL DEFAULT 0,
    losses         smallint NOT NULL DEFAULT 0,
    handbacks      smallint NOT NULL DEFAULT 0,
    last_loser     uuid,
    losers         smallint NOT NULL DEFAULT 0,
    pool_id        bigint,
    slots          integer NOT NULL DEFAULT 0,
    ready_at       timestamptz NOT NULL DEFAULT now(),
    queue_deadline timestamptz,
    PRIMARY KEY (run_id, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX ready_order ON ready (lane, rank);
CREATE INDEX ready_pool ON ready (pool_id) WHERE pool_id IS NOT NULL;
CREATE INDEX ready_deadline ON ready (queue_deadline) WHERE queue_deadline IS NOT NULL;

-- The attempt that is alive: at most one per task. Everything that changes while it lives is here.
-- No index names a column that changes, so a change is a HOT update.
CREATE TABLE live (
    run_id            bigint NOT NULL,
    number            integer NOT NULL,
    attempt           integer NOT NULL,
    executor          uuid NOT NULL,
    lease_token       uuid NOT NULL,
    state             text NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'running', 'submitting', 'remote', 'stopping')),
    lane              integer NOT NULL,
    pipeline_id       bigint NOT NULL,
    revision_id       bigint NOT NULL,
    failures          smallint NOT NULL DEFAULT 0,
    losses            smallint NOT NULL DEFAULT 0,
    handbacks         smallint NOT NULL DEFAULT 0,
    last_loser        uuid,
    losers            smallint NOT NULL DEFAULT 0,
    pool_id           bigint,
    slots             integer NOT NULL DEFAULT 0,
    ready_at          timestamptz NOT NULL,
    claimed_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    -- Stopping: asked by cancel, time-out, fail_fast; the holder acts and proves.
    stop_reason       text,
    stop_requested_at timestamptz,
    stop_sent_at      timestamptz,
    kill_at           timestamptz,
    -- The log so far.
    log_seen          bigint NOT NULL DEFAULT 0,
    log_stored        bigint NOT NULL DEFAULT 0,
    log_cut_at        bigint,
    -- Remote work.
    target            text,
    shard             smallint,
    remote_name       text,
    handle            jsonb,
    submit_owner      uuid,
    submit_lease      timestamptz,
    submit_tries      integer NOT NULL DEFAULT 0,
    submitted_at      timestamptz,
    start_by          timestamptz,
    deadline_at       timestamptz,
    wake_at           timestamptz,
    remote_phase      text,
    remote_detail     text,
    gone_at           timestamptz,
    PRIMARY KEY (run_id, number),               -- and no index of random tokens: they guard a row found by its key
    CONSTRAINT live_started CHECK (state = 'claimed' OR state = 'stopping' OR target IS NOT NULL OR started_at IS NOT NULL),
    CONSTRAINT live_stop CHECK ((stop_reason IS NULL) = (stop_requested_at IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX live_executor ON live (executor);
CREATE INDEX live_pool ON live (pool_id) WHERE pool_id IS NOT NULL;
CREATE INDEX live_target ON live (target, shard) WHERE target IS NOT NULL;

-- ---------------------------------------------------------------- history

-- The ledger: every due tick is decided once, and the decision is a row that never changes.
CREATE TABLE tick (
    schedule_id bigint NOT NULL,
    fire_at     timestamptz NOT NULL,
    state       text NOT NULL CHECK (state IN ('run', 'skipped', 'missed', 'failed')),
    reason      text NOT NULL DEFAULT '',
    until       timestamptz,                    -- a stretch: the last tick it stands for
    ticks       bigint NOT NULL DEFAULT 1 CHECK (ticks > 0), -- how many ticks it stands for
    run_id      bigint,
    detail      text NOT NULL DEFAULT '',
    decided_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schedule_id, fire_at),
    CONSTRAINT tick_run CHECK ((state = 'run') = (run_id IS NOT NULL)),
    CONSTRAINT tick_reason CHECK (state NOT IN ('skipped', 'failed') OR reason <> ''),
    CONSTRAINT tick_until CHECK (until IS NULL OR (until >= fire_at AND state IN ('missed', 'skipped')))
) PARTITION BY RANGE (fire_at);

CREATE TABLE run (
    id                  bigint NOT NULL,
    pipeline_id         bigint NOT NULL,
    revision_id         bigint NOT NULL,
    number              bigint NOT NULL,
    namespace           text NOT NULL,
    pipeline            text NOT NULL,
    trigger             text NOT NULL CHECK (trigger IN ('schedule', 'manual', 'webhook', 'pipeline', 'dataset', 'backfill', 'rerun')),
    schedule_id         bigint,
    fire_at             timestamptz,
    scheduled_at        timestamptz NOT NULL,
    interval_start      timestamptz NOT NULL,
    interval_end        timestamptz NOT NULL,
    params              jsonb NOT NULL DEFAULT '{}',
    vars                jsonb NOT NULL DEFAULT '{}',
    note                text NOT NULL DEFAULT '',
    requested_by        text NOT NULL DEFAULT '',
    idempotency_key     text,
    parent_run_id       bigint,
    parent_number       integer,
    backfill_id         bigint,
    group_id            bigint NOT NULL,
    concurrency_group   text NOT NULL DEFAULT '',        -- as people see it; '' is the pipeline's own
    concurrency_limit   integer NOT NULL DEFAULT 1,
    state               text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'skipped')),
    reason              text NOT NULL DEFAULT '',
    -- The list of failed runs has an index; were its predicate the state itself, every change of
    -- state would write all indexes again.
    failed              boolean NOT NULL GENERATED ALWAYS AS (state = 'failed') STORED,
    outputs             jsonb NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    ended_at            timestamptz,
    cancel_requested_at timestamptz,
    canceled_by         text,
    cancel_reason       text,
    PRIMARY KEY (id),
    CONSTRAINT run_ended CHECK ((state IN ('succeeded', 'failed', 'canceled', 'skipped')) = (ended_at IS NOT NULL)),
    CONSTRAINT run_started CHECK (state <> 'running' OR started_at IS NOT NULL),
    CONSTRAINT run_tick CHECK ((trigger = 'schedule') = (schedule_id IS NOT NULL AND fire_at IS NOT NULL)),
    CONSTRAINT run_interval CHECK (interval_start <= interval_end)
) PARTITION BY RANGE (id);
CREATE INDEX run_pipeline ON run (pipeline_id, number DESC);
CREATE INDEX run_failed ON run (id DESC) WHERE failed;

-- task.state holds waiting, ready and the ends; running is a row in live. The row of a fan-out
-- counts its items. No index names a column that changes, so updates stay HOT.
CREATE TABLE task (
    run_id         bigint NOT NULL,
    number         integer NOT NULL,
    name           text NOT NULL,
    item           jsonb,                       -- an item's value
    state          text NOT NULL CHECK (state IN ('waiting', 'ready', 'succeeded', 'failed', 'canceled', 'skipped')),
    reason         text NOT NULL DEFAULT '',
    detail         text NOT NULL DEFAULT '',    -- one sentence for people
    needs_left     smallint NOT NULL DEFAULT 0 CHECK (needs_left >= 0),
    trail          smallint NOT NULL DEFAULT 0, -- bits: 1 a task before this one failed, 2 was canceled, 4 a direct need did not succeed, 8 one did
    attempt        integer NOT NULL DEFAULT 0,  -- number of the last attempt that ended
    failures       smallint NOT NULL DEFAULT 0, -- budgets spent
    losses         smallint NOT NULL DEFAULT 0,
    handbacks      smallint NOT NULL DEFAULT 0,
    last_loser     uuid,
    losers         smallint NOT NULL DEFAULT 0,
    ready_at       timestamptz,                 -- when it was last released
    due_at         timestamptz,                 -- when its needs had ended: the queue time-out counts from here
    wake_at        timestamptz,                 -- back-off, wait
    ended_at       timestamptz,
    outputs        jsonb,                       -- of the successful attempt
    -- A fan-out's own row.
    items          integer,
    released       integer,
    unfinished     integer CHECK (unfinished >= 0),
    ok             integer,
    failed         integer,
    canceled       integer,
    skipped        integer,
    PRIMARY KEY (run_id, number),
    CONSTRAINT task_ended CHECK ((state IN ('succeeded', 'failed', 'canceled', 'skipped')) = (ended_at IS NOT NULL)),
    CONSTRAINT task_ready CHECK (state <> 'ready' OR ready_at IS NOT NULL),
    CONSTRAINT task_fan CHECK ((items IS NULL) = (released IS NULL) AND (items IS NULL) = (unfinished IS NULL)
        AND (items IS NULL) = (ok IS NULL) AND (items IS NULL) = (failed IS NULL) AND (items IS NULL) = (canceled IS NULL) AND (items IS NULL) = (skipped IS NULL))
) PARTITION BY RANGE (run_id);

-- A finished attempt: written once, never changed. That its times are in order is not a constraint:
-- when the database's clock goes back, an attempt must still be able to end.
CREATE TABLE attempt (
    run_id      bigint NOT NULL,
    number      integer NOT NULL,
    attempt     integer NOT NULL,
    executor    uuid NOT NULL,
    lease_token uuid NOT NULL,
    state       text NOT NULL CHECK (state IN ('succeeded', 'failed', 'timed_out', 'canceled', 'lost')),
    reason      text NOT NULL DEFAULT '',
    detail      text NOT NULL DEFAULT '',
    exit_code   integer,
    signal      text,
    ready_at    timestamptz NOT NULL,
    claimed_at  timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz NOT NULL,
    cpu_ms      bigint,
    max_rss     bigint,
    outputs     jsonb,                          -- as written, declared or not
    summary     text,
    log_seen    bigint NOT NULL DEFAULT 0,
    log_stored  bigint NOT NULL DEFAULT 0,
    log_cut_at  bigint,
    target      text,
    remote_name text,
    handle      jsonb,
    PRIMARY KEY (run_id, number, attempt)
) PARTITION BY RANGE (run_id);

-- Bytes as they came, numbered per attempt. Partitioned by the day of the claim (UTC).
CREATE TABLE log_chunk (
    day     date NOT NULL,
    run_id  bigint NOT NULL,
    number  integer NOT NULL,
    attempt integer NOT NULL,
    seq     integer NOT NULL CHECK (seq >= 0),
    at_byte bigint NOT NULL CHECK (at_byte >= 0),
    at      timestamptz NOT NULL DEFAULT now(),
    data    bytea NOT NULL,
    marks   bytea NOT NULL DEFAULT '',          -- where stdout and stderr alternate, and when
    PRIMARY KEY (day, run_id, number, attempt, seq)
) PARTITION BY RANGE (day);

-- What happened: transitions of runs, ends of tasks and attempts, what people did. Append-only.
-- Readers page by xid below pg_snapshot_xmin, never by id alone: ids commit out of order.
CREATE TABLE event (
    id          bigint GENERATED BY DEFAULT AS IDENTITY,
    day         date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    at          timestamptz NOT NULL DEFAULT now(),
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind        text NOT NULL,                  -- run, task, attempt, pipeline, source, token, executor, pool …
    entity_id   bigint,                         -- the run, the pipeline, …
    pipeline_id bigint,                         -- whose it is: who may see it
    namespace   text,                           -- where no pipeline says it
    number      integer,                        -- of a task
    attempt     integer,
    from_state  text,
    to_state    text,
    reason      text NOT NULL DEFAULT '',
    cause       text NOT NULL DEFAULT '',       -- rerun, mark, final …
    actor       text NOT NULL DEFAULT '',
    token       uuid,                           -- whose lease wrote it
    detail      jsonb,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE INDEX event_entity ON event (kind, entity_id, id);
CREATE INDEX event_xid ON event (xid, id);

-- ---------------------------------------------------------------- what partitions cannot keep unique

CREATE TABLE request_key (
    scope        text NOT NULL,                 -- 'pipeline:17', 'register', …
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    content_hash bytea NOT NULL,
    run_id       bigint,
    answer       jsonb,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX request_key_age ON request_key (created_at);

-- Objects at remote systems that still have to be removed.
CREATE TABLE remote_object (
    run_id      bigint NOT NULL,
    number      integer NOT NULL,
    attempt     integer NOT NULL,
    target      text NOT NULL,
    shard       smallint NOT NULL,
    remote_name text NOT NULL,
    handle      jsonb,
    evidence    jsonb,
    ended_at    timestamptz,
    removed_at  timestamptz,
    PRIMARY KEY (run_id, number, attempt)
);
CREATE INDEX remote_object_due ON remote_object (target, shard, ended_at) WHERE removed_at IS NULL AND ended_at IS NOT NULL;

-- ---------------------------------------------------------------- rollups

-- The newest of each pipeline, written with the batch that starts and ends runs.
CREATE TABLE pipeline_stat (
    pipeline_id     bigint PRIMARY KEY REFERENCES pipeline,
    last_run_id     bigint,                     -- the newest that ended
    last_state      text,
    last_ended_at   timestamptz,
    last_ok_at      timestamptz,
    last_failed_at  timestamptz,
    failures_in_row integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE run_hour (
    hour        timestamptz NOT NULL,
    pipeline_id bigint NOT NULL,
    state       text NOT NULL,
    runs        bigint NOT NULL,
    seconds     double precision NOT NULL,
    PRIMARY KEY (hour, pipeline_id, state)
) WITH (fillfactor = 70);

-- What scheduler loops count as defects or losses of time, for /metrics and doctor over all replicas.
CREATE TABLE repair (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    kind   text NOT NULL,
    run_id bigint,
    detail text NOT NULL DEFAULT ''
);

-- ---------------------------------------------------------------- partitions

-- ensure_partitions makes the partitions of every history table from the day before @today to
-- @today + @ahead and returns how many it made. LIKE and ATTACH take no exclusive lock on the
-- parent; it may run anywhere, any number of times, side by side (an advisory lock lets one work at
-- a time). Days that nobody was there for get none, but for tick: a tick may be decided long
-- after it was due, so the partitions of tick cover all time up to the last one without a hole.
-- +goose StatementBegin
CREATE FUNCTION ensure_partitions(today date, ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    d      date;
    part   text;
    lo     text;
    hi     text;
    newest date;
    made   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('synthesizer partitions'));
    FOREACH parent IN ARRAY ARRAY['tick', 'run', 'task', 'attempt', 'log_chunk', 'event'] LOOP
        -- A tick partition is named after the last day it covers.
        SELECT max(to_date(right(c.relname, 8), 'YYYYMMDD')) INTO newest
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass;
        FOR d IN SELECT generate_series(today - 1, today + ahead, interval '1 day')::date LOOP
            part := parent || '_' || to_char(d, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(part) IS NOT NULL OR parent = 'tick' AND d <= newest;
            CASE parent
                WHEN 'tick' THEN
                    lo := coalesce(quote_literal((newest + 1)::text || ' 00:00:00+00'), 'MINVALUE');
                    hi := quote_literal((d + 1)::text || ' 00:00:00+00');
                    newest := d;
                WHEN 'log_chunk', 'event' THEN
                    lo := quote_literal(d::text);
                    hi := quote_literal((d + 1)::text);
                ELSE
                    lo := ((d - date '2020-01-01')::bigint << 38)::text;
                    hi := ((d + 1 - date '2020-01-01')::bigint << 38)::text;
            END CASE;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE)', part, parent);
            IF parent = 'task' THEN
                EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', part);
            ELSIF parent = 'run' THEN
                EXECUTE format('ALTER TABLE %I SET (fillfactor = 80)', part);
            ELSIF parent = 'tick' THEN
                -- Says what ATTACH would otherwise read the table for, now and when drop_ticks moves its lower end.
                EXECUTE format('ALTER TABLE %I ADD CONSTRAINT before_end CHECK (fire_at < %s)', part, hi);
            END IF;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, part, lo, hi);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd

-- partitions_ahead is how many days after @today have all their partitions (59 at most; -1: not even
-- today). Those of tick have no holes and are made with the others.
-- +goose StatementBegin
CREATE FUNCTION partitions_ahead(today date) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(min(d.day)::date - today - 1, 59)
    FROM generate_series(today, today + 59, interval '1 day') AS d (day)
    CROSS JOIN unnest(ARRAY['run', 'task', 'attempt', 'log_chunk', 'event']) AS t (name)
    WHERE to_regclass(t.name || '_' || to_char(d.day, 'YYYYMMDD')) IS NULL
$$;
-- +goose StatementEnd

-- partitions_before lists the days of a history table's partitions that lie before @before, oldest first.
-- +goose StatementBegin
CREATE FUNCTION partitions_before(parent text, before date) RETURNS SETOF date
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass
      AND right(c.relname, 8) < to_char(before, 'YYYYMMDD')   -- not to_date: the planner may ask it of any relation
    ORDER BY 1
$$;
-- +goose StatementEnd

-- Retention. The roles of services own nothing, so dropping is a function of the owner. DETACH
-- CONCURRENTLY cannot run in a function; these take the exclusive lock on the parent instead, for
-- a moment in which nothing is read or copied, and give up after 200 ms of waiting for it (SQLSTATE
-- 55P03: try again later), so that nobody queues behind them for longer.
--
-- drop_runs drops run, task and attempt of one day of ids, unless a run of that day is open. It
-- looks when it holds all three parents: a rerun whose open_run row is not committed by then has
-- touched none of them, and will find its run gone.
-- +goose StatementBegin
CREATE FUNCTION drop_runs(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    lo     bigint := (day - date '2020-01-01')::bigint << 38;
    hi     bigint := (day + 1 - date '2020-01-01')::bigint << 38;
    parent text;
BEGIN
    IF day >= (now() AT TIME ZONE 'UTC')::date - 1 THEN
        RAISE EXCEPTION 'the runs of % are too young to be dropped', day USING ERRCODE = 'restrict_violation';
    END IF;
    -- Cheap and before anybody waits for us.
    IF EXISTS (SELECT FROM open_run AS o WHERE o.run_id >= lo AND o.run_id < hi) THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('synthesizer partitions'));
    LOCK TABLE ONLY run, ONLY task, ONLY attempt IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM open_run AS o WHERE o.run_id >= lo AND o.run_id < hi) THEN
        RETURN false;
    END IF;
    FOREACH parent IN ARRAY ARRAY['run', 'task', 'attempt'] LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', parent || '_' || to_char(day, 'YYYYMMDD'));
    END LOOP;
    RETURN true;
END $$;
-- +goose StatementEnd

-- drop_ticks drops what is left of the ledger up to and with @day. The oldest partition that stays
-- then begins where time begins.
-- +goose StatementBegin
CREATE FUNCTION drop_ticks(day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    part   text;
    last   date;
    lowest text;
    gone   integer := 0;
BEGIN
    IF day >= (now() AT TIME ZONE 'UTC')::date - 1 THEN
        RAISE EXCEPTION 'the ticks of % are too young to be dropped', day USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('synthesizer partitions'));
    LOCK TABLE ONLY tick IN ACCESS EXCLUSIVE MODE;
    FOR part, last IN
        SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD')
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'tick'::regclass
        ORDER BY 2
    LOOP
        IF last > day THEN
            lowest := part;
            EXIT;
        END IF;
        EXECUTE format('DROP TABLE %I', part);
        gone := gone + 1;
    END LOOP;
    IF gone > 0 AND lowest IS NOT NULL THEN
        EXECUTE format('ALTER TABLE tick DETACH PARTITION %I', lowest);
        EXECUTE format('ALTER TABLE tick ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', lowest, (last + 1)::text || ' 00:00:00+00');
    END IF;
    RETURN gone;
END $$;
-- +goose StatementEnd

-- drop_logs and drop_events drop one day. The logs of attempts that are still alive stay.
-- +goose StatementBegin
CREATE FUNCTION drop_logs(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    IF day >= (now() AT TIME ZONE 'UTC')::date - 1 THEN
        RAISE EXCEPTION 'the logs of % are too young to be dropped', day USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM live AS l WHERE (l.claimed_at AT TIME ZONE 'UTC')::date = day) THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('synthesizer partitions'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'log_chunk_' || to_char(day, 'YYYYMMDD'));
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION drop_events(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
    IF day >= (now() AT TIME ZONE 'UTC')::date - 1 THEN
        RAISE EXCEPTION 'the events of % are too young to be dropped', day USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('synthesizer partitions'));
    EXECUTE format('DROP TABLE IF EXISTS %I', 'event_' || to_char(day, 'YYYYMMDD'));
    RETURN true;
END $$;
-- +goose StatementEnd

-- analyze_history refreshes what the planner knows of a partitioned table as a whole, which
-- autovacuum never does. One table at a time: it holds a snapshot.
-- +goose StatementBegin
CREATE FUNCTION analyze_history(parent text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    IF parent NOT IN ('tick', 'run', 'task', 'attempt', 'event') THEN
        RAISE EXCEPTION '% is not a table of history', parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('ANALYZE %I', parent);
END $$;
-- +goose StatementEnd

SELECT ensure_partitions((now() AT TIME ZONE 'UTC')::date, 14);

-- +goose Down
-- There is no way back: migrations only go forward.
