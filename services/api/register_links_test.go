package api_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/cli/client"
)

// scan reads one value.
func scan[V any](s *server, sql string, args ...any) V {
	s.t.Helper()
	var v V
	if err := s.pool().PGX().QueryRow(s.t.Context(), sql, args...).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// refuses registers what must be refused, with a word of the first problem, and
// nothing stored.
func (s *server) refuses(code api.Code, word string, req api.RegisterRequest) api.Finding {
	s.t.Helper()
	before := s.counts()
	_, err := s.admin().Register(s.t.Context(), req)
	if err == nil || !api.IsCode(err, code) || !strings.Contains(fmt.Sprint(api.As(err).Problems, err), word) {
		s.t.Fatalf("got %v %+v, want %s with %q", err, api.As(err), code, word)
	}
	if after := s.counts(); after != before {
		s.t.Errorf("a refused register stored: %s, before %s", after, before)
	}
	if problems := api.As(err).Problems; len(problems) > 0 {
		return problems[0]
	}
	return api.Finding{}
}

func calls(name, child string) string {
	return fmt.Sprintf("name: %s\ntasks: {t: {pipeline: {name: %s}}}\n", name, child)
}

func follows(name, upstream string) string {
	return fmt.Sprintf("name: %s\ntriggers: {pipelines: [{name: %s}]}\ntasks: {t: {run: x}}\n", name, upstream)
}

const child = `name: load_mart
params: {day: {type: string, format: date}, limit: {type: integer, default: 1}}
tasks: {t: {run: x, outputs: {rows: {type: integer}}}}
outputs: {rows: "${{ tasks.t.outputs.rows }}"}
`

// TestReferencesAreLookedUp: in the same call, in other sources, with the place of
// what is wrong.
func TestReferencesAreLookedUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register("marts", "load.yaml", child, "pool.yaml", "kind: pool\nname: wh\nnamespace: finance\nslots: 4\n", "fx.yaml", "namespace: finance\n"+hello("fx"))
	for name, c := range map[string]struct {
		text, code, word string
		line, col        int
	}{
		"a pool":       {"name: a\ntasks:\n  t: {run: x, pool: finance/wk}\n", "SYN1701", "does not exist", 3, 21},
		"slots":        {"name: a\ntasks:\n  t: {run: x, pool: {name: finance/wh, slots: 5}}\n", "SYN1701", "asks for 5 slots of pool finance/wh, which has 4", 3, 47},
		"a call":       {"name: a\ntasks:\n  t: {pipeline: {name: load_mrat}}\n", "SYN1701", "runs pipeline default/load_mrat, which does not exist", 3, 24},
		"a trigger":    {"name: a\ntriggers: {pipelines: [{name: finance/fxx}]}\ntasks: {t: {run: x}}\n", "SYN1701", "waits for pipeline finance/fxx", 2, 31},
		"a constant":   {"name: a\ntasks:\n  t: {pipeline: {name: load_mart, params: {day: 2026-11-22, limit: many}}}\n", "SYN1705", `param limit of pipeline default/load_mart: "many" is not an integer`, 3, 68},
		"a param":      {"name: a\ntasks:\n  t: {pipeline: {name: load_mart}}\n", "SYN1705", "wants param day", 3, 24},
		"an output":    {"name: a\ntasks:\n  t: {pipeline: {name: load_mart, params: {day: 2026-11-22}}, outputs: {lines: {type: integer}}}\n", "SYN1705", `has no output "lines"`, 3, 73},
		"not followed": {follows("a", "a"), "SYN1212", "itself", 2, 31},
	} {
		got := s.refuses(api.Unprocessable, c.word, request("repo", "a.yaml", c.text))
		if got.Code != c.code || got.Where.Line != c.line || got.Where.Col != c.col || got.Where.File != "a.yaml" {
			t.Errorf("%s: %s at %+v, want %s at %d:%d", name, got.Code, got.Where, c.code, c.line, c.col)
		}
	}
	if got := s.refuses(api.Unprocessable, "load_mrat", request("repo", "a.yaml", calls("a", "load_mrat"))); got.Hint != `did you mean "load_mart"?` {
		t.Errorf("hint %q", got.Hint)
	}
	const good = `name: a
triggers: {pipelines: [{name: finance/fx, result: any}, {name: b}]}
tasks:
  p: {run: x, pool: {name: finance/wh, slots: 4}}
  t: {pipeline: {name: load_mart, params: {day: "${{ date(run.created_at) }}", limit: 3}}, outputs: {rows: {type: number}}}
`
	s.register("repo", "a.yaml", good, "b.yaml", hello("b"))
	if n := scan[int](s, "SELECT count(*) FROM pipeline_trigger AS t JOIN pipeline AS p ON p.id = t.pipeline_id AND p.revision_id = t.revision_id WHERE p.name = 'a'"); n != 2 {
		t.Errorf("%d triggers, want 2", n)
	}
	if got := scan[string](s, "SELECT string_agg(u.kind || ' ' || u.namespace || '/' || u.name, ', ' ORDER BY u.kind) FROM pipeline_use AS u"); got != "call default/load_mart, pool finance/wh" {
		t.Errorf("uses: %s", got)
	}
	// A new revision says it anew, and an unchanged one leaves it.
	s.register("repo", "a.yaml", good, "b.yaml", hello("b"))
	s.register("repo", "a.yaml", follows("a", "finance/fx"), "b.yaml", hello("b"))
	if got := scan[string](s, "SELECT string_agg(t.upstream_namespace || '/' || t.upstream_name || ' ' || r.number, ', ') FROM pipeline_trigger AS t JOIN revision AS r ON r.id = t.revision_id"); got != "finance/fx 2" {
		t.Errorf("triggers: %s", got)
	}
	if n := scan[int](s, "SELECT count(*) FROM pipeline_use"); n != 0 {
		t.Errorf("%d uses are left", n)
	}
	// What is removed starts no more, and whoever names it is told of.
	prune := request("marts", "load.yaml", child, "pool.yaml", "kind: pool\nname: wh\nnamespace: finance\nslots: 4\n")
	prune.Prune = true
	out, err := s.admin().Register(t.Context(), prune)
	if err != nil || len(out.Problems) != 1 || out.Problems[0].Message != "pipeline finance/fx is removed, but default/a names it" {
		t.Errorf("removed upstream: %v %+v", err, out.Problems)
	}
	prune = request("repo", "b.yaml", hello("b"))
	prune.Prune = true
	if _, err := s.admin().Register(t.Context(), prune); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](s, "SELECT count(*) FROM pipeline_trigger"); n != 0 {
		t.Errorf("a removed pipeline has %d triggers", n)
	}
	// What another source removed is not there.
	s.refuses(api.Unprocessable, "finance/fx, which does not exist", request("repo", "c.yaml", follows("c", "finance/fx")))
}

// A pipeline that changes tells who runs it and does not fit any more: callers of
// other sources, and of its own that are not among the files.
func TestCallersThatDoNotFitAnyMoreAreToldOf(t *testing.T) {
	t.Parallel()
	s := start(t)
	child := func(params string) string {
		return "name: load\nparams: {" + params + "}\ntasks: {t: {run: x}}\n"
	}
	const caller = "name: %s\nnamespace: %s\ntasks:\n  first: {run: x}\n  go: {needs: first, pipeline: {name: default/load, params: {day: x}}}\n"
	s.register("lib", "load.yaml", child("day: {type: string}"))
	s.register("lib", "mine.yaml", fmt.Sprintf(caller, "mine", "default"))
	s.register("apps", "app.yaml", fmt.Sprintf(caller, "app", "finance"))
	told := func(c *client.Client, text string) (list []string) {
		t.Helper()
		out, err := c.Register(t.Context(), request("lib", "load.yaml", text))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range out.Problems {
			if p.Code != "SYN1705" || p.Severity != api.FindingSeverityWarning || p.Where.File != "load.yaml" {
				t.Errorf("told %+v, want a warning SYN1705 in load.yaml", p)
			}
			list = append(list, p.Message)
		}
		return list
	}
	if got := told(s.admin(), child("day: {type: string}, limit: {type: integer, default: 3}")); got != nil {
		t.Errorf("a param with a default: told %q, want nothing", got)
	}
	want := []string{
		"task go of default/mine does not fit any more: pipeline default/load has no param \"day\"",
		"task go of finance/app does not fit any more: pipeline default/load has no param \"day\"",
	}
	if diff := cmp.Diff(want, told(s.admin(), child("date: {type: string, default: x}"))); diff != "" {
		t.Errorf("another name (-want +got):\n%s", diff)
	}
	if got := told(s.admin(), child("date: {type: string, default: x}")); got != nil {
		t.Errorf("the same text again: told %q, want nothing", got)
	}
	made, err := s.admin().CreateToken(t.Context(), api.TokenRequest{Name: "lib", Role: api.RoleAuthor, Namespaces: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	want[0], want[1] = "task go of default/mine does not fit any more: param day of pipeline default/load: \"x\" is not an integer", "a task of a pipeline of another namespace does not fit any more: param day of pipeline default/load: \"x\" is not an integer"
	if diff := cmp.Diff(want, told(s.as(made.Secret), child("day: {type: integer}"))); diff != "" {
		t.Errorf("another type, told to one who may not see all (-want +got):\n%s", diff)
	}
}

// TestCirclesOverSourcesAreRefused, also when both halves come at one moment.
func TestCirclesOverSourcesAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register("one", "a.yaml", hello("a"))
	s.register("two", "b.yaml", follows("b", "a"))
	got := s.refuses(api.Unprocessable, "c → a → b → c: pipelines would start each other for ever", request("one", "a.yaml", follows("a", "c"), "c.yaml", follows("c", "b")))
	if got.Code != "SYN1706" {
		t.Errorf("code %s", got.Code)
	}
	// A source that takes its half back frees the other.
	s.register("two", "b.yaml", hello("b"))
	s.register("one", "a.yaml", follows("a", "b"))
	s.refuses(api.Unprocessable, "for ever", request("two", "b.yaml", follows("b", "a")))
	for round := range 10 {
		x, y := fmt.Sprintf("x%d", round), fmt.Sprintf("y%d", round)
		s.register(x, "x.yaml", hello(x))
		s.register(y, "y.yaml", hello(y))
		var g sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for _, half := range [][3]string{{x, x, y}, {y, y, x}} {
			g.Go(func() {
				if _, err := s.admin().Register(t.Context(), request(half[0], half[0][:1]+".yaml", follows(half[1], half[2]))); err == nil {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		g.Wait()
		if won != 1 {
			t.Fatalf("round %d: %d halves of a circle were taken, want 1", round, won)
		}
	}
}

func TestNestingOverSourcesIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register("s0", "p.yaml", hello("p0"))
	for i := 1; i <= 5; i++ {
		s.register(fmt.Sprintf("s%d", i), "p.yaml", calls(fmt.Sprintf("p%d", i), fmt.Sprintf("p%d", i-1)))
	}
	if got := s.refuses(api.Unprocessable, "6 levels", request("s6", "p.yaml", calls("p6", "p5"))); got.Code != "SYN1706" {
		t.Errorf("code %s", got.Code)
	}
	// One in the middle makes all above it too deep.
	s.register("deep", "p.yaml", calls("q1", "q2")+"---\n"+hello("q2"))
	s.refuses(api.Unprocessable, "levels of runs", request("s0", "p.yaml", calls("p0", "q1")))
}

// TestPoolsBelongToTheirSource: what is new, changed, unchanged, kept and removed.
func TestPoolsBelongToTheirSource(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	pool := func(name string, slots int, more string) string {
		return fmt.Sprintf("kind: pool\nname: %s\nslots: %d\n%s", name, slots, more)
	}
	changes := func(out api.Registration) string {
		var list []string
		for _, o := range out.Others {
			list = append(list, fmt.Sprintf("%s %s %s", o.Kind, o.Name, o.Change))
		}
		return strings.Join(list, ", ")
	}
	const uses = "name: a\ntasks: {t: {run: x, pool: wh}}\n"
	if got := changes(s.register("repo", "a.yaml", uses, "p.yaml", pool("wh", 4, "")+"---\n"+pool("io", 2, ""))); got != "pool wh new, pool io new" {
		t.Errorf("first: %s", got)
	}
	if got := changes(s.register("repo", "a.yaml", uses, "p.yaml", pool("wh", 4, "")+"---\n"+pool("io", 2, ""))); got != "pool wh unchanged, pool io unchanged" {
		t.Errorf("again: %s", got)
	}
	wakes := "SELECT count(*) FROM wake AS w JOIN pool AS p ON p.id = w.subject WHERE w.kind = 'p' AND p.name = 'wh'"
	before := scan[int](s, wakes)
	if got := changes(s.register("repo", "p.yaml", pool("wh", 8, "description: More.\nlabels: {team: x}\nreserve: {scheduled: 2}\n"))); got != "pool wh changed, pool io kept" {
		t.Errorf("changed: %s", got)
	}
	if after := scan[int](s, wakes); after != before+1 {
		t.Errorf("%d wakes of a pool that grew, before %d", after, before)
	}
	if got := scan[string](s, "SELECT p.slots || ' ' || p.reserve_scheduled || ' ' || p.description || ' ' || (p.labels->>'team') FROM pool AS p WHERE p.name = 'wh'"); got != "8 2 More. x" {
		t.Errorf("stored %s", got)
	}
	// Somebody else's tasks ask for it: it stays.
	s.register("other", "b.yaml", "name: b\ntasks: {t: {run: x, pool: io}}\n")
	prune := request("repo", "a.yaml", uses, "p.yaml", pool("wh", 8, ""))
	prune.Prune = true
	s.refuses(api.Unprocessable, "pool default/io cannot be removed: default/b asks for it", prune)
	// Its own as well, also when only the files say so.
	gone := request("repo", "a.yaml", uses, "p.yaml", pool("io", 2, ""))
	gone.Prune = true
	s.refuses(api.Unprocessable, "asks for pool default/wh, which does not exist", gone)
	s.register("other", "b.yaml", hello("b"))
	dry := prune
	dry.DryRun = true
	if out, err := s.admin().Register(ctx, dry); err != nil || changes(out) != "pool wh changed, pool io removed" {
		t.Errorf("dry run: %s, %v", changes(out), err)
	}
	if out, err := s.admin().Register(ctx, prune); err != nil || changes(out) != "pool wh changed, pool io removed" {
		t.Fatalf("prune: %s, %v", changes(out), err)
	}
	s.refuses(api.Unprocessable, "asks for pool default/io, which does not exist", request("other", "b.yaml", "name: b\ntasks: {t: {run: x, pool: io}}\n"))
	// Its row stays for runs of old revisions; its name is free.
	if got := changes(s.register("other", "b.yaml", "name: b\ntasks: {t: {run: x, pool: io}}\n", "p.yaml", pool("io", 3, ""))); got != "pool io new" {
		t.Errorf("taken over: %s", got)
	}
	if n := scan[int](s, "SELECT count(*) FROM pool AS p JOIN source AS o ON o.id = p.source_id WHERE p.name = 'io' AND o.name = 'other' AND p.removed_at IS NULL AND p.slots = 3"); n != 1 {
		t.Error("the pool that came back is not its new owner's")
	}
}

// TestAPoolCannotGoWhileARegisterFindsItThere: one source removes it, another asks
// for it, at one moment.
func TestAPoolCannotGoWhileARegisterFindsItThere(t *testing.T) {
	t.Parallel()
	s := start(t)
	for round := range 10 {
		owner, user, name := fmt.Sprintf("owner%d", round), fmt.Sprintf("user%d", round), fmt.Sprintf("w%d", round)
		s.register(owner, "p.yaml", fmt.Sprintf("kind: pool\nname: %s\nslots: 1\n", name), "h.yaml", hello("h"+name))
		remove := request(owner, "h.yaml", hello("h"+name))
		remove.Prune = true
		var g sync.WaitGroup
		var removed, used error
		g.Go(func() { _, removed = s.admin().Register(t.Context(), remove) })
		g.Go(func() {
			_, used = s.admin().Register(t.Context(), request(user, "u.yaml", fmt.Sprintf("name: u%s\ntasks: {t: {run: x, pool: %s}}\n", name, name)))
		})
		g.Wait()
		if (removed == nil) == (used == nil) {
			t.Fatalf("round %d: removed %v, used %v; want one of them", round, removed, used)
		}
	}
}

// TestReachingIntoNamespaces: running a pipeline elsewhere is a right of its own,
// and so is to read what it did.
func TestReachingIntoNamespaces(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	s.register("marts", "h.yaml", "namespace: finance\n"+hello("load"))
	made, err := s.admin().CreateToken(ctx, api.TokenRequest{Name: "ci", Role: api.RoleAuthor, Namespaces: []string{"sales"}})
	if err != nil {
		t.Fatal(err)
	}
	ci := s.as(made.Secret)
	for name, text := range map[string]string{"a call": calls("a", "finance/load"), "a trigger": follows("a", "finance/load")} {
		_, err := ci.Register(ctx, request("sales", "a.yaml", "namespace: sales\n"+text))
		if !api.IsCode(err, api.Refused) || len(api.As(err).Problems) != 1 || api.As(err).Problems[0].Code != "SYN1704" || api.As(err).Problems[0].Where.Line < 2 {
			t.Errorf("%s into a namespace that is not theirs: %v %+v", name, err, api.As(err))
		}
	}
	if _, err := ci.Register(ctx, request("sales", "a.yaml", "namespace: sales\n"+calls("a", "b")+"---\nnamespace: sales\n"+hello("b"))); err != nil {
		t.Errorf("a call within: %v", err)
	}
}
