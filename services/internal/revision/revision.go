// Package revision keeps compiled definitions in memory, by the id of their
// revision, which never changes.
package revision

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/synthesizer-dev/synthesizer/cli/flow"
	"github.com/synthesizer-dev/synthesizer/cli/pipeline"
	"github.com/synthesizer-dev/synthesizer/cli/schedule"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A Revision is one definition, compiled. It is shared and never changes.
type Revision struct {
	ID     int64
	Number int
	Graph  *flow.Graph

	lanes []int32 // by ordinal
	pools []int64 // by ordinal; 0: no pool

	schedules sync.Map // id of the schedule → *schedule.Schedule, compiled when first asked for
}

// Lane is the lane that the task with this ordinal is claimed from.
func (r *Revision) Lane(ordinal int) int32 { return r.lanes[ordinal] }

// Pool is the pool whose slots the task holds, 0 if none, and how many.
func (r *Revision) Pool(ordinal int) (id int64, slots int32) {
	if id = r.pools[ordinal]; id == 0 {
		return 0, 0
	}
	return id, int32(r.Graph.Task(ordinal).Pool.Slots)
}

// Schedule compiles the schedule with this id, and gives its entry in the file.
func (r *Revision) Schedule(id string) (*schedule.Schedule, *pipeline.Schedule, error) {
	list := r.Graph.Pipeline().Schedules
	i := slices.IndexFunc(list, func(s pipeline.Schedule) bool { return s.ID == id })
	if i < 0 {
		return nil, nil, fmt.Errorf("revision %d has no schedule %q", r.ID, id)
	}
	if s, ok := r.schedules.Load(id); ok {
		return s.(*schedule.Schedule), &list[i], nil
	}
	s, err := schedule.New(list[i].Spec())
	if err != nil {
		return nil, nil, err
	}
	r.schedules.Store(id, s)
	return s, &list[i], nil
}

// A Cache holds the revisions that were used last. It is safe for concurrent
// use.
type Cache struct {
	kept *lru.Cache[int64, *Revision]

	mu    sync.Mutex
	lanes map[string]int32 // labels, joined → lane
}

// NewCache makes a cache of size revisions.
func NewCache(size int) *Cache {
	kept, err := lru.New[int64, *Revision](max(1, size))
	if err != nil { // only for a size below one
		panic(err)
	}
	return &Cache{kept: kept}
}

// Load gives revisions by id, reading those it does not hold in one query. An
// id that has no revision, or one that cannot be read, is in the second map.
func (c *Cache) Load(ctx context.Context, q *db.Queries, ids []int64) (map[int64]*Revision, map[int64]error, error) {
	found := make(map[int64]*Revision, len(ids))
	var missing []int64
	for _, id := range ids {
		if _, ok := found[id]; ok {
			continue
		}
		if r, ok := c.kept.Get(id); ok {
			found[id] = r
		} else if !slices.Contains(missing, id) {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return found, nil, nil
	}
	rows, err := q.RevisionSpecs(ctx, missing)
	if err != nil {
		return nil, nil, fmt.Errorf("read revisions: %w", err)
	}
	broken := map[int64]error{}
	for _, id := range missing {
		broken[id] = fmt.Errorf("revision %d is not there", id)
	}
	for _, row := range rows {
		r, err := c.compile(ctx, q, row)
		if err != nil {
			broken[row.ID] = err
			continue
		}
		delete(broken, row.ID)
		c.kept.Add(row.ID, r)
		found[row.ID] = r
	}
	return found, broken, nil
}

// One is Load for one id.
func (c *Cache) One(ctx context.Context, q *db.Queries, id int64) (*Revision, error) {
	found, broken, err := c.Load(ctx, q, []int64{id})
	if err != nil {
		return nil, err
	}
	if err := broken[id]; err != nil {
		return nil, err
	}
	return found[id], nil
}

func (c *Cache) compile(ctx context.Context, q *db.Queries, row db.RevisionSpecsRow) (*Revision, error) {
	var p pipeline.Pipeline
	if err := json.Unmarshal(row.Spec, &p); err != nil {
		return nil, fmt.Errorf("read revision %d: %w", row.ID, err)
	}
	g, err := flow.Compile(&p)
	if err != nil {
		return nil, fmt.Errorf("compile revision %d: %w", row.ID, err)
	}
	tasks, finally := g.Size()
	r := &Revision{ID: row.ID, Number: int(row.Number), Graph: g, lanes: make([]int32, tasks+finally), pools: make([]int64, tasks+finally)}
	for ordinal := range r.lanes {
		t := g.Task(ordinal)
		if r.lanes[ordinal], err = c.lane(ctx, q, t.RunsOn); err != nil {
			return nil, err
		}
	}
	return r, c.pools(ctx, q, r)
}

// lane gives the id of the lane for a set of labels, which register has made.
func (c *Cache) lane(ctx context.Context, q *db.Queries, labels []string) (int32, error) {
	key := strings.Join(labels, "\x00")
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.lanes[key]; ok {
		return id, nil
	}
	rows, err := q.Lanes(ctx)
	if err != nil {
		return 0, fmt.Errorf("read lanes: %w", err)
	}
	c.lanes = make(map[string]int32, len(rows))
	for _, row := range rows {
		c.lanes[strings.Join(row.Labels, "\x00")] = row.ID
	}
	id, ok := c.lanes[key]
	if !ok {
		return 0, fmt.Errorf("no lane for the labels %q", labels)
	}
	return id, nil
}

func (c *Cache) pools(ctx context.Context, q *db.Queries, r *Revision) error {
	var namespaces, names []string
	for ordinal := range r.pools {
		if p := r.Graph.Task(ordinal).Pool; p != nil {
			namespaces, names = append(namespaces, p.Namespace), append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	rows, err := q.PoolIDs(ctx, namespaces, names)
	if err != nil {
		return fmt.Errorf("read pools: %w", err)
	}
	for ordinal := range r.pools {
		p := r.Graph.Task(ordinal).Pool
		if p == nil {
			continue
		}
		i := slices.IndexFunc(rows, func(row db.PoolIDsRow) bool { return row.Namespace == p.Namespace && row.Name == p.Name })
		if i < 0 {
			return fmt.Errorf("pool %s/%s is not there", p.Namespace, p.Name)
		}
		r.pools[ordinal] = rows[i].ID
	}
	return nil
}
