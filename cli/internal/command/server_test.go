package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
)

// now is when all sessions take place.
var now = time.Date(2026, 11, 22, 21, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

// A contract is a server that gives recorded answers in the form of the
// contract: what the client sees of a server, and nothing of how one works.
type contract struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, path and body of each
}

const goodToken = "syn_0123456789abcdef"

func newContract(t testing.TB) *contract {
	s := &contract{}
	mux := http.NewServeMux()
	answer := func(pattern string, f func(w http.ResponseWriter, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && r.Header.Get("Authorization") != "Bearer "+goodToken {
				problem(w, api.Errorf(api.Unauthenticated, "this token is not known"))
				return
			}
			body, err := f(w, r)
			if err != nil {
				problem(w, api.As(err))
				return
			}
			if body == nil {
				return
			}
			w.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/runs") {
				w.WriteHeader(http.StatusCreated)
			}
			_ = json.NewEncoder(w).Encode(body)
		})
	}
	answer("POST /api/v1/register", s.register)
	answer("GET /api/v1/pipelines", s.pipelines)
	answer("GET /api/v1/pipelines/{ns}/{name}", func(_ http.ResponseWriter, r *http.Request) (any, error) { return onePipeline(r) })
	answer("GET /api/v1/pipelines/{ns}/{name}/next", nextOf)
	answer("POST /api/v1/pipelines/{ns}/{name}/pause", s.pause)
	answer("POST /api/v1/pipelines/{ns}/{name}/resume", s.pause)
	answer("POST /api/v1/pipelines/{ns}/{name}/runs", s.create)
	answer("GET /api/v1/runs", s.runs)
	answer("GET /api/v1/runs/{id}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return runOf("default", "nightly_etl", "1841")
	})
	answer("GET /api/v1/runs/{ns}/{name}/{run}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return runOf(r.PathValue("ns"), r.PathValue("name"), r.PathValue("run"))
	})
	answer("GET /api/v1/runs/{ns}/{name}/{run}/tasks", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		run, err := runOf(r.PathValue("ns"), r.PathValue("name"), r.PathValue("run"))
		return api.TaskPage{Items: run.Tasks}, err
	})
	answer("GET /api/v1/pipelines/{ns}/{name}/explain", func(_ http.ResponseWriter, r *http.Request) (any, error) { return explainedPipeline(r) })
	answer("GET /api/v1/runs/{ns}/{name}/{run}/explain", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		_, err := runOf(r.PathValue("ns"), r.PathValue("name"), r.PathValue("run"))
		return explained("run", "default/nightly_etl#1842", "running", "nightly_etl#1842 goes on: 1 running."), err
	})
	answer("GET /api/v1/runs/{ns}/{name}/{run}/tasks/{task}/explain", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return explainedTask(r.PathValue("task")), nil
	})
	answer("POST /api/v1/runs/{ns}/{name}/{run}/cancel", s.cancel)
	answer("POST /api/v1/runs/{ns}/{name}/{run}/rerun", s.rerun)
	answer("POST /api/v1/runs/{ns}/{name}/{run}/tasks/{task}/mark", s.mark)
	for word, decision := range map[string]string{"approve": "approved", "reject": "rejected"} {
		answer("POST /api/v1/runs/{ns}/{name}/{run}/tasks/{task}/"+word, func(_ http.ResponseWriter, r *http.Request) (any, error) {
			if r.PathValue("task") != "ask" {
				return nil, api.Errorf(api.Conflict, "%s of run default/asks#3 was approved already, by bo", r.PathValue("task"))
			}
			a := question()
			a.Decision, a.DecidedBy, a.DecidedAt = decision, "ana", now
			return a, nil
		})
	}
	answer("GET /api/v1/pipelines/{ns}/{name}/backfill", previewed)
	answer("POST /api/v1/pipelines/{ns}/{name}/backfill", func(w http.ResponseWriter, _ *http.Request) (any, error) {
		w.WriteHeader(http.StatusCreated)
		return backfilled(3, api.BackfillStateRunning), nil
	})
	answer("GET /api/v1/backfills", func(http.ResponseWriter, *http.Request) (any, error) {
		done := backfilled(2, api.BackfillStateDone)
		done.Waiting, done.Open, done.Succeeded, done.Failed = 0, 0, 7, 1
		return api.BackfillPage{Items: []api.Backfill{backfilled(3, api.BackfillStateRunning), done}}, nil
	})
	answer("GET /api/v1/backfills/{id}", steered(api.BackfillStateRunning))
	answer("PATCH /api/v1/backfills/{id}", steered(api.BackfillStateRunning))
	answer("POST /api/v1/backfills/{id}/pause", steered(api.BackfillStatePaused))
	answer("POST /api/v1/backfills/{id}/resume", steered(api.BackfillStateRunning))
	answer("POST /api/v1/backfills/{id}/cancel", steered(api.BackfillStateCanceled))
	answer("GET /api/v1/approvals", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if r.URL.Query().Get("namespace") == "finance" {
			return api.ApprovalPage{Items: []api.Approval{{Pipeline: "finance/load", Run: 7, Task: "sign_off", Prompt: "Load?\nReally?", AskedAt: now.Add(-time.Minute)}}}, nil
		}
		other := question()
		other.Pipeline, other.Run, other.DeadlineAt, other.MayAnswer = "finance/pay", 7, time.Time{}, false
		if r.URL.Query().Get("cursor") == "" {
			return api.ApprovalPage{Items: []api.Approval{question()}, Next: "more"}, nil
		}
		return api.ApprovalPage{Items: []api.Approval{other}}, nil
	})
	answer("GET /api/v1/runs/{ns}/{name}/{run}/events", s.events)
	answer("GET /api/v1/runs/{ns}/{name}/{run}/logs", s.logs)
	answer("GET /api/v1/runs/{ns}/{name}/{run}/tasks/{task}/log", s.log)
	answer("GET /api/v1/pools", func(http.ResponseWriter, *http.Request) (any, error) {
		return api.PoolPage{Items: []api.Pool{warehouse(), {Namespace: "finance", Name: "idle", Slots: 2}}}, nil
	})
	answer("GET /api/v1/pools/{ns}/{name}", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if r.PathValue("name") != "warehouse" {
			return nil, api.Errorf(api.NotFound, "pool %s/%s does not exist", r.PathValue("ns"), r.PathValue("name")).WithHint("did you mean \"warehouse\"?")
		}
		return poolDetail(), nil
	})
	answer("GET /api/v1/whoami", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if r.Header.Get("Authorization") == "" {
			return nil, api.Errorf(api.Unauthenticated, "not signed in")
		}
		return api.Whoami{Name: "ana", Role: api.RoleOperator, Namespaces: []string{"finance"}, ExpiresAt: now.Add(11 * 24 * time.Hour)}, nil
	})
	token := api.Token{ID: 7, Name: "ci", Role: api.RoleAuthor, Namespaces: []string{}, CreatedAt: now, CreatedBy: "ana"}
	answer("GET /api/v1/tokens", func(http.ResponseWriter, *http.Request) (any, error) {
		return api.TokenPage{Items: []api.Token{token}}, nil
	})
	answer("POST /api/v1/tokens", func(http.ResponseWriter, *http.Request) (any, error) {
		return api.NewToken{Token: token, Secret: "syn_shown_once"}, nil
	})
	answer("DELETE /api/v1/tokens/{id}", func(w http.ResponseWriter, r *http.Request) (any, error) {
		if r.PathValue("id") != "7" {
			return nil, api.Errorf(api.NotFound, "there is no token %s", r.PathValue("id")).WithHint("synctl token ls")
		}
		w.WriteHeader(http.StatusNoContent)
		return nil, nil
	})
	s.outside(answer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body strings.Builder
		if r.Body != nil {
			b := make([]byte, 1<<16)
			n, _ := readFull(r, b)
			body.Write(b[:n])
			r.Body = http.NoBody
			r.Body = readCloser{strings.NewReader(body.String())}
		}
		s.mu.Lock()
		s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+body.String()))
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	return s
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func readFull(r *http.Request, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := r.Body.Read(b[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func problem(w http.ResponseWriter, e *api.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Code.Status())
	_ = json.NewEncoder(w).Encode(e.Problem())
}

func (s *contract) register(_ http.ResponseWriter, r *http.Request) (any, error) {
	var req api.RegisterRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	out := api.Registration{Source: req.Source, DryRun: req.DryRun, Problems: []api.Finding{}, Pipelines: []api.RegisteredPipeline{}}
	for _, f := range req.Files {
		if strings.Contains(f.Text, "pool: nowhere") {
			e := api.Errorf(api.Unprocessable, "1 error in the files; nothing was stored")
			e.Problems = []api.Finding{{
				Severity: api.FindingSeverityError, Code: "SYN1701", Message: "task a of default/x asks for pool default/nowhere, which does not exist", Hint: "register it: kind: pool",
				Where: api.Where{File: f.Name, Line: 1, Col: 1},
			}}
			return nil, e
		}
		source, _ := pipeline.Parse([]pipeline.File{{Name: f.Name, Text: []byte(f.Text)}}, pipeline.Options{})
		for _, p := range source.Pipelines() {
			x := api.RegisteredPipeline{Namespace: p.Namespace, Name: p.Name, Change: api.RegisteredPipelineChangeNew, Revision: 1, File: f.Name, Line: 1}
			switch p.Name {
			case "same":
				x.Change = api.RegisteredPipelineChangeUnchanged
			case "nightly_etl":
				x.Change, x.Revision, x.Previous = api.RegisteredPipelineChangeChanged, 14, 13
				x.FirstTick, x.Schedule = ago(-4*time.Hour), "0 1 * * * UTC"
			}
			out.Pipelines = append(out.Pipelines, x)
		}
	}
	old := api.RegisteredPipeline{Namespace: "default", Name: "old_export", Change: api.RegisteredPipelineChangeKept, Revision: 3}
	if req.Prune {
		old.Change = api.RegisteredPipelineChangeRemoved
	}
	out.Pipelines = append(out.Pipelines, old)
	return out, nil
}

func pipelineNamed(name string) api.Pipeline {
	p := api.Pipeline{
		Namespace: "default", Name: name, Owner: "finance-data", Labels: map[string]string{"team": "data"}, Source: "etl", Revision: 14, Manual: true,
		Schedules: []api.Schedule{{ID: "default", Text: "0 2 * * *", Timezone: "Europe/Amsterdam", Catchup: "latest", NextTick: ago(-4*time.Hour - 12*time.Minute)}},
		Params:    []api.Param{{Name: "region", Type: "string", Required: true, Description: "Region to load"}}, NextTick: ago(-4*time.Hour - 12*time.Minute),
		Recent: []api.RunSummary{}, CreatedAt: now, URL: "/p/default/" + name,
	}
	if name == "nightly_etl" {
		p.Recent = []api.RunSummary{{ID: 1, Pipeline: "default/nightly_etl", Number: 1841, State: api.RunStateFailed, Reason: "tasks", Trigger: "schedule", CreatedAt: *ago(time.Hour), StartedAt: ago(time.Hour), EndedAt: ago(time.Hour - 372*time.Second)}}
		p.LastRun = &p.Recent[0]
	}
	if name == "gdpr_purge" {
		p.Paused = &api.Pause{At: now, By: "ana", Reason: "migration \x1b[31mred"}
	}
	return p
}

func (s *contract) pipelines(_ http.ResponseWriter, r *http.Request) (any, error) {
	if r.URL.Query().Get("q") == "none" {
		return api.PipelinePage{Items: []api.Pipeline{}}, nil
	}
	return api.PipelinePage{Items: []api.Pipeline{pipelineNamed("gdpr_purge"), pipelineNamed("nightly_etl")}}, nil
}

func onePipeline(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if name == "nope" || r.PathValue("ns") == "nightly" {
		return nil, api.Errorf(api.NotFound, "there is no pipeline %q in %q", name, r.PathValue("ns")).WithHint("did you mean %q?", "nightly_etl")
	}
	return pipelineNamed(name), nil
}

func nextOf(_ http.ResponseWriter, r *http.Request) (any, error) {
	return api.NextTicks{Items: []api.NextTick{
		{At: time.Date(2027, 3, 27, 1, 30, 0, 0, time.UTC), Local: "2027-03-27T02:30", Timezone: "Europe/Amsterdam", Schedule: "default"},
		{At: time.Date(2027, 3, 28, 1, 0, 0, 0, time.UTC), Local: "2027-03-28T02:30", Timezone: "Europe/Amsterdam", Schedule: "default", Note: "moved"},
	}}, nil
}

func (s *contract) pause(_ http.ResponseWriter, r *http.Request) (any, error) {
	found, err := onePipeline(r)
	p, ok := found.(api.Pipeline)
	if !ok || !strings.HasSuffix(r.URL.Path, "/pause") {
		return found, err
	}
	var req api.PauseRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	p.Paused = &api.Pause{At: now, By: "ana", Reason: req.Reason}
	if !req.Until.IsZero() {
		p.Paused.Until = &req.Until
	}
	return p, nil
}

func (s *contract) create(_ http.ResponseWriter, r *http.Request) (any, error) {
	switch name := r.PathValue("name"); name {
	case "nope":
		return nil, api.Errorf(api.NotFound, "there is no pipeline %q in %q", name, r.PathValue("ns")).WithHint("synctl ls")
	case "forbidden":
		return nil, api.Errorf(api.Refused, "you may read default but not run it (role viewer)").WithHint("ask finance-data")
	case "full":
		return nil, api.Errorf(api.QueueFull, "10 runs of full wait already")
	case "clash":
		return nil, api.Errorf(api.Conflict, "this key was used with other content")
	case "wrong":
		e := api.Errorf(api.Unprocessable, "2 params are wrong")
		e.Problems = []api.Finding{{Severity: "error", Message: "param limit: 0 is below the minimum 1", Param: "limit"}, {Severity: "error", Message: "unknown param \"regoin\"", Hint: "did you mean \"region\"?", Param: "regoin"}}
		return nil, e
	}
	number := "1843"
	if r.PathValue("name") != "nightly_etl" {
		number = "1"
	}
	run, err := runOf(r.PathValue("ns"), r.PathValue("name"), number)
	run.State, run.Tasks, run.StartedAt, run.EndedAt, run.Reason = api.RunStateQueued, []api.Task{}, nil, nil, ""
	return run, err
}

func (s *contract) runs(http.ResponseWriter, *http.Request) (any, error) {
	a, _ := runOf("default", "nightly_etl", "1842")
	b, _ := runOf("default", "nightly_etl", "1841")
	a.Tasks, b.Tasks = []api.Task{}, []api.Task{}
	return api.RunPage{Items: []api.Run{a, b}}, nil
}

func exitCode(n int) *int { return &n }

func attemptOf(n int, state api.AttemptState, from, to time.Duration, code int) api.Attempt {
	a := api.Attempt{Number: n, State: state, Executor: "wh-1", ClaimedAt: *ago(from), StartedAt: ago(from), EndedAt: ago(to), ExitCode: exitCode(code), LogBytes: 2048}
	if state == api.AttemptStateFailed {
		a.Reason = "exit"
	}
	return a
}

// runOf is a recorded run: how it ended is in its name.
func runOf(ns, name, number string) (api.Run, error) {
	switch number {
	case "latest":
		number = "1842"
	case "failed":
		number = "1841"
	}
	n, _ := strconv.ParseInt(number, 10, 64)
	if n > 2000 {
		return api.Run{}, api.Errorf(api.NotFound, "run %s#%d does not exist; the newest is #1843", name, n)
	}
	end := 0 * time.Minute
	run := api.Run{
		ID: 9041200000000 + n, Pipeline: ns + "/" + name, Number: n, Revision: 14, Trigger: "manual", RequestedBy: "ana", State: api.RunStateSucceeded,
		Params: api.Values{"region": json.RawMessage(`"eu"`)}, Outputs: api.Values{"rows": json.RawMessage("12")}, ScheduledAt: *ago(10 * time.Minute), CreatedAt: *ago(10 * time.Minute),
		StartedAt: ago(10 * time.Minute), EndedAt: &now, URL: fmt.Sprintf("/p/%s/%s/%d", ns, name, n), Tasks: []api.Task{},
	}
	switch name {
	case "cancels":
		run.State, run.Reason, run.CanceledBy, run.CancelReason = api.RunStateCanceled, "canceled", "bo", "not today"
	case "skips":
		run.State, run.Reason = api.RunStateSkipped, "overlap"
	case "asks":
		asks, said := question(), question()
		said.Task, said.Decision, said.DecidedBy, said.DecidedAt, said.Comment, said.MayAnswer = "said", "approved", "bo", *ago(4 * time.Minute), "looks \x1bfine", false
		run.State, run.EndedAt, run.Backfill = api.RunStateRunning, nil, 5
		run.Parent = &api.RunLink{Pipeline: "finance/month", Number: 12, State: "running", Task: "close"}
		run.Tasks = []api.Task{
			{Name: "said", State: api.TaskStateSucceeded, EndedAt: ago(4 * time.Minute), Outputs: api.Values{"by": json.RawMessage(`"bo"`)}, Attempts: []api.Attempt{}, Approval: &said},
			{Name: "ask", State: api.TaskStateWaiting, Reason: "approval", Attempts: []api.Attempt{}, Approval: &asks},
			{Name: "call", State: api.TaskStateWaiting, Reason: "child", Attempts: []api.Attempt{}, Child: &api.RunLink{Pipeline: ns + "/load_mart", Number: 4, State: "running"}},
		}
		return run, nil
	case "starts":
		run.TriggeredBy = &api.RunLink{Pipeline: ns + "/fx_rates", Number: 90, State: "succeeded"}
		run.FollowUps = []api.FollowUp{
			{Pipeline: "finance/report", Number: 8, State: "failed", At: now}, {Pipeline: ns + "/alarm", Dropped: "paused", At: now}, {Pipeline: ns + "/late", At: now},
		}
		return run, nil
	case "slow":
		run.State, run.EndedAt = api.RunStateRunning, nil
		run.Tasks = []api.Task{{Name: "load", State: api.TaskStateRunning, StartedAt: ago(9 * time.Minute), Attempts: []api.Attempt{}}}
		return run, nil
	}
	extract := api.Task{Name: "extract", State: api.TaskStateSucceeded, ReadyAt: ago(10 * time.Minute), StartedAt: ago(10 * time.Minute), EndedAt: ago(9*time.Minute + 20*time.Second), Outputs: api.Values{}, Attempts: []api.Attempt{attemptOf(1, api.AttemptStateSucceeded, 10*time.Minute, 9*time.Minute+20*time.Second, 0)}}
	run.Tasks = append(run.Tasks, extract)
	if name == "nightly_etl" && (n == 1843 || n == 1841) {
		run.State, run.Reason, run.Outputs = api.RunStateFailed, "tasks", api.Values{}
		load := api.Task{Name: "load", State: api.TaskStateFailed, Reason: "exit", Detail: "exited with code 3", Needs: []string{"extract"}, ReadyAt: ago(9 * time.Minute), StartedAt: ago(9 * time.Minute), EndedAt: ago(end), Outputs: api.Values{}, RetryLimit: 1, Attempts: []api.Attempt{
			attemptOf(1, api.AttemptStateFailed, 9*time.Minute, 8*time.Minute, 3), attemptOf(2, api.AttemptStateFailed, 17*time.Second, 0, 3),
		}}
		report := api.Task{Name: "report", State: api.TaskStateSkipped, Reason: "upstream", Needs: []string{"load"}, EndedAt: &now, Outputs: api.Values{}, Attempts: []api.Attempt{}}
		shards := api.Task{Name: "shards", State: api.TaskStateSucceeded, Items: &api.ItemCounts{Total: 2, Succeeded: 2}, Outputs: api.Values{}, Attempts: []api.Attempt{}}
		run.Tasks = append(run.Tasks, load, report, shards)
		for i, label := range []string{"eu", "us"} {
			run.Tasks = append(run.Tasks, api.Task{Name: "shards", Index: exitCode(i), Item: json.RawMessage(strconv.Quote(label)), State: api.TaskStateSucceeded, Outputs: api.Values{}, Attempts: []api.Attempt{attemptOf(1, api.AttemptStateSucceeded, time.Minute, 0, 0)}})
		}
	}
	return run, nil
}

// question is one that nobody has answered.
func question() api.Approval {
	return api.Approval{
		Pipeline: "default/asks", Run: 3, Task: "ask", Prompt: "Row counts look wrong.\nLoad anyway?", AskedAt: *ago(5 * time.Minute), DeadlineAt: *ago(-55 * time.Minute),
		URL: "/p/default/asks/3", Approvers: []string{"role:operator"}, MayAnswer: true, OnTimeout: "reject", OnReject: "fail",
	}
}

func explained(kind api.ExplanationKind, subject, state, summary string, findings ...api.GateFinding) api.Explanation {
	e := api.Explanation{Kind: kind, Subject: subject, State: state, Summary: summary, At: now, Findings: append([]api.GateFinding{}, findings...)}
	e.Blocked = len(findings) > 0 && findings[0].Standing == api.StandingBlocks
	return e
}

func explainedPipeline(r *http.Request) (any, error) {
	if _, err := onePipeline(r); err != nil {
		return nil, err
	}
	return explained("pipeline", "default/gdpr_purge", "paused", "gdpr_purge is paused.", api.GateFinding{
		Gate: "paused", Standing: api.StandingBlocks, Summary: "It is paused by ana: “migration \x1b[31mred”.", Since: *ago(26 * time.Hour), Until: *ago(-26 * time.Hour),
		Frees: "Goes on by itself then, or when it is resumed.", Commands: []string{"synctl resume default/gdpr_purge"},
	}, api.GateFinding{Gate: "tick", Standing: api.StandingNote, Summary: "Its next tick.", Until: *ago(-4 * time.Hour)}), nil
}

func explainedTask(task string) api.Explanation {
	return explained("task", "default/nightly_etl#1842/"+task, "waiting", task+" waits for pool warehouse.", api.GateFinding{
		Gate: "pool", Standing: api.StandingBlocks, Summary: "Pool warehouse is full: 4 of 4 slots taken, it needs 1.", Since: *ago(130 * time.Second), Position: 2,
		Holders: []api.Holder{
			{Run: "default/billing_sync#902", Task: "export", State: "running", Executor: "wh-1", Host: "db7", Slots: 2, Since: *ago(41 * time.Minute)},
			{Hidden: true, State: "running", Executor: "wh-2", Slots: 1, Since: *ago(3 * time.Minute)},
		}, More: 1,
		Frees: "Starts when enough slots are free, in the order of the queue.", Commands: []string{"synctl cancel default/billing_sync#902"},
	}, api.GateFinding{Gate: "labels", Standing: api.StandingAhead, Summary: "No live executor has the label [gpu]. Alive: wh-1 [linux] and wh-2 []."},
		api.GateFinding{Gate: "needs", Standing: api.StandingOpen, Summary: "What it needs has ended: transform."},
		api.GateFinding{Gate: "budget", Standing: api.StandingNote, Summary: "Budgets: 1 of 2 retries spent; 0 of 3 lost executors spent."},
		api.GateFinding{Gate: "timeout", Standing: api.StandingNote, Summary: "The run times out if it has not ended by then.", Until: *ago(-6 * 24 * time.Hour)})
}

func (s *contract) cancel(_ http.ResponseWriter, r *http.Request) (any, error) {
	if r.PathValue("name") == "slow" {
		return runOf("default", "slow", r.PathValue("run"))
	}
	return nil, api.Errorf(api.Conflict, "%s#%s has ended: succeeded", r.PathValue("name"), r.PathValue("run"))
}

// rerun opens a run again, or makes the next one.
func (s *contract) rerun(w http.ResponseWriter, r *http.Request) (any, error) {
	var req api.RerunRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	number := r.PathValue("run")
	run, err := runOf("default", r.PathValue("name"), number)
	switch {
	case err != nil:
		return nil, err
	case run.EndedAt == nil:
		return nil, api.Errorf(api.Conflict, "run slow#%s has not ended", number).WithHint("wait for it (synctl watch slow#%s), or cancel it (synctl cancel slow#%s)", number, number)
	case req.Latest:
		run, _ = runOf("default", r.PathValue("name"), "1842")
		w.WriteHeader(http.StatusCreated)
	}
	run.State, run.Tasks, run.StartedAt, run.EndedAt, run.Reason = api.RunStateQueued, []api.Task{}, nil, nil, ""
	return run, nil
}

// mark mends a run, or lets it go on where load is marked succeeded.
func (s *contract) mark(_ http.ResponseWriter, r *http.Request) (any, error) {
	run, err := runOf("default", r.PathValue("name"), r.PathValue("run"))
	if r.PathValue("task") == "load" {
		run.State, run.EndedAt = api.RunStateQueued, nil
	}
	run.Tasks = []api.Task{}
	return run, err
}

// backfilled is a backfill of nightly_etl.
func backfilled(id int64, state api.BackfillState) api.Backfill {
	day := time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC)
	return api.Backfill{
		ID: id, Pipeline: "default/nightly_etl", Schedule: "default", Timezone: "Europe/Amsterdam", From: day, Until: day.AddDate(0, 0, 8), Where: "missing", Order: "newest",
		Max: 3, PoolShare: 30, RequestedBy: "ana", State: state, CreatedAt: now, Ticks: 8, Waiting: 4, Open: 1, Succeeded: 2, Failed: 1, Seconds: 500, URL: "https://synth.example.com/backfills/3",
	}
}

// steered gives one backfill, in the state that it has then.
func steered(state api.BackfillState) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		if r.PathValue("id") != "3" {
			return nil, api.Errorf(api.NotFound, "there is no backfill %s", r.PathValue("id")).WithHint("synctl backfill ls")
		}
		b := backfilled(3, state)
		b.Items = []api.BackfillTick{{At: b.Until, Local: "2026-10-27T02:00", State: "failed", RunNumber: 17, Run: "default/nightly_etl#17"}, {At: b.From, Local: "2026-10-20T02:00", State: "waiting"}}
		return b, nil
	}
}

// previewed is what a backfill of nightly_etl would do.
func previewed(_ http.ResponseWriter, r *http.Request) (any, error) {
	if r.PathValue("name") != "nightly_etl" {
		return nil, api.Errorf(api.Unprocessable, "%s has no schedule, so it has no ticks to make up for", r.PathValue("name"))
	}
	return api.BackfillPreview{
		Pipeline: "default/nightly_etl", Schedule: "default", Timezone: "Europe/Amsterdam", Where: "missing", Ticks: 8, Run: 3, Counts: map[string]int{"succeeded": 4, "failed": 1}, Seconds: 1500, Limit: 5, Hash: "h4sh",
		Items: []api.BackfillTick{{At: now, Local: "2026-10-27T02:00", State: "run"}, {At: now, Local: "2026-10-25T02:00", Note: "first", State: "failed", Detail: "run #12 failed"}},
	}, nil
}

func send(w http.ResponseWriter, kind string, data any) {
	text, _ := json.Marshal(data)
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, text)
	w.(http.Flusher).Flush()
}

// events replays a run: queued, running, each task, the end. The run's own end
// comes before the last of its tasks, as it may.
func (s *contract) events(w http.ResponseWriter, r *http.Request) (any, error) {
	run, err := runOf(r.PathValue("ns"), r.PathValue("name"), r.PathValue("run"))
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	first := run
	first.State, first.Reason, first.StartedAt, first.EndedAt, first.Tasks = api.RunStateQueued, "", nil, nil, []api.Task{}
	send(w, "run", first)
	first.State, first.StartedAt = api.RunStateRunning, run.StartedAt
	send(w, "run", first)
	whole := run
	whole.Tasks = []api.Task{}
	for i, t := range run.Tasks {
		if t.Name == "load" && len(t.Attempts) > 0 {
			started := t
			started.State, started.Reason, started.EndedAt, started.Attempts = api.TaskStateRunning, "", nil, t.Attempts[:1]
			send(w, "task", started)
			started.State, started.Reason, started.WakeAt = api.TaskStateWaiting, "backoff", now
			send(w, "task", started)
		}
		if i == len(run.Tasks)-1 && ended(run.State) {
			send(w, "run", whole)
		}
		send(w, "task", t)
	}
	if !ended(run.State) {
		<-r.Context().Done()
		return nil, nil
	}
	send(w, "end", whole)
	return nil, nil
}

func (s *contract) logs(w http.ResponseWriter, r *http.Request) (any, error) {
	run, err := runOf(r.PathValue("ns"), r.PathValue("name"), r.PathValue("run"))
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	task := r.URL.Query().Get("task")
	piece := func(name string, attempt int, from int64, text string) {
		if task == "" || task == name {
			send(w, "log", api.LogPiece{Task: name, Attempt: attempt, Stream: api.LogPieceStreamStdout, At: now, From: from, To: from + int64(len(text)), Text: text})
		}
	}
	if len(run.Tasks) > 0 {
		piece("extract", 1, 0, "reading\r 50 %\r100 %\nhalf a li")
		piece("extract", 1, 29, "ne\n\x1b[31mred\x1b[0m \x1b]0;title\x07and plain\n")
		piece("load", 1, 0, "first try\n")
		piece("load", 2, 0, "Traceback (most recent call last):\n  File \"load.py\", line 41, in <module>\nValueError: bad currency XYZ")
		if task == "" || task == "load" {
			send(w, "cut", api.LogCut{Task: "load", Attempt: 2, From: 100, To: 100 + 12<<20})
		}
	}
	if r.URL.Query().Get("follow") == "true" && !ended(run.State) {
		<-r.Context().Done()
		return nil, nil
	}
	send(w, "end", run)
	return nil, nil
}

func (s *contract) log(w http.ResponseWriter, r *http.Request) (any, error) {
	text := "12 405 lines before\nTraceback (most recent call last):\n  File \"load.py\", line 41, in <module>\nValueError: bad \x1b[31mcurrency XYZ\n"
	w.Header().Set("Log-Size", strconv.Itoa(len(text)))
	w.Header().Set("Log-Next", strconv.Itoa(len(text)))
	w.Header().Set("Log-Complete", "true")
	_, _ = w.Write([]byte(text))
	return nil, nil
}

func warehouse() api.Pool {
	return api.Pool{Namespace: "default", Name: "warehouse", Description: "Takes four at once.", Slots: 4, ReserveScheduled: 1, Used: 4, Holding: 3, Waiting: 120, Source: "etl"}
}

func poolDetail() api.PoolDetail {
	third := 3
	return api.PoolDetail{
		Pool: warehouse(),
		Holders: []api.PoolTask{
			{Namespace: "default", Pipeline: "billing_sync", Run: 902, Task: "export", State: api.PoolTaskStateRunning, Slots: 2, Since: now.Add(-41 * time.Minute), Executor: "wh-1", Host: "db7"},
			{State: api.PoolTaskStateRunning, Slots: 1, Since: now.Add(-3 * time.Minute)},
			{Namespace: "default", Pipeline: "nightly_etl", Run: 1841, Task: "shards", Index: &third, State: api.PoolTaskStateReady, Slots: 1, Since: now.Add(-2 * time.Second)},
		},
		Waiters: []api.PoolTask{
			{Namespace: "default", Pipeline: "nightly_etl", Run: 1842, Task: "load", State: api.PoolTaskStateWaiting, Slots: 1, Since: now.Add(-130 * time.Second), Position: 1},
			{Namespace: "finance", Pipeline: "refill", Run: 7, Task: "load", State: api.PoolTaskStateWaiting, Slots: 1, Since: now.Add(-time.Hour), Position: 2, Backfill: true},
		},
	}
}
