package dbtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synthesizer-dev/synthesizer/db"
)

// Hot are the tables that loops work on: small, and read by index alone.
var Hot = []string{"schedule", "wake", "open_run", "waiter", "ready", "live", "executor"}

// History are the tables that are partitioned by time.
var History = []string{"tick", "run", "task", "attempt", "log_chunk", "event"}

var (
	queryConst = regexp.MustCompile("(?s)const \\w+ = `-- name: (\\w+) :\\w+\n(.*?)`")
	parameter  = regexp.MustCompile(`\$\d+`)
)

// Queries returns the text of every query of package db by its name.
var Queries = sync.OnceValue(func() map[string]string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		panic("where are the queries?")
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(file)), "*.sql.go"))
	if err != nil || len(files) == 0 {
		panic(fmt.Sprintf("no queries beside %s: %v", file, err))
	}
	texts := map[string]string{}
	for _, f := range files {
		code, err := os.ReadFile(f)
		if err != nil {
			panic(err)
		}
		for _, m := range queryConst.FindAllStringSubmatch(string(code), -1) {
			texts[m[1]] = m[2]
		}
	}
	return texts
})

// Params is how many parameters a query has.
func Params(sql string) int {
	found := parameter.FindAllString(sql, -1)
	slices.Sort(found)
	return len(slices.Compact(found))
}

// Explain returns the plan that a session of pool keeps for a query of package
// db, given by name: the one for any parameters.
func Explain(t testing.TB, pool *db.Pool, name string) string {
	t.Helper()
	var plan strings.Builder
	for _, line := range explain(t, pool, name, "COSTS OFF") {
		plan.WriteString(line + "\n")
	}
	return plan.String()
}

func explain(t testing.TB, pool *db.Pool, name, options string) (lines []string) {
	t.Helper()
	sql, ok := Queries()[name]
	if !ok {
		t.Fatalf("there is no query %s", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pool.PGX().Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	args := ""
	if n := Params(sql); n > 0 {
		args = "(" + strings.Repeat("NULL, ", n-1) + "NULL)"
	}
	for _, s := range []string{
		"SET plan_cache_mode = force_generic_plan",
		"PREPARE explained AS " + sql,
	} {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("explain %s: %v", name, err)
		}
	}
	defer func() {
		for _, s := range []string{"DEALLOCATE explained", "RESET plan_cache_mode"} {
			if _, err := conn.Exec(ctx, s); err != nil {
				t.Errorf("explain %s: %v", name, err)
			}
		}
	}()
	rows, err := conn.Query(ctx, "EXPLAIN ("+options+") EXECUTE explained"+args)
	if err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	return lines
}

// A node is one step of a plan.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []node
}

func (n node) walk(visit func(node)) {
	visit(n)
	for _, child := range n.Plans {
		child.walk(visit)
	}
}

var day = regexp.MustCompile(`_\d{8}($|_)`)

// table is the name of a table or of the table that it is a partition of.
func table(relation string) string { return day.ReplaceAllString(relation, "$1") }

// mayReadWhole are the queries that look at a whole table, as Wholes tells of it,
// and why.
var mayReadWhole = map[string][]string{
	"NextDue":          {"schedule by schedule_due"}, // its first entry
	"LiveExecutors":    {"live by live_executor"},    // its first entry, and from there the next of another
	"Look":             {"live by live_executor", "executor by executor_pkey", "executor", "wake by wake_due"},
	"DropOldExecutors": {"executor by executor_pkey", "executor"}, // once an hour, there are few
}

// Wholes lists the hot tables and those of history that a query reads whole:
// without an index, or along one of which it does not know where to begin. That
// is also the sign of a join the wrong way round, which reads all of a table
// for each row, or all rows for each of a table.
func Wholes(t testing.TB, pool *db.Pool, name string) []string {
	t.Helper()
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(strings.Join(explain(t, pool, name, "FORMAT JSON"), "")), &plans); err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	first := firstColumns(t, pool)
	var wholes []string
	for _, p := range plans {
		p.Plan.walk(func(n node) {
			if n.Relation == "" || !slices.Contains(Hot, table(n.Relation)) && !slices.Contains(History, table(n.Relation)) {
				return
			}
			whole := ""
			switch n.Type {
			case "Seq Scan", "Bitmap Heap Scan":
				whole = table(n.Relation)
			case "Index Scan", "Index Only Scan":
				if !regexp.MustCompile(`\b` + first[n.Index] + ` (=|<|>|IS)`).MatchString(n.Cond) {
					whole = table(n.Relation) + " by " + day.ReplaceAllString(n.Index, "$1")
				}
			}
			if whole != "" && !slices.Contains(wholes, whole) {
				wholes = append(wholes, whole)
			}
		})
	}
	return wholes
}

// firstColumns gives the first column of each index.
func firstColumns(t testing.TB, pool *db.Pool) map[string]string {
	t.Helper()
	rows, err := pool.PGX().Query(t.Context(), `
		SELECT c.relname, a.attname
		FROM pg_index AS i
		JOIN pg_class AS c ON c.oid = i.indexrelid
		JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE c.relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	first := map[string]string{}
	for rows.Next() {
		var index, column string
		if err := rows.Scan(&index, &column); err != nil {
			t.Fatal(err)
		}
		first[index] = column
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return first
}

// WantIndexPlans fails for each of the queries (by name) that reads a hot table
// or one of history by anything but an index that says where to begin. Call it
// when the tables have been analysed empty, and again when they are full.
func WantIndexPlans(t testing.TB, pool *db.Pool, names ...string) {
	t.Helper()
	for _, name := range names {
		for _, whole := range Wholes(t, pool, name) {
			if !slices.Contains(mayReadWhole[name], whole) {
				t.Errorf("%s reads all of %s:\n%s", name, whole, Explain(t, pool, name))
			}
		}
	}
}
