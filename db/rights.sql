-- What each service may do: the whole table of rights, made anew whenever this text changes or a
-- role has come. Services log in as members of these group roles; nobody but the owner of the
-- schema creates, alters or drops. Partitions need no rights of their own: they are reached through
-- their parents.
--
-- FOR UPDATE needs the right to update at least one column, so a table that is only locked has the
-- column that the lock is about.
DO $$
DECLARE
    g record;
BEGIN
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION run_day(timestamptz) TO PUBLIC;
    REVOKE ALL ON SCHEMA syn_v1, inv FROM PUBLIC;

    FOR g IN SELECT r.rolname FROM pg_roles AS r WHERE r.rolname IN ('syn_api', 'syn_scheduler', 'syn_executor') LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public, syn_v1, inv FROM %I', g.rolname);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I', g.rolname);
        EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public, inv FROM %I', g.rolname);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', g.rolname);
        EXECUTE format('GRANT SELECT ON installation, goose_db_version TO %I', g.rolname);
    END LOOP;

    FOR g IN
        SELECT w.who, w.what
        FROM (VALUES
            -- ------------------------------------------------ api: definitions, requests, people
            ('syn_api', 'USAGE ON SCHEMA syn_v1, inv'),
            ('syn_api', 'SELECT ON ALL TABLES IN SCHEMA syn_v1'),
            ('syn_api', 'SELECT ON ALL TABLES IN SCHEMA inv'),
            ('syn_api', 'SELECT ON schedule, run_group, pool, lane, var, executor, target, target_shard, backfill, backfill_tick, wake, open_run, waiter, ready, live, tick, run, task, attempt, log_chunk, event, request_key, remote_object, pipeline_stat, run_hour, repair, pipeline_counter, task_now, attempt_now'),
            ('syn_api', 'SELECT ON http_wait, late_start'),
            ('syn_api', 'SELECT, INSERT, UPDATE ON source, pipeline, api_token'),
            ('syn_api', 'SELECT, INSERT, UPDATE, DELETE ON session, var'),
            ('syn_api', 'SELECT, INSERT ON revision'),
            ('syn_api', 'INSERT, UPDATE ON schedule, run_group, pool, lane, pipeline_counter'),
            ('syn_api', 'DELETE ON pool'),
            ('syn_api', 'SELECT, INSERT, DELETE ON pipeline_trigger, pipeline_use'),
            ('syn_api', 'INSERT, UPDATE ON backfill'),
            ('syn_api', 'INSERT ON backfill_tick'),
            -- Secrets go in and do not come out.
            ('syn_api', 'SELECT (namespace, name, version, created_at, created_by), INSERT, DELETE ON secret'),
            ('syn_api', 'SELECT, DELETE ON secret_read'),
            ('syn_api', 'SELECT, INSERT, DELETE ON pipeline_read'),
            -- The ledger: ticks that were still undecided when a schedule was changed.
            ('syn_api', 'INSERT ON tick'),
            ('syn_api', 'INSERT ON wake, event, run, request_key'),
            ('syn_api', 'INSERT, UPDATE, DELETE ON open_run'),
            ('syn_api', 'INSERT, UPDATE ON pipeline_stat'),
            ('syn_api', 'INSERT, UPDATE ON run_hour'),
            ('syn_api', 'UPDATE (state, reason, started_at, ended_at, outputs, cancel_requested_at, canceled_by, cancel_reason) ON run'),
            ('syn_api', 'UPDATE ON task'),
            ('syn_api', 'UPDATE (stop_reason, stop_requested_at) ON live'),
            ('syn_api', 'UPDATE (run_id, answer) ON request_key'),
            ('syn_api', 'UPDATE (draining_at, drained_by) ON executor'),
            ('syn_api', 'SELECT, UPDATE (decision, decided_at, decided_by, comment) ON approval'),
            ('syn_api', 'SELECT ON child_run, follow_up'),
            ('syn_api', 'USAGE ON SEQUENCE run_seq'),
            ('syn_api', 'EXECUTE ON FUNCTION next_run_id(), partitions_ahead(date), inv.report()'),

            -- ------------------------------------------------ scheduler: decisions, retention
            ('syn_scheduler', 'USAGE ON SCHEMA inv'),
            ('syn_scheduler', 'SELECT ON ALL TABLES IN SCHEMA inv'),
            ('syn_scheduler', 'SELECT ON source, pipeline, revision, schedule, run_group, pool, lane, var, executor, target, target_shard, tick, run, task, attempt, event, request_key, remote_object, run_hour, repair, task_now, attempt_now'),
            ('syn_scheduler', 'SELECT (day, run_id, number, attempt, seq, at) ON log_chunk'),
            ('syn_scheduler', 'SELECT, INSERT, UPDATE (next_at), DELETE ON http_wait'),
            ('syn_scheduler', 'SELECT, INSERT, UPDATE, DELETE ON wake, open_run, waiter, ready, live'),
            ('syn_scheduler', 'SELECT, INSERT, UPDATE ON pipeline_counter, pipeline_stat'),
            ('syn_scheduler', 'SELECT ON pipeline_trigger, pipeline_use'),
            ('syn_scheduler', 'UPDATE (next_at, ended_at, broken) ON schedule'),
            ('syn_scheduler', 'UPDATE (paused_at, paused_by, pause_reason, paused_until, frozen_at, frozen_by, freeze_reason, frozen_until) ON pipeline'),
            ('syn_scheduler', 'INSERT, UPDATE ON run_group'),
            ('syn_scheduler', 'UPDATE (slots, floor_at) ON pool'),
            ('syn_scheduler', 'SELECT, UPDATE, DELETE ON backfill, backfill_tick'),
            ('syn_scheduler', 'SELECT, UPDATE ON late_start'),
            ('syn_scheduler', 'INSERT ON lane'),
            ('syn_scheduler', 'INSERT, DELETE ON tick, attempt, repair'),
            ('syn_scheduler', 'INSERT, UPDATE, DELETE ON run, task, run_hour'),
            ('syn_scheduler', 'INSERT ON event'),
            ('syn_scheduler', 'DELETE ON log_chunk, request_key, revision'),
            ('syn_scheduler', 'SELECT (expiry), DELETE ON session'),
            ('syn_scheduler', 'UPDATE (stopped_at), DELETE ON executor'),
            ('syn_scheduler', 'INSERT, UPDATE, DELETE ON remote_object'),
            ('syn_scheduler', 'UPDATE (tzdata_version) ON installation'),
            ('syn_scheduler', 'SELECT, INSERT, UPDATE, DELETE ON approval, child_run, follow_up'),
            ('syn_scheduler', 'USAGE ON SEQUENCE run_seq'),
            ('syn_scheduler', 'EXECUTE ON FUNCTION next_run_id(), ensure_partitions(date, integer), partitions_ahead(date), partitions_before(text, date), drop_runs(date), drop_ticks(date), drop_logs(date), drop_events(date), analyze_history(text), inv.report()'),

            -- ------------------------------------------------ executor: claims, ends, output
            ('syn_executor', 'SELECT ON pipeline, revision, lane, run, task, attempt, open_run, secret'),
            ('syn_executor', 'SELECT, INSERT, UPDATE ON secret_read'),
            ('syn_executor', 'SELECT (id, namespace, name) ON pool'),
            ('syn_executor', 'SELECT (id, name) ON schedule'),
            ('syn_executor', 'SELECT, DELETE, UPDATE (rank) ON ready'),
            ('syn_executor', 'SELECT, INSERT, UPDATE, DELETE ON live'),
            ('syn_executor', 'SELECT, INSERT, UPDATE ON executor, target, target_shard, remote_object'),
            ('syn_executor', 'SELECT, UPDATE (next_at, tries, asked_at, address, last_status, last_error, ended_at, state, reason, detail, outputs) ON http_wait'),
            -- Ends find their tasks by ON CONFLICT, which wants the right to insert what it never inserts.
            ('syn_executor', 'INSERT (run_id, number, name, state, reason, detail, attempt, failures, losses, handbacks, last_loser, losers, outputs, wake_at, ended_at) ON task'),
            ('syn_executor', 'UPDATE (state, reason, detail, attempt, failures, losses, handbacks, last_loser, losers, ready_at, due_at, wake_at, ended_at, outputs) ON task'),
            ('syn_executor', 'INSERT ON attempt, wake, event'),
            ('syn_executor', 'SELECT, INSERT ON log_chunk')
        ) AS w (who, what)
        JOIN pg_roles AS r ON r.rolname = w.who
    LOOP
        EXECUTE format('GRANT %s TO %I', g.what, g.who);
    END LOOP;
END $$;
