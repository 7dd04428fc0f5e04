package web

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/services/api/internal/app"
)

// PoolsPage is the list of pools.
type PoolsPage struct {
	Base
	Rows []PoolRow
	More string
}

// A PoolRow is a pool in the list, and the head of its page.
type PoolRow struct {
	Ref         Ref
	URL         string
	Description string
	Slots, Used int
	Full        bool
	Reserve     int
	Waiting     int
}

// PoolPage is the page of a pool.
type PoolPage struct {
	Base
	Pool             PoolRow
	Facts            []Fact
	Holders, Waiters []PoolTaskRow
	MoreHolders      int // that are not listed
	MoreWaiters      int
}

// A PoolTaskRow is a task that holds slots or waits for them.
type PoolTaskRow struct {
	Look     Look
	Word     string // "running", "position 2"
	Name     string
	URL      string // empty: of a namespace that the reader may not see
	Slots    int
	Since    Moment
	Executor string
}

// poolTasks is how many holders and waiters a page lists.
const poolTasks = 100

func poolURL(namespace, name string) string {
	return "/pools/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
}

func poolRow(b Base, p api.Pool) PoolRow {
	return PoolRow{
		Ref: Ref{p.Namespace, p.Name, b.Many}, URL: poolURL(p.Namespace, p.Name), Description: cut(tidy(p.Description), 160),
		Slots: p.Slots, Used: p.Used, Full: p.Used >= p.Slots, Reserve: p.ReserveScheduled, Waiting: p.Waiting,
	}
}

// pools lists pools, with what of them is used.
func (s *Server) pools(c echo.Context) error {
	if err := known(c, "after"); err != nil {
		return err
	}
	ctx, who := c.Request().Context(), actor(c)
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return err
	}
	p := PoolsPage{Base: s.base(c, head, "Pools", "pools")}
	p.JSON, p.Command = "/api/v1/pools"+query("cursor", c.QueryParam("after")), "synctl pool ls"
	list, err := s.app.Pools(ctx, who, api.ListPoolsParams{Cursor: c.QueryParam("after"), Limit: listPage})
	if err != nil {
		return err
	}
	for _, pool := range list.Items {
		p.Rows = append(p.Rows, poolRow(p.Base, pool))
	}
	if list.Next != "" {
		p.More = "/pools" + query("after", list.Next)
	}
	return s.render(c, 200, PoolsMain(p), p.Base, nil)
}

// pool shows who holds the slots of a pool and who waits for them.
func (s *Server) pool(c echo.Context) error {
	if err := known(c); err != nil {
		return err
	}
	ctx, who := c.Request().Context(), actor(c)
	head, err := s.app.PageHead(ctx, who)
	if err != nil {
		return err
	}
	ref := app.PoolRef{Namespace: c.Param("ns"), Name: c.Param("name")}
	d, err := s.app.Pool(ctx, who, ref, poolTasks)
	if err != nil {
		return err
	}
	p := PoolPage{Base: s.base(c, head, "Pool "+ref.Name, "pools")}
	p.JSON = "/api/v1" + poolURL(ref.Namespace, ref.Name)
	p.Command = "synctl pool show " + Ref{ref.Namespace, ref.Name, p.Many}.Command()
	p.Pool = poolRow(p.Base, d.Pool)
	p.Facts = poolFacts(d.Pool)
	for _, t := range d.Holders {
		state := api.TaskState(t.State)
		p.Holders = append(p.Holders, poolTaskRow(p.Base, t, taskLook(state, ""), string(t.State)))
	}
	for _, t := range d.Waiters {
		word := fmt.Sprintf("position %d", t.Position)
		if t.Backfill {
			word += ", backfill"
		}
		p.Waiters = append(p.Waiters, poolTaskRow(p.Base, t, taskLook(api.TaskStateWaiting, "pool"), word))
	}
	p.MoreHolders, p.MoreWaiters = max(0, d.Pool.Holding-len(d.Holders)), max(0, d.Pool.Waiting-len(d.Waiters))
	return s.render(c, 200, PoolMain(p), p.Base, nil)
}

func poolFacts(p api.Pool) []Fact {
	facts := []Fact{
		{Name: "Slots", Value: fmt.Sprintf("%d of %d used", p.Used, p.Slots)},
		{Name: "Waiting", Value: plural(p.Waiting, "task")},
	}
	if p.ReserveScheduled > 0 {
		facts = append(facts, Fact{Name: "Kept from backfills", Value: plural(p.ReserveScheduled, "slot")})
	}
	return append(facts, Fact{Name: "Source", Value: cmp.Or(tidy(p.Source), "none")})
}

func poolTaskRow(b Base, t api.PoolTask, l Look, word string) PoolTaskRow {
	row := PoolTaskRow{Look: l, Word: word, Slots: t.Slots, Since: b.ago(t.Since), Executor: t.Executor, Name: "a task of another namespace"}
	if t.Host != "" && t.Host != t.Executor {
		row.Executor += " (" + t.Host + ")"
	}
	if t.Namespace == "" {
		return row
	}
	ref := Ref{t.Namespace, t.Pipeline, b.Many}
	task := t.Task
	if t.Index != nil {
		task += "[" + strconv.Itoa(*t.Index) + "]"
	}
	row.Name = fmt.Sprintf("%s #%d %s", ref, t.Run, task)
	row.URL = ref.Run(t.Run)
	if t.State == api.PoolTaskStateRunning {
		row.URL = ref.Run(t.Run, task)
	}
	return row
}
