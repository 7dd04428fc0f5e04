// Package newrun has the steps that everything which makes runs takes alike,
// whether a tick, a backfill, another run or a person asks for them: what a run
// reads, the group it joins, the number it gets.
//
// Groups are locked before numbers are drawn (the order of locks is in package
// db). So a run is worked out with the number that it will most likely have,
// and once more when another one came before it.
package newrun

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/synthesizer-dev/synthesizer/cli/expr"
	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/db"
)

// Vars reads the variables of namespaces; each of them has an entry. A
// namespace may be given more than once.
func Vars(ctx context.Context, q *db.Queries, namespaces ...string) (map[string]map[string]string, error) {
	vars := map[string]map[string]string{}
	for _, ns := range namespaces {
		vars[ns] = map[string]string{}
	}
	if len(vars) == 0 {
		return vars, nil
	}
	rows, err := q.NamespaceVars(ctx, slices.Sorted(maps.Keys(vars)))
	if err != nil {
		return nil, fmt.Errorf("read vars: %w", err)
	}
	for _, row := range rows {
		vars[row.Namespace][row.Name] = row.Value
	}
	return vars, nil
}

// A Group is where a run counts: among the runs of its pipeline, or under a name
// among those of its namespace.
type Group struct {
	Pipeline  int64
	Namespace string
	Name      string // "": the pipeline's own
}

// Groups finds the ids of groups, in the order given. Named ones that are not
// there are made. Nothing is locked but what was made.
func Groups(ctx context.Context, q *db.Queries, list []Group) ([]int64, error) {
	own, named := map[int64]int64{}, map[Group]int64{}
	for _, g := range list {
		if g.Name == "" {
			own[g.Pipeline] = 0
		} else {
			named[Group{Namespace: g.Namespace, Name: g.Name}] = 0
		}
	}
	if len(own) > 0 {
		rows, err := q.PipelineGroups(ctx, slices.Sorted(maps.Keys(own)))
		if err != nil {
			return nil, fmt.Errorf("read groups: %w", err)
		}
		for _, row := range rows {
			own[row.PipelineID] = row.ID
		}
	}
	if len(named) > 0 {
		// Whoever makes several makes them in one order, so that nobody waits in a circle.
		all := slices.SortedFunc(maps.Keys(named), func(a, b Group) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		namespaces, names := make([]string, len(all)), make([]string, len(all))
		for i, g := range all {
			namespaces[i], names[i] = g.Namespace, g.Name
		}
		if err := q.EnsureGroups(ctx, namespaces, names); err != nil {
			return nil, fmt.Errorf("make groups: %w", err)
		}
		rows, err := q.NamedGroups(ctx, namespaces, names)
		if err != nil {
			return nil, fmt.Errorf("read groups: %w", err)
		}
		for _, row := range rows {
			named[Group{Namespace: row.Namespace, Name: row.Name}] = row.ID
		}
	}
	ids := make([]int64, len(list))
	for i, g := range list {
		if ids[i] = own[g.Pipeline]; g.Name != "" {
			ids[i] = named[Group{Namespace: g.Namespace, Name: g.Name}]
		}
		if ids[i] == 0 {
			return nil, fmt.Errorf("pipeline %d has no group %q in %s", g.Pipeline, g.Name, g.Namespace)
		}
	}
	return ids, nil
}

// LockGroups locks groups to the end of the transaction, all of them in one
// order, and says what is in them. A group may be given more than once.
func LockGroups(ctx context.Context, q *db.Queries, ids []int64) (map[int64]*flow.GroupLoad, error) {
	loads := make(map[int64]*flow.GroupLoad, len(ids))
	for _, id := range ids {
		loads[id] = &flow.GroupLoad{}
	}
	locks := slices.Sorted(maps.Keys(loads))
	if err := q.LockGroups(ctx, locks); err != nil {
		return nil, fmt.Errorf("lock groups: %w", err)
	}
	rows, err := q.GroupCounts(ctx, locks)
	if err != nil {
		return nil, fmt.Errorf("count groups: %w", err)
	}
	for _, row := range rows {
		*loads[row.GroupID] = flow.GroupLoad{
			Running: int(row.Running), Queued: int(row.Queued), Counted: int(row.Counted),
			RunningBackfills: int(row.RunningBackfills), QueuedBackfills: int(row.QueuedBackfills), Late: int(row.Late),
		}
	}
	return loads, nil
}

// Numbers draws the next number for a run of each of the pipelines, in the order
// given. A pipeline may be given more than once.
func Numbers(ctx context.Context, q *db.Queries, pipelines []int64) ([]int64, error) {
	count := map[int64]int64{}
	for _, id := range pipelines {
		count[id]++
	}
	ids := slices.Sorted(maps.Keys(count))
	each := make([]int64, len(ids))
	for i, id := range ids {
		each[i] = count[id]
	}
	rows, err := q.DrawNumbers(ctx, ids, each)
	if err != nil {
		return nil, fmt.Errorf("draw run numbers: %w", err)
	}
	next := map[int64]int64{}
	for _, row := range rows {
		next[row.PipelineID] = row.Last - count[row.PipelineID] + 1
	}
	numbers := make([]int64, len(pipelines))
	for i, id := range pipelines {
		numbers[i] = next[id]
		next[id]++
	}
	return numbers, nil
}

// Inputs writes what a run is made with, as it is stored.
func Inputs(params map[string]any, vars map[string]string) (p, v []byte, err error) {
	if p, err = expr.ToJSON(params); err != nil {
		return nil, nil, fmt.Errorf("write params: %w", err)
	}
	if v, err = json.Marshal(vars); err != nil {
		return nil, nil, fmt.Errorf("write vars: %w", err)
	}
	return p, v, nil
}
