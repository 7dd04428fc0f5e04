package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
	"github.com/synthesizer-dev/synthesizer/db/dbtest"
)

// full says that a test may take its full time and number of rounds.
func full() bool { return os.Getenv("SYN_E2E_FULL") != "" }

// rounds is how often a fault strikes.
func rounds(ci, all int) int {
	if full() {
		return all
	}
	return ci
}

// A register of 500 files, while the api is killed at some moment of it, stores
// all of them or none, and a second one goes through.
func TestRegisterIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, dbtest.URL(t))
	impatient, err := client.New(client.Options{URL: "http://" + s.API.Address, Token: s.Token, Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.mustRegister(t, 0)
	took := time.Since(began)
	t.Logf("500 files are registered in %v", took.Round(time.Millisecond))

	stored := 1 // the generation that is stored, and the number of its revisions
	struck := 0
	for round := range rounds(5, 30) {
		// Early, late, and every moment between.
		after := time.Duration(float64(took) * (float64(round) + rand.Float64()) / float64(rounds(5, 30)))
		answer := make(chan error, 1)
		go func() {
			_, err := impatient.Register(t.Context(), generation(stored))
			answer <- err
		}()
		time.Sleep(after) // the fault's own moment, not a wait for anything
		s.API.Kill()
		err := <-answer
		// What it had sent may still be going on.
		s.Await(10*time.Second, "the end of the killed api's sessions", `SELECT NOT EXISTS (
			SELECT FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.application_name LIKE 'synthesizer%')`)
		number := s.generationStored(t)
		switch {
		case number == stored+1:
			stored++
		case number == stored && err == nil:
			t.Fatalf("round %d, killed after %v: acknowledged and not stored", round, after)
		case number == stored:
			struck++
		default:
			t.Fatalf("round %d, killed after %v: revision %d is stored, want %d or %d", round, after, number, stored, stored+1)
		}
		s.API.Restart()
		s.mustRegister(t, stored-1) // what is stored is unchanged
	}
	if struck == 0 {
		t.Errorf("no kill came in time to prevent anything")
	}
	s.mustRegister(t, stored)
	if number := s.generationStored(t); number != stored+1 {
		t.Errorf("revision %d is stored in the end, want %d", number, stored+1)
	}
	s.check(nil)
}

// generation is 500 files, all of them others than in any other generation.
func generation(n int) api.RegisterRequest {
	req := api.RegisterRequest{Source: "e2e"}
	for i := range 500 {
		req.Files = append(req.Files, api.SourceFile{
			Name: fmt.Sprintf("p%03d.yaml", i),
			Text: fmt.Sprintf("name: p%03d\ndescription: generation %d\nschedule: \"0 %d * * *\"\ntasks:\n  a: {run: \"true\"}\n  b: {run: \"true\", needs: [a]}\n", i, n, i%24),
		})
	}
	return req
}

func (s *system) mustRegister(t *testing.T, n int) {
	t.Helper()
	out, err := s.Register(t.Context(), generation(n))
	if err != nil {
		t.Fatalf("register generation %d: %v", n, err)
	}
	if len(out.Pipelines) != 500 {
		t.Fatalf("register answers with %d pipelines, want 500", len(out.Pipelines))
	}
}

// generationStored is the revision that all 500 pipelines have. Parts of it are a
// failure.
func (s *system) generationStored(t *testing.T) int {
	t.Helper()
	type row struct{ pipelines, revisions, low, high, schedules, counters int64 }
	var r row
	err := s.Pool.QueryRow(t.Context(), `
		SELECT count(*), (SELECT count(*) FROM revision), coalesce(min(v.number), 0), coalesce(max(v.number), 0),
			(SELECT count(*) FROM schedule AS s WHERE s.ended_at IS NULL), (SELECT count(*) FROM pipeline_counter)
		FROM pipeline AS p JOIN revision AS v ON v.id = p.revision_id`).
		Scan(&r.pipelines, &r.revisions, &r.low, &r.high, &r.schedules, &r.counters)
	if err != nil {
		t.Fatal(err)
	}
	if r.pipelines != 500 || r.low != r.high || r.revisions != 500*r.high || r.schedules != 500 || r.counters != 500 {
		t.Fatalf("half of a register is stored: %+v", r)
	}
	return int(r.high)
}
