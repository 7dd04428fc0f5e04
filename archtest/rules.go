// Package archtest keeps the shape of the source: who may import what, package
// names and comments, and where the clock is read. Its test checks this tree.
package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// An only says that imports beginning with Import stay in the folders In.
type only struct {
	Import string
	In     []string
	Tests  bool // test files elsewhere may import it too
	Why    string
}

var onlys = []only{
	{"github.com/jackc/pgx", []string{"db", "e2e", "bench"}, true, "db is the only place that knows Postgres; a pool may be handed along"},
	{"database/sql", []string{"db", "e2e", "bench"}, true, "db is the only place that knows Postgres"},
	{"github.com/labstack/echo", []string{"services/api"}, false, "the next major version of echo must be a day's work"},
	{"github.com/adhocore/gronx", []string{"cli/schedule"}, false, "it is right only with fixed offsets from UTC, and schedule sees to that"},
	{"github.com/urfave/cli", []string{"cli/internal/command", "cli/cmd", "services/internal/command", "services/*/cmd", "services/standalone", "bench"}, false, "everything else takes a context and a struct"},
}

// A never says that what lies in a folder imports none of these packages.
type never struct {
	In      string
	Exactly bool // not what lies below it
	Imports []string
	Why     string
}

var nevers = []never{
	{"services/api/internal/web", false, []string{root + "/db"}, "pages get ready values and never query"},
	{"services/api/internal/rest", false, []string{root + "/db"}, "a rule written in a skin is in the wrong place: app decides"},
	{"cli/pipeline", true, impure, "pure packages take values and return values"},
	{"cli/schedule", true, impure, "pure packages take values and return values"},
	{"cli/expr", true, impure, "pure packages take values and return values"},
	{"cli/flow", true, impure, "pure packages take values and return values"},
	{"cli/flow/gate", true, impure, "pure packages take values and return values"},
}

var impure = []string{"context", "log", "log/slog", "net", "net/http", "os", "os/exec", "os/signal", "database/sql"}

// clocks are the folders that may call time.Now. In SQL the database's clock
// decides, so whoever is not here takes the time as an argument.
var clocks = map[string]string{
	"cli/cmd":              "hands the command its clock",
	"cli/process":          "time-outs of a process, on the monotonic clock",
	"cli/internal/command": "what a terminal shows is relative to the reader's now",
	"cli/internal/local":   "a local run has no database whose clock could decide",
	"cli/client":           "waits between attempts",
	"db":                   "deadlines of calls and waiting for servers, on the monotonic clock",
	"services/internal":    "turns of loops, back-off and the age of probes, on the monotonic clock",
	"services/executor":    "leases count from the moment a renewal was sent, on the monotonic clock",
	"services/standalone":  "waits for its services",
	"services/api":         "how long requests take and deadlines of sockets; what is stored comes from the database's clock",
	"e2e":                  "waits for other processes",
	"bench":                "measures",
}

// badNames say nothing about what is inside.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "models", "misc", "shared"}

// maxMain is how long the wiring of a command may get, in lines.
const maxMain = 60

// root is the module that holds everything but the command line.
const root = "github.com/synthesizer-dev/synthesizer"

// check returns what is wrong with a tree, a line each, sorted.
func check(tree []pkg) []string {
	var wrong []string
	for _, p := range tree {
		wrong = append(wrong, names(p)...)
		for _, f := range p.files {
			wrong = append(wrong, imports(p, f)...)
			wrong = append(wrong, clock(p, f)...)
			if p.name == "main" && path.Base(path.Dir(p.dir)) == "cmd" && !f.test && f.lines > maxMain {
				wrong = append(wrong, fmt.Sprintf("%s: %d lines, want at most %d: wiring belongs to Run", f.path, f.lines, maxMain))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// names checks what a package is called and how it introduces itself.
func names(p pkg) []string {
	var wrong []string
	if slices.Contains(badNames, p.name) {
		wrong = append(wrong, fmt.Sprintf("%s: package %s: a name that says nothing; call it after what it holds", p.dir, p.name))
	}
	var docs []string
	for _, f := range p.files {
		if f.doc == "" || f.generated {
			continue
		}
		docs = append(docs, f.path)
		if p.name != "main" && !strings.HasPrefix(f.doc, "Package "+strings.TrimSuffix(p.name, "_test")+" ") {
			wrong = append(wrong, fmt.Sprintf("%s: the comment does not begin with \"Package %s\"", f.path, p.name))
		}
	}
	switch {
	case len(docs) == 0:
		wrong = append(wrong, fmt.Sprintf("%s: package %s has no doc comment", p.dir, p.name))
	case len(docs) > 1:
		wrong = append(wrong, fmt.Sprintf("%s: package %s has a doc comment in each of %s", p.dir, p.name, strings.Join(docs, ", ")))
	}
	return wrong
}

// imports checks one file's imports against all rules about them.
func imports(p pkg, f file) []string {
	var wrong []string
	say := func(imported, why string) {
		wrong = append(wrong, fmt.Sprintf("%s: imports %s: %s", f.path, imported, why))
	}
	for _, i := range f.imports {
		for _, o := range onlys {
			if under(i, o.Import) && !inAny(p.dir, o.In) && (!f.test || !o.Tests) {
				say(i, o.Why)
			}
		}
		for _, n := range nevers {
			at := p.dir == n.In || !n.Exactly && under(p.dir, n.In)
			if !at || f.test {
				continue
			}
			if slices.Contains(n.Imports, i) {
				say(i, n.Why)
			}
		}
		ours, ok := strings.CutPrefix(i, root)
		if !ok || ours != "" && ours[0] != '/' {
			continue
		}
		ours = strings.TrimPrefix(ours, "/")
		from, to := service(p.dir), service(ours)
		switch {
		case under(p.dir, "cli") && !under(ours, "cli"):
			say(i, "cli is a module of its own and imports nothing of ours outside itself")
		case under(p.dir, "db") && !under(ours, "db"):
			say(i, "db imports nothing of ours")
		case to != "" && to != "internal" && from != "" && from != to && from != "standalone":
			say(i, "no service imports another; they share the database and nothing else")
		}
	}
	return wrong
}

// clock checks that time.Now is called only where it has a reason.
func clock(p pkg, f file) []string {
	if f.test || len(f.now) == 0 {
		return nil
	}
	for dir := range clocks {
		if under(p.dir, dir) {
			return nil
		}
	}
	var wrong []string
	for _, line := range f.now {
		wrong = append(wrong, fmt.Sprintf("%s:%d: time.Now: take the time as an argument, or the database's clock (the list of exceptions is in archtest)", f.path, line))
	}
	return wrong
}

// service is the folder directly below services/ that a path lies in.
func service(dir string) string {
	rest, ok := strings.CutPrefix(dir, "services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// under tells whether a path is prefix or lies below it. An import path's next
// part counts as below, so that "…/pgx" covers "…/pgx/v5".
func under(p, prefix string) bool {
	return p == prefix || strings.HasPrefix(p, prefix+"/")
}

// inAny tells whether dir lies in one of the folders; * stands for one name.
func inAny(dir string, folders []string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		for _, folder := range folders {
			if ok, err := path.Match(folder, dir); ok && err == nil {
				return true
			}
		}
	}
	return false
}
