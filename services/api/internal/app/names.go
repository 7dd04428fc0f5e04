package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/synthesizer-dev/synthesizer/cli/api"
	"github.com/synthesizer-dev/synthesizer/db"
)

// A PipelineRef names a pipeline.
type PipelineRef struct{ Namespace, Name string }

// String is the reference as people write it.
func (r PipelineRef) String() string { return r.Namespace + "/" + r.Name }

// A RunRef names a run: Run is its number, latest or failed.
type RunRef struct{ Namespace, Pipeline, Run string }

// String is the reference as people write it.
func (r RunRef) String() string {
	if _, err := strconv.ParseInt(r.Run, 10, 64); err == nil {
		return r.Namespace + "/" + r.Pipeline + "#" + r.Run
	}
	return r.Namespace + "/" + r.Pipeline + "@" + r.Run
}

func (r RunRef) of() PipelineRef { return PipelineRef{r.Namespace, r.Pipeline} }

// find gives a pipeline that the actor may see. One it may not see is not there.
func (a *App) find(ctx context.Context, q *db.Queries, by Actor, ref PipelineRef) (db.FindPipelineRow, error) {
	if by.sees(ref.Namespace) && isName(ref.Namespace) && isName(ref.Name) {
		p, err := q.FindPipeline(ctx, ref.Namespace, ref.Name)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, db.ErrNoRows) {
			return db.FindPipelineRow{}, fmt.Errorf("find a pipeline: %w", err)
		}
	}
	return db.FindPipelineRow{}, a.noPipeline(ctx, q, by, ref)
}

// noPipeline says that there is none, and which names are near.
func (a *App) noPipeline(ctx context.Context, q *db.Queries, by Actor, ref PipelineRef) error {
	e := api.Errorf(api.NotFound, "there is no pipeline %s in %s", show(ref.Name), show(ref.Namespace)).WithHint("synctl ls")
	visible, _ := by.visible("")
	rows, err := q.PipelineNames(ctx, db.PipelineNamesParams{Namespace: ref.Namespace, Name: ref.Name, Visible: visible})
	if err != nil {
		return fmt.Errorf("list names: %w", err)
	}
	var names []string
	for _, r := range rows {
		if r.Namespace != ref.Namespace {
			e.Hint = fmt.Sprintf("there is one in another namespace: %s/%s", r.Namespace, r.Name)
			return e
		}
		names = append(names, r.Name)
	}
	if near := nearest(ref.Name, names); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return e
}

// nearest is the name with the smallest edit distance to word, if that is 2 at
// most (1 for words up to four letters); else one that word is a part of.
func nearest(word string, names []string) string {
	if word == "" || len(word) > 64 {
		return ""
	}
	best, least := "", 3
	if len(word) <= 4 {
		least = 2
	}
	for _, n := range names {
		if d := distance(word, n); d < least {
			best, least = n, d
		}
	}
	if best != "" {
		return best
	}
	i := slices.IndexFunc(names, func(n string) bool { return len(word) > 2 && strings.Contains(n, word) })
	if i >= 0 {
		return names[i]
	}
	return ""
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
