package web_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
	service "github.com/synthesizer-dev/synthesizer/services/api"
)

// world is the whole service on a database of its own, whose rows the test writes.
type world struct {
	t        *testing.T
	database string
	url      string
	token    string // an admin's
	keys     string // the key file of secrets
	conn     *pgx.Conn
	now      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, database: dbtest.URL(t), keys: keyFile(t)}
	w.url = w.start()
	var err error
	if w.conn, err = pgx.Connect(t.Context(), w.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close(context.Background()) })
	w.one(&w.now, "SELECT date_trunc('second', now())")
	return w
}

// start runs the service on the world's database, and gives its address.
func (w *world) start() string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	tokens, done := make(chan string, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- service.Run(ctx, service.Config{
			DatabaseURL: w.database, Listener: l, Log: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
			FirstToken: func(secret string) { tokens <- secret }, SecretKeyFile: w.keys,
		})
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run = %v", err)
		}
	})
	if w.token != "" {
		return "http://" + l.Addr().String()
	}
	select {
	case w.token = <-tokens:
	case err := <-done:
		done <- err
		w.t.Fatalf("Run ended: %v", err)
	case <-time.After(30 * time.Second):
		w.t.Fatal("no first token after 30 s")
	}
	return "http://" + l.Addr().String()
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.conn.Exec(context.Background(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) one(to any, sql string, args ...any) {
	w.t.Helper()
	if err := w.conn.QueryRow(context.Background(), sql, args...).Scan(to); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) client() *client.Client {
	w.t.Helper()
	c, err := client.New(client.Options{URL: w.url, Token: w.token, Patience: -1})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// register stores files: name, text, name, text …
func (w *world) register(pairs ...string) {
	w.t.Helper()
	req := api.RegisterRequest{Source: "repo", Git: api.Git{Commit: "3f2a91c04d6e8a7b", Author: "ci"}}
	for i := 0; i < len(pairs); i += 2 {
		req.Files = append(req.Files, api.SourceFile{Name: pairs[i], Text: pairs[i+1]})
	}
	if _, err := w.client().Register(w.t.Context(), req); err != nil {
		w.t.Fatalf("register: %v", err)
	}
}

// run is a run to be written.
type run struct {
	pipeline      string
	state, reason string
	trigger       string // empty: schedule
	due           time.Time
	made          time.Time     // the zero time: when it was due
	start, end    time.Duration // after it was made; end 0: it has not ended
	params        string
	note, by      string
	tasks         []task
	outputs       string
}

type task struct {
	name          string
	ordinal       int
	item          *int
	value         string
	state, reason string
	detail        string
	due           time.Duration // after the run's due time; 0: never
	attempts      []attempt
	end           time.Duration
	outputs       string
	fan           []int // items, unfinished, ok, failed, canceled, skipped
}

type attempt struct {
	state, reason  string
	exit           int
	claim, start   time.Duration
	end            time.Duration // 0: alive
	executor       string
	log            []logLine
	seen           int64 // more than the log has
	detail, signal string
	cpu, rss       int64
}

type logLine struct {
	text   string
	stderr bool
	at     time.Duration
}

const executorA, executorB = "0195b000-0000-7000-8000-00000000000a", "0195b000-0000-7000-8000-00000000000b"

func (w *world) executors() {
	for id, name := range map[string]string{executorA: "wh-1", executorB: "wh-2"} {
		w.exec("INSERT INTO executor (id, name, host, slots, lease_until) VALUES ($1, $2, $2, 8, now() + interval '1 hour')", id, name)
	}
}

func (w *world) add(r run) int64 {
	w.t.Helper()
	ns, name, ok := strings.Cut(r.pipeline, "/")
	if !ok {
		ns, name = "default", r.pipeline
	}
	made := r.made
	if made.IsZero() {
		made = r.due
	}
	var pipeline, revision, group, number, id int64
	if err := w.conn.QueryRow(context.Background(), "SELECT p.id, p.revision_id, g.id FROM pipeline AS p JOIN run_group AS g ON g.pipeline_id = p.id WHERE p.namespace = $1 AND p.name = $2", ns, name).
		Scan(&pipeline, &revision, &group); err != nil {
		w.t.Fatalf("find %s: %v", r.pipeline, err)
	}
	w.one(&number, "INSERT INTO pipeline_counter AS c (pipeline_id, last) VALUES ($1, 1) ON CONFLICT (pipeline_id) DO UPDATE SET last = c.last + 1 RETURNING last", pipeline)
	w.one(&id, "SELECT (run_day($1) << 38) + nextval('run_seq')", made)
	var schedule, fire, started, ended any
	trigger := r.trigger
	if trigger == "" {
		trigger = "schedule"
		var s int64
		w.one(&s, "SELECT id FROM schedule WHERE pipeline_id = $1 LIMIT 1", pipeline)
		schedule, fire = s, r.due
	}
	if r.start > 0 {
		started = made.Add(r.start)
	}
	if r.end > 0 {
		ended = made.Add(r.end)
	}
	params, outputs := r.params, r.outputs
	if params == "" {
		params = "{}"
	}
	if outputs == "" {
		outputs = "{}"
	}
	w.exec(`INSERT INTO run (id, pipeline_id, revision_id, number, namespace, pipeline, trigger, schedule_id, fire_at, scheduled_at, interval_start, interval_end, params, note, requested_by, group_id, state, reason, outputs, created_at, started_at, ended_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10::timestamptz - interval '1 hour', $10, $11, $12, $13, $14, $15, $16, $17, $20, $18, $19)`,
		id, pipeline, revision, number, ns, name, trigger, schedule, fire, r.due, params, r.note, r.by, group, r.state, r.reason, outputs, started, ended, made)
	if ended == nil {
		var admitted any
		if r.state == "running" {
			admitted = started
		}
		w.exec("INSERT INTO open_run (run_id, pipeline_id, group_id, revision_id, state, created_at, admitted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)", id, pipeline, group, revision, r.state, made, admitted)
	}
	for _, t := range r.tasks {
		w.task(id, pipeline, revision, r.due, t)
	}
	w.exec(`INSERT INTO pipeline_stat (pipeline_id, last_run_id, last_state, last_ended_at) SELECT $1, $2, $3, $4 WHERE $4::timestamptz IS NOT NULL
		ON CONFLICT (pipeline_id) DO UPDATE SET last_run_id = excluded.last_run_id, last_state = excluded.last_state, last_ended_at = excluded.last_ended_at`, pipeline, id, r.state, ended)
	return id
}

func (w *world) task(run, pipeline, revision int64, due time.Time, t task) {
	w.t.Helper()
	number := t.ordinal * 16384
	if t.item != nil {
		number += *t.item + 1
	}
	at := func(d time.Duration) any {
		if d == 0 {
			return nil
		}
		return due.Add(d)
	}
	state, failures, done := t.state, 0, 0
	for _, a := range t.attempts {
		if a.end > 0 {
			done++
			if a.state == "failed" {
				failures++
			}
		}
	}
	if state == "running" {
		state = "ready"
	}
	var item, outputs any
	if t.value != "" {
		item = json.RawMessage(t.value)
	}
	if t.outputs != "" {
		outputs = json.RawMessage(t.outputs)
	}
	fan := make([]any, 7)
	if t.fan != nil {
		fan = []any{t.fan[0], t.fan[0], t.fan[1], t.fan[2], t.fan[3], t.fan[4], t.fan[5]}
	}
	ready := at(t.due)
	if state == "ready" && ready == nil {
		ready = due
	}
	w.exec(`INSERT INTO task (run_id, number, name, item, state, reason, detail, attempt, failures, ready_at, due_at, ended_at, outputs, items, released, unfinished, ok, failed, canceled, skipped)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`,
		append([]any{run, number, t.name, item, state, t.reason, t.detail, done, failures, ready, at(t.due), at(t.end), outputs}, fan...)...)
	for i, a := range t.attempts {
		w.attempt(run, pipeline, revision, number, i+1, due, a)
	}
}

func (w *world) attempt(run, pipeline, revision int64, number, n int, due time.Time, a attempt) {
	w.t.Helper()
	executor := a.executor
	if executor == "" {
		executor = executorB
	}
	var size int64
	for _, l := range a.log {
		size += int64(len(l.text) + 1)
	}
	claimed, started := due.Add(a.claim), due.Add(max(a.start, a.claim))
	if a.end == 0 {
		w.exec(`INSERT INTO live (run_id, number, attempt, executor, lease_token, state, lane, pipeline_id, revision_id, ready_at, claimed_at, started_at, log_seen, log_stored)
			VALUES ($1, $2, $3, $4, gen_random_uuid(), $5, 1, $6, $7, $8, $8, $9, $10, $11)`, run, number, n, executor, a.state, pipeline, revision, claimed, started, size+a.seen, size)
	} else {
		var exit, signal, cpu, rss any
		if a.state == "failed" || a.state == "succeeded" {
			exit = a.exit
		}
		if a.signal != "" {
			exit, signal = nil, a.signal
		}
		if a.cpu > 0 {
			cpu, rss = a.cpu, a.rss
		}
		w.exec(`INSERT INTO attempt (run_id, number, attempt, executor, lease_token, state, reason, detail, exit_code, signal, ready_at, claimed_at, started_at, ended_at, cpu_ms, max_rss, log_seen, log_stored)
			VALUES ($1, $2, $3, $4, gen_random_uuid(), $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, $14, $15, $16)`,
			run, number, n, executor, a.state, a.reason, a.detail, exit, signal, claimed, started, due.Add(a.end), cpu, rss, size+a.seen, size)
	}
	w.log(run, number, n, claimed, 0, 0, a.log)
}

// log stores lines as chunks of 500, from a sequence number and a byte on.
func (w *world) log(run int64, number, attempt int, claimed time.Time, seq int, at int64, lines []logLine) {
	w.t.Helper()
	for len(lines) > 0 {
		n := min(500, len(lines))
		var data, marks []byte
		var last int64
		for _, l := range lines[:n] {
			v := uint64(len(l.text)+1) << 1
			if l.stderr {
				v |= 1
			}
			marks = binary.AppendUvarint(marks, v)
			marks = binary.AppendUvarint(marks, uint64(max(0, l.at.Milliseconds()-last)))
			last = max(last, l.at.Milliseconds())
			data = append(append(data, l.text...), '\n')
		}
		w.exec("INSERT INTO log_chunk (day, run_id, number, attempt, seq, at_byte, data, marks) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", claimed.UTC().Truncate(24*time.Hour), run, number, attempt, seq, at, data, marks)
		at += int64(len(data))
		seq++
		lines = lines[n:]
	}
}

func lines(text string) []logLine {
	var out []logLine
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		out = append(out, logLine{text: l, at: time.Duration(i) * 130 * time.Millisecond})
	}
	return out
}

const (
	sec  = time.Second
	min1 = time.Minute
)

const etlFile = `name: nightly_etl
description: Loads the orders of the day into the warehouse.
owner: finance-data
labels: {team: data}
timezone: Europe/Amsterdam
schedule: "0 2 * * *"
params:
  region: {type: string, enum: [eu, us, ap], default: eu, description: Region to load}
  limit: {type: integer, minimum: 1, maximum: 100000, default: 1000}
  day: {type: string, format: date, required: false, description: "Empty: yesterday"}
  full: {type: boolean, default: false, description: Load everything again}
  regions: {type: array, items: {type: string, enum: [emea, amer, apac]}, default: [emea]}
  extra: {type: object, required: false, description: "JSON, checked against its schema"}
tasks:
  extract_orders: {run: echo orders}
  extract_customers: {run: echo customers}
  extract_refunds: {run: echo refunds}
  shards:
    needs: [extract_orders]
    for_each: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t]
    run: echo "$SYN_ITEM"
  transform: {needs: [extract_customers, extract_refunds], run: echo transform}
  load:
    needs: [transform]
    retry: {limit: 2}
    command: [load, "${{ params.region }}"]
  dbt_test: {needs: [load], run: echo test}
  report: {needs: [dbt_test], run: echo report}
finally:
  clean: {run: echo clean}
`

const monthFile = `name: month_close
tasks:
  counts: {run: echo counts}
  sign_off: {needs: [counts], approval: {prompt: "Row counts look wrong.\nLoad anyway?"}, timeout: 4h}
  refunds: {needs: [counts], approval: {prompt: "Are the refunds in?", on_reject: skip}}
  mart: {needs: [counts], pipeline: {name: load_mart}}
`

// asks adds a run that waits for a person and for a run that it has called, and
// one whose end has started another. Its run is month_close #1.
func (w *world) asks() int64 {
	w.t.Helper()
	w.register("month.yaml", monthFile, "mart.yaml", "name: load_mart\ntasks: {work: {run: x}}\n",
		"report.yaml", "name: fx_report\ntriggers: {pipelines: [{name: month_close}]}\ntasks: {work: {run: x}}\n",
		"alarm.yaml", "name: fx_alarm\ntriggers: {pipelines: [{name: month_close}]}\ntasks: {work: {run: x}}\n")
	counts := task{name: "counts", state: "succeeded", due: sec, end: 4 * sec, attempts: []attempt{{state: "succeeded", claim: sec, start: sec, end: 4 * sec}}}
	run1 := w.add(run{pipeline: "month_close", state: "running", trigger: "manual", due: w.now.Add(-5 * min1), start: sec, tasks: []task{
		counts,
		{name: "sign_off", ordinal: 1, state: "waiting", reason: "approval", due: 4 * sec},
		{name: "refunds", ordinal: 2, state: "skipped", reason: "rejected", due: 4 * sec, end: 60 * sec},
		{name: "mart", ordinal: 3, state: "waiting", reason: "child", due: 4 * sec},
	}})
	w.exec(`INSERT INTO approval (run_id, number, pipeline_id, prompt, asked_at, deadline_at)
		SELECT id, 16384, pipeline_id, E'Row counts look wrong.\nLoad anyway?', now() - interval '4 minutes', now() + interval '3 hours' FROM run WHERE id = $1`, run1)
	w.exec(`INSERT INTO approval (run_id, number, pipeline_id, prompt, asked_at, decision, decided_at, decided_by, comment, closed_at)
		SELECT id, 32768, pipeline_id, 'Are the refunds in?', now() - interval '4 minutes', 'rejected', now() - interval '3 minutes', 'ana', 'not all of them', now() FROM run WHERE id = $1`, run1)
	child := w.add(run{pipeline: "load_mart", state: "running", trigger: "pipeline", due: w.now.Add(-4 * min1), start: sec, tasks: []task{{name: "work", state: "running", due: sec, attempts: []attempt{{state: "running", claim: 2 * sec, start: 3 * sec}}}}})
	w.exec(`UPDATE run SET parent_run_id = $1, parent_number = 49152 WHERE id = $2`, run1, child)
	w.exec(`INSERT INTO child_run (parent_run_id, parent_number, attempt, namespace, pipeline, waits, depth, run_id, number) VALUES ($1, 49152, 1, 'default', 'load_mart', true, 1, $2, 1)`, run1, child)
	run2 := w.add(run{pipeline: "month_close", state: "succeeded", trigger: "backfill", due: w.now.Add(-time5), start: sec, end: 4 * sec, tasks: []task{counts}})
	report := w.add(run{pipeline: "fx_report", state: "failed", trigger: "pipeline", due: w.now.Add(-4 * min1), start: sec, end: 4 * sec, tasks: []task{{name: "work", state: "failed", due: sec, end: 4 * sec, attempts: []attempt{{state: "failed", exit: 3, claim: sec, start: sec, end: 4 * sec}}}}})
	w.exec(`UPDATE run SET backfill_id = 5 WHERE id = $1`, run2)
	w.exec(`INSERT INTO follow_up (upstream_run_id, pipeline_id, ordinal, depth, run_id) SELECT $1, pipeline_id, 0, 1, id FROM run WHERE id = $2`, run2, report)
	w.exec(`INSERT INTO event (kind, entity_id, pipeline_id, reason, cause, detail)
		SELECT 'run', r.id, r.pipeline_id, 'trigger_dropped', 'paused', jsonb_build_object('pipeline_id', p.id, 'ordinal', 0) FROM run AS r, pipeline AS p WHERE r.id = $1 AND p.name = 'fx_alarm'`, run2)
	return run1
}

// simple is a file of a pipeline of one task.
func simple(name, schedule, zone, description string) string {
	s := fmt.Sprintf("name: %s\ndescription: %q\n", name, description)
	if schedule != "" {
		s += fmt.Sprintf("schedule: %q\ntimezone: %s\n", schedule, zone)
	}
	return s + "tasks:\n  work: {run: echo work}\n"
}

func failedLog() []logLine {
	var l []logLine
	for i := range 515 {
		l = append(l, logLine{text: fmt.Sprintf("\x1b[32mINFO\x1b[0m  row-group %d written to warehouse.orders", i+1), at: time.Duration(i) * 30 * time.Millisecond})
	}
	at := l[len(l)-1].at
	return append(l,
		logLine{text: "\x1b[33mWARNING\x1b[0m 3 rows skipped", at: at + sec},
		logLine{text: "Traceback (most recent call last):", stderr: true, at: at + sec},
		logLine{text: "  File \"load.py\", line 41, in <module>", stderr: true, at: at + sec},
		logLine{text: "    main(region, limit)", stderr: true, at: at + sec},
		logLine{text: "ValueError: bad currency XYZ", stderr: true, at: at + sec},
	)
}

// etlTasks are the tasks of the run that failed.
func etlTasks() []task {
	ok := func(claim, start, end time.Duration) []attempt {
		return []attempt{{state: "succeeded", claim: claim, start: start, end: end, cpu: 900, rss: 81 << 20, log: lines("one\ntwo\nthree")}}
	}
	list := []task{
		{name: "extract_orders", state: "succeeded", due: 1 * sec, end: 42 * sec, attempts: ok(1500*time.Millisecond, 2*sec, 42*sec), outputs: `{"rows": 12840}`},
		{name: "extract_customers", ordinal: 1, state: "succeeded", due: 1 * sec, end: 127 * sec, attempts: ok(1500*time.Millisecond, 2*sec, 127*sec)},
		{name: "extract_refunds", ordinal: 2, state: "succeeded", due: 1 * sec, end: 25 * sec, attempts: ok(12*sec, 13*sec, 25*sec)},
		{name: "shards", ordinal: 3, state: "succeeded", due: 42 * sec, end: 100 * sec, fan: []int{20, 0, 20, 0, 0, 0}},
		{name: "transform", ordinal: 4, state: "succeeded", due: 127 * sec, end: 204 * sec, attempts: ok(133*sec, 134*sec, 204*sec)},
		{
			name: "load", ordinal: 5, state: "failed", due: 204 * sec, end: 373 * sec, attempts: []attempt{
				{state: "failed", exit: 3, claim: 226 * sec, start: 227 * sec, end: 260 * sec, executor: executorA, log: lines("first try\nValueError: bad currency XYZ")},
				{state: "failed", exit: 3, claim: 276 * sec, start: 276 * sec, end: 308 * sec, log: lines("second try\nValueError: bad currency XYZ")},
				{state: "failed", exit: 3, claim: 330 * sec, start: 331 * sec, end: 373 * sec, log: failedLog(), cpu: 9100, rss: 312 << 20},
			},
		},
		{name: "dbt_test", ordinal: 6, state: "skipped", reason: "upstream", detail: "load failed", due: 373 * sec, end: 373 * sec},
		{name: "report", ordinal: 7, state: "skipped", reason: "upstream", detail: "load failed", due: 373 * sec, end: 373 * sec},
		{name: "clean", ordinal: 8, state: "succeeded", due: 373 * sec, end: 376 * sec, attempts: ok(374*sec, 374*sec, 376*sec)},
	}
	for i := range 20 {
		list = append(list, task{
			name: "shards", ordinal: 3, item: &i, value: fmt.Sprintf("%q", string(rune('a'+i))), state: "succeeded", end: time.Duration(46+i*2) * sec,
			attempts: []attempt{{state: "succeeded", claim: time.Duration(43+i*2) * sec, end: time.Duration(46+i*2) * sec, log: lines("item")}},
		})
	}
	return list
}

// runningTasks are the tasks of a run that goes on, 70 s after it was due.
func runningTasks() []task {
	list := etlTasks()
	list[3] = task{name: "shards", ordinal: 3, state: "waiting", due: 42 * sec, fan: []int{20, 12, 7, 1, 0, 0}}
	list[1].state, list[1].end, list[1].attempts = "running", 0, []attempt{{state: "running", claim: 1500 * time.Millisecond, start: 2 * sec, log: lines("connecting to warehouse\nfetching customers 1\nfetching customers 2")}}
	for i := range list {
		t := &list[i]
		switch {
		case t.name == "transform" || t.name == "load" || t.name == "dbt_test" || t.name == "report" || t.name == "clean":
			t.state, t.reason, t.detail, t.due, t.end, t.attempts = "waiting", "", "", 0, 0, nil
		case t.item != nil && *t.item == 7:
			t.state, t.attempts = "failed", []attempt{{state: "failed", exit: 1, claim: 57 * sec, end: 60 * sec, log: lines("item\nboom")}}
		case t.item != nil && *t.item > 7:
			t.state, t.end, t.attempts = "waiting", 0, nil
			if *t.item < 10 {
				t.state, t.due, t.attempts = "running", 60*sec, []attempt{{state: "running", claim: 62 * sec, start: 63 * sec}}
			}
		}
	}
	return list
}

// full fills the world with what the pages have to show.
func (w *world) full() {
	w.t.Helper()
	w.executors()
	w.register("etl.yaml", etlFile,
		"fx.yaml", simple("fx_rates", "*/30 * * * *", "Europe/London", "Fetches the rates of the central bank."),
		"crm.yaml", simple("crm_pull", "15 * * * *", "UTC", "Copies contacts and deals."),
		"gdpr.yaml", simple("gdpr_purge", "0 4 * * 1", "Europe/Amsterdam", "Forgets people who asked for it."),
		"report.yaml", simple("reports", "", "", "Monthly reports, by hand."),
		"hello.yaml", simple("hello", "* * * * *", "UTC", ""))
	w.outside()
	for i := range 14 {
		state := []string{"succeeded", "succeeded", "failed", "succeeded", "succeeded", "canceled", "succeeded"}[i%7]
		w.add(run{pipeline: "crm_pull", state: state, due: w.now.Add(time.Duration(i-14) * time.Hour), start: sec, end: time.Duration(30+(i*37)%90) * sec})
		w.add(run{pipeline: "fx_rates", state: "succeeded", due: w.now.Add(time.Duration(i-14) * 30 * min1), start: sec, end: time.Duration(8+(i*13)%11) * sec})
		w.add(run{pipeline: "hello", state: "succeeded", due: w.now.Add(time.Duration(i-14) * min1), start: sec, end: 3 * sec})
	}
	w.add(run{pipeline: "gdpr_purge", state: "succeeded", due: w.now.Add(-20 * time.Hour), start: sec, end: 300 * sec})
	for i := range 5 {
		w.add(run{pipeline: "nightly_etl", state: "succeeded", due: w.now.Add(time.Duration(i-8) * time.Hour), start: sec, end: time.Duration(300+i*20) * sec, params: `{"region": "eu", "limit": 1000}`})
	}
	w.add(run{pipeline: "nightly_etl", state: "failed", due: w.now.Add(-2 * time.Hour), start: sec, end: 376 * sec, params: `{"region": "eu", "limit": 1000, "full": false}`, tasks: etlTasks()})
	w.add(run{pipeline: "nightly_etl", state: "running", trigger: "manual", by: "ana", note: "again, with the fixed rates", due: w.now.Add(-70 * sec), start: sec, params: `{"region": "us", "limit": 50}`, tasks: runningTasks()})
	w.add(run{pipeline: "nightly_etl", state: "queued", trigger: "manual", by: "bo", due: w.now.Add(-10 * sec), params: `{"region": "ap"}`})
	if _, err := w.client().Pause(w.t.Context(), "default", "gdpr_purge", api.PauseRequest{Reason: "migration of the archive", Until: w.now.Add(72 * time.Hour)}); err != nil {
		w.t.Fatal(err)
	}
}

// backfills fills the world with backfills of a pipeline of their own: one at
// work, one that is paused, one that is done and one that was canceled.
func (w *world) backfills() {
	w.t.Helper()
	ctx, c := w.t.Context(), w.client()
	if _, err := c.Register(ctx, api.RegisterRequest{Source: "stock", Files: []api.SourceFile{{Name: "stock.yaml", Text: "name: stock_levels\nschedule: \"30 6 * * *\"\ntimezone: Europe/Amsterdam\nparams: {shop: {type: string, default: all}, depth: {type: integer, minimum: 1, default: 3}}\ntasks:\n  work: {run: echo work}\n"}}}); err != nil {
		w.t.Fatal(err)
	}
	day := func(ago int) string { return w.now.AddDate(0, 0, -ago).Format(time.DateOnly) }
	for i, days := range [][2]int{{33, 20}, {47, 40}, {57, 50}, {67, 60}} {
		req := api.BackfillRequest{From: day(days[0]), To: day(days[1]), Max: 2, PoolShare: 50, Note: "after the move of the warehouse"}
		if i == 2 {
			req.Texts = map[string]string{"shop": "north"}
		}
		if _, _, err := c.StartBackfill(ctx, "default", "stock_levels", "", req); err != nil {
			w.t.Fatal(err)
		}
	}
	// What became of their ticks, the newest first; s: succeeded, f: failed, o: under way, p: passed, w: to come.
	for id, states := range map[int]string{1: "oossfsspsfwwww", 2: "ssww", 3: "ssfsssss", 4: "ss"} {
		rows, err := w.conn.Query(ctx, "SELECT fire_at FROM backfill_tick WHERE backfill_id = $1 ORDER BY fire_at DESC", id)
		if err != nil {
			w.t.Fatal(err)
		}
		ticks, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
		if err != nil {
			w.t.Fatal(err)
		}
		for i, state := range states {
			word := map[rune]string{'s': "succeeded", 'f': "failed", 'o': "open", 'p': "passed", 'w': "waiting"}[state]
			var made any
			detail := ""
			switch state {
			case 's', 'f':
				made = w.add(run{pipeline: "stock_levels", state: word, trigger: "backfill", due: ticks[i], made: w.now.Add(-time.Duration(i+1) * min1), start: sec, end: 40 * sec})
			case 'o':
				made = w.add(run{pipeline: "stock_levels", state: "running", trigger: "backfill", due: ticks[i], made: w.now.Add(-20 * sec), start: sec})
			case 'p':
				detail = "run #3 has succeeded meanwhile"
			}
			w.exec("UPDATE backfill_tick SET state = $3, run_id = $4, detail = $5 WHERE backfill_id = $1 AND fire_at = $2", id, ticks[i], word, made, detail)
		}
	}
	w.exec(`UPDATE backfill AS b SET waiting = k.waiting, open = k.open, succeeded = k.succeeded, failed = k.failed, passed = k.passed
		FROM (SELECT backfill_id, count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
			count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'passed') AS passed FROM backfill_tick GROUP BY backfill_id) AS k WHERE k.backfill_id = b.id`)
	w.exec("UPDATE backfill SET state = 'paused', reason = 'the archive is being moved' WHERE id = 2")
	w.exec("UPDATE backfill SET state = 'done', ended_at = now() WHERE id = 3")
	w.exec("UPDATE backfill SET state = 'canceled', ended_at = now(), reason = 'its schedule left the file' WHERE id = 4")
}

// outside fills the world with secrets and variables, and with pipelines that name them.
func (w *world) outside() {
	w.t.Helper()
	c, ctx := w.client(), w.t.Context()
	for name, value := range map[string]string{"REGION": "eu-west-1", "BUCKET": "s3://raw/" + strings.Repeat("quite-a-long-prefix/", 6)} {
		if _, err := c.SetVar(ctx, "default", name, value); err != nil {
			w.t.Fatal(err)
		}
	}
	for range 4 {
		if _, err := c.SetSecret(ctx, "default", "WAREHOUSE_DSN", "c4nary-of-the-world"); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := c.SetSecret(ctx, "default", "SALES_HOOK", "c4nary-of-the-world"); err != nil {
		w.t.Fatal(err)
	}
	w.exec("INSERT INTO secret_read (namespace, name, read_at, read_by) VALUES ('default', 'WAREHOUSE_DSN', $1, 'wh-2')", w.now.Add(-time.Hour))
	var pairs []string
	for _, name := range []string{"sales_daily", "stock_daily", "tax_monthly", "fees_monthly"} {
		pairs = append(pairs, name+".yaml", "name: "+name+"\ntasks: {load: {run: x, env: {R: \"${{ vars.REGION }}\"}, secrets: {DSN: WAREHOUSE_DSN, KEY: MISSING_KEY}}}\n")
	}
	req := api.RegisterRequest{Source: "secrets"}
	for i := 0; i < len(pairs); i += 2 {
		req.Files = append(req.Files, api.SourceFile{Name: pairs[i], Text: pairs[i+1]})
	}
	if _, err := c.Register(ctx, req); err != nil {
		w.t.Fatal(err)
	}
}
