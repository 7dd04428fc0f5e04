package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

// A system is our services as real processes on one database.
type system struct {
	t *testing.T
	*programs.System
}

// newSystem starts an api on a database.
func newSystem(t *testing.T, database string) *system {
	t.Helper()
	return &system{t, programs.NewSystem(t, database)}
}

// newSeparateSystem starts an api on a server of the test's own, where each
// service logs in as a user with the rights of that service alone.
func newSeparateSystem(t *testing.T, pg *postgres) *system {
	t.Helper()
	return &system{t, programs.NewSeparateSystem(t, pg.server.URL)}
}

// register stores pipelines: name of the file, text, name, text …
func (s *system) register(pairs ...string) api.Registration {
	s.t.Helper()
	out, err := s.Register(s.t.Context(), request(pairs...))
	if err != nil {
		s.t.Fatalf("register: %v\n%s", err, findings(err))
	}
	return out
}

func request(pairs ...string) api.RegisterRequest {
	req := api.RegisterRequest{Source: "e2e", Files: []api.SourceFile{}}
	for i := 0; i < len(pairs); i += 2 {
		req.Files = append(req.Files, api.SourceFile{Name: pairs[i], Text: pairs[i+1]})
	}
	return req
}

func findings(err error) string {
	var b strings.Builder
	if e, ok := errors.AsType[*api.Error](err); ok {
		for _, f := range e.Problems {
			fmt.Fprintf(&b, "%s:%d:%d %s %s\n", f.Where.File, f.Where.Line, f.Where.Col, f.Code, f.Message)
		}
	}
	return b.String()
}

// run asks for a run.
func (s *system) run(pipeline string) api.Run {
	s.t.Helper()
	run, _, err := s.CreateRun(s.t.Context(), "default", pipeline, "", api.RunRequest{})
	if err != nil {
		s.t.Fatalf("run %s: %v", pipeline, err)
	}
	return run
}

// awaitEnd waits for the end of a run and returns it.
func (s *system) awaitEnd(run api.Run, within time.Duration) api.Run {
	s.t.Helper()
	var err error
	programs.Eventually(s.t, within, fmt.Sprintf("the end of %s#%d", run.Pipeline, run.Number), func() bool {
		run, err = s.RunByID(s.t.Context(), run.ID)
		return err == nil && run.EndedAt != nil
	})
	return run
}

// value asks the database for one value.
func value[V any](s *system, sql string, args ...any) V {
	s.t.Helper()
	return programs.Value[V](s.System, sql, args...)
}

// check fails the test for each invariant that does not hold, with what the
// witness saw. Nothing may be going on any more.
func (s *system) check(w *witness) {
	s.t.Helper()
	if w != nil {
		for _, e := range w.all() {
			s.Exec(`INSERT INTO h_effect (run_id, task, item_index, attempt, at, what) VALUES ($1, $2, $3, $4, $5, $6)`, e.run, e.task, e.index, e.attempt, e.at, e.what)
		}
	}
	s.Check()
}
