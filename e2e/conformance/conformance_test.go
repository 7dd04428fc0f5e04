// Package conformance plays the cases beside it against a real system, and the
// same files locally: what the format promises, as pipelines with the states,
// order and outputs that they must have.
package conformance

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/synthesizer-dev/synthesizer/e2e/conformance/internal/casefile"
	"github.com/synthesizer-dev/synthesizer/e2e/internal/programs"
)

var update = flag.Bool("update", false, "rewrite the index of cases in README.md")

// atOnce is how many cases play side by side, unless -parallel says otherwise.
// Most of their time is waiting, so the processors of the machine do not matter.
const atOnce = "12"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	flag.Parse()
	status := m.Run()
	programs.Remove()
	os.Exit(status)
}

// Every case holds on a server with two schedulers and three executors. Where it
// needs nothing that only a server has, it holds locally too, with the same
// states and outputs. When all have ended, no invariant is broken.
func TestConformance(t *testing.T) {
	cases := read(t, ".")
	w := newWorld(t, cases)
	play := func(group string, own bool) {
		t.Run(group, func(t *testing.T) {
			for _, c := range cases {
				if startsExecutors(c) != own {
					continue
				}
				t.Run(c.Name(), func(t *testing.T) {
					t.Parallel()
					if err := w.play(t, c); err != nil {
						t.Error(err)
					}
					if why := serverOnly(c); why != "" {
						t.Logf("%s: on the server (%s)", c.Title, why)
						return
					}
					if err := w.playLocally(t, c); err != nil {
						t.Errorf("locally: %v", err)
					}
					t.Logf("%s: on the server and locally", c.Title)
				})
			}
		})
	}
	// An executor takes tasks of others, too, and dies with them.
	play("apart", true)
	play("cases", false)
	w.end()
}

// startsExecutors says whether a case has executors of its own.
func startsExecutors(c *casefile.Case) bool {
	for _, b := range c.Blocks {
		for _, s := range b.Steps {
			if s.Verb == "executor" {
				return true
			}
		}
	}
	return false
}

// Each expectation fails when it should: a runner that finds nothing wrong shows
// nothing.
func TestCasesThatMustFail(t *testing.T) {
	cases := read(t, "testdata")
	w := newWorld(t, cases)
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.Name(), func(t *testing.T) {
				t.Parallel()
				if c.Fails == "" {
					t.Fatal("nothing says what it must fail with")
				}
				errs := map[string]error{"on the server": w.play(t, c)}
				if serverOnly(c) == "" {
					errs["locally"] = w.playLocally(t, c)
				}
				for where, err := range errs {
					if err == nil || !strings.Contains(err.Error(), c.Fails) {
						t.Errorf("%s: fails with %v, want %s", where, err, c.Fails)
					}
				}
			})
		}
	})
	w.end()
}

func read(t *testing.T, dir string) []*casefile.Case {
	t.Helper()
	cases, err := casefile.ReadAll(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("no cases in %s", dir)
	}
	return cases
}
