package dbtest

import (
	"context"
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
	rows, err := conn.Query(ctx, "EXPLAIN (COSTS OFF) EXECUTE explained"+args)
	if err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	return plan.String()
}

var scan = regexp.MustCompile(`(Seq Scan|Bitmap Heap Scan) on (\w+)`)

// Scans lists the tables that a plan reads whole, without their partitions' dates.
func Scans(plan string) []string {
	var tables []string
	for _, m := range scan.FindAllStringSubmatch(plan, -1) {
		table := regexp.MustCompile(`_\d{8}$`).ReplaceAllString(m[2], "")
		if !slices.Contains(tables, table) {
			tables = append(tables, table)
		}
	}
	return tables
}

// WantIndexPlans fails for each of the queries (by name) that reads a hot table
// or one of history by anything but an index. Call it when the tables have been
// analysed empty, and again when they are full.
func WantIndexPlans(t testing.TB, pool *db.Pool, names ...string) {
	t.Helper()
	for _, name := range names {
		plan := Explain(t, pool, name)
		for _, table := range Scans(plan) {
			if slices.Contains(Hot, table) || slices.Contains([]string{"tick", "run", "task", "attempt", "log_chunk", "event"}, table) {
				t.Errorf("%s reads all of %s:\n%s", name, table, plan)
			}
		}
	}
}
